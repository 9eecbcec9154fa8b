//! A server with something to log, and the client as its administrator.

use crate::content::{Answer, manifest, push_blob, put_manifest};
use sealstone_tests::registry::{Setup, TestRegistry, binary};
use std::path::Path;
use std::process::{Command, Output};

/// A tag of its own manifest over `{}`.
pub(crate) async fn push_tag(registry: &TestRegistry, repo: &str, tag: &str) -> Answer {
    let mut image = manifest(&[b"{}"]);
    image["annotations"] = serde_json::json!({"tag": tag});
    put_manifest(
        registry,
        &registry.admin,
        repo,
        tag,
        image.to_string().as_bytes(),
    )
    .await
}

pub(crate) async fn ready(setup: Setup) -> TestRegistry {
    let registry = setup.start().await.unwrap();
    push_blob(&registry, &registry.admin, "a", b"{}").await;
    registry
}

/// The client as the administrator, with its state in `state`.
pub(super) fn client(registry: &TestRegistry, state: &Path, arguments: &[&str]) -> Output {
    Command::new(binary("sealstone").unwrap())
        .args(["--output", "json"])
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", registry.directory())
        .env("SEALSTONE_STATE", state)
        .env("SEALSTONE_REGISTRY", registry.address().to_string())
        .env("SEALSTONE_USERNAME", &registry.admin.name)
        .env("SEALSTONE_PASSWORD", &registry.admin.secret)
        .output()
        .unwrap()
}

#[track_caller]
pub(super) fn ended(output: &Output, code: i32) -> String {
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

/// The secret of the administrator that the last start made.
pub(crate) fn last_secret(registry: &TestRegistry) -> String {
    let out = std::fs::read_to_string(registry.directory().join("stdout")).unwrap();
    let mut secrets = out
        .lines()
        .filter_map(|line| line.trim().strip_prefix("secret: "));
    secrets.next_back().unwrap().trim().to_owned()
}
