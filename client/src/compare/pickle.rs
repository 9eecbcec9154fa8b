//! Pickles, read and never run.
//!
//! The opcodes build a table of nodes: calls are noted and not made. A pickle may name only what an allow-list of data
//! structures holds; everything else is refused, and what runs code when it is loaded is named first.
//! Invariant: nodes are numbers in one table, so no nesting in a file can nest calls or drops here.

use super::limits::{Unreadable, malformed, unsupported};
use super::locator::shown;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// A node's number.
pub(super) type NodeId = usize;

/// Nodes of one pickle.
const MAX_NODES: usize = 20_000_000;

/// What an opcode made.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    None,
    Bool(bool),
    /// An integer, as text where 64 bits do not hold it.
    Int(i64),
    Long(String),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    Tuple(Vec<NodeId>),
    List(Vec<NodeId>),
    Set(Vec<NodeId>),
    Dict(Vec<(NodeId, NodeId)>),
    /// A name: module and attribute.
    Global(String, String),
    /// A call that was not made: what, with what; and the state that would be set.
    Call {
        what: NodeId,
        with: NodeId,
        state: Option<NodeId>,
        items: Vec<(NodeId, NodeId)>,
    },
    /// What is kept outside of the pickle.
    Persistent(NodeId),
}

/// A pickle that was read.
#[derive(Debug)]
pub(super) struct Pickle {
    pub(super) nodes: Vec<Node>,
    pub(super) top: NodeId,
}

/// What a model file may name. Nothing of it does more than hold data.
const ALLOWED: [(&str, &[&str]); 9] = [
    ("collections", &["OrderedDict", "defaultdict"]),
    (
        "torch._utils",
        &[
            "_rebuild_tensor",
            "_rebuild_tensor_v2",
            "_rebuild_tensor_v3",
            "_rebuild_parameter",
        ],
    ),
    ("torch._tensor", &["_rebuild_from_type_v2"]),
    ("torch.nn.parameter", &["Parameter"]),
    ("torch.storage", &["UntypedStorage", "TypedStorage"]),
    ("torch.serialization", &["_get_layout"]),
    ("_codecs", &["encode"]),
    (
        "builtins",
        &["set", "frozenset", "complex", "bytearray", "slice", "range"],
    ),
    (
        "__builtin__",
        &[
            "set",
            "frozenset",
            "complex",
            "bytearray",
            "slice",
            "xrange",
        ],
    ),
];

/// Names in `torch` itself: storages, types, sizes.
fn is_torch_data(name: &str) -> bool {
    const TYPES: [&str; 22] = [
        "Size",
        "device",
        "dtype",
        "Tensor",
        "float16",
        "bfloat16",
        "float32",
        "float64",
        "half",
        "float",
        "double",
        "int8",
        "uint8",
        "int16",
        "int32",
        "int64",
        "uint16",
        "uint32",
        "uint64",
        "bool",
        "complex64",
        "complex128",
    ];
    TYPES.contains(&name) || super::torch::storage_element(name).is_some()
}

fn is_allowed(module: &str, name: &str) -> bool {
    (module == "torch" && is_torch_data(name))
        || ALLOWED
            .iter()
            .any(|(known, names)| *known == module && names.contains(&name))
}

/// Modules whose functions run code, start processes, or open what should stay closed.
const DANGEROUS: [&str; 26] = [
    "os",
    "posix",
    "nt",
    "subprocess",
    "sys",
    "builtins",
    "__builtin__",
    "shutil",
    "socket",
    "runpy",
    "importlib",
    "ctypes",
    "pickle",
    "_pickle",
    "marshal",
    "operator",
    "code",
    "pty",
    "types",
    "functools",
    "webbrowser",
    "requests",
    "urllib",
    "pip",
    "asyncio",
    "multiprocessing",
];

pub(super) fn is_dangerous(module: &str) -> bool {
    let root = module.split('.').next().unwrap_or_default();
    DANGEROUS.contains(&root) || module == "torch.hub" || module.starts_with("numpy.testing")
}

