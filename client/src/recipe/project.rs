//! A directory with a `recipe.toml`.

use super::files::{FoundFile, LinkPolicy, files_at};
use crate::environment::{changed_files, filters_left_out};
use crate::error::{Error, Result};
use crate::plan::DEVICES;
use sealstone_spec::environment::Day;
use sealstone_spec::recipe::{
    self, Code, Environment, Finding, LOCK_FILE, Lock, MAX_LOCK_BYTES, MAX_PARAMS_BYTES, Params,
    Profile, RECIPE_FILE, Recipe, RecipePath,
};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A recipe with the directory around it.
#[derive(Clone, Debug)]
pub struct Project {
    root: PathBuf,
    text: String,
    recipe: Recipe,
    params: Params,
}

impl Project {
    /// Reads the recipe in `directory`, and the parameters' file that it names.
    ///
    /// # Errors
    /// If there is none, or it is not right: then with everything that is wrong in it.
    pub fn open(directory: &Path) -> Result<Project> {
        let text = read_recipe(directory)?;
        let recipe = Recipe::parse(&text).map_err(|error| {
            let findings = error.findings();
            let count = findings.len();
            let shown: Vec<String> = findings
                .iter()
                .map(|finding| format!("  {finding}"))
                .collect();
            Error::usage(format!(
                "{RECIPE_FILE} has {count} error{}:\n{}",
                if count == 1 { "" } else { "s" },
                shown.join("\n")
            ))
            .detail(json!({ "findings": findings }))
        })?;
        let params = match &recipe.params().file {
            Some(file) => read_params(&directory.join(file.as_str()))?,
            None => Params::default(),
        };
        let root = fs::canonicalize(directory)
            .map_err(|source| Error::io(format!("opening \"{}\"", directory.display()), source))?;
        Ok(Project {
            root,
            text,
            recipe,
            params,
        })
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The recipe.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The recipe's text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The parameters, before a profile changes them.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The parameters of a profile.
    ///
    /// # Errors
    /// If the profile names a parameter that is not there.
    pub fn params_of(&self, profile: Option<&Profile>) -> Result<Params> {
        match profile {
            None => Ok(self.params.clone()),
            Some(profile) => self
                .params
                .with(&profile.params)
                .map_err(|error| Error::usage(format!("profile \"{}\": {error}", profile.name))),
        }
    }

    /// The profile of this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn profile(&self, name: &str) -> Result<&Profile> {
        self.recipe.profile(name).ok_or_else(|| {
            let known: Vec<&str> = self
                .recipe
                .profiles()
                .iter()
                .map(|profile| profile.name.as_str())
                .collect();
            Error::usage(format!("the recipe has no profile \"{name}\"")).hint(
                match known.as_slice() {
                    [] => "it has none; add a [profile.NAME]".to_owned(),
                    known => format!("it has: {}", known.join(", ")),
                },
            )
        })
    }

    /// The files at a declared path.
    ///
    /// # Errors
    /// If something there is no plain file.
    pub fn files_at(&self, path: &RecipePath) -> Result<BTreeMap<String, FoundFile>> {
        files_at(&self.root, path, LinkPolicy::Refuse)
    }

    /// Where the lock of the recipe or of a profile lies.
    ///
    /// # Errors
    /// If the profile names no baseline.
    pub fn lock_path(&self, profile: Option<&Profile>) -> Result<PathBuf> {
        match profile {
            None => Ok(self.root.join(LOCK_FILE)),
            Some(profile) => match &profile.baseline {
                Some(path) => Ok(self.root.join(path.as_str())),
                None => Err(Error::usage(format!(
                    "profile \"{}\" names no baseline",
                    profile.name
                ))
                .hint(format!(
                    "add baseline = \"baselines/{}.json\"",
                    profile.name
                ))),
            },
        }
    }

    /// The lock, if there is one.
    ///
    /// # Errors
    /// If it cannot be read, or contradicts itself.
    pub fn lock(&self, profile: Option<&Profile>) -> Result<Option<Lock>> {
        read_lock(&self.lock_path(profile)?)
    }

    /// Errors and warnings, in the order of the text.
    ///
    /// # Errors
    /// If the environment's lock cannot be read.
    pub fn lint(&self, today: Option<Day>) -> Result<Vec<Finding>> {
        let mut findings = self.lint_with(today, &changed_files(&self.root).unwrap_or_default())?;
        let uncommitted = findings.iter_mut();
        for finding in uncommitted.filter(|finding| finding.code == Code::Uncommitted) {
            if let (Some(hint), Some(filters)) =
                (&mut finding.suggestion, filters_left_out(&self.root))
            {
                hint.push_str("; ");
                hint.push_str(&filters);
            }
        }
        Ok(findings)
    }

    /// The same, whatever is committed of it: Git is not asked.
    ///
    /// # Errors
    /// If the environment's lock cannot be read.
    pub fn lint_content(&self, today: Option<Day>) -> Result<Vec<Finding>> {
        self.lint_with(today, &[])
    }

    fn lint_with(&self, today: Option<Day>, uncommitted: &[String]) -> Result<Vec<Finding>> {
        let requirements = match self.recipe.environment() {
            Environment::Venv { lock, .. } => optional(&self.root.join(lock.as_str()))?,
            _ => None,
        };
        let exists = |path: &str| self.root.join(path).symlink_metadata().is_ok();
        Ok(recipe::lint(
            &self.recipe,
            &recipe::Project {
                today,
                // Where no file is named there are none, and that is known.
                params: Some(&self.params),
                requirements: requirements.as_deref(),
                exists: Some(&exists),
                uncommitted,
                devices: Some(&DEVICES),
            },
        ))
    }
}

