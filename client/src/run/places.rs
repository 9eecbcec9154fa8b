//! Where outputs go on this machine.
//!
//! A recipe says names, and `spec` refuses those that no run may write. What lies there on a machine is looked at
//! here, before anything runs and again before anything is moved. Whoever cloned a project has its links too: one
//! that leads to `.git/hooks` or out of the project would make an output whatever its author likes.
//! Invariant: nothing is written for a recipe through a link, unless below a directory that the caller named.

use super::baseline::Run;
use crate::error::{Error, Result};
use sealstone_spec::recipe::{Check, RecipePath, Stage, is_reserved};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

impl Run<'_> {
    /// Everything that this run would write for the recipe can be written, or nothing runs.
    pub(super) fn check_places(&self, selected: &BTreeSet<String>) -> Result<()> {
        let stages = self.recipe.stages().iter();
        for stage in stages.filter(|stage| selected.contains(&stage.name)) {
            self.places(stage)?;
        }
        let root = self.project.root();
        for test in self.recipe.tests() {
            // One that is not there is written from what the model says.
            if let Check::Inference { expect, .. } = &test.check
                && !root.join(expect.as_str()).exists()
            {
                place_of(root, expect, &self.outside)?;
            }
        }
        if let Some(path) = self.profile.and_then(|profile| profile.baseline.as_ref()) {
            place_of(root, path, &self.outside)?;
        }
        Ok(())
    }

    /// The places of a stage's outputs, in their order.
    pub(super) fn places(&self, stage: &Stage) -> Result<Vec<PathBuf>> {
        let to = self.roots.outputs_of(&stage.name);
        let mut places = Vec::with_capacity(stage.writes.len());
        for output in &stage.writes {
            if let Some(why) = self.recipe.why_reserved(output) {
                return Err(Error::usage(format!(
                    "no run may write the output \"{output}\" of stage \"{}\": {why}",
                    stage.name
                )));
            }
            places.push(place_of(to, output, &self.outside)?);
        }
        Ok(places)
    }
}

