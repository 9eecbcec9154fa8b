//! Inputs on their way into a place: looked at, compared with their digests, and put where they stand.
//!
//! Invariant: nothing is mounted or copied whose bytes were not hashed on the way. A sandbox opens what it mounts by its
//! name, and long after that was hashed if there is much to hash: so what has the name then has to be what was hashed, or
//! the stage fails. Where no link can be made, what is renamed away and back goes unseen.

use super::super::job::{Expected, Input};
use super::layered::is_layered;
use super::seen::{Seen, Stamp};
use super::standing::{Arrangement, LARGE, Standing};
use super::{Given, Place, Placing, digest_of, files_below, make_directories, open_plain};
use crate::error::{Error, Result};
use sealstone_spec::digest::{Algorithm, Digest};
use std::cmp::Reverse;
use std::fs::{self, File, FileTimes, OpenOptions};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A file that the stage is to be given.
struct Wanted {
    path: String,
    source: PathBuf,
    expected: Option<Digest>,
    /// Its bytes, when it was looked at.
    size: u64,
}

/// Digits of the name of a file that is held, at most.
const MOST_DIGITS: usize = 6;

impl Place {
    /// Puts inputs where the stage will find them.
    pub(super) fn fill(&mut self, inputs: &[Input], time: SystemTime) -> Result<()> {
        let mut files = Vec::with_capacity(inputs.len());
        for input in inputs {
            self.look_at(input, &mut files)?;
        }
        // Where there are not mounts for all, those that would take longest to copy get them.
        files.sort_by_key(|file| Reverse(file.size));
        self.place_files(&files, time)
    }

    /// Finds the files of an input, and places a directory that is mounted where it lies.
    fn look_at(&mut self, input: &Input, files: &mut Vec<Wanted>) -> Result<()> {
        let path = input.path.trim_end_matches('/').to_owned();
        let metadata = fs::metadata(&input.source).map_err(|source| {
            Error::io(
                format!("opening the input \"{}\"", input.source.display()),
                source,
            )
        })?;
        if metadata.is_dir() {
            self.look_at_tree(input, &path, files)
        } else if metadata.is_file() {
            let expected = match &input.expected {
                Expected::File(digest) => Some(*digest),
                Expected::Recorded => None,
                Expected::Tree(_) => {
                    return Err(Error::halted(format!(
                        "input \"{path}\" is a file where a directory is due"
                    ))
                    .detail(serde_json::json!({ "path": path })));
                }
            };
            files.push(Wanted {
                path,
                source: input.source.clone(),
                expected,
                size: metadata.len(),
            });
            Ok(())
        } else {
            Err(Error::usage(format!(
                "input \"{path}\" is neither file nor directory"
            )))
        }
    }

    fn look_at_tree(&mut self, input: &Input, path: &str, files: &mut Vec<Wanted>) -> Result<()> {
        let names = files_below(&input.source)?;
        match &input.expected {
            Expected::File(_) => {
                return Err(Error::halted(format!(
                    "input \"{path}\" is a directory where a file is due"
                ))
                .detail(serde_json::json!({ "path": path })));
            }
            Expected::Tree(due) => {
                if let Some(extra) = names.iter().find(|name| !due.contains_key(*name)) {
                    return Err(Error::halted(format!(
                        "input \"{path}\" has the file \"{extra}\", which is not declared"
                    ))
                    .detail(serde_json::json!({"path": format!("{path}/{extra}")})));
                }
                if let Some(absent) = due.keys().find(|name| !names.contains(*name)) {
                    return Err(Error::halted(format!(
                        "input \"{path}\" lacks the file \"{absent}\""
                    ))
                    .detail(serde_json::json!({"path": format!("{path}/{absent}")})));
                }
            }
            Expected::Recorded => {}
        }
        if self.placing == Placing::Copied {
            make_directories(&self.work().join(path))?;
        }
        let found = names.into_iter().map(|name| {
            let source = input.source.join(&name);
            Wanted {
                path: format!("{path}/{name}"),
                // A file that is gone meanwhile is missed where it is read.
                size: fs::metadata(&source).map_or(0, |metadata| metadata.len()),
                source,
                expected: match &input.expected {
                    Expected::Tree(due) => due.get(&name).copied(),
                    _ => None,
                },
            }
        });
        // An output inside a mounted directory needs the directory to be writable: then its files stand for
        // themselves, as they do where they are copied.
        let inside = format!("{path}/");
        let is_open = self
            .outputs
            .iter()
            .any(|output| output.starts_with(&inside));
        if is_open || self.placing == Placing::Copied {
            files.extend(found);
            return Ok(());
        }
        for file in found {
            self.hash_in_place(&file)?;
        }
        let tree = (input.source.clone(), path.to_owned());
        self.trees.push(tree.clone());
        self.mounts.push(tree);
        Ok(())
    }

