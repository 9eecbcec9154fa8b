//! Reading TOML so that every complaint names its place.
//!
//! serde would do the reading, but loses positions in tagged enums, and a policy that is refused
//! without saying where keeps people from writing one. Knows nothing about policies.

use std::fmt;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Why a policy document was refused, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    /// Line in the document, from 1.
    pub line: usize,
    /// Column in that line, in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub suggestion: Option<String>,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "policy line {}, column {}: {}",
            self.line, self.column, self.problem
        )?;
        match &self.suggestion {
            Some(suggestion) => write!(f, ": {suggestion}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for PolicyError {}

pub(super) type Node<'a> = Spanned<DeValue<'a>>;

/// The text of a document, to turn places into lines and columns.
#[derive(Clone, Copy)]
pub(super) struct Source<'a>(pub(super) &'a str);

impl<'a> Source<'a> {
    pub(super) fn error(
        self,
        place: Range<usize>,
        problem: impl Into<String>,
        suggestion: impl Into<Option<String>>,
    ) -> PolicyError {
        let before = self.0.get(..place.start).unwrap_or(self.0);
        let line_start = before.rfind('\n').map_or(0, |index| index + 1);
        PolicyError {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            problem: problem.into(),
            suggestion: suggestion.into(),
        }
    }

    pub(super) fn document(self) -> Result<Spanned<DeTable<'a>>, PolicyError> {
        DeTable::parse(self.0)
            .map_err(|error| self.error(error.span().unwrap_or_default(), error.message(), None))
    }

    pub(super) fn text(self, node: &'a Node<'a>, what: &str) -> Result<&'a str, PolicyError> {
        node.get_ref()
            .as_str()
            .ok_or_else(|| self.wrong_type(node, what, "a text in quotes"))
    }

    pub(super) fn flag(self, node: &Node<'_>, what: &str) -> Result<bool, PolicyError> {
        node.get_ref()
            .as_bool()
            .ok_or_else(|| self.wrong_type(node, what, "true or false"))
    }

    /// A whole number from 1.
    pub(super) fn count(self, node: &Node<'_>, what: &str) -> Result<u32, PolicyError> {
        let number = node.get_ref().as_integer();
        number
            .and_then(|number| u32::from_str_radix(number.as_str(), number.radix()).ok())
            .filter(|&number| number > 0)
            .ok_or_else(|| self.wrong_type(node, what, "a whole number from 1"))
    }

    pub(super) fn list(
        self,
        node: &'a Node<'a>,
        what: &str,
    ) -> Result<&'a [Node<'a>], PolicyError> {
        let list = node.get_ref().as_array();
        list.map(|list| &list[..])
            .ok_or_else(|| self.wrong_type(node, what, "a list in [ ]"))
    }

    fn wrong_type(self, node: &Node<'_>, what: &str, due: &str) -> PolicyError {
        let found = node.get_ref().type_str();
        self.error(
            node.span(),
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
    table: &'a DeTable<'a>,
}

impl<'a> Fields<'a> {
    /// The whole document.
    pub(super) fn root(source: Source<'a>, document: &'a Spanned<DeTable<'a>>) -> Fields<'a> {
        Fields {
            source,
            name: "policy",
            place: 0..0,
            table: document.get_ref(),
        }
    }

    pub(super) fn of(
        source: Source<'a>,
        node: &'a Node<'a>,
        name: &'static str,
    ) -> Result<Fields<'a>, PolicyError> {
        match node.get_ref() {
            DeValue::Table(table) => Ok(Fields {
                source,
                name,
                place: node.span(),
                table,
            }),
            _ => Err(source.wrong_type(node, name, "a table")),
        }
    }

    /// Refuses every key that is not in `known`; the first one in the text is reported.
    pub(super) fn only(self, known: &[&str]) -> Result<Fields<'a>, PolicyError> {
        let unknown = self
            .table
            .keys()
            .filter(|key| !known.contains(&key.get_ref().as_ref()));
        match unknown.min_by_key(|key| key.span().start) {
            None => Ok(self),
            Some(key) => {
                let shown: String = key.get_ref().chars().take(60).collect();
                let problem = format!("{} has no key \"{shown}\"", self.name);
                Err(self
                    .source
                    .error(key.span(), problem, suggest(&shown, known)))
            }
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Node<'a>> {
        self.table.get(key)
    }

    pub(super) fn require(&self, key: &str) -> Result<&'a Node<'a>, PolicyError> {
        self.get(key).ok_or_else(|| {
            let problem = format!("{} lacks the key \"{key}\"", self.name);
            self.source.error(self.place.clone(), problem, None)
        })
    }

    /// The items of a list of tables; none if there is no such key.
    pub(super) fn tables(&self, key: &'static str) -> Result<&'a [Node<'a>], PolicyError> {
        match self.get(key) {
            None => Ok(&[]),
            Some(node) => match node.get_ref() {
                DeValue::Array(list) => Ok(&list[..]),
                _ => {
                    let problem = format!("{key} must be a list of tables");
                    let suggestion = format!("write [[{key}]]");
                    Err(self.source.error(node.span(), problem, suggestion))
                }
            },
        }
    }

    pub(super) fn place(&self) -> Range<usize> {
        self.place.clone()
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
