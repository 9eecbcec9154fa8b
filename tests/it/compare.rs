//! Files and releases compared through the real client: classes, locators, exit codes; numpy as the oracle.

use sealstone_tests::examples::example;
use sealstone_tests::registry::binary;
use sealstone_tests::skips;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs the client in `directory`: exit code, standard output as JSON, standard error.
fn sealstone(directory: &Path, arguments: &[&str]) -> (i32, Value, String) {
    let ended = Command::new(binary("sealstone").unwrap())
        .args(arguments)
        .args(["--output", "json"])
        .current_dir(directory)
        .output()
        .unwrap();
    let text = String::from_utf8(ended.stdout).unwrap();
    let value = serde_json::from_str(&text).unwrap_or_default();
    let error = String::from_utf8_lossy(&ended.stderr).into_owned();
    (ended.status.code().unwrap(), value, error)
}

fn safetensors(values: &[f32]) -> Vec<u8> {
    let size = values.len() * 4;
    let header =
        json!({"coef": {"dtype": "F32", "shape": [values.len()], "data_offsets": [0, size]}});
    let header = header.to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    file
}

#[test]
fn a_comparison_ends_with_the_class_and_the_place() {
    let directory = tempfile::tempdir().unwrap();
    let write =
        |name: &str, content: &[u8]| fs::write(directory.path().join(name), content).unwrap();
    write("base.safetensors", &safetensors(&[1.0, 2.0, 3.0]));
    write("same.safetensors", &safetensors(&[1.0, 2.0, 3.0]));
    write("near.safetensors", &safetensors(&[1.0, 2.0, 3.0000002]));
    write("far.safetensors", &safetensors(&[1.0, -2.0, 3.0]));
    let compare = |now: &str, class: &str| {
        sealstone(
            directory.path(),
            &["compare", "base.safetensors", now, "--class", class],
        )
    };
    let (code, found, _) = compare("same.safetensors", "bit_exact");
    assert_eq!((code, &found["class"]), (0, &json!("bit_exact")));
    let (code, found, error) = compare("near.safetensors", "bit_exact");
    assert_eq!((code, &found["class"]), (3, &json!("numeric")));
    assert!(error.contains("bit_exact was demanded"), "{error}");
    assert_eq!(compare("near.safetensors", "numeric").0, 0);
    let (code, found, _) = compare("far.safetensors", "numeric");
    assert_eq!((code, &found["class"]), (3, &json!("divergent")));
    assert_eq!(found["first"]["locator"], "tensor:coef[1]");
    assert_eq!(
        found["worst"]["at"],
        json!({"index": [1], "base": "2", "now": "-2"})
    );
    assert_eq!(compare("none.safetensors", "numeric").0, 5);
    let (code, ..) = compare("base.safetensors", "exactly");
    assert_eq!(code, 2);
}

fn release(directory: &Path, version: &str, weights: &[f32], config: &str) {
    let model = directory.join("model");
    fs::create_dir_all(&model).unwrap();
    fs::write(model.join("model.safetensors"), safetensors(weights)).unwrap();
    fs::write(model.join("config.json"), config).unwrap();
    let (code, _, error) = sealstone(
        directory,
        &["pack", "model", "-o", &format!("bundle:{version}")],
    );
    assert_eq!(code, 0, "{error}");
}

#[test]
fn two_releases_differ_by_file_and_by_tensor() {
    let directory = tempfile::tempdir().unwrap();
    release(directory.path(), "1.0.0", &[1.0, 2.0], "{\"lr\": 0.1}");
    release(directory.path(), "1.1.0", &[1.0, 2.5], "{\"lr\": 0.1}");
    let diff = ["diff", "oci:bundle:1.0.0", "oci:bundle:1.1.0", "--tensors"];
    let (code, found, error) = sealstone(directory.path(), &diff);
    assert_eq!(code, 0, "{error}");
    let files = found["difference"]["files"].as_array().unwrap();
    assert_eq!(files.len(), 1, "{found}");
    assert_eq!(files[0]["path"], "model.safetensors");
    assert_eq!(found["difference"]["filesSame"], 1);
    assert_eq!(
        found["content"]["changed"][0]["first"]["locator"],
        "tensor:coef[1]"
    );
    let (_, same, _) = sealstone(
        directory.path(),
        &["diff", "oci:bundle:1.0.0", "oci:bundle:1.0.0"],
    );
    assert_eq!(same["difference"]["files"], json!([]));
}

