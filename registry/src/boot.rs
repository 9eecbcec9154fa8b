//! From a configuration to a running server, and down again. The only place that sees both ends.

mod commands;
mod folders;
mod objects;
mod places;
mod policy;
mod tls;

pub use commands::{collect_garbage, reset_administrator, verify_store};

use crate::api::{self, App, Limits, Listening, Settings};
use crate::auth::htpasswd::Htpasswd;
use crate::auth::jwt::Sessions;
use crate::auth::secret::Secret;
use crate::auth::{
    Authenticator, Authorizer, Clock as AuthClock, Directory as _, Maintenance, administration,
};
use crate::blobs::BlobStore;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::jobs::{self, Schedule};
use crate::log::{self, Log, WitnessParty};
use crate::metadata::Metadata;
use crate::metadata::kv::KvMetadata;
use crate::metadata::kv::engine::Engine;
use crate::metadata::log::LogStore;
use crate::metrics::Metrics;
use crate::service::{Lifetimes, Notary, Registry};
use anyhow::{Context as _, bail};
use ed25519_dalek::SigningKey;
use policy::{choose_policy, load_policy};
use sealstone_spec::digest::Digest;
use sealstone_spec::key::Signer as _;
use sealstone_spec::log::KeyKind;
use sealstone_spec::policy::KeyRecord;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tls::Certificate;
use tokio::net::TcpListener;
use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long the end waits for uploads whose requests are over, and again for the jobs. Whatever is not done by then is as
/// after a crash; a service manager that kills would not wait for it either.
const LAST_STEPS: Duration = Duration::from_secs(5);

/// A server that is ready to serve.
#[derive(Debug)]
pub struct Server {
    app: App,
    registry: Registry,
    log: Log,
    listening: Listening,
    certificate: Option<Arc<Certificate>>,
    limits: Limits,
    schedule: Schedule,
    /// Name and secret of the first administrator, if this start made one.
    pub first_administrator: Option<String>,
}

fn load_htpasswd(config: &Config) -> anyhow::Result<Htpasswd> {
    let Some(path) = &config.auth.htpasswd else {
        return Ok(Htpasswd::default());
    };
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Htpasswd::parse(&text).with_context(|| path.display().to_string())
}

/// Reads everything that a start would read, without touching the stores, and asks whether it could write beside keys.
///
/// # Errors
/// Says what a start would stumble over.
pub fn check(config: &Config) -> anyhow::Result<()> {
    load_policy(config)?;
    load_htpasswd(config)?;
    Certificate::open(config)?;
    folders::check_keys(config)
}

/// The key that signs session tokens: made at the first start, kept in the metadata store.
async fn session_key(metadata: &dyn Metadata) -> anyhow::Result<SigningKey> {
    let seed: [u8; 32] = rand::random();
    let kept = metadata.server_value("session-key", seed.to_vec()).await?;
    let seed: [u8; 32] = kept
        .try_into()
        .map_err(|_| anyhow::anyhow!("the stored session key has a wrong length"))?;
    Ok(SigningKey::from_bytes(&seed))
}

/// Where the last checkpoint of the log is kept outside the store.
fn served_checkpoint(config: &Config) -> PathBuf {
    config.log_key().with_extension("checkpoint")
}

/// Refuses a metadata store that is not the one that was served: older, changed, or of another log.
async fn check_served(config: &Config, store: &dyn LogStore) -> anyhow::Result<()> {
    let (key, guard) = (config.log_key(), served_checkpoint(config));
    log::check_served(store, &key, &config.log_origin(), &guard)
        .await
        .context("the transparency log cannot go on")
}

