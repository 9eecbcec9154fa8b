//! Whole files of every format: what is found, and that hostile ones end in words.

#![allow(clippy::unwrap_used)]

mod build;
mod hostile;
mod items;
mod names;
mod predictions;
mod structures;
mod tables;

use super::archive::Budget;
use super::bytes::Bytes;
use super::content::{self, Side};
use super::*;
use build::*;
use sealstone_spec::compare::Class;

/// Two files in memory, under one name.
fn found(name: &str, base: &[u8], now: &[u8], rule: &str) -> ArtifactComparison {
    let side = |content: &[u8]| Side {
        bytes: Bytes::of_memory(content.to_vec()),
        name: name.to_owned(),
        directory: None,
    };
    let rule = toml::from_str(rule).unwrap();
    content::compare(&side(base), &side(now), &rule, &mut Budget::default(), 0).unwrap()
}

fn locator(found: &ArtifactComparison) -> String {
    found
        .first
        .as_ref()
        .map(|first| first.locator.to_string())
        .unwrap_or_default()
}

#[test]
fn a_tensor_that_moved_is_found_with_its_worst_element() {
    let base = safetensors(&[
        (
            "coef",
            "F64",
            &[2, 3],
            &f64s(&[1.0, 2.0, 3.0, 4.0, 5.0, 1.25]),
        ),
        ("n", "I64", &[1], &7_i64.to_le_bytes()),
    ]);
    let near = safetensors(&[
        (
            "coef",
            "F64",
            &[2, 3],
            &f64s(&[1.0, 2.0, 3.0, 4.0, 5.0, 1.2500000000000002]),
        ),
        ("n", "I64", &[1], &7_i64.to_le_bytes()),
    ]);
    let same = found("m", &base, &base, "");
    assert_eq!(
        (same.class, same.ok, same.format),
        (Class::BitExact, true, "safetensors")
    );
    assert_eq!(same.counts.unwrap().tensors, 2);
    let numeric = found("m", &base, &near, "class = \"numeric\"");
    assert_eq!((numeric.class, numeric.ok), (Class::Numeric, true));
    assert_eq!(locator(&numeric), "tensor:coef[1,2]");
    let worst = numeric.worst.unwrap();
    assert_eq!(worst.at.as_ref().unwrap().base, "1.25");
    assert_eq!(worst.at.as_ref().unwrap().now, "1.2500000000000002");
    assert_eq!(
        (worst.changed, worst.p99_ulp.unwrap().to_string()),
        (1, "1".to_owned())
    );
    assert_eq!(worst.max_abs.to_string(), "2.220446049250313e-16");
    assert!(!found("m", &base, &near, "").ok, "bit_exact is the default");
    let far = safetensors(&[
        (
            "coef",
            "F64",
            &[2, 3],
            &f64s(&[1.0, -2.0, 3.0, 4.0, 5.0, 1.5]),
        ),
        ("n", "I64", &[1], &8_i64.to_le_bytes()),
    ]);
    let divergent = found("m", &base, &far, "class = \"numeric\"");
    assert_eq!(divergent.class, Class::Divergent);
    assert_eq!(locator(&divergent), "tensor:coef[0,1]");
    let counts = divergent.counts.unwrap();
    assert_eq!(
        (
            counts.tensors_differing,
            counts.elements_changed,
            counts.sign_flips
        ),
        (2, 3, 1)
    );
    assert_eq!(divergent.tensors.len(), 2);
}

