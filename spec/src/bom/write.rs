//! The bytes of a bill of materials: CycloneDX 1.7, canonical JSON, the same for the same contents.
//!
//! Owns the shape that is written and the graph. The serial number follows from what the bill is of (the
//! manifest's digest; of a directory, its files), so writing it again is no new bill.

use super::BomError;
use super::contents::{Card, Contents, File, Input};
use super::document::{
    Bom, Component, Dependency, ExternalReference, Hash, Metadata, PROPERTY_FACT,
    PROPERTY_INSTALLED, PROPERTY_KIND, PROPERTY_MARKER, PROPERTY_SIZE, Property,
};
use super::package::Package;
use crate::canonical::to_canonical_json;
use crate::digest::Digest;
use crate::purl::Purl;
use crate::statement::predicate::Predicate as _;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What the graph calls the model.
const MODEL: &str = "model";
/// What it calls the environment.
const ENVIRONMENT: &str = "environment";

/// Writes the bill.
///
/// # Errors
/// If two entries have one name, or a text is empty that must not be.
pub fn write(contents: &Contents) -> Result<Vec<u8>, BomError> {
    let bom = compose(contents)?;
    bom.check().map_err(|problem| {
        BomError::Document(crate::statement::PredicateError::of::<Bom>(problem).to_string())
    })?;
    Ok(to_canonical_json(&bom).expect("a bill is made of texts, lists and whole numbers"))
}

fn compose(contents: &Contents) -> Result<Bom, BomError> {
    let mut parts: BTreeMap<String, Component> = BTreeMap::new();
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut top: BTreeSet<String> = BTreeSet::new();
    let mut add = |component: Component| -> Result<String, BomError> {
        let reference = component.reference.clone().unwrap_or_default();
        match parts.insert(reference.clone(), component) {
            None => Ok(reference),
            Some(_) => Err(BomError::Contents {
                at: reference,
                problem: "it stands twice in the bill of materials".into(),
            }),
        }
    };
    for it in &contents.files {
        top.insert(add(file(it))?);
    }
    for it in &contents.card.datasets {
        let reference = add(dataset(it))?;
        graph.insert(reference.clone(), files_of(it, &contents.files)?);
        top.insert(reference);
    }
    for it in &contents.card.base_models {
        let reference = add(base_model(it))?;
        graph.insert(reference.clone(), files_of(it, &contents.files)?);
        top.insert(reference);
    }
    for it in &contents.packages {
        add(package(it))?;
    }
    if !contents.environment.is_empty() {
        top.insert(add(environment(&contents.environment))?);
    }
    package_graph(&contents.packages, &mut graph, &mut top);
    graph.insert(MODEL.into(), top);
    for reference in parts.keys() {
        graph.entry(reference.clone()).or_default();
    }
    Ok(Bom {
        bom_format: "CycloneDX".into(),
        spec_version: "1.7".into(),
        serial_number: Some(serial_number(contents)),
        metadata: Some(metadata(contents)),
        components: parts.into_values().collect(),
        dependencies: graph.into_iter().map(dependency).collect(),
        rest: object(json!({
            "$schema": "http://cyclonedx.org/schema/bom-1.7.schema.json", "version": 1
        })),
    })
}

fn dependency((reference, depends_on): (String, BTreeSet<String>)) -> Dependency {
    Dependency {
        reference,
        depends_on: depends_on.into_iter().collect(),
        rest: Map::new(),
    }
}

/// Arrows between packages. The model depends on those that no other needs; packages that only need each
/// other in a circle hang on its first, so that nothing in the bill is out of reach.
fn package_graph(
    packages: &[Package],
    graph: &mut BTreeMap<String, BTreeSet<String>>,
    top: &mut BTreeSet<String>,
) {
    let mut by_name: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for it in packages {
        by_name
            .entry(&it.name)
            .or_default()
            .push(it.purl().to_string());
    }
    let mut needed = BTreeSet::new();
    for it in packages {
        let own = it.purl().to_string();
        let needs: BTreeSet<String> = it
            .requires
            .iter()
            .flat_map(|name| by_name.get(name.as_str()).into_iter().flatten())
            .filter(|reference| **reference != own)
            .cloned()
            .collect();
        needed.extend(needs.iter().cloned());
        graph.insert(own, needs);
    }
    let all: Vec<String> = by_name.into_values().flatten().collect();
    let mut reached = BTreeSet::new();
    let free = all.iter().filter(|reference| !needed.contains(*reference));
    for start in free.chain(&all) {
        if reached.contains(start) {
            continue;
        }
        top.insert(start.clone());
        let mut queue = vec![start.clone()];
        while let Some(next) = queue.pop() {
            if reached.insert(next.clone()) {
                queue.extend(graph.get(&next).into_iter().flatten().cloned());
            }
        }
    }
}

