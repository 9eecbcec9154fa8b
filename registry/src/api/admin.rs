//! Sealstone's own JSON API: accounts, tokens, jobs, usage.

use super::answer::Answer;
use super::context::Context;
use super::error::ApiError;
use crate::auth::account::{Account, AccountKind, AccountName};
use crate::auth::administration::{self, AdministrationError, NewAccount};
use crate::auth::principal::Restriction;
use crate::auth::secret::Secret;
use crate::auth::token::{ApiToken, TokenId, TokenSecret};
use crate::auth::{Administrator, Principal, Push};
use crate::service::Error;
use axum::body::Body;
use http::{Method, Request, Response, StatusCode};
use sealstone_spec::name::RepoName;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};

/// Largest body that is read here, in bytes.
const BODY_LIMIT: usize = 64 * 1024;
/// Entries in a listing.
const PAGE: usize = 1000;

type Outcome = Result<Response<Body>, ApiError>;

pub(super) async fn handle(context: Context, request: Request<Body>) -> Outcome {
    let principal = context.principal().await?;
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return answer(&context, principal, request).await;
    }
    // As with the OCI routes.
    let registry = context.registry().clone();
    let work = async move { answer(&context, principal, request).await };
    registry.to_the_end(work).await?
}

async fn answer(context: &Context, principal: Principal, request: Request<Body>) -> Outcome {
    let path = request.uri().path();
    let path = path.strip_prefix("/api/v1/").unwrap_or_default().to_owned();
    // What can be read can be asked for without its body, which goes where all bodies go for HEAD.
    let method = match *request.method() {
        Method::HEAD => Method::GET,
        ref other => other.clone(),
    };
    let parts: Vec<&str> = path.split('/').collect();
    match (method, parts.as_slice()) {
        (Method::GET, ["whoami"]) => Ok(Answer::json(StatusCode::OK, &whoami(&principal)).build()),
        (Method::GET, ["accounts"]) => list_accounts(context, &principal).await,
        (Method::POST, ["accounts"]) => {
            create_account(context, &principal, request.into_body()).await
        }
        (Method::DELETE, ["accounts", name]) => remove_account(context, &principal, name).await,
        (Method::POST, ["accounts", name, "secret"]) => {
            replace_secret(context, &principal, name).await
        }
        (Method::POST, ["accounts", name, "disable"]) => {
            set_disabled(context, &principal, name, true).await
        }
        (Method::POST, ["accounts", name, "enable"]) => {
            set_disabled(context, &principal, name, false).await
        }
        (Method::GET, ["tokens"]) => list_tokens(context, &principal).await,
        (Method::POST, ["tokens"]) => create_token(context, &principal, request.into_body()).await,
        (Method::DELETE, ["tokens", id]) => remove_token(context, &principal, id).await,
        (Method::GET, ["events"]) => events(context, &principal).await,
        (Method::GET, ["policy"]) => policy(context).await,
        (Method::GET, ["statements", "key"]) => statement_key(context),
        (Method::PUT, ["policy"]) => put_policy(context, &principal, request.into_body()).await,
        (Method::GET, ["pulls"]) => pulls(context, &principal).await,
        (Method::GET, ["usage"]) => usage(context, &principal).await,
        (Method::POST, ["gc"]) => gc(context, &principal).await,
        (Method::POST, ["scrub"]) => scrub(context, &principal).await,
        (method, _) => Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "UNSUPPORTED",
            format!("{method} is not possible at this path"),
        )),
    }
}

fn administrator(context: &Context, principal: &Principal) -> Result<Administrator, ApiError> {
    let checked = context.app.inner.authorizer.administrator(principal);
    checked.map_err(|refusal| ApiError::from_administrator_refusal(&refusal))
}

fn invalid(message: impl ToString) -> ApiError {
    ApiError::bad_request("UNSUPPORTED", message.to_string())
}

async fn read<T: serde::de::DeserializeOwned>(
    context: &Context,
    body: Body,
) -> Result<T, ApiError> {
    let bytes = context.small_body(body, BODY_LIMIT, "UNSUPPORTED").await?;
    sealstone_spec::canonical::parse_strict(&bytes, BODY_LIMIT).map_err(invalid)
}

fn fresh_secret() -> Secret {
    Secret::generate(&mut rand::rng())
}

