//! What paths or first bytes alone do not tell apart: structures that torch keeps beside tensors, documents.

use super::*;

#[test]
fn structures_that_are_not_the_same_are_not_the_same_content() {
    let file = |pickle: &[u8], year: u16| {
        let pickle = [&b"\x80\x02"[..], pickle, b"."].concat();
        zip(&[("m/data.pkl", pickle.as_slice())], false, year)
    };
    let key = |text: &str| {
        let length = (text.len() as u32).to_le_bytes();
        [&b"X"[..], &length, text.as_bytes()].concat()
    };
    let dict = |key: &[u8], value: &[u8]| [&b"}"[..], key, value, b"s"].concat();
    let five: &[u8] = b"K\x05";
    let one = b"G\x3f\xf0\x00\x00\x00\x00\x00\x00".to_vec();
    let sized = |key_of_list: &str| {
        let size = dict(&key("a"), b"ctorch\nSize\nK\x05\x85\x85R");
        [&size[..], &key(key_of_list)[..], &b"]K\x05as"[..]].concat()
    };
    for (why, base, now) in [
        (
            "an integer as key, and a text",
            dict(b"K\x01", five),
            dict(&key("1"), five),
        ),
        (
            "a list and a tuple",
            b"]K\x05a".to_vec(),
            b"K\x05\x85".to_vec(),
        ),
        ("a list and a set", b"]".to_vec(), b"\x8f".to_vec()),
        ("an integer and a float", b"K\x01".to_vec(), one),
        (
            "a dict with nothing in it, and none",
            dict(&key("a"), b"}"),
            b"}".to_vec(),
        ),
        (
            "a point in a key, and a dict in a dict",
            dict(&key("a.b"), five),
            dict(&key("a"), &dict(&key("b"), five)),
        ),
        (
            "a value, and a dict with it",
            five.to_vec(),
            dict(&key("value"), five),
        ),
        (
            "a dict, and one under a key that is empty",
            dict(&key("a"), five),
            dict(&key(""), &dict(&key("a"), five)),
        ),
        // The characters of a vocabulary, and what is said of structures.
        (
            "a key that is a mark, and its twin",
            dict(&key("#"), five),
            dict(&key("##"), five),
        ),
        (
            "a list under the mark of a state",
            dict(&key("#state"), b"]"),
            dict(&key("##state"), b"]"),
        ),
        ("what a call takes, and a key", sized("a#"), sized("#with")),
        // What is no UTF-8, and what is written in the ways of the first pickles.
        (
            "two texts of another encoding",
            dict(&key("a"), b"X\x04\0\0\0caf\xe9"),
            dict(&key("a"), b"X\x04\0\0\0caf\xe8"),
        ),
        (
            "two lines of another encoding",
            dict(&key("a"), b"Vcaf\xe9\n"),
            dict(&key("a"), b"Vcaf\xe8\n"),
        ),
        (
            "a text with quotes, and one between them",
            dict(&key("a"), b"S\"'b'\"\n"),
            dict(&key("a"), b"S'b'\n"),
        ),
        (
            "an escape, and its letters",
            dict(&key("a"), b"V\\u0062\n"),
            dict(&key("a"), &key("\\u0062")),
        ),
        (
            "two long integers",
            dict(
                &key("a"),
                &[&b"L"[..], &b"1".repeat(1_200)[..], b"1L\n"].concat(),
            ),
            dict(
                &key("a"),
                &[&b"L"[..], &b"1".repeat(1_200)[..], b"2L\n"].concat(),
            ),
        ),
    ] {
        let rule = "class = \"content_exact\"";
        let other = found("m.pt", &file(&base, 1980), &file(&now, 1980), rule);
        assert_eq!(
            (other.class, other.format),
            (Class::Divergent, "torch"),
            "{why}"
        );
        assert!(locator(&other).starts_with("metadata:"), "{why}");
        for side in [&base, &now] {
            let same = found("m.pt", &file(side, 1980), &file(side, 2001), rule);
            assert_eq!(same.class, Class::ContentExact, "{why}: {:?}", same.notes);
        }
    }
}

