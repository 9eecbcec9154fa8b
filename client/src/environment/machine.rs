//! Facts of the machine, read from `/proc`, `/sys` and `/etc`.
//!
//! Invariant: what is not there is left out; nothing is guessed. What a pinned root file system has to say is read
//! inside of it: none of its links leads to a file of this machine.

use super::capture::Captured;
use super::inside;
use crate::runner::{Device, StageJob};
use sealstone_spec::digest::Digest;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Beginnings of names of features by which numeric libraries choose kernels.
const KERNEL_FEATURES: [&str; 16] = [
    "amx", "asimd", "avx", "bf16", "bmi", "crc32", "f16c", "fma", "fphp", "i8mm", "neon", "popcnt",
    "sse", "ssse", "sve", "vnni",
];

fn read(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path)
        .ok()
        .map(|text| text.trim().to_owned())
}

/// The value behind `name` and `separator` in the first line that has both.
fn field(text: &str, name: &str, separator: char) -> Option<String> {
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(separator)?;
        (found.trim() == name).then(|| value.trim().trim_matches('"').to_owned())
    })
}

pub(super) fn record(job: &StageJob, captured: &mut Captured) {
    captured.set("machine.arch", std::env::consts::ARCH);
    captured.set(
        "machine.endianness",
        if cfg!(target_endian = "big") {
            "big"
        } else {
            "little"
        },
    );
    processor(job, captured);
    system(job, captured);
    memory(captured);
    files(&job.scratch, captured);
    if job.device != Device::Cpu {
        accelerators(Path::new("nvidia-smi"), captured);
    }
    captured.set_some(
        "power.governor",
        read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
    );
    let mut volatile = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            captured.volatile.insert(name.to_owned(), value);
        }
    };
    volatile("time", Some(jiff::Timestamp::now().to_string()));
    volatile("process", Some(std::process::id().to_string()));
    volatile("load", read("/proc/loadavg"));
    let memory = read("/proc/meminfo").and_then(|text| field(&text, "MemAvailable", ':'));
    volatile("memory.available", memory);
}

fn processor(job: &StageJob, captured: &mut Captured) {
    let info = read("/proc/cpuinfo").unwrap_or_default();
    let of = |name: &str| field(&info, name, ':');
    captured.set_some(
        "cpu.vendor",
        of("vendor_id").or_else(|| of("CPU implementer")),
    );
    captured.set_some(
        "cpu.family",
        of("cpu family").or_else(|| of("CPU architecture")),
    );
    captured.set_some("cpu.model", of("model").or_else(|| of("CPU part")));
    captured.set_some(
        "cpu.stepping",
        of("stepping").or_else(|| of("CPU revision")),
    );
    captured.set_some("cpu.name", of("model name"));
    captured.set_some("cpu.microcode", of("microcode"));
    if let Some(flags) = of("flags").or_else(|| of("Features")) {
        let tunables = job
            .env
            .get("GLIBC_TUNABLES")
            .map(String::as_str)
            .unwrap_or_default();
        captured.set("cpu.features", features(&flags, tunables));
        captured.set(
            "machine.hypervisor",
            flags.split_whitespace().any(|flag| flag == "hypervisor"),
        );
    }
    let status = read("/proc/self/status").unwrap_or_default();
    let allowed = field(&status, "Cpus_allowed_list", ':')
        .map(|list| numbers(&list))
        .unwrap_or_default();
    let used: Vec<u32> = match (&job.limits.cpu_set, job.limits.cpus) {
        (Some(set), _) => set.clone(),
        (None, Some(cpus)) => allowed.into_iter().take(cpus as usize).collect(),
        (None, None) => allowed,
    };
    if let Ok(count) = i64::try_from(used.len())
        && count > 0
    {
        captured.set("cpu.count", count);
        let list: Vec<String> = used.iter().map(u32::to_string).collect();
        captured.set("cpu.affinity", list);
    }
    captured.set_some("cpu.quota", quota());
    captured.set_some(
        "cpu.smt",
        read("/sys/devices/system/cpu/smt/active").map(|text| text == "1"),
    );
    captured.set_some("numa.memories", field(&status, "Mems_allowed_list", ':'));
}

