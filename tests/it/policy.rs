//! The life of a release under a policy of version 2, through the real binaries: judged, approved,
//! released, deprecated, revoked; and the policy's own succession.

use crate::content::{MANIFEST, get, push_blob, put_manifest};
use sealstone_spec::digest::Digest;
use sealstone_spec::key::{SecretKey, Signer as _};
use sealstone_spec::manifest::Descriptor;
use sealstone_spec::policy::Policy;
use sealstone_spec::sigstore::{SigstoreBundle, referrer_manifest};
use sealstone_spec::statement::{Statement, Subject, predicate};
use sealstone_tests::registry::{Setup, TestRegistry, User, binary};
use serde_json::{Value, json};
use std::fs;
use std::process::Command;

const PEOPLE: [&str; 8] = [
    "root1", "root2", "root3", "ci", "alice", "bob", "sam", "gina",
];

struct Ended {
    code: i32,
    json: Value,
    everything: String,
}

impl Ended {
    #[track_caller]
    fn expect(self, code: i32) -> Ended {
        assert_eq!(self.code, code, "{}", self.everything);
        self
    }

    #[track_caller]
    fn says(&self, words: &str) {
        assert!(
            self.everything.contains(words),
            "\"{words}\" is not in {}",
            self.everything
        );
    }
}

/// A directory with everybody's keys and a bundle.
struct Desk {
    directory: tempfile::TempDir,
}

