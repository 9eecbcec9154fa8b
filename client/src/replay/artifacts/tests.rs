//! Which place a report names of a file that differs.

#![allow(clippy::unwrap_used)]
use super::*;
use crate::compare::compare_artifact;

/// What a report says of a file of this name that was `base` and is `now`, and where it says that a stage differs.
fn told(name: &str, base: &[u8], now: &[u8], rule: &str) -> (ArtifactRow, First, Vec<Clue>) {
    let directory = tempfile::tempdir().unwrap();
    let write = |side: &str, content: &[u8]| {
        let folder = directory.path().join(side);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join(name), content).unwrap();
        folder.join(name)
    };
    let rule: ArtifactRule = toml::from_str(rule).unwrap();
    let comparison = compare_artifact(&write("base", base), &write("now", now), &rule).unwrap();
    let mut row = ArtifactRow {
        path: name.to_owned(),
        role: None,
        base: None,
        now: None,
        class: None,
        required: rule.class,
        ok: false,
        detail: None,
    };
    let mut compared = Compared::default();
    compared.take(&mut row, &comparison, &rule);
    let first = compared.first.unwrap();
    assert_eq!(first.locator, row.detail.as_ref().unwrap().first);
    (row, first, compared.clues)
}

fn place(name: &str, base: &str, now: &str) -> String {
    let (_, first, _) = told(name, base.as_bytes(), now.as_bytes(), "class = \"numeric\"");
    first.locator.unwrap()
}

