//! A thousand events, and the client that checks the log, proofs in files and what goes on.

use super::bench::{client, ended, push_tag, ready};
use super::reader::{checkpoint, entries, vkey};
use sealstone_tests::registry::Setup;
use serde_json::Value;
use std::time::Instant;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_events_are_all_there_and_checked_from_outside() {
    const EVENTS: usize = 1_000;
    let registry = std::sync::Arc::new(ready(Setup::default()).await);
    let started = Instant::now();
    let mut pushes = tokio::task::JoinSet::new();
    for worker in 0..32 {
        let registry = registry.clone();
        pushes.spawn(async move {
            for number in (worker..EVENTS).step_by(32) {
                push_tag(&registry, "a", &format!("v{number}"))
                    .await
                    .expect(201);
            }
        });
    }
    pushes.join_all().await;
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{EVENTS} releases, each answered after its checkpoint: {:.0}/s",
        EVENTS as f64 / seconds
    );
    let now = checkpoint(&registry).await;
    let all = entries(&registry, &now).await;
    let tags: std::collections::BTreeSet<String> = all
        .iter()
        .filter_map(|entry| {
            serde_json::from_slice::<Value>(entry).unwrap()["spec"]["tag"]
                .as_str()
                .map(ToOwned::to_owned)
        })
        .collect();
    assert_eq!(tags.len(), EVENTS);
    let host = registry.address().to_string();
    let state = registry.directory().join("state");
    let text = ended(&client(&registry, &state, &["log", "verify", &host]), 0);
    assert!(text.contains(&format!("\"size\":{}", now.size)), "{text}");
    // A proof in a file, checked without the registry.
    let file = registry.directory().join("v7.tlog-proof");
    let reference = format!("{host}/a:v7");
    ended(
        &client(
            &registry,
            &state,
            &["log", "proof", &reference, "-o", file.to_str().unwrap()],
        ),
        0,
    );
    let key = vkey(&registry).await;
    ended(
        &client(
            &registry,
            &state,
            &[
                "log",
                "verify",
                "--proof",
                file.to_str().unwrap(),
                "--key",
                key.trim(),
            ],
        ),
        0,
    );
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    ended(
        &client(
            &registry,
            &state,
            &[
                "log",
                "verify",
                "--proof",
                file.to_str().unwrap(),
                "--key",
                key.trim(),
            ],
        ),
        4,
    );
    let seen = ended(
        &client(
            &registry,
            &state,
            &["log", "monitor", &host, "--looks", "1"],
        ),
        0,
    );
    assert_eq!(
        seen.lines()
            .filter(|line| line.contains("\"op\":\"release\""))
            .count(),
        EVENTS
    );
}
