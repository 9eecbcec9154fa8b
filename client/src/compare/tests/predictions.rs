//! Labels and scores: what agrees, and what no agreement excuses.

use super::*;

fn int64s(values: &[i64]) -> Vec<u8> {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes());
    npy(
        "<i8",
        false,
        &[values.len() as u64],
        &bytes.collect::<Vec<u8>>(),
    )
}

fn doubles(shape: &[u64], values: &[f64]) -> Vec<u8> {
    npy("<f8", false, shape, &f64s(values))
}

fn npz(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let members: Vec<(&str, &[u8])> = members
        .iter()
        .map(|(name, content)| (*name, content.as_slice()))
        .collect();
    zip(&members, false, 1980)
}

#[test]
fn predictions_pass_by_their_labels() {
    let base = npy(
        "<f8",
        false,
        &[3, 2],
        &f64s(&[0.9, 0.1, 0.2, 0.8, 0.6, 0.4]),
    );
    let noisy = npy(
        "<f8",
        false,
        &[3, 2],
        &f64s(&[0.8, 0.2, 0.3, 0.7, 0.7, 0.3]),
    );
    let flipped = npy(
        "<f8",
        false,
        &[3, 2],
        &f64s(&[0.8, 0.2, 0.3, 0.7, 0.4, 0.6]),
    );
    let rule = "class = \"functional\"\nlabel_agreement = 1.0";
    let passed = found("p.npy", &base, &noisy, rule);
    assert_eq!((passed.class, passed.ok), (Class::Functional, true));
    let failed = found("p.npy", &base, &flipped, rule);
    assert_eq!(
        (failed.class, failed.predictions.unwrap().flips),
        (Class::Divergent, 1)
    );
    assert!(
        found(
            "p.npy",
            &base,
            &flipped,
            "class = \"functional\"\nmax_flips = 1"
        )
        .ok
    );
    assert!(
        !found(
            "p.npy",
            &base,
            &noisy,
            "class = \"functional\"\nlabel_agreement = 1.0\nabs = 0.01"
        )
        .ok
    );
    // Near enough as numbers, and a label turns all the same: a demand that is stated holds.
    let wide = "class = \"numeric\"\nabs = 1.0\nmax_flips = 0";
    assert!(!found("p.npy", &base, &flipped, wide).ok);
    assert!(found("p.npy", &base, &noisy, wide).ok);
    let labels = |values: &[i64]| {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        npy("<i8", false, &[values.len() as u64], &bytes)
    };
    let (one, two) = (labels(&[1, 2, 3, 4]), labels(&[1, 2, 3, 5]));
    assert!(
        found(
            "l.npy",
            &one,
            &two,
            "class = \"functional\"\nlabel_agreement = 0.75"
        )
        .ok
    );
    assert!(
        !found(
            "l.npy",
            &one,
            &two,
            "class = \"functional\"\nlabel_agreement = 0.8"
        )
        .ok
    );
    assert!(
        !found(
            "x.txt",
            b"a",
            b"b",
            "class = \"functional\"\nlabel_agreement = 0.1"
        )
        .ok
    );
}

