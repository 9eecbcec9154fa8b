//! From a project to a release that somebody else has made again: provenance and bill of materials of the lock,
//! what changed, whether it is rebuildable, and the chain; through the real client and registry.

use crate::client::Ended;
use crate::isolation::cannot_try;
use crate::project_desk::Desk;
use sealstone::runner::RunnerKind;
use sealstone_tests::registry::{Setup, TestRegistry};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

fn place(registry: &TestRegistry, rest: &str) -> String {
    format!("{}/m/counts{rest}", registry.address())
}

/// Packs, pushes and signs the project; its place by digest.
fn released(desk: &Desk, registry: &TestRegistry, more: &[&str]) -> String {
    let pack = [&["pack", "p", "-o", "bundle:x"], more].concat();
    let packed = desk.run(&pack).expect(0).json;
    let bundle = place(
        registry,
        &format!("@{}", packed["digest"].as_str().unwrap()),
    );
    desk.run_at(registry, &["push", "oci:bundle:x", &place(registry, "")])
        .expect(0);
    desk.run_at(registry, &["sign", &bundle, "--key", "builder.key"])
        .expect(0);
    fs::remove_dir_all(desk.path("bundle")).unwrap();
    bundle
}

fn provenance(desk: &Desk, registry: &TestRegistry, bundle: &str) -> Ended {
    desk.run_at(
        registry,
        &[
            "attest",
            bundle,
            "--lock",
            "--source",
            "git+https://git.example/counts@refs/tags/v1",
            "--builder-id",
            "https://builds.example/cpu",
            "--key",
            "builder.key",
        ],
    )
}

fn rebuildable(desk: &Desk, registry: &TestRegistry, bundle: &str, keys: &[&str]) -> Ended {
    let mut arguments = vec!["rebuildable", bundle];
    for key in keys {
        arguments.extend(["--key", key]);
    }
    desk.run_at(registry, &arguments)
}

/// A policy that asks for provenance by the builder and a replay by another.
fn policy(desk: &Desk) {
    desk.run(&["keygen", "--out", "root", "--no-passphrase"])
        .expect(0);
    let key = |name: &str| format!("\"\"\"{}\"\"\"", desk.read(&format!("{name}.pub")));
    let text = format!(
        "schema = \"sealstone-policy/v2\"\nversion = 1\nexpires = \"2099-01-01T00:00:00Z\"\n\
         [roots]\nthreshold = 1\nkeys = [{}]\n\
         [[identity]]\nname = \"builder\"\nroles = [\"builder\"]\nkeys = [{}]\n\
         [[identity]]\nname = \"other\"\nroles = [\"reproducer\"]\nkeys = [{}]\n\
         [[scope]]\nrepositories = [\"m/**\"]\n\
         [[scope.require]]\nrule = \"provenance\"\nbuilders = [\"https://builds.example/*\"]\n\
         [[scope.require]]\nrule = \"reproduction\"\nclass = \"bit_exact\"\nisolation = \"I3\"\n",
        key("root"),
        key("builder"),
        key("other")
    );
    desk.write("policy.toml", &text);
}

