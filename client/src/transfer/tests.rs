#![allow(clippy::unwrap_used)]

use super::*;
use crate::Outcome;
use crate::transport::testing::{FakeRegistry, Quirks};
use sealstone_spec::bundle::FileKind;
use sealstone_spec::digest::Algorithm;
use sealstone_spec::manifest::{Descriptor, VerifiedManifest};
use sealstone_spec::media;
use sealstone_spec::name::{Reference, Tag};
use sealstone_spec::tree::GROUP_BYTES;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

const LARGE: usize = 9 * 1024 * 1024 + 123;

/// Sizes that make a few mebibytes a large blob.
fn options() -> TransferOptions {
    TransferOptions {
        small: 64 * 1024,
        ranges_from: 2 * 1024 * 1024,
        range_bytes: 1024 * 1024,
        ..TransferOptions::default()
    }
}

fn one_stream() -> TransferOptions {
    TransferOptions {
        ranges: 1,
        ..options()
    }
}

fn content(seed: usize, length: usize) -> Vec<u8> {
    (0..length)
        .map(|i| ((i * 31 + seed * 7 + i / 251) % 256) as u8)
        .collect()
}

fn layer(path: &str, content: &[u8]) -> Value {
    json!({"mediaType": FileKind::Weight.raw_media_type(), "digest": Digest::sha256(content), "size": content.len(),
        "annotations": {media::ANNOTATION_FILEPATH: path}})
}

fn bundle_of(layers: &[Value]) -> VerifiedManifest {
    let text = json!({"schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "artifactType": media::MODEL_ARTIFACT,
        "config": {"mediaType": media::MODEL_CONFIG, "digest": media::EMPTY_JSON_DIGEST, "size": 2},
        "layers": layers});
    VerifiedManifest::check(text.to_string(), None, None, Algorithm::Sha256).unwrap()
}

fn referrer(subject: &VerifiedManifest, note: &str) -> VerifiedManifest {
    let text = json!({"schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "artifactType": media::SIGSTORE_BUNDLE_V03,
        "config": {"mediaType": media::OCI_EMPTY, "digest": media::EMPTY_JSON_DIGEST, "size": 2},
        "layers": [layer("s", note.as_bytes())],
        "subject": Descriptor::new(subject.media_type(), *subject.digest(), subject.size())});
    VerifiedManifest::check(text.to_string(), None, None, Algorithm::Sha256).unwrap()
}

/// A layout with a bundle of a large and a small file.
fn packed(root: &Path) -> (LayoutStore, VerifiedManifest, Vec<u8>) {
    let layout = LayoutStore::open_or_create(root.join("layout")).unwrap();
    let (large, small) = (content(1, LARGE), content(2, 1000));
    for blob in [&large[..], &small, b"{}"] {
        layout.write_blob(&Digest::sha256(blob), blob).unwrap();
    }
    let manifest = bundle_of(&[
        layer("weights/model.bin", &large),
        layer("README.md", &small),
    ]);
    layout.write_manifest(&manifest, Some(&tag("1.0"))).unwrap();
    (layout, manifest, large)
}

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

/// A registry that holds that bundle in `a/b`.
async fn stocked(quirks: Quirks) -> (FakeRegistry, VerifiedManifest, Vec<u8>, tempfile::TempDir) {
    let root = tempfile::tempdir().unwrap();
    let (layout, manifest, large) = packed(root.path());
    let fake = FakeRegistry::start(Quirks::default()).await;
    push(
        &layout,
        &fake.store("a/b"),
        &manifest,
        Some(&tag("1.0")),
        &options(),
    )
    .await
    .unwrap();
    fake.state().quirks = quirks;
    fake.state().log.clear();
    (fake, manifest, large, root)
}

