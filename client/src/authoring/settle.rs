//! What reads and writes add up to: inputs with their digests, measurements, parameters.
//!
//! Works on a draft whose stages say what they read and write; looks at the files to pin them.
//! Invariant: an input is pinned by what lies there now, or stands there as to do.

use super::classify::{direction, is_code, is_measured, is_params, plain_name, role};
use super::draft::{Draft, DraftInput, DraftMetric, DraftParams, Pin, todo};
use crate::error::Result;
use crate::recipe::{digest_at, read_params};
use sealstone_spec::recipe::{RecipePath, StageKind, left_to_fill};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// As many files of one directory are declared one by one; more are declared as the directory.
const MANY: usize = 8;
/// Longest file of measurements that is read, in bytes.
const MAX_MEASURED_BYTES: u64 = 1 << 20;
/// Most metrics that one file gives.
const MAX_METRICS: usize = 40;

/// Makes inputs of what no stage writes and no interpreter reads, and pins them. Those that are there already
/// are left as they are.
pub(super) fn inputs(root: &Path, draft: &mut Draft) -> Result<()> {
    let mut paths = BTreeSet::new();
    for stage in &draft.stages {
        for path in &stage.reads {
            let known = left_to_fill(path).is_some()
                || draft.writer_of(path).is_some()
                || draft
                    .inputs
                    .iter()
                    .any(|input| super::draft::holds(&input.path, path));
            if !known && is_data(root, path) {
                paths.insert(path.clone());
            }
        }
    }
    for path in paths {
        let place: Option<RecipePath> = path.parse().ok();
        let there = root.join(&path).exists();
        let pin = match place.filter(|_| there) {
            None => Pin::Todo,
            Some(place) => match digest_at(root, &place)? {
                ("tree", digest) => Pin::Tree(digest),
                (_, digest) => Pin::File(digest),
            },
        };
        draft.inputs.push(DraftInput {
            path,
            pin,
            source: None,
            notes: Vec::new(),
        });
    }
    draft.inputs.sort_by(|one, two| one.path.cmp(&two.path));
    Ok(())
}

/// Whether a path that nobody writes is data and not part of the programs.
pub(super) fn is_data(root: &Path, path: &str) -> bool {
    if path.ends_with('/') {
        // A directory with a program in it is code.
        let found = fs::read_dir(root.join(path))
            .into_iter()
            .flatten()
            .flatten();
        return !found
            .filter_map(|entry| entry.file_name().into_string().ok())
            .any(|name| name.ends_with(".py") || name.ends_with(".sh"));
    }
    !is_code(path) && !is_params(path)
}

/// Declares directories where many files of one were read, or where one was listed: then the set of its files
/// decides, not only those that are there now. `own` says that nobody else has files there.
pub(super) fn gather(
    paths: &BTreeSet<String>,
    listed: &BTreeSet<String>,
    own: &dyn Fn(&str) -> bool,
) -> Vec<String> {
    let mut groups: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
    for path in paths {
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        groups.entry(directory).or_default().push(path);
    }
    let mut gathered: Vec<String> = Vec::new();
    for (directory, files) in groups {
        let data = files.iter().filter(|path| !is_code(path)).count();
        let together = files.len() > MANY || (listed.contains(directory) && data > 1);
        if !directory.is_empty() && together && own(directory) {
            gathered.push(format!("{directory}/"));
        } else {
            gathered.extend(files.into_iter().cloned());
        }
    }
    // A directory below one that is declared says nothing new.
    let whole: Vec<String> = gathered
        .iter()
        .filter(|path| path.ends_with('/'))
        .cloned()
        .collect();
    gathered.retain(|path| {
        !whole
            .iter()
            .any(|place| place != path && path.starts_with(place.as_str()))
    });
    gathered
}

/// The numbers in JSON files that stages write: of those that evaluate, and of files that are called so.
pub(super) fn metrics(root: &Path, draft: &mut Draft) {
    let mut files = Vec::new();
    for stage in &draft.stages {
        for path in &stage.writes {
            let measures =
                is_measured(path) || (stage.kind == StageKind::Evaluate && path.ends_with(".json"));
            if measures && left_to_fill(path).is_none() {
                files.push(path.clone());
            }
        }
    }
    files.iter().for_each(|path| metrics_of(root, path, draft));
}

/// The numbers in one JSON file. A name that another file gave gets this file's before it.
pub(super) fn metrics_of(root: &Path, path: &str, draft: &mut Draft) {
    let stem = path.trim_end_matches(".json").replace('/', ".");
    for number in numbers(&root.join(path)) {
        let name = number.name;
        let from = format!("{path}#{}", number.pointer);
        if draft.metrics.iter().any(|metric| metric.from == from) {
            continue;
        }
        let plain = plain_name(&name, "metric");
        let taken = draft.metrics.iter().any(|metric| metric.name == plain);
        let full = if taken {
            plain_name(&format!("{stem}.{name}"), "metric")
        } else {
            plain
        };
        draft.metrics.push(DraftMetric {
            name: full,
            from,
            // A loss below zero may well be one that was turned round, whatever it is called.
            direction: direction(&name).filter(|way| *way != "lower" || !number.is_negative),
            why: todo("abs = 0 stands here because nobody has chosen a tolerance: keep it, or say what difference does not matter and why"),
        });
    }
}

/// A number in a JSON file.
struct Number {
    name: String,
    pointer: String,
    is_negative: bool,
}

/// The numbers in a JSON file.
fn numbers(path: &Path) -> Vec<Number> {
    let fits = fs::metadata(path).is_ok_and(|found| found.len() <= MAX_MEASURED_BYTES);
    let Some(value) = fits
        .then(|| fs::read(path).ok())
        .flatten()
        .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
    else {
        return Vec::new();
    };
    let mut found = Vec::new();
    flatten(&value, "", "", 0, &mut found);
    found.truncate(MAX_METRICS);
    found
}

