//! The environment variables of a stage: set, not inherited.
//!
//! Invariant: nothing of the caller's environment is passed on. What libraries read to choose numbers of
//! threads, seeds, locales and time zones is always set.

use super::job::{Device, StageJob};
use std::collections::BTreeMap;

/// Variables by which libraries choose how many threads to use.
pub const THREAD_VARIABLES: [&str; 8] = [
    "BLIS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
];

/// Where a runner puts what a stage may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// `HOME`, empty at the start.
    pub home: String,
    /// `TMPDIR`, empty at the start.
    pub temporary: String,
    /// `PATH`.
    pub path: String,
}

/// All variables of a stage's command, and no others.
pub fn variables(job: &StageJob, places: &Places) -> BTreeMap<String, String> {
    let threads = job.threads().to_string();
    let hash_seed = job.seeds.hash_seed.to_string();
    let epoch = job.source_date_epoch.to_string();
    let mut set = job.software.variables.clone();
    let always = [
        ("LANG", "C.UTF-8"),
        ("LC_ALL", "C.UTF-8"),
        ("TZ", "UTC"),
        ("PYTHONHASHSEED", hash_seed.as_str()),
        ("PYTHONDONTWRITEBYTECODE", "1"),
        ("PYTHONNOUSERSITE", "1"),
        ("PYTHONUNBUFFERED", "1"),
        ("SOURCE_DATE_EPOCH", epoch.as_str()),
        ("OMP_DYNAMIC", "FALSE"),
        ("MKL_DYNAMIC", "FALSE"),
        ("CUBLAS_WORKSPACE_CONFIG", ":4096:8"),
        ("TERM", "dumb"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    set.extend(always);
    for name in THREAD_VARIABLES {
        set.insert(name.to_owned(), threads.clone());
    }
    if let Some(seed) = job.seeds.seed {
        set.insert("P_SEED".to_owned(), seed.to_string());
    }
    set.insert("P_STAGE".to_owned(), job.stage.clone());
    let visible = match &job.device {
        Device::Cpu => Some(String::new()),
        Device::Cuda(numbers) if numbers.is_empty() => None,
        Device::Cuda(numbers) => {
            let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
            Some(numbers.join(","))
        }
    };
    if let Some(visible) = visible {
        set.insert("CUDA_VISIBLE_DEVICES".to_owned(), visible);
    }
    set.extend(job.env.clone());
    set.insert("HOME".to_owned(), places.home.clone());
    set.insert("TMPDIR".to_owned(), places.temporary.clone());
    set.insert("PATH".to_owned(), places.path.clone());
    set
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn places() -> Places {
        Places {
            home: "/h".into(),
            temporary: "/t".into(),
            path: "/usr/bin".into(),
        }
    }

    #[test]
    fn threads_follow_the_processors_and_default_to_one() {
        let mut job = StageJob::new("train", vec!["true".into()], "/s", "/d");
        for (cpus, expected) in [(None, "1"), (Some(4), "4")] {
            job.limits.cpus = cpus;
            let set = variables(&job, &places());
            for name in THREAD_VARIABLES {
                assert_eq!(set[name], expected, "{name}");
            }
        }
        job.limits.threads = Some(2);
        assert_eq!(variables(&job, &places())["OMP_NUM_THREADS"], "2");
    }

    #[test]
    fn an_image_states_what_nobody_else_does() {
        let mut job = StageJob::new("train", vec!["true".into()], "/s", "/d");
        job.env.insert("BOTH".into(), "recipe".into());
        let stated = [("BOTH", "image"), ("LC_ALL", "de_DE"), ("OWN", "image")];
        job.software.variables = stated
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let set = variables(&job, &places());
        assert_eq!(set["BOTH"], "recipe");
        assert_eq!(set["LC_ALL"], "C.UTF-8");
        assert_eq!(set["OWN"], "image");
    }

    #[test]
    fn a_recipe_may_choose_kernels_but_not_where_home_is() {
        let mut job = StageJob::new("train", vec!["true".into()], "/s", "/d");
        job.env.insert("OPENBLAS_CORETYPE".into(), "Haswell".into());
        job.env.insert("LC_ALL".into(), "C".into());
        job.env.insert("HOME".into(), "/root".into());
        let set = variables(&job, &places());
        assert_eq!(set["OPENBLAS_CORETYPE"], "Haswell");
        assert_eq!(set["LC_ALL"], "C");
        assert_eq!(set["HOME"], "/h");
        assert!(!set.contains_key("CARGO_MANIFEST_DIR"));
    }
}
