//! Targets for what a transparency log shows: notes, checkpoints, proofs, trust, entries, requests.
//!
//! No input can be signed by [`stranger`], so nothing that came from outside may ever be believed under it.

use super::as_text;
use super::evidence::signer;
use sealstone_spec::key::{SecretKey, Signer as _};
use sealstone_spec::log::{
    AddCheckpoint, Checkpoint, Entry, Hash, KeyKind, LogProof, LogTrust, SignedCheckpoint,
    TileKind, TilePath, Tiles, TlogEntry, VerifierKey, decode_entries, encode_entries,
    parse_cosignatures,
};

/// A log that trusts a key which no seed was signed with, under the name that the seeds have.
fn stranger(name: &str) -> LogTrust {
    let key =
        SecretKey::ed25519_from_seed(&[0x77; 32]).expect("a fixed seed that is known to work");
    let key = VerifierKey::new(name, KeyKind::Log, key.public_key().clone());
    LogTrust::in_logs(key.ok()).expect("one key stands there once")
}

/// A checkpoint reads back from what it writes, and is believed under no key that did not sign it.
pub(super) fn checkpoint(input: &[u8]) -> bool {
    let Ok(note) = SignedCheckpoint::parse(input) else {
        return false;
    };
    assert_eq!(
        note.to_string().as_bytes(),
        input,
        "two spellings of one note"
    );
    assert!(stranger(&note.claim().origin).verify(&note).is_err());
    let claim = note.claim();
    assert!(claim.size > 0 || claim.root == Hash::of_nothing());
    true
}

/// A proof file has one spelling, and proves nothing to whoever trusts another key.
pub(super) fn proof(input: &[u8]) -> bool {
    let Ok(proof) = LogProof::parse(input) else {
        return false;
    };
    assert_eq!(
        proof.to_string().as_bytes(),
        input,
        "two spellings of one proof"
    );
    let trust = stranger(&proof.checkpoint.claim().origin);
    assert!(proof.verify_entry(&trust).is_err());
    assert!(proof.verify(&Hash::of_entry(input), &trust).is_err());
    true
}

/// What is trusted is what the lines say: each log and witness once, and never without a quorum line.
pub(super) fn trust(input: &[u8]) -> bool {
    let Some(trust) = as_text(input).and_then(|text| LogTrust::parse(text).ok()) else {
        return false;
    };
    let text = as_text(input).unwrap_or_default();
    let lines = |word: &str| {
        let words = text
            .split('\n')
            .filter_map(|line| line.split([' ', '\t']).find(|part| !part.is_empty()));
        words.filter(|first| *first == word).count()
    };
    assert_eq!(trust.logs().len(), lines("log"));
    assert_eq!(trust.witnesses().count(), lines("witness"));
    assert_eq!(lines("quorum"), 1);
    for party in trust.logs().iter().chain(trust.witnesses()) {
        let again: Result<VerifierKey, _> = party.key.to_string().parse();
        assert!(again.is_ok_and(|again| again == party.key));
    }
    true
}

/// An entry has one spelling.
pub(super) fn entry(input: &[u8]) -> bool {
    let Ok(entry) = Entry::parse(input) else {
        return false;
    };
    assert_eq!(
        entry.to_bytes().ok().as_deref(),
        Some(input),
        "two spellings of one entry"
    );
    true
}

/// Evidence reads back from what it writes, and is about no signature but its own.
pub(super) fn tlog_entry(input: &[u8]) -> bool {
    let value = serde_json::from_slice(input).ok();
    let Some(entry) = value.and_then(|value| TlogEntry::read(&value).ok()) else {
        return false;
    };
    assert!(TlogEntry::read(&entry.to_value()).is_ok_and(|again| again == entry));
    let key = signer();
    let other = sealstone_spec::envelope::seal("a/b", input, &key).expect("a key in memory signs");
    let trust = stranger("log.example.com");
    assert!(entry.verify(&other, key.public_key(), &trust).is_err());
    true
}

/// A request has one spelling; a witness that knows only another key never cosigns it.
pub(super) fn add_checkpoint(input: &[u8]) -> bool {
    let Ok(request) = AddCheckpoint::parse(input) else {
        return false;
    };
    assert_eq!(
        request.to_string().as_bytes(),
        input,
        "two spellings of one request"
    );
    let trust = stranger(&request.checkpoint.claim().origin);
    let keys: Vec<VerifierKey> = trust.logs().iter().map(|log| log.key.clone()).collect();
    assert!(request.judge(&keys, None).is_err());
    true
}

/// Input: what a witness answers about a fixed checkpoint. A line that is taken is the witness's own and holds; of another
/// witness of that name, whose key no seed was signed with, none is.
pub(super) fn cosignatures(input: &[u8]) -> bool {
    let key = |name: &str, kind: KeyKind, key: &SecretKey| {
        VerifierKey::new(name, kind, key.public_key().clone()).expect("a fixed, valid name")
    };
    let log = key("log.example.com", KeyKind::Log, &signer());
    let checkpoint = Checkpoint::new("log.example.com", 1, Hash::of_entry(b"entry"))
        .sign(&log, &signer())
        .expect("a key in memory signs");
    let other =
        SecretKey::ed25519_from_seed(&[0x77; 32]).expect("a fixed seed that is known to work");
    let stranger = key("witness.example.com", KeyKind::Witness, &other);
    assert!(!matches!(
        parse_cosignatures(input, &checkpoint, &stranger),
        Ok(Some(_))
    ));
    let witness = key("witness.example.com", KeyKind::Witness, &signer());
    let Ok(Some(line)) = parse_cosignatures(input, &checkpoint, &witness) else {
        return false;
    };
    assert!(witness.is_named_by(&line));
    assert!(checkpoint.check_cosignature(&witness, &line).is_ok());
    let mut cosigned = checkpoint.clone();
    cosigned.add_cosignature(line);
    let seen = cosigned.cosignatures([&witness]);
    assert!(seen.is_ok_and(|seen| seen.len() == 1));
    true
}

/// Input: the path of a tile, or the content of one. A path has one spelling; entries come out as they
/// went in; hashes of another number than the path says are refused.
pub(super) fn tile(input: &[u8]) -> bool {
    for width in [1, 2, 256] {
        if let Ok(entries) = decode_entries(input, width) {
            assert_eq!(encode_entries(entries).ok().as_deref(), Some(input));
        }
    }
    let Some(path) = as_text(input).and_then(|text| text.parse::<TilePath>().ok()) else {
        return false;
    };
    assert_eq!(
        Some(path.to_string().as_str()),
        as_text(input),
        "two spellings of one path"
    );
    let right = usize::from(path.width) * 32;
    let fits = |len: usize| Tiles::default().insert(path, &vec![0; len]).is_ok();
    assert_eq!(fits(right), path.kind != TileKind::Entries);
    assert!(!fits(right + 32) && !fits(right - 1));
    true
}
