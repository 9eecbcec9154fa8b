//! For tests of this crate only: principals without a login, a clock that is set by hand, a
//! directory in memory, grants without rules.

#![allow(clippy::unwrap_used, dead_code)]

use super::account::{Account, AccountName};
use super::directory::{Answer, Directory, DirectoryError};
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

/// A user who logged in with the account's own secret.
pub(crate) fn user(name: &str) -> Principal {
    Principal {
        identity: Identity::User(name.parse().unwrap()),
        ..Principal::anonymous()
    }
}

/// The same for a robot.
pub(crate) fn robot(name: &str) -> Principal {
    Principal {
        identity: Identity::Robot(name.parse().unwrap()),
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

    fn insert_account(&self, account: Account) -> Answer<'_, bool> {
        self.answer(|| {
            let mut accounts = self.accounts.lock().unwrap();
            let free = !accounts.contains_key(&account.name);
            if free {
                accounts.insert(account.name.clone(), account);
            }
            free
        })
    }

    fn replace_account(&self, account: Account) -> Answer<'_, bool> {
        self.answer(|| {
            let mut accounts = self.accounts.lock().unwrap();
            let known = accounts.contains_key(&account.name);
            if known {
                accounts.insert(account.name.clone(), account);
            }
            known
        })
    }

    fn remove_account<'a>(&'a self, name: &'a AccountName) -> Answer<'a, bool> {
        self.answer(|| self.accounts.lock().unwrap().remove(name).is_some())
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

    fn insert_token(&self, token: ApiToken) -> Answer<'_, bool> {
        self.answer(|| {
            let mut tokens = self.tokens.lock().unwrap();
            let free = !tokens.contains_key(&token.id);
            if free {
                tokens.insert(token.id.clone(), token);
            }
            free
        })
    }

    fn remove_token<'a>(&'a self, id: &'a TokenId) -> Answer<'a, bool> {
        self.answer(|| self.tokens.lock().unwrap().remove(id).is_some())
    }
}
