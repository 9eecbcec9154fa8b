//! The recipe told of a lock: `environment` in its text set to the virtual environment.
//!
//! Works on the text, so that comments and layout stay. Invariant: a changed text says what the one before said, and
//! the environment that is due; where that cannot be had it stays as it is, and the caller is given the lines to put
//! there.

use super::super::write::quoted;
use super::Locked;
use crate::environment::stated_version;
use crate::error::{Error, Result};
use crate::run::write_whole;
use sealstone_spec::recipe::{RECIPE_FILE, Recipe};
use std::fs;
use std::path::Path;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

/// What became of the recipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Adopted {
    /// It says so already.
    AsItWas,
    /// It was changed.
    Changed,
    /// There is none.
    NoRecipe {
        /// What to write into one.
        lines: String,
    },
    /// It has an environment of another kind, which is not replaced, or one that cannot be changed in its place.
    Other {
        /// What to write in its place.
        lines: String,
    },
}

/// Sets the environment of the recipe in `root`, where it is `host` or a virtual environment.
///
/// # Errors
/// If the recipe cannot be read or written.
pub fn adopt(root: &Path, locked: &Locked) -> Result<Adopted> {
    let path = root.join(RECIPE_FILE);
    let places = &locked.places;
    let python = stated_version(&locked.python).unwrap_or_else(|| locked.python.clone());
    let due = [
        ("kind", "venv"),
        ("python", python.as_str()),
        ("lock", places.lock.as_str()),
        ("wheels", places.wheels.as_str()),
    ];
    let pairs: Vec<String> = due
        .iter()
        .map(|(key, value)| format!("{key} = {}", quoted(value)))
        .collect();
    let lines = format!("[environment]\n{}", pairs.join("\n"));
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Adopted::NoRecipe { lines });
        }
        Err(source) => return Err(Error::io(format!("reading \"{}\"", path.display()), source)),
    };
    let Some(changed) = changed(&text, &due, &pairs.join(", ")) else {
        return Ok(Adopted::Other { lines });
    };
    if changed == text {
        return Ok(Adopted::AsItWas);
    }
    write_whole(&path, changed.as_bytes())?;
    Ok(Adopted::Changed)
}

fn changed(text: &str, due: &[(&str, &str)], inline: &str) -> Option<String> {
    edited(text, due, inline).filter(|done| done == text || says_only(text, done, due))
}

/// Whether `after` says what `before` said with the environment that is due. Edits are made where tokens stand, which
/// is the wrong place for ways of writing that nobody thought of, such as `environment.kind = "host"`.
fn says_only(before: &str, after: &str, due: &[(&str, &str)]) -> bool {
    let read = |text: &str| toml::from_str::<Table>(text).ok();
    let (Some(mut was), Some(mut now)) = (read(before), read(after)) else {
        return false;
    };
    was.remove("environment");
    let Some(Value::Table(mut environment)) = now.remove("environment") else {
        return false;
    };
    let is_due = due.iter().all(|(key, value)| {
        let stated = environment.remove(*key);
        stated.as_ref().and_then(Value::as_str) == Some(*value)
    });
    is_due
        && environment.is_empty()
        && was == now
        && (Recipe::parse(before).is_err() || Recipe::parse(after).is_ok())
}

