//! What statements say: predicates that are read, and predicates that are refused with their reason.

use super::{agree, text};
use crate::statement::model_train;
use crate::statement::predicate::{self, Predicate, PredicateError, read, unread_fields, write};
use crate::statement::provenance::Provenance;
use crate::statement::reference::Reference;
use crate::statement::release::Release;
use crate::statement::summary::Summary;
use crate::statement::svr::Svr;
use crate::statement::test_result::TestResult;
use serde_json::{Map, Value, json};

const ONE: &str = "1111111111111111111111111111111111111111111111111111111111111111";
const TWO: &str = "2222222222222222222222222222222222222222222222222222222222222222";
const COMMIT: &str = "d20ace79d20ace79d20ace79d20ace79d20ace79";

/// Provenance of a training run in which everything is there.
fn provenance() -> Value {
    json!({
        "buildDefinition": {
            "buildType": model_train::BUILD_TYPE,
            "externalParameters": {
                "source": {"uri": "git+https://git.example/demo@refs/tags/v1.2.0"},
                "recipe": "recipe.toml",
                "entryPoint": "train.py",
                "arguments": ["--epochs", "3"],
                "config": "configs/sft.yaml",
                "datasets": [format!("oci://registry.example/datasets/demo@sha256:{ONE}")],
                "baseModel": format!("oci://registry.example/base@sha256:{TWO}"),
                "parameters": {"optim.lr": "0.001"},
                "seed": "1234",
                "environment": {"OMP_NUM_THREADS": "1"},
                "workflow": {
                    "repository": "https://git.example/demo", "ref": "refs/tags/v1.2.0",
                    "path": ".ci/train.yml", "inputs": {"epochs": "3"}
                }
            },
            "internalParameters": {"runner": {"gpu": "H200", "gpuCount": 8, "cuda": "12.8"}},
            "resolvedDependencies": [
                {"name": "source", "uri": "git+https://git.example/demo", "digest": {"gitCommit": COMMIT}},
                {"name": "dataset:train", "uri": format!("oci://registry.example/datasets/demo@sha256:{ONE}"), "digest": {"sha256": ONE}},
                {"name": "base-model", "uri": format!("oci://registry.example/base@sha256:{TWO}"), "digest": {"sha256": TWO}},
                {"name": "lockfile", "uri": "git+https://git.example/demo#uv.lock", "digest": {"sha256": TWO}},
                {"name": "environment", "digest": {"sha256": ONE}}
            ]
        },
        "runDetails": {
            "builder": {"id": "https://ci.example/builders/gpu/v1", "version": {"sealstone": "0.1.0"}},
            "metadata": {
                "invocationId": "https://ci.example/runs/42",
                "startedOn": "2026-01-01T00:00:00Z", "finishedOn": "2026-01-01T05:00:00Z"
            },
            "byproducts": [{"name": "train.log", "digest": {"sha256": TWO}}]
        }
    })
}

/// Provenance by another builder, with another build type and extensions.
fn foreign_provenance() -> Value {
    json!({
        "buildDefinition": {
            "buildType": "https://builds.example/generic/v1",
            "externalParameters": {"anything": {"may": ["stand", 1.5]}},
            "resolvedDependencies": [{"uri": "pkg:pypi/numpy@1.26.4"}]
        },
        "runDetails": {"builder": {"id": "https://builds.example/worker"}, "example_extension": true}
    })
}

fn test_result() -> Value {
    json!({
        "result": "FAILED",
        "configuration": [{"name": "suite", "digest": {"sha256": ONE}}],
        "url": "https://ci.example/runs/42",
        "passedTests": ["metric.auc"], "warnedTests": ["metric.f1"], "failedTests": ["inference.golden"]
    })
}

fn approval() -> Value {
    json!({
        "verifier": {"id": "mailto:alice@example.com", "policies": [{"name": "policy", "digest": {"sha256": ONE}}]},
        "timeCreated": "2026-01-01T00:00:00.25Z",
        "properties": ["ORG_RELEASE_APPROVED"]
    })
}

fn release() -> Value {
    json!({
        "purl": format!("pkg:oci/demo@sha256%3A{ONE}?repository_url=registry.example/models/demo&tag=1.0.0"),
        "packageId": "registry.example/models/demo"
    })
}

