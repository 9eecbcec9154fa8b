//! Where a stage runs in these tests, with what it may touch and what it must not beside each other.

use sealstone::runner::{
    Expected, Input, Kept, Limits, LogSink, Runner, StageJob, StageOutcome, Stop, Stream,
};
use sealstone_spec::digest::Digest;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A directory with a baseline, a secret beside it, and a place for outputs.
pub(super) struct Ground {
    pub(super) root: tempfile::TempDir,
}

impl Ground {
    pub(super) fn new() -> Ground {
        let root = tempfile::tempdir().unwrap();
        for name in ["scratch", "out", "base", "beside"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        fs::write(root.path().join("base/data.csv"), "1,2\n3,4\n").unwrap();
        fs::write(
            root.path().join("base/undeclared.csv"),
            "not for the stage\n",
        )
        .unwrap();
        // Readable and writable by everybody: only isolation keeps a stage away.
        fs::set_permissions(
            root.path().join("beside"),
            fs::Permissions::from_mode(0o777),
        )
        .unwrap();
        Ground { root }
    }

    pub(super) fn at(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    pub(super) fn job(&self, script: &str) -> StageJob {
        let script = script.replace("ROOT", self.root.path().to_str().unwrap());
        let argv = ["/bin/sh", "-c", &script].map(str::to_owned).to_vec();
        let mut job = StageJob::new("train", argv, self.at("scratch"), self.at("out"));
        job.inputs.push(Input {
            path: "data.csv".into(),
            source: self.at("base/data.csv"),
            expected: Expected::File(Digest::sha256(b"1,2\n3,4\n")),
        });
        job.limits = Limits {
            wall: Some(Duration::from_secs(60)),
            grace: Duration::from_secs(1),
            ..Limits::default()
        };
        job
    }

    pub(super) fn run(&self, runner: &dyn Runner, job: &StageJob) -> (StageOutcome, Kept) {
        let mut kept = Kept::default();
        let outcome = runner.run(job, &mut kept).unwrap();
        self.is_as_it_was();
        (outcome, kept)
    }

    fn is_as_it_was(&self) {
        assert!(
            fs::read_dir(self.at("scratch")).unwrap().next().is_none(),
            "scratch is left dirty"
        );
        assert_eq!(
            fs::read(self.at("base/data.csv")).unwrap(),
            b"1,2\n3,4\n",
            "the baseline was touched"
        );
    }

    /// Runs a command that says something once it can take a signal until its time is over; also how much longer it ran.
    /// The time begins with the sandbox, and on a busy machine that alone may take it all: then there is more of it.
    pub(super) fn run_out_of_time(
        &self,
        runner: &dyn Runner,
        job: &mut StageJob,
    ) -> (StageOutcome, Kept, Duration) {
        let mut ended = String::new();
        for wall in [500, 2_000, 8_000].map(Duration::from_millis) {
            job.limits.wall = Some(wall);
            let mut said = Timed::default();
            let start = Instant::now();
            let outcome = runner.run(job, &mut said);
            let late = start.elapsed().saturating_sub(wall);
            if said.first.is_some_and(|first| first < start + wall) {
                let outcome = outcome.unwrap();
                assert_eq!(outcome.stop, Some(Stop::WallLimit), "{outcome:?}");
                self.is_as_it_was();
                return (outcome, said.kept, late);
            }
            ended = format!("{outcome:?}");
        }
        panic!("the command is not ready within 8 seconds: {ended}");
    }
}

/// What a command has said, and when the first of it came.
#[derive(Default)]
struct Timed {
    kept: Kept,
    first: Option<Instant>,
}

impl LogSink for Timed {
    fn write(&mut self, stream: Stream, bytes: &[u8]) {
        if stream == Stream::Stdout {
            self.first.get_or_insert_with(Instant::now);
        }
        self.kept.write(stream, bytes);
    }
}
