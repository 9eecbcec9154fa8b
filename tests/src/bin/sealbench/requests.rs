//! The same read, over and over: manifests by tag and digest, and a 4 KiB blob.

use crate::arguments::Arguments;
use crate::connection::Connection;
use crate::{small, timing};
use anyhow::bail;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Asks `--count` times, shared among `--streams` clients, for at most `--seconds`.
pub(crate) fn repeat(arguments: &Arguments) -> anyhow::Result<Value> {
    let mut connection = Connection::new(arguments);
    let (digest, _, layer) = small::one(&mut connection, arguments, Some("read-me"))?;
    let repository = &arguments.repository;
    let (method, path) = match arguments.kind.as_str() {
        "manifest-tag" => ("GET", format!("/v2/{repository}/manifests/read-me")),
        "manifest-digest" => ("GET", format!("/v2/{repository}/manifests/{digest}")),
        "head-tag" => ("HEAD", format!("/v2/{repository}/manifests/read-me")),
        "head-digest" => ("HEAD", format!("/v2/{repository}/manifests/{digest}")),
        "blob" => ("GET", format!("/v2/{repository}/blobs/{layer}")),
        other => bail!("--kind {other} is not known"),
    };
    let accept = format!("Accept: {}\r\n", small::MANIFEST);
    let deadline = Instant::now() + Duration::from_secs(arguments.seconds);
    let (micros, measured) = timing::together(arguments, |stream| {
        let mut connection = Connection::new(arguments);
        let mut micros = Vec::new();
        for _ in (stream..arguments.count).step_by(arguments.streams) {
            let start = Instant::now();
            connection.expect(method, &path, &accept, &[], &[200])?;
            micros.push(timing::micros_since(start));
            if start > deadline {
                break;
            }
        }
        Ok(micros)
    })?;
    let mut row = measured.operations(arguments, micros.concat());
    row["kind"] = json!(arguments.kind);
    Ok(row)
}
