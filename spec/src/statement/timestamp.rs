//! Points in time as in-toto writes them: RFC 3339, in UTC, with a `Z`.
//!
//! Owns the text and its order. Reads no clock, and believes no signer's: what a time proves is for
//! policies to say.

use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A point in time. It keeps the text that it was read from; two are equal if they mean the same moment.
///
/// ```
/// use sealstone_spec::statement::Timestamp;
/// let time: Timestamp = "2026-01-01T00:00:00Z".parse()?;
/// assert_eq!(time.unix_seconds(), 1_767_225_600);
/// assert_eq!(time, "2026-01-01T00:00:00.000Z".parse()?);
/// assert!("2026-01-01T00:00:00+00:00".parse::<Timestamp>().is_err());
/// # Ok::<(), sealstone_spec::statement::timestamp::TimestampError>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp {
    text: String,
    seconds: i64,
    nanoseconds: u32,
}

/// Text that is no point in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no time such as 2026-01-01T00:00:00Z (RFC 3339 in UTC, with Z)")]
pub struct TimestampError(String);

impl Timestamp {
    /// The time that lies `seconds` after the start of 1970; `None` outside the years 1 to 9999.
    pub fn from_unix(seconds: i64) -> Option<Timestamp> {
        let (year, month, day) = civil(seconds.div_euclid(DAY));
        if !(1..=9999).contains(&year) {
            return None;
        }
        let rest = seconds.rem_euclid(DAY);
        let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
        Some(Timestamp {
            text: format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"),
            seconds,
            nanoseconds: 0,
        })
    }

    /// Whole seconds since the start of 1970; a fraction is cut off.
    pub fn unix_seconds(&self) -> i64 {
        self.seconds
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

const DAY: i64 = 86_400;

/// Days since the start of 1970, by the proleptic Gregorian calendar (Howard Hinnant's algorithm).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of a count of days since the start of 1970.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = (shifted_month + 2) % 12 + 1;
    let year = year + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

fn read(text: &str) -> Option<(i64, u32)> {
    let bytes = text.as_bytes();
    let pattern = b"0000-00-00T00:00:00";
    let (front, rest) = bytes.split_at_checked(pattern.len())?;
    let fits = front.iter().zip(pattern).all(|(byte, form)| match form {
        b'0' => byte.is_ascii_digit(),
        other => byte == other,
    });
    if !fits {
        return None;
    }
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let in_range = year >= 1
        && (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        // A leap second; clocks that know none see the next minute's start.
        && (second < 60 || (second == 60 && minute == 59));
    if !in_range {
        return None;
    }
    let nanoseconds = match rest {
        b"Z" => 0,
        [b'.', digits @ .., b'Z'] if (1..=9).contains(&digits.len()) => {
            let text = std::str::from_utf8(digits).ok()?;
            if !digits.iter().all(u8::is_ascii_digit) {
                return None;
            }
            format!("{text:0<9}").parse().ok()?
        }
        _ => return None,
    };
    let seconds = days(year, month, day) * DAY + hour * 3600 + minute * 60 + second;
    Some((seconds, nanoseconds))
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Timestamp, TimestampError> {
        match read(text) {
            Some((seconds, nanoseconds)) => Ok(Timestamp {
                text: text.to_owned(),
                seconds,
                nanoseconds,
            }),
            None => Err(TimestampError(text.chars().take(60).collect())),
        }
    }
}

impl TryFrom<String> for Timestamp {
    type Error = TimestampError;

    fn try_from(text: String) -> Result<Timestamp, TimestampError> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(time: Timestamp) -> String {
        time.text
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Timestamp {
    fn eq(&self, other: &Timestamp) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Timestamp {}

impl PartialOrd for Timestamp {
    fn partial_cmp(&self, other: &Timestamp) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timestamp {
    fn cmp(&self, other: &Timestamp) -> Ordering {
        (self.seconds, self.nanoseconds).cmp(&(other.seconds, other.nanoseconds))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_one_form_is_read() {
        for bad in [
            "",
            "2026-01-01",
            "2026-01-01T00:00:00",
            "2026-01-01t00:00:00Z",
            "2026-01-01T00:00:00z",
            "2026-01-01 00:00:00Z",
            "2026-01-01T00:00:00+00:00",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "0000-01-01T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:60Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00.0000000001Z",
            "2026-01-01T00:00:00.1xZ",
            "+026-01-01T00:00:00Z",
            "2026-01-01T00:00:00Zx",
            "２026-01-01T00:00:00Z",
        ] {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
        }
    }

    #[test]
    fn known_moments() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1969-12-31T23:59:59.5Z", -1),
            ("2000-02-29T12:00:00Z", 951_825_600),
            ("2016-12-31T23:59:60Z", 1_483_228_800),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
            ("0001-01-01T00:00:00Z", -62_135_596_800),
        ] {
            assert_eq!(text.parse::<Timestamp>().unwrap().unix_seconds(), seconds);
        }
        assert_eq!(Timestamp::from_unix(253_402_300_800), None);
        assert_eq!(Timestamp::from_unix(-62_135_596_801), None);
    }

    #[test]
    fn order_is_that_of_moments() {
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        assert!(time("2026-01-01T00:00:00.1Z") < time("2026-01-01T00:00:00.11Z"));
        assert_eq!(
            time("2026-01-01T00:00:00.10Z"),
            time("2026-01-01T00:00:00.1Z")
        );
        assert!(time("2025-12-31T23:59:59.999Z") < time("2026-01-01T00:00:00Z"));
    }

    proptest! {
        #[test]
        fn seconds_round_trip(seconds in -62_135_596_800i64..253_402_300_800) {
            let time = Timestamp::from_unix(seconds).unwrap();
            let again: Timestamp = time.as_str().parse().unwrap();
            prop_assert_eq!(again.unix_seconds(), seconds);
        }

        #[test]
        fn never_panics(text in "\\PC{0,40}") {
            let _ = text.parse::<Timestamp>();
        }
    }
}
