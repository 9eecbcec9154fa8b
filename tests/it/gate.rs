//! The gate before a release: under a signed policy, a tag needs a reproduction by somebody other than the builder.
//!
//! The project is `tests/examples/digits`; everything goes through the real client and the real registry.

use crate::client::{self, Ended};
use sealstone_tests::examples::example;
use sealstone_tests::registry::{Setup, TestRegistry, User};
use std::fs;

/// A directory with the project and everybody's keys; requests are the administrator's unless said otherwise.
struct Desk<'a> {
    directory: tempfile::TempDir,
    registry: &'a TestRegistry,
}

impl Desk<'_> {
    fn run(&self, who: &User, arguments: &[&str]) -> Ended {
        let mut command = client::sealstone(self.directory.path(), arguments);
        client::run(client::log_in(&mut command, self.registry, who))
    }

    fn admin(&self, arguments: &[&str]) -> Ended {
        self.run(&self.registry.admin, arguments)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.directory.path().join(name), text).unwrap();
    }

    /// A policy that its root signs: the builder signs and says how it was built, somebody else reproduces.
    fn push_policy(&self) {
        let key = |name: &str| {
            let path = self.directory.path().join(format!("{name}.pub"));
            format!("\"\"\"{}\"\"\"", fs::read_to_string(path).unwrap())
        };
        let mut text = format!(
            "schema = \"sealstone-policy/v2\"\nversion = 1\nexpires = \"2099-01-01T00:00:00Z\"\n[roots]\nthreshold = 1\nkeys = [{}]\n",
            key("root")
        );
        for (name, team, roles) in [
            (
                "builder",
                "growth",
                "\"builder\", \"release\", \"reproducer\"",
            ),
            ("other", "platform", "\"reproducer\""),
        ] {
            text += &format!(
                "[[identity]]\nname = \"{name}\"\nteams = [\"{team}\"]\nroles = [{roles}]\nkeys = [{}]\n",
                key(name)
            );
        }
        text += "[[scope]]\nrepositories = [\"models/**\"]\n\
            [[scope.require]]\nrule = \"signatures\"\nidentities = [\"builder\"]\n\
            [[scope.require]]\nrule = \"provenance\"\nbuilders = [\"https://builds.example/*\"]\n\
            [[scope.require]]\nrule = \"reproduction\"\nclass = \"numeric\"\nscope = \"full\"\nisolation = \"I1\"\nfresh_days = 30\n";
        self.write("policy.toml", &text);
        let host = self.registry.address().to_string();
        let sign = [
            "policy",
            "sign",
            "policy.toml",
            "--key",
            "root.key",
            "--only",
            "-o",
            "policy.json",
        ];
        self.admin(&sign).expect(0);
        self.admin(&["policy", "push", &host, "policy.json"])
            .expect(0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_needs_a_reproduction_by_somebody_other_than_the_builder() {
    let Some(example) = example("digits") else {
        return;
    };
    let access =
        "[[access]]\nrepositories = [\"models/**\"]\nwho = [\"user:reader\"]\nverbs = [\"pull\"]\n";
    let setup = Setup {
        access: access.into(),
        ..Setup::default()
    };
    let registry = setup.start().await.unwrap();
    let reader = registry.account("reader", "user").await.unwrap();
    let desk = Desk {
        directory: tempfile::tempdir().unwrap(),
        registry: &registry,
    };
    example
        .copy_to(&desk.directory.path().join("digits"))
        .unwrap();
    for name in ["root", "builder", "other", "stranger"] {
        desk.admin(&["keygen", "--out", name, "--no-passphrase"])
            .expect(0);
    }
    desk.push_policy();

    // The builder: trains, packs, pushes, says how it was built, signs.
    desk.admin(&["run", "digits", "--quiet"]).expect(0);
    let pack = ["pack", "digits", "-o", "bundle:1.0.0"];
    desk.admin(&pack).expect(0);
    let place = format!("{}/models/digits", registry.address());
    let pushed = desk.admin(&["push", "oci:bundle:1.0.0", &place]).expect(0);
    let bundle = format!("{place}@{}", pushed.json["digest"].as_str().unwrap());
    let release = || desk.admin(&["release", &bundle, "1.0.0"]);
    release().expect(3).says("signatures");
    desk.admin(&["sign", &bundle, "--key", "builder.key"])
        .expect(0);
    let attest = [
        "attest",
        &bundle,
        "--lock",
        "--source",
        "git+https://git.example/digits@refs/tags/v1.0.0",
        "--builder-id",
        "https://builds.example/1",
        "--ci",
        "none",
        "--key",
        "builder.key",
    ];
    desk.admin(&attest).expect(0);
    let refused = release().expect(3);
    refused.says("reproduction");

    // Whoever replays under the policy is denied as well, before anything runs. Nothing is said of the bundle for it: it
    // is as good as it was, and only not reproduced yet.
    let said = || {
        let shown = desk.admin(&["inspect", &bundle]).expect(0);
        shown.json["referrers"].clone()
    };
    let before = said();
    assert!(
        before.as_array().is_some_and(|list| !list.is_empty()),
        "{before}"
    );
    let by_policy = [
        "replay",
        &bundle,
        "--policy",
        "policy.json",
        "--sign-with",
        "stranger.key",
        "--push",
    ];
    let denied = desk.admin(&by_policy).expect(6);
    let report = &denied.json["report"];
    assert_eq!(report["verdict"], "HALTED", "{}", denied.everything);
    assert_eq!(
        report["reasons"][0]["code"], "policy",
        "{}",
        denied.everything
    );
    assert_eq!(report["stages"], serde_json::json!([]));
    assert_eq!(denied.json["attached"], serde_json::json!([]));
    assert_eq!(said(), before);

    // The builder's own replay is none, and neither is a stranger's.
    let replay = |key: &str, more: &[&str]| {
        let arguments = [
            "replay",
            &bundle,
            "--key",
            "builder.pub",
            "--sign-with",
            key,
            "--push",
        ];
        desk.admin(&[&arguments[..], more].concat())
    };
    replay("builder.key", &[]).expect(0);
    release().expect(3).says("builder built the bundle");
    replay("stranger.key", &["--scope", "infer"]).expect(0);
    release().expect(3).says("reproduction");
    // Half of the work is none either.
    replay("other.key", &["--scope", "eval"]).expect(0);
    release().expect(3).says("reproduction");
    // Nor is that of somebody who did not look at the signatures.
    let insecure = [
        "replay",
        &bundle,
        "--insecure-skip-signatures",
        "--sign-with",
        "other.key",
        "--push",
    ];
    desk.admin(&insecure).expect(0);
    release()
        .expect(3)
        .says("was made with something waived: insecure");
    // What was waived is a warning, and a warning fails where that was asked for.
    let strictly = [
        "replay",
        &bundle,
        "--insecure-skip-signatures",
        "--scope",
        "infer",
        "--strict",
    ];
    let warned = desk.admin(&strictly).expect(1);
    assert_eq!(
        warned.json["report"]["verdict"], "REPRODUCED_WITH_WARNINGS",
        "{}",
        warned.everything
    );
    let state = desk.admin(&["status", &bundle, "--policy", "policy.json"]);
    assert_eq!(state.json["state"], "candidate", "{}", state.everything);
    let early = ["pull", &bundle, "--registry-policy", "-o", "early"];
    desk.run(&reader, &early).expect(5);

    // Somebody else, with another key, makes it again: now it is a release.
    let done = replay("other.key", &["--builder", "another-machine"]).expect(0);
    assert_eq!(
        done.json["report"]["class"]["achieved"], "bit_exact",
        "{}",
        done.everything
    );
    release().expect(0);
    let tag = format!("{place}:1.0.0");
    desk.run(&reader, &["pull", &tag, "--registry-policy", "-o", "model"])
        .expect(0);
    let weights = |root: &str| {
        fs::read(
            desk.directory
                .path()
                .join(root)
                .join("model/weights.safetensors"),
        )
    };
    assert_eq!(weights("model").unwrap(), weights("digits").unwrap());
    assert!(!desk.directory.path().join("early").exists());
}
