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
        self.flip_row(Family::Inline, digest, at);
    }

    /// Flips a bit of an entry of the metadata store.
    fn flip_row(&self, family: Family, digest: &Digest, at: usize) {
        let key = self.engine.key_of(family, digest);
        let mut bytes = self.engine.get(family, &key).unwrap().unwrap();
        bytes[at] ^= 4;
        self.engine.set(family, digest, Some(bytes));
    }

    /// Makes an entry of the metadata store one that its disk does not give back.
    fn fail_row(&self, family: Family, digest: &Digest, error: crate::metadata::Error) {
        let key = (family, self.engine.key_of(family, digest));
        self.engine.faults().unreadable.insert(key, error);
    }

    fn failures(&self, place: &'static str) -> u64 {
        let label = crate::metrics::WhereLabel { r#where: place };
        let failures = &self.registry.metrics().verify_failures;
        failures.get_or_create(&label).get()
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

/// Somebody reads slowly, and meets damage in a copy that has been replaced by then.
#[tokio::test]
async fn a_copy_that_came_again_is_not_condemned_for_the_old_one() {
    let bench = Bench::new().await;
    let data = bytes_of(600_000);
    let digest = bench.put_blob(&data).await;
    bench.push(&[&data], "v1").await.unwrap();
    let slow = bench
        .registry
        .readable_blob(&consumer(), &digest)
        .await
        .unwrap();
    bench.flip(&digest, 10);
    assert!(bench.read(&consumer(), &digest).await.is_err());
    bench.put_blob(&data).await;
    let read = bench.registry.read_blob(&slow, 0..slow.size()).await;
    assert!(matches!(read, Err(Error::Damaged(_))));
    assert!(bench.read(&consumer(), &digest).await.unwrap() == data);
    assert_eq!(bench.registry.metrics().quarantined.get(), 0);
    assert_eq!(
        bench.failures("pull"),
        1,
        "nobody has to come for the second"
    );
}

#[tokio::test]
async fn small_content_that_the_store_does_not_give_back_is_repaired_by_a_push() {
    let unreadable = || crate::metadata::Error::Damaged("block checksum mismatch".into());
    for by_scrub in [false, true] {
        let bench = Bench::new().await;
        let data = bytes_of(1_000);
        let digest = bench.put_blob(&data).await;
        let image = bench.push(&[&data], "v1").await.unwrap();
        bench.fail_row(Family::Inline, &digest, unreadable());
        bench.fail_row(Family::Body, &image, unreadable());
        if by_scrub {
            assert_eq!(bench.scrub().await.damaged, [digest, image]);
            assert_eq!(bench.failures("scrub"), 2);
        } else {
            let read = bench.read(&consumer(), &digest).await;
            assert!(matches!(read, Err(Error::Damaged(_))), "{read:?}");
            assert_eq!(bench.failures("pull"), 1);
        }
        // Absent for whoever could send it again.
        let asked = bench.registry.stat_blob(&producer(), &digest).await;
        assert!(matches!(asked, Err(Error::BlobUnknown(_))));
        bench.put_blob(&data).await;
        assert!(bench.read(&consumer(), &digest).await.unwrap() == data);
        assert_eq!(bench.push(&[&data], "v1").await.unwrap(), image);
        assert_eq!(bench.scrub().await.damaged, []);
    }
}

#[tokio::test]
async fn a_damaged_manifest_is_repaired_by_a_push() {
    type Damage<'a> = &'a dyn Fn(&Bench, &Digest);
    let unreadable = crate::metadata::Error::Damaged("block checksum mismatch".into());
    let damages: [Damage<'_>; 3] = [
        &|bench, image| bench.flip_row(Family::Body, image, 30),
        &|bench, image| bench.engine.set(Family::Body, image, None),
        &|bench, image| bench.fail_row(Family::Body, image, unreadable.clone()),
    ];
    for damage in damages {
        let bench = Bench::new().await;
        let data = bytes_of(1_000);
        bench.put_blob(&data).await;
        let image = bench.push(&[&data], "v1").await.unwrap();
        damage(&bench, &image);
        let reference = Reference::Digest(image);
        let who = consumer();
        let get = || bench.registry.manifest(&who, &reference);
        let found = get().await;
        assert!(matches!(found, Err(Error::Damaged(_))), "{found:?}");
        let report = bench.scrub().await;
        assert_eq!((report.manifests, report.damaged), (1, vec![image]));
        assert_eq!(bench.push(&[&data], "v1").await.unwrap(), image);
        assert_eq!(Digest::sha256(&get().await.unwrap().bytes), image);
        assert_eq!(bench.scrub().await.damaged, []);
    }
}

/// What cannot be read now is no damage, and hides nothing that is.
#[tokio::test]
async fn a_scrub_goes_on_behind_what_it_cannot_read() {
    let bench = Bench::new().await;
    let mut images = Vec::new();
    for number in 0..4 {
        let data = [bytes_of(1_000), vec![number]].concat();
        bench.put_blob(&data).await;
        let tag = format!("v{number}");
        images.push((
            bench.push(&[&data], &tag).await.unwrap(),
            Digest::sha256(&data),
        ));
    }
    images.sort();
    let busy = crate::metadata::Error::Unavailable("too many open files".into());
    bench.fail_row(Family::Body, &images[0].0, busy.clone());
    bench.fail_row(Family::Inline, &images[1].1, busy);
    bench.flip_row(Family::Body, &images[3].0, 30);
    bench.flip_row(Family::Inline, &images[3].1, 30);
    let report = bench.scrub().await;
    assert_eq!((report.blobs, report.manifests), (4, 4));
    assert_eq!(report.damaged, [images[3].1, images[3].0]);
    let unread: Vec<&str> = report.unreadable.iter().map(|u| u.what.as_str()).collect();
    let expected = [
        images[1].1.to_string(),
        format!("{} in {REPO}", images[0].0),
    ];
    assert_eq!(unread, expected);
    assert_eq!(bench.registry.metrics().quarantined.get(), 1);
    // It has not read everything, so it is still due.
    assert_eq!(bench.registry.metrics().scrub_last_success.get(), 0);
    bench.engine.faults().unreadable.clear();
    let report = bench.scrub().await;
    assert_eq!(report.unreadable, []);
    assert_eq!(report.damaged, [images[3].0]);
    assert_eq!(bench.registry.metrics().scrub_last_success.get(), 1000);
}

/// An object that the disk does not give back for now: here, one that is no file.
#[tokio::test]
async fn an_error_of_the_disk_is_not_damage() {
    let bench = Bench::new().await;
    let data = bytes_of(600_000);
    let digest = bench.put_blob(&data).await;
    let [object] = &bench.objects()[..] else {
        panic!("one object")
    };
    let aside = bench.directory.path().join("aside");
    std::fs::rename(object, &aside).unwrap();
    std::fs::create_dir(object).unwrap();
    let report = bench.scrub().await;
    assert_eq!((report.damaged, report.unreadable.len()), (vec![], 1));
    std::fs::remove_dir(object).unwrap();
    std::fs::rename(&aside, object).unwrap();
    assert!(bench.read(&producer(), &digest).await.unwrap() == data);
}

/// A volume that was not there for a while: nothing of it is damaged.
#[tokio::test]
async fn where_the_folders_of_all_objects_went_away_none_is_damaged() {
    let bench = Bench::new().await;
    let data = bytes_of(600_000);
    let digest = bench.put_blob(&data).await;
    bench.push(&[&data], "v1").await.unwrap();
    let [place, aside] = ["blobs/b", "aside"].map(|name| bench.directory.path().join(name));
    std::fs::rename(&place, &aside).unwrap();
    let read = bench.read(&consumer(), &digest).await;
    assert!(matches!(read, Err(Error::Internal(_))), "{read:?}");
    let report = bench.scrub().await;
    assert_eq!((report.damaged, report.unreadable.len()), (vec![], 1));
    assert_eq!(bench.registry.metrics().quarantined.get(), 0);
    std::fs::rename(&aside, &place).unwrap();
    assert!(bench.read(&consumer(), &digest).await.unwrap() == data);
}

/// What was condemned while it was not there, by this version or an older one.
#[tokio::test]
async fn what_is_whole_after_all_leaves_quarantine_at_the_next_scrub() {
    let bench = Bench::new().await;
    let (small, large) = (bytes_of(1_000), bytes_of(600_000));
    let digests = [bench.put_blob(&small).await, bench.put_blob(&large).await];
    bench.push(&[&small, &large], "v1").await.unwrap();
    let [object] = &bench.objects()[..] else {
        panic!("one object")
    };
    let aside = bench.directory.path().join("aside");
    std::fs::rename(object, &aside).unwrap();
    let unreadable = crate::metadata::Error::Damaged("block checksum mismatch".into());
    bench.fail_row(Family::Inline, &digests[0], unreadable);
    for digest in &digests {
        let read = bench.read(&consumer(), digest).await;
        assert!(matches!(read, Err(Error::Damaged(_))), "{read:?}");
    }
    let quarantined = &bench.registry.metrics().quarantined;
    assert_eq!(quarantined.get(), 2);
    let report = bench.scrub().await;
    assert_eq!((report.blobs, report.quarantined_before), (0, 2));
    assert_eq!((report.recovered, report.damaged), (vec![], vec![]));

    std::fs::rename(&aside, object).unwrap();
    bench.engine.faults().unreadable.clear();
    let mut report = bench.scrub().await;
    report.recovered.sort();
    let mut expected = digests.to_vec();
    expected.sort();
    assert_eq!(report.recovered, expected);
    assert_eq!((report.blobs, report.quarantined_before), (2, 0));
    assert_eq!(quarantined.get(), 0);
    for (digest, data) in digests.iter().zip([&small, &large]) {
        assert!(bench.read(&consumer(), digest).await.unwrap() == *data);
    }
    let report = bench.scrub().await;
    assert_eq!((report.blobs, report.recovered), (2, vec![]));
}
