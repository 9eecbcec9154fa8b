//! Uploads: in any pieces, after any break, under any digest.

use super::*;
use crate::auth::Approve;
use futures_util::StreamExt as _;
use sealstone_spec::digest::Algorithm;
use sealstone_spec::range::UploadRange;
use std::time::Duration;

/// Larger than what the metadata store keeps, and than one group.
const LEN: usize = 600_000;

async fn begin(bench: &Bench) -> crate::metadata::UploadId {
    bench
        .registry
        .begin_upload(&pusher(), BeginUpload::default())
        .await
        .unwrap()
        .id
}

fn range(start: usize, end: usize) -> Option<UploadRange> {
    Some(UploadRange::new(start as u64, end as u64 - 1).unwrap())
}

#[tokio::test]
async fn any_pieces_make_the_same_blob() {
    let bench = Bench::new().await;
    for (number, len) in [0, 1, 65_536, 65_537, LEN].into_iter().enumerate() {
        for (turn, algorithm) in Algorithm::ALL.into_iter().enumerate() {
            for cuts in [
                vec![],
                vec![len],
                vec![0, len / 3],
                vec![len / 2, len / 2],
                vec![1.min(len), len],
            ] {
                let mut data = bytes_of(len);
                data.extend([number as u8, turn as u8, cuts.len() as u8]);
                let id = begin(&bench).await;
                let mut start = 0;
                for cut in cuts {
                    let received = bench
                        .registry
                        .receive(&pusher(), id, None, None, body(&data[start..cut], 9_999))
                        .await;
                    assert_eq!(received.unwrap().offset, cut as u64);
                    assert_eq!(
                        bench
                            .registry
                            .upload_status(&pusher(), id)
                            .await
                            .unwrap()
                            .offset,
                        cut as u64
                    );
                    start = cut;
                }
                let digest = Digest::of(algorithm, &data);
                bench
                    .registry
                    .finish_upload(
                        &pusher(),
                        id,
                        digest,
                        None,
                        None,
                        body(&data[start..], 123_456),
                    )
                    .await
                    .unwrap();
                assert!(bench.read(&producer(), &digest).await.unwrap() == data);
                assert!(matches!(
                    bench.registry.upload_status(&pusher(), id).await,
                    Err(Error::UploadUnknown)
                ));
            }
        }
    }
    assert_eq!(bench.registry.blobs().staging().uploads().unwrap(), []);
}

#[tokio::test]
async fn bytes_out_of_order_are_refused() {
    let (bench, who) = (Bench::new().await, pusher());
    let data = bytes_of(LEN);
    let id = begin(&bench).await;
    let send = |start: usize, end: usize| {
        bench.registry.receive(
            &who,
            id,
            range(start, end),
            None,
            body(&data[start..end], 5_000),
        )
    };
    assert!(matches!(
        send(10, 20).await,
        Err(Error::OutOfOrder { offset: 0 })
    ));
    send(0, 1000).await.unwrap();
    for start in [0, 999, 1001] {
        assert!(matches!(
            send(start, 2000).await,
            Err(Error::OutOfOrder { offset: 1000 })
        ));
    }
    let digest = Digest::sha256(&data);
    let early = bench
        .registry
        .finish_upload(
            &who,
            id,
            digest,
            range(999, LEN),
            None,
            body(&data[999..], 5_000),
        )
        .await;
    assert!(matches!(early, Err(Error::OutOfOrder { offset: 1000 })));
    let finish = bench.registry.finish_upload(
        &who,
        id,
        digest,
        range(1000, LEN),
        None,
        body(&data[1000..], 5_000),
    );
    finish.await.unwrap();
    assert!(bench.read(&producer(), &digest).await.unwrap() == data);
}

