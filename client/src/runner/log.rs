//! Logs of a stage: handed on as they come, cut at a limit, and said so.
//!
//! Invariant: what was left out is counted, and what was kept then ends with a marker. A log that is
//! cut never looks whole.

use super::outcome::Log;
use sealstone_spec::digest::{Algorithm, Hasher};

/// Which of the two logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// `stdout` or `stderr`.
    pub fn as_str(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// Takes what a stage writes, in the order in which it arrives.
pub trait LogSink {
    /// Takes bytes of one log. They may end inside a line or a character.
    fn write(&mut self, stream: Stream, bytes: &[u8]);
}

/// Keeps nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

impl LogSink for Discard {
    fn write(&mut self, _stream: Stream, _bytes: &[u8]) {}
}

/// Keeps both logs in memory, each in one piece; the job's limit bounds them.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl LogSink for Kept {
    fn write(&mut self, stream: Stream, bytes: &[u8]) {
        match stream {
            Stream::Stdout => self.stdout.extend_from_slice(bytes),
            Stream::Stderr => self.stderr.extend_from_slice(bytes),
        }
    }
}

/// Writes both logs as they come to one writer, for example a file.
#[derive(Debug)]
pub struct Written<W: std::io::Write> {
    writer: W,
    failure: Option<std::io::Error>,
}

impl<W: std::io::Write> Written<W> {
    /// Writes to `writer`.
    pub fn new(writer: W) -> Written<W> {
        Written {
            writer,
            failure: None,
        }
    }

    /// The writer again.
    ///
    /// # Errors
    /// The first error of the writer: from then on nothing was written.
    pub fn finish(mut self) -> std::io::Result<W> {
        self.writer.flush()?;
        match self.failure {
            Some(error) => Err(error),
            None => Ok(self.writer),
        }
    }
}

impl<W: std::io::Write> LogSink for Written<W> {
    fn write(&mut self, _stream: Stream, bytes: &[u8]) {
        if self.failure.is_none() {
            self.failure = self.writer.write_all(bytes).err();
        }
    }
}

/// One log on its way to a sink.
pub(super) struct Capped {
    stream: Stream,
    limit: u64,
    seen: u64,
    dropped: u64,
    hasher: Hasher,
}

impl Capped {
    pub(super) fn new(stream: Stream, limit: u64) -> Capped {
        Capped {
            stream,
            limit,
            seen: 0,
            dropped: 0,
            hasher: Hasher::new(Algorithm::Sha256),
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8], sink: &mut dyn LogSink) {
        let left = self.limit.saturating_sub(self.seen);
        let keep = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        self.seen = self.seen.saturating_add(bytes.len() as u64);
        self.dropped = self.dropped.saturating_add((bytes.len() - keep) as u64);
        if keep > 0 {
            self.hasher.update(&bytes[..keep]);
            sink.write(self.stream, &bytes[..keep]);
        }
    }

    pub(super) fn finish(mut self, sink: &mut dyn LogSink) -> Log {
        if self.dropped > 0 {
            let marker = format!(
                "\n[sealstone: {} TRUNCATED here: the limit is {} bytes, {} more were dropped]\n",
                self.stream.as_str(),
                self.limit,
                self.dropped
            );
            self.hasher.update(marker.as_bytes());
            sink.write(self.stream, marker.as_bytes());
        }
        Log {
            digest: self.hasher.finalize(),
            bytes: self.seen,
            dropped: self.dropped,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use sealstone_spec::digest::Digest;

    #[test]
    fn a_log_at_its_limit_is_whole_and_one_byte_more_is_said() {
        for (len, whole) in [(9, true), (10, true), (11, false)] {
            let mut kept = Kept::default();
            let mut log = Capped::new(Stream::Stderr, 10);
            log.write(&vec![b'x'; len], &mut kept);
            let log = log.finish(&mut kept);
            assert_eq!(log.dropped == 0, whole);
            assert_eq!(log.bytes, len as u64);
            let text = String::from_utf8(kept.stderr.clone()).unwrap();
            assert_eq!(text.contains("TRUNCATED"), !whole);
            assert_eq!(text.contains("1 more were dropped"), !whole);
            assert_eq!(Digest::sha256(&kept.stderr), log.digest);
        }
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..10), limit in 0u64..60) {
            let run = |pieces: &[Vec<u8>]| {
                let mut kept = Kept::default();
                let mut log = Capped::new(Stream::Stdout, limit);
                for piece in pieces {
                    log.write(piece, &mut kept);
                }
                (log.finish(&mut kept), kept.stdout)
            };
            prop_assert_eq!(run(&pieces), run(&[pieces.concat()]));
        }
    }
}
