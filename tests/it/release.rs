//! The release gate: what policy asks for must be there, and stays there.

use crate::content::*;
use sealstone_spec::digest::Digest;
use sealstone_spec::key::{SecretKey, Signer};
use sealstone_spec::manifest::Descriptor;
use sealstone_spec::policy::{Time, lifecycle};
use sealstone_spec::sigstore::{SigstoreBundle, referrer_manifest};
use sealstone_spec::statement::{Statement, Subject, predicate};
use sealstone_tests::registry::{Setup, TestRegistry, User};
use serde_json::{Value, json};

const CREATED: &str = "2026-01-01T00:00:00Z";

fn key(number: u8) -> SecretKey {
    SecretKey::ed25519_from_seed(&[number; 32]).unwrap()
}

/// A policy under which releases in `m/**` need signatures of `threshold` of these identities.
fn policy(identities: &[(&str, &SecretKey)], threshold: usize) -> String {
    let mut text = String::from("schema = \"sealstone-policy/v1\"\n");
    for (name, key) in identities {
        text.push_str(&format!(
            "[[identity]]\nname = \"{name}\"\nkeys = [\"\"\"{}\"\"\"]\n",
            key.public_key().to_pem()
        ));
    }
    let names: Vec<&str> = identities.iter().map(|(name, _)| *name).collect();
    text + &format!(
        "[[scope]]\nrepositories = [\"m/**\"]\ntags = \"immutable\"\nstaging = true\n[[scope.require]]\nrule = \"signatures\"\nthreshold = {threshold}\nidentities = {names:?}\n"
    )
}

const ACCESS: &str = r#"
[[access]]
repositories = ["m/**"]
who = ["user:reader"]
verbs = ["pull"]
[[access]]
repositories = ["m/**"]
who = ["user:signer"]
verbs = ["pull", "sign"]
"#;

async fn ready(policy: String) -> (TestRegistry, User) {
    let registry = Setup {
        policy,
        access: ACCESS.into(),
        ..Setup::default()
    }
    .start()
    .await
    .unwrap();
    let reader = registry.account("reader", "user").await.unwrap();
    (registry, reader)
}

/// What a signature says, for tests in which it lies.
struct Claim<'a> {
    statement: &'a Digest,
    subject: &'a Digest,
    size: u64,
}

