//! SARIF 2.1.0: findings at lines of the recipe, for code scanning.
//!
//! Locations are paths in the repository and never addresses; the fingerprint holds no values, so that the
//! same finding stays the same alert from run to run.

use super::Surroundings;
use super::problems::{Level, RULES, problems};
use sealstone_spec::report::Report;
use serde_json::{Value, json};

/// Most results that viewers show.
const MAX_RESULTS: usize = 5000;

/// The report as SARIF.
pub fn sarif(report: &Report, around: &Surroundings) -> String {
    let rules: Vec<Value> = RULES
        .iter()
        .map(|rule| {
            json!({"id": rule.id, "name": rule.name, "shortDescription": {"text": rule.name.replace('-', " ")},
                "fullDescription": {"text": rule.text}})
        })
        .collect();
    let found = problems(report);
    let results: Vec<Value> = found
        .iter()
        .take(MAX_RESULTS)
        .map(|problem| {
            let index = RULES.iter().position(|rule| rule.id == problem.rule.id);
            let level = match problem.level {
                Level::Error => "error",
                Level::Warning => "warning",
                Level::Note => "note",
            };
            let name = [&problem.stage, &problem.subject, &problem.locator].map(String::as_str).join("/");
            json!({
                "ruleId": problem.rule.id,
                "ruleIndex": index,
                "level": level,
                "message": {"text": problem.message},
                "locations": [{
                    "physicalLocation": {
                        "artifactLocation": {"uri": uri(&around.recipe_path), "uriBaseId": "%SRCROOT%"},
                        "region": {"startLine": problem.line.unwrap_or(1).max(1)}
                    },
                    "logicalLocations": [{"name": problem.subject, "fullyQualifiedName": name}]
                }],
                "partialFingerprints": {"sealstoneReplay/v1": problem.fingerprint()}
            })
        })
        .collect();
    let failed = !report.verdict.is_reproduced();
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "sealstone replay", "semanticVersion": report.builder.version, "informationUri": "https://sealstone.dev", "rules": rules}},
            "automationDetails": {"id": format!("sealstone/replay/{}/", report.scope)},
            "columnKind": "unicodeCodePoints",
            "invocations": [{"executionSuccessful": true, "exitCode": report.verdict.exit_code(false),
                "startTimeUtc": report.started_on, "endTimeUtc": report.finished_on}],
            "properties": {"verdict": report.verdict.as_str(), "failed": failed, "baseline": report.baseline.id},
            "results": results
        }]
    });
    let mut text = serde_json::to_string_pretty(&log).expect("made of text and numbers");
    text.push('\n');
    text
}

/// A relative path as a URI reference.
fn uri(path: &str) -> String {
    let path = if path.is_empty() { "recipe.toml" } else { path };
    let mut uri = String::new();
    for byte in path.trim_start_matches('/').bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => {
                uri.push(char::from(byte))
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}
