//! ONNX models: initialisers as tensors, everything else as digests of its parts.
//!
//! Producer and documentation are left out, and the ways to encode an initialiser are one. Data beside the model is
//! read where it is a plain file in or below the model's directory; any other place is refused.

use super::bytes::Bytes;
use super::content::Side;
use super::cursor::Cursor;
use super::gguf::hash;
use super::limits::{DIMENSIONS, DOCUMENT_BYTES, TENSORS, Unreadable, malformed, unsupported};
use super::locator::{name_of, shown};
use super::numbers;
use super::protobuf::{Fields, Value, varint};
use super::tensors::{Tensor, TensorFile};
use sealstone_spec::compare::ElementType;
use sealstone_spec::digest::Digest;
use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

/// Bytes of a name.
const MAX_NAME: u64 = 64 * 1024;
/// Parts of a model that are no initialisers.
const MAX_PARTS: usize = 2_000_000;

pub(super) fn read(side: &Side) -> Result<TensorFile, Unreadable> {
    let mut file = TensorFile {
        format: "onnx",
        ..TensorFile::default()
    };
    let mut external = External {
        directory: side.directory.as_deref(),
        open: HashMap::new(),
    };
    let mut counts: HashMap<u64, usize> = HashMap::new();
    let mut graphs = 0;
    let mut fields = Fields::of(&side.bytes);
    while let Some((number, value)) = fields.next()? {
        match number {
            // producer_name, producer_version, doc_string
            2 | 3 | 6 => {}
            7 => {
                graphs += 1;
                read_graph(&value.window()?, &mut external, &mut file)?;
            }
            _ => {
                let place = counts.entry(number).or_default();
                let name = match number {
                    1 => "ir_version",
                    4 => "domain",
                    5 => "model_version",
                    8 => "opset_import",
                    14 => "metadata_props",
                    25 => "functions",
                    _ => "field",
                };
                let key = format!("{name}[{place}]#{number}");
                *place += 1;
                add(&mut file, key, describe(value)?)?;
            }
        }
    }
    if graphs != 1 {
        return malformed(format!("it has {graphs} graphs, so it is no ONNX model"));
    }
    file.beside = !external.open.is_empty();
    file.check()
}

fn add(file: &mut TensorFile, key: String, value: String) -> Result<(), Unreadable> {
    if file.metadata.len() >= MAX_PARTS {
        return unsupported(format!("it has more than {MAX_PARTS} parts"));
    }
    file.metadata.insert(key, value);
    Ok(())
}

/// A part as text: short ones as they are, others by digest.
fn describe(value: Value) -> Result<String, Unreadable> {
    Ok(match value {
        Value::Varint(number) => number.to_string(),
        Value::Fixed32(bytes) => data_encoding::HEXLOWER.encode(&bytes),
        Value::Fixed64(bytes) => data_encoding::HEXLOWER.encode(&bytes),
        Value::Window(window) => hash(&window)?,
    })
}

fn read_graph(
    graph: &Bytes,
    external: &mut External,
    file: &mut TensorFile,
) -> Result<(), Unreadable> {
    let mut fields = Fields::of(graph);
    let mut counts: HashMap<u64, usize> = HashMap::new();
    while let Some((number, value)) = fields.next()? {
        let place = counts.entry(number).or_default();
        let position = *place;
        *place += 1;
        match number {
            10 => {} // doc_string
            5 => {
                if file.tensors.len() >= TENSORS {
                    return unsupported(format!("it has more than {TENSORS} initialisers"));
                }
                match read_tensor(&value.window()?, external)? {
                    Initialiser::Tensor(tensor) => file.tensors.push(tensor),
                    Initialiser::Text(name, digest) => {
                        add(file, format!("initializer/{name}"), digest)?
                    }
                }
            }
            1 => {
                let (label, text) = describe_node(&value.window()?)?;
                add(file, format!("graph.node[{position}] {label}"), text)?;
            }
            2 => {
                let name = value.window()?.read_all(MAX_NAME)?;
                add(file, "graph.name".to_owned(), name_of(&name))?;
            }
            _ => {
                let name = match number {
                    11 => "input",
                    12 => "output",
                    13 => "value_info",
                    14 => "quantization_annotation",
                    15 => "sparse_initializer",
                    _ => "field",
                };
                add(
                    file,
                    format!("graph.{name}[{position}]#{number}"),
                    describe(value)?,
                )?;
            }
        }
    }
    Ok(())
}

