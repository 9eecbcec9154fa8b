//! Between fork and exec: the system calls that the standard library has not. The only unsafe code here.
//!
//! Owns a small process, the *keeper*, that stands between the caller and the command. Processes whose
//! parent dies become the keeper's, so it can end all of them, also those that made a session of their
//! own; it does so when the command ends, and when the caller dies. Its own end tells the kernel's account
//! of everything that it has waited for.
//! Invariant: after the fork only calls are made that are safe between fork and exec (no allocation, no
//! locks); all memory that they need was prepared before.
#![allow(unsafe_code)]

mod descriptors;

use super::keepers::{self, Keeper};
use seccompiler::BpfProgram;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::time::Duration;

/// What is done to the command before it starts.
#[derive(Default)]
pub(super) struct Confinement {
    /// Processors that it may use; empty means those of the caller.
    pub(super) processors: Vec<u32>,
    /// Limits of resources, as the kernel numbers them.
    pub(super) limits: Vec<(Resource, u64)>,
    /// Whether limits of memory and processes are set by the sandbox, for its command alone.
    pub(super) limits_are_inside: bool,
    /// Whether the sandbox makes a control group for its command. One made for the sandbox would have the accounts of
    /// its own programs, and none of the command's.
    pub(super) group_is_inside: bool,
    /// `cgroup.procs` (or `tasks`) of groups that it joins, open for writing.
    pub(super) groups: Vec<File>,
    /// Files that stay open for it; nothing else does but its three streams.
    pub(super) inherited: Vec<OwnedFd>,
    /// A Landlock ruleset.
    pub(super) ruleset: Option<OwnedFd>,
    /// A file that must not be readable once the ruleset holds: tried each time.
    pub(super) canary: Option<CString>,
    /// Filters of system calls.
    pub(super) filters: Vec<BpfProgram>,
    /// Whether the sandbox sets filters for its command.
    pub(super) filters_are_inside: bool,
    /// Whether a socket must be refused once the filters hold: tried each time.
    pub(super) refuses_sockets: bool,
    /// Whether it gives up the rights of root.
    pub(super) unprivileged: bool,
}

/// A resource with a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    /// Private memory of one process.
    Data,
    /// Processes and threads of one user.
    Processes,
    /// Bytes of one file.
    FileSize,
    /// Bytes of a dump after a crash.
    Core,
}

impl Resource {
    fn number(self) -> libc::__rlimit_resource_t {
        match self {
            Resource::Data => libc::RLIMIT_DATA,
            Resource::Processes => libc::RLIMIT_NPROC,
            Resource::FileSize => libc::RLIMIT_FSIZE,
            Resource::Core => libc::RLIMIT_CORE,
        }
    }
}

/// A command under its keeper.
pub(super) struct Kept {
    /// The keeper; its streams are the command's.
    pub(super) keeper: Child,
    registered: Keeper,
    status: File,
}

/// How the command ended, and the kernel's account of all its processes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ended {
    /// As `waitpid` has it; `None` if the keeper was killed before it could tell, or what it told was not its own word
    /// alone. Then the account is not that of the command either.
    pub(super) status: Option<i32>,
    pub(super) user: Duration,
    pub(super) system: Duration,
    pub(super) largest_rss_bytes: u64,
    pub(super) read_bytes: u64,
    pub(super) written_bytes: u64,
}

/// The exit code that a confinement which does not hold ends with.
const NOT_CONFINED: i32 = libc::ENOTRECOVERABLE;

/// Whether an error of [`spawn`] means that the kernel did not confine the command.
pub(super) fn is_not_confined(error: &io::Error) -> bool {
    error.raw_os_error() == Some(NOT_CONFINED)
}

