//! Connections that end early, in both directions: what goes on from where, and what is given up.

use super::stock::{LARGE, names, one_stream, options, packed, pull_from, stocked, tag};
use crate::Outcome;
use crate::environment::fetch_image;
use crate::error::Result;
use crate::layout::LayoutStore;
use crate::transfer::{Copied, Downloads, Place, Sessions, TransferOptions, copy, push};
use crate::transport::testing::{FakeRegistry, Quirks};
use sealstone_spec::digest::Digest;
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::recipe::{Environment, IMAGE_DIRECTORY};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

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
        must_be_the_rest(&fake, &options);
    }
}

/// Asserts that no more of the large blob was sent than was missing after half of it.
fn must_be_the_rest(fake: &FakeRegistry, options: &TransferOptions) {
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

/// A registry and a layout that copies go to, and where what is on its way there lies.
struct Copying {
    fake: FakeRegistry,
    manifest: VerifiedManifest,
    options: TransferOptions,
    root: tempfile::TempDir,
    there: FakeRegistry,
}

impl Copying {
    async fn begin(options: TransferOptions) -> (Copying, Vec<u8>) {
        let (fake, manifest, large, _) = stocked(Quirks::default()).await;
        let root = tempfile::tempdir().unwrap();
        let options = TransferOptions {
            downloads: Downloads::in_directory(root.path().join("cache")),
            ..options
        };
        let copying = Copying {
            fake,
            manifest,
            options,
            root,
            there: FakeRegistry::start(Quirks::default()).await,
        };
        (copying, large)
    }

    fn ways(&self) -> [(Place, PathBuf); 2] {
        let layout = LayoutStore::open_or_create(self.root.path().join("layout")).unwrap();
        let blobs = layout.root().join("blobs/sha256");
        let between = self.root.path().join("cache");
        [
            (Place::Layout(layout), blobs),
            (Place::Registry(self.there.store("c/d")), between),
        ]
    }

    async fn copy(&self, to: &Place) -> Result<Copied> {
        let source = Place::Registry(self.fake.store("a/b"));
        self.fake.state().sent = 0;
        copy(
            &source,
            to,
            &self.manifest,
            Some(&tag("1.0")),
            &self.options,
        )
        .await
    }

    /// Copies until the network ends it after half of the large blob: where it left what it has.
    async fn is_cut(&self, to: &Place, place: &Path, large: &[u8]) -> PathBuf {
        self.fake.state().quirks.sends_at_most = Some(LARGE / 2);
        let error = self.copy(to).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::Network, "{error:?}");
        let hints = error.hints().join("\n");
        assert!(hints.contains("goes on from there"), "{hints}");
        self.fake.state().quirks.sends_at_most = None;
        let left = format!(".kept-{}", Digest::sha256(large).hex());
        assert!(names(place).contains(&left), "{:?}", names(place));
        place.join(left).join("blob")
    }
}

fn must_hide_nothing(place: &Path) {
    let names = names(place);
    assert!(names.iter().all(|name| !name.starts_with('.')), "{names:?}");
}

#[tokio::test]
async fn the_next_copy_goes_on_from_what_a_cut_one_left() {
    for options in [options(), one_stream()] {
        let (copying, large) = Copying::begin(options).await;
        for (to, place) in copying.ways() {
            copying.is_cut(&to, &place, &large).await;
            copying.copy(&to).await.unwrap();
            must_be_the_rest(&copying.fake, &copying.options);
            must_hide_nothing(&place);
            assert_eq!(to.store().tags().await.unwrap(), [tag("1.0")]);
        }
        let blob = copying.ways()[0].1.join(Digest::sha256(&large).hex());
        assert!(fs::read(blob).unwrap() == large);
    }
}

