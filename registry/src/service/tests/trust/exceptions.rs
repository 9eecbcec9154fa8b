//! Exceptions that come after the releases which need them.

use super::*;

/// [`policy`] with an exception from its rule for `uses` manifests.
fn excepting(version: u64, uses: u32) -> String {
    let exception = format!(
        "[[exception]]\nid = \"EX-1\"\nrepositories = [\"models/**\"]\nrule = \"signatures\"\nreason = \"late\"\nticket = \"OPS-1\"\n\
         approved_by = [\"alice\"]\nexpires = \"2090-01-01T00:00:00Z\"\nmax_uses = {uses}\n"
    );
    policy(version, FAR, "immutable") + &exception
}

const TAGS: [&str; 3] = ["v1", "v2", "v3"];

impl Bench {
    /// Releases that nobody signed, made while nobody had to.
    async fn unsigned(&self) -> Vec<Digest> {
        let mut made = Vec::new();
        for tag in TAGS {
            self.put_blob(tag.as_bytes()).await;
            made.push(self.push(&[tag.as_bytes()], tag).await.unwrap());
        }
        made
    }

    async fn seen(&self) -> Vec<&'static str> {
        let mut seen = Vec::new();
        for tag in TAGS {
            if self.is_seen(tag).await {
                seen.push(tag);
            }
        }
        seen
    }

    /// Manifests that count under the exception.
    async fn counted(&self) -> Vec<Digest> {
        let mut uses = self.registry.metadata().exception_uses().await.unwrap();
        let of_it = uses.remove("policy:EX-1").unwrap_or_default();
        of_it.into_iter().collect()
    }
}

#[tokio::test]
async fn releases_that_are_judged_again_use_an_exception_up() {
    let bench = Bench::new().await;
    let made = bench.unsigned().await;
    assert_eq!(bench.seen().await, TAGS);
    assert_eq!(bench.adopt_v2(&excepting(1, 1)).await, 2);
    for _ in 0..2 {
        assert_eq!(bench.seen().await, ["v1"]);
        assert_eq!(bench.counted().await, [made[0]]);
    }
    // It counts once: under a later policy with the same exception, and under another tag.
    assert_eq!(bench.adopt_v2(&excepting(2, 1)).await, 0);
    assert_eq!(bench.seen().await, ["v1"]);
    bench.push(&[b"v1"], "v1-again").await.unwrap();
    assert!(bench.is_seen("v1-again").await);
    assert_eq!(bench.counted().await, [made[0]]);
    let refused = bench.push(&[b"v2"], "v2-again").await;
    assert!(matches!(refused, Err(Error::Denied(_))), "{refused:?}");
    // One use more is one release more.
    assert_eq!(bench.adopt_v2(&excepting(3, 2)).await, 1);
    assert_eq!(bench.seen().await, ["v1", "v2"]);
    assert_eq!(bench.counted().await.len(), 2);
}

#[tokio::test]
async fn a_pull_counts_what_was_never_counted() {
    let bench = Bench::new().await;
    let made = bench.unsigned().await;
    bench.adopt_v2(&excepting(1, 3)).await;
    // As it was with servers that counted pushes only.
    let forget = |digest: &Digest| {
        let key = format!("use/policy:EX-1\0{digest}").into_bytes();
        let change = ((Family::Server, key), None);
        let changes = Changes::from([change]);
        bench.engine.engine.write(&changes, true).unwrap();
    };
    made.iter().for_each(forget);
    assert!(bench.counted().await.is_empty());
    assert_eq!(bench.seen().await, TAGS);
    assert_eq!(bench.counted().await.len(), 3);
    // From then on the verdicts are kept.
    let before = bench.registry.metrics().judgements.get();
    for _ in 0..2 {
        assert_eq!(bench.seen().await, TAGS);
    }
    assert_eq!(bench.registry.metrics().judgements.get() - before, 3);
}
