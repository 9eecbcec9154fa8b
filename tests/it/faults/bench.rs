//! A project with its baseline, put back as it was before each fault.
//!
//! Invariant: a case that is not what it states is told with the whole report; the others are tried all the same, and
//! the test fails at its end.

use super::subject::{DIGITS, Files, Subject};
use crate::client;
use sealstone_spec::digest::Digest;
use sealstone_tests::examples::example;
use sealstone_tests::registry::binary;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a fault must come to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    pub(super) verdict: &'static str,
    pub(super) exit: i32,
    /// Stage and artifact of the first divergence that is not tolerated.
    pub(super) origin: Option<(&'static str, &'static str)>,
    /// How the place in it begins; nothing at all where it is empty.
    pub(super) at: Option<&'static str>,
    pub(super) attribution: Option<&'static str>,
    /// Code and subject of a reason that must be there.
    pub(super) reason: Option<(&'static str, &'static str)>,
    /// A hint of the catalogue that must be there.
    pub(super) hint: Option<&'static str>,
}

impl Due {
    const fn new(verdict: &'static str, exit: i32) -> Due {
        Due {
            verdict,
            exit,
            origin: None,
            at: None,
            attribution: None,
            reason: None,
            hint: None,
        }
    }

    pub(super) const fn reproduced() -> Due {
        Due::new("REPRODUCED", 0)
    }

    pub(super) const fn warned() -> Due {
        Due::new("REPRODUCED_WITH_WARNINGS", 0)
    }

    /// Nothing runs, and the first reason is this.
    pub(super) const fn halted(code: &'static str, subject: &'static str) -> Due {
        Due {
            reason: Some((code, subject)),
            ..Due::new("HALTED", 3)
        }
    }

    /// Nothing can be said, for whichever reason.
    pub(super) const fn undecided() -> Due {
        Due::new("INCONCLUSIVE", 5)
    }

    pub(super) const fn inconclusive(code: &'static str, subject: &'static str) -> Due {
        Due {
            reason: Some((code, subject)),
            ..Due::new("INCONCLUSIVE", 5)
        }
    }

    /// The stage did not end well, twice.
    pub(super) const fn error(stage: &'static str) -> Due {
        Due {
            reason: Some(("stage", stage)),
            ..Due::new("ERROR", 4)
        }
    }

    /// No stage did anything else than before, and it is not what the lock says all the same.
    pub(super) const fn diverging() -> Due {
        Due::new("DIVERGED", 2)
    }

    pub(super) const fn diverged(
        stage: &'static str,
        artifact: &'static str,
        at: &'static str,
        attribution: &'static str,
    ) -> Due {
        Due {
            origin: Some((stage, artifact)),
            at: Some(at),
            attribution: Some(attribution),
            ..Due::new("DIVERGED", 2)
        }
    }

    pub(super) const fn because(self, code: &'static str, subject: &'static str) -> Due {
        Due {
            reason: Some((code, subject)),
            ..self
        }
    }

    pub(super) const fn put_down_to(self, attribution: &'static str) -> Due {
        Due {
            attribution: Some(attribution),
            ..self
        }
    }

    pub(super) const fn hinted(self, hint: &'static str) -> Due {
        Due {
            hint: Some(hint),
            ..self
        }
    }

    /// How `seen` is not what is due.
    fn problems(&self, exit: i32, report: &Value) -> Vec<String> {
        let mut problems = Vec::new();
        let mut expect = |what: &str, due: String, is: String| {
            if due != is {
                problems.push(format!("{what}: {due} is due, it is {is}"));
            }
        };
        expect("exit code", self.exit.to_string(), exit.to_string());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        expect("verdict", self.verdict.into(), text(&report["verdict"]));
        let first = &report["firstDivergence"];
        let first = if first["tolerated"] == true {
            &Value::Null
        } else {
            first
        };
        let (stage, artifact) = self.origin.unwrap_or_default();
        expect("origin stage", stage.into(), text(&first["stage"]));
        expect("artifact", artifact.into(), text(&first["artifact"]));
        let at = text(&first["locator"]);
        let due = self.at.unwrap_or_default();
        if !at.starts_with(due) || (due.is_empty() && !at.is_empty()) {
            expect("place", due.into(), at);
        }
        let attribution = self.attribution.unwrap_or_default();
        expect(
            "attribution",
            attribution.into(),
            text(&report["attribution"]),
        );
        if let Some((code, subject)) = self.reason {
            let mut reasons = report["reasons"].as_array().into_iter().flatten();
            if !reasons.any(|reason| reason["code"] == code && reason["subject"] == subject) {
                expect(
                    "reason",
                    format!("{code} of {subject}"),
                    report["reasons"].to_string(),
                );
            }
        }
        if let Some(hint) = self.hint {
            let mut hints = first["hints"].as_array().into_iter().flatten();
            if !hints.any(|found| found == hint) {
                expect("hint", hint.into(), first["hints"].to_string());
            }
        }
        let ran = report["stages"].as_array().map_or(0, Vec::len);
        if self.verdict == "HALTED" && ran > 0 {
            expect("stages run", "0".into(), ran.to_string());
        }
        problems
    }
}

