//! A project in the form that DVC 3 writes, with what earlier versions left behind.
#![allow(clippy::unwrap_used)]
use super::*;
use crate::authoring::init::write_recipe;
use crate::recipe::{Project, fill_digests};
use md5::{Digest as _, Md5};

const YAML: &str = "\
vars:
  - regions.yaml
stages:
  prepare:
    cmd: python src/prepare.py data/raw.csv
    desc: Splits the table.
    deps:
      - data/raw.csv
      - src/prepare.py
    params:
      - prepare.seed
      - split
      - other.yaml:
          - depth
    outs:
      - data/prepared
  train:
    wdir: work
    cmd:
      - mkdir -p model
      - python ../src/train.py ${regions} {x}
    deps:
      - ../data/prepared
      - ../src/train.py
      - ../data/images
    frozen: true
    outs:
      - model/weights.bin:
          persist: true
  report:
    foreach: ${regions}
    do:
      cmd: python src/report.py ${item}
      deps:
        - work/model/weights.bin
        - src/report.py
      always_changed: true
      metrics:
        - reports/${item}.json:
            cache: false
      plots:
        - reports/${item}.csv
  later:
    matrix:
      a: [1, 2]
    cmd: python later.py ${item.a}
metrics:
  - top.json
";

fn md5(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Md5::digest(bytes))
}

fn lock(raw: &str) -> String {
    let images =
        md5(format!("[{{\"md5\": \"{}\", \"relpath\": \"a.png\"}}]", md5(b"png")).as_bytes());
    format!(
        "schema: '2.0'
stages:
  prepare:
    cmd: python src/prepare.py data/raw.csv
    deps:
    - path: data/raw.csv
      hash: md5
      md5: {raw}
      size: 4
    - path: src/prepare.py
      hash: md5
      md5: 0123456789abcdef0123456789abcdef
      size: 1
    params:
      params.yaml:
        prepare.seed: 1
        split:
          test: 0.2
      other.yaml:
        depth: 3
    outs:
    - path: data/prepared
      hash: md5
      md5: 153aad06d376b6595932470e459ef42a.dir
      size: 8
      nfiles: 2
  train:
    cmd:
    - mkdir -p model
    - python ../src/train.py us {{x}}
    deps:
    - path: ../data/images
      hash: md5
      md5: {images}.dir
      size: 3
      nfiles: 1
    - path: ../data/prepared
      hash: md5
      md5: 153aad06d376b6595932470e459ef42a.dir
    - path: ../src/train.py
      md5: 0123456789abcdef0123456789abcdef
    outs:
    - path: model/weights.bin
      md5: 0123456789abcdef0123456789abcdef
  report@eu:
    cmd: python src/report.py eu
    deps:
    - path: src/report.py
      md5: 0123456789abcdef0123456789abcdef
    - path: work/model/weights.bin
      md5: 0123456789abcdef0123456789abcdef
    outs:
    - path: reports/eu.csv
      md5: 0123456789abcdef0123456789abcdef
    - path: reports/eu.json
      md5: 0123456789abcdef0123456789abcdef
  report@us:
    cmd: python src/report.py us
    deps:
    - path: work/model/weights.bin
      md5: 0123456789abcdef0123456789abcdef
    outs:
    - path: reports/us.csv
      md5: 0123456789abcdef0123456789abcdef
    - path: reports/us.json
      md5: 0123456789abcdef0123456789abcdef
  gone:
    cmd: echo ${{HOME}} > gone.txt
    deps:
    - path: s3://bucket/x
      etag: abc
    outs:
    - path: gone.txt
      md5: 0123456789abcdef0123456789abcdef
"
    )
}

