//! The processes of a run, looked at from outside.
//!
//! Invariant: a process that is gone between two looks is no error; what cannot be read is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A process below a keeper, or below one that lost its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) id: i32,
    /// 1 for a child of the process that was looked below.
    pub(super) depth: u32,
    pub(super) threads: u64,
    pub(super) rss_pages: u64,
}

/// A look at all processes below one.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    pub(super) processes: Vec<Process>,
}

impl Look {
    pub(super) fn threads(&self) -> u64 {
        self.processes.iter().map(|process| process.threads).sum()
    }

    pub(super) fn rss_bytes(&self) -> u64 {
        let pages: u64 = self.processes.iter().map(|process| process.rss_pages).sum();
        pages.saturating_mul(PAGE_BYTES)
    }
}

const PAGE_BYTES: u64 = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    id: i32,
    parent: i32,
    session: i32,
    dead: bool,
    threads: u64,
    started: u64,
    rss_pages: u64,
}

/// All processes below `root`, itself and dead ones not included, from a `/proc`.
pub(super) fn below(proc: &Path, root: i32) -> Look {
    Look {
        processes: under(&children(proc), root, 0),
    }
}

/// What processes that a keeper left are known by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marks {
    /// Its number, which its session has too.
    pub(super) keeper: i32,
    /// When it started, as the kernel counts: they did not before.
    pub(super) since: u64,
    /// Filters of system calls that it has itself, of which they have more. `None` if that tells nothing.
    pub(super) filters: Option<u64>,
}

impl Marks {
    fn fit(&self, proc: &Path, line: &Line) -> bool {
        if line.started < self.since {
            return false;
        }
        let Some(own) = self.filters else {
            return true;
        };
        let more = || {
            let status = read(&proc.join(line.id.to_string()).join("status"));
            let filters = status.and_then(|status| filters(&status));
            filters.is_some_and(|filters| filters > own)
        };
        line.session == self.keeper || more()
    }
}

/// How many filters of system calls a process has, as its `/proc/ID/status` says. They pass to what it starts, nothing
/// takes them away, and the dead still have them. Linux before 5.9 says only whether there are any.
pub(super) fn filters(status: &str) -> Option<u64> {
    let field = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name))?;
        value.trim().parse::<u64>().ok()
    };
    field("Seccomp_filters:").or_else(|| Some(u64::from(field("Seccomp:")? == 2)))
}

/// How many this thread has; `None` if more of them could not be seen: it has some, and this kernel does not count.
pub(super) fn own_filters() -> Option<u64> {
    let status = read(Path::new("/proc/thread-self/status"))?;
    let counts = status.contains("\nSeccomp_filters:");
    filters(&status).filter(|own| counts || *own == 0)
}

/// Children of `own` that it did not start but got when what kept them was killed, dead ones too, and all below them.
/// They are in no session of its own, and bear these marks; `keepers` are in none either.
pub(super) fn strays(
    proc: &Path,
    own: i32,
    marks: &Marks,
    keepers: &BTreeSet<i32>,
) -> Vec<Process> {
    let children = children(proc);
    let this = children.values().flatten().find(|line| line.id == own);
    let Some(session) = this.map(|line| line.session) else {
        return Vec::new();
    };
    let mut strays = Vec::new();
    for line in children.get(&own).into_iter().flatten() {
        let started_here = line.session == session || keepers.contains(&line.id);
        if !started_here && marks.fit(proc, line) {
            strays.push(line.process(1));
            strays.extend(under(&children, line.id, 1));
        }
    }
    strays
}

/// When a process started, in the kernel's ticks since the machine did; `None` if it is gone.
pub(super) fn started(proc: &Path, id: i32) -> Option<u64> {
    let text = read(&proc.join(id.to_string()).join("stat"))?;
    Some(parse(&text)?.started)
}

/// Reads what the kernel tells of a process. Its name stands there as it is: any bytes that a process gave itself, or the
/// first fifteen of a file's name, cut through a letter. A process must not become invisible by that.
fn read(path: &Path) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

impl Line {
    fn process(&self, depth: u32) -> Process {
        Process {
            id: self.id,
            depth,
            threads: self.threads,
            rss_pages: self.rss_pages,
        }
    }
}

