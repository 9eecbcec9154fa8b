//! From a project without a recipe to a green replay, and projects of other tools taken over, through the real binary.
//!
//! Scripts use Python's standard library only, so that nothing has to be fetched; requirements that do need wheels find
//! them in a directory that the requirements file names.

use sealstone_spec::digest::Digest;
use sealstone_tests::registry::binary;
use sealstone_tests::skips;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

struct Desk(tempfile::TempDir);

impl Desk {
    fn new(files: &[(&str, &str)]) -> Desk {
        let desk = Desk(tempfile::tempdir().unwrap());
        for (path, content) in files {
            desk.write(path, content);
        }
        desk
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path().join(path)).unwrap()
    }

    fn run(&self, args: &[&str]) -> Output {
        let output = Command::new(binary("sealstone").unwrap())
            .args(args)
            .env("SEALSTONE_OUTPUT", "json")
            .current_dir(self.path())
            .output()
            .unwrap();
        println!(
            "{args:?}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        output
    }

    /// Runs, which has to end with this code; its last line of JSON.
    #[track_caller]
    fn ends(&self, code: i32, args: &[&str]) -> Value {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines()
            .last()
            .map(|line| serde_json::from_str(line).unwrap())
            .unwrap_or_default()
    }
}

fn works(program: &str, argument: &str) -> bool {
    Command::new(program)
        .arg(argument)
        .output()
        .is_ok_and(|output| output.status.success())
}

const PREPARE: &str = "import csv, os\nfrom helper import half\n\
    rows = list(csv.DictReader(open('data/raw.csv')))\nos.makedirs('work', exist_ok=True)\n\
    with open('work/tmp', 'w') as f:\n    f.write('\\n'.join(str(half(float(r['x']))) for r in rows))\n\
    os.rename('work/tmp', 'work/table.txt')\n";
const TRAIN: &str = "import json, os\nlr = json.load(open(os.environ['SEALSTONE_PARAMS']))['lr']\n\
    values = [float(line) for line in open('work/table.txt')]\nos.makedirs('model', exist_ok=True)\n\
    json.dump({'mean': sum(values) / len(values) * lr}, open('model/model.json', 'w'))\n";
const EVALUATE: &str = "import json\nmodel = json.load(open('model/model.json'))\n\
    values = [float(line) for line in open('work/table.txt')]\n\
    json.dump({'mae': sum(abs(v - model['mean']) for v in values) / len(values), 'rows': len(values)}, open('metrics.json', 'w'))\n";

fn project() -> Desk {
    Desk::new(&[
        ("prepare.py", PREPARE),
        ("helper.py", "def half(x):\n    return x / 2\n"),
        ("train.py", TRAIN),
        ("evaluate.py", EVALUATE),
        ("predict.py", "import sys\n"),
        ("params.toml", "lr = 0.5\n"),
        ("data/raw.csv", "x\n1\n2\n6\n"),
    ])
}

fn names(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item.as_str().unwrap())
        .collect()
}

#[test]
fn a_traced_project_is_reproduced_without_a_line_of_recipe_written_by_hand() {
    if !works("strace", "-V") || !works("python3", "-V") {
        return skips::not_installed("strace or python3");
    }
    let desk = project();
    let written = desk.ends(0, &["init", "--trace"]);
    let stages = written["stages"].as_array().unwrap();
    let stage = |index: usize| (names(&stages[index]["in"]), names(&stages[index]["out"]));
    assert_eq!(
        stage(0),
        (
            vec!["data/raw.csv", "helper.py", "prepare.py"],
            vec!["work/table.txt"]
        )
    );
    assert_eq!(
        stage(1),
        (vec!["work/table.txt", "train.py"], vec!["model/model.json"])
    );
    assert_eq!(
        stage(2),
        (
            vec!["model/model.json", "work/table.txt", "evaluate.py"],
            vec!["metrics.json"]
        )
    );
    assert_eq!(
        names(&written["metrics"]),
        ["metrics.json#/mae", "metrics.json#/rows"]
    );
    assert_eq!(names(&written["inputs"]), ["data/raw.csv"]);
    assert_eq!(
        desk.run(&["init"]).status.code(),
        Some(7),
        "a recipe that is there stays"
    );
    desk.ends(0, &["lint"]);
    desk.ends(0, &["run", "--quiet"]);
    desk.ends(0, &["replay", "."]);
    // The recipe means what it says: another byte of data halts, another rule of the code diverges.
    desk.write("helper.py", "def half(x):\n    return x / 4\n");
    desk.ends(2, &["replay", "."]);
    desk.write("data/raw.csv", "x\n1\n2\n7\n");
    desk.ends(3, &["replay", "."]);
}

