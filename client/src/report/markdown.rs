//! The one comment in a pull request: verdict, what changed, where it began; everything else folded away.
//!
//! Invariant: whatever makes a replay fail has a row, before all rows of what does not, or is counted as one more.

use super::Surroundings;
use super::advice::next_step;
use super::escape::{clean, markdown as text};
use super::problems::{Level, Table, problems};
use sealstone_spec::report::{Report, StageStatus, Verdict, hint};
use std::cmp::Reverse;
use std::fmt::Write as _;

/// The start of the hidden line by which a comment is found again and replaced. Where several reports make one, whoever
/// puts them together begins it with a line of his own that starts so.
pub const MARKER: &str = "<!-- sealstone-replay";
/// Rows that are shown.
const MAX_ROWS: usize = 10;
/// Rows of a folded table.
const MAX_FOLDED: usize = 100;
/// Three scopes of one commit are one comment, and hosts refuse what is longer: GitHub 65,536 characters. The page and the
/// report hold the rest.
const MAX_CHARS: usize = 20_000;

/// The report as Markdown.
pub fn markdown(report: &Report, around: &Surroundings) -> String {
    let name = report
        .baseline
        .id
        .split([':', '~'])
        .next()
        .unwrap_or("model");
    let name: String = name
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "._/-".contains(*c))
        .take(80)
        .collect();
    let mut page = format!("{MARKER} {} -->\n", name.replace("--", "-"));
    let mark = match report.verdict {
        Verdict::Reproduced => "✅",
        Verdict::ReproducedWithWarnings => "⚠️",
        Verdict::Inconclusive => "❔",
        Verdict::Diverged => "❌",
        _ => "🛑",
    };
    let _ = writeln!(
        page,
        "### {mark} {} — {}\n",
        report.verdict,
        text(&report.baseline.id)
    );
    let class = match report.class.achieved {
        Some(achieved) => format!(
            "**{}** reached, {} demanded",
            text(achieved.as_str()),
            text(report.class.required.as_str())
        ),
        None => format!(
            "{} demanded, nothing compared",
            text(report.class.required.as_str())
        ),
    };
    let isolation = match report.isolation.achieved {
        Some(achieved) => format!("isolation {achieved}"),
        None => format!(
            "no stage ran, isolation {} demanded",
            report.isolation.required
        ),
    };
    let _ = writeln!(page, "{class} · scope {} · {isolation}", report.scope);
    changed(&mut page, report);
    first(&mut page, report);
    let (why, command) = next_step(report, around);
    let _ = writeln!(
        page,
        "\n**Next:** {}\n\n```sh\n{}\n```",
        text(&why),
        clean(&command, 300).replace('`', "'")
    );
    folded(&mut page, report);
    let link = around.page.as_deref().filter(|link| is_link(link));
    let link = link.map(|link| format!("\n[The whole report]({link})\n"));
    let link = link.unwrap_or_default();
    let room = MAX_CHARS - link.chars().count();
    if page.chars().count() > room {
        page = cut(&page, room);
    }
    page.push_str(&link);
    page
}

/// As many whole lines as fit. What was opened is closed, or it would swallow the report that comes after.
fn cut(page: &str, room: usize) -> String {
    let mut kept = String::new();
    let mut left = room - 60;
    for line in page.lines() {
        let length = line.chars().count() + 1;
        if length > left {
            break;
        }
        left -= length;
        kept.push_str(line);
        kept.push('\n');
    }
    let count = |mark: &str| kept.lines().filter(|line| line.starts_with(mark)).count();
    let (is_code, is_folded) = (
        count("```") % 2 == 1,
        count("<details>") > count("</details>"),
    );
    if is_code {
        kept.push_str("```\n");
    }
    if is_folded {
        kept.push_str("\n</details>\n");
    }
    kept.push_str("\n… (cut)\n");
    kept
}