/// Identifiers beside the scores are integers too, and never change.
#[test]
fn every_tensor_of_predictions_agrees_by_itself() {
    let ids: Vec<i64> = (0..900).collect();
    let one_hot = |labels: &[usize]| {
        let mut scores = vec![0.0; labels.len() * 10];
        for (row, label) in labels.iter().enumerate() {
            scores[row * 10 + label] = 1.0;
        }
        doubles(&[labels.len() as u64, 10], &scores)
    };
    let before = [3_usize; 100];
    let mut after = before;
    after[..10].fill(4);
    let file = |labels: &[usize]| {
        npz(&[
            ("ids.npy", int64s(&ids)),
            ("none.npy", int64s(&[])),
            ("scores.npy", one_hot(labels)),
        ])
    };
    let judged = |rule: &str| {
        let rule = format!("class = \"functional\"\n{rule}");
        let found = found("p.npz", &file(&before), &file(&after), &rule);
        let predictions = found.predictions.unwrap();
        assert_eq!((predictions.examples, predictions.flips), (1000, 10));
        assert_eq!(predictions.label_agreement.unwrap().to_string(), "0.9");
        (found.ok, predictions.problem)
    };
    assert_eq!(
        judged("label_agreement = 0.98"),
        (
            false,
            Some("tensor \"scores\": labels agree on 90 of 100 examples, under 0.98".to_owned())
        )
    );
    assert_eq!(judged("label_agreement = 0.9"), (true, None));
    assert_eq!(judged("max_flips = 10"), (true, None));
    assert!(!judged("max_flips = 9").0);
    assert!(judged("topk_overlap = 0.9\ntop_k = 1").0);
    assert!(!judged("topk_overlap = 0.91\ntop_k = 1").0);

    // Two heads, of which one ranks otherwise: that the other does not is no help.
    let heads = |second: &[f64]| {
        let first = doubles(&[3, 2], &[1.0, 0.0, 1.0, 0.0, 1.0, 0.0]);
        npz(&[("a.npy", first), ("b.npy", doubles(&[1, 2], second))])
    };
    let rule = "class = \"functional\"\ntop_k = 1\ntopk_overlap = 0.7";
    let found = found("h.npz", &heads(&[1.0, 0.0]), &heads(&[0.0, 1.0]), rule);
    assert!(!found.ok);
    assert_eq!(
        found.predictions.unwrap().topk_overlap.unwrap().to_string(),
        "0"
    );
}

/// What stands beside the labels is a golden output too, and NaN is within no tolerance.
#[test]
fn labels_that_agree_excuse_nothing_but_the_numbers_they_were_read_from() {
    let agree = "class = \"functional\"\nlabel_agreement = 1.0";
    let rank = "class = \"functional\"\ntopk_overlap = 1.0\ntop_k = 1";
    let class = |base: &[u8], now: &[u8], rule: &str| found("p.npz", base, now, rule).class;
    let labels: Vec<i64> = (0..50).map(|number| number % 3).collect();
    let with = |labels: &[i64], values: &[f64]| {
        npz(&[
            ("labels.npy", int64s(labels)),
            ("prob.npy", doubles(&[50], values)),
        ])
    };
    let base = with(&labels, &[0.5; 50]);
    for (value, due) in [
        (f64::NAN, Class::Divergent),
        (f64::INFINITY, Class::Divergent),
        (0.55, Class::Divergent),
        (0.5 + 1e-12, Class::Numeric),
    ] {
        assert_eq!(class(&base, &with(&labels, &[value; 50]), agree), due);
    }

    // One score of thirty, under the highest of its row.
    let scores = |odd: f64, other: f64| {
        let mut scores = [0.1, 0.2, 0.7].repeat(10);
        (scores[3], scores[7]) = (odd, other);
        npz(&[("scores.npy", doubles(&[10, 3], &scores))])
    };
    let base = scores(0.1, 0.2);
    for rule in [agree, rank] {
        let infinite = scores(f64::NEG_INFINITY, 0.2);
        assert_eq!(class(&base, &infinite, rule), Class::Divergent);
        assert_eq!(class(&infinite, &base, rule), Class::Divergent);
        assert_eq!(class(&base, &scores(0.1, 0.3), rule), Class::Functional);
        // A class that is masked is so on both sides.
        let other = scores(f64::NEG_INFINITY, 0.3);
        assert_eq!(class(&infinite, &other, rule), Class::Functional);
    }

    // A demand on ranks reads no labels.
    let both = |labels: &[i64]| {
        npz(&[
            ("labels.npy", int64s(labels)),
            ("scores.npy", doubles(&[2, 2], &[1.0, 0.0, 0.0, 1.0])),
        ])
    };
    let (base, other) = (both(&[0, 1]), both(&[5, 7]));
    assert_eq!(class(&base, &other, rank), Class::Divergent);
    let few = "class = \"functional\"\nmax_flips = 2";
    assert_eq!(class(&base, &other, few), Class::Functional);
}

