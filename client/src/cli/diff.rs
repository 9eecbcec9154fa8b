//! `sealstone diff`: what changed between two releases.

use super::Context;
use super::connect::ConnectArgs;
use super::output::{in_line, readable_size};
use sealstone::compare::{ArtifactRule, TreeComparison, compare_tree};
use sealstone::releases::{
    FileChange, Regression, ReleaseDifference, ValueChange, baseline_of, compare_releases,
};
use sealstone::report::clean;
use sealstone::store::Location;
use sealstone::transfer::{Place, Requirement, TransferOptions, pull};
use sealstone::{Error, Result};
use sealstone_spec::compare::{Class, Outcome};
use sealstone_spec::name::Reference;
use serde_json::json;
use std::fmt::Write as _;

/// Arguments of `sealstone diff`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Files are compared by digest; parameters, metrics, data, stages, environment and dependencies come from recipe.lock
where both bundles hold one. --tensors also fetches both bundles (their digests are checked, signatures are not) and
compares files as what they are. Parameters are told with what they do. Metrics are judged by the newer recipe's rule
between releases: a loss in the direction of the metric, never a gain. With one bundle, the base is the release that
it names as its baseline. Exit code 3 with --refuse-regression if a metric lost more than its rule allows, is gone,
or if the newer bundle holds no recipe that its lock was made from: then nothing is judged.

Examples:
  sealstone diff registry.example/models/m:1.1.0
  sealstone diff registry.example/models/m:1.0.0 registry.example/models/m:1.1.0
  sealstone diff oci:bundle:1.0.0 oci:bundle:1.1.0 --tensors --output json")]
pub(crate) struct Args {
    /// The older release, or the newer one alone
    #[arg(value_name = "BASE")]
    base: Location,

    /// The newer release
    #[arg(value_name = "NOW")]
    now: Option<Location>,

    /// Refuse if a metric lost more than the newer recipe allows, or cannot be judged
    #[arg(long)]
    refuse_regression: bool,

    /// Fetch both and compare weights tensor by tensor
    #[arg(long)]
    tensors: bool,

    #[command(flatten)]
    connect: ConnectArgs,
}

/// Runs it.
pub(crate) async fn run(args: Args, context: &Context) -> Result<()> {
    let options = args.connect.options();
    let newer = args.now.as_ref().unwrap_or(&args.base);
    let (one, two) = (
        Place::open(&args.base, &options)?,
        Place::open(newer, &options)?,
    );
    let now = args.connect.resolve(newer, two.store()).await?;
    let base = match (&args.now, baseline_of(&now)?) {
        (Some(_), _) => args.connect.resolve(&args.base, one.store()).await?,
        (None, Some(digest)) => one.store().manifest(&Reference::Digest(digest)).await?,
        (None, None) => {
            return Err(Error::not_found(format!(
                "\"{newer}\" names no baseline, and no other bundle was given"
            ))
            .hint("write BASE NOW; sealstone pack --baseline writes one into a bundle"));
        }
    };
    let found = compare_releases((one.store(), &base), (two.store(), &now)).await?;
    let content = match args.tensors && !found.is_empty() {
        false => None,
        true => {
            let scratch = tempfile::tempdir()
                .map_err(|error| Error::io("making a temporary directory", error))?;
            let (left, right) = (scratch.path().join("base"), scratch.path().join("now"));
            let transfer = TransferOptions::default();
            pull(
                &one,
                &base,
                Requirement::NoSignatures,
                &left,
                false,
                &transfer,
            )
            .await?;
            pull(
                &two,
                &now,
                Requirement::NoSignatures,
                &right,
                false,
                &transfer,
            )
            .await?;
            let compare = move || {
                let rule = |_: &str| ArtifactRule::of(Class::Numeric);
                let found = compare_tree(&left, &right, &rule);
                drop(scratch);
                found
            };
            let joined = tokio::task::spawn_blocking(compare).await;
            Some(
                joined
                    .map_err(|error| Error::other("the comparison ended early").source(error))??,
            )
        }
    };
    let text = show(&found, content.as_ref());
    context
        .output
        .result(&json!({"difference": found, "content": content}), text);
    let lost: Vec<&Regression> = found
        .regressions
        .iter()
        .filter(|metric| !is_kept(metric.verdict.outcome))
        .collect();
    if args.refuse_regression && (!lost.is_empty() || !found.judged) {
        let mut error = Error::refused(match (found.locks, found.judged) {
            (false, _) => {
                "not both bundles hold a recipe.lock, so metrics cannot be judged".to_owned()
            }
            (true, false) => format!("{NOT_JUDGED}, so metrics cannot be judged"),
            (true, true) => format!("{} metrics are not kept", lost.len()),
        });
        for metric in lost {
            error = error.hint(format!("{}: {}", metric.name, metric.verdict.reason));
        }
        return Err(error);
    }
    Ok(())
}

