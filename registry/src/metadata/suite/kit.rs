//! Rows, manifests and admissions in one line each.

#![allow(clippy::unwrap_used)]

use crate::auth::Directory;
use crate::metadata::log::LogStore;
use crate::metadata::{
    CommitOutcome, Judged, Metadata, Millis, NewBlob, NewContent, NewTag, PhysicalKey, Progress,
    PutManifest, PutOutcome, Refusal, StoredAlgorithm, TagClass, TagCondition, UploadId, UploadRow,
};
use bytes::Bytes;
use sealstone_spec::admission::Admission;
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::media;
use sealstone_spec::name::{RepoName, Tag};
use sealstone_spec::policy::{Case, Circumstances, Policy, Time};
use serde_json::{Value, json};
use std::any::Any;
use std::sync::Arc;

/// Everything that a metadata store is.
pub(crate) trait Store: Metadata + Directory + LogStore {}
impl<T: Metadata + Directory + LogStore> Store for T {}

/// A store under test, and what must live as long.
pub(crate) struct Fixture {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) _keep: Box<dyn Any + Send + Sync>,
}

/// The time at which everything happens, unless a test says otherwise.
pub(crate) const NOW: Millis = 1_000_000;
/// When pins end.
pub(crate) const PINNED: Millis = NOW + 1_000;
/// A time after all pins.
pub(crate) const LATER: Millis = NOW + 5_000;

pub(crate) fn repo(name: &str) -> RepoName {
    name.parse().unwrap()
}

pub(crate) fn tag(name: &str) -> Tag {
    name.parse().unwrap()
}

pub(crate) fn upload_row(repo: &RepoName) -> UploadRow {
    let id = UploadId(uuid::Uuid::now_v7());
    UploadRow {
        id,
        repo: repo.clone(),
        key: PhysicalKey::of_upload(id),
        algorithm: StoredAlgorithm(Algorithm::Sha256),
        offset: 0,
        hash_state: Vec::new(),
        boot: None,
        sealing: false,
        reserved: 0,
        roomless: false,
        by: "user:tester".into(),
        expires_at: NOW + 500,
    }
}

/// Begins an upload where no quota applies.
pub(crate) async fn begin(store: &dyn Store, row: UploadRow) {
    let begun = store.begin_upload(row, Vec::new()).await.unwrap();
    assert_eq!(begun, Ok(()));
}

/// Notes the progress of an upload where no quota applies.
pub(crate) async fn advance(store: &dyn Store, id: UploadId, progress: Progress) -> bool {
    let noted = store.advance_upload(id, progress, Vec::new()).await;
    noted.unwrap().unwrap()
}

/// Commits a blob whose quotas leave room.
pub(crate) async fn commit(store: &dyn Store, blob: NewBlob) -> CommitOutcome {
    store.commit_blob(blob).await.unwrap().unwrap()
}

/// Mounts a blob where no quota applies.
pub(crate) async fn mount(
    store: &dyn Store,
    from: &RepoName,
    to: &RepoName,
    digest: &Digest,
) -> bool {
    let quotas = Vec::new();
    let mounted = store
        .mount_blob(from, to, digest, NOW, PINNED, quotas)
        .await;
    mounted.unwrap().unwrap()
}

pub(crate) fn new_blob(repo: &RepoName, content: &[u8], upload: Option<UploadId>) -> NewBlob {
    let content_here = Bytes::copy_from_slice(content);
    NewBlob {
        repo: repo.clone(),
        digest: Digest::sha256(content),
        size: content.len() as u64,
        content: match upload {
            Some(_) => NewContent::Object(*blake3::hash(content).as_bytes()),
            None => NewContent::Inline(content_here),
        },
        upload,
        quotas: Vec::new(),
        now: NOW,
        pin_until: PINNED,
    }
}

/// A small blob.
pub(crate) async fn put_inline(store: &dyn Store, repo: &RepoName, content: &[u8]) -> Digest {
    let blob = new_blob(repo, content, None);
    let digest = blob.digest;
    assert_ne!(commit(store, blob).await, CommitOutcome::NoSession);
    digest
}

/// A blob with an object, and the object's key.
pub(crate) async fn put_object(
    store: &dyn Store,
    repo: &RepoName,
    content: &[u8],
) -> (Digest, PhysicalKey) {
    // Not given up in the middle, however far a test's collector is ahead.
    let row = UploadRow {
        expires_at: Millis::MAX / 2,
        ..upload_row(repo)
    };
    let (id, key) = (row.id, row.key.clone());
    begin(store, row).await;
    let blob = new_blob(repo, content, Some(id));
    let digest = blob.digest;
    assert_ne!(commit(store, blob).await, CommitOutcome::NoSession);
    (digest, key)
}

