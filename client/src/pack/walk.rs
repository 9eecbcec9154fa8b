//! The files of a directory that go into a bundle, found the same on every machine.
//!
//! Names are composed (NFC), because macOS hands out the decomposed form of what Linux stores.
//! Invariant: every file that is found is a plain one inside the root, under a name that a bundle can
//! hold; what else there is is refused by name, or told where nothing is packed, and never left out in silence.

use super::glob::Glob;
use crate::error::{Error, Result};
use sealstone_spec::bundle::{BundleError, BundlePath, FileKind, check_paths, colliding_paths};
use sealstone_spec::digest::Digest;
use sealstone_spec::role::BundleRole;
use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use unicode_normalization::UnicodeNormalization as _;

/// The file with patterns of what to leave out.
pub(super) const IGNORE_FILE: &str = ".sealstoneignore";
/// What is never packed: version control and signatures, which speak of the bundle from outside.
const ALWAYS_IGNORED: [&str; 10] = [
    "/.git",
    "/.gitignore",
    "/.gitattributes",
    "/.github",
    "/.sealstone",
    "/.sealstoneignore",
    "model.sig",
    "*.sigstore",
    "*.sigstore.json",
    "/claims.jsonl",
];
/// Deepest nesting of directories.
const MAX_DEPTH: usize = 64;

/// A file to pack.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) path: BundlePath,
    pub(super) source: PathBuf,
    pub(super) size: u64,
    pub(super) executable: bool,
    /// What is known of it beside its name, where a recipe knows more.
    pub(super) known: Option<Known>,
}

/// What a recipe and its lock know of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) kind: FileKind,
    pub(super) role: BundleRole,
    /// What its bytes must be.
    pub(super) digest: Option<Digest>,
}

/// What no bundle can hold, by path, and what it is. A path that is none in a bundle is escaped.
pub(crate) type Others = Vec<(String, &'static str)>;

/// What a walk found.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// Sorted by path.
    pub(super) files: Vec<Found>,
    /// Paths that patterns left out; a directory stands for all that lies in it.
    pub(super) ignored: Vec<String>,
    /// Found by [`walk_all`] alone.
    pub(super) others: Others,
}

struct Rule {
    glob: Glob,
    keeps: bool,
}

/// What becomes of symbolic links, and of what else no bundle can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Links {
    Refused,
    /// Links are what they lead to; other things are refused.
    Followed,
    Told,
}

/// A file that is told for its name.
const ODD_NAME: &str = "a file whose name no bundle can hold";

struct Walk<'a> {
    root: &'a Path,
    canonical_root: PathBuf,
    links: Links,
    rules: Vec<Rule>,
    tree: Tree,
    /// Directories above the current one, by their real paths: a link to one of them is a cycle.
    above: Vec<PathBuf>,
}

/// Finds the files below `root`, without what its own patterns and `ignore` leave out. With `follow`, symbolic
/// links are taken as what they lead to, inside the root only.
pub(super) fn walk(root: &Path, follow: bool, ignore: &[String]) -> Result<Tree> {
    let links = match follow {
        true => Links::Followed,
        false => Links::Refused,
    };
    walk_by(root, links, || {
        let mut patterns = own_patterns(root)?;
        patterns.extend_from_slice(ignore);
        Ok(patterns)
    })
}

/// Finds all files below `root` but those that are never packed, whatever its own patterns leave out. A part that they
/// leave out need not be fit to be packed: links, odd names and the like in it are told.
pub(super) fn walk_all(root: &Path) -> Result<Tree> {
    walk_by(root, Links::Told, || Ok(Vec::new()))
}

fn walk_by(
    root: &Path,
    links: Links,
    patterns: impl FnOnce() -> Result<Vec<String>>,
) -> Result<Tree> {
    let canonical_root = fs::canonicalize(root)
        .map_err(|source| Error::io(format!("opening \"{}\"", root.display()), source))?;
    if !canonical_root.is_dir() {
        return Err(Error::usage(format!(
            "\"{}\" is no directory",
            root.display()
        )));
    }
    let mut walk = Walk {
        root,
        above: vec![canonical_root.clone()],
        canonical_root,
        links,
        rules: rules(&patterns()?)?,
        tree: Tree::default(),
    };
    walk.directory(root, "")?;
    let mut tree = walk.tree;
    tree.files.sort_by(|one, two| one.path.cmp(&two.path));
    tree.ignored.sort();
    match links {
        Links::Told => tell_colliding(&mut tree),
        Links::Refused | Links::Followed => check_paths(tree.files.iter().map(|file| &file.path))
            .map_err(|error| Error::usage(error.to_string()))?,
    }
    Ok(tree)
}

/// Makes others of the files that no bundle can hold together. Which of them a bill may list nobody knows here: all of them.
fn tell_colliding(tree: &mut Tree) {
    let paths = tree.files.iter().map(|file| &file.path);
    let colliding: BTreeSet<BundlePath> = colliding_paths(paths).into_iter().cloned().collect();
    tree.files.retain(|file| !colliding.contains(&file.path));
    let what = "a file whose name is another's where case or Unicode form is not kept";
    let told = colliding.iter().map(|path| (path.to_string(), what));
    tree.others.extend(told);
}

fn joined(prefix: &str, name: &str) -> String {
    match prefix {
        "" => name.to_owned(),
        prefix => format!("{prefix}/{name}"),
    }
}