fn failed(error: AdministrationError) -> ApiError {
    let text = error.to_string();
    match error {
        AdministrationError::AccountExists(_) => {
            ApiError::new(StatusCode::CONFLICT, "DENIED", text)
        }
        AdministrationError::NoAccount(_) | AdministrationError::NoToken(_) => {
            ApiError::new(StatusCode::NOT_FOUND, "NAME_UNKNOWN", text)
        }
        AdministrationError::Oneself
        | AdministrationError::LimitedCredentials(_)
        | AdministrationError::TooManyTokens
        | AdministrationError::Gone(_) => ApiError::new(StatusCode::FORBIDDEN, "DENIED", text),
        AdministrationError::Busy(_) | AdministrationError::Directory(_) => {
            tracing::error!(error = text, "accounts cannot be changed");
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", text)
        }
        _ => invalid(text),
    }
}

fn whoami(principal: &Principal) -> Value {
    json!({"identity": principal.identity().to_string(), "admin": principal.is_administrator_account()})
}

fn shown_account(account: &Account) -> Value {
    json!({"name": account.name, "kind": account.kind, "admin": account.admin, "disabled": account.disabled,
        "created_at": account.created_at, "expires_at": account.expires_at})
}

fn shown_token(token: &ApiToken) -> Value {
    json!({"id": token.id, "name": token.name, "owner": token.owner, "scopes": token.scopes,
        "created_at": token.created_at, "expires_at": token.expires_at})
}

