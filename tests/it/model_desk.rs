//! A directory with a model and keys, and the real client run in it.
//!
//! Invariant: nothing of the machine's own environment reaches the client but the PATH.

use sealstone_tests::registry::{TestRegistry, binary};
use serde_json::Value;
use std::fs;
use std::process::Command;

/// How a command ended.
pub(crate) struct Ended {
    pub(crate) code: i32,
    /// Its last line that is JSON.
    pub(crate) json: Value,
    /// Arguments and everything that was printed.
    pub(crate) everything: String,
}

impl Ended {
    /// The same, if it ended with this code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Ended {
        assert_eq!(self.code, code, "{}", self.everything);
        self
    }
}

/// A directory to work in, and somebody who works there.
pub(crate) struct Desk {
    directory: tempfile::TempDir,
}

impl Desk {
    /// With a model, two people's keys, and the model's bundle.
    pub(crate) fn new() -> Desk {
        let desk = Desk {
            directory: tempfile::tempdir().unwrap(),
        };
        let model = desk.path("model");
        fs::create_dir(&model).unwrap();
        fs::write(model.join("model.safetensors"), vec![3; 2_500_000]).unwrap();
        fs::write(model.join("config.json"), b"{}").unwrap();
        desk.run(&["keygen", "--out", "alice", "--no-passphrase"])
            .expect(0);
        desk.run(&["keygen", "--out", "mallory", "--no-passphrase"])
            .expect(0);
        desk.run(&["pack", "model", "-o", "bundle:1.0.0"]).expect(0);
        desk
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// Runs the client without any registry at hand.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with(arguments, None)
    }

    /// Runs the client as the administrator of a registry.
    pub(crate) fn run_at(&self, registry: &TestRegistry, arguments: &[&str]) -> Ended {
        self.run_with(arguments, Some(registry))
    }

    fn run_with(&self, arguments: &[&str], registry: Option<&TestRegistry>) -> Ended {
        let output = self.command(arguments, registry).output().unwrap();
        Ended::from(arguments, &output)
    }

    /// The client's command, not yet run.
    pub(crate) fn command(&self, arguments: &[&str], registry: Option<&TestRegistry>) -> Command {
        let mut command = Command::new(binary("sealstone").unwrap());
        command
            .args(["--output", "json"])
            .args(arguments)
            .current_dir(self.directory.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.directory.path())
            .env("SOURCE_DATE_EPOCH", "1767225600");
        if let Some(registry) = registry {
            command
                .env("SEALSTONE_REGISTRY", registry.address().to_string())
                .env("SEALSTONE_USERNAME", &registry.admin.name)
                .env("SEALSTONE_PASSWORD", &registry.admin.secret);
        }
        command
    }
}

impl Ended {
    fn from(arguments: &[&str], output: &std::process::Output) -> Ended {
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        let last = out
            .lines()
            .rev()
            .find_map(|line| serde_json::from_str(line).ok());
        Ended {
            code: output.status.code().unwrap_or(-1),
            json: last.unwrap_or(Value::Null),
            everything: format!("{arguments:?}\n{out}\n{error}"),
        }
    }
}

/// A place in the registry.
pub(crate) fn at(registry: &TestRegistry, rest: &str) -> String {
    format!("{}/{rest}", registry.address())
}
