//! Projects that are themselves at fault: what decided their outputs was not declared.

use super::bench::{Bench, Due};
use crate::isolation::cannot_try;
use sealstone::runner::{Capability, RunnerKind, runner};
use sealstone_tests::skips;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

const CONFIG: &str = "model/config.json";

/// Lines at the end of the training that add `value` to the document beside the weights.
fn noting(bench: &Bench, imports: &str, value: &str) {
    let (path, document) = bench.subject.document;
    bench.append(
        "src/train.py",
        &format!("\nimport {imports}\n{document}[\"noted\"] = {value}\npathlib.Path(\"{path}\").write_text(json.dumps({document}))\n"),
    );
}

/// A stage that depends on the clock, run twice.
pub(super) fn by_the_clock(bench: &mut Bench) {
    let (path, _) = bench.subject.document;
    bench.project_with(
        "the clock",
        |bench| noting(bench, "time", "time.time()"),
        &["--twice"],
        Due::diverged("train", path, "pointer:/noted", "nondeterminism").hinted("ND-07"),
    );
}

#[test]
fn what_differs_from_run_to_run_is_nondeterminism() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    by_the_clock(&mut bench);
    bench.project_with(
        "the clock, and only one run: it proves nothing",
        |bench| noting(bench, "time", "time.time()"),
        &[],
        Due::diverged("train", CONFIG, "pointer:/noted", "unknown"),
    );
    let ended = bench.project_with(
        "the hash seed is unset",
        |bench| {
            // As if nobody had set it: the stage begins again with a hash seed of its own.
            let code = bench.read("src/train.py");
            bench.write(
                "src/train.py",
                code.replacen("\nimport json\nimport os\n", RESTARTED, 1),
            );
            bench.edit(
                "src/train.py",
                "scaler = StandardScaler()",
                "columns = [int(name[1:]) for name in {f\"p{column}\" for column in range(64)}]\nscaler = StandardScaler()",
            );
            bench.edit("src/train.py", "StandardScaler().fit(data[\"images\"])", "StandardScaler().fit(data[\"images\"][:, columns])");
            bench.edit("src/train.py", "scaler.transform(data[\"images\"])", "scaler.transform(data[\"images\"][:, columns])");
            // Scores would be those of other columns, which is another fault than this one.
            let recipe = bench.read("recipe.toml");
            let from = recipe.find("[test.drawings]").unwrap();
            let to = recipe.find("[profile.smoke]").unwrap();
            let mut recipe = recipe[..from].to_owned() + &recipe[to..];
            recipe = recipe.replace("min = 0.95\n", "");
            bench.write("recipe.toml", recipe);
        },
        &["--twice"],
        Due::diverged("train", "model/weights.safetensors", "tensor:", "nondeterminism"),
    );
    let hints = ended.report["firstDivergence"]["hints"].to_string();
    bench.check(
        "the hash seed is among the hints",
        hints.contains("ND-01"),
        &ended,
    );
    bench.close();
}

/// Imports that begin the script again with a hash seed of Python's own choice.
const RESTARTED: &str = "
import json
import os
import sys

