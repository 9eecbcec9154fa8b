//! Files that lie: about sizes, places, depth, and what they unfold to.

use super::super::limits::Unreadable;
use super::*;
use crate::compare::{archive, gguf, npy, onnx, safetensors as reader, torch};
use proptest::prelude::*;

fn raw_safetensors(header: &str, data: usize) -> Bytes {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.resize(file.len() + data, 0);
    Bytes::of_memory(file)
}

#[test]
fn safetensors_offsets_must_cover_the_file_once() {
    let entry = |from: u64, to: u64| {
        format!(
            "{{\"dtype\":\"U8\",\"shape\":[{}],\"data_offsets\":[{from},{to}]}}",
            to.saturating_sub(from)
        )
    };
    let read = |header: &str, data| reader::read(&raw_safetensors(header, data));
    read(
        &format!("{{\"a\":{},\"b\":{}}}", entry(0, 4), entry(4, 8)),
        8,
    )
    .unwrap();
    for (why, header, data) in [
        (
            "a hole",
            format!("{{\"a\":{},\"b\":{}}}", entry(0, 4), entry(5, 8)),
            8,
        ),
        (
            "an overlap",
            format!("{{\"a\":{},\"b\":{}}}", entry(0, 4), entry(3, 8)),
            8,
        ),
        ("beyond the end", format!("{{\"a\":{}}}", entry(0, 9)), 8),
        ("bytes left over", format!("{{\"a\":{}}}", entry(0, 7)), 8),
        (
            "backwards",
            "{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[4,0]}}".to_owned(),
            8,
        ),
        (
            "shape and size",
            "{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}".to_owned(),
            8,
        ),
        (
            "overflow",
            "{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,0]}}"
                .to_owned(),
            0,
        ),
        (
            "twice",
            format!("{{\"a\":{},\"a\":{}}}", entry(0, 4), entry(4, 8)),
            8,
        ),
        (
            "unknown type",
            "{\"a\":{\"dtype\":\"Q7\",\"shape\":[8],\"data_offsets\":[0,8]}}".to_owned(),
            8,
        ),
        (
            "unknown field",
            "{\"a\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8],\"x\":1}}".to_owned(),
            8,
        ),
        ("no object", "[1]".to_owned(), 0),
        (
            "depth",
            format!("{{\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000)),
            0,
        ),
    ] {
        assert!(
            matches!(
                (why, read(&header, data)),
                ("unknown type", Err(Unreadable::Unsupported(_)))
                    | (_, Err(Unreadable::Malformed(_)))
            ),
            "{why}"
        );
    }
    let mut lie = u64::MAX.to_le_bytes().to_vec();
    lie.extend(b"{}");
    assert!(reader::read(&Bytes::of_memory(lie)).is_err());
}

#[test]
fn archives_unfold_within_a_budget() {
    let bomb = gzip(&vec![0; 8 << 20], 0);
    assert!(bomb.len() < 20_000);
    let side = |content: &[u8], name: &str| Side {
        bytes: Bytes::of_memory(content.to_vec()),
        name: name.to_owned(),
        directory: None,
    };
    let refused = archive::unfold(&side(&bomb, "x.gz"), &mut Budget::of(1 << 20));
    assert!(matches!(refused, Err(Unreadable::Unsupported(_))));
    archive::unfold(&side(&bomb, "x.gz"), &mut Budget::of(8 << 20)).unwrap();
    // The budget is one for all members.
    let zeros = vec![0; 1 << 20];
    let members = zip(&[("a", &zeros), ("b", &zeros), ("c", &zeros)], true, 1980);
    assert!(archive::read_zip(&side(&members, "x.zip"), &mut Budget::of(2 << 20)).is_err());
    assert_eq!(
        archive::read_zip(&side(&members, "x.zip"), &mut Budget::of(3 << 20))
            .unwrap()
            .len(),
        3
    );
    // Archives in archives end somewhere.
    let mut inner = b"end".to_vec();
    let mut other = b"END".to_vec();
    for _ in 0..6 {
        inner = gzip(&inner, 0);
        other = gzip(&other, 0);
    }
    let deep = found("x.gz", &inner, &other, "");
    assert_eq!(deep.class, Class::Divergent);
    assert!(
        deep.notes.iter().any(|note| note.contains("deep")),
        "{:?}",
        deep.notes
    );
}

/// Readers differ in which of two members of one name they take, so no content is the same as that of such an archive.
#[test]
fn a_name_that_stands_twice_in_a_zip_is_no_content() {
    // Writers refuse it, so the second gets the name of the first afterwards.
    let mut twice = zip(&[("a.txt", b"one"), ("a.txX", b"two")], false, 1980);
    for at in 0..twice.len() {
        if twice[at..].starts_with(b"a.txX") {
            twice[at + 4] = b't';
        }
    }
    for content in [b"one", b"two"] {
        let once = zip(&[("a.txt", content)], false, 1980);
        let other = found("x.zip", &once, &twice, "class = \"content_exact\"");
        assert_eq!((other.class, other.ok), (Class::Divergent, false));
        assert!(other.notes[0].contains("one name"), "{:?}", other.notes);
    }
}

#[test]
fn a_long_row_is_no_reason_to_fill_memory() {
    let long = format!("{{\"a\": \"{}\"}}", "x".repeat(70 << 20));
    let other = format!("{long} ");
    let refused = found("x.jsonl", long.as_bytes(), other.as_bytes(), "");
    assert_eq!(refused.class, Class::Divergent);
    assert!(refused.notes[0].contains("64 MiB"), "{:?}", refused.notes);
}

/// A key stands in the names of everything below it, and of each of a thousand columns in every row.
#[test]
fn names_are_no_reason_to_fill_memory() {
    let list = |key: usize, count: usize, item: &str| {
        let items = vec![item; count].join(",");
        format!("{{\"{}\": [{items}]}}", "k".repeat(key))
    };
    let table = |name: usize, value: u8| format!("{},b\n{value},1\n", "k".repeat(name));
    let deep = |value: u8| {
        let nested = format!("{}{value}{}", "[".repeat(60), "]".repeat(60));
        list(1_000, 5_000, &nested)
    };
    let wide = |end: &str| format!("a\n{}{end}\n", ",".repeat(8_000_000));
    let (long, large) = (70_000, 60_000);
    for (name, base, now, reason) in [
        (
            "a.json",
            list(long, 2, "[1]"),
            list(long, 3, "[1]"),
            "64 KiB",
        ),
        (
            "a.json",
            list(long, 2, "\"a\""),
            list(long, 2, "\"b\""),
            "64 KiB",
        ),
        (
            "a.json",
            list(large, 3_000, "[1]"),
            list(large, 3_000, "[2]"),
            "256 MiB",
        ),
        ("a.jsonl", list(long, 1, "1"), list(long, 1, "2"), "64 KiB"),
        (
            "a.jsonl",
            list(large, 5_000, "1"),
            list(large, 5_000, "2"),
            "256 MiB",
        ),
        ("a.jsonl", deep(1), deep(2), "256 MiB"),
        ("a.csv", table(long, 1), table(long, 2), "64 KiB"),
        ("a.csv", wide("1"), wide("2"), "256 MiB"),
        (
            "a.csv",
            wide("1").split_off(2),
            wide("2").split_off(2),
            "256 MiB",
        ),
    ] {
        let refused = found(name, base.as_bytes(), now.as_bytes(), "class = \"numeric\"");
        assert_eq!(refused.class, Class::Divergent, "{name}");
        let note = &refused.notes[0];
        assert!(
            note.contains("as bytes") && note.contains(reason),
            "{name}: {note}"
        );
    }
    // What is not too long is compared.
    for (name, base, now) in [
        ("a.json", list(large, 100, "[1]"), list(large, 100, "[2]")),
        ("a.jsonl", list(large, 100, "1"), list(large, 100, "2")),
        ("a.csv", table(large, 1), table(large, 2)),
    ] {
        let near = found(
            name,
            base.as_bytes(),
            now.as_bytes(),
            "class = \"numeric\"\nabs = 1",
        );
        assert_eq!((near.class, near.ok), (Class::Numeric, true), "{name}");
    }
    // The same in a pickle: a list of 10,000 under a long key.
    let key = "k".repeat(large);
    let mut pickle = b"\x80\x02}X".to_vec();
    pickle.extend((key.len() as u32).to_le_bytes());
    pickle.extend(key.as_bytes());
    pickle.extend(b"](");
    pickle.extend(b"K\x01".repeat(10_000));
    pickle.extend(b"es.");
    has_too_many_parts(&pickle);
}

fn has_too_many_parts(pickle: &[u8]) {
    let file = zip(&[("m/data.pkl", pickle)], false, 1980);
    let other = zip(&[("m/data.pkl", b"].")], false, 1980);
    let refused = found("m.pt", &other, &file, "");
    assert!(
        refused.notes[0].contains("too many parts"),
        "{:?}",
        refused.notes
    );
}

#[test]
fn shared_values_of_a_pickle_do_not_multiply_for_ever() {
    // Each list holds the one before twice: 2^40 leaves.
    let mut pickle = b"\x80\x02]".to_vec();
    for key in 0..40_u8 {
        pickle.extend([b'q', key, b'0', b']', b'h', key, b'a', b'h', key, b'a']);
    }
    pickle.push(b'.');
    has_too_many_parts(&pickle);
}

/// One valid file of each format.
fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let values = f32s(&[1.0, 2.0, 3.0, 4.0]);
    let array = npy("<f4", false, &[2, 2], &values);
    vec![
        (
            "a.safetensors",
            safetensors(&[("w", "F32", &[2, 2], &values), ("v", "BF16", &[2], &[1; 4])]),
        ),
        ("a.npy", array.clone()),
        (
            "a.npz",
            zip(&[("a.npy", &array), ("b.npy", &array)], true, 1980),
        ),
        (
            "a.pt",
            torch_file(&values, "FloatStorage", 4, &[2, 2], &[2, 1]),
        ),
        ("a.onnx", onnx(&values[..8], true, "p", "Relu")),
        ("a.gguf", gguf("llama", &f32s(&[1.0; 32]), 9)),
        (
            "a.tar",
            tar(&[("a.txt", b"one", 1), ("b.json", b"{\"a\":1}", 2)]),
        ),
        ("a.csv.gz", gzip(b"a,b\n1,2\n", 1)),
        ("a.json", b"{\"a\": [1.5, \"x\", {\"b\": null}]}".to_vec()),
        ("a.jsonl", b"{\"a\": 1}\n{\"a\": 2.5}\n".to_vec()),
        ("a.csv", b"a,b\n1,x\n2.5,\"y\"\n".to_vec()),
        (
            "m.txt",
            b"tree\nversion=v4\n\nTree=0\nleaf_value=0.1 0.2\n\nend of trees\n".to_vec(),
        ),
    ]
}

