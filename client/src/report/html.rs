//! The page: one file that asks nobody for anything, readable without scripts, light and dark.
//!
//! Text from the report goes through the template's escaping; pictures are made by `graph` and `bars`, which
//! escape for themselves. Invariant: the page names no address that a browser would fetch, and its policy
//! forbids all but the one script whose digest it states.

use super::Surroundings;
use super::advice::next_step;
use super::bars;
use super::escape::clean;
use super::graph::graph;
use super::problems::{Level, problems, stands_for};
use crate::error::{Error, Result};
use data_encoding::BASE64;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use sealstone_spec::digest::Digest;
use sealstone_spec::report::{
    ArtifactRow, ReplayScope, Report, StageRow, StageStatus, Verdict, hint,
};
use serde_json::{Value, json};

const TEMPLATE: &str = include_str!("html/page.html");
const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/page.js");

/// The report as a page.
///
/// # Errors
/// If the template cannot be rendered, which is this program's fault.
pub fn html(report: &Report, around: &Surroundings) -> Result<String> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    let broken = |source: minijinja::Error| {
        Error::other("the page of the report cannot be made").source(source)
    };
    environment
        .add_template("page.html", TEMPLATE)
        .map_err(broken)?;
    let template = environment.get_template("page.html").map_err(broken)?;
    template
        .render(Serde(model(report, around)))
        .map_err(broken)
}