/// A file of safetensors with doubles in it.
fn doubles(tensors: &[(&str, &[u64], &[f64])]) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape, values) in tensors {
        let from = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let entry =
            serde_json::json!({"dtype": "F64", "shape": shape, "data_offsets": [from, data.len()]});
        header.insert((*name).to_owned(), entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let size = (header.len() as u64).to_le_bytes();
    [&size[..], &header[..], &data[..]].concat()
}

fn zipped(members: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in members {
        let options = zip::write::SimpleFileOptions::default();
        writer.start_file(*name, options).unwrap();
        std::io::Write::write_all(&mut writer, content.as_bytes()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// What rounding moved is within its gate; what failed beside it is what has to be named.
#[test]
fn a_tolerated_difference_is_not_told_for_the_one_that_failed() {
    const NEAR: f64 = 0.5 + 1e-12;
    let weights = |first: f64, bias: &[u64]| {
        doubles(&[
            ("w", &[3], &[first, 0.25, 1.0]),
            ("bias", bias, &[1.0, 2.0]),
        ])
    };
    let json = |loss: f64, name: &str| format!("{{\"loss\":{loss},\"name\":\"{name}\"}}");
    let archive = |loss: f64, others: &[(&str, &str)]| {
        let text = json(loss, "alpha");
        zipped(&[&[("a.json", text.as_str())][..], others].concat())
    };
    let table = |score: f64, name: &str| format!("name,score\n{name},{score}\n");
    for (name, base, now, due, observed) in [
        (
            "c.safetensors",
            weights(0.5, &[2]),
            weights(NEAR, &[2, 1]),
            ("tensor:bias", Some("f64 [2]"), Some("f64 [2, 1]")),
            "shape",
        ),
        (
            "a.json",
            json(0.5, "alpha").into_bytes(),
            json(NEAR, "beta").into_bytes(),
            ("pointer:/name", Some("\"alpha\""), Some("\"beta\"")),
            "metadata",
        ),
        (
            "b.zip",
            archive(0.5, &[("b.txt", "text")]),
            archive(NEAR, &[]),
            ("member:b.txt!file", Some("file"), None),
            "missing",
        ),
        (
            "b.zip",
            archive(0.5, &[]),
            archive(NEAR, &[("b.txt", "text")]),
            ("member:b.txt!file", None, Some("file")),
            "added",
        ),
        (
            "t.csv",
            table(0.5, "alpha").into_bytes(),
            table(NEAR, "beta").into_bytes(),
            ("row:1,column:name", Some("alpha"), Some("beta")),
            "value",
        ),
    ] {
        let (row, first, clues) = told(name, &base, &now, "class = \"numeric\"");
        assert!(!row.ok, "{name}");
        assert_eq!(
            (
                first.locator.as_deref().unwrap(),
                first.base.as_deref(),
                first.now.as_deref()
            ),
            due,
            "{name}"
        );
        let detail = row.detail.unwrap();
        assert_eq!(detail.observed.as_deref(), Some(observed), "{name}");
        assert!(!clues.contains(&Clue::Rounding), "{name}");
    }
    // Where nothing else differs, rounding is told.
    let (row, first, clues) = told(
        "c.safetensors",
        &weights(0.5, &[2]),
        &weights(NEAR, &[2]),
        "class = \"numeric\"",
    );
    assert!(row.ok && clues.contains(&Clue::Rounding));
    assert_eq!(first.locator.unwrap(), "tensor:w[0]");
    assert!(row.detail.unwrap().observed.unwrap().starts_with("rel_l2 "));
}

#[test]
fn a_label_that_turned_is_told_and_not_the_score_that_moved_most() {
    let scores = |moved: f64, turned: f64| {
        let values = [1.0, moved, 0.5, turned, 1.0, 0.0];
        doubles(&[("scores", &[3, 2], &values)])
    };
    let rule = "class = \"functional\"\nlabel_agreement = 1.0";
    let (row, first, _) = told("s.safetensors", &scores(0.0, 0.4), &scores(0.9, 0.6), rule);
    assert!(!row.ok);
    assert_eq!(first.locator.as_deref(), Some("tensor:scores[1]"));
    assert_eq!(first.base.as_deref(), Some("label 0"));
    assert_eq!(first.now.as_deref(), Some("label 1"));
    assert_eq!(
        row.detail.unwrap().observed.as_deref(),
        Some("labels agree on 2 of 3 examples, under 1")
    );
}

/// What a demand on labels fails for want of is told, and not what rounding moved beside it.
#[test]
fn a_demand_with_nothing_to_judge_is_told_of_the_whole_file() {
    let scores = |value: f64| doubles(&[("scores", &[2], &[0.25, value])]);
    let rows = |value: f64| doubles(&[("scores", &[2, 2], &[0.25, value, 0.5, 0.75])]);
    let ids = |value: f64| format!("id,score\n1,{value}\n").into_bytes();
    let near = 0.5 + 1e-14;
    let (none, unranked) = (
        "there are no predictions to compare",
        "there are no scores to rank",
    );
    for (name, base, now, rule, observed) in [
        (
            "s.safetensors",
            scores(0.5),
            scores(near),
            "label_agreement = 0.9",
            none,
        ),
        (
            "s.safetensors",
            scores(0.5),
            scores(0.9),
            "max_flips = 1\nabs = 1.0",
            none,
        ),
        (
            "s.json",
            b"{\"a\":0.5}".to_vec(),
            b"{\"a\":0.6}".to_vec(),
            "max_flips = 1\nabs = 1.0",
            none,
        ),
        (
            "s.csv",
            b"a\n0.5\n".to_vec(),
            b"a\n0.6\n".to_vec(),
            "max_flips = 1\nabs = 1.0",
            none,
        ),
        ("s.csv", ids(0.5), ids(near), "topk_overlap = 0.1", unranked),
    ] {
        let rule = format!("class = \"functional\"\n{rule}");
        let (row, first, clues) = told(name, &base, &now, &rule);
        assert!(!row.ok, "{name}");
        assert_eq!(first.locator.as_deref(), Some("file"), "{name}");
        assert_eq!((first.base, first.now), (None, None), "{name}");
        assert_eq!(
            row.detail.unwrap().observed.as_deref(),
            Some(observed),
            "{name}"
        );
        assert!(!clues.contains(&Clue::Rounding), "{name}");
    }
    // Beside a gate that failed it is the gate that is told; and scores that are there are judged.
    let rule = "class = \"functional\"\nlabel_agreement = 0.9";
    let (_, first, _) = told("s.safetensors", &scores(0.5), &scores(0.9), rule);
    assert_eq!(first.locator.as_deref(), Some("tensor:scores[1]"));
    let (row, ..) = told("s.safetensors", &rows(0.5), &rows(near), rule);
    assert!(row.ok);
}

#[test]
fn a_place_is_told_in_the_words_of_its_format() {
    let table = "name,score\na,0.25\nb,0.5\n";
    for (name, base, now, due) in [
        (
            "a.csv",
            table,
            "name,score\na,0.25\nb,0.625\n",
            "row:2,column:score",
        ),
        (
            "a.csv",
            table,
            "name,score\nz,0.25\nb,0.625\n",
            "row:1,column:name",
        ),
        ("a.csv", table, "name,score\nb,0.5\na,0.25\n", "row:1"),
        (
            "a.jsonl",
            "{\"loss\":0.5}\n{\"loss\":0.25}\n",
            "{\"loss\":0.5}\n{\"loss\":0.375}\n",
            "row:2,column:/loss",
        ),
        (
            "a.json",
            "{\"loss\":[0.5,0.25]}",
            "{\"loss\":[0.5,0.375]}",
            "pointer:/loss/1",
        ),
    ] {
        assert_eq!(place(name, base, now), due, "{name}");
    }
}
