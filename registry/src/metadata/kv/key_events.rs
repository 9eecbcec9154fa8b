//! Events of keys: each key that comes, changes or goes, of the policy and of the registry itself.
//!
//! Owns the last set of each, so that the difference is taken in the step that replaces it: no stop
//! between two steps loses a change of a key, and none is told twice. Of the keys for statements it keeps every one, whole:
//! what was signed with one has to be read when another has long taken its place.

use super::engine::Family;
use super::events;
use super::txn::Txn;
use crate::metadata::{Error, Event, EventKind, Millis};
use sealstone_spec::digest::Digest;
use sealstone_spec::key::PublicKey;
use sealstone_spec::policy::KeyRecord;

/// Name of the server value with the keys of the policy in force.
pub(super) const OF_POLICY: &[u8] = b"keys/policy";
/// Name of the server value with the keys that the registry signs with.
pub(super) const OF_REGISTRY: &[u8] = b"keys/registry";
/// Name of the server value with every key for statements that the registry ever had, as PEM.
const OF_STATEMENTS: &[u8] = b"keys/statements";

/// Who changed keys, when, and by which policy.
#[derive(Clone, Copy)]
pub(super) struct Who<'a> {
    pub(super) policy: Option<Digest>,
    pub(super) by: &'a str,
    pub(super) now: Millis,
}

/// Replaces a set of keys, with an event for each difference.
pub(super) fn note(
    txn: &mut Txn<'_>,
    set: &[u8],
    keys: &[KeyRecord],
    who: Who<'_>,
) -> Result<(), Error> {
    let before = txn.row::<Vec<KeyRecord>>(Family::Server, set)?;
    let before = before.unwrap_or_default();
    let changes = KeyRecord::changes(&before, keys);
    for (digest, key) in changes {
        let event = Event {
            policy: who.policy,
            key: Some(key),
            ..Event::new(EventKind::KeyChanged, digest, who.by, who.now)
        };
        events::append(txn, &event)?;
    }
    if before != keys {
        txn.put_row(Family::Server, set.to_vec(), &keys);
    }
    Ok(())
}

/// Keeps a key for statements among those that were kept before; all of them, in the order in which they came.
pub(super) fn keep_statement_key(
    txn: &mut Txn<'_>,
    key: &PublicKey,
) -> Result<Vec<PublicKey>, Error> {
    let kept = txn.row::<Vec<String>>(Family::Server, OF_STATEMENTS)?;
    let mut texts = kept.unwrap_or_default();
    let text = key.to_pem();
    if !texts.contains(&text) {
        texts.push(text);
        txn.put_row(Family::Server, OF_STATEMENTS.to_vec(), &texts);
    }
    let read = |text: &String| {
        PublicKey::parse(text).map_err(|error| {
            Error::Damaged(format!("a key for statements cannot be read: {error}"))
        })
    };
    texts.iter().map(read).collect()
}
