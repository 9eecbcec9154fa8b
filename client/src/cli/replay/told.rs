//! What is written, signed and said of a report.

use super::Args;
use super::workspace::write;
use crate::cli::Context;
use crate::cli::output::Output;
use sealstone::replay::{Telling, Told, Webhook, statements, tell};
use sealstone::report::{Surroundings, html, junit, markdown, sarif};
use sealstone::transfer::Place;
use sealstone::trust::{attach, attach_document, logged};
use sealstone::{Error, Result};
use sealstone_spec::digest::Digest;
use sealstone_spec::key::{SecretKey, Signer as _};
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::notary::{self, Files};
use sealstone_spec::policy::lifecycle;
use sealstone_spec::report::{Report, TrailEntry, Verdict, WHOLE_MEDIA_TYPE};
use sealstone_spec::sigstore::SigstoreBundle;
use sealstone_spec::statement::Subject;

pub(super) fn write_all(args: &Args, report: &Report, around: &Surroundings) -> Result<()> {
    let files = [
        // Byte by byte what is attached, so that the digest by which a cut report names it is the file's.
        (&args.report, report.to_bytes()),
        (&args.junit, junit(report).into_bytes()),
        (&args.sarif, sarif(report, around).into_bytes()),
        (&args.markdown, markdown(report, around).into_bytes()),
    ];
    for (path, bytes) in files {
        if let Some(path) = path {
            write(path, &bytes)?;
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
    let to = to.filter(|_| args.push);
    let mut attached = Vec::new();
    for (index, statement) in all.iter().enumerate() {
        let mut bundle = SigstoreBundle::sign(statement, signer)
            .map_err(|error| Error::other("the report was not signed").source(error))?;
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
    if let Some((place, manifest)) = to
        && report.cut().is_some()
    {
        let (store, at) = (place.store(), &report.finished_on);
        let whole = attach_document(store, manifest, report.to_bytes(), WHOLE_MEDIA_TYPE, at);
        attached.push(whole.await?);
    }
    Ok(attached)
}

/// Attaches that the bundle's content is not what its digests or its lock say, which puts a release into quarantine:
/// only for halts that are about the bundle itself. `None` if the report tells of no halt.
pub(super) async fn report_damage(
    report: &Report,
    signer: &SecretKey,
    place: &Place,
    manifest: &VerifiedManifest,
) -> Result<Option<Digest>> {
    let mut reasons = report.reasons.iter();
    let Some(reason) = reasons.find(|reason| reason.verdict == Verdict::Halted) else {
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
    if args.webhook().is_none() && args.alert_dir.is_none() {
        return;
    }
    let warn = |error: Error| {
        let text = format!("warning: the alert was not delivered: {error}");
        context.output.note(text);
    };
    let webhook = match args.webhook().map(Webhook::new) {
        None => None,
        Some(Ok(webhook)) => Some(webhook),
        Some(Err(error)) if args.alert_dir.is_none() => return warn(error),
        Some(Err(error)) => {
            warn(error);
            None
        }
    };
    // What was told before is known by its file, also where nobody asked for files.
    let beside = || args.incidents.with_file_name("alerts");
    let directory = args.alert_dir.clone().unwrap_or_else(beside);
    let telling = Telling {
        profile: args.profile(),
        runbook: args.runbook.as_deref(),
        directory: &directory,
    };
    let webhook = webhook.as_ref();
    let told = tell(report, telling, webhook, signer.map(|signer| signer as _));
    match told.await {
        Ok(Told::Recovered(closed)) => {
            let text = format!("recovered: {closed} alerts are closed");
            context.output.note(text);
        }
        Ok(Told::Before) => context.output.note(format!(
            "this was told before: its alert lies in \"{}\"",
            directory.display()
        )),
        Ok(_) => {}
        Err(error) => warn(error),
    }
}
