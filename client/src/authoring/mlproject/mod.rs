//! Projects of MLflow: an `MLproject` file as a draft.
//!
//! Entry points become stages, their parameters a file with the defaults, the environment's packages requirements.
//! What a stage reads and writes does not stand there: a traced run can tell. Nothing of MLflow is run.
//! Invariant: no file of the project is changed; what is written beside the recipe was not there before.

mod command;
#[cfg(test)]
mod tests;

use super::classify::{plain_name, role, stage_kind};
use super::draft::{Draft, DraftEnvironment, DraftParams, DraftStage, todo};
use super::init::{self, LOCK, WHEELS};
use super::scan::scan;
use super::settle;
use super::trace::{Traced, trace};
use super::watch::{self, SEED, Watched};
use super::yaml::{self, InOrder, list, table, text};
use crate::environment::stated_version;
use crate::error::{Error, Result};
use crate::run::write_whole;
use command::{Line, Part, default, line};
use sealstone_spec::recipe::StageKind;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// The file's name.
const FILE: &str = "MLproject";

/// A parameter of an entry point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Its default.
    pub default: Option<Value>,
    /// `float`, `string`, `path`, `uri`, as MLflow knows them.
    pub kind: String,
}

/// An entry point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryPoint {
    /// Its name.
    pub name: String,
    /// Its command, with parameters in braces.
    pub command: String,
    /// Its parameters, by name.
    pub parameters: Vec<Parameter>,
}

/// What an `MLproject` file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MlProject {
    /// The project's name.
    pub name: Option<String>,
    /// The file of a Python environment.
    pub python_env: Option<String>,
    /// The file of a conda environment.
    pub conda_env: Option<String>,
    /// A container image.
    pub image: Option<String>,
    /// The entry points, in the order of the file.
    pub entry_points: Vec<EntryPoint>,
}

/// The part of the file whose order says something: entry points use what those before them made.
#[derive(Deserialize)]
struct Ordered {
    #[serde(default)]
    entry_points: InOrder,
}

/// Reads an `MLproject` file.
///
/// # Errors
/// If it is no YAML, or has no entry point.
pub fn read(content: &str) -> Result<MlProject> {
    let value = yaml::read(content, FILE)?;
    let mut project = MlProject {
        name: text(&value, "name").map(str::to_owned),
        python_env: text(&value, "python_env").map(str::to_owned),
        conda_env: text(&value, "conda_env").map(str::to_owned),
        image: value
            .get("docker_env")
            .and_then(|docker| Some(text(docker, "image")?.to_owned())),
        ..MlProject::default()
    };
    if table(&value, "entry_points").is_none_or(Map::is_empty) {
        return Err(Error::usage(format!("{FILE} has no entry_points")));
    }
    let ordered: Ordered = yaml::read_as(content, FILE)?;
    for (name, entry) in ordered.entry_points.0 {
        let Some(command) = text(&entry, "command") else {
            return Err(Error::usage(format!(
                "entry point \"{name}\" of {FILE} has no command"
            )));
        };
        let parameters = table(&entry, "parameters")
            .into_iter()
            .flatten()
            .map(|(name, told)| {
                // `alpha: float`, or `alpha: {type: float, default: 0.5}`.
                let kind = told
                    .as_str()
                    .or_else(|| text(told, "type"))
                    .unwrap_or("string");
                Parameter {
                    name: name.clone(),
                    default: told.get("default").cloned(),
                    kind: kind.to_owned(),
                }
            });
        project.entry_points.push(EntryPoint {
            command: command.trim().to_owned(),
            parameters: parameters.collect(),
            name,
        });
    }
    Ok(project)
}

