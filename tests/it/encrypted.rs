//! The client over TLS: an authority of the user's own, and everybody else's refused.

use crate::model_desk::{Desk, at};
use sealstone_tests::registry::{Setup, TestRegistry};
use sealstone_tests::skips;
use std::path::Path;
use std::process::Command;

/// Runs openssl; `None`, said aloud, where there is none.
fn openssl(directory: &Path, arguments: &[&str]) -> Option<()> {
    match Command::new("openssl")
        .args(arguments)
        .current_dir(directory)
        .output()
    {
        Ok(output) => {
            assert!(
                output.status.success(),
                "{arguments:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            Some(())
        }
        Err(error) => {
            skips::not_installed(&format!("openssl ({error})"));
            None
        }
    }
}

const KEY: [&str; 5] = [
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:prime256v1",
    "-nodes",
];

/// An authority, as `NAME.crt` and `NAME.key`.
fn authority(directory: &Path, name: &str) -> Option<()> {
    let (key, certificate) = (format!("{name}.key"), format!("{name}.crt"));
    let mut arguments = vec![
        "req",
        "-x509",
        "-days",
        "2",
        "-subj",
        "/CN=a test's authority",
        "-keyout",
        &key,
        "-out",
        &certificate,
    ];
    arguments.extend(KEY);
    openssl(directory, &arguments)
}

/// A certificate for `subject`, such as `IP:127.0.0.1`, by an authority.
fn certificate(directory: &Path, authority: &str, subject: &str) -> Option<()> {
    std::fs::write(directory.join("ext"), format!("subjectAltName={subject}\n")).unwrap();
    let mut request = vec![
        "req",
        "-subj",
        "/CN=registry",
        "-keyout",
        "tls.key",
        "-out",
        "tls.csr",
    ];
    request.extend(KEY);
    openssl(directory, &request)?;
    let (key, issuer) = (format!("{authority}.key"), format!("{authority}.crt"));
    openssl(
        directory,
        &[
            "x509",
            "-req",
            "-in",
            "tls.csr",
            "-CA",
            &issuer,
            "-CAkey",
            &key,
            "-set_serial",
            "7",
            "-days",
            "2",
            "-extfile",
            "ext",
            "-out",
            "tls.crt",
        ],
    )
}

const TLS: &str = "tls_certificate = \"tls.crt\"\ntls_key = \"tls.key\"\n";

/// A server whose certificate names `subject`.
async fn encrypted(subject: &str) -> Option<TestRegistry> {
    let mut registry = Setup::default().start().await.unwrap();
    registry.kill().unwrap();
    authority(registry.directory(), "ours")?;
    authority(registry.directory(), "theirs")?;
    certificate(registry.directory(), "ours", subject)?;
    registry.setup().server = TLS.into();
    registry.start().await.unwrap();
    Some(registry)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_trusts_the_authority_that_it_is_given_and_no_other() {
    let Some(registry) = encrypted("IP:127.0.0.1").await else {
        return;
    };
    let desk = Desk::new();
    let ours = registry.directory().join("ours.crt").display().to_string();
    let theirs = registry
        .directory()
        .join("theirs.crt")
        .display()
        .to_string();
    let place = at(&registry, "m/a");
    for arguments in [
        vec!["push", "oci:bundle:1.0.0", &place],
        vec!["push", "oci:bundle:1.0.0", &place, "--ca-file", &theirs],
    ] {
        let ended = desk.run_at(&registry, &arguments).expect(8);
        assert!(
            ended.everything.contains("certificate"),
            "{}",
            ended.everything
        );
    }
    let pushed = desk
        .run_at(
            &registry,
            &["push", "oci:bundle:1.0.0", &place, "--ca-file", &ours],
        )
        .expect(0);
    let digest = pushed.json["digest"].as_str().unwrap();
    let staged = format!("{place}@{digest}");
    desk.run_at(
        &registry,
        &["sign", &staged, "--key", "alice.key", "--ca-file", &ours],
    )
    .expect(0);
    desk.run_at(
        &registry,
        &["release", &staged, "1.0.0", "--ca-file", &ours],
    )
    .expect(0);
    let release = format!("{place}:1.0.0");
    desk.run_at(
        &registry,
        &[
            "pull",
            &release,
            "--key",
            "alice.pub",
            "-o",
            "got",
            "--ca-file",
            &theirs,
        ],
    )
    .expect(8);
    assert!(!desk.path("got").exists());
    desk.run_at(
        &registry,
        &[
            "pull",
            &release,
            "--key",
            "alice.pub",
            "-o",
            "got",
            "--ca-file",
            &ours,
        ],
    )
    .expect(0);
    assert_eq!(
        std::fs::read(desk.path("got/model.safetensors")).unwrap(),
        std::fs::read(desk.path("model/model.safetensors")).unwrap()
    );
    // A file that holds none says so, and nothing is sent.
    std::fs::write(desk.path("none.pem"), "no certificate").unwrap();
    let ended = desk
        .run_at(&registry, &["list", &place, "--ca-file", "none.pem"])
        .expect(2);
    assert!(
        ended.everything.contains("none.pem"),
        "{}",
        ended.everything
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_taken_without_a_restart() {
    let Some(registry) = encrypted("IP:127.0.0.1").await else {
        return;
    };
    let desk = Desk::new();
    let place = at(&registry, "m/a");
    // A server that is trusted says that it knows no such repository.
    let trusts = |authority: &str| {
        let file = registry.directory().join(format!("{authority}.crt"));
        let file = file.display().to_string();
        let ended = desk.run_at(&registry, &["list", &place, "--ca-file", &file]);
        !ended.everything.contains("certificate")
    };
    let said = async |words: &str, times: usize| {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while registry.log().matches(words).count() < times {
            assert!(std::time::Instant::now() < deadline, "{}", registry.log());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    assert!(trusts("ours") && !trusts("theirs"));
    certificate(registry.directory(), "theirs", "IP:127.0.0.1").unwrap();
    assert!(trusts("ours"), "nobody said that it is another");
    registry.hang_up().unwrap();
    said("the certificate was renewed", 1).await;
    assert!(!trusts("ours") && trusts("theirs"));
    // Half of a pair, or none: the last one stays.
    let whole = std::fs::read(registry.directory().join("tls.key")).unwrap();
    for key in ["", "no key"] {
        std::fs::write(registry.directory().join("tls.key"), key).unwrap();
        registry.hang_up().unwrap();
        let times = 1 + usize::from(!key.is_empty());
        said("the certificate cannot be read again", times).await;
        assert!(trusts("theirs"));
    }
    std::fs::write(registry.directory().join("tls.key"), whole).unwrap();
    registry.hang_up().unwrap();
    said("the certificate is the same", 1).await;
    assert!(trusts("theirs"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_another_name_is_refused() {
    let Some(registry) = encrypted("DNS:elsewhere.example").await else {
        return;
    };
    let desk = Desk::new();
    let ours = registry.directory().join("ours.crt").display().to_string();
    let place = at(&registry, "m/a");
    desk.run_at(
        &registry,
        &["push", "oci:bundle:1.0.0", &place, "--ca-file", &ours],
    )
    .expect(8);
}
