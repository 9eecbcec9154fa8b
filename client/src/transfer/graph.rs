//! What belongs to a manifest: its children, its blobs, and what was said about it.
//!
//! Invariants: manifests come in an order in which each may be stored: children before the index that
//! lists them, a subject before its referrers. There is a limit on how many are held, and on their bytes: whoever may
//! attach to a bundle, or writes an index, fills nobody's memory.

use crate::error::{Error, Outcome, Result};
use crate::store::Store;
use sealstone_spec::digest::Digest;
use sealstone_spec::manifest::{Descriptor, VerifiedManifest};
use sealstone_spec::media;
use sealstone_spec::name::{Reference, Tag};
use std::collections::BTreeMap;

/// Most manifests that belong to one, with what was said about it.
const MAX_MANIFESTS: usize = 10_000;

/// Most bytes that all of them have together. As they are read they take several times as much.
const MAX_BYTES: u64 = 128 * 1024 * 1024;

/// Deepest nesting of indexes, and longest chain of referrers.
const MAX_DEPTH: usize = 16;

/// A manifest with everything below it.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    /// Children first; the last one is the root.
    pub(crate) manifests: Vec<VerifiedManifest>,
    /// Each blob once, with its name for people.
    pub(crate) blobs: Vec<(Descriptor, String)>,
}

/// What was said about manifests.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// Graphs of referrers, each after its subject.
    pub(crate) referrers: Vec<Graph>,
    /// cosign's lists by their tag, as graphs.
    pub(crate) lists: Vec<(Tag, Graph)>,
}

/// Which manifests and blobs have been gathered already, and how much that is.
#[derive(Debug)]
pub(crate) struct Seen {
    /// With the sizes that were stated for them, as blobs.
    manifests: BTreeMap<Digest, u64>,
    blobs: BTreeMap<Digest, u64>,
    /// Manifests that are held; a list may be one that was seen before.
    held: usize,
    /// What they have together.
    bytes: u64,
    limits: Limits,
}

/// How much may belong together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) manifests: usize,
    pub(super) bytes: u64,
}

impl Default for Seen {
    fn default() -> Self {
        Seen::within(Limits {
            manifests: MAX_MANIFESTS,
            bytes: MAX_BYTES,
        })
    }
}

impl Seen {
    /// Nothing yet, and at most so much.
    pub(super) fn within(limits: Limits) -> Seen {
        Seen {
            manifests: BTreeMap::new(),
            blobs: BTreeMap::new(),
            held: 0,
            bytes: 0,
            limits,
        }
    }

    /// Counts a manifest that is held from now on.
    fn hold(&mut self, manifest: &VerifiedManifest) -> Result<()> {
        self.held += 1;
        self.bytes = self.bytes.saturating_add(manifest.size());
        let limit = if self.held > self.limits.manifests {
            format!("there are more than {}", self.limits.manifests)
        } else if self.bytes > self.limits.bytes {
            format!("they have more than {} bytes", self.limits.bytes)
        } else {
            return Ok(());
        };
        Err(Error::halted(format!(
            "too many manifests belong together, or were attached to each other: {limit}; the last one is {}",
            manifest.digest()
        ))
        .hint("if they are referrers, somebody floods this bundle: ask who may push to its repository"))
    }
}

/// Gathers `root` with its children and blobs, without what `seen` holds.
pub(crate) async fn gather(
    source: &dyn Store,
    root: &VerifiedManifest,
    seen: &mut Seen,
) -> Result<Graph> {
    let mut graph = Graph::default();
    let known = seen.manifests.insert(*root.digest(), root.size());
    if known.is_some() {
        return Ok(graph);
    }
    seen.hold(root)?;
    // A manifest waits on the stack until its children are done.
    let mut stack = vec![(root.clone(), 0)];
    while let Some((manifest, next)) = stack.pop() {
        if let Some(child) = manifest.children().get(next).cloned() {
            if stack.len() >= MAX_DEPTH {
                return Err(Error::halted(format!(
                    "manifest {} nests more than {MAX_DEPTH} indexes",
                    root.digest()
                )));
            }
            let is_new = if is_manifest(&child.media_type) {
                agree(&mut seen.manifests, &child, &manifest)?
            } else {
                // Older build caches list layers in an index.
                add_blob(&mut graph, seen, &child, &manifest)?;
                false
            };
            stack.push((manifest, next + 1));
            if is_new {
                let found = source.manifest(&Reference::Digest(child.digest)).await?;
                if found.size() != child.size {
                    return Err(Error::halted(format!(
                        "manifest {} has {} bytes, its index says {}",
                        child.digest,
                        found.size(),
                        child.size
                    )));
                }
                seen.hold(&found)?;
                stack.push((found, 0));
            }
            continue;
        }
        for blob in manifest.blobs() {
            add_blob(&mut graph, seen, blob, &manifest)?;
        }
        graph.manifests.push(manifest);
    }
    Ok(graph)
}

