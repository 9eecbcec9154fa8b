//! The document as it is read: components, hashes and the graph; everything else is kept as it came.
//!
//! Owns what must hold for the document to mean one thing: references are unique and lead somewhere,
//! hashes have their algorithm's form. Does not validate the whole schema: CycloneDX's own does.

use super::BomError;
use super::package::{Archive, Package};
use crate::canonical::parse_value;
use crate::digest::{Algorithm, Digest};
use crate::envelope::MAX_ENVELOPE_BYTES;
use crate::purl::Purl;
use crate::statement::predicate::{self, Predicate, Problem, entries, text};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Versions of CycloneDX that are read.
pub const VERSIONS: [&str; 4] = ["1.4", "1.5", "1.6", "1.7"];

/// Property of a file: its size in bytes.
pub const PROPERTY_SIZE: &str = "sealstone:size";
/// Property of a file: its kind in the bundle.
pub const PROPERTY_KIND: &str = "sealstone:kind";
/// Property of a package: digest of its installed files, see [`super::installed`].
pub const PROPERTY_INSTALLED: &str = "sealstone:installed";
/// Property of a package: under which condition it is installed.
pub const PROPERTY_MARKER: &str = "sealstone:marker";
/// Start of the properties that are facts of the environment.
pub const PROPERTY_FACT: &str = "sealstone:environment:";

/// A bill of materials; the predicate of [`predicate::CYCLONEDX`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bom {
    /// `CycloneDX`.
    pub bom_format: String,
    /// One of [`VERSIONS`].
    pub spec_version: String,
    /// `urn:uuid:` and a UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
    /// About the bill and what it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// What it consists of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<Component>,
    /// What depends on what.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<Dependency>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// About the bill.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// What it is a bill of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<Component>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// A part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Component {
    /// What it is: `file`, `library`, `data`, `machine-learning-model` and others.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name; of a file, its path.
    pub name: String,
    /// What the graph calls it.
    #[serde(default, rename = "bom-ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Package URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purl: Option<String>,
    /// Its hashes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hashes: Vec<Hash>,
    /// Where more is said of it, or where it is fetched from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub external_references: Vec<ExternalReference>,
    /// Names with values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<Property>,
    /// Parts of the part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<Component>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// A hash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Hash {
    /// Algorithm, by CycloneDX's name.
    pub alg: String,
    /// Value, in hex.
    pub content: String,
}

/// A place that belongs to a part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExternalReference {
    /// What is there: `distribution` is the part itself.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where.
    pub url: String,
    /// Hashes of what is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hashes: Vec<Hash>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// A name with a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Property {
    /// Name.
    pub name: String,
    /// Value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// Arrows from one part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dependency {
    /// The part.
    #[serde(rename = "ref")]
    pub reference: String,
    /// What it depends on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// CycloneDX's names of algorithms, with the length of the hex form and our name, if we have one.
const ALGORITHMS: [(&str, usize, Option<Algorithm>); 12] = [
    ("MD5", 32, None),
    ("SHA-1", 40, None),
    ("SHA-256", 64, Some(Algorithm::Sha256)),
    ("SHA-384", 96, None),
    ("SHA-512", 128, Some(Algorithm::Sha512)),
    ("SHA3-256", 64, None),
    ("SHA3-384", 96, None),
    ("SHA3-512", 128, None),
    ("BLAKE2b-256", 64, None),
    ("BLAKE2b-384", 96, None),
    ("BLAKE2b-512", 128, None),
    ("BLAKE3", 64, Some(Algorithm::Blake3)),
];

impl Hash {
    /// A digest as CycloneDX writes it.
    pub fn of(digest: &Digest) -> Hash {
        let (alg, ..) = ALGORITHMS
            .iter()
            .find(|(_, _, known)| *known == Some(digest.algorithm()))
            .expect("each algorithm of digests has a name in CycloneDX");
        Hash {
            alg: (*alg).to_owned(),
            content: digest.hex(),
        }
    }

    fn check(&self, at: &str) -> Result<(), Problem> {
        let length = ALGORITHMS.iter().find(|(name, ..)| *name == self.alg);
        let hex = self.content.bytes().all(|byte| byte.is_ascii_hexdigit());
        match length {
            Some((_, length, _)) if hex && self.content.len() == *length => Ok(()),
            // Streebog, and whatever a later version names: kept, and never compared with anything.
            None if hex && self.content.len() >= 32 => Ok(()),
            _ => Err(Problem::new(at, format!("is no {} in hex", self.alg))),
        }
    }
}

impl Component {
    /// Its value of a property.
    pub fn property(&self, name: &str) -> Option<&str> {
        let mut properties = self.properties.iter();
        let found = properties.find(|property| property.name == name)?;
        found.value.as_deref()
    }

    /// Whether this is software that nothing is compared with. Files and packages are; data, models and the environment
    /// are described.
    pub(super) fn is_uncomparable(&self) -> bool {
        let known = ["file", "data", "machine-learning-model", "platform"];
        !known.contains(&self.kind.as_str()) && self.package().is_none()
    }

