#![allow(clippy::unwrap_used)]
use super::*;
use crate::auth::grant::{Admin, Approve, Delete, Pull, Push, Sign, Tag};
use crate::auth::principal::{Restriction, TokenScope};
use crate::auth::testing::{administrator, restricted, rules, session, user};

fn name(text: &str) -> RepoName {
    text.parse().unwrap()
}

/// What each action answers: the list of verbs that were granted.
fn granted(authorizer: &Authorizer, principal: &Principal, repository: &RepoName) -> VerbSet {
    fn one<A: Action>(a: &Authorizer, p: &Principal, r: &RepoName) -> Option<Verb> {
        let grant = a.grant::<A>(p, r).ok()?;
        assert_eq!(grant.repository(), r);
        assert_eq!(grant.principal(), p.identity());
        Some(A::VERB)
    }
    [
        one::<Pull>(authorizer, principal, repository),
        one::<Push>(authorizer, principal, repository),
        one::<Tag>(authorizer, principal, repository),
        one::<Delete>(authorizer, principal, repository),
        one::<Sign>(authorizer, principal, repository),
        one::<Approve>(authorizer, principal, repository),
        one::<Admin>(authorizer, principal, repository),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn every_action_asks_for_its_own_verb_and_no_other() {
    for verb in Verb::ALL {
        let authorizer = Authorizer::new(rules(&[("m", "user:alice", verb.as_str())]));
        assert_eq!(
            granted(&authorizer, &user("alice"), &name("m")),
            VerbSet::from(verb).closed(),
            "{verb}"
        );
        for nobody in [user("bob"), Principal::anonymous()] {
            assert!(
                granted(&authorizer, &nobody, &name("m")).is_empty(),
                "{verb}"
            );
        }
        assert!(
            granted(&authorizer, &user("alice"), &name("m/x")).is_empty(),
            "{verb}"
        );
    }
}

#[test]
fn an_administrator_holds_every_verb_everywhere() {
    let authorizer = Authorizer::new(AccessRules::default());
    assert_eq!(
        granted(&authorizer, &administrator("root"), &name("any/thing")),
        VerbSet::ALL
    );
}

#[test]
fn a_token_takes_away_and_never_gives() {
    let authorizer = Authorizer::new(rules(&[("m/**", "user:alice", "push tag")]));
    let scope = |pattern: &str, verbs: &[Verb]| TokenScope {
        repositories: vec![pattern.parse().unwrap()],
        verbs: verbs.to_vec(),
    };
    let pulls = restricted(user("alice"), vec![scope("m/a", &[Verb::Pull])]);
    assert_eq!(
        granted(&authorizer, &pulls, &name("m/a")),
        Verb::Pull.into()
    );
    assert!(granted(&authorizer, &pulls, &name("m/b")).is_empty());
    let greedy = restricted(user("alice"), vec![scope("**", &[Verb::Admin])]);
    assert_eq!(
        granted(&authorizer, &greedy, &name("m/a")),
        [Verb::Pull, Verb::Push, Verb::Tag].into_iter().collect()
    );
    assert!(granted(&authorizer, &greedy, &name("other")).is_empty());
    let empty = restricted(user("alice"), vec![]);
    assert!(granted(&authorizer, &empty, &name("m/a")).is_empty());
    let root = restricted(administrator("root"), vec![scope("m/a", &[Verb::Push])]);
    assert_eq!(
        granted(&authorizer, &root, &name("m/a")),
        [Verb::Pull, Verb::Push].into_iter().collect()
    );
    assert!(granted(&authorizer, &root, &name("m/b")).is_empty());
}

#[test]
fn refusals_say_whether_to_log_in_to_ask_again_or_to_give_up() {
    let authorizer = Authorizer::new(rules(&[("m", "user:alice", "push")]));
    assert_eq!(
        authorizer
            .grant::<Push>(&Principal::anonymous(), &name("m"))
            .unwrap_err(),
        Refusal::Unauthenticated {
            verb: Verb::Push,
            repository: name("m")
        }
    );
    let reads = session(
        user("alice"),
        vec![Access::repository(name("m"), Verb::Pull.into())],
    );
    let refusal = authorizer.grant::<Push>(&reads, &name("m")).unwrap_err();
    assert_eq!(
        refusal,
        Refusal::InsufficientScope {
            verb: Verb::Push,
            repository: name("m")
        }
    );
    assert_eq!(refusal.scope().to_string(), "repository:m:pull,push");
    // What the account does not hold, no other session would give: no endless loop of tokens.
    assert!(matches!(
        authorizer.grant::<Delete>(&reads, &name("m")),
        Err(Refusal::Forbidden {
            verb: Verb::Delete,
            ..
        })
    ));
    assert!(matches!(
        authorizer.grant::<Pull>(&user("bob"), &name("m")),
        Err(Refusal::Forbidden { .. })
    ));
}

#[test]
fn a_session_cannot_outlive_the_rules() {
    let access = vec![Access::repository(name("m"), VerbSet::ALL)];
    let session = session(user("alice"), access);
    let before = Authorizer::new(rules(&[("m", "user:alice", "push")]));
    let after = Authorizer::new(rules(&[("m", "user:alice", "pull")]));
    assert!(before.grant::<Push>(&session, &name("m")).is_ok());
    assert!(after.grant::<Push>(&session, &name("m")).is_err());
}

#[test]
fn staging_is_seen_by_those_who_work_on_it() {
    for (verbs, sees) in [
        ("pull", false),
        ("pull delete", false),
        ("push", true),
        ("pull sign", true),
        ("pull tag", true),
        ("pull approve", true),
        ("admin", true),
    ] {
        let authorizer = Authorizer::new(rules(&[("m", "user:alice", verbs)]));
        let grant = authorizer
            .grant::<Pull>(&user("alice"), &name("m"))
            .unwrap();
        assert_eq!(grant.sees_staging(), sees, "{verbs}");
        // A client that reads asks for `pull` alone.
        let reads = session(
            user("alice"),
            vec![Access::repository(name("m"), Verb::Pull.into())],
        );
        let grant = authorizer.grant::<Pull>(&reads, &name("m")).unwrap();
        assert_eq!(grant.sees_staging(), sees, "{verbs} in a session");
        // A token for reading is for what is released.
        let scopes = vec![TokenScope {
            repositories: vec!["**".parse().unwrap()],
            verbs: vec![Verb::Pull],
        }];
        let token = restricted(user("alice"), scopes);
        assert!(
            !authorizer
                .grant::<Pull>(&token, &name("m"))
                .unwrap()
                .sees_staging()
        );
    }
}

#[test]
fn scopes_are_narrowed_silently() {
    let authorizer = Authorizer::new(rules(&[
        ("m", "user:alice", "push tag"),
        ("public/**", "anonymous", "pull"),
    ]));
    let wanted = Scope::parse_all([
        "repository:m:pull,push repository:other:pull,push",
        "repository:public/x:pull,push registry:catalog:*",
    ]);
    let access = authorizer.narrow(&user("alice"), &wanted);
    assert_eq!(
        serde_json::to_value(&access).unwrap(),
        serde_json::json!([
            {"type": "repository", "name": "m", "actions": ["pull", "push", "tag"]},
            {"type": "repository", "name": "public/x", "actions": ["pull"]},
            {"type": "registry", "name": "catalog", "actions": ["*"]},
        ])
    );
    let access = authorizer.narrow(&Principal::anonymous(), &wanted);
    assert_eq!(access.len(), 2, "{access:?}");
    // A session cannot be traded in for a wider one.
    let narrow = session(
        user("alice"),
        vec![Access::repository(name("m"), Verb::Pull.into())],
    );
    assert_eq!(
        authorizer.narrow(&narrow, &wanted),
        [Access::repository(name("m"), Verb::Pull.into())]
    );
}

#[test]
fn the_catalog_shows_what_one_may_touch() {
    let authorizer = Authorizer::new(rules(&[("m/**", "user:alice", "pull")]));
    assert!(!authorizer.may_list_catalog(&Principal::anonymous()));
    assert!(authorizer.may_list_catalog(&user("bob")));
    assert!(!authorizer.may_list_catalog(&session(user("alice"), vec![])));
    let lists = session(user("alice"), vec![Access::catalog()]);
    assert!(authorizer.may_list_catalog(&lists));
    assert!(authorizer.may_see(&lists, &name("m/x")));
    assert!(!authorizer.may_see(&lists, &name("x")));
    assert!(authorizer.grant::<Pull>(&lists, &name("m/x")).is_err());
    let public = Authorizer::new(rules(&[("p", "anonymous", "pull")]));
    assert!(public.may_list_catalog(&Principal::anonymous()));
}

#[test]
fn administration_takes_an_administrators_full_credentials() {
    let authorizer = Authorizer::new(rules(&[("**", "user:alice", "admin")]));
    assert!(authorizer.administrator(&administrator("root")).is_ok());
    assert_eq!(
        authorizer.administrator(&Principal::anonymous()),
        Err(AdministratorRefusal::Unauthenticated)
    );
    let all = |verbs: &[Verb]| {
        vec![TokenScope {
            repositories: vec!["**".parse().unwrap()],
            verbs: verbs.to_vec(),
        }]
    };
    assert!(Restriction(all(&[Verb::Admin])).is_unlimited());
    assert!(
        authorizer
            .administrator(&restricted(administrator("root"), all(&[Verb::Admin])))
            .is_ok()
    );
    for principal in [
        user("alice"),
        restricted(administrator("root"), all(&[Verb::Push])),
        restricted(user("alice"), all(&[Verb::Admin])),
        session(
            administrator("root"),
            vec![Access::repository(name("m"), VerbSet::ALL)],
        ),
    ] {
        assert!(
            matches!(
                authorizer.administrator(&principal),
                Err(AdministratorRefusal::Forbidden(_))
            ),
            "{principal:?}"
        );
    }
}
