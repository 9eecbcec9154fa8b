//! `recipe.lock`: what a run read, ran and wrote. Generated, canonical JSON, the thing that is sealed.
//!
//! Owns the model, the strict reader and the checks that a lock has to pass in itself: what is stated
//! twice is stated the same, every key is the digest of what it stands for. Whether it belongs to a
//! recipe says [`Lock::disagreements`]. Does not know whether the files are there.
//! **Invariant:** a [`Lock`] is consistent: its bytes are canonical, its paths are safe and written once,
//! digests of directories and stages' keys follow from what stands in it.

use super::key::{KeyMaterial, KeyParts, PathDigest, asks_for_first, first_read};
use super::listing::listing_digest;
use super::path::RecipePath;
use super::words::{Risk, StageKind};
use super::{LOCK_FILE, Recipe};
use crate::bundle::{BundlePath, check_paths};
use crate::canonical::{JsonError, parse_value, to_canonical_json};
use crate::compare::{Class, Decimal};
use crate::digest::Digest;
use crate::environment::{
    FactError, FactValue, Facts, Isolation, Level, MAX_FACTS_BYTES, Strictness, fact_rule,
};
use crate::exact::parse_exact;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

/// The schema that is written and read here.
pub const LOCK_SCHEMA: &str = "sealstone-lock/v2";
/// Longest lock that is read, in bytes: 100,000 files take about 20 MiB.
pub const MAX_LOCK_BYTES: usize = 64 << 20;

/// Why a lock was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// No JSON of this form.
    #[error("{LOCK_FILE}: {0}")]
    Json(#[from] JsonError),
    /// Another schema.
    #[error("{LOCK_FILE} has the schema \"{0}\", this sealstone reads \"{LOCK_SCHEMA}\"")]
    Schema(String),
    /// The right values in another form than the one that is hashed.
    #[error("{LOCK_FILE} is not in canonical form: it was changed by hand or by another tool")]
    NotCanonical,
    /// Two statements in it that cannot both be true.
    #[error("{LOCK_FILE} contradicts itself: {0}")]
    Inconsistent(String),
}

/// The recipe that was run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LockedRecipe {
    /// SHA-256 of `recipe.toml`.
    pub digest: Digest,
    /// The model's name.
    pub name: String,
    /// The model's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_version: Option<String>,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// How much harm a wrong model does.
    pub risk: Risk,
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FileRole {
    /// A file of the project that a stage reads.
    Source,
    /// Pinned data.
    Input,
    /// What a stage wrote.
    Output,
    /// Part of the environment: locked requirements, wheels, a root file system.
    Environment,
    /// What a test reads: golden inputs and outputs, its script.
    Test,
    /// The parameters' file.
    Params,
}

/// A file, by its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LockedFile {
    /// Where it lies.
    pub path: RecipePath,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
    /// Whether its owner may run it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub executable: bool,
    /// What it is for; the first that fits in the order of [`FileRole`], outputs before all.
    pub role: FileRole,
}

/// A pinned input with its fingerprints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LockedInput {
    /// The path and what was there.
    pub content: PathDigest,
    /// Where it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Digest of the rows in their order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordered: Option<Digest>,
    /// Digest of the rows in any order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multiset: Option<Digest>,
    /// Whether the bundle holds the bytes; else it holds a pointer.
    pub embedded: bool,
}

/// The environment in which the stages ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LockedEnvironment {
    /// The kind in the recipe: `venv`, `oci`, `rootfs`, `host`.
    pub kind: String,
    /// SHA-256 of the document.
    pub digest: Digest,
    /// The strictest class that the recipe demands: it decides which facts must match.
    pub class: Class,
    /// SHA-256 of those facts, part of every stage's key: [`must_digest`].
    pub must: Digest,
    /// The document of facts.
    pub document: Value,
}

