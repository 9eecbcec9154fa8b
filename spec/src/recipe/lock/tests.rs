//! Locks: what is read back, what is refused, whom they belong to.
#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;
use serde_json::json;

const RECIPE: &str = r#"recipe = { version = 1, name = "small", risk = "low" }
environment = { kind = "host" }
determinism = { seed = 1, threads = 1 }
[stage.train]
kind = "train"
run = ["sh", "src/train.sh", "{seed}"]
in = ["src/"]
params = ["*"]
out = ["model/", "metrics.json"]
[metric.loss]
from = "metrics.json#/loss"
"#;

fn file(path: &str, content: &str, role: FileRole) -> LockedFile {
    LockedFile {
        path: path.parse().unwrap(),
        digest: Digest::sha256(content.as_bytes()),
        size: content.len() as u64,
        executable: false,
        role,
    }
}

/// What `sealstone run` would write for [`RECIPE`].
pub(crate) fn document() -> LockDocument {
    let recipe = Recipe::parse(RECIPE).unwrap();
    let files = vec![
        file("metrics.json", "{\"loss\":0.10}", FileRole::Output),
        file("model/a", "weights", FileRole::Output),
        file("src/b.txt", "b", FileRole::Source),
        file("src/train.sh", "cp", FileRole::Source),
    ];
    let mut facts = Facts::default();
    facts.set("libc.version", "2.36").unwrap();
    facts.set("git.commit", "1234").unwrap();
    let environment = LockedEnvironment::new("host", Class::BitExact, &facts);
    let stage = &recipe.stages()[0];
    let at = |path: &RecipePath| content_at(&files, path).unwrap();
    let sources: Vec<PathDigest> = stage.reads.iter().map(at).collect();
    let outputs: Vec<PathDigest> = stage.writes.iter().map(at).collect();
    let params: BTreeMap<String, String> = [("lr".to_owned(), "0.1".to_owned())].into();
    let parts = KeyMaterial {
        command: &stage.run,
        shell: false,
        writes: &stage.writes,
        first_read: None,
        sources: &sources,
        inputs: &[],
        params: &params,
        seed: Some(1),
        hash_seed: 0,
        threads: 1,
        cpus: None,
        device: None,
        env: &BTreeMap::new(),
        facts: &environment.must,
    }
    .parts();
    LockDocument {
        schema: LOCK_SCHEMA.into(),
        recipe: LockedRecipe {
            digest: *recipe.digest(),
            name: "small".into(),
            model_version: None,
            owner: None,
            risk: Risk::Low,
        },
        profile: None,
        params: params.clone(),
        inputs: Vec::new(),
        environment,
        stages: vec![LockedStage {
            name: "train".into(),
            kind: StageKind::Train,
            command: stage.run.clone(),
            shell: false,
            argv: vec!["sh".into(), "src/train.sh".into(), "1".into()],
            env: BTreeMap::new(),
            params,
            seed: Some(1),
            hash_seed: 0,
            threads: 1,
            cpus: None,
            device: None,
            key: parts.key(),
            key_parts: parts,
            first_read: None,
            sources,
            inputs: Vec::new(),
            outputs,
            undeclared: Vec::new(),
            exit: 0,
            started: "2026-01-01T00:00:00Z".into(),
            log: LogDigest {
                digest: Digest::sha256(b""),
                size: 0,
                truncated: false,
            },
            usage: Usage {
                wall_ms: 12,
                ..Usage::default()
            },
            runner: "process".into(),
            isolation: Isolation::I1,
            trace: None,
        }],
        files,
        metrics: [(
            "loss".to_owned(),
            LockedMetric {
                from: "metrics.json#/loss".into(),
                value: "0.10".parse().unwrap(),
                replicates: vec![],
            },
        )]
        .into(),
        tests: BTreeMap::new(),
        writer: "sealstone/0.1.0".into(),
    }
}

