#![allow(clippy::unwrap_used)]
use super::*;
use crate::auth::password::SecretHash;
use crate::auth::principal::TokenScope;
use crate::auth::testing::{
    MemoryDirectory, TestClock, administrator, restricted, robot, session, user,
};
use crate::auth::verb::Verb;
use crate::auth::{AccessRules, Authorizer};
use std::sync::atomic::Ordering;

struct House {
    directory: MemoryDirectory,
    passwords: Passwords,
    clock: TestClock,
    root: Administrator,
}

fn house() -> House {
    let clock = TestClock::default();
    House {
        directory: MemoryDirectory::default(),
        passwords: Passwords::new(&[], clock.clock(), &mut rand::rng()),
        root: Authorizer::new(AccessRules::default())
            .administrator(&administrator("root"))
            .unwrap(),
        clock,
    }
}

impl House {
    /// An account that nobody made, of which the secret is of no concern.
    fn enter(&self, name: &str, admin: bool) {
        let hash = "$2y$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK";
        let account = Account {
            name: name.parse().unwrap(),
            kind: AccountKind::User,
            secret_hash: SecretHash::try_from(hash.to_owned()).unwrap(),
            admin,
            disabled: false,
            created_at: TestClock::default().now(),
            expires_at: None,
        };
        let mut accounts = self.directory.accounts.lock().unwrap();
        accounts.insert(account.name.clone(), account);
    }

    /// The same, made by a clock that was ahead; when that was, by it.
    fn enter_ahead(&self, name: &str, by: Duration) -> Timestamp {
        self.enter(name, false);
        let ahead = self.clock.now().checked_add(by).unwrap();
        let mut accounts = self.directory.accounts.lock().unwrap();
        accounts.get_mut(name).unwrap().created_at = ahead;
        ahead
    }

    fn count(&self) -> usize {
        self.directory.accounts.lock().unwrap().len()
    }

    async fn bootstrap(&self) -> Result<Option<Secret>, AdministrationError> {
        bootstrap(&self.directory, &self.passwords, fresh(), self.clock.now()).await
    }

    /// By root, who is there from then on.
    async fn create(
        &self,
        name: &str,
        secret: Option<&str>,
    ) -> Result<(Account, Secret), AdministrationError> {
        self.enter("root", true);
        let wanted = NewAccount {
            name: name.parse().unwrap(),
            kind: AccountKind::Robot,
            admin: false,
            secret: secret.map_or_else(fresh, Secret::new),
            expires_at: None,
        };
        let (directory, passwords, now) = (&self.directory, &self.passwords, self.clock.now());
        create_account(directory, passwords, &self.root, wanted, now).await
    }

    async fn token(
        &self,
        by: &Principal,
        name: &str,
        scopes: Vec<TokenScope>,
        lifetime: Option<Duration>,
    ) -> Result<(ApiToken, TokenSecret), AdministrationError> {
        if let Some(owner) = by.identity.name() {
            self.enter(owner.as_str(), false);
        }
        let (scopes, now) = (Restriction(scopes), self.clock.now());
        create_token(
            &self.directory,
            by,
            name,
            scopes,
            lifetime,
            TokenSecret::generate(&mut rand::rng()),
            now,
        )
        .await
    }
}

fn fresh() -> Secret {
    Secret::generate(&mut rand::rng())
}

fn scope() -> TokenScope {
    TokenScope {
        repositories: vec!["**".parse().unwrap()],
        verbs: vec![Verb::Pull],
    }
}

#[tokio::test]
async fn the_first_administrator_is_made_once() {
    let house = house();
    let secret = house.bootstrap().await.unwrap().unwrap();
    let admin = house.directory.accounts.lock().unwrap()["admin"].clone();
    assert!(admin.admin && admin.kind == AccountKind::User);
    assert!(admin.secret_hash.verify(&secret));
    assert!(
        !serde_json::to_string(&admin)
            .unwrap()
            .contains(secret.expose())
    );
    assert!(house.bootstrap().await.unwrap().is_none());
}

