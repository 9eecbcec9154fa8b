//! The innermost loop of a comparison: eight lanes of doubles over two short pieces of a tensor.
//!
//! Owns what is done for every pair of elements, written so that the compiler makes wide instructions of it, and the
//! choice of the widest that this processor has. Doubles are added, subtracted and multiplied one by one in every
//! form (no fused steps, no other order), so the figures are the same on every machine: a test compares the forms.
//!
//! Invariant: the unsafe code here is the call of a form whose instructions were looked for just before.
#![allow(unsafe_code)]

use super::numbers::Number;

/// Elements that are summed side by side. Element `i` of a piece belongs to lane `i % LANES`.
pub(super) const LANES: usize = 8;

/// One double in each lane.
pub(super) type Lanes = [f64; LANES];

/// What a piece adds up to, lane by lane.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LaneSums {
    /// Squared difference, squared base, squared other, product, absolute difference.
    pub(super) sums: [Lanes; 5],
    /// The largest absolute difference.
    pub(super) largest: Lanes,
    /// Pairs with signs that differ, zeros left out.
    pub(super) flips: [u64; LANES],
    /// Elements whose bits differ.
    pub(super) changed: u64,
}

impl LaneSums {
    /// Whether every element on both sides was finite. If not, the sums mean nothing. (A sum that overflows says no
    /// as well: a second look, pair by pair, comes to the same sums.)
    pub(super) fn all_finite(&self) -> bool {
        self.sums[4].iter().all(|sum| sum.is_finite())
    }
}

