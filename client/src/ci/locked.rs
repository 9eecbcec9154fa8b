//! What a `recipe.lock` says of the run that it came from, as a build record: nothing of it is typed.
//!
//! What could be chosen from outside stands among the external parameters; code, data, base model, the list of
//! packages and the environment among the materials, each with its digest; logs and metrics among the byproducts.
//! Does not know where the code came from: a lock knows a commit and no address.

use super::record::BuildRecord;
use jiff::{SignedDuration, Timestamp};
use sealstone_spec::recipe::{
    FileRole, LOCK_FILE, Lock, LockedInput, LockedStage, RECIPE_FILE, listing_digest,
};
use sealstone_spec::statement::ResourceDescriptor;
use sealstone_spec::statement::model_train::{BASE_MODEL, DATASET, ENVIRONMENT, LOCKFILE, SOURCE};
use sealstone_spec::statement::provenance::BuildMetadata;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Names of lists of packages, as installers call them; other files of an environment are archives.
const LISTS: [&str; 3] = [".txt", ".lock", ".toml"];
/// Extensions of inputs that are models and no data.
const MODELS: [&str; 9] = [
    "safetensors",
    "gguf",
    "onnx",
    "pt",
    "pth",
    "ckpt",
    "h5",
    "keras",
    "tflite",
];

/// The record of a lock.
pub(super) fn record(lock: &Lock) -> BuildRecord {
    let mut external = Map::new();
    external.insert("recipe".into(), json!(RECIPE_FILE));
    let params = lock.files.iter().find(|file| file.role == FileRole::Params);
    if let Some(file) = params {
        external.insert("config".into(), json!(file.path.as_str()));
    }
    if !lock.params.is_empty() {
        external.insert("parameters".into(), json!(lock.params));
    }
    if let Some(seed) = seed(lock) {
        external.insert("seed".into(), json!(seed.to_string()));
    }
    let variables = variables(lock);
    if !variables.is_empty() {
        external.insert("environment".into(), json!(variables));
    }
    let mut materials = vec![source(lock)];
    data(lock, &mut external, &mut materials);
    files(lock, &mut materials);
    materials.push(ResourceDescriptor::named("recipe", &lock.recipe.digest));
    materials.push(ResourceDescriptor::named(
        ENVIRONMENT,
        &lock.environment.digest,
    ));
    let stages: Vec<Value> = lock.stages.iter().map(stage).collect();
    let mut internal = Map::new();
    internal.insert("stages".into(), json!(stages));
    internal.insert("writer".into(), json!(lock.writer));
    BuildRecord {
        external_parameters: external,
        internal_parameters: internal,
        resolved_dependencies: materials,
        metadata: times(lock),
        byproducts: byproducts(lock),
        ..BuildRecord::default()
    }
}

/// The seed, if all stages that have one have the same.
fn seed(lock: &Lock) -> Option<u64> {
    let seeds: BTreeSet<u64> = lock.stages.iter().filter_map(|stage| stage.seed).collect();
    (seeds.len() == 1)
        .then(|| seeds.into_iter().next())
        .flatten()
}

/// Variables that the recipe sets, by name; by stage and name where stages do not agree.
fn variables(lock: &Lock) -> BTreeMap<String, String> {
    let mut values: BTreeMap<&String, BTreeSet<&String>> = BTreeMap::new();
    for stage in &lock.stages {
        for (name, value) in &stage.env {
            values.entry(name).or_default().insert(value);
        }
    }
    let mut found = BTreeMap::new();
    for stage in &lock.stages {
        for (name, value) in &stage.env {
            let name = match values[name].len() {
                1 => name.clone(),
                _ => format!("{}:{name}", stage.name),
            };
            found.insert(name, value.clone());
        }
    }
    found
}

