//! `sealstone diff`: what changed between two releases.

use super::Context;
use super::connect::ConnectArgs;
use super::output::readable_size;
use sealstone::compare::{ArtifactRule, TreeComparison, compare_tree};
use sealstone::releases::{FileChange, ReleaseDifference, ValueChange, compare_releases};
use sealstone::store::Location;
use sealstone::transfer::{Place, Requirement, TransferOptions, pull};
use sealstone::{Error, Result};
use sealstone_spec::compare::Class;
use serde_json::json;
use std::fmt::Write as _;

/// Arguments of `sealstone diff`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Files are compared by digest; parameters, metrics, data, stages, environment and dependencies come from recipe.lock
where both bundles hold one. --tensors also fetches both bundles (their digests are checked, signatures are not) and
compares files as what they are.

Examples:
  sealstone diff registry.example/models/m:1.0.0 registry.example/models/m:1.1.0
  sealstone diff oci:bundle:1.0.0 oci:bundle:1.1.0 --tensors --output json")]
pub(crate) struct Args {
    /// The older release
    #[arg(value_name = "BASE")]
    base: Location,

    /// The newer release
    #[arg(value_name = "NOW")]
    now: Location,

    /// Fetch both and compare weights tensor by tensor
    #[arg(long)]
    tensors: bool,

    #[command(flatten)]
    connect: ConnectArgs,
}

/// Runs it.
pub(crate) async fn run(args: Args, context: &Context) -> Result<()> {
    let options = args.connect.options();
    let (one, two) = (
        Place::open(&args.base, &options)?,
        Place::open(&args.now, &options)?,
    );
    let base = args.base.resolve(one.store()).await?;
    let now = args.now.resolve(two.store()).await?;
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
    Ok(())
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
    for file in content
        .map(|tree| tree.changed.as_slice())
        .unwrap_or_default()
    {
        let found = &file.comparison;
        let _ = write!(
            text,
            "\n{} is {} ({})",
            file.path, found.class, found.format
        );
        if let Some(first) = &found.first {
            let _ = write!(text, ", first at {}: {}", first.locator, first.what);
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
    match (file.base, file.now) {
        (None, _) => format!("+ {} {}", file.path, size(file.now_size)),
        (_, None) => format!("- {} {}", file.path, size(file.base_size)),
        _ => format!(
            "~ {} {} -> {}",
            file.path,
            size(file.base_size),
            size(file.now_size)
        ),
    }
}

fn show_value(change: &ValueChange) -> String {
    let side = |value: &Option<String>| {
        let text = value.as_deref().unwrap_or("-");
        text.chars()
            .filter(|c| !c.is_control())
            .take(100)
            .collect::<String>()
    };
    format!(
        "{}: {} -> {}",
        change.name,
        side(&change.base),
        side(&change.now)
    )
}
