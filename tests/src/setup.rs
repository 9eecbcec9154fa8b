//! The scripts in `tests/setup`: what `install.sh` says must help where something is missing, and `with_build.sh` runs a
//! command with what it has built.
//!
//! Owns what can be told without installing or building anything: the programs that they ask are stand-ins, and they may
//! fetch nothing.

#![allow(clippy::unwrap_used)]

use crate::scripts;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn setup(script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("setup")
        .join(script)
}

/// The caller's `PATH` behind a directory of stand-ins.
fn before_path(directory: &Path) -> String {
    format!("{}:{}", directory.display(), std::env::var("PATH").unwrap())
}

/// What `install.sh conformance` says where `go` is of this version and may, or may not, fetch another.
fn said(version: &str, toolchain: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let go = format!(
        "case \"$1\" in\nversion) echo \"go version go{version} linux/amd64\" ;;\nenv) echo \"{toolchain}\" ;;\n*) exit 1 ;;\nesac"
    );
    scripts::write(&directory.path().join("go"), &go);
    let ended = Command::new(setup("install.sh"))
        .arg("conformance")
        .env("PATH", before_path(directory.path()))
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

#[test]
fn what_is_tested_stays_when_another_clone_is_built() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for name in ["bin", "tmp", "target/debug"] {
        fs::create_dir_all(at(name)).unwrap();
    }
    let build = |what: &str| {
        format!(
            "for name in sealstone sealstone-registry; do echo {what} > \"$CARGO_TARGET_DIR/debug/$name\"; done"
        )
    };
    scripts::write(&at("bin/cargo"), &build("own"));
    let command = format!(
        "{}; cat \"$SEALSTONE_BIN\" \"$SEALSTONE_REGISTRY_BIN\" \"$SEALSTONE_BIN_DIR/sealstone\" \"$SEALSTONE_BIN_DIR/sealstone-registry\"; exit 7",
        build("another")
    );
    let ended = Command::new(setup("with_build.sh"))
        .args(["sh", "-c", &command])
        .env("PATH", before_path(&at("bin")))
        .env("CARGO_TARGET_DIR", at("target"))
        .env("TMPDIR", at("tmp"))
        .env_remove("SEALSTONE_BIN")
        .env_remove("SEALSTONE_REGISTRY_BIN")
        .env_remove("SEALSTONE_BIN_DIR")
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(7), "{ended:?}");
    assert_eq!(String::from_utf8(ended.stdout).unwrap(), "own\n".repeat(4));
    assert!(fs::read_dir(at("tmp")).unwrap().next().is_none());
}
