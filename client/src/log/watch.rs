//! The check at each contact: the log goes on from what it showed before, or nothing goes on here.

use super::fetch::LogSource;
use super::kept::{KeptLog, KeptLogs};
use crate::error::{Error, Outcome, Result};
use crate::transport::Registry;
use sealstone_spec::digest::Digest;
use sealstone_spec::log::{
    Divergence, Entry, LogError, LogTrust, LoggedEvidence, Operation, SignedCheckpoint,
    VerifiedCheckpoint,
};
use sealstone_spec::name::{RepoName, Tag};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// A log that was seen, and went on from what was kept.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Where it is.
    pub source: LogSource,
    /// Its latest checkpoint.
    pub checkpoint: VerifiedCheckpoint,
    /// The size that was kept before; `None` at the first contact.
    pub before: Option<u64>,
    /// What proofs are checked against.
    pub trust: LogTrust,
}

/// Checks the registry's log against what is kept, and keeps its latest checkpoint. `None` if the registry
/// has no log and never had one.
///
/// # Errors
/// [`Outcome::Contradicted`] if the log was rolled back, rewritten, replaced or taken away.
pub async fn contact(registry: &Registry, kept: &KeptLogs) -> Result<Option<Seen>> {
    contact_with(registry, kept, None).await
}

/// The same with logs and witnesses that are trusted from elsewhere, in place of trust on first use.
///
/// # Errors
/// As [`contact`]; and if the log is not among those that are trusted.
pub async fn contact_with(
    registry: &Registry,
    kept: &KeptLogs,
    trust: Option<&LogTrust>,
) -> Result<Option<Seen>> {
    let source = LogSource::new(registry.clone());
    let name = registry.name().to_owned();
    let first = kept.read(&name)?;
    let shown = match (&first, trust) {
        (None, None) => source.first_checkpoint().await?,
        _ => source.checkpoint().await?,
    };
    let Some(shown) = shown else {
        return match (first, trust) {
            (Some(kept), _) => Err(gone(&name, &kept)),
            (None, Some(_)) => Err(Error::halted(format!(
                "registry {name} has no transparency log, and one is asked for"
            ))),
            (None, None) => Ok(None),
        };
    };
    let trust = match (trust, &first) {
        (Some(trust), _) => trust.clone(),
        (None, Some(kept)) => only(kept.key.clone())?,
        (None, None) => {
            let key = source.key().await?;
            let key = key.ok_or_else(|| {
                Error::halted(format!("registry {name} shows a checkpoint and no log key"))
            })?;
            only(key)?
        }
    };
    let mut checkpoint = verify(&name, &trust, &shown, first.as_ref())?;
    // Kept by the registry's name, and by the log's: one log behind two names shows one history.
    let names = [name.clone(), checkpoint.log().to_string()];
    // Nothing to keep: then no lock is needed, nor a directory that can be written.
    let shown = KeptLog {
        key: checkpoint.log().clone(),
        checkpoint: checkpoint.clone(),
    };
    if let [Some(by_name), Some(by_log)] = [kept.read(&names[0])?, kept.read(&names[1])?]
        && by_name == shown
        && by_log == shown
    {
        let before = Some(checkpoint.size());
        return Ok(Some(Seen {
            source,
            checkpoint,
            before,
            trust,
        }));
    }
    // From here on nobody else changes what is kept. Another process may have gone on meanwhile: then ours
    // may be the older of two good checkpoints, and a newer one is asked for.
    let _locks = {
        let (kept, names) = (kept.clone(), names.clone());
        let lock = move || names.iter().map(|name| kept.lock(name)).collect();
        let locks: Result<Vec<_>> = tokio::task::spawn_blocking(lock).await.map_err(|error| {
            Error::other("waiting for the kept checkpoint ended early").source(error)
        })?;
        locks?
    };
    let before = [kept.read(&names[0])?, kept.read(&names[1])?];
    let largest = before.iter().flatten();
    let largest = largest.max_by_key(|before| before.checkpoint.size());
    if let Some(largest) = largest
        && largest.checkpoint.size() > checkpoint.size()
    {
        let again = source
            .checkpoint()
            .await?
            .ok_or_else(|| gone(&name, largest))?;
        checkpoint = verify(&name, &trust, &again, first.as_ref())?;
    }
    for before in before.iter().flatten() {
        let (old, new) = (before.checkpoint.size(), checkpoint.size());
        let proof = if old < new {
            source.consistency(old, new).await?
        } else {
            Vec::new()
        };
        checkpoint
            .follows(&before.checkpoint, &proof)
            .map_err(|divergence| contradiction(&name, before, &checkpoint, &divergence))?;
    }
    let log = KeptLog {
        key: checkpoint.log().clone(),
        checkpoint: checkpoint.clone(),
    };
    for (name, before) in names.iter().zip(&before) {
        if before.as_ref() != Some(&log) {
            kept.write(name, &log)?;
        }
    }
    let [before, _] = before;
    Ok(Some(Seen {
        source,
        checkpoint,
        before: before.map(|before| before.checkpoint.size()),
        trust,
    }))
}

