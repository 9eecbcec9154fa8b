//! What a Sealstone registry says beside the OCI interface: its log's evidence, and the policy in force.
//!
//! All of it is optional: a registry that has none of it, or is none of ours, is asked once and the
//! answer is that there is nothing. One that shows a log's key has to answer for its log. Nothing here is
//! believed; each document has a signature of its own.

use super::client::Registry;
use super::error::TransportError;
use super::repository::{Access, RegistryStore};
use crate::error::Result;
use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use sealstone_spec::digest::Digest;
use sealstone_spec::key::PublicKey;
use sealstone_spec::log::{PROOF_MEDIA_TYPE, Rekord};
use sealstone_spec::name::Tag;
use sealstone_spec::notary::KEY_PATH;
use sealstone_spec::record::{self, Document, MAX_DOCUMENT_BYTES};
use serde_json::Value;

/// What is said where a log does not take a signature.
const UNLOGGED: &str = "the registry's log did not take the signature, so its bundle has no entry: sign again to add it";
const MAX_ENTRY: usize = 256 * 1024;
/// Media type of a public key.
const PEM_MEDIA_TYPE: &str = "application/x-pem-file";

impl RegistryStore {
    /// Puts a P-256 signature into the registry's log; the element for a bundle's `tlogEntries`. `None`
    /// where there is no log, or it does not take it: the signature is good without. That a log which is there
    /// did not take it is said, because signing once more mends it.
    pub(crate) async fn submit_signature(&self, rekord: &Rekord) -> Result<Option<Value>> {
        let what = format!("the log entry of a signature in {}", self.name());
        let path = format!("api/v1/log/entries?repository={}", self.name());
        let mut call = self.registry().call(Method::POST, &path, &what).await?;
        call.scopes.push(self.scope(Access::Write));
        call.headers
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        call.body = Bytes::from(rekord.to_bytes());
        let answer = match self.registry().send_unrepeated(&call).await {
            Ok(answer) if matches!(answer.status(), 200 | 201) => answer,
            // A registry without a log, or of another kind.
            Ok(answer) if matches!(answer.status(), 300..=407 | 410 | 501) => {
                tracing::debug!(status = answer.status(), "there is no log for signatures");
                return Ok(None);
            }
            Ok(answer) => {
                let status = answer.status();
                tracing::warn!(status, "{UNLOGGED}");
                return Ok(None);
            }
            Err(error) => {
                tracing::warn!(%error, "{UNLOGGED}");
                return Ok(None);
            }
        };
        let body = answer.bytes(MAX_ENTRY).await?;
        Ok(serde_json::from_slice(&body).ok())
    }

    /// The registry's record of a release: what there is of policy, log key and proofs.
    pub(crate) async fn documents(
        &self,
        tag: Option<&Tag>,
        statements: &[Digest],
    ) -> Result<Vec<Document>> {
        let mut found = Vec::new();
        let policy = self.document_if_any("api/v1/policy").await?;
        // An unsigned policy is the operator's word, and nobody can check it elsewhere.
        found.extend(
            policy
                .filter(|(kind, _)| kind == record::POLICY_MEDIA_TYPE)
                .map(|(media_type, content)| Document {
                    name: record::POLICY.to_owned(),
                    media_type,
                    content,
                }),
        );
        // A registry that keeps no former keys hands out the present one.
        let keys = format!("{KEY_PATH}?former=1");
        let keys = self.document_if_any(&keys).await?;
        let keys = keys.filter(|(kind, _)| kind == PEM_MEDIA_TYPE);
        let keys = keys.map(|(_, content)| keys_in(&content));
        let keys = keys.unwrap_or_default();
        found.extend(keys.iter().map(|key| Document {
            name: record::STATEMENT_KEY.to_owned(),
            media_type: PEM_MEDIA_TYPE.to_owned(),
            content: key.to_pem().into_bytes(),
        }));
        let Some((_, key)) = self.document_if_any("api/v1/log/key").await? else {
            return Ok(found);
        };
        found.push(Document {
            name: record::LOG_KEY.to_owned(),
            media_type: "text/plain".to_owned(),
            content: key,
        });
        let root = self.document("api/v1/log/trusted_root.json").await?;
        found.extend(root.map(|(_, content)| Document {
            name: record::TRUSTED_ROOT.to_owned(),
            media_type: "application/vnd.dev.sigstore.trustedroot+json;version=0.1".to_owned(),
            content,
        }));
        let mut wanted = Vec::new();
        let here = format!("repository={}", self.name());
        wanted.extend(tag.map(|tag| (record::TAG_PROOF.to_owned(), format!("{here}&tag={tag}"))));
        wanted.extend(keys.iter().map(|key| {
            let name = record::STATEMENT_KEY_PROOF.to_owned();
            (name, format!("key={}", Digest::sha256(&key.to_spki_der())))
        }));
        for digest in statements {
            wanted.push((
                record::statement_proof(digest),
                format!("{here}&statement={digest}"),
            ));
        }
        for (name, query) in wanted {
            let path = format!("api/v1/log/proof?{query}&witnessed=1");
            let proof = self.document(&path).await?;
            found.extend(proof.filter(|(kind, _)| kind == PROOF_MEDIA_TYPE).map(
                |(media_type, content)| Document {
                    name,
                    media_type,
                    content,
                },
            ));
        }
        Ok(found)
    }

    /// The same of a registry of which nobody knows whether it is one of ours: others ask for credentials on any path, or
    /// lead away from it.
    async fn document_if_any(&self, path: &str) -> Result<Option<(String, Vec<u8>)>> {
        match self.document(path).await {
            Err(
                error @ (TransportError::Unauthorized { .. } | TransportError::Protocol { .. }),
            ) => {
                tracing::debug!(path, %error, "not there");
                Ok(None)
            }
            other => Ok(other?),
        }
    }

    /// Something at the registry's root, with its media type; `None` if the registry has no such thing.
    async fn document(&self, path: &str) -> Result<Option<(String, Vec<u8>)>, TransportError> {
        let registry: &Registry = self.registry();
        let mut call = registry.call(Method::GET, path, path).await?;
        call.scopes.push(self.scope(Access::Read));
        let answer = registry.send(&call).await?;
        if answer.status() != 200 {
            tracing::debug!(path, status = answer.status(), "not there");
            return Ok(None);
        }
        let kind = answer.header(CONTENT_TYPE).unwrap_or_default().to_owned();
        let limit = usize::try_from(MAX_DOCUMENT_BYTES).unwrap_or(usize::MAX);
        let content = answer.bytes(limit).await?;
        Ok(Some((kind, content.to_vec())))
    }
}

/// The keys in a PEM text; none if it is no list of keys.
fn keys_in(content: &[u8]) -> Vec<PublicKey> {
    let text = std::str::from_utf8(content).ok();
    let listed = text.and_then(|text| PublicKey::parse_list(text).ok());
    let listed = listed.into_iter().flatten();
    listed.map(|listed| listed.key).collect()
}