#[test]
fn bytes_lead_to_their_release() {
    let directory = tempfile::tempdir().unwrap();
    release(directory.path(), "1.0.0", &[1.0, 2.0], "{\"lr\": 0.1}");
    release(directory.path(), "1.1.0", &[1.0, 2.5], "{\"lr\": 0.1}");
    let whoami = |path: &str| sealstone(directory.path(), &["whoami", path, "--in", "oci:bundle"]);
    let (code, found, error) = whoami("model");
    assert_eq!(code, 0, "{error}");
    assert_eq!(found["matches"][0]["tag"], "1.1.0");
    assert_eq!(found["matches"][0]["whole"], true);
    assert_eq!(
        found["matches"][1]["whole"], false,
        "the configuration is that of 1.0.0 as well"
    );
    fs::write(
        directory.path().join("renamed.bin"),
        safetensors(&[1.0, 2.0]),
    )
    .unwrap();
    let (code, found, _) = whoami("renamed.bin");
    assert_eq!(code, 0);
    assert_eq!(found["matches"].as_array().unwrap().len(), 1);
    assert_eq!(
        found["matches"][0]["shared"],
        json!([["renamed.bin", "model.safetensors"]])
    );
    fs::write(directory.path().join("strange.bin"), b"strange").unwrap();
    assert_eq!(whoami("strange.bin").0, 5);
}

#[test]
fn a_directory_with_a_link_or_another_mode_is_not_the_whole_of_a_release() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let directory = tempfile::tempdir().unwrap();
    release(directory.path(), "1.0.0", &[1.0, 2.0], "{\"lr\": 0.1}");
    let whoami = || {
        let asked = ["whoami", "model", "--in", "oci:bundle"];
        let (code, found, error) = sealstone(directory.path(), &asked);
        assert_eq!(code, 0, "{error}");
        (found["matches"][0].clone(), found["unknown"].clone())
    };
    assert_eq!(whoami().0["whole"], true);
    let model = directory.path().join("model");
    for (name, target) in [
        ("sitecustomize.py", "/tmp/evil.py"),
        // Also where it leads to bytes that the release has.
        ("more.json", "config.json"),
    ] {
        symlink(target, model.join(name)).unwrap();
        let (found, unknown) = whoami();
        assert_eq!(found["whole"], false, "{name}");
        assert_eq!(unknown, json!([name]));
        fs::remove_file(model.join(name)).unwrap();
    }
    assert_eq!(whoami().0["whole"], true);
    let run = |mode: u32| {
        let file = model.join("config.json");
        fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
    };
    run(0o755);
    let found = whoami().0;
    assert_eq!(
        (&found["whole"], &found["otherMode"]),
        (&json!(false), &json!(["config.json"]))
    );
    run(0o600);
    assert_eq!(whoami().0["whole"], true, "who else may read it is nothing");
}

/// The Python of a tool that `tests/setup/install.sh clients` made; for numpy, `SEALSTONE_ORACLE_PYTHON` goes before it.
fn python(tool: &str) -> Option<PathBuf> {
    if let Some(stated) = std::env::var_os("SEALSTONE_ORACLE_PYTHON")
        && tool == "numpy"
    {
        return Some(stated.into());
    }
    let tools = std::env::var_os("SEALSTONE_TOOLS")
        .map(PathBuf::from)
        .or_else(|| {
            Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/sealstone/tools"))
        })?;
    let python = tools.join(tool).join("bin/python");
    python.exists().then_some(python)
}

/// Runs a script of `tests/oracles`, which ends well and says how many times it agreed.
fn oracle(python: &Path, script: &str, says: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("oracles")
        .join(script);
    let ended = Command::new(python)
        .arg(script)
        .arg(binary("sealstone").unwrap())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&ended.stdout);
    assert!(
        ended.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    assert!(text.contains(says), "{text}");
}

#[test]
fn figures_and_verdicts_are_those_of_numpy() {
    let Some(python) = python("numpy") else {
        return skips::not_installed("numpy");
    };
    oracle(&python, "comparison.py", "comparisons agree with numpy");
    oracle(&python, "verdicts.py", "verdicts agree with numpy");
}

#[test]
fn figures_and_verdicts_are_those_of_torch() {
    let Some(example) = example("words") else {
        return;
    };
    oracle(&example.python(), "comparison.py", "and torch");
    oracle(&example.python(), "verdicts.py", "and torch");
}

#[test]
fn models_are_read_as_their_own_libraries_write_them() {
    let Some(python) = python("models") else {
        return skips::not_installed("onnx, gguf, xgboost and lightgbm");
    };
    oracle(
        &python,
        "comparison.py",
        "4 of 4 libraries that write models agree",
    );
}