/// Opens the transparency log. Its last checkpoint is kept beside its key as well, or it is not opened.
async fn open_log(
    config: &Config,
    store: Arc<dyn LogStore>,
    metrics: Arc<Metrics>,
) -> anyhow::Result<Log> {
    let path = config.log_key();
    let guard = served_checkpoint(config);
    let is_new = store.published().await?.is_none();
    let key = log::load_or_make(&path, &config.log_origin(), KeyKind::Log, is_new)?;
    let settings = log::Settings {
        batch: Duration::from_millis(config.transparency.batch_milliseconds),
        wait: Duration::from_secs(config.transparency.wait_seconds),
        witnesses: config
            .transparency
            .witnesses
            .iter()
            .map(|witness| WitnessParty {
                key: witness.key.clone(),
                url: witness.url.clone(),
            })
            .collect(),
        quorum: config.transparency.quorum,
        witness_wait: Duration::from_secs(config.transparency.witness_seconds),
        guard: Some(guard),
    };
    Log::open(store, key, settings, Arc::new(SystemClock), metrics)
        .await
        .context("the transparency log cannot go on")
}

/// Gives the registry a key of its own for statements, and has the log tell of its keys. One that takes the place of
/// another lifts nothing: what was signed with that one is heard as before.
async fn attach_notary(
    config: &Config,
    registry: &Registry,
    metadata: &dyn Metadata,
    log: &Log,
) -> anyhow::Result<()> {
    const STATEMENTS: &str = "registry-statements";
    let known = metadata.registry_keys().await?;
    let is_new = !known.iter().any(|key| key.kind == STATEMENTS);
    let key = log::load_or_make_secret(&config.statement_key(), is_new)?;
    // Before anything is signed with it, so that no statement is by a key that is nowhere.
    let kept = metadata
        .keep_statement_key(key.public_key().clone())
        .await?;
    let digests: Vec<Digest> = kept
        .iter()
        .map(|key| Digest::sha256(&key.to_spki_der()))
        .collect();
    // Versions before this kept no more than the digest of a key.
    let noted = known.iter().filter(|noted| noted.kind == STATEMENTS);
    for lost in noted.filter(|noted| !digests.contains(&noted.digest)) {
        tracing::error!(
            key.id = %lost.id,
            "the key for statements was replaced before it was kept: incidents that it reported are not heard any more. Start once with the old key in place and they are"
        );
    }
    let keys = vec![
        KeyRecord::new(
            "registry-log",
            Some(log.key().name()),
            log.key().public_key(),
        ),
        KeyRecord::new(STATEMENTS, None, key.public_key()),
    ];
    metadata.note_registry_keys(keys, SystemClock.now()).await?;
    let releases = config.statements.releases;
    let notary = Notary::new(key, config.log_origin(), releases, Maintenance::at_boot());
    registry.attach_notary(notary.with_former(kept));
    registry.count_quarantined().await;
    Ok(())
}

/// What is done with a metadata store that comes back without writes that had been synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostWrites {
    /// It is not opened.
    Refuse,
    /// It is opened, and objects that no row names are kept: their rows may be among what was lost.
    Accept,
}

/// Opens the metadata store in the data directory, and says whether writes were lost.
#[cfg(feature = "rocksdb")]
fn engine(directory: &Path, lost: LostWrites) -> anyhow::Result<(impl Engine, bool)> {
    use crate::metadata::kv::rocks::RocksEngine;
    let directory = directory.join("metadata");
    Ok(match lost {
        LostWrites::Refuse => (RocksEngine::open(&directory)?, false),
        LostWrites::Accept => RocksEngine::open_after_loss(&directory)?,
    })
}

/// Without RocksDB nothing is kept: for work on the rest of the server.
#[cfg(not(feature = "rocksdb"))]
fn engine(_directory: &Path, _lost: LostWrites) -> anyhow::Result<(impl Engine, bool)> {
    tracing::warn!("built without RocksDB: everything is forgotten when the server stops");
    Ok((crate::metadata::kv::memory::MemoryEngine::default(), false))
}

