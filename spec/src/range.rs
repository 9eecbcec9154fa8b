//! Ranges of bytes in HTTP headers: which part of a blob is asked for, and which part of an upload is sent.
//!
//! Owns the two grammars and their arithmetic. Does not own what a server answers: an `Ok(None)` is the
//! whole blob (200), a range is 206, [`Unsatisfiable`] is 416.
//!
//! Invariant: a range that [`ByteRange::resolve`] returns is not empty and ends within the blob, so it
//! can index it without a further check.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// One `bytes` range of a `Range` header (RFC 9110, 14.1.2), not yet held against a length.
///
/// Numbers too large for 64 bits are as good as the largest one: no blob reaches either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// `first-last`, both counted from 0 and both included; without `last`, to the end.
    Span {
        /// First byte.
        first: u64,
        /// Last byte.
        last: Option<u64>,
    },
    /// `-n`: the last `n` bytes.
    Suffix(u64),
}

/// The range lies outside of the blob, or ends before it begins: answer 416.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("range cannot be satisfied: the content has {len} bytes")]
pub struct Unsatisfiable {
    /// Length of the blob, in bytes.
    pub len: u64,
}

impl Unsatisfiable {
    /// The `Content-Range` header that belongs to a 416: `bytes */2048`.
    pub fn content_range(&self) -> String {
        format!("bytes */{}", self.len)
    }
}

impl ByteRange {
    /// Reads a `Range` header. `None` means that it asks for nothing that is answered in part: another
    /// unit, several ranges at once, or no range at all. RFC 9110 lets a server ignore each of these,
    /// and a full body is right for all of them.
    pub fn parse(header: &str) -> Option<ByteRange> {
        let (unit, set) = header.trim().split_once('=')?;
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        let mut ranges = set.split(',').map(trim).filter(|range| !range.is_empty());
        let (only, more) = (ranges.next()?, ranges.next());
        if more.is_some() {
            return None;
        }
        match only.split_once('-')? {
            ("", n) => Some(ByteRange::Suffix(saturating(n)?)),
            (first, "") => Some(ByteRange::Span {
                first: saturating(first)?,
                last: None,
            }),
            (first, last) => Some(ByteRange::Span {
                first: saturating(first)?,
                last: Some(saturating(last)?),
            }),
        }
    }

    /// What of a blob of `len` bytes is meant; a last byte beyond the end is the end.
    ///
    /// `None` is the whole blob, only where it is empty: a 206 cannot describe an empty part, and a
    /// client that always sends `bytes=0-` should get its empty blob.
    ///
    /// # Errors
    /// If no byte is meant. A range that ends before it begins is refused too; RFC 9110 would allow to
    /// ignore it, the OCI conformance suite asks for 416.
    pub fn within(self, len: u64) -> Result<Option<Range<u64>>, Unsatisfiable> {
        if len == 0 {
            return Ok(None);
        }
        let (start, end) = match self {
            ByteRange::Span { first, last } => {
                let end = last.map_or(len, |last| last.saturating_add(1).min(len));
                (first, end)
            }
            ByteRange::Suffix(n) => (len.saturating_sub(n), len),
        };
        if start < end {
            Ok(Some(start..end))
        } else {
            Err(Unsatisfiable { len })
        }
    }

    /// Reads a `Range` header against the length of the blob: `Ok(None)` is the whole blob.
    ///
    /// ```
    /// use sealstone_spec::range::ByteRange;
    /// assert_eq!(ByteRange::resolve("bytes=500-1499", 2048), Ok(Some(500..1500)));
    /// assert_eq!(ByteRange::resolve("bytes=-500", 2048), Ok(Some(1548..2048)));
    /// assert_eq!(ByteRange::resolve("bytes=0-1, 5-9", 2048), Ok(None));
    /// assert!(ByteRange::resolve("bytes=5000-", 2048).is_err());
    /// ```
    ///
    /// # Errors
    /// See [`ByteRange::within`].
    pub fn resolve(header: &str, len: u64) -> Result<Option<Range<u64>>, Unsatisfiable> {
        match ByteRange::parse(header) {
            Some(range) => range.within(len),
            None => Ok(None),
        }
    }
}