if os.environ[\"PYTHONHASHSEED\"] != \"random\":
    os.environ[\"PYTHONHASHSEED\"] = \"random\"
    os.execv(sys.executable, [sys.executable, *sys.argv])
";

/// Lines at the end of the preparation that write an archive with the time in it.
const ARCHIVE: &str = "
import time
import zipfile

with zipfile.ZipFile(\"work/notes.zip\", \"w\") as archive:
    # Archives count in steps of two seconds: one number for each step of a day.
    step = time.time_ns() // 2_000_000_000
    stamp = (2020, 1, 1, step // 1800 % 24, step // 30 % 60, step % 30 * 2)
    archive.writestr(zipfile.ZipInfo(\"notes.txt\", stamp), \"split\\n\")
    # So that no two runs in a row are within one step.
    time.sleep(2.1)
";

#[test]
fn a_time_in_an_archive_is_content_exact_and_no_more() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    let zipping = |bench: &Bench| {
        bench.append("src/prepare.py", ARCHIVE);
        bench.edit(
            "recipe.toml",
            "\"work/test.npz\"]\ndevice",
            "\"work/test.npz\", \"work/notes.zip\"]\ndevice",
        );
    };
    let ended = bench.project_with(
        "a time in an archive, where numbers are demanded",
        zipping,
        &[],
        Due::reproduced(),
    );
    bench.check(
        "the class",
        ended.report["class"]["achieved"] == "content_exact",
        &ended,
    );
    let stabilizers = ended.report["stabilizers"].to_string();
    bench.check(
        "what was taken away is told",
        stabilizers.contains("zip"),
        &ended,
    );
    bench.project_with(
        "a time in an archive, where every bit is demanded",
        |bench| {
            zipping(bench);
            bench.edit("recipe.toml", "[stage.train]", "[stage.prepare.tolerance.\"work/notes.zip\"]\nclass = \"bit_exact\"\nwhy = \"a test\"\n\n[stage.train]");
            // What must match for the strictest class must match at all.
        },
        &["--twice"],
        Due::diverged("prepare", "work/notes.zip", "", "nondeterminism"),
    );
    bench.close();
}

#[test]
fn the_name_of_the_host_is_a_hidden_input() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    let elsewhere = |bench: &Bench, arguments: &[&str]| {
        let client = sealstone_tests::registry::binary("sealstone").unwrap();
        let mut command = Command::new("unshare");
        command.args([
            "--uts",
            "sh",
            "-c",
            "hostname another-machine && exec \"$0\" \"$@\"",
        ]);
        command
            .arg(client)
            .args(["--output", "json", "replay", "p"])
            .args(arguments);
        bench.run(command, &[])
    };
    let mut renaming = Command::new("unshare");
    renaming.args(["--uts", "sh", "-c", "hostname another-machine"]);
    if !renaming.output().is_ok_and(|ended| ended.status.success()) {
        return skips::not_possible("another host name needs a namespace of its own (root)");
    }
    noting(&bench, "socket", "socket.gethostname()");
    // With a runner that leaves the machine's name alone, the baseline holds it.
    let ran = bench.sealstone(&["run", "p", "--quiet", "--runner", "process"], &[]);
    assert_eq!(ran.exit, 0, "{}", ran.said);
    let ended = elsewhere(&bench, &["--runner", "process", "--twice"]);
    // Two runs here agree against the baseline, and the name of a machine is no fact: something is hidden.
    bench.hold(
        "the name of the host",
        ended,
        Due::diverged("train", CONFIG, "pointer:/noted", "unknown").hinted("ND-18"),
    );
    // A runner with a name of its own for every machine takes the fault away.
    if let Capability::Absent { reason } = runner(RunnerKind::Bubblewrap).probe().usable {
        cannot_try(RunnerKind::Bubblewrap, &reason);
    } else {
        let ran = bench.sealstone(
            &["run", "p", "--quiet", "--force", "--runner", "bubblewrap"],
            &[],
        );
        assert_eq!(ran.exit, 0, "{}", ran.said);
        let ended = elsewhere(&bench, &["--runner", "bubblewrap"]);
        bench.hold(
            "the name of the host, in a sandbox",
            ended,
            Due::reproduced(),
        );
    }
    bench.restore();
    bench.close();
}

/// Bytes that are free in the file system of a directory.
fn free(directory: &Path) -> u64 {
    let mut command = Command::new("df");
    command.args(["--output=avail", "-B1"]).arg(directory);
    let listed = String::from_utf8(command.output().unwrap().stdout).unwrap();
    listed.lines().nth(1).unwrap().trim().parse().unwrap()
}

/// Whether two directories list the same files, made in the same order, in the same order.
fn list_alike(one: &Path, two: &Path) -> bool {
    let listed = |directory: &Path| -> Vec<OsString> {
        let place = tempfile::tempdir_in(directory).unwrap();
        for number in 0..64 {
            fs::write(place.path().join(format!("f{number}")), "").unwrap();
        }
        let entries = fs::read_dir(place.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect()
    };
    listed(one) == listed(two)
}

#[test]
fn the_order_of_a_directory_is_a_hidden_input() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    // The baseline is made beside the project, the replay in memory: two file systems, each with an order of its own.
    let memory = Path::new("/dev/shm");
    if !memory.is_dir() || list_alike(bench.directory(), memory) {
        skips::not_possible("another order needs another file system: /dev/shm");
        return;
    }
    // The environment of a replay is made there: containers often have 64 MB.
    if free(memory) < 1 << 30 {
        skips::not_possible("another order needs 1 GiB that is free in /dev/shm");
        return;
    }
    let place = tempfile::tempdir_in(memory).unwrap();
    let elsewhere = [("TMPDIR", place.path().to_str().unwrap())];
    let listing = |bench: &Bench, how: &str| {
        bench.append(
            "src/train.py",
            &format!(
                "\nimport shutil\npathlib.Path(\"listed\").mkdir()\nfor number in range(64):\n    pathlib.Path(f\"listed/f{{number}}\").touch()\n\
                config[\"noted\"] = {how}\nshutil.rmtree(\"listed\")\npathlib.Path(\"model/config.json\").write_text(json.dumps(config))\n"
            ),
        );
        bench.record();
    };
    listing(&bench, "os.listdir(\"listed\")");
    let plain = ["replay", "p", "--twice", "--runner", "process"];
    let ended = bench.sealstone(&plain, &elsewhere);
    bench.hold(
        "the order in which a directory lists its files",
        ended,
        Due::diverged("train", CONFIG, "pointer:/noted", "environment"),
    );
    bench.restore();
    listing(&bench, "sorted(os.listdir(\"listed\"))");
    let ended = bench.sealstone(&plain, &elsewhere);
    bench.hold("sorted, it is nothing", ended, Due::warned());
    bench.restore();
    bench.close();
}
