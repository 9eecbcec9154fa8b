//! Recipe, lock and files of a baseline, held against each other before anything runs.
//!
//! A bundle was sealed as a whole: any file that is not what its lock says halts. In a working directory
//! people change code and parameters, which is what a replay of it is to find; pinned inputs may not change
//! there either. Invariant: a [`Project`] whose inputs differ from their pins is not made.

use super::halt::Halt;
use crate::error::{Error, Result};
use crate::layout::hash_file;
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::recipe::{
    FileRole, LOCK_FILE, Lock, MAX_LOCK_BYTES, MAX_RECIPE_BYTES, Params, RECIPE_FILE, Recipe,
    RecipePath, is_left_behind, listing_digest,
};
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
    fn from(error: Error) -> Self {
        ProjectError::Failed(error)
    }
}

impl From<Halt> for ProjectError {
    fn from(halt: Halt) -> Self {
        ProjectError::Halt(halt)
    }
}

type Loaded<T> = std::result::Result<T, ProjectError>;

impl Project {
    /// The project in `root`, where the files of a verified bundle lie. `id` is for people, `digest` that of
    /// the manifest.
    ///
    /// # Errors
    /// Halts if recipe, lock and files contradict each other.
    pub fn of_bundle(root: &Path, id: &str, digest: Digest) -> Loaded<Project> {
        let text = read(root, RECIPE_FILE, MAX_RECIPE_BYTES)?;
        let text = String::from_utf8(text)
            .map_err(|_| Halt::new("recipe", RECIPE_FILE, "it is no UTF-8"))?;
        let recipe = Recipe::parse(&text)
            .map_err(|error| Halt::new("recipe", RECIPE_FILE, error.to_string()))?;
        let lock = read(root, LOCK_FILE, MAX_LOCK_BYTES)?;
        let lock =
            Lock::parse(&lock).map_err(|error| Halt::new("lock", LOCK_FILE, error.to_string()))?;
        let disagreements = lock.disagreements(&recipe);
        if let Some(first) = disagreements.first() {
            return Err(Halt::new("lock", LOCK_FILE, first.clone()).into());
        }
        for file in &lock.files {
            let path = root.join(file.path.as_str());
            match digest_of(&path)? {
                Some(actual) if actual == file.digest => {}
                Some(actual) => {
                    let code = if file.role == FileRole::Input {
                        "input-digest"
                    } else {
                        "file-digest"
                    };
                    return Err(
                        Halt::digest(code, file.path.as_str(), &file.digest, &actual).into(),
                    );
                }
                // Outputs between stages, and inputs that only have a pointer, need not travel.
                None if matches!(file.role, FileRole::Output | FileRole::Input) => {}
                None => {
                    return Err(Halt::new(
                        "file-digest",
                        file.path.as_str(),
                        format!("expected {}, the bundle does not hold it", file.digest),
                    )
                    .into());
                }
            }
        }
        let params = params(root, &recipe)?;
        Ok(Project {
            root: root.to_owned(),
            recipe,
            lock,
            params,
            id: id.to_owned(),
            digest,
        })
    }

