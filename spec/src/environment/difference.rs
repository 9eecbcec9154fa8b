//! Two documents of facts compared, row by row.
//!
//! Owns what counts as a difference, its level in a class, and the exceptions that lower or raise it.
//! Does not decide the verdict of a replay: it says whether the comparison of results means anything.
//! Invariant: rows come in the order of the table; an expired exception changes no level and is named.

use super::day::Day;
use super::facts::{FactValue, Facts};
use super::level::{
    Comparison, FACTS, FactRule, Level, NOT_SET, RANDOM_PACKAGES, Strictness, fact_rule,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A recorded decision that a fact matters less, or more, than the table says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// A fact (`gpu.name`), an entry of one (`python.packages/numpy`) or a family (`gpu.*`).
    pub fact: String,
    /// The level from now on.
    pub level: Level,
    /// Why; never empty.
    pub why: String,
    /// The last day on which it holds; without one it holds for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Day>,
}

/// Why an override was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OverrideError {
    /// It can never match.
    #[error("override of \"{0}\" matches no fact of the table: `sealstone env show` lists them")]
    NoSuchFact(String),
    /// A decision without a reason helps nobody later.
    #[error("override of \"{0}\" has no reason: say why in `why`")]
    NoReason(String),
}

impl Override {
    /// Checks that it can match something and says why.
    ///
    /// # Errors
    /// See [`OverrideError`].
    pub fn check(&self) -> Result<(), OverrideError> {
        let named = self.fact.split('/').next().unwrap_or_default();
        let known = match self.fact.strip_suffix(".*") {
            Some(family) => FACTS.iter().any(|rule| {
                rule.name
                    .strip_prefix(family)
                    .is_some_and(|rest| rest.starts_with('.'))
            }),
            None => fact_rule(named).is_some(),
        };
        if !known {
            return Err(OverrideError::NoSuchFact(
                self.fact.chars().take(80).collect(),
            ));
        }
        if self.why.trim().is_empty() {
            return Err(OverrideError::NoReason(self.fact.clone()));
        }
        Ok(())
    }

    fn matches(&self, fact: &str) -> bool {
        let whole = fact.split('/').next().unwrap_or_default();
        match self.fact.strip_suffix(".*") {
            Some(family) => fact
                .strip_prefix(family)
                .is_some_and(|rest| rest.starts_with('.')),
            None => self.fact == fact || self.fact == whole,
        }
    }
}

/// How to compare.
#[derive(Clone, Debug)]
pub struct Comparing<'a> {
    /// The column of the table.
    pub strictness: Strictness,
    /// Whether the run is one of several that differ in their seeds on purpose.
    pub replicate: bool,
    /// Recorded decisions; the last that matches a fact and has not expired holds.
    pub overrides: &'a [Override],
    /// The day of the comparison, by which overrides expire.
    pub today: Day,
}

/// What an override did to a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exception {
    /// The level that the table has.
    pub instead_of: Level,
    /// Why.
    pub why: String,
    /// Until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Day>,
}

/// One fact that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The fact, or `fact/entry`.
    pub fact: String,
    /// Its value in the baseline; of a list, what the other side lacks; `None` if it was not recorded.
    pub base: Option<String>,
    /// Its value now, likewise.
    pub now: Option<String>,
    /// What the difference means.
    pub level: Level,
    /// The decision that gave it this level, if one did.
    pub exception: Option<Exception>,
}

/// The differences between two environments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// In the order of the table; facts that it has not come last.
    pub rows: Vec<Row>,
    /// Overrides that matched a row and have expired.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expired: Vec<Override>,
}

impl Difference {
    /// Whether a fact differs that must not: then no result of the run means anything about the other.
    pub fn is_inconclusive(&self) -> bool {
        self.at(Level::Must).next().is_some()
    }

    /// The rows of one level.
    pub fn at(&self, level: Level) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.level == level)
    }
}

