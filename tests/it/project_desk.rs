//! A desk for tests: a small project whose model is made by shell scripts, keys, and the real client.
//!
//! Owns the project, and that credentials are read as docker's are.

use crate::client::{self, Ended};
use sealstone_tests::registry::{TestRegistry, User};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

/// The recipe of the project; tests change it by replacing texts in it.
pub(crate) const RECIPE: &str = r#"recipe = { version = 1, name = "counts", model_version = "1.0.0", owner = "team-x", risk = "low" }
environment = { kind = "host" }
determinism = { class = "bit_exact", seed = 7, threads = 1 }
isolation = { minimum = "I1" }
params = { file = "params.toml", roles = { "model.scale" = "optimizer" } }
[[input]]
path = "data/raw.csv"
sha256 = "todo"
source = "s3://lake/counts/raw.csv"
[stage.prepare]
kind = "prepare"
run = ["sh", "src/prepare.sh"]
in = ["data/raw.csv", "src/"]
out = ["work/sorted.csv"]
[stage.train]
kind = "train"
device = "cpu"
run = ["sh", "src/train.sh", "{params.model.scale}"]
in = ["work/sorted.csv", "src/train.sh"]
params = ["model.*"]
out = ["model/weights.txt", "metrics.json"]
[metric.rows]
from = "metrics.json#/rows"
direction = "higher"
replay = { abs = 0 }
regression = { max_loss = 0.5 }
why = "a count"
[test.golden]
kind = "inference"
run = ["sh", "src/predict.sh", "{in}", "{out}"]
inputs = "golden/in.txt"
expect = "golden/out.txt"
[profile.smoke]
params = { "model.scale" = 3 }
inputs = { "data/raw.csv" = "data/small.csv" }
baseline = "baselines/smoke.lock"
"#;

const FILES: [(&str, &str); 8] = [
    ("params.toml", "[model]\nscale = 2\n"),
    ("data/raw.csv", "x\n3\n1\n2\n"),
    ("data/small.csv", "x\n1\n"),
    (
        "src/prepare.sh",
        "mkdir -p work\nsort data/raw.csv > work/sorted.csv\n",
    ),
    (
        "src/train.sh",
        "mkdir -p model\n(echo \"scale $1\"; cat work/sorted.csv) > model/weights.txt\n\
         echo \"{\\\"rows\\\": $(wc -l < work/sorted.csv).0}\" | tr -d ' ' > metrics.json\n",
    ),
    ("src/predict.sh", "cat model/weights.txt \"$1\" > \"$2\"\n"),
    ("golden/in.txt", "a\n"),
    ("README.md", "# counts\n"),
];

/// The desk: the project lies in `p`, the keys of `builder` and `other` beside it.
pub(crate) struct Desk(tempfile::TempDir);

impl Desk {
    /// A desk with the project as it is, not yet run.
    pub(crate) fn new() -> Desk {
        Desk::with(RECIPE)
    }

    /// The same with another recipe.
    pub(crate) fn with(recipe: &str) -> Desk {
        let desk = Desk(tempfile::tempdir().unwrap());
        desk.write("p/recipe.toml", recipe);
        for (path, content) in FILES {
            desk.write(&format!("p/{path}"), content);
        }
        for name in ["builder", "other"] {
            desk.run(&["keygen", "--out", name, "--no-passphrase"])
                .expect(0);
        }
        desk.run(&["lint", "p", "--fix-digests"]).expect(0);
        desk
    }

    /// The same, run.
    pub(crate) fn locked() -> Desk {
        let desk = Desk::new();
        desk.run(&["run", "p"]).expect(0);
        desk
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    pub(crate) fn root(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, path: &str, content: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    pub(crate) fn change(&self, path: &str, from: &str, to: &str) {
        let text = self.read(path);
        assert!(text.contains(from), "{path} lacks {from}");
        self.write(path, &text.replace(from, to));
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with(None, &[], arguments)
    }

    /// As the registry's administrator.
    pub(crate) fn run_at(&self, registry: &TestRegistry, arguments: &[&str]) -> Ended {
        self.run_with(Some((registry, &registry.admin)), &[], arguments)
    }

    pub(crate) fn run_with(
        &self,
        at: Option<(&TestRegistry, &User)>,
        variables: &[(&str, &str)],
        arguments: &[&str],
    ) -> Ended {
        let mut command = client::sealstone(self.root(), arguments);
        command
            .env("DOCKER_CONFIG", self.path("docker"))
            .env("SEALSTONE_STATE", self.path("state"))
            .envs(variables.iter().copied());
        if let Some((registry, user)) = at {
            let auth = user.basic().replace("Basic ", "");
            let config = json!({"auths": {registry.address().to_string(): {"auth": auth}}});
            self.write("docker/config.json", &config.to_string());
        }
        client::run(&mut command)
    }
}
