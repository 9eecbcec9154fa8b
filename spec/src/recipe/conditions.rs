//! Under which conditions the stages run: environment, determinism, isolation, bounds of use.

use super::finding::{Code, Place};
use super::measure::confidence;
use super::path::RecipePath;
use super::pins;
use super::reader::{Fields, suggest};
use super::words::*;
use crate::compare::{Class, Decimal};
use crate::digest::Digest;
use crate::environment::{Day, FACTS, Isolation, Override};
use std::collections::BTreeMap;
use toml::de::DeValue;

/// What the stages' programs are taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Environment {
    /// A Python environment made of locked wheels.
    Venv {
        /// Version of Python, such as `3.11.7`.
        python: Option<String>,
        /// Requirements with versions and hashes.
        lock: RecipePath,
        /// Directory of the wheels that the lock names.
        wheels: Option<RecipePath>,
    },
    /// A container image by digest.
    Oci {
        /// The image, as `NAME@DIGEST`.
        image: String,
        /// The digest in it.
        digest: Digest,
        /// Whether the image travels in the bundle.
        rootfs_in_bundle: bool,
    },
    /// A root file system as a tar archive.
    Rootfs {
        /// The archive.
        path: RecipePath,
        /// Its digest.
        digest: Digest,
    },
    /// Whatever the machine has. Recorded, but not locked.
    Host,
}

impl Environment {
    /// The kind, as it is written.
    pub fn kind(&self) -> &'static str {
        match self {
            Environment::Venv { .. } => "venv",
            Environment::Oci { .. } => "oci",
            Environment::Rootfs { .. } => "rootfs",
            Environment::Host => "host",
        }
    }

    pub(super) fn read(fields: &Fields<'_, '_>) -> Option<Environment> {
        let kinds = [("venv", 0), ("oci", 1), ("rootfs", 2), ("host", 3)];
        fields.require("kind")?;
        match fields.word("kind", &kinds)? {
            0 => {
                let fields = fields.clone().only(&["kind", "python", "lock", "wheels"]);
                Some(Environment::Venv {
                    python: python(&fields),
                    wheels: fields.path("wheels"),
                    lock: fields.require_path("lock")?,
                })
            }
            1 => {
                let fields = fields.clone().only(&["kind", "image", "rootfs_in_bundle"]);
                let rootfs_in_bundle = fields.flag("rootfs_in_bundle").unwrap_or(false);
                let image = fields.require_text("image")?;
                match pins::image_digest(&image) {
                    Ok(digest) => Some(Environment::Oci {
                        image,
                        digest,
                        rootfs_in_bundle,
                    }),
                    Err(problem) => {
                        let place = fields.get("image")?.span();
                        let hint = "write the image as NAME@sha256:...; a tag may name another image tomorrow";
                        fields.source.report(
                            &place,
                            Code::Unpinned,
                            problem,
                            Some(hint.to_owned()),
                        );
                        None
                    }
                }
            }
            2 => {
                let fields = fields.clone().only(&["kind", "path", "sha256"]);
                let path = fields.require_path("path");
                let digest = digest_of(&fields, "sha256", "the root file system")?;
                Some(Environment::Rootfs {
                    path: path?,
                    digest,
                })
            }
            _ => {
                fields.clone().only(&["kind"]);
                Some(Environment::Host)
            }
        }
    }
}

/// Whether a text is a version of Python as recipes state it: one to three numbers. What else it could be would be a
/// part of the name of a program that is looked for.
pub fn is_python_version(text: &str) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.split('.').count() <= 3 && text.split('.').all(is_number)
}

fn python(fields: &Fields<'_, '_>) -> Option<String> {
    let text = fields.text("python")?;
    if is_python_version(&text) {
        return Some(text);
    }
    let problem = "\"python\" is no version, which is one to three numbers with dots between them";
    let hint = "write it as python = \"3.11\" or \"3.11.7\"";
    let place = fields.get("python")?.span();
    fields
        .source
        .report(&place, Code::WrongValue, problem, Some(hint.to_owned()));
    None
}

/// A digest by hex in key `sha256`, or with `sha256:` before it; its absence is an error.
pub(super) fn digest_of(fields: &Fields<'_, '_>, key: &str, what: &str) -> Option<Digest> {
    let Some(node) = fields.get(key) else {
        let problem = format!("{what} has no \"{key}\", so anything could stand in its place");
        let hint = "`sealstone lint --fix-digests` writes the digest of what is there now";
        fields.source.report(
            fields.place(),
            Code::InputWithoutDigest,
            problem,
            Some(hint.to_owned()),
        );
        return None;
    };
    let text = fields.source.text(node, key)?;
    if text == "todo" {
        let problem = format!("{what} still has the digest \"todo\"");
        let hint = "bring the data here, then `sealstone lint --fix-digests`";
        fields.source.report(
            &node.span(),
            Code::Unfinished,
            problem,
            Some(hint.to_owned()),
        );
        return None;
    }
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    let digest = Digest::parse(&format!("sha256:{hex}")).ok();
    if digest.is_none() {
        let problem =
            format!("\"{key}\" of {what} is no SHA-256 in 64 lowercase hexadecimal digits");
        fields
            .source
            .report(&node.span(), Code::WrongValue, problem, None);
    }
    digest
}

