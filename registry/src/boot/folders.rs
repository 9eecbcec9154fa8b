//! The folders that a server keeps things in: that nobody but its user comes into them, and that it can write them.
//!
//! Owns what was there before this start. What is made from now on is kept private by the umask
//! ([`process::keep_files_private`]).

use crate::config::Config;
use crate::{file, process};
use anyhow::Context as _;
use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

/// Everything that is kept lies in one of these. The data directory itself may be a volume that another owns, or hold
/// what is not ours, so its rights stay those that its owner gave it.
const KEPT: [&str; 5] = ["metadata", "blobs", "uploads", "log", "statements"];

/// The rights of all others.
const OTHERS: u32 = 0o077;

/// Makes the data directory, if there is none, and takes from all others what rights they have to the folders in it: those
/// of servers that did not do so, and those of a backup that was put back without them.
pub(super) fn make_private(directory: &Path) -> anyhow::Result<()> {
    file::make_folder(directory)
        .with_context(|| format!("cannot make the data directory {}", directory.display()))?;
    for name in KEPT {
        let folder = directory.join(name);
        if let Err(error) = take_rights(&folder) {
            tracing::warn!(
                %error,
                "other users can come into {} and may read keys and models: let only the server's user",
                folder.display()
            );
        }
    }
    Ok(())
}

/// Refuses a store that another user keeps: what this one wrote into it, that one's server could not read. Changes nothing.
pub(super) fn check_owner(directory: &Path) -> anyhow::Result<()> {
    let metadata = directory.join("metadata");
    let Ok(kept) = fs::metadata(metadata.join("CURRENT")) else {
        // There is none yet, or what opens it says why it cannot.
        return Ok(());
    };
    if kept.uid() == process::user() || shows_as(&metadata, kept.uid()) {
        return Ok(());
    }
    anyhow::bail!(
        "the store in {} is kept by the user with the number {}, and this is run by {}. If that is the server's user, run it as that one (runuser -u NAME -- sealstone-registry ...; \"getent passwd {}\" says the name), or the server cannot read afterwards what was written. If root or a backup left it so, give it to the server's user: chown -R",
        directory.display(),
        kept.uid(),
        process::user(),
        kept.uid()
    );
}

/// Whether what this process makes in a folder belongs to a user there: some file systems have one for everything.
fn shows_as(folder: &Path, user: u32) -> bool {
    let probe = folder.join(format!(".owner-{}", std::process::id()));
    let made = File::create_new(&probe).and_then(|file| file.metadata());
    let _ = fs::remove_file(&probe);
    made.is_ok_and(|made| made.uid() == user)
}

/// Takes a folder's rights from all others, where it is there and they have any.
fn take_rights(folder: &Path) -> std::io::Result<()> {
    let mode = match fs::metadata(folder) {
        Ok(found) => found.permissions().mode(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if mode & OTHERS == 0 {
        return Ok(());
    }
    // Without the bits for set-ids too: a service's sandbox may forbid to set them again (RestrictSUIDSGID=).
    fs::set_permissions(folder, Permissions::from_mode(mode & 0o700))
}

/// Whether a start could keep what it keeps beside keys outside the data directory. Makes nothing.
pub(super) fn check_keys(config: &Config) -> anyhow::Result<()> {
    if let Some(key) = &config.transparency.key {
        check_folder(key).with_context(|| {
            format!(
                "transparency.key = \"{}\": the last checkpoint is replaced beside the log's key, so the server's user must be able to write there for as long as it runs (in a systemd unit, ReadWritePaths=)",
                key.display()
            )
        })?;
    }
    if let Some(key) = &config.statements.key
        && !key.exists()
    {
        check_folder(key).with_context(|| {
            format!(
                "statements.key = \"{}\": there is no key yet, and none can be made",
                key.display()
            )
        })?;
    }
    Ok(())
}

/// Whether a file can be made under this name, with the folders above it that are missing.
fn check_folder(path: &Path) -> anyhow::Result<()> {
    let folder = path
        .ancestors()
        .map(file::folder)
        .find(|folder| folder.exists())
        .unwrap_or(Path::new("."));
    process::may_write(folder).with_context(|| format!("cannot write in {}", folder.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn what_is_kept_is_closed_and_what_is_not_ours_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        make_private(&data).unwrap();
        assert_eq!(mode(&data), 0o700);

        for (name, before) in [("metadata", 0o755), ("blobs", 0o2775), ("other", 0o755)] {
            fs::create_dir(data.join(name)).unwrap();
            fs::set_permissions(data.join(name), Permissions::from_mode(before)).unwrap();
        }
        fs::set_permissions(&data, Permissions::from_mode(0o750)).unwrap();
        make_private(&data).unwrap();
        assert_eq!(mode(&data.join("metadata")), 0o700);
        assert_eq!(mode(&data.join("blobs")), 0o700);
        assert_eq!(mode(&data.join("other")), 0o755);
        assert_eq!(mode(&data), 0o750);
        assert!(!data.join("uploads").exists());
    }

    #[test]
    fn a_store_of_another_user_is_left_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let metadata = directory.path().join("metadata");
        check_owner(directory.path()).unwrap();
        fs::create_dir(&metadata).unwrap();
        fs::write(metadata.join("CURRENT"), "MANIFEST-1").unwrap();
        check_owner(directory.path()).unwrap();
        // Only root can give files away.
        let given = std::os::unix::fs::chown(metadata.join("CURRENT"), Some(10_001), None);
        if process::user() == 0 {
            given.unwrap();
            let refused = check_owner(directory.path()).unwrap_err().to_string();
            assert!(refused.contains("number 10001"), "{refused}");
            assert_eq!(fs::read_dir(&metadata).unwrap().count(), 1);
        }
    }

    #[test]
    fn keys_are_where_a_start_can_keep_something_beside_them() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let missing = directory.path().join("new/deep/key.pem");
        let mut config = Config::default();
        check_keys(&config).unwrap();
        config.transparency.key = Some(missing.clone());
        config.statements.key = Some(missing.clone());
        check_keys(&config).unwrap();
        assert!(!directory.path().join("new").exists());

        config.statements.key = Some(file.join("key.pem"));
        let refused = format!("{:#}", check_keys(&config).unwrap_err());
        assert!(refused.starts_with("statements.key = "), "{refused}");
        config.transparency.key = Some(file.join("key.pem"));
        let refused = format!("{:#}", check_keys(&config).unwrap_err());
        assert!(refused.starts_with("transparency.key = "), "{refused}");
        // A key that is there is only read.
        config.transparency.key = None;
        config.statements.key = Some(file);
        check_keys(&config).unwrap();
    }
}
