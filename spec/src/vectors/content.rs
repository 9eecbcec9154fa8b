//! Vectors of chapters 1 and 2. Their expectations come from an implementation in another language, written
//! from the chapters and the BLAKE3 paper; nothing here writes them.

use super::{path, text};
use crate::bundle::{Bundle, BundlePath, check_names, check_paths};
use crate::digest::{Algorithm, Digest};
use crate::manifest::VerifiedManifest;
use crate::name::{RepoName, Tag};
use crate::tree::{self, GROUP_BYTES, TreeHasher};
use crate::words;
use serde_json::Value;

fn read(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(path(name)).unwrap()).unwrap()
}

/// The list at a place in a document; an empty one would prove nothing.
fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    let found = value.pointer(pointer).and_then(Value::as_array).unwrap();
    assert!(!found.is_empty(), "{pointer} is empty");
    found
}

fn truth(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer).and_then(Value::as_bool).unwrap()
}

#[test]
fn digests_are_those_of_the_functions_and_nothing_else_is_read() {
    let vectors = read("content/digests.json");
    for vector in list(&vectors, "/of") {
        let content = text(vector, "/content").as_bytes();
        for algorithm in Algorithm::ALL {
            let expected = text(vector, &format!("/{algorithm}"));
            assert_eq!(Digest::of(algorithm, content).hex(), expected);
        }
    }
    for refused in list(&vectors, "/refused") {
        let refused = refused.as_str().unwrap();
        assert!(Digest::parse(refused).is_err(), "{refused}");
    }
}

#[test]
fn groups_and_roots_are_those_of_blake3() {
    let vectors = read("content/tree.json");
    for vector in list(&vectors, "/blobs") {
        let len = vector["bytes"].as_u64().unwrap();
        let content: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        let groups: Vec<&[u8]> = match content.is_empty() {
            true => vec![&content],
            false => content.chunks(GROUP_BYTES).collect(),
        };
        let values: Vec<_> = (0..)
            .zip(&groups)
            .map(|(index, group)| tree::group_value(index, group, groups.len() == 1))
            .collect();
        let hex = |value: &[u8]| data_encoding::HEXLOWER.encode(value);
        let expected: Vec<&str> = list(vector, "/values")
            .iter()
            .map(|value| value.as_str().unwrap())
            .collect();
        let found: Vec<String> = values.iter().map(|value| hex(value)).collect();
        assert_eq!(found, expected, "{len} bytes");
        assert_eq!(hex(&tree::root(&values)), text(vector, "/root"));

        let (mut running, mut emitted) = (TreeHasher::default(), Vec::new());
        for piece in content.chunks(100_000) {
            running.update(piece, |value| emitted.push(value));
        }
        let (last, root) = running.finish();
        emitted.extend(last);
        assert_eq!(
            (emitted, hex(&root).as_str()),
            (values, text(vector, "/root"))
        );
    }
}

#[test]
fn names_follow_the_grammar() {
    let vectors = read("content/names.json");
    for vector in list(&vectors, "/repositories") {
        let name = text(vector, "/text");
        assert_eq!(
            name.parse::<RepoName>().is_ok(),
            truth(vector, "/valid"),
            "{name}"
        );
    }
    for vector in list(&vectors, "/tags") {
        let tag = text(vector, "/text");
        assert_eq!(tag.parse::<Tag>().is_ok(), truth(vector, "/valid"), "{tag}");
    }
    for vector in list(&vectors, "/evidence_tags") {
        let tag: Tag = text(vector, "/text").parse().unwrap();
        assert_eq!(tag.is_evidence_list(), truth(vector, "/is"), "{tag}");
    }
}

#[test]
fn words_are_derived_from_the_digest() {
    for vector in list(&read("content/words.json"), "") {
        let digest = Digest::parse(text(vector, "/digest")).unwrap();
        assert_eq!(words::three_words(&digest), text(vector, "/name"));
    }
}

#[test]
fn paths_are_safe_alone_and_together() {
    let vectors = read("bundle/paths.json");
    for (pointer, safe) in [("/accepted", true), ("/refused", false)] {
        for path in list(&vectors, pointer) {
            let path = path.as_str().unwrap();
            assert_eq!(path.parse::<BundlePath>().is_ok(), safe, "{path:?}");
        }
    }
    for set in list(&vectors, "/sets") {
        let paths: Vec<BundlePath> = list(set, "/paths")
            .iter()
            .map(|path| path.as_str().unwrap().parse().unwrap())
            .collect();
        let accepted = truth(set, "/accepted");
        assert_eq!(check_paths(paths.iter()).is_ok(), accepted, "{paths:?}");
    }
}

#[test]
fn manifests_are_accepted_or_refused_as_the_chapter_says() {
    for vector in list(&read("bundle/manifests.json"), "") {
        let claimed = vector["claimed"]
            .as_str()
            .map(|text| Digest::parse(text).unwrap());
        let document = text(vector, "/document").as_bytes().to_vec();
        let content_type = vector["content_type"].as_str();
        let checked =
            VerifiedManifest::check(document, content_type, claimed.as_ref(), Algorithm::Sha256);
        let (name, accepted) = (text(vector, "/name"), truth(vector, "/accepted"));
        // What a registry takes: also what it names its files must be safe.
        let checked = checked.map_err(|error| error.to_string());
        let taken = checked.and_then(|manifest| {
            let paths = match Bundle::is_claimed_by(&manifest) {
                true => Bundle::read(&manifest).map(drop),
                false => check_names(&manifest),
            };
            paths.map_err(|error| error.to_string())
        });
        assert_eq!(taken.is_ok(), accepted, "{name}: {taken:?}");
    }
}
