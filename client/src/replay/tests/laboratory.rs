//! A small project on a disk, its baseline, and replays of it.

use super::super::{Halt, Project, ProjectError, Settings, Tools, Unmade, halted, replay};
use crate::compare::{ArtifactComparison, Difference, Locator, Place};
use crate::error::{Error, Result};
use crate::plan::Machine;
use crate::runner::{
    Capabilities, Expected, LogSink, Runner, RunnerKind, StageJob, StageOutcome, Stream,
};
use sealstone_spec::compare::{ArtifactRule, Class, Decimal};
use sealstone_spec::digest::Digest;
use sealstone_spec::environment::{Facts, Isolation};
use sealstone_spec::recipe::*;
use sealstone_spec::report::{DigestSet, ReplayScope, Report};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

pub(super) const RECIPE: &str = r#"
recipe = { version = 1, name = "line", model_version = "1.0", owner = "team-lab", risk = "low" }
environment = { kind = "host" }
determinism = { class = "bit_exact", seed = 7, hash_seed = 0, threads = 1 }
isolation = { minimum = "I1" }
usage = { wall_ratio = 50.0 }
params = { file = "params.json", roles = { "lr" = "optimizer", "epochs" = "schedule" } }
[[input]]
path = "data/raw.csv"
sha256 = "RAW"
[stage.prepare]
kind = "prepare"
run = ["python3", "src/prepare.py"]
in = ["data/raw.csv", "src/prepare.py"]
out = ["work/train.csv"]
[stage.train]
kind = "train"
run = ["python3", "src/train.py"]
in = ["work/train.csv", "src/train.py"]
out = ["model/weights.json", "trace.jsonl"]
params = ["lr", "epochs"]
trace = "trace.jsonl"
device = "cpu"
[stage.evaluate]
kind = "evaluate"
run = ["python3", "src/evaluate.py"]
in = ["work/train.csv", "model/", "src/evaluate.py"]
out = ["metrics.json"]
device = "cpu"
[metric.loss]
from = "metrics.json#/loss"
direction = "lower"
replay = { abs = 1e-6 }
[metric.r2]
from = "metrics.json#/r2"
direction = "higher"
replay = { abs = 1e-6 }
min = 0.5
[test.golden]
kind = "inference"
run = ["python3", "src/predict.py", "{model}", "{in}", "{out}"]
in = ["src/predict.py"]
inputs = "golden/in.json"
expect = "golden/out.json"
abs = 1e-9
"#;

pub(super) const PREPARE: &str = r#"
import csv, os
rows = list(csv.DictReader(open("data/raw.csv")))
os.makedirs("work", exist_ok=True)
with open("work/train.csv", "w", newline="") as out:
    writer = csv.writer(out)
    writer.writerow(["x", "y"])
    for row in rows:
        writer.writerow([float(row["x"]) / 10, float(row["y"])])
"#;
pub(super) const TRAIN: &str = r#"
import csv, json, os, hashlib
params = json.load(open(os.environ["SEALSTONE_PARAMS"]))
rows = [(float(r["x"]), float(r["y"])) for r in csv.DictReader(open("work/train.csv"))]
w = b = 0.0
os.makedirs("model", exist_ok=True)
with open("trace.jsonl", "w") as trace:
    for step in range(params["epochs"]):
        gw = gb = loss = 0.0
        for x, y in rows:
            error = w * x + b - y
            loss += error * error / len(rows)
            gw += 2 * error * x / len(rows)
            gb += 2 * error / len(rows)
        batch = hashlib.sha256(repr(rows).encode()).hexdigest()
        trace.write(json.dumps({"step": step, "batch_sha256": batch, "lr": params["lr"], "loss": loss}) + "\n")
        w -= params["lr"] * gw
        b -= params["lr"] * gb
json.dump({"w": w, "b": b}, open("model/weights.json", "w"))
"#;
const EVALUATE: &str = r#"
import csv, json
m = json.load(open("model/weights.json"))
rows = [(float(r["x"]), float(r["y"])) for r in csv.DictReader(open("work/train.csv"))]
mean = sum(y for _, y in rows) / len(rows)
loss = sum((m["w"] * x + m["b"] - y) ** 2 for x, y in rows) / len(rows)
total = sum((y - mean) ** 2 for _, y in rows) / len(rows)
json.dump({"loss": loss, "r2": 1 - loss / total}, open("metrics.json", "w"))
"#;
const PREDICT: &str = r#"
import json, os, sys
m = json.load(open(sys.argv[1]))
os.makedirs(os.path.dirname(sys.argv[3]), exist_ok=True)
json.dump([m["w"] * x + m["b"] for x in json.load(open(sys.argv[2]))], open(sys.argv[3], "w"))
"#;

