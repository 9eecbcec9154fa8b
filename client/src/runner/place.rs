//! The directory in which a stage runs: filled with its inputs, and read when it has ended.
//!
//! Owns the check of every input against its digest, on the way in and, where the stage could have
//! written to it, again on the way out; of what is mounted, that nobody has written to it in between. Does not start
//! anything.
//! Invariant: no file of the source is ever linked into a place where the stage could write to it (one that is mounted,
//! by itself or in a directory, is read-only, and lies outside of what the stage may write), and nothing that is not a plain file leaves
//! the directory.

mod inputs;
mod layered;
mod seen;
mod standing;

use self::seen::Seen;
use super::job::StageJob;
use super::outcome::Output;
use crate::error::{Error, Result};
use sealstone_spec::digest::{Algorithm, Digest, Hasher};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How inputs get into the working directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placing {
    /// Copied: the process can see the rest of the machine.
    Copied,
    /// Mounted read-only: the process sees only what is mounted. Of very many, those are copied that lie where the
    /// stage writes, but for large ones.
    Mounted,
}

/// A stage's directory; removed with this value.
#[derive(Debug)]
pub(super) struct Place {
    root: tempfile::TempDir,
    placing: Placing,
    /// What was read, by path relative to the working directory.
    inputs: BTreeMap<String, Given>,
    /// Mounts: source, and path relative to the working directory.
    pub(super) mounts: Vec<(PathBuf, String)>,
    /// Those of them that are directories which lie where others put files.
    trees: Vec<(PathBuf, String)>,
    outputs: Vec<String>,
    /// Whether the directory lies on a file system in layers, once that was asked.
    layered: OnceCell<bool>,
}

/// A file that the stage was given.
#[derive(Debug)]
struct Given {
    digest: Digest,
    size: u64,
    /// Where the stage has it.
    seen: Seen,
}

impl Given {
    /// Whether it lies where the stage could write to it.
    fn is_copied(&self) -> bool {
        matches!(self.seen, Seen::Copied)
    }
}

/// What a stage left behind.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) outputs: Vec<Output>,
    pub(super) missing: Vec<String>,
    pub(super) undeclared: Vec<String>,
    pub(super) violations: Vec<String>,
}

impl Place {
    /// Makes the directory and fills it.
    ///
    /// # Errors
    /// If a path makes no sense, or an input is not what it must be.
    pub(super) fn prepare(job: &StageJob, placing: Placing) -> Result<Place> {
        check_job(job)?;
        let root = tempfile::Builder::new()
            .prefix("stage-")
            .tempdir_in(&job.scratch)
            .map_err(|source| {
                Error::io(
                    format!("making a directory in \"{}\"", job.scratch.display()),
                    source,
                )
            })?;
        let mut place = Place {
            root,
            placing,
            inputs: BTreeMap::new(),
            mounts: Vec::new(),
            trees: Vec::new(),
            outputs: job.outputs.clone(),
            layered: OnceCell::new(),
        };
        for directory in [
            place.work(),
            place.home(),
            place.temporary(),
            place.settings(),
        ] {
            make_directories(&directory)?;
        }
        fs::write(place.canary(), "not for the stage")
            .map_err(|source| Error::io("writing a file that a stage must not read", source))?;
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(job.source_date_epoch);
        place.fill(&job.inputs, time)?;
        for output in &job.outputs {
            let path = place.work().join(output);
            match output.ends_with('/') {
                true => make_directories(&path)?,
                false => make_directories(path.parent().unwrap_or(&place.work()))?,
            }
        }
        Ok(place)
    }

    /// The working directory, on this machine.
    pub(super) fn work(&self) -> PathBuf {
        self.root.path().join("w")
    }

    /// An empty directory for `HOME`.
    pub(super) fn home(&self) -> PathBuf {
        self.root.path().join("home")
    }

    /// An empty directory for `TMPDIR`.
    pub(super) fn temporary(&self) -> PathBuf {
        self.root.path().join("tmp")
    }

    /// Files that a runner makes for a sandbox.
    pub(super) fn settings(&self) -> PathBuf {
        self.root.path().join("settings")
    }

    /// Inputs in directories that a sandbox mounts as a whole. Nothing but these mounts leads a stage there.
    fn gathered(&self) -> PathBuf {
        self.root.path().join("gathered")
    }

    /// Links to inputs that are mounted by themselves, under names that nobody else can replace. No stage is led there.
    fn held(&self) -> PathBuf {
        self.root.path().join("held")
    }

    /// A file that is readable by everybody, and must not be by the stage.
    pub(super) fn canary(&self) -> PathBuf {
        self.root.path().join("canary")
    }

