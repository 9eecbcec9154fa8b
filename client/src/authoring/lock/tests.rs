#![allow(clippy::unwrap_used)]
use super::*;
use crate::Outcome;
use sealstone_spec::digest::Digest;
use std::io::Write as _;

/// A wheel of a package with nothing in it.
fn wheel(directory: &Path, name: &str, version: &str) -> String {
    fs::create_dir_all(directory).unwrap();
    let stem = name.replace('-', "_");
    let file = format!("{stem}-{version}-py3-none-any.whl");
    let mut zip = zip::ZipWriter::new(fs::File::create(directory.join(&file)).unwrap());
    let plain = zip::write::SimpleFileOptions::default();
    let info = format!("{stem}-{version}.dist-info");
    for (path, text) in [
        (
            "METADATA",
            format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nName: other\n"),
        ),
        (
            "WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
                .to_owned(),
        ),
        ("RECORD", String::new()),
    ] {
        zip.start_file(format!("{info}/{path}"), plain).unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    }
    zip.finish().unwrap();
    file
}

fn project(requirements: &str, wheels: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("requirements.txt"), requirements).unwrap();
    for (name, version) in wheels {
        wheel(&root.path().join("wheels"), name, version);
    }
    let found = wheel::wheels_in(&root.path().join("wheels")).unwrap();
    fs::write(
        root.path().join(LOCK),
        text(&found, "3.11.7", "requirements.txt"),
    )
    .unwrap();
    root
}

#[test]
fn a_lock_agrees_with_its_wheels_and_any_change_is_told() {
    let wheels = [("Big-Thing", "2.0+cpu"), ("tiny", "1.0")];
    let root = project(
        "tiny==1.0  # mine\nbig_thing[all]>=1 ; python_version > '3'\n",
        &wheels,
    );
    let problems = || check(root.path()).unwrap();
    assert_eq!(problems(), [""; 0]);
    let locked = fs::read_to_string(root.path().join(LOCK)).unwrap();
    assert!(
        locked.contains("\nbig-thing==2.0+cpu \\\n    --hash=sha256:"),
        "{locked}"
    );

    let directory = root.path().join("wheels");
    wheel(&directory, "extra", "1");
    assert_eq!(problems(), ["\"extra-1-py3-none-any.whl\" is not locked"]);
    fs::remove_file(directory.join("extra-1-py3-none-any.whl")).unwrap();

    let tiny = directory.join("tiny-1.0-py3-none-any.whl");
    let bytes = fs::read(&tiny).unwrap();
    fs::write(&tiny, [&bytes[..], b"x"].concat()).unwrap();
    assert!(
        problems()[0].contains("is not what its hash"),
        "{:?}",
        problems()
    );
    fs::remove_file(&tiny).unwrap();
    assert_eq!(problems(), ["tiny 1.0 has no wheel in wheels/"]);
    fs::write(&tiny, &bytes).unwrap();

    fs::write(root.path().join("requirements.txt"), "tiny==1.1\nmore\n").unwrap();
    assert_eq!(
        problems(),
        [
            "requirements.txt asks for tiny 1.1, and 1.0 is locked",
            "requirements.txt asks for more, which is not locked"
        ]
    );
    fs::write(
        root.path().join(LOCK),
        locked.replace("    --hash", "    # --hash"),
    )
    .unwrap();
    assert!(problems()[0].contains("RE09"), "{:?}", problems());
}

#[test]
fn a_wheel_is_what_its_metadata_says() {
    let root = tempfile::tempdir().unwrap();
    let file = wheel(root.path(), "tiny", "1.0");
    let found = wheel::read(&root.path().join(&file)).unwrap();
    assert_eq!(
        (found.name.as_str(), found.version.as_str()),
        ("tiny", "1.0")
    );
    assert_eq!(
        found.digest,
        Digest::sha256(&fs::read(root.path().join(&file)).unwrap())
    );
    fs::rename(
        root.path().join(&file),
        root.path().join("other-1.0-py3-none-any.whl"),
    )
    .unwrap();
    let error = wheel::wheels_in(root.path()).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Halted);
    fs::write(root.path().join("other-1.0-py3-none-any.whl"), "no zip").unwrap();
    assert_eq!(
        wheel::wheels_in(root.path()).unwrap_err().outcome(),
        Outcome::Halted
    );
    fs::remove_file(root.path().join("other-1.0-py3-none-any.whl")).unwrap();
    wheel(root.path(), "tiny", "1.0");
    wheel(root.path(), "tiny", "2.0");
    assert_eq!(
        wheel::wheels_in(root.path()).unwrap_err().outcome(),
        Outcome::Refused
    );
}

