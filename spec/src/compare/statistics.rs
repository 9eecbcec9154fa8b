//! Student's t, prediction intervals and Welch's test of equivalence, computed and not looked up.
//!
//! Owns the arithmetic; which confidence is asked and what follows from a result is `metric`'s.
//! Invariant: whatever cannot be computed is `None`, never a number that looks like one.

/// Mean, and standard deviation with `n - 1` below it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// How many values.
    pub count: usize,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation.
    pub deviation: f64,
}

impl Sample {
    /// The figures of `values`; `None` for less than two, and where one is not finite.
    pub fn of(values: &[f64]) -> Option<Sample> {
        if values.len() < 2 || values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let count = values.len();
        // All equal is a deviation of zero, whatever rounding does to the mean.
        if values.iter().all(|value| *value == values[0]) {
            return Some(Sample {
                count,
                mean: values[0],
                deviation: 0.0,
            });
        }
        let mean = values.iter().sum::<f64>() / count as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = (squares / (count - 1) as f64).sqrt();
        (mean.is_finite() && deviation.is_finite()).then_some(Sample {
            count,
            mean,
            deviation,
        })
    }
}

/// Half the width of the interval in which one further value lies with `confidence`, in standard
/// deviations of `count` values: `t * sqrt(1 + 1/count)`.
///
/// ```
/// use sealstone_spec::compare::statistics::half_width;
/// assert_eq!(format!("{:.2}", half_width(5, 0.95).unwrap()), "3.04");
/// ```
pub fn half_width(count: usize, confidence: f64) -> Option<f64> {
    if count < 2 {
        return None;
    }
    let quantile = t_quantile(0.5 + confidence / 2.0, (count - 1) as f64)?;
    Some(quantile * (1.0 + 1.0 / count as f64).sqrt())
}

/// The result of Welch's two one-sided tests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Equivalence {
    /// Difference of the means, the second less the first.
    pub difference: f64,
    /// The larger of the two one-sided p values.
    pub p: f64,
    /// Degrees of freedom, by Welch and Satterthwaite.
    pub freedom: f64,
    /// The two-sided interval in which the difference lies with the confidence that was asked.
    pub interval: (f64, f64),
    /// Whether the difference lies inside the margin at the confidence that was asked.
    pub equivalent: bool,
}

/// Whether the means of two samples differ by less than `margin`. That a test for difference finds none
/// is no equality; this asks the question the right way round.
pub fn equivalence(
    base: &Sample,
    now: &Sample,
    margin: f64,
    confidence: f64,
) -> Option<Equivalence> {
    if !(margin > 0.0 && margin.is_finite() && confidence > 0.5 && confidence < 1.0) {
        return None;
    }
    let difference = now.mean - base.mean;
    let part = |sample: &Sample| sample.deviation.powi(2) / sample.count as f64;
    let (one, two) = (part(base), part(now));
    let error = (one + two).sqrt();
    if !error.is_finite() {
        return None;
    }
    if error == 0.0 {
        // No spread on either side: the means are all there is.
        let equivalent = difference.abs() < margin;
        return Some(Equivalence {
            difference,
            p: if equivalent { 0.0 } else { 1.0 },
            freedom: f64::INFINITY,
            interval: (difference, difference),
            equivalent,
        });
    }
    let weight = |part: f64, sample: &Sample| part.powi(2) / (sample.count - 1) as f64;
    let freedom = (one + two).powi(2) / (weight(one, base) + weight(two, now));
    let above = 1.0 - t_cdf((difference + margin) / error, freedom)?;
    let below = t_cdf((difference - margin) / error, freedom)?;
    let p = above.max(below);
    let half = t_quantile(0.5 + confidence / 2.0, freedom)? * error;
    Some(Equivalence {
        difference,
        p,
        freedom,
        interval: (difference - half, difference + half),
        equivalent: p < 1.0 - confidence,
    })
}

impl Equivalence {
    /// Whether every difference in the interval is beyond `margin`. That equivalence is not shown is no difference;
    /// this is.
    pub fn is_outside(&self, margin: f64) -> bool {
        let (low, high) = self.interval;
        low >= margin || high <= -margin
    }
}

