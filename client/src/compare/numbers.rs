//! Elements as numbers: little-endian bytes to doubles, to bits, to text.

use super::lanes::{LANES, Lanes};
use half::{bf16, f16};
use sealstone_spec::compare::ElementType;

/// Bytes that are shown of what is no number.
pub(super) const SHOWN_BYTES: usize = 32;

/// One type of element.
pub(super) trait Number {
    /// Bytes of one element.
    const BYTES: usize;
    /// Whether it is rounded, and has ULPs.
    const IS_FLOAT: bool;
    /// Whether the product of two elements, as a double, has a sign unless one is zero: it never underflows.
    const PRODUCT_KEEPS_SIGN: bool;
    /// The nearest double; exact for everything but integers over 2^53.
    fn value(bytes: &[u8]) -> f64;
    /// The values of [`LANES`] elements.
    fn row(bytes: &[u8]) -> Lanes;
    /// The bits, for equality.
    fn bits(bytes: &[u8]) -> u64;
    /// Elements that have other bits.
    fn differing(base: &[u8], now: &[u8]) -> u64;
    /// Numbers of this type between the two; `None` for NaN and for integers.
    fn ulps(base: &[u8], now: &[u8]) -> Option<u64>;
}

/// What is the same for every type that has `from_le_bytes`.
macro_rules! reading {
    ($bits:ty, $value:expr) => {
        const BYTES: usize = size_of::<$bits>();

        #[inline(always)]
        fn value(bytes: &[u8]) -> f64 {
            let mut raw = [0; size_of::<$bits>()];
            raw.copy_from_slice(bytes);
            const VALUE: fn($bits) -> f64 = $value;
            VALUE(<$bits>::from_le_bytes(raw))
        }

        #[inline(always)]
        fn row(bytes: &[u8]) -> Lanes {
            let (elements, _) = bytes.as_chunks::<{ size_of::<$bits>() }>();
            let mut lanes = [0.0; LANES];
            for (lane, raw) in lanes.iter_mut().zip(elements) {
                const VALUE: fn($bits) -> f64 = $value;
                *lane = VALUE(<$bits>::from_le_bytes(*raw));
            }
            lanes
        }

        #[inline(always)]
        fn bits(bytes: &[u8]) -> u64 {
            let mut raw = [0; size_of::<$bits>()];
            raw.copy_from_slice(bytes);
            <$bits>::from_le_bytes(raw) as u64
        }

        #[inline(always)]
        fn differing(base: &[u8], now: &[u8]) -> u64 {
            let (base, _) = base.as_chunks::<{ size_of::<$bits>() }>();
            let (now, _) = now.as_chunks::<{ size_of::<$bits>() }>();
            let mut count = 0_u64;
            // Counted in the element's own width first, which the processor does many at a time.
            for (base, now) in base.chunks(64).zip(now.chunks(64)) {
                let mut few: $bits = 0;
                for (b, n) in base.iter().zip(now) {
                    few += <$bits>::from(b != n);
                }
                count += few as u64;
            }
            count
        }
    };
}

macro_rules! integers {
    ($($name:ident: $type:ty),*) => {$(
        pub(super) struct $name;
        impl Number for $name {
            const IS_FLOAT: bool = false;
            const PRODUCT_KEEPS_SIGN: bool = true;
            reading!($type, |value| value as f64);
            fn ulps(_: &[u8], _: &[u8]) -> Option<u64> {
                None
            }
        }
    )*};
}

integers!(I8: i8, I16: i16, I32: i32, I64: i64, U8: u8, U16: u16, U32: u32, U64: u64);

