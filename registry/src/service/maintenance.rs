//! What the server does with its stores on its own account: collecting, scrubbing, repairing at start.
//!
//! Does not own objects that no row names (`orphans`).

use super::judge::JUDGEMENTS;
use super::upload::blocking;
use super::{Error, Registry};
use crate::auth::Maintenance;
use crate::metadata::{
    BlobPlace, BlobRow, CollectRules, Collected, Judged, Millis, Refusal, TagRow,
};
use sealstone_spec::digest::Digest;
use sealstone_spec::name::{RepoName, Tag};
use serde::Serialize;
use std::time::{Duration, Instant};

/// Rows looked at in one step of a collection. A step takes the one thread that writes, so this bounds how long a push
/// waits for it: about a millisecond.
const STEP: usize = 32;
/// Objects of the trash that are listed at once.
const TRASH_PAGE: usize = 200;

/// What the server does by the clock, and remembers the last success of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// [`Registry::collect`].
    Collect,
    /// [`Registry::scrub`].
    Scrub,
    /// [`Registry::sweep_orphans`].
    Sweep,
}

impl Job {
    const ALL: [Job; 3] = [Job::Collect, Job::Scrub, Job::Sweep];

    fn name(self) -> &'static str {
        match self {
            Job::Collect => "collect",
            Job::Scrub => "scrub",
            Job::Sweep => "sweep",
        }
    }
}

/// For so long after a start nothing is done that is overdue: whoever waited for the server comes first.
const SETTLE: Duration = Duration::from_secs(60);

/// What a collection did, or would do.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SweepReport {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// Manifests removed.
    pub manifests: u64,
    /// Blobs taken from repositories.
    pub links: u64,
    /// Blobs removed altogether.
    pub blobs: u64,
    /// Bytes of these; they leave the disk when their time in the trash is over.
    pub bytes: u64,
    /// Uploads given up.
    pub uploads: u64,
    /// Objects deleted from the trash.
    pub objects_deleted: u64,
    /// Objects and staged uploads that could not be deleted: the next collection tries the objects again, the
    /// next start the uploads.
    pub failed: u64,
}

/// Something that a scrub could not check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unread {
    /// A blob or manifest, or the list in which it stands.
    pub what: String,
    /// Why.
    pub problem: String,
}

impl ScrubReport {
    /// Whether everything was read.
    pub fn is_complete(&self) -> bool {
        self.unreadable.is_empty()
    }

    fn unread(&mut self, what: impl std::fmt::Display, error: &Error) {
        let (what, problem) = (what.to_string(), error.to_string());
        tracing::error!(what, problem, "a scrub could not read this; it goes on");
        self.unreadable.push(Unread { what, problem });
    }
}

/// What a scrub found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ScrubReport {
    /// Blobs read.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Content that is not what it was. Damaged blobs are in quarantine; damaged manifests are not served.
    pub damaged: Vec<Digest>,
    /// What could not be read now, and so was not checked: too many open files, or a disk that does not answer.
    pub unreadable: Vec<Unread>,
    /// Blobs that were in quarantine before, and stay there.
    pub quarantined_before: u64,
    /// Blobs that were in quarantine, and are whole: they are read again.
    pub recovered: Vec<Digest>,
    /// Manifests read.
    pub manifests: u64,
}

impl Registry {
    /// Removes what nobody needs. Runs beside readers and writers; takes no lock.
    pub async fn collect(&self, _right: &Maintenance, dry_run: bool) -> Result<SweepReport, Error> {
        let rules = CollectRules {
            now: self.now(),
            trash_for: self.inner.lifetimes.trash,
            untagged_manifests: self.inner.lifetimes.untagged.is_some(),
            dry_run,
        };
        let mut report = SweepReport {
            dry_run,
            ..SweepReport::default()
        };
        let mut cursor = None;
        loop {
            let started = Instant::now();
            let Collected {
                manifests,
                links,
                blobs,
                bytes,
                uploads,
                next,
            } = self.metadata().collect(rules, cursor, STEP).await?;
            let took = started.elapsed();
            report.manifests += manifests;
            report.links += links;
            report.blobs += blobs;
            report.bytes += bytes;
            report.uploads += uploads.len() as u64;
            if !dry_run {
                for id in uploads {
                    self.inner.metrics.uploads_open.dec();
                    report.failed += u64::from(!self.discard(id).await);
                }
            }
            cursor = next;
            if cursor.is_none() {
                break;
            }
            // Half of the time is the writers', however much there is to collect.
            tokio::time::sleep(took).await;
        }
        if !dry_run {
            self.empty_trash(&mut report).await?;
            self.inner.metrics.gc_bytes_freed.inc_by(report.bytes);
            self.count_quarantined().await;
            if report.failed == 0 {
                self.note_run(Job::Collect).await;
            }
        }
        Ok(report)
    }