async fn list_accounts(context: &Context, principal: &Principal) -> Outcome {
    administrator(context, principal)?;
    let after = context
        .parameter("last")
        .map(str::parse::<AccountName>)
        .transpose()
        .map_err(invalid)?;
    let size = context.page_size(PAGE, PAGE)?;
    let directory = &context.app.inner.directory;
    let accounts = directory.accounts(after.as_ref(), size).await;
    let accounts = accounts.map_err(|error| failed(AdministrationError::Directory(error)))?;
    let accounts: Vec<Value> = accounts.iter().map(shown_account).collect();
    Ok(Answer::json(StatusCode::OK, &json!({"accounts": accounts})).build())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountRequest {
    name: AccountName,
    kind: AccountKind,
    #[serde(default)]
    admin: bool,
    secret: Option<String>,
    expires_in_seconds: Option<u64>,
}

async fn create_account(context: &Context, principal: &Principal, body: Body) -> Outcome {
    let by = administrator(context, principal)?;
    let wanted: AccountRequest = read(context, body).await?;
    let inner = &context.app.inner;
    let now = (inner.clock)();
    let expires_at = wanted
        .expires_in_seconds
        .map(|seconds| now.checked_add(Duration::from_secs(seconds)));
    let new = NewAccount {
        name: wanted.name,
        kind: wanted.kind,
        admin: wanted.admin,
        secret: wanted.secret.map_or_else(fresh_secret, Secret::new),
        expires_at: expires_at.transpose().map_err(invalid)?,
    };
    let passwords = inner.authenticator.passwords();
    let made = administration::create_account(&*inner.directory, passwords, &by, new, now).await;
    let (account, secret) = made.map_err(failed)?;
    tracing::info!(account = %account.name, by = %by.identity(), "account made");
    let mut shown = shown_account(&account);
    shown["secret"] = secret.expose().into();
    Ok(Answer::json(StatusCode::CREATED, &shown).build())
}

async fn remove_account(context: &Context, principal: &Principal, name: &str) -> Outcome {
    let by = administrator(context, principal)?;
    let name: AccountName = name.parse().map_err(invalid)?;
    let inner = &context.app.inner;
    administration::remove_account(&*inner.directory, &by, &name, (inner.clock)())
        .await
        .map_err(failed)?;
    tracing::info!(account = %name, by = %by.identity(), "account removed");
    Ok(Answer::new(StatusCode::NO_CONTENT).build())
}

async fn replace_secret(context: &Context, principal: &Principal, name: &str) -> Outcome {
    let by = administrator(context, principal)?;
    let name: AccountName = name.parse().map_err(invalid)?;
    let inner = &context.app.inner;
    let passwords = inner.authenticator.passwords();
    let (directory, now) = (&*inner.directory, (inner.clock)());
    let secret =
        administration::replace_secret(directory, passwords, &by, &name, fresh_secret(), now)
            .await
            .map_err(failed)?;
    tracing::info!(account = %name, by = %by.identity(), "secret replaced");
    Ok(Answer::json(
        StatusCode::OK,
        &json!({"name": name, "secret": secret.expose()}),
    )
    .build())
}

async fn set_disabled(
    context: &Context,
    principal: &Principal,
    name: &str,
    disabled: bool,
) -> Outcome {
    let by = administrator(context, principal)?;
    let name: AccountName = name.parse().map_err(invalid)?;
    let inner = &context.app.inner;
    let (directory, now) = (&*inner.directory, (inner.clock)());
    let account = administration::set_disabled(directory, &by, &name, disabled, now)
        .await
        .map_err(failed)?;
    tracing::info!(account = %name, by = %by.identity(), disabled, "account changed");
    Ok(Answer::json(StatusCode::OK, &shown_account(&account)).build())
}

async fn list_tokens(context: &Context, principal: &Principal) -> Outcome {
    let everybody = administrator(context, principal).is_ok() && context.parameter("all").is_some();
    let Some(own) = principal.identity().name() else {
        return Err(ApiError::challenge(
            "tokens belong to accounts: log in",
            &context.realm(),
            &[],
            None,
        ));
    };
    let owner = (!everybody).then_some(own);
    let last = context
        .parameter("last")
        .map(str::parse::<TokenId>)
        .transpose()
        .map_err(invalid)?;
    let size = context.page_size(PAGE, PAGE)?;
    let directory = &context.app.inner.directory;
    let tokens = directory.tokens(owner, last.as_ref(), size).await;
    let tokens = tokens.map_err(|error| failed(AdministrationError::Directory(error)))?;
    let tokens: Vec<Value> = tokens.iter().map(shown_token).collect();
    Ok(Answer::json(StatusCode::OK, &json!({"tokens": tokens})).build())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenRequest {
    name: String,
    scopes: Restriction,
    expires_in_seconds: Option<u64>,
}

async fn create_token(context: &Context, principal: &Principal, body: Body) -> Outcome {
    administration::token_maker(principal).map_err(failed)?;
    // No quota counts what they take, but the reserve is not theirs either.
    context.registry().check_room().await?;
    let wanted: TokenRequest = read(context, body).await?;
    let inner = &context.app.inner;
    let lifetime = wanted.expires_in_seconds.map(Duration::from_secs);
    let made = administration::create_token(
        &*inner.directory,
        principal,
        &wanted.name,
        wanted.scopes,
        lifetime,
        TokenSecret::generate(&mut rand::rng()),
        (inner.clock)(),
    );
    let (token, secret) = made.await.map_err(failed)?;
    tracing::info!(token = %token.id, owner = %token.owner, "token made");
    let mut shown = shown_token(&token);
    shown["secret"] = secret.expose().into();
    Ok(Answer::json(StatusCode::CREATED, &shown).build())
}

async fn remove_token(context: &Context, principal: &Principal, id: &str) -> Outcome {
    let id: TokenId = id.parse().map_err(invalid)?;
    let by = administrator(context, principal).ok();
    administration::remove_token(&*context.app.inner.directory, principal, by.as_ref(), &id)
        .await
        .map_err(failed)?;
    tracing::info!(token = %id, by = %principal.identity(), "token removed");
    Ok(Answer::new(StatusCode::NO_CONTENT).build())
}

async fn events(context: &Context, principal: &Principal) -> Outcome {
    administrator(context, principal)?;
    let after = context
        .parameter("after")
        .unwrap_or("0")
        .parse::<u64>()
        .map_err(invalid)?;
    let size = context.page_size(PAGE, PAGE)?;
    let events = context.registry().events(after, size).await?;
    let events: Vec<Value> = events
        .into_iter()
        .map(|(number, event)| json!({"number": number, "event": event}))
        .collect();
    Ok(Answer::json(StatusCode::OK, &json!({"events": events})).build())
}

/// Holds the turn of a job that goes on without whoever asked for it: who comes back too early must not start another.
fn alone<'a>(turn: &'a Mutex<()>, job: &str) -> Result<MutexGuard<'a, ()>, ApiError> {
    turn.try_lock().map_err(|_| {
        let problem = format!("a {job} is running already: ask again when it has ended");
        Error::Unavailable(problem).into()
    })
}

async fn gc(context: &Context, principal: &Principal) -> Outcome {
    administrator(context, principal)?;
    let _turn = alone(&context.app.inner.collecting, "collection")?;
    let dry_run = context
        .parameter("dry_run")
        .is_some_and(|text| text == "true" || text == "1");
    let report = context
        .registry()
        .collect(&context.app.inner.maintenance, dry_run)
        .await?;
    Ok(Answer::json(StatusCode::OK, &report).build())
}

