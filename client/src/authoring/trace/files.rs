//! Which step of a traced run read and wrote what.
//!
//! Calls of all processes in the order of time; each process belongs to the step whose program started it or one
//! of its ancestors. A file that a step wrote first is its own; one that it read first came from elsewhere.
//! Does not touch the disk.

use super::record::Call;
use std::collections::{BTreeMap, BTreeSet};

/// What one process did.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// Its number.
    pub id: u32,
    /// When and what.
    pub calls: Vec<(u64, Call)>,
}

/// What a step did, with whole paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// The command with which it was started.
    pub arguments: Vec<String>,
    /// The directory in which it was started.
    pub directory: String,
    /// Files that were there before it and that it read.
    pub reads: BTreeSet<String>,
    /// Files that it made or changed, as they are called in the end.
    pub writes: BTreeSet<String>,
    /// Files that it read first and changed then.
    pub changes: BTreeSet<String>,
    /// Directories that it listed.
    pub lists: BTreeSet<String>,
    /// Addresses beyond the machine that it tried.
    pub reached: BTreeSet<String>,
}

/// Whether a command is a step of its own, and not a part of the one that started it.
pub type IsStep<'a> = &'a dyn Fn(&[String], &str) -> bool;

struct Running {
    directory: String,
    step: Option<usize>,
}

/// The steps of a run that began with process `first` in `directory`. If no command is a step, all of it is one.
pub fn steps(processes: &[Process], first: u32, directory: &str, is_step: IsStep<'_>) -> Vec<Step> {
    let mut calls: Vec<(u64, u32, &Call)> = processes
        .iter()
        .flat_map(|process| {
            process
                .calls
                .iter()
                .map(|(time, call)| (*time, process.id, call))
        })
        .collect();
    calls.sort_by_key(|(time, id, _)| (*time, *id));
    // A child may be seen before the call that started it has come back: its parent is looked up first.
    let mut running: BTreeMap<u32, Running> = BTreeMap::new();
    let parents: BTreeMap<u32, u32> = calls
        .iter()
        .filter_map(|(_, id, call)| match call {
            Call::Started(child) => Some((*child, *id)),
            _ => None,
        })
        .collect();
    let mut steps = vec![Step {
        directory: directory.to_owned(),
        ..Step::default()
    }];
    for (_, id, call) in calls {
        begin(&mut running, &parents, id, first, directory);
        let Some(process) = running.get_mut(&id) else {
            continue;
        };
        let whole = |path: &str| normal(&process.directory, path);
        let step = process.step;
        match call {
            Call::Entered(path) => process.directory = whole(path),
            Call::Executed { program, arguments } => {
                let program = whole(program);
                if steps[0].arguments.is_empty() {
                    steps[0].arguments.clone_from(arguments);
                }
                // What a step starts belongs to it.
                if step.is_none() && is_step(arguments, &process.directory) {
                    process.step = Some(steps.len());
                    steps.push(Step {
                        arguments: arguments.clone(),
                        directory: process.directory.clone(),
                        ..Step::default()
                    });
                }
                // The kernel reads a program without opening it.
                steps[process.step.unwrap_or(0)].opened(program, true, false);
            }
            Call::Started(child) => {
                let child = *child;
                begin(&mut running, &parents, child, first, directory);
            }
            Call::Reached(address) => {
                steps[step.unwrap_or(0)].reached.insert(address.clone());
            }
            Call::Opened {
                path,
                reads,
                writes,
                directory,
            } => {
                let path = whole(path);
                let step = &mut steps[step.unwrap_or(0)];
                if *directory {
                    step.lists.insert(path);
                } else {
                    step.opened(path, *reads, *writes);
                }
            }
            Call::Made(path) => {
                let path = whole(path);
                steps[step.unwrap_or(0)].made(path);
            }
            Call::Removed(path) => {
                let path = whole(path);
                steps[step.unwrap_or(0)].writes.remove(&path);
            }
            Call::Renamed { from, to } => {
                let (from, to) = (whole(from), whole(to));
                steps[step.unwrap_or(0)].renamed(&from, &to);
            }
        }
    }
    if steps.len() > 1 {
        // What the programs around the steps did is part of none.
        steps.remove(0);
    }
    steps
}

fn begin(
    running: &mut BTreeMap<u32, Running>,
    parents: &BTreeMap<u32, u32>,
    id: u32,
    first: u32,
    directory: &str,
) {
    if running.contains_key(&id) {
        return;
    }
    let parent = parents.get(&id).copied().filter(|_| id != first);
    let (directory, step) = match parent.and_then(|parent| running.get(&parent)) {
        Some(parent) => (parent.directory.clone(), parent.step),
        None => (directory.to_owned(), None),
    };
    running.insert(id, Running { directory, step });
}

impl Step {
    fn opened(&mut self, path: String, reads: bool, writes: bool) {
        let is_own = self.writes.contains(&path);
        if writes {
            self.made(path);
        } else if reads && !is_own {
            self.reads.insert(path);
        }
    }

