//! The ladder of equality: how alike two results are.
//!
//! Invariant: the order of the variants is the order of strength, and the names in documents never change.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How alike two results are; each class is weaker than the ones that follow it.
///
/// ```
/// use sealstone_spec::compare::Class;
/// assert!(Class::BitExact > Class::Numeric);
/// assert!(Class::ContentExact.satisfies(Class::Numeric));
/// assert_eq!("bit_exact".parse::<Class>().unwrap(), Class::BitExact);
/// ```
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// None of the others.
    Divergent,
    /// Metrics lie inside the interval of replicates, or are equivalent within a margin.
    Statistical,
    /// Golden outputs are within tolerance and labels agree; weights may differ.
    Functional,
    /// Every tensor and number is within its tolerance.
    Numeric,
    /// Equal after named stabilisers, or tensor by tensor the same bits in another container.
    ContentExact,
    /// The same bytes.
    #[default]
    BitExact,
}

impl Class {
    /// Every class, the strongest first.
    pub const ALL: [Class; 6] = [
        Class::BitExact,
        Class::ContentExact,
        Class::Numeric,
        Class::Functional,
        Class::Statistical,
        Class::Divergent,
    ];

    /// The name in documents and on command lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::BitExact => "bit_exact",
            Class::ContentExact => "content_exact",
            Class::Numeric => "numeric",
            Class::Functional => "functional",
            Class::Statistical => "statistical",
            Class::Divergent => "divergent",
        }
    }

    /// Whether this is at least what was demanded.
    pub fn satisfies(self, required: Class) -> bool {
        self >= required
    }

    /// The property that a summary of verified properties (SVR) lists for it; `None` for
    /// [`Class::Divergent`], which is none.
    pub fn property(self) -> Option<&'static str> {
        match self {
            Class::BitExact => Some("REPRO_BIT_EXACT"),
            Class::ContentExact => Some("REPRO_CONTENT_EXACT"),
            Class::Numeric => Some("REPRO_NUMERIC"),
            Class::Functional => Some("REPRO_FUNCTIONAL"),
            Class::Statistical => Some("REPRO_STATISTICAL"),
            Class::Divergent => None,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no class.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is no class: use bit_exact, content_exact, numeric, functional, statistical or divergent"
)]
pub struct UnknownClass(String);

impl FromStr for Class {
    type Err = UnknownClass;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Class::ALL
            .into_iter()
            .find(|class| class.as_str() == text)
            .ok_or_else(|| UnknownClass(text.chars().take(40).collect()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_ladder_goes_down_one_by_one() {
        for pair in Class::ALL.windows(2) {
            assert!(pair[0] > pair[1]);
            assert!(pair[0].satisfies(pair[1]) && !pair[1].satisfies(pair[0]));
        }
        assert_eq!(
            Class::default(),
            Class::BitExact,
            "nothing said is the strictest"
        );
    }

    #[test]
    fn names_are_those_of_documents() {
        for class in Class::ALL {
            assert_eq!(class.as_str().parse::<Class>().unwrap(), class);
            let written = serde_json::to_value(class).unwrap();
            assert_eq!(written, class.as_str());
            assert_eq!(serde_json::from_value::<Class>(written).unwrap(), class);
        }
        assert!("exact".parse::<Class>().is_err());
        assert_eq!(Class::Divergent.property(), None);
    }
}