#[test]
fn what_a_recipe_cannot_have_is_told_by_the_trace() {
    if !works("strace", "-V") || !works("python3", "-V") {
        return skips::not_installed("strace or python3");
    }
    let desk = Desk::new(&[("elsewhere/x.csv", "1\n")]);
    let outside = fs::canonicalize(desk.path())
        .unwrap()
        .join("elsewhere/x.csv");
    let script = format!(
        "import socket\ndata = open({outside:?}).read()\nopen('model.txt', 'w').write(data)\n\
         log = open('log.txt').read()\nopen('log.txt', 'w').write(log + 'x')\n\
         s = socket.socket(); s.settimeout(0.2)\ntry:\n    s.connect(('192.0.2.1', 80))\nexcept OSError:\n    pass\n"
    );
    desk.write("p/train.py", &script);
    desk.write("p/log.txt", "x");
    let written = desk.ends(0, &["init", "p", "--trace", "--", "python3", "train.py"]);
    let told = written["stages"][0]["description"].as_str().unwrap();
    for due in [
        "TODO: ",
        "x.csv outside the project",
        "192.0.2.1 port 80",
        "log.txt and then changes it",
    ] {
        assert!(told.contains(due), "{told}");
    }
    let findings = written["findings"].as_array().unwrap();
    assert!(
        findings.iter().any(|finding| finding["code"] == "RW17"),
        "{findings:?}"
    );
    desk.write("p/fails.py", "raise SystemExit(3)\n");
    let before = desk.read("p/recipe.toml");
    let failed = desk.run(&[
        "init", "p", "--force", "--trace", "--", "python3", "fails.py",
    ]);
    assert_eq!(failed.status.code(), Some(1));
    assert_eq!(
        desk.read("p/recipe.toml"),
        before,
        "a run that failed proposes nothing"
    );
}

#[test]
fn without_a_trace_the_scripts_say_what_they_can_and_lint_the_rest() {
    let desk = project();
    desk.write("train.py", "import json\nfor line in open('work/table.txt'):\n    print(line)\njson.dump({}, open(NAME + '.json', 'w'))\n");
    let written = desk.ends(0, &["init"]);
    let prepare = &written["stages"][0];
    assert_eq!(
        names(&prepare["in"]),
        ["data/raw.csv", "helper.py", "prepare.py"]
    );
    let lint = desk.run(&["lint"]);
    assert_eq!(lint.status.code(), Some(2));
    let said = String::from_utf8_lossy(&lint.stderr).into_owned();
    assert!(
        said.contains("RE14") && said.contains("which files does it write?"),
        "{said}"
    );
}

