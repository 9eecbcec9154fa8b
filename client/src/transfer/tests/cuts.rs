//! Connections that end early, in both directions: what goes on from where, and what is given up.

use super::stock::{LARGE, names, one_stream, options, packed, pull_from, stocked};
use crate::Outcome;
use crate::transfer::{Sessions, TransferOptions, push};
use crate::transport::testing::{FakeRegistry, Quirks};
use sealstone_spec::digest::Digest;
use sealstone_spec::manifest::VerifiedManifest;
use std::fs;
use std::path::Path;

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