#[test]
fn order_and_padding_of_tensors_mean_nothing_and_names_do() {
    let (a, b): (Tensor, Tensor) = (("a", "F32", &[1], &[1; 4]), ("b", "F32", &[1], &[2; 4]));
    let base = safetensors(&[a, b]);
    let other = found(
        "m",
        &base,
        &safetensors(&[b, a]),
        "class = \"content_exact\"",
    );
    assert_eq!((other.class, other.ok), (Class::ContentExact, true));
    assert_eq!(other.stabilizers[0].name, "tensor-container");
    let renamed = found(
        "m",
        &base,
        &safetensors(&[a, ("c", "F32", &[1], &[2; 4])]),
        "class = \"numeric\"",
    );
    assert_eq!(
        (renamed.class, locator(&renamed).as_str()),
        (Class::Divergent, "tensor:b")
    );
    let counts = renamed.counts.unwrap();
    assert_eq!((counts.tensors_missing, counts.tensors_added), (1, 1));
    let shaped = found(
        "m",
        &base,
        &safetensors(&[a, ("b", "F32", &[1, 1], &[2; 4])]),
        "class = \"numeric\"",
    );
    assert_eq!(shaped.first.unwrap().what, "shape");
    let typed = found(
        "m",
        &base,
        &safetensors(&[a, ("b", "I32", &[1], &[2; 4])]),
        "class = \"numeric\"",
    );
    assert_eq!(typed.first.unwrap().what, "type");
}

#[test]
fn nan_never_passes_unless_a_rule_says_so() {
    let base = safetensors(&[("w", "F32", &[2], &f32s(&[f32::NAN, 1.0]))]);
    let same_nan = safetensors(&[("w", "F32", &[2], &f32s(&[f32::NAN, 1.0000001]))]);
    let new_nan = safetensors(&[("w", "F32", &[2], &f32s(&[f32::NAN, f32::NAN]))]);
    let rule = "class = \"numeric\"\nrel_l2 = 1e9";
    assert!(!found("m", &base, &same_nan, rule).ok);
    assert!(found("m", &base, &same_nan, &format!("{rule}\nnan = \"equal\"")).ok);
    let worse = found("m", &base, &new_nan, &format!("{rule}\nnan = \"equal\""));
    assert!(!worse.ok);
    assert_eq!(locator(&worse), "tensor:w[1]");
    assert_eq!(worse.counts.unwrap().now_nan, 2);
}

#[test]
fn blocks_that_are_the_same_enter_the_norm() {
    // Three blocks of 2^20, of which only the last differs, in one element.
    let elements = 3 * (1 << 20) - 5;
    let base = vec![2.0_f32; elements];
    let mut now = base.clone();
    now[elements - 1] = 2.5;
    let shape = [elements as u64];
    let one = safetensors(&[("w", "F32", &shape, &f32s(&base))]);
    let two = safetensors(&[("w", "F32", &shape, &f32s(&now))]);
    let worst = found("m", &one, &two, "").worst.unwrap();
    let expected = 0.5 / (4.0 * elements as f64).sqrt();
    assert!(
        (worst.rel_l2.value() / expected - 1.0).abs() < 1e-12,
        "{}",
        worst.rel_l2
    );
    assert_eq!(worst.scaled_max.to_string(), "0.25");
    assert_eq!(worst.at.unwrap().index, [elements as u64 - 1]);
    assert_eq!(worst.changed, 1);
}

#[test]
fn arrays_are_read_in_both_orders() {
    let rows = npy(
        "<f8",
        false,
        &[2, 3],
        &f64s(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
    );
    let columns = npy("<f8", true, &[2, 3], &f64s(&[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]));
    let big: Vec<u8> = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0_f64]
        .iter()
        .flat_map(|v| v.to_be_bytes())
        .collect();
    let big = npy(">f8", false, &[2, 3], &big);
    for other in [&columns, &big] {
        assert_eq!(found("a.npy", &rows, other, "").class, Class::ContentExact);
    }
    let moved = npy("<f8", true, &[2, 3], &f64s(&[1.0, 4.0, 2.0, 5.0, 9.0, 6.0]));
    for base in [&rows, &columns] {
        let found = found("a.npy", base, &moved, "class = \"numeric\"");
        assert_eq!(locator(&found), "tensor:array[0,2]");
    }
}

