#![allow(clippy::unwrap_used)]
use super::*;
use crate::auth::account::AccountKind;
use crate::auth::attempts::BURST;
use crate::auth::directory::{AccountChange, Asker, Wish};
use crate::auth::grant::{Pull, Push};
use crate::auth::jwt::LIFETIME;
use crate::auth::password::SecretHash;
use crate::auth::principal::{Restriction, TokenScope};
use crate::auth::scope::{Access, Scope};
use crate::auth::testing::{MemoryDirectory, TestClock, rules};
use crate::auth::verb::Verb;
use crate::auth::{Authorizer, Refusal};
use data_encoding::BASE64;
use ed25519_dalek::SigningKey;
use std::sync::atomic::Ordering;

const BCRYPT: &str = "$2y$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK";

struct House {
    directory: Arc<MemoryDirectory>,
    clock: TestClock,
    door: Authenticator,
}

/// alice (user, "alice-secret"), ci (robot, "ci-secret"), old (in the htpasswd file, "U*U*").
fn house() -> House {
    let (directory, clock) = (Arc::new(MemoryDirectory::default()), TestClock::default());
    for (name, kind) in [("alice", AccountKind::User), ("ci", AccountKind::Robot)] {
        let account = Account {
            name: name.parse().unwrap(),
            kind,
            secret_hash: SecretHash::of(&Secret::new(format!("{name}-secret")), &mut rand::rng()),
            admin: false,
            disabled: false,
            created_at: clock.now(),
            expires_at: None,
        };
        directory
            .accounts
            .lock()
            .unwrap()
            .insert(account.name.clone(), account);
    }
    let noted = ("mark".to_owned(), clock.now());
    let mut file = directory.file.lock().unwrap();
    file.insert("old".parse().unwrap(), noted);
    drop(file);
    let sessions = Sessions::new(SigningKey::from_bytes(&[7; 32]), "s", "registry", LIFETIME);
    let door = Authenticator::new(
        directory.clone(),
        Arc::new(sessions),
        Htpasswd::parse(&format!("old:{BCRYPT}")).unwrap(),
        clock.clock(),
        &mut rand::rng(),
    );
    House {
        directory,
        clock,
        door,
    }
}

impl House {
    async fn basic(&self, name: &str, secret: &str) -> Result<Principal, AuthError> {
        self.basic_at(None, name, secret).await
    }

    async fn basic_at(
        &self,
        from: Option<IpAddr>,
        name: &str,
        secret: &str,
    ) -> Result<Principal, AuthError> {
        let pair = BASE64.encode(format!("{name}:{secret}").as_bytes());
        let header = format!("Basic {pair}");
        self.door.authenticate(Some(&header), from).await
    }

    async fn bearer(&self, token: &str) -> Result<Principal, AuthError> {
        self.door
            .authenticate(Some(&format!("Bearer {token}")), None)
            .await
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Account)) {
        change(
            self.directory
                .accounts
                .lock()
                .unwrap()
                .get_mut(name)
                .unwrap(),
        );
    }

    /// A token of alice that may pull below `models`, for an hour.
    fn token(&self) -> TokenSecret {
        self.token_of("alice")
    }

    fn token_of(&self, owner: &str) -> TokenSecret {
        let secret = TokenSecret::generate(&mut rand::rng());
        let token = ApiToken {
            id: secret.hash().id(),
            hash: secret.hash(),
            name: "t".into(),
            owner: owner.parse().unwrap(),
            scopes: Restriction(vec![TokenScope {
                repositories: vec!["models/**".parse().unwrap()],
                verbs: vec![Verb::Pull],
            }]),
            created_at: self.clock.now(),
            expires_at: Some(
                self.clock
                    .now()
                    .checked_add(Duration::from_secs(3600))
                    .unwrap(),
            ),
        };
        self.directory
            .tokens
            .lock()
            .unwrap()
            .insert(token.id.clone(), token);
        secret
    }

    fn session(&self, principal: &Principal, access: Vec<Access>) -> String {
        let sessions = self.door.sessions();
        sessions
            .issue(principal, access, self.clock.now(), &mut rand::rng())
            .token
    }
}

fn refused(answer: Result<Principal, AuthError>) -> bool {
    matches!(answer, Err(AuthError::InvalidCredentials))
}

