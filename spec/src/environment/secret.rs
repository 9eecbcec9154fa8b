//! What looks like a secret, and therefore never enters a document.
//!
//! A document is pushed with a release and read by everybody who may pull it. The allow-list keeps out
//! what nobody asked for; this keeps out what somebody put into a place that is on the list.
//! Does not find every secret: nothing can. It refuses the shapes that tokens are known to have.

/// Words in the name of a variable or key whose value is not to be shown.
const NAMES: [&str; 12] = [
    "apikey",
    "api_key",
    "auth",
    "bearer",
    "cookie",
    "credential",
    "passphrase",
    "passwd",
    "password",
    "private_key",
    "secret",
    "token",
];

/// Beginnings that tokens of well-known services have, and the least that follows them.
const PREFIXES: [(&str, usize); 16] = [
    ("AKIA", 16),
    ("ASIA", 16),
    ("AIza", 30),
    ("eyJ", 30),
    ("ghp_", 20),
    ("gho_", 20),
    ("ghs_", 20),
    ("github_pat_", 20),
    ("glpat-", 16),
    ("hf_", 20),
    ("npm_", 20),
    ("pypi-", 20),
    ("sk-", 20),
    ("slt_", 16),
    ("xoxb-", 16),
    ("xoxp-", 16),
];

/// Whether a variable of this name holds something that is not to be shown.
///
/// ```
/// use sealstone_spec::environment::is_secret_name;
/// assert!(is_secret_name("HF_TOKEN"));
/// assert!(!is_secret_name("OMP_NUM_THREADS"));
/// ```
pub fn is_secret_name(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    NAMES.iter().any(|word| lower.contains(word))
}

/// Whether a value has the shape of a key, a token or a password.
///
/// ```
/// use sealstone_spec::environment::looks_secret;
/// assert!(looks_secret("https://ana:hunter2@example.com/wheels"));
/// assert!(!looks_secret("sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"));
/// ```
pub fn looks_secret(value: &str) -> bool {
    value.contains("-----BEGIN")
        || has_credentials_in_address(value)
        || value
            .split(|c: char| !(c.is_ascii_alphanumeric() || "_-.+/=".contains(c)))
            .any(is_token)
        || value.split([' ', ';', '&', '?', ',']).any(is_assignment)
}

fn is_token(word: &str) -> bool {
    let token_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    let word = word.rsplit(['=', '/']).next().unwrap_or_default();
    PREFIXES.iter().any(|(prefix, least)| {
        word.strip_prefix(prefix).is_some_and(|rest| {
            rest.len() >= *least
                && rest.bytes().all(token_byte)
                && rest
                    .bytes()
                    .any(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
        })
    })
}

/// `password=...` and the like.
fn is_assignment(word: &str) -> bool {
    word.split_once('=')
        .is_some_and(|(name, value)| is_secret_name(name) && !value.is_empty())
}

/// `scheme://user:password@host`.
fn has_credentials_in_address(value: &str) -> bool {
    value.match_indices("://").any(|(place, _)| {
        let rest = &value[place + 3..];
        let authority = rest.split(['/', '?', '#', ' ']).next().unwrap_or_default();
        authority.rsplit_once('@').is_some_and(|(user, _)| {
            user.split_once(':')
                .is_some_and(|(_, word)| !word.is_empty())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_shapes_are_seen_and_common_values_are_not() {
        for secret in [
            "-----BEGIN PRIVATE KEY-----",
            "AKIAIOSFODNN7EXAMPLE",
            "prefix ghp_16C7e42F292c6912E7710c838347Ae178B4a suffix",
            "TOKEN=x",
            "--index-url=https://u:p@host/simple",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.x",
            "hf_aBcDeFgHiJkLmNoPqRsTuVwXyZ0123",
        ] {
            assert!(looks_secret(secret), "{secret}");
        }
        for open in [
            "",
            "Intel(R) Xeon(R) Processor @ 2.60GHz",
            "3.11.7 (main, Dec  5 2023, 10:00:00) [GCC 12.2.0]",
            "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            ":4096:8",
            "COMPATIBLE,STRICT",
            "https://example.com/a@b",
            "sk-learn",
            "BOOT_IMAGE=/vmlinuz-6.1 root=/dev/sda1",
        ] {
            assert!(!looks_secret(open), "{open}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,80}") {
            let _ = looks_secret(&text);
            let _ = is_secret_name(&text);
        }
    }
}
