//! Stages that do what they must not, under every runner that works on this machine.
//!
//! Owns: undeclared reads, the network, writes outside, the caller's home and variables, fork bombs, memory,
//! time, logs without end; and that a stage sees the same host name and directory wherever it runs. What is neither file
//! nor address is in `isolation/doors.rs`. What this machine has not is printed as skipped, with the reason.

mod doors;
mod ground;
mod many;
mod usage;

use crate::system::tiny_root;
use ground::Ground;
use sealstone::runner::{Capability, Kept, Net, Rootfs, Runner, RunnerKind, Stop, runner};
use sealstone::{Error, Outcome};
use sealstone_spec::digest::Digest;
use sealstone_spec::environment::Isolation;
use sealstone_tests::skips;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Runners that use this machine's programs.
const HOSTED: [RunnerKind; 4] = [
    RunnerKind::Oci,
    RunnerKind::Bubblewrap,
    RunnerKind::Confined,
    RunnerKind::Process,
];

/// Says that this runner cannot be tried here: set-up has not brought its program, or the machine does not let it work.
pub(crate) fn cannot_try(kind: RunnerKind, reason: &str) {
    let programs: &[&str] = match kind {
        RunnerKind::Rootfs | RunnerKind::Bubblewrap => &["bwrap"],
        RunnerKind::Oci => &["runc", "crun"],
        _ => &[],
    };
    let is_there = |program: &&str| Command::new(program).arg("--version").output().is_ok();
    if programs.is_empty() || programs.iter().any(is_there) {
        skips::not_possible(&format!("{kind}: {reason}"));
    } else {
        skips::not_installed(&programs.join(" or "));
    }
}

/// Command lines of processes that name this path.
fn naming(path: &Path) -> Vec<String> {
    let path = path.to_str().unwrap();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    // One that ends meanwhile has none.
    let lines = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines
        .map(|line| text(&line).replace('\0', " "))
        .filter(|line| line.contains(path))
        .collect()
}

/// Runs `test` under every hosted runner of at least this level, and says which are skipped and why.
fn each(minimum: Isolation, mut test: impl FnMut(&dyn Runner, &Ground)) {
    let mut ran = 0;
    for kind in HOSTED {
        let runner = runner(kind);
        let found = runner.probe();
        if let Capability::Absent { reason } = &found.usable {
            cannot_try(kind, reason);
        } else if found.isolation(false) >= minimum {
            println!("under {kind}");
            test(runner.as_ref(), &Ground::new());
            ran += 1;
        }
    }
    // A process with a filter needs nothing that any supported kernel lacks.
    assert!(ran > 0 || minimum > Isolation::I2, "no runner works here");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn declared_files_are_read_and_written_and_nothing_is_left() {
    each(Isolation::I1, |runner, ground| {
        let mut job =
            ground.job("cat data.csv > model/weights && echo done && echo note >&2 && touch more");
        job.outputs = vec!["model/weights".into()];
        let (outcome, kept) = ground.run(runner, &job);
        assert!(outcome.succeeded(), "{outcome:?} {}", text(&kept.stderr));
        assert_eq!(kept.stdout, b"done\n");
        assert_eq!(kept.stderr, b"note\n");
        assert_eq!(outcome.stdout.digest, Digest::sha256(b"done\n"));
        assert_eq!(outcome.undeclared, ["more"]);
        assert_eq!(outcome.outputs[0].digest, Digest::sha256(b"1,2\n3,4\n"));
        assert_eq!(
            fs::read(ground.at("out/model/weights")).unwrap(),
            b"1,2\n3,4\n"
        );
        assert!(!ground.at("out/more").exists());
        assert_eq!(outcome.isolation, runner.probe().isolation(false));
        assert!(outcome.usage.wall_ms.is_some() && outcome.usage.peak_rss_bytes.is_some());
    });
}

#[test]
fn an_undeclared_read_fails() {
    each(Isolation::I3, |runner, ground| {
        for path in [
            "ROOT/base/undeclared.csv",
            "/etc/passwd.sealstone-none",
            "/root/.bashrc",
            "/etc/shadow",
            "/etc/hostname",
        ] {
            let (outcome, kept) = ground.run(runner, &ground.job(&format!("cat {path}")));
            assert_eq!(outcome.exit, Some(1), "{path}: {outcome:?}");
            assert!(kept.stdout.is_empty(), "{path}: {}", text(&kept.stdout));
            assert!(!outcome.succeeded());
        }
    });
}

#[test]
fn a_network_call_fails() {
    // Perl is part of every Debian, and stands in /usr wherever it is.
    let dial = r#"perl -e 'use Socket; socket(S, PF_INET, SOCK_STREAM, 0) or die "no socket"; connect(S, sockaddr_in(PORT, inet_aton("ADDRESS"))) or die "no connection"; print "connected"'"#;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    each(Isolation::I2, |runner, ground| {
        for (address, port) in [("127.0.0.1", port.as_str()), ("192.0.2.1", "9")] {
            let script = dial.replace("PORT", port).replace("ADDRESS", address);
            let start = Instant::now();
            let (outcome, kept) = ground.run(runner, &ground.job(&script));
            assert!(!outcome.succeeded(), "{address}");
            assert!(kept.stdout.is_empty(), "{address}");
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "{address} was not refused at once"
            );
            let row = outcome
                .enforcement
                .iter()
                .find(|row| row.limit == "network")
                .unwrap();
            assert!(row.is_enforced(), "{row:?}");
        }
    });
    // The same script reaches the listener where it may: it is no accident that it failed.
    let ground = Ground::new();
    let mut job = ground.job(&dial.replace("PORT", &port).replace("ADDRESS", "127.0.0.1"));
    job.net = Net::Allow("shown to work".into());
    let (outcome, kept) = ground.run(runner(RunnerKind::Process).as_ref(), &job);
    assert_eq!(text(&kept.stdout), "connected", "{}", text(&kept.stderr));
    assert_eq!(outcome.isolation, Isolation::I1);
}

