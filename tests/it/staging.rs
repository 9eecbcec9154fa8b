//! What consumers see: nothing staged, everything released, nothing retracted.

use crate::content::*;
use sealstone_spec::digest::Digest;
use sealstone_tests::registry::{Setup, TestRegistry, User};
use serde_json::json;

struct People {
    pusher: User,
    signer: User,
    reader: User,
}

async fn ready() -> (TestRegistry, People) {
    let rule = |who: &str, verbs: &str| {
        format!(
            "[[access]]\nrepositories = [\"m/**\"]\nwho = [\"user:{who}\"]\nverbs = [{verbs}]\n"
        )
    };
    let access = rule("pusher", "\"push\", \"tag\", \"delete\"")
        + &rule("signer", "\"pull\", \"sign\"")
        + &rule("reader", "\"pull\"");
    let registry = Setup {
        access,
        ..Setup::default()
    }
    .start()
    .await
    .unwrap();
    let people = People {
        pusher: registry.account("pusher", "user").await.unwrap(),
        signer: registry.account("signer", "user").await.unwrap(),
        reader: registry.account("reader", "user").await.unwrap(),
    };
    (registry, people)
}

/// Every way to read an image, except for lists.
fn ways(image: &Image) -> Vec<String> {
    vec![
        format!("/v2/m/x/manifests/{}", image.digest),
        format!("/v2/m/x/blobs/{}", image.layer),
        format!("/v2/m/x/blobs/{}", Digest::sha256(b"{}")),
        format!("/v2/m/x/_sealstone/tree/{}", image.layer),
    ]
}

async fn statuses(registry: &TestRegistry, who: &User, ways: &[String]) -> Vec<u16> {
    let mut found = Vec::new();
    for path in ways {
        found.push(get(registry, who, path).await.status);
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn staged_content_is_for_those_who_write() {
    let (
        registry,
        People {
            pusher,
            signer,
            reader,
        },
    ) = ready().await;
    let image = push_image(&registry, &pusher, "m/x", None, MIB).await;
    assert_eq!(statuses(&registry, &reader, &ways(&image)).await, [404; 4]);
    assert_eq!(statuses(&registry, &pusher, &ways(&image)).await, [200; 4]);
    assert_eq!(statuses(&registry, &signer, &ways(&image)).await, [200; 4]);
    let staged = get(&registry, &pusher, &ways(&image)[0]).await;
    assert_eq!(staged.header("sealstone-visibility"), "staged");
    assert_eq!(head(&registry, &reader, &ways(&image)[1]).await.status, 404);

    let digest = image.digest.to_string();
    let again = put_manifest(&registry, &pusher, "m/x", &digest, &image.manifest).await;
    assert_eq!(
        again.expect(201).header("warning"),
        "299 - \"staged: visible to consumers only once a tag releases it\""
    );
    let released = put_manifest(&registry, &pusher, "m/x", "v1", &image.manifest)
        .await
        .expect(201);
    assert_eq!(released.header("warning"), "");
    assert_eq!(statuses(&registry, &reader, &ways(&image)).await, [200; 4]);
    let released = get(&registry, &reader, "/v2/m/x/manifests/v1")
        .await
        .expect(200);
    assert_eq!(released.header("sealstone-visibility"), "released");
    assert_eq!(released.body, image.manifest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retracted_release_is_hidden_again() {
    let (registry, People { pusher, reader, .. }) = ready().await;
    let image = push_image(&registry, &pusher, "m/x", Some("v1"), MIB).await;
    let kept = push_image(&registry, &pusher, "m/x", Some("v2"), MIB).await;
    assert_eq!(statuses(&registry, &reader, &ways(&image)).await, [200; 4]);
    delete(&registry, &pusher, "/v2/m/x/manifests/v1")
        .await
        .expect(202);
    // The empty config is still seen through the other release.
    assert_eq!(
        statuses(&registry, &reader, &ways(&image)).await,
        [404, 404, 200, 404]
    );
    assert_eq!(
        get(&registry, &reader, "/v2/m/x/manifests/v1")
            .await
            .expect(404)
            .detail()["reason"],
        "tag_tombstoned"
    );
    assert_eq!(
        get(&registry, &reader, "/v2/m/x/tags/list").await.json()["tags"],
        json!(["v2"])
    );
    assert_eq!(statuses(&registry, &reader, &ways(&kept)).await, [200; 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn referrers_are_seen_with_their_subject() {
    let (
        registry,
        People {
            pusher,
            signer,
            reader,
        },
    ) = ready().await;
    let image = push_image(&registry, &pusher, "m/x", None, 2 * KIB).await;
    let note = bytes(300);
    push_blob(&registry, &signer, "m/x", &note).await;
    let mut referrer = manifest(&[&note]);
    referrer["subject"] = descriptor(MANIFEST, &image.manifest);
    let text = referrer.to_string();
    let digest = Digest::sha256(text.as_bytes());
    put_manifest(
        &registry,
        &signer,
        "m/x",
        &digest.to_string(),
        text.as_bytes(),
    )
    .await
    .expect(201);
    let list = format!("/v2/m/x/referrers/{}", image.digest);
    let ways = [
        format!("/v2/m/x/manifests/{digest}"),
        format!("/v2/m/x/blobs/{}", Digest::sha256(&note)),
    ];
    let count = |answer: Answer| answer.json()["manifests"].as_array().unwrap().len();
    assert_eq!(count(get(&registry, &reader, &list).await.expect(200)), 0);
    assert_eq!(count(get(&registry, &signer, &list).await.expect(200)), 1);
    assert_eq!(statuses(&registry, &reader, &ways).await, [404; 2]);
    put_manifest(&registry, &pusher, "m/x", "v1", &image.manifest)
        .await
        .expect(201);
    assert_eq!(count(get(&registry, &reader, &list).await.expect(200)), 1);
    assert_eq!(statuses(&registry, &reader, &ways).await, [200; 2]);
    // Signers add evidence, and nothing else.
    let plain = manifest(&[&note]).to_string();
    let own = Digest::sha256(plain.as_bytes()).to_string();
    put_manifest(&registry, &signer, "m/x", &own, plain.as_bytes())
        .await
        .expect(403);
    put_manifest(&registry, &signer, "m/x", "v2", text.as_bytes())
        .await
        .expect(403);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_shows_its_children() {
    let (registry, People { pusher, reader, .. }) = ready().await;
    let one = push_image(&registry, &pusher, "m/x", None, 70 * KIB).await;
    let two = push_image(&registry, &pusher, "m/x", None, 70 * KIB).await;
    let hidden = push_image(&registry, &pusher, "m/x", None, 70 * KIB).await;
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(MANIFEST, &one.manifest), descriptor(MANIFEST, &two.manifest)]});
    put_manifest(
        &registry,
        &pusher,
        "m/x",
        "v1",
        index.to_string().as_bytes(),
    )
    .await
    .expect(201);
    for image in [&one, &two] {
        assert_eq!(statuses(&registry, &reader, &ways(image)).await, [200; 4]);
    }
    assert_eq!(
        statuses(&registry, &reader, &ways(&hidden)).await[..2],
        [404; 2]
    );
    delete(&registry, &pusher, "/v2/m/x/manifests/v1")
        .await
        .expect(202);
    assert_eq!(statuses(&registry, &reader, &ways(&one)).await, [404; 4]);
}
