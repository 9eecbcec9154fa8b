//! What goes along with a copy, over registries and layouts.

use super::stock::{layer, options, packed, referrer, stocked, tag};
use crate::layout::LayoutStore;
use crate::store::Store;
use crate::transfer::progress::{Progress, Silent, Track};
use crate::transfer::{Place, TransferOptions, copy};
use crate::transport::testing::{FakeRegistry, Quirks};
use crate::trust::{Listed, add_to_list};
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::media;
use sealstone_spec::name::{Reference, Tag};
use sealstone_spec::sigstore::legacy_image;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

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

/// cosign's list of these signatures over one payload, put where others sign too.
async fn sign_as_cosign(store: &dyn Store, list: &Tag, signatures: &[&str]) -> VerifiedManifest {
    let payload = b"payload".to_vec();
    let signed: Vec<_> = signatures
        .iter()
        .map(|signature| (payload.clone(), signature.as_bytes().to_vec()))
        .collect();
    let image = legacy_image(&signed);
    for blob in [payload, image.config] {
        let digest = Digest::sha256(&blob);
        store.put_blob_bytes(&digest, blob).await.unwrap();
    }
    let made = VerifiedManifest::check(image.manifest, None, None, Algorithm::Sha256).unwrap();
    let listed = add_to_list(store, list, &made, None).await.unwrap();
    assert!(matches!(listed, Listed::Whole), "{listed:?}");
    made
}

/// What is told beside how blobs move.
#[derive(Debug, Default)]
struct Notes(Mutex<Vec<String>>);

impl Progress for Notes {
    fn begin(&self, _verb: &'static str, _label: &str, _size: u64) -> Box<dyn Track> {
        Box::new(Silent)
    }

