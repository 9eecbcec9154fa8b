//! A bundle brought into the workspace, if signatures, policy and digests hold.

use super::Args;
use super::told::show;
use super::workspace::now;
use crate::cli::Context;
use crate::cli::transfer::interruptible;
use sealstone::replay::{Halt, Settings};
use sealstone::store::Location;
use sealstone::transfer::{Place, Requirement, TransferOptions, pull};
use sealstone::trust::evidence_for;
use sealstone::{Error, Result};
use sealstone_spec::digest::Digest;
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::name::Reference;
use sealstone_spec::recipe::RECIPE_FILE;
use sealstone_spec::words::three_words;
use std::path::{Path, PathBuf};

/// A name for people. Before the manifest is known it is the same without what only the manifest tells: alerts about one
/// model are known by it.
pub(super) fn id_of(location: &Location, digest: Option<&Digest>) -> String {
    let name = location.name();
    let mut id = name.rsplit('/').next().unwrap_or("model").to_owned();
    if let Some(tag) = location.tag() {
        id.push_str(&format!(":{tag}"));
    }
    let digest = match (digest, location.reference()) {
        (Some(digest), _) => Some(*digest),
        (None, Some(Reference::Digest(digest))) => Some(digest),
        (None, _) => None,
    };
    if let Some(digest) = digest {
        id.push_str(&format!("~{}", three_words(&digest)));
    }
    id
}

/// Verifies a bundle and brings its files into a directory of the workspace, which is returned with the bundle's digest.
/// A halt is no error: it is a result; `found` is what it is about, as soon as that is known.
pub(super) async fn bring(
    args: &Args,
    context: &Context,
    settings: &mut Settings,
    space: &Path,
    found: &mut Option<(Place, VerifiedManifest)>,
) -> Result<std::result::Result<(PathBuf, Digest), (Halt, String, Digest)>> {
    let location: Location = args.target.parse().map_err(|error: Error| {
        error.hint(format!(
            "\"{}\" is no directory with a {RECIPE_FILE} either",
            args.target
        ))
    })?;
    if !args.trust.names_somebody() && !args.insecure_skip_signatures {
        return Err(Error::usage("nobody to trust was named, so nothing would be verified")
            .hint("give --policy FILE (or set SEALSTONE_POLICY), or --key FILE.pub for each signer")
            .hint("without any signature: --insecure-skip-signatures"));
    }
    let unknown = Digest::sha256(args.target.as_bytes());
    let halt = |error: Error, id: String, digest: Digest| match Halt::of_error(&error, &args.target)
    {
        Some(halt) => Ok(Err((halt, id, digest))),
        None => Err(error),
    };
    let place = match Place::open(&location, &args.connect.options()) {
        Ok(place) => place,
        Err(error) => return halt(error, id_of(&location, None), unknown),
    };
    let found_there = args.connect.resolve_logged(&location, place.store()).await;
    let (manifest, seen) = match found_there {
        Ok(found) => found,
        Err(error) => return halt(error, id_of(&location, None), unknown),
    };
    *found = Some((place.clone(), manifest.clone()));
    let digest = *manifest.digest();
    let id = id_of(&location, Some(&digest));
    let judge = args
        .trust
        .judge_for(&location, &args.connect.options(), place.store(), &manifest)
        .await;
    let judge = match judge {
        Ok(judge) => judge,
        Err(error) => return halt(error, id, digest),
    };
    let judgement = match &judge {
        None => None,
        Some(judge) => {
            settings.policy = Some(*judge.policy().digest());
            let repository = args.trust.repository(&location)?;
            let evidence = evidence_for(place.store(), &manifest, judge.policy(), seen.as_ref());
            let evidence = match evidence.await {
                Ok(evidence) => evidence,
                Err(error) => return halt(error, id, digest),
            };
            match judge.judge(&repository, &manifest, &evidence) {
                Ok(judgement) => {
                    let policy = judge.policy().digest();
                    let held = judgement.admission.evidence().len();
                    let note = format!("policy {policy}, {held} pieces of evidence");
                    step(settings, context, "verify.signature", &id, note);
                    Some(judgement)
                }
                Err(error) => return halt(error, id, digest),
            }
        }
    };
    let requirement = match &judgement {
        Some(judgement) => Requirement::Admitted(&judgement.admission),
        None => Requirement::NoSignatures,
    };
    let directory = space.join("baseline");
    let transfer = TransferOptions {
        quarantine: Some(space.join("quarantine")),
        ..args.transfer.options(context)
    };
    let pulled = interruptible(pull(
        &place,
        &manifest,
        requirement,
        &directory,
        false,
        &transfer,
    ))
    .await;
    match pulled {
        Ok(pulled) => {
            let note = format!("{} files, {} bytes", pulled.files, pulled.bytes);
            step(
                settings,
                context,
                "verify.bundle",
                &digest.to_string(),
                note,
            );
            Ok(Ok((directory, digest)))
        }
        Err(error) => match Halt::of_pull(&error, &args.target) {
            Some(halt) => Ok(Err((halt, id, digest))),
            None => Err(error),
        },
    }
}

/// Notes what went well, and says so.
fn step(settings: &mut Settings, context: &Context, event: &str, subject: &str, note: String) {
    settings.note(now(), event, subject, true, Some(note));
    if let Some(entry) = settings.trail.last() {
        show(&context.output, entry);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_bundle_is_the_same_model_before_its_manifest_is_known() {
        let digest = Digest::sha256(b"manifest");
        let words = three_words(&digest);
        for (target, before, after) in [
            (
                "host.example/models/digits:1.0.0".to_owned(),
                "digits:1.0.0".to_owned(),
                format!("digits:1.0.0~{words}"),
            ),
            (
                format!("host.example/models/digits@{digest}"),
                format!("digits~{words}"),
                format!("digits~{words}"),
            ),
            (
                "oci:some/bundle".to_owned(),
                "bundle".to_owned(),
                format!("bundle~{words}"),
            ),
        ] {
            let location: Location = target.parse().unwrap();
            assert_eq!(id_of(&location, None), before);
            assert_eq!(id_of(&location, Some(&digest)), after);
        }
    }
}