fn summary() -> Value {
    json!({
        "verifier": {"id": "https://registry.example/verifier", "version": {"sealstone": "0.1.0"}},
        "timeVerified": "2026-01-01T00:00:00Z",
        "resourceUri": "oci://registry.example/models/demo",
        "policy": {"uri": "https://registry.example/policy", "digest": {"sha256": ONE}},
        "inputAttestations": [{"digest": {"sha256": TWO}}],
        "verificationResult": "PASSED",
        "verifiedLevels": ["SLSA_BUILD_LEVEL_1", "ORG_APPROVED"],
        "dependencyLevels": {"SLSA_BUILD_LEVEL_1": 3},
        "slsaVersion": "1.0"
    })
}

fn reference() -> Value {
    json!({
        "attester": {"id": "https://data.example/cards"},
        "references": [{"downloadLocation": "https://data.example/card.json", "mediaType": "application/json", "digest": {"sha256": ONE}}]
    })
}

/// A predicate of this type, read and written again, and the fields of it that were passed over.
fn pass(kind: &str, given: &Value) -> Result<(Value, Vec<String>), PredicateError> {
    fn typed<P: Predicate>(
        given: &Map<String, Value>,
    ) -> Result<(Value, Vec<String>), PredicateError> {
        let read = read::<P>(given)?;
        Ok((Value::Object(write(&read)?), unread_fields::<P>(given)))
    }
    let given = given.as_object().unwrap();
    match kind {
        predicate::SLSA_PROVENANCE => typed::<Provenance>(given),
        predicate::TEST_RESULT => typed::<TestResult>(given),
        predicate::SVR => typed::<Svr>(given),
        predicate::RELEASE => typed::<Release>(given),
        predicate::VERIFICATION_SUMMARY => typed::<Summary>(given),
        predicate::REFERENCE => typed::<Reference>(given),
        other => panic!("{other}"),
    }
}

#[test]
fn predicates_that_are_read() {
    let built = json!([
        {"predicateType": predicate::SLSA_PROVENANCE, "predicate": provenance()},
        {"predicateType": predicate::SLSA_PROVENANCE, "predicate": foreign_provenance()},
        {"predicateType": predicate::TEST_RESULT, "predicate": test_result()},
        {"predicateType": predicate::SVR, "predicate": approval()},
        {"predicateType": predicate::RELEASE, "predicate": release()},
        {"predicateType": predicate::VERIFICATION_SUMMARY, "predicate": summary()},
        {"predicateType": predicate::REFERENCE, "predicate": reference()},
    ]);
    for vector in agree("statements/accepted.json", &built)
        .as_array()
        .unwrap()
    {
        let (written, unread) = pass(text(vector, "/predicateType"), &vector["predicate"]).unwrap();
        let mut expected = vector["predicate"].clone();
        // Extensions are passed over and not told.
        if let Some(run) = expected
            .pointer_mut("/runDetails")
            .and_then(Value::as_object_mut)
        {
            run.remove("example_extension");
        }
        assert_eq!(written, expected);
        assert_eq!(unread, Vec::<String>::new());
    }
}

struct Refused {
    kind: &'static str,
    base: Value,
    pointer: &'static str,
    /// What stands there instead; `None` if it is taken away.
    value: Option<Value>,
    problem: &'static str,
}