#[test]
fn a_write_outside_fails() {
    each(Isolation::I3, |runner, ground| {
        for path in [
            "ROOT/beside/x",
            "ROOT/base/data.csv",
            "ROOT/out/x",
            "/etc/x",
            "/usr/x",
            "/w2",
        ] {
            let (outcome, kept) = ground.run(runner, &ground.job(&format!("echo x > {path}")));
            assert!(!outcome.succeeded(), "{path}: {}", text(&kept.stderr));
        }
        assert!(fs::read_dir(ground.at("beside")).unwrap().next().is_none());
        assert!(fs::read_dir(ground.at("out")).unwrap().next().is_none());
    });
}

/// By its name, and by opening it to read: Landlock saw neither before its third version.
#[test]
fn no_file_outside_is_cut() {
    let cut =
        r#"perl -e 'use Fcntl; truncate("PATH", 0); sysopen(F, "PATH", O_RDONLY | O_TRUNC)'; true"#;
    each(Isolation::I3, |runner, ground| {
        fs::create_dir(ground.at("shelf")).unwrap();
        let others = ["beside/kept", "base/undeclared.csv", "shelf/kept"];
        for path in others {
            fs::write(ground.at(path), "whole").unwrap();
            let script = cut.replace("PATH", &format!("ROOT/{path}"));
            let mut job = ground.job(&script);
            // Readable, as what an environment of Python is made of.
            job.software.read_only.push(ground.at("shelf"));
            ground.run(runner, &job);
        }
        for path in others {
            let left = fs::read_to_string(ground.at(path)).unwrap();
            assert_eq!(left, "whole", "{path}");
        }
    });
}

#[test]
fn an_input_cannot_be_changed_unnoticed() {
    each(Isolation::I1, |runner, ground| {
        for script in [
            "echo 9 > data.csv",
            "rm -f data.csv && echo 9 > data.csv",
            "mv data.csv other",
        ] {
            let (outcome, _) = ground.run(runner, &ground.job(script));
            assert!(!outcome.succeeded(), "{script}: {outcome:?}");
        }
    });
}