#[test]
fn archives_of_arrays_are_sets_of_tensors() {
    let (a, b) = (
        npy("<f4", false, &[2], &f32s(&[1.0, 2.0])),
        npy("<i4", false, &[1], &[1, 0, 0, 0]),
    );
    let stored = zip(&[("a.npy", &a), ("b.npy", &b)], false, 1980);
    let deflated = zip(&[("b.npy", &b), ("a.npy", &a)], true, 2001);
    let same = found("x.npz", &stored, &deflated, "class = \"content_exact\"");
    assert_eq!((same.class, same.format), (Class::ContentExact, "npz"));
    let moved = npy("<f4", false, &[2], &f32s(&[1.0, 2.5]));
    let other = zip(&[("a.npy", &moved), ("b.npy", &b)], true, 1980);
    let found = found("x.npz", &stored, &other, "class = \"numeric\"");
    assert_eq!(
        (found.class, locator(&found).as_str()),
        (Class::Divergent, "tensor:a[1]")
    );
}

#[test]
fn tensors_are_compared_across_containers() {
    let values = f32s(&[1.0, 2.0, 3.0, 4.0]);
    let file = safetensors(&[("w", "F32", &[2, 2], &values)]);
    let torch = torch_file(&values, "FloatStorage", 4, &[2, 2], &[2, 1]);
    let side = |content: &[u8]| Side {
        bytes: Bytes::of_memory(content.to_vec()),
        name: "m".to_owned(),
        directory: None,
    };
    let rule = ArtifactRule::of(Class::ContentExact);
    let found = content::compare(
        &side(&file),
        &side(&torch),
        &rule,
        &mut Budget::default(),
        0,
    )
    .unwrap();
    assert_eq!(found.class, Class::ContentExact, "{found:?}");
}

#[test]
fn torch_files_are_read_without_running_them() {
    let values = f32s(&[1.0, 2.0, 3.0, 4.0]);
    let base = torch_file(&values, "FloatStorage", 4, &[2, 2], &[2, 1]);
    let moved = torch_file(
        &f32s(&[1.0, 2.0, 3.5, 4.0]),
        "FloatStorage",
        4,
        &[2, 2],
        &[2, 1],
    );
    let other = found("m.pt", &base, &moved, "class = \"numeric\"");
    assert_eq!(
        (other.format, locator(&other).as_str()),
        ("torch", "tensor:w[1,0]")
    );
    // The same matrix, stored by columns.
    let turned = torch_file(
        &f32s(&[1.0, 3.0, 2.0, 4.0]),
        "FloatStorage",
        4,
        &[2, 2],
        &[1, 2],
    );
    assert_eq!(found("m.pt", &base, &turned, "").class, Class::ContentExact);
    for bad in [
        torch_file(&values, "FloatStorage", 5, &[2, 2], &[2, 1]),
        torch_file(&values, "FloatStorage", 4, &[2, 3], &[3, 1]),
        torch_file(&values, "FloatStorage", 4, &[2, 2], &[2, 4]),
        torch_file(&values, "StrangeStorage", 4, &[2, 2], &[2, 1]),
    ] {
        let refused = found("m.pt", &base, &bad, "class = \"numeric\"");
        assert_eq!(refused.class, Class::Divergent);
        assert!(
            refused.notes[0].starts_with("compared as bytes"),
            "{:?}",
            refused.notes
        );
    }
    let evil = zip(
        &[("m/data.pkl", b"cos\nsystem\n(S'true'\ntR.")],
        false,
        1980,
    );
    let refused = found("m.pt", &base, &evil, "class = \"numeric\"");
    assert!(
        refused.notes[0].contains("os.system"),
        "{:?}",
        refused.notes
    );
}

#[test]
fn onnx_leaves_out_who_wrote_it() {
    let values = f32s(&[1.0, 2.0]);
    let base = onnx(&values, true, "one", "Relu");
    assert_eq!(
        found("m.onnx", &base, &onnx(&values, false, "two", "Relu"), "").class,
        Class::ContentExact
    );
    let moved = found(
        "m.onnx",
        &base,
        &onnx(&f32s(&[1.0, 3.0]), true, "one", "Relu"),
        "class = \"numeric\"",
    );
    assert_eq!(
        (moved.class, locator(&moved).as_str()),
        (Class::Divergent, "tensor:w[1]")
    );
    let graph = found(
        "m.onnx",
        &base,
        &onnx(&values, true, "one", "Tanh"),
        "class = \"numeric\"",
    );
    assert_eq!(graph.class, Class::Divergent);
    assert!(
        locator(&graph).starts_with("metadata:graph.node[0]"),
        "{}",
        locator(&graph)
    );
}

