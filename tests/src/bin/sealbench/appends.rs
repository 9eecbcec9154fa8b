//! Appends to the transparency log: tags over one artifact, each answered after the checkpoint that contains it.

use crate::arguments::Arguments;
use crate::connection::Connection;
use crate::{small, timing};
use anyhow::ensure;
use serde_json::{Value, json};
use std::time::Instant;

/// Sets `--count` tags with `--streams` clients. What is measured ends when the answer says which checkpoint
/// has the event, so it is entries per second as a client sees them.
pub(crate) fn append(arguments: &Arguments) -> anyhow::Result<Value> {
    let mut connection = Connection::new(arguments);
    let config = small::blob(&mut connection, arguments, b"{}")?;
    let layer = small::blob(&mut connection, arguments, &small::content(arguments, 0))?;
    let before = size(&mut connection)?;
    let (micros, measured) = timing::together(arguments, |stream| {
        let mut connection = Connection::new(arguments);
        let mut micros = Vec::new();
        for number in (stream..arguments.count).step_by(arguments.streams) {
            let manifest = small::manifest(&config, &layer, None, number);
            let tag = format!("append-{}-{number}", arguments.seed);
            let start = Instant::now();
            small::tag(&mut connection, arguments, &tag, manifest.as_bytes())?;
            micros.push(timing::micros_since(start));
        }
        Ok(micros)
    })?;
    let appended = size(&mut connection)? - before;
    ensure!(
        appended >= arguments.count as u64,
        "{} tags were set, and the log grew by {appended}",
        arguments.count
    );
    let mut row = measured.operations(arguments, micros.concat());
    row["log_entries"] = json!(appended);
    Ok(row)
}

/// Entries in the latest checkpoint.
fn size(connection: &mut Connection) -> anyhow::Result<u64> {
    let answer = connection.send("GET", "/checkpoint", "", &[])?;
    let mut note = Vec::new();
    connection.read_body(&answer, |bytes| note.extend_from_slice(bytes))?;
    ensure!(
        answer.status == 200,
        "/checkpoint: status {}",
        answer.status
    );
    let note = String::from_utf8_lossy(&note);
    let line = note.lines().nth(1).unwrap_or_default();
    Ok(line.parse()?)
}
