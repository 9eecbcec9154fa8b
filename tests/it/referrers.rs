//! Lists of what speaks of a manifest.

use crate::content::*;
use sealstone_spec::digest::Digest;
use sealstone_tests::registry::Setup;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn who_says_much_of_themselves_hides_nobody_else() {
    let registry = Setup::default().start().await.unwrap();
    let (admin, blob) = (&registry.admin, bytes(100));
    push_blob(&registry, admin, "a", b"{}").await;
    push_blob(&registry, admin, "a", &blob).await;
    let image = manifest(&[&blob]).to_string();
    let subject = Digest::sha256(image.as_bytes());
    put_manifest(&registry, admin, "a", "said", image.as_bytes())
        .await
        .expect(201);
    let about = |len: usize, number: usize| {
        let mut referrer = manifest(&[&blob]);
        referrer["subject"] = descriptor(MANIFEST, image.as_bytes());
        referrer["annotations"] = json!({"number": number.to_string(), "much": "x".repeat(len)});
        referrer
    };
    let push = async |document: &Value| {
        let text = document.to_string();
        let digest = Digest::sha256(text.as_bytes()).to_string();
        put_manifest(&registry, admin, "a", &digest, text.as_bytes()).await
    };
    // In one that speaks of nothing, annotations take part in no list.
    let mut long = about(300_000, 0);
    let refused = push(&long).await.expect(400);
    assert_eq!(refused.code(), "MANIFEST_INVALID");
    long.as_object_mut().unwrap().remove("subject");
    push(&long).await.expect(201);
    let mut typed = about(0, 0);
    typed["artifactType"] = json!("x".repeat(300_000));
    push(&typed).await.expect(400);
    for number in 0..12 {
        push(&about(250_000, number)).await.expect(201);
    }
    let (mut path, mut pages, mut seen) = (format!("/v2/a/referrers/{subject}"), 0, 0);
    loop {
        let page = get(&registry, admin, &path).await.expect(200);
        assert!(page.body.len() < 2_200_000, "{}", page.body.len());
        seen += page.json()["manifests"].as_array().unwrap().len();
        pages += 1;
        let Some(next) = page.header("link").strip_prefix('<') else {
            break;
        };
        path = next.split('>').next().unwrap().to_owned();
    }
    assert_eq!((pages, seen), (2, 12));
}
