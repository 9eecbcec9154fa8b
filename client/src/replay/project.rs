//! Recipe, lock and files of a baseline, held against each other before anything runs.
//!
//! A bundle was sealed as a whole: any file that is not what its lock says halts. In a working directory
//! people change code and parameters, which is what a replay of it is to find; pinned inputs may not change
//! there either. A profile has a lock, inputs and outputs of its own. Invariant: a [`Project`] whose inputs
//! differ from their pins is not made.

use super::halt::Halt;
use super::room::Produced;
use crate::error::{Error, Outcome, Result};
use crate::layout::hash_file;
use crate::plan::{Roots, contents};
use crate::recipe::read_params;
use crate::runner::StageJob;
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::recipe::{
    Check, FileRole, LOCK_FILE, Lock, LockError, LockedFile, MAX_LOCK_BYTES, MAX_RECIPE_BYTES,
    Params, Profile, RECIPE_FILE, Recipe,
};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// A baseline that can be replayed.
#[derive(Debug)]
pub struct Project {
    pub(crate) root: PathBuf,
    pub(crate) recipe: Recipe,
    pub(crate) lock: Lock,
    pub(crate) params: Params,
    pub(crate) id: String,
    pub(crate) digest: Digest,
    /// What was held against the lock so far, in words.
    pub(crate) checked: String,
    /// Whether every file was, as those of a bundle are.
    sealed: bool,
    /// Files of inputs, by path, as they were found where only these were checked.
    pinned: BTreeMap<String, Digest>,
    /// Where the baseline's files lie.
    roots: Roots,
}

/// The files of a lock, looked at.
#[derive(Debug)]
pub(super) struct Looked {
    /// What was hashed, in words.
    pub(super) hashed: String,
    /// Those that are others, by path, and how.
    pub(super) others: Vec<(String, String)>,
}

/// Why there is nothing to replay.
#[derive(Debug)]
pub enum ProjectError {
    /// Something is not what it should be.
    Halt(Halt),
    /// It cannot be read, or is no project.
    Failed(Error),
}

impl From<Error> for ProjectError {
    /// Bytes that are others than when they were checked halt, wherever that shows.
    fn from(error: Error) -> Self {
        match Halt::of_change(&error) {
            Some(halt) => ProjectError::Halt(halt),
            None => ProjectError::Failed(error),
        }
    }
}

impl From<Halt> for ProjectError {
    fn from(halt: Halt) -> Self {
        ProjectError::Halt(halt)
    }
}

impl ProjectError {
    /// The same, with who answers for the model.
    fn owned_by(mut self, owner: Option<String>) -> ProjectError {
        if let ProjectError::Halt(halt) = &mut self {
            halt.owner = owner;
        }
        self
    }

    /// The same, with a name of what was to be replayed.
    fn named(mut self, id: String) -> ProjectError {
        if let ProjectError::Halt(halt) = &mut self {
            halt.id = Some(id);
        }
        self
    }
}

type Loaded<T> = std::result::Result<T, ProjectError>;

impl Project {
    /// Whether it came as a bundle.
    pub(super) fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// The project in `root`, where the files of a verified bundle lie. `id` is for people, `digest` that of
    /// the manifest; with a profile, the baseline is the profile's.
    ///
    /// # Errors
    /// Halts if recipe, lock and files contradict each other.
    pub fn of_bundle(
        root: &Path,
        id: &str,
        digest: Digest,
        profile: Option<&str>,
    ) -> Loaded<Project> {
        let text = read(root, RECIPE_FILE, MAX_RECIPE_BYTES)?;
        let text = String::from_utf8(text)
            .map_err(|_| Halt::new("recipe", RECIPE_FILE, "it is no UTF-8"))?;
        let recipe = Recipe::parse(&text)
            .map_err(|error| Halt::new("recipe", RECIPE_FILE, error.to_string()))?;
        let owner = recipe.owner().map(str::to_owned);
        let load = || {
            let mut project = Project::around(root, recipe, profile, id.to_owned(), Some(digest))?;
            let disagreements = project.lock.disagreements(&project.recipe);
            if let Some(first) = disagreements.first() {
                let halt = Halt::new("lock", LOCK_FILE, first.clone());
                return Err(halt.about_bundle_if(true).into());
            }
            project.checked = project.files_are_the_lock_s()?;
            project.sealed = true;
            Ok(project)
        };
        load().map_err(|error: ProjectError| error.owned_by(owner))
    }

