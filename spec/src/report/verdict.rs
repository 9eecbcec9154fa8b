//! Verdicts: six words, which of them wins, and what each means to a script.
//!
//! Invariant: a verdict is the worst of its reasons; no reason at all is [`Verdict::Reproduced`], so
//! whoever forgets to look at something must say so with a reason.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How a replay ended. The order is the precedence: of several, the greatest holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum Verdict {
    /// Everything that the scope asks for was done again and is what it should be.
    Reproduced,
    /// The same, and something deserves a look: drift, slower stages, an accepted lower isolation.
    ReproducedWithWarnings,
    /// It could not be decided: another environment than demanded, too few replicates, unmeasured.
    Inconclusive,
    /// Something was built again and is not what it should be.
    Diverged,
    /// A stage crashed twice, or the machine failed: not all of it could be done, and what was seen stands.
    Error,
    /// Bytes or signatures are not what they should be; nothing was run, or nothing after that showed.
    Halted,
}

impl Verdict {
    /// Every verdict, from best to worst.
    pub const ALL: [Verdict; 6] = [
        Verdict::Reproduced,
        Verdict::ReproducedWithWarnings,
        Verdict::Inconclusive,
        Verdict::Diverged,
        Verdict::Error,
        Verdict::Halted,
    ];

    /// The word in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Reproduced => "REPRODUCED",
            Verdict::ReproducedWithWarnings => "REPRODUCED_WITH_WARNINGS",
            Verdict::Inconclusive => "INCONCLUSIVE",
            Verdict::Diverged => "DIVERGED",
            Verdict::Error => "ERROR",
            Verdict::Halted => "HALTED",
        }
    }

    /// The exit code of `sealstone replay`. With `strict`, warnings fail as well.
    pub fn exit_code(self, strict: bool) -> u8 {
        match self {
            Verdict::Reproduced => 0,
            Verdict::ReproducedWithWarnings => u8::from(strict),
            Verdict::Diverged => 2,
            Verdict::Halted => 3,
            Verdict::Error => 4,
            Verdict::Inconclusive => 5,
        }
    }

    /// Whether this says that the bundle was built again.
    pub fn is_reproduced(self) -> bool {
        matches!(self, Verdict::Reproduced | Verdict::ReproducedWithWarnings)
    }

    /// The result in an in-toto test-result: `PASSED`, `WARNED` or `FAILED`.
    pub fn test_result(self) -> &'static str {
        match self {
            Verdict::Reproduced => "PASSED",
            Verdict::ReproducedWithWarnings => "WARNED",
            _ => "FAILED",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a verdict is not the best one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Reason {
    /// The best verdict that this reason leaves.
    pub verdict: Verdict,
    /// What was looked at: `input-digest`, `signature`, `stage`, `artifact`, `metric`, `environment`…
    pub code: String,
    /// Which of them: a path, a stage, a metric's name.
    pub subject: String,
    /// What was found, in words.
    pub text: String,
}

impl Reason {
    /// A reason.
    pub fn new(
        verdict: Verdict,
        code: impl Into<String>,
        subject: impl Into<String>,
        text: impl Into<String>,
    ) -> Reason {
        Reason {
            verdict,
            code: code.into(),
            subject: subject.into(),
            text: text.into(),
        }
    }
}

/// The verdict that the reasons leave: HALTED before ERROR before DIVERGED before INCONCLUSIVE before
/// warnings.
///
/// ```
/// use sealstone_spec::report::{Reason, Verdict, worst};
/// let reason = |verdict| Reason::new(verdict, "metric", "auc", "x");
/// assert_eq!(worst(&[reason(Verdict::Inconclusive), reason(Verdict::Diverged)]), Verdict::Diverged);
/// assert_eq!(worst(&[]), Verdict::Reproduced);
/// ```
pub fn worst(reasons: &[Reason]) -> Verdict {
    reasons
        .iter()
        .map(|reason| reason.verdict)
        .max()
        .unwrap_or(Verdict::Reproduced)
}
