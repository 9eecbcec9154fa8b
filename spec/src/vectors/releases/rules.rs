//! Rules that ask what was said: another builder, a suite that failed, a reproduction that does not count.

use super::people::{changed_policy, ci, evaluator};
use super::release::{
    REPORT, bom, by, good, provenance, report, reproduction, said, tests, waived,
};
use super::row::Expected::Denied;
use super::row::{Row, row};
use crate::digest::Digest;
use crate::fixtures::ed25519;
use crate::statement::predicate;
use serde_json::{Value, json};

/// Rules that ask what was said.
pub(super) fn rows() -> Vec<Row> {
    let built = |change: &dyn Fn(&mut Value)| {
        let mut predicate = provenance();
        change(&mut predicate);
        by(&ci(), &said(predicate::SLSA_PROVENANCE, predicate))
    };
    let late = "2027-01-12T00:00:00Z";
    let mut short = bom();
    short["components"].as_array_mut().unwrap().pop();
    vec![
        row(
            "another builder",
            good().replaced(
                "provenance",
                built(&|p| p["runDetails"]["builder"]["id"] = json!("https://laptop.example")),
            ),
            Denied("builder https://laptop.example is not allowed"),
        ),
        row(
            "another build type",
            good().replaced(
                "provenance",
                built(&|p| p["buildDefinition"]["buildType"] = json!("https://x.example")),
            ),
            Denied("build type https://x.example is not allowed"),
        ),
        row(
            "a second source beside the allowed one",
            good().replaced(
                "provenance",
                built(&|p| {
                    let other = json!({"name": "helper", "uri": "git+https://evil.example/demo",
                        "digest": {"gitCommit": "d20ace79d20ace79d20ace79d20ace79d20ace79"}});
                    let list = &mut p["buildDefinition"]["resolvedDependencies"];
                    list.as_array_mut().unwrap().push(other);
                }),
            ),
            Denied("source git+https://evil.example/demo is not allowed"),
        ),
        row(
            "bill of materials that leaves a file out",
            good().replaced("bom", by(&ci(), &said(predicate::CYCLONEDX, short))),
            Denied("1 of the bundle's files are not in it"),
        ),
        row(
            "a suite that failed",
            good().replaced(
                "data",
                by(
                    &evaluator(),
                    &said(predicate::TEST_RESULT, tests("data", "FAILED")),
                ),
            ),
            Denied("suite data did not pass, says eve"),
        ),
        row(
            "a suite with warnings",
            good().replaced(
                "data",
                by(
                    &evaluator(),
                    &said(predicate::TEST_RESULT, tests("data", "WARNED")),
                ),
            ),
            Denied("suite data did not pass, says eve"),
        ),
        row(
            "a failure beside a success",
            good().with(
                "again",
                by(
                    &evaluator(),
                    &said(predicate::TEST_RESULT, tests("data", "FAILED")),
                ),
            ),
            Denied("suite data did not pass, says eve"),
        ),
        row(
            "a suite without a result",
            good().without("inference"),
            Denied("of suite inference there is no result"),
        ),
        row(
            "reproduced too loosely",
            good().replaced(
                "reproduction",
                reproduction(report("REPRODUCED", "statistical", "I4", late)),
            ),
            Denied("has class statistical only"),
        ),
        Row {
            policy: changed_policy("class = \"numeric\"", "class = \"statistical\""),
            ..row(
                "reproduced by metrics of the baseline's own files",
                good().replaced(
                    "reproduction",
                    reproduction({
                        let mut alone = report("REPRODUCED", "statistical", "I4", late);
                        alone["mode"] = json!({"chained": false, "isolated": true, "runs": 1});
                        alone
                    }),
                ),
                Denied("has class statistical by metrics of the baseline's own files"),
            )
        },
        row(
            "reproduced without isolation",
            good().replaced(
                "reproduction",
                reproduction(report("REPRODUCED", "bit_exact", "I1", late)),
            ),
            Denied("was isolated by I1 only"),
        ),
        row(
            "reproduced without a look at signatures",
            good().replaced("reproduction", reproduction(waived("insecure", late))),
            Denied("was made with something waived: insecure"),
        ),
        row(
            "reproduced within wider bounds",
            good().replaced("reproduction", reproduction(waived("tolerance", late))),
            Denied("was made with something waived: tolerance"),
        ),
        row(
            "not reproduced",
            good().replaced(
                "reproduction",
                reproduction(report("INCONCLUSIVE", "bit_exact", "I4", late)),
            ),
            Denied("the report by rita says INCONCLUSIVE"),
        ),
        row(
            "a divergence beside a reproduction",
            good().with(
                "again",
                reproduction(report("DIVERGED", "divergent", "I4", late)),
            ),
            Denied("rita reports that it does not reproduce"),
        ),
        row(
            "a report about another bundle",
            good().replaced(
                "reproduction",
                reproduction({
                    let mut other = report("REPRODUCED", "bit_exact", "I4", late);
                    other["baseline"]["digest"] =
                        json!({"sha256": Digest::sha256(b"another bundle").hex()});
                    other
                }),
            ),
            Denied("it is held against another bundle"),
        ),
        row(
            "a verdict that is better than its rows",
            good().replaced(
                "reproduction",
                reproduction({
                    let mut better = report("DIVERGED", "numeric", "I4", late);
                    better["verdict"] = json!("REPRODUCED");
                    better
                }),
            ),
            Denied("the report by rita cannot be read"),
        ),
        row(
            "a class that is not known",
            good().replaced(
                "reproduction",
                reproduction(report("REPRODUCED", "perfect", "I4", late)),
            ),
            Denied("the report by rita cannot be read"),
        ),
        Row {
            now: "2027-02-09T00:00:00Z",
            ..row(
                "a reproduction that has become stale",
                good(),
                Denied("is stale: it is of 2027-01-10T00:00:00Z"),
            )
        },
        row(
            "a reproduction of tomorrow",
            good().replaced(
                "reproduction",
                reproduction(report(
                    "REPRODUCED",
                    "bit_exact",
                    "I4",
                    "2027-01-16T00:00:00Z",
                )),
            ),
            Denied("which is yet to come"),
        ),
        row(
            "reproduced by the builder",
            good()
                .replaced(
                    "provenance",
                    by(
                        &ed25519(14),
                        &said(predicate::SLSA_PROVENANCE, provenance()),
                    ),
                )
                .replaced(
                    "reproduction",
                    by(
                        &ed25519(14),
                        &said(REPORT, report("REPRODUCED", "bit_exact", "I4", late)),
                    ),
                ),
            Denied("the report by max does not count: max built the bundle"),
        ),
        row(
            "nobody says who built it",
            good().without("provenance"),
            Denied(
                "no provenance says who built the bundle, so nobody can be told from the builder",
            ),
        ),
    ]
}
