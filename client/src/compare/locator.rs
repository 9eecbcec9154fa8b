//! Where two files begin to differ, in the words of their format.

use serde::{Serialize, Serializer};
use std::fmt;

/// A place in a file, or in a member of an archive.
///
/// ```
/// use sealstone::compare::{Locator, Place};
/// let place = Place::Tensor { name: "coef".to_owned(), index: vec![0, 17] };
/// let locator = Locator::at(place).inside("weights.safetensors");
/// assert_eq!(locator.to_string(), "member:weights.safetensors!tensor:coef[0,17]");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locator {
    /// The archive members that lead to it, the outermost first.
    pub members: Vec<String>,
    /// The place in the file or member.
    pub place: Place,
}

/// A place in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// The file as a whole: it is missing, or of another format.
    Whole,
    /// A byte.
    Offset(u64),
    /// A character of a text; both count from 1.
    Line {
        /// The line.
        line: u64,
        /// The character.
        column: u64,
    },
    /// A row of a table, counted from 1 without the header, and the column's name or number.
    Row {
        /// The row.
        row: u64,
        /// The column, if it is about one.
        column: Option<String>,
    },
    /// An element of a tensor; without an index, the tensor as a whole.
    Tensor {
        /// The tensor.
        name: String,
        /// The element, from 0 in each dimension.
        index: Vec<u64>,
    },
    /// A value in a document, as a JSON pointer (RFC 6901).
    Pointer(String),
    /// A key of a format's own metadata.
    Metadata(String),
}

impl Locator {
    /// A place in the file itself.
    pub fn at(place: Place) -> Locator {
        Locator {
            members: Vec::new(),
            place,
        }
    }

    /// The same place, in a member of an archive.
    #[must_use]
    pub fn inside(mut self, member: impl Into<String>) -> Locator {
        self.members.insert(0, member.into());
        self
    }
}

/// Text that came from a file, safe to print: no control characters, no endless names.
pub(crate) fn shown(text: &str) -> String {
    const LONGEST: usize = 120;
    let mut shown: String = text
        .chars()
        .take(LONGEST)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('\u{2026}');
    }
    shown
}

/// What a file or a file system calls something, as text: in hex behind a mark where it is no UTF-8, so that no two become
/// one.
pub(super) fn name_of(bytes: &[u8]) -> String {
    const MARK: char = '\u{fffd}';
    match std::str::from_utf8(bytes) {
        Ok(name) if name.starts_with(MARK) => format!("{MARK}{name}"),
        Ok(name) => name.to_owned(),
        Err(_) => format!("{MARK}{}", data_encoding::HEXLOWER.encode(bytes)),
    }
}

impl fmt::Display for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for member in &self.members {
            write!(f, "member:{}!", shown(member))?;
        }
        match &self.place {
            Place::Whole => f.write_str("file"),
            Place::Offset(offset) => write!(f, "offset:{offset}"),
            Place::Line { line, column } => write!(f, "line:{line}:{column}"),
            Place::Row { row, column: None } => write!(f, "row:{row}"),
            Place::Row {
                row,
                column: Some(column),
            } => write!(f, "row:{row},column:{}", shown(column)),
            Place::Tensor { name, index } => {
                write!(f, "tensor:{}", shown(name))?;
                if !index.is_empty() {
                    let index: Vec<String> = index.iter().map(u64::to_string).collect();
                    write!(f, "[{}]", index.join(","))?;
                }
                Ok(())
            }
            Place::Pointer(pointer) => write!(f, "pointer:{}", shown(pointer)),
            Place::Metadata(key) => write!(f, "metadata:{}", shown(key)),
        }
    }
}

impl Serialize for Locator {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_read_as_documents_write_them() {
        for (place, text) in [
            (Place::Whole, "file"),
            (Place::Offset(12), "offset:12"),
            (Place::Line { line: 3, column: 7 }, "line:3:7"),
            (
                Place::Row {
                    row: 2,
                    column: None,
                },
                "row:2",
            ),
            (
                Place::Row {
                    row: 2,
                    column: Some("age".to_owned()),
                },
                "row:2,column:age",
            ),
            (
                Place::Tensor {
                    name: "w".to_owned(),
                    index: vec![],
                },
                "tensor:w",
            ),
            (Place::Pointer("/a/0".to_owned()), "pointer:/a/0"),
            (
                Place::Metadata("general.name".to_owned()),
                "metadata:general.name",
            ),
        ] {
            assert_eq!(Locator::at(place).to_string(), text);
        }
        let nested = Locator::at(Place::Offset(1))
            .inside("b.tar")
            .inside("a.zip");
        assert_eq!(nested.to_string(), "member:a.zip!member:b.tar!offset:1");
    }

    #[test]
    fn no_two_names_become_one() {
        let names = [
            &b"caf\xe9"[..],
            b"caf\xe8",
            "caf\u{fffd}".as_bytes(),
            "\u{fffd}636166e9".as_bytes(),
            "\u{fffd}\u{fffd}636166e9".as_bytes(),
            b"636166e9",
        ];
        let all: std::collections::BTreeSet<String> =
            names.iter().map(|name| name_of(name)).collect();
        assert_eq!(all.len(), names.len(), "{all:?}");
        assert_eq!(name_of("café".as_bytes()), "café");
        assert_eq!(name_of(b"caf\xe9"), "\u{fffd}636166e9");
    }

    #[test]
    fn names_from_files_cannot_move_the_cursor() {
        let place = Place::Pointer(format!("/\u{1b}[2J{}", "x".repeat(1000)));
        let text = Locator::at(place).to_string();
        assert!(
            !text.contains('\u{1b}') && text.chars().count() < 150,
            "{text}"
        );
    }
}