impl LockedEnvironment {
    /// The record of these facts under a class.
    pub fn new(kind: &str, class: Class, facts: &Facts) -> LockedEnvironment {
        let document = parse_value(&facts.to_json(), MAX_FACTS_BYTES);
        LockedEnvironment {
            kind: kind.to_owned(),
            digest: facts.digest(),
            class,
            must: must_digest(facts, class),
            document: document.expect("a document of facts is JSON"),
        }
    }

    /// The facts.
    ///
    /// # Errors
    /// Not for that of a [`Lock`], which was read by this.
    pub fn facts(&self) -> Result<Facts, FactError> {
        Facts::parse(&to_canonical_json(&self.document)?)
    }
}

/// The digest of the facts that have to match for a class. What Git says does not count: a key knows
/// the files themselves; nor do declared seeds, which stand in it too.
pub fn must_digest(facts: &Facts, class: Class) -> Digest {
    let strictness = Strictness::from(class);
    let counts = |name: &str| {
        let rule = fact_rule(name);
        rule.is_some_and(|rule| rule.level(strictness) == Level::Must)
            && !name.starts_with("git.")
            && name != "seeds.declared"
    };
    let must: BTreeMap<&str, &FactValue> = facts.iter().filter(|(name, _)| counts(name)).collect();
    let bytes = to_canonical_json(&must).expect("facts are texts and whole numbers");
    Digest::sha256(&bytes)
}

/// What a stage took; how a figure was measured stands beside it where there are several ways.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Usage {
    /// Time on the clock, in milliseconds.
    pub wall_ms: u64,
    /// Processor time outside the kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_ms: Option<u64>,
    /// Processor time in the kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_ms: Option<u64>,
    /// Peak of memory, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<u64>,
    /// How the peak was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory_method: Option<String>,
    /// Bytes read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_bytes: Option<u64>,
    /// Bytes written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_bytes: Option<u64>,
    /// Most threads at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_threads: Option<u64>,
    /// Peak of accelerators' memory, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_memory: Option<u64>,
    /// Time that the stage says it waited for data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_wait_ms: Option<u64>,
}

/// A log by its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogDigest {
    /// SHA-256 of the log.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// Whether it was cut.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// What a training trace holds, without its lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TraceSummary {
    /// The file.
    pub path: RecipePath,
    /// Lines.
    pub steps: u64,
    /// Digest of the weights before the first step, as the trace states it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_params: Option<String>,
}

/// A stage as it was run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LockedStage {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub kind: StageKind,
    /// The command as the recipe has it.
    pub command: Vec<String>,
    /// Whether a shell read it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shell: bool,
    /// The command that was run.
    pub argv: Vec<String>,
    /// Variables that recipe and stage set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Its share of the parameters, as JSON texts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, String>,
    /// The seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// `PYTHONHASHSEED`.
    pub hash_seed: u64,
    /// Threads that libraries were told to use.
    pub threads: u64,
    /// Processors that it might use; none if all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u64>,
    /// The device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The key.
    pub key: Digest,
    /// Its parts.
    pub key_parts: KeyParts,
    /// What `{in}` in its command stood for; none where the command has no such word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_read: Option<RecipePath>,
    /// The project's files that it read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<PathDigest>,
    /// Inputs and outputs of other stages that it read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<PathDigest>,
    /// What it wrote.
    pub outputs: Vec<PathDigest>,
    /// Paths that it wrote without declaring them; they were thrown away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undeclared: Vec<String>,
    /// Its exit code: a lock holds only stages that ended well.
    pub exit: i32,
    /// When it began, RFC 3339 in UTC.
    pub started: String,
    /// What it printed.
    pub log: LogDigest,
    /// What it took.
    pub usage: Usage,
    /// The runner.
    pub runner: String,
    /// How far it was kept from the machine.
    pub isolation: Isolation,
    /// Its training trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceSummary>,
}

/// A metric as it was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LockedMetric {
    /// File and pointer, as the recipe has it.
    pub from: String,
    /// The value, with the text that the file has.
    pub value: Decimal,
    /// The values of runs with the seeds of `replicates`, in their order; none where these do not measure it anew.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replicates: Vec<Decimal>,
}

