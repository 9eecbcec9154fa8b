//! Digests of inputs and of columns written into a recipe: where they are missing, say "todo" or are no longer right.
//!
//! Works on the text, so that comments and layout stay as they are. Understands the two ways in which
//! inputs are written: `input = [{ ... }]` and `[[input]]` tables. Which columns of a data test have a digest, people
//! say: `columns = { age = "todo" }`.

use super::files::{LinkPolicy, files_at, hash_path};
use crate::check::column_digests;
use crate::error::{Error, Result};
use crate::run::write_whole;
use sealstone_spec::digest::Digest;
use sealstone_spec::recipe::{RECIPE_FILE, RecipePath, listing_digest};
use std::fs;
use std::ops::Range;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Writes the digest of each input and of each column that a test names as it is now; returns those that were changed.
///
/// # Errors
/// If the recipe is no TOML, or an input is not there.
pub fn fill_digests(directory: &Path) -> Result<Vec<(String, Digest)>> {
    let path = directory.join(RECIPE_FILE);
    let text = fs::read_to_string(&path)
        .map_err(|source| Error::io(format!("reading \"{}\"", path.display()), source))?;
    let mut edits: Vec<(usize, usize, String)> = Vec::new();
    let mut changed = Vec::new();
    {
        let document = DeTable::parse(&text)
            .map_err(|error| Error::usage(format!("{RECIPE_FILE} is no TOML: {error}")))?;
        let inputs = document
            .get_ref()
            .get("input")
            .and_then(|node| node.get_ref().as_array());
        for input in inputs.into_iter().flat_map(|list| list.iter()) {
            let DeValue::Table(table) = input.get_ref() else {
                continue;
            };
            let Some(place) = table.get("path") else {
                continue;
            };
            let Some(declared) = place
                .get_ref()
                .as_str()
                .and_then(|text| text.parse::<RecipePath>().ok())
            else {
                continue;
            };
            let (key, digest) = digest_at(directory, &declared)?;
            let stated: Option<&Spanned<DeValue<'_>>> =
                table.get("sha256").or_else(|| table.get("tree"));
            let due = match key {
                "tree" => digest.to_string(),
                _ => digest.hex(),
            };
            match stated {
                Some(stated)
                    if stated
                        .get_ref()
                        .as_str()
                        .is_some_and(|text| text == due || text == digest.to_string()) =>
                {
                    continue;
                }
                Some(stated) => {
                    edits.push((stated.span().start, stated.span().end, format!("\"{due}\"")))
                }
                None => {
                    // After the path: on its line in an inline table, on a line of its own elsewhere.
                    let end = place.span().end;
                    let inline = text[input.span()].starts_with('{');
                    let separator = if inline { ", " } else { "\n" };
                    edits.push((end, end, format!("{separator}{key} = \"{due}\"")));
                }
            }
            changed.push((declared.to_string(), digest));
        }
    }
    for (span, what, digest) in columns(directory, &text)? {
        edits.push((span.start, span.end, format!("\"{}\"", digest.hex())));
        changed.push((what, digest));
    }
    edits.sort_by_key(|(start, _, _)| std::cmp::Reverse(*start));
    let mut done = text;
    for (start, end, with) in edits {
        done.replace_range(start..end, &with);
    }
    if !changed.is_empty() {
        write_whole(&path, done.as_bytes())?;
    }
    Ok(changed)
}

/// Columns of data tests whose digest is another one now: where it stands, which it is, and what is due.
fn columns(directory: &Path, text: &str) -> Result<Vec<(Range<usize>, String, Digest)>> {
    let mut found = Vec::new();
    let document = DeTable::parse(text)
        .map_err(|error| Error::usage(format!("{RECIPE_FILE} is no TOML: {error}")))?;
    let tests = document
        .get_ref()
        .get("test")
        .and_then(|node| node.get_ref().as_table());
    for (_, test) in tests.into_iter().flat_map(|tests| tests.iter()) {
        let of = |key: &str| test.get_ref().as_table()?.get(key);
        let (Some(file), Some(columns)) = (
            of("file").and_then(|file| file.get_ref().as_str()?.parse::<RecipePath>().ok()),
            of("columns").and_then(|columns| columns.get_ref().as_table()),
        ) else {
            continue;
        };
        let place = directory.join(file.as_str());
        // What a stage has yet to write has no digests yet.
        if !place.is_file() {
            continue;
        }
        let names: Vec<&str> = columns
            .iter()
            .map(|(name, _)| name.get_ref().as_ref())
            .collect();
        let digests = column_digests(&place, file.as_str(), &names)?
            .map_err(|problem| Error::usage(format!("\"{file}\": {problem}")))?;
        for ((name, stated), digest) in columns.iter().zip(digests) {
            let is = |text: &str| text == digest.hex() || text == digest.to_string();
            if !stated.get_ref().as_str().is_some_and(is) {
                let what = format!("column {} of {file}", name.get_ref());
                found.push((stated.span(), what, digest));
            }
        }
    }
    Ok(found)
}

