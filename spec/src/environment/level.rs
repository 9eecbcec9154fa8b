//! How much each fact matters for each class of equality: the table of the specification, as data.
//!
//! Invariant: a fact that is not in this table cannot enter a document, so nothing of an environment is
//! ever captured because it happened to be there.

use crate::compare::Class;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a difference in a fact means for a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Level {
    /// Worth knowing.
    #[serde(rename = "i")]
    Info,
    /// Worth a warning.
    #[serde(rename = "W")]
    Warn,
    /// Makes the comparison inconclusive before anything runs.
    #[serde(rename = "M")]
    Must,
}

impl Level {
    /// The letter in documents: `M`, `W` or `i`.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Info => "i",
            Level::Warn => "W",
            Level::Must => "M",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A column of the table: the classes of equality that ask the same of an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Strictness {
    /// `bit_exact` and `content_exact`.
    Exact,
    /// `numeric` and `functional`.
    Numeric,
    /// `statistical` (and what follows it).
    Statistical,
}

impl From<Class> for Strictness {
    fn from(class: Class) -> Strictness {
        match class {
            Class::BitExact | Class::ContentExact => Strictness::Exact,
            Class::Numeric | Class::Functional => Strictness::Numeric,
            Class::Statistical | Class::Divergent => Strictness::Statistical,
        }
    }
}

/// How two values of a fact are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    /// They must be the same.
    Equal,
    /// As `Equal`; but for `statistical`, major and minor number of a version are enough.
    Version,
    /// A map from names of packages: each is a fact of its own.
    Packages,
    /// A map: each entry is a fact of its own, with this row's levels.
    Entries,
    /// Values that the runner sets. One that could not be set says so, and then only warns.
    SetByRunner,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct FactRule {
    /// The fact's name, for example `cpu.features`.
    pub name: &'static str,
    /// What it is and where it is read, for people.
    pub meaning: &'static str,
    levels: [Level; 3],
    pub(super) comparison: Comparison,
    /// Whether it is worth no more than knowing where both sides pin their root file system.
    pub(super) inside_image: bool,
}

impl FactRule {
    /// The level in a column.
    pub fn level(&self, strictness: Strictness) -> Level {
        match strictness {
            Strictness::Exact => self.levels[0],
            Strictness::Numeric => self.levels[1],
            Strictness::Statistical => self.levels[2],
        }
    }
}

use Comparison::{Entries, Equal, Packages, SetByRunner, Version};
use Level::{Info as I, Must as M, Warn as W};

const fn rule(name: &'static str, levels: [Level; 3], meaning: &'static str) -> FactRule {
    FactRule {
        name,
        meaning,
        levels,
        comparison: Equal,
        inside_image: false,
    }
}

const fn compared(mut rule: FactRule, comparison: Comparison) -> FactRule {
    rule.comparison = comparison;
    rule
}

const fn image(mut rule: FactRule) -> FactRule {
    rule.inside_image = true;
    rule
}

/// What a runner writes into a fact that it is to set and cannot.
pub const NOT_SET: &str = "not set by the runner";

/// Packages whose version decides what a seed means: they must match in every class.
pub const RANDOM_PACKAGES: [&str; 12] = [
    "catboost",
    "jax",
    "jaxlib",
    "lightgbm",
    "numpy",
    "pandas",
    "scikit-learn",
    "scipy",
    "tensorflow",
    "torch",
    "transformers",
    "xgboost",
];

/// The table. Levels are those for exact, numeric and statistical equality, in this order.
pub const FACTS: &[FactRule] = &[
    rule("machine.arch", [M, M, W], "instruction set of the machine"),
    rule("machine.endianness", [M, M, W], "order of bytes in a word"),
    rule("cpu.vendor", [W, W, I], "who made the processor"),
    rule("cpu.family", [W, W, I], "family of the processor"),
    rule("cpu.model", [W, W, I], "model number of the processor"),
    rule("cpu.stepping", [W, W, I], "stepping of the processor"),
    rule("cpu.name", [W, W, I], "name of the processor"),
    rule("cpu.microcode", [W, W, I], "revision of the microcode"),
    rule(
        "cpu.features",
        [M, W, I],
        "features that choose numeric kernels, less those masked by GLIBC_TUNABLES",
    ),
    image(rule("os.id", [W, I, I], "distribution")),
    image(rule("os.version", [W, I, I], "version of the distribution")),
    image(rule("kernel.release", [W, I, I], "release of the kernel")),
    image(rule(
        "kernel.cmdline",
        [W, I, I],
        "digest of the kernel's command line",
    )),
    rule("libc.name", [M, W, I], "which C library"),
    rule("libc.version", [M, W, I], "version of the C library"),
    rule(
        "libm.build_id",
        [M, W, I],
        "build of the mathematical library",
    ),
    rule(
        "image.digest",
        [M, M, W],
        "digest of the image or root file system",
    ),
    compared(
        rule("python.version", [M, M, M], "version of Python"),
        Version,
    ),
    rule("python.implementation", [M, M, M], "which Python"),
    rule("python.build", [M, M, I], "build and compiler of Python"),
    rule("python.abi", [M, M, I], "tag of Python's binary interface"),
    rule("python.executable", [M, M, I], "digest of the interpreter"),
    compared(
        rule(
            "python.packages",
            [M, M, W],
            "installed packages: version and digest of RECORD; those that draw random numbers always must match",
        ),
        Packages,
    ),
    rule(
        "python.environment",
        [M, M, W],
        "digest of the materialised environment",
    ),
    rule(
        "system.packages",
        [W, I, I],
        "digest of the list of system packages",
    ),
    compared(
        rule(
            "native.libraries",
            [W, I, I],
            "loaded libraries and their builds",
        ),
        Entries,
    ),
    rule("blas.implementation", [M, W, I], "which BLAS"),
    rule("blas.version", [M, W, I], "version of the BLAS"),
    rule("blas.arch", [M, W, I], "kernels that the BLAS chose"),
    rule("blas.threads", [M, W, I], "threads that the BLAS uses"),
    rule("openmp.implementation", [M, W, I], "which OpenMP runtime"),
    rule("openmp.threads", [M, W, I], "threads that OpenMP uses"),
    rule(
        "torch.threads",
        [M, W, I],
        "threads within one operation of torch",
    ),
    rule(
        "torch.interop_threads",
        [M, W, I],
        "operations of torch at a time",
    ),
    compared(
        rule(
            "threads.environment",
            [M, W, I],
            "variables that bound threads or choose kernels: OMP_*, *_NUM_THREADS, MKL_CBWR, OPENBLAS_CORETYPE",
        ),
        Entries,
    ),
    rule("cpu.count", [M, W, I], "processors that the run may use"),
    rule(
        "cpu.quota",
        [M, W, I],
        "share of processor time, in thousandths of a processor",
    ),
    rule("cpu.affinity", [W, W, I], "which processors"),
    rule("cpu.smt", [W, W, I], "whether cores share threads"),
    rule(
        "numa.memories",
        [W, W, I],
        "memory nodes that the run may use",
    ),
    rule("python.hash_seed", [M, M, M], "PYTHONHASHSEED"),
    rule(
        "seeds.declared",
        [M, M, M],
        "seeds of the recipe; free among replicates",
    ),
    compared(
        rule(
            "determinism.flags",
            [M, M, M],
            "deterministic algorithms, benchmark, TF32 and matmul precision of the frameworks",
        ),
        Entries,
    ),
    rule("cublas.workspace", [M, W, I], "CUBLAS_WORKSPACE_CONFIG"),
    rule("gpu.name", [M, W, I], "names of the accelerators"),
    rule("gpu.compute", [M, W, I], "compute capability"),
    rule("gpu.count", [M, W, I], "how many accelerators"),
    rule("gpu.mig", [M, W, I], "whether an accelerator is a slice"),
    rule("gpu.ecc", [M, W, I], "error correction of the memory"),
    rule("gpu.driver", [M, W, I], "version of the driver"),
    rule("gpu.vbios", [M, W, I], "firmware"),
    rule("gpu.cuda", [M, W, I], "version of CUDA"),
    rule("gpu.cudnn", [M, W, I], "version of cuDNN"),
    rule("gpu.cublas", [M, W, I], "version of cuBLAS"),
    rule("gpu.nccl", [M, W, I], "version of NCCL"),
    rule("gpu.clocks", [I, I, I], "clocks and power cap"),
    rule("world.size", [M, M, W], "how many processes train together"),
    compared(
        rule(
            "world.environment",
            [M, W, W],
            "CUDA_VISIBLE_DEVICES, NCCL_ALGO, NCCL_PROTO, RANK, LOCAL_RANK",
        ),
        Entries,
    ),
    compared(rule("locale", [M, M, I], "LC_ALL"), SetByRunner),
    compared(rule("timezone", [M, M, I], "TZ"), SetByRunner),
    compared(
        rule("umask", [M, M, I], "bits that new files lack"),
        SetByRunner,
    ),
    compared(rule("home", [M, M, I], "where HOME lies"), SetByRunner),
    compared(
        rule("host.name", [M, M, I], "the host name that the run sees"),
        SetByRunner,
    ),
    compared(
        rule("user", [M, M, I], "the user that the run sees"),
        SetByRunner,
    ),
    rule("source_date_epoch", [M, W, I], "SOURCE_DATE_EPOCH"),
    rule("memory.total", [W, I, I], "memory of the machine, in MiB"),
    rule("memory.swap", [W, I, I], "swap of the machine, in MiB"),
    rule("memory.huge_pages", [W, I, I], "transparent huge pages"),
    compared(rule("limits", [W, I, I], "resource limits"), Entries),
    rule(
        "files.system",
        [W, I, I],
        "kind of the file system of the workspace",
    ),
    rule(
        "files.case_sensitive",
        [W, I, I],
        "whether names differ by case",
    ),
    rule(
        "files.sorted",
        [W, I, I],
        "whether directories list names in order",
    ),
    rule("git.commit", [M, M, M], "commit of the code"),
    rule("git.tree", [M, M, M], "tree of the code"),
    rule(
        "git.changes",
        [M, M, M],
        "digest of what was not committed; \"none\" if all was",
    ),
    rule("git.submodules", [M, M, M], "commits of the submodules"),
    rule(
        "power.governor",
        [I, I, I],
        "what sets the processor's clock",
    ),
    rule(
        "machine.hypervisor",
        [I, I, I],
        "whether the machine is virtual",
    ),
];

/// The row of a fact; `None` if the fact is not in the table.
pub fn fact_rule(name: &str) -> Option<&'static FactRule> {
    FACTS.iter().find(|rule| rule.name == name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_fact_has_one_row() {
        let names: BTreeSet<&str> = FACTS.iter().map(|rule| rule.name).collect();
        assert_eq!(names.len(), FACTS.len());
        assert!(FACTS.iter().all(|rule| !rule.meaning.is_empty()));
    }

    #[test]
    fn nothing_matters_more_for_a_looser_class() {
        for rule in FACTS {
            assert!(rule.levels[0] >= rule.levels[1], "{}", rule.name);
            assert!(rule.levels[1] >= rule.levels[2], "{}", rule.name);
        }
    }
}
