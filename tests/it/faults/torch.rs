//! The faults that every project can have, in one of PyTorch.
//!
//! The project is `tests/examples/words`: a text instead of a table, no preparation, weights in torch's own archive. Owns:
//! that what comes of a fault is the same there, and what only torch's kernels do. Does not own: the faults, which stand
//! with those of digits; trainings that went another way (`words.rs`).

use super::bench::{Bench, Due};
use super::subject::WORDS;
use super::{bytes, changes, hidden, machine, measured, unruly};

#[test]
fn bytes_parameters_and_packages_in_a_project_of_torch() {
    let Some(mut bench) = Bench::on(&WORDS) else {
        return;
    };
    bytes::in_the_working_directory(&mut bench);
    changes::of_parameters(&mut bench);
    machine::another_package(&mut bench);
    bench.close();
}

#[test]
fn bytes_in_a_bundle_of_torch() {
    let Some(mut bench) = Bench::on(&WORDS) else {
        return;
    };
    bytes::in_a_bundle(&mut bench);
    bench.close();
}

#[test]
fn stages_and_metrics_of_torch() {
    let Some(mut bench) = Bench::on(&WORDS) else {
        return;
    };
    unruly::reaching(&mut bench);
    unruly::crashing(&mut bench);
    // What was trained does not matter to them.
    measured::of_metrics(&mut bench, &["--scope", "eval"]);
    hidden::by_the_clock(&mut bench);
    bench.close();
}

#[test]
fn other_kernels_of_torch_are_told_from_other_threads() {
    let Some(mut bench) = Bench::on(&WORDS) else {
        return;
    };
    let (name, changes) = machine::ONE_MORE_THREAD;
    machine::is_tolerated(&mut bench, name, changes);
    // Without the vectors of the processor torch begins with other weights, which is more than the example tolerates.
    let kernels = (
        "hash_seed = 0",
        "hash_seed = 0\nenv = { ATEN_CPU_CAPABILITY = \"default\" }",
    );
    machine::move_to(&bench, &[kernels]);
    let ended = bench.sealstone(&["replay", "p"], &[]);
    // A processor without them has no other kernels to choose.
    let due = match machine::moved(&bench, &ended) {
        true => Due::diverged("train", WORDS.weights, "tensor:", "environment"),
        false => Due::warned(),
    };
    let ended = bench.hold("the vectors of the processor are masked", ended, due);
    let evidence = ended.report["evidence"].to_string();
    let told = due.exit == 0 || evidence.contains("ATEN_CPU_CAPABILITY");
    bench.check("the variable is told", told, &ended);
    bench.restore();
    bench.close();
}
