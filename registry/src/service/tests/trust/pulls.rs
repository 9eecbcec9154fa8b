//! Releases that are refused whatever else shows them, and who is noted to have pulled one.

use super::*;
use serde_json::json;

/// [`policy`] where whoever may pull reads everything.
fn without_staging(version: u64, tags: &str) -> String {
    let scope = "staging = false\n[[scope.require]]";
    policy(version, FAR, tags).replace("[[scope.require]]", scope)
}

/// The same, and a release needs nothing.
fn open(version: u64, tags: &str) -> String {
    let rule = "[[scope.require]]\nrule = \"signatures\"\n";
    without_staging(version, tags).replace(rule, "")
}

impl Bench {
    /// Pushes an image that speaks of another manifest.
    async fn push_about(
        &self,
        subject: &Digest,
        content: &[u8],
        reference: &str,
    ) -> Result<Digest, Error> {
        let config = self.put_blob(content).await;
        let subject = self.manifest(subject).await.descriptor();
        let document = json!({
            "schemaVersion": 2, "mediaType": sealstone_spec::media::OCI_MANIFEST,
            "config": {"mediaType": "application/octet-stream", "digest": config, "size": content.len()},
            "layers": [],
            "subject": {"mediaType": subject.media_type, "digest": subject.digest, "size": subject.size},
        });
        self.push_to(REPO, &document, reference).await
    }

    /// What a consumer hears, by a tag and by the digest under it.
    async fn hears(&self, tag: &str, digest: &Digest) -> [Result<(), Error>; 2] {
        let by = async |reference: Reference| {
            let found = self.registry.manifest(&consumer(), &reference).await;
            found.map(drop)
        };
        [
            by(Reference::parse(tag).unwrap()).await,
            by(Reference::Digest(*digest)).await,
        ]
    }

    /// How many pulled a manifest.
    async fn pulled(&self, digest: &Digest) -> usize {
        self.registry.drain().await;
        let repo = REPO.parse().unwrap();
        let rows = self.registry.metadata().pulls(&repo, digest, None, 10);
        rows.await.unwrap().len()
    }
}

fn are_denied(heard: &[Result<(), Error>]) -> bool {
    let mut heard = heard.iter();
    heard.all(|answer| matches!(answer, Err(Error::Denied(_))))
}

fn are_served(heard: &[Result<(), Error>]) -> bool {
    heard.iter().all(Result::is_ok)
}

/// A release, and another that names it as its subject, both signed.
async fn one_about_the_other(bench: &Bench) -> (Digest, Digest) {
    let one = bench.signed(b"one", "v1").await;
    let two = bench.push_about(&one, b"two", "").await.unwrap();
    bench.sign(&two).await;
    bench.push_about(&one, b"two", "v2").await.unwrap();
    (one, two)
}

#[tokio::test]
async fn a_release_that_speaks_of_another_is_judged_by_its_own_tag() {
    for tags in ["immutable", "mutable"] {
        let bench = Bench::new().await;
        bench.adopt_v2(&policy(1, FAR, tags)).await;
        let (one, two) = one_about_the_other(&bench).await;
        let served = bench
            .registry
            .manifest(&consumer(), &Reference::parse("v2").unwrap())
            .await
            .unwrap();
        assert!(!served.evidence, "{tags}");
        let state = served.verdict.map(|verdict| verdict.state.clone());
        assert_eq!(state.as_deref(), Some("released"), "{tags}");
        assert_eq!(bench.pulled(&two).await, 1, "{tags}");

        bench.attach(&two, &revocation(&two), &key(2)).await;
        for _ in 0..2 {
            assert!(are_denied(&bench.hears("v2", &two).await), "{tags}");
            // The other still shows it, and is not concerned.
            assert!(are_served(&bench.hears("v1", &one).await), "{tags}");
        }
        let repo = REPO.parse().unwrap();
        let blob = Digest::sha256(b"two");
        let found = bench.registry.metadata().releases_with(&repo, &blob).await;
        assert_eq!(found.unwrap(), [two], "{tags}");
    }
}

#[tokio::test]
async fn time_ends_a_release_that_speaks_of_another() {
    let bench = Bench::new().await;
    bench.adopt_v2(&policy(1, 5_000, "immutable")).await;
    let (_, two) = one_about_the_other(&bench).await;
    assert!(are_served(&bench.hears("v2", &two).await));
    bench.clock.advance(4_000_000);
    assert!(are_denied(&bench.hears("v2", &two).await));
}

