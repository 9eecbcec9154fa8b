//! Large blobs: pushed as they are generated, pulled whole or in ranges.

use crate::arguments::Arguments;
use crate::connection::{Connection, path_of, with_query};
use crate::payload::{self, Payload};
use crate::timing;
use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::io::Write;

/// Pushes one blob per stream: POST and one PUT with the bytes (`put`, as oras and containerd do), or POST, PATCH with
/// the bytes and an empty PUT (`patch`, as skopeo, podman and crane do).
pub(crate) fn push(arguments: &Arguments) -> anyhow::Result<Value> {
    let digests = digests(arguments);
    let (_, measured) = timing::together(arguments, |stream| {
        push_one(
            arguments,
            &digests[stream],
            Payload::new(arguments.seed, stream as u64),
        )
    })?;
    let mut row = measured.throughput(arguments, arguments.bytes * arguments.streams as u64);
    row["style"] = json!(arguments.style);
    Ok(row)
}

/// The digests of all payloads, on all processors: nothing is measured yet.
fn digests(arguments: &Arguments) -> Vec<String> {
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let next = std::sync::atomic::AtomicUsize::new(0);
    let worker = || {
        let mut made = Vec::new();
        loop {
            let stream = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if stream >= arguments.streams {
                return made;
            }
            let payload = Payload::new(arguments.seed, stream as u64);
            made.push((stream, payload::digest(payload, arguments.bytes)));
        }
    };
    let mut made: Vec<(usize, String)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined
            .flat_map(|made| made.expect("hashing does not panic"))
            .collect()
    });
    made.sort();
    made.into_iter().map(|(_, digest)| digest).collect()
}

fn push_one(arguments: &Arguments, digest: &str, payload: Payload) -> anyhow::Result<()> {
    let mut connection = Connection::new(arguments);
    let begun = connection.expect(
        "POST",
        &format!("/v2/{}/blobs/uploads/", arguments.repository),
        "",
        &[],
        &[202],
    )?;
    let location = begun.location.context("an upload without Location")?;
    let binary = "Content-Type: application/octet-stream\r\n";
    let finish = format!("digest={digest}");
    match arguments.style.as_str() {
        "put" => {
            connection.stream(
                "PUT",
                &with_query(&location, &finish),
                binary,
                arguments.bytes,
                |stream| {
                    payload::each_chunk(payload, arguments.bytes, |chunk| stream.write_all(chunk))
                },
                &[201],
            )?;
        }
        "patch" => {
            let patched = connection.stream(
                "PATCH",
                path_of(&location),
                binary,
                arguments.bytes,
                |stream| {
                    payload::each_chunk(payload, arguments.bytes, |chunk| stream.write_all(chunk))
                },
                &[202],
            )?;
            let location = patched.location.unwrap_or(location);
            connection.expect("PUT", &with_query(&location, &finish), "", &[], &[201])?;
        }
        other => bail!("--style {other} is not put or patch"),
    }
    Ok(())
}

/// Pulls the blobs that `push` with the same seed left: one connection per stream, or, with `--ranges N`, the one
/// blob in N ranges at once. Bytes are counted and dropped: a client's own hashing would compete for the cores.
pub(crate) fn pull(arguments: &Arguments) -> anyhow::Result<Value> {
    let ranges = arguments.ranges;
    if ranges > 1 && arguments.streams != 1 {
        bail!("--ranges needs --streams 1");
    }
    let digests = digests(arguments);
    let threads = Arguments {
        streams: if ranges > 1 {
            usize::try_from(ranges)?
        } else {
            arguments.streams
        },
        ..arguments.clone()
    };
    let (received, measured) = timing::together(&threads, |stream| {
        let mut connection = Connection::new(arguments);
        if ranges == 1 {
            return pull_one(&mut connection, arguments, &digests[stream], "", 200);
        }
        let part = arguments.bytes.div_ceil(ranges);
        let first = part * stream as u64;
        let last = (first + part).min(arguments.bytes) - 1;
        pull_one(
            &mut connection,
            arguments,
            &digests[0],
            &format!("Range: bytes={first}-{last}\r\n"),
            206,
        )
    })?;
    let total: u64 = received.iter().sum();
    let expected = arguments.bytes * arguments.streams as u64;
    if total != expected {
        bail!("{total} bytes arrived where {expected} were expected");
    }
    let mut row = measured.throughput(arguments, total);
    row["ranges"] = json!(ranges);
    Ok(row)
}

fn pull_one(
    connection: &mut Connection,
    arguments: &Arguments,
    digest: &str,
    headers: &str,
    expected: u16,
) -> anyhow::Result<u64> {
    let path = format!("/v2/{}/blobs/{digest}", arguments.repository);
    let answer = connection.send("GET", &path, headers, &[])?;
    if answer.status != expected {
        bail!(
            "GET {path}: status {} where {expected} was expected",
            answer.status
        );
    }
    connection.read_body(&answer, |_| {})
}
