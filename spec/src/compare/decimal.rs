//! Numbers as exact text.
//!
//! Canonical JSON has no exact fractions: two writers round differently. So numbers in locks and
//! reports are strings, and this type is what they hold. Owns the grammar: JSON's numbers, and the three
//! words `NaN`, `Infinity` and `-Infinity`.
//! Invariant: the value is the double nearest to the text; a double written as text is its shortest form
//! that reads back as the same double.

use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::fmt;
use std::str::FromStr;

/// Longest text: more digits than any double has.
const MAX_LEN: usize = 1100;

/// A number with the text that it was written as.
///
/// Equal means the same number: `0.10` equals `1e-1`, and integers beyond 2^53 keep every digit. NaN
/// equals itself, so that documents can be compared; rules on metrics decide otherwise.
///
/// ```
/// use sealstone_spec::compare::Decimal;
/// let figure: Decimal = "0.30000000000000004".parse().unwrap();
/// assert_eq!(figure, Decimal::from(0.1 + 0.2));
/// assert_eq!(Decimal::from(1e-9).to_string(), "1e-9");
/// assert!("0x10".parse::<Decimal>().is_err());
/// ```
#[derive(Clone, Debug)]
pub struct Decimal {
    text: String,
    value: f64,
}

/// Why a text is no number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no number: write it as in JSON, or as NaN, Infinity or -Infinity")]
pub struct DecimalError(String);

impl Decimal {
    /// The double nearest to it.
    pub fn value(&self) -> f64 {
        self.value
    }

    /// The text that it was written as.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The number that a JSON value holds: a number, or a string that is one.
    pub fn from_json(value: &Value) -> Option<Decimal> {
        match value {
            Value::String(text) => text.parse().ok(),
            Value::Number(number) => number.to_string().parse().ok(),
            _ => None,
        }
    }

    /// Whether it is neither NaN nor an infinity.
    pub fn is_finite(&self) -> bool {
        self.value.is_finite()
    }

    /// Sign, digits without zeros at either end, and the exponent of the first digit.
    fn normal(&self) -> Option<(bool, Vec<u8>, i64)> {
        let (negative, rest) = match self.text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, self.text.as_str()),
        };
        if !rest.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        let Some(first) = digits.iter().position(|digit| *digit != b'0') else {
            return Some((false, Vec::new(), 0)); // zero has one form, with either sign
        };
        let last = digits.iter().rposition(|digit| *digit != b'0')?;
        let place = exponent.checked_add(i64::try_from(whole.len()).ok()?)?;
        let place = place.checked_sub(i64::try_from(first).ok()?)?;
        Some((negative, digits[first..=last].to_vec(), place))
    }
}

impl From<f64> for Decimal {
    fn from(value: f64) -> Decimal {
        let text = if value.is_nan() {
            "NaN".to_owned()
        } else if value.is_infinite() {
            let text = if value > 0.0 { "Infinity" } else { "-Infinity" };
            text.to_owned()
        } else {
            shortest(value)
        };
        Decimal { text, value }
    }
}

impl From<u64> for Decimal {
    fn from(value: u64) -> Decimal {
        Decimal {
            text: value.to_string(),
            value: value as f64,
        }
    }
}

/// The shortest text that reads back as the same double, plain where that is short.
fn shortest(value: f64) -> String {
    let plain = value.to_string();
    let scientific = format!("{value:e}");
    if plain.len() <= 21 && (value == 0.0 || value.abs() >= 1e-4) {
        plain
    } else {
        scientific
    }
}

fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let rest = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (rest, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|text| {
            let text = text.strip_prefix(['+', '-']).unwrap_or(text);
            digits(text) && text.len() <= 6
        })
}

