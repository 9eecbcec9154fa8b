//! The catalogue of causes: what usually makes a stage differ, how to see it, what to do.
//!
//! A hint is a place to look first and no finding; the order of [`hints_for`] is the order in which
//! looking is cheap. Identifiers never change their meaning; documents and reports name them.

/// An entry of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hint {
    /// `ND-01` and on.
    pub id: &'static str,
    /// What it is, in a few words.
    pub title: &'static str,
    /// What one sees.
    pub symptom: &'static str,
    /// How to make sure.
    pub check: &'static str,
    /// What mends it.
    pub fix: &'static str,
}

const fn entry(
    id: &'static str,
    title: &'static str,
    symptom: &'static str,
    check: &'static str,
    fix: &'static str,
) -> Hint {
    Hint {
        id,
        title,
        symptom,
        check,
        fix,
    }
}

/// Every entry, in the order of identifiers.
pub const CATALOGUE: [Hint; 19] = [
    entry(
        "ND-01",
        "hash seed not set",
        "columns or labels change their order from run to run; metrics jump by whole predictions",
        "run twice with PYTHONHASHSEED=0: both runs agree",
        "leave PYTHONHASHSEED to the runner (determinism.hash_seed), and sort whatever comes out of a set or dict of strings",
    ),
    entry(
        "ND-02",
        "another number of threads",
        "most elements of float tensors differ in the last digits, relative error about 1e-7 (f32) or 1e-14 (f64)",
        "compare the facts threads.*; taskset and cpusets change the number as well",
        "pin determinism.threads, or demand class numeric with a tolerance and a why",
    ),
    entry(
        "ND-03",
        "rows or batches in another order",
        "the same rows with another ordered fingerprint, or batch_sha256 is the first column of the trace that differs",
        "compare the multiset digest with the ordered digest of the data",
        "sort before writing, give the loader its own seeded generator, set loader workers to a fixed number",
    ),
    entry(
        "ND-04",
        "times inside archives",
        "zip, gz, tar.gz or npz differ in a few header bytes; the members are the same",
        "compare with class content_exact: it passes",
        "write with a fixed time (SOURCE_DATE_EPOCH, gzip mtime=0, ZipInfo.date_time), or demand content_exact",
    ),
    entry(
        "ND-05",
        "order of a set",
        "a pickle, JSON or list of names has the same members in another order",
        "look for set(), frozenset() and os.environ in what is written",
        "sorted(...) before iterating",
    ),
    entry(
        "ND-06",
        "order of a directory",
        "files are read in another order on another file system",
        "look for os.listdir, glob and Path.iterdir without sorted",
        "sorted(path.glob(...))",
    ),
    entry(
        "ND-07",
        "the time of day",
        "a time or date stands in the output; two runs never agree",
        "look for time.time(), datetime.now() and uuid1 in the stage",
        "take the time from SOURCE_DATE_EPOCH, or keep it out of the output",
    ),
    entry(
        "ND-08",
        "locale or time zone",
        "numbers, dates or the order of text differ between machines, and never between runs on one",
        "compare the facts locale and tz",
        "the runner sets LC_ALL=C.UTF-8 and TZ=UTC; let the recipe's isolation be I1 or higher",
    ),
    entry(
        "ND-09",
        "name of the machine, user or directory",
        "a host name, a user or an absolute path stands in the output",
        "search the output for the name; look for socket.gethostname, getpass and os.getcwd",
        "write paths relative to the workspace; demand isolation I3, where names are fixed",
    ),
    entry(
        "ND-10",
        "cuDNN chooses kernels by speed",
        "GPU training differs from run to run on one machine",
        "set torch.backends.cudnn.benchmark = False and run twice",
        "torch.backends.cudnn.benchmark = False and torch.use_deterministic_algorithms(True) in the code",
    ),
    entry(
        "ND-11",
        "atomic additions on a GPU",
        "scatter, index_add or backward of embedding differ in the last digits",
        "torch.use_deterministic_algorithms(True) names the operation",
        "use the deterministic operation, or demand class statistical with replicates",
    ),
    entry(
        "ND-12",
        "TF32 or reduced precision",
        "relative error about 1e-3 against a machine without it",
        "compare the facts torch.allow_tf32 and torch.matmul_precision",
        "torch.backends.cuda.matmul.allow_tf32 = False and torch.set_float32_matmul_precision('highest') in the code",
    ),
    entry(
        "ND-13",
        "histograms that depend on the order of rows",
        "gradient boosting (hist) differs when rows or threads change",
        "fix both and run twice",
        "sort rows, fix nthread, use the exact method where the size allows it",
    ),
    entry(
        "ND-14",
        "a generator without a seed",
        "weights differ widely from the first step on; metrics move by the seed's noise (about 1e-2)",
        "look for random, numpy.random, torch and sklearn calls without random_state or seed",
        "seed each generator from SEALSTONE_SEED (the recipe's determinism.seed)",
    ),
    entry(
        "ND-15",
        "torch.save",
        "a .pt file differs in its identifiers while every tensor is the same",
        "compare with class content_exact: it passes",
        "write safetensors, or demand content_exact",
    ),
    entry(
        "ND-16",
        "another CPU, BLAS kernel or libm",
        "float tensors differ in the last digits between machines, and never between runs on one",
        "compare the facts cpu.features, blas.arch and libc.version",
        "set OPENBLAS_CORETYPE or MKL_CBWR in determinism.env, replay on the same CPU class, or demand class numeric",
    ),
    entry(
        "ND-17",
        "another version of a package",
        "anything, also other random streams from the same seed (numpy promises none between versions)",
        "compare the facts packages.*",
        "lock with hashes, and ship the wheels in the bundle",
    ),
    entry(
        "ND-18",
        "something is read that nobody declared",
        "two runs here agree with each other and not with the baseline, and no recorded fact differs",
        "replay with isolation I3 or higher: the undeclared read fails and is named",
        "declare the file as an input, or take it away",
    ),
    entry(
        "ND-19",
        "another schedule",
        "lr is the first column of the trace that differs",
        "compare params with the roles schedule and optimizer",
        "put the parameter back, or make a new release of it",
    ),
];