/// Everything that the template shows, as text.
fn model(report: &Report, around: &Surroundings) -> Value {
    let (why, command) = next_step(report, around);
    let tone = match report.verdict {
        Verdict::Reproduced => "ok",
        Verdict::ReproducedWithWarnings | Verdict::Inconclusive => "warn",
        _ => "bad",
    };
    let script = BASE64.encode(Digest::sha256(SCRIPT.as_bytes()).bytes());
    json!({
        "style": STYLE, "script": SCRIPT, "script_digest": script,
        "verdict": report.verdict.as_str(), "tone": tone, "sentence": sentence(report),
        "exit_code": report.verdict.exit_code(false),
        "id": clean(&report.baseline.id, 200), "digest": report.baseline.digest.0.to_string(),
        "facts": head(report),
        "next": {"why": why, "command": clean(&command, 400)},
        "runbook": around.runbook,
        "graph": graph(report),
        "first": first(report),
        "problems": problems(report).iter().map(|problem| json!({
            "rule": problem.rule.id, "name": problem.rule.name, "subject": problem.subject, "message": problem.message,
            "tone": match problem.level { Level::Error => "bad", Level::Warning => "warn", Level::Note => "note" },
        })).collect::<Vec<_>>(),
        "stages": report.stages.iter().map(stage).collect::<Vec<_>>(),
        "metrics": report.metrics.iter().map(|row| json!({
            "name": row.name, "from": row.from, "base": shown(&row.base), "now": shown(&row.now), "delta": shown(&row.delta),
            "rule": if row.rule.is_empty() { "exact".to_owned() } else {
                row.rule.iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ") },
            "step": stands_for(row).or_else(|| row.quantum.as_ref().map(|quantum| format!("steps of {quantum}"))),
            "why": row.why, "note": row.note, "bar": bars::metric(row),
            "word": match (row.ok, row.undecided || row.now.is_none()) { (_, true) => "undecided", (true, _) => "ok", _ => "failed" },
            "tone": match (row.ok, row.undecided || row.now.is_none()) { (_, true) => "warn", (true, _) => "ok", _ => "bad" },
        })).collect::<Vec<_>>(),
        "tests": report.tests.iter().map(|row| json!({
            "id": row.id, "kind": row.kind,
            "word": match (row.ok, row.undecided) { (true, _) => "ok", (_, true) => "undecided", _ => "failed" },
            "tone": match (row.ok, row.undecided) { (true, _) => "ok", (_, true) => "warn", _ => "bad" },
            "took": row.duration_ms.map(|ms| format!("{ms} ms")), "why": row.why, "note": row.note, "locator": row.locator,
        })).collect::<Vec<_>>(),
        "tensors": tensors(report),
        "environment": report.environment.diff.iter().map(|row| json!({
            "fact": row.fact, "base": shown(&row.base), "now": shown(&row.now), "exception": row.exception,
            "word": match row.level.as_str() { "M" => "must match", "W" => "warning", _ => "note" },
            "tone": match (row.level.as_str(), &row.exception) { ("M", None) => "bad", ("M", Some(_)) | ("W", _) => "warn", _ => "note" },
        })).collect::<Vec<_>>(),
        "environment_base": report.environment.baseline.map(|digest| digest.digest.0.to_string()),
        "environment_now": report.environment.replay.map(|digest| digest.digest.0.to_string()),
        "resources": report.resources.iter().map(|row| json!({
            "stage": row.stage, "quantity": quantity(&row.quantity), "base": amount(&row.base, &row.unit), "now": amount(&row.now, &row.unit),
            "ratio": row.ratio, "bound": row.bound, "method": row.method, "bar": bars::resource(row),
            "tone": if row.ok && !row.is_unenforced() { "ok" } else { "warn" },
            "word": match (row.ok, row.is_unenforced()) { (_, true) => "not enforced", (true, _) => "ok", _ => "outside" },
        })).collect::<Vec<_>>(),
        "trail": report.trail.iter().map(|row| json!({
            "at": row.at, "event": row.event, "subject": row.subject, "note": row.note, "tone": if row.ok { "ok" } else { "bad" },
            "word": if row.ok { "ok" } else { "failed" },
        })).collect::<Vec<_>>(),
        "overrides": report.overrides.iter().map(|row| json!({
            "kind": row.kind, "id": row.id, "reason": row.reason, "expires": row.expires,
        })).collect::<Vec<_>>(),
        "stabilizers": report.stabilizers.iter().map(|row| json!({
            "name": row.name, "version": row.version, "reason": row.reason,
        })).collect::<Vec<_>>(),
        "cut": report.cut.iter().map(|(name, cut)| format!("{name}: {} of {} rows", cut.shown, cut.total)).collect::<Vec<_>>(),
        "detail": report.detail.map(|digest| digest.digest.0.to_string()),
    })
}

fn sentence(report: &Report) -> String {
    let (fine, other) = match report.scope {
        ReplayScope::Verify => (
            "Bytes were looked at and nothing halted; nothing was run",
            "Bytes are not what they should be",
        ),
        ReplayScope::Infer => (
            "The weights that were shipped were tested and do what they should; no stage was run",
            "The weights that were shipped were tested and do not do what they should",
        ),
        ReplayScope::Eval => (
            "The weights that were shipped were evaluated again and do what they should; nothing was trained",
            "The weights that were shipped were evaluated again and do not do what they should",
        ),
        ReplayScope::Smoke => (
            "A short run of everything was made again and is what it should be",
            "A short run of everything was made again and is not what it should be",
        ),
        _ => (
            "Everything was built again and is what it should be",
            "It was built again and is not what it should be",
        ),
    };
    match report.verdict {
        Verdict::Reproduced => format!("{fine}."),
        Verdict::ReproducedWithWarnings => format!("{fine}; some things deserve a look."),
        Verdict::Inconclusive => "It could not be decided whether this is the same.".into(),
        Verdict::Diverged => match report
            .first_divergence
            .as_ref()
            .filter(|first| !first.tolerated)
        {
            Some(first) => format!("{other}. It began in stage {}.", clean(&first.stage, 60)),
            None => format!("{other}."),
        },
        Verdict::Error => "Not all of it could be done; what was seen stands below.".into(),
        _ if report.trail.iter().any(|entry| entry.event == "stage.run") => {
            "Bytes are not what they should be any more. Nothing was run after that showed.".into()
        }
        _ => "Bytes or signatures are not what they should be. Nothing was run.".into(),
    }
}

fn head(report: &Report) -> Vec<Value> {
    let pair = |name: &str, value: String| json!({"name": name, "value": value});
    let class = match report.class.achieved {
        Some(achieved) => format!("{achieved} (demanded: {})", report.class.required),
        None => format!("nothing compared (demanded: {})", report.class.required),
    };
    let isolation = match report.isolation.achieved {
        Some(achieved) => format!(
            "{achieved}, {} (demanded: {})",
            achieved.promise(),
            report.isolation.required
        ),
        None => format!("no stage ran (demanded: {})", report.isolation.required),
    };
    let how = if report.mode.isolated {
        "each stage on the baseline's inputs"
    } else {
        "each stage on the outputs before it"
    };
    let runs = if report.mode.runs > 1 {
        ", divergent stages twice"
    } else {
        ""
    };
    let seconds: Vec<String> = report
        .timings
        .iter()
        .map(|(name, text)| format!("{name} {text} s"))
        .collect();
    let mut facts = vec![
        pair("class", class),
        pair("isolation", isolation),
        pair("scope", format!("{}; {how}{runs}", report.scope)),
        pair(
            "when",
            format!("{} to {}", report.started_on, report.finished_on),
        ),
        pair("took", seconds.join(", ")),
        pair(
            "by",
            match &report.builder.keyid {
                Some(key) => format!(
                    "{} (sealstone {}), key {key}",
                    report.builder.id, report.builder.version
                ),
                None => format!(
                    "{} (sealstone {}), not signed",
                    report.builder.id, report.builder.version
                ),
            },
        ),
    ];
    facts.extend(
        report
            .owner
            .iter()
            .map(|owner| pair("owner", owner.clone())),
    );
    facts.extend(
        report
            .recipe
            .map(|recipe| pair("recipe", recipe.digest.0.to_string())),
    );
    facts.extend(
        report
            .policy
            .map(|policy| pair("policy", policy.digest.0.to_string())),
    );
    facts
}

fn first(report: &Report) -> Value {
    let Some(first) = &report.first_divergence else {
        return Value::Null;
    };
    let stage = report.stages.iter().find(|row| row.name == first.stage);
    json!({
        "title": if first.tolerated { "First difference, within tolerance" } else { "First divergence" },
        "stage": first.stage, "artifact": first.artifact, "locator": first.locator,
        "base": first.base, "now": first.now,
        "cause": first.cause.as_str(),
        "changes": stage.map(|row| row.changes.clone()).unwrap_or_default(),
        "trace": first.trace.as_ref().map(|trace| json!({"step": trace.step, "column": trace.column, "base": shown(&trace.base), "now": shown(&trace.now)})),
        "attribution": report.attribution.map(|attribution| attribution.as_str()),
        "evidence": report.evidence.iter().map(|finding| json!({"to": finding.points_at.as_str(), "text": finding.text})).collect::<Vec<_>>(),
        "hints": first.hints.iter().filter_map(|id| hint(id)).map(|hint| json!({
            "id": hint.id, "title": hint.title, "symptom": hint.symptom, "check": hint.check, "fix": hint.fix,
        })).collect::<Vec<_>>(),
    })
}

fn stage(row: &StageRow) -> Value {
    let tone = match row.status {
        StageStatus::Ok => "ok",
        StageStatus::Skipped => "note",
        StageStatus::Inherited => "warn",
        _ => "bad",
    };
    json!({
        "name": row.name, "kind": row.kind, "status": row.status.as_str(), "tone": tone,
        "argv": row.argv.join(" "), "changed": row.changed.join(", "), "changes": row.changes, "note": row.note,
        "exit": row.exit, "signal": row.signal, "attempts": row.attempts,
        "key_base": row.key.base.map(|digest| digest.to_string()), "key_now": row.key.now.map(|digest| digest.to_string()),
        "log": row.log.map(|log| log.digest.0.to_string()),
        "artifacts": row.artifacts.iter().map(artifact).collect::<Vec<_>>(),
    })
}

fn artifact(row: &ArtifactRow) -> Value {
    let detail = row.detail.as_ref();
    let class = match (row.class, &row.now) {
        (Some(class), _) => class.to_string(),
        (None, None) => "missing".into(),
        (None, Some(_)) => "not compared".into(),
    };
    json!({
        "path": row.path, "role": row.role, "class": class, "required": row.required.as_str(),
        "tone": if row.ok { "ok" } else { "bad" }, "word": if row.ok { "ok" } else { "failed" },
        "base": row.base.map(|digest| digest.to_string()), "now": row.now.map(|digest| digest.to_string()),
        "first": detail.and_then(|detail| detail.first.clone()),
        "rule": detail.and_then(|detail| detail.rule.clone()),
        "observed": detail.and_then(|detail| detail.observed.clone()),
        "why": detail.and_then(|detail| detail.why.clone()),
        "note": detail.and_then(|detail| detail.note.clone()),
        "reordered": detail.is_some_and(|detail| detail.reordered),
        "format": detail.and_then(|detail| detail.format.clone()),
    })
}

fn tensors(report: &Report) -> Vec<Value> {
    let rows = report
        .stages
        .iter()
        .flat_map(|stage| &stage.artifacts)
        .filter_map(|row| Some((row, row.detail.as_ref()?)));
    rows.flat_map(|(artifact, detail)| {
        detail.rows.iter().map(|row| {
            let shape: Vec<String> = row.shape.iter().map(u64::to_string).collect();
            json!({
                "artifact": artifact.path, "name": row.name, "dtype": row.dtype, "shape": shape.join(" × "),
                "changed": row.changed, "rel_l2": shown(&row.rel_l2), "scaled_max": shown(&row.scaled_max), "max_abs": shown(&row.max_abs),
                "mean_abs": shown(&row.mean_abs), "cosine": shown(&row.cosine), "p99_ulp": shown(&row.p99_ulp),
                "sign_flips": counted(row.sign_flips), "nan_now": counted(row.nan_now),
                "tone": if row.ok { "ok" } else { "bad" }, "word": if row.ok { "ok" } else { "failed" },
            })
        })
    })
    .collect()
}

fn shown(value: &Option<String>) -> String {
    value.clone().unwrap_or_else(|| "–".into())
}

fn counted(value: Option<u64>) -> String {
    value.map_or_else(|| "–".into(), |count| count.to_string())
}

fn quantity(name: &str) -> &str {
    match name {
        "wall" => "time",
        "cpu" => "processor time",
        "peakRss" => "peak memory",
        "gpuMemory" => "memory of accelerators",
        "threads" => "threads",
        "dataWait" => "waiting for data",
        other => other,
    }
}

/// `1.5 s`, `12.3 MiB`.
fn amount(value: &Option<String>, unit: &str) -> String {
    let Some(text) = value else {
        return "–".into();
    };
    match (unit, text.parse::<f64>()) {
        ("B", Ok(bytes)) if bytes >= 1024.0 * 1024.0 => {
            format!("{:.1} MiB", bytes / 1024.0 / 1024.0)
        }
        ("B", Ok(bytes)) => format!("{:.1} KiB", bytes / 1024.0),
        _ => format!("{text} {unit}").trim_end().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_limit_that_nothing_enforces_is_not_green() {
        let mut value: Value = serde_json::from_slice(include_bytes!("golden/full.json")).unwrap();
        value["resources"] = json!([
            {"stage": "train", "quantity": "limit.cpus", "bound": "4096", "ok": true, "method": "requested-not-enforced"},
            {"stage": "train", "quantity": "dataWait", "unit": "s", "base": "1", "now": "2", "ok": true}]);
        let report = Report::parse(value.to_string().as_bytes()).unwrap();
        let model = model(&report, &Surroundings::of("m"));
        let (limit, wait) = (&model["resources"][0], &model["resources"][1]);
        assert_eq!(
            (&limit["tone"], &limit["word"]),
            (&json!("warn"), &json!("not enforced"))
        );
        assert_eq!(
            (&wait["tone"], &wait["quantity"]),
            (&json!("ok"), &json!("waiting for data"))
        );
    }

    #[test]
    fn a_metric_tells_its_step_and_what_a_difference_stands_for() {
        let mut report = Report::parse(include_bytes!("golden/full.json")).unwrap();
        let step =
            |report: &Report| model(report, &Surroundings::of("m"))["metrics"][0]["step"].clone();
        assert_eq!(step(&report), "8 predictions of 0.001 each");
        report.metrics[0].changed = Some(0);
        assert_eq!(step(&report), "steps of 0.001");
        report.metrics[0].quantum = None;
        assert_eq!(step(&report), Value::Null);
    }
}
