//! What commands share that say something about a bundle: sign a statement, attach it, show it.

use super::Context;
use super::connect::ConnectArgs;
use super::signing::{SharedSigner, SignerArgs};
use sealstone::log::Seen;
use sealstone::store::{Location, Store};
use sealstone::trust::{Evidence, attach, evidence_for, evidence_of, expect_name, logged};
use sealstone::{Error, Result};
use sealstone_spec::digest::Digest;
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::notary::{self, Files};
use sealstone_spec::policy::{Policy, Time};
use sealstone_spec::sigstore::SigstoreBundle;
use sealstone_spec::statement::{Statement, Subject, VerifiedStatement};
use sealstone_spec::words::three_words;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Which bundle, and who speaks.
#[derive(Debug, clap::Args)]
pub(crate) struct SpeakArgs {
    /// The bundle: HOST/REPOSITORY@DIGEST, HOST/REPOSITORY:TAG or oci:DIR[:TAG]
    #[arg(value_name = "LOCATION")]
    pub(crate) location: Location,

    /// The three words that the bundle must have as its name
    #[arg(long, value_name = "THREE-WORDS")]
    name: Option<String>,

    #[command(flatten)]
    signer: SignerArgs,

    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// A bundle that was found, and the keys that speak about it.
pub(crate) struct Speaker {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) manifest: VerifiedManifest,
    pub(crate) signers: Vec<SharedSigner>,
    location: Location,
    seen: Option<Seen>,
}

impl SpeakArgs {
    /// Reads the keys, then finds the bundle.
    pub(crate) async fn speaker(&self) -> Result<Speaker> {
        let signers = self.signer.signers()?;
        let store = self.location.open(&self.connect.options())?;
        let (manifest, seen) = self
            .connect
            .resolve_logged(&self.location, store.as_ref())
            .await?;
        if let Some(name) = &self.name {
            expect_name(name, manifest.digest(), &self.location.to_string())?;
        }
        Ok(Speaker {
            store,
            manifest,
            signers,
            location: self.location.clone(),
            seen,
        })
    }
}

impl Speaker {
    /// What the statement is about.
    pub(crate) fn subject(&self) -> Vec<Subject> {
        notary::subjects(&self.location.name(), &self.manifest, Files::None)
    }

    /// All that has been said about the bundle, with the proofs that `policy` can make use of.
    pub(crate) async fn evidence(&self, policy: &Policy) -> Result<Evidence> {
        let (store, seen) = (self.store.as_ref(), self.seen.as_ref());
        let evidence = evidence_for(store, &self.manifest, policy, seen).await?;
        evidence.demand_all(&self.manifest)?;
        Ok(evidence)
    }

    /// Digests of what these keys have said before, of a predicate type. What cannot be read is told and
    /// passed over: nobody who stops a release shall be kept from it.
    pub(crate) async fn said(&self, context: &Context, kind: &str) -> BTreeSet<Digest> {
        match evidence_of(self.store.as_ref(), &self.manifest).await {
            Ok(evidence) => {
                if let Err(error) = evidence.demand_all(&self.manifest) {
                    context.output.note(format!(
                        "note: this names only what was read of what was said before: {error}"
                    ));
                }
                let keys: Vec<_> = self
                    .signers
                    .iter()
                    .map(|signer| signer.public_key())
                    .collect();
                evidence.said_by(&keys, kind, &self.manifest)
            }
            Err(error) => {
                context.output.note(format!(
                    "note: what was said before cannot be read, so this does not name it: {error}"
                ));
                BTreeSet::new()
            }
        }
    }

    /// Signs a statement with every key and attaches it.
    pub(crate) async fn say(
        &self,
        context: &Context,
        verb: &str,
        statement: &Statement,
        now: Time,
    ) -> Result<()> {
        let mut said = Vec::new();
        for signer in &self.signers {
            let bundle = SigstoreBundle::sign(statement, signer.as_ref())
                .map_err(|error| Error::other("nothing was signed").source(error))?;
            self.check(&bundle.to_bytes(), signer, &statement.predicate_type)?;
            let bundle = logged(self.store.as_ref(), bundle, signer.public_key()).await?;
            let referrer = attach(
                self.store.as_ref(),
                &self.manifest,
                bundle.to_bytes(),
                &statement.predicate_type,
                &now.to_string(),
            )
            .await?;
            said.push((*signer.public_key().id(), referrer));
        }
        let digest = self.manifest.digest();
        let mut text = format!("{verb} {}\n  {digest}", three_words(digest));
        for (key, referrer) in &said {
            text.push_str(&format!("\n  by {key}\n  as {referrer}"));
        }
        let rows: Vec<_> = said
            .iter()
            .map(|(key, referrer)| json!({"keyId": key, "referrer": referrer}))
            .collect();
        let value = json!({"said": verb, "location": self.location.to_string(), "digest": digest,
            "name": three_words(digest), "predicateType": statement.predicate_type, "statements": rows});
        context.output.result(&value, text);
        Ok(())
    }

    /// Reads the new bundle as a verifier will: a broken signer is found before anything is attached.
    fn check(&self, bytes: &[u8], signer: &SharedSigner, predicate_type: &str) -> Result<()> {
        let broken = |error: &dyn std::fmt::Display| {
            Error::other(format!("the new statement does not hold: {error}"))
        };
        let bundle = SigstoreBundle::parse(bytes).map_err(|error| broken(&error))?;
        let envelope = bundle
            .envelope()
            .verify(signer.public_key())
            .map_err(|error| broken(&error))?;
        VerifiedStatement::check(&envelope, &[predicate_type], self.manifest.digest())
            .map_err(|error| broken(&error))?;
        Ok(())
    }
}
