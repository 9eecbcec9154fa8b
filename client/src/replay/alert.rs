//! Alerts: told once where people look, signed where programs do.
//!
//! The line itself is `spec::report`'s. Owns its ways: a webhook, tried again when it does not answer, and a
//! directory from which something else sends mail. Invariants: what was posted is not posted again, and what was not is;
//! an alert that could not be delivered never changes how a replay ended.

use crate::error::{Error, Result};
use crate::transport::Spared;
use crate::transport::address::is_loopback;
use data_encoding::BASE64;
use sealstone_spec::digest::Digest;
use sealstone_spec::key::Signer;
use sealstone_spec::report::{ReplayScope, Report, alert_line};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;
use url::Url;

/// Attempts to deliver.
const ATTEMPTS: u32 = 4;
/// Wait before the second; doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where alerts are posted.
#[derive(Clone, Debug)]
pub struct Webhook {
    url: Url,
    client: reqwest::Client,
    /// Wait before the second attempt.
    first_wait: Duration,
}

impl Webhook {
    /// A webhook at this address.
    ///
    /// # Errors
    /// If it is no http or https address.
    pub fn new(url: &str) -> Result<Webhook> {
        let url: Url = url
            .parse()
            .map_err(|error| Error::usage("the webhook's address cannot be read").source(error))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Error::usage(format!(
                "a webhook speaks http or https, not {}",
                url.scheme()
            )));
        }
        let mut client = reqwest::Client::builder()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none());
        // As for a registry: what is meant for this machine does not leave it, nor what `NO_PROXY` keeps inside.
        if is_loopback(&url) || Spared::from_environment().names(&url) {
            client = client.no_proxy();
        }
        let client = client
            .build()
            .map_err(|error| Error::other("cannot make a client for the webhook").source(error))?;
        Ok(Webhook {
            url,
            client,
            first_wait: FIRST_WAIT,
        })
    }

    /// Posts the alert of a report, signed over the body's bytes where there is a signer: headers
    /// `sealstone-signature` (base64) and `sealstone-key-id`. Tried again when the other side fails; not
    /// when it refuses.
    ///
    /// # Errors
    /// If no attempt was answered well.
    pub async fn post(
        &self,
        report: &Report,
        runbook: Option<&str>,
        signer: Option<&(dyn Signer + Sync)>,
    ) -> Result<()> {
        let body = body(report, runbook);
        let signature = signer
            .map(|signer| {
                signer.sign(&body).map(|signature| {
                    (
                        BASE64.encode(&signature),
                        signer.public_key().id().to_string(),
                    )
                })
            })
            .transpose()
            .map_err(|error| Error::other("the alert was not signed").source(error))?;
        let mut wait = self.first_wait;
        let mut last = Error::network("the webhook was not asked");
        for attempt in 1..=ATTEMPTS {
            let mut request = self
                .client
                .post(self.url.clone())
                .header("content-type", "application/json")
                .header("sealstone-event", "replay")
                .header("sealstone-fingerprint", report.fingerprint().hex());
            if let Some((signature, key)) = &signature {
                request = request
                    .header("sealstone-signature", signature)
                    .header("sealstone-key-id", key);
            }
            match request.body(body.clone()).send().await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => {
                    last = Error::network(format!("the webhook answered {}", answer.status()));
                    if answer.status().is_client_error() && answer.status().as_u16() != 429 {
                        return Err(last);
                    }
                }
                Err(error) => {
                    last = Error::network("the webhook did not answer").source(error.without_url())
                }
            }
            if attempt < ATTEMPTS {
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
        }
        Err(last)
    }
}

/// How it is told.
#[derive(Clone, Copy, Debug)]
pub struct Telling<'a> {
    /// The profile that was replayed, if it was one.
    pub profile: Option<&'a str>,
    /// What people are told to read.
    pub runbook: Option<&'a str>,
    /// Where alerts lie, and are known by.
    pub directory: &'a Path,
}