    /// A file, or a directory with all that was written below it.
    fn renamed(&mut self, from: &str, to: &str) {
        let below = format!("{from}/");
        let moved: Vec<String> = self
            .writes
            .iter()
            .filter(|path| *path == from || path.starts_with(&below))
            .cloned()
            .collect();
        for path in &moved {
            self.writes.remove(path);
            self.made(normal(to, path[from.len()..].trim_start_matches('/')));
        }
        if moved.is_empty() {
            self.made(to.to_owned());
        }
    }

    /// Something lies there now that this step made, whatever was there before.
    fn made(&mut self, path: String) {
        if self.reads.remove(&path) {
            self.changes.insert(path.clone());
        }
        self.writes.insert(path);
    }
}

/// A whole path without `.` and `..`.
fn normal(directory: &str, path: &str) -> String {
    let whole = match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("{directory}/{path}"),
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(paths: &[&str]) -> BTreeSet<String> {
        paths.iter().map(|path| (*path).to_owned()).collect()
    }

    fn open(path: &str, writes: bool) -> Call {
        Call::Opened {
            path: path.into(),
            reads: !writes,
            writes,
            directory: false,
        }
    }

    fn program(words: &[&str]) -> Call {
        Call::Executed {
            program: format!("/usr/bin/{}", words[0]),
            arguments: words.iter().map(|word| (*word).to_owned()).collect(),
        }
    }

    #[test]
    fn what_a_step_wrote_first_is_its_own() {
        let calls = vec![
            (1, program(&["python3", "a.py"])),
            (2, open("/p/in", false)),
            (3, open("/p/tmp", true)),
            (4, open("/p/tmp", false)),
            (
                5,
                Call::Renamed {
                    from: "tmp".into(),
                    to: "out".into(),
                },
            ),
            (6, open("/p/scratch", true)),
            (7, Call::Removed("/p/scratch".into())),
            (8, open("/p/log", false)),
            (9, open("/p/log", true)),
        ];
        let found = steps(&[Process { id: 7, calls }], 7, "/p", &|_, _| false);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].reads, set(&["/p/in", "/usr/bin/python3"]));
        assert_eq!(found[0].writes, set(&["/p/log", "/p/out"]));
        assert_eq!(found[0].changes, set(&["/p/log"]));
    }

    /// No call opens it but the one that starts it.
    #[test]
    fn a_program_of_the_project_is_read_by_the_step_that_starts_it() {
        let started = |path: &str| Call::Executed {
            program: path.into(),
            arguments: vec![path.into()],
        };
        let step = vec![
            (1, program(&["python3", "a.py"])),
            (2, Call::Started(2)),
            (3, open("/p/made", true)),
            (4, Call::Started(3)),
            (5, Call::Entered("sub".into())),
            (6, Call::Started(4)),
        ];
        let children = [(2u32, "bin/tool"), (3, "/p/made"), (4, "../own")]
            .map(|(id, path)| (id, vec![(u64::from(id) + 10, started(path))]));
        let processes: Vec<Process> = std::iter::once((1, step))
            .chain(children)
            .map(|(id, calls)| Process { id, calls })
            .collect();
        let found = steps(&processes, 1, "/p", &|words, _| words[0] == "python3");
        assert_eq!(found.len(), 1, "{found:#?}");
        // What the step made itself comes from nowhere else.
        assert_eq!(
            found[0].reads,
            set(&["/p/bin/tool", "/p/own", "/usr/bin/python3"])
        );
        let itself = [Process {
            id: 1,
            calls: vec![(1, started("./train"))],
        }];
        let found = steps(&itself, 1, "/p", &|words, _| words[0] == "./train");
        assert_eq!(found[0].reads, set(&["/p/train"]));
    }

    #[test]
    fn children_belong_to_the_step_that_started_them() {
        let shell = vec![
            (1, program(&["sh", "all.sh"])),
            (2, open("/p/all.sh", false)),
            (3, Call::Started(2)),
            (20, Call::Entered("sub".into())),
            (21, Call::Started(4)),
        ];
        let one = vec![
            (4, program(&["python3", "a.py"])),
            (5, Call::Started(3)),
            (6, open("/p/b", true)),
        ];
        let helper = vec![
            (7, program(&["python3", "helper.py"])),
            (8, open("/p/h", true)),
        ];
        let two = vec![
            (22, program(&["python3", "../b.py"])),
            (23, open("x", false)),
            (24, Call::Reached("192.0.2.1".into())),
        ];
        let processes =
            [(1, shell), (2, one), (3, helper), (4, two)].map(|(id, calls)| Process { id, calls });
        let found = steps(&processes, 1, "/p", &|words, _| words[0] == "python3");
        assert_eq!(found.len(), 2, "{found:#?}");
        assert_eq!(found[0].writes, set(&["/p/b", "/p/h"]));
        assert_eq!(
            (found[1].directory.as_str(), &found[1].reads),
            ("/p/sub", &set(&["/p/sub/x", "/usr/bin/python3"]))
        );
        assert_eq!(found[1].reached, set(&["192.0.2.1"]));
    }
}
