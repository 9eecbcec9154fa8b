//! A release under a signed policy that asks for everything, carried to another registry as one file: judged on the
//! way without a network, and nothing of what was said about it is lost.

use crate::client::Ended;
use crate::content::get;
use crate::log::vkey;
use crate::policy_desk::{Desk, LATER, place, registry, registry_with, released_under};
use sealstone_spec::digest::Digest;
use sealstone_spec::key::{SecretKey, Signer as _};
use sealstone_spec::log::{Entry, LogProof, LogTrust};
use sealstone_spec::record::{ARTIFACT_TYPE, POLICY, TAG_PROOF, statement_proof};
use sealstone_tests::registry::TestRegistry;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// What is attached to a bundle, as the registry lists it.
async fn attached(registry: &TestRegistry, digest: &str) -> BTreeSet<Digest> {
    let path = format!("/v2/models/m/referrers/{digest}");
    let listed = get(registry, &registry.admin, &path).await.expect(200);
    let listed = listed.json();
    let listed = listed["manifests"].as_array().unwrap().iter();
    listed
        .map(|item| item["digest"].as_str().unwrap().parse::<Digest>().unwrap())
        .collect()
}

/// A blob or a manifest, compared with its digest.
async fn content(registry: &TestRegistry, kind: &str, digest: &str) -> Vec<u8> {
    let path = format!("/v2/models/m/{kind}/{digest}");
    let bytes = get(registry, &registry.admin, &path).await.expect(200).body;
    assert_eq!(Digest::sha256(&bytes).to_string(), digest);
    bytes
}

/// The artifact type of a referrer, and its layers by title, or else by digest.
async fn layers(registry: &TestRegistry, digest: &Digest) -> (String, BTreeMap<String, Vec<u8>>) {
    let manifest = content(registry, "manifests", &digest.to_string()).await;
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let mut found = BTreeMap::new();
    for layer in manifest["layers"].as_array().unwrap() {
        let digest = layer["digest"].as_str().unwrap();
        let title = layer["annotations"]["org.opencontainers.image.title"].as_str();
        let bytes = content(registry, "blobs", digest).await;
        found.insert(title.unwrap_or(digest).to_owned(), bytes);
    }
    let kind = manifest["artifactType"].as_str().unwrap_or_default();
    (kind.to_owned(), found)
}

/// The rules by which a verdict admitted, sorted.
fn rules(verified: &Ended) -> Vec<String> {
    let results = verified.json["evaluation"]["results"].as_array().unwrap();
    let mut names = Vec::new();
    for result in results {
        assert_eq!(result["satisfied"], true, "{result}");
        names.push(result["rule"].as_str().unwrap().to_owned());
    }
    names.sort_unstable();
    names
}

const RULES: [&str; 4] = ["approvals", "log", "provenance", "signatures"];

