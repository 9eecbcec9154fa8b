//! Chapter 4: recipes that are refused, keys, listings, a lock.

use super::{agree, text};
use crate::canonical::to_canonical_json;
use crate::compare::Class;
use crate::digest::Digest;
use crate::environment::Facts;
use crate::recipe::{
    KeyMaterial, Lock, PathDigest, Recipe, RecipePath, listing_digest, must_digest,
};
use serde_json::{Value, json};

const HEAD: &str = "recipe = { version = 1, name = \"x\" }\nenvironment = { kind = \"host\" }\n";
const STAGE: &str = "[stage.a]\nkind = \"other\"\nrun = [\"a\"]\nout = [\"x\"]\n";

/// Three stages in a row, a metric that the last one writes and a test of two samples judges, replicates of `stages`.
fn replicated(stages: &str) -> String {
    let stage = |name: &str, reads: &str, writes: &str| {
        format!(
            "[stage.{name}]\nkind = \"other\"\nrun = [\"{name}\"]\n{reads}out = [\"{writes}\"]\n"
        )
    };
    [
        format!("replicates = {{ seeds = [1, 2, 3, 4, 5], stages = {stages} }}\n"),
        HEAD.to_owned(),
        stage("a", "", "x"),
        stage("b", "in = [\"x\"]\n", "y"),
        stage("c", "in = [\"y\"]\n", "z"),
        "[metric.m]\nfrom = \"z#/a\"\nreplay = { method = \"tost\", margin = 0.01 }\n".to_owned(),
    ]
    .concat()
}

/// Name, text, and what is found in it as code, line, column.
type Refused = (&'static str, String, Vec<(&'static str, u64, u64)>);

