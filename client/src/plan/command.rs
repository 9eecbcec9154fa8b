//! The command of a stage or test, with its words replaced.

use crate::error::{Error, Result};
use sealstone_spec::recipe::{Placeholder, substitute};
use serde_json::Value;

/// What is run: the recipe's command with values in place of words; a shell before it where one reads it. `gets` says
/// which parameters such a command gets, for who names another.
pub(crate) fn command<'a>(
    run: &'a [String],
    shell: bool,
    value: impl Fn(Placeholder<'a>) -> Option<String>,
    gets: &str,
) -> Result<Vec<String>> {
    let argv: Vec<String> = run
        .iter()
        .map(|item| substitute(item, &value))
        .collect::<std::result::Result<_, _>>()
        .map_err(|word| {
            let hint = match word.0 {
                "seed" => "state seed under [determinism]",
                "in" => "only tests of the kind \"inference\" have inputs",
                "model" => "say which with model = \"...\"",
                _ => gets,
            };
            Error::usage(format!("there is no value for {{{}}}", word.0)).hint(hint)
        })?;
    match shell {
        true => Ok([vec!["/bin/sh".to_owned(), "-c".to_owned()], argv].concat()),
        false => Ok(argv),
    }
}

/// A parameter as an argument: a text without its quotes, anything else as JSON.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_word_without_a_value_is_told_with_what_helps() {
        for (word, due) in [
            ("{params.mode}", "a test gets all parameters"),
            ("{seed}", "state seed under [determinism]"),
            ("{in}", "only tests of the kind \"inference\" have inputs"),
        ] {
            let run = ["sh".to_owned(), format!("x={word}")];
            let gets = "a test gets all parameters";
            let error = command(&run, false, |_| None, gets).unwrap_err();
            assert!(error.message().ends_with(word), "{error}");
            assert_eq!(error.hints(), [due]);
        }
    }
}
