//! One command watched from start to end: its logs, its limits, what it used.
//!
//! Owns the choice of a mechanism for each limit and the account of it. Does not know what the command
//! is allowed to see: that is in the confinement that it is handed.
//! Invariant: when this returns, no process of the command is left.

use super::accelerator;
use super::cgroup::{Bounds, Group, Places};
use super::child::{self, Confinement, Kept, Resource};
use super::job::{Limits, StageJob};
use super::log::{Capped, LogSink, Stream};
use super::outcome::{Enforcement, Log, Measured, Method, NOT_ENFORCED, Stop, Usage};
use super::place::Place;
use super::processes::{self, Look};
use crate::error::{Error, Result};
use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// Time between two looks at the processes of a run.
const LOOK: Duration = Duration::from_millis(100);
/// The same where nothing else bounds their number, and it is small.
const CLOSE_LOOK: Duration = Duration::from_millis(20);
/// What a small number of processes is: a fork bomb makes about as many between two looks.
const FEW: u32 = 1024;
/// Time between two looks at what was written.
const MEASURE: Duration = Duration::from_millis(500);
/// How long a keeper may take to end what is killed beside it, before it is killed itself.
const STUBBORN: Duration = Duration::from_secs(10);
/// How long logs are waited for once every process is gone.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What became of the command.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) exit: Option<i32>,
    pub(super) signal: Option<i32>,
    pub(super) stop: Option<Stop>,
    pub(super) usage: Usage,
    pub(super) enforcement: Vec<Enforcement>,
    pub(super) stdout: Log,
    pub(super) stderr: Log,
}

/// How the limits of a job are kept.
struct Keeping {
    group: Option<Group>,
    enforcement: Vec<Enforcement>,
    /// Memory of all processes, where no group bounds it.
    watch_memory: Option<u64>,
    /// Number of threads, where no group bounds it.
    watch_pids: Option<u64>,
    look: Duration,
}

/// Runs a command to its end. `helpers` is the number of processes between the keeper and the command
/// that belong to a sandbox; they do not hear SIGTERM, since they would end the command at once.
///
/// # Errors
/// If it could not be started in its confinement. A command that is not there is an outcome.
pub(super) fn run(
    mut command: Command,
    mut confinement: Confinement,
    job: &StageJob,
    place: &Place,
    helpers: u32,
    sink: &mut dyn LogSink,
) -> Result<Ran> {
    let mut keeping = bound(&job.limits, &mut confinement)?;
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let (mut stdout, mut stderr) = (
        Capped::new(Stream::Stdout, job.limits.log_bytes),
        Capped::new(Stream::Stderr, job.limits.log_bytes),
    );
    let start = Instant::now();
    let mut kept = match child::spawn(command, confinement) {
        Ok(kept) => kept,
        Err(error) if child::is_not_confined(&error) => {
            return Err(Error::refused(format!(
                "the kernel does not confine stage \"{}\" as it should: nothing was run",
                job.stage
            )));
        }
        Err(error)
            if helpers == 0
                && matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
                ) =>
        {
            let text = format!("sealstone: cannot start \"{}\": {error}\n", job.argv[0]);
            stderr.write(text.as_bytes(), sink);
            let exit = if error.kind() == io::ErrorKind::NotFound {
                127
            } else {
                126
            };
            return Ok(Ran {
                exit: Some(exit),
                signal: None,
                stop: None,
                usage: Usage::default(),
                enforcement: keeping.enforcement,
                stdout: stdout.finish(sink),
                stderr: stderr.finish(sink),
            });
        }
        Err(error) => {
            return Err(Error::io(
                format!("starting stage \"{}\"", job.stage),
                error,
            ));
        }
    };
    let (sender, pieces) = sync_channel(64);
    if let Some(stream) = kept.keeper.stdout.take() {
        read(stream, Stream::Stdout, sender.clone());
    }
    if let Some(stream) = kept.keeper.stderr.take() {
        read(stream, Stream::Stderr, sender.clone());
    }
    drop(sender);

    let accelerators = accelerator::Watch::start(&job.device, kept.id());
    let mut watch = Watch::new(start, helpers);
    let ended = loop {
        match pieces.recv_timeout(keeping.look.min(Duration::from_millis(20))) {
            Ok((Stream::Stdout, bytes)) => stdout.write(&bytes, sink),
            Ok((Stream::Stderr, bytes)) => stderr.write(&bytes, sink),
            Err(RecvTimeoutError::Timeout) => {}
            // Both logs are closed; the command may still run.
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(Duration::from_millis(5)),
        }
        let ended = kept
            .ended()
            .map_err(|error| Error::io(format!("waiting for stage \"{}\"", job.stage), error))?;
        if let Some(ended) = ended {
            break ended;
        }
        watch.tick(&mut kept, &keeping, &job.limits, place);
    };
    if ended.status.is_none()
        && let Some(group) = &keeping.group
    {
        group.kill();
    }
    // A plain process may also have its keeper say that nothing is left, by tracing it where the machine permits that.
    if ended.status.is_none() || (helpers == 0 && kept.tells_strays_apart()) {
        kept.end_strays();
    }
    let wall = start.elapsed();
    drain(&pieces, &mut stdout, &mut stderr, sink);

    let status = ended.status.map(ExitStatus::from_raw);
    let exit = status.and_then(|status| status.code());
    let mut signal = match status {
        Some(status) => status.signal(),
        // Only SIGKILL ends a keeper before it tells, and a command that forged its word gets no better one.
        None => Some(libc::SIGKILL),
    };
    if helpers > 0
        && let Some(code @ 129..=192) = exit
    {
        signal = Some(code - 128);
    }
    let failed = exit != Some(0);
    let stop = watch.stop.or_else(|| {
        let group = keeping.group.as_ref().filter(|_| failed)?;
        if job.limits.memory.is_some() && group.ran_out_of_memory() {
            return Some(Stop::MemoryLimit);
        }
        (job.limits.pids.is_some() && group.ran_out_of_processes()).then_some(Stop::PidsLimit)
    });
    let mut usage = usage(&ended, wall, &watch, keeping.group.as_ref());
    usage.accelerator_bytes = accelerators.and_then(accelerator::Watch::finish);
    // Gone only now, since it had the accounts.
    drop(keeping.group.take());
    Ok(Ran {
        exit,
        signal,
        stop,
        usage,
        enforcement: keeping.enforcement,
        stdout: stdout.finish(sink),
        stderr: stderr.finish(sink),
    })
}

