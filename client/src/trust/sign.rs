//! Signing: one sigstore bundle per key, attached to the manifest as a referrer.
//!
//! Order (it is what makes the result readable for others at every moment): bundle blob, empty
//! config, referrer manifest. The tag comes last of all, and is not made here.

use crate::error::{Error, Result};
use crate::store::Store;
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::key::{KeyId, PublicKey, Signer};
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::media;
use sealstone_spec::sigstore::{SigstoreBundle, referrer_manifest};
use sealstone_spec::statement::{Statement, Subject, predicate};

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
/// A valid signature of the same key that is there already is left as it is: Ed25519 and RFC 6979
/// would make the same one again.
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
    let statement = Statement::signature(vec![Subject::new(name, manifest.digest())]);
    let bundle = SigstoreBundle::sign(&statement, signer)
        .map_err(|error| Error::other("nothing was signed").source(error))?;
    check_own(&bundle, signer.public_key(), manifest)?;
    let bytes = bundle.to_bytes();
    let mut signed = Signed {
        key_id: *signer.public_key().id(),
        algorithm: signer.public_key().algorithm(),
        referrer: Digest::sha256(&bytes),
        was_there: false,
    };
    if let Some(referrer) = already_there(store, manifest, &bytes).await? {
        signed.referrer = referrer;
        signed.was_there = true;
        return Ok(signed);
    }
    let document = referrer_manifest(
        &manifest.descriptor(),
        &bytes,
        predicate::COSIGN_SIGN,
        created,
    );
    let referrer =
        VerifiedManifest::check(document, None, None, Algorithm::Sha256).map_err(|error| {
            Error::other("cannot attach a signature to this manifest").source(error)
        })?;
    store.put_blob_bytes(&Digest::sha256(&bytes), bytes).await?;
    store
        .put_blob_bytes(&Digest::sha256(b"{}"), b"{}".to_vec())
        .await?;
    store.put_manifest(&referrer, None).await?;
    signed.referrer = *referrer.digest();
    Ok(signed)
}

/// Reads the new signature as a verifier will: a broken signer is found before anybody trusts it.
fn check_own(bundle: &SigstoreBundle, key: &PublicKey, manifest: &VerifiedManifest) -> Result<()> {
    use sealstone_spec::statement::VerifiedStatement;
    let again = SigstoreBundle::parse(&bundle.to_bytes())
        .map_err(|error| Error::other("the new signature cannot be read").source(error))?;
    let envelope = again
        .envelope()
        .verify(key)
        .map_err(|error| Error::other("the new signature does not hold").source(error))?;
    VerifiedStatement::check(&envelope, &[predicate::COSIGN_SIGN], manifest.digest())
        .map_err(|error| Error::other("the new signature says something else").source(error))?;
    Ok(())
}

/// The referrer that holds exactly this bundle, if there is one.
async fn already_there(
    store: &dyn Store,
    manifest: &VerifiedManifest,
    bundle: &[u8],
) -> Result<Option<Digest>> {
    let digest = Digest::sha256(bundle);
    let listed = store
        .referrers(manifest.digest(), Some(media::SIGSTORE_BUNDLE_V03))
        .await?;
    for descriptor in listed {
        let reference = sealstone_spec::name::Reference::Digest(descriptor.digest);
        // Somebody else's broken referrer is no reason not to sign.
        let Ok(referrer) = store.manifest(&reference).await else {
            continue;
        };
        if referrer.layers().iter().any(|layer| layer.digest == digest) {
            return Ok(Some(*referrer.digest()));
        }
    }
    Ok(None)
}
