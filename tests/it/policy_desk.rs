//! A desk with everybody's keys, a bundle and a policy of version 2, and the client that sits at it.
//!
//! Owns no expectations: each test says what must come of what is done here.

use crate::client::{self, Ended};
use crate::content::{MANIFEST, get, push_blob, put_manifest};
use sealstone_spec::digest::Digest;
use sealstone_spec::key::{SecretKey, Signer as _};
use sealstone_spec::manifest::Descriptor;
use sealstone_spec::policy::Policy;
use sealstone_spec::sigstore::{SigstoreBundle, referrer_manifest};
use sealstone_spec::statement::{Statement, Subject, predicate};
use sealstone_tests::registry::{Setup, TestRegistry, User};
use serde_json::json;
use std::fs;

const PEOPLE: [&str; 8] = [
    "root1", "root2", "root3", "ci", "alice", "bob", "sam", "gina",
];

/// A directory with everybody's keys and a bundle.
pub(crate) struct Desk {
    pub(crate) directory: tempfile::TempDir,
}

impl Desk {
    pub(crate) fn new() -> Desk {
        let desk = Desk {
            directory: tempfile::tempdir().unwrap(),
        };
        let model = desk.directory.path().join("model");
        fs::create_dir(&model).unwrap();
        fs::write(model.join("model.safetensors"), vec![3; 200_000]).unwrap();
        fs::write(model.join("config.json"), b"{}").unwrap();
        for name in PEOPLE {
            desk.run(None, &["keygen", "--out", name, "--no-passphrase"])
                .expect(0);
        }
        desk.run(None, &["pack", "model", "-o", "bundle:1.0.0"])
            .expect(0);
        desk
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.directory.path().join(name), text).unwrap();
    }

    pub(crate) fn public(&self, name: &str) -> String {
        let path = self.directory.path().join(format!("{name}.pub"));
        match name {
            "ci" => builder().public_key().to_pem(),
            _ => fs::read_to_string(path).unwrap(),
        }
    }

    pub(crate) fn run(&self, who: Option<(&TestRegistry, &User)>, arguments: &[&str]) -> Ended {
        let mut command = client::sealstone(self.directory.path(), arguments);
        if let Some((registry, user)) = who {
            client::log_in(&mut command, registry, user);
        }
        client::run(&mut command)
    }

    /// A policy whose releases in `models/**` need a signature of alice, provenance of ci, and bob's approval.
    pub(crate) fn policy(&self, version: u64, expires: &str, more: &str) -> String {
        let key = |name: &str| format!("\"\"\"{}\"\"\"", self.public(name));
        let mut text = format!(
            "schema = \"sealstone-policy/v2\"\nversion = {version}\nexpires = \"{expires}\"\n[roots]\nthreshold = 2\nkeys = [{}, {}, {}]\n",
            key("root1"),
            key("root2"),
            key("root3")
        );
        for (name, team, roles) in [
            ("ci", "platform", "\"builder\""),
            ("alice", "growth", "\"release\""),
            ("bob", "risk", "\"approver\""),
            ("sam", "security", "\"security\""),
            ("gina", "board", "\"governance\""),
        ] {
            text += &format!(
                "[[identity]]\nname = \"{name}\"\nteams = [\"{team}\"]\nroles = [{roles}]\nkeys = [{}]\n",
                key(name)
            );
        }
        text + "[[scope]]\nrepositories = [\"models/**\"]\n\
            [[scope.require]]\nrule = \"signatures\"\n\
            [[scope.require]]\nrule = \"provenance\"\nbuilders = [\"https://ci.example/*\"]\n\
            [[scope.require]]\nrule = \"approvals\"\ndifferent_team = 1\n"
            + more
    }

    /// The same, signed by two roots, in a file.
    pub(crate) fn signed(&self, name: &str, text: &str) {
        self.write("draft.toml", text);
        assert!(
            Policy::parse(text).is_ok(),
            "{:?}",
            Policy::parse(text).err()
        );
        let first = self.run(
            None,
            &[
                "policy",
                "sign",
                "draft.toml",
                "--key",
                "root1.key",
                "--only",
                "-o",
                name,
            ],
        );
        first.expect(0);
        self.run(
            None,
            &[
                "policy",
                "sign",
                name,
                "--key",
                "root2.key",
                "--only",
                "-o",
                name,
            ],
        )
        .expect(0);
    }
}