/// Features that choose kernels, less those that glibc is told not to use, sorted.
fn features(flags: &str, tunables: &str) -> Vec<String> {
    let masked: BTreeSet<String> = tunables
        .split(':')
        .filter_map(|setting| setting.split_once("hwcaps="))
        .flat_map(|(_, list)| list.split(','))
        .filter_map(|word| word.strip_prefix('-'))
        .map(|word| word.trim_end_matches("_Usable").to_ascii_lowercase())
        .collect();
    let chosen: BTreeSet<&str> = flags
        .split_whitespace()
        .filter(|flag| KERNEL_FEATURES.iter().any(|start| flag.starts_with(start)))
        .filter(|flag| !masked.contains(*flag))
        .collect();
    chosen.into_iter().map(str::to_owned).collect()
}

/// Reads `0-2,5`.
fn numbers(list: &str) -> Vec<u32> {
    let mut numbers = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.trim().parse::<u32>(), last.trim().parse::<u32>()) {
            numbers.extend(first..=last.min(first.saturating_add(65_535)));
        }
    }
    numbers
}

/// The share of processor time that control groups grant, in thousandths of a processor.
fn quota() -> Option<i64> {
    let share = |quota: &str, period: &str| {
        let (quota, period): (i64, i64) = (quota.trim().parse().ok()?, period.trim().parse().ok()?);
        (quota > 0 && period > 0).then(|| quota * 1000 / period)
    };
    if let Some(text) = read("/sys/fs/cgroup/cpu.max") {
        let (quota, period) = text.split_once(' ')?;
        return share(quota, period);
    }
    let at = |name: &str| read(format!("/sys/fs/cgroup/cpu/{name}"));
    share(&at("cpu.cfs_quota_us")?, &at("cpu.cfs_period_us")?)
}

fn system(job: &StageJob, captured: &mut Captured) {
    let root = job.software.rootfs.as_ref();
    let told = |path: &str| match root {
        Some(rootfs) => inside::read(&rootfs.directory, path).map(|text| text.trim().to_owned()),
        None => read(path),
    };
    captured.set_some("image.digest", root.map(|rootfs| rootfs.digest.to_string()));
    if let Some(release) = told("/etc/os-release").or_else(|| told("/usr/lib/os-release")) {
        captured.set_some("os.id", field(&release, "ID", '='));
        captured.set_some("os.version", field(&release, "VERSION_ID", '='));
    }
    captured.set_some("kernel.release", read("/proc/sys/kernel/osrelease"));
    let cmdline = read("/proc/cmdline").map(|text| Digest::sha256(text.as_bytes()).to_string());
    captured.set_some("kernel.cmdline", cmdline);
    for database in ["/var/lib/dpkg/status", "/lib/apk/db/installed"] {
        if let Some(text) = told(database) {
            captured.set(
                "system.packages",
                Digest::sha256(packages(&text).as_bytes()).to_string(),
            );
            break;
        }
    }
    let limits = read("/proc/self/limits").unwrap_or_default();
    let named = [
        ("Max open files", "open-files"),
        ("Max stack size", "stack"),
        ("Max address space", "address-space"),
        ("Max locked memory", "locked-memory"),
    ];
    let limits: BTreeMap<String, String> = named
        .iter()
        .filter_map(|(line, name)| {
            let rest = limits.lines().find_map(|text| text.strip_prefix(line))?;
            Some((
                (*name).to_owned(),
                rest.split_whitespace().next()?.to_owned(),
            ))
        })
        .collect();
    captured.set("limits", limits);
}

/// Names and versions in a database of dpkg or apk, sorted.
fn packages(database: &str) -> String {
    let mut found = BTreeSet::new();
    let mut name = "";
    for line in database.lines() {
        if let Some(next) = line
            .strip_prefix("Package: ")
            .or_else(|| line.strip_prefix("P:"))
        {
            name = next;
        } else if let Some(version) = line
            .strip_prefix("Version: ")
            .or_else(|| line.strip_prefix("V:"))
        {
            found.insert(format!("{name} {version}\n"));
        }
    }
    found.into_iter().collect()
}

fn memory(captured: &mut Captured) {
    let info = read("/proc/meminfo").unwrap_or_default();
    let mebibytes = |name: &str| {
        let text = field(&info, name, ':')?;
        let kibibytes: i64 = text.split_whitespace().next()?.parse().ok()?;
        Some(kibibytes / 1024)
    };
    captured.set_some("memory.total", mebibytes("MemTotal"));
    captured.set_some("memory.swap", mebibytes("SwapTotal"));
    let huge = read("/sys/kernel/mm/transparent_hugepage/enabled");
    let chosen = huge.and_then(|text| Some(text.split_once('[')?.1.split_once(']')?.0.to_owned()));
    captured.set_some("memory.huge_pages", chosen);
}

