//! What a name usually means: of a script, a metric, a parameter, a file.
//!
//! Guesses, by the words that people use; whoever reads the recipe decides. Does not look into files.

use sealstone_spec::recipe::StageKind;

/// The words of a name: parts between other characters, and humps.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for c in name.chars() {
        if !c.is_ascii_alphanumeric() || (c.is_ascii_uppercase() && was_lower) {
            words.push(String::new());
        }
        if c.is_ascii_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.push(c.to_ascii_lowercase());
        }
        was_lower = c.is_ascii_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

const KINDS: [(StageKind, &[&str]); 5] = [
    (
        StageKind::Fetch,
        &["download", "fetch", "pull", "ingest", "scrape"],
    ),
    (
        StageKind::Evaluate,
        &[
            "evaluate",
            "eval",
            "evaluation",
            "score",
            "metrics",
            "validate",
            "benchmark",
        ],
    ),
    (
        StageKind::Infer,
        &["predict", "infer", "inference", "prediction", "serve"],
    ),
    (
        StageKind::Train,
        &["train", "training", "fit", "finetune", "tune", "learn"],
    ),
    (
        StageKind::Prepare,
        &[
            "prepare",
            "prep",
            "preprocess",
            "preprocessing",
            "process",
            "clean",
            "features",
            "featurize",
            "featurise",
            "tokenize",
            "tokenise",
            "split",
            "dataset",
            "etl",
            "transform",
            "build",
            "data",
        ],
    ),
];

/// What a step of this name is for. The last word that says something decides: `train_eval` evaluates.
pub(super) fn stage_kind(name: &str) -> Option<StageKind> {
    let words = words(name);
    words.iter().rev().find_map(|word| {
        let fits = KINDS
            .iter()
            .find(|(_, known)| known.contains(&word.as_str()));
        fits.map(|(kind, _)| *kind)
    })
}

/// Which way is better, by the name of a metric. A name that says it was turned round (`neg_log_loss`, as scikit-learn
/// writes what it maximises) says nothing: taken for a loss, a worse model would pass as a gain.
pub(super) fn direction(name: &str) -> Option<&'static str> {
    const TURNED: [&str; 5] = ["neg", "negative", "negated", "minus", "inverse"];
    const HIGHER: [&str; 17] = [
        "accuracy",
        "acc",
        "auc",
        "auroc",
        "roc",
        "f1",
        "precision",
        "recall",
        "r2",
        "map",
        "ndcg",
        "bleu",
        "rouge",
        "iou",
        "dice",
        "mcc",
        "kappa",
    ];
    const LOWER: [&str; 15] = [
        "loss",
        "logloss",
        "error",
        "err",
        "rmse",
        "mse",
        "mae",
        "mape",
        "brier",
        "perplexity",
        "ppl",
        "wer",
        "cer",
        "fpr",
        "ece",
    ];
    let words = words(name);
    let has = |known: &[&str]| words.iter().any(|word| known.contains(&word.as_str()));
    match (has(&HIGHER), has(&LOWER)) {
        _ if has(&TURNED) => None,
        (true, false) => Some("higher"),
        (_, true) => Some("lower"),
        _ => None,
    }
}

/// What a parameter of this dotted name does.
pub(super) fn role(name: &str) -> Option<&'static str> {
    let last = name.rsplit('.').next().unwrap_or(name).to_ascii_lowercase();
    let is = |known: &[&str]| known.contains(&last.as_str());
    Some(if is(&["seed", "random_state", "random_seed"]) {
        "seed"
    } else if is(&[
        "lr",
        "learning_rate",
        "eta",
        "momentum",
        "betas",
        "optimizer",
        "solver",
    ]) {
        "optimizer"
    } else if is(&[
        "epochs",
        "n_epochs",
        "max_iter",
        "n_estimators",
        "iterations",
        "steps",
        "warmup",
        "num_boost_round",
    ]) {
        "schedule"
    } else if is(&["grad_clip", "clip", "max_grad_norm", "clip_norm"]) {
        "clipping"
    } else if is(&["batch_size", "batch"]) {
        "batch"
    } else if is(&[
        "c",
        "alpha",
        "l1",
        "l2",
        "l1_ratio",
        "weight_decay",
        "dropout",
        "reg_lambda",
        "lambda",
    ]) {
        "regularisation"
    } else if is(&[
        "hidden",
        "hidden_size",
        "layers",
        "n_layers",
        "max_depth",
        "depth",
        "num_leaves",
        "dim",
    ]) {
        "architecture"
    } else if is(&["test_size", "split", "val_size", "train_size", "n_samples"]) {
        "data"
    } else if is(&["precision", "dtype"]) {
        "numerics"
    } else if is(&["workers", "num_workers"]) {
        "data-loading"
    } else {
        return None;
    })
}

