//! Signing: one sigstore bundle per key, attached to the manifest as a referrer.
//!
//! Order (it is what makes the result readable for others at every moment): bundle blob, empty
//! config, referrer manifest. The tag comes last of all, and is not made here.
//! Invariant: a bundle is read again, as a verifier will, before it is attached.

use crate::error::{Error, Outcome, Result};
use crate::store::Store;
use data_encoding::BASE64;
use sealstone_spec::attachment::attachment_manifest;
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::key::{KeyId, PublicKey, Signer};
use sealstone_spec::log::{Rekord, TlogEntry};
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::media;
use sealstone_spec::name::Reference;
use sealstone_spec::notary::{self, Files};
use sealstone_spec::sigstore::{
    ANNOTATION_PREDICATE_TYPE, MAX_BUNDLE_BYTES, SigstoreBundle, referrer_manifest,
};
use sealstone_spec::statement::{Statement, VerifiedStatement, predicate};
use std::collections::BTreeMap;

/// A signature that has been attached.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The key that signed.
    pub key_id: KeyId,
    /// Its algorithm.
    pub algorithm: &'static str,
    /// Digest of the referrer manifest that holds the signature.
    pub referrer: Digest,
    /// Whether the same key's signature was there already; nothing was added then.
    pub was_there: bool,
}

/// Signs `manifest`, which lies in `store`, with one key. `name` is the name in the statement, for
/// people; the digest is what counts. `created` is the time in the referrer, RFC 3339.
///
/// The statement's first subject is the manifest; a bundle of files has its model signature's root as
/// second one. A valid signature of the same key about this manifest that is there already is left as
/// it is; one that was made where nothing logs, and could be logged here, is attached once more with its
/// entry.
///
/// # Errors
/// If the signer refuses or the store cannot be written.
pub async fn sign(
    store: &dyn Store,
    manifest: &VerifiedManifest,
    name: &str,
    signer: &(dyn Signer + Sync),
    created: &str,
) -> Result<Signed> {
    let holds = |bundle: &SigstoreBundle| check(bundle, signer.public_key(), manifest);
    let kind = predicate::COSIGN_SIGN;
    if let Some(found) = find(store, manifest, kind, &holds).await? {
        return found.settled(store, manifest, kind, signer, created).await;
    }
    let subjects = notary::subjects(name, manifest, Files::None);
    let bundle = SigstoreBundle::sign(&Statement::signature(subjects), signer)
        .map_err(|error| Error::other("nothing was signed").source(error))?;
    check(&reread(&bundle)?, signer.public_key(), manifest)
        .map_err(|problem| Error::other(format!("the new signature does not hold: {problem}")))?;
    let bundle = logged(store, bundle, signer.public_key()).await?;
    let referrer = attach(store, manifest, bundle.to_bytes(), kind, created).await?;
    Ok(Signed::new(signer, referrer))
}

/// The bundle with the entry of the place's log, where there is a log and the key is one that such
/// entries can name: sigstore's verifiers look for it there.
///
/// # Errors
/// If the log answers with an entry of something else.
pub async fn logged(
    store: &dyn Store,
    bundle: SigstoreBundle,
    key: &PublicKey,
) -> Result<SigstoreBundle> {
    let Ok(rekord) = Rekord::of_envelope(bundle.envelope(), key) else {
        return Ok(bundle);
    };
    let Some(entry) = store.log_signature(&rekord).await? else {
        return Ok(bundle);
    };
    // Whether the log is one to trust, whoever verifies decides; that the entry is of this signature is
    // seen here, before it is attached.
    let body = BASE64.encode(&rekord.to_bytes());
    let is_this = entry["canonicalizedBody"].as_str() == Some(&body);
    match TlogEntry::read(&entry) {
        Ok(_) if is_this => Ok(bundle.with_tlog_entry(entry)),
        Ok(_) => Err(Error::halted(
            "the registry's log answered with an entry of another signature",
        )),
        Err(error) => Err(Error::halted(
            "the registry's log answered with something that is no entry",
        )
        .source(error)),
    }
}

impl Signed {
    pub(super) fn new(signer: &(dyn Signer + Sync), referrer: Digest) -> Signed {
        Signed {
            key_id: *signer.public_key().id(),
            algorithm: signer.public_key().algorithm(),
            referrer,
            was_there: false,
        }
    }

    pub(super) fn there(signer: &(dyn Signer + Sync), referrer: Digest) -> Signed {
        Signed {
            was_there: true,
            ..Signed::new(signer, referrer)
        }
    }
}

/// Attaches a bundle to `manifest` as a referrer of that predicate type; returns the referrer's digest.
///
/// # Errors
/// If the store cannot be written.
pub async fn attach(
    store: &dyn Store,
    manifest: &VerifiedManifest,
    bundle: Vec<u8>,
    predicate_type: &str,
    created: &str,
) -> Result<Digest> {
    let document = referrer_manifest(&manifest.descriptor(), &bundle, predicate_type, created);
    put_referrer(store, document, bundle).await
}

