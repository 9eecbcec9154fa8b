//! Bytes that are read where they lie: a file, a part of one, or a piece of memory.
//!
//! Owns positioned reads and the search for the first byte that differs. Maps nothing into memory: a file
//! that is cut short while it is mapped kills the process, a read of it fails.
//! Invariant: a window never reads outside of itself.

use crate::error::{Error, Result};
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

/// Bytes compared or copied at once: both buffers stay in the second-level cache.
pub(crate) const PIECE_BYTES: usize = 256 * 1024;

#[derive(Clone)]
enum Source {
    File(Arc<File>),
    Memory(Arc<[u8]>),
}

/// A window on bytes; cheap to clone and to cut.
#[derive(Clone)]
pub(crate) struct Bytes {
    source: Source,
    start: u64,
    len: u64,
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({}+{})", self.start, self.len)
    }
}

impl Bytes {
    /// A regular file, whole.
    pub(crate) fn open(path: &Path) -> Result<Bytes> {
        let what = || format!("reading \"{}\"", path.display());
        // The kind first: opening a pipe would wait for its other end.
        let kind = std::fs::metadata(path).map_err(|error| Error::io(what(), error))?;
        if !kind.is_file() {
            return Err(Error::usage(format!("\"{}\" is no file", path.display()))
                .hint("compare two files, or two directories"));
        }
        let file = File::open(path).map_err(|error| Error::io(what(), error))?;
        Bytes::of_file(file).map_err(|error| Error::io(what(), error))
    }

    /// An open file, whole.
    pub(crate) fn of_file(file: File) -> io::Result<Bytes> {
        let len = file.metadata()?.len();
        Ok(Bytes {
            source: Source::File(Arc::new(file)),
            start: 0,
            len,
        })
    }

    /// A piece of memory.
    pub(crate) fn of_memory(content: Vec<u8>) -> Bytes {
        Bytes {
            len: content.len() as u64,
            source: Source::Memory(content.into()),
            start: 0,
        }
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// A part; `None` if it does not lie within.
    pub(crate) fn slice(&self, start: u64, len: u64) -> Option<Bytes> {
        let end = start.checked_add(len)?;
        (end <= self.len).then(|| Bytes {
            source: self.source.clone(),
            start: self.start + start,
            len,
        })
    }

    /// Fills `buffer` from `offset`.
    pub(crate) fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let fits = offset
            .checked_add(buffer.len() as u64)
            .is_some_and(|end| end <= self.len);
        if !fits {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match &self.source {
            Source::File(file) => file.read_exact_at(buffer, self.start + offset),
            Source::Memory(content) => {
                let start = (self.start + offset) as usize;
                buffer.copy_from_slice(&content[start..start + buffer.len()]);
                Ok(())
            }
        }
    }

    /// Everything, where that is at most `limit` bytes.
    pub(crate) fn read_all(&self, limit: u64) -> io::Result<Vec<u8>> {
        if self.len > limit {
            let text = format!("{} bytes, at most {limit} are read at once", self.len);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        let mut content = vec![0; self.len as usize];
        self.read(&mut content, 0)?;
        Ok(content)
    }

    /// Up to `count` bytes from the start.
    pub(crate) fn head(&self, count: usize) -> io::Result<Vec<u8>> {
        let mut head = vec![0; count.min(usize::try_from(self.len).unwrap_or(usize::MAX))];
        self.read(&mut head, 0)?;
        Ok(head)
    }

    /// A reader from the start.
    pub(crate) fn reader(&self) -> Reader {
        Reader {
            bytes: self.clone(),
            at: 0,
        }
    }
}

/// Reads a window from where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    bytes: Bytes,
    at: u64,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.bytes.len.saturating_sub(self.at);
        let count = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        self.bytes.read(&mut buffer[..count], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::End(by) => self.bytes.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = place.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// The first byte that differs; where one is the beginning of the other, the end of the shorter one.
pub(crate) fn first_difference(base: &Bytes, now: &Bytes) -> io::Result<Option<u64>> {
    let common = base.len().min(now.len());
    let mut one = vec![0; PIECE_BYTES];
    let mut two = vec![0; PIECE_BYTES];
    let mut at = 0;
    while at < common {
        let count = usize::try_from(common - at).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
        base.read(&mut one[..count], at)?;
        now.read(&mut two[..count], at)?;
        if one[..count] != two[..count] {
            let differs = |(a, b): (&u8, &u8)| a != b;
            let place = one[..count].iter().zip(&two[..count]).position(differs);
            return Ok(place.map(|place| at + place as u64));
        }
        at += count as u64;
    }
    Ok((base.len() != now.len()).then_some(common))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_window_reads_nothing_outside() {
        let all = Bytes::of_memory((0..100).collect());
        let part = all.slice(10, 20).unwrap();
        let mut buffer = [0; 5];
        part.read(&mut buffer, 15).unwrap();
        assert_eq!(buffer, [25, 26, 27, 28, 29]);
        assert!(part.read(&mut buffer, 16).is_err());
        assert!(part.read(&mut buffer, u64::MAX).is_err());
        assert!(part.slice(15, 6).is_none() && part.slice(u64::MAX, 2).is_none());
        assert!(all.read_all(99).is_err());
        let mut reader = part.reader();
        reader.seek(SeekFrom::End(-2)).unwrap();
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, [28, 29]);
    }

    proptest! {
        #[test]
        fn the_first_difference_is_the_first(len in 0usize..700_000, at in 0usize..700_000) {
            let one: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let mut two = one.clone();
            let expected = if at < len { two[at] ^= 1; Some(at as u64) } else { None };
            let (one, two) = (Bytes::of_memory(one), Bytes::of_memory(two));
            prop_assert_eq!(first_difference(&one, &two).unwrap(), expected);
            let short = one.slice(0, one.len() / 2).unwrap();
            if one.len() > 0 {
                prop_assert_eq!(first_difference(&one, &short).unwrap(), Some(one.len() / 2));
            }
        }
    }
}