impl Desk {
    fn new() -> Desk {
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

    fn write(&self, name: &str, text: &str) {
        fs::write(self.directory.path().join(name), text).unwrap();
    }

    fn public(&self, name: &str) -> String {
        let path = self.directory.path().join(format!("{name}.pub"));
        match name {
            "ci" => builder().public_key().to_pem(),
            _ => fs::read_to_string(path).unwrap(),
        }
    }

    fn run(&self, who: Option<(&TestRegistry, &User)>, arguments: &[&str]) -> Ended {
        let mut command = Command::new(binary("sealstone").unwrap());
        command
            .args(["--output", "json"])
            .args(arguments)
            .current_dir(self.directory.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.directory.path());
        if let Some((registry, user)) = who {
            command
                .env("SEALSTONE_REGISTRY", registry.address().to_string())
                .env("SEALSTONE_USERNAME", &user.name)
                .env("SEALSTONE_PASSWORD", &user.secret);
        }
        let output = command.output().unwrap();
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        let mut lines = out.lines().rev();
        Ended {
            code: output.status.code().unwrap_or(-1),
            json: lines
                .find_map(|line| serde_json::from_str(line).ok())
                .unwrap_or(Value::Null),
            everything: format!("{arguments:?}\n{out}\n{error}"),
        }
    }

    /// A policy whose releases in `models/**` need a signature of alice, provenance of ci, and bob's approval.
    fn policy(&self, version: u64, expires: &str, more: &str) -> String {
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
    fn signed(&self, name: &str, text: &str) {
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
fn builder() -> SecretKey {
    SecretKey::ed25519_from_seed(&[77; 32]).unwrap()
}

/// Attaches provenance by the builder, as a pipeline would.
async fn attach_provenance(registry: &TestRegistry, digest: &str) {
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

const ACCESS: &str =
    "[[access]]\nrepositories = [\"models/**\"]\nwho = [\"user:reader\"]\nverbs = [\"pull\"]\n";
const LATER: &str = "2099-01-01T00:00:00Z";

async fn registry() -> (TestRegistry, User) {
    let setup = Setup {
        access: ACCESS.into(),
        ..Setup::default()
    };
    let registry = setup.start().await.unwrap();
    let reader = registry.account("reader", "user").await.unwrap();
    (registry, reader)
}

fn place(registry: &TestRegistry, rest: &str) -> String {
    format!("{}/models/m{rest}", registry.address())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_follows_its_predecessor_and_never_goes_back() {
    let desk = Desk::new();
    let (mut registry, reader) = registry().await;
    let host = registry.address().to_string();
    desk.signed("p3.json", &desk.policy(3, LATER, ""));
    desk.signed("p4.json", &desk.policy(4, LATER, ""));
    desk.signed("other4.json", &desk.policy(4, "2098-01-01T00:00:00Z", ""));
    desk.signed("old.json", &desk.policy(5, "2020-01-01T00:00:00Z", ""));
    let admin = Some((&registry, &registry.admin));
    let push = |file: &str| desk.run(admin, &["policy", "push", &host, file]);
    desk.run(
        Some((&registry, &reader)),
        &["policy", "push", &host, "p3.json"],
    )
    .expect(6);
    push("p3.json").expect(0);
    push("p4.json").expect(0);
    push("p4.json").expect(0);
    push("p3.json").expect(7).says("older than version 4");
    push("other4.json").expect(7).says("other content");
    push("old.json").says("expired");
    // One root alone is not enough.
    desk.write("draft.toml", &desk.policy(6, LATER, ""));
    desk.run(
        None,
        &[
            "policy",
            "sign",
            "draft.toml",
            "--key",
            "root1.key",
            "--only",
            "-o",
            "one.json",
        ],
    )
    .expect(0);
    let body: Value =
        serde_json::from_slice(&fs::read(desk.directory.path().join("one.json")).unwrap()).unwrap();
    let refused = registry
        .request(&registry.admin, reqwest::Method::PUT, "/api/v1/policy")
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 403);
    assert!(refused.text().await.unwrap().contains("policy_signatures"));
    // The events say so, and a restart keeps it.
    let events = registry
        .request(&registry.admin, reqwest::Method::GET, "/api/v1/events")
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(events.matches("policy_changed").count() >= 2, "{events}");
    registry.crash().await.unwrap();
    let shown = desk
        .run(Some((&registry, &reader)), &["policy", "show", &host])
        .expect(0);
    assert_eq!(
        (&shown.json["version"], &shown.json["signed"]),
        (&json!(4), &json!(true))
    );
    // The client has seen version 4, so a file with version 3 is refused, though it is well signed.
    let admin = Some((&registry, &registry.admin));
    let pushed = desk
        .run(admin, &["push", "oci:bundle:1.0.0", &place(&registry, "")])
        .expect(0);
    let digest = pushed.json["digest"].as_str().unwrap();
    let bundle = place(&registry, &format!("@{digest}"));
    let verify = |file: &str| {
        desk.run(admin, &["verify", &bundle, "--policy", file])
            .expect(3)
    };
    verify("p3.json").says("policy version 3 is older than version 4");
    verify("other4.json").says("other content");
    verify("p4.json").says("approvals");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_approved_released_deprecated_and_revoked() {
    let desk = Desk::new();
    let (registry, reader) = registry().await;
    let host = registry.address().to_string();
    let admin = Some((&registry, &registry.admin));
    let consumer = Some((&registry, &reader));
    desk.signed("policy.json", &desk.policy(1, LATER, ""));
    desk.run(admin, &["policy", "push", &host, "policy.json"])
        .expect(0);
    let pushed = desk
        .run(admin, &["push", "oci:bundle:1.0.0", &place(&registry, "")])
        .expect(0);
    let digest = pushed.json["digest"].as_str().unwrap().to_owned();
    let bundle = place(&registry, &format!("@{digest}"));
    let status = |who| desk.run(who, &["status", &bundle]).expect(0);
    assert_eq!(status(admin).json["state"], "candidate");

    // The builder signs provenance, the release manager signs, bob approves.
    desk.run(admin, &["release", &bundle, "1.0.0"])
        .expect(3)
        .says("approvals");
    desk.run(
        admin,
        &[
            "sign",
            &bundle,
            "--key",
            "alice.key",
            "--only",
            "--compat",
            "none",
        ],
    )
    .expect(0);
    // An approval without provenance counts for nothing: it is not known who built it.
    desk.run(admin, &["approve", &bundle, "--key", "bob.key", "--only"])
        .expect(0);
    desk.run(admin, &["release", &bundle, "1.0.0"])
        .expect(3)
        .says("no provenance says who built the bundle");
    attach_provenance(&registry, &digest).await;
    // And the provenance came after it, so it is void.
    let void = desk.run(admin, &["release", &bundle, "1.0.0"]).expect(3);
    void.says("the approval by bob is void");
    desk.run(admin, &["approve", &bundle, "--key", "bob.key", "--only"])
        .expect(0);
    assert_eq!(status(admin).json["state"], "approved");
    desk.run(admin, &["release", &bundle, "1.0.0"]).expect(0);
    let release = place(&registry, ":1.0.0");
    assert_eq!(status(admin).json["state"], "released");
    let eval = desk
        .run(consumer, &["policy", "eval", "policy.json", &release])
        .expect(0);
    assert_eq!(eval.json["admitted"], true);
    let pull = |out: &str| {
        desk.run(
            consumer,
            &["pull", &release, "--registry-policy", "-o", out],
        )
    };
    pull("one").expect(0);

    // Headers say what was decided.
    let manifest = registry
        .request(
            &reader,
            reqwest::Method::GET,
            "/v2/models/m/manifests/1.0.0",
        )
        .send()
        .await
        .unwrap();
    assert_eq!(manifest.headers()["sealstone-verdict"], "admitted");
    assert_eq!(manifest.headers()["sealstone-state"], "released");
    assert!(manifest.headers().contains_key("sealstone-policy"));

    // A stranger's revocation changes nothing, a deprecation is told, a revocation stops.
    let word = |command: &str, key: &str| {
        desk.run(
            admin,
            &[
                command,
                &release,
                "--key",
                &format!("{key}.key"),
                "--only",
                "--reason",
                "poisoned data",
            ],
        )
        .expect(0)
    };
    word("revoke", "ci");
    pull("two").expect(0);
    word("deprecate", "alice");
    assert_eq!(status(admin).json["state"], "deprecated");
    pull("three").expect(0);
    word("revoke", "sam");
    let stopped = pull("four").expect(3);
    stopped.says("revoked by sam: poisoned data");
    assert!(!desk.directory.path().join("four").exists());
    let after = desk.run(admin, &["status", &bundle, "--pulls"]).expect(0);
    assert_eq!(after.json["state"], "revoked");
    after.says("user:reader");
    // Also its files, by digest.
    let blobs = registry
        .request(
            &registry.admin,
            reqwest::Method::GET,
            &format!("/v2/models/m/manifests/{digest}"),
        )
        .send()
        .await
        .unwrap()
        .json::<Value>()
        .await
        .unwrap();
    let blob = blobs["layers"][0]["digest"].as_str().unwrap();
    let hidden = registry
        .request(
            &reader,
            reqwest::Method::GET,
            &format!("/v2/models/m/blobs/{blob}"),
        )
        .send()
        .await
        .unwrap();
    assert_eq!(hidden.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exception_is_granted_used_up_and_cannot_be_stretched() {
    let desk = Desk::new();
    let (registry, _) = registry().await;
    let host = registry.address().to_string();
    let admin = Some((&registry, &registry.admin));
    let more = "[scope.exceptions]\nrules = [\"provenance\", \"approvals\"]\nrole = \"governance\"\nmax_days = 7\n\
        [[exception]]\nid = \"EX-1\"\nrepositories = [\"models/**\"]\nrule = \"approvals\"\nreason = \"nobody is there\"\nticket = \"OPS-1\"\napproved_by = [\"bob\"]\nexpires = \"2098-01-01T00:00:00Z\"\nmax_uses = 1\n";
    desk.signed("policy.json", &desk.policy(1, LATER, more));
    desk.run(admin, &["policy", "push", &host, "policy.json"])
        .expect(0);
    let release = |content: &[u8], tag: &str| {
        fs::write(desk.directory.path().join("model/config.json"), content).unwrap();
        let layout = format!("bundle:{tag}");
        desk.run(None, &["pack", "model", "-o", &layout]).expect(0);
        let pushed = desk
            .run(
                admin,
                &["push", &format!("oci:{layout}"), &place(&registry, "")],
            )
            .expect(0);
        let digest = pushed.json["digest"].as_str().unwrap().to_owned();
        let bundle = place(&registry, &format!("@{digest}"));
        desk.run(
            admin,
            &[
                "sign",
                &bundle,
                "--key",
                "alice.key",
                "--only",
                "--compat",
                "none",
            ],
        )
        .expect(0);
        bundle
    };
    let except = |bundle: &str, key: &str, days: i64| {
        let end = jiff_text(days);
        desk.run(
            admin,
            &[
                "except",
                bundle,
                "--key",
                &format!("{key}.key"),
                "--only",
                "--rule",
                "provenance",
                "--id",
                "EX-2",
                "--reason",
                "the builder is down",
                "--ticket",
                "OPS-2",
                "--expires",
                &end,
            ],
        )
        .expect(0)
    };
    let first = release(b"{\"a\":1}", "1.0.0");
    desk.run(admin, &["release", &first, "1.0.0"])
        .expect(3)
        .says("provenance");
    except(&first, "alice", 3);
    except(&first, "gina", 30);
    desk.run(admin, &["release", &first, "1.0.0"])
        .expect(3)
        .says("longer than 7 days");
    except(&first, "gina", 3);
    desk.run(admin, &["release", &first, "1.0.0"]).expect(0);
    // The policy's own exception was for one manifest, and that was it.
    let second = release(b"{\"a\":2}", "1.0.1");
    except(&second, "gina", 3);
    desk.run(admin, &["release", &second, "1.0.1"])
        .expect(3)
        .says("exception EX-1: it is used up: 1 of 1");
}

/// A time so many days ahead.
fn jiff_text(days: i64) -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let seconds = i64::try_from(now.as_secs()).unwrap() + days * 86_400;
    sealstone_spec::policy::Time::from_seconds(seconds).to_string()
}
