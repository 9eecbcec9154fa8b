//! Facts that runners set rather than find: locale, time zone, threads, seeds.

use super::capture::Captured;
use crate::runner::{Places, Runner, StageJob, THREAD_VARIABLES, variables};
use sealstone_spec::environment::NOT_SET;
use std::collections::BTreeMap;

/// Variables that choose numeric kernels or how threads share work.
const KERNELS: [&str; 10] = [
    "GLIBC_TUNABLES",
    "KMP_AFFINITY",
    "MKL_CBWR",
    "MKL_DYNAMIC",
    "OMP_DYNAMIC",
    "OMP_PROC_BIND",
    "OMP_SCHEDULE",
    "OPENBLAS_CORETYPE",
    "TF_DETERMINISTIC_OPS",
    "XLA_FLAGS",
];

/// Variables that spread a run over accelerators and machines.
const WORLD: [&str; 5] = [
    "CUDA_VISIBLE_DEVICES",
    "LOCAL_RANK",
    "NCCL_ALGO",
    "NCCL_PROTO",
    "RANK",
];

pub(super) fn record(runner: &dyn Runner, job: &StageJob, captured: &mut Captured) {
    let places = Places {
        home: String::new(),
        temporary: String::new(),
        path: String::new(),
    };
    let set = variables(job, &places);
    let of = |name: &str| set.get(name).cloned();
    let those = |names: &[&str]| -> BTreeMap<String, String> {
        let found = names
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), of(name)?)));
        found.filter(|(_, value)| !value.is_empty()).collect()
    };
    captured.set_some("locale", of("LC_ALL"));
    captured.set_some("timezone", of("TZ"));
    captured.set("umask", "022");
    captured.set("home", "an empty directory of the run");
    captured.set("host.name", runner.host_name().unwrap_or(NOT_SET));
    captured.set("user", runner.user().unwrap_or(NOT_SET));
    captured.set_some("python.hash_seed", of("PYTHONHASHSEED"));
    captured.set_some(
        "seeds.declared",
        job.seeds.seed.map(|seed| seed.to_string()),
    );
    captured.set_some("source_date_epoch", of("SOURCE_DATE_EPOCH"));
    captured.set_some("cublas.workspace", of("CUBLAS_WORKSPACE_CONFIG"));
    let threads: Vec<&str> = THREAD_VARIABLES.iter().chain(&KERNELS).copied().collect();
    captured.set("threads.environment", those(&threads));
    let world = those(&WORLD);
    if !world.is_empty() {
        captured.set("world.environment", world);
    }
    captured.set_some("world.size", of("WORLD_SIZE"));
}