/// What the pickles in `content`, one after another, name that a model file has no need of: modules and attributes, up to
/// where they cannot be read.
pub(super) fn refused(content: &[u8]) -> BTreeSet<(String, String)> {
    let mut refused = BTreeSet::new();
    let mut at = 0;
    while at < content.len() {
        let mut machine = Machine::at(content, at);
        let ended = machine.run();
        at = machine.at;
        refused.append(&mut machine.refused);
        if ended.is_err() {
            break;
        }
    }
    refused
}

/// Reads a pickle.
///
/// # Errors
/// If it is malformed, too large, or names anything that is not on the list.
pub(super) fn read(content: &[u8]) -> Result<Pickle, Unreadable> {
    let mut machine = Machine::at(content, 0);
    let top = machine.run()?;
    if machine.refused.is_empty() {
        return Ok(Pickle {
            nodes: machine.nodes,
            top,
        });
    }
    let mut text =
        String::from("its pickle names what a model file has no need of, and is not read: ");
    let (dangerous, others): (Vec<_>, Vec<_>) = machine
        .refused
        .iter()
        .partition(|(module, _)| is_dangerous(module));
    for (place, (module, name)) in dangerous.iter().chain(&others).take(10).enumerate() {
        let part = if place > 0 { ", " } else { "" };
        let _ = write!(text, "{part}{}.{}", shown(module), shown(name));
    }
    if !dangerous.is_empty() {
        text.push_str(" (DANGEROUS: loading it would run code)");
    }
    malformed(text)
}

struct Machine<'a> {
    content: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<NodeId>,
    /// Heights of the stack where a mark was set.
    marks: Vec<usize>,
    memo: std::collections::HashMap<u64, NodeId>,
    refused: BTreeSet<(String, String)>,
}

impl<'a> Machine<'a> {
    fn at(content: &'a [u8], at: usize) -> Machine<'a> {
        Machine {
            content,
            at,
            nodes: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: std::collections::HashMap::new(),
            refused: BTreeSet::new(),
        }
    }

    fn fail<T>(&self, what: &str) -> Result<T, Unreadable> {
        malformed(format!("its pickle {what} at byte {}", self.at))
    }

    fn take(&mut self, count: u64) -> Result<&[u8], Unreadable> {
        let end = usize::try_from(count)
            .ok()
            .and_then(|count| self.at.checked_add(count));
        match end.filter(|end| *end <= self.content.len()) {
            Some(end) => {
                let taken = &self.content[self.at..end];
                self.at = end;
                Ok(taken)
            }
            None => self.fail("ends too early"),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N as u64)?);
        Ok(out)
    }

    fn line(&mut self) -> Result<String, Unreadable> {
        match self.content[self.at..]
            .iter()
            .position(|byte| *byte == b'\n')
        {
            Some(len) => {
                let line =
                    String::from_utf8_lossy(&self.content[self.at..self.at + len]).into_owned();
                self.at += len + 1;
                Ok(line.trim_end_matches('\r').to_owned())
            }
            None => self.fail("has a line without an end"),
        }
    }

    fn make(&mut self, node: Node) -> Result<NodeId, Unreadable> {
        if self.nodes.len() >= MAX_NODES {
            let text = format!("its pickle has too many parts at byte {}", self.at);
            return unsupported(text);
        }
        self.nodes.push(node);
        Ok(self.nodes.len() - 1)
    }

    fn push(&mut self, node: Node) -> Result<(), Unreadable> {
        let made = self.make(node)?;
        self.stack.push(made);
        Ok(())
    }

    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<NodeId, Unreadable> {
        match self.stack.len() > self.floor() {
            true => Ok(self.stack.pop().unwrap_or_default()),
            false => self.fail("takes from an empty stack"),
        }
    }

    fn top(&self) -> Result<NodeId, Unreadable> {
        match self
            .stack
            .last()
            .filter(|_| self.stack.len() > self.floor())
        {
            Some(top) => Ok(*top),
            None => self.fail("looks at an empty stack"),
        }
    }

    fn pop_to_mark(&mut self) -> Result<Vec<NodeId>, Unreadable> {
        match self.marks.pop() {
            Some(height) if height <= self.stack.len() => Ok(self.stack.split_off(height)),
            _ => self.fail("has no mark"),
        }
    }