/// Attaches a document that is no statement, as a referrer of its own media type; returns the referrer's digest.
///
/// # Errors
/// If the store cannot be written.
pub async fn attach_document(
    store: &dyn Store,
    manifest: &VerifiedManifest,
    content: Vec<u8>,
    media_type: &'static str,
    created: &str,
) -> Result<Digest> {
    let annotations = BTreeMap::from([(media::ANNOTATION_CREATED, created)]);
    let subject = manifest.descriptor();
    let document = attachment_manifest(&subject, media_type, &content, &annotations);
    put_referrer(store, document, content).await
}

/// Puts the one layer of a referrer, its empty configuration, and then itself.
async fn put_referrer(store: &dyn Store, document: Vec<u8>, content: Vec<u8>) -> Result<Digest> {
    let referrer = VerifiedManifest::check(document, None, None, Algorithm::Sha256)
        .map_err(|error| Error::other("cannot attach a document to this manifest").source(error))?;
    store
        .put_blob_bytes(&Digest::sha256(&content), content)
        .await?;
    store
        .put_blob_bytes(&Digest::sha256(b"{}"), b"{}".to_vec())
        .await?;
    store.put_manifest(&referrer, None).await?;
    Ok(*referrer.digest())
}

/// The bundle as a verifier will read it.
pub(super) fn reread(bundle: &SigstoreBundle) -> Result<SigstoreBundle> {
    SigstoreBundle::parse(&bundle.to_bytes())
        .map_err(|error| Error::other("the new signature cannot be read").source(error))
}

/// Whether a bundle is a signature by `key` on `manifest`; a problem is a text.
fn check(
    bundle: &SigstoreBundle,
    key: &PublicKey,
    manifest: &VerifiedManifest,
) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let envelope = bundle.envelope().verify(key).map_err(|e| text(&e))?;
    VerifiedStatement::check(&envelope, &[predicate::COSIGN_SIGN], manifest.digest())
        .map_err(|e| text(&e))?;
    Ok(())
}

/// A referrer that says already what was to be said.
pub(super) struct Found {
    pub(super) referrer: Digest,
    bundle: SigstoreBundle,
}

impl Found {
    /// What is there, or the same signature attached once more with the entry of the place's log, where it has
    /// none and the log takes it: whoever looks for logged signatures would not see it otherwise.
    pub(super) async fn settled(
        self,
        store: &dyn Store,
        manifest: &VerifiedManifest,
        predicate_type: &str,
        signer: &(dyn Signer + Sync),
        created: &str,
    ) -> Result<Signed> {
        if !self.bundle.tlog_entries().is_empty() {
            return Ok(Signed::there(signer, self.referrer));
        }
        let bundle = logged(store, self.bundle, signer.public_key()).await?;
        if bundle.tlog_entries().is_empty() {
            return Ok(Signed::there(signer, self.referrer));
        }
        let bytes = bundle.to_bytes();
        let referrer = attach(store, manifest, bytes, predicate_type, created).await?;
        Ok(Signed::new(signer, referrer))
    }
}

/// The referrer of `manifest` whose bundle says what `holds` asks for, if there is one: with a log's entry, if
/// there is one with. The predicate type in a listing selects what is read, and nothing more.
pub(super) async fn find(
    store: &dyn Store,
    manifest: &VerifiedManifest,
    predicate_type: &str,
    holds: &(dyn Fn(&SigstoreBundle) -> Result<(), String> + Sync),
) -> Result<Option<Found>> {
    let mut unlogged = None;
    let listed = store
        .referrers(manifest.digest(), Some(media::SIGSTORE_BUNDLE_V03))
        .await?;
    for descriptor in listed {
        let stated = descriptor.annotations.get(ANNOTATION_PREDICATE_TYPE);
        if stated.is_some_and(|stated| stated != predicate_type) {
            continue;
        }
        match read(store, &descriptor.digest).await {
            Ok(Some(bundle)) if holds(&bundle).is_ok() => {
                let found = Found {
                    referrer: descriptor.digest,
                    bundle,
                };
                if !found.bundle.tlog_entries().is_empty() {
                    return Ok(Some(found));
                }
                unlogged.get_or_insert(found);
            }
            Ok(_) => {}
            // Somebody else's broken referrer is no reason not to sign.
            Err(error) if matches!(error.outcome(), Outcome::Halted | Outcome::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(unlogged)
}

async fn read(store: &dyn Store, referrer: &Digest) -> Result<Option<SigstoreBundle>> {
    let referrer = store.manifest(&Reference::Digest(*referrer)).await?;
    let [layer] = referrer.layers() else {
        return Ok(None);
    };
    let bytes = store.blob_bytes(layer, MAX_BUNDLE_BYTES as u64).await?;
    Ok(SigstoreBundle::parse(&bytes).ok())
}
