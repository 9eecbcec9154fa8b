//! First pages of long lists: tags of a repository, referrers of a manifest.
//!
//! Seeding is bounded by count and by time and goes on where an earlier run stopped (`--samples` pages are timed at
//! whatever length was reached, which the row states).

use crate::arguments::Arguments;
use crate::connection::Connection;
use crate::{payload, small, timing};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const SEEDING_CLIENTS: usize = 8;

/// Tags one manifest up to `--count` times, starting after the `--have` tags that are there, then times pages of 100.
pub(crate) fn tags(arguments: &Arguments) -> anyhow::Result<Value> {
    let mut connection = Connection::new(arguments);
    let (_, manifest, _) = small::one(&mut connection, arguments, None)?;
    let (reached, seconds) = seed(arguments, |connection, number| {
        small::tag(
            connection,
            arguments,
            &format!("t{number:07}"),
            manifest.as_bytes(),
        )
    })?;
    pages(
        arguments,
        &format!("/v2/{}/tags/list?n=100", arguments.repository),
        reached,
        seconds,
    )
}

/// Pushes up to `--count` manifests that name one subject, then times first pages of its referrers.
pub(crate) fn referrers(arguments: &Arguments) -> anyhow::Result<Value> {
    let mut connection = Connection::new(arguments);
    let (subject, manifest, layer) = small::one(&mut connection, arguments, None)?;
    let config = payload::digest_of(b"{}");
    let (reached, seconds) = seed(arguments, |connection, number| {
        let referrer = small::manifest(
            &config,
            &layer,
            Some((&subject, manifest.len())),
            number + 1,
        );
        small::tag(
            connection,
            arguments,
            &payload::digest_of(referrer.as_bytes()),
            referrer.as_bytes(),
        )
    })?;
    pages(
        arguments,
        &format!("/v2/{}/referrers/{subject}?n=100", arguments.repository),
        reached,
        seconds,
    )
}

fn seed(
    arguments: &Arguments,
    put: impl Fn(&mut Connection, usize) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<(usize, f64)> {
    let already = arguments.have.min(arguments.count);
    let clients = Arguments {
        streams: SEEDING_CLIENTS,
        pid: None,
        ..arguments.clone()
    };
    let deadline = Instant::now() + Duration::from_secs(arguments.seconds);
    let (made, measured) = timing::together(&clients, |stream| {
        let mut connection = Connection::new(arguments);
        let mut made = 0;
        for number in (already + stream..arguments.count).step_by(SEEDING_CLIENTS) {
            if Instant::now() > deadline {
                break;
            }
            put(&mut connection, number)?;
            made += 1;
        }
        Ok(made)
    })?;
    Ok((
        already + made.iter().sum::<usize>(),
        measured.elapsed.as_secs_f64(),
    ))
}

fn pages(
    arguments: &Arguments,
    path: &str,
    reached: usize,
    seeding_seconds: f64,
) -> anyhow::Result<Value> {
    let (micros, measured) = timing::together(arguments, |_| {
        let mut connection = Connection::new(arguments);
        let mut micros = Vec::new();
        for _ in 0..arguments.samples {
            let start = Instant::now();
            connection.expect("GET", path, "", &[], &[200])?;
            micros.push(timing::micros_since(start));
        }
        Ok(micros)
    })?;
    let mut row = measured.operations(arguments, micros.concat());
    row["entries"] = json!(reached);
    row["seeding_seconds"] = json!(seeding_seconds);
    Ok(row)
}