/// A node's name and operator, and the digest of all but its documentation.
fn describe_node(node: &Bytes) -> Result<(String, String), Unreadable> {
    let (mut name, mut operator) = (String::new(), String::new());
    let mut parts = String::new();
    let mut fields = Fields::of(node);
    while let Some((number, value)) = fields.next()? {
        if number == 6 {
            continue;
        }
        if let Value::Window(window) = &value
            && window.len() <= 256
            && matches!(number, 3 | 4)
        {
            let text = name_of(&window.read_all(256)?);
            match number {
                3 => name = text,
                _ => operator = text,
            }
        }
        let text = describe(value)?;
        // Lengths keep one part from passing for two.
        parts.push_str(&format!("{number} {} {text}\n", text.len()));
    }
    let digest = Digest::sha256(parts.as_bytes());
    Ok((
        format!("{} {}", shown(&operator), shown(&name))
            .trim()
            .to_owned(),
        digest.to_string(),
    ))
}

enum Initialiser {
    Tensor(Tensor),
    /// Name and digest of an initialiser of strings.
    Text(String, String),
}

/// Element type and its name, by ONNX's number.
fn element(kind: u64) -> Option<(ElementType, &'static str)> {
    let plain = |element: ElementType| Some((element, element.as_str()));
    match kind {
        1 => plain(ElementType::F32),
        2 => plain(ElementType::U8),
        3 => plain(ElementType::I8),
        4 => plain(ElementType::U16),
        5 => plain(ElementType::I16),
        6 => plain(ElementType::I32),
        7 => plain(ElementType::I64),
        9 => plain(ElementType::Bool),
        10 => plain(ElementType::F16),
        11 => plain(ElementType::F64),
        12 => plain(ElementType::U32),
        13 => plain(ElementType::U64),
        14 => plain(ElementType::C64),
        15 => plain(ElementType::C128),
        16 => plain(ElementType::BF16),
        17 => Some((ElementType::Opaque, "f8_e4m3fn")),
        18 => Some((ElementType::Opaque, "f8_e4m3fnuz")),
        19 => Some((ElementType::Opaque, "f8_e5m2")),
        20 => Some((ElementType::Opaque, "f8_e5m2fnuz")),
        // Two to a byte.
        21 => Some((ElementType::Opaque, "u4")),
        22 => Some((ElementType::Opaque, "i4")),
        23 => Some((ElementType::Opaque, "f4_e2m1")),
        _ => None,
    }
}

#[derive(Default)]
struct Parts {
    name: String,
    kind: u64,
    shape: Vec<u64>,
    raw: Option<Bytes>,
    /// Elements in one of the typed fields.
    typed: Option<Bytes>,
    collected: Vec<u8>,
    texts: Option<String>,
    is_external: bool,
    external: HashMap<String, String>,
}

fn read_tensor(message: &Bytes, external: &mut External) -> Result<Initialiser, Unreadable> {
    let mut parts = Parts::default();
    let mut fields = Fields::of(message);
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1, Value::Window(window)) => {
                let mut packed = Cursor::new(window);
                while !packed.is_at_end() {
                    parts.dimension(varint(&mut packed)?)?;
                }
            }
            (1, value) => parts.dimension(value.varint()?)?,
            (2, value) => parts.kind = value.varint()?,
            (3, _) => return unsupported("an initialiser in segments is not understood"),
            (4, Value::Fixed32(bytes)) => parts.collect(&bytes)?,
            (10, Value::Fixed64(bytes)) => parts.collect(&bytes)?,
            (4 | 10, Value::Window(window)) => parts.packed(window)?,
            (5 | 7 | 11, value) => parts.integers(number, value)?,
            (6, value) => {
                let known = parts.texts.take().unwrap_or_default();
                parts.texts =
                    Some(Digest::sha256((known + &describe(value)?).as_bytes()).to_string());
            }
            (8, value) => parts.name = name_of(&value.window()?.read_all(MAX_NAME)?),
            (9, value) => parts.raw = Some(value.window()?),
            (13, value) => {
                let (key, value) = entry(&value.window()?)?;
                parts.external.insert(key, value);
            }
            (14, value) => parts.is_external = value.varint()? == 1,
            _ => {} // doc_string, metadata_props
        }
    }
    parts.finish(external)
}

fn entry(message: &Bytes) -> Result<(String, String), Unreadable> {
    let (mut key, mut text) = (String::new(), String::new());
    let mut fields = Fields::of(message);
    while let Some((number, value)) = fields.next()? {
        let content = name_of(&value.window()?.read_all(MAX_NAME)?);
        match number {
            1 => key = content,
            2 => text = content,
            _ => {}
        }
    }
    Ok((key, text))
}

impl Parts {
    fn dimension(&mut self, length: u64) -> Result<(), Unreadable> {
        if self.shape.len() >= DIMENSIONS {
            return unsupported(format!("an initialiser has over {DIMENSIONS} dimensions"));
        }
        self.shape.push(length);
        Ok(())
    }

