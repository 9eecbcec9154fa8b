//! The sums over two pieces of a tensor: the same figures on every machine and for any number of threads.
//!
//! Everything is summed in doubles: eight lanes within 4,096 elements, then a binary tree over those, and one
//! over blocks of 2^20 elements. Counts and maxima need no order. Bytes are little-endian here.
//! Invariant: no sum holds a pair in which one side is not finite; such pairs are counted.

use super::lanes::{self, LANES, Lanes};
use super::numbers::Number;
use sealstone_spec::compare::{NanRule, ScalarTolerance};

/// Elements of a block: the leaves of the tree that `sets` folds.
pub(super) const BLOCK_ELEMENTS: u64 = 1 << 20;
/// Elements that are summed without the tree.
const CHUNK: usize = 4096;

/// Sums over finite pairs: squared difference, squared base, squared other, product, absolute difference.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sums(pub(super) [f64; 5]);

impl Sums {
    fn add(self, other: Sums) -> Sums {
        let mut sums = self.0;
        for (sum, more) in sums.iter_mut().zip(other.0) {
            *sum += more;
        }
        Sums(sums)
    }

    /// A fixed binary tree: the left half is the largest power of two that is smaller than the whole.
    pub(super) fn tree(leaves: &[Sums]) -> Sums {
        match leaves {
            [] => Sums::default(),
            [one] => *one,
            _ => {
                let middle = leaves.len().next_power_of_two() / 2;
                let (left, right) = leaves.split_at(middle);
                Sums::tree(left).add(Sums::tree(right))
            }
        }
    }
}

/// What is counted; folding is the same in any order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tally {
    pub(super) changed: u64,
    pub(super) first_changed: Option<u64>,
    /// The largest finite difference and the first element that has it.
    pub(super) max_abs: f64,
    pub(super) max_at: Option<u64>,
    /// The first pair that cannot be subtracted and is never allowed: NaN on one side, or another infinity.
    pub(super) odd_at: Option<u64>,
    /// The first pair of NaN.
    pub(super) both_at: Option<u64>,
    pub(super) sign_flips: u64,
    pub(super) base_nan: u64,
    pub(super) now_nan: u64,
    pub(super) nan_one_side: u64,
    pub(super) nan_both: u64,
    pub(super) infinite: u64,
    /// Pairs that entered the sums.
    pub(super) finite: u64,
    pub(super) outside: u64,
    pub(super) outside_at: Option<u64>,
    /// Pairs by the bits of their ULP distance: 0, 1, 2..3, 4..7 ...
    pub(super) ulps: [u64; 65],
}

impl Default for Tally {
    fn default() -> Tally {
        Tally {
            changed: 0,
            first_changed: None,
            max_abs: 0.0,
            max_at: None,
            odd_at: None,
            both_at: None,
            sign_flips: 0,
            base_nan: 0,
            now_nan: 0,
            nan_one_side: 0,
            nan_both: 0,
            infinite: 0,
            finite: 0,
            outside: 0,
            outside_at: None,
            ulps: [0; 65],
        }
    }
}

fn earlier(one: Option<u64>, two: Option<u64>) -> Option<u64> {
    match (one, two) {
        (Some(one), Some(two)) => Some(one.min(two)),
        (one, two) => one.or(two),
    }
}

impl Tally {
    pub(super) fn merge(&mut self, other: &Tally) {
        self.changed += other.changed;
        self.first_changed = earlier(self.first_changed, other.first_changed);
        self.raise(other.max_abs, other.max_at);
        self.odd_at = earlier(self.odd_at, other.odd_at);
        self.both_at = earlier(self.both_at, other.both_at);
        self.sign_flips += other.sign_flips;
        self.base_nan += other.base_nan;
        self.now_nan += other.now_nan;
        self.nan_one_side += other.nan_one_side;
        self.nan_both += other.nan_both;
        self.infinite += other.infinite;
        self.finite += other.finite;
        self.outside += other.outside;
        self.outside_at = earlier(self.outside_at, other.outside_at);
        for (count, more) in self.ulps.iter_mut().zip(other.ulps) {
            *count += more;
        }
    }

    /// The first pair that no gate lets pass, whatever its bounds.
    pub(super) fn refused_at(&self, nan: NanRule) -> Option<u64> {
        match nan {
            NanRule::Fails => self.odd_at.or(self.both_at),
            NanRule::Equal => self.odd_at,
        }
    }

    fn raise(&mut self, max_abs: f64, at: Option<u64>) {
        if max_abs > self.max_abs {
            (self.max_abs, self.max_at) = (max_abs, at);
        } else if max_abs == self.max_abs {
            self.max_at = earlier(self.max_at, at);
        }
    }

    /// The ULP distance that 99 of 100 measured pairs do not exceed, rounded up to all ones.
    pub(super) fn p99_ulp(&self) -> Option<u64> {
        let total: u64 = self.ulps.iter().sum();
        let mut left = total - total / 100;
        for (bits, count) in self.ulps.iter().enumerate() {
            if total > 0 && *count >= left {
                return Some(if bits == 64 {
                    u64::MAX
                } else {
                    (1_u64 << bits) - 1
                });
            }
            left = left.saturating_sub(*count);
        }
        None
    }
}

