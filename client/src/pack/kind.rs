//! What a file is for, from its name.
//!
//! The rule is frozen: another answer for the same name would change the digest of every bundle.

use super::glob::Glob;
use crate::error::{Error, Result};
use sealstone_spec::bundle::FileKind;
use std::str::FromStr;

/// A rule that says what the files of a pattern are for: `weights=*.dat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindRule {
    kind: FileKind,
    glob: Glob,
}

impl FromStr for KindRule {
    type Err = Error;

    fn from_str(text: &str) -> Result<KindRule> {
        let Some((kind, glob)) = text.split_once('=') else {
            return Err(Error::usage(format!(
                "\"{text}\" is no rule: write KIND=PATTERN"
            )));
        };
        let kind = match kind {
            "weight" | "weights" => FileKind::Weight,
            "weight.config" | "config" => FileKind::WeightConfig,
            "doc" | "docs" => FileKind::Doc,
            "code" => FileKind::Code,
            "dataset" | "datasets" | "data" => FileKind::Dataset,
            other => {
                return Err(Error::usage(format!("\"{other}\" is no kind of file"))
                    .hint("the kinds are weights, config, doc, code and dataset"));
            }
        };
        Ok(KindRule {
            kind,
            glob: Glob::parse(glob)?,
        })
    }
}

const WEIGHTS: [&str; 17] = [
    "safetensors",
    "gguf",
    "ggml",
    "onnx",
    "onnx_data",
    "bin",
    "pt",
    "pth",
    "ckpt",
    "h5",
    "hdf5",
    "msgpack",
    "pb",
    "tflite",
    "keras",
    "joblib",
    "pkl",
];
const CODE: [&str; 14] = [
    "py", "pyi", "ipynb", "sh", "bash", "c", "cc", "cpp", "cu", "h", "hpp", "rs", "js", "ts",
];
const DOC: [&str; 9] = [
    "md", "rst", "pdf", "html", "png", "jpg", "jpeg", "svg", "gif",
];
const DATASET: [&str; 7] = ["parquet", "arrow", "csv", "tsv", "jsonl", "npy", "npz"];
const DOC_NAMES: [&str; 9] = [
    "license",
    "licence",
    "notice",
    "readme",
    "copying",
    "authors",
    "changelog",
    "citation.cff",
    "copyright",
];

/// What a rule says that the file at `path` is for: the last one that names it.
pub(super) fn kind_by_rule(path: &str, rules: &[KindRule]) -> Option<FileKind> {
    let mut rules = rules.iter().rev();
    let rule = rules.find(|rule| rule.glob.matches(path, false));
    rule.map(|rule| rule.kind)
}

/// What the file at `path` is for by its extension; whatever is unknown is configuration, because a
/// model may need it to load.
pub(super) fn kind_by_name(path: &str) -> FileKind {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    let (stem, extension) = name.rsplit_once('.').unwrap_or((&name, ""));
    // LICENSE, LICENSE.txt, README.md; but LICENSE.py is code.
    if DOC_NAMES.contains(&name.as_str())
        || (DOC_NAMES.contains(&stem) && ["txt", "md", "rst"].contains(&extension))
    {
        return FileKind::Doc;
    }
    if name.ends_with(".dataset.json") {
        return FileKind::Dataset;
    }
    let lists: [(&[&str], FileKind); 4] = [
        (&WEIGHTS, FileKind::Weight),
        (&CODE, FileKind::Code),
        (&DOC, FileKind::Doc),
        (&DATASET, FileKind::Dataset),
    ];
    let known = lists
        .into_iter()
        .find(|(extensions, _)| extensions.contains(&extension));
    known.map_or(FileKind::WeightConfig, |(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_say_what_files_are_for() {
        for (path, kind) in [
            ("model-00001-of-00002.safetensors", FileKind::Weight),
            ("onnx/model.onnx", FileKind::Weight),
            ("a/MODEL.GGUF", FileKind::Weight),
            ("config.json", FileKind::WeightConfig),
            ("tokenizer.json", FileKind::WeightConfig),
            ("vocab.txt", FileKind::WeightConfig),
            ("merges", FileKind::WeightConfig),
            ("model.safetensors.index.json", FileKind::WeightConfig),
            ("README.md", FileKind::Doc),
            ("LICENSE", FileKind::Doc),
            ("license.txt", FileKind::Doc),
            ("src/train.py", FileKind::Code),
            ("data/train.dataset.json", FileKind::Dataset),
            ("data/train.parquet", FileKind::Dataset),
        ] {
            assert_eq!(kind_by_name(path), kind, "{path}");
        }
    }

    #[test]
    fn rules_win_and_the_last_one_over_others() {
        let rules: Vec<KindRule> = ["weights=*.dat", "code=/x/*.dat"]
            .iter()
            .map(|rule| rule.parse().unwrap())
            .collect();
        assert_eq!(kind_by_rule("a.dat", &rules), Some(FileKind::Weight));
        assert_eq!(kind_by_rule("x/a.dat", &rules), Some(FileKind::Code));
        assert_eq!(kind_by_rule("a.md", &rules), None);
        assert!("other=*".parse::<KindRule>().is_err());
        assert!("weights".parse::<KindRule>().is_err());
    }
}
