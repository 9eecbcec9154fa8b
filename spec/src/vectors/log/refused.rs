//! What forgers, and logs that contradict themselves, show to readers and witnesses: each is refused, for a reason
//! of its own where there is one.

use super::hashes;
use crate::fixtures::ed25519;
use crate::key::Signer as _;
use crate::log::tests::{Grown, SECONDS, event, log_key, rekord, signed_by_stranger, witness_key};
use crate::log::{
    AddCheckpoint, Checkpoint, Entry, Hash, KeyKind, LogProof, LogTrust, NoteSignature,
    SignedCheckpoint, VerifiedCheckpoint, VerifierKey, check_consistency, check_inclusion,
    consistency_proof, inclusion_proof, parse_cosignatures,
};
use crate::vectors::{agree, text};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const LEADS_ELSEWHERE: &str = "the proof leads to another root";
const DOES_NOT_VERIFY: &str = "checkpoint: signature does not verify with this key";

/// `input`, with what it is and why it is refused.
fn row(kind: &str, name: &str, mut input: Value, because: &str) -> Value {
    input["kind"] = json!(kind);
    input["name"] = json!(name);
    input["because"] = json!(because);
    input
}

/// The log, and a witness that nobody has to wait for or that `quorum` names.
fn trusted(quorum: &str) -> String {
    format!(
        "log {}\nwitness w {}\nquorum {quorum}\n",
        log_key(),
        witness_key(6)
    )
}

/// The same log after somebody wrote it anew from its first entry on.
fn rewritten(size: u64) -> Grown {
    Grown::of((0..size).map(|number| format!("forged {number}").into_bytes()))
}

fn continuation(grown: &Grown, old: u64, size: u64) -> Vec<Hash> {
    consistency_proof(old, size, |id| grown.node(id)).unwrap()
}

fn inclusion() -> Vec<Value> {
    let grown = Grown::numbered(20);
    let path = inclusion_proof(3, 20, |id| grown.node(id)).unwrap();
    let leaf = Hash::of_entry(b"3");
    let (root, older) = (grown.root_at(20), grown.root_at(19));
    let longer = [&path[..], &[leaf][..]].concat();
    let of = |name: &str, index: u64, root: Hash, proof: &[Hash], because: &str| {
        let input = json!({"index": index, "size": 20, "leaf": leaf, "root": root, "proof": proof});
        row("inclusion", name, input, because)
    };
    vec![
        of("wrong root", 3, older, &path, LEADS_ELSEWHERE),
        of("proof of another entry", 5, root, &path, LEADS_ELSEWHERE),
        of(
            "short inclusion proof",
            3,
            root,
            &path[..4],
            "the proof has 4 hashes, another number than a tree of this size needs",
        ),
        of(
            "long inclusion proof",
            3,
            root,
            &longer,
            "the proof has 6 hashes, another number than a tree of this size needs",
        ),
        of(
            "entry beyond the tree",
            20,
            root,
            &path,
            "the proof is about 20 in a tree of 20 entries",
        ),
    ]
}

fn consistency() -> Vec<Value> {
    let (grown, forged) = (Grown::numbered(20), rewritten(20));
    let proof = continuation(&grown, 8, 20);
    let longer = [&proof[..], &[grown.root_at(1)][..]].concat();
    let of = |name: &str, old: (u64, Hash), new: (u64, Hash), proof: &[Hash], because: &str| {
        let input =
            json!({"old": old.0, "oldRoot": old.1, "size": new.0, "root": new.1, "proof": proof});
        row("consistency", name, input, because)
    };
    let at = |size: u64| (size, grown.root_at(size));
    let forged_at = |size: u64| (size, forged.root_at(size));
    vec![
        of(
            "inconsistent consistency proof",
            at(8),
            forged_at(20),
            &continuation(&forged, 8, 20),
            LEADS_ELSEWHERE,
        ),
        of(
            "honest consistency proof for a rewritten tree",
            at(8),
            forged_at(20),
            &proof,
            LEADS_ELSEWHERE,
        ),
        of(
            "two trees of one size",
            at(20),
            forged_at(20),
            &[],
            LEADS_ELSEWHERE,
        ),
        of(
            "short consistency proof",
            at(8),
            at(20),
            &proof[..1],
            "the proof has 1 hashes, another number than a tree of this size needs",
        ),
        of(
            "long consistency proof",
            at(8),
            at(20),
            &longer,
            "the proof has 3 hashes, another number than a tree of this size needs",
        ),
        of(
            "consistency proof between equal sizes",
            at(20),
            at(20),
            &proof,
            "the proof has 2 hashes",
        ),
        of(
            "consistency proof from nothing",
            at(0),
            at(20),
            &proof,
            "the proof has 2 hashes",
        ),
        of(
            "consistency proof backwards",
            at(20),
            at(8),
            &proof,
            "the proof is about 20 in a tree of 8 entries",
        ),
    ]
}

