//! What a pull brings, in ranges and in one stream, and where it puts it.

use super::stock::{
    LARGE, bundle_of, content, layer, names, one_stream, options, packed, pull_from, stocked,
};
use crate::Outcome;
use crate::archive::ArchiveStore;
use crate::transfer::{Place, Requirement, TransferOptions, export, pull};
use crate::transport::testing::Quirks;
use sealstone_spec::digest::Digest;
use std::fs;

#[tokio::test]
async fn what_is_pushed_comes_back_as_it_was() {
    for options in [options(), one_stream()] {
        let (fake, manifest, large, root) = stocked(Quirks::default()).await;
        let target = root.path().join("model");
        let pulled = pull_from(&fake, &manifest, &target, &options)
            .await
            .unwrap();
        assert_eq!((pulled.files, pulled.bytes), (2, LARGE as u64 + 1000));
        assert!(fs::read(target.join("weights/model.bin")).unwrap() == large);
        assert_eq!(
            fs::read(target.join("README.md")).unwrap(),
            content(2, 1000)
        );
        assert_eq!(names(root.path()), ["layout", "model"]);
        let ranged = fake.count("GET /v2/a/b/_sealstone/tree/");
        assert_eq!(ranged, if options.ranges > 1 { 1 } else { 0 });
    }
}

#[tokio::test]
async fn ranges_that_the_registry_does_not_know_become_one_stream() {
    let (fake, manifest, large, root) = stocked(Quirks {
        no_ranges: true,
        ..Quirks::default()
    })
    .await;
    let target = root.path().join("model");
    pull_from(&fake, &manifest, &target, &options())
        .await
        .unwrap();
    assert!(fs::read(target.join("weights/model.bin")).unwrap() == large);
}

#[tokio::test]
async fn an_existing_directory_is_refused_or_replaced_as_a_whole() {
    let (fake, manifest, _, root) = stocked(Quirks::default()).await;
    let target = root.path().join("model");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("mine"), "x").unwrap();
    let error = pull_from(&fake, &manifest, &target, &options())
        .await
        .unwrap_err();
    assert_eq!(error.outcome(), Outcome::Conflict);
    assert_eq!(names(&target), ["mine"]);

    let place = Place::Registry(fake.store("a/b"));
    let bad = bundle_of(&[layer("x", b"not there")]);
    pull(
        &place,
        &bad,
        Requirement::NoSignatures,
        &target,
        true,
        &options(),
    )
    .await
    .unwrap_err();
    assert_eq!(names(&target), ["mine"], "a failed pull replaces nothing");
    pull(
        &place,
        &manifest,
        Requirement::NoSignatures,
        &target,
        true,
        &options(),
    )
    .await
    .unwrap();
    assert_eq!(names(&target), ["README.md", "weights"]);
}

#[tokio::test]
async fn a_layout_is_pulled_with_the_same_checks() {
    let root = tempfile::tempdir().unwrap();
    let (layout, manifest, large) = packed(root.path());
    let place = Place::Layout(layout.clone());
    let target = root.path().join("model");
    pull(
        &place,
        &manifest,
        Requirement::NoSignatures,
        &target,
        false,
        &options(),
    )
    .await
    .unwrap();
    assert!(fs::read(target.join("weights/model.bin")).unwrap() == large);

    let path = layout.blob_path(&Digest::sha256(&large));
    let mut bytes = large.clone();
    bytes[5] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, &bytes).unwrap();
    let other = root.path().join("other");
    let error = pull(
        &place,
        &manifest,
        Requirement::NoSignatures,
        &other,
        false,
        &options(),
    )
    .await
    .unwrap_err();
    assert_eq!(error.outcome(), Outcome::Halted);
    assert!(!other.exists());
}

#[tokio::test]
async fn what_is_pulled_from_is_never_replaced() {
    let root = tempfile::tempdir().unwrap();
    let (layout, manifest, _) = packed(root.path());
    let out = root.path().join("a/release.tar");
    fs::create_dir(root.path().join("a")).unwrap();
    let place = Place::Layout(layout.clone());
    export(&place, &manifest, None, &out, false, &options())
        .await
        .unwrap();
    let archive = Place::Archive(ArchiveStore::open(&out).unwrap());
    std::os::unix::fs::symlink(root.path(), root.path().join("alias")).unwrap();
    for (source, target) in [
        (&place, "layout"),
        (&place, "layout/."),
        (&place, "layout/blobs"),
        (&place, "layout/blobs/sha256"),
        (&place, "alias/layout"),
        (&place, ""),
        (&archive, "a"),
        (&archive, "alias/a"),
        (&archive, ""),
    ] {
        for overwrite in [false, true] {
            let target = root.path().join(target);
            let requirement = Requirement::NoSignatures;
            let options = options();
            let pulled = pull(source, &manifest, requirement, &target, overwrite, &options);
            let error = pulled.await.unwrap_err();
            assert_eq!(error.outcome(), Outcome::Usage, "{}", target.display());
        }
    }
    assert_eq!(names(root.path()), ["a", "alias", "layout"]);
    for blob in manifest.blobs() {
        layout.check_blob(blob).unwrap();
    }
    // Beside it, also in the directory in which it lies.
    let target = root.path().join("a/model");
    let requirement = Requirement::NoSignatures;
    pull(&archive, &manifest, requirement, &target, false, &options())
        .await
        .unwrap();
}

#[tokio::test]
async fn nor_is_what_its_links_lead_to() {
    let blob = format!("blobs/sha256/{}", Digest::sha256(&content(2, 1000)).hex());
    for (part, targets) in [
        (
            "blobs",
            &["", "store", "store/pool", "store/pool/sha256"][..],
        ),
        ("blobs/sha256", &["", "store", "store/pool"][..]),
        (blob.as_str(), &["", "store"][..]),
    ] {
        let root = tempfile::tempdir().unwrap();
        let (layout, manifest, _) = packed(root.path());
        let pool = root.path().join("shared/store/pool");
        fs::create_dir_all(pool.parent().unwrap()).unwrap();
        fs::rename(layout.root().join(part), &pool).unwrap();
        std::os::unix::fs::symlink(&pool, layout.root().join(part)).unwrap();
        let place = Place::Layout(layout.clone());
        for target in targets {
            let target = root.path().join("shared").join(target);
            let requirement = Requirement::NoSignatures;
            let options = options();
            let pulled = pull(&place, &manifest, requirement, &target, true, &options);
            let error = pulled.await.unwrap_err();
            assert_eq!(error.outcome(), Outcome::Usage, "{}", target.display());
        }
        for blob in manifest.blobs() {
            layout.check_blob(blob).unwrap();
        }
        let target = root.path().join("shared/store/model");
        fs::create_dir(&target).unwrap();
        let requirement = Requirement::NoSignatures;
        pull(&place, &manifest, requirement, &target, true, &options())
            .await
            .unwrap();
    }
}

#[test]
fn large_blobs_share_the_ranges() {
    let options = TransferOptions::default();
    let large = options.ranges_from;
    let share = |sizes: &[u64]| options.shared_among(sizes.iter().copied()).ranges;
    assert_eq!(share(&[large, 5]), 4);
    assert_eq!(share(&[large, large]), 2);
    assert_eq!(share(&[large; 40]), 1);
    assert_eq!(share(&[]), 4);
}