fn refused() -> Vec<Refused> {
    let case = |kind, base: fn() -> Value| {
        move |pointer, value: Option<Value>, problem| Refused {
            kind,
            base: base(),
            pointer,
            value,
            problem,
        }
    };
    let slsa = case(predicate::SLSA_PROVENANCE, provenance);
    let foreign = case(predicate::SLSA_PROVENANCE, foreign_provenance);
    let test = case(predicate::TEST_RESULT, test_result);
    let svr = case(predicate::SVR, approval);
    let rel = case(predicate::RELEASE, release);
    let vsa = case(predicate::VERIFICATION_SUMMARY, summary);
    let refer = case(predicate::REFERENCE, reference);
    let external = "/buildDefinition/externalParameters";
    vec![
        slsa("/buildDefinition", None, "missing field `buildDefinition`"),
        slsa(
            "/buildDefinition",
            Some(json!(["x", {}])),
            "a list stands where an object is due",
        ),
        slsa(
            "/buildDefinition/buildType",
            Some(json!("train")),
            "has no scheme",
        ),
        slsa(
            "/buildDefinition/buildType",
            Some(json!("HTTPS://x")),
            "lowercase",
        ),
        slsa("/runDetails/builder/id", None, "missing field `id`"),
        slsa(
            "/runDetails/builder/id",
            Some(json!("")),
            "runDetails.builder.id: is empty",
        ),
        slsa(
            "/runDetails/builder/id",
            Some(json!("https://a b")),
            "blank",
        ),
        slsa(
            "/runDetails/metadata/finishedOn",
            Some(json!("2025-12-31T00:00:00Z")),
            "lies before startedOn",
        ),
        slsa(
            "/runDetails/metadata/startedOn",
            Some(json!("yesterday")),
            "is no time",
        ),
        slsa(
            "/runDetails/byproducts/0",
            Some(json!({"name": "x"})),
            "names nothing",
        ),
        slsa(
            "/runDetails/byproducts/0/digest/sha256",
            Some(json!("AB")),
            "is no sha256 in lowercase hex",
        ),
        slsa(
            "/buildDefinition/resolvedDependencies/0/digest/gitCommit",
            Some(json!("main")),
            "is no gitCommit",
        ),
        slsa(
            "/buildDefinition/externalParameters/learningRate",
            Some(json!("1")),
            "unknown field `learningRate`",
        ),
        slsa(
            "/buildDefinition/externalParameters/source/branch",
            Some(json!("x")),
            "unknown field `branch`",
        ),
        slsa(
            "/buildDefinition/externalParameters/seed",
            Some(json!(1234)),
            "invalid type: integer",
        ),
        slsa(
            "/buildDefinition/externalParameters/seed",
            Some(json!("0x1")),
            "decimal digits",
        ),
        slsa(
            "/buildDefinition/externalParameters/seed",
            Some(json!(null)),
            "null",
        ),
        slsa(
            "/buildDefinition/externalParameters/parameters/optim.lr",
            Some(json!(0.001)),
            "invalid type: floating point",
        ),
        slsa(
            "/buildDefinition/externalParameters/datasets/0",
            Some(json!("oci://elsewhere/x")),
            "was asked for and is not among them",
        ),
        slsa(
            "/buildDefinition/externalParameters/source/uri",
            Some(json!("git+https://git.example/other@v1")),
            "another repository",
        ),
        slsa(
            "/buildDefinition/resolvedDependencies/0/name",
            Some(json!("code")),
            "the source was asked for and is not among them",
        ),
        slsa(
            "/buildDefinition/resolvedDependencies/1/digest",
            Some(json!({"md5": "00"})),
            "without a digest that fixes it",
        ),
        slsa(
            "/buildDefinition/resolvedDependencies/2/digest",
            None,
            "without a digest that fixes it",
        ),
        slsa(
            "/buildDefinition/resolvedDependencies/4/name",
            Some(json!("source")),
            "stands twice",
        ),
        slsa(
            "/buildDefinition/internalParameters/runner/load",
            Some(json!(0.5)),
            "write it as text",
        ),
        foreign(
            "/buildDefinition/externalParameters",
            None,
            "missing field `externalParameters`",
        ),
        foreign(
            "/buildDefinition/resolvedDependencies/0/uri",
            Some(json!("numpy")),
            "has no scheme",
        ),
        test("/result", Some(json!("passed")), "unknown variant `passed`"),
        test(
            "/result",
            Some(json!("PASSED")),
            "tests are listed that ended worse",
        ),
        test(
            "/result",
            Some(json!("WARNED")),
            "tests are listed that ended worse",
        ),
        test("/configuration", None, "missing field `configuration`"),
        test("/configuration", Some(json!([])), "name at least the suite"),
        test("/passedTests", Some(json!(["a", "a"])), "stands twice"),
        test(
            "/passedTests",
            Some(json!(["metric.f1"])),
            "ended in two ways",
        ),
        test(
            "/failedTests",
            Some(json!([""])),
            "failedTests[0]: is empty",
        ),
        svr("/verifier/policies", None, "missing field `policies`"),
        svr("/timeCreated", None, "missing field `timeCreated`"),
        svr(
            "/timeCreated",
            Some(json!("2026-01-01T00:00:00+01:00")),
            "is no time",
        ),
        svr("/properties", Some(json!([])), "vouches for nothing"),
        svr("/properties", Some(json!(["A", "A"])), "stands twice"),
        svr("/verifier/id", Some(json!("alice")), "has no scheme"),
        rel("/purl", Some(json!("pkg:oci/demo")), "names no release"),
        rel(
            "/purl",
            Some(json!("registry.example/demo")),
            "is no package URL",
        ),
        vsa("/policy/uri", None, "policy.uri: is missing"),
        vsa(
            "/inputAttestations/0",
            Some(json!({"uri": "https://x.example"})),
            "evidence is named by digest",
        ),
        vsa(
            "/verificationResult",
            Some(json!("FAILED")),
            "because verificationResult is FAILED",
        ),
        vsa(
            "/verifiedLevels",
            Some(json!(["FAILED"])),
            "verificationResult is PASSED",
        ),
        vsa(
            "/verifiedLevels",
            Some(json!(["SLSA_BUILD_LEVEL_1", "SLSA_BUILD_LEVEL_2"])),
            "two levels of the track BUILD",
        ),
        vsa(
            "/dependencyLevels/SLSA_BUILD_LEVEL_1",
            Some(json!(1.5)),
            "invalid type: floating point",
        ),
        vsa(
            "/dependencyLevels/SLSA_BUILD_LEVEL_1",
            Some(json!(-1)),
            "invalid value",
        ),
        refer("/references", Some(json!([])), "refers to nothing"),
        refer(
            "/references/0/mediaType",
            None,
            "references[0].mediaType: is missing",
        ),
        refer(
            "/references/0/downloadLocation",
            None,
            "references[0].downloadLocation: is missing",
        ),
        slsa(
            external,
            Some(json!({"source": {"uri": "git+https://git.example/demo"}})),
            "nothing says what ran",
        ),
    ]
}