#[tokio::test(flavor = "multi_thread")]
async fn a_release_under_a_signed_policy_is_carried_with_everything_that_was_said() {
    let desk = Desk::new();
    let (one, _) = registry().await;
    let log = vkey(&one).await.trim().to_owned();
    let more = format!("[[scope.require]]\nrule = \"log\"\n[[log]]\nvkey = \"{log}\"\n");
    let digest = released_under(&desk, &one, &more).await;
    let here = place(&one, ":1.0.0");
    let at_one = Some((&one, &one.admin));
    // The bundle is there; what it adds is the list of older tools.
    let alice = ["sign", &here, "--key", "alice.key", "--only"];
    let signed = desk.run(at_one, &alice).expect(0);
    assert_eq!(signed.json["signatures"][0]["wasThere"], true);
    let list = signed.json["legacyTag"].as_str();
    let list = list.unwrap_or_else(|| panic!("{}", signed.everything));
    let list = format!("/v2/models/m/manifests/{list}");
    let listed_at_one = get(&one, &one.admin, &list).await.expect(200).body;
    // Of alice, of the builder, of bob, and two of the registry itself.
    let said = attached(&one, &digest).await;
    assert_eq!(said.len(), 5, "{said:?}");
    let policy = get(&one, &one.admin, "/api/v1/policy").await.expect(200);
    let exported = desk
        .run(at_one, &["export", &here, "release.tar"])
        .expect(0);
    // With the list, and with the registry's record of now.
    assert_eq!(exported.json["evidence"], 7, "{}", exported.everything);
    drop(one);

    // Nobody is asked any more: the policy and the proofs are in the file, and the root keys are one's own.
    for (name, keys) in [
        ("roots.pem", &["root1", "root2"][..]),
        ("other.pem", &["root3"][..]),
        ("both.pem", &["root1", "root3"][..]),
    ] {
        let keys: String = keys.iter().map(|key| desk.public(key)).collect();
        desk.write(name, &keys);
    }
    let verify = |file: &str, roots: &str| {
        let by = ["--root", roots, "--repository", "models/m"];
        desk.run(None, &[&["verify", file][..], &by].concat())
    };
    let verified = verify("release.tar", "roots.pem").expect(0);
    assert_eq!(verified.json["digest"], digest);
    assert_eq!(rules(&verified), RULES);
    assert_eq!(verified.json["repositoryFromArchive"], false);
    assert_eq!(verified.json["repositoryProved"], Value::Null);
    // Where it comes from is in the file as well, proved by the log that the policy trusts, which has one set of rules.
    let by_itself = ["verify", "release.tar", "--root", "roots.pem"];
    let verified = desk.run(None, &by_itself).expect(0);
    assert_eq!(rules(&verified), RULES);
    assert_eq!(verified.json["repositoryFromArchive"], true);
    assert_eq!(verified.json["repositoryProved"], true);
    assert_eq!(verified.json["evaluation"]["repository"], "models/m");
    verified.says("as a log that the policy trusts says");
    // Whoever made the file chose what is in it, and must not choose the rules by that.
    let weaker =
        "[[scope]]\nrepositories = [\"drafts/**\"]\n[[scope.require]]\nrule = \"signatures\"\n";
    desk.signed(
        "scopes.json",
        &desk.policy(2, LATER, &format!("{more}{weaker}")),
    );
    desk.signed("unlogged.json", &desk.policy(2, LATER, ""));
    for (policy, is_proved) in [("scopes.json", true), ("unlogged.json", false)] {
        let by_policy = ["verify", "release.tar", "--policy", policy];
        let refused = desk.run(None, &by_policy).expect(2);
        refused.says("--repository models/m");
        let everything = &refused.everything;
        let stated = format!("\"repositoryProved\":{is_proved}");
        assert!(everything.contains(&stated), "{everything}");
    }
    let by_scopes = ["verify", "release.tar", "--policy", "scopes.json"];
    let named = [&by_scopes[..], &["--repository", "models/m"]].concat();
    let verified = desk.run(None, &named).expect(0);
    assert_eq!(rules(&verified), RULES);
    for roots in ["other.pem", "both.pem"] {
        verify("release.tar", roots)
            .expect(3)
            .says("no policy that the root keys have signed");
    }
    let mut changed = fs::read(desk.directory.path().join("release.tar")).unwrap();
    // The weights are the one stretch of threes.
    let mut windows = changed.windows(64);
    let weights = windows.position(|window| window == [3; 64]).unwrap();
    changed[weights + 100_000] ^= 1;
    fs::write(desk.directory.path().join("changed.tar"), changed).unwrap();
    verify("changed.tar", "roots.pem").expect(4);

    // The second registry works by the same policy, and so by the log of the first; its own has the same name, "localhost",
    // and is another by its key. It says nothing of its own, so
    // that whatever is attached there was carried there.
    let own = "[statements]\nreleases = \"never\"\n";
    let (two, reader) = registry_with(own).await;
    let at_two = Some((&two, &two.admin));
    let (host, there) = (two.address().to_string(), place(&two, ":1.0.0"));
    desk.run(at_two, &["policy", "push", &host, "policy.json"])
        .expect(0);
    desk.run(at_two, &["import", "changed.tar", &there])
        .expect(4);
    desk.run(at_two, &["import", "release.tar", &there])
        .expect(0);

    // What the first listed, and its record; each with all of its content.
    let arrived = attached(&two, &digest).await;
    let lost: Vec<_> = said.difference(&arrived).collect();
    assert!(lost.is_empty(), "{lost:?}");
    let added: Vec<_> = arrived.difference(&said).collect();
    let [record] = added[..] else {
        panic!("{added:?}")
    };
    for referrer in &said {
        let (_, layers) = layers(&two, referrer).await;
        assert_eq!(layers.len(), 1, "{referrer}");
    }
    let (kind, documents) = layers(&two, record).await;
    assert_eq!(kind, ARTIFACT_TYPE);
    assert_eq!(documents[POLICY], policy.body);
    assert!(documents.contains_key(TAG_PROOF), "{:?}", documents.keys());
    let trust = LogTrust::in_logs([log.parse().unwrap()]).unwrap();
    for referrer in &said {
        let proof = LogProof::parse(&documents[&statement_proof(referrer)]).unwrap();
        let (entry, _) = proof.verify_entry(&trust).unwrap();
        let Entry::Event(event) = entry else {
            panic!("{referrer} is proved by no event")
        };
        assert_eq!(event.statement.as_ref(), Some(referrer));
        assert_eq!(event.digest.to_string(), digest);
    }
    let listed_at_two = get(&two, &two.admin, &list).await.expect(200).body;
    assert_eq!(listed_at_two, listed_at_one);

    // And whoever pulls there needs no more than the root keys.
    let by_roots = ["verify", &there, "--root", "roots.pem"];
    let verified = desk.run(Some((&two, &reader)), &by_roots).expect(0);
    assert_eq!(verified.json["digest"], digest);
    assert_eq!(rules(&verified), RULES);
    let by_others = ["verify", &there, "--root", "other.pem"];
    desk.run(Some((&two, &reader)), &by_others).expect(3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_brings_the_proofs_of_its_first_log_along() {
    let desk = Desk::new();
    let (one, _) = registry().await;
    let (two, reader) = registry().await;
    let alice = ["--key", "alice.key", "--only", "--compat", "none"];
    let here = place(&one, ":1.0.0");
    let at_one = Some((&one, &one.admin));
    desk.run(at_one, &["push", "oci:bundle:1.0.0", &here])
        .expect(0);
    desk.run(at_one, &[&["sign", &here][..], &alice].concat())
        .expect(0);
    desk.run(at_one, &["export", &here, "a.tar"]).expect(0);

    // The second registry trusts the log of the first, and no other.
    let key = |name: &str| format!("\"\"\"{}\"\"\"", desk.public(name));
    let policy = |version: u64, log: &str| {
        format!(
            "schema = \"sealstone-policy/v2\"\nversion = {version}\nexpires = \"{LATER}\"\n[roots]\nthreshold = 2\nkeys = [{}, {}]\n\
             [[log]]\nvkey = \"{}\"\n[[identity]]\nname = \"alice\"\nroles = [\"release\"]\nkeys = [{}]\n\
             [[scope]]\nrepositories = [\"models/**\"]\n\
             [[scope.require]]\nrule = \"signatures\"\n[[scope.require]]\nrule = \"log\"\n",
            key("root1"),
            key("root2"),
            log.trim(),
            key("alice")
        )
    };
    let at_two = Some((&two, &two.admin));
    let host = two.address().to_string();
    let there = place(&two, ":1.0.0");
    let foreign = {
        use sealstone_spec::log::{KeyKind, VerifierKey};
        let key = SecretKey::ed25519_from_seed(&[52; 32]).unwrap();
        VerifierKey::new("other.example", KeyKind::Log, key.public_key().clone()).unwrap()
    };
    for (version, log, code) in [(1, foreign.to_string(), 3), (2, vkey(&one).await, 0)] {
        desk.signed("policy.json", &policy(version, &log));
        desk.run(at_two, &["policy", "push", &host, "policy.json"])
            .expect(0);
        desk.run(at_two, &["import", "a.tar", &there]).expect(code);
    }
    get(&two, &reader, "/v2/models/m/manifests/1.0.0")
        .await
        .expect(200);
}
