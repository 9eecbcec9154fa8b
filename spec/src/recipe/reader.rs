//! Reading TOML so that every complaint names its place, and all of them come at once.
//!
//! Somebody who writes a recipe wants to see everything that is wrong with it, so a reader that meets
//! an error notes it and goes on; whoever asks for a value that is not usable gets `None`.
//! Knows nothing about recipes.

use super::finding::{Code, Finding, Place};
use super::path::RecipePath;
use crate::compare::Decimal;
use std::cell::RefCell;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub(super) type Node<'a> = Spanned<DeValue<'a>>;

/// The text of a document, and what has been found in it so far.
pub(super) struct Source<'a> {
    text: &'a str,
    line_starts: Vec<usize>,
    findings: RefCell<Vec<Finding>>,
}

impl<'a> Source<'a> {
    pub(super) fn new(text: &'a str) -> Source<'a> {
        let after_breaks = text.match_indices('\n').map(|(index, _)| index + 1);
        Source {
            text,
            line_starts: std::iter::once(0).chain(after_breaks).collect(),
            findings: RefCell::default(),
        }
    }

    pub(super) fn place(&self, offset: usize) -> Place {
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let start = self.line_starts[line - 1];
        let before = self.text.get(start..offset).unwrap_or_default();
        Place {
            line,
            column: before.chars().count() + 1,
        }
    }

    pub(super) fn report(
        &self,
        place: &Range<usize>,
        code: Code,
        problem: impl Into<String>,
        suggestion: impl Into<Option<String>>,
    ) {
        let finding = Finding::new(code, self.place(place.start), problem, suggestion);
        self.findings.borrow_mut().push(finding);
    }

    pub(super) fn into_findings(self) -> Vec<Finding> {
        self.findings.into_inner()
    }

    pub(super) fn document(&self) -> Option<Spanned<DeTable<'a>>> {
        let report = |error: toml::de::Error| {
            let place = error.span().unwrap_or_default();
            self.report(&place, Code::Syntax, error.message(), None);
        };
        DeTable::parse(self.text).map_err(report).ok()
    }

    fn wrong_type(&self, node: &Node<'_>, what: &str, due: &str) {
        let found = node.get_ref().type_str();
        let problem = format!("{what} must be {due}, not this {found}");
        self.report(&node.span(), Code::WrongValue, problem, None);
    }

    /// A text that something depends on: one that is left to be filled in is an error.
    pub(super) fn text(&self, node: &'a Node<'a>, what: &str) -> Option<&'a str> {
        let text = self.words(node, what)?;
        let Some(task) = left_to_fill(text) else {
            return Some(text);
        };
        let problem = match task {
            "" => format!("{what} is left for you to fill in"),
            task => format!(
                "{what} is left for you to fill in: {}",
                shorten_to(task, 200)
            ),
        };
        self.report(&node.span(), Code::Unfinished, problem, None);
        None
    }

    /// A text for people, of which nothing depends.
    pub(super) fn words(&self, node: &'a Node<'a>, what: &str) -> Option<&'a str> {
        let text = node.get_ref().as_str();
        if text.is_none() {
            self.wrong_type(node, what, "a text in quotes");
        }
        text
    }

    pub(super) fn list(&self, node: &'a Node<'a>, what: &str) -> Option<&'a [Node<'a>]> {
        let list = node.get_ref().as_array().map(|list| &list[..]);
        if list.is_none() {
            self.wrong_type(node, what, "a list in [ ]");
        }
        list
    }

    /// A path as recipes write it.
    pub(super) fn path(&self, node: &'a Node<'a>, what: &str) -> Option<RecipePath> {
        let text = self.text(node, what)?;
        match text.parse::<RecipePath>() {
            Ok(path) => Some(path),
            Err(error) => {
                let hint = "paths are relative to the recipe, with / between their elements";
                let problem = format!("{what}: {error}");
                self.report(
                    &node.span(),
                    Code::UnsafePath,
                    problem,
                    Some(hint.to_owned()),
                );
                None
            }
        }
    }

    /// A whole number of at least `least`.
    pub(super) fn integer(&self, node: &Node<'_>, what: &str, least: u64) -> Option<u64> {
        let number = node.get_ref().as_integer();
        let number = number
            .and_then(|number| u64::from_str_radix(number.as_str(), number.radix()).ok())
            // What JSON readers hold exactly.
            .filter(|number| (least..=1 << 53).contains(number));
        if number.is_none() {
            self.wrong_type(node, what, &format!("a whole number from {least} to 2^53"));
        }
        number
    }

    /// A finite number.
    pub(super) fn decimal(&self, node: &Node<'_>, what: &str) -> Option<Decimal> {
        let decimal: Option<Decimal> = match node.get_ref() {
            DeValue::Integer(number) => {
                let value = i64::from_str_radix(number.as_str(), number.radix()).ok();
                value.and_then(|value| value.to_string().parse().ok())
            }
            DeValue::Float(number) => {
                let text = number.as_str().replace('_', "");
                text.strip_prefix('+').unwrap_or(&text).parse().ok()
            }
            _ => None,
        };
        let decimal = decimal.filter(Decimal::is_finite);
        if decimal.is_none() {
            self.wrong_type(node, what, "a finite number");
        }
        decimal
    }
}

