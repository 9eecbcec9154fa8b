//! `CRITERIA.md`: what counts as the same model, and why.

use super::Sources;
use super::page::{code, head, plain, reason, table};
use sealstone_spec::compare::{ArtifactRule, Class, MetricRule, RegressionMethod, ReplayMethod};
use sealstone_spec::recipe::{Check, Lock, Recipe, RecipePath, Stage};

pub(super) fn text(sources: &Sources<'_>) -> String {
    let recipe = sources.project.recipe();
    let mut text = head(
        &format!("When {} counts as reproduced", plain(recipe.name())),
        "Every output, metric and test with what is demanded of it. All of them have to pass: one that is missing, not a number, or not \
         measured never does. How to run them: [REBUILD.md](REBUILD.md).",
    );
    outputs(&mut text, recipe);
    metrics(&mut text, recipe, sources.lock);
    tests(&mut text, recipe);
    inputs(&mut text, recipe);
    bounds(&mut text, recipe);
    profiles(&mut text, recipe);
    text
}

fn outputs(text: &mut String, recipe: &Recipe) {
    text.push_str(
        "\n## Outputs\n\nClasses, from strict to weak: `bit_exact` (same bytes), `content_exact` (same content in another container), `numeric` (numbers \
         within bounds), `functional` (same answers), `statistical` (metrics within the spread of seeds).\n\n",
    );
    let rows: Vec<Vec<String>> = recipe
        .stages()
        .iter()
        .flat_map(|stage| {
            stage
                .writes
                .iter()
                .map(move |path| output(recipe, stage, path))
        })
        .collect();
    text.push_str(&table(
        &["stage", "output", "class", "bounds", "why"],
        &rows,
    ));
    // Tolerances for parts of an output, such as one file of a directory.
    for stage in recipe.stages() {
        for path in stage
            .tolerance
            .keys()
            .filter(|path| !stage.writes.contains(path))
        {
            let row = output(recipe, stage, path);
            text.push_str(&format!("| {} |\n", row.join(" | ")));
        }
    }
}

fn output(recipe: &Recipe, stage: &Stage, path: &RecipePath) -> Vec<String> {
    let rule = recipe.rule_for(stage, path.as_str());
    let why = rule.why.as_deref().or(match rule.class {
        Class::BitExact => Some("the strictest class needs no reason"),
        _ => None,
    });
    vec![
        plain(&stage.name),
        code(path.as_str()),
        code(&rule.class.to_string()),
        bounds_of(&rule),
        reason(why),
    ]
}

/// The bounds that are stated; others are the defaults of the artifact's type.
pub(super) fn bounds_of(rule: &ArtifactRule) -> String {
    let mut stated = Vec::new();
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            stated.push(code(&format!("{name} {value}")));
        }
    };
    let text =
        |value: &Option<sealstone_spec::compare::Decimal>| value.as_ref().map(ToString::to_string);
    add("rel_l2 ≤", text(&rule.rel_l2));
    add("scaled_max ≤", text(&rule.scaled_max));
    add("atol ≤", text(&rule.atol));
    add("abs ≤", text(&rule.abs));
    add("rel ≤", text(&rule.rel));
    add("label_agreement ≥", text(&rule.label_agreement));
    add("topk_overlap ≥", text(&rule.topk_overlap));
    add("max_flips ≤", rule.max_flips.map(|flips| flips.to_string()));
    match (stated.is_empty(), rule.class) {
        (false, _) => stated.join(", "),
        (true, Class::BitExact | Class::ContentExact) => "none".to_owned(),
        (true, _) => "defaults of the type".to_owned(),
    }
}

