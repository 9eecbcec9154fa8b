//! Quotas: what has no room leaves nothing behind, and what takes none is never refused.

use super::*;
use crate::metadata::{Counted, UploadId, Usage};
use crate::service::quota::MOST_WITHOUT_ROOM;
use std::task::Poll;

/// Larger than what the metadata store keeps.
const LEN: usize = 400_000;

fn of_bytes(bytes: u64) -> Vec<Quota> {
    vec![Quota {
        namespace: "models".into(),
        bytes: Some(bytes),
        objects: None,
    }]
}

/// A body of which nobody may take a byte.
fn untouched() -> Body {
    Box::pin(stream::poll_fn(
        |_| -> Poll<Option<Result<Bytes, String>>> { panic!("the body was read") },
    ))
}

#[track_caller]
fn assert_no_room<T: std::fmt::Debug>(outcome: Result<T, Error>, used: u64, wanted: u64) {
    match outcome {
        Err(Error::QuotaExceeded(exceeded)) => assert_eq!(
            (exceeded.counted, exceeded.used, exceeded.wanted),
            (Counted::Bytes, used, wanted)
        ),
        other => panic!("{other:?}"),
    }
}

impl Bench {
    async fn used(&self) -> Usage {
        self.registry.metadata().usage("models").await.unwrap()
    }

    async fn begin(&self) -> UploadId {
        let who = pusher();
        let begun = self.registry.begin_upload(&who, BeginUpload::default());
        begun.await.unwrap().id
    }

    async fn post(&self, digest: Digest, announced: Option<u64>, body: Body) -> Result<(), Error> {
        self.registry
            .put_blob(&pusher(), digest, announced, body)
            .await
    }

    async fn receive(
        &self,
        id: UploadId,
        announced: Option<u64>,
        body: Body,
    ) -> Result<Received, Error> {
        self.registry
            .receive(&pusher(), id, None, announced, body)
            .await
    }

    async fn finish(
        &self,
        id: UploadId,
        digest: Digest,
        announced: Option<u64>,
        body: Body,
    ) -> Result<(), Error> {
        self.registry
            .finish_upload(&pusher(), id, digest, None, announced, body)
            .await
    }

    /// No session, no staged file, and nothing reserved.
    async fn assert_nothing_under_way(&self) {
        let metadata = self.registry.metadata();
        assert_eq!(metadata.open_uploads().await.unwrap(), 0);
        assert_eq!(self.registry.blobs().staging().uploads().unwrap(), []);
        assert_eq!(self.registry.metrics().uploads_open.get(), 0);
        assert_eq!(self.used().await.reserved, 0);
    }
}

#[tokio::test]
async fn a_body_that_cannot_fit_is_refused_before_it_is_read() {
    let bench = Bench::with_quotas(of_bytes(LEN as u64 - 1)).await;
    let digest = Digest::sha256(&bytes_of(LEN));
    let len = LEN as u64;
    let post = bench.post(digest, Some(len), untouched()).await;
    assert_no_room(post, 0, len);
    bench.assert_nothing_under_way().await;
    let id = bench.begin().await;
    assert_no_room(bench.receive(id, Some(len), untouched()).await, 0, len);
    bench.assert_nothing_under_way().await;
    let id = bench.begin().await;
    let put = bench.finish(id, digest, Some(len), untouched()).await;
    assert_no_room(put, 0, len);
    bench.assert_nothing_under_way().await;
    assert_eq!(bench.used().await, Usage::default());
    // Nobody has heard of the session any more.
    let status = bench.registry.upload_status(&pusher(), id).await;
    assert!(matches!(status, Err(Error::UploadUnknown)));
}

#[tokio::test]
async fn a_body_of_unknown_length_ends_with_the_room() {
    let bench = Bench::with_quotas(of_bytes(LEN as u64 - 1)).await;
    let data = bytes_of(LEN);
    let digest = Digest::sha256(&data);
    let post = bench.post(digest, None, body(&data, 9_000)).await;
    assert_no_room(post, 0, LEN as u64);
    bench.assert_nothing_under_way().await;
    let id = bench.begin().await;
    let cut = bench.receive(id, None, broken(&data)).await;
    assert_no_room(cut, 0, LEN as u64);
    bench.assert_nothing_under_way().await;
    // In pieces: what came before is taken, and goes as well.
    let id = bench.begin().await;
    let half = body(&data[..LEN / 2], 9_000);
    bench.receive(id, None, half).await.unwrap();
    assert_eq!(bench.used().await.reserved, LEN as u64 / 2);
    let rest = bench
        .finish(id, digest, None, body(&data[LEN / 2..], 9_000))
        .await;
    assert_no_room(rest, LEN as u64 / 2, LEN as u64 / 2);
    bench.assert_nothing_under_way().await;
    assert!(bench.objects().is_empty());
    // With one byte less it fits to the last.
    let data = &data[1..];
    let id = bench.begin().await;
    bench.receive(id, None, body(data, 9_000)).await.unwrap();
    let nothing = body(b"", 1);
    let finished = bench.finish(id, Digest::sha256(data), Some(0), nothing);
    finished.await.unwrap();
    bench.assert_nothing_under_way().await;
    assert_eq!(bench.used().await.bytes, LEN as u64 - 1);
}

