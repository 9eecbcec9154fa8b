//! Files that are sound, and files that are not; how code hides in them.

#![allow(clippy::unwrap_used)]
use super::*;
use std::io::Write as _;

const EVIL: &[u8] = b"cposix\nsystem\n(S'x'\ntR.";
const HARMLESS: &[u8] = b"\x80\x02}.";

fn look_at(name: &str, content: &[u8]) -> Option<String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    std::fs::write(&path, content).unwrap();
    unsound(&path).unwrap()
}

fn safetensors(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

#[test]
fn a_container_has_to_be_whole() {
    let header = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    assert_eq!(look_at("m.safetensors", &safetensors(header, 8)), None);
    assert!(look_at("m.safetensors", &safetensors(header, 7)).is_some());
    let none = look_at("m.safetensors", b"not at all").unwrap();
    assert!(none.contains("named .safetensors"), "{none}");
    assert_eq!(look_at("m.json", b"{\"w\": 1.5}"), None);
    assert!(look_at("m.json", b"{\"w\": 1.5").is_some());
    assert_eq!(look_at("m.txt", b"anything"), None);
}

fn gguf(kind: u32) -> Vec<u8> {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3_u32.to_le_bytes());
    bytes.extend(1_u64.to_le_bytes()); // tensors
    bytes.extend(0_u64.to_le_bytes()); // keys
    bytes.extend(1_u64.to_le_bytes());
    bytes.extend(b"w");
    bytes.extend(1_u32.to_le_bytes()); // dimensions
    bytes.extend(4_u64.to_le_bytes());
    bytes.extend(kind.to_le_bytes());
    bytes.extend(0_u64.to_le_bytes()); // where it lies
    bytes.resize(bytes.len().next_multiple_of(32) + 16, 0);
    bytes
}

#[test]
fn what_is_not_read_here_is_not_called_unsound() {
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    for content in [
        "{\"loss\": NaN, \"best\": -Infinity}",
        "\u{feff}{\"w\": 1}",
        deep.as_str(),
        "{\"text\": \"a \\\" and a [\"}",
    ] {
        assert_eq!(look_at("trainer_state.json", content.as_bytes()), None);
    }
    for content in ["", " \n", "{\"w\": [1, 2}", "{\"w\": \"}", "[\"\\\"]"] {
        let found = look_at("m.json", content.as_bytes());
        assert!(found.is_some(), "{content}");
    }
    // A type that came after this was written; and one that is cut off.
    assert_eq!(look_at("m.gguf", &gguf(0)), None);
    assert_eq!(look_at("m.gguf", &gguf(4_000)), None);
    assert!(look_at("m.gguf", &gguf(4_000)[..50]).is_some());
    let header = r#"{"a":{"dtype":"F3","shape":[2],"data_offsets":[0,8]}}"#;
    assert_eq!(look_at("m.safetensors", &safetensors(header, 8)), None);
    let large = super::super::tensors::gather(
        &super::super::bytes::Bytes::of_memory(Vec::new()),
        4,
        &[1 << 16, 1 << 16],
        &[1, 1 << 16],
        0,
        "w",
    );
    assert!(matches!(large, Err(Unreadable::Unsupported(_))));
}

fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, content) in members {
        zip.start_file(*name, stored).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn a_vocabulary_of_characters_is_sound() {
    // {"stoi": {"!": 0, "#": 1}, "#": "a text"}
    let pickle =
        b"\x80\x02}X\x04\x00\x00\x00stoi}X\x01\x00\x00\x00!K\x00sX\x01\x00\x00\x00#K\x01ss\
        X\x01\x00\x00\x00#X\x06\x00\x00\x00a texts.";
    assert_eq!(look_at("m.pt", &archive(&[("m/data.pkl", pickle)])), None);
}

#[test]
fn no_member_that_cannot_be_read_hides_a_pickle() {
    let with = |pickle: &[u8]| archive(&[("m/data.pkl", pickle), ("m/other", b"0123456789")]);
    let found = look_at("m.pt", &with(EVIL)).unwrap();
    assert!(found.contains("posix.system"), "{found}");
    assert_eq!(look_at("m.pt", &with(HARMLESS)), None);
    // The second member by a method of compression that nobody knows, in both of its headers.
    for pickle in [HARMLESS, EVIL] {
        let mut bytes = with(pickle);
        for (signature, method) in [(b"PK\x03\x04", 8), (b"PK\x01\x02", 10)] {
            let mut places = bytes.windows(4).enumerate();
            let last = places.rfind(|(_, four)| four == signature).unwrap().0;
            bytes[last + method] = 199;
        }
        let found = look_at("m.pt", &bytes).unwrap();
        assert!(found.contains("method not supported: 199"), "{found}");
    }
}

/// Torch 1.13 loaded files like these, and ran what is not the harmless pickle in them.
#[test]
fn torch_finds_no_other_pickle_than_the_one_that_is_looked_at() {
    // Writers refuse two members of one name, so it gets the name afterwards.
    let mut twice = archive(&[("m/data.pkl", EVIL), ("m/data.pkX", HARMLESS)]);
    for at in 0..twice.len() {
        if twice[at..].starts_with(b"m/data.pkX") {
            twice[at + 9] = b'l';
        }
    }
    // Two archives of one size: the record at the end means the directory of the one, and stands behind that of the other.
    let as_long = [&b"\x80\x02("[..], &b"N".repeat(EVIL.len() - 6), b"1}."].concat();
    let two = [EVIL, &as_long].map(|pickle| archive(&[("m/data.pkl", pickle)]));
    assert_eq!(two[0].len(), two[1].len());
    assert_eq!(look_at("m.pt", &two[1]), None);
    for (file, due) in [
        (archive(&[("m/DATA.PKL", EVIL)]), "posix.system"),
        (
            archive(&[("m/data.pkl", HARMLESS), ("m/DATA.PKL", EVIL)]),
            "either case",
        ),
        (twice, "other members"),
        (two.concat(), "two archives"),
    ] {
        let found = look_at("m.pt", &file).unwrap();
        assert!(found.contains(due), "{found}");
    }
}

/// Torch opens a tar before it reads a pickle, and joblib takes one out of what it is folded into.
#[test]
fn what_has_the_name_of_a_pickle_is_looked_into_or_refused() {
    let tape = |mut header: tar::Header| {
        let mut tape = tar::Builder::new(Vec::new());
        header.set_size(EVIL.len() as u64);
        header.set_mode(0o644);
        tape.append_data(&mut header, "pickle", EVIL).unwrap();
        tape.into_inner().unwrap()
    };
    let zip = archive(&[("a.txt", b"text")]);
    for file in [
        tape(tar::Header::new_gnu()),
        tape(tar::Header::new_ustar()),
        tape(tar::Header::new_old()),
        zip.clone(),
    ] {
        let found = look_at("m.pt", &file).unwrap();
        assert!(found.contains("not looked into"), "{found}");
        assert_eq!(look_at("m.archive", &file), None);
    }
    let fold = flate2::Compression::default();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), fold);
    gzip.write_all(EVIL).unwrap();
    let gzip = gzip.finish().unwrap();
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), fold);
    zlib.write_all(EVIL).unwrap();
    let zlib = zlib.finish().unwrap();
    for (name, file) in [
        ("m.pkl.gz", &gzip),
        ("m.joblib", &gzip),
        ("m.joblib", &zlib),
    ] {
        let found = look_at(name, file).unwrap();
        assert!(found.contains("posix.system"), "{name}: {found}");
    }
    // What only has such a name is what it is.
    let header = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    assert_eq!(look_at("m.bin", &safetensors(header, 8)), None);
    assert_eq!(look_at("m.bin", &[0; 1024]), None);
    assert_eq!(look_at("m.zip", &zip), None);
}

#[test]
fn a_tar_is_known_by_the_sum_of_its_first_header() {
    let header = |field: &[u8; 8]| {
        let mut header = [0; 512];
        header[0] = 0x81;
        header[148..156].copy_from_slice(field);
        header
    };
    // 256 and 0x81 are 385, octal 601; with 0x81 as a negative number 129.
    for field in [
        b"000601\0 ",
        b" 601\0\0\0\0",
        b"0o201\0\0\0",
        b"\x80\0\0\0\0\0\x01\x81",
    ] {
        assert!(is_tar(&header(field)), "{field:?}");
        assert!(!is_tar(&header(field)[..511]));
    }
    for field in [b"000602\0 ", b"\0\0\0\0\0\0\0\0", b"\xff\0\0\0\0\0\x01\x81"] {
        assert!(!is_tar(&header(field)), "{field:?}");
    }
    // What is no ASCII stands in no number, but behind one.
    assert!(is_tar(&header(b"000601\0\xe9")));
    for field in [b"000601\xe9 ", b"\xe9000601\0", b"0006\x8101\0"] {
        assert!(!is_tar(&header(field)), "{field:?}");
    }
}

#[test]
fn a_pickle_that_would_run_code_is_named_and_others_are_not() {
    let plain = b"csklearn.svm\nSVC\n)R.";
    assert_eq!(look_at("m.pkl", plain), None);
    // Of several pickles in one file the last counts as much as the first.
    let second = [&plain[..], EVIL].concat();
    for (name, content) in [
        (
            "m.pkl",
            &b"\x80\x04\x8c\x0asubprocess\x8c\x05Popen\x93)R."[..],
        ),
        ("m.pickle", &second),
        ("m.pt", b"cbuiltins\neval\n(S'1'\ntR."),
    ] {
        let found = look_at(name, content).unwrap();
        assert!(found.contains("DANGEROUS"), "{found}");
    }
    // Cut off, it names what it names all the same.
    assert!(look_at("m.pkl", b"cos\nsystem\n(S'true").is_some());
}
