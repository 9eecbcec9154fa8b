//! The same bill as an SPDX 2.3 document, for readers who know no other form.
//!
//! Source: SPDX specification 2.3 and its JSON schema. Every file of the bundle is a package of its own: a file of SPDX
//! must have a SHA-1, and nothing here has one. It is written and not read: statements and comparisons are made with
//! CycloneDX.
//! Invariant: the same contents and time give the same bytes, and no entry of the other form is missing in this one.

use super::BomError;
use super::contents::{Contents, Input};
use super::document::Hash;
use super::package::Package;
use crate::canonical::to_canonical_json;
use crate::digest::Digest;
use crate::statement::Timestamp;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

const DOCUMENT: &str = "SPDXRef-DOCUMENT";
const MODEL: &str = "SPDXRef-Model";
const UNKNOWN: &str = "NOASSERTION";

/// Writes the bill; `created` is its time, which SPDX demands.
///
/// # Errors
/// If two entries have one name.
pub fn write_spdx(contents: &Contents, created: &Timestamp) -> Result<Vec<u8>, BomError> {
    let mut document = Document::default();
    document.add(MODEL.to_owned(), model(contents))?;
    document.relate(DOCUMENT, "DESCRIBES", MODEL);
    for file in &contents.files {
        let id = reference("File", &file.path, &file.digest.to_string());
        let mut entry = entry(&file.path, "FILE");
        entry.insert("packageFileName".into(), json!(file.path));
        entry.insert("checksums".into(), checksums([&Hash::of(&file.digest)]));
        entry.insert(
            "comment".into(),
            json!(format!("{}, {} bytes", file.kind.as_str(), file.size)),
        );
        document.add(id.clone(), entry)?;
        document.relate(MODEL, "CONTAINS", &id);
    }
    for (kind, relation, list) in [
        ("Data", "GENERATED_FROM", &contents.card.datasets),
        ("Base", "DESCENDANT_OF", &contents.card.base_models),
    ] {
        for it in list {
            let id = reference(kind, &it.name, it.version.as_deref().unwrap_or_default());
            document.add(id.clone(), input(it))?;
            document.relate(MODEL, relation, &id);
        }
    }
    let mut by_name: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for it in &contents.packages {
        let id = package_reference(it);
        by_name.entry(&it.name).or_default().push(id.clone());
        document.add(id.clone(), package(it))?;
        document.relate(MODEL, "DEPENDS_ON", &id);
    }
    for it in &contents.packages {
        let own = package_reference(it);
        let needs = it.requires.iter();
        for id in needs.flat_map(|name| by_name.get(name.as_str()).into_iter().flatten()) {
            if *id != own {
                document.relate(&own, "DEPENDS_ON", id);
            }
        }
    }
    let mut written = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": DOCUMENT,
        "name": contents.model.name,
        "documentNamespace": format!("https://sealstone.dev/spdx/{}", document.identity(contents, created)),
        "creationInfo": {"created": seconds(created), "creators": ["Tool: sealstone"]},
        "packages": document.packages.into_values().collect::<Vec<Value>>(),
        "relationships": document.relations.into_iter().map(|(from, relation, to)| json!({
            "spdxElementId": from, "relationshipType": relation, "relatedSpdxElement": to,
        })).collect::<Vec<Value>>(),
    });
    if !contents.environment.is_empty() {
        let facts = to_canonical_json(&contents.environment).expect("made of texts");
        written["annotations"] = json!([{
            "annotationDate": seconds(created),
            "annotationType": "OTHER",
            "annotator": "Tool: sealstone",
            "comment": format!("facts of the environment: {}", String::from_utf8_lossy(&facts)),
        }]);
    }
    Ok(to_canonical_json(&written).expect("made of texts, lists and maps"))
}

#[derive(Default)]
struct Document {
    packages: BTreeMap<String, Value>,
    relations: BTreeSet<(String, &'static str, String)>,
}

impl Document {
    fn add(&mut self, id: String, mut entry: Map<String, Value>) -> Result<(), BomError> {
        entry.insert("SPDXID".into(), json!(id));
        match self.packages.insert(id.clone(), Value::Object(entry)) {
            None => Ok(()),
            Some(_) => Err(BomError::Contents {
                at: id,
                problem: "it stands twice in the bill of materials".into(),
            }),
        }
    }

    fn relate(&mut self, from: &str, relation: &'static str, to: &str) {
        self.relations
            .insert((from.to_owned(), relation, to.to_owned()));
    }

