//! The record of a halt: a file beside others of its kind, so that nobody has to remember.
//!
//! What the replay had brought here goes into a directory beside the record.
//! Invariant: a record is never replaced; two halts are two files.

use super::halt::Halt;
use super::quarantine::quarantine;
use crate::error::{Error, Result};
use sealstone_spec::report::{Report, alert_line};
use serde_json::json;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Writes what halted into `directory`, moves the directories `brought` into quarantine beside it, and returns
/// the record.
///
/// # Errors
/// If it cannot be written; the replay has halted all the same.
pub fn record(
    directory: &Path,
    halt: &Halt,
    report: &Report,
    brought: &[PathBuf],
) -> Result<PathBuf> {
    fs::create_dir_all(directory)
        .map_err(|source| Error::io(format!("making \"{}\"", directory.display()), source))?;
    let (path, mut file) = begin(directory, report)?;
    let place = path.with_extension("quarantine");
    let held = quarantine(brought, &place)?;
    let mut document = json!({
        "schema": "sealstone-incident/v1",
        "at": report.finished_on,
        "state": "open",
        "bundle": {"id": report.baseline.id, "digest": report.baseline.digest},
        "owner": report.owner,
        "check": halt.code,
        "subject": halt.subject,
        "found": halt.text,
        "alert": alert_line(report, None),
        "fingerprint": report.fingerprint().to_string(),
        "report": report.to_predicate(),
    });
    if !held.is_empty() {
        document["quarantine"] = json!({
            "directory": place.file_name().map(|name| name.to_string_lossy().into_owned()),
            "files": held,
        });
    }
    let mut text = serde_json::to_string_pretty(&document).expect("made of text and numbers");
    text.push('\n');
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|source| Error::io(format!("writing \"{}\"", path.display()), source))?;
    Ok(path)
}

/// A record that nobody else has begun.
fn begin(directory: &Path, report: &Report) -> Result<(PathBuf, File)> {
    let time: String = report
        .finished_on
        .chars()
        .filter(|c| c.is_ascii_digit())
        .take(14)
        .collect();
    let short = &report.fingerprint().hex()[..12];
    for number in 1..1000 {
        let path = directory.join(format!("{time}-{short}-{number}.json"));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(source) => {
                return Err(Error::io(format!("writing \"{}\"", path.display()), source));
            }
        }
    }
    Err(Error::other(format!(
        "\"{}\" is full of records of this incident",
        directory.display()
    )))
}
