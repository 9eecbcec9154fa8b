//! Uploads: in one request, in one stream, in chunks; mounts; where one stands; giving one up.

use crate::api::answer::{Answer, name, shown};
use crate::api::context::Context;
use crate::api::error::ApiError;
use crate::auth::challenge::BearerError;
use crate::auth::scope::Scope;
use crate::auth::{Principal, Pull, Refusal, Verb};
use crate::metadata::UploadId;
use crate::service::{BeginUpload, Contributor, Error};
use axum::body::Body;
use http::{Response, StatusCode, header};
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::name::RepoName;
use sealstone_spec::range::UploadRange;

fn digest_parameter(context: &Context, parameter: &str) -> Result<Option<Digest>, ApiError> {
    let digest = context.parameter(parameter).map(Digest::parse).transpose();
    digest.map_err(|error| ApiError::bad_request("DIGEST_INVALID", error.to_string()))
}

fn created(repo: &RepoName, digest: &Digest) -> Response<Body> {
    Answer::new(StatusCode::CREATED)
        .header(header::LOCATION, format!("/v2/{repo}/blobs/{digest}"))
        .header(name("docker-content-digest"), digest.to_string())
        .build()
}

/// Where to go on. Relative: behind proxies, absolute locations are guesses.
fn progress(
    context: &Context,
    status: StatusCode,
    repo: &RepoName,
    id: UploadId,
    offset: u64,
) -> Response<Body> {
    let mut answer = Answer::new(status)
        .header(header::LOCATION, format!("/v2/{repo}/blobs/uploads/{id}"))
        .header(header::RANGE, UploadRange::received(offset))
        .header(name("docker-upload-uuid"), id.to_string());
    let least = context.app.inner.settings.chunk_min_bytes;
    if least > 0 {
        answer = answer.header(name("oci-chunk-min-length"), least.to_string());
    }
    answer.build()
}

/// An error, with where to go on, if there is anything left to go on with.
fn with_location(error: Error, repo: &RepoName, id: UploadId) -> ApiError {
    let is_over = error.ends_upload() || matches!(error, Error::UploadUnknown);
    let refused = ApiError::from(error);
    if is_over {
        return refused;
    }
    refused.header(header::LOCATION, format!("/v2/{repo}/blobs/uploads/{id}"))
}

pub(super) async fn begin(
    context: &Context,
    principal: &Principal,
    repo: &RepoName,
    body: Body,
) -> Result<Response<Body>, ApiError> {
    let who = context.contributor(principal, repo)?;
    if let Some(digest) = digest_parameter(context, "mount")? {
        if context.registry().has_blob(&who, &digest).await?
            || mount(context, principal, &who, &digest).await?
        {
            return Ok(created(repo, &digest));
        }
    } else if let Some(digest) = digest_parameter(context, "digest")? {
        context
            .registry()
            .put_blob(&who, digest, context.content_length(), context.body(body))
            .await?;
        return Ok(created(repo, &digest));
    }
    let algorithm = match context.parameter("digest-algorithm") {
        None => None,
        Some(text) => Some(
            text.parse::<Algorithm>()
                .map_err(|error| ApiError::bad_request("DIGEST_INVALID", error.to_string()))?,
        ),
    };
    let begun = context
        .registry()
        .begin_upload(
            &who,
            BeginUpload {
                algorithm,
                len: None,
            },
        )
        .await?;
    Ok(progress(context, StatusCode::ACCEPTED, repo, begun.id, 0))
}