#[tokio::test]
async fn what_a_cut_copy_left_is_checked_from_its_first_byte() {
    for options in [options(), one_stream()] {
        let (copying, large) = Copying::begin(options).await;
        let damage = |left: &Path| {
            let mut bytes = fs::read(left).unwrap();
            bytes[5] ^= 1;
            fs::write(left, bytes).unwrap();
        };
        for (to, place) in copying.ways() {
            damage(&copying.is_cut(&to, &place, &large).await);
            copying.copy(&to).await.unwrap();
            must_hide_nothing(&place);
        }
        let blob = copying.ways()[0].1.join(Digest::sha256(&large).hex());
        assert!(fs::read(blob).unwrap() == large);
    }
}

#[tokio::test]
async fn a_copy_of_what_was_changed_after_a_cut_halts_and_nothing_is_left() {
    for options in [options(), one_stream()] {
        let (copying, large) = Copying::begin(options).await;
        let digest = Digest::sha256(&large);
        for (to, place) in copying.ways() {
            copying.is_cut(&to, &place, &large).await;
            copying
                .fake
                .corrupt("a/b", &digest, |content| content[LARGE - 1] ^= 4);
            let error = copying.copy(&to).await.unwrap_err();
            assert_eq!(error.outcome(), Outcome::Halted, "{error:?}");
            must_hide_nothing(&place);
            assert!(to.store().tags().await.unwrap().is_empty());
            copying
                .fake
                .corrupt("a/b", &digest, |content| content[LARGE - 1] ^= 4);
        }
    }
}

/// What lies beside an image of the project would be locked and packed with it.
#[tokio::test]
async fn a_cut_fetch_of_an_image_leaves_nothing_in_the_project() {
    for options in [options(), one_stream()] {
        let (fake, manifest, _, _root) = stocked(Quirks::default()).await;
        let project = tempfile::tempdir().unwrap();
        let environment = Environment::Oci {
            image: format!("{}/a/b@{}", fake.name(), manifest.digest()),
            digest: *manifest.digest(),
            rootfs_in_bundle: true,
        };
        fake.state().sent = 0;
        fake.state().quirks.sends_at_most = Some(LARGE / 2);
        let connect = FakeRegistry::options();
        let fetched = fetch_image(&environment, project.path(), &connect, &options, None).await;
        assert_eq!(fetched.unwrap_err().outcome(), Outcome::Network);
        let layout = project.path().join(IMAGE_DIRECTORY);
        must_hide_nothing(&layout.join("blobs/sha256"));
    }
}

#[tokio::test]
async fn whatever_moves_next_removes_what_nobody_came_back_for() {
    let (copying, large) = Copying::begin(one_stream()).await;
    let [(layout, _), (there, between)] = copying.ways();
    let make_old = |left: &Path| {
        let long_ago = SystemTime::now() - Duration::from_secs(8 * 24 * 60 * 60);
        for path in [left, left.parent().unwrap()] {
            let file = fs::File::open(path).unwrap();
            file.set_modified(long_ago).unwrap();
        }
    };
    make_old(&copying.is_cut(&there, &between, &large).await);
    let target = copying.root.path().join("model");
    pull_from(&copying.fake, &copying.manifest, &target, &copying.options)
        .await
        .unwrap();
    must_hide_nothing(&between);
    make_old(&copying.is_cut(&there, &between, &large).await);
    copying.copy(&layout).await.unwrap();
    must_hide_nothing(&between);
}

/// The upload fails when the download is done: it is not downloaded once more.
#[tokio::test]
async fn what_waits_between_two_registries_is_not_fetched_twice() {
    // One after the other, and the large one first: no other failure ends it sooner.
    let options = TransferOptions {
        parallel: 1,
        ..one_stream()
    };
    let (copying, large) = Copying::begin(options).await;
    let [_, (to, between)] = copying.ways();
    copying.there.state().quirks = Quirks {
        cuts: usize::MAX,
        cut_after: 0,
        ..Quirks::default()
    };
    let error = copying.copy(&to).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Network, "{error:?}");
    assert_eq!(names(&between).len(), 1);
    copying.there.state().quirks = Quirks::default();
    let copied = copying.copy(&to).await.unwrap();
    assert_eq!(copied.bytes_moved, large.len() as u64 + 1000 + 2);
    assert_eq!(copying.fake.state().sent, 0);
    must_hide_nothing(&between);
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
