//! A project with a recipe and its lock made into a bundle from which the model can be made again.
//!
//! What goes in: recipe, lock, every file of the lock with its role, locks of profiles with the data that they put
//! in place, texts for people at the top, and what was asked for. What does not: anything else.
//! Invariant: each file of the lock goes in with the bytes and mode that the lock has, or not at all; data that is
//! not in the bundle can be told by digest and has a source.

use super::kind::kind_by_name;
use super::roles::roles;
use super::walk::{Found, Known};
use super::{PackOptions, PackProgress, Packed, write_bundle};
use crate::environment::{filters_left_out, repository, uncommitted};
use crate::error::{Error, Result};
use crate::layout::LayoutStore;
use crate::recipe::{LinkPolicy, Project, files_at};
use crate::run::{disagreements_while, refuse_disagreements};
use crate::stop::Stop;
use sealstone_spec::bundle::{BundlePath, FileKind, check_paths};
use sealstone_spec::digest::Digest;
use sealstone_spec::name::Tag;
use sealstone_spec::recipe::{
    FileRole, LOCK_FILE, Lock, LockedFile, Profile, RECIPE_FILE, RecipePath, Risk,
};
use sealstone_spec::role::BundleRole;
use serde::Serialize;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// What a packer of a project can choose.
#[derive(Clone, Debug, Default)]
pub struct SealOptions {
    /// Put all data into the bundle, also what the recipe leaves outside.
    pub embed_data: bool,
    /// Files and directories that no stage reads or writes and that go in all the same.
    pub include: Vec<RecipePath>,
}

/// Data that the bundle names and does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Referenced {
    /// Where stages look for it.
    pub path: String,
    /// Its digest: of a directory, that of its listing.
    pub digest: Digest,
    /// Number of bytes.
    pub size: u64,
    /// Where it can be had.
    pub source: String,
}

/// Packs a project with its lock into `layout`, under `tag` if there is one. The layout is made where there is none, as
/// by [`pack`](super::pack).
///
/// # Errors
/// [`Outcome::Refused`](crate::Outcome::Refused) if the lock is not that of the project as it lies there, if files
/// are not committed where the recipe's risk demands it, or if data is neither embedded nor has a source; with
/// everything that is wrong. [`Outcome::NotFound`](crate::Outcome::NotFound) if there is no lock.
pub fn pack_sealed(
    project: &Project,
    layout: impl AsRef<Path>,
    options: &PackOptions,
    seal: &SealOptions,
    tag: Option<&Tag>,
    progress: &dyn PackProgress,
) -> Result<Packed> {
    let lock = project.lock(None)?.ok_or_else(|| {
        Error::not_found(format!(
            "\"{}\" has a recipe and no {LOCK_FILE}",
            project.root().display()
        ))
        .hint("make it with: sealstone run")
        .hint("or pack the files as they lie there, without a promise: --plain")
    })?;
    let differing = disagreements_while(project, &lock, None, &options.stop)?;
    refuse_disagreements(LOCK_FILE, &differing)?;
    refuse_uncommitted(project, &lock)?;
    let referenced = references(project, &lock, seal)?;

    let mut gathered = Gathered::new(project, &options.stop);
    gathered.own(RECIPE_FILE, BundleRole::Recipe, *project.recipe().digest())?;
    gathered.own(LOCK_FILE, BundleRole::Lock, *lock.digest())?;
    let roles = roles(project.recipe(), &lock);
    let is_elsewhere = |path: &str| referenced.iter().any(|data| is_below(&data.path, path));
    for file in &lock.files {
        if !is_elsewhere(file.path.as_str()) {
            let (kind, role) = roles[file.path.as_str()];
            gathered.locked(file, kind, role)?;
        }
    }
    for profile in project.recipe().profiles() {
        gathered.profile(profile)?;
    }
    gathered.texts()?;
    for path in &seal.include {
        gathered.include(path)?;
    }
    let ignored = gathered.left_out(layout.as_ref())?;
    let found: Vec<Found> = gathered.files.into_values().collect();
    check_paths(found.iter().map(|file| &file.path))
        .map_err(|error| Error::usage(error.to_string()))?;
    let layout = LayoutStore::open_or_create(layout.as_ref())?;
    let (manifest, files) = write_bundle(&found, &layout, options, tag, progress)?;
    Ok(Packed {
        manifest,
        files,
        ignored,
        referenced,
    })
}

