//! Gates over tensors: many numbers judged as a whole.
//!
//! Measured on benign changes of thread count and of processor: the largest ULP distance of a matrix product
//! is 131,072 while the product is right to 1e-7, and elementwise bounds reject up to one element in a
//! hundred. So the gates are two norms against the baseline's scale: `rel_l2 = |now - base|_2 / |base|_2` and
//! `scaled_max = max|now - base| / rms(base)`. Elementwise bounds hold only where a rule asks for them.
//! Does not sum anything: that is the caller's, in doubles, in an order that does not depend on threads.

use super::decimal::Decimal;
use super::scalar::NanRule;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What the elements of a tensor are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ElementType {
    /// One byte, zero or one.
    Bool,
    /// Signed integers.
    I8,
    /// 16 bits.
    I16,
    /// 32 bits.
    I32,
    /// 64 bits.
    I64,
    /// Unsigned integers.
    U8,
    /// 16 bits.
    U16,
    /// 32 bits.
    U32,
    /// 64 bits.
    U64,
    /// IEEE half.
    F16,
    /// Upper half of a single.
    #[serde(rename = "bf16")]
    BF16,
    /// IEEE single.
    F32,
    /// IEEE double.
    F64,
    /// Two singles, compared as two elements.
    C64,
    /// Two doubles, compared as two elements.
    C128,
    /// Items whose bytes are compared and not read: text, quantised blocks, 8-bit floats.
    Opaque,
}

impl ElementType {
    /// Whether rounding can change elements; everything else is exact.
    pub fn is_rounded(self) -> bool {
        matches!(
            self,
            ElementType::F16
                | ElementType::BF16
                | ElementType::F32
                | ElementType::F64
                | ElementType::C64
                | ElementType::C128
        )
    }

    /// The name in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            ElementType::Bool => "bool",
            ElementType::I8 => "i8",
            ElementType::I16 => "i16",
            ElementType::I32 => "i32",
            ElementType::I64 => "i64",
            ElementType::U8 => "u8",
            ElementType::U16 => "u16",
            ElementType::U32 => "u32",
            ElementType::U64 => "u64",
            ElementType::F16 => "f16",
            ElementType::BF16 => "bf16",
            ElementType::F32 => "f32",
            ElementType::F64 => "f64",
            ElementType::C64 => "c64",
            ElementType::C128 => "c128",
            ElementType::Opaque => "opaque",
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How numbers came to be: training amplifies rounding a thousandfold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Weights after training.
    #[default]
    Trained,
    /// What a fixed model gave for fixed inputs.
    Output,
}

/// Under this norm of the baseline, differences that a gate has to see may be so small that their squares are zero.
const SMALL_NORM: f64 = 1e-140;

/// The gate of one tensor.
///
/// ```
/// use sealstone_spec::compare::{ElementType, Purpose, TensorFigures, TensorGate};
/// let gate = TensorGate::default_for(ElementType::F32, Purpose::Trained);
/// let noise = TensorFigures { elements: 4, changed: 1, base_norm: 2.0, now_norm: 2.0,
///     difference_norm: 1e-5, max_abs: 1e-5, ..TensorFigures::default() };
/// assert!(gate.judge(&noise).is_ok());
/// assert!(gate.judge(&TensorFigures { difference_norm: 1e-2, ..noise }).is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorGate {
    /// Bound on `rel_l2`.
    pub rel_l2: Decimal,
    /// Bound on `scaled_max`.
    pub scaled_max: Decimal,
    /// Bound on `|now|_2` where the baseline is all zeros.
    pub atol: Decimal,
    /// What NaN is equal to.
    pub nan: NanRule,
    /// Whether a rule stated bounds on each element as well; the figures say how many failed them.
    pub elementwise: bool,
}

/// What was found of one tensor pair of the same type and shape. All sums are doubles.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TensorFigures {
    /// Elements.
    pub elements: u64,
    /// Elements whose bits differ.
    pub changed: u64,
    /// `|base|_2` over the finite pairs.
    pub base_norm: f64,
    /// `|now|_2` over the finite pairs.
    pub now_norm: f64,
    /// `|now - base|_2` over the finite pairs.
    pub difference_norm: f64,
    /// `max|now - base|` over the finite pairs.
    pub max_abs: f64,
    /// Pairs in which exactly one is NaN.
    pub nan_one_side: u64,
    /// Pairs in which both are NaN.
    pub nan_both: u64,
    /// Pairs in which an infinity stands against anything but the same infinity.
    pub infinite: u64,
    /// Pairs outside the elementwise bounds, where there are any.
    pub outside: u64,
}