#[test]
fn gguf_keys_and_tensors_are_told_apart() {
    let base = gguf("llama", &f32s(&[1.0; 32]), 9);
    assert_eq!(found("m.gguf", &base, &base, "").class, Class::BitExact);
    let key = found(
        "m.gguf",
        &base,
        &gguf("other", &f32s(&[1.0; 32]), 9),
        "class = \"numeric\"",
    );
    assert_eq!(
        (key.class, locator(&key).as_str()),
        (Class::Divergent, "metadata:general.architecture")
    );
    let block = found(
        "m.gguf",
        &base,
        &gguf("llama", &f32s(&[1.0; 32]), 8),
        "class = \"numeric\"",
    );
    assert_eq!(
        (block.class, locator(&block).as_str()),
        (Class::Divergent, "tensor:q[0]")
    );
    let mut near = [1.0; 32];
    near[3] = 1.00001;
    let near = found(
        "m.gguf",
        &base,
        &gguf("llama", &f32s(&near), 9),
        "class = \"numeric\"",
    );
    assert_eq!(
        (near.class, locator(&near).as_str()),
        (Class::Numeric, "tensor:f[3]")
    );
}

#[test]
fn tables_tell_a_shuffle_from_a_change() {
    let base = "id,age,name\n1,34.5,ann\n2,51.0,bo\n3,28.0,chi\n";
    let table = |now: &str, rule: &str| found("t.csv", base.as_bytes(), now.as_bytes(), rule);
    let shuffled = table(
        "id,age,name\n3,28.0,chi\n1,34.5,ann\n2,51.0,bo\n",
        "class = \"numeric\"",
    );
    assert_eq!(shuffled.class, Class::Divergent);
    assert!(shuffled.rows.as_ref().unwrap().reordered);
    assert!(
        shuffled
            .notes
            .contains(&"same rows, different order".to_owned())
    );
    assert_eq!(locator(&shuffled), "row:1");
    let changed = table(
        "id,age,name\n1,34.5,ann\n2,51.0,bob\n3,28.0,chi\n",
        "class = \"numeric\"",
    );
    assert_eq!(
        (changed.class, locator(&changed).as_str()),
        (Class::Divergent, "row:2,column:name")
    );
    assert!(!changed.rows.unwrap().reordered);
    let near = table(
        "id,age,name\n1,34.500000000001,ann\n2,51.0,bo\n3,28.0,chi\n",
        "class = \"numeric\"",
    );
    assert_eq!(
        (near.class, locator(&near).as_str()),
        (Class::Numeric, "row:1,column:age")
    );
    let counted = table(
        "id,age,name\n1,34.5,ann\n2,51.0,bo\n4,28.0,chi\n",
        "class = \"numeric\"",
    );
    assert_eq!(
        (counted.class, locator(&counted).as_str()),
        (Class::Divergent, "row:3,column:id")
    );
    let quoted = table(
        "id,age,name\r\n1,3.45e1,\"ann\"\r\n2,51.0,bo\r\n3,28.0,chi\r\n",
        "",
    );
    assert_eq!(quoted.class, Class::ContentExact);
    let short = table(
        "id,age,name\n1,34.5,ann\n2,51.0,bo\n",
        "class = \"numeric\"",
    );
    assert_eq!(
        (short.first.unwrap().what.as_str(), short.class),
        ("missing", Class::Divergent)
    );
    assert_eq!(
        table("id,years,name\n1,34.5,ann\n", "").notes,
        ["the headers differ"]
    );
}

