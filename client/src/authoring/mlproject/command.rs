//! The command of an entry point: one of Python's format strings, as a line for a shell.
//!
//! MLflow quotes each value that it fills in. A recipe's values are filled in later and by nobody who quotes, so one
//! that the shell would take apart is an argument of the shell, and the line has `"${1}"` in its place.
//! Invariant: what stands in braces in the file stands in none in the line, unless it is no parameter.

use super::{EntryPoint, Parameter};
use serde_json::Value;

/// A part of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// As it stands.
    Text(String),
    /// A parameter whose value is one word to any shell.
    Word(&'a Parameter),
}

/// A line, and the parameters that the shell gets as its arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) parts: Vec<Part<'a>>,
    pub(super) arguments: Vec<&'a Parameter>,
}

/// The line of an entry point.
pub(super) fn line(entry: &EntryPoint) -> Line<'_> {
    let mut line = Line::default();
    let mut quotes = Quotes::default();
    let mut text = String::new();
    let mut rest = entry.command.as_str();
    while let Some(first) = rest.chars().next() {
        if let Some((parameter, after)) = field(entry, rest) {
            rest = after;
            quotes.escaped = false;
            if !may_fall_apart(parameter) {
                line.parts.push(Part::Text(std::mem::take(&mut text)));
                line.parts.push(Part::Word(parameter));
                continue;
            }
            let known = line.arguments.iter().position(|one| *one == parameter);
            let index = known.unwrap_or(line.arguments.len());
            if known.is_none() {
                line.arguments.push(parameter);
            }
            text.push_str(&quotes.argument(index + 1));
        } else {
            // Python writes a brace that is meant as one twice.
            let is_twice = rest.starts_with("{{") || rest.starts_with("}}");
            rest = &rest[first.len_utf8() + usize::from(is_twice)..];
            quotes.pass(first);
            text.push(first);
        }
    }
    line.parts.push(Part::Text(text));
    line
}

/// The default of a parameter as MLflow would write it on a command line.
pub(super) fn default(parameter: &Parameter) -> Option<String> {
    match parameter.default.as_ref()? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// The parameter in braces at the beginning of a text, and what comes after it.
fn field<'a>(entry: &'a EntryPoint, text: &'a str) -> Option<(&'a Parameter, &'a str)> {
    let mut parameters = entry.parameters.iter();
    parameters.find_map(|one| {
        let after = text.strip_prefix('{')?.strip_prefix(one.name.as_str())?;
        Some((one, after.strip_prefix('}')?))
    })
}

/// Whether a shell would take a value apart. Of one that nobody has given yet that is not known.
fn may_fall_apart(parameter: &Parameter) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./:@%+=,-".contains(c);
    match default(parameter) {
        Some(text) => text.is_empty() || !text.chars().all(is_plain),
        None => parameter.kind != "float",
    }
}

/// Which quotes of the shell are open.
#[derive(Default)]
struct Quotes {
    open: Option<char>,
    escaped: bool,
}

impl Quotes {
    fn pass(&mut self, c: char) {
        if self.escaped {
            self.escaped = false;
            return;
        }
        match (self.open, c) {
            (None | Some('"'), '\\') => self.escaped = true,
            (None, '"' | '\'') => self.open = Some(c),
            (Some(open), _) if open == c => self.open = None,
            _ => {}
        }
    }

    /// An argument of the shell as part of one word, wherever the line has come to.
    fn argument(&self, number: usize) -> String {
        match self.open {
            None => format!("\"${{{number}}}\""),
            Some('"') => format!("${{{number}}}"),
            Some(_) => format!("'\"${{{number}}}\"'"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::read;
    use super::*;
    use std::process::Command;

    /// What `printf` gets, one value a line, when the line is run with the defaults.
    fn printed(command: &str, title: &str) -> String {
        let project = serde_json::json!({"entry_points": {"main": {
            "command": format!("printf '%s\\n' {command}"),
            "parameters": {"n": {"type": "float", "default": 2}, "title": {"default": title}},
        }}});
        let project = read(&project.to_string()).unwrap();
        let line = line(&project.entry_points[0]);
        let parts = line.parts.iter().map(|part| match part {
            Part::Text(text) => text.clone(),
            Part::Word(one) => default(one).unwrap(),
        });
        let text: String = parts.collect();
        let arguments = line.arguments.iter().map(|one| default(one).unwrap());
        let output = Command::new("sh")
            .args(["-c", &text, "sh"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{text}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn a_value_is_one_word_whatever_is_in_it() {
        for title in ["plain", "it's", "a  b", "", "$(id)", "\"", "{n}", "*", "\\"] {
            let due = format!("{title}\n2\n{title}\n");
            for command in [
                "{title} {n} {title}",
                "\"{title}\" {n} '{title}'",
                "\"\"{title} '{n}' ''{title}''",
            ] {
                assert_eq!(printed(command, title), due, "{command}");
            }
            assert_eq!(
                printed("--title={title}.txt", title),
                format!("--title={title}.txt\n")
            );
        }
    }

    #[test]
    fn braces_that_are_written_twice_are_meant_once() {
        let json = "{{\"n\": {n}}} {{n}} {x} {{{n}}}";
        let due = "{\"n\": 2} {n} {x} {2}\n";
        assert_eq!(printed(&format!("'{json}'"), "x"), due);
    }
}
