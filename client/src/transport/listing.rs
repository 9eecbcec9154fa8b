//! Listings of tags and repositories, page after page.
//!
//! Source: OCI distribution specification, "Listing Tags"; `_catalog` is docker's.
//! Invariant: pages are followed on the same registry only, and only so many.

use super::client::{Call, Registry};
use super::link;
use super::repository::{Access, RegistryStore};
use crate::error::{Error, Result};
use reqwest::Method;
use reqwest::header::LINK;
use sealstone_spec::name::{RepoName, Tag};
use serde::Deserialize;
use std::str::FromStr;

const PAGE: usize = 1000;
const MAX_PAGES: usize = 10_000;
const MAX_PAGE_BYTES: usize = 16 * 1024 * 1024;

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    tags: Option<Vec<String>>,
    #[serde(default)]
    repositories: Option<Vec<String>>,
}

impl RegistryStore {
    pub(super) async fn list_tags(&self) -> Result<Vec<Tag>> {
        let what = format!("the tags of {}/{}", self.registry().name(), self.name());
        let path = format!("tags/list?n={PAGE}");
        let call = self.call(Method::GET, &path, Access::Read, what).await?;
        list(self.registry(), call, |page| page.tags).await
    }
}

/// The repositories of a registry that this caller may see, sorted.
///
/// # Errors
/// If the registry cannot be reached or offers no such list.
pub async fn repositories(registry: &Registry) -> Result<Vec<RepoName>> {
    let what = format!("the repositories of {}", registry.name());
    let mut call = registry
        .call(Method::GET, &format!("v2/_catalog?n={PAGE}"), what)
        .await?;
    call.scopes.push("registry:catalog:*".to_owned());
    list(registry, call, |page| page.repositories).await
}

async fn list<T: FromStr + Ord>(
    registry: &Registry,
    mut call: Call,
    names: impl Fn(Page) -> Option<Vec<String>>,
) -> Result<Vec<T>> {
    let mut found = Vec::new();
    for _ in 0..MAX_PAGES {
        let answer = registry.send(&call).await?.expect(&[200]).await?;
        let next = link::next_page(answer.url(), &answer.lines(LINK));
        let body = answer.bytes(MAX_PAGE_BYTES).await?;
        let page: Page = serde_json::from_slice(&body).map_err(|error| {
            registry.protocol(&call.what, format!("the list is not JSON: {error}"))
        })?;
        for name in names(page).unwrap_or_default() {
            // A name that no OCI registry can have is left out, not a reason to show none.
            match name.parse() {
                Ok(name) => found.push(name),
                Err(_) => tracing::warn!(
                    "{} has a name that is left out: {:?}",
                    call.what,
                    super::printable(&name)
                ),
            }
        }
        match next {
            Some(next) if next != call.url => call.url = next,
            _ => {
                found.sort();
                found.dedup();
                return Ok(found);
            }
        }
    }
    Err(Error::network(format!(
        "{} have more than {MAX_PAGES} pages",
        call.what
    )))
}
