//! A report as evidence: the statement itself, and the standard ones that follow from it.
//!
//! Bad news are stated as well as good ones. Provenance is that of the rebuild, by this machine: the same
//! subject for a rebuild to the bit, and a build type that says "equivalent" for anything weaker, which is
//! never put as the same. Invariant: nothing here says more than the report.

use crate::error::{Error, Result};
use sealstone_spec::compare::Class;
use sealstone_spec::digest::Digest;
use sealstone_spec::report::{PREDICATE_TYPE, Report, Verdict};
use sealstone_spec::statement::predicate::{self, Predicate};
use sealstone_spec::statement::provenance::{
    BuildDefinition, BuildMetadata, Builder, EQUIVALENCE, Provenance, REBUILD, RunDetails,
};
use sealstone_spec::statement::svr::{Svr, Verifier};
use sealstone_spec::statement::test_result::{Outcome, TestResult};
use sealstone_spec::statement::{MAX_SUBJECTS, ResourceDescriptor, Statement, Subject};
use serde_json::{Map, Value, json};

/// Every statement that a report makes, its own first. `name` is the bundle's, for people.
///
/// # Errors
/// If a statement would not be what its type demands.
pub fn statements(report: &Report, name: &str) -> Result<Vec<Statement>> {
    let bundle = Subject::new(name, &report.baseline.digest.0);
    let mut subjects = vec![bundle.clone()];
    let rebuilt = report.stages.iter().flat_map(|stage| &stage.artifacts);
    subjects.extend(
        rebuilt
            .filter_map(|row| Some(Subject::new(format!("rebuild/{}", row.path), &row.now?)))
            .take(MAX_SUBJECTS - 1),
    );
    let short = report.cut().unwrap_or_else(|| report.clone());
    let mut statements = vec![Statement::new(
        subjects,
        PREDICATE_TYPE,
        short.to_predicate(),
    )];
    statements.push(derived(&bundle, &test_result(report))?);
    if let Some(svr) = verified(report)? {
        statements.push(derived(&bundle, &svr)?);
    }
    if let Some(provenance) = provenance(report)? {
        statements.push(derived(&bundle, &provenance)?);
    }
    Ok(statements)
}

fn derived<P: Predicate>(bundle: &Subject, value: &P) -> Result<Statement> {
    let fields = predicate::write(value).map_err(|error| {
        Error::other("a statement that follows from the report cannot be written").source(error)
    })?;
    Ok(Statement::new(vec![bundle.clone()], P::TYPE, fields))
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
            .map(|row| (format!("test.{}", row.id), row.ok)),
    );
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

/// What holds of the bundle; `None` unless it was reproduced with something compared.
fn verified(report: &Report) -> Result<Option<Svr>> {
    let Some(achieved) = report
        .class
        .achieved
        .filter(|_| report.verdict.is_reproduced())
    else {
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

/// How it was built again; `None` if nothing was, or it is something else.
fn provenance(report: &Report) -> Result<Option<Provenance>> {
    let Some(achieved) = report
        .class
        .achieved
        .filter(|_| report.verdict.is_reproduced())
    else {
        return Ok(None);
    };
    let exact = achieved == Class::BitExact;
    let mut external = Map::new();
    external.insert("target".into(), json!(report.baseline.id));
    external.insert("scope".into(), json!(report.scope.as_str()));
    if !exact {
        external.insert("class".into(), json!(achieved.as_str()));
    }
    let mut internal = Map::new();
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
            external_parameters: external,
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