/// Sums two equally long pieces of little-endian elements.
pub(super) fn sum<N: Number>(base: &[u8], now: &[u8]) -> LaneSums {
    #[cfg(target_arch = "x86_64")]
    {
        if std::is_x86_feature_detected!("avx512f")
            && std::is_x86_feature_detected!("avx512bw")
            && std::is_x86_feature_detected!("avx512dq")
            && std::is_x86_feature_detected!("avx512vl")
        {
            // SAFETY: the four sets of instructions are there.
            return unsafe { sum_512::<N>(base, now) };
        }
        if std::is_x86_feature_detected!("avx2") {
            // SAFETY: the instructions are there.
            return unsafe { sum_256::<N>(base, now) };
        }
    }
    sum_any::<N>(base, now)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn sum_512<N: Number>(base: &[u8], now: &[u8]) -> LaneSums {
    sum_any::<N>(base, now)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sum_256<N: Number>(base: &[u8], now: &[u8]) -> LaneSums {
    sum_any::<N>(base, now)
}

#[inline(always)]
fn sum_any<N: Number>(base: &[u8], now: &[u8]) -> LaneSums {
    let row = LANES * N::BYTES;
    let whole = base.len() / row * row;
    let mut found = LaneSums {
        changed: N::differing(base, now),
        ..LaneSums::default()
    };
    // Copies, so that the lanes stay in registers.
    let (mut sums, mut largest, mut flips) = (found.sums, found.largest, found.flips);
    let rows = base[..whole]
        .chunks_exact(row)
        .zip(now[..whole].chunks_exact(row));
    for (base, now) in rows {
        let (b, n) = (N::row(base), N::row(now));
        add_row::<N>(&b, &n, &mut sums, &mut largest, &mut flips);
    }
    let rest = (base.len() - whole) / N::BYTES;
    if rest > 0 {
        // The lanes without an element get zeros, which change no sum.
        let (mut b, mut n) = ([0.0; LANES], [0.0; LANES]);
        let each = base[whole..]
            .chunks_exact(N::BYTES)
            .zip(now[whole..].chunks_exact(N::BYTES));
        for (lane, (base, now)) in each.enumerate() {
            (b[lane], n[lane]) = (N::value(base), N::value(now));
        }
        add_row::<N>(&b, &n, &mut sums, &mut largest, &mut flips);
    }
    (found.sums, found.largest, found.flips) = (sums, largest, flips);
    found
}

#[inline(always)]
fn add_row<N: Number>(
    b: &Lanes,
    n: &Lanes,
    sums: &mut [Lanes; 5],
    largest: &mut Lanes,
    flips: &mut [u64; LANES],
) {
    let (mut difference, mut product) = ([0.0; LANES], [0.0; LANES]);
    for lane in 0..LANES {
        difference[lane] = n[lane] - b[lane];
        product[lane] = b[lane] * n[lane];
    }
    for lane in 0..LANES {
        sums[0][lane] += difference[lane] * difference[lane];
    }
    for lane in 0..LANES {
        sums[1][lane] += b[lane] * b[lane];
    }
    for lane in 0..LANES {
        sums[2][lane] += n[lane] * n[lane];
    }
    for lane in 0..LANES {
        sums[3][lane] += product[lane];
    }
    let mut distance = [0.0; LANES];
    for lane in 0..LANES {
        distance[lane] = difference[lane].abs();
        sums[4][lane] += distance[lane];
    }
    for lane in 0..LANES {
        largest[lane] = if distance[lane] > largest[lane] {
            distance[lane]
        } else {
            largest[lane]
        };
    }
    for lane in 0..LANES {
        flips[lane] += match N::PRODUCT_KEEPS_SIGN {
            true => u64::from(product[lane] < 0.0),
            false => {
                u64::from((b[lane] < 0.0) & (n[lane] > 0.0) | (b[lane] > 0.0) & (n[lane] < 0.0))
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::super::numbers::{BF16, F16, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64};
    use super::*;
    use proptest::prelude::*;

    /// The definition, one pair after the other.
    fn plain<N: Number>(base: &[u8], now: &[u8]) -> LaneSums {
        let mut found = LaneSums::default();
        let each = base.chunks_exact(N::BYTES).zip(now.chunks_exact(N::BYTES));
        for (place, (base, now)) in each.enumerate() {
            let lane = place % LANES;
            let (b, n) = (N::value(base), N::value(now));
            let difference = n - b;
            let added = [
                difference * difference,
                b * b,
                n * n,
                b * n,
                difference.abs(),
            ];
            for (sum, value) in found.sums.iter_mut().zip(added) {
                sum[lane] += value;
            }
            if difference.abs() > found.largest[lane] {
                found.largest[lane] = difference.abs();
            }
            found.flips[lane] += u64::from((b < 0.0 && n > 0.0) || (b > 0.0 && n < 0.0));
            found.changed += u64::from(N::bits(base) != N::bits(now));
        }
        found
    }

    fn check<N: Number>(base: &[u8], now: &[u8]) {
        let cut = base.len().min(now.len()) / N::BYTES * N::BYTES;
        let (base, now) = (&base[..cut], &now[..cut]);
        let expected = plain::<N>(base, now);
        let mut forms = vec![
            ("any", sum_any::<N>(base, now)),
            ("best", sum::<N>(base, now)),
        ];
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("avx2") {
            // SAFETY: the instructions are there.
            forms.push(("avx2", unsafe { sum_256::<N>(base, now) }));
        }
        forms.push(("again", sum::<N>(base, now)));
        for (name, found) in forms {
            assert_eq!(found.changed, expected.changed, "{name}");
            assert_eq!(found.all_finite(), expected.all_finite(), "{name}");
            if !expected.all_finite() {
                continue;
            }
            assert_eq!(found.flips, expected.flips, "{name}");
            let bits = |lanes: &Lanes| lanes.map(f64::to_bits);
            assert_eq!(bits(&found.largest), bits(&expected.largest), "{name}");
            for (found, expected) in found.sums.iter().zip(&expected.sums) {
                assert_eq!(bits(found), bits(expected), "{name}");
            }
        }
    }

    proptest! {
        #[test]
        fn every_form_gives_the_same_bits(base in prop::collection::vec(any::<u8>(), 0..1200), now in prop::collection::vec(any::<u8>(), 0..1200)) {
            check::<F16>(&base, &now);
            check::<BF16>(&base, &now);
            check::<F32>(&base, &now);
            check::<F64>(&base, &now);
            check::<I8>(&base, &now);
            check::<I16>(&base, &now);
            check::<I32>(&base, &now);
            check::<I64>(&base, &now);
            check::<U8>(&base, &now);
            check::<U16>(&base, &now);
            check::<U32>(&base, &now);
            check::<U64>(&base, &now);
        }

        #[test]
        fn so_it_does_for_ordinary_numbers(pairs in prop::collection::vec((-1e3..1e3f64, -1e-3..1e-3f64), 0..600)) {
            let side = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).collect::<Vec<f64>>();
            let (base, now) = (side(|(b, _)| *b), side(|(b, d)| b + d));
            let raw = |values: &[f64]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
            check::<F64>(&raw(&base), &raw(&now));
            let raw = |values: &[f64]| values.iter().flat_map(|v| (*v as f32).to_le_bytes()).collect::<Vec<u8>>();
            check::<F32>(&raw(&base), &raw(&now));
            let raw = |values: &[f64]| values.iter().flat_map(|v| half::bf16::from_f64(*v).to_le_bytes()).collect::<Vec<u8>>();
            check::<BF16>(&raw(&base), &raw(&now));
            let raw = |values: &[f64]| values.iter().flat_map(|v| half::f16::from_f64(*v).to_le_bytes()).collect::<Vec<u8>>();
            check::<F16>(&raw(&base), &raw(&now));
        }
    }

    #[test]
    fn signs_of_numbers_too_small_to_multiply_are_seen() {
        let raw = |value: f64| value.to_le_bytes();
        let tiny = f64::from_bits(1);
        assert_eq!(sum::<F64>(&raw(tiny), &raw(-tiny)).flips[0], 1);
        assert_eq!(sum::<F64>(&raw(0.0), &raw(-tiny)).flips[0], 0);
        let tiny = f32::from_bits(1).to_le_bytes();
        let below = (-f32::from_bits(1)).to_le_bytes();
        assert_eq!(sum::<F32>(&tiny, &below).flips[0], 1);
    }

    #[test]
    fn what_is_not_finite_is_seen() {
        for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for (b, n) in [(odd, 1.0), (1.0, odd), (odd, odd)] {
                assert!(!sum::<F64>(&b.to_le_bytes(), &n.to_le_bytes()).all_finite());
                let (b, n) = ((b as f32).to_le_bytes(), (n as f32).to_le_bytes());
                assert!(!sum::<F32>(&b, &n).all_finite());
            }
        }
    }
}
