//! What is logged is in the log before it is answered, once, and proved.

use super::bench::{push_tag, ready};
use super::reader::{
    Hash, check_note, checkpoint, climb, entries, hash_of, leaf, logged, text, vkey,
};
use crate::content::*;
use data_encoding::BASE64;
use reqwest::Method;
use sealstone_spec::digest::Digest;
use sealstone_spec::envelope::seal;
use sealstone_spec::key::{SecretKey, Signer as _};
use sealstone_spec::log::{LogTrust, Rekord, TlogEntry};
use sealstone_spec::manifest::Descriptor;
use sealstone_spec::media;
use sealstone_spec::sigstore::referrer_manifest;
use sealstone_spec::statement::predicate;
use sealstone_tests::registry::{Setup, User};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_in_the_log_before_its_push_is_answered() {
    let registry = ready(Setup::default()).await;
    let key = vkey(&registry).await;
    let before = checkpoint(&registry).await;
    let answer = push_tag(&registry, "a", "v1").await.expect(201);
    let digest = answer.header("docker-content-digest").to_owned();
    let index: u64 = answer.header("sealstone-log-index").parse().unwrap();
    let size: u64 = answer.header("sealstone-log-checkpoint").parse().unwrap();
    assert_eq!(answer.header("sealstone-log-origin"), "localhost");
    let now = checkpoint(&registry).await;
    assert!(before.size <= index && index < size && size <= now.size);
    let all = entries(&registry, &now).await;
    let entry: Value = serde_json::from_slice(&all[index as usize]).unwrap();
    assert_eq!(entry["kind"], "dev.sealstone.event");
    let spec = &entry["spec"];
    assert_eq!(
        (
            spec["op"].as_str(),
            spec["repository"].as_str(),
            spec["tag"].as_str(),
            spec["digest"].as_str()
        ),
        (
            Some("release"),
            Some("a"),
            Some("v1"),
            Some(digest.as_str())
        )
    );
    assert_eq!(spec["actor"], "user:admin");

    // The proof file, read by hand.
    let file = text(
        &registry,
        &registry.admin,
        "/api/v1/log/proof?repository=a&tag=v1",
    )
    .await;
    let (head, note) = file.split_once("\n\n").unwrap();
    let lines: Vec<&str> = head.lines().collect();
    assert_eq!(lines[0], "c2sp.org/tlog-proof@v1");
    let extra = BASE64
        .decode(lines[1].strip_prefix("extra ").unwrap().as_bytes())
        .unwrap();
    assert_eq!(extra, all[index as usize]);
    assert_eq!(lines[2], format!("index {index}"));
    let path: Vec<Hash> = lines[3..].iter().map(|line| hash_of(line)).collect();
    let shown = check_note(note, &key);
    assert_eq!(climb(index, shown.size, leaf(&extra), &path), shown.root);

    // Deleting is an event of the same chain.
    delete(&registry, &registry.admin, "/v2/a/manifests/v1")
        .await
        .expect(202);
    let all = entries(&registry, &checkpoint(&registry).await).await;
    let last: Value = serde_json::from_slice(all.last().unwrap()).unwrap();
    assert_eq!(last["spec"]["op"], "untag");
    assert_eq!(
        hash_of(last["spec"]["prev"].as_str().unwrap()),
        leaf(&extra)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_logged_is_in_the_log_before_it_is_answered() {
    let registry = ready(Setup::default()).await;
    let admin = &registry.admin;
    let tagged = push_tag(&registry, "a", "v1").await.expect(201);
    let digest: Digest = tagged.header("docker-content-digest").parse().unwrap();
    let image = get(&registry, admin, "/v2/a/manifests/v1").await;
    let subject = Descriptor::new(MANIFEST, digest, image.expect(200).body.len() as u64);
    let put = async |reference: &str, bytes: &[u8]| {
        let answer = put_manifest(&registry, admin, "a", reference, bytes).await;
        answer.expect(201)
    };
    let at = |answer: &Answer| -> usize { answer.header("sealstone-log-index").parse().unwrap() };

    // A statement by its digest, and the same once more.
    push_blob(&registry, admin, "a", b"bundle").await;
    let referrer = referrer_manifest(&subject, b"bundle", predicate::SVR, "2026-01-01T00:00:00Z");
    let reference = Digest::sha256(&referrer).to_string();
    let attached = put(&reference, &referrer).await;
    let all = logged(&registry).await;
    let entry = &all[at(&attached)];
    assert_eq!(
        (&entry["op"], &entry["statement"]),
        (&json!("approve"), &json!(reference))
    );
    assert_eq!(entry["digest"], digest.to_string());
    let contains: u64 = attached.header("sealstone-log-checkpoint").parse().unwrap();
    assert_eq!(contains, all.len() as u64);
    let again = put(&reference, &referrer).await;
    assert_eq!(at(&again), at(&attached));

    // A list of evidence.
    let list = format!("sha256-{}.sig", digest.hex());
    let mut signatures = manifest(&[]);
    signatures["layers"] = json!([descriptor(media::COSIGN_SIMPLE_SIGNING, b"{}")]);
    let listed = put(&list, signatures.to_string().as_bytes()).await;
    let all = logged(&registry).await;
    let entry = &all[at(&listed)];
    assert_eq!((&entry["op"], &entry["tag"]), (&json!("tag"), &json!(list)));

    // What is only staged has no entry; that it goes has one.
    let mut staged = manifest(&[b"{}"]);
    staged["annotations"] = json!({"staged": "yes"});
    let staged = staged.to_string();
    let reference = Digest::sha256(staged.as_bytes()).to_string();
    let answer = put(&reference, staged.as_bytes()).await;
    assert_eq!(answer.header("sealstone-log-index"), "");
    assert_eq!(logged(&registry).await.len(), all.len());
    let path = format!("/v2/a/manifests/{reference}");
    delete(&registry, admin, &path).await.expect(202);
    let after = logged(&registry).await;
    assert_eq!(after.len(), all.len() + 1);
    let last = &after[all.len()];
    assert_eq!(
        (&last["op"], &last["digest"]),
        (&json!("delete"), &json!(reference))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_is_logged_once_and_proved_to_sigstores_rules() {
    let registry = ready(Setup::default()).await;
    let key = SecretKey::p256_from_seed(&[2; 32]).unwrap();
    let envelope = seal("application/vnd.in-toto+json", b"{}", &key).unwrap();
    let rekord = Rekord::of_envelope(&envelope, key.public_key()).unwrap();
    let trust = LogTrust::in_logs([vkey(&registry).await.trim().parse().unwrap()]).unwrap();
    let submit = |body: Vec<u8>| {
        registry
            .request(
                &registry.admin,
                Method::POST,
                "/api/v1/log/entries?repository=a",
            )
            .body(body)
    };
    let first = send(submit(rekord.to_bytes())).await.expect(201);
    let entry = TlogEntry::read(&first.json()).unwrap();
    let logged = entry.verify(&envelope, key.public_key(), &trust).unwrap();
    let again = send(submit(rekord.to_bytes())).await.expect(201);
    assert_eq!(
        TlogEntry::read(&again.json()).unwrap().index(),
        logged.evidence().index()
    );
    let size = checkpoint(&registry).await.size;
    let mut forged = rekord.to_bytes();
    let at = forged.len() / 2;
    forged[at] ^= 1;
    assert_eq!(send(submit(forged)).await.status, 400);
    let nobody = registry.request(
        &User::nobody(),
        Method::POST,
        "/api/v1/log/entries?repository=a",
    );
    assert_eq!(send(nobody.body(rekord.to_bytes())).await.status, 401);
    assert_eq!(checkpoint(&registry).await.size, size);
}
