//! The facts of this machine beside those of the baseline.
//!
//! What Git says is not compared: a replay compares the files themselves, and the lock is committed after
//! it was made. Levels are the table's (chapter 8), for the strictest class that the recipe demands.
//! Invariant: an override that let a fact go is in the report, and never without a warning.

use super::project::Project;
use sealstone_spec::environment::{self, Comparing, Day, Difference, Facts, Level, Row};
use sealstone_spec::report::{FactRow, Override, Reason, Verdict};

/// Beginnings of facts that are known before an environment is made.
const BEFORE: [&str; 4] = [
    "machine.",
    "cpu.",
    "python.version",
    "python.implementation",
];

/// Compares two environments as the project's recipe and lock demand; `now` is the time, RFC 3339 in UTC.
pub(super) fn compare(project: &Project, base: &Facts, here: &Facts, now: &str) -> Difference {
    let overrides: Vec<_> = project
        .recipe()
        .overrides()
        .iter()
        .map(|exemption| exemption.rule.clone())
        .collect();
    let today = now.get(..10).and_then(|day| day.parse::<Day>().ok());
    let comparing = Comparing {
        strictness: project.lock().environment.class.into(),
        replicate: false,
        overrides: &overrides,
        // Without a day no exception has expired, which would be the wrong side to err on.
        today: today
            .or_else(|| Day::new(9999, 12, 31))
            .expect("a day of the calendar"),
    };
    environment::compare(&without_git(base), &without_git(here), &comparing)
}

/// The facts that do not depend on an environment that was not made.
pub(super) fn before(facts: &Facts) -> Facts {
    some_of(facts, |name| {
        BEFORE.iter().any(|start| name.starts_with(start))
    })
}

fn without_git(facts: &Facts) -> Facts {
    some_of(facts, |name| !name.starts_with("git."))
}

fn some_of(facts: &Facts, counts: impl Fn(&str) -> bool) -> Facts {
    let mut some = Facts::default();
    for (name, value) in facts.iter().filter(|(name, _)| counts(name)) {
        some.set(name, value.clone())
            .expect("it stood in a document of facts");
    }
    some
}

/// What a difference puts into a report.
pub(super) struct Told {
    pub(super) rows: Vec<FactRow>,
    pub(super) reasons: Vec<Reason>,
    pub(super) overrides: Vec<Override>,
    /// Whether results would mean anything.
    pub(super) comparable: bool,
}

/// The rows of a difference, and what they mean for the verdict.
pub(super) fn tell(difference: &Difference) -> Told {
    let mut told = Told {
        rows: Vec::new(),
        reasons: Vec::new(),
        overrides: Vec::new(),
        comparable: !difference.is_inconclusive(),
    };
    let warning = |subject: &str, text: String| {
        Reason::new(
            Verdict::ReproducedWithWarnings,
            "environment",
            subject,
            text,
        )
    };
    for row in &difference.rows {
        told.rows.push(shown(row));
        let let_go = row
            .exception
            .as_ref()
            .filter(|exception| exception.instead_of == Level::Must && row.level < Level::Must);
        match (row.level, let_go) {
            (Level::Must, _) => told.reasons.push(Reason::new(
                Verdict::Inconclusive,
                "environment",
                &row.fact,
                "it has to match for the class demanded, and does not; nothing was run",
            )),
            (_, Some(exception)) => told.reasons.push(warning(
                &row.fact,
                format!("it had to match and was let go: {}", exception.why),
            )),
            (Level::Warn, None) => told.reasons.push(warning(
                &row.fact,
                "it differs from the baseline's".to_owned(),
            )),
            _ => {}
        }
        if let Some(exception) = &row.exception {
            told.overrides.push(Override {
                kind: "fact".into(),
                id: row.fact.clone(),
                expires: exception.expires.map(|day| day.to_string()),
                reason: Some(exception.why.clone()),
            });
        }
    }
    for expired in &difference.expired {
        told.reasons.push(Reason::new(
            Verdict::ReproducedWithWarnings,
            "override",
            &expired.fact,
            "the recipe's override has expired and changes nothing",
        ));
    }
    told
}

fn shown(row: &Row) -> FactRow {
    let exception = row
        .exception
        .as_ref()
        .map(|exception| match exception.expires {
            Some(last) => format!("{} (until {last})", exception.why),
            None => exception.why.clone(),
        });
    // A fact that had to match and was let go still had to match.
    let level = row
        .exception
        .as_ref()
        .map_or(row.level, |exception| exception.instead_of.max(row.level));
    FactRow {
        fact: row.fact.clone(),
        base: row.base.clone(),
        now: row.now.clone(),
        level: level.as_str().to_owned(),
        exception,
    }
}