impl fmt::Display for ByteRange {
    /// As a header value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ByteRange::Span { first, last: None } => write!(f, "bytes={first}-"),
            ByteRange::Span {
                first,
                last: Some(last),
            } => write!(f, "bytes={first}-{last}"),
            ByteRange::Suffix(n) => write!(f, "bytes=-{n}"),
        }
    }
}

/// The `Content-Range` header of a 206: `bytes 500-1499/2048`. `part` is not empty.
pub fn content_range(part: &Range<u64>, len: u64) -> String {
    format!("bytes {}-{}/{len}", part.start, part.end.saturating_sub(1))
}

/// The part of a blob that a chunk of an upload holds: `Content-Range: 0-1023`, last byte included.
///
/// The distribution specification leaves out the unit that RFC 9110 asks for; with `bytes` and with a
/// total it is understood as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadRange {
    start: u64,
    end: u64,
}

/// Why a `Content-Range` of an upload was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UploadRangeError {
    /// Not two numbers.
    #[error("content range \"{0}\" is not valid: use start-end, the last byte included")]
    Syntax(String),
    /// The last byte comes before the first, or after the stated total.
    #[error(
        "content range \"{0}\" contradicts itself: the end must not be before the start or beyond the total"
    )]
    Contradiction(String),
}

impl UploadRange {
    /// The range from byte `start` to byte `end`, both included; `None` if that is no byte, or more
    /// than can be counted.
    pub fn new(start: u64, end: u64) -> Option<UploadRange> {
        (start <= end && end < u64::MAX).then_some(UploadRange { start, end })
    }

    /// First byte of the chunk, which must be the number of bytes already received.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Last byte of the chunk, included.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Bytes in the chunk, at least 1; the body must have exactly as many.
    #[expect(clippy::len_without_is_empty, reason = "a chunk is never empty")]
    pub fn len(&self) -> u64 {
        self.end - self.start + 1
    }

    /// The `Range` header of an upload that has `received` bytes: `0-1023`. With no byte yet it is
    /// `0-0`, which clients expect although it looks like one byte.
    pub fn received(received: u64) -> String {
        format!("0-{}", received.saturating_sub(1))
    }
}

impl FromStr for UploadRange {
    type Err = UploadRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shown = || text.chars().take(100).collect::<String>();
        let syntax = || UploadRangeError::Syntax(shown());
        let range = without_unit(trim(text));
        let (range, total) = match range.split_once('/') {
            None => (range, None),
            Some((range, "*")) => (range, None),
            Some((range, total)) => (range, Some(exact(total).ok_or_else(syntax)?)),
        };
        let (start, end) = range.split_once('-').ok_or_else(syntax)?;
        let start = exact(start).ok_or_else(syntax)?;
        let end = exact(end).ok_or_else(syntax)?;
        if total.is_some_and(|total| end >= total) {
            return Err(UploadRangeError::Contradiction(shown()));
        }
        UploadRange::new(start, end).ok_or_else(|| UploadRangeError::Contradiction(shown()))
    }
}

impl fmt::Display for UploadRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.end)
    }
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// `bytes 0-9` and `bytes=0-9` as `0-9`.
fn without_unit(text: &str) -> &str {
    match text.get(..5) {
        Some(unit) if unit.eq_ignore_ascii_case("bytes") => {
            match text[5..].strip_prefix([' ', '=']) {
                Some(range) => trim(range),
                None => text,
            }
        }
        _ => text,
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A decimal number; `u64::from_str` alone would take a leading plus.
fn exact(text: &str) -> Option<u64> {
    is_number(text).then(|| text.parse().ok()).flatten()
}

fn saturating(text: &str) -> Option<u64> {
    is_number(text).then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