impl TensorFigures {
    /// `|now - base|_2 / |base|_2`: 0 where nothing differs, infinite where the baseline is all zeros, NaN where its
    /// squares are more than doubles hold.
    pub fn rel_l2(&self) -> f64 {
        ratio(self.difference_norm, self.base_norm)
    }

    /// `max|now - base| / rms(base)`.
    pub fn scaled_max(&self) -> f64 {
        let rms = self.base_norm / (self.elements.max(1) as f64).sqrt();
        ratio(self.max_abs, rms)
    }
}

fn ratio(difference: f64, scale: f64) -> f64 {
    if difference == 0.0 {
        0.0
    } else if scale.is_infinite() {
        f64::NAN
    } else {
        difference / scale
    }
}

/// Why a tensor did not pass.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GateFailure {
    /// NaN where the rule does not allow it.
    #[error("{0} elements are NaN on one side or both")]
    Nan(u64),
    /// An infinity against something else.
    #[error("{0} elements are infinite on one side and not the same on the other")]
    Infinite(u64),
    /// Elements that are not rounded differ.
    #[error("{changed} of {elements} {element} elements differ, and these are compared exactly")]
    Exact {
        /// How many differ.
        changed: u64,
        /// How many there are.
        elements: u64,
        /// What they are.
        element: ElementType,
    },
    /// The baseline is all zeros, or its squares are, and the other is not.
    #[error(
        "the squares of the baseline are all zeros and the other is off by {found:e}, over {bound}"
    )]
    Zero {
        /// The norm, or the largest difference where that is more.
        found: f64,
        /// Its bound.
        bound: Decimal,
    },
    /// The baseline has no norm: nothing says how far off the other is.
    #[error("the squares of the baseline are more than doubles hold; state \"abs\" or \"rel\"")]
    Overflow,
    /// Too far off as a whole.
    #[error("rel_l2 is {found:.3e}, over {bound}")]
    RelL2 {
        /// The figure.
        found: f64,
        /// Its bound.
        bound: Decimal,
    },
    /// One element too far off.
    #[error("scaled_max is {found:.3e}, over {bound}")]
    ScaledMax {
        /// The figure.
        found: f64,
        /// Its bound.
        bound: Decimal,
    },
    /// Elements outside their own bounds.
    #[error("{outside} of {elements} elements are outside the elementwise bounds")]
    Elementwise {
        /// How many are outside.
        outside: u64,
        /// How many there are.
        elements: u64,
    },
}

impl TensorGate {
    /// The bounds that hold where a recipe states none. For half types they are guesses; the others were
    /// measured over thread counts, processors and BLAS kernels.
    pub fn default_for(element: ElementType, purpose: Purpose) -> TensorGate {
        let (rel_l2, scaled_max) = match (element, purpose) {
            (ElementType::F64 | ElementType::C128, Purpose::Output) => (1e-12, 1e-10),
            (ElementType::F64 | ElementType::C128, Purpose::Trained) => (1e-9, 1e-7),
            (ElementType::F32 | ElementType::C64, Purpose::Output) => (1e-5, 1e-4),
            (ElementType::F32 | ElementType::C64, Purpose::Trained) => (1e-4, 1e-3),
            (ElementType::F16, _) => (1e-2, 5e-2),
            (ElementType::BF16, _) => (5e-2, 2e-1),
            _ => (0.0, 0.0),
        };
        TensorGate {
            rel_l2: Decimal::from(rel_l2),
            scaled_max: Decimal::from(scaled_max),
            atol: Decimal::from(0.0),
            nan: NanRule::Fails,
            elementwise: false,
        }
    }