#[tokio::test]
async fn what_was_announced_and_did_not_come_is_given_back() {
    let bench = Bench::with_quotas(of_bytes(LEN as u64)).await;
    let data = bytes_of(LEN);
    let len = LEN as u64;
    let id = bench.begin().await;
    let cut = bench.receive(id, Some(len), broken(&data[..100_000])).await;
    assert!(matches!(cut, Err(Error::BodyInterrupted(_))), "{cut:?}");
    assert_eq!(bench.used().await.reserved, 100_000);
    // Before anything was staged: the break comes within what would have been a small blob, and what came is kept.
    let other = bench.begin().await;
    let digest = Digest::sha256(&data);
    let cut = bench
        .finish(other, digest, Some(300_000), broken(&data[..10]))
        .await;
    assert!(matches!(cut, Err(Error::BodyInterrupted(_))), "{cut:?}");
    assert_eq!(bench.used().await.reserved, 100_010);
    let who = pusher();
    let cancelled = bench.registry.cancel_upload(&who, other);
    cancelled.await.unwrap();
    assert_eq!(bench.used().await.reserved, 100_000);
    // The first goes on from there.
    let rest = body(&data[100_000..], 9_000);
    let finished = bench.finish(id, digest, Some(len - 100_000), rest).await;
    finished.unwrap();
    let used = bench.used().await;
    assert_eq!((used.blobs, used.bytes, used.reserved), (1, len, 0));
}

#[tokio::test]
async fn what_the_repository_has_can_be_sent_again_where_it_is_full() {
    let bench = Bench::with_quotas(of_bytes(LEN as u64)).await;
    let data = bytes_of(LEN);
    let digest = bench.put_blob(&data).await;
    let full = bench.used().await;
    assert_eq!((full.blobs, full.bytes), (1, LEN as u64));
    let whole = || body(&data, 70_000);
    let len = Some(LEN as u64);
    for announced in [len, None] {
        bench.post(digest, announced, whole()).await.unwrap();
    }
    let id = bench.begin().await;
    bench.finish(id, digest, len, whole()).await.unwrap();
    assert_eq!(bench.used().await, full);
    // Also the whole copy that takes the place of a damaged one.
    let metadata = bench.registry.metadata();
    let found = metadata.blob(&REPO.parse().unwrap(), &digest).await;
    let place = found.unwrap().unwrap().place;
    let damaged = metadata.quarantine_blob(&digest, &place, "flipped", 0);
    assert!(damaged.await.unwrap());
    bench.post(digest, len, whole()).await.unwrap();
    assert!(bench.read(&producer(), &digest).await.unwrap() == data);
    assert_eq!(bench.used().await, full);
    bench.assert_nothing_under_way().await;
    // Not what only says to be it: what is left of that takes room, and there is none.
    let id = bench.begin().await;
    let cut = bench
        .finish(id, digest, Some(LEN as u64), broken(&data[..200_000]))
        .await;
    assert_no_room(cut, LEN as u64, 200_000);
    bench.assert_nothing_under_way().await;
}

#[tokio::test]
async fn what_is_longer_than_the_blob_that_it_is_said_to_be_takes_room() {
    let bench = Bench::with_quotas(of_bytes(LEN as u64)).await;
    let data = bytes_of(LEN);
    let digest = bench.put_blob(&data).await;
    let full = bench.used().await;
    // By what it announces, before it is read, and before the disk holds anything for it.
    let len = 2 * LEN as u64;
    let post = bench.post(digest, Some(len), untouched()).await;
    assert_no_room(post, LEN as u64, len);
    let id = bench.begin().await;
    let put = bench.finish(id, digest, Some(len), untouched()).await;
    assert_no_room(put, LEN as u64, len);
    bench.assert_nothing_under_way().await;
    // Or by what comes.
    let longer = [&data[..], b"!"].concat();
    let more = longer.len() as u64;
    let post = bench.post(digest, None, body(&longer, 70_000)).await;
    assert_no_room(post, LEN as u64, more);
    let id = bench.begin().await;
    let put = bench.finish(id, digest, None, body(&longer, 70_000)).await;
    assert_no_room(put, LEN as u64, more);
    bench.assert_nothing_under_way().await;
    assert_eq!(bench.used().await, full);
}