fn refused() -> Vec<Refused> {
    let with = |tail: &str| format!("{HEAD}{STAGE}{tail}");
    let instead = |from: &str, to: &str| format!("{HEAD}{STAGE}").replace(from, to);
    let hex = "a".repeat(64);
    vec![
        ("no TOML", "recipe = {".into(), vec![("RE01", 1, 11)]),
        ("empty", String::new(), vec![("RE03", 1, 1)]),
        (
            "another version",
            instead("version = 1", "version = 2"),
            vec![("RE04", 1, 22)],
        ),
        ("no stages", HEAD.into(), vec![("RE03", 1, 1)]),
        ("unknown section", with("[steps]\n"), vec![("RE02", 7, 2)]),
        (
            "unknown key",
            instead("out =", "colour = 1\nout ="),
            vec![("RE02", 6, 1)],
        ),
        (
            "doubles between the numbers of a file",
            with("tolerance = { \"x\" = { ulp = 4 } }\n"),
            vec![("RE02", 7, 23)],
        ),
        (
            "unknown kind of stage",
            instead("\"other\"", "\"prepair\""),
            vec![("RE02", 4, 8)],
        ),
        (
            "missing key",
            instead("run = [\"a\"]\n", ""),
            vec![("RE03", 3, 8)],
        ),
        (
            "command as a text",
            instead("[\"a\"]", "\"a\""),
            vec![("RE04", 5, 7)],
        ),
        (
            "unknown word in braces",
            instead("[\"a\"]", "[\"a\", \"{sed}\"]"),
            vec![("RE12", 5, 13)],
        ),
        (
            "path above the project",
            instead("\"x\"]", "\"../x\"]"),
            vec![("RE05", 6, 8)],
        ),
        (
            "absolute path",
            instead("\"x\"]", "\"/x\"]"),
            vec![("RE05", 6, 8)],
        ),
        (
            "two writers",
            with("[stage.b]\nkind = \"other\"\nrun = [\"b\"]\nout = [\"x/y\"]\n"),
            vec![("RE06", 7, 8)],
        ),
        (
            "a hook of Git as an output",
            instead("\"x\"]", "\".git/hooks/post-commit\"]"),
            vec![("RE05", 3, 8)],
        ),
        (
            "a repository below a directory, in other letters",
            instead("\"x\"]", "\"models/.GIT/\"]"),
            vec![("RE05", 3, 8)],
        ),
        (
            "the recipe as an output",
            instead("\"x\"]", "\"recipe.toml\"]"),
            vec![("RE05", 3, 8)],
        ),
        (
            "an output over the parameters",
            instead(
                "kind = \"host\" }\n",
                "kind = \"host\" }\nparams = { file = \"x\" }\n",
            ),
            vec![("RE05", 4, 8)],
        ),
        (
            "a profile's lock over the recipe's",
            with("[profile.p]\nbaseline = \"recipe.lock\"\n"),
            vec![("RE05", 7, 10)],
        ),
        (
            "circle",
            with(
                "in = [\"y\"]\n[stage.b]\nkind = \"other\"\nrun = [\"b\"]\nin = [\"x\"]\nout = [\"y\"]\n",
            ),
            vec![("RE07", 3, 8)],
        ),
        (
            "reads what it writes",
            with("in = [\"x\"]\n"),
            vec![("RE07", 3, 8)],
        ),
        (
            "metric of nothing",
            with("[metric.m]\nfrom = \"y.json#/a\"\n"),
            vec![("RE08", 7, 9)],
        ),
        (
            "metric without a pointer",
            with("[metric.m]\nfrom = \"x\"\n"),
            vec![("RE04", 8, 8)],
        ),
        (
            "image by tag",
            instead("kind = \"host\"", "kind = \"oci\", image = \"a/b:1\""),
            vec![("RE09", 2, 39)],
        ),
        (
            "version of Python that is a path",
            instead(
                "kind = \"host\"",
                "kind = \"venv\", python = \"3/run\", lock = \"r\"",
            ),
            vec![("RE04", 2, 41)],
        ),
        (
            "input without a digest",
            format!("input = [{{ path = \"d\" }}]\n{HEAD}{STAGE}"),
            vec![("RE10", 1, 10)],
        ),
        (
            "input to be done",
            format!("input = [{{ path = \"d\", sha256 = \"todo\" }}]\n{HEAD}{STAGE}"),
            vec![("RE14", 1, 33)],
        ),
        (
            "output to be done",
            instead("[\"x\"]", "[\"TODO: which files?\"]"),
            vec![("RE14", 6, 8)],
        ),
        (
            "input over an output",
            format!("input = [{{ path = \"x\", sha256 = \"{hex}\" }}]\n{HEAD}{STAGE}"),
            vec![("RE06", 4, 8)],
        ),
        (
            "inputs that overlap",
            format!(
                "input = [{{ path = \"d\", sha256 = \"{hex}\" }}, {{ path = \"d/e\", sha256 = \"{hex}\" }}]\n{HEAD}{STAGE}"
            ),
            vec![("RE11", 1, 103)],
        ),
        (
            "source without a commit",
            format!(
                "input = [{{ path = \"d\", sha256 = \"{hex}\", source = \"hf://a/b@main\" }}]\n{HEAD}{STAGE}"
            ),
            vec![("RE09", 1, 110)],
        ),
        (
            "replicates of no stage",
            format!("replicates = {{ seeds = [1, 2], stages = [\"b\"] }}\n{HEAD}{STAGE}"),
            vec![("RE12", 1, 14)],
        ),
        (
            "replicates without stages",
            format!("replicates = {{ seeds = [1, 2] }}\n{HEAD}{STAGE}"),
            vec![("RE03", 1, 14)],
        ),
        (
            "replicates of an empty list of stages",
            format!("replicates = {{ seeds = [1, 2], stages = [] }}\n{HEAD}{STAGE}"),
            vec![("RE04", 1, 41)],
        ),
        (
            "replicates that do not run what writes the metric",
            replicated("[\"a\", \"b\"]"),
            vec![("RE04", 18, 9)],
        ),
        (
            "replicates that leave out a stage between",
            replicated("[\"a\", \"c\"]"),
            vec![("RE04", 18, 9)],
        ),
        (
            "golden answers that a stage writes",
            with(
                "[test.t]\nkind = \"inference\"\nrun = [\"a\", \"{in}\", \"{out}\"]\ninputs = \"i\"\nexpect = \"x/y\"\n",
            ),
            vec![("RE04", 7, 7)],
        ),
        (
            "golden questions that a stage writes",
            with(
                "[test.t]\nkind = \"inference\"\nrun = [\"a\", \"{in}\", \"{out}\"]\ninputs = \"x\"\nexpect = \"y\"\n",
            ),
            vec![("RE04", 7, 7)],
        ),
        (
            "a schema that a stage writes",
            with("[test.t]\nkind = \"data\"\nfile = \"x\"\nschema = \"x\"\n"),
            vec![("RE04", 7, 7)],
        ),
        (
            "isolation that no run can show",
            format!("isolation = {{ minimum = \"I5\" }}\n{HEAD}{STAGE}"),
            vec![("RE04", 1, 25)],
        ),
        (
            "two errors",
            instead("kind = \"other\"", "knid = \"other\""),
            vec![("RE03", 3, 8), ("RE02", 4, 1)],
        ),
    ]
}

#[test]
fn refused_recipes() {
    let built: Vec<Value> = refused()
        .into_iter()
        .map(|(name, toml, findings)| {
            let findings: Vec<Value> = findings
                .into_iter()
                .map(|(code, line, column)| json!({"code": code, "line": line, "column": column}))
                .collect();
            json!({"name": name, "toml": toml, "findings": findings})
        })
        .collect();
    for vector in agree("recipe/refused.json", &json!(built))
        .as_array()
        .unwrap()
    {
        let error = Recipe::parse(text(vector, "/toml")).expect_err(text(vector, "/name"));
        let found: Vec<Value> = error
            .findings()
            .iter()
            .map(|finding| json!({"code": finding.code, "line": finding.place.line, "column": finding.place.column}))
            .collect();
        assert_eq!(
            json!(found),
            vector["findings"],
            "{}: {error}",
            vector["name"]
        );
    }
}

#[test]
fn replicates_that_run_what_counts_are_read() {
    // What comes before the first of them is the same in every run, and need not be run again.
    for stages in ["[\"a\", \"b\", \"c\"]", "[\"b\", \"c\"]", "[\"c\"]"] {
        let recipe = Recipe::parse(&replicated(stages)).expect(stages);
        assert_eq!(recipe.replicated_metrics().len(), 1);
    }
}