/// Whether this machine can cut a stage off from itself.
fn isolates(desk: &Desk) -> bool {
    let probed = desk.run(&["env", "probe"]).expect(0).everything;
    ["I3", "I4"].iter().any(|level| probed.contains(level))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_rebuildable_when_somebody_else_has_made_it_again() {
    let registry = Setup::default().start().await.unwrap();
    let desk = Desk::locked();
    if !isolates(&desk) {
        return cannot_try(RunnerKind::Bubblewrap, "nothing here isolates by I3");
    }
    let bundle = released(&desk, &registry, &[]);
    let both = ["builder.pub", "other.pub"];
    let ask = |keys: &[&str]| rebuildable(&desk, &registry, &bundle, keys);
    let replay = |key: &str, scope: &str| {
        desk.run_at(
            &registry,
            &[
                "replay",
                &bundle,
                "--key",
                "builder.pub",
                "--scope",
                scope,
                "--sign-with",
                key,
                "--push",
            ],
        )
        .expect(0)
    };
    ask(&both)
        .expect(3)
        .says("no provenance by a trusted key")
        .says("nobody trusted but the builder");
    provenance(&desk, &registry, &bundle).expect(0);
    policy(&desk);
    let judged = || desk.run_at(&registry, &["policy", "eval", "policy.toml", &bundle]);
    judged().expect(3);
    // The builder's own replay, and one of a part only, are not enough.
    replay("builder.key", "full");
    ask(&both).expect(3).says("is by the builder");
    replay("other.key", "infer");
    ask(&both).expect(3).says("was of infer only");
    judged().expect(3);
    replay("other.key", "full");
    // Whoever made it again says so in provenance of his own, and is no builder for that.
    judged().expect(0);
    let gate = |bundle: &str| {
        let ask = ["gate", "deploy", bundle, "--policy", "policy.toml"];
        desk.run_at(&registry, &ask)
    };
    gate(&bundle).expect(3).says("no release tag names it");
    desk.run_at(&registry, &["release", &bundle, "1.0.0"])
        .expect(0);
    let open = gate(&place(&registry, ":1.0.0")).expect(0).json;
    assert_eq!(
        (&open["state"], &open["logged"]),
        (&json!("released"), &json!(true))
    );
    let yes = ask(&both).expect(0).json;
    assert_eq!(yes["rebuildable"], true);
    assert_eq!(yes["builders"], json!(["builder"]));
    assert_eq!(yes["by"][0]["by"], "other");
    // The same under keys of which one is not trusted: no word of his counts.
    ask(&["builder.pub"])
        .expect(3)
        .says("no trusted key signed it");

    let walk = |more: &[&str]| {
        let mut all = vec!["chain", &bundle];
        for key in [
            "builder.pub",
            "builder-p256.pub",
            "other.pub",
            "other-p256.pub",
        ] {
            all.extend(["--key", key]);
        }
        all.extend(more);
        desk.run_at(&registry, &all)
    };
    let chain = walk(&["--strict"]).expect(0).json;
    let edges = chain["edges"].as_array().unwrap();
    assert!(edges.iter().all(|edge| edge["verified"] == true), "{chain}");
    let every = |pointer: &str| edges.iter().all(|edge| edge.pointer(pointer).is_some());
    assert!(every("/from/digest") && every("/to/digest"), "{chain}");
    let lock: Value = serde_json::from_str(&desk.read("p/recipe.lock")).unwrap();
    let text = chain.to_string();
    for file in lock["files"].as_array().unwrap() {
        let role = file["role"].as_str().unwrap();
        let path = file["path"].as_str().unwrap();
        // `src/` stands there as a whole, and tests and parameters are no part of the way.
        if ["input", "output"].contains(&role) || path == "src/train.sh" {
            assert!(
                text.contains(file["digest"].as_str().unwrap()),
                "{path}: {text}"
            );
        }
    }
    let kinds: Vec<&str> = edges
        .iter()
        .filter_map(|edge| edge["from"]["kind"].as_str())
        .collect();
    for kind in [
        "data",
        "code",
        "stage",
        "weights",
        "signature",
        "provenance",
        "report",
    ] {
        assert!(kinds.contains(&kind), "{kind}: {kinds:?}");
    }
    // Under the builder's key alone the other's words are there, and marked.
    let half = desk
        .run_at(&registry, &["chain", &bundle, "--key", "builder.pub"])
        .expect(0)
        .json;
    let marked = |edge: &&Value| edge["verified"] == false && edge["from"]["kind"] == "report";
    assert!(
        half["edges"]
            .as_array()
            .unwrap()
            .iter()
            .any(|edge| marked(&edge))
    );
    desk.run_at(&registry, &["chain", &bundle, "--strict"])
        .expect(3)
        .says("not verified");

    // What runs somewhere is a link too.
    let pull = ["pull", &bundle, "--key", "builder.pub", "-o", "srv"];
    desk.run_at(&registry, &pull).expect(0);
    walk(&["--strict", "--deployed", "srv"]).expect(0);
    desk.write("srv/model/weights.txt", "other\n");
    walk(&["--strict", "--deployed", "srv"]).expect(3);
}

#[tokio::test(flavor = "multi_thread")]
async fn provenance_and_bill_are_made_of_the_lock() {
    let registry = Setup::default().start().await.unwrap();
    let desk = Desk::locked();
    let bundle = released(&desk, &registry, &[]);
    let lock: Value = serde_json::from_str(&desk.read("p/recipe.lock")).unwrap();
    // Nobody says where the code came from, or who built it.
    desk.run_at(
        &registry,
        &["attest", &bundle, "--lock", "--key", "builder.key"],
    )
    .expect(2);
    let made = provenance(&desk, &registry, &bundle).expect(0).json;
    let definition = &made["predicate"]["buildDefinition"];
    assert_eq!(
        definition["buildType"],
        "https://sealstone.dev/buildtypes/model-train/v1"
    );
    let chosen = &definition["externalParameters"];
    assert_eq!(chosen["recipe"], "recipe.toml");
    assert_eq!(chosen["config"], "params.toml");
    assert_eq!(chosen["parameters"], json!({"model.scale": "2"}));
    assert_eq!(chosen["seed"], "7");
    assert_eq!(chosen["datasets"], json!(["s3://lake/counts/raw.csv"]));
    let materials = definition["resolvedDependencies"].as_array().unwrap();
    let digest_of = |name: &str| {
        let material = materials.iter().find(|material| material["name"] == name);
        let material = material.unwrap_or_else(|| panic!("no {name} in {materials:?}"));
        format!("sha256:{}", material["digest"]["sha256"].as_str().unwrap())
    };
    let locked = |path: &str| {
        let mut files = lock["files"].as_array().unwrap().iter();
        let file = files.find(|file| file["path"] == path).unwrap();
        file["digest"].as_str().unwrap().to_owned()
    };
    assert_eq!(digest_of("dataset:data/raw.csv"), locked("data/raw.csv"));
    assert_eq!(digest_of("code:src/train.sh"), locked("src/train.sh"));
    assert_eq!(digest_of("config:params.toml"), locked("params.toml"));
    assert_eq!(digest_of("recipe"), lock["recipe"]["digest"]);
    assert_eq!(digest_of("environment"), lock["environment"]["digest"]);
    digest_of("source");
    digest_of("lockfile");

    // The bill: data, metrics and facts of the lock; and what is taken away is named.
    desk.run_at(&registry, &["bom", "write", &bundle, "-o", "bom.json"])
        .expect(0);
    let bill: Value = serde_json::from_str(&desk.read("bom.json")).unwrap();
    let model = &bill["metadata"]["component"];
    assert_eq!(
        (&model["name"], &model["version"]),
        (&json!("counts"), &json!("1.0.0"))
    );
    let metrics = &model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"];
    assert_eq!(
        metrics,
        &json!([{"type": "rows", "value": lock["metrics"]["rows"]["value"]}])
    );
    let components = bill["components"].as_array().unwrap();
    let named = |reference: &str| components.iter().find(|it| it["bom-ref"] == reference);
    let data = named("dataset:data/raw.csv").unwrap();
    assert_eq!(
        data["hashes"][0]["content"],
        locked("data/raw.csv").replace("sha256:", "")
    );
    assert!(named("environment").is_some());
    desk.run_at(
        &registry,
        &[
            "attest",
            &bundle,
            "--bom",
            "bom.json",
            "--key",
            "builder.key",
        ],
    )
    .expect(0);
    let check = |place: &str| desk.run_at(&registry, &["bom", "check", place, "--bom", "bom.json"]);
    check(&bundle).expect(0);
    let pull = ["pull", &bundle, "--key", "builder.pub", "-o", "copy"];
    desk.run_at(&registry, &pull).expect(0);
    check("copy").expect(0);
    for (path, _) in files_below(&desk.path("copy")) {
        fs::rename(desk.path("copy").join(&path), desk.path("aside")).unwrap();
        check("copy").expect(3).says(&path);
        fs::rename(desk.path("aside"), desk.path("copy").join(&path)).unwrap();
    }
    check("copy").expect(0);
}

fn files_below(root: &Path) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    let mut queue = vec![root.to_owned()];
    while let Some(next) = queue.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap().is_dir() {
                true => queue.push(entry.path()),
                false => {
                    let path = entry.path();
                    let path = path
                        .strip_prefix(root)
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .to_owned();
                    found.push((path, entry.metadata().unwrap().len()));
                }
            }
        }
    }
    found
}

