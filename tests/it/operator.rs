//! What an operator types, through the real program: checking and showing the configuration, collecting by
//! hand, variables, an htpasswd file, a log for machines, a first scrape, and the way back to a lost secret.

use crate::content::*;
use sealstone_spec::digest::Digest;
use sealstone_tests::registry::{Setup, TestRegistry, User, binary};
use serde_json::Value;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The program on the registry's configuration, with variables.
fn with(registry: &TestRegistry, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(binary("sealstone-registry").unwrap())
        .args(arguments)
        .env(
            "SEALSTONE_CONFIG",
            registry.directory().join("sealstone.toml"),
        )
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_checked_before_a_start_stumbles_over_it() {
    let mut registry = Setup::default().start().await.unwrap();
    registry.kill().unwrap();
    let fine = registry.run(&["config", "check"]).unwrap();
    assert!(fine.status.success(), "{}", text(&fine.stderr));
    assert!(text(&fine.stdout).contains("valid"));
    let policy = registry.directory().join("broken.toml");
    std::fs::write(&policy, "schema = \"sealstone-policy/v9\"\n").unwrap();
    let missing = registry.directory().join("missing").display().to_string();
    let hashes = registry.directory().join("htpasswd");
    std::fs::write(&hashes, "ann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n").unwrap();
    for (variable, value, says) in [
        ("SEALSTONE__POLICY", policy.display().to_string(), "policy"),
        ("SEALSTONE__POLICY", missing.clone(), "missing"),
        ("SEALSTONE__AUTH__HTPASSWD", missing, "missing"),
        (
            "SEALSTONE__AUTH__HTPASSWD",
            hashes.display().to_string(),
            "line 1",
        ),
        // A file where the folder of a key should be.
        (
            "SEALSTONE__TRANSPARENCY__KEY",
            hashes.join("log-key.pem").display().to_string(),
            "log-key.pem",
        ),
        (
            "SEALSTONE__STATEMENTS__KEY",
            hashes.join("statement-key.pem").display().to_string(),
            "statement-key.pem",
        ),
        (
            "SEALSTONE__SERVER__LISTEN",
            "0.0.0.0:1".into(),
            "allow_plain_http",
        ),
        (
            "SEALSTONE__SERVER__LISSEN",
            "x".into(),
            "SEALSTONE__SERVER__LISSEN",
        ),
        (
            "SEALSTONE__COLLECT__EVERY_SECONDS",
            "often".into(),
            "EVERY_SECONDS",
        ),
        (
            "SEALSTONE__QUOTA",
            "[{ namespace = \"team-a\" }]".into(),
            "limits nothing",
        ),
    ] {
        let refused = with(&registry, &["config", "check"], &[(variable, &value)]);
        let problem = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{variable}={value}");
        assert!(
            problem.starts_with("error: ") && problem.contains(says),
            "{variable}={value}: {problem}"
        );
        // A start says the same.
        let start = with(&registry, &["serve"], &[(variable, &value)]);
        assert_eq!(start.status.code(), Some(1), "{variable}={value}");
        assert!(
            text(&start.stderr).contains(says),
            "{}",
            text(&start.stderr)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_are_shown_in_force() {
    let mut registry = Setup {
        server: "idle_timeout_seconds = 11\n".into(),
        ..Setup::default()
    }
    .start()
    .await
    .unwrap();
    registry.kill().unwrap();
    let shown = with(
        &registry,
        &["config", "show"],
        &[
            ("SEALSTONE__SERVER__MAX_CONNECTIONS", "7"),
            ("SEALSTONE__AUTH__SERVICE", "5"),
            ("SEALSTONE__LOG__FORMAT", "json"),
            ("SEALSTONE__STATEMENTS__RELEASES", "never"),
        ],
    );
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    let config: toml::Table = text(&shown.stdout).parse().unwrap();
    let value = |section: &str, key: &str| config[section][key].to_string();
    assert_eq!(value("server", "idle_timeout_seconds"), "11");
    assert_eq!(value("server", "max_connections"), "7");
    assert_eq!(value("auth", "service"), "\"5\"");
    assert_eq!(value("log", "format"), "\"json\"");
    assert_eq!(value("statements", "releases"), "\"never\"");
    assert_eq!(
        value("storage", "path"),
        format!("{:?}", registry.data().display().to_string())
    );
    // What is shown is a configuration again.
    let again = registry.directory().join("again.toml");
    std::fs::write(&again, &shown.stdout).unwrap();
    let path = again.display().to_string();
    let same = with(&registry, &["config", "show", "--config", &path], &[]);
    assert_eq!(text(&same.stdout), text(&shown.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_collected_by_hand_on_a_store_that_nobody_has_open() {
    let mut registry = Setup {
        collect: "every_seconds = 0\nkeep_unused_seconds = 1\nkeep_trash_seconds = 0\n".into(),
        ..Setup::default()
    }
    .start()
    .await
    .unwrap();
    let admin = registry.admin.clone();
    let kept = push_image(&registry, &admin, "a", Some("v1"), MIB).await;
    push_blob(&registry, &admin, "a", &bytes(MIB)).await;
    let busy = registry.run(&["gc"]).unwrap();
    assert!(!busy.status.success(), "a server has the store open");
    registry.kill().unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let collect = |registry: &TestRegistry, arguments: &[&str]| -> Value {
        let done = registry.run(arguments).unwrap();
        assert!(done.status.success(), "{}", text(&done.stderr));
        serde_json::from_slice(&done.stdout).unwrap()
    };
    for _ in 0..2 {
        let report = collect(&registry, &["gc", "--dry-run"]);
        assert_eq!(report["collected"]["dry_run"], true, "{report}");
        assert_eq!(report["collected"]["blobs"], 1, "{report}");
        assert_eq!(report["collected"]["objects_deleted"], 0, "{report}");
        assert_eq!(registry.objects().len(), 2);
    }
    let report = collect(&registry, &["gc"]);
    assert_eq!(report["collected"]["dry_run"], false, "{report}");
    assert_eq!(report["collected"]["links"], 1, "{report}");
    assert_eq!(report["collected"]["failed"], 0, "{report}");
    assert_eq!(report["orphans"]["orphans"], 0, "{report}");
    for _ in 0..2 {
        collect(&registry, &["gc"]);
    }
    assert_eq!(registry.objects().len(), 1);
    registry.start().await.unwrap();
    let path = format!("/v2/a/blobs/{}", kept.layer);
    assert_eq!(
        get(&registry, &admin, &path).await.expect(200).body,
        kept.blob
    );
}

fn ann(secret: &str) -> User {
    User {
        name: "ann".into(),
        secret: secret.into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_of_the_htpasswd_file_logs_in() {
    // The hash of "U*U*", from the test vectors of crypt_blowfish.
    const LINE: &str = "ann:$2y$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK\n";
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("htpasswd");
    std::fs::write(&file, LINE).unwrap();
    let registry = Setup {
        access: format!(
            "[[access]]\nrepositories = [\"a\"]\nwho = [\"user:ann\"]\nverbs = [\"pull\", \"push\", \"tag\"]\n[auth]\nhtpasswd = {:?}\n",
            file.display().to_string()
        ),
        ..Setup::default()
    }
    .start()
    .await
    .unwrap();
    get(&registry, &ann("U*U*"), "/v2/").await.expect(200);
    get(&registry, &ann("U*U"), "/v2/").await.expect(401);
    let image = push_image(&registry, &ann("U*U*"), "a", Some("v1"), 100).await;
    let path = format!("/v2/a/manifests/{}", image.digest);
    get(&registry, &ann("U*U*"), &path).await.expect(200);
    // A user like any other, and no administrator.
    get(&registry, &ann("U*U*"), "/api/v1/accounts")
        .await
        .expect(403);
    let upload = "/v2/b/blobs/uploads/";
    send(registry.request(&ann("U*U*"), reqwest::Method::POST, upload))
        .await
        .expect(403);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_person_of_a_name_in_the_htpasswd_file_has_no_tokens() {
    // The hashes of "U*U*" and "U*U", from the test vectors of crypt_blowfish.
    const FIRST: &str = "ann:$2y$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK\n";
    const NEXT: &str = "ann:$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\n";
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("htpasswd");
    std::fs::write(&file, FIRST).unwrap();
    let mut registry = Setup {
        access: format!("[auth]\nhtpasswd = {:?}\n", file.display().to_string()),
        ..Setup::default()
    }
    .start()
    .await
    .unwrap();
    let path = "/api/v1/tokens";
    let wanted =
        serde_json::json!({"name": "t", "scopes": [{"repositories": ["**"], "verbs": ["pull"]}]});
    let request = registry.request(&ann("U*U*"), reqwest::Method::POST, path);
    let made = send(request.json(&wanted)).await.expect(201).json();
    let token = ann(made["secret"].as_str().unwrap());
    get(&registry, &token, "/v2/").await.expect(200);
    registry.crash().await.unwrap();
    get(&registry, &token, "/v2/").await.expect(200);
    std::fs::write(&file, NEXT).unwrap();
    registry.crash().await.unwrap();
    get(&registry, &ann("U*U"), "/v2/").await.expect(200);
    get(&registry, &token, "/v2/").await.expect(401);
    let listed = get(&registry, &ann("U*U"), path).await.expect(200).json();
    assert_eq!(listed["tokens"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_for_machines_is_one_object_a_line() {
    let registry = Setup {
        access: "[log]\nformat = \"json\"\n".into(),
        ..Setup::default()
    }
    .start()
    .await
    .unwrap();
    let image = push_image(&registry, &registry.admin, "a", Some("v1"), 100).await;
    let log = registry.log();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect();
    assert!(lines.iter().all(|line| line["level"].is_string()));
    let pushed = lines
        .iter()
        .find(|line| line["fields"]["message"] == "manifest pushed")
        .unwrap();
    let fields = &pushed["fields"];
    assert_eq!(fields["repo.name"], "a");
    assert_eq!(fields["manifest.digest"], image.digest.to_string());
    assert_eq!(image.digest, Digest::sha256(&image.manifest));
    assert!(!log.contains(&registry.admin.secret), "a secret is logged");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_scrape_tells_how_much_room_there_is() {
    let registry = Setup::default().start().await.unwrap();
    let free = registry.metric("sealstone_disk_free_bytes", "");
    assert!(free.await.unwrap() > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_keep_its_last_checkpoint_does_not_start() {
    let mut registry = Setup::default().start().await.unwrap();
    registry.terminate().unwrap();
    registry.ended().await.unwrap();
    // A folder under the name of the file that is to replace it: that stops root as well.
    let in_the_way = registry.data().join("log/key.checkpoint.new");
    std::fs::create_dir(&in_the_way).unwrap();
    // What is kept already need not be written: a full disk can still be read.
    registry.start().await.unwrap();
    registry.terminate().unwrap();
    registry.ended().await.unwrap();
    std::fs::remove_file(registry.data().join("log/key.checkpoint")).unwrap();
    let refused = registry.start().await.unwrap_err().to_string();
    assert!(
        refused.contains("log/key.checkpoint: the last checkpoint cannot be kept there"),
        "{refused}"
    );
    std::fs::remove_dir(&in_the_way).unwrap();
    registry.start().await.unwrap();
}

/// Whatever is in the data directory that somebody else could read, write or enter.
fn open_to_others(registry: &TestRegistry) -> Vec<(PathBuf, u32)> {
    let mut found = Vec::new();
    let mut rest = vec![registry.data()];
    while let Some(path) = rest.pop() {
        let kept = std::fs::symlink_metadata(&path).unwrap();
        if kept.is_dir() {
            let entries = std::fs::read_dir(&path).unwrap();
            rest.extend(entries.map(|entry| entry.unwrap().path()));
        }
        let mode = kept.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            found.push((path, mode));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_reads_what_the_server_keeps_whatever_the_umask() {
    let mut registry = Setup {
        wrapper: ["sh", "-c", "umask 022 && exec \"$@\"", "sh"]
            .map(ToOwned::to_owned)
            .to_vec(),
        ..Setup::default()
    }
    .start()
    .await
    .unwrap();
    let admin = registry.admin.clone();
    push_image(&registry, &admin, "a", Some("v1"), MIB).await;
    let upload = begin(&registry, &admin, "a").await;
    patch(&registry, &admin, &upload, None, &bytes(MIB))
        .await
        .expect(202);
    registry.kill().unwrap();
    for folder in ["metadata", "blobs", "uploads", "log"] {
        assert!(!registry.files(folder).is_empty(), "{folder}");
    }
    let open = open_to_others(&registry);
    assert!(open.is_empty(), "{open:?}");
    // What an older server has made, or a backup was put back as.
    let folders = ["metadata", "blobs", "uploads", "log"].map(|name| registry.data().join(name));
    for folder in &folders {
        std::fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
    }
    assert_eq!(open_to_others(&registry).len(), 4);
    registry.start().await.unwrap();
    registry.kill().unwrap();
    let open = open_to_others(&registry);
    assert!(open.is_empty(), "{open:?}");
}

/// The last secret that was printed.
fn last_secret(printed: &str) -> String {
    let secret = printed
        .lines()
        .rev()
        .find_map(|line| line.trim().strip_prefix("secret: "));
    secret.expect(printed).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_that_fails_late_costs_no_secret() {
    let mut registry = Setup::default().start().await.unwrap();
    registry.kill().unwrap();
    std::fs::remove_dir_all(registry.data()).unwrap();
    let taken = std::net::TcpListener::bind(registry.address()).unwrap();
    let refused = registry.run(&["serve"]).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let problem = text(&refused.stderr);
    assert!(problem.contains("cannot listen"), "{problem}");
    assert!(!text(&refused.stdout).contains("secret"));
    drop(taken);
    registry.start().await.unwrap();
    let printed = std::fs::read_to_string(registry.directory().join("stdout")).unwrap();
    assert_eq!(printed.matches("secret: ").count(), 2, "{printed}");
    registry.admin.secret = last_secret(&printed);
    get(&registry, &registry.admin, "/api/v1/accounts")
        .await
        .expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_administrator_comes_back_through_the_files() {
    let mut registry = Setup::default().start().await.unwrap();
    let lost = registry.admin.clone();
    let busy = registry.run(&["admin", "reset"]).unwrap();
    assert!(!busy.status.success(), "a server has the store open");
    registry.kill().unwrap();
    let reset = registry.run(&["admin", "reset"]).unwrap();
    assert!(reset.status.success(), "{}", text(&reset.stderr));
    registry.start().await.unwrap();
    registry.admin.secret = last_secret(&text(&reset.stdout));
    get(&registry, &lost, "/api/v1/accounts").await.expect(401);
    get(&registry, &registry.admin, "/api/v1/accounts")
        .await
        .expect(200);
    // Where there is no store, none is made.
    registry.kill().unwrap();
    let nowhere = registry.directory().join("nowhere");
    let path = nowhere.display().to_string();
    let refused = with(
        &registry,
        &["admin", "reset"],
        &[("SEALSTONE__STORAGE__PATH", &path)],
    );
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("no store") && !nowhere.exists());
}
