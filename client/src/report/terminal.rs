//! The end of a replay on a terminal: what became of each stage, where it began, what to type next.
//!
//! Invariant: whatever makes a replay fail has a line. No line is wider than [`WIDTH`] characters, and without colour
//! there is no escape code. No line is a command to a build server.

use super::Surroundings;
use super::advice::next_step;
use super::escape::{clean, defused};
use super::problems::{Level, Problem, Table, problems};
use sealstone_spec::report::{
    ArtifactRow, FactRow, MetricRow, Report, StageRow, StageStatus, Verdict, hint,
};

/// Columns that are used at most.
const WIDTH: usize = 120;
/// Rows of each table that are shown.
const MAX_SHOWN: usize = 40;

/// The report as text, with colours if asked for.
pub fn terminal(report: &Report, around: &Surroundings, colour: bool) -> String {
    let mut page = Page {
        colour,
        lines: Vec::new(),
    };
    page.head(report);
    page.stages(report);
    page.metrics(report);
    page.tests(report);
    page.facts(report);
    page.first(report);
    page.others(report);
    page.end(report, around);
    let lines: Vec<String> = page.lines.iter().map(|line| defused(line)).collect();
    lines.join("\n")
}

struct Page {
    colour: bool,
    lines: Vec<String>,
}

#[derive(Clone, Copy)]
enum Ink {
    Plain,
    Bold,
    Faint,
    Green,
    Yellow,
    Red,
    Blue,
}

struct Cell(String, Ink);

impl Cell {
    fn plain(text: &str) -> Cell {
        Cell(text.to_owned(), Ink::Plain)
    }
}