#[test]
fn a_build_record_goes_from_the_job_to_whoever_holds_the_key() {
    let desk = Desk::new();
    let ci = [
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_SERVER_URL", "https://git.example"),
        ("GITHUB_REPOSITORY", "team/counts"),
        ("GITHUB_REF", "refs/tags/v1"),
        ("GITHUB_SHA", "d20ace79d20ace79d20ace79d20ace79d20ace79"),
        (
            "GITHUB_WORKFLOW_REF",
            "team/counts/.github/workflows/train.yml@refs/tags/v1",
        ),
        ("GITHUB_RUN_ID", "42"),
        ("GITHUB_TOKEN", "ghs_16C7e42F292c6912E7710c838347Ae178B4a"),
    ];
    desk.run_with(None, &ci, &["run", "p", "--record", "record.json"])
        .expect(0);
    assert!(!desk.read("record.json").contains("ghs_"));
    desk.run(&["pack", "p", "-o", "bundle:1"]).expect(0);
    let attest = [
        "attest",
        "oci:bundle:1",
        "--build-record",
        "record.json",
        "--key",
        "builder.key",
    ];
    let made = desk.run(&attest).expect(0).json;
    let predicate = &made["predicate"];
    assert_eq!(
        predicate["runDetails"]["builder"]["id"],
        "https://git.example/team/counts/.github/workflows/train.yml@refs/tags/v1"
    );
    assert_eq!(
        predicate["runDetails"]["metadata"]["invocationId"],
        "https://git.example/team/counts/actions/runs/42/attempts/1"
    );
    assert_eq!(
        predicate["buildDefinition"]["externalParameters"]["parameters"]["model.scale"],
        "2"
    );
    let source = &predicate["buildDefinition"]["resolvedDependencies"][0];
    assert_eq!(
        source["digest"]["gitCommit"],
        "d20ace79d20ace79d20ace79d20ace79d20ace79"
    );
    // The same of the lock in the bundle, in the same run.
    let lock = ["attest", "oci:bundle:1", "--lock", "--key", "builder.key"];
    let again = desk.run_with(None, &ci, &lock).expect(0).json;
    assert_eq!(again["predicate"], *predicate);
}