#[test]
fn home_and_variables_of_the_caller_are_not_there() {
    each(Isolation::I1, |runner, ground| {
        let (outcome, kept) = ground.run(
            runner,
            &ground.job("ls -A \"$HOME\" \"$TMPDIR\" && test \"$HOME\" != \"$(pwd)\" && echo x > \"$HOME/x\" && env && umask"),
        );
        assert!(outcome.succeeded(), "{}", text(&kept.stderr));
        let said = text(&kept.stdout);
        for line in [
            "LC_ALL=C.UTF-8",
            "TZ=UTC",
            "PYTHONHASHSEED=0",
            "OMP_NUM_THREADS=1",
            "OMP_DYNAMIC=FALSE",
            "SOURCE_DATE_EPOCH=0",
            "CUBLAS_WORKSPACE_CONFIG=:4096:8",
            "0022",
        ] {
            assert!(said.lines().any(|found| found == line), "{line} in {said}");
        }
        for name in ["CARGO", "USER", "SSH", "HISTFILE"] {
            assert!(
                !said.lines().any(|found| found.starts_with(name)),
                "{name} in {said}"
            );
        }
        if let Ok(home) = std::env::var("HOME") {
            assert!(
                !said.lines().any(|found| found == format!("HOME={home}")),
                "{said}"
            );
        }
        assert!(outcome.undeclared.is_empty(), "{outcome:?}");
    });
}

#[test]
fn the_host_name_and_the_directory_are_the_same_everywhere() {
    each(Isolation::I1, |runner, ground| {
        let (outcome, kept) = ground.run(
            runner,
            &ground.job("cat /proc/sys/kernel/hostname; pwd; id -u"),
        );
        let said = text(&kept.stdout);
        let lines: Vec<&str> = said.lines().collect();
        match runner.host_name() {
            Some(name) => {
                assert_eq!(lines[0], name, "{outcome:?}");
                assert_eq!(lines[1], "/w");
            }
            None => assert!(!runner.probe().host_name.is_present()),
        }
    });
}

#[test]
fn a_fork_bomb_is_bounded() {
    each(Isolation::I1, |runner, ground| {
        let mut job = ground.job("bomb() { bomb | bomb & }; bomb; sleep 20; exit 1");
        job.limits.pids = Some(64);
        let start = Instant::now();
        let (outcome, kept) = ground.run(runner, &job);
        assert!(!outcome.succeeded(), "{outcome:?}");
        assert_eq!(
            outcome.stop,
            Some(Stop::PidsLimit),
            "{outcome:?} {}",
            text(&kept.stderr)
        );
        assert!(
            start.elapsed() < Duration::from_secs(50),
            "{:?}",
            start.elapsed()
        );
        let row = outcome
            .enforcement
            .iter()
            .find(|row| row.limit == "pids")
            .unwrap();
        assert!(row.is_enforced(), "{row:?}");
        // Nothing of it is left on the machine.
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut left = naming(ground.root.path());
        while !left.is_empty() {
            assert!(Instant::now() < deadline, "{left:?}");
            std::thread::sleep(Duration::from_millis(20));
            left = naming(ground.root.path());
        }
    });
}

#[test]
fn memory_is_bounded_and_measured() {
    // 400 MB in one string. Perl's pages are touched as they are written.
    let eat = r#"perl -e 'my $x = "x" x 400_000_000; sleep 1; print length $x'"#;
    each(Isolation::I1, |runner, ground| {
        let mut job = ground.job(eat);
        let (outcome, _) = ground.run(runner, &job);
        assert!(outcome.succeeded(), "{outcome:?}");
        let peak = outcome.usage.peak_rss_bytes.unwrap();
        assert!(peak.value > 350_000_000, "{peak:?}");
        job.limits.memory = Some(100 << 20);
        let (outcome, kept) = ground.run(runner, &job);
        assert!(!outcome.succeeded(), "{outcome:?}");
        assert!(kept.stdout.is_empty());
        // The kernel ends it, or refuses it the memory and it ends itself.
        let refused = text(&kept.stderr).contains("Out of memory");
        assert!(
            outcome.stop == Some(Stop::MemoryLimit) || refused,
            "{outcome:?} {}",
            text(&kept.stderr)
        );
    });
}