/// What a reader is shown who kept a checkpoint of twelve entries.
fn contradictions() -> Vec<Value> {
    let (grown, forged) = (Grown::numbered(20), rewritten(20));
    let other = VerifierKey::new(
        "other.example.com",
        KeyKind::Log,
        ed25519(55).public_key().clone(),
    )
    .unwrap();
    let elsewhere = Checkpoint::new(other.name(), 20, grown.root_at(20));
    let elsewhere = elsewhere.sign(&other, &ed25519(55)).unwrap();
    let trust = format!("log {other}\n{}", trusted("none"));
    let of = |name: &str, now: &SignedCheckpoint, proof: &[Hash], because: &str| {
        let kept = grown.checkpoint(12).to_string();
        let input =
            json!({"trust": trust, "kept": kept, "checkpoint": now.to_string(), "proof": proof});
        row("continuation", name, input, because)
    };
    let is_forked = "its first 12 entries are not those that it showed before";
    vec![
        of(
            "rollback",
            &grown.checkpoint(5),
            &[],
            "was rolled back: it showed 12 entries before and shows 5 now",
        ),
        of(
            "fork of the same size",
            &forged.checkpoint(12),
            &[],
            is_forked,
        ),
        of(
            "fork that has grown on",
            &forged.checkpoint(20),
            &continuation(&forged, 12, 20),
            is_forked,
        ),
        of(
            "growth without proof",
            &grown.checkpoint(20),
            &[],
            "gives no proof that its 20 entries go on from the 12 that it showed before",
        ),
        of(
            "checkpoint of another log",
            &elsewhere,
            &continuation(&grown, 12, 20),
            "checkpoint is of log \"other.example.com\", not of \"log.example.com\"",
        ),
    ]
}