fn row<'a>(drift: &'a Value, name: &str) -> &'a Value {
    let mut rows = drift["rows"].as_array().unwrap().iter();
    let found = rows.find(|row| row["name"] == name);
    found.unwrap_or_else(|| panic!("no row \"{name}\" in {drift}"))
}

#[test]
fn drift_names_what_changed_although_the_metrics_pass() {
    let desk = Desk::locked();
    let none = desk.run(&["drift", "p"]).expect(0).json;
    assert_eq!(none["drifted"], false, "{none}");
    desk.run(&["pack", "p", "-o", "bundle:1.0.0"]).expect(0);

    desk.change("p/params.toml", "2", "4");
    desk.change("p/src/train.sh", "mkdir", "true; mkdir");
    let found = desk.run(&["drift", "p", "--no-environment"]).expect(3).json;
    let scale = row(&found, "model.scale");
    assert_eq!(
        (
            &scale["area"],
            &scale["role"],
            &scale["base"],
            &scale["now"]
        ),
        (
            &json!("parameter"),
            &json!("optimizer"),
            &json!("2"),
            &json!("4")
        )
    );
    assert_eq!(row(&found, "src/train.sh")["area"], "code");
    desk.run(&["drift", "p", "--report-only"]).expect(0);

    // Run, packed, and held against the release that it names.
    fs::remove_file(desk.path("p/golden/out.txt")).unwrap();
    desk.run(&["run", "p"]).expect(0);
    desk.run(&["drift", "p"]).expect(0);
    desk.run(&["pack", "p", "-o", "bundle:1.1.0", "--version", "1.1.0"])
        .expect(0);
    desk.run(&["drift", "oci:bundle:1.1.0"])
        .expect(5)
        .says("--baseline");
    let named = [
        "pack",
        "p",
        "-o",
        "bundle:1.1.1",
        "--baseline",
        "oci:bundle:1.0.0",
    ];
    desk.run(&named).expect(0);
    let found = desk.run(&["drift", "oci:bundle:1.1.1"]).expect(3).json;
    assert_eq!(row(&found, "model.scale")["now"], "4");
    assert_eq!(found["metrics"][0]["outcome"], "pass");
    desk.run(&[
        "drift",
        "p",
        "--no-environment",
        "--baseline",
        "oci:bundle:1.0.0",
    ])
    .expect(3)
    .says("model.scale");

    // Rows that only changed places are told from other rows.
    desk.write("p/data/raw.csv", "x\n1\n2\n3\n");
    desk.run(&["lint", "p", "--fix-digests"]).expect(0);
    desk.run(&["run", "p"]).expect(0);
    let again = [
        "pack",
        "p",
        "-o",
        "bundle:1.2.0",
        "--baseline",
        "oci:bundle:1.1.1",
    ];
    desk.run(&again).expect(0);
    let found = desk.run(&["drift", "oci:bundle:1.2.0"]).expect(3).json;
    assert_eq!(
        row(&found, "data/raw.csv")["note"],
        "the same rows in another order"
    );
}

