//! What a runner can do on this machine, as a probe has shown.
//!
//! Invariant: whatever is absent has a reason that a person can act on.

use super::RunnerKind;
use sealstone_spec::environment::Isolation;
use serde::Serialize;

/// One thing that a runner can or cannot do here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Capability {
    /// It was seen to work; `by` says what does it.
    Present {
        /// The mechanism.
        by: String,
    },
    /// It is not there.
    Absent {
        /// Why.
        reason: String,
    },
}

impl Capability {
    pub(super) fn present(by: impl Into<String>) -> Capability {
        Capability::Present { by: by.into() }
    }

    pub(super) fn absent(reason: impl Into<String>) -> Capability {
        Capability::Absent {
            reason: reason.into(),
        }
    }

    /// Whether it is there.
    pub fn is_present(&self) -> bool {
        matches!(self, Capability::Present { .. })
    }
}

/// What a runner can do on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// Which runner.
    pub runner: RunnerKind,
    /// Whether it runs anything at all.
    pub usable: Capability,
    /// Whether environment and directory are clean.
    pub scrubbed: Capability,
    /// Whether nothing beyond the machine can be reached.
    pub network_denied: Capability,
    /// Whether undeclared files cannot be read, nor anything but outputs written.
    pub files_denied: Capability,
    /// Whether system files come from a pinned root file system, if the job has one.
    pub rootfs: Capability,
    /// Whether the host name is set.
    pub host_name: Capability,
    /// Whether only the run's own processes are visible to it.
    pub processes_hidden: Capability,
    /// Whether a limit of memory holds for all processes together.
    pub memory_limit: Capability,
    /// Whether a limit of processes holds for all of them together.
    pub pids_limit: Capability,
    /// Whether an accelerator is there.
    pub gpu: Capability,
}

impl Capabilities {
    /// What can be promised to a job; `pinned` says whether it has a root file system.
    pub fn isolation(&self, pinned: bool) -> Isolation {
        if !self.usable.is_present() || !self.scrubbed.is_present() {
            Isolation::I0
        } else if !self.network_denied.is_present() {
            Isolation::I1
        } else if !self.files_denied.is_present() {
            Isolation::I2
        } else if !(pinned && self.rootfs.is_present()) {
            Isolation::I3
        } else {
            Isolation::I4
        }
    }

    /// The rows of the table, in order, with their names.
    pub fn rows(&self) -> [(&'static str, &Capability); 10] {
        [
            ("usable", &self.usable),
            ("scrubbed environment", &self.scrubbed),
            ("network denied", &self.network_denied),
            ("files denied", &self.files_denied),
            ("pinned root", &self.rootfs),
            ("host name set", &self.host_name),
            ("processes hidden", &self.processes_hidden),
            ("memory limit", &self.memory_limit),
            ("pids limit", &self.pids_limit),
            ("accelerator", &self.gpu),
        ]
    }

    /// A runner that cannot be used at all, for one reason.
    pub(super) fn unusable(runner: RunnerKind, reason: &str) -> Capabilities {
        let absent = || Capability::absent(reason);
        Capabilities {
            runner,
            usable: absent(),
            scrubbed: absent(),
            network_denied: absent(),
            files_denied: absent(),
            rootfs: absent(),
            host_name: absent(),
            processes_hidden: absent(),
            memory_limit: absent(),
            pids_limit: absent(),
            gpu: absent(),
        }
    }
}
