//! Integers that 64 bits do not hold, with all their digits.
//!
//! The parser of JSON makes doubles of them before anybody sees what was written, and two that differ would be one number:
//! identifiers, seeds, the state of a generator of random numbers. So a document is read behind this: such an integer
//! becomes a text that begins with a mark, and a text that begins with the mark gets one more. Invariant: two documents
//! that differ in an integer or a text still do, and what is no JSON is none behind it.

use serde_json::Value;
use std::borrow::Cow;

/// No character: what is written to be read does not hold it.
const MARK: &str = "\u{10ffff}";
/// The same as JSON escapes it.
const ESCAPED_MARK: &[u8] = b"\\udbff\\udfff";
/// Digits of the shortest such integer.
const FEWEST: usize = 19;

/// A document as it is to be parsed; at most twice as long.
pub(super) fn kept(document: &[u8]) -> Cow<'_, [u8]> {
    if !has_any(document) {
        return Cow::Borrowed(document);
    }
    let mut done = Vec::with_capacity(document.len() + document.len() / 4);
    let mut rest = document;
    while let [first, ..] = rest {
        let length = match first {
            b'"' => {
                let length = text_length(rest);
                done.push(b'"');
                if begins_with_mark(&rest[1..]) {
                    done.extend(MARK.bytes());
                }
                done.extend(&rest[1..length]);
                length
            }
            b'-' | b'0'..=b'9' => {
                let length = number_length(rest);
                let (number, behind) = rest.split_at(length);
                // A number before a colon is no key, and no text may make it one.
                let is_key = behind.trim_ascii_start().starts_with(b":");
                if is_too_large(number) && !is_key {
                    done.push(b'"');
                    done.extend(MARK.bytes());
                    done.extend(number);
                    done.push(b'"');
                } else {
                    done.extend(number);
                }
                length
            }
            other => {
                done.push(*other);
                1
            }
        };
        rest = &rest[length..];
    }
    Cow::Owned(done)
}

/// The digits of a value that stands for such an integer.
fn of(value: &Value) -> Option<&str> {
    let digits = value.as_str()?.strip_prefix(MARK)?;
    (!digits.starts_with(MARK)).then_some(digits)
}

/// A value as JSON writes it.
pub(super) fn text(value: &Value) -> String {
    of(value).map_or_else(|| value.to_string(), str::to_owned)
}

/// Whether a document may hold such an integer, or a text that could be taken for one.
fn has_any(document: &[u8]) -> bool {
    let mut digits = 0;
    for (at, byte) in document.iter().enumerate() {
        digits = match byte {
            b'0'..=b'9' => digits + 1,
            0xf4 | b'\\' if begins_with_mark(&document[at..]) => return true,
            _ => 0,
        };
        if digits >= FEWEST {
            return true;
        }
    }
    false
}

fn begins_with_mark(text: &[u8]) -> bool {
    let escaped = text.get(..ESCAPED_MARK.len());
    text.starts_with(MARK.as_bytes())
        || escaped.is_some_and(|start| start.eq_ignore_ascii_case(ESCAPED_MARK))
}

/// Bytes of the text that begins here, with its quotes; all of them where it does not end.
fn text_length(rest: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = rest.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn number_length(rest: &[u8]) -> usize {
    let is_part = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
    rest.iter().take_while(is_part).count()
}

/// Whether it is an integer by JSON's grammar, of more than 64 bits.
fn is_too_large(number: &[u8]) -> bool {
    let digits = number.strip_prefix(b"-").unwrap_or(number);
    let is_integer = digits.len() >= FEWEST
        && !digits.starts_with(b"0")
        && digits.iter().all(u8::is_ascii_digit);
    is_integer
        && std::str::from_utf8(number)
            .is_ok_and(|text| text.parse::<i64>().is_err() && text.parse::<u64>().is_err())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use sealstone_spec::canonical::parse_value;

    fn read(document: &str) -> Option<Value> {
        parse_value(&kept(document.as_bytes()), 10_000).ok()
    }

    #[test]
    fn no_digit_of_an_integer_is_lost() {
        for large in [
            "18446744073709551616",
            "-9223372036854775809",
            "123456789012345678901",
            "340282366920938463463374607431768211455",
        ] {
            let value = read(&format!("{{\"a\": [{large} ,1]}}")).unwrap();
            assert_eq!(text(&value["a"][0]), large);
            assert_eq!(value["a"][1], 1);
            let other = read(&format!("[\"{large}\"]")).unwrap();
            assert_ne!(value["a"][0], other[0], "a text is no integer");
        }
        for (other, due) in [
            ("18446744073709551615", Value::from(u64::MAX)),
            ("-9223372036854775808", Value::from(i64::MIN)),
            ("\"12345678901234567890\"", "12345678901234567890".into()),
        ] {
            assert_eq!(read(other).unwrap(), due);
        }
        for fraction in ["12345678901234567890.5", "12345678901234567890e1"] {
            assert_eq!(read(fraction).unwrap().as_f64(), fraction.parse().ok());
        }
    }

    #[test]
    fn no_text_is_taken_for_an_integer() {
        let large = "123456789012345678901";
        let digits = format!("\\u0031{}", &large[1..]);
        for one in ["\u{10ffff}", "\\udbff\\udfff", "\\uDBFF\\uDFFF"] {
            for end in [large, digits.as_str()] {
                let value = read(&format!("\"{one}{end}\"")).unwrap();
                assert_ne!(value, read(large).unwrap());
                let twice = read(&format!("\"{one}{one}{end}\"")).unwrap();
                assert_ne!(value, twice);
            }
        }
        // Also where nothing else in the document calls for care.
        let marked = read("\"\u{10ffff}1\"").unwrap();
        assert_eq!(marked, "\u{10ffff}\u{10ffff}1");
    }

    #[test]
    fn what_is_no_json_is_none_behind_it() {
        let large = "123456789012345678901";
        for document in [
            format!("{{{large}: 1}}"),
            format!("{{{large}\n:1}}"),
            format!("0{large}"),
            format!("-0{large}"),
            format!("--{large}"),
            format!("+{large}"),
            format!("{large}{{}}"),
            format!("[{large} {large}]"),
            format!("[{large}"),
            format!("[\"{large}"),
            "[\"\\".to_owned(),
        ] {
            assert_eq!(read(&document), None, "{document}");
        }
    }

    proptest! {
        #[test]
        fn json_is_what_it_was(start in "[\\[\\]{}:,\"a0-9 .e\\\\-]{0,10}", digits in "[0-9]{17,22}", end in "[\\]}:,\"a ]{0,4}") {
            let text = format!("{start}{digits}{end}");
            let before = parse_value(text.as_bytes(), 10_000).ok();
            prop_assert_eq!(before.is_some(), read(&text).is_some(), "{}", text);
        }
    }
}
