//! A program that signs: what it answers is used if it verifies, and in no other case.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::scripts;
use sealstone_spec::key::SecretKey;
use std::fs;

fn key() -> SecretKey {
    SecretKey::ed25519_from_seed(&[1; 32]).unwrap()
}

fn script(directory: &std::path::Path, body: &str) -> String {
    let path = directory.join("signer with space.sh");
    scripts::write(&path, body);
    format!("'{}' one 'two words'", path.display())
}

fn answer(body: &str, limit: Duration) -> Result<Vec<u8>, String> {
    let directory = tempfile::tempdir().unwrap();
    let command = script(directory.path(), body);
    let signer = CommandSigner::new(&command, key().public_key().clone(), limit).unwrap();
    signer.sign(b"message").map_err(|error| error.to_string())
}

const LONG: Duration = Duration::from_secs(20);

#[test]
fn the_answer_may_be_plain_or_base64_and_the_program_sees_what_the_protocol_says() {
    let good = key().sign(b"message").unwrap();
    let base64 = BASE64.encode(&good);
    let id = key().public_key().id().to_string();
    let asks = format!(
        "test \"$2\" = 'two words' && test \"$SEALSTONE_SIGNER_PROTOCOL $SEALSTONE_KEY_ID $SEALSTONE_ALGORITHM\" = '1 {id} ed25519' || exit 9\n\
         test \"$(cat)\" = message && test \"$(cat \"$SEALSTONE_MESSAGE_FILE\")\" = message || exit 8\n\
         test -z \"$SEALSTONE_PASSPHRASE\" || exit 7\n"
    );
    assert_eq!(answer(&format!("{asks}echo {base64}"), LONG).unwrap(), good);
    let plain = format!("{asks}echo {base64} | base64 -d");
    assert_eq!(answer(&plain, LONG).unwrap(), good);
    // One that never reads its input.
    assert_eq!(answer(&format!("echo {base64}"), LONG).unwrap(), good);
}

#[test]
fn an_answer_that_does_not_verify_is_no_signature() {
    let other = BASE64.encode(&key().sign(b"another message").unwrap());
    let right = BASE64.encode(&key().sign(b"message").unwrap());
    for (body, reason) in [
        (format!("echo {other}"), "no signature by SHA256:"),
        ("echo hello".to_owned(), "no signature by SHA256:"),
        (":".to_owned(), "answered nothing"),
        ("head -c 5000 /dev/zero".to_owned(), "more than 4096"),
        (format!("echo {right}; exit 3"), "exit status: 3"),
    ] {
        let error = answer(&body, LONG).unwrap_err();
        assert!(error.contains(reason), "{body}: {error}");
    }
    let missing = CommandSigner::new("/no/such/program", key().public_key().clone(), LONG).unwrap();
    assert!(
        missing
            .sign(b"m")
            .unwrap_err()
            .to_string()
            .contains("cannot be started")
    );
    assert!(CommandSigner::new(" ", key().public_key().clone(), LONG).is_err());
}

#[test]
fn a_program_that_hangs_is_ended_with_what_it_started() {
    let directory = tempfile::tempdir().unwrap();
    let mark = directory.path().join("child");
    let body = format!("sleep 300 & echo $! > '{}'; sleep 300", mark.display());
    let started = Instant::now();
    // Long enough for the program to have come so far.
    let error = answer(&body, Duration::from_secs(3)).unwrap_err();
    assert!(error.contains("within 3 s"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(20));
    let child = fs::read_to_string(&mark).unwrap();
    let path = format!("/proc/{}/stat", child.trim());
    // Whoever adopts it may take a moment to collect it.
    for _ in 0..100 {
        match fs::read_to_string(&path) {
            Ok(state) if !state.contains(") Z ") => std::thread::sleep(Duration::from_millis(50)),
            _ => return,
        }
    }
    panic!("the program's child still runs");
}

#[test]
fn time_in_which_nobody_could_answer_is_not_the_program_s() {
    let limit = Duration::from_millis(200);
    let signer = CommandSigner::new("true", key().public_key().clone(), limit).unwrap();
    for (away, answered) in [(LONG, true), (Duration::ZERO, false)] {
        let (send, answers) = channel();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs(1));
            let _ = send.send(Ok(vec![7]));
        });
        let away = std::cell::Cell::new(away);
        let mut deadline = Instant::now() + limit;
        let got = signer.receive(&answers, &mut deadline, || away.take());
        assert_eq!(got.is_ok(), answered, "{got:?}");
    }
}

#[test]
fn ecdsa_answers_are_brought_into_the_one_form() {
    let key = SecretKey::p256_from_seed(&[2; 32]).unwrap();
    let good = key.sign(b"message").unwrap();
    let signature = p256::ecdsa::Signature::from_der(&good).unwrap();
    let (r, s) = signature.split_scalars();
    let high = p256::ecdsa::Signature::from_scalars(r, -s).unwrap();
    for form in [
        high.to_der().as_bytes().to_vec(),
        high.to_bytes().to_vec(),
        good.clone(),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let command = script(directory.path(), &format!("echo {}", BASE64.encode(&form)));
        let signer = CommandSigner::new(&command, key.public_key().clone(), LONG).unwrap();
        assert_eq!(signer.sign(b"message").unwrap(), good);
    }
}
