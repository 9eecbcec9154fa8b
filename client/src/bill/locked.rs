//! What a recipe and its lock say of a model, as parts of its bill of materials: nothing of it is typed.
//!
//! Invariant: a card says nothing of what was measured and read that the lock does not say; what only people know stays.

use crate::ci::{is_address, is_model};
use crate::error::{Error, Result};
use sealstone_spec::bom::Package;
use sealstone_spec::bom::contents::{Card, File, Input, Metric};
use sealstone_spec::compare::Decimal;
use sealstone_spec::environment::FactValue;
use sealstone_spec::recipe::{Environment, LOCK_FILE, Lock, RECIPE_FILE, Recipe, RecipePath};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The list of packages that the recipe's environment is made of.
pub fn package_list(recipe: &Recipe) -> Option<&RecipePath> {
    match recipe.environment() {
        Environment::Venv { lock, .. } => Some(lock),
        _ => None,
    }
}

/// Packages of an environment without a list: those that were installed when the stages ran. Nothing fixes
/// their bytes.
pub fn packages_of(lock: &Lock) -> Vec<Package> {
    let Ok(facts) = lock.environment.facts() else {
        return Vec::new();
    };
    match facts.get("python.packages") {
        Some(FactValue::Entries(packages)) => packages
            .iter()
            .map(|(name, version)| Package::new(name, version))
            .collect(),
        _ => Vec::new(),
    }
}

/// The facts of the environment in which the stages ran, as texts.
pub fn environment_of(lock: &Lock) -> BTreeMap<String, String> {
    let Ok(facts) = lock.environment.facts() else {
        return BTreeMap::new();
    };
    let shown = facts.iter().map(|(name, value)| {
        let value = json!(value);
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        (name.to_owned(), text)
    });
    shown.collect()
}

/// Recipe and lock in a directory, as far as they can be read: what cannot is compared as a file like others.
pub fn sealed_below(directory: &Path) -> (Option<Recipe>, Option<Lock>) {
    let recipe = fs::read_to_string(directory.join(RECIPE_FILE)).ok();
    let lock = fs::read(directory.join(LOCK_FILE)).ok();
    (
        recipe.and_then(|text| Recipe::parse(&text).ok()),
        lock.and_then(|bytes| Lock::parse(&bytes).ok()),
    )
}

/// Fills metrics, data sets and base models of a card in from a lock. `files` are those of the bundle.
///
/// # Errors
/// [`Outcome::Refused`](crate::Outcome::Refused) if the card has another value for a metric of the lock, or another
/// digest or source for an input.
pub fn fill_card(card: &mut Card, lock: &Lock, files: &[File]) -> Result<()> {
    for (name, metric) in &lock.metrics {
        // What was measured on a part of the data is another number.
        let is_it = |known: &Metric| {
            let slice = known.slice.as_deref().unwrap_or_default();
            known.kind == *name && slice.trim().is_empty()
        };
        let value = metric.value.as_str();
        for known in card.metrics.iter().filter(|known| is_it(known)) {
            if known.value.parse::<Decimal>().ok().as_ref() != Some(&metric.value) {
                let what = format!("metric \"{name}\"");
                return Err(contradiction(&what, "value", &known.value, value));
            }
        }
        let at = card.metrics.iter().position(is_it);
        let found = Metric {
            kind: name.clone(),
            value: value.to_owned(),
            slice: None,
        };
        match at {
            Some(at) => card.metrics[at] = found,
            None => card.metrics.push(found),
        }
    }
    for input in &lock.inputs {
        let path = input.content.path.as_str();
        let held = files.iter().map(|file| file.path.as_str());
        let held = held.filter(|file| input.content.path.contains_path(file));
        let found = Input {
            name: path.to_owned(),
            uri: input.source.clone().filter(|source| is_address(source)),
            digest: Some(input.content.digest),
            description: input.rows.map(|rows| format!("{rows} rows")),
            files: held.map(str::to_owned).collect(),
            ..Input::default()
        };
        let both = card.datasets.iter().chain(&card.base_models);
        for known in both.filter(|known| known.name == path) {
            refuse_contradictions(known, &found)?;
        }
        let list = match is_model(input) {
            true => &mut card.base_models,
            false => &mut card.datasets,
        };
        match list.iter_mut().find(|known| known.name == path) {
            None => list.push(found),
            Some(known) => {
                known.uri = known.uri.take().or(found.uri);
                known.digest = known.digest.or(found.digest);
                known.description = known.description.take().or(found.description);
                if known.files.is_empty() {
                    known.files = found.files;
                }
            }
        }
    }
    Ok(())
}

fn refuse_contradictions(known: &Input, locked: &Input) -> Result<()> {
    let what = format!("\"{}\"", known.name);
    if let (Some(told), Some(locked)) = (&known.digest, &locked.digest)
        && told != locked
    {
        let (told, locked) = (told.to_string(), locked.to_string());
        return Err(contradiction(&what, "digest", &told, &locked));
    }
    if let (Some(told), Some(locked)) = (&known.uri, &locked.uri)
        && told != locked
    {
        return Err(contradiction(&what, "source", told, locked));
    }
    Ok(())
}

fn contradiction(what: &str, field: &str, told: &str, locked: &str) -> Error {
    Error::refused(format!(
        "{what} has the {field} {told} in the card, and {locked} in {LOCK_FILE}"
    ))
    .hint(format!(
        "leave the {field} out of the card: it comes from the lock"
    ))
}