/// The builder: a service, whose key no file on the desk holds.
pub(crate) fn builder() -> SecretKey {
    SecretKey::ed25519_from_seed(&[77; 32]).unwrap()
}

/// Attaches provenance by the builder, as a pipeline would.
pub(crate) async fn attach_provenance(registry: &TestRegistry, digest: &str) {
    let admin = &registry.admin;
    let path = format!("/v2/models/m/manifests/{digest}");
    let size = get(registry, admin, &path).await.expect(200).body.len();
    let subject: Digest = digest.parse().unwrap();
    let predicate = json!({
        "buildDefinition": {"buildType": "https://ci.example/train/v1", "externalParameters": {},
            "resolvedDependencies": [{"name": "source", "uri": "git+https://git.example/demo",
                "digest": {"gitCommit": "d20ace79d20ace79d20ace79d20ace79d20ace79"}}]},
        "runDetails": {"builder": {"id": "https://ci.example/runner"}},
    });
    let statement = Statement::new(
        vec![Subject::new("models/m", &subject)],
        predicate::SLSA_PROVENANCE,
        predicate.as_object().unwrap().clone(),
    );
    let bundle = SigstoreBundle::sign(&statement, &builder())
        .unwrap()
        .to_bytes();
    push_blob(registry, admin, "models/m", &bundle).await;
    push_blob(registry, admin, "models/m", b"{}").await;
    let descriptor = Descriptor::new(MANIFEST, subject, size as u64);
    let created = "2026-01-01T00:00:00Z";
    let referrer = referrer_manifest(&descriptor, &bundle, predicate::SLSA_PROVENANCE, created);
    let reference = Digest::sha256(&referrer).to_string();
    put_manifest(registry, admin, "models/m", &reference, &referrer)
        .await
        .expect(201);
}

pub(crate) const ACCESS: &str =
    "[[access]]\nrepositories = [\"models/**\"]\nwho = [\"user:reader\"]\nverbs = [\"pull\"]\n";
pub(crate) const LATER: &str = "2099-01-01T00:00:00Z";

pub(crate) async fn registry() -> (TestRegistry, User) {
    registry_with("").await
}

/// The same with more of its configuration.
pub(crate) async fn registry_with(tables: &str) -> (TestRegistry, User) {
    let setup = Setup {
        access: ACCESS.into(),
        collect: tables.into(),
        ..Setup::default()
    };
    let registry = setup.start().await.unwrap();
    let reader = registry.account("reader", "user").await.unwrap();
    (registry, reader)
}

pub(crate) fn place(registry: &TestRegistry, rest: &str) -> String {
    format!("{}/models/m{rest}", registry.address())
}

/// A bundle that is signed by alice, built by ci and approved by bob, and tagged 1.0.0 by the administrator;
/// its digest.
pub(crate) async fn released(desk: &Desk, registry: &TestRegistry) -> String {
    released_under(desk, registry, "").await
}

/// The same under a policy with more in it.
pub(crate) async fn released_under(desk: &Desk, registry: &TestRegistry, more: &str) -> String {
    let admin = Some((registry, &registry.admin));
    desk.signed("policy.json", &desk.policy(1, LATER, more));
    let host = registry.address().to_string();
    desk.run(admin, &["policy", "push", &host, "policy.json"])
        .expect(0);
    let pushed = desk
        .run(admin, &["push", "oci:bundle:1.0.0", &place(registry, "")])
        .expect(0);
    let digest = pushed.json["digest"].as_str().unwrap().to_owned();
    let bundle = place(registry, &format!("@{digest}"));
    let alice = ["--key", "alice.key", "--only", "--compat", "none"];
    desk.run(admin, &[&["sign", &bundle][..], &alice].concat())
        .expect(0);
    attach_provenance(registry, &digest).await;
    desk.run(admin, &["approve", &bundle, "--key", "bob.key", "--only"])
        .expect(0);
    desk.run(admin, &["release", &bundle, "1.0.0"]).expect(0);
    digest
}
