//! Blobs on their way here: byte ranges, and the tree that proves them piece by piece.
//!
//! Owns the requests. Does not check content: a [`Download`] is raw, so it never leaves the crate;
//! [`crate::transfer`] turns it into verified files.
//! Invariant: a download starts exactly at the byte it was asked for, or it is an error.

use super::answer::Answer;
use super::error::TransportError;
use super::repository::{Access, RegistryStore};
use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, HeaderValue, RANGE};
use sealstone_spec::manifest::Descriptor;
use sealstone_spec::tree::{self, ChainingValue, GROUP_BYTES};

/// Longest tree that is asked for, in bytes: of a blob of 512 GiB. It is held in memory, and how large a blob is, only its
/// manifest says. A larger one comes as one stream.
const MAX_TREE_BYTES: u64 = 64 * 1024 * 1024;

/// A blob, or a range of it, as it arrives: not verified.
#[derive(Debug)]
pub(crate) struct Download {
    answer: Answer,
    /// Where it starts. Zero although another start was asked for means: no ranges here.
    pub(crate) start: u64,
    /// Whether it is the range that was asked for, not the whole blob.
    pub(crate) is_range: bool,
    left: u64,
}

impl Download {
    /// The next bytes; `None` when all that were asked for have come.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, TransportError> {
        if self.left == 0 {
            return Ok(None);
        }
        match self.answer.chunk().await? {
            Some(chunk) if chunk.len() as u64 > self.left => Err(self
                .answer
                .other_content("more bytes came than were asked for")),
            Some(chunk) => {
                self.left -= chunk.len() as u64;
                Ok(Some(chunk))
            }
            None => Err(TransportError::Unreachable {
                registry: self.answer.url().authority().to_owned(),
                problem: format!("the connection ended {} bytes early", self.left),
            }),
        }
    }
}

impl RegistryStore {
    /// Opens a blob at byte `start`, up to `end` (exclusive) or its end.
    ///
    /// Where the registry does not know ranges, the whole blob comes and `start` of the result is 0.
    pub(crate) async fn open_blob(
        &self,
        descriptor: &Descriptor,
        start: u64,
        end: Option<u64>,
    ) -> Result<Download, TransportError> {
        let Descriptor { digest, size, .. } = descriptor;
        let what = format!("blob {digest}");
        let mut call = self
            .call(Method::GET, &format!("blobs/{digest}"), Access::Read, what)
            .await?;
        let is_range = start > 0 || end.is_some();
        let last = end.unwrap_or(*size);
        if is_range {
            let range = match end {
                Some(end) => format!("bytes={start}-{}", end - 1),
                None => format!("bytes={start}-"),
            };
            call.headers.insert(
                RANGE,
                HeaderValue::from_str(&range).expect("digits make a header"),
            );
        }
        let answer = self
            .registry()
            .send(&call)
            .await?
            .expect(&[200, 206])
            .await?;
        if let Some(encoding) = answer.header(CONTENT_ENCODING)
            && encoding != "identity"
        {
            return Err(
                answer.protocol("the blob comes compressed, so its digest cannot be checked")
            );
        }
        let length: Option<u64> = answer
            .header(CONTENT_LENGTH)
            .and_then(|text| text.parse().ok());
        let is_partial = answer.status() == 206;
        let (start, left) = if is_partial {
            let range = answer.header(CONTENT_RANGE).and_then(content_range);
            if !is_range || range != Some((start, last - 1)) {
                return Err(answer.protocol("it answers with another range than was asked for"));
            }
            (start, last - start)
        } else {
            (0, *size)
        };
        if let Some(length) = length
            && length != left
        {
            return Err(answer.other_content(format!(
                "blob {digest} has {length} bytes where its descriptor says {left}"
            )));
        }
        Ok(Download {
            answer,
            start,
            is_range: is_partial,
            left,
        })
    }

    /// The values of the blob's groups, where the registry keeps its BLAKE3 tree, and it is not too long.
    ///
    /// The tree is the registry's word: it tells early where bytes differ from it, and never that
    /// bytes are right. That is the named digest's alone.
    pub(crate) async fn blob_tree(
        &self,
        descriptor: &Descriptor,
    ) -> Result<Option<Vec<ChainingValue>>, TransportError> {
        let Descriptor { digest, size, .. } = descriptor;
        let Some(limit) = tree_bytes(*size) else {
            return Ok(None);
        };
        let what = format!("the tree of blob {digest}");
        let path = format!("_sealstone/tree/{digest}");
        let call = self.call(Method::GET, &path, Access::Read, what).await?;
        let answer = self.registry().send(&call).await?;
        if answer.status() != 200
            || answer.named_header("sealstone-group-bytes") != Some(&GROUP_BYTES.to_string())
        {
            return Ok(None);
        }
        let stated_root = answer
            .named_header("sealstone-tree-root")
            .map(str::to_owned);
        let protocol = |problem: &str| self.registry().protocol(&call.what, problem);
        let body = answer.bytes(limit).await?;
        if body.len() != limit {
            return Err(protocol(
                "the tree has another number of groups than the blob",
            ));
        }
        let values: Vec<ChainingValue> = body
            .chunks_exact(32)
            .map(|value| value.try_into().expect("chunks of 32 bytes"))
            .collect();
        let root = data_encoding::HEXLOWER.encode(&tree::root(&values));
        if stated_root.is_some_and(|stated| stated != root) {
            return Err(protocol(
                "the tree does not have the root that is stated for it",
            ));
        }
        if *digest.algorithm().as_str() == *"blake3" && root != digest.hex() {
            return Err(protocol("the tree does not belong to the blob"));
        }
        Ok(Some(values))
    }
}

/// How long the tree of a blob of this size is; `None` if that is more than is read.
fn tree_bytes(size: u64) -> Option<usize> {
    let bytes = tree::group_count(size).checked_mul(32)?;
    let is_read = bytes <= MAX_TREE_BYTES;
    is_read.then_some(bytes as usize)
}

/// First and last byte of a Content-Range header.
fn content_range(text: &str) -> Option<(u64, u64)> {
    let (range, _) = text
        .trim()
        .strip_prefix("bytes")?
        .trim_start()
        .split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some((first.trim().parse().ok()?, last.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_range_is_read() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, 9)));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, 9)));
        assert_eq!(content_range("bytes */10"), None);
        assert_eq!(content_range("5-9"), None);
    }

    #[test]
    fn a_claim_of_size_fills_no_memory_with_a_tree() {
        assert_eq!(tree_bytes(0), Some(32));
        assert_eq!(tree_bytes(100 << 30), Some(400 * 1024 * 32));
        assert_eq!(tree_bytes(512 << 30), Some(64 << 20));
        for size in [(512 << 30) + 1, 1 << 50, i64::MAX as u64, u64::MAX] {
            assert_eq!(tree_bytes(size), None, "{size}");
        }
    }
}
