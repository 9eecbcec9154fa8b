//! Lists of tags and of repositories, in pages.

use crate::api::answer::Answer;
use crate::api::context::Context;
use crate::api::error::ApiError;
use crate::auth::scope::Scope;
use crate::auth::{Principal, Pull};
use axum::body::Body;
use http::{Response, StatusCode, header};
use oci_spec::distribution::{RepositoryListBuilder, TagListBuilder};
use sealstone_spec::name::RepoName;

/// Tags in a page when the client sets no size: all of them, within reason.
const ALL_TAGS: usize = 100_000;
/// Repositories in a page when the client sets no size.
const REPOSITORIES: usize = 1000;

fn texts<T: ToString>(names: &[T]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

pub(super) async fn list(
    context: &Context,
    principal: &Principal,
    repo: &RepoName,
) -> Result<Response<Body>, ApiError> {
    let grant = context.grant::<Pull>(principal, repo)?;
    let size = context.page_size(ALL_TAGS, ALL_TAGS)?;
    let last = context.parameter("last");
    // One more than asked for tells whether there is a next page.
    let mut tags = context.registry().tags(&grant, last, size + 1).await?;
    let more = tags.len() > size;
    tags.truncate(size);
    let listed = TagListBuilder::default()
        .name(repo.as_str())
        .tags(texts(&tags))
        .build()
        .expect("both fields are set");
    let mut answer = Answer::json(StatusCode::OK, &listed);
    if let Some(last) = tags.last().filter(|_| more) {
        answer = answer.header(
            header::LINK,
            format!("</v2/{repo}/tags/list?n={size}&last={last}>; rel=\"next\""),
        );
    }
    Ok(answer.build())
}

pub(super) async fn catalog(
    context: &Context,
    principal: &Principal,
) -> Result<Response<Body>, ApiError> {
    let authorizer = &context.app.inner.authorizer;
    if !authorizer.may_list_catalog(principal) {
        return Err(ApiError::challenge(
            "listing repositories needs an account or a token",
            &context.realm(),
            &[Scope::Catalog],
            None,
        ));
    }
    let size = context.page_size(REPOSITORIES, 10_000)?;
    let last = context.parameter("last").map(ToOwned::to_owned);
    let may_see = |repo: &RepoName| authorizer.may_see(principal, repo);
    let mut repositories = context
        .registry()
        .repositories(last, size + 1, may_see)
        .await?;
    let more = repositories.len() > size;
    repositories.truncate(size);
    let listed = RepositoryListBuilder::default()
        .repositories(texts(&repositories))
        .build()
        .expect("the field is set");
    let mut answer = Answer::json(StatusCode::OK, &listed);
    if let Some(last) = repositories.last().filter(|_| more) {
        let last: String = url::form_urlencoded::byte_serialize(last.as_str().as_bytes()).collect();
        answer = answer.header(
            header::LINK,
            format!("</v2/_catalog?n={size}&last={last}>; rel=\"next\""),
        );
    }
    Ok(answer.build())
}
