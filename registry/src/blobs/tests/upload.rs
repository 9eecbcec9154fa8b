//! Uploads: the seal, and going on after a break at any point.

use super::*;
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

const LEN: usize = 3 * GROUP_BYTES + 500;

#[test]
fn the_seal_compares() {
    let place = Place::local();
    for algorithm in Algorithm::ALL {
        let mut upload = place.store.resume(&new_row(algorithm)).unwrap();
        upload
            .append(&[
                Bytes::from_static(b"con"),
                Bytes::new(),
                Bytes::from_static(b"tent"),
            ])
            .unwrap();
        let expected = Digest::of(algorithm, b"other");
        match upload.seal(&expected) {
            Err(Error::DigestMismatch {
                expected: named,
                actual,
            }) => {
                assert_eq!(
                    (named, actual),
                    (expected, Digest::of(algorithm, b"content"))
                );
            }
            other => panic!("sealed: {other:?}"),
        }
        assert!(SealedBytes::seal(Bytes::from_static(b"content"), &expected).is_err());
        let (digest, bytes) = SealedBytes::seal(Bytes::from_static(b"other"), &expected)
            .unwrap()
            .into_parts();
        assert_eq!((digest, bytes.as_ref()), (expected, &b"other"[..]));
    }
}

/// Goes on with an upload from `row`, and checks that the whole is what it should be.
async fn finish(place: &Place, row: &UploadRow, data: &[u8], algorithm: Algorithm) {
    let mut upload = place.store.resume(row).unwrap();
    let received = usize::try_from(upload.offset()).unwrap();
    upload
        .append(&[Bytes::copy_from_slice(&data[received..])])
        .unwrap();
    let published = place
        .store
        .publish(upload.seal(&Digest::of(algorithm, data)).unwrap())
        .await
        .unwrap();
    let blob = Stored {
        data: data.to_vec(),
        key: row.key.clone(),
        root: published.root(),
    };
    let (found, error) = blob.read(&place.store, 0..blob.len()).await;
    assert!(error.is_none() && found == data, "{error:?}");
}

#[tokio::test]
async fn an_upload_goes_on_from_any_point() {
    let data = bytes_of(LEN);
    let points = [
        0,
        1,
        GROUP_BYTES - 1,
        GROUP_BYTES,
        GROUP_BYTES + 1,
        2 * GROUP_BYTES + 77,
        LEN,
    ];
    for (number, place) in Place::both().into_iter().enumerate() {
        for (algorithm, named) in [
            (Algorithm::Sha256, Algorithm::Sha256),
            (Algorithm::Sha512, Algorithm::Sha512),
            (Algorithm::Blake3, Algorithm::Blake3),
            // The client names another algorithm than was expected.
            (Algorithm::Sha256, Algorithm::Sha512),
            (Algorithm::Sha256, Algorithm::Blake3),
            (Algorithm::Blake3, Algorithm::Sha256),
        ] {
            for noted in points.into_iter().skip(number) {
                for received in points
                    .into_iter()
                    .filter(|point| *point >= noted)
                    .step_by(2)
                {
                    let mut row = new_row(algorithm);
                    let mut upload = place.store.resume(&row).unwrap();
                    upload
                        .append(&[Bytes::copy_from_slice(&data[..noted])])
                        .unwrap();
                    note(&mut row, &upload);
                    upload
                        .append(&[Bytes::copy_from_slice(&data[noted..received])])
                        .unwrap();
                    drop(upload);
                    assert_eq!(place.store.resume(&row).unwrap().offset(), received as u64);
                    finish(&place, &row, &data, named).await;
                    place.store.delete(&row.key).await.unwrap();
                    place.store.staging().discard(row.id).unwrap();
                }
            }
        }
    }
}

