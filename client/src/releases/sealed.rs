//! A bundle from which its model can be made again: recipe and lock, read and held against the bundle's files.
//!
//! Invariant: a [`SealedRelease`] does not contradict itself: its lock is that of its recipe, and every file of
//! the lock that the bundle holds has the bytes and the mode that the lock has.

use crate::error::{Error, Result};
use crate::store::Store;
use sealstone_spec::bundle::{Bundle, BundleFile};
use sealstone_spec::digest::Digest;
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::recipe::{
    LOCK_FILE, Lock, LockError, LockedFile, MAX_LOCK_BYTES, MAX_RECIPE_BYTES, RECIPE_FILE, Recipe,
};
use sealstone_spec::role::ANNOTATION_BASELINE;
use serde_json::json;
use std::collections::BTreeMap;

/// A bundle with recipe and lock.
#[derive(Clone, Debug)]
pub struct SealedRelease {
    /// Its manifest's digest.
    pub digest: Digest,
    /// Its files.
    pub bundle: Bundle,
    /// Its recipe.
    pub recipe: Recipe,
    /// Its lock.
    pub lock: Lock,
    /// The release that it names as the one before it.
    pub baseline: Option<Digest>,
}

impl SealedRelease {
    /// Reads recipe and lock of a bundle.
    ///
    /// # Errors
    /// [`Outcome::NotFound`](crate::Outcome::NotFound) if it has none,
    /// [`Outcome::Halted`](crate::Outcome::Halted) if they contradict each other or the bundle's files. A lock of another
    /// version contradicts nothing; see [`is_of_another_version`].
    pub async fn read(store: &dyn Store, manifest: &VerifiedManifest) -> Result<SealedRelease> {
        let digest = *manifest.digest();
        let bundle = Bundle::read(manifest)
            .map_err(|error| Error::usage(format!("{digest} is no bundle")).source(error))?;
        let lock = file_bytes(store, manifest, &bundle, LOCK_FILE, MAX_LOCK_BYTES).await?;
        let recipe = file_bytes(store, manifest, &bundle, RECIPE_FILE, MAX_RECIPE_BYTES).await?;
        let (Some(lock), Some(recipe)) = (lock, recipe) else {
            return Err(Error::not_found(format!(
                "{digest} has no {RECIPE_FILE} with a {LOCK_FILE}"
            ))
            .hint("pack the project that makes the model: sealstone run, then sealstone pack"));
        };
        let halted = |name: &str, problem: String| {
            Error::halted(format!("\"{name}\" of {digest} cannot be used: {problem}"))
        };
        let lock = Lock::parse(&lock).map_err(|error| unread(&digest, &error))?;
        let recipe = String::from_utf8(recipe)
            .map_err(|_| halted(RECIPE_FILE, "it is not UTF-8".into()))
            .and_then(|text| {
                Recipe::parse(&text).map_err(|error| halted(RECIPE_FILE, error.to_string()))
            })?;
        if let Some(first) = lock.disagreements(&recipe).first() {
            return Err(halted(LOCK_FILE, first.clone()));
        }
        let release = SealedRelease {
            digest,
            bundle,
            recipe,
            lock,
            baseline: baseline_of(manifest)?,
        };
        release.check_files()?;
        Ok(release)
    }

    fn check_files(&self) -> Result<()> {
        let held = self.by_path();
        for file in &self.lock.files {
            let Some(held) = held.get(file.path.as_str()) else {
                continue;
            };
            if (held.digest, held.executable) != (file.digest, file.executable) {
                return Err(Error::halted(format!(
                    "\"{}\" of {} is not what its {LOCK_FILE} says: expected {}, the bundle has {}",
                    file.path, self.digest, file.digest, held.digest
                )));
            }
        }
        Ok(())
    }

    /// The bundle's file at a path.
    pub fn file(&self, path: &str) -> Option<&BundleFile> {
        let mut files = self.bundle.files().iter();
        files.find(|file| file.path.as_str() == path)
    }

    fn by_path(&self) -> BTreeMap<&str, &BundleFile> {
        let files = self.bundle.files().iter();
        files.map(|file| (file.path.as_str(), file)).collect()
    }

    /// Files of the lock that the bundle does not hold.
    pub fn absent(&self) -> Vec<&LockedFile> {
        let held = self.by_path();
        let files = self.lock.files.iter();
        files
            .filter(|file| !held.contains_key(file.path.as_str()))
            .collect()
    }

    /// How people call it: `name:version~three-words`.
    pub fn name(&self) -> String {
        let version = self.recipe.model_version();
        let version = version.map(|version| format!(":{version}"));
        format!(
            "{}{}~{}",
            self.recipe.name(),
            version.unwrap_or_default(),
            sealstone_spec::words::three_words(&self.digest)
        )
    }
}

/// What is said of a bundle whose lock was not read. One of another schema may be sound, and so may the bundle.
pub(super) fn unread(digest: &Digest, error: &LockError) -> Error {
    let LockError::Schema(schema) = error else {
        return Error::halted(format!(
            "\"{LOCK_FILE}\" of {digest} cannot be used: {error}"
        ));
    };
    Error::other(format!(
        "\"{LOCK_FILE}\" of {digest} was made by another version: {error}"
    ))
    .hint("make its model again with this version, to seal it anew: sealstone run, then sealstone pack")
    .detail(json!({"lockSchema": schema}))
}

/// Whether all that is wrong is that another version has made the lock.
pub fn is_of_another_version(error: &Error) -> bool {
    let detail = error.details();
    detail.is_some_and(|detail| detail.get("lockSchema").is_some())
}

/// The release that a manifest names as the one before it.
///
/// # Errors
/// If what stands there is no digest.
pub fn baseline_of(manifest: &VerifiedManifest) -> Result<Option<Digest>> {
    let stated = manifest.annotations().get(ANNOTATION_BASELINE);
    stated
        .map(|text| {
            Digest::parse(text).map_err(|error| {
                Error::halted(format!(
                    "the baseline of {} is no digest: {error}",
                    manifest.digest()
                ))
            })
        })
        .transpose()
}

/// The bytes of a file of a bundle; `None` if it has none at this path.
pub(super) async fn file_bytes(
    store: &dyn Store,
    manifest: &VerifiedManifest,
    bundle: &Bundle,
    path: &str,
    most: usize,
) -> Result<Option<Vec<u8>>> {
    let mut files = bundle.files().iter();
    let Some(index) = files.position(|file| file.path.as_str() == path && !file.form.is_archive())
    else {
        return Ok(None);
    };
    // Files stand in the order of the layers that they are.
    let layer = &manifest.layers()[index];
    store.blob_bytes(layer, most as u64).await.map(Some)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Outcome;

    #[test]
    fn a_lock_of_another_version_is_no_damage() {
        let of = |lock: &[u8]| unread(&Digest::sha256(b"bundle"), &Lock::parse(lock).unwrap_err());
        let older = of(br#"{"schema":"sealstone-lock/v1"}"#);
        assert_eq!(older.outcome(), Outcome::Other);
        assert!(is_of_another_version(&older));
        assert!(older.message().contains("sealstone-lock/v1"), "{older}");
        assert!(older.hints()[0].contains("seal it anew"), "{older}");
        let damaged = of(b"{");
        assert_eq!(damaged.outcome(), Outcome::Halted);
        assert!(!is_of_another_version(&damaged));
    }
}