fn checkpoints() -> Vec<Value> {
    let grown = Grown::numbered(20);
    let signed = grown.checkpoint(20);
    let plain = signed.to_string();
    let of = |name: &str, quorum: &str, checkpoint: String, because: &str| {
        let input = json!({"trust": trusted(quorum), "checkpoint": checkpoint});
        row("checkpoint", name, input, because)
    };
    let with = |line: NoteSignature| {
        let mut checkpoint = signed.clone();
        checkpoint.add_cosignature(line);
        checkpoint.to_string()
    };
    let cosigned = |size: u64, seed: u8| {
        let checkpoint = grown.checkpoint(size);
        let key = witness_key(seed);
        let line = checkpoint.claim().cosign(&key, &ed25519(seed), SECONDS);
        line.unwrap()
    };
    let own = signed.signatures()[0].clone();
    let doubled = NoteSignature {
        signature: crate::vectors::forgery::plus_order(own.signature.clone()),
        ..own.clone()
    };
    let too_short = NoteSignature {
        signature: vec![1; 7],
        ..cosigned(20, 6)
    };
    let mut crowd = signed.clone();
    for number in 0..64u8 {
        crowd.add_cosignature(NoteSignature {
            name: "x".to_owned(),
            key_id: [number, 0, 0, 0],
            signature: vec![0],
        });
    }
    let mut padded = of(
        "note that is too long",
        "none",
        plain.clone(),
        "signed note: it is too long",
    );
    padded["padding"] = json!(crate::log::MAX_NOTE_BYTES);
    vec![
        of(
            "unknown key",
            "none",
            signed_by_stranger(&signed).to_string(),
            "checkpoint is not signed by the trusted key of log \"log.example.com\"",
        ),
        of(
            "unknown log",
            "none",
            plain.replace("log.example.com", "other.example.com"),
            "log \"other.example.com\" is not among those that are trusted",
        ),
        of(
            "another size under the same signature",
            "none",
            plain.replace("\n20\n", "\n21\n"),
            DOES_NOT_VERIFY,
        ),
        of(
            "non-canonical signature of the log",
            "none",
            plain.replace(&own.to_string(), &doubled.to_string()),
            "checkpoint: ed25519 signature is not canonical",
        ),
        of(
            "cosignature of another checkpoint",
            "w",
            with(cosigned(19, 6)),
            DOES_NOT_VERIFY,
        ),
        of(
            "cosignature that is no signature",
            "none",
            with(too_short),
            "signed note: a cosignature is too short",
        ),
        of(
            "cosignature of a stranger",
            "w",
            with(cosigned(20, 7)),
            "checkpoint is cosigned by 0 known witnesses, which is not the quorum \"w\"",
        ),
        of(
            "note without signatures",
            "none",
            signed.claim().text(),
            "signed note: it has no empty line before its signatures",
        ),
        of(
            "truncated note",
            "none",
            plain.trim_end().to_owned(),
            "signed note: it does not end with whole signature lines",
        ),
        of(
            "truncated signature",
            "none",
            format!("{}\n", &plain[..plain.len() - 4]),
            "signed note: a signature is not strict base64",
        ),
        of(
            "size with a leading zero",
            "none",
            plain.replace("\n20\n", "\n020\n"),
            "checkpoint: its size is no plain decimal number",
        ),
        of(
            "more signatures than are read",
            "none",
            crowd.to_string(),
            "signed note: it has too many signatures",
        ),
        padded,
    ]
}

fn proof_files() -> Vec<Value> {
    let entries = [Entry::Event(event()), Entry::Signature(rekord())];
    let bytes = entries.map(|entry| entry.to_bytes().unwrap());
    let grown = Grown::of(bytes.iter().cloned().chain([b"third".to_vec()]));
    let good = grown.proof(0, 3);
    let of = |name: &str, file: String, because: &str| {
        let input = json!({"trust": trusted("none"), "file": file});
        row("proof file", name, input, because)
    };
    let changed = |change: &dyn Fn(&mut LogProof)| {
        let mut proof = good.clone();
        change(&mut proof);
        proof.to_string()
    };
    let whole = good.to_string();
    let head = whole.split("\n\n").next().unwrap().to_owned();
    vec![
        of(
            "proof of another entry than it carries",
            changed(&|proof| proof.extra = Some(bytes[1].clone())),
            "log: the proof leads to another root",
        ),
        of(
            "proof without its entry",
            changed(&|proof| proof.extra = None),
            "proof file: it does not carry the entry that it proves",
        ),
        of(
            "proof that lacks a hash",
            changed(&|proof| proof.hashes.truncate(1)),
            "log: the proof has 1 hashes",
        ),
        of(
            "proof with more hashes than are read",
            changed(&|proof| proof.hashes = vec![Hash::of_nothing(); 65]),
            "proof file: it has too many hashes",
        ),
        of(
            "proof under a checkpoint of a stranger",
            changed(&|proof| proof.checkpoint = signed_by_stranger(&proof.checkpoint)),
            "checkpoint is not signed by the trusted key",
        ),
        of(
            "proof under a checkpoint from before the entry",
            changed(&|proof| (proof.index, proof.checkpoint) = (2, grown.checkpoint(2))),
            "log: the proof is about 2 in a tree of 2 entries",
        ),
        of(
            "truncated proof file",
            head,
            "proof file: it has no empty line before its checkpoint",
        ),
    ]
}

