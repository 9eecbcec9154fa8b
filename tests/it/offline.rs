//! Releases carried without a network, through the real client: signed in every form, exported, verified,
//! imported; nothing is lost, and nothing that was changed passes.

use crate::content::get;
use crate::model_desk::{Desk, at};
use sealstone::layout::LayoutStore;
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::key::{SecretKey, Signer as _};
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::media;
use sealstone_spec::policy::{Policy, PolicyEnvelope};
use sealstone_spec::record::{Document, POLICY, POLICY_MEDIA_TYPE, record_manifest};
use sealstone_tests::registry::Setup;
use sealstone_tests::skips;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

fn length(value: &Value, list: &str) -> usize {
    value[list].as_array().map_or(0, Vec::len)
}

/// Names of the blobs in an archive, which are their digests.
fn blobs(desk: &Desk, archive: &str) -> BTreeSet<String> {
    let bytes = fs::read(desk.path(archive)).unwrap();
    let (mut at, mut found) = (0, BTreeSet::new());
    while let Some(header) = bytes.get(at..at + 512).filter(|header| header[0] != 0) {
        let text = |from: usize, to: usize| {
            let field = String::from_utf8_lossy(&header[from..to]).into_owned();
            field.trim_end_matches('\0').to_owned()
        };
        let size = usize::from_str_radix(&text(124, 136), 8).unwrap();
        found.extend(
            Some(text(0, 100)).filter(|name| name.starts_with("blobs/sha256/") && size > 0),
        );
        at += 512 + size.next_multiple_of(512);
    }
    found
}