/// Where a wrong model does harm, its code must be in the commit that its lock names: what is nowhere but on
/// this disk, nobody else can look at.
fn refuse_uncommitted(project: &Project, lock: &Lock) -> Result<()> {
    if lock.recipe.risk < Risk::Medium {
        return Ok(());
    }
    // Wherever in it the project lies.
    let repository = match repository(project.root()) {
        Ok(Some(repository)) => repository,
        Ok(None) => return Ok(()),
        Err(reason) => {
            return Err(Error::refused(format!(
                "the recipe's risk is {}, and the repository of its code cannot be read: {reason}",
                lock.recipe.risk.as_str()
            )));
        }
    };
    let facts = lock
        .environment
        .facts()
        .map_err(|error| Error::halted(error.to_string()))?;
    let again = "commit what is missing, then run: sealstone run (nothing that has not changed is run again)";
    let Some(commit) = facts.get("git.commit").map(ToString::to_string) else {
        return Err(Error::refused(format!(
            "{LOCK_FILE} names no commit, and the recipe's risk is {}",
            lock.recipe.risk.as_str()
        ))
        .hint(again));
    };
    let written_by_hand = |file: &&LockedFile| {
        matches!(
            file.role,
            FileRole::Source | FileRole::Params | FileRole::Test
        )
    };
    let paths = lock
        .files
        .iter()
        .filter(written_by_hand)
        .map(|file| file.path.as_str())
        .chain([RECIPE_FILE]);
    let open = uncommitted(&repository, &commit, paths).map_err(|reason| {
        Error::refused(format!(
            "what commit {commit} holds cannot be told: {reason}"
        ))
        .hint(again)
    })?;
    if open.is_empty() {
        return Ok(());
    }
    let mut error = Error::refused(format!(
        "the recipe's risk is {}, and files are not as in the commit {commit} that {LOCK_FILE} names; number: {}",
        lock.recipe.risk.as_str(),
        open.len()
    ));
    for problem in open.iter().take(20) {
        error = error.hint(problem.clone());
    }
    if let Some(filters) = filters_left_out(project.root()) {
        error = error.hint(filters);
    }
    Err(error.hint(again).detail(json!({ "uncommitted": open })))
}

/// Data that stays outside: pinned by the lock, and with a source where others get it.
fn references(project: &Project, lock: &Lock, seal: &SealOptions) -> Result<Vec<Referenced>> {
    let mut found = Vec::new();
    for input in lock.inputs.iter().filter(|input| !input.embedded) {
        let path = &input.content.path;
        if seal.embed_data {
            if files_at(project.root(), path, LinkPolicy::Refuse)?.is_empty() {
                return Err(Error::refused(format!(
                    "input \"{path}\" cannot be embedded: it is not here"
                )));
            }
            continue;
        }
        let Some(source) = &input.source else {
            return Err(Error::refused(format!(
                "input \"{path}\" would neither be in the bundle nor have a source: nobody could make the model again"
            ))
            .hint("state its source in the recipe, or pack with --embed-data"));
        };
        found.push(Referenced {
            path: path.as_str().to_owned(),
            digest: input.content.digest,
            size: input.content.size,
            source: source.clone(),
        });
    }
    Ok(found)
}

fn is_below(directory: &str, path: &str) -> bool {
    path.strip_prefix(directory)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Files for a bundle, each once.
struct Gathered<'a> {
    project: &'a Project,
    stop: &'a Stop,
    files: BTreeMap<String, Found>,
}