/// A test as it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LockedTest {
    /// Its kind.
    pub kind: String,
    /// Whether it passed.
    pub ok: bool,
    /// What was seen.
    pub detail: String,
    /// What the command wrote, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Content>,
}

/// Bytes by their digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Content {
    /// SHA-256.
    pub digest: Digest,
    /// Number of bytes.
    pub size: u64,
}

/// Everything that stands in a lock, before it is checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LockDocument {
    /// [`LOCK_SCHEMA`].
    pub schema: String,
    /// The recipe.
    pub recipe: LockedRecipe,
    /// The profile; none for the recipe itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Every parameter, as JSON text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, String>,
    /// Pinned inputs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<LockedInput>,
    /// Every file that was read or written, by path.
    pub files: Vec<LockedFile>,
    /// The environment.
    pub environment: LockedEnvironment,
    /// The stages, in the order in which they ran.
    pub stages: Vec<LockedStage>,
    /// The metrics.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, LockedMetric>,
    /// The tests.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tests: BTreeMap<String, LockedTest>,
    /// The program that wrote the lock, as `sealstone/VERSION`.
    pub writer: String,
}

/// A lock that is consistent in itself. Its fields are those of [`LockDocument`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    document: LockDocument,
    bytes: Vec<u8>,
    digest: Digest,
}

impl Deref for Lock {
    type Target = LockDocument;

    fn deref(&self) -> &LockDocument {
        &self.document
    }
}

impl Lock {
    /// Reads a lock.
    ///
    /// # Errors
    /// If the bytes are no canonical JSON of this form, or contradict themselves.
    pub fn parse(bytes: &[u8]) -> Result<Lock, LockError> {
        // The schema first: under another one, every other complaint would mislead.
        let value = parse_value(bytes, MAX_LOCK_BYTES)?;
        let schema = value
            .get("schema")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if schema != LOCK_SCHEMA {
            return Err(LockError::Schema(schema.chars().take(60).collect()));
        }
        let lock = Lock::seal(parse_exact(bytes, MAX_LOCK_BYTES)?)?;
        match lock.bytes == bytes {
            true => Ok(lock),
            false => Err(LockError::NotCanonical),
        }
    }

    /// Checks a document and gives it its bytes.
    ///
    /// # Errors
    /// If it contradicts itself.
    pub fn seal(document: LockDocument) -> Result<Lock, LockError> {
        check(&document).map_err(LockError::Inconsistent)?;
        let bytes = to_canonical_json(&document)?;
        Ok(Lock {
            digest: Digest::sha256(&bytes),
            document,
            bytes,
        })
    }

    /// The canonical bytes: what `recipe.lock` holds.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 of [`Lock::as_bytes`].
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The document, to make another lock from.
    pub fn into_document(self) -> LockDocument {
        self.document
    }

    /// The stage of this name.
    pub fn stage(&self, name: &str) -> Option<&LockedStage> {
        self.document.stages.iter().find(|stage| stage.name == name)
    }

    /// The file at this path.
    pub fn file(&self, path: &str) -> Option<&LockedFile> {
        file(&self.document.files, path)
    }

    /// The files at or below a path, by path.
    pub fn files_at<'a>(&'a self, path: &'a RecipePath) -> impl Iterator<Item = &'a LockedFile> {
        files_at(&self.document.files, path)
    }

