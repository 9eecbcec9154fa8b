//! How registries are reached: settings with their defaults.

use super::backoff::Patience;
use super::client::USER_AGENT;
use crate::credentials::{CredentialSource, Keyring};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How to reach a registry.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// Speak HTTP even to hosts other than loopback.
    pub plain_http: bool,
    /// PEM file with further certificate authorities.
    pub ca_file: Option<PathBuf>,
    /// Who this is; without one, the places that [`Keyring::from_environment`] knows.
    pub credentials: Option<Arc<dyn CredentialSource>>,
    /// How patiently steps are tried again.
    pub patience: Patience,
    /// A connection on which nothing moves for this long is given up. There is no limit on the
    /// whole of a transfer.
    pub idle: Duration,
    /// How long a registry may take to put a received blob away before it answers.
    pub settle: Duration,
    /// Time for a connection to come about.
    pub connect: Duration,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        ConnectOptions {
            plain_http: false,
            ca_file: None,
            credentials: None,
            patience: Patience::default(),
            idle: Duration::from_secs(60),
            settle: Duration::from_secs(900),
            connect: Duration::from_secs(15),
        }
    }
}

impl ConnectOptions {
    /// The credentials to ask.
    pub(crate) fn source(&self) -> Arc<dyn CredentialSource> {
        match &self.credentials {
            Some(source) => source.clone(),
            None => Arc::new(Keyring::from_environment()),
        }
    }

    /// A client of HTTP with these settings.
    pub(super) fn client(&self, builder: reqwest::ClientBuilder) -> crate::Result<reqwest::Client> {
        let mut builder = builder
            .user_agent(USER_AGENT)
            // Many transfers at once need as many connections: HTTP/2 would put them all through one
            // window.
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(self.connect)
            .pool_max_idle_per_host(32)
            .tcp_keepalive(Duration::from_secs(30));
        if let Some(path) = &self.ca_file {
            let failed = |error| crate::Error::io(format!("reading \"{}\"", path.display()), error);
            let pem = std::fs::read(path).map_err(failed)?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem)
                .ok()
                .filter(|certificates| !certificates.is_empty())
                .ok_or_else(|| {
                    crate::Error::usage(format!(
                        "\"{}\" holds no certificate in PEM form",
                        path.display()
                    ))
                })?;
            builder = builder.tls_certs_merge(certificates);
        }
        builder
            .build()
            .map_err(|error| crate::Error::other("the HTTP client cannot be made").source(error))
    }
}
