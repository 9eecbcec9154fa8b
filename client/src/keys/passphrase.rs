//! Passphrases: asked for when they are needed, and not twice for keys that share one.

use crate::error::{Error, Result};
use std::fmt;
use std::path::Path;
use zeroize::Zeroizing;

/// A passphrase; wiped when dropped, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// Takes a text as passphrase.
    ///
    /// # Errors
    /// If it is empty: that would look protected and not be.
    pub fn new(text: impl Into<String>) -> Result<Passphrase> {
        let text = Zeroizing::new(text.into());
        if text.is_empty() {
            return Err(Error::usage("the passphrase is empty")
                .hint("give one, or say --no-passphrase where an open key is meant"));
        }
        Ok(Passphrase(text))
    }

    /// Reads the first line of a file.
    ///
    /// # Errors
    /// If the file cannot be read or its first line is empty.
    pub fn from_file(path: &Path) -> Result<Passphrase> {
        let text = std::fs::read_to_string(path)
            .map(Zeroizing::new)
            .map_err(|source| {
                Error::io(
                    format!("reading the passphrase file \"{}\"", path.display()),
                    source,
                )
            })?;
        Passphrase::new(text.lines().next().unwrap_or_default())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(..)")
    }
}

type Ask<'a> = Box<dyn FnMut(&Path) -> Result<Passphrase> + Send + 'a>;

/// Where passphrases come from: asks for one when a key needs it and remembers it for the next key.
pub struct Passphrases<'a> {
    ask: Ask<'a>,
    last: Option<Passphrase>,
}

impl<'a> Passphrases<'a> {
    /// Asks with `ask`, which is given the key's file.
    pub fn new(ask: impl FnMut(&Path) -> Result<Passphrase> + Send + 'a) -> Passphrases<'a> {
        Passphrases {
            ask: Box::new(ask),
            last: None,
        }
    }

    /// Has none: a locked key is an error.
    pub fn none() -> Passphrases<'static> {
        Passphrases::new(|path| {
            Err(Error::usage(format!(
                "key \"{}\" is locked and no passphrase was given",
                path.display()
            )))
        })
    }

    /// Tries the last passphrase, then asks once.
    pub(super) fn unlock<T>(
        &mut self,
        path: &Path,
        mut open: impl FnMut(&Passphrase) -> Option<T>,
    ) -> Result<T> {
        if let Some(opened) = self.last.as_ref().and_then(&mut open) {
            return Ok(opened);
        }
        let passphrase = (self.ask)(path)?;
        let opened = open(&passphrase).ok_or_else(|| {
            Error::refused(format!(
                "the passphrase does not open key \"{}\"",
                path.display()
            ))
            .hint("the passphrase is wrong, or the file is damaged")
        })?;
        self.last = Some(passphrase);
        Ok(opened)
    }
}

impl fmt::Debug for Passphrases<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrases(..)")
    }
}