impl<'a> Gathered<'a> {
    fn new(project: &'a Project, stop: &'a Stop) -> Gathered<'a> {
        Gathered {
            project,
            stop,
            files: BTreeMap::new(),
        }
    }

    fn add(&mut self, path: &str, known: Known) -> Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let source = self.project.root().join(path);
        let metadata = fs::symlink_metadata(&source)
            .map_err(|error| Error::io(format!("reading \"{}\"", source.display()), error))?;
        let parsed: BundlePath = path
            .parse()
            .map_err(|error| Error::usage(format!("{error}")))?;
        self.files.entry(path.to_owned()).or_insert(Found {
            path: parsed,
            source,
            size: metadata.len(),
            executable: metadata.permissions().mode() & 0o100 != 0,
            known: Some(known),
        });
        Ok(())
    }

    fn own(&mut self, path: &str, role: BundleRole, digest: Digest) -> Result<()> {
        let known = Known {
            kind: FileKind::Code,
            role,
            digest: Some(digest),
        };
        self.add(path, known)
    }

    fn locked(&mut self, file: &LockedFile, kind: FileKind, role: BundleRole) -> Result<()> {
        let known = Known {
            kind,
            role,
            digest: Some(file.digest),
        };
        self.add(file.path.as_str(), known)
    }

    /// A profile's lock and the data that it puts in place of others; nothing if it was never run.
    fn profile(&mut self, profile: &Profile) -> Result<()> {
        let Some(baseline) = &profile.baseline else {
            return Ok(());
        };
        let Some(lock) = self.project.lock(Some(profile))? else {
            return Ok(());
        };
        let found = disagreements_while(self.project, &lock, Some(profile), self.stop)?;
        refuse_disagreements(baseline.as_str(), &found)?;
        self.own(baseline.as_str(), BundleRole::Baseline, *lock.digest())?;
        for (from, to) in &profile.inputs {
            for name in files_at(self.project.root(), to, LinkPolicy::Refuse)?.into_keys() {
                let inside = name.get(to.as_str().len()..).unwrap_or_default();
                let locked = lock.file(&format!("{}{inside}", from.as_str()));
                let known = Known {
                    kind: FileKind::Dataset,
                    role: BundleRole::Data,
                    digest: locked.map(|file| file.digest),
                };
                self.add(&name, known)?;
            }
        }
        Ok(())
    }

    /// README, licences and other texts at the top.
    fn texts(&mut self) -> Result<()> {
        for (name, is_file) in self.top()? {
            if is_file && kind_by_name(&name) == FileKind::Doc {
                self.by_name(&name)?;
            }
        }
        Ok(())
    }

    fn by_name(&mut self, path: &str) -> Result<()> {
        let kind = kind_by_name(path);
        let known = Known {
            kind,
            role: BundleRole::of_kind(kind),
            digest: None,
        };
        self.add(path, known)
    }

    fn include(&mut self, path: &RecipePath) -> Result<()> {
        let found = files_at(self.project.root(), path, LinkPolicy::Refuse)?;
        if found.is_empty() {
            return Err(Error::usage(format!(
                "\"{path}\" is to be included and is not there"
            )));
        }
        found.into_keys().try_for_each(|name| self.by_name(&name))
    }

    /// What lies at the top of the project, and whether it is a plain file.
    fn top(&self) -> Result<BTreeMap<String, bool>> {
        let root = self.project.root();
        let what = || format!("reading the directory \"{}\"", root.display());
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(root).map_err(|error| Error::io(what(), error))? {
            let entry = entry.map_err(|error| Error::io(what(), error))?;
            let kind = entry
                .file_type()
                .map_err(|error| Error::io(what(), error))?;
            if let Ok(name) = entry.file_name().into_string() {
                found.insert(name, kind.is_file());
            }
        }
        Ok(found)
    }

    /// What lies at the top and of which nothing goes in.
    fn left_out(&self, layout: &Path) -> Result<Vec<String>> {
        let packed: BTreeSet<&str> = self
            .files
            .keys()
            .filter_map(|path| path.split('/').next())
            .collect();
        let layout = fs::canonicalize(layout).ok();
        let is_layout = |name: &str| layout.as_deref() == Some(&self.project.root().join(name));
        let top = self.top()?.into_keys();
        let left = top.filter(|name| {
            !packed.contains(name.as_str())
                && !name.starts_with(".git")
                && name != ".sealstone"
                && !is_layout(name)
        });
        Ok(left.collect())
    }
}
