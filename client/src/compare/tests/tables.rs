//! Tables: which cells are one column, and which are the same.

use super::*;
use std::fmt::Write as _;

fn table(base: &str, now: &str, rule: &str) -> ArtifactComparison {
    found("t.csv", base.as_bytes(), now.as_bytes(), rule)
}

/// Each column has a gate of its own: beside 10,000 numbers of rows, small numbers that moved would be nothing.
#[test]
fn columns_that_share_a_name_share_no_gate() {
    // What pandas writes of an array: no name over its index, and a column named "1".
    let written = |scale: [f64; 3]| {
        let mut text = ",0,1,2\n".to_owned();
        for row in 0..10_000 {
            let cell = |column: usize| (0.01 + f64::from(row) * 1e-7) * scale[column];
            writeln!(text, "{row},{},{},{}", cell(0), cell(1), cell(2)).unwrap();
        }
        text
    };
    let base = written([1.0; 3]);
    for column in 0..3 {
        let mut scale = [1.0; 3];
        scale[column] += 1e-5;
        let moved = table(&base, &written(scale), "class = \"numeric\"");
        assert_eq!((moved.class, moved.ok), (Class::Divergent, false));
        assert_eq!(moved.tensors.len(), 1);
        assert_eq!(moved.tensors[0].tensor, column.to_string());
        assert_eq!(moved.counts.unwrap().tensors, 4);
    }
    // Another index is another table, however far the rows below it lie apart.
    let index = base.replace("\n3,", "\n4,");
    assert_eq!(
        locator(&table(&base, &index, "class = \"numeric\"")),
        "row:4,column:#1"
    );
    // A table without a header, whose first values repeat.
    let first = "0.5,0.5\n1000000.0,4.0\n1000000.0,1e-3\n";
    let moved = table(
        first,
        &first.replace("1e-3", "1.1e-3"),
        "class = \"numeric\"",
    );
    assert_eq!(
        (moved.class, locator(&moved).as_str()),
        (Class::Divergent, "row:2,column:0.5#2")
    );
    // Integers stay exact beside fractions of the same name, and cells beyond the header have columns of their own.
    let first = "n,n\n1000000000000,0.5\n";
    let counted = table(first, "n,n\n1000000000001,0.5\n", "class = \"numeric\"");
    assert_eq!(
        (counted.class, locator(&counted).as_str()),
        (Class::Divergent, "row:1,column:n#1")
    );
    let long = "3,a\n1000000000.5,x,0.5\n";
    let moved = table(long, &long.replace(",0.5", ",0.6"), "class = \"numeric\"");
    assert_eq!(
        (moved.class, locator(&moved).as_str()),
        (Class::Divergent, "row:1,column:#3")
    );
}

#[test]
fn a_list_in_a_line_is_no_object_with_its_places_as_keys() {
    let lines = |base: &str, now: &str| {
        let rule = "class = \"numeric\"\nabs = 1.0";
        found("p.jsonl", base.as_bytes(), now.as_bytes(), rule)
    };
    for (base, now, place, shown) in [
        (
            r#"{"p": [0.5]}"#,
            r#"{"p": {"0": 0.5}}"#,
            "row:1,column:/p",
            ["array", "object"],
        ),
        (
            "[0.5]",
            r#"{"0": 0.5}"#,
            "row:1,column:",
            ["array", "object"],
        ),
        (
            r#"{"p": [[1], 2]}"#,
            r#"{"p": [{"0": 1}, 2]}"#,
            "row:1,column:/p/0",
            ["array", "object"],
        ),
        (
            r#"{"p": []}"#,
            r#"{"p": [1]}"#,
            "row:1,column:/p",
            ["[]", "array"],
        ),
        (
            r#"{"p": "array"}"#,
            r#"{"p": ["x"]}"#,
            "row:1,column:/p",
            ["\"array\"", "array"],
        ),
        (
            r#"{"p": [1]}"#,
            r#"{"p": [1, 2]}"#,
            "row:1,column:/p/1",
            ["1 cells", "2 cells"],
        ),
    ] {
        let other = lines(base, now);
        assert_eq!(
            (other.class, locator(&other).as_str()),
            (Class::Divergent, place),
            "{base} {now}"
        );
        let first = other.first.unwrap();
        assert_eq!([first.base.unwrap(), first.now.unwrap()], shown, "{base}");
    }
    assert_eq!(
        lines(r#"{"p": [[1], {"a": 2.0}]}"#, r#"{"p":[[1],{"a":2}]}"#).class,
        Class::ContentExact
    );
}

/// A zero of another sign is another number, as it is in a file of numpy's; what is no number is text.
#[test]
fn the_same_content_is_the_same_numbers() {
    for (name, base, now, class) in [
        ("t.csv", "a\n0.0\n", "a\n-0.0\n", Class::Numeric),
        ("t.csv", "a\n0\n", "a\n-0\n", Class::Numeric),
        ("t.csv", "a\n-0\n", "a\n-0.0\n", Class::ContentExact),
        ("t.csv", "a\nnan\n", "a\nNaN\n", Class::ContentExact),
        ("t.csv", "a\n491234\n", "a\n+491234\n", Class::Divergent),
        ("t.csv", "a\n-7\n", "a\n-007\n", Class::Divergent),
        (
            "t.csv",
            "a\n1152921504606846977\n",
            "a\n1152921504606846976.0\n",
            Class::Divergent,
        ),
        ("p.jsonl", "{\"a\": 0.0}", "{\"a\": -0.0}", Class::Numeric),
        ("p.jsonl", "{\"a\": 0}", "{\"a\": -0}", Class::Numeric),
        ("p.jsonl", "{\"a\": 1}", "{\"a\": 1.0}", Class::ContentExact),
    ] {
        let other = found(name, base.as_bytes(), now.as_bytes(), "abs = 1e300");
        assert_eq!(other.class, class, "{base} {now}");
        let differing = other.counts.unwrap().tensors_differing;
        assert_eq!(differing, u64::from(class == Class::Numeric), "{base}");
    }
}
