//! Accounts, API tokens, and the server's own values.

#![allow(clippy::unwrap_used)]

use super::kit::*;
use crate::auth::account::{Account, AccountKind, AccountName};
use crate::auth::principal::Restriction;
use crate::auth::token::{ApiToken, TokenSecret};
use jiff::Timestamp;
use sealstone_spec::key::{SecretKey, Signer as _};
use std::sync::Arc;

fn account(name: &str) -> Account {
    // A hash of nothing: the store does not look at it.
    let hash = format!(
        "$argon2id$v=19$m=8,t=1,p=1${}${}",
        "c2FsdHNhbHQ",
        "A".repeat(43)
    );
    serde_json::from_value(serde_json::json!({
        "name": name, "kind": "user", "secret_hash": hash, "admin": false, "disabled": false,
        "created_at": "2026-01-01T00:00:00Z", "expires_at": null,
    }))
    .unwrap()
}

fn token(owner: &str) -> ApiToken {
    let hash = TokenSecret::generate(&mut rand::rng()).hash();
    ApiToken {
        id: hash.id(),
        hash,
        name: "ci".into(),
        owner: owner.parse().unwrap(),
        scopes: Restriction(Vec::new()),
        created_at: Timestamp::UNIX_EPOCH,
        expires_at: None,
    }
}

pub(crate) async fn accounts_are_inserted_replaced_and_removed(store: Arc<dyn Store>) {
    let name: AccountName = "bob".parse().unwrap();
    assert!(!store.replace_account(account("bob")).await.unwrap());
    assert_eq!(store.account(&name).await.unwrap(), None);
    assert!(store.insert_account(account("bob")).await.unwrap());
    let robot = Account {
        kind: AccountKind::Robot,
        ..account("bob")
    };
    assert!(
        !store.insert_account(robot.clone()).await.unwrap(),
        "users and robots share names"
    );
    assert_eq!(store.account(&name).await.unwrap(), Some(account("bob")));
    assert!(store.replace_account(robot.clone()).await.unwrap());
    assert_eq!(store.account(&name).await.unwrap(), Some(robot));
    for other in ["bob2", "Bob", "alice", "bo"] {
        assert!(store.insert_account(account(other)).await.unwrap());
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
        ["Bob", "alice", "bo", "bob", "bob2"]
    );
    assert!(store.remove_account(&name).await.unwrap());
    assert!(!store.remove_account(&name).await.unwrap());
    assert_eq!(store.account(&name).await.unwrap(), None);
    assert_eq!(store.accounts(None, 10).await.unwrap().len(), 4);
    // Of many who want one name, one gets it.
    let tries = (0..16).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.insert_account(account("wanted")).await.unwrap() })
    });
    let mut inserted = 0;
    for attempt in tries.collect::<Vec<_>>() {
        inserted += u32::from(attempt.await.unwrap());
    }
    assert_eq!(inserted, 1);
}

pub(crate) async fn tokens_are_kept_by_owner(store: Arc<dyn Store>) {
    let mut ids = Vec::new();
    for number in 0..6 {
        let token = token(if number % 2 == 0 { "alice" } else { "bob" });
        ids.push(token.id.clone());
        assert!(store.insert_token(token.clone()).await.unwrap());
        assert!(!store.insert_token(token.clone()).await.unwrap());
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
        store.server_value("signing key", vec![99]).await.unwrap(),
        found[0]
    );
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