fn read(mut from: impl Read + Send + 'static, stream: Stream, to: SyncSender<(Stream, Vec<u8>)>) {
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return,
                Ok(read) => {
                    if to.send((stream, buffer[..read].to_vec())).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
}

fn drain(
    pieces: &Receiver<(Stream, Vec<u8>)>,
    stdout: &mut Capped,
    stderr: &mut Capped,
    sink: &mut dyn LogSink,
) {
    let until = Instant::now() + LAST_WORDS;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match pieces.recv_timeout(left) {
            Ok((Stream::Stdout, bytes)) => stdout.write(&bytes, sink),
            Ok((Stream::Stderr, bytes)) => stderr.write(&bytes, sink),
            Err(_) => return,
        }
    }
}

/// What was seen and done while the command ran.
struct Watch {
    start: Instant,
    helpers: u32,
    looked: Option<Instant>,
    measured: Option<Instant>,
    stop: Option<Stop>,
    /// From when on it is killed.
    kill_at: Option<Instant>,
    rss_bytes: u64,
    threads: u64,
    processes: u64,
}

impl Watch {
    fn new(start: Instant, helpers: u32) -> Watch {
        Watch {
            start,
            helpers,
            looked: None,
            measured: None,
            stop: None,
            kill_at: None,
            rss_bytes: 0,
            threads: 0,
            processes: 0,
        }
    }

    fn tick(&mut self, kept: &mut Kept, keeping: &Keeping, limits: &Limits, place: &Place) {
        let now = Instant::now();
        // A command may have stopped it: then it would see no end, and no time limit would hold.
        child::signal(kept.id(), libc::SIGCONT);
        if let Some(at) = self.kill_at.filter(|at| now >= *at) {
            end(kept, keeping);
            if now - at >= STUBBORN {
                child::signal(kept.id(), libc::SIGKILL);
            }
            return;
        }
        if self
            .looked
            .is_none_or(|looked| now - looked >= keeping.look)
        {
            self.looked = Some(now);
            let look = processes::below(Path::new("/proc"), kept.id());
            self.note(&look);
            if keeping
                .watch_memory
                .is_some_and(|limit| look.rss_bytes() > limit)
            {
                self.stop(Stop::MemoryLimit, now);
            } else if keeping
                .watch_pids
                .is_some_and(|limit| look.threads() >= limit)
            {
                self.stop(Stop::PidsLimit, now);
            }
        }
        if let Some(limit) = limits.output_bytes
            && self
                .measured
                .is_none_or(|measured| now - measured >= MEASURE)
        {
            self.measured = Some(now);
            if place.written_bytes() > limit {
                self.stop(Stop::OutputLimit, now);
            }
        }
        if self.stop.is_none() && limits.wall.is_some_and(|wall| now - self.start >= wall) {
            self.stop = Some(Stop::WallLimit);
            self.kill_at = Some(now + limits.grace);
            for process in processes::below(Path::new("/proc"), kept.id()).processes {
                if process.depth > self.helpers {
                    child::signal(process.id, libc::SIGTERM);
                }
            }
        }
    }