/// One table of the document, and the keys that it may have.
#[derive(Clone)]
pub(super) struct Fields<'a, 's> {
    pub(super) source: &'s Source<'a>,
    /// As it is named in complaints, such as `stage "train"`.
    pub(super) name: String,
    place: Range<usize>,
    table: &'a DeTable<'a>,
}

impl<'a, 's> Fields<'a, 's> {
    pub(super) fn root(source: &'s Source<'a>, table: &'a DeTable<'a>) -> Fields<'a, 's> {
        Fields {
            source,
            name: "the recipe".to_owned(),
            place: 0..0,
            table,
        }
    }

    pub(super) fn of(
        source: &'s Source<'a>,
        node: &'a Node<'a>,
        name: impl Into<String>,
    ) -> Option<Fields<'a, 's>> {
        let name = name.into();
        match node.get_ref() {
            DeValue::Table(table) => Some(Fields {
                source,
                name,
                place: node.span(),
                table,
            }),
            _ => {
                source.wrong_type(node, &name, "a table");
                None
            }
        }
    }

    /// Reports every key that is not in `known`.
    pub(super) fn only(self, known: &[&str]) -> Fields<'a, 's> {
        for key in self.table.keys() {
            let word: &str = key.get_ref();
            if known.contains(&word) {
                continue;
            }
            let shown = shorten(word);
            let problem = format!("{} has no key \"{shown}\"", self.name);
            self.source.report(
                &key.span(),
                Code::UnknownKey,
                problem,
                suggest(&shown, known),
            );
        }
        self
    }

    pub(super) fn place(&self) -> &Range<usize> {
        &self.place
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Node<'a>> {
        self.table.get(key)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    pub(super) fn require(&self, key: &str) -> Option<&'a Node<'a>> {
        let node = self.get(key);
        if node.is_none() {
            let problem = format!("{} lacks the key \"{key}\"", self.name);
            self.source
                .report(&self.place, Code::MissingKey, problem, None);
        }
        node
    }

    fn what(&self, key: &str) -> String {
        format!("\"{key}\" of {}", self.name)
    }

    pub(super) fn text(&self, key: &str) -> Option<String> {
        let text = self.source.text(self.get(key)?, &self.what(key))?;
        Some(text.to_owned())
    }

    /// A text for people: a reason, a description, a name of somebody.
    pub(super) fn words(&self, key: &str) -> Option<String> {
        let text = self.source.words(self.get(key)?, &self.what(key))?;
        Some(text.to_owned())
    }

    pub(super) fn require_text(&self, key: &str) -> Option<String> {
        let text = self.source.text(self.require(key)?, &self.what(key))?;
        Some(text.to_owned())
    }

    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        let node = self.get(key)?;
        let flag = node.get_ref().as_bool();
        if flag.is_none() {
            self.source
                .wrong_type(node, &self.what(key), "true or false");
        }
        flag
    }

    pub(super) fn integer(&self, key: &str, least: u64) -> Option<u64> {
        self.source.integer(self.get(key)?, &self.what(key), least)
    }

    pub(super) fn decimal(&self, key: &str) -> Option<Decimal> {
        self.source.decimal(self.get(key)?, &self.what(key))
    }

    /// A number that is not negative.
    pub(super) fn bound(&self, key: &str) -> Option<Decimal> {
        let decimal = self.decimal(key)?;
        if decimal.value() < 0.0 {
            let problem = format!("{} must not be negative", self.what(key));
            let place = self.get(key)?.span();
            self.source.report(&place, Code::WrongValue, problem, None);
            return None;
        }
        Some(decimal)
    }

