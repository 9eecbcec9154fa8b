//! GGUF, versions 2 and 3 with the little end first: keys with typed values, then tensors.
//!
//! Quantised blocks are compared as they are: bit for bit, block by block.

use super::bytes::Bytes;
use super::cursor::Cursor;
use super::limits::{DIMENSIONS, TENSORS, Unreadable, malformed, unsupported};
use super::locator::{name_of, shown};
use super::tensors::{Tensor, TensorFile};
use sealstone_spec::compare::{Decimal, ElementType};
use sealstone_spec::digest::{Algorithm, Hasher};

/// Bytes of a key or a name.
const MAX_NAME: u64 = 64 * 1024;
/// Keys.
const MAX_KEYS: u64 = 100_000;
/// Text up to this size is kept as it is, longer text as its digest.
const MAX_TEXT: u64 = 4096;
/// Arrays in arrays.
const MAX_DEPTH: usize = 4;

pub(super) fn read(file: &Bytes) -> Result<TensorFile, Unreadable> {
    let mut cursor = Cursor::new(file.clone());
    if cursor.array::<4>()? != *b"GGUF" {
        return malformed("it has no GGUF magic");
    }
    let version = u32(&mut cursor)?;
    if !(2..=3).contains(&version) {
        return unsupported(format!("GGUF version {version} is not known"));
    }
    let (tensor_count, key_count) = (u64(&mut cursor)?, u64(&mut cursor)?);
    if tensor_count > TENSORS as u64 || key_count > MAX_KEYS {
        let text = format!("it states {tensor_count} tensors and {key_count} keys");
        // Each of them takes more than a byte.
        return match tensor_count.max(key_count) > file.len() {
            true => malformed(text),
            false => unsupported(text),
        };
    }
    let mut file_out = TensorFile {
        format: "gguf",
        ..TensorFile::default()
    };
    file_out
        .metadata
        .insert("version".to_owned(), version.to_string());
    let mut alignment = 32;
    for _ in 0..key_count {
        let key = text(&mut cursor)?;
        let kind = u32(&mut cursor)?;
        let value = value(&mut cursor, kind, 0)?;
        if key == "general.alignment" {
            alignment = match value.parse::<u64>() {
                Ok(stated) if stated.is_power_of_two() && stated <= 1 << 20 => stated,
                _ => return malformed(format!("general.alignment is {}", shown(&value))),
            };
        }
        if file_out.metadata.insert(key.clone(), value).is_some() {
            return malformed(format!("key \"{}\" stands twice", shown(&key)));
        }
    }
    let mut infos = Vec::new();
    for _ in 0..tensor_count {
        let name = text(&mut cursor)?;
        let dimensions = u32(&mut cursor)?;
        if dimensions as usize > DIMENSIONS {
            return malformed(format!(
                "tensor \"{}\" has {dimensions} dimensions",
                shown(&name)
            ));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            shape.push(u64(&mut cursor)?);
        }
        let kind = u32(&mut cursor)?;
        infos.push((name, shape, kind, u64(&mut cursor)?));
    }
    let start = cursor.at().next_multiple_of(alignment);
    infos.sort_by_key(|(.., offset)| *offset);
    let mut end = 0;
    for (name, mut shape, kind, offset) in infos {
        let Some((label, element, block, width)) = element(kind) else {
            return unsupported(format!(
                "tensor \"{}\" has the unknown type {kind}",
                shown(&name)
            ));
        };
        // The first dimension runs fastest, and is made of blocks.
        if let Some(first) = shape.first_mut() {
            if !first.is_multiple_of(block) {
                return malformed(format!("tensor \"{}\" ends within a block", shown(&name)));
            }
            *first /= block;
        }
        shape.reverse();
        let size =
            super::tensors::elements_of(&shape).and_then(|count| count.checked_mul(width as u64));
        let data = size.and_then(|size| file.slice(start.checked_add(offset)?, size));
        let (Some(size), Some(data)) = (size, data) else {
            return malformed(format!(
                "tensor \"{}\" lies outside of the file",
                shown(&name)
            ));
        };
        if offset < end || !offset.is_multiple_of(alignment) {
            return malformed(format!(
                "tensor \"{}\" overlaps another or is not aligned",
                shown(&name)
            ));
        }
        end = offset + size;
        file_out
            .tensors
            .push(Tensor::of_width(name, element, label, width, shape, data)?);
    }
    file_out.check()
}