/// What is done so that two runs do the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Determinism {
    /// The class that every output has to reach where nothing else is said.
    pub class: Option<Class>,
    /// The seed that stages get as `SEALSTONE_SEED`.
    pub seed: Option<u64>,
    /// `PYTHONHASHSEED`; always set.
    pub hash_seed: u64,
    /// Threads of every numerical library.
    pub threads: Option<u64>,
    /// Switches of PyTorch: for people. The code has to set them, and nothing looks whether it does.
    pub torch: Option<Torch>,
    /// Variables that every stage gets.
    pub env: BTreeMap<String, String>,
    /// Why the class is what it is.
    pub why: Option<String>,
}

/// Switches of PyTorch; each is the name of PyTorch's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Torch {
    /// `torch.use_deterministic_algorithms`.
    pub deterministic_algorithms: Option<bool>,
    /// `torch.backends.cudnn.benchmark`.
    pub cudnn_benchmark: Option<bool>,
    /// `torch.backends.cuda.matmul.allow_tf32`.
    pub allow_tf32: Option<bool>,
    /// `torch.set_float32_matmul_precision`.
    pub matmul_precision: Option<String>,
}

/// Variables that Sealstone or its runners set; a recipe cannot.
const RESERVED: [&str; 7] = [
    "PATH",
    "HOME",
    "TMPDIR",
    "PYTHONHASHSEED",
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "SOURCE_DATE_EPOCH",
];

/// Reads a table of environment variables.
pub(super) fn variables(fields: &Fields<'_, '_>, key: &str) -> BTreeMap<String, String> {
    let Some(table) = fields.table(key) else {
        return BTreeMap::new();
    };
    let mut variables = BTreeMap::new();
    for (name, place, node) in table.entries() {
        let is_name = !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let reserved = RESERVED.contains(&name) || name.starts_with("SEALSTONE_");
        if !is_name || reserved {
            let problem = match reserved {
                true => format!("\"{name}\" is set by sealstone itself"),
                false => "a variable's name has letters, digits and _".to_owned(),
            };
            fields
                .source
                .report(&place, Code::WrongValue, problem, None);
            continue;
        }
        if let Some(text) = fields.source.text(node, &format!("variable {name}")) {
            variables.insert(name.to_owned(), text.to_owned());
        }
    }
    variables
}

impl Determinism {
    pub(super) fn read(fields: Fields<'_, '_>) -> Determinism {
        let fields = fields.only(&[
            "class",
            "seed",
            "hash_seed",
            "threads",
            "torch",
            "env",
            "why",
        ]);
        let torch = fields.table("torch").map(|fields| {
            let known = [
                "deterministic_algorithms",
                "cudnn_benchmark",
                "allow_tf32",
                "matmul_precision",
            ];
            let fields = fields.only(&known);
            let precisions = [
                ("highest", "highest"),
                ("high", "high"),
                ("medium", "medium"),
            ];
            Torch {
                deterministic_algorithms: fields.flag("deterministic_algorithms"),
                cudnn_benchmark: fields.flag("cudnn_benchmark"),
                allow_tf32: fields.flag("allow_tf32"),
                matmul_precision: fields
                    .word("matmul_precision", &precisions)
                    .map(str::to_owned),
            }
        });
        Determinism {
            class: fields.word("class", &CLASSES),
            seed: fields.integer("seed", 0),
            hash_seed: fields.integer("hash_seed", 0).unwrap_or(0),
            threads: fields.integer("threads", 1),
            torch,
            env: variables(&fields, "env"),
            why: fields.words("why"),
        }
    }
}

/// How far stages have to be kept from the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsolationDemand {
    /// Less than this, and a replay says nothing; never I5, which no run can show of itself.
    pub minimum: Isolation,
    /// Whether stages may reach a network.
    pub network: Network,
    /// The runner.
    pub runner: RunnerChoice,
}

impl Default for IsolationDemand {
    fn default() -> IsolationDemand {
        IsolationDemand {
            minimum: Isolation::I1,
            network: Network::Deny,
            runner: RunnerChoice::Auto,
        }
    }
}

impl IsolationDemand {
    pub(super) fn read(fields: Fields<'_, '_>) -> IsolationDemand {
        let fields = fields.only(&["minimum", "network", "runner"]);
        let default = IsolationDemand::default();
        let minimum = fields.word("minimum", &ISOLATIONS);
        if let (Some(Isolation::I5), Some(node)) = (minimum, fields.get("minimum")) {
            let problem = "no run can show \"I5\" of itself: whose machine it was is decided from the keys of two statements";
            let hint = "write I4, and independent = true in the policy";
            let source = fields.source;
            source.report(
                &node.span(),
                Code::WrongValue,
                problem,
                Some(hint.to_owned()),
            );
        }
        IsolationDemand {
            minimum: minimum.unwrap_or(default.minimum),
            network: fields.word("network", NETWORKS).unwrap_or(default.network),
            runner: fields.word("runner", RUNNERS).unwrap_or(default.runner),
        }
    }
}

