//! The digest of a directory: that of the listing which `sha256sum` prints of its files.
//!
//! ```sh
//! cd DIR && find . -type f -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum
//! ```
//! Names that programs leave behind ([`LEFT_BEHIND`]) do not count, or running a script would change
//! the code that it is part of.

use crate::digest::{Algorithm, Digest, Hasher};

/// Elements of paths that never count as part of a directory, in a recipe or a bundle.
pub const LEFT_BEHIND: [&str; 9] = [
    ".git",
    ".sealstone",
    "__pycache__",
    ".ipynb_checkpoints",
    ".pytest_cache",
    ".mypy_cache",
    ".ruff_cache",
    ".DS_Store",
    "Thumbs.db",
];

/// Whether a path is something that programs leave behind.
pub fn is_left_behind(path: &str) -> bool {
    path.ends_with(".pyc")
        || path
            .split('/')
            .any(|element| LEFT_BEHIND.contains(&element))
}

/// The digest of a directory with these files: paths within it, and their SHA-256.
///
/// The order in which they come does not matter.
pub fn listing_digest<'a>(files: impl IntoIterator<Item = (&'a str, &'a Digest)>) -> Digest {
    let mut lines: Vec<(&str, &Digest)> = files.into_iter().collect();
    lines.sort_unstable_by_key(|(path, _)| *path);
    let mut hasher = Hasher::new(Algorithm::Sha256);
    for (path, digest) in lines {
        hasher.update(format!("{}  {path}\n", digest.hex()).as_bytes());
    }
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_sha256sum_prints() {
        let (a, b) = (Digest::sha256(b"a"), Digest::sha256(b"b"));
        let printed = format!("{}  a/x\n{}  b\n", a.hex(), b.hex());
        let due = Digest::sha256(printed.as_bytes());
        assert_eq!(listing_digest([("b", &b), ("a/x", &a)]), due);
        assert_ne!(listing_digest([("b", &a), ("a/x", &b)]), due);
    }

    #[test]
    fn what_programs_leave_behind_does_not_count() {
        for path in [
            "src/__pycache__/a.cpython-311.pyc",
            "a.pyc",
            ".git/HEAD",
            "x/.DS_Store",
        ] {
            assert!(is_left_behind(path), "{path}");
        }
        for path in ["src/git", "pyc", "a.py"] {
            assert!(!is_left_behind(path), "{path}");
        }
    }
}
