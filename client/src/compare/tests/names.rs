//! Names and texts that are no UTF-8, and long ones: no two of them become one.

use super::*;
use std::os::unix::ffi::OsStrExt as _;

/// The file with the byte `at` for every `@`.
fn with(file: &[u8], at: u8) -> Vec<u8> {
    let byte = |byte: &u8| if *byte == b'@' { at } else { *byte };
    file.iter().map(byte).collect()
}

fn tape(name: &[u8], target: Option<&str>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    let name = std::ffi::OsStr::from_bytes(name);
    match target {
        Some(target) => {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            builder.append_link(&mut header, name, target).unwrap();
        }
        None => {
            header.set_size(3);
            builder.append_data(&mut header, name, &b"one"[..]).unwrap();
        }
    }
    builder.into_inner().unwrap()
}

#[test]
fn what_is_no_utf8_is_told_apart() {
    let key = gguf("caf@", &f32s(&[1.0; 32]), 9);
    let node = onnx(&f32s(&[1.0, 1.5]), true, "one", "caf@");
    let header = "{'descr': [('caf@', '<f4')], 'fortran_order': False, 'shape': (1,), }\n";
    let array = [
        &b"\x93NUMPY\x01\x00"[..],
        &(header.len() as u16).to_le_bytes(),
        header.as_bytes(),
        &[0; 4],
    ]
    .concat();
    let (acute, grave) = (0xe9, 0xe8);
    for (name, base, now, place) in [
        (
            "m.gguf",
            with(&key, acute),
            with(&key, grave),
            "metadata:general.architecture",
        ),
        (
            "m.onnx",
            with(&node, acute),
            with(&node, grave),
            "metadata:graph.node[0]",
        ),
        (
            "a.npy",
            with(&array, acute),
            with(&array, grave),
            "tensor:array",
        ),
        (
            "a.tar",
            tape(b"caf\xe9", None),
            tape(b"caf\xe8", None),
            "member:\u{fffd}636166e9!file",
        ),
    ] {
        let other = found(name, &base, &now, "class = \"content_exact\"");
        assert_eq!((other.class, other.ok), (Class::Divergent, false), "{name}");
        let found = locator(&other);
        assert!(found.starts_with(place), "{name}: {found}");
    }
}

#[test]
fn a_text_in_gguf_is_nothing_but_that_text() {
    // One key, and no tensors.
    let file = |kind: u32, value: &[u8]| {
        let length = |bytes: &[u8]| (bytes.len() as u64).to_le_bytes();
        let text = match kind {
            8 => [&length(value)[..], value].concat(),
            _ => value.to_vec(),
        };
        [
            &b"GGUF\x03\0\0\0"[..],
            &0_u64.to_le_bytes(),
            &1_u64.to_le_bytes(),
            &length(b"key"),
            b"key",
            &kind.to_le_bytes(),
            &text,
        ]
        .concat()
    };
    let long = "x".repeat(5_000);
    let digest = sealstone_spec::digest::Digest::sha256(long.as_bytes());
    let told = format!("text of 5000 bytes, {digest}");
    for (base, now) in [
        (file(8, b"7"), file(10, &7_u64.to_le_bytes())),
        (file(8, long.as_bytes()), file(8, told.as_bytes())),
    ] {
        let other = found("m.gguf", &base, &now, "class = \"content_exact\"");
        assert_eq!(
            (other.class, locator(&other).as_str()),
            (Class::Divergent, "metadata:key")
        );
    }
}

#[test]
fn links_are_told_apart_to_their_end() {
    let target = |end: char| format!("{}{end}", "t".repeat(150));
    let base = tape(b"link", Some(&target('a')));
    let now = tape(b"link", Some(&target('b')));
    let other = found("a.tar", &base, &now, "class = \"content_exact\"");
    assert_eq!(other.class, Class::Divergent);
    assert_eq!(other.first.unwrap().what, "kind");
}

#[test]
fn no_two_files_of_a_directory_become_one() {
    let directory = tempfile::tempdir().unwrap();
    let write = |side: &str, acute: &str, grave: &str| {
        let root = directory.path().join(side);
        std::fs::create_dir(&root).unwrap();
        for (name, content) in [(b"caf\xe9", acute), (b"caf\xe8", grave)] {
            std::fs::write(root.join(std::ffi::OsStr::from_bytes(name)), content).unwrap();
        }
        root
    };
    let base = write("base", "one", "two");
    for (now, changed) in [
        (write("first", "ONE", "two"), "\u{fffd}636166e9"),
        (write("second", "one", "TWO"), "\u{fffd}636166e8"),
    ] {
        let found = compare_tree(&base, &now, &|_| ArtifactRule::default()).unwrap();
        assert_eq!((found.ok, found.same), (false, 1));
        assert_eq!(found.changed[0].path, changed);
    }
}