#[test]
fn lines_of_json_are_rows() {
    let base = "{\"id\": 1, \"score\": 0.5}\n{\"id\": 2, \"score\": [1.5, 2.5]}\n";
    let now = "{\"id\": 1, \"score\": 0.5}\n{\"score\": [1.5, 2.75], \"id\": 2}\n";
    let moved = found(
        "p.jsonl",
        base.as_bytes(),
        now.as_bytes(),
        "class = \"numeric\"",
    );
    assert_eq!(
        (moved.class, locator(&moved).as_str()),
        (Class::Divergent, "row:2,column:/score/1")
    );
    assert!(
        found(
            "p.jsonl",
            base.as_bytes(),
            now.as_bytes(),
            "class = \"numeric\"\nabs = 0.25"
        )
        .ok
    );
    let spaced = base.replace(": ", ":");
    assert_eq!(
        found("p.jsonl", base.as_bytes(), spaced.as_bytes(), "").class,
        Class::ContentExact
    );
    let broken = found("p.jsonl", base.as_bytes(), b"{\"id\": 1,, }\n", "");
    assert!(broken.notes[0].contains("line 1"), "{:?}", broken.notes);
    assert_eq!(locator(&broken), "line:1:10");
}

#[test]
fn archives_are_compared_member_by_member() {
    let json = |value: &str| format!("{{\"auc\": {value}}}").into_bytes();
    let (one, two) = (json("0.91"), json("0.92"));
    let base = zip(&[("a/m.json", &one), ("b.txt", b"text")], false, 1980);
    let later = zip(&[("b.txt", b"text"), ("a/m.json", &one)], true, 2020);
    let same = found("x.zip", &base, &later, "class = \"content_exact\"");
    assert_eq!((same.class, same.ok), (Class::ContentExact, true));
    assert!(
        same.stabilizers
            .iter()
            .any(|rule| rule.name == "zip-metadata")
    );
    let moved = found(
        "x.zip",
        &base,
        &zip(&[("a/m.json", &two), ("b.txt", b"text")], true, 1980),
        "",
    );
    assert_eq!(
        (moved.class, locator(&moved).as_str()),
        (Class::Divergent, "member:a/m.json!pointer:/auc")
    );
    let lost = found("x.zip", &base, &zip(&[("a/m.json", &one)], true, 1980), "");
    assert_eq!(locator(&lost), "member:b.txt!file");
    // Figures of a member that passes do not stand beside one that is missing.
    let near = zip(&[("a/m.json", &json("0.910000000001"))], true, 1980);
    let lost = found("x.zip", &base, &near, "class = \"numeric\"");
    assert_eq!(
        (locator(&lost).as_str(), lost.worst, lost.counts),
        ("member:b.txt!file", None, None)
    );
    assert!(lost.tensors.is_empty());

    let tar_one = tar(&[("a.txt", b"one", 1), ("b.txt", b"two", 1)]);
    let tar_two = tar(&[("b.txt", b"two", 999), ("a.txt", b"one", 999)]);
    assert_eq!(
        found("x.tar", &tar_one, &tar_two, "").class,
        Class::ContentExact
    );
    let (gz_one, gz_two) = (gzip(&tar_one, 1), gzip(&tar_two, 2));
    let same = found("x.tar.gz", &gz_one, &gz_two, "");
    assert_eq!((same.class, same.format), (Class::ContentExact, "gzip"));
    let names: Vec<&str> = same.stabilizers.iter().map(|rule| rule.name).collect();
    assert_eq!(names, ["tar-metadata", "gzip-header"]);
    let moved = gzip(&tar(&[("a.txt", b"0ne", 1), ("b.txt", b"two", 1)]), 1);
    assert_eq!(
        locator(&found("x.tar.gz", &gz_one, &moved, "")),
        "member:a.txt!line:1:1"
    );
}

