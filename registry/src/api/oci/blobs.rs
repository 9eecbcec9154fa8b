//! Blobs: HEAD, GET with ranges, DELETE, and the tree for those who check ranges themselves.

use crate::api::answer::{Answer, name};
use crate::api::context::Context;
use crate::api::error::ApiError;
use crate::auth::{Delete, Principal, Pull};
use axum::body::Body;
use http::{Response, StatusCode, header};
use sealstone_spec::digest::Digest;
use sealstone_spec::media;
use sealstone_spec::name::RepoName;
use sealstone_spec::range::{ByteRange, content_range};
use sealstone_spec::tree::GROUP_BYTES;

/// Content under a digest never changes.
const FOR_EVER: &str = "private, max-age=31536000, immutable";

fn etag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

fn described(answer: Answer, digest: &Digest) -> Answer {
    answer
        .header(name("docker-content-digest"), digest.to_string())
        .header(header::ETAG, etag(digest))
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::CACHE_CONTROL, FOR_EVER)
}

pub(super) async fn head(
    context: &Context,
    principal: &Principal,
    repo: &RepoName,
    digest: &Digest,
) -> Result<Response<Body>, ApiError> {
    let grant = context.grant::<Pull>(principal, repo)?;
    let facts = context.registry().stat_blob(&grant, digest).await?;
    if context.has_already(&etag(digest)) {
        return Ok(described(Answer::new(StatusCode::NOT_MODIFIED), digest).build());
    }
    let answer = Answer::new(StatusCode::OK)
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::CONTENT_LENGTH, facts.size.to_string());
    Ok(described(answer, digest).build())
}

pub(super) async fn get(
    context: &Context,
    principal: &Principal,
    repo: &RepoName,
    digest: &Digest,
) -> Result<Response<Body>, ApiError> {
    let grant = context.grant::<Pull>(principal, repo)?;
    // A part of something else than what the client has begun with is no use to it: send all (RFC 9110, 13.1.5).
    let same = context
        .header(&header::IF_RANGE)
        .is_none_or(|tag| tag == etag(digest));
    let wanted = context
        .header(&header::RANGE)
        .filter(|_| same)
        .and_then(ByteRange::parse);
    let blob = context.registry().readable_blob(&grant, digest).await?;
    if context.has_already(&etag(digest)) {
        return Ok(described(Answer::new(StatusCode::NOT_MODIFIED), digest).build());
    }
    if let Some(wanted) = wanted {
        match wanted.within(blob.size()) {
            Err(unsatisfiable) => {
                return Err(ApiError::new(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    "SIZE_INVALID",
                    unsatisfiable.to_string(),
                )
                .header(header::CONTENT_RANGE, unsatisfiable.content_range()));
            }
            Ok(Some(part)) => {
                let body = context.registry().read_blob(&blob, part.clone()).await?;
                let answer = Answer::new(StatusCode::PARTIAL_CONTENT)
                    .header(header::CONTENT_TYPE, "application/octet-stream")
                    .header(header::CONTENT_RANGE, content_range(&part, blob.size()))
                    .header(header::CONTENT_LENGTH, body.len().to_string());
                return Ok(described(answer, digest).blob(body).build());
            }
            Ok(None) => {}
        }
    }
    let body = context.registry().read_blob(&blob, 0..blob.size()).await?;
    let answer = Answer::new(StatusCode::OK)
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::CONTENT_LENGTH, body.len().to_string());
    Ok(described(answer, digest).blob(body).build())
}

pub(super) async fn delete(
    context: &Context,
    principal: &Principal,
    repo: &RepoName,
    digest: &Digest,
) -> Result<Response<Body>, ApiError> {
    let grant = context.grant::<Delete>(principal, repo)?;
    context.registry().delete_blob(&grant, digest).await?;
    Ok(Answer::new(StatusCode::ACCEPTED).build())
}

pub(super) async fn tree(
    context: &Context,
    principal: &Principal,
    repo: &RepoName,
    digest: &Digest,
) -> Result<Response<Body>, ApiError> {
    let grant = context.grant::<Pull>(principal, repo)?;
    let Some((body, root)) = context.registry().read_tree(&grant, digest).await? else {
        return Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "BLOB_UNKNOWN",
            "small blobs have no tree: fetch the blob whole",
        ));
    };
    let answer = Answer::new(StatusCode::OK)
        .header(header::CONTENT_TYPE, media::BLAKE3_TREE)
        .header(header::CONTENT_LENGTH, body.len().to_string())
        .header(name("sealstone-group-bytes"), GROUP_BYTES.to_string())
        .header(
            name("sealstone-tree-root"),
            data_encoding::HEXLOWER.encode(&root),
        );
    Ok(answer.blob(body).build())
}
