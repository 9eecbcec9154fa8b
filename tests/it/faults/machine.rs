//! The same project on another machine: threads, kernels, processor features, packages.
//!
//! Whether one of these moves a bit depends on the processor. So each case has two exact ends, and which of them is due
//! follows from the weights of the replay alone.

use super::bench::{Bench, Due, Ended};
use super::subject::Edit;
use sealstone_tests::examples::example;
use sealstone_tests::skips;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Whether the replay trained other bits than the baseline.
pub(super) fn moved(bench: &Bench, ended: &Ended) -> bool {
    let stages = ended.report["stages"].as_array().into_iter().flatten();
    let artifacts = stages.flat_map(|stage| stage["artifacts"].as_array().into_iter().flatten());
    let mut weights = artifacts.filter(|artifact| artifact["path"] == bench.subject.weights);
    weights.any(|artifact| artifact["base"] != artifact["now"])
}

/// The fact that tells one of the other machines from this one, where a difference in it can be had here at all: threads
/// are in the recipe already.
fn telling_fact(name: &str) -> Option<&'static str> {
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let can = |feature: &str| processor.split_whitespace().any(|word| word == feature);
    match name {
        _ if !cfg!(target_arch = "x86_64") => None,
        // A processor that has no better kernels than Prescott's chooses those by itself.
        "another kernel of BLAS" => can("avx").then_some("blas.arch"),
        "processor features masked" => (can("avx2") || can("fma")).then_some("cpu.features"),
        _ => None,
    }
}

/// Whether the machine can be had here, said where not.
fn can_be_had(name: &str) -> bool {
    let can = name == ONE_MORE_THREAD.0 || telling_fact(name).is_some();
    if !can {
        skips::not_possible(&format!("{name}: this processor has none to choose"));
    }
    can
}

/// Whether the environment's difference has a row of this fact.
fn tells(ended: &Ended, fact: &str) -> bool {
    let rows = ended.report["environment"]["diff"].as_array();
    let mut rows = rows.into_iter().flatten();
    rows.any(|row| row["fact"] == fact && row["base"] != row["now"])
}

pub(super) const ONE_MORE_THREAD: (&str, &[Edit]) = (
    "one more thread",
    &[("threads = 1", "threads = 2"), ("cpus = 1", "cpus = 2")],
);

/// Changes to the recipe that another machine would have made by itself: name, what is replaced by what.
const OTHER_MACHINES: [(&str, &[Edit]); 3] = [
    ONE_MORE_THREAD,
    (
        "another kernel of BLAS",
        &[(
            "hash_seed = 0",
            "hash_seed = 0\nenv = { OPENBLAS_CORETYPE = \"Prescott\" }",
        )],
    ),
    (
        "processor features masked",
        &[(
            "hash_seed = 0",
            "hash_seed = 0\nenv = { GLIBC_TUNABLES = \"glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F\" }",
        )],
    ),
];

pub(super) fn move_to(bench: &Bench, changes: &[Edit]) {
    for (from, to) in changes {
        bench.edit("recipe.toml", from, to);
    }
}

/// Another machine, whose bits may be others and no further off than is tolerated; whether they are.
pub(super) fn is_tolerated(bench: &mut Bench, name: &str, changes: &[Edit]) -> bool {
    let ended = bench.fault(name, |bench| move_to(bench, changes), &[], Due::warned());
    let first = &ended.report["firstDivergence"];
    let class = &ended.report["class"]["achieved"];
    let moved = moved(bench, &ended);
    if let Some(fact) = telling_fact(name) {
        bench.check(
            &format!("{name}: {fact} is told"),
            tells(&ended, fact),
            &ended,
        );
    }
    if moved {
        let place = first["tolerated"] == true
            && first["stage"] == "train"
            && first["artifact"] == bench.subject.weights
            && class == "numeric";
        bench.check(&format!("{name}: where the bits moved"), place, &ended);
    } else {
        let same = first.is_null() && class == "bit_exact";
        bench.check(&format!("{name}: nothing moved"), same, &ended);
    }
    let metrics = ended.report["metrics"].as_array();
    let same = metrics.is_some_and(|rows| rows.iter().all(|row| row["ok"] == true));
    bench.check(&format!("{name}: metrics are the same"), same, &ended);
    moved
}

#[test]
fn another_machine_is_within_the_tolerance_and_told() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    let (mut any, mut could) = (false, false);
    for (name, changes) in OTHER_MACHINES {
        any |= is_tolerated(&mut bench, name, changes);
        could |= name != ONE_MORE_THREAD.0 && can_be_had(name);
    }
    assert!(
        any || !could,
        "no kernel of this machine's BLAS differs from another: nothing was shown"
    );
    bench.close();
}