/// What an input at `path` is: the key that names it in a recipe, and its digest.
pub(crate) fn digest_at(directory: &Path, path: &RecipePath) -> Result<(&'static str, Digest)> {
    let files = files_at(directory, path, LinkPolicy::Refuse)?;
    if let Some(file) = files.get(path.as_str()) {
        return Ok(("sha256", hash_path(&file.source)?.0));
    }
    if files.is_empty() {
        return Err(Error::not_found(format!(
            "the input \"{path}\" is not there"
        )));
    }
    let mut listed = Vec::with_capacity(files.len());
    for (name, file) in &files {
        listed.push((&name[path.as_str().len() + 1..], hash_path(&file.source)?.0));
    }
    Ok((
        "tree",
        listing_digest(listed.iter().map(|(name, digest)| (*name, digest))),
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::recipe::Project;

    #[test]
    fn digests_are_filled_in_and_comments_stay() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("tree")).unwrap();
        fs::write(root.path().join("tree/x"), "x").unwrap();
        for name in ["a.csv", "b.csv"] {
            fs::write(root.path().join(name), name).unwrap();
        }
        let text = "# a comment\nrecipe = { version = 1, name = \"x\" }\nenvironment = { kind = \"host\" }\n\
            [[input]]\npath = \"a.csv\" # first\n[[input]]\npath = \"b.csv\"\nsha256 = \"todo\"\n[[input]]\npath = \"tree\"\n\
            [stage.s]\nkind = \"other\"\nrun = [\"true\"]\nin = [\"a.csv\"]\nout = [\"o\"]\n";
        fs::write(root.path().join(RECIPE_FILE), text).unwrap();
        assert_eq!(fill_digests(root.path()).unwrap().len(), 3);
        let project = Project::open(root.path()).unwrap();
        assert!(project.text().contains("# a comment") && project.text().contains("# first"));
        assert_eq!(
            project.recipe().inputs()[1].digest,
            Digest::sha256(b"b.csv")
        );
        assert!(project.recipe().inputs()[2].is_tree);
        assert!(fill_digests(root.path()).unwrap().is_empty());
        fs::write(root.path().join("a.csv"), "new").unwrap();
        assert_eq!(fill_digests(root.path()).unwrap().len(), 1);
        // Columns that a test names get theirs too.
        fs::write(root.path().join("a.csv"), "age\n1\n2\n").unwrap();
        let tested = text.to_owned()
            + "[test.a]\nkind = \"data\"\nfile = \"a.csv\"\ncolumns = { age = \"todo\" }\n";
        fs::write(root.path().join(RECIPE_FILE), tested).unwrap();
        assert!(Project::open(root.path()).is_err());
        let filled = fill_digests(root.path()).unwrap();
        let due = Digest::sha256(b"\"1\"\n\"2\"\n");
        assert!(filled.contains(&("column age of a.csv".to_owned(), due)));
        Project::open(root.path()).unwrap();
        assert!(fill_digests(root.path()).unwrap().is_empty());
        fs::write(root.path().join("a.csv"), "new").unwrap();
        let inline = "input = [{ path = \"a.csv\" }]\n".to_owned()
            + &text
                .split("[[input]]")
                .next()
                .unwrap()
                .replace("# a comment\n", "")
            + "[stage.s]\nkind = \"other\"\nrun = [\"true\"]\nout = [\"o\"]\n";
        fs::write(root.path().join(RECIPE_FILE), inline).unwrap();
        fill_digests(root.path()).unwrap();
        assert_eq!(
            Project::open(root.path()).unwrap().recipe().inputs()[0].digest,
            Digest::sha256(b"new")
        );
    }
}
