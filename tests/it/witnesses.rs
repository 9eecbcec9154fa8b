//! Witnesses of a real log: one that runs, and pushes that wait for them.

use crate::content::{get, push_blob, send};
use crate::log::{checkpoint, last_secret, push_tag, ready, text, vkey};
use crate::policy_desk::{Desk, LATER, place, registry};
use sealstone_spec::log::{LogProof, LogTrust, SignedCheckpoint};
use sealstone_tests::ports::free_address;
use sealstone_tests::registry::{Setup, User, binary};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A witness that runs, killed with its value.
pub(crate) struct Witness {
    process: Child,
    pub(crate) key: String,
    pub(crate) url: String,
}

impl Witness {
    pub(crate) async fn start(directory: &Path, log: &str, address: SocketAddr) -> Witness {
        let out = directory.join("witness.out");
        let process = Command::new(binary("sealstone-registry").unwrap())
            .args(["witness", "--name", "witness.example", "--log", log.trim()])
            .args(["--listen", &address.to_string()])
            .arg("--key")
            .arg(directory.join("witness.pem"))
            .arg("--state")
            .arg(directory.join("witness"))
            .stdout(std::fs::File::create(&out).unwrap())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        let key = loop {
            let text = std::fs::read_to_string(&out).unwrap();
            if let Some((key, _)) = text.split_once('\n') {
                break key.to_owned();
            }
            assert!(Instant::now() < deadline, "the witness does not come up");
            tokio::time::sleep(Duration::from_millis(30)).await;
        };
        Witness {
            process,
            key,
            url: format!("http://{address}"),
        }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_cosigns_what_goes_on_and_remembers_it() {
    let mut registry = ready(Setup::default()).await;
    let directory: PathBuf = registry.directory().to_owned();
    let address = free_address().unwrap();
    let log = vkey(&registry).await;
    let witness = Witness::start(&directory, &log, address).await;
    registry.terminate().unwrap();
    registry.ended().await.unwrap();
    registry.setup().collect = format!(
        "[transparency]\nwitnesses = [{{ key = \"{}\", url = \"{}\" }}]\n",
        witness.key, witness.url
    );
    registry.start().await.unwrap();
    push_tag(&registry, "a", "v1").await.expect(201);
    let trust = format!("log {log}witness w {}\nquorum w\n", witness.key);
    let trust = LogTrust::parse(&trust).unwrap();
    let size = checkpoint(&registry).await.size;
    let deadline = Instant::now() + Duration::from_secs(60);
    let cosigned = loop {
        let answer = get(&registry, &User::nobody(), "/api/v1/log/witnessed").await;
        if answer.status == 200 {
            let note = SignedCheckpoint::parse(&answer.body).unwrap();
            let verified = trust.verify(&note).unwrap();
            if verified.size() >= size {
                break verified;
            }
        }
        assert!(Instant::now() < deadline, "no cosignature came");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let file = text(
        &registry,
        &registry.admin,
        "/api/v1/log/proof?repository=a&tag=v1&witnessed=1",
    )
    .await;
    let proof = sealstone_spec::log::LogProof::parse(file.as_bytes()).unwrap();
    proof.verify_entry(&trust).unwrap();

    // Asked by hand: stale sizes, no proof, a stranger's log.
    let note = text(&registry, &User::nobody(), "/checkpoint").await;
    let own = note.lines().take(5).collect::<Vec<_>>().join("\n") + "\n";
    let ask = |body: String| {
        send(
            registry
                .http
                .post(format!("{}/add-checkpoint", witness.url))
                .body(body),
        )
    };
    let stale = ask(format!("old 0\n\n{own}")).await;
    assert_eq!(
        (stale.status, stale.header("content-type")),
        (409, "text/x.tlog.size")
    );
    assert_eq!(
        String::from_utf8(stale.body).unwrap(),
        format!("{}\n", cosigned.size())
    );
    assert_eq!(
        ask(format!(
            "old {}\n\n{}",
            cosigned.size(),
            own.replacen("localhost", "stranger", 1)
        ))
        .await
        .status,
        404
    );
    assert_eq!(ask("nothing".into()).await.status, 400);

    // A kill forgets nothing: the same question, the same answer.
    drop(witness);
    let witness = Witness::start(&directory, &log, address).await;
    let ask = |body: String| {
        send(
            registry
                .http
                .post(format!("{}/add-checkpoint", witness.url))
                .body(body),
        )
    };
    assert_eq!(ask(format!("old 0\n\n{own}")).await.status, 409);

    // Another history under the same name and key: the witness does not cosign it.
    registry.terminate().unwrap();
    registry.ended().await.unwrap();
    std::fs::remove_dir_all(registry.data().join("metadata")).unwrap();
    std::fs::remove_file(registry.data().join("log/key.checkpoint")).unwrap();
    registry.start().await.unwrap();
    registry.admin.secret = last_secret(&registry);
    push_blob(&registry, &registry.admin, "a", b"{}").await;
    for number in 0..8 {
        push_tag(&registry, "a", &format!("x{number}"))
            .await
            .expect(201);
    }
    let forked = checkpoint(&registry).await;
    assert!(forked.size > cosigned.size());
    let deadline = Instant::now() + Duration::from_secs(60);
    while registry
        .metric("sealstone_log_witness_failures_total", "")
        .await
        .unwrap()
        < 1.0
    {
        assert!(Instant::now() < deadline, "nobody noticed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(
        get(&registry, &User::nobody(), "/api/v1/log/witnessed")
            .await
            .status,
        404
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_waits_for_its_quorum_of_witnesses() {
    let mut registry = ready(Setup::default()).await;
    let directory: PathBuf = registry.directory().to_owned();
    let address = free_address().unwrap();
    let log = vkey(&registry).await;
    let witness = Witness::start(&directory, &log, address).await;
    registry.terminate().unwrap();
    registry.ended().await.unwrap();
    // The second one never answers; one of both is enough.
    registry.setup().collect = format!(
        "[transparency]\nwitnesses = [{{ key = \"{}\", url = \"{}\" }}, {{ key = \"{}\", url = \"http://127.0.0.1:9\" }}]\n\
         quorum = 1\nwitness_seconds = 10\n",
        witness.key,
        witness.url,
        other_key()
    );
    registry.start().await.unwrap();
    let started = Instant::now();
    let pushed = push_tag(&registry, "a", "v1").await.expect(201);
    assert_eq!(pushed.header("sealstone-log-witnesses"), "1");
    assert!(started.elapsed() < Duration::from_secs(10));
    // The proof of it carries the cosigned checkpoint, without being asked for that.
    let trust = format!("log {log}witness w {}\nquorum w\n", witness.key);
    let trust = LogTrust::parse(&trust).unwrap();
    let file = text(
        &registry,
        &registry.admin,
        "/api/v1/log/proof?repository=a&tag=v1",
    )
    .await;
    LogProof::parse(file.as_bytes())
        .unwrap()
        .verify_entry(&trust)
        .unwrap();

    // Without the witness: refused in time and in words, though the tag is set; with it, the same push is answered.
    let (key, url) = (witness.key.clone(), witness.url.clone());
    drop(witness);
    let refused = push_tag(&registry, "a", "v2").await.expect(503);
    let answer: Value = serde_json::from_slice(&refused.body).unwrap();
    assert_eq!(answer["errors"][0]["detail"]["reason"], "not_witnessed");
    let message = answer["errors"][0]["message"].as_str().unwrap();
    assert!(
        message.contains("fewer than 1 of 2 witnesses") && message.contains("push it again"),
        "{message}"
    );
    let tags = text(&registry, &registry.admin, "/v2/a/tags/list").await;
    assert!(tags.contains("v2"), "{tags}");
    let witness = Witness::start(&directory, &log, address).await;
    assert_eq!((&witness.key, &witness.url), (&key, &url));
    let again = push_tag(&registry, "a", "v2").await.expect(201);
    assert_eq!(again.header("sealstone-log-witnesses"), "1");

    // More than there are can never come.
    registry.terminate().unwrap();
    registry.ended().await.unwrap();
    registry.setup().collect = format!(
        "[transparency]\nwitnesses = [{{ key = \"{key}\", url = \"{url}\" }}]\nquorum = 2\n"
    );
    assert!(registry.start().await.is_err());
    assert!(
        registry
            .log()
            .contains("asks for more than the 1 witnesses")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_registry_says_about_a_release_is_cosigned_with_it() {
    let mut registry = ready(Setup::default()).await;
    let directory: PathBuf = registry.directory().to_owned();
    let address = free_address().unwrap();
    let log = vkey(&registry).await;
    let witness = Witness::start(&directory, &log, address).await;
    registry.terminate().unwrap();
    registry.ended().await.unwrap();
    registry.setup().collect = format!(
        "[transparency]\nwitnesses = [{{ key = \"{}\", url = \"{}\" }}]\nquorum = 1\n\
         [statements]\nreleases = \"always\"\n",
        witness.key, witness.url
    );
    registry.start().await.unwrap();
    let trust = format!("log {log}witness w {}\nquorum w\n", witness.key);
    let trust = LogTrust::parse(&trust).unwrap();
    for tag in ["v1", "v2", "v3"] {
        let pushed = push_tag(&registry, "a", tag).await.expect(201);
        let index: u64 = pushed.header("sealstone-log-index").parse().unwrap();
        let note = text(&registry, &User::nobody(), "/api/v1/log/witnessed").await;
        let note = SignedCheckpoint::parse(note.as_bytes()).unwrap();
        // The tag, and two statements.
        assert!(trust.verify(&note).unwrap().size() >= index + 3, "{tag}");
    }
}

/// A policy under which releases in `models/**` need a signature of alice, in a log that a witness has seen.
fn policy(desk: &Desk, log: &str, witness: &str) -> String {
    let key = |name: &str| format!("\"\"\"{}\"\"\"", desk.public(name));
    let mut text = format!(
        "schema = \"sealstone-policy/v2\"\nversion = 1\nexpires = \"{LATER}\"\n[roots]\nthreshold = 2\nkeys = [{}, {}]\n\
         [[log]]\nvkey = \"{}\"\nwitnesses = [\"{witness}\"]\nquorum = 1\n",
        key("root1"),
        key("root2"),
        log.trim()
    );
    for (name, role) in [
        ("alice", "release"),
        ("sam", "security"),
        ("gina", "governance"),
    ] {
        text += &format!(
            "[[identity]]\nname = \"{name}\"\nroles = [\"{role}\"]\nkeys = [{}]\n",
            key(name)
        );
    }
    text + "[[scope]]\nrepositories = [\"models/**\"]\n\
        [[scope.require]]\nrule = \"signatures\"\n[[scope.require]]\nrule = \"log\"\n"
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_policy_wants_witnessed_counts_as_soon_as_it_is() {
    let desk = Desk::new();
    let (mut registry, reader) = registry().await;
    let directory: PathBuf = registry.directory().to_owned();
    let address = free_address().unwrap();
    let log = vkey(&registry).await;
    let witness = Witness::start(&directory, &log, address).await;
    registry.terminate().unwrap();
    registry.ended().await.unwrap();
    // The operator waits for nobody; the policy does.
    registry.setup().collect = format!(
        "[transparency]\nwitnesses = [{{ key = \"{}\", url = \"{}\" }}]\n",
        witness.key, witness.url
    );
    registry.start().await.unwrap();
    desk.signed("policy.json", &policy(&desk, &log, &witness.key));
    let admin = Some((&registry, &registry.admin));
    let host = registry.address().to_string();
    desk.run(admin, &["policy", "push", &host, "policy.json"])
        .expect(0);
    let pushed = desk
        .run(admin, &["push", "oci:bundle:1.0.0", &place(&registry, "")])
        .expect(0);
    let digest = pushed.json["digest"].as_str().unwrap().to_owned();
    let bundle = place(&registry, &format!("@{digest}"));
    let only = |who: &str| vec!["--key".to_owned(), format!("{who}.key"), "--only".into()];
    let run = |words: &[&str], who: &str| {
        let key = only(who);
        let words = words.iter().copied().chain(key.iter().map(String::as_str));
        desk.run(admin, &words.collect::<Vec<_>>()).expect(0)
    };
    // The release waits until the witness has seen the signature of a moment ago.
    run(&["sign", &bundle, "--compat", "none"], "alice");
    desk.run(admin, &["release", &bundle, "1.0.0"]).expect(0);
    let manifest = get(&registry, &reader, "/v2/models/m/manifests/1.0.0").await;
    let layer = manifest.expect(200).json()["layers"][0]["digest"].clone();
    let blob = format!("/v2/models/m/blobs/{}", layer.as_str().unwrap());
    get(&registry, &reader, &blob).await.expect(200);

    // An incident stops it at once. Its end counts when a witness has seen it, and then without being asked for.
    run(&["incident", "open", &bundle, "--reason", "odd"], "sam");
    get(&registry, &reader, &blob).await.expect(404);
    drop(witness);
    run(
        &["incident", "close", &bundle, "--reason", "mended"],
        "gina",
    );
    for _ in 0..2 {
        get(&registry, &reader, "/v2/models/m/manifests/1.0.0")
            .await
            .expect(403);
        get(&registry, &reader, &blob).await.expect(404);
    }
    let _witness = Witness::start(&directory, &log, address).await;
    let deadline = Instant::now() + Duration::from_secs(60);
    while get(&registry, &reader, &blob).await.status != 200 {
        assert!(Instant::now() < deadline, "the release stays hidden");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    get(&registry, &reader, "/v2/models/m/manifests/1.0.0")
        .await
        .expect(200);
}

/// The key of a witness that is nowhere.
fn other_key() -> String {
    use sealstone_spec::key::{SecretKey, Signer as _};
    use sealstone_spec::log::{KeyKind, VerifierKey};
    let key = SecretKey::ed25519_from_seed(&[51; 32]).unwrap();
    VerifierKey::new("silent.example", KeyKind::Witness, key.public_key().clone())
        .unwrap()
        .to_string()
}