fn metrics(text: &mut String, recipe: &Recipe, lock: Option<&Lock>) {
    text.push_str("\n## Metrics\n\n");
    if recipe.metrics().is_empty() {
        text.push_str("None is declared.\n");
        return;
    }
    text.push_str(
        "In a replay a better number is a difference too. Between versions only a loss counts.\n\n",
    );
    let rows: Vec<Vec<String>> = recipe
        .metrics()
        .iter()
        .map(|metric| {
            let base = lock.and_then(|lock| lock.metrics.get(&metric.name));
            let mut limits = Vec::new();
            limits.extend(
                metric
                    .rule
                    .min
                    .as_ref()
                    .map(|min| code(&format!("≥ {min}"))),
            );
            limits.extend(
                metric
                    .rule
                    .max
                    .as_ref()
                    .map(|max| code(&format!("≤ {max}"))),
            );
            limits.extend(metric.rule.n.map(|n| format!("measured on {n}")));
            vec![
                plain(&metric.name),
                code(&metric.from.to_string()),
                base.map_or_else(|| "none".to_owned(), |base| code(&base.value.to_string())),
                replay(&metric.rule),
                regression(&metric.rule),
                limits.join(", "),
                reason(metric.why.as_deref()),
            ]
        })
        .collect();
    text.push_str(&table(
        &[
            "metric",
            "from",
            "baseline",
            "replay",
            "new version",
            "limits",
            "why",
        ],
        &rows,
    ));
}

fn replay(rule: &MetricRule) -> String {
    let replay = &rule.replay;
    let confidence = replay
        .confidence
        .as_ref()
        .map_or_else(|| "0.95".to_owned(), ToString::to_string);
    match replay.method {
        ReplayMethod::Interval => format!("within the {confidence} interval of the seeds"),
        ReplayMethod::Tost => format!(
            "equivalent within {} at {confidence}",
            replay
                .margin
                .as_ref()
                .map_or_else(|| "?".to_owned(), ToString::to_string)
        ),
        ReplayMethod::Scalar => {
            let mut parts = Vec::new();
            parts.extend(replay.abs.as_ref().map(|abs| format!("abs ≤ {abs}")));
            parts.extend(replay.rel.as_ref().map(|rel| format!("rel ≤ {rel}")));
            parts.extend(replay.ulp.map(|ulp| format!("ulp ≤ {ulp}")));
            if parts.is_empty() {
                "the same number".to_owned()
            } else {
                code(&parts.join(" + "))
            }
        }
    }
}

fn regression(rule: &MetricRule) -> String {
    let direction = match rule.direction {
        sealstone_spec::compare::Direction::Higher => "higher is better",
        sealstone_spec::compare::Direction::Lower => "lower is better",
        sealstone_spec::compare::Direction::None => "any change counts",
    };
    let loss = rule
        .regression
        .max_loss
        .as_ref()
        .map(|loss| format!(", loss ≤ {loss}"))
        .unwrap_or_default();
    let method = match rule.regression.method {
        RegressionMethod::Scalar => String::new(),
        RegressionMethod::Tost => format!(
            ", equivalent within {}",
            rule.regression
                .margin
                .as_ref()
                .map_or_else(|| "?".to_owned(), ToString::to_string)
        ),
    };
    format!("{direction}{loss}{method}")
}

fn tests(text: &mut String, recipe: &Recipe) {
    text.push_str("\n## Tests\n\n");
    if recipe.tests().is_empty() {
        text.push_str("None is declared.\n");
        return;
    }
    let rows: Vec<Vec<String>> = recipe
        .tests()
        .iter()
        .map(|test| {
            let (asserts, bounds) = match &test.check {
                Check::Data {
                    file,
                    schema,
                    nulls,
                    rows,
                    columns,
                } => {
                    let mut parts = Vec::new();
                    parts.extend(
                        schema
                            .as_ref()
                            .map(|schema| format!("fits {}", code(schema.as_str()))),
                    );
                    parts.extend(rows.map(|rows| format!("has {rows} rows")));
                    parts.extend(nulls.iter().map(|(column, count)| {
                        format!("at most {count} missing in {}", code(column))
                    }));
                    parts.extend(
                        columns
                            .keys()
                            .map(|column| format!("holds the same values in {}", code(column))),
                    );
                    (
                        format!("{} {}", code(file.as_str()), parts.join(", ")),
                        "none".to_owned(),
                    )
                }
                Check::Serialization { run, compare, .. } => (
                    format!(
                        "loaded and saved again by {}, the model is the same",
                        code(&run.join(" "))
                    ),
                    code(&compare.to_string()),
                ),
                Check::Inference {
                    run,
                    inputs,
                    expect,
                    tolerance,
                    batch_sizes,
                    ..
                } => {
                    let sizes: Vec<String> = batch_sizes.iter().map(ToString::to_string).collect();
                    let sizes = if sizes.is_empty() {
                        String::new()
                    } else {
                        format!(", in batches of {}", sizes.join(" and "))
                    };
                    (
                        format!(
                            "asked {}, {} answers {}{sizes}",
                            code(inputs.as_str()),
                            code(&run.join(" ")),
                            code(expect.as_str())
                        ),
                        bounds_of(&tolerance.bounds),
                    )
                }
                other => (plain(other.kind()), "none".to_owned()),
            };
            vec![
                plain(&test.name),
                plain(test.check.kind()),
                asserts,
                bounds,
                reason(test.why.as_deref()),
            ]
        })
        .collect();
    text.push_str(&table(&["test", "kind", "asserts", "bounds", "why"], &rows));
}

