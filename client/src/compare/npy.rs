//! npy: a magic, a Python dict literal, elements.
//!
//! Object arrays hold a pickle; they are refused and never run.

use super::bytes::Bytes;
use super::limits::{Unreadable, malformed, unsupported};
use super::locator::shown;
use super::numbers;
use super::tensors::{Tensor, TensorFile};
use sealstone_spec::compare::ElementType;

const MAGIC: &[u8] = b"\x93NUMPY";
/// Bytes of a header: structured types have long ones.
const MAX_HEADER: u64 = 1024 * 1024;

pub(super) fn is_one(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

pub(super) fn read(file: &Bytes) -> Result<TensorFile, Unreadable> {
    let array = read_array(file, "array")?;
    TensorFile {
        format: "npy",
        header: Some(file.len() - array.data.len()),
        tensors: vec![array],
        ..TensorFile::default()
    }
    .check()
}

/// The one array of the file, under `name`.
pub(super) fn read_array(file: &Bytes, name: &str) -> Result<Tensor, Unreadable> {
    let mut start = [0; 12];
    file.read(&mut start[..10], 0)?;
    if !start.starts_with(MAGIC) {
        return malformed("it has no npy magic");
    }
    let (length, from) = match start[6] {
        1 => (u64::from(u16::from_le_bytes([start[8], start[9]])), 10),
        2 | 3 => {
            file.read(&mut start, 0)?;
            let length = u32::from_le_bytes([start[8], start[9], start[10], start[11]]);
            (u64::from(length), 12)
        }
        version => return unsupported(format!("npy version {version} is not known")),
    };
    let header = match file.slice(from, length) {
        Some(header) if length <= MAX_HEADER => header.read_all(MAX_HEADER)?,
        Some(_) => return unsupported(format!("its header of {length} bytes is too long")),
        None => return malformed(format!("its header of {length} bytes goes beyond the file")),
    };
    let header = match start[6] {
        3 => String::from_utf8(header)
            .map_err(|_| Unreadable::Malformed("its header is no UTF-8".to_owned()))?,
        // Latin-1, of which each byte is a character.
        _ => header.into_iter().map(char::from).collect(),
    };
    let mut literal = Literal { rest: &header };
    let (descr, fortran, shape) = literal.header()?;
    let (element, width, big_endian, label) = element(&descr)?;
    let start = from + length;
    let data = file
        .slice(start, file.len() - start)
        .ok_or_else(|| Unreadable::Malformed("its header goes beyond the file".to_owned()))?;
    let mut tensor = Tensor::of_width(name, element, label, width, shape, data)?;
    tensor.big_endian = big_endian;
    tensor.column_major = fortran;
    Ok(tensor)
}

/// Element type, bytes, byte order and label of a type such as `<f4`.
fn element(descr: &str) -> Result<(ElementType, usize, bool, String), Unreadable> {
    let opaque = |width: usize| Ok((ElementType::Opaque, width, false, descr.to_owned()));
    if descr.starts_with('[') {
        return match structured_width(descr) {
            Some(width) => opaque(width),
            None => unsupported(format!(
                "the structured type {} is not understood",
                shown(descr)
            )),
        };
    }
    let mut chars = descr.chars();
    let (order, kind) = match chars.next() {
        Some(order @ ('<' | '>' | '|' | '=')) => (order, chars.next()),
        other => ('<', other),
    };
    let digits: String = chars.by_ref().take_while(char::is_ascii_digit).collect();
    let count: usize = digits.parse().map_err(|_| {
        Unreadable::Unsupported(format!("the type {} is not understood", shown(descr)))
    })?;
    let element = match (kind, count) {
        (Some('O'), _) => {
            return malformed("it is an array of Python objects: a pickle, which is never run");
        }
        (Some('b'), 1) => ElementType::Bool,
        (Some('i'), 1) => ElementType::I8,
        (Some('i'), 2) => ElementType::I16,
        (Some('i'), 4) => ElementType::I32,
        (Some('i'), 8) => ElementType::I64,
        (Some('u'), 1) => ElementType::U8,
        (Some('u'), 2) => ElementType::U16,
        (Some('u'), 4) => ElementType::U32,
        (Some('u'), 8) => ElementType::U64,
        (Some('f'), 2) => ElementType::F16,
        (Some('f'), 4) => ElementType::F32,
        (Some('f'), 8) => ElementType::F64,
        (Some('c'), 8) => ElementType::C64,
        (Some('c'), 16) => ElementType::C128,
        (Some('U'), count) if count > 0 && count <= 1 << 24 => return opaque(count * 4),
        (Some('S' | 'V' | 'a'), count) if count > 0 && count <= 1 << 26 => return opaque(count),
        (Some('m' | 'M' | 'f' | 'c'), 8 | 12 | 16 | 24 | 32) => return opaque(count),
        _ => return unsupported(format!("the type {} is not understood", shown(descr))),
    };
    let width = numbers::width(element).unwrap_or(1);
    Ok((element, width, order == '>', element.as_str().to_owned()))
}

/// Bytes of one item of a structured type such as `[('a', '<f4'), ('b', '<i8', (2,))]`.
fn structured_width(descr: &str) -> Option<usize> {
    let mut width = 0_usize;
    let mut quoted = descr.split('\'').skip(1).step_by(2);
    let fields = descr.matches("('").count();
    if fields == 0 || descr.matches('[').count() != 1 || descr.contains("))") || descr.contains('"')
    {
        return None; // nested types and arrays within items
    }
    for _ in 0..fields {
        let (_name, kind) = (quoted.next()?, quoted.next()?);
        if kind.starts_with('[') {
            return None;
        }
        width = width.checked_add(element(kind).ok()?.1)?;
    }
    quoted.next().is_none().then_some(width)
}

/// Reads the dict literal that numpy writes, and nothing more of Python.
struct Literal<'a> {
    rest: &'a str,
}

