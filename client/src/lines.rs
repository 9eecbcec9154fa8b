//! Lines of a file that somebody else wrote, one at a time.
//!
//! Does not read what they say. Invariant: however long file and lines are, one line is in memory, and of that no more
//! than was asked for.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::Path;

/// A file, read line by line.
pub(crate) struct Lines {
    reader: BufReader<File>,
    longest: usize,
    line: Vec<u8>,
    is_cut: bool,
}

/// A line without what ends it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// The first bytes of one that is longer than was asked for, and more of them than that. Nothing behind it is read.
    Cut(&'a [u8]),
}

impl Lines {
    /// Opens a file of which lines of at most `longest` bytes are of use.
    pub(crate) fn open(path: &Path, longest: usize) -> io::Result<Lines> {
        Ok(Lines {
            reader: BufReader::new(File::open(path)?),
            longest,
            line: Vec::new(),
            is_cut: false,
        })
    }

    /// The next line; `None` at the end, and behind a line that was cut.
    pub(crate) fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        if self.is_cut {
            return Ok(None);
        }
        self.line.clear();
        // With the two bytes that may end it.
        let room = self.longest as u64 + 2;
        let mut limited = (&mut self.reader).take(room);
        if limited.read_until(b'\n', &mut self.line)? == 0 {
            return Ok(None);
        }
        let line = match self.line.strip_suffix(b"\n") {
            Some(line) => line.strip_suffix(b"\r").unwrap_or(line),
            None => &self.line,
        };
        self.is_cut = line.len() > self.longest;
        Ok(Some(match self.is_cut {
            true => Line::Cut(line),
            false => Line::Whole(line),
        }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The lines of a file, of which three bytes are of use.
    fn lines(content: &str) -> Vec<String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        let mut lines = Lines::open(file.path(), 3).unwrap();
        let mut found = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            let (line, mark) = match line {
                Line::Whole(line) => (line, ""),
                Line::Cut(line) => (line, "…"),
            };
            found.push(format!("{}{mark}", String::from_utf8_lossy(line)));
        }
        assert!(lines.next_line().unwrap().is_none());
        found
    }

    #[test]
    fn a_line_is_whole_or_the_last_that_is_read() {
        for (content, due) in [
            ("", vec![]),
            ("\n", vec![""]),
            ("abc", vec!["abc"]),
            ("abc\r\n\nab\n", vec!["abc", "", "ab"]),
            ("a\rb\nab\r", vec!["a\rb", "ab\r"]),
            ("abc\nabcd\na\n", vec!["abc", "abcd…"]),
            ("abcd\r\na\n", vec!["abcd\r…"]),
            ("abcdefghi", vec!["abcde…"]),
        ] {
            assert_eq!(lines(content), due, "{content:?}");
        }
    }

    #[test]
    fn of_a_file_of_holes_little_is_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 40).unwrap();
        let mut lines = Lines::open(file.path(), 1000).unwrap();
        assert_eq!(lines.next_line().unwrap(), Some(Line::Cut(&[0; 1002])));
        assert_eq!(lines.next_line().unwrap(), None);
    }
}
