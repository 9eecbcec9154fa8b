//! Where the files of a sandboxed stage stand: mounted one by one, or in directories that are mounted as a whole.
//!
//! A mount for each file keeps its directory open for what the stage writes beside it, and has an end: bubblewrap takes
//! 9,000 arguments, runc 65,535 bytes of sources, and both take time that grows with the square of the number (2,900
//! files: 15 s). Owns the choice; makes nothing.
//! Invariant: a directory that the stage writes into is never mounted as a whole.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Most mounts of inputs, and most bytes of their sources.
const MOST: Load = Load {
    mounts: 256,
    bytes: 32 << 10,
};

/// The same where large files would be copied else. runc opens two files for a mount: with 480 it still starts where
/// 1,024 may be open, with 512 not.
const MOST_WITH_LARGE: Load = Load {
    mounts: 448,
    bytes: 48 << 10,
};

/// From how many bytes on a file gets a mount of its own rather than be copied. A copy of as many takes a millisecond, and
/// so does bubblewrap for one of a thousand mounts.
pub(super) const LARGE: u64 = 1 << 20;

/// How a file gets to the stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Mounted by itself, read-only.
    Mounted,
    /// Put into a directory that is mounted as a whole, read-only: as a link, and where none can be made as a copy, or
    /// as an empty file on which it is mounted.
    Gathered,
    /// Copied to where the stage may write; compared again when it has ended.
    Copied,
}

/// What stands where.
#[derive(Debug, Default)]
pub(super) struct Arrangement {
    /// Directories that are mounted as a whole; none lies in another.
    pub(super) gathered: BTreeSet<String>,
    /// Whether what lies in none of them is copied.
    copies: bool,
    /// What is mounted so far.
    load: Load,
}

/// What mounts ask of a sandbox.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    mounts: usize,
    bytes: usize,
}

impl Load {
    fn fits(self) -> bool {
        self.is_within(MOST)
    }

    fn is_within(self, most: Load) -> bool {
        self.mounts <= most.mounts && self.bytes <= most.bytes
    }

    fn add(&mut self, bytes: usize) {
        self.mounts += 1;
        self.bytes += bytes;
    }

    fn remove(&mut self, other: Load) {
        self.mounts -= other.mounts;
        self.bytes -= other.bytes;
    }
}

impl Arrangement {
    /// Everything is copied, also what is large.
    pub(super) fn copied() -> Arrangement {
        Arrangement {
            gathered: BTreeSet::new(),
            copies: true,
            load: MOST_WITH_LARGE,
        }
    }

    /// Of `files`, which are paths with the lengths of their sources. Nothing that contains one of `taken`, or lies in
    /// one, is mounted as a whole; the source of what is has `staging` bytes more than its path.
    ///
    /// Every file is mounted by itself where they are few. Else the directories with the most files are gathered, no
    /// more of them than it takes; and if all are not enough, what is left is copied, but for what [`Self::affords`]
    /// mounts after all.
    pub(super) fn of(files: &[(&str, usize)], taken: &[&str], staging: usize) -> Arrangement {
        let mut arrangement = Arrangement::default();
        let mut load = Load::default();
        for (_, bytes) in files {
            load.add(*bytes);
        }
        if load.fits() {
            arrangement.load = load;
            return arrangement;
        }
        let mut directories: BTreeMap<&str, Load> = BTreeMap::new();
        for (path, bytes) in files {
            if let Some(directory) = free_directory(path, taken) {
                directories.entry(directory).or_default().add(*bytes);
            }
        }
        let mut largest: Vec<(&str, Load)> = directories.into_iter().collect();
        largest.sort_by_key(|(_, files)| Reverse(files.mounts));
        let as_one = |directory: &str| staging + directory.len();
        let mut gathered: Vec<&str> = Vec::new();
        for (directory, files) in largest {
            if load.fits() {
                break;
            }
            load.remove(files);
            load.add(as_one(directory));
            gathered.push(directory);
        }
        if !load.fits() {
            arrangement.copies = true;
            load = Load::default();
            let fits = |directory: &&str| {
                load.add(as_one(directory));
                load.fits()
            };
            gathered = gathered.into_iter().take_while(fits).collect();
            // Without the one that did not fit any more.
            load = Load::default();
            for directory in &gathered {
                load.add(as_one(directory));
            }
        }
        arrangement.load = load;
        arrangement.gathered = gathered.into_iter().map(str::to_owned).collect();
        arrangement
    }

    /// Where the file at a path stands.
    pub(super) fn standing(&self, path: &str) -> Standing {
        if directories_of(path).any(|directory| self.gathered.contains(directory)) {
            Standing::Gathered
        } else if self.copies {
            Standing::Copied
        } else {
            Standing::Mounted
        }
    }

    /// Counts mounts that are there beside the files', with sources of so many bytes: they take room as well.
    pub(super) fn beside(mut self, mounts: impl Iterator<Item = usize>) -> Arrangement {
        for bytes in mounts {
            self.load.add(bytes);
        }
        self
    }

    /// Whether a file that would be copied is mounted by itself, with a source of `bytes`: if it is large, and there is
    /// room. Takes that room, so who asks for the largest first copies the least.
    pub(super) fn affords(&mut self, size: u64, bytes: usize) -> bool {
        let mut load = self.load;
        load.add(bytes);
        let affords = size >= LARGE && load.is_within(MOST_WITH_LARGE);
        if affords {
            self.load = load;
        }
        affords
    }
}

