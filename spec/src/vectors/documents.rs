//! Policy documents that are refused, and the place that the refusal names.

use super::{agree, text};
use crate::fixtures::{ed25519, identities};
use crate::key::Signer;
use crate::log::tests::log_key;
use crate::log::{KeyKind, VerifierKey};
use crate::policy::Policy;
use serde_json::{Value, json};

struct Refused {
    name: &'static str,
    toml: String,
    line: usize,
    column: usize,
    problem: &'static str,
}

fn refused(name: &'static str, toml: String, at: (usize, usize), problem: &'static str) -> Refused {
    Refused {
        name,
        toml,
        line: at.0,
        column: at.1,
        problem,
    }
}

fn documents() -> Vec<Refused> {
    let schema = "schema = \"sealstone-policy/v1\"\n";
    let after = |text: &str| format!("{schema}{text}");
    // identities() has 20 lines; its last is bob's key.
    let rule = |text: &str| {
        format!(
            "{}[[scope]]\nrepositories = [\"a\"]\n[[scope.require]]\n{text}",
            identities()
        )
    };
    let first = identities().lines().count() + 1;
    let line = move |n: usize| first + n;
    let bob = ed25519(3).public_key().to_openssh();
    let root = ed25519(20).public_key().to_openssh();
    let log = log_key();
    let anew = VerifierKey::new(log.name(), KeyKind::Log, ed25519(56).public_key().clone());
    let anew = anew.unwrap();
    // Three lines.
    let second = |text: &str| {
        format!(
            "schema = \"sealstone-policy/v2\"\nversion = 1\nexpires = 2027-06-01T00:00:00Z\n{text}"
        )
    };
    vec![
        refused(
            "empty",
            String::new(),
            (1, 1),
            "policy lacks the key \"schema\"",
        ),
        refused("not TOML", after("a = ["), (2, 6), ""),
        refused(
            "another version",
            "schema = \"sealstone-policy/v3\"".into(),
            (1, 10),
            "is not known here: this version reads \"sealstone-policy/v1\" and \"sealstone-policy/v2\"",
        ),
        refused(
            "unknown section",
            after("[[scopes]]"),
            (2, 3),
            "policy has no key \"scopes\": did you mean \"scope\"",
        ),
        refused("a key twice", after(schema), (2, 1), "duplicate key"),
        refused(
            "section that is no list",
            after("[scope]"),
            (2, 1),
            "scope must be a list of tables: write [[scope]]",
        ),
        refused(
            "unknown key",
            after("[[scope]]\nrepository = [\"a\"]"),
            (3, 1),
            "scope has no key \"repository\": known are",
        ),
        refused(
            "misspelt key",
            after("[[scope]]\nrepositorys = [\"a\"]"),
            (3, 1),
            "did you mean \"repositories\"",
        ),
        refused(
            "no pattern",
            after("[[scope]]\nrepositories = []"),
            (3, 16),
            "at least one pattern",
        ),
        refused(
            "bad pattern",
            after("[[scope]]\nrepositories = [\"ok\", \"a/b**\"]"),
            (3, 23),
            "must be a whole path element",
        ),
        refused(
            "unknown tag rule",
            after("[[scope]]\nrepositories = [\"a\"]\ntags = \"mutabel\""),
            (4, 8),
            "tags cannot be \"mutabel\": did you mean \"mutable\"",
        ),
        refused(
            "staging that is no flag",
            after("[[scope]]\nrepositories = [\"a\"]\nstaging = \"no\""),
            (4, 11),
            "staging must be true or false, not this string",
        ),
        refused(
            "scopes that tie",
            after("[[scope]]\nrepositories = [\"a/**\"]\n[[scope]]\nrepositories = [\"a/*\"]"),
            (5, 17),
            "match the same names",
        ),
        refused(
            "the same pattern in two scopes",
            after("[[scope]]\nrepositories = [\"a\"]\n[[scope]]\nrepositories = [\"b\", \"a\"]"),
            (5, 22),
            "match the same names",
        ),
        refused(
            "identity without keys",
            after("[[identity]]\nname = \"a\"\nkeys = []"),
            (4, 8),
            "has no keys",
        ),
        refused(
            "identity without a name",
            after("[[identity]]\nkeys = []"),
            (2, 1),
            "identity lacks the key \"name\"",
        ),
        refused(
            "key that is none",
            after("[[identity]]\nname = \"a\"\nkeys = [\"ssh-rsa AAAA\"]"),
            (4, 9),
            "use Ed25519 or ECDSA P-256",
        ),
        refused(
            "private key",
            after("[[identity]]\nname = \"a\"\nkeys = [\"-----BEGIN PRIVATE KEY-----\"]"),
            (4, 9),
            "this is a private key",
        ),
        refused(
            "one identity twice",
            after(&format!(
                "[[identity]]\nname = \"a\"\nkeys = [\"{bob}\"]\n[[identity]]\nname = \"a\"\nkeys = []"
            )),
            (6, 8),
            "for the second time",
        ),
        refused(
            "one key for two identities",
            after(&format!(
                "[[identity]]\nname = \"a\"\nkeys = [\"{bob}\"]\n[[identity]]\nname = \"b\"\nkeys = [\"{bob} other comment\"]"
            )),
            (7, 9),
            "already belongs to \"a\"",
        ),
        refused(
            "one key twice",
            after(&format!(
                "[[identity]]\nname = \"a\"\nkeys = [\"{bob}\", \"{bob}\"]"
            )),
            (4, 93),
            "already belongs to \"a\"",
        ),
        refused(
            "unknown rule",
            rule("rule = \"signature\""),
            (line(3), 8),
            "rule \"signature\" is not known: did you mean \"signatures\"",
        ),
        refused(
            "rule of a later version",
            rule("rule = \"provenance\"\nbuilders = []"),
            (line(3), 8),
            "rule \"provenance\" is not known: known are \"signatures\"",
        ),
        refused(
            "no rule",
            rule("threshold = 1"),
            (line(2), 1),
            "require lacks the key \"rule\"",
        ),
        refused(
            "unknown key of a rule",
            rule("rule = \"signatures\"\nidentity = [\"bob\"]"),
            (line(4), 1),
            "require has no key \"identity\"",
        ),
        refused(
            "unknown identity",
            rule("rule = \"signatures\"\nidentities = [\"bob\", \"alic\"]"),
            (line(4), 22),
            "identity \"alic\" is not defined: did you mean \"alice\"",
        ),
        refused(
            "identity named twice",
            rule("rule = \"signatures\"\nidentities = [\"bob\", \"bob\"]"),
            (line(4), 22),
            "stands twice",
        ),
        refused(
            "no identities",
            rule("rule = \"signatures\"\nidentities = []"),
            (line(4), 14),
            "can never be met",
        ),
        refused(
            "threshold zero",
            rule("rule = \"signatures\"\nthreshold = 0\nidentities = [\"bob\"]"),
            (line(4), 13),
            "threshold must be a whole number from 1",
        ),
        refused(
            "negative threshold",
            rule("rule = \"signatures\"\nthreshold = -1\nidentities = [\"bob\"]"),
            (line(4), 13),
            "threshold must be a whole number from 1",
        ),
        refused(
            "threshold out of reach",
            rule("rule = \"signatures\"\nthreshold = 2\nidentities = [\"alice\"]"),
            (line(4), 13),
            "can never be met by 1 identities",
        ),
        refused(
            "version 2 without a version",
            "schema = \"sealstone-policy/v2\"".into(),
            (1, 1),
            "policy lacks the key \"version\"",
        ),
        refused(
            "version 2 without an end",
            "schema = \"sealstone-policy/v2\"\nversion = 1".into(),
            (1, 1),
            "policy lacks the key \"expires\"",
        ),
        refused(
            "an end that is no time",
            "schema = \"sealstone-policy/v2\"\nversion = 1\nexpires = 2027-06-01".into(),
            (3, 11),
            "\"2027-06-01\" is no time",
        ),
        refused(
            "version zero",
            "schema = \"sealstone-policy/v2\"\nversion = 0".into(),
            (2, 11),
            "versions begin at 1",
        ),
        refused(
            "more roots asked for than there are",
            second(&format!("[roots]\nthreshold = 2\nkeys = [\"{bob}\"]")),
            (5, 13),
            "threshold 2 can never be met by 1 root keys",
        ),
        refused(
            "a root key that signs releases too",
            second(&format!(
                "[roots]\nthreshold = 1\nkeys = [\"{bob}\"]\n[[identity]]\nname = \"b\"\nkeys = [\"{bob}\"]"
            )),
            (1, 1),
            "is a root key too",
        ),
        refused(
            "a rule of nobody's role",
            second(&format!(
                "[roots]\nthreshold = 1\nkeys = [\"{root}\"]\n[[identity]]\nname = \"b\"\nroles = [\"release\"]\nkeys = [\"{bob}\"]\n[[scope]]\nrepositories = [\"a\"]\n[[scope.require]]\nrule = \"tests\"\nsuites = [\"x\"]"
            )),
            (13, 1),
            "by 0 identities that have an active key with role \"evaluator\"",
        ),
        refused(
            "an unknown rule of version 2",
            second(&format!(
                "[roots]\nthreshold = 1\nkeys = [\"{root}\"]\n[[scope]]\nrepositories = [\"a\"]\n[[scope.require]]\nrule = \"aproval\""
            )),
            (10, 8),
            "rule \"aproval\" is not known: did you mean",
        ),
        refused(
            "a log rule without a log",
            second(&format!(
                "[roots]\nthreshold = 1\nkeys = [\"{root}\"]\n[[scope]]\nrepositories = [\"a\"]\n[[scope.require]]\nrule = \"log\""
            )),
            (1, 1),
            "can never be met without a [[log]]",
        ),
        refused(
            "two logs of one name",
            second(&format!(
                "[roots]\nthreshold = 1\nkeys = [\"{root}\"]\n[[log]]\nvkey = \"{log}\"\n[[log]]\nvkey = \"{anew}\""
            )),
            (10, 8),
            "there is a log log.example.com before",
        ),
        refused(
            "exceptions from what cannot be waived",
            second(&format!(
                "[roots]\nthreshold = 1\nkeys = [\"{root}\"]\n[[identity]]\nname = \"b\"\nroles = [\"governance\"]\nkeys = [\"{bob}\"]\n[[scope]]\nrepositories = [\"a\"]\n[scope.exceptions]\nrules = [\"bom\", \"log\"]\nrole = \"governance\""
            )),
            (14, 17),
            "rule \"log\" cannot be waived: what is in no log counts for no rule",
        ),
        refused(
            "an exception from what cannot be waived",
            second(&format!(
                "[roots]\nthreshold = 1\nkeys = [\"{root}\"]\n[[identity]]\nname = \"b\"\nkeys = [\"{bob}\"]\n[[exception]]\nid = \"E\"\nrepositories = [\"a\"]\nrule = \"log\"\nreason = \"r\"\nticket = \"t\"\napproved_by = [\"b\"]\nexpires = 2027-06-01T00:00:00Z\nmax_uses = 1"
            )),
            (13, 8),
            "rule \"log\" cannot be waived: what is in no log counts for no rule",
        ),
        refused(
            "a revoked key without a reason",
            second(&format!(
                "[roots]\nthreshold = 1\nkeys = [\"{root}\"]\n[[identity]]\nname = \"b\"\nkeys = [{{ key = \"{bob}\", status = \"revoked\", revoked_at_index = 1 }}]"
            )),
            (9, 9),
            "key lacks the key \"reason\"",
        ),
        refused(
            "a key that ends before it begins",
            second(&format!(
                "[roots]\nthreshold = 1\nkeys = [\"{root}\"]\n[[identity]]\nname = \"b\"\n[[identity.keys]]\nkey = \"{bob}\"\nstatus = \"retired\"\nvalid_until_index = 7\nvalid_from_index = 7"
            )),
            (13, 20),
            "a key that ends at index 7 cannot begin at 7",
        ),
        refused(
            "a key that ends beyond what JSON numbers hold",
            second(&format!(
                "[roots]\nthreshold = 1\nkeys = [\"{root}\"]\n[[identity]]\nname = \"b\"\n[[identity.keys]]\nkey = \"{bob}\"\nstatus = \"retired\"\nvalid_until_index = 9007199254740992"
            )),
            (12, 21),
            "valid_until_index must be a whole number from 0, below 2^53",
        ),
        refused(
            "more roles than an entry of the log can name",
            second(&format!(
                "[roots]\nthreshold = 1\nkeys = [\"{root}\"]\n[[identity]]\nname = \"b\"\nkeys = [\"{bob}\"]\nroles = [\n{}]",
                (0..65)
                    .map(|n| format!("\"role-{n}\",\n"))
                    .collect::<String>()
            )),
            (10, 9),
            "65 roles stand here: a key has at most 64",
        ),
        refused(
            "approvals bound to what there is not",
            second(&format!(
                "[roots]\nthreshold = 1\nkeys = [\"{root}\"]\n[[identity]]\nname = \"b\"\nroles = [\"approver\"]\nkeys = [\"{bob}\"]\n[[scope]]\nrepositories = [\"a\"]\n[[scope.require]]\nrule = \"approvals\"\nbinds = \"polcy\""
            )),
            (15, 9),
            "binds cannot be \"polcy\": did you mean \"policy\"",
        ),
    ]
}

#[test]
fn documents_that_are_not_read() {
    let built: Vec<Value> = documents()
        .iter()
        .map(|document| {
            json!({
                "name": document.name, "policy": document.toml,
                "line": document.line, "column": document.column, "problem": document.problem,
            })
        })
        .collect();
    for vector in agree("policy/refused.json", &json!(built))
        .as_array()
        .unwrap()
    {
        let name = text(vector, "/name");
        let error = Policy::parse(text(vector, "/policy")).expect_err(name);
        assert!(
            error.to_string().contains(text(vector, "/problem")),
            "{name}: {error}"
        );
        let place = json!([error.line, error.column]);
        assert_eq!(
            place,
            json!([vector["line"], vector["column"]]),
            "{name}: {error}"
        );
    }
}