/// A path for people: as it is if a bundle can hold it, else without what a terminal could take for something else.
fn shown(path: &str) -> String {
    match path.parse::<BundlePath>() {
        Ok(_) => path.to_owned(),
        Err(_) => path.escape_debug().to_string(),
    }
}

fn own_patterns(root: &Path) -> Result<Vec<String>> {
    let path = root.join(IGNORE_FILE);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(Error::io(format!("reading \"{}\"", path.display()), source)),
    }
}

fn rules(patterns: &[String]) -> Result<Vec<Rule>> {
    let always = ALWAYS_IGNORED.into_iter();
    let mut rules = Vec::new();
    for line in always.chain(patterns.iter().map(String::as_str)) {
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (keeps, pattern) = match line.strip_prefix('!') {
            Some(pattern) => (true, pattern),
            None => (false, line),
        };
        rules.push(Rule {
            glob: Glob::parse(pattern)?,
            keeps,
        });
    }
    Ok(rules)
}

impl Walk<'_> {
    fn directory(&mut self, directory: &Path, prefix: &str) -> Result<()> {
        let what = || format!("reading the directory \"{}\"", directory.display());
        if self.above.len() > MAX_DEPTH && self.links == Links::Told {
            self.tell(prefix, "a directory that lies too deep for a bundle");
            return Ok(());
        }
        if self.above.len() > MAX_DEPTH {
            return Err(Error::usage(format!(
                "\"{}\" lies deeper than {MAX_DEPTH} directories",
                directory.display()
            )));
        }
        for entry in fs::read_dir(directory).map_err(|source| Error::io(what(), source))? {
            let entry = entry.map_err(|source| Error::io(what(), source))?;
            let source = entry.path();
            let name = match entry.file_name().into_string() {
                Ok(name) => name,
                Err(name) if self.links == Links::Told => {
                    let name = name.as_encoded_bytes().escape_ascii().to_string();
                    let path = joined(&shown(prefix), &name);
                    self.tree.others.push((path, ODD_NAME));
                    continue;
                }
                Err(name) => {
                    return Err(Error::usage(format!(
                        "file name {name:?} in \"{}\" is not UTF-8",
                        directory.display()
                    ))
                    .hint("rename it: not every machine could store it"));
                }
            };
            let name: String = name.nfc().collect();
            self.entry(source, joined(prefix, &name))?;
        }
        Ok(())
    }

    fn entry(&mut self, source: PathBuf, path: String) -> Result<()> {
        let what = || format!("reading \"{}\"", source.display());
        let mut metadata =
            fs::symlink_metadata(&source).map_err(|error| Error::io(what(), error))?;
        // The rules come first: a link that is left out anyway is nobody's problem.
        if self.is_ignored(&path, metadata.is_dir()) {
            self.tree.ignored.push(path);
            return Ok(());
        }
        if metadata.is_symlink() && self.links == Links::Told {
            self.tell(&path, "a symbolic link");
            return Ok(());
        }
        if metadata.is_symlink() {
            metadata = self.target(&source, &path)?;
        }
        if metadata.is_dir() {
            let real = fs::canonicalize(&source).map_err(|error| Error::io(what(), error))?;
            if self.above.contains(&real) {
                return Err(Error::usage(format!(
                    "\"{path}\" leads back to a directory above it"
                )));
            }
            self.above.push(real);
            self.directory(&source, &path)?;
            self.above.pop();
            return Ok(());
        }
        if !metadata.is_file() && self.links == Links::Told {
            self.tell(&path, "neither a file nor a directory");
            return Ok(());
        }
        if !metadata.is_file() {
            return Err(
                Error::usage(format!("\"{path}\" is neither a file nor a directory")).hint(
                    format!("remove it, or leave it out with a line /{path} in {IGNORE_FILE}"),
                ),
            );
        }
        let parsed: Result<BundlePath, BundleError> = path.parse();
        let path = match parsed {
            Ok(path) => path,
            Err(_) if self.links == Links::Told => {
                self.tell(&path, ODD_NAME);
                return Ok(());
            }
            Err(error) => return Err(Error::usage(error.to_string())),
        };
        self.tree.files.push(Found {
            path,
            source,
            size: metadata.len(),
            executable: metadata.permissions().mode() & 0o100 != 0,
            known: None,
        });
        Ok(())
    }

    fn tell(&mut self, path: &str, what: &'static str) {
        self.tree.others.push((shown(path), what));
    }

    /// What a link leads to, if it may be followed.
    fn target(&self, source: &Path, path: &str) -> Result<Metadata> {
        if self.links != Links::Followed {
            return Err(Error::usage(format!("\"{path}\" is a symbolic link"))
                .hint("pack what it leads to with --follow, or leave it out with --ignore"));
        }
        let what = || format!("following the link \"{}\"", source.display());
        let real = fs::canonicalize(source).map_err(|error| Error::io(what(), error))?;
        if !real.starts_with(&self.canonical_root) {
            return Err(Error::usage(format!(
                "\"{path}\" is a symbolic link to \"{}\", outside of \"{}\"",
                real.display(),
                self.root.display()
            ))
            .hint("copy the file in: a bundle holds only what lies in its directory"));
        }
        fs::metadata(&real).map_err(|error| Error::io(what(), error))
    }

    fn is_ignored(&self, path: &str, is_directory: bool) -> bool {
        let last = self
            .rules
            .iter()
            .rev()
            .find(|rule| rule.glob.matches(path, is_directory));
        last.is_some_and(|rule| !rule.keeps)
    }
}