/// Reads a project of MLflow as a draft, and writes what the recipe needs beside it: parameters, requirements.
/// With `traced`, each entry point is run once with its defaults and watched.
///
/// # Errors
/// If there is no `MLproject`, it cannot be read, or a traced command fails.
pub fn import(directory: &Path, traced: bool, note: &mut dyn FnMut(&str)) -> Result<Draft> {
    let root = fs::canonicalize(directory)
        .map_err(|source| Error::io(format!("opening \"{}\"", directory.display()), source))?;
    let content = fs::read_to_string(root.join(FILE)).map_err(|source| {
        Error::io(
            format!("reading \"{FILE}\" in \"{}\"", directory.display()),
            source,
        )
    })?;
    let project = read(&content)?;
    let origin = if traced {
        "sealstone import mlproject --trace"
    } else {
        "sealstone import mlproject"
    };
    let own = init::name(&root);
    let mut draft = Draft::new(
        plain_name(project.name.as_deref().unwrap_or(&own), &own),
        origin,
    );
    draft.environment = environment(&root, &project, &mut draft.notes, note)?;
    let file = params(&root, &project, &mut draft)?;
    let mut stages: Vec<DraftStage> = project
        .entry_points
        .iter()
        .map(|entry| stage(&root, entry))
        .collect();
    if traced {
        let scanned = scan(&root)?;
        let watched = Watched::new(&root, &[], note)?;
        let mut found: Vec<(DraftStage, Traced)> = Vec::new();
        for (entry, mut stage) in project.entry_points.iter().zip(stages) {
            let command = with_defaults(entry)?;
            note(&format!("tracing: {}", entry.command));
            let steps = trace(&root, &command, &watched.programs, SEED, &|_, _| false)?;
            stage.notes.clear();
            found.extend(steps.into_iter().next().map(|step| (stage, step)));
        }
        stages = watch::declare(&scanned.files, found);
    } else {
        draft.notes.push(format!(
            "{FILE} does not say what its entry points read and write. A run that is watched does:\n\
             sealstone import mlproject --force --trace"
        ));
    }
    draft.stages = stages;
    if let Some(file) = file {
        let mut roles = Vec::new();
        for entry in &project.entry_points {
            let names = entry.parameters.iter();
            roles.extend(names.filter_map(|one| {
                Some((
                    format!("{}.{}", key(&entry.name), one.name),
                    role(&one.name)?,
                ))
            }));
        }
        draft.params = Some(DraftParams { file, roles });
    }
    settle::inputs(&root, &mut draft)?;
    settle::metrics(&root, &mut draft);
    Ok(draft)
}

/// The name of an entry point as a table of parameters.
fn key(name: &str) -> String {
    plain_name(name, "main").replace(['.', '@'], "-")
}

fn stage(root: &Path, entry: &EntryPoint) -> DraftStage {
    let base = stage_kind(&entry.name).unwrap_or(StageKind::Train);
    let words = |one: &Parameter| format!("{{params.{}.{}}}", key(&entry.name), one.name);
    let Line { parts, arguments } = line(entry);
    let parts = parts.into_iter().map(|part| match part {
        Part::Text(text) => text.replace('{', "{{").replace('}', "}}"),
        Part::Word(one) => words(one),
    });
    let text: String = parts.collect();
    let is_shell = arguments.is_empty();
    let run = match is_shell {
        true => vec![text],
        false => shell(text, arguments.into_iter().map(words)),
    };
    let mut stage = DraftStage::new(plain_name(&entry.name, "main"), base, run);
    stage.shell = is_shell;
    if !entry.parameters.is_empty() {
        stage.params = vec![format!("{}.*", key(&entry.name))];
    }
    for word in entry.command.split_whitespace() {
        let word = word.trim_matches(['"', '\'']);
        let is_path =
            !word.starts_with(['-', '/', '{']) && !word.split('/').any(|part| part == "..");
        if is_path && root.join(word).is_file() {
            stage.read(word);
        }
    }
    for one in entry.parameters.iter().filter(|one| one.kind == "path") {
        if let Some(path) = one.default.as_ref().and_then(Value::as_str)
            && !path.starts_with('/')
            && root.join(path).exists()
        {
            let slash = if root.join(path).is_dir() { "/" } else { "" };
            stage.read(format!("{}{slash}", path.trim_end_matches('/')));
        }
    }
    for one in entry.parameters.iter().filter(|one| one.kind == "uri") {
        stage.notes.push(format!(
            "{} is an address: a stage has no network, so fetch it before and pin it as an input.",
            one.name
        ));
    }
    stage.writes = vec![todo(format!("{FILE} does not say which files it writes"))];
    stage
}

