//! Approvals and what voids them, rejections and revocations.

use super::people::{NOW, alice, bob, carol, changed_policy, ci, policy, security};
use super::release::{
    approval, bom, by, good, provenance, report, reproduction, said, subject, text_of, unapproved,
    waived,
};
use super::row::Expected::{Admitted, Denied};
use super::row::{Row, row};
use crate::digest::Digest;
use crate::fixtures::ed25519;
use crate::policy::lifecycle;
use crate::statement::predicate;
use data_encoding::BASE64;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Approvals and what voids them.
pub(super) fn rows() -> Vec<Row> {
    let shown = unapproved();
    let by_max = unapproved().replaced(
        "provenance",
        by(
            &ed25519(14),
            &said(predicate::SLSA_PROVENANCE, provenance()),
        ),
    );
    let self_approved = by_max
        .clone()
        .with("bob", approval(&by_max, &policy(), &bob()))
        .with("max", approval(&by_max, &policy(), &ed25519(14)));
    let same_team = shown
        .clone()
        .with("carol", approval(&shown, &policy(), &carol()))
        .with("max", approval(&shown, &policy(), &ed25519(14)));
    let other_bundle = {
        let binding = approval(&shown, &policy(), &bob());
        let mut statement: Value = serde_json::from_slice(
            &BASE64
                .decode(
                    text_of(&binding)["dsseEnvelope"]["payload"]
                        .as_str()
                        .unwrap()
                        .as_bytes(),
                )
                .unwrap(),
        )
        .unwrap();
        statement["subject"][0]["digest"]["sha256"] =
            json!(Digest::sha256(b"another bundle").hex());
        by(&bob(), &serde_json::from_value(statement).unwrap())
    };
    let approved = json!({"verifier": {"id": "x:y", "policies": []}, "timeCreated": NOW, "properties": ["SEALSTONE_APPROVED"]});
    let looser = changed_policy("class = \"numeric\"", "class = \"functional\"");
    let newer = |policy: String| policy.replace("version = 7", "version = 8");
    let bound = changed_policy(
        "different_team = 1\n",
        "different_team = 1\nbinds = \"policy\"\n",
    );
    let given_bound = shown
        .clone()
        .with("bob", approval(&shown, &bound, &bob()))
        .with("carol", approval(&shown, &bound, &carol()));
    let confirming = reproduction(report(
        "REPRODUCED",
        "numeric",
        "I3",
        "2027-01-14T00:00:00Z",
    ));
    let second_bom = {
        let mut other = bom();
        other["version"] = json!(2);
        by(&ci(), &said(predicate::CYCLONEDX, other))
    };
    vec![
        row(
            "one approval of two",
            good().without("carol"),
            Denied("carol or max must run \"sealstone approve"),
        ),
        row(
            "replayed approval of another bundle",
            good().replaced("bob", other_bundle),
            Denied("signed by bob, but no subject of the statement is"),
        ),
        Row {
            policy: looser.clone(),
            ..row(
                "approval under other rules",
                good(),
                Denied("the approval by bob is void: it was given for rules"),
            )
        },
        Row {
            policy: newer(policy()),
            ..row(
                "approval under the same rules in an older policy",
                good(),
                Admitted,
            )
        },
        Row {
            policy: bound.clone(),
            ..row(
                "approval bound to the policy, and under it",
                given_bound.clone(),
                Admitted,
            )
        },
        Row {
            policy: newer(bound),
            ..row(
                "approval bound to the policy, and under an older one",
                given_bound,
                Denied("the approval by bob is void: it was given under policy sha256:"),
            )
        },
        row(
            "evidence that the approvers saw is gone",
            good().replaced("bom", second_bom.clone()),
            Denied("the approval by bob is void: evidence"),
        ),
        row(
            "evidence that the approvers did not see",
            good().with("again", second_bom),
            Denied("came after it"),
        ),
        row(
            "a reproduction that only confirms",
            good().with("again", confirming),
            Admitted,
        ),
        row(
            "a reproduction within wider bounds that came after the approvals",
            good().with(
                "again",
                reproduction(waived("tolerance", "2027-01-14T00:00:00Z")),
            ),
            Denied("by rita came after it"),
        ),
        row(
            "a reproduction without a look at signatures that came after the approvals",
            good().with(
                "again",
                reproduction(waived("insecure", "2027-01-14T00:00:00Z")),
            ),
            Denied("by rita came after it"),
        ),
        row(
            "the same statement attached once more voids nothing",
            good().with(
                "again",
                by(&ci(), &said(predicate::SLSA_PROVENANCE, provenance())),
            ),
            Admitted,
        ),
        row(
            "approval that is bound to nothing",
            good().replaced("bob", by(&bob(), &said(predicate::SVR, approved))),
            Denied("the statement by bob is no approval: it names no rules"),
        ),
        row(
            "self-approval",
            self_approved,
            Denied("the approval by max does not count: max built the bundle"),
        ),
        row(
            "approvals by the builder's team only",
            same_team.clone(),
            Denied("0 of those who approved are of another team"),
        ),
        Row {
            policy: changed_policy(
                "name = \"ci\"\nteams = [\"platform\"]",
                "name = \"ci\"\nteams = []",
            ),
            ..row(
                "a builder of no team, where another team has to approve",
                good(),
                Denied("the team of the builder (ci) is not known"),
            )
        },
        row(
            "nobody of the role that must be among them",
            same_team,
            Denied("nobody with role data-science approved"),
        ),
        row(
            "rejection",
            good().with(
                "no",
                by(
                    &bob(),
                    &lifecycle::rejection(
                        subject(),
                        "fails on group B",
                        &BTreeSet::new(),
                        NOW.parse().unwrap(),
                    ),
                ),
            ),
            Denied("rejected by bob: fails on group B"),
        ),
        row(
            "rejection by somebody who may not",
            good().with(
                "no",
                by(
                    &alice(),
                    &lifecycle::rejection(subject(), "no", &BTreeSet::new(), NOW.parse().unwrap()),
                ),
            ),
            Admitted,
        ),
        row(
            "revocation",
            good().with(
                "no",
                by(
                    &security(),
                    &lifecycle::revocation(subject(), "poisoned data", NOW.parse().unwrap()),
                ),
            ),
            Denied("revoked by sam: poisoned data"),
        ),
        row(
            "revocation by a stranger",
            good().with(
                "no",
                by(
                    &ed25519(99),
                    &lifecycle::revocation(subject(), "x", NOW.parse().unwrap()),
                ),
            ),
            Admitted,
        ),
        row(
            "deprecation stops nothing",
            good().with(
                "no",
                by(
                    &alice(),
                    &lifecycle::deprecation(subject(), "use 1.1", None, NOW.parse().unwrap()),
                ),
            ),
            Admitted,
        ),
        Row {
            damaged: true,
            ..row("damaged content", good(), Denied("is damaged"))
        },
    ]
}
