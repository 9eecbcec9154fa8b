//! Reading documents so that every complaint names its place.
//!
//! serde would do the reading, but loses positions in tagged enums, and a policy that is refused
//! without saying where keeps people from writing one. TOML, which people write, and canonical JSON,
//! which is signed, become the same tree, so there is one reader of policies. Knows nothing about them.

use serde_json::Value as Json;
use std::fmt;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Why a policy document was refused, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    /// Line in the document, from 1; 0 in a signed document, which has no lines.
    pub line: usize,
    /// Column in that line, in characters, from 1; 0 in a signed document.
    pub column: usize,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub suggestion: Option<String>,
}

impl PolicyError {
    pub(super) fn nowhere(problem: impl Into<String>) -> PolicyError {
        PolicyError {
            line: 0,
            column: 0,
            problem: problem.into(),
            suggestion: None,
        }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "policy: {}", self.problem)?,
            line => write!(
                f,
                "policy line {line}, column {}: {}",
                self.column, self.problem
            )?,
        }
        match &self.suggestion {
            Some(suggestion) => write!(f, ": {suggestion}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for PolicyError {}

/// A value with its place in the text.
#[derive(Debug)]
pub(super) struct Node {
    value: Value,
    place: Range<usize>,
}

#[derive(Debug)]
enum Value {
    /// Dates too: TOML's are the texts that JSON has for them.
    Text(String),
    /// `None`: not a number from 0 to 2^64 - 1.
    Whole(Option<u64>),
    Flag(bool),
    List(Vec<Node>),
    Table(Vec<Entry>),
    Other(&'static str),
}

#[derive(Debug)]
struct Entry {
    key: String,
    place: Range<usize>,
    node: Node,
}

impl Node {
    pub(super) fn place(&self) -> Range<usize> {
        self.place.clone()
    }

    pub(super) fn is_table(&self) -> bool {
        matches!(self.value, Value::Table(_))
    }

    fn type_name(&self) -> &'static str {
        match &self.value {
            Value::Text(_) => "string",
            Value::Whole(_) => "integer",
            Value::Flag(_) => "boolean",
            Value::List(_) => "array",
            Value::Table(_) => "table",
            Value::Other(name) => name,
        }
    }

    fn from_toml(value: &Spanned<DeValue<'_>>) -> Node {
        let place = value.span();
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.clone().into_owned()),
            DeValue::Integer(number) => {
                Value::Whole(u64::from_str_radix(number.as_str(), number.radix()).ok())
            }
            DeValue::Boolean(flag) => Value::Flag(*flag),
            DeValue::Datetime(time) => Value::Text(time.to_string()),
            DeValue::Array(list) => Value::List(list.iter().map(Node::from_toml).collect()),
            DeValue::Table(table) => Value::Table(entries(table)),
            DeValue::Float(_) => Value::Other("float"),
        };
        Node { value, place }
    }

    fn from_json(value: &Json) -> Node {
        let value = match value {
            Json::String(text) => Value::Text(text.clone()),
            Json::Number(number) => Value::Whole(number.as_u64()),
            Json::Bool(flag) => Value::Flag(*flag),
            Json::Array(list) => Value::List(list.iter().map(Node::from_json).collect()),
            Json::Object(table) => {
                let entry = |(key, value): (&String, &Json)| Entry {
                    key: key.clone(),
                    place: 0..0,
                    node: Node::from_json(value),
                };
                Value::Table(table.iter().map(entry).collect())
            }
            Json::Null => Value::Other("null"),
        };
        Node { value, place: 0..0 }
    }
}

fn entries(table: &DeTable<'_>) -> Vec<Entry> {
    let entry =
        |(key, value): (&Spanned<std::borrow::Cow<'_, str>>, &Spanned<DeValue<'_>>)| Entry {
            key: key.get_ref().clone().into_owned(),
            place: key.span(),
            node: Node::from_toml(value),
        };
    table.iter().map(entry).collect()
}

/// The text of a document, to turn places into lines and columns; `None` for one without lines.
#[derive(Clone, Copy)]
pub(super) struct Source<'a>(pub(super) Option<&'a str>);

impl<'a> Source<'a> {
    pub(super) fn error(
        self,
        place: Range<usize>,
        problem: impl Into<String>,
        suggestion: impl Into<Option<String>>,
    ) -> PolicyError {
        let mut error = PolicyError::nowhere(problem);
        error.suggestion = suggestion.into();
        if let Some(text) = self.0 {
            let before = text.get(..place.start).unwrap_or(text);
            let line_start = before.rfind('\n').map_or(0, |index| index + 1);
            error.line = before.matches('\n').count() + 1;
            error.column = before[line_start..].chars().count() + 1;
        }
        error
    }

    /// A TOML document as a tree.
    pub(super) fn toml(text: &'a str) -> Result<(Source<'a>, Node), PolicyError> {
        let source = Source(Some(text));
        let table = DeTable::parse(text).map_err(|error| {
            source.error(error.span().unwrap_or_default(), error.message(), None)
        })?;
        let root = Node {
            value: Value::Table(entries(table.get_ref())),
            place: 0..0,
        };
        Ok((source, root))
    }

    /// Whether somebody wrote this text, and can change it: not where it is the form that is signed.
    pub(super) fn is_written(self) -> bool {
        self.0.is_some()
    }

