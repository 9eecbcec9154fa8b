//! Alerts: told once where people look, signed where programs do.
//!
//! The line itself is `spec::report`'s. Owns its ways: a webhook, tried again when it does not answer, and a
//! directory from which something else sends mail. Invariant: an alert that could not be delivered never
//! changes how a replay ended.

use crate::error::{Error, Result};
use data_encoding::BASE64;
use sealstone_spec::key::Signer;
use sealstone_spec::report::{Report, alert_line};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;
use url::Url;

/// Attempts to deliver.
const ATTEMPTS: u32 = 4;
/// Wait before the second; doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where alerts are posted.
#[derive(Clone, Debug)]
pub struct Webhook {
    url: Url,
    client: reqwest::Client,
}

impl Webhook {
    /// A webhook at this address.
    ///
    /// # Errors
    /// If it is no http or https address.
    pub fn new(url: &str) -> Result<Webhook> {
        let url: Url = url
            .parse()
            .map_err(|error| Error::usage("the webhook's address cannot be read").source(error))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Error::usage(format!(
                "a webhook speaks http or https, not {}",
                url.scheme()
            )));
        }
        let client = reqwest::Client::builder()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| Error::other("cannot make a client for the webhook").source(error))?;
        Ok(Webhook { url, client })
    }

    /// Posts the alert of a report, signed over the body's bytes where there is a signer: headers
    /// `sealstone-signature` (base64) and `sealstone-key-id`. Tried again when the other side fails; not
    /// when it refuses.
    ///
    /// # Errors
    /// If no attempt was answered well.
    pub async fn post(
        &self,
        report: &Report,
        runbook: Option<&str>,
        signer: Option<&(dyn Signer + Sync)>,
    ) -> Result<()> {
        let body = body(report, runbook);
        let signature = signer
            .map(|signer| {
                signer.sign(&body).map(|signature| {
                    (
                        BASE64.encode(&signature),
                        signer.public_key().id().to_string(),
                    )
                })
            })
            .transpose()
            .map_err(|error| Error::other("the alert was not signed").source(error))?;
        let mut wait = FIRST_WAIT;
        let mut last = Error::network("the webhook was not asked");
        for attempt in 1..=ATTEMPTS {
            let mut request = self
                .client
                .post(self.url.clone())
                .header("content-type", "application/json")
                .header("sealstone-event", "replay")
                .header("sealstone-fingerprint", report.fingerprint().hex());
            if let Some((signature, key)) = &signature {
                request = request
                    .header("sealstone-signature", signature)
                    .header("sealstone-key-id", key);
            }
            match request.body(body.clone()).send().await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => {
                    last = Error::network(format!("the webhook answered {}", answer.status()));
                    if answer.status().is_client_error() && answer.status().as_u16() != 429 {
                        return Err(last);
                    }
                }
                Err(error) => {
                    last = Error::network("the webhook did not answer").source(error.without_url())
                }
            }
            if attempt < ATTEMPTS {
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
        }
        Err(last)
    }
}

/// What is posted.
fn body(report: &Report, runbook: Option<&str>) -> Vec<u8> {
    let first = report
        .first_divergence
        .as_ref()
        .filter(|first| !first.tolerated);
    let document = json!({
        "schema": "sealstone-alert/v1",
        "text": alert_line(report, runbook),
        "verdict": report.verdict.as_str(),
        "recovered": report.verdict.is_reproduced(),
        "bundle": {"id": report.baseline.id, "digest": report.baseline.digest},
        "stage": report.stage_at_fault(),
        "artifact": first.and_then(|first| first.artifact.as_ref()),
        "locator": first.and_then(|first| first.locator.as_ref()),
        "attribution": report.attribution.map(|attribution| attribution.as_str()),
        "owner": report.owner,
        "runbook": runbook,
        "fingerprint": report.fingerprint().to_string(),
        "at": report.finished_on,
    });
    serde_json::to_vec(&document).expect("made of text")
}

/// Writes the alert as a file of its own into `directory`, under its fingerprint: the same failure is one
/// file, written again. Returns the file, or `None` if the same alert lay there already.
///
/// # Errors
/// If the directory cannot be written.
pub fn drop_file(
    directory: &Path,
    report: &Report,
    runbook: Option<&str>,
) -> Result<Option<PathBuf>> {
    let failed = |source| {
        Error::io(
            format!("writing an alert into \"{}\"", directory.display()),
            source,
        )
    };
    std::fs::create_dir_all(directory).map_err(failed)?;
    let path = directory.join(format!("{}.txt", &report.fingerprint().hex()[..32]));
    if path.exists() {
        return Ok(None);
    }
    let text = format!(
        "{}\n\n{}\n",
        alert_line(report, runbook),
        report.finished_on
    );
    std::fs::write(&path, text).map_err(failed)?;
    Ok(Some(path))
}

/// Closes the alerts that lie in `directory` about the model of a report that is reproduced: each gets a line
/// that says so, and another name. Returns those files.
///
/// # Errors
/// If the directory cannot be read or written.
pub fn recover(directory: &Path, report: &Report) -> Result<Vec<PathBuf>> {
    let failed = |source| {
        Error::io(
            format!("closing alerts in \"{}\"", directory.display()),
            source,
        )
    };
    let mut closed = Vec::new();
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(closed),
        Err(error) => return Err(failed(error)),
    };
    let model = model_of(&report.baseline.id);
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(failed)?;
        // VERDICT ID and so on: the first line is an alert line.
        let about = text.split_whitespace().nth(1).map(model_of);
        if about != Some(model) {
            continue;
        }
        let line = format!("RECOVERED {} {}\n", report.baseline.id, report.finished_on);
        let to = path.with_extension("recovered");
        std::fs::write(&to, format!("{line}{text}")).map_err(failed)?;
        std::fs::remove_file(&path).map_err(failed)?;
        closed.push(to);
    }
    closed.sort();
    Ok(closed)
}

/// The name in an id such as `churn:1.4.0~brisk-otter-quartz`.
fn model_of(id: &str) -> &str {
    id.split([':', '~']).next().unwrap_or(id)
}
