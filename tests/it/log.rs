//! The transparency log of the real server, checked by code of this file: it shares no line with the one
//! that made it. Kills, rewritten histories, witnesses, the client that notices.

use crate::content::*;
use crate::witnesses::Witness;
use data_encoding::BASE64;
use ed25519_dalek::{Signature, VerifyingKey};
use reqwest::Method;
use sealstone_spec::digest::Digest;
use sealstone_spec::envelope::seal;
use sealstone_spec::key::{SecretKey, Signer as _};
use sealstone_spec::log::{LogTrust, Rekord, SignedCheckpoint, TlogEntry};
use sealstone_spec::manifest::Descriptor;
use sealstone_spec::media;
use sealstone_spec::sigstore::referrer_manifest;
use sealstone_spec::statement::predicate;
use sealstone_tests::registry::{Setup, TestRegistry, User, binary};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

type Hash = [u8; 32];

fn leaf(entry: &[u8]) -> Hash {
    Sha256::new()
        .chain_update([0])
        .chain_update(entry)
        .finalize()
        .into()
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new()
        .chain_update([1])
        .chain_update(left)
        .chain_update(right)
        .finalize()
        .into()
}

/// MTH of RFC 6962, word for word.
fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Sha256::digest([]).into(),
        [only] => *only,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            node(&root(left), &root(right))
        }
    }
}

/// Walks a proof up to a root.
fn climb(index: u64, size: u64, leaf: Hash, path: &[Hash]) -> Hash {
    fn up(begin: u64, end: u64, index: u64, leaf: Hash, path: &[Hash]) -> Hash {
        if end - begin == 1 {
            assert!(path.is_empty());
            return leaf;
        }
        let middle = begin + (end - begin).next_power_of_two() / 2;
        let (sibling, rest) = path.split_last().unwrap();
        if index < middle {
            node(&up(begin, middle, index, leaf, rest), sibling)
        } else {
            node(sibling, &up(middle, end, index, leaf, rest))
        }
    }
    up(0, size, index, leaf, path)
}

fn hash_of(text: &str) -> Hash {
    BASE64.decode(text.as_bytes()).unwrap().try_into().unwrap()
}

/// A checkpoint that was checked with the key in the vkey.
#[derive(Clone, Debug, PartialEq)]
struct Shown {
    origin: String,
    size: u64,
    root: Hash,
}

fn check_note(note: &str, vkey: &str) -> Shown {
    let mut parts = vkey.trim().splitn(3, '+');
    let (name, id, key) = (
        parts.next().unwrap(),
        parts.next().unwrap(),
        parts.next().unwrap(),
    );
    let key = BASE64.decode(key.as_bytes()).unwrap();
    assert_eq!(key[0], 1);
    let expected = Sha256::digest([name.as_bytes(), b"\n", &key].concat());
    assert_eq!(id, data_encoding::HEXLOWER.encode(&expected[..4]));
    let key = VerifyingKey::from_bytes(key[1..].try_into().unwrap()).unwrap();
    let (body, lines) = note.split_once("\n\n").unwrap();
    let body = format!("{body}\n");
    let line = lines
        .lines()
        .find_map(|line| line.strip_prefix(&format!("\u{2014} {name} ")))
        .unwrap();
    let signature = BASE64.decode(line.as_bytes()).unwrap();
    assert_eq!(signature[..4], expected[..4]);
    let signature = Signature::from_slice(&signature[4..]).unwrap();
    key.verify_strict(body.as_bytes(), &signature).unwrap();
    let fields: Vec<&str> = body.lines().collect();
    assert_eq!(fields.len(), 3);
    Shown {
        origin: fields[0].to_owned(),
        size: fields[1].parse().unwrap(),
        root: hash_of(fields[2]),
    }
}

pub(crate) async fn text(registry: &TestRegistry, who: &User, path: &str) -> String {
    String::from_utf8(get(registry, who, path).await.expect(200).body).unwrap()
}

pub(crate) async fn vkey(registry: &TestRegistry) -> String {
    text(registry, &User::nobody(), "/api/v1/log/key").await
}

async fn checkpoint(registry: &TestRegistry) -> Shown {
    let note = text(registry, &User::nobody(), "/checkpoint").await;
    check_note(&note, &vkey(registry).await)
}

