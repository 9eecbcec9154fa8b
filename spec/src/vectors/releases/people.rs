//! Who there is, by what they are for, and the policy of version 2 that knows them.
//!
//! Owns names, seeds of keys and rules; what these people say is `release`'s and that of the rows.

use crate::fixtures::{ed25519, p256};
use crate::key::{SecretKey, Signer as _};

pub(super) const NOW: &str = "2027-01-15T00:00:00Z";
pub(super) const REPOSITORY: &str = "models/x";

/// Keys by what they are for; the numbers are seeds.
pub(super) fn ci() -> SecretKey {
    ed25519(10)
}
pub(super) fn alice() -> SecretKey {
    ed25519(1)
}
pub(super) fn bob() -> SecretKey {
    ed25519(3)
}
pub(super) fn carol() -> SecretKey {
    ed25519(5)
}
pub(super) fn evaluator() -> SecretKey {
    ed25519(6)
}
pub(super) fn reproducer() -> SecretKey {
    ed25519(7)
}
pub(super) fn security() -> SecretKey {
    ed25519(8)
}
pub(super) fn governance(number: u8) -> SecretKey {
    ed25519(30 + number)
}

pub(in crate::vectors) fn policy() -> String {
    let key = |key: SecretKey| format!("\"{}\"", key.public_key().to_openssh());
    let person = |name: &str, team: &str, roles: &str, keys: String| {
        format!(
            "[[identity]]\nname = \"{name}\"\nteams = [\"{team}\"]\nroles = [{roles}]\nkeys = [{keys}]\n\n"
        )
    };
    let mut text = format!(
        "schema = \"sealstone-policy/v2\"\nversion = 7\nexpires = \"2027-06-01T00:00:00Z\"\n\n[roots]\nthreshold = 2\nkeys = [{}, {}, {}]\n\n",
        key(ed25519(20)),
        key(ed25519(21)),
        key(ed25519(22))
    );
    text += &person("ci", "platform", "\"builder\"", key(ci()));
    text += &person(
        "alice",
        "growth",
        "\"release\"",
        format!("{}, {}", key(alice()), key(p256(2))),
    );
    text += &person("bob", "risk", "\"approver\", \"data-science\"", key(bob()));
    text += &person("carol", "platform", "\"approver\"", key(carol()));
    text += &person("eve", "quality", "\"evaluator\"", key(evaluator()));
    text += &person("rita", "quality", "\"reproducer\"", key(reproducer()));
    text += &person("sam", "security", "\"security\"", key(security()));
    text += &person("gina", "board", "\"governance\"", key(governance(0)));
    text += &person("gus", "board", "\"governance\"", key(governance(1)));
    text += &person(
        "max",
        "platform",
        "\"builder\", \"approver\", \"reproducer\"",
        key(ed25519(14)),
    );
    text += &person(
        "dave",
        "growth",
        "\"release\"",
        format!(
            "{{ key = {}, status = \"revoked\", revoked_at_index = 5, reason = \"stolen laptop\" }}",
            key(ed25519(12))
        ),
    );
    text += &person(
        "erin",
        "growth",
        "\"release\"",
        format!(
            "{{ key = {}, status = \"retired\", valid_until_index = 9 }}",
            key(ed25519(13))
        ),
    );
    text + r#"[[scope]]
repositories = ["models/**"]

[[scope.require]]
rule = "signatures"

[[scope.require]]
rule = "provenance"
builders = ["https://ci.example/builders/*"]
build_types = ["https://sealstone.dev/buildtypes/model-train/v1"]
sources = ["git+https://git.example/*"]

[[scope.require]]
rule = "bom"

[[scope.require]]
rule = "tests"
suites = ["data", "inference"]

[[scope.require]]
rule = "reproduction"
class = "numeric"
isolation = "I3"
fresh_days = 30

[[scope.require]]
rule = "approvals"
threshold = 2
roles = ["data-science"]
different_team = 1

[scope.exceptions]
rules = ["reproduction"]
role = "governance"
threshold = 2
max_days = 7
"#
}

pub(super) fn changed_policy(from: &str, to: &str) -> String {
    let text = policy();
    assert!(text.contains(from), "{from} is not in the policy");
    text.replace(from, to)
}
