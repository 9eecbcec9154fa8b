//! What is sent as Authorization, and where a token comes from.
//!
//! Sources: the docker token specification (GET with Basic), its OAuth2 variant (POST, for refresh
//! tokens). Owns the cache of tokens by scope and the last challenge that a registry made.
//! Invariant: nothing from here is sent anywhere but to the registry itself and to the token service
//! that the registry names, which must not be reached over HTTP by a registry that has TLS, nor on another machine by one
//! on this machine, unless HTTP was asked for.

use super::challenge::{BearerChallenge, Challenge};
use super::client::Registry;
use super::error::{MAX_ERROR_BODY, TransportError, is_passing_status, printable};
use crate::credentials::Credential;
use data_encoding::BASE64;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex as AsyncMutex, OnceCell};
use url::Url;

/// Tokens live at least this long, whatever the service says: some say nothing.
const SHORTEST_LIFE: Duration = Duration::from_secs(60);
/// A token is renewed this long before its end.
const MARGIN: Duration = Duration::from_secs(10);

/// What is known about authenticating to one registry.
#[derive(Debug, Default)]
pub(crate) struct Authoriser {
    challenge: Mutex<Option<Challenge>>,
    /// Further scopes that the registry asked for, by the scopes that were asked of it.
    wider: Mutex<HashMap<Vec<String>, String>>,
    credential: OnceCell<Option<Credential>>,
    tokens: AsyncMutex<HashMap<Vec<String>, Token>>,
}

#[derive(Clone, Debug)]
struct Token {
    header: HeaderValue,
    renew_at: Instant,
}

impl Authoriser {
    /// The value of the Authorization header for these scopes, if any is to be sent.
    pub(crate) async fn header(
        &self,
        registry: &Registry,
        scopes: &[String],
    ) -> Result<Option<HeaderValue>, TransportError> {
        let credential = self.credential(registry).await?;
        let challenge = lock(&self.challenge).clone();
        match (challenge, credential) {
            (_, Some(Credential::Registry(token))) => bearer(token.reveal()).map(Some),
            // A token for no rights in nobody's name is given to nobody, and what needs none is answered without.
            (Some(Challenge::Bearer(_)), None)
                if scopes.is_empty() && !lock(&self.wider).contains_key(scopes) =>
            {
                Ok(None)
            }
            (Some(Challenge::Bearer(bearer)), credential) => self
                .token(registry, &bearer, credential.as_ref(), scopes)
                .await
                .map(Some),
            // Without a challenge too: a registry that lets anybody in would otherwise show a user
            // who has rights no more than it shows to nobody.
            (_, Some(Credential::Basic { username, secret })) => {
                basic(username, secret.reveal()).map(Some)
            }
            (_, Some(Credential::Identity(_)) | None) => Ok(None),
        }
    }

    /// The account's secret as a value of the Authorization header: a session made of it has fewer
    /// rights, and administers nothing.
    pub(crate) async fn secret(
        &self,
        registry: &Registry,
    ) -> Result<Option<HeaderValue>, TransportError> {
        match self.credential(registry).await? {
            Some(Credential::Basic { username, secret }) => {
                basic(username, secret.reveal()).map(Some)
            }
            _ => self.header(registry, &[]).await,
        }
    }

    async fn credential(&self, registry: &Registry) -> Result<&Option<Credential>, TransportError> {
        self.credential
            .get_or_try_init(|| registry.find_credential())
            .await
    }

    /// Whether there is any credential for the registry.
    pub(crate) async fn has_credential(&self, registry: &Registry) -> Result<bool, TransportError> {
        Ok(self.credential(registry).await?.is_some())
    }

    /// Takes up a challenge that came with a 401 answer to a request with `sent`.
    pub(crate) async fn learn(
        &self,
        challenge: Challenge,
        scopes: &[String],
        sent: Option<&HeaderValue>,
    ) {
        if let Challenge::Bearer(BearerChallenge {
            scope: Some(scope), ..
        }) = &challenge
            && (sent.is_some() || scopes.is_empty())
        {
            lock(&self.wider).insert(scopes.to_vec(), scope.clone());
        }
        *lock(&self.challenge) = Some(challenge);
        let mut tokens = self.tokens.lock().await;
        // Another task may have renewed it meanwhile: only the one that was refused is dropped.
        if tokens
            .get(scopes)
            .is_some_and(|token| Some(&token.header) == sent)
        {
            tokens.remove(scopes);
        }
    }

