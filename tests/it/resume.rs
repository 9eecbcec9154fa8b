//! A pull whose process is killed goes on where it stood: the next one checks what is there and fetches the rest.

use crate::content::get;
use crate::model_desk::{Desk, at};
use sealstone_tests::registry::{Setup, TestRegistry};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

const BYTES: usize = 320 * 1024 * 1024;

/// Bytes of blobs that the server has sent so far.
async fn sent(registry: &TestRegistry) -> u64 {
    let text = get(registry, &registry.admin, "/metrics")
        .await
        .expect(200)
        .body;
    let text = String::from_utf8(text).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("sealstone_blob_bytes_sent"))
        .unwrap();
    line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64
}

/// The hidden directories beside `got`.
fn left(desk: &Desk) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(desk.path("")).unwrap().flatten();
    let left = entries.filter(|entry| {
        entry
            .file_name()
            .to_string_lossy()
            .starts_with(".got.partial-")
    });
    left.map(|entry| entry.path()).collect()
}

/// Bytes on disk below a directory.
fn arrived(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory.join("incoming"))
        .into_iter()
        .flatten()
        .flatten();
    entries
        .filter_map(|entry| entry.metadata().ok())
        .map(|found| found.blocks() * 512)
        .sum()
}

/// Kills a pull when a part has arrived; false if it was faster.
fn killed(desk: &Desk, registry: &TestRegistry, arguments: &[&str]) -> bool {
    let mut child = desk
        .command(arguments, Some(registry))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    loop {
        if left(desk)
            .iter()
            .any(|directory| arrived(directory) > BYTES as u64 / 2)
        {
            child.kill().unwrap();
            child.wait().unwrap();
            return !desk.path("got").exists();
        }
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_pull_goes_on_where_it_stood_and_shows_nothing_meanwhile() {
    let registry = Setup::default().start().await.unwrap();
    let desk = Desk::new();
    let content: Vec<u8> = (0..BYTES as u64 / 8)
        .flat_map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        .collect();
    std::fs::write(desk.path("model/model.safetensors"), &content).unwrap();
    desk.run(&["pack", "model", "-o", "large:1.0.0"]).expect(0);
    let place = at(&registry, "m/a");
    let pushed = desk
        .run_at(&registry, &["push", "oci:large:1.0.0", &place])
        .expect(0);
    let staged = format!("{place}@{}", pushed.json["digest"].as_str().unwrap());

    for ranges in ["1", "4"] {
        let arguments = [
            "pull",
            &staged,
            "--insecure-skip-signatures",
            "-o",
            "got",
            "--ranges",
            ranges,
        ];
        let mut is_killed = false;
        for _ in 0..5 {
            is_killed = killed(&desk, &registry, &arguments);
            if is_killed {
                break;
            }
            let _ = std::fs::remove_dir_all(desk.path("got"));
        }
        assert!(is_killed, "no pull was slow enough to be killed");
        assert_eq!(left(&desk).len(), 1);
        let before = sent(&registry).await;
        desk.run_at(&registry, &arguments).expect(0);
        let again = sent(&registry).await - before;
        assert!(
            again < BYTES as u64 * 9 / 10,
            "{again} of {BYTES} bytes again, with {ranges} ranges"
        );
        assert!(std::fs::read(desk.path("got/model.safetensors")).unwrap() == content);
        assert!(left(&desk).is_empty(), "{:?}", left(&desk));
        std::fs::remove_dir_all(desk.path("got")).unwrap();
    }
}
