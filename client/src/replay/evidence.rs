//! A report as evidence: the statement itself, and the standard ones that follow from it.
//!
//! Bad news are stated as well as good ones. Provenance is that of the rebuild, by this machine: the same
//! subject for a rebuild to the bit, and a build type that says "equivalent" for anything weaker, which is
//! never put as the same. Invariant: nothing here says more than the report. Properties and provenance are about the
//! bundle as a whole and hold no scope and no exception that readers would mind, so they follow only from a report
//! of all of it in which whoever replayed waived nothing.

use crate::error::{Error, Result};
use sealstone_spec::compare::Class;
use sealstone_spec::digest::Digest;
use sealstone_spec::report::{PREDICATE_TYPE, ReplayScope, Report, TestRow, Verdict};
use sealstone_spec::statement::predicate::{self, Predicate};
use sealstone_spec::statement::provenance::{
    BuildDefinition, BuildMetadata, Builder, EQUIVALENCE, Provenance, REBUILD, RunDetails,
};
use sealstone_spec::statement::rebuild::{
    MEASURED, Measured, MeasuredArtifact, MeasuredMetric, Method, Parameters, Tolerances,
};
use sealstone_spec::statement::svr::{Svr, Verifier};
use sealstone_spec::statement::test_result::{Outcome, TestResult};
use sealstone_spec::statement::{MAX_SUBJECTS, ResourceDescriptor, Statement, Subject};
use serde_json::{Map, Value};

/// Every statement that a report makes, its own first. `about` is the bundle, and the root of its model signature
/// if that is known.
///
/// # Errors
/// If a statement would not be what its type demands.
pub fn statements(report: &Report, about: &[Subject]) -> Result<Vec<Statement>> {
    let mut subjects = about.to_vec();
    let rebuilt = report.stages.iter().flat_map(|stage| &stage.artifacts);
    subjects.extend(
        rebuilt
            .filter_map(|row| Some(Subject::new(format!("rebuild/{}", row.path), &row.now?)))
            .take(MAX_SUBJECTS - about.len()),
    );
    let short = report.cut().unwrap_or_else(|| report.clone());
    let mut statements = vec![Statement::new(
        subjects,
        PREDICATE_TYPE,
        short.to_predicate(),
    )];
    statements.push(derived(about, &test_result(report))?);
    if let Some(svr) = verified(report)? {
        statements.push(derived(about, &svr)?);
    }
    if let Some(provenance) = provenance(report)? {
        statements.push(derived(about, &provenance)?);
    }
    Ok(statements)
}

fn derived<P: Predicate>(about: &[Subject], value: &P) -> Result<Statement> {
    let fields = predicate::write(value).map_err(|error| {
        Error::other("a statement that follows from the report cannot be written").source(error)
    })?;
    Ok(Statement::new(about.to_vec(), P::TYPE, fields))
}

fn test_result(report: &Report) -> TestResult {
    let mut result = TestResult {
        result: match report.verdict {
            Verdict::Reproduced => Outcome::Passed,
            Verdict::ReproducedWithWarnings => Outcome::Warned,
            _ => Outcome::Failed,
        },
        configuration: vec![ResourceDescriptor::named(
            "report",
            &Digest::sha256(&report.to_bytes()),
        )],
        url: None,
        passed_tests: Vec::new(),
        warned_tests: Vec::new(),
        failed_tests: Vec::new(),
    };
    result.configuration.extend(
        report
            .recipe
            .map(|recipe| ResourceDescriptor::named("recipe", &recipe.digest.0)),
    );
    let mut rows: Vec<(String, bool)> = report
        .metrics
        .iter()
        .map(|row| (format!("metric.{}", row.name), row.ok && !row.undecided))
        .collect();
    rows.extend(
        report
            .tests
            .iter()
            .filter(|row| !is_warning(row))
            .map(|row| (format!("test.{}", row.id), row.ok)),
    );
    let warned = report.tests.iter().filter(|row| is_warning(row));
    let warned = warned.map(|row| format!("test.{}", row.id));
    result.warned_tests.extend(warned);
    rows.extend(report.stages.iter().flat_map(|stage| {
        stage
            .artifacts
            .iter()
            .map(move |row| (format!("stage.{}.{}", stage.name, row.path), row.ok))
    }));
    rows.sort();
    rows.dedup_by(|one, two| one.0 == two.0);
    for (name, ok) in rows {
        match ok {
            true => result.passed_tests.push(name),
            false => result.failed_tests.push(name),
        }
    }
    result
}

/// Documents decide nothing: a stale one is a warning.
fn is_warning(row: &TestRow) -> bool {
    row.ok && row.kind == "docs" && row.note.is_some()
}

