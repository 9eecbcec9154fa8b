//! Which releases do these bytes belong to?
//!
//! Files are hashed and looked up among the layers of every tagged bundle of the places that are asked. A digest that
//! matches is proof that the bytes are the same; whether the release is trusted is another question. A tag that is not
//! given out, such as one of a release that was revoked, hides no other, and is told: the bytes may be that release's.
//! Invariant: a directory is the whole of a release only if nothing but its files lies there: a link, which no bundle
//! holds, can lead anywhere.

use crate::error::{Error, Outcome, Result};
use crate::layout::hash_file;
use crate::store::Store;
use sealstone_spec::bundle::Bundle;
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::media;
use sealstone_spec::name::{Reference, Tag};
use sealstone_spec::words::three_words;
use serde::Serialize;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Files of a directory that are hashed.
const MAX_FILES: usize = 100_000;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// Files that were hashed, by path.
    pub files: BTreeMap<String, Digest>,
    /// Releases that hold at least one of them: whole ones first, then by the number of files they share.
    pub matches: Vec<Match>,
    /// What no release holds: files, and whatever is neither a file nor a directory.
    pub unknown: Vec<String>,
    /// Tags that are listed, and whose releases could not be looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unseen: Vec<Unseen>,
}

/// A tag whose release could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unseen {
    /// The place.
    pub place: String,
    /// The tag.
    pub tag: Tag,
    /// Why, in words.
    pub reason: String,
    /// The same, for callers to act on.
    #[serde(skip)]
    pub outcome: Outcome,
}

/// A release that holds some of the files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Match {
    /// The place.
    pub place: String,
    /// The tag.
    pub tag: Tag,
    /// The manifest.
    pub digest: Digest,
    /// Its name in words.
    pub name: String,
    /// Whether these are exactly the files of the release, under their paths, and may be run where they should.
    pub whole: bool,
    /// Files that it holds: path here, path there.
    pub shared: Vec<(String, String)>,
    /// Files of the release that are not here.
    pub missing: Vec<String>,
    /// Files under their paths that may be run and should not, or the other way round; nothing of a bundle that does not
    /// say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_mode: Vec<String>,
}

/// Finds the releases in `places` that a file or directory belongs to.
///
/// # Errors
/// If something cannot be read, or a manifest is not what its digest says. A tag that the place does not give out, or no
/// longer has, is none: it stands in [`Origin::unseen`].
pub async fn find_origin(path: &Path, places: &[&dyn Store]) -> Result<Origin> {
    let directory = path.is_dir();
    let Listed { files, others } = list(path)?;
    let listed: Vec<String> = files.keys().cloned().collect();
    let mut hashes: BTreeMap<Algorithm, BTreeMap<String, Digest>> = BTreeMap::new();
    hashes.insert(Algorithm::Sha256, hash(path, &listed, Algorithm::Sha256)?);
    let (mut matches, mut unseen) = (Vec::new(), Vec::new());
    let mut known: BTreeSet<String> = BTreeSet::new();
    for store in places {
        for tag in store.tags().await? {
            if tag.is_evidence_list() {
                continue;
            }
            let reference = Reference::Tag(tag.clone());
            let manifest = match store.manifest(&reference).await {
                Ok(manifest) => manifest,
                Err(error) if is_withheld(error.outcome()) => {
                    unseen.push(Unseen {
                        place: store.place(),
                        tag,
                        reason: error.in_words(),
                        outcome: error.outcome(),
                    });
                    continue;
                }
                Err(error) => return Err(error),
            };
            let Ok(bundle) = Bundle::read(&manifest) else {
                continue; // images and indexes have no files
            };
            let algorithms: BTreeSet<Algorithm> = bundle
                .files()
                .iter()
                .map(|file| file.digest.algorithm())
                .collect();
            for algorithm in algorithms {
                if let Entry::Vacant(unknown) = hashes.entry(algorithm) {
                    unknown.insert(hash(path, &listed, algorithm)?);
                }
            }
            let mut shared = Vec::new();
            let (mut missing, mut in_place) = (Vec::new(), 0);
            let mut other_mode = Vec::new();
            // Files and layers stand in one order.
            for (file, layer) in bundle.files().iter().zip(manifest.layers()) {
                let here = &hashes[&file.digest.algorithm()];
                let there = file.path.as_str();
                let same = |(_, digest): &(&String, &Digest)| **digest == file.digest;
                // The same path first: equal files may stand in several places.
                let found = here
                    .get_key_value(there)
                    .filter(same)
                    .or_else(|| here.iter().find(same));
                match found {
                    Some((path, _)) => {
                        in_place += usize::from(path == there);
                        let says = &layer.annotations;
                        let is_said = says.contains_key(media::ANNOTATION_FILE_METADATA);
                        let is_there = directory && path == there;
                        if is_there && is_said && files.get(path) != Some(&file.executable) {
                            other_mode.push(path.clone());
                        }
                        known.insert(path.clone());
                        shared.push((path.clone(), there.to_owned()));
                    }
                    None => missing.push(there.to_owned()),
                }
            }
            if shared.is_empty() {
                continue;
            }
            let whole = directory
                && missing.is_empty()
                && in_place == listed.len()
                && others.is_empty()
                && other_mode.is_empty();
            matches.push(Match {
                place: store.place(),
                name: three_words(manifest.digest()),
                digest: *manifest.digest(),
                tag,
                whole,
                shared,
                missing,
                other_mode,
            });
        }
    }
    matches.sort_by(|one, two| {
        (two.whole, two.shared.len())
            .cmp(&(one.whole, one.shared.len()))
            .then(one.tag.cmp(&two.tag))
    });
    let files = hashes.remove(&Algorithm::Sha256).unwrap_or_default();
    let strange = files.keys().filter(|path| !known.contains(*path)).cloned();
    let mut unknown: Vec<String> = strange.chain(others).collect();
    unknown.sort();
    Ok(Origin {
        files,
        matches,
        unknown,
        unseen,
    })
}

