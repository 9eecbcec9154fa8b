//! The document: fields of the predicate, in the names of the wire.
//!
//! Numbers that are not whole are text, so that no reader rounds them; unknown fields are ignored, as
//! in-toto demands of readers. Duplicate keys are not, as everywhere here.

use super::attribution::{Attribution, Finding};
use super::limits;
use super::rows::{FactRow, MetricRow, ResourceRow, StageRow, TestRow};
use super::trace::TraceDifference;
use super::verdict::{Reason, Verdict};
use crate::canonical::{JsonError, parse_value, to_canonical_json};
use crate::compare::Class;
use crate::digest::{Algorithm, Digest};
use crate::environment::Isolation;
use crate::key::KeyId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Why a document is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// Not the JSON of a report.
    #[error("reproduction report: {0}")]
    Json(#[from] JsonError),
    /// A field does not hold what its name says.
    #[error("reproduction report: {field}: {problem}")]
    Field {
        /// Where.
        field: String,
        /// What is wrong.
        problem: String,
    },
    /// The verdict says more than the rows.
    #[error("reproduction report: the verdict is {stated}, but {because} allows {allowed} at best")]
    Verdict {
        /// The verdict in the document.
        stated: Verdict,
        /// The best that the rows allow.
        allowed: Verdict,
        /// The row that decides.
        because: String,
    },
}

impl From<serde_json::Error> for ReportError {
    fn from(error: serde_json::Error) -> Self {
        ReportError::Json(error.into())
    }
}

/// A digest as in-toto writes it: `{"sha256": "<hex>"}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DigestSet(pub Digest);

impl Serialize for DigestSet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([(self.0.algorithm().as_str(), self.0.hex())])
    }
}

impl<'de> Deserialize<'de> for DigestSet {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let set = BTreeMap::<String, String>::deserialize(deserializer)?;
        let known = Algorithm::ALL.into_iter().find_map(|algorithm| {
            let hex = set.get(algorithm.as_str())?;
            Some(format!("{algorithm}:{hex}"))
        });
        let text = known.ok_or_else(|| {
            serde::de::Error::custom("a digest set needs one of sha256, sha512, blake3")
        })?;
        text.parse()
            .map(DigestSet)
            .map_err(serde::de::Error::custom)
    }
}

/// Something that is named by its digest alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestRef {
    /// The digest.
    pub digest: DigestSet,
}

impl From<Digest> for DigestRef {
    fn from(digest: Digest) -> Self {
        DigestRef {
            digest: DigestSet(digest),
        }
    }
}

/// How much of the life of a model was replayed, from the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ReplayScope {
    /// Digests, signatures, policy.
    Verify,
    /// And inference on golden inputs.
    Infer,
    /// And evaluation of the weights that the bundle ships.
    Eval,
    /// A short run of everything, with the parameters, inputs and baseline of a profile.
    Smoke,
    /// Everything: every stage from its inputs on.
    Full,
}

impl ReplayScope {
    /// Every scope, from the least.
    pub const ALL: [ReplayScope; 5] = [
        ReplayScope::Verify,
        ReplayScope::Infer,
        ReplayScope::Eval,
        ReplayScope::Smoke,
        ReplayScope::Full,
    ];

    /// The word in documents and on command lines.
    pub fn as_str(self) -> &'static str {
        match self {
            ReplayScope::Verify => "verify",
            ReplayScope::Infer => "infer",
            ReplayScope::Eval => "eval",
            ReplayScope::Smoke => "smoke",
            ReplayScope::Full => "full",
        }
    }
}

impl fmt::Display for ReplayScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ReplayScope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        ReplayScope::ALL
            .into_iter()
            .find(|scope| scope.as_str() == text)
            .ok_or_else(|| {
                format!("scope \"{text}\" is not known: use verify, infer, eval, smoke or full")
            })
    }
}

/// The class that the recipe demands, and the one that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClassPair {
    /// Demanded.
    pub required: Class,
    /// Reached: the lowest of all artifacts that were compared; absent if none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub achieved: Option<Class>,
}