/// Starts a command under a keeper of its own.
pub(super) fn spawn(mut command: Command, confinement: Confinement) -> io::Result<Kept> {
    let (reader, writer) = pipe()?;
    let status = writer.as_raw_fd();
    // SAFETY: getpid has no preconditions.
    let caller = unsafe { libc::getpid() };
    let processors = processor_set(&confinement.processors);
    let filtered = confinement.filters_are_inside || !confinement.filters.is_empty();
    // SAFETY: the closure runs in the forked process and makes only calls that are safe there: raw system
    // calls on memory that was allocated before the fork. seccompiler's `apply_filter` is two system calls;
    // it allocates only to report an error, after which the process ends.
    unsafe {
        command.pre_exec(move || {
            let keeper = become_keeper(caller)?;
            match libc::fork() {
                -1 => return Err(io::Error::last_os_error()),
                0 => {}
                command => keep(command, status),
            }
            // From here on: the command's own process.
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 || libc::getppid() != keeper
            {
                return Err(io::Error::last_os_error());
            }
            let mut none = std::mem::zeroed::<libc::sigset_t>();
            libc::sigemptyset(&mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
            confine(&confinement, processors.as_ref())
        });
    }
    let (keeper, registered) = keepers::start(&mut command, filtered)?;
    drop(writer);
    Ok(Kept {
        keeper,
        registered,
        status: reader,
    })
}

/// Neither end waits for the other: a command may have opened that of its keeper (`/proc/ID/fd`), and then fill the pipe,
/// or hold it open for as long as it likes.
fn pipe() -> io::Result<(File, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: the array has room for the two descriptors.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so both descriptors are open and nobody else's.
    Ok(unsafe { (File::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

fn processor_set(numbers: &[u32]) -> Option<libc::cpu_set_t> {
    if numbers.is_empty() {
        return None;
    }
    // SAFETY: a set of processors is an array of bits, for which zeroes are a value.
    let mut set = unsafe { std::mem::zeroed::<libc::cpu_set_t>() };
    let room = 8 * size_of::<libc::cpu_set_t>();
    for number in numbers.iter().map(|number| *number as usize) {
        if number < room {
            // SAFETY: the number is within the set.
            unsafe { libc::CPU_SET(number, &mut set) };
        }
    }
    Some(set)
}

/// The processors that this process may use.
pub(super) fn allowed_processors() -> io::Result<Vec<u32>> {
    // SAFETY: as above; the size that is passed is the set's own.
    let mut set = unsafe { std::mem::zeroed::<libc::cpu_set_t>() };
    // SAFETY: `set` is writable and of the size that is passed.
    if unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let room = 8 * size_of::<libc::cpu_set_t>();
    // SAFETY: the numbers are within the set.
    let allowed = (0..room).filter(|number| unsafe { libc::CPU_ISSET(*number, &set) });
    Ok(allowed
        .filter_map(|number| u32::try_from(number).ok())
        .collect())
}

/// Whether this process is root.
pub(super) fn is_root() -> bool {
    user() == 0
}

/// The user that this process acts as.
pub(super) fn user() -> u32 {
    // SAFETY: geteuid has no preconditions.
    unsafe { libc::geteuid() }
}

/// The group that this process acts as.
pub(super) fn group() -> u32 {
    // SAFETY: getegid has no preconditions.
    unsafe { libc::getegid() }
}

/// Sends a signal; a process that is gone is no error.
pub(super) fn signal(process: i32, signal: i32) {
    // SAFETY: kill takes numbers. Only positive ones are passed, so that it is never a whole group.
    if process > 1 {
        unsafe { libc::kill(process, signal) };
    }
}

/// Whether processes that lose their parent become this one's, if no keeper is nearer. The kernel refuses nobody.
pub(super) fn adopt_orphans(adopt: bool) {
    let adopt = libc::c_ulong::from(adopt);
    // SAFETY: the call takes numbers.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, adopt, 0, 0, 0) };
}

/// Whether they do already.
pub(super) fn adopts_orphans() -> bool {
    let mut adopts: libc::c_int = 0;
    // SAFETY: the kernel writes one number of this type.
    unsafe { libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut adopts) };
    adopts != 0
}

/// Takes the status of a child that has ended; one that has not is left.
pub(super) fn reap(process: i32) {
    let mut ignored = 0;
    // SAFETY: `ignored` is writable. Only positive numbers are passed, so that it is this child and no other.
    if process > 1 {
        unsafe { libc::waitpid(process, &mut ignored, libc::WNOHANG) };
    }
}

/// In the first forked process: a session of its own, orphans are its children, and the caller's death is
/// a signal. Returns its own number.
fn become_keeper(caller: libc::pid_t) -> io::Result<libc::pid_t> {
    // SAFETY: plain system calls on memory of this function.
    unsafe {
        if libc::setsid() == -1 || libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) != 0 {
            return Err(io::Error::last_os_error());
        }
        let mut heard = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&mut heard);
        libc::sigaddset(&mut heard, libc::SIGCHLD);
        libc::sigaddset(&mut heard, libc::SIGTERM);
        libc::sigprocmask(libc::SIG_BLOCK, &heard, std::ptr::null_mut());
        if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) != 0 {
            return Err(io::Error::last_os_error());
        }
        if libc::getppid() != caller {
            return Err(io::Error::from_raw_os_error(libc::ECANCELED));
        }
        Ok(libc::getpid())
    }
}

/// The keeper's life: waits for the command, ends whatever it left behind, tells how it ended.
fn keep(command: libc::pid_t, status: RawFd) -> ! {
    // Lets the caller see the ends of the command's streams, and that the exec succeeded: until then it waits.
    descriptors::close_all_but(status);
    // SAFETY: plain system calls on memory of this function.
    unsafe {
        let mut heard = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&mut heard);
        libc::sigaddset(&mut heard, libc::SIGCHLD);
        libc::sigaddset(&mut heard, libc::SIGTERM);
        let pause = libc::timespec {
            tv_sec: 0,
            tv_nsec: 20_000_000,
        };
        let (mut ended, mut ending) = (0i32, false);
        loop {
            // A timeout always: a signal that came before the wait is not lost then.
            let heard = libc::sigtimedwait(&heard, std::ptr::null_mut(), &pause);
            ending |= heard == libc::SIGTERM;
            loop {
                let mut found = 0i32;
                let process = libc::waitpid(-1, &mut found, libc::WNOHANG);
                if process == command {
                    ended = found;
                    ending = true;
                } else if process == -1 && *libc::__errno_location() == libc::ECHILD {
                    let told = ended.to_ne_bytes();
                    let written = libc::write(status, told.as_ptr().cast(), told.len());
                    // A command may have left no room for it, and its own four bytes in its place.
                    let is_told = usize::try_from(written).is_ok_and(|bytes| bytes == told.len());
                    libc::_exit(i32::from(!is_told));
                } else if process <= 0 {
                    break;
                }
            }
            if ending {
                end_children();
            }
        }
    }
}

