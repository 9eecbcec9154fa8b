//! Patterns over repository names.
//!
//! `*` stands for any characters within one path element, `**` as a whole element for any number of
//! elements, none included; everything else is literal. There is no other syntax, so that whoever
//! reads a policy knows what a pattern matches.

use crate::name::MAX_NAME_LEN;
use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// A pattern such as `models/**`.
///
/// ```
/// use sealstone_spec::policy::Glob;
/// let glob: Glob = "models/*-prod/**".parse().unwrap();
/// assert!(glob.matches("models/credit-prod") && glob.matches("models/credit-prod/v2/x"));
/// assert!(!glob.matches("models/credit/x-prod"));
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Glob(String);

/// A text that is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pattern \"{pattern}\" can match no repository: {problem}")]
pub struct GlobError {
    /// The text.
    pub pattern: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

const ANY_ELEMENTS: &str = "**";

impl FromStr for Glob {
    type Err = GlobError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let element_problem = |element: &str| {
            if element.is_empty() {
                Some("it has an empty path element")
            } else if element != ANY_ELEMENTS && element.contains(ANY_ELEMENTS) {
                Some("** must be a whole path element")
            } else {
                None
            }
        };
        let is_allowed =
            |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b'/' | b'*');
        let problem = if text.len() > MAX_NAME_LEN {
            Some("it has more than 255 characters")
        } else if !text.bytes().all(is_allowed) {
            Some("names have only lowercase letters, digits and . _ - /")
        } else {
            text.split('/').find_map(element_problem)
        };
        match problem {
            None => Ok(Glob(text.to_owned())),
            Some(problem) => Err(GlobError {
                pattern: text.chars().take(100).collect(),
                problem,
            }),
        }
    }
}

impl Glob {
    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a name matches.
    pub fn matches(&self, name: &str) -> bool {
        let pattern: Vec<&str> = self.0.split('/').collect();
        let elements: Vec<&str> = name.split('/').collect();
        meet(
            &pattern,
            &elements,
            |element| *element == ANY_ELEMENTS,
            |pattern, element| parts_meet(pattern, element),
        )
    }

    /// Whether some name could match both patterns.
    pub fn overlaps(&self, other: &Glob) -> bool {
        let left: Vec<&str> = self.0.split('/').collect();
        let right: Vec<&str> = other.0.split('/').collect();
        meet(
            &left,
            &right,
            |element| *element == ANY_ELEMENTS,
            |left, right| parts_meet(left, right),
        )
    }

    /// Greater is more specific: exact names first, then by the length of the literal start.
    pub(crate) fn specificity(&self) -> (bool, usize) {
        let literal = self.0.find('*');
        (literal.is_none(), literal.unwrap_or(self.0.len()))
    }
}

fn parts_meet(left: &str, right: &str) -> bool {
    meet(
        left.as_bytes(),
        right.as_bytes(),
        |byte| *byte == b'*',
        |left, right| left == right,
    )
}

/// Whether two sequences with wildcards for any number of items have a common instance. A table and
/// not a recursion: patterns come from people and must not cost more than their lengths multiplied.
fn meet<T>(
    left: &[T],
    right: &[T],
    is_any: impl Fn(&T) -> bool,
    same: impl Fn(&T, &T) -> bool,
) -> bool {
    let width = right.len() + 1;
    let mut table = vec![false; (left.len() + 1) * width];
    let at = |row: usize, column: usize| row * width + column;
    for row in (0..=left.len()).rev() {
        for column in (0..=right.len()).rev() {
            let (a, b) = (left.get(row), right.get(column));
            let a_any = a.is_some_and(&is_any);
            let b_any = b.is_some_and(&is_any);
            table[at(row, column)] = match (a, b) {
                (None, None) => true,
                // A wildcard takes nothing, or one item of the other side and goes on.
                _ if a_any || b_any => {
                    let nothing_left = a_any && table[at(row + 1, column)];
                    let nothing_right = b_any && table[at(row, column + 1)];
                    let one_left = b_any && a.is_some() && table[at(row + 1, column)];
                    let one_right = a_any && b.is_some() && table[at(row, column + 1)];
                    nothing_left || nothing_right || one_left || one_right
                }
                (Some(a), Some(b)) => same(a, b) && table[at(row + 1, column + 1)],
                _ => false,
            };
        }
    }
    table[0]
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for Glob {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn glob(text: &str) -> Glob {
        text.parse().unwrap()
    }

    #[test]
    fn star_stays_in_an_element_and_two_stars_do_not() {
        for (pattern, name, expected) in [
            ("**", "a", true),
            ("**", "a/b/c", true),
            ("*", "a", true),
            ("*", "a/b", false),
            ("models/**", "models", true),
            ("models/**", "models/a/b", true),
            ("models/**", "modelsx", false),
            ("models/*", "models/a", true),
            ("models/*", "models/a/b", false),
            ("models/*", "models", false),
            ("a*c/d", "abbc/d", true),
            ("a*c/d", "ac/d", true),
            ("a*c/d", "ab/c/d", false),
            ("**/x", "x", true),
            ("**/x", "a/b/x", true),
            ("**/x", "a/xx", false),
            ("a/**/b/**/c", "a/b/b/c", true),
            ("a/**/b/**/c", "a/c", false),
            ("a.b", "axb", false),
        ] {
            assert_eq!(glob(pattern).matches(name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn patterns_that_can_match_nothing_are_refused() {
        for bad in [
            "", "/a", "a/", "a//b", "A", "a/b**", "***", "a?", "[a]", "{a,b}", "a:b", "é",
        ] {
            assert!(bad.parse::<Glob>().is_err(), "{bad}");
        }
    }

    #[test]
    fn exact_names_are_the_most_specific() {
        let mut globs = ["**", "models/**", "models", "models/a*", "*/a"].map(glob);
        globs.sort_by_key(Glob::specificity);
        assert_eq!(
            globs.each_ref().map(Glob::as_str),
            ["**", "*/a", "models/**", "models/a*", "models"]
        );
    }

    #[test]
    fn a_hostile_pattern_costs_little() {
        let pattern = glob(&"*a".repeat(127));
        assert!(!pattern.matches(&"a".repeat(126)));
        assert!(pattern.matches(&"a".repeat(127)));
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,40}") {
            let _ = text.parse::<Glob>();
        }

        #[test]
        fn what_both_match_overlaps(
            left in "(\\*\\*|[ab*]{1,2})(/(\\*\\*|[ab*]{1,2})){0,3}",
            right in "(\\*\\*|[ab*]{1,2})(/(\\*\\*|[ab*]{1,2})){0,3}",
            name in "[ab]{1,2}(/[ab]{1,2}){0,3}",
        ) {
            if let (Ok(left), Ok(right)) = (left.parse::<Glob>(), right.parse::<Glob>()) {
                if left.matches(&name) && right.matches(&name) {
                    prop_assert!(left.overlaps(&right), "{} {} {}", left, right, name);
                }
                prop_assert_eq!(left.overlaps(&right), right.overlaps(&left));
            }
        }
    }
}
