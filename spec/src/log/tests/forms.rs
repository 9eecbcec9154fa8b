//! Notes, checkpoints, keys, proof files, requests, entries, evidence: what is read, and what is refused.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::digest::Digest;
use serde_json::{Value, json};

/// Every text that differs from `text` in one byte, or lacks its last.
fn changed(text: &str) -> impl Iterator<Item = Vec<u8>> {
    let bytes = text.as_bytes().to_vec();
    (0..bytes.len())
        .flat_map(|at| [1_u8, 0x20].map(|bit| (at, bit)))
        .map({
            let bytes = bytes.clone();
            move |(at, bit)| {
                let mut other = bytes.clone();
                other[at] ^= bit;
                other
            }
        })
        .chain([
            bytes[..bytes.len() - 1].to_vec(),
            [&bytes[..], b"x"].concat(),
        ])
}

#[test]
fn the_example_of_the_specification_of_notes() {
    let key: VerifierKey = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
        .parse()
        .unwrap();
    let text = "This is an example message.\n\n\u{2014} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
    let note = Note::parse(text.as_bytes()).unwrap();
    let [line] = note.signatures() else {
        panic!("one line")
    };
    assert!(key.is_named_by(line));
    key.public_key()
        .verify(note.text().as_bytes(), &line.signature)
        .unwrap();
    assert_eq!(note.to_string(), text);
}

#[test]
fn no_change_of_a_checkpoint_is_accepted() {
    let grown = Grown::numbered(9);
    let text = grown.checkpoint(9).to_string();
    SignedCheckpoint::parse(text.as_bytes())
        .unwrap()
        .verify(&log_key())
        .unwrap();
    for other in changed(&text) {
        let accepted = SignedCheckpoint::parse(&other).and_then(|note| note.verify(&log_key()));
        assert!(accepted.is_err(), "{}", String::from_utf8_lossy(&other));
    }
}

#[test]
fn a_line_of_a_known_key_that_does_not_hold_spoils_the_note() {
    let grown = Grown::numbered(3);
    let mut note = grown.checkpoint(3);
    let foreign = grown.checkpoint(2).signatures()[0].clone();
    note.add_cosignature(foreign);
    assert!(matches!(
        note.verify(&log_key()),
        Err(LogError::Signature(_))
    ));
    // A line of somebody else is passed over.
    let mut note = grown.checkpoint(3);
    note.add_cosignature(NoteSignature {
        name: "somebody".into(),
        key_id: [1; 4],
        signature: vec![1],
    });
    note.verify(&log_key()).unwrap();
}

#[test]
fn a_cosignature_that_does_not_hold_spoils_the_note_wherever_it_stands() {
    let grown = Grown::numbered(3);
    let cosigned = |size: u64| {
        let checkpoint = grown.checkpoint(size);
        let claim = checkpoint.claim();
        claim.cosign(&witness_key(6), &ed25519(6), SECONDS).unwrap()
    };
    let (good, foreign) = (cosigned(3), cosigned(2));
    for lines in [[&good, &foreign], [&foreign, &good]] {
        let mut note = grown.checkpoint(3);
        for line in lines {
            note.add_cosignature(line.clone());
        }
        assert!(note.cosignatures([&witness_key(6)]).is_err());
        // Nobody who does not know the witness minds.
        assert!(note.cosignatures([&witness_key(7)]).unwrap().is_empty());
    }
    let mut note = grown.checkpoint(3);
    note.add_cosignature(good);
    assert_eq!(note.cosignatures([&witness_key(6)]).unwrap().len(), 1);
}