fn only(key: sealstone_spec::log::VerifierKey) -> Result<LogTrust> {
    LogTrust::in_logs([key])
        .map_err(|error| Error::halted("the log's key cannot be used").source(error))
}

fn verify(
    registry: &str,
    trust: &LogTrust,
    shown: &SignedCheckpoint,
    kept: Option<&KeptLog>,
) -> Result<VerifiedCheckpoint> {
    trust.verify(shown).map_err(|error| match (&error, kept) {
        // With the key that was kept, this is a log that changed its name or key.
        (LogError::UnknownLog(_) | LogError::Unsigned(_) | LogError::Signature(_), Some(kept)) => {
            Error::new(
                Outcome::Contradicted,
                format!(
                    "registry {registry} shows another log than before: it was \"{}\" with key {}",
                    kept.checkpoint.origin(),
                    kept.key
                ),
            )
            .source(error)
            .hint(ASK)
        }
        _ => Error::halted(format!(
            "the checkpoint of registry {registry} cannot be trusted"
        ))
        .source(error),
    })
}

/// What to do about a log that contradicts itself.
const ASK: &str = "do not use anything from this registry. Keep the file that is named in \"detail\": with the checkpoint shown now it proves what happened. Ask its operator, over another way";

fn gone(registry: &str, kept: &KeptLog) -> Error {
    Error::new(
        Outcome::Contradicted,
        format!(
            "registry {registry} shows no transparency log, and had one of {} entries",
            kept.checkpoint.size()
        ),
    )
    .hint(ASK)
    .detail(json!({"kept": kept.checkpoint.note().to_string()}))
}

fn contradiction(
    registry: &str,
    kept: &KeptLog,
    shown: &VerifiedCheckpoint,
    divergence: &Divergence,
) -> Error {
    let kind = match divergence {
        Divergence::Rollback { .. } => "rollback",
        Divergence::Fork { .. } => "fork",
        Divergence::OtherLog { .. } => "other-log",
        _ => "not-proved",
    };
    Error::new(Outcome::Contradicted, format!("registry {registry}: {divergence}"))
        .hint(ASK)
        .detail(json!({"kind": kind, "kept": kept.checkpoint.note().to_string(), "shown": shown.note().to_string()}))
}

/// Checks that the last thing that the log says of a tag is that it names `digest`.
///
/// # Errors
/// [`Outcome::Contradicted`] if the log says otherwise or nothing: then the registry serves what it did
/// not log.
pub async fn check_tag(
    seen: &Seen,
    repo: &RepoName,
    tag: &Tag,
    digest: &Digest,
) -> Result<LoggedEvidence> {
    let name = seen.source.registry();
    let contradicted = |text: String| Err(Error::new(Outcome::Contradicted, text).hint(ASK));
    let Some(proof) = seen.source.proof_of_tag(repo, tag).await? else {
        return contradicted(format!(
            "the log of registry {name} says nothing of {repo}:{tag}, which it serves"
        ));
    };
    let (entry, evidence) = proof.verify_entry(&seen.trust).map_err(|error| {
        Error::halted(format!(
            "registry {name} gives a proof of {repo}:{tag} that does not hold"
        ))
        .source(error)
    })?;
    let Entry::Event(event) = entry else {
        return contradicted(format!(
            "the log of registry {name} proves a signature where an event of {repo}:{tag} is due"
        ));
    };
    let is_it = event.repository.as_ref() == Some(repo) && event.tag.as_ref() == Some(tag);
    if !is_it || !matches!(event.op, Operation::Tag | Operation::Release) || event.digest != *digest
    {
        return contradicted(format!(
            "registry {name} serves {digest} as {repo}:{tag}, and the last entry of its log about that tag (number {}) says {}",
            evidence.index(),
            event.digest
        ));
    }
    // The proof's own checkpoint must be of the same history.
    check_history(seen, [evidence.checkpoint()]).await?;
    Ok(evidence)
}

