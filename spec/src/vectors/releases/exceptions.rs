//! Exceptions, and the end of the policy.

use super::people::{bob, carol, governance, policy};
use super::release::{Attached, approval, by, good, manifest, subject, unapproved};
use super::row::Expected::{Admitted, Denied};
use super::row::{Row, row};
use crate::digest::Digest;
use crate::policy::lifecycle::Exception;
use serde_json::json;

pub(super) fn exception() -> Exception {
    Exception {
        id: "EX-12".into(),
        scope: "models/**".into(),
        rule: "reproduction".into(),
        reason: "the GPU pool is down".into(),
        ticket: "OPS-91".into(),
        expires: "2027-01-20T00:00:00Z".parse().unwrap(),
        max_uses: 1,
    }
}

/// Without a reproduction, and with an exception from it, signed by so many.
pub(super) fn excepted(exception: &Exception, signers: u8) -> Attached {
    let shown = unapproved().without("reproduction");
    let mut all = shown
        .clone()
        .with("bob", approval(&shown, &policy(), &bob()))
        .with("carol", approval(&shown, &policy(), &carol()));
    for number in 0..signers {
        let item = by(&governance(number), &exception.statement(subject()));
        all = all.with("exception", item);
    }
    all
}

/// Exceptions, and the end of the policy.
pub(super) fn rows() -> Vec<Row> {
    let other = Digest::sha256(b"another bundle").to_string();
    let own = exception();
    let longer = Exception {
        expires: "2027-03-01T00:00:00Z".parse().unwrap(),
        ..own.clone()
    };
    let other_rule = Exception {
        rule: "signatures".into(),
        ..own.clone()
    };
    let other_place = Exception {
        scope: "elsewhere/*".into(),
        ..own.clone()
    };
    let of_policy = policy()
        + "\n[[exception]]\nid = \"EX-1\"\nrepositories = [\"models/x\"]\nrule = \"bom\"\nreason = \"the tool is broken\"\nticket = \"OPS-1\"\napproved_by = [\"bob\"]\nexpires = \"2027-01-20T00:00:00Z\"\nmax_uses = 1\n";
    let without_bom = {
        let shown = unapproved().without("bom");
        shown
            .clone()
            .with("bob", approval(&shown, &policy(), &bob()))
            .with("carol", approval(&shown, &policy(), &carol()))
    };
    vec![
        row("an exception by two", excepted(&own, 2), Admitted),
        row(
            "an exception by one of two",
            excepted(&own, 1),
            Denied("it needs 2 different people"),
        ),
        Row {
            now: "2027-01-20T00:00:00Z",
            ..row(
                "an expired exception",
                excepted(&own, 2),
                Denied("exception EX-12: it expired at 2027-01-20"),
            )
        },
        row(
            "an exception for too long",
            excepted(&longer, 2),
            Denied("longer than 7 days"),
        ),
        row(
            "an exception from another rule",
            excepted(&other_rule, 2),
            Denied("reproduction: needs"),
        ),
        row(
            "an exception for other repositories",
            excepted(&other_place, 2),
            Denied("it is for other repositories"),
        ),
        Row {
            uses: json!({own.key(): [other]}),
            ..row(
                "an exception that is used up",
                excepted(&own, 2),
                Denied("exception EX-12: it is used up: 1 of 1"),
            )
        },
        Row {
            uses: json!({own.key(): [manifest().digest()]}),
            ..row(
                "an exception that this very bundle has used",
                excepted(&own, 2),
                Admitted,
            )
        },
        Row {
            policy: of_policy.clone(),
            ..row("an exception of the policy", without_bom.clone(), Admitted)
        },
        Row {
            policy: of_policy.clone(),
            uses: json!({"policy:EX-1": [Digest::sha256(b"another bundle")]}),
            ..row(
                "an exception of the policy that is used up",
                without_bom.clone(),
                Denied("exception EX-1: it is used up"),
            )
        },
        Row {
            policy: of_policy,
            now: "2027-01-21T00:00:00Z",
            ..row(
                "an exception of the policy that expired",
                without_bom,
                Denied("exception EX-1: it expired"),
            )
        },
        Row {
            now: "2027-06-01T00:00:00Z",
            ..row(
                "expired policy",
                good(),
                Denied("the policy expired at 2027-06-01T00:00:00Z"),
            )
        },
    ]
}