/// What became of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing failed, and nothing that had is whole again.
    Nothing,
    /// Whoever is to be told has been told of this before.
    Before,
    /// It was told.
    Alert,
    /// It was told that so many alerts are over.
    Recovered(usize),
}

/// Tells of a report once: leaves a file in `directory` by which the same failure is known again, and posts it where
/// there is a webhook, which a second file beside it notes: without that one, the next replay posts it again. A model
/// that is reproduced closes its own alerts, and that is told as well where the alert had been posted.
///
/// # Errors
/// If nobody was told, or it could not be noted down.
pub async fn tell(
    report: &Report,
    telling: Telling<'_>,
    webhook: Option<&Webhook>,
    signer: Option<&(dyn Signer + Sync)>,
) -> Result<Told> {
    let (directory, runbook) = (telling.directory, telling.runbook);
    if report.verdict.is_reproduced() {
        let open = open_alerts(report, telling)?;
        if open.is_empty() {
            return Ok(Told::Nothing);
        }
        // Whoever has not heard that it began need not hear that it is over.
        let was_posted = open.iter().any(|path| mark_of(path).exists());
        if let Some(webhook) = webhook.filter(|_| was_posted) {
            webhook.post(report, runbook, signer).await?;
        }
        // Last: what could not be delivered is tried again by the next replay.
        close(directory, report, &open)?;
        return Ok(Told::Recovered(open.len()));
    }
    // First: people look into the directory also while the webhook does not answer, and a full disk keeps nobody who is
    // called from being called.
    let left = drop_file(report, telling);
    let mark = mark_of(&file_of(report, telling));
    let was_posted = matches!(left, Ok(None)) && mark.exists();
    match webhook.filter(|_| !was_posted) {
        Some(webhook) => {
            webhook.post(report, runbook, signer).await?;
            left?;
            let marking = format!("marking an alert as posted in \"{}\"", directory.display());
            std::fs::write(&mark, format!("{}\n", report.finished_on))
                .map_err(|source| Error::io(marking, source))?;
            Ok(Told::Alert)
        }
        None => Ok(match left? {
            Some(_) => Told::Alert,
            None => Told::Before,
        }),
    }
}

/// What is posted.
fn body(report: &Report, runbook: Option<&str>) -> Vec<u8> {
    let failing = report.failing().unwrap_or_default();
    let document = json!({
        "schema": "sealstone-alert/v1",
        "text": alert_line(report, runbook),
        "verdict": report.verdict.as_str(),
        "recovered": report.verdict.is_reproduced(),
        "bundle": {"id": report.baseline.id, "digest": report.baseline.digest},
        "stage": failing.stage,
        "artifact": failing.artifact,
        "locator": failing.locator,
        "test": failing.test,
        "expected": failing.expected,
        "observed": failing.observed,
        "attribution": report.attribution.map(|attribution| attribution.as_str()),
        "owner": report.owner,
        "runbook": runbook,
        "fingerprint": report.fingerprint().to_string(),
        "at": report.finished_on,
    });
    serde_json::to_vec(&document).expect("made of text")
}

/// Writes the alert as a file of its own into the directory: the same failure of the same scope is one. Returns the
/// file, or `None` if the same alert lay there already.
///
/// # Errors
/// If the directory cannot be written.
pub(super) fn drop_file(report: &Report, telling: Telling<'_>) -> Result<Option<PathBuf>> {
    let directory = telling.directory;
    let failed = |source| {
        Error::io(
            format!("writing an alert into \"{}\"", directory.display()),
            source,
        )
    };
    std::fs::create_dir_all(directory).map_err(failed)?;
    let path = file_of(report, telling);
    if path.exists() {
        return Ok(None);
    }
    let text = format!(
        "{}\n\n{}\n{ABOUT}{}\n",
        alert_line(report, telling.runbook),
        report.finished_on,
        About::of(report, telling.profile).to_json()
    );
    std::fs::write(&path, text).map_err(failed)?;
    Ok(Some(path))
}