    /// The directory's own name: unlike any other's.
    pub(super) fn name(&self) -> String {
        let name = self.root.path().file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Whatever lies below the root, in files that the stage may write.
    pub(super) fn written_bytes(&self) -> u64 {
        let mut total = 0u64;
        let mut queue = vec![self.work(), self.home(), self.temporary()];
        while let Some(directory) = queue.pop() {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                match entry.metadata() {
                    Ok(metadata) if metadata.is_dir() => queue.push(entry.path()),
                    Ok(metadata) if metadata.is_file() => {
                        total = total.saturating_add(metadata.len())
                    }
                    _ => {}
                }
            }
        }
        let copied = self.inputs.values().filter(|given| given.is_copied());
        total.saturating_sub(copied.map(|given| given.size).sum())
    }

    /// What the stage was given to read.
    pub(super) fn read(&self) -> Vec<Output> {
        let input = |(path, given): (&String, &Given)| Output {
            path: path.clone(),
            digest: given.digest,
            size: given.size,
        };
        self.inputs.iter().map(input).collect()
    }

    /// Reads what the stage left in its working directory.
    pub(super) fn collect(&self) -> Found {
        let mut found = Found::default();
        let work = self.work();
        self.collect_below(&work, "", &mut found);
        for declared in &self.outputs {
            let there = match declared.strip_suffix('/') {
                Some(_) => found
                    .outputs
                    .iter()
                    .any(|output| output.path.starts_with(declared.as_str())),
                None => found.outputs.iter().any(|output| output.path == *declared),
            };
            if !there {
                found.missing.push(declared.clone());
            }
        }
        for (path, given) in self.inputs.iter().filter(|(_, given)| given.is_copied()) {
            let now = open_plain(&work.join(path))
                .and_then(|mut file| digest_of(&mut file, given.digest.algorithm(), None));
            if now.map_or(true, |(now, _)| now != given.digest) {
                found
                    .violations
                    .push(format!("changed its input \"{path}\""));
            }
        }
        self.look_again(&mut found.violations);
        found
    }

    /// What is mounted has to be what was hashed, all the while: else the stage read what nobody has a digest of.
    fn look_again(&self, violations: &mut Vec<String>) {
        for (path, given) in &self.inputs {
            if !given.seen.is_unchanged(&given.digest) {
                violations.push(format!("read \"{path}\", which was changed while it ran"));
            }
        }
        for (source, path) in &self.trees {
            let is_given = |name: &String| self.inputs.contains_key(&format!("{path}/{name}"));
            // One that is gone was told already.
            if files_below(source).is_ok_and(|names| !names.iter().all(is_given)) {
                violations.push(format!(
                    "read \"{path}/\", into which files came while it ran"
                ));
            }
        }
    }

    fn collect_below(&self, directory: &Path, prefix: &str, found: &mut Found) {
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) => {
                found.violations.push(format!(
                    "left the directory \"{prefix}\" unreadable: {error}"
                ));
                return;
            }
        };
        let mut entries: Vec<fs::DirEntry> = entries.flatten().collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let Ok(name) = entry.file_name().into_string() else {
                let name = entry.file_name().to_string_lossy().into_owned();
                found
                    .violations
                    .push(format!("wrote \"{prefix}{name}\", whose name is not UTF-8"));
                continue;
            };
            let path = format!("{prefix}{name}");
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if kind.is_dir() {
                // A mounted directory shows up here as the empty place that it was mounted on.
                if !self.mounts.iter().any(|(_, mounted)| *mounted == path) {
                    self.collect_below(&entry.path(), &format!("{path}/"), found);
                }
                continue;
            }
            if self.inputs.contains_key(&path) {
                continue;
            }
            let declared = self
                .outputs
                .iter()
                .any(|output| match output.ends_with('/') {
                    true => path.starts_with(output.as_str()),
                    false => path == *output,
                });
            if !kind.is_file() {
                found
                    .violations
                    .push(format!("wrote \"{path}\", which is no plain file"));
            } else if !declared {
                found.undeclared.push(path);
            } else {
                match open_plain(&entry.path())
                    .and_then(|mut file| digest_of(&mut file, Algorithm::Sha256, None))
                {
                    Ok((digest, size)) => found.outputs.push(Output { path, digest, size }),
                    Err(error) => found
                        .violations
                        .push(format!("wrote \"{path}\", which cannot be read: {error}")),
                }
            }
        }
    }

    /// Moves outputs to where the job wants them.
    ///
    /// # Errors
    /// If the destination cannot be written.
    pub(super) fn publish(&self, outputs: &[Output], destination: &Path) -> Result<()> {
        for output in outputs {
            let from = self.work().join(&output.path);
            let to = destination.join(&output.path);
            let what = |error| {
                Error::io(
                    format!(
                        "moving the output \"{}\" to \"{}\"",
                        output.path,
                        to.display()
                    ),
                    error,
                )
            };
            make_directories(to.parent().unwrap_or(destination))?;
            let executable = fs::metadata(&from).map_err(what)?.permissions().mode() & 0o111 != 0;
            let mode = if executable { 0o755 } else { 0o644 };
            fs::set_permissions(&from, fs::Permissions::from_mode(mode)).map_err(what)?;
            match fs::rename(&from, &to) {
                Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
                    fs::copy(&from, &to).map_err(what)?;
                }
                result => result.map_err(what)?,
            }
        }
        Ok(())
    }
}

