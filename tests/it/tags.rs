//! Releases never move: races, crashes, tombstones, conditions, lists of tags.

use crate::content::*;
use reqwest::Method;
use reqwest::header::HeaderValue;
use sealstone_spec::digest::Digest;
use sealstone_tests::registry::{Setup, TestRegistry, User};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

const WRITERS: usize = 64;

/// Manifests that differ, over blobs that the repository has.
async fn candidates(
    registry: &TestRegistry,
    who: &User,
    repo: &str,
    count: usize,
) -> Vec<(Digest, String)> {
    push_blob(registry, who, repo, b"{}").await;
    let one = |number: usize| {
        let mut manifest = manifest(&[b"{}"]);
        manifest["annotations"] = json!({"writer": number.to_string()});
        let text = manifest.to_string();
        (Digest::sha256(text.as_bytes()), text)
    };
    (0..count).map(one).collect()
}

/// All push at once; each answer, by the digest that was pushed. `None` where no answer came.
async fn race(
    registry: &TestRegistry,
    tag: &str,
    candidates: &[(Digest, String)],
) -> tokio::task::JoinSet<(Digest, Option<Answer>)> {
    let mut writers = tokio::task::JoinSet::new();
    for (digest, text) in candidates.iter().cloned() {
        let path = format!("/v2/a/manifests/{tag}");
        let put = registry
            .request(&registry.admin, Method::PUT, &path)
            .header("content-type", MANIFEST)
            .body(text);
        writers.spawn(async move {
            match put.send().await {
                Ok(answer) => (digest, Some(Answer::of(answer).await)),
                Err(_) => (digest, None),
            }
        });
    }
    writers
}

async fn names(registry: &TestRegistry, tag: &str) -> Option<String> {
    let answer = head(registry, &registry.admin, &format!("/v2/a/manifests/{tag}")).await;
    (answer.status == 200).then(|| answer.header("docker-content-digest").to_owned())
}

