//! For tests of this crate only: principals without a login, a clock that is set by hand, a
//! directory in memory, grants without rules.

#![allow(clippy::unwrap_used, dead_code)]

use super::account::{Account, AccountName};
use super::directory::{
    AccountChange, Answer, Asker, Directory, DirectoryError, NewToken, NotKept, Unchanged, Wish,
};
use super::grant::{Action, Grant};
use super::principal::{Identity, Principal, Restriction, Session, TokenScope};
use super::rules::{AccessRuleText, AccessRules};
use super::scope::Access;
use super::token::{ApiToken, TokenId};
use super::verb::VerbSet;
use super::{Authorizer, Clock};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

/// A user who logged in with the account's own secret; the account is as old as [`TestClock`].
pub(crate) fn user(name: &str) -> Principal {
    Principal {
        identity: Identity::User(name.parse().unwrap()),
        since: Some(TestClock::default().now()),
        ..Principal::anonymous()
    }
}

/// The same for a robot.
pub(crate) fn robot(name: &str) -> Principal {
    Principal {
        identity: Identity::Robot(name.parse().unwrap()),
        since: Some(TestClock::default().now()),
        ..Principal::anonymous()
    }
}

/// The same for a user with the administrator's flag.
pub(crate) fn administrator(name: &str) -> Principal {
    Principal {
        administrator: true,
        ..user(name)
    }
}

/// `principal` by an API token of these scopes.
pub(crate) fn restricted(principal: Principal, scopes: Vec<TokenScope>) -> Principal {
    Principal {
        restriction: Some(Restriction(scopes)),
        ..principal
    }
}

/// `principal` by a session.
pub(crate) fn session(principal: Principal, access: Vec<Access>) -> Principal {
    Principal {
        session: Some(Session { access }),
        ..principal
    }
}

/// Rules from `(repositories, who, verbs)`, each parted by blanks.
pub(crate) fn rules(texts: &[(&str, &str, &str)]) -> AccessRules {
    let list = |text: &str| text.split(' ').map(str::to_owned).collect();
    let texts = texts
        .iter()
        .map(|(repositories, who, verbs)| AccessRuleText {
            repositories: list(repositories),
            who: list(who),
            verbs: list(verbs),
        });
    AccessRules::check(texts.collect()).unwrap()
}

/// A grant for `user:tester`, an administrator, as the stores' tests need them.
pub(crate) fn grant<A: Action>(repository: &str) -> Grant<A> {
    Authorizer::new(AccessRules::default())
        .grant(&administrator("tester"), &repository.parse().unwrap())
        .unwrap()
}

/// A grant of somebody who holds nothing but `A` and what it implies: no staging for pullers.
pub(crate) fn plain_grant<A: Action>(repository: &str) -> Grant<A> {
    Grant::new(
        Identity::User("plain".parse().unwrap()),
        repository.parse().unwrap(),
        VerbSet::from(A::VERB).closed(),
    )
}

/// A clock that stands still until it is moved.
#[derive(Clone)]
pub(crate) struct TestClock(Arc<AtomicI64>);

impl Default for TestClock {
    fn default() -> TestClock {
        TestClock(Arc::new(AtomicI64::new(1_800_000_000)))
    }
}

impl TestClock {
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::SeqCst)).unwrap()
    }

    pub(crate) fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }

    pub(crate) fn clock(&self) -> Clock {
        let clock = self.clone();
        Arc::new(move || clock.now())
    }
}

/// A directory in memory.
#[derive(Default)]
pub(crate) struct MemoryDirectory {
    pub(crate) accounts: Mutex<BTreeMap<AccountName, Account>>,
    pub(crate) tokens: Mutex<BTreeMap<TokenId, ApiToken>>,
    /// Of accounts in the file: the mark of the secret, and since when.
    pub(crate) file: Mutex<BTreeMap<AccountName, (String, Timestamp)>>,
    /// When set, every question fails.
    pub(crate) broken: AtomicBool,
}

impl MemoryDirectory {
    fn answer<'a, T: Send + 'a>(&'a self, work: impl FnOnce() -> T) -> Answer<'a, T> {
        let answer = if self.broken.load(Ordering::SeqCst) {
            Err(DirectoryError::new("the disk is on fire"))
        } else {
            Ok(work())
        };
        Box::pin(std::future::ready(answer))
    }

    fn end_tokens(&self, owner: &AccountName) {
        let mut tokens = self.tokens.lock().unwrap();
        tokens.retain(|_, token| token.owner != *owner);
    }
}

impl Directory for MemoryDirectory {
    fn account<'a>(&'a self, name: &'a AccountName) -> Answer<'a, Option<Account>> {
        self.answer(|| self.accounts.lock().unwrap().get(name).cloned())
    }

