//! pip, which resolves requirements and fetches wheels: the explicit phase with a network.
//!
//! Indexes, proxies and certificates are the caller's, by pip's own configuration and variables; none is named
//! here. Resolving runs the code of packages that have no wheel, before anybody can say from which file it came; what is
//! kept of it says [`again`].
//! Invariant: what is fetched lies in the directory that was given, and nothing is installed.

use super::Wanted;
use crate::environment::{Interpreter, failed, pip_command};
use crate::error::{Error, Result};
use sealstone_spec::bom::{Archive, Package};
use sealstone_spec::purl::pypi_name;
use std::fs;
use std::path::Path;

/// Fetches a wheel of everything into `into`; returns the packages of which one was built here.
pub(super) fn fetch(
    interpreter: &Interpreter,
    root: &Path,
    wanted: &Wanted,
    into: &Path,
    known: &Path,
) -> Result<Vec<String>> {
    let scratch =
        tempfile::tempdir().map_err(|source| Error::io("making a directory for pip", source))?;
    let mut pip = pip_command(interpreter)?;
    pip.args([
        "--disable-pip-version-check",
        "--no-input",
        "wheel",
        "--wheel-dir",
    ])
    .arg(into)
    .current_dir(root);
    // Wheels that were fetched before need not be fetched again; versions are chosen as without them.
    if known.is_dir() {
        pip.arg("--find-links").arg(known);
    }
    if !wanted.constraints.is_empty() {
        let path = scratch.path().join("constraints.txt");
        fs::write(&path, wanted.constraints.join("\n"))
            .map_err(|source| Error::io("writing constraints", source))?;
        pip.arg("--constraint").arg(path);
    }
    if let Some(file) = &wanted.file {
        pip.arg("--requirement").arg(file);
    } else {
        let path = scratch.path().join("requirements.txt");
        fs::write(&path, wanted.requirements.join("\n"))
            .map_err(|source| Error::io("writing requirements", source))?;
        pip.arg("--requirement").arg(path);
    }
    let output = pip
        .output()
        .map_err(|source| Error::io("starting pip", source))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let what = format!("pip cannot fetch what {} asks for", wanted.from);
        return Err(failed(&what, &output).hint(
            "this is the one step that needs a package index: pip's own configuration says which",
        ));
    }
    let mut built: Vec<String> = said
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Building wheel for "))
        .filter_map(|rest| Some(pypi_name(rest.split([' ', ':']).next()?)))
        .collect();
    built.sort();
    built.dedup();
    Ok(built)
}

/// One package again, by itself, from a file that another lock names: pip holds what it downloads against the hashes
/// before it builds anything, and takes nothing that was built before.
pub(super) fn again(
    interpreter: &Interpreter,
    root: &Path,
    package: &Package,
    from: &str,
    into: &Path,
) -> Result<()> {
    let hashes: Vec<String> = package.archives.iter().filter_map(hash_option).collect();
    if hashes.is_empty() {
        return Err(Error::refused(format!(
            "{from} names no file of {} by its hash, so nobody can tell what it would be built from",
            package.name
        ))
        .hint("let that lock name a file of a package index"));
    }
    let scratch =
        tempfile::tempdir().map_err(|source| Error::io("making a directory for pip", source))?;
    let path = scratch.path().join("requirements.txt");
    let line = format!(
        "{}=={} {}\n",
        package.name,
        package.version,
        hashes.join(" ")
    );
    fs::write(&path, line).map_err(|source| Error::io("writing requirements", source))?;
    let output = pip_command(interpreter)?
        .args([
            "--disable-pip-version-check",
            "--no-input",
            "wheel",
            "--no-deps",
            "--no-cache-dir",
            "--require-hashes",
            "--wheel-dir",
        ])
        .arg(into)
        .arg("--requirement")
        .arg(&path)
        .current_dir(root)
        .output()
        .map_err(|source| Error::io("starting pip", source))?;
    if output.status.success() {
        return Ok(());
    }
    if String::from_utf8_lossy(&output.stderr).contains("DO NOT MATCH THE HASHES") {
        return Err(Error::halted(format!(
            "what the index has of {} is not one of the files that {from} names",
            package.name
        )));
    }
    let what = format!("pip cannot make {} from what {from} names", package.name);
    Err(failed(&what, &output))
}

/// The hash of a file as pip takes it; none of what is no file, as a commit.
fn hash_option(archive: &Archive) -> Option<String> {
    let algorithm = match archive.hash.alg.as_str() {
        "SHA-256" => "sha256",
        "SHA-384" => "sha384",
        "SHA-512" => "sha512",
        _ => return None,
    };
    Some(format!("--hash={algorithm}:{}", archive.hash.content))
}
