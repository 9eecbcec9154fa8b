//! Stored bytes that are not what they were: a reader gets a part of the original or nothing, and hears
//! of it before the first group that is wrong.

use super::*;
use object_store::PutPayload;

const LEN: usize = 4 * GROUP_BYTES + 4321;

/// Changes the object under a key as a failing disk would, behind the store's back.
async fn corrupt(store: &BlobStore, key: &PhysicalKey, change: impl FnOnce(&mut Vec<u8>)) {
    let path = object_path(key);
    let mut bytes = store
        .objects
        .get(&path)
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap()
        .to_vec();
    change(&mut bytes);
    store
        .objects
        .put(&path, PutPayload::from(bytes))
        .await
        .unwrap();
}

/// Reads all of a damaged blob; the group from which on nothing may come.
async fn assert_refused(store: &BlobStore, blob: &Stored, limit: usize, what: &str) {
    let (found, error) = blob.read(store, 0..blob.len()).await;
    assert!(
        matches!(error, Some(Error::Damaged { .. })),
        "{what}: {error:?}"
    );
    assert!(
        found.len() <= limit && blob.data.starts_with(&found),
        "{what}: {} bytes came",
        found.len()
    );
    assert!(
        matches!(
            store.scrub(&blob.key, blob.len(), blob.root).await,
            Err(Error::Damaged { .. })
        ),
        "{what}"
    );
}

#[tokio::test]
async fn a_flipped_bit_stops_the_reader_before_its_group() {
    for place in Place::both() {
        let blob = Stored::publish(&place.store, bytes_of(LEN)).await;
        let groups = (0..5).flat_map(|group| {
            [
                group * GROUP_BYTES,
                group * GROUP_BYTES + 1000,
                (group + 1) * GROUP_BYTES - 1,
            ]
        });
        let positions: Vec<usize> = groups.filter(|at| *at < LEN).chain([LEN - 1]).collect();
        for (number, at) in positions.into_iter().enumerate() {
            // With the tree in the cache, and without.
            if number % 2 == 0 {
                place.store.trees.invalidate(&blob.key);
            }
            let bit = 1 << (number % 8);
            corrupt(&place.store, &blob.key, |bytes| bytes[at] ^= bit).await;
            assert_refused(
                &place.store,
                &blob,
                at / GROUP_BYTES * GROUP_BYTES,
                &format!("byte {at}"),
            )
            .await;
            // What lies elsewhere can still be read.
            let far = if at < 2 * GROUP_BYTES {
                3 * GROUP_BYTES as u64..blob.len()
            } else {
                0..GROUP_BYTES as u64
            };
            let (found, error) = blob.read(&place.store, far.clone()).await;
            let intact = &blob.data[far.start as usize..far.end as usize];
            // Two groups are read at a time: the one beside the damage may be refused with it.
            match error {
                None => assert_eq!(found, intact),
                Some(_) => assert!(intact.starts_with(&found)),
            }
            corrupt(&place.store, &blob.key, |bytes| bytes[at] ^= bit).await;
            assert!(
                blob.read(&place.store, 0..blob.len()).await.1.is_none(),
                "whole again"
            );
        }
    }
}

#[tokio::test]
async fn a_flipped_bit_in_the_tree_yields_nothing() {
    for place in Place::both() {
        let blob = Stored::publish(&place.store, bytes_of(LEN)).await;
        for at in (0..5).flat_map(|value| [LEN + value * 32, LEN + value * 32 + 31]) {
            corrupt(&place.store, &blob.key, |bytes| bytes[at] ^= 0x10).await;
            for warm in [true, false] {
                if !warm {
                    place.store.trees.invalidate(&blob.key);
                }
                let (found, error) = blob.read(&place.store, 0..blob.len()).await;
                assert!(
                    found.is_empty() && matches!(error, Some(Error::Damaged { .. })),
                    "byte {at}: {error:?}"
                );
                assert!(matches!(
                    blob.read_tree(&place.store).await,
                    Err(Error::Damaged { .. })
                ));
            }
            corrupt(&place.store, &blob.key, |bytes| bytes[at] ^= 0x10).await;
        }
    }
}

#[tokio::test]
async fn a_truncated_object_is_damaged() {
    for place in Place::both() {
        for cut in [
            1,
            32,
            5 * 32,
            5 * 32 + 1,
            GROUP_BYTES,
            LEN - 1,
            LEN + 5 * 32,
        ] {
            for warm in [true, false] {
                let blob = Stored::publish(&place.store, bytes_of(LEN)).await;
                if warm {
                    assert!(blob.read(&place.store, 0..blob.len()).await.1.is_none());
                }
                corrupt(&place.store, &blob.key, |bytes| {
                    bytes.truncate(LEN + 5 * 32 - cut)
                })
                .await;
                assert_refused(&place.store, &blob, LEN, &format!("{cut} bytes short")).await;
            }
        }
        // One group: no tree stands behind it.
        let small = Stored::publish(&place.store, bytes_of(1000)).await;
        corrupt(&place.store, &small.key, |bytes| bytes.truncate(999)).await;
        assert_refused(&place.store, &small, 0, "one group").await;
    }
}

#[tokio::test]
async fn another_root_or_size_is_damage() {
    for place in Place::both() {
        for len in [1000, LEN] {
            let blob = Stored::publish(&place.store, bytes_of(len)).await;
            let mut root = blob.root;
            root[31] ^= 1;
            let other = Stored {
                root,
                ..blob.clone()
            };
            assert_refused(&place.store, &other, 0, "another root").await;
            // The row names another size than the object has.
            let mut shorter = blob.clone();
            shorter.data.pop();
            assert_refused(&place.store, &shorter, 0, "another size").await;
        }
        // Somebody's bytes under somebody else's key.
        let (one, two) = (
            Stored::publish(&place.store, bytes_of(LEN)).await,
            Stored::publish(&place.store, vec![7; LEN]).await,
        );
        let exchanged = Stored {
            key: two.key,
            ..one
        };
        place.store.trees.invalidate(&exchanged.key);
        assert_refused(&place.store, &exchanged, 0, "exchanged").await;
    }
}

#[test]
fn whatever_happens_to_an_object_no_wrong_byte_is_read() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for place in Place::both() {
        let blob = runtime.block_on(Stored::publish(
            &place.store,
            bytes_of(2 * GROUP_BYTES + 99),
        ));
        let whole = blob.data.len() + 3 * 32;
        proptest!(ProptestConfig::with_cases(32), |(at in 0..whole, len in 1..5000_usize, fill: u8, cut in prop::option::weighted(0.2, 0..whole), cold: bool)| {
            let found = runtime.block_on(async {
                let original = place.store.objects.get(&object_path(&blob.key)).await.unwrap().bytes().await.unwrap();
                corrupt(&place.store, &blob.key, |bytes| {
                    let end = (at + len).min(whole);
                    bytes[at..end].fill(fill);
                    bytes.truncate(cut.unwrap_or(whole));
                }).await;
                if cold {
                    place.store.trees.invalidate(&blob.key);
                }
                let found = blob.read(&place.store, 0..blob.len()).await;
                place.store.objects.put(&object_path(&blob.key), PutPayload::from(original)).await.unwrap();
                found
            });
            prop_assert!(blob.data.starts_with(&found.0));
            prop_assert!(found.1.is_some() || found.0.len() == blob.data.len());
            prop_assert!(matches!(found.1, None | Some(Error::Damaged { .. })), "{:?}", found.1);
        });
    }
}