#[tokio::test]
async fn what_speaks_of_a_release_and_has_no_tag_is_no_release() {
    let bench = Bench::new().await;
    bench.adopt_v2(&policy(1, FAR, "immutable")).await;
    let one = bench.signed(b"one", "v1").await;
    let note = bench.push_about(&one, b"note", "").await.unwrap();
    let reference = Reference::Digest(note);
    let served = bench.registry.manifest(&consumer(), &reference).await;
    let served = served.unwrap();
    assert!(served.evidence && served.verdict.is_none());
    assert_eq!(bench.pulled(&note).await, 0);
}

#[tokio::test]
async fn a_revoked_release_is_refused_also_where_nothing_is_staged() {
    for tags in ["immutable", "mutable"] {
        let bench = Bench::new().await;
        bench.adopt_v2(&without_staging(1, tags)).await;
        let digest = bench.signed(b"content", "v1").await;
        assert!(are_served(&bench.hears("v1", &digest).await), "{tags}");
        bench.attach(&digest, &revocation(&digest), &key(2)).await;
        for _ in 0..2 {
            assert!(are_denied(&bench.hears("v1", &digest).await), "{tags}");
        }
        // Whoever writes there still reads it, and is told.
        let reference = Reference::Digest(digest);
        let seen = bench.registry.manifest(&producer(), &reference).await;
        let verdict = seen.unwrap().verdict.unwrap();
        assert!(verdict.denial.is_some(), "{tags}");
        // What nobody released is read by its digest, as before.
        bench.put_blob(b"other").await;
        let other = bench.push(&[b"other"], "").await.unwrap();
        let reference = Reference::Digest(other);
        let seen = bench.registry.manifest(&consumer(), &reference).await;
        assert!(seen.is_ok(), "{tags}");
    }
}

#[tokio::test]
async fn where_a_release_needs_nothing_and_nothing_is_staged_all_is_served() {
    let bench = Bench::new().await;
    bench.adopt_v2(&open(1, "mutable")).await;
    bench.put_blob(b"content").await;
    let digest = bench.push(&[b"content"], "latest").await.unwrap();
    bench.attach(&digest, &revocation(&digest), &key(2)).await;
    assert!(are_served(&bench.hears("latest", &digest).await));
    let reference = Reference::parse("latest").unwrap();
    let served = bench.registry.manifest(&consumer(), &reference).await;
    let verdict = served.unwrap().verdict.unwrap();
    assert_eq!(verdict.state, "revoked");
    assert_eq!(bench.pulled(&digest).await, 0);
}

#[tokio::test]
async fn who_pulled_a_tag_that_moves_is_known_as_well() {
    for tags in ["immutable", "mutable"] {
        let bench = Bench::new().await;
        bench.adopt_v2(&policy(1, FAR, tags)).await;
        let digest = bench.signed(b"content", "latest").await;
        assert_eq!(bench.pulled(&digest).await, 0, "{tags}");
        assert!(bench.is_seen("latest").await);
        assert_eq!(bench.pulled(&digest).await, 1, "{tags}");
    }
}

/// Whoever has to be told of a revocation is found by these notes.
#[tokio::test]
async fn a_pull_that_could_not_be_noted_is_noted_by_the_next() {
    const HOUR: i64 = 3_600_000;
    let bench = Bench::new().await;
    let (repo, digest) = (REPO.parse::<RepoName>().unwrap(), Digest::sha256(b"image"));
    let pull = || bench.registry.note_pull(&repo, &digest, "user:reader");
    bench.engine.faults().writes_left = Some(0);
    pull();
    assert_eq!(bench.pulled(&digest).await, 0);
    bench.engine.faults().writes_left = Some(10);
    pull();
    assert_eq!(bench.pulled(&digest).await, 1);
    // Once an hour; and again when the clock was set back by more than that.
    let mut left = 9;
    for (by, noted) in [
        (0, false),
        (HOUR - 1, false),
        (1, true),
        (-HOUR + 1, false),
        (-1, true),
    ] {
        bench.clock.advance(by);
        pull();
        assert_eq!(bench.pulled(&digest).await, 1);
        left -= usize::from(noted);
        assert_eq!(bench.engine.faults().writes_left, Some(left), "{by}");
    }
}