#[tokio::test]
async fn a_body_that_contradicts_its_range_is_not_taken_or_no_further_than_that() {
    let (bench, who) = (Bench::new().await, pusher());
    let data = bytes_of(LEN);
    let digest = Digest::sha256(&data);
    for by_put in [false, true] {
        for (from, to, sent, has_length, offset) in [
            (0, 5, 10, true, 0),
            (0, 20, 10, true, 0),
            (0, 200_000, 100_000, true, 0),
            // Nobody knows before it was read.
            (0, 200_000, 100_000, false, 100_000),
            (0, 100_000, 200_000, false, 100_000),
            (10, 20, 100, true, 10),
            (10, 20, 100, false, 20),
        ] {
            let id = begin(&bench).await;
            if from > 0 {
                let first = body(&data[..from], 3);
                let first = bench.registry.receive(&who, id, None, None, first);
                first.await.unwrap();
            }
            let range = range(from, to);
            let announced = has_length.then_some(sent as u64);
            let whole = body(&data[from..from + sent], 7_000);
            let registry = &bench.registry;
            let refused = match by_put {
                false => {
                    let received = registry.receive(&who, id, range, announced, whole);
                    received.await.map(drop)
                }
                true => {
                    registry
                        .finish_upload(&who, id, digest, range, announced, whole)
                        .await
                }
            };
            let told = match refused {
                Err(Error::LengthMismatch { offset, .. }) => offset,
                other => panic!("{from}-{to} with {sent} bytes: {other:?}"),
            };
            let stands = bench.registry.upload_status(&who, id).await.unwrap();
            assert_eq!((told, stands.offset), (Some(offset), offset));
            // It goes on from there.
            let rest = body(&data[offset as usize..], 9_000);
            let put = registry.finish_upload(&who, id, digest, None, None, rest);
            put.await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_came_before_a_break_is_kept() {
    for algorithm in Algorithm::ALL {
        let bench = Bench::new().await;
        let data = bytes_of(LEN);
        let id = begin(&bench).await;
        let cut = bench
            .registry
            .receive(&pusher(), id, None, None, broken(&data[..100_001]))
            .await;
        assert!(matches!(cut, Err(Error::BodyInterrupted(_))), "{cut:?}");
        assert_eq!(
            bench
                .registry
                .upload_status(&pusher(), id)
                .await
                .unwrap()
                .offset,
            100_001
        );
        let digest = Digest::of(algorithm, &data);
        let rest = broken(&data[100_001..400_000]);
        let cut = bench
            .registry
            .finish_upload(&pusher(), id, digest, None, None, rest)
            .await;
        assert!(matches!(cut, Err(Error::BodyInterrupted(_))), "{cut:?}");
        assert_eq!(
            bench
                .registry
                .upload_status(&pusher(), id)
                .await
                .unwrap()
                .offset,
            400_000
        );
        bench
            .registry
            .finish_upload(
                &pusher(),
                id,
                digest,
                None,
                None,
                body(&data[400_000..], 9_000),
            )
            .await
            .unwrap();
        assert!(bench.read(&producer(), &digest).await.unwrap() == data);
    }
}

/// Behind the last byte of a file that is whole lies its tree, and after a power cut nothing but the row tells them apart.
#[tokio::test]
async fn what_was_published_and_not_committed_is_finished_after_a_power_cut() {
    for moved in [true, false] {
        let bench = Bench::new().await;
        let data = bytes_of(LEN);
        let id = begin(&bench).await;
        bench
            .registry
            .receive(&pusher(), id, None, None, body(&data, 50_000))
            .await
            .unwrap();
        // Whatever is synced takes with it what was written before.
        bench.put_blob(b"another").await;
        let digest = Digest::sha256(&data);
        let finish = async |bench: &Bench| {
            let nothing = body(b"", 1);
            let who = pusher();
            let finished = bench
                .registry
                .finish_upload(&who, id, digest, None, None, nothing);
            finished.await
        };
        // That it is whole is noted, and then the commit fails.
        bench.engine.faults().writes_left = Some(1);
        let failed = finish(&bench).await;
        assert!(matches!(failed, Err(Error::Unavailable(_))), "{failed:?}");
        let [object] = &bench.objects()[..] else {
            panic!("it was not moved to its key")
        };
        assert!(std::fs::metadata(object).unwrap().len() > LEN as u64);
        if !moved {
            let staged = format!("uploads/{id}.data");
            std::fs::rename(object, bench.directory.path().join(staged)).unwrap();
        }
        let bench = bench.after_power_cut().await;
        let stands = bench.registry.upload_status(&pusher(), id).await.unwrap();
        assert_eq!(stands.offset, LEN as u64, "moved: {moved}");
        finish(&bench).await.unwrap();
        assert!(bench.read(&producer(), &digest).await.unwrap() == data);
    }
}

#[tokio::test]
async fn a_break_of_the_only_request_is_mended_under_any_digest() {
    // The first of them within what would have been a small blob.
    for came in [20_000, 300_000] {
        mend_after(came).await;
    }
}

async fn mend_after(came: usize) {
    let data = bytes_of(LEN);
    for first in Algorithm::ALL {
        for last in Algorithm::ALL {
            let bench = Bench::new().await;
            let id = begin(&bench).await;
            let cut = bench
                .registry
                .finish_upload(
                    &pusher(),
                    id,
                    Digest::of(first, &data),
                    None,
                    None,
                    broken(&data[..came]),
                )
                .await;
            assert!(
                matches!(cut, Err(Error::BodyInterrupted(_))),
                "{first}: {cut:?}"
            );
            assert_eq!(
                bench
                    .registry
                    .upload_status(&pusher(), id)
                    .await
                    .unwrap()
                    .offset,
                came as u64
            );
            let digest = Digest::of(last, &data);
            let finished = bench
                .registry
                .finish_upload(
                    &pusher(),
                    id,
                    digest,
                    None,
                    None,
                    body(&data[came..], 9_000),
                )
                .await;
            assert!(finished.is_ok(), "{first} then {last}: {finished:?}");
            assert!(bench.read(&producer(), &digest).await.unwrap() == data);
        }
    }
}

#[tokio::test]
async fn another_digest_ends_the_upload() {
    let bench = Bench::new().await;
    for len in [10, LEN] {
        let data = bytes_of(len);
        let id = begin(&bench).await;
        let wrong = Digest::sha256(b"something else");
        let finished = bench
            .registry
            .finish_upload(&pusher(), id, wrong, None, None, body(&data, 9_000))
            .await;
        assert!(
            matches!(finished, Err(Error::DigestMismatch { expected, actual }) if expected == wrong && actual == Digest::sha256(&data))
        );
        assert!(matches!(
            bench.registry.upload_status(&pusher(), id).await,
            Err(Error::UploadUnknown)
        ));
        for digest in [wrong, Digest::sha256(&data)] {
            assert!(matches!(
                bench.read(&producer(), &digest).await,
                Err(Error::BlobUnknown(_))
            ));
        }
        let put = bench
            .registry
            .put_blob(&pusher(), wrong, Some(len as u64), body(&data, 9_000))
            .await;
        assert!(matches!(put, Err(Error::DigestMismatch { .. })));
    }
    assert_eq!(bench.registry.metadata().open_uploads().await.unwrap(), 0);
    assert_eq!(bench.registry.blobs().staging().uploads().unwrap(), []);
}

/// The caller hears nothing any more, and nobody else would end the session.
#[tokio::test]
async fn another_digest_ends_the_upload_of_a_caller_that_went_away() {
    let bench = Bench::new().await;
    let id = begin(&bench).await;
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, String>>(4);
    let slow: Body = Box::pin(stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|piece| (piece, receiver))
    }));
    sender.send(Ok(Bytes::from(bytes_of(LEN)))).await.unwrap();
    let (who, wrong) = (pusher(), Digest::sha256(b"something else"));
    let finish = bench
        .registry
        .finish_upload(&who, id, wrong, None, None, slow);
    let staging = bench.registry.blobs().staging();
    dropped_when(finish, async || !staging.uploads().unwrap().is_empty()).await;
    drop(sender);
    bench.registry.drain().await;
    assert_eq!(bench.registry.metadata().open_uploads().await.unwrap(), 0);
    assert_eq!(bench.registry.blobs().staging().uploads().unwrap(), []);
    let metrics = bench.registry.metrics();
    assert_eq!(metrics.uploads_open.get(), 0);
    let place = crate::metrics::WhereLabel { r#where: "push" };
    assert_eq!(metrics.verify_failures.get_or_create(&place).get(), 1);
}

#[tokio::test]
async fn a_second_writer_waits_for_the_first() {
    let bench = Bench::new().await;
    let id = begin(&bench).await;
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, String>>(4);
    let slow: Body = Box::pin(stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|piece| (piece, receiver))
    }));
    let first = tokio::spawn({
        let registry = bench.registry.clone();
        async move { registry.receive(&pusher(), id, None, None, slow).await }
    });
    sender
        .send(Ok(Bytes::from_static(b"first ")))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let second = tokio::spawn({
        let registry = bench.registry.clone();
        async move {
            registry
                .receive(&pusher(), id, None, None, body(b"second", 3))
                .await
        }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!second.is_finished());
    sender.send(Ok(Bytes::from_static(b"and "))).await.unwrap();
    drop(sender);
    assert_eq!(first.await.unwrap().unwrap().offset, 10);
    assert_eq!(second.await.unwrap().unwrap().offset, 16);
    let digest = Digest::sha256(b"first and second");
    bench
        .registry
        .finish_upload(&pusher(), id, digest, None, None, body(b"", 1))
        .await
        .unwrap();
    assert_eq!(
        bench.read(&producer(), &digest).await.unwrap(),
        b"first and second"
    );
}

