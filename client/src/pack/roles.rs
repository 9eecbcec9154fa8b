//! What the files of a project are for: from its recipe, its lock and their names.
//!
//! Frozen like the kinds by name: another answer would change the digest of every sealed bundle.

use super::kind::kind_by_name;
use sealstone_spec::bundle::FileKind;
use sealstone_spec::recipe::{FileRole, Lock, LockedFile, Recipe, StageKind};
use sealstone_spec::role::BundleRole;
use std::collections::BTreeMap;

/// Kind and role of every file of a lock, by path.
pub(super) fn roles(recipe: &Recipe, lock: &Lock) -> BTreeMap<String, (FileKind, BundleRole)> {
    let mut found: BTreeMap<String, (FileKind, BundleRole)> = lock
        .files
        .iter()
        .map(|file| (file.path.as_str().to_owned(), role(recipe, file)))
        .collect();
    // A model whose weights are in a format that no extension tells: all that training wrote is weights.
    let is_weights = |(kind, role): &(FileKind, BundleRole)| {
        *role == BundleRole::Weights && *kind == FileKind::Weight
    };
    if !found.values().any(is_weights) {
        for (kind, role) in found.values_mut() {
            if *role == BundleRole::Config {
                (*kind, *role) = (FileKind::Weight, BundleRole::Weights);
            }
        }
    }
    found
}

fn role(recipe: &Recipe, file: &LockedFile) -> (FileKind, BundleRole) {
    let path = file.path.as_str();
    let named = kind_by_name(path);
    let unless_code = |kind| match named {
        FileKind::Code => FileKind::Code,
        _ => kind,
    };
    match file.role {
        FileRole::Source => (FileKind::Code, BundleRole::Source),
        FileRole::Input => (FileKind::Dataset, BundleRole::Data),
        FileRole::Params => (FileKind::WeightConfig, BundleRole::Parameters),
        FileRole::Environment => (FileKind::Code, BundleRole::Environment),
        FileRole::Test => (unless_code(FileKind::Dataset), BundleRole::Test),
        FileRole::Output => output(recipe, path, named),
        // Roles that later versions of locks may have.
        _ => (named, BundleRole::of_kind(named)),
    }
}

fn output(recipe: &Recipe, path: &str, named: FileKind) -> (FileKind, BundleRole) {
    let mut metrics = recipe.metrics().iter();
    if metrics.any(|metric| metric.from.path.as_str() == path) {
        return (FileKind::Doc, BundleRole::Metrics);
    }
    let Some(stage) = recipe.writer_of(path) else {
        return (named, BundleRole::Output);
    };
    if stage
        .trace
        .as_ref()
        .is_some_and(|trace| trace.as_str() == path)
    {
        return (FileKind::Doc, BundleRole::Trace);
    }
    if stage.kind != StageKind::Train {
        let kind = match named {
            FileKind::WeightConfig => FileKind::Dataset,
            other => other,
        };
        return (kind, BundleRole::Output);
    }
    let is_model = recipe.model().is_some_and(|model| model.as_str() == path);
    match named {
        FileKind::WeightConfig if !is_model => (FileKind::WeightConfig, BundleRole::Config),
        _ => (FileKind::Weight, BundleRole::Weights),
    }
}
