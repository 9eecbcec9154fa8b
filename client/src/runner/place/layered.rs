//! File systems in layers, such as the root of a container: another name for a file of a lower layer is a whole copy of it.
//!
//! Owns: whether a path lies on one. Does not own: what is done then.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// File systems in layers, as the kernel names them.
const LAYERED: [&[u8]; 3] = [b"overlay", b"fuse.fuse-overlayfs", b"aufs"];

/// Whether a directory lies on a file system in layers. Where the kernel does not say, it does not.
pub(super) fn is_layered(directory: &Path) -> bool {
    let Ok(path) = fs::canonicalize(directory) else {
        return false;
    };
    fs::read("/proc/self/mountinfo").is_ok_and(|mounts| is_among(&mounts, &path))
}

/// The same, of what the kernel says of all mounts: `36 35 98:0 /root /place options - type source options`.
fn is_among(mounts: &[u8], path: &Path) -> bool {
    let lines = mounts.split(|byte| *byte == b'\n');
    let holding = lines.filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let place = unescaped(fields.nth(4)?);
        let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
        let depth = place.components().count();
        path.starts_with(&place).then_some((depth, kind))
    });
    // Of those at one place the last lies on top.
    let innermost = holding.max_by_key(|(depth, _)| *depth);
    innermost.is_some_and(|(_, kind)| LAYERED.contains(&kind))
}

/// A path as it is: the kernel writes blanks and backslashes as `\040`.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| *first == b'\\');
        let octal = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                path.push(byte);
                rest = &after[3..];
            }
            None => {
                path.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsStr::from_bytes(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_says_what_a_path_lies_on() {
        let mounts = b"22 1 0:40 / / rw shared:1 - overlay overlay rw,lowerdir=/a\n\
            23 22 8:1 /x /data rw - ext4 /dev/sda1 rw\n\
            24 22 0:41 / /my\\040data rw,nosuid shared:2 master:1 - fuse.fuse-overlayfs none rw\n\
            25 23 8:2 / /data/over rw - xfs /dev/sdb rw\n\
            26 23 0:42 / /data/over rw - overlay overlay rw\n\
            broken\n";
        for (path, layered) in [
            ("/project", true),
            ("/data/in.csv", false),
            ("/database", true),
            ("/my data/in", true),
            ("/data/over/x", true),
        ] {
            assert_eq!(is_among(mounts, Path::new(path)), layered, "{path}");
        }
        assert!(!is_among(b"", Path::new("/x")));
        assert!(!is_layered(Path::new("/none/such")));
    }
}