fn files(scratch: &Path, captured: &mut Captured) {
    let mounts = read("/proc/self/mountinfo").unwrap_or_default();
    let scratch = fs::canonicalize(scratch).unwrap_or_else(|_| scratch.to_path_buf());
    captured.set_some("files.system", file_system(&mounts, &scratch));
    let Ok(trial) = tempfile::tempdir_in(&scratch) else {
        return;
    };
    let names: Vec<String> = (0..24)
        .map(|number| format!("{:02}", number * 7 % 24))
        .collect();
    if names
        .iter()
        .any(|name| fs::write(trial.path().join(name), "").is_err())
    {
        return;
    }
    let listed: Vec<_> = fs::read_dir(trial.path())
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    captured.set("files.sorted", listed.is_sorted());
    if fs::write(trial.path().join("name"), "").is_ok() {
        captured.set("files.case_sensitive", !trial.path().join("NAME").exists());
    }
}

/// The kind of the file system that a path lies on.
fn file_system(mounts: &str, path: &Path) -> Option<String> {
    mounts
        .lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let at = left.split(' ').nth(4)?;
            path.starts_with(at).then(|| {
                (
                    at.len(),
                    right.split(' ').next().unwrap_or_default().to_owned(),
                )
            })
        })
        .max_by_key(|(length, _)| *length)
        .map(|(_, kind)| kind)
}