impl<'a> Literal<'a> {
    fn header(&mut self) -> Result<(String, bool, Vec<u64>), Unreadable> {
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        self.expect('{')?;
        while !self.take('}') {
            let key = self.text()?;
            self.expect(':')?;
            let fresh = match key {
                "descr" => descr.replace(self.descr()?).is_none(),
                "fortran_order" => fortran.replace(self.truth()?).is_none(),
                "shape" => shape.replace(self.tuple()?).is_none(),
                _ => return malformed(format!("its header has the unknown key {}", shown(key))),
            };
            if !fresh {
                return malformed(format!("its header has {} twice", shown(key)));
            }
            if !self.take(',') {
                self.expect('}')?;
                break;
            }
        }
        if !self.rest.trim().is_empty() {
            return malformed("its header goes on after the dict");
        }
        match (descr, fortran, shape) {
            (Some(descr), Some(fortran), Some(shape)) => Ok((descr, fortran, shape)),
            _ => malformed("its header lacks descr, fortran_order or shape"),
        }
    }

    fn take(&mut self, c: char) -> bool {
        match self.rest.trim_start().strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, c: char) -> Result<(), Unreadable> {
        match self.take(c) {
            true => Ok(()),
            false => malformed(format!(
                "its header has no {c} before \"{}\"",
                shown(self.rest)
            )),
        }
    }

    fn text(&mut self) -> Result<&'a str, Unreadable> {
        self.expect('\'')?;
        let rest = self.rest;
        let Some((text, rest)) = rest.split_once('\'') else {
            return malformed("its header has text without an end");
        };
        self.rest = rest;
        Ok(text)
    }

    fn descr(&mut self) -> Result<String, Unreadable> {
        let rest = self.rest.trim_start();
        if !rest.starts_with('[') {
            return Ok(self.text()?.to_owned());
        }
        match rest.find(']') {
            Some(end) => {
                self.rest = &rest[end + 1..];
                Ok(rest[..=end].to_owned())
            }
            None => malformed("its header has a list without an end"),
        }
    }

    fn truth(&mut self) -> Result<bool, Unreadable> {
        let rest = self.rest.trim_start();
        for (word, value) in [("True", true), ("False", false)] {
            if let Some(rest) = rest.strip_prefix(word) {
                self.rest = rest;
                return Ok(value);
            }
        }
        malformed("fortran_order is neither True nor False")
    }

    fn tuple(&mut self) -> Result<Vec<u64>, Unreadable> {
        self.expect('(')?;
        let mut shape = Vec::new();
        while !self.take(')') {
            let rest = self.rest.trim_start();
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let Ok(length) = rest[..digits].parse() else {
                return malformed("its shape is no tuple of numbers");
            };
            shape.push(length);
            self.rest = rest[digits..].trim_start_matches('L');
            if !self.take(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(shape)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn file(header: &str, data: &[u8]) -> Bytes {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        Bytes::of_memory(bytes)
    }

    #[test]
    fn headers_are_read_as_numpy_writes_them() {
        let tensor = |header: &str, data: &[u8]| read_array(&file(header, data), "a");
        let found = tensor(
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   \n",
            &[0; 24],
        )
        .unwrap();
        assert_eq!(
            (found.element, found.shape.as_slice()),
            (ElementType::F32, &[2, 3][..])
        );
        let found = tensor(
            "{'descr': '>i8', 'fortran_order': True, 'shape': (1,)}",
            &[0, 0, 0, 0, 0, 0, 0, 7],
        )
        .unwrap();
        assert!(found.big_endian && found.column_major);
        let mut bytes = [0; 8];
        found.read(&mut bytes, 0).unwrap();
        assert_eq!(i64::from_le_bytes(bytes), 7);
        assert_eq!(
            tensor(
                "{'descr': '<f8', 'fortran_order': False, 'shape': ()}",
                &[0; 8]
            )
            .unwrap()
            .shape
            .len(),
            0
        );
        let items = tensor(
            "{'descr': [('a', '<f4'), ('b', '|S3')], 'fortran_order': False, 'shape': (2,)}",
            &[0; 14],
        )
        .unwrap();
        assert_eq!((items.element, items.width), (ElementType::Opaque, 7));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (header, data) in [
            ("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", 8),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", 7),
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (18446744073709551615, 2)}",
                8,
            ),
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
                4,
            ),
            ("{'descr': '<f4', 'fortran_order': False}", 4),
            (
                "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}",
                4,
            ),
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} + __import__('os')",
                4,
            ),
            ("{'descr': '<q9', 'fortran_order': False, 'shape': (1,)}", 9),
            (
                "{'descr': [('a', [('b', '<f4')])], 'fortran_order': False, 'shape': (1,)}",
                4,
            ),
        ] {
            let found = read_array(&file(header, &vec![0; data]), "a");
            let refused = matches!(
                found,
                Err(Unreadable::Malformed(_) | Unreadable::Unsupported(_))
            );
            assert!(refused, "{header}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read_or_refused(header in "[{}'a-z<>=|()\\[\\],: 0-9]{0,80}", data in 0usize..40) {
            let _ = read_array(&file(&header, &vec![0; data]), "a");
        }

        #[test]
        fn any_bytes_are_read_or_refused(mut bytes: Vec<u8>) {
            let _ = read_array(&Bytes::of_memory(bytes.clone()), "a");
            bytes.splice(0..0, *b"\x93NUMPY\x02\x00");
            let _ = read_array(&Bytes::of_memory(bytes), "a");
        }
    }
}
