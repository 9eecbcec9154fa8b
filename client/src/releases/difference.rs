//! What changed between two bundles.

use super::regression::{Regression, regressions};
use super::sealed::{file_bytes, unread};
use crate::error::{Error, Result};
use crate::store::Store;
use sealstone_spec::bundle::{Bundle, BundleFile};
use sealstone_spec::digest::Digest;
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::recipe::{
    LOCK_FILE, Lock, MAX_LOCK_BYTES, MAX_RECIPE_BYTES, RECIPE_FILE, Recipe,
};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What changed from one bundle to another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseDifference {
    /// The older one's manifest.
    pub base: Option<Digest>,
    /// The other's.
    pub now: Option<Digest>,
    /// Files on both sides with the same digest.
    pub files_same: u64,
    /// Files that changed, came or went, by path.
    pub files: Vec<FileChange>,
    /// Whether both bundles hold a lock; without it the lists below are empty for want of knowledge.
    pub locks: bool,
    /// Parameters.
    pub parameters: Vec<ValueChange>,
    /// Metrics.
    pub metrics: Vec<ValueChange>,
    /// Whether metrics are judged: the newer recipe was read, the newer lock was made from it, and both locks speak of
    /// the files that the bundles have.
    pub judged: bool,
    /// Every metric by the newer recipe's rule between releases: better is no loss.
    pub regressions: Vec<Regression>,
    /// Pinned inputs.
    pub data: Vec<ValueChange>,
    /// Stages: commands, seeds, threads, devices.
    pub stages: Vec<ValueChange>,
    /// Facts of the environment.
    pub environment: Vec<ValueChange>,
    /// Packages and libraries.
    pub dependencies: Vec<ValueChange>,
}

/// A file that is not the same on both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FileChange {
    /// Its path.
    pub path: String,
    /// Its digest before; none if it is new.
    pub base: Option<Digest>,
    /// Its digest now; none if it went.
    pub now: Option<Digest>,
    /// Its size before.
    pub base_size: Option<u64>,
    /// Its size now.
    pub now_size: Option<u64>,
}

/// A value that is not the same on both sides, as JSON text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ValueChange {
    /// What it is called.
    pub name: String,
    /// What a parameter does, where the newer recipe says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    /// Its value before; none if it is new.
    pub base: Option<String>,
    /// Its value now; none if it went.
    pub now: Option<String>,
}

impl ReleaseDifference {
    /// Whether nothing that is known differs.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }
}

/// Compares two bundles by their manifests, and by their locks where both have one.
///
/// # Errors
/// If one of them is no bundle, or a lock is not what its digest or its form says.
pub async fn compare_releases(
    base: (&dyn Store, &VerifiedManifest),
    now: (&dyn Store, &VerifiedManifest),
) -> Result<ReleaseDifference> {
    let (before, after) = (files_of(base.1)?, files_of(now.1)?);
    let mut difference = ReleaseDifference {
        base: Some(*base.1.digest()),
        now: Some(*now.1.digest()),
        ..ReleaseDifference::default()
    };
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for path in paths {
        let (one, two) = (before.get(path), after.get(path));
        let content = |file: Option<&BundleFile>| file.map(|file| (file.digest, file.executable));
        if content(one) == content(two) {
            difference.files_same += 1;
            continue;
        }
        difference.files.push(FileChange {
            path: path.clone(),
            base: one.map(|file| file.digest),
            now: two.map(|file| file.digest),
            base_size: one.map(|file| file.size),
            now_size: two.map(|file| file.size),
        });
    }
    let (one, two) = (
        read_lock(base.0, base.1).await?,
        read_lock(now.0, now.1).await?,
    );
    if let (Some(one), Some(two)) = (one, two) {
        difference.locks = true;
        difference.sort_out(&value_of(&one)?, &value_of(&two)?);
        if let Some(recipe) = read_recipe(now.0, now.1).await? {
            for change in &mut difference.parameters {
                let role = recipe.params().role_of(&change.name);
                change.role = role.map(|role| role.as_str());
            }
            // By the rules of a recipe that its lock is not of, or by the figures of other files, any loss could be
            // called kept.
            difference.judged = two.disagreements(&recipe).is_empty()
                && is_of_files(&one, &before)
                && is_of_files(&two, &after);
            if difference.judged {
                difference.regressions = regressions(&recipe, &one, &two);
            }
        }
    }
    Ok(difference)
}

/// Whether a bundle's files are those that the lock speaks of, as far as it holds them.
fn is_of_files(lock: &Lock, files: &BTreeMap<String, BundleFile>) -> bool {
    lock.files.iter().all(|file| {
        let held = files.get(file.path.as_str());
        held.is_none_or(|held| (held.digest, held.executable) == (file.digest, file.executable))
    })
}

fn value_of(lock: &Lock) -> Result<Value> {
    serde_json::to_value(lock.clone().into_document())
        .map_err(|error| Error::other("a lock cannot be read as JSON").source(error))
}

/// The recipe; none if there is none, or if it is no recipe that this version knows.
async fn read_recipe(store: &dyn Store, manifest: &VerifiedManifest) -> Result<Option<Recipe>> {
    let Ok(bundle) = Bundle::read(manifest) else {
        return Ok(None);
    };
    let bytes = file_bytes(store, manifest, &bundle, RECIPE_FILE, MAX_RECIPE_BYTES).await?;
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    Ok(text.and_then(|text| Recipe::parse(&text).ok()))
}