/// How closely the bundle as a whole was made again; `None` unless it was. Stages on the inputs that the baseline
/// recorded are one rebuild only where each gave the very bytes that the next would have got.
fn made_again(report: &Report) -> Option<Class> {
    let is_whole = report.verdict.is_reproduced()
        && report.scope == ReplayScope::Full
        && report.overrides.iter().all(|it| it.is_of_the_recipe());
    let is_one = |achieved: &Class| report.mode.chained || *achieved == Class::BitExact;
    report.class.achieved.filter(|_| is_whole).filter(is_one)
}

/// What holds of the bundle; `None` unless it was reproduced as a whole, with something compared.
fn verified(report: &Report) -> Result<Option<Svr>> {
    let Some(achieved) = made_again(report) else {
        return Ok(None);
    };
    // A class holds the weaker ones, for what it covers.
    let properties: Vec<String> = Class::ALL
        .into_iter()
        .filter(|class| achieved.satisfies(*class))
        .filter_map(Class::property)
        .map(str::to_owned)
        .collect();
    if properties.is_empty() {
        return Ok(None);
    }
    let policies = report
        .policy
        .map(|policy| ResourceDescriptor::named("policy", &policy.digest.0))
        .into_iter()
        .collect();
    Ok(Some(Svr {
        verifier: Verifier {
            id: builder_id(report),
            policies,
        },
        time_created: time(&report.finished_on)?,
        properties,
    }))
}

/// How it was built again; `None` if not all of it was, or it is something else.
fn provenance(report: &Report) -> Result<Option<Provenance>> {
    let Some(achieved) = made_again(report) else {
        return Ok(None);
    };
    let exact = achieved == Class::BitExact;
    let mut external = Parameters {
        target: report.baseline.id.clone(),
        scope: report.scope.as_str().to_owned(),
        ..Parameters::default()
    };
    let mut internal = Map::new();
    if !exact {
        let measured = compare(report, achieved, &mut external);
        internal.insert(MEASURED.into(), measured.to_value());
    }
    if let Some(isolation) = report.isolation.achieved {
        internal.insert("isolation".into(), Value::from(isolation.as_str()));
    }
    let mut dependencies = vec![ResourceDescriptor::named(
        "bundle",
        &report.baseline.digest.0,
    )];
    dependencies.extend(
        report
            .recipe
            .map(|recipe| ResourceDescriptor::named("recipe", &recipe.digest.0)),
    );
    dependencies.extend(
        report
            .environment
            .replay
            .map(|facts| ResourceDescriptor::named("environment", &facts.digest.0)),
    );
    let logs = report.stages.iter().filter_map(|stage| {
        Some(ResourceDescriptor::named(
            format!("log/{}", stage.name),
            &stage.log?.digest.0,
        ))
    });
    let written = report
        .stages
        .iter()
        .flat_map(|stage| &stage.artifacts)
        .filter_map(|row| {
            Some(ResourceDescriptor::named(
                format!("rebuild/{}", row.path),
                &row.now?,
            ))
        });
    Ok(Some(Provenance {
        build_definition: BuildDefinition {
            build_type: if exact { REBUILD } else { EQUIVALENCE }.to_owned(),
            external_parameters: external.to_map(),
            internal_parameters: internal,
            resolved_dependencies: dependencies,
        },
        run_details: RunDetails {
            builder: Builder {
                id: builder_id(report),
                version: [("sealstone".to_owned(), report.builder.version.clone())].into(),
                ..Builder::default()
            },
            metadata: Some(BuildMetadata {
                invocation_id: None,
                started_on: Some(time(&report.started_on)?),
                finished_on: Some(time(&report.finished_on)?),
            }),
            byproducts: logs.chain(written).collect(),
        },
    }))
}

/// What was compared with what, by which demands, and what came of it.
fn compare(report: &Report, achieved: Class, parameters: &mut Parameters) -> Measured {
    let artifacts = report.stages.iter().flat_map(|stage| &stage.artifacts);
    let mut tolerances = Tolerances::default();
    let mut measured = Measured::default();
    for row in artifacts {
        parameters
            .candidate
            .extend(row.now.map(|now| (row.path.clone(), now)));
        tolerances.artifacts.insert(row.path.clone(), row.required);
        let detail = row.detail.as_ref();
        let found = MeasuredArtifact {
            target: row.base,
            class: row.class,
            rule: detail.and_then(|detail| detail.rule.clone()),
            observed: detail.and_then(|detail| detail.observed.clone()),
        };
        measured.artifacts.insert(row.path.clone(), found);
    }
    for row in &report.metrics {
        let (name, rule) = (row.name.clone(), row.rule.clone());
        tolerances.metrics.insert(name.clone(), rule);
        let found = MeasuredMetric {
            target: row.base.clone(),
            candidate: row.now.clone(),
            delta: row.delta.clone(),
        };
        measured.metrics.insert(name, found);
    }
    let has_answers = report.tests.iter().any(|row| row.kind == "inference");
    let methods = [
        (Method::WeightsAllclose, !measured.artifacts.is_empty()),
        (Method::EvalMetrics, !measured.metrics.is_empty()),
        (Method::GoldenOutputs, has_answers),
    ];
    parameters.class = Some(achieved);
    parameters.method = methods
        .into_iter()
        .filter_map(|(method, used)| used.then_some(method))
        .collect();
    parameters.tolerances = Some(tolerances);
    measured
}

