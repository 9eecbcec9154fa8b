//! Pickles, read and never run.
//!
//! The opcodes build a table of nodes: calls are noted and not made. A pickle may name only what an allow-list of data
//! structures holds; everything else is refused, and what runs code when it is loaded is named first (`names`).
//! Invariants: nodes are numbers in one table, so no nesting in a file can nest calls or drops here; and where Python goes
//! on, so does this, or what comes behind would be loaded and never seen. What it does there and is not followed here
//! (items of an object, say) makes no content.

mod names;

use super::limits::{Unreadable, malformed, unsupported};
use super::locator::shown;
use std::collections::BTreeSet;
use std::fmt::Write as _;

pub(super) use names::is_dangerous;
use names::{COMPUTED, is_allowed};

/// A node's number.
pub(super) type NodeId = usize;

/// Nodes of one pickle.
const MAX_NODES: usize = 20_000_000;
/// Names that are noted of one pickle; of those that are dangerous, twice as many.
const MAX_NAMES: usize = 1000;
/// Bytes of an integer that is told as such.
const MAX_INTEGER: u64 = 4096;

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
    /// What is written in a way that is not read here (text that is no UTF-8 or has escapes, a long integer): the opcode
    /// that says how, and its bytes.
    Raw(u8, Vec<u8>),
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

/// What was seen in the pickles of a file.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// What they name that a model file has no need of: modules and attributes.
    pub(super) refused: BTreeSet<(String, String)>,
    /// Why nothing more was seen, where that is not the end.
    pub(super) ended: Option<Unreadable>,
}

/// Looks at the pickles in `content`, one after another, up to where they cannot be read.
pub(super) fn scan(content: &[u8]) -> Scan {
    let mut scan = Scan::default();
    let mut at = 0;
    while at < content.len() && scan.ended.is_none() {
        let mut machine = Machine::at(content, at);
        scan.ended = machine.run().err();
        at = machine.at;
        scan.refused.append(&mut machine.refused);
    }
    scan
}

/// Reads a pickle.
///
/// # Errors
/// If it is malformed, too large, or names anything that is not on the list.
pub(super) fn read(content: &[u8]) -> Result<Pickle, Unreadable> {
    let mut machine = Machine::at(content, 0);
    let top = machine.run()?;
    if machine.refused.is_empty() && !machine.is_followed {
        return unsupported("its pickle does more than to say what it holds, and is not followed");
    }
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
        .partition(|(module, name)| is_dangerous(module, name));
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
    /// Whether the nodes are what Python would make, but for calls.
    is_followed: bool,
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
            is_followed: true,
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

    fn line_bytes(&mut self) -> Result<&'a [u8], Unreadable> {
        let rest = &self.content[self.at..];
        match rest.iter().position(|byte| *byte == b'\n') {
            Some(len) => {
                self.at += len + 1;
                Ok(&rest[..len])
            }
            None => self.fail("has a line without an end"),
        }
    }

    /// A line that is a name or a number: what is no UTF-8 in it makes it another one, which is none.
    fn line(&mut self) -> Result<String, Unreadable> {
        let line = String::from_utf8_lossy(self.line_bytes()?);
        Ok(line.trim_end_matches('\r').to_owned())
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
        Ok(text_of(b'X', self.take(count)?))
    }

    fn global(&mut self, module: String, name: String) -> Result<(), Unreadable> {
        if !is_allowed(&module, &name) {
            // Many harmless names keep no other from being seen.
            let most = match is_dangerous(&module, &name) {
                true => 2 * MAX_NAMES,
                false => MAX_NAMES,
            };
            if self.refused.len() < most {
                self.refused.insert((module.clone(), name.clone()));
            }
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
            // An object with a method for it; and nothing is appended to anything.
            _ => self.is_followed = false,
        }
        Ok(())
    }

    fn set(&mut self, target: NodeId, more: Vec<(NodeId, NodeId)>) -> Result<(), Unreadable> {
        match &mut self.nodes[target] {
            Node::Dict(items) | Node::Call { items, .. } => items.extend(more),
            // The place of a list.
            _ => self.is_followed = false,
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
                // Of a mark on top it is the mark that is taken.
                b'0' if self.marks.last() == Some(&self.stack.len()) => drop(self.marks.pop()),
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
                            Err(_) => Node::Long(digits.to_owned()),
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
                        Ok(count) if count <= MAX_INTEGER => self.long(count)?,
                        Ok(count) => Node::Raw(opcode, self.take(count)?.to_vec()),
                        Err(_) => return self.fail("has an integer of a negative length"),
                    };
                    self.push(node)?;
                }
                b'F' => {
                    let line = self.line_bytes()?;
                    let value = std::str::from_utf8(line).ok();
                    let node = match value.and_then(|text| text.parse().ok()) {
                        Some(value) => Node::Float(value),
                        None => Node::Raw(opcode, line.to_vec()),
                    };
                    self.push(node)?;
                }
                b'G' => {
                    let value = f64::from_be_bytes(self.array()?);
                    self.push(Node::Float(value))?;
                }
                b'S' | b'V' => {
                    let line = self.line_bytes()?;
                    let text = match (opcode, line) {
                        (b'S', [b'\'', text @ .., b'\''] | [b'"', text @ .., b'"']) => text,
                        _ => line,
                    };
                    self.push(text_of(opcode, text))?;
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
                    let (module, name) = match (&self.nodes[module], &self.nodes[name]) {
                        (Node::Text(module), Node::Text(name)) => (module.clone(), name.clone()),
                        // Written with escapes, or what a call gives.
                        _ => (COMPUTED.to_owned(), "name".to_owned()),
                    };
                    self.global(module, name)?;
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
                    match (memo_key(&line), opcode) {
                        (Some(key), b'p') => self.memoize(key)?,
                        (Some(key), _) => self.recall(key)?,
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
                // Makes what is on top read-only, which bytes are.
                0x98 => drop(self.top()?),
                other => {
                    return self.fail(&format!(
                        "has the opcode 0x{other:02x}, which is not understood,"
                    ));
                }
            }
        }
    }
}

/// Text as a node. Only what is the same in every way to write it is text here: escapes are not read, nor are other encodings
/// than UTF-8.
fn text_of(opcode: u8, bytes: &[u8]) -> Node {
    let is_plain = match opcode {
        b'S' | b'V' => bytes.is_ascii() && !bytes.contains(&b'\\'),
        _ => true,
    };
    match std::str::from_utf8(bytes) {
        Ok(text) if is_plain => Node::Text(text.to_owned()),
        _ => Node::Raw(opcode, bytes.to_vec()),
    }
}

/// A key of the memo, as Python takes one: up to a NUL, with space around it, and with lines between its digits.
fn memo_key(line: &str) -> Option<u64> {
    let text = line.split('\0').next().unwrap_or_default();
    let key: i64 = text.trim().replace('_', "").parse().ok()?;
    u64::try_from(key).ok()
}

#[cfg(test)]
mod tests;
