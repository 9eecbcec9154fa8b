//! What pip is given: a list of requirements of our own, and wheels.
//!
//! Whoever made a bundle wrote its lock, and pip reads more in such a file than people see: options, other files,
//! addresses, lines that end where no editor shows it, encodings. One of them, `--no-binary`, lets it run a build script
//! of the bundle on this machine. So pip never sees the lock, nor its directory: pages there would lead it elsewhere.
//! Invariant: the list holds names, exact versions, conditions and hashes, in ASCII; the files are wheels by name.

use crate::error::{Error, Result};
use sealstone_spec::recipe::requirements;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// The requirements of a lock, written anew. `path` is for messages.
pub(super) fn written_anew(text: &str, path: &Path) -> Result<String> {
    check(text, path)?;
    let (found, findings) = requirements(text);
    if let Some(finding) = findings.first() {
        let error = Error::usage(format!(
            "line {} of \"{}\": {}",
            finding.place.line,
            path.display(),
            finding.problem
        ));
        return Err(match &finding.suggestion {
            Some(suggestion) => error.hint(suggestion.as_str()),
            None => error,
        });
    }
    let mut list = String::new();
    for requirement in found {
        let _ = write!(list, "{}=={}", requirement.name, requirement.version);
        if let Some(marker) = &requirement.marker {
            let _ = write!(list, " ; {marker}");
        }
        for hash in &requirement.hashes {
            let _ = write!(list, " --hash={hash}");
        }
        list.push('\n');
    }
    Ok(list)
}

/// Requirements that could reach out are refused by what they are.
fn check(text: &str, path: &Path) -> Result<()> {
    for (index, line) in text.lines().enumerate() {
        let line = line.split(" #").next().unwrap_or_default().trim();
        let refused = if line.starts_with('#') {
            None
        } else if line.contains("://") {
            Some("names an address: only wheels of the wheels directory are installed")
        } else if line.starts_with("-r")
            || line.starts_with("-c")
            || line.starts_with("--requirement")
            || line.starts_with("--constraint")
        {
            Some("names another file: one file locks an environment")
        } else if line.starts_with("-e")
            || line.starts_with("--editable")
            || line.contains("@ file:")
        {
            Some("names a directory: only wheels are installed")
        } else if line.starts_with('-') && !line.starts_with("--hash=") {
            Some("is an option of pip: the lock has only packages and their hashes")
        } else {
            None
        };
        if let Some(refused) = refused {
            return Err(Error::usage(format!(
                "line {} of \"{}\" {refused}",
                index + 1,
                path.display()
            )));
        }
    }
    if !text.contains("--hash=")
        && text
            .lines()
            .any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
    {
        return Err(Error::usage(format!("\"{}\" has no hashes", path.display()))
            .hint("lock it with: pip-compile --generate-hashes, uv pip compile --generate-hashes, or pip hash"));
    }
    Ok(())
}

/// The wheels of a directory, sorted. What has another ending is passed over: people keep notes, attributes of Git and
/// source distributions beside wheels, and pip is not given their directory. What ends as a wheel does and is none is
/// refused.
pub(super) fn wheels_in(directory: &Path) -> Result<Vec<PathBuf>> {
    let what = |source| Error::io(format!("reading \"{}\"", directory.display()), source);
    let mut wheels = Vec::new();
    for entry in fs::read_dir(directory).map_err(what)? {
        let entry = entry.map_err(what)?;
        let name = entry.file_name();
        if !name.as_encoded_bytes().ends_with(b".whl") {
            continue;
        }
        let is_file = entry.file_type().map_err(what)?.is_file();
        if !is_file || !name.to_str().is_some_and(is_wheel) {
            return Err(Error::usage(format!(
                "\"{}\" is no wheel: it is no plain file with the name of one",
                entry.path().display()
            ))
            .hint("take it away, or make the directory anew: sealstone env lock"));
        }
        wheels.push(entry.path());
    }
    wheels.sort();
    Ok(wheels)
}