    pub(super) fn path(&self, key: &str) -> Option<RecipePath> {
        self.source.path(self.get(key)?, &self.what(key))
    }

    pub(super) fn require_path(&self, key: &str) -> Option<RecipePath> {
        self.source.path(self.require(key)?, &self.what(key))
    }

    pub(super) fn list(&self, key: &str) -> &'a [Node<'a>] {
        self.get(key)
            .and_then(|node| self.source.list(node, &self.what(key)))
            .unwrap_or_default()
    }

    pub(super) fn texts(&self, key: &str) -> Vec<String> {
        let what = format!("an item of {}", self.what(key));
        let texts = self
            .list(key)
            .iter()
            .filter_map(|node| self.source.text(node, &what));
        texts.map(str::to_owned).collect()
    }

    pub(super) fn paths(&self, key: &str) -> Vec<RecipePath> {
        let what = format!("an item of {}", self.what(key));
        let paths = self
            .list(key)
            .iter()
            .filter_map(|node| self.source.path(node, &what));
        paths.collect()
    }

    pub(super) fn table(&self, key: &str) -> Option<Fields<'a, 's>> {
        Fields::of(self.source, self.get(key)?, self.what(key))
    }

    /// The tables of a table, such as all of `[stage]`, in the order of the text.
    pub(super) fn named(&self, key: &str) -> Vec<(&'a str, Fields<'a, 's>)> {
        let Some(group) = self.table(key) else {
            return Vec::new();
        };
        let mut named: Vec<_> = group
            .entries()
            .into_iter()
            .filter_map(|(name, place, node)| {
                let full = format!("{key} \"{}\"", shorten(name));
                let mut fields = Fields::of(self.source, node, full)?;
                fields.place = place;
                Some((name, fields))
            })
            .collect();
        named.sort_by_key(|(_, fields)| fields.place.start);
        named
    }

    /// Keys with their places and values.
    pub(super) fn entries(&self) -> Vec<(&'a str, Range<usize>, &'a Node<'a>)> {
        let table: &'a DeTable<'a> = self.table;
        table
            .iter()
            .map(|(key, node)| (key.get_ref().as_ref(), key.span(), node))
            .collect()
    }

    /// One of a closed set of words.
    pub(super) fn word<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Option<T> {
        let node = self.get(key)?;
        let text = self.source.text(node, &self.what(key))?;
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let shown = shorten(text);
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let problem = format!("{} cannot be \"{shown}\"", self.what(key));
            self.source.report(
                &node.span(),
                Code::UnknownKey,
                problem,
                suggest(&shown, &known),
            );
        }
        found.map(|(_, value)| *value)
    }
}

/// A word from the document, short enough for a message.
pub(super) fn shorten(word: &str) -> String {
    shorten_to(word, 60)
}

fn shorten_to(word: &str, longest: usize) -> String {
    word.chars().take(longest).collect()
}

/// What stands after `TODO:`, if the text is one that `init` or an import left to be filled in.
pub fn left_to_fill(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("TODO")?;
    match rest.strip_prefix(':') {
        Some(task) => Some(task.trim()),
        None => rest.is_empty().then_some(""),
    }
}

/// "did you mean" when one known word is close, all known words otherwise.
pub(super) fn suggest(word: &str, known: &[&str]) -> Option<String> {
    let near = known
        .iter()
        .map(|other| (distance(word, other), other))
        .min();
    match near {
        Some((0..=2, other)) => Some(format!("did you mean \"{other}\"?")),
        Some(_) if known.len() <= 24 => {
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
            suggest("resourcs", &["resources", "run"]),
            Some("did you mean \"resources\"?".into())
        );
        assert_eq!(
            suggest("x", &["name", "keys"]),
            Some("known are \"name\", \"keys\"".into())
        );
    }

    #[test]
    fn places_count_lines_and_characters() {
        let source = Source::new("a = 1\nä = ü\n");
        assert_eq!(source.place(0), Place { line: 1, column: 1 });
        assert_eq!(source.place(6), Place { line: 2, column: 1 });
        assert_eq!(source.place(11), Place { line: 2, column: 5 });
        assert_eq!(source.place(14), Place { line: 3, column: 1 });
    }
}