fn tile_path(kind: &str, index: u64, width: u64) -> String {
    assert!(index < 1000);
    match width {
        256 => format!("/tile/{kind}/{index:03}"),
        _ => format!("/tile/{kind}/{index:03}.p/{width}"),
    }
}

/// Every entry, out of the tiles, after a check of leaf tiles and of the root.
async fn entries(registry: &TestRegistry, shown: &Shown) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut hashes = Vec::new();
    for index in 0..shown.size.div_ceil(256) {
        let width = (shown.size - index * 256).min(256);
        let tile = get(
            registry,
            &registry.admin,
            &tile_path("entries", index, width),
        )
        .await
        .expect(200)
        .body;
        let mut rest = &tile[..];
        while !rest.is_empty() {
            let len = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
            found.push(rest[2..2 + len].to_vec());
            rest = &rest[2 + len..];
        }
        let tile = get(registry, &User::nobody(), &tile_path("0", index, width))
            .await
            .expect(200)
            .body;
        hashes.extend(tile.chunks(32).map(|hash| Hash::try_from(hash).unwrap()));
    }
    let leaves: Vec<Hash> = found.iter().map(|entry| leaf(entry)).collect();
    assert_eq!(leaves, hashes, "a tile of hashes is not of its entries");
    assert_eq!(root(&leaves), shown.root);
    found
}

/// What every entry of the latest checkpoint says, out of tiles that were checked.
pub(crate) async fn logged(registry: &TestRegistry) -> Vec<Value> {
    let all = entries(registry, &checkpoint(registry).await).await;
    all.iter()
        .map(|entry| serde_json::from_slice::<Value>(entry).unwrap()["spec"].clone())
        .collect()
}

/// The size of the latest checkpoint.
pub(crate) async fn size(registry: &TestRegistry) -> u64 {
    checkpoint(registry).await.size
}

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

async fn text_of_tags(registry: &TestRegistry) -> String {
    text(registry, &registry.admin, "/v2/a/tags/list").await
}

async fn text_of_accounts(registry: &TestRegistry) -> String {
    text(registry, &registry.admin, "/api/v1/accounts").await
}

