//! Metrics of a release held against those of the one before it: by the newer recipe's rules, on one side only.
//!
//! A replay must give the same numbers; a new release may be better. Invariant: a metric that is missing, new or
//! cannot be judged is no pass; one that the newer recipe does not state any more is missing.

use sealstone_spec::compare::{Baseline, MetricRule, MetricVerdict};
use sealstone_spec::recipe::{Lock, Recipe};
use serde::Serialize;
use std::collections::BTreeSet;

/// A metric of two releases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Regression {
    /// Its name.
    pub name: String,
    /// What became of it.
    #[serde(flatten)]
    pub verdict: MetricVerdict,
    /// Why the rule is as it is, in the recipe's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What is said of a metric that only the older lock has. Some are dropped on purpose: whoever means it says so to
/// people, for no comparison can tell it from one that was dropped because it got worse.
const DROPPED: &str = "it was measured before, and the newer recipe does not state it any more: state it again; if it \
    was dropped on purpose, compare with a release that does not have it either, or have the policy's rule waived for \
    this one (sealstone except)";

/// Every metric of the newer recipe, and after them those that only the older lock has.
pub fn regressions(recipe: &Recipe, base: &Lock, now: &Lock) -> Vec<Regression> {
    let values = |lock: &Lock, name: &str| {
        let locked = lock.metrics.get(name);
        locked.map_or_else(Baseline::default, |locked| Baseline {
            value: Some(locked.value.clone()),
            replicates: locked.replicates.clone(),
        })
    };
    let metrics = recipe.metrics().iter();
    let mut found: Vec<Regression> = metrics
        .map(|metric| Regression {
            name: metric.name.clone(),
            verdict: metric
                .rule
                .judge_regression(&values(base, &metric.name), &values(now, &metric.name)),
            why: metric.why.clone(),
        })
        .collect();
    let stated: BTreeSet<&str> = recipe
        .metrics()
        .iter()
        .map(|metric| metric.name.as_str())
        .collect();
    for name in base.metrics.keys() {
        if stated.contains(name.as_str()) {
            continue;
        }
        // No rule is asked: without a value now, each of them gives `unmeasured`.
        let verdict =
            MetricRule::default().judge_regression(&values(base, name), &Baseline::default());
        found.push(Regression {
            name: name.clone(),
            verdict: MetricVerdict {
                reason: DROPPED.to_owned(),
                ..verdict
            },
            why: None,
        });
    }
    found
}
