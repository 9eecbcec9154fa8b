//! Arguments that say how a registry is reached, and the manifest that is found there; shared by every command that
//! talks to one.

use super::log::{watch, watch_tag};
use sealstone::Result;
use sealstone::log::Seen;
use sealstone::store::{Location, Store};
use sealstone::transport::ConnectOptions;
use sealstone_spec::manifest::VerifiedManifest;
use std::path::PathBuf;

/// How registries are reached.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ConnectArgs {
    /// Speak HTTP without TLS also to hosts other than this one
    #[arg(long, env = "SEALSTONE_PLAIN_HTTP", value_parser = yes_or_no, help_heading = "Registry")]
    plain_http: bool,

    /// PEM file with further certificate authorities to trust
    #[arg(
        long,
        value_name = "FILE",
        env = "SEALSTONE_CA_FILE",
        help_heading = "Registry"
    )]
    ca_file: Option<PathBuf>,
}

/// What a variable says that is a flag on the command line. An empty one says what none says.
fn yes_or_no(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" | "" => Ok(false),
        _ => Err("write 1 or 0, true or false, yes or no, on or off".to_owned()),
    }
}

impl ConnectArgs {
    /// The same, for the library.
    pub(crate) fn options(&self) -> ConnectOptions {
        ConnectOptions {
            plain_http: self.plain_http,
            ca_file: self.ca_file.clone(),
            ..ConnectOptions::default()
        }
    }

    /// The manifest that a location names; at a registry only if its log goes on from what it showed this user
    /// before and says the same of the tag.
    pub(crate) async fn resolve(
        &self,
        location: &Location,
        store: &dyn Store,
    ) -> Result<VerifiedManifest> {
        Ok(self.resolve_logged(location, store).await?.0)
    }

    /// The same, with what the log showed, if there is one.
    pub(crate) async fn resolve_logged(
        &self,
        location: &Location,
        store: &dyn Store,
    ) -> Result<(VerifiedManifest, Option<Seen>)> {
        let seen = watch(location, &self.options()).await?;
        let manifest = location.resolve(store).await?;
        watch_tag(seen.as_ref(), location, manifest.digest()).await?;
        Ok((manifest, seen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_says_yes_or_no_in_the_usual_words() {
        for yes in ["1", "true", "yes", "ON"] {
            assert_eq!(yes_or_no(yes), Ok(true), "{yes}");
        }
        for no in ["0", "false", "No", "off", ""] {
            assert_eq!(yes_or_no(no), Ok(false), "{no}");
        }
        assert!(yes_or_no("http").is_err());
    }
}
