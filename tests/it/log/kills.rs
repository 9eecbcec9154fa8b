//! Servers that are killed at any time: every checkpoint that was shown stays one of the same log.

use super::bench::ready;
use super::reader::{Hash, Shown, check_note, checkpoint, entries, leaf, root, vkey};
use crate::content::{MANIFEST, manifest};
use reqwest::Method;
use sealstone_tests::registry::Setup;
use serde_json::Value;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_time_keeps_every_checkpoint_that_was_shown() {
    let mut registry = ready(Setup::default()).await;
    let key = vkey(&registry).await;
    let mut shown: Vec<Shown> = Vec::new();
    let mut acknowledged: Vec<(String, u64)> = Vec::new();
    for (round, delay) in [60_u64, 150, 300, 600, 1200].into_iter().enumerate() {
        let mut pushes = tokio::task::JoinSet::new();
        for number in 0..24 {
            let tag = format!("r{round}-{number}");
            let mut image = manifest(&[b"{}"]);
            image["annotations"] = serde_json::json!({"tag": tag});
            let put = registry
                .request(
                    &registry.admin,
                    Method::PUT,
                    &format!("/v2/a/manifests/{tag}"),
                )
                .header("content-type", MANIFEST)
                .body(image.to_string());
            pushes.spawn(async move {
                let answer = put
                    .send()
                    .await
                    .ok()
                    .filter(|answer| answer.status() == 201)?;
                let index = answer
                    .headers()
                    .get("sealstone-log-index")?
                    .to_str()
                    .unwrap();
                Some((tag, index.parse::<u64>().unwrap()))
            });
        }
        let (http, url) = (registry.http.clone(), registry.url("/checkpoint"));
        let reader = tokio::spawn(async move {
            let mut notes = Vec::new();
            while let Ok(answer) = http.get(&url).send().await {
                notes.extend(answer.text().await);
            }
            notes
        });
        tokio::time::sleep(Duration::from_millis(delay)).await;
        registry.kill().unwrap();
        acknowledged.extend(pushes.join_all().await.into_iter().flatten());
        let notes = reader.await.unwrap();
        shown.extend(notes.iter().map(|note| check_note(note, &key)));
        registry.start().await.unwrap();
        shown.push(checkpoint(&registry).await);
    }
    assert_eq!(vkey(&registry).await, key);
    let now = checkpoint(&registry).await;
    let all = entries(&registry, &now).await;
    let leaves: Vec<Hash> = all.iter().map(|entry| leaf(entry)).collect();
    assert!(shown.len() > 5 && !acknowledged.is_empty());
    for older in &shown {
        let size = usize::try_from(older.size).unwrap();
        assert_eq!(
            root(&leaves[..size]),
            older.root,
            "the tree of {size} entries is another now"
        );
    }
    assert!(shown.windows(2).all(|pair| pair[0].size <= pair[1].size));
    for (tag, index) in acknowledged {
        let entry: Value = serde_json::from_slice(&all[usize::try_from(index).unwrap()]).unwrap();
        assert_eq!(entry["spec"]["tag"], tag);
    }
}
