#![allow(clippy::unwrap_used)]
use super::*;
use sealstone_spec::report::CATALOGUE;

const RECIPE: &str = r#"recipe = { version = 1, name = "digits_x", model_version = "1.0", owner = "team-x", risk = "low" }
environment = { kind = "venv", python = "3.11.7", lock = "requirements.lock", wheels = "wheels/" }
determinism = { class = "numeric", seed = 7, threads = 1, why = "CPUs vary" }
params = { file = "params.toml" }
override = [{ fact = "gpu.name", level = "W", why = "cross-validated", expires = 2026-02-01 }]
[[input]]
path = "data/raw.csv"
sha256 = "HASH"
source = "s3://lake/raw.csv"
[[input]]
path = "data/images"
tree = "TREE"
[stage.train]
kind = "train"
run = ["python3", "train.py", "it's"]
in = ["data/raw.csv", "data/images/", "train.py"]
params = ["*"]
out = ["model.json", "metrics.json"]
device = "cpu"
tolerance = { "model.json" = { abs = 1e-6, why = "BLAS" } }
[metric.auc]
from = "metrics.json#/auc"
direction = "higher"
replay = { abs = 1e-6 }
regression = { max_loss = 0.01 }
min = 0.8
[test.golden]
kind = "inference"
run = ["python3", "predict.py", "{in}", "{out}"]
inputs = "golden/in.csv"
expect = "golden/out.csv"
abs = 1e-6
why = "TODO: say it"
"#;

fn project(recipe: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let hash = sealstone_spec::digest::Digest::sha256(b"x").hex();
    let recipe = recipe.replace("HASH", &hash).replace("TREE", &hash);
    fs::write(root.path().join("recipe.toml"), recipe).unwrap();
    fs::write(root.path().join("params.toml"), "lr = 0.5\n").unwrap();
    root
}

fn of(root: &Path, known: Option<&str>) -> Vec<Document> {
    let project = Project::open(root).unwrap();
    let sources = Sources {
        project: &project,
        lock: None,
        policy: None,
    };
    documents(&sources, known).unwrap()
}

fn named<'a>(documents: &'a [Document], name: &str) -> &'a str {
    &documents
        .iter()
        .find(|document| document.name == name)
        .unwrap()
        .text
}

#[test]
fn every_rule_stands_in_the_documents_with_its_reason() {
    let root = project(RECIPE);
    let documents = of(root.path(), None);
    let criteria = named(&documents, "CRITERIA.md");
    for due in [
        "`model.json` | `numeric` | `abs ≤ 0.000001` | BLAS",
        "`metrics.json` | `numeric` | defaults of the type | CPUs vary",
        "higher is better, loss ≤ 0.01",
        "`≥ 0.8`",
        "*nobody has said*",
        "digits\\_x",
    ] {
        let plain = criteria
            .replace("1e-6", "0.000001")
            .replace("1e-06", "0.000001");
        assert!(plain.contains(due), "{due} is not in:\n{criteria}");
    }
    let decisions = named(&documents, "DECISIONS.md");
    for due in [
        "`gpu.name` | `W` | 2026-02-01 | cross-validated",
        "every output | `numeric` | CPUs vary",
        "metric auc",
    ] {
        assert!(decisions.contains(due), "{due} is not in:\n{decisions}");
    }
    let trouble = named(&documents, "TROUBLESHOOTING.md");
    for hint in &CATALOGUE {
        assert!(
            trouble.contains(&format!("### {}: ", hint.id)),
            "{}",
            hint.id
        );
    }
    assert!(trouble.contains("RE15") && trouble.contains("RB022"));
    assert!(named(&documents, "REBUILD.md").contains("`python3 train.py 'it'\\''s'`"));
}

#[test]
fn a_weaker_class_stands_with_the_reason_of_whoever_stated_it() {
    let stated = RECIPE
        .replace(
            "tolerance = { \"model.json\" = { abs = 1e-6, why = \"BLAS\" } }\n",
            "require = \"statistical\"\nwhy = \"atomics\"\ndescription = \"fits\"\n",
        )
        .replace(
            "[test.golden]",
            "[test.again]\nkind = \"serialization\"\nrun = [\"python3\", \"again.py\", \"{model}\", \"{out}\"]\n\
             compare = \"numeric\"\nwhy = \"packed\"\n[test.golden]",
        );
    let documents = of(project(&stated).path(), None);
    let rebuild = named(&documents, "REBUILD.md");
    assert!(
        rebuild.contains("(train): fits") && !rebuild.contains("atomics"),
        "{rebuild}"
    );
    let decisions = named(&documents, "DECISIONS.md");
    for due in [
        "outputs of train | `statistical` | atomics",
        "test again | `numeric` | packed",
    ] {
        assert!(decisions.contains(due), "{due} is not in:\n{decisions}");
    }
    let criteria = named(&documents, "CRITERIA.md");
    let due = "`metrics.json` | `statistical` | defaults of the type | atomics";
    assert!(criteria.contains(due), "{criteria}");
    // The reason of the whole recipe is none for a stage that asks for less.
    let silent = stated.replace("why = \"atomics\"\n", "");
    let documents = of(project(&silent).path(), None);
    for name in ["CRITERIA.md", "DECISIONS.md"] {
        let text = named(&documents, name);
        let mut rows = text.lines().filter(|line| line.contains("`statistical` |"));
        assert!(
            rows.all(|row| row.contains("*nobody has said*")),
            "{name}: {text}"
        );
    }
}