fn extension(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.')
        .map(|(_, extension)| extension.to_ascii_lowercase())
        .unwrap_or_default()
}

/// Whether a file is read by an interpreter, or says how others are built.
pub(super) fn is_code(path: &str) -> bool {
    let code = [
        "py", "pyi", "sh", "r", "jl", "sql", "toml", "yaml", "yml", "cfg", "ini", "lock", "md",
        "ipynb", "rs", "c", "cpp", "h", "so", "pyx", "lua", "pl", "js", "ts", "java", "scala",
    ];
    let extension = extension(path);
    code.contains(&extension.as_str())
}

/// Whether a file of parameters has this name.
pub(super) fn is_params(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let Some((stem, _)) = name.rsplit_once('.') else {
        return false;
    };
    let stems = [
        "params",
        "parameters",
        "hyperparams",
        "hyperparameters",
        "config",
        "conf",
        "settings",
        "train_config",
    ];
    let kinds = ["toml", "yaml", "yml", "json"];
    stems.contains(&stem.to_ascii_lowercase().as_str()) && kinds.contains(&extension(path).as_str())
}

/// Whether a JSON file of this name holds measurements.
pub(super) fn is_measured(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let told = [
        "metrics",
        "metric",
        "scores",
        "score",
        "results",
        "result",
        "eval",
        "evaluation",
        "report",
    ];
    extension(name) == "json" && words(name).iter().any(|word| told.contains(&word.as_str()))
}

/// A name that a recipe accepts, made of any text.
pub(super) fn plain_name(text: &str, otherwise: &str) -> String {
    let mut name: String = text
        .chars()
        .map(|c| match c {
            c if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '@') => c,
            _ => '-',
        })
        .take(64)
        .collect();
    while name.starts_with(|c: char| !c.is_ascii_alphanumeric()) {
        name.remove(0);
    }
    let name = name.trim_end_matches('-').to_owned();
    if name.is_empty() {
        otherwise.to_owned()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_scripts_say_what_they_are_for() {
        for (name, kind) in [
            ("prepare", Some(StageKind::Prepare)),
            ("01_make_dataset", Some(StageKind::Prepare)),
            ("trainModel", Some(StageKind::Train)),
            ("train_eval", Some(StageKind::Evaluate)),
            ("predict", Some(StageKind::Infer)),
            ("data_download", Some(StageKind::Fetch)),
            ("constraint", None),
        ] {
            assert_eq!(stage_kind(name), kind, "{name}");
        }
    }

    #[test]
    fn names_of_metrics_and_parameters_mean_what_people_mean() {
        assert_eq!(direction("val_auc"), Some("higher"));
        assert_eq!(direction("logLoss"), Some("lower"));
        assert_eq!(direction("accuracy_loss"), Some("lower"));
        assert_eq!(direction("rows"), None);
        for turned in [
            "neg_log_loss",
            "neg_mean_squared_error",
            "neg_root_mean_squared_error",
            "neg_brier_score",
            "test_neg_mean_absolute_error",
            "negLogLoss",
        ] {
            assert_eq!(direction(turned), None, "{turned}");
        }
        assert_eq!(role("model.C"), Some("regularisation"));
        assert_eq!(role("split.seed"), Some("seed"));
        assert_eq!(role("model.name"), None);
    }

    #[test]
    fn any_text_becomes_a_name() {
        for (text, name) in [
            ("My Model!", "My-Model"),
            ("--x", "x"),
            ("été", "t"),
            ("", "model"),
            ("...", "model"),
        ] {
            assert_eq!(plain_name(text, "model"), name, "{text}");
        }
    }
}