/// Opens the stores and puts policy and registry together; with the policy's document, if it is signed. Nothing is judged,
/// and the policy is not put in force: without the log and the registry's own key, verdicts would be others. Nothing is
/// removed either: that is for whoever opens them. A metadata store that is not the one that was served is refused as it
/// is, since what only its own rows name would look like nobody's.
async fn open(
    config: &Config,
    lost: LostWrites,
) -> anyhow::Result<(Registry, Arc<KvMetadata<impl Engine>>, Option<Vec<u8>>)> {
    let directory = &config.storage.path;
    folders::check_owner(directory)?;
    folders::make_private(directory)?;
    let metrics = Arc::new(Metrics::default());
    let observed = metrics.clone();
    let observe = move |time: Duration| observed.commit_seconds.observe(time.as_secs_f64());
    let (engine, has_lost) = engine(directory, lost)?;
    let place = || format!("metadata in {}", directory.display());
    let opened = KvMetadata::open(engine, observe).with_context(place)?;
    check_served(config, opened.log()).await?;
    let metadata = Arc::new(opened.counted().with_context(place)?);
    let store = objects::check_there(directory, &*metadata).await?;
    let mut blobs = BlobStore::local(directory, config.storage.reserve_bytes)?.with_id(store.id)?;
    // After it is written there: a start that was cut in between is the first once more.
    objects::keep(store.id, &*metadata).await?;
    if config.storage.direct_writes {
        blobs = blobs.with_direct_writes();
    }
    let seconds =
        |seconds: u64| i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX / 4);
    let collect = &config.collect;
    let lifetimes = Lifetimes {
        pin: seconds(collect.keep_unused_seconds),
        upload: seconds(collect.keep_upload_seconds),
        untagged: (collect.keep_untagged_seconds > 0)
            .then(|| seconds(collect.keep_untagged_seconds)),
        trash: seconds(collect.keep_trash_seconds),
    };
    let (policy, document) =
        choose_policy(load_policy(config)?, metadata.policy_document().await?)?;
    if let Err(error) = policy.check_new() {
        tracing::warn!(%error, "the policy in force says what has no effect: sign a version without it");
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let registry = Registry::new(
        metadata.clone(),
        blobs,
        policy,
        clock,
        metrics,
        lifetimes,
        config.quota.clone(),
    );
    if has_lost {
        tracing::error!(
            "the metadata store has lost writes that had been acknowledged: what was pushed last has to be pushed again. Until the next start, objects that no row names are kept"
        );
        registry.keep_orphans();
    }
    if store.is_strange {
        tracing::error!(
            "objects lie in {}, and these metadata, which were not with them before, name none: if others belong to them, put these back from a backup before the next start. Until then, objects that no row names are kept",
            directory.join("blobs").display()
        );
        registry.keep_orphans();
    }
    registry.recall_runs().await?;
    Ok((registry, metadata, document))
}

/// Removes what was received of uploads that no row names. The log has vouched for the rows before.
async fn repair_staging(registry: &Registry, right: &Maintenance) -> anyhow::Result<()> {
    let removed = registry.repair_staging(right).await?;
    if removed > 0 {
        tracing::info!(
            uploads = removed,
            "removed staged files that no upload names"
        );
    }
    Ok(())
}