/// A manifest to be written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shape {
    pub(crate) blobs: Vec<Digest>,
    pub(crate) children: Vec<Digest>,
    pub(crate) subject: Option<Digest>,
    /// Makes manifests differ that name the same.
    pub(crate) mark: String,
    pub(crate) artifact_type: Option<String>,
    /// Stands at each layer, as cosign's signatures do; the layers have the type of such.
    pub(crate) signature: Option<String>,
}

fn descriptor(media_type: &str, digest: &Digest) -> Value {
    json!({"mediaType": media_type, "digest": digest.to_string(), "size": 1})
}

impl Shape {
    /// An image manifest: the first blob is its configuration.
    pub(crate) fn image(blobs: &[Digest]) -> Shape {
        Shape {
            blobs: blobs.to_vec(),
            ..Shape::default()
        }
    }

    pub(crate) fn index(children: &[Digest]) -> Shape {
        Shape {
            children: children.to_vec(),
            ..Shape::default()
        }
    }

    pub(crate) fn about(self, subject: Digest) -> Shape {
        Shape {
            subject: Some(subject),
            ..self
        }
    }

    pub(crate) fn marked(self, mark: impl ToString) -> Shape {
        Shape {
            mark: mark.to_string(),
            ..self
        }
    }

    pub(crate) fn of_type(self, artifact_type: &str) -> Shape {
        Shape {
            artifact_type: Some(artifact_type.to_owned()),
            ..self
        }
    }

    fn layer(&self, digest: &Digest) -> Value {
        let Some(signature) = &self.signature else {
            return descriptor("application/octet-stream", digest);
        };
        let mut layer = descriptor(media::COSIGN_SIMPLE_SIGNING, digest);
        layer["annotations"] = json!({"dev.cosignproject.cosign/signature": signature});
        layer
    }

    /// Whether it carries a sigstore bundle about another manifest.
    pub(crate) fn is_statement(&self) -> bool {
        let of_bundles = self.artifact_type.as_deref() == Some(media::SIGSTORE_BUNDLE_V03);
        of_bundles && self.subject.is_some()
    }

    pub(crate) fn build(&self) -> VerifiedManifest {
        let mut document = json!({"schemaVersion": 2, "annotations": {"mark": self.mark}});
        match self.blobs.split_first() {
            Some((config, layers)) => {
                document["mediaType"] = media::OCI_MANIFEST.into();
                document["config"] = descriptor(media::OCI_IMAGE_CONFIG, config);
                document["layers"] = layers.iter().map(|layer| self.layer(layer)).collect();
            }
            None => {
                document["mediaType"] = media::OCI_INDEX.into();
                document["manifests"] = self
                    .children
                    .iter()
                    .map(|child| descriptor(media::OCI_MANIFEST, child))
                    .collect();
            }
        }
        if let Some(subject) = &self.subject {
            document["subject"] = descriptor(media::OCI_MANIFEST, subject);
        }
        if let Some(artifact_type) = &self.artifact_type {
            document["artifactType"] = artifact_type.as_str().into();
        }
        VerifiedManifest::check(
            serde_json::to_vec(&document).unwrap(),
            None,
            None,
            Algorithm::Sha256,
        )
        .unwrap()
    }
}

/// What the default policy says, which is yes.
pub(crate) fn admit(repo: &RepoName, manifest: &VerifiedManifest) -> Admission {
    let case = Case::new(repo, *manifest.digest(), manifest.size());
    let now = Circumstances::at(Time::from_seconds(NOW / 1000));
    Policy::default_policy().judge(repo, &case, &now).unwrap()
}

pub(crate) async fn use_default_policy(store: &dyn Store) {
    store
        .set_policy(*Policy::default_policy().digest())
        .await
        .unwrap();
}

pub(crate) fn new_tag(name: &str, class: TagClass) -> NewTag {
    NewTag {
        tag: tag(name),
        class,
        condition: TagCondition::Any,
        visible: true,
    }
}

/// A put with tags of one class, admitted where it must be.
pub(crate) fn put(
    repo: &RepoName,
    manifest: &VerifiedManifest,
    class: TagClass,
    tags: &[&str],
) -> PutManifest {
    PutManifest {
        repo: repo.clone(),
        manifest: manifest.clone(),
        tags: tags.iter().map(|name| new_tag(name, class)).collect(),
        condition: TagCondition::Any,
        only_known: false,
        admission: Some(admit(repo, manifest)),
        referrers: Vec::new(),
        revocations: Vec::new(),
        revokes: None,
        statements_due: false,
        quotas: Vec::new(),
        by: "user:tester".into(),
        now: NOW,
        pin_until: PINNED,
    }
}