#[test]
fn drift_of_a_project_names_the_command_the_seed_and_the_data_that_its_recipe_states() {
    let desk = Desk::locked();
    let lock: Value = serde_json::from_str(&desk.read("p/recipe.lock")).unwrap();
    let digest = lock["inputs"][0]["content"]["digest"].as_str().unwrap();
    let pinned = digest.strip_prefix("sha256:").unwrap();
    desk.change(
        "p/recipe.toml",
        "\"src/train.sh\", \"{",
        "\"-u\", \"src/train.sh\", \"{",
    );
    desk.change("p/recipe.toml", "seed = 7", "seed = 8");
    desk.change("p/recipe.toml", "[\"model.*\"]", "[\"model.none\"]");
    desk.change("p/recipe.toml", pinned, &"0".repeat(64));
    // Whether or not somebody looks at the machine: CI decides by these words what it makes again.
    for more in [&["--no-environment"][..], &[]] {
        let found = desk.run(&[&["drift", "p"], more].concat()).expect(3).json;
        let said = |name: &str| {
            let row = row(&found, name);
            let text = |key: &str| row[key].as_str().unwrap().to_owned();
            (text("area"), text("base"), text("now"))
        };
        let due =
            |area: &str, base: &str, now: &str| (area.to_owned(), base.to_owned(), now.to_owned());
        assert_eq!(
            said("train.command"),
            due(
                "stage",
                "sh src/train.sh {params.model.scale}",
                "sh -u src/train.sh {params.model.scale}"
            )
        );
        assert_eq!(said("train.seed"), due("stage", "7", "8"));
        assert_eq!(said("prepare.seed"), due("stage", "7", "8"));
        assert_eq!(said("train.params"), due("stage", "model.scale", ""));
        let other = format!("sha256:{}", "0".repeat(64));
        assert_eq!(said("data/raw.csv"), due("data", digest, &other));
        let rows = found["rows"].as_array().unwrap();
        let stages = rows.iter().filter(|row| row["area"] == "stage").count();
        assert_eq!(stages, 4, "{found}");
    }
}