impl<'a> Claim<'a> {
    fn of(image: &'a Image) -> Claim<'a> {
        Claim {
            statement: &image.digest,
            subject: &image.digest,
            size: image.manifest.len() as u64,
        }
    }
}

/// Attaches a signature: the answer to its manifest, and the manifest's digest.
async fn attach(
    registry: &TestRegistry,
    claim: Claim<'_>,
    signer: &dyn Signer,
) -> (Answer, Digest) {
    let statement = Statement::new(
        vec![Subject::new("x", claim.statement)],
        predicate::COSIGN_SIGN,
        serde_json::Map::new(),
    );
    say(registry, claim, &statement, signer).await
}

/// The same for any statement.
async fn say(
    registry: &TestRegistry,
    claim: Claim<'_>,
    statement: &Statement,
    signer: &dyn Signer,
) -> (Answer, Digest) {
    let admin = &registry.admin;
    let bundle = SigstoreBundle::sign(statement, signer).unwrap().to_bytes();
    push_blob(registry, admin, "m/x", &bundle).await;
    push_blob(registry, admin, "m/x", b"{}").await;
    let subject = Descriptor::new(MANIFEST, *claim.subject, claim.size);
    let manifest = referrer_manifest(&subject, &bundle, &statement.predicate_type, CREATED);
    let digest = Digest::sha256(&manifest);
    (
        put_manifest(registry, admin, "m/x", &digest.to_string(), &manifest).await,
        digest,
    )
}

async fn sign(registry: &TestRegistry, image: &Image, signer: &dyn Signer) -> Digest {
    let (answer, digest) = attach(registry, Claim::of(image), signer).await;
    answer.expect(201);
    digest
}

async fn revoke(registry: &TestRegistry, image: &Image, signer: &dyn Signer) -> Digest {
    let subject = vec![Subject::new("x", &image.digest)];
    let statement = lifecycle::revocation(subject, "leaked", Time::from_seconds(0));
    let (answer, digest) = say(registry, Claim::of(image), &statement, signer).await;
    answer.expect(201);
    digest
}

async fn release(registry: &TestRegistry, image: &Image, tag: &str) -> Answer {
    put_manifest(registry, &registry.admin, "m/x", tag, &image.manifest).await
}

async fn staged(registry: &TestRegistry) -> Image {
    push_image(registry, &registry.admin, "m/x", None, 2 * KIB).await
}

#[track_caller]
fn denied(answer: Answer) -> serde_json::Value {
    let answer = answer.expect(403);
    assert_eq!(answer.code(), "DENIED");
    let detail = answer.detail();
    assert_eq!(detail["reason"], "release_denied");
    assert!(!detail["unmet"].as_array().unwrap().is_empty());
    detail
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsigned_release_is_refused_with_what_is_missing() {
    let (registry, reader) = ready(policy(&[("release", &key(1))], 1)).await;
    let image = staged(&registry).await;
    let detail = denied(release(&registry, &image, "v1").await);
    assert_eq!(detail["manifest"], image.digest.to_string());
    assert_eq!(detail["unmet"][0]["rule"], "signatures");
    assert!(
        detail["unmet"][0]["reason"]
            .as_str()
            .unwrap()
            .contains("release"),
        "{detail}"
    );
    get(&registry, &registry.admin, "/v2/m/x/manifests/v1")
        .await
        .expect(404);
    get(
        &registry,
        &reader,
        &format!("/v2/m/x/manifests/{}", image.digest),
    )
    .await
    .expect(404);
    assert!(
        registry
            .metric("sealstone_release_denials_total", "")
            .await
            .unwrap()
            >= 1.0
    );
    // In no other way either.
    denied(
        put_manifest(
            &registry,
            &registry.admin,
            "m/x",
            &format!("{}?tag=v1", image.digest),
            &image.manifest,
        )
        .await,
    );
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(MANIFEST, &image.manifest)]});
    denied(
        put_manifest(
            &registry,
            &registry.admin,
            "m/x",
            "v1",
            index.to_string().as_bytes(),
        )
        .await,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_release_is_accepted_by_either_algorithm() {
    let p256 = SecretKey::p256_from_seed(&[5; 32]).unwrap();
    for signer in [key(1), p256] {
        let (registry, reader) = ready(policy(&[("release", &signer)], 1)).await;
        let image = staged(&registry).await;
        sign(&registry, &image, &signer).await;
        get(
            &registry,
            &reader,
            &format!("/v2/m/x/manifests/{}", image.digest),
        )
        .await
        .expect(404);
        release(&registry, &image, "v1").await.expect(201);
        assert_eq!(
            get(&registry, &reader, "/v2/m/x/manifests/v1")
                .await
                .expect(200)
                .body,
            image.manifest
        );
        assert_eq!(
            get(
                &registry,
                &reader,
                &format!("/v2/m/x/blobs/{}", image.layer)
            )
            .await
            .expect(200)
            .body,
            image.blob
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_counts_for_its_own_manifest_and_by_a_trusted_key_only() {
    let (registry, _) = ready(policy(&[("release", &key(1))], 1)).await;
    let (image, other) = (staged(&registry).await, staged(&registry).await);
    sign(&registry, &image, &key(2)).await;
    denied(release(&registry, &image, "v1").await);
    // It says another manifest than it is attached to.
    let claim = Claim {
        statement: &other.digest,
        ..Claim::of(&image)
    };
    attach(&registry, claim, &key(1)).await.0.expect(201);
    let detail = denied(release(&registry, &image, "v1").await);
    assert!(
        !detail["ignored"].as_array().unwrap().is_empty(),
        "{detail}"
    );
    // It is about this one, but attached to another.
    let claim = Claim {
        statement: &image.digest,
        ..Claim::of(&other)
    };
    attach(&registry, claim, &key(1)).await.0.expect(201);
    denied(release(&registry, &image, "v1").await);
    denied(release(&registry, &other, "v1").await);
    sign(&registry, &image, &key(1)).await;
    release(&registry, &image, "v1").await.expect(201);
    denied(release(&registry, &other, "v2").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_with_a_wrong_size_is_refused_or_does_not_count() {
    let (registry, _) = ready(policy(&[("release", &key(1))], 1)).await;
    let image = staged(&registry).await;
    let claim = Claim {
        size: image.manifest.len() as u64 + 1,
        ..Claim::of(&image)
    };
    let (answer, _) = attach(&registry, claim, &key(1)).await;
    assert_eq!(answer.status, 400);
    denied(release(&registry, &image, "v1").await);
    // Attached before its subject came, nobody could compare.
    let manifest = manifest(&[b"{}"]).to_string();
    let digest = Digest::sha256(manifest.as_bytes());
    attach(
        &registry,
        Claim {
            statement: &digest,
            subject: &digest,
            size: 7,
        },
        &key(1),
    )
    .await
    .0
    .expect(201);
    let answer = put_manifest(&registry, &registry.admin, "m/x", "v1", manifest.as_bytes()).await;
    denied(answer);
}

#[tokio::test(flavor = "multi_thread")]
async fn k_of_n_counts_identities_not_signatures() {
    let keys = [key(1), key(2), key(3)];
    let (registry, _) = ready(policy(
        &[("a", &keys[0]), ("b", &keys[1]), ("c", &keys[2])],
        2,
    ))
    .await;
    let image = staged(&registry).await;
    sign(&registry, &image, &keys[0]).await;
    denied(release(&registry, &image, "v1").await);
    // The same signer once more, in another envelope.
    let mut again = Claim::of(&image);
    again.statement = &image.digest;
    attach(&registry, again, &keys[0]).await;
    denied(release(&registry, &image, "v1").await);
    sign(&registry, &image, &keys[2]).await;
    release(&registry, &image, "v1").await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_policy_hides_and_shows_what_was_released() {
    let (mut registry, reader) = ready(policy(&[("release", &key(1))], 1)).await;
    let image = staged(&registry).await;
    sign(&registry, &image, &key(1)).await;
    release(&registry, &image, "v1").await.expect(201);
    let ways = [
        "/v2/m/x/manifests/v1".to_owned(),
        format!("/v2/m/x/manifests/{}", image.digest),
        format!("/v2/m/x/blobs/{}", image.layer),
    ];
    for (trusted, shown) in [(2, false), (1, true), (3, false), (1, true)] {
        registry.setup().policy = policy(&[("release", &key(trusted))], 1);
        registry.crash().await.unwrap();
        for path in &ways {
            let status = get(&registry, &reader, path).await.status;
            assert!(
                if shown {
                    status == 200
                } else {
                    [403, 404].contains(&status)
                },
                "key {trusted}: {path}: {status}"
            );
        }
        // Who writes there still sees it, and can mend it.
        get(&registry, &registry.admin, &ways[0]).await.expect(200);
    }
    // It never moved meanwhile, and cannot.
    let other = staged(&registry).await;
    sign(&registry, &other, &key(1)).await;
    assert_eq!(
        release(&registry, &other, "v1").await.expect(409).detail()["existing"],
        image.digest.to_string()
    );
    // Under the new policy a new signature makes it visible again, by pushing the same tag.
    registry.setup().policy = policy(&[("release", &key(2))], 1);
    registry.crash().await.unwrap();
    sign(&registry, &image, &key(2)).await;
    release(&registry, &image, "v1").await.expect(201);
    for path in &ways {
        get(&registry, &reader, path).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_cannot_be_read_stops_the_start() {
    let (mut registry, _) = ready(policy(&[("release", &key(1))], 1)).await;
    registry.kill().unwrap();
    registry.setup().policy =
        "schema = \"sealstone-policy/v1\"\n[[scope]]\nrepositories = [\"m/**\"]\nunknown = 1\n"
            .into();
    let error = registry.start().await.unwrap_err().to_string();
    assert!(
        error.contains("policy") && error.contains("unknown"),
        "{error}"
    );
    registry.setup().policy = policy(&[("release", &key(1))], 1);
    registry.start().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_of_a_release_cannot_be_taken_away() {
    let (registry, reader) = ready(policy(&[("release", &key(1))], 1)).await;
    let admin = &registry.admin;
    let image = staged(&registry).await;
    let evidence = sign(&registry, &image, &key(1)).await;
    release(&registry, &image, "v1").await.expect(201);
    let refused = delete(&registry, admin, &format!("/v2/m/x/manifests/{evidence}"))
        .await
        .expect(409);
    assert_eq!(
        (refused.code().as_str(), &refused.detail()["reason"]),
        ("DENIED", &json!("held_by_release"))
    );
    let listed = get(&registry, &reader, &format!("/v2/m/x/manifests/{evidence}"))
        .await
        .expect(200)
        .json();
    let bundle = listed["layers"][0]["digest"].as_str().unwrap().to_owned();
    delete(&registry, admin, &format!("/v2/m/x/blobs/{bundle}"))
        .await
        .expect(409);
    delete(&registry, admin, &format!("/v2/m/x/blobs/{}", image.layer))
        .await
        .expect(409);
    delete(
        &registry,
        admin,
        &format!("/v2/m/x/manifests/{}", image.digest),
    )
    .await
    .expect(409);
    get(&registry, &reader, "/v2/m/x/manifests/v1")
        .await
        .expect(200);
    let revocation = revoke(&registry, &image, &key(1)).await;
    get(&registry, &reader, "/v2/m/x/manifests/v1")
        .await
        .expect(403);
    // After the retraction it can go; a revocation cannot.
    delete(&registry, admin, "/v2/m/x/manifests/v1")
        .await
        .expect(202);
    delete(&registry, admin, &format!("/v2/m/x/manifests/{evidence}"))
        .await
        .expect(202);
    let refused = delete(&registry, admin, &format!("/v2/m/x/manifests/{revocation}"))
        .await
        .expect(409);
    assert_eq!(
        (refused.code().as_str(), &refused.detail()["reason"]),
        ("DENIED", &json!("revocation_is_final"))
    );
    // So it is never released again.
    sign(&registry, &image, &key(1)).await;
    let detail = denied(release(&registry, &image, "v2").await);
    assert_eq!(detail["unmet"][0]["rule"], "revocation");
}

/// Something new said about an image, stored, as the descriptor under which a list has it.
async fn evidence(registry: &TestRegistry, image: &Image, suffix: &str) -> Value {
    let (admin, note) = (&registry.admin, bytes(60));
    push_blob(registry, admin, "a", &note).await;
    match suffix {
        ".sig" => descriptor("application/vnd.dev.cosign.simplesigning.v1+json", &note),
        ".att" => descriptor("application/vnd.dsse.envelope.v1+json", &note),
        _ => {
            let mut referrer = manifest(&[&note]);
            referrer["subject"] = descriptor(MANIFEST, &image.manifest);
            let text = referrer.to_string();
            let digest = Digest::sha256(text.as_bytes()).to_string();
            let put = put_manifest(registry, admin, "a", &digest, text.as_bytes());
            put.await.expect(201);
            descriptor(MANIFEST, text.as_bytes())
        }
    }
}

/// The list that stands under a tag with this suffix.
fn list_of(suffix: &str, said: Vec<Value>) -> Value {
    if suffix.is_empty() {
        return json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": said});
    }
    let mut list = manifest(&[]);
    list["layers"] = said.into();
    list
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_evidence_is_no_way_around_the_policy() {
    let (registry, reader) = ready(policy(&[("release", &key(1))], 1)).await;
    let admin = &registry.admin;
    let image = staged(&registry).await;
    sign(&registry, &image, &key(1)).await;
    release(&registry, &image, "v1").await.expect(201);
    let other = staged(&registry).await;
    let index = json!({
        "schemaVersion": 2, "mediaType": INDEX,
        "manifests": [descriptor(MANIFEST, &other.manifest)],
    });
    let hex = image.digest.hex();
    for suffix in ["", ".sig", ".att", ".sbom"] {
        for content in [&other.manifest, &index.to_string().into_bytes()] {
            let tag = format!("sha256-{hex}{suffix}");
            let refused = put_manifest(&registry, admin, "m/x", &tag, content)
                .await
                .expect(400);
            assert_eq!(refused.code(), "MANIFEST_INVALID", "{tag}");
            let path = format!("/v2/m/x/manifests/{tag}");
            get(&registry, &reader, &path).await.expect(404);
        }
    }
    // Nor does a list keep in sight what it speaks of, by speaking of itself.
    let own = json!({
        "schemaVersion": 2, "mediaType": INDEX,
        "manifests": [descriptor(MANIFEST, &image.manifest)],
    });
    let tag = format!("sha256-{hex}");
    put_manifest(&registry, admin, "m/x", &tag, own.to_string().as_bytes())
        .await
        .expect(400);
    for digest in [&other.digest, &Digest::sha256(own.to_string().as_bytes())] {
        get(&registry, &reader, &format!("/v2/m/x/manifests/{digest}"))
            .await
            .expect(404);
    }
    // Nor does an index that speaks of the release, whoever pushes it, nor one that is only listed.
    let signer = registry.account("signer", "user").await.unwrap();
    let about = |children: &[&[u8]]| {
        let children = children.iter().map(|child| descriptor(MANIFEST, child));
        json!({
            "schemaVersion": 2, "mediaType": INDEX,
            "manifests": children.collect::<Vec<Value>>(),
            "subject": descriptor(MANIFEST, &image.manifest),
        })
        .to_string()
        .into_bytes()
    };
    for who in [&signer, admin] {
        for around in [about(&[&other.manifest]), about(&[&image.manifest])] {
            let digest = Digest::sha256(&around).to_string();
            let refused = put_manifest(&registry, who, "m/x", &digest, &around)
                .await
                .expect(400);
            assert_eq!(refused.code(), "MANIFEST_INVALID", "{}", who.name);
        }
    }
    for path in [
        format!("manifests/{}", other.digest),
        format!("blobs/{}", other.layer),
    ] {
        get(&registry, &reader, &format!("/v2/m/x/{path}"))
            .await
            .expect(404);
    }
    // An index of referrers may speak of the same, and a referrer may name what it likes: that is seen as evidence.
    let mut weights = manifest(&[&other.blob]);
    weights["subject"] = descriptor(MANIFEST, &image.manifest);
    weights["artifactType"] = json!("application/vnd.example.model");
    let weights = weights.to_string().into_bytes();
    for evidence in [weights.clone(), about(&[&weights])] {
        let digest = Digest::sha256(&evidence).to_string();
        put_manifest(&registry, &signer, "m/x", &digest, &evidence)
            .await
            .expect(201);
        let seen = get(&registry, &reader, &format!("/v2/m/x/manifests/{digest}"))
            .await
            .expect(200);
        assert_eq!(seen.header("sealstone-visibility"), "evidence");
        assert_eq!(seen.header("sealstone-verdict"), "none");
    }
    get(
        &registry,
        &reader,
        &format!("/v2/m/x/manifests/{}", other.digest),
    )
    .await
    .expect(404);
    // What is said about a release is seen, and nobody claims to have judged it.
    let said = get(
        &registry,
        &reader,
        &format!("/v2/m/x/referrers/{}", image.digest),
    )
    .await;
    let referrer = said.json()["manifests"][0]["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    let seen = get(&registry, &reader, &format!("/v2/m/x/manifests/{referrer}"))
        .await
        .expect(200);
    assert_eq!(seen.header("sealstone-verdict"), "none");
    let released = get(&registry, &reader, "/v2/m/x/manifests/v1")
        .await
        .expect(200);
    assert_eq!(released.header("sealstone-verdict"), "admitted");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_evidence_only_grow() {
    let registry = Setup::default().start().await.unwrap();
    let admin = &registry.admin;
    let image = push_image(&registry, admin, "a", Some("v1"), 100).await;
    for suffix in [".sig", ".att", ""] {
        let tag = format!("sha256-{}{suffix}", image.digest.hex());
        let mut said = Vec::new();
        for _ in 0..3 {
            said.push(evidence(&registry, &image, suffix).await);
        }
        let list = |which: &[usize]| {
            let said = which.iter().map(|number| said[*number].clone()).collect();
            list_of(suffix, said).to_string()
        };
        let put = async |which: &[usize]| {
            put_manifest(&registry, admin, "a", &tag, list(which).as_bytes()).await
        };
        put(&[0]).await.expect(201);
        put(&[0, 1]).await.expect(201);
        for fewer in [&[0][..], &[1], &[2], &[]] {
            let refused = put(fewer).await.expect(409);
            assert_eq!(refused.detail()["reason"], "evidence_is_append_only");
        }
        put(&[1, 2, 0]).await.expect(201);
        let found = get(&registry, admin, &format!("/v2/a/manifests/{tag}"))
            .await
            .expect(200);
        assert_eq!(found.body, list(&[1, 2, 0]).as_bytes());
        // Nor can it be deleted and begun anew while the release is there, by its name or by its digest.
        let current = Digest::sha256(list(&[1, 2, 0]).as_bytes());
        for reference in [tag.clone(), current.to_string()] {
            let refused = delete(&registry, admin, &format!("/v2/a/manifests/{reference}"))
                .await
                .expect(409);
            assert_eq!(
                (refused.code().as_str(), &refused.detail()["reason"]),
                ("DENIED", &json!("held_by_release"))
            );
        }
        put(&[0]).await.expect(409);
        let found = get(&registry, admin, &format!("/v2/a/manifests/{tag}")).await;
        assert_eq!(found.expect(200).body, list(&[1, 2, 0]).as_bytes());
    }
    // After the retraction they can go.
    delete(&registry, admin, "/v2/a/manifests/v1")
        .await
        .expect(202);
    let tag = format!("sha256-{}.sig", image.digest.hex());
    delete(&registry, admin, &format!("/v2/a/manifests/{tag}"))
        .await
        .expect(202);
}