/// A shell that reads a line and gets arguments.
fn shell(line: String, arguments: impl Iterator<Item = String>) -> Vec<String> {
    let mut command = vec!["sh".to_owned(), "-c".to_owned(), line, "sh".to_owned()];
    command.extend(arguments);
    command
}

/// The command with its defaults.
fn with_defaults(entry: &EntryPoint) -> Result<Vec<String>> {
    let value = |one: &Parameter| {
        default(one).ok_or_else(|| {
            Error::usage(format!(
                "parameter \"{}\" of entry point \"{}\" has no default, so it cannot be traced",
                one.name, entry.name
            ))
            .hint("give it one in MLproject, or leave out --trace")
        })
    };
    // MLflow would not run without one that the command does not use, either.
    for one in &entry.parameters {
        value(one)?;
    }
    let Line { parts, arguments } = line(entry);
    let mut text = String::new();
    for part in parts {
        match part {
            Part::Text(part) => text.push_str(&part),
            Part::Word(one) => text.push_str(&value(one)?),
        }
    }
    let arguments: Vec<String> = arguments.into_iter().map(value).collect::<Result<_>>()?;
    Ok(shell(text, arguments.into_iter()))
}

/// Writes the defaults as a file of parameters; its name, if there are any.
fn params(root: &Path, project: &MlProject, draft: &mut Draft) -> Result<Option<String>> {
    let mut body = String::new();
    for entry in project
        .entry_points
        .iter()
        .filter(|entry| !entry.parameters.is_empty())
    {
        let _ = write!(body, "\n[{}]\n", super::write::key(&key(&entry.name)));
        for one in &entry.parameters {
            let value = match &one.default {
                Some(Value::Null) | None => super::write::quoted(&todo("MLproject has no default")),
                Some(Value::String(text)) => super::write::quoted(text),
                Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
                Some(other) => super::write::quoted(&other.to_string()),
            };
            let _ = writeln!(body, "{} = {value}", super::write::key(&one.name));
        }
    }
    if body.is_empty() {
        return Ok(None);
    }
    let text = format!("# Defaults of the entry points in {FILE}.\n{body}");
    let names = ["params.toml", "mlproject.params.toml"];
    for name in names {
        let path = root.join(name);
        match fs::read_to_string(&path) {
            Ok(there) if there == text => return Ok(Some(name.to_owned())),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                write_whole(&path, text.as_bytes())?;
                draft.notes.push(format!(
                    "{name} was written with the defaults of the entry points."
                ));
                return Ok(Some(name.to_owned()));
            }
            // Something is there that cannot be read as text: it is somebody's.
            Err(_) => {}
        }
    }
    Err(Error::conflict(format!(
        "\"{}\" and \"{}\" are there already",
        names[0], names[1]
    ))
    .hint("move one of them away: the defaults of the entry points go there"))
}

/// Packages of an environment's file, as pip writes them, and the version of Python.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Packages {
    python: Option<String>,
    lines: Vec<String>,
    /// Packages that conda names: not always what pip would install.
    from_conda: Vec<String>,
}

fn python_env(value: &Value) -> Packages {
    let lines = list(value, "dependencies").iter().filter_map(Value::as_str);
    Packages {
        python: value.get("python").map(|version| match version {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }),
        lines: lines.map(str::to_owned).collect(),
        from_conda: Vec::new(),
    }
}

fn conda_env(value: &Value) -> Packages {
    let mut packages = Packages::default();
    for item in list(value, "dependencies") {
        if let Some(pip) = item.get("pip") {
            let lines = pip
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str);
            packages.lines.extend(lines.map(str::to_owned));
        }
        let Some(text) = item.as_str() else {
            continue;
        };
        // name=version=build, with a channel before it.
        let text = text.rsplit("::").next().unwrap_or(text).replace(' ', "");
        let end = text.find(['=', '<', '>', '!', '~']).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        match name {
            "python" => {
                let version = rest.trim_start_matches('=').split('=').next();
                let version = version.filter(|version| !version.is_empty());
                packages.python = version.filter(|_| rest.starts_with('=')).map(str::to_owned);
            }
            "pip" | "" => {}
            name => packages.from_conda.push(format!("{name}{}", for_pip(rest))),
        }
    }
    packages
}