/// A URI that says who vouches: a name that is one already, or one under our own scheme.
fn builder_id(report: &Report) -> String {
    let id = &report.builder.id;
    if id.contains("://") {
        return id.clone();
    }
    let plain: String = id
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '-'
            }
        })
        .collect();
    format!("https://sealstone.dev/replayers/{plain}")
}

fn time(text: &str) -> Result<sealstone_spec::statement::Timestamp> {
    text.parse()
        .map_err(|error| Error::other("the report has a time that cannot be read").source(error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use sealstone_spec::report::Override;
    use serde_json::json;

    /// The types of what follows from the report that reproduced, after a change to it.
    fn follows(change: impl FnOnce(&mut Report)) -> Vec<String> {
        let text = include_bytes!("../../../spec/vectors/report/reproduced.json");
        let mut report = Report::parse(text).unwrap();
        change(&mut report);
        let about = [Subject::new("m", &report.baseline.digest.0)];
        let all = statements(&report, &about).unwrap().into_iter();
        all.map(|statement| statement.predicate_type).collect()
    }

    #[test]
    fn properties_and_provenance_follow_from_the_whole_with_nothing_waived_and_from_nothing_less() {
        let waived = |kind: &str| Override {
            kind: kind.to_owned(),
            id: "x".to_owned(),
            expires: None,
            reason: None,
        };
        let whole = follows(|_| {});
        assert_eq!(
            whole[1..],
            [
                predicate::TEST_RESULT,
                predicate::SVR,
                predicate::SLSA_PROVENANCE
            ]
        );
        // The recipe's own exception is there for all to read, and stages alone are the whole if to the bit.
        assert_eq!(follows(|it| it.overrides = vec![waived("fact")]), whole);
        assert_eq!(follows(|it| it.mode.chained = false), whole);
        for scope in ReplayScope::ALL {
            if scope != ReplayScope::Full {
                assert_eq!(follows(|it| it.scope = scope), whole[..2], "{scope}");
            }
        }
        for kind in [
            "insecure",
            "accept-isolation",
            "tolerance",
            "exception",
            "?",
        ] {
            let found = follows(|it| it.overrides = vec![waived("fact"), waived(kind)]);
            assert_eq!(found, whole[..2], "{kind}");
        }
        let apart = follows(|it| {
            it.mode.chained = false;
            it.class.achieved = Some(Class::Numeric);
        });
        assert_eq!(apart, whole[..2]);
    }

    #[test]
    fn an_equivalence_names_candidate_method_demands_and_what_was_measured() {
        let text = include_str!("../../../spec/vectors/report/reproduced.json");
        let mut report: Value = serde_json::from_str(text).unwrap();
        let other = Digest::sha256(b"other weights");
        report["class"]["achieved"] = json!("numeric");
        let row = report.pointer_mut("/stages/1/artifacts/0").unwrap();
        let target = row["base"].clone();
        row["now"] = json!(other);
        row["class"] = json!("numeric");
        row["detail"] = json!({"rule": "rel_l2<=1e-9", "observed": "3e-10"});
        let report = Report::parse(&serde_json::to_vec(&report).unwrap()).unwrap();
        let about = [
            Subject::new("m", &report.baseline.digest.0),
            Subject::new("oms:m", &Digest::sha256(b"root")),
        ];
        let all = statements(&report, &about).unwrap();
        for statement in &all {
            assert_eq!(
                statement.subject[..2],
                about,
                "{}",
                statement.predicate_type
            );
        }
        let found = all
            .iter()
            .find(|statement| statement.predicate_type == predicate::SLSA_PROVENANCE)
            .unwrap();
        let found = Value::Object(found.predicate.clone().unwrap());
        let definition = &found["buildDefinition"];
        assert_eq!(definition["buildType"], EQUIVALENCE);
        let external = &definition["externalParameters"];
        assert_eq!(external["class"], "numeric");
        assert_eq!(
            external["candidate"]["model/weights.safetensors"],
            json!(other)
        );
        let method = external["method"].as_array().unwrap();
        assert_eq!(method[..2], ["weights-allclose", "eval-metrics"]);
        let tolerances = &external["tolerances"];
        assert_eq!(
            tolerances["artifacts"]["model/weights.safetensors"],
            "numeric"
        );
        assert!(tolerances["metrics"]["auc"].is_object());
        let measured = &definition["internalParameters"]["measured"];
        assert_eq!(
            measured["artifacts"]["model/weights.safetensors"],
            json!({"target": target, "class": "numeric", "rule": "rel_l2<=1e-9", "observed": "3e-10"})
        );
        assert_eq!(
            measured["metrics"]["auc"],
            json!({"target": "0.91", "candidate": "0.91", "delta": "0"})
        );
    }
}
