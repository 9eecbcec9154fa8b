//! Manifests: by tag or digest.

use crate::api::answer::{Answer, name};
use crate::api::context::Context;
use crate::api::error::ApiError;
use crate::api::log;
use crate::auth::{Delete, Principal, Pull, Refusal, Tag as TagAction};
use crate::metadata::TagCondition;
use crate::service::{Error, PushManifest};
use axum::body::Body;
use http::{Response, StatusCode, header};
use sealstone_spec::digest::Digest;
use sealstone_spec::manifest::MAX_MANIFEST_BYTES;
use sealstone_spec::name::{Reference, RepoName, Tag};
use sealstone_spec::words;

/// Tags that one push can set.
const MOST_TAGS: usize = 40;
/// Longest warning, in bytes: the distribution specification's limit for all of an answer's warnings.
const MOST_WARNING: usize = 4_096;

pub(super) async fn get(
    context: &Context,
    principal: &Principal,
    repo: &RepoName,
    reference: &Reference,
) -> Result<Response<Body>, ApiError> {
    let grant = context.grant::<Pull>(principal, repo)?;
    let found = context.registry().manifest(&grant, reference).await;
    let manifest = found.map_err(|error| refused(context, error))?;
    let etag = format!("\"{}\"", manifest.digest);
    let unchanged = context.has_already(&etag);
    let status = if unchanged {
        StatusCode::NOT_MODIFIED
    } else {
        StatusCode::OK
    };
    let mut answer = Answer::new(status)
        .header(name("docker-content-digest"), manifest.digest.to_string())
        .header(header::ETAG, etag)
        .header(header::CONTENT_TYPE, &manifest.media_type)
        .header(
            name("sealstone-visibility"),
            match (manifest.released, manifest.evidence) {
                (false, _) => "staged",
                (true, true) => "evidence",
                (true, false) => "released",
            },
        )
        .header(name("sealstone-policy"), manifest.policy.to_string())
        .header(
            name("sealstone-verdict"),
            match &manifest.verdict {
                Some(verdict) if verdict.denial.is_some() => "denied",
                Some(_) => "admitted",
                None if manifest.released && !manifest.evidence => "admitted",
                _ => "none",
            },
        )
        .header(name("sealstone-name"), words::three_words(&manifest.digest));
    if let Ok(checkpoint) = context.registry().latest_checkpoint() {
        answer = answer.header(
            name("sealstone-log-checkpoint"),
            checkpoint.size.to_string(),
        );
    }
    if let Some(verdict) = &manifest.verdict {
        answer = answer.header(name("sealstone-state"), &verdict.state);
        if let Some(reason) = &verdict.deprecated {
            let visible: String = reason
                .chars()
                .filter(|c| c.is_ascii_graphic() || *c == ' ')
                .collect();
            answer = answer
                .header(header::WARNING, warning(&format!("deprecated: {visible}")))
                .header(name("sealstone-deprecated"), visible);
        }
    }
    if !unchanged {
        answer = answer
            .header(header::CONTENT_LENGTH, manifest.bytes().len().to_string())
            .manifest(&manifest);
    }
    Ok(answer.build())
}

/// A pull that the policy refuses is told how far the log is, as one that it lets through.
fn refused(context: &Context, error: Error) -> ApiError {
    let latest = match error {
        Error::Denied(_) => context.registry().latest_checkpoint().ok(),
        _ => None,
    };
    let refused = ApiError::from(error);
    match latest {
        Some(checkpoint) => refused.header(
            name("sealstone-log-checkpoint"),
            checkpoint.size.to_string(),
        ),
        None => refused,
    }
}

/// A warning as the distribution specification has it ("Warnings"): quoted, and short enough for every client.
fn warning(text: &str) -> String {
    let mut line = String::from("299 - \"");
    for character in text.chars() {
        let quoted = match character {
            '"' | '\\' => format!("\\{character}"),
            other => other.to_string(),
        };
        if line.len() + quoted.len() + 1 > MOST_WARNING {
            break;
        }
        line.push_str(&quoted);
    }
    line.push('"');
    line
}

/// `If-Match: "digest"` moves a tag only from there, `If-Match: *` from anywhere; `If-None-Match: *` only creates it. Of a
/// manifest that is named by its digest and gets no tag, they say that it must be there, or must not. Anything else is refused:
/// a list, or a weak tag, which RFC 9110 would have never match.
fn condition(context: &Context) -> Result<TagCondition, ApiError> {
    let invalid = |text: &str| ApiError::bad_request("UNSUPPORTED", text.to_owned());
    match (
        context.condition(&header::IF_MATCH)?,
        context.condition(&header::IF_NONE_MATCH)?,
    ) {
        (None, None) => Ok(TagCondition::Any),
        (None, Some("*")) => Ok(TagCondition::Absent),
        (Some("*"), None) => Ok(TagCondition::Present),
        (Some(tag), None) => {
            let digest = tag.trim().trim_matches('"');
            Digest::parse(digest)
                .map(TagCondition::Names)
                .map_err(|_| invalid("If-Match takes one quoted digest, or *"))
        }
        _ => Err(invalid(
            "a push takes If-Match with one quoted digest or *, or If-None-Match: *, not both",
        )),
    }
}

