//! Stages that do what they must not, need more than they may, or crash.

use super::bench::{Bench, Due};
use std::fs;

const LIMITS: &str = "resources = { cpus = 1, memory = \"2GiB\", wall = \"5m\" }";

const IMPORT: &str = "\nimport json\n";

/// A first stage that does this before anything else.
fn doing(lines: &str) -> impl Fn(&Bench) + use<> {
    let lines = lines.to_owned();
    move |bench| {
        let (_, script) = bench.subject.first;
        bench.edit(script, IMPORT, &format!("{IMPORT}{lines}\n"));
    }
}

#[test]
fn a_stage_that_reaches_beyond_what_it_declares_fails() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    reaching(&mut bench);
    let ended = bench.fault(
        "an output that was not declared",
        |bench| {
            bench.append(
                "src/prepare.py",
                "open(\"work/more.txt\", \"w\").write(\"x\")\n",
            )
        },
        &[],
        Due::warned().because("undeclared-output", "prepare"),
    );
    bench.check("it is named", ended.said.contains("work/more.txt"), &ended);
    bench.close();
}

/// A first stage that reads, calls and writes what it must not.
pub(super) fn reaching(bench: &mut Bench) {
    let (first, params) = (bench.subject.first.0, bench.subject.params);
    let secret = bench.directory().join("secret.txt");
    fs::write(&secret, "not for the stage").unwrap();
    for (name, lines, why) in [
        (
            "an undeclared file of the project",
            format!("open({params:?}).read()"),
            format!("No such file or directory: '{params}'"),
        ),
        (
            "a file of the machine",
            format!("open({secret:?}).read()"),
            "secret.txt".to_owned(),
        ),
        (
            "the network",
            "import socket\nsocket.create_connection((\"192.0.2.1\", 80), timeout=5)".to_owned(),
            "create_connection".to_owned(),
        ),
        (
            "a name on the network",
            "import socket\nsocket.getaddrinfo(\"registry.example\", 443)".to_owned(),
            "gaierror".to_owned(),
        ),
        (
            "a file outside",
            format!(
                "open({:?}, \"w\").write(\"x\")",
                bench.directory().join("outside.txt")
            ),
            "outside.txt".to_owned(),
        ),
    ] {
        let ended = bench.fault(name, doing(&lines), &[], Due::error(first));
        let stage = &ended.report["stages"][0];
        let note = stage["note"].as_str().unwrap_or_default();
        bench.check(&format!("{name}: {why}"), note.contains(&why), &ended);
        bench.check(
            &format!("{name}: tried twice"),
            stage["attempts"] == 2,
            &ended,
        );
        bench.check(
            &format!("{name}: the rest is skipped"),
            ended.report["stages"][1]["status"] == "SKIPPED",
            &ended,
        );
    }
    assert!(
        !bench.directory().join("outside.txt").exists(),
        "it was written all the same"
    );
}

