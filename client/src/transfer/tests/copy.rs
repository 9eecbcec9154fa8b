//! What goes along with a copy, over registries and layouts.

use super::stock::{options, packed, referrer, stocked, tag};
use crate::layout::LayoutStore;
use crate::store::Store;
use crate::transfer::{Place, copy};
use crate::transport::testing::{FakeRegistry, Quirks};
use crate::trust::add_to_list;
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::name::{Reference, Tag};
use sealstone_spec::sigstore::legacy_image;

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
    add_to_list(store, list, &made, None).await.unwrap();
    made
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
        let there = to.store();
        sign_as_cosign(there, &list, &["theirs"]).await;
        copy(&source, &to, &manifest, None, &options())
            .await
            .unwrap();
        let found = there.manifest(&Reference::Tag(list.clone())).await.unwrap();
        assert_eq!(found.digest(), ours.digest(), "as the source has it");
    }
}