#[test]
fn listings() {
    let (a, b) = (Digest::sha256(b"a"), Digest::sha256(b"b"));
    let built = json!([
        {"files": {}, "digest": Digest::sha256(b"")},
        {"files": {"x": a}, "digest": Digest::sha256(format!("{}  x\n", a.hex()).as_bytes())},
        {"files": {"b": b, "a/x": a, "a-x": b}, "digest": Digest::sha256(format!("{}  a-x\n{}  a/x\n{}  b\n", b.hex(), a.hex(), b.hex()).as_bytes())},
    ]);
    for vector in agree("recipe/listings.json", &built).as_array().unwrap() {
        let files: Vec<(String, Digest)> = vector["files"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(path, digest)| (path.clone(), digest.as_str().unwrap().parse().unwrap()))
            .collect();
        let listed = files.iter().map(|(path, digest)| (path.as_str(), digest));
        assert_eq!(listing_digest(listed).to_string(), text(vector, "/digest"));
    }
}

/// The parts, by the words of the chapter and nothing of the code.
fn by_hand(material: &Value) -> Value {
    let digest = |value: Value| json!(Digest::sha256(&to_canonical_json(&value).unwrap()));
    json!({
        "code": digest(json!({"command": material["command"], "in": material["in"], "out": "model/", "shell": false,
            "sources": [["a.py", material["source"]]], "writes": ["log", "model"]})),
        "params": digest(json!({"params": {"lr": "0.1"}, "seed": material["seed"]})),
        "environment": digest(json!({"cpus": material["cpus"], "device": "cpu", "env": {"A": "1"}, "facts": material["facts"], "hashSeed": 0, "threads": 2})),
        "inputs": digest(json!([["data", material["input"]], ["work/x", material["input"]]])),
    })
}

#[test]
fn keys() {
    let mut facts = Facts::default();
    facts.set("libc.version", "2.36").unwrap();
    facts.set("git.commit", "never counts").unwrap();
    facts.set("memory.total", 7).unwrap();
    let must = must_digest(&facts, Class::BitExact);
    assert_eq!(must, Digest::sha256(br#"{"libc.version":"2.36"}"#));
    let (source, input) = (Digest::sha256(b"source"), Digest::sha256(b"input"));
    let built: Vec<Value> = [
        (json!(7), "{seed}", Value::Null, Value::Null),
        (Value::Null, "{seed}", Value::Null, Value::Null),
        (json!(7), "{in}", json!("work/x"), json!(2)),
        (json!(7), "{in}", json!("data"), json!(2)),
    ]
    .into_iter()
    .map(|(seed, word, first, cpus)| {
        let material = json!({"command": ["python3", "a.py", word], "source": source, "seed": seed, "input": input,
            "in": first, "cpus": cpus, "facts": must});
        let parts = by_hand(&material);
        let mut whole = parts.clone();
        whole["schema"] = json!("sealstone-stage-key/v2");
        let key = Digest::sha256(&to_canonical_json(&whole).unwrap());
        json!({"material": material, "parts": parts, "key": key})
    })
    .collect();
    let content = |path: &str, digest| PathDigest {
        path: path.parse().unwrap(),
        digest,
        size: 1,
        files: None,
    };
    let writes: Vec<RecipePath> = vec!["model/".parse().unwrap(), "log".parse().unwrap()];
    for vector in agree("recipe/keys.json", &json!(built)).as_array().unwrap() {
        let material = &vector["material"];
        let command: Vec<String> = serde_json::from_value(material["command"].clone()).unwrap();
        let first: Option<RecipePath> = material["in"].as_str().map(|path| path.parse().unwrap());
        let parts = KeyMaterial {
            command: &command,
            shell: false,
            writes: &writes,
            first_read: first.as_ref(),
            sources: &[content("a.py", source)],
            inputs: &[content("work/x", input), content("data", input)],
            params: &[("lr".to_owned(), "0.1".to_owned())].into(),
            seed: material["seed"].as_u64(),
            hash_seed: 0,
            threads: 2,
            cpus: material["cpus"].as_u64(),
            device: Some("cpu"),
            env: &[("A".to_owned(), "1".to_owned())].into(),
            facts: &must,
        }
        .parts();
        assert_eq!(json!(parts), vector["parts"]);
        assert_eq!(parts.key().to_string(), text(vector, "/key"));
    }
}

#[test]
fn a_lock() {
    let lock = Lock::seal(crate::recipe::lock_fixture()).unwrap();
    let document: Value = serde_json::from_slice(lock.as_bytes()).unwrap();
    let vector = agree(
        "recipe/lock.json",
        &json!({"lock": document, "digest": lock.digest()}),
    );
    let bytes = to_canonical_json(&vector["lock"]).unwrap();
    assert_eq!(Digest::sha256(&bytes).to_string(), text(&vector, "/digest"));
    assert_eq!(Lock::parse(&bytes).unwrap(), lock);
}