    /// The files that a stage wrote, by path.
    pub fn outputs_of<'a>(
        &'a self,
        stage: &'a LockedStage,
    ) -> impl Iterator<Item = &'a LockedFile> {
        stage
            .outputs
            .iter()
            .flat_map(|output| self.files_at(&output.path))
    }

    /// Why this is no lock of this recipe: empty if it is.
    pub fn disagreements(&self, recipe: &Recipe) -> Vec<String> {
        let mut found = Vec::new();
        if self.recipe.digest != *recipe.digest() {
            found.push(format!(
                "the lock was made from the recipe {}, this one is {}",
                self.recipe.digest,
                recipe.digest()
            ));
        }
        let names: Vec<&str> = self
            .stages
            .iter()
            .map(|stage| stage.name.as_str())
            .collect();
        let due: Vec<&str> = recipe
            .stages()
            .iter()
            .map(|stage| stage.name.as_str())
            .collect();
        if names != due {
            found.push(format!(
                "the lock has the stages {names:?}, the recipe {due:?}"
            ));
        }
        for stage in recipe.stages() {
            let Some(locked) = self.stage(&stage.name) else {
                continue;
            };
            let written: Vec<&RecipePath> =
                locked.outputs.iter().map(|output| &output.path).collect();
            let read = locked
                .sources
                .iter()
                .chain(&locked.inputs)
                .map(|item| &item.path);
            let read: BTreeSet<&RecipePath> = read.collect();
            let same = locked.command == stage.run
                && locked.shell == stage.shell
                && locked.kind == stage.kind
                && written == stage.writes.iter().collect::<Vec<_>>()
                && locked.first_read.as_ref() == first_read(&stage.run, &stage.reads)
                && read == stage.reads.iter().collect();
            if !same {
                found.push(format!(
                    "stage \"{}\" is another one in the lock",
                    stage.name
                ));
            }
        }
        for input in recipe.inputs() {
            let locked = self
                .inputs
                .iter()
                .find(|other| other.content.path == input.path);
            // A profile may put another file in its place.
            if self.profile.is_none()
                && locked.is_none_or(|locked| locked.content.digest != input.digest)
            {
                found.push(format!(
                    "input \"{}\" is another one in the lock",
                    input.path
                ));
            }
        }
        for metric in recipe.metrics() {
            match self.metrics.get(&metric.name) {
                Some(locked) if locked.from == metric.from.to_string() => {}
                _ => found.push(format!("metric \"{}\" is not in the lock", metric.name)),
            }
        }
        found
    }
}

fn file<'a>(files: &'a [LockedFile], path: &str) -> Option<&'a LockedFile> {
    let index = files
        .binary_search_by(|file| file.path.as_str().cmp(path))
        .ok()?;
    files.get(index)
}

fn files_at<'a>(
    files: &'a [LockedFile],
    path: &'a RecipePath,
) -> impl Iterator<Item = &'a LockedFile> {
    // Sorted by bytes: `a`, `a-b`, `a/c`. So the file itself, then all that begins with `a/`.
    let directory = format!("{}/", path.as_str());
    let start = files.partition_point(|file| file.path.as_str() < directory.as_str());
    let below = files[start..]
        .iter()
        .take_while(move |file| file.path.as_str().starts_with(&directory));
    file(files, path.as_str()).into_iter().chain(below)
}

/// What stands at a declared path, from the list of files.
///
/// `None` if there is no file at or below it.
pub(super) fn content_at(files: &[LockedFile], path: &RecipePath) -> Option<PathDigest> {
    if let Some(file) = file(files, path.as_str()) {
        return Some(PathDigest {
            path: path.clone(),
            digest: file.digest,
            size: file.size,
            files: None,
        });
    }
    let below: Vec<&LockedFile> = files_at(files, path).collect();
    let prefix = path.as_str().len() + 1;
    let listed = below
        .iter()
        .map(|file| (&file.path.as_str()[prefix..], &file.digest));
    let digest = listing_digest(listed);
    (!below.is_empty()).then(|| PathDigest {
        path: path.clone(),
        digest,
        size: below.iter().map(|file| file.size).sum(),
        files: Some(below.len() as u64),
    })
}

