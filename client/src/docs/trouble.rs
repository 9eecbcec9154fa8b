//! `TROUBLESHOOTING.md`: from what one sees to what mends it.
//!
//! Invariant: the same catalogue and rules that reports use; nothing is written here a second time.

use super::page::{code, head, plain, table};
use crate::report::RULES;
use sealstone_spec::recipe::{Code, Severity};
use sealstone_spec::report::CATALOGUE;

pub(super) fn text() -> String {
    let mut text = head(
        "When a replay does not reproduce",
        "Begin with the verdict, then the rule at the first divergence, then the causes that the report names (`ND-..`).",
    );
    text.push_str("\n## Verdicts\n\n");
    let verdicts = [
        ("REPRODUCED", "0", "nothing to do"),
        (
            "REPRODUCED_WITH_WARNINGS",
            "0, with `--strict` 1",
            "read the warnings: they are drift that did not matter yet",
        ),
        (
            "DIVERGED",
            "2",
            "look at the first divergence; `sealstone replay REF --isolated --twice` tells whose fault it is",
        ),
        (
            "HALTED",
            "3",
            "nothing was run: bytes or signatures are wrong. Do not use the bundle; see `.sealstone/incidents`",
        ),
        (
            "ERROR",
            "4",
            "a stage failed twice, or the machine did: its log says why",
        ),
        (
            "INCONCLUSIVE",
            "5",
            "another environment or less isolation than demanded, or something unmeasured: it is no pass",
        ),
        (
            "denied",
            "6",
            "the policy refuses the bundle: `sealstone policy eval POLICY REF` says which rule",
        ),
    ];
    let rows: Vec<Vec<String>> = verdicts
        .iter()
        .map(|(verdict, code, what)| {
            vec![
                format!("`{verdict}`"),
                (*code).to_owned(),
                (*what).to_owned(),
            ]
        })
        .collect();
    text.push_str(&table(&["verdict", "exit code", "what to do"], &rows));
    text.push_str("\n## Rules\n\n");
    let rows: Vec<Vec<String>> = RULES
        .iter()
        .map(|rule| vec![plain(rule.id), code(rule.name), plain(rule.text)])
        .collect();
    text.push_str(&table(&["rule", "name", "means"], &rows));
    text.push_str("\n## Causes\n");
    for hint in &CATALOGUE {
        text.push_str(&format!(
            "\n### {}: {}\n\n- **Symptom:** {}\n- **Detector:** {}\n- **Fix:** {}\n",
            hint.id,
            plain(hint.title),
            plain(hint.symptom),
            plain(hint.check),
            plain(hint.fix)
        ));
    }
    text.push_str("\n## Findings of lint\n\n");
    let rows: Vec<Vec<String>> = Code::ALL
        .iter()
        .map(|code| {
            let weight = match code.severity() {
                Severity::Error => "error",
                Severity::Warning => "warning",
            };
            vec![plain(code.as_str()), weight.to_owned(), plain(code.title())]
        })
        .collect();
    text.push_str(&table(&["code", "is", "about"], &rows));
    text
}
