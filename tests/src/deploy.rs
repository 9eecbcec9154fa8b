//! The files in `deploy/` against the server that they are for.
//!
//! Owns the comparison of names: an alert on a metric that does not exist never fires, and nobody notices. What starts
//! the server is compared in `services`.

mod services;

use std::fs;
use std::path::PathBuf;

/// A path in `deploy/`.
fn at(path: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "deploy", path]
        .iter()
        .collect()
}

fn read(file: &str) -> String {
    let path = at(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::read;
    use sealstone_registry::metrics::{Metrics, NamespaceLabel, RequestLabels, RouteLabel};
    use std::collections::BTreeSet;

    const FILES: [&str; 3] = [
        "prometheus/alerts.yaml",
        "prometheus/alerts-test.yaml",
        "grafana/sealstone.json",
    ];

    /// Everything in `text` that reads like the name of one of our metrics.
    fn metric_names(text: &str) -> BTreeSet<&str> {
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        text.split(|c| !is_name(c))
            .filter(|word| word.starts_with("sealstone_"))
            .collect()
    }

    /// One sample of every metric, as the server shows them.
    fn rendered() -> String {
        let metrics = Metrics::default();
        let request = RequestLabels {
            method: "GET".into(),
            route: "manifest",
            status: 200,
        };
        metrics.requests.get_or_create(&request).inc();
        metrics
            .request_seconds
            .get_or_create(&RouteLabel { route: "manifest" })
            .observe(0.1);
        let namespace = NamespaceLabel::of("team-a");
        for quota in [
            &metrics.quota_bytes,
            &metrics.quota_used_bytes,
            &metrics.quota_objects,
            &metrics.quota_used_objects,
        ] {
            quota.get_or_create(&namespace).set(1);
        }
        metrics.quota_refusals.get_or_create(&namespace).inc();
        metrics.render()
    }

    #[test]
    fn alerts_and_dashboard_use_metrics_that_exist() {
        let rendered = rendered();
        let lines = rendered.lines().filter(|line| !line.starts_with('#'));
        let known: BTreeSet<&str> = lines
            .flat_map(|line| line.split(['{', ' ']).next())
            .collect();
        for file in FILES {
            let text = read(file);
            let used = metric_names(&text);
            assert!(!used.is_empty(), "{file} uses no metric");
            let unknown: Vec<_> = used.difference(&known).collect();
            assert!(
                unknown.is_empty(),
                "{file} uses {unknown:?}, the server has {known:#?}"
            );
        }
    }

    #[test]
    fn the_dashboard_shows_every_metric() {
        let rendered = rendered();
        let dashboard = read("grafana/sealstone.json");
        for line in rendered
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
        {
            let name = line.split(' ').next().unwrap();
            assert!(dashboard.contains(name), "no panel shows {name}");
        }
    }

    #[test]
    fn each_panel_shows_the_chosen_instances() {
        let dashboard: serde_json::Value =
            serde_json::from_str(&read("grafana/sealstone.json")).unwrap();
        let mut asked = 0;
        for panel in dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let expression = target["expr"].as_str().unwrap();
                assert!(
                    expression.contains("{instance=~\"$instance\""),
                    "{}: {expression}",
                    panel["title"]
                );
                asked += 1;
            }
        }
        assert!(asked > 20, "{asked}");
    }
}
