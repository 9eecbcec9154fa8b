//! Attestations and bills of materials through the real client: what is attached verifies, what must not be
//! signed is not, and a bill names what was taken away. Needs no registry but for the last test.

use crate::client::{self, Ended};
use sealstone_spec::digest::Digest;
use sealstone_spec::report::Report;
use sealstone_tests::registry::{Setup, TestRegistry};
use sealstone_tests::skips;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const COMMIT: &str = "d20ace79d20ace79d20ace79d20ace79d20ace79";

/// A directory with a model, a lock file, two keys and a bundle.
struct Desk {
    directory: tempfile::TempDir,
    environment: Vec<(&'static str, String)>,
}

fn lock(packages: &[&str]) -> String {
    let line = |package: &&str| {
        format!(
            "{package} --hash=sha256:{}\n",
            Digest::sha256(package.as_bytes()).hex()
        )
    };
    packages.iter().map(line).collect()
}

impl Desk {
    fn new() -> Desk {
        let desk = Desk {
            directory: tempfile::tempdir().unwrap(),
            environment: Vec::new(),
        };
        let model = desk.path("model");
        fs::create_dir(&model).unwrap();
        fs::write(model.join("model.safetensors"), vec![3; 100_000]).unwrap();
        fs::write(model.join("config.json"), b"{}").unwrap();
        fs::write(
            model.join("requirements.lock"),
            lock(&["numpy==1.26.4", "torch==2.4.0"]),
        )
        .unwrap();
        for name in ["builder", "mallory"] {
            desk.run(&["keygen", "--out", name, "--no-passphrase"])
                .expect(0);
        }
        desk.run(&["pack", "model", "-o", "bundle:1.0.0"]).expect(0);
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, value: &Value) {
        fs::write(self.path(name), value.to_string()).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        self.run_at(None, arguments)
    }

