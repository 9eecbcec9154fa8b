#![allow(clippy::unwrap_used)]
use super::*;
use crate::auth::testing::TestClock;

fn hash_of(secret: &str) -> SecretHash {
    SecretHash::of(&Secret::new(secret), &mut rand::rng())
}

fn name(text: &str) -> AccountName {
    text.parse().unwrap()
}

#[test]
fn hashes_are_argon2id_salted_and_verify_their_secret_only() {
    let hash = hash_of("correct horse");
    assert!(
        hash.as_str().starts_with("$argon2id$v=19$m=12288,t=3,p=1$"),
        "{}",
        hash.as_str()
    );
    assert_ne!(hash, hash_of("correct horse"));
    assert!(hash.verify(&Secret::new("correct horse")));
    for wrong in [
        "",
        "correct horsE",
        "correct horse ",
        &"x".repeat(MAX_SECRET_LEN + 1),
    ] {
        assert!(!hash.verify(&Secret::new(wrong)), "{wrong}");
    }
    assert_eq!(
        SecretHash::try_from(hash.as_str().to_owned()).unwrap(),
        hash
    );
    assert!(!format!("{hash:?}").contains("argon2id"));
}

#[test]
fn bcrypt_hashes_of_other_tools_verify() {
    // From `htpasswd -nbB` (Apache) and from the test vectors of crypt_blowfish.
    for (hash, secret) in [
        (
            "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
            "U*U",
        ),
        (
            "$2b$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK",
            "U*U*",
        ),
        (
            "$2y$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK",
            "U*U*",
        ),
    ] {
        let hash = SecretHash::try_from(hash.to_owned()).unwrap();
        assert!(hash.verify(&Secret::new(secret)), "{}", hash.as_str());
        assert!(!hash.verify(&Secret::new("other")));
    }
}

#[test]
fn other_and_too_costly_hashes_are_refused() {
    let own = hash_of("x").as_str().to_owned();
    for (text, expected) in [
        ("", SecretHashError::Kind),
        ("secret", SecretHashError::Kind),
        ("$apr1$a$b", SecretHashError::Kind),
        (
            "$2x$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK",
            SecretHashError::Kind,
        ),
        (
            "$argon2i$v=19$m=16,t=2,p=1$c29tZXNhbHQ$c29tZWhhc2hzb21laGFzaA",
            SecretHashError::Kind,
        ),
        ("$argon2id$v=19$m=12288,t=3,p=1", SecretHashError::Malformed),
        ("$2b$05$short", SecretHashError::Malformed),
        (
            "$2b$16$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK",
            SecretHashError::Cost,
        ),
        (&own.replace("m=12288", "m=4000000"), SecretHashError::Cost),
        (&own.replace("t=3", "t=99"), SecretHashError::Cost),
    ] {
        assert_eq!(
            SecretHash::try_from(text.to_owned()),
            Err(expected),
            "{text}"
        );
    }
}

#[tokio::test]
async fn what_was_verified_is_remembered_for_a_minute_and_no_longer() {
    let clock = TestClock::default();
    let passwords = Passwords::new(&[], clock.clock(), &mut rand::rng());
    let (alice, hash, secret) = (name("alice"), hash_of("s"), Secret::new("s"));
    assert!(!passwords.remembers(&alice, &hash, &secret));
    assert!(
        !passwords
            .verify(&alice, Some(&hash), &Secret::new("wrong"))
            .await
            .unwrap()
    );
    assert!(!passwords.remembers(&alice, &hash, &Secret::new("wrong")));
    assert!(
        passwords
            .verify(&alice, Some(&hash), &secret)
            .await
            .unwrap()
    );
    assert!(passwords.remembers(&alice, &hash, &secret));
    assert!(!passwords.remembers(&name("bob"), &hash, &secret));
    assert!(!passwords.remembers(&alice, &hash, &Secret::new("t")));
    assert!(
        !passwords.remembers(&alice, &hash_of("s"), &secret),
        "the stored hash changed"
    );
    clock.advance(59);
    assert!(passwords.remembers(&alice, &hash, &secret));
    clock.advance(1);
    assert!(!passwords.remembers(&alice, &hash, &secret));
    clock.advance(-3600);
    assert!(
        !passwords.remembers(&alice, &hash, &secret),
        "the clock went back"
    );
}

#[tokio::test]
async fn an_unknown_name_is_refused_after_the_same_work() {
    let bcrypt = SecretHash::try_from(
        "$2b$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK".to_owned(),
    )
    .unwrap();
    let clock = TestClock::default();
    let passwords = Passwords::new(
        std::slice::from_ref(&bcrypt),
        clock.clock(),
        &mut rand::rng(),
    );
    // Even with the very secret of a decoy.
    for index in 0..8 {
        let ghost = name(&format!("ghost{index}"));
        let secret = Secret::new("U*U*");
        assert!(!passwords.verify(&ghost, None, &secret).await.unwrap());
        assert_eq!(passwords.decoy(&ghost), passwords.decoy(&ghost));
    }
    let names = (0..64).map(|index| name(&format!("n{index}")));
    assert!(names.clone().any(|name| *passwords.decoy(&name) == bcrypt));
    assert!(names.clone().any(|name| *passwords.decoy(&name) != bcrypt));
}

#[tokio::test]
async fn logins_wait_for_their_turn_and_not_for_ever() {
    let clock = TestClock::default();
    let mut passwords = Passwords::new(&[], clock.clock(), &mut rand::rng());
    passwords.patience = Duration::from_millis(20);
    let turns = Arc::clone(&passwords.turns);
    let all = turns
        .acquire_many(u32::try_from(PARALLEL).unwrap())
        .await
        .unwrap();
    let (alice, hash, secret) = (name("alice"), hash_of("s"), Secret::new("s"));
    assert_eq!(
        passwords.verify(&alice, Some(&hash), &secret).await,
        Err(Busy)
    );
    drop(all);
    assert_eq!(
        passwords.verify(&alice, Some(&hash), &secret).await,
        Ok(true)
    );
    assert_eq!(passwords.turns.available_permits(), PARALLEL);
}