/// Every tag of the repository, as a client lists them.
async fn listed(registry: &TestRegistry) -> serde_json::Value {
    let answer = get(registry, &registry.admin, "/v2/a/tags/list").await;
    answer.expect(200).json()["tags"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_64_writers_exactly_one_wins() {
    let registry = Setup::default().start().await.unwrap();
    let candidates = candidates(&registry, &registry.admin, "a", WRITERS).await;
    let answers = race(&registry, "v1", &candidates).await.join_all().await;
    let winners: Vec<Digest> = answers
        .iter()
        .filter(|(_, answer)| answer.as_ref().unwrap().status == 201)
        .map(|(digest, _)| *digest)
        .collect();
    let [winner] = winners[..] else {
        panic!("{} writers won", winners.len())
    };
    for (digest, answer) in answers.into_iter().filter(|(digest, _)| *digest != winner) {
        let answer = answer.unwrap().expect(409);
        assert_eq!(answer.code(), "DENIED");
        assert_eq!(
            answer.detail(),
            json!({"reason": "tag_immutable", "tag": "v1", "existing": winner})
        );
        // The loser's manifest is not there either: all or nothing.
        assert_eq!(
            head(
                &registry,
                &registry.admin,
                &format!("/v2/a/manifests/{digest}")
            )
            .await
            .status,
            404
        );
    }
    assert_eq!(names(&registry, "v1").await, Some(winner.to_string()));
    assert_eq!(listed(&registry).await, json!(["v1"]));
    assert!(
        registry
            .metric("sealstone_tag_conflicts_total", "")
            .await
            .unwrap()
            >= 63.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_in_the_race_leaves_one_winner_or_none() {
    let mut registry = Setup::default().start().await.unwrap();
    let candidates = candidates(&registry, &registry.admin, "a", WRITERS).await;
    for (round, delay) in [3, 10, 25, 60].into_iter().enumerate() {
        let tag = format!("v{round}");
        let writers = race(&registry, &tag, &candidates).await;
        tokio::time::sleep(Duration::from_millis(delay)).await;
        registry.kill().unwrap();
        let mut acknowledged = Vec::new();
        for (digest, answer) in writers.join_all().await {
            if answer.is_some_and(|answer| answer.status == 201) {
                acknowledged.push(digest.to_string());
            }
        }
        assert!(acknowledged.len() <= 1, "{acknowledged:?}");
        registry.start().await.unwrap();
        let found = names(&registry, &tag).await;
        if let [winner] = &acknowledged[..] {
            assert_eq!(
                found.as_ref(),
                Some(winner),
                "acknowledged, then lost or changed"
            );
        }
        // Whatever it names now, it names for ever.
        let winner = match found {
            Some(winner) => winner,
            None => {
                put_manifest(
                    &registry,
                    &registry.admin,
                    "a",
                    &tag,
                    candidates[0].1.as_bytes(),
                )
                .await
                .expect(201);
                candidates[0].0.to_string()
            }
        };
        for (digest, text) in &candidates[..4] {
            let status = if digest.to_string() == winner {
                201
            } else {
                409
            };
            put_manifest(&registry, &registry.admin, "a", &tag, text.as_bytes())
                .await
                .expect(status);
        }
        assert_eq!(names(&registry, &tag).await, Some(winner));
        let so_far: Vec<String> = (0..=round).map(|round| format!("v{round}")).collect();
        assert_eq!(listed(&registry).await, json!(so_far));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_digest_again_is_accepted_and_another_is_refused() {
    let registry = Setup::default().start().await.unwrap();
    let admin = &registry.admin;
    let two = candidates(&registry, admin, "a", 2).await;
    for _ in 0..3 {
        put_manifest(&registry, admin, "a", "v1", two[0].1.as_bytes())
            .await
            .expect(201);
    }
    let refused = put_manifest(&registry, admin, "a", "v1", two[1].1.as_bytes())
        .await
        .expect(409);
    assert_eq!(refused.detail()["existing"], two[0].0.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_name_is_never_used_again() {
    let registry = Setup::default().start().await.unwrap();
    let admin = &registry.admin;
    let two = candidates(&registry, admin, "a", 2).await;
    put_manifest(&registry, admin, "a", "v1", two[0].1.as_bytes())
        .await
        .expect(201);
    delete(&registry, admin, "/v2/a/manifests/v1")
        .await
        .expect(202);
    delete(&registry, admin, "/v2/a/manifests/v1")
        .await
        .expect(404);
    let gone = get(&registry, admin, "/v2/a/manifests/v1")
        .await
        .expect(404);
    assert_eq!(gone.detail()["reason"], "tag_tombstoned");
    for (_, text) in &two {
        let refused = put_manifest(&registry, admin, "a", "v1", text.as_bytes())
            .await
            .expect(409);
        assert_eq!(
            (refused.code().as_str(), &refused.detail()["reason"]),
            ("DENIED", &json!("tag_tombstoned"))
        );
    }
    // Nor by way of the digest, the query or a condition.
    let path = format!("/v2/a/manifests/{}?tag=v1", two[1].0);
    let put = |condition: Option<&str>| {
        let mut put = registry
            .request(admin, Method::PUT, &path)
            .header("content-type", MANIFEST)
            .body(two[1].1.clone());
        if let Some(condition) = condition {
            put = put.header("if-none-match", condition);
        }
        put
    };
    send(put(None)).await.expect(409);
    send(put(Some("*"))).await.expect(409);
    assert_eq!(
        get(&registry, admin, "/v2/a/tags/list").await.json()["tags"],
        json!([])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_the_manifest_is_no_way_to_move_its_tag() {
    let registry = Setup::default().start().await.unwrap();
    let admin = &registry.admin;
    let two = candidates(&registry, admin, "a", 2).await;
    put_manifest(&registry, admin, "a", "v1", two[0].1.as_bytes())
        .await
        .expect(201);
    let answer = delete(&registry, admin, &format!("/v2/a/manifests/{}", two[0].0)).await;
    // Refused, or a tombstone: never a free name.
    assert!([202, 409].contains(&answer.status), "{}", answer.status);
    put_manifest(&registry, admin, "a", "v1", two[1].1.as_bytes())
        .await
        .expect(409);
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_create_only_and_move_only_from_where_they_say() {
    let policy = "schema = \"sealstone-policy/v1\"\n[[scope]]\nrepositories = [\"m/**\"]\ntags = \"mutable\"\nstaging = false\n";
    let registry = Setup {
        policy: policy.into(),
        ..Setup::default()
    }
    .start()
    .await
    .unwrap();
    let admin = &registry.admin;
    let three = candidates(&registry, admin, "m/x", 3).await;
    let put = |number: usize, header: &'static str, value: String| {
        let put = registry
            .request(admin, Method::PUT, "/v2/m/x/manifests/v1")
            .header("content-type", MANIFEST);
        put.header(header, value).body(three[number].1.clone())
    };
    send(put(0, "if-match", format!("\"{}\"", three[0].0)))
        .await
        .expect(412);
    send(put(0, "if-none-match", "*".into())).await.expect(201);
    let refused = send(put(1, "if-none-match", "*".into())).await.expect(412);
    assert_eq!(refused.detail()["existing"], three[0].0.to_string());
    send(put(1, "if-match", format!("\"{}\"", three[2].0)))
        .await
        .expect(412);
    send(put(1, "if-match", format!("\"{}\"", three[0].0)))
        .await
        .expect(201);
    // From wherever it stands, if only it is there.
    send(put(0, "if-match", "*".into())).await.expect(201);
    // What is not understood is not passed over: the tag would move.
    let unreadable = |text: &[u8]| HeaderValue::from_bytes(text).unwrap();
    let foreign = format!("\"{}\"", Digest::sha256(b"another"));
    for (name, value) in [
        ("if-none-match", unreadable(b"*\xff")),
        (
            "if-match",
            unreadable(&[foreign.as_bytes(), b"\xff"].concat()),
        ),
        ("if-match", unreadable(format!("W/{foreign}").as_bytes())),
        ("if-match", unreadable(format!("{foreign}, *").as_bytes())),
    ] {
        let path = "/v2/m/x/manifests/v1";
        let put = registry
            .request(admin, Method::PUT, path)
            .header("content-type", MANIFEST)
            .header(name, value.clone())
            .body(three[1].1.clone());
        let refused = send(put).await.expect(400);
        assert_eq!(refused.code(), "UNSUPPORTED", "{value:?}");
        let delete = registry.request(admin, Method::DELETE, path);
        send(delete.header(name, value)).await.expect(400);
    }
    let twice = put(1, "if-match", foreign.clone()).header("if-match", "*");
    send(twice).await.expect(400);
    let kept = get(&registry, admin, "/v2/m/x/manifests/v1").await;
    assert_eq!(kept.expect(200).body, three[0].1.as_bytes());
    // A mutable tag moves without conditions too, and its name is free after it was deleted.
    send(put(2, "x-none", String::new())).await.expect(201);
    delete(&registry, admin, "/v2/m/x/manifests/v1")
        .await
        .expect(202);
    send(put(0, "if-match", "*".into())).await.expect(412);
    send(put(0, "if-none-match", "*".into())).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_hold_for_a_manifest_that_is_named_by_its_digest() {
    let registry = Setup::default().start().await.unwrap();
    let admin = &registry.admin;
    let image = push_image(&registry, admin, "a", None, 10).await;
    let (one, two) = (image.digest.to_string(), manifest(&[]).to_string());
    let other = Digest::sha256(two.as_bytes()).to_string();
    let with = |method: Method, digest: &str, header: &'static str, value: &str| {
        let is_push = method == Method::PUT;
        let path = format!("/v2/a/manifests/{digest}");
        let mut request = registry.request(admin, method, &path).header(header, value);
        if is_push {
            let body = match digest == one {
                true => image.manifest.clone(),
                false => two.clone().into_bytes(),
            };
            request = request.header("content-type", MANIFEST).body(body);
        }
        send(request)
    };
    let (quoted, quoted_other) = (format!("\"{one}\""), format!("\"{other}\""));
    let refused = with(Method::PUT, &one, "if-none-match", "*")
        .await
        .expect(412);
    assert_eq!(
        (&refused.detail()["reason"], &refused.detail()["existing"]),
        (&json!("condition_failed"), &json!(one))
    );
    with(Method::PUT, &one, "if-match", &quoted)
        .await
        .expect(201);
    with(Method::PUT, &one, "if-match", &quoted_other)
        .await
        .expect(412);
    with(Method::PUT, &other, "if-match", &quoted_other)
        .await
        .expect(412);
    get(&registry, admin, &format!("/v2/a/manifests/{other}"))
        .await
        .expect(404);
    with(Method::PUT, &other, "if-none-match", "*")
        .await
        .expect(201);
    with(Method::DELETE, &one, "if-match", &quoted_other)
        .await
        .expect(412);
    with(Method::DELETE, &one, "if-none-match", "*")
        .await
        .expect(412);
    with(Method::DELETE, &one, "if-match", &quoted)
        .await
        .expect(202);
    with(Method::DELETE, &one, "if-match", &quoted)
        .await
        .expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_of_one_push_are_set_all_or_none() {
    let registry = Setup::default().start().await.unwrap();
    let admin = &registry.admin;
    let two = candidates(&registry, admin, "a", 2).await;
    put_manifest(&registry, admin, "a", "taken", two[0].1.as_bytes())
        .await
        .expect(201);
    let push = |tags: &str| {
        let path = format!("/v2/a/manifests/{}?{tags}", two[1].0);
        registry
            .request(admin, Method::PUT, &path)
            .header("content-type", MANIFEST)
            .body(two[1].1.clone())
    };
    let refused = send(push("tag=one&tag=taken&tag=two")).await.expect(409);
    assert_eq!(refused.detail()["tag"], "taken");
    assert_eq!(
        get(&registry, admin, "/v2/a/tags/list").await.json()["tags"],
        json!(["taken"])
    );
    assert_eq!(
        head(&registry, admin, &format!("/v2/a/manifests/{}", two[1].0))
            .await
            .status,
        404
    );
    let set = send(push("tag=one&tag=two&tag=one")).await.expect(201);
    let reported: Vec<&str> = set
        .headers
        .get_all("oci-tag")
        .iter()
        .map(|tag| tag.to_str().unwrap())
        .collect();
    assert_eq!(reported, ["one", "two"]);
    assert_eq!(
        get(&registry, admin, "/v2/a/tags/list").await.json()["tags"],
        json!(["one", "taken", "two"])
    );
    let many: String = (0..50).map(|number| format!("&tag=t{number}")).collect();
    assert!((400..500).contains(&send(push(&many[1..])).await.status));
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_of_many_tags_do_not_disturb_each_other() {
    let registry = Setup::default().start().await.unwrap();
    let candidates = candidates(&registry, &registry.admin, "a", 24).await;
    let mut writers = tokio::task::JoinSet::new();
    for (number, (_, text)) in candidates.iter().enumerate() {
        let path = format!("/v2/a/manifests/t{}", number % 6);
        let put = registry
            .request(&registry.admin, Method::PUT, &path)
            .header("content-type", MANIFEST)
            .body(text.clone());
        writers.spawn(async move { (path, send(put).await.status) });
    }
    let mut won: BTreeMap<String, usize> = BTreeMap::new();
    for (path, status) in writers.join_all().await {
        *won.entry(path).or_default() += usize::from(status == 201);
    }
    assert_eq!(won.len(), 6);
    assert!(won.values().all(|count| *count == 1), "{won:?}");
}
