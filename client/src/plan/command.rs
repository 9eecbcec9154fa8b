//! The command of a stage or test, with its words replaced.

use crate::error::{Error, Result};
use sealstone_spec::recipe::{Placeholder, substitute};
use serde_json::Value;

/// What is run: the recipe's command with values in place of words; a shell before it where one reads it.
pub(crate) fn command<'a>(
    run: &'a [String],
    shell: bool,
    value: impl Fn(Placeholder<'a>) -> Option<String>,
) -> Result<Vec<String>> {
    let argv: Vec<String> = run
        .iter()
        .map(|item| substitute(item, &value))
        .collect::<std::result::Result<_, _>>()
        .map_err(|word| {
            let hint = match word.0 {
                "seed" => "state seed under [determinism]".to_owned(),
                _ => "a stage gets only the parameters that its \"params\" name".to_owned(),
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