impl Page {
    fn paint(&self, text: &str, ink: Ink) -> String {
        let code = match ink {
            Ink::Plain => return text.to_owned(),
            Ink::Bold => "1",
            Ink::Faint => "2",
            Ink::Green => "32",
            Ink::Yellow => "33",
            Ink::Red => "1;31",
            Ink::Blue => "36",
        };
        match self.colour {
            true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }

    fn line(&mut self, text: &str, ink: Ink) {
        let shown = clean(text, WIDTH);
        let painted = self.paint(&shown, ink);
        self.lines.push(painted);
    }

    fn title(&mut self, text: &str) {
        self.lines.push(String::new());
        self.line(text, Ink::Bold);
    }

    /// Cells under each other. The last column takes what is left of the line.
    fn table(&mut self, head: &[&str], rows: &[Vec<Cell>]) {
        const LONGEST: usize = 44;
        let columns = head.len();
        let mut widths: Vec<usize> = head.iter().map(|text| text.chars().count()).collect();
        let shown: Vec<Vec<Cell>> = rows
            .iter()
            .take(MAX_SHOWN)
            .map(|row| {
                let longest = |index| if index + 1 == columns { WIDTH } else { LONGEST };
                row.iter()
                    .enumerate()
                    .map(|(index, cell)| Cell(clean(&cell.0, longest(index)), cell.1))
                    .collect()
            })
            .collect();
        for row in &shown {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.0.chars().count());
            }
        }
        let header: Vec<Cell> = head
            .iter()
            .map(|text| Cell((*text).to_owned(), Ink::Faint))
            .collect();
        for row in std::iter::once(&header).chain(&shown) {
            let mut used = 2;
            let mut line = String::from("  ");
            for (index, cell) in row.iter().enumerate() {
                let room = WIDTH.saturating_sub(used);
                let text = clean(&cell.0, room);
                let length = text.chars().count();
                line.push_str(&self.paint(&text, cell.1));
                if index + 1 < columns {
                    let gap = (widths[index] + 2)
                        .saturating_sub(length)
                        .min(room - length);
                    line.push_str(&" ".repeat(gap));
                    used += length + gap;
                }
            }
            self.lines.push(line.trim_end().to_owned());
        }
        if rows.len() > MAX_SHOWN {
            self.line(
                &format!("  … and {} more", rows.len() - MAX_SHOWN),
                Ink::Faint,
            );
        }
    }

    fn head(&mut self, report: &Report) {
        let how = match (report.mode.chained, report.mode.isolated) {
            (_, true) => "isolated",
            _ => "chained",
        };
        let runs = if report.mode.runs > 1 { ", twice" } else { "" };
        let title = format!("replay of {}", report.baseline.id);
        self.line(&title, Ink::Bold);
        let isolation = match report.isolation.achieved {
            Some(level) => format!("isolation {level} ({})", level.promise()),
            None => format!("isolation {} demanded", report.isolation.required),
        };
        self.line(&format!("  {}", report.baseline.digest.0), Ink::Faint);
        self.line(
            &format!("  scope {}, {how}{runs}; {isolation}", report.scope),
            Ink::Faint,
        );
    }

    fn stages(&mut self, report: &Report) {
        if report.stages.is_empty() {
            return;
        }
        self.lines.push(String::new());
        let rows: Vec<Vec<Cell>> = report.stages.iter().map(stage_cells).collect();
        self.table(&["stage", "status", "class", "Δ"], &rows);
    }

    fn metrics(&mut self, report: &Report) {
        if report.metrics.is_empty() {
            return;
        }
        self.lines.push(String::new());
        let rows: Vec<Vec<Cell>> = report.metrics.iter().map(metric_cells).collect();
        self.table(&["metric", "baseline", "now", "Δ", "tolerated", ""], &rows);
    }

    fn tests(&mut self, report: &Report) {
        if report.tests.is_empty() {
            return;
        }
        self.lines.push(String::new());
        let rows: Vec<Vec<Cell>> = report
            .tests
            .iter()
            .map(|test| {
                let (word, ink) = match (test.ok, test.undecided) {
                    (true, _) => ("ok", Ink::Green),
                    (false, true) => ("undecided", Ink::Yellow),
                    (false, false) => ("FAILED", Ink::Red),
                };
                let took = test
                    .duration_ms
                    .map(|ms| format!("{ms} ms"))
                    .unwrap_or_default();
                vec![
                    Cell::plain(&test.id),
                    Cell(word.into(), ink),
                    Cell(took, Ink::Faint),
                    Cell::plain(test.note.as_deref().unwrap_or_default()),
                ]
            })
            .collect();
        self.table(&["test", "", "", ""], &rows);
    }

    fn facts(&mut self, report: &Report) {
        let rows: Vec<Vec<Cell>> = facts_that_count(report)
            .map(|row| {
                let (word, ink) = match (row.level.as_str(), &row.exception) {
                    ("M", None) => ("must match", Ink::Red),
                    ("M", Some(_)) => ("waived", Ink::Yellow),
                    _ => ("warning", Ink::Yellow),
                };
                let value = |value: &Option<String>| clean(value.as_deref().unwrap_or("–"), 34);
                vec![
                    Cell::plain(&row.fact),
                    Cell(word.into(), ink),
                    Cell::plain(&value(&row.base)),
                    Cell::plain(&value(&row.now)),
                ]
            })
            .collect();
        if !rows.is_empty() {
            self.lines.push(String::new());
            self.table(&["environment", "", "baseline", "here"], &rows);
        }
    }

    fn first(&mut self, report: &Report) {
        let Some(first) = &report.first_divergence else {
            return;
        };
        self.title(if first.tolerated {
            "First difference (tolerated)"
        } else {
            "First divergence"
        });
        let stage = report.stages.iter().find(|row| row.name == first.stage);
        let changes = stage.map(|row| row.changes.join(", ")).unwrap_or_default();
        let cause = match changes.is_empty() {
            true => first.cause.as_str().to_owned(),
            false => format!("{}: {changes}", first.cause.as_str()),
        };
        self.pair("stage", &format!("{}  {cause}", first.stage));
        if let Some(artifact) = &first.artifact {
            self.pair("artifact", artifact);
        }
        if let Some(locator) = &first.locator {
            let values = match (&first.base, &first.now) {
                (Some(base), Some(now)) => format!("   {} → {}", clean(base, 30), clean(now, 30)),
                _ => String::new(),
            };
            self.pair("at", &format!("{}{values}", clean(locator, 50)));
        }
        if let Some(trace) = &first.trace {
            let values = match (&trace.base, &trace.now) {
                (Some(base), Some(now)) => format!("   {} → {}", clean(base, 24), clean(now, 24)),
                _ => String::new(),
            };
            self.pair(
                "training",
                &format!("step {}, column {}{values}", trace.step, trace.column),
            );
        }
        if let Some(attribution) = report.attribution {
            self.pair("put down to", attribution.as_str());
            for finding in &report.evidence {
                self.pair("", &format!("{}: {}", finding.points_at, finding.text));
            }
        }
        for (index, entry) in first
            .hints
            .iter()
            .filter_map(|id| hint(id))
            .take(3)
            .enumerate()
        {
            let name = if index == 0 { "look at" } else { "" };
            self.pair(
                name,
                &format!("{} {}: {}", entry.id, entry.title, entry.check),
            );
        }
    }

    fn pair(&mut self, name: &str, text: &str) {
        let room = WIDTH - 15;
        for (index, part) in wrap(text, room).into_iter().enumerate() {
            let name = if index == 0 { name } else { "" };
            let name = self.paint(&format!("{name:<12}"), Ink::Faint);
            self.lines.push(format!("  {name} {part}"));
        }
    }

    /// Problems that stand in no table above: all that fail, and some kinds of others.
    fn others(&mut self, report: &Report) {
        let shown = [
            "RB001", "RB005", "RB006", "RB007", "RB008", "RB030", "RB040",
        ];
        let rows: Vec<(Level, String)> = problems(report)
            .into_iter()
            .filter(|problem| problem.level == Level::Error || shown.contains(&problem.rule.id))
            .filter(|problem| !stands_above(report, problem))
            .map(|problem| (problem.level, problem.message))
            .collect();
        if rows.is_empty() {
            return;
        }
        self.lines.push(String::new());
        for (level, message) in rows.iter().take(MAX_SHOWN) {
            let (word, ink) = match level {
                Level::Error => ("error", Ink::Red),
                Level::Warning => ("warning", Ink::Yellow),
                Level::Note => ("note", Ink::Blue),
            };
            for (index, part) in wrap(message, WIDTH - 11).into_iter().enumerate() {
                let word = self.paint(&format!("{:<7}", if index == 0 { word } else { "" }), ink);
                self.lines.push(format!("  {word}  {part}"));
            }
        }
        if rows.len() > MAX_SHOWN {
            self.line(
                &format!("  … and {} more", rows.len() - MAX_SHOWN),
                Ink::Faint,
            );
        }
    }

    fn end(&mut self, report: &Report, around: &Surroundings) {
        self.lines.push(String::new());
        let ink = match report.verdict {
            Verdict::Reproduced => Ink::Green,
            Verdict::ReproducedWithWarnings | Verdict::Inconclusive => Ink::Yellow,
            _ => Ink::Red,
        };
        let class = match report.class.achieved {
            Some(achieved) => format!("{achieved} reached, {} demanded", report.class.required),
            None => format!("{} demanded, nothing compared", report.class.required),
        };
        let seconds: f64 = report
            .timings
            .values()
            .filter_map(|text| text.parse::<f64>().ok())
            // The sum of nothing is minus nothing, and would be shown so.
            .fold(0.0, |sum, part| sum + part);
        let word = self.paint(report.verdict.as_str(), ink);
        self.lines.push(format!("{word}  {class}; {seconds:.1} s"));
        let (why, command) = next_step(report, around);
        for part in wrap(&format!("next: {why}:"), WIDTH) {
            self.line(&part, Ink::Faint);
        }
        let command = self.paint(&clean(&command, 400), Ink::Blue);
        self.lines.push(format!("  {command}"));
    }
}