fn edited(text: &str, due: &[(&str, &str)], inline: &str) -> Option<String> {
    let document = DeTable::parse(text).ok()?;
    let Some(node) = document.get_ref().get("environment") else {
        // Before the first table, where keys of the document stand.
        return Some(format!("environment = {{ {inline} }}\n{text}"));
    };
    let DeValue::Table(table) = node.get_ref() else {
        return None;
    };
    let stated = |key: &str| table.get(key).and_then(|node| node.get_ref().as_str());
    if !["venv", "host"].contains(&stated("kind")?) {
        return None;
    }
    // Whoever wrote the minor version only takes any of its releases.
    let fits = |key: &str, value: &str| {
        stated(key).is_some_and(|stated| {
            stated == value || (key == "python" && value.starts_with(&format!("{stated}.")))
        })
    };
    if due.iter().all(|(key, value)| fits(key, value)) {
        return Some(text.to_owned());
    }
    let span = node.span();
    if text.get(span.clone())?.starts_with('{') {
        let mut done = text.to_owned();
        done.replace_range(span, &format!("{{ {inline} }}"));
        return Some(done);
    }
    // A table of its own: values in their places, missing keys after the kind.
    let mut edits: Vec<(usize, usize, String)> = Vec::new();
    let mut missing = String::new();
    for (key, value) in due {
        match table.get(*key) {
            Some(node) => edits.push((node.span().start, node.span().end, quoted(value))),
            None => missing.push_str(&format!("\n{key} = {}", quoted(value))),
        }
    }
    let end = table.get("kind")?.span().end;
    edits.push((end, end, missing));
    edits.sort_by_key(|(start, end, _)| std::cmp::Reverse((*start, *end)));
    let mut done = text.to_owned();
    for (start, end, with) in edits {
        done.replace_range(start..end, &with);
    }
    Some(done)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use sealstone_spec::recipe::Environment;

    const DUE: [(&str, &str); 4] = [
        ("kind", "venv"),
        ("python", "3.11.7"),
        ("lock", "requirements.lock"),
        ("wheels", "wheels/"),
    ];
    const INLINE: &str =
        "kind = \"venv\", python = \"3.11.7\", lock = \"requirements.lock\", wheels = \"wheels/\"";
    const STAGE: &str = "[stage.a]\nkind = \"other\"\nrun = [\"a\"]\nout = [\"x\"]\n";

    #[test]
    fn every_way_of_writing_an_environment_is_changed_in_place() {
        let inline =
            "recipe = { version = 1, name = \"x\" }\nenvironment = { kind = \"host\" } # mine\n";
        let table =
            "[recipe]\nversion = 1\nname = \"x\"\n[environment] # mine\nkind = \"host\" # so far\n";
        let old = "[recipe]\nversion = 1\nname = \"x\"\n[environment]\nlock = \"old.lock\"\nkind = \"venv\"\n";
        let none = "# mine\n[recipe]\nversion = 1\nname = \"x\"\n";
        for head in [inline, table, old, none] {
            let text = format!("{head}{STAGE}");
            let done = changed(&text, &DUE, INLINE).unwrap();
            let recipe = Recipe::parse(&done).unwrap();
            let Environment::Venv {
                python,
                lock,
                wheels,
            } = recipe.environment()
            else {
                panic!("{done}");
            };
            assert_eq!(
                (
                    python.as_deref(),
                    lock.as_str(),
                    wheels.as_ref().unwrap().as_str()
                ),
                (Some("3.11.7"), "requirements.lock", "wheels")
            );
            assert_eq!(
                done.matches("# mine").count(),
                text.matches("# mine").count()
            );
            assert_eq!(changed(&done, &DUE, INLINE).unwrap(), done, "again");
        }
    }

    #[test]
    fn a_recipe_that_would_not_say_the_same_stays() {
        let head = "environment.kind = \"host\"\nrecipe.version = 1\nrecipe.name = \"x\"\n";
        let dotted = format!("{head}{STAGE}");
        assert!(Recipe::parse(&dotted).is_ok(), "it is a recipe");
        assert_eq!(changed(&dotted, &DUE, INLINE), None);
        // Every key is there, so that each is changed in its place.
        let whole = "environment.kind = \"venv\"\nenvironment.python = \"3.10.1\"\n\
             environment.lock = \"requirements.lock\"\nenvironment.wheels = \"wheels/\"\n";
        let whole = dotted.replace("environment.kind = \"host\"\n", whole);
        let done = changed(&whole, &DUE, INLINE).unwrap();
        assert_eq!(done, whole.replace("3.10.1", "3.11.7"));
        // A stage writes where the wheels would lie.
        let head = "recipe = { version = 1, name = \"x\" }\nenvironment = { kind = \"host\" }\n";
        let taken = format!("{head}{}", STAGE.replace("\"x\"", "\"wheels/\""));
        assert!(Recipe::parse(&taken).is_ok(), "it is a recipe");
        assert_eq!(changed(&taken, &DUE, INLINE), None);
    }

    #[test]
    fn an_environment_of_another_kind_stays() {
        let text = format!("environment = {{ kind = \"rootfs\", path = \"r.tar\" }}\n{STAGE}");
        assert_eq!(changed(&text, &DUE, INLINE), None);
        let minor = format!(
            "environment = {{ {} }}\n{STAGE}",
            INLINE.replace("3.11.7", "3.11")
        );
        assert_eq!(changed(&minor, &DUE, INLINE).unwrap(), minor);
    }
}
