//! A whole release under a policy of version 2, and everything that somebody might do to it.
//!
//! | file | what it owns |
//! | --- | --- |
//! | `people`, `release` | who there is, under which policy, and what they say of a release that is admitted |
//! | `row` | one change of it, and what is expected |
//! | `forged`, `rules`, `approvals`, `incidents`, `exceptions` | the rows, by what is done to the release |
//! | `standings` | where each of them stands, and what becomes of those that a tag names |
//! | `logged` | statements as the log holds them |
//! | `mutations` | whatever becomes of its bytes |
//!
//! The table begins with what is admitted. Every other row changes one thing, and must be denied for the
//! reason that belongs to it; a forgery that is denied for another reason has not been tested.

mod approvals;
mod exceptions;
mod forged;
mod incidents;
mod logged;
mod mutations;
mod people;
mod release;
mod row;
mod rules;
mod standings;

pub(super) use people::policy;

use super::{agree, text};
use crate::policy::Policy;
use people::REPOSITORY;
use release::manifest;
use row::Expected::{Admitted, Denied};
use row::{Row, read};
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[test]
fn releases_and_what_forgers_make_of_them() {
    let rows: Vec<Row> = [
        forged::rows(),
        rules::rows(),
        approvals::rows(),
        incidents::rows(),
        exceptions::rows(),
        standings::rows(),
    ]
    .into_iter()
    .flatten()
    .collect();
    let names: BTreeSet<&str> = rows.iter().map(|row| row.name).collect();
    assert_eq!(names.len(), rows.len(), "a name stands twice");
    standings::check(&rows);
    let built: Vec<Value> = rows
        .iter()
        .map(|row| {
            let items: Vec<Value> = row
                .attached
                .0
                .iter()
                .map(|(_, (referrer, bundle))| {
                    json!({"referrer": String::from_utf8_lossy(referrer), "bundle": String::from_utf8_lossy(bundle)})
                })
                .collect();
            json!({
                "name": row.name, "policy": row.policy, "repository": REPOSITORY, "now": row.now,
                "manifest": String::from_utf8_lossy(manifest().bytes()),
                "evidence": items, "uses": row.uses, "damaged": row.damaged,
                "released": row.released, "standing": standings::of(row),
                "verdict": match row.expected {
                    Admitted => json!({"admitted": true}),
                    Denied(because) => json!({"admitted": false, "because": because}),
                },
            })
        })
        .collect();
    let mut wrong = Vec::new();
    for vector in agree("policy/releases.json", &json!(built))
        .as_array()
        .unwrap()
    {
        let name = text(vector, "/name");
        let policy = Policy::parse(text(vector, "/policy")).unwrap();
        let (repo, case, circumstances) = read(vector);
        let admitted = vector["verdict"]["admitted"] == json!(true);
        let (evaluation, verdict) = policy.hear(&repo, &case, &circumstances);
        let (standing, expected) = (evaluation.state_text(), text(vector, "/standing"));
        if standing != expected {
            wrong.push(format!("{name} stands at {standing}, not at {expected}"));
        }
        match verdict {
            Ok(_) if admitted => {}
            Ok(_) => wrong.push(format!("{name} was admitted")),
            Err(denial) if admitted => wrong.push(format!("{name} was denied: {denial}")),
            Err(denial) => {
                let because = text(vector, "/verdict/because");
                if !denial.to_string().contains(because) {
                    wrong.push(format!(
                        "{name} was denied, but not because {because}: {denial}"
                    ));
                }
                for unmet in denial.unmet.iter().filter(|unmet| unmet.remedy.is_empty()) {
                    wrong.push(format!("{name}: nobody can mend {}", unmet.rule));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