    fn run_at(&self, registry: Option<&TestRegistry>, arguments: &[&str]) -> Ended {
        let mut command = client::sealstone(self.directory.path(), arguments);
        command
            .env("SOURCE_DATE_EPOCH", "1767225600")
            .envs(self.environment.iter().map(|(name, value)| (*name, value)));
        if let Some(registry) = registry {
            client::log_in(&mut command, registry, &registry.admin);
        }
        client::run(&mut command)
    }
}

fn record() -> Value {
    json!({
        "externalParameters": {"source": {"uri": "git+https://git.example/demo@refs/tags/v1"}, "entryPoint": "train.py", "seed": "7"},
        "resolvedDependencies": [{"name": "source", "uri": "git+https://git.example/demo", "digest": {"gitCommit": COMMIT}}],
        "builder": {"id": "https://builds.example/gpu"}
    })
}

const BUNDLE: &str = "oci:bundle:1.0.0";

/// What was said of the bundle and holds under builder's key, by type.
fn inspected(desk: &Desk, place: &str, registry: Option<&TestRegistry>, key: &str) -> Vec<Value> {
    let seen = desk
        .run_at(registry, &["inspect", place, "--key", key])
        .expect(0);
    let referrers = seen.json["referrers"].as_array().unwrap();
    let mut held: Vec<Value> = referrers
        .iter()
        .filter(|it| it["holds"] == true)
        .cloned()
        .collect();
    held.sort_by_key(|it| it["claimedPredicateType"].to_string());
    held
}

#[test]
fn provenance_is_made_of_a_build_record_and_read_back() {
    let desk = Desk::new();
    desk.write("record.json", &record());
    let first = desk
        .run(&[
            "attest",
            BUNDLE,
            "--build-record",
            "record.json",
            "--key",
            "builder.key",
        ])
        .expect(0);
    assert_eq!(first.json["attestations"].as_array().unwrap().len(), 2);
    assert_eq!(first.json["attestations"][0]["wasThere"], false);
    let again = desk
        .run(&[
            "attest",
            BUNDLE,
            "--build-record",
            "record.json",
            "--key",
            "builder.key",
        ])
        .expect(0);
    assert_eq!(again.json["attestations"][0]["wasThere"], true);
    let held = inspected(&desk, BUNDLE, None, "builder.pub");
    assert_eq!(held.len(), 1);
    assert_eq!(held[0]["facts"]["builder"], "https://builds.example/gpu");
    assert_eq!(held[0]["facts"]["sources"], "git+https://git.example/demo");
    // Under another key nothing holds, and nothing is shown.
    assert!(inspected(&desk, BUNDLE, None, "mallory.pub").is_empty());
}

#[test]
fn what_must_not_be_signed_is_not() {
    let desk = Desk::new();
    let attest = |file: &str, kind: &str| {
        desk.run(&[
            "attest",
            BUNDLE,
            "--type",
            kind,
            "--predicate",
            file,
            "--key",
            "builder.key",
        ])
    };
    let result = json!({"result": "PASSED", "configuration": [{"name": "s", "digest": {"sha256": Digest::sha256(b"s").hex()}}]});
    let mut misspelt = result.clone();
    misspelt["passedtests"] = json!(["a"]);
    desk.write("misspelt.json", &misspelt);
    attest("misspelt.json", "test-result")
        .expect(2)
        .says("passedtests");
    let mut lying = result.clone();
    lying["failedTests"] = json!(["a"]);
    desk.write("lying.json", &lying);
    attest("lying.json", "test-result")
        .expect(2)
        .says("ended worse");
    let mut leaking = result.clone();
    leaking["url"] = json!("https://ana:hunter2@ci.example/1");
    desk.write("leaking.json", &leaking);
    let leaked = attest("leaking.json", "test-result").expect(3);
    leaked.says("looks like a secret");
    assert!(!leaked.everything.contains("hunter2"));
    desk.write("empty.json", &json!({}));
    attest("empty.json", "https://sigstore.dev/cosign/sign/v1").expect(2);
    let mut loose = result.clone();
    loose["configuration"] = json!([{"name": "s", "uri": "https://git.example/suite"}]);
    desk.write("loose.json", &loose);
    attest("loose.json", "test-result")
        .expect(2)
        .says("with a digest that fixes it");
    // What has a command of its own is said by that.
    for (kind, command) in [
        ("exception", "except"),
        ("revocation", "revoke"),
        ("rejection", "reject"),
        ("deprecation", "deprecate"),
        ("incident", "incident"),
        ("incident-close", "incident"),
        ("something-new", "help"),
    ] {
        let kind = format!("https://sealstone.dev/attestation/{kind}/v0.1");
        attest("empty.json", &kind)
            .expect(2)
            .says(&format!("sealstone {command}"));
    }
    attest("empty.json", "no uri").expect(2);
    let mut unknown = record();
    unknown["externalParameters"]["learningRate"] = json!("1");
    desk.write("unknown.json", &unknown);
    desk.run(&[
        "attest",
        BUNDLE,
        "--build-record",
        "unknown.json",
        "--key",
        "builder.key",
    ])
    .expect(2)
    .says("learningRate");
    // After each refusal nothing was stored.
    let seen = desk.run(&["inspect", BUNDLE]).expect(0);
    assert_eq!(seen.json["referrers"], json!([]));
    desk.write("result.json", &result);
    attest("result.json", "test-result").expect(0);
    attest("empty.json", "https://example.com/checked/v1").expect(0);
    assert_eq!(inspected(&desk, BUNDLE, None, "builder.pub").len(), 2);
}

#[test]
fn every_predicate_by_name_is_checked_before_it_is_signed() {
    let desk = Desk::new();
    let digest = json!({"sha256": Digest::sha256(b"s").hex()});
    let svr = json!({"verifier": {"id": "mailto:ana@team.example", "policies": [{"name": "rules", "digest": digest}]},
        "timeCreated": "2026-01-01T00:00:00Z", "properties": ["ORG_CHECKED"]});
    let hex = Digest::sha256(b"s").hex();
    let release = json!({"purl":
        format!("pkg:oci/m@sha256%3A{hex}?repository_url=registry.example/models/m&tag=1.0.0")});
    let summary = json!({"verifier": {"id": "https://registry.example/verifier"},
        "timeVerified": "2026-01-01T00:00:00Z", "resourceUri": "oci://registry.example/models/m",
        "policy": {"uri": "https://registry.example/policy", "digest": digest},
        "inputAttestations": [{"digest": digest}], "verificationResult": "PASSED",
        "verifiedLevels": ["SLSA_BUILD_LEVEL_1"]});
    let reference = json!({"attester": {"id": "https://data.example/cards"},
        "references": [{"downloadLocation": "https://data.example/card.json", "mediaType": "application/json", "digest": digest}]});
    let inspected_digest = desk.run(&["inspect", BUNDLE]).expect(0).json["digest"].clone();
    let own = inspected_digest
        .as_str()
        .unwrap()
        .strip_prefix("sha256:")
        .unwrap();
    // As a replay writes it: what is empty is left out.
    let written = include_str!("../../spec/vectors/report/reproduced.json");
    let written = Report::from_predicate(&serde_json::from_str(written).unwrap()).unwrap();
    let mut reproduction = Value::Object(written.to_predicate());
    let of_other = reproduction.clone();
    reproduction["baseline"]["digest"] = json!({"sha256": own});
    let without = |given: &Value, field: &str| {
        let mut less = given.clone();
        less.as_object_mut().unwrap().remove(field);
        less
    };
    let cases = [
        ("svr", svr.clone(), without(&svr, "properties")),
        ("release", release, json!({"purl": "pkg:oci/m?tag=1.0.0"})),
        ("summary", summary.clone(), without(&summary, "policy")),
        (
            "reference",
            reference,
            json!({"attester": {"id": "no uri"}}),
        ),
        ("reproduction", reproduction, of_other),
    ];
    let mut held = 0;
    for (kind, good, bad) in cases {
        let attest = |file: &str, value: &Value| {
            desk.write(file, value);
            let place = ["attest", BUNDLE, "--type", kind, "--predicate", file];
            desk.run(&[&place[..], &["--key", "builder.key"]].concat())
        };
        attest("bad.json", &bad).expect(2);
        let mut unknown = good.clone();
        unknown["more"] = json!(1);
        attest("unknown.json", &unknown).expect(2).says("more");
        assert_eq!(
            inspected(&desk, BUNDLE, None, "builder.pub").len(),
            held,
            "{kind}"
        );
        attest("good.json", &good).expect(0);
        held += 1;
        assert_eq!(
            inspected(&desk, BUNDLE, None, "builder.pub").len(),
            held,
            "{kind}"
        );
    }
}

#[test]
fn a_ci_run_completes_the_record_and_nothing_else_of_it_gets_in() {
    let mut desk = Desk::new();
    desk.environment = vec![
        ("GITHUB_ACTIONS", "true".into()),
        ("GITHUB_SERVER_URL", "https://git.example".into()),
        ("GITHUB_REPOSITORY", "team/demo".into()),
        ("GITHUB_REF", "refs/tags/v1".into()),
        ("GITHUB_SHA", COMMIT.into()),
        (
            "GITHUB_WORKFLOW_REF",
            "team/demo/.github/workflows/train.yml@refs/tags/v1".into(),
        ),
        ("GITHUB_RUN_ID", "42".into()),
        (
            "GITHUB_TOKEN",
            "ghs_16C7e42F292c6912E7710c838347Ae178B4a".into(),
        ),
    ];
    desk.write(
        "small.json",
        &json!({"externalParameters": {"entryPoint": "train.py"}}),
    );
    let made = desk
        .run(&[
            "attest",
            BUNDLE,
            "--build-record",
            "small.json",
            "--key",
            "builder.key",
        ])
        .expect(0);
    let predicate = &made.json["predicate"];
    let run = "https://git.example/team/demo/actions/runs/42/attempts/1";
    assert_eq!(predicate["runDetails"]["metadata"]["invocationId"], run);
    assert_eq!(
        predicate["buildDefinition"]["externalParameters"]["workflow"]["path"],
        ".github/workflows/train.yml"
    );
    assert!(!made.everything.contains("ghs_"));
    // A record of another repository is not this run's.
    desk.write("record.json", &record());
    desk.run(&[
        "attest",
        BUNDLE,
        "--build-record",
        "record.json",
        "--key",
        "builder.key",
    ])
    .expect(3);
}

#[test]
fn a_bill_of_materials_names_what_was_taken_away() {
    let desk = Desk::new();
    fs::write(
        desk.path("card.toml"),
        "task = \"classification\"\n[[metric]]\ntype = \"auc\"\nvalue = \"0.91\"\n[[base-model]]\nname = \"base\"\n",
    )
    .unwrap();
    let wrote = desk
        .run(&[
            "bom",
            "write",
            BUNDLE,
            "--card",
            "card.toml",
            "-o",
            "bom.json",
        ])
        .expect(0);
    assert_eq!(
        (&wrote.json["files"], &wrote.json["packages"]),
        (&json!(3), &json!(2))
    );
    desk.run(&[
        "bom",
        "write",
        BUNDLE,
        "--card",
        "card.toml",
        "-o",
        "again.json",
    ])
    .expect(0);
    assert_eq!(
        fs::read(desk.path("bom.json")).unwrap(),
        fs::read(desk.path("again.json")).unwrap()
    );

    let check = |rest: &[&str]| {
        let mut arguments = vec!["bom", "check"];
        arguments.extend(rest);
        arguments.extend(["--bom", "bom.json"]);
        desk.run(&arguments)
    };
    let agreed = check(&[BUNDLE]).expect(0);
    assert_eq!(
        (&agreed.json["files"], &agreed.json["packages"]),
        (&json!(3), &json!(2))
    );
    check(&["model"]).expect(0);

    fs::rename(desk.path("model/config.json"), desk.path("config.json")).unwrap();
    check(&["model"])
        .expect(3)
        .says("file \\\"config.json\\\" is listed and not there");
    fs::rename(desk.path("config.json"), desk.path("model/config.json")).unwrap();
    fs::write(desk.path("model/extra.bin"), b"x").unwrap();
    check(&["model"])
        .expect(3)
        .says("file \\\"extra.bin\\\" is there and not listed");
    fs::remove_file(desk.path("model/extra.bin")).unwrap();
    // The directory may be somebody else's, and its own patterns hide nothing.
    fs::write(desk.path("model/payload.bin"), b"x").unwrap();
    fs::write(desk.path("model/.sealstoneignore"), "payload.bin\n").unwrap();
    check(&["model"])
        .expect(3)
        .says("file \\\"payload.bin\\\" is there and not listed");
    fs::remove_file(desk.path("model/payload.bin")).unwrap();
    // What they leave out need not be fit to be packed: it is told, beside every other difference.
    fs::write(desk.path("model/.sealstoneignore"), ".venv\n").unwrap();
    fs::create_dir_all(desk.path("model/.venv/bin")).unwrap();
    let link = desk.path("model/.venv/bin/python");
    std::os::unix::fs::symlink("/usr/bin/python3", link).unwrap();
    fs::write(desk.path("model/.venv/12:00:00.log"), b"x").unwrap();
    fs::write(desk.path("model/extra.bin"), b"x").unwrap();
    let told = check(&["model"]).expect(3);
    told.says(
        "\\\".venv/12:00:00.log\\\" is there and not listed: a file whose name no bundle can hold",
    );
    told.says("\\\".venv/bin/python\\\" is there and not listed: a symbolic link");
    told.says("file \\\"extra.bin\\\" is there and not listed");
    fs::remove_file(desk.path("model/extra.bin")).unwrap();
    fs::remove_dir_all(desk.path("model/.venv")).unwrap();
    fs::remove_file(desk.path("model/.sealstoneignore")).unwrap();
    fs::write(desk.path("model/config.json"), b"{ }").unwrap();
    check(&["model"]).expect(3).says("config.json");
    fs::write(desk.path("model/config.json"), b"{}").unwrap();

    fs::write(desk.path("less.txt"), lock(&["numpy==1.26.4"])).unwrap();
    check(&[BUNDLE, "--requirements", "less.txt"])
        .expect(3)
        .says("package \\\"torch 2.4.0\\\" is listed and not there");
    fs::write(
        desk.path("other.txt"),
        lock(&["numpy==1.26.5", "torch==2.4.0"]),
    )
    .unwrap();
    check(&[BUNDLE, "--requirements", "other.txt"])
        .expect(3)
        .says("1.26.5");
    fs::write(desk.path("loose.txt"), "numpy>=1\n").unwrap();
    check(&[BUNDLE, "--requirements", "loose.txt"])
        .expect(2)
        .says("line 1");

    // A bill with packages, of files that name none: nobody compared those.
    fs::remove_file(desk.path("model/requirements.lock")).unwrap();
    let write = ["bom", "write", "model", "-o", "bom.json"];
    desk.run(&[&write[..], &["--requirements", "less.txt"]].concat())
        .expect(0);
    check(&["model"]).expect(3).says("none was compared");
    check(&["model", "--requirements", "less.txt"]).expect(0);
    let files = check(&["model", "--files-only"]).expect(0);
    assert_eq!(
        (&files.json["files"], &files.json["packages"]),
        (&json!(2), &Value::Null)
    );
    assert_eq!(files.json["packagesNotCompared"], 1);

    // And one that says two things of one file.
    let mut bill: Value =
        serde_json::from_slice(&fs::read(desk.path("bom.json")).unwrap()).unwrap();
    let components = bill["components"].as_array_mut().unwrap();
    let named = |it: &&Value| it["name"] == "config.json";
    let mut other = components.iter().find(named).unwrap().clone();
    other["bom-ref"] = "another".into();
    components.push(other);
    desk.write("bom.json", &bill);
    check(&["model", "--files-only"])
        .expect(3)
        .says("listed twice");
}

/// A package as an installer leaves it.
fn install(desk: &Desk, name: &str) {
    let content = format!("# {name}\n");
    let info = desk.path(&format!("site/{name}-1.0.dist-info"));
    fs::create_dir_all(&info).unwrap();
    fs::write(desk.path(&format!("site/{name}.py")), &content).unwrap();
    fs::write(
        info.join("METADATA"),
        format!("Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"),
    )
    .unwrap();
    let sum = data_encoding::BASE64URL_NOPAD.encode(Digest::sha256(content.as_bytes()).bytes());
    fs::write(
        info.join("RECORD"),
        format!("{name}.py,sha256={sum},9\n{name}-1.0.dist-info/RECORD,,\n"),
    )
    .unwrap();
}

#[test]
fn a_package_that_is_uninstalled_or_changed_is_named() {
    let desk = Desk::new();
    install(&desk, "alpha");
    install(&desk, "beta");
    desk.run(&[
        "bom",
        "write",
        "model",
        "--site-packages",
        "site",
        "-o",
        "bom.json",
    ])
    .expect(0);
    let check = || {
        desk.run(&[
            "bom",
            "check",
            "model",
            "--site-packages",
            "site",
            "--bom",
            "bom.json",
        ])
    };
    check().expect(0);
    fs::write(desk.path("site/beta.py"), "# changed\n").unwrap();
    check().expect(3).says("beta.py").says("other content");
    install(&desk, "beta");
    fs::remove_dir_all(desk.path("site/beta-1.0.dist-info")).unwrap();
    check()
        .expect(3)
        .says("package \\\"beta 1.0\\\" is listed and not there");
    install(&desk, "beta");
    install(&desk, "gamma");
    check()
        .expect(3)
        .says("package \\\"gamma 1.0\\\" is there and not listed");
}

#[test]
fn a_package_without_recorded_files_is_in_the_bill_by_name_and_version() {
    let desk = Desk::new();
    install(&desk, "alpha");
    // As Debian and old installers leave them: a directory, or the text itself.
    let text = |name: &str| format!("Metadata-Version: 1.2\nName: {name}\nVersion: 1.0\n");
    let beta = desk.path("site/beta-1.0.egg-info");
    fs::create_dir_all(&beta).unwrap();
    fs::write(beta.join("PKG-INFO"), text("beta")).unwrap();
    let gamma = desk.path("site/gamma-1.0.egg-info");
    fs::write(&gamma, text("gamma")).unwrap();
    let packages = ["--site-packages", "site"];
    let write = ["bom", "write", "model", "-o", "bom.json"];
    let write = || desk.run(&[&write[..], &packages].concat());
    let written = write().expect(0);
    written.says("beta 1.0, gamma 1.0");
    assert_eq!(written.json["packages"], 3);
    let check = || {
        let check = ["bom", "check", "model", "--bom", "bom.json"];
        desk.run(&[&check[..], &packages].concat())
    };
    assert_eq!(check().expect(0).json["versionsOnly"], 2);
    fs::remove_file(&gamma).unwrap();
    check()
        .expect(3)
        .says("package \\\"gamma 1.0\\\" is listed and not there");
    fs::write(&gamma, text("gamma")).unwrap();

    // What was recorded once is not forgotten with its record.
    fs::rename(
        desk.path("site/alpha-1.0.dist-info/METADATA"),
        desk.path("site/alpha-1.0.egg-info"),
    )
    .unwrap();
    fs::remove_dir_all(desk.path("site/alpha-1.0.dist-info")).unwrap();
    check().expect(3).says("records no hashes of files");
    fs::write(desk.path("site/delta.egg-link"), "/src/delta\n.\n").unwrap();
    check().expect(3).says("delta.egg-link");
    write().expect(3).says("delta.egg-link");
}

#[test]
fn only_the_list_that_a_recipe_names_says_what_its_environment_is_made_of() {
    let desk = Desk::new();
    let recipe = "recipe = { version = 1, name = \"x\" }\n\
        environment = { kind = \"venv\", lock = \"env/train.txt\" }\n\
        [stage.a]\nkind = \"other\"\nrun = [\"true\"]\nout = [\"o\"]\n";
    fs::write(desk.path("model/recipe.toml"), recipe).unwrap();
    // The list at the top is that of something else.
    let write = ["bom", "write", "model", "-o", "bom.json"];
    let refused = desk.run(&write).expect(5);
    refused.says("env/train.txt").says("--requirements");
    assert!(!desk.path("bom.json").exists());
    fs::create_dir(desk.path("model/env")).unwrap();
    let list = desk.path("model/env/train.txt");
    fs::write(&list, lock(&["scipy==1.11.0"])).unwrap();
    assert_eq!(desk.run(&write).expect(0).json["packages"], 1);

    let check = ["bom", "check", "model", "--bom", "bom.json"];
    desk.run(&check).expect(0);
    fs::rename(&list, desk.path("train.txt")).unwrap();
    desk.run(&check).expect(5).says("env/train.txt");
    // Who compares no packages needs no list of them: the file itself is what is missing.
    desk.run(&[&check[..], &["--files-only"]].concat())
        .expect(3)
        .says("file \\\"env/train.txt\\\" is listed and not there");
}

#[test]
fn any_file_taken_from_a_virtual_environment_is_named() {
    let desk = Desk::new();
    let made = Command::new("python3")
        .args(["-m", "venv", "venv"])
        .current_dir(desk.directory.path())
        .output();
    if !made.is_ok_and(|output| output.status.success()) {
        return skips::not_installed("python3-venv");
    }
    let library = fs::read_dir(desk.path("venv/lib")).unwrap();
    let python = library.map(|entry| entry.unwrap().path()).next().unwrap();
    let site = python.join("site-packages");
    let packages = ["--site-packages", site.to_str().unwrap()];
    let write = ["bom", "write", "model", "-o", "bom.json"];
    desk.run(&[&write[..], &packages].concat()).expect(0);
    let check = || {
        let check = ["bom", "check", "model", "--bom", "bom.json"];
        desk.run(&[&check[..], &packages].concat())
    };
    check().expect(0);
    let modules = fs::read_dir(site.join("pip")).unwrap();
    let modules = modules.map(|entry| entry.unwrap().path());
    let modules = modules.filter(|path| path.extension().is_some_and(|it| it == "py"));
    for module in modules.take(3) {
        let aside = desk.path("aside.py");
        fs::rename(&module, &aside).unwrap();
        let name = module.file_name().unwrap().to_str().unwrap();
        check()
            .expect(3)
            .says(&format!("pip/{name}"))
            .says("is missing");
        fs::rename(&aside, &module).unwrap();
    }
    check().expect(0);
    let entries = fs::read_dir(&site).unwrap();
    let record = entries
        .map(|entry| entry.unwrap().path())
        .find(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            name.starts_with("pip-") && name.ends_with(".dist-info")
        })
        .unwrap();
    fs::remove_dir_all(record).unwrap();
    check().expect(3).says("package \\\"pip ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bill_attached_in_a_registry_is_found_by_its_signer_and_checked() {
    let desk = Desk::new();
    let registry = Setup::default().start().await.unwrap();
    let place = format!("{}/models/m:1.0.0", registry.address());
    let run = |arguments: &[&str]| desk.run_at(Some(&registry), arguments);
    run(&["push", BUNDLE, &place]).expect(0);
    run(&["bom", "write", &place, "-o", "bom.json"]).expect(0);
    run(&["bom", "check", &place, "--key", "builder.pub"]).expect(5);
    run(&[
        "attest",
        &place,
        "--bom",
        "bom.json",
        "--key",
        "builder.key",
    ])
    .expect(0);
    run(&["bom", "check", &place, "--key", "builder.pub"]).expect(0);
    run(&["bom", "check", &place, "--key", "mallory.pub"]).expect(5);
    let held = inspected(&desk, &place, Some(&registry), "builder.pub");
    assert_eq!(held[0]["facts"]["packages"], "2");
}