/// Where the alert of a report lies; the same failure has the same place. Scopes have places of their own, or one that
/// is reproduced could not close what it found itself without closing what another one has found.
fn file_of(report: &Report, telling: Telling<'_>) -> PathBuf {
    let about = About::of(report, telling.profile).to_json();
    let text = format!("{}\n{about}", report.fingerprint());
    let name = &Digest::sha256(text.as_bytes()).hex()[..32];
    telling.directory.join(format!("{name}.txt"))
}

/// The file that says that an alert was posted, beside the alert's own.
fn mark_of(file: &Path) -> PathBuf {
    file.with_extension("posted")
}

/// The alerts in the directory that a report which is reproduced closes. They are about the same version of the same
/// model, replayed with the same profile and no wider; whatever is reproduced in full answers every scope and profile.
fn open_alerts(report: &Report, telling: Telling<'_>) -> Result<Vec<PathBuf>> {
    let directory = telling.directory;
    let failed = |source| {
        Error::io(
            format!("looking for alerts in \"{}\"", directory.display()),
            source,
        )
    };
    let mut open = Vec::new();
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(open),
        Err(error) => return Err(failed(error)),
    };
    let whole = About::of(report, telling.profile);
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(failed)?;
        // A file that does not say what it is about is somebody else's.
        if About::read(&text).is_some_and(|about| whole.answers(&about)) {
            open.push(path);
        }
    }
    open.sort();
    Ok(open)
}

/// Gives alerts a line that says that they are over, and another name, which is returned.
fn close(directory: &Path, report: &Report, open: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let failed = |source| {
        Error::io(
            format!("closing alerts in \"{}\"", directory.display()),
            source,
        )
    };
    let line = format!("RECOVERED {} {}\n", report.baseline.id, report.finished_on);
    let mut closed = Vec::new();
    for path in open {
        let text = std::fs::read_to_string(path).map_err(failed)?;
        let to = path.with_extension("recovered");
        std::fs::write(&to, format!("{line}{text}")).map_err(failed)?;
        std::fs::remove_file(path).map_err(failed)?;
        match std::fs::remove_file(mark_of(path)) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        closed.push(to);
    }
    Ok(closed)
}

/// What an alert is about: a line of its file, so that nobody has to read the sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct About {
    /// The model's name.
    model: String,
    /// Its version, if it has one.
    version: Option<String>,
    /// How much was replayed.
    scope: ReplayScope,
    /// With which profile, if with one.
    profile: Option<String>,
}

/// What that line begins with. No other one does: the sentence begins with a verdict and is one line.
const ABOUT: &str = "about: ";

impl About {
    fn of(report: &Report, profile: Option<&str>) -> About {
        // An id such as `churn:1.4.0~brisk-otter-quartz`: the words are of one bundle or lock.
        let id = report.baseline.id.as_str();
        let name = id.split('~').next().unwrap_or(id);
        let (model, version) = match name.split_once(':') {
            Some((model, version)) => (model, Some(version.to_owned())),
            None => (name, None),
        };
        About {
            model: model.to_owned(),
            version,
            scope: report.scope,
            profile: profile.map(str::to_owned),
        }
    }

    /// Whether what was found then is no more, if this was reproduced. Weights that answer well say nothing about a
    /// training that does not, nor one version about another.
    fn answers(&self, then: &About) -> bool {
        let is_same = (&self.model, &self.version) == (&then.model, &then.version);
        let covers = self.scope >= then.scope && self.profile == then.profile;
        is_same && (covers || self.scope == ReplayScope::Full)
    }

    fn read(text: &str) -> Option<About> {
        let line = text.lines().find_map(|line| line.strip_prefix(ABOUT))?;
        serde_json::from_str(line).ok()
    }

    fn to_json(&self) -> String {
        serde_json::to_string(self).expect("made of text")
    }
}

