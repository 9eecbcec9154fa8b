//! What a stage leaves open, leaves to the machine, or says of itself that nothing holds it to.
//!
//! Owns the warnings about one stage by itself; whether its files are there is for `files`.

use super::super::finding::{Code, Place};
use super::super::stage::Stage;
use super::super::words::{Role, StageKind};
use super::super::{Origin, Recipe};
use super::texts::is_missing;
use crate::compare::Class;

/// Extensions of files that are data, whatever stage reads them.
const DATA: [&str; 16] = [
    "csv",
    "tsv",
    "jsonl",
    "parquet",
    "arrow",
    "feather",
    "npy",
    "npz",
    "h5",
    "hdf5",
    "safetensors",
    "gguf",
    "onnx",
    "pt",
    "pth",
    "bin",
];

pub(super) fn check_stage(
    recipe: &Recipe,
    stage: &Stage,
    say: &mut impl FnMut(Code, Place, String, &str),
) {
    let name = &stage.name;
    let seeded = recipe.determinism.seed.is_some()
        || recipe
            .params
            .roles
            .iter()
            .any(|(_, role)| *role == Role::Seed);
    if matches!(stage.kind, StageKind::Prepare | StageKind::Train) && !seeded {
        let hint = "state seed = 1 under [determinism] and use SEALSTONE_SEED, or give a parameter the role \"seed\"";
        say(
            Code::NoSeed,
            stage.place,
            format!("stage \"{name}\" has no seed"),
            hint,
        );
    }
    if matches!(stage.kind, StageKind::Train | StageKind::Infer) && stage.device.is_none() {
        let hint = "state device = \"cpu\" or \"cuda:0\"";
        say(
            Code::NoDevice,
            stage.place,
            format!("stage \"{name}\" does not say on which device it runs"),
            hint,
        );
    }
    let unenforced = [
        ("gpu", stage.gpu.is_some()),
        ("checkpoint_every", stage.checkpoint_every.is_some()),
    ];
    for (key, _) in unenforced.iter().filter(|(_, stated)| *stated) {
        let hint = "it is for people: accelerators are compared as facts of the environment, checkpoints are the code's";
        say(
            Code::Unenforced,
            stage.place,
            format!("nothing holds stage \"{name}\" to {key}"),
            hint,
        );
    }
    let accelerated = stage.gpu.is_some()
        || stage
            .device
            .as_deref()
            .is_some_and(|device| device != "cpu");
    let has_batch = recipe
        .params
        .roles
        .iter()
        .any(|(_, role)| *role == Role::Batch);
    if stage.kind == StageKind::Train && accelerated && !has_batch {
        let hint = "give the parameter with the batch size the role \"batch\"";
        say(
            Code::NoBatchSize,
            stage.place,
            format!(
                "stage \"{name}\" trains on an accelerator, and no parameter is its batch size"
            ),
            hint,
        );
    }
    if stage.shell {
        let hint =
            "write the program and its arguments as a list; what needs a shell can be a script";
        say(
            Code::Shell,
            stage.place,
            format!("stage \"{name}\" leaves its command line to a shell"),
            hint,
        );
    }
    if let Some(class) = stage.require
        && class < Class::BitExact
        && is_missing(stage.why.as_deref())
    {
        let hint = "add why = \"...\" to the stage: whoever meets a failure wants to know";
        say(
            Code::NoWhy,
            stage.place,
            format!(
                "stage \"{name}\" demands no more than {class} of its outputs, without a reason"
            ),
            hint,
        );
    }
    for (path, tolerance) in &stage.tolerance {
        if is_missing(tolerance.bounds.why.as_deref()) {
            let hint = "add why = \"...\": whoever meets a failure wants to know";
            say(
                Code::NoWhy,
                tolerance.place,
                format!("the tolerance for \"{path}\" has no reason"),
                hint,
            );
        }
    }
    for path in &stage.reads {
        let extension = path
            .as_str()
            .rsplit_once('.')
            .map_or("", |(_, extension)| extension);
        if recipe.origin_of(path) == Origin::Source && DATA.contains(&extension) {
            let hint = "declare it under [[input]] with its digest: `sealstone lint --fix-digests` fills that in";
            say(
                Code::DataAsSource,
                stage.place,
                format!("stage \"{name}\" reads \"{path}\", which no input pins"),
                hint,
            );
        }
        if recipe
            .params
            .file
            .as_ref()
            .is_some_and(|file| path.overlaps(file))
        {
            let hint = "read the parameters from the file that SEALSTONE_PARAMS names: it has the profile's values";
            say(
                Code::ReadsParametersFile,
                stage.place,
                format!(
                    "stage \"{name}\" reads \"{path}\" itself, so a profile cannot change its parameters"
                ),
                hint,
            );
        }
    }
}
