//! Package URLs: one name for a package in every ecosystem.
//!
//! Source: package-url/purl-spec. Owns reading, writing and the normal form of the types that Sealstone
//! writes (`oci`, `pypi`). Does not look anything up.
//! Invariant: what is written reads back as the same package.

use data_encoding::HEXUPPER;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::str::FromStr;

/// Longest package URL that is read, in bytes.
const MAX_BYTES: usize = 4096;

/// A package URL in its parts, decoded.
///
/// ```
/// use sealstone_spec::purl::Purl;
/// let purl: Purl = "pkg:pypi/scikit_learn@1.5.0".parse()?;
/// assert_eq!(purl.to_string(), "pkg:pypi/scikit-learn@1.5.0");
/// # Ok::<(), sealstone_spec::purl::PurlError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Purl {
    /// Ecosystem, lowercase.
    pub kind: String,
    /// Elements of the namespace, if any.
    pub namespace: Vec<String>,
    /// Name.
    pub name: String,
    /// Version.
    pub version: Option<String>,
    /// What else tells it apart, by lowercase key; no value is empty.
    pub qualifiers: BTreeMap<String, String>,
    /// Path within the package, by elements.
    pub subpath: Vec<String>,
}

/// Text that is no package URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is no package URL: {problem}")]
pub struct PurlError {
    text: String,
    problem: &'static str,
}

impl Purl {
    /// A package of the Python index, under its normal name.
    pub fn pypi(name: &str, version: &str) -> Purl {
        Purl {
            kind: "pypi".into(),
            namespace: Vec::new(),
            name: pypi_name(name),
            version: Some(version.to_owned()),
            qualifiers: BTreeMap::new(),
            subpath: Vec::new(),
        }
    }

    /// An artifact in a registry: the whole digest is the version; `place` is `registry/repository`.
    pub fn oci(place: &str, digest: &crate::digest::Digest, tag: Option<&str>) -> Purl {
        let name = place.rsplit('/').next().unwrap_or(place).to_lowercase();
        let mut qualifiers = BTreeMap::from([("repository_url".to_owned(), place.to_owned())]);
        if let Some(tag) = tag {
            qualifiers.insert("tag".into(), tag.into());
        }
        Purl {
            kind: "oci".into(),
            namespace: Vec::new(),
            name,
            version: Some(digest.to_string()),
            qualifiers,
            subpath: Vec::new(),
        }
    }
}

/// A Python project's name in its normal form (PEP 503): lowercase, runs of `-`, `_` and `.` as one `-`.
pub fn pypi_name(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for part in name.split(['-', '_', '.']).filter(|part| !part.is_empty()) {
        if !normal.is_empty() {
            normal.push('-');
        }
        normal.push_str(&part.to_ascii_lowercase());
    }
    normal
}

fn encode(out: &mut String, text: &str, also: &str) {
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric()
            || b"-._~".contains(&byte)
            || also.as_bytes().contains(&byte);
        if plain {
            out.push(byte.into());
        } else {
            let _ = write!(out, "%{}", HEXUPPER.encode(&[byte]));
        }
    }
}

fn decode(text: &str) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        match (digit(rest.next()), digit(rest.next())) {
            (Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).expect("two hex digits make a byte"));
            }
            _ => return Err("it has a % without two hex digits"),
        }
    }
    let text = String::from_utf8(bytes).map_err(|_| "it is no UTF-8 when decoded")?;
    if text.chars().any(char::is_control) {
        return Err("it has a control character");
    }
    Ok(text)
}

/// The elements of a path, decoded; empty ones are left out.
fn elements(path: &str) -> Result<Vec<String>, &'static str> {
    path.split('/')
        .filter(|element| !element.is_empty())
        .map(|element| {
            let element = decode(element)?;
            match element.contains('/') {
                true => Err("an element holds a slash"),
                false => Ok(element),
            }
        })
        .collect()
}

impl fmt::Display for Purl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = format!("pkg:{}/", self.kind);
        for element in &self.namespace {
            encode(&mut out, element, "");
            out.push('/');
        }
        encode(&mut out, &self.name, "");
        if let Some(version) = &self.version {
            out.push('@');
            encode(&mut out, version, "");
        }
        for (index, (key, value)) in self.qualifiers.iter().enumerate() {
            out.push(if index == 0 { '?' } else { '&' });
            out.push_str(key);
            out.push('=');
            encode(&mut out, value, ":/,");
        }
        for (index, element) in self.subpath.iter().enumerate() {
            out.push(if index == 0 { '#' } else { '/' });
            encode(&mut out, element, "");
        }
        f.write_str(&out)
    }
}