    /// Deletes what is due. An object that cannot be deleted stays in the trash, and the next is taken.
    async fn empty_trash(&self, report: &mut SweepReport) -> Result<(), Error> {
        let mut after = None;
        loop {
            let due = self
                .metadata()
                .trash_due(self.now(), after, TRASH_PAGE)
                .await?;
            let Some(last) = due.last() else {
                return Ok(());
            };
            after = Some(last.key.clone());
            let mut deleted = Vec::new();
            for item in due {
                // First the object, then the row: a crash between them deletes it once more.
                match self.blobs().delete(&item.key).await {
                    Ok(()) => deleted.push(item),
                    Err(error) => {
                        tracing::error!(object.key = %item.key, %error, "an object in the trash cannot be deleted; it stays there");
                        report.failed += 1;
                    }
                }
            }
            report.objects_deleted += deleted.len() as u64;
            self.metadata().trash_done(deleted).await?;
        }
    }

    /// Reads every blob and manifest, puts blobs that are damaged into quarantine, and takes out of it what is whole after
    /// all. What cannot be read now is listed and the next is read: one bad place must not hide all behind it.
    pub async fn scrub(&self, _right: &Maintenance) -> Result<ScrubReport, Error> {
        let mut report = ScrubReport::default();
        if let Err(error) = self.scrub_blobs(&mut report).await {
            report.unread("the list of blobs", &error);
        }
        if let Err(error) = self.scrub_manifests(&mut report).await {
            report.unread("the list of repositories", &error);
        }
        if report.is_complete() {
            self.note_run(Job::Scrub).await;
        }
        Ok(report)
    }

    async fn scrub_blobs(&self, report: &mut ScrubReport) -> Result<(), Error> {
        let mut after = None;
        // One row at a time: at the end of a page, rows would be hours old.
        while let Some((digest, blob)) = self.blob_after(after).await? {
            let before = after.replace(digest);
            let read = self.scrub_blob(&digest, &blob).await;
            let is_damaged = matches!(read, Err(Error::Damaged(_)));
            if is_damaged && self.was_replaced(before, &digest, &blob).await? {
                // Nobody reads that copy any more; the one that counts is read instead.
                after = before;
                continue;
            }
            // In quarantine it may be whole all the same: its disk was not there when somebody asked.
            let is_kept_back = blob.quarantined.is_some();
            if is_kept_back && read.is_err() {
                report.quarantined_before += 1;
                continue;
            }
            report.blobs += 1;
            report.bytes += blob.size;
            match read {
                Ok(()) if is_kept_back => match self.recover(&digest, &blob.place).await {
                    Ok(true) => report.recovered.push(digest),
                    Ok(false) => {}
                    Err(error) => report.unread(digest, &error),
                },
                Ok(()) => {}
                Err(Error::Damaged(_)) => report.damaged.push(digest),
                Err(error) => report.unread(digest, &error),
            }
        }
        Ok(())
    }

    async fn blob_after(&self, after: Option<Digest>) -> Result<Option<(Digest, BlobRow)>, Error> {
        Ok(self.metadata().all_blobs(after, 1).await?.pop())
    }

    /// Whether a copy that turned out to be damaged is not the blob's any more.
    async fn was_replaced(
        &self,
        after: Option<Digest>,
        digest: &Digest,
        read: &BlobRow,
    ) -> Result<bool, Error> {
        let now = self.blob_after(after).await?;
        Ok(now.is_none_or(|(found, row)| found != *digest || row.place != read.place))
    }

