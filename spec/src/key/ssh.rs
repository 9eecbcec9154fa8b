//! OpenSSH public keys: one line, `kind base64 [comment]`, around the blob of RFC 4253 and RFC 5656.
//!
//! Certificates are refused: who may use a key for what, policy says. Lines with options or principals
//! before the kind are `lines`' to read.

use super::{KeyError, Point, PublicKey, malformed};
use data_encoding::BASE64;

pub(super) const ED25519: &str = "ssh-ed25519";
pub(super) const P256: &str = "ecdsa-sha2-nistp256";
const P256_CURVE: &[u8] = b"nistp256";

pub(super) fn is_kind(word: &str) -> bool {
    word.starts_with("ssh-") || word.starts_with("ecdsa-sha2-") || word.starts_with("sk-")
}

pub(super) fn read(kind: &str, rest: &str) -> Result<PublicKey, KeyError> {
    if kind != ED25519 && kind != P256 {
        return Err(KeyError::UnsupportedAlgorithm(format!("\"{kind}\"")));
    }
    if rest.contains(['\n', '\r']) {
        return Err(malformed("OpenSSH", "there is more than one line"));
    }
    let base64 = rest.split_ascii_whitespace().next().unwrap_or_default();
    let blob = BASE64
        .decode(base64.as_bytes())
        .map_err(|error| malformed("OpenSSH", format!("base64: {error}")))?;
    if Fields(&blob).next()? != kind.as_bytes() {
        return Err(malformed(
            "OpenSSH",
            format!("its content is not of kind \"{kind}\""),
        ));
    }
    read_blob(&blob)
}

/// Reads a blob, whose first field is its kind.
pub(super) fn read_blob(blob: &[u8]) -> Result<PublicKey, KeyError> {
    let mut fields = Fields(blob);
    let key = match fields.next()? {
        kind if kind == ED25519.as_bytes() => {
            let bytes = fields.next()?;
            let bytes = bytes
                .try_into()
                .map_err(|_| malformed("OpenSSH", format!("{} bytes, not 32", bytes.len())))?;
            PublicKey::from_ed25519_bytes(bytes)?
        }
        kind if kind == P256.as_bytes() => {
            if fields.next()? != P256_CURVE {
                return Err(malformed("OpenSSH", "its curve is not nistp256"));
            }
            PublicKey::from_p256_point(fields.next()?)?
        }
        other => {
            let kind = String::from_utf8_lossy(other);
            let kind: String = kind.chars().take(60).collect();
            return Err(KeyError::UnsupportedAlgorithm(format!(
                "\"{}\"",
                kind.escape_debug()
            )));
        }
    };
    // Also refuses compressed points and trailing bytes: one key has one blob.
    if self::blob(&key.point) != blob {
        return Err(malformed(
            "OpenSSH",
            "its content is not in the canonical form",
        ));
    }
    Ok(key)
}

pub(super) fn blob(point: &Point) -> Vec<u8> {
    let mut blob = Vec::new();
    match point {
        Point::Ed25519(key) => {
            push(&mut blob, ED25519.as_bytes());
            push(&mut blob, key.as_bytes());
        }
        Point::P256(key) => {
            push(&mut blob, P256.as_bytes());
            push(&mut blob, P256_CURVE);
            push(&mut blob, key.to_sec1_point(false).as_bytes());
        }
    }
    blob
}

pub(super) fn write(point: &Point) -> String {
    let kind = match point {
        Point::Ed25519(_) => ED25519,
        Point::P256(_) => P256,
    };
    format!("{kind} {}", BASE64.encode(&blob(point)))
}

fn push(blob: &mut Vec<u8>, field: &[u8]) {
    let length = u32::try_from(field.len()).expect("key fields are short");
    blob.extend_from_slice(&length.to_be_bytes());
    blob.extend_from_slice(field);
}

/// Fields of SSH's wire format: each begins with its length.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn number(&mut self) -> Result<u32, KeyError> {
        let (number, rest) = self.0.split_first_chunk::<4>().ok_or_else(cut)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*number))
    }

    pub(super) fn next(&mut self) -> Result<&'a [u8], KeyError> {
        let length = usize::try_from(self.number()?).map_err(|_| cut())?;
        let (field, rest) = self.0.split_at_checked(length).ok_or_else(cut)?;
        self.0 = rest;
        Ok(field)
    }
}

fn cut() -> KeyError {
    malformed("OpenSSH", "its content ends too early")
}