/// Kills the children of this process; theirs become its own and are killed the next time.
fn end_children() {
    let mut text = [0u8; 4096];
    // SAFETY: the path ends in a zero byte, the buffer is as long as the call is told.
    let read = unsafe {
        let file = libc::open(c"/proc/thread-self/children".as_ptr(), libc::O_RDONLY);
        if file < 0 {
            return;
        }
        let read = libc::read(file, text.as_mut_ptr().cast(), text.len());
        libc::close(file);
        read
    };
    let read = usize::try_from(read).unwrap_or(0);
    let mut number: libc::pid_t = 0;
    for byte in &text[..read] {
        if byte.is_ascii_digit() {
            number = number
                .wrapping_mul(10)
                .wrapping_add(libc::pid_t::from(byte - b'0'));
        } else {
            if number > 1 {
                // SAFETY: kill takes numbers, and this one is a child that has not been waited for.
                unsafe { libc::kill(number, libc::SIGKILL) };
            }
            number = 0;
        }
    }
}

fn confine(confinement: &Confinement, processors: Option<&libc::cpu_set_t>) -> io::Result<()> {
    descriptors::end_with_exec()?;
    // SAFETY: plain system calls on memory that was allocated before the fork and outlives the call.
    unsafe {
        for group in &confinement.groups {
            check(libc::write(group.as_raw_fd(), c"0".as_ptr().cast(), 1) != 1)?;
        }
        if let Some(set) = processors {
            check(libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), set) != 0)?;
        }
        libc::umask(0o022);
        for file in &confinement.inherited {
            check(libc::fcntl(file.as_raw_fd(), libc::F_SETFD, 0) != 0)?;
        }
        if confinement.unprivileged && libc::geteuid() == 0 {
            give_up_rights()?;
        }
        for (resource, value) in &confinement.limits {
            let limit = libc::rlimit {
                rlim_cur: *value,
                rlim_max: *value,
            };
            check(libc::setrlimit(resource.number(), &limit) != 0)?;
        }
        // A sandbox program may itself be one that gains rights; those do it for their command.
        if confinement.unprivileged {
            check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)?;
        }
        if let Some(ruleset) = &confinement.ruleset {
            check(libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) != 0)?;
        }
        if let Some(canary) = &confinement.canary {
            let file = libc::open(canary.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
            if file >= 0 {
                return Err(io::Error::from_raw_os_error(NOT_CONFINED));
            }
        }
        for filter in &confinement.filters {
            if seccompiler::apply_filter(filter).is_err() {
                return Err(io::Error::last_os_error());
            }
        }
        if confinement.refuses_sockets {
            let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0);
            if socket >= 0 || *libc::__errno_location() != libc::ENETUNREACH {
                return Err(io::Error::from_raw_os_error(NOT_CONFINED));
            }
        }
    }
    Ok(())
}

