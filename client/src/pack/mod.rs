//! A directory made into a bundle: one raw layer per file, and the same digest on every machine.
//!
//! Source: ModelPack docs/spec.md. What the digest depends on: the files' bytes, their paths, whether
//! their owner may run them, and the [`Description`]. What it does not: times, owners, groups, umask,
//! the order in which a file system lists names, the directory's own name, the number of threads.
//! Two ways lead to a bundle: [`pack`] takes a directory as it lies, [`pack_sealed`] a project with a recipe and
//! its lock, of which it takes what the lock names and nothing that differs from it.
//! Invariant: the bytes that are hashed are the bytes that are stored; they are read once.

mod document;
mod glob;
mod kind;
mod roles;
mod sealed;
mod walk;

pub use kind::KindRule;
pub use sealed::{Referenced, SealOptions, pack_sealed};

use crate::error::{Error, Result};
use crate::layout::{LayoutStore, hash_file};
use crate::stop::Stop;
use sealstone_spec::bundle::{Bundle, BundlePath, FileKind};
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::name::Tag;
use sealstone_spec::role::BundleRole;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use walk::{Found, Others, Tree};

/// What is said about a model beside its files. Everything is optional: what is not given is not
/// written, so that nothing of the machine slips into the digest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// Time of creation, RFC 3339 in UTC.
    pub created: Option<String>,
    /// The model's name.
    pub name: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Its title, for people.
    pub title: Option<String>,
    /// A sentence about it.
    pub description: Option<String>,
    /// Who made it.
    pub authors: Vec<String>,
    /// The organisation that gives it out.
    pub vendor: Option<String>,
    /// The family that it belongs to, such as `llama3`.
    pub family: Option<String>,
    /// Licences, as SPDX expressions.
    pub licenses: Vec<String>,
    /// Where its source is.
    pub source_url: Option<String>,
    /// The revision of that source.
    pub revision: Option<String>,
    /// Architecture, such as `transformer`.
    pub architecture: Option<String>,
    /// Format of the weights; without it, the one that all of them have.
    pub format: Option<String>,
    /// Number of parameters, such as `8b`.
    pub param_size: Option<String>,
    /// Precision, such as `bfloat16`.
    pub precision: Option<String>,
    /// Quantization, such as `awq`.
    pub quantization: Option<String>,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
}

/// How to pack.
#[derive(Clone, Debug)]
pub struct PackOptions {
    /// What is said about the model.
    pub description: Description,
    /// Rules for what files are for; the last that fits wins, then the extension.
    pub kinds: Vec<KindRule>,
    /// Patterns of what to leave out, beside those in `.sealstoneignore`.
    pub ignore: Vec<String>,
    /// Take symbolic links as what they lead to, inside the directory only.
    pub follow: bool,
    /// Hard-link files into the layout instead of copying them. Saves disk; whoever changes the file
    /// in place afterwards breaks the layout, which is found when it is read.
    pub link: bool,
    /// Files that are hashed at once.
    pub threads: usize,
    /// Ends it early, with an error that nobody reads: packing runs on threads, and goes on without whoever waits for it.
    pub stop: Stop,
}

impl Default for PackOptions {
    fn default() -> PackOptions {
        PackOptions {
            description: Description::default(),
            kinds: Vec::new(),
            ignore: Vec::new(),
            follow: false,
            link: false,
            threads: 2,
            stop: Stop::default(),
        }
    }
}

/// One file as it went into the bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedFile {
    /// Where it lies in the bundle.
    pub path: BundlePath,
    /// What it is for, in ModelPack's words.
    pub kind: FileKind,
    /// What it is for, where a recipe says more than the kind.
    pub role: Option<BundleRole>,
    /// Digest of its bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
    /// Whether its owner may run it.
    pub executable: bool,
}

/// A bundle that has been packed into a layout.
#[derive(Clone, Debug)]
pub struct Packed {
    /// Its manifest.
    pub manifest: VerifiedManifest,
    /// Its files, in the manifest's order.
    pub files: Vec<PackedFile>,
    /// Paths that were left out; a directory stands for all that lies in it.
    pub ignored: Vec<String>,
    /// Data that the bundle names by digest and does not hold.
    pub referenced: Vec<Referenced>,
}

/// What a caller hears while files are packed; called from several threads.
pub trait PackProgress: Sync {
    /// This many files with this many bytes will be packed.
    fn begin(&self, files: usize, bytes: u64) {
        let _ = (files, bytes);
    }
    /// So many bytes more are done.
    fn advance(&self, bytes: u64) {
        let _ = bytes;
    }
}

