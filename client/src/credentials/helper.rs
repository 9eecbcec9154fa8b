//! Credential helpers: programs named `docker-credential-NAME` that keep secrets in a system's store.
//!
//! Source: docker-credential-helpers' protocol: one word as argument (`get`, `store`, `erase`), the
//! input on standard input, JSON on standard output. Owns that conversation.
//! Invariant: secrets go through pipes only, never into arguments or the environment.

use super::{Credential, Secret};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;

/// A helper may ask its user for a passphrase, so it is given some time.
const PATIENCE: Duration = Duration::from_secs(120);

/// User name under which helpers keep identity tokens.
const TOKEN_USER: &str = "<token>";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    #[serde(rename = "ServerURL", default)]
    server_url: String,
    username: String,
    secret: String,
}

/// Asks the helper for a registry's credential; `None` if it has none.
pub(crate) async fn get(name: &str, registry: &str) -> Result<Option<Credential>> {
    let answer = match run(name, "get", registry.as_bytes()).await? {
        Ok(answer) => answer,
        Err(message) => {
            // The protocol has no code for this; these texts are fixed in its client library.
            let is_absent = [
                "credentials not found",
                "no credentials server URL",
                "no credentials username",
            ]
            .iter()
            .any(|text| message.contains(text));
            return if is_absent {
                Ok(None)
            } else {
                Err(failed(name, "get", &message))
            };
        }
    };
    let entry: Entry = serde_json::from_slice(&answer)
        .map_err(|_| failed(name, "get", "its answer is not what the protocol says"))?;
    if entry.secret.is_empty() {
        return Ok(None);
    }
    Ok(Some(if entry.username == TOKEN_USER {
        Credential::Identity(Secret::new(entry.secret))
    } else {
        Credential::basic(entry.username, entry.secret)
    }))
}

/// Hands a credential to the helper to keep.
pub(crate) async fn store(
    name: &str,
    registry: &str,
    username: &str,
    secret: &Secret,
) -> Result<()> {
    let entry = Entry {
        server_url: registry.to_owned(),
        username: username.to_owned(),
        secret: secret.reveal().to_owned(),
    };
    let input = zeroize::Zeroizing::new(
        serde_json::to_vec(&entry).map_err(|error| failed(name, "store", &error.to_string()))?,
    );
    run(name, "store", &input)
        .await?
        .map(drop)
        .map_err(|message| failed(name, "store", &message))
}

/// Lets the helper forget a registry; one that it does not know is no error.
pub(crate) async fn erase(name: &str, registry: &str) -> Result<()> {
    match run(name, "erase", registry.as_bytes()).await? {
        Err(message) if !message.contains("not found") => Err(failed(name, "erase", &message)),
        _ => Ok(()),
    }
}

fn failed(name: &str, verb: &str, problem: &str) -> Error {
    let problem = crate::transport::printable(problem.trim());
    Error::other(format!("credential helper \"docker-credential-{name}\" failed to {verb}: {problem}"))
        .hint("try the helper by itself, or remove it from credsStore or credHelpers in docker's config.json")
}

/// Runs the helper; its error text, which it prints on standard output, is the inner error.
async fn run(name: &str, verb: &str, input: &[u8]) -> Result<Result<Vec<u8>, String>> {
    if name.contains(['/', '\\']) || name.contains(char::is_control) {
        return Err(Error::other(format!(
            "\"{}\" is not the name of a credential helper",
            name.escape_debug()
        )));
    }
    let program = format!("docker-credential-{name}");
    let mut child = tokio::process::Command::new(&program)
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(name, verb, &format!("{program} cannot be started: {error}")))?;
    let talk = async {
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that does not read its input has failed anyway, and says why itself.
            let _ = stdin.write_all(input).await;
            let _ = stdin.shutdown().await;
        }
        child.wait_with_output().await
    };
    let output = tokio::time::timeout(PATIENCE, talk)
        .await
        .map_err(|_| failed(name, verb, "it did not answer within 120 s"))?
        .map_err(|error| failed(name, verb, &error.to_string()))?;
    if output.status.success() {
        Ok(Ok(output.stdout))
    } else {
        Ok(Err(String::from_utf8_lossy(&output.stdout).into_owned()))
    }
}