    /// A JSON document as a tree.
    pub(super) fn json(value: &Json) -> (Source<'static>, Node) {
        (Source(None), Node::from_json(value))
    }

    pub(super) fn text(self, node: &'a Node, what: &str) -> Result<&'a str, PolicyError> {
        match &node.value {
            Value::Text(text) => Ok(text),
            _ => Err(self.wrong_type(node, what, "a text in quotes")),
        }
    }

    pub(super) fn flag(self, node: &Node, what: &str) -> Result<bool, PolicyError> {
        match node.value {
            Value::Flag(flag) => Ok(flag),
            _ => Err(self.wrong_type(node, what, "true or false")),
        }
    }

    /// A whole number from 1.
    pub(super) fn count(self, node: &Node, what: &str) -> Result<u32, PolicyError> {
        let number = self.number(node).and_then(|number| number.try_into().ok());
        number
            .filter(|&number: &u32| number > 0)
            .ok_or_else(|| self.wrong_type(node, what, "a whole number from 1"))
    }

    /// A whole number from 0.
    pub(super) fn index(self, node: &Node, what: &str) -> Result<u64, PolicyError> {
        // From 2^53 on JSON readers disagree about numbers. What was signed before 2^53 itself was refused is read.
        let most = (1 << 53) - u64::from(self.is_written());
        self.number(node)
            .filter(|&number| number <= most)
            .ok_or_else(|| self.wrong_type(node, what, "a whole number from 0, below 2^53"))
    }

    fn number(self, node: &Node) -> Option<u64> {
        match node.value {
            Value::Whole(number) => number,
            _ => None,
        }
    }

    pub(super) fn list(self, node: &'a Node, what: &str) -> Result<&'a [Node], PolicyError> {
        match &node.value {
            Value::List(list) => Ok(list),
            _ => Err(self.wrong_type(node, what, "a list in [ ]")),
        }
    }

    fn wrong_type(self, node: &Node, what: &str, due: &str) -> PolicyError {
        let found = node.type_name();
        self.error(
            node.place(),
            format!("{what} must be {due}, not this {found}"),
            None,
        )
    }
}

/// One table of the document, and the keys that it may have.
pub(super) struct Fields<'a> {
    source: Source<'a>,
    name: &'static str,
    place: Range<usize>,
    table: &'a [Entry],
}

impl<'a> Fields<'a> {
    pub(super) fn of(
        source: Source<'a>,
        node: &'a Node,
        name: &'static str,
    ) -> Result<Fields<'a>, PolicyError> {
        match &node.value {
            Value::Table(table) => Ok(Fields {
                source,
                name,
                place: node.place(),
                table,
            }),
            _ => Err(source.wrong_type(node, name, "a table")),
        }
    }

    /// Refuses every key that is not in `known`; the first one in the text is reported.
    pub(super) fn only(self, known: &[&str]) -> Result<Fields<'a>, PolicyError> {
        let unknown = self
            .table
            .iter()
            .filter(|entry| !known.contains(&entry.key.as_str()));
        match unknown.min_by_key(|entry| entry.place.start) {
            None => Ok(self),
            Some(entry) => {
                let shown: String = entry.key.chars().take(60).collect();
                let problem = format!("{} has no key \"{shown}\"", self.name);
                Err(self
                    .source
                    .error(entry.place.clone(), problem, suggest(&shown, known)))
            }
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Node> {
        self.table
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.node)
    }

    pub(super) fn require(&self, key: &str) -> Result<&'a Node, PolicyError> {
        self.get(key).ok_or_else(|| {
            let problem = format!("{} lacks the key \"{key}\"", self.name);
            self.source.error(self.place.clone(), problem, None)
        })
    }

    /// The items of a list of tables; none if there is no such key.
    pub(super) fn tables(&self, key: &'static str) -> Result<&'a [Node], PolicyError> {
        match self.get(key) {
            None => Ok(&[]),
            Some(node) => match &node.value {
                Value::List(list) => Ok(list),
                _ => {
                    let problem = format!("{key} must be a list of tables");
                    let suggestion = format!("write [[{key}]]");
                    Err(self.source.error(node.place(), problem, suggestion))
                }
            },
        }
    }

    pub(super) fn place(&self) -> Range<usize> {
        self.place.clone()
    }

    pub(super) fn source(&self) -> Source<'a> {
        self.source
    }
}

/// "did you mean" when one known word is close, all known words otherwise.
pub(super) fn suggest(word: &str, known: &[&str]) -> Option<String> {
    let near = known
        .iter()
        .map(|other| (distance(word, other), other))
        .min();
    match near {
        Some((0..=2, other)) => Some(format!("did you mean \"{other}\"")),
        Some(_) if known.len() <= 12 => {
            let quoted: Vec<String> = known.iter().map(|word| format!("\"{word}\"")).collect();
            Some(format!("known are {}", quoted.join(", ")))
        }
        _ => None,
    }
}

/// Levenshtein distance.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_suggested() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(
            suggest("keyz", &["name", "keys"]),
            Some("did you mean \"keys\"".into())
        );
        let all = suggest("x", &["name", "keys"]);
        assert_eq!(all, Some("known are \"name\", \"keys\"".into()));
    }
}