    /// What people find it by.
    pub(super) fn shown(&self) -> String {
        match (&self.purl, &self.version) {
            (Some(purl), _) => purl.clone(),
            (None, Some(version)) => format!("{} {version}", self.name),
            (None, None) => self.name.clone(),
        }
    }

    /// The package, if this is one of the Python index with a version.
    pub(super) fn package(&self) -> Option<Package> {
        let purl: Purl = self.purl.as_deref()?.parse().ok()?;
        if purl.kind != "pypi" {
            return None;
        }
        let mut package = Package::new(&purl.name, &purl.version?);
        let distributions = self
            .external_references
            .iter()
            .filter(|it| it.kind == "distribution");
        let listed = distributions.flat_map(|it| &it.hashes).chain(&self.hashes);
        package.archives = listed
            .map(|hash| Archive {
                hash: Hash {
                    alg: hash.alg.clone(),
                    content: hash.content.to_ascii_lowercase(),
                },
                url: None,
            })
            .collect();
        package.installed = self
            .property(PROPERTY_INSTALLED)
            .and_then(|text| text.parse().ok());
        package.marker = self.property(PROPERTY_MARKER).map(str::to_owned);
        Some(package)
    }
}

impl Bom {
    /// Reads a document.
    ///
    /// # Errors
    /// If it is no bill of materials, is of a version that is not read, or contradicts itself.
    pub fn parse(bytes: &[u8]) -> Result<Bom, BomError> {
        let refused = |problem: String| BomError::Document(problem);
        match parse_value(bytes, MAX_ENVELOPE_BYTES) {
            Ok(Value::Object(map)) => {
                predicate::read(&map).map_err(|error| refused(error.to_string()))
            }
            Ok(_) => Err(refused("it is no JSON object".into())),
            Err(error) => Err(refused(error.to_string())),
        }
    }

    /// Every component, parts of parts as well; what it is a bill of is not among them.
    pub fn all_components(&self) -> Vec<&Component> {
        let mut found = Vec::new();
        let mut queue: Vec<&Component> = self.components.iter().rev().collect();
        while let Some(next) = queue.pop() {
            found.push(next);
            queue.extend(next.components.iter().rev());
        }
        found
    }

    /// The package of every component that is one.
    pub fn packages(&self) -> Vec<Package> {
        let components = self.all_components();
        components.iter().filter_map(|it| it.package()).collect()
    }
}

impl Predicate for Bom {
    const TYPE: &'static str = predicate::CYCLONEDX;

    fn check(&self) -> Result<(), Problem> {
        if self.bom_format != "CycloneDX" {
            return Err(Problem::new("bomFormat", "is not \"CycloneDX\""));
        }
        if !VERSIONS.contains(&self.spec_version.as_str()) {
            let shown: String = self.spec_version.chars().take(20).collect();
            let problem = format!("\"{shown}\" is not one of {}", VERSIONS.join(", "));
            return Err(Problem::new("specVersion", problem));
        }
        if let Some(serial) = &self.serial_number
            && !is_uuid_urn(serial)
        {
            return Err(Problem::new("serialNumber", "is no urn:uuid: with a UUID"));
        }
        let components = self.all_components();
        entries("components", components.len())?;
        let own = self.metadata.as_ref().and_then(|it| it.component.as_ref());
        let mut references = BTreeSet::new();
        for component in own.into_iter().chain(components) {
            let name: String = component.name.chars().take(120).collect();
            let at = format!("component \"{name}\"");
            text(&at, &component.name)?;
            text(&at, &component.kind)?;
            let external = component
                .external_references
                .iter()
                .flat_map(|it| &it.hashes);
            component
                .hashes
                .iter()
                .chain(external)
                .try_for_each(|hash| hash.check(&at))?;
            if let Some(reference) = &component.reference
                && !references.insert(reference.as_str())
            {
                let problem = format!("bom-ref \"{reference}\" stands twice");
                return Err(Problem::new(at, problem));
            }
        }
        self.check_graph(&references)
    }
}

impl Bom {
    fn check_graph(&self, references: &BTreeSet<&str>) -> Result<(), Problem> {
        let mut seen = BTreeSet::new();
        for dependency in &self.dependencies {
            let from = &dependency.reference;
            if !seen.insert(from) {
                let problem = format!("\"{from}\" stands twice");
                return Err(Problem::new("dependencies", problem));
            }
            let lost = std::iter::once(from)
                .chain(&dependency.depends_on)
                // A reference into another bill.
                .filter(|to| !to.starts_with("urn:cdx:"))
                .find(|to| !references.contains(to.as_str()) && !self.is_service(to));
            if let Some(lost) = lost {
                let problem = format!("\"{lost}\" is no component");
                return Err(Problem::new("dependencies", problem));
            }
        }
        Ok(())
    }

    fn is_service(&self, reference: &str) -> bool {
        let services = self.rest.get("services").and_then(Value::as_array);
        services.is_some_and(|services| services.iter().any(|it| it["bom-ref"] == reference))
    }
}

fn is_uuid_urn(text: &str) -> bool {
    let Some(uuid) = text.strip_prefix("urn:uuid:") else {
        return false;
    };
    let groups: Vec<&str> = uuid.split('-').collect();
    let hex = |group: &&str| {
        group
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]) && groups.iter().all(hex)
}