/// All processes, by their parents.
fn children(proc: &Path) -> BTreeMap<i32, Vec<Line>> {
    let mut children: BTreeMap<i32, Vec<Line>> = BTreeMap::new();
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let is_process = name
            .to_str()
            .is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
        if !is_process {
            continue;
        }
        let Some(text) = read(&entry.path().join("stat")) else {
            continue;
        };
        if let Some(line) = parse(&text) {
            children.entry(line.parent).or_default().push(line);
        }
    }
    children
}

/// The living below `root`, which has this depth itself.
fn under(children: &BTreeMap<i32, Vec<Line>>, root: i32, depth: u32) -> Vec<Process> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::from([root]);
    let mut queue = vec![(root, depth)];
    while let Some((parent, depth)) = queue.pop() {
        for line in children.get(&parent).into_iter().flatten() {
            if !seen.insert(line.id) {
                continue;
            }
            queue.push((line.id, depth + 1));
            if !line.dead {
                found.push(line.process(depth + 1));
            }
        }
    }
    found
}

/// Reads a line of `/proc/ID/stat`. The name in parentheses may hold anything, parentheses too.
fn parse(text: &str) -> Option<Line> {
    let id = text.split(' ').next()?.parse().ok()?;
    let rest: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let field = |number: usize| rest.get(number - 3).copied();
    Some(Line {
        id,
        parent: field(4)?.parse().ok()?,
        session: field(6)?.parse().ok()?,
        dead: matches!(field(3)?, "Z" | "X"),
        threads: field(20)?.parse().ok()?,
        started: field(22)?.parse().ok()?,
        rss_pages: field(24)?.parse().unwrap_or(0),
    })
}

