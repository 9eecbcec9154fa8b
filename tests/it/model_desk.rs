//! A desk with a model, its bundle and two people's keys, and the client that sits at it.

use crate::client::{self, Ended};
use sealstone_tests::registry::TestRegistry;
use std::fs;
use std::process::Command;

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
        client::run(&mut self.command(arguments, None))
    }

    /// Runs the client as the administrator of a registry.
    pub(crate) fn run_at(&self, registry: &TestRegistry, arguments: &[&str]) -> Ended {
        client::run(&mut self.command(arguments, Some(registry)))
    }

    /// The client's command, not yet run.
    pub(crate) fn command(&self, arguments: &[&str], registry: Option<&TestRegistry>) -> Command {
        let mut command = client::sealstone(self.directory.path(), arguments);
        command.env("SOURCE_DATE_EPOCH", "1767225600");
        if let Some(registry) = registry {
            client::log_in(&mut command, registry, &registry.admin);
        }
        command
    }
}

/// A place in the registry.
pub(crate) fn at(registry: &TestRegistry, rest: &str) -> String {
    format!("{}/{rest}", registry.address())
}