/// Compares the environment of a run with that of its baseline.
///
/// ```
/// use sealstone_spec::environment::{Comparing, Facts, Strictness, compare};
/// let (mut base, mut now) = (Facts::default(), Facts::default());
/// base.set("blas.arch", "Haswell")?;
/// now.set("blas.arch", "SkylakeX")?;
/// let mut comparing = Comparing {
///     strictness: Strictness::Numeric,
///     replicate: false,
///     overrides: &[],
///     today: "2026-11-24".parse().unwrap(),
/// };
/// assert!(!compare(&base, &now, &comparing).is_inconclusive());
/// comparing.strictness = Strictness::Exact;
/// assert!(compare(&base, &now, &comparing).is_inconclusive());
/// # Ok::<(), sealstone_spec::environment::FactError>(())
/// ```
pub fn compare(base: &Facts, now: &Facts, comparing: &Comparing<'_>) -> Difference {
    let pinned = base.get("image.digest").is_some() && now.get("image.digest").is_some();
    let mut difference = Difference::default();
    for rule in FACTS {
        let sides = (base.get(rule.name), now.get(rule.name));
        for (fact, base, now) in parts(rule, sides, comparing.strictness) {
            let level = table_level(rule, &fact, (&base, &now), comparing, pinned);
            difference.add(
                Row {
                    fact,
                    base,
                    now,
                    level,
                    exception: None,
                },
                comparing,
            );
        }
    }
    let unknown: BTreeSet<&str> = base
        .iter()
        .chain(now.iter())
        .map(|(name, _)| name)
        .filter(|name| fact_rule(name).is_none())
        .collect();
    for name in unknown {
        let sides = (base.get(name), now.get(name));
        if sides.0 != sides.1 {
            let (base, now) = (
                sides.0.map(ToString::to_string),
                sides.1.map(ToString::to_string),
            );
            let row = Row {
                fact: name.to_owned(),
                base,
                now,
                level: Level::Info,
                exception: None,
            };
            difference.add(row, comparing);
        }
    }
    difference
}

impl Difference {
    fn add(&mut self, mut row: Row, comparing: &Comparing<'_>) {
        let mut decided = None;
        for decision in comparing
            .overrides
            .iter()
            .filter(|decision| decision.matches(&row.fact))
        {
            if decision.expires.is_some_and(|last| last < comparing.today) {
                if !self.expired.contains(decision) {
                    self.expired.push(decision.clone());
                }
            } else {
                decided = Some(decision);
            }
        }
        if let Some(decision) = decided {
            row.exception = Some(Exception {
                instead_of: row.level,
                why: decision.why.clone(),
                expires: decision.expires,
            });
            row.level = decision.level;
        }
        self.rows.push(row);
    }
}

type Part = (String, Option<String>, Option<String>);

/// The differing parts of a fact: one, or one for each entry of a map.
fn parts(
    rule: &FactRule,
    sides: (Option<&FactValue>, Option<&FactValue>),
    strictness: Strictness,
) -> Vec<Part> {
    if sides.0 == sides.1 {
        return Vec::new();
    }
    let one = |base: Option<String>, now: Option<String>| vec![(rule.name.to_owned(), base, now)];
    let text = |value: Option<&FactValue>| value.map(ToString::to_string);
    match (rule.comparison, sides) {
        (Comparison::Packages | Comparison::Entries, (base, now)) => {
            let entries = |value: Option<&FactValue>| match value {
                Some(FactValue::Entries(entries)) => entries.clone(),
                Some(other) => [(String::new(), other.to_string())].into(),
                None => Default::default(),
            };
            let (base, now) = (entries(base), entries(now));
            let names: BTreeSet<&String> = base.keys().chain(now.keys()).collect();
            names
                .into_iter()
                .filter(|name| base.get(*name) != now.get(*name))
                .map(|name| {
                    let fact = format!("{}/{name}", rule.name);
                    (fact, base.get(name).cloned(), now.get(name).cloned())
                })
                .collect()
        }
        (Comparison::Version, (Some(base), Some(now))) => {
            let (base, now) = (base.to_string(), now.to_string());
            let loose = strictness == Strictness::Statistical;
            if loose && minor(&base) == minor(&now) {
                return Vec::new();
            }
            one(Some(base), Some(now))
        }
        (_, (Some(FactValue::List(base)), Some(FactValue::List(now)))) => {
            let lacking = |of: &[String], other: &[String]| {
                let only: Vec<&str> = of
                    .iter()
                    .filter(|item| !other.contains(item))
                    .map(String::as_str)
                    .collect();
                only.join(",")
            };
            let (only_base, only_now) = (lacking(base, now), lacking(now, base));
            if only_base.is_empty() && only_now.is_empty() {
                return one(Some(base.join(",")), Some(now.join(",")));
            }
            one(Some(only_base), Some(only_now))
        }
        (_, (base, now)) => one(text(base), text(now)),
    }
}

fn minor(version: &str) -> Vec<&str> {
    version.split('.').take(2).collect()
}

fn table_level(
    rule: &FactRule,
    fact: &str,
    (base, now): (&Option<String>, &Option<String>),
    comparing: &Comparing<'_>,
    pinned: bool,
) -> Level {
    let level = rule.level(comparing.strictness);
    let not_set = |value: &Option<String>| value.as_deref() == Some(NOT_SET);
    match rule.comparison {
        Comparison::Packages => {
            let package = fact.rsplit('/').next().unwrap_or_default();
            if RANDOM_PACKAGES.contains(&package) {
                Level::Must
            } else {
                level
            }
        }
        Comparison::SetByRunner if not_set(base) || not_set(now) => level.min(Level::Warn),
        _ if rule.inside_image && pinned => Level::Info,
        _ if rule.name == "seeds.declared" && comparing.replicate => Level::Info,
        _ => level,
    }
}

#[cfg(test)]
mod tests;
