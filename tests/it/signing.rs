//! `sealstone sign` and the keys it signs with: in which order it writes, and how it asks for a passphrase.

use crate::model_desk::{Desk, at};
use crate::terminal::{self, Terminal};
use sealstone_tests::registry::Setup;
use sealstone_tests::skips;
use serde_json::json;

/// Whoever sees the tag of older tools finds everything else that this signature came with.
#[tokio::test(flavor = "multi_thread")]
async fn a_signature_is_attached_before_its_tag_names_it() {
    let desk = Desk::new();
    let registry = Setup::default().start().await.unwrap();
    let here = at(&registry, "models/m:1.0.0");
    let pushed = desk
        .run_at(&registry, &["push", "oci:bundle:1.0.0", &here])
        .expect(0);
    let digest = pushed.json["digest"].clone();
    let before = crate::log::logged(&registry).await;
    let is_release = |entry: &&serde_json::Value| entry["op"] == "release";
    let release = before.iter().find(is_release).unwrap();
    assert_eq!(release["digest"], digest);

    let signed = desk
        .run_at(&registry, &["sign", &here, "--key", "alice.key"])
        .expect(0);
    let after = crate::log::logged(&registry).await;
    assert_eq!(after[..before.len()], before);
    let added = &after[before.len()..];
    let place = |field: &str, value: &serde_json::Value| {
        let mut found = (0..added.len()).filter(|index| added[*index][field] == *value);
        let only = (found.next(), found.next());
        let (Some(index), None) = only else {
            panic!("{field} {value}: {only:?} in {added:#?}")
        };
        index
    };
    let tag = place("tag", &signed.json["legacyTag"]);
    assert_eq!(added[tag]["op"], "tag");
    let mut attached = 0;
    for list in ["signatures", "modelSignatures"] {
        for row in signed.json[list].as_array().unwrap() {
            let index = place("statement", &row["referrer"]);
            let entry = &added[index];
            assert_eq!(
                (&entry["op"], &entry["digest"]),
                (&json!("attach"), &digest)
            );
            assert!(index < tag, "{added:#?}");
            attached += 1;
        }
    }
    // By both keys of the pair, and the model signature; and the tag is the end.
    assert_eq!((attached, tag), (3, added.len() - 1), "{added:#?}");
}

const PASSPHRASE: &str = "correct horse battery staple";

#[test]
fn a_passphrase_is_asked_for_on_the_terminal_and_not_shown() {
    if !terminal::is_possible() {
        return skips::not_installed("script (util-linux)");
    }
    let desk = Desk::new();
    let directory = desk.path("");
    let keygen = |again: &str| {
        let mut terminal = Terminal::start(&directory, "keygen --out typed");
        terminal.answer("New passphrase for typed.key: ", PASSPHRASE);
        terminal.answer("The same again: ", again);
        terminal
    };
    let shown = keygen("correct horse battery stable").expect(2);
    assert!(shown.contains("the two passphrases differ"), "{shown}");
    assert!(!shown.contains("horse"), "{shown}");
    for name in ["typed.key", "typed.pub", "typed-p256.key"] {
        assert!(!desk.path(name).exists(), "{name}");
    }
    let shown = keygen(PASSPHRASE).expect(0);
    assert!(shown.contains("\"locked\":true"), "{shown}");
    assert!(!shown.contains("horse"), "{shown}");

    // Both keys of the pair have it, and it is asked for once.
    let sign = |passphrase: &str| {
        let mut terminal = Terminal::start(&directory, "sign oci:bundle:1.0.0 --key typed.key");
        terminal.answer("Passphrase of typed.key: ", passphrase);
        terminal
    };
    let verify = ["verify", "oci:bundle:1.0.0", "--key", "typed.pub"];
    let shown = sign("something else").expect(3);
    assert!(shown.contains("does not open key"), "{shown}");
    desk.run(&verify).expect(3);
    // Where there is no terminal, nobody is waited for.
    desk.run(&["sign", "oci:bundle:1.0.0", "--key", "typed.key"])
        .expect(2)
        .says("there is no terminal to ask on");
    let shown = sign(PASSPHRASE).expect(0);
    assert_eq!(shown.matches("Passphrase of ").count(), 1, "{shown}");
    assert!(!shown.contains("horse"), "{shown}");
    desk.run(&verify).expect(0);
}
