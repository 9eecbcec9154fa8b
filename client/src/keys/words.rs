//! A command line as words, without a shell: quotes hold words together, and nothing is expanded.

use crate::error::{Error, Result};

/// Splits `text` at white space; `"..."` and `'...'` keep it, a backslash keeps the next character
/// (within `'...'` it is a backslash).
pub(super) fn split(text: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => {
                let next = letters.next().ok_or_else(|| unfinished(text))?;
                word.get_or_insert_default().push(next);
            }
            (None, _) if letter.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    if quote.is_some() {
        return Err(unfinished(text));
    }
    words.extend(word);
    Ok(words)
}

fn unfinished(text: &str) -> Error {
    Error::usage(format!("the command {text:?} ends within quotes"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::split;

    #[test]
    fn words_are_those_of_a_shell_without_its_magic() {
        for (text, words) in [
            ("a b  c", &["a", "b", "c"][..]),
            ("'a b' \"c d\"e", &["a b", "c de"]),
            ("a\\ b \"\" ''", &["a b", "", ""]),
            ("$HOME *;|", &["$HOME", "*;|"]),
            ("'a\\' \"\\\"\"", &["a\\", "\""]),
            ("  ", &[]),
        ] {
            assert_eq!(split(text).unwrap(), words, "{text}");
        }
        for bad in ["'a", "\"a", "a\\"] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }
}
