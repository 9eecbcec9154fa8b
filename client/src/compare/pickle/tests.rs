//! Pickles: what is read of them, what is refused, and what is seen in those that Python would run.

#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

fn refusal(content: &[u8]) -> String {
    read(content).unwrap_err().to_string()
}

#[test]
fn data_is_read() {
    // {"a": [1, 2.5], "b": None}
    let pickle = read(b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01G@\x04\x00\x00\x00\x00\x00\x00eX\x01\x00\x00\x00bq\x03Nu.").unwrap();
    let Node::Dict(items) = &pickle.nodes[pickle.top] else {
        panic!("{pickle:?}")
    };
    assert_eq!(pickle.nodes[items[0].0], Node::Text("a".to_owned()));
    assert!(matches!(&pickle.nodes[items[0].1], Node::List(list) if list.len() == 2));
    assert_eq!(pickle.nodes[items[1].1], Node::None);
}

#[test]
fn what_runs_code_is_refused_by_name() {
    let text = refusal(b"cos\nsystem\n(S'rm -rf /'\ntR.");
    assert!(
        text.contains("os.system") && text.contains("DANGEROUS"),
        "{text}"
    );
    let text = refusal(b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.");
    assert!(
        text.contains("builtins.eval") && text.contains("DANGEROUS"),
        "{text}"
    );
    let text = refusal(b"csklearn.linear_model\nLogisticRegression\n)\x81.");
    assert!(
        text.contains("sklearn.linear_model.LogisticRegression"),
        "{text}"
    );
    assert!(!text.contains("DANGEROUS"), "{text}");
}

fn is_seen(content: &[u8]) -> bool {
    let refused = scan(content).refused;
    refused
        .iter()
        .any(|(module, name)| is_dangerous(module, name))
}

/// Python 3.11 loaded each of these, and ran what stands behind it.
#[test]
fn what_python_reaches_is_seen() {
    let evil: &[u8] = b"cbuiltins\neval\n(S'40+2'\ntR.";
    let long = [&b"\x8b\x88\x13\0\0"[..], &[1; 5000], b"0"].concat();
    for before in [
        &b""[..],
        b"(0",
        b"\x80\x05C\x01a\x980",
        b"F1.0\0x\n0",
        b"Np 5\n0",
        b"Np5\0x\n0",
        b"Np1_0\n0",
        b"Np-0\n0",
        b"Np+5\n0g 5\n0",
        b"I 0x10 \n0",
        b"]K\x01aK\x00K\x02s0",
        b"cbuiltins\nbytearray\n)RK\x01a0",
        b"cbuiltins\nset\n)R(K\x01\x900",
        b"N(e0",
        b"N(u0",
        b"NNb0",
        &long,
    ] {
        let content = [before, evil].concat();
        assert!(is_seen(&content), "{before:?}");
        assert!(scan(&content).ended.is_none(), "{before:?}");
    }
    // Many names that are no danger keep this one from being seen no more.
    let many: Vec<u8> = (0..1_500)
        .flat_map(|number| format!("csklearn\nc{number}\n0").into_bytes())
        .collect();
    assert!(!is_seen(&many));
    assert!(is_seen(&[&many[..], evil].concat()));
}

#[test]
fn a_name_that_is_made_when_it_is_loaded_may_be_any() {
    for content in [
        &b"S'\\x62uiltins'\nS'eval'\n\x93(S'40+2'\ntR."[..],
        b"V\\u0062uiltins\nVeval\n\x93(S'40+2'\ntR.",
        b"c_codecs\ndecode\nC\x08builtins\x85RX\x04\0\0\0eval\x93(S'40+2'\ntR.",
        // What a module has imported, and what Python 3 takes for subprocess.
        b"\x80\x04\x8c\x07logging\x8c\x09os.system\x93\x8c\x04true\x85R.",
        b"\x80\x04\x8c\x08tempfile\x8c\x0a_os.system\x93\x8c\x04true\x85R.",
        b"ccommands\ngetoutput\n(S'true'\ntR.",
    ] {
        assert!(is_seen(content), "{content:?}");
        assert!(refusal(content).contains("DANGEROUS"));
    }
    for content in [
        &b"csklearn.svm\nSVC\n)R."[..],
        b"\x80\x04\x8c\x01m\x8c\x0bOuter.Inner\x93)R.",
    ] {
        assert!(!is_seen(content), "{content:?}");
    }
}

#[test]
fn what_is_not_followed_is_no_content() {
    for content in [
        &b"]K\x01aK\x00K\x02s."[..],
        b"cbuiltins\nbytearray\n)RK\x01a.",
    ] {
        assert!(matches!(read(content), Err(Unreadable::Unsupported(_))));
    }
    assert!(read(b"(0N.").is_ok());
}

#[test]
fn what_is_malformed_ends_in_words() {
    for bad in [
        &b""[..],
        b".",
        b"R.",
        b"(.",
        b"]K\x01",
        b"h\x05.",
        b"X\xff\xff\xff\xffa.",
        b"\x8b\xff\xff\xff\x7f.",
        b"K\x01K\x02s.",
        b"(K\x01u.",
        b"\x82\x01.",
        b"a",
    ] {
        assert!(read(bad).is_err(), "{bad:?}");
    }
    // A million lists in lists: no recursion here, and none when it is dropped.
    let mut deep = vec![b']'; 1_000_000];
    deep.extend(vec![b'a'; 999_999]);
    deep.push(b'.');
    read(&deep).unwrap();
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(content: Vec<u8>) {
        let _ = read(&content);
    }

    #[test]
    fn any_opcodes_are_read_or_refused(content in prop::collection::vec(prop::sample::select(
        b"()]}tlduaesR0129Nb.Kq\x85\x86\x87\x94\x93\x81Q\x8c\x01\x00h".to_vec()), 0..200)) {
        let _ = read(&content);
    }
}