/// A policy under which releases in `models/**` need a signature of alice.
fn policy(desk: &Desk) -> String {
    let key = fs::read_to_string(desk.path("alice.pub")).unwrap();
    format!(
        "schema = \"sealstone-policy/v1\"\n[[identity]]\nname = \"alice\"\nkeys = [\"\"\"{key}\"\"\"]\n\
         [[scope]]\nrepositories = [\"models/**\"]\n[[scope.require]]\nrule = \"signatures\"\nthreshold = 1\nidentities = [\"alice\"]\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exported_release_verifies_offline_and_is_imported_with_nothing_lost() {
    let desk = Desk::new();
    let one = Setup::default().start().await.unwrap();
    let two = Setup {
        policy: policy(&desk),
        ..Setup::default()
    };
    let two = two.start().await.unwrap();
    let (here, there) = (at(&one, "models/m:1.0.0"), at(&two, "models/m:1.0.0"));
    desk.run_at(&one, &["push", "oci:bundle:1.0.0", &here])
        .expect(0);
    let signed = desk
        .run_at(&one, &["sign", &here, "--key", "alice.key"])
        .expect(0);
    assert_eq!(length(&signed.json, "signatures"), 2);
    assert_eq!(length(&signed.json, "modelSignatures"), 1);
    assert!(
        signed.json["legacyTag"].is_string(),
        "{}",
        signed.everything
    );
    // Ed25519 first.
    assert_eq!(signed.json["signatures"][0]["algorithm"], "ed25519");
    let again = desk
        .run_at(&one, &["sign", &here, "--key", "alice.key"])
        .expect(0);
    for list in ["signatures", "modelSignatures"] {
        for row in again.json[list].as_array().unwrap() {
            assert_eq!(row["wasThere"], true, "{}", again.everything);
        }
    }

    let exported = desk.run_at(&one, &["export", &here, "a.tar"]).expect(0);
    // Three bundles and the older list; a registry with a log adds its record.
    assert!(
        exported.json["evidence"].as_u64() >= Some(4),
        "{}",
        exported.everything
    );
    assert_eq!(exported.json["modelSignature"], true);
    desk.run_at(&one, &["export", &here, "a.tar"]).expect(7);
    drop(one);

    desk.run(&["verify", "a.tar", "--key", "alice.pub"])
        .expect(0);
    desk.run(&["verify", "a.tar", "--key", "mallory.pub"])
        .expect(3);
    let policy_path = desk.path("policy.toml");
    fs::write(&policy_path, policy(&desk)).unwrap();
    let judge = ["verify", "a.tar", "--policy", "policy.toml"];
    desk.run(&[&judge[..], &["--repository", "models/m"]].concat())
        .expect(0);
    desk.run(&judge).expect(2);

    desk.run(&[
        "pull",
        "a.tar",
        "--key",
        "alice.pub",
        "--key",
        "alice-p256.pub",
        "-o",
        "pulled",
        "--oms",
    ])
    .expect(0);
    assert!(desk.path("pulled/model.sig").is_file());
    desk.run(&["verify", "a.tar", "--key", "alice.pub", "--files", "pulled"])
        .expect(0);
    fs::write(desk.path("pulled/model.sig"), b"{}").unwrap();
    desk.run(&["verify", "a.tar", "--key", "alice.pub", "--files", "pulled"])
        .expect(4);

    desk.run_at(&two, &["import", "a.tar", &there]).expect(0);
    desk.run_at(&two, &["export", &there, "b.tar"]).expect(0);
    // The second registry may add a record of its own; whatever was in the first archive is in this one.
    let (first, second) = (blobs(&desk, "a.tar"), blobs(&desk, "b.tar"));
    let lost: Vec<_> = first.difference(&second).collect();
    assert!(first.len() > 10 && lost.is_empty(), "{lost:?}");
    for name in ["a.tar", "b.tar"] {
        desk.run(&["verify", name, "--key", "alice.pub"]).expect(0);
    }
    desk.run_at(&two, &["verify", &there, "--key", "alice.pub"])
        .expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_was_changed_or_is_not_signed_arrives_nowhere() {
    let desk = Desk::new();
    let registry = Setup {
        policy: policy(&desk),
        ..Setup::default()
    };
    let registry = registry.start().await.unwrap();
    desk.run(&["export", "oci:bundle:1.0.0", "unsigned.tar"])
        .expect(0);
    let to = at(&registry, "models/m:1.0.0");
    let refused = desk
        .run_at(&registry, &["import", "unsigned.tar", &to])
        .expect(3);
    assert!(
        refused.everything.contains("alice"),
        "{}",
        refused.everything
    );
    desk.run(&["verify", "unsigned.tar", "--key", "alice.pub"])
        .expect(3);

    desk.run(&["sign", "oci:bundle:1.0.0", "--key", "mallory.key"])
        .expect(0);
    desk.run(&["export", "oci:bundle:1.0.0", "foreign.tar"])
        .expect(0);
    desk.run_at(&registry, &["import", "foreign.tar", &to])
        .expect(3);

    desk.run(&["sign", "oci:bundle:1.0.0", "--key", "alice.key"])
        .expect(0);
    desk.run(&["export", "oci:bundle:1.0.0", "good.tar"])
        .expect(0);
    let good = fs::read(desk.path("good.tar")).unwrap();
    // The weights are the one stretch of threes.
    let weights = good
        .windows(64)
        .position(|window| window == [3; 64])
        .unwrap();
    let mut bad = good.clone();
    bad[weights + 1_000_000] ^= 1;
    let other = at(&registry, "models/other:1.0.0");
    for (name, content) in [
        ("changed.tar", &bad[..]),
        ("cut.tar", &good[..good.len() / 2]),
    ] {
        fs::write(desk.path(name), content).unwrap();
        desk.run(&["verify", name, "--key", "alice.pub"]).expect(4);
        desk.run_at(&registry, &["import", name, &other]).expect(4);
        desk.run(&["pull", name, "--key", "alice.pub", "-o", "nothing"])
            .expect(4);
        assert!(!desk.path("nothing").exists());
    }
    desk.run_at(&registry, &["verify", &other, "--key", "alice.pub"])
        .expect(5);
    desk.run_at(&registry, &["import", "good.tar", &to])
        .expect(0);
}

#[test]
fn a_signed_index_is_verified_with_everything_below_it() {
    let desk = Desk::new();
    let layout = LayoutStore::open_or_create(desk.path("multi")).unwrap();
    let write = |bytes: &[u8]| {
        let digest = Digest::sha256(bytes);
        layout.write_blob(&digest, bytes).unwrap();
        digest
    };
    let layer = write(b"weights");
    let child = json!({"schemaVersion": 2, "mediaType": media::OCI_MANIFEST,
        "config": {"mediaType": media::OCI_EMPTY, "digest": write(b"{}"), "size": 2},
        "layers": [{"mediaType": "a/b", "digest": layer, "size": 7}]});
    let child = child.to_string();
    let child_digest = write(child.as_bytes());
    let index = json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": [
        {"mediaType": media::OCI_MANIFEST, "digest": child_digest, "size": child.len()}]});
    let index = VerifiedManifest::check(index.to_string(), None, None, Algorithm::Sha256).unwrap();
    let tag = "1".parse().unwrap();
    layout.write_manifest(&index, Some(&tag)).unwrap();
    desk.run(&["sign", "oci:multi:1", "--key", "alice.key"])
        .expect(0);
    let verify = |place: &str| desk.run(&["verify", place, "--key", "alice.pub"]);
    assert_eq!(verify("oci:multi:1").expect(0).json["blobsChecked"], 2);
    desk.run(&["export", "oci:multi:1", "multi.tar"]).expect(0);
    verify("multi.tar").expect(0);
    let path = layout.blob_path(&layer);
    fs::write(&path, b"tampers").unwrap();
    verify("oci:multi:1").expect(4).says(&layer.hex());
    fs::remove_file(&path).unwrap();
    verify("oci:multi:1").expect(4).says(&layer.hex());
    fs::write(&path, b"weights").unwrap();
    verify("oci:multi:1").expect(0);
    fs::remove_file(layout.blob_path(&child_digest)).unwrap();
    verify("oci:multi:1").expect(4).says(&child_digest.hex());
}