#[test]
fn a_difference_names_parameters_with_their_roles_and_judges_metrics_on_one_side() {
    let desk = Desk::locked();
    desk.run(&["pack", "p", "-o", "bundle:1.0.0"]).expect(0);
    desk.run(&["diff", "oci:bundle:1.0.0"]).expect(5);
    let release = |data: &str, scale: &str, tag: &str| {
        desk.write("p/data/raw.csv", data);
        desk.write("p/params.toml", &format!("[model]\nscale = {scale}\n"));
        let _ = fs::remove_file(desk.path("p/golden/out.txt"));
        desk.run(&["lint", "p", "--fix-digests"]).expect(0);
        desk.run(&["run", "p"]).expect(0);
        let out = format!("bundle:{tag}");
        desk.run(&["pack", "p", "-o", &out, "--baseline", "oci:bundle:1.0.0"])
            .expect(0);
        desk.run(&["diff", &format!("oci:{out}"), "--refuse-regression"])
    };
    // What the builder says of it goes with its provenance; the base is in the same layout.
    let compared = |tag: &str| {
        let place = format!("oci:bundle:{tag}");
        let source = "git+https://git.example/counts@refs/tags/v1";
        let stated = [
            "attest",
            &place,
            "--lock",
            "--source",
            source,
            "--builder-id",
            "https://ci.example/a",
        ];
        let made = desk
            .run(&[&stated[..], &["--key", "builder.key"]].concat())
            .expect(0)
            .json;
        let statements = made["statements"].as_array().unwrap().clone();
        assert_eq!(
            statements[0]["predicateType"],
            "https://slsa.dev/provenance/v1"
        );
        statements.get(1).map(|second| {
            assert_eq!(
                second["predicateType"],
                "https://in-toto.io/attestation/test-result/v0.1"
            );
            assert_eq!(second["attestations"][0]["wasThere"], false);
            second["predicate"].clone()
        })
    };
    // More rows are better: a gain is no loss.
    let gain = release("x\n1\n2\n3\n4\n", "5", "1.1.0").expect(0).json;
    let difference = &gain["difference"];
    assert_eq!(
        difference["parameters"],
        json!([{"name": "model.scale", "role": "optimizer", "base": "2", "now": "5"}])
    );
    assert_eq!(difference["regressions"][0]["outcome"], "pass");
    let delta = difference["regressions"][0]["delta"].as_str().unwrap();
    assert_eq!(delta.parse::<f64>().unwrap(), 1.0);
    assert_eq!(
        compared("1.0.0"),
        None,
        "the first release names no baseline"
    );
    let kept = compared("1.1.0").unwrap();
    assert_eq!(
        (&kept["result"], &kept["passedTests"]),
        (&json!("PASSED"), &json!(["metric.rows"]))
    );
    let names: Vec<&str> = kept["configuration"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["regression", "baseline"]);
    let rows = kept["sealstone:difference"]["rows"].as_array().unwrap();
    let is_scale =
        |row: &&serde_json::Value| row["area"] == "parameter" && row["name"] == "model.scale";
    let scale = rows
        .iter()
        .find(is_scale)
        .unwrap_or_else(|| panic!("{rows:?}"));
    assert_eq!((&scale["base"], &scale["now"]), (&json!("2"), &json!("5")));
    release("x\n1\n2\n", "5", "1.2.0").expect(3).says("rows");
    let lost = compared("1.2.0").unwrap();
    assert_eq!(
        (&lost["result"], &lost["failedTests"]),
        (&json!("FAILED"), &json!(["metric.rows"]))
    );
    // The same without a gate is only told.
    desk.run(&["diff", "oci:bundle:1.0.0", "oci:bundle:1.2.0"])
        .expect(0);
    // A metric that is not measured any more is lost, also where nothing else has changed.
    let recipe = desk.read("p/recipe.toml");
    let (head, rest) = recipe.split_once("[metric.rows]").unwrap();
    let (_, tail) = rest.split_once("[test.golden]").unwrap();
    desk.write("p/recipe.toml", &format!("{head}[test.golden]{tail}"));
    release("x\n1\n2\n3\n4\n", "5", "1.3.0")
        .expect(3)
        .says("rows: it was measured before")
        .says("sealstone except");
    let gone = compared("1.3.0").unwrap();
    assert_eq!(
        (&gone["result"], &gone["failedTests"]),
        (&json!("FAILED"), &json!(["metric.rows"]))
    );
    let drift = [
        "drift",
        "oci:bundle:1.3.0",
        "--baseline",
        "oci:bundle:1.1.0",
    ];
    let drift = desk.run(&drift).expect(3).json;
    let metric = &drift["metrics"][0];
    assert_eq!(
        (&metric["name"], &metric["outcome"]),
        (&json!("rows"), &json!("unmeasured"))
    );
    let rows = drift["rows"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["level"] == "i"), "{drift}");
    // A lock whose recipe is not there, cannot be read or is another one says nothing about loss; nor does one of
    // other files.
    let lax = recipe.replace("max_loss = 0.5", "max_loss = 9.5");
    assert_ne!(lax, recipe);
    let nothing: &[&str] = &[];
    for (tag, text, more) in [
        ("absent", recipe.as_str(), &["--ignore", "/recipe.toml"][..]),
        ("unread", "not a recipe", nothing),
        ("another", lax.as_str(), nothing),
        ("files", recipe.as_str(), nothing),
    ] {
        desk.write("p/recipe.toml", text);
        if tag == "files" {
            desk.write("p/src/train.sh", "exit 1\n");
        }
        let out = format!("bundle:{tag}");
        let pack = [
            "pack",
            "p",
            "--plain",
            "--ignore",
            "/.sealstone/",
            "-o",
            &out,
        ];
        desk.run(&[&pack[..], more].concat()).expect(0);
        let now = format!("oci:{out}");
        let told = desk.run(&["diff", "oci:bundle:1.0.0", &now]).expect(0).json;
        let difference = &told["difference"];
        assert_eq!(
            (&difference["locks"], &difference["judged"]),
            (&json!(true), &json!(false)),
            "{tag}"
        );
        assert_eq!(difference["regressions"], json!([]), "{tag}");
        desk.run(&["diff", "oci:bundle:1.0.0", &now, "--refuse-regression"])
            .expect(3)
            .says("cannot be judged");
    }
}

