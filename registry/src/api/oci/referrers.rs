//! What speaks of a manifest.

use crate::api::answer::{Answer, name};
use crate::api::context::Context;
use crate::api::error::ApiError;
use crate::auth::{Principal, Pull};
use axum::body::Body;
use http::{Response, StatusCode, header};
use sealstone_spec::digest::Digest;
use sealstone_spec::manifest::Descriptor;
use sealstone_spec::media;
use sealstone_spec::name::RepoName;
use serde::Serialize;

/// Referrers in a page when the client sets no size. Many: clients built on go-containerregistry read the
/// first page only, and a signature that they do not see is no signature to them.
const PAGE: usize = 1000;

/// The answer: an image index that nobody stored.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index<'a> {
    schema_version: u32,
    media_type: &'static str,
    manifests: &'a [Descriptor],
}

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
    let index = Index {
        schema_version: 2,
        media_type: media::OCI_INDEX,
        manifests: &page.referrers,
    };
    let body = serde_json::to_string(&index).expect("descriptors have text keys only");
    let mut answer = Answer::new(StatusCode::OK)
        .header(header::CONTENT_TYPE, media::OCI_INDEX)
        .text(body);
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
