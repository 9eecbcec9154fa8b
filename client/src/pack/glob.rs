//! Patterns for paths, as `.gitignore` writes them, without character classes.
//!
//! `*` and `?` stay within one element, `**` crosses elements. A pattern with a slash (other than at
//! its end) starts at the top, one without matches at any depth; a slash at the end means
//! directories only.

use crate::error::{Error, Result};

/// A pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Glob {
    elements: Vec<String>,
    only_directories: bool,
}

impl Glob {
    pub(super) fn parse(text: &str) -> Result<Glob> {
        let refuse = |problem: &str| Error::usage(format!("pattern \"{text}\" {problem}"));
        if text.contains(['[', ']', '{', '}', '\\']) {
            return Err(refuse(
                "has [ ] { } or \\, which are not understood: use *, ** and ?",
            ));
        }
        let only_directories = text.ends_with('/');
        let body = text.strip_suffix('/').unwrap_or(text);
        let anchored = body.contains('/');
        let body = body.strip_prefix('/').unwrap_or(body);
        if body.is_empty() {
            return Err(refuse("names nothing"));
        }
        let mut elements: Vec<String> = body.split('/').map(str::to_owned).collect();
        if elements.iter().any(String::is_empty) {
            return Err(refuse("has an empty element"));
        }
        if !anchored {
            elements.insert(0, "**".to_owned());
        }
        Ok(Glob {
            elements,
            only_directories,
        })
    }

    /// Whether the pattern means this path, given relative to the top with `/` between elements.
    pub(super) fn matches(&self, path: &str, is_directory: bool) -> bool {
        if self.only_directories && !is_directory {
            return false;
        }
        let pattern: Vec<&str> = self.elements.iter().map(String::as_str).collect();
        let path: Vec<&str> = path.split('/').collect();
        matches_elements(&pattern, &path)
    }
}

/// Wildcard matching with one point to return to: linear but for the product of the lengths, so
/// that no pattern makes it slow.
fn matches_with<T, U>(
    pattern: &[T],
    text: &[U],
    is_any: impl Fn(&T) -> bool,
    fits: impl Fn(&T, &U) -> bool,
) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p).is_some_and(&is_any) {
            retry = Some((p, t));
            p += 1;
        } else if pattern.get(p).is_some_and(|item| fits(item, &text[t])) {
            p += 1;
            t += 1;
        } else if let Some((star, from)) = retry {
            retry = Some((star, from + 1));
            (p, t) = (star + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(is_any)
}

fn matches_elements(pattern: &[&str], path: &[&str]) -> bool {
    // `a/**` means what lies in `a`, not `a` itself.
    if let [start @ .., "**"] = pattern
        && !start.is_empty()
        && matches_elements(start, path)
        && !start.contains(&"**")
    {
        return false;
    }
    matches_with(
        pattern,
        path,
        |element| *element == "**",
        |pattern, element| {
            let (pattern, element): (Vec<char>, Vec<char>) =
                (pattern.chars().collect(), element.chars().collect());
            matches_with(
                &pattern,
                &element,
                |c| *c == '*',
                |p, c| *p == '?' || p == c,
            )
        },
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_mean_what_gitignore_means() {
        for (pattern, path, directory, expected) in [
            ("*.tmp", "a.tmp", false, true),
            ("*.tmp", "x/y/a.tmp", false, true),
            ("*.tmp", "a.tmpx", false, false),
            ("/a", "a", false, true),
            ("/a", "x/a", false, false),
            ("x/*.bin", "x/a.bin", false, true),
            ("x/*.bin", "x/y/a.bin", false, false),
            ("x/**/*.bin", "x/y/z/a.bin", false, true),
            ("x/**/*.bin", "x/a.bin", false, true),
            ("x/**", "x/a/b", false, true),
            ("x/**", "x", true, false),
            ("**/x", "a/b/x", false, true),
            ("cache/", "cache", true, true),
            ("cache/", "a/cache", true, true),
            ("cache/", "cache", false, false),
            ("a?c", "abc", false, true),
            ("a?c", "ac", false, false),
            (
                "model-*-of-*.safetensors",
                "model-1-of-2.safetensors",
                false,
                true,
            ),
        ] {
            let glob = Glob::parse(pattern).unwrap();
            assert_eq!(glob.matches(path, directory), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn patterns_that_would_mean_something_else_are_refused() {
        for bad in ["", "/", "a//b", "[a-z]", "{a,b}", "a\\b"] {
            assert!(Glob::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_path_is_matched_by_itself_and_no_pattern_is_slow(path in "[a-c]{1,8}(/[a-c]{1,8}){0,4}", stars in 1usize..20) {
            let exact = format!("/{path}");
            prop_assert!(Glob::parse(&exact).unwrap().matches(&path, false));
            let slow = format!("/{}x", "*a".repeat(stars));
            prop_assert!(!Glob::parse(&slow).unwrap().matches(&"a".repeat(200), false));
        }
    }
}