    fn stop(&mut self, why: Stop, now: Instant) {
        if self.stop.is_none() {
            self.stop = Some(why);
        }
        self.kill_at = Some(now);
    }

    fn note(&mut self, look: &Look) {
        let own = |process: &&processes::Process| process.depth > self.helpers;
        let threads: u64 = look
            .processes
            .iter()
            .filter(own)
            .map(|process| process.threads)
            .sum();
        let count = look.processes.iter().filter(own).count() as u64;
        self.rss_bytes = self.rss_bytes.max(look.rss_bytes());
        self.threads = self.threads.max(threads);
        self.processes = self.processes.max(count);
    }
}

/// Kills everything below the keeper. Called again until nothing is left.
fn end(kept: &Kept, keeping: &Keeping) {
    if let Some(group) = &keeping.group {
        group.kill();
    }
    for process in processes::below(Path::new("/proc"), kept.id()).processes {
        child::signal(process.id, libc::SIGKILL);
    }
    // From now on the keeper kills whatever becomes its child.
    child::signal(kept.id(), libc::SIGTERM);
}

/// Finds a mechanism for each limit, and puts into the confinement what belongs there.
fn bound(limits: &Limits, confinement: &mut Confinement) -> Result<Keeping> {
    let mut enforcement = Vec::new();
    let mut row = |limit: &str, requested: String, by: &str, note: Option<String>| {
        enforcement.push(Enforcement {
            limit: limit.to_owned(),
            requested,
            by: by.to_owned(),
            note,
        });
    };
    processors(limits, confinement, &mut row)?;
    let bounds = Bounds {
        memory: limits.memory,
        pids: limits.pids,
    };
    let group = if confinement.group_is_inside {
        Err("the sandbox makes it".to_owned())
    } else {
        Group::create(&Places::of_this_process(), bounds).and_then(|group| match group.doors() {
            Ok(doors) => Ok((group, doors)),
            Err(error) => Err(format!("cannot join a group: {error}")),
        })
    };
    confinement.limits.push((Resource::Core, 0));
    let (mut watch_memory, mut watch_pids, mut look) = (None, None, LOOK);
    let group = match group {
        Ok((group, doors)) => {
            confinement.groups = doors;
            if let Some(memory) = limits.memory {
                row("memory", memory.to_string(), group.mechanism(), None);
            }
            if let Some(pids) = limits.pids {
                row("pids", pids.to_string(), group.mechanism(), None);
            }
            Some(group)
        }
        Err(reason) => {
            let why = |what: &str| Some(format!("{what}; no control group: {reason}"));
            if let Some(memory) = limits.memory {
                // The programs of a sandbox are not what is bounded; they bound the command themselves.
                if !confinement.limits_are_inside {
                    confinement.limits.push((Resource::Data, memory));
                }
                watch_memory = Some(memory);
                let by = "RLIMIT_DATA and looking every 100 ms";
                row(
                    "memory",
                    memory.to_string(),
                    by,
                    why("all processes together may exceed it between two looks"),
                );
            }
            if let Some(pids) = limits.pids {
                watch_pids = Some(u64::from(pids));
                if pids < FEW {
                    look = CLOSE_LOOK;
                }
                let mut by = format!("looking every {} ms", look.as_millis());
                if !child::is_root() && !confinement.limits_are_inside {
                    // Twice as many, so that a look finds too many before the kernel refuses them.
                    let others = processes::threads_of_user(Path::new("/proc"), child::user());
                    let most = others + 2 * u64::from(pids);
                    confinement.limits.push((Resource::Processes, most));
                    by.push_str(", and RLIMIT_NPROC at twice the number");
                }
                row(
                    "pids",
                    pids.to_string(),
                    &by,
                    why("more may be there between two looks"),
                );
            }
            None
        }
    };
    if let Some(wall) = limits.wall {
        let requested = format!("{} ms", wall.as_millis());
        row("wall", requested, "clock", None);
    }
    if let Some(bytes) = limits.output_bytes {
        confinement.limits.push((Resource::FileSize, bytes));
        row(
            "output-bytes",
            bytes.to_string(),
            "RLIMIT_FSIZE and looking every 500 ms",
            None,
        );
    }
    row(
        "log-bytes",
        limits.log_bytes.to_string(),
        "dropping what comes after",
        None,
    );
    Ok(Keeping {
        group,
        enforcement,
        watch_memory,
        watch_pids,
        look,
    })
}

