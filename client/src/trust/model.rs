//! OpenSSF model signatures: made of a manifest, attached to it, and found again to be written as a file.

use super::evidence::Evidence;
use super::sign::{Signed, attach, find, reread};
use crate::error::{Error, Result};
use crate::store::Store;
use sealstone_spec::bundle::Bundle;
use sealstone_spec::digest::Digest;
use sealstone_spec::key::{PublicKey, Signer};
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::model_signature::{ALGORITHM, ModelManifest};
use sealstone_spec::sigstore::SigstoreBundle;
use sealstone_spec::statement::predicate;

/// What came of signing a model as OpenSSF Model Signing has it.
#[derive(Clone, Debug)]
pub enum ModelSigned {
    /// It was signed.
    Signed(Signed),
    /// It cannot be signed so, and why: its tools take only P-256 keys, and only bundles of plain files.
    Impossible(String),
}

/// The files of a bundle as a model signature lists them; a problem is a text.
pub(super) fn model_of(name: &str, manifest: &VerifiedManifest) -> Result<ModelManifest, String> {
    let bundle = Bundle::read(manifest).map_err(|error| error.to_string())?;
    ModelManifest::of(name, &bundle).map_err(|error| error.to_string())
}

/// What an OpenSSF model signature of a bundle is about: the digest over its files; `None` if it can have none.
pub fn model_root(manifest: &VerifiedManifest) -> Option<Digest> {
    let model = model_of("model", manifest).ok()?;
    Some(*model.root())
}

/// Tells whether a bundle claims to be a model signature of the files of `manifest`, whoever made it; `None` if there can
/// be none of it.
pub(crate) fn model_claims(
    manifest: &VerifiedManifest,
) -> Option<impl Fn(&SigstoreBundle) -> bool + use<>> {
    let model = model_of("model", manifest).ok()?;
    Some(move |bundle: &SigstoreBundle| model.is_claimed_by(bundle))
}

/// Attaches an OpenSSF model signature to `manifest`, which lies in `store`. None of the model's bytes
/// are read. One of the same key that is there already is left as it is.
///
/// # Errors
/// If the signer refuses or the store cannot be written.
pub async fn sign_model(
    store: &dyn Store,
    manifest: &VerifiedManifest,
    name: &str,
    signer: &(dyn Signer + Sync),
    created: &str,
) -> Result<ModelSigned> {
    let key = signer.public_key();
    if key.algorithm() != ALGORITHM {
        return Ok(ModelSigned::Impossible(format!(
            "{} is no P-256 key, and model signatures are made with those only",
            key.id()
        )));
    }
    let model = match model_of(name, manifest) {
        Ok(model) => model,
        Err(problem) => return Ok(ModelSigned::Impossible(problem)),
    };
    let holds =
        |bundle: &SigstoreBundle| model.check(bundle, key).map_err(|error| error.to_string());
    if let Some(found) = find(store, manifest, predicate::MODEL_SIGNATURE, &holds).await? {
        return Ok(ModelSigned::Signed(Signed::there(signer, found.referrer)));
    }
    let bundle = model
        .sign(signer)
        .map_err(|error| Error::other("nothing was signed").source(error))?;
    model
        .check(&reread(&bundle)?, key)
        .map_err(|error| Error::other("the new model signature does not hold").source(error))?;
    // Without a log's entry: its tools read the bundle as a file, `model.sig`, that is the same wherever it was made.
    let bytes = bundle.to_bytes();
    let referrer = attach(store, manifest, bytes, predicate::MODEL_SIGNATURE, created).await?;
    Ok(ModelSigned::Signed(Signed::new(signer, referrer)))
}

/// The bytes of a model signature among `evidence` that holds for `manifest` under one of `keys`, to be
/// written as `model.sig`.
///
/// # Errors
/// [`Outcome::NotFound`](crate::Outcome::NotFound) if there is none.
pub fn model_signature(
    evidence: &Evidence,
    manifest: &VerifiedManifest,
    keys: &[PublicKey],
) -> Result<Vec<u8>> {
    let model = model_of("model", manifest).map_err(|problem| {
        Error::halted(format!("this bundle has no model signature: {problem}"))
    })?;
    let holds = |bytes: &[u8]| {
        let bundle = SigstoreBundle::parse(bytes).ok();
        bundle.is_some_and(|bundle| keys.iter().any(|key| model.check(&bundle, key).is_ok()))
    };
    let mut attached: Vec<_> = evidence.attached.iter().collect();
    attached.sort_by_key(|item| *item.referrer.digest());
    attached
        .into_iter()
        .find(|item| holds(&item.bundle))
        .map(|item| item.bundle.clone())
        .ok_or_else(|| {
            Error::not_found(format!(
                "no OpenSSF model signature by a trusted key is attached to {}",
                manifest.digest()
            ))
            .hint("its signer adds one with a P-256 key: sealstone sign LOCATION --key NAME.key, with NAME-p256.key beside it")
        })
}