/// Stores a manifest without tags.
pub(crate) async fn store_manifest(store: &dyn Store, repo: &RepoName, shape: Shape) -> Digest {
    release(store, repo, shape, &[]).await
}

/// Stores a manifest with immutable tags.
pub(crate) async fn release(
    store: &dyn Store,
    repo: &RepoName,
    shape: Shape,
    tags: &[&str],
) -> Digest {
    let manifest = shape.build();
    let outcome = try_put(store, put(repo, &manifest, TagClass::Immutable, tags)).await;
    assert!(outcome.is_ok(), "{outcome:?}");
    *manifest.digest()
}

pub(crate) async fn try_put(store: &dyn Store, put: PutManifest) -> Result<PutOutcome, Refusal> {
    use_default_policy(store).await;
    store
        .put_manifest(judged_now(store, put).await)
        .await
        .unwrap()
}

/// The same put, as if it had been judged on what speaks of its manifest now, and revokes it.
pub(crate) async fn judged_now(store: &dyn Store, put: PutManifest) -> PutManifest {
    let referrers = referrers_of(store, &put.repo, put.manifest.digest()).await;
    PutManifest {
        referrers,
        revocations: words_of(store, put.manifest.digest()).await,
        ..put
    }
}

/// What a manifest was revoked with.
pub(crate) async fn words_of(store: &dyn Store, subject: &Digest) -> Vec<Digest> {
    let kept = store.revocations(subject).await.unwrap().into_iter();
    kept.map(|kept| kept.word).collect()
}

pub(crate) async fn referrers_of(
    store: &dyn Store,
    repo: &RepoName,
    subject: &Digest,
) -> Vec<Digest> {
    let listed = store.referrers(repo, subject, None, None, usize::MAX).await;
    let listed = listed.unwrap().referrers.into_iter();
    listed.map(|referrer| referrer.digest).collect()
}

/// A verdict on a manifest, made now.
pub(crate) async fn judged(store: &dyn Store, repo: &RepoName, manifest: Digest) -> Judged {
    let row = store.manifest(repo, &manifest).await.unwrap();
    Judged {
        manifest,
        policy: store.policy().await.unwrap().unwrap(),
        evidence: row.map_or(0, |row| row.evidence),
        revocations: words_of(store, &manifest).await.len(),
        exceptions: Vec::new(),
        now: NOW,
    }
}

/// Applies such a verdict at once.
pub(crate) async fn show(
    store: &dyn Store,
    repo: &RepoName,
    name: &str,
    manifest: Digest,
    visible: bool,
) -> bool {
    let judged = judged(store, repo, manifest).await;
    let shown = store.show_tag(repo, &tag(name), judged, visible).await;
    shown.unwrap().unwrap()
}

/// Whether consumers see a manifest.
pub(crate) async fn sees(store: &dyn Store, repo: &RepoName, digest: &Digest) -> bool {
    store
        .manifest(repo, digest)
        .await
        .unwrap()
        .is_some_and(|row| row.visible > 0)
}

/// Whether consumers see a blob.
pub(crate) async fn sees_blob(store: &dyn Store, repo: &RepoName, digest: &Digest) -> bool {
    store
        .blob(repo, digest)
        .await
        .unwrap()
        .is_some_and(|blob| blob.visible)
}

pub(crate) async fn delete_manifest(
    store: &dyn Store,
    repo: &RepoName,
    digest: &Digest,
) -> Result<(), Refusal> {
    delete_manifest_where(store, repo, digest, TagClass::Mutable).await
}

/// The same where tags are of a class now.
pub(crate) async fn delete_manifest_where(
    store: &dyn Store,
    repo: &RepoName,
    digest: &Digest,
    class: TagClass,
) -> Result<(), Refusal> {
    store
        .delete_manifest(repo, digest, class, "user:tester", NOW)
        .await
        .unwrap()
}

pub(crate) async fn delete_tag(
    store: &dyn Store,
    repo: &RepoName,
    name: &str,
) -> Result<(), Refusal> {
    delete_tag_where(store, repo, name, TagClass::Mutable).await
}

/// The same where tags are of a class now.
pub(crate) async fn delete_tag_where(
    store: &dyn Store,
    repo: &RepoName,
    name: &str,
    class: TagClass,
) -> Result<(), Refusal> {
    let name = tag(name);
    store
        .delete_tag(repo, &name, class, TagCondition::Any, "user:tester", NOW)
        .await
        .unwrap()
}