fn processors(
    limits: &Limits,
    confinement: &mut Confinement,
    row: &mut impl FnMut(&str, String, &str, Option<String>),
) -> Result<()> {
    if limits.cpus.is_none() && limits.cpu_set.is_none() {
        return Ok(());
    }
    let allowed =
        child::allowed_processors().map_err(|error| Error::io("reading the affinity", error))?;
    if let Some(set) = &limits.cpu_set {
        let requested: Vec<String> = set.iter().map(u32::to_string).collect();
        let missing: Vec<String> = set
            .iter()
            .filter(|number| !allowed.contains(number))
            .map(u32::to_string)
            .collect();
        if missing.is_empty() && !set.is_empty() {
            confinement.processors = set.clone();
            row("cpu-set", requested.join(","), "affinity", None);
        } else {
            let note = format!(
                "processors {} are not there for this process",
                missing.join(",")
            );
            row("cpu-set", requested.join(","), NOT_ENFORCED, Some(note));
        }
        return Ok(());
    }
    if let Some(cpus) = limits.cpus {
        let there = u32::try_from(allowed.len()).unwrap_or(u32::MAX);
        confinement.processors = allowed.into_iter().take(cpus.max(1) as usize).collect();
        if cpus > there {
            let note = format!("only {there} processors are there");
            row("cpus", cpus.to_string(), NOT_ENFORCED, Some(note));
        } else {
            row("cpus", cpus.to_string(), "affinity", None);
        }
    }
    Ok(())
}

fn usage(ended: &child::Ended, wall: Duration, watch: &Watch, group: Option<&Group>) -> Usage {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    // A keeper that was killed has waited for nothing: what the kernel then tells is its own account.
    let told = |value, method| ended.status.map(|_| Measured::new(value, method));
    let waited = |value| told(value, Method::Wait4);
    let seen = |value| (value > 0).then(|| Measured::new(value, Method::Sampled));
    let (user, system) = match group.and_then(Group::processor_time) {
        Some((user, system)) => (Some(user), Some(system)),
        None => (waited(millis(ended.user)), waited(millis(ended.system))),
    };
    let peak = group
        .and_then(Group::peak_memory)
        .or_else(|| seen(watch.rss_bytes));
    Usage {
        wall_ms: Some(Measured::new(millis(wall), Method::Clock)),
        user_ms: user,
        system_ms: system,
        peak_rss_bytes: peak.or_else(|| told(ended.largest_rss_bytes, Method::Wait4LargestProcess)),
        read_bytes: waited(ended.read_bytes),
        written_bytes: waited(ended.written_bytes),
        max_threads: seen(watch.threads),
        max_processes: seen(watch.processes),
        accelerator_bytes: None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Whoever asked such a group for processor time would get that of the sandbox's programs.
    #[test]
    fn a_sandbox_with_a_group_gets_no_other() {
        let limits = Limits {
            pids: None,
            ..Limits::default()
        };
        let mut confinement = Confinement {
            group_is_inside: true,
            ..Confinement::default()
        };
        let keeping = bound(&limits, &mut confinement).unwrap();
        assert!(keeping.group.is_none() && confinement.groups.is_empty());
        assert!(keeping.watch_memory.is_none() && keeping.watch_pids.is_none());
    }

    /// Figures of the keeper would look like those of a command that did nothing.
    #[test]
    fn of_a_command_whose_keeper_was_killed_only_what_was_seen_is_told() {
        let second = Duration::from_secs(1);
        let mut watch = Watch::new(Instant::now(), 0);
        let mut ended = child::Ended {
            status: Some(9),
            user: second,
            largest_rss_bytes: 4096,
            ..child::Ended::default()
        };
        let told = usage(&ended, second, &watch, None);
        let user = Measured::new(1000, Method::Wait4);
        let peak = Measured::new(4096, Method::Wait4LargestProcess);
        assert_eq!(
            (told.user_ms, told.peak_rss_bytes),
            (Some(user), Some(peak))
        );
        assert!(told.system_ms.is_some() && told.read_bytes.is_some());

        ended.status = None;
        let wall_ms = Some(Measured::new(1000, Method::Clock));
        let clock = Usage {
            wall_ms,
            ..Usage::default()
        };
        assert_eq!(usage(&ended, second, &watch, None), clock);
        watch.rss_bytes = 8192;
        let seen = Some(Measured::new(8192, Method::Sampled));
        assert_eq!(usage(&ended, second, &watch, None).peak_rss_bytes, seen);
    }
}