/// Paths of a job must be plain and clear.
fn check_job(job: &StageJob) -> Result<()> {
    if job.argv.first().is_none_or(String::is_empty) {
        return Err(Error::usage(format!(
            "stage \"{}\" has no command",
            job.stage
        )));
    }
    let zero = |text: &String| text.contains('\0');
    if job.argv.iter().any(zero)
        || job
            .env
            .iter()
            .any(|(name, value)| zero(name) || zero(value) || name.contains('='))
    {
        return Err(Error::usage(format!(
            "command or variables of stage \"{}\" hold what none can hold: a zero byte, or \"=\" in a name",
            job.stage
        )));
    }
    let mut paths = BTreeSet::new();
    for path in job
        .inputs
        .iter()
        .map(|input| &input.path)
        .chain(&job.outputs)
    {
        let plain = path.strip_suffix('/').unwrap_or(path);
        let normal = !plain.is_empty()
            && !plain.contains("//")
            && Path::new(plain)
                .components()
                .all(|part| matches!(part, Component::Normal(_)))
            && !plain.split('/').any(|part| part == ".");
        if !normal {
            return Err(Error::usage(format!(
                "\"{path}\" of stage \"{}\" is no path inside its working directory: write it without \"..\" and a leading \"/\"",
                job.stage
            )));
        }
        if !paths.insert(plain) {
            return Err(Error::usage(format!(
                "stage \"{}\" names \"{plain}\" twice",
                job.stage
            )));
        }
    }
    for needed in [&job.scratch, &job.destination] {
        if !needed.is_dir() {
            return Err(Error::usage(format!(
                "\"{}\" is no directory",
                needed.display()
            )));
        }
    }
    Ok(())
}

fn make_directories(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|source| {
        Error::io(
            format!("making the directory \"{}\"", path.display()),
            source,
        )
    })
}

/// Files below a directory, as sorted relative paths. Links are followed to files, and refused to
/// directories: a cycle would have no end.
pub(super) fn files_below(root: &Path) -> Result<BTreeSet<String>> {
    let mut files = BTreeSet::new();
    let mut queue = vec![(root.to_path_buf(), String::new())];
    while let Some((directory, prefix)) = queue.pop() {
        let what = |error| {
            Error::io(
                format!("reading the directory \"{}\"", directory.display()),
                error,
            )
        };
        for entry in fs::read_dir(&directory).map_err(what)? {
            let entry = entry.map_err(what)?;
            let name = entry.file_name().into_string().map_err(|name| {
                Error::usage(format!(
                    "\"{}\" in \"{}\" is not UTF-8",
                    name.to_string_lossy(),
                    directory.display()
                ))
            })?;
            let path = format!("{prefix}{name}");
            let kind = entry.file_type().map_err(what)?;
            if kind.is_dir() {
                queue.push((entry.path(), format!("{path}/")));
            } else if fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_file()) {
                files.insert(path);
            } else {
                return Err(Error::usage(format!(
                    "\"{}\" is neither a file nor a directory, nor a link to a file",
                    entry.path().display()
                )));
            }
        }
    }
    Ok(files)
}

/// Opens a file, and no link or pipe in its place.
fn open_plain(path: &Path) -> std::io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("no plain file"));
    }
    Ok(file)
}

fn digest_of(
    from: &mut File,
    algorithm: Algorithm,
    mut to: Option<&mut File>,
) -> std::io::Result<(Digest, u64)> {
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = vec![0; 1 << 20];
    let mut size = 0;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&buffer[..read]);
        if let Some(to) = &mut to {
            to.write_all(&buffer[..read])?;
        }
        size += read as u64;
    }
    Ok((hasher.finalize(), size))
}

#[cfg(test)]
mod tests;
