//! The real client, run in a directory, and how it ended.
//!
//! Owns the one way in which tests start it. Invariant: nothing of the caller's environment reaches it but the PATH;
//! whoever needs more sets it on the command.

use sealstone_tests::registry::{TestRegistry, User, binary};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// How a command ended.
pub(crate) struct Ended {
    /// Its exit code.
    pub(crate) code: i32,
    /// The last line that is JSON, of its answer or else of its messages.
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

    /// The same, if this was printed.
    #[track_caller]
    pub(crate) fn says(&self, text: &str) -> &Ended {
        assert!(
            self.everything.contains(text),
            "\"{text}\" is not in {}",
            self.everything
        );
        self
    }
}

/// The client's command in `directory`, not yet run. It answers in JSON.
pub(crate) fn sealstone(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary("sealstone").unwrap());
    command.args(["--output", "json"]).args(arguments);
    alone(&mut command, directory);
    command
}

/// Lets a command that is or starts the client work in `directory`, which is also its home.
pub(crate) fn alone<'a>(command: &'a mut Command, directory: &Path) -> &'a mut Command {
    command
        .current_dir(directory)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", directory)
}

/// Gives a command somebody's name and secret at a registry.
pub(crate) fn log_in<'a>(
    command: &'a mut Command,
    registry: &TestRegistry,
    who: &User,
) -> &'a mut Command {
    command
        .env("SEALSTONE_REGISTRY", registry.address().to_string())
        .env("SEALSTONE_USERNAME", &who.name)
        .env("SEALSTONE_PASSWORD", &who.secret)
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Ended {
    let output = command.output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    let json = |text: &str| {
        let mut lines = text.lines().rev();
        lines.find_map(|line| serde_json::from_str(line).ok())
    };
    let arguments: Vec<_> = command.get_args().collect();
    Ended {
        code: output.status.code().unwrap_or(-1),
        json: json(&out).or_else(|| json(&error)).unwrap_or_default(),
        everything: format!("{arguments:?}\n{out}\n{error}"),
    }
}