/// A column is a tensor: of integers, labels. What is demanded of labels is never passed over.
#[test]
fn demands_on_labels_hold_in_tables() {
    let table = |labels: &[u32], score: f64| {
        let rows = labels
            .iter()
            .enumerate()
            .map(|(row, label)| format!("{row},name,{label},{score}\n"));
        format!("id,text,label,score\n{}", rows.collect::<String>())
    };
    let tabs = |table: String| table.replace(',', "\t");
    let lines = |labels: &[u32], score: f64| {
        let rows = labels.iter().map(|label| {
            format!("{{\"label\": {label}, \"score\": {score}, \"text\": \"name\"}}\n")
        });
        rows.collect::<String>()
    };
    let before = [0; 100];
    let mut after = before;
    after[7] = 3;
    for (name, base, now, near, place) in [
        (
            "p.csv",
            table(&before, 0.5),
            table(&after, 0.5),
            table(&after, 0.5 + 1e-14),
            "row:8,column:label",
        ),
        (
            "p.tsv",
            tabs(table(&before, 0.5)),
            tabs(table(&after, 0.5)),
            tabs(table(&after, 0.5 + 1e-14)),
            "row:8,column:label",
        ),
        (
            "p.jsonl",
            lines(&before, 0.5),
            lines(&after, 0.5),
            lines(&after, 0.5 + 1e-14),
            "row:8,column:/label",
        ),
    ] {
        let judged = |now: &str, rule: &str| found(name, base.as_bytes(), now.as_bytes(), rule);
        // Near enough as numbers, and a label turned.
        let turned = judged(&now, "class = \"numeric\"\nabs = 5.0\nmax_flips = 0");
        assert_eq!(
            (turned.class, turned.ok),
            (Class::Divergent, false),
            "{name}"
        );
        assert_eq!(locator(&turned), place);
        let first = turned.first.unwrap();
        assert_eq!(
            (first.what.as_str(), first.base.unwrap(), first.now.unwrap()),
            ("1 labels differ, over 0", "0".to_owned(), "3".to_owned())
        );
        assert!(judged(&now, "class = \"numeric\"\nabs = 5.0\nmax_flips = 1").ok);
        // Labels that agree stand for the gate of their own column, and for no other.
        for now in [&now, &near] {
            let agree = judged(now, "class = \"functional\"\nlabel_agreement = 0.99");
            assert_eq!((agree.class, agree.ok), (Class::Functional, true), "{name}");
            let few = judged(now, "class = \"functional\"\nlabel_agreement = 0.995");
            assert!(!few.ok, "{name}");
            let problem = few.predictions.unwrap().problem.unwrap();
            assert!(
                problem.ends_with("label\": labels agree on 99 of 100 examples, under 0.995"),
                "{problem}"
            );
        }
        for other in [now.replace("0.5", "0.6"), now.replacen("0.5", "NaN", 1)] {
            let moved = judged(&other, "class = \"functional\"\nlabel_agreement = 0.9");
            assert_eq!(moved.class, Class::Divergent, "{name}");
        }
        let other = now.replacen("name", "nose", 1);
        let other = judged(&other, "class = \"functional\"\nlabel_agreement = 0.9");
        assert_eq!(other.class, Class::Divergent, "{name}");
        // Columns have no ranks.
        let ranked = judged(&now, "class = \"functional\"\ntopk_overlap = 0.1");
        assert_eq!(ranked.class, Class::Divergent, "{name}");
    }
    // The same content in other digits: nothing is demanded of it.
    let rule = "class = \"functional\"\nlabel_agreement = 0.99";
    let same = found("p.csv", b"score\n1.50\n", b"score\n1.5\n", rule);
    assert_eq!((same.class, same.ok), (Class::ContentExact, true));
    assert_eq!(same.predictions.and_then(|found| found.problem), None);
    // Nothing in it is a label, and nothing says that it is as good.
    for rule in ["label_agreement = 0.1", "max_flips = 9"] {
        let rule = format!("class = \"numeric\"\nabs = 5.0\n{rule}");
        let none = found("p.csv", b"score\n0.5\n", b"score\n0.6\n", &rule);
        assert_eq!(none.class, Class::Divergent);
        assert_eq!(
            none.predictions.unwrap().problem.unwrap(),
            "there are no predictions to compare"
        );
    }
}