async fn pull_from(
    fake: &FakeRegistry,
    manifest: &VerifiedManifest,
    to: &Path,
    options: &TransferOptions,
) -> Result<Pulled> {
    let place = Place::Registry(fake.store("a/b"));
    pull(
        &place,
        manifest,
        Requirement::NoSignatures,
        to,
        false,
        options,
    )
    .await
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

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
async fn the_tag_is_the_last_thing_pushed() {
    let root = tempfile::tempdir().unwrap();
    let (layout, manifest, _) = packed(root.path());
    let signature = referrer(&manifest, "signed");
    layout
        .write_blob(&Digest::sha256(b"signed"), b"signed")
        .unwrap();
    layout.write_manifest(&signature, None).unwrap();
    let fake = FakeRegistry::start(Quirks::default()).await;
    let pushed = push(
        &layout,
        &fake.store("a/b"),
        &manifest,
        Some(&tag("1.0")),
        &options(),
    )
    .await
    .unwrap();
    assert_eq!(
        (pushed.manifests, pushed.evidence, pushed.blobs_moved),
        (2, 1, 4)
    );
    let state = fake.state();
    let puts: Vec<&String> = state
        .log
        .iter()
        .filter(|line| line.starts_with("PUT /v2/a/b/manifests/"))
        .collect();
    let expected = [
        format!("PUT /v2/a/b/manifests/{}", manifest.digest()),
        format!("PUT /v2/a/b/manifests/{}", signature.digest()),
        "PUT /v2/a/b/manifests/1.0".to_owned(),
    ];
    assert_eq!(puts, expected.iter().collect::<Vec<_>>());
    let first_put = state
        .log
        .iter()
        .position(|line| line.starts_with("PUT /v2/a/b/manifests/"))
        .unwrap();
    assert!(
        state.log[first_put..]
            .iter()
            .all(|line| !line.contains("/uploads/"))
    );
}

#[tokio::test]
async fn what_the_registry_has_is_not_sent_again() {
    let (fake, manifest, _, root) = stocked(Quirks::default()).await;
    let layout = LayoutStore::open(root.path().join("layout")).unwrap();
    let before = fake.state().received;
    let again = push(&layout, &fake.store("a/b"), &manifest, None, &options())
        .await
        .unwrap();
    assert_eq!((again.blobs_moved, again.blobs_present), (0, 3));
    assert_eq!(fake.state().received, before);

    let mount = TransferOptions {
        mount_from: vec!["a/b".parse().unwrap()],
        ..options()
    };
    let mounted = push(&layout, &fake.store("c/d"), &manifest, None, &mount)
        .await
        .unwrap();
    assert_eq!((mounted.blobs_moved, mounted.bytes_moved), (0, 0));
    assert_eq!(fake.state().received, before);
}

#[tokio::test]
async fn a_pull_goes_on_after_cuts() {
    for (options, no_ranges) in [
        (options(), false),
        (one_stream(), false),
        (one_stream(), true),
    ] {
        let quirks = Quirks {
            cuts: 3,
            cut_after: 700_001,
            no_ranges,
            ..Quirks::default()
        };
        let (fake, manifest, large, root) = stocked(quirks).await;
        let target = root.path().join("model");
        pull_from(&fake, &manifest, &target, &options)
            .await
            .unwrap();
        assert!(
            fs::read(target.join("weights/model.bin")).unwrap() == large,
            "{no_ranges}"
        );
        assert_eq!(fake.state().quirks.cuts, 0);
    }
}

#[tokio::test]
async fn a_registry_that_keeps_cutting_is_given_up_and_nothing_is_left() {
    for options in [options(), one_stream()] {
        let quirks = Quirks {
            cuts: usize::MAX,
            cut_after: 0,
            ..Quirks::default()
        };
        let (fake, manifest, _, _root) = stocked(quirks).await;
        let root = tempfile::tempdir().unwrap();
        let error = pull_from(&fake, &manifest, &root.path().join("model"), &options)
            .await
            .unwrap_err();
        assert_eq!(error.outcome(), Outcome::Network);
        assert!(names(root.path()).is_empty());
    }
}

/// A pull that the network ended after half of the large file: where it left what it has.
async fn cut_pull(
    fake: &FakeRegistry,
    manifest: &VerifiedManifest,
    root: &Path,
    options: &TransferOptions,
) -> std::path::PathBuf {
    fake.state().sent = 0;
    fake.state().quirks.sends_at_most = Some(LARGE / 2);
    let error = pull_from(fake, manifest, &root.join("model"), options)
        .await
        .unwrap_err();
    assert_eq!(error.outcome(), Outcome::Network, "{error:?}");
    fake.state().sent = 0;
    fake.state().quirks.sends_at_most = None;
    let left = names(root);
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0].starts_with(".model.partial-"), "{left:?}");
    root.join(&left[0])
}