    /// Reads every manifest. A damaged one is never served, whatever it is; this tells of it early.
    async fn scrub_manifests(&self, report: &mut ScrubReport) -> Result<(), Error> {
        let mut after: Option<String> = None;
        loop {
            let repos = self.metadata().repositories(after.as_deref(), 100).await?;
            let Some(last) = repos.last() else {
                return Ok(());
            };
            after = Some(last.to_string());
            for repo in repos {
                if let Err(error) = self.scrub_repository(&repo, report).await {
                    report.unread(format_args!("the list of manifests of {repo}"), &error);
                }
            }
        }
    }

    async fn scrub_repository(
        &self,
        repo: &RepoName,
        report: &mut ScrubReport,
    ) -> Result<(), Error> {
        let mut after = None;
        loop {
            let digests = self.metadata().manifests(repo, after, 100).await?;
            let Some(last) = digests.last() else {
                return Ok(());
            };
            after = Some(*last);
            for digest in digests {
                report.manifests += 1;
                match self.check_manifest(repo, &digest, None, "scrub").await {
                    Ok(_) | Err(Error::ManifestUnknown(_)) => {}
                    Err(Error::Damaged(digest)) => report.damaged.push(digest),
                    Err(error) => report.unread(format_args!("{digest} in {repo}"), &error),
                }
            }
        }
    }

    async fn scrub_blob(&self, digest: &Digest, blob: &BlobRow) -> Result<(), Error> {
        match &blob.place {
            BlobPlace::Inline => self.read_inline(digest, "scrub").await.map(drop),
            BlobPlace::Object { key, root } => {
                match self.blobs().scrub(key, blob.size, *root).await {
                    Ok(_) => Ok(()),
                    Err(error) => Err(self.fail_read(digest, &blob.place, error, "scrub").await),
                }
            }
        }
    }

    /// Removes staged files of uploads that no row names, after a restart, and gives back the space and the room that are
    /// reserved for the others beyond what has come. Never removes a row.
    pub async fn repair_staging(&self, _right: &Maintenance) -> Result<u64, Error> {
        self.give_back_announced().await?;
        let staging = self.blobs().staging().clone();
        let listed = blocking(move || staging.uploads()).await?;
        let mut removed = 0;
        for id in listed {
            if self.metadata().has_upload(id).await? {
                let staging = self.blobs().staging().clone();
                if let Err(error) = blocking(move || staging.give_back(id)).await {
                    tracing::warn!(upload.id = %id, %error, "space that is reserved for an upload could not be given back");
                }
            } else if !self.keeps_orphans() && self.discard(id).await {
                removed += 1;
            }
        }
        self.inner
            .metrics
            .uploads_open
            .set(i64::try_from(self.metadata().open_uploads().await?).unwrap_or(i64::MAX));
        Ok(removed)
    }

    /// Judges every release again under the policy in force; returns how many are shown or hidden now.
    pub(super) async fn reassess_all(&self) -> Result<u64, Error> {
        let mut changed = 0;
        let mut after_repo: Option<String> = None;
        loop {
            let repos = self
                .metadata()
                .repositories(after_repo.as_deref(), 100)
                .await?;
            let Some(last) = repos.last() else {
                return Ok(changed);
            };
            after_repo = Some(last.to_string());
            for repo in repos {
                changed += self.reassess(&repo).await?;
            }
        }
    }

    async fn reassess(&self, repo: &RepoName) -> Result<u64, Error> {
        let mut changed = 0;
        let mut after: Option<String> = None;
        loop {
            let tags = self
                .metadata()
                .tags(repo, after.as_deref(), 100, false)
                .await?;
            let Some(last) = tags.last() else {
                return Ok(changed);
            };
            after = Some(last.to_string());
            for tag in tags {
                if !tag.is_evidence_list() {
                    changed += u64::from(self.reassess_tag(repo, &tag).await?);
                }
            }
        }
    }