/// What it is can be told only then: it may be a revocation, which always has room.
#[tokio::test]
async fn what_is_small_is_refused_only_when_all_of_it_is_there() {
    let bench = Bench::with_quotas(of_bytes(0)).await;
    // Nor is anything left of what statements have beyond the quota.
    let taken = crate::metadata::HEADROOM_BYTES;
    let (other, metadata) = (bench.begin().await, bench.registry.metadata());
    let held = metadata.reserve_upload(other, taken, Vec::new()).await;
    assert_eq!(held.unwrap(), Ok(true));
    let full = bench.used().await;
    let data = bytes_of(1_000);
    let digest = Digest::sha256(&data);
    for announced in [Some(500), None] {
        let id = bench.begin().await;
        let half = bench.receive(id, announced, body(&data[..500], 90)).await;
        assert_eq!(half.unwrap().offset, 500);
        assert_eq!(bench.used().await, full);
        let rest = body(&data[500..], 90);
        let put = bench.finish(id, digest, announced, rest).await;
        assert_no_room(put, taken, 1_000);
        let status = bench.registry.upload_status(&pusher(), id).await;
        assert!(matches!(status, Err(Error::UploadUnknown)));
    }
    // What becomes longer than that: by what is announced, and by what comes.
    for announced in [Some(70_000), None] {
        let id = bench.begin().await;
        let first = bench.receive(id, None, body(&data, 90)).await;
        first.unwrap();
        let more = bench
            .receive(id, announced, body(&bytes_of(70_000), 9_000))
            .await;
        assert_no_room(more, taken, 71_000);
    }
    // A mount of it is left to an upload.
    let long = bytes_of(LEN);
    bench.put_blob_in("free/x", &data).await;
    bench.put_blob_in("free/x", &long).await;
    let from: Grant<Pull> = grant("free/x");
    let (who, registry) = (pusher(), &bench.registry);
    let mounted = registry.mount_blob(&who, &from, &digest).await;
    assert!(!mounted.unwrap());
    let long = Digest::sha256(&long);
    let mounted = registry.mount_blob(&who, &from, &long).await;
    assert_no_room(mounted, taken, LEN as u64);
    assert_eq!(bench.used().await, full);
}

/// Sessions that are begun and never ended would fill the disk past every quota.
#[tokio::test]
async fn no_more_than_some_uploads_of_an_account_go_on_without_room() {
    let mut bench = Bench::with_quotas(of_bytes(0)).await;
    let taken = crate::metadata::HEADROOM_BYTES;
    let metadata = bench.registry.metadata();
    let other = bench.begin().await;
    let held = metadata.reserve_upload(other, taken, Vec::new()).await;
    assert_eq!(held.unwrap(), Ok(true));
    let data = bytes_of(1_000);
    let mut ids = Vec::new();
    for number in 0..MOST_WITHOUT_ROOM {
        let id = bench.begin().await;
        let announced = (number % 2 == 0).then_some(500);
        let half = bench.receive(id, announced, body(&data[..500], 90)).await;
        assert_eq!(half.unwrap().offset, 500);
        ids.push(id);
    }
    let assert_full = async |bench: &Bench| {
        let id = bench.begin().await;
        assert_no_room(bench.receive(id, Some(500), untouched()).await, taken, 500);
        let id = bench.begin().await;
        let more = bench.receive(id, None, body(&data[..500], 90)).await;
        assert_no_room(more, taken, 500);
        let status = bench.registry.upload_status(&pusher(), id).await;
        assert!(matches!(status, Err(Error::UploadUnknown)));
    };
    assert_full(&bench).await;
    // Those that go on do, and another comes only when one is over.
    let more = body(&data[500..], 90);
    assert_eq!(
        bench.receive(ids[0], None, more).await.unwrap().offset,
        1_000
    );
    assert_full(&bench).await;
    bench
        .registry
        .cancel_upload(&pusher(), ids[0])
        .await
        .unwrap();
    let id = bench.begin().await;
    let half = bench.receive(id, Some(500), body(&data[..500], 90)).await;
    assert_eq!(half.unwrap().offset, 500);
    // Another server knows it as well; what is silent for too long is over.
    bench = bench.restarted().await;
    assert_full(&bench).await;
    bench.clock.advance(25 * 3_600_000);
    let right = Maintenance::at_boot();
    bench.registry.collect(&right, false).await.unwrap();
    assert_eq!(bench.used().await, Usage::default());
    assert_eq!(bench.registry.metadata().open_uploads().await.unwrap(), 0);
}