    /// The project in a working directory, against the lock in it, or that of a profile.
    ///
    /// # Errors
    /// Halts if a pinned input or the lock itself is not what it should be; fails if there is no recipe that
    /// can be read, or no lock.
    pub fn of_directory(root: &Path, profile: Option<&str>) -> Loaded<Project> {
        let text = read(root, RECIPE_FILE, MAX_RECIPE_BYTES)?;
        let text = String::from_utf8_lossy(&text);
        let recipe = Recipe::parse(&text).map_err(|error| {
            Error::usage(format!("\"{RECIPE_FILE}\" cannot be used")).source(error)
        })?;
        let id = match recipe.model_version() {
            Some(version) => format!("{}:{version}", recipe.name()),
            None => recipe.name().to_owned(),
        };
        let owner = recipe.owner().map(str::to_owned);
        let name = id.clone();
        let load = || {
            let mut project = Project::around(root, recipe, profile, id, None)?;
            let inputs = project.inputs_are_pinned()?;
            let tests = project.tests_are_the_lock_s()?;
            project.checked = format!("{} files of inputs, {tests} of tests", inputs.len());
            project.pinned = inputs;
            Ok(project)
        };
        let mut project =
            load().map_err(|error: ProjectError| error.owned_by(owner).named(name))?;
        let words = sealstone_spec::words::three_words(&project.digest);
        project.id = format!("{}~{words}", project.id);
        Ok(project)
    }

    fn around(
        root: &Path,
        recipe: Recipe,
        profile: Option<&str>,
        id: String,
        digest: Option<Digest>,
    ) -> Loaded<Project> {
        let profile = match profile {
            None => None,
            Some(name) => Some(recipe.profile(name).ok_or_else(|| {
                Error::usage(format!("the recipe has no profile \"{name}\"")).hint(format!(
                    "add a [profile.{name}] with a baseline, then: sealstone run --profile {name}"
                ))
            })?),
        };
        let place = match profile {
            None => LOCK_FILE.to_owned(),
            Some(profile) => match &profile.baseline {
                Some(path) => path.as_str().to_owned(),
                None => {
                    let text = format!("profile \"{}\" names no baseline", profile.name);
                    return Err(Error::usage(text).into());
                }
            },
        };
        let lock = read(root, &place, MAX_LOCK_BYTES)?;
        let is_bundle = digest.is_some();
        let lock = Lock::parse(&lock).map_err(|error| {
            // A lock of another schema may be sound: it is this version that cannot read it.
            let is_other = matches!(error, LockError::Schema(_));
            Halt::new("lock", &place, error.to_string()).about_bundle_if(is_bundle && !is_other)
        })?;
        let due = profile.map(|profile| profile.name.as_str());
        if lock.profile.as_deref() != due {
            let text = match (lock.profile.as_deref(), due) {
                (Some(is), _) => format!("it is the lock of the profile \"{is}\""),
                (None, _) => "it is the lock of no profile".to_owned(),
            };
            let halt = Halt::new("lock", &place, text);
            return Err(halt.about_bundle_if(is_bundle).into());
        }
        let params = params(root, &recipe, profile)?;
        Ok(Project {
            roots: Roots::of(root, profile),
            root: root.to_owned(),
            digest: digest.unwrap_or(*lock.digest()),
            recipe,
            lock,
            params,
            id,
            checked: String::new(),
            sealed: false,
            pinned: BTreeMap::new(),
        })
    }

    /// The questions and golden answers of tests are the baseline's, or the tests would say nothing of it. Their
    /// scripts are code, which may change here. Returns how many files were hashed.
    fn tests_are_the_lock_s(&self) -> Loaded<usize> {
        let mut hashed = 0;
        let held = self
            .recipe
            .tests()
            .iter()
            .flat_map(|test| match &test.check {
                Check::Inference { inputs, expect, .. } => vec![inputs, expect],
                Check::Data { schema, .. } => schema.iter().collect(),
                _ => Vec::new(),
            });
        for path in held.map(|path| path.as_str()) {
            let Some(file) = self.lock.file(path) else {
                continue;
            };
            if file.role != FileRole::Test {
                continue;
            }
            let text = match digest_of(&self.roots.place(&self.recipe, path))? {
                Some(actual) if actual == file.digest => {
                    hashed += 1;
                    continue;
                }
                Some(actual) => format!("expected {}, found {actual}", file.digest),
                None => format!("expected {}, it is not there", file.digest),
            };
            return Err(Halt::new("file-digest", path, text).into());
        }
        Ok(hashed)
    }