    /// Places files, each where it stands best.
    fn place_files(&mut self, files: &[Wanted], time: SystemTime) -> Result<()> {
        let mut arrangement = match self.placing {
            Placing::Copied => Arrangement::copied(),
            Placing::Mounted => {
                let lengths: Vec<(&str, usize)> = files
                    .iter()
                    .map(|file| (file.path.as_str(), self.source_bytes(file)))
                    .collect();
                // What the stage writes, and directories that are mounted already.
                let outputs = self.outputs.iter().map(|path| path.trim_end_matches('/'));
                let mounted = self.mounts.iter().map(|(_, path)| path.as_str());
                let taken: Vec<&str> = outputs.chain(mounted).collect();
                let staging = self.gathered().as_os_str().len() + 2;
                let sources = self.mounts.iter();
                let sources = sources.map(|(source, _)| source.as_os_str().len());
                Arrangement::of(&lengths, &taken, staging).beside(sources)
            }
        };
        // Mounts in directories that are mounted as a whole: those come first.
        let mut inner = Vec::new();
        for file in files {
            let mut standing = arrangement.standing(&file.path);
            let source_bytes = self.source_bytes(file);
            if standing == Standing::Copied && arrangement.affords(file.size, source_bytes) {
                standing = Standing::Mounted;
            }
            match standing {
                Standing::Gathered => {
                    if self.gather(file, &mut arrangement, time)? {
                        inner.push((file.source.clone(), file.path.clone()));
                    }
                }
                Standing::Copied => {
                    let target = self.work().join(&file.path);
                    make_directories(target.parent().unwrap_or(&self.work()))?;
                    let found = copy(&file.source, &target, algorithm_of(file), time)?;
                    self.give(file, found, Seen::Copied)?;
                }
                Standing::Mounted => {
                    let source = self.hold(file)?;
                    self.mounts.push((source, file.path.clone()));
                }
            }
        }
        for directory in arrangement.gathered {
            self.mounts
                .push((self.gathered().join(&directory), directory));
        }
        self.mounts.extend(inner);
        Ok(())
    }

    /// What a mount of its own adds to the sources of mounts: the path and a zero byte.
    fn source_bytes(&self, file: &Wanted) -> usize {
        let held = self.held().as_os_str().len() + 1 + MOST_DIGITS;
        held.max(file.source.as_os_str().len()) + 1
    }

    /// Gives a file another name, which nobody else can give away, and tells it: by that it is mounted. Its own name
    /// where no link can be made; whoever replaces it then fails the stage.
    fn hold(&mut self, file: &Wanted) -> Result<PathBuf> {
        make_directories(&self.held())?;
        let name = self.held().join(self.mounts.len().to_string());
        // What a link leads to, since that is mounted: nobody leads it elsewhere and back meanwhile.
        let failed = |error| Error::io(reading(&file.source), error);
        let source = fs::canonicalize(&file.source).map_err(failed)?;
        if let Some(link) = self.linked(file, &source, &name) {
            self.hash_named(file, link, name.clone())?;
            return Ok(name);
        }
        let opened = File::open(&source).map_err(failed)?;
        self.hash_named(file, opened, source.clone())?;
        Ok(source)
    }

    /// Links a file into the place and opens it there, as [`linked`] does; not what is large where a link is a copy.
    fn linked(&self, file: &Wanted, source: &Path, target: &Path) -> Option<File> {
        let is_copied = || *self.layered.get_or_init(|| is_layered(self.root.path()));
        if file.size >= LARGE && is_copied() {
            return None;
        }
        linked(source, target)
    }

