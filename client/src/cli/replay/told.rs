//! What is written, signed and said of a report.

use super::Args;
use super::workspace::write;
use crate::cli::Context;
use crate::cli::output::Output;
use sealstone::replay::{Webhook, drop_file, recover, statements};
use sealstone::report::{Surroundings, html, json, junit, markdown, sarif};
use sealstone::transfer::Place;
use sealstone::trust::{attach, attach_document, logged};
use sealstone::{Error, Result};
use sealstone_spec::digest::Digest;
use sealstone_spec::key::{SecretKey, Signer as _};
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::notary::{self, Files};
use sealstone_spec::policy::lifecycle;
use sealstone_spec::report::{Reason, Report, TrailEntry, Verdict, WHOLE_MEDIA_TYPE};
use sealstone_spec::sigstore::SigstoreBundle;
use sealstone_spec::statement::Subject;

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

/// Says what was done, as soon as it is.
pub(super) fn show(output: &Output, entry: &TrailEntry) {
    let mark = if entry.ok { "ok" } else { "FAILED" };
    let note = entry.note.as_deref().map(|note| format!(": {note}"));
    let note = note.unwrap_or_default();
    output.note(format!("{} {} {mark}{note}", entry.event, entry.subject));
}

/// Signs the report, and with --push attaches it to `to` with all that follows from it; where tables were cut, the whole
/// one as well.
pub(super) async fn state(
    args: &Args,
    report: &Report,
    signer: &SecretKey,
    to: Option<&(Place, VerifiedManifest)>,
) -> Result<Vec<Digest>> {
    let about = match to {
        Some((_, manifest)) => notary::subjects(&report.baseline.id, manifest, Files::None),
        None => vec![Subject::new(&report.baseline.id, &report.baseline.digest.0)],
    };
    let all = statements(report, &about)?;
    let mut attached = Vec::new();
    for (index, statement) in all.iter().enumerate() {
        let mut bundle = SigstoreBundle::sign(statement, signer)
            .map_err(|error| Error::other("the report was not signed").source(error))?;
        let to = to.filter(|_| args.push);
        if let Some((place, _)) = to {
            bundle = logged(place.store(), bundle, signer.public_key()).await?;
        }
        let bytes = bundle.to_bytes();
        if index == 0
            && let Some(path) = &args.bundle
        {
            write(path, &bytes)?;
        }
        if let Some((place, manifest)) = to {
            attached.push(
                attach(
                    place.store(),
                    manifest,
                    bytes,
                    &statement.predicate_type,
                    &report.finished_on,
                )
                .await?,
            );
        }
    }
    if let Some((place, manifest)) = to.filter(|_| args.push)
        && report.cut().is_some()
    {
        let (store, at) = (place.store(), &report.finished_on);
        let whole = attach_document(store, manifest, report.to_bytes(), WHOLE_MEDIA_TYPE, at);
        attached.push(whole.await?);
    }
    Ok(attached)
}

/// What a halt says about the bundle's content: bytes that are not those of its digests, or files that are not those of
/// its own lock.
const DAMAGE: [&str; 4] = ["bundle-digest", "input-digest", "file-digest", "lock"];

/// Attaches the report that the bundle's content is not what its digests or its lock say, if that is what halted: it
/// puts a release into quarantine. `None` for everything else.
pub(super) async fn report_damage(
    report: &Report,
    signer: &SecretKey,
    place: &Place,
    manifest: &VerifiedManifest,
) -> Result<Option<Digest>> {
    let is_damage = |reason: &&Reason| {
        reason.verdict == Verdict::Halted && DAMAGE.contains(&reason.code.as_str())
    };
    let Some(reason) = report.reasons.iter().find(is_damage) else {
        return Ok(None);
    };
    let text = format!("{} of {}: {}", reason.code, reason.subject, reason.text);
    let text: String = text.chars().take(300).collect();
    let subject = notary::subjects(&report.baseline.id, manifest, Files::None);
    let at = &report.finished_on;
    let statement = lifecycle::incident(subject, &text, &[], at);
    let bundle = SigstoreBundle::sign(&statement, signer)
        .map_err(|error| Error::other("the incident was not signed").source(error))?;
    let bundle = logged(place.store(), bundle, signer.public_key()).await?;
    let kind = &statement.predicate_type;
    let attached = attach(place.store(), manifest, bundle.to_bytes(), kind, at);
    attached.await.map(Some)
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