#[tokio::test]
async fn the_next_pull_goes_on_from_what_a_cut_one_left() {
    for options in [options(), one_stream()] {
        let (fake, manifest, large, _root) = stocked(Quirks::default()).await;
        let root = tempfile::tempdir().unwrap();
        cut_pull(&fake, &manifest, root.path(), &options).await;
        let target = root.path().join("model");
        pull_from(&fake, &manifest, &target, &options)
            .await
            .unwrap();
        assert!(fs::read(target.join("weights/model.bin")).unwrap() == large);
        assert_eq!(names(root.path()), ["model"]);
        let sent = fake.state().sent;
        // In ranges, up to one unfinished range for each connection is fetched again.
        let again = options.ranges * options.range_bytes as usize;
        let most = LARGE - LARGE / 2
            + if options.ranges > 1 {
                again
            } else {
                512 * 1024 * 5
            };
        assert!(
            sent < most.min(LARGE),
            "{sent} bytes of {LARGE} again, {most} at most"
        );
    }
}

#[tokio::test]
async fn what_was_left_and_is_damaged_is_fetched_again() {
    for options in [options(), one_stream()] {
        let (fake, manifest, large, _root) = stocked(Quirks::default()).await;
        let root = tempfile::tempdir().unwrap();
        let left = cut_pull(&fake, &manifest, root.path(), &options).await;
        let path = left.join("incoming/0");
        let mut bytes = fs::read(&path).unwrap();
        bytes[5] ^= 1;
        fs::write(&path, bytes).unwrap();
        let target = root.path().join("model");
        pull_from(&fake, &manifest, &target, &options)
            .await
            .unwrap();
        assert!(fs::read(target.join("weights/model.bin")).unwrap() == large);
    }
}