#[test]
fn a_witness_key_signs_no_checkpoint_and_a_log_key_cosigns_none() {
    let checkpoint = Checkpoint::new(ORIGIN, 0, Hash::of_nothing());
    let as_witness =
        VerifierKey::new(ORIGIN, KeyKind::Witness, ed25519(5).public_key().clone()).unwrap();
    assert!(checkpoint.sign(&as_witness, &ed25519(5)).is_err());
    assert!(checkpoint.cosign(&log_key(), &ed25519(5), SECONDS).is_err());
    assert!(checkpoint.sign(&log_key(), &ed25519(6)).is_err());
    let signed = checkpoint.sign(&log_key(), &ed25519(5)).unwrap();
    assert!(signed.verify(&as_witness).is_err());
    assert!(VerifierKey::new(ORIGIN, KeyKind::Log, p256(2).public_key().clone()).is_err());
    for name in ["", "a b", "a+b", "a\nb", "a\u{a0}b"] {
        assert!(VerifierKey::new(name, KeyKind::Log, ed25519(5).public_key().clone()).is_err());
    }
}

#[test]
fn keys_have_one_spelling() {
    for key in [log_key(), witness_key(6)] {
        assert_eq!(key.to_string().parse::<VerifierKey>().unwrap(), key);
        for other in changed(&key.to_string()) {
            let read = std::str::from_utf8(&other)
                .ok()
                .and_then(|text| text.parse::<VerifierKey>().ok());
            assert!(read.is_none_or(|read| read != key));
        }
    }
}

#[test]
fn a_log_that_contradicts_itself_is_told_how() {
    let honest = Grown::numbered(8);
    let forged = Grown::of((0_u64..9).map(|n| (n + 1).to_string().into_bytes()));
    let of = |grown: &Grown, size| grown.checkpoint(size).verify(&log_key()).unwrap();
    let kept = of(&honest, 5);
    let proof = |grown: &Grown, new| consistency_proof(5, new, |id| grown.node(id)).unwrap();
    of(&honest, 8).follows(&kept, &proof(&honest, 8)).unwrap();
    kept.follows(&kept, &[]).unwrap();
    let wrong =
        |newer: VerifiedCheckpoint, proof: &[Hash]| newer.follows(&kept, proof).unwrap_err();
    assert!(matches!(
        wrong(of(&honest, 4), &[]),
        Divergence::Rollback {
            kept: 5,
            found: 4,
            ..
        }
    ));
    assert!(matches!(
        wrong(of(&forged, 5), &[]),
        Divergence::Fork { kept: 5, .. }
    ));
    assert!(matches!(
        wrong(of(&forged, 9), &proof(&forged, 9)),
        Divergence::Fork { .. }
    ));
    assert!(matches!(
        wrong(of(&honest, 8), &[]),
        Divergence::NotProved { .. }
    ));
    let other = VerifierKey::new(
        "other.example",
        KeyKind::Log,
        ed25519(5).public_key().clone(),
    )
    .unwrap();
    let elsewhere = Checkpoint::new("other.example", 5, honest.root_at(5));
    let elsewhere = elsewhere
        .sign(&other, &ed25519(5))
        .unwrap()
        .verify(&other)
        .unwrap();
    assert!(matches!(wrong(elsewhere, &[]), Divergence::OtherLog { .. }));
}

#[test]
fn no_change_of_a_proof_file_is_accepted() {
    let entry = Entry::Event(event());
    let grown = Grown::of([
        b"first".to_vec(),
        entry.to_bytes().unwrap(),
        b"third".to_vec(),
    ]);
    let text = grown.proof(1, 3).to_string();
    let read = LogProof::parse(text.as_bytes()).unwrap();
    assert_eq!(read.to_string(), text);
    let (found, evidence) = read.verify_entry(&trust()).unwrap();
    assert_eq!(
        (found, evidence.index(), evidence.origin()),
        (entry, 1, ORIGIN)
    );
    for other in changed(&text) {
        let accepted = LogProof::parse(&other).and_then(|proof| proof.verify_entry(&trust()));
        assert!(accepted.is_err(), "{}", String::from_utf8_lossy(&other));
    }
    let stranger = VerifierKey::new(ORIGIN, KeyKind::Log, ed25519(4).public_key().clone()).unwrap();
    let other = LogTrust::in_logs([stranger]).unwrap();
    assert!(matches!(
        read.verify_entry(&other),
        Err(LogError::Unsigned(_))
    ));
    let mut bare = read.clone();
    bare.extra = None;
    assert!(bare.verify_entry(&trust()).is_err());
    bare.verify(&Hash::of_entry(&grown.entries[1]), &trust())
        .unwrap();
}