/// The client as the administrator, with its state in `state`.
fn client(registry: &TestRegistry, state: &Path, arguments: &[&str]) -> Output {
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
fn ended(output: &Output, code: i32) -> String {
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_in_the_log_before_its_push_is_answered() {
    let registry = ready(Setup::default()).await;
    let key = vkey(&registry).await;
    let before = checkpoint(&registry).await;
    let answer = push_tag(&registry, "a", "v1").await.expect(201);
    let digest = answer.header("docker-content-digest").to_owned();
    let index: u64 = answer.header("sealstone-log-index").parse().unwrap();
    let size: u64 = answer.header("sealstone-log-checkpoint").parse().unwrap();
    assert_eq!(answer.header("sealstone-log-origin"), "localhost");
    let now = checkpoint(&registry).await;
    assert!(before.size <= index && index < size && size <= now.size);
    let all = entries(&registry, &now).await;
    let entry: Value = serde_json::from_slice(&all[index as usize]).unwrap();
    assert_eq!(entry["kind"], "dev.sealstone.event");
    let spec = &entry["spec"];
    assert_eq!(
        (
            spec["op"].as_str(),
            spec["repository"].as_str(),
            spec["tag"].as_str(),
            spec["digest"].as_str()
        ),
        (
            Some("release"),
            Some("a"),
            Some("v1"),
            Some(digest.as_str())
        )
    );
    assert_eq!(spec["actor"], "user:admin");

    // The proof file, read by hand.
    let file = text(
        &registry,
        &registry.admin,
        "/api/v1/log/proof?repository=a&tag=v1",
    )
    .await;
    let (head, note) = file.split_once("\n\n").unwrap();
    let lines: Vec<&str> = head.lines().collect();
    assert_eq!(lines[0], "c2sp.org/tlog-proof@v1");
    let extra = BASE64
        .decode(lines[1].strip_prefix("extra ").unwrap().as_bytes())
        .unwrap();
    assert_eq!(extra, all[index as usize]);
    assert_eq!(lines[2], format!("index {index}"));
    let path: Vec<Hash> = lines[3..].iter().map(|line| hash_of(line)).collect();
    let shown = check_note(note, &key);
    assert_eq!(climb(index, shown.size, leaf(&extra), &path), shown.root);

    // Deleting is an event of the same chain.
    delete(&registry, &registry.admin, "/v2/a/manifests/v1")
        .await
        .expect(202);
    let all = entries(&registry, &checkpoint(&registry).await).await;
    let last: Value = serde_json::from_slice(all.last().unwrap()).unwrap();
    assert_eq!(last["spec"]["op"], "untag");
    assert_eq!(
        hash_of(last["spec"]["prev"].as_str().unwrap()),
        leaf(&extra)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_logged_is_in_the_log_before_it_is_answered() {
    let registry = ready(Setup::default()).await;
    let admin = &registry.admin;
    let tagged = push_tag(&registry, "a", "v1").await.expect(201);
    let digest: Digest = tagged.header("docker-content-digest").parse().unwrap();
    let image = get(&registry, admin, "/v2/a/manifests/v1").await;
    let subject = Descriptor::new(MANIFEST, digest, image.expect(200).body.len() as u64);
    let put = async |reference: &str, bytes: &[u8]| {
        let answer = put_manifest(&registry, admin, "a", reference, bytes).await;
        answer.expect(201)
    };
    let at = |answer: &Answer| -> usize { answer.header("sealstone-log-index").parse().unwrap() };

    // A statement by its digest, and the same once more.
    push_blob(&registry, admin, "a", b"bundle").await;
    let referrer = referrer_manifest(&subject, b"bundle", predicate::SVR, "2026-01-01T00:00:00Z");
    let reference = Digest::sha256(&referrer).to_string();
    let attached = put(&reference, &referrer).await;
    let all = logged(&registry).await;
    let entry = &all[at(&attached)];
    assert_eq!(
        (&entry["op"], &entry["statement"]),
        (&json!("approve"), &json!(reference))
    );
    assert_eq!(entry["digest"], digest.to_string());
    let contains: u64 = attached.header("sealstone-log-checkpoint").parse().unwrap();
    assert_eq!(contains, all.len() as u64);
    let again = put(&reference, &referrer).await;
    assert_eq!(at(&again), at(&attached));

    // A list of evidence.
    let list = format!("sha256-{}.sig", digest.hex());
    let mut signatures = manifest(&[]);
    signatures["layers"] = json!([descriptor(media::COSIGN_SIMPLE_SIGNING, b"{}")]);
    let listed = put(&list, signatures.to_string().as_bytes()).await;
    let all = logged(&registry).await;
    let entry = &all[at(&listed)];
    assert_eq!((&entry["op"], &entry["tag"]), (&json!("tag"), &json!(list)));

    // What is only staged has no entry; that it goes has one.
    let mut staged = manifest(&[b"{}"]);
    staged["annotations"] = json!({"staged": "yes"});
    let staged = staged.to_string();
    let reference = Digest::sha256(staged.as_bytes()).to_string();
    let answer = put(&reference, staged.as_bytes()).await;
    assert_eq!(answer.header("sealstone-log-index"), "");
    assert_eq!(logged(&registry).await.len(), all.len());
    let path = format!("/v2/a/manifests/{reference}");
    delete(&registry, admin, &path).await.expect(202);
    let after = logged(&registry).await;
    assert_eq!(after.len(), all.len() + 1);
    let last = &after[all.len()];
    assert_eq!(
        (&last["op"], &last["digest"]),
        (&json!("delete"), &json!(reference))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_time_keeps_every_checkpoint_that_was_shown() {
    let mut registry = ready(Setup::default()).await;
    let key = vkey(&registry).await;
    let mut shown: Vec<Shown> = Vec::new();
    let mut acknowledged: Vec<(String, u64)> = Vec::new();
    for (round, delay) in [60_u64, 150, 300, 600, 1200].into_iter().enumerate() {
        let mut pushes = tokio::task::JoinSet::new();
        for number in 0..24 {
            let tag = format!("r{round}-{number}");
            let mut image = manifest(&[b"{}"]);
            image["annotations"] = serde_json::json!({"tag": tag});
            let put = registry
                .request(
                    &registry.admin,
                    Method::PUT,
                    &format!("/v2/a/manifests/{tag}"),
                )
                .header("content-type", MANIFEST)
                .body(image.to_string());
            pushes.spawn(async move {
                let answer = put
                    .send()
                    .await
                    .ok()
                    .filter(|answer| answer.status() == 201)?;
                let index = answer
                    .headers()
                    .get("sealstone-log-index")?
                    .to_str()
                    .unwrap();
                Some((tag, index.parse::<u64>().unwrap()))
            });
        }
        let (http, url) = (registry.http.clone(), registry.url("/checkpoint"));
        let reader = tokio::spawn(async move {
            let mut notes = Vec::new();
            while let Ok(answer) = http.get(&url).send().await {
                notes.extend(answer.text().await);
            }
            notes
        });
        tokio::time::sleep(Duration::from_millis(delay)).await;
        registry.kill().unwrap();
        acknowledged.extend(pushes.join_all().await.into_iter().flatten());
        let notes = reader.await.unwrap();
        shown.extend(notes.iter().map(|note| check_note(note, &key)));
        registry.start().await.unwrap();
        shown.push(checkpoint(&registry).await);
    }
    assert_eq!(vkey(&registry).await, key);
    let now = checkpoint(&registry).await;
    let all = entries(&registry, &now).await;
    let leaves: Vec<Hash> = all.iter().map(|entry| leaf(entry)).collect();
    assert!(shown.len() > 5 && !acknowledged.is_empty());
    for older in &shown {
        let size = usize::try_from(older.size).unwrap();
        assert_eq!(
            root(&leaves[..size]),
            older.root,
            "the tree of {size} entries is another now"
        );
    }
    assert!(shown.windows(2).all(|pair| pair[0].size <= pair[1].size));
    for (tag, index) in acknowledged {
        let entry: Value = serde_json::from_slice(&all[usize::try_from(index).unwrap()]).unwrap();
        assert_eq!(entry["spec"]["tag"], tag);
    }
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

/// The secret of the administrator that the last start made.
fn last_secret(registry: &TestRegistry) -> String {
    let out = std::fs::read_to_string(registry.directory().join("stdout")).unwrap();
    let mut secrets = out
        .lines()
        .filter_map(|line| line.trim().strip_prefix("secret: "));
    secrets.next_back().unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn tiles_are_cached_for_ever_and_entries_are_for_those_who_may_read() {
    let access =
        "[[access]]\nrepositories = [\"b\"]\nwho = [\"user:reader\"]\nverbs = [\"pull\"]\n";
    let registry = ready(Setup {
        access: access.into(),
        ..Setup::default()
    })
    .await;
    let reader = registry.account("reader", "user").await.unwrap();
    push_tag(&registry, "a", "v1").await.expect(201);
    let now = checkpoint(&registry).await;
    let nobody = User::nobody();
    let answer = get(&registry, &nobody, "/checkpoint").await.expect(200);
    assert_eq!(answer.header("cache-control"), "no-cache");
    assert!(answer.header("content-type").starts_with("text/plain"));
    let again = registry
        .request(&nobody, Method::GET, "/checkpoint")
        .header("if-none-match", answer.header("etag"));
    assert_eq!(send(again).await.status, 304);
    let hashes = get(&registry, &nobody, &tile_path("0", 0, now.size))
        .await
        .expect(200);
    assert_eq!(
        hashes.header("cache-control"),
        "public, max-age=31536000, immutable"
    );
    assert_eq!(hashes.body.len() as u64, 32 * now.size);
    let narrower = get(&registry, &nobody, &tile_path("0", 0, now.size - 1))
        .await
        .expect(200);
    assert!(hashes.body.starts_with(&narrower.body));
    for beyond in [
        tile_path("0", 0, now.size + 1),
        tile_path("0", 0, 256),
        tile_path("1", 0, 1),
        "/tile/0/0".into(),
        "/tile/x/000".into(),
    ] {
        assert_eq!(
            get(&registry, &nobody, &beyond).await.status,
            404,
            "{beyond}"
        );
    }
    let path = tile_path("entries", 0, now.size);
    assert_eq!(get(&registry, &nobody, &path).await.status, 401);
    assert_eq!(get(&registry, &reader, &path).await.status, 403);
    let own = get(&registry, &registry.admin, &path).await.expect(200);
    assert_eq!(
        own.header("cache-control"),
        "private, max-age=31536000, immutable"
    );
    assert_eq!(own.header("vary"), "Authorization");
    let proof = "/api/v1/log/proof?repository=a&tag=v1";
    assert!([401, 403].contains(&get(&registry, &reader, proof).await.status));
    let root: Value = get(&registry, &nobody, "/api/v1/log/trusted_root.json")
        .await
        .expect(200)
        .json();
    assert_eq!(root["tlogs"][0]["baseUrl"], "https://localhost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_is_logged_once_and_proved_to_sigstores_rules() {
    let registry = ready(Setup::default()).await;
    let key = SecretKey::p256_from_seed(&[2; 32]).unwrap();
    let envelope = seal("application/vnd.in-toto+json", b"{}", &key).unwrap();
    let rekord = Rekord::of_envelope(&envelope, key.public_key()).unwrap();
    let trust = LogTrust::in_logs([vkey(&registry).await.trim().parse().unwrap()]).unwrap();
    let submit = |body: Vec<u8>| {
        registry
            .request(
                &registry.admin,
                Method::POST,
                "/api/v1/log/entries?repository=a",
            )
            .body(body)
    };
    let first = send(submit(rekord.to_bytes())).await.expect(201);
    let entry = TlogEntry::read(&first.json()).unwrap();
    let logged = entry.verify(&envelope, key.public_key(), &trust).unwrap();
    let again = send(submit(rekord.to_bytes())).await.expect(201);
    assert_eq!(
        TlogEntry::read(&again.json()).unwrap().index(),
        logged.evidence().index()
    );
    let size = checkpoint(&registry).await.size;
    let mut forged = rekord.to_bytes();
    let at = forged.len() / 2;
    forged[at] ^= 1;
    assert_eq!(send(submit(forged)).await.status, 400);
    let nobody = registry.request(
        &User::nobody(),
        Method::POST,
        "/api/v1/log/entries?repository=a",
    );
    assert_eq!(send(nobody.body(rekord.to_bytes())).await.status, 401);
    assert_eq!(checkpoint(&registry).await.size, size);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_cosigns_what_goes_on_and_remembers_it() {
    let mut registry = ready(Setup::default()).await;
    let directory: PathBuf = registry.directory().to_owned();
    let port = 30_000 + rand::random::<u16>() % 2_000;
    let log = vkey(&registry).await;
    let witness = Witness::start(&directory, &log, port).await;
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
    let witness = Witness::start(&directory, &log, port).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_release_brings_the_proofs_of_its_first_log_along() {
    use crate::policy_desk::{Desk, LATER, place, registry};
    let desk = Desk::new();
    let (one, _) = registry().await;
    let (two, reader) = registry().await;
    let alice = ["--key", "alice.key", "--only", "--compat", "none"];
    let here = place(&one, ":1.0.0");
    let at_one = Some((&one, &one.admin));
    desk.run(at_one, &["push", "oci:bundle:1.0.0", &here])
        .expect(0);
    desk.run(at_one, &[&["sign", &here][..], &alice].concat())
        .expect(0);
    desk.run(at_one, &["export", &here, "a.tar"]).expect(0);

    // The second registry trusts the log of the first, and no other.
    let key = |name: &str| format!("\"\"\"{}\"\"\"", desk.public(name));
    let policy = |version: u64, log: &str| {
        format!(
            "schema = \"sealstone-policy/v2\"\nversion = {version}\nexpires = \"{LATER}\"\n[roots]\nthreshold = 2\nkeys = [{}, {}]\n\
             [[log]]\nvkey = \"{}\"\n[[identity]]\nname = \"alice\"\nroles = [\"release\"]\nkeys = [{}]\n\
             [[scope]]\nrepositories = [\"models/**\"]\n\
             [[scope.require]]\nrule = \"signatures\"\n[[scope.require]]\nrule = \"log\"\n",
            key("root1"),
            key("root2"),
            log.trim(),
            key("alice")
        )
    };
    let at_two = Some((&two, &two.admin));
    let host = two.address().to_string();
    let there = place(&two, ":1.0.0");
    let foreign = {
        use sealstone_spec::log::{KeyKind, VerifierKey};
        let key = SecretKey::ed25519_from_seed(&[52; 32]).unwrap();
        VerifierKey::new("other.example", KeyKind::Log, key.public_key().clone()).unwrap()
    };
    for (version, log, code) in [(1, foreign.to_string(), 3), (2, vkey(&one).await, 0)] {
        desk.signed("policy.json", &policy(version, &log));
        desk.run(at_two, &["policy", "push", &host, "policy.json"])
            .expect(0);
        desk.run(at_two, &["import", "a.tar", &there]).expect(code);
    }
    get(&two, &reader, "/v2/models/m/manifests/1.0.0")
        .await
        .expect(200);
}
