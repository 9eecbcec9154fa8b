//! Histories that are rolled back or rewritten: the server does not start, and the client notices.

use super::bench::{client, ended, last_secret, push_tag, ready};
use super::reader::text;
use crate::content::push_blob;
use sealstone_tests::registry::{Setup, TestRegistry};

async fn text_of_tags(registry: &TestRegistry) -> String {
    text(registry, &registry.admin, "/v2/a/tags/list").await
}

async fn text_of_accounts(registry: &TestRegistry) -> String {
    text(registry, &registry.admin, "/api/v1/accounts").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_changes_is_refused_by_the_server_and_noticed_by_the_client() {
    let mut registry = ready(Setup::default()).await;
    let host = registry.address().to_string();
    let state = registry.directory().join("state");
    for number in 0..5 {
        push_tag(&registry, "a", &format!("v{number}"))
            .await
            .expect(201);
    }
    ended(&client(&registry, &state, &["log", "verify", &host]), 0);
    push_tag(&registry, "a", "v5").await.expect(201);
    let text = ended(&client(&registry, &state, &["log", "verify", &host]), 0);
    assert!(text.contains("\"before\":"), "{text}");

    // The store is rolled back to nothing: the server has its own copy of what it showed, and stops.
    registry.terminate().unwrap();
    registry.ended().await.unwrap();
    let copy = registry.directory().join("copy");
    std::fs::rename(registry.data().join("metadata"), &copy).unwrap();
    let refused = registry.start().await.unwrap_err().to_string();
    assert!(refused.contains("restored from an older copy"), "{refused}");

    // Whoever removes that copy as well is noticed by the clients.
    std::fs::remove_file(registry.data().join("log/key.checkpoint")).unwrap();
    registry.start().await.unwrap();
    let admin = last_secret(&registry);
    registry.admin.secret = admin;
    let text = ended(&client(&registry, &state, &["log", "verify", &host]), 9);
    assert!(
        text.contains("rolled back") && text.contains("contradicted"),
        "{text}"
    );
    push_blob(&registry, &registry.admin, "a", b"{}").await;
    for number in 0..12 {
        push_tag(&registry, "a", &format!("w{number}"))
            .await
            .expect(201);
    }
    let text = ended(&client(&registry, &state, &["log", "verify", &host]), 9);
    assert!(text.contains("rewritten"), "{text}");
    // Nor is it another log because it is reached under another name.
    let other = format!("localhost:{}", registry.address().port());
    let text = ended(&client(&registry, &state, &["log", "verify", &other]), 9);
    assert!(text.contains("rewritten"), "{text}");
    // Not only where one asks for it: nothing else is done with such a registry either.
    let reference = format!("{host}/a:w1");
    let out = registry.directory().join("out");
    let pull = [
        "pull",
        &reference,
        "--insecure-skip-signatures",
        "-o",
        out.to_str().unwrap(),
    ];
    ended(&client(&registry, &state, &pull), 9);
    assert!(!out.exists());
    let directory = registry.directory().join("model");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("config.json"), b"{}").unwrap();
    let layout = registry.directory().join("layout");
    let from = format!("oci:{}", layout.display());
    let (archive, to) = (registry.directory().join("x.tar"), format!("{host}/a:x1"));
    let (directory, archive) = (directory.to_str().unwrap(), archive.to_str().unwrap());
    let layout = layout.to_str().unwrap();
    let repository = format!("{host}/a");
    let offline = |arguments: &[&str]| ended(&client(&registry, &state, arguments), 0);
    offline(&["pack", directory, "-o", layout]);
    offline(&["export", &from, archive]);
    for arguments in [
        &["copy", &from, &to][..],
        &["import", archive, &to],
        &["policy", "show", &host],
        &["list", &host],
        &["list", &repository],
        &["whoami", directory, "--in", &repository],
        &["admin", "whoami", &host],
        &["admin", "account", "add", &host, "mallory"],
    ] {
        ended(&client(&registry, &state, arguments), 9);
    }
    let accounts = text_of_accounts(&registry).await;
    assert!(!accounts.contains("mallory"), "{accounts}");
    let tags = text_of_tags(&registry).await;
    assert!(!tags.contains("x1"), "{tags}");

    // Another key is another log.
    registry.terminate().unwrap();
    registry.ended().await.unwrap();
    std::fs::remove_dir_all(registry.data().join("log")).unwrap();
    std::fs::remove_dir_all(registry.data().join("metadata")).unwrap();
    registry.start().await.unwrap();
    let admin = last_secret(&registry);
    registry.admin.secret = admin;
    let text = ended(&client(&registry, &state, &["log", "verify", &host]), 9);
    assert!(text.contains("another log"), "{text}");

    // And with its own store, the log goes on as if nothing had been.
    registry.terminate().unwrap();
    registry.ended().await.unwrap();
    assert!(copy.exists());
}

/// A service that pulls often has no directory that it could write; what it keeps was laid there.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_sees_what_is_kept_already_locks_nothing() {
    let registry = ready(Setup::default()).await;
    let host = registry.address().to_string();
    let state = registry.directory().join("state");
    let locks = || -> Vec<_> {
        let mut folders = vec![state.clone()];
        let mut found = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => found.push(path),
                }
            }
        }
        found.retain(|path| path.extension().is_some_and(|end| end == "lock"));
        found
    };
    push_tag(&registry, "a", "v1").await.expect(201);
    ended(&client(&registry, &state, &["list", &host]), 0);
    let taken = locks();
    assert!(!taken.is_empty());
    for lock in &taken {
        std::fs::remove_file(lock).unwrap();
    }
    ended(&client(&registry, &state, &["list", &host]), 0);
    assert!(locks().is_empty(), "{:?}", locks());
    push_tag(&registry, "a", "v2").await.expect(201);
    ended(&client(&registry, &state, &["list", &host]), 0);
    assert_eq!(locks().len(), taken.len());
}