/// The facts that have a line.
fn facts_that_count(report: &Report) -> impl Iterator<Item = &FactRow> {
    let facts = report.environment.diff.iter();
    facts.filter(|row| row.level != "i")
}

/// The output by which a stage is shown.
fn worst_of(stage: &StageRow) -> Option<&ArtifactRow> {
    stage.artifacts.iter().min_by_key(|row| (row.ok, row.class))
}

/// Whether a line of a table says what a problem says. A stage's line names one of its outputs, and not why nothing can
/// be said of it; long tables are cut.
fn stands_above(report: &Report, problem: &Problem) -> bool {
    let subject = &problem.subject;
    match problem.table {
        Some(Table::Artifacts) => {
            let mut stages = report.stages.iter().take(MAX_SHOWN);
            let named = |stage: &StageRow| worst_of(stage).is_some_and(|row| row.path == *subject);
            problem.rule.id != "RB008"
                && stages.any(|stage| stage.name == problem.stage && named(stage))
        }
        Some(Table::Metrics) => {
            let mut metrics = report.metrics.iter().take(MAX_SHOWN);
            metrics.any(|row| row.name == *subject)
        }
        Some(Table::Tests) => {
            let mut tests = report.tests.iter().take(MAX_SHOWN);
            tests.any(|row| row.id == *subject)
        }
        Some(Table::Environment) => {
            let mut facts = facts_that_count(report).take(MAX_SHOWN);
            facts.any(|row| row.fact == *subject)
        }
        _ => false,
    }
}

