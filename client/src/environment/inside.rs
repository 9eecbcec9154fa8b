//! Names in a root file system, followed as a system that has it for its root would.
//!
//! Invariant: nothing outside of the root is found or read, whatever links say: an image that brings a link to `/etc/shadow`
//! gets its own file of that name, or none.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};

/// Most links that a name may lead through, as in Linux.
const MAX_LINKS: usize = 40;

/// Most bytes of a file: the database of packages of a large system has some ten million.
const MAX_BYTES: u64 = 64 << 20;

/// The text of the file that `path` means in `root`; `None` if it is not there, or no text.
pub(super) fn read(root: &Path, path: &str) -> Option<String> {
    let place = resolve(root, Path::new(path)).ok()?;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(place)
        .ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    let read = file.take(MAX_BYTES + 1).read_to_string(&mut text).ok()?;
    (read as u64 <= MAX_BYTES).then_some(text)
}

/// Where that lies on this machine: below `root`, and no link on the way or at the end.
fn resolve(root: &Path, path: &Path) -> io::Result<PathBuf> {
    follow(root, parts(path), |_, found| found.map(drop))
}

/// Follows names from `root` on, and every link on the way as the system itself would; where that ends. What is no link
/// is shown to `visit`, or why it cannot be looked at, and an error of that ends the way.
pub(super) fn follow(
    root: &Path,
    parts: Vec<OsString>,
    mut visit: impl FnMut(&Path, io::Result<Metadata>) -> io::Result<()>,
) -> io::Result<PathBuf> {
    let mut waiting: VecDeque<OsString> = parts.into();
    let mut place: Vec<OsString> = Vec::new();
    let at = |place: &[OsString]| place.iter().fold(root.to_owned(), |at, part| at.join(part));
    let mut links = 0;
    while let Some(part) = waiting.pop_front() {
        if part == ".." {
            // Above the root is the root.
            place.pop();
            continue;
        }
        place.push(part);
        let here = at(&place);
        let found = fs::symlink_metadata(&here);
        if !found.as_ref().is_ok_and(Metadata::is_symlink) {
            visit(&here, found)?;
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(io::Error::other(format!(
                "\"{}\" leads through more than {MAX_LINKS} links",
                here.display()
            )));
        }
        let to = fs::read_link(&here)?;
        place.pop();
        if to.is_absolute() {
            place.clear();
        }
        for part in self::parts(&to).into_iter().rev() {
            waiting.push_front(part);
        }
    }
    Ok(at(&place))
}

/// The names in a path, and `..` where it goes up.
fn parts(path: &Path) -> Vec<OsString> {
    let part = |component| match component {
        Component::Normal(part) => Some(part.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().filter_map(part).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::symlink;

    /// A root with a file in it, and one beside it that nobody in it may see.
    fn world() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        fs::create_dir_all(root.join("usr/lib")).unwrap();
        fs::create_dir(root.join("etc")).unwrap();
        fs::write(root.join("usr/lib/os-release"), "ID=pinned\n").unwrap();
        fs::write(directory.path().join("secret"), "ID=machine\n").unwrap();
        (directory, root)
    }

    #[test]
    fn links_lead_where_they_would_in_the_system_itself() {
        let (_directory, root) = world();
        for to in [
            "../usr/lib/os-release",
            "/usr/lib/os-release",
            "../../../../usr/lib/os-release",
            "/lib/os-release",
            "../lib/./os-release",
        ] {
            let _ = fs::remove_file(root.join("lib"));
            symlink("/usr/lib", root.join("lib")).unwrap();
            symlink(to, root.join("etc/os-release")).unwrap();
            let found = read(&root, "/etc/os-release");
            assert_eq!(found.as_deref(), Some("ID=pinned\n"), "{to}");
            fs::remove_file(root.join("etc/os-release")).unwrap();
        }
    }

    #[test]
    fn nothing_of_the_machine_is_read() {
        let (directory, root) = world();
        let secret = directory.path().join("secret");
        let above = format!("../..{}", secret.display());
        for to in [
            secret.to_str().unwrap(),
            above.as_str(),
            "../../secret",
            "/proc/self/status",
            "os-release",
            "/usr/lib",
            "/usr/lib/os-release/more",
        ] {
            symlink(to, root.join("etc/os-release")).unwrap();
            assert_eq!(read(&root, "/etc/os-release"), None, "{to}");
            fs::remove_file(root.join("etc/os-release")).unwrap();
        }
        // A link to a directory of the machine, and a name in it.
        symlink(directory.path(), root.join("var")).unwrap();
        assert_eq!(read(&root, "/var/secret"), None);
    }
}
