//! A control group for one run: memory and processes bounded together, and accounted for.
//!
//! Owns both versions of the interface, as files below a root, so that tests bring their own. Does not
//! mount anything and changes no group but its own.
//! Invariant: a group that could not get all its controllers is not used; the reason is told.

use super::outcome::{Measured, Method};
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Where groups are looked for.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// `/proc/self/mountinfo`.
    pub(super) mounts: String,
    /// `/proc/self/cgroup`.
    pub(super) own: String,
}

impl Places {
    /// Those of this process.
    pub(super) fn of_this_process() -> Places {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Places {
            mounts: read("/proc/self/mountinfo"),
            own: read("/proc/self/cgroup"),
        }
    }
}

/// A group of its own for a run; removed with this value.
#[derive(Debug)]
pub(super) struct Group {
    version: Version,
    directories: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// What a group does for a run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bounds {
    pub(super) memory: Option<u64>,
    pub(super) pids: Option<u32>,
}

static NEXT: AtomicU64 = AtomicU64::new(0);

impl Group {
    /// Makes a group below one of this process.
    ///
    /// # Errors
    /// Why there is none, for people.
    pub(super) fn create(places: &Places, bounds: Bounds) -> Result<Group, String> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("sealstone-{}-{number}", std::process::id());
        let second = version_two(places, &name, bounds);
        let Err(why_not_two) = second else {
            return second;
        };
        version_one(places, &name, bounds).map_err(|why_not_one| {
            if why_not_one == why_not_two {
                why_not_one
            } else {
                format!("version 2: {why_not_two}; version 1: {why_not_one}")
            }
        })
    }

    /// What does it, for people.
    pub(super) fn mechanism(&self) -> &'static str {
        match self.version {
            Version::One => "control groups, version 1",
            Version::Two => "control group, version 2",
        }
    }

    /// The directories, one for each controller (version 1) or one for all.
    #[cfg(test)]
    pub(super) fn directories(&self) -> &[PathBuf] {
        &self.directories
    }

    /// The files by which a process joins.
    pub(super) fn doors(&self) -> std::io::Result<Vec<File>> {
        let open = |directory: &PathBuf| {
            OpenOptions::new()
                .write(true)
                .open(directory.join("cgroup.procs"))
        };
        self.directories.iter().map(open).collect()
    }

    fn number(&self, file: &str) -> Option<u64> {
        self.directories.iter().find_map(|directory| {
            fs::read_to_string(directory.join(file))
                .ok()?
                .trim()
                .parse()
                .ok()
        })
    }

    fn field(&self, file: &str, field: &str) -> Option<u64> {
        let text = self
            .directories
            .iter()
            .find_map(|directory| fs::read_to_string(directory.join(file)).ok())?;
        text.lines().find_map(|line| {
            line.strip_prefix(field)?
                .strip_prefix(' ')?
                .trim()
                .parse()
                .ok()
        })
    }

    /// The most memory that was in use at a time.
    pub(super) fn peak_memory(&self) -> Option<Measured> {
        match self.version {
            Version::Two => Some(Measured::new(self.number("memory.peak")?, Method::Cgroup2)),
            Version::One => Some(Measured::new(
                self.number("memory.max_usage_in_bytes")?,
                Method::Cgroup1,
            )),
        }
    }

    /// Processor time in programs and in the kernel, where the group accounts for it.
    pub(super) fn processor_time(&self) -> Option<(Measured, Measured)> {
        if self.version == Version::One {
            return None;
        }
        let of = |field| {
            Some(Measured::new(
                self.field("cpu.stat", field)? / 1000,
                Method::Cgroup2,
            ))
        };
        Some((of("user_usec")?, of("system_usec")?))
    }

    /// Whether the kernel ended a process because memory was used up.
    pub(super) fn ran_out_of_memory(&self) -> bool {
        let killed = match self.version {
            Version::Two => self.field("memory.events", "oom_kill"),
            Version::One => self.field("memory.oom_control", "oom_kill"),
        };
        killed.is_some_and(|count| count > 0)
    }

    /// Whether a process was refused because there were too many.
    pub(super) fn ran_out_of_processes(&self) -> bool {
        self.field("pids.events", "max")
            .is_some_and(|count| count > 0)
    }

    /// Kills everything in it at once, where the kernel can.
    pub(super) fn kill(&self) {
        if self.version == Version::Two {
            for directory in &self.directories {
                let _ = fs::write(directory.join("cgroup.kill"), "1");
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for directory in &self.directories {
            // A group empties a moment after its last process is gone.
            for _ in 0..50 {
                match fs::remove_dir(directory) {
                    Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
                        std::thread::sleep(Duration::from_millis(10));
                    }
                    _ => break,
                }
            }
        }
    }
}

/// A mounted hierarchy: where, which part of it, and its options.
struct Mount {
    at: PathBuf,
    root: PathBuf,
    kind: String,
    options: String,
}