/// The project and its baseline.
pub(super) struct Laboratory {
    pub(super) root: TempDir,
}

impl Laboratory {
    /// With a baseline that was recorded from a run.
    pub(super) fn new() -> Laboratory {
        Laboratory::with(RECIPE, &[])
    }

    /// With other files than usual.
    pub(super) fn with(recipe: &str, files: &[(&str, &str)]) -> Laboratory {
        let laboratory = Laboratory {
            root: tempfile::tempdir().unwrap(),
        };
        let mut raw = String::from("x,y\n");
        for index in 0..40 {
            raw.push_str(&format!("{index},{}\n", index * 2 % 7 + index));
        }
        let digest = Digest::sha256(raw.as_bytes()).hex();
        laboratory.write("data/raw.csv", &raw);
        laboratory.write("params.json", "{\"lr\": 0.05, \"epochs\": 60}");
        laboratory.write("src/prepare.py", PREPARE);
        laboratory.write("src/train.py", TRAIN);
        laboratory.write("src/evaluate.py", EVALUATE);
        laboratory.write("src/predict.py", PREDICT);
        laboratory.write("golden/in.json", "[0.5, 1.5, 3.0]");
        laboratory.write("recipe.toml", &recipe.replace("RAW", &digest));
        for (path, text) in files {
            laboratory.write(path, text);
        }
        laboratory.record();
        laboratory
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    pub(super) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(super) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    pub(super) fn edit(&self, path: &str, from: &str, to: &str) {
        let text = self.read(path);
        assert!(text.contains(from), "{path} has no {from:?}");
        self.write(path, &text.replacen(from, to, 1));
    }

    /// Runs every stage in the project itself and writes the lock.
    fn record(&self) {
        let recipe = Recipe::parse(&self.read("recipe.toml")).unwrap();
        let params = Params::from_json(self.read("params.json").as_bytes()).unwrap();
        let facts = facts();
        let environment =
            LockedEnvironment::new("host", recipe.determinism().class.unwrap(), &facts);
        let mut files: BTreeMap<String, LockedFile> = BTreeMap::new();
        let mut add = |path: &str, role: FileRole| -> PathDigest {
            let bytes = fs::read(self.path(path)).unwrap();
            let digest = Digest::sha256(&bytes);
            let path: RecipePath = path.parse().unwrap();
            let size = bytes.len() as u64;
            files.insert(
                path.as_str().into(),
                LockedFile {
                    path: path.clone(),
                    digest,
                    size,
                    executable: false,
                    role,
                },
            );
            PathDigest {
                path,
                digest,
                size,
                files: None,
            }
        };
        let inputs = recipe
            .inputs()
            .iter()
            .map(|input| LockedInput {
                content: add(input.path.as_str(), FileRole::Input),
                source: None,
                rows: None,
                ordered: None,
                multiset: None,
                embedded: true,
            })
            .collect();
        add("params.json", FileRole::Params);
        let mut stages = Vec::new();
        let mut outputs: BTreeSet<String> = BTreeSet::new();
        for stage in recipe.stages() {
            let share = params.select(&stage.params);
            let scratch = tempfile::tempdir().unwrap();
            fs::write(
                scratch.path().join("params.json"),
                share.to_value().to_string(),
            )
            .unwrap();
            let mut env = recipe.determinism().env.clone();
            env.extend(stage.env.clone());
            let done = Command::new(&stage.run[0])
                .args(&stage.run[1..])
                .current_dir(self.root.path())
                .env_clear()
                .env("PATH", "/usr/bin:/bin:/usr/local/bin")
                .env("PYTHONHASHSEED", "0")
                .env("PYTHONDONTWRITEBYTECODE", "1")
                .env("SEALSTONE_SEED", "7")
                .env("SEALSTONE_PARAMS", scratch.path().join("params.json"))
                .envs(&env)
                .stdin(Stdio::null())
                .output()
                .unwrap();
            assert!(
                done.status.success(),
                "{}: {}",
                stage.name,
                String::from_utf8_lossy(&done.stderr)
            );
            let (mut sources, mut read) = (Vec::new(), Vec::new());
            for path in &stage.reads {
                match recipe.origin_of(path) {
                    Origin::Source => sources.push(add(path.as_str(), FileRole::Source)),
                    Origin::Input => read.push(add(path.as_str(), FileRole::Input)),
                    Origin::Output(_) => {
                        let below: Vec<String> = outputs
                            .iter()
                            .filter(|output| path.contains_path(output))
                            .cloned()
                            .collect();
                        if below == [path.as_str()] {
                            read.push(add(path.as_str(), FileRole::Output));
                        } else {
                            let listed: Vec<PathDigest> = below
                                .iter()
                                .map(|output| add(output, FileRole::Output))
                                .collect();
                            let prefix = path.as_str().len() + 1;
                            read.push(PathDigest {
                                path: path.clone(),
                                digest: listing_digest(
                                    listed
                                        .iter()
                                        .map(|file| (&file.path.as_str()[prefix..], &file.digest)),
                                ),
                                size: listed.iter().map(|file| file.size).sum(),
                                files: Some(listed.len() as u64),
                            });
                        }
                    }
                }
            }
            let written: Vec<PathDigest> = stage
                .writes
                .iter()
                .map(|path| add(path.as_str(), FileRole::Output))
                .collect();
            outputs.extend(stage.writes.iter().map(|path| path.as_str().to_owned()));
            let texts = share.texts();
            let parts = KeyMaterial {
                command: &stage.run,
                shell: false,
                writes: &stage.writes,
                first_read: first_read(&stage.run, &stage.reads),
                sources: &sources,
                inputs: &read,
                params: &texts,
                seed: recipe.determinism().seed,
                hash_seed: recipe.determinism().hash_seed,
                threads: threads(&recipe, stage),
                cpus: stage.resources.cpus,
                device: stage.device.as_deref(),
                env: &env,
                facts: &environment.must,
            }
            .parts();
            stages.push(LockedStage {
                name: stage.name.clone(),
                kind: stage.kind,
                command: stage.run.clone(),
                shell: false,
                argv: stage.run.clone(),
                env,
                params: texts,
                seed: recipe.determinism().seed,
                hash_seed: recipe.determinism().hash_seed,
                threads: threads(&recipe, stage),
                cpus: stage.resources.cpus,
                device: stage.device.clone(),
                key: parts.key(),
                key_parts: parts,
                first_read: first_read(&stage.run, &stage.reads).cloned(),
                sources,
                inputs: read,
                outputs: written,
                undeclared: vec![],
                exit: 0,
                started: "2026-01-31T12:00:00Z".into(),
                log: LogDigest {
                    digest: Digest::sha256(b""),
                    size: 0,
                    truncated: false,
                },
                usage: Usage {
                    wall_ms: 100,
                    ..Usage::default()
                },
                runner: "process".into(),
                isolation: Isolation::I1,
                trace: None,
            });
        }
        let predict = Command::new("python3")
            .args([
                "src/predict.py",
                "model/weights.json",
                "golden/in.json",
                "golden/out.json",
            ])
            .current_dir(self.root.path())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .unwrap();
        assert!(
            predict.status.success(),
            "{}",
            String::from_utf8_lossy(&predict.stderr)
        );
        for path in ["golden/in.json", "golden/out.json", "src/predict.py"] {
            add(path, FileRole::Test);
        }
        let measured: Value = serde_json::from_str(&self.read("metrics.json")).unwrap();
        let metrics = recipe
            .metrics()
            .iter()
            .map(|metric| {
                let value =
                    Decimal::from_json(measured.pointer(&metric.from.pointer).unwrap()).unwrap();
                (
                    metric.name.clone(),
                    LockedMetric {
                        from: metric.from.to_string(),
                        value,
                        replicates: vec![],
                    },
                )
            })
            .collect();
        let lock = Lock::seal(LockDocument {
            schema: LOCK_SCHEMA.into(),
            recipe: LockedRecipe {
                digest: *recipe.digest(),
                name: recipe.name().into(),
                model_version: None,
                owner: None,
                risk: recipe.risk(),
            },
            profile: None,
            params: params.texts(),
            inputs,
            files: files.into_values().collect(),
            environment,
            stages,
            metrics,
            tests: recipe
                .tests()
                .iter()
                .map(|test| {
                    let locked = LockedTest {
                        kind: test.check.kind().to_owned(),
                        ok: true,
                        detail: "bit_exact of bit_exact".into(),
                        output: None,
                    };
                    (test.name.clone(), locked)
                })
                .collect(),
            writer: "sealstone/test".into(),
        })
        .unwrap();
        fs::write(self.path("recipe.lock"), lock.as_bytes()).unwrap();
    }

    /// Makes the baseline one of a profile that changes nothing.
    pub(super) fn record_profile(&self, name: &str, baseline: &str) {
        let lock = Lock::parse(self.read("recipe.lock").as_bytes()).unwrap();
        let mut document = lock.into_document();
        document.profile = Some(name.to_owned());
        for file in &document.files {
            if file.role == FileRole::Output {
                let path = file.path.as_str();
                let place = format!(".sealstone/profiles/{name}/{path}");
                self.write(&place, &self.read(path));
            }
        }
        let lock = Lock::seal(document).unwrap();
        self.write(baseline, std::str::from_utf8(lock.as_bytes()).unwrap());
    }

    /// Replays the project as a working directory.
    pub(super) fn replay(&self, change: impl FnOnce(&mut Trial)) -> Report {
        self.run(false, change)
    }

    /// Replays it as the content of a sealed bundle.
    pub(super) fn replay_sealed(&self, change: impl FnOnce(&mut Trial)) -> Report {
        self.run(true, change)
    }

    fn run(&self, sealed: bool, change: impl FnOnce(&mut Trial)) -> Report {
        let mut trial = Trial {
            facts: Some(facts()),
            ..Trial::default()
        };
        change(&mut trial);
        let began = std::time::Instant::now();
        let workspace = tempfile::tempdir().unwrap();
        let mut settings = Settings::new(workspace.path());
        settings.scope = trial.scope.unwrap_or(ReplayScope::Full);
        settings.isolated = trial.isolated;
        settings.twice = trial.twice;
        settings.accept_isolation = trial.accept;
        settings.builder = "lab".into();
        let bundle = Digest::sha256(b"bundle");
        let before = self.snapshot();
        let loaded = match sealed {
            true => Project::of_bundle(self.root.path(), "line:1.0", bundle, None),
            false => Project::of_directory(self.root.path(), trial.profile),
        };
        let clock = || "2026-02-01T00:00:00Z".to_owned();
        let halted = |halt: &Halt| {
            let digest = DigestSet(bundle);
            halted(halt, "line:1.0", digest, &settings, &clock(), &clock())
        };
        let report = match loaded {
            Err(ProjectError::Halt(halt)) => {
                let report = halted(&halt);
                assert_eq!(
                    fs::read_dir(workspace.path()).unwrap().count(),
                    0,
                    "nothing may run"
                );
                report
            }
            Err(ProjectError::Failed(error)) => panic!("{error:?}"),
            Ok(project) => {
                let meddled = trial.meddled.or(trial.meddles);
                let whole = meddled.map(|path| (path, self.read(path)));
                if let Some(path) = trial.meddled {
                    self.write(path, MEDDLED);
                }
                let tools = Tools {
                    runner: &Plain {
                        environment: trial.environment.clone(),
                        meddles: trial.meddles.map(|path| self.path(path)),
                        breaks: trial.breaks,
                    },
                    isolation: trial.isolation.unwrap_or(Isolation::I1),
                    machine: Machine {
                        facts: trial.facts.clone().unwrap(),
                        ..Machine::default()
                    },
                    unmade: trial.unmade.clone(),
                    compare: match (trial.slow, trial.blind) {
                        (_, true) => &never,
                        (true, _) => &slowly,
                        _ => &compare,
                    },
                    clock: &clock,
                    tell: &|_| (),
                };
                let replayed = replay(&project, &settings, &tools);
                if let Some((path, text)) = whole {
                    self.write(path, &text);
                }
                match replayed {
                    Ok(report) => report,
                    Err(ProjectError::Halt(halt)) => halted(&halt),
                    Err(ProjectError::Failed(error)) => panic!("{error:?}"),
                }
            }
        };
        assert_eq!(self.snapshot(), before, "the baseline is only read");
        let spent: f64 = report
            .timings
            .values()
            .map(|seconds| seconds.parse::<f64>().unwrap())
            .sum();
        assert!(
            spent <= began.elapsed().as_secs_f64() + 0.01,
            "no time is counted twice: {:?}",
            report.timings
        );
        Report::parse(&report.to_bytes()).unwrap_or_else(|error| {
            panic!("{error}: {}", String::from_utf8_lossy(&report.to_bytes()))
        })
    }

    fn snapshot(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut queue = vec![self.root.path().to_owned()];
        while let Some(next) = queue.pop() {
            for entry in fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    queue.push(path);
                } else {
                    found.insert(path.clone(), fs::read(path).unwrap());
                }
            }
        }
        found
    }
}