/// Tries the repository that the client names, or all that have the blob. One that is named, that the account
/// may read and the session does not cover is asked for (401): clients that follow the challenge come back with
/// both scopes. Any other that it may not read does not exist for it, and the client then uploads; so does one
/// that named none, which could not know what to ask for.
async fn mount(
    context: &Context,
    principal: &Principal,
    who: &Contributor,
    digest: &Digest,
) -> Result<bool, ApiError> {
    let named = context.parameter("from");
    let sources = match named {
        Some(from) => vec![
            from.parse::<RepoName>()
                .map_err(|error| ApiError::bad_request("NAME_INVALID", error.to_string()))?,
        ],
        None => context.registry().mount_sources(who, digest).await?,
    };
    let mut beyond_session = None;
    for source in sources {
        match context
            .app
            .inner
            .authorizer
            .grant::<Pull>(principal, &source)
        {
            Ok(grant) => {
                if context.registry().mount_blob(who, &grant, digest).await? {
                    return Ok(true);
                }
            }
            Err(refusal @ Refusal::InsufficientScope { .. }) if named.is_some() => {
                beyond_session = Some(refusal);
            }
            Err(_) => {}
        }
    }
    let Some(refusal) = beyond_session else {
        return Ok(false);
    };
    let scopes = [
        Scope::for_verb(Verb::Push, who.repository()),
        refusal.scope(),
    ];
    Err(ApiError::challenge(
        refusal.to_string(),
        &context.realm(),
        &scopes,
        Some(BearerError::InsufficientScope),
    ))
}

fn chunk(context: &Context) -> Result<Option<UploadRange>, ApiError> {
    let range = context
        .condition(&header::CONTENT_RANGE)?
        .map(str::parse::<UploadRange>)
        .transpose();
    range.map_err(|error| ApiError::bad_request("BLOB_UPLOAD_INVALID", error.to_string()))
}

pub(super) async fn patch(
    context: &Context,
    principal: &Principal,
    repo: &RepoName,
    id: uuid::Uuid,
    body: Body,
) -> Result<Response<Body>, ApiError> {
    let (who, id) = (context.contributor(principal, repo)?, UploadId(id));
    let (range, announced) = (chunk(context)?, context.content_length());
    let received = context
        .registry()
        .receive(&who, id, range, announced, context.body(body))
        .await;
    let received = received.map_err(|error| with_location(error, repo, id))?;
    Ok(progress(
        context,
        StatusCode::ACCEPTED,
        repo,
        id,
        received.offset,
    ))
}

pub(super) async fn put(
    context: &Context,
    principal: &Principal,
    repo: &RepoName,
    id: uuid::Uuid,
    body: Body,
) -> Result<Response<Body>, ApiError> {
    let (who, id) = (context.contributor(principal, repo)?, UploadId(id));
    let Some(digest) = digest_parameter(context, "digest")? else {
        return Err(ApiError::bad_request(
            "DIGEST_INVALID",
            format!(
                "PUT ends an upload and needs ?digest=; {} has none",
                shown(&id.to_string())
            ),
        ));
    };
    let (range, announced) = (chunk(context)?, context.content_length());
    let finished = context
        .registry()
        .finish_upload(&who, id, digest, range, announced, context.body(body))
        .await;
    finished.map_err(|error| with_location(error, repo, id))?;
    Ok(created(repo, &digest))
}

pub(super) async fn status(
    context: &Context,
    principal: &Principal,
    repo: &RepoName,
    id: uuid::Uuid,
) -> Result<Response<Body>, ApiError> {
    let (who, id) = (context.contributor(principal, repo)?, UploadId(id));
    let received = context.registry().upload_status(&who, id).await;
    let received = received.map_err(|error| with_location(error, repo, id))?;
    Ok(progress(
        context,
        StatusCode::NO_CONTENT,
        repo,
        id,
        received.offset,
    ))
}

pub(super) async fn cancel(
    context: &Context,
    principal: &Principal,
    repo: &RepoName,
    id: uuid::Uuid,
) -> Result<Response<Body>, ApiError> {
    let (who, id) = (context.contributor(principal, repo)?, UploadId(id));
    let cancelled = context.registry().cancel_upload(&who, id).await;
    cancelled.map_err(|error| with_location(error, repo, id))?;
    Ok(Answer::new(StatusCode::NO_CONTENT).build())
}