#[test]
fn a_lock_reads_back_as_it_was_written() {
    let lock = Lock::seal(document()).unwrap();
    let again = Lock::parse(lock.as_bytes()).unwrap();
    assert_eq!(again, lock);
    assert_eq!(again.metrics["loss"].value.as_str(), "0.10");
    assert_eq!(
        again.disagreements(&Recipe::parse(RECIPE).unwrap()),
        Vec::<String>::new()
    );
    let stage = again.stage("train").unwrap();
    let written: Vec<&str> = again
        .outputs_of(stage)
        .map(|file| file.path.as_str())
        .collect();
    assert_eq!(written, ["model/a", "metrics.json"]);
    assert_eq!(stage.sources[0].files, Some(2));
    assert!(String::from_utf8_lossy(lock.as_bytes()).contains(r#""value":"0.10""#));
}

#[test]
fn a_forged_lock_is_refused() {
    type Forgery = fn(&mut Value);
    let forgeries: [(&str, Forgery); 14] = [
        ("key", |lock| lock["stages"][0]["argv"] = json!([])),
        ("command", |lock| {
            lock["stages"][0]["command"][1] = json!("other.sh")
        }),
        ("seed", |lock| lock["stages"][0]["seed"] = json!(2)),
        ("cpus", |lock| lock["stages"][0]["cpus"] = json!(4)),
        ("first read", |lock| {
            lock["stages"][0]["firstRead"] = json!("src/")
        }),
        ("output", |lock| {
            lock["files"][1]["digest"] = json!(Digest::sha256(b"evil"))
        }),
        ("source", |lock| {
            lock["files"][3]["digest"] = json!(Digest::sha256(b"evil"))
        }),
        ("param", |lock| lock["params"]["lr"] = json!("0.2")),
        ("fact", |lock| {
            lock["environment"]["document"]["facts"]["libc.version"] = json!("2.37")
        }),
        ("class", |lock| {
            lock["environment"]["class"] = json!("statistical")
        }),
        ("exit", |lock| lock["stages"][0]["exit"] = json!(1)),
        ("extra", |lock| lock["more"] = json!(1)),
        ("null", |lock| lock["profile"] = json!(null)),
        ("path", |lock| {
            lock["files"][0]["path"] = json!("../metrics.json")
        }),
    ];
    let lock = Lock::seal(document()).unwrap();
    for (name, forge) in forgeries {
        let mut value: Value = serde_json::from_slice(lock.as_bytes()).unwrap();
        forge(&mut value);
        let bytes = to_canonical_json(&value).unwrap();
        // argv alone is no part of the key: it follows from the command, which a replay puts in anew.
        assert_eq!(Lock::parse(&bytes).is_ok(), name == "key", "{name}");
    }
}

#[test]
fn files_with_more_bytes_than_there_can_be_are_refused() {
    let mut document = document();
    for file in &mut document.files {
        file.size = u64::MAX;
    }
    let refused = Lock::seal(document).unwrap_err();
    assert!(refused.to_string().contains("more bytes"), "{refused}");
}

#[test]
fn what_was_read_first_is_that_of_the_recipe() {
    let recipe = RECIPE
        .replace("{seed}", "{in}")
        .replace("[\"src/\"]", "[\"src/b.txt\", \"src/train.sh\"]");
    let locked = |first: &str| {
        let mut document = document();
        let files = document.files.clone();
        let recipe = Recipe::parse(&recipe).unwrap();
        let stage = &mut document.stages[0];
        stage.command.clone_from(&recipe.stages()[0].run);
        let reads = &recipe.stages()[0].reads;
        let sources = reads.iter().map(|path| content_at(&files, path).unwrap());
        stage.sources = sources.collect();
        stage.first_read = Some(first.parse().unwrap());
        let writes: Vec<RecipePath> = recipe.stages()[0].writes.clone();
        let parts = KeyMaterial {
            command: &stage.command,
            shell: false,
            writes: &writes,
            first_read: stage.first_read.as_ref(),
            sources: &stage.sources,
            inputs: &[],
            params: &stage.params,
            seed: stage.seed,
            hash_seed: 0,
            threads: 1,
            cpus: None,
            device: None,
            env: &BTreeMap::new(),
            facts: &document.environment.must,
        }
        .parts();
        (stage.key, stage.key_parts) = (parts.key(), parts);
        document.recipe.digest = *recipe.digest();
        Lock::seal(document)
    };
    let recipe = Recipe::parse(&recipe).unwrap();
    let due = locked("src/b.txt").unwrap();
    assert_eq!(due.disagreements(&recipe), Vec::<String>::new());
    let other = locked("src/train.sh").unwrap();
    assert_eq!(
        other.disagreements(&recipe),
        ["stage \"train\" is another one in the lock"]
    );
    assert!(locked("src/gone").is_err(), "it did not read that");
    let mut without = due.into_document();
    without.stages[0].first_read = None;
    assert!(Lock::seal(without).is_err());
}

#[test]
fn only_the_canonical_form_is_a_lock() {
    let lock = Lock::seal(document()).unwrap();
    let pretty: Value = serde_json::from_slice(lock.as_bytes()).unwrap();
    let pretty = serde_json::to_vec_pretty(&pretty).unwrap();
    assert!(matches!(Lock::parse(&pretty), Err(LockError::NotCanonical)));
    let newline = [lock.as_bytes(), b"\n"].concat();
    assert!(matches!(
        Lock::parse(&newline),
        Err(LockError::NotCanonical)
    ));
    assert!(matches!(
        Lock::parse(br#"{"schema":"sealstone-lock/v9"}"#),
        Err(LockError::Schema(_))
    ));
}

#[test]
fn a_lock_of_another_recipe_says_how() {
    let lock = Lock::seal(document()).unwrap();
    for (from, to, due) in [
        ("seed = 1", "seed = 2", "was made from the recipe"),
        (
            "\"{seed}\"",
            "\"{seed}\", \"x\"",
            "stage \"train\" is another one",
        ),
        ("[stage.train]", "[stage.other]", "has the stages"),
        ("#/loss", "#/other", "metric \"loss\" is not in the lock"),
    ] {
        let recipe = Recipe::parse(&RECIPE.replace(from, to)).unwrap();
        let found = lock.disagreements(&recipe);
        assert!(
            found.iter().any(|text| text.contains(due)),
            "{due}: {found:?}"
        );
    }
}

#[test]
fn git_does_not_move_a_key_and_the_c_library_does() {
    let mut facts = Facts::default();
    facts.set("libc.version", "2.36").unwrap();
    let base = must_digest(&facts, Class::BitExact);
    facts.set("git.commit", "1").unwrap();
    facts.set("memory.total", 5).unwrap();
    assert_eq!(must_digest(&facts, Class::BitExact), base);
    facts.set("libc.version", "2.37").unwrap();
    assert_ne!(must_digest(&facts, Class::BitExact), base);
    facts.set("libc.version", "2.36").unwrap();
    assert_eq!(must_digest(&facts, Class::BitExact), base);
}

proptest! {
    #[test]
    fn a_changed_byte_is_never_the_same_lock(at in 0usize..4000, byte in any::<u8>()) {
        let lock = Lock::seal(document()).unwrap();
        let mut bytes = lock.as_bytes().to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(other) = Lock::parse(&bytes) {
            prop_assert_eq!(other.as_bytes(), &bytes[..]);
            prop_assert_eq!(other == lock, bytes == lock.as_bytes());
        }
    }
}
