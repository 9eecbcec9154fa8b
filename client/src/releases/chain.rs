//! The chain of a release: data, code, stages, weights, reports, approvals, tag, deployment; each link by digest.
//!
//! Owns the links and what each of them rests on. What a lock says is as good as the signature on the bundle that
//! holds it; what somebody attached, as his key. Invariant: a link is verified only if its bytes were hashed or a
//! trusted key vouches for it, and says which; everything else is there and marked.

use super::sealed::SealedRelease;
use super::voices::{Heard, Hearing};
use crate::error::Result;
use crate::trust::FileProblem;
use sealstone_spec::bundle::Bundle;
use sealstone_spec::digest::Digest;
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::recipe::{LockedStage, PathDigest};
use sealstone_spec::report::{PREDICATE_TYPE as REPORT, Report};
use sealstone_spec::role::BundleRole;
use sealstone_spec::statement::predicate;
use sealstone_spec::statement::provenance::is_rebuild;
use sealstone_spec::words::three_words;
use serde::Serialize;
use std::collections::BTreeMap;

/// Something in the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Node {
    /// What it is: `data`, `stage`, `weights`, `bundle`, `report`, `approval`, `release`, `deployment`…
    pub kind: String,
    /// What it is called.
    pub name: String,
    /// What it is by its content: of a stage its key, of a statement the manifest that attaches it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

impl Node {
    fn new(kind: &str, name: impl Into<String>, digest: Digest) -> Node {
        Node {
            kind: kind.to_owned(),
            name: name.into(),
            digest: Some(digest),
        }
    }
}

/// A link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Edge {
    /// From what.
    pub from: Node,
    /// In which way: `is read by`, `writes`, `is in`, `vouches for`…
    pub relation: &'static str,
    /// To what.
    pub to: Node,
    /// Whether it holds, as far as it can be told here.
    pub verified: bool,
    /// On what that rests.
    pub how: String,
}

/// The chain of one release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Chain {
    /// The bundle.
    pub digest: Digest,
    /// Its name in words.
    pub name: String,
    /// The links, from data to deployment.
    pub edges: Vec<Edge>,
}

/// The tag under which a bundle was asked for.
#[derive(Clone, Debug)]
pub struct TagLink {
    /// Repository and tag.
    pub name: String,
    /// Whether a log says that the tag leads here.
    pub logged: bool,
}

/// A directory in which the bundle's files should lie.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// The directory.
    pub place: String,
    /// How it differs from the bundle.
    pub problems: Vec<FileProblem>,
}

/// Puts the chain together. `baseline` says whether the manifest that the bundle names as the one before it could
/// be read.
pub fn chain(
    manifest: &VerifiedManifest,
    sealed: &Result<SealedRelease>,
    hearing: &Hearing,
    baseline: Option<(Digest, bool)>,
    tag: Option<&TagLink>,
    deployment: Option<&Deployment>,
) -> Chain {
    let digest = *manifest.digest();
    let mut links = Links {
        bundle: Node::new("bundle", three_words(&digest), digest),
        edges: Vec::new(),
    };
    match sealed {
        Ok(release) => links.making(release, hearing),
        Err(error) => links.unknown_making(manifest, error.message()),
    }
    if let Some((before, is_there)) = baseline {
        let how = match is_there {
            true => "the manifest names it, and it is there",
            false => "the manifest names it, and it could not be read",
        };
        let node = Node::new("baseline", three_words(&before), before);
        let bundle = links.bundle.clone();
        links.add(node, "is the baseline of", bundle, is_there, how);
    }
    links.statements(hearing);
    if let Some(tag) = tag {
        let how = match tag.logged {
            true => "the registry's log says so",
            false => "the place where it lies says so; no log proves it",
        };
        let node = Node {
            kind: "release".to_owned(),
            name: tag.name.clone(),
            digest: Some(digest),
        };
        let bundle = links.bundle.clone();
        links.add(bundle, "is released as", node, tag.logged, how);
    }
    if let Some(deployment) = deployment {
        let how = match deployment.problems.as_slice() {
            [] => "every file was hashed".to_owned(),
            problems => format!("differences: {}; {}", problems.len(), problems[0]),
        };
        let node = Node {
            kind: "deployment".to_owned(),
            name: deployment.place.clone(),
            digest: Some(digest),
        };
        let bundle = links.bundle.clone();
        let holds = deployment.problems.is_empty();
        links.add(bundle, "is deployed as", node, holds, how);
    }
    Chain {
        digest,
        name: three_words(&digest),
        edges: links.edges,
    }
}

