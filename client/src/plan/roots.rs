//! Where the files of a path lie.
//!
//! A profile and the replicates of a run write beside the project's own outputs, never over them; a replay
//! writes somewhere else again. So one declared path can be found in one of several places, by who writes it.
//! Invariant: what a stage writes is never looked for where another run has left it.

use crate::error::{Error, Result};
use crate::recipe::{FoundFile, LinkPolicy, files_at};
use sealstone_spec::recipe::{Profile, Recipe, RecipePath};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The places of one run.
#[derive(Clone, Debug)]
pub struct Roots {
    project: PathBuf,
    outputs: PathBuf,
    /// Stages whose outputs lie elsewhere, and where.
    overlay: Option<(Vec<String>, PathBuf)>,
    /// Outputs that lie one by one, by path: then there are no others.
    made: Option<BTreeMap<String, PathBuf>>,
    /// Files in place of inputs.
    replaced: BTreeMap<RecipePath, RecipePath>,
}

impl Roots {
    /// Everything in the project's directory; with a profile, outputs in a directory of its own.
    pub fn of(root: &Path, profile: Option<&Profile>) -> Roots {
        Roots {
            outputs: match profile {
                Some(profile) => root.join(".sealstone/profiles").join(&profile.name),
                None => root.to_owned(),
            },
            project: root.to_owned(),
            overlay: None,
            made: None,
            replaced: profile
                .map(|profile| profile.inputs.clone())
                .unwrap_or_default(),
        }
    }

    /// The same, with these outputs and no others; `nowhere` is a directory that is not there.
    #[must_use]
    pub fn with_made(&self, made: BTreeMap<String, PathBuf>, nowhere: PathBuf) -> Roots {
        Roots {
            outputs: nowhere,
            overlay: None,
            made: Some(made),
            ..self.clone()
        }
    }

    /// The same, with the outputs of some stages in another directory.
    #[must_use]
    pub fn with_overlay(&self, stages: &[String], directory: PathBuf) -> Roots {
        Roots {
            overlay: Some((stages.to_vec(), directory)),
            ..self.clone()
        }
    }

    /// Where a stage writes.
    pub fn outputs_of(&self, stage: &str) -> &Path {
        match &self.overlay {
            Some((stages, directory)) if stages.iter().any(|name| name == stage) => directory,
            _ => &self.outputs,
        }
    }

    /// Where the file at a path lies.
    pub fn place(&self, recipe: &Recipe, path: &str) -> PathBuf {
        if let Some(stage) = recipe.writer_of(path) {
            let made = self.made.as_ref().and_then(|made| made.get(path));
            return made.map_or_else(|| self.outputs_of(&stage.name).join(path), PathBuf::clone);
        }
        for (from, to) in &self.replaced {
            if let Some(rest) = path.strip_prefix(from.as_str())
                && (rest.is_empty() || rest.starts_with('/'))
            {
                return self.project.join(format!("{}{rest}", to.as_str()));
            }
        }
        self.project.join(path)
    }

    /// The files at a declared path, by the paths that stages know them by.
    ///
    /// # Errors
    /// If there is none, or something there is no plain file.
    pub fn files(&self, recipe: &Recipe, path: &RecipePath) -> Result<BTreeMap<String, FoundFile>> {
        let mut found = BTreeMap::new();
        for (made, place) in self.made.iter().flatten() {
            if path.contains_path(made) {
                found.insert(made.clone(), found_at(place)?);
            }
        }
        // What stages write, from where they wrote it.
        for stage in recipe.stages() {
            for output in stage.writes.iter().filter(|output| output.overlaps(path)) {
                let narrower = if output.contains(path) { path } else { output };
                found.extend(files_at(
                    self.outputs_of(&stage.name),
                    narrower,
                    LinkPolicy::Refuse,
                )?);
            }
        }
        // Everything else from the project, but not what some earlier run left at an output's place.
        if recipe.writer_of(path.as_str()).is_none() {
            let replaced = self.replaced.iter().find(|(from, _)| from.contains(path));
            let here = match replaced {
                Some((from, to)) => {
                    let rest = &path.as_str()[from.as_str().len()..];
                    let other: RecipePath = format!("{}{rest}", to.as_str())
                        .parse()
                        .map_err(|error| Error::usage(format!("{error}")))?;
                    let files = files_at(&self.project, &other, LinkPolicy::Refuse)?;
                    let known = |file: String| {
                        format!("{}{}", path.as_str(), &file[other.as_str().len()..])
                    };
                    files
                        .into_iter()
                        .map(|(file, at)| (known(file), at))
                        .collect()
                }
                None => files_at(&self.project, path, LinkPolicy::Refuse)?,
            };
            let own = here
                .into_iter()
                .filter(|(file, _)| recipe.writer_of(file).is_none());
            found.extend(own);
        }
        if found.is_empty() {
            return Err(Error::not_found(format!("\"{path}\" is not there")));
        }
        Ok(found)
    }
}

fn found_at(place: &Path) -> Result<FoundFile> {
    let metadata = fs::symlink_metadata(place)
        .map_err(|source| Error::io(format!("reading \"{}\"", place.display()), source))?;
    Ok(FoundFile {
        source: place.to_owned(),
        size: metadata.len(),
        executable: metadata.permissions().mode() & 0o100 != 0,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::recipe::Project;

    #[test]
    fn a_profile_reads_its_own_outputs_and_inputs() {
        let root = tempfile::tempdir().unwrap();
        let recipe = format!(
            "recipe = {{ version = 1, name = \"x\" }}\nenvironment = {{ kind = \"host\" }}\ninput = [{{ path = \"data.csv\", sha256 = \"{}\" }}]\n\
            [stage.a]\nkind = \"other\"\nrun = [\"a\"]\nin = [\"data.csv\"]\nout = [\"work/a\"]\n[profile.smoke]\ninputs = {{ \"data.csv\" = \"small.csv\" }}\n",
            "a".repeat(64)
        );
        let write = |path: &str, content: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        write("recipe.toml", &recipe);
        write("data.csv", "whole");
        write("small.csv", "small");
        write("work/a", "of the whole");
        write("work/notes.txt", "beside");
        write(".sealstone/profiles/smoke/work/a", "of the small");
        let project = Project::open(root.path()).unwrap();
        let read = |roots: &Roots, path: &str| -> Vec<(String, String)> {
            let files = roots
                .files(project.recipe(), &path.parse().unwrap())
                .unwrap();
            files
                .into_iter()
                .map(|(path, file)| (path, fs::read_to_string(file.source).unwrap()))
                .collect()
        };
        let pair = |path: &str, content: &str| (path.to_owned(), content.to_owned());
        let plain = Roots::of(project.root(), None);
        assert_eq!(
            read(&plain, "work/"),
            [
                pair("work/a", "of the whole"),
                pair("work/notes.txt", "beside")
            ]
        );
        let smoke = Roots::of(project.root(), Some(project.profile("smoke").unwrap()));
        assert_eq!(
            read(&smoke, "work/"),
            [
                pair("work/a", "of the small"),
                pair("work/notes.txt", "beside")
            ]
        );
        assert_eq!(read(&smoke, "data.csv"), [pair("data.csv", "small")]);
        assert!(
            smoke
                .place(project.recipe(), "data.csv")
                .ends_with("small.csv")
        );
        assert!(
            plain
                .files(project.recipe(), &"gone".parse().unwrap())
                .is_err()
        );
    }
}
