//! A tag and three words that do not belong together: refused by every command that takes both, before it does anything.
//!
//! Owns: that a wrong pair leaves nothing behind. How names are made and compared is `spec/src/words.rs`.

use crate::content::get;
use crate::model_desk::{Desk, at};
use sealstone_tests::registry::{Setup, TestRegistry};
use std::fs;

/// Everything that a registry says of a bundle: its tags, and what refers to it.
async fn said(registry: &TestRegistry, digest: &str) -> [Vec<u8>; 2] {
    let ask = async |path: &str| {
        let answer = get(registry, &registry.admin, path).await;
        answer.expect(200).body
    };
    [
        ask("/v2/a/m/tags/list").await,
        ask(&format!("/v2/a/m/referrers/{digest}")).await,
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_pair_of_tag_and_three_words_is_refused() {
    let registry = Setup::default().start().await.unwrap();
    let desk = Desk::new();
    let pushed = desk.run_at(
        &registry,
        &["push", "oci:bundle:1.0.0", &at(&registry, "a/m")],
    );
    let pushed = pushed.expect(0).json;
    let (digest, name) = (
        pushed["digest"].as_str().unwrap(),
        pushed["name"].as_str().unwrap(),
    );
    let place = at(&registry, &format!("a/m@{digest}"));
    desk.run_at(&registry, &["sign", &place, "--key", "alice.key"])
        .expect(0);

    // The name of a bundle that is there as well, signed by the same person.
    fs::write(desk.path("model/config.json"), b"{\"layers\": 2}").unwrap();
    desk.run(&["pack", "model", "-o", "other:1.0.0"]).expect(0);
    let other = at(&registry, "a/m");
    let other = desk.run_at(&registry, &["push", "oci:other:1.0.0", &other]);
    let other = other.expect(0).json;
    let wrong = other["name"].as_str().unwrap();
    let other = at(
        &registry,
        &format!("a/m@{}", other["digest"].as_str().unwrap()),
    );
    desk.run_at(&registry, &["sign", &other, "--key", "alice.key"])
        .expect(0);
    assert_ne!(name, wrong);

    fs::write(desk.path("checked.json"), b"{}").unwrap();
    let attest = [
        "--type",
        "https://example.com/checked/v1",
        "--predicate",
        "checked.json",
        "--key",
        "alice.key",
    ];
    let commands: [(&str, &[&str]); 7] = [
        ("pull", &["--key", "alice.pub", "-o", "pulled"]),
        ("pull", &["--key", "alice.pub", "--oci", "carried"]),
        ("verify", &["--key", "alice.pub"]),
        ("inspect", &["--key", "alice.pub"]),
        ("sign", &["--key", "mallory.key"]),
        ("attest", &attest),
        ("release", &["1.0.0"]),
    ];
    let before = said(&registry, digest).await;
    let refused = format!("is \\\"{name}\\\", not \\\"{wrong}\\\"");
    for (command, rest) in commands {
        for words in [wrong, "no-such-name", ""] {
            let arguments = [&[command, place.as_str()][..], rest, &["--name", words]].concat();
            let ended = desk.run_at(&registry, &arguments).expect(3);
            if words == wrong {
                ended.says(&refused);
            }
        }
    }
    let left = fs::read_dir(desk.path(".")).unwrap();
    let left: Vec<String> = left
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|file| file.contains("pulled") || file.contains("carried"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    get(&registry, &registry.admin, "/v2/a/m/manifests/1.0.0")
        .await
        .expect(404);
    assert!(
        said(&registry, digest).await == before,
        "something was said of it"
    );

    // The right pair, as somebody says it.
    let spoken = name.replace('-', " ").to_uppercase();
    desk.run_at(&registry, &["release", &place, "1.0.0", "--name", name])
        .expect(0);
    let tagged = at(&registry, "a/m:1.0.0");
    let pull = ["pull", &tagged, "--key", "alice.pub", "-o", "pulled"];
    desk.run_at(&registry, &[&pull[..], &["--name", wrong]].concat())
        .expect(3)
        .says(&refused);
    assert!(!desk.path("pulled").exists());
    desk.run_at(&registry, &[&pull[..], &["--name", &spoken]].concat())
        .expect(0);
    assert!(desk.path("pulled/config.json").is_file());
}
