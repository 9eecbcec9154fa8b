//! A PyTorch model in an environment of locked wheels, made and made again through the real client.
//!
//! The project is `tests/examples/words`. Owns: that weights in torch's own archive are compared by tensor and without
//! running the pickle in them, that its packages are those of its lock and no others, and what a replay says where
//! training went another way. Does not own: faults that it shares with other projects (`faults/torch.rs`).

use crate::client;
use sealstone_tests::examples::example;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Runs the client; exit code, last line of JSON, everything said.
fn sealstone(directory: &Path, arguments: &[&str]) -> (i32, Value, String) {
    let ended = client::run(&mut client::sealstone(directory, arguments));
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

    // What training began with stands in the lock, and how large the gradient was in each step.
    let trace = fs::read_to_string(directory.path().join("trace.jsonl")).unwrap();
    let steps: Vec<Value> = trace
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(steps.iter().all(|step| step["grad_norm"].is_f64()));
    let lock = fs::read(directory.path().join("recipe.lock")).unwrap();
    let lock: Value = serde_json::from_slice(&lock).unwrap();
    // The machine may have a torch of its own: nothing of it was seen.
    let locked = fs::read_to_string(directory.path().join("requirements.lock")).unwrap();
    let locked: Vec<&str> = locked
        .lines()
        .filter_map(|line| Some(line.split_once("==")?.0))
        .collect();
    let packages = &lock["environment"]["document"]["facts"]["python.packages"];
    let packages: Vec<&str> = packages
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(packages, locked);
    let stages = lock["stages"].as_array().unwrap();
    let train = stages
        .iter()
        .find(|stage| stage["name"] == "train")
        .unwrap();
    assert_eq!(train["trace"]["steps"], steps.len());
    let initial = train["trace"]["initialParams"].as_str().unwrap();
    assert_eq!(initial.len(), 64, "{initial}");
    assert_eq!(steps[0]["params_sha256"], initial);

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

    // Other weights to begin with: the batches are the same, and what differs first is what training began with.
    let model = "model = NextLetter(len(letters), shape[\"context\"], shape[\"width\"])\n";
    assert!(code_before.contains(model), "{code_before}");
    let other = format!("{model}torch.nn.init.zeros_(model.output.bias)\n");
    fs::write(&script, code_before.replace(model, &other)).unwrap();
    let (code, other, said) = sealstone(directory.path(), &["replay", "."]);
    assert_eq!(code, 2, "{said}");
    let trace = &other["report"]["firstDivergence"]["trace"];
    assert_eq!(other["report"]["attribution"], "code", "{said}");
    assert_eq!(
        (&trace["step"], &trace["column"], &trace["base"]),
        (&0.into(), &"params_sha256".into(), &initial.into()),
        "{said}"
    );
    assert_eq!(trace["atStart"], true, "{said}");
}