#[test]
fn an_older_release_is_restored_exactly() {
    let desk = Desk::locked();
    desk.run(&["pack", "p", "-o", "bundle:1.0.0"]).expect(0);
    desk.run(&["sign", "oci:bundle:1.0.0", "--key", "builder.key"])
        .expect(0);
    let written = [
        "recipe.toml",
        "recipe.lock",
        "params.toml",
        "src/train.sh",
        "golden/out.txt",
    ];
    let before = written.map(|path| desk.read(&format!("p/{path}")));
    desk.change("p/params.toml", "2", "9");
    desk.change("p/src/train.sh", "mkdir", "true; mkdir");
    let checkout = |key: &str, more: &[&str]| {
        let place = ["checkout", "oci:bundle:1.0.0", "-o", "p", "--key", key];
        desk.run(&[&place[..], more].concat())
    };
    checkout("other.pub", &["--force"]).expect(3);
    checkout("builder.pub", &[])
        .expect(7)
        .says("params.toml")
        .says("src/train.sh");
    assert!(
        desk.read("p/params.toml").contains('9'),
        "nothing was touched"
    );
    let first = checkout("builder.pub", &["--force", "--parameters-only"]).expect(0);
    assert_eq!(first.json["written"], json!(["params.toml"]));
    checkout("builder.pub", &["--force"]).expect(0);
    assert_eq!(written.map(|path| desk.read(&format!("p/{path}"))), before);
    desk.run(&["pack", "p", "-o", "again"]).expect(0);
    // Into an empty place: what people write and nothing else.
    let empty = [
        "checkout",
        "oci:bundle:1.0.0",
        "-o",
        "empty",
        "--key",
        "builder.pub",
    ];
    desk.run(&empty).expect(0);
    assert!(desk.path("empty/src/train.sh").exists() && !desk.path("empty/model").exists());
}

#[test]
fn a_stage_is_traced() {
    let desk = Desk::locked();
    desk.run(&["pack", "p", "-o", "bundle:1.0.0"]).expect(0);
    let here = desk.run(&["trace", "train", "p"]).expect(0).json;
    let there = desk
        .run(&["trace", "train", "oci:bundle:1.0.0"])
        .expect(0)
        .json;
    assert_eq!(here["stage"], there["stage"]);
    assert_eq!(there["signatures"], "not looked at");
    assert_eq!(here["logFile"]["same"], true, "{here}");
    let stage = &here["stage"];
    assert_eq!(stage["argv"], json!(["sh", "src/train.sh", "2"]));
    for field in [
        "key",
        "started",
        "log",
        "usage",
        "runner",
        "isolation",
        "outputs",
        "inputs",
    ] {
        assert!(!stage[field].is_null(), "{field}: {stage}");
    }
    desk.run(&["trace", "trian", "p"])
        .expect(5)
        .says("prepare, train");
    // A log that was cut is not taken for the log of that run.
    let log = "p/.sealstone/logs/train.log";
    desk.write(log, &format!("{}x", desk.read(log)));
    desk.run(&["trace", "train", "p"])
        .expect(4)
        .says("is not the log of the run");
}
