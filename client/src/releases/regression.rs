//! Metrics of a release held against those of the one before it: by the newer recipe's rules, on one side only.
//!
//! A replay must give the same numbers; a new release may be better. Invariant: a metric that is missing, new or
//! cannot be judged is no pass.

use sealstone_spec::compare::{Baseline, MetricVerdict};
use sealstone_spec::recipe::{Lock, Recipe};
use serde::Serialize;

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

/// Every metric of the newer recipe.
pub fn regressions(recipe: &Recipe, base: &Lock, now: &Lock) -> Vec<Regression> {
    let values = |lock: &Lock, name: &str| {
        let locked = lock.metrics.get(name);
        locked.map_or_else(Baseline::default, |locked| Baseline {
            value: Some(locked.value.clone()),
            replicates: locked.replicates.clone(),
        })
    };
    let metrics = recipe.metrics().iter();
    metrics
        .map(|metric| Regression {
            name: metric.name.clone(),
            verdict: metric
                .rule
                .judge_regression(&values(base, &metric.name), &values(now, &metric.name)),
            why: metric.why.clone(),
        })
        .collect()
}