fn files_of(manifest: &VerifiedManifest) -> Result<BTreeMap<String, BundleFile>> {
    let bundle = Bundle::read(manifest).map_err(|error| {
        Error::usage(format!("{} is no bundle", manifest.digest())).source(error)
    })?;
    let files = bundle.files().iter().cloned();
    Ok(files.map(|file| (file.path.to_string(), file)).collect())
}

async fn read_lock(store: &dyn Store, manifest: &VerifiedManifest) -> Result<Option<Lock>> {
    let files = files_of(manifest)?;
    let Some(file) = files.get(LOCK_FILE) else {
        return Ok(None);
    };
    let layer = manifest
        .layers()
        .iter()
        .find(|layer| layer.digest == file.digest);
    let Some(layer) = layer else {
        return Ok(None);
    };
    let bytes = store.blob_bytes(layer, MAX_LOCK_BYTES as u64).await?;
    Lock::parse(&bytes)
        .map(Some)
        .map_err(|error| unread(manifest.digest(), &error))
}

/// Facts that are packages or libraries.
pub(super) const DEPENDENCIES: [&str; 3] =
    ["python.packages", "native.libraries", "system.packages"];
/// Parts of a stage that differ on every run and mean nothing.
const MEASURED: [&str; 8] = [
    "usage",
    "started",
    "log",
    "key",
    "key_parts",
    "keyParts",
    "trace",
    "runner",
];

impl ReleaseDifference {
    fn sort_out(&mut self, base: &Value, now: &Value) {
        let part =
            |value: &Value, pointer: &str| value.pointer(pointer).cloned().unwrap_or_default();
        let changes = |pointer: &str| changes(&part(base, pointer), &part(now, pointer));
        self.parameters = changes("/params");
        self.metrics = changes("/metrics");
        self.data = changes("/inputs");
        self.stages = changes("/stages");
        self.stages.retain(|change| {
            !change
                .name
                .split('.')
                .nth(1)
                .is_some_and(|part| MEASURED.contains(&part))
        });
        for change in changes("/environment/document/facts") {
            match DEPENDENCIES
                .iter()
                .any(|name| change.name.starts_with(name))
            {
                true => self.dependencies.push(change),
                false => self.environment.push(change),
            }
        }
    }
}

/// The leaves that differ; lists of things with a name or path are matched by it.
fn changes(base: &Value, now: &Value) -> Vec<ValueChange> {
    let (mut one, mut two) = (BTreeMap::new(), BTreeMap::new());
    flatten(base, String::new(), &mut one);
    flatten(now, String::new(), &mut two);
    let names: BTreeSet<&String> = one.keys().chain(two.keys()).collect();
    let differs = |name: &&&String| one.get(**name) != two.get(**name);
    names
        .iter()
        .filter(differs)
        .map(|name| ValueChange {
            name: (**name).clone(),
            role: None,
            base: one.get(*name).cloned(),
            now: two.get(*name).cloned(),
        })
        .collect()
}

fn flatten(value: &Value, name: String, leaves: &mut BTreeMap<String, String>) {
    let below = |key: &str| match name.is_empty() {
        true => key.to_owned(),
        false => format!("{name}.{key}"),
    };
    match value {
        Value::Object(map) => {
            for (key, item) in map {
                flatten(item, below(key), leaves);
            }
        }
        Value::Array(list) => {
            for (place, item) in list.iter().enumerate() {
                let known = ["/name", "/path", "/content/path"];
                let called = known
                    .iter()
                    .find_map(|pointer| item.pointer(pointer)?.as_str());
                let key = called.map_or_else(|| place.to_string(), str::to_owned);
                flatten(item, below(&key), leaves);
            }
        }
        Value::Null => {}
        Value::String(text) => {
            leaves.insert(name, text.clone());
        }
        other => {
            leaves.insert(name, other.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn changes_are_called_by_names() {
        let base = json!({"params": {"optim.lr": "0.1"}, "stages": [
            {"name": "train", "argv": ["python", "train.py"], "seed": 1, "usage": {"wall": "3"}}],
            "metrics": {"auc": {"value": "0.91"}},
            "environment": {"document": {"facts": {"cpu.count": 2, "python.packages": {"numpy": "1"}}}}});
        let now = json!({"params": {"optim.lr": "0.2"}, "stages": [
            {"name": "prepare", "argv": ["sh"]},
            {"name": "train", "argv": ["python", "train.py"], "seed": 2, "usage": {"wall": "4"}}],
            "metrics": {"auc": {"value": "0.92"}},
            "environment": {"document": {"facts": {"cpu.count": 4, "python.packages": {"numpy": "2"}}}}});
        let mut found = ReleaseDifference::default();
        found.sort_out(&base, &now);
        let names = |list: &[ValueChange]| {
            list.iter()
                .map(|change| change.name.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&found.parameters), ["optim.lr"]);
        assert_eq!(found.parameters[0].now.as_deref(), Some("0.2"));
        assert_eq!(names(&found.metrics), ["auc.value"]);
        assert_eq!(
            names(&found.stages),
            ["prepare.argv.0", "prepare.name", "train.seed"]
        );
        assert_eq!(names(&found.environment), ["cpu.count"]);
        assert_eq!(names(&found.dependencies), ["python.packages.numpy"]);
    }
}
