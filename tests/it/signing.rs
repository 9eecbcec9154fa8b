//! `sealstone sign`: in which order it writes.

use crate::model_desk::{Desk, at};
use sealstone_tests::registry::Setup;
use serde_json::json;

/// Whoever sees the tag of older tools finds everything else that this signature came with.
#[tokio::test(flavor = "multi_thread")]
async fn a_signature_is_attached_before_its_tag_names_it() {
    let desk = Desk::new();
    let registry = Setup::default().start().await.unwrap();
    let here = at(&registry, "models/m:1.0.0");
    let pushed = desk
        .run_at(&registry, &["push", "oci:bundle:1.0.0", &here])
        .expect(0);
    let digest = pushed.json["digest"].clone();
    let before = crate::log::logged(&registry).await;
    let is_release = |entry: &&serde_json::Value| entry["op"] == "release";
    let release = before.iter().find(is_release).unwrap();
    assert_eq!(release["digest"], digest);

    let signed = desk
        .run_at(&registry, &["sign", &here, "--key", "alice.key"])
        .expect(0);
    let after = crate::log::logged(&registry).await;
    assert_eq!(after[..before.len()], before);
    let added = &after[before.len()..];
    let place = |field: &str, value: &serde_json::Value| {
        let mut found = (0..added.len()).filter(|index| added[*index][field] == *value);
        let only = (found.next(), found.next());
        let (Some(index), None) = only else {
            panic!("{field} {value}: {only:?} in {added:#?}")
        };
        index
    };
    let tag = place("tag", &signed.json["legacyTag"]);
    assert_eq!(added[tag]["op"], "tag");
    let mut attached = 0;
    for list in ["signatures", "modelSignatures"] {
        for row in signed.json[list].as_array().unwrap() {
            let index = place("statement", &row["referrer"]);
            let entry = &added[index];
            assert_eq!(
                (&entry["op"], &entry["digest"]),
                (&json!("attach"), &digest)
            );
            assert!(index < tag, "{added:#?}");
            attached += 1;
        }
    }
    // By both keys of the pair, and the model signature; and the tag is the end.
    assert_eq!((attached, tag), (3, added.len() - 1), "{added:#?}");
}