    /// The project in a working directory, against the lock in it.
    ///
    /// # Errors
    /// Halts if a pinned input or the lock itself is not what it should be; fails if there is no recipe that
    /// can be read, or no lock.
    pub fn of_directory(root: &Path) -> Loaded<Project> {
        let text = read(root, RECIPE_FILE, MAX_RECIPE_BYTES)?;
        let text = String::from_utf8_lossy(&text);
        let recipe = Recipe::parse(&text).map_err(|error| {
            Error::usage(format!("\"{RECIPE_FILE}\" cannot be used")).source(error)
        })?;
        let lock = read(root, LOCK_FILE, MAX_LOCK_BYTES)?;
        let lock =
            Lock::parse(&lock).map_err(|error| Halt::new("lock", LOCK_FILE, error.to_string()))?;
        for input in recipe.inputs() {
            let files = files_at(root, &input.path)?;
            let actual = match (input.is_tree, files.as_slice()) {
                (false, [(_, digest)]) => *digest,
                (true, [_, ..]) => {
                    let prefix = input.path.as_str().len() + 1;
                    listing_digest(files.iter().map(|(path, digest)| (&path[prefix..], digest)))
                }
                _ => {
                    return Err(Halt::new(
                        "input-digest",
                        input.path.as_str(),
                        format!("expected {}, it is not there", input.digest),
                    )
                    .into());
                }
            };
            if actual != input.digest {
                return Err(Halt::digest(
                    "input-digest",
                    input.path.as_str(),
                    &input.digest,
                    &actual,
                )
                .into());
            }
        }
        let params = params(root, &recipe)?;
        let id = match recipe.model_version() {
            Some(version) => format!("{}:{version}", recipe.name()),
            None => recipe.name().to_owned(),
        };
        let digest = *lock.digest();
        Ok(Project {
            root: root.to_owned(),
            recipe,
            lock,
            params,
            id: format!("{id}~{}", sealstone_spec::words::three_words(&digest)),
            digest,
        })
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

    /// Where the baseline's copy of a file lies, if it is there and is what the lock says.
    pub(crate) fn baseline_file(&self, path: &str) -> Result<Option<PathBuf>> {
        let Some(file) = self.lock.file(path) else {
            return Ok(None);
        };
        let place = self.root.join(path);
        Ok((digest_of(&place)? == Some(file.digest)).then_some(place))
    }
}

fn params(root: &Path, recipe: &Recipe) -> Loaded<Params> {
    let Some(file) = &recipe.params().file else {
        return Ok(Params::default());
    };
    let bytes = read(
        root,
        file.as_str(),
        sealstone_spec::recipe::MAX_PARAMS_BYTES,
    )?;
    let wrong = |problem: String| Error::usage(format!("parameters in \"{file}\": {problem}"));
    let read = match file.as_str().rsplit('.').next() {
        Some("json") => Params::from_json(&bytes),
        Some("yaml" | "yml") => {
            let text = String::from_utf8_lossy(&bytes);
            let value: serde_json::Value =
                serde_saphyr::from_str(&text).map_err(|error| wrong(error.to_string()))?;
            Params::from_value(&value)
        }
        _ => Params::from_toml(&String::from_utf8_lossy(&bytes)),
    };
    Ok(read.map_err(|error| wrong(error.to_string()))?)
}

fn read(root: &Path, name: &str, most: usize) -> Result<Vec<u8>> {
    let path = root.join(name);
    let what = || format!("reading \"{}\"", path.display());
    let mut bytes = Vec::new();
    File::open(&path)
        .and_then(|file| file.take(most as u64 + 1).read_to_end(&mut bytes))
        .map_err(|source| {
            let error = Error::io(what(), source);
            match name {
                RECIPE_FILE => {
                    error.hint("a replay needs a recipe, and the lock that sealstone run writes")
                }
                LOCK_FILE => error.hint(
                    "a replay needs a baseline to be held against: sealstone run records one",
                ),
                _ => error,
            }
        })?;
    if bytes.len() > most {
        return Err(Error::usage(format!(
            "\"{name}\" has more than {most} bytes"
        )));
    }
    Ok(bytes)
}

/// SHA-256 of a plain file; `None` if there is none.
pub(super) fn digest_of(path: &Path) -> Result<Option<Digest>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Ok(None),
        Err(error)
            if error.kind() == std::io::ErrorKind::NotFound
                || error.kind() == std::io::ErrorKind::NotADirectory =>
        {
            return Ok(None);
        }
        Err(source) => return Err(Error::io(format!("reading \"{}\"", path.display()), source)),
    }
    let file = File::open(path)
        .map_err(|source| Error::io(format!("reading \"{}\"", path.display()), source))?;
    let (digest, _) = hash_file(&file, Algorithm::Sha256)
        .map_err(|source| Error::io(format!("reading \"{}\"", path.display()), source))?;
    Ok(Some(digest))
}

/// The files at or below a declared path, relative to `root`, sorted; what programs leave behind is none.
pub(super) fn files_at(root: &Path, path: &RecipePath) -> Result<Vec<(String, Digest)>> {
    let mut found = BTreeMap::new();
    let mut queue = vec![path.as_str().to_owned()];
    while let Some(next) = queue.pop() {
        if is_left_behind(&next) {
            continue;
        }
        let place = root.join(&next);
        match fs::symlink_metadata(&place) {
            Ok(metadata) if metadata.is_dir() => {
                let what = || format!("reading the directory \"{}\"", place.display());
                for entry in fs::read_dir(&place).map_err(|source| Error::io(what(), source))? {
                    let entry = entry.map_err(|source| Error::io(what(), source))?;
                    queue.push(format!("{next}/{}", entry.file_name().to_string_lossy()));
                }
            }
            _ => {
                if let Some(digest) = digest_of(&place)? {
                    found.insert(next, digest);
                }
            }
        }
    }
    Ok(found.into_iter().collect())
}
