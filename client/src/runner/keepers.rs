//! The keepers that this process started, and what outlives one that was killed.
//!
//! A command may send signals to its keeper where neither a namespace nor Landlock (from version 6 on) prevents it. One
//! that is killed ends nothing any more. While there are keepers, processes that lose theirs become children of this
//! process, which ends them.
//! Invariant: a process that this one started by other means is never taken for such a stray: those are in its own
//! session, and strays never are, since a keeper begins with one of its own.
//! What a process so started leaves behind is adopted too, and may be in a session of its own. So strays are told by more
//! where that can be: they are in the session of their keeper, or have the filters that their command was given. Where
//! there are no filters, everything adopted since counts.

use super::processes::Marks;
use super::{child, processes};
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Time between two looks at what is left of a command, at first.
const LOOK: Duration = Duration::from_millis(2);
/// The same in the end: what a disk or a driver holds goes when those let it.
const LONG_LOOK: Duration = Duration::from_millis(100);

struct Keepers {
    /// Those that were not waited for: children of this process in sessions of their own, and no strays.
    living: BTreeSet<i32>,
    /// Those whose commands may have left something.
    watched: usize,
    /// Whether orphans came to this process before there were any: it may be a supervisor of others.
    adopted_before: bool,
}

static KEEPERS: Mutex<Keepers> = Mutex::new(Keepers {
    living: BTreeSet::new(),
    watched: 0,
    adopted_before: false,
});

fn keepers() -> MutexGuard<'static, Keepers> {
    KEEPERS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Keepers {
    /// With the last keeper, orphans go where they went before the first.
    fn adopt_as_needed(&self) {
        child::adopt_orphans(self.watched > 0 || self.adopted_before);
    }
}

/// A keeper, from its start until nothing is left of what it kept.
pub(super) struct Keeper {
    marks: Marks,
}

/// Starts a command that becomes a keeper. `filtered` says whether what it keeps gets filters of system calls.
pub(super) fn start(command: &mut Command, filtered: bool) -> io::Result<(Child, Keeper)> {
    // Held until it stands among the others: whoever looks for strays meanwhile would take it for one.
    let mut keepers = keepers();
    if keepers.watched == 0 {
        keepers.adopted_before = child::adopts_orphans();
    }
    child::adopt_orphans(true);
    // Of this thread, which forks: filters may differ between threads.
    let filters = processes::own_filters().filter(|_| filtered);
    match command.spawn() {
        Ok(child) => {
            let id = i32::try_from(child.id()).unwrap_or(i32::MAX);
            keepers.living.insert(id);
            keepers.watched += 1;
            let marks = Marks {
                keeper: id,
                since: processes::started(Path::new("/proc"), id).unwrap_or_default(),
                filters,
            };
            Ok((child, Keeper { marks }))
        }
        Err(error) => {
            keepers.adopt_as_needed();
            Err(error)
        }
    }
}

impl Keeper {
    /// Its number.
    pub(super) fn id(&self) -> i32 {
        self.marks.keeper
    }

    /// Does what waits for it, and tells the number of what ended: another may have it from then on.
    pub(super) fn wait<T>(&self, wait: impl FnOnce() -> (i32, T)) -> (i32, T) {
        let mut keepers = keepers();
        let (process, told) = wait();
        if process == self.id() {
            keepers.living.remove(&process);
        }
        (process, told)
    }

    /// Whether strays are known by more than that they are no children of this process's own.
    pub(super) fn tells_strays_apart(&self) -> bool {
        self.marks.filters.is_some()
    }

    /// Kills what is left of the command of a keeper that is gone, until nothing is.
    pub(super) fn end_strays(&self) {
        let own = i32::try_from(std::process::id()).unwrap_or(i32::MAX);
        // Twice nothing: a process that is born behind a look's back is not seen by it.
        let (mut quiet, mut pause) = (0, LOOK);
        while quiet < 2 {
            let keepers = keepers();
            let strays = processes::strays(Path::new("/proc"), own, &self.marks, &keepers.living);
            for stray in &strays {
                child::signal(stray.id, libc::SIGKILL);
                if stray.depth == 1 {
                    child::reap(stray.id);
                }
            }
            drop(keepers);
            std::thread::sleep(pause);
            if strays.is_empty() {
                quiet += 1;
            } else {
                quiet = 0;
                pause = longer(pause);
            }
        }
    }
}

