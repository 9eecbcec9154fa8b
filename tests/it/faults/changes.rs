//! Code, parameters and the recipe itself changed since the baseline.

use super::bench::{Bench, Due};

const WEIGHTS: &str = "model/weights.safetensors";

#[test]
fn what_somebody_changed_is_named() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    bench.replay("nothing", &[], Due::reproduced());
    of_parameters(&mut bench);
    bench.fault(
        "other code in the first stage; the others inherit",
        |bench| bench.edit("src/prepare.py", "/ 16.0", "/ 15.0"),
        &[],
        Due::diverged("prepare", "work/test.npz", "tensor:", "code"),
    );
    bench.fault(
        "each stage alone on the baseline's inputs",
        |bench| bench.edit("src/prepare.py", "/ 16.0", "/ 15.0"),
        &["--isolated"],
        Due::diverged("prepare", "work/test.npz", "tensor:", "code"),
    );
    bench.fault(
        "a tensor that is new beside rounding that is tolerated",
        |bench| {
            bench.edit(
                "src/train.py",
                "\"scaler.mean\": scaler.mean_,",
                "\"scaler.mean\": scaler.mean_ * (1 + 1e-13), \"extra\": np.zeros(1),",
            )
        },
        &[],
        Due::diverged("train", WEIGHTS, "tensor:extra", "code"),
    );
    bench.fault(
        "a comment",
        |bench| bench.append("src/train.py", "# nothing\n"),
        &[],
        Due::warned().because("drift", "train"),
    );
    let ended = bench.fault(
        "another learning rate whose effect is tolerated",
        |bench| {
            bench.edit(
                "params.toml",
                "learning_rate = 0.2",
                "learning_rate = 0.20000000000001",
            )
        },
        &[],
        Due::warned().because("drift", "train"),
    );
    let first = &ended.report["firstDivergence"];
    bench.check(
        "what is tolerated is told",
        first["tolerated"] == true && first["artifact"] == WEIGHTS,
        &ended,
    );
    bench.fault(
        "another learning rate, and only the evaluation is made again",
        |bench| bench.edit("params.toml", "learning_rate = 0.2", "learning_rate = 0.3"),
        &["--scope", "eval", "--isolated"],
        Due::warned().because("drift", "train"),
    );
    let ended = bench.fault(
        "a trace that ends within a line",
        |bench| {
            bench.append(
                "src/train.py",
                "\ntext = pathlib.Path(\"trace.jsonl\").read_text()\npathlib.Path(\"trace.jsonl\").write_text(text[:-20])\n",
            )
        },
        &[],
        Due::diverged("train", "trace.jsonl", "line:60:", "code"),
    );
    let trace = &ended.report["firstDivergence"]["trace"];
    bench.check(
        "the steps before it are compared",
        trace["step"] == 59 && trace["column"] == "line",
        &ended,
    );
    bench.fault(
        "the baseline's trace ends within a line, which a replay writes anew",
        |bench| {
            let text = bench.read("trace.jsonl");
            bench.write("trace.jsonl", &text[..text.len() - 20]);
        },
        &[],
        Due::reproduced(),
    );
    bench.fault(
        "a metric that the recipe has no longer",
        |bench| {
            let text = bench.read("recipe.toml");
            let from = text.find("[metric.log_loss]").unwrap();
            let to = text.find("[test.rows]").unwrap();
            bench.write("recipe.toml", text[..from].to_owned() + &text[to..]);
        },
        &["--scope", "eval"],
        Due::inconclusive("unmeasured", "log_loss"),
    );
    bench.fault(
        "a bound that is wider",
        |bench| bench.edit("recipe.toml", "rel_l2 = 1e-9", "rel_l2 = 1e-3"),
        &["--scope", "eval"],
        Due::warned().because("drift", "recipe.toml"),
    );
    bench.fault(
        "code and a parameter at once",
        |bench| {
            bench.edit("params.toml", "learning_rate = 0.2", "learning_rate = 0.21");
            bench.edit("src/train.py", "solver=\"sgd\"", "solver=\"adam\"");
        },
        &[],
        Due::diverged("train", WEIGHTS, "tensor:", "unknown"),
    );
    bench.close();
}

/// Another learning rate, and another seed.
pub(super) fn of_parameters(bench: &mut Bench) {
    let subject = bench.subject;
    let ended = bench.fault(
        "another learning rate",
        |bench| bench.edit(subject.params, subject.rate.0, subject.rate.1),
        &[],
        Due::diverged("train", subject.weights, "tensor:", "params").hinted("ND-19"),
    );
    let first = &ended.report["firstDivergence"];
    bench.check(
        "the trace says which column at which step",
        first["trace"]["step"] == 0 && first["trace"]["column"] == "lr",
        &ended,
    );
    let evidence = ended.report["evidence"].to_string();
    bench.check(
        "both values are told",
        evidence.contains(subject.rate_told),
        &ended,
    );
    bench.fault(
        "another seed",
        |bench| bench.edit("recipe.toml", subject.seed.0, subject.seed.1),
        &[],
        Due::inconclusive("environment", "seeds.declared"),
    );
}

#[test]
fn the_order_of_stages_follows_from_what_they_read() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    bench.fault(
        "the evaluation stands first in the text",
        |bench| {
            let text = bench.read("recipe.toml");
            let from = text.find("[stage.evaluate]").unwrap();
            let to = text.find("[metric.accuracy]").unwrap();
            let evaluate = text[from..to].to_owned();
            let text = text.replace(&evaluate, "");
            bench.write(
                "recipe.toml",
                text.replace("[stage.prepare]", &format!("{evaluate}[stage.prepare]")),
            );
        },
        &[],
        Due::warned().because("drift", "recipe.toml"),
    );
    bench.fault(
        "the evaluation does not say that it reads the model",
        |bench| {
            bench.edit(
                "recipe.toml",
                "\"work/test.npz\", \"model/\"",
                "\"work/test.npz\"",
            )
        },
        &[],
        Due::error("evaluate"),
    );
    let circle = |bench: &Bench| {
        bench.edit(
            "recipe.toml",
            "in = [\"data/digits.csv\", \"src/prepare.py\"]",
            "in = [\"data/digits.csv\", \"src/prepare.py\", \"metrics.json\"]",
        );
    };
    circle(&bench);
    let ended = bench.sealstone(&["replay", "p"], &[]);
    bench.check(
        "a circle is no recipe",
        ended.exit == 64 && ended.said.contains("RE07"),
        &ended,
    );
    bench.restore();
    bench.close();
}

#[test]
fn other_data_that_somebody_pinned_is_put_down_to_the_data() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    let data = "data/digits.csv";
    let ended = bench.fault(
        "one pixel of one image, and its digest in the recipe",
        |bench| {
            let recipe = bench.read("recipe.toml");
            // The second image, which is learnt from: one of its pixels is a sixteenth brighter.
            bench.edit(data, "\n0,0,0,12,13,5,", "\n0,0,0,12,14,5,");
            let pinned = bench.sealstone(&["lint", "p", "--fix-digests"], &[]);
            assert_ne!(bench.read("recipe.toml"), recipe, "{}", pinned.said);
        },
        &[],
        Due::diverged("prepare", "work/train.npz", "tensor:images", "data"),
    );
    let evidence = ended.report["evidence"].to_string();
    bench.check("the data is named", evidence.contains(data), &ended);
    bench.close();
}