    /// A name that no other document has: a digest of everything in this one.
    fn identity(&self, contents: &Contents, created: &Timestamp) -> String {
        let all = json!([
            "sealstone/spdx/v1",
            self.packages,
            self.relations,
            contents.environment,
            created
        ]);
        let bytes = to_canonical_json(&all).expect("made of texts, lists and maps");
        Digest::sha256(&bytes).hex()
    }
}

fn entry(name: &str, purpose: &str) -> Map<String, Value> {
    let mut entry = Map::new();
    entry.insert("name".into(), json!(name));
    entry.insert("downloadLocation".into(), json!(UNKNOWN));
    entry.insert("filesAnalyzed".into(), json!(false));
    entry.insert("primaryPackagePurpose".into(), json!(purpose));
    entry
}

fn model(contents: &Contents) -> Map<String, Value> {
    let model = &contents.model;
    let mut entry = entry(&model.name, "OTHER");
    let texts = [
        ("versionInfo", &model.version),
        ("description", &model.description),
    ];
    for (key, value) in texts {
        if let Some(value) = value {
            entry.insert(key.into(), json!(value));
        }
    }
    if let Some(vendor) = &model.vendor {
        entry.insert("supplier".into(), json!(format!("Organization: {vendor}")));
    }
    if let Some(author) = model.authors.first() {
        entry.insert("originator".into(), json!(format!("Person: {author}")));
    }
    if let Some(source) = &model.source_url {
        entry.insert("sourceInfo".into(), json!(format!("built from {source}")));
    }
    // People state licences in words that SPDX need not know.
    if !model.licenses.is_empty() {
        let stated = format!("stated: {}", model.licenses.join(", "));
        entry.insert("licenseComments".into(), json!(stated));
    }
    if let Some(digest) = &model.manifest {
        entry.insert("checksums".into(), checksums([&Hash::of(digest)]));
    }
    entry
}

fn input(it: &Input) -> Map<String, Value> {
    let mut entry = entry(&it.name, "OTHER");
    if let Some(version) = &it.version {
        entry.insert("versionInfo".into(), json!(version));
    }
    if let Some(description) = &it.description {
        entry.insert("description".into(), json!(description));
    }
    // SPDX takes only some schemes as a place to download from; a note may say any.
    if let Some(uri) = &it.uri {
        entry.insert("sourceInfo".into(), json!(uri));
    }
    if let Some(digest) = &it.digest {
        entry.insert("checksums".into(), checksums([&Hash::of(digest)]));
    }
    entry
}

fn package(it: &Package) -> Map<String, Value> {
    let mut entry = entry(&it.name, "LIBRARY");
    entry.insert("versionInfo".into(), json!(it.version));
    entry.insert("checksums".into(), checksums(it.hashes()));
    entry.insert(
        "externalRefs".into(),
        json!([{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": it.purl().to_string(),
        }]),
    );
    if let Some(marker) = &it.marker {
        entry.insert("comment".into(), json!(format!("where {marker}")));
    }
    entry
}

/// Hashes of algorithms that SPDX knows: it writes SHA-2 without the dash, and the others as CycloneDX does.
fn checksums<'a>(hashes: impl IntoIterator<Item = &'a Hash>) -> Value {
    let written = hashes.into_iter().map(|hash| {
        let algorithm = match hash.alg.strip_prefix("SHA-") {
            Some(bits) => format!("SHA{bits}"),
            None => hash.alg.clone(),
        };
        json!({"algorithm": algorithm, "checksumValue": hash.content})
    });
    Value::Array(written.collect())
}

fn package_reference(it: &Package) -> String {
    reference("Package", &it.name, &it.version)
}

/// A name that SPDX takes: letters, digits, dots and dashes, and a digest where that is not all.
fn reference(kind: &str, name: &str, more: &str) -> String {
    let plain = |text: &str| -> String {
        let kept = text.chars().take(60);
        kept.map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '-'
            }
        })
        .collect()
    };
    let digest = Digest::sha256(format!("{name}\n{more}").as_bytes()).hex();
    format!("SPDXRef-{kind}-{}-{}", plain(name), &digest[..12])
}

/// SPDX has no fractions of seconds.
fn seconds(time: &Timestamp) -> String {
    let text = time.to_string();
    match text.split_once('.') {
        Some((whole, _)) => format!("{whole}Z"),
        None => text,
    }
}
