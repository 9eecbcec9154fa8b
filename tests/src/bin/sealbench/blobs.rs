//! Many blobs of one size, each with its own content.

use crate::arguments::Arguments;
use crate::connection::Connection;
use crate::payload::Payload;
use crate::{small, timing};
use serde_json::Value;
use std::time::Instant;

/// Largest blob that is made in memory, in bytes.
const MOST: u64 = 64 << 20;

/// Pushes `--count` blobs of `--bytes`, shared among `--streams` clients. No manifest names them.
///
/// Content and digest of each are made between two measurements, on the same thread, so a rate over the whole run says less
/// than the times do.
pub(crate) fn push(arguments: &Arguments) -> anyhow::Result<Value> {
    anyhow::ensure!(
        arguments.bytes <= MOST,
        "--bytes {} is more than the {MOST} of this scenario: use push",
        arguments.bytes
    );
    let size = usize::try_from(arguments.bytes)?;
    let (micros, measured) = timing::together(arguments, |stream| {
        let mut connection = Connection::new(arguments);
        let mut micros = Vec::new();
        let mut content = vec![0; size];
        for number in (stream..arguments.count).step_by(arguments.streams) {
            Payload::new(arguments.seed, (1 << 33) + number as u64).fill(&mut content);
            let start = Instant::now();
            small::blob(&mut connection, arguments, &content)?;
            micros.push(timing::micros_since(start));
        }
        Ok(micros)
    })?;
    Ok(measured.operations(arguments, micros.concat()))
}