async fn scrub(context: &Context, principal: &Principal) -> Outcome {
    administrator(context, principal)?;
    let _turn = alone(&context.app.inner.scrubbing, "scrub")?;
    let report = context
        .registry()
        .scrub(&context.app.inner.maintenance)
        .await?;
    Ok(Answer::json(StatusCode::OK, &report).build())
}

/// The policy in force: the signed envelope, or its canonical JSON where nobody has signed it. Whoever
/// pulls has to know the rules, so everybody may read it.
async fn policy(context: &Context) -> Outcome {
    let in_force = context.registry().policy();
    let (kind, body) = match context.registry().policy_document().await? {
        Some(document) => ("application/vnd.dsse.envelope.v1+json", document),
        None => ("application/json", in_force.to_canonical_json()),
    };
    let body = String::from_utf8(body).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(Answer::new(StatusCode::OK)
        .header(http::header::CONTENT_TYPE, kind)
        .header(
            super::answer::name("sealstone-policy"),
            in_force.digest().to_string(),
        )
        .text(body)
        .build())
}

/// The key of the registry's own statements, for everybody; with `former` also those that it had before, behind it.
fn statement_key(context: &Context) -> Outcome {
    let text = match context.parameter("former") {
        Some(_) => {
            let keys = context.registry().statement_keys()?;
            keys.iter().map(|key| key.to_pem()).collect::<String>()
        }
        None => context.registry().statement_key()?.to_pem(),
    };
    Ok(Answer::new(StatusCode::OK)
        .header(http::header::CONTENT_TYPE, "application/x-pem-file")
        .text(text)
        .build())
}

async fn put_policy(context: &Context, principal: &Principal, body: Body) -> Outcome {
    let by = administrator(context, principal)?;
    let limit = 2 * sealstone_spec::policy::MAX_POLICY_BYTES;
    let document = context.small_body(body, limit, "UNSUPPORTED").await?;
    let adopted = context.registry().put_policy(&by, &document).await?;
    Ok(Answer::json(StatusCode::OK, &adopted).build())
}

/// What a namespace holds: `?namespace=NAME`; without one, the whole registry. For administrators, and of a repository
/// also for whoever may push to it.
async fn usage(context: &Context, principal: &Principal) -> Outcome {
    let namespace = context.parameter("namespace").unwrap_or_default();
    let named = namespace.parse::<RepoName>();
    let may_push = |repo: &RepoName| context.optional_grant::<Push>(principal, repo).is_some();
    if !named.as_ref().is_ok_and(may_push) {
        administrator(context, principal)?;
    }
    if let Err(error) = named
        && !namespace.is_empty()
    {
        return Err(invalid(error));
    }
    let usage = context.registry().usage(namespace).await?;
    Ok(Answer::json(StatusCode::OK, &usage).build())
}

/// Who pulled a release: `?repository=NAME&digest=DIGEST`.
async fn pulls(context: &Context, principal: &Principal) -> Outcome {
    let by = administrator(context, principal)?;
    let due = |key: &str| {
        context
            .parameter(key)
            .ok_or_else(|| invalid(format!("the query lacks {key}")))
    };
    let repo: RepoName = due("repository")?.parse().map_err(invalid)?;
    let digest: sealstone_spec::digest::Digest = due("digest")?.parse().map_err(invalid)?;
    let size = context.page_size(PAGE, PAGE)?;
    let after = context.parameter("last");
    let pulls = context
        .registry()
        .pulls(&by, &repo, &digest, after, size)
        .await?;
    let time =
        |at: i64| sealstone_spec::policy::Time::from_seconds(at.div_euclid(1000)).to_string();
    let pulls: Vec<Value> = pulls
        .iter()
        .map(|(who, row)| json!({"who": who, "first": time(row.first), "last": time(row.last)}))
        .collect();
    Ok(Answer::json(StatusCode::OK, &json!({"pulls": pulls})).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_was_asked_for_runs_alone() {
        let turn = Mutex::default();
        let first = alone(&turn, "scrub");
        assert!(first.is_ok() && alone(&turn, "scrub").is_err());
        drop(first);
        assert!(alone(&turn, "scrub").is_ok());
    }
}
