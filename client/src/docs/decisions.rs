//! `DECISIONS.md`: what somebody decided, why, and until when.

use super::Sources;
use super::criteria::bounds_of;
use super::page::{code, head, plain, reason, table};
use sealstone_spec::compare::{Class, ReplayMethod};
use sealstone_spec::policy::Policy;
use sealstone_spec::recipe::{Check, Environment, Recipe};

pub(super) fn text(sources: &Sources<'_>) -> String {
    let recipe = sources.project.recipe();
    let mut text = head(
        &format!("Decisions about {}", plain(recipe.name())),
        "Where something is not the strictest that there is, somebody decided so. What stands here without a reason is a task for its owner; \
         `sealstone lint` lists those too.",
    );
    standing(&mut text, recipe);
    weaker(&mut text, recipe);
    overrides(&mut text, recipe);
    match sources.policy {
        Some((policy, _)) => exceptions(&mut text, policy),
        None => text.push_str("\n## Exceptions of the policy\n\nNo policy was given to `sealstone docs` (`--policy FILE`).\n"),
    }
    if let Some(lock) = sources.lock {
        let first = lock.stages.iter().map(|stage| stage.started.as_str()).min();
        text.push_str(&format!(
            "\n## Baseline\n\nLock `{}`, of recipe `{}`{}.\n",
            lock.digest(),
            lock.recipe.digest,
            first
                .map(|moment| format!(", run from {}", plain(moment)))
                .unwrap_or_default()
        ));
    }
    text
}

/// What the recipe is about and under which conditions it stands.
fn standing(text: &mut String, recipe: &Recipe) {
    let determinism = recipe.determinism();
    let number =
        |value: Option<u64>| value.map_or_else(|| "not set".to_owned(), |value| value.to_string());
    let mut rows = vec![
        vec![
            "owner".to_owned(),
            recipe.owner().map_or_else(|| "*nobody*".to_owned(), plain),
            String::new(),
        ],
        vec![
            "risk".to_owned(),
            recipe.risk().to_string(),
            "without a statement, high".to_owned(),
        ],
        vec![
            "seed".to_owned(),
            number(determinism.seed),
            "stages get it as `SEALSTONE_SEED`".to_owned(),
        ],
        vec![
            "hash seed".to_owned(),
            determinism.hash_seed.to_string(),
            "`PYTHONHASHSEED`".to_owned(),
        ],
        vec![
            "threads".to_owned(),
            number(determinism.threads),
            "sums change with it".to_owned(),
        ],
        vec![
            "environment".to_owned(),
            code(recipe.environment().kind()),
            environment(recipe),
        ],
        vec![
            "isolation".to_owned(),
            recipe.isolation().minimum.to_string(),
            plain(recipe.isolation().minimum.promise()),
        ],
    ];
    for (name, value) in &determinism.env {
        rows.push(vec![
            "variable".to_owned(),
            code(&format!("{name}={value}")),
            "for every stage".to_owned(),
        ]);
    }
    text.push_str("\n## Conditions\n\n");
    text.push_str(&table(&["what", "decided", "means"], &rows));
}

fn environment(recipe: &Recipe) -> String {
    match recipe.environment() {
        Environment::Venv { lock, .. } => {
            format!("packages by the hashes in {}", code(lock.as_str()))
        }
        Environment::Oci { image, .. } => code(image),
        Environment::Rootfs { path, .. } => code(path.as_str()),
        _ => "not locked: whatever the machine has".to_owned(),
    }
}

/// Everything weaker than the same bytes and the same number.
fn weaker(text: &mut String, recipe: &Recipe) {
    let mut rows = Vec::new();
    let determinism = recipe.determinism();
    if let Some(class) = determinism.class.filter(|class| *class != Class::BitExact) {
        rows.push(vec![
            "every output".to_owned(),
            code(&class.to_string()),
            reason(determinism.why.as_deref()),
        ]);
    }
    for stage in recipe.stages() {
        if let Some(class) = stage.require.filter(|class| *class != Class::BitExact) {
            rows.push(vec![
                format!("outputs of {}", plain(&stage.name)),
                code(&class.to_string()),
                reason(stage.why.as_deref()),
            ]);
        }
        for path in stage.tolerance.keys() {
            let rule = recipe.rule_for(stage, path.as_str());
            rows.push(vec![
                code(path.as_str()),
                format!("{}, {}", code(&rule.class.to_string()), bounds_of(&rule)),
                reason(rule.why.as_deref()),
            ]);
        }
    }
    for metric in recipe.metrics() {
        let replay = &metric.rule.replay;
        let exact = |bound: &Option<sealstone_spec::compare::Decimal>| {
            bound.as_ref().is_none_or(|bound| bound.value() == 0.0)
        };
        // A sample asks for a place within it, whatever bounds stand beside it.
        if replay.method != ReplayMethod::Scalar
            || !exact(&replay.abs)
            || !exact(&replay.rel)
            || replay.ulp.unwrap_or(0) > 0
            || replay.margin.is_some()
        {
            rows.push(vec![
                format!("metric {}", plain(&metric.name)),
                "see [CRITERIA.md](CRITERIA.md)".to_owned(),
                reason(metric.why.as_deref()),
            ]);
        }
    }
    for test in recipe.tests() {
        let decided = match &test.check {
            Check::Inference { tolerance, .. } if tolerance.is_stated() => {
                bounds_of(&tolerance.bounds)
            }
            Check::Serialization { compare, .. } if *compare < Class::ContentExact => {
                code(&compare.to_string())
            }
            _ => continue,
        };
        rows.push(vec![
            format!("test {}", plain(&test.name)),
            decided,
            reason(test.why.as_deref()),
        ]);
    }
    text.push_str("\n## Tolerances\n\n");
    match rows.is_empty() {
        true => text.push_str("None: everything has to be the same.\n"),
        false => text.push_str(&table(&["of", "decided", "why"], &rows)),
    }
}

fn overrides(text: &mut String, recipe: &Recipe) {
    text.push_str("\n## Overrides of facts\n\n");
    if recipe.overrides().is_empty() {
        text.push_str("None.\n");
        return;
    }
    let rows: Vec<Vec<String>> = recipe
        .overrides()
        .iter()
        .map(|exemption| {
            let rule = &exemption.rule;
            let until = rule
                .expires
                .map_or_else(|| "*no end*".to_owned(), |day| day.to_string());
            vec![
                code(&rule.fact),
                code(rule.level.as_str()),
                until,
                reason(Some(&rule.why)),
            ]
        })
        .collect();
    text.push_str(&table(&["fact", "counts as", "until", "why"], &rows));
}

fn exceptions(text: &mut String, policy: &Policy) {
    let until = policy
        .expires()
        .map(|time| format!(", in force until {time}"))
        .unwrap_or_default();
    text.push_str(&format!(
        "\n## Exceptions of the policy\n\nPolicy version {}, `{}`{until}.\n\n",
        policy.version(),
        policy.digest()
    ));
    let rows: Vec<Vec<String>> = policy
        .exceptions()
        .iter()
        .map(|exception| {
            vec![
                plain(&exception.id),
                code(&exception.rule),
                exception.expires.to_string(),
                exception.max_uses.to_string(),
                plain(&exception.approved_by.join(", ")),
                plain(&exception.ticket),
                reason(Some(&exception.reason)),
            ]
        })
        .collect();
    match rows.is_empty() {
        true => text.push_str("None stands in the policy. Signed exceptions travel with a release: `sealstone status REF`.\n"),
        false => text.push_str(&table(&["exception", "waives", "until", "uses", "approved by", "ticket", "why"], &rows)),
    }
}
