//! A PyTorch model on the operating system's own Python, made and made again through the real client.
//!
//! The project is `tests/examples/words`. Owns: that weights in torch's own archive are compared by tensor and without
//! running the pickle in them, and what a replay says where training went another way.

use crate::client;
use sealstone_tests::examples::example;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Runs the client with the operating system's Python; exit code, last line of JSON, everything said.
fn sealstone(directory: &Path, arguments: &[&str]) -> (i32, Value, String) {
    let ended = client::run(client::sealstone(directory, arguments).env("PATH", "/usr/bin:/bin"));
    (ended.code, ended.json, ended.everything)
}

#[test]
fn a_model_of_torch_is_made_again() {
    let Some(example) = example("words") else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    example.copy_to(directory.path()).unwrap();
    let (code, _, said) = sealstone(directory.path(), &["run", "--quiet"]);
    assert_eq!(code, 0, "{said}");
    let (code, same, said) = sealstone(directory.path(), &["replay", "."]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(same["report"]["class"]["achieved"], "bit_exact", "{said}");
    assert_eq!(same["report"]["tests"][0]["ok"], true, "{said}");

    // The step at which training went another way, and what of it.
    let params = directory.path().join("params.json");
    let text = fs::read_to_string(&params).unwrap();
    fs::write(&params, text.replace("\"clip\": 1.0", "\"clip\": 0.5")).unwrap();
    let (code, other, said) = sealstone(directory.path(), &["replay", "."]);
    assert_eq!(code, 2, "{said}");
    let report = &other["report"];
    assert_eq!(report["attribution"], "params", "{said}");
    assert!(
        report["evidence"]
            .to_string()
            .contains("optim.clip 1.0→0.5"),
        "{said}"
    );
    let first = &report["firstDivergence"];
    assert_eq!(
        (&first["stage"], &first["artifact"]),
        (&"train".into(), &"model/weights.pt".into()),
        "{said}"
    );
    assert!(
        first["locator"].as_str().unwrap().starts_with("tensor:"),
        "{said}"
    );
    let column = first["trace"]["column"].as_str().unwrap_or_default();
    assert!(["loss", "grad_norm"].contains(&column), "{said}");
    fs::write(&params, text).unwrap();

    // Other batches are told from other steps: the order of data comes first in the trace.
    let script = directory.path().join("src/train.py");
    let code_before = fs::read_to_string(&script).unwrap();
    let shifted = code_before.replace(
        "batch = torch.randint(",
        "batch = len(after) - 1 - torch.randint(",
    );
    fs::write(&script, shifted).unwrap();
    let (code, other, said) = sealstone(directory.path(), &["replay", "."]);
    assert_eq!(code, 2, "{said}");
    let first = &other["report"]["firstDivergence"];
    assert_eq!(other["report"]["attribution"], "code", "{said}");
    assert_eq!(
        (&first["trace"]["step"], &first["trace"]["column"]),
        (&0.into(), &"batch_sha256".into()),
        "{said}"
    );
}