#[test]
fn where_every_bit_is_demanded_another_machine_decides_nothing() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    let strict = bench
        .read("recipe.toml")
        .replace("class = \"numeric\"\n", "class = \"bit_exact\"\n")
        .replace("\nrel_l2 = 1e-9", "")
        .replace("\nrel = 1e-9", "");
    bench.write("recipe.toml", &strict);
    bench.record();
    for (name, changes) in OTHER_MACHINES {
        if !can_be_had(name) {
            continue;
        }
        move_to(&bench, changes);
        let ended = bench.sealstone(&["replay", "p"], &[]);
        let none = ended.report["stages"].as_array().is_none_or(Vec::is_empty);
        let mut reasons = ended.report["reasons"].as_array().into_iter().flatten();
        let fact = reasons.any(|reason| reason["code"] == "environment");
        bench.check(
            &format!("{name}: a fact had to match"),
            none && fact,
            &ended,
        );
        bench.hold(name, ended, Due::undecided());
        // The same with exceptions on the record: it runs, and what moved is the environment's.
        for fact in ["threads.environment", "blas.*", "cpu.*", "openmp.*"] {
            bench.append(
                "recipe.toml",
                &format!("\n[[override]]\nfact = \"{fact}\"\nlevel = \"W\"\nwhy = \"a test\"\n"),
            );
        }
        let ended = bench.sealstone(&["replay", "p"], &[]);
        let due = match moved(&bench, &ended) {
            true => Due::diverged("train", bench.subject.weights, "tensor:", "environment"),
            false => Due::warned(),
        };
        bench.hold(&format!("{name}, waived"), ended, due);
        bench.write("recipe.toml", &strict);
    }
    bench.restore();
    bench.close();
}

/// Writes a wheel with another version in its name and in its metadata; what it installs is the same.
fn renamed_wheel(python: &Path, wheel: &Path, to: &str) -> String {
    let script = "\
import hashlib, re, sys, zipfile
source, version = sys.argv[1:]
name = source.rsplit('/', 1)[1].split('-')
old = name[1]
name[1] = version
target = source.rsplit('/', 1)[0] + '/' + '-'.join(name)
with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, 'w') as out:
    for item in archive.namelist():
        data = archive.read(item)
        if item.endswith('/METADATA'):
            data = re.sub(rb'(?m)^Version: .*$', b'Version: ' + version.encode(), data, count=1)
        if item.endswith('/RECORD'):
            data = b''.join(line for line in data.splitlines(True) if b'METADATA' not in line).replace(old.encode(), version.encode())
        out.writestr(zipfile.ZipInfo(item.replace('-' + old + '.', '-' + version + '.')), data)
print(hashlib.sha256(open(target, 'rb').read()).hexdigest())
";
    let ended = Command::new(python)
        .args(["-c", script])
        .arg(wheel)
        .arg(to)
        .output()
        .unwrap();
    assert!(
        ended.status.success(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    String::from_utf8(ended.stdout).unwrap().trim().to_owned()
}

#[test]
fn another_version_of_a_package_leaves_it_undecided() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    another_package(&mut bench);
    bench.close();
}

/// Another version of a package, whose wheel and lock are in order.
pub(super) fn another_package(bench: &mut Bench) {
    let subject = bench.subject;
    let (name, wheel, fact) = subject.package;
    let python = example(subject.name).unwrap().python();
    let wheels = fs::read_dir(bench.path("wheels")).unwrap();
    let wheel = wheels
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().contains(wheel))
        .unwrap();
    let digest = renamed_wheel(&python, &wheel, "9.9.9");
    let locked = bench.read("requirements.lock");
    let mut lines: Vec<String> = locked.lines().map(str::to_owned).collect();
    let at = lines
        .iter()
        .position(|line| line.starts_with(&format!("{name}==")))
        .unwrap();
    lines[at] = format!("{name}==9.9.9 \\");
    lines[at + 1] = format!("    --hash=sha256:{digest}");
    bench.write("requirements.lock", lines.join("\n") + "\n");
    let ended = bench.replay(
        "another version of a package",
        &[],
        Due::inconclusive("environment", fact),
    );
    let rows: Vec<Value> = ended.report["environment"]["diff"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let told = rows.iter().any(|row| {
        row["fact"] == fact && row["level"] == "M" && row["now"].to_string().contains("9.9.9")
    });
    bench.check("both versions are told", told, &ended);
    bench.restore();
}