/// Without a directory named, it is called like the layout.
#[test]
fn a_pull_does_not_replace_the_layout_that_it_comes_from() {
    let desk = Desk::new();
    desk.run(&["sign", "oci:bundle:1.0.0", "--key", "alice.key"])
        .expect(0);
    let pull = ["pull", "oci:bundle:1.0.0", "--key", "alice.pub"];
    desk.run(&pull).expect(2).says("-o DIR");
    desk.run(&[&pull[..], &["--overwrite"]].concat()).expect(2);
    let here = [&pull[..], &["--overwrite", "-o", "bundle/blobs"]].concat();
    desk.run(&here).expect(2);
    desk.run(&["verify", "oci:bundle:1.0.0", "--key", "alice.pub"])
        .expect(0);
    desk.run(&[&pull[..], &["-o", "copy"]].concat()).expect(0);
}

/// A program that signs with a key that sealstone never reads.
fn signer(desk: &Desk, name: &str, command: &str) -> String {
    let path = desk.path(name);
    fs::write(&path, format!("#!/bin/sh\nexec {command}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    format!("command:{}", path.display())
}

fn has_openssl() -> bool {
    Command::new("openssl").arg("version").output().is_ok()
}

#[test]
fn another_program_may_hold_the_key() {
    if !has_openssl() {
        return skips::not_installed("openssl");
    }
    let desk = Desk::new();
    let private = |name: &str| desk.path(name).display().to_string();
    let ed25519 = signer(
        &desk,
        "ed25519.sh",
        &format!(
            "openssl pkeyutl -sign -rawin -inkey '{}' -in \"$SEALSTONE_MESSAGE_FILE\"",
            private("alice.key")
        ),
    );
    let p256 = signer(
        &desk,
        "p256.sh",
        &format!("openssl dgst -sha256 -sign '{}'", private("alice-p256.key")),
    );
    let sign = [
        "sign",
        "oci:bundle:1.0.0",
        "--signer",
        &ed25519,
        "--signer-key",
        "alice.pub",
    ];
    let both = [
        &sign[..],
        &["--signer", &p256, "--signer-key", "alice-p256.pub"],
    ]
    .concat();
    let signed = desk.run(&both).expect(0);
    assert_eq!(length(&signed.json, "signatures"), 2);
    assert_eq!(length(&signed.json, "modelSignatures"), 1);
    for key in ["alice.pub", "alice-p256.pub"] {
        desk.run(&["verify", "oci:bundle:1.0.0", "--key", key])
            .expect(0);
    }
    // The same program, said to hold another key: its answers are signatures, and not of that key.
    let wrong = [
        "sign",
        "oci:bundle:1.0.0",
        "--signer",
        &ed25519,
        "--signer-key",
        "mallory.pub",
    ];
    let refused = desk.run(&wrong).expect(1);
    assert!(
        refused.everything.contains("no signature by"),
        "{}",
        refused.everything
    );
    desk.run(&["verify", "oci:bundle:1.0.0", "--key", "mallory.pub"])
        .expect(3);
    desk.run(&["sign", "oci:bundle:1.0.0"]).expect(2);
}

#[test]
fn keys_of_ssh_keygen_sign_and_lists_of_signers_verify() {
    let desk = Desk::new();
    let made = Command::new("ssh-keygen")
        .args([
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-C",
            "bob@example.com",
            "-f",
        ])
        .arg(desk.path("id"))
        .output();
    let Ok(made) = made else { return };
    assert!(made.status.success(), "{made:?}");
    desk.run(&["sign", "oci:bundle:1.0.0", "--key", "id"])
        .expect(0);
    desk.run(&["verify", "oci:bundle:1.0.0", "--key", "id.pub"])
        .expect(0);
    let line = fs::read_to_string(desk.path("id.pub")).unwrap();
    let list = |name: &str, text: String| {
        fs::write(desk.path(name), text).unwrap();
        desk.run(&["verify", "oci:bundle:1.0.0", "--key", name])
    };
    list("allowed_signers", format!("bob@example.com {line}")).expect(0);
    list("authorized_keys", format!("no-pty,restrict {line}")).expect(0);
    let narrowed = format!("bob@example.com valid-before=\"20200101\" {line}");
    list("narrowed", narrowed).expect(2);
}

#[test]
fn the_same_release_makes_the_same_archive_anywhere() {
    let digests: Vec<Vec<u8>> = (0..2)
        .map(|_| {
            let desk = Desk::new();
            desk.run(&["export", "oci:bundle:1.0.0", "x.tar"]).expect(0);
            fs::read(desk.path("x.tar")).unwrap()
        })
        .collect();
    assert!(digests[0] == digests[1]);
}

fn root(seed: u8) -> SecretKey {
    SecretKey::ed25519_from_seed(&[seed; 32]).unwrap()
}

/// A policy of this version in which alice releases `models/**`, signed by these roots of the two that it names.
fn signed_policy(desk: &Desk, version: u64, expires: &str, signers: &[u8]) -> Vec<u8> {
    let alice = fs::read_to_string(desk.path("alice.pub")).unwrap();
    let roots = [11, 12].map(|seed| format!("\"{}\"", root(seed).public_key().to_openssh()));
    let text = format!(
        "schema = \"sealstone-policy/v2\"\nversion = {version}\nexpires = \"{expires}\"\n\
         [roots]\nthreshold = 1\nkeys = [{}]\n\
         [[identity]]\nname = \"alice\"\nroles = [\"release\"]\nkeys = [\"\"\"{alice}\"\"\"]\n\
         [[scope]]\nrepositories = [\"models/**\"]\n[[scope.require]]\nrule = \"signatures\"\nidentities = [\"alice\"]\nthreshold = 1\n",
        roots.join(", ")
    );
    let mut envelope = PolicyEnvelope::of(&Policy::parse(&text).unwrap()).unwrap();
    for seed in signers {
        envelope.sign(&root(*seed)).unwrap();
    }
    envelope.to_bytes()
}

/// Attaches a record with a policy to the desk's bundle, as an export from a registry does.
fn record(desk: &Desk, policy: Vec<u8>) {
    let layout = LayoutStore::open(desk.path("bundle")).unwrap();
    let subject = layout.only_manifest().unwrap().descriptor();
    let document = Document {
        name: POLICY.to_owned(),
        media_type: POLICY_MEDIA_TYPE.to_owned(),
        content: policy,
    };
    layout
        .write_blob(&Digest::sha256(&document.content), &document.content)
        .unwrap();
    layout.write_blob(&Digest::sha256(b"{}"), b"{}").unwrap();
    let bytes = record_manifest(&subject, &[document]);
    let manifest = VerifiedManifest::check(bytes, None, None, Algorithm::Sha256).unwrap();
    layout.write_manifest(&manifest, None).unwrap();
}

#[test]
fn root_keys_decide_by_the_signed_policy_that_travels_with_a_release() {
    let desk = Desk::new();
    desk.run(&["sign", "oci:bundle:1.0.0", "--key", "alice.key"])
        .expect(0);
    let pem = |seeds: &[u8]| -> String {
        seeds
            .iter()
            .map(|seed| root(*seed).public_key().to_pem())
            .collect()
    };
    fs::write(desk.path("roots.pem"), pem(&[11, 12])).unwrap();
    fs::write(desk.path("one.pem"), pem(&[11])).unwrap();
    fs::write(desk.path("strangers.pem"), pem(&[13])).unwrap();
    let verify = |roots: &str, more: &[&str]| {
        fs::remove_file(desk.path("r.tar")).ok();
        desk.run(&["export", "oci:bundle:1.0.0", "r.tar"]).expect(0);
        let base = [
            "verify",
            "r.tar",
            "--root",
            roots,
            "--repository",
            "models/m",
        ];
        desk.run(&[&base[..], more].concat())
    };
    let none = verify("one.pem", &[]).expect(3);
    assert!(
        none.everything
            .contains("no policy that the root keys have signed"),
        "{}",
        none.everything
    );

    record(
        &desk,
        signed_policy(&desk, 4, "2020-01-01T00:00:00Z", &[11, 12]),
    );
    let expired = verify("roots.pem", &[]).expect(3);
    assert!(
        expired.everything.contains("expired"),
        "{}",
        expired.everything
    );

    record(
        &desk,
        signed_policy(&desk, 5, "2099-01-01T00:00:00Z", &[11]),
    );
    verify("one.pem", &[]).expect(0);
    // All of the root keys given, unless said otherwise.
    verify("roots.pem", &[]).expect(3);
    verify("roots.pem", &["--root-threshold", "1"]).expect(0);
    verify("roots.pem", &["--root-threshold", "3"]).expect(2);
    verify("strangers.pem", &[]).expect(3);
    desk.run(&["verify", "r.tar", "--root", "one.pem"])
        .expect(2);
    desk.run(&[
        "verify",
        "r.tar",
        "--root",
        "one.pem",
        "--repository",
        "other/m",
    ])
    .expect(3);
    desk.run(&[
        "pull",
        "r.tar",
        "--root",
        "one.pem",
        "--repository",
        "models/m",
        "-o",
        "out",
    ])
    .expect(0);

    // The policy decides, and not that there is one: here nobody whom it knows has signed.
    let other = Desk::new();
    other
        .run(&["sign", "oci:bundle:1.0.0", "--key", "mallory.key"])
        .expect(0);
    record(
        &other,
        signed_policy(&other, 5, "2099-01-01T00:00:00Z", &[11, 12]),
    );
    fs::write(other.path("roots.pem"), pem(&[11, 12])).unwrap();
    other
        .run(&[
            "verify",
            "oci:bundle:1.0.0",
            "--root",
            "roots.pem",
            "--repository",
            "models/m",
        ])
        .expect(3);
}

#[test]
fn an_older_policy_is_refused_once_the_root_keys_have_shown_a_newer_one() {
    let desk = Desk::new();
    desk.run(&["sign", "oci:bundle:1.0.0", "--key", "alice.key"])
        .expect(0);
    for (version, archive) in [(5, "old.tar"), (7, "new.tar")] {
        record(
            &desk,
            signed_policy(&desk, version, "2099-01-01T00:00:00Z", &[11, 12]),
        );
        desk.run(&["export", "oci:bundle:1.0.0", archive]).expect(0);
    }
    for (file, seed) in [("one.pem", 11), ("two.pem", 12)] {
        fs::write(desk.path(file), root(seed).public_key().to_pem()).unwrap();
    }
    let by = |roots: &'static str| ["--root", roots, "--repository", "models/m"];
    let verify = |archive: &str, roots| desk.run(&[&["verify", archive][..], &by(roots)].concat());
    // Nothing was seen yet, and both are signed and hold.
    verify("old.tar", "one.pem").expect(0);
    verify("new.tar", "one.pem").expect(0);
    verify("new.tar", "one.pem").expect(0);
    verify("old.tar", "one.pem")
        .expect(3)
        .says("policy version 5 is older than version 7");
    let pull = ["pull", "old.tar", "-o", "out"];
    desk.run(&[&pull[..], &by("one.pem")].concat())
        .expect(3)
        .says("policy version 5 is older than version 7");
    assert!(!desk.path("out").exists());
    // Of other root keys nothing was seen; and what was is forgotten with the directory that remembers.
    verify("old.tar", "two.pem").expect(0);
    // Where nothing can be remembered, the root keys still vouch for what they signed.
    for home in [None, Some("/dev/null")] {
        let mut command =
            desk.command(&[&["verify", "old.tar"][..], &by("one.pem")].concat(), None);
        match home {
            None => command.env_remove("HOME"),
            Some(home) => command.env("HOME", home),
        };
        let ended = crate::client::run(&mut command).expect(0);
        ended.says("the policy is not remembered");
    }
    fs::remove_dir_all(desk.path(".local/state/sealstone/policies")).unwrap();
    verify("old.tar", "one.pem").expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_from_a_layout_is_logged_when_it_is_made_again_at_a_registry() {
    let desk = Desk::new();
    let registry = Setup::default().start().await.unwrap();
    let here = at(&registry, "models/m:1.0.0");
    desk.run(&["sign", "oci:bundle:1.0.0", "--key", "alice.key"])
        .expect(0);
    desk.run_at(&registry, &["push", "oci:bundle:1.0.0", &here])
        .expect(0);
    let sign = || {
        let signed = desk.run_at(&registry, &["sign", &here, "--key", "alice.key"]);
        let rows = signed.expect(0).json["signatures"].clone();
        let there = |index: usize| rows[index]["wasThere"].as_bool().unwrap();
        assert_eq!(rows[1]["algorithm"], "ecdsa-p256-sha256", "{rows}");
        let referrer = rows[1]["referrer"].as_str().unwrap().to_owned();
        (there(0), there(1), referrer)
    };
    let (ed25519, p256, referrer) = sign();
    // Ed25519 signatures are logged by the manifest that carries them.
    assert_eq!((ed25519, p256), (true, false));
    let bundle = async |referrer: &str| {
        let path = format!("/v2/models/m/manifests/{referrer}");
        let manifest = get(&registry, &registry.admin, &path).await.expect(200);
        let manifest: Value = serde_json::from_slice(&manifest.body).unwrap();
        let layer = manifest["layers"][0]["digest"].as_str().unwrap();
        let path = format!("/v2/models/m/blobs/{layer}");
        let bundle = get(&registry, &registry.admin, &path).await.expect(200);
        serde_json::from_slice::<Value>(&bundle.body).unwrap()
    };
    let entries = bundle(&referrer).await["verificationMaterial"]["tlogEntries"].clone();
    assert_eq!(entries.as_array().unwrap().len(), 1, "{entries}");
    assert_eq!(sign(), (true, true, referrer));
}
