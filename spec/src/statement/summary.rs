//! Verification summaries: a verdict by a policy, for those who do not judge themselves. SLSA's VSA.
//!
//! Owns the fields, and that verdict and levels do not contradict each other. A summary is worth what its
//! signer's word is worth: whoever can judge judges the evidence.

use super::predicate::{self, Predicate, Problem, text, texts, uri};
use super::resource::{self, ResourceDescriptor};
use super::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// All of the policy holds.
    Passed,
    /// It does not.
    Failed,
}

/// The predicate of [`predicate::VERIFICATION_SUMMARY`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Who judged.
    pub verifier: Verifier,
    /// When, by the verifier's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_verified: Option<Timestamp>,
    /// Where what was judged is fetched from.
    pub resource_uri: String,
    /// By what policy: with a URI, and a digest of its exact text.
    pub policy: ResourceDescriptor,
    /// Every piece of evidence that was used, with digests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub input_attestations: Vec<ResourceDescriptor>,
    /// The verdict.
    pub verification_result: Verdict,
    /// SLSA levels and other properties that hold; `FAILED` if none do.
    pub verified_levels: Vec<String>,
    /// How many dependencies hold each level; absent if nothing is said about dependencies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dependency_levels: Option<BTreeMap<String, u64>>,
    /// Version of SLSA that the levels mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slsa_version: Option<String>,
}

/// Who judged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verifier {
    /// Their URI.
    pub id: String,
    /// Versions of their software.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub version: BTreeMap<String, String>,
}

const FAILED: &str = "FAILED";

impl Predicate for Summary {
    const TYPE: &'static str = predicate::VERIFICATION_SUMMARY;

    fn check(&self) -> Result<(), Problem> {
        uri("verifier.id", &self.verifier.id)?;
        uri("resourceUri", &self.resource_uri)?;
        self.policy.check("policy")?;
        if self.policy.uri.is_none() {
            return Err(Problem::new("policy.uri", "is missing: name the policy"));
        }
        resource::list("inputAttestations", &self.input_attestations)?;
        let without = self
            .input_attestations
            .iter()
            .position(|it| it.digest.is_empty());
        if let Some(index) = without {
            let at = format!("inputAttestations[{index}].digest");
            return Err(Problem::new(at, "is missing: evidence is named by digest"));
        }
        if let Some(version) = &self.slsa_version {
            text("slsaVersion", version)?;
        }
        self.check_levels()
    }
}

impl Summary {
    fn check_levels(&self) -> Result<(), Problem> {
        let at = "verifiedLevels";
        texts(at, self.verified_levels.iter())?;
        let says_failed = self.verified_levels.iter().any(|level| level == FAILED);
        match self.verification_result {
            Verdict::Passed if says_failed => {
                return Err(Problem::new(
                    at,
                    "says FAILED, but verificationResult is PASSED",
                ));
            }
            Verdict::Failed if self.verified_levels != [FAILED] => {
                let problem = "must be [\"FAILED\"], because verificationResult is FAILED";
                return Err(Problem::new(at, problem));
            }
            _ => {}
        }
        let mut tracks = BTreeSet::new();
        for level in &self.verified_levels {
            let track = level
                .strip_prefix("SLSA_")
                .and_then(|rest| rest.split_once("_LEVEL_"))
                .map(|(track, _)| track);
            if let Some(track) = track
                && !tracks.insert(track)
            {
                let problem = format!("names two levels of the track {track}: name the highest");
                return Err(Problem::new(at, problem));
            }
        }
        Ok(())
    }
}