/// The next pause while something is left: looking is dear on a machine with many processes.
fn longer(pause: Duration) -> Duration {
    LONG_LOOK.min(pause * 2)
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let mut keepers = keepers();
        keepers.watched = keepers.watched.saturating_sub(1);
        keepers.adopt_as_needed();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::child::{self, Confinement, Ended, Kept};
    use super::super::filter::{self, Sockets};
    use super::super::processes;
    use super::{LONG_LOOK, LOOK, longer};
    use std::path::Path;
    use std::process::Command;
    use std::time::{Duration, Instant};

    /// Starts a script as a plain runner does, but for the rights of root: a command of root's could not open its keeper.
    fn keep(script: &str) -> Kept {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        let confinement = Confinement {
            filters: filter::programs(Sockets::Any, false).unwrap(),
            ..Confinement::default()
        };
        child::spawn(command, confinement).unwrap()
    }

    fn wait(kept: &mut Kept) -> Ended {
        let start = Instant::now();
        loop {
            if let Some(ended) = kept.ended().unwrap() {
                return ended;
            }
            assert!(start.elapsed() < Duration::from_secs(30), "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Runs one of these tests in a process of its own, where nothing else has keepers or children. True in that one.
    fn is_alone(test: &str) -> bool {
        const ALONE: &str = "SEALSTONE_TEST_ALONE";
        if std::env::var_os(ALONE).is_some() {
            return true;
        }
        let name = module_path!().split_once("::").unwrap().1;
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", &format!("{name}::{test}")])
            .env(ALONE, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{output:?}");
        assert!(said.contains("1 passed"), "{said}");
        false
    }

    /// Four bytes are a status. Whoever holds the pipe open has nobody wait for its end.
    #[test]
    fn a_word_that_the_command_put_into_its_keepers_mouth_is_not_believed() {
        // The first look would be too early for one that has not closed what it had from this process.
        let into_each = |what: &str| {
            format!(
                "sleep 1; for open in /proc/$PPID/fd/*; do if [ -p $open ]; then {what}\nfi; done"
            )
        };
        let forged = into_each("printf '\\0\\0\\0\\0' > $open; setsid sleep 60 > $open &");
        let forged = format!("{forged}; sleep 0.2; kill -9 $PPID; sleep 60");
        let mut kept = keep(&forged);
        let start = Instant::now();
        assert_eq!(wait(&mut kept).status, None);
        kept.end_strays();
        assert!(start.elapsed() < Duration::from_secs(20));

        // More than it says itself, though it ended by itself; and so much that it cannot.
        for beside in ["printf '\\0\\0\\0\\0'", "timeout 1 cat /dev/zero"] {
            let script = into_each(&format!("{beside} > $open"));
            let mut kept = keep(&format!("{script}; exit 3"));
            assert_eq!(wait(&mut kept).status, None, "{beside}");
        }
        let mut kept = keep("exit 3");
        assert_eq!(wait(&mut kept).status, Some(3 << 8));
    }

    /// As a daemon is left that a host program's own child started.
    #[test]
    fn what_was_adopted_from_others_lives_on() {
        if !is_alone("what_was_adopted_from_others_lives_on") {
            return;
        }
        let mut kept = keep("setsid sleep 60 & sleep 0.3; kill -9 $PPID; sleep 60");
        let started = Command::new("/bin/sh")
            .args(["-c", "setsid sleep 60 > /dev/null 2>&1 & echo $!"])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&started.stdout);
        let other: i32 = text.trim().parse().unwrap();
        assert_eq!(wait(&mut kept).status, None);
        kept.end_strays();
        let own = i32::try_from(std::process::id()).unwrap();
        let below = processes::below(Path::new("/proc"), own).processes;
        let left: Vec<i32> = below.iter().map(|process| process.id).collect();
        child::signal(other, libc::SIGKILL);
        assert_eq!(left, [other]);
    }

    #[test]
    fn whoever_adopted_orphans_goes_on_doing_so_and_nobody_else() {
        if !is_alone("whoever_adopted_orphans_goes_on_doing_so_and_nobody_else") {
            return;
        }
        for adopts in [false, true] {
            child::adopt_orphans(adopts);
            let (mut first, mut second) = (keep("true"), keep("true"));
            assert!(child::adopts_orphans());
            wait(&mut first);
            drop(first);
            assert!(child::adopts_orphans());
            wait(&mut second);
            drop(second);
            assert_eq!(child::adopts_orphans(), adopts);
            let nothing = child::spawn(Command::new("/none"), Confinement::default());
            assert!(nothing.is_err());
            assert_eq!(child::adopts_orphans(), adopts);
        }
    }

    #[test]
    fn looks_at_what_does_not_go_become_rare() {
        let mut pauses = vec![LOOK];
        for _ in 0..20 {
            pauses.push(longer(pauses[pauses.len() - 1]));
        }
        assert!(pauses.is_sorted());
        assert_eq!(pauses.last(), Some(&LONG_LOOK));
    }
}
