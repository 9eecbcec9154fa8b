//! Damaged blobs: no byte of them is served, and the next push repairs them.

use super::*;

impl Bench {
    /// Flips a bit of the only object, or of the small blob under `digest`.
    pub(super) fn flip(&self, digest: &Digest, at: usize) {
        let mut folders = vec![self.directory.path().join("blobs")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let mut bytes = std::fs::read(&path).unwrap();
                    bytes[at] ^= 4;
                    std::fs::write(&path, bytes).unwrap();
                    return;
                }
            }
        }
        let mut found = None;
        let find = &mut |key: &[u8], value: &[u8]| {
            if key.ends_with(digest.bytes()) {
                found = Some((key.to_vec(), value.to_vec()));
            }
            true
        };
        self.engine.scan(Family::Inline, b"", b"", find).unwrap();
        let (key, mut bytes) = found.unwrap();
        bytes[at] ^= 4;
        self.engine
            .write(&Changes::from([((Family::Inline, key), Some(bytes))]), true)
            .unwrap();
    }
}

#[tokio::test]
async fn damage_is_quarantined_and_repaired_by_a_push() {
    for (len, by_scrub) in [
        (1_000, false),
        (1_000, true),
        (600_000, false),
        (600_000, true),
    ] {
        let bench = Bench::new().await;
        let data = bytes_of(len);
        let digest = bench.put_blob(&data).await;
        bench.push(&[&data], "v1").await.unwrap();
        assert!(bench.read(&consumer(), &digest).await.unwrap() == data);
        bench.flip(&digest, 10);
        if by_scrub {
            let report = bench.scrub().await;
            assert_eq!((report.blobs, report.damaged), (1, vec![digest]));
            assert_eq!(bench.scrub().await.quarantined_before, 1);
        } else {
            let read = bench.read(&consumer(), &digest).await;
            assert!(
                matches!(read, Err(Error::Damaged(found)) if found == digest),
                "{len}: {read:?}"
            );
        }
        // In quarantine it is not read, and who asks for it hears that it is absent and sends it again.
        for who in [consumer(), producer()] {
            assert!(matches!(
                bench.read(&who, &digest).await,
                Err(Error::Damaged(_))
            ));
            assert!(matches!(
                bench.registry.stat_blob(&who, &digest).await,
                Err(Error::BlobUnknown(_))
            ));
        }
        assert!(!bench.registry.has_blob(&pusher(), &digest).await.unwrap());
        bench.put_blob(&data).await;
        assert!(bench.registry.has_blob(&pusher(), &digest).await.unwrap());
        assert!(bench.read(&consumer(), &digest).await.unwrap() == data);
        assert_eq!(bench.scrub().await.damaged, []);
    }
}

#[tokio::test]
async fn damage_further_on_ends_the_stream() {
    let bench = Bench::new().await;
    let data = bytes_of(2_000_000);
    let digest = bench.put_blob(&data).await;
    bench.flip(&digest, 1_900_000);
    let blob = bench
        .registry
        .readable_blob(&producer(), &digest)
        .await
        .unwrap();
    let body = bench
        .registry
        .read_blob(&blob, 0..blob.size())
        .await
        .unwrap();
    let mut stream = body.into_stream();
    let mut found = Vec::new();
    let mut failed = false;
    while let Some(piece) = stream.next().await {
        match piece {
            Ok(piece) => found.extend_from_slice(&piece),
            Err(_) => {
                failed = true;
                break;
            }
        }
    }
    assert!(failed && found.len() <= 1_900_000 && data.starts_with(&found) && !found.is_empty());
    assert!(matches!(
        bench.read(&producer(), &digest).await,
        Err(Error::Damaged(_))
    ));
}
