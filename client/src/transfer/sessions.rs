//! Unfinished uploads, remembered across runs of this program: where the registry holds the session.
//!
//! One small file for each blob, in the user's cache directory, locked while a process uploads it.
//! Invariant: what stands here is a hint. How much the registry has is asked of the registry, and
//! the digest decides at the end, so a wrong or foreign file costs time at most.

use sealstone_spec::digest::Digest;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use url::Url;

/// The directory of remembered uploads.
#[derive(Clone, Debug)]
pub struct Sessions {
    directory: Option<PathBuf>,
}

#[derive(Serialize, Deserialize)]
struct Remembered {
    place: String,
    digest: Digest,
    location: String,
}

/// The right to upload one blob to one place, among the processes of this machine.
#[derive(Debug)]
pub(crate) struct Claim {
    path: PathBuf,
    file: File,
    place: String,
    digest: Digest,
    /// Where an earlier run left off.
    pub(crate) location: Option<Url>,
}

impl Sessions {
    /// Remembers nothing.
    pub fn none() -> Sessions {
        Sessions { directory: None }
    }

    /// Remembers in this directory, which is made when it is needed.
    pub fn in_directory(directory: impl Into<PathBuf>) -> Sessions {
        Sessions {
            directory: Some(directory.into()),
        }
    }

    /// Remembers in the user's cache: `$XDG_CACHE_HOME/sealstone/uploads`, else below `~/.cache`.
    pub fn in_user_cache() -> Sessions {
        Sessions {
            directory: crate::cache::of_user().map(|cache| cache.join("uploads")),
        }
    }

    /// Claims a blob. `None` if nothing is remembered here, or another process uploads it now: it is
    /// then uploaded in a session of its own.
    pub(crate) fn claim(&self, place: &str, digest: &Digest) -> Option<Claim> {
        let directory = self.directory.as_ref()?;
        create_private_directory(directory).ok()?;
        let name = Digest::sha256(format!("{place}\n{digest}").as_bytes()).hex();
        let path = directory.join(format!("{name}.json"));
        let mut file = open_private(&path).ok()?;
        file.try_lock().ok()?;
        let mut text = String::new();
        (&mut file).take(64 * 1024).read_to_string(&mut text).ok();
        // A file that was cut short by a crash is as good as none.
        let location = serde_json::from_str::<Remembered>(&text)
            .ok()
            .filter(|found| found.place == place && found.digest == *digest)
            .and_then(|found| Url::parse(&found.location).ok());
        Some(Claim {
            path,
            file,
            place: place.to_owned(),
            digest: *digest,
            location,
        })
    }
}

impl Claim {
    /// Remembers where the session is now.
    pub(crate) fn remember(&mut self, location: &Url) {
        let remembered = Remembered {
            place: self.place.clone(),
            digest: self.digest,
            location: location.to_string(),
        };
        let mut write = || -> std::io::Result<()> {
            let text = serde_json::to_vec(&remembered)?;
            self.file.rewind()?;
            self.file.set_len(0)?;
            self.file.write_all(&text)
        };
        if let Err(error) = write() {
            tracing::debug!(%error, "an upload cannot be remembered");
        }
    }

    /// The upload is done, or its session is gone.
    pub(crate) fn forget(self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn open_private(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

fn create_private_directory(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_upload_is_remembered_until_it_is_done() {
        let directory = tempfile::tempdir().unwrap();
        let sessions = Sessions::in_directory(directory.path().join("a/b"));
        let digest = Digest::sha256(b"x");
        let location = Url::parse("http://h.example/u/1?_state=x").unwrap();

        let mut claim = sessions.claim("h.example/r", &digest).unwrap();
        assert_eq!(claim.location, None);
        claim.remember(
            &Url::parse("http://h.example/a/much/longer/address/than/the/second/one").unwrap(),
        );
        claim.remember(&location);
        assert!(
            sessions.claim("h.example/r", &digest).is_none(),
            "it is locked"
        );
        assert_eq!(
            sessions.claim("h.example/other", &digest).unwrap().location,
            None
        );
        drop(claim);

        let claim = sessions.claim("h.example/r", &digest).unwrap();
        assert_eq!(claim.location, Some(location));
        claim.forget();
        assert_eq!(
            sessions.claim("h.example/r", &digest).unwrap().location,
            None
        );
    }

    #[test]
    fn a_damaged_file_is_as_good_as_none() {
        let directory = tempfile::tempdir().unwrap();
        let sessions = Sessions::in_directory(directory.path());
        let digest = Digest::sha256(b"x");
        let claim = sessions.claim("p", &digest).unwrap();
        fs::write(&claim.path, "{\"place\":\"p\",").unwrap();
        drop(claim);
        assert_eq!(sessions.claim("p", &digest).unwrap().location, None);
    }
}
