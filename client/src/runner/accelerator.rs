//! What the processes of a run hold of the accelerators' memory, as `nvidia-smi` tells it.
//!
//! Invariant: nothing is asked for a stage that computes on processors; where nobody tells, there is no figure.

use super::job::Device;
use super::outcome::{Measured, Method};
use super::processes;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Time between two questions: each costs some ten milliseconds of a processor.
const LOOK: Duration = Duration::from_secs(1);
/// Time between two looks at whether it is over.
const PATIENCE: Duration = Duration::from_millis(50);

const PROGRAM: &str = "nvidia-smi";

/// Asks in a thread of its own, since an answer may take long.
pub(super) struct Watch {
    over: Arc<AtomicBool>,
    most: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Watches the processes below `keeper`; `None` for a stage that uses no accelerator.
    pub(super) fn start(device: &Device, keeper: i32) -> Option<Watch> {
        if *device == Device::Cpu {
            return None;
        }
        let (over, most) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (ends, largest) = (over.clone(), most.clone());
        let thread = std::thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                let own = processes::below(Path::new("/proc"), keeper).processes;
                let own = own.iter().map(|process| process.id).collect();
                // Without an answer there will be none later either.
                let Some(bytes) = held(Path::new(PROGRAM), &own) else {
                    return;
                };
                largest.fetch_max(bytes, Ordering::Relaxed);
                let mut waited = Duration::ZERO;
                while waited < LOOK && !ends.load(Ordering::Relaxed) {
                    std::thread::sleep(PATIENCE);
                    waited += PATIENCE;
                }
            }
        });
        Some(Watch {
            over,
            most,
            thread: Some(thread),
        })
    }

    /// The most that was held at a time; `None` if nothing was seen.
    pub(super) fn finish(mut self) -> Option<Measured> {
        self.end();
        let most = self.most.load(Ordering::Relaxed);
        (most > 0).then(|| Measured::new(most, Method::NvidiaSmi))
    }

    fn end(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end();
    }
}

/// Bytes that these processes hold; `None` if the program does not answer.
fn held(program: &Path, own: &BTreeSet<i32>) -> Option<u64> {
    let output = Command::new(program)
        .args([
            "--query-compute-apps=pid,used_memory",
            "--format=csv,noheader,nounits",
        ])
        .stdin(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(sum(&String::from_utf8_lossy(&output.stdout), own))
}

/// Rows are `PID, MEBIBYTES`, one for each process and accelerator; a driver that does not tell writes words.
fn sum(text: &str, own: &BTreeSet<i32>) -> u64 {
    let mebibytes = text.lines().filter_map(|line| {
        let (id, held) = line.split_once(',')?;
        let is_own = own.contains(&id.trim().parse().ok()?);
        held.trim().parse::<u64>().ok().filter(|_| is_own)
    });
    mebibytes
        .fold(0, |sum: u64, held| sum.saturating_add(held))
        .saturating_mul(1 << 20)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_own_processes_count_on_every_accelerator() {
        let own = BTreeSet::from([10, 12]);
        let text = "10, 512\n11, 4096\n12, 100\n10, 8\n12, [N/A]\nNo running processes found\n";
        assert_eq!(sum(text, &own), 620 << 20);
        assert_eq!(sum("", &own), 0);
        assert_eq!(sum(&format!("10, {}\n12, 1\n", u64::MAX), &own), u64::MAX);
    }

    #[test]
    fn a_program_that_answers_is_believed_and_one_that_does_not_gives_no_figure() {
        let place = tempfile::tempdir().unwrap();
        let script = |name: &str, text: &str| {
            let path = place.path().join(name);
            crate::scripts::write(&path, text);
            path
        };
        let own = BTreeSet::from([7]);
        let good = script(
            "good",
            "[ \"$1\" = --query-compute-apps=pid,used_memory ] && echo '7, 3'",
        );
        assert_eq!(held(&good, &own), Some(3 << 20));
        assert_eq!(held(&script("bad", "echo '7, 3'; exit 9"), &own), None);
        assert_eq!(held(&place.path().join("absent"), &own), None);
    }

    #[test]
    fn nobody_is_asked_for_processors() {
        assert!(Watch::start(&Device::Cpu, 1).is_none());
    }
}
