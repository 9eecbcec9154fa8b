//! A witness (C2SP tlog-witness): cosigns checkpoints of logs that it knows, if each goes on from the last.
//!
//! A server of its own, best on another machine and in other hands than the log: only then does a log that
//! shows two histories need two accomplices. Keeps one file for each log and opens no store.
//! Invariant: for one log, comparing, keeping and signing happen one after the other under one lock, and the
//! new checkpoint is durable before its cosignature leaves.

use crate::clock::{Clock, SystemClock};
use crate::file;
use crate::log::{self, LogKey};
use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path as PathParameter, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use http::{StatusCode, header};
use sealstone_spec::digest::Digest;
use sealstone_spec::log::{
    AddCheckpoint, KeyKind, MAX_REQUEST_BYTES, SignedCheckpoint, VerifierKey, WitnessRefusal,
};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Mutex;

/// How a witness is run.
#[derive(Clone, Debug, clap::Args)]
pub struct WitnessOptions {
    /// Address and port to listen on.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5090")]
    pub listen: SocketAddr,
    /// Name of the witness in its cosignatures, such as its host name.
    #[arg(long)]
    pub name: String,
    /// Its key (PKCS#8, Ed25519); made if there is none. Use it for nothing else.
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// Directory for the last checkpoint of each log.
    #[arg(long, value_name = "DIRECTORY")]
    pub state: PathBuf,
    /// Key of a log to cosign, as `sealstone log key` shows it; may be given several times.
    #[arg(long = "log", value_name = "KEY", required = true)]
    pub logs: Vec<VerifierKey>,
}

struct Witness {
    key: LogKey,
    logs: Vec<VerifierKey>,
    directory: PathBuf,
    /// The last checkpoint of each origin that was cosigned. Its lock is held from comparing to signing.
    kept: Mutex<BTreeMap<String, SignedCheckpoint>>,
}

impl Witness {
    fn open(options: &WitnessOptions) -> anyhow::Result<Witness> {
        let key = log::load_or_make(&options.key, &options.name, KeyKind::Witness, true)?;
        std::fs::create_dir_all(&options.state)
            .with_context(|| format!("cannot make {}", options.state.display()))?;
        let mut kept = BTreeMap::new();
        for log in &options.logs {
            anyhow::ensure!(
                log.kind() == KeyKind::Log,
                "{log} is a witness's key, not a log's"
            );
            if let Some(note) = read(&path(&options.state, log.name()), log, key.verifier())? {
                kept.insert(log.name().to_owned(), note);
            }
        }
        Ok(Witness {
            key,
            logs: options.logs.clone(),
            directory: options.state.clone(),
            kept: Mutex::new(kept),
        })
    }

    async fn add(&self, request: &AddCheckpoint) -> Result<String, Response> {
        let mut kept = self.kept.lock().await;
        let origin = request.checkpoint.claim().origin.clone();
        let before = kept.get(&origin).map(SignedCheckpoint::claim);
        let checkpoint = request.judge(&self.logs, before).map_err(refused)?;
        let seconds = u64::try_from(SystemClock.now() / 1000).unwrap_or(0);
        let line = request
            .checkpoint
            .claim()
            .cosign(self.key.verifier(), self.key.secret(), seconds)
            .map_err(|error| failed(&error))?;
        // Only the lines that were checked are kept.
        let own = checkpoint.note().signatures().iter();
        let own = own
            .filter(|line| checkpoint.log().is_named_by(line))
            .cloned()
            .collect();
        let note = sealstone_spec::log::Note::new(checkpoint.note().text().to_owned(), own);
        let mut note =
            SignedCheckpoint::parse(note.to_string().as_bytes()).map_err(|error| failed(&error))?;
        note.add_cosignature(line.clone());
        let (path, text) = (path(&self.directory, &origin), note.to_string());
        tokio::task::spawn_blocking(move || file::replace(&path, text.as_bytes()))
            .await
            .map_err(|error| failed(&error))?
            .map_err(|error| failed(&error))?;
        tracing::info!(
            log.origin = origin,
            log.size = checkpoint.size(),
            "cosigned"
        );
        kept.insert(origin, note);
        Ok(line.to_string())
    }
}

/// A log's file: its name is a hash, for an origin may hold anything.
fn path(directory: &Path, origin: &str) -> PathBuf {
    directory.join(format!(
        "{}.checkpoint",
        Digest::sha256(origin.as_bytes()).hex()
    ))
}

fn read(
    path: &Path,
    log: &VerifierKey,
    own: &VerifierKey,
) -> anyhow::Result<Option<SignedCheckpoint>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    let note = SignedCheckpoint::parse(&bytes)
        .and_then(|note| {
            note.verify(log)?;
            note.cosignatures([own])?;
            Ok(note)
        })
        .with_context(|| {
            format!(
                "{}: it is what this witness cosigned last of {}",
                path.display(),
                log.name()
            )
        })?;
    Ok(Some(note))
}

fn refused(refusal: WitnessRefusal) -> Response {
    if matches!(
        refusal,
        WitnessRefusal::Inconsistent { .. } | WitnessRefusal::OtherRoot { .. }
    ) {
        tracing::error!(%refusal, "a log contradicts itself");
    }
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
    match refusal {
        WitnessRefusal::Stale { size } => {
            let kind = [(header::CONTENT_TYPE, "text/x.tlog.size")];
            (status, kind, format!("{size}\n")).into_response()
        }
        other => (status, format!("{other}\n")).into_response(),
    }
}

fn failed(error: &dyn std::fmt::Display) -> Response {
    tracing::error!(%error, "cannot cosign");
    (
        StatusCode::INTERNAL_SERVER_ERROR,
        "the witness failed; its log says why\n",
    )
        .into_response()
}

async fn add_checkpoint(State(witness): State<Arc<Witness>>, body: Bytes) -> Response {
    let request = match AddCheckpoint::parse(&body) {
        Ok(request) => request,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    match witness.add(&request).await {
        Ok(lines) => lines.into_response(),
        Err(answer) => answer,
    }
}

async fn last_checkpoint(
    State(witness): State<Arc<Witness>>,
    PathParameter(hash): PathParameter<String>,
) -> Response {
    let kept = witness.kept.lock().await;
    let found = kept
        .iter()
        .find(|(origin, _)| Digest::sha256(origin.as_bytes()).hex() == hash);
    match found {
        Some((_, note)) => note.to_string().into_response(),
        None => (
            StatusCode::NOT_FOUND,
            "nothing was cosigned of such a log\n",
        )
            .into_response(),
    }
}

/// Serves until `stop`.
///
/// # Errors
/// If key, state or socket cannot be used.
pub async fn serve(
    options: &WitnessOptions,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let witness = Arc::new(Witness::open(options)?);
    let listener = tokio::net::TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("cannot listen on {}", options.listen))?;
    let address = listener.local_addr()?;
    tracing::info!(%address, key = %witness.key.verifier(), "witness on http://{address}");
    println!("{}", witness.key.verifier());
    let routes = Router::new()
        .route("/add-checkpoint", post(add_checkpoint))
        .route("/{hash}/checkpoint", get(last_checkpoint))
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .with_state(witness);
    axum::serve(listener, routes)
        .with_graceful_shutdown(stop)
        .await?;
    Ok(())
}