    fn accounts<'a>(
        &'a self,
        after: Option<&'a AccountName>,
        limit: usize,
    ) -> Answer<'a, Vec<Account>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.answer(|| {
            let accounts = self.accounts.lock().unwrap();
            accounts
                .range::<AccountName, _>((from, Bound::Unbounded))
                .take(limit)
                .map(|(_, account)| account.clone())
                .collect()
        })
    }

    fn insert_account(
        &self,
        account: Account,
        by: Option<Asker>,
    ) -> Answer<'_, Result<(), Unchanged>> {
        self.answer(|| {
            let mut accounts = self.accounts.lock().unwrap();
            if let Some(by) = by
                && !by.administers(accounts.get(&by.name), account.created_at)
            {
                return Err(Unchanged::AskerGone);
            }
            if accounts.contains_key(&account.name) {
                return Err(Unchanged::NameTaken);
            }
            self.end_tokens(&account.name);
            accounts.insert(account.name.clone(), account);
            Ok(())
        })
    }

    fn replace_account(&self, account: Account) -> Answer<'_, bool> {
        self.answer(|| {
            let mut accounts = self.accounts.lock().unwrap();
            let known = accounts.contains_key(&account.name);
            if known {
                self.end_tokens(&account.name);
                accounts.insert(account.name.clone(), account);
            }
            known
        })
    }

    fn change_account(&self, change: AccountChange) -> Answer<'_, Result<Account, Unchanged>> {
        self.answer(|| {
            let mut accounts = self.accounts.lock().unwrap();
            let found = accounts.get(&change.name).cloned();
            let account = change.apply(found, accounts.get(&change.by.name))?;
            if change.wish != Wish::Removed {
                accounts.insert(change.name, account.clone());
                return Ok(account);
            }
            accounts.remove(&change.name);
            self.end_tokens(&change.name);
            if let Some((_, since)) = self.file.lock().unwrap().get_mut(&change.name) {
                *since = change.now;
            }
            Ok(account)
        })
    }

    fn note_file(&self, file: BTreeMap<AccountName, String>, now: Timestamp) -> Answer<'_, ()> {
        self.answer(|| {
            let accounts = self.accounts.lock().unwrap();
            let mut kept = self.file.lock().unwrap();
            kept.retain(|name, _| file.contains_key(name));
            for (name, mark) in file {
                if kept.get(&name).is_some_and(|(before, _)| *before == mark) {
                    continue;
                }
                if !accounts.contains_key(&name) {
                    self.end_tokens(&name);
                }
                kept.insert(name, (mark, now));
            }
            self.tokens.lock().unwrap().retain(|_, token| {
                let account = accounts.get(&token.owner).map(|kept| kept.created_at);
                let since = account.or_else(|| kept.get(&token.owner).map(|(_, since)| *since));
                token.is_active(now) && since.is_some_and(|since| since <= token.created_at)
            });
        })
    }

    fn in_file_since<'a>(&'a self, name: &'a AccountName) -> Answer<'a, Option<Timestamp>> {
        self.answer(|| self.file.lock().unwrap().get(name).map(|(_, since)| *since))
    }

    fn token<'a>(&'a self, id: &'a TokenId) -> Answer<'a, Option<ApiToken>> {
        self.answer(|| self.tokens.lock().unwrap().get(id).cloned())
    }

    fn tokens<'a>(
        &'a self,
        owner: Option<&'a AccountName>,
        after: Option<&'a TokenId>,
        limit: usize,
    ) -> Answer<'a, Vec<ApiToken>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.answer(|| {
            let tokens = self.tokens.lock().unwrap();
            tokens
                .range::<TokenId, _>((from, Bound::Unbounded))
                .map(|(_, token)| token.clone())
                .filter(|token| owner.is_none_or(|owner| token.owner == *owner))
                .take(limit)
                .collect()
        })
    }

    fn insert_token(&self, new: NewToken) -> Answer<'_, Result<(), NotKept>> {
        self.answer(|| {
            let (token, now) = (new.token, new.now);
            let accounts = self.accounts.lock().unwrap();
            let owner = accounts.get(&token.owner);
            let file = self.file.lock().unwrap();
            let since = owner
                .map(|owner| owner.created_at)
                .or_else(|| file.get(&token.owner).map(|(_, since)| *since));
            if owner.is_some_and(|owner| !owner.is_active(now)) || since != Some(new.owner_since) {
                return Err(NotKept::OwnerGone);
            }
            let mut tokens = self.tokens.lock().unwrap();
            if tokens.contains_key(&token.id) {
                return Err(NotKept::IdTaken);
            }
            tokens.retain(|_, kept| kept.owner != token.owner || kept.is_active(now));
            let kept = tokens.values().filter(|kept| kept.owner == token.owner);
            if kept.count() >= new.most {
                return Err(NotKept::TooMany);
            }
            tokens.insert(token.id.clone(), token);
            Ok(())
        })
    }

    fn remove_token<'a>(&'a self, id: &'a TokenId) -> Answer<'a, bool> {
        self.answer(|| self.tokens.lock().unwrap().remove(id).is_some())
    }
}