pub(super) async fn put(
    context: &Context,
    principal: &Principal,
    repo: &RepoName,
    reference: Reference,
    body: Body,
) -> Result<Response<Body>, ApiError> {
    let who = context.may_contribute(principal, repo);
    let authorizer = &context.app.inner.authorizer;
    let tagger = authorizer.grant::<TagAction>(principal, repo);
    if let (Err(adding), Err(tagging)) = (&who, &tagger) {
        return Err(context.refused(&adding.clone().or(tagging.clone())));
    }
    let mut tags: Vec<Tag> = Vec::new();
    for text in context.parameters("tag") {
        let tag = text
            .parse()
            .map_err(|error: sealstone_spec::name::NameError| {
                ApiError::bad_request("MANIFEST_INVALID", error.to_string())
            })?;
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    if tags.len() > MOST_TAGS {
        let text = format!(
            "one push sets at most {MOST_TAGS} tags, this one asks for {}",
            tags.len()
        );
        return Err(ApiError::new(
            StatusCode::URI_TOO_LONG,
            "TOOMANYREQUESTS",
            text,
        ));
    }
    let from_query = !tags.is_empty();
    let condition = condition(context)?;
    let bytes = context
        .small_body(body, MAX_MANIFEST_BYTES, "MANIFEST_INVALID")
        .await?;
    let push = PushManifest {
        reference: reference.clone(),
        tags,
        content_type: context.header(&header::CONTENT_TYPE).map(ToOwned::to_owned),
        bytes,
        condition,
    };
    let registry = context.registry();
    let pushed = match (who, tagger) {
        (Ok(who), tagger) => {
            let grant = tagger.as_ref().ok();
            match (registry.push_manifest(&who, grant, push).await, &tagger) {
                // They may, with another session.
                (Err(Error::MayNotTag(_)), Err(tagging @ Refusal::InsufficientScope { .. })) => {
                    return Err(context.refused(tagging));
                }
                (pushed, _) => pushed?,
            }
        }
        (Err(adding), Ok(tagger)) => match registry.tag_manifest(&tagger, push).await {
            // Adding it is what they may not, or not with this session.
            Err(Error::MayOnlyTag) => return Err(context.refused(&adding)),
            tagged => tagged?,
        },
        (Err(adding), Err(tagging)) => return Err(context.refused(&adding.or(tagging))),
    };
    let mut answer = Answer::new(StatusCode::CREATED)
        .header(
            header::LOCATION,
            format!("/v2/{repo}/manifests/{}", pushed.digest),
        )
        .header(name("docker-content-digest"), pushed.digest.to_string())
        .header(header::ETAG, format!("\"{}\"", pushed.digest))
        .header(name("sealstone-name"), words::three_words(&pushed.digest));
    answer = log::with_headers(answer, pushed.logged.as_ref());
    if let Some(subject) = pushed.subject {
        answer = answer.header(name("oci-subject"), subject.to_string());
    }
    if from_query {
        for tag in &pushed.tags {
            answer = answer.header(name("oci-tag"), tag.as_str());
        }
    }
    if pushed.tags.is_empty()
        && matches!(reference, Reference::Digest(_))
        && pushed.subject.is_none()
    {
        answer = answer.header(
            header::WARNING,
            warning("staged: visible to consumers only once a tag releases it"),
        );
    }
    Ok(answer.build())
}

pub(super) async fn delete(
    context: &Context,
    principal: &Principal,
    repo: &RepoName,
    reference: &Reference,
) -> Result<Response<Body>, ApiError> {
    let grant = context.grant::<Delete>(principal, repo)?;
    match reference {
        Reference::Tag(tag) => {
            context
                .registry()
                .delete_tag(&grant, tag, condition(context)?)
                .await?
        }
        Reference::Digest(digest) => {
            context
                .registry()
                .delete_manifest_if(&grant, digest, condition(context)?)
                .await?
        }
    }
    Ok(Answer::new(StatusCode::ACCEPTED).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_quoted_and_short() {
        assert_eq!(warning("a \"b\" \\"), "299 - \"a \\\"b\\\" \\\\\"");
        for text in ["x".repeat(5_000), "\"".repeat(5_000)] {
            let line = warning(&text);
            assert!(line.len() <= MOST_WARNING && line.len() > MOST_WARNING - 2);
            assert!(line.ends_with('"') && !line.ends_with("\\\"\\\""));
        }
    }
}