#[tokio::test]
async fn a_state_that_does_not_fit_is_not_used() {
    let data = bytes_of(LEN);
    let place = Place::local();
    for (algorithm, other) in [
        (Algorithm::Sha256, Algorithm::Sha512),
        (Algorithm::Sha256, Algorithm::Blake3),
        (Algorithm::Sha512, Algorithm::Sha256),
    ] {
        // The last request named a digest of another algorithm, and its body broke off.
        let row = new_row(other);
        let mut upload = place.store.resume(&row).unwrap();
        upload
            .append(&[Bytes::copy_from_slice(&data[..2 * GROUP_BYTES + 9])])
            .unwrap();
        let row = UploadRow {
            algorithm: StoredAlgorithm(algorithm),
            offset: upload.offset(),
            hash_state: upload.hash_state(),
            boot: Some(upload.boot().to_owned()),
            ..row
        };
        drop(upload);
        assert_eq!(
            place.store.resume(&row).unwrap().offset(),
            (2 * GROUP_BYTES + 9) as u64
        );
        finish(&place, &row, &data, algorithm).await;
    }
}

#[tokio::test]
async fn a_file_shorter_than_its_state_is_hashed_again() {
    let data = bytes_of(LEN);
    let place = Place::local();
    for left in [0, 5, GROUP_BYTES + 3] {
        let mut row = new_row(Algorithm::Sha256);
        let mut upload = place.store.resume(&row).unwrap();
        upload
            .append(&[Bytes::copy_from_slice(&data[..2 * GROUP_BYTES])])
            .unwrap();
        note(&mut row, &upload);
        drop(upload);
        // A power cut took bytes that were never synced.
        let file = std::fs::File::options()
            .write(true)
            .open(place.store.staging().data_file(row.id))
            .unwrap();
        file.set_len(left as u64).unwrap();
        assert_eq!(place.store.resume(&row).unwrap().offset(), left as u64);
        finish(&place, &row, &data, Algorithm::Sha256).await;
    }
}

impl Place {
    /// Starts the machine again, under this name.
    fn start_as(&mut self, boot: Option<&str>) {
        self.store.staging = self.store.staging.started_as(boot);
    }

    /// An upload of which `data` was noted, with a page of zeros before the noted offset: what a power cut leaves of
    /// space that was reserved, and of bytes that were never synced.
    fn upload_with_a_hole(&self, algorithm: Algorithm, data: &[u8]) -> UploadRow {
        let mut row = new_row(algorithm);
        let mut upload = self.store.resume(&row).unwrap();
        upload.append(&[Bytes::copy_from_slice(data)]).unwrap();
        note(&mut row, &upload);
        drop(upload);
        let file = std::fs::File::options()
            .write(true)
            .open(self.store.staging.data_file(row.id))
            .unwrap();
        file.write_all_at(&[0; 4096], 4096).unwrap();
        row
    }

    /// Takes all values from an upload's tree.
    fn empty_the_tree(&self, row: &UploadRow) {
        let path = self
            .directory
            .path()
            .join(format!("uploads/{}.tree", row.id));
        let tree = std::fs::File::options().write(true).open(path).unwrap();
        assert!(tree.metadata().unwrap().len() >= 32);
        tree.set_len(0).unwrap();
    }
}

#[test]
fn a_state_of_another_start_of_the_machine_is_not_used() {
    let data = bytes_of(LEN);
    for mut place in Place::both() {
        for algorithm in Algorithm::ALL {
            for (noted, now) in [
                (Some("one"), Some("another")),
                (Some("one"), None),
                (None, Some("another")),
                (None, None),
            ] {
                place.start_as(noted);
                let row = place.upload_with_a_hole(algorithm, &data);
                assert!(noted.is_none() || row.boot.as_deref() == noted);
                place.empty_the_tree(&row);
                place.start_as(now);
                let upload = place.store.resume(&row).unwrap();
                assert_eq!(upload.offset(), LEN as u64);
                let error = upload.seal(&Digest::of(algorithm, &data)).unwrap_err();
                assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
            }
        }
    }
}

