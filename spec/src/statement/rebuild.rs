//! The build types of a bundle that was made again: `…/rebuild/v1` to the bit, `…/artifact-equivalence/v1` equal
//! within tolerances.
//!
//! Owns their parameters and what was measured. Their JSON schemas are `spec/schemas/rebuild-v1.schema.json` and
//! `spec/schemas/artifact-equivalence-v1.schema.json`; a test keeps both the same as the code.
//! Invariant: provenance that says "equivalent" says what was compared with what, by which demand, and never that
//! it is the same.

use super::predicate::{Problem, entries, text};
use super::provenance::BuildDefinition;
use crate::compare::Class;
use crate::digest::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Build type of a bundle that was made again, to the bit.
pub const REBUILD: &str = "https://sealstone.dev/buildtypes/rebuild/v1";
/// Build type of a bundle that was made again, equal within tolerances.
pub const EQUIVALENCE: &str = "https://sealstone.dev/buildtypes/artifact-equivalence/v1";

/// Name of the internal parameter that holds [`Measured`].
pub const MEASURED: &str = "measured";

/// How two bundles were found to be equivalent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Method {
    /// Files were compared, number by number where they hold numbers.
    WeightsAllclose,
    /// Metrics were measured again and compared.
    EvalMetrics,
    /// Answers to golden inputs were compared.
    GoldenOutputs,
}

impl Method {
    /// Every method.
    pub const ALL: [Method; 3] = [
        Method::WeightsAllclose,
        Method::EvalMetrics,
        Method::GoldenOutputs,
    ];
}

/// `externalParameters` of both build types.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Parameters {
    /// The bundle that was to be made again, as people call it.
    pub target: String,
    /// How much of it was replayed.
    pub scope: String,
    /// The weakest agreement of anything that was compared; of an equivalence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// What was made, file by file; of an equivalence.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub candidate: BTreeMap<String, Digest>,
    /// How it was compared; of an equivalence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub method: Vec<Method>,
    /// What was demanded; of an equivalence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerances: Option<Tolerances>,
}

/// What the recipe demands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tolerances {
    /// Of each file: the weakest class that is good enough.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub artifacts: BTreeMap<String, Class>,
    /// Of each metric: the rule, as `{"abs": "1e-6"}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, BTreeMap<String, String>>,
}

/// What was found; numbers are text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Measured {
    /// Of each file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub artifacts: BTreeMap<String, MeasuredArtifact>,
    /// Of each metric.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, MeasuredMetric>,
}

/// A file beside that of the bundle.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MeasuredArtifact {
    /// Its digest in the bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Digest>,
    /// The class that was reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// The rule by which numbers were compared: `rel_l2<=1e-9`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What that rule measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<String>,
}

/// A metric beside that of the bundle.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MeasuredMetric {
    /// In the bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<String>,
    /// The difference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delta: Option<String>,
}

impl Parameters {
    /// Reads them.
    ///
    /// # Errors
    /// If one is not known, is missing, or is not what it should be.
    pub fn read(parameters: &Map<String, Value>) -> Result<Parameters, Problem> {
        Parameters::deserialize(parameters).map_err(|error| Problem::new("", error.to_string()))
    }

    /// As JSON, for [`BuildDefinition::external_parameters`].
    pub fn to_map(&self) -> Map<String, Value> {
        to_map(self)
    }
}

impl Measured {
    /// As JSON, for the internal parameter [`MEASURED`].
    pub fn to_value(&self) -> Value {
        Value::Object(to_map(self))
    }
}

fn to_map(value: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(map)) => map,
        _ => unreachable!("texts, lists and maps of texts make a JSON object"),
    }
}

