//! Metrics: missing, no number, and better than before.

use super::bench::{Bench, Due};

/// Lines at the end of the evaluation that change what it says.
fn saying(bench: &Bench, change: &str) {
    bench.append(
        "src/evaluate.py",
        &format!("\n{change}\nwith open(\"metrics.json\", \"w\") as file:\n    json.dump(metrics, file, indent=1)\n"),
    );
}

#[test]
fn no_metric_passes_that_is_not_what_it_was() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    let metrics = "metrics.json";
    bench.fault(
        "a metric is missing",
        |bench| saying(bench, "del metrics[\"log_loss\"]"),
        &[],
        Due::diverged("evaluate", metrics, "pointer:/log_loss", "code")
            .because("metric", "log_loss"),
    );
    bench.fault(
        "a metric is NaN, which is no JSON: the place is one of the text",
        |bench| saying(bench, "metrics[\"log_loss\"] = float(\"nan\")"),
        &[],
        Due::diverged("evaluate", metrics, "line:", "code").because("metric", "log_loss"),
    );
    bench.fault(
        "better than before is a discrepancy too",
        |bench| saying(bench, "metrics[\"accuracy\"] += 1 / 450"),
        &[],
        Due::diverged("evaluate", metrics, "pointer:/accuracy", "code")
            .because("metric", "accuracy"),
    );
    bench.fault(
        "less than the recipe's minimum",
        |bench| saying(bench, "metrics[\"accuracy\"] = 0.9"),
        &["--scope", "eval"],
        Due::diverged("evaluate", metrics, "pointer:/accuracy", "code")
            .because("metric", "accuracy"),
    );
    bench.fault(
        "no metrics at all",
        |bench| {
            bench.append(
                "src/evaluate.py",
                "import os\nos.unlink(\"metrics.json\")\n",
            )
        },
        &[],
        Due::diverged("evaluate", metrics, "", "code").because("metric", "accuracy"),
    );
    bench.close();
}
