//! The transparency log: static paths of C2SP tlog-tiles at the host's root, and what is asked of it.
//!
//! Checkpoints and hashes are for everybody: they say nothing but that the log goes on. Entries name
//! repositories, tags and people, so they are for whoever may pull from all of these, by what the request came with: a token
//! that was made for less reads less.

use super::answer::{Answer, name};
use super::context::Context;
use super::error::ApiError;
use super::route::READING;
use crate::auth::{Principal, Pull, Verb};
use crate::log::Proved;
use crate::service::{Error, LoggedChange, WantedEntry};
use axum::body::Body;
use http::{Method, Request, Response, StatusCode, header};
use sealstone_spec::log::{
    MAX_REKORD_BYTES, PROOF_MEDIA_TYPE, Rekord, TileKind, TilePath, trusted_root,
};
use sealstone_spec::name::RepoName;

/// For content that never changes under its path.
const FOR_EVER: &str = "max-age=31536000, immutable";

type Outcome = Result<Response<Body>, ApiError>;

/// Whether a path is one of the log's at the host's root.
pub(super) fn is_static_path(path: &str) -> bool {
    path == "/checkpoint" || path.starts_with("/tile/")
}

/// `/checkpoint` and `/tile/...`.
pub(super) async fn serve(context: &Context, request: Request<Body>) -> Outcome {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(ApiError::unsupported(request.method(), READING));
    }
    let path = request.uri().path();
    if path == "/checkpoint" {
        let latest = context.registry().latest_checkpoint()?;
        return Ok(note(context, latest.note));
    }
    let path: TilePath = path
        .strip_prefix('/')
        .unwrap_or_default()
        .parse()
        .map_err(|_| absent("no tile has such a path"))?;
    match path.kind {
        TileKind::Hashes(_) => {
            let tile = context.registry().log_tile(path).await?;
            let tile = tile.ok_or_else(|| absent("the latest checkpoint has no such tile"))?;
            Ok(octets(&format!("public, {FOR_EVER}")).tile(&tile).build())
        }
        TileKind::Entries => entries(context, path).await,
    }
}

async fn entries(context: &Context, path: TilePath) -> Outcome {
    let principal = context.principal().await?;
    let may_pull = may_pull(context, &principal);
    let found = context.registry().log_entries(path, may_pull).await;
    let found = found.map_err(|error| refuse(context, &principal, error))?;
    let tile = found.ok_or_else(|| absent("the latest checkpoint has no such tile"))?;
    // A shared cache must not give somebody's answer to somebody else.
    let shared = if principal.is_anonymous() {
        "public"
    } else {
        "private"
    };
    let answer = octets(&format!("{shared}, {FOR_EVER}")).header(header::VARY, "Authorization");
    Ok(answer.tile(&tile).build())
}

/// `/api/v1/log/...`.
pub(super) async fn handle(context: Context, request: Request<Body>) -> Outcome {
    let path = request.uri().path();
    let path = path
        .strip_prefix("/api/v1/log/")
        .unwrap_or_default()
        .to_owned();
    let method = request.method().clone();
    let is_read = matches!(method, Method::GET | Method::HEAD);
    match path.as_str() {
        "key" if is_read => {
            let key = context.registry().log_key()?;
            Ok(text("text/plain; charset=utf-8")
                .text(format!("{key}\n"))
                .build())
        }
        "trusted_root.json" if is_read => trusted(&context),
        "witnessed" if is_read => {
            let found = context.registry().witnessed_checkpoint().await?;
            let found =
                found.ok_or_else(|| absent("no checkpoint is cosigned by all witnesses"))?;
            Ok(note(&context, found.note))
        }
        "proof" if is_read => proof(&context).await,
        "entries" if method == Method::POST => {
            // As with the OCI routes.
            let principal = context.principal().await?;
            let registry = context.registry().clone();
            let body = request.into_body();
            let work = async move { submit(&context, &principal, body).await };
            registry.to_the_end(work).await?
        }
        _ => Err(absent("the log has no such path")),
    }
}

fn trusted(context: &Context) -> Outcome {
    let key = context.registry().log_key()?;
    // Where it is reached, if that is under the log's name; sigstore's tools take the name from there.
    let own = format!("https://{}", key.name());
    let configured = context.app.inner.settings.public_url.as_deref();
    let start = "1970-01-01T00:00:00Z";
    let file = configured
        .and_then(|url| trusted_root(url.trim_end_matches('/'), &key, start).ok())
        .map_or_else(|| trusted_root(&own, &key, start), Ok)
        .map_err(|error| ApiError::from(Error::Internal(error.to_string())))?;
    let file = String::from_utf8(file)
        .map_err(|error| ApiError::from(Error::Internal(error.to_string())))?;
    Ok(text("application/json").text(file).build())
}