fn check(lock: &LockDocument) -> Result<(), String> {
    if lock.schema != LOCK_SCHEMA {
        return Err(format!("its schema is \"{}\"", lock.schema));
    }
    for pair in lock.files.windows(2) {
        if pair[0].path.as_str() >= pair[1].path.as_str() {
            return Err(format!(
                "files \"{}\" and \"{}\" are not in order",
                pair[0].path, pair[1].path
            ));
        }
    }
    // Then those of a directory can be added up as well.
    let mut sizes = lock.files.iter().map(|file| file.size);
    if sizes.try_fold(0, u64::checked_add).is_none() {
        return Err("its files have more bytes than there can be".to_owned());
    }
    if let Some(file) = lock.files.iter().find(|file| file.path.is_directory()) {
        return Err(format!("\"{}\" stands among the files", file.path));
    }
    let paths: Vec<&BundlePath> = lock.files.iter().map(|file| file.path.path()).collect();
    check_paths(paths.into_iter()).map_err(|error| error.to_string())?;
    let same = |content: &PathDigest, what: &str| match content_at(&lock.files, &content.path) {
        Some(found) if found == *content => Ok(()),
        Some(found) => Err(format!(
            "{what} \"{}\" has the digest {}, its files {}",
            content.path, content.digest, found.digest
        )),
        None => Err(format!("{what} \"{}\" has no files", content.path)),
    };
    for input in &lock.inputs {
        same(&input.content, "input")?;
        if input.rows.is_some() != input.ordered.is_some()
            || input.rows.is_some() != input.multiset.is_some()
        {
            return Err(format!(
                "input \"{}\" has a part of a fingerprint of rows",
                input.content.path
            ));
        }
    }
    let facts = lock
        .environment
        .facts()
        .map_err(|error| error.to_string())?;
    let due = LockedEnvironment::new(&lock.environment.kind, lock.environment.class, &facts);
    if due != lock.environment {
        return Err("the digests of the environment are not those of its facts".to_owned());
    }
    if lock.stages.is_empty() {
        return Err("it has no stages".to_owned());
    }
    let mut names = BTreeSet::new();
    let mut written: Vec<&RecipePath> = Vec::new();
    for stage in &lock.stages {
        let name = &stage.name;
        if !names.insert(name) {
            return Err(format!("stage \"{name}\" stands there twice"));
        }
        if stage.exit != 0 {
            return Err(format!("stage \"{name}\" ended with {}", stage.exit));
        }
        for item in stage
            .sources
            .iter()
            .chain(&stage.inputs)
            .chain(&stage.outputs)
        {
            same(item, &format!("stage \"{name}\":"))?;
        }
        for output in &stage.outputs {
            if written.iter().any(|other| other.overlaps(&output.path)) {
                return Err(format!("\"{}\" is written twice", output.path));
            }
            written.push(&output.path);
        }
        for (parameter, value) in &stage.params {
            if lock.params.get(parameter) != Some(value) {
                return Err(format!(
                    "stage \"{name}\" has another \"{parameter}\" than the run"
                ));
            }
        }
        let mut read = stage.sources.iter().chain(&stage.inputs);
        let first = stage.first_read.as_ref();
        if first.is_some() != asks_for_first(&stage.command)
            || first.is_some_and(|first| !read.any(|item| item.path == *first))
        {
            return Err(format!(
                "stage \"{name}\" has another first input than its command and what it read"
            ));
        }
        let writes: Vec<RecipePath> = stage
            .outputs
            .iter()
            .map(|output| output.path.clone())
            .collect();
        let material = KeyMaterial {
            command: &stage.command,
            shell: stage.shell,
            writes: &writes,
            first_read: stage.first_read.as_ref(),
            sources: &stage.sources,
            inputs: &stage.inputs,
            params: &stage.params,
            seed: stage.seed,
            hash_seed: stage.hash_seed,
            threads: stage.threads,
            cpus: stage.cpus,
            device: stage.device.as_deref(),
            env: &stage.env,
            facts: &lock.environment.must,
        };
        let parts = material.parts();
        if parts != stage.key_parts || parts.key() != stage.key {
            return Err(format!(
                "the key of stage \"{name}\" is not that of what it read and ran"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests;
