//! A project with recipe and lock packed through the real client: what goes in, with which role, and what is refused.

use crate::project_desk::{Desk, RECIPE};
use sealstone_tests::skips;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

fn roles(packed: &Value) -> BTreeMap<String, String> {
    let files = packed["files"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    files
        .map(|file| (text(&file["path"]), text(&file["role"])))
        .collect()
}

fn problems(refused: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = refused["detail"]["problems"].as_array();
    let list = list.unwrap_or_else(|| panic!("no problems in {refused}"));
    list.iter()
        .map(|it| (text(&it["problem"]), text(&it["path"])))
        .collect()
}

#[test]
fn what_makes_the_model_goes_in_with_its_role_and_nothing_else() {
    let desk = Desk::locked();
    desk.write("p/notebooks/scratch.ipynb", "{}");
    desk.write("p/serve.py", "serve()\n");
    let packed = desk
        .run(&["pack", "p", "-o", "bundle:1.0.0"])
        .expect(0)
        .json;
    let due: BTreeMap<String, String> = [
        ("recipe.toml", "recipe"),
        ("recipe.lock", "lock"),
        ("params.toml", "parameters"),
        ("data/raw.csv", "data"),
        ("src/prepare.sh", "source"),
        ("src/train.sh", "source"),
        ("src/predict.sh", "source"),
        ("work/sorted.csv", "output"),
        ("model/weights.txt", "weights"),
        ("metrics.json", "metrics"),
        ("golden/in.txt", "test"),
        ("golden/out.txt", "test"),
        ("README.md", "doc"),
    ]
    .map(|(path, role)| (path.to_owned(), role.to_owned()))
    .into();
    assert_eq!(roles(&packed), due);
    assert_eq!(packed["ignored"], json!(["notebooks", "serve.py"]));

    // The same elsewhere, with other times and modes of others; and it says who it is.
    let other = Desk::locked();
    fs::set_permissions(
        other.path("p/src/train.sh"),
        fs::Permissions::from_mode(0o640),
    )
    .unwrap();
    fs::copy(desk.path("p/recipe.lock"), other.path("p/recipe.lock")).unwrap();
    let again = other.run(&["pack", "p", "-o", "elsewhere"]).expect(0).json;
    assert_eq!(again["digest"], packed["digest"]);
    let shown = desk.run(&["inspect", "oci:bundle:1.0.0"]).expect(0).json;
    assert_eq!(shown["model"]["descriptor"]["name"], "counts");
    assert_eq!(shown["model"]["descriptor"]["version"], "1.0.0");
    assert_eq!(roles(&shown), due);

    // More goes in when it is asked for, and is named by what it is.
    let more = desk
        .run(&["pack", "p", "-o", "more", "--include", "serve.py"])
        .expect(0)
        .json;
    assert_eq!(roles(&more)["serve.py"], "source");
    desk.run(&["pack", "p", "-o", "more", "--include", "gone.py"])
        .expect(2)
        .says("gone.py");
}

#[test]
fn each_way_of_not_being_what_the_lock_says_is_named() {
    let desk = Desk::locked();
    desk.run(&["pack", "p", "-o", "bundle"]).expect(0);
    desk.write("p/src/new.sh", "echo\n");
    desk.change("p/src/prepare.sh", "sort", "sort -r");
    desk.change("p/params.toml", "2", "4");
    fs::remove_file(desk.path("p/golden/in.txt")).unwrap();
    fs::rename(
        desk.path("p/work/sorted.csv"),
        desk.path("p/work/renamed.csv"),
    )
    .unwrap();
    fs::set_permissions(
        desk.path("p/src/train.sh"),
        fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    let refused = desk.run(&["pack", "p", "-o", "other"]).expect(3);
    let found = problems(&refused.json);
    for due in [
        ("added", "src/new.sh"),
        ("differs", "src/prepare.sh"),
        ("differs", "params.toml"),
        ("parameter", ""),
        ("missing", "golden/in.txt"),
        ("missing", "work/sorted.csv"),
        ("executable", "src/train.sh"),
    ] {
        let due = (due.0.to_owned(), due.1.to_owned());
        assert!(found.contains(&due), "{due:?}: {}", refused.everything);
    }
    assert_eq!(found.len(), 7, "{found:?}");
    assert!(!desk.path("other").exists(), "something was left");

    // A recipe that was changed after the run; no lock at all; and what is packed without a promise.
    let desk = Desk::locked();
    desk.change("p/recipe.toml", "seed = 7", "seed = 8");
    desk.run(&["pack", "p", "-o", "other"])
        .expect(3)
        .says("the lock was made from the recipe");
    fs::remove_file(desk.path("p/recipe.lock")).unwrap();
    desk.run(&["pack", "p", "-o", "other"])
        .expect(5)
        .says("sealstone run");
    desk.run(&["pack", "p", "-o", "other", "--plain"]).expect(0);
}

#[test]
fn a_bill_says_nothing_that_lock_and_files_contradict() {
    let desk = Desk::locked();
    desk.run(&["bom", "write", "p", "-o", "bom.json"]).expect(0);
    desk.run(&["pack", "p", "-o", "bundle:1.0.0"]).expect(0);

    // A card adds to what the lock says: also a part of the data, and the same number written otherwise.
    let part = "[[metric]]\ntype = \"rows\"\nvalue = \"3\"\nslice = \"a part\"\n";
    let same = "[[metric]]\ntype = \"rows\"\nvalue = \"4\"\n";
    let data = "[[dataset]]\nname = \"data/raw.csv\"\nclassification = \"public\"\n";
    desk.write("card.toml", &format!("{part}{same}{data}"));
    let write = |place: &str| {
        desk.run(&[
            "bom",
            "write",
            place,
            "--card",
            "card.toml",
            "-o",
            "bom.json",
        ])
    };
    let lock: Value = serde_json::from_str(&desk.read("p/recipe.lock")).unwrap();
    for place in ["p", "oci:bundle:1.0.0"] {
        write(place).expect(0);
        let bill: Value = serde_json::from_str(&desk.read("bom.json")).unwrap();
        let analysis = &bill["metadata"]["component"]["modelCard"]["quantitativeAnalysis"];
        let metrics = analysis["performanceMetrics"].as_array().unwrap().iter();
        let mut values: Vec<(&Value, &Value)> =
            metrics.map(|it| (&it["slice"], &it["value"])).collect();
        values.sort_by_key(|(slice, _)| slice.is_null());
        assert_eq!(
            values,
            [
                (&json!("a part"), &json!("3")),
                (&Value::Null, &lock["metrics"]["rows"]["value"])
            ]
        );
    }
    for (wrong, says) in [
        (same.replace('4', "5"), "metric \\\"rows\\\""),
        (
            format!("{data}digest = \"sha256:{}\"\n", "0".repeat(64)),
            "has the digest",
        ),
        (
            format!("{data}uri = \"s3://lake/other.csv\"\n"),
            "s3://lake/counts/raw.csv",
        ),
        (
            format!("{data}uri = \"s3://lake/other.csv\"\n").replace("dataset", "base-model"),
            "s3://lake/other.csv",
        ),
    ] {
        desk.write("card.toml", &wrong);
        for place in ["p", "oci:bundle:1.0.0"] {
            write(place).expect(3).says(says);
        }
    }

    // Weights that came after the run were not measured.
    let weights = desk.read("p/model/weights.txt");
    desk.write("p/model/weights.txt", "others\n");
    fs::remove_file(desk.path("bom.json")).unwrap();
    desk.run(&["bom", "write", "p", "-o", "bom.json"])
        .expect(3)
        .says("model/weights.txt");
    assert!(!desk.path("bom.json").exists());
    desk.write("p/model/weights.txt", &weights);
    desk.run(&["bom", "write", "p", "-o", "bom.json"]).expect(0);
    desk.change("p/recipe.toml", "max_loss = 0.5", "max_loss = 0.6");
    desk.run(&["bom", "write", "p", "-o", "bom.json"])
        .expect(3)
        .says("the lock was made from the recipe");
}

#[test]
fn data_outside_is_named_by_digest_and_must_have_a_source() {
    let with = |source: &str| {
        let recipe = RECIPE.replace(
            "source = \"s3://lake/counts/raw.csv\"",
            &format!("embed = false\n{source}"),
        );
        let desk = Desk::with(&recipe);
        desk.run(&["run", "p"]).expect(0);
        desk
    };
    let desk = with("source = \"s3://lake/counts/raw.csv\"");
    let packed = desk.run(&["pack", "p", "-o", "bundle"]).expect(0).json;
    assert!(!roles(&packed).contains_key("data/raw.csv"));
    assert_eq!(packed["referenced"][0]["path"], "data/raw.csv");
    assert_eq!(
        packed["referenced"][0]["source"],
        "s3://lake/counts/raw.csv"
    );
    let lock: Value = serde_json::from_str(&desk.read("p/recipe.lock")).unwrap();
    assert_eq!(
        packed["referenced"][0]["digest"],
        lock["inputs"][0]["content"]["digest"]
    );
    let embedded = desk
        .run(&["pack", "p", "-o", "bundle", "--embed-data"])
        .expect(0)
        .json;
    assert_eq!(roles(&embedded)["data/raw.csv"], "data");
    // Where it is not here, it can still be named, and not embedded.
    fs::remove_file(desk.path("p/data/raw.csv")).unwrap();
    let away = desk.run(&["pack", "p", "-o", "bundle"]).expect(0).json;
    assert_eq!(away["digest"], packed["digest"]);
    desk.run(&["pack", "p", "-o", "bundle", "--embed-data"])
        .expect(3)
        .says("data/raw.csv");

    let nowhere = with("");
    nowhere
        .run(&["pack", "p", "-o", "bundle"])
        .expect(3)
        .says("nobody could make the model again");
}

#[test]
fn data_outside_is_brought_by_whoever_replays_and_compared() {
    let recipe = RECIPE.replace("source =", "embed = false\nsource =");
    let desk = Desk::with(&recipe);
    desk.run(&["run", "p"]).expect(0);
    desk.run(&["pack", "p", "-o", "bundle:1"]).expect(0);
    desk.run(&["sign", "oci:bundle:1", "--key", "builder.key"])
        .expect(0);
    desk.write("lake/raw.csv", "x\n3\n1\n2\n");
    desk.write("lake/other.csv", "x\n1\n3\n2\n");
    let with = |command: &str, more: &[&str]| {
        let place = [command, "oci:bundle:1", "--key", "builder.pub"];
        desk.run(&[&place[..], more].concat())
    };
    let verdict = |ended: &crate::client::Ended| {
        ended.json["report"]["verdict"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };

    let nothing = with("replay", &[]);
    assert_eq!(verdict(&nothing), "INCONCLUSIVE", "{}", nothing.everything);
    let brought = with("replay", &["--data", "data/raw.csv=lake/raw.csv"]).expect(0);
    assert_eq!(verdict(&brought), "REPRODUCED", "{}", brought.everything);
    let other = with("replay", &["--data", "data/raw.csv=lake/other.csv"]).expect(3);
    assert_eq!(verdict(&other), "HALTED", "{}", other.everything);
    other.says("data/raw.csv");
    // Nor does the wrong file of whoever replays say anything about the release.
    let wrong = [
        "--data",
        "data/raw.csv=lake/other.csv",
        "--sign-with",
        "builder.key",
        "--push",
    ];
    let wrong = with("replay", &wrong).expect(3);
    let attached = &wrong.json["attached"];
    assert_eq!(*attached, serde_json::json!([]), "{}", wrong.everything);
    with("replay", &["--data", "data/none.csv=lake/raw.csv"])
        .expect(64)
        .says("data/raw.csv");
    with("replay", &["--data", "../raw.csv=lake/raw.csv"]).expect(2);

    with("verify", &[]).expect(0);
    with("verify", &["--deep"])
        .expect(3)
        .says("s3://lake/counts/raw.csv");
    let deep = with("verify", &["--deep", "--data", "data/raw.csv=lake/raw.csv"]).expect(0);
    assert_eq!(deep.json["dataChecked"], 1);
    with("verify", &["--data", "data/raw.csv=lake/other.csv"])
        .expect(4)
        .says("data/raw.csv");
}

#[test]
fn a_profile_goes_in_with_its_data_and_may_not_be_stale() {
    let desk = Desk::new();
    desk.change("p/src/predict.sh", "model/weights.txt ", "");
    desk.run(&["run", "p"]).expect(0);
    desk.run(&["run", "p", "--profile", "smoke"]).expect(0);
    let packed = desk.run(&["pack", "p", "-o", "bundle"]).expect(0).json;
    let found = roles(&packed);
    assert_eq!(found["baselines/smoke.lock"], "baseline");
    assert_eq!(found["data/small.csv"], "data");
    desk.write("p/data/small.csv", "x\n9\n");
    let refused = desk.run(&["pack", "p", "-o", "bundle"]).expect(3);
    assert_eq!(
        problems(&refused.json),
        [("differs".to_owned(), "data/raw.csv".to_owned())],
        "the path that stages know it by"
    );
}

fn git(desk: &Desk, arguments: &[&str]) -> bool {
    let mut command = Command::new("git");
    command
        .args(["-c", "user.name=a", "-c", "user.email=a@example.invalid"])
        .args(["-c", "commit.gpgsign=false", "-C"])
        .arg(desk.path("p"))
        .args(arguments)
        .env("HOME", desk.root());
    command.output().is_ok_and(|output| output.status.success())
}

#[test]
fn code_that_is_not_committed_is_refused_where_the_risk_demands_it() {
    let desk = Desk::with(&RECIPE.replace("risk = \"low\"", "risk = \"medium\""));
    if !git(&desk, &["init", "-q"]) {
        return skips::not_installed("git");
    }
    desk.run(&["run", "p"]).expect(0);
    let pack = ["pack", "p", "-o", "bundle"];
    desk.run(&pack).expect(3).says("names no commit");
    assert!(git(&desk, &["add", "src", "recipe.toml", "params.toml"]));
    assert!(git(&desk, &["commit", "-q", "-m", "first"]));
    // Golden answers are part of what was promised.
    desk.run(&["run", "p"]).expect(0);
    desk.run(&pack)
        .expect(3)
        .says("golden/out.txt")
        .says("is not in it");
    assert!(git(&desk, &["add", "golden"]));
    assert!(git(&desk, &["commit", "-q", "-m", "golden"]));
    desk.run(&["run", "p"]).expect(0);
    // Outputs and the lock itself need not be committed.
    desk.run(&pack).expect(0);
    // A changed script, run and locked, and not committed.
    desk.change("p/src/train.sh", "mkdir", "true; mkdir");
    desk.run(&["run", "p"]).expect(0);
    desk.run(&pack)
        .expect(3)
        .says("src/train.sh")
        .says("was changed after it");
    assert!(git(&desk, &["commit", "-qam", "second"]));
    desk.run(&pack).expect(3);
    desk.run(&["run", "p"]).expect(0);
    desk.run(&pack).expect(0);
    // At low risk it is the packer's own business.
    desk.change("p/recipe.toml", "medium", "low");
    desk.run(&["run", "p"]).expect(0);
    desk.run(&pack).expect(0);
}

#[test]
fn a_project_below_the_top_of_its_repository_is_held_against_its_commit() {
    let desk = Desk::with(&RECIPE.replace("risk = \"low\"", "risk = \"medium\""));
    if !git(&desk, &["-C", "..", "init", "-q"]) {
        return skips::not_installed("git");
    }
    desk.run(&["run", "p"]).expect(0);
    let pack = ["pack", "p", "-o", "bundle"];
    desk.run(&pack).expect(3).says("names no commit");
    let all = ["add", "src", "recipe.toml", "params.toml", "golden"];
    assert!(git(&desk, &all));
    assert!(git(&desk, &["commit", "-q", "-m", "first"]));
    desk.run(&["run", "p"]).expect(0);
    desk.run(&pack).expect(0);
    desk.change("p/src/train.sh", "mkdir", "true; mkdir");
    desk.run(&["run", "p"]).expect(0);
    desk.run(&pack)
        .expect(3)
        .says("src/train.sh")
        .says("was changed after it");
    // Findings stand where a viewer of the repository looks for them.
    desk.change("p/src/train.sh", "true;", "true; true;");
    desk.run(&["replay", "p", "--sarif", "replay.sarif"])
        .expect(0);
    let shown = desk.read("replay.sarif");
    assert!(shown.contains("\"p/recipe.toml\""), "{shown}");
}

#[test]
fn a_release_names_the_one_before_it() {
    let desk = Desk::locked();
    let first = desk
        .run(&["pack", "p", "-o", "bundle:1.0.0"])
        .expect(0)
        .json;
    desk.change("p/params.toml", "2", "4");
    fs::remove_file(desk.path("p/golden/out.txt")).unwrap();
    desk.run(&["run", "p"]).expect(0);
    let pack = |baseline: &str| {
        desk.run(&[
            "pack",
            "p",
            "-o",
            "bundle:1.1.0",
            "--version",
            "1.1.0",
            "--baseline",
            baseline,
        ])
    };
    let second = pack("oci:bundle:1.0.0").expect(0).json;
    let shown = desk.run(&["inspect", "oci:bundle:1.1.0"]).expect(0).json;
    assert_eq!(
        shown["annotations"]["dev.sealstone.baseline"],
        first["digest"]
    );
    let by_digest = pack(first["digest"].as_str().unwrap()).expect(0).json;
    assert_eq!(by_digest["digest"], second["digest"]);
    pack("oci:bundle:0.9.0").expect(5);
}

#[test]
fn files_beside_a_bundle_are_told_apart() {
    let desk = Desk::locked();
    desk.run(&["pack", "p", "-o", "bundle:1.0.0"]).expect(0);
    desk.run(&["sign", "oci:bundle:1.0.0", "--key", "builder.key"])
        .expect(0);
    let pull = [
        "pull",
        "oci:bundle:1.0.0",
        "--key",
        "builder.pub",
        "-o",
        "copy",
    ];
    desk.run(&pull).expect(0);
    let check = [
        "verify",
        "oci:bundle:1.0.0",
        "--key",
        "builder.pub",
        "--files",
        "copy",
    ];
    let good = desk.run(&check).expect(0);
    assert_eq!(good.json["roles"]["weights"], 1, "{}", good.everything);
    desk.write("copy/more.txt", "x");
    fs::remove_file(desk.path("copy/golden/in.txt")).unwrap();
    fs::rename(desk.path("copy/metrics.json"), desk.path("copy/m.json")).unwrap();
    fs::set_permissions(
        desk.path("copy/src/train.sh"),
        fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    desk.change("copy/params.toml", "2", "3");
    let bad = desk.run(&check).expect(4);
    let mut found = problems(&bad.json);
    found.sort();
    let due = [
        ("added", "more.txt"),
        ("differs", "params.toml"),
        ("executable", "src/train.sh"),
        ("missing", "golden/in.txt"),
        ("renamed", "metrics.json"),
    ];
    assert_eq!(
        found,
        due.map(|(problem, path)| (problem.to_owned(), path.to_owned())),
        "{}",
        bad.everything
    );
    assert!(bad.everything.contains("m.json"), "{}", bad.everything);
}