fn read(text: &str) -> Result<Purl, &'static str> {
    if text.len() > MAX_BYTES {
        return Err("it is longer than 4,096 bytes");
    }
    let rest = text
        .strip_prefix("pkg:")
        .ok_or("it does not begin with pkg:")?;
    let rest = rest.trim_start_matches('/');
    let (rest, subpath) = match rest.split_once('#') {
        Some((rest, subpath)) => (rest, elements(subpath)?),
        None => (rest, Vec::new()),
    };
    if subpath
        .iter()
        .any(|element| [".", ".."].contains(&element.as_str()))
    {
        return Err("its subpath has a . or .. element");
    }
    let (rest, qualifiers) = match rest.split_once('?') {
        Some((rest, qualifiers)) => (rest, read_qualifiers(qualifiers)?),
        None => (rest, BTreeMap::new()),
    };
    // An @ belongs to the version only behind the last slash: namespaces of npm begin with one.
    let name_start = rest.rfind('/').ok_or("it has no type")? + 1;
    let (path, version) = match rest[name_start..].split_once('@') {
        Some((_, "")) => return Err("its version is empty"),
        Some((name, version)) => (&rest[..name_start + name.len()], Some(decode(version)?)),
        None => (rest, None),
    };
    let (kind, path) = path.split_once('/').ok_or("it has no type")?;
    let valid = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
    if !kind.starts_with(|c: char| c.is_ascii_alphabetic()) || !kind.chars().all(valid) {
        return Err("its type is not made of letters, digits, dots and hyphens");
    }
    let mut namespace = elements(path)?;
    let name = namespace.pop().ok_or("it has no name")?;
    let kind = kind.to_ascii_lowercase();
    let name = match kind.as_str() {
        "pypi" => pypi_name(&name),
        "oci" => name.to_lowercase(),
        _ => name,
    };
    if name.is_empty() {
        return Err("it has no name");
    }
    Ok(Purl {
        kind,
        namespace,
        name,
        version,
        qualifiers,
        subpath,
    })
}

fn read_qualifiers(text: &str) -> Result<BTreeMap<String, String>, &'static str> {
    let mut qualifiers = BTreeMap::new();
    for pair in text.split('&') {
        let (key, value) = pair.split_once('=').ok_or("a qualifier has no value")?;
        let key = key.to_ascii_lowercase();
        let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-_".contains(c);
        if !key.starts_with(|c: char| c.is_ascii_lowercase()) || !key.chars().all(valid) {
            return Err(
                "a qualifier's key is not made of letters, digits, dots, hyphens and underscores",
            );
        }
        let value = decode(value)?;
        // An empty value is the same as none.
        if !value.is_empty() && qualifiers.insert(key, value).is_some() {
            return Err("a qualifier stands twice");
        }
    }
    Ok(qualifiers)
}

impl FromStr for Purl {
    type Err = PurlError;

    fn from_str(text: &str) -> Result<Purl, PurlError> {
        read(text).map_err(|problem| PurlError {
            text: text.chars().take(200).collect(),
            problem,
        })
    }
}

impl TryFrom<String> for Purl {
    type Error = PurlError;

    fn try_from(text: String) -> Result<Purl, PurlError> {
        text.parse()
    }
}

impl From<Purl> for String {
    fn from(purl: Purl) -> String {
        purl.to_string()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::digest::Digest;
    use proptest::prelude::*;

    #[test]
    fn is_written_as_the_specification_writes_it() {
        for (given, normal) in [
            ("pkg:pypi/Django@1.11.1", "pkg:pypi/django@1.11.1"),
            ("pkg:PYPI/foo__bar.baz@1", "pkg:pypi/foo-bar-baz@1"),
            (
                "pkg://npm/%40angular/animation@12.3.1",
                "pkg:npm/%40angular/animation@12.3.1",
            ),
            (
                "pkg:oci/debian@sha256:244fd47e07d10?tag=latest&repository_url=docker.io/library/debian",
                "pkg:oci/debian@sha256%3A244fd47e07d10?repository_url=docker.io/library/debian&tag=latest",
            ),
            (
                "pkg:golang/google.golang.org/genproto#googleapis/api/annotations",
                "pkg:golang/google.golang.org/genproto#googleapis/api/annotations",
            ),
        ] {
            let purl: Purl = given.parse().unwrap();
            assert_eq!(purl.to_string(), normal);
            assert_eq!(normal.parse::<Purl>().unwrap(), purl);
        }
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        for (bad, reason) in [
            ("pypi/x@1", "pkg:"),
            ("pkg:pypi", "no type"),
            ("pkg:pypi/", "no name"),
            ("pkg:py pi/x", "letters"),
            ("pkg:pypi/x@", "version is empty"),
            ("pkg:pypi/x@%zz", "two hex"),
            ("pkg:pypi/x@%ff", "UTF-8"),
            ("pkg:pypi/x@%0a", "control"),
            ("pkg:pypi/x@1?a", "no value"),
            ("pkg:pypi/x@1?a=1&A=2", "twice"),
            ("pkg:pypi/x@1#a/../b", ".."),
        ] {
            let error = bad.parse::<Purl>().unwrap_err().to_string();
            assert!(error.contains(reason), "{bad}: {error}");
        }
    }

    #[test]
    fn an_artifact_is_named_by_its_whole_digest() {
        let digest = Digest::sha256(b"x");
        let purl = Purl::oci("r.example:5000/models/Demo", &digest, Some("1.0"));
        assert_eq!(
            purl.to_string(),
            format!(
                "pkg:oci/demo@sha256%3A{}?repository_url=r.example:5000/models/Demo&tag=1.0",
                digest.hex()
            )
        );
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_and_read_again(text in "pkg:(pypi|oci|npm)/[a-zA-Z@%4._/-]{1,20}(@[0-9.%A-Z+]{1,8})?(\\?[a-z]=[a-z%2F]{0,6})?(#[a-z/]{0,6})?") {
            if let Ok(purl) = text.parse::<Purl>() {
                prop_assert_eq!(purl.to_string().parse::<Purl>().unwrap(), purl);
            }
        }

        #[test]
        fn any_name_round_trips(name in "[^\\p{C}/]{1,12}", version in "[^\\p{C}]{1,12}") {
            let purl = Purl { kind: "generic".into(), namespace: vec![], name, version: Some(version), qualifiers: BTreeMap::new(), subpath: vec![] };
            prop_assert_eq!(purl.to_string().parse::<Purl>().unwrap(), purl);
        }
    }
}