/// Checks a build definition of one of these types.
pub(super) fn check(definition: &BuildDefinition) -> Result<(), Problem> {
    let external = |problem: Problem| -> Problem { problem.within("externalParameters") };
    let parameters = Parameters::read(&definition.external_parameters).map_err(external)?;
    text("target", &parameters.target).map_err(external)?;
    text("scope", &parameters.scope).map_err(external)?;
    entries("candidate", parameters.candidate.len()).map_err(external)?;
    for path in parameters.candidate.keys() {
        text("candidate", path).map_err(external)?;
    }
    let compared = parameters.class.is_some() && parameters.tolerances.is_some();
    let says_nothing = parameters.class.is_none()
        && parameters.method.is_empty()
        && parameters.candidate.is_empty()
        && parameters.tolerances.is_none();
    let problem = match definition.build_type == EQUIVALENCE {
        true if !compared => "class and tolerances say how it is equivalent: one is missing",
        false if !says_nothing => {
            "class, candidate, method and tolerances are of an equivalence, and this says the same"
        }
        _ => "",
    };
    if !problem.is_empty() {
        return Err(external(Problem::new("", problem)));
    }
    if let Some(measured) = definition.internal_parameters.get(MEASURED) {
        Measured::deserialize(measured).map_err(|error| {
            Problem::new(MEASURED, error.to_string()).within("internalParameters")
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::statement::predicate;
    use crate::statement::provenance::Provenance;
    use serde_json::json;

    /// With every field that the code can write.
    fn equivalence() -> Value {
        let digest = Digest::sha256(b"weights");
        json!({
            "buildDefinition": {
                "buildType": EQUIVALENCE,
                "externalParameters": {
                    "target": "models/x", "scope": "full", "class": "numeric",
                    "candidate": {"weights.npy": digest},
                    "method": ["weights-allclose", "eval-metrics", "golden-outputs"],
                    "tolerances": {"artifacts": {"weights.npy": "numeric"}, "metrics": {"auc": {"abs": "1e-6"}}},
                },
                "internalParameters": {"isolation": "I4", "measured": {
                    "artifacts": {"weights.npy": {"target": digest, "class": "numeric",
                        "rule": "rel_l2<=1e-9", "observed": "3e-10"}},
                    "metrics": {"auc": {"target": "0.91", "candidate": "0.91", "delta": "0"}},
                }},
                "resolvedDependencies": [{"name": "bundle", "digest": {"sha256": digest.hex()}}],
            },
            "runDetails": {"builder": {"id": "https://sealstone.dev/replayers/lab"}},
        })
    }

    fn rebuild() -> Value {
        let mut rebuild = equivalence();
        rebuild["buildDefinition"]["buildType"] = json!(REBUILD);
        rebuild["buildDefinition"]["externalParameters"] =
            json!({"target": "models/x", "scope": "full"});
        rebuild["buildDefinition"]["internalParameters"] = json!({"isolation": "I4"});
        rebuild
    }

    fn read(value: &Value) -> Result<Provenance, String> {
        predicate::read(value.as_object().unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn an_equivalence_says_how_and_a_rebuild_says_the_same() {
        for good in [equivalence(), rebuild()] {
            let written = predicate::write(&read(&good).unwrap()).unwrap();
            assert_eq!(Value::Object(written), good);
        }
        let at = |pointer: &str| format!("/buildDefinition/externalParameters{pointer}");
        for field in ["class", "tolerances", "target", "scope"] {
            let mut less = equivalence();
            let parameters = less.pointer_mut(&at("")).unwrap();
            parameters.as_object_mut().unwrap().remove(field).unwrap();
            assert!(read(&less).is_err(), "{field}");
        }
        for (pointer, value) in [
            ("/class", json!("the same")),
            ("/method", json!(["by eye"])),
            ("/candidate", json!({"a": "sha256:00"})),
            ("/tolerances/metrics", json!({"auc": {"abs": 1e-6}})),
            ("/target", json!("")),
        ] {
            let mut wrong = equivalence();
            *wrong.pointer_mut(&at(pointer)).unwrap() = value;
            assert!(read(&wrong).is_err(), "{pointer}");
        }
        let mut more = equivalence();
        more.pointer_mut(&at("")).unwrap()["seed"] = json!("1");
        assert!(read(&more).unwrap_err().contains("seed"));
        let mut measured = equivalence();
        measured["buildDefinition"]["internalParameters"]["measured"]["auc"] = json!("0.9");
        assert!(
            read(&measured)
                .unwrap_err()
                .contains("internalParameters.measured")
        );
        let mut weaker = rebuild();
        weaker.pointer_mut(&at("")).unwrap()["class"] = json!("numeric");
        assert!(read(&weaker).unwrap_err().contains("says the same"));
    }

    #[test]
    fn the_schemas_of_the_build_types_name_what_the_code_reads() {
        let keys =
            |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
        let parameters = |value: &Value| value["buildDefinition"]["externalParameters"].clone();
        for (text, build_type, full) in [
            (
                include_str!("../../schemas/rebuild-v1.schema.json"),
                REBUILD,
                rebuild(),
            ),
            (
                include_str!("../../schemas/artifact-equivalence-v1.schema.json"),
                EQUIVALENCE,
                equivalence(),
            ),
        ] {
            let schema: Value = serde_json::from_str(text).unwrap();
            let stated = &schema["$defs"]["externalParameters"];
            assert_eq!(schema["properties"]["buildType"]["const"], build_type);
            assert_eq!(keys(&stated["properties"]), keys(&parameters(&full)));
            assert_eq!(stated["additionalProperties"], false);
            if build_type == REBUILD {
                continue;
            }
            let tolerances = &stated["properties"]["tolerances"];
            assert_eq!(
                keys(&tolerances["properties"]),
                keys(&parameters(&full)["tolerances"])
            );
            let measured = &schema["$defs"]["measured"];
            let found = &full["buildDefinition"]["internalParameters"]["measured"];
            assert_eq!(keys(&measured["properties"]), keys(found));
            for (part, name) in [("artifacts", "weights.npy"), ("metrics", "auc")] {
                let row = &measured["properties"][part]["additionalProperties"];
                assert_eq!(keys(&row["properties"]), keys(&found[part][name]), "{part}");
                assert_eq!(row["additionalProperties"], false, "{part}");
            }
            let method = &stated["properties"]["method"]["items"]["enum"];
            assert_eq!(*method, json!(Method::ALL));
            assert_eq!(schema["$defs"]["class"]["enum"], json!(Class::ALL));
        }
    }
}