fn inputs(text: &mut String, recipe: &Recipe) {
    if recipe.inputs().is_empty() {
        return;
    }
    text.push_str("\n## Inputs\n\nA byte that differs halts a replay before anything runs.\n\n");
    let rows: Vec<Vec<String>> = recipe
        .inputs()
        .iter()
        .map(|input| {
            let mut more = Vec::new();
            more.extend(input.rows.map(|rows| format!("{rows} rows")));
            more.extend(input.files.map(|files| format!("{files} files")));
            more.extend(input.order.map(|order| format!("order {order}")));
            vec![
                code(input.path.as_str()),
                code(&input.digest.to_string()),
                more.join(", "),
            ]
        })
        .collect();
    text.push_str(&table(&["input", "digest", "also"], &rows));
}

fn bounds(text: &mut String, recipe: &Recipe) {
    let isolation = recipe.isolation();
    text.push_str(&format!(
        "\n## Conditions\n\n- isolation: {} or better ({}), else the verdict is inconclusive; network: {}\n",
        isolation.minimum,
        isolation.minimum.promise(),
        isolation.network
    ));
    let usage = recipe.usage();
    for (name, ratio) in [
        ("time", &usage.wall_ratio),
        ("peak memory", &usage.rss_ratio),
        ("time to load data", &usage.load_ratio),
        ("processor time", &usage.cpu_ratio),
        ("memory of accelerators", &usage.gpu_memory_ratio),
        ("threads", &usage.threads_ratio),
    ] {
        if let Some(ratio) = ratio {
            text.push_str(&format!(
                "- {name}: a warning beyond {ratio} times the baseline\n"
            ));
        }
    }
    if let Some(replicates) = recipe.replicates() {
        let seeds: Vec<String> = replicates.seeds.iter().map(ToString::to_string).collect();
        text.push_str(&format!(
            "- replicates: seeds {}, confidence {}\n",
            seeds.join(", "),
            replicates.confidence
        ));
    }
}

fn profiles(text: &mut String, recipe: &Recipe) {
    if recipe.profiles().is_empty() {
        return;
    }
    text.push_str("\n## Profiles\n\n");
    let rows: Vec<Vec<String>> = recipe
        .profiles()
        .iter()
        .map(|profile| {
            let params: Vec<String> = profile
                .params
                .iter()
                .map(|(name, value)| code(&format!("{name} = {value}")))
                .collect();
            let inputs: Vec<String> = profile
                .inputs
                .iter()
                .map(|(from, to)| {
                    format!("{} in place of {}", code(to.as_str()), code(from.as_str()))
                })
                .collect();
            vec![
                plain(&profile.name),
                params.join(", "),
                inputs.join(", "),
                profile
                    .baseline
                    .as_ref()
                    .map_or_else(|| "none".to_owned(), |path| code(path.as_str())),
                reason(profile.why.as_deref()),
            ]
        })
        .collect();
    text.push_str(&table(
        &["profile", "parameters", "inputs", "baseline", "why"],
        &rows,
    ));
}
