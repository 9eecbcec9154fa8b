//! `WWW-Authenticate` values: what to do to be let in.
//!
//! Owns: their form and quoting. Does not own: when one is sent (`api`).
//! Invariant: whatever goes in (the realm is made from the request's `Host`), what comes out is one
//! valid header value with balanced quotes; what cannot be quoted is left out.

use super::scope::Scope;
use http::HeaderValue;

/// Why the last attempt did not do (RFC 6750, 3.1). Clients act on it: skopeo fetches a token of the
/// wanted scope on the one and a fresh token on the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BearerError {
    /// The token covers less than the request needs.
    InsufficientScope,
    /// The token has expired or proves nothing.
    InvalidToken,
}

/// `Bearer realm="…",service="…",scope="…",error="…"`. `realm` is the URL of the token endpoint.
/// Everything is quoted: containerd does not read bare values.
pub fn bearer(
    realm: &str,
    service: &str,
    scopes: &[Scope],
    error: Option<BearerError>,
) -> HeaderValue {
    let mut value = format!(
        r#"Bearer realm="{}",service="{}""#,
        quoted(realm),
        quoted(service)
    );
    if !scopes.is_empty() {
        let scopes: Vec<String> = scopes.iter().map(Scope::to_string).collect();
        value.push_str(&format!(r#",scope="{}""#, quoted(&scopes.join(" "))));
    }
    if let Some(error) = error {
        let error = match error {
            BearerError::InsufficientScope => "insufficient_scope",
            BearerError::InvalidToken => "invalid_token",
        };
        value.push_str(&format!(r#",error="{error}""#));
    }
    header(&value)
}

/// `Basic realm="…",charset="UTF-8"`.
pub fn basic(realm: &str) -> HeaderValue {
    header(&format!(
        r#"Basic realm="{}",charset="UTF-8""#,
        quoted(realm)
    ))
}

/// The inside of a quoted string (RFC 9110, 5.6.4), printable ASCII only.
fn quoted(text: &str) -> String {
    let mut inside = String::with_capacity(text.len());
    for character in text.chars().filter(|c| matches!(c, ' '..='~')) {
        if matches!(character, '"' | '\\') {
            inside.push('\\');
        }
        inside.push(character);
    }
    inside
}

fn header(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).expect("printable ASCII is a header value")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::auth::verb::Verb;
    use proptest::prelude::*;

    #[test]
    fn challenges_have_the_form_that_clients_read() {
        let scope = Scope::for_verb(Verb::Push, &"a/b".parse().unwrap());
        let value = bearer(
            "https://r.example/token",
            "r.example",
            &[scope, Scope::Catalog],
            Some(BearerError::InsufficientScope),
        );
        assert_eq!(
            value.to_str().unwrap(),
            r#"Bearer realm="https://r.example/token",service="r.example",scope="repository:a/b:pull,push registry:catalog:*",error="insufficient_scope""#
        );
        let value = bearer(
            "http://h:5000/token",
            "s",
            &[],
            Some(BearerError::InvalidToken),
        );
        assert_eq!(
            value.to_str().unwrap(),
            r#"Bearer realm="http://h:5000/token",service="s",error="invalid_token""#
        );
        assert_eq!(
            basic("sealstone").to_str().unwrap(),
            r#"Basic realm="sealstone",charset="UTF-8""#
        );
    }

    #[test]
    fn nothing_breaks_out_of_the_quotes() {
        let value = bearer(
            "https://x\",error=\"\\\r\nSet-Cookie: a=b\u{0}ä/token",
            "s",
            &[],
            None,
        );
        assert_eq!(
            value.to_str().unwrap(),
            r#"Bearer realm="https://x\",error=\"\\Set-Cookie: a=b/token",service="s""#
        );
    }

    proptest! {
        #[test]
        fn quoting_round_trips_printable_ascii(text in "[ -~]{0,40}", noise in ".{0,40}") {
            let inside = quoted(&text);
            let mut read = String::new();
            let mut characters = inside.chars();
            while let Some(character) = characters.next() {
                prop_assert_ne!(character, '"');
                read.push(if character == '\\' { characters.next().unwrap() } else { character });
            }
            prop_assert_eq!(read, text);
            basic(&noise);
            bearer(&noise, &noise, &[], None);
        }
    }
}
