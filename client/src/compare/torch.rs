//! Files that `torch.save` writes: a zip with a pickle of the structure and one member for each storage.
//!
//! The pickle is read and never run (see `pickle`). Where a tensor lies in its storage is followed; on which device it
//! was is not told apart.

use super::archive::{Budget, Member, read_torch};
use super::bytes::Bytes;
use super::content::Side;
use super::limits::{
    DIMENSIONS, DOCUMENT_BYTES, NAME_BYTES, NAMES_BYTES, TENSORS, Unreadable, malformed,
    unsupported,
};
use super::locator::shown;
use super::numbers;
use super::pickle::{self, Node, NodeId, Pickle};
use super::tensors::{Tensor, TensorFile, gather};
use sealstone_spec::compare::{Decimal, ElementType};
use sealstone_spec::digest::Digest;
use std::collections::BTreeMap;

/// Structures in structures.
const MAX_DEPTH: usize = 64;
/// Values that are walked through; shared ones count each time.
const MAX_VISITS: usize = 4_000_000;

/// The elements of a class of storage; `Opaque` for bytes of a type that is told elsewhere.
pub(super) fn storage_element(class: &str) -> Option<ElementType> {
    Some(match class {
        "FloatStorage" => ElementType::F32,
        "DoubleStorage" => ElementType::F64,
        "HalfStorage" => ElementType::F16,
        "BFloat16Storage" => ElementType::BF16,
        "LongStorage" => ElementType::I64,
        "IntStorage" => ElementType::I32,
        "ShortStorage" => ElementType::I16,
        "CharStorage" => ElementType::I8,
        "ByteStorage" => ElementType::U8,
        "BoolStorage" => ElementType::Bool,
        "ComplexFloatStorage" => ElementType::C64,
        "ComplexDoubleStorage" => ElementType::C128,
        "UntypedStorage" => ElementType::Opaque,
        _ => return None,
    })
}

/// The elements of a type, as torch calls it.
fn dtype(name: &str) -> Option<ElementType> {
    Some(match name {
        "float32" | "float" => ElementType::F32,
        "float64" | "double" => ElementType::F64,
        "float16" | "half" => ElementType::F16,
        "bfloat16" => ElementType::BF16,
        "int64" => ElementType::I64,
        "int32" => ElementType::I32,
        "int16" => ElementType::I16,
        "int8" => ElementType::I8,
        "uint8" => ElementType::U8,
        "uint16" => ElementType::U16,
        "uint32" => ElementType::U32,
        "uint64" => ElementType::U64,
        "bool" => ElementType::Bool,
        "complex64" => ElementType::C64,
        "complex128" => ElementType::C128,
        _ => return None,
    })
}

pub(super) fn read(side: &Side, budget: &mut Budget) -> Result<TensorFile, Unreadable> {
    let members = read_torch(side, budget)?;
    let mut pickles = members
        .keys()
        .filter(|name| name.ends_with("/data.pkl") || *name == "data.pkl");
    let (Some(structure), None) = (pickles.next(), pickles.next()) else {
        return malformed("it has no structure named data.pkl, or several");
    };
    let prefix = structure
        .strip_suffix("data.pkl")
        .unwrap_or_default()
        .to_owned();
    if members
        .keys()
        .any(|name| name.starts_with(&format!("{prefix}code/")))
    {
        return unsupported("it is a TorchScript archive with code of its own");
    }
    let content = members[structure].bytes.read_all(DOCUMENT_BYTES)?;
    let big_endian = match members.get(&format!("{prefix}byteorder")) {
        None => false,
        Some(order) => match order.bytes.read_all(64)?.as_slice() {
            b"little" => false,
            b"big" => true,
            _ => return malformed("its byteorder is neither little nor big"),
        },
    };
    let pickle = pickle::read(&content)?;
    let mut walk = Walk {
        pickle: &pickle,
        members: &members,
        prefix,
        big_endian,
        visits: 0,
        names: 0,
        file: TensorFile {
            format: "torch",
            ..TensorFile::default()
        },
    };
    walk.node(pickle.top, "", 0)?;
    walk.file.check()
}

struct Walk<'a> {
    pickle: &'a Pickle,
    members: &'a BTreeMap<String, Member>,
    prefix: String,
    big_endian: bool,
    visits: usize,
    /// Bytes of the paths to them.
    names: usize,
    file: TensorFile,
}

