//! Layouts: what is written is read again, and what was changed on disk is not.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::Outcome;
use sealstone_spec::media;
use serde_json::{Value, json};

fn layout() -> (tempfile::TempDir, LayoutStore) {
    let directory = tempfile::tempdir().unwrap();
    let layout = LayoutStore::open_or_create(directory.path().join("layout")).unwrap();
    (directory, layout)
}

fn manifest(note: &str, subject: Option<&VerifiedManifest>) -> VerifiedManifest {
    let mut document = json!({"schemaVersion": 2, "mediaType": media::OCI_MANIFEST,
        "artifactType": "application/x-test", "layers": [], "annotations": {"note": note},
        "config": {"mediaType": media::OCI_EMPTY, "digest": media::EMPTY_JSON_DIGEST, "size": 2}});
    if let Some(subject) = subject {
        document["subject"] = serde_json::to_value(Descriptor::new(
            subject.media_type(),
            *subject.digest(),
            subject.size(),
        ))
        .unwrap();
    }
    VerifiedManifest::check(document.to_string(), None, None, Algorithm::Sha256).unwrap()
}

#[test]
fn what_is_written_is_read_again() {
    let (_directory, layout) = layout();
    let one = manifest("one", None);
    layout
        .write_manifest(&one, Some(&"1.0".parse().unwrap()))
        .unwrap();
    let again = LayoutStore::open(layout.root()).unwrap();
    let found = again
        .read_manifest(&Reference::parse("1.0").unwrap())
        .unwrap();
    assert_eq!(found.bytes(), one.bytes());
    assert_eq!(again.only_manifest().unwrap().digest(), one.digest());
    assert_eq!(again.read_tags().unwrap(), ["1.0".parse().unwrap()]);
    let error = again
        .read_manifest(&Reference::parse("2.0").unwrap())
        .unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotFound);
    assert!(error.hints()[0].contains("1.0"));
}

#[test]
fn a_changed_byte_is_never_returned() {
    let (_directory, layout) = layout();
    let one = manifest("one", None);
    layout
        .write_manifest(&one, Some(&"1.0".parse().unwrap()))
        .unwrap();
    let path = layout.blob_path(one.digest());
    let good = fs::read(&path).unwrap();
    for position in [0, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[position] ^= 1;
        fs::write(&path, &bad).unwrap();
        let descriptor = one.descriptor();
        let error = layout
            .read_manifest(&Reference::Digest(*one.digest()))
            .unwrap_err();
        assert_eq!(error.outcome(), Outcome::Halted);
        assert_eq!(
            layout.read_blob(&descriptor, 10_000).unwrap_err().outcome(),
            Outcome::Halted
        );
        assert_eq!(
            layout.check_blob(&descriptor).unwrap_err().outcome(),
            Outcome::Halted
        );
        assert!(layout.read_referrers(one.digest(), None).is_err());
    }
    for cut in [&good[..good.len() - 1], &[&good[..], b" "].concat()] {
        fs::write(&path, cut).unwrap();
        assert!(layout.read_blob(&one.descriptor(), 10_000).is_err());
        assert!(layout.check_blob(&one.descriptor()).is_err());
        assert!(!layout.holds(&one.descriptor()));
    }
    // Writing it again mends it.
    layout.write_manifest(&one, None).unwrap();
    layout.check_blob(&one.descriptor()).unwrap();
}