#[test]
fn time_is_bounded_for_the_whole_tree() {
    each(Isolation::I1, |runner, ground| {
        // Children in sessions of their own, deaf to SIGTERM, with the logs still open.
        let mut job = ground.job("trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep 100; sleep 100' & setsid sleep 100 & echo ready; sleep 100; sleep 100");
        job.limits.grace = Duration::from_millis(500);
        let (outcome, _, late) = ground.run_out_of_time(runner, &mut job);
        assert!(!outcome.succeeded());
        assert!(
            late > Duration::from_millis(400) && late < Duration::from_secs(14),
            "{late:?}"
        );
    });
}

#[test]
fn a_polite_command_may_say_goodbye() {
    each(Isolation::I1, |runner, ground| {
        if runner.kind() == RunnerKind::Oci {
            println!(
                "under oci: the first process of a container hears no SIGTERM unless it listens; this one does"
            );
        }
        let mut job =
            ground.job("trap 'echo goodbye; exit 3' TERM; echo ready; while :; do sleep 0.1; done");
        job.limits.grace = Duration::from_secs(10);
        let (outcome, kept, late) = ground.run_out_of_time(runner, &mut job);
        assert_eq!(text(&kept.stdout), "ready\ngoodbye\n", "{outcome:?}");
        assert_eq!(outcome.exit, Some(3));
        assert!(late < Duration::from_millis(8_500), "{late:?}");
    });
}

#[test]
fn what_is_left_running_is_ended_with_the_command() {
    each(Isolation::I1, |runner, ground| {
        let start = Instant::now();
        let (outcome, kept) = ground.run(
            runner,
            &ground.job("setsid sleep 90 & (sleep 90 &) ; echo started"),
        );
        assert!(outcome.succeeded(), "{outcome:?} {}", text(&kept.stderr));
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{:?}",
            start.elapsed()
        );
    });
}

#[test]
fn a_log_without_end_is_cut_and_says_so() {
    each(Isolation::I1, |runner, ground| {
        let mut job = ground.job(
            "i=0; while [ $i -lt 20000 ]; do echo 0123456789abcdef; i=$((i+1)); done; echo end >&2",
        );
        job.limits.log_bytes = 1000;
        let (outcome, kept) = ground.run(runner, &job);
        assert!(outcome.succeeded(), "{outcome:?}");
        assert_eq!(outcome.stdout.bytes, 20_000 * 17);
        assert_eq!(outcome.stdout.dropped, 20_000 * 17 - 1000);
        let said = text(&kept.stdout);
        assert!(
            said.contains(
                "stdout TRUNCATED here: the limit is 1000 bytes, 339000 more were dropped"
            ),
            "{said}"
        );
        assert_eq!(outcome.stdout.digest, Digest::sha256(&kept.stdout));
        assert_eq!(
            (kept.stderr.as_slice(), outcome.stderr.dropped),
            (b"end\n".as_slice(), 0)
        );
    });
}

#[test]
fn too_much_output_is_ended() {
    each(Isolation::I1, |runner, ground| {
        let mut job =
            ground.job("i=0; while :; do head -c 1000000 /dev/zero > out.$i; i=$((i+1)); done");
        job.limits.output_bytes = Some(20_000_000);
        let (outcome, _) = ground.run(runner, &job);
        assert_eq!(outcome.stop, Some(Stop::OutputLimit), "{outcome:?}");
    });
}

