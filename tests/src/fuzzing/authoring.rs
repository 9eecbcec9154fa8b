//! Targets for what other programs wrote: projects of DVC and MLflow, lines of strace.

use super::as_text;
use sealstone::authoring::{Process, dvc, mlproject, read_line, steps};
use std::collections::{BTreeMap, BTreeSet};

/// `dvc.yaml`, a zero byte and `dvc.lock`, or `dvc.yaml` alone. Read twice it says the same; a stage has a name, and
/// what the lock resolved has no flag that only `dvc.yaml` could have given.
pub(super) fn dvc_project(input: &[u8]) -> bool {
    let Some(text) = as_text(input) else {
        return false;
    };
    let (yaml, lock) = match text.split_once('\0') {
        Some((yaml, lock)) => (yaml, Some(lock)),
        None => (text, None),
    };
    let Ok(stages) = dvc::read(yaml, lock) else {
        return false;
    };
    assert_eq!(
        dvc::read(yaml, lock).expect("it was read before"),
        stages,
        "read twice"
    );
    for stage in &stages {
        assert!(stage.commands.iter().all(|command| !command.contains('\0')) || lock.is_some());
        for tracked in stage.reads.iter().chain(&stage.writes) {
            assert!(!tracked.path.ends_with('/') || tracked.path.trim_end_matches('/').is_empty());
        }
    }
    !stages.is_empty()
}

/// An accepted project has entry points, each once and with a command.
pub(super) fn mlproject(input: &[u8]) -> bool {
    let Some(project) = as_text(input).and_then(|text| mlproject::read(text).ok()) else {
        return false;
    };
    assert!(!project.entry_points.is_empty());
    // In the order of the file, which is any.
    let names = project.entry_points.iter().map(|entry| &entry.name);
    let distinct: BTreeSet<&String> = names.collect();
    assert_eq!(distinct.len(), project.entry_points.len());
    true
}

/// Lines of `PID LINE`: paths of steps are whole and without `.` and `..`, and what was written is not also read.
pub(super) fn trace(input: &[u8]) -> bool {
    let Some(text) = as_text(input) else {
        return false;
    };
    let mut processes: BTreeMap<u32, Process> = BTreeMap::new();
    for line in text.lines() {
        let Some((id, call)) = line
            .split_once(' ')
            .and_then(|(id, line)| Some((id.parse().ok()?, read_line(line)?)))
        else {
            continue;
        };
        let process = processes.entry(id).or_insert_with(|| Process {
            id,
            calls: Vec::new(),
        });
        process.calls.push(call);
    }
    let Some(first) = processes.keys().next().copied() else {
        return false;
    };
    let processes: Vec<Process> = processes.into_values().collect();
    let found = steps(&processes, first, "/p", &|words, _| {
        words.first().is_some_and(|word| word.ends_with("python3"))
    });
    assert!(!found.is_empty());
    for step in &found {
        for path in step.reads.iter().chain(&step.writes).chain(&step.changes) {
            assert!(path.starts_with('/'), "{path:?}");
            assert!(
                path.split('/')
                    .skip(1)
                    .all(|part| part != "." && part != ".."),
                "{path:?}"
            );
        }
        assert!(step.reads.is_disjoint(&step.writes));
    }
    true
}