#[test]
fn what_is_not_known_has_an_offset_and_a_window() {
    let base: Vec<u8> = (0..=255).collect();
    let mut now = base.clone();
    now[100] = 0;
    let other = found("x.bin", &base, &now, "");
    assert_eq!(
        (other.class, locator(&other).as_str()),
        (Class::Divergent, "offset:100")
    );
    let first = other.first.unwrap();
    assert!(first.base.unwrap().contains("[64]") && first.now.unwrap().contains("[00]"));
    let cut = found("x.bin", &base, &base[..50], "");
    assert_eq!(
        (locator(&cut).as_str(), cut.first.unwrap().now),
        ("offset:50", None)
    );
    let text = found(
        "x.py",
        b"import os\nprint(1)\n",
        "import os\nprint(2)\n".as_bytes(),
        "",
    );
    assert_eq!((text.format, locator(&text).as_str()), ("text", "line:2:7"));
    assert_eq!(text.first.unwrap().base.unwrap(), "print(1)");
    assert_eq!(found("x", b"", b"", "").class, Class::BitExact);
    assert_eq!(locator(&found("x", b"", b"a", "")), "line:1:1");
}

#[test]
fn directories_are_compared_by_path() {
    let directory = tempfile::tempdir().unwrap();
    let (base, now) = (directory.path().join("base"), directory.path().join("now"));
    for root in [&base, &now] {
        std::fs::create_dir_all(root.join("model")).unwrap();
        std::fs::write(root.join("same.txt"), "same").unwrap();
    }
    std::fs::write(base.join("model/w.json"), "{\"w\": [1.0, 2.0]}").unwrap();
    std::fs::write(now.join("model/w.json"), "{\"w\": [1.0, 2.000000000001]}").unwrap();
    let rule = |path: &str| match path {
        "model/w.json" => ArtifactRule::of(Class::Numeric),
        _ => ArtifactRule::default(),
    };
    let found = compare_tree(&base, &now, &rule).unwrap();
    assert_eq!(
        (found.class, found.ok, found.same),
        (Class::Numeric, true, 1)
    );
    assert_eq!(found.changed[0].path, "model/w.json");
    std::fs::write(now.join("new.txt"), "").unwrap();
    std::fs::remove_file(now.join("same.txt")).unwrap();
    std::os::unix::fs::symlink("../base/same.txt", now.join("same.txt")).unwrap();
    let found = compare_tree(&base, &now, &rule).unwrap();
    assert_eq!(
        (found.class, found.ok, found.added.len()),
        (Class::Divergent, false, 1)
    );
    assert!(
        found.changed.iter().any(|file| file.path == "same.txt"),
        "a link is no file"
    );
    assert!(compare_artifact(&base, &now, &ArtifactRule::default()).is_err());
}

#[test]
fn data_beside_a_model_is_followed_within_its_directory_only() {
    let directory = tempfile::tempdir().unwrap();
    let write = |root: &str, location: &str, data: &[f32]| {
        let root = directory.path().join(root);
        std::fs::create_dir_all(&root).unwrap();
        std::fs::write(root.join("m.data"), f32s(data)).unwrap();
        std::fs::write(root.join("m.onnx"), onnx_external(location)).unwrap();
        root.join("m.onnx")
    };
    let base = write("a", "m.data", &[1.0, 2.0]);
    let now = write("b", "./m.data", &[1.0, 2.5]);
    let rule = ArtifactRule::of(Class::Numeric);
    let found = compare_artifact(&base, &now, &rule).unwrap();
    assert_eq!(
        (found.class, locator(&found).as_str()),
        (Class::Divergent, "tensor:w[1]")
    );
    let outside = write("c", "../a/m.data", &[1.0, 2.0]);
    assert!(compare_artifact(&base, &outside, &rule).unwrap().notes[0].contains("outside"));
    let link = write("d", "link", &[1.0, 2.0]);
    std::os::unix::fs::symlink("../a/m.data", directory.path().join("d/link")).unwrap();
    assert!(compare_artifact(&base, &link, &rule).unwrap().notes[0].contains("outside"));
    // Models that are the same bytes with other data are not the same.
    let moved = write("e", "m.data", &[1.0, 2.5]);
    let found = compare_artifact(&base, &moved, &rule).unwrap();
    assert_eq!(
        (found.class, locator(&found).as_str()),
        (Class::Divergent, "tensor:w[1]")
    );
}