fn mounts(text: &str) -> Vec<Mount> {
    text.lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let left: Vec<&str> = left.split(' ').collect();
            let right: Vec<&str> = right.split(' ').collect();
            Some(Mount {
                root: PathBuf::from(left.get(3)?),
                at: PathBuf::from(left.get(4)?),
                kind: (*right.first()?).to_owned(),
                options: (*right.get(2)?).to_owned(),
            })
        })
        .collect()
}

/// Where this process stands in a hierarchy; `controller` is empty for version 2.
fn own_path(own: &str, controller: &str) -> Option<PathBuf> {
    own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let mine = if controller.is_empty() {
            controllers.is_empty()
        } else {
            controllers.split(',').any(|name| name == controller)
        };
        mine.then(|| PathBuf::from(path))
    })
}

/// The directory of this process's own group in a mounted hierarchy.
fn own_directory(mount: &Mount, path: &Path) -> PathBuf {
    // Inside a container the mount shows only a part: the path within it is what follows its root.
    let within = path
        .strip_prefix(&mount.root)
        .or_else(|_| path.strip_prefix("/"))
        .unwrap_or(path);
    mount.at.join(within)
}

fn version_two(places: &Places, name: &str, bounds: Bounds) -> Result<Group, String> {
    let mount = mounts(&places.mounts)
        .into_iter()
        .find(|mount| mount.kind == "cgroup2")
        .ok_or("no control groups are mounted")?;
    let path = own_path(&places.own, "").ok_or("this process has no group")?;
    let own = own_directory(&mount, &path);
    let controllers = fs::read_to_string(own.join("cgroup.controllers")).unwrap_or_default();
    for needed in ["memory", "pids"] {
        if !controllers
            .split_whitespace()
            .any(|controller| controller == needed)
        {
            return Err(format!(
                "the controller \"{needed}\" is not in \"{}\"",
                own.display()
            ));
        }
    }
    // A group that holds processes cannot hand controllers on, so beside its own place the one above is tried.
    let above = own
        .parent()
        .filter(|parent| parent.starts_with(&mount.at) && own != mount.at);
    let mut reason = String::new();
    for parent in [Some(own.as_path()), above].into_iter().flatten() {
        let _ = fs::write(parent.join("cgroup.subtree_control"), "+memory +pids +cpu");
        let _ = fs::write(parent.join("cgroup.subtree_control"), "+memory +pids");
        let directory = parent.join(name);
        if let Err(error) = fs::create_dir(&directory) {
            reason = format!("cannot make a group in \"{}\": {error}", parent.display());
            continue;
        }
        let group = Group {
            version: Version::Two,
            directories: vec![directory.clone()],
        };
        if !directory.join("memory.max").exists() || !directory.join("pids.max").exists() {
            reason = format!("\"{}\" does not hand on its controllers", parent.display());
            continue;
        }
        if let Err(error) = OpenOptions::new()
            .write(true)
            .open(directory.join("cgroup.procs"))
        {
            reason = format!("cannot join a group in \"{}\": {error}", parent.display());
            continue;
        }
        let set = |file: &str, value: String| {
            fs::write(directory.join(file), value)
                .map_err(|error| format!("cannot set {file}: {error}"))
        };
        if let Some(memory) = bounds.memory {
            set("memory.max", memory.to_string())?;
            // Swap would let it go on, slower than anyone would wait for.
            let _ = set("memory.swap.max", "0".to_owned());
        }
        if let Some(pids) = bounds.pids {
            set("pids.max", pids.to_string())?;
        }
        return Ok(group);
    }
    Err(reason)
}

fn version_one(places: &Places, name: &str, bounds: Bounds) -> Result<Group, String> {
    let mounts = mounts(&places.mounts);
    let mut group = Group {
        version: Version::One,
        directories: Vec::new(),
    };
    for controller in ["memory", "pids"] {
        let mount = mounts
            .iter()
            .find(|mount| {
                mount.kind == "cgroup"
                    && mount.options.split(',').any(|option| option == controller)
            })
            .ok_or_else(|| "no control groups are mounted".to_owned())?;
        let path = own_path(&places.own, controller)
            .ok_or_else(|| format!("this process has no {controller} group"))?;
        let own = own_directory(mount, &path);
        let directory = own.join(name);
        fs::create_dir(&directory).map_err(|error| {
            format!(
                "cannot make a {controller} group in \"{}\": {error}",
                own.display()
            )
        })?;
        group.directories.push(directory.clone());
        OpenOptions::new()
            .write(true)
            .open(directory.join("cgroup.procs"))
            .map_err(|error| format!("cannot join a {controller} group: {error}"))?;
        let set = |file: &str, value: String| {
            fs::write(directory.join(file), value)
                .map_err(|error| format!("cannot set {file}: {error}"))
        };
        match (controller, bounds.memory, bounds.pids) {
            ("memory", Some(memory), _) => {
                set("memory.limit_in_bytes", memory.to_string())?;
                let _ = set("memory.memsw.limit_in_bytes", memory.to_string());
            }
            ("pids", _, Some(pids)) => set("pids.max", pids.to_string())?,
            _ => {}
        }
    }
    Ok(group)
}

#[cfg(test)]
mod tests;
