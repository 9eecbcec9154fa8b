//! Sums against a plain loop, counts against a definition, and the order that never changes.

#![allow(clippy::unwrap_used)]
use super::super::numbers::{F32, F64, I32, I64};
use super::*;
use proptest::prelude::*;

fn bytes(values: &[f64]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn of(base: &[f64], now: &[f64]) -> (Sums, Tally) {
    let (mut leaves, mut tally) = (Vec::new(), Tally::default());
    pairs::<F64>(
        &bytes(base),
        &bytes(now),
        0,
        None,
        1,
        &mut leaves,
        &mut tally,
    );
    (Sums::tree(&leaves), tally)
}

#[test]
fn what_is_not_finite_is_counted_and_not_summed() {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    let base = [1.0, nan, nan, inf, inf, 2.0, -inf, 3.0];
    let now = [1.5, nan, 0.0, inf, -inf, nan, 7.0, -3.0];
    let (sums, tally) = of(&base, &now);
    assert_eq!(tally.finite, 2);
    assert_eq!(sums.0, [0.25 + 36.0, 10.0, 11.25, 1.5 - 9.0, 6.5]);
    assert_eq!((tally.base_nan, tally.now_nan), (2, 2));
    assert_eq!(
        (tally.nan_both, tally.nan_one_side, tally.infinite),
        (1, 2, 2)
    );
    assert_eq!(
        (tally.max_abs, tally.max_at, tally.odd_at),
        (6.0, Some(7), Some(2))
    );
    assert_eq!(tally.both_at, Some(1));
    assert_eq!(tally.refused_at(NanRule::Fails), Some(2));
    assert_eq!(tally.refused_at(NanRule::Equal), Some(2));
    let (_, both) = of(&[1.0, nan], &[1.5, nan]);
    assert_eq!(both.refused_at(NanRule::Fails), Some(1));
    assert_eq!(both.refused_at(NanRule::Equal), None);
    assert_eq!(tally.sign_flips, 3, "3 to -3, inf to -inf, -inf to 7");
}

#[test]
fn the_first_of_equal_differences_is_named() {
    let base = vec![0.0; 10_000];
    let mut now = base.clone();
    (now[9_000], now[5_000], now[7_000]) = (2.0, 2.0, 1.0);
    let (_, tally) = of(&base, &now);
    assert_eq!(
        (tally.max_at, tally.first_changed, tally.changed),
        (Some(5_000), Some(5_000), 3)
    );
}

#[test]
fn integers_that_one_double_stands_for_are_outside_of_every_bound() {
    let raw = |values: &[i64]| {
        values
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect::<Vec<u8>>()
    };
    let large = 1_i64 << 60;
    let bounds = ScalarTolerance {
        abs: Some(1e6_f64.into()),
        ..ScalarTolerance::default()
    };
    let (mut leaves, mut tally) = (Vec::new(), Tally::default());
    pairs::<I64>(
        &raw(&[large, 5, large, large]),
        &raw(&[large, 6, large + 1, large + 256]),
        10,
        Some(&bounds),
        1,
        &mut leaves,
        &mut tally,
    );
    assert_eq!((tally.outside, tally.outside_at), (1, Some(12)));
    assert_eq!(tally.changed, 3);
}

#[test]
fn integers_are_compared_by_their_bits() {
    let raw = |values: &[i32]| {
        values
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect::<Vec<u8>>()
    };
    let (mut leaves, mut tally) = (Vec::new(), Tally::default());
    pairs::<I32>(
        &raw(&[1, -5, 3]),
        &raw(&[1, 5, 4]),
        100,
        None,
        1,
        &mut leaves,
        &mut tally,
    );
    assert_eq!(
        (tally.changed, tally.first_changed, tally.max_at),
        (2, Some(101), Some(101))
    );
    assert_eq!((tally.max_abs, tally.sign_flips), (10.0, 1));
    assert_eq!(tally.p99_ulp(), None);
}

#[test]
fn percentiles_round_up_to_all_ones() {
    let base: Vec<u8> = vec![1.0_f32; 100]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    let mut now = base.clone();
    now[..4].copy_from_slice(&f32::from_bits(1.0_f32.to_bits() + 5).to_le_bytes());
    let (mut leaves, mut tally) = (Vec::new(), Tally::default());
    pairs::<F32>(&base, &now, 0, None, 1, &mut leaves, &mut tally);
    assert_eq!(tally.p99_ulp(), Some(0));
    now[4..8].copy_from_slice(&f32::from_bits(1.0_f32.to_bits() + 5).to_le_bytes());
    pairs::<F32>(&base, &now, 0, None, 1, &mut leaves, &mut tally);
    assert_eq!(tally.p99_ulp(), Some(7));
}

#[test]
fn the_tree_has_one_shape() {
    let leaves: Vec<Sums> = (0..5).map(|n| Sums([f64::from(n); 5])).collect();
    assert_eq!(Sums::tree(&leaves).0[0], 10.0);
    // ((0+1)+(2+3))+4 in doubles where order shows: 2^53 + 1 + 1 is not 2^53 + 2.
    let odd = |value: f64| Sums([value; 5]);
    let big = 9_007_199_254_740_992.0;
    assert_eq!(Sums::tree(&[odd(big), odd(1.0), odd(1.0)]).0[0], big);
    assert_eq!(Sums::tree(&[odd(1.0), odd(1.0), odd(big)]).0[0], big + 2.0);
}

proptest! {
    #[test]
    fn sums_are_those_of_a_plain_loop(pairs in prop::collection::vec((-1e6..1e6f64, -1e6..1e6f64), 0..9000)) {
        let (base, now): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
        let (sums, tally) = of(&base, &now);
        let plain = |of: fn(f64, f64) -> f64| pairs.iter().map(|(b, n)| of(*b, *n)).sum::<f64>();
        for (found, expected) in sums.0.iter().zip([
            plain(|b, n| (n - b) * (n - b)),
            plain(|b, _| b * b),
            plain(|_, n| n * n),
            plain(|b, n| b * n),
            plain(|b, n| (n - b).abs()),
        ]) {
            prop_assert!((found - expected).abs() <= 1e-9 * (expected.abs() + 1e12), "{} {}", found, expected);
        }
        let largest = pairs.iter().map(|(b, n)| (n - b).abs()).fold(0.0, f64::max);
        prop_assert_eq!(tally.max_abs, largest);
        if let Some(at) = tally.max_at {
            let (b, n) = pairs[at as usize];
            prop_assert_eq!((n - b).abs(), largest);
        }
        prop_assert_eq!(tally.changed, pairs.iter().filter(|(b, n)| b.to_bits() != n.to_bits()).count() as u64);
    }
}