/// The directories on the way to a path, the outermost first.
fn directories_of(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(move |(end, _)| &path[..end])
}

/// The outermost directory of a path that has nothing to do with what is taken.
fn free_directory<'a>(path: &'a str, taken: &[&str]) -> Option<&'a str> {
    directories_of(path).find(|directory| {
        !taken
            .iter()
            .any(|other| contains(directory, other) || contains(other, directory))
    })
}

/// Whether a path is a directory or lies in it.
fn contains(directory: &str, path: &str) -> bool {
    path.strip_prefix(directory)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arranged(paths: &[String], taken: &[&str]) -> Arrangement {
        let files: Vec<(&str, usize)> = paths.iter().map(|path| (path.as_str(), 60)).collect();
        Arrangement::of(&files, taken, 40)
    }

    fn many(directory: &str, count: usize) -> Vec<String> {
        (0..count)
            .map(|number| format!("{directory}/{number}"))
            .collect()
    }

    #[test]
    fn few_files_are_mounted_one_by_one() {
        let found = arranged(&many("data", MOST.mounts), &[]);
        assert!(found.gathered.is_empty());
        assert_eq!(found.standing("data/0"), Standing::Mounted);
        // Few, and their sources too long for one message.
        let long: Vec<String> = many("data", 20);
        let files: Vec<(&str, usize)> = long.iter().map(|path| (path.as_str(), 4000)).collect();
        assert_eq!(Arrangement::of(&files, &[], 40).gathered.len(), 1);
    }

    #[test]
    fn no_more_directories_are_gathered_than_it_takes() {
        let mut paths = many("data/train", 3000);
        paths.extend(many("src", 10));
        paths.push("params.json".to_owned());
        let found = arranged(&paths, &["model"]);
        assert_eq!(found.gathered, BTreeSet::from(["data".to_owned()]));
        assert_eq!(found.standing("data/train/7"), Standing::Gathered);
        assert_eq!(found.standing("src/1"), Standing::Mounted);
        assert_eq!(found.standing("params.json"), Standing::Mounted);
        assert_eq!(found.standing("database"), Standing::Mounted);
    }

    #[test]
    fn a_directory_that_is_written_into_stays_open() {
        let mut paths = many("data/train", 3000);
        paths.extend(many("data", 5));
        for taken in ["data/index.csv", "data/other"] {
            let found = arranged(&paths, &[taken]);
            assert_eq!(found.gathered, BTreeSet::from(["data/train".to_owned()]));
            assert_eq!(found.standing("data/1"), Standing::Mounted, "{taken}");
        }
        for taken in ["data", "data/train", "data/train/new"] {
            let found = arranged(&paths, &[taken]);
            assert!(found.gathered.is_empty(), "{taken}");
            assert_eq!(found.standing("data/train/1"), Standing::Copied, "{taken}");
        }
        // A name that begins alike is another one.
        let found = arranged(&paths, &["dat", "data.csv", "data/train2"]);
        assert_eq!(found.gathered, BTreeSet::from(["data/train".to_owned()]));
    }

    #[test]
    fn too_many_directories_are_copied_but_for_the_largest() {
        let mut paths: Vec<String> = Vec::new();
        for class in 0..1000 {
            paths.extend(many(&format!("data/{class:03}"), 2));
        }
        paths.extend(many("data/500", 9));
        let found = arranged(&paths, &["data/index.csv"]);
        assert_eq!(found.gathered.len(), MOST.mounts);
        assert_eq!(found.standing("data/500/1"), Standing::Gathered);
        assert_eq!(found.standing("data/999/1"), Standing::Copied);
        let bytes: usize = found.gathered.iter().map(|path| path.len() + 40).sum();
        assert!(bytes <= MOST.bytes);
        assert_eq!((found.load.mounts, found.load.bytes), (MOST.mounts, bytes));
    }

    #[test]
    fn large_files_are_mounted_before_they_are_copied() {
        // Too many where the stage writes, and one beside them.
        let mut paths = many("data", 300);
        paths.push("base.bin".to_owned());
        let mut found = arranged(&paths, &["data/processed"]);
        assert_eq!(found.standing("base.bin"), Standing::Copied);
        assert!(found.affords(50 << 30, 60));
        assert!(!found.affords(LARGE - 1, 60));
        let others = (0..MOST_WITH_LARGE.mounts).filter(|_| found.affords(LARGE, 60));
        assert_eq!(others.count(), MOST_WITH_LARGE.mounts - 1);

        // Also in a directory that is mounted as a whole, until the sources are too long.
        let mut found = arranged(&many("data", 300), &[]);
        assert_eq!(found.standing("data/7"), Standing::Gathered);
        let shards = (0..300).filter(|_| found.affords(1 << 30, 60));
        assert_eq!(shards.count(), 300);
        assert!(!found.affords(1 << 30, MOST_WITH_LARGE.bytes));

        // Directories that were mounted before leave less room.
        let mut found = arranged(&paths, &["data/processed"]).beside([60; 40].into_iter());
        let others = (0..MOST_WITH_LARGE.mounts).filter(|_| found.affords(LARGE, 60));
        assert_eq!(others.count(), MOST_WITH_LARGE.mounts - 40);

        // And never where the process sees the whole machine.
        assert!(!Arrangement::copied().affords(50 << 30, 60));
    }
}
