//! `tests/setup/install.sh` on machines that lack something: what it says must help there.
//!
//! Owns what can be told without installing anything: the programs that it asks are stand-ins, and it may fetch nothing.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::Command;

/// What `install.sh conformance` says where `go` is of this version and may, or may not, fetch another.
fn said(version: &str, toolchain: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let text = directory.path().join("go.sh");
    let script = format!(
        "#!/bin/sh\ncase \"$1\" in\nversion) echo \"go version go{version} linux/amd64\" ;;\nenv) echo \"{toolchain}\" ;;\n*) exit 1 ;;\nesac\n"
    );
    fs::write(&text, script).unwrap();
    // Copied by another process: what this one has open for writing while another test forks cannot be run.
    let copied = Command::new("install")
        .args(["-m", "0755"])
        .arg(&text)
        .arg(directory.path().join("go"))
        .status();
    assert!(copied.unwrap().success());
    let path = std::env::var("PATH").unwrap();
    let ended = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("setup/install.sh"))
        .arg("conformance")
        .env("PATH", format!("{}:{path}", directory.path().display()))
        .env("SEALSTONE_TOOLS", directory.path().join("tools"))
        .env("SEALSTONE_SETUP_OFFLINE", "1")
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    String::from_utf8(ended.stdout).unwrap()
}

#[test]
fn a_go_that_cannot_build_the_tools_is_told_from_one_that_can() {
    for (version, toolchain) in [("1.19.8", ""), ("1.21.0", "local"), ("1.23.4", "path")] {
        let text = said(version, toolchain);
        assert!(
            text.contains("MISSING conformance") && text.contains("bookworm-backports"),
            "{version}: {text}"
        );
    }
    for (version, toolchain) in [
        ("1.21.0", "auto"),
        ("1.22.2", "go1.24.0+auto"),
        ("1.24rc1", "local"),
        ("1.26.8", "auto"),
    ] {
        let text = said(version, toolchain);
        assert!(
            text.contains("MISSING conformance") && text.contains("SETUP_OFFLINE"),
            "{version}: {text}"
        );
    }
}
