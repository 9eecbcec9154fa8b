//! Tensors where they lie, and a file as a set of them.
//!
//! Every reader of a tensor format ends here: it says where the elements lie, and this file reads them, the little
//! end first. `passes` sums over pairs of tensors, `sets` compares two files. Invariant: the shape of a [`Tensor`] and
//! the length of its data agree.

use super::bytes::{Bytes, first_difference};
use super::limits::{DIMENSIONS, GATHERED_BYTES, TENSORS, Unreadable, malformed, unsupported};
use super::locator::shown;
use super::{numbers, torch};
use sealstone_spec::compare::ElementType;
use std::collections::BTreeMap;
use std::io;

/// Elements that are read at once.
const PIECE_ELEMENTS: u64 = 64 * 1024;
/// Bytes of items that are read at once, where the format says how wide an element is: a file may state gigabytes.
const PIECE_BYTES: u64 = 4 * 1024 * 1024;

/// A tensor where it lies.
#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    pub(super) name: String,
    pub(super) element: ElementType,
    /// The format's own word for the type, where `element` does not say it all.
    pub(super) label: String,
    /// Bytes of one element.
    pub(super) width: usize,
    pub(super) shape: Vec<u64>,
    pub(super) data: Bytes,
    pub(super) big_endian: bool,
    /// Whether the first index runs fastest.
    pub(super) column_major: bool,
}

impl Tensor {
    /// A tensor of `element`s in row-major order, little end first.
    ///
    /// # Errors
    /// If shape and data do not agree.
    pub(super) fn new(
        name: impl Into<String>,
        element: ElementType,
        shape: Vec<u64>,
        data: Bytes,
    ) -> Result<Tensor, Unreadable> {
        let width = numbers::width(element).unwrap_or(1);
        Tensor::of_width(name, element, element.as_str(), width, shape, data)
    }

    /// As [`Tensor::new`], with the format's word for the type.
    pub(super) fn of_width(
        name: impl Into<String>,
        element: ElementType,
        label: impl Into<String>,
        width: usize,
        shape: Vec<u64>,
        data: Bytes,
    ) -> Result<Tensor, Unreadable> {
        let name = name.into();
        let due = elements_of(&shape).and_then(|count| count.checked_mul(width as u64));
        if due != Some(data.len()) || width == 0 {
            return malformed(format!(
                "tensor \"{}\" of shape {shape:?} has {} bytes",
                shown(&name),
                data.len()
            ));
        }
        Ok(Tensor {
            name,
            element,
            label: label.into(),
            width,
            shape,
            data,
            big_endian: false,
            column_major: false,
        })
    }

    pub(super) fn elements(&self) -> u64 {
        self.data.len() / self.width as u64
    }

    pub(super) fn is_like(&self, other: &Tensor) -> bool {
        self.element == other.element && self.label == other.label && self.width == other.width
    }

    /// Reads elements, the little end first.
    pub(super) fn read(&self, buffer: &mut [u8], from: u64) -> io::Result<()> {
        self.data.read(buffer, from * self.width as u64)?;
        if self.big_endian {
            let part = match self.element {
                ElementType::C64 | ElementType::C128 => self.width / 2,
                _ => self.width,
            };
            buffer.chunks_exact_mut(part).for_each(<[u8]>::reverse);
        }
        Ok(())
    }

    /// Place of an element, from where it lies in storage.
    pub(super) fn index(&self, mut place: u64) -> Vec<u64> {
        let mut index = vec![0; self.shape.len()];
        let take = |axis: usize, place: &mut u64, index: &mut Vec<u64>| {
            let length = self.shape[axis].max(1);
            index[axis] = *place % length;
            *place /= length;
        };
        match self.column_major {
            true => (0..self.shape.len()).for_each(|axis| take(axis, &mut place, &mut index)),
            false => (0..self.shape.len())
                .rev()
                .for_each(|axis| take(axis, &mut place, &mut index)),
        }
        index
    }

    /// How many elements are read at once.
    pub(super) fn piece(&self) -> u64 {
        match numbers::width(self.element) {
            Some(_) => PIECE_ELEMENTS,
            None => (PIECE_BYTES / self.width as u64).clamp(1, PIECE_ELEMENTS),
        }
    }

    /// Whether one element is more than should stand in memory.
    pub(super) fn is_wide(&self) -> bool {
        self.width as u64 > PIECE_BYTES
    }

    /// Whether an item has other bytes than that of `other` in its place; for items of any width.
    pub(super) fn item_differs(&self, other: &Tensor, place: u64) -> io::Result<bool> {
        let item = |tensor: &Tensor| {
            let width = tensor.width as u64;
            let start = place.checked_mul(width);
            let item = start.and_then(|start| tensor.data.slice(start, width));
            item.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
        };
        Ok(first_difference(&item(self)?, &item(other)?)?.is_some())
    }

