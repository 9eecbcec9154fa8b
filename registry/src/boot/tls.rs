//! The certificate that the server shows: read at the start, and again when it was renewed.
//!
//! Files are read again on SIGHUP and once an hour. Does not own: connections, which keep what they were made with.
//! Invariant: what is shown is a chain and the key that belongs to it. Where the files are none, or are being replaced, the
//! last pair that was one stays.

use crate::config::Config;
use anyhow::Context as _;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;

/// How often the files are looked at without being asked.
const EVERY: Duration = Duration::from_secs(60 * 60);

/// A certificate's files, and what was last read from them.
#[derive(Debug)]
pub(super) struct Certificate {
    chain: PathBuf,
    key: PathBuf,
    shown: RwLock<Arc<CertifiedKey>>,
}

impl Certificate {
    /// Reads the certificate that the configuration names; `None` if it names none.
    ///
    /// # Errors
    /// If a file cannot be read, or certificate and key do not belong together.
    pub(super) fn open(config: &Config) -> anyhow::Result<Option<Arc<Certificate>>> {
        let (Some(chain), Some(key)) = (&config.server.tls_certificate, &config.server.tls_key)
        else {
            return Ok(None);
        };
        Ok(Some(Arc::new(Certificate {
            shown: RwLock::new(Arc::new(read(chain, key)?)),
            chain: chain.clone(),
            key: key.clone(),
        })))
    }

    /// How connections are encrypted with it, and with what takes its place.
    ///
    /// # Errors
    /// If the library cannot do what it was built for.
    pub(super) fn server_config(
        self: &Arc<Certificate>,
    ) -> anyhow::Result<Arc<rustls::ServerConfig>> {
        let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(tls))
    }

    /// Reads the files again; whether they hold another certificate.
    fn renew(&self) -> anyhow::Result<bool> {
        let found = read(&self.chain, &self.key)?;
        let mut shown = self.shown.write().unwrap_or_else(PoisonError::into_inner);
        let is_new = shown.cert != found.cert;
        if is_new {
            *shown = Arc::new(found);
        }
        Ok(is_new)
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        Some(shown.clone())
    }
}

fn read(chain: &PathBuf, key: &PathBuf) -> anyhow::Result<CertifiedKey> {
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(chain)
        .and_then(Iterator::collect)
        .with_context(|| format!("cannot read certificates from {}", chain.display()))?;
    if certificates.is_empty() {
        anyhow::bail!("there is no certificate in {}", chain.display());
    }
    let key = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("cannot read a private key from {}", key.display()))?;
    CertifiedKey::from_der(certificates, key, &default_provider())
        .context("certificate and key do not belong together")
}

/// Reads the certificate again whenever the process was asked to by SIGHUP, and once an hour. A server without one ignores
/// the signal.
pub(super) async fn follow(
    certificate: Option<Arc<Certificate>>,
    mut asked: Signal,
    stop: CancellationToken,
) {
    loop {
        let is_asked = tokio::select! {
            () = stop.cancelled() => return,
            _ = asked.recv() => true,
            () = tokio::time::sleep(EVERY) => false,
        };
        let Some(certificate) = certificate.clone() else {
            if is_asked {
                tracing::info!(
                    "SIGHUP: there is no certificate to read again; all else is read at the start"
                );
            }
            continue;
        };
        match tokio::task::spawn_blocking(move || certificate.renew()).await {
            Ok(Ok(true)) => tracing::info!("the certificate was renewed: new connections get it"),
            Ok(Ok(false)) if is_asked => tracing::info!("SIGHUP: the certificate is the same"),
            Ok(Ok(false)) => {}
            Ok(Err(error)) => tracing::error!(
                error = format!("{error:#}"),
                "the certificate cannot be read again; the last one stays in use"
            ),
            Err(error) => tracing::error!(%error, "the certificate was not read again"),
        }
    }
}