#[test]
fn failures_of_the_command_are_outcomes() {
    each(Isolation::I1, |runner, ground| {
        let (outcome, _) = ground.run(runner, &ground.job("exit 7"));
        assert_eq!((outcome.exit, outcome.signal), (Some(7), None));
        // The first process of a container ignores what it sends itself.
        if runner.kind() != RunnerKind::Oci {
            let (outcome, _) = ground.run(runner, &ground.job("kill -SEGV $$"));
            assert_eq!(outcome.signal, Some(libc::SIGSEGV), "{outcome:?}");
        }
        let mut job = ground.job("true");
        job.outputs = vec!["never".into()];
        let (outcome, _) = ground.run(runner, &job);
        assert_eq!(outcome.missing, ["never"]);
        assert!(outcome.failure().unwrap().contains("did not write never"));
        let (outcome, _) = ground.run(runner, &{
            let mut job = ground.job("ln -s /etc/passwd link");
            job.outputs = vec!["link".into()];
            job
        });
        assert!(!outcome.succeeded() && !ground.at("out/link").exists());
        let mut job = ground.job("");
        job.argv = vec!["no-such-program-anywhere".into()];
        let mut kept = Kept::default();
        match runner.run(&job, &mut kept) {
            Ok(outcome) => assert!(!outcome.succeeded(), "{outcome:?}"),
            // A runtime that looks for the program itself says so.
            Err(error) => assert_eq!(runner.kind(), RunnerKind::Oci, "{error:?}"),
        }
    });
}

#[test]
fn a_changed_input_halts_before_anything_runs() {
    each(Isolation::I1, |runner, ground| {
        fs::write(ground.at("base/data.csv"), "1,2\n3,5\n").unwrap();
        let mut job = ground.job("echo ran > ran");
        job.outputs = vec!["ran".into()];
        let error: Error = runner.run(&job, &mut Kept::default()).unwrap_err();
        assert_eq!(error.outcome(), Outcome::Halted);
        assert!(!ground.at("out/ran").exists());
    });
}

#[test]
fn processors_are_bounded_by_affinity() {
    each(Isolation::I1, |runner, ground| {
        let mut job = ground.job("nproc; echo $OMP_NUM_THREADS");
        job.limits.cpus = Some(1);
        let (outcome, kept) = ground.run(runner, &job);
        // coreutils' nproc also heeds OMP_NUM_THREADS; /proc has the affinity itself.
        assert_eq!(text(&kept.stdout), "1\n1\n", "{outcome:?}");
        job.limits.cpus = Some(100_000);
        let (outcome, _) = ground.run(runner, &job);
        let row = outcome
            .enforcement
            .iter()
            .find(|row| row.limit == "cpus")
            .unwrap();
        assert!(!row.is_enforced() && row.note.is_some(), "{row:?}");
    });
}

#[test]
fn a_pinned_root_shows_nothing_of_the_machine() {
    let ground = Ground::new();
    let root = ground.at("rootfs");
    if tiny_root(&root).is_none() {
        return skips::not_possible("no small root file system can be made here");
    }
    for kind in [RunnerKind::Rootfs, RunnerKind::Oci] {
        let runner = runner(kind);
        if let Capability::Absent { reason } = &runner.probe().usable {
            cannot_try(kind, reason);
            continue;
        }
        let mut job = ground.job("cat /pinned data.csv > seen; ls /usr/bin 2>/dev/null; ls / ; cat /proc/sys/kernel/hostname; if (echo x > /pinned); then echo WRITTEN; fi");
        job.software.rootfs = Some(Rootfs {
            directory: root.clone(),
            digest: Digest::sha256(b"the image"),
        });
        job.outputs = vec!["seen".into()];
        let (outcome, kept) = ground.run(runner.as_ref(), &job);
        assert!(
            outcome.succeeded(),
            "{kind}: {outcome:?} {}",
            text(&kept.stderr)
        );
        assert_eq!(outcome.isolation, Isolation::I4, "{kind}");
        assert_eq!(
            fs::read(ground.at("out/seen")).unwrap(),
            b"by digest\n1,2\n3,4\n"
        );
        let said = text(&kept.stdout);
        assert!(
            !said.contains("perl") && said.contains("replay") && !said.contains("WRITTEN"),
            "{kind}: {said}"
        );
        assert_eq!(fs::read(root.join("pinned")).unwrap(), b"by digest\n");
    }
    // A process cannot, and says so.
    let mut job = ground.job("true");
    job.software.rootfs = Some(Rootfs {
        directory: root,
        digest: Digest::sha256(b"the image"),
    });
    let error = runner(RunnerKind::Process)
        .run(&job, &mut Kept::default())
        .unwrap_err();
    assert_eq!(error.outcome(), Outcome::Refused);
}
