//! pip's requirements files, as far as they fix everything: `name==version --hash=sha256:...`.
//!
//! Source: pip's documentation, requirements file format and secure installs. A line that does not fix a
//! version and at least one hash is refused with its number: a list that lets something float would make a
//! bill of materials that says nothing.
//! Does not follow `-r` and `-c`, and evaluates no markers.

use super::BomError;
use super::package::{Archive, Package, merge, read_hash};
use crate::purl::pypi_name;

const FILE: &str = "requirements file";
/// Options about where to look and what to take; they change nothing that is fixed by hash.
const PASSED_OVER: [&str; 12] = [
    "--index-url",
    "-i",
    "--extra-index-url",
    "--no-index",
    "--find-links",
    "-f",
    "--no-binary",
    "--only-binary",
    "--prefer-binary",
    "--require-hashes",
    "--pre",
    "--trusted-host",
];

/// Reads the packages of a requirements file.
///
/// # Errors
/// Names the line that is not understood or fixes too little; also if there is none at all.
///
/// ```
/// use sealstone_spec::bom::requirements::parse;
/// let hash = "0".repeat(64);
/// let found = parse(&format!("NumPy==1.26.4 \\\n    --hash=sha256:{hash}  # via x\n"))?;
/// assert_eq!(found[0].to_string(), "numpy 1.26.4");
/// assert!(parse("numpy>=1.26").is_err());
/// # Ok::<(), sealstone_spec::bom::BomError>(())
/// ```
pub fn parse(text: &str) -> Result<Vec<Package>, BomError> {
    let mut packages = Vec::new();
    for (line, content) in logical_lines(text) {
        let refused = |problem: String| BomError::Packages {
            file: FILE,
            line,
            problem,
        };
        if let Some(package) = read_line(&content).map_err(refused)? {
            packages.push(package);
        }
    }
    if packages.is_empty() {
        return Err(BomError::Packages {
            file: FILE,
            line: 0,
            problem: "it names no package".into(),
        });
    }
    Ok(merge(packages))
}

/// Whether a text looks like a requirements file that is meant to fix everything.
pub fn is_locked(text: &str) -> bool {
    text.contains("--hash=") || text.contains("--hash ")
}

/// Lines with their continuations joined and comments removed, by the number of their first line.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, raw) in text.lines().enumerate() {
        // A comment line ends a continuation, as in pip.
        let is_comment = raw.trim_start().starts_with('#');
        let (content, goes_on) = match raw.strip_suffix('\\') {
            Some(content) if !is_comment => (content, true),
            _ => (raw, false),
        };
        let (number, mut joined) = open.take().unwrap_or((index + 1, String::new()));
        if !is_comment {
            joined.push_str(content);
            joined.push(' ');
        }
        if goes_on {
            open = Some((number, joined));
        } else {
            lines.push((number, joined));
        }
    }
    lines.extend(open);
    lines
        .into_iter()
        .map(|(number, line)| (number, without_comment(&line).trim().to_owned()))
        .filter(|(_, line)| !line.is_empty())
        .collect()
}

fn without_comment(line: &str) -> &str {
    let start = line.char_indices().find(|&(at, c)| {
        c == '#'
            && line[..at]
                .chars()
                .next_back()
                .is_none_or(char::is_whitespace)
    });
    start.map_or(line, |(at, _)| &line[..at])
}

fn read_line(line: &str) -> Result<Option<Package>, String> {
    if line.starts_with('-') {
        let option = line.split([' ', '=', '\t']).next().unwrap_or(line);
        return match PASSED_OVER.contains(&option) {
            true => Ok(None),
            false => Err(format!(
                "\"{option}\" is not followed: give the complete list, with hashes"
            )),
        };
    }
    let (requirement, options) = match line.find(" --") {
        Some(at) => line.split_at(at),
        None => (line, ""),
    };
    let (name, version, marker) = read_requirement(requirement.trim())?;
    let mut package = Package::new(&name, &version);
    package.marker = marker;
    let mut words = options.split_whitespace();
    while let Some(word) = words.next() {
        let value = match word.split_once('=') {
            Some(("--hash", value)) => value,
            None if word == "--hash" => words.next().unwrap_or_default(),
            _ => return Err(format!("option \"{}\" is not known", shorten(word))),
        };
        let hash = value
            .split_once(':')
            .and_then(|(algorithm, hex)| read_hash(algorithm, hex))
            .ok_or_else(|| {
                format!(
                    "\"{}\" is no hash of sha256, sha384 or sha512",
                    shorten(value)
                )
            })?;
        package.archives.insert(Archive { hash, url: None });
    }
    if package.archives.is_empty() {
        return Err(format!(
            "\"{name}\" has no --hash, so its bytes are not fixed"
        ));
    }
    Ok(Some(package))
}

/// Name, version and marker of `name[extra]==version ; marker`.
fn read_requirement(text: &str) -> Result<(String, String, Option<String>), String> {
    let (text, marker) = match text.split_once(';') {
        Some((text, marker)) => (text.trim(), Some(marker.trim().to_owned())),
        None => (text, None),
    };
    let end = text
        .find(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c))
        .unwrap_or(text.len());
    let (name, mut rest) = text.split_at(end);
    if pypi_name(name).is_empty() {
        return Err(format!("\"{}\" names no package", shorten(text)));
    }
    if let Some(extras) = rest.trim_start().strip_prefix('[') {
        rest = extras
            .split_once(']')
            .map(|(_, rest)| rest)
            .ok_or("a [ is not closed")?;
    }
    let rest = rest.trim();
    if rest.starts_with('@') {
        return Err(format!(
            "\"{name}\" is named by a URL, which states no version: lock with pylock.toml or uv.lock"
        ));
    }
    let version = rest
        .strip_prefix("===")
        .or_else(|| rest.strip_prefix("=="))
        .map(str::trim)
        .ok_or_else(|| format!("\"{name}\" is not pinned: write {name}==VERSION"))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || ".+!_-".contains(c);
    if version.is_empty() || !version.chars().all(plain) {
        return Err(format!(
            "\"{}\" is no single version of \"{name}\"",
            shorten(version)
        ));
    }
    Ok((name.to_owned(), version.to_owned(), marker))
}

fn shorten(text: &str) -> String {
    text.chars().take(100).collect()
}