#[test]
fn trust_is_counted_by_groups() {
    let text = format!(
        "# both sites\nlog {}\nwitness a {} https://a.example\n\twitness b {}\nwitness c {}\ngroup ab any a b\ngroup both all ab c\nquorum both\n",
        log_key(),
        witness_key(6),
        witness_key(7),
        witness_key(8)
    );
    let trust = LogTrust::parse(&text).unwrap();
    assert_eq!((trust.logs().len(), trust.witnesses().count()), (1, 3));
    let seen_by = |seeds: &[u8]| {
        let grown = Grown::numbered(4);
        let mut note = grown.checkpoint(4);
        for seed in seeds {
            let line = note
                .claim()
                .cosign(&witness_key(*seed), &ed25519(*seed), SECONDS)
                .unwrap();
            note.add_cosignature(line);
        }
        note
    };
    for (seeds, holds) in [
        (&[6, 8][..], true),
        (&[7, 8], true),
        (&[6, 7], false),
        (&[8], false),
        (&[], false),
        (&[6, 7, 8], true),
    ] {
        assert_eq!(trust.verify(&seen_by(seeds)).is_ok(), holds, "{seeds:?}");
    }
    let text = seen_by(&[6, 8]).to_string();
    for other in changed(&text) {
        let accepted = SignedCheckpoint::parse(&other).and_then(|note| trust.verify(&note));
        assert!(accepted.is_err(), "{}", String::from_utf8_lossy(&other));
    }
}

#[test]
fn a_document_of_trust_that_could_mean_two_things_is_refused() {
    let (log, a, b) = (log_key(), witness_key(6), witness_key(7));
    for bad in [
        String::new(),
        format!("log {log}\n"),
        format!("log {log}\nlog {log}\nquorum none\n"),
        format!("log {a}\nquorum none\n"),
        format!("witness a {log}\nquorum a\n"),
        format!("witness a {a}\nwitness a {b}\nquorum a\n"),
        format!("witness a {a}\nwitness b {a}\nquorum a\n"),
        format!("witness none {a}\nquorum none\n"),
        format!("quorum a\nwitness a {a}\n"),
        format!("group g any a\nwitness a {a}\nquorum g\n"),
        format!("witness a {a}\ngroup g any a a\nquorum g\n"),
        format!("witness a {a}\ngroup g 2 a\nquorum g\n"),
        format!("witness a {a}\ngroup g 0 a\nquorum g\n"),
        format!("witness a {a}\ngroup g 01 a\nquorum g\n"),
        format!("witness a {a}\ngroup g any\nquorum g\n"),
        format!("witness a {a}\ngroup g any a\ngroup h any a\nquorum g\n"),
        format!("log {log} https://x y\nquorum none\n"),
        "quorum none\nquorum none\n".into(),
        "quorum none\r\n".into(),
        "quorum\u{a0}none\n".into(),
        "Quorum none\n".into(),
    ] {
        assert!(LogTrust::parse(&bad).is_err(), "{bad}");
    }
    assert!(LogTrust::parse("quorum none").unwrap().logs().is_empty());
}

