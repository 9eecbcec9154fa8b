//! Landlock: what a process may open.
//!
//! Owns the ruleset, which needs no privilege. Does not apply it: `child` does, after the fork, and tries each time
//! whether it holds. System calls are refused by `filter`.
//! Known gaps: before version 9 of Landlock, a socket file of another program can be connected to if its
//! mode permits; before version 6 (Linux 6.12), signals can be sent to other programs of the user.

use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, Scope, path_beneath_rules,
};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// What may be opened.
#[derive(Debug, Default)]
pub(super) struct Visible {
    /// Files and directories to read and execute.
    pub(super) read: Vec<PathBuf>,
    /// Directories to do anything in, and devices to read and write.
    pub(super) write: Vec<PathBuf>,
}

/// A ruleset that permits this and nothing else.
///
/// # Errors
/// Why the kernel has it not, for people.
pub(super) fn ruleset(visible: &Visible) -> Result<OwnedFd, String> {
    // The first version is a must: reading and writing of files. What later ones add is taken if there.
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .and_then(Ruleset::create)
        .map_err(|error| format!("the kernel has no Landlock: {error}"))?;
    let all = AccessFs::from_all(ABI::V9);
    let read = AccessFs::from_read(ABI::V9);
    let created = Ruleset::default()
        .handle_access(all)
        .and_then(|ruleset| ruleset.scope(Scope::from_all(ABI::V6)))
        .and_then(Ruleset::create)
        .and_then(|ruleset| ruleset.add_rules(path_beneath_rules(&visible.read, read)))
        .and_then(|ruleset| ruleset.add_rules(path_beneath_rules(&visible.write, all)))
        .map_err(|error| format!("cannot make a Landlock ruleset: {error}"))?;
    let file: Option<OwnedFd> = created.into();
    file.ok_or_else(|| "the kernel has no Landlock".to_owned())
}

/// Whether this kernel's Landlock governs how files are cut.
pub(super) fn governs_truncation() -> bool {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V3))
        .and_then(Ruleset::create)
        .is_ok()
}