/// What a command came to.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) exit: i32,
    pub(super) report: Value,
    pub(super) json: Value,
    pub(super) said: String,
}

/// The project on a bench: `p` in a directory of its own, with the keys of two people beside it.
pub(super) struct Bench {
    pub(super) subject: &'static Subject,
    directory: tempfile::TempDir,
    kept: BTreeMap<PathBuf, Vec<u8>>,
    failed: Vec<String>,
    cases: usize,
}

impl Bench {
    /// digits with a baseline; `None` if its wheels are not there.
    pub(super) fn new() -> Option<Bench> {
        Bench::on(&DIGITS)
    }

    /// An example with a baseline; `None` if its wheels are not there. The baseline is the same for all: the first bench
    /// of a subject runs it, and the others are given what that run has written.
    pub(super) fn on(subject: &'static Subject) -> Option<Bench> {
        let example = example(subject.name)?;
        let mut bench = Bench {
            subject,
            directory: tempfile::tempdir().unwrap(),
            kept: BTreeMap::new(),
            failed: Vec::new(),
            cases: 0,
        };
        example.copy_to(&bench.project()).unwrap();
        for name in ["builder", "other"] {
            bench.sealstone(&["keygen", "--out", name, "--no-passphrase"], &[]);
        }
        let before = bench.files();
        let written = subject.written.get_or_init(|| {
            bench.record();
            let after = bench.files().into_iter();
            after.filter(|file| !before.contains_key(&file.0)).collect()
        });
        for (path, content) in written {
            bench.write(path.to_str().unwrap(), content);
        }
        bench.kept = bench
            .files()
            .into_iter()
            .map(|(path, content)| (bench.project().join(path), content))
            .collect();
        Some(bench)
    }

    /// The project's own files, by their paths in it.
    fn files(&self) -> Files {
        let project = self.project();
        let files = files(&project).into_iter();
        files
            .map(|path| {
                let content = fs::read(&path).unwrap();
                (path.strip_prefix(&project).unwrap().to_owned(), content)
            })
            .collect()
    }

    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn project(&self) -> PathBuf {
        self.directory.path().join("p")
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.project().join(path)
    }

