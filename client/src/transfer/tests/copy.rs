//! What goes along with a copy, over registries and layouts.

use super::stock::{options, referrer, stocked, tag};
use crate::layout::LayoutStore;
use crate::store::Store as _;
use crate::transfer::{Place, copy};
use crate::transport::testing::{FakeRegistry, Quirks};
use sealstone_spec::digest::Digest;
use sealstone_spec::name::Reference;

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
