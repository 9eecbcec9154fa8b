//! What an output would replace.
//!
//! A place that a recipe declares may hold what its user put there: notes beside a model, the result of a run by
//! hand. A stage cannot make that again.
//! Invariant: what makes room for an output is recorded as an output by a lock, is that output itself, or lies in
//! the directory that is returned.

use crate::error::{Error, Result};
use crate::recipe::hash_path;
use crate::runner::Output;
use sealstone_spec::digest::Digest;
use sealstone_spec::recipe::{FileRole, Lock, RecipePath};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Outputs by path: digests and sizes that a run can make again.
pub(super) struct Records<'a>(BTreeMap<&'a str, Vec<(&'a Digest, u64)>>);

impl<'a> Records<'a> {
    pub(super) fn of(earlier: &'a [Lock], written: &'a [Output]) -> Records<'a> {
        let mut records: BTreeMap<&str, Vec<(&Digest, u64)>> = BTreeMap::new();
        for file in earlier.iter().flat_map(|lock| &lock.files) {
            if file.role == FileRole::Output {
                let known = records.entry(file.path.as_str()).or_default();
                known.push((&file.digest, file.size));
            }
        }
        for output in written {
            let known = records.entry(output.path.as_str()).or_default();
            known.push((&output.digest, output.size));
        }
        Records(records)
    }

    fn hold(&self, path: &str, file: &Path, size: u64) -> Result<bool> {
        let known = self.0.get(path).map(Vec::as_slice).unwrap_or_default();
        if !known.iter().any(|(_, due)| *due == size) {
            return Ok(false);
        }
        let (digest, _) = hash_path(file)?;
        Ok(known.iter().any(|(due, _)| **due == digest))
    }
}

/// What was kept, and where.
pub(super) struct Kept {
    pub(super) directory: PathBuf,
    /// Paths within it, in their order.
    pub(super) paths: Vec<String>,
}

/// Keeps in a new directory below `replaced` what lies at places of outputs and nothing records.
///
/// The places are left as they are: what is kept has a second name until the first is gone.
pub(super) fn keep(
    outputs: &[RecipePath],
    places: &[PathBuf],
    records: &Records<'_>,
    replaced: &Path,
) -> Result<Option<Kept>> {
    let mut unknown = Vec::new();
    for (output, place) in outputs.iter().zip(places) {
        find_unknown(place, output.as_str(), records, &mut unknown)?;
    }
    if unknown.is_empty() {
        return Ok(None);
    }
    unknown.sort();
    let directory = new_directory(replaced)?;
    for (name, at) in &unknown {
        preserve(at, &directory.join(name)).map_err(|source| {
            Error::io(
                format!("keeping \"{}\", which an output replaces", at.display()),
                source,
            )
        })?;
    }
    let names = unknown.iter().map(|(name, _)| name.display().to_string());
    Ok(Some(Kept {
        paths: names.collect(),
        directory,
    }))
}

/// Everything but directories at or below a place that nothing records: its name, and where it lies.
fn find_unknown(
    place: &Path,
    name: &str,
    records: &Records<'_>,
    unknown: &mut Vec<(PathBuf, PathBuf)>,
) -> Result<()> {
    let mut queue = vec![(PathBuf::from(name), place.to_owned())];
    while let Some((name, at)) = queue.pop() {
        let failed = |source| Error::io(format!("reading \"{}\"", at.display()), source);
        let metadata = match at.symlink_metadata() {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(source) => return Err(failed(source)),
        };
        if metadata.is_dir() {
            for entry in fs::read_dir(&at).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                queue.push((name.join(entry.file_name()), entry.path()));
            }
            continue;
        }
        let is_known = match name.to_str() {
            Some(path) if metadata.is_file() => records.hold(path, &at, metadata.len())?,
            _ => false,
        };
        if !is_known {
            unknown.push((name, at));
        }
    }
    Ok(())
}

/// A second name for a file; on another file system, a second file.
fn preserve(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to.parent().unwrap_or(Path::new(".")))?;
    let Err(error) = fs::hard_link(from, to) else {
        return Ok(());
    };
    let metadata = from.symlink_metadata()?;
    if metadata.is_symlink() {
        return std::os::unix::fs::symlink(fs::read_link(from)?, to);
    }
    if !metadata.is_file() {
        return Err(error);
    }
    fs::copy(from, to)?;
    File::open(to)?.sync_all()
}

/// A directory below `parent` that is named by the time and was not there.
pub(super) fn new_directory(parent: &Path) -> Result<PathBuf> {
    let failed = |source| {
        Error::io(
            format!("making a directory in \"{}\"", parent.display()),
            source,
        )
    };
    fs::create_dir_all(parent).map_err(failed)?;
    let time = jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H-%M-%SZ")
        .to_string();
    let mut directory = parent.join(&time);
    let mut number = 1_u64;
    loop {
        match fs::create_dir(&directory) {
            Ok(()) => return Ok(directory),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                number += 1;
                directory = parent.join(format!("{time}-{number}"));
            }
            Err(source) => return Err(failed(source)),
        }
    }
}

/// The first three, and how many more there are.
pub(super) fn named(paths: &[String]) -> String {
    let first: Vec<String> = paths
        .iter()
        .take(3)
        .map(|path| format!("\"{path}\""))
        .collect();
    match paths.len() - first.len() {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn output(path: &str, content: &str) -> Output {
        Output {
            path: path.to_owned(),
            digest: Digest::sha256(content.as_bytes()),
            size: content.len() as u64,
        }
    }

    #[test]
    fn what_nothing_records_is_kept_and_what_is_recorded_is_not() {
        let root = tempfile::tempdir().unwrap();
        let models = root.path().join("models");
        for path in [".git/HEAD", "deep/NOTES.md", "made.bin", "edited.bin"] {
            let path = models.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "content").unwrap();
        }
        std::os::unix::fs::symlink("elsewhere", models.join("link")).unwrap();
        let outputs: Vec<RecipePath> =
            vec!["models/".parse().unwrap(), "not-there".parse().unwrap()];
        let places = [models.clone(), root.path().join("not-there")];
        let replaced = root.path().join("replaced");
        let made = [
            output("models/made.bin", "content"),
            output("models/edited.bin", "CONTENT"),
        ];
        let records = Records::of(&[], &made);
        let kept = keep(&outputs, &places, &records, &replaced)
            .unwrap()
            .unwrap();
        assert_eq!(
            kept.paths,
            [
                "models/.git/HEAD",
                "models/deep/NOTES.md",
                "models/edited.bin",
                "models/link"
            ]
        );
        fs::remove_dir_all(&models).unwrap();
        for path in &kept.paths[..3] {
            let content = fs::read_to_string(kept.directory.join(path)).unwrap();
            assert_eq!(content, "content");
        }
        let link = fs::read_link(kept.directory.join("models/link")).unwrap();
        assert_eq!(link, Path::new("elsewhere"));

        fs::create_dir(&models).unwrap();
        fs::write(models.join("made.bin"), "content").unwrap();
        assert!(
            keep(&outputs, &places, &records, &replaced)
                .unwrap()
                .is_none()
        );
        assert_eq!(
            fs::read_dir(&replaced).unwrap().count(),
            1,
            "nothing is made for nothing"
        );
    }
}
