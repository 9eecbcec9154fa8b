//! Items that are no numbers: text, records, quantised blocks, of any width; NaN.

use super::*;
use crate::compare::npy;

/// Bounds on numbers say nothing of text, of quantised blocks, or of integers that no double tells apart.
#[test]
fn bounds_on_elements_let_nothing_pass_that_they_cannot_measure() {
    let text = |text: &str| {
        let bytes: Vec<u8> = text
            .chars()
            .flat_map(|c| u32::from(c).to_le_bytes())
            .collect();
        npy("<U4", false, &[1], &bytes)
    };
    let eights = |last: u8| safetensors(&[("w", "F8_E4M3", &[2], &[0x38, last])]);
    let blocks = |block: u8| gguf("llama", &f32s(&[1.0; 32]), block);
    let large = 1_u64 << 60;
    let integer = |kind: &str, value: u64| npy(kind, false, &[1], &value.to_le_bytes());
    for (name, base, now) in [
        ("a.npy", text("true"), text("fals")),
        ("m", eights(0x38), eights(0x39)),
        ("m.gguf", blocks(9), blocks(8)),
        ("i.npy", integer("<i8", large), integer("<i8", large + 1)),
        ("u.npy", integer("<u8", large), integer("<u8", large + 1)),
    ] {
        for rule in ["abs = 1e300", "rel = 1e9", "abs = 1e300\nrel_l2 = 1e300"] {
            let rule = format!("class = \"numeric\"\n{rule}");
            let found = found(name, &base, &now, &rule);
            assert_eq!((found.class, found.ok), (Class::Divergent, false), "{name}");
            assert!(!found.worst.unwrap().ok, "{name}");
        }
    }
    // Integers that doubles tell apart are within such bounds or not.
    let near = (integer("<i8", 41), integer("<i8", 42));
    assert!(found("n.npy", &near.0, &near.1, "class = \"numeric\"\nabs = 1").ok);
    assert!(!found("n.npy", &near.0, &near.1, "class = \"numeric\"\nabs = 0.5").ok);
    // One in 41 is under 0.025 of the norm, and so is its maximum.
    for (norm, due) in [
        ("rel_l2 = 0.025", true),
        ("scaled_max = 0.025", true),
        ("rel_l2 = 0.024", false),
        ("scaled_max = 0.024", false),
    ] {
        let rule = format!("class = \"numeric\"\nabs = 1\n{norm}");
        assert_eq!(found("n.npy", &near.0, &near.1, &rule).ok, due, "{norm}");
    }
}

#[test]
fn items_may_be_wider_than_memory() {
    // Over 62 GiB in one record, all of it zeros that lie nowhere on the disk.
    let fields: Vec<String> = (0..1000)
        .map(|number| format!("('f{number}', '|V67108864')"))
        .collect();
    let header = |descr: &str, shape: &str| {
        let dict = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': ({shape},), }}\n");
        let mut head = b"\x93NUMPY\x01\x00".to_vec();
        head.extend((dict.len() as u16).to_le_bytes());
        head.extend(dict.as_bytes());
        head
    };
    let directory = tempfile::tempdir().unwrap();
    let sparse = |name: &str, head: &[u8], data: u64| {
        let path = directory.path().join(name);
        std::fs::write(&path, head).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_len(head.len() as u64 + data).unwrap();
        (path, file)
    };
    let head = header(&format!("[{}]", fields.join(", ")), "1");
    let (base, _) = sparse("base.npy", &head, 1000 << 26);
    let (now, file) = sparse("now.npy", &head, 1000 << 26);
    std::os::unix::fs::FileExt::write_all_at(&file, b"x", head.len() as u64).unwrap();
    let rule = ArtifactRule::of(Class::Numeric);
    let found = compare_artifact(&base, &now, &rule).unwrap();
    assert_eq!(
        (found.class, locator(&found).as_str()),
        (Class::Divergent, "tensor:array[0]")
    );
    let shown = found.first.unwrap().now.unwrap();
    assert!(shown.starts_with("78") && shown.len() < 100, "{shown}");

    // Many items of a mebibyte: as many at once as stand in four.
    let (many, _) = sparse("many.npy", &header("'|S1048576'", "70000"), 70_000 << 20);
    let many = npy::read_array(&Bytes::open(&many).unwrap(), "a").unwrap();
    assert_eq!((many.piece(), many.is_wide()), (4, false));
}

#[test]
fn wide_items_are_counted_one_by_one() {
    // Wider than what is read at once, and as wide as half of it.
    for width in [5 << 20, 2 << 20] {
        let count = 3;
        let base = vec![7; width * count];
        let mut now = base.clone();
        now[width - 1] = 8;
        (now[2 * width], now[3 * width - 1]) = (8, 8);
        let array = |data: &[u8]| npy(&format!("|S{width}"), false, &[count as u64], data);
        let rule = "class = \"functional\"\nlabel_agreement = 0.3";
        let found = found("a.npy", &array(&base), &array(&now), rule);
        let worst = found.worst.unwrap();
        assert_eq!((worst.changed, worst.first_index.unwrap()), (2, vec![0]));
        assert_eq!(found.predictions.unwrap().flips, 2);
        assert_eq!(found.class, Class::Functional);
    }
}

/// A gate that fails for NaN is told of NaN, also where both sides have it and something else moved further.
#[test]
fn nan_on_both_sides_is_where_its_gate_fails() {
    let nan = f64::NAN;
    let array = |values: &[f64]| npy("<f8", false, &[values.len() as u64], &f64s(values));
    let csv = |values: &[f64]| {
        let rows = values.iter().map(|value| format!("{value}\n"));
        format!("a\n{}", rows.collect::<String>()).into_bytes()
    };
    // Figures of columns are summed 4,096 rows at a time.
    let long = |first: f64, last: f64, end: f64| {
        let mut values = vec![1.0; 10_000];
        (values[0], values[5_000], values[9_000]) = (first, last, end);
        values
    };
    for (base, now, place) in [
        (vec![1.0, nan, 2.0], vec![1.0, nan, 2.5], 1),
        (long(1.0, nan, 1.0), long(1.5, nan, 1.75), 5_000),
        (long(nan, 1.0, 1.0), long(nan, 1.5, 1.0), 0),
        (long(nan, 1.0, 1.0), long(nan, 1.5, nan), 9_000),
    ] {
        let rule = "class = \"numeric\"\nrel_l2 = 1e9";
        let other = found("a.npy", &array(&base), &array(&now), rule);
        assert_eq!(other.class, Class::Divergent);
        assert_eq!(locator(&other), format!("tensor:array[{place}]"));
        let other = found("a.csv", &csv(&base), &csv(&now), rule);
        assert_eq!(other.class, Class::Divergent);
        assert_eq!(locator(&other), format!("row:{},column:a", place + 1));
        assert_eq!(other.first.unwrap().base.unwrap() == "NaN", place != 9_000);
    }
}
