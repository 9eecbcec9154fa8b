//! What counts as pinned: images by digest, sources by full commit, requirements by version and hash.
//!
//! Does not fetch anything and does not know what exists; it reads the text that people commit.

use super::finding::{Code, Finding, Place};
use super::marker;
use crate::digest::{Algorithm, Digest};

/// The digest that an image reference ends in.
pub(super) fn image_digest(image: &str) -> Result<Digest, String> {
    match image.rsplit_once('@') {
        None => Err(format!("image \"{image}\" has no digest")),
        Some(("", _)) => Err(format!("image \"{image}\" has no name")),
        Some((_, digest)) => Digest::parse(digest)
            .map_err(|error| format!("image \"{image}\" has no usable digest: {error}")),
    }
}

/// Whether a text is a full commit of Git, by SHA-1 or SHA-256.
fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Why a source can become something else over time; `None` if it cannot, or is only a note.
pub(super) fn source_problem(source: &str) -> Option<String> {
    let is_versioned = source.starts_with("git+")
        || source.starts_with("git://")
        || source.starts_with("git@")
        || source.starts_with("hf://")
        || source.ends_with(".git")
        || source.contains(".git@");
    if !is_versioned {
        return None;
    }
    let before_fragment = source.split('#').next().unwrap_or(source);
    let reference = before_fragment
        .rsplit_once('@')
        .map(|(_, reference)| reference);
    match reference {
        Some(reference) if is_commit(reference) => None,
        Some(reference) if !reference.contains(['/', ':']) => Some(format!(
            "source \"{source}\" names \"{reference}\", which is no full commit and can move"
        )),
        _ => Some(format!("source \"{source}\" names no commit")),
    }
}

/// One line of a requirements file that pip would install from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// Name as written, without extras: letters and digits of ASCII, and `._-` between them.
    pub name: String,
    /// Version after `==`: letters and digits of ASCII, and `._+-` after the first.
    pub version: String,
    /// The condition after `;`, written anew: only what PEP 508 has for one, in ASCII.
    pub marker: Option<String>,
    /// Hashes of the files that may be installed.
    pub hashes: Vec<Digest>,
    /// The line.
    pub line: usize,
}

/// Reads a requirements file that pip can install with `--require-hashes`.
///
/// Lines that are not pinned are findings with the code `RE09`, placed in that file; so are those that pip would read
/// as others: it ends lines at more characters than a reader sees, and obeys a comment that names another encoding.
pub fn requirements(text: &str) -> (Vec<Requirement>, Vec<Finding>) {
    let mut found = Vec::new();
    let mut findings: Vec<Finding> = ambiguities(text)
        .into_iter()
        .map(|(line, problem)| {
            let hint = "write the file as plain text in UTF-8, or lock anew: sealstone env lock";
            let place = Place { line, column: 1 };
            Finding::new(Code::Unpinned, place, problem, Some(hint.to_owned()))
        })
        .collect();
    for (line, logical) in logical_lines(text) {
        let place = Place { line, column: 1 };
        let mut unpinned = |problem: String, hint: &str| {
            findings.push(Finding::new(
                Code::Unpinned,
                place,
                problem,
                Some(hint.to_owned()),
            ));
        };
        if let Some(option) = logical.strip_prefix('-') {
            let word = option
                .trim_start_matches('-')
                .split([' ', '='])
                .next()
                .unwrap_or_default();
            match word {
                "e" | "editable" => unpinned(
                    "an editable requirement is whatever lies there".to_owned(),
                    "declare its files as \"in\" of the stages instead",
                ),
                "r" | "requirement" | "c" | "constraint" => unpinned(
                    format!("\"{logical}\" takes in another file, which this lock does not cover"),
                    "write one file with everything: pip-compile --generate-hashes, or uv pip compile --generate-hashes",
                ),
                // Where files come from does not matter where their hashes are known.
                _ => {}
            }
            continue;
        }
        match requirement(&logical, line) {
            Ok(requirement) => found.push(requirement),
            Err((problem, hint)) => unpinned(problem, hint),
        }
    }
    (found, findings)
}

/// Lines that mean something else to pip than to whoever reads them.
///
/// Source: pip, `req_file.py`: `str.splitlines`, and PEP 263 in the first two lines.
fn ambiguities(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let hidden = |c: &char| {
            (c.is_control() && *c != '\t') || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
        };
        if let Some(hidden) = line.chars().find(hidden) {
            let number = u32::from(hidden);
            found.push((
                index + 1,
                format!(
                    "it holds the character U+{number:04X}, at which pip may begin another line"
                ),
            ));
        }
        let encoding = declared_encoding(line).filter(|_| index < 2);
        if let Some(encoding) = encoding.filter(|name| !is_plain_encoding(name)) {
            found.push((
                index + 1,
                format!(
                    "its comment names the encoding \"{encoding}\", by which pip reads another text"
                ),
            ));
        }
    }
    found
}

