//! `dvc.yaml` and `dvc.lock` as one list of stages.
//!
//! Stages of the lock come resolved; those of `foreach` and `matrix` are called `name@key` there. Flags of outputs
//! stand in `dvc.yaml` only, where names may hold `${...}`: they are matched with what the lock resolved.

use super::super::yaml::{list, read as read_yaml, table, text};
use crate::error::{Error, Result};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A file or directory that DVC tracks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracked {
    /// As DVC writes it, relative to where the stage works.
    pub path: String,
    /// The digest that was recorded; of a directory with `.dir` at its end.
    pub md5: Option<String>,
    /// Whether the digest is of the bytes as they are. Before DVC 3 line ends were made those of Unix first.
    pub is_plain: bool,
    /// Whether DVC calls it a metric.
    pub is_metric: bool,
    pub(super) directory: bool,
}

impl Tracked {
    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.directory || self.md5.as_deref().is_some_and(|md5| md5.ends_with(".dir"))
    }
}

/// A stage of DVC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DvcStage {
    /// Its name; with `@` and a key if it is one of several.
    pub name: String,
    /// Its commands, as a shell reads them.
    pub commands: Vec<String>,
    /// The directory in which it works, relative to the project.
    pub directory: String,
    /// What it reads.
    pub reads: Vec<Tracked>,
    /// What it writes.
    pub writes: Vec<Tracked>,
    /// Parameters by file: name and value, `null` where the value is not known.
    pub params: BTreeMap<String, Map<String, Value>>,
    /// Whether DVC kept its result whatever changed.
    pub frozen: bool,
    /// Whether DVC ran it every time.
    pub always_changed: bool,
    /// Whether it kept its old output.
    pub persists: bool,
    /// What it does.
    pub description: Option<String>,
    /// What could not be taken over.
    pub notes: Vec<String>,
}

/// Reads both files; `yaml` may be empty.
///
/// # Errors
/// If one of them cannot be read.
pub fn read(yaml: &str, lock: Option<&str>) -> Result<Vec<DvcStage>> {
    let yaml = match yaml.trim().is_empty() {
        true => Value::Object(Map::new()),
        false => read_yaml(yaml, "dvc.yaml")?,
    };
    let lock = match lock {
        None => Value::Object(Map::new()),
        Some(lock) => read_yaml(lock, "dvc.lock")?,
    };
    let empty = Map::new();
    let stated = table(&yaml, "stages").unwrap_or(&empty);
    // Schema 2.0 has its stages under a key, the one before had nothing else.
    let locked = match (lock.get("schema"), lock.as_object()) {
        (Some(schema), _) => {
            if schema.as_str() != Some("2.0") {
                return Err(Error::usage(format!(
                    "dvc.lock has the schema {schema}, only 2.0 is read"
                )));
            }
            table(&lock, "stages").unwrap_or(&empty)
        }
        (None, Some(stages)) => stages,
        (None, None) => return Err(Error::usage("dvc.lock is no table of stages")),
    };
    let mut stages = Vec::new();
    for (name, definition) in stated {
        let template = definition.get("do").unwrap_or(definition);
        let several = definition.get("foreach").is_some() || definition.get("matrix").is_some();
        let prefix = format!("{name}@");
        let mut resolved: Vec<(&String, &Value)> = locked
            .iter()
            .filter(|(key, _)| {
                if several {
                    key.starts_with(&prefix)
                } else {
                    *key == name
                }
            })
            .collect();
        resolved.sort_by_key(|(key, _)| *key);
        for (key, value) in &resolved {
            let mut stage = of_lock(key, value);
            flags(template, &mut stage);
            stages.push(stage);
        }
        if resolved.is_empty() {
            stages.push(of_yaml(name, template, several));
        }
    }
    let in_yaml = |key: &str| {
        stated.contains_key(key)
            || key
                .split_once('@')
                .is_some_and(|(base, _)| stated.contains_key(base))
    };
    for (key, value) in locked.iter().filter(|(key, _)| !in_yaml(key)) {
        let mut stage = of_lock(key, value);
        stage
            .notes
            .push("It stands in dvc.lock and no longer in dvc.yaml.".to_owned());
        stages.push(stage);
    }
    let metrics: Vec<&str> = list(&yaml, "metrics")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for tracked in stages.iter_mut().flat_map(|stage| &mut stage.writes) {
        tracked.is_metric |= metrics.contains(&tracked.path.as_str());
    }
    Ok(stages)
}

/// A stage as it was run.
fn of_lock(name: &str, value: &Value) -> DvcStage {
    let mut stage = DvcStage {
        name: name.to_owned(),
        commands: commands(value),
        reads: list(value, "deps").iter().filter_map(tracked).collect(),
        writes: list(value, "outs").iter().filter_map(tracked).collect(),
        ..DvcStage::default()
    };
    for (file, values) in table(value, "params").into_iter().flatten() {
        let values = values.as_object().cloned().unwrap_or_default();
        stage.params.insert(file.clone(), values);
    }
    stage
}

fn commands(value: &Value) -> Vec<String> {
    match value.get("cmd") {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(several)) => several
            .iter()
            .filter_map(|one| Some(one.as_str()?.to_owned()))
            .collect(),
        _ => Vec::new(),
    }
}

