//! Figures as pictures: a metric on a line with the band that is tolerated, a resource beside the baseline's.

use super::escape::{clean, xml};
use sealstone_spec::report::{MetricRow, ResourceRow};

const WIDTH: f64 = 300.0;

/// A metric: the band of what is tolerated around the baseline, and where the value lies now. Empty if
/// there is nothing to place.
pub(super) fn metric(row: &MetricRow) -> String {
    let number = |text: &Option<String>| {
        text.as_deref()
            .and_then(|text| text.parse::<f64>().ok())
            .filter(|value| value.is_finite())
    };
    let (Some(base), Some(now)) = (number(&row.base), number(&row.now)) else {
        return String::new();
    };
    let half = tolerance(row, base);
    let delta = now - base;
    // The scale shows band and value both; with neither, anything around the baseline.
    let reach = half.max(delta.abs()).max(f64::MIN_POSITIVE) * 1.35;
    let x =
        |value: f64| (WIDTH / 2.0 + value / reach * (WIDTH / 2.0 - 8.0)).clamp(6.0, WIDTH - 6.0);
    let (left, right) = (x(-half), x(half));
    let class = if row.ok { "ok" } else { "bad" };
    format!(
        "<svg class=\"bar\" viewBox=\"0 0 {WIDTH} 34\" width=\"{WIDTH}\" height=\"34\" role=\"img\" aria-label=\"{}\">\
         <line class=\"axis\" x1=\"4\" y1=\"17\" x2=\"{}\" y2=\"17\"/>\
         <rect class=\"band\" x=\"{:.1}\" y=\"8\" width=\"{:.1}\" height=\"18\" rx=\"3\"/>\
         <line class=\"base\" x1=\"{:.1}\" y1=\"5\" x2=\"{:.1}\" y2=\"29\"/>\
         <circle class=\"{class}\" cx=\"{:.1}\" cy=\"17\" r=\"6\"/></svg>",
        xml(&clean(
            &format!("{}: {base} then, {now} now, {half} tolerated", row.name),
            200
        )),
        WIDTH - 4.0,
        left,
        (right - left).max(2.0),
        x(0.0),
        x(0.0),
        x(delta),
    )
}

/// Half the width of the band: what the rule says, `bound` first, since it is what was computed.
pub(super) fn tolerance(row: &MetricRow, base: f64) -> f64 {
    let rule = |name: &str| {
        row.rule
            .get(name)
            .and_then(|text| text.parse::<f64>().ok())
            .filter(|value| value.is_finite() && *value >= 0.0)
    };
    match rule("bound") {
        Some(bound) => bound,
        None => rule("abs").unwrap_or(0.0) + rule("rel").unwrap_or(0.0) * base.abs(),
    }
}

/// A resource: the baseline's bar, this replay's, and the bound. Nothing where the two are not compared.
pub(super) fn resource(row: &ResourceRow) -> String {
    let number = |text: &Option<String>| {
        text.as_deref()
            .and_then(|text| text.parse::<f64>().ok())
            .filter(|value| value.is_finite() && *value >= 0.0)
    };
    let (Some(base), Some(now), Some(_)) = (number(&row.base), number(&row.now), &row.ratio) else {
        return String::new();
    };
    let bound = number(&row.bound).map(|ratio| ratio * base);
    let most = base
        .max(now)
        .max(bound.unwrap_or(0.0))
        .max(f64::MIN_POSITIVE);
    let x = |value: f64| (value / most * (WIDTH - 12.0)).max(1.0);
    let class = if row.ok { "now" } else { "now bad" };
    let limit = bound.map_or(String::new(), |bound| {
        let place = x(bound);
        format!("<line class=\"limit\" x1=\"{place:.1}\" y1=\"2\" x2=\"{place:.1}\" y2=\"32\"/>")
    });
    format!(
        "<svg class=\"bar\" viewBox=\"0 0 {WIDTH} 34\" width=\"{WIDTH}\" height=\"34\" role=\"img\" aria-label=\"{}\">\
         <rect class=\"then\" x=\"0\" y=\"5\" width=\"{:.1}\" height=\"10\" rx=\"2\"/>\
         <rect class=\"{class}\" x=\"0\" y=\"18\" width=\"{:.1}\" height=\"10\" rx=\"2\"/>{limit}</svg>",
        xml(&clean(
            &format!("{} of {}: {base} then, {now} now", row.quantity, row.stage),
            200
        )),
        x(base),
        x(now),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn row(base: &str, now: &str, rule: &[(&str, &str)]) -> MetricRow {
        serde_json::from_value(
            serde_json::json!({"name": "m", "base": base, "now": now, "mode": "replay", "ok": true,
            "rule": rule.iter().copied().collect::<std::collections::BTreeMap<_, _>>()}),
        )
        .unwrap()
    }

    fn places(svg: &str) -> (f64, f64, f64) {
        let after = |text: &str, name: &str| -> f64 {
            let rest = &text[text.find(name).unwrap() + name.len()..];
            rest.split('"').next().unwrap().parse().unwrap()
        };
        let band = &svg[svg.find("class=\"band\"").unwrap()..];
        let left = after(band, "x=\"");
        (left, left + after(band, "width=\""), after(svg, "cx=\""))
    }

    #[test]
    fn a_value_within_its_tolerance_lies_in_the_band() {
        let (left, right, place) = places(&metric(&row("0.91", "0.9105", &[("abs", "1e-3")])));
        assert!(left < place && place < right);
        let (left, right, place) = places(&metric(&row("0.91", "0.95", &[("abs", "1e-3")])));
        assert!(left < right && place > right);
        assert_eq!(metric(&row("0.91", "NaN", &[])), "");
        assert_eq!(
            tolerance(&row("2", "2", &[("rel", "0.1"), ("abs", "1")]), 2.0),
            1.2
        );
        assert_eq!(
            tolerance(&row("2", "2", &[("bound", "0.3"), ("abs", "1")]), 2.0),
            0.3
        );
    }

    proptest! {
        #[test]
        fn places_stay_in_the_picture(base in any::<f64>(), now in any::<f64>(), abs in 0.0f64..1e300) {
            let svg = metric(&row(&base.to_string(), &now.to_string(), &[("abs", &abs.to_string())]));
            if !svg.is_empty() {
                let (left, right, place) = places(&svg);
                for value in [left, right, place] {
                    prop_assert!((0.0..=WIDTH + 2.0).contains(&value), "{svg}");
                }
            }
        }
    }
}
