//! Objects that nobody names: found and removed, and nothing else with them.

use super::*;
use crate::metadata::{PhysicalKey, UploadId};
use std::time::{Duration, SystemTime};

impl Bench {
    pub(super) fn objects(&self) -> Vec<std::path::PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.directory.path().join("blobs")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path)
                } else {
                    found.push(path)
                }
            }
        }
        found.sort();
        found
    }

    /// An object such as a power cut leaves, of a session whose row is gone.
    fn leave_behind(&self) -> std::path::PathBuf {
        let key = PhysicalKey::of_upload(UploadId(uuid::Uuid::now_v7()));
        let path = self.directory.path().join("blobs").join(key.as_str());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, [7; 1000]).unwrap();
        path
    }
}

/// Makes a file older than any orphan has to be; the clock of these tests stands shortly after 1970.
fn age(path: &std::path::Path) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH - Duration::from_secs(2 * 24 * 3600))
        .unwrap();
}

#[tokio::test]
async fn an_object_that_no_row_names_is_removed_and_no_other() {
    let bench = Bench::new().await;
    let data = bytes_of(600_000);
    let digest = bench.put_blob(&data).await;
    bench.push(&[&data], "v1").await.unwrap();
    let named = bench.objects();
    assert_eq!(named.len(), 1);
    let (old, young) = (bench.leave_behind(), bench.leave_behind());
    let foreign = bench.directory.path().join("blobs/lost+found.txt");
    std::fs::write(&foreign, b"not ours").unwrap();
    for path in [&named[0], &old, &foreign] {
        age(path);
    }

    let dry = bench.sweep(true).await;
    assert_eq!((dry.objects, dry.orphans, dry.bytes), (3, 1, 1000));
    assert_eq!(dry.young, 1);
    assert!(old.exists(), "a dry run changed something");

    let swept = bench.sweep(false).await;
    assert_eq!((swept.orphans, swept.bytes), (1, 1000));
    assert!(!old.exists());
    assert!(young.exists(), "what is young may be named in a moment");
    assert!(foreign.exists(), "a file that is none of ours was touched");
    assert!(bench.read(&consumer(), &digest).await.unwrap() == data);

    assert_eq!(bench.registry.metrics().orphans_removed.get(), 1);
    let again = bench.sweep(false).await;
    assert_eq!((again.objects, again.orphans), (2, 0));
}

#[tokio::test]
async fn where_rows_are_known_to_be_missing_nothing_is_an_orphan() {
    let bench = Bench::new().await;
    let old = bench.leave_behind();
    age(&old);
    let staged = bench.directory.path().join("uploads");
    let staged = staged.join(format!("{}.data", uuid::Uuid::now_v7()));
    std::fs::write(&staged, b"received").unwrap();
    bench.registry.keep_orphans();
    assert_eq!(bench.sweep(false).await.orphans, 1);
    let right = Maintenance::at_boot();
    assert_eq!(bench.registry.repair_staging(&right).await.unwrap(), 0);
    assert!(old.exists() && staged.exists());
    assert_eq!(bench.registry.metrics().orphans_removed.get(), 0);
}

/// What has lost its row is gone in two days, also where everything is read but once a week.
#[tokio::test]
async fn they_are_looked_for_once_a_day_at_most() {
    const HOUR: i64 = 3_600_000;
    let mut bench = Bench::new().await;
    let right = Maintenance::at_boot();
    for (by, is_due) in [
        (0, true),
        (HOUR, false),
        (22 * HOUR, false),
        (HOUR, true),
        (23 * HOUR, false),
        (HOUR, true),
        // A clock that was set back.
        (-20 * HOUR, false),
        (-20 * HOUR, true),
    ] {
        bench.clock.advance(by);
        let old = bench.leave_behind();
        age(&old);
        let swept = bench.registry.sweep_when_due(&right).await.unwrap();
        assert_eq!(swept.is_some(), is_due, "{by}");
        assert_eq!(!old.exists(), is_due, "{by}");
        // A restart neither puts it off nor does it again, and to look is none.
        bench = bench.restarted().await;
        bench.sweep(true).await;
    }
}
