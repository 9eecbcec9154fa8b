//! Conditions of requirements (PEP 508, "environment markers"), read and written anew.
//!
//! Does not say what a condition means and does not look whether its parts are in an order that pip takes: it sees to
//! it that nothing else is in the text.
//! Invariant: what comes out is ASCII on one line, made of the words below, comparisons, brackets and plain texts in
//! quotes, with one space between them.

/// What conditions may ask for.
const VARIABLES: [&str; 12] = [
    "extra",
    "implementation_name",
    "implementation_version",
    "os_name",
    "platform_machine",
    "platform_python_implementation",
    "platform_release",
    "platform_system",
    "platform_version",
    "python_full_version",
    "python_version",
    "sys_platform",
];

const WORDS: [&str; 4] = ["and", "in", "not", "or"];

/// Longer ones before those that they begin with.
const COMPARISONS: [&str; 8] = ["===", "==", "!=", "~=", "<=", ">=", "<", ">"];

/// The condition as it is written here; `None` if it is none.
pub(super) fn written_anew(text: &str) -> Option<String> {
    let mut rest = text.trim_start();
    let mut parts: Vec<String> = Vec::new();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '(' | ')' => 1,
            '"' | '\'' => {
                let inner = rest.get(1..)?.split(first).next()?;
                // Without its other quote, it is as long as what is left.
                rest.get(1 + inner.len()..)
                    .filter(|rest| !rest.is_empty())?;
                let plain = |c: char| c.is_ascii_alphanumeric() || "._+*-".contains(c);
                if !inner.chars().all(plain) {
                    return None;
                }
                parts.push(format!("\"{inner}\""));
                rest = rest.get(inner.len() + 2..)?.trim_start();
                continue;
            }
            'a'..='z' => rest
                .find(|c: char| !(c.is_ascii_lowercase() || c == '_'))
                .unwrap_or(rest.len()),
            _ => COMPARISONS
                .iter()
                .find(|comparison| rest.starts_with(**comparison))?
                .len(),
        };
        let (part, after) = rest.split_at(length);
        if first.is_ascii_lowercase() && !WORDS.contains(&part) && !VARIABLES.contains(&part) {
            return None;
        }
        parts.push(part.to_owned());
        rest = after.trim_start();
    }
    (!parts.is_empty()).then(|| parts.join(" "))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn conditions_are_written_anew_and_hold_nothing_else() {
        for (text, due) in [
            ("python_version > '3'", "python_version > \"3\""),
            (
                "(sys_platform=='linux'and platform_machine\t!= \"arm64\") or extra == 'gpu'",
                "( sys_platform == \"linux\" and platform_machine != \"arm64\" ) or extra == \"gpu\"",
            ),
            ("'win' not in sys_platform", "\"win\" not in sys_platform"),
        ] {
            assert_eq!(written_anew(text).as_deref(), Some(due), "{text}");
            assert_eq!(written_anew(due).as_deref(), Some(due), "again");
        }
        for text in [
            "",
            "python_version > '3",
            "python_version > \"3'",
            "python_version > 3",
            "os.name == 'posix'",
            "os_name == 'a b'",
            "os_name == 'a\\nb'",
            "os_name == '${HOME}'",
            "os_name == 'posix' --no-binary=:all:",
            "os_name == 'posix' # c",
            "os_name == 'posix'\u{c}--no-binary=:all:",
            "os_name == 'é'",
        ] {
            assert_eq!(written_anew(text), None, "{text:?}");
        }
    }
}