fn changed(page: &mut String, report: &Report) {
    let mut rows: Vec<(Level, [String; 4])> = Vec::new();
    for metric in report.metrics.iter().filter(|row| {
        !row.ok || row.undecided || row.delta.as_deref().is_some_and(|delta| delta != "0")
    }) {
        let (level, mark) = match (metric.ok, metric.undecided || metric.now.is_none()) {
            (_, true) => (Level::Error, "**undecided**"),
            (true, _) => (Level::Note, "ok"),
            _ => (Level::Error, "**failed**"),
        };
        let value = |value: &Option<String>| text(value.as_deref().unwrap_or("–"));
        let cells = [
            format!("metric {}", text(&metric.name)),
            value(&metric.base),
            value(&metric.now),
            mark.into(),
        ];
        rows.push((level, cells));
    }
    for stage in &report.stages {
        if stage.status == StageStatus::Error {
            let cells = [
                format!("stage {}", text(&stage.name)),
                "ends well".into(),
                text(stage.note.as_deref().unwrap_or("did not end well")),
                "**error**".into(),
            ];
            rows.push((Level::Error, cells));
        }
        for row in stage
            .artifacts
            .iter()
            .filter(|row| !row.ok || row.base != row.now)
        {
            let class = row
                .class
                .map_or("missing".to_owned(), |class| class.to_string());
            let (level, mark) = match (row.ok, stage.status) {
                (true, _) => (Level::Note, "ok"),
                (false, StageStatus::Inherited) => (Level::Warning, "inherited"),
                (false, StageStatus::Origin) => (Level::Error, "**origin**"),
                _ => (Level::Error, "**failed**"),
            };
            let cells = [
                format!("{} · {}", text(&stage.name), text(&row.path)),
                text(row.required.as_str()),
                text(&class),
                mark.into(),
            ];
            rows.push((level, cells));
        }
    }
    for test in report.tests.iter().filter(|test| !test.ok) {
        let (now, mark) = match test.undecided {
            true => ("could not be made", "**undecided**"),
            false => ("does not hold", "**failed**"),
        };
        let cells = [
            format!("test {}", text(&test.id)),
            "holds".into(),
            text(test.note.as_deref().unwrap_or(now)),
            mark.into(),
        ];
        rows.push((Level::Error, cells));
    }
    // Whatever fails and has no row yet gets one: under a verdict that fails, a comment in which everything is fine would
    // be believed. Of what does not fail, some kinds.
    let shown = ["RB001", "RB005", "RB006", "RB007", "RB008", "RB030"];
    for problem in &problems(report) {
        let has_row = matches!(
            problem.table,
            Some(Table::Stages | Table::Artifacts | Table::Metrics | Table::Tests)
        );
        if has_row || (problem.level < Level::Error && !shown.contains(&problem.rule.id)) {
            continue;
        }
        let mark = match (problem.level, problem.rule.id) {
            (Level::Error, "RB008" | "RB011") => "**undecided**",
            (Level::Error, _) => "**error**",
            _ => "warning",
        };
        let cells = [
            text(problem.rule.name),
            String::new(),
            text(&problem.message),
            mark.into(),
        ];
        rows.push((problem.level, cells));
    }
    // What changed without harm is what a reviewer wants to know as well.
    let harmless = report
        .reasons
        .iter()
        .filter(|reason| reason.verdict <= Verdict::ReproducedWithWarnings);
    for reason in harmless {
        if ["drift", "docs", "undeclared-output"].contains(&reason.code.as_str()) {
            let cells = [
                format!("{} {}", text(&reason.code), text(&reason.subject)),
                String::new(),
                text(&reason.text),
                "warning".into(),
            ];
            rows.push((Level::Warning, cells));
        }
    }
    if rows.is_empty() {
        let _ = writeln!(page, "\nNothing changed.");
        return;
    }
    rows.sort_by_key(|(level, _)| Reverse(*level));
    page.push_str("\n| what | baseline | now | |\n| --- | --- | --- | --- |\n");
    for (_, [what, base, now, mark]) in rows.iter().take(MAX_ROWS) {
        let _ = writeln!(page, "| {what} | {base} | {now} | {mark} |");
    }
    if rows.len() > MAX_ROWS {
        let _ = writeln!(page, "\n… and {} more rows", rows.len() - MAX_ROWS);
    }
}

fn first(page: &mut String, report: &Report) {
    let Some(first) = report
        .first_divergence
        .as_ref()
        .filter(|first| !first.tolerated)
    else {
        return;
    };
    let mut parts = vec![format!("stage **{}**", text(&first.stage))];
    parts.extend(first.artifact.iter().map(|path| text(path)));
    parts.extend(
        first
            .locator
            .iter()
            .map(|place| format!("at {}", text(place))),
    );
    let _ = writeln!(page, "\n**First divergence:** {}", parts.join(", "));
    if let Some(attribution) = report.attribution {
        let because: Vec<String> = report
            .evidence
            .iter()
            .take(3)
            .map(|finding| text(&finding.text))
            .collect();
        let _ = writeln!(
            page,
            "Put down to **{attribution}**: {}",
            because.join("; ")
        );
    }
    for entry in first.hints.iter().filter_map(|id| hint(id)).take(2) {
        let _ = writeln!(
            page,
            "- {} {}: {}",
            entry.id,
            text(entry.title),
            text(entry.check)
        );
    }
}

fn folded(page: &mut String, report: &Report) {
    if !report.environment.diff.is_empty() {
        let _ = writeln!(
            page,
            "\n<details><summary>Environment: {} facts differ</summary>\n\n| fact | baseline | here | level |\n| --- | --- | --- | --- |",
            report.environment.diff.len()
        );
        for row in report.environment.diff.iter().take(MAX_FOLDED) {
            let value = |value: &Option<String>| text(value.as_deref().unwrap_or("–"));
            let _ = writeln!(
                page,
                "| {} | {} | {} | {} |",
                text(&row.fact),
                value(&row.base),
                value(&row.now),
                row.level
            );
        }
        page.push_str("\n</details>\n");
    }
    page.push_str(
        "\n<details><summary>Stages</summary>\n\n| stage | status | took |\n| --- | --- | --- |\n",
    );
    for stage in report.stages.iter().take(MAX_FOLDED) {
        let wall = report
            .resources
            .iter()
            .find(|row| row.stage == stage.name && row.quantity == "wall");
        let took = wall
            .and_then(|row| row.now.clone())
            .map(|seconds| format!("{seconds} s"))
            .unwrap_or_default();
        let _ = writeln!(
            page,
            "| {} | {} | {} |",
            text(&stage.name),
            stage.status.as_str(),
            text(&took)
        );
    }
    page.push_str("\n</details>\n");
}

/// Only addresses that no renderer takes for anything else.
fn is_link(link: &str) -> bool {
    (link.starts_with("https://") || link.starts_with("http://"))
        && link.len() < 2000
        && !link.contains(|c: char| c.is_whitespace() || c.is_control() || "()<>[]\"'".contains(c))
}