macro_rules! floats {
    ($($name:ident: $bits:ty, $infinity:expr, $small:expr, $value:expr;)*) => {$(
        pub(super) struct $name;
        impl Number for $name {
            const IS_FLOAT: bool = true;
            const PRODUCT_KEEPS_SIGN: bool = $small;
            reading!($bits, $value);
            #[inline(always)]
            fn ulps(base: &[u8], now: &[u8]) -> Option<u64> {
                let parts = |bytes: &[u8]| {
                    let mut raw = [0; size_of::<$bits>()];
                    raw.copy_from_slice(bytes);
                    let bits = <$bits>::from_le_bytes(raw);
                    let magnitude = bits & (<$bits>::MAX >> 1);
                    (bits != magnitude, u64::from(magnitude))
                };
                let infinity: $bits = $infinity;
                let ((base_below, base), (now_below, now)) = (parts(base), parts(now));
                if base > u64::from(infinity) || now > u64::from(infinity) {
                    return None;
                }
                // Numbers in order: those below zero count down from zero.
                Some(match base_below == now_below {
                    true => base.abs_diff(now),
                    false => base + now,
                })
            }
        }
    )*};
}

floats! {
    F16: u16, f16::INFINITY.to_bits(), true, double_of_half;
    BF16: u16, bf16::INFINITY.to_bits(), true, |bits| f64::from(f32::from_bits(u32::from(bits) << 16));
    F32: u32, f32::INFINITY.to_bits(), true, |bits| f64::from(f32::from_bits(bits));
    F64: u64, f64::INFINITY.to_bits(), false, f64::from_bits;
}

/// A half as a double, without a branch, so that a row of them can be turned at once.
#[inline(always)]
fn double_of_half(bits: u16) -> f64 {
    let magnitude = u64::from(bits & 0x7fff);
    // Exponent and fraction moved into place, and the exponent's bias changed from 15 to 1023.
    let normal = f64::from_bits((magnitude << 42) + (1008 << 52));
    // Below the smallest normal number, the fraction counts steps of 2^-24.
    let subnormal = f64::from(magnitude as u32) * 2.0_f64.powi(-24);
    let odd = f64::from_bits((magnitude << 42) | (0x7ff << 52));
    let value = if magnitude < 0x400 { subnormal } else { normal };
    let value = if magnitude >= 0x7c00 { odd } else { value };
    f64::from_bits(value.to_bits() | u64::from(bits & 0x8000) << 48)
}

/// One element as text: shortest form of its own type, or bytes as hex.
pub(super) fn text(element: ElementType, bytes: &[u8]) -> String {
    fn two<N: Number>(bytes: &[u8], one: fn(&[u8]) -> String) -> String {
        let (real, imaginary) = bytes.split_at(N::BYTES.min(bytes.len()));
        format!("{}+{}i", one(real), one(imaginary))
    }
    let float = |value: f64| sealstone_spec::compare::Decimal::from(value).to_string();
    let single = |bytes: &[u8]| {
        let value = F32::value(bytes);
        match value.is_finite() {
            // The shortest text of a single that reads back as the same single.
            true => match (value as f32).to_string() {
                plain if plain.len() <= 21 => plain,
                _ => format!("{:e}", value as f32),
            },
            false => sealstone_spec::compare::Decimal::from(value).to_string(),
        }
    };
    match element {
        ElementType::Bool => match bytes {
            [0] => "false".to_owned(),
            _ => "true".to_owned(),
        },
        ElementType::I8 | ElementType::I16 | ElementType::I32 | ElementType::I64 => {
            let mut raw = [if bytes.last().is_some_and(|byte| byte & 0x80 != 0) {
                0xff
            } else {
                0
            }; 8];
            raw[..bytes.len()].copy_from_slice(bytes);
            i64::from_le_bytes(raw).to_string()
        }
        ElementType::U8 | ElementType::U16 | ElementType::U32 | ElementType::U64 => {
            let mut raw = [0; 8];
            raw[..bytes.len()].copy_from_slice(bytes);
            u64::from_le_bytes(raw).to_string()
        }
        ElementType::F16 => f16::from_f64(F16::value(bytes)).to_string(),
        ElementType::BF16 => bf16::from_f64(BF16::value(bytes)).to_string(),
        ElementType::F32 => single(bytes),
        ElementType::F64 => float(F64::value(bytes)),
        ElementType::C64 => two::<F32>(bytes, |bytes| text(ElementType::F32, bytes)),
        ElementType::C128 => two::<F64>(bytes, |bytes| text(ElementType::F64, bytes)),
        _ => {
            let shown = &bytes[..bytes.len().min(SHOWN_BYTES)];
            let mut hex = data_encoding::HEXLOWER.encode(shown);
            if bytes.len() > SHOWN_BYTES {
                hex.push('\u{2026}');
            }
            hex
        }
    }
}