/// How much more than the baseline a replay may use before it is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageBounds {
    /// Time, as a multiple.
    pub wall_ratio: Option<Decimal>,
    /// Peak memory.
    pub rss_ratio: Option<Decimal>,
    /// Time to load data.
    pub load_ratio: Option<Decimal>,
    /// Processor time.
    pub cpu_ratio: Option<Decimal>,
    /// Peak memory of accelerators.
    pub gpu_memory_ratio: Option<Decimal>,
    /// Most threads at a time.
    pub threads_ratio: Option<Decimal>,
}

impl UsageBounds {
    pub(super) fn read(fields: Fields<'_, '_>) -> UsageBounds {
        let fields = fields.only(&[
            "wall_ratio",
            "rss_ratio",
            "load_ratio",
            "cpu_ratio",
            "gpu_memory_ratio",
            "threads_ratio",
        ]);
        UsageBounds {
            wall_ratio: fields.bound("wall_ratio"),
            rss_ratio: fields.bound("rss_ratio"),
            load_ratio: fields.bound("load_ratio"),
            cpu_ratio: fields.bound("cpu_ratio"),
            gpu_memory_ratio: fields.bound("gpu_memory_ratio"),
            threads_ratio: fields.bound("threads_ratio"),
        }
    }
}

/// Runs with several seeds, whose spread says what is noise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replicates {
    /// The seeds; each once.
    pub seeds: Vec<u64>,
    /// The stages that are run with each; at least one.
    pub stages: Vec<String>,
    /// Confidence of intervals, between 0 and 1.
    pub confidence: Decimal,
    /// Where it stands.
    pub place: Place,
}

impl Replicates {
    pub(super) fn read(fields: Fields<'_, '_>) -> Option<Replicates> {
        let fields = fields.only(&["seeds", "stages", "confidence"]);
        let source = fields.source;
        let seeds: Vec<u64> = fields
            .list("seeds")
            .iter()
            .filter_map(|node| source.integer(node, "a seed", 0))
            .collect();
        let mut distinct = seeds.clone();
        distinct.sort_unstable();
        distinct.dedup();
        if distinct.len() != seeds.len() {
            let place = fields.get("seeds")?.span();
            source.report(
                &place,
                Code::Twice,
                "a seed stands there twice, and would count as two runs",
                None,
            );
        }
        let stages = fields.texts("stages");
        let listed = fields.require("stages");
        if let Some(node) = listed.filter(|node| is_empty_list(node.get_ref())) {
            source.report(
                &node.span(),
                Code::WrongValue,
                "replicates of no stage would all be the one run",
                Some(
                    "name the stages to run with each seed, such as [\"train\", \"evaluate\"]"
                        .to_owned(),
                ),
            );
        }
        let confidence = confidence(&fields);
        fields.require("seeds")?;
        Some(Replicates {
            seeds,
            stages,
            confidence: confidence.or_else(|| "0.95".parse().ok())?,
            place: source.place(fields.place().start),
        })
    }
}

fn is_empty_list(value: &DeValue<'_>) -> bool {
    value.as_array().is_some_and(|list| list.is_empty())
}

/// An exception from what a fact of the environment would weigh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exemption {
    /// The fact, its level, why, and until when.
    pub rule: Override,
    /// Where it stands in the recipe.
    pub place: Place,
}

impl Exemption {
    pub(super) fn read(fields: Fields<'_, '_>) -> Option<Exemption> {
        let fields = fields.only(&["fact", "level", "why", "expires"]);
        let source = fields.source;
        fields.require("level");
        let expires = fields.get("expires").and_then(|node| {
            let date = match node.get_ref() {
                DeValue::Datetime(moment) if moment.time.is_none() => moment.date,
                _ => None,
            };
            let day = date.and_then(|date| Day::new(date.year, date.month, date.day));
            if day.is_none() {
                let problem = "\"expires\" is a date without quotes, such as 2026-02-01";
                source.report(&node.span(), Code::WrongValue, problem, None);
            }
            day
        });
        let level = fields.word("level", &LEVELS);
        let (fact, why) = (fields.require_text("fact"), fields.require_text("why"));
        let rule = Override {
            fact: fact?,
            level: level?,
            why: why?,
            expires,
        };
        if let Err(error) = rule.check() {
            let known: Vec<&str> = FACTS.iter().map(|rule| rule.name).collect();
            let hint = suggest(&rule.fact, &known);
            source.report(fields.place(), Code::UnknownName, error.to_string(), hint);
        }
        Some(Exemption {
            rule,
            place: source.place(fields.place().start),
        })
    }
}