/// Tensors are the same in another container only if they are all that either of them holds.
#[test]
fn what_else_a_container_says_is_no_content_of_another() {
    let values = f32s(&[1.0, 2.0]);
    let raw = |header: &str, data: &[u8]| {
        let length = (header.len() as u64).to_le_bytes();
        [&length[..], header.as_bytes(), data].concat()
    };
    let noted = raw(
        r#"{"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
        &values,
    );
    let rule = "class = \"content_exact\"";
    let model = onnx(&values, true, "one", "Relu");
    for (base, now) in [(&noted, &model), (&model, &noted)] {
        let other = found("m.onnx", base, now, rule);
        assert_eq!((other.class, other.ok), (Class::Divergent, false));
        assert!(locator(&other).starts_with("metadata:"), "{other:?}");
    }
    let array = npy("<f4", false, &[2], &values);
    let arrays = zip(&[("w.npy", &array)], true, 1980);
    assert_eq!(found("m", &noted, &arrays, rule).class, Class::ContentExact);

    let nothing = raw("{}", b"");
    let file = |pickle: &[u8]| {
        let pickle = [&b"\x80\x02"[..], pickle, b"."].concat();
        zip(&[("m/data.pkl", pickle.as_slice())], false, 1980)
    };
    assert_eq!(
        found("m.pt", &file(b"}"), &nothing, rule).class,
        Class::ContentExact
    );
    for (pickle, place) in [
        (&b"}X\x05\0\0\0epochK\x05s"[..], "metadata:epoch"),
        (b"}X\x01\0\0\0a}s", "metadata:a.#"),
        (b"]K\x05a", "metadata:0"),
        // Values under the names of structures, as far as keys can have these.
        (b"}X\x03\0\0\0a.#K\x05s", "metadata:a.#"),
        (b"}X\x03\0\0\0a.#Ldict of 3\ns", "metadata:a.#"),
        (b"}X\x03\0\0\0a.#X\x09\0\0\0dict of 3s", "metadata:a.#"),
        (b"}X\x06\0\0\0a.#keyX\x07\0\0\0integers", "metadata:a.#key"),
    ] {
        let other = found("m.pt", &file(pickle), &nothing, rule);
        assert_eq!(
            (other.class, locator(&other).as_str()),
            (Class::Divergent, place)
        );
        let other = found("m.pt", &nothing, &file(pickle), rule);
        assert_eq!(other.class, Class::Divergent, "{place}");
    }
}

/// Torch 2 keeps a tensor that was negated or conjugated as it was, and says so behind everything else.
#[test]
fn a_tensor_that_is_kept_negated_is_not_the_plain_one() {
    let values = f32s(&[1.0, 2.0, 3.0, 4.0]);
    let second = |more: &[u8]| {
        let places = [&[2, 2], &[2, 1]];
        torch_file_by(
            "_rebuild_tensor_v2",
            &values,
            "FloatStorage",
            4,
            places,
            more,
        )
    };
    let third = |more: &[u8]| {
        let places = [&[2, 2], &[2, 1]];
        let more = [&b"ctorch\nfloat32\n"[..], more].concat();
        torch_file_by(
            "_rebuild_tensor_v3",
            &values,
            "UntypedStorage",
            16,
            places,
            &more,
        )
    };
    let rule = "class = \"content_exact\"";
    let plain = second(b"");
    for same in [second(b"N"), second(b"}"), third(b""), third(b"}")] {
        let other = found("m.pt", &plain, &same, rule);
        assert_eq!((other.class, other.format), (Class::ContentExact, "torch"));
    }
    for word in ["neg", "conj", "other"] {
        let said = [
            &b"}X"[..],
            &[word.len() as u8, 0, 0, 0],
            word.as_bytes(),
            b"\x88s",
        ]
        .concat();
        for changed in [second(&said), third(&said)] {
            let other = found("m.pt", &plain, &changed, rule);
            assert_eq!(other.class, Class::Divergent, "{word}");
            assert!(other.notes[0].contains("negated"), "{:?}", other.notes);
        }
    }
}

#[test]
fn a_document_that_begins_like_a_model_is_none() {
    let (base, now) = (
        br#"{"version":[1],"id":"1e3"}"#,
        br#"{"version":[1],"id":"1000"}"#,
    );
    let other = found("m.json", base, now, "class = \"numeric\"\nabs = 1.0");
    assert_eq!(
        (other.class, locator(&other).as_str()),
        (Class::Divergent, "pointer:/id")
    );
}

#[test]
fn integers_that_no_64_bits_hold_keep_their_digits() {
    let large = "123456789012345678901";
    let other = "123456789012345678902";
    let divergent = Class::Divergent;
    for (base, now, class) in [
        (
            format!("{{\"id\":{large}}}"),
            format!("{{\"id\":{other}}}"),
            divergent,
        ),
        (
            format!("{{\"id\":{large}}}"),
            format!("{{\"id\":-{large}}}"),
            divergent,
        ),
        // A text of the same digits, and one that is written as if it stood for them.
        (
            format!("{{\"id\":{large}}}"),
            format!("{{\"id\":\"{large}\"}}"),
            divergent,
        ),
        (
            format!("{{\"id\":{large}}}"),
            format!("{{\"id\":\"\u{10ffff}{large}\"}}"),
            divergent,
        ),
        (
            format!("{{\"id\":[0.5,{large}]}}"),
            format!("{{\"id\":[0.5,{other}]}}"),
            divergent,
        ),
        // The state of a generator of numpy's: 128 bits.
        (
            "{\"state\":{\"state\":340282366920938463463374607431768211455,\"inc\":1}}".to_owned(),
            "{\"state\":{\"state\":340282366920938463463374607431768211454,\"inc\":1}}".to_owned(),
            divergent,
        ),
        (
            format!("{{\"id\":{large},\"n\":1}}"),
            format!("{{ \"n\": 1, \"id\" : {large} }}"),
            Class::ContentExact,
        ),
    ] {
        for name in ["a.json", "a.jsonl"] {
            let rule = "class = \"numeric\"\nabs = 1e300\nrel = 1e300";
            let found = found(name, base.as_bytes(), now.as_bytes(), rule);
            assert_eq!(found.class, class, "{name}: {base} {now}");
            if let Some(first) = found.first {
                let shown = first.base.unwrap();
                assert!(shown.chars().all(|c| c.is_ascii_digit()), "{name}: {shown}");
            }
        }
    }
}