    pub(super) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // A wheel is linked from what set-up fetched: never written through.
        let _ = fs::remove_file(&path);
        fs::write(path, content).unwrap();
    }

    pub(super) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    /// Replaces a text that has to be there.
    #[track_caller]
    pub(super) fn edit(&self, path: &str, from: &str, to: &str) {
        let text = self.read(path);
        assert!(text.contains(from), "{path} has no {from:?}");
        self.write(path, text.replacen(from, to, 1));
    }

    /// Adds lines to the end of a script.
    pub(super) fn append(&self, path: &str, lines: &str) {
        self.write(path, self.read(path) + lines);
    }

    /// Changes one bit of a file of the project, by its path there, or by its whole path.
    pub(super) fn flip(&self, path: impl AsRef<Path>) {
        let path = self.project().join(path);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        let _ = fs::remove_file(&path);
        fs::write(path, bytes).unwrap();
    }

    /// Puts the project back as it was with its first baseline.
    pub(super) fn restore(&self) {
        for path in files(&self.project()) {
            if !self.kept.contains_key(&path) {
                fs::remove_file(path).unwrap();
            }
        }
        for (path, content) in &self.kept {
            if fs::read(path).ok().as_ref() != Some(content) {
                let _ = fs::remove_file(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
        }
    }

    /// Makes a baseline of the project as it is now.
    #[track_caller]
    pub(super) fn record(&self) {
        let ended = self.sealstone(&["run", "p", "--quiet"], &[]);
        assert_eq!(ended.exit, 0, "no baseline: {}", ended.said);
    }

    /// Runs the client beside the project.
    pub(super) fn sealstone(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
        let mut command = Command::new(binary("sealstone").unwrap());
        command.args(["--output", "json"]).args(arguments);
        self.run(command, environment)
    }

    /// Runs a command that is or starts the client.
    pub(super) fn run(&self, mut command: Command, environment: &[(&str, &str)]) -> Ended {
        let command = client::alone(&mut command, self.directory());
        // A run keeps its environment there, and all benches have the same. A replay makes its own each time.
        command.env(
            "XDG_CACHE_HOME",
            concat!(env!("CARGO_TARGET_TMPDIR"), "/faults"),
        );
        let ended = client::run(command.envs(environment.iter().copied()));
        Ended {
            exit: ended.code,
            report: ended.json["report"].clone(),
            json: ended.json,
            said: format!("{command:?}\n{}", ended.everything),
        }
    }

    /// Replays the project as it is, and holds what comes of it against what is due. Whatever that is, the project is the
    /// same afterwards.
    pub(super) fn replay(&mut self, name: &str, more: &[&str], due: Due) -> Ended {
        let before = self.digests();
        let ended = self.sealstone(&[&["replay", "p"], more].concat(), &[]);
        let after = self.digests();
        let touched: Vec<&PathBuf> = before
            .keys()
            .chain(after.keys())
            .filter(|path| before.get(*path) != after.get(*path))
            .collect();
        if !touched.is_empty() {
            self.failed.push(format!(
                "{name}: the replay touched the project: {touched:?}\n{}",
                ended.said
            ));
        }
        self.hold(name, ended, due)
    }

    /// What the project's files are. Wheels are left out: they are large, and each replay checks every one by its digest.
    fn digests(&self) -> BTreeMap<PathBuf, Digest> {
        let wheels = self.path("wheels");
        files(&self.project())
            .into_iter()
            .filter(|path| !path.starts_with(&wheels))
            .map(|path| {
                let digest = Digest::sha256(&fs::read(&path).unwrap());
                (path, digest)
            })
            .collect()
    }

    /// Holds an ended replay against what is due.
    pub(super) fn hold(&mut self, name: &str, ended: Ended, due: Due) -> Ended {
        self.cases += 1;
        let problems = due.problems(ended.exit, &ended.report);
        if !problems.is_empty() {
            self.failed
                .push(format!("{name}: {}\n{}", problems.join("; "), ended.said));
        }
        ended
    }

    /// Notes a case that something else than a [`Due`] decides.
    pub(super) fn check(&mut self, name: &str, holds: bool, ended: &Ended) {
        if !holds {
            self.failed
                .push(format!("{name}: does not hold\n{}", ended.said));
        }
    }

    /// One fault in the project of the first baseline, which is put back afterwards.
    pub(super) fn fault(
        &mut self,
        name: &str,
        fault: impl Fn(&Bench),
        more: &[&str],
        due: Due,
    ) -> Ended {
        fault(self);
        let ended = self.replay(name, more, due);
        self.restore();
        ended
    }

    /// A project that is itself at fault: with a baseline of its own.
    pub(super) fn project_with(
        &mut self,
        name: &str,
        change: impl Fn(&Bench),
        more: &[&str],
        due: Due,
    ) -> Ended {
        change(self);
        self.record();
        let ended = self.replay(name, more, due);
        self.restore();
        ended
    }

    /// Fails if any case was not what it stated.
    #[track_caller]
    pub(super) fn close(self) {
        assert!(self.cases > 0, "nothing was tried");
        let names: Vec<&str> = self
            .failed
            .iter()
            .filter_map(|text| text.lines().next())
            .collect();
        assert!(
            self.failed.is_empty(),
            "{} of {} cases are not what is due:\n{}\n\n{}",
            self.failed.len(),
            self.cases,
            names.join("\n"),
            self.failed.join("\n\n")
        );
    }
}

/// The project's own files: without what the client keeps for itself.
fn files(project: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut queue = vec![project.to_owned()];
    while let Some(next) = queue.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name();
            if entry.file_type().unwrap().is_dir() {
                if name != ".sealstone" {
                    queue.push(entry.path());
                }
            } else {
                found.push(entry.path());
            }
        }
    }
    found
}