fn read_recipe(directory: &Path) -> Result<String> {
    let path = directory.join(RECIPE_FILE);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text),
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Err(Error::not_found(
            format!("\"{}\" has no {RECIPE_FILE}", directory.display()),
        )
        .hint(
            "write one (spec/text/04-recipe.md has an example), then check it with: sealstone lint",
        )),
        Err(source) => Err(Error::io(format!("reading \"{}\"", path.display()), source)),
    }
}

fn optional(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::io(format!("reading \"{}\"", path.display()), source)),
    }
}

/// Reads a lock; `None` if there is no such file.
pub(crate) fn read_lock(path: &Path) -> Result<Option<Lock>> {
    let size = fs::metadata(path).map_or(0, |metadata| metadata.len());
    if size > MAX_LOCK_BYTES as u64 {
        return Err(Error::halted(format!(
            "\"{}\" is too long for a lock",
            path.display()
        )));
    }
    match fs::read(path) {
        Ok(bytes) => Lock::parse(&bytes).map(Some).map_err(|error| {
            Error::halted(format!("\"{}\" cannot be used: {error}", path.display()))
                .hint("make it anew with: sealstone run --force")
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::io(format!("reading \"{}\"", path.display()), source)),
    }
}

/// Reads parameters by the extension of their file.
pub(crate) fn read_params(path: &Path) -> Result<Params> {
    let shown = path.display();
    let bytes = fs::read(path)
        .map_err(|source| Error::io(format!("reading the parameters \"{shown}\""), source))?;
    if bytes.len() > MAX_PARAMS_BYTES {
        return Err(Error::usage(format!(
            "the parameters \"{shown}\" are longer than {MAX_PARAMS_BYTES} bytes"
        )));
    }
    let text = || {
        std::str::from_utf8(&bytes)
            .map_err(|_| Error::usage(format!("the parameters \"{shown}\" are not UTF-8")))
    };
    let extension = path
        .extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default();
    let params = match extension {
        "toml" => Params::from_toml(text()?),
        "json" => Params::from_json(&bytes),
        "yaml" | "yml" => {
            let value: serde_json::Value = serde_saphyr::from_str_with_options(text()?, yaml())
                .map_err(|error| {
                    Error::usage(format!("the parameters \"{shown}\" are no YAML: {error}"))
                })?;
            Params::from_value(&value)
        }
        _ => {
            return Err(
                Error::usage(format!("the parameters \"{shown}\" are of no known form"))
                    .hint("name the file .toml, .yaml or .json"),
            );
        }
    };
    params.map_err(|error| Error::usage(format!("the parameters \"{shown}\": {error}")))
}

/// YAML 1.2: `on` and `no` are words. In a file for both a program of YAML 1.1 and one of 1.2 they belong in
/// quotes anyway.
fn yaml() -> serde_saphyr::Options {
    serde_saphyr::options! { strict_booleans: true }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Outcome;

    const RECIPE: &str = "recipe = { version = 1, name = \"x\" }\nenvironment = { kind = \"host\" }\n\
        params = { file = \"params.yaml\" }\n[stage.a]\nkind = \"other\"\nrun = [\"true\"]\nparams = [\"*\"]\nout = [\"x\"]\n";

    #[test]
    fn yaml_parameters_keep_their_kinds() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(RECIPE_FILE), RECIPE).unwrap();
        fs::write(
            root.path().join("params.yaml"),
            "model:\n  C: 1.0\n  n: 2\n  name: on\n",
        )
        .unwrap();
        let project = Project::open(root.path()).unwrap();
        let texts = project.params().texts();
        assert_eq!(
            (texts["model.C"].as_str(), texts["model.n"].as_str()),
            ("1.0", "2")
        );
        assert_eq!(project.params().get("model.name").unwrap(), "on");
    }

    #[test]
    fn without_a_file_there_is_no_parameter_to_use() {
        let root = tempfile::tempdir().unwrap();
        let text = RECIPE
            .replace("params = { file = \"params.yaml\" }\n", "")
            .replace("\"true\"", "\"true\", \"{params.lr}\"");
        fs::write(root.path().join(RECIPE_FILE), text).unwrap();
        let project = Project::open(root.path()).unwrap();
        let found = project.lint_content(None).unwrap();
        let errors: Vec<&Finding> = found.iter().filter(|finding| finding.is_error()).collect();
        assert_eq!(errors.len(), 1, "{found:?}");
        assert!(errors[0].problem.contains("{params.lr}"), "{}", errors[0]);
    }

    #[test]
    fn every_error_is_told_and_a_missing_recipe_says_what_to_do() {
        let root = tempfile::tempdir().unwrap();
        let error = Project::open(root.path()).unwrap_err();
        assert_eq!(error.outcome(), Outcome::NotFound);
        assert!(error.hints()[0].contains("sealstone lint"));
        let text = RECIPE
            .replace("kind = \"other\"", "knid = \"other\"")
            .replace("name", "nmae");
        fs::write(root.path().join(RECIPE_FILE), text).unwrap();
        let error = Project::open(root.path()).unwrap_err();
        assert_eq!(error.outcome(), Outcome::Usage);
        assert!(
            error.message().contains("RE02") && error.message().contains("line 5"),
            "{}",
            error.message()
        );
    }
}
