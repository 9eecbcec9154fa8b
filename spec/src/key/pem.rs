//! PEM (RFC 7468): one labelled block of base64, read strictly.
//!
//! Its own reader because the ones at hand accept DER only, and cosign puts JSON into such a block.
//! Invariant: one block and nothing beside it; base64 is canonical; the bytes are wiped when dropped.

use super::{KeyError, malformed};
use data_encoding::BASE64;
use zeroize::Zeroizing;

/// Longest text that is read as one block, in bytes.
pub const MAX_PEM_BYTES: usize = 64 * 1024;

/// A block of PEM.
pub struct Pem {
    /// What stands after `BEGIN`.
    pub label: String,
    /// The decoded bytes.
    pub content: Zeroizing<Vec<u8>>,
}

impl Pem {
    /// Reads the only block of `text`; white space around it does not matter.
    ///
    /// # Errors
    /// If there is none, more than one, text beside it, a header, or loose base64.
    ///
    /// ```
    /// use sealstone_spec::key::Pem;
    /// let pem = Pem::parse("-----BEGIN NOTE-----\naGVsbG8=\n-----END NOTE-----\n").unwrap();
    /// assert_eq!((pem.label.as_str(), pem.content.as_slice()), ("NOTE", b"hello".as_slice()));
    /// assert!(Pem::parse("hello").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<Pem, KeyError> {
        if text.len() > MAX_PEM_BYTES {
            return Err(KeyError::TooLong(text.len()));
        }
        let text = text.trim();
        let mut lines = text.lines();
        let label = lines
            .next()
            .and_then(|line| line.trim_end().strip_prefix("-----BEGIN "))
            .and_then(|line| line.strip_suffix("-----"))
            .ok_or_else(|| wrong("it does not begin with a line \"-----BEGIN ...-----\""))?;
        let end = format!("-----END {label}-----");
        let mut body = Zeroizing::new(String::with_capacity(text.len()));
        let mut ended = false;
        for line in lines {
            let line = line.trim_end();
            if ended {
                return Err(wrong("there is more text after its end"));
            }
            if line == end {
                ended = true;
            } else if line.contains(':') {
                return Err(wrong(
                    "it has headers, as keys in OpenSSL's old form have: convert it with openssl pkcs8 -topk8",
                ));
            } else {
                body.push_str(line);
            }
        }
        if !ended {
            return Err(wrong("its end is missing"));
        }
        let content = BASE64
            .decode(body.as_bytes())
            .map(Zeroizing::new)
            .map_err(|error| wrong(&format!("base64: {error}")))?;
        Ok(Pem {
            label: label.to_owned(),
            content,
        })
    }
}

impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pem({}, {} bytes)", self.label, self.content.len())
    }
}

fn wrong(problem: &str) -> KeyError {
    malformed("PEM", problem)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_one_clean_block_is_read() {
        let good = "-----BEGIN X-----\r\naGVs\r\nbG8=\r\n-----END X-----\r\n";
        assert_eq!(Pem::parse(good).unwrap().content.as_slice(), b"hello");
        let good = good.replace("\r\n", "\n");
        for (bad, reason) in [
            (format!("note\n{good}"), "does not begin"),
            (format!("{good}{good}"), "more text after"),
            (good.replace("END X", "END Y"), "end is missing"),
            (good.replace("bG8=", "bG8"), "base64"),
            (good.replace("bG8=", "bG9="), "base64"),
            (
                good.replace("aGVs", "Proc-Type: 4,ENCRYPTED\n\naGVs"),
                "headers",
            ),
            (String::new(), "does not begin"),
        ] {
            let error = Pem::parse(&bad).unwrap_err().to_string();
            assert!(error.contains(reason), "{bad:?}: {error}");
        }
        assert!(Pem::parse(&" ".repeat(MAX_PEM_BYTES + 1)).is_err());
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,200}", body in "[A-Za-z0-9+/=\n: -]{0,80}") {
            let _ = Pem::parse(&text);
            let _ = Pem::parse(&format!("-----BEGIN A-----\n{body}\n-----END A-----"));
        }
    }
}