#[tokio::test]
async fn whoever_gives_an_upload_up_does_not_wait_for_its_writer() {
    let bench = Bench::new().await;
    for by_put in [false, true] {
        let id = begin(&bench).await;
        let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, String>>(4);
        let endless: Body = Box::pin(stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|piece| (piece, receiver))
        }));
        let registry = bench.registry.clone();
        let writer = tokio::spawn(async move {
            let (who, digest) = (pusher(), Digest::sha256(b"whatever"));
            match by_put {
                true => {
                    registry
                        .finish_upload(&who, id, digest, None, None, endless)
                        .await
                }
                false => {
                    let received = registry.receive(&who, id, None, None, endless);
                    received.await.map(drop)
                }
            }
        });
        sender.send(Ok(Bytes::from_static(b"some"))).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        // Nobody else's: it is not one of that repository.
        let elsewhere = Contributor::from(grant::<Push>("models/other"));
        let refused = bench.registry.cancel_upload(&elsewhere, id).await;
        assert!(matches!(refused, Err(Error::UploadUnknown)));
        assert!(!writer.is_finished());
        let who = pusher();
        let cancel = bench.registry.cancel_upload(&who, id);
        let cancelled = tokio::time::timeout(Duration::from_secs(5), cancel).await;
        cancelled.unwrap().unwrap();
        let written = writer.await.unwrap();
        assert!(
            matches!(written, Err(Error::BodyInterrupted(_))),
            "{written:?}"
        );
        drop(sender);
        let status = bench.registry.upload_status(&who, id).await;
        assert!(matches!(status, Err(Error::UploadUnknown)));
    }
    assert_eq!(bench.registry.metadata().open_uploads().await.unwrap(), 0);
    assert_eq!(bench.registry.blobs().staging().uploads().unwrap(), []);
    assert_eq!(bench.registry.metrics().uploads_open.get(), 0);
}

