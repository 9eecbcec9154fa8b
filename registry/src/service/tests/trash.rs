//! The trash: what cannot be deleted does not keep the rest from it.

use super::*;

const HOUR: i64 = 3_600_000;

impl Bench {
    async fn collect(&self) -> SweepReport {
        let right = Maintenance::at_boot();
        self.registry.collect(&right, false).await.unwrap()
    }
}

#[tokio::test]
async fn an_object_that_cannot_be_deleted_keeps_no_other_from_it() {
    let bench = Bench::new().await;
    for number in 0..3 {
        let digest = bench
            .put_blob(&[bytes_of(70_000), vec![number]].concat())
            .await;
        let right: Grant<Delete> = grant(REPO);
        bench.registry.delete_blob(&right, &digest).await.unwrap();
    }
    bench.clock.advance(25 * HOUR);
    assert_eq!(bench.collect().await.blobs, 3);
    // The first in order, so that the others lie behind it: no file any more, but a directory with one.
    let objects = bench.objects();
    assert_eq!(objects.len(), 3);
    std::fs::remove_file(&objects[0]).unwrap();
    std::fs::create_dir(&objects[0]).unwrap();
    std::fs::write(objects[0].join("x"), b"x").unwrap();
    bench.clock.advance(49 * HOUR);
    let report = bench.collect().await;
    assert_eq!((report.objects_deleted, report.failed), (2, 1));
    assert!(!objects[1].exists() && !objects[2].exists());
    // It is tried again each time, and goes when it can.
    let report = bench.collect().await;
    assert_eq!((report.objects_deleted, report.failed), (0, 1));
    std::fs::remove_dir_all(&objects[0]).unwrap();
    let report = bench.collect().await;
    assert_eq!((report.objects_deleted, report.failed), (1, 0));
    let report = bench.collect().await;
    assert_eq!((report.objects_deleted, report.failed), (0, 0));
}

#[tokio::test]
async fn staged_files_that_cannot_be_removed_keep_nothing_else() {
    let bench = Bench::new().await;
    let who = pusher();
    for _ in 0..2 {
        let begun = bench.registry.begin_upload(&who, BeginUpload::default());
        let id = begun.await.unwrap().id;
        let piece = body(&bytes_of(70_000), 9_999);
        let received = bench.registry.receive(&who, id, None, None, piece);
        received.await.unwrap();
    }
    let uploads = bench.directory.path().join("uploads");
    let staged = || {
        let entries = std::fs::read_dir(&uploads).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let first = staged().remove(0);
    std::fs::remove_file(&first).unwrap();
    std::fs::create_dir(&first).unwrap();
    std::fs::write(first.join("x"), b"x").unwrap();
    bench.clock.advance(25 * HOUR);
    let report = bench.collect().await;
    assert_eq!((report.uploads, report.failed), (2, 1));
    assert!(
        staged()
            .iter()
            .all(|path| path.file_stem() == first.file_stem())
    );
    // A start does not stumble over them either.
    let right = Maintenance::at_boot();
    assert_eq!(bench.registry.repair_staging(&right).await.unwrap(), 0);
    std::fs::remove_dir_all(&first).unwrap();
    bench.registry.repair_staging(&right).await.unwrap();
    assert_eq!(staged(), Vec::<std::path::PathBuf>::new());
}
