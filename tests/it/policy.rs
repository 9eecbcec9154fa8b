//! The life of a release under a policy of version 2, through the real binaries: judged, approved,
//! released, deprecated, revoked; and the policy's own succession.

use crate::content::get;
use crate::policy_desk::{Desk, LATER, attach_provenance, place, registry};
use serde_json::{Value, json};
use std::fs;

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
    let told = get(&registry, &reader, "/v2/models/m/manifests/1.0.0")
        .await
        .expect(200);
    assert_eq!(told.header("sealstone-deprecated"), "poisoned data");
    assert_eq!(
        told.header("warning"),
        "299 - \"deprecated: poisoned data\""
    );
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
