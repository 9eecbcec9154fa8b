//! The record of what happened, in the order in which it happened.

use super::engine::Family;
use super::txn::Txn;
use crate::metadata::{Error, Event};

const COUNTER: &[u8] = b"events";
/// Name of the server value with the number of the last event on which the registry has acted.
pub(super) const ATTENDED: &[u8] = b"events-attended";

pub(super) fn append(txn: &mut Txn<'_>, event: &Event) -> Result<(), Error> {
    let number = txn.row::<u64>(Family::Server, COUNTER)?.unwrap_or(0) + 1;
    txn.put_row(Family::Server, COUNTER.to_vec(), &number);
    txn.put_row(Family::Event, number.to_be_bytes().to_vec(), event);
    Ok(())
}