struct Storage {
    element: ElementType,
    data: Bytes,
}

impl<'a> Walk<'a> {
    fn at(&self, id: NodeId) -> &'a Node {
        &self.pickle.nodes[id]
    }

    fn global(&self, id: NodeId) -> Option<(&'a str, &'a str)> {
        match self.at(id) {
            Node::Global(module, name) => Some((module, name)),
            _ => None,
        }
    }

    fn say(&mut self, path: &str, value: String) -> Result<(), Unreadable> {
        let key = if path.is_empty() { "#value" } else { path };
        match self.file.metadata.insert(key.to_owned(), value) {
            None => Ok(()),
            Some(_) => malformed(format!("\"{}\" stands twice", shown(key))),
        }
    }

    /// Takes in everything below a node. Paths do not show what their parts are (lists or tuples, dicts of which keys): that
    /// is said beside them, under names that begin with `#`, where no key stands (see [`Walk::items`]).
    fn node(&mut self, id: NodeId, path: &str, depth: usize) -> Result<(), Unreadable> {
        self.visits += 1;
        self.names += path.len();
        let is_too_much = self.visits > MAX_VISITS || self.names > NAMES_BYTES;
        if depth > MAX_DEPTH || is_too_much || path.len() > NAME_BYTES {
            return unsupported(format!(
                "\"{}\" is nested too deep or has too many parts",
                shown(path)
            ));
        }
        let below = |key: &str| match path.is_empty() {
            true => key.to_owned(),
            false => format!("{path}.{key}"),
        };
        match self.at(id) {
            Node::None => self.say(path, "None".to_owned()),
            Node::Bool(value) => self.say(path, value.to_string()),
            Node::Int(value) => self.say(path, value.to_string()),
            // No other value begins with a word: what is made of structures below could else be written as an integer.
            Node::Long(value) => self.say(path, format!("integer {value}")),
            Node::Float(value) => self.say(path, float(*value)),
            Node::Text(value) => self.say(path, format!("\"{value}\"")),
            Node::Raw(opcode, value) => {
                let digest = Digest::sha256(value);
                let text = format!("{} bytes by 0x{opcode:02x}, {digest}", value.len());
                self.say(path, text)
            }
            Node::Bytes(value) => {
                let digest = Digest::sha256(value);
                self.say(path, format!("{} bytes, {digest}", value.len()))
            }
            Node::Global(module, name) => self.say(path, format!("{module}.{name}")),
            Node::Persistent(_) => {
                let storage = self.storage(id, path)?;
                let data = storage.data;
                self.tensor(path, ElementType::Opaque, vec![data.len()], &[1], 0, data)
            }
            Node::Tuple(items) | Node::List(items) | Node::Set(items) => {
                let kind = match self.at(id) {
                    Node::Tuple(_) => "tuple",
                    Node::List(_) => "list",
                    _ => "set",
                };
                self.say(&below("#"), format!("{kind} of {}", items.len()))?;
                for (place, item) in items.iter().enumerate() {
                    self.node(*item, &below(&place.to_string()), depth + 1)?;
                }
                Ok(())
            }
            Node::Dict(items) => {
                self.say(&below("#"), format!("dict of {}", items.len()))?;
                self.items(items, path, depth)
            }
            Node::Call {
                what,
                with,
                state,
                items,
            } => {
                self.call(*what, *with, path, depth)?;
                if let Some(state) = state {
                    self.node(*state, &below("#state"), depth + 1)?;
                }
                self.items(items, path, depth)
            }
        }
    }

    fn items(
        &mut self,
        items: &[(NodeId, NodeId)],
        path: &str,
        depth: usize,
    ) -> Result<(), Unreadable> {
        for (key, value) in items {
            let (key, is_integer) = match self.at(*key) {
                // A name with one # is said of a structure: a vocabulary of characters has a key that is such a name.
                Node::Text(text) if text.starts_with('#') => (format!("#{text}"), false),
                Node::Text(text) => (text.clone(), false),
                Node::Int(number) => (number.to_string(), true),
                _ => {
                    return unsupported(format!(
                        "\"{}\" has a key that is neither text nor an integer",
                        shown(path)
                    ));
                }
            };
            let below = match path.is_empty() {
                // No path is the whole file's.
                true if key.is_empty() => "\"\"".to_owned(),
                true => key,
                false => format!("{path}.{key}"),
            };
            if is_integer {
                self.say(&format!("{below}.#key"), "integer".to_owned())?;
            }
            self.node(*value, &below, depth + 1)?;
        }
        Ok(())
    }

    fn call(
        &mut self,
        what: NodeId,
        with: NodeId,
        path: &str,
        depth: usize,
    ) -> Result<(), Unreadable> {
        let Node::Tuple(arguments) = self.at(with) else {
            return malformed(format!(
                "\"{}\" is made of no list of arguments",
                shown(path)
            ));
        };
        match (self.global(what), arguments.as_slice()) {
            (Some(("torch._utils", "_rebuild_parameter")), [tensor, ..]) => {
                self.node(*tensor, path, depth + 1)
            }
            (
                Some(("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2")),
                [storage, offset, size, stride, rest @ ..],
            ) => {
                // Whether it has a gradient, and hooks, stand before what it says of its values.
                self.says_no_more(rest.get(2..).unwrap_or_default(), path)?;
                let storage = self.storage(*storage, path)?;
                let (offset, shape) = (self.integer(*offset, path)?, self.integers(*size, path)?);
                let strides = self.integers(*stride, path)?;
                self.tensor(path, storage.element, shape, &strides, offset, storage.data)
            }
            (
                Some(("torch._utils", "_rebuild_tensor_v3")),
                [
                    storage,
                    offset,
                    size,
                    stride,
                    _grad,
                    _hooks,
                    kind,
                    rest @ ..,
                ],
            ) => {
                self.says_no_more(rest, path)?;
                let storage = self.storage(*storage, path)?;
                let element = self.global(*kind).and_then(|(_, name)| dtype(name));
                let Some(element) = element else {
                    return unsupported(format!("tensor \"{}\" has an unknown type", shown(path)));
                };
                let (offset, shape) = (self.integer(*offset, path)?, self.integers(*size, path)?);
                let strides = self.integers(*stride, path)?;
                self.tensor(path, element, shape, &strides, offset, storage.data)
            }
            (Some((module, name)), _) => {
                self.say(path, format!("{module}.{name}(...)"))?;
                let below = match path.is_empty() {
                    true => "#with".to_owned(),
                    false => format!("{path}.#with"),
                };
                self.node(with, &below, depth + 1)
            }
            _ => malformed(format!("\"{}\" is made by a call of no name", shown(path))),
        }
    }

    /// Refuses a tensor that is made with more than where its elements lie: torch 2 writes `{"neg": True}` or
    /// `{"conj": True}` there, and the values are then others than those in the storage.
    fn says_no_more(&self, arguments: &[NodeId], path: &str) -> Result<(), Unreadable> {
        let is_nothing = |id: &NodeId| match self.at(*id) {
            Node::None => true,
            Node::Dict(items) => items.is_empty(),
            _ => false,
        };
        match arguments.iter().all(is_nothing) {
            true => Ok(()),
            false => unsupported(format!(
                "tensor \"{}\" is kept negated, conjugated or with more that is not understood",
                shown(path)
            )),
        }
    }

    /// `("storage", class, key, location, count)`, kept in the member `data/key`.
    fn storage(&self, id: NodeId, path: &str) -> Result<Storage, Unreadable> {
        let broken = || Unreadable::Malformed(format!("tensor \"{}\" has no storage", shown(path)));
        let Node::Persistent(id) = self.at(id) else {
            return Err(broken());
        };
        let Node::Tuple(parts) = self.at(*id) else {
            return Err(broken());
        };
        let [_, class, key, _, count, ..] = parts.as_slice() else {
            return Err(broken());
        };
        let element = self
            .global(*class)
            .and_then(|(_, class)| storage_element(class));
        let Node::Text(key) = self.at(*key) else {
            return Err(broken());
        };
        let Some(element) = element else {
            return unsupported(format!(
                "tensor \"{}\" has a storage of an unknown type",
                shown(path)
            ));
        };
        let count = self.integer(*count, path)?;
        let member = self
            .members
            .get(&format!("{}data/{key}", self.prefix))
            .ok_or_else(broken)?;
        let width = numbers::width(element).unwrap_or(1) as u64;
        if count.checked_mul(width) != Some(member.bytes.len()) {
            return malformed(format!(
                "storage \"{}\" has {} bytes where {count} elements are due",
                shown(key),
                member.bytes.len()
            ));
        }
        Ok(Storage {
            element,
            data: member.bytes.clone(),
        })
    }

    fn integer(&self, id: NodeId, path: &str) -> Result<u64, Unreadable> {
        match self.at(id) {
            Node::Int(value) if *value >= 0 => Ok(*value as u64),
            _ => malformed(format!(
                "tensor \"{}\" has a size or place that is no number",
                shown(path)
            )),
        }
    }

    fn integers(&self, id: NodeId, path: &str) -> Result<Vec<u64>, Unreadable> {
        let items = match self.at(id) {
            Node::Tuple(items) | Node::List(items) => items,
            // torch.Size((2, 3))
            Node::Call { with, .. } => match self.at(*with) {
                Node::Tuple(items) => match items.first().map(|first| self.at(*first)) {
                    Some(Node::Tuple(items) | Node::List(items)) => items,
                    _ => items,
                },
                _ => return malformed(format!("tensor \"{}\" has no shape", shown(path))),
            },
            _ => return malformed(format!("tensor \"{}\" has no shape", shown(path))),
        };
        if items.len() > DIMENSIONS {
            return unsupported(format!(
                "tensor \"{}\" has over {DIMENSIONS} dimensions",
                shown(path)
            ));
        }
        items.iter().map(|item| self.integer(*item, path)).collect()
    }

    fn tensor(
        &mut self,
        path: &str,
        element: ElementType,
        shape: Vec<u64>,
        strides: &[u64],
        offset: u64,
        data: Bytes,
    ) -> Result<(), Unreadable> {
        if self.file.tensors.len() >= TENSORS {
            return unsupported(format!("it has more than {TENSORS} tensors"));
        }
        let name = if path.is_empty() { "tensor" } else { path };
        let outside = || {
            Unreadable::Malformed(format!(
                "tensor \"{}\" lies outside of its storage",
                shown(name)
            ))
        };
        let width = numbers::width(element).unwrap_or(1);
        if strides.len() != shape.len() {
            return malformed(format!(
                "tensor \"{}\" has {} strides for {shape:?}",
                shown(name),
                strides.len()
            ));
        }
        let count = super::tensors::elements_of(&shape).ok_or_else(outside)?;
        let start = offset.checked_mul(width as u64).ok_or_else(outside)?;
        let size = count.checked_mul(width as u64).ok_or_else(outside)?;
        let window = match count == 0 || is_row_major(&shape, strides) {
            true => data.slice(start, size).ok_or_else(outside)?,
            false => gather(&data, width, &shape, strides, offset, name)?,
        };
        let mut tensor = Tensor::of_width(name, element, element.as_str(), width, shape, window)?;
        tensor.big_endian = self.big_endian && element != ElementType::Opaque;
        self.file.tensors.push(tensor);
        Ok(())
    }
}

/// Whether an entry says no more than in which structures the tensors of a file stand (see [`Walk::node`]): the same tensors
/// have none of these elsewhere. A structure that holds nothing is something else: no tensor stands for it.
pub(super) fn is_structure(key: &str, value: &str) -> bool {
    let is_kind = || {
        let (kind, count) = value.split_once(" of ").unwrap_or_default();
        let is_count = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
        ["tuple", "list", "set", "dict"].contains(&kind) && is_count && (count != "0" || key == "#")
    };
    match key.rsplit('.').next() {
        Some("#") => is_kind(),
        Some("#key") => value == "integer",
        _ => false,
    }
}

/// As Python writes it: 1.0 is not the integer 1.
fn float(value: f64) -> String {
    let text = Decimal::from(value).to_string();
    match text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'-')
    {
        true => format!("{text}.0"),
        false => text,
    }
}

/// Whether the last index runs fastest and nothing lies between.
fn is_row_major(shape: &[u64], strides: &[u64]) -> bool {
    let mut due = 1_u64;
    for (length, stride) in shape.iter().zip(strides).rev() {
        if *length != 1 && *stride != due {
            return false;
        }
        due = due.saturating_mul(*length);
    }
    true
}
