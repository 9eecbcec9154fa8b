//! safetensors: eight bytes of length, a JSON header, elements.
//!
//! The rules of the format's own reader hold: offsets in order, no overlap, no hole, nothing behind the end.

use super::bytes::Bytes;
use super::limits::{HEADER_BYTES, Unreadable, malformed, unsupported};
use super::locator::shown;
use super::numbers;
use super::tensors::{Tensor, TensorFile};
use sealstone_spec::compare::ElementType;
use serde::Deserialize;
use serde::de::{Error as _, MapAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;

/// Whether the file may be one: a plausible length, then an object.
pub(super) fn is_one(head: &[u8], len: u64) -> bool {
    let Some((length, rest)) = head.split_first_chunk::<8>() else {
        return false;
    };
    let length = u64::from_le_bytes(*length);
    (2..=HEADER_BYTES).contains(&length)
        && length <= len.saturating_sub(8)
        && rest.first() == Some(&b'{')
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

#[derive(Default)]
struct Header {
    metadata: BTreeMap<String, String>,
    entries: Vec<(String, Entry)>,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Header, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a safetensors header")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut header = Header::default();
                let mut seen = std::collections::HashSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !seen.insert(name.clone()) {
                        return Err(A::Error::custom(format_args!(
                            "\"{}\" stands twice",
                            shown(&name)
                        )));
                    }
                    match name.as_str() {
                        "__metadata__" => header.metadata = map.next_value()?,
                        _ => header.entries.push((name, map.next_value()?)),
                    }
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

/// Element type and bytes of one element.
fn element(dtype: &str) -> Option<(ElementType, usize)> {
    let element = match dtype {
        "BOOL" => ElementType::Bool,
        "I8" => ElementType::I8,
        "I16" => ElementType::I16,
        "I32" => ElementType::I32,
        "I64" => ElementType::I64,
        "U8" => ElementType::U8,
        "U16" => ElementType::U16,
        "U32" => ElementType::U32,
        "U64" => ElementType::U64,
        "F16" => ElementType::F16,
        "BF16" => ElementType::BF16,
        "F32" => ElementType::F32,
        "F64" => ElementType::F64,
        "C64" => ElementType::C64,
        "F8_E4M3" | "F8_E5M2" | "F8_E8M0" | "F8_E4M3FNUZ" | "F8_E5M2FNUZ" => {
            return Some((ElementType::Opaque, 1));
        }
        _ => return None,
    };
    Some((element, numbers::width(element)?))
}

pub(super) fn read(file: &Bytes) -> Result<TensorFile, Unreadable> {
    let mut length = [0; 8];
    file.read(&mut length, 0)?;
    let length = u64::from_le_bytes(length);
    if length > HEADER_BYTES {
        return malformed(format!(
            "its header has {length} bytes, at most {HEADER_BYTES} are read"
        ));
    }
    let header = file.slice(8, length).ok_or_else(|| {
        Unreadable::Malformed(format!("its header of {length} bytes goes beyond the file"))
    })?;
    let text = header.read_all(HEADER_BYTES)?;
    let Header { metadata, entries } = serde_json::from_slice(&text).map_err(|error| {
        Unreadable::Malformed(format!("its header is no JSON of tensors: {error}"))
    })?;
    let start = 8 + length;
    let size = file.len() - start;
    let mut entries = entries;
    entries.sort_by_key(|(_, entry)| entry.data_offsets);
    let mut tensors = Vec::with_capacity(entries.len());
    let mut end = 0;
    for (name, entry) in entries {
        let (from, to) = entry.data_offsets;
        let Some((element, width)) = element(&entry.dtype) else {
            return unsupported(format!(
                "tensor \"{}\" has the unknown type \"{}\"",
                shown(&name),
                shown(&entry.dtype)
            ));
        };
        if from != end || to < from || to > size {
            return malformed(format!(
                "tensor \"{}\" lies at {from}..{to} where {end} is due, of {size} bytes",
                shown(&name)
            ));
        }
        end = to;
        let Some(data) = file.slice(start + from, to - from) else {
            return malformed(format!(
                "tensor \"{}\" lies outside of the file",
                shown(&name)
            ));
        };
        let label = match element {
            ElementType::Opaque => entry.dtype,
            _ => element.as_str().to_owned(),
        };
        tensors.push(Tensor::of_width(
            name,
            element,
            label,
            width,
            entry.shape,
            data,
        )?);
    }
    if end != size {
        return malformed(format!(
            "{} bytes behind the last tensor belong to none",
            size - end
        ));
    }
    TensorFile {
        format: "safetensors",
        tensors,
        metadata: metadata
            .into_iter()
            .map(|(key, value)| (format!("__metadata__.{key}"), value))
            .collect(),
        header: Some(start),
        beside: false,
    }
    .check()
}
