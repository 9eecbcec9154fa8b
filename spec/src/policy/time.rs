//! Points in time, as policies and statements write them: RFC 3339 in UTC, to the second.
//!
//! There is no clock here. Whoever asks for a verdict says what time it is.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

const DAY: i64 = 86_400;

/// A point in time: seconds since 1970-01-01T00:00:00Z.
///
/// ```
/// use sealstone_spec::policy::Time;
/// let time: Time = "2027-06-01T00:00:00Z".parse()?;
/// assert_eq!(time.plus_days(1).to_string(), "2027-06-02T00:00:00Z");
/// assert!("2027-06-01".parse::<Time>().is_err() && "2027-02-29T00:00:00Z".parse::<Time>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Time(i64);

/// A text that is no point in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no time: write it as 2027-06-01T00:00:00Z")]
pub struct TimeError(String);

impl Time {
    /// From seconds since 1970; what lies outside of the years 0 to 9999 becomes the nearest within.
    pub fn from_seconds(seconds: i64) -> Time {
        Time(seconds.clamp(-62_167_219_200, 253_402_300_799))
    }

    /// Seconds since 1970.
    pub fn seconds(self) -> i64 {
        self.0
    }

    /// So many days later.
    pub fn plus_days(self, days: u32) -> Time {
        Time::from_seconds(self.0.saturating_add(i64::from(days) * DAY))
    }

    /// So many days earlier.
    pub fn minus_days(self, days: u32) -> Time {
        Time::from_seconds(self.0.saturating_sub(i64::from(days) * DAY))
    }

    /// So many seconds later.
    pub fn plus_seconds(self, seconds: i64) -> Time {
        Time::from_seconds(self.0.saturating_add(seconds))
    }
}

/// Days since 1970 of a date (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let year = year + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

impl FromStr for Time {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        read(text).ok_or_else(|| TimeError(text.chars().take(60).collect()))
    }
}

fn read(text: &str) -> Option<Time> {
    let bytes = text.as_bytes();
    let end = *bytes.get(19)?;
    let rest = text.get(19..)?;
    // Fractions of a second are read and dropped: nothing here is decided by them.
    let is_utc = match rest.strip_prefix('.') {
        Some(fraction) => {
            let digits = fraction.strip_suffix('Z')?;
            (1..=9).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
        }
        None => end == b'Z' && bytes.len() == 20,
    };
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if !is_utc || marks.iter().any(|&(at, mark)| bytes[at] != mark) {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse().ok())?
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let days = days_from_civil(year, month, day);
    let is_date = (1..=12).contains(&month) && civil_from_days(days) == (year, month, day);
    if !is_date || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some(Time(days * DAY + hour * 3600 + minute * 60 + second))
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.0.div_euclid(DAY));
        let left = self.0.rem_euclid(DAY);
        let (hour, minute, second) = (left / 3600, left / 60 % 60, left % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"
        )
    }
}

impl TryFrom<String> for Time {
    type Error = TimeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Time> for String {
    fn from(time: Time) -> String {
        time.to_string()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_times() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:00:00Z", 951_825_600),
            ("2026-11-23T23:59:59Z", 1_795_478_399),
            ("1969-12-31T23:59:59Z", -1),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
        ] {
            let time: Time = text.parse().unwrap();
            assert_eq!((time.seconds(), time.to_string().as_str()), (seconds, text));
        }
        assert_eq!(
            "2027-06-01T00:00:00.25Z".parse::<Time>().unwrap(),
            "2027-06-01T00:00:00Z".parse().unwrap()
        );
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "2027-06-01",
            "2027-06-01T00:00:00",
            "2027-06-01T00:00:00+00:00",
            "2027-06-01 00:00:00Z",
            "2027-13-01T00:00:00Z",
            "2027-02-29T00:00:00Z",
            "2027-06-01T24:00:00Z",
            "2027-06-01T00:00:60Z",
            "2027-06-01T00:00:00.Z",
            "+027-06-01T00:00:00Z",
            "2027-06-01T00:00:0éZ",
        ] {
            assert!(text.parse::<Time>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(seconds in -62_167_219_200i64..253_402_300_800) {
            let time = Time::from_seconds(seconds);
            prop_assert_eq!(time.to_string().parse::<Time>().unwrap(), time);
        }

        #[test]
        fn never_panics(text in "\\PC{0,30}") {
            let _ = text.parse::<Time>();
        }
    }
}
