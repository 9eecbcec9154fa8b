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

/// A wheel may name an address, and its directory a page that leads to one; pip hears of neither.
#[test]
fn what_lies_beside_wheels_is_never_seen_by_pip() {
    let Ok(interpreter) = find_interpreter(None) else {
        return crate::skips::not_installed("python3");
    };
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    let hash = wheel(&interpreter, &at("wheels"), "");
    let good = format!("tiny==1.0 --hash=sha256:{hash}\n");
    let make = |name: &str| materialise(&at("lock"), &at("wheels"), &interpreter, &at(name));
    for other in [".gitattributes", ".gitkeep", "page.html", "tiny-1.0.tar.gz"] {
        fs::write(at("wheels").join(other), "").unwrap();
    }
    fs::create_dir(at("wheels/more")).unwrap();
    let shelf = at("shelf");
    fs::create_dir(&shelf).unwrap();
    shelve(&lock::wheels_in(&at("wheels")).unwrap(), &shelf).unwrap();
    let shown: Vec<PathBuf> = fs::read_dir(&shelf)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let tiny = "tiny-1.0-py3-none-any.whl";
    assert_eq!(shown, [shelf.join(tiny)]);
    assert_eq!(
        fs::read_link(&shown[0]).unwrap(),
        at("wheels").join(tiny),
        "a link"
    );

    fs::write(at("lock"), format!("# c\u{c}--no-binary=:all:\n{good}")).unwrap();
    assert_eq!(make("first").unwrap_err().outcome(), Outcome::Usage);
    fs::write(at("lock"), &good).unwrap();
    let none = at("wheels/tiny.whl");
    fs::write(&none, "").unwrap();
    assert_eq!(make("first").unwrap_err().outcome(), Outcome::Usage);
    fs::remove_file(&none).unwrap();
    assert!(!at("first").exists());
    match make("first") {
        Err(error) if error.outcome() == Outcome::NotFound => {
            crate::skips::not_installed(&format!("python3-venv ({error})"));
        }
        result => assert!(result.unwrap().files >= 4),
    }
}

/// An interpreter that is none: it answers with a version if it sees nothing of the caller's variables.
fn pretended(directory: &Path, name: &str) {
    fs::create_dir_all(directory).unwrap();
    let text = "echo \"{\\\"executable\\\": \\\"/x/python3\\\", \\\"prefix\\\": \\\"$PWD\\\", \\\"version\\\": \\\"${CARGO_MANIFEST_DIR-3.9.1}\\\"}\"";
    crate::scripts::write(&directory.join(name), text);
}

#[test]
fn no_checkout_says_which_program_is_the_interpreter() {
    let root = tempfile::tempdir().unwrap();
    let bin = root.path().join("bin");
    pretended(&bin, "python3.9");
    pretended(&bin.join("python3"), "run");
    let found = find_on(bin.as_os_str(), Some("3.9")).unwrap();
    assert_eq!(found.version, "3.9.1", "no variables of the caller's");
    assert_eq!(found.prefix, Path::new("/"), "not in the current directory");
    for version in ["3/run", "../python3/run", "3.9.1rc1", ""] {
        let error = find_on(bin.as_os_str(), Some(version)).unwrap_err();
        assert_eq!(error.outcome(), Outcome::Usage, "{version}");
    }
    // The same directory by a way that begins where one stands.
    let here = std::env::current_dir().unwrap();
    let up: PathBuf = here.components().skip(1).map(|_| "..").collect();
    let relative = up.join(bin.strip_prefix("/").unwrap());
    assert!(relative.join("python3.9").exists());
    let error = find_on(relative.as_os_str(), Some("3.9")).unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotFound);
    // What is empty in PATH means the current directory to a shell.
    let path = format!(":{}:", bin.display());
    assert!(find_on(OsStr::new(&path), Some("3.9")).is_ok());
}

#[test]
fn a_recipe_can_state_what_an_interpreter_calls_itself() {
    for (version, due) in [
        ("3.11.7", Some("3.11.7")),
        ("3.11", Some("3.11")),
        ("3.14.0rc2", Some("3.14")),
        ("3.12.3+", Some("3.12")),
        ("3.11.*", Some("3.11")),
        ("3.*", None),
        (">=3.9", None),
    ] {
        assert_eq!(stated_version(version).as_deref(), due, "{version}");
    }
}

#[test]
fn an_interpreter_that_is_not_there_says_what_is() {
    assert_eq!(
        find_interpreter(Some("2.99")).unwrap_err().outcome(),
        Outcome::NotFound
    );
}