fn too_many(answer: Result<Principal, AuthError>) -> bool {
    matches!(answer, Err(AuthError::TooManyAttempts { .. }))
}

fn invalid_token(answer: Result<Principal, AuthError>) -> bool {
    matches!(answer, Err(AuthError::InvalidToken))
}

#[tokio::test]
async fn no_credentials_are_nobody_and_wrong_ones_are_an_error() {
    let house = house();
    assert!(
        house
            .door
            .authenticate(None, None)
            .await
            .unwrap()
            .is_anonymous()
    );
    for header in [
        "",
        "Basic",
        "Digest x",
        "Basic Og",
        "Bearer",
        "Negotiate abc",
    ] {
        assert!(
            house.door.authenticate(Some(header), None).await.is_err(),
            "{header}"
        );
    }
}

#[tokio::test]
async fn secrets_prove_their_accounts() {
    let house = house();
    let alice = house.basic("alice", "alice-secret").await.unwrap();
    assert_eq!(alice.identity().to_string(), "user:alice");
    let robot = house.basic("ci", "ci-secret").await.unwrap();
    assert_eq!(robot.identity().to_string(), "robot:ci");
    let old = house.basic("old", "U*U*").await.unwrap();
    assert_eq!(old.identity().to_string(), "user:old");
    for principal in [alice, robot, old] {
        assert!(!principal.is_administrator_account());
        assert!(principal.restriction().is_none());
    }
}

#[tokio::test]
async fn every_failed_login_answers_the_same() {
    let house = house();
    house.change("ci", |account| account.disabled = true);
    let mut texts = Vec::new();
    for (name, secret) in [
        ("alice", "wrong"),
        ("alice", ""),
        ("Alice", "alice-secret"),
        ("ghost", "alice-secret"),
        ("ci", "ci-secret"),
        ("ci", "wrong"),
        ("old", "wrong"),
        ("", ""),
        ("a b", "x"),
    ] {
        let error = house.basic(name, secret).await.unwrap_err();
        assert!(matches!(error, AuthError::InvalidCredentials), "{name}");
        texts.push(error.to_string());
    }
    texts.dedup();
    assert_eq!(texts.len(), 1);
}

#[tokio::test]
async fn a_removed_disabled_or_expired_account_is_out_at_once() {
    let house = house();
    assert!(house.basic("alice", "alice-secret").await.is_ok());
    // From here on the secret is remembered; the account's state is not.
    house.change("alice", |account| account.disabled = true);
    assert!(refused(house.basic("alice", "alice-secret").await));
    house.change("alice", |account| {
        account.disabled = false;
        account.expires_at = Some(
            house
                .clock
                .now()
                .checked_add(Duration::from_secs(10))
                .unwrap(),
        );
    });
    assert!(house.basic("alice", "alice-secret").await.is_ok());
    house.clock.advance(10);
    assert!(refused(house.basic("alice", "alice-secret").await));
    house.directory.accounts.lock().unwrap().remove("alice");
    assert!(refused(house.basic("alice", "alice-secret").await));
}

#[tokio::test]
async fn a_changed_secret_is_in_force_at_once() {
    let house = house();
    assert!(house.basic("alice", "alice-secret").await.is_ok());
    house.change("alice", |account| {
        account.secret_hash = SecretHash::of(&Secret::new("other"), &mut rand::rng());
    });
    assert!(refused(house.basic("alice", "alice-secret").await));
    assert!(house.basic("alice", "other").await.is_ok());
}