#[test]
fn a_metric_that_is_held_against_a_sample_need_not_be_the_same() {
    let exact = RECIPE
        .replace("class = \"numeric\"", "class = \"bit_exact\"")
        .replace(
            "tolerance = { \"model.json\" = { abs = 1e-6, why = \"BLAS\" } }\n",
            "",
        )
        .replace(
            "expect = \"golden/out.csv\"\nabs = 1e-6\n",
            "expect = \"golden/out.csv\"\n",
        )
        .replace("replay = { abs = 1e-6 }\n", "");
    let none = "None: everything has to be the same.";
    let decisions = |recipe: &str| {
        let documents = of(project(recipe).path(), None);
        named(&documents, "DECISIONS.md").to_owned()
    };
    assert!(decisions(&exact).contains(none));
    let seeds = "replicates = { seeds = [1, 2, 3, 4, 5], stages = [\"train\"] }\n";
    let sampled = exact
        .replace(
            "[[input]]\npath = \"data/raw.csv\"",
            &format!("{seeds}[[input]]\npath = \"data/raw.csv\""),
        )
        .replace(
            "direction = \"higher\"\n",
            "direction = \"higher\"\nreplay = { method = \"interval\" }\n",
        );
    let text = decisions(&sampled);
    assert!(
        !text.contains(none) && text.contains("metric auc"),
        "{text}"
    );
}

#[test]
fn the_same_sources_give_the_same_bytes_and_any_change_is_stale() {
    let root = project(RECIPE);
    let out = root.path().join("docs");
    let open = || Project::open(root.path()).unwrap();
    let project = open();
    let sources = Sources {
        project: &project,
        lock: None,
        policy: None,
    };
    assert_eq!(
        stale(&sources, &out).unwrap().len(),
        5,
        "nothing is written yet"
    );
    assert_eq!(write(&sources, &out).unwrap().len(), 5);
    assert!(stale(&sources, &out).unwrap().is_empty());
    assert!(write(&sources, &out).unwrap().is_empty());
    let rebuild = out.join("REBUILD.md");
    let text = fs::read_to_string(&rebuild).unwrap();
    fs::write(&rebuild, text.replace("sealstone replay", "sealstone pull")).unwrap();
    assert_eq!(stale(&sources, &out).unwrap(), ["REBUILD.md"]);
    fs::write(&rebuild, text).unwrap();

    let recipe = fs::read_to_string(root.path().join("recipe.toml")).unwrap();
    fs::write(
        root.path().join("recipe.toml"),
        recipe.replace("replay = { abs = 1e-6 }", "replay = { abs = 1e-3 }"),
    )
    .unwrap();
    let project = open();
    let sources = Sources {
        project: &project,
        lock: None,
        policy: None,
    };
    assert_eq!(
        stale(&sources, &out).unwrap(),
        ["CRITERIA.md", "CHANGELOG.md"]
    );
    assert_eq!(
        write(&sources, &out).unwrap(),
        ["CRITERIA.md", "CHANGELOG.md"]
    );
    let log = fs::read_to_string(out.join("CHANGELOG.md")).unwrap();
    assert_eq!(log.matches("\n## ").count(), 2, "{log}");
    let (first, second) = (
        log.find("metric.auc.replay.abs").unwrap(),
        log.find("First state").unwrap(),
    );
    assert!(first < second, "newest first");
    assert!(stale(&sources, &out).unwrap().is_empty());
    // What is no rule is no entry.
    let recipe = fs::read_to_string(root.path().join("recipe.toml")).unwrap();
    fs::write(
        root.path().join("recipe.toml"),
        format!("# a comment\n{recipe}"),
    )
    .unwrap();
    let project = open();
    let sources = Sources {
        project: &project,
        lock: None,
        policy: None,
    };
    write(&sources, &out).unwrap();
    assert_eq!(fs::read_to_string(out.join("CHANGELOG.md")).unwrap(), log);
    fs::write(out.join("CHANGELOG.md"), "# Mine\n").unwrap();
    assert!(
        write(&sources, &out).is_err(),
        "what somebody else wrote is not replaced"
    );
}

/// The blocks that check data are run by a real shell; what the client does in them is another test's.
#[test]
fn the_checks_of_a_rebuild_pass_on_the_right_data_and_on_no_other() {
    let root = tempfile::tempdir().unwrap();
    let place = root.path().join("a b");
    fs::create_dir_all(place.join("data/images/sub")).unwrap();
    for (path, text) in [
        ("data/raw.csv", "x"),
        ("data/images/b.png", "1"),
        ("data/images/sub/a c.png", "2"),
        ("params.toml", "lr = 1\n"),
        ("recipe.lock", ""),
    ] {
        fs::write(place.join(path), text).unwrap();
    }
    let recipe = RECIPE.replace(
        "kind = \"venv\", python = \"3.11.7\", lock = \"requirements.lock\", wheels = \"wheels/\"",
        "kind = \"host\"",
    );
    let recipe = recipe.replace("HASH", "todo").replace("TREE", "todo");
    fs::write(place.join("recipe.toml"), recipe).unwrap();
    crate::recipe::fill_digests(&place).unwrap();
    let documents = of(&place, None);
    let rebuild = named(&documents, "REBUILD.md");
    let blocks: Vec<&str> = rebuild
        .split("```sh\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert_eq!(blocks.len(), 5);
    let script = format!("{}{}", blocks[0], blocks[2]);
    let run = || {
        let mut shell = std::process::Command::new("sh");
        shell
            .args(["-eu", "-c", &script])
            .env("PROJECT", &place)
            .env("OUT", root.path().join("out"));
        shell.output().unwrap()
    };
    assert!(run().status.success(), "{:?}\n{script}", run());
    fs::write(place.join("data/images/sub/a c.png"), "3").unwrap();
    assert!(!run().status.success());
    fs::write(place.join("data/images/sub/a c.png"), "2").unwrap();
    fs::write(place.join("data/raw.csv"), "y").unwrap();
    assert!(!run().status.success());
}