#[test]
fn a_state_of_this_start_of_the_machine_spares_the_file() {
    let data = bytes_of(LEN);
    let mut place = Place::local();
    // Where the kernel does not name its starts, the server's own start will do, for every request of its life.
    for boot in [Some("one"), None] {
        place.start_as(boot);
        let row = place.upload_with_a_hole(Algorithm::Sha256, &data);
        // The hole is not seen, so what was noted was not read again.
        for _ in 0..2 {
            let upload = place.store.resume(&row).unwrap();
            assert_eq!(upload.offset(), LEN as u64);
        }
        let upload = place.store.resume(&row).unwrap();
        upload.seal(&Digest::sha256(&data)).unwrap();
    }
}

#[tokio::test]
async fn a_whole_file_goes_on_after_another_start_of_the_machine() {
    let data = bytes_of(LEN);
    let mut place = Place::local();
    for noted in [1, GROUP_BYTES, 2 * GROUP_BYTES + 77] {
        place.start_as(Some("one"));
        let mut row = new_row(Algorithm::Sha256);
        let mut upload = place.store.resume(&row).unwrap();
        upload
            .append(&[Bytes::copy_from_slice(&data[..noted])])
            .unwrap();
        note(&mut row, &upload);
        drop(upload);
        place.start_as(Some("another"));
        // What was hashed again may be noted, and is believed from then on.
        let upload = place.store.resume(&row).unwrap();
        note(&mut row, &upload);
        assert_eq!(row.boot.as_deref(), Some("another"));
        drop(upload);
        finish(&place, &row, &data, Algorithm::Sha256).await;
    }
}

#[tokio::test]
async fn a_crash_between_seal_and_commit_loses_nothing() {
    let data = bytes_of(LEN);
    for place in Place::both() {
        let mut row = new_row(Algorithm::Sha256);
        let mut upload = place.store.resume(&row).unwrap();
        upload.append(&[Bytes::copy_from_slice(&data)]).unwrap();
        note(&mut row, &upload);
        row.sealing = true;
        // Twice: after the move, and after the move that follows the first return.
        for _ in 0..2 {
            let upload = place.store.resume(&row).unwrap();
            assert_eq!(upload.offset(), LEN as u64);
            let sealed = upload.seal(&Digest::sha256(&data)).unwrap();
            place.store.publish(sealed).await.unwrap();
            assert!(place.store.has_staged(&row));
        }
        finish(&place, &row, &data, Algorithm::Sha256).await;
        assert!(
            !place.store.has_staged(&UploadRow {
                sealing: false,
                ..row.clone()
            }) || place.store.local.is_none()
        );
    }
}

#[tokio::test]
async fn a_tree_written_half_behind_the_bytes_is_cut_off() {
    let data = bytes_of(LEN);
    let place = Place::local();
    for len in [1, 32, 100] {
        let mut row = new_row(Algorithm::Sha256);
        let mut upload = place.store.resume(&row).unwrap();
        upload.append(&[Bytes::copy_from_slice(&data)]).unwrap();
        note(&mut row, &upload);
        row.sealing = true;
        drop(upload);
        let mut file = std::fs::File::options()
            .append(true)
            .open(place.store.staging().data_file(row.id))
            .unwrap();
        file.write_all(&vec![9; len]).unwrap();
        assert_eq!(place.store.resume(&row).unwrap().offset(), LEN as u64);
        finish(&place, &row, &data, Algorithm::Sha256).await;
    }
}

#[test]
fn folders_that_cannot_be_written_are_noticed_before_an_upload_comes() {
    for name in ["uploads", "blobs", "blobs/b"] {
        let directory = tempfile::tempdir().unwrap();
        let store = BlobStore::local(directory.path(), 0).unwrap();
        store.check_writable().unwrap();
        std::fs::remove_dir_all(directory.path().join(name)).unwrap();
        let refused = store.check_writable().unwrap_err().to_string();
        assert!(refused.contains(name), "{refused}");
    }
}