/// The entry with this identifier.
pub fn hint(id: &str) -> Option<&'static Hint> {
    CATALOGUE.iter().find(|hint| hint.id == id)
}

/// Something that was seen at the first divergence and points at entries of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Clue {
    /// Path of the artifact.
    Artifact(String),
    /// The artifact holds the same rows or members in another order.
    Reordered,
    /// Largest relative error of its numbers is as small as that of another order of summation.
    Rounding,
    /// Values that differ, as text.
    Values(String, String),
    /// A fact of the environment differs.
    Fact(String),
    /// The first column of the training trace that differs, and whether at the first step.
    Trace(String, bool),
    /// Two runs here wrote two outputs.
    RunsDiffer,
    /// Two runs here wrote the same, and no fact differs.
    Hidden,
    /// The stage runs on a GPU.
    Gpu,
    /// The stage trains or prepares, and the recipe sets no seed.
    NoSeed,
    /// The parameters changed.
    Params,
}

/// Entries that the clues point at, the likeliest first, at most five.
///
/// ```
/// use sealstone_spec::report::{Clue, hints_for};
/// assert_eq!(hints_for(&[Clue::Artifact("out/data.zip".into())])[0], "ND-04");
/// ```
pub fn hints_for(clues: &[Clue]) -> Vec<String> {
    let mut scores: Vec<(&'static str, u32)> = Vec::new();
    for clue in clues {
        for (id, weight) in pointed_at(clue) {
            match scores.iter_mut().find(|(known, _)| *known == id) {
                Some((_, score)) => *score += weight,
                None => scores.push((id, weight)),
            }
        }
    }
    scores.sort_by(|one, two| two.1.cmp(&one.1).then(one.0.cmp(two.0)));
    scores
        .into_iter()
        .take(5)
        .map(|(id, _)| id.to_owned())
        .collect()
}

fn pointed_at(clue: &Clue) -> Vec<(&'static str, u32)> {
    match clue {
        Clue::Artifact(path) => of_path(&path.to_ascii_lowercase()),
        Clue::Reordered => vec![("ND-03", 6), ("ND-05", 5), ("ND-06", 4), ("ND-01", 3)],
        Clue::Rounding => vec![("ND-02", 4), ("ND-16", 4)],
        Clue::Values(base, now) => of_values(base, now),
        Clue::Fact(name) => of_fact(&name.to_ascii_lowercase()),
        Clue::Trace(column, at_start) => match column.as_str() {
            "batch_sha256" => vec![("ND-03", 8)],
            "lr" => vec![("ND-19", 8)],
            "rng_sha256" => vec![("ND-14", 8)],
            // A line that is no step says that the writer was cut off, and nothing of what it computed.
            "line" => Vec::new(),
            _ if *at_start => vec![("ND-14", 5), ("ND-16", 3)],
            _ => vec![("ND-02", 2), ("ND-16", 2)],
        },
        Clue::RunsDiffer => vec![
            ("ND-14", 3),
            ("ND-01", 2),
            ("ND-07", 2),
            ("ND-05", 2),
            ("ND-06", 1),
        ],
        Clue::Hidden => vec![("ND-18", 6), ("ND-09", 2), ("ND-08", 1)],
        Clue::Gpu => vec![("ND-10", 3), ("ND-11", 3), ("ND-12", 2)],
        Clue::NoSeed => vec![("ND-14", 6)],
        Clue::Params => vec![("ND-19", 3)],
    }
}

fn of_path(path: &str) -> Vec<(&'static str, u32)> {
    let ends = |endings: &[&str]| endings.iter().any(|ending| path.ends_with(ending));
    if ends(&[".zip", ".gz", ".tgz", ".tar", ".npz", ".whl", ".xz", ".bz2"]) {
        vec![("ND-04", 6)]
    } else if ends(&[".pt", ".pth"]) {
        vec![("ND-15", 4)]
    } else if ends(&[".pkl", ".pickle", ".joblib"]) {
        vec![("ND-05", 3), ("ND-01", 2)]
    } else if ends(&[".ubj"]) || path.contains("xgb") || path.contains("lightgbm") {
        vec![("ND-13", 3)]
    } else {
        Vec::new()
    }
}

fn of_fact(name: &str) -> Vec<(&'static str, u32)> {
    let has = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
    if has(&["hash_seed", "hashseed"]) {
        vec![("ND-01", 8)]
    } else if has(&["thread", "affinity", "omp_", "cpu.count", "cpus"]) {
        vec![("ND-02", 5)]
    } else if has(&["tf32", "matmul_precision"]) {
        vec![("ND-12", 6)]
    } else if has(&["cudnn"]) {
        vec![("ND-10", 5)]
    } else if has(&["package", "python", "wheel"]) {
        vec![("ND-17", 5)]
    } else if has(&[
        "cpu",
        "blas",
        "libc",
        "libm",
        "mkl",
        "coretype",
        "arch",
        "glibc_tunables",
    ]) {
        vec![("ND-16", 5)]
    } else if has(&["locale", "lc_all", "tz", "lang"]) {
        vec![("ND-08", 5)]
    } else if has(&["hostname", "user", "home"]) {
        vec![("ND-09", 5)]
    } else {
        Vec::new()
    }
}

fn of_values(base: &str, now: &str) -> Vec<(&'static str, u32)> {
    if looks_like_time(base) && looks_like_time(now) {
        return vec![("ND-07", 7)];
    }
    let is_path = |text: &str| text.starts_with('/') && text.len() > 1;
    if is_path(base) && is_path(now) {
        return vec![("ND-09", 6)];
    }
    Vec::new()
}

/// A date, or seconds since 1970 that lie between 2001 and 2100.
fn looks_like_time(text: &str) -> bool {
    let text = text.trim_matches('"');
    let date = text.get(..10).is_some_and(|start| {
        start.bytes().enumerate().all(|(index, byte)| match index {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
    });
    let seconds = text
        .parse::<f64>()
        .is_ok_and(|value| (1e9..4.2e9).contains(&value));
    date || seconds
}