/// Checks that checkpoints which came with proofs are of the history that the registry shows: a log that proves
/// statements in a tree of which its readers see nothing is two logs. What other logs signed is not looked at.
///
/// # Errors
/// [`Outcome::Contradicted`] if one is not.
pub async fn check_history<'a>(
    seen: &Seen,
    shown: impl IntoIterator<Item = &'a VerifiedCheckpoint>,
) -> Result<()> {
    let latest = &seen.checkpoint;
    // By its key: two registries on a machine each call theirs "localhost".
    let own = shown
        .into_iter()
        .filter(|other| other.log() == latest.log());
    let (newer, older): (Vec<_>, Vec<_>) = own.partition(|other| other.size() > latest.size());
    let sizes = older.iter().map(|older| older.size());
    let sizes: BTreeSet<u64> = sizes.filter(|size| *size < latest.size()).collect();
    let mut paths = match sizes.is_empty() {
        true => BTreeMap::new(),
        false => seen.source.consistencies(&sizes, latest.size()).await?,
    };
    paths.insert(latest.size(), Vec::new());
    let contradicted = |divergence: Divergence, other: &VerifiedCheckpoint| {
        Error::new(
            Outcome::Contradicted,
            format!("registry {}: {divergence}", seen.source.registry()),
        )
        .hint(ASK)
        .detail(json!({"seen": latest.note().to_string(), "proof": other.note().to_string()}))
    };
    for older in older {
        let path = paths.get(&older.size()).map(Vec::as_slice);
        latest
            .follows(older, path.unwrap_or_default())
            .map_err(|divergence| contradicted(divergence, older))?;
    }
    for newer in newer {
        let path = seen.source.consistency(latest.size(), newer.size()).await?;
        newer
            .follows(latest, &path)
            .map_err(|divergence| contradicted(divergence, newer))?;
    }
    Ok(())
}

/// Holds checkpoints of logs that nobody can ask against what is kept of each, by its key: an archive may come from a
/// log that shows others something else. Only trees of one size can be compared so; what is said of the others is
/// that they could not be, one sentence for each log.
///
/// # Errors
/// [`Outcome::Contradicted`] if one is of the size that is kept, and of another tree.
pub fn check_kept<'a>(
    kept: &KeptLogs,
    shown: impl IntoIterator<Item = &'a VerifiedCheckpoint>,
) -> Result<Vec<String>> {
    let mut by_log: BTreeMap<String, Vec<&VerifiedCheckpoint>> = BTreeMap::new();
    for shown in shown {
        by_log
            .entry(shown.log().to_string())
            .or_default()
            .push(shown);
    }
    let mut undecided = Vec::new();
    for (log, shown) in by_log {
        let Some(known) = kept.read(&log)? else {
            continue;
        };
        let known = known.checkpoint;
        let (same, others): (Vec<_>, Vec<_>) = shown
            .into_iter()
            .partition(|shown| shown.size() == known.size());
        for shown in same {
            shown.follows(&known, &[]).map_err(|divergence| {
                Error::new(Outcome::Contradicted, divergence.to_string())
                    .hint("do not use what these proofs came with. Keep the two checkpoints in \"detail\": together they prove what happened. Ask the log's operator, over another way")
                    .detail(json!({"kept": known.note().to_string(), "proof": shown.note().to_string()}))
            })?;
        }
        if !others.is_empty() {
            undecided.push(format!(
                "{} of the checkpoints that the proofs rest on could not be compared with the one of {} entries that is kept of the log {}: whether they are of one history, only the log can show",
                others.len(),
                known.size(),
                known.origin()
            ));
        }
    }
    Ok(undecided)
}
