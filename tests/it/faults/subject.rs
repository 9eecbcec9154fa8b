//! The projects that faults are put into, and what of each a fault has to know.
//!
//! Owns the words in which they differ, so that a fault which every project can have is written once. Does not own: what
//! the faults are, and what comes of them.
//! Invariant: the scripts of both import `json` on a line of its own, before everything that takes time.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;

/// Files by their paths in the project.
pub(super) type Files = BTreeMap<PathBuf, Vec<u8>>;

/// A text, and what a fault puts in its place.
pub(super) type Edit = (&'static str, &'static str);

/// An example.
#[derive(Debug)]
pub(super) struct Subject {
    /// Its folder in `tests/examples`.
    pub(super) name: &'static str,
    /// Its input.
    pub(super) data: &'static str,
    /// Two lines of that, counted from 0, that are not the same.
    pub(super) rows: (usize, usize),
    /// Its first stage, and the script of that.
    pub(super) first: (&'static str, &'static str),
    /// What training makes.
    pub(super) weights: &'static str,
    /// A JSON file that training writes last, and the variable in which it has it.
    pub(super) document: (&'static str, &'static str),
    /// The file of its parameters, which no stage declares.
    pub(super) params: &'static str,
    /// Another learning rate, there.
    pub(super) rate: Edit,
    /// How a report tells that.
    pub(super) rate_told: &'static str,
    /// Another seed, in the recipe.
    pub(super) seed: Edit,
    /// A metric beside the accuracy, and its place.
    pub(super) loss: (&'static str, &'static str),
    /// The share of one answer in the accuracy.
    pub(super) one_answer: &'static str,
    /// Metrics of a model without mistakes.
    pub(super) perfect: &'static str,
    /// A small package: in the lock, in the name of its wheel, and as a fact.
    pub(super) package: (&'static str, &'static str, &'static str),
    /// What a run of the project as it stands has written.
    pub(super) written: OnceLock<Files>,
}

/// scikit-learn on a table, in three stages.
pub(super) static DIGITS: Subject = Subject {
    name: "digits",
    data: "data/digits.csv",
    rows: (5, 900),
    first: ("prepare", "src/prepare.py"),
    weights: "model/weights.safetensors",
    document: ("model/config.json", "config"),
    params: "params.toml",
    rate: ("learning_rate = 0.2", "learning_rate = 0.21"),
    rate_told: "train.learning_rate 0.2→0.21",
    seed: ("seed = 20250805", "seed = 20250806"),
    loss: ("log_loss", "pointer:/log_loss"),
    one_answer: "1 / 450",
    perfect: "{\"accuracy\": 1.0, \"log_loss\": 0.0, \"images\": 450}",
    package: (
        "threadpoolctl",
        "threadpoolctl-",
        "python.packages/threadpoolctl",
    ),
    written: OnceLock::new(),
};

/// PyTorch on a text, in two stages.
pub(super) static WORDS: Subject = Subject {
    name: "words",
    data: "data/text.txt",
    rows: (5, 100),
    first: ("train", "src/train.py"),
    weights: "model/weights.pt",
    document: ("model/letters.json", "about"),
    params: "params.json",
    rate: ("\"lr\": 0.01", "\"lr\": 0.02"),
    rate_told: "optim.lr 0.01→0.02",
    seed: ("seed = 11", "seed = 12"),
    loss: ("loss", "pointer:/loss"),
    one_answer: "1 / 2000",
    perfect: "{\"loss\": 0.0, \"accuracy\": 1.0, \"letters\": 2000}",
    package: (
        "typing-extensions",
        "typing_extensions-",
        "python.packages/typing-extensions",
    ),
    written: OnceLock::new(),
};
