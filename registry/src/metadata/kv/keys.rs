//! How keys are spelled. A repository's name never holds a zero byte, so a zero ends it; a digest is
//! one byte for its algorithm and its raw value.

use crate::metadata::Error;
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::name::RepoName;

/// What an entry of the review queue points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum ReviewKind {
    Manifest = 1,
    Link = 2,
    Blob = 3,
}

/// What an edge leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum EdgeKind {
    Blob = 1,
    Manifest = 2,
}

fn tag_of(algorithm: Algorithm) -> u8 {
    match algorithm {
        Algorithm::Sha256 => 1,
        Algorithm::Sha512 => 2,
        Algorithm::Blake3 => 3,
        other => unreachable!("{other} has no key tag"),
    }
}

pub(super) fn digest(digest: &Digest) -> Vec<u8> {
    let mut key = Vec::with_capacity(65);
    push_digest(&mut key, digest);
    key
}

fn push_digest(key: &mut Vec<u8>, digest: &Digest) {
    key.push(tag_of(digest.algorithm()));
    key.extend_from_slice(digest.bytes());
}

pub(super) fn repo(repo: &RepoName) -> Vec<u8> {
    let mut key = Vec::with_capacity(repo.as_str().len() + 140);
    key.extend_from_slice(repo.as_str().as_bytes());
    key.push(0);
    key
}

/// A namespace's name ends as a repository's does, so that of the whole registry, which is empty, is a key as well.
pub(super) fn namespace(name: &str) -> Vec<u8> {
    [name.as_bytes(), &[0]].concat()
}

pub(super) fn repo_digest(repo_name: &RepoName, digest: &Digest) -> Vec<u8> {
    let mut key = repo(repo_name);
    push_digest(&mut key, digest);
    key
}

/// What the keys of all digests of a repository begin with whose value begins with `start`.
pub(super) fn repo_digest_start(
    repo_name: &RepoName,
    algorithm: Algorithm,
    start: &[u8],
) -> Vec<u8> {
    let mut key = repo(repo_name);
    key.push(tag_of(algorithm));
    key.extend_from_slice(start);
    key
}

pub(super) fn digest_repo(digest: &Digest, repo_name: &RepoName) -> Vec<u8> {
    let mut key = self::digest(digest);
    key.extend_from_slice(&repo(repo_name));
    key
}

pub(super) fn repo_two(repo_name: &RepoName, first: &Digest, second: &Digest) -> Vec<u8> {
    let mut key = repo_digest(repo_name, first);
    push_digest(&mut key, second);
    key
}

pub(super) fn edge(
    repo_name: &RepoName,
    parent: &Digest,
    kind: EdgeKind,
    child: &Digest,
) -> Vec<u8> {
    let mut key = repo_digest(repo_name, parent);
    key.push(kind as u8);
    push_digest(&mut key, child);
    key
}

pub(super) fn repo_text(repo_name: &RepoName, text: &str) -> Vec<u8> {
    let mut key = repo(repo_name);
    key.extend_from_slice(text.as_bytes());
    key
}

pub(super) fn repo_digest_text(repo_name: &RepoName, digest: &Digest, text: &str) -> Vec<u8> {
    let mut key = repo_digest(repo_name, digest);
    key.extend_from_slice(text.as_bytes());
    key
}

pub(super) fn review(kind: ReviewKind, row_key: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + row_key.len());
    key.push(kind as u8);
    key.extend_from_slice(row_key);
    key
}

/// Reads a digest from the front of `bytes`.
pub(super) fn read_digest(bytes: &[u8]) -> Result<(Digest, &[u8]), Error> {
    let damaged = || Error::Damaged("a key holds no digest where one is due".into());
    let (tag, rest) = bytes.split_first().ok_or_else(damaged)?;
    let algorithm = Algorithm::ALL
        .into_iter()
        .find(|a| tag_of(*a) == *tag)
        .ok_or_else(damaged)?;
    let (value, rest) = rest
        .split_at_checked(algorithm.byte_len())
        .ok_or_else(damaged)?;
    let digest = Digest::from_bytes(algorithm, value).ok_or_else(damaged)?;
    Ok((digest, rest))
}

/// Reads a repository's name from the front of `bytes`.
pub(super) fn read_repo(bytes: &[u8]) -> Result<(RepoName, &[u8]), Error> {
    let damaged = || Error::Damaged("a key holds no repository where one is due".into());
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .ok_or_else(damaged)?;
    let name = std::str::from_utf8(&bytes[..end]).map_err(|_| damaged())?;
    Ok((name.parse().map_err(|_| damaged())?, &bytes[end + 1..]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keys_are_read_back_and_no_repository_is_a_prefix_of_another() {
        let digest = Digest::of(Algorithm::Sha512, b"x");
        let name: RepoName = "a/b".parse().unwrap();
        let key = repo_digest(&name, &digest);
        let (found, rest) = read_repo(&key).unwrap();
        assert_eq!(found, name);
        assert_eq!(read_digest(rest).unwrap(), (digest, &[][..]));
        let longer: RepoName = "a/bc".parse().unwrap();
        assert!(!repo(&longer).starts_with(&repo(&name)));
        assert!(read_digest(&key).is_err());
        assert!(read_repo(b"a").is_err());
    }
}
