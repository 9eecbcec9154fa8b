//! Reading a binary header from front to back, a few bytes at a time.

use super::bytes::Bytes;
use super::limits::{Unreadable, malformed};

/// Bytes read ahead.
const AHEAD: usize = 16 * 1024;

/// A place in a window, with what was read ahead.
#[derive(Clone, Debug)]
pub(super) struct Cursor {
    bytes: Bytes,
    at: u64,
    ahead: Vec<u8>,
    ahead_from: u64,
}

impl Cursor {
    pub(super) fn new(bytes: Bytes) -> Cursor {
        Cursor {
            bytes,
            at: 0,
            ahead: Vec::new(),
            ahead_from: 0,
        }
    }

    pub(super) fn at(&self) -> u64 {
        self.at
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let mut out = [0; N];
        let start = self
            .at
            .checked_sub(self.ahead_from)
            .and_then(|start| usize::try_from(start).ok());
        let held = start.and_then(|start| self.ahead.get(start..start.checked_add(N)?));
        match held {
            Some(held) => out.copy_from_slice(held),
            None => {
                let left = self.bytes.len().saturating_sub(self.at);
                let count = usize::try_from(left).map_or(AHEAD, |left| left.min(AHEAD));
                self.ahead.resize(count, 0);
                self.ahead_from = self.at;
                self.bytes.read(&mut self.ahead, self.at)?;
                match self.ahead.get(..N) {
                    Some(held) => out.copy_from_slice(held),
                    None => {
                        return malformed(format!(
                            "it ends at byte {} within a number",
                            self.bytes.len()
                        ));
                    }
                }
            }
        }
        self.at += N as u64;
        Ok(out)
    }

    /// A window on the next `len` bytes, which are passed over.
    pub(super) fn window(&mut self, len: u64) -> Result<Bytes, Unreadable> {
        match self.bytes.slice(self.at, len) {
            Some(window) => {
                self.at += len;
                Ok(window)
            }
            None => malformed(format!(
                "{len} bytes are stated at {}, of which there are {}",
                self.at,
                self.bytes.len().saturating_sub(self.at)
            )),
        }
    }

    /// The next `len` bytes as text, of at most `limit`.
    pub(super) fn text(&mut self, len: u64, limit: u64) -> Result<String, Unreadable> {
        let content = self.window(len)?.read_all(limit)?;
        String::from_utf8(content)
            .map_err(|_| Unreadable::Malformed("a name is no UTF-8".to_owned()))
    }
}
