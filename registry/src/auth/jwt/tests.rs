#![allow(clippy::unwrap_used)]
use super::*;
use crate::auth::testing::{robot, user};
use crate::auth::verb::Verb;
use proptest::prelude::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn sessions(key: u8) -> Sessions {
    Sessions::new(
        SigningKey::from_bytes(&[key; 32]),
        "sealstone",
        "registry.example",
        LIFETIME,
    )
}

fn access() -> Vec<Access> {
    vec![Access::repository(
        "a/b".parse().unwrap(),
        Verb::Pull.into(),
    )]
}

fn issue(sessions: &Sessions, principal: &Principal) -> String {
    sessions
        .issue(principal, access(), at(0), &mut rand::rng())
        .token
}

/// The claims of a token, to be changed and signed again.
fn claims(token: &str) -> Claims {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&decode(payload).unwrap()).unwrap()
}

#[test]
fn what_was_issued_is_verified() {
    let sessions = sessions(1);
    for principal in [user("alice"), robot("ci"), Principal::anonymous()] {
        let issued = sessions.issue(&principal, access(), at(0), &mut rand::rng());
        assert_eq!(issued.expires_in, 300);
        let read = sessions.verify(&issued.token, at(1)).unwrap();
        assert_eq!(&read.identity, principal.identity());
        assert_eq!(read.access, access());
        assert_eq!(read.issued_at, at(0));
        assert_eq!(read.via, None);
    }
    let (a, b) = (issue(&sessions, &user("a")), issue(&sessions, &user("a")));
    assert_ne!(a, b, "each has its own jti");
}

#[test]
fn the_api_token_behind_a_session_is_named() {
    let mut principal = user("alice");
    let id: TokenId = "aaaaaaaaaaaaaaaa".parse().unwrap();
    principal.token = Some(id.clone());
    let token = issue(&sessions(1), &principal);
    assert_eq!(sessions(1).verify(&token, at(0)).unwrap().via, Some(id));
}

#[test]
fn the_claims_have_the_shape_of_the_docker_token_specification() {
    let token = issue(&sessions(1), &user("alice"));
    let payload = decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(claims["sub"], "alice");
    assert_eq!(claims["aud"], "registry.example");
    assert_eq!(
        claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
        300
    );
    assert_eq!(
        claims["access"],
        serde_json::json!([{"type": "repository", "name": "a/b", "actions": ["pull"]}])
    );
}

#[test]
fn time_is_judged_with_half_a_minute_of_leeway() {
    let sessions = sessions(1);
    let token = issue(&sessions, &user("alice"));
    for (second, expected) in [
        (-31, Err(JwtError::NotYet)),
        (-30, Ok(())),
        (0, Ok(())),
        (329, Ok(())),
        (330, Err(JwtError::Expired)),
        (1_000_000, Err(JwtError::Expired)),
    ] {
        assert_eq!(
            sessions.verify(&token, at(second)).map(|_| ()),
            expected,
            "{second}"
        );
    }
    let extreme = Claims {
        exp: i64::MAX,
        nbf: i64::MAX,
        iat: i64::MIN,
        ..claims(&token)
    };
    let token = sessions.sign(&extreme, at(0)).token;
    assert_eq!(
        sessions.verify(&token, at(0)).map(|_| ()),
        Err(JwtError::NotYet)
    );
}

#[test]
fn another_key_issuer_or_service_is_refused() {
    let token = issue(&sessions(1), &user("alice"));
    assert_eq!(sessions(2).verify(&token, at(0)), Err(JwtError::NotOurs));
    let key = || SigningKey::from_bytes(&[1; 32]);
    for other in [
        Sessions::new(key(), "sealstone", "other.example", LIFETIME),
        Sessions::new(key(), "elsewhere", "registry.example", LIFETIME),
    ] {
        assert_eq!(other.verify(&token, at(0)), Err(JwtError::OtherService));
    }
    let both = sessions(2).also_accept(key().verifying_key());
    assert!(both.verify(&token, at(0)).is_ok());
    assert!(both.verify(&issue(&both, &user("alice")), at(0)).is_ok());
}

#[test]
fn every_changed_byte_is_noticed() {
    let sessions = sessions(1);
    let token = issue(&sessions, &user("alice"));
    for index in 0..token.len() {
        for replacement in [b'A', b'b', b'.', b'=', b'_'] {
            let mut bytes = token.clone().into_bytes();
            if bytes[index] == replacement {
                continue;
            }
            bytes[index] = replacement;
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(
                sessions.verify(&changed, at(0)),
                Err(JwtError::NotOurs),
                "{changed}"
            );
        }
    }
}

#[test]
fn other_headers_are_refused_even_when_signed() {
    let sessions = sessions(1);
    let token = issue(&sessions, &user("alice"));
    let payload = token.split('.').nth(1).unwrap();
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"HS256","typ":"JWT"}"#,
        r#"{"alg":"EdDSA","typ":"JWT"}"#,
        r#"{"alg":"EdDSA","kid":"0000000000000000","typ":"JWT"}"#,
        r#"{"alg":"EdDSA","kid":"../key","typ":"JWT","crit":["x"],"x":1}"#,
    ] {
        let signed = format!("{}.{payload}", BASE64URL_NOPAD.encode(header.as_bytes()));
        let signature = sessions.signing.sign(signed.as_bytes()).to_bytes();
        let forged = format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature));
        assert_eq!(
            sessions.verify(&forged, at(0)),
            Err(JwtError::NotOurs),
            "{header}"
        );
        assert_eq!(
            sessions.verify(&format!("{signed}."), at(0)),
            Err(JwtError::NotOurs)
        );
    }
}

#[test]
fn impossible_claims_are_refused_even_when_signed() {
    let sessions = sessions(1);
    let good = claims(&issue(&sessions, &user("alice")));
    for bad in [
        Claims {
            sub: "a:b".into(),
            ..good.clone()
        },
        Claims {
            sub: String::new(),
            ..good.clone()
        },
        Claims {
            kind: Kind::Anonymous,
            ..good.clone()
        },
        Claims {
            kind: Kind::Anonymous,
            sub: String::new(),
            via: Some("aaaaaaaaaaaaaaaa".parse().unwrap()),
            ..good.clone()
        },
    ] {
        let token = sessions.sign(&bad, at(0)).token;
        assert_eq!(
            sessions.verify(&token, at(0)),
            Err(JwtError::NotOurs),
            "{bad:?}"
        );
    }
    let mut value = serde_json::to_value(&good).unwrap();
    value["only_on_tuesdays"] = true.into();
    let signed = format!(
        "{}.{}",
        sessions.known[0].header,
        BASE64URL_NOPAD.encode(value.to_string().as_bytes())
    );
    let signature = sessions.signing.sign(signed.as_bytes()).to_bytes();
    let token = format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature));
    assert_eq!(sessions.verify(&token, at(0)), Err(JwtError::NotOurs));
}

proptest! {
    #[test]
    fn verifying_never_panics_and_never_accepts(text in ".{0,200}|[A-Za-z0-9_-]{0,40}(\\.[A-Za-z0-9_-]{0,90}){0,4}") {
        prop_assert_eq!(sessions(1).verify(&text, at(0)), Err(JwtError::NotOurs));
    }
}