    /// Puts a file into a directory that is mounted as a whole. Whether it has to be mounted there by itself: what is
    /// large is not copied where no link can be made, as from another file system, while there is room for mounts.
    ///
    /// The directory of the source is never mounted in its stead, though nothing were copied then: whatever is put there
    /// while the stage runs would be read without having been hashed, and runc leaves writable what is mounted below a
    /// directory that it mounts read-only.
    fn gather(
        &mut self,
        file: &Wanted,
        arrangement: &mut Arrangement,
        time: SystemTime,
    ) -> Result<bool> {
        let target = self.gathered().join(&file.path);
        make_directories(target.parent().unwrap_or(&self.gathered()))?;
        if let Some(link) = self.linked(file, &file.source, &target) {
            self.hash_named(file, link, target)?;
            return Ok(false);
        }
        if arrangement.affords(file.size, self.source_bytes(file)) {
            // The sandbox cannot make what it mounts on in a directory that is read-only already.
            File::create_new(&target).map_err(|error| {
                let what = format!("making a place for the input \"{}\"", file.source.display());
                Error::io(what, error)
            })?;
            self.hash_in_place(file)?;
            return Ok(true);
        }
        let found = copy(&file.source, &target, algorithm_of(file), time)?;
        self.give(file, found, Seen::Apart)?;
        Ok(false)
    }

    /// Hashes a file that is mounted where it lies.
    fn hash_in_place(&mut self, file: &Wanted) -> Result<()> {
        let opened = File::open(&file.source);
        let opened = opened.map_err(|error| Error::io(reading(&file.source), error))?;
        self.hash_named(file, opened, file.source.clone())
    }

    /// Hashes a file that the stage sees by a name. Of a link that is what it will see, whatever takes the source's place
    /// meanwhile.
    fn hash_named(&mut self, file: &Wanted, mut opened: File, name: PathBuf) -> Result<()> {
        let failed = |error| Error::io(reading(&file.source), error);
        let stamp = Stamp::of(&opened).map_err(failed)?;
        let found = digest_of(&mut opened, algorithm_of(file), None).map_err(failed)?;
        self.give(file, found, Seen::Named(name, stamp))
    }

    /// Compares what was found of a file with what is due, and writes down that the stage is given it.
    fn give(&mut self, file: &Wanted, found: (Digest, u64), seen: Seen) -> Result<()> {
        let (digest, size) = found;
        let path = &file.path;
        if let Some(expected) = &file.expected
            && digest != *expected
        {
            return Err(Error::halted(format!(
                "input \"{path}\" has digest {digest} where {expected} is due: nothing was run"
            ))
            .detail(serde_json::json!({"path": path, "expected": expected, "actual": digest})));
        }
        let given = Given { digest, size, seen };
        self.inputs.insert(path.clone(), given);
        Ok(())
    }
}

fn reading(source: &Path) -> String {
    format!("reading the input \"{}\"", source.display())
}

/// The algorithm in which a file is hashed: that of the digest which is due.
fn algorithm_of(file: &Wanted) -> Algorithm {
    file.expected
        .map_or(Algorithm::Sha256, |digest| digest.algorithm())
}

/// Links a file to another place and opens it there. `None` if it cannot be: the places are on two file systems, the
/// file is somebody else's, or no file but a link.
fn linked(source: &Path, target: &Path) -> Option<File> {
    fs::hard_link(source, target).ok()?;
    let opened = open_plain(target).ok();
    if opened.is_none() {
        let _ = fs::remove_file(target);
    }
    opened
}

/// Copies a file to a place where none is, with a time that is the same everywhere, and tells what was copied.
fn copy(
    source: &Path,
    target: &Path,
    algorithm: Algorithm,
    time: SystemTime,
) -> Result<(Digest, u64)> {
    let unread = |error| Error::io(reading(source), error);
    let mut from = File::open(source).map_err(unread)?;
    let metadata = from.metadata().map_err(unread)?;
    let executable = metadata.permissions().mode() & 0o111 != 0;
    let mode = if executable { 0o755 } else { 0o644 };
    let failed = |error| Error::io(format!("copying the input \"{}\"", source.display()), error);
    let mut to = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(target)
        .map_err(failed)?;
    let copied = digest_of(&mut from, algorithm, Some(&mut to)).map_err(failed)?;
    let times = FileTimes::new().set_modified(time).set_accessed(time);
    to.set_times(times).map_err(failed)?;
    Ok(copied)
}
