//! Everything that belongs to a manifest, where it lies: read to its last byte and compared with its digests.
//!
//! For what lies on this machine, layouts and archives; what a registry has is compared when it is fetched.
//! Invariant: what is missing is as bad as what is damaged: the bundle is not there as a whole.

use super::graph::{self, Seen};
use super::lost;
use crate::error::{Error, Outcome, Result};
use crate::stop::{Stop, blocking};
use crate::store::Store;
use sealstone_spec::manifest::{Descriptor, VerifiedManifest};
use sealstone_spec::media;

/// Reads every blob of `manifest`, which lies in `store`; of an index, those of all manifests below it. Returns their
/// number, of an archive that of everything in it, and `None` for a registry.
///
/// # Errors
/// [`Outcome::Halted`] if something is missing or not what its digest says.
pub async fn check_stored(store: &dyn Store, manifest: &VerifiedManifest) -> Result<Option<usize>> {
    let (layout, archive) = (store.as_layout(), store.as_archive());
    if layout.is_none() && archive.is_none() {
        return Ok(None);
    }
    let graph = graph::gather(store, manifest, &mut Seen::default())
        .await
        .map_err(or_missing)?;
    let blobs: Vec<Descriptor> = graph.blobs.into_iter().map(|(blob, _)| blob).collect();
    if let Some(archive) = archive.cloned() {
        for blob in &blobs {
            if !archive.has_blob(blob).await? {
                return Err(missing(blob, "archive"));
            }
        }
        // Everything that is in it, whether the manifest names it or not.
        let checked = blocking(move |_| archive.check_all()).await;
        return checked.map_err(lost)?.map(Some);
    }
    let Some(layout) = layout.cloned() else {
        return Ok(None);
    };
    let count = blobs.len();
    let check = move |stop: &Stop| {
        blobs.iter().try_for_each(|blob| {
            let checked = layout.check_blob_while(blob, stop);
            checked.map_err(|error| explained(error, blob))
        })
    };
    blocking(check).await.map_err(lost)??;
    Ok(Some(count))
}

/// A manifest that is not there, as what it is here.
fn or_missing(error: Error) -> Error {
    match error.outcome() {
        Outcome::NotFound => Error::halted(error.message()),
        _ => error,
    }
}

fn explained(error: Error, blob: &Descriptor) -> Error {
    let error = match error.outcome() {
        Outcome::NotFound => missing(blob, "layout"),
        _ => error,
    };
    match blob.annotations.get(media::ANNOTATION_FILEPATH) {
        Some(path) => error.hint(format!("the blob is the file {path:?} of the bundle")),
        None => error,
    }
}