/// Labels that turn in several members of an archive are as many as in several arrays of one file.
#[test]
fn flips_are_summed_over_the_members_of_an_archive() {
    let labels = |turned: usize| {
        let mut labels = [1_i64; 100];
        labels[..turned].fill(2);
        int64s(&labels)
    };
    let arrays = |turned| [("a.npy", labels(turned)), ("b.npy", labels(turned))];
    let archive = |turned: usize, year: u16| {
        let (a, b) = (labels(turned), labels(turned));
        zip(
            &[("README.txt", b"text"), ("a.npy", &a), ("b.npy", &b)],
            false,
            year,
        )
    };
    let tape = |turned: usize| {
        let (a, b) = (labels(turned), labels(turned));
        tar(&[
            ("README.txt", b"text", 1),
            ("a.npy", &a, 1),
            ("b.npy", &b, 1),
        ])
    };
    let nested = |turned: usize| {
        let (inner, b) = (archive(turned, 1980), labels(0));
        zip(&[("b.npy", &b), ("inner.zip", &inner)], false, 1980)
    };
    for (name, base, now, place) in [
        ("p.npz", npz(&arrays(0)), npz(&arrays(10)), "tensor:a[0]"),
        ("p.npz", archive(0, 1980), archive(10, 1980), "file"),
        ("p.zip", archive(0, 1980), archive(10, 1980), "file"),
        ("p.tar", tape(0), tape(10), "file"),
        ("p.tar.gz", gzip(&tape(0), 1), gzip(&tape(10), 1), "file"),
        ("p.zip", nested(0), nested(10), "member:inner.zip!file"),
    ] {
        let judged = |most: u64| {
            let rule = format!("class = \"functional\"\nmax_flips = {most}");
            found(name, &base, &now, &rule)
        };
        for (most, due) in [
            (9, Class::Divergent),
            (10, Class::Divergent),
            (19, Class::Divergent),
            (20, Class::Functional),
        ] {
            let other = judged(most);
            assert_eq!(other.class, due, "{name} {most}");
            assert_eq!(other.predictions.unwrap().flips, 20, "{name}");
        }
        let other = judged(19);
        assert_eq!(locator(&other), place, "{name}");
        assert_eq!(other.first.unwrap().what, "20 labels differ, over 19");
        let problem = other.predictions.unwrap().problem.unwrap();
        assert!(problem.ends_with("20 labels differ, over 19"), "{problem}");
    }
    // What has no labels and the same content fails no demand on them.
    let (base, later) = (archive(0, 1980), archive(0, 2001));
    let same = found("p.zip", &base, &later, "max_flips = 0");
    assert_eq!((same.class, same.predictions), (Class::ContentExact, None));
}

