//! What is neither a file by its name nor an address: what the caller left open, the keys that it has, settings of the
//! kernel, file systems that can be mounted, sockets that no namespace keeps apart, and what watches a stage.

use super::{cannot_try, each, naming, text};
use sealstone::runner::{Net, RunnerKind, Stop};
use sealstone_spec::environment::Isolation;
use std::fs::File;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// As a script leaves it that starts a program after `exec 9<FILE`: no exec closes it.
#[allow(unsafe_code)]
fn left_open(open: impl Into<OwnedFd>) -> OwnedFd {
    let open: OwnedFd = open.into();
    // SAFETY: the number is open; the new one is nobody else's.
    unsafe { OwnedFd::from_raw_fd(libc::dup(open.as_raw_fd())) }
}

#[test]
fn nothing_that_the_caller_left_open_is_there() {
    each(Isolation::I1, |runner, ground| {
        let directory = left_open(File::open(ground.at("base")).unwrap());
        let file = left_open(File::open(ground.at("base/undeclared.csv")).unwrap());
        let socket = left_open(UdpSocket::bind("127.0.0.1:0").unwrap());
        let [directory, file, socket] =
            [&directory, &file, &socket].map(|open| format!("/proc/$$/fd/{}", open.as_raw_fd()));
        let script = format!(
            "for open in {directory} {file} {socket}; do if [ -e $open ]; then echo $open; fi; done; \
             cat {directory}/undeclared.csv {file}; true"
        );
        let (outcome, kept) = ground.run(runner, &ground.job(&script));
        assert!(outcome.succeeded(), "{outcome:?}");
        assert!(kept.stdout.is_empty(), "{}", text(&kept.stdout));
    });
}

/// Opened to append, and nothing written: as root of the machine each of them could be opened in a sandbox.
#[test]
fn settings_of_the_kernel_are_read_only_and_what_is_its_own_is_not() {
    let settings = "for file in /proc/sys/kernel/core_pattern /proc/sys/vm/drop_caches \
                    /proc/irq/default_smp_affinity /proc/mtrr; \
                    do if (: >> $file) 2>/dev/null; then echo $file; fi; done";
    let own = "cat /proc/keys; if (: >> /proc/self/comm) 2>/dev/null; then echo named; fi";
    each(Isolation::I3, |runner, ground| {
        let (outcome, kept) = ground.run(runner, &ground.job(settings));
        assert!(kept.stdout.is_empty(), "{outcome:?} {}", text(&kept.stdout));
        // Landlock lets a process read all of /proc, and write to nothing of it.
        if runner.kind() != RunnerKind::Confined {
            let (outcome, kept) = ground.run(runner, &ground.job(own));
            assert_eq!(text(&kept.stdout), "named\n", "{outcome:?}");
        }
    });
}

/// The files of control groups are root's by number, and in namespaces of its own everybody may mount. What is not
/// mounting goes on: archives, links, and processes that work together.
#[test]
fn nothing_is_mounted_and_ordinary_work_goes_on() {
    let mount = format!(
        "perl -e 'my ($none, $here) = (\"none\", \".\"); syscall({}, {}); \
         for my $name (\"tmpfs\", \"cgroup2\") {{ my $type = $name; \
         print \"opened $type \" if syscall({}, $type, 0) != -1; \
         print \"mounted $type \" if syscall({}, $none, $here, $type, 0, 0) == 0 }}'",
        libc::SYS_unshare,
        libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWCGROUP,
        libc::SYS_fsopen,
        libc::SYS_mount,
    );
    let work = "mkdir a && cp data.csv a/one && ln a/one a/two && ln -s two a/three && tar -cf a.tar a && rm -rf a && \
                tar -xof a.tar && mv a b && sort -r b/three | head -n 1 && rm -rf b a.tar && \
                if command -v python3 > /dev/null; then python3 -c \
                'import multiprocessing as m; p = m.Pool(2); print(sum(p.map(abs, [-1, -2])))'; else echo 3; fi";
    each(Isolation::I2, |runner, ground| {
        let (outcome, kept) = ground.run(runner, &ground.job(&mount));
        assert!(kept.stdout.is_empty(), "{outcome:?} {}", text(&kept.stdout));
        let (outcome, kept) = ground.run(runner, &ground.job(work));
        assert_eq!(text(&kept.stdout), "3,4\n3\n", "{}", text(&kept.stderr));
        assert!(outcome.succeeded(), "{outcome:?}");
    });
}