#[test]
fn requirements_are_locked_and_a_change_is_told() {
    if !works("python3", "-V") {
        return skips::not_installed("python3");
    }
    let desk = project();
    // A wheel made by Python itself.
    let make = "import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1], 'w')\n\
        z.writestr('tiny.py', 'x = 1\\n')\n\
        z.writestr('tiny-1.0.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: tiny\\nVersion: 1.0\\n')\n\
        z.writestr('tiny-1.0.dist-info/WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n\
        z.writestr('tiny-1.0.dist-info/RECORD', 'tiny.py,,\\ntiny-1.0.dist-info/METADATA,,\\ntiny-1.0.dist-info/WHEEL,,\\ntiny-1.0.dist-info/RECORD,,\\n')\n\
        z.close()\n";
    let shelf = desk.path().join("shelf");
    fs::create_dir(&shelf).unwrap();
    let made = Command::new("python3")
        .args(["-c", make])
        .arg(shelf.join("tiny-1.0-py3-none-any.whl"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    desk.write(
        "requirements.txt",
        &format!("--no-index\n--find-links {}\ntiny\n", shelf.display()),
    );
    desk.ends(0, &["init"]);
    let lint = desk.run(&["lint"]);
    let said = String::from_utf8_lossy(&lint.stdout).into_owned();
    assert!(
        said.contains("sealstone env lock") && said.contains("RE13"),
        "{said}"
    );
    let locked = desk.ends(0, &["env", "lock"]);
    assert_eq!(locked["packages"][0]["name"], "tiny");
    assert!(
        desk.read("requirements.lock")
            .contains("tiny==1.0 \\\n    --hash=sha256:")
    );
    desk.ends(0, &["env", "lock", "--check"]);
    fs::write(
        desk.path().join("wheels/tiny-1.0-py3-none-any.whl"),
        "other",
    )
    .unwrap();
    assert_eq!(desk.run(&["env", "lock", "--check"]).status.code(), Some(4));
    fs::remove_file(desk.path().join("wheels/tiny-1.0-py3-none-any.whl")).unwrap();
    desk.ends(3, &["env", "lock", "--check"]);
}

/// A source archive whose wheel it makes itself, without anything from an index.
const SOURCE: &str = r#"
import io, sys, tarfile
path, body = sys.argv[1:]
backend = f"""import zipfile
def build_wheel(directory, config_settings=None, metadata_directory=None):
    name = 'tiny-1.0-py3-none-any.whl'
    with zipfile.ZipFile(directory + '/' + name, 'w') as wheel:
        for path, text in {{
            'tiny.py': {body!r},
            'tiny-1.0.dist-info/METADATA': 'Metadata-Version: 2.1\\nName: tiny\\nVersion: 1.0\\n',
            'tiny-1.0.dist-info/WHEEL': 'Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n',
            'tiny-1.0.dist-info/RECORD': '',
        }}.items():
            wheel.writestr(path, text)
    return name
"""
files = {
    "tiny-1.0/PKG-INFO": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
    "tiny-1.0/pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
    "tiny-1.0/backend.py": backend,
}
with tarfile.open(path, "w:gz") as archive:
    for name, text in files.items():
        member = tarfile.TarInfo(name)
        member.size = len(text.encode())
        archive.addfile(member, io.BytesIO(text.encode()))
"#;

#[test]
fn what_is_built_from_sources_is_built_from_the_file_that_another_lock_names() {
    if !works("python3", "--version") {
        return skips::not_installed("python3");
    }
    let desk = Desk::new(&[]);
    let shelf = desk.path().join("shelf");
    fs::create_dir(&shelf).unwrap();
    let source = shelf.join("tiny-1.0.tar.gz");
    let publish = |body: &str| {
        let mut command = Command::new("python3");
        command.args(["-c", SOURCE]).arg(&source).arg(body);
        let made = command.output().unwrap();
        assert!(made.status.success(), "{made:?}");
        Digest::sha256(&fs::read(&source).unwrap()).hex()
    };
    let name = |sdist: &str| {
        desk.write(
            "uv.lock",
            &format!(
                "version = 1\n[[package]]\nname = \"tiny\"\nversion = \"1.0\"\n\
                 sdist = {{ url = \"https://index.example/tiny-1.0.tar.gz\", hash = \"sha256:{sdist}\" }}\n"
            ),
        );
    };
    let lock = || {
        let mut command = Command::new(binary("sealstone").unwrap());
        command
            .args(["env", "lock", "--output", "json"])
            .current_dir(desk.path())
            .env("PIP_CACHE_DIR", desk.path().join("cache"))
            .env("PIP_NO_INDEX", "1")
            .env("PIP_FIND_LINKS", &shelf);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let last = text.lines().last().unwrap_or_default().to_owned();
        (output.status.code(), last, said)
    };
    name(&publish("one = 1"));
    // The second time pip has the first one's wheel in its cache, and takes it from wheels/ as well.
    for _ in 0..2 {
        let (code, shown, said) = lock();
        assert_eq!(code, Some(0), "{said}");
        let shown: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(shown["built"], serde_json::json!(["tiny"]), "{said}");
    }
    let before = desk.read("requirements.lock");
    // Somebody puts other sources under the same name into the index.
    publish("one = 2");
    let (code, _, said) = lock();
    assert_eq!(code, Some(4), "{said}");
    assert!(
        said.contains("not one of the files that uv.lock names"),
        "{said}"
    );
    assert_eq!(desk.read("requirements.lock"), before, "nothing was locked");
}

#[test]
fn a_project_of_dvc_runs_once_its_data_is_there() {
    let md5 = "0cc175b9c0f1b6a831c399e269772661"; // of "a"
    let lock = format!(
        "schema: '2.0'\nstages:\n  prepare:\n    cmd: cp data/raw.csv out.csv\n    deps:\n    - path: data/raw.csv\n      hash: md5\n      md5: {md5}\n      size: 1\n    outs:\n    - path: out.csv\n      hash: md5\n      md5: {md5}\n      size: 1\n"
    );
    let desk = Desk::new(&[
        (
            "dvc.yaml",
            "stages:\n  prepare:\n    cmd: cp data/raw.csv out.csv\n    deps: [data/raw.csv]\n    outs: [out.csv]\n",
        ),
        ("dvc.lock", &lock),
    ]);
    desk.ends(0, &["import", "dvc"]);
    assert_eq!(
        desk.run(&["run"]).status.code(),
        Some(2),
        "nothing is run without a digest"
    );
    desk.write("data/raw.csv", "b");
    let said = desk.run(&["import", "dvc", "--force"]);
    assert!(String::from_utf8_lossy(&said.stderr).contains("not what dvc.lock used"));
    assert_eq!(
        desk.run(&["run"]).status.code(),
        Some(2),
        "nor with other data"
    );
    desk.write("data/raw.csv", "a");
    desk.ends(0, &["import", "dvc", "--force"]);
    desk.ends(0, &["run"]);
    assert_eq!(desk.read("out.csv"), "a");
    desk.ends(0, &["replay", "."]);
    // A file of that name is still an archive, if it is written as a path.
    desk.write("dvc", "no archive");
    assert_ne!(
        desk.run(&["import", "./dvc", "oci:x:1"]).status.code(),
        Some(2)
    );
}

const MLPROJECT: &str = "name: lines\n\nentry_points:\n  train:\n    parameters:\n      data: {type: path, default: data/raw.csv}\n\
    \x20     rows: {type: float, default: 2}\n    command: \"sh train.sh {data} {rows}\"\n";

/// A project of MLflow whose one entry point writes the first lines of its data.
fn mlproject() -> Desk {
    Desk::new(&[
        ("MLproject", MLPROJECT),
        (
            "train.sh",
            "mkdir -p model\nhead -n \"$2\" \"$1\" > model/lines.txt\n",
        ),
        ("data/raw.csv", "x\n3\n1\n2\n"),
    ])
}

#[test]
fn a_project_of_mlflow_runs_once_somebody_says_what_it_writes() {
    let desk = mlproject();
    desk.ends(0, &["import", "mlproject"]);
    assert_eq!(
        desk.run(&["run"]).status.code(),
        Some(2),
        "nothing is run while a place is left to fill in"
    );
    let recipe = desk.read("recipe.toml");
    let gap = "\"TODO: MLproject does not say which files it writes\"";
    assert!(recipe.contains(gap), "{recipe}");
    // There is a recipe now, and it may be somebody's work: it is replaced only if that is asked for.
    assert_ne!(desk.run(&["import", "mlproject"]).status.code(), Some(0));
    assert_eq!(desk.read("recipe.toml"), recipe);
    desk.write("recipe.toml", &recipe.replace(gap, "\"model/lines.txt\""));
    desk.ends(0, &["run"]);
    assert_eq!(desk.read("model/lines.txt"), "x\n3\n");
    desk.ends(0, &["replay", "."]);
    // The defaults of the entry point are the stage's parameters.
    let params = desk.read("params.toml");
    assert!(params.contains("rows = 2"), "{params}");
    desk.write("params.toml", &params.replace("rows = 2", "rows = 3"));
    let other = desk.ends(2, &["replay", "."]);
    assert_eq!(other["report"]["attribution"], "params", "{other}");
    assert_eq!(
        other["report"]["firstDivergence"]["artifact"],
        "model/lines.txt"
    );
    assert_eq!(
        desk.read("MLproject"),
        MLPROJECT,
        "nothing of MLflow's is changed"
    );
}

#[test]
fn a_project_of_mlflow_that_is_watched_has_no_gap() {
    if !works("strace", "-V") {
        return skips::not_installed("strace");
    }
    let desk = mlproject();
    let written = desk.ends(0, &["import", "mlproject", "--trace"]);
    let stage = &written["stages"][0];
    assert_eq!(names(&stage["in"]), ["data/raw.csv", "train.sh"]);
    assert_eq!(names(&stage["out"]), ["model/lines.txt"]);
    desk.ends(0, &["run"]);
    assert_eq!(desk.read("model/lines.txt"), "x\n3\n");
    desk.ends(0, &["replay", "."]);
}

#[test]
fn entry_points_of_mlflow_are_watched_in_the_order_of_the_file() {
    if !works("strace", "-V") {
        return skips::not_installed("strace");
    }
    let desk = mlproject();
    // By name, evaluate would come first, and find no model.
    desk.write(
        "MLproject",
        &format!("{MLPROJECT}  evaluate: {{command: sh evaluate.sh}}\n"),
    );
    desk.write("evaluate.sh", "wc -l < model/lines.txt > lines.count\n");
    let written = desk.ends(0, &["import", "mlproject", "--trace"]);
    let stage = &written["stages"][1];
    assert_eq!(stage["name"], "evaluate");
    assert_eq!(names(&stage["in"]), ["model/lines.txt", "evaluate.sh"]);
    desk.ends(0, &["run"]);
    assert_eq!(desk.read("lines.count").trim(), "2");
}

#[test]
fn documents_are_checked_against_what_they_were_made_from() {
    if !works("python3", "-V") {
        return skips::not_installed("python3");
    }
    let desk = project();
    desk.write(
        "recipe.toml",
        "recipe = { version = 1, name = \"x\", owner = \"team-x\", risk = \"low\" }\nenvironment = { kind = \"host\" }\n\
         [[input]]\npath = \"data/raw.csv\"\nsha256 = \"todo\"\n[stage.count]\nkind = \"other\"\nrun = [\"sh\", \"-c\", \"wc -l < data/raw.csv > n.txt\"]\n\
         in = [\"data/raw.csv\"]\nout = [\"n.txt\"]\n",
    );
    desk.ends(0, &["lint", "--fix-digests"]);
    desk.ends(0, &["run"]);
    let written = desk.ends(0, &["docs"]);
    assert_eq!(names(&written["written"]).len(), 5);
    desk.ends(0, &["docs", "--check"]);
    let rebuild = desk.read("docs/REBUILD.md");
    let blocks: Vec<&str> = rebuild
        .split("```sh\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    let path = format!(
        "{}:{}",
        binary("sealstone").unwrap().parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let run = || {
        let shell = Command::new("sh")
            .args(["-eu", "-c", &blocks.concat()])
            .env("PATH", &path)
            .current_dir(desk.path())
            .output()
            .unwrap();
        println!(
            "{}{}",
            String::from_utf8_lossy(&shell.stdout),
            String::from_utf8_lossy(&shell.stderr)
        );
        shell.status.success()
    };
    assert!(run(), "a rebuild as it is written");
    let recipe = desk.read("recipe.toml");
    desk.write("recipe.toml", &recipe.replace("team-x", "team-y"));
    desk.ends(3, &["docs", "--check"]);
    desk.write("recipe.toml", &recipe.replace("wc -l", "wc -c"));
    assert!(!run(), "another command does not make the same");
}