impl Chain {
    /// Links that nothing vouches for.
    pub fn unverified(&self) -> usize {
        self.edges.iter().filter(|edge| !edge.verified).count()
    }
}

struct Links {
    bundle: Node,
    edges: Vec<Edge>,
}

impl Links {
    fn add(
        &mut self,
        from: Node,
        relation: &'static str,
        to: Node,
        verified: bool,
        how: impl Into<String>,
    ) {
        self.edges.push(Edge {
            from,
            relation,
            to,
            verified,
            how: how.into(),
        });
    }

    /// From data to the bundle, by its lock.
    fn making(&mut self, release: &SealedRelease, hearing: &Hearing) {
        let vouching = vouching(hearing);
        let said = match &vouching {
            Some(by) => format!("recipe.lock in the bundle, which {by} signed"),
            None => "recipe.lock in the bundle, which nobody trusted has signed".to_owned(),
        };
        let is_vouched = vouching.is_some();
        for stage in &release.lock.stages {
            let node = Node::new("stage", &stage.name, stage.key);
            for read in stage.sources.iter().chain(&stage.inputs) {
                let held = holds(release, read);
                let how = match held {
                    true => said.clone(),
                    false => format!("{said}; the bundle does not hold it"),
                };
                let kind = kind_of(release, read, stage.sources.contains(read));
                let from = Node::new(kind, read.path.as_str(), read.digest);
                self.add(from, "is read by", node.clone(), is_vouched && held, how);
            }
            let again = replayed(hearing, release, stage).filter(|_| is_vouched);
            for written in &stage.outputs {
                let held = holds(release, written);
                let to = Node::new(
                    kind_of(release, written, false),
                    written.path.as_str(),
                    written.digest,
                );
                let how = match &again {
                    Some(by) => format!("{said}; made again by {by}"),
                    None => said.clone(),
                };
                self.add(node.clone(), "writes", to.clone(), is_vouched, how);
                let how = match held {
                    true => "the manifest names its bytes",
                    false => "the bundle does not hold it",
                };
                let bundle = self.bundle.clone();
                self.add(to, "is in", bundle, held, how);
            }
        }
    }

    /// Of a bundle without recipe and lock, nobody knows where its files come from.
    fn unknown_making(&mut self, manifest: &VerifiedManifest, problem: &str) {
        let Ok(bundle) = Bundle::read(manifest) else {
            return;
        };
        for file in bundle.files() {
            let node = Node::new(file.role.as_str(), file.path.as_str(), file.digest);
            let to = self.bundle.clone();
            if file.role == BundleRole::Weights {
                let nobody = Node {
                    kind: "stage".to_owned(),
                    name: "unknown".to_owned(),
                    digest: None,
                };
                self.add(nobody, "writes", node.clone(), false, problem);
            }
            self.add(node, "is in", to, true, "the manifest names its bytes");
        }
    }

    fn statements(&mut self, hearing: &Hearing) {
        let said: BTreeMap<&Digest, &Heard> = hearing
            .heard
            .iter()
            .map(|heard| (heard.statement.payload_digest(), heard))
            .collect();
        let bundle = self.bundle.clone();
        for heard in &hearing.heard {
            let (kind, relation) = named(heard);
            let node = Node::new(kind, format!("by {}", heard.by), heard.referrer);
            let how = format!("signed by {}, {}", heard.by, heard.key);
            match problem_of(heard, &self.bundle) {
                None => self.add(node.clone(), relation, bundle.clone(), true, how),
                Some(problem) => self.add(node.clone(), relation, bundle.clone(), false, problem),
            }
            for seen in evidence_of_approval(heard) {
                let (to, verified, how) = match said.get(&seen) {
                    Some(other) => {
                        let (kind, _) = named(other);
                        let to = Node::new(kind, format!("by {}", other.by), other.referrer);
                        (to, true, "the statement that was approved is attached")
                    }
                    None => {
                        let to = Node::new("statement", "unknown", seen);
                        (
                            to,
                            false,
                            "no trusted statement with this digest is attached",
                        )
                    }
                };
                self.add(node.clone(), "was given for", to, verified, how);
            }
        }
        for unheard in &hearing.unheard {
            let kind = unheard
                .predicate_type
                .as_deref()
                .map_or("statement", |kind| word_of(kind).0);
            let node = Node::new(kind, "by nobody trusted", unheard.referrer);
            self.add(
                node,
                "is attached to",
                bundle.clone(),
                false,
                unheard.reason.clone(),
            );
        }
    }
}

