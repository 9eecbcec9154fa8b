//! Programs that a test writes and then runs at once.
//!
//! What a process has open for writing cannot be run, and whatever another test of it starts at that moment has the file
//! open, too, until it runs something else. So a process of its own writes it.
//! The client's unit tests use this file as well, so it needs the standard library only.

use std::path::Path;
use std::process::Command;

/// Writes a script of the shell that everybody may run.
///
/// # Panics
/// If it cannot be written.
pub fn write(path: &Path, body: &str) {
    let written = Command::new("sh")
        .arg("-c")
        .arg(r#"printf '#!/bin/sh\n%s\n' "$1" > "$0" && chmod 0755 "$0""#)
        .arg(path)
        .arg(body)
        .status();
    assert!(
        written.is_ok_and(|status| status.success()),
        "{} cannot be written",
        path.display()
    );
}