/// Says nothing.
impl PackProgress for () {}

/// Packs `directory` into `layout`, under `tag` if there is one. The layout, or the directory that is to be one, is made
/// where there is none, once nothing speaks against the bundle.
///
/// # Errors
/// If the directory holds something that does not belong in a bundle (links, devices, names that
/// some machine could not store), a file changes while it is read, or the layout cannot be written.
/// The layout may hold blobs then, but no manifest names them.
pub fn pack(
    directory: &Path,
    layout: impl AsRef<Path>,
    options: &PackOptions,
    tag: Option<&Tag>,
    progress: &dyn PackProgress,
) -> Result<Packed> {
    let layout = layout.as_ref();
    refuse_layout_inside(directory, layout)?;
    let tree = walk::walk(directory, options.follow, &options.ignore)?;
    refuse_nothing(directory, &tree)?;
    let layout = LayoutStore::open_or_create(layout)?;
    let (manifest, files) = write_bundle(&tree.files, &layout, options, tag, progress)?;
    Ok(Packed {
        manifest,
        files,
        ignored: tree.ignored,
        referenced: Vec::new(),
    })
}

fn refuse_nothing(directory: &Path, tree: &Tree) -> Result<()> {
    match tree.files.is_empty() && tree.others.is_empty() {
        true => Err(Error::usage(format!(
            "\"{}\" holds no files to pack",
            directory.display()
        ))),
        false => Ok(()),
    }
}

/// The files that [`pack`] would take of a directory, hashed and stored nowhere; in the manifest's order.
///
/// # Errors
/// As [`pack`] for the directory.
pub(crate) fn hash_packed(directory: &Path) -> Result<Vec<PackedFile>> {
    hash_files(directory, &walk::walk(directory, false, &[])?)
}

/// The same, and also what the directory's own patterns leave out: whoever fills it wrote them. Beside the files, what
/// no bundle can hold, by path, and what it is.
///
/// # Errors
/// As [`pack`] for the directory, but for what no bundle can hold.
pub(crate) fn hash_all(directory: &Path) -> Result<(Vec<PackedFile>, Others)> {
    let tree = walk::walk_all(directory)?;
    let files = hash_files(directory, &tree)?;
    Ok((files, tree.others))
}

fn hash_files(directory: &Path, tree: &Tree) -> Result<Vec<PackedFile>> {
    refuse_nothing(directory, tree)?;
    let options = PackOptions::default();
    let hash = |found: &Found| {
        read_file(found, &options, |file| {
            hash_file(file, Algorithm::Sha256).map_err(|source| failed(found, source))
        })
    };
    each_file(&tree.files, options.threads, &hash)
}

/// Stores files and writes the bundle of them.
fn write_bundle(
    found: &[Found],
    layout: &LayoutStore,
    options: &PackOptions,
    tag: Option<&Tag>,
    progress: &dyn PackProgress,
) -> Result<(VerifiedManifest, Vec<PackedFile>)> {
    progress.begin(found.len(), found.iter().map(|file| file.size).sum());
    let store = |file: &Found| store_file(file, layout, options, progress);
    let files = each_file(found, options.threads, &store)?;
    let config = document::config(&options.description, &files);
    let manifest = document::manifest(&options.description, &config, &files)?;
    // What is written must be readable by the rules that everyone else reads it by.
    Bundle::read(&manifest).map_err(|error| Error::usage(error.to_string()))?;
    options
        .stop
        .check()
        .map_err(|source| Error::io("packing", source))?;
    layout.write_blob(&Digest::sha256(&config), &config)?;
    layout.write_manifest(&manifest, tag)?;
    Ok((manifest, files))
}

fn refuse_layout_inside(directory: &Path, layout: &Path) -> Result<()> {
    let opening =
        |path: &Path, source| Error::io(format!("opening \"{}\"", path.display()), source);
    let packed = fs::canonicalize(directory).map_err(|source| opening(directory, source))?;
    let written = real_place(layout).map_err(|source| opening(layout, source))?;
    if written.starts_with(packed) {
        return Err(Error::usage(format!(
            "the layout \"{}\" lies inside the directory that is packed",
            layout.display()
        ))
        .hint("write it beside the directory: the next pack would pack the bundle itself"));
    }
    Ok(())
}