    /// Every file of the lock that is at hand in a bundle is what the lock says. Returns what was hashed, in words.
    fn files_are_the_lock_s(&self) -> Loaded<String> {
        let mut absent = 0;
        for file in &self.lock.files {
            let path = file.path.as_str();
            match digest_of(&self.roots.place(&self.recipe, path))? {
                Some(actual) if actual == file.digest => {}
                Some(actual) => {
                    let code = match file.role {
                        FileRole::Input => "input-digest",
                        _ => "file-digest",
                    };
                    let halt = Halt::digest(code, path, &file.digest, &actual);
                    return Err(halt.about_bundle_if(true).into());
                }
                // Outputs between stages, and inputs that only have a pointer, need not travel.
                None if matches!(file.role, FileRole::Output | FileRole::Input) => absent += 1,
                None => {
                    let text = format!("expected {}, the bundle does not hold it", file.digest);
                    let halt = Halt::new("file-digest", path, text);
                    return Err(halt.about_bundle_if(true).into());
                }
            }
        }
        Ok(self.hashed(absent))
    }

    fn hashed(&self, absent: usize) -> String {
        let hashed = self.lock.files.len() - absent;
        match absent {
            0 => format!("{hashed} files of the lock"),
            _ => format!("{hashed} files of the lock, {absent} are not at hand"),
        }
    }

    /// Holds every file that is at hand against the lock, where that was not done before the project was made.
    pub(super) fn look(&self) -> Result<Looked> {
        let mut others = Vec::new();
        if self.sealed {
            let hashed = self.checked.clone();
            return Ok(Looked { hashed, others });
        }
        let mut absent = 0;
        for file in &self.lock.files {
            let path = file.path.as_str();
            match digest_of(&self.roots.place(&self.recipe, path))? {
                Some(actual) if actual == file.digest => {}
                Some(actual) => others.push((
                    path.to_owned(),
                    format!("expected {}, found {actual}", file.digest),
                )),
                // Who has checked out the project has no outputs yet.
                None => {
                    absent += 1;
                    if file.role != FileRole::Output {
                        let text = format!("expected {}, it is not there", file.digest);
                        others.push((path.to_owned(), text));
                    }
                }
            }
        }
        let hashed = self.hashed(absent);
        Ok(Looked { hashed, others })
    }

    /// Every input is what the recipe says; one that a profile replaces is what the profile's lock says. Returns the
    /// files that were hashed.
    fn inputs_are_pinned(&self) -> Loaded<BTreeMap<String, Digest>> {
        let mut hashed = BTreeMap::new();
        for input in self.recipe.inputs() {
            let path = input.path.as_str();
            let locked = self
                .lock
                .inputs
                .iter()
                .find(|locked| locked.content.path == input.path);
            let due = match (&self.lock.profile, locked) {
                (Some(_), Some(locked)) => locked.content.digest,
                _ => input.digest,
            };
            let mut job = StageJob::new("inputs", Vec::new(), "", "");
            let (found, files) = match contents(&self.recipe, &self.roots, &input.path, &mut job) {
                Ok(found) => found,
                Err(error) if error.outcome() == Outcome::NotFound => {
                    let text = format!("expected {due}, it is not there");
                    return Err(Halt::new("input-digest", path, text).into());
                }
                Err(error) => return Err(error.into()),
            };
            if found.files.is_some() != input.is_tree {
                let text = match input.is_tree {
                    true => "a directory is due, it is a file",
                    false => "a file is due, it is a directory",
                };
                return Err(Halt::new("input-digest", path, text).into());
            }
            if found.digest != due {
                return Err(self.other_input(path, &due, &found.digest, locked)?.into());
            }
            let name = |file: LockedFile| (file.path.as_str().to_owned(), file.digest);
            hashed.extend(files.into_iter().map(name));
        }
        Ok(hashed)
    }