#[test]
fn every_seed_is_read_as_its_format() {
    for (name, seed) in seeds() {
        let same = found(name, &seed, &seed, "");
        assert_eq!((same.class, same.ok), (Class::BitExact, true), "{name}");
        assert_ne!(same.format, "bytes", "{name}");
        // Against a file of the same format that differs: no seed is only ever compared as bytes.
        let mut cut = seed.clone();
        cut.truncate(seed.len() / 2);
        assert_eq!(
            found(name, &seed, &cut, "class = \"numeric\"\nrel_l2 = 1e9").class,
            Class::Divergent,
            "{name}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// A changed file ends in a comparison, never in a panic or an error; and it is bit_exact only if it is.
    #[test]
    fn any_change_of_any_file_is_compared(
        seed in 0usize..12,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
        insert in prop::option::of((any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 1..20))),
    ) {
        let (name, base) = seeds().swap_remove(seed);
        let mut now = base.clone();
        for (place, byte) in &changes {
            let place = place.index(now.len());
            now[place] = *byte;
        }
        if let Some(place) = cut {
            now.truncate(place.index(now.len() + 1));
        }
        if let Some((place, more)) = insert {
            let place = place.index(now.len() + 1);
            now.splice(place..place, more);
        }
        for rule in ["", "class = \"numeric\"\nabs = 1.0", "class = \"functional\"\nlabel_agreement = 0.5"] {
            let found = found(name, &base, &now, rule);
            prop_assert_eq!(found.class == Class::BitExact, base == now, "{} {:?}", name, found);
            prop_assert!(found.class == Class::BitExact || found.first.is_some() || found.class == Class::ContentExact, "{:?}", found);
            let back = self::found(name, &now, &base, rule);
            prop_assert_eq!(back.class == Class::BitExact, base == now);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(content: Vec<u8>, magic in 0usize..6) {
        let mut bytes = [&b""[..], b"GGUF\x03\0\0\0", b"PK\x03\x04", b"\x1f\x8b\x08\0", b"\x93NUMPY\x01\0", b"\x08\x08\x3a"][magic].to_vec();
        bytes.extend(&content);
        let side = Side { bytes: Bytes::of_memory(bytes), name: "x.onnx".to_owned(), directory: None };
        let _ = (reader::read(&side.bytes), npy::read(&side.bytes), gguf::read(&side.bytes), onnx::read(&side));
        let _ = (torch::read(&side, &mut Budget::of(1 << 20)), archive::read_npz(&side, &mut Budget::of(1 << 20)));
    }
}
