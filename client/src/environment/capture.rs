//! The facts of the environment in which a stage runs.
//!
//! Those of the machine are read here; those of Python by a script that the stage's own runner runs with
//! the stage's own variables, so that they are what the stage would see.

use super::{git, machine, settings};
use crate::error::{Error, Result};
use crate::runner::{Kept, Runner, StageJob};
use sealstone_spec::digest::Digest;
use sealstone_spec::environment::{FactError, FactValue, Facts};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// The script that tells what a Python environment is.
const PROBE: &str = include_str!("probe.py");

/// What to capture.
#[derive(Clone, Copy)]
pub struct Capture<'a> {
    /// Who will run the stages.
    pub runner: &'a dyn Runner,
    /// A job with the software, limits, seeds, variables and device of the stages. Its command, inputs and
    /// outputs are not used.
    pub job: &'a StageJob,
    /// The repository of the code; facts of git are left out without one.
    pub repository: Option<&'a Path>,
    /// Digest of a materialised Python environment.
    pub python_environment: Option<Digest>,
}

/// What was captured.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Captured {
    /// The document.
    pub facts: Facts,
    /// What changes by itself, and is no part of the document or its digest.
    pub volatile: BTreeMap<String, String>,
    /// Facts that were left out, and why: they look like secrets, or could not be read.
    pub left_out: Vec<String>,
}

impl Captured {
    pub(super) fn set(&mut self, name: &str, value: impl Into<FactValue>) {
        let value = value.into();
        if matches!(&value, FactValue::Text(text) if text.is_empty()) {
            return;
        }
        match self.facts.set(name, value) {
            Ok(()) => {}
            Err(error @ FactError::Secret(_)) => self.left_out.push(error.to_string()),
            Err(error) => self.left_out.push(format!("{name}: {error}")),
        }
    }

    pub(super) fn set_some<T: Into<FactValue>>(&mut self, name: &str, value: Option<T>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }
}

/// Captures the facts of an environment.
///
/// # Errors
/// If the runner does not run at all. What cannot be read is left out and named.
pub fn capture(what: &Capture<'_>) -> Result<Captured> {
    let mut captured = Captured::default();
    machine::record(what.job, &mut captured);
    settings::record(what.runner, what.job, &mut captured);
    if let Some(repository) = what.repository {
        git::record(repository, &mut captured);
    }
    captured.set_some(
        "python.environment",
        what.python_environment.map(|digest| digest.to_string()),
    );
    match python(what)? {
        Ok(told) => record_python(&told, &mut captured),
        Err(reason) => captured.left_out.push(format!("python: {reason}")),
    }
    Ok(captured)
}

/// Runs the script where stages run; the reason if there is no Python there.
fn python(what: &Capture<'_>) -> Result<std::result::Result<Value, String>> {
    let mut reason = String::new();
    for program in ["python3", "python"] {
        let mut job = what.job.clone();
        job.stage = "capture".to_owned();
        job.argv = [program, "-c", PROBE].map(str::to_owned).to_vec();
        job.inputs = Vec::new();
        job.outputs = Vec::new();
        job.limits.wall = Some(Duration::from_secs(120));
        job.limits.log_bytes = 8 << 20;
        let mut kept = Kept::default();
        let outcome = what.runner.run(&job, &mut kept)?;
        let told = kept
            .stdout
            .split(|byte| *byte == b'\n')
            .rfind(|line| line.starts_with(b"{"));
        if let (Some(0), Some(told)) = (outcome.exit, told) {
            let told = serde_json::from_slice(told)
                .map_err(|error| Error::other("the probe of Python told no JSON").source(error))?;
            return Ok(Ok(told));
        }
        let said = String::from_utf8_lossy(&kept.stderr).trim().to_owned();
        reason = said
            .lines()
            .last()
            .unwrap_or("the probe did not answer")
            .to_owned();
    }
    Ok(Err(reason))
}

