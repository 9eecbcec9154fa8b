//! Outputs put in place, whole or not at all.
//!
//! Invariant: at no time does half a file lie under an output's name; what was there before comes back if
//! something fails.

use crate::error::{Error, Result};
use sealstone_spec::recipe::RecipePath;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Moves outputs from where a stage wrote them to their places. Both lie on one file system.
pub(super) fn publish(
    from: &Path,
    to: &Path,
    outputs: &[RecipePath],
    scratch: &Path,
) -> Result<()> {
    let aside = tempfile::Builder::new()
        .prefix("old-")
        .tempdir_in(scratch)
        .map_err(|source| {
            Error::io(
                format!("making a directory in \"{}\"", scratch.display()),
                source,
            )
        })?;
    let mut moved: Vec<(PathBuf, Option<PathBuf>)> = Vec::new();
    for (index, output) in outputs.iter().enumerate() {
        let place = to.join(output.as_str());
        let result = exchange(
            &from.join(output.as_str()),
            &place,
            &aside.path().join(index.to_string()),
        );
        match result {
            Ok(old) => moved.push((place, old)),
            Err(source) => {
                // Back to how it was, as far as the file system lets us.
                for (place, old) in moved.into_iter().rev() {
                    remove(&place);
                    if let Some(old) = old {
                        let _ = fs::rename(old, &place);
                    }
                }
                return Err(Error::io(format!("putting \"{output}\" in place"), source));
            }
        }
    }
    Ok(())
}

fn remove(place: &Path) {
    let _ = match place.is_dir() {
        true => fs::remove_dir_all(place),
        false => fs::remove_file(place),
    };
}

/// Puts `new` at `place`; what was there goes to `aside`, and that path is returned.
fn exchange(new: &Path, place: &Path, aside: &Path) -> std::io::Result<Option<PathBuf>> {
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent)?;
    }
    let old = match place.symlink_metadata() {
        Ok(_) => {
            fs::rename(place, aside)?;
            Some(aside.to_owned())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if let Err(error) = fs::rename(new, place) {
        if let Some(old) = &old {
            let _ = fs::rename(old, place);
        }
        return Err(error);
    }
    Ok(old)
}

/// Writes a file in one rename, after its bytes are on the disk.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |source| Error::io(format!("writing \"{}\"", path.display()), source);
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(failed)?;
    let mut file = tempfile::NamedTempFile::new_in(parent).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(file.path(), mode).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_was_there_comes_back_if_one_output_cannot_be_put_in_place() {
        let root = tempfile::tempdir().unwrap();
        let (from, to) = (root.path().join("from"), root.path().join("to"));
        fs::create_dir_all(from.join("model")).unwrap();
        fs::create_dir_all(to.join("model")).unwrap();
        fs::write(from.join("model/new"), "new").unwrap();
        fs::write(to.join("model/old"), "old").unwrap();
        let outputs: Vec<RecipePath> =
            vec!["model/".parse().unwrap(), "gone.json".parse().unwrap()];
        assert!(publish(&from, &to, &outputs, root.path()).is_err());
        assert_eq!(fs::read_to_string(to.join("model/old")).unwrap(), "old");
        assert!(!to.join("model/new").exists());

        fs::create_dir_all(from.join("model")).unwrap();
        fs::write(from.join("model/new"), "new").unwrap();
        publish(&from, &to, &outputs[..1], root.path()).unwrap();
        assert!(to.join("model/new").exists() && !to.join("model/old").exists());
    }
}
