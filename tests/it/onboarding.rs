//! A newcomer: from a project without a recipe to a green replay in at most five commands; and the same project made
//! again by following the document that the client wrote for it.
//!
//! Owns: that the words on the screen and in REBUILD.md are enough. Packages come from what `tests/setup/install.sh
//! examples` fetched, by pip's own configuration, so that no index is asked.

use sealstone_tests::examples::{Example, example};
use sealstone_tests::registry::binary;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// A project as people have it before they hear of recipes.
const PROJECT: [(&str, &str); 4] = [
    (
        "train.py",
        "import json\nimport os\nimport tomllib\n\nimport numpy as np\nfrom sklearn.linear_model import LogisticRegression\n\n\
         params = tomllib.load(open(\"params.toml\", \"rb\"))\n\
         table = np.loadtxt(\"data/digits.csv\", delimiter=\",\", skiprows=1)\n\
         images, labels = table[:1300, :-1] / 16, table[:1300, -1]\n\
         model = LogisticRegression(C=params[\"C\"], max_iter=params[\"max_iter\"], random_state=0).fit(images, labels)\n\
         os.makedirs(\"model\", exist_ok=True)\n\
         np.savez(\"model/weights.npz\", coef=model.coef_, intercept=model.intercept_)\n\
         json.dump({\"labels\": 10}, open(\"model/config.json\", \"w\"))\n",
    ),
    (
        "evaluate.py",
        "import json\n\nimport numpy as np\n\n\
         table = np.loadtxt(\"data/digits.csv\", delimiter=\",\", skiprows=1)\n\
         images, labels = table[1300:, :-1] / 16, table[1300:, -1]\n\
         weights = np.load(\"model/weights.npz\")\n\
         found = (images @ weights[\"coef\"].T + weights[\"intercept\"]).argmax(axis=1)\n\
         json.dump({\"accuracy\": float((found == labels).mean())}, open(\"metrics.json\", \"w\"))\n",
    ),
    ("params.toml", "C = 0.5\nmax_iter = 200\n"),
    ("requirements.txt", "scikit-learn\n"),
];

/// Runs a line as it would be typed, with `sealstone` on the path and packages from the wheels of set-up.
fn shell(directory: &Path, example: &Example, line: &str) -> Output {
    let client = binary("sealstone").unwrap();
    let path = std::env::var("PATH").unwrap();
    let output = Command::new("bash")
        .args(["-e", "-u", "-o", "pipefail", "-c", line])
        .current_dir(directory)
        .env_clear()
        .env(
            "PATH",
            format!("{}:{path}", client.parent().unwrap().display()),
        )
        .env("HOME", directory.parent().unwrap())
        .env("PIP_NO_INDEX", "1")
        .env("PIP_FIND_LINKS", example.fetched.join("wheels"))
        .output()
        .unwrap();
    println!(
        "$ {line}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

#[test]
fn five_commands_lead_from_a_project_to_a_green_replay() {
    let Some(example) = example("digits") else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let project = directory.path().join("my-model");
    fs::create_dir_all(project.join("data")).unwrap();
    fs::copy(
        example.fetched.join("data/digits.csv"),
        project.join("data/digits.csv"),
    )
    .unwrap();
    for (path, content) in PROJECT {
        fs::write(project.join(path), content).unwrap();
    }
    let commands = [
        "sealstone env lock --python 3.11",
        "sealstone init --trace",
        "sealstone run",
        "sealstone replay .",
    ];
    assert!(commands.len() <= 5);
    for line in commands {
        let output = shell(&project, &example, line);
        assert!(output.status.success(), "{line}");
    }
    let last =
        String::from_utf8(shell(&project, &example, "sealstone replay . --output json").stdout)
            .unwrap();
    assert!(last.contains("\"verdict\":\"REPRODUCED"), "{last}");
    // What was found by watching is what decides: another parameter is seen.
    fs::write(project.join("params.toml"), "C = 0.4\nmax_iter = 200\n").unwrap();
    assert_eq!(
        shell(&project, &example, "sealstone replay .")
            .status
            .code(),
        Some(2)
    );
}

/// The blocks of a document that are marked `sh`, one after another, as it says that they are to be run.
fn script_of(document: &str) -> String {
    let mut script = String::new();
    let mut inside = false;
    for line in document.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            _ if inside => script += &format!("{line}\n"),
            _ => {}
        }
    }
    script
}

#[test]
fn rebuild_md_is_executed_as_it_stands() {
    let Some(example) = example("digits") else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let project = directory.path().join("digits");
    example.copy_to(&project).unwrap();
    let run = |line: &str| shell(&project, &example, line).status.code();
    assert_eq!(run("sealstone run --quiet && sealstone docs"), Some(0));
    assert_eq!(run("sealstone docs --check"), Some(0));
    let document = fs::read_to_string(project.join("docs/REBUILD.md")).unwrap();
    let script = script_of(&document);
    assert!(script.contains("sealstone replay"), "{document}");
    fs::write(project.join("rebuild.sh"), script).unwrap();
    assert_eq!(run("sh -eu rebuild.sh"), Some(0));

    // Whoever follows it with another learning rate does not end well, and is told that the document is stale.
    let params = fs::read_to_string(project.join("params.toml")).unwrap();
    let changed = params.replace("learning_rate = 0.2", "learning_rate = 0.25");
    assert_ne!(params, changed);
    fs::write(project.join("params.toml"), changed).unwrap();
    assert_eq!(run("sh -eu rebuild.sh"), Some(2));
    assert_eq!(run("sealstone docs --check"), Some(3));
    // Nor does whoever has other data: it is seen before anything runs.
    fs::write(project.join("params.toml"), params).unwrap();
    let data = fs::read_to_string(project.join("data/digits.csv")).unwrap();
    fs::write(
        project.join("data/digits.csv"),
        data.replacen("13", "12", 1),
    )
    .unwrap();
    assert_eq!(run("sh -eu rebuild.sh"), Some(1));
}
