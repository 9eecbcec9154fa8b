//! Calendar days, for exceptions that expire.
//!
//! Does not know what day it is: callers say so.
//! Invariant: a [`Day`] is a real day of the Gregorian calendar, written `YYYY-MM-DD`.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A day, ordered as the calendar is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Day {
    year: u16,
    month: u8,
    day: u8,
}

/// A text that is no day.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no day: write it as YYYY-MM-DD")]
pub struct DayError(String);

impl Day {
    /// A day by its numbers; `None` if the calendar has it not.
    pub fn new(year: u16, month: u8, day: u8) -> Option<Day> {
        let leap =
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let days = match month {
            4 | 6 | 9 | 11 => 30,
            2 if leap => 29,
            2 => 28,
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            _ => return None,
        };
        (year <= 9999 && (1..=days).contains(&day)).then_some(Day { year, month, day })
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl From<Day> for String {
    fn from(day: Day) -> String {
        day.to_string()
    }
}

impl TryFrom<String> for Day {
    type Error = DayError;

    fn try_from(text: String) -> Result<Day, DayError> {
        text.parse()
    }
}

impl FromStr for Day {
    type Err = DayError;

    fn from_str(text: &str) -> Result<Day, DayError> {
        let refuse = || DayError(text.chars().take(40).collect());
        let shape = text.len() == 10
            && text.bytes().enumerate().all(|(index, byte)| match index {
                4 | 7 => byte == b'-',
                _ => byte.is_ascii_digit(),
            });
        if !shape {
            return Err(refuse());
        }
        let number = |range: std::ops::Range<usize>| text[range].parse::<u16>().ok();
        let small = |range| number(range).and_then(|value| u8::try_from(value).ok());
        let (Some(year), Some(month), Some(day)) = (number(0..4), small(5..7), small(8..10)) else {
            return Err(refuse());
        };
        Day::new(year, month, day).ok_or_else(refuse)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_days_of_the_calendar() {
        for text in ["2026-02-28", "2024-02-29", "2000-02-29", "0001-12-31"] {
            assert_eq!(text.parse::<Day>().unwrap().to_string(), text);
        }
        for text in [
            "2026-02-29",
            "1900-02-29",
            "2026-13-01",
            "2026-00-10",
            "2026-1-1",
            "2026-04-31",
            "+026-01-01",
            "",
            "2026-01-01T",
        ] {
            assert!(text.parse::<Day>().is_err(), "{text}");
        }
        assert!("2026-01-31".parse::<Day>().unwrap() < "2026-02-01".parse().unwrap());
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,12}") {
            let _ = text.parse::<Day>();
        }
    }
}