#[tokio::test]
async fn the_registry_itself_is_counted_and_never_refused() {
    let nothing = Quota {
        namespace: String::new(),
        bytes: Some(0),
        objects: Some(0),
    };
    let bench = Bench::with_quotas(vec![nothing]).await;
    let repo: RepoName = REPO.parse().unwrap();
    let own = Contributor::from(Maintenance::at_boot().grant(&repo));
    let data = bytes_of(LEN);
    let digest = Digest::sha256(&data);
    let len = Some(LEN as u64);
    let refused = bench.post(digest, len, untouched()).await;
    assert_no_room(refused, 0, LEN as u64);
    let stored = bench
        .registry
        .put_blob(&own, digest, len, body(&data, 70_000));
    stored.await.unwrap();
    assert_eq!(bench.used().await.bytes, LEN as u64);
}

/// What fails in the middle of it holds no room that nobody gives back.
#[tokio::test]
async fn a_failing_disk_leaves_no_room_held() {
    let bench = Bench::with_quotas(of_bytes(10_000_000)).await;
    let data = bytes_of(LEN);
    let digest = Digest::sha256(&data);
    for writes in 0..4 {
        bench.engine.faults().writes_left = Some(writes);
        let whole = body(&data, 70_000);
        let stored = bench.post(digest, Some(LEN as u64), whole).await;
        bench.engine.faults().writes_left = None;
        if stored.is_ok() {
            break;
        }
        // A session that could not be ended either is given up when its time is over.
        bench.clock.advance(25 * 3_600_000);
        let right = Maintenance::at_boot();
        bench.registry.collect(&right, false).await.unwrap();
        assert_eq!(bench.used().await, Usage::default(), "{writes} writes");
    }
    bench.put_blob(&data).await;
    let bench = bench.restarted().await;
    let used = bench.used().await;
    assert_eq!((used.bytes, used.reserved), (LEN as u64, 0));
}

/// A server that was killed while it received something gives no room back; the next one does.
#[tokio::test]
async fn what_was_announced_to_a_server_that_was_killed_is_given_back() {
    let bench = Bench::with_quotas(of_bytes(LEN as u64)).await;
    let (none, some) = (bench.begin().await, bench.begin().await);
    let data = bytes_of(100_000);
    let cut = bench.receive(some, Some(100_000), body(&data, 9_000)).await;
    cut.unwrap();
    let metadata = bench.registry.metadata();
    for (id, bytes) in [(none, 150_000), (some, 250_000)] {
        let held = metadata.reserve_upload(id, bytes, Vec::new()).await;
        assert_eq!(held.unwrap(), Ok(true));
    }
    assert_eq!(bench.used().await.reserved, 400_000);
    let bench = bench.restarted().await;
    let right = Maintenance::at_boot();
    bench.registry.repair_staging(&right).await.unwrap();
    // What has come is kept, and holds its room.
    assert_eq!(bench.used().await.reserved, 100_000);
    let rest = bench
        .finish(some, Digest::sha256(&data), Some(0), body(b"", 1))
        .await;
    rest.unwrap();
    let used = bench.used().await;
    assert_eq!((used.bytes, used.reserved), (100_000, 0));
}

/// As a stream of HTTP/2 that is reset: its future is dropped, and its body ends.
#[tokio::test]
async fn a_request_that_goes_away_leaves_no_session() {
    let bench = Bench::with_quotas(of_bytes(10_000_000)).await;
    let data = bytes_of(LEN);
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, String>>(4);
    let slow: Body = Box::pin(stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|piece| (piece, receiver))
    }));
    let digest = Digest::sha256(&data);
    sender.send(Ok(Bytes::from(data))).await.unwrap();
    let announced = 2 * LEN as u64;
    let put = bench.post(digest, Some(announced), slow);
    dropped_when(put, async || bench.used().await.reserved == announced).await;
    sender.send(Err("reset".to_owned())).await.unwrap();
    bench.registry.drain().await;
    bench.assert_nothing_under_way().await;
}