/// Why nothing is judged although both bundles hold a lock.
const NOT_JUDGED: &str = "the newer bundle holds no recipe.toml that can be read and that its recipe.lock was made from, \
    or files of one bundle are not those of its recipe.lock";

/// A metric that the older release has not has lost nothing.
fn is_kept(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Pass | Outcome::New)
}

fn show(found: &ReleaseDifference, content: Option<&TreeComparison>) -> String {
    let mut text = format!(
        "files: {} the same, {} differ",
        found.files_same,
        found.files.len()
    );
    for file in &found.files {
        let _ = write!(text, "\n  {}", show_file(file));
    }
    if !found.locks && !found.files.is_empty() {
        text.push_str("\nnot both bundles hold a recipe.lock: nothing is known of parameters, metrics and environment");
    }
    for (title, list) in [
        ("parameters", &found.parameters),
        ("metrics", &found.metrics),
        ("data", &found.data),
        ("stages", &found.stages),
        ("dependencies", &found.dependencies),
        ("environment", &found.environment),
    ] {
        if !list.is_empty() {
            let _ = write!(text, "\n{title}:");
        }
        for change in list {
            let _ = write!(text, "\n  {}", show_value(change));
        }
    }
    if found.locks && !found.judged {
        let _ = write!(text, "\nmetrics are not judged: {NOT_JUDGED}");
    }
    for metric in &found.regressions {
        let verdict = &metric.verdict;
        let mark = match verdict.outcome {
            Outcome::Pass => "kept",
            Outcome::New => "new",
            _ => "NOT KEPT",
        };
        let (name, reason) = (in_line(&metric.name), in_line(&verdict.reason));
        let _ = write!(text, "\nmetric {name} {mark}: {reason}");
    }
    for file in content
        .map(|tree| tree.changed.as_slice())
        .unwrap_or_default()
    {
        let found = &file.comparison;
        let _ = write!(
            text,
            "\n{} is {} ({})",
            in_line(&file.path),
            found.class,
            found.format
        );
        if let Some(first) = &found.first {
            let place = in_line(&first.locator.to_string());
            let _ = write!(text, ", first at {place}: {}", in_line(&first.what));
        }
        if let Some(counts) = &found.counts {
            let _ = write!(
                text,
                ", {} of {} tensors and {} elements differ",
                counts.tensors_differing, counts.tensors, counts.elements_changed
            );
        }
    }
    text
}

fn show_file(file: &FileChange) -> String {
    let size = |size: Option<u64>| size.map(readable_size).unwrap_or_default();
    let path = in_line(&file.path);
    match (file.base, file.now) {
        (None, _) => format!("+ {path} {}", size(file.now_size)),
        (_, None) => format!("- {path} {}", size(file.base_size)),
        _ => format!(
            "~ {path} {} -> {}",
            size(file.base_size),
            size(file.now_size)
        ),
    }
}

fn show_value(change: &ValueChange) -> String {
    let side = |value: &Option<String>| clean(value.as_deref().unwrap_or("-"), 100);
    let role = change.role.map(|role| format!(" ({role})"));
    format!(
        "{}{}: {} -> {}",
        in_line(&change.name),
        role.unwrap_or_default(),
        side(&change.base),
        side(&change.now)
    )
}
