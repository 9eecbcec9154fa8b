//! Accounts, API tokens, and the server's own values.

#![allow(clippy::unwrap_used)]

use super::kit::*;
use crate::auth::account::{Account, AccountKind, AccountName};
use crate::auth::directory::{AccountChange, Asker, NewToken, NotKept, Unchanged, Wish};
use crate::auth::password::SecretHash;
use crate::auth::principal::Restriction;
use crate::auth::token::{ApiToken, TokenSecret};
use jiff::Timestamp;
use sealstone_spec::key::{SecretKey, Signer as _};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A hash of nothing: the store does not look at it.
fn hash(letter: &str) -> SecretHash {
    let text = format!(
        "$argon2id$v=19$m=8,t=1,p=1${}${}",
        "c2FsdHNhbHQ",
        letter.repeat(43)
    );
    SecretHash::try_from(text).unwrap()
}

/// Seconds after which every account was made.
const MADE: i64 = 1_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn named(name: &str) -> AccountName {
    name.parse().unwrap()
}

fn account(name: &str) -> Account {
    Account {
        name: named(name),
        kind: AccountKind::User,
        secret_hash: hash("A"),
        admin: false,
        disabled: false,
        created_at: at(MADE),
        expires_at: None,
    }
}

fn administrator(name: &str) -> Account {
    Account {
        admin: true,
        ..account(name)
    }
}

fn asker(name: &str) -> Asker {
    Asker {
        name: named(name),
        since: at(MADE),
    }
}

fn change(by: &str, name: &str, wish: Wish) -> AccountChange {
    AccountChange {
        name: named(name),
        wish,
        by: asker(by),
        now: at(MADE + 10),
    }
}

async fn add(store: &dyn Store, account: Account) -> Result<(), Unchanged> {
    store.insert_account(account, None).await.unwrap()
}

/// Keeps a token of which the owner may have `most`.
async fn keep(store: &dyn Store, token: &ApiToken, most: usize) -> Result<(), NotKept> {
    let new = NewToken {
        token: token.clone(),
        owner_since: at(MADE),
        now: token.created_at,
        most,
    };
    store.insert_token(new).await.unwrap()
}

async fn count(store: &dyn Store, owner: &str) -> usize {
    let found = store.tokens(Some(&named(owner)), None, 100).await.unwrap();
    for token in &found {
        assert!(store.token(&token.id).await.unwrap().is_some());
    }
    found.len()
}

fn token(owner: &str) -> ApiToken {
    let hash = TokenSecret::generate(&mut rand::rng()).hash();
    ApiToken {
        id: hash.id(),
        hash,
        name: "ci".into(),
        owner: owner.parse().unwrap(),
        scopes: Restriction(Vec::new()),
        created_at: at(MADE + 5),
        expires_at: None,
    }
}

pub(crate) async fn accounts_are_inserted_replaced_and_removed(store: Arc<dyn Store>) {
    let store = &*store;
    let name = named("bob");
    assert!(!store.replace_account(account("bob")).await.unwrap());
    assert_eq!(store.account(&name).await.unwrap(), None);
    assert_eq!(add(store, administrator("root")).await, Ok(()));
    assert_eq!(add(store, account("bob")).await, Ok(()));
    let robot = Account {
        kind: AccountKind::Robot,
        ..account("bob")
    };
    assert_eq!(
        add(store, robot.clone()).await,
        Err(Unchanged::NameTaken),
        "users and robots share names"
    );
    assert_eq!(store.account(&name).await.unwrap(), Some(account("bob")));
    assert!(store.replace_account(robot.clone()).await.unwrap());
    assert_eq!(store.account(&name).await.unwrap(), Some(robot.clone()));
    for other in ["bob2", "Bob", "alice", "bo"] {
        assert_eq!(add(store, account(other)).await, Ok(()));
    }
    let mut found: Vec<AccountName> = Vec::new();
    loop {
        let page = store.accounts(found.last(), 2).await.unwrap();
        if page.is_empty() {
            break;
        }
        found.extend(page.into_iter().map(|account| account.name));
    }
    assert_eq!(
        found.iter().map(AccountName::as_str).collect::<Vec<_>>(),
        ["Bob", "alice", "bo", "bob", "bob2", "root"]
    );
    let remove = change("root", "bob", Wish::Removed);
    let removed = store.change_account(remove.clone()).await.unwrap();
    assert_eq!(removed, Ok(robot), "as it was");
    let again = store.change_account(remove).await.unwrap();
    assert_eq!(again, Err(Unchanged::NoAccount));
    assert_eq!(store.account(&name).await.unwrap(), None);
    assert_eq!(store.accounts(None, 10).await.unwrap().len(), 5);
}

