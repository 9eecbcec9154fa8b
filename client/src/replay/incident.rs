//! The record of a halt: a file beside others of its kind, so that nobody has to remember.
//!
//! What the replay had brought here goes into a directory beside the record, which says then what lies there.
//! Invariants: a halt is recorded before anything is moved, and whatever becomes of that; a record is whole or not there,
//! and takes the place of no other: two halts are two files.

use super::halt::Halt;
use super::quarantine::quarantine;
use crate::error::{Error, Result};
use sealstone_spec::report::{Report, alert_line};
use serde_json::{Value, json};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// A halt that is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recorded {
    /// The record.
    pub path: PathBuf,
    /// Why not all of the evidence lies in quarantine, or the record does not say what does.
    pub problem: Option<String>,
}

/// Writes what halted into `directory`, then moves the directories `brought` into quarantine beside the record and adds
/// to it what lies there.
///
/// # Errors
/// If it cannot be written; the replay has halted all the same.
pub fn record(
    directory: &Path,
    halt: &Halt,
    report: &Report,
    brought: &[PathBuf],
) -> Result<Recorded> {
    fs::create_dir_all(directory)
        .map_err(|source| Error::io(format!("making \"{}\"", directory.display()), source))?;
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
    let path = begin(directory, report, &document)?;
    let beside = quarantine_of(&path);
    let held = quarantine(brought, &beside);
    let mut problem = held.problem();
    if !held.files.is_empty() {
        document["quarantine"] = json!({
            "directory": beside.file_name().map(|name| name.to_string_lossy().into_owned()),
            "files": held.files,
        });
    }
    if let Some(problem) = &problem {
        document["quarantineFailed"] = json!(problem);
    }
    if !held.files.is_empty() || problem.is_some() {
        let added = written(directory, &document).and_then(|whole| place(whole, &path));
        if let Err(error) = added {
            problem = Some(match problem {
                Some(problem) => format!("{problem}; nor could the record say so: {error}"),
                None => format!("the record could not say what lies there: {error}"),
            });
        }
    }
    Ok(Recorded { path, problem })
}

/// Where that lies which a record is about.
fn quarantine_of(record: &Path) -> PathBuf {
    record.with_extension("quarantine")
}

/// Puts a record under a name that nobody else has taken, once it is written.
fn begin(directory: &Path, report: &Report, document: &Value) -> Result<PathBuf> {
    let time: String = report
        .finished_on
        .chars()
        .filter(|c| c.is_ascii_digit())
        .take(14)
        .collect();
    let short = &report.fingerprint().hex()[..12];
    let writing =
        |place: &Path, source| Error::io(format!("writing \"{}\"", place.display()), source);
    let whole = written(directory, document).map_err(|source| writing(directory, source))?;
    for number in 1..1000 {
        let path = directory.join(format!("{time}-{short}-{number}.json"));
        // What lies in a quarantine whose record somebody has removed is of another halt.
        if quarantine_of(&path).symlink_metadata().is_ok() {
            continue;
        }
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(_) => {
                let placed = place(whole, &path);
                if let Err(source) = placed {
                    // An empty record would say that there was a halt, and not which.
                    let is_empty = fs::metadata(&path).is_ok_and(|found| found.len() == 0);
                    if is_empty {
                        let _ = fs::remove_file(&path);
                    }
                    return Err(writing(&path, source));
                }
                return Ok(path);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(writing(&path, source)),
        }
    }
    Err(Error::other(format!(
        "\"{}\" is full of records of this incident",
        directory.display()
    )))
}

fn place(whole: NamedTempFile, path: &Path) -> io::Result<()> {
    whole.persist(path).map_err(|error| error.error)?;
    // On a file system that cannot sync directories the record lies there all the same.
    if let Some(directory) = path.parent() {
        let _ = File::open(directory).and_then(|directory| directory.sync_all());
    }
    Ok(())
}

/// A record on disk, without its name as yet.
fn written(directory: &Path, document: &Value) -> io::Result<NamedTempFile> {
    let mut text = serde_json::to_string_pretty(document).expect("made of text and numbers");
    text.push('\n');
    let mut file = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::outline::halted;
    use super::super::settings::Settings;
    use super::*;
    use sealstone_spec::digest::Digest;
    use sealstone_spec::report::DigestSet;

    /// The record of a halt of which `brought` was brought, with what was said about it.
    fn recorded(directory: &Path, brought: &[PathBuf]) -> (Recorded, Value) {
        let halt = Halt::new("input-digest", "data/raw.csv", "expected a, found b");
        let digest = DigestSet(Digest::sha256(b"m"));
        let (at, settings) = ("2026-01-31T12:00:00Z", Settings::new("replay"));
        let report = halted(&halt, "m:1", digest, &settings, at, at);
        let recorded = record(directory, &halt, &report, brought).unwrap();
        let record = fs::read(&recorded.path).unwrap();
        (recorded, serde_json::from_slice(&record).unwrap())
    }

    #[test]
    fn two_halts_are_two_records_with_what_was_brought_beside_them() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("incidents");
        let part = root.path().join("baseline");
        let mut places = Vec::new();
        for content in ["x", "y"] {
            fs::create_dir(&part).unwrap();
            fs::write(part.join("file"), content).unwrap();
            let (recorded, record) = recorded(&directory, std::slice::from_ref(&part));
            assert_eq!(recorded.problem, None);
            assert_eq!(record["state"], "open");
            assert_eq!(record["subject"], "data/raw.csv");
            let held = &record["quarantine"];
            let digest = Digest::sha256(content.as_bytes()).to_string();
            assert_eq!(held["files"]["baseline/file"], digest);
            let place = directory.join(held["directory"].as_str().unwrap());
            assert!(place.join("baseline/file").exists() && !part.exists());
            places.push((recorded.path, place));
        }
        assert_ne!(places[0], places[1]);
        // Where a record was removed, its quarantine is not another's.
        fs::remove_file(&places[0].0).unwrap();
        let (third, record) = recorded(&directory, &[part]);
        assert!(!places.iter().any(|(path, _)| *path == third.path));
        assert_eq!(record.get("quarantine"), None);
        // Nothing but records and quarantines lies there.
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 4);
    }

    #[test]
    fn a_halt_is_recorded_although_its_evidence_cannot_be_put_away() {
        let root = tempfile::tempdir().unwrap();
        // Its path is as long as the system lets a path be, and would be longer in quarantine.
        let part = root.path().join("baseline");
        let mut deep = part.clone();
        while deep.as_os_str().len() < 3800 {
            deep.push("x".repeat(200));
        }
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("file"), "x").unwrap();
        let directory = root.path().join("y".repeat(250)).join("z".repeat(250));
        let (recorded, record) = recorded(&directory, &[part]);
        assert_eq!(record["state"], "open");
        assert_eq!(record["check"], "input-digest");
        assert_eq!(record.get("quarantine"), None);
        let problem = recorded.problem.unwrap();
        assert!(problem.contains("/file\": "), "{problem}");
        assert_eq!(record["quarantineFailed"], problem);
        assert!(deep.join("file").exists());
    }
}