/// Somebody who only approves has no use for what no bundle can be, and must not fill the disk with it.
#[tokio::test]
async fn an_approver_sends_no_more_than_a_bundle_has() {
    const PIECE: usize = 1 << 20;
    let bench = Bench::new().await;
    let approver = Contributor::from(grant::<Approve>(REPO));
    let most = sealstone_spec::sigstore::MAX_BUNDLE_BYTES as u64;
    let digest = Digest::sha256(b"whatever");
    let piece = Bytes::from(vec![0; PIECE]);
    let endless = || -> Body { Box::pin(stream::repeat(Ok::<_, String>(piece.clone())).take(100)) };
    let untouched = || -> Body { Box::pin(stream::pending::<Result<Bytes, String>>()) };
    let registry = &bench.registry;
    for (announced, by_put) in [
        (Some(most + 1), false),
        (Some(most + 1), true),
        (None, false),
        (None, true),
    ] {
        let body = || match announced {
            Some(_) => untouched(),
            None => endless(),
        };
        let begun = registry.begin_upload(&approver, BeginUpload::default());
        let id = begun.await.unwrap().id;
        let refused = match by_put {
            false => {
                let received = registry.receive(&approver, id, None, announced, body());
                received.await.map(drop)
            }
            true => {
                registry
                    .finish_upload(&approver, id, digest, None, announced, body())
                    .await
            }
        };
        assert!(matches!(refused, Err(Error::NotApproval(_))), "{refused:?}");
        let posted = registry.put_blob(&approver, digest, announced, body());
        let posted = posted.await;
        assert!(matches!(posted, Err(Error::NotApproval(_))), "{posted:?}");
        assert_eq!(registry.metadata().open_uploads().await.unwrap(), 0);
        assert_eq!(registry.blobs().staging().uploads().unwrap(), []);
    }
    let received = registry.metrics().bytes_received.get();
    assert!(received <= 4 * (most + PIECE as u64), "{received}");
}