#[test]
fn a_witness_cosigns_what_goes_on_and_nothing_else() {
    let honest = Grown::numbered(12);
    let forged = Grown::of((0_u64..12).map(|n| format!("x{n}").into_bytes()));
    let request = |grown: &Grown, old, new| AddCheckpoint {
        old,
        proof: consistency_proof(old, new, |id| grown.node(id)).unwrap(),
        checkpoint: grown.checkpoint(new),
    };
    let text = request(&honest, 5, 12).to_string();
    assert_eq!(
        AddCheckpoint::parse(text.as_bytes()).unwrap(),
        request(&honest, 5, 12)
    );
    let kept = Checkpoint::new(ORIGIN, 5, honest.root_at(5));
    let judge = |request: &AddCheckpoint, kept: Option<&Checkpoint>| {
        request
            .judge(&[log_key()], kept)
            .map(|checkpoint| checkpoint.size())
    };
    assert_eq!(judge(&request(&honest, 0, 7), None), Ok(7));
    assert_eq!(judge(&request(&honest, 5, 12), Some(&kept)), Ok(12));
    assert_eq!(judge(&request(&honest, 5, 5), Some(&kept)), Ok(5));
    let status = |outcome: Result<u64, WitnessRefusal>| outcome.unwrap_err().status();
    assert_eq!(
        judge(&request(&honest, 4, 12), Some(&kept)),
        Err(WitnessRefusal::Stale { size: 5 })
    );
    assert_eq!(status(judge(&request(&honest, 0, 12), Some(&kept))), 409);
    assert_eq!(status(judge(&request(&forged, 5, 12), Some(&kept))), 422);
    let other_root = judge(&request(&forged, 5, 5), Some(&kept));
    assert_eq!(other_root, Err(WitnessRefusal::OtherRoot { size: 5 }));
    assert_eq!(status(other_root), 409);
    let mut same = request(&honest, 5, 5);
    same.proof.push(honest.root_at(1));
    assert_eq!(status(judge(&same, Some(&kept))), 422);
    let mut padded = request(&honest, 0, 7);
    padded.proof.push(honest.root_at(1));
    assert_eq!(status(judge(&padded, None)), 422);
    let mut backwards = request(&honest, 5, 4);
    backwards.old = 5;
    assert_eq!(status(judge(&backwards, Some(&kept))), 400);
    assert_eq!(
        request(&honest, 5, 12)
            .judge(&[], Some(&kept))
            .unwrap_err()
            .status(),
        404
    );
    let stranger = VerifierKey::new(ORIGIN, KeyKind::Log, ed25519(4).public_key().clone()).unwrap();
    assert_eq!(
        request(&honest, 5, 12)
            .judge(&[stranger], Some(&kept))
            .unwrap_err()
            .status(),
        403
    );

    let note = honest.checkpoint(12);
    let line = note
        .claim()
        .cosign(&witness_key(6), &ed25519(6), SECONDS)
        .unwrap();
    let answer = line.to_string();
    assert_eq!(
        parse_cosignatures(answer.as_bytes(), &note, &witness_key(6)).unwrap(),
        Some(line)
    );
    assert_eq!(
        parse_cosignatures(answer.as_bytes(), &note, &witness_key(7)).unwrap(),
        None
    );
    assert!(
        parse_cosignatures(answer.as_bytes(), &honest.checkpoint(11), &witness_key(6)).is_err()
    );
}

