//! Patterns over repository names, as configuration and API tokens have them.
//!
//! Owns: [`RepositoryPattern`], which is `spec`'s [`Glob`] with the serialisation that tokens need.
//! Does not own: the grammar and the matching: rules and release policies must not read the same
//! pattern differently, so there is one implementation. `models/**` matches `models` too.
//! Invariant: a pattern was checked when it was read.

use sealstone_spec::name::RepoName;
use sealstone_spec::policy::{Glob, GlobError};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A text that is no pattern. It shows nothing that could break a line of a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("repository pattern \"{}\" is not valid: {}", .0.pattern.escape_debug(), .0.problem)]
pub struct PatternError(GlobError);

/// A checked pattern: `models/**`, `*/base`, `team-*/model`.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepositoryPattern(Glob);

impl RepositoryPattern {
    /// Whether `name` is one of those that the pattern means.
    pub fn matches(&self, name: &RepoName) -> bool {
        self.0.matches(name.as_str())
    }

    /// Whether every name matches.
    pub fn is_everything(&self) -> bool {
        self.as_str().split('/').all(|element| element == "**")
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for RepositoryPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(RepositoryPattern).map_err(PatternError)
    }
}

impl TryFrom<String> for RepositoryPattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<RepositoryPattern> for String {
    fn from(pattern: RepositoryPattern) -> String {
        pattern.as_str().to_owned()
    }
}

impl fmt::Display for RepositoryPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RepositoryPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, name: &str) -> bool {
        pattern
            .parse::<RepositoryPattern>()
            .unwrap()
            .matches(&name.parse().unwrap())
    }

    /// What a rule gives hangs on this reading, so it is pinned here as well as in `spec`.
    #[test]
    fn one_star_stays_within_an_element_and_two_cross_them() {
        for (pattern, name, expected) in [
            ("models", "models", true),
            ("models", "models/a", false),
            ("models/*", "models/a", true),
            ("models/*", "models", false),
            ("models/*", "models/a/b", false),
            ("models/**", "models", true),
            ("models/**", "models/a/b", true),
            ("models/**", "modelsx/a", false),
            ("**", "a/b/c", true),
            ("*", "a", true),
            ("*", "a/b", false),
            ("**/base", "base", true),
            ("**/base", "a/b/base", true),
            ("**/base", "a/b/base/x", false),
            ("a/**/z", "a/z", true),
            ("a/**/z", "a/b/c/z", true),
            ("a/**/z", "a/b/zz", false),
            ("team-*/m", "team-x/m", true),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} on {name}");
        }
    }

    #[test]
    fn bad_patterns_are_refused() {
        let long = "a".repeat(256);
        for bad in [
            "", "/", "a/", "/a", "a//b", "a**", "**a", "***", "A", "a?", "[a]", "a b", &long,
        ] {
            assert!(bad.parse::<RepositoryPattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn everything_is_only_what_matches_every_name() {
        for (pattern, expected) in [("**", true), ("**/**", true), ("*", false), ("a/**", false)] {
            let pattern: RepositoryPattern = pattern.parse().unwrap();
            assert_eq!(pattern.is_everything(), expected, "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn every_name_is_a_pattern_that_matches_itself(name in "[a-z0-9]{1,8}(/[a-z0-9]{1,8}){0,3}") {
            prop_assert!(matches(&name, &name));
            prop_assert!(matches("**", &name));
        }
    }
}