/// What `nvidia-smi` tells. One row for each accelerator; equal values are told once.
fn accelerators(program: &Path, captured: &mut Captured) {
    let columns = [
        "name",
        "compute_cap",
        "driver_version",
        "vbios_version",
        "ecc.mode.current",
        "mig.mode.current",
        "clocks.max.sm",
        "power.limit",
    ];
    let output = Command::new(program)
        .arg(format!("--query-gpu={}", columns.join(",")))
        .arg("--format=csv,noheader")
        .output();
    let Ok(output) = output else {
        captured
            .left_out
            .push("gpu: there is no nvidia-smi".to_owned());
        return;
    };
    if !output.status.success() {
        captured.left_out.push("gpu: nvidia-smi failed".to_owned());
        return;
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let rows: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split(',').map(str::trim).collect())
        .collect();
    let column = |index: usize| -> Option<String> {
        let values: BTreeSet<&str> = rows
            .iter()
            .filter_map(|row| row.get(index).copied())
            .collect();
        let values: Vec<&str> = values.into_iter().collect();
        (!values.is_empty()).then(|| values.join("; "))
    };
    let facts = [
        "gpu.name",
        "gpu.compute",
        "gpu.driver",
        "gpu.vbios",
        "gpu.ecc",
        "gpu.mig",
    ];
    for (index, fact) in facts.into_iter().enumerate() {
        captured.set_some(fact, column(index));
    }
    let clocks: Vec<String> = [column(6), column(7)].into_iter().flatten().collect();
    captured.set("gpu.clocks", clocks.join(", "));
    if let Ok(count) = i64::try_from(rows.len()) {
        captured.set("gpu.count", count);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn masked_features_are_left_out() {
        let flags = "fpu vme sse2 avx avx2 fma avx512f hypervisor bmi1";
        assert_eq!(
            features(flags, ""),
            ["avx", "avx2", "avx512f", "bmi1", "fma", "sse2"]
        );
        let tunables = "glibc.malloc.check=1:glibc.cpu.hwcaps=-AVX2_Usable,-FMA,AVX512F";
        assert_eq!(
            features(flags, tunables),
            ["avx", "avx512f", "bmi1", "sse2"]
        );
    }

    #[test]
    fn lists_of_processors_are_read() {
        assert_eq!(numbers("0-2,5"), [0, 1, 2, 5]);
        assert_eq!(numbers("7"), [7]);
        assert!(numbers("").is_empty() && numbers("x-y").is_empty());
    }

    #[test]
    fn the_longest_mount_is_the_one() {
        let mounts =
            "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:5 / /tmp rw shared:1 - tmpfs tmpfs rw\n";
        assert_eq!(
            file_system(mounts, Path::new("/tmp/x")),
            Some("tmpfs".into())
        );
        assert_eq!(file_system(mounts, Path::new("/tmpx")), Some("ext4".into()));
    }

    #[test]
    fn packages_are_sorted_and_states_do_not_count() {
        let one = "Package: b\nStatus: install ok\nVersion: 2\n\nPackage: a\nVersion: 1\n";
        let other = "Package: a\nVersion: 1\n\nPackage: b\nStatus: hold\nVersion: 2\n";
        assert_eq!(packages(one), "a 1\nb 2\n");
        assert_eq!(packages(one), packages(other));
        assert_eq!(packages("P:musl\nV:1.2\n"), "musl 1.2\n");
    }

    #[test]
    fn this_machine_has_facts() {
        let directory = tempfile::tempdir().unwrap();
        let job = StageJob::new(
            "capture",
            vec!["true".into()],
            directory.path(),
            directory.path(),
        );
        let facts = |_| {
            let mut captured = Captured::default();
            record(&job, &mut captured);
            captured
        };
        let (first, second) = (facts(1), facts(2));
        for name in [
            "machine.arch",
            "cpu.count",
            "kernel.release",
            "memory.total",
            "files.system",
            "files.case_sensitive",
        ] {
            assert!(first.facts.get(name).is_some(), "{name}");
        }
        assert_eq!(first.facts.digest(), second.facts.digest());
        assert!(first.left_out.is_empty(), "{:?}", first.left_out);
        assert!(first.volatile.contains_key("time"));
    }

    /// An image whose links name files of the machine that reads its facts.
    #[test]
    fn a_pinned_root_tells_its_own_facts() {
        use crate::runner::Rootfs;
        use sealstone_spec::environment::FactValue;
        use std::os::unix::fs::symlink;

        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("root");
        fs::create_dir_all(root.join("usr/lib")).unwrap();
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::create_dir_all(root.join("var/lib/dpkg")).unwrap();
        fs::write(
            root.join("usr/lib/os-release"),
            "ID=pinned\nVERSION_ID=\"7\"\n",
        )
        .unwrap();
        symlink("/usr/lib/os-release", root.join("etc/os-release")).unwrap();
        let status = place.path().join("status");
        fs::write(&status, "Package: a\nVersion: 1\n").unwrap();
        symlink(&status, root.join("var/lib/dpkg/status")).unwrap();
        let mut job = StageJob::new("capture", vec!["true".into()], "", "");
        job.software.rootfs = Some(Rootfs {
            directory: root,
            digest: Digest::sha256(b"the image"),
        });
        let mut captured = Captured::default();
        system(&job, &mut captured);
        let fact = |name: &str| captured.facts.get(name);
        assert_eq!(fact("os.id"), Some(&FactValue::from("pinned")));
        assert_eq!(fact("os.version"), Some(&FactValue::from("7")));
        assert_eq!(fact("system.packages"), None);
    }

    #[test]
    fn accelerators_are_told_once_with_clocks_and_power_cap() {
        use sealstone_spec::environment::FactValue;

        let place = tempfile::tempdir().unwrap();
        let told = |name: &str, text: &str| {
            let program = place.path().join(name);
            crate::scripts::write(&program, text);
            let mut captured = Captured::default();
            accelerators(&program, &mut captured);
            captured
        };
        let columns = "name,compute_cap,driver_version,vbios_version,ecc.mode.current,mig.mode.current,clocks.max.sm,power.limit";
        let row = "NVIDIA H100, 9.0, 570.86.15, 96.00.74.00.0D, Enabled, Disabled, 1980 MHz";
        let two = told(
            "two",
            &format!(
                "[ \"$1\" = --query-gpu={columns} ] || exit 2\necho '{row}, 700.00 W'\necho '{row}, 500.00 W'"
            ),
        );
        for (fact, due) in [
            ("gpu.name", "NVIDIA H100"),
            ("gpu.compute", "9.0"),
            ("gpu.driver", "570.86.15"),
            ("gpu.vbios", "96.00.74.00.0D"),
            ("gpu.ecc", "Enabled"),
            ("gpu.mig", "Disabled"),
            ("gpu.clocks", "1980 MHz, 500.00 W; 700.00 W"),
        ] {
            assert_eq!(two.facts.get(fact), Some(&FactValue::from(due)), "{fact}");
        }
        assert_eq!(two.facts.get("gpu.count"), Some(&FactValue::Whole(2)));
        assert!(two.left_out.is_empty(), "{:?}", two.left_out);
        let failed = told("failed", "exit 9");
        assert_eq!(failed.left_out, ["gpu: nvidia-smi failed"]);
        assert!(failed.facts.get("gpu.name").is_none());
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,60}") {
            let _ = (features(&text, &text), numbers(&text), packages(&text), file_system(&text, Path::new("/a")));
        }
    }
}
