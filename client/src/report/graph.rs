//! The graph of stages as inline SVG: layers from left to right, the origin marked in colour, in a frame and
//! in words, since colour alone says nothing to some readers.

use super::escape::{clean, xml};
use sealstone_spec::report::{Report, StageRow, StageStatus};
use std::fmt::Write as _;

const BOX: (usize, usize) = (196, 64);
const GAP: (usize, usize) = (64, 26);
const MARGIN: usize = 26;
/// More stages than this are drawn in no picture that anybody could read.
const MAX_STAGES: usize = 200;

/// The stages as SVG; empty if there are none, or too many.
pub(super) fn graph(report: &Report) -> String {
    let stages = &report.stages;
    if stages.is_empty() || stages.len() > MAX_STAGES {
        return String::new();
    }
    let places = layout(stages);
    let columns = places.iter().map(|place| place.0).max().unwrap_or(0) + 1;
    let rows = places.iter().map(|place| place.1).max().unwrap_or(0) + 1;
    let width = 2 * MARGIN + columns * BOX.0 + (columns - 1) * GAP.0;
    let height = 2 * MARGIN + rows * BOX.1 + (rows - 1) * GAP.1;
    let corner = |place: (usize, usize)| {
        (
            MARGIN + place.0 * (BOX.0 + GAP.0),
            MARGIN + place.1 * (BOX.1 + GAP.1),
        )
    };
    let mut svg = format!(
        "<svg class=\"graph\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" aria-label=\"stages and where the divergence began\">\n\
         <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" class=\"tip\"/></marker></defs>\n"
    );
    for (index, stage) in stages.iter().enumerate() {
        let to = corner(places[index]);
        for need in &stage.needs {
            let Some(other) = stages.iter().position(|other| other.name == *need) else {
                continue;
            };
            let from = corner(places[other]);
            let (x1, y1) = (from.0 + BOX.0, from.1 + BOX.1 / 2);
            let (x2, y2) = (to.0, to.1 + BOX.1 / 2);
            let bend = (x2.saturating_sub(x1) / 2).max(24);
            let spoiled = matches!(
                stages[other].status,
                StageStatus::Origin | StageStatus::Inherited
            ) && stage.status == StageStatus::Inherited;
            let class = if spoiled { "edge spoiled" } else { "edge" };
            // Past a column, a straight line would run behind the boxes between.
            let skips = places[index].0 > places[other].0 + 1;
            let dip = if skips { BOX.1 } else { 0 };
            let _ = writeln!(
                svg,
                "<path class=\"{class}\" d=\"M{x1} {y1}C{} {} {} {} {x2} {y2}\" marker-end=\"url(#tip)\"/>",
                x1 + bend,
                y1 + dip,
                x2.saturating_sub(bend),
                y2 + dip
            );
        }
    }
    for (index, stage) in stages.iter().enumerate() {
        node(&mut svg, report, stage, corner(places[index]));
    }
    svg.push_str("</svg>");
    svg
}

fn node(svg: &mut String, report: &Report, stage: &StageRow, (x, y): (usize, usize)) {
    let class = match stage.status {
        StageStatus::Ok => "ok",
        StageStatus::Skipped => "skipped",
        StageStatus::Inherited => "inherited",
        StageStatus::Origin => "origin",
        _ => "error",
    };
    let first = report
        .first_divergence
        .as_ref()
        .is_some_and(|first| first.stage == stage.name && !first.tolerated);
    let worst = stage.artifacts.iter().filter_map(|row| row.class).min();
    let below = match (stage.status, worst) {
        (StageStatus::Ok, Some(class)) => class.to_string(),
        (StageStatus::Origin, _) if !stage.changed.is_empty() => {
            format!("changed: {}", stage.changed.join(", "))
        }
        (StageStatus::Origin, _) => "same key, other output".into(),
        (StageStatus::Inherited, _) => "from the stage before".into(),
        (_, _) => stage.note.clone().unwrap_or_default(),
    };
    let _ = writeln!(
        svg,
        "<g class=\"node {class}\"><title>{}</title>\
         <rect x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" rx=\"10\"/>\
         <text class=\"name\" x=\"{}\" y=\"{}\">{}</text>\
         <text class=\"state\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\
         <text class=\"below\" x=\"{}\" y=\"{}\">{}</text></g>",
        xml(&clean(&stage.argv.join(" "), 200)),
        BOX.0,
        BOX.1,
        x + 14,
        y + 27,
        xml(&clean(&stage.name, 14)),
        x + BOX.0 - 12,
        y + 27,
        stage.status.as_str(),
        x + 14,
        y + 48,
        xml(&clean(&below, 27)),
    );
    if first {
        let _ = writeln!(
            svg,
            "<g class=\"mark\"><rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"14\"/><text x=\"{}\" y=\"{}\" text-anchor=\"middle\">began here</text></g>",
            x - 6,
            y - 6,
            BOX.0 + 12,
            BOX.1 + 12,
            x + BOX.0 / 2,
            y - 11,
        );
    }
}

/// Column and row of each stage: a column right of all that it needs; rows in the order of the list, near
/// the first need where that is free.
fn layout(stages: &[StageRow]) -> Vec<(usize, usize)> {
    let mut places: Vec<(usize, usize)> = Vec::with_capacity(stages.len());
    for (index, stage) in stages.iter().enumerate() {
        let needs: Vec<usize> = stage
            .needs
            .iter()
            .filter_map(|need| stages[..index].iter().position(|other| other.name == *need))
            .collect();
        let column = needs
            .iter()
            .map(|need| places[*need].0 + 1)
            .max()
            .unwrap_or(0);
        let wanted = needs.first().map_or(0, |need| places[*need].1);
        let taken = |row: usize| places.contains(&(column, row));
        let row = (wanted..).find(|row| !taken(*row)).unwrap_or(wanted);
        places.push((column, row));
    }
    places
}
