#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    access: AccessRules,
}

fn read(toml: &str) -> Result<AccessRules, String> {
    toml::from_str::<Config>(toml)
        .map(|config| config.access)
        .map_err(|error| error.to_string())
}

fn rule(repositories: &str, who: &str, verbs: &str) -> AccessRuleText {
    let list = |text: &str| {
        text.split(' ')
            .filter(|item| !item.is_empty())
            .map(str::to_owned)
            .collect()
    };
    AccessRuleText {
        repositories: list(repositories),
        who: list(who),
        verbs: list(verbs),
    }
}

fn user(name: &str) -> Identity {
    Identity::User(name.parse().unwrap())
}

fn robot(name: &str) -> Identity {
    Identity::Robot(name.parse().unwrap())
}

/// Each verb that a rule can give, against what its holder then has, and who else has nothing.
#[test]
fn each_verb_gives_itself_and_what_it_implies() {
    use Verb::{Admin, Approve, Delete, Pull, Push, Sign, Tag};
    let table: [(Verb, &[Verb]); 7] = [
        (Pull, &[Pull]),
        (Push, &[Pull, Push]),
        (Tag, &[Tag]),
        (Delete, &[Delete]),
        (Sign, &[Sign]),
        (Approve, &[Approve]),
        (Admin, &[Pull, Push, Tag, Delete, Sign, Approve, Admin]),
    ];
    for (given, expected) in table {
        let rules =
            AccessRules::check(vec![rule("models/**", "user:alice", given.as_str())]).unwrap();
        let inside: RepoName = "models/x".parse().unwrap();
        let outside: RepoName = "other/x".parse().unwrap();
        assert_eq!(
            rules.verbs(&user("alice"), &inside),
            expected.iter().copied().collect(),
            "{given}"
        );
        assert!(rules.verbs(&user("alice"), &outside).is_empty());
        for other in [
            user("bob"),
            robot("alice"),
            Identity::Anonymous,
            Identity::System,
        ] {
            assert!(rules.verbs(&other, &inside).is_empty(), "{given} {other}");
        }
    }
}

#[test]
fn who_means_whom_it_says() {
    let inside: RepoName = "m".parse().unwrap();
    let everybody = [
        user("alice"),
        user("bob"),
        robot("ci"),
        Identity::Anonymous,
        Identity::System,
    ];
    for (who, expected) in [
        ("user:alice", [true, false, false, false, false]),
        ("robot:ci", [false, false, true, false, false]),
        ("authenticated", [true, true, true, false, false]),
        ("anonymous", [true, true, true, true, false]),
    ] {
        let rules = AccessRules::check(vec![rule("*", who, "pull")]).unwrap();
        let got = everybody
            .clone()
            .map(|identity| rules.verbs(&identity, &inside).contains(Verb::Pull));
        assert_eq!(got, expected, "{who}");
        assert_eq!(rules.know_anonymous(), who == "anonymous");
    }
}

#[test]
fn rules_add_up_and_no_rules_give_nothing() {
    let rules = AccessRules::check(vec![
        rule("models/**", "authenticated", "pull"),
        rule("models/risk", "user:alice robot:ci", "push sign"),
    ])
    .unwrap();
    let risk: RepoName = "models/risk".parse().unwrap();
    assert_eq!(
        rules.verbs(&user("alice"), &risk),
        [Verb::Pull, Verb::Push, Verb::Sign].into_iter().collect()
    );
    assert_eq!(rules.verbs(&user("bob"), &risk), Verb::Pull.into());
    assert!(
        AccessRules::default()
            .verbs(&user("alice"), &risk)
            .is_empty()
    );
}

#[test]
fn toml_is_read_and_written_back_the_same() {
    let text = r#"
[[access]]
repositories = ["models/**"]
who = ["user:alice", "robot:ci", "authenticated"]
verbs = ["pull", "push"]

[[access]]
repositories = ["public/*"]
who = ["anonymous"]
verbs = ["pull"]
"#;
    let rules = read(text).unwrap();
    let texts: Vec<AccessRuleText> = rules.clone().into();
    assert_eq!(texts.len(), 2);
    assert_eq!(texts[0].verbs, ["pull", "push"]);
    assert_eq!(AccessRules::check(texts).unwrap(), rules);
}

#[test]
fn mistakes_name_the_rule_and_what_was_meant() {
    let good = rule("m", "user:a", "pull");
    for (bad, expected) in [
        (
            rule("m", "user:a", "pul"),
            "access rule 2: verb \"pul\" is not known: did you mean \"pull\"?",
        ),
        (rule("m", "user:a", "read"), "did you mean \"pull\"?"),
        (rule("m", "user:a", "Push"), "did you mean \"push\"?"),
        (
            rule("m", "user:a", "frobnicate"),
            "use one of pull, push, tag",
        ),
        (rule("m", "usr:a", "pull"), "did you mean \"user:a\"?"),
        (
            rule("m", "alice", "pull"),
            "write \"user:alice\" or \"robot:alice\"",
        ),
        (rule("m", "anonymus", "pull"), "did you mean \"anonymous\"?"),
        (
            rule("m", "group:x", "pull"),
            "use user:NAME, robot:NAME, authenticated or anonymous",
        ),
        (rule("m", "user:", "pull"), "account name \"\" is not valid"),
        (
            rule("M", "user:a", "pull"),
            "access rule 2: repository pattern \"M\"",
        ),
        (rule("", "user:a", "pull"), "`repositories` is empty"),
        (rule("m", "", "pull"), "`who` is empty"),
        (rule("m", "user:a", ""), "`verbs` is empty"),
        (
            rule("m", "user:a anonymous", "admin"),
            "anonymous cannot hold admin",
        ),
    ] {
        let error = AccessRules::check(vec![good.clone(), bad])
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.starts_with("access rule 2: "), "{error}");
    }
}

#[test]
fn unknown_fields_are_refused() {
    let error =
        read("[[access]]\nrepositories=[\"a\"]\nwho=[\"user:a\"]\nverbs=[\"pull\"]\ndeny=true\n")
            .unwrap_err();
    assert!(error.contains("deny"), "{error}");
}

proptest! {
    #[test]
    fn reading_never_panics_and_errors_are_printable(
        repositories in "\\PC{0,20}", who in ".{0,20}", verbs in ".{0,20}",
    ) {
        let text = AccessRuleText {
            repositories: vec![repositories], who: vec![who], verbs: vec![verbs],
        };
        if let Err(error) = AccessRules::check(vec![text]) {
            prop_assert!(!error.to_string().chars().any(char::is_control));
        }
    }
}