/// How a replay differs from the plain one.
#[derive(Default)]
pub(super) struct Trial {
    pub(super) scope: Option<ReplayScope>,
    pub(super) profile: Option<&'static str>,
    pub(super) isolated: bool,
    pub(super) twice: bool,
    pub(super) accept: Option<Isolation>,
    pub(super) isolation: Option<Isolation>,
    pub(super) facts: Option<Facts>,
    pub(super) unmade: Option<Unmade>,
    /// Whether comparing takes a second.
    pub(super) slow: bool,
    /// Whether nothing can be compared on this machine.
    pub(super) blind: bool,
    /// Variables that this machine adds.
    pub(super) environment: BTreeMap<String, String>,
    /// A file that somebody changes once the project has been checked.
    pub(super) meddled: Option<&'static str>,
    /// One that somebody changes once a stage has been planned.
    pub(super) meddles: Option<&'static str>,
    /// A stage, or a test, that this machine cannot run.
    pub(super) breaks: Option<&'static str>,
}

/// What somebody else writes.
const MEDDLED: &str = "x,y\n1,1\n2,2\n";

/// What a recipe and its stage tell libraries.
fn threads(recipe: &Recipe, stage: &Stage) -> u64 {
    let stated = recipe.determinism().threads.or(stage.resources.cpus);
    stated.unwrap_or(1)
}

