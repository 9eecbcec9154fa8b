//! Two people who replay the same bundle and do not agree.

use super::bench::{Bench, Due};
use sealstone_tests::skips;
use std::fs;
use std::process::Command;

/// A policy under which a release needs one reproduction, by people whose word is taken.
fn policy(bench: &Bench) -> String {
    let key = |name: &str| {
        let text = fs::read_to_string(bench.directory().join(format!("{name}.pub"))).unwrap();
        format!("\"\"\"{text}\"\"\"")
    };
    let mut text = format!(
        "schema = \"sealstone-policy/v2\"\nversion = 1\nexpires = \"2099-01-01T00:00:00Z\"\n[roots]\nthreshold = 1\nkeys = [{}]\n",
        key("root")
    );
    for name in ["builder", "other", "third"] {
        text += &format!(
            "[[identity]]\nname = \"{name}\"\nteams = [\"{name}\"]\nroles = [\"builder\", \"reproducer\"]\nkeys = [{}]\n",
            key(name)
        );
    }
    text + "[[scope]]\nrepositories = [\"models/**\"]\n\
        [[scope.require]]\nrule = \"provenance\"\nbuilders = [\"https://builds.example/*\"]\n\
        [[scope.require]]\nrule = \"reproduction\"\nclass = \"numeric\"\n"
}

#[test]
fn a_divergence_that_somebody_trusted_reports_stands_against_a_reproduction() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    for name in ["root", "third"] {
        let made = bench.sealstone(&["keygen", "--out", name, "--no-passphrase"], &[]);
        assert_eq!(made.exit, 0, "{}", made.said);
    }
    // The name of the machine decides a file, under a runner that leaves it alone.
    bench.append(
        "src/train.py",
        "\nimport socket\nconfig[\"noted\"] = socket.gethostname()\npathlib.Path(\"model/config.json\").write_text(json.dumps(config))\n",
    );
    let ran = bench.sealstone(&["run", "p", "--quiet", "--runner", "process"], &[]);
    assert_eq!(ran.exit, 0, "{}", ran.said);
    for arguments in [
        &["pack", "p", "-o", "bundle:1.0.0"][..],
        &["sign", "oci:bundle:1.0.0", "--key", "builder.key"],
        &[
            "attest",
            "oci:bundle:1.0.0",
            "--lock",
            "--source",
            "git+https://git.example/digits@refs/tags/v1.0.0",
            "--builder-id",
            "https://builds.example/1",
            "--ci",
            "none",
            "--key",
            "builder.key",
        ],
    ] {
        let ended = bench.sealstone(arguments, &[]);
        assert_eq!(ended.exit, 0, "{}", ended.said);
    }
    fs::write(bench.directory().join("policy.toml"), policy(&bench)).unwrap();
    let eval = |bench: &Bench| {
        bench.sealstone(
            &[
                "policy",
                "eval",
                "policy.toml",
                "oci:bundle:1.0.0",
                "--repository",
                "models/digits",
            ],
            &[],
        )
    };
    let replay = |key: &'static str| {
        [
            "--output",
            "json",
            "replay",
            "oci:bundle:1.0.0",
            "--key",
            "builder.pub",
            "--runner",
            "process",
            "--sign-with",
            key,
            "--push",
        ]
    };
    let before = eval(&bench);
    bench.check(
        "nobody has reproduced it",
        before.json["admitted"] == false,
        &before,
    );
    let agreed = bench.sealstone(&replay("other.key")[2..], &[]);
    bench.hold("one agrees", agreed, Due::reproduced());
    let after = eval(&bench);
    bench.check(
        "one reproduction is enough",
        after.json["admitted"] == true,
        &after,
    );

    let mut elsewhere = Command::new("unshare");
    elsewhere.args([
        "--uts",
        "sh",
        "-c",
        "hostname another-machine && exec \"$0\" \"$@\"",
    ]);
    elsewhere.arg(sealstone_tests::registry::binary("sealstone").unwrap());
    elsewhere.args(replay("third.key"));
    let differs = bench.run(elsewhere, &[]);
    if differs.said.contains("unshare failed") {
        skips::not_possible("another host name needs a namespace of its own (root)");
        return bench.close();
    }
    bench.hold(
        "another differs, and says so with a signature",
        differs,
        Due::diverged("train", "model/config.json", "pointer:/noted", "unknown"),
    );
    let stands = eval(&bench);
    bench.check(
        "the divergence stands",
        stands.json["admitted"] == false,
        &stands,
    );
    bench.check(
        "and is named with who reported it",
        stands.said.contains("third"),
        &stands,
    );
    bench.close();
}
