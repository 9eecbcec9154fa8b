#![allow(clippy::unwrap_used)]
use super::*;
use crate::Outcome;

/// A wheel, made by Python itself: a zip file of three text files.
const MAKE: &str = r#"
import base64, hashlib, sys, zipfile
path, body = sys.argv[1], sys.argv[2]
files = {
    "tiny/__init__.py": body,
    "tiny-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
    "tiny-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "tiny-1.0.dist-info/entry_points.txt": "[console_scripts]\ntiny = tiny:main\n",
}
record = ""
with zipfile.ZipFile(path, "w") as wheel:
    for name, text in files.items():
        wheel.writestr(zipfile.ZipInfo(name), text)
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{name},sha256={digest},{len(text)}\n"
    wheel.writestr(zipfile.ZipInfo("tiny-1.0.dist-info/RECORD"), record + "tiny-1.0.dist-info/RECORD,,\n")
"#;

fn wheel(interpreter: &Interpreter, directory: &Path, body: &str) -> String {
    fs::create_dir_all(directory).unwrap();
    let path = directory.join("tiny-1.0-py3-none-any.whl");
    let output = Command::new(&interpreter.executable)
        .args(["-I", "-c", MAKE])
        .arg(&path)
        .arg(body)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    Digest::sha256(&fs::read(path).unwrap()).hex()
}

#[test]
fn locked_wheels_make_the_same_environment_anywhere_and_others_none() {
    let Ok(interpreter) = find_interpreter(None) else {
        return crate::skips::not_installed("python3");
    };
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    let hash = wheel(
        &interpreter,
        &at("wheels"),
        "def main():\n    print('tiny')\n",
    );
    fs::write(
        at("lock"),
        format!("tiny==1.0 \\\n    --hash=sha256:{hash}\n"),
    )
    .unwrap();
    let make = |name: &str| materialise(&at("lock"), &at("wheels"), &interpreter, &at(name));
    let first = match make("first") {
        Err(error) if error.outcome() == Outcome::NotFound => {
            return crate::skips::not_installed(&format!("python3-venv ({error})"));
        }
        result => result.unwrap(),
    };
    let second = make("elsewhere/second").unwrap();
    assert_eq!(first.digest, second.digest);
    assert!(first.files >= 4, "{first:?}");
    let script = Command::new(first.directory.join("bin/tiny"))
        .output()
        .unwrap();
    assert_eq!(script.stdout, b"tiny\n");
    assert_eq!(make("first").unwrap_err().outcome(), Outcome::Conflict);

    // Another wheel under the same name is not what the lock says.
    wheel(
        &interpreter,
        &at("wheels"),
        "def main():\n    print('other')\n",
    );
    let error = make("third").unwrap_err();
    assert_eq!(error.outcome(), Outcome::Halted, "{error:?}");
    let told = error.message();
    assert!(
        told.contains("tiny==1.0") && told.contains(&format!("expected sha256:{hash}")),
        "{told}"
    );
    fs::remove_file(at("wheels/tiny-1.0-py3-none-any.whl")).unwrap();
    assert!(make("fourth").is_err());
}

#[test]
fn requirements_that_reach_out_are_refused_by_line() {
    let check = |text: &str| check_requirements(text, Path::new("lock"));
    assert!(
        check("# made by hand\nnumpy==1.26.4 \\\n    --hash=sha256:00 \\\n    --hash=sha256:01\n")
            .is_ok()
    );
    assert!(check("").is_ok());
    for (text, line) in [
        (
            "numpy==1\nx @ https://example.invalid/x.whl --hash=sha256:00",
            2,
        ),
        ("--index-url https://example.invalid/", 1),
        ("-r other.txt", 1),
        ("-e .", 1),
        ("a==1 --hash=sha256:00\n--extra-index-url=x", 2),
    ] {
        let error = check(text).unwrap_err();
        assert!(
            error.message().starts_with(&format!("line {line} of")),
            "{error}"
        );
        assert_eq!(error.outcome(), Outcome::Usage);
    }
    assert!(
        check("numpy==1.26.4")
            .unwrap_err()
            .message()
            .contains("no hashes")
    );
}

#[test]
fn an_interpreter_that_is_not_there_says_what_is() {
    assert_eq!(
        find_interpreter(Some("2.99")).unwrap_err().outcome(),
        Outcome::NotFound
    );
}