fn missing(blob: &Descriptor, place: &str) -> Error {
    Error::halted(format!(
        "blob {} of the bundle is not in the {place}",
        blob.digest
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::archive::{self, ArchiveStore, Source};
    use crate::layout::{Index, LayoutStore, MARKER_TEXT};
    use sealstone_spec::digest::{Algorithm, Digest};
    use serde_json::{Value, json};
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;

    type Content = BTreeMap<Digest, Vec<u8>>;

    fn manifest(document: &Value) -> VerifiedManifest {
        VerifiedManifest::check(document.to_string(), None, None, Algorithm::Sha256).unwrap()
    }

    /// An index of an index of a manifest with a layer, the digests of what lies below it, and all bytes.
    fn nested() -> (VerifiedManifest, [Digest; 3], Content) {
        let layer = b"weights";
        let child = manifest(
            &json!({"schemaVersion": 2, "mediaType": media::OCI_MANIFEST,
            "config": {"mediaType": media::OCI_EMPTY, "digest": media::EMPTY_JSON_DIGEST, "size": 2},
            "layers": [{"mediaType": "a/b", "digest": Digest::sha256(layer), "size": layer.len()}]}),
        );
        let index = |of: &VerifiedManifest| {
            manifest(&json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX,
                "manifests": [of.descriptor()]}))
        };
        let inner = index(&child);
        let root = index(&inner);
        let mut content: Content = [&root, &inner, &child]
            .map(|stored| (*stored.digest(), stored.bytes().to_vec()))
            .into();
        content.insert(Digest::sha256(layer), layer.to_vec());
        content.insert(Digest::sha256(b"{}"), b"{}".to_vec());
        let below = [*inner.digest(), *child.digest(), Digest::sha256(layer)];
        (root, below, content)
    }

    /// A layout with these bytes, whatever their digests are.
    fn layout(root: &Path, content: &Content) -> LayoutStore {
        let layout = LayoutStore::open_or_create(root).unwrap();
        for (digest, bytes) in content {
            fs::write(layout.blob_path(digest), bytes).unwrap();
        }
        layout
    }

    fn archived(out: &Path, root: &VerifiedManifest, content: &Content) -> ArchiveStore {
        let files = [
            ("oci-layout", MARKER_TEXT.as_bytes().to_vec()),
            ("index.json", Index::of(&[(root.descriptor(), None)])),
        ];
        let sources = content
            .iter()
            .map(|(digest, bytes)| (*digest, Source::Bytes(bytes.clone())))
            .collect();
        archive::write(out, false, &files, sources, &Stop::default()).unwrap();
        ArchiveStore::open(out).unwrap()
    }

    /// What is named twice is read once, so it is not read for each size that is stated.
    #[tokio::test]
    async fn one_digest_has_one_size_however_often_it_is_named() {
        let place = tempfile::tempdir().unwrap();
        let (_, [_, child, layer], content) = nested();
        let of = |digest: &Digest, size: usize| json!({"mediaType": "a/b", "digest": digest, "size": size});
        let layers = |second: usize| {
            manifest(
                &json!({"schemaVersion": 2, "mediaType": media::OCI_MANIFEST,
                "config": {"mediaType": media::OCI_EMPTY, "digest": media::EMPTY_JSON_DIGEST, "size": 2},
                "layers": [of(&layer, 7), of(&layer, second)]}),
            )
        };
        let size = content[&child].len();
        let children = |second: usize| {
            let listed = [size, second].map(
                |size| json!({"mediaType": media::OCI_MANIFEST, "digest": child, "size": size}),
            );
            manifest(
                &json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": listed}),
            )
        };
        for (number, (root, is_sound)) in [
            (layers(7), true),
            (layers(9), false),
            (children(size), true),
            (children(size + 1), false),
        ]
        .into_iter()
        .enumerate()
        {
            let mut content = content.clone();
            content.insert(*root.digest(), root.bytes().to_vec());
            let layout = layout(&place.path().join(number.to_string()), &content);
            let archive = place.path().join(format!("{number}.tar"));
            let archive = archived(&archive, &root, &content);
            for store in [&layout as &dyn Store, &archive] {
                match check_stored(store, &root).await {
                    Ok(_) => assert!(is_sound, "{number}"),
                    Err(error) => {
                        assert!(!is_sound, "{number}: {error:?}");
                        assert_eq!(error.outcome(), Outcome::Halted, "{error:?}");
                    }
                }
            }
        }
    }

    #[tokio::test]
    async fn of_an_index_everything_below_it_is_read() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        let (root, below, content) = nested();
        let whole = layout(&at("whole"), &content);
        assert_eq!(check_stored(&whole, &root).await.unwrap(), Some(2));
        let whole = archived(&at("whole.tar"), &root, &content);
        assert_eq!(check_stored(&whole, &root).await.unwrap(), Some(5));
        for (number, digest) in below.iter().enumerate() {
            let mut damaged = content.clone();
            damaged.get_mut(digest).unwrap()[0] ^= 1;
            let mut cut = content.clone();
            cut.get_mut(digest).unwrap().pop();
            let mut less = content.clone();
            less.remove(digest);
            for (kind, bytes) in [("damaged", &damaged), ("cut", &cut), ("less", &less)] {
                let layout = layout(&at(&format!("{kind}-{number}")), bytes);
                let error = check_stored(&layout, &root).await.unwrap_err();
                assert_eq!(error.outcome(), Outcome::Halted, "{kind} {number}");
                assert!(error.message().contains(&digest.hex()), "{error}");
            }
            let archive = archived(&at(&format!("less-{number}.tar")), &root, &less);
            let error = check_stored(&archive, &root).await.unwrap_err();
            assert_eq!(error.outcome(), Outcome::Halted, "archive {number}");
            assert!(error.message().contains(&digest.hex()), "{error}");
        }
    }
}