fn flatten(value: &Value, name: &str, pointer: &str, depth: usize, found: &mut Vec<Number>) {
    match value {
        Value::Number(number) if !name.is_empty() => found.push(Number {
            name: name.to_owned(),
            pointer: pointer.to_owned(),
            is_negative: number.as_f64().is_some_and(|number| number < 0.0),
        }),
        Value::Object(table) if depth < 8 => {
            for (key, value) in table {
                let name = if name.is_empty() {
                    key.clone()
                } else {
                    format!("{name}.{key}")
                };
                let escaped = key.replace('~', "~0").replace('/', "~1");
                flatten(
                    value,
                    &name,
                    &format!("{pointer}/{escaped}"),
                    depth + 1,
                    found,
                );
            }
        }
        _ => {}
    }
}

/// Declares the parameters' file that a stage reads, and what its parameters seem to do.
pub(super) fn params(root: &Path, draft: &mut Draft, candidates: &[String]) {
    let used = candidates
        .iter()
        .find(|file| draft.stages.iter().any(|stage| stage.reads.contains(file)))
        .or(candidates
            .first()
            .filter(|_| draft.stages.iter().any(|stage| !stage.params.is_empty())));
    let Some(file) = used.cloned() else {
        return;
    };
    let Ok(params) = read_params(&root.join(&file)) else {
        draft
            .notes
            .push(format!("{file} could not be read as parameters."));
        return;
    };
    let roles = params
        .iter()
        .filter_map(|(name, _)| Some((name.to_owned(), role(name)?)))
        .collect();
    for stage in &mut draft.stages {
        if stage.reads.contains(&file) && stage.params.is_empty() {
            stage.params = vec!["*".to_owned()];
        }
    }
    draft.params = Some(DraftParams { file, roles });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::authoring::draft::DraftStage;
    use sealstone_spec::digest::Digest;

    fn set(paths: &[&str]) -> BTreeSet<String> {
        paths.iter().map(|path| (*path).to_owned()).collect()
    }

    #[test]
    fn many_files_and_listed_directories_are_declared_whole() {
        let many: BTreeSet<String> = (0..9).map(|n| format!("many/{n}.png")).collect();
        let paths: BTreeSet<String> = many
            .into_iter()
            .chain(set(&["few/a.csv", "few/b.csv", "x.py"]))
            .collect();
        assert_eq!(
            gather(&paths, &set(&[]), &|_| true),
            ["x.py", "few/a.csv", "few/b.csv", "many/"]
        );
        assert_eq!(
            gather(&paths, &set(&["few"]), &|_| true),
            ["x.py", "few/", "many/"]
        );
        assert_eq!(
            gather(&paths, &set(&["few"]), &|place| place != "many").len(),
            11
        );
    }

    #[test]
    fn what_may_have_been_turned_round_gets_no_direction() {
        let root = tempfile::tempdir().unwrap();
        let text = r#"{"accuracy": 0.9, "log_loss": 0.3, "neg_log_loss": -0.3, "test_mse": -0.4}"#;
        fs::write(root.path().join("metrics.json"), text).unwrap();
        let mut draft = Draft::new("x", "test");
        metrics_of(root.path(), "metrics.json", &mut draft);
        let found: BTreeMap<&str, Option<&str>> = draft
            .metrics
            .iter()
            .map(|metric| (metric.name.as_str(), metric.direction))
            .collect();
        let due = [
            ("accuracy", Some("higher")),
            ("log_loss", Some("lower")),
            ("neg_log_loss", None),
            ("test_mse", None),
        ];
        assert_eq!(found, due.into());
    }

    #[test]
    fn data_is_pinned_and_numbers_are_measured() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("data")).unwrap();
        for (path, text) in [
            ("data/x.csv", "x"),
            ("raw.csv", "y"),
            ("params.yaml", "model:\n  C: 1.0\n"),
            (
                "metrics.json",
                r#"{"auc": 0.5, "by/class": {"a": 1}, "name": "x", "curve": [1]}"#,
            ),
        ] {
            fs::write(root.path().join(path), text).unwrap();
        }
        let mut draft = Draft::new("x", "test");
        let mut stage = DraftStage::new("evaluate", StageKind::Evaluate, vec!["a".into()]);
        stage.reads = [
            "data/",
            "raw.csv",
            "gone.bin",
            "a.py",
            "params.yaml",
            "metrics.json",
        ]
        .map(String::from)
        .into();
        stage.writes = vec!["metrics.json".into()];
        draft.stages.push(stage);
        inputs(root.path(), &mut draft).unwrap();
        metrics(root.path(), &mut draft);
        params(root.path(), &mut draft, &["params.yaml".into()]);
        let pins: Vec<_> = draft
            .inputs
            .iter()
            .map(|input| (input.path.as_str(), input.pin.clone()))
            .collect();
        assert_eq!(pins.len(), 3, "{pins:?}");
        assert!(matches!(pins[0], ("data/", Pin::Tree(_))));
        assert_eq!(pins[1], ("gone.bin", Pin::Todo));
        assert_eq!(pins[2], ("raw.csv", Pin::File(Digest::sha256(b"y"))));
        let measured: Vec<_> = draft
            .metrics
            .iter()
            .map(|metric| metric.from.as_str())
            .collect();
        assert_eq!(measured, ["metrics.json#/auc", "metrics.json#/by~1class/a"]);
        assert_eq!(draft.metrics[1].name, "by-class.a");
        assert_eq!(draft.stages[0].params, ["*"]);
        assert_eq!(
            draft.params.unwrap().roles,
            [("model.C".to_owned(), "regularisation")]
        );
    }
}
