//! How checkpoints and tiles are served, and to whom.

use super::bench::{client, ended, push_tag, ready};
use super::reader::{checkpoint, tile_path};
use crate::content::{get, push_blob, send};
use reqwest::Method;
use sealstone_tests::registry::{Setup, User};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn tiles_are_cached_for_ever_and_entries_are_for_those_who_may_read() {
    let access =
        "[[access]]\nrepositories = [\"b\"]\nwho = [\"user:reader\"]\nverbs = [\"pull\"]\n";
    let registry = ready(Setup {
        access: access.into(),
        ..Setup::default()
    })
    .await;
    let reader = registry.account("reader", "user").await.unwrap();
    push_tag(&registry, "a", "v1").await.expect(201);
    let now = checkpoint(&registry).await;
    let nobody = User::nobody();
    let answer = get(&registry, &nobody, "/checkpoint").await.expect(200);
    assert_eq!(answer.header("cache-control"), "no-cache");
    assert!(answer.header("content-type").starts_with("text/plain"));
    let again = registry
        .request(&nobody, Method::GET, "/checkpoint")
        .header("if-none-match", answer.header("etag"));
    assert_eq!(send(again).await.status, 304);
    let hashes = get(&registry, &nobody, &tile_path("0", 0, now.size))
        .await
        .expect(200);
    assert_eq!(
        hashes.header("cache-control"),
        "public, max-age=31536000, immutable"
    );
    assert_eq!(hashes.body.len() as u64, 32 * now.size);
    let narrower = get(&registry, &nobody, &tile_path("0", 0, now.size - 1))
        .await
        .expect(200);
    assert!(hashes.body.starts_with(&narrower.body));
    for beyond in [
        tile_path("0", 0, now.size + 1),
        tile_path("0", 0, 256),
        tile_path("1", 0, 1),
        "/tile/0/0".into(),
        "/tile/x/000".into(),
    ] {
        assert_eq!(
            get(&registry, &nobody, &beyond).await.status,
            404,
            "{beyond}"
        );
    }
    let path = tile_path("entries", 0, now.size);
    assert_eq!(get(&registry, &nobody, &path).await.status, 401);
    assert_eq!(get(&registry, &reader, &path).await.status, 403);
    let own = get(&registry, &registry.admin, &path).await.expect(200);
    assert_eq!(
        own.header("cache-control"),
        "private, max-age=31536000, immutable"
    );
    assert_eq!(own.header("vary"), "Authorization");
    let proof = "/api/v1/log/proof?repository=a&tag=v1";
    assert!([401, 403].contains(&get(&registry, &reader, proof).await.status));
    let root: Value = get(&registry, &nobody, "/api/v1/log/trusted_root.json")
        .await
        .expect(200)
        .json();
    assert_eq!(root["tlogs"][0]["baseUrl"], "https://localhost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_reads_entries_of_the_repositories_that_it_covers_alone() {
    let access = "[[access]]\nrepositories = [\"a\", \"b\"]\nwho = [\"user:reader\"]\nverbs = [\"pull\"]\n\
        [[access]]\nrepositories = [\"**\"]\nwho = [\"user:deleter\"]\nverbs = [\"delete\"]\n";
    let registry = ready(Setup {
        access: access.into(),
        ..Setup::default()
    })
    .await;
    push_blob(&registry, &registry.admin, "b", b"{}").await;
    let mut last = String::new();
    for repo in ["a", "b"] {
        let pushed = push_tag(&registry, repo, "v1").await.expect(201);
        last = pushed.header("sealstone-log-index").to_owned();
    }
    let tile = tile_path("entries", 0, checkpoint(&registry).await.size);
    // The event of b:v1.
    let proof = format!("/api/v1/log/proof?index={last}");
    let reader = registry.account("reader", "user").await.unwrap();
    get(&registry, &reader, &tile).await.expect(200);
    get(&registry, &reader, &proof).await.expect(200);
    for (scopes, of_tile, of_proof) in [
        ("", 403, 403),
        ("&scope=repository:a:pull", 403, 403),
        ("&scope=repository:b:pull", 403, 200),
        ("&scope=registry:catalog:*", 403, 403),
        ("&scope=repository:a:pull&scope=repository:b:pull", 200, 200),
    ] {
        let path = format!("/token?service=sealstone{scopes}");
        let issued = get(&registry, &reader, &path).await.expect(200).json();
        let token = issued["token"].as_str().unwrap();
        for (path, status) in [(&tile, of_tile), (&proof, of_proof)] {
            let request = registry.http.get(registry.url(path));
            let answer = send(request.bearer_auth(token)).await;
            assert_eq!(answer.status, status, "{scopes} {path}");
            // What the session is not for is not named either.
            if status == 403 {
                assert_eq!(answer.code(), "DENIED");
                assert_eq!(answer.header("www-authenticate"), "");
            }
        }
    }
    // To see a name is not to read what happened there.
    let deleter = registry.account("deleter", "user").await.unwrap();
    for path in [&tile, &proof] {
        assert_eq!(get(&registry, &deleter, path).await.status, 403);
    }
    // The client's own session would cover nothing of this.
    let state = registry.directory().join("state");
    let address = registry.address().to_string();
    let read = client(&registry, &state, &["log", "verify", &address]);
    ended(&read, 0);
}