fn tracked(value: &Value) -> Option<Tracked> {
    Some(Tracked {
        path: text(value, "path")?.trim_end_matches('/').to_owned(),
        md5: text(value, "md5").map(str::to_owned),
        is_plain: text(value, "hash") == Some("md5"),
        is_metric: false,
        directory: value.get("nfiles").is_some(),
    })
}

/// What `dvc.yaml` says of a stage that the lock has resolved.
fn flags(template: &Value, stage: &mut DvcStage) {
    stage.directory = directory(template);
    stage.frozen = template.get("frozen") == Some(&Value::Bool(true));
    stage.always_changed = template.get("always_changed") == Some(&Value::Bool(true));
    stage.description = text(template, "desc").map(|text| text.trim().to_owned());
    let stated = commands(template);
    let differs = stated.len() != stage.commands.len()
        || stated
            .iter()
            .zip(&stage.commands)
            .any(|(stated, run)| !fits(stated.trim(), run.trim()));
    if !stated.is_empty() && differs {
        stage.notes.push(
            "Its command in dvc.yaml is another now than in dvc.lock, which was taken.".to_owned(),
        );
    }
    for (key, is_metric) in [("outs", false), ("metrics", true), ("plots", false)] {
        for (pattern, settings) in entries(template, key) {
            stage.persists |= settings
                .is_some_and(|settings| settings.get("persist") == Some(&Value::Bool(true)));
            for tracked in &mut stage.writes {
                tracked.is_metric |= is_metric && fits(&pattern, &tracked.path);
            }
        }
    }
}

fn directory(template: &Value) -> String {
    let text = text(template, "wdir").unwrap_or_default();
    if text.contains("${") || text == "." {
        return String::new();
    }
    text.trim_matches('/').trim_start_matches("./").to_owned()
}

/// Entries of a list whose items are names, or names with settings.
fn entries<'a>(template: &'a Value, key: &str) -> Vec<(String, Option<&'a Value>)> {
    let mut found = Vec::new();
    for item in list(template, key) {
        match item {
            Value::String(name) => found.push((name.trim_end_matches('/').to_owned(), None)),
            Value::Object(table) => {
                let named = table.iter();
                found.extend(named.map(|(name, settings)| {
                    (name.trim_end_matches('/').to_owned(), Some(settings))
                }));
            }
            _ => {}
        }
    }
    found
}

/// Whether a text of `dvc.yaml`, in which `${...}` is anything, fits one that is resolved.
fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = Vec::new();
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once("${") {
        parts.push(before);
        rest = after.split_once('}').map_or("", |(_, after)| after);
    }
    let Some((first, between)) = parts.split_first() else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(first) else {
        return false;
    };
    for part in between {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(rest)
}

/// A stage that was never run: as far as `dvc.yaml` resolves it.
fn of_yaml(name: &str, template: &Value, several: bool) -> DvcStage {
    let mut stage = DvcStage {
        name: name.to_owned(),
        directory: directory(template),
        ..DvcStage::default()
    };
    let known = |text: &str| !text.contains("${");
    let named = |path: String| Tracked {
        path,
        ..Tracked::default()
    };
    stage.reads = entries(template, "deps")
        .into_iter()
        .map(|(path, _)| named(path))
        .collect();
    for (key, is_metric) in [("outs", false), ("metrics", true), ("plots", false)] {
        let found = entries(template, key).into_iter();
        stage.writes.extend(found.map(|(path, _)| Tracked {
            is_metric,
            ..named(path)
        }));
    }
    for item in list(template, "params") {
        match item {
            Value::String(name) => {
                let values = stage.params.entry("params.yaml".to_owned()).or_default();
                values.insert(name.clone(), Value::Null);
            }
            Value::Object(files) => {
                for (file, names) in files {
                    let values = stage.params.entry(file.clone()).or_default();
                    for name in names
                        .as_array()
                        .into_iter()
                        .flatten()
                        .filter_map(Value::as_str)
                    {
                        values.insert(name.to_owned(), Value::Null);
                    }
                }
            }
            _ => {}
        }
    }
    let commands = commands(template);
    let resolved = !several
        && commands.iter().all(|one| known(one))
        && stage
            .reads
            .iter()
            .chain(&stage.writes)
            .all(|tracked| known(&tracked.path));
    stage
        .notes
        .push("dvc.lock does not have it: it was never run.".to_owned());
    if resolved {
        stage.commands = commands;
    } else {
        stage.reads.retain(|tracked| known(&tracked.path));
        stage.writes.retain(|tracked| known(&tracked.path));
    }
    stage
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_fit_what_they_became() {
        for (pattern, text, due) in [
            ("a/b", "a/b", true),
            ("a/b", "a/c", false),
            ("m_${item}.json", "m_us.json", true),
            ("m_${item}.json", "m_us.yaml", false),
            ("${a}-${b.c}", "x-y", true),
            ("python ${x} --n ${y}", "python a.py --n 3", true),
            ("python ${x} --n ${y}", "python a.py --m 3", false),
            ("${", "x", true),
        ] {
            assert_eq!(fits(pattern, text), due, "{pattern} {text}");
        }
    }
}