fn is_manifest(media_type: &str) -> bool {
    let manifests = [
        media::OCI_MANIFEST,
        media::OCI_ARTIFACT,
        media::DOCKER_MANIFEST,
    ];
    media::is_index(media_type) || manifests.contains(&media_type)
}

fn add_blob(
    graph: &mut Graph,
    seen: &mut Seen,
    blob: &Descriptor,
    parent: &VerifiedManifest,
) -> Result<()> {
    if agree(&mut seen.blobs, blob, parent)? {
        tracing::trace!(digest = %blob.digest, parent = parent.media_type(), "blob");
        graph.blobs.push((blob.clone(), label(blob)));
    }
    Ok(())
}

/// Whether nothing was stated of this digest yet. What is named twice is read and compared once, so both must state one
/// size.
fn agree(
    stated: &mut BTreeMap<Digest, u64>,
    descriptor: &Descriptor,
    parent: &VerifiedManifest,
) -> Result<bool> {
    match stated.insert(descriptor.digest, descriptor.size) {
        None => Ok(true),
        Some(size) if size == descriptor.size => Ok(false),
        Some(size) => Err(Error::halted(format!(
            "{} has {size} bytes by one descriptor, and {} by one in manifest {}",
            descriptor.digest,
            descriptor.size,
            parent.digest()
        ))),
    }
}

/// A blob's name for people: its path in the bundle, else its title, else its digest.
pub(crate) fn label(blob: &Descriptor) -> String {
    let named = blob
        .annotations
        .get(media::ANNOTATION_FILEPATH)
        .or_else(|| blob.annotations.get(media::ANNOTATION_TITLE));
    match named {
        Some(name) => crate::transport::printable(name),
        None => {
            let kind = if blob.media_type.contains("config") {
                "config"
            } else {
                "blob"
            };
            format!("{kind} {}", &blob.digest.hex()[..12])
        }
    }
}

/// Gathers what was said about the manifests of `graph`, and about what was said, and so on.
pub(crate) async fn gather_evidence(
    source: &dyn Store,
    graph: &Graph,
    seen: &mut Seen,
) -> Result<Evidence> {
    let mut evidence = Evidence::default();
    let mut subjects: Vec<(Digest, usize)> = graph
        .manifests
        .iter()
        .map(|manifest| (*manifest.digest(), 0))
        .collect();
    let mut next = 0;
    while let Some((subject, depth)) = subjects.get(next).copied() {
        next += 1;
        for descriptor in source.referrers(&subject, None).await? {
            let reference = Reference::Digest(descriptor.digest);
            let referrer = match source.manifest(&reference).await {
                Ok(referrer) => referrer,
                // A fallback list may name what was deleted since.
                Err(error) if error.outcome() == Outcome::NotFound => continue,
                Err(error) => return Err(error),
            };
            if referrer
                .subject()
                .is_none_or(|stated| stated.digest != subject)
            {
                return Err(Error::halted(format!(
                    "{} is listed as speaking of {subject}, but does not",
                    descriptor.digest
                )));
            }
            if depth >= MAX_DEPTH {
                return Err(Error::halted(format!(
                    "a chain of more than {MAX_DEPTH} referrers leads from {subject}"
                )));
            }
            let gathered = gather(source, &referrer, seen).await?;
            if !gathered.manifests.is_empty() {
                subjects.push((descriptor.digest, depth + 1));
                evidence.referrers.push(gathered);
            }
        }
    }
    evidence.lists = gather_lists(source, graph, seen).await?;
    Ok(evidence)
}

/// cosign's older lists: a tag for each kind of evidence, made from the digest.
async fn gather_lists(
    source: &dyn Store,
    graph: &Graph,
    seen: &mut Seen,
) -> Result<Vec<(Tag, Graph)>> {
    let mut lists = Vec::new();
    for manifest in &graph.manifests {
        for suffix in ["sig", "att", "sbom"] {
            let digest = manifest.digest();
            let text = format!("{}-{}.{suffix}", digest.algorithm(), digest.hex());
            // Longer digests make no tag, and cosign has none for them.
            let Ok(tag) = text.parse::<Tag>() else {
                continue;
            };
            match source.manifest(&Reference::Tag(tag.clone())).await {
                Ok(list) => {
                    let mut gathered = gather(source, &list, seen).await?;
                    if gathered.manifests.is_empty() {
                        seen.hold(&list)?;
                        gathered.manifests.push(list);
                    }
                    lists.push((tag, gathered));
                }
                Err(error) if error.outcome() == Outcome::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(lists)
}

/// Sizes of the blobs, added up by digest.
pub(crate) fn total(graphs: &[&Graph]) -> u64 {
    let sizes: BTreeMap<Digest, u64> = graphs
        .iter()
        .flat_map(|graph| &graph.blobs)
        .map(|(blob, _)| (blob.digest, blob.size))
        .collect();
    sizes
        .values()
        .fold(0, |sum, size| sum.saturating_add(*size))
}
