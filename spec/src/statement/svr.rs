//! Simple verification results: somebody looked, by these policies, and vouches for these properties.
//!
//! Approvals are such results. Owns the fields; which property means what is for policies to say.

use super::predicate::{self, Predicate, Problem, texts, uri};
use super::resource::{self, ResourceDescriptor};
use super::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

/// The predicate of [`predicate::SVR`].
///
/// ```
/// use sealstone_spec::statement::svr::{Svr, Verifier};
/// use sealstone_spec::statement::predicate;
/// let approval = Svr {
///     verifier: Verifier { id: "mailto:alice@example.com".into(), policies: vec![] },
///     time_created: "2026-01-01T00:00:00Z".parse()?,
///     properties: vec!["ORG_RELEASE_APPROVED".into()],
/// };
/// let written = predicate::write(&approval)?;
/// assert!(predicate::read::<Svr>(&written)?.has("ORG_RELEASE_APPROVED"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Svr {
    /// Who looked, and by what rules.
    pub verifier: Verifier,
    /// When, by the verifier's clock.
    pub time_created: Timestamp,
    /// What holds; at least one.
    pub properties: Vec<String>,
}

/// Who looked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verifier {
    /// Their URI.
    pub id: String,
    /// The rules, and whatever else the result rests on; it must be there, and may be empty.
    pub policies: Vec<ResourceDescriptor>,
}

impl Svr {
    /// Whether it vouches for `property`.
    pub fn has(&self, property: &str) -> bool {
        self.properties.iter().any(|known| known == property)
    }
}

impl Predicate for Svr {
    const TYPE: &'static str = predicate::SVR;

    fn check(&self) -> Result<(), Problem> {
        uri("verifier.id", &self.verifier.id)?;
        resource::list("verifier.policies", &self.verifier.policies)?;
        if self.properties.is_empty() {
            return Err(Problem::new(
                "properties",
                "is empty, so it vouches for nothing",
            ));
        }
        texts("properties", self.properties.iter())
    }
}