/// A row of a document is no tensor of labels: what stands beside a label in it cannot make up for it.
#[test]
fn lists_of_lists_are_tables_of_predictions() {
    let written = |rows: &[Vec<f64>], digits: &dyn Fn(f64) -> String| {
        let row = |row: &Vec<f64>| {
            let cells: Vec<String> = row.iter().map(|cell| digits(*cell)).collect();
            format!("[{}]", cells.join(","))
        };
        let rows: Vec<String> = rows.iter().map(row).collect();
        format!("{{\"rows\":[{}]}}", rows.join(","))
    };
    // Integers as they are, and fractions with a point also where they are whole.
    let plain = |rows: &[Vec<f64>]| written(rows, &|cell| cell.to_string());
    let points = |rows: &[Vec<f64>]| written(rows, &|cell| format!("{cell:?}"));
    let judged = |base: &str, now: &str, rule: &str| {
        let rule = format!("class = \"functional\"\n{rule}");
        let found = found("p.json", base.as_bytes(), now.as_bytes(), &rule);
        let problem = found.predictions.as_ref().unwrap().problem.clone();
        (found.class, locator(&found), problem.unwrap_or_default())
    };
    let (functional, divergent) = (Class::Functional, Class::Divergent);

    // Ninety-nine integers that never change, and a label that does.
    let rows = |turned: usize, odd: usize| -> Vec<Vec<f64>> {
        let row = |row: usize| {
            let mut cells = vec![7.0; 99 + odd * (row % 2)];
            cells.push(f64::from(u8::from(row < turned)));
            cells
        };
        (0..200).map(row).collect()
    };
    let agree = "label_agreement = 0.95";
    let (base, all) = (plain(&rows(0, 0)), plain(&rows(200, 0)));
    assert_eq!(
        judged(&base, &all, agree),
        (
            divergent,
            "pointer:/rows/0/99".to_owned(),
            "column 99 of \"/rows\": labels agree on 0 of 200 examples, under 0.95".to_owned()
        )
    );
    assert_eq!(judged(&base, &plain(&rows(10, 0)), agree).0, functional);
    assert_eq!(judged(&base, &plain(&rows(11, 0)), agree).0, divergent);
    for (most, due) in [(9, divergent), (10, Class::Numeric)] {
        let rule = format!("abs = 1.0\nmax_flips = {most}");
        assert_eq!(judged(&base, &plain(&rows(10, 0)), &rule).0, due);
    }
    // Lists that are not equally long are no table, and are read as nothing else.
    let (base, all) = (plain(&rows(0, 1)), plain(&rows(200, 1)));
    let (class, _, problem) = judged(&base, &all, agree);
    assert_eq!(
        (class, problem.as_str()),
        (divergent, "there are no predictions to compare")
    );

    // One list of integers alone, as of one prompt: the labels that it would be without the other list around it.
    let tokens = |turned: usize, count: usize| -> Vec<Vec<f64>> {
        let token = |place: usize| f64::from(u8::from(place < turned));
        vec![(0..1000).map(token).collect(); count]
    };
    let (base, now) = (plain(&tokens(0, 1)), plain(&tokens(50, 1)));
    assert_eq!(judged(&base, &now, agree).0, functional);
    assert_eq!(
        judged(&base, &plain(&tokens(51, 1)), agree),
        (
            divergent,
            "pointer:/rows/0/0".to_owned(),
            "tensor \"/rows/0\": labels agree on 949 of 1000 examples, under 0.95".to_owned()
        )
    );
    assert_eq!(judged(&base, &now, "max_flips = 49").0, divergent);
    // Of two, each place is a column; and one list with a fraction in it is a row of scores.
    let (base, now) = (plain(&tokens(0, 2)), plain(&tokens(1, 2)));
    let (class, place, problem) = judged(&base, &now, agree);
    assert_eq!((class, place.as_str()), (divergent, "pointer:/rows/0/0"));
    assert!(problem.starts_with("column 0 of \"/rows\": labels agree on 0 of 2"));
    let row = |high: f64| plain(&[vec![0.5, high, 0.125]]);
    let (class, _, problem) = judged(&row(0.75), &row(0.25), agree);
    assert_eq!(class, divergent);
    assert!(problem.starts_with("tensor \"/rows\": labels agree on 0 of 1"));

    // One label in each list is one of a thousand, and not one of one.
    let labels = |turned: usize| -> Vec<Vec<f64>> {
        let row = |row: usize| vec![f64::from(u8::from(row == turned))];
        (0..1000).map(row).collect()
    };
    let (base, now) = (plain(&labels(1000)), plain(&labels(3)));
    assert_eq!(judged(&base, &now, agree).0, functional);
    let (class, place, _) = judged(&base, &now, "label_agreement = 0.9995");
    assert_eq!((class, place.as_str()), (divergent, "pointer:/rows/3/0"));

    // Rows of scores have labels and ranks; an identifier before them is none of them.
    let scores = |turned: usize, id: Option<f64>| -> Vec<Vec<f64>> {
        let row = |row: usize| -> Vec<f64> {
            let high = if row < turned { 0.25 } else { 0.75 };
            id.into_iter().chain([0.5, high, 0.0]).collect()
        };
        (0..20).map(row).collect()
    };
    for id in [None, Some(1000.0)] {
        let text = |turned: usize| match id {
            None => points(&scores(turned, id)),
            Some(_) => plain(&scores(turned, id)),
        };
        let (base, now) = (text(0), text(1));
        assert_eq!(judged(&base, &now, agree).0, functional, "{id:?}");
        assert_eq!(
            judged(&base, &now, "label_agreement = 0.96"),
            (
                divergent,
                "pointer:/rows/0".to_owned(),
                "tensor \"/rows\": labels agree on 19 of 20 examples, under 0.96".to_owned()
            )
        );
        let ranked = |least: &str| judged(&base, &now, &format!("top_k = 1\n{least}")).0;
        // What is demanded of ranks reads no labels, and no gate but that of scores is left out for it.
        let due = if id.is_none() { functional } else { divergent };
        assert_eq!(ranked("topk_overlap = 0.95"), due, "{id:?}");
        assert_eq!(ranked("topk_overlap = 0.96"), divergent, "{id:?}");
    }
}
