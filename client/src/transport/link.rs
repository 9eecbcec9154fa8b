//! The `Link` header of listings: where the next page is.
//!
//! Source: RFC 8288, section 3; OCI distribution specification, "Content Discovery".
//! Owns the grammar. Invariant: only a target whose relation list holds `next` is returned, and only
//! one on the registry that sent it: a page elsewhere would be a page of somebody else's.

use url::Url;

/// The address of the next page, resolved against the page that named it.
///
/// `None` if there is no next page, or if it is on another origin.
pub(crate) fn next_page(page: &Url, headers: &[&str]) -> Option<Url> {
    let target = headers.iter().find_map(|line| next_target(line))?;
    let next = page.join(&target).ok()?;
    (next.origin() == page.origin()).then_some(next)
}

/// The target of the first link value with the relation `next`.
pub(crate) fn next_target(line: &str) -> Option<String> {
    let mut rest = line;
    loop {
        let start = rest.find('<')?;
        let end = start + rest[start..].find('>')?;
        let target = rest[start + 1..end].trim();
        let (is_next, remaining) = parameters(&rest[end + 1..]);
        if is_next {
            return Some(target.to_owned());
        }
        rest = remaining;
    }
}

/// Reads `;name=value` pairs up to the comma that ends the link value; returns whether one of them
/// is the relation `next`, and what follows the comma.
fn parameters(text: &str) -> (bool, &str) {
    let mut is_next = false;
    let mut quoted = false;
    let mut escaped = false;
    let mut start = 0;
    for (index, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ';' if !quoted => {
                is_next |= is_next_relation(&text[start..index]);
                start = index + 1;
            }
            ',' if !quoted => {
                return (
                    is_next | is_next_relation(&text[start..index]),
                    &text[index + 1..],
                );
            }
            _ => {}
        }
    }
    (is_next | is_next_relation(&text[start..]), "")
}

fn is_next_relation(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else {
        return false;
    };
    name.trim().eq_ignore_ascii_case("rel")
        && value
            .trim()
            .trim_matches('"')
            .split_ascii_whitespace()
            .any(|relation| relation.eq_ignore_ascii_case("next"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn finds_the_next_page_among_others() {
        let page = Url::parse("http://h.example:5000/v2/a/tags/list?n=2").unwrap();
        let line = r#"</first,a>; rel="first", </v2/a/tags/list?n=2&last=b%2C1>; title="x, y"; rel="prev next""#;
        let next = next_page(&page, &[line]).unwrap();
        assert_eq!(
            next.as_str(),
            "http://h.example:5000/v2/a/tags/list?n=2&last=b%2C1"
        );
        assert_eq!(next_page(&page, &["</x>; rel=next"]).unwrap().path(), "/x");
        assert_eq!(next_page(&page, &["</x>; rel=\"last\""]), None);
        assert_eq!(next_page(&page, &["</x>"]), None);
        assert_eq!(next_page(&page, &[]), None);
    }

    #[test]
    fn a_page_on_another_registry_is_not_followed() {
        let page = Url::parse("https://h.example/v2/_catalog").unwrap();
        assert_eq!(
            next_page(&page, &["<https://evil.example/v2/_catalog>; rel=next"]),
            None
        );
        assert_eq!(
            next_page(&page, &["<http://h.example/v2/_catalog>; rel=next"]),
            None
        );
        assert_eq!(next_page(&page, &["<//evil.example/>; rel=next"]), None);
    }

    proptest! {
        #[test]
        fn never_panics(line in "\\PC{0,200}") {
            let page = Url::parse("http://h.example/v2/").unwrap();
            let _ = next_page(&page, &[&line]);
        }

        #[test]
        fn a_target_comes_back(target in "/[a-z0-9/?=&,;]{0,40}", title in "[a-z ,;<>]{0,20}") {
            let line = format!("<{target}>; title=\"{title}\"; rel=\"next\"");
            prop_assert_eq!(next_target(&line), Some(target));
        }
    }
}