pub(crate) async fn of_many_who_want_one_name_one_gets_it(store: Arc<dyn Store>) {
    let tries = (0..16).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { add(&*store, account("wanted")).await.is_ok() })
    });
    let mut inserted = 0;
    for attempt in tries.collect::<Vec<_>>() {
        inserted += u32::from(attempt.await.unwrap());
    }
    assert_eq!(inserted, 1);
}

pub(crate) async fn changes_of_an_account_do_not_undo_each_other(store: Arc<dyn Store>) {
    add(&*store, administrator("root")).await.unwrap();
    for round in 0..20 {
        let name = format!("bob{round}");
        add(&*store, account(&name)).await.unwrap();
        let wishes = [Wish::Secret(hash("E")), Wish::Disabled(true)];
        let changes = wishes.map(|wish| {
            let (store, change) = (store.clone(), change("root", &name, wish));
            tokio::spawn(async move { store.change_account(change).await.unwrap().unwrap() })
        });
        for change in changes {
            change.await.unwrap();
        }
        let found = store.account(&named(&name)).await.unwrap().unwrap();
        assert!(found.disabled && found.secret_hash == hash("E"), "{name}");
        assert_eq!(found.created_at, at(MADE));
    }
}

pub(crate) async fn administrators_who_shut_out_each_other_leave_one(store: Arc<dyn Store>) {
    for round in 0..20 {
        let names = [format!("a{round}"), format!("b{round}")];
        for name in &names {
            add(&*store, administrator(name)).await.unwrap();
        }
        let [a, b] = &names;
        let wish = if round % 2 == 0 {
            Wish::Removed
        } else {
            Wish::Disabled(true)
        };
        let changes = [(a, b), (b, a)].map(|(by, name)| {
            let (store, change) = (store.clone(), change(by, name, wish.clone()));
            tokio::spawn(async move { store.change_account(change).await.unwrap() })
        });
        let mut refused = Vec::new();
        for change in changes {
            refused.extend(change.await.unwrap().err());
        }
        assert_eq!(refused, [Unchanged::AskerGone]);
    }
}

pub(crate) async fn whoever_was_shut_out_changes_nothing(store: Arc<dyn Store>) {
    let store = &*store;
    add(store, account("bob")).await.unwrap();
    let later = Account {
        created_at: at(MADE + 1),
        ..administrator("later")
    };
    let out = Account {
        disabled: true,
        ..administrator("out")
    };
    let expired = Account {
        expires_at: Some(at(MADE + 10)),
        ..administrator("expired")
    };
    for other in [later, out, expired, account("plain")] {
        add(store, other).await.unwrap();
    }
    for by in ["nobody", "later", "out", "expired", "plain"] {
        for wish in [Wish::Removed, Wish::Disabled(true), Wish::Secret(hash("E"))] {
            let answer = store.change_account(change(by, "bob", wish)).await.unwrap();
            assert_eq!(answer, Err(Unchanged::AskerGone), "{by}");
        }
        let new = Account {
            created_at: at(MADE + 10),
            ..administrator("new")
        };
        let made = store.insert_account(new, Some(asker(by))).await.unwrap();
        assert_eq!(made, Err(Unchanged::AskerGone), "{by}");
    }
    assert_eq!(store.account(&named("new")).await.unwrap(), None);
    let bob = store.account(&named("bob")).await.unwrap();
    assert_eq!(bob, Some(account("bob")));
}