/// What conda demands of a version, as pip writes it. One equals sign is any version that begins so, unless a build
/// stands behind it; two are this one.
fn for_pip(rest: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-+!*=".contains(c);
    let Some(demand) = rest.strip_prefix('=').filter(|it| it.chars().all(is_plain)) else {
        // Pip knows it, or refuses it where people see it.
        return rest.to_owned();
    };
    let is_whole = demand.starts_with('=');
    let demand = demand.trim_start_matches('=');
    let (version, build) = demand.split_once('=').unwrap_or((demand, ""));
    let start = version.trim_end_matches('*').trim_end_matches('.');
    match (start.is_empty(), start == version) {
        (true, _) => String::new(),
        (_, true) if is_whole || !["", "*"].contains(&build) => format!("=={version}"),
        _ => format!("=={start}.*"),
    }
}

/// Whether a line of requirements leaves open which version it is.
fn is_loose(line: &str) -> bool {
    let demand = line.split([';', '#']).next().unwrap_or_default();
    !demand.contains("==") || demand.contains('*')
}

fn environment(
    root: &Path,
    project: &MlProject,
    notes: &mut Vec<String>,
    note: &mut dyn FnMut(&str),
) -> Result<DraftEnvironment> {
    if let Some(image) = &project.image {
        // Without a digest lint refuses it, and says how to write it.
        return Ok(DraftEnvironment::Oci(image.clone()));
    }
    let (file, packages) = match (&project.python_env, &project.conda_env) {
        (Some(file), _) => (file, python_env(&environment_file(root, file)?)),
        (None, Some(file)) => (file, conda_env(&environment_file(root, file)?)),
        (None, None) => return Ok(init::environment(root)),
    };
    let python = packages
        .python
        .as_deref()
        .and_then(stated_version)
        .or_else(|| init::python_version(root));
    let requirements = root.join("requirements.txt");
    let refers = packages.lines.iter().any(|line| line.starts_with("-r"));
    if !requirements.exists() && !refers {
        let mut body = format!("# From {file}; `sealstone env lock` locks what stands here.\n");
        for line in &packages.lines {
            let _ = writeln!(body, "{line}");
        }
        if !packages.from_conda.is_empty() {
            body.push_str("# Named for conda: look whether they are called the same for pip.\n");
            for line in &packages.from_conda {
                let _ = writeln!(body, "{line}");
            }
        }
        write_whole(&requirements, body.as_bytes())?;
        note(&format!(
            "wrote requirements.txt from {file}: lock it with sealstone env lock"
        ));
    } else {
        notes.push(format!("Packages are those of the requirements; {file} was read for the version of Python only."));
    }
    let loose: Vec<&String> = (packages.lines.iter().chain(&packages.from_conda))
        .filter(|line| !line.starts_with('-') && is_loose(line))
        .collect();
    if !loose.is_empty() {
        let names: Vec<&str> = loose.iter().map(|line| line.as_str()).take(8).collect();
        notes.push(format!(
            "{file} does not pin {}: what `sealstone env lock` finds now is what will be used.",
            names.join(", ")
        ));
    }
    Ok(DraftEnvironment::Venv {
        python,
        lock: LOCK.to_owned(),
        wheels: WHEELS.to_owned(),
    })
}

fn environment_file(root: &Path, name: &str) -> Result<Value> {
    if name.starts_with('/') || name.split('/').any(|part| part == "..") {
        return Err(Error::usage(format!(
            "the environment \"{name}\" lies outside the project"
        )));
    }
    let content = fs::read_to_string(root.join(name))
        .map_err(|source| Error::io(format!("reading \"{name}\", which {FILE} names"), source))?;
    yaml::read(&content, name)
}
