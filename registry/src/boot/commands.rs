//! What is done with a store that no server has open: from the command line, by whoever may read its files.
//!
//! Invariant: none of it makes a store, and none changes a row or an object of one that is not what was served. To rows
//! that are missing, or older than the objects, these objects are nobody's.

use super::{LostWrites, check_served, engine, folders, open, repair_staging};
use crate::auth::password::Passwords;
use crate::auth::secret::Secret;
use crate::auth::{Clock as AuthClock, Maintenance, administration};
use crate::config::Config;
use crate::metadata::kv::KvMetadata;
use anyhow::{Context as _, bail};
use std::sync::Arc;

/// Refuses a data directory without a metadata store, which only `serve` makes, and one of another user.
fn find_store(config: &Config) -> anyhow::Result<()> {
    let directory = &config.storage.path;
    #[cfg(feature = "rocksdb")]
    let is_there = {
        use crate::metadata::kv::rocks::RocksEngine;
        RocksEngine::is_in(&directory.join("metadata"))?
    };
    #[cfg(not(feature = "rocksdb"))]
    let is_there = false;
    if !is_there {
        bail!(
            "there is no store in {}: is this the server's configuration? If it is, the metadata are missing: put back the whole data directory from a backup",
            directory.display()
        );
    }
    folders::check_owner(directory)
}

/// Makes the first administrator anew in a store that no server has open. Returns the secret, to be shown once.
///
/// # Errors
/// If there is no store, it is not the one that was served, or it cannot be opened or changed.
pub async fn reset_administrator(config: &Config) -> anyhow::Result<String> {
    find_store(config)?;
    let directory = &config.storage.path;
    let (engine, _) = engine(directory, LostWrites::Refuse)?;
    let place = || format!("metadata in {}", directory.display());
    let opened = KvMetadata::open(engine, |_| {}).with_context(place)?;
    check_served(config, opened.log()).await?;
    let metadata = opened.counted().with_context(place)?;
    let clock: AuthClock = Arc::new(jiff::Timestamp::now);
    let secret = administration::reset_first_administrator(
        &metadata,
        &Passwords::new(&[], clock.clone(), &mut rand::rng()),
        &Maintenance::at_boot(),
        Secret::generate(&mut rand::rng()),
        clock(),
    )
    .await?;
    Ok(secret.expose().to_owned())
}

/// Reads every blob of a store that no server has open. Removes nothing.
///
/// # Errors
/// If there is no store, it cannot be opened or is not the one that was served; damage is reported at the end.
pub async fn verify_store(config: &Config) -> anyhow::Result<()> {
    find_store(config)?;
    let right = Maintenance::at_boot();
    let (registry, _metadata, _) = open(config, LostWrites::Refuse).await?;
    let report = registry.scrub(&right).await?;
    let orphans = registry.sweep_orphans(&right, true).await?;
    println!(
        "{}",
        serde_json::to_string_pretty(&serde_json::json!({"content": report, "orphans": orphans}))?
    );
    if !report.damaged.is_empty() || report.quarantined_before > 0 {
        bail!(
            "{} blobs or manifests are damaged, {} blobs were in quarantine before",
            report.damaged.len(),
            report.quarantined_before
        );
    }
    if !report.is_complete() {
        bail!(
            "{} entries could not be read, so nothing is known of them",
            report.unreadable.len()
        );
    }
    let unnamed = orphans.orphans + orphans.young;
    if report.blobs == 0 && report.quarantined_before == 0 && unnamed > 0 {
        bail!(
            "the metadata name no blob, and {unnamed} objects are there that no row names: these are the metadata of another store, or older than the objects"
        );
    }
    Ok(())
}

/// Collects garbage in a store that no server has open.
///
/// # Errors
/// If there is no store, it is not the one that was served, or it cannot be opened or changed.
pub async fn collect_garbage(config: &Config, dry_run: bool) -> anyhow::Result<()> {
    find_store(config)?;
    let right = Maintenance::at_boot();
    let (registry, _metadata, _) = open(config, LostWrites::Refuse).await?;
    if !dry_run {
        repair_staging(&registry, &right).await?;
    }
    let report = registry.collect(&right, dry_run).await?;
    let orphans = registry.sweep_orphans(&right, dry_run).await?;
    println!(
        "{}",
        serde_json::to_string_pretty(
            &serde_json::json!({"collected": report, "orphans": orphans})
        )?
    );
    Ok(())
}