/// Closes what a report that is reproduced answers, and tells nobody.
#[cfg(test)]
pub(super) fn recover(report: &Report, telling: Telling<'_>) -> Result<Vec<PathBuf>> {
    close(telling.directory, report, &open_alerts(report, telling)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use sealstone_spec::key::SecretKey;
    use serde_json::Value;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    /// What a server was sent: the lines of the head, and the body.
    type Sent = (Vec<String>, Vec<u8>);

    fn diverged() -> Report {
        Report::parse(include_bytes!("../../../spec/vectors/report/diverged.json")).unwrap()
    }

    fn reproduced() -> Report {
        let mut report = Report::parse(include_bytes!(
            "../../../spec/vectors/report/reproduced.json"
        ))
        .unwrap();
        report.baseline.id = diverged().baseline.id;
        report
    }

    /// Without a profile, into this directory.
    fn at(directory: &Path) -> Telling<'_> {
        Telling {
            profile: None,
            runbook: None,
            directory,
        }
    }

    /// A webhook that loses no time, and a server behind it that gives these answers, one to a connection.
    async fn answering(answers: &[u16]) -> (Webhook, JoinHandle<Vec<Sent>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let answers = answers.to_vec();
        let served = tokio::spawn(async move {
            let mut sent = Vec::new();
            for status in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut bytes = Vec::new();
                let whole = loop {
                    let mut part = [0u8; 4096];
                    let count = stream.read(&mut part).await.unwrap();
                    assert!(count > 0, "the connection ended early");
                    bytes.extend_from_slice(&part[..count]);
                    if let Some(whole) = request(&bytes) {
                        break whole;
                    }
                };
                sent.push(whole);
                let answer = format!(
                    "HTTP/1.1 {status} -\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
            }
            sent
        });
        let mut webhook = Webhook::new(&url).unwrap();
        webhook.first_wait = Duration::from_millis(1);
        (webhook, served)
    }

    /// A request, once all of it has come.
    fn request(bytes: &[u8]) -> Option<Sent> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let lines: Vec<String> = head.lines().map(str::to_owned).collect();
        let length: usize = header(&lines, "content-length")?.parse().unwrap();
        let body = &bytes[end + 4..];
        (body.len() >= length).then(|| (lines.clone(), body.to_vec()))
    }

    fn header<'a>(lines: &'a [String], name: &str) -> Option<&'a str> {
        let fields = lines.iter().filter_map(|line| line.split_once(": "));
        let mut fields = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
        fields.next().map(|(_, value)| value)
    }

    #[tokio::test]
    async fn an_alert_is_signed_and_posted_again_when_the_other_side_fails() {
        let key = SecretKey::ed25519_from_seed(&[7; 32]).unwrap();
        let (webhook, served) = answering(&[500, 200]).await;
        let signer: &(dyn Signer + Sync) = &key;
        webhook
            .post(&diverged(), Some("REBUILD.md"), Some(signer))
            .await
            .unwrap();
        let sent = served.await.unwrap();
        assert_eq!(sent.len(), 2);
        assert_eq!(sent[0].1, sent[1].1, "the same bytes");
        for (head, body) in &sent {
            let signature = header(head, "sealstone-signature").unwrap();
            let signature = BASE64.decode(signature.as_bytes()).unwrap();
            key.public_key().verify(body, &signature).unwrap();
            let id = key.public_key().id().to_string();
            assert_eq!(header(head, "sealstone-key-id"), Some(id.as_str()));
        }
        let body: Value = serde_json::from_slice(&sent[0].1).unwrap();
        for (field, due) in [
            ("verdict", "DIVERGED"),
            ("stage", "train"),
            ("artifact", "model/weights.safetensors"),
            ("locator", "tensor:coef[0,17]"),
            ("test", "numeric(rel_l2<=1e-9)"),
            ("expected", "1.25"),
            ("observed", "3.2e-3"),
            ("runbook", "REBUILD.md"),
        ] {
            assert_eq!(body[field], due, "{field}");
        }
    }

    #[tokio::test]
    async fn a_refusal_is_not_argued_with() {
        let (webhook, served) = answering(&[400]).await;
        let error = webhook.post(&diverged(), None, None).await.unwrap_err();
        assert!(error.message().contains("400"), "{error}");
        let sent = served.await.unwrap();
        assert_eq!(sent.len(), 1);
        assert_eq!(header(&sent[0].0, "sealstone-signature"), None);
    }

    #[test]
    fn only_what_was_replayed_again_is_over() {
        use ReplayScope::{Eval, Full, Infer, Smoke, Verify};
        let about = |id: &str, scope, profile| {
            let mut report = diverged();
            report.baseline.id = id.into();
            report.scope = scope;
            About::of(&report, profile)
        };
        let (small, tiny) = (Some("smoke"), Some("tiny"));
        let full = about("m:1.0~a-b-c", Full, None);
        // A new lock or bundle of the same version answers for it.
        assert!(about("m:1.0~d-e-f", Full, None).answers(&full));
        for (id, scope, profile) in [
            ("m:1.0~a-b-c", Verify, None),
            ("m:1.0~a-b-c", Infer, None),
            ("m:1.0~a-b-c", Eval, None),
            ("m:1.0~a-b-c", Smoke, small),
            ("m:0.9~a-b-c", Full, None),
            ("m~a-b-c", Full, None),
            ("n:1.0~a-b-c", Full, None),
        ] {
            let whole = about(id, scope, profile);
            assert!(!whole.answers(&full), "{id} {scope}");
        }
        let eval = about("m:1.0", Eval, None);
        assert!(eval.answers(&about("m:1.0", Infer, None)));
        assert!(eval.answers(&eval) && full.answers(&eval));
        let smoke = about("m:1.0", Smoke, small);
        assert!(smoke.answers(&smoke) && full.answers(&smoke));
        assert!(!about("m:1.0", Smoke, tiny).answers(&smoke));
        assert!(!smoke.answers(&eval), "other parameters and inputs");
    }

    #[test]
    fn scopes_that_fail_alike_are_alerts_of_their_own() {
        let place = tempfile::tempdir().unwrap();
        let full = diverged();
        let mut eval = full.clone();
        eval.scope = ReplayScope::Eval;
        assert_eq!(eval.fingerprint(), full.fingerprint());
        for report in [&full, &eval] {
            assert!(drop_file(report, at(place.path())).unwrap().is_some());
            assert!(drop_file(report, at(place.path())).unwrap().is_none());
        }
        let mut good = reproduced();
        good.scope = ReplayScope::Eval;
        let closed = recover(&good, at(place.path())).unwrap();
        assert_eq!(closed.len(), 1);
        assert!(file_of(&full, at(place.path())).exists());
        good.scope = ReplayScope::Full;
        assert_eq!(recover(&good, at(place.path())).unwrap().len(), 1);
    }

    #[tokio::test]
    async fn an_alert_that_was_not_delivered_is_a_file_and_is_posted_by_the_next_replay() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("alerts");
        let (bad, good) = (diverged(), reproduced());
        let file = file_of(&bad, at(&directory));
        let (refusing, _served) = answering(&[400]).await;
        let refused = tell(&bad, at(&directory), Some(&refusing), None).await;
        assert!(refused.is_err());
        assert!(file.exists() && !mark_of(&file).exists());
        let (webhook, served) = answering(&[200]).await;
        for due in [Told::Alert, Told::Before] {
            let told = tell(&bad, at(&directory), Some(&webhook), None).await;
            assert_eq!(told.unwrap(), due);
        }
        assert!(file.exists() && mark_of(&file).exists());
        assert_eq!(served.await.unwrap().len(), 1);
        assert_eq!(recover(&good, at(&directory)).unwrap().len(), 1);
        assert!(!file.exists() && !mark_of(&file).exists());
        // Where nobody was called, nobody is told that it is over; the directory is in order all the same.
        let (refusing, _served) = answering(&[400]).await;
        let refused = tell(&bad, at(&directory), Some(&refusing), None).await;
        assert!(refused.is_err());
        let (unused, _) = answering(&[]).await;
        let over = tell(&good, at(&directory), Some(&unused), None).await;
        assert_eq!(over.unwrap(), Told::Recovered(1));
        // A directory that cannot be written keeps nobody from being called.
        let blocked = place.path().join("blocked");
        std::fs::write(&blocked, "").unwrap();
        let (webhook, served) = answering(&[200]).await;
        let told = tell(&bad, at(&blocked), Some(&webhook), None).await;
        assert!(told.is_err());
        assert_eq!(served.await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn the_end_of_a_failure_is_told_again_when_nobody_heard_of_it() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("alerts");
        let (bad, good) = (diverged(), reproduced());
        let (webhook, _served) = answering(&[200]).await;
        let told = tell(&bad, at(&directory), Some(&webhook), None).await;
        assert_eq!(told.unwrap(), Told::Alert);
        let (refusing, _served) = answering(&[400]).await;
        let lost = tell(&good, at(&directory), Some(&refusing), None).await;
        assert!(lost.is_err() && file_of(&bad, at(&directory)).exists());
        let (willing, served) = answering(&[200]).await;
        let over = tell(&good, at(&directory), Some(&willing), None).await;
        assert_eq!(over.unwrap(), Told::Recovered(1));
        assert!(!file_of(&bad, at(&directory)).exists());
        let sent = served.await.unwrap();
        let body: Value = serde_json::from_slice(&sent[0].1).unwrap();
        assert_eq!(body["recovered"], true);
    }

    #[test]
    fn a_file_says_what_it_is_about_and_others_are_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let bad = diverged();
        let telling = Telling {
            runbook: Some("about: nothing"),
            ..at(place.path())
        };
        let file = drop_file(&bad, telling).unwrap().unwrap();
        let text = std::fs::read_to_string(file).unwrap();
        assert_eq!(About::read(&text), Some(About::of(&bad, None)));
        let about = |id: &str| {
            let mut report = diverged();
            report.baseline.id = id.into();
            let about = About::of(&report, None);
            (about.model, about.version)
        };
        let version = |text: &str| Some(text.to_owned());
        assert_eq!(about("m:1.0~a-b-c"), ("m".to_owned(), version("1.0")));
        assert_eq!(about("m:1.0"), ("m".to_owned(), version("1.0")));
        assert_eq!(about("m~a-b-c"), ("m".to_owned(), None));
        let notes = place.path().join("notes.txt");
        std::fs::write(&notes, format!("HALTED {}\n", bad.baseline.id)).unwrap();
        assert_eq!(recover(&reproduced(), at(place.path())).unwrap().len(), 1);
        assert!(notes.exists());
    }

    #[tokio::test]
    async fn a_failure_is_told_once_and_so_is_its_end() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("alerts");
        let (bad, good) = (diverged(), reproduced());
        // Nobody was told of anything that could be over.
        let (unused, _) = answering(&[]).await;
        let nothing = tell(&good, at(&directory), Some(&unused), None).await;
        assert_eq!(nothing.unwrap(), Told::Nothing);
        let (webhook, served) = answering(&[200, 200]).await;
        let first = tell(&bad, at(&directory), Some(&webhook), None).await;
        assert_eq!(first.unwrap(), Told::Alert);
        let again = tell(&bad, at(&directory), Some(&webhook), None).await;
        assert_eq!(again.unwrap(), Told::Before);
        let over = tell(&good, at(&directory), Some(&webhook), None).await;
        assert_eq!(over.unwrap(), Told::Recovered(1));
        let sent = served.await.unwrap();
        let recovered: Vec<bool> = sent
            .iter()
            .map(|(_, body)| serde_json::from_slice::<Value>(body).unwrap())
            .map(|body| body["recovered"].as_bool().unwrap())
            .collect();
        assert_eq!(recovered, [false, true]);
        // Without a webhook the directory is where people look.
        for due in [Told::Alert, Told::Before] {
            let left = tell(&bad, at(&directory), None, None).await;
            assert_eq!(left.unwrap(), due);
        }
        assert!(file_of(&bad, at(&directory)).exists());
    }
}