/// `base` with the value at `pointer` replaced, added or taken away.
fn changed(base: &Value, pointer: &str, value: Option<&Value>) -> Value {
    let mut changed = base.clone();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = changed.pointer_mut(parent).unwrap();
    match (parent, value) {
        (Value::Object(fields), Some(value)) => {
            fields.insert(key.to_owned(), value.clone());
        }
        (Value::Object(fields), None) => {
            fields.remove(key).unwrap();
        }
        (Value::Array(items), Some(value)) => items[key.parse::<usize>().unwrap()] = value.clone(),
        other => panic!("{pointer}: {other:?}"),
    }
    changed
}

#[test]
fn predicates_that_are_refused() {
    let built: Vec<Value> = refused()
        .iter()
        .map(|case| {
            let changed = changed(&case.base, case.pointer, case.value.as_ref());
            json!({"predicateType": case.kind, "predicate": changed, "changed": case.pointer, "problem": case.problem})
        })
        .collect();
    for vector in agree("statements/refused.json", &json!(built))
        .as_array()
        .unwrap()
    {
        let at = text(vector, "/changed");
        let error = pass(text(vector, "/predicateType"), &vector["predicate"])
            .expect_err(at)
            .to_string();
        assert!(error.contains(text(vector, "/problem")), "{at}: {error}");
    }
}

/// Taking away or misnaming any one field of an accepted predicate never leaves it meaning the same.
#[test]
fn no_field_goes_unread() {
    for (kind, base) in [
        (predicate::SLSA_PROVENANCE, provenance()),
        (predicate::TEST_RESULT, test_result()),
        (predicate::SVR, approval()),
        (predicate::RELEASE, release()),
        (predicate::VERIFICATION_SUMMARY, summary()),
        (predicate::REFERENCE, reference()),
    ] {
        let fields: Vec<String> = base.as_object().unwrap().keys().cloned().collect();
        for field in fields {
            let mut misnamed = base.clone();
            let map = misnamed.as_object_mut().unwrap();
            let value = map.remove(&field).unwrap();
            map.insert(format!("{field}x"), value);
            match pass(kind, &misnamed) {
                Err(_) => {}
                Ok((_, unread)) => assert_eq!(unread, [format!("{field}x")], "{kind}"),
            }
        }
    }
}

#[test]
fn the_schema_of_the_build_type_names_what_the_code_reads() {
    let schema: Value =
        serde_json::from_str(include_str!("../../schemas/model-train-v1.schema.json")).unwrap();
    let parameters = &schema["$defs"]["externalParameters"];
    let provenance = provenance();
    let full = &provenance["buildDefinition"]["externalParameters"];
    let keys =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    // The example above has every field that the code can write.
    let read = model_train::Parameters::read(full.as_object().unwrap()).unwrap();
    assert_eq!(keys(&parameters["properties"]), keys(full));
    assert_eq!(keys(&Value::Object(read.to_map())), keys(full));
    for nested in ["source", "workflow"] {
        let part = &parameters["properties"][nested];
        assert_eq!(keys(&part["properties"]), keys(&full[nested]), "{nested}");
        assert_eq!(part["additionalProperties"], false, "{nested}");
    }
    assert_eq!(parameters["additionalProperties"], false);
    assert_eq!(
        schema["properties"]["buildType"]["const"],
        model_train::BUILD_TYPE
    );
}

#[test]
fn a_bill_of_materials_byte_by_byte() {
    let bytes = crate::bom::write(&crate::bom::tests::contents()).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let built: Value = serde_json::from_str(&text).unwrap();
    let stored = agree("statements/bom.json", &built);
    let again = crate::canonical::to_canonical_json(&stored).unwrap();
    assert_eq!(String::from_utf8(again).unwrap(), text);
}
