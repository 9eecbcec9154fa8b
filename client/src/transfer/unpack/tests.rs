#![allow(clippy::unwrap_used)]
use super::*;
use crate::Outcome;
use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use sealstone_spec::bundle::FileKind;
use sealstone_spec::digest::Digest;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

fn layer(path: &str, form: LayerForm, content: &[u8]) -> BundleFile {
    BundleFile {
        path: path.parse().unwrap(),
        kind: FileKind::Code,
        role: sealstone_spec::role::BundleRole::of_kind(FileKind::Code),
        digest: Digest::sha256(content),
        size: content.len() as u64,
        executable: false,
        form,
    }
}

/// Writes an entry as it is, whatever its name: `tar`'s builder would refuse some.
fn entry(name: &str, kind: EntryType, mode: u32, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(content.len() as u64);
    if kind == EntryType::Symlink || kind == EntryType::Link {
        header.set_link_name("/etc/passwd").unwrap();
    }
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn file(name: &str, content: &str) -> Vec<u8> {
    entry(name, EntryType::Regular, 0o644, content.as_bytes())
}

fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = entries.concat();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn unpack_bytes(
    path: &str,
    form: LayerForm,
    bytes: &[u8],
) -> (tempfile::TempDir, Result<Vec<Unpacked>>) {
    let root = tempfile::tempdir().unwrap();
    let from = root.path().join("layer");
    fs::write(&from, bytes).unwrap();
    let into = root.path().join("files");
    let result = unpack(&from, &layer(path, form, bytes), &into, &Stop::default());
    (root, result)
}

fn refusal(path: &str, bytes: &[u8]) -> String {
    let (_root, result) = unpack_bytes(path, LayerForm::Tar, bytes);
    let error = result.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Halted, "{error}");
    format!("{error:#}")
}

#[test]
fn files_come_out_with_their_paths_and_the_owners_right_to_execute() {
    let bytes = archive(&[
        entry("src/", EntryType::Directory, 0o755, b""),
        file("./src/a.py", "print(1)"),
        entry("src/bin/run", EntryType::Regular, 0o755, b"#!/bin/sh"),
    ]);
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&bytes).unwrap();
    for (form, bytes) in [
        (LayerForm::Tar, bytes),
        (LayerForm::TarGzip, packed.finish().unwrap()),
    ] {
        let (_root, result) = unpack_bytes("src", form, &bytes);
        let files = result.unwrap();
        let seen: Vec<(&str, bool, String)> = files
            .iter()
            .map(|file| {
                (
                    file.path.as_str(),
                    file.executable,
                    fs::read_to_string(&file.file).unwrap(),
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("src/a.py", false, "print(1)".to_owned()),
                ("src/bin/run", true, "#!/bin/sh".to_owned())
            ]
        );
        let mode = fs::metadata(&files[1].file).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0, "rights are given when the file is placed");
    }
}

#[test]
fn an_archive_of_the_one_file_that_its_path_names_is_that_file() {
    let (_root, result) = unpack_bytes(
        "m/w.bin",
        LayerForm::Tar,
        &archive(&[file("m/w.bin", "weights")]),
    );
    let files = result.unwrap();
    assert_eq!((files.len(), files[0].size), (1, 7));
}

#[test]
fn what_is_no_plain_file_is_refused() {
    for (kind, word) in [
        (EntryType::Symlink, "symbolic link"),
        (EntryType::Link, "hard link"),
        (EntryType::Char, "device"),
        (EntryType::Block, "device"),
        (EntryType::Fifo, "pipe"),
        (EntryType::GNUSparse, "sparse"),
    ] {
        let message = refusal("src", &archive(&[entry("src/x", kind, 0o644, b"")]));
        assert!(
            message.contains(word) || message.contains("sound"),
            "{kind:?}: {message}"
        );
    }
}

/// In an archive of the newer form its kind is that of a plain file, whose content is a list of what is left of it.
#[test]
fn a_file_whose_holes_were_left_out_is_refused_in_either_form() {
    let header = b"22 GNU.sparse.major=1\n";
    let bytes = archive(&[
        entry("x", EntryType::XHeader, 0o644, header),
        file("src/GNUSparseFile.1/x", "0\n"),
    ]);
    let message = refusal("src", &bytes);
    assert!(message.contains("sparse file"), "{message}");
}