    fn collect(&mut self, bytes: &[u8]) -> Result<(), Unreadable> {
        if (self.collected.len() + bytes.len()) as u64 > DOCUMENT_BYTES {
            return unsupported("an initialiser that is not stored raw is too large");
        }
        self.collected.extend_from_slice(bytes);
        Ok(())
    }

    /// Packed floats are their own little-endian bytes.
    fn packed(&mut self, window: Bytes) -> Result<(), Unreadable> {
        match (&self.typed, self.collected.is_empty()) {
            (None, true) => self.typed = Some(window),
            _ => {
                if let Some(first) = self.typed.take() {
                    let content = first.read_all(DOCUMENT_BYTES)?;
                    self.collect(&content)?;
                }
                let content = window.read_all(DOCUMENT_BYTES)?;
                self.collect(&content)?;
            }
        }
        Ok(())
    }

    fn integers(&mut self, field: u64, value: Value) -> Result<(), Unreadable> {
        // int32_data holds all types of up to 32 bits; the wire has the number, not its width.
        let width = match (field, element(self.kind)) {
            (5, Some((element, _))) => numbers::width(element).unwrap_or(1).min(4),
            (11, Some((ElementType::U32, _))) => 4,
            _ => 8,
        };
        match value {
            Value::Window(window) => {
                let mut packed = Cursor::new(window);
                while !packed.is_at_end() {
                    let bytes = varint(&mut packed)?.to_le_bytes();
                    self.collect(&bytes[..width])?;
                }
                Ok(())
            }
            other => {
                let bytes = other.varint()?.to_le_bytes();
                self.collect(&bytes[..width])
            }
        }
    }

    fn finish(self, external: &mut External) -> Result<Initialiser, Unreadable> {
        if self.kind == 8 {
            let digest = self.texts.unwrap_or_default();
            return Ok(Initialiser::Text(
                self.name,
                format!("{:?} {digest}", self.shape),
            ));
        }
        let Some((element, label)) = element(self.kind) else {
            return unsupported(format!(
                "initialiser \"{}\" has the unknown type {}",
                shown(&self.name),
                self.kind
            ));
        };
        let data = if self.is_external {
            external.read(&self.name, &self.external)?
        } else if let Some(raw) = self.raw {
            raw
        } else if let Some(typed) = self.typed {
            typed
        } else {
            Bytes::of_memory(self.collected)
        };
        let width = numbers::width(element).unwrap_or(1);
        let shape = match label {
            "u4" | "i4" | "f4_e2m1" => vec![data.len()],
            _ => self.shape,
        };
        Ok(Initialiser::Tensor(Tensor::of_width(
            self.name, element, label, width, shape, data,
        )?))
    }
}

/// Files beside the model.
struct External<'a> {
    directory: Option<&'a Path>,
    open: HashMap<PathBuf, Bytes>,
}

impl External<'_> {
    fn read(&mut self, name: &str, entries: &HashMap<String, String>) -> Result<Bytes, Unreadable> {
        let refused = |why: &str| {
            malformed(format!(
                "initialiser \"{}\" keeps its data elsewhere, and {why}",
                shown(name)
            ))
        };
        let location = entries
            .get("location")
            .map(String::as_str)
            .unwrap_or_default();
        let Some(directory) = self.directory else {
            return refused("the model is no file in a directory");
        };
        let path = Path::new(location);
        let is_plain = !location.is_empty()
            && path
                .components()
                .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !is_plain {
            return refused("the place is outside of the model's directory");
        }
        let directory = if directory.as_os_str().is_empty() {
            Path::new(".")
        } else {
            directory
        };
        let root = std::fs::canonicalize(directory)?;
        let Ok(real) = std::fs::canonicalize(root.join(path)) else {
            return refused("the file is not there");
        };
        // Links may lead out of the directory.
        if !real.starts_with(&root) || !real.is_file() {
            return refused("the place is outside of the model's directory, or no file");
        }
        if !self.open.contains_key(&real) {
            let file = Bytes::of_file(std::fs::File::open(&real)?)?;
            self.open.insert(real.clone(), file);
        }
        let number = |key: &str| entries.get(key).map(|text| text.parse::<u64>());
        let file = &self.open[&real];
        let offset = match number("offset") {
            None => 0,
            Some(Ok(offset)) => offset,
            Some(Err(_)) => return refused("its offset is no number"),
        };
        let length = match number("length") {
            None => file.len().saturating_sub(offset),
            Some(Ok(length)) => length,
            Some(Err(_)) => return refused("its length is no number"),
        };
        match file.slice(offset, length) {
            Some(window) => Ok(window),
            None => refused("it goes beyond that file"),
        }
    }
}
