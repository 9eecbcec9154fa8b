//! The log as anybody can read it, checked by code of this file: it shares no line with the one that made it.
//!
//! Owns RFC 6962, checkpoints and tiles, word for word. Invariant: what [`entries`] returns is of the root that a
//! signed checkpoint states.

use crate::content::get;
use data_encoding::BASE64;
use ed25519_dalek::{Signature, VerifyingKey};
use sealstone_tests::registry::{TestRegistry, User};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::time::{Duration, Instant};

pub(super) type Hash = [u8; 32];

pub(super) fn leaf(entry: &[u8]) -> Hash {
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
pub(super) fn root(leaves: &[Hash]) -> Hash {
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
pub(super) fn climb(index: u64, size: u64, leaf: Hash, path: &[Hash]) -> Hash {
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

pub(super) fn hash_of(text: &str) -> Hash {
    BASE64.decode(text.as_bytes()).unwrap().try_into().unwrap()
}

/// A checkpoint that was checked with the key in the vkey.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shown {
    origin: String,
    pub(crate) size: u64,
    pub(super) root: Hash,
}

pub(super) fn check_note(note: &str, vkey: &str) -> Shown {
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

pub(crate) async fn checkpoint(registry: &TestRegistry) -> Shown {
    let note = text(registry, &User::nobody(), "/checkpoint").await;
    check_note(&note, &vkey(registry).await)
}

/// Waits until the last checkpoint, which is copied now and then, lies beside the log's key.
pub(crate) async fn checkpoint_is_kept(registry: &TestRegistry) {
    let copy = registry.data().join("log/key.checkpoint");
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let shown = text(registry, &User::nobody(), "/checkpoint").await;
        if std::fs::read_to_string(&copy).is_ok_and(|kept| kept == shown) {
            return;
        }
        assert!(Instant::now() < deadline, "the checkpoint is not copied");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(super) fn tile_path(kind: &str, index: u64, width: u64) -> String {
    assert!(index < 1000);
    match width {
        256 => format!("/tile/{kind}/{index:03}"),
        _ => format!("/tile/{kind}/{index:03}.p/{width}"),
    }
}

/// Every entry, out of the tiles, after a check of leaf tiles and of the root.
pub(super) async fn entries(registry: &TestRegistry, shown: &Shown) -> Vec<Vec<u8>> {
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