/// Who signed the bundle or says that he built it.
fn vouching(hearing: &Hearing) -> Option<String> {
    let signed = hearing
        .of(predicate::COSIGN_SIGN)
        .chain(hearing.of(predicate::SLSA_PROVENANCE))
        .find(|heard| !heard.statement.predicate().is_some_and(is_rebuild));
    signed.map(|heard| heard.by.clone())
}

/// Who reports, trusted, that this stage gave the same again.
fn replayed(hearing: &Hearing, release: &SealedRelease, stage: &LockedStage) -> Option<String> {
    let mut reports = hearing.of(REPORT);
    let found = reports.find(|heard| {
        let predicate = heard.statement.predicate();
        let report = predicate.and_then(|predicate| Report::from_predicate(predicate).ok());
        report.is_some_and(|report| {
            let row = report.stages.iter().find(|row| row.name == stage.name);
            report.baseline.digest.0 == release.digest
                && report.verdict.is_reproduced()
                && row.is_some_and(|row| {
                    !row.artifacts.is_empty() && row.artifacts.iter().all(|artifact| artifact.ok)
                })
        })
    });
    found.map(|heard| heard.by.clone())
}

/// Whether the bundle holds all files of a path.
fn holds(release: &SealedRelease, path: &PathDigest) -> bool {
    let mut files = release.lock.files_at(&path.path);
    files.all(|file| release.file(file.path.as_str()).is_some())
}

fn kind_of(release: &SealedRelease, path: &PathDigest, is_source: bool) -> &'static str {
    let mut inputs = release.lock.inputs.iter();
    if is_source {
        return "code";
    }
    if inputs.any(|input| input.content.path.overlaps(&path.path)) {
        return "data";
    }
    let first = release.lock.files_at(&path.path).next();
    let held = first.and_then(|file| release.file(file.path.as_str()));
    held.map_or("output", |file| file.role.as_str())
}

/// What a type of statement is in the chain, and what it does to the bundle.
fn word_of(predicate_type: &str) -> (&'static str, &'static str) {
    match predicate_type {
        predicate::COSIGN_SIGN => ("signature", "vouches for"),
        predicate::MODEL_SIGNATURE => ("model signature", "vouches for the files of"),
        predicate::SLSA_PROVENANCE => ("provenance", "says who made"),
        predicate::CYCLONEDX => ("bill of materials", "lists what is in"),
        predicate::TEST_RESULT => ("test result", "tells of tests of"),
        predicate::SVR => ("verification", "vouches for"),
        predicate::RELEASE => ("release statement", "releases"),
        predicate::VERIFICATION_SUMMARY => ("verdict", "judges"),
        REPORT => ("report", "tells of a replay of"),
        _ => ("statement", "speaks of"),
    }
}

fn named(heard: &Heard) -> (&'static str, &'static str) {
    let said = heard.statement.predicate();
    match heard.predicate_type.as_str() {
        predicate::SLSA_PROVENANCE if said.is_some_and(is_rebuild) => {
            ("provenance of a replay", "says who made again")
        }
        predicate::SVR if !evidence_of_approval(heard).is_empty() => ("approval", "approves"),
        other => word_of(other),
    }
}

/// Why a statement that holds does not speak of this bundle as it should.
fn problem_of(heard: &Heard, bundle: &Node) -> Option<String> {
    if heard.predicate_type != REPORT {
        return None;
    }
    let read = match heard.statement.predicate() {
        None => return Some("it is empty".to_owned()),
        Some(predicate) => Report::from_predicate(predicate),
    };
    match read {
        Err(error) => Some(error.to_string()),
        Ok(report) if Some(report.baseline.digest.0) != bundle.digest => {
            Some("it is held against another bundle".to_owned())
        }
        Ok(_) => None,
    }
}

/// The statements that an approval was given for, by the digests of their bytes.
fn evidence_of_approval(heard: &Heard) -> Vec<Digest> {
    if heard.predicate_type != predicate::SVR {
        return Vec::new();
    }
    let items = heard
        .statement
        .predicate()
        .and_then(|predicate| predicate.get("evidence")?.get("items")?.as_array());
    let items = items.into_iter().flatten();
    items
        .filter_map(|item| Digest::parse(item.as_str()?).ok())
        .collect()
}