pub(crate) async fn tokens_end_with_the_account_whose_they_were(store: Arc<dyn Store>) {
    let store = &*store;
    add(store, administrator("root")).await.unwrap();
    for name in ["bob", "bobby"] {
        add(store, account(name)).await.unwrap();
        keep(store, &token(name), 9).await.unwrap();
    }
    let remove = change("root", "bob", Wish::Removed);
    store.change_account(remove).await.unwrap().unwrap();
    assert_eq!(store.tokens(None, None, 9).await.unwrap().len(), 1);
    assert_eq!(count(store, "bobby").await, 1);
    // Whoever asked before is not the one who has the name now.
    assert_eq!(keep(store, &token("bob"), 9).await, Err(NotKept::OwnerGone));
    let next = Account {
        created_at: at(MADE + 20),
        ..account("bob")
    };
    add(store, next).await.unwrap();
    assert_eq!(keep(store, &token("bob"), 9).await, Err(NotKept::OwnerGone));
    assert!(store.replace_account(account("bobby")).await.unwrap());
    assert_eq!(store.tokens(None, None, 9).await.unwrap().len(), 0);
    let out = change("root", "bobby", Wish::Disabled(true));
    store.change_account(out).await.unwrap().unwrap();
    let late = keep(store, &token("bobby"), 9).await;
    assert_eq!(late, Err(NotKept::OwnerGone));
}

pub(crate) async fn an_account_has_so_many_tokens_and_no_more(store: Arc<dyn Store>) {
    for name in ["bob", "alice"] {
        add(&*store, account(name)).await.unwrap();
    }
    let tries = (0..16).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { keep(&*store, &token("bob"), 5).await })
    });
    let mut refused = Vec::new();
    for attempt in tries.collect::<Vec<_>>() {
        refused.extend(attempt.await.unwrap().err());
    }
    assert_eq!(refused, [NotKept::TooMany; 11]);
    assert_eq!(count(&*store, "bob").await, 5);
    keep(&*store, &token("alice"), 5).await.unwrap();
    let short = ApiToken {
        expires_at: Some(at(MADE + 6)),
        ..token("alice")
    };
    keep(&*store, &short, 5).await.unwrap();
    let later = ApiToken {
        created_at: at(MADE + 6),
        ..token("alice")
    };
    // What has expired counts no more, and goes.
    keep(&*store, &later, 2).await.unwrap();
    assert_eq!(count(&*store, "alice").await, 2);
    assert!(store.token(&short.id).await.unwrap().is_none());
}

pub(crate) async fn an_account_of_the_file_lasts_as_long_as_its_mark(store: Arc<dyn Store>) {
    let store = &*store;
    let note = async |marks: &[(&str, &str)], second: i64| {
        let marks = marks
            .iter()
            .map(|(name, mark)| (named(name), (*mark).to_owned()));
        let file: BTreeMap<AccountName, String> = marks.collect();
        store.note_file(file, at(second)).await.unwrap();
    };
    let since = async |name: &str| store.in_file_since(&named(name)).await.unwrap();
    add(store, administrator("root")).await.unwrap();
    // The first time nobody knows since when they have been there, and tokens of an older server stay theirs.
    note(&[("eve", "1")], MADE).await;
    assert_eq!(since("eve").await, Some(Timestamp::UNIX_EPOCH));
    note(&[("ann", "1"), ("bob", "1"), ("root", "1")], MADE).await;
    assert_eq!(since("eve").await, None);
    for name in ["ann", "bob", "root"] {
        keep(store, &token(name), 9).await.unwrap();
        assert_eq!(since(name).await, Some(at(MADE)));
    }
    // Another start with the same file changes nothing; what has expired by then goes.
    let short = ApiToken {
        expires_at: Some(at(MADE + 6)),
        ..token("ann")
    };
    keep(store, &short, 9).await.unwrap();
    note(&[("ann", "1"), ("bob", "1"), ("root", "1")], MADE + 6).await;
    assert_eq!(since("ann").await, Some(at(MADE)));
    assert_eq!(count(store, "ann").await, 1);
    // Another secret is another account; an account in the directory comes first, so those tokens are its own. The clock
    // is set back meanwhile.
    note(&[("ann", "2"), ("root", "2")], MADE + 2).await;
    assert_eq!(since("ann").await, Some(at(MADE + 2)));
    assert_eq!(since("bob").await, None);
    assert_eq!(count(store, "ann").await, 0);
    assert_eq!(count(store, "bob").await, 0);
    assert_eq!(count(store, "root").await, 1);
    assert_eq!(keep(store, &token("ann"), 9).await, Err(NotKept::OwnerGone));
    // The account in the directory goes: what it had is not the other one's.
    add(store, administrator("other")).await.unwrap();
    let remove = change("other", "root", Wish::Removed);
    store.change_account(remove).await.unwrap().unwrap();
    assert_eq!(since("root").await, Some(at(MADE + 10)));
    assert_eq!(store.tokens(None, None, 9).await.unwrap().len(), 0);
}

