//! Bytes, sizes, trees and paths that are not what they have to be: every transfer halts and leaves nothing.

use super::stock::{
    LARGE, bundle_of, content, layer, names, one_stream, options, packed, pull_from, push_as,
    stocked, tag,
};
use crate::Outcome;
use crate::error::Error;
use crate::layout::LayoutStore;
use crate::transfer::{Place, TransferOptions, copy};
use crate::transport::testing::{FakeRegistry, Quirks};
use sealstone_spec::digest::Digest;
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::tree::GROUP_BYTES;
use serde_json::Value;
use std::fs;

/// A pull that must end in exit code 4 with nothing left.
async fn must_halt(
    fake: &FakeRegistry,
    manifest: &VerifiedManifest,
    options: &TransferOptions,
) -> Error {
    let root = tempfile::tempdir().unwrap();
    let error = pull_from(fake, manifest, &root.path().join("model"), options)
        .await
        .unwrap_err();
    assert_eq!(error.outcome(), Outcome::Halted, "{error:?}");
    assert!(names(root.path()).is_empty(), "{:?}", names(root.path()));
    error
}

#[tokio::test]
async fn a_flipped_bit_halts_names_the_layer_and_leaves_nothing() {
    for no_tree in [false, true] {
        for options in [options(), one_stream()] {
            for at in [0, GROUP_BYTES * 7 + 5, LARGE - 1] {
                let (fake, manifest, large, _root) = stocked(Quirks {
                    no_tree,
                    ..Quirks::default()
                })
                .await;
                let digest = Digest::sha256(&large);
                fake.corrupt("a/b", &digest, |content| content[at] ^= 4);
                let error = must_halt(&fake, &manifest, &options).await;
                assert!(error.message().contains("weights/model.bin"), "{error:?}");
                assert!(error.message().contains(&digest.to_string()), "{error:?}");
                assert_eq!(error.details().unwrap()["layer"], "weights/model.bin");
            }
        }
    }
}

#[tokio::test]
async fn a_flipped_bit_in_a_small_file_halts_too() {
    let (fake, manifest, _, _root) = stocked(Quirks::default()).await;
    fake.corrupt("a/b", &Digest::sha256(&content(2, 1000)), |content| {
        content[999] ^= 1
    });
    let error = must_halt(&fake, &manifest, &options()).await;
    assert!(error.message().contains("README.md"), "{error:?}");
}

#[tokio::test]
async fn a_wrong_size_halts() {
    for options in [options(), one_stream()] {
        for longer in [true, false] {
            let (fake, manifest, large, _root) = stocked(Quirks {
                no_tree: true,
                ..Quirks::default()
            })
            .await;
            fake.corrupt("a/b", &Digest::sha256(&large), |content| match longer {
                true => content.push(0),
                false => content.truncate(LARGE - 1),
            });
            must_halt(&fake, &manifest, &options).await;
        }
    }
}

#[tokio::test]
async fn a_wrong_size_of_a_small_file_halts_too() {
    for longer in [1, 1_000_000, 0] {
        let (fake, manifest, _, _root) = stocked(Quirks::default()).await;
        fake.corrupt("a/b", &Digest::sha256(&content(2, 1000)), |content| {
            content.resize(999 + 2 * longer, 0);
        });
        let error = must_halt(&fake, &manifest, &options()).await;
        assert!(error.message().contains("README.md"), "{error:?}");
    }
}

#[tokio::test]
async fn a_tree_that_contradicts_the_bytes_halts() {
    let (fake, manifest, _, _root) = stocked(Quirks {
        lying_tree: true,
        ..Quirks::default()
    })
    .await;
    let error = must_halt(&fake, &manifest, &options()).await;
    assert!(error.message().contains("BLAKE3"), "{error:?}");
}

#[tokio::test]
async fn paths_that_leave_the_directory_halt_before_anything_is_fetched() {
    let (fake, _, _, _root) = stocked(Quirks::default()).await;
    let file = content(2, 1000);
    for paths in [
        &["../evil"][..],
        &["/etc/x"],
        &["a/../../x"],
        &["A", "a"],
        &["a", "a/b"],
        &["nul"],
        &["a\\..\\b"],
    ] {
        let layers: Vec<Value> = paths.iter().map(|path| layer(path, &file)).collect();
        let error = must_halt(&fake, &bundle_of(&layers), &options()).await;
        assert!(!error.causes().is_empty(), "{paths:?}");
    }
    assert_eq!(fake.count("GET"), 0);
}

#[tokio::test]
async fn a_damaged_layout_is_not_pushed() {
    let root = tempfile::tempdir().unwrap();
    let (layout, manifest, large) = packed(root.path());
    let path = layout.blob_path(&Digest::sha256(&large));
    let mut bytes = large.clone();
    bytes[5] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, &bytes).unwrap();
    let fake = FakeRegistry::start(Quirks::default()).await;
    let error = push_as(&layout, &fake, &manifest, "1").await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Halted, "{error:?}");
    fs::write(&path, &bytes[1..]).unwrap();
    let error = push_as(&layout, &fake, &manifest, "1").await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Halted, "{error:?}");
    assert!(fake.state().tags.is_empty() && fake.state().manifests.is_empty());
}

#[tokio::test]
async fn a_corrupt_blob_is_not_copied_and_makes_no_tag() {
    let (fake, manifest, large, root) = stocked(Quirks::default()).await;
    fake.corrupt("a/b", &Digest::sha256(&large), |content| content[77] ^= 1);
    let to = FakeRegistry::start(Quirks::default()).await;
    let layout = LayoutStore::open_or_create(root.path().join("carried")).unwrap();
    for target in [
        Place::Registry(to.store("a/b")),
        Place::Layout(layout.clone()),
    ] {
        let source = Place::Registry(fake.store("a/b"));
        let error = copy(&source, &target, &manifest, Some(&tag("1.0")), &options())
            .await
            .unwrap_err();
        assert_eq!(error.outcome(), Outcome::Halted);
        assert!(target.store().tags().await.unwrap().is_empty());
    }
    assert!(!layout.blob_path(&Digest::sha256(&large)).exists());
    assert!(
        names(&root.path().join("carried/blobs/sha256"))
            .iter()
            .all(|name| !name.starts_with('.'))
    );
}
