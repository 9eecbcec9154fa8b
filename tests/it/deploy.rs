//! `sealstone gate deploy` where nobody has asked for anything, or only the registry says what was asked for.

use crate::model_desk::{Desk, at};
use sealstone_tests::registry::Setup;
use std::fs;

/// A policy of version 2, not signed, under which releases in `models/**` need a signature of alice.
fn policy(desk: &Desk) -> String {
    desk.run(&["keygen", "--out", "root", "--no-passphrase"])
        .expect(0);
    let key = |name: &str| {
        let text = fs::read_to_string(desk.path(&format!("{name}.pub"))).unwrap();
        format!("\"\"\"{text}\"\"\"")
    };
    format!(
        "schema = \"sealstone-policy/v2\"\nversion = 1\nexpires = \"2099-01-01T00:00:00Z\"\n\
         [roots]\nthreshold = 1\nkeys = [{}]\n\
         [[identity]]\nname = \"alice\"\nroles = [\"release\"]\nkeys = [{}]\n\
         [[scope]]\nrepositories = [\"models/**\"]\n[[scope.require]]\nrule = \"signatures\"\n",
        key("root"),
        key("alice")
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gate_is_shut_where_nothing_is_asked_for_and_on_the_registrys_word_alone() {
    let desk = Desk::new();
    let text = policy(&desk);
    fs::write(desk.path("policy.toml"), &text).unwrap();
    let setup = Setup {
        policy: text,
        ..Setup::default()
    };
    let registry = setup.start().await.unwrap();
    let gate = |place: &str, more: &[&str]| {
        let ask = [&["gate", "deploy", place][..], more].concat();
        desk.run_at(&registry, &ask)
    };
    let by_file = ["--policy", "policy.toml"];

    // A repository of which the policy says nothing: everything that it asks for there is met.
    let free = at(&registry, "free/m:1.0.0");
    desk.run_at(&registry, &["push", "oci:bundle:1.0.0", &free])
        .expect(0);
    gate(&free, &by_file)
        .expect(3)
        .says("the policy asks for nothing in repository");
    let judged = desk.run_at(&registry, &["policy", "eval", "policy.toml", &free]);
    let judged = judged.expect(0).json;
    assert_eq!(judged["admitted"], true);
    assert_eq!(judged["rules"], 0);

    // One for which it asks: by one's own copy of the policy, and not by what the registry calls its policy.
    let held = at(&registry, "models/m");
    let pushed = desk
        .run_at(&registry, &["push", "oci:bundle:1.0.0", &held])
        .expect(0);
    let digest = pushed.json["digest"].as_str().unwrap();
    let held = format!("{held}@{digest}");
    desk.run_at(
        &registry,
        &[
            "sign",
            &held,
            "--key",
            "alice.key",
            "--only",
            "--compat",
            "none",
        ],
    )
    .expect(0);
    desk.run_at(&registry, &["release", &held, "1.0.0"])
        .expect(0);
    let release = at(&registry, "models/m:1.0.0");
    gate(&release, &by_file).expect(0);
    gate(&release, &[]).expect(3).says("is not signed");
    let judged = desk.run_at(&registry, &["policy", "eval", "policy.toml", &release]);
    assert_eq!(judged.expect(0).json["rules"], 1);
    // Seeing what is asked for needs no signature.
    let status = desk.run_at(&registry, &["status", &release]).expect(0);
    assert_eq!(status.json["state"], "released");
}