#[test]
fn a_blob_gets_no_name_but_its_own() {
    let (_directory, layout) = layout();
    let digest = Digest::sha256(b"right");
    let error = layout.write_blob(&digest, b"wrong").unwrap_err();
    assert_eq!(error.outcome(), Outcome::Halted);
    let mut unfinished = layout.begin_blob(Algorithm::Sha256).unwrap();
    unfinished.write_all(b"right").unwrap();
    drop(unfinished);
    let left: Vec<_> = fs::read_dir(layout.root().join("blobs/sha256"))
        .unwrap()
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn referrers_are_found_by_subject_and_type() {
    let (_directory, layout) = layout();
    let (one, two) = (manifest("one", None), manifest("two", None));
    let speech = manifest("about one", Some(&one));
    for written in [&one, &two, &speech, &speech] {
        layout.write_manifest(written, None).unwrap();
    }
    let found = layout
        .read_referrers(one.digest(), Some("application/x-test"))
        .unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].digest, *speech.digest());
    assert_eq!(found[0].annotations["note"], "about one");
    assert_eq!(
        found[0].artifact_type.as_deref(),
        Some("application/x-test")
    );
    assert!(
        layout
            .read_referrers(one.digest(), Some("other"))
            .unwrap()
            .is_empty()
    );
    assert!(
        layout
            .read_referrers(two.digest(), None)
            .unwrap()
            .is_empty()
    );
    // Two bundles without a tag: none is meant.
    assert_eq!(
        layout.only_manifest().unwrap_err().outcome(),
        Outcome::Usage
    );
}

#[test]
fn a_tag_has_one_manifest_and_a_manifest_may_have_several_tags() {
    let (_directory, layout) = layout();
    let (one, two) = (manifest("one", None), manifest("two", None));
    let (a, b): (Tag, Tag) = ("a".parse().unwrap(), "b".parse().unwrap());
    layout.write_manifest(&one, None).unwrap();
    layout.write_manifest(&one, Some(&a)).unwrap();
    layout.write_manifest(&one, Some(&b)).unwrap();
    layout.write_manifest(&two, Some(&a)).unwrap();
    let digest = |tag: &Tag| {
        *layout
            .read_manifest(&Reference::Tag(tag.clone()))
            .unwrap()
            .digest()
    };
    assert_eq!(digest(&a), *two.digest());
    assert_eq!(digest(&b), *one.digest());
    assert_eq!(layout.read_tags().unwrap().len(), 2);
}

#[test]
fn fields_of_other_tools_are_kept_and_a_tag_that_stands_twice_is_refused() {
    let (_directory, layout) = layout();
    let path = layout.root().join("index.json");
    let (one, two) = (manifest("one", None), manifest("two", None));
    layout
        .write_manifest(&one, Some(&"x".parse().unwrap()))
        .unwrap();
    layout.write_manifest(&two, None).unwrap();
    let mut index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    index["theirs"] = json!({"kept": true});
    fs::write(&path, index.to_string()).unwrap();
    layout.write_manifest(&two, None).unwrap();
    let mut index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(index["theirs"]["kept"], true);
    index["manifests"][1]["annotations"] = index["manifests"][0]["annotations"].clone();
    fs::write(&path, index.to_string()).unwrap();
    let error = layout
        .read_manifest(&Reference::parse("x").unwrap())
        .unwrap_err();
    assert!(error.to_string().contains("twice"), "{error}");
}

#[test]
fn writers_at_once_lose_no_entry() {
    let (_directory, layout) = layout();
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let layout = &layout;
            scope.spawn(move || {
                for number in 0..5 {
                    let written = manifest(&format!("{writer}-{number}"), None);
                    let tag = format!("t{writer}-{number}").parse().unwrap();
                    layout.write_manifest(&written, Some(&tag)).unwrap();
                }
            });
        }
    });
    assert_eq!(layout.read_tags().unwrap().len(), 40);
}

#[test]
fn a_directory_with_other_things_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("thesis.txt"), "x").unwrap();
    let error = LayoutStore::open_or_create(directory.path()).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Conflict);
    assert!(LayoutStore::open(directory.path()).is_err());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn an_interrupted_making_is_taken_up() {
    let (_directory, layout) = layout();
    let one = manifest("one", None);
    layout
        .write_manifest(&one, Some(&"x".parse().unwrap()))
        .unwrap();
    fs::remove_file(layout.root().join(MARKER)).unwrap();
    assert!(LayoutStore::open(layout.root()).is_err());
    let again = LayoutStore::open_or_create(layout.root()).unwrap();
    assert_eq!(again.only_manifest().unwrap().digest(), one.digest());
}