/// The code: the commit where one is known, and all files that stages read as one listing.
fn source(lock: &Lock) -> ResourceDescriptor {
    let code = lock
        .files
        .iter()
        .filter(|file| file.role == FileRole::Source)
        .map(|file| (file.path.as_str(), &file.digest));
    let mut material = ResourceDescriptor::named(SOURCE, &listing_digest(code));
    let fact = |name: &str| {
        let facts = lock.environment.facts().ok()?;
        facts.get(name).map(ToString::to_string)
    };
    if let Some(commit) = fact("git.commit") {
        material.digest.insert("gitCommit".into(), commit);
    }
    if let Some(changes) = fact("git.changes").filter(|changes| changes != "none") {
        // What was not committed when it ran is said, not hidden.
        material
            .annotations
            .insert("sealstone_changes".into(), json!(changes));
    }
    material
}

/// Whether an input is a model that training starts from, by its name.
pub(crate) fn is_model(input: &LockedInput) -> bool {
    let extension = input.content.path.as_str().rsplit_once('.');
    extension.is_some_and(|(_, extension)| MODELS.contains(&extension))
}

/// Whether a text is an address that others can read: a path on somebody's disk is none.
pub(crate) fn is_address(text: &str) -> bool {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_lowercase())
            && scheme
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+.-".contains(&b))
    };
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && !"<>\"".contains(c);
    scheme.is_some_and(is_scheme) && text.chars().all(is_plain) && text.len() <= 4096
}

/// Where an input came from, if others can read it there.
fn address_of(input: &LockedInput) -> Option<&str> {
    input.source.as_deref().filter(|text| is_address(text))
}

fn data(lock: &Lock, external: &mut Map<String, Value>, materials: &mut Vec<ResourceDescriptor>) {
    let models: Vec<&LockedInput> = lock.inputs.iter().filter(|input| is_model(input)).collect();
    let mut datasets = BTreeSet::new();
    for input in &lock.inputs {
        let path = &input.content.path;
        let name = match (is_model(input), models.len()) {
            (true, 1) => BASE_MODEL.to_owned(),
            (true, _) => format!("{BASE_MODEL}:{path}"),
            _ => format!("{DATASET}{path}"),
        };
        let mut material = ResourceDescriptor::named(&name, &input.content.digest);
        if let Some(source) = address_of(input) {
            material = material.at(source);
            if !is_model(input) {
                datasets.insert(source.to_owned());
            }
        }
        if let (Some(rows), Some(ordered)) = (input.rows, &input.ordered) {
            material.annotations.insert(
                "sealstone_rows".into(),
                json!({"count": rows, "ordered": ordered}),
            );
        }
        materials.push(material);
    }
    // Parts of one model came from one place. Of models from several places none is the one that training started
    // from: then the materials name them, each with its own.
    let sources: BTreeSet<Option<&str>> = models.iter().map(|model| address_of(model)).collect();
    if let (Some(Some(source)), 1) = (sources.first(), sources.len()) {
        external.insert("baseModel".into(), json!(source));
    }
    if !datasets.is_empty() {
        external.insert("datasets".into(), json!(datasets));
    }
}

/// Files that are neither data nor outputs, each on its own.
fn files(lock: &Lock, materials: &mut Vec<ResourceDescriptor>) {
    let mut has_list = false;
    for file in &lock.files {
        let path = file.path.as_str();
        let name = match file.role {
            FileRole::Source => format!("code:{path}"),
            FileRole::Params => format!("config:{path}"),
            FileRole::Environment => {
                let is_list = LISTS.iter().any(|end| path.ends_with(end));
                match is_list && !has_list {
                    true => {
                        has_list = true;
                        LOCKFILE.to_owned()
                    }
                    false => format!("{ENVIRONMENT}:{path}"),
                }
            }
            _ => continue,
        };
        materials.push(ResourceDescriptor::named(name, &file.digest));
    }
    if !has_list {
        // Without a list of packages, the facts in the lock are what pins them.
        materials.push(ResourceDescriptor::named(LOCKFILE, lock.digest()));
    }
}

