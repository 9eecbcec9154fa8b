//! The parts of this machine that a stage may see when it brings no root file system.
//!
//! Invariant: nothing of `/etc` is visible that says who or where this machine is, and nothing of anybody's
//! home but the directories that the job names. Nothing of `/proc` is writable but what belongs to a process.

use super::job::{Device, Net, StageJob};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Directories of programs and libraries; those that are links stay links.
pub(super) const DIRECTORIES: [&str; 8] = [
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt",
];

/// What the dynamic linker and the names of programs need.
pub(super) const SETTINGS: [&str; 4] = [
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/alternatives",
];

/// What a stage that may fetch needs beside.
pub(super) const NETWORK_SETTINGS: [&str; 6] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/ssl",
    "/etc/ca-certificates",
    "/etc/pki",
];

/// What libraries read to count processors.
pub(super) const PROCESSORS: &str = "/sys/devices/system";

/// Devices that give nothing away.
pub(super) const DEVICES: [&str; 5] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
];

/// Where programs are looked for, after the job's own places.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `PATH` for a job.
pub(super) fn path(job: &StageJob) -> String {
    let mut path = String::new();
    for directory in &job.software.path {
        path.push_str(&directory.to_string_lossy());
        path.push(':');
    }
    path.push_str(PATH);
    path
}

/// Devices of accelerators that the job may use.
pub(super) fn accelerators(job: &StageJob) -> Vec<PathBuf> {
    if job.device == Device::Cpu {
        return Vec::new();
    }
    let entries = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("nvidia"))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

/// Files of `/etc` that are visible.
pub(super) fn settings(job: &StageJob) -> Vec<PathBuf> {
    let network = matches!(job.net, Net::Allow(_));
    let more = NETWORK_SETTINGS.iter().filter(|_| network);
    let all = SETTINGS.iter().chain(more).map(PathBuf::from);
    all.filter(|path| path.exists()).collect()
}

/// Files of `/proc` that are the kernel's own and yet tell of what is not the stage's: the caller's keys, and the
/// processes of the whole machine.
const TELLING: [&str; 4] = ["key-users", "keys", "latency_stats", "sched_debug"];

/// What of `/proc` belongs to the kernel and to no process.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct KernelFiles {
    /// Directories, and files that somebody may write: to be read only.
    pub(super) read_only: Vec<PathBuf>,
    /// Files that tell what only root may know, or of others: to be covered.
    pub(super) hidden: Vec<PathBuf>,
}

/// The kernel's own files in a `/proc`. A namespace of users does not keep root of this machine from them: they ask for
/// its number, not for its rights, and what is written to `/proc/sys/kernel/core_pattern` is run as root. That of a
/// sandbox has the same ones.
///
/// What belongs to a process stays writable: drivers of accelerators name their threads in `/proc/self/task/*/comm`, and
/// fail where they cannot.
pub(super) fn kernel_files(proc: &Path) -> KernelFiles {
    let mut files = KernelFiles::default();
    for entry in std::fs::read_dir(proc).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        // Of the link itself: those lead to a process.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        let mode = metadata.permissions().mode();
        if metadata.is_dir() {
            files.read_only.push(entry.path());
        } else if metadata.is_file() && (mode & 0o004 == 0 || TELLING.contains(&&*name)) {
            files.hidden.push(entry.path());
        } else if metadata.is_file() && mode & 0o222 != 0 {
            files.read_only.push(entry.path());
        }
    }
    files.read_only.sort();
    files.hidden.sort();
    files
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    #[test]
    fn what_is_the_kernels_is_found_and_what_is_a_process_is_left() {
        let proc = tempfile::tempdir().unwrap();
        for name in ["sys", "irq", "7"] {
            fs::create_dir(proc.path().join(name)).unwrap();
        }
        for (name, mode) in [
            ("cpuinfo", 0o444),
            ("mtrr", 0o644),
            ("sysrq-trigger", 0o200),
            ("kcore", 0o400),
            ("keys", 0o444),
        ] {
            let path = proc.path().join(name);
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        std::os::unix::fs::symlink("7", proc.path().join("self")).unwrap();
        let at = |names: &[&str]| -> Vec<PathBuf> {
            names.iter().map(|name| proc.path().join(name)).collect()
        };
        let found = kernel_files(proc.path());
        assert_eq!(found.read_only, at(&["irq", "mtrr", "sys"]));
        assert_eq!(found.hidden, at(&["kcore", "keys", "sysrq-trigger"]));
        let here = kernel_files(Path::new("/proc"));
        assert!(here.read_only.contains(&PathBuf::from("/proc/sys")));
        assert_eq!(
            kernel_files(&proc.path().join("none")),
            KernelFiles::default()
        );
    }
}
