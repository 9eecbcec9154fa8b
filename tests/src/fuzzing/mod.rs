//! The bodies of the fuzz targets: one function per format, each stating what must hold for any input.
//!
//! Owns the properties. They run under libFuzzer from `tests/fuzz` and, over the seeds there and
//! generated inputs, as an ordinary test here, so that a target cannot rot between two fuzzing sessions.
//! Uses nothing but `sealstone-spec` and, for files of other tools and places where bundles lie, `sealstone`, because the
//! fuzzing workspace includes these files by path.
//!
//! Invariant: a target panics only if a property is broken, and says whether the input was accepted,
//! so that a target that refuses everything is noticed.

mod authoring;
mod documents;
mod evidence;
mod keys;
mod log;
mod places;
mod policy;
mod recipe;
mod statements;
mod text;

/// Runs one input; `true` if the parser under test accepted it.
pub type Target = fn(&[u8]) -> bool;

/// Every target by its name, which is also the name of its libFuzzer binary and of its seeds.
pub const TARGETS: &[(&str, Target)] = &[
    ("digest", text::digest),
    ("hasher", text::hasher),
    ("repository", text::repository),
    ("tag", text::tag),
    ("reference", text::reference),
    ("image_reference", text::image_reference),
    ("byte_range", text::byte_range),
    ("upload_range", text::upload_range),
    ("bundle_path", text::bundle_path),
    ("manifest", documents::manifest),
    ("model_bundle", documents::model_bundle),
    ("canonical_json", documents::canonical_json),
    ("public_key", evidence::public_key),
    ("key_list", evidence::key_list),
    ("openssh_key", evidence::openssh_key),
    ("envelope", evidence::envelope),
    ("sealed_payload", evidence::sealed_payload),
    ("statement", evidence::statement),
    ("sigstore_bundle", evidence::sigstore_bundle),
    ("predicate", statements::predicate),
    ("bill_of_materials", statements::bill_of_materials),
    ("packages", statements::packages),
    ("report", statements::report),
    ("checkpoint", log::checkpoint),
    ("log_proof", log::proof),
    ("log_trust", log::trust),
    ("log_entry", log::entry),
    ("tlog_entry", log::tlog_entry),
    ("add_checkpoint", log::add_checkpoint),
    ("cosignatures", log::cosignatures),
    ("log_tile", log::tile),
    ("model_signature", evidence::model_signature),
    ("cosign_key", keys::cosign_key),
    ("private_key", keys::private_key),
    ("release_archive", places::release_archive),
    ("layout_index", places::layout_index),
    ("signature_list", places::signature_list),
    ("policy", policy::document),
    ("signed_policy", policy::signed),
    ("glob", policy::glob),
    ("recipe", recipe::recipe),
    ("recipe_lock", recipe::lock),
    ("dvc_project", authoring::dvc_project),
    ("mlproject", authoring::mlproject),
    ("trace", authoring::trace),
];

/// Runs the target called `name`.
///
/// # Panics
/// If there is none, or a property does not hold.
pub fn run(name: &str, input: &[u8]) -> bool {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    let (_, target) = found.expect("the name stands in TARGETS");
    target(input)
}

fn as_text(input: &[u8]) -> Option<&str> {
    std::str::from_utf8(input).ok()
}

#[cfg(test)]
mod tests;