impl Server {
    /// Opens the stores, binds the socket, and makes the first administrator if there is no account.
    ///
    /// # Errors
    /// Says what stands in the way.
    pub async fn prepare(config: &Config, lost: LostWrites) -> anyhow::Result<Server> {
        let right = Maintenance::at_boot();
        let (registry, metadata, document) = open(config, lost).await?;
        registry.note_policy(&right, document).await?;
        let log = open_log(config, metadata.clone(), registry.metrics().clone()).await?;
        registry.attach_log(log.clone());
        repair_staging(&registry, &right).await?;
        attach_notary(config, &registry, &*metadata, &log).await?;
        let changed = log
            .run_beside(registry.follow_policy(&right))
            .await
            .context("the transparency log cannot go on")??;
        if changed > 0 {
            tracing::warn!(
                tags = changed,
                "the policy changed: these tags are shown or hidden now"
            );
        }
        let key = session_key(&*metadata).await?;
        let service = config.auth.service.clone();
        let sessions = Sessions::new(
            key,
            service.clone(),
            service,
            Duration::from_secs(config.auth.token_seconds),
        );
        let htpasswd = load_htpasswd(config)?;
        let clock: AuthClock = Arc::new(jiff::Timestamp::now);
        metadata.note_file(htpasswd.marks(), clock()).await?;
        let (directory, auth_clock) = (metadata.clone(), clock.clone());
        let authenticator = tokio::task::spawn_blocking(move || {
            Authenticator::new(
                directory,
                Arc::new(sessions),
                htpasswd,
                auth_clock,
                &mut rand::rng(),
            )
        })
        .await?;
        let certificate = Certificate::open(config)?;
        let tls = certificate
            .as_ref()
            .map(Certificate::server_config)
            .transpose()?;
        let listener = TcpListener::bind(config.server.listen)
            .await
            .with_context(|| format!("cannot listen on {}", config.server.listen))?;
        // The last step that can fail: a start that ends after it has made an account whose secret nobody was shown.
        let secret = administration::bootstrap(
            &*metadata,
            authenticator.passwords(),
            Secret::generate(&mut rand::rng()),
            clock(),
        )
        .await?;
        let settings = Settings {
            public_url: config.server.public_url.clone(),
            trust_forwarded_for: config.server.trust_forwarded_for,
            body_idle: config.body_idle(),
            chunk_min_bytes: config.server.chunk_min_bytes,
            tls: config.has_tls(),
        };
        let authorizer = Authorizer::new(config.access.clone());
        let app = App::new(
            registry.clone(),
            authenticator,
            authorizer,
            metadata,
            right,
            clock,
            settings,
        );
        let seconds = Duration::from_secs;
        Ok(Server {
            app,
            registry,
            log,
            listening: Listening { listener, tls },
            certificate,
            limits: Limits {
                connections: places::connections(config.server.max_connections),
                head: seconds(config.server.head_timeout_seconds),
                write_idle: config.body_idle(),
                drain: seconds(config.server.drain_seconds),
            },
            schedule: Schedule {
                collect_every: seconds(config.collect.every_seconds),
                scrub_every: seconds(config.scrub.every_seconds),
            },
            first_administrator: secret.map(|secret| secret.expose().to_owned()),
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// If the socket does not tell.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listening.listener.local_addr()
    }

    /// Serves until `stop`, then drains: requests end or are cut, received bytes are written down.
    ///
    /// At each of `hang_ups` it reads its certificate again.
    ///
    /// # Errors
    /// If the socket fails, or if the metadata store takes no write until it is opened anew.
    pub async fn run(self, hang_ups: Signal, stop: CancellationToken) -> anyhow::Result<()> {
        let tracker = TaskTracker::new();
        let (registry, schedule) = (self.registry.clone(), self.schedule);
        tracker.spawn(jobs::collect(
            registry.clone(),
            Maintenance::at_boot(),
            schedule,
            stop.clone(),
        ));
        tracker.spawn(jobs::scrub(
            registry.clone(),
            Maintenance::at_boot(),
            schedule,
            stop.clone(),
        ));
        tracker.spawn(jobs::attend(registry.clone(), stop.clone()));
        tracker.spawn(tls::follow(self.certificate, hang_ups, stop.clone()));
        let given_up = CancellationToken::new();
        tracker.spawn(jobs::watch_store(
            registry.clone(),
            Maintenance::at_boot(),
            stop.clone(),
            given_up.clone(),
        ));
        // Requests that are ending still wait for their checkpoint, so the log ends after them.
        let end_log = CancellationToken::new();
        tracker.spawn(self.log.clone().run(end_log.clone()));
        tracker.spawn(self.log.run_witnesses(end_log.clone()));
        tracker.spawn(registry.clone().follow_witnesses(stop.clone()));
        tracker.close();
        api::serve(self.app, self.listening, self.limits, stop.clone()).await?;
        stop.cancel();
        if tokio::time::timeout(LAST_STEPS, registry.drain())
            .await
            .is_err()
        {
            tracing::warn!(
                "something that was asked for does not end in time, such as a scrub, or a large upload that is hashed or synced; uploads are resumed after the next start"
            );
        }
        end_log.cancel();
        if tokio::time::timeout(LAST_STEPS, tracker.wait())
            .await
            .is_err()
        {
            tracing::warn!("a job did not end in time; it goes on at the next start");
        }
        if given_up.is_cancelled() {
            bail!(
                "the metadata store took no write any more, though its disk did, and only another start helps: nothing that was answered is lost. Its last error is in the log"
            );
        }
        Ok(())
    }
}