async fn proof(context: &Context) -> Outcome {
    let bad = |text: &str| ApiError::bad_request("UNSUPPORTED", text.to_owned());
    let principal = context.principal().await?;
    let witnessed = context.parameter("witnessed").is_some();
    let registry = context.registry();
    let proved = match (context.parameter("index"), context.parameter("repository")) {
        (Some(index), None) => {
            let index = index.parse().map_err(|_| bad("index is not a number"))?;
            let may_pull = may_pull(context, &principal);
            let found = registry.prove_index(index, witnessed, may_pull).await;
            found.map_err(|error| refuse(context, &principal, error))?
        }
        (None, Some(repo)) => {
            let repo: RepoName =
                repo.parse()
                    .map_err(|error: sealstone_spec::name::NameError| {
                        ApiError::bad_request("NAME_INVALID", error.to_string())
                    })?;
            let wanted = match (context.parameter("tag"), context.parameter("statement")) {
                (Some(tag), None) => WantedEntry::Tag(tag.parse().map_err(|_| bad("tag is none"))?),
                (None, Some(digest)) => WantedEntry::Statement(
                    digest.parse().map_err(|_| bad("statement is no digest"))?,
                ),
                _ => return Err(bad("a proof is of one tag or of one statement")),
            };
            let grant = context.grant::<Pull>(&principal, &repo)?;
            registry.prove(&grant, wanted, witnessed).await?
        }
        (None, None) => {
            let digest = context.parameter("key").ok_or_else(|| {
                bad("a proof is asked for by index, by key, or by repository and tag or statement")
            })?;
            let digest = digest.parse().map_err(|_| bad("key is no digest"))?;
            registry.prove_key(&digest, witnessed).await?
        }
        _ => {
            return Err(bad(
                "a proof is asked for by index, by key, or by repository and tag or statement",
            ));
        }
    };
    let Proved { at, proof, .. } = proved.ok_or_else(|| absent("the log has no such entry"))?;
    let answer = text(PROOF_MEDIA_TYPE).header(name("sealstone-log-index"), at.index.to_string());
    Ok(answer.text(proof.to_string()).build())
}

async fn submit(context: &Context, principal: &Principal, body: Body) -> Outcome {
    let repo = context
        .parameter("repository")
        .and_then(|repo| repo.parse::<RepoName>().ok())
        .ok_or_else(|| {
            ApiError::bad_request("NAME_INVALID", "say for which repository: ?repository=NAME")
        })?;
    let who = context.contributor(principal, &repo)?;
    let bytes = context
        .small_body(body, MAX_REKORD_BYTES, "UNSUPPORTED")
        .await?;
    let rekord = Rekord::parse(&bytes)
        .map_err(|error| ApiError::bad_request("UNSUPPORTED", error.to_string()))?;
    let entry = context.registry().log_signature(&who, rekord).await?;
    let answer = Answer::json(StatusCode::CREATED, &entry.to_value());
    Ok(answer
        .header(name("sealstone-log-index"), entry.index().to_string())
        .build())
}

/// Says in headers where a change stands in the log.
pub(super) fn with_headers(answer: Answer, change: Option<&LoggedChange>) -> Answer {
    let Some(change) = change else {
        return answer;
    };
    let answer = answer
        .header(name("sealstone-log-origin"), &change.origin)
        .header(name("sealstone-log-index"), change.index.to_string())
        .header(name("sealstone-log-checkpoint"), change.size.to_string());
    match change.witnesses {
        None => answer,
        Some(count) => answer.header(name("sealstone-log-witnesses"), count.to_string()),
    }
}

fn note(context: &Context, note: String) -> Response<Body> {
    let digest = sealstone_spec::digest::Digest::sha256(note.as_bytes());
    let etag = format!("\"{}\"", digest.hex());
    let answer = |status| {
        Answer::new(status)
            .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
            .header(header::CACHE_CONTROL, "no-cache")
            .header(header::ETAG, &etag)
    };
    if context.has_already(&etag) {
        return answer(StatusCode::NOT_MODIFIED).build();
    }
    answer(StatusCode::OK).text(note).build()
}

fn octets(cache: &str) -> Answer {
    Answer::new(StatusCode::OK)
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::CACHE_CONTROL, cache)
}

fn text(kind: &str) -> Answer {
    Answer::new(StatusCode::OK)
        .header(header::CONTENT_TYPE, kind)
        .header(header::CACHE_CONTROL, "no-cache")
}

fn absent(text: &str) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "UNSUPPORTED", text)
}

/// From which repositories entries may be read: those from which `principal` may pull, within its session too.
fn may_pull(context: &Context, principal: &Principal) -> impl Fn(&RepoName) -> bool {
    let authorizer = &context.app.inner.authorizer;
    move |repo: &RepoName| authorizer.verbs(principal, repo).contains(Verb::Pull)
}

/// Whoever is nobody is asked to say who they are, before they are refused. Elsewhere a session that covers too little is
/// answered with the scope that would do. Here that would tell its holder names of repositories that it is not for.
fn refuse(context: &Context, principal: &Principal, error: Error) -> ApiError {
    match error {
        Error::MayNotReadLog if principal.is_anonymous() => {
            let text = "these entries name repositories that are not public: log in";
            ApiError::challenge(text, &context.realm(), &[], None)
        }
        Error::MayNotReadLog if principal.has_session() => {
            let text = "these entries name repositories that the bearer token does not cover: send the account's secret, or an API token, instead of it";
            ApiError::new(StatusCode::FORBIDDEN, "DENIED", text)
        }
        other => other.into(),
    }
}