/// A trial as it is.
pub(super) fn nothing(_: &mut Trial) {}

/// The facts of the laboratory's machine.
pub(super) fn facts() -> Facts {
    let mut facts = Facts::default();
    facts.set("machine.arch", "x86_64").unwrap();
    facts.set("libc.version", "2.36").unwrap();
    facts
}

/// Real processes in a real directory of their own, without walls.
struct Plain {
    environment: BTreeMap<String, String>,
    /// What is changed behind the runner's back.
    meddles: Option<PathBuf>,
    /// What it cannot run.
    breaks: Option<&'static str>,
}

impl Runner for Plain {
    fn kind(&self) -> RunnerKind {
        RunnerKind::Process
    }

    fn probe(&self) -> Capabilities {
        unreachable!("replays are told what they get")
    }

    fn run(&self, job: &StageJob, log: &mut dyn LogSink) -> Result<StageOutcome> {
        if let Some(path) = &self.meddles {
            fs::write(path, MEDDLED).unwrap();
        }
        if self.breaks == Some(job.stage.as_str()) {
            return Err(Error::other("this machine has no room left"));
        }
        let work = tempfile::tempdir_in(&job.scratch).unwrap();
        for input in &job.inputs {
            let to = work.path().join(&input.path);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(&input.source, &to).unwrap();
            let digest = Digest::sha256(&fs::read(&to).unwrap());
            if matches!(&input.expected, Expected::File(due) if *due != digest) {
                let text = format!("input \"{}\" has digest {digest}", input.path);
                return Err(Error::halted(text).detail(json!({ "path": input.path })));
            }
        }
        let done = Command::new(&job.argv[0])
            .args(&job.argv[1..])
            .current_dir(work.path())
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/usr/local/bin")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PYTHONHASHSEED", job.seeds.hash_seed.to_string())
            .envs(&self.environment)
            .envs(&job.env)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        log.write(Stream::Stdout, &done.stdout);
        log.write(Stream::Stderr, &done.stderr);
        let (mut outputs, mut missing) = (Vec::new(), Vec::new());
        for path in &job.outputs {
            match fs::read(work.path().join(path)) {
                Ok(bytes) if done.status.success() => {
                    let to = job.destination.join(path);
                    fs::create_dir_all(to.parent().unwrap()).unwrap();
                    fs::write(to, &bytes).unwrap();
                    outputs.push(json!({"path": path, "digest": Digest::sha256(&bytes), "size": bytes.len()}));
                }
                _ => missing.push(path.clone()),
            }
        }
        let nothing = json!({"digest": Digest::sha256(b""), "bytes": 0, "dropped": 0});
        let mut outcome = json!({"stage": job.stage, "runner": "process", "isolation": "I1", "usage": {"wallMs": {"value": 90, "method": "clock"}},
            "enforcement": [], "stdout": nothing, "stderr": nothing, "inputs": [], "outputs": outputs, "missing": missing, "undeclared": [], "violations": []});
        if let Some(code) = done.status.code() {
            outcome["exit"] = json!(code);
        } else {
            outcome["signal"] = json!(std::os::unix::process::ExitStatusExt::signal(&done.status));
        }
        Ok(serde_json::from_value(outcome).unwrap())
    }
}

