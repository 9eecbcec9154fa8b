//! What speaks of a manifest.

use crate::api::answer::{Answer, name};
use crate::api::context::Context;
use crate::api::error::ApiError;
use crate::auth::{Principal, Pull};
use axum::body::Body;
use http::{Response, StatusCode, header};
use sealstone_spec::digest::Digest;
use sealstone_spec::media;
use sealstone_spec::name::RepoName;
use serde_json::{Value, json};

/// Referrers in a page when the client sets no size.
const PAGE: usize = 1000;

pub(super) async fn list(
    context: &Context,
    principal: &Principal,
    repo: &RepoName,
    subject: &Digest,
) -> Result<Response<Body>, ApiError> {
    let grant = context.grant::<Pull>(principal, repo)?;
    let size = context.page_size(PAGE, PAGE)?.max(1);
    let after = context.parameter("last").map(Digest::parse).transpose();
    let after =
        after.map_err(|error| ApiError::bad_request("DIGEST_INVALID", format!("last: {error}")))?;
    let artifact_type = context
        .parameter("artifactType")
        .filter(|text| !text.is_empty());
    let page = context
        .registry()
        .referrers(&grant, subject, artifact_type, after, size)
        .await?;
    let manifests: Vec<Value> = page
        .referrers
        .iter()
        .map(|referrer| serde_json::to_value(referrer).expect("descriptors have text keys only"))
        .collect();
    let index = json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": manifests});
    let mut answer = Answer::new(StatusCode::OK)
        .header(header::CONTENT_TYPE, media::OCI_INDEX)
        .body(index.to_string());
    let mut link = format!("/v2/{repo}/referrers/{subject}?n={size}");
    if let Some(artifact_type) = artifact_type {
        answer = answer.header(name("oci-filters-applied"), "artifactType");
        let encoded: String =
            url::form_urlencoded::byte_serialize(artifact_type.as_bytes()).collect();
        link.push_str(&format!("&artifactType={encoded}"));
    }
    if let Some(next) = page.next {
        answer = answer.header(header::LINK, format!("<{link}&last={next}>; rel=\"next\""));
    }
    Ok(answer.build())
}