#[test]
fn uploads_in_another_mount_than_objects_are_refused_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    // Such as a volume for one of them; this is another mount on every Linux.
    std::os::unix::fs::symlink("/proc", directory.path().join("uploads")).unwrap();
    let refused = BlobStore::local(directory.path(), 0).unwrap_err();
    let refused = refused.to_string();
    assert!(
        refused.contains("blobs/b") && refused.contains("another mount"),
        "{refused}"
    );
}

#[test]
fn the_reserve_is_kept_free() {
    let directory = tempfile::tempdir().unwrap();
    let free = BlobStore::local(directory.path(), 0)
        .unwrap()
        .free_bytes()
        .unwrap();
    let store = BlobStore::local(directory.path(), u64::MAX / 2).unwrap();
    assert!(
        matches!(store.staging().check_space(0), Err(Error::Full { reserve, .. }) if reserve == u64::MAX / 2)
    );
    assert!(matches!(
        store.resume(&new_row(Algorithm::Sha256)).unwrap().expect(1),
        Err(Error::Full { .. })
    ));
    // Without a reserve, only what does not fit is refused.
    let store = BlobStore::local(directory.path(), 0).unwrap();
    store.staging().check_space(1).unwrap();
    let mut upload = store.resume(&new_row(Algorithm::Sha256)).unwrap();
    for len in [free.saturating_mul(2), u64::MAX] {
        assert!(matches!(upload.expect(len), Err(Error::Full { .. })));
    }
    upload.expect(1000).unwrap();
    upload
        .append(&[Bytes::from_static(b"fewer than were announced")])
        .unwrap();
    assert_eq!(upload.offset(), 25);
    assert!(
        upload
            .seal(&Digest::sha256(b"fewer than were announced"))
            .is_ok()
    );
}

#[test]
fn discarding_twice_is_as_good_as_once() {
    let place = Place::local();
    let row = new_row(Algorithm::Sha256);
    drop(place.store.resume(&row).unwrap());
    assert!(place.store.has_staged(&row));
    assert_eq!(place.store.staging().uploads().unwrap(), [row.id]);
    for _ in 0..2 {
        place.store.staging().discard(row.id).unwrap();
        assert!(!place.store.has_staged(&row));
    }
    assert_eq!(place.store.staging().uploads().unwrap(), []);
}

#[test]
fn space_for_what_did_not_come_is_given_back() {
    const ANNOUNCED: u64 = 32 << 20;
    let place = Place::local();
    let staging = place.store.staging();
    let data = bytes_of(1 << 20);
    // By the one who received, by whoever failed, and by the next start.
    for end in 0..3 {
        let row = new_row(Algorithm::Sha256);
        let allocated = || {
            let found = std::fs::metadata(staging.data_file(row.id)).unwrap();
            found.blocks() * 512
        };
        let mut upload = place.store.resume(&row).unwrap();
        upload.expect(ANNOUNCED).unwrap();
        upload.append(&[Bytes::copy_from_slice(&data)]).unwrap();
        assert!(upload.has_spare());
        if cfg!(target_os = "linux") {
            assert!(
                allocated() >= ANNOUNCED,
                "nothing was reserved: {}",
                allocated()
            );
        }
        match end {
            0 => upload.give_back().unwrap(),
            1 => drop(upload),
            _ => {
                // A process that is killed drops nothing.
                std::mem::forget(upload);
                staging.give_back(row.id).unwrap();
            }
        }
        assert!(allocated() <= 2 << 20, "{end}: {} are held", allocated());
        let upload = place.store.resume(&row).unwrap();
        assert_eq!(upload.offset(), data.len() as u64);
        assert!(upload.seal(&Digest::sha256(&data)).is_ok());
    }
    staging.give_back(new_row(Algorithm::Sha256).id).unwrap();
}