fn entries() -> Vec<Value> {
    let own = Entry::Event(event()).to_bytes().unwrap();
    let own = String::from_utf8(own).unwrap();
    let of = |name: &str, entry: String, because: &str| {
        row("entry", name, json!({"entry": entry}), because)
    };
    let deep = format!(
        "{{\"kind\":\"dev.sealstone.event\",\"spec\":{}{}}}",
        "[".repeat(100),
        "]".repeat(100)
    );
    let mut huge = of("huge entry", own.clone(), "bytes, at most 65535 are read");
    huge["padding"] = json!(65_535);
    vec![
        of(
            "duplicate key in an entry",
            own.replacen('{', "{\"kind\":\"hashedrekord\",", 1),
            "key \"kind\" stands twice in one object",
        ),
        of(
            "deep entry",
            deep,
            "log: invalid JSON: nested deeper than 64 levels",
        ),
        huge,
        of(
            "entry in another spelling",
            format!(" {own}"),
            "log entry: it is not in canonical form",
        ),
        of(
            "entry of an unknown kind",
            own.replace("dev.sealstone.event", "dev.sealstone.rumour"),
            "log entry: its kind is neither an event nor a hashedrekord",
        ),
    ]
}

fn witnesses() -> Vec<Value> {
    let (grown, forged) = (Grown::numbered(20), rewritten(20));
    let body = |of: &Grown, old: u64, size: u64, proof: Vec<Hash>| {
        let checkpoint = of.checkpoint(size);
        AddCheckpoint {
            old,
            proof,
            checkpoint,
        }
    };
    // The witness keeps the checkpoint of eight entries.
    let of = |name: &str, request: &AddCheckpoint, status: u16, because: &str| {
        let kept = json!({"size": 8, "root": grown.root_at(8)});
        let input = json!({"logKey": log_key(), "kept": kept, "request": request.to_string(), "status": status});
        row("request", name, input, because)
    };
    let honest = body(&grown, 8, 20, continuation(&grown, 8, 20));
    let by_stranger = AddCheckpoint {
        checkpoint: signed_by_stranger(&honest.checkpoint),
        ..honest.clone()
    };
    let lines = |name: &str, answer: String, because: &str| {
        let checkpoint = grown.checkpoint(20).to_string();
        let input =
            json!({"checkpoint": checkpoint, "witnessKey": witness_key(6), "answer": answer});
        row("answer", name, input, because)
    };
    let cosign = |size: u64| {
        let checkpoint = grown.checkpoint(size);
        let line = checkpoint
            .claim()
            .cosign(&witness_key(6), &ed25519(6), SECONDS);
        line.unwrap().to_string()
    };
    vec![
        of(
            "request for a fork of the same size",
            &body(&forged, 8, 8, Vec::new()),
            409,
            "another root than the one of size 8 that this witness cosigned",
        ),
        of(
            "request for a fork that has grown on",
            &body(&forged, 8, 20, continuation(&forged, 8, 20)),
            422,
            "the checkpoint does not go on from the one of size 8 that this witness cosigned",
        ),
        of(
            "request that begins elsewhere",
            &body(&grown, 5, 20, continuation(&grown, 5, 20)),
            409,
            "this witness keeps a checkpoint of size 8",
        ),
        of(
            "request for a rollback",
            &body(&grown, 8, 5, Vec::new()),
            400,
            "the old size is above that of the checkpoint",
        ),
        of(
            "request under another key",
            &by_stranger,
            403,
            "no trusted key of the log signed this checkpoint",
        ),
        lines(
            "answer about another checkpoint",
            cosign(19),
            DOES_NOT_VERIFY,
        ),
        lines(
            "answer that was cut off",
            cosign(20).trim_end().to_owned(),
            "witness: the answer is not made of signature lines",
        ),
    ]
}

/// The bytes of a text; so many spaces follow as `padding` says, which keeps what is too long out of the file.
fn bytes(vector: &Value, pointer: &str) -> Vec<u8> {
    let mut bytes = text(vector, pointer).as_bytes().to_vec();
    let padding = vector["padding"].as_u64().unwrap_or_default();
    bytes.resize(bytes.len() + usize::try_from(padding).unwrap(), b' ');
    bytes
}