#[test]
fn what_is_wanted_comes_from_the_first_file_that_says_it() {
    let root = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(root.path().join(name), text).unwrap();
    assert_eq!(
        wanted(root.path(), None).unwrap_err().outcome(),
        Outcome::NotFound
    );
    write(
        "pyproject.toml",
        "[project]\nname = \"x\"\ndependencies = [\"tiny>=1\"]\n",
    );
    assert_eq!(wanted(root.path(), None).unwrap().requirements, ["tiny>=1"]);
    write("requirements.txt", "tiny\n");
    assert_eq!(
        wanted(root.path(), None).unwrap().file.unwrap(),
        "requirements.txt"
    );
    let hash = Digest::sha256(b"x").hex();
    write(
        "uv.lock",
        &format!(
            "version = 1\n[[package]]\nname = \"tiny\"\nversion = \"1.0\"\ndependencies = [{{ name = \"small\" }}]\n\
             wheels = [{{ url = \"u\", hash = \"sha256:{hash}\" }}]\n[[package]]\nname = \"small\"\nversion = \"2\"\n\
             wheels = [{{ url = \"u\", hash = \"sha256:{hash}\" }}]\n"
        ),
    );
    let found = wanted(root.path(), None).unwrap();
    assert_eq!(found.from, "uv.lock");
    assert_eq!(found.constraints, ["small==2", "tiny==1.0"]);
    let wheel = |name: &str, bytes: &[u8]| Wheel {
        file: format!("{name}.whl"),
        name: name.into(),
        version: "1.0".into(),
        digest: Digest::sha256(bytes),
    };
    let unnamed = |name: &str, bytes: &[u8]| -> Result<Vec<String>> {
        let wheels = [wheel(name, bytes)];
        let doubtful = found.unnamed(&wheels)?.into_iter();
        Ok(doubtful.map(|(wheel, _)| wheel.name.clone()).collect())
    };
    assert_eq!(unnamed("tiny", b"x").unwrap(), [""; 0]);
    assert_eq!(unnamed("tiny", b"y").unwrap(), ["tiny"], "whoever built it");
    assert_eq!(
        unnamed("new", b"x").unwrap_err().outcome(),
        Outcome::Refused
    );
    fs::remove_file(root.path().join("pyproject.toml")).unwrap();
    assert_eq!(
        wanted(root.path(), None).unwrap().requirements,
        ["tiny==1.0"],
        "what nobody else needs"
    );
}

/// The real pip, without an index: wheels come from a directory that its own variable names.
#[test]
fn pip_resolves_and_the_lock_makes_the_environment() {
    let root = tempfile::tempdir().unwrap();
    let Ok(interpreter) = find_interpreter(None) else {
        return crate::skips::not_installed("python3");
    };
    let shelf = root.path().join("shelf");
    wheel(&shelf, "tiny", "1.0");
    wheel(&shelf, "tiny", "2.0");
    let directory = root.path().join("p");
    fs::create_dir(&directory).unwrap();
    // The requirements' own options: what a caller's pip.conf would say.
    let requirements = format!("--no-index\n--find-links {}\ntiny<2\n", shelf.display());
    fs::write(directory.join("requirements.txt"), requirements).unwrap();
    wheel(&directory.join("wheels"), "left", "0.1");
    let locked = lock(&directory, &LockOptions::default(), &mut |_| {}).unwrap();
    assert_eq!(locked.wheels.len(), 1);
    assert_eq!(
        (locked.wheels[0].version.as_str(), &locked.built),
        ("1.0", &Vec::new())
    );
    assert_eq!(locked.removed, ["left-0.1-py3-none-any.whl"]);
    assert_eq!(check(&directory).unwrap(), [""; 0]);
    let text = fs::read_to_string(directory.join(LOCK)).unwrap();
    assert!(!text.contains("shelf") && !text.contains("://"), "{text}");
    let again = lock(&directory, &LockOptions::default(), &mut |_| {}).unwrap();
    assert_eq!(again.wheels, locked.wheels);
    assert_eq!(fs::read_to_string(directory.join(LOCK)).unwrap(), text);
    let made = crate::environment::materialise(
        &directory.join(LOCK),
        &directory.join("wheels"),
        &interpreter,
        &root.path().join("environment"),
    );
    assert!(made.is_ok(), "{made:?}");
    fs::write(
        directory.join("requirements.txt"),
        "--no-index\nnothing-like-it\n",
    )
    .unwrap();
    let error = lock(&directory, &LockOptions::default(), &mut |_| {}).unwrap_err();
    assert!(error.message().contains("pip cannot fetch"), "{error:?}");
    assert_eq!(
        fs::read_to_string(directory.join(LOCK)).unwrap(),
        text,
        "a failure changes nothing"
    );
}