fn stage_cells(stage: &StageRow) -> Vec<Cell> {
    let ink = match stage.status {
        StageStatus::Ok => Ink::Green,
        StageStatus::Skipped => Ink::Faint,
        StageStatus::Inherited => Ink::Yellow,
        _ => Ink::Red,
    };
    let worst = worst_of(stage);
    let class = match worst {
        Some(ArtifactRow {
            class: Some(class),
            required,
            ok: false,
            ..
        }) => format!("{class}, not {required}"),
        Some(ArtifactRow {
            class: Some(class), ..
        }) => class.to_string(),
        Some(ArtifactRow { now: None, .. }) => "missing".into(),
        _ => "–".into(),
    };
    let delta = match (worst, &stage.note) {
        (Some(row), _) if row.class != Some(sealstone_spec::compare::Class::BitExact) => {
            delta_of(row)
        }
        (_, Some(note)) => note.clone(),
        _ => String::new(),
    };
    vec![
        Cell::plain(&stage.name),
        Cell(stage.status.as_str().into(), ink),
        Cell(
            class,
            if worst.is_some_and(|row| !row.ok) {
                Ink::Red
            } else {
                Ink::Plain
            },
        ),
        Cell::plain(&delta),
    ]
}

fn delta_of(row: &ArtifactRow) -> String {
    let Some(detail) = &row.detail else {
        return row.path.clone();
    };
    let mut parts = vec![row.path.clone()];
    if let Some(first) = &detail.first {
        parts.push(format!("at {first}"));
    }
    match (&detail.observed, &detail.rule) {
        (Some(observed), Some(rule)) => parts.push(format!("{observed} ({rule})")),
        (Some(observed), None) => parts.push(observed.clone()),
        _ => {}
    }
    parts.join(" ")
}

fn metric_cells(row: &MetricRow) -> Vec<Cell> {
    let (word, ink) = match (row.ok, row.undecided || row.now.is_none()) {
        (_, true) => ("UNDECIDED", Ink::Yellow),
        (true, _) => ("ok", Ink::Green),
        (false, _) => ("FAILED", Ink::Red),
    };
    let rule: Vec<String> = row
        .rule
        .iter()
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    let rule = if rule.is_empty() {
        "exact".to_owned()
    } else {
        rule.join(", ")
    };
    let value =
        |value: &Option<String>| Cell(clean(value.as_deref().unwrap_or("–"), 22), Ink::Plain);
    vec![
        Cell::plain(&row.name),
        value(&row.base),
        value(&row.now),
        value(&row.delta),
        Cell(clean(&rule, 30), Ink::Faint),
        Cell(word.into(), ink),
    ]
}

/// Text in lines of at most `width` characters, broken at spaces where there are any.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let text = clean(text, width * 6);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        let length = line.chars().count();
        if length > 0 && length + 1 + word.len() > width {
            lines.push(std::mem::take(&mut line));
        }
        while word.len() > width {
            lines.push(word.drain(..width).collect());
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(word);
    }
    lines.push(line);
    lines
}
