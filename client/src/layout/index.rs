//! `index.json` of a layout: which manifests are there and what they are called.
//!
//! Keeps what it does not understand: other tools write fields of their own.
//! Invariant: the file changes only under a lock on `oci-layout`, and only as a whole.

use super::{MARKER, blob, write_whole};
use crate::error::{Error, Result};
use sealstone_spec::canonical::parse_value;
use sealstone_spec::manifest::Descriptor;
use sealstone_spec::media;
use sealstone_spec::name::Tag;
use serde::Deserialize as _;
use serde_json::{Value, json};
use std::fs::File;
use std::io;
use std::path::Path;

/// Largest index that is read: room for some 100,000 entries.
pub(crate) const MAX_BYTES: u64 = 32 * 1024 * 1024;
pub(super) const NAME: &str = "index.json";

/// Opens a file to lock it for this process alone. For writing, though nothing is written: NFSv4 gives such a lock on no
/// other (nfs4_proc_lock). Elsewhere it may be a file that somebody else made, in a directory that this user may write.
fn open_to_lock(path: &Path) -> io::Result<File> {
    let opened = File::options().read(true).write(true).open(path);
    opened.or_else(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => File::open(path),
        _ => Err(error),
    })
}

#[derive(Debug)]
pub(crate) struct Index {
    document: Value,
}

impl Default for Index {
    fn default() -> Index {
        Index {
            document: json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": []}),
        }
    }
}

impl Index {
    pub(super) fn read(root: &Path) -> Result<Index> {
        let path = root.join(NAME);
        let bytes = blob::read_bounded(&path, MAX_BYTES)?;
        Index::parse(&bytes, &path.display().to_string())
    }

    /// Reads an index; `place` is named in errors.
    pub(crate) fn parse(bytes: &[u8], place: &str) -> Result<Index> {
        let broken =
            |problem: String| Error::other(format!("\"{place}\" is no layout index: {problem}"));
        let document =
            parse_value(bytes, MAX_BYTES as usize).map_err(|error| broken(error.to_string()))?;
        if !document["manifests"].is_array() {
            return Err(broken("\"manifests\" is no list".to_owned()));
        }
        Ok(Index { document })
    }

    /// An index of these manifests, as bytes.
    pub(crate) fn of(manifests: &[(Descriptor, Option<Tag>)]) -> Vec<u8> {
        let mut index = Index::default();
        for (descriptor, tag) in manifests {
            index.list(descriptor, tag.as_ref());
        }
        serde_json::to_vec(&index.document).expect("a JSON value can be written")
    }

    pub(super) fn write(&self, root: &Path) -> Result<()> {
        let bytes = serde_json::to_vec(&self.document).expect("a JSON value can be written");
        write_whole(&root.join(NAME), &bytes)
    }

    /// Reads, changes and writes the index while nobody else can.
    pub(super) fn change(root: &Path, change: impl FnOnce(&mut Index)) -> Result<()> {
        let path = root.join(MARKER);
        let what = || format!("locking \"{}\"", path.display());
        let lock = open_to_lock(&path).map_err(|source| Error::io(what(), source))?;
        lock.lock().map_err(|source| Error::io(what(), source))?;
        let mut index = Index::read(root)?;
        change(&mut index);
        index.write(root)
    }

    fn list_of_manifests(&self) -> &[Value] {
        self.document["manifests"]
            .as_array()
            .map_or(&[], Vec::as_slice)
    }

    /// Every entry.
    pub(crate) fn entries(&self) -> Result<Vec<Descriptor>> {
        self.list_of_manifests()
            .iter()
            .enumerate()
            .map(|(position, entry)| {
                Descriptor::deserialize(entry).map_err(|error| {
                    Error::other(format!("entry {position} of {NAME} is no descriptor"))
                        .source(error)
                })
            })
            .collect()
    }

    /// The entry with this tag.
    pub(crate) fn tagged(&self, tag: &Tag) -> Result<Option<Descriptor>> {
        let mut found: Option<Descriptor> = None;
        for entry in self.entries()? {
            if entry
                .annotations
                .get(media::ANNOTATION_REF_NAME)
                .map(String::as_str)
                != Some(tag.as_str())
            {
                continue;
            }
            if let Some(other) = &found
                && other.digest != entry.digest
            {
                return Err(Error::other(format!(
                    "tag \"{tag}\" stands twice in {NAME}: for {} and {}",
                    other.digest, entry.digest
                ))
                .hint("name the bundle by digest"));
            }
            found = Some(entry);
        }
        Ok(found)
    }

    /// Every name that is a tag.
    pub(crate) fn tags(&self) -> Vec<Tag> {
        self.list_of_manifests()
            .iter()
            .filter_map(|entry| entry["annotations"][media::ANNOTATION_REF_NAME].as_str())
            .filter_map(|name| name.parse().ok())
            .collect()
    }

    /// A hint that lists some tags.
    pub(crate) fn tags_hint(&self) -> String {
        let tags: Vec<String> = self
            .tags()
            .iter()
            .filter(|tag| !tag.is_evidence_list())
            .take(10)
            .map(ToString::to_string)
            .collect();
        if tags.is_empty() {
            return "it has no tags: name a manifest as @sha256:...".to_owned();
        }
        format!("it has the tags {}", tags.join(", "))
    }

    /// Lists a manifest, under `tag` if there is one; another manifest's claim to the tag goes, that
    /// manifest stays listed.
    pub(crate) fn list(&mut self, descriptor: &Descriptor, tag: Option<&Tag>) {
        let mut entry = descriptor.clone();
        entry.annotations.remove(media::ANNOTATION_REF_NAME);
        let digest = entry.digest.to_string();
        let name = tag.map(Tag::as_str);
        if let Some(name) = name {
            entry
                .annotations
                .insert(media::ANNOTATION_REF_NAME.to_owned(), name.to_owned());
        }
        let Some(list) = self.document["manifests"].as_array_mut() else {
            return; // read() has made sure that it is a list
        };
        // A list of evidence that is replaced is nothing on its own any more.
        if tag.is_some_and(Tag::is_evidence_list) {
            list.retain(|other| other["annotations"][media::ANNOTATION_REF_NAME].as_str() != name);
        }
        for other in list.iter_mut() {
            let is_named = other["annotations"][media::ANNOTATION_REF_NAME].as_str();
            if name.is_some()
                && is_named == name
                && let Some(annotations) = other["annotations"].as_object_mut()
            {
                annotations.remove(media::ANNOTATION_REF_NAME);
            }
        }
        // One entry per (digest, tag); an entry without a tag gives way to one with it.
        let is_same = |other: &Value| other["digest"].as_str() == Some(&digest);
        let is_listed = list.iter().any(is_same);
        let is_tagged = |other: &Value| !other["annotations"][media::ANNOTATION_REF_NAME].is_null();
        if name.is_none() && is_listed {
            return;
        }
        list.retain(|other| !is_same(other) || is_tagged(other));
        list.push(serde_json::to_value(entry).expect("a descriptor can be written as JSON"));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs::{self, Permissions};
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    /// There is no NFS here: what it asks for is that the file could be written.
    #[test]
    fn what_is_locked_is_open_for_writing_where_it_may_be() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(MARKER);
        fs::write(&path, "{}").unwrap();
        let mut lock = open_to_lock(&path).unwrap();
        lock.lock().unwrap();
        assert_eq!(lock.write(b"[").unwrap(), 1);
        drop(lock);
        fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
        open_to_lock(&path).unwrap().lock().unwrap();
        fs::remove_file(&path).unwrap();
        let error = open_to_lock(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
