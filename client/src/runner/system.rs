//! The parts of this machine that a stage may see when it brings no root file system.
//!
//! Invariant: nothing of `/etc` is visible that says who or where this machine is, and nothing of anybody's
//! home but the directories that the job names.

use super::job::{Device, Net, StageJob};
use std::path::PathBuf;

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
