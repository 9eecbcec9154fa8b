//! Trees, notes, proofs and entries, byte by byte; and what is refused of each.

mod refused;

use super::{agree, text};
use crate::fixtures::ed25519;
use crate::key::Signer as _;
use crate::log::tests::{Grown, SECONDS, event, log_key, rekord, witness_key};
use crate::log::{
    AddCheckpoint, Entry, Hash, LogProof, LogTrust, SignedCheckpoint, TlogEntry, VerifierKey,
    check_consistency, check_inclusion, consistency_proof, inclusion_proof,
};
use serde_json::{Value, json};

fn hashes(value: &Value) -> Vec<Hash> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn trees_and_their_proofs() {
    let grown = Grown::numbered(20);
    let inclusion: Vec<Value> = [
        (0, 1),
        (0, 2),
        (1, 3),
        (2, 3),
        (6, 7),
        (3, 20),
        (19, 20),
        (16, 19),
    ]
    .map(|(index, size)| {
        json!({
            "index": index, "size": size, "root": grown.root_at(size),
            "proof": inclusion_proof(index, size, |id| grown.node(id)).unwrap(),
        })
    })
    .to_vec();
    let consistency: Vec<Value> = [(1, 2), (3, 7), (4, 7), (6, 8), (8, 20), (17, 20), (20, 20)]
        .map(|(old, size)| {
            json!({
                "old": old, "size": size, "oldRoot": grown.root_at(old), "root": grown.root_at(size),
                "proof": consistency_proof(old, size, |id| grown.node(id)).unwrap(),
            })
        })
        .to_vec();
    let built = json!({
        "entries": "the decimal number of each, from 0 on",
        "emptyRoot": Hash::of_nothing(),
        "inclusion": inclusion,
        "consistency": consistency,
    });
    let stored = agree("log/trees.json", &built);
    for vector in stored["inclusion"].as_array().unwrap() {
        let (index, size) = (
            vector["index"].as_u64().unwrap(),
            vector["size"].as_u64().unwrap(),
        );
        let leaf = Hash::of_entry(index.to_string().as_bytes());
        let root = text(vector, "/root").parse().unwrap();
        check_inclusion(&leaf, index, size, &hashes(&vector["proof"]), &root).unwrap();
    }
    for vector in stored["consistency"].as_array().unwrap() {
        let (old, size) = (
            vector["old"].as_u64().unwrap(),
            vector["size"].as_u64().unwrap(),
        );
        let roots = (
            text(vector, "/oldRoot").parse().unwrap(),
            text(vector, "/root").parse().unwrap(),
        );
        check_consistency(old, &roots.0, size, &roots.1, &hashes(&vector["proof"])).unwrap();
    }
}

#[test]
fn checkpoints_proofs_and_requests() {
    let entries = [Entry::Event(event()), Entry::Signature(rekord())];
    let bytes = entries.each_ref().map(|entry| entry.to_bytes().unwrap());
    let grown = Grown::of(bytes.iter().cloned().chain([b"third".to_vec()]));
    let mut cosigned = grown.checkpoint(3);
    let line = cosigned
        .claim()
        .cosign(&witness_key(6), &ed25519(6), SECONDS)
        .unwrap();
    cosigned.add_cosignature(line);
    let path = inclusion_proof(1, 3, |id| grown.node(id)).unwrap();
    let tlog = TlogEntry::new(&rekord(), 1, path, &cosigned, &log_key()).unwrap();
    let request = AddCheckpoint {
        old: 2,
        proof: consistency_proof(2, 3, |id| grown.node(id)).unwrap(),
        checkpoint: grown.checkpoint(3),
    };
    let trust = format!(
        "log {}\nwitness w {}\nquorum w\n",
        log_key(),
        witness_key(6)
    );
    let built = json!({
        "logKey": log_key(), "logKeyId": log_key().full_id(), "witnessKey": witness_key(6), "trust": trust,
        "entries": bytes.each_ref().map(|bytes| String::from_utf8(bytes.clone()).unwrap()),
        "leaves": bytes.each_ref().map(|bytes| Hash::of_entry(bytes)),
        "checkpoint": cosigned.to_string(),
        "proof": LogProof { checkpoint: cosigned, ..grown.proof(0, 3) }.to_string(),
        "tlogEntry": tlog.to_value(),
        "addCheckpoint": request.to_string(),
    });
    let vector = agree("log/notes.json", &built);
    let trust = LogTrust::parse(text(&vector, "/trust")).unwrap();
    let key: VerifierKey = text(&vector, "/logKey").parse().unwrap();
    assert_eq!(key.full_id().to_string(), text(&vector, "/logKeyId"));
    let checkpoint = SignedCheckpoint::parse(text(&vector, "/checkpoint").as_bytes()).unwrap();
    assert_eq!(trust.verify(&checkpoint).unwrap().size(), 3);
    let proof = LogProof::parse(text(&vector, "/proof").as_bytes()).unwrap();
    let (entry, evidence) = proof.verify_entry(&trust).unwrap();
    assert_eq!(
        entry,
        Entry::parse(text(&vector, "/entries/0").as_bytes()).unwrap()
    );
    assert_eq!(evidence.leaf().to_string(), text(&vector, "/leaves/0"));
    let envelope = crate::envelope::seal("a/b", b"payload", &crate::fixtures::p256(2)).unwrap();
    let in_log = LogTrust::in_logs([key]).unwrap();
    let tlog = TlogEntry::read(&vector["tlogEntry"]).unwrap();
    tlog.verify(&envelope, crate::fixtures::p256(2).public_key(), &in_log)
        .unwrap();
    let request = AddCheckpoint::parse(text(&vector, "/addCheckpoint").as_bytes()).unwrap();
    assert_eq!((request.old, request.checkpoint.claim().size), (2, 3));
}