/// Whether this is about one tag of a place whose tags were listed: it was revoked, or taken away since.
fn is_withheld(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Refused | Outcome::NotFound | Outcome::Unauthorised
    )
}

/// What lies in a directory.
#[derive(Debug, Default)]
struct Listed {
    /// Plain files by path, and whether they may be run.
    files: BTreeMap<String, bool>,
    /// What is neither a file nor a directory: links, pipes, devices.
    others: Vec<String>,
}

/// What lies in a directory, or the one file by its name.
fn list(path: &Path) -> Result<Listed> {
    let what = |path: &Path| format!("listing \"{}\"", path.display());
    let mut found = Listed::default();
    if !path.is_dir() {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        found.files.insert(name.into_owned(), false);
        return Ok(found);
    }
    let mut queue = vec![String::new()];
    while let Some(prefix) = queue.pop() {
        let directory = path.join(&prefix);
        let failed = |error| Error::io(what(&directory), error);
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let kind = entry.file_type().map_err(failed)?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if kind.is_dir() {
                queue.push(format!("{name}/"));
            } else if kind.is_file() {
                let mode = entry.metadata().map_err(failed)?.permissions().mode();
                found.files.insert(name, mode & 0o100 != 0);
            } else {
                found.others.push(name);
            }
            let count = found.files.len() + found.others.len();
            if count > MAX_FILES || queue.len() > MAX_FILES {
                return Err(Error::usage(format!(
                    "\"{}\" has more than {MAX_FILES} files",
                    path.display()
                )));
            }
        }
    }
    Ok(found)
}

fn hash(path: &Path, listed: &[String], algorithm: Algorithm) -> Result<BTreeMap<String, Digest>> {
    let mut found = BTreeMap::new();
    for name in listed {
        let place = if path.is_dir() {
            path.join(name)
        } else {
            path.to_owned()
        };
        let what = || format!("reading \"{}\"", place.display());
        let file = File::open(&place).map_err(|error| Error::io(what(), error))?;
        let (digest, _) = hash_file(&file, algorithm).map_err(|error| Error::io(what(), error))?;
        found.insert(name.clone(), digest);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::transport::testing::{FakeRegistry, Quirks};
    use sealstone_spec::bundle::FileKind;
    use sealstone_spec::manifest::VerifiedManifest;
    use serde_json::json;

    fn bundle(content: &[u8]) -> VerifiedManifest {
        let text = json!({"schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "artifactType": media::MODEL_ARTIFACT,
            "config": {"mediaType": media::MODEL_CONFIG, "digest": media::EMPTY_JSON_DIGEST, "size": 2},
            "layers": [{"mediaType": FileKind::Weight.raw_media_type(), "digest": Digest::sha256(content),
                "size": content.len(), "annotations": {media::ANNOTATION_FILEPATH: "model.bin"}}]});
        VerifiedManifest::check(text.to_string(), None, None, Algorithm::Sha256).unwrap()
    }

    #[tokio::test]
    async fn a_tag_that_is_not_given_out_hides_no_other() {
        let fake = FakeRegistry::start(Quirks::default()).await;
        let store = fake.store("a/b");
        for (tag, content) in [("1.0.0", b"one"), ("1.1.0", b"two"), ("1.2.0", b"six")] {
            fake.put_blob("a/b", content);
            let tag: Tag = tag.parse().unwrap();
            let manifest = bundle(content);
            store.put_manifest(&manifest, Some(&tag)).await.unwrap();
        }
        let revoked = json!({"reason": "release_denied", "unmet": []});
        fake.state().quirks.refuse_reads = Some(("1.0.0".to_owned(), revoked));
        let gone = bundle(b"two").digest().to_string();
        fake.state().manifests.remove(&("a/b".to_owned(), gone));
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("here.bin");
        let places: [&dyn Store; 1] = [&store];
        for (content, matches) in [(b"six", 1), (b"one", 0)] {
            fs::write(&file, content).unwrap();
            let found = find_origin(&file, &places).await.unwrap();
            assert_eq!(found.matches.len(), matches, "{found:?}");
            let unseen = found.unseen.iter();
            let unseen: Vec<(&str, Outcome)> = unseen
                .map(|unseen| (unseen.tag.as_str(), unseen.outcome))
                .collect();
            let due = [("1.0.0", Outcome::Refused), ("1.1.0", Outcome::NotFound)];
            assert_eq!(unseen, due);
        }
    }
}