    /// Refuses files that were checked when the project was made and are others now: somebody has changed them since.
    ///
    /// # Errors
    /// [`Outcome::Halted`], with the path in its detail.
    pub(super) fn are_as_checked(&self, files: &[LockedFile]) -> Result<()> {
        for file in files.iter().filter(|file| file.role != FileRole::Output) {
            let path = file.path.as_str();
            let due = match self.sealed {
                true => self.lock.file(path).map(|locked| locked.digest),
                false => self.pinned.get(path).copied(),
            };
            let Some(due) = due.filter(|due| *due != file.digest) else {
                continue;
            };
            let code = match file.role {
                FileRole::Input => "input-digest",
                _ => "file-digest",
            };
            let found = file.digest;
            let text = format!(
                "expected {due}, found {found}: \"{path}\" was changed after it had been checked"
            );
            let detail = json!({"code": code, "path": path, "expected": due, "actual": found});
            return Err(Error::halted(text).detail(detail));
        }
        Ok(())
    }

    /// The halt over an input that is another one, and whether it has the same rows.
    fn other_input(
        &self,
        path: &str,
        due: &Digest,
        actual: &Digest,
        locked: Option<&sealstone_spec::recipe::LockedInput>,
    ) -> Result<Halt> {
        let mut halt = Halt::digest("input-digest", path, due, actual);
        let place = self.roots.place(&self.recipe, path);
        let rows = match place.is_file() {
            true => crate::recipe::fingerprint(&place)?,
            false => None,
        };
        if let (Some(rows), Some(multiset)) = (rows, locked.and_then(|locked| locked.multiset)) {
            halt.text.push_str(match rows.multiset == multiset {
                true => "; it has the same rows in a different order",
                false => "; its rows are other rows",
            });
        }
        Ok(halt)
    }

    /// The directory of the project, or of the bundle's files.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The recipe.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The lock.
    pub fn lock(&self) -> &Lock {
        &self.lock
    }

    /// A name for people.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Digest of the bundle's manifest, or of the lock.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Where the baseline's files lie.
    pub(super) fn roots(&self) -> &Roots {
        &self.roots
    }

    /// Where files lie when these have been made: outputs of stages only there, everything else in the
    /// project.
    pub(super) fn roots_with(&self, made: &Produced, workspace: &Path) -> Roots {
        let made = made
            .iter()
            .map(|(path, (place, _))| (path.clone(), place.clone()));
        self.roots
            .with_made(made.collect(), workspace.join("not-made"))
    }

    /// Where the baseline's copy of a file lies, if it is there and is what the lock says.
    pub(crate) fn baseline_file(&self, path: &str) -> Result<Option<PathBuf>> {
        let Some(file) = self.lock.file(path) else {
            return Ok(None);
        };
        let place = self.roots.place(&self.recipe, path);
        Ok((digest_of(&place)? == Some(file.digest)).then_some(place))
    }
}

fn params(root: &Path, recipe: &Recipe, profile: Option<&Profile>) -> Loaded<Params> {
    let params = match &recipe.params().file {
        Some(file) => read_params(&root.join(file.as_str()))?,
        None => Params::default(),
    };
    Ok(match profile {
        None => params,
        Some(profile) => params
            .with(&profile.params)
            .map_err(|error| Error::usage(format!("profile \"{}\": {error}", profile.name)))?,
    })
}

fn read(root: &Path, name: &str, most: usize) -> Result<Vec<u8>> {
    let path = root.join(name);
    let what = || format!("reading \"{}\"", path.display());
    let mut bytes = Vec::new();
    File::open(&path)
        .and_then(|file| file.take(most as u64 + 1).read_to_end(&mut bytes))
        .map_err(|source| {
            Error::io(what(), source).hint(match name {
                RECIPE_FILE => "a replay needs a recipe, and the lock that sealstone run writes",
                LOCK_FILE => {
                    "a replay needs a baseline to be held against: sealstone run records one"
                }
                _ => "a profile has a baseline of its own: sealstone run --profile NAME records it",
            })
        })?;
    if bytes.len() > most {
        return Err(Error::usage(format!(
            "\"{name}\" has more than {most} bytes"
        )));
    }
    Ok(bytes)
}

/// SHA-256 of a plain file; `None` if there is none.
fn digest_of(path: &Path) -> Result<Option<Digest>> {
    let what = || format!("reading \"{}\"", path.display());
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Ok(None),
        Err(error)
            if error.kind() == std::io::ErrorKind::NotFound
                || error.kind() == std::io::ErrorKind::NotADirectory =>
        {
            return Ok(None);
        }
        Err(source) => return Err(Error::io(what(), source)),
    }
    let file = File::open(path).map_err(|source| Error::io(what(), source))?;
    let (digest, _) =
        hash_file(&file, Algorithm::Sha256).map_err(|source| Error::io(what(), source))?;
    Ok(Some(digest))
}