    async fn token(
        &self,
        registry: &Registry,
        challenge: &BearerChallenge,
        credential: Option<&Credential>,
        scopes: &[String],
    ) -> Result<HeaderValue, TransportError> {
        // Held while fetching, so that many tasks that start at once ask for one token.
        let mut tokens = self.tokens.lock().await;
        if let Some(token) = tokens.get(scopes)
            && Instant::now() < token.renew_at
        {
            return Ok(token.header.clone());
        }
        let wider = lock(&self.wider).get(scopes).cloned();
        let mut asked = scopes.to_vec();
        asked.extend(
            wider
                .iter()
                .flat_map(|text| text.split(' '))
                .map(str::to_owned),
        );
        asked.retain(|scope| !scope.is_empty());
        asked.dedup();
        let token = fetch(registry, challenge, credential, &asked).await?;
        tokens.insert(scopes.to_vec(), token.clone());
        Ok(token.header)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sensitive(text: String) -> Result<HeaderValue, TransportError> {
    let text = zeroize::Zeroizing::new(text);
    let mut value = HeaderValue::from_str(&text).map_err(|_| {
        TransportError::Invalid("a credential has characters that no header can hold".to_owned())
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn bearer(token: &str) -> Result<HeaderValue, TransportError> {
    sensitive(format!("Bearer {token}"))
}

fn basic(username: &str, secret: &str) -> Result<HeaderValue, TransportError> {
    if username.contains(':') {
        return Err(TransportError::Invalid(format!(
            "user name \"{username}\" has a colon, which Basic authentication cannot send"
        )));
    }
    let pair = zeroize::Zeroizing::new(format!("{username}:{secret}"));
    sensitive(format!("Basic {}", BASE64.encode(pair.as_bytes())))
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<f64>,
}

async fn fetch(
    registry: &Registry,
    challenge: &BearerChallenge,
    credential: Option<&Credential>,
    scopes: &[String],
) -> Result<Token, TransportError> {
    let realm = realm_of(registry, challenge).await?;
    let mut attempt = 1;
    let (status, body) = loop {
        let request = match credential {
            Some(Credential::Identity(refresh)) => {
                refresh_request(registry, &realm, challenge, scopes, refresh.reveal())
            }
            _ => {
                let mut url = realm.clone();
                {
                    let mut query = url.query_pairs_mut();
                    if let Some(service) = &challenge.service {
                        query.append_pair("service", service);
                    }
                    for scope in scopes {
                        query.append_pair("scope", scope);
                    }
                }
                let request = registry.http(&url).get(url);
                match credential {
                    Some(Credential::Basic { username, secret }) => {
                        request.header(AUTHORIZATION, basic(username, secret.reveal())?)
                    }
                    _ => request,
                }
            }
        };
        let failure = match registry.exchange(request, MAX_ERROR_BODY * 4).await {
            Ok((status, body)) if !is_passing_status(status) => break (status, body),
            Ok((status, body)) => {
                let refusal = super::Refusal::decode(registry.name(), "a token", status, &body);
                TransportError::Refused(Box::new(refusal))
            }
            Err(error) => error,
        };
        if !(failure.is_passing() && registry.options().patience.pause(attempt, None).await) {
            return Err(failure);
        }
        attempt += 1;
    };
    if status != 200 {
        return Err(refused(registry, credential, status, &body));
    }
    let what = format!(
        "a request for a token at {}",
        realm.origin().ascii_serialization()
    );
    let protocol = |problem: &str| TransportError::Protocol {
        registry: registry.name().to_owned(),
        what: what.clone(),
        problem: problem.to_owned(),
    };
    // The body holds the token: no part of it goes into an error.
    let answer: Answer = serde_json::from_slice(&body)
        .map_err(|_| protocol("the answer is not the JSON of a token"))?;
    let token = answer
        .token
        .or(answer.access_token)
        .filter(|token| !token.is_empty())
        .ok_or_else(|| protocol("the answer has no token"))?;
    let stated = answer
        .expires_in
        .filter(|seconds| seconds.is_finite() && *seconds > 0.0);
    let life = Duration::from_secs_f64(stated.unwrap_or(0.0).min(86_400.0)).max(SHORTEST_LIFE);
    Ok(Token {
        header: bearer(&token)?,
        renew_at: Instant::now() + life - MARGIN,
    })
}

async fn realm_of(registry: &Registry, challenge: &BearerChallenge) -> Result<Url, TransportError> {
    let base = registry.base().await?;
    let plain_http = registry.options().plain_http;
    super::address::resolve(&base, &challenge.realm, plain_http).ok_or_else(|| {
        TransportError::Protocol {
            registry: registry.name().to_owned(),
            what: "a request".to_owned(),
            problem: format!(
                "its token service \"{}\" cannot be used: it is no address, or without TLS and not on this machine{}",
                printable(&challenge.realm),
                super::address::remedy(&base, &challenge.realm)
            ),
        }
    })
}

fn refresh_request(
    registry: &Registry,
    realm: &Url,
    challenge: &BearerChallenge,
    scopes: &[String],
    refresh: &str,
) -> reqwest::RequestBuilder {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "refresh_token")
        .append_pair("refresh_token", refresh)
        .append_pair("client_id", "sealstone")
        .append_pair("scope", &scopes.join(" "));
    if let Some(service) = &challenge.service {
        form.append_pair("service", service);
    }
    registry
        .http(realm)
        .post(realm.clone())
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(form.finish())
}

fn refused(
    registry: &Registry,
    credential: Option<&Credential>,
    status: u16,
    body: &[u8],
) -> TransportError {
    let refusal = super::Refusal::decode(registry.name(), "a token", status, body);
    if !matches!(status, 400 | 401 | 403) {
        return TransportError::Refused(Box::new(refusal));
    }
    let problem = match credential {
        None => "it asks who you are, and no credentials are known for it".to_owned(),
        Some(Credential::Basic { username, .. }) => {
            format!(
                "the secret of user \"{}\" is wrong, has expired or was withdrawn",
                printable(username)
            )
        }
        Some(_) => "the token that was kept for it has expired or was withdrawn".to_owned(),
    };
    TransportError::Unauthorized {
        registry: registry.name().to_owned(),
        what: "access".to_owned(),
        problem,
    }
}
