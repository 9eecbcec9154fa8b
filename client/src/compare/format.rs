//! What a file is: by its first bytes where the format has a magic, else by its name.

use super::content::Side;
use super::limits::Unreadable;
use super::{archive, npy, safetensors};

/// A format that is read as what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Safetensors,
    Npy,
    Npz,
    Torch,
    Onnx,
    Gguf,
    Zip,
    Tar,
    Gzip,
    Json,
    JsonLines,
    Xgboost,
    Lightgbm,
    Csv,
    Tsv,
    Text,
    Bytes,
}

impl Format {
    /// The format of a side.
    pub(super) fn of(side: &Side) -> Result<Format, Unreadable> {
        let head = side.bytes.head(1024)?;
        let name = side.name.to_ascii_lowercase();
        let ends =
            |extensions: &[&str]| extensions.iter().any(|extension| name.ends_with(extension));
        if safetensors::is_one(&head, side.bytes.len()) {
            return Ok(Format::Safetensors);
        }
        if npy::is_one(&head) {
            return Ok(Format::Npy);
        }
        if head.starts_with(b"GGUF") {
            return Ok(Format::Gguf);
        }
        if head.starts_with(&[0x1f, 0x8b, 8]) {
            return Ok(Format::Gzip);
        }
        if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
            return Ok(archive::kind_of_zip(side));
        }
        if head.len() > 262 && &head[257..262] == b"ustar" {
            return Ok(Format::Tar);
        }
        if ends(&[".onnx"]) {
            return Ok(Format::Onnx);
        }
        let is_text = !head.contains(&0) && is_utf8_so_far(&head);
        if !is_text {
            return Ok(Format::Bytes);
        }
        let start = head.trim_ascii_start();
        Ok(if ends(&[".jsonl", ".ndjson"]) {
            Format::JsonLines
        } else if ends(&[".csv"]) {
            Format::Csv
        } else if ends(&[".tsv"]) {
            Format::Tsv
        } else if start.starts_with(b"{\"learner\"") || start.starts_with(b"{\"version\":[") {
            Format::Xgboost
        } else if ends(&[".json", ".ipynb"]) {
            Format::Json
        } else if start.starts_with(b"tree\nversion=") || start.starts_with(b"tree\r\nversion=") {
            Format::Lightgbm
        } else {
            Format::Text
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Format::Safetensors => "safetensors",
            Format::Npy => "npy",
            Format::Npz => "npz",
            Format::Torch => "torch",
            Format::Onnx => "onnx",
            Format::Gguf => "gguf",
            Format::Zip => "zip",
            Format::Tar => "tar",
            Format::Gzip => "gzip",
            Format::Json => "json",
            Format::JsonLines => "jsonl",
            Format::Xgboost => "xgboost-json",
            Format::Lightgbm => "lightgbm-text",
            Format::Csv => "csv",
            Format::Tsv => "tsv",
            Format::Text => "text",
            Format::Bytes => "bytes",
        }
    }

    pub(super) fn holds_tensors(self) -> bool {
        matches!(
            self,
            Format::Safetensors
                | Format::Npy
                | Format::Npz
                | Format::Torch
                | Format::Onnx
                | Format::Gguf
        )
    }

    pub(super) fn is_text(self) -> bool {
        matches!(
            self,
            Format::Json
                | Format::JsonLines
                | Format::Xgboost
                | Format::Lightgbm
                | Format::Csv
                | Format::Tsv
                | Format::Text
        )
    }
}

/// Whether bytes are UTF-8, but for a character that the end may cut.
fn is_utf8_so_far(bytes: &[u8]) -> bool {
    match std::str::from_utf8(bytes) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    }
}