    fn pairs(&self, items: &[NodeId]) -> Result<Vec<(NodeId, NodeId)>, Unreadable> {
        match items.len().is_multiple_of(2) {
            true => Ok(items
                .chunks_exact(2)
                .map(|pair| (pair[0], pair[1]))
                .collect()),
            false => self.fail("has a key without a value"),
        }
    }

    fn text(&mut self, count: u64) -> Result<Node, Unreadable> {
        Ok(Node::Text(
            String::from_utf8_lossy(self.take(count)?).into_owned(),
        ))
    }

    fn global(&mut self, module: String, name: String) -> Result<(), Unreadable> {
        if !is_allowed(&module, &name) && self.refused.len() < 1000 {
            self.refused.insert((module.clone(), name.clone()));
        }
        self.push(Node::Global(module, name))
    }

    fn call(&mut self, what: NodeId, with: NodeId) -> Result<(), Unreadable> {
        // OrderedDict() and defaultdict() hold what is set later.
        if let Node::Global(module, name) = &self.nodes[what]
            && module == "collections"
            && name == "OrderedDict"
            && matches!(&self.nodes[with], Node::Tuple(items) if items.is_empty())
        {
            return self.push(Node::Dict(Vec::new()));
        }
        self.push(Node::Call {
            what,
            with,
            state: None,
            items: Vec::new(),
        })
    }

    fn extend(&mut self, target: NodeId, more: Vec<NodeId>) -> Result<(), Unreadable> {
        match &mut self.nodes[target] {
            Node::List(items) | Node::Set(items) => items.extend(more),
            _ => return self.fail("appends to what is no list"),
        }
        Ok(())
    }

    fn set(&mut self, target: NodeId, more: Vec<(NodeId, NodeId)>) -> Result<(), Unreadable> {
        match &mut self.nodes[target] {
            Node::Dict(items) | Node::Call { items, .. } => items.extend(more),
            _ => return self.fail("sets a key of what is no dict"),
        }
        Ok(())
    }

