//! A disk that fails in the middle: each write of the metadata store in turn, and the steps of an upload. The
//! client gets a plain error, and what is there is as before or as after.

use super::*;

/// An error that is the server's, not the client's.
#[track_caller]
fn assert_ours(error: &Error) {
    let ours = matches!(
        error,
        Error::Unavailable(_) | Error::Internal(_) | Error::Full(_)
    );
    assert!(ours, "{error:?}");
}

impl Bench {
    async fn try_put(&self, data: &[u8]) -> Result<(), Error> {
        let who = pusher();
        let digest = Digest::sha256(data);
        let len = Some(data.len() as u64);
        let put = self
            .registry
            .put_blob(&who, digest, len, body(data, 70_000));
        put.await
    }

    /// A blob in chunks, as clients push them that can go on.
    async fn try_chunks(&self, data: &[u8]) -> Result<(), Error> {
        let who = pusher();
        let begun = self.registry.begin_upload(&who, BeginUpload::default());
        let id = begun.await?.id;
        for piece in data.chunks(200_000) {
            let received = self
                .registry
                .receive(&who, id, None, None, body(piece, 70_000));
            received.await?;
        }
        let digest = Digest::sha256(data);
        let nothing = body(b"", 1);
        let finished = self
            .registry
            .finish_upload(&who, id, digest, None, None, nothing);
        finished.await
    }

    /// Pushes a large and a small blob, and a manifest over both.
    async fn try_release(&self, large: &[u8], small: &[u8]) -> Result<Digest, Error> {
        self.try_chunks(large).await?;
        self.try_put(small).await?;
        self.push(&[small, large], "v1").await
    }

    async fn assert_whole(&self, content: &[u8]) {
        let digest = Digest::sha256(content);
        let read = self.read(&producer(), &digest).await;
        assert!(read.is_ok_and(|read| read == content), "{digest}");
    }
}

#[tokio::test]
async fn a_write_that_fails_leaves_what_was_or_what_is_to_be() {
    let (large, small) = (bytes_of(600_000), bytes_of(1_000));
    let mut failures = 0;
    for writes in 0..100 {
        let bench = Bench::new().await;
        bench.engine.faults().writes_left = Some(writes);
        let pushed = bench.try_release(&large, &small).await;
        // Nobody sees half of it while the disk does not work, nor after it works again.
        let by_tag = Reference::parse("v1").unwrap();
        for works in [false, true] {
            if works {
                bench.engine.faults().writes_left = None;
            }
            let served = bench.registry.manifest(&consumer(), &by_tag).await;
            match &pushed {
                Ok(digest) => assert_eq!(served.unwrap().digest, *digest),
                Err(error) => {
                    assert_ours(error);
                    assert!(matches!(served, Err(Error::ManifestUnknown(_))));
                }
            }
        }
        // It can be pushed again, whatever was there of it, and nothing of it is damaged.
        let digest = bench.try_release(&large, &small).await.unwrap();
        bench.assert_whole(&large).await;
        bench.assert_whole(&small).await;
        let served = bench.registry.manifest(&consumer(), &by_tag).await;
        assert_eq!(served.unwrap().digest, digest);
        let report = bench.scrub().await;
        assert!(report.damaged.is_empty() && report.is_complete());
        // And another process on what the disk has sees the same.
        let bench = bench.restarted().await;
        bench.assert_whole(&large).await;
        match pushed {
            Ok(_) => {
                println!("{failures} writes failed in turn");
                assert!(failures >= 6, "{failures}");
                return;
            }
            Err(_) => failures += 1,
        }
    }
    panic!("a push needs more than 100 writes");
}

/// Staging, and moving into place: a directory that is none, as a broken mount leaves it.
#[tokio::test]
async fn a_store_that_cannot_be_written_says_so_and_keeps_nothing() {
    let data = bytes_of(600_000);
    for folder in ["uploads", "blobs/b"] {
        let bench = Bench::new().await;
        let path = bench.directory.path().join(folder);
        let aside = bench.directory.path().join("aside");
        std::fs::rename(&path, &aside).unwrap();
        std::fs::write(&path, b"no directory").unwrap();
        for pushed in [bench.try_put(&data).await, bench.try_chunks(&data).await] {
            assert_ours(&pushed.unwrap_err());
        }
        let digest = Digest::sha256(&data);
        let asked = bench.registry.stat_blob(&producer(), &digest).await;
        assert!(matches!(asked, Err(Error::BlobUnknown(_))), "{folder}");
        // Small ones need neither.
        bench.try_put(&data[..100]).await.unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::rename(&aside, &path).unwrap();
        bench.try_put(&data).await.unwrap();
        bench.assert_whole(&data).await;
        assert_eq!(bench.objects().len(), 1, "{folder}");
        let report = bench.scrub().await;
        assert!(report.damaged.is_empty() && report.is_complete());
    }
}

/// To end the server helps only where the next one could write.
#[tokio::test]
async fn a_store_is_stuck_while_it_takes_nothing_and_its_disk_does() {
    let bench = Bench::new().await;
    let right = Maintenance::at_boot();
    let found = async || {
        let found = bench.registry.is_stuck(&right).await;
        assert_eq!(bench.registry.was_stuck(), found);
        found
    };
    assert!(!found().await);
    bench.engine.faults().writes_left = Some(0);
    assert!(!found().await, "nobody has written since");
    assert_ours(&bench.try_put(b"small").await.unwrap_err());
    assert!(found().await);
    bench.engine.faults().takes_nothing = true;
    assert!(!found().await);
    bench.engine.faults().takes_nothing = false;
    assert!(found().await);
    // The next server meets the same. It stays, and is asked again after an hour.
    bench.registry.note_end(&right).await.unwrap();
    for (minutes, stuck) in [(0, false), (59, false), (1, true)] {
        bench.clock.advance(minutes * 60_000);
        assert_eq!(found().await, stuck, "{minutes} minutes later");
    }
    // It was nothing that lasts. Nobody but the question writes.
    bench.engine.faults().writes_left = None;
    assert!(!found().await);
    bench.try_put(b"small").await.unwrap();
}

/// Whoever asked is not told to wait for the end of a stop that nobody asked for.
#[tokio::test]
async fn a_panic_is_no_stop() {
    let bench = Bench::new().await;
    let is_sound = bench.clock.now() < 0;
    let panics = async move { assert!(is_sound, "a bug in a request") };
    let failed = bench.registry.to_the_end(panics).await;
    let is_told =
        matches!(&failed, Err(Error::Internal(text)) if text.contains("a bug in a request"));
    assert!(is_told, "{failed:?}");
    let failed = super::super::upload::blocking::<()>(|| panic!("a bug in a job")).await;
    assert!(matches!(failed, Err(Error::Internal(_))), "{failed:?}");
}

/// A connection that breaks drops what waits for the answer, between any two steps.
#[tokio::test]
async fn what_is_done_to_the_end_needs_nobody_who_waits() {
    let bench = Bench::new().await;
    let (ask, asked) = tokio::sync::oneshot::channel::<()>();
    let done = Arc::new(Mutex::new(0));
    let steps = done.clone();
    let doing = bench.registry.to_the_end(async move {
        *steps.lock().unwrap() += 1;
        asked.await.unwrap();
        *steps.lock().unwrap() += 1;
    });
    tokio::task::yield_now().await;
    drop(doing);
    ask.send(()).unwrap();
    bench.registry.drain().await;
    assert_eq!(*done.lock().unwrap(), 2);
}