/// In one it would have every right again. bubblewrap can refuse them from version 0.8 on, where it may write the setting.
#[test]
fn bubblewrap_lets_nobody_make_a_user_namespace_where_it_can() {
    let can = Command::new("bwrap")
        .args(["--unshare-user", "--disable-userns"])
        .args(["--dev-bind", "/", "/", "--", "true"])
        .output();
    if !can.is_ok_and(|output| output.status.success()) {
        let reason = "bubblewrap cannot refuse user namespaces here";
        cannot_try(RunnerKind::Bubblewrap, reason);
        return;
    }
    each(Isolation::I3, |runner, ground| {
        if runner.kind() == RunnerKind::Bubblewrap {
            let job = ground.job("unshare -U true 2> /dev/null || echo refused");
            let (outcome, kept) = ground.run(runner, &job);
            assert_eq!(text(&kept.stdout), "refused\n", "{outcome:?}");
        }
    });
}

/// `AF_VSOCK` reaches the hypervisor and `AF_ALG` the kernel, from every network namespace.
#[test]
fn sockets_that_know_no_namespace_are_refused() {
    let (stream, datagram, packets) = (1, 2, 5);
    let make = |family: i32, kind: i32| {
        format!("perl -e 'print \"made\" if socket(S, {family}, {kind}, 0)'")
    };
    each(Isolation::I2, |runner, ground| {
        for (family, kind) in [(libc::AF_VSOCK, stream), (libc::AF_ALG, packets)] {
            let (outcome, kept) = ground.run(runner, &ground.job(&make(family, kind)));
            assert!(kept.stdout.is_empty(), "{family}: {outcome:?}");
        }
        // Processes that train together still find each other.
        let mut families = vec![libc::AF_UNIX];
        let mut net = Net::Deny;
        if matches!(runner.kind(), RunnerKind::Oci | RunnerKind::Bubblewrap) {
            families.push(libc::AF_INET);
            net = Net::Loopback;
        }
        for family in families {
            let mut job = ground.job(&make(family, datagram));
            job.net = net.clone();
            let (outcome, kept) = ground.run(runner, &job);
            assert_eq!(text(&kept.stdout), "made", "{family}: {outcome:?}");
        }
    });
}

/// The keyring of a session knows no namespaces, and outlives the stage.
#[test]
fn the_keys_of_the_caller_are_not_there() {
    // KEYCTL_GET_KEYRING_ID of the session's, which makes one where there is none.
    let script = format!(
        "perl -e 'print \"told\" if syscall({}, 0, -3, 1) != -1'",
        libc::SYS_keyctl
    );
    each(Isolation::I2, |runner, ground| {
        let (outcome, kept) = ground.run(runner, &ground.job(&script));
        assert!(kept.stdout.is_empty(), "{outcome:?}");
    });
}

/// Where neither a namespace nor Landlock (before its version 6) keeps signals from the keeper.
#[test]
fn a_stage_that_stops_its_keeper_gains_no_time() {
    each(Isolation::I1, |runner, ground| {
        let start = Instant::now();
        let (outcome, kept) = ground.run(runner, &ground.job("kill -STOP $PPID; true"));
        assert!(outcome.succeeded(), "{outcome:?} {}", text(&kept.stderr));

        let mut job = ground.job("kill -STOP $PPID; sleep 100");
        job.limits.wall = Some(Duration::from_millis(700));
        job.limits.grace = Duration::from_millis(300);
        let (outcome, _) = ground.run(runner, &job);
        assert_eq!(outcome.stop, Some(Stop::WallLimit), "{outcome:?}");
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{:?}",
            start.elapsed()
        );
    });
}

#[test]
fn a_stage_that_kills_its_keeper_leaves_nothing() {
    each(Isolation::I1, |runner, ground| {
        // Found by a time to sleep that no other process of the machine has.
        let sleep = format!("sleep 9{:07}", std::process::id());
        // Four bytes are a status that the keeper tells, and zeroes would be success: an ordinary user's stage can open the
        // pipe of a keeper that no namespace keeps apart.
        let forge = r"for open in /proc/$PPID/fd/*; do if [ -p $open ]; then printf '\0\0\0\0' > $open; fi; done";
        let script = format!(
            "setsid {sleep} & (setsid sh -c '{sleep} & {sleep}' &); sleep 0.5; {forge}; kill -9 $PPID; {sleep}"
        );
        let mut job = ground.job(&script);
        job.limits.wall = Some(Duration::from_secs(10));
        job.limits.grace = Duration::from_millis(300);
        let start = Instant::now();
        let (outcome, _) = ground.run(runner, &job);
        assert!(!outcome.succeeded(), "{outcome:?}");
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "{:?}",
            start.elapsed()
        );
        if runner.kind() == RunnerKind::Process {
            assert_eq!(outcome.signal, Some(libc::SIGKILL), "{outcome:?}");
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut left = naming(Path::new(&sleep));
        while !left.is_empty() {
            assert!(Instant::now() < deadline, "{left:?}");
            std::thread::sleep(Duration::from_millis(20));
            left = naming(Path::new(&sleep));
        }
    });
}