#[test]
fn an_entry_has_one_spelling() {
    let mut evidence = event();
    evidence.set_evidence(&vec![Digest::sha256(b"e"); 500]);
    assert!(evidence.evidence.is_empty() && evidence.evidence_set.is_some());
    let mut attach = event();
    (attach.op, attach.tag, attach.statement) =
        (Operation::Approve, None, Some(Digest::sha256(b"s")));
    let policy = EventEntry::new(Operation::Policy, Digest::sha256(b"p"), "server", MILLIS);
    for entry in [
        Entry::Event(event()),
        Entry::Event(evidence),
        Entry::Event(attach),
        Entry::Event(policy),
        Entry::Signature(rekord()),
    ] {
        let bytes = entry.to_bytes().unwrap();
        assert_eq!(Entry::parse(&bytes).unwrap(), entry);
        let text = String::from_utf8(bytes.clone()).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        let spaced = serde_json::to_string_pretty(&value).unwrap();
        let longer = text.replacen('{', r#"{"a":1,"#, 1);
        for other in [
            spaced,
            longer,
            format!("{text}\n"),
            text.replace("apiVersion", "apiversion"),
        ] {
            assert!(Entry::parse(other.as_bytes()).is_err(), "{other}");
        }
    }
    let mut null: Value =
        serde_json::from_slice(&Entry::Event(event()).to_bytes().unwrap()).unwrap();
    null["spec"]["prev"] = Value::Null;
    assert!(Entry::parse(null.to_string().as_bytes()).is_err());
    let mut alone = event();
    alone.tag = None;
    assert!(Entry::Event(alone).to_bytes().is_err());
}

#[test]
fn no_change_of_a_logged_signature_is_accepted() {
    let bytes = rekord().to_bytes();
    assert_eq!(Rekord::parse(&bytes).unwrap(), rekord());
    for other in changed(std::str::from_utf8(&bytes).unwrap()) {
        assert!(
            Rekord::parse(&other).is_err(),
            "{}",
            String::from_utf8_lossy(&other)
        );
    }
    let ed = crate::envelope::seal("a/b", b"payload", &ed25519(1)).unwrap();
    assert!(Rekord::of_envelope(&ed, ed25519(1).public_key()).is_err());
}

#[test]
fn evidence_in_a_bundle_is_about_its_own_signature() {
    let envelope = crate::envelope::seal("a/b", b"payload", &p256(2)).unwrap();
    let rekord = rekord();
    let grown = Grown::of([b"x".to_vec(), rekord.to_bytes(), b"y".to_vec()]);
    let path = inclusion_proof(1, 3, |id| grown.node(id)).unwrap();
    let mut checkpoint = grown.checkpoint(3);
    let line = checkpoint
        .claim()
        .cosign(&witness_key(6), &ed25519(6), SECONDS)
        .unwrap();
    checkpoint.add_cosignature(line);
    let entry = TlogEntry::new(&rekord, 1, path, &checkpoint, &log_key()).unwrap();
    let value = entry.to_value();
    assert!(
        !value.to_string().contains("witness6"),
        "sigstore-js would refuse it"
    );
    let read = TlogEntry::read(&value).unwrap();
    assert_eq!(read, entry);
    let logged = read
        .verify(&envelope, p256(2).public_key(), &trust())
        .unwrap();
    assert_eq!((logged.evidence().index(), logged.rekord()), (1, &rekord));

    let other = crate::envelope::seal("a/b", b"other", &p256(2)).unwrap();
    assert!(read.verify(&other, p256(2).public_key(), &trust()).is_err());
    assert!(
        read.verify(&envelope, p256(3).public_key(), &trust())
            .is_err()
    );
    for (pointer, wrong) in [
        ("/logIndex", json!("2")),
        ("/inclusionProof/logIndex", json!("0")),
        ("/inclusionProof/treeSize", json!("4")),
        ("/inclusionProof/rootHash", json!(Hash::of_nothing())),
        ("/inclusionProof/hashes", json!([Hash::of_nothing()])),
        ("/inclusionProof/hashes/0", json!(Hash::of_nothing())),
        ("/kindVersion/version", json!("0.0.1")),
        ("/kindVersion/kind", json!("dsse")),
        ("/logId/keyId", json!(Hash::of_nothing())),
        ("/canonicalizedBody", json!("e30=")),
        (
            "/inclusionProof/checkpoint/envelope",
            json!(grown.checkpoint(2).to_string()),
        ),
    ] {
        let mut forged = value.clone();
        *forged.pointer_mut(pointer).unwrap() = wrong;
        let accepted = TlogEntry::read(&forged)
            .and_then(|entry| entry.verify(&envelope, p256(2).public_key(), &trust()));
        assert!(accepted.is_err(), "{pointer}");
    }
}

#[test]
fn a_trusted_root_names_the_log_by_its_host() {
    let file = trusted_root(
        "https://log.example.com",
        &log_key(),
        "2026-01-01T00:00:00Z",
    )
    .unwrap();
    assert_eq!(trusted_keys(&file).unwrap(), [log_key()]);
    assert!(
        trusted_root(
            "https://log.example.com:5000/x",
            &log_key(),
            "2026-01-01T00:00:00Z"
        )
        .is_ok()
    );
    assert!(
        trusted_root(
            "https://other.example.com",
            &log_key(),
            "2026-01-01T00:00:00Z"
        )
        .is_err()
    );
    let text = String::from_utf8(file).unwrap();
    assert!(trusted_keys(text.replace("https://log.", "https://lag.").as_bytes()).is_err());
}