/// The isolation that the recipe demands, and the one that the machine gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IsolationPair {
    /// Demanded.
    pub required: Isolation,
    /// Reached: the lowest of all stages that ran; absent if none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub achieved: Option<Isolation>,
}

/// How stages were run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mode {
    /// Each stage on the outputs of the stages before it in this replay.
    pub chained: bool,
    /// Each stage on the inputs that the baseline recorded.
    pub isolated: bool,
    /// How often divergent stages were run: 1, or 2 with `--twice`.
    pub runs: u32,
}

/// The release that the replay is held against.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Baseline {
    /// A name for people: `churn-lr:1.4.0~brisk-otter-quartz`.
    pub id: String,
    /// Digest of the bundle's manifest; of the lock when a working directory was replayed.
    pub digest: DigestSet,
}

/// The facts of two environments and where they differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentPair {
    /// The baseline's facts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<DigestRef>,
    /// This machine's facts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<DigestRef>,
    /// Facts that differ.
    #[serde(default)]
    pub diff: Vec<FactRow>,
}

/// Where it began to differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Divergence {
    /// The first stage whose outputs differ and whose inputs do not.
    pub stage: String,
    /// Its first output that differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<String>,
    /// The place in it: `offset:12`, `row:3,column:age`, `tensor:coef[0,17]`, `pointer:/auc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locator: Option<String>,
    /// What was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// What is there now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<String>,
    /// Why this stage and no other.
    pub cause: super::origin::Cause,
    /// Whether every difference lies within what the recipe tolerates.
    #[serde(default)]
    pub tolerated: bool,
    /// The first step of training that differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceDifference>,
    /// What usually does this: identifiers of the catalogue.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

/// One thing that the replay did, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrailEntry {
    /// From 1 on.
    pub seq: u64,
    /// When, RFC 3339 in UTC.
    pub at: String,
    /// What: `verify.signature`, `materialize`, `stage.run`…
    pub event: String,
    /// On what.
    pub subject: String,
    /// Whether it went well.
    pub ok: bool,
    /// More, if there is more to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Who replayed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Builder {
    /// A name of the machine or service.
    pub id: String,
    /// Version of the client.
    pub version: String,
    /// The key that signs this report. A claim: what counts is the key that the signature holds under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyid: Option<KeyId>,
}

/// Something that was taken away from two artifacts before they were compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stabilizer {
    /// Its name: `zip-time`.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// Why it may be used, where the recipe had to say so.
    #[serde(default)]
    pub reason: Option<String>,
}

/// A rule that did not hold and was waived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Override {
    /// `exception`, `accept-isolation`, `insecure`, `tolerance`, `fact`.
    pub kind: String,
    /// Which.
    pub id: String,
    /// When it ends, RFC 3339 or a date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Override {
    /// Whether the recipe itself lets it go, for all to read: a fact of the environment. Any other kind, also one that
    /// is not known here, was waived by whoever replayed.
    pub fn is_of_the_recipe(&self) -> bool {
        self.kind == "fact"
    }
}

/// A table that was too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cut {
    /// Rows that stand in the report.
    pub shown: u64,
    /// Rows that there are.
    pub total: u64,
}