/// Label, element type, elements in a block, bytes of a block.
fn element(kind: u32) -> Option<(&'static str, ElementType, u64, usize)> {
    let plain = |element: ElementType, width| Some((element.as_str(), element, 1, width));
    let blocks = |label, block, width| Some((label, ElementType::Opaque, block, width));
    match kind {
        0 => plain(ElementType::F32, 4),
        1 => plain(ElementType::F16, 2),
        2 => blocks("q4_0", 32, 18),
        3 => blocks("q4_1", 32, 20),
        6 => blocks("q5_0", 32, 22),
        7 => blocks("q5_1", 32, 24),
        8 => blocks("q8_0", 32, 34),
        9 => blocks("q8_1", 32, 36),
        10 => blocks("q2_k", 256, 84),
        11 => blocks("q3_k", 256, 110),
        12 => blocks("q4_k", 256, 144),
        13 => blocks("q5_k", 256, 176),
        14 => blocks("q6_k", 256, 210),
        15 => blocks("q8_k", 256, 292),
        16 => blocks("iq2_xxs", 256, 66),
        17 => blocks("iq2_xs", 256, 74),
        18 => blocks("iq3_xxs", 256, 98),
        19 => blocks("iq1_s", 256, 50),
        20 => blocks("iq4_nl", 32, 18),
        21 => blocks("iq3_s", 256, 110),
        22 => blocks("iq2_s", 256, 82),
        23 => blocks("iq4_xs", 256, 136),
        24 => plain(ElementType::I8, 1),
        25 => plain(ElementType::I16, 2),
        26 => plain(ElementType::I32, 4),
        27 => plain(ElementType::I64, 8),
        28 => plain(ElementType::F64, 8),
        29 => blocks("iq1_m", 256, 56),
        30 => plain(ElementType::BF16, 2),
        _ => None,
    }
}

fn u32(cursor: &mut Cursor) -> Result<u32, Unreadable> {
    Ok(u32::from_le_bytes(cursor.array()?))
}

fn u64(cursor: &mut Cursor) -> Result<u64, Unreadable> {
    Ok(u64::from_le_bytes(cursor.array()?))
}

fn text(cursor: &mut Cursor) -> Result<String, Unreadable> {
    let len = u64(cursor)?;
    cursor.text(len, MAX_NAME)
}

/// Bytes of a value of fixed size.
fn fixed(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

/// A value as text; long ones as their digest.
fn value(cursor: &mut Cursor, kind: u32, depth: usize) -> Result<String, Unreadable> {
    Ok(match kind {
        0 => cursor.array::<1>()?[0].to_string(),
        1 => i8::from_le_bytes(cursor.array()?).to_string(),
        2 => u16::from_le_bytes(cursor.array()?).to_string(),
        3 => i16::from_le_bytes(cursor.array()?).to_string(),
        4 => u32(cursor)?.to_string(),
        5 => i32::from_le_bytes(cursor.array()?).to_string(),
        6 => Decimal::from(f64::from(f32::from_le_bytes(cursor.array()?))).to_string(),
        7 => (cursor.array::<1>()?[0] != 0).to_string(),
        10 => u64(cursor)?.to_string(),
        11 => i64::from_le_bytes(cursor.array()?).to_string(),
        12 => Decimal::from(f64::from_le_bytes(cursor.array()?)).to_string(),
        8 => {
            let len = u64(cursor)?;
            let window = cursor.window(len)?;
            match len <= MAX_TEXT {
                // Between quotes, or it could be that of a number, or of what is said of a longer text.
                true => format!("\"{}\"", name_of(&window.read_all(MAX_TEXT)?)),
                false => format!("text of {len} bytes, {}", hash(&window)?),
            }
        }
        9 if depth >= MAX_DEPTH => return unsupported("arrays are nested too deep"),
        9 => {
            let (inner, count) = (u32(cursor)?, u64(cursor)?);
            let start = cursor.clone();
            let from = cursor.at();
            match fixed(inner) {
                Some(size) => {
                    let size = count.saturating_mul(size);
                    cursor.window(size)?;
                }
                None => {
                    for _ in 0..count {
                        match inner {
                            8 => {
                                let len = u64(cursor)?;
                                cursor.window(len)?;
                            }
                            9 => {
                                value(cursor, inner, depth + 1)?;
                            }
                            _ => {
                                return unsupported(format!(
                                    "an array has the unknown type {inner}"
                                ));
                            }
                        }
                    }
                }
            }
            let mut start = start;
            let window = start.window(cursor.at() - from)?;
            format!("array of {count}, type {inner}, {}", hash(&window)?)
        }
        other => return unsupported(format!("a value has the unknown type {other}")),
    })
}

/// The digest of a window of any size.
pub(super) fn hash(window: &Bytes) -> Result<String, Unreadable> {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut piece = vec![0; 64 * 1024];
    let mut at = 0;
    while at < window.len() {
        let count =
            usize::try_from(window.len() - at).map_or(piece.len(), |left| left.min(piece.len()));
        window.read(&mut piece[..count], at)?;
        hasher.update(&piece[..count]);
        at += count as u64;
    }
    Ok(hasher.finalize().to_string())
}
