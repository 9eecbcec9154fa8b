//! Attribution: what a divergence is put down to, with the evidence, and no further than it reaches.
//!
//! Invariant: a single run never proves nondeterminism, and two causes at once are not one of them: then
//! it is [`Attribution::Unknown`], and the findings say what would tell them apart.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What a divergence is put down to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Attribution {
    /// A script or library of the project is another one.
    Code,
    /// An input from outside is another one.
    Data,
    /// A parameter is another one.
    Params,
    /// The machine, the system or the packages are other ones.
    Environment,
    /// The stage does not do the same twice.
    Nondeterminism,
    /// The evidence does not reach.
    Unknown,
}

impl Attribution {
    /// The word in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Attribution::Code => "code",
            Attribution::Data => "data",
            Attribution::Params => "params",
            Attribution::Environment => "environment",
            Attribution::Nondeterminism => "nondeterminism",
            Attribution::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Attribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What it points at.
    pub points_at: Attribution,
    /// What was seen.
    pub text: String,
}

impl Finding {
    /// A finding.
    pub fn new(points_at: Attribution, text: impl Into<String>) -> Finding {
        Finding {
            points_at,
            text: text.into(),
        }
    }
}

/// What running the divergent stage once more has shown. The first run differs from the baseline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Runs {
    /// It was run once.
    #[default]
    Once,
    /// The second run wrote what the first wrote.
    Same,
    /// The second run wrote something else.
    Different,
}

/// Puts a divergence down to something.
///
/// `changes` are the changes at the origin, as (what, which); `runs` what a second run has shown;
/// `facts` the facts of the environment that differ and could matter.
///
/// ```
/// use sealstone_spec::report::{Attribution, Runs, attribute};
/// let (to, findings) = attribute(&[(Attribution::Params, "model.C 1.0→0.8".into())], Runs::Once, &[]);
/// assert_eq!(to, Attribution::Params);
/// assert_eq!(findings[0].text, "model.C 1.0→0.8");
/// assert_eq!(attribute(&[], Runs::Different, &[]).0, Attribution::Nondeterminism);
/// ```
pub fn attribute(
    changes: &[(Attribution, String)],
    runs: Runs,
    facts: &[String],
) -> (Attribution, Vec<Finding>) {
    use Attribution::{Environment, Nondeterminism, Unknown};
    let mut findings: Vec<Finding> = changes
        .iter()
        .map(|(kind, text)| Finding::new(*kind, text.clone()))
        .collect();
    let mut suspects: Vec<Attribution> = changes.iter().map(|(kind, _)| *kind).collect();
    // Facts that stand in a stage's key come as changes; the others explain only what nothing else does.
    let drifted = !facts.is_empty() && !suspects.contains(&Environment);
    if drifted {
        let some: Vec<&str> = facts.iter().take(5).map(String::as_str).collect();
        let more = facts.len().saturating_sub(some.len());
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        findings.push(Finding::new(
            Environment,
            format!("facts of the environment differ: {}{more}", some.join(", ")),
        ));
    }
    match runs {
        Runs::Different => {
            suspects.push(Nondeterminism);
            findings.push(Finding::new(
                Nondeterminism,
                "run twice here on the same inputs, the stage wrote two different outputs",
            ));
        }
        Runs::Same => findings.push(Finding::new(
            if suspects.is_empty() {
                Environment
            } else {
                suspects[0]
            },
            "run twice here on the same inputs, the stage wrote the same outputs both times",
        )),
        Runs::Once => {}
    }
    suspects.sort_unstable();
    suspects.dedup();
    let verdict = match (suspects.as_slice(), runs) {
        ([one], _) => *one,
        ([], _) if drifted => Environment,
        ([], Runs::Same) => {
            findings.push(Finding::new(
                Unknown,
                "no recorded fact differs, so the stage reads something that nobody recorded: the time of the baseline, a name, a file",
            ));
            Unknown
        }
        ([], _) => {
            findings.push(Finding::new(
                Unknown,
                "nothing that is known to decide the outputs changed; --twice tells nondeterminism from a hidden input",
            ));
            Unknown
        }
        (several, _) => {
            let names: Vec<&str> = several.iter().map(|kind| kind.as_str()).collect();
            findings.push(Finding::new(
                Unknown,
                format!(
                    "{} all could have done it; replay with one of them put back",
                    names.join(" and ")
                ),
            ));
            Unknown
        }
    };
    (verdict, findings)
}
