//! Events of keys: each key that comes, changes or goes, of the policy and of the registry itself.
//!
//! Owns the last set of each, so that the difference is taken in the step that replaces it: no stop
//! between two steps loses a change of a key, and none is told twice.

use super::engine::Family;
use super::events;
use super::txn::Txn;
use crate::metadata::{Error, Event, EventKind, Millis};
use sealstone_spec::digest::Digest;
use sealstone_spec::policy::KeyRecord;

/// Name of the server value with the keys of the policy in force.
pub(super) const OF_POLICY: &[u8] = b"keys/policy";
/// Name of the server value with the keys that the registry signs with.
pub(super) const OF_REGISTRY: &[u8] = b"keys/registry";

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
