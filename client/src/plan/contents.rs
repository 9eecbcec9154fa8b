//! What lies at a declared path, by digest.

use super::roots::Roots;
use crate::error::{Error, Result};
use crate::recipe::hash_path;
use crate::runner::{Expected, Input, StageJob};
use sealstone_spec::recipe::{
    FileRole, LockedFile, PathDigest, Recipe, RecipePath, listing_digest,
};
use std::collections::BTreeMap;

/// What stands at a declared path; adds it to the job's inputs.
pub(crate) fn contents(
    recipe: &Recipe,
    roots: &Roots,
    path: &RecipePath,
    job: &mut StageJob,
) -> Result<(PathDigest, Vec<LockedFile>)> {
    let found = roots.files(recipe, path)?;
    let mut files = Vec::with_capacity(found.len());
    let mut given: BTreeMap<String, Input> = BTreeMap::new();
    for (name, file) in found {
        let (digest, size) = hash_path(&file.source)?;
        let parsed: RecipePath = name
            .parse()
            .map_err(|error| Error::usage(format!("{error}")))?;
        files.push(LockedFile {
            role: role(recipe, &parsed),
            path: parsed,
            digest,
            size,
            executable: file.executable,
        });
        given.insert(
            name.clone(),
            Input {
                path: name,
                source: file.source,
                expected: Expected::File(digest),
            },
        );
    }
    // Once for all: a directory may hold a million files.
    job.inputs.retain(|input| !given.contains_key(&input.path));
    job.inputs.extend(given.into_values());
    let is_file = files.len() == 1 && files[0].path == *path;
    let digest = match is_file {
        true => files[0].digest,
        false => {
            let prefix = path.as_str().len() + 1;
            listing_digest(
                files
                    .iter()
                    .map(|file| (&file.path.as_str()[prefix..], &file.digest)),
            )
        }
    };
    let content = PathDigest {
        path: path.clone(),
        digest,
        size: files.iter().map(|file| file.size).sum(),
        files: (!is_file).then_some(files.len() as u64),
    };
    Ok((content, files))
}

/// The files at some paths, as a lock names them.
pub(crate) fn lock_files(
    recipe: &Recipe,
    roots: &Roots,
    paths: &[RecipePath],
) -> Result<Vec<LockedFile>> {
    let mut found = Vec::new();
    // Only what is found counts here, so the job is thrown away.
    let mut job = StageJob::new("files", Vec::new(), "", "");
    for path in paths {
        found.extend(contents(recipe, roots, path, &mut job)?.1);
    }
    Ok(found)
}

fn role(recipe: &Recipe, path: &RecipePath) -> FileRole {
    if recipe.writer_of(path.as_str()).is_some() {
        return FileRole::Output;
    }
    if recipe
        .inputs()
        .iter()
        .any(|input| input.path.contains(path))
    {
        return FileRole::Input;
    }
    match recipe.params().file.as_ref() == Some(path) {
        true => FileRole::Params,
        false => FileRole::Source,
    }
}