    fn memoize(&mut self, key: u64) -> Result<(), Unreadable> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u64) -> Result<(), Unreadable> {
        match self.memo.get(&key) {
            Some(node) => {
                self.stack.push(*node);
                Ok(())
            }
            None => self.fail("recalls what it has not stored"),
        }
    }

    fn long(&mut self, count: u64) -> Result<Node, Unreadable> {
        let bytes = self.take(count)?;
        if bytes.len() <= 8 {
            let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
            let mut raw = [if negative { 0xff } else { 0 }; 8];
            raw[..bytes.len()].copy_from_slice(bytes);
            return Ok(Node::Int(i64::from_le_bytes(raw)));
        }
        Ok(Node::Long(format!(
            "0x{} (little end first)",
            data_encoding::HEXLOWER.encode(bytes)
        )))
    }

    fn run(&mut self) -> Result<NodeId, Unreadable> {
        loop {
            let [opcode] = self.array()?;
            match opcode {
                b'.' => return self.pop(),
                0x80 => drop(self.array::<1>()?),
                0x95 => drop(self.array::<8>()?),
                b'(' => self.marks.push(self.stack.len()),
                b'0' => drop(self.pop()?),
                b'1' => drop(self.pop_to_mark()?),
                b'2' => {
                    let top = self.top()?;
                    self.stack.push(top);
                }
                b'N' => self.push(Node::None)?,
                0x88 => self.push(Node::Bool(true))?,
                0x89 => self.push(Node::Bool(false))?,
                b'J' => {
                    let value = i32::from_le_bytes(self.array()?);
                    self.push(Node::Int(value.into()))?;
                }
                b'K' => {
                    let [value] = self.array()?;
                    self.push(Node::Int(value.into()))?;
                }
                b'M' => {
                    let value = u16::from_le_bytes(self.array()?);
                    self.push(Node::Int(value.into()))?;
                }
                b'I' | b'L' => {
                    let line = self.line()?;
                    let node = match (opcode, line.as_str()) {
                        (b'I', "01") => Node::Bool(true),
                        (b'I', "00") => Node::Bool(false),
                        (_, digits) => match digits.trim_end_matches('L').parse() {
                            Ok(value) => Node::Int(value),
                            Err(_) => Node::Long(line.chars().take(1000).collect()),
                        },
                    };
                    self.push(node)?;
                }
                0x8a => {
                    let [count] = self.array()?;
                    let node = self.long(count.into())?;
                    self.push(node)?;
                }
                0x8b => {
                    let count = i32::from_le_bytes(self.array()?);
                    let node = match u64::try_from(count) {
                        Ok(count) if count <= 4096 => self.long(count)?,
                        _ => return self.fail("has an endless integer"),
                    };
                    self.push(node)?;
                }
                b'F' => {
                    let line = self.line()?;
                    match line.parse() {
                        Ok(value) => self.push(Node::Float(value))?,
                        Err(_) => return self.fail("has a float that is none"),
                    }
                }
                b'G' => {
                    let value = f64::from_be_bytes(self.array()?);
                    self.push(Node::Float(value))?;
                }
                b'S' | b'V' => {
                    let line = self.line()?;
                    self.push(Node::Text(line.trim_matches(['\'', '"']).to_owned()))?;
                }
                b'X' | b'T' => {
                    let count = u32::from_le_bytes(self.array()?);
                    let node = self.text(count.into())?;
                    self.push(node)?;
                }
                0x8c | b'U' => {
                    let [count] = self.array()?;
                    let node = self.text(count.into())?;
                    self.push(node)?;
                }
                0x8d => {
                    let count = u64::from_le_bytes(self.array()?);
                    let node = self.text(count)?;
                    self.push(node)?;
                }
                b'B' | b'C' | 0x8e | 0x96 => {
                    let count = match opcode {
                        b'B' => u32::from_le_bytes(self.array()?).into(),
                        b'C' => self.array::<1>()?[0].into(),
                        _ => u64::from_le_bytes(self.array()?),
                    };
                    let bytes = self.take(count)?.to_vec();
                    self.push(Node::Bytes(bytes))?;
                }
                b'}' => self.push(Node::Dict(Vec::new()))?,
                b']' => self.push(Node::List(Vec::new()))?,
                b')' => self.push(Node::Tuple(Vec::new()))?,
                0x8f => self.push(Node::Set(Vec::new()))?,
                b't' => {
                    let items = self.pop_to_mark()?;
                    self.push(Node::Tuple(items))?;
                }
                b'l' => {
                    let items = self.pop_to_mark()?;
                    self.push(Node::List(items))?;
                }
                0x91 => {
                    let items = self.pop_to_mark()?;
                    self.push(Node::Set(items))?;
                }
                b'd' => {
                    let items = self.pop_to_mark()?;
                    let pairs = self.pairs(&items)?;
                    self.push(Node::Dict(pairs))?;
                }
                0x85..=0x87 => {
                    let mut items = Vec::new();
                    for _ in 0..opcode - 0x84 {
                        items.insert(0, self.pop()?);
                    }
                    self.push(Node::Tuple(items))?;
                }
                b'a' => {
                    let item = self.pop()?;
                    let list = self.top()?;
                    self.extend(list, vec![item])?;
                }
                b'e' | 0x90 => {
                    let items = self.pop_to_mark()?;
                    let list = self.top()?;
                    self.extend(list, items)?;
                }
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    let dict = self.top()?;
                    self.set(dict, vec![(key, value)])?;
                }
                b'u' => {
                    let items = self.pop_to_mark()?;
                    let pairs = self.pairs(&items)?;
                    let dict = self.top()?;
                    self.set(dict, pairs)?;
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.global(module, name)?;
                }
                0x93 => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    match (&self.nodes[module], &self.nodes[name]) {
                        (Node::Text(module), Node::Text(name)) => {
                            let (module, name) = (module.clone(), name.clone());
                            self.global(module, name)?;
                        }
                        _ => return self.fail("makes a name of what is no text"),
                    }
                }
                b'R' | 0x81 => {
                    let (with, what) = (self.pop()?, self.pop()?);
                    self.call(what, with)?;
                }
                0x92 => {
                    let (_keywords, with, what) = (self.pop()?, self.pop()?, self.pop()?);
                    self.call(what, with)?;
                }
                b'o' => {
                    let mut items = self.pop_to_mark()?;
                    if items.is_empty() {
                        return self.fail("makes an object of nothing");
                    }
                    let what = items.remove(0);
                    let with = self.make(Node::Tuple(items))?;
                    self.call(what, with)?;
                }
                b'i' => {
                    let (module, name) = (self.line()?, self.line()?);
                    let items = self.pop_to_mark()?;
                    let with = self.make(Node::Tuple(items))?;
                    self.global(module, name)?;
                    let what = self.pop()?;
                    self.call(what, with)?;
                }
                b'b' => {
                    let state = self.pop()?;
                    let target = self.top()?;
                    // The attributes of a dict, such as a state dict's versions, say nothing of its tensors.
                    if let Node::Call { state: known, .. } = &mut self.nodes[target] {
                        *known = Some(state);
                    }
                }
                b'Q' => {
                    let id = self.pop()?;
                    self.push(Node::Persistent(id))?;
                }
                b'P' => {
                    let line = self.line()?;
                    let id = self.make(Node::Text(line))?;
                    self.push(Node::Persistent(id))?;
                }
                b'q' => {
                    let [key] = self.array()?;
                    self.memoize(key.into())?;
                }
                b'r' => {
                    let key = u32::from_le_bytes(self.array()?);
                    self.memoize(key.into())?;
                }
                b'p' | b'g' => {
                    let line = self.line()?;
                    match (line.parse(), opcode) {
                        (Ok(key), b'p') => self.memoize(key)?,
                        (Ok(key), _) => self.recall(key)?,
                        _ => return self.fail("has a memo key that is no number"),
                    }
                }
                0x94 => self.memoize(self.memo.len() as u64)?,
                b'h' => {
                    let [key] = self.array()?;
                    self.recall(key.into())?;
                }
                b'j' => {
                    let key = u32::from_le_bytes(self.array()?);
                    self.recall(key.into())?;
                }
                other => {
                    return self.fail(&format!(
                        "has the opcode 0x{other:02x}, which is not understood,"
                    ));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn refusal(content: &[u8]) -> String {
        read(content).unwrap_err().to_string()
    }

    #[test]
    fn data_is_read() {
        // {"a": [1, 2.5], "b": None}
        let pickle = read(b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01G@\x04\x00\x00\x00\x00\x00\x00eX\x01\x00\x00\x00bq\x03Nu.").unwrap();
        let Node::Dict(items) = &pickle.nodes[pickle.top] else {
            panic!("{pickle:?}")
        };
        assert_eq!(pickle.nodes[items[0].0], Node::Text("a".to_owned()));
        assert!(matches!(&pickle.nodes[items[0].1], Node::List(list) if list.len() == 2));
        assert_eq!(pickle.nodes[items[1].1], Node::None);
    }

    #[test]
    fn what_runs_code_is_refused_by_name() {
        let text = refusal(b"cos\nsystem\n(S'rm -rf /'\ntR.");
        assert!(
            text.contains("os.system") && text.contains("DANGEROUS"),
            "{text}"
        );
        let text = refusal(b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.");
        assert!(
            text.contains("builtins.eval") && text.contains("DANGEROUS"),
            "{text}"
        );
        let text = refusal(b"csklearn.linear_model\nLogisticRegression\n)\x81.");
        assert!(
            text.contains("sklearn.linear_model.LogisticRegression"),
            "{text}"
        );
        assert!(!text.contains("DANGEROUS"), "{text}");
    }

    #[test]
    fn what_is_malformed_ends_in_words() {
        for bad in [
            &b""[..],
            b".",
            b"R.",
            b"(.",
            b"]K\x01",
            b"h\x05.",
            b"X\xff\xff\xff\xffa.",
            b"\x8b\xff\xff\xff\x7f.",
            b"K\x01K\x02s.",
            b"(K\x01u.",
            b"\x82\x01.",
            b"a",
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        // A million lists in lists: no recursion here, and none when it is dropped.
        let mut deep = vec![b']'; 1_000_000];
        deep.extend(vec![b'a'; 999_999]);
        deep.push(b'.');
        read(&deep).unwrap();
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(content: Vec<u8>) {
            let _ = read(&content);
        }

        #[test]
        fn any_opcodes_are_read_or_refused(content in prop::collection::vec(prop::sample::select(
            b"()]}tlduaesR0129Nb.Kq\x85\x86\x87\x94\x93\x81Q\x8c\x01\x00h".to_vec()), 0..200)) {
            let _ = read(&content);
        }
    }
}