/// Where a path leads that need not be there yet: made to find that out, it would be there for the next pack.
fn real_place(path: &Path) -> io::Result<PathBuf> {
    let mut place = PathBuf::new();
    for component in std::path::absolute(path)?.components() {
        if component == Component::ParentDir {
            place.pop();
            continue;
        }
        place.push(component);
        // Link by link, so that what stands before a ".." is no link any more.
        if let Ok(real) = fs::canonicalize(&place) {
            place = real;
        }
    }
    Ok(place)
}

/// Takes every file, several at once, the largest first so that none is left alone at the end; in the order of layers.
fn each_file(
    found: &[Found],
    threads: usize,
    take: &(dyn Fn(&Found) -> Result<PackedFile> + Sync),
) -> Result<Vec<PackedFile>> {
    let mut queue: Vec<&Found> = found.iter().collect();
    queue.sort_by_key(|file| file.size);
    let queue = Mutex::new(queue);
    let done = Mutex::new(Vec::with_capacity(found.len()));
    let failed = AtomicBool::new(false);
    let next = || {
        queue
            .lock()
            .expect("no thread panics while it holds the queue")
            .pop()
    };
    let work = || -> Result<()> {
        while !failed.load(Ordering::Relaxed)
            && let Some(file) = next()
        {
            let taken = take(file).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
            done.lock()
                .expect("no thread panics while it holds the list")
                .push(taken);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        let mut outcome = Ok(());
        for worker in workers {
            let ended = worker
                .join()
                .unwrap_or_else(|_| Err(Error::other("a thread that packs files panicked")));
            outcome = outcome.and(ended);
        }
        outcome
    })?;
    let mut files = done
        .into_inner()
        .expect("no thread panics while it holds the list");
    // Weights first, because whoever streams a bundle wants them first.
    files.sort_by(|one, two| (one.kind, &one.path).cmp(&(two.kind, &two.path)));
    Ok(files)
}

struct Counted<'a> {
    file: &'a File,
    progress: &'a dyn PackProgress,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.progress.advance(count as u64);
        Ok(count)
    }
}

fn store_file(
    found: &Found,
    layout: &LayoutStore,
    options: &PackOptions,
    progress: &dyn PackProgress,
) -> Result<PackedFile> {
    read_file(found, options, |file| {
        let mut content = options.stop.reading(Counted { file, progress });
        if options.link {
            let source = &found.source;
            let linked = layout.link_blob(source, file, &mut content, Algorithm::Sha256)?;
            if let Some(stored) = linked {
                return Ok(stored);
            }
        }
        let mut writer = layout.begin_blob(Algorithm::Sha256)?;
        writer
            .copy_from(&mut content)
            .map_err(|source| failed(found, source))?;
        writer.seal()
    })
}

fn failed(found: &Found, source: io::Error) -> Error {
    Error::io(format!("packing \"{}\"", found.path), source)
}

/// Reads one file with `take`, which returns its digest and size; refused if it changes meanwhile.
fn read_file(
    found: &Found,
    options: &PackOptions,
    take: impl FnOnce(&File) -> Result<(Digest, u64)>,
) -> Result<PackedFile> {
    let failed = |source: io::Error| failed(found, source);
    let changed = || {
        Error::conflict(format!("\"{}\" changed while it was read", found.path))
            .hint("pack when nothing writes into the directory any more")
    };
    // Between the walk and here, the name may have become a link or a pipe.
    let flags = if options.follow { 0 } else { libc::O_NOFOLLOW };
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags | libc::O_NONBLOCK)
        .open(&found.source)
        .map_err(failed)?;
    let before = file.metadata().map_err(failed)?;
    if !before.is_file() || before.len() != found.size {
        return Err(changed());
    }
    let (digest, size) = take(&file)?;
    let after = file.metadata().map_err(failed)?;
    let stamp = |metadata: &fs::Metadata| (metadata.len(), metadata.mtime(), metadata.mtime_nsec());
    if size != found.size || stamp(&before) != stamp(&after) {
        return Err(changed());
    }
    let known = found.known;
    if let Some(due) = known.and_then(|known| known.digest)
        && due != digest
    {
        return Err(changed());
    }
    let path = found.path.as_str();
    let kind = kind::kind_by_rule(path, &options.kinds)
        .or(known.map(|known| known.kind))
        .unwrap_or_else(|| kind::kind_by_name(path));
    Ok(PackedFile {
        path: found.path.clone(),
        kind,
        role: known.map(|known| known.role),
        digest,
        size,
        executable: found.executable,
    })
}

#[cfg(test)]
mod tests;