/// Bytes of one element; `None` where the format has to say.
pub(super) fn width(element: ElementType) -> Option<usize> {
    Some(match element {
        ElementType::Bool | ElementType::I8 | ElementType::U8 => 1,
        ElementType::I16 | ElementType::U16 | ElementType::F16 | ElementType::BF16 => 2,
        ElementType::I32 | ElementType::U32 | ElementType::F32 => 4,
        ElementType::I64 | ElementType::U64 | ElementType::F64 | ElementType::C64 => 8,
        ElementType::C128 => 16,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ulps_are_those_of_the_type() {
        let next = |value: f32| (value.to_le_bytes(), value.next_up().to_le_bytes());
        let (one, two) = next(1.0);
        assert_eq!(F32::ulps(&one, &two), Some(1));
        assert_eq!(
            F32::ulps(&0.0_f32.to_le_bytes(), &(-0.0_f32).to_le_bytes()),
            Some(0)
        );
        assert_eq!(
            F64::ulps(&1.0_f64.to_le_bytes(), &f64::NAN.to_le_bytes()),
            None
        );
        let (one, two) = (f16::from_f32(1.0), f16::from_f32(2.0));
        assert_eq!(
            F16::ulps(&one.to_le_bytes(), &two.to_le_bytes()),
            Some(1024)
        );
        assert_eq!(
            F64::ulps(&f64::MAX.to_le_bytes(), &f64::MIN.to_le_bytes()),
            Some(2 * f64::MAX.to_bits())
        );
    }

    #[test]
    fn every_half_is_the_double_it_stands_for() {
        for bits in 0..=u16::MAX {
            let raw = bits.to_le_bytes();
            let (half, brain) = (
                f16::from_bits(bits).to_f64(),
                bf16::from_bits(bits).to_f64(),
            );
            for (found, expected) in [(F16::value(&raw), half), (BF16::value(&raw), brain)] {
                if expected.is_nan() {
                    assert!(found.is_nan(), "{bits:x}");
                } else {
                    assert_eq!(found.to_bits(), expected.to_bits(), "{bits:x}");
                }
            }
        }
    }

    #[test]
    fn elements_are_shown_in_their_own_digits() {
        assert_eq!(text(ElementType::F32, &0.1_f32.to_le_bytes()), "0.1");
        assert_eq!(
            text(ElementType::F64, &1.2500000000000002_f64.to_le_bytes()),
            "1.2500000000000002"
        );
        assert_eq!(text(ElementType::I16, &(-2_i16).to_le_bytes()), "-2");
        assert_eq!(
            text(ElementType::I64, &i64::MIN.to_le_bytes()),
            i64::MIN.to_string()
        );
        assert_eq!(
            text(ElementType::U64, &u64::MAX.to_le_bytes()),
            u64::MAX.to_string()
        );
        assert_eq!(text(ElementType::Bool, &[1]), "true");
        assert_eq!(
            text(ElementType::BF16, &bf16::from_f32(1.5).to_le_bytes()),
            "1.5"
        );
        assert_eq!(text(ElementType::F32, &f32::NAN.to_le_bytes()), "NaN");
        assert_eq!(text(ElementType::Opaque, &[0xab, 1]), "ab01");
    }
}