/// Whether a file's name is that of a wheel.
///
/// Source: PyPA, binary distribution format: `name-version(-build)?-python-abi-platform.whl`.
fn is_wheel(name: &str) -> bool {
    let Some(stem) = name.strip_suffix(".whl") else {
        return false;
    };
    let parts: Vec<&str> = stem.split('-').collect();
    let is_part = |part: &&str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._+!".contains(c))
    };
    let is_build = |part: &str| part.starts_with(|c: char| c.is_ascii_digit());
    parts.iter().all(is_part)
        && match parts[..] {
            [_, _, _, _, _] => true,
            [_, _, build, _, _, _] => is_build(build),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Outcome;

    fn list(text: &str) -> Result<String> {
        written_anew(text, Path::new("lock"))
    }

    fn hash(byte: &str) -> String {
        format!("--hash=sha256:{}", byte.repeat(32))
    }

    #[test]
    fn the_list_is_ours() {
        let (one, two) = (hash("00"), hash("01"));
        let text = format!(
            "# made by hand\nnumpy[x]==1.26.4 ; sys_platform=='linux' \\\n    {one} \\\n    {two}  # via y\ntiny == 1.0 --global-option=x {two}\r\n"
        );
        let due =
            format!("numpy==1.26.4 ; sys_platform == \"linux\" {one} {two}\ntiny==1.0 {two}\n");
        assert_eq!(list(&text).unwrap(), due);
        assert_eq!(list(&due).unwrap(), due, "again");
        assert_eq!(list("").unwrap(), "");
    }

    /// pip takes `--no-binary=:all:` from each of these, and then builds what it finds.
    #[test]
    fn lines_that_only_pip_sees_are_refused() {
        let good = format!("tiny==1.0 {}\n", hash("00"));
        for head in [
            "# c\u{c}--no-binary=:all:\n",
            "# c\u{b}--no-binary=:all:\n",
            "# c\r--no-binary=:all:\n",
            "# c\u{1c}--no-binary=:all:\n",
            "# c\u{2028}--no-binary=:all:\n",
            "# -*- coding: unicode_escape -*-\n# c\\n--no-binary=:all:\n",
        ] {
            let error = list(&format!("{head}{good}")).unwrap_err();
            assert_eq!(error.outcome(), Outcome::Usage, "{head:?}");
            assert!(error.message().starts_with("line 1 of"), "{error}");
        }
    }

    #[test]
    fn requirements_that_reach_out_are_refused_by_line() {
        let zero = hash("00");
        for (text, line) in [
            (
                "numpy==1\nx @ https://example.invalid/x.whl --hash=sha256:00".to_owned(),
                2,
            ),
            ("--index-url https://example.invalid/".to_owned(), 1),
            ("-r other.txt".to_owned(), 1),
            ("-e .".to_owned(), 1),
            (format!("a==1 {zero}\n--extra-index-url=x"), 2),
            (format!("a==1 {zero}\nb==1\n"), 2),
            (format!("a @ ../a {zero}\n"), 1),
            (format!("./a {zero}\n"), 1),
        ] {
            let error = list(&text).unwrap_err();
            assert!(
                error.message().starts_with(&format!("line {line} of")),
                "{error}"
            );
            assert_eq!(error.outcome(), Outcome::Usage);
        }
        let error = list("numpy==1.26.4").unwrap_err();
        assert!(error.message().contains("no hashes"));
    }

    #[test]
    fn wheels_are_taken_and_what_only_ends_like_them_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let put = |name: &str| fs::write(root.path().join(name), "").unwrap();
        put("b_b.c-1.0+cpu-1x-cp311-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl");
        put("a-1!2-py3-none-any.whl");
        let found = wheels_in(root.path()).unwrap();
        assert_eq!(found.len(), 2);
        assert!(found[0].ends_with("a-1!2-py3-none-any.whl"));
        for name in [
            ".gitattributes",
            ".gitkeep",
            "tiny-1.0.tar.gz",
            "tiny-1.0.zip",
            "index.html",
            "tiny-1.0-py3-none-any.whl.tar.gz",
        ] {
            put(name);
        }
        fs::create_dir(root.path().join("more")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.path().join("link")).unwrap();
        assert_eq!(wheels_in(root.path()).unwrap(), found);
        for name in [
            ".whl",
            "tiny.whl",
            "tiny-1.0-py3-none.whl",
            "tiny-1.0-x-py3-none-any.whl",
            "tiny-1.0-py3--any.whl",
            "ti ny-1.0-py3-none-any.whl",
        ] {
            put(name);
            let error = wheels_in(root.path()).unwrap_err();
            assert_eq!(error.outcome(), Outcome::Usage, "{name}");
            fs::remove_file(root.path().join(name)).unwrap();
        }
        let link = root.path().join("l-1-py3-none-any.whl");
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        assert!(wheels_in(root.path()).is_err());
        fs::remove_file(&link).unwrap();
        fs::create_dir(&link).unwrap();
        assert!(wheels_in(root.path()).is_err());
    }
}
