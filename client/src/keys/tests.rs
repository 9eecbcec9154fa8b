//! Key files: what is written can be read by its owner with its passphrase, and by nobody else.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::Outcome;
use sealstone_spec::key::Signer as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

fn fixed(text: &'static str) -> Passphrases<'static> {
    Passphrases::new(move |_| Passphrase::new(text))
}

#[test]
fn a_locked_pair_opens_with_its_passphrase_only() {
    let directory = tempfile::tempdir().unwrap();
    let files = KeyFiles::at(&directory.path().join("alice"));
    let pair = KeyPair::generate().unwrap();
    files
        .write(&pair, Some(&Passphrase::new("correct horse").unwrap()))
        .unwrap();

    let text = fs::read_to_string(&files.key).unwrap();
    assert!(text.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
    for (path, mode) in [
        (&files.key, 0o600),
        (&files.companion_key, 0o600),
        (&files.public, 0o644),
        (&files.companion_public, 0o644),
    ] {
        assert_eq!(
            fs::metadata(path).unwrap().permissions().mode() & 0o777,
            mode
        );
    }

    let mut asked = 0;
    let mut passphrases = Passphrases::new(|_: &Path| {
        asked += 1;
        Passphrase::new("correct horse")
    });
    let key = read_secret(&files.key, &mut passphrases).unwrap();
    let companion = companion_of(&files.key).unwrap();
    assert_eq!(companion, files.companion_key);
    let second = read_secret(&companion, &mut passphrases).unwrap();
    drop(passphrases);
    assert_eq!(
        asked, 1,
        "the companion opens with the passphrase that opened the key"
    );
    assert_eq!(key.public_key(), pair.ed25519.public_key());
    assert_eq!(key.public_key(), &read_public(&files.public).unwrap());
    assert_eq!(
        second.public_key(),
        &read_public(&files.companion_public).unwrap()
    );
    assert_eq!(second.public_key().algorithm(), "ecdsa-p256-sha256");

    let error = read_secret(&files.key, &mut fixed("wrong")).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Refused);
    assert!(read_secret(&files.key, &mut Passphrases::none()).is_err());
    assert_eq!(companion_of(&files.companion_key), None);
}

#[test]
fn nothing_is_overwritten_and_nothing_half_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let files = KeyFiles::at(&directory.path().join("k"));
    fs::write(&files.companion_public, "mine").unwrap();
    let error = files
        .write(&KeyPair::generate().unwrap(), None)
        .unwrap_err();
    assert_eq!(error.outcome(), Outcome::Conflict);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(&files.companion_public).unwrap(), "mine");
}

#[test]
fn names_follow_the_argument() {
    let directory = tempfile::tempdir().unwrap();
    let inside = KeyFiles::at(directory.path());
    assert_eq!(inside.key, directory.path().join("sealstone.key"));
    let dotted = KeyFiles::at(&directory.path().join("a.b"));
    assert_eq!(
        dotted.companion_public,
        directory.path().join("a.b-p256.pub")
    );
    assert_eq!(KeyFiles::at(Path::new("x.key")).public, Path::new("x.pub"));
}

#[test]
fn openssl_reads_what_is_written_and_its_keys_are_read() {
    if Command::new("openssl").arg("version").output().is_err() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let files = KeyFiles::at(&directory.path().join("k"));
    files
        .write(
            &KeyPair::generate().unwrap(),
            Some(&Passphrase::new("pw").unwrap()),
        )
        .unwrap();
    for (key, public) in [
        (&files.key, &files.public),
        (&files.companion_key, &files.companion_public),
    ] {
        let output = Command::new("openssl")
            .args(["pkey", "-passin", "pass:pw", "-pubout", "-in"])
            .arg(key)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(output.stdout, fs::read(public).unwrap());
    }
    let theirs = directory.path().join("theirs.pem");
    for arguments in [
        &["genpkey", "-algorithm", "ed25519"][..],
        &[
            "genpkey",
            "-algorithm",
            "ed25519",
            "-aes-256-cbc",
            "-pass",
            "pass:pw",
        ],
        &[
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ],
    ] {
        let status = Command::new("openssl")
            .args(arguments)
            .arg("-out")
            .arg(&theirs)
            .output()
            .unwrap();
        assert!(status.status.success());
        let key = read_secret(&theirs, &mut fixed("pw")).unwrap();
        let signature = key.sign(b"m").unwrap();
        key.public_key().verify(b"m", &signature).unwrap();
    }
}

#[test]
fn other_forms_are_refused_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x");
    for text in [
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n",
        "-----BEGIN EC PRIVATE KEY-----\nMAA=\n-----END EC PRIVATE KEY-----\n",
    ] {
        fs::write(&path, text).unwrap();
        let error = read_secret(&path, &mut Passphrases::none()).unwrap_err();
        assert_eq!(error.outcome(), Outcome::Usage);
        assert_eq!(error.hints().len(), 1, "{error:?}");
    }
    for text in [
        "",
        "hello",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
        "-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED COSIGN PRIVATE KEY-----\n",
    ] {
        fs::write(&path, text).unwrap();
        assert!(read_secret(&path, &mut Passphrases::none()).is_err());
        assert!(read_public(&path).is_err());
    }
    assert!(Passphrase::new("").is_err());
}

mod forms;
