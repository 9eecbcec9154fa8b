//! What a file of a bundle is for, in Sealstone's words.
//!
//! ModelPack knows five kinds; a recipe knows more: which file is data, which an answer that was expected, which
//! the metrics. A packer that knows the recipe writes the role beside the layer; of every other bundle it follows
//! from the kind. Invariant: every file of a bundle has exactly one role.

use crate::bundle::FileKind;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The annotation of a layer that states its file's role.
pub const ANNOTATION_ROLE: &str = "dev.sealstone.role";
/// The annotation of a manifest that names the release it was held against: the digest of its manifest.
pub const ANNOTATION_BASELINE: &str = "dev.sealstone.baseline";

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum BundleRole {
    /// `recipe.toml`: how the model is made.
    Recipe,
    /// `recipe.lock`: what came of it.
    Lock,
    /// Code that stages or tests run.
    Source,
    /// The parameters' file.
    Parameters,
    /// Data from outside.
    Data,
    /// What training wrote.
    Weights,
    /// What is needed to load the weights.
    Config,
    /// What another stage wrote.
    Output,
    /// An output with metrics in it.
    Metrics,
    /// A training trace.
    Trace,
    /// Locked requirements, wheels, a root file system.
    Environment,
    /// What a test reads: golden inputs, expected outputs, schemas.
    Test,
    /// The lock of a profile.
    Baseline,
    /// Something for people.
    Doc,
}

impl BundleRole {
    /// Every role.
    pub const ALL: [BundleRole; 14] = [
        BundleRole::Recipe,
        BundleRole::Lock,
        BundleRole::Source,
        BundleRole::Parameters,
        BundleRole::Data,
        BundleRole::Weights,
        BundleRole::Config,
        BundleRole::Output,
        BundleRole::Metrics,
        BundleRole::Trace,
        BundleRole::Environment,
        BundleRole::Test,
        BundleRole::Baseline,
        BundleRole::Doc,
    ];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            BundleRole::Recipe => "recipe",
            BundleRole::Lock => "lock",
            BundleRole::Source => "source",
            BundleRole::Parameters => "parameters",
            BundleRole::Data => "data",
            BundleRole::Weights => "weights",
            BundleRole::Config => "config",
            BundleRole::Output => "output",
            BundleRole::Metrics => "metrics",
            BundleRole::Trace => "trace",
            BundleRole::Environment => "environment",
            BundleRole::Test => "test",
            BundleRole::Baseline => "baseline",
            BundleRole::Doc => "doc",
        }
    }

    /// The role of a file of which only the kind is known.
    pub fn of_kind(kind: FileKind) -> BundleRole {
        match kind {
            FileKind::Weight => BundleRole::Weights,
            FileKind::WeightConfig => BundleRole::Config,
            FileKind::Doc => BundleRole::Doc,
            FileKind::Code => BundleRole::Source,
            FileKind::Dataset => BundleRole::Data,
        }
    }
}

impl fmt::Display for BundleRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that is no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no role of a file")]
pub struct UnknownRole(pub String);

impl FromStr for BundleRole {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<BundleRole, UnknownRole> {
        let found = BundleRole::ALL
            .into_iter()
            .find(|role| role.as_str() == text);
        found.ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            UnknownRole(shown.escape_debug().to_string())
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written_and_as_json_has_them() {
        for role in BundleRole::ALL {
            assert_eq!(role.as_str().parse::<BundleRole>().unwrap(), role);
            assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
        }
        for bad in ["", "Weights", "weight", "data ", "\u{7}"] {
            assert!(bad.parse::<BundleRole>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn every_kind_has_a_role() {
        let roles: Vec<BundleRole> = FileKind::ALL.map(BundleRole::of_kind).to_vec();
        assert_eq!(roles[0], BundleRole::Weights);
        assert_eq!(roles.len(), FileKind::ALL.len());
    }
}