fn stage(stage: &LockedStage) -> Value {
    let mut said = json!({
        "name": stage.name, "kind": stage.kind, "argv": stage.argv, "hashSeed": stage.hash_seed,
        "runner": stage.runner, "isolation": stage.isolation, "key": stage.key, "wallMs": stage.usage.wall_ms,
    });
    let more = [
        ("threads", json!(stage.threads)),
        ("cpus", json!(stage.cpus)),
        ("device", json!(stage.device)),
        ("seed", json!(stage.seed)),
    ];
    for (name, value) in more {
        if !value.is_null() {
            said[name] = value;
        }
    }
    said
}

fn times(lock: &Lock) -> Option<BuildMetadata> {
    let spans: Option<Vec<(Timestamp, Timestamp)>> = lock
        .stages
        .iter()
        .map(|stage| {
            let started: Timestamp = stage.started.parse().ok()?;
            let took = SignedDuration::from_millis(i64::try_from(stage.usage.wall_ms).ok()?);
            Some((started, started.checked_add(took).ok()?))
        })
        .collect();
    let spans = spans?;
    let started = spans.iter().map(|span| span.0).min()?;
    let finished = spans.iter().map(|span| span.1).max()?;
    Some(BuildMetadata {
        invocation_id: None,
        started_on: started.to_string().parse().ok(),
        finished_on: finished.to_string().parse().ok(),
    })
}

