//! The keepers that this process started, and what outlives one that was killed.
//!
//! A command may send signals to its keeper where neither a namespace nor Landlock (from version 6 on) prevents it. One
//! that is killed ends nothing any more. While there are keepers, processes that lose theirs become children of this
//! process, which ends them.
//! Invariant: a process that this one started by other means is never taken for such a stray: those are in its own
//! session, and strays never are, since a keeper begins with one of its own.

use super::{child, processes};
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Time between two looks at what is left of a command.
const LOOK: Duration = Duration::from_millis(2);

struct Keepers {
    /// Those that were not waited for: children of this process in sessions of their own, and no strays.
    living: BTreeSet<i32>,
    /// Those whose commands may have left something.
    watched: usize,
}

static KEEPERS: Mutex<Keepers> = Mutex::new(Keepers {
    living: BTreeSet::new(),
    watched: 0,
});

fn keepers() -> MutexGuard<'static, Keepers> {
    KEEPERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A keeper, from its start until nothing is left of what it kept.
pub(super) struct Keeper {
    id: i32,
    /// When it started, as the kernel counts.
    since: u64,
}

/// Starts a command that becomes a keeper.
pub(super) fn start(command: &mut Command) -> io::Result<(Child, Keeper)> {
    // Held until it stands among the others: whoever looks for strays meanwhile would take it for one.
    let mut keepers = keepers();
    child::adopt_orphans(true);
    match command.spawn() {
        Ok(child) => {
            let id = i32::try_from(child.id()).unwrap_or(i32::MAX);
            keepers.living.insert(id);
            keepers.watched += 1;
            let since = processes::started(Path::new("/proc"), id).unwrap_or_default();
            Ok((child, Keeper { id, since }))
        }
        Err(error) => {
            child::adopt_orphans(keepers.watched > 0);
            Err(error)
        }
    }
}

impl Keeper {
    /// Its number.
    pub(super) fn id(&self) -> i32 {
        self.id
    }

    /// Does what waits for it, and tells the number of what ended: another may have it from then on.
    pub(super) fn wait<T>(&self, wait: impl FnOnce() -> (i32, T)) -> (i32, T) {
        let mut keepers = keepers();
        let (process, told) = wait();
        if process == self.id {
            keepers.living.remove(&self.id);
        }
        (process, told)
    }

    /// Kills what is left of the command of a keeper that was killed itself, until nothing is.
    pub(super) fn end_strays(&self) {
        let own = i32::try_from(std::process::id()).unwrap_or(i32::MAX);
        // Twice nothing: a process that is born behind a look's back is not seen by it.
        let mut quiet = 0;
        while quiet < 2 {
            let keepers = keepers();
            let strays = processes::strays(Path::new("/proc"), own, self.since, &keepers.living);
            for stray in &strays {
                child::signal(stray.id, libc::SIGKILL);
                if stray.depth == 1 {
                    child::reap(stray.id);
                }
            }
            drop(keepers);
            quiet = if strays.is_empty() { quiet + 1 } else { 0 };
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let mut keepers = keepers();
        keepers.watched = keepers.watched.saturating_sub(1);
        child::adopt_orphans(keepers.watched > 0);
    }
}