fn project(raw: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in [
        ("dvc.yaml", YAML),
        ("dvc.lock", &lock(raw)),
        ("params.yaml", "prepare:\n  seed: 2\nsplit:\n  test: 0.2\n"),
        ("other.yaml", "depth: 3\n"),
        ("data/raw.csv", "a\nb\n"),
        ("data/images/a.png", "png"),
        (
            "data/raw.csv.dvc",
            "deps:\n- path: get/raw.csv\n  repo:\n    url: https://host.example/data.git\n    rev_lock: 0123456789abcdef0123456789abcdef01234567\nouts:\n- path: raw.csv\n  md5: x\n",
        ),
        ("src/prepare.py", "1"),
        ("src/train.py", "1"),
        ("src/report.py", "1"),
        ("reports/eu.json", "{\"auc\": 0.5}"),
        ("reports/us.json", "{\"auc\": 0.6}"),
    ] {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn imported(root: &Path) -> (Draft, Vec<String>) {
    let mut said = Vec::new();
    let draft = import(root, &mut |text| said.push(text.to_owned())).unwrap();
    (draft, said)
}

#[test]
fn stages_are_taken_as_they_were_run() {
    let root = project(&md5(b"a\nb\n"));
    let (draft, said) = imported(root.path());
    let stage = |name: &str| {
        draft
            .stages
            .iter()
            .find(|stage| stage.name == name)
            .unwrap()
    };
    let prepare = stage("prepare");
    assert_eq!(prepare.kind, StageKind::Prepare);
    assert_eq!(prepare.run, ["python src/prepare.py data/raw.csv"]);
    assert!(prepare.shell);
    assert_eq!(
        prepare.reads,
        [
            "data/raw.csv",
            "src/prepare.py",
            "other.yaml",
            "params.yaml"
        ]
    );
    assert_eq!(prepare.writes, ["data/prepared/"]);
    assert_eq!(prepare.params, ["prepare.seed", "split.*"]);
    assert_eq!(prepare.description.as_deref(), Some("Splits the table."));
    let train = stage("train");
    assert_eq!(
        train.run,
        ["set -e\ncd 'work'\nmkdir -p model\npython ../src/train.py us {{x}}"]
    );
    assert_eq!(
        train.reads,
        ["data/images/", "data/prepared/", "src/train.py"]
    );
    assert_eq!(train.writes, ["work/model/weights.bin"]);
    let notes = train.notes.join("\n");
    assert!(
        notes.contains("frozen") && notes.contains("persist") && !notes.contains("another now"),
        "{notes}"
    );
    assert!(stage("report@us").notes[0].contains("always_changed"));
    assert!(
        stage("later").run[0].starts_with("TODO"),
        "{:?}",
        stage("later")
    );
    let gone = stage("gone");
    assert_eq!(gone.run, ["echo ${{HOME}} > gone.txt"]);
    assert!(gone.reads[0].starts_with("TODO") && gone.notes[0].contains("no longer"));
    let metrics: Vec<_> = draft
        .metrics
        .iter()
        .map(|metric| (metric.name.as_str(), metric.from.as_str()))
        .collect();
    assert_eq!(
        metrics,
        [
            ("auc", "reports/eu.json#/auc"),
            ("reports.us.auc", "reports/us.json#/auc")
        ]
    );
    assert!(
        said.iter().any(|text| text.contains("prepare.seed")),
        "{said:?}"
    );
}

#[test]
fn data_that_is_what_dvc_recorded_is_pinned_and_other_data_is_not() {
    let root = project(&md5(b"a\nb\n"));
    let pins = |root: &Path| -> Vec<(String, Pin)> {
        let (draft, _) = imported(root);
        draft
            .inputs
            .into_iter()
            .map(|input| (input.path, input.pin))
            .collect()
    };
    let found = pins(root.path());
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(matches!(&found[0], (path, Pin::Tree(_)) if path == "data/images/"));
    let digest = sealstone_spec::digest::Digest::sha256(b"a\nb\n");
    assert_eq!(found[1], ("data/raw.csv".to_owned(), Pin::File(digest)));
    let (draft, _) = imported(root.path());
    assert_eq!(
        draft.inputs[1].source.as_deref(),
        Some(
            "git+https://host.example/data.git@0123456789abcdef0123456789abcdef01234567#get/raw.csv"
        )
    );

    fs::write(root.path().join("data/raw.csv"), "a\nc\n").unwrap();
    fs::remove_dir_all(root.path().join("data/images")).unwrap();
    let (draft, said) = imported(root.path());
    assert!(
        draft.inputs.iter().all(|input| input.pin == Pin::Todo),
        "{:?}",
        draft.inputs
    );
    assert!(
        said.iter()
            .any(|text| text.contains("data/images/ is not there")),
        "{said:?}"
    );
    assert!(
        said.iter()
            .any(|text| text.contains("not what dvc.lock used")),
        "{said:?}"
    );
}

#[test]
fn what_is_not_there_keeps_the_recipe_from_being_read_until_it_is() {
    let root = project(&md5(b"a\nb\n"));
    let yaml = "stages:\n  prepare:\n    cmd: cp data/raw.csv out.csv\n    deps: [data/raw.csv]\n    outs: [out.csv]\n";
    fs::write(root.path().join("dvc.yaml"), yaml).unwrap();
    let lock = format!(
        "schema: '2.0'\nstages:\n  prepare:\n    cmd: cp data/raw.csv out.csv\n    deps:\n    - path: data/raw.csv\n      md5: {}\n    outs:\n    - path: out.csv\n      md5: x\n",
        md5(b"a\nb\n")
    );
    fs::write(root.path().join("dvc.lock"), lock).unwrap();
    fs::remove_file(root.path().join("data/raw.csv")).unwrap();
    let (draft, _) = imported(root.path());
    write_recipe(root.path(), draft.clone(), false).unwrap();
    assert!(
        write_recipe(root.path(), draft, false).is_err(),
        "not over another"
    );
    let error = Project::open(root.path()).unwrap_err();
    assert!(
        error.message().contains("RE14") && error.message().contains("1 error"),
        "{}",
        error.message()
    );
    fs::write(root.path().join("data/raw.csv"), "a\nb\n").unwrap();
    fill_digests(root.path()).unwrap();
    let project = Project::open(root.path()).unwrap();
    let codes: Vec<&str> = project
        .lint(None)
        .unwrap()
        .iter()
        .map(|finding| finding.code.as_str())
        .collect();
    assert!(codes.contains(&"RW07"), "{codes:?}");
    assert!(
        !codes.iter().any(|code| code.starts_with("RE")),
        "{codes:?}"
    );
}

#[test]
fn locks_of_other_forms_are_read_or_refused_by_name() {
    let old =
        "prepare:\n  cmd: a\n  deps:\n  - path: x\n    md5: y\n  outs:\n  - path: z\n    md5: y\n";
    let stages = read("", Some(old)).unwrap();
    assert_eq!((stages.len(), stages[0].reads[0].path.as_str()), (1, "x"));
    assert!(read("", Some("schema: '3.0'\nstages: {}\n")).is_err());
    assert!(read("", Some("- a\n")).is_err());
    assert!(read("stages: [", None).is_err());
    let root = tempfile::tempdir().unwrap();
    assert_eq!(
        import(root.path(), &mut |_| {}).unwrap_err().outcome(),
        crate::Outcome::NotFound
    );
    let changed = read(
        "stages:\n  a:\n    cmd: new\n    outs: [x]\n",
        Some(
            "schema: '2.0'\nstages:\n  a:\n    cmd: old\n    outs:\n    - path: x\n      md5: y\n",
        ),
    )
    .unwrap();
    assert_eq!(changed[0].commands, ["old"]);
    assert!(changed[0].notes[0].contains("another now"));
}