#[tokio::test]
async fn a_registry_that_changed_its_mind_after_a_cut_halts_and_nothing_is_left() {
    for options in [options(), one_stream()] {
        let (fake, manifest, large, _root) = stocked(Quirks::default()).await;
        let root = tempfile::tempdir().unwrap();
        cut_pull(&fake, &manifest, root.path(), &options).await;
        fake.corrupt("a/b", &Digest::sha256(&large), |content| {
            content[LARGE - 1] ^= 4;
        });
        let error = pull_from(&fake, &manifest, &root.path().join("model"), &options)
            .await
            .unwrap_err();
        assert_eq!(error.outcome(), Outcome::Halted, "{error:?}");
        assert!(names(root.path()).is_empty());
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
async fn an_upload_that_is_cut_goes_on_and_sends_nothing_twice() {
    let root = tempfile::tempdir().unwrap();
    let (layout, manifest, large) = packed(root.path());
    let fake = FakeRegistry::start(Quirks {
        cuts: 3,
        cut_after: 1_000_001,
        ..Quirks::default()
    })
    .await;
    push(&layout, &fake.store("a/b"), &manifest, None, &options())
        .await
        .unwrap();
    assert_eq!(fake.count("CUT PATCH"), 3);
    assert_eq!(fake.state().received, large.len() + 1000 + 2);
}

#[tokio::test]
async fn a_new_process_goes_on_where_the_last_one_was_killed() {
    let root = tempfile::tempdir().unwrap();
    let (layout, manifest, large) = packed(root.path());
    let sessions = Sessions::in_directory(root.path().join("cache"));
    let options = TransferOptions {
        sessions,
        parallel: 1,
        ..options()
    };
    let quirks = Quirks {
        cuts: 1,
        cut_after: 5_000_000,
        ..Quirks::default()
    };
    let fake = FakeRegistry::start(quirks).await;
    {
        let store = fake.store("a/b");
        let pushing = push(&layout, &store, &manifest, None, &options);
        let until_cut = async {
            while fake.count("CUT") == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            () = until_cut => {}
            _ = pushing => panic!("the push was to be cut"),
        }
    }
    push(&layout, &fake.store("a/b"), &manifest, None, &options)
        .await
        .unwrap();
    assert_eq!(fake.state().received, large.len() + 1000 + 2);
    assert!(
        names(&root.path().join("cache")).is_empty(),
        "nothing is remembered of what is done"
    );
}

#[tokio::test]
async fn registries_that_take_no_large_body_get_chunks_and_those_without_patch_a_put() {
    for quirks in [
        Quirks {
            largest_body: Some(8 * 1024 * 1024),
            no_single_post: true,
            ..Quirks::default()
        },
        Quirks {
            no_patch: true,
            ..Quirks::default()
        },
    ] {
        let root = tempfile::tempdir().unwrap();
        let (layout, manifest, large) = packed(root.path());
        let fake = FakeRegistry::start(quirks).await;
        push(&layout, &fake.store("a/b"), &manifest, None, &options())
            .await
            .unwrap();
        let stored =
            fake.state().blobs[&("a/b".to_owned(), Digest::sha256(&large).to_string())].clone();
        assert!(stored == large);
    }
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
    let error = push(
        &layout,
        &fake.store("a/b"),
        &manifest,
        Some(&tag("1")),
        &options(),
    )
    .await
    .unwrap_err();
    assert_eq!(error.outcome(), Outcome::Halted, "{error:?}");
    fs::write(&path, &bytes[1..]).unwrap();
    let error = push(
        &layout,
        &fake.store("a/b"),
        &manifest,
        Some(&tag("1")),
        &options(),
    )
    .await
    .unwrap_err();
    assert_eq!(error.outcome(), Outcome::Halted, "{error:?}");
    assert!(fake.state().tags.is_empty() && fake.state().manifests.is_empty());
}

#[tokio::test]
async fn a_copy_takes_signatures_along_everywhere() {
    let (from, manifest, large, root) = stocked(Quirks::default()).await;
    let source = from.store("a/b");
    let signature = referrer(&manifest, "signed");
    let countersignature = referrer(&signature, "countersigned");
    let list = referrer(&manifest, "a list, which has no subject in truth");
    for text in [
        "signed",
        "countersigned",
        "a list, which has no subject in truth",
    ] {
        from.put_blob("a/b", text.as_bytes());
    }
    for manifest in [&signature, &countersignature] {
        source.put_manifest(manifest, None).await.unwrap();
    }
    let list_tag = tag(&format!("sha256-{}.sig", manifest.digest().hex()));
    source.put_manifest(&list, Some(&list_tag)).await.unwrap();

    // Over a registry without referrers API, into a layout, and on.
    let to = FakeRegistry::start(Quirks {
        no_referrers: true,
        ..Quirks::default()
    })
    .await;
    let last = FakeRegistry::start(Quirks::default()).await;
    let layout = LayoutStore::open_or_create(root.path().join("carried")).unwrap();
    let stations = [
        Place::Registry(source),
        Place::Registry(to.store("c/d")),
        Place::Layout(layout),
        Place::Registry(last.store("e/f")),
    ];
    for pair in stations.windows(2) {
        copy(&pair[0], &pair[1], &manifest, Some(&tag("2.0")), &options())
            .await
            .unwrap();
        let found = pair[1]
            .store()
            .manifest(&Reference::Tag(tag("2.0")))
            .await
            .unwrap();
        assert_eq!(found.bytes(), manifest.bytes());
    }
    let target = stations[3].store();
    let referrers = target.referrers(manifest.digest(), None).await.unwrap();
    assert!(
        referrers
            .iter()
            .any(|descriptor| descriptor.digest == *signature.digest())
    );
    let on = target.referrers(signature.digest(), None).await.unwrap();
    assert_eq!(
        on.iter().map(|d| d.digest).collect::<Vec<_>>(),
        [*countersignature.digest()]
    );
    let found = target.manifest(&Reference::Tag(list_tag)).await.unwrap();
    assert_eq!(found.digest(), list.digest());
    assert!(last.state().blobs[&("e/f".to_owned(), Digest::sha256(&large).to_string())] == large);
}

#[tokio::test]
async fn a_copy_within_one_registry_moves_no_bytes() {
    let (fake, manifest, _, _root) = stocked(Quirks::default()).await;
    let before = fake.state().received;
    let (from, to) = (
        Place::Registry(fake.store("a/b")),
        Place::Registry(fake.store("c/d")),
    );
    let copied = copy(&from, &to, &manifest, Some(&tag("1.0")), &options())
        .await
        .unwrap();
    assert_eq!((copied.bytes_moved, copied.blobs_present), (0, 3));
    assert_eq!(fake.state().received, before);
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

#[tokio::test]
async fn a_refused_release_says_that_the_content_waits() {
    let root = tempfile::tempdir().unwrap();
    let (layout, manifest, _) = packed(root.path());
    let detail = json!({"reason": "release_denied"});
    let fake = FakeRegistry::start(Quirks {
        refuse_tags: Some(detail),
        ..Quirks::default()
    })
    .await;
    let error = push(
        &layout,
        &fake.store("a/b"),
        &manifest,
        Some(&tag("1")),
        &options(),
    )
    .await
    .unwrap_err();
    assert_eq!(error.outcome(), Outcome::Refused);
    assert!(
        error
            .hints()
            .iter()
            .any(|hint| hint.contains("sealstone release")),
        "{:?}",
        error.hints()
    );
    assert_eq!(fake.state().manifests.len(), 1);
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