    fn note(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

/// Copies under a tag and without one, and asserts that `there` stays the list under its tag and `ours` is there beside it.
async fn must_stay(
    source: &Place,
    to: &Place,
    manifest: &VerifiedManifest,
    list: &Tag,
    ours: &VerifiedManifest,
) {
    let target = to.store();
    let by = |reference: Reference| async move { target.manifest(&reference).await.unwrap() };
    let before = by(Reference::Tag(list.clone())).await;
    for name in [None, Some(tag("2.0"))] {
        let notes = Arc::new(Notes::default());
        let options = TransferOptions {
            progress: notes.clone(),
            ..options()
        };
        copy(source, to, manifest, name.as_ref(), &options)
            .await
            .unwrap();
        let told = notes.0.lock().unwrap().join("\n");
        assert!(told.contains(list.as_str()), "{told}");
        let after = by(Reference::Tag(list.clone())).await;
        assert_eq!(after.digest(), before.digest());
        let kept = by(Reference::Digest(*ours.digest())).await;
        assert_eq!(kept.bytes(), ours.bytes());
        // It is taken for nothing else.
        if let Some(only) = target.only_manifest() {
            assert_eq!(only.unwrap().digest(), manifest.digest());
        }
    }
    let released = by(Reference::Tag(tag("2.0"))).await;
    assert_eq!(released.digest(), manifest.digest());
}

async fn signatures(store: &dyn Store, list: &Tag) -> usize {
    let found = store.manifest(&Reference::Tag(list.clone())).await.unwrap();
    found.layers().len()
}

#[tokio::test]
async fn a_copy_keeps_the_signatures_that_are_there() {
    let root = tempfile::tempdir().unwrap();
    let (source, manifest, _) = packed(root.path());
    let list = tag(&format!("sha256-{}.sig", manifest.digest().hex()));
    let first = sign_as_cosign(&source, &list, &["alice"]).await;
    let fake = FakeRegistry::start(Quirks::default()).await;
    let layout = LayoutStore::open_or_create(root.path().join("there")).unwrap();
    let source = Place::Layout(source);
    for to in [Place::Registry(fake.store("c/d")), Place::Layout(layout)] {
        let there = to.store();
        copy(&source, &to, &manifest, None, &options())
            .await
            .unwrap();
        let found = there.manifest(&Reference::Tag(list.clone())).await.unwrap();
        assert_eq!(found.digest(), first.digest(), "as it was");

        // Whoever received it signs, and it is copied once more: nothing is lost, nor there twice.
        sign_as_cosign(there, &list, &["bob"]).await;
        for _ in 0..2 {
            copy(&source, &to, &manifest, None, &options())
                .await
                .unwrap();
            assert_eq!(signatures(there, &list).await, 2);
        }
    }

    // Signed on both sides.
    sign_as_cosign(source.store(), &list, &["carol"]).await;
    let to = Place::Registry(fake.store("c/d"));
    copy(&source, &to, &manifest, None, &options())
        .await
        .unwrap();
    assert_eq!(signatures(to.store(), &list).await, 3);
    assert_eq!(signatures(source.store(), &list).await, 2);
}

#[tokio::test]
async fn a_bill_of_materials_stays_the_one_layer_that_cosign_reads() {
    let root = tempfile::tempdir().unwrap();
    let (source, manifest, _) = packed(root.path());
    let list = tag(&format!("sha256-{}.sbom", manifest.digest().hex()));
    let ours = sign_as_cosign(&source, &list, &["ours"]).await;
    let fake = FakeRegistry::start(Quirks::default()).await;
    let layout = LayoutStore::open_or_create(root.path().join("there")).unwrap();
    let source = Place::Layout(source);
    for to in [Place::Registry(fake.store("c/d")), Place::Layout(layout)] {
        sign_as_cosign(to.store(), &list, &["theirs"]).await;
        must_stay(&source, &to, &manifest, &list, &ours).await;
    }
    let vacant = Place::Registry(fake.store("e/f"));
    for _ in 0..2 {
        copy(&source, &vacant, &manifest, None, &options())
            .await
            .unwrap();
        let by_tag = Reference::Tag(list.clone());
        let found = vacant.store().manifest(&by_tag).await.unwrap();
        assert_eq!(found.digest(), ours.digest());
    }
}

/// Whoever may push to the destination can put anything under the tag.
#[tokio::test]
async fn a_list_that_cannot_be_added_to_stops_nothing() {
    let checked = |document: Value| {
        VerifiedManifest::check(document.to_string(), None, None, Algorithm::Sha256).unwrap()
    };
    let index_of = |child: &VerifiedManifest| {
        checked(
            json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": [child.descriptor()]}),
        )
    };
    let image = |kind: &str, config: &[u8], size: u64| {
        checked(json!({"schemaVersion": 2, "mediaType": media::OCI_MANIFEST,
            "config": {"mediaType": kind, "digest": Digest::sha256(config), "size": size},
            "layers": [layer("s", b"theirs")]}))
    };
    let root = tempfile::tempdir().unwrap();
    let (source, manifest, _) = packed(root.path());
    let list = tag(&format!("sha256-{}.sig", manifest.digest().hex()));
    let ours = sign_as_cosign(&source, &list, &["ours"]).await;
    let source = Place::Layout(source);
    let fake = FakeRegistry::start(Quirks::default()).await;
    let docker = "application/vnd.docker.container.image.v1+json";
    let odd = [
        index_of(&manifest),
        image(docker, b"{}", 2),
        image(media::OCI_IMAGE_CONFIG, b"{}", 2),
        image(media::OCI_IMAGE_CONFIG, b"nowhere", 7),
        image(media::OCI_IMAGE_CONFIG, b"long", 2 * 1024 * 1024),
    ];
    let places = |number: usize| {
        let path = root.path().join(format!("there-{number}"));
        let layout = LayoutStore::open_or_create(path).unwrap();
        let registry = fake.store(&format!("c/d{number}"));
        [Place::Registry(registry), Place::Layout(layout)]
    };
    for (number, theirs) in odd.iter().enumerate() {
        for to in places(number) {
            for blob in [&b"{}"[..], b"theirs"] {
                let digest = Digest::sha256(blob);
                let stored = to.store().put_blob_bytes(&digest, blob.to_vec());
                stored.await.unwrap();
            }
            let stored = to.store().put_manifest(theirs, Some(&list));
            stored.await.unwrap();
            must_stay(&source, &to, &manifest, &list, &ours).await;
        }
    }

    // The other way round: an image there, and here an index, which no image can hold.
    let said = referrer(&manifest, "said");
    let from = source.store();
    let digest = Digest::sha256(b"said");
    from.put_blob_bytes(&digest, b"said".to_vec())
        .await
        .unwrap();
    from.put_manifest(&said, None).await.unwrap();
    let ours = index_of(&said);
    from.put_manifest(&ours, Some(&list)).await.unwrap();
    for to in places(odd.len()) {
        sign_as_cosign(to.store(), &list, &["theirs"]).await;
        must_stay(&source, &to, &manifest, &list, &ours).await;
    }
}