/// A reproduction report: the predicate of a statement whose first subject is the baseline's bundle.
///
/// ```
/// use sealstone_spec::report::{Report, Verdict};
/// let bytes = include_bytes!("../../vectors/report/diverged.json");
/// let report = Report::parse(bytes)?;
/// assert_eq!(report.verdict, Verdict::Diverged);
/// assert_eq!(report.verdict.exit_code(false), 2);
/// # Ok::<(), sealstone_spec::report::ReportError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// How it ended.
    pub verdict: Verdict,
    /// Why it did not end better; empty only for REPRODUCED.
    #[serde(default)]
    pub reasons: Vec<Reason>,
    /// Classes.
    pub class: ClassPair,
    /// What a divergence is put down to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribution: Option<Attribution>,
    /// On which evidence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Finding>,
    /// How much was replayed.
    pub scope: ReplayScope,
    /// How.
    pub mode: Mode,
    /// Isolation.
    pub isolation: IsolationPair,
    /// Against what.
    pub baseline: Baseline,
    /// Who answers for the model, as the recipe says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The recipe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<DigestRef>,
    /// The policy under which the bundle was verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<DigestRef>,
    /// Environments.
    #[serde(default)]
    pub environment: EnvironmentPair,
    /// Stages, in an order in which they can run.
    #[serde(default)]
    pub stages: Vec<StageRow>,
    /// Metrics.
    #[serde(default)]
    pub metrics: Vec<MetricRow>,
    /// Tests.
    #[serde(default)]
    pub tests: Vec<TestRow>,
    /// Where it began to differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_divergence: Option<Divergence>,
    /// What was done.
    #[serde(default)]
    pub trail: Vec<TrailEntry>,
    /// What it took, beside what it took then.
    #[serde(default)]
    pub resources: Vec<ResourceRow>,
    /// Seconds by phase: `fetch`, `materialize`, `run`, `compare`, as decimal text.
    #[serde(default)]
    pub timings: BTreeMap<String, String>,
    /// Who replayed.
    pub builder: Builder,
    /// When it began, RFC 3339 in UTC.
    pub started_on: String,
    /// When it ended, RFC 3339 in UTC.
    pub finished_on: String,
    /// What was taken away before comparing.
    #[serde(default)]
    pub stabilizers: Vec<Stabilizer>,
    /// What was waived.
    #[serde(default)]
    pub overrides: Vec<Override>,
    /// Tables that were cut, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cut: BTreeMap<String, Cut>,
    /// The report with its whole tables, where any was cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<DigestRef>,
}

impl Report {
    /// Reads a report.
    ///
    /// # Errors
    /// Refuses duplicate keys, too much of anything, fields that do not hold what they should, and a
    /// verdict that is better than the rows beside it.
    pub fn parse(bytes: &[u8]) -> Result<Report, ReportError> {
        Report::from_value(parse_value(bytes, limits::MAX_REPORT_BYTES)?)
    }

    /// Reads a report with whole tables: the file that a replay writes, or what it attaches beside a statement whose
    /// report was cut. At most [`limits::MAX_WHOLE_BYTES`] are read.
    ///
    /// # Errors
    /// See [`Report::parse`], but for the lengths of tables.
    pub fn parse_whole(bytes: &[u8]) -> Result<Report, ReportError> {
        let report: Report = serde_json::from_value(parse_value(bytes, limits::MAX_WHOLE_BYTES)?)?;
        limits::check_whole(&report)?;
        Ok(report)
    }

    /// Reads the predicate of a statement.
    ///
    /// # Errors
    /// See [`Report::parse`].
    pub fn from_predicate(predicate: &Map<String, Value>) -> Result<Report, ReportError> {
        Report::from_value(Value::Object(predicate.clone()))
    }

    fn from_value(value: Value) -> Result<Report, ReportError> {
        let report: Report = serde_json::from_value(value)?;
        limits::check(&report)?;
        Ok(report)
    }

    /// Writes the report in the canonical form of RFC 8785.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_canonical_json(self).expect("a report is made of text and whole numbers")
    }

    /// The report as the predicate of a statement.
    pub fn to_predicate(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => map,
            _ => unreachable!("a report is an object with text as keys"),
        }
    }

    /// Sets the verdict to what the reasons and the rows leave.
    pub fn decide(&mut self) {
        let (allowed, _) = limits::best(self);
        self.verdict = allowed;
    }

    /// The same with tables of at most [`limits::MAX_ROWS`] rows: what failed stays, what is fine goes
    /// first. `None` if nothing had to be cut.
    pub fn cut(&self) -> Option<Report> {
        limits::cut(self)
    }
}