/// Threads of all processes of a user on this machine: what the kernel counts against its limit.
pub(super) fn threads_of_user(proc: &Path, user: u32) -> u64 {
    let mut threads = 0;
    for entry in fs::read_dir(proc).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        if std::os::unix::fs::MetadataExt::uid(&metadata) != user {
            continue;
        }
        if let Some(text) = read(&entry.path().join("stat")) {
            threads += parse(&text).map_or(0, |line| line.threads);
        }
    }
    threads
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn stat(id: i32, name: &str, state: &str, parent: i32, threads: u64, rss: i64) -> String {
        let zeros = "0 ".repeat(15);
        format!("{id} ({name}) {state} {parent} {zeros}{threads} 0 0 0 {rss} 0 0")
    }

    #[test]
    fn names_with_parentheses_do_not_mislead() {
        let line = parse(&stat(7, "a) Z 1 (b", "S", 3, 2, 11)).unwrap();
        assert_eq!(
            (
                line.id,
                line.parent,
                line.dead,
                line.threads,
                line.rss_pages
            ),
            (7, 3, false, 2, 11)
        );
    }

    #[test]
    fn only_what_is_below_is_seen() {
        let proc = tempfile::tempdir().unwrap();
        for (id, parent, state) in [
            (10, 1, "S"),
            (11, 10, "R"),
            (12, 11, "S"),
            (13, 11, "Z"),
            (20, 1, "S"),
        ] {
            let directory = proc.path().join(id.to_string());
            fs::create_dir(&directory).unwrap();
            fs::write(directory.join("stat"), stat(id, "x", state, parent, 3, 5)).unwrap();
        }
        fs::create_dir(proc.path().join("99")).unwrap();
        fs::write(proc.path().join("uptime"), "1 1").unwrap();
        let look = below(proc.path(), 10);
        let mut found: Vec<(i32, u32)> = look
            .processes
            .iter()
            .map(|process| (process.id, process.depth))
            .collect();
        found.sort_unstable();
        assert_eq!(found, [(11, 1), (12, 2)]);
        assert_eq!(look.threads(), 6);
        assert_eq!(look.rss_bytes(), 10 * PAGE_BYTES);
    }

    #[test]
    fn strays_are_what_this_process_did_not_start() {
        let proc = tempfile::tempdir().unwrap();
        // Number, parent, session, start, state. 10 looks, in session 5.
        for (id, parent, session, started, state) in [
            (10, 1, 5, 100, "S"),
            (11, 10, 5, 700, "S"),
            (12, 10, 12, 710, "S"),
            (13, 10, 21, 720, "S"),
            (14, 13, 14, 730, "S"),
            (15, 13, 21, 730, "Z"),
            (16, 10, 16, 740, "Z"),
            (17, 10, 17, 600, "S"),
            (18, 11, 18, 750, "S"),
            (19, 10, 8, 690, "Z"),
        ] {
            let directory = proc.path().join(id.to_string());
            fs::create_dir(&directory).unwrap();
            let zeros = "0 ".repeat(13);
            let line =
                format!("{id} (x) {state} {parent} 0 {session} {zeros}1 0 {started} 0 5 0 0");
            fs::write(directory.join("stat"), line).unwrap();
            // One has more than the two that came with the machine.
            let filters = if id == 13 { 4 } else { 2 };
            let status = format!("Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t{filters}\n");
            fs::write(directory.join("status"), status).unwrap();
        }
        let found = |filters: Option<u64>| {
            let marks = Marks {
                keeper: 8,
                since: 650,
                filters,
            };
            let found = strays(proc.path(), 10, &marks, &BTreeSet::from([12]));
            let mut found: Vec<(i32, u32)> = found
                .iter()
                .map(|process| (process.id, process.depth))
                .collect();
            found.sort_unstable();
            found
        };
        // Not its own child and what is below that, no keeper, nothing older.
        assert_eq!(found(None), [(13, 1), (14, 2), (16, 1), (19, 1)]);
        // What this process got from others has no more filters, and is in no keeper's session.
        assert_eq!(found(Some(2)), [(13, 1), (14, 2), (19, 1)]);
        assert_eq!(found(Some(4)), [(19, 1)]);
        assert_eq!(started(proc.path(), 13), Some(720));
        assert_eq!(started(proc.path(), 99), None);
        let marks = Marks {
            keeper: 8,
            since: 0,
            filters: None,
        };
        assert!(strays(proc.path(), 99, &marks, &BTreeSet::new()).is_empty());
    }

    #[test]
    fn names_that_are_not_text_hide_nobody() {
        let proc = tempfile::tempdir().unwrap();
        // Number, parent, session. 10 looks; 12 is below one with such a name.
        for (id, parent, session) in [(10, 1, 5), (11, 10, 11), (12, 11, 11)] {
            let directory = proc.path().join(id.to_string());
            fs::create_dir(&directory).unwrap();
            let zeros = "0 ".repeat(13);
            let mut stat = format!("{id} (").into_bytes();
            stat.extend(b"\xff) S 1 (\xd0");
            stat.extend(format!(") S {parent} 0 {session} {zeros}3 0 700 0 5 0 0").bytes());
            fs::write(directory.join("stat"), stat).unwrap();
            let mut status = b"Name:\t\xff) S 1 (\xd0\n".to_vec();
            status.extend(b"Seccomp:\t2\nSeccomp_filters:\t3\n");
            fs::write(directory.join("status"), status).unwrap();
        }
        let seen = |processes: Vec<Process>| -> Vec<(i32, u32)> {
            let places = processes.iter();
            places.map(|process| (process.id, process.depth)).collect()
        };
        let look = below(proc.path(), 10);
        assert_eq!((look.threads(), look.rss_bytes()), (6, 10 * PAGE_BYTES));
        assert_eq!(seen(look.processes), [(11, 1), (12, 2)]);
        // In no keeper's session, so told by the filters alone.
        let marks = Marks {
            keeper: 8,
            since: 650,
            filters: Some(2),
        };
        let strays = strays(proc.path(), 10, &marks, &BTreeSet::new());
        assert_eq!(seen(strays), [(11, 1), (12, 2)]);
        assert_eq!(started(proc.path(), 11), Some(700));
        let owner = fs::metadata(proc.path().join("11")).unwrap();
        let user = std::os::unix::fs::MetadataExt::uid(&owner);
        assert_eq!(threads_of_user(proc.path(), user), 9);
    }

    #[test]
    fn filters_are_counted_where_the_kernel_does() {
        let name = "Name:\tSeccomp_filters:9\n";
        for (lines, count) in [
            ("Seccomp:\t2\nSeccomp_filters:\t3\nSpeculation", Some(3)),
            ("Seccomp:\t0\nSeccomp_filters:\t0\n", Some(0)),
            ("Seccomp:\t2\nSpeculation", Some(1)),
            ("Seccomp:\t0\n", Some(0)),
            ("", None),
        ] {
            assert_eq!(filters(&format!("{name}{lines}")), count, "{lines}");
        }
    }

    #[test]
    fn this_process_is_below_its_parent() {
        let text = fs::read_to_string("/proc/self/stat").unwrap();
        let line = parse(&text).unwrap();
        assert_eq!(line.id, i32::try_from(std::process::id()).unwrap());
        assert!(line.threads >= 1 && line.rss_pages > 0);
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,80}") {
            let _ = parse(&text);
        }
    }
}