#[tokio::test]
async fn no_administrator_is_made_beside_other_accounts_or_without_an_answer() {
    let house = house();
    house.create("ci", None).await.unwrap();
    assert!(house.bootstrap().await.unwrap().is_none());
    house.directory.accounts.lock().unwrap().clear();
    house.directory.broken.store(true, Ordering::SeqCst);
    assert!(house.bootstrap().await.is_err());
    assert!(house.directory.accounts.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_lost_administrator_is_made_anew_and_nothing_of_the_old_one_holds() {
    let house = house();
    let reset = async || {
        let (directory, passwords) = (&house.directory, &house.passwords);
        let right = Maintenance::at_boot();
        reset_first_administrator(directory, passwords, &right, fresh(), house.clock.now())
            .await
            .unwrap()
    };
    let admin = || house.directory.accounts.lock().unwrap()["admin"].clone();
    let first = house.bootstrap().await.unwrap().unwrap();
    let before = admin();
    house
        .directory
        .accounts
        .lock()
        .unwrap()
        .get_mut("admin")
        .unwrap()
        .disabled = true;
    house.clock.advance(1);
    let second = reset().await;
    let after = admin();
    assert!(after.admin && after.is_active(house.clock.now()));
    assert!(after.secret_hash.verify(&second) && !after.secret_hash.verify(&first));
    assert!(
        after.created_at > before.created_at,
        "tokens and sessions from before are another account's"
    );
    house.directory.accounts.lock().unwrap().clear();
    house.create("ci", None).await.unwrap();
    let third = reset().await;
    assert!(admin().admin && admin().secret_hash.verify(&third));
}

#[tokio::test]
async fn two_servers_that_start_together_make_one_administrator() {
    let house = house();
    let (a, b) = tokio::join!(house.bootstrap(), house.bootstrap());
    let secrets: Vec<Secret> = [a.unwrap(), b.unwrap()].into_iter().flatten().collect();
    assert_eq!(secrets.len(), 1);
    let admin = house.directory.accounts.lock().unwrap()["admin"].clone();
    assert!(admin.secret_hash.verify(&secrets[0]));
}

#[tokio::test]
async fn accounts_are_made_once_per_name_with_a_good_secret() {
    let house = house();
    let (account, secret) = house.create("ci", None).await.unwrap();
    assert!(account.secret_hash.verify(&secret));
    assert!(matches!(
        house.create("ci", None).await,
        Err(AdministrationError::AccountExists(_))
    ));
    for bad in [
        "short",
        "",
        "sst_aaaaaaaaaaaaaaa",
        "with\ncontrol-character",
        &"x".repeat(1025),
    ] {
        assert!(house.create("other", Some(bad)).await.is_err(), "{bad}");
    }
    assert_eq!(house.count(), 2, "refusals store nothing");
    let (_, secret) = house
        .create("other", Some("long enough secret"))
        .await
        .unwrap();
    assert_eq!(secret.expose(), "long enough secret");
}

#[tokio::test]
async fn secrets_are_replaced_and_accounts_shut_out_and_removed() {
    let house = house();
    let (_, old) = house.create("ci", None).await.unwrap();
    let ci: AccountName = "ci".parse().unwrap();
    let (directory, passwords) = (&house.directory, &house.passwords);
    let (root, now) = (&house.root, house.clock.now());
    let new = replace_secret(directory, passwords, root, &ci, fresh(), now)
        .await
        .unwrap();
    let account = directory.account(&ci).await.unwrap().unwrap();
    assert!(account.secret_hash.verify(&new) && !account.secret_hash.verify(&old));
    for disabled in [true, false] {
        let changed = set_disabled(directory, root, &ci, disabled, now).await;
        assert_eq!(changed.unwrap().disabled, disabled);
    }
    remove_account(directory, root, &ci, now).await.unwrap();
    for gone in [
        remove_account(directory, root, &ci, now).await.unwrap_err(),
        set_disabled(directory, root, &ci, true, now)
            .await
            .unwrap_err(),
        replace_secret(directory, passwords, root, &ci, fresh(), now)
            .await
            .unwrap_err(),
    ] {
        assert!(matches!(gone, AdministrationError::NoAccount(_)));
    }
}

#[tokio::test]
async fn an_administrator_who_is_gone_changes_nothing() {
    let house = house();
    house.create("ci", None).await.unwrap();
    let (ci, root): (AccountName, AccountName) = ("ci".parse().unwrap(), "root".parse().unwrap());
    let before = house.directory.accounts.lock().unwrap()[&ci].clone();
    // The request was let in before that.
    house.directory.accounts.lock().unwrap().remove(&root);
    let (directory, passwords) = (&house.directory, &house.passwords);
    let (by, now) = (&house.root, house.clock.now());
    let wanted = NewAccount {
        name: "back-door".parse().unwrap(),
        kind: AccountKind::User,
        admin: true,
        secret: fresh(),
        expires_at: None,
    };
    for gone in [
        remove_account(directory, by, &ci, now).await.unwrap_err(),
        set_disabled(directory, by, &ci, true, now)
            .await
            .unwrap_err(),
        replace_secret(directory, passwords, by, &ci, fresh(), now)
            .await
            .unwrap_err(),
        create_account(directory, passwords, by, wanted, now)
            .await
            .unwrap_err(),
    ] {
        assert!(matches!(gone, AdministrationError::Gone(_)), "{gone}");
    }
    let after = house.directory.accounts.lock().unwrap();
    assert_eq!((after.len(), &after[&ci]), (1, &before));
}

#[tokio::test]
async fn nobody_shuts_out_themself() {
    let house = house();
    house.enter("root", true);
    let (root, now): (AccountName, _) = ("root".parse().unwrap(), house.clock.now());
    for error in [
        remove_account(&house.directory, &house.root, &root, now)
            .await
            .unwrap_err(),
        set_disabled(&house.directory, &house.root, &root, true, now)
            .await
            .unwrap_err(),
    ] {
        assert!(matches!(error, AdministrationError::Oneself));
    }
    assert_eq!(house.count(), 1);
}

#[tokio::test]
async fn tokens_are_made_for_oneself_and_kept_as_hashes() {
    let house = house();
    let hour = Duration::from_secs(3600);
    let (token, secret) = house
        .token(&robot("ci"), "build", vec![scope()], Some(hour))
        .await
        .unwrap();
    assert_eq!(token.owner.as_str(), "ci");
    assert!(token.hash.is(&secret.hash()));
    assert!(
        !serde_json::to_string(&token)
            .unwrap()
            .contains(secret.expose())
    );
    let kept = house.directory.token(&token.id).await.unwrap().unwrap();
    assert_eq!(
        kept.expires_at,
        Some(house.clock.now().checked_add(hour).unwrap())
    );
}

#[tokio::test]
async fn limited_credentials_make_no_tokens() {
    let house = house();
    let wide = TokenScope {
        verbs: vec![Verb::Admin],
        ..scope()
    };
    for by in [
        Principal::anonymous(),
        restricted(user("alice"), vec![scope()]),
        session(user("alice"), vec![]),
        // It leaves nothing out, but ends: what it made would not.
        Principal {
            token: Some(TokenSecret::generate(&mut rand::rng()).hash().id()),
            ..restricted(user("alice"), vec![wide.clone()])
        },
    ] {
        let error = house
            .token(&by, "t", vec![wide.clone()], None)
            .await
            .unwrap_err();
        assert!(
            matches!(error, AdministrationError::LimitedCredentials(_)),
            "{error}"
        );
    }
    assert!(house.directory.tokens.lock().unwrap().is_empty());
}

#[tokio::test]
async fn wishes_that_will_not_do_store_nothing() {
    let house = house();
    let alice = user("alice");
    let empty = TokenScope {
        repositories: vec![],
        ..scope()
    };
    let long = TokenScope {
        repositories: vec!["a".repeat(200).parse().unwrap(); 42],
        ..scope()
    };
    let second = Some(Duration::from_secs(1));
    for (name, scopes, lifetime) in [
        ("", vec![scope()], None),
        (" ", vec![scope()], None),
        ("a\nb", vec![scope()], None),
        (&"x".repeat(129), vec![scope()], None),
        ("t", vec![], None),
        ("t", vec![empty], second),
        ("t", vec![scope(); 65], None),
        ("t", vec![long], None),
        ("t", vec![scope()], Some(Duration::ZERO)),
        (
            "t",
            vec![scope()],
            Some(Duration::from_secs(11 * 366 * 24 * 3600)),
        ),
        ("t", vec![scope()], Some(Duration::MAX)),
    ] {
        let error = house.token(&alice, name, scopes, lifetime).await;
        assert!(error.is_err(), "{name}");
    }
    assert!(house.directory.tokens.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_account_has_so_many_tokens_and_no_more() {
    let house = house();
    let (alice, hour) = (user("alice"), Some(Duration::from_secs(3600)));
    for _ in 0..MAX_TOKENS {
        house.token(&alice, "t", vec![scope()], hour).await.unwrap();
    }
    let error = house.token(&alice, "t", vec![scope()], hour).await;
    assert!(matches!(error, Err(AdministrationError::TooManyTokens)));
    house
        .token(&user("bob"), "t", vec![scope()], hour)
        .await
        .unwrap();
    house.clock.advance(3600);
    house.token(&alice, "t", vec![scope()], hour).await.unwrap();
    let kept = house.directory.tokens.lock().unwrap().len();
    assert_eq!(kept, 2, "those that have expired are gone");
}

#[tokio::test]
async fn a_token_is_not_made_for_the_next_account_of_a_name() {
    let house = house();
    house.enter_ahead("alice", Duration::from_secs(1));
    let alice = user("alice");
    let made = create_token(
        &house.directory,
        &alice,
        "t",
        Restriction(vec![scope()]),
        None,
        TokenSecret::generate(&mut rand::rng()),
        house.clock.now(),
    );
    let refused = made.await;
    assert!(matches!(refused, Err(AdministrationError::Gone(_))));
}

#[tokio::test]
async fn a_token_is_its_owners_also_where_the_clock_was_set_back_meanwhile() {
    let house = house();
    let ahead = house.enter_ahead("alice", Duration::from_secs(7200));
    let alice = Principal {
        since: Some(ahead),
        ..user("alice")
    };
    // The first ends before the time at which the account seems to have been made, and the second leaves it alone.
    for name in ["t", "u"] {
        let (token, _) = create_token(
            &house.directory,
            &alice,
            name,
            Restriction(vec![scope()]),
            Some(Duration::from_secs(3600)),
            TokenSecret::generate(&mut rand::rng()),
            house.clock.now(),
        )
        .await
        .unwrap();
        assert!(token.created_at >= ahead);
    }
    assert_eq!(house.directory.tokens.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn tokens_are_removed_by_their_owner_or_an_administrator() {
    let house = house();
    let alice = user("alice");
    let (a, _) = house.token(&alice, "a", vec![scope()], None).await.unwrap();
    let (b, _) = house.token(&alice, "b", vec![scope()], None).await.unwrap();
    let bob = remove_token(&house.directory, &user("bob"), None, &a.id).await;
    assert!(matches!(bob, Err(AdministrationError::NoToken(_))));
    remove_token(&house.directory, &alice, None, &a.id)
        .await
        .unwrap();
    let root = administrator("root");
    remove_token(&house.directory, &root, Some(&house.root), &b.id)
        .await
        .unwrap();
    assert!(house.directory.tokens.lock().unwrap().is_empty());
}