pub(crate) async fn tokens_are_kept_by_owner(store: Arc<dyn Store>) {
    let mut ids = Vec::new();
    for name in ["alice", "bob"] {
        add(&*store, account(name)).await.unwrap();
    }
    for number in 0..6 {
        let token = token(if number % 2 == 0 { "alice" } else { "bob" });
        ids.push(token.id.clone());
        assert_eq!(keep(&*store, &token, 9).await, Ok(()));
        assert_eq!(keep(&*store, &token, 9).await, Err(NotKept::IdTaken));
        let found = store.token(&token.id).await.unwrap().unwrap();
        assert!(found.hash.is(&token.hash) && found.owner == token.owner);
    }
    let alice: AccountName = "alice".parse().unwrap();
    for owner in [None, Some(&alice)] {
        let mut found = Vec::new();
        loop {
            let page = store.tokens(owner, found.last(), 2).await.unwrap();
            if page.is_empty() {
                break;
            }
            assert!(
                page.iter()
                    .all(|token| owner.is_none_or(|owner| token.owner == *owner))
            );
            found.extend(page.into_iter().map(|token| token.id));
        }
        assert_eq!(found.len(), if owner.is_some() { 3 } else { 6 });
        assert!(found.is_sorted());
    }
    assert!(store.remove_token(&ids[0]).await.unwrap());
    assert!(!store.remove_token(&ids[0]).await.unwrap());
    assert!(store.token(&ids[0]).await.unwrap().is_none());
    assert_eq!(store.tokens(Some(&alice), None, 10).await.unwrap().len(), 2);
}

pub(crate) async fn the_last_run_of_a_job_is_remembered(store: Arc<dyn Store>) {
    assert_eq!(store.last_run("scrub").await.unwrap(), None);
    for at in [1_000, 2_000] {
        store.note_run("scrub", at).await.unwrap();
        assert_eq!(store.last_run("scrub").await.unwrap(), Some(at));
    }
    assert_eq!(store.last_run("collect").await.unwrap(), None);
}

pub(crate) async fn every_key_for_statements_is_kept(store: Arc<dyn Store>) {
    let key = |seed: u8| {
        let secret = SecretKey::ed25519_from_seed(&[seed; 32]).unwrap();
        secret.public_key().clone()
    };
    let (one, other) = (key(1), key(2));
    for (given, kept) in [
        (&one, vec![&one]),
        (&one, vec![&one]),
        (&other, vec![&one, &other]),
        (&one, vec![&one, &other]),
    ] {
        let found = store.keep_statement_key(given.clone()).await.unwrap();
        assert_eq!(found.iter().collect::<Vec<_>>(), kept);
    }
}

pub(crate) async fn values_of_the_server_are_made_once(store: Arc<dyn Store>) {
    assert_eq!(store.kept_value("signing key").await.unwrap(), None);
    let tries = (0..16_u8).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            store
                .server_value("signing key", vec![number])
                .await
                .unwrap()
        })
    });
    let mut found = Vec::new();
    for attempt in tries.collect::<Vec<_>>() {
        found.push(attempt.await.unwrap());
    }
    found.dedup();
    assert_eq!(found.len(), 1, "everybody got the same");
    assert_eq!(
        store.kept_value("signing key").await.unwrap().as_ref(),
        found.first()
    );
    assert_eq!(
        store.server_value("signing key", vec![99]).await.unwrap(),
        found[0]
    );
    for (name, value) in [("signing key", b"z"), ("new", b"n")] {
        store.replace_value(name, value.to_vec()).await.unwrap();
        let kept = store.kept_value(name).await.unwrap();
        assert_eq!(kept.as_deref(), Some(&value[..]));
    }
    // Names of values cannot reach the store's own.
    store
        .set_policy(sealstone_spec::digest::Digest::sha256(b"p"))
        .await
        .unwrap();
    assert_eq!(
        store.server_value("policy", b"x".to_vec()).await.unwrap(),
        b"x"
    );
    assert_eq!(
        store.server_value("schema", b"y".to_vec()).await.unwrap(),
        b"y"
    );
    assert_eq!(
        store.policy().await.unwrap(),
        Some(sealstone_spec::digest::Digest::sha256(b"p"))
    );
    store.check_health().await.unwrap();
}