fn byproducts(lock: &Lock) -> Vec<ResourceDescriptor> {
    let mut found = vec![ResourceDescriptor::named(LOCK_FILE, lock.digest())];
    found.extend(
        lock.stages.iter().map(|stage| {
            ResourceDescriptor::named(format!("log:{}", stage.name), &stage.log.digest)
        }),
    );
    let outputs = lock
        .files
        .iter()
        .filter(|file| file.role == FileRole::Output);
    found.extend(outputs.map(|file| {
        ResourceDescriptor::named(format!("output:{}", file.path.as_str()), &file.digest)
    }));
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use sealstone_spec::canonical::to_canonical_json;
    use sealstone_spec::digest::Digest;
    use sealstone_spec::recipe::{LockedFile, PathDigest};
    use sealstone_spec::statement::provenance::Provenance;

    fn lock() -> Lock {
        let vector = include_bytes!("../../../spec/vectors/recipe/lock.json");
        let vector: Value = serde_json::from_slice(vector).unwrap();
        Lock::parse(&to_canonical_json(&vector["lock"]).unwrap()).unwrap()
    }

    #[test]
    fn everything_that_a_lock_says_is_in_the_provenance_that_is_made_of_it() {
        let lock = lock();
        let mut record = BuildRecord::of_lock(&lock);
        record
            .from_source("git+https://git.example/x@main")
            .unwrap();
        let again = BuildRecord::parse(&record.to_json().unwrap()).unwrap();
        assert_eq!(again, record);
        assert!(
            record
                .clone()
                .from_source("git+https://other.example/x")
                .is_err()
        );
        let predicate = record.provenance(None, Some("https://b.example/x"));
        // The vector's commit is none: git's names have 40 or 64 digits, and a reader would refuse it.
        let error = predicate.unwrap_err();
        assert!(
            format!("{:?}", error.causes()).contains("gitCommit"),
            "{error}"
        );

        let mut record = BuildRecord::of_lock(&lock);
        record.resolved_dependencies[0].digest.remove("gitCommit");
        record
            .from_source("git+https://git.example/x@main")
            .unwrap();
        let predicate = record
            .provenance(None, Some("https://b.example/x"))
            .unwrap();
        let made: Provenance = serde_json::from_value(Value::Object(predicate)).unwrap();
        let chosen = made.model_train().unwrap();
        assert_eq!(chosen.recipe.as_deref(), Some("recipe.toml"));
        assert_eq!(chosen.parameters, lock.params);
        let text = serde_json::to_string(&made).unwrap();
        for digest in lock
            .files
            .iter()
            .map(|file| &file.digest)
            .chain(lock.stages.iter().map(|stage| &stage.log.digest))
            .chain([&lock.recipe.digest, &lock.environment.digest, lock.digest()])
        {
            assert!(text.contains(&digest.hex()), "{digest}: {text}");
        }
    }

    /// The lock with these inputs, each with where it came from.
    fn with_inputs(inputs: &[(&str, &str)]) -> Lock {
        let mut document = lock().into_document();
        for (path, source) in inputs {
            let digest = Digest::sha256(path.as_bytes());
            document.files.push(LockedFile {
                path: path.parse().unwrap(),
                digest,
                size: 4,
                executable: false,
                role: FileRole::Input,
            });
            document.inputs.push(LockedInput {
                content: PathDigest {
                    path: path.parse().unwrap(),
                    digest,
                    size: 4,
                    files: None,
                },
                source: Some((*source).to_owned()),
                rows: None,
                ordered: None,
                multiset: None,
                embedded: true,
            });
        }
        document
            .files
            .sort_by(|one, other| one.path.as_str().cmp(other.path.as_str()));
        Lock::seal(document).unwrap()
    }

    #[test]
    fn several_models_are_base_models_and_no_data() {
        let data = ("data.csv", "s3://lake/data.csv");
        let asked = |models: &[(&str, &str)]| {
            let lock = with_inputs(&[models, &[data]].concat());
            let record = BuildRecord::of_lock(&lock);
            let external = record.external_parameters;
            assert_eq!(external["datasets"], json!(["s3://lake/data.csv"]));
            external.get("baseModel").cloned()
        };
        let base = "hf://org/base@0123456789abcdef0123456789abcdef01234567";
        assert_eq!(asked(&[("m.safetensors", base)]), Some(json!(base)));
        // The parts of one model.
        let parts = [("m1.safetensors", base), ("m2.safetensors", base)];
        assert_eq!(asked(&parts), Some(json!(base)));
        // Two models: neither is the one; both stand among the materials.
        let merged = [("m1.safetensors", base), ("m2.gguf", "hf://org/other@1")];
        assert_eq!(asked(&merged), None);
        let record = BuildRecord::of_lock(&with_inputs(&merged));
        for (path, source) in merged {
            let name = format!("{BASE_MODEL}:{path}");
            let mut materials = record.resolved_dependencies.iter();
            let material = materials.find(|it| it.name.as_deref() == Some(name.as_str()));
            assert_eq!(material.unwrap().uri.as_deref(), Some(source));
        }
        // A model that nobody else can read is another place too.
        let own = [("m1.safetensors", base), ("m2.safetensors", "/mnt/m2")];
        assert_eq!(asked(&own), None);
    }

    #[test]
    fn addresses_are_told_from_paths() {
        for good in ["s3://lake/x.csv", "git+https://h/r@0123", "hf://org/m"] {
            assert!(is_address(good), "{good}");
        }
        for bad in [
            "data.csv", "/mnt/x", "S3://x", "s3://a b", "://x", "1s://x", "s3://<x>",
        ] {
            assert!(!is_address(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_record_that_is_read_is_written_as_the_same(
            changes in vec((any::<usize>(), any::<u8>()), 0..4),
            cut in any::<usize>(),
        ) {
            let mut bytes = BuildRecord::of_lock(&lock()).to_json().unwrap();
            for (at, byte) in changes {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            if cut % 5 == 0 {
                bytes.truncate(cut % bytes.len());
            }
            if let Ok(record) = BuildRecord::parse(&bytes) {
                let again = BuildRecord::parse(&record.to_json().unwrap()).unwrap();
                prop_assert_eq!(again, record);
            }
        }
    }
}