/// The encoding that a comment names, as PEP 263 has it: `coding[:=]\s*([-\w.]+)`.
fn declared_encoding(line: &str) -> Option<&str> {
    if !line.starts_with('#') {
        return None;
    }
    line.match_indices("coding").find_map(|(at, word)| {
        let rest = line.get(at + word.len()..)?.strip_prefix([':', '='])?;
        let rest = rest.trim_start();
        let is_part = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let length = rest.find(|c: char| !is_part(c)).unwrap_or(rest.len());
        rest.get(..length).filter(|name| !name.is_empty())
    })
}

fn is_plain_encoding(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["utf-8", "utf8", "ascii", "us-ascii"].contains(&name.as_str())
}

/// Lines without comments, with those that end in a backslash joined, and the number of the first.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, raw) in text.lines().enumerate() {
        let comment = if raw.trim_start().starts_with('#') {
            Some(0)
        } else {
            raw.find(" #").or_else(|| raw.find("\t#"))
        };
        let body = &raw[..comment.unwrap_or(raw.len())];
        let (body, goes_on) = match body.trim_end().strip_suffix('\\') {
            Some(body) => (body, true),
            None => (body, false),
        };
        let (line, mut whole) = open.take().unwrap_or((index + 1, String::new()));
        whole.push(' ');
        whole.push_str(body.trim());
        match goes_on {
            true => open = Some((line, whole)),
            false => lines.push((line, whole)),
        }
    }
    lines.extend(open);
    lines
        .into_iter()
        .map(|(line, text)| (line, text.trim().to_owned()))
        .filter(|(_, text)| !text.is_empty())
        .collect()
}

fn requirement(logical: &str, line: usize) -> Result<Requirement, (String, &'static str)> {
    let lock =
        "lock with hashes: pip-compile --generate-hashes, or uv pip compile --generate-hashes";
    let mut words = logical.split_whitespace().peekable();
    let mut specifier = String::new();
    while let Some(word) = words.next_if(|word| !word.starts_with("--")) {
        specifier.push_str(word);
        specifier.push(' ');
    }
    let (requirement, marker) = match specifier.split_once(';') {
        Some((requirement, marker)) => (requirement.trim(), Some(marker)),
        None => (specifier.trim(), None),
    };
    let shown: String = requirement.chars().take(80).collect();
    if requirement.contains('@') || requirement.contains("://") {
        let url = requirement
            .split_once('@')
            .map_or(requirement, |(_, url)| url.trim());
        let hint = "name a release with == and --hash, or declare its files as \"in\"";
        return Err(match source_problem(url) {
            Some(problem) => (problem, hint),
            None => (
                format!("\"{shown}\" is a link, which pip cannot check by hash alone"),
                hint,
            ),
        });
    }
    let Some((name, version)) = requirement.split_once("==") else {
        return Err((format!("\"{shown}\" names no version with =="), lock));
    };
    let version = version.strip_prefix('=').unwrap_or(version).trim();
    let name = name.trim();
    let (name, extras) = match name.split_once('[') {
        Some((name, extras)) => (name.trim(), extras.strip_suffix(']')),
        None => (name, Some("")),
    };
    let are_extras = |extras: &str| extras.chars().all(|c| is_of_name(c) || ", ".contains(c));
    if !is_name(name) || !extras.is_some_and(are_extras) || !is_version(version) {
        return Err((format!("\"{shown}\" names no single version"), lock));
    }
    let marker = match marker.map(marker::written_anew) {
        None => None,
        Some(Some(marker)) => Some(marker),
        Some(None) => {
            let hint =
                "write it as PEP 508 has it, with texts of letters and digits, or leave it out";
            return Err((format!("the condition of \"{shown}\" cannot be read"), hint));
        }
    };
    let mut hashes = Vec::new();
    let options: Vec<&str> = words.collect();
    for option in options.join(" ").split("--hash").skip(1) {
        let text = option
            .trim_start_matches(['=', ' '])
            .split_whitespace()
            .next()
            .unwrap_or_default();
        let digest = Digest::parse(text)
            .ok()
            .filter(|digest| digest.algorithm() != Algorithm::Blake3);
        match digest {
            Some(digest) => hashes.push(digest),
            None => {
                return Err((
                    format!("\"{shown}\" has a hash that is neither sha256 nor sha512"),
                    lock,
                ));
            }
        }
    }
    if hashes.is_empty() {
        return Err((format!("\"{shown}\" has no --hash"), lock));
    }
    Ok(Requirement {
        name: name.to_owned(),
        version: version.to_owned(),
        marker,
        hashes,
        line,
    })
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-".contains(c)
}

fn is_name(text: &str) -> bool {
    text.chars().all(is_of_name)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
}

