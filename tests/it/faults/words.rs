//! A PyTorch model in an environment of locked wheels, made and made again through the real client.
//!
//! The project is `tests/examples/words`. Owns: that weights in torch's own archive are compared by tensor and without
//! running the pickle in them, that its packages are those of its lock and no others, and what a replay says where
//! training went another way. Does not own: faults that it shares with other projects (`torch.rs`).

use super::bench::{Bench, Ended};
use super::subject::WORDS;
use serde_json::Value;

/// Replays the project as it is.
fn replay(bench: &Bench, code: i32) -> Ended {
    let ended = bench.sealstone(&["replay", "p"], &[]);
    assert_eq!(ended.exit, code, "{}", ended.said);
    ended
}

fn lock(bench: &Bench) -> Value {
    serde_json::from_str(&bench.read("recipe.lock")).unwrap()
}

/// What training began with.
fn initial(lock: &Value) -> &str {
    let stages = lock["stages"].as_array().unwrap();
    let mut stages = stages.iter();
    let train = stages.find(|stage| stage["name"] == "train").unwrap();
    train["trace"]["initialParams"].as_str().unwrap()
}

#[test]
fn a_model_of_torch_is_made_again() {
    let Some(bench) = Bench::on(&WORDS) else {
        return;
    };
    let Ended { report, said, .. } = replay(&bench, 0);
    assert_eq!(report["class"]["achieved"], "bit_exact", "{said}");
    assert_eq!(report["tests"][0]["ok"], true, "{said}");

    // What training began with stands in the lock, and how large the gradient was in each step.
    let trace = bench.read("trace.jsonl");
    let steps: Vec<Value> = trace
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(steps.iter().all(|step| step["grad_norm"].is_f64()));
    let lock = lock(&bench);
    // The machine may have a torch of its own: nothing of it was seen.
    let locked = bench.read("requirements.lock");
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
    let initial = initial(&lock);
    assert_eq!(initial.len(), 64, "{initial}");
    assert_eq!(steps[0]["params_sha256"], initial);
}

#[test]
fn the_step_at_which_training_went_another_way_is_named() {
    let Some(bench) = Bench::on(&WORDS) else {
        return;
    };
    bench.edit("params.json", "\"clip\": 1.0", "\"clip\": 0.5");
    let Ended { report, said, .. } = replay(&bench, 2);
    assert_eq!(report["attribution"], "params", "{said}");
    let evidence = report["evidence"].to_string();
    assert!(evidence.contains("optim.clip 1.0→0.5"), "{said}");
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
}

/// Other batches, or other weights to begin with, are told from other steps.
#[test]
fn what_training_began_with_comes_first_in_the_trace() {
    let Some(bench) = Bench::on(&WORDS) else {
        return;
    };
    let began = lock(&bench);
    let script = "src/train.py";
    bench.edit(
        script,
        "batch = torch.randint(",
        "batch = len(after) - 1 - torch.randint(",
    );
    let Ended { report, said, .. } = replay(&bench, 2);
    let first = &report["firstDivergence"];
    assert_eq!(report["attribution"], "code", "{said}");
    assert_eq!(
        (&first["trace"]["step"], &first["trace"]["column"]),
        (&0.into(), &"batch_sha256".into()),
        "{said}"
    );
    bench.restore();

    // The batches are the same, and what differs first is what training began with.
    let model = "model = NextLetter(len(letters), shape[\"context\"], shape[\"width\"])\n";
    let other = format!("{model}torch.nn.init.zeros_(model.output.bias)\n");
    bench.edit(script, model, &other);
    let Ended { report, said, .. } = replay(&bench, 2);
    let trace = &report["firstDivergence"]["trace"];
    assert_eq!(report["attribution"], "code", "{said}");
    assert_eq!(
        (&trace["step"], &trace["column"], &trace["base"]),
        (&0.into(), &"params_sha256".into(), &initial(&began).into()),
        "{said}"
    );
    assert_eq!(trace["atStart"], true, "{said}");
}
