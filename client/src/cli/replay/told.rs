//! What is written, signed and said of a report.

use super::Args;
use super::bundle::Verified;
use super::workspace::write;
use crate::cli::Context;
use sealstone::replay::{Webhook, drop_file, recover, statements};
use sealstone::report::{Surroundings, html, json, junit, markdown, sarif};
use sealstone::trust::attach;
use sealstone::{Error, Result};
use sealstone_spec::digest::Digest;
use sealstone_spec::key::SecretKey;
use sealstone_spec::report::Report;
use sealstone_spec::sigstore::SigstoreBundle;

pub(super) fn write_all(args: &Args, report: &Report, around: &Surroundings) -> Result<()> {
    let files = [
        (&args.report, json(report)),
        (&args.junit, junit(report)),
        (&args.sarif, sarif(report, around)),
        (&args.markdown, markdown(report, around)),
    ];
    for (path, text) in files {
        if let Some(path) = path {
            write(path, text.as_bytes())?;
        }
    }
    if let Some(path) = &args.html {
        write(path, html(report, around)?.as_bytes())?;
    }
    Ok(())
}

/// Signs the report, and with --push attaches it with all that follows from it.
pub(super) async fn state(
    args: &Args,
    report: &Report,
    signer: &SecretKey,
    verified: Option<&Verified>,
) -> Result<Vec<Digest>> {
    let all = statements(report, &report.baseline.id)?;
    let mut attached = Vec::new();
    for (index, statement) in all.iter().enumerate() {
        let bundle = SigstoreBundle::sign(statement, signer)
            .map_err(|error| Error::other("the report was not signed").source(error))?;
        let bytes = bundle.to_bytes();
        if index == 0
            && let Some(path) = &args.bundle
        {
            write(path, &bytes)?;
        }
        if let Some(verified) = verified.filter(|_| args.push) {
            attached.push(
                attach(
                    verified.place.store(),
                    &verified.manifest,
                    bytes,
                    &statement.predicate_type,
                    &report.finished_on,
                )
                .await?,
            );
        }
    }
    Ok(attached)
}

/// Tells whoever is to be told. What goes wrong here changes nothing about the replay.
pub(super) async fn alert(
    args: &Args,
    context: &Context,
    report: &Report,
    signer: Option<&SecretKey>,
) {
    let runbook = args.runbook.as_deref();
    if report.verdict.is_reproduced() {
        let closed = args
            .alert_dir
            .as_deref()
            .map(|place| recover(place, report));
        match closed {
            Some(Ok(closed)) if !closed.is_empty() => {
                context
                    .output
                    .note(format!("recovered: {} alerts are closed", closed.len()));
            }
            Some(Err(error)) => {
                context
                    .output
                    .note(format!("warning: alerts were not closed: {error}"));
                return;
            }
            // Nobody was alarmed, as far as is known here.
            _ => return,
        }
    } else if let Some(directory) = &args.alert_dir
        && let Err(error) = drop_file(directory, report, runbook)
    {
        context
            .output
            .note(format!("warning: the alert was not written: {error}"));
    }
    if let Some(url) = &args.webhook {
        let posted = match Webhook::new(url) {
            Ok(webhook) => {
                webhook
                    .post(report, runbook, signer.map(|signer| signer as _))
                    .await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = posted {
            context
                .output
                .note(format!("warning: the alert was not delivered: {error}"));
        }
    }
}
