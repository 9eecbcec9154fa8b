//! `trusted_root.json` (sigstore protobuf-specs): the log's key in the form that sigstore's tools read.
//!
//! Owns writing it for our logs, and reading the keys of Ed25519 logs out of such a file. Certificate
//! authorities and timestamp services in it are passed over: nothing here relies on them.

use super::LogError;
use super::hash::Hash;
use super::vkey::{KeyKind, VerifierKey};
use crate::canonical::{parse_strict, to_canonical_json};
use crate::key::PublicKey;
use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::json;

/// Longest file that is read, in bytes.
pub const MAX_TRUSTED_ROOT_BYTES: usize = 1024 * 1024;

const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.trustedroot+json;version=0.1";

/// The file for one log. `base_url` is where it is served; sigstore's tools take its host for the log's
/// name, so the two must be the same. `start` is RFC 3339.
///
/// # Errors
/// If the host of `base_url` is not the log's name.
pub fn trusted_root(base_url: &str, log: &VerifierKey, start: &str) -> Result<Vec<u8>, LogError> {
    if host(base_url) != Some(log.name()) {
        let problem = "its name must be the bare host name under which it is served, or sigstore's tools do not find it";
        return Err(LogError::VerifierKey(problem));
    }
    let key = json!({
        "rawBytes": BASE64.encode(&log.public_key().to_spki_der()),
        "keyDetails": "PKIX_ED25519",
        "validFor": {"start": start},
    });
    // Without `checkpointKeyId`: where it is absent it is the log's id, and sigstore-js, which compares it
    // with an entry's whole log id, refuses the four bytes that a checkpoint's line begins with.
    let file = json!({
        "mediaType": MEDIA_TYPE,
        "tlogs": [{
            "baseUrl": base_url,
            "hashAlgorithm": "SHA2_256",
            "publicKey": key,
            "logId": {"keyId": log.full_id()},
        }],
        "certificateAuthorities": [],
        "ctlogs": [],
        "timestampAuthorities": [],
    });
    Ok(to_canonical_json(&file)?)
}

/// The host of an `https` or `http` URL, without its port.
fn host(url: &str) -> Option<&str> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))?;
    let authority = rest.split('/').next()?;
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    (!host.is_empty()).then_some(host)
}

#[derive(Deserialize)]
struct File {
    #[serde(rename = "mediaType")]
    media_type: String,
    #[serde(default)]
    tlogs: Vec<Instance>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Instance {
    base_url: String,
    public_key: InstanceKey,
    log_id: LogId,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InstanceKey {
    raw_bytes: String,
    key_details: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogId {
    key_id: Hash,
}

/// The keys of the Ed25519 logs in such a file. Logs with other keys are passed over.
///
/// # Errors
/// If the file is not valid, or a log's id is not that of its name and key.
pub fn trusted_keys(bytes: &[u8]) -> Result<Vec<VerifierKey>, LogError> {
    let file: File = parse_strict(bytes, MAX_TRUSTED_ROOT_BYTES)?;
    if file.media_type != MEDIA_TYPE {
        return Err(LogError::VerifierKey(
            "the file is no trusted root of version 0.1",
        ));
    }
    let ed25519 = file
        .tlogs
        .iter()
        .filter(|log| log.public_key.key_details == "PKIX_ED25519");
    ed25519
        .map(|log| {
            let bad = |problem| LogError::VerifierKey(problem);
            let name = host(&log.base_url).ok_or(bad("its base URL has no host"))?;
            let der = BASE64
                .decode(log.public_key.raw_bytes.as_bytes())
                .map_err(|_| bad("its key is not strict base64"))?;
            let key = PublicKey::from_spki_der(&der).map_err(|_| bad("its key cannot be read"))?;
            let key = VerifierKey::new(name, KeyKind::Log, key)?;
            if key.full_id() != &log.log_id.key_id {
                return Err(bad("its id is not that of its name and key"));
            }
            Ok(key)
        })
        .collect()
}
