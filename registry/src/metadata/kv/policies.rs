//! What the store remembers for policies: the one in force, how often exceptions were used, and who
//! pulled which release.

use super::engine::Family;
use super::manifests::POLICY;
use super::txn::Txn;
use super::{Stop, events, key_events, keys};
use crate::metadata::{
    Error, Event, EventKind, ExceptionUses, Millis, PolicyChange, PullNote, PullRow, Refusal,
};
use sealstone_spec::digest::Digest;
use sealstone_spec::policy::ExceptionUse;
use std::collections::BTreeSet;

/// Name of the server value that holds the signed document in force.
pub(super) const DOCUMENT: &[u8] = b"policy-document";
/// Name of the server value that holds the policy under which every tag was judged. It was `policy-judged` while judging
/// neither kept revocations nor counted uses of exceptions, and `policy-judged/2` while a start judged without the log and
/// the registry's own key: a store of that time is judged once more when it is started.
pub(super) const JUDGED: &[u8] = b"policy-judged/3";
/// What the names of server values begin with that count uses of exceptions.
pub(super) const USES: &[u8] = b"use/";

/// Puts a policy in force; `true` if it is another one than before.
pub(super) fn adopt(txn: &mut Txn<'_>, change: PolicyChange) -> Result<bool, Error> {
    let text = change.digest.to_string().into_bytes();
    match &change.document {
        Some(document) => txn.put(Family::Server, DOCUMENT.to_vec(), document.clone()),
        None => txn.delete(Family::Server, DOCUMENT.to_vec()),
    }
    if txn.get(Family::Server, POLICY)?.as_deref() == Some(&text) {
        // A store that is older than events of keys learns them now; else there is nothing to note.
        note_keys(txn, &change)?;
        return Ok(false);
    }
    txn.put(Family::Server, POLICY.to_vec(), text);
    let event = Event {
        policy: Some(change.digest),
        ..Event::new(
            EventKind::PolicyChanged,
            change.digest,
            &change.by,
            change.now,
        )
    };
    events::append(txn, &event)?;
    note_keys(txn, &change)?;
    Ok(true)
}

fn note_keys(txn: &mut Txn<'_>, change: &PolicyChange) -> Result<(), Error> {
    let who = key_events::Who {
        policy: Some(change.digest),
        by: &change.by,
        now: change.now,
    };
    key_events::note(txn, key_events::OF_POLICY, &change.keys, who)
}

fn use_key(exception: &str, manifest: &Digest) -> Vec<u8> {
    let mut key = use_prefix(exception);
    key.extend_from_slice(manifest.to_string().as_bytes());
    key
}

fn use_prefix(exception: &str) -> Vec<u8> {
    // A zero ends the name: it comes from people, and must not run into the digest.
    [USES, exception.as_bytes(), &[0]].concat()
}

/// Counts a manifest under the exceptions that let it through, once however often it is; refused if one was used up
/// meanwhile by others.
pub(super) fn count_uses(
    txn: &mut Txn<'_>,
    manifest: &Digest,
    exceptions: &[ExceptionUse],
    now: Millis,
) -> Result<(), Stop> {
    for exception in exceptions {
        let key = use_key(&exception.key, manifest);
        if txn.has(Family::Server, &key)? {
            continue;
        }
        let prefix = use_prefix(&exception.key);
        let most = exception.max_uses as usize;
        if txn.scan(Family::Server, &prefix, &prefix, most)?.len() >= most {
            return Err(Stop::Refused(Refusal::Rejudge));
        }
        txn.put_row(Family::Server, key, &now);
    }
    Ok(())
}

/// Reads what [`count_uses`] wrote.
pub(super) fn read_use(key: &[u8], uses: &mut ExceptionUses) -> Result<(), Error> {
    let damaged = || Error::Damaged("a use of an exception cannot be read".into());
    let text = std::str::from_utf8(&key[USES.len()..]).map_err(|_| damaged())?;
    let (exception, manifest) = text.split_once('\0').ok_or_else(damaged)?;
    let manifest: Digest = manifest.parse().map_err(|_| damaged())?;
    let used: &mut BTreeSet<Digest> = uses.entry(exception.to_owned()).or_default();
    used.insert(manifest);
    Ok(())
}

/// Notes that somebody pulled a release: one row for each, however often.
pub(super) fn note_pull(txn: &mut Txn<'_>, note: &PullNote) -> Result<(), Error> {
    let key = keys::repo_digest_text(&note.repo, &note.digest, &note.who);
    let row = match txn.row::<PullRow>(Family::Pull, &key)? {
        Some(before) => PullRow {
            last: before.last.max(note.at),
            ..before
        },
        None => PullRow {
            first: note.at,
            last: note.at,
        },
    };
    txn.put_row(Family::Pull, key, &row);
    Ok(())
}