fn record_python(told: &Value, captured: &mut Captured) {
    let text = |pointer: &str| {
        told.pointer(pointer)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let whole = |pointer: &str| told.pointer(pointer).and_then(Value::as_i64);
    // A number where all libraries agree, else a text with each.
    let threads = |pointer: &str| -> Option<FactValue> {
        whole(pointer)
            .map(FactValue::from)
            .or_else(|| text(pointer).map(FactValue::from))
    };
    let entries = |pointer: &str| -> Option<BTreeMap<String, String>> {
        let map = told.pointer(pointer)?.as_object()?;
        let entries: BTreeMap<String, String> = map
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect();
        (!entries.is_empty()).then_some(entries)
    };
    for name in ["version", "implementation", "build", "abi", "executable"] {
        captured.set_some(&format!("python.{name}"), text(&format!("/python/{name}")));
    }
    if let Some(libc) = text("/libc") {
        let (name, version) = libc.split_once(' ').unwrap_or((&libc, ""));
        captured.set("libc.name", name);
        captured.set("libc.version", version);
    }
    captured.set_some("libm.build_id", text("/libm"));
    captured.set_some("python.packages", entries("/packages"));
    captured.set_some("native.libraries", entries("/libraries"));
    captured.set_some("determinism.flags", entries("/flags"));
    for name in ["implementation", "version", "arch"] {
        captured.set_some(&format!("blas.{name}"), text(&format!("/blas/{name}")));
    }
    captured.set_some("blas.threads", threads("/blas/threads"));
    captured.set_some("openmp.implementation", text("/openmp/implementation"));
    captured.set_some("openmp.threads", threads("/openmp/threads"));
    captured.set_some("torch.threads", whole("/torch/threads"));
    captured.set_some("torch.interop_threads", whole("/torch/interop"));
    captured.set_some("gpu.cuda", text("/cuda"));
    for name in ["cudnn", "cublas", "nccl"] {
        captured.set_some(&format!("gpu.{name}"), text(&format!("/{name}")));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn what_python_tells_becomes_facts_and_secrets_do_not() {
        let told = json!({
            "python": {"version": "3.11.7", "abi": ""},
            "libc": "glibc 2.36",
            "packages": {"numpy": "1.26.4 sha256:00", "tokenizers": "0.15"},
            "libraries": {},
            "blas": {"implementation": "openblas", "threads": 1, "arch": null},
            "openmp": {"implementation": "libgomp; libomp", "threads": "1; 2"},
            "cuda": null,
            "cublas": "12.4.5.8",
            "nccl": null,
            "flags": {"torch.allow_tf32": "ghp_16C7e42F292c6912E7710c838347Ae178B4a"},
        });
        let mut captured = Captured::default();
        record_python(&told, &mut captured);
        let facts = &captured.facts;
        assert_eq!(facts.get("libc.version"), Some(&FactValue::from("2.36")));
        assert_eq!(facts.get("blas.threads"), Some(&FactValue::Whole(1)));
        // Libraries that do not agree are all told.
        assert_eq!(facts.get("openmp.threads"), Some(&FactValue::from("1; 2")));
        assert_eq!(facts.get("gpu.cublas"), Some(&FactValue::from("12.4.5.8")));
        for absent in [
            "gpu.cuda",
            "gpu.nccl",
            "blas.arch",
            "python.abi",
            "native.libraries",
            "determinism.flags",
        ] {
            assert_eq!(facts.get(absent), None, "{absent}");
        }
        assert_eq!(captured.left_out.len(), 1);
        assert!(!captured.left_out[0].contains("ghp_"));
    }

    /// What Python makes of an expression with functions of the probe; `None` if there is no Python.
    fn asked(functions: &[&str], expression: &str) -> Option<Value> {
        let mut script = String::from("import json\n\n\n");
        for name in functions {
            let from = PROBE.find(&format!("def {name}(")).unwrap();
            script += PROBE[from..].split("\n\n\n").next().unwrap();
            script += "\n\n\n";
        }
        script += &format!("print(json.dumps({expression}))");
        let python = std::process::Command::new("python3")
            .args(["-I", "-c", &script])
            .output();
        let Ok(python) = python else {
            crate::skips::not_installed("python3");
            return None;
        };
        Some(serde_json::from_slice(&python.stdout).unwrap())
    }

    #[test]
    fn what_several_libraries_say_is_told_once_where_they_agree() {
        let lists = "[[], [None], ['b', None, 'a', 'b'], [2, 2], [10, 9, 10]]";
        let told = asked(&["joined"], &format!("[joined(list) for list in {lists}]"));
        if let Some(told) = told {
            assert_eq!(told, json!([null, null, "a; b", 2, "9; 10"]));
        }
    }

    #[test]
    fn libraries_of_nvidia_are_known_by_their_packages() {
        let packages = "{'nvidia-cublas-cu12': '12.4.5.8 sha256:00', 'nvidia-nccl': '2.28', 'nvidia-nccl-cu12': '2.27.3', \
            'nvidia-cublasmp-cu12': '0.5', 'numpy': '2'}";
        let all =
            format!("[of_nvidia({packages}, library) for library in ('cublas', 'nccl', 'cudnn')]");
        if let Some(told) = asked(&["joined", "of_nvidia"], &all) {
            assert_eq!(told, json!(["12.4.5.8", "2.27.3; 2.28", null]));
        }
    }
}