    pub(super) fn text(&self, place: u64) -> io::Result<String> {
        let width = match numbers::width(self.element) {
            Some(_) => self.width,
            // One byte more than is shown says that there are more.
            None => self.width.min(numbers::SHOWN_BYTES + 1),
        };
        let mut bytes = vec![0; width];
        self.read(&mut bytes, place)?;
        Ok(numbers::text(self.element, &bytes))
    }

    /// The same tensor with the last index running fastest, copied where it has to be.
    pub(super) fn row_major(&self) -> Result<Tensor, Unreadable> {
        if !self.column_major || self.shape.len() < 2 {
            let mut same = self.clone();
            same.column_major = false;
            return Ok(same);
        }
        let mut strides = Vec::new();
        let mut stride = 1_u64;
        for length in &self.shape {
            strides.push(stride);
            stride = stride.saturating_mul(*length);
        }
        let data = gather(&self.data, self.width, &self.shape, &strides, 0, &self.name)?;
        Ok(Tensor {
            data,
            column_major: false,
            ..self.clone()
        })
    }
}

/// How many elements a shape has.
pub(super) fn elements_of(shape: &[u64]) -> Option<u64> {
    shape
        .iter()
        .try_fold(1_u64, |product, length| product.checked_mul(*length))
}

/// Elements in row-major order, copied from where strides (in elements) say that they lie.
pub(super) fn gather(
    data: &Bytes,
    width: usize,
    shape: &[u64],
    strides: &[u64],
    offset: u64,
    name: &str,
) -> Result<Bytes, Unreadable> {
    let count = elements_of(shape).unwrap_or(u64::MAX);
    let size = count.saturating_mul(width as u64);
    if size > GATHERED_BYTES || data.len() > GATHERED_BYTES {
        return unsupported(format!(
            "tensor \"{}\" does not lie in row-major order and is too large to be brought into it",
            shown(name)
        ));
    }
    let source = data.read_all(GATHERED_BYTES)?;
    let mut out = Vec::with_capacity(size as usize);
    let mut index = vec![0_u64; shape.len()];
    for _ in 0..count {
        let mut place = Some(offset);
        for (at, stride) in index.iter().zip(strides) {
            place = place.and_then(|place| place.checked_add(at.checked_mul(*stride)?));
        }
        let bytes = place
            .and_then(|place| usize::try_from(place).ok()?.checked_mul(width))
            .and_then(|start| source.get(start..start.checked_add(width)?));
        let Some(bytes) = bytes else {
            return malformed(format!(
                "tensor \"{}\" has elements outside of its storage",
                shown(name)
            ));
        };
        out.extend_from_slice(bytes);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    Ok(Bytes::of_memory(out))
}

/// A file as a set of tensors, and what else it says.
#[derive(Debug, Default)]
pub(crate) struct TensorFile {
    pub(super) format: &'static str,
    /// In the order of the file.
    pub(super) tensors: Vec<Tensor>,
    /// Everything that is no tensor and means something, as text.
    pub(super) metadata: BTreeMap<String, String>,
    /// Where the elements begin, for formats in which equal bytes before it and equal tensors are equal files.
    pub(super) header: Option<u64>,
    /// Whether elements lie in other files: then equal bytes are no equal tensors.
    pub(super) beside: bool,
}

impl TensorFile {
    /// Whether an entry of the metadata says anything that the same tensors in another container would lack. How this one
    /// is made does not, nor do the notes of safetensors, which every writer adds to.
    pub(super) fn says_more(&self, key: &str) -> bool {
        let Some(value) = self.metadata.get(key) else {
            return false;
        };
        match self.format {
            "safetensors" => !key.starts_with("__metadata__."),
            "gguf" => key != "version",
            "torch" => !torch::is_structure(key, value),
            _ => true,
        }
    }

    pub(super) fn check(self) -> Result<TensorFile, Unreadable> {
        if self.tensors.len() > TENSORS {
            return unsupported(format!("it has more than {TENSORS} tensors"));
        }
        let mut names = std::collections::HashSet::new();
        for tensor in &self.tensors {
            if tensor.shape.len() > DIMENSIONS {
                return unsupported(format!(
                    "tensor \"{}\" has over {DIMENSIONS} dimensions",
                    shown(&tensor.name)
                ));
            }
            if !names.insert(tensor.name.as_str()) {
                return malformed(format!("tensor \"{}\" stands twice", shown(&tensor.name)));
            }
        }
        Ok(self)
    }
}