    pub(super) async fn reassess_tag(&self, repo: &RepoName, tag: &Tag) -> Result<bool, Error> {
        for _ in 0..JUDGEMENTS {
            let Some(TagRow {
                digest,
                visible,
                tombstone: false,
                ..
            }) = self.metadata().tag(repo, tag).await?
            else {
                return Ok(false);
            };
            let policy = *self.policy().digest();
            let Some(row) = self.metadata().manifest(repo, &digest).await? else {
                return Ok(false);
            };
            let revocations = self.metadata().revocations(&digest).await?.len();
            let (judged, admitted) = match self.judge_release(repo, &digest, &row).await {
                Ok(verdict) => {
                    if let Some(denial) = &verdict.denial {
                        tracing::warn!(repo.name = %repo, tag = %tag, reason = %denial, "release is no longer admitted by policy");
                    }
                    let judged = verdict.judged(digest, row.evidence, self.now());
                    (judged, verdict.denial.is_none())
                }
                // What cannot be judged is not shown.
                Err(error) => {
                    tracing::error!(repo.name = %repo, tag = %tag, %error, "release cannot be judged; it is hidden");
                    let judged = Judged {
                        manifest: digest,
                        policy,
                        evidence: row.evidence,
                        revocations,
                        exceptions: Vec::new(),
                        now: self.now(),
                    };
                    (judged, false)
                }
            };
            // What is shown on an exception has to count under it, also if it was shown before.
            if admitted == visible && judged.exceptions.is_empty() {
                return Ok(false);
            }
            match self
                .metadata()
                .show_tag(repo, tag, judged, admitted)
                .await?
            {
                Err(Refusal::Rejudge) => {}
                outcome => return Ok(outcome?),
            }
        }
        // Whoever changes policy and evidence so often judges it after each change.
        tracing::warn!(repo.name = %repo, tag = %tag, "release was judged, and its policy or evidence changed each time");
        Ok(false)
    }

    /// How long after a start a job that runs each `every` waits for its first run: a server that is started
    /// again more often than that still gets round to it.
    pub async fn due_in(&self, job: Job, every: Duration) -> Duration {
        let last = match self.metadata().last_run(job.name()).await {
            Ok(last) => last,
            Err(error) => {
                tracing::warn!(job = job.name(), %error, "it is not known when this last ran");
                None
            }
        };
        // A clock that was set back makes no run wait for longer than always.
        let since =
            last.map(|last| Duration::from_millis((self.now() - last).max(0).unsigned_abs()));
        let left = since.map_or(Duration::ZERO, |since| every.saturating_sub(since));
        left.max(SETTLE.min(every))
    }

    /// When a job last succeeded, also before this start.
    pub(super) async fn last_success(&self, job: Job) -> Result<Option<Millis>, Error> {
        Ok(self.metadata().last_run(job.name()).await?)
    }

    /// Shows when each job last succeeded, before this start.
    pub async fn recall_runs(&self) -> Result<(), Error> {
        for job in Job::ALL {
            if let Some(at) = self.metadata().last_run(job.name()).await? {
                self.show_run(job, at);
            }
        }
        Ok(())
    }

    pub(super) async fn note_run(&self, job: Job) {
        let now = self.now();
        self.show_run(job, now);
        if let Err(error) = self.metadata().note_run(job.name(), now).await {
            tracing::warn!(job = job.name(), %error, "it could not be noted that this ran; the next start repeats it");
        }
    }

    fn show_run(&self, job: Job, at: Millis) {
        let metrics = &self.inner.metrics;
        let gauge = match job {
            Job::Collect => &metrics.gc_last_success,
            Job::Scrub => &metrics.scrub_last_success,
            // What it removes is counted, and that it is late does no harm.
            Job::Sweep => return,
        };
        gauge.set(at / 1000);
    }

    /// Whether the stores answer and can be written, and there is room.
    pub async fn check_ready(&self) -> Result<(), Error> {
        self.metadata().check_health().await?;
        let store = self.blobs().clone();
        blocking(move || store.check_writable()).await?;
        self.measure_disk().await?;
        self.check_room().await
    }

    /// Refuses where nothing is left of the disk but the reserve.
    pub async fn check_room(&self) -> Result<(), Error> {
        let staging = self.blobs().staging().clone();
        blocking(move || staging.check_space(0)).await
    }

    /// Shows how much room there is.
    pub async fn measure_disk(&self) -> Result<(), Error> {
        let store = self.blobs().clone();
        let free = blocking(move || store.free_bytes()).await?;
        let disk_free = &self.inner.metrics.disk_free;
        disk_free.set(i64::try_from(free).unwrap_or(i64::MAX));
        Ok(())
    }
}
