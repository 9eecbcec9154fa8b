//! Arguments that say how a registry is reached; shared by every command that talks to one.

use sealstone::transport::ConnectOptions;
use std::path::PathBuf;

/// How registries are reached.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ConnectArgs {
    /// Speak HTTP without TLS also to hosts other than this one
    #[arg(long, env = "SEALSTONE_PLAIN_HTTP", help_heading = "Registry")]
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

impl ConnectArgs {
    /// The same, for the library.
    pub(crate) fn options(&self) -> ConnectOptions {
        ConnectOptions {
            plain_http: self.plain_http,
            ca_file: self.ca_file.clone(),
            ..ConnectOptions::default()
        }
    }
}