#[test]
fn paths_that_leave_the_layer_are_refused() {
    for name in [
        "../x",
        "/etc/passwd",
        "src/../../x",
        "other/x",
        "srcs/x",
        "src\\x",
        "src/nul",
        "src//x",
        "",
    ] {
        refusal("src", &archive(&[file(name, "x")]));
    }
    refusal(
        "src",
        &archive(&[entry("../", EntryType::Directory, 0o755, b"")]),
    );
    refusal(
        "src",
        &archive(&[entry("elsewhere/", EntryType::Directory, 0o755, b"")]),
    );
}

#[test]
fn two_entries_of_one_name_are_refused_also_in_another_case() {
    refusal("src", &archive(&[file("src/a", "1"), file("src/a", "2")]));
    refusal("src", &archive(&[file("src/a", "1"), file("src/A", "2")]));
    refusal("src", &archive(&[file("src/a", "1"), file("src/a/b", "2")]));
}

#[test]
fn an_archive_that_was_cut_or_damaged_is_refused() {
    let bytes = archive(&[file("src/a", &"x".repeat(2000))]);
    refusal("src", &bytes[..1024]);
    let mut damaged = bytes.clone();
    damaged[0] ^= 1;
    refusal("src", &damaged);
    let (_root, result) = unpack_bytes("src", LayerForm::TarGzip, &bytes);
    assert_eq!(result.unwrap_err().outcome(), Outcome::Halted);
}

#[test]
fn what_unpacks_to_too_much_is_refused_before_it_is_written() {
    let zeros = vec![0_u8; 70 * 1024 * 1024];
    let bytes = archive(&[entry("src/zeros", EntryType::Regular, 0o644, &zeros)]);
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&bytes).unwrap();
    let (_root, result) = unpack_bytes("src", LayerForm::TarGzip, &packed.finish().unwrap());
    let message = result.unwrap_err().to_string();
    assert!(message.contains("unpacks to more than"), "{message}");
}

#[test]
fn what_stands_between_files_is_bounded_whatever_they_hold() {
    let pax = |length: usize| entry("x", EntryType::XHeader, 0o644, &vec![b'a'; length]);
    let long = |length: usize| {
        let name = vec![b'a'; length];
        entry("././@LongLink", EntryType::GNULongName, 0o644, &name)
    };
    let large = || file("src/large", &"x".repeat(3 * 1024 * 1024));
    // Headers that other tools write go with files of any size, and each file's are counted alone.
    let many = |length| archive(&[pax(length), large(), pax(length), file("src/a", "a")]);
    let (_root, result) = unpack_bytes("src", LayerForm::Tar, &many(700 * 1024));
    assert_eq!(result.unwrap().len(), 2);
    for bytes in [
        many(1024 * 1024),
        archive(&[file("src/a", "a"), long(2 * 1024 * 1024), large()]),
        archive(&[pax(600 * 1024), long(600 * 1024), file("src/a", "a")]),
    ] {
        let (_root, result) = unpack_bytes("src", LayerForm::Tar, &bytes);
        let error = result.unwrap_err();
        assert_eq!(error.outcome(), Outcome::Halted);
        let causes = error.causes().join(": ");
        assert!(causes.contains("names and headers"), "{error}: {causes}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn nothing_is_written_outside_whatever_the_bytes(
        mut bytes in Just(archive(&[file("src/a", "one"), file("src/b/c", "two")])),
        changes in prop::collection::vec((0..3000_usize, any::<u8>()), 1..12),
    ) {
        for (at, byte) in changes {
            let length = bytes.len();
            bytes[at % length] = byte;
        }
        let (root, result) = unpack_bytes("src", LayerForm::Tar, &bytes);
        for file in result.into_iter().flatten() {
            prop_assert!(file.path.as_str() == "src" || file.path.as_str().starts_with("src/"));
            prop_assert!(file.file.starts_with(root.path().join("files")));
        }
    }
}