impl FromStr for Decimal {
    type Err = DecimalError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || DecimalError(text.chars().take(60).collect());
        let value = match text {
            "NaN" => f64::NAN,
            "Infinity" => f64::INFINITY,
            "-Infinity" => f64::NEG_INFINITY,
            _ if text.len() <= MAX_LEN && is_number(text) => text.parse().map_err(|_| refused())?,
            _ => return Err(refused()),
        };
        Ok(Decimal {
            text: text.to_owned(),
            value,
        })
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Decimal) -> bool {
        self.text == other.text
            || match (self.normal(), other.normal()) {
                (Some(one), Some(two)) => one == two,
                _ => false,
            }
    }
}

impl Eq for Decimal {}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// Strings as documents hold them, and numbers as a hand-written file holds them.
impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Decimal;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, as a number or as text")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Decimal, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_f64<E>(self, value: f64) -> Result<Decimal, E> {
                Ok(Decimal::from(value))
            }

            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Decimal, E> {
                value.to_string().parse().map_err(E::custom)
            }

            fn visit_u64<E>(self, value: u64) -> Result<Decimal, E> {
                Ok(Decimal::from(value))
            }
        }
        deserializer
            .deserialize_any(Reader)
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_read_as_json_writes_them() {
        for (text, value) in [
            ("0", 0.0),
            ("-0", -0.0),
            ("1e-9", 1e-9),
            ("1E+2", 100.0),
            ("0.91", 0.91),
            ("-12.50", -12.5),
            ("Infinity", f64::INFINITY),
            ("1e999", f64::INFINITY),
        ] {
            let read: Decimal = text.parse().unwrap();
            assert_eq!(read.value(), value, "{text}");
            assert_eq!(read.to_string(), text);
        }
        for bad in [
            "",
            "-",
            "+1",
            "01",
            "1.",
            ".5",
            "1e",
            "1e+",
            "nan",
            "inf",
            " 1",
            "1 ",
            "0x1",
            "1_0",
            "1e1234567",
        ] {
            assert!(bad.parse::<Decimal>().is_err(), "{bad}");
        }
        assert!("1".repeat(MAX_LEN + 1).parse::<Decimal>().is_err());
    }

    #[test]
    fn equal_numbers_are_equal_however_written() {
        let read = |text: &str| text.parse::<Decimal>().unwrap();
        for (one, two) in [
            ("0.10", "1e-1"),
            ("100", "1E2"),
            ("-0", "0.00"),
            ("NaN", "NaN"),
        ] {
            assert_eq!(read(one), read(two));
        }
        for (one, two) in [
            ("9007199254740993", "9007199254740992"),
            ("0.1", "0.10000000000000000001"),
            ("1", "-1"),
            ("Infinity", "-Infinity"),
            ("Infinity", "1e999"),
        ] {
            assert_ne!(read(one), read(two));
        }
    }

    #[test]
    fn hand_written_files_hold_numbers_and_documents_hold_text() {
        for written in ["1e-9", "\"1e-9\""] {
            let read: Decimal = serde_json::from_str(written).unwrap();
            assert_eq!(read.value(), 1e-9);
            assert_eq!(serde_json::to_string(&read).unwrap(), "\"1e-9\"");
        }
        assert!(serde_json::from_str::<Decimal>("true").is_err());
        assert_eq!(
            Decimal::from_json(&serde_json::json!(3))
                .unwrap()
                .to_string(),
            "3"
        );
        assert_eq!(Decimal::from_json(&serde_json::json!([3])), None);
    }

    proptest! {
        #[test]
        fn doubles_survive_as_text(bits: u64) {
            let value = f64::from_bits(bits);
            let written = Decimal::from(value);
            let read: Decimal = written.as_str().parse().unwrap();
            prop_assert!(read.value() == value || (value.is_nan() && read.value().is_nan()));
            prop_assert_eq!(read, written);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[-+0-9.eENaInfity]{0,12}") {
            if let Ok(read) = text.parse::<Decimal>() {
                prop_assert_eq!(read.as_str(), text);
                prop_assert_eq!(&read, &read.clone());
            }
        }
    }
}