fn is_version(text: &str) -> bool {
    text.chars().all(|c| is_of_name(c) || c == '+')
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn images_need_a_digest() {
        let hex = "a".repeat(64);
        assert!(image_digest(&format!("registry.local/train/torch@sha256:{hex}")).is_ok());
        for bad in [
            "torch:2.1",
            "torch",
            "torch@sha256:12",
            &format!("@sha256:{hex}"),
        ] {
            assert!(image_digest(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn references_have_to_be_full_commits() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        for good in [
            format!("git+https://host/x.git@{commit}"),
            format!("hf://org/encoder@{commit}"),
            format!("git+ssh://git@host/x.git@{commit}#subdirectory=a"),
            "s3://lake/a@b.csv".into(),
            "https://host/file.csv".into(),
        ] {
            assert_eq!(source_problem(&good), None, "{good}");
        }
        for bad in [
            "git+https://host/x.git@main".to_owned(),
            "git+https://host/x.git".into(),
            format!("git+https://host/x.git@{}", &commit[..12]),
            "hf://org/encoder".into(),
            "hf://org/encoder@main".into(),
            "git+ssh://git@host/x.git".into(),
        ] {
            assert!(source_problem(&bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn requirements_need_version_and_hash() {
        let hash = format!("--hash=sha256:{}", "ab".repeat(32));
        let text = format!(
            "# made by a tool\n--index-url https://elsewhere\nnumpy==2.1.0 \\\n    {hash} \\\n    {hash}  # via x\nscipy[a] == 1.0 ; python_version > \"3\" {hash}\n\npandas>=2\nrequests==2.0\n-e .\n-r other.txt\ntorch @ https://x/y.whl {hash}\nx @ git+https://h/x.git@main\ny==1.* {hash}\n"
        );
        let (found, findings) = requirements(&text);
        let names: Vec<_> = found
            .iter()
            .map(|item| {
                (
                    item.name.as_str(),
                    item.version.as_str(),
                    item.hashes.len(),
                    item.line,
                )
            })
            .collect();
        assert_eq!(names, [("numpy", "2.1.0", 2, 3), ("scipy", "1.0", 1, 6)]);
        assert_eq!(found[0].marker, None);
        assert_eq!(found[1].marker.as_deref(), Some("python_version > \"3\""));
        let lines: Vec<usize> = findings.iter().map(|finding| finding.place.line).collect();
        assert_eq!(lines, [8, 9, 10, 11, 12, 13, 14], "{findings:#?}");
        assert!(
            findings
                .iter()
                .all(|finding| finding.code == Code::Unpinned)
        );
    }
    #[test]
    fn lines_that_pip_would_read_as_others_are_findings() {
        let good = format!("tiny==1.0 --hash=sha256:{}\n", "ab".repeat(32));
        for end in [
            "\r", "\u{b}", "\u{c}", "\u{1c}", "\u{1d}", "\u{1e}", "\u{85}", "\u{2028}", "\u{2029}",
        ] {
            let (_, findings) = requirements(&format!("# c{end}--no-binary=:all:\n{good}"));
            assert_eq!(findings.len(), 1, "{end:?}: {findings:#?}");
            assert_eq!(findings[0].place.line, 1);
        }
        for text in [
            "# -*- coding: unicode_escape -*-\n# c\\n--no-binary=:all:\n",
            "\n#coding=utf_7\n",
            "# coding x coding:\t rot13\n",
        ] {
            let (found, findings) = requirements(&format!("{text}{good}"));
            assert_eq!((found.len(), findings.len()), (1, 1), "{text}");
        }
        for text in [
            "# -*- coding: utf-8 -*-\n",
            "# made by coding\r\n",
            "\n\n# coding: rot13\n",
        ] {
            let (found, findings) = requirements(&format!("{text}{good}"));
            assert_eq!((found.len(), findings.len()), (1, 0), "{text}");
        }
    }

    #[test]
    fn names_versions_and_conditions_are_plain() {
        let hash = format!("--hash=sha256:{}", "ab".repeat(32));
        for bad in [
            "ti ny==1.0",
            "tiny==1.0 1",
            "tiny==-r",
            "-tiny==1",
            "tiny[a==1.0",
            "tiny[a;b]==1.0",
            "tiny==1.0\u{2028}x",
            "tïny==1.0",
            "tiny==1.0 ; os_name == '$X'",
            "tiny==1.0 ;",
        ] {
            let (found, _) = requirements(&format!("{bad} {hash}\n"));
            assert!(found.is_empty(), "{bad}: {found:?}");
        }
        let (found, findings) = requirements(&format!("a_b.c[x, y] == 1.0+cpu {hash}\n"));
        assert!(findings.is_empty(), "{findings:#?}");
        assert_eq!(
            (found[0].name.as_str(), found[0].version.as_str()),
            ("a_b.c", "1.0+cpu")
        );
    }
}