fn slowly(base: &Path, now: &Path, rule: &ArtifactRule) -> Result<ArtifactComparison> {
    std::thread::sleep(std::time::Duration::from_secs(1));
    compare(base, now, rule)
}

fn never(_: &Path, _: &Path, _: &ArtifactRule) -> Result<ArtifactComparison> {
    Err(Error::other("this disk cannot be read"))
}

/// Compares JSON numbers by `abs` and everything else by its first byte that differs.
fn compare(base: &Path, now: &Path, rule: &ArtifactRule) -> Result<ArtifactComparison> {
    let (base, now) = (fs::read(base).unwrap(), fs::read(now).unwrap());
    let mut class = if base == now {
        Class::BitExact
    } else {
        Class::Divergent
    };
    let mut first = (base != now).then(|| {
        let offset = base
            .iter()
            .zip(&now)
            .position(|(one, two)| one != two)
            .unwrap_or(base.len().min(now.len()));
        Difference {
            locator: Locator::at(Place::Offset(offset as u64)),
            what: "byte".into(),
            base: None,
            now: None,
        }
    });
    let (one, two): (Option<Value>, Option<Value>) = (
        serde_json::from_slice(&base).ok(),
        serde_json::from_slice(&now).ok(),
    );
    if let (Some(one), Some(two), Some(was)) = (one, two, &mut first) {
        let (one, two) = (numbers(&one, ""), numbers(&two, ""));
        let far = one.iter().find(|(pointer, value)| {
            two.get(*pointer)
                .is_none_or(|other| !rule.scalar().accepts(**value, *other))
        });
        let any = one
            .iter()
            .find(|(pointer, value)| two.get(*pointer) != Some(value));
        if let Some((pointer, value)) = far.or(any) {
            *was = Difference {
                locator: Locator::at(Place::Pointer(pointer.clone())),
                what: "value".into(),
                base: Some(value.to_string()),
                now: two.get(pointer).map(ToString::to_string),
            };
        }
        if far.is_none() && one.len() == two.len() {
            class = if any.is_none() {
                Class::ContentExact
            } else {
                Class::Numeric
            };
        }
    }
    Ok(ArtifactComparison {
        format: "json",
        class,
        required: rule.class,
        ok: class.satisfies(rule.class),
        base_size: base.len() as u64,
        now_size: now.len() as u64,
        first,
        worst: None,
        counts: None,
        tensors: vec![],
        rows: None,
        predictions: None,
        stabilizers: vec![],
        notes: vec![],
    })
}

fn numbers(value: &Value, at: &str) -> BTreeMap<String, f64> {
    match value {
        Value::Object(map) => map
            .iter()
            .flat_map(|(key, value)| numbers(value, &format!("{at}/{key}")))
            .collect(),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .flat_map(|(index, value)| numbers(value, &format!("{at}/{index}")))
            .collect(),
        Value::Number(number) => [(at.to_owned(), number.as_f64().unwrap())].into(),
        _ => BTreeMap::new(),
    }
}