#[tokio::test]
async fn guessing_is_slowed_down_for_known_and_unknown_names_alike() {
    let house = house();
    // It is remembered, and nevertheless no guess finds it for nothing.
    assert!(house.basic("alice", "alice-secret").await.is_ok());
    for name in ["alice", "ghost"] {
        for _ in 0..BURST {
            assert!(refused(house.basic(name, "wrong").await));
        }
        match house.basic(name, "wrong").await {
            Err(AuthError::TooManyAttempts { retry_after }) => {
                assert_eq!(retry_after, Duration::from_secs(6));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(too_many(house.basic("alice", "alice-secret").await));
    assert!(house.basic("ci", "ci-secret").await.is_ok());
    house.clock.advance(61);
    assert!(house.basic("alice", "alice-secret").await.is_ok());
}

#[tokio::test]
async fn a_running_push_is_not_locked_out_by_guesses_from_elsewhere() {
    let house = house();
    let [home, elsewhere]: [Option<IpAddr>; 2] =
        ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().ok());
    let right = async |from: Option<IpAddr>| house.basic_at(from, "alice", "alice-secret").await;
    assert!(right(home).await.is_ok());
    // Remembered; after the minute for which it is; a working day later.
    for seconds in [0, 61, 30_000] {
        house.clock.advance(seconds);
        while refused(house.basic_at(elsewhere, "alice", "wrong").await) {}
        assert!(too_many(right(elsewhere).await), "{seconds}");
        assert!(too_many(right(None).await), "{seconds}");
        assert!(right(home).await.is_ok(), "{seconds}");
    }
    house.clock.advance(86_400);
    while refused(house.basic_at(elsewhere, "alice", "wrong").await) {}
    assert!(too_many(right(home).await), "not for ever");
    house.clock.advance(61);
    assert!(right(home).await.is_ok());
    // Whoever guesses from there is told to wait as well.
    for _ in 0..BURST {
        assert!(refused(house.basic_at(home, "alice", "wrong").await));
    }
    assert!(too_many(right(home).await));
    assert!(right(elsewhere).await.is_ok());
}

#[tokio::test]
async fn whoever_does_not_wait_for_the_answer_has_paid() {
    let house = house();
    for _ in 0..BURST {
        let guess = house.basic("alice", "wrong");
        assert!(tokio::time::timeout(Duration::ZERO, guess).await.is_err());
    }
    assert!(too_many(house.basic("alice", "wrong").await));
}

#[tokio::test]
async fn an_api_token_proves_its_owner_within_its_scopes() {
    let house = house();
    let token = house.token();
    let authorizer = Authorizer::new(rules(&[("**", "user:alice", "push")]));
    for principal in [
        house.bearer(token.expose()).await.unwrap(),
        house.basic("alice", token.expose()).await.unwrap(),
        house.basic("anything", token.expose()).await.unwrap(),
    ] {
        assert_eq!(principal.identity().to_string(), "user:alice");
        let inside = "models/x".parse().unwrap();
        assert!(authorizer.grant::<Pull>(&principal, &inside).is_ok());
        assert!(authorizer.grant::<Push>(&principal, &inside).is_err());
        assert!(
            authorizer
                .grant::<Pull>(&principal, &"other".parse().unwrap())
                .is_err()
        );
    }
}

#[tokio::test]
async fn a_token_is_refused_when_it_is_unknown_expired_or_orphaned() {
    let house = house();
    let token = house.token();
    let stranger = TokenSecret::generate(&mut rand::rng());
    assert!(refused(house.bearer(stranger.expose()).await));
    assert!(refused(house.basic("alice", stranger.expose()).await));

    // Same id, other hash: the row is found, the comparison fails.
    let id = token.hash().id();
    house
        .directory
        .tokens
        .lock()
        .unwrap()
        .get_mut(&id)
        .unwrap()
        .hash = stranger.hash();
    assert!(refused(house.bearer(token.expose()).await));
    house
        .directory
        .tokens
        .lock()
        .unwrap()
        .get_mut(&id)
        .unwrap()
        .hash = token.hash();
    assert!(house.bearer(token.expose()).await.is_ok());

    house.change("alice", |account| account.disabled = true);
    assert!(refused(house.bearer(token.expose()).await));
    house.change("alice", |account| account.disabled = false);

    let later = house
        .clock
        .now()
        .checked_add(Duration::from_secs(1))
        .unwrap();
    house.change("alice", |account| account.created_at = later);
    assert!(
        refused(house.bearer(token.expose()).await),
        "an account of the same name, made later"
    );
    house.change("alice", |account| {
        account.created_at = Timestamp::UNIX_EPOCH
    });

    house.clock.advance(3600);
    assert!(refused(house.bearer(token.expose()).await));
}

#[tokio::test]
async fn a_session_is_its_owner_within_its_scope() {
    let house = house();
    let authorizer = Authorizer::new(rules(&[("**", "user:alice", "push")]));
    let alice = house.basic("alice", "alice-secret").await.unwrap();
    let access = authorizer.narrow(&alice, &Scope::parse_all(["repository:m:pull"]));
    let session = house.session(&alice, access);
    let principal = house.bearer(&session).await.unwrap();
    assert_eq!(principal.identity(), alice.identity());
    let name = "m".parse().unwrap();
    assert!(authorizer.grant::<Pull>(&principal, &name).is_ok());
    assert!(matches!(
        authorizer.grant::<Push>(&principal, &name),
        Err(Refusal::InsufficientScope { .. })
    ));
    // A session is no password.
    assert!(refused(house.basic("alice", &session).await));
    house.clock.advance(330);
    assert!(invalid_token(house.bearer(&session).await));
}

#[tokio::test]
async fn a_session_ends_with_its_account() {
    let house = house();
    let alice = house.basic("alice", "alice-secret").await.unwrap();
    let session = house.session(&alice, vec![]);
    assert!(house.bearer(&session).await.is_ok());
    house.change("alice", |account| account.disabled = true);
    assert!(invalid_token(house.bearer(&session).await));
    house.change("alice", |account| account.disabled = false);
    house.change("alice", |account| account.kind = AccountKind::Robot);
    assert!(
        invalid_token(house.bearer(&session).await),
        "user:alice is not robot:alice"
    );
    house.change("alice", |account| account.kind = AccountKind::User);
    let later = house
        .clock
        .now()
        .checked_add(Duration::from_secs(1))
        .unwrap();
    house.change("alice", |account| account.created_at = later);
    assert!(
        invalid_token(house.bearer(&session).await),
        "an account of the same name, made later"
    );
    house.directory.accounts.lock().unwrap().remove("alice");
    assert!(invalid_token(house.bearer(&session).await));
}

#[tokio::test]
async fn a_session_ends_with_the_secret_that_it_was_made_with() {
    let house = house();
    let alice = house.basic("alice", "alice-secret").await.unwrap();
    let session = house.session(&alice, vec![]);
    let token = house.bearer(house.token().expose()).await.unwrap();
    let by_token = house.session(&token, vec![]);
    // In the same second, and also if the same words are set again.
    house.change("alice", |account| {
        account.secret_hash = SecretHash::of(&Secret::new("alice-secret"), &mut rand::rng());
    });
    assert!(invalid_token(house.bearer(&session).await));
    assert!(house.bearer(&by_token).await.is_ok());
    let alice = house.basic("alice", "alice-secret").await.unwrap();
    let session = house.session(&alice, vec![]);
    assert!(house.bearer(&session).await.is_ok());
    // One of a build that did not say with which.
    let unmarked = Principal {
        mark: None,
        ..alice
    };
    let session = house.session(&unmarked, vec![]);
    assert!(invalid_token(house.bearer(&session).await));
}

#[tokio::test]
async fn a_session_made_from_an_api_token_keeps_its_limits_and_ends_with_it() {
    let house = house();
    let token = house.token();
    let authorizer = Authorizer::new(rules(&[("**", "user:alice", "push")]));
    let limited = house.bearer(token.expose()).await.unwrap();
    let wanted = Scope::parse_all(["repository:models/x:pull,push repository:other:pull"]);
    assert_eq!(
        authorizer.narrow(&limited, &wanted),
        [Access::repository(
            "models/x".parse().unwrap(),
            Verb::Pull.into()
        )]
    );
    // Even if it were issued wider, the token's scopes hold when it is used.
    let wide = vec![Access::repository(
        "other".parse().unwrap(),
        Verb::Pull.into(),
    )];
    let session = house.session(&limited, wide);
    let principal = house.bearer(&session).await.unwrap();
    assert!(
        authorizer
            .grant::<Pull>(&principal, &"other".parse().unwrap())
            .is_err()
    );
    house.directory.tokens.lock().unwrap().clear();
    assert!(invalid_token(house.bearer(&session).await));
}

#[tokio::test]
async fn a_stranger_gets_a_session_too() {
    let house = house();
    let authorizer = Authorizer::new(rules(&[("public/**", "anonymous", "pull")]));
    let nobody = Principal::anonymous();
    let access = authorizer.narrow(
        &nobody,
        &Scope::parse_all(["repository:public/a:pull,push"]),
    );
    let principal = house.bearer(&house.session(&nobody, access)).await.unwrap();
    assert!(principal.is_anonymous());
    assert!(
        authorizer
            .grant::<Pull>(&principal, &"public/a".parse().unwrap())
            .is_ok()
    );
    assert!(matches!(
        authorizer.grant::<Push>(&principal, &"public/a".parse().unwrap()),
        Err(Refusal::Unauthenticated { .. })
    ));
}

#[tokio::test]
async fn a_directory_that_does_not_answer_lets_nobody_in() {
    let house = house();
    let token = house.token();
    let alice = house.basic("alice", "alice-secret").await.unwrap();
    let session = house.session(&alice, vec![]);
    house.directory.broken.store(true, Ordering::SeqCst);
    for answer in [
        house.basic("alice", "alice-secret").await,
        house.basic("old", "U*U*").await,
        house.bearer(token.expose()).await,
        house.bearer(&session).await,
    ] {
        assert!(matches!(answer, Err(AuthError::Directory(_))), "{answer:?}");
    }
}

#[tokio::test]
async fn an_account_in_the_directory_comes_before_the_file() {
    let house = house();
    let mut account = house.directory.accounts.lock().unwrap()["alice"].clone();
    account.name = "old".parse().unwrap();
    house
        .directory
        .accounts
        .lock()
        .unwrap()
        .insert(account.name.clone(), account);
    assert!(refused(house.basic("old", "U*U*").await));
    assert!(house.basic("old", "alice-secret").await.is_ok());
}

#[tokio::test]
async fn the_next_person_of_a_name_in_the_file_has_nothing_of_the_last_one() {
    let house = house();
    let old: AccountName = "old".parse().unwrap();
    let token = house.token_of("old");
    let person = house.basic("old", "U*U*").await.unwrap();
    let session = house.session(&person, vec![]);
    assert!(house.bearer(token.expose()).await.is_ok());
    assert!(house.bearer(&session).await.is_ok());
    let kept = house.directory.tokens.lock().unwrap().clone();
    house.clock.advance(1);
    let file = [(old, "another".to_owned())].into();
    let noted = house.directory.note_file(file, house.clock.now());
    noted.await.unwrap();
    assert!(house.basic("old", "U*U*").await.is_ok());
    assert!(refused(house.bearer(token.expose()).await));
    assert!(invalid_token(house.bearer(&session).await));
    // Nor if the token were still there.
    *house.directory.tokens.lock().unwrap() = kept;
    assert!(refused(house.bearer(token.expose()).await));
}

#[tokio::test]
async fn a_removed_account_leaves_nothing_to_one_of_its_name_in_the_file() {
    let house = house();
    let old: AccountName = "old".parse().unwrap();
    let mut account = house.directory.accounts.lock().unwrap()["alice"].clone();
    account.name = old.clone();
    let asker = Asker {
        name: "ci".parse().unwrap(),
        since: house.clock.now(),
    };
    house.change("ci", |ci| ci.admin = true);
    let made = house.directory.insert_account(account, Some(asker.clone()));
    made.await.unwrap().unwrap();
    let token = house.token_of("old");
    let person = house.basic("old", "alice-secret").await.unwrap();
    let session = house.session(&person, vec![]);
    assert!(house.bearer(token.expose()).await.is_ok());
    house.clock.advance(1);
    let remove = AccountChange {
        name: old,
        wish: Wish::Removed,
        by: asker,
        now: house.clock.now(),
    };
    let removed = house.directory.change_account(remove);
    removed.await.unwrap().unwrap();
    assert!(house.basic("old", "U*U*").await.is_ok());
    assert!(refused(house.bearer(token.expose()).await));
    assert!(invalid_token(house.bearer(&session).await));
}

#[tokio::test]
async fn an_account_of_the_file_that_nobody_noted_is_not_let_in() {
    let house = house();
    house.directory.file.lock().unwrap().clear();
    assert!(refused(house.basic("old", "U*U*").await));
}

#[tokio::test]
async fn a_thousand_requests_cost_one_slow_hash() {
    let house = house();
    assert!(house.basic("alice", "alice-secret").await.is_ok());
    let start = std::time::Instant::now();
    for _ in 0..1000 {
        assert!(house.basic("alice", "alice-secret").await.is_ok());
    }
    // A thousand argon2 runs take more than ten seconds on any machine; this takes milliseconds.
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}