/// The value below which Student's t lies with `probability`.
pub fn t_quantile(probability: f64, freedom: f64) -> Option<f64> {
    if !(probability > 0.0 && probability < 1.0 && freedom > 0.0 && freedom.is_finite()) {
        return None;
    }
    if probability == 0.5 {
        return Some(0.0);
    }
    if probability < 0.5 {
        return t_quantile(1.0 - probability, freedom).map(|value| -value);
    }
    let mut high = 1.0;
    while t_cdf(high, freedom)? < probability {
        high *= 2.0;
        if high > 1e300 {
            return None;
        }
    }
    // Bisection: slower than Newton and never wrong.
    let mut low = 0.0;
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        if t_cdf(middle, freedom)? < probability {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(0.5 * (low + high))
}

/// The probability that Student's t is below `value`.
pub fn t_cdf(value: f64, freedom: f64) -> Option<f64> {
    if value.is_nan() || !(freedom > 0.0 && freedom.is_finite()) {
        return None;
    }
    if value.is_infinite() {
        return Some(if value > 0.0 { 1.0 } else { 0.0 });
    }
    let ratio = freedom / (freedom + value * value);
    let tail = 0.5 * incomplete_beta(0.5 * freedom, 0.5, ratio)?;
    Some(if value > 0.0 { 1.0 - tail } else { tail })
}

/// The regularised incomplete beta function, by its continued fraction (Lentz's method).
fn incomplete_beta(a: f64, b: f64, x: f64) -> Option<f64> {
    if x <= 0.0 {
        return Some(0.0);
    }
    if x >= 1.0 {
        return Some(1.0);
    }
    let front =
        (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp();
    // The fraction converges fast on one side of the mean; the other side is its mirror.
    if x < (a + 1.0) / (a + b + 2.0) {
        Some(front * fraction(a, b, x)? / a)
    } else {
        Some(1.0 - front * fraction(b, a, 1.0 - x)? / b)
    }
}

fn fraction(a: f64, b: f64, x: f64) -> Option<f64> {
    const TINY: f64 = 1e-300;
    let keep = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / keep(1.0 - (a + b) * x / (a + 1.0));
    let mut result = d;
    for step in 1..10_000 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / keep(1.0 + even * d);
        c = keep(1.0 + even / c);
        result *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / keep(1.0 + odd * d);
        c = keep(1.0 + odd / c);
        let change = d * c;
        result *= change;
        if (change - 1.0).abs() < 1e-16 {
            return Some(result);
        }
        // At the limit of doubles the last digit may swing for ever.
        if step > 200 && (change - 1.0).abs() < 1e-14 {
            return Some(result);
        }
    }
    None
}

/// The logarithm of the gamma function for positive arguments, by Lanczos (g = 7, 9 terms).
fn ln_gamma(x: f64) -> f64 {
    const TERMS: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        // Reflection.
        let pi = std::f64::consts::PI;
        return (pi / (pi * x).sin()).ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let mut sum = TERMS[0];
    for (place, term) in TERMS.iter().enumerate().skip(1) {
        sum += term / (x + place as f64);
    }
    let t = x + 7.5;
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn near(found: f64, expected: f64, tolerance: f64) {
        assert!(
            (found - expected).abs() <= tolerance * expected.abs().max(1.0),
            "{found} is not {expected}"
        );
    }

    #[test]
    fn half_widths_are_the_measured_ones() {
        for (count, expected) in [
            (3, "4.97"),
            (5, "3.04"),
            (8, "2.51"),
            (10, "2.37"),
            (20, "2.14"),
        ] {
            let found = half_width(count, 0.95).unwrap();
            assert_eq!(format!("{found:.2}"), expected, "k = {count}");
        }
        assert_eq!(half_width(1, 0.95), None);
    }

    #[test]
    fn quantiles_are_those_of_tables() {
        // One and two degrees of freedom have closed forms; the others are from printed tables.
        near(
            t_quantile(0.975, 1.0).unwrap(),
            12.706_204_736_174_698,
            1e-12,
        );
        near(
            t_quantile(0.975, 2.0).unwrap(),
            4.302_652_729_749_462,
            1e-12,
        );
        near(t_quantile(0.975, 4.0).unwrap(), 2.776_445_105, 1e-9);
        near(t_quantile(0.95, 10.0).unwrap(), 1.812_461_123, 1e-9);
        near(t_quantile(0.995, 30.0).unwrap(), 2.749_995_654, 1e-9);
        near(t_quantile(0.025, 4.0).unwrap(), -2.776_445_105, 1e-9);
        near(t_quantile(0.975, 1e6).unwrap(), 1.959_966_4, 1e-6);
        for bad in [
            (0.0, 3.0),
            (1.0, 3.0),
            (f64::NAN, 3.0),
            (0.9, 0.0),
            (0.9, f64::NAN),
        ] {
            assert_eq!(t_quantile(bad.0, bad.1), None);
        }
    }

    #[test]
    fn gamma_is_gamma() {
        near(ln_gamma(5.0), 24.0_f64.ln(), 1e-14);
        near(ln_gamma(0.5), std::f64::consts::PI.sqrt().ln(), 1e-14);
        near(ln_gamma(0.25), 1.288_022_524_698_077_4, 1e-13);
        near(ln_gamma(171.0), 706.573_062_245_787_4, 1e-13);
    }

    #[test]
    fn samples_need_two_finite_values() {
        let sample = Sample::of(&[1.0, 2.0, 3.0, 4.0]).unwrap();
        near(sample.deviation, (5.0_f64 / 3.0).sqrt(), 1e-15);
        assert_eq!(Sample::of(&[1.0]), None);
        assert_eq!(Sample::of(&[1.0, f64::NAN]), None);
        assert_eq!(Sample::of(&[0.1; 7]).unwrap().deviation, 0.0);
    }

    #[test]
    fn equivalence_is_shown_and_not_assumed() {
        let base = Sample::of(&[0.860, 0.862, 0.858, 0.861, 0.859]).unwrap();
        let close = Sample::of(&[0.861, 0.860, 0.859]).unwrap();
        let far = Sample::of(&[0.850, 0.851, 0.849]).unwrap();
        let noisy = Sample::of(&[0.80, 0.86, 0.92]).unwrap();
        assert!(equivalence(&base, &close, 0.005, 0.95).unwrap().equivalent);
        assert!(!equivalence(&base, &far, 0.005, 0.95).unwrap().equivalent);
        // The mean is the same, but so few and so wide apart show nothing.
        assert!(!equivalence(&base, &noisy, 0.005, 0.95).unwrap().equivalent);
        assert_eq!(equivalence(&base, &close, 0.0, 0.95), None);
        assert_eq!(equivalence(&base, &close, 0.005, 1.0), None);
    }

    /// Worked by hand: means 0 and 1, deviations 1, counts 2 and 2; error 1, freedom 2.
    #[test]
    fn the_two_tests_are_those_of_the_textbook() {
        let root = std::f64::consts::FRAC_1_SQRT_2;
        let base = Sample::of(&[-root, root]).unwrap();
        let now = Sample::of(&[1.0 - root, 1.0 + root]).unwrap();
        let found = equivalence(&base, &now, 5.0, 0.95).unwrap();
        near(found.freedom, 2.0, 1e-12);
        // P(T_2 < -4) = (1 - 4 / sqrt(18)) / 2
        near(found.p, (1.0 - 4.0 / 18.0_f64.sqrt()) / 2.0, 1e-10);
        assert!(found.equivalent);
        // The quantile of T_2 at 0.975, about a difference of 1.
        near(found.interval.0, 1.0 - 4.302_652_729_749_462, 1e-10);
        near(found.interval.1, 1.0 + 4.302_652_729_749_462, 1e-10);
    }

    #[test]
    fn a_difference_is_shown_only_by_an_interval_that_lies_outside() {
        let base = Sample::of(&[0.860, 0.862, 0.858, 0.861, 0.859]).unwrap();
        let is_outside = |values: &[f64]| {
            let now = Sample::of(values).unwrap();
            equivalence(&base, &now, 0.005, 0.95)
                .unwrap()
                .is_outside(0.005)
        };
        assert!(is_outside(&[0.880, 0.881, 0.879]));
        assert!(is_outside(&[0.840, 0.841, 0.839]));
        // Far, and so wide apart that it may be near; and near the edge.
        assert!(!is_outside(&[0.80, 0.86, 0.98]));
        assert!(!is_outside(&[0.865, 0.864, 0.863]));
        // No spread on either side: the means are all there is.
        let (one, two) = (
            Sample::of(&[0.5; 5]).unwrap(),
            Sample::of(&[0.75; 3]).unwrap(),
        );
        let found = equivalence(&one, &two, 0.125, 0.95).unwrap();
        assert_eq!(found.interval, (0.25, 0.25));
        assert!(found.is_outside(0.125) && !found.is_outside(0.5));
    }
}
