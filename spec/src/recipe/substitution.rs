//! What stands in braces in a command: `{in}`, `{out}`, `{model}`, `{seed}`, `{params.NAME}`.
//!
//! Nothing else is replaced. Text in braces that is no word is left alone, so that JSON in an argument
//! needs no care; `{{` and `}}` are braces.
//! Invariant: what is put in is never looked at again.

use super::reader::{shorten, suggest};

/// A word in braces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placeholder<'a>(pub &'a str);

impl<'a> Placeholder<'a> {
    /// The words that commands of stages may use, beside `params.NAME`.
    pub(super) const IN_STAGES: [&'static str; 3] = ["in", "out", "seed"];
    /// The words that commands of tests may use, beside `params.NAME`.
    pub(super) const IN_TESTS: [&'static str; 4] = ["in", "out", "model", "seed"];

    /// The name of the parameter, if it is one.
    pub fn parameter(self) -> Option<&'a str> {
        self.0
            .strip_prefix("params.")
            .filter(|name| !name.is_empty())
    }

    /// Problem and hint, if the word is not among those known here.
    pub(super) fn check(self, known: &[&str]) -> Result<(), (String, Option<String>)> {
        if self.parameter().is_some() || known.contains(&self.0) {
            return Ok(());
        }
        let shown = shorten(self.0);
        let known: Vec<&str> = known.iter().copied().chain(["params.NAME"]).collect();
        let hint = suggest(&shown, &known)
            .map(|hint| format!("{hint}; write {{{{{shown}}}}} for plain braces"));
        Err((format!("{{{shown}}} is not replaced by anything"), hint))
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    Word(Placeholder<'a>),
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(index) = rest.find(['{', '}']) {
        let (before, after) = rest.split_at(index);
        if !before.is_empty() {
            pieces.push(Piece::Text(before));
        }
        let taken = if after.starts_with("{{") || after.starts_with("}}") {
            pieces.push(Piece::Text(&after[..1]));
            2
        } else if let Some(word) = word(after) {
            pieces.push(Piece::Word(Placeholder(word)));
            word.len() + 2
        } else {
            pieces.push(Piece::Text(&after[..1]));
            1
        };
        rest = &after[taken..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    pieces
}

/// `word` of a text that begins with `{word}`.
fn word(text: &str) -> Option<&str> {
    let (word, _) = text.strip_prefix('{')?.split_once('}')?;
    let is_word = word.starts_with(|c: char| c.is_ascii_alphabetic())
        && word
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    is_word.then_some(word)
}

/// The words in braces in an argument.
pub fn placeholders(argument: &str) -> Vec<Placeholder<'_>> {
    let words = pieces(argument)
        .into_iter()
        .filter_map(|piece| match piece {
            Piece::Word(word) => Some(word),
            Piece::Text(_) => None,
        });
    words.collect()
}

/// An argument with its words replaced.
///
/// # Errors
/// The first word for which `value` has nothing.
///
/// ```
/// use sealstone_spec::recipe::substitute;
/// let done = substitute("--seed={seed} {{x}}", |word| (word.0 == "seed").then(|| "7".to_owned()));
/// assert_eq!(done.unwrap(), "--seed=7 {x}");
/// ```
pub fn substitute<'a>(
    argument: &'a str,
    value: impl Fn(Placeholder<'a>) -> Option<String>,
) -> Result<String, Placeholder<'a>> {
    let mut done = String::with_capacity(argument.len());
    for piece in pieces(argument) {
        match piece {
            Piece::Text(text) => done.push_str(text),
            Piece::Word(word) => done.push_str(&value(word).ok_or(word)?),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_words_in_braces_are_replaced() {
        let value = |word: Placeholder<'_>| match word.0 {
            "in" => Some("{out}".to_owned()),
            "params.a.b" => Some("1".to_owned()),
            _ => None,
        };
        for (text, due) in [
            ("{in}", Ok("{out}".to_owned())),
            ("{\"a\": 1}", Ok("{\"a\": 1}".to_owned())),
            ("{{in}}{params.a.b}", Ok("{in}1".to_owned())),
            ("{}", Ok("{}".to_owned())),
            ("{in", Ok("{in".to_owned())),
            ("{unknown}", Err(Placeholder("unknown"))),
        ] {
            assert_eq!(substitute(text, value), due, "{text}");
        }
        assert!(
            Placeholder("sead")
                .check(&Placeholder::IN_STAGES)
                .unwrap_err()
                .1
                .unwrap()
                .contains("seed")
        );
    }

    proptest! {
        #[test]
        fn text_without_braces_is_left_alone(text in "[^{}]{0,40}") {
            prop_assert_eq!(substitute(&text, |_| None).unwrap(), text);
        }

        #[test]
        fn nothing_panics(text in "[{}a.\\-é]{0,20}") {
            let _ = substitute(&text, |_| Some(String::new()));
        }
    }
}