    /// Whether a tensor of numbers that can be rounded passes.
    ///
    /// # Errors
    /// Says which figure is over which bound; a figure that is NaN is over every bound. Norms are not looked at where
    /// bounds on single elements took their place.
    pub fn judge(&self, figures: &TensorFigures) -> Result<(), GateFailure> {
        let nan = match self.nan {
            NanRule::Equal => figures.nan_one_side,
            NanRule::Fails => figures.nan_one_side.saturating_add(figures.nan_both),
        };
        if nan > 0 {
            return Err(GateFailure::Nan(nan));
        }
        if figures.infinite > 0 {
            return Err(GateFailure::Infinite(figures.infinite));
        }
        if figures.outside > 0 && self.elementwise {
            return Err(GateFailure::Elementwise {
                outside: figures.outside,
                elements: figures.elements,
            });
        }
        let is_within = |found: f64, bound: &Decimal| found <= bound.value();
        if figures.base_norm == 0.0 {
            // Squares of what is under 1e-162 are zeros too, and so may both norms be: the largest difference is not.
            if is_within(figures.now_norm, &self.atol) && is_within(figures.max_abs, &self.atol) {
                return Ok(());
            }
            return Err(GateFailure::Zero {
                found: figures.now_norm.max(figures.max_abs),
                bound: self.atol.clone(),
            });
        }
        let is_infinite = |bound: &Decimal| bound.value() == f64::INFINITY;
        if self.elementwise && is_infinite(&self.rel_l2) && is_infinite(&self.scaled_max) {
            // Each number was judged by itself, and nothing is asked of norms that may not be there.
            return Ok(());
        }
        let is_moved = figures.difference_norm != 0.0 || figures.max_abs != 0.0;
        if is_moved && !figures.base_norm.is_finite() {
            return Err(GateFailure::Overflow);
        }
        let (rel_l2, scaled_max) = (figures.rel_l2(), figures.scaled_max());
        // The first is never over the second, which needs no squares of differences: where these are lost it stands in.
        let at_most = match figures.base_norm < SMALL_NORM {
            true => scaled_max,
            false => rel_l2,
        };
        for found in [rel_l2, at_most] {
            if !is_within(found, &self.rel_l2) {
                return Err(GateFailure::RelL2 {
                    found,
                    bound: self.rel_l2.clone(),
                });
            }
        }
        if !is_within(scaled_max, &self.scaled_max) {
            return Err(GateFailure::ScaledMax {
                found: scaled_max,
                bound: self.scaled_max.clone(),
            });
        }
        Ok(())
    }

