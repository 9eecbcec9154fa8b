//! The tables of a report.

use super::document::DigestRef;
use crate::compare::Class;
use crate::digest::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What became of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[non_exhaustive]
pub enum StageStatus {
    /// Its outputs are what they should be.
    Ok,
    /// It was not run.
    Skipped,
    /// Its outputs differ because those of a stage before it do.
    Inherited,
    /// Its outputs differ, and this is where it began.
    Origin,
    /// It did not come to an end.
    Error,
}

impl StageStatus {
    /// The word in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            StageStatus::Ok => "OK",
            StageStatus::Skipped => "SKIPPED",
            StageStatus::Inherited => "INHERITED",
            StageStatus::Origin => "ORIGIN",
            StageStatus::Error => "ERROR",
        }
    }
}

/// The key of a stage, then and now: a digest of everything that should decide its outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Keys {
    /// In the lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Digest>,
    /// In this replay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<Digest>,
}

/// A stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StageRow {
    /// Its name.
    pub name: String,
    /// `prepare`, `train`, `evaluate`…
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Stages whose outputs it reads.
    #[serde(default)]
    pub needs: Vec<String>,
    /// What became of it.
    pub status: StageStatus,
    /// Its keys.
    #[serde(default)]
    pub key: Keys,
    /// What changed in the key by itself, not through a stage before it: `code`, `params`, `env`, `input`.
    #[serde(default)]
    pub changed: Vec<String>,
    /// Which of them, as `model.C 1.0→0.8` or a path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
    /// The command.
    #[serde(default)]
    pub argv: Vec<String>,
    /// Exit code of the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<i32>,
    /// The signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// How often it was started; a stage that crashes is started once more.
    #[serde(default)]
    pub attempts: u32,
    /// What it took, as the runner measured it; numbers that are not whole are text.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub usage: Map<String, Value>,
    /// Quantities of [`super::Report::resources`] outside of their bounds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub usage_deviation: Vec<String>,
    /// Its output on the terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<DigestRef>,
    /// Line of the stage in recipe.toml.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// More, if there is more to say: why it was skipped, how it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Its outputs.
    #[serde(default)]
    pub artifacts: Vec<ArtifactRow>,
}

/// An output of a stage beside the baseline's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArtifactRow {
    /// Its path.
    pub path: String,
    /// What it is for: `weights`, `data`, `metrics`…
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Its digest then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Digest>,
    /// Its digest now; absent if the stage did not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<Digest>,
    /// The class reached; absent if it could not be compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// The class demanded.
    pub required: Class,
    /// Whether the one is good enough for the other.
    pub ok: bool,
    /// Where and how much it differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<ArtifactDetail>,
}

impl ArtifactRow {
    /// Whether nothing can be said of it: it was written, and has no class. That is no divergence, and no pass.
    pub fn is_open(&self) -> bool {
        self.class.is_none() && self.now.is_some()
    }
}

/// Where and how much an artifact differs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArtifactDetail {
    /// How it was read: `safetensors`, `npy`, `json`…; absent if as bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// The first place that differs: `offset:12`, `row:3,column:age`, `tensor:coef[0,17]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
    /// The place that differs most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst: Option<Worst>,
    /// Rule and result: `rel_l2<=1e-9`, `observed 3.2e-3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What the rule measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<String>,
    /// Why the tolerance is what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The same rows, members or keys in another order.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reordered: bool,
    /// Tensors that differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tensors_differing: Option<u64>,
    /// Tensors that there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tensors: Option<u64>,
    /// Tensors one by one, those that differ first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<TensorRow>,
    /// What a second run of the stage wrote, if it was run twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<Digest>,
    /// More, if there is more to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The element of a tensor that differs most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Worst {
    /// The tensor.
    pub tensor: String,
    /// Its place.
    #[serde(default)]
    pub index: Vec<u64>,
    /// What was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// What is there now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<String>,
    /// Largest absolute difference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_abs: Option<String>,
    /// Norm of the difference by norm of the baseline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rel_l2: Option<String>,
}

/// One tensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TensorRow {
    /// Its name.
    pub name: String,
    /// Type of its elements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<String>,
    /// Its shape.
    #[serde(default)]
    pub shape: Vec<u64>,
    /// Elements that differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<u64>,
    /// Norm of the difference by norm of the baseline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rel_l2: Option<String>,
    /// Largest difference by root mean square of the baseline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaled_max: Option<String>,
    /// Largest absolute difference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_abs: Option<String>,
    /// Mean absolute difference. This and what follows is told and decides nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_abs: Option<String>,
    /// Cosine of the angle between the two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cosine: Option<String>,
    /// 99 of 100 elements are at most this many units in the last place apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_ulp: Option<String>,
    /// Elements that are above zero on one side and below it on the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_flips: Option<u64>,
    /// Elements that are no number now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nan_now: Option<u64>,
    /// Whether it passed.
    pub ok: bool,
}

/// A metric beside the baseline's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricRow {
    /// Its name.
    pub name: String,
    /// Where it was read: `metrics.json#/auc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Its value then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// Its value now; absent if it was not measured, which never passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<String>,
    /// The difference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delta: Option<String>,
    /// The rule: `{"abs": "1e-6"}`.
    #[serde(default)]
    pub rule: BTreeMap<String, String>,
    /// `replay` (two-sided) or `regression` (by direction).
    pub mode: String,
    /// `higher`, `lower` or `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// Whether it passed.
    pub ok: bool,
    /// Whether it could not be decided: unmeasured, too few replicates.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undecided: bool,
    /// The stage that wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// The least step that this metric can make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantum: Option<String>,
    /// How many such steps the difference is: predictions that changed, where it is a mean over predictions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<u64>,
    /// Why the tolerance is what it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Line of the metric in recipe.toml.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// Why it did not pass, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A test of the recipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TestRow {
    /// `inference/golden`.
    pub id: String,
    /// `data`, `serialization`, `inference`; `docs` for a document of the project, which decides nothing.
    pub kind: String,
    /// Whether it passed.
    pub ok: bool,
    /// Whether it could not be made, because something that it reads is not at hand.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undecided: bool,
    /// How long it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// What it wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<DigestRef>,
    /// What was expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// What was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<String>,
    /// The rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Where it differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locator: Option<String>,
    /// Why the test is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Line of the test in recipe.toml.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// Why it did not pass, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A fact of the environment that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FactRow {
    /// Its name: `blas.arch`.
    pub fact: String,
    /// Then.
    #[serde(default)]
    pub base: Option<String>,
    /// Now.
    #[serde(default)]
    pub now: Option<String>,
    /// `M` must match, `W` warns, `i` informs.
    pub level: String,
    /// The exception that lets a must-match fact differ.
    #[serde(default)]
    pub exception: Option<String>,
}

/// Something that was used up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceRow {
    /// The stage.
    pub stage: String,
    /// `wall`, `cpu`, `peakRss`, `gpuMemory`, `threads`, `dataWait`; `limit.NAME` for a limit that nothing enforces.
    pub quantity: String,
    /// `s`, `B` or nothing.
    #[serde(default)]
    pub unit: String,
    /// Then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// Now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<String>,
    /// Now by then, if both were measured alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<String>,
    /// The largest ratio without a warning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<String>,
    /// Whether it lies within.
    pub ok: bool,
    /// How it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
}

impl ResourceRow {
    /// Whether it is a limit that was asked for and that nothing held the stage to: it was neither kept nor broken.
    pub fn is_unenforced(&self) -> bool {
        self.quantity.starts_with("limit.")
    }
}
