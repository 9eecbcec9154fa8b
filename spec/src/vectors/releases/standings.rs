//! Where the bundle of each row stands: `candidate` to `revoked`, and what is wrong beside.

use super::exceptions::{excepted, exception};
use super::people::{NOW, alice, bob, changed_policy, security};
use super::release::{Attached, by, good, subject, unapproved};
use super::row::Expected::{Admitted, Denied};
use super::row::{Row, row};
use crate::policy::{Time, lifecycle};
use std::collections::BTreeSet;

/// What differs from the rule: what is admitted is approved, and what is denied has still been reproduced.
const OTHERS: &[(&str, &str)] = &[
    // The reproduction does not count, or nothing says whom it is independent of.
    ("flipped payload", "candidate"),
    ("reproduced too loosely", "candidate"),
    (
        "reproduced by metrics of the baseline's own files",
        "candidate",
    ),
    ("reproduced without isolation", "candidate"),
    ("reproduced without a look at signatures", "candidate"),
    ("reproduced within wider bounds", "candidate"),
    ("not reproduced", "candidate"),
    ("a divergence beside a reproduction", "candidate"),
    ("a report about another bundle", "candidate"),
    ("a verdict that is better than its rows", "candidate"),
    ("a class that is not known", "candidate"),
    ("a reproduction that has become stale", "candidate"),
    ("a reproduction of tomorrow", "candidate"),
    ("reproduced by the builder", "candidate"),
    ("nobody says who built it", "candidate"),
    // There is none, and the exception from it does not hold.
    ("an exception by one of two", "candidate"),
    ("an expired exception", "candidate"),
    ("an exception for too long", "candidate"),
    ("an exception from another rule", "candidate"),
    ("an exception for other repositories", "candidate"),
    ("an exception that is used up", "candidate"),
    ("expired policy", "candidate"),
    // Somebody said something.
    ("rejection", "reproduced (rejected)"),
    ("revocation", "revoked"),
    ("damaged content", "reproduced (quarantined)"),
    ("an incident", "reproduced (quarantined)"),
    (
        "an incident that is closed by somebody who may not",
        "reproduced (quarantined)",
    ),
    (
        "an incident beside one that is closed",
        "reproduced (quarantined)",
    ),
    // The rows below.
    ("nothing is attached", "candidate"),
    // Waived is not done.
    (
        "an exception from the reproduction, and no approval yet",
        "candidate",
    ),
    (
        "rejected, revoked and damaged",
        "revoked (rejected, quarantined)",
    ),
    ("a release", "released"),
    ("a release that is superseded", "deprecated"),
    (
        "a release whose reproduction has become stale",
        "candidate (stale)",
    ),
    (
        "a superseded release under an expired policy",
        "deprecated (stale)",
    ),
    ("a release under other rules", "reproduced (stale)"),
    ("a release that is rejected", "reproduced (rejected, stale)"),
    (
        "a release whose content is damaged",
        "reproduced (quarantined, stale)",
    ),
    ("a release that is revoked", "revoked"),
];

/// The words for where the bundle of a row stands.
pub(super) fn of(row: &Row) -> &'static str {
    let other = OTHERS.iter().find(|(name, _)| *name == row.name);
    match (other, &row.expected) {
        (Some((_, standing)), _) => standing,
        (None, Admitted) => "approved",
        (None, Denied(_)) => "reproduced",
    }
}

/// Bundles that a release tag names, and the first steps of one that none does.
pub(super) fn rows() -> Vec<Row> {
    let now: Time = NOW.parse().unwrap();
    let superseded = by(
        &alice(),
        &lifecycle::deprecation(subject(), "use 1.1", None, now),
    );
    let revoked = by(
        &security(),
        &lifecycle::revocation(subject(), "poisoned data", now),
    );
    let rejected = by(
        &bob(),
        &lifecycle::rejection(subject(), "fails on group B", &BTreeSet::new(), now),
    );
    let released = |row: Row| Row {
        released: true,
        ..row
    };
    vec![
        row(
            "nothing is attached",
            Attached(Vec::new()),
            Denied("signatures: needs a signature"),
        ),
        row(
            "nobody has approved it yet",
            unapproved(),
            Denied("approvals: needs"),
        ),
        row(
            "an exception from the reproduction, and no approval yet",
            excepted(&exception(), 2).without("bob").without("carol"),
            Denied("approvals: needs"),
        ),
        Row {
            damaged: true,
            ..row(
                "rejected, revoked and damaged",
                good()
                    .with("rejected", rejected.clone())
                    .with("revoked", revoked.clone()),
                Denied("revoked by sam: poisoned data"),
            )
        },
        released(row("a release", good(), Admitted)),
        released(row(
            "a release that is superseded",
            good().with("superseded", superseded.clone()),
            Admitted,
        )),
        Row {
            now: "2027-02-09T00:00:00Z",
            ..released(row(
                "a release whose reproduction has become stale",
                good(),
                Denied("is stale: it is of 2027-01-10T00:00:00Z"),
            ))
        },
        Row {
            now: "2027-06-01T00:00:00Z",
            ..released(row(
                "a superseded release under an expired policy",
                good().with("superseded", superseded),
                Denied("the policy expired at 2027-06-01T00:00:00Z"),
            ))
        },
        Row {
            policy: changed_policy("class = \"numeric\"", "class = \"functional\""),
            ..released(row(
                "a release under other rules",
                good(),
                Denied("the approval by bob is void: it was given for rules"),
            ))
        },
        released(row(
            "a release that is rejected",
            good().with("rejected", rejected),
            Denied("rejected by bob: fails on group B"),
        )),
        Row {
            damaged: true,
            ..released(row(
                "a release whose content is damaged",
                good(),
                Denied("is damaged"),
            ))
        },
        released(row(
            "a release that is revoked",
            good().with("revoked", revoked),
            Denied("revoked by sam: poisoned data"),
        )),
    ]
}

/// Every state and every flag stands in some row, and every exception above is one of a row.
pub(super) fn check(rows: &[Row]) {
    for (name, _) in OTHERS {
        assert!(rows.iter().any(|row| row.name == *name), "no row {name}");
    }
    let words: BTreeSet<&str> = rows
        .iter()
        .flat_map(|row| of(row).split([' ', '(', ')', ',']))
        .filter(|word| !word.is_empty())
        .collect();
    let all = [
        "approved",
        "candidate",
        "deprecated",
        "quarantined",
        "rejected",
        "released",
        "reproduced",
        "revoked",
        "stale",
    ];
    assert_eq!(words, BTreeSet::from(all));
}