#[test]
fn a_stage_that_needs_more_than_it_may_is_stopped() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    let limited = |limits: &'static str, lines: &'static str| {
        move |bench: &Bench| {
            bench.edit("recipe.toml", LIMITS, limits);
            let code = bench.read("src/train.py");
            bench.write(
                "src/train.py",
                code.replacen("\nimport json\n", &format!("\nimport json\n{lines}\n"), 1),
            );
        }
    };
    for (name, limits, lines, stop) in [
        (
            "a fork bomb",
            "resources = { cpus = 1, pids = 24, wall = \"30s\" }",
            "import os, time\nfor _ in range(200):\n    if os.fork() == 0:\n        time.sleep(20)\n        os._exit(0)",
            "had more processes than its limit",
        ),
        (
            "more memory than it may have",
            "resources = { cpus = 1, memory = \"256MiB\", wall = \"1m\" }",
            "hoard = [bytearray(1 << 24) for _ in range(64)]\nfor piece in hoard:\n    piece[::4096] = b\"x\" * (len(piece) // 4096)",
            "used more memory than its limit",
        ),
        (
            "more time than it may have",
            "resources = { cpus = 1, wall = \"2s\" }",
            "import time\ntime.sleep(60)",
            "ran longer than its wall limit",
        ),
    ] {
        let ended = bench.fault(name, limited(limits, lines), &[], Due::error("train"));
        let train = &ended.report["stages"][1];
        let because = train["note"].as_str().unwrap_or_default();
        bench.check(&format!("{name}: {stop}"), because.contains(stop), &ended);
        bench.check(
            &format!("{name}: it is not tried again"),
            train["attempts"] == 1,
            &ended,
        );
        bench.check(
            &format!("{name}: what comes after is skipped"),
            ended.report["stages"][2]["status"] == "SKIPPED",
            &ended,
        );
    }
    let ended = bench.fault(
        "more processors than there are",
        limited("resources = { cpus = 4096, wall = \"5m\" }", ""),
        &[],
        Due::warned().because("drift", "recipe.toml"),
    );
    let rows = ended.report["resources"].as_array().into_iter().flatten();
    let told = rows.clone().any(|row| {
        row["stage"] == "train"
            && row["quantity"] == "limit.cpus"
            && row["bound"] == "4096"
            && row["method"] == "requested-not-enforced"
    });
    bench.check("what nothing enforces is a row", told, &ended);
    let ended = bench.fault(
        "an answer to golden inputs that never comes",
        |bench| {
            bench.edit(
                "recipe.toml",
                LIMITS,
                "resources = { cpus = 1, wall = \"3s\" }",
            );
            let code = bench.read("src/predict.py");
            bench.write(
                "src/predict.py",
                format!("import time\ntime.sleep(600)\n{code}"),
            );
        },
        &["--scope", "infer"],
        Due::diverging()
            .put_down_to("unknown")
            .because("test", "inference/drawings"),
    );
    let tests = ended.report["tests"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let golden = tests.iter().find(|test| test["id"] == "inference/drawings");
    let note = golden
        .and_then(|test| test["note"].as_str())
        .unwrap_or_default();
    let stopped = note.contains("ran longer than its wall limit");
    bench.check("the test was stopped", stopped, &ended);
    let isolated = ended.report["isolation"]["achieved"].is_string();
    bench.check("isolation of tests is told", isolated, &ended);
    let ended = bench.fault(
        "a log without end is cut, and says so",
        doing("for _ in range(400_000):\n    print(\"a\" * 200)"),
        &["--keep", "kept"],
        Due::warned().because("drift", "prepare"),
    );
    let log = logs(&bench.directory().join("kept"));
    let cut = log.iter().any(|text| text.contains("TRUNCATED"));
    let small = log.iter().all(|text| text.len() < 70_000_000);
    bench.check("the mark of what was cut", cut && small, &ended);
    bench.close();
}

/// The logs that a replay kept.
fn logs(directory: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut queue = vec![directory.to_owned()];
    while let Some(next) = queue.pop() {
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            if entry.file_type().unwrap().is_dir() {
                queue.push(entry.path());
            } else if entry.path().extension().is_some_and(|end| end == "log") {
                found.push(String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).into_owned());
            }
        }
    }
    found
}

/// A first stage that crashes each time.
pub(super) fn crashing(bench: &mut Bench) {
    let (first, _) = bench.subject.first;
    let ended = bench.fault(
        "a crash each time",
        doing("import os\nos.kill(os.getpid(), 11)"),
        &[],
        Due::error(first),
    );
    let stage = &ended.report["stages"][0];
    bench.check(
        "both attempts are told",
        stage["attempts"] == 2 && stage["signal"] == 11,
        &ended,
    );
}

#[test]
fn a_crash_is_tried_once_more_and_nothing_else_is() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    crashing(&mut bench);
    // Without a sandbox, so that the second attempt can know of the first.
    let marker = bench.directory().join("crashed");
    let once = doing(&format!(
        "import os\nif not os.path.exists({marker:?}):\n    open({marker:?}, \"w\").close()\n    os.kill(os.getpid(), 11)"
    ));
    let plain = ["--runner", "process"];
    let ended = bench.fault(
        "a crash that does not come again",
        once,
        &plain,
        Due::warned().because("drift", "prepare"),
    );
    let trail = ended.report["trail"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    bench.check(
        "it was run twice",
        ended.report["stages"][0]["attempts"] == 2,
        &ended,
    );
    bench.check(
        "the crash stays in the trail",
        trail
            .iter()
            .any(|entry| entry["event"] == "stage.run" && entry["ok"] == false),
        &ended,
    );
    let ended = bench.fault(
        "a divergence is not tried again",
        |bench| bench.edit("params.toml", "learning_rate = 0.2", "learning_rate = 0.3"),
        &[],
        Due::diverged("train", "model/weights.safetensors", "tensor:", "params"),
    );
    let stages = ended.report["stages"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    bench.check(
        "each stage ran once",
        stages.iter().all(|stage| stage["attempts"] == 1),
        &ended,
    );
    bench.close();
}