fn check(failed: bool) -> io::Result<()> {
    if failed {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Root keeps its number and loses its rights: what it may do then is what its files permit.
unsafe fn give_up_rights() -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        process: libc::c_int,
    }
    const LAST: libc::c_ulong = 63;
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header {
        version: VERSION_3,
        process: 0,
    };
    let none = [0u32; 6];
    // SAFETY: the structures are those of version 3 of the call, and outlive it.
    unsafe {
        for right in 0..=LAST {
            // Rights that the kernel does not know are refused, and mean the end of the list.
            libc::prctl(libc::PR_CAPBSET_DROP, right, 0, 0, 0);
        }
        libc::prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_CLEAR_ALL,
            0,
            0,
            0,
        );
        let result = libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr());
        check(result != 0)
    }
}

impl Kept {
    /// The keeper's number.
    pub(super) fn id(&self) -> i32 {
        self.registered.id()
    }

    /// How the command ended, once the keeper and everything below it is gone; `None` while it is not.
    pub(super) fn ended(&mut self) -> io::Result<Option<Ended>> {
        let (process, waited) = self.registered.wait(|| {
            let mut keeper = 0;
            // SAFETY: the keeper is a child of this process that nothing else waits for; both are writable.
            let (process, usage) = unsafe {
                let mut usage = std::mem::zeroed::<libc::rusage>();
                let process = libc::wait4(self.id(), &mut keeper, libc::WNOHANG, &mut usage);
                (process, usage)
            };
            let waited = match process {
                -1 => Err(io::Error::last_os_error()),
                _ => Ok((keeper, usage)),
            };
            (process, waited)
        });
        let (keeper, usage) = waited?;
        if process == 0 {
            return Ok(None);
        }
        // One that was killed told nothing, nor did one that found no room to: a command that could open the pipe may have
        // written what stands there, and may still hold it, so its end is not waited for. Beside the keeper's word, that
        // is more than it. Of packets one read takes the first alone.
        let its_own_end = libc::WIFEXITED(keeper) && libc::WEXITSTATUS(keeper) == 0;
        let mut told = [0u8; 2 * size_of::<i32>()];
        let mut read = 0;
        while read < told.len() {
            match io::Read::read(&mut self.status, &mut told[read..]) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let told: Option<[u8; size_of::<i32>()]> = told[..read].try_into().ok();
        let time = |time: libc::timeval| {
            let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
            let micros = u64::try_from(time.tv_usec).unwrap_or(0);
            Duration::from_secs(seconds) + Duration::from_micros(micros)
        };
        let count = |value: libc::c_long| u64::try_from(value).unwrap_or(0);
        Ok(Some(Ended {
            status: told.filter(|_| its_own_end).map(i32::from_ne_bytes),
            user: time(usage.ru_utime),
            system: time(usage.ru_stime),
            largest_rss_bytes: count(usage.ru_maxrss).saturating_mul(1024),
            read_bytes: count(usage.ru_inblock).saturating_mul(512),
            written_bytes: count(usage.ru_oublock).saturating_mul(512),
        }))
    }

    /// Whether what a keeper left is told from other children by more than that this process did not start it.
    pub(super) fn tells_strays_apart(&self) -> bool {
        self.registered.tells_strays_apart()
    }

    /// Ends what a keeper left that was killed, or made to end, before it could.
    pub(super) fn end_strays(&self) {
        self.registered.end_strays();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::runner::filter::{self, Sockets};

    /// Packets (`O_DIRECT`) of a pipe do not merge: one of four bytes reads like the keeper's word, and in a pipe that has
    /// room for one there is none for the keeper's. The keeper ends by itself each time.
    #[test]
    fn a_packet_in_the_keepers_pipe_is_not_its_word() {
        let script = "sleep 0.3; for open in /proc/$PPID/fd/*; do if [ -p $open ]; then \
                      printf '\\0\\0\\0\\0' | dd bs=4 oflag=direct status=none > $open; fi; done; exit 3";
        for has_room in [true, false] {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", script]);
            let confinement = Confinement {
                filters: filter::programs(Sockets::Any, false).unwrap(),
                ..Confinement::default()
            };
            let mut kept = spawn(command, confinement).unwrap();
            if !has_room {
                // SAFETY: fcntl takes numbers; the descriptor is open.
                let bytes =
                    unsafe { libc::fcntl(kept.status.as_raw_fd(), libc::F_SETPIPE_SZ, 4096) };
                assert!(bytes > 0);
            }
            let ended = loop {
                if let Some(ended) = kept.ended().unwrap() {
                    break ended;
                }
                std::thread::sleep(Duration::from_millis(5));
            };
            assert_eq!(ended.status, None, "room: {has_room}");
        }
    }
}