/// Where `path` lies below `to`, a directory without links in its own path.
fn place_of(to: &Path, path: &RecipePath, outside: &[PathBuf]) -> Result<PathBuf> {
    let place = to.join(path.as_str());
    let above = nearest_above(&place)?;
    let reading =
        |at: &Path, source| Error::io(format!("looking for \"{}\"", at.display()), source);
    let real = fs::canonicalize(above).map_err(|source| reading(above, source))?;
    let of_real = fs::metadata(&real).map_err(|source| reading(&real, source))?;
    if !of_real.is_dir() {
        return Err(Error::usage(format!(
            "\"{path}\" cannot be written: \"{}\" is no directory",
            above.display()
        )));
    }
    let target = real.join(place.strip_prefix(above).unwrap_or(&place));
    if real != above {
        let is_named = outside.iter().any(|directory| {
            let below = target.strip_prefix(directory);
            below.is_ok_and(|below| !is_reserved(&below.to_string_lossy()))
        });
        if !is_named {
            let error = Error::usage(format!(
                "a link leads from \"{path}\" to \"{}\", where nothing is written unless you say so",
                target.display()
            ));
            return Err(error.hint(format!(
                "within the project, declare the place itself; elsewhere, if the link is your own: sealstone run --outside {}",
                real.display()
            )));
        }
    }
    match place.symlink_metadata() {
        Ok(found) if found.is_symlink() => {
            let error = Error::usage(format!(
                "\"{path}\" is a symbolic link, which an output would replace"
            ));
            Err(error.hint(format!("put the thing itself there, or declare what lies in the directory that it leads to: \"{}/NAME\"", path.as_str())))
        }
        // What is mounted cannot be moved, and that would be noticed after the training.
        Ok(found) => {
            let is_dir = found.is_dir();
            let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
            let is_other = is_dir && found.dev() != of_real.dev();
            let Some(at) = mounted(&mounts, &target).or(is_other.then(|| target.clone())) else {
                return Ok(place);
            };
            let error = Error::usage(format!(
                "at \"{}\" something is mounted, so no output can replace \"{path}\"",
                at.display()
            ));
            Err(error.hint(match is_dir {
                true => format!("declare what lies in it: \"{}/NAME\"", path.as_str()),
                false => "mount the directory in which it lies, not the file".to_owned(),
            }))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(place),
        Err(source) => Err(reading(&place, source)),
    }
}

/// Where something is mounted at a path without links, or below it: a mount within a directory would go with it, and
/// be emptied. One of the same disk has the same device, and is found only in `/proc/self/mountinfo`, `mounts`.
fn mounted(mounts: &[u8], path: &Path) -> Option<PathBuf> {
    mounts
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(unescaped)
        .find(|at| at.starts_with(path))
}

/// A path as it is: blanks, line ends and backslashes stand there as `\040`.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    loop {
        let (byte, after) = match rest {
            [
                b'\\',
                a @ b'0'..=b'3',
                b @ b'0'..=b'7',
                c @ b'0'..=b'7',
                after @ ..,
            ] => ((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'), after),
            [byte, after @ ..] => (*byte, after),
            [] => return PathBuf::from(OsString::from_vec(bytes)),
        };
        bytes.push(byte);
        rest = after;
    }
}

/// The nearest that is there above a path.
fn nearest_above(place: &Path) -> Result<&Path> {
    for above in place.ancestors().skip(1) {
        match above.symlink_metadata() {
            Ok(_) => return Ok(above),
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(source) => {
                return Err(Error::io(
                    format!("looking for \"{}\"", above.display()),
                    source,
                ));
            }
        }
    }
    Ok(Path::new("/"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn no_link_leads_an_output_to_where_its_author_likes() {
        let root = tempfile::tempdir().unwrap();
        let home = fs::canonicalize(root.path()).unwrap();
        let (project, big) = (home.join("project"), home.join("big"));
        for directory in [&project.join(".git/hooks"), &project.join("plain"), &big] {
            fs::create_dir_all(directory).unwrap();
        }
        fs::create_dir_all(big.join(".git/hooks")).unwrap();
        fs::write(project.join("file"), "x").unwrap();
        symlink(".git/hooks", project.join("hooks")).unwrap();
        symlink("../big", project.join("models")).unwrap();
        symlink("../big/.git/hooks", project.join("there")).unwrap();
        symlink("nowhere", project.join("dangling")).unwrap();
        let at = |path: &str, outside: &[PathBuf]| {
            place_of(&project, &path.parse().unwrap(), outside).map_err(|error| error.to_string())
        };
        for good in ["a", "plain/a/b/", "new/a", "file"] {
            assert_eq!(at(good, &[]).unwrap(), project.join(good));
        }
        for (path, due) in [
            ("hooks/post-commit", "a link leads"),
            ("models/a", "a link leads"),
            ("models/new/a", "a link leads"),
            ("models/", "is a symbolic link"),
            ("dangling", "is a symbolic link"),
            ("dangling/a", "looking for"),
            ("file/a", "is no directory"),
        ] {
            let error = at(path, &[]).unwrap_err();
            assert!(error.contains(due), "{path}: {error}");
        }
        let named = [big.clone()];
        assert!(at("models/new/a", &named).is_ok());
        for path in ["hooks/post-commit", "there/post-commit", "models/"] {
            assert!(at(path, &named).is_err(), "{path}");
        }
    }

    #[test]
    fn what_is_mounted_from_the_same_disk_is_found_by_its_name() {
        let mounts = b"27 1 8:1 / / rw - ext4 /dev/a rw\n\
            28 27 8:1 /home/me/models /work/models rw shared:1 - ext4 /dev/a rw\n\
            29 27 8:1 /home/me/m.json /work/metrics.json rw - ext4 /dev/a rw\n\
            30 27 8:1 /home/me/a /work/two\\040words/\\134040 rw - ext4 /dev/a rw\n";
        let at = |path: &str| mounted(mounts, Path::new(path));
        for path in [
            "/work/models",
            "/work/metrics.json",
            "/work/two words/\\040",
        ] {
            assert_eq!(at(path), Some(PathBuf::from(path)));
        }
        assert_eq!(
            at("/work/two words"),
            Some(PathBuf::from("/work/two words/\\040")),
            "it would be carried away with its directory"
        );
        for path in ["/work/model", "/work/models/a", "/work/metrics.json.old"] {
            assert_eq!(at(path), None, "{path}");
        }
        assert_eq!(mounted(b"", Path::new("/work")), None);
    }

    #[test]
    fn a_file_that_is_mounted_is_not_replaced() {
        // Containers have this one from outside.
        let hosts = Path::new("/etc/hosts");
        let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
        if hosts.exists() && mounted(&mounts, hosts).is_some() {
            let error = place_of(Path::new("/etc"), &"hosts".parse().unwrap(), &[]).unwrap_err();
            assert!(error.message().contains("mounted"), "{}", error.message());
        }
    }

    #[test]
    fn what_is_mounted_is_not_replaced() {
        let device = |path: &str| Path::new(path).metadata().map(|found| found.dev());
        let (Ok(proc), Ok(root)) = (device("/proc"), device("/")) else {
            return;
        };
        if proc != root {
            let error = place_of(Path::new("/"), &"proc/".parse().unwrap(), &[]).unwrap_err();
            assert!(error.message().contains("mounted"), "{}", error.message());
        }
    }
}