    /// As [`TensorGate::judge`] for any type: what is not rounded must not differ at all.
    ///
    /// # Errors
    /// See [`TensorGate::judge`].
    pub fn judge_type(
        &self,
        element: ElementType,
        figures: &TensorFigures,
    ) -> Result<(), GateFailure> {
        if element.is_rounded() {
            return self.judge(figures);
        }
        if figures.changed == 0 {
            return Ok(());
        }
        Err(GateFailure::Exact {
            changed: figures.changed,
            elements: figures.elements,
            element,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn figures(base: &[f64], now: &[f64]) -> TensorFigures {
        let norm = |list: &mut dyn Iterator<Item = f64>| list.map(|v| v * v).sum::<f64>().sqrt();
        let pairs = || base.iter().zip(now);
        TensorFigures {
            elements: base.len() as u64,
            changed: pairs().filter(|(b, n)| b.to_bits() != n.to_bits()).count() as u64,
            base_norm: norm(&mut base.iter().copied()),
            now_norm: norm(&mut now.iter().copied()),
            difference_norm: norm(&mut pairs().map(|(b, n)| n - b)),
            max_abs: pairs().map(|(b, n)| (n - b).abs()).fold(0.0, f64::max),
            ..TensorFigures::default()
        }
    }

    #[test]
    fn defaults_are_those_of_the_chapter() {
        for (element, purpose, rel_l2, scaled_max) in [
            (ElementType::F64, Purpose::Output, "1e-12", "1e-10"),
            (ElementType::F64, Purpose::Trained, "1e-9", "1e-7"),
            (ElementType::F32, Purpose::Output, "1e-5", "1e-4"),
            (ElementType::F32, Purpose::Trained, "1e-4", "1e-3"),
            (ElementType::F16, Purpose::Trained, "1e-2", "5e-2"),
            (ElementType::BF16, Purpose::Output, "5e-2", "2e-1"),
            (ElementType::I64, Purpose::Trained, "0", "0"),
        ] {
            let gate = TensorGate::default_for(element, purpose);
            assert_eq!(gate.rel_l2, rel_l2.parse().unwrap(), "{element}");
            assert_eq!(gate.scaled_max, scaled_max.parse().unwrap(), "{element}");
        }
    }

    /// A single-precision matrix product with one thread and with two: 70 % of the elements changed, the
    /// worst ULP distance 131,072, and benign.
    #[test]
    fn a_benign_matrix_product_passes_as_output() {
        let gate = TensorGate::default_for(ElementType::F32, Purpose::Output);
        let measured = TensorFigures {
            elements: 1_000_000,
            changed: 700_000,
            base_norm: 1000.0,
            now_norm: 1000.0,
            difference_norm: 3.2e-7 * 1000.0,
            max_abs: 2.3e-6,
            ..TensorFigures::default()
        };
        gate.judge(&measured).unwrap();
        // Ten thousand steps with the rows of each batch reversed: rel_l2 1.3e-6.
        let trained = TensorGate::default_for(ElementType::F32, Purpose::Trained);
        let steps = TensorFigures {
            difference_norm: 1.3e-6 * 1000.0,
            max_abs: 3.8e-6,
            ..measured
        };
        trained.judge(&steps).unwrap();
    }

    #[test]
    fn one_element_far_off_is_seen_among_many() {
        let base = vec![1.0; 1_000_000];
        let mut now = base.clone();
        now[77] = 1.05;
        let found = figures(&base, &now);
        assert!(found.rel_l2() < 1e-4);
        let gate = TensorGate::default_for(ElementType::F32, Purpose::Trained);
        assert!(matches!(
            gate.judge(&found),
            Err(GateFailure::ScaledMax { .. })
        ));
    }

    #[test]
    fn zeros_stay_zeros() {
        let mut gate = TensorGate::default_for(ElementType::F32, Purpose::Trained);
        gate.judge(&figures(&[0.0; 4], &[0.0, -0.0, 0.0, 0.0]))
            .unwrap();
        let moved = figures(&[0.0; 4], &[1e-30, 0.0, 0.0, 0.0]);
        assert!(matches!(gate.judge(&moved), Err(GateFailure::Zero { .. })));
        assert_eq!(moved.rel_l2(), f64::INFINITY);
        gate.atol = Decimal::from(1e-20);
        gate.judge(&moved).unwrap();
        gate.judge(&figures(&[], &[])).unwrap();
    }

    /// Squares of doubles reach from 1e-162 to 1e154 only; what lies beyond is not the same for it.
    #[test]
    fn squares_that_are_lost_hide_nothing() {
        let mut gate = TensorGate::default_for(ElementType::F64, Purpose::Trained);
        let tiny = figures(&[1e-170, 3e-170], &[2e-170, 3e-170]);
        assert_eq!((tiny.base_norm, tiny.now_norm), (0.0, 0.0));
        assert!(matches!(gate.judge(&tiny), Err(GateFailure::Zero { .. })));
        // Only the squares of the differences are zeros: within the bound of the maximum, over that of the norm.
        let small = figures(&[2e-155], &[2.000_000_05e-155]);
        assert_eq!((small.difference_norm, small.rel_l2()), (0.0, 0.0));
        assert!(small.scaled_max() < gate.scaled_max.value());
        assert!(matches!(gate.judge(&small), Err(GateFailure::RelL2 { .. })));
        gate.judge(&figures(&[2e-155], &[2e-155])).unwrap();

        let huge = figures(&[1e200, 1.0], &[1.5e200, 1.0]);
        assert!(huge.rel_l2().is_nan() && huge.scaled_max().is_nan());
        assert_eq!(gate.judge(&huge), Err(GateFailure::Overflow));
        let beside = figures(&[1e200, 1.0], &[1e200, 2.0]);
        assert_eq!(gate.judge(&beside), Err(GateFailure::Overflow));
        let grown = figures(&[1e150], &[1e200]);
        assert!(matches!(gate.judge(&grown), Err(GateFailure::RelL2 { .. })));
        // Zeros of another sign are no difference, whatever stands beside them.
        gate.judge(&figures(&[1e200, 0.0], &[1e200, -0.0])).unwrap();

        // Bounds on single elements took the norms' place, and need none.
        gate.elementwise = true;
        gate.rel_l2 = Decimal::from(f64::INFINITY);
        gate.scaled_max = Decimal::from(f64::INFINITY);
        gate.judge(&huge).unwrap();
        let outside = TensorFigures { outside: 1, ..huge };
        assert!(gate.judge(&outside).is_err());
        assert!(gate.judge(&tiny).is_err(), "atol is still zero");
    }

    #[test]
    fn nan_and_infinity_never_slip_through_a_norm() {
        let same = figures(&[1.0, 2.0], &[1.0, 2.0]);
        let mut gate = TensorGate::default_for(ElementType::F64, Purpose::Output);
        let both = TensorFigures {
            nan_both: 1,
            ..same
        };
        let one = TensorFigures {
            nan_one_side: 1,
            ..same
        };
        let infinite = TensorFigures {
            infinite: 1,
            ..same
        };
        let lost = TensorFigures {
            difference_norm: f64::NAN,
            ..same
        };
        for bad in [&both, &one, &infinite, &lost] {
            assert!(gate.judge(bad).is_err());
        }
        gate.nan = NanRule::Equal;
        gate.judge(&both).unwrap();
        assert!(gate.judge(&one).is_err());
    }

    #[test]
    fn integers_are_exact() {
        let gate = TensorGate::default_for(ElementType::I32, Purpose::Output);
        let same = figures(&[1.0], &[1.0]);
        gate.judge_type(ElementType::I32, &same).unwrap();
        let moved = figures(&[1e9], &[1e9 + 1.0]);
        assert!(gate.judge_type(ElementType::I32, &moved).is_err());
    }
}
