//! `sealstone compare`: two files or directories, held against each other as what they are.

use super::Context;
use super::output::in_line;
use sealstone::compare::{
    ArtifactComparison, ArtifactRule, TensorComparison, TreeComparison, compare_artifact,
    compare_tree,
};
use sealstone::report::clean;
use sealstone::{Error, Result};
use sealstone_spec::compare::{Class, Decimal, NanRule, Purpose};
use std::fmt::Write as _;
use std::path::PathBuf;

/// Arguments of `sealstone compare`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Classes, strongest first: bit_exact, content_exact, numeric, functional, statistical. Without bounds the defaults of
each element type hold; they are meant for weights after training, --outputs takes those for outputs of a fixed model.
Equally long lists in a list of a JSON document are the rows of a table, and each column of integers is judged by itself,
also where they are padded sequences: write labels that belong together into one list, or an array of one dimension.
Exit code 0 if the demanded class is reached, 3 if not.

Examples:
  sealstone compare base.safetensors new.safetensors --class numeric
  sealstone compare golden.npy out.npy --class functional --label-agreement 0.995
  sealstone compare ./base ./new --class content_exact --output json")]
pub(crate) struct Args {
    /// The baseline: a file or a directory
    #[arg(value_name = "BASE")]
    base: PathBuf,

    /// What is held against it
    #[arg(value_name = "NOW")]
    now: PathBuf,

    /// The class to reach
    #[arg(long, default_value = "bit_exact")]
    class: Class,

    /// Bound on |now - base|_2 / |base|_2 of each tensor
    #[arg(long, value_name = "NUMBER")]
    rel_l2: Option<Decimal>,

    /// Bound on max|now - base| / rms(base) of each tensor
    #[arg(long, value_name = "NUMBER")]
    scaled_max: Option<Decimal>,

    /// Largest difference of each number by itself
    #[arg(long, value_name = "NUMBER")]
    abs: Option<Decimal>,

    /// Largest difference of each number by itself, in parts of the baseline
    #[arg(long, value_name = "NUMBER")]
    rel: Option<Decimal>,

    /// Take NaN for equal to NaN in the same place
    #[arg(long)]
    nan_equal: bool,

    /// Take the default bounds for outputs of a fixed model, not those for trained weights
    #[arg(long)]
    outputs: bool,

    /// Smallest part of examples whose label is the same
    #[arg(long, value_name = "NUMBER")]
    label_agreement: Option<Decimal>,

    /// Smallest mean part of the highest scores that is the same
    #[arg(long, value_name = "NUMBER")]
    topk_overlap: Option<Decimal>,

    /// How many of the highest scores count
    #[arg(long, value_name = "K")]
    top_k: Option<u32>,

    /// Largest number of examples whose label differs
    #[arg(long, value_name = "COUNT")]
    max_flips: Option<u64>,
}

impl Args {
    fn rule(&self) -> ArtifactRule {
        ArtifactRule {
            class: self.class,
            purpose: if self.outputs {
                Purpose::Output
            } else {
                Purpose::Trained
            },
            rel_l2: self.rel_l2.clone(),
            scaled_max: self.scaled_max.clone(),
            abs: self.abs.clone(),
            rel: self.rel.clone(),
            nan: if self.nan_equal {
                NanRule::Equal
            } else {
                NanRule::Fails
            },
            label_agreement: self.label_agreement.clone(),
            topk_overlap: self.topk_overlap.clone(),
            top_k: self.top_k,
            max_flips: self.max_flips,
            ..ArtifactRule::default()
        }
    }
}

/// Runs it.
pub(crate) fn run(args: Args, context: &Context) -> Result<()> {
    let rule = args.rule();
    let (class, ok) = if args.base.is_dir() && args.now.is_dir() {
        let found = compare_tree(&args.base, &args.now, &|_| rule.clone())?;
        context.output.result(&found, show_tree(&found));
        (found.class, found.ok)
    } else {
        let found = compare_artifact(&args.base, &args.now, &rule)?;
        context.output.result(&found, show(&found));
        (found.class, found.ok)
    };
    if ok {
        return Ok(());
    }
    Err(Error::refused(format!(
        "the class is {class}, and {} was demanded",
        rule.class
    )))
}

fn show(found: &ArtifactComparison) -> String {
    let mut text = format!("{} ({})", found.class, found.format);
    if let Some(counts) = &found.counts {
        let _ = write!(
            text,
            "\ntensors    {} of {} differ, {} missing, {} added\nelements   {} of {} changed, {} change sign, NaN {} -> {}",
            counts.tensors_differing,
            counts.tensors,
            counts.tensors_missing,
            counts.tensors_added,
            counts.elements_changed,
            counts.elements,
            counts.sign_flips,
            counts.base_nan,
            counts.now_nan
        );
    }
    if let Some(first) = &found.first {
        let side = |value: &Option<String>| clean(value.as_deref().unwrap_or("-"), 1000);
        let _ = write!(
            text,
            "\nfirst      {}: {}\n  base     {}\n  now      {}",
            in_line(&first.locator.to_string()),
            in_line(&first.what),
            side(&first.base),
            side(&first.now)
        );
    }
    if let Some(worst) = &found.worst {
        let _ = write!(text, "\nworst      {}", show_tensor(worst));
    }
    for tensor in found.tensors.iter().take(20) {
        let _ = write!(text, "\n  {}", show_tensor(tensor));
    }
    if found.tensors.len() > 20 {
        let _ = write!(
            text,
            "\n  ... and {} more: --output json lists them",
            found.tensors.len() - 20
        );
    }
    if let Some(rows) = &found.rows {
        let _ = write!(
            text,
            "\nrows       {} before, {} now, {} differ in place",
            rows.base.rows, rows.now.rows, rows.changed
        );
    }
    if let Some(predictions) = &found.predictions {
        let _ = write!(
            text,
            "\nlabels     {} of {} differ",
            predictions.flips, predictions.examples
        );
        if let Some(problem) = &predictions.problem {
            let _ = write!(text, ": {}", in_line(problem));
        }
    }
    for rule in &found.stabilizers {
        let _ = write!(
            text,
            "\nlevelled   {}/{}: {}",
            rule.name, rule.version, rule.reason
        );
    }
    for note in &found.notes {
        let _ = write!(text, "\nnote       {}", clean(note, 1000));
    }
    text
}

fn show_tensor(tensor: &TensorComparison) -> String {
    let sign = if tensor.ok { "ok  " } else { "FAIL" };
    let name = clean(&tensor.tensor, 80);
    format!(
        "{sign} {name} {} {:?} rel_l2 {:.3e} scaled_max {:.3e} max_abs {:.3e} changed {}",
        tensor.element,
        tensor.shape,
        tensor.rel_l2.value(),
        tensor.scaled_max.value(),
        tensor.max_abs.value(),
        tensor.changed
    )
}

fn show_tree(found: &TreeComparison) -> String {
    let mut text = format!("{} ({} files are the same)", found.class, found.same);
    for path in &found.missing {
        let _ = write!(text, "\nmissing    {}", in_line(path));
    }
    for path in &found.added {
        let _ = write!(text, "\nadded      {}", in_line(path));
    }
    for file in &found.changed {
        let _ = write!(
            text,
            "\n{}: {}",
            in_line(&file.path),
            show(&file.comparison).replace('\n', "\n  ")
        );
    }
    text
}