/// `urn:uuid:` with a UUID of version 8 (RFC 9562): bits of a hash over what the bill is of.
fn serial_number(contents: &Contents) -> String {
    let subject = match contents.model.manifest {
        Some(digest) => digest.to_string(),
        None => {
            let lines = contents.files.iter();
            let mut lines: Vec<String> = lines
                .map(|it| format!("{} {}", it.digest, it.path))
                .collect();
            lines.sort();
            Digest::sha256(lines.join("\n").as_bytes()).to_string()
        }
    };
    let hash = Digest::sha256(format!("sealstone/bom/v1\n{subject}").as_bytes());
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(&hash.bytes()[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = data_encoding::HEXLOWER.encode(&bytes);
    format!(
        "urn:uuid:{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

fn metadata(contents: &Contents) -> Metadata {
    let model = &contents.model;
    let mut rest = Map::new();
    if let Some(created) = &contents.created {
        rest.insert("timestamp".into(), json!(created));
    }
    rest.insert("lifecycles".into(), json!([{"phase": "post-build"}]));
    let tool = json!({"components": [{"type": "application", "name": "sealstone"}]});
    rest.insert("tools".into(), tool);

    let mut about = Map::new();
    let texts = [
        ("description", &model.description),
        ("publisher", &model.vendor),
    ];
    for (key, value) in texts {
        if let Some(value) = value {
            about.insert(key.into(), json!(value));
        }
    }
    if !model.authors.is_empty() {
        let authors: Vec<Value> = model
            .authors
            .iter()
            .map(|name| json!({"name": name}))
            .collect();
        about.insert("authors".into(), json!(authors));
    }
    if !model.licenses.is_empty() {
        about.insert("licenses".into(), licenses(&model.licenses));
    }
    if !contents.card.base_models.is_empty() {
        let ancestors: Vec<Component> = contents
            .card
            .base_models
            .iter()
            .map(|it| Component {
                reference: None,
                ..base_model(it)
            })
            .collect();
        about.insert("pedigree".into(), json!({"ancestors": ancestors}));
    }
    let card = model_card(&contents.card);
    if !card.is_empty() {
        about.insert("modelCard".into(), Value::Object(card));
    }
    let purl = model.place.as_ref().zip(model.manifest.as_ref());
    Metadata {
        component: Some(Component {
            kind: "machine-learning-model".into(),
            name: model.name.clone(),
            reference: Some(MODEL.into()),
            version: model.version.clone(),
            purl: purl.map(|(place, digest)| Purl::oci(place, digest, None).to_string()),
            hashes: model.manifest.iter().map(Hash::of).collect(),
            external_references: model
                .source_url
                .iter()
                .map(|url| external("vcs", url, Vec::new()))
                .collect(),
            rest: about,
            ..Component::default()
        }),
        rest,
    }
}

/// One licence is an expression if it can be one; several stand beside each other by name, because
/// nobody said whether all or one of them holds.
fn licenses(names: &[String]) -> Value {
    let is_expression = |text: &str| {
        text.chars()
            .all(|c| c.is_ascii_alphanumeric() || "-.+() :".contains(c))
    };
    match names {
        [only] if is_expression(only) => json!([{"expression": only}]),
        _ => names
            .iter()
            .map(|name| json!({"license": {"name": name}}))
            .collect(),
    }
}

fn model_card(card: &Card) -> Map<String, Value> {
    let mut parameters = Map::new();
    if let Some(approach) = card.approach {
        parameters.insert("approach".into(), json!({"type": approach}));
    }
    let texts = [
        ("task", &card.task),
        ("architectureFamily", &card.architecture_family),
        ("modelArchitecture", &card.architecture),
    ];
    for (key, value) in texts {
        if let Some(value) = value {
            parameters.insert(key.into(), json!(value));
        }
    }
    let references = card
        .datasets
        .iter()
        .map(|it| json!({"ref": dataset_reference(it)}));
    let formats = |names: &[String]| names.iter().map(|name| json!({"format": name})).collect();
    let lists: [(&str, Vec<Value>); 3] = [
        ("datasets", references.collect()),
        ("inputs", formats(&card.inputs)),
        ("outputs", formats(&card.outputs)),
    ];
    insert_lists(&mut parameters, lists);

    let metrics = card.metrics.iter().map(|metric| {
        let mut value = object(json!({"type": metric.kind, "value": metric.value}));
        if let Some(slice) = &metric.slice {
            value.insert("slice".into(), json!(slice));
        }
        Value::Object(value)
    });
    let mut analysis = Map::new();
    insert_lists(&mut analysis, [("performanceMetrics", metrics.collect())]);

    let risks = card.risks.iter().map(|risk| {
        let mut value = object(json!({"name": risk.name}));
        if let Some(mitigation) = &risk.mitigation {
            value.insert("mitigationStrategy".into(), json!(mitigation));
        }
        Value::Object(value)
    });
    let texts = |items: &[String]| items.iter().map(|item| json!(item)).collect::<Vec<_>>();
    let mut considerations = Map::new();
    insert_lists(
        &mut considerations,
        [
            ("users", texts(&card.users)),
            ("useCases", texts(&card.use_cases)),
            ("technicalLimitations", texts(&card.limitations)),
            ("performanceTradeoffs", texts(&card.tradeoffs)),
            ("ethicalConsiderations", risks.collect()),
        ],
    );
    let mut all = Map::new();
    let sections = [
        ("modelParameters", parameters),
        ("quantitativeAnalysis", analysis),
        ("considerations", considerations),
    ];
    for (key, section) in sections {
        if !section.is_empty() {
            all.insert(key.into(), Value::Object(section));
        }
    }
    all
}

fn insert_lists<const N: usize>(into: &mut Map<String, Value>, lists: [(&str, Vec<Value>); N]) {
    for (key, list) in lists {
        if !list.is_empty() {
            into.insert(key.into(), Value::Array(list));
        }
    }
}

fn file_reference(path: &str) -> String {
    format!("file:{path}")
}

fn dataset_reference(it: &Input) -> String {
    format!("dataset:{}", it.name)
}

fn file(it: &File) -> Component {
    Component {
        kind: "file".into(),
        name: it.path.clone(),
        reference: Some(file_reference(&it.path)),
        hashes: vec![Hash::of(&it.digest)],
        properties: vec![
            property(PROPERTY_KIND, it.kind.as_str()),
            property(PROPERTY_SIZE, &it.size.to_string()),
        ],
        ..Component::default()
    }
}

fn dataset(it: &Input) -> Component {
    let mut data = object(json!({"type": "dataset", "name": it.name}));
    if let Some(uri) = &it.uri {
        data.insert("contents".into(), json!({"url": uri}));
    }
    if let Some(classification) = &it.classification {
        data.insert("classification".into(), json!(classification));
    }
    let mut component = input("data", dataset_reference(it), it);
    component.rest.insert("data".into(), json!([data]));
    component
}

fn base_model(it: &Input) -> Component {
    let mut component = input(
        "machine-learning-model",
        format!("base-model:{}", it.name),
        it,
    );
    let oci = it.uri.as_deref().and_then(|uri| uri.strip_prefix("oci://"));
    if let (Some(place), Some(digest)) = (oci, &it.digest) {
        let place = place.split('@').next().unwrap_or(place);
        component.purl = Some(Purl::oci(place, digest, None).to_string());
    }
    component.external_references = it
        .uri
        .iter()
        .map(|uri| external("distribution", uri, Vec::new()))
        .collect();
    component
}

fn input(kind: &str, reference: String, it: &Input) -> Component {
    let mut rest = Map::new();
    if let Some(description) = &it.description {
        rest.insert("description".into(), json!(description));
    }
    Component {
        kind: kind.into(),
        name: it.name.clone(),
        reference: Some(reference),
        version: it.version.clone(),
        hashes: it.digest.iter().map(Hash::of).collect(),
        rest,
        ..Component::default()
    }
}

fn files_of(it: &Input, files: &[File]) -> Result<BTreeSet<String>, BomError> {
    let known = |path: &String| files.iter().any(|file| file.path == *path);
    if let Some(lost) = it.files.iter().find(|path| !known(path)) {
        return Err(BomError::Contents {
            at: format!("\"{}\"", it.name),
            problem: format!("its file \"{lost}\" is not in the bundle"),
        });
    }
    Ok(it.files.iter().map(|path| file_reference(path)).collect())
}

fn package(it: &Package) -> Component {
    let purl = it.purl();
    let mut component = Component {
        kind: "library".into(),
        name: it.name.clone(),
        reference: Some(purl.to_string()),
        version: Some(it.version.clone()),
        purl: Some(purl.to_string()),
        ..Component::default()
    };
    // One archive is the package. Of several any one may be installed, so none of them is.
    let only = it.hashes().len() == 1;
    for archive in &it.archives {
        if only {
            component.hashes = vec![archive.hash.clone()];
        }
        let url = match &archive.url {
            Some(url) => url.clone(),
            None if only => continue,
            None => {
                let mut named = purl.clone();
                let algorithm = archive.hash.alg.replace('-', "").to_ascii_lowercase();
                let checksum = format!("{algorithm}:{}", archive.hash.content);
                named.qualifiers.insert("checksum".into(), checksum);
                named.to_string()
            }
        };
        let place = external("distribution", &url, vec![archive.hash.clone()]);
        component.external_references.push(place);
    }
    if let Some(installed) = &it.installed {
        component
            .properties
            .push(property(PROPERTY_INSTALLED, &installed.to_string()));
    }
    if let Some(marker) = &it.marker {
        component.properties.push(property(PROPERTY_MARKER, marker));
    }
    component
}

fn environment(facts: &BTreeMap<String, String>) -> Component {
    let properties = facts
        .iter()
        .map(|(name, value)| property(&format!("{PROPERTY_FACT}{name}"), value));
    Component {
        kind: "platform".into(),
        name: ENVIRONMENT.into(),
        reference: Some(ENVIRONMENT.into()),
        properties: properties.collect(),
        ..Component::default()
    }
}

fn property(name: &str, value: &str) -> Property {
    Property {
        name: name.to_owned(),
        value: Some(value.to_owned()),
    }
}

fn external(kind: &str, url: &str, hashes: Vec<Hash>) -> ExternalReference {
    ExternalReference {
        kind: kind.into(),
        url: url.into(),
        hashes,
        rest: Map::new(),
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
