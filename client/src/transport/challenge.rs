//! The `WWW-Authenticate` header: what a registry wants to see before it answers.
//!
//! Source: RFC 9110, section 11; the docker token specification. Owns the grammar only.
//! Does not fetch tokens. Invariant: parsing never fails as a whole; what is not understood is left
//! out, because a registry may offer a scheme that nobody here knows beside one that is known.

use std::collections::BTreeMap;

/// One way to authenticate that a registry offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User name and secret with every request.
    Basic,
    /// A token from a token service.
    Bearer(BearerChallenge),
}

/// Where to get a token, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BearerChallenge {
    /// Absolute address of the token service.
    pub(crate) realm: String,
    /// Name of the registry as the token service knows it.
    pub(crate) service: Option<String>,
    /// Space-separated scopes that the refused request would have needed.
    pub(crate) scope: Option<String>,
    /// Why a token that was sent did not do: `invalid_token`, `insufficient_scope`.
    pub(crate) error: Option<String>,
}

/// Reads every header line and returns the strongest challenge that is understood: Bearer before Basic.
pub(crate) fn strongest<'a>(lines: impl IntoIterator<Item = &'a str>) -> Option<Challenge> {
    let mut basic = None;
    for (scheme, mut parameters) in lines.into_iter().flat_map(parse) {
        if scheme.eq_ignore_ascii_case("bearer") {
            if let Some(realm) = parameters.remove("realm").filter(|realm| !realm.is_empty()) {
                return Some(Challenge::Bearer(BearerChallenge {
                    realm,
                    service: parameters.remove("service"),
                    scope: parameters.remove("scope"),
                    error: parameters.remove("error"),
                }));
            }
        } else if scheme.eq_ignore_ascii_case("basic") {
            basic = Some(Challenge::Basic);
        }
    }
    basic
}

/// Splits one header line into schemes with their parameters, names in lowercase.
///
/// A comma parts both parameters and challenges; a word followed by `=` is a parameter, any other
/// word begins a challenge.
pub(crate) fn parse(line: &str) -> Vec<(String, BTreeMap<String, String>)> {
    let mut challenges: Vec<(String, BTreeMap<String, String>)> = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return challenges;
        }
        let end = rest.find(|c: char| !is_token(c)).unwrap_or(rest.len());
        if end == 0 {
            // Something that cannot begin a word: step over it, a whole character.
            let step = rest.chars().next().map_or(1, char::len_utf8);
            rest = &rest[step..];
            continue;
        }
        let (word, after) = rest.split_at(end);
        match after.trim_start_matches([' ', '\t']).strip_prefix('=') {
            // `token68` credentials such as `Negotiate abc==` have no value that is asked for here.
            Some(value) => {
                let (text, remaining) = value_of(value.trim_start_matches([' ', '\t']));
                if let Some((_, parameters)) = challenges.last_mut() {
                    parameters.entry(word.to_ascii_lowercase()).or_insert(text);
                }
                rest = remaining;
            }
            None => {
                challenges.push((word.to_owned(), BTreeMap::new()));
                rest = after;
            }
        }
    }
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

/// A quoted string with backslash escapes, or a bare word up to a comma or space.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut escaped = false;
    for (index, c) in quoted.char_indices() {
        match c {
            _ if escaped => {
                value.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (value, &quoted[index + 1..]),
            _ => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_quoted_parameters_with_commas_inside() {
        let line = r#"Bearer realm="https://h.example/token?a=1,2",service="s",scope="repository:a/b:pull,push",error="insufficient_scope""#;
        let Some(Challenge::Bearer(bearer)) = strongest([line]) else {
            panic!("bearer")
        };
        assert_eq!(bearer.realm, "https://h.example/token?a=1,2");
        assert_eq!(bearer.service.as_deref(), Some("s"));
        assert_eq!(bearer.scope.as_deref(), Some("repository:a/b:pull,push"));
        assert_eq!(bearer.error.as_deref(), Some("insufficient_scope"));
    }

    #[test]
    fn prefers_bearer_whether_in_one_line_or_two() {
        let one = r#"Basic realm="x", Bearer realm="https://t""#;
        assert!(matches!(strongest([one]), Some(Challenge::Bearer(_))));
        assert!(matches!(
            strongest([r#"basic realm="x""#, r#"BEARER Realm=https://t"#]),
            Some(Challenge::Bearer(_))
        ));
        assert_eq!(
            strongest([r#"Digest realm="x", nonce="y""#, "Basic"]),
            Some(Challenge::Basic)
        );
    }

    #[test]
    fn a_bearer_challenge_without_a_realm_is_none() {
        assert_eq!(strongest([r#"Bearer service="s""#]), None);
        assert_eq!(strongest(["Negotiate", ""]), None);
    }

    proptest! {
        #[test]
        fn never_panics(line in "\\PC{0,200}") {
            let _ = parse(&line);
        }

        #[test]
        fn what_is_quoted_comes_back(realm in "[ -~]{1,60}", scope in "[ -~]{0,60}") {
            let quote = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
            let line = format!("Bearer realm=\"{}\", scope=\"{}\"", quote(&realm), quote(&scope));
            let found = parse(&line);
            prop_assert_eq!(found.len(), 1);
            prop_assert_eq!(&found[0].1["realm"], &realm);
            prop_assert_eq!(&found[0].1["scope"], &scope);
        }
    }
}