/// Adds the pairs of two equally long pieces of little-endian elements. The first element has index `from`; every
/// `ulp_stride`-th pair is measured in ULP.
pub(super) fn pairs<N: Number>(
    base: &[u8],
    now: &[u8],
    from: u64,
    bounds: Option<&ScalarTolerance>,
    ulp_stride: usize,
    leaves: &mut Vec<Sums>,
    tally: &mut Tally,
) {
    let size = CHUNK * N::BYTES;
    let chunks = base.chunks(size).zip(now.chunks(size));
    for (number, (base, now)) in chunks.enumerate() {
        let from = from + (number * CHUNK) as u64;
        leaves.push(chunk::<N>(base, now, from, tally));
        if N::IS_FLOAT {
            measure_ulps::<N>(base, now, ulp_stride, tally);
        }
        if let Some(bounds) = bounds {
            judge_each::<N>(base, now, from, bounds, tally);
        }
    }
}

fn chunk<N: Number>(base: &[u8], now: &[u8], from: u64, tally: &mut Tally) -> Sums {
    let found = lanes::sum::<N>(base, now);
    let elements = (base.len() / N::BYTES) as u64;
    let index = |found: Option<usize>| found.map(|place| from + place as u64);
    if found.changed > 0 {
        tally.changed += found.changed;
        // Only the first chunk that differs has to be looked through.
        if tally.first_changed.is_none_or(|first| first > from) {
            let mut each = base.chunks_exact(N::BYTES).zip(now.chunks_exact(N::BYTES));
            let first = each.position(|(b, n)| N::bits(b) != N::bits(n));
            tally.first_changed = earlier(tally.first_changed, index(first));
        }
    }
    if !found.all_finite() {
        return careful::<N>(base, now, from, tally);
    }
    tally.finite += elements;
    tally.sign_flips += found.flips.iter().sum::<u64>();
    let largest = found.largest.iter().copied().fold(0.0, f64::max);
    if largest > tally.max_abs || (largest > 0.0 && largest == tally.max_abs) {
        let mut each = base.chunks_exact(N::BYTES).zip(now.chunks_exact(N::BYTES));
        let place = each.position(|(b, n)| (N::value(n) - N::value(b)).abs() == largest);
        tally.raise(largest, index(place));
    }
    fold(&found.sums)
}

fn fold(lanes: &[Lanes; 5]) -> Sums {
    let mut sums = [0.0; 5];
    for (sum, lane) in sums.iter_mut().zip(lanes) {
        *sum = ((lane[0] + lane[1]) + (lane[2] + lane[3]))
            + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
    }
    Sums(sums)
}

/// A chunk in which something is not finite: pair by pair, in the same lanes.
fn careful<N: Number>(base: &[u8], now: &[u8], from: u64, tally: &mut Tally) -> Sums {
    let mut lanes = [[0.0_f64; LANES]; 5];
    let each = base.chunks_exact(N::BYTES).zip(now.chunks_exact(N::BYTES));
    for (place, (base, now)) in each.enumerate() {
        let index = Some(from + place as u64);
        let (b, n) = (N::value(base), N::value(now));
        tally.base_nan += u64::from(b.is_nan());
        tally.now_nan += u64::from(n.is_nan());
        if b.is_nan() || n.is_nan() {
            if b.is_nan() && n.is_nan() {
                tally.nan_both += 1;
                tally.both_at = earlier(tally.both_at, index);
            } else {
                tally.nan_one_side += 1;
                tally.odd_at = earlier(tally.odd_at, index);
            }
            continue;
        }
        tally.sign_flips += u64::from((b < 0.0 && n > 0.0) || (b > 0.0 && n < 0.0));
        if b.is_infinite() || n.is_infinite() {
            if b != n {
                tally.infinite += 1;
                tally.odd_at = earlier(tally.odd_at, index);
            }
            continue;
        }
        tally.finite += 1;
        let difference = n - b;
        let lane = place % LANES;
        for (sum, value) in lanes.iter_mut().zip([
            difference * difference,
            b * b,
            n * n,
            b * n,
            difference.abs(),
        ]) {
            sum[lane] += value;
        }
        if difference != 0.0 {
            tally.raise(difference.abs(), index);
        }
    }
    fold(&lanes)
}

fn measure_ulps<N: Number>(base: &[u8], now: &[u8], stride: usize, tally: &mut Tally) {
    let step = N::BYTES * stride.max(1);
    for (base, now) in base.chunks(step).zip(now.chunks(step)) {
        let (base, now) = (&base[..N::BYTES], &now[..N::BYTES]);
        if let Some(distance) = N::ulps(base, now) {
            tally.ulps[(64 - distance.leading_zeros()) as usize] += 1;
        }
    }
}

fn judge_each<N: Number>(
    base: &[u8],
    now: &[u8],
    from: u64,
    bounds: &ScalarTolerance,
    tally: &mut Tally,
) {
    let each = base.chunks_exact(N::BYTES).zip(now.chunks_exact(N::BYTES));
    for (place, (base, now)) in each.enumerate() {
        let (b, n) = (N::value(base), N::value(now));
        // Integers over 2^53 that differ may be one double, which says nothing of how far apart they are.
        let lost = !N::IS_FLOAT && b == n && N::bits(base) != N::bits(now);
        if lost || !bounds.accepts(b, n) {
            tally.outside += 1;
            tally.outside_at = earlier(tally.outside_at, Some(from + place as u64));
        }
    }
}

/// Counts items of `size` bytes whose bytes differ, for what is no number.
pub(super) fn items(base: &[u8], now: &[u8], size: usize, from: u64, tally: &mut Tally) {
    let each = base.chunks_exact(size).zip(now.chunks_exact(size));
    for (place, (base, now)) in each.enumerate() {
        if base != now {
            tally.changed += 1;
            tally.first_changed = earlier(tally.first_changed, Some(from + place as u64));
        }
    }
}

#[cfg(test)]
mod tests;