fn number(vector: &Value, key: &str) -> u64 {
    vector[key].as_u64().unwrap()
}

fn hash(vector: &Value, key: &str) -> Hash {
    vector[key].as_str().unwrap().parse().unwrap()
}

fn trust(vector: &Value) -> LogTrust {
    LogTrust::parse(text(vector, "/trust")).unwrap()
}

fn believed(vector: &Value, pointer: &str) -> Result<VerifiedCheckpoint, String> {
    let checkpoint = SignedCheckpoint::parse(&bytes(vector, pointer));
    let verified = checkpoint.and_then(|checkpoint| trust(vector).verify(&checkpoint));
    verified.map_err(|error| error.to_string())
}

/// What comes of a vector: `Ok` if it is accepted, else why not.
fn judged(vector: &Value) -> Result<(), String> {
    let proof = || hashes(&vector["proof"]);
    match text(vector, "/kind") {
        "inclusion" => {
            let (index, size) = (number(vector, "index"), number(vector, "size"));
            let (leaf, root) = (hash(vector, "leaf"), hash(vector, "root"));
            check_inclusion(&leaf, index, size, &proof(), &root).map_err(|error| error.to_string())
        }
        "consistency" => {
            let (old, size) = (number(vector, "old"), number(vector, "size"));
            let (old_root, root) = (hash(vector, "oldRoot"), hash(vector, "root"));
            check_consistency(old, &old_root, size, &root, &proof())
                .map_err(|error| error.to_string())
        }
        "continuation" => {
            let kept = believed(vector, "/kept").unwrap();
            let now = believed(vector, "/checkpoint").unwrap();
            now.follows(&kept, &proof())
                .map_err(|error| error.to_string())
        }
        "checkpoint" => believed(vector, "/checkpoint").map(drop),
        "proof file" => {
            let proof = LogProof::parse(&bytes(vector, "/file"));
            let entry = proof.and_then(|proof| proof.verify_entry(&trust(vector)));
            entry.map(drop).map_err(|error| error.to_string())
        }
        "entry" => {
            let entry = Entry::parse(&bytes(vector, "/entry"));
            entry.map(drop).map_err(|error| error.to_string())
        }
        "request" => {
            let key: VerifierKey = text(vector, "/logKey").parse().unwrap();
            let kept = &vector["kept"];
            let kept = Checkpoint::new(key.name(), number(kept, "size"), hash(kept, "root"));
            let request = AddCheckpoint::parse(&bytes(vector, "/request")).unwrap();
            let answer = request.judge(&[key], Some(&kept));
            answer.map(drop).map_err(|refusal| {
                assert_eq!(u64::from(refusal.status()), number(vector, "status"));
                refusal.to_string()
            })
        }
        "answer" => {
            let witness: VerifierKey = text(vector, "/witnessKey").parse().unwrap();
            let checkpoint = SignedCheckpoint::parse(&bytes(vector, "/checkpoint")).unwrap();
            let line = parse_cosignatures(&bytes(vector, "/answer"), &checkpoint, &witness);
            line.map(drop).map_err(|error| error.to_string())
        }
        other => panic!("{other} is no kind of these vectors"),
    }
}

#[test]
fn what_no_reader_believes_and_no_witness_cosigns() {
    let rows: Vec<Value> = [
        inclusion(),
        consistency(),
        contradictions(),
        checkpoints(),
        proof_files(),
        entries(),
        witnesses(),
    ]
    .into_iter()
    .flatten()
    .collect();
    let names: BTreeSet<&str> = rows.iter().map(|row| text(row, "/name")).collect();
    assert_eq!(names.len(), rows.len(), "a name stands twice");
    let mut wrong = Vec::new();
    let stored = agree("log/refused.json", &json!(rows));
    for vector in stored.as_array().unwrap() {
        let (name, because) = (text(vector, "/name"), text(vector, "/because"));
        match judged(vector) {
            Ok(()) => wrong.push(format!("{name} was accepted")),
            Err(reason) if reason.contains(because) => {}
            Err(reason) => wrong.push(format!("{name}: not because {because}: {reason}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
