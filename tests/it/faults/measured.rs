//! Metrics: missing, no number, and better than before.

use super::bench::{Bench, Due};

const METRICS: &str = "metrics.json";

/// Lines at the end of the evaluation that change what it says.
fn saying(bench: &Bench, change: &str) {
    bench.append(
        "src/evaluate.py",
        &format!("\n{change}\nwith open(\"metrics.json\", \"w\") as file:\n    json.dump(metrics, file, indent=1)\n"),
    );
}

/// Metrics that are not what they were, in a replay with `more` arguments.
pub(super) fn of_metrics(bench: &mut Bench, more: &[&str]) {
    let (loss, place) = bench.subject.loss;
    let one_answer = bench.subject.one_answer;
    bench.fault(
        "a metric is missing",
        |bench| saying(bench, &format!("del metrics[\"{loss}\"]")),
        more,
        Due::diverged("evaluate", METRICS, place, "code").because("metric", loss),
    );
    bench.fault(
        "a metric is NaN, which is no JSON: the place is one of the text",
        |bench| saying(bench, &format!("metrics[\"{loss}\"] = float(\"nan\")")),
        more,
        Due::diverged("evaluate", METRICS, "line:", "code").because("metric", loss),
    );
    bench.fault(
        "better than before is a discrepancy too",
        |bench| saying(bench, &format!("metrics[\"accuracy\"] += {one_answer}")),
        more,
        Due::diverged("evaluate", METRICS, "pointer:/accuracy", "code")
            .because("metric", "accuracy"),
    );
}

#[test]
fn no_metric_passes_that_is_not_what_it_was() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    of_metrics(&mut bench, &[]);
    bench.fault(
        "less than the recipe's minimum",
        |bench| saying(bench, "metrics[\"accuracy\"] = 0.9"),
        &["--scope", "eval"],
        Due::diverged("evaluate", METRICS, "pointer:/accuracy", "code")
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
        Due::diverged("evaluate", METRICS, "", "code").because("metric", "accuracy"),
    );
    bench.close();
}
