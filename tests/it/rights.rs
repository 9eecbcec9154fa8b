//! Who may do what, by every kind of credential.

use crate::content::*;
use reqwest::Method;
use sealstone_tests::registry::{Setup, TestRegistry, User};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const ACCESS: &str = r#"
[[access]]
repositories = ["m/**"]
who = ["user:pusher", "robot:ci"]
verbs = ["push", "tag"]
[[access]]
repositories = ["m/**"]
who = ["user:reader"]
verbs = ["pull"]
[[access]]
repositories = ["m/**"]
who = ["user:signer"]
verbs = ["pull", "sign"]
[[access]]
repositories = ["m/**"]
who = ["user:approver"]
verbs = ["pull", "approve"]
[[access]]
repositories = ["m/**"]
who = ["user:tagger"]
verbs = ["pull", "tag"]
[[access]]
repositories = ["open/**"]
who = ["anonymous"]
verbs = ["pull"]
[[access]]
repositories = ["other"]
who = ["user:other"]
verbs = ["push", "tag", "delete"]
"#;

async fn ready() -> TestRegistry {
    Setup {
        access: ACCESS.into(),
        ..Setup::default()
    }
    .start()
    .await
    .unwrap()
}

/// A session for the given scopes: the token.
async fn session(registry: &TestRegistry, who: &User, scopes: &[&str]) -> String {
    let scopes: String = scopes
        .iter()
        .map(|scope| format!("&scope={scope}"))
        .collect();
    let answer = get(registry, who, &format!("/token?service=sealstone{scopes}"))
        .await
        .expect(200)
        .json();
    assert_eq!(answer["token"], answer["access_token"]);
    answer["token"].as_str().unwrap().to_owned()
}

async fn bearer(registry: &TestRegistry, token: &str, method: Method, path: &str) -> Answer {
    send(
        registry
            .http
            .request(method, registry.url(path))
            .bearer_auth(token),
    )
    .await
}

async fn api(
    registry: &TestRegistry,
    who: &User,
    method: Method,
    path: &str,
    body: &Value,
) -> Answer {
    send(registry.request(who, method, path).json(body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_of_another_repository_are_out_of_reach() {
    let registry = ready().await;
    let secret = push_image(&registry, &registry.admin, "m/secret", Some("v1"), MIB).await;
    let other = registry.account("other", "user").await.unwrap();
    push_image(&registry, &other, "other", Some("v1"), 10).await;
    for path in [
        format!("/v2/m/secret/blobs/{}", secret.layer),
        format!("/v2/m/secret/manifests/{}", secret.digest),
        format!("/v2/m/secret/_sealstone/tree/{}", secret.layer),
        format!("/v2/m/secret/referrers/{}", secret.digest),
    ] {
        assert_eq!(
            get(&registry, &other, &path).await.expect(403).code(),
            "DENIED"
        );
    }
    // Nor by naming it in one's own repository: neither read, nor mounted, nor bound by a manifest.
    get(
        &registry,
        &other,
        &format!("/v2/other/blobs/{}", secret.layer),
    )
    .await
    .expect(404);
    let mut manifest = manifest(&[]);
    manifest["layers"] = json!([descriptor("x/y", &secret.blob)]);
    let answer = put_manifest(
        &registry,
        &other,
        "other",
        "v2",
        manifest.to_string().as_bytes(),
    )
    .await
    .expect(400);
    assert_eq!(answer.code(), "MANIFEST_BLOB_UNKNOWN");
    get(
        &registry,
        &other,
        &format!("/v2/other/blobs/{}", secret.layer),
    )
    .await
    .expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_reaches_only_what_it_was_made_for() {
    let registry = ready().await;
    let pusher = registry.account("pusher", "user").await.unwrap();
    push_image(&registry, &pusher, "m/one", Some("v1"), 10).await;
    push_image(&registry, &pusher, "m/two", Some("v1"), 10).await;
    let token = session(&registry, &pusher, &["repository:m/one:pull"]).await;
    bearer(&registry, &token, Method::GET, "/v2/m/one/manifests/v1")
        .await
        .expect(200);
    for (method, path, scope) in [
        (
            Method::GET,
            "/v2/m/two/manifests/v1",
            "repository:m/two:pull",
        ),
        (
            Method::POST,
            "/v2/m/one/blobs/uploads/",
            "repository:m/one:pull,push",
        ),
    ] {
        let refused = bearer(&registry, &token, method, path).await.expect(401);
        let challenge = refused.header("www-authenticate");
        assert!(
            challenge.contains("insufficient_scope") && challenge.contains(scope),
            "{challenge}"
        );
    }
    bearer(&registry, &token, Method::GET, "/api/v1/accounts")
        .await
        .expect(403);
    // It makes no other, or it would last for ever.
    let renewal = "/token?service=sealstone&scope=repository:m/one:pull";
    let refused = bearer(&registry, &token, Method::GET, renewal)
        .await
        .expect(401);
    assert!(refused.header("www-authenticate").starts_with("Bearer "));
    // The intersection, silently: what the account has not, no session has.
    let reader = registry.account("reader", "user").await.unwrap();
    let token = session(
        &registry,
        &reader,
        &["repository:m/one:pull,push,delete", "repository:other:pull"],
    )
    .await;
    bearer(&registry, &token, Method::GET, "/v2/m/one/manifests/v1")
        .await
        .expect(200);
    bearer(&registry, &token, Method::POST, "/v2/m/one/blobs/uploads/")
        .await
        .expect(403);
    bearer(&registry, &token, Method::GET, "/v2/other/manifests/v1")
        .await
        .expect(403);
    // An administrator's session does not administer.
    let token = session(&registry, &registry.admin, &["repository:m/one:pull,push"]).await;
    bearer(&registry, &token, Method::GET, "/api/v1/accounts")
        .await
        .expect(403);
}

/// Clients of the token flow hold a session for `pull` when they have read what they are to sign, and fetch another only
/// if a challenge asks them to.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_add_or_tag_is_asked_for_the_scope_whatever_their_right_is() {
    let registry = ready().await;
    let image = push_image(&registry, &registry.admin, "m/one", Some("v1"), 10).await;
    let requests = |tag: &str| {
        [
            (Method::POST, "/v2/m/one/blobs/uploads/".to_owned()),
            (
                Method::POST,
                "/api/v1/log/entries?repository=m/one".to_owned(),
            ),
            (Method::PUT, format!("/v2/m/one/manifests/{tag}")),
        ]
    };
    // With a session that covers it: begun, not a signature, and what the rights say of a manifest that has a tag and no subject.
    for (name, wide) in [
        ("pusher", [202, 400, 201]),
        ("signer", [202, 400, 403]),
        ("approver", [202, 400, 403]),
        ("tagger", [403, 403, 201]),
        ("reader", [403, 403, 403]),
    ] {
        let who = registry.account(name, "user").await.unwrap();
        let narrow = session(&registry, &who, &["repository:m/one:pull"]).await;
        let scope = "repository:m/one:pull,push";
        let covering = session(&registry, &who, &[scope]).await;
        for ((method, path), wide) in requests(name).into_iter().zip(wide) {
            let ask = async |token: &str| {
                let request = registry.http.request(method.clone(), registry.url(&path));
                let request = request.bearer_auth(token).header("content-type", MANIFEST);
                let body = match method == Method::PUT {
                    true => image.manifest.clone(),
                    false => Vec::new(),
                };
                send(request.body(body)).await
            };
            let expected = if wide == 403 && name != "signer" && name != "approver" {
                403
            } else {
                401
            };
            let refused = ask(&narrow).await;
            assert_eq!(refused.status, expected, "{name}: {method} {path}");
            if expected == 401 {
                let challenge = refused.header("www-authenticate");
                assert!(
                    challenge.contains("insufficient_scope") && challenge.contains(scope),
                    "{name}: {challenge}"
                );
            }
            let answer = ask(&covering).await;
            assert_eq!(answer.status, wide, "{name}: {method} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_sessions_are_refused() {
    let registry = ready().await;
    let foreign = ready().await;
    let token = session(&registry, &registry.admin, &["repository:m/one:pull"]).await;
    let theirs = session(&foreign, &foreign.admin, &["repository:m/one:pull"]).await;
    let mut parts: Vec<&str> = token.split('.').collect();
    let none = data_encoding::BASE64URL_NOPAD.encode(br#"{"alg":"none","typ":"JWT"}"#);
    let unsigned = format!("{none}.{}.", parts[1]);
    let other = session(&registry, &registry.admin, &["repository:m/two:pull"]).await;
    parts[1] = other.split('.').nth(1).unwrap();
    let swapped = parts.join(".");
    for forged in [
        theirs,
        unsigned,
        swapped,
        format!("{token}x"),
        "x".into(),
        token[..token.len() - 4].to_owned(),
    ] {
        let refused = bearer(&registry, &forged, Method::GET, "/v2/")
            .await
            .expect(401);
        assert!(
            refused.header("www-authenticate").contains("invalid_token"),
            "{forged}"
        );
    }
    bearer(&registry, &token, Method::GET, "/v2/")
        .await
        .expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reads_only_where_strangers_may() {
    let registry = ready().await;
    let nobody = User::nobody();
    let open = push_image(&registry, &registry.admin, "open/x", Some("v1"), MIB).await;
    push_image(&registry, &registry.admin, "m/x", Some("v1"), 10).await;
    let challenged = get(&registry, &nobody, "/v2/").await.expect(401);
    assert!(
        challenged
            .header("www-authenticate")
            .starts_with(&format!("Bearer realm=\"{}\"", registry.url("/token")))
    );
    assert_eq!(
        get(&registry, &nobody, "/v2/open/x/manifests/v1")
            .await
            .expect(200)
            .body,
        open.manifest
    );
    get(&registry, &nobody, "/v2/m/x/manifests/v1")
        .await
        .expect(401);
    send(registry.request(&nobody, Method::POST, "/v2/open/x/blobs/uploads/"))
        .await
        .expect(401);
    // Docker asks for an anonymous token first.
    let token = session(&registry, &nobody, &["repository:open/x:pull"]).await;
    bearer(&registry, &token, Method::GET, "/v2/open/x/manifests/v1")
        .await
        .expect(200);
    bearer(&registry, &token, Method::GET, "/v2/m/x/manifests/v1")
        .await
        .expect(401);
    // Wrong credentials are told so, even where none are needed.
    let wrong = User {
        name: "admin".into(),
        secret: "wrong".into(),
    };
    get(&registry, &wrong, "/v2/open/x/manifests/v1")
        .await
        .expect(401);
    get(
        &registry,
        &wrong,
        "/token?service=sealstone&scope=repository:open/x:pull",
    )
    .await
    .expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalog_shows_what_one_may_read() {
    let registry = ready().await;
    for repo in ["m/a", "m/b", "open/c", "other", "hidden"] {
        push_image(&registry, &registry.admin, repo, Some("v1"), 10).await;
    }
    let list = async |who: &User, query: &str| {
        get(&registry, who, &format!("/v2/_catalog{query}"))
            .await
            .expect(200)
    };
    let reader = registry.account("reader", "user").await.unwrap();
    let other = registry.account("other", "user").await.unwrap();
    assert_eq!(
        list(&registry.admin, "").await.json()["repositories"],
        json!(["hidden", "m/a", "m/b", "open/c", "other"])
    );
    assert_eq!(
        list(&reader, "").await.json()["repositories"],
        json!(["m/a", "m/b", "open/c"])
    );
    assert_eq!(
        list(&other, "").await.json()["repositories"],
        json!(["open/c", "other"])
    );
    assert_eq!(
        list(&User::nobody(), "").await.json()["repositories"],
        json!(["open/c"])
    );
    // Pages are full although most are filtered out, and end.
    let page = list(&reader, "?n=2").await;
    assert_eq!(page.json()["repositories"], json!(["m/a", "m/b"]));
    assert!(
        page.header("link").contains("last=m%2Fb"),
        "{}",
        page.header("link")
    );
    let page = list(&reader, "?n=2&last=m%2Fb").await;
    assert_eq!(
        (page.json()["repositories"].clone(), page.header("link")),
        (json!(["open/c"]), "")
    );
}

/// Waits until what may do this now may not any more.
async fn expired(registry: &TestRegistry, who: &User, path: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while get(registry, who, path).await.status != 401 {
        assert!(Instant::now() < deadline, "{} does not expire", who.name);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn api_tokens_narrow_their_owner_and_expire() {
    let registry = ready().await;
    let robot = registry.account("ci", "robot").await.unwrap();
    push_image(&registry, &robot, "m/one", Some("v1"), 10).await;
    push_image(&registry, &robot, "m/two", Some("v1"), 10).await;
    let wanted = json!({"name": "narrow", "scopes": [{"repositories": ["m/one", "other"], "verbs": ["pull"]}], "expires_in_seconds": 8});
    let made = api(&registry, &robot, Method::POST, "/api/v1/tokens", &wanted)
        .await
        .expect(201)
        .json();
    let narrow = User {
        name: robot.name.clone(),
        secret: made["secret"].as_str().unwrap().to_owned(),
    };
    get(&registry, &narrow, "/v2/m/one/manifests/v1")
        .await
        .expect(200);
    get(&registry, &narrow, "/v2/m/two/manifests/v1")
        .await
        .expect(403);
    // Its scope names it, its owner has no right there.
    get(&registry, &narrow, "/v2/other/manifests/v1")
        .await
        .expect(403);
    send(registry.request(&narrow, Method::POST, "/v2/m/one/blobs/uploads/"))
        .await
        .expect(403);
    // It cannot make a wider one.
    let wider = json!({"name": "wider", "scopes": [{"repositories": ["**"], "verbs": ["push"]}]});
    let answer = api(&registry, &narrow, Method::POST, "/api/v1/tokens", &wider).await;
    if answer.status == 201 {
        let wide = User {
            name: robot.name.clone(),
            secret: answer.json()["secret"].as_str().unwrap().to_owned(),
        };
        send(registry.request(&wide, Method::POST, "/v2/m/one/blobs/uploads/"))
            .await
            .expect(403);
    } else {
        assert_eq!(answer.status, 403);
    }
    let session = session(&registry, &narrow, &["repository:m/one:pull,push"]).await;
    bearer(
        &registry,
        &session,
        Method::POST,
        "/v2/m/one/blobs/uploads/",
    )
    .await
    .expect(403);
    expired(&registry, &narrow, "/v2/m/one/manifests/v1").await;

    let lasting =
        json!({"name": "lasting", "scopes": [{"repositories": ["m/**"], "verbs": ["pull"]}]});
    let made = api(&registry, &robot, Method::POST, "/api/v1/tokens", &lasting)
        .await
        .expect(201)
        .json();
    let user = User {
        name: robot.name.clone(),
        secret: made["secret"].as_str().unwrap().to_owned(),
    };
    get(&registry, &user, "/v2/m/two/manifests/v1")
        .await
        .expect(200);
    let id = made["id"].as_str().unwrap();
    let stranger = registry.account("other", "user").await.unwrap();
    assert!(
        [403, 404].contains(
            &delete(&registry, &stranger, &format!("/api/v1/tokens/{id}"))
                .await
                .status
        )
    );
    get(&registry, &user, "/v2/m/two/manifests/v1")
        .await
        .expect(200);
    delete(&registry, &robot, &format!("/api/v1/tokens/{id}"))
        .await
        .expect(204);
    get(&registry, &user, "/v2/m/two/manifests/v1")
        .await
        .expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_has_a_hundred_tokens_and_its_list_has_pages() {
    let registry = ready().await;
    let reader = registry.account("reader", "user").await.unwrap();
    let other = registry.account("other", "user").await.unwrap();
    let path = "/api/v1/tokens";
    let mut wanted =
        json!({"name": "t", "scopes": [{"repositories": ["m/**"], "verbs": ["pull"]}]});
    let made = api(&registry, &other, Method::POST, path, &wanted).await;
    let foreign = made.expect(201).json()["id"].clone();
    for _ in 0..100 {
        api(&registry, &reader, Method::POST, path, &wanted)
            .await
            .expect(201);
    }
    let refused = api(&registry, &reader, Method::POST, path, &wanted).await;
    assert_eq!(refused.expect(403).code(), "DENIED");
    let mut ids: Vec<String> = Vec::new();
    loop {
        let last = ids.last().map(|id| format!("&last={id}"));
        let page = format!("{path}?n=30{}", last.unwrap_or_default());
        let listed = get(&registry, &reader, &page).await.expect(200).json();
        let page = listed["tokens"].as_array().unwrap().clone();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 30);
        ids.extend(
            page.iter()
                .map(|token| token["id"].as_str().unwrap().to_owned()),
        );
    }
    assert!(
        ids.len() == 100 && ids.is_sorted() && !ids.contains(&foreign.as_str().unwrap().into())
    );
    let everybody = get(&registry, &registry.admin, "/api/v1/tokens?all=true")
        .await
        .expect(200)
        .json();
    assert_eq!(everybody["tokens"].as_array().unwrap().len(), 101);
    // Room is made by removing one, and no scope is longer than can be listed.
    delete(&registry, &reader, &format!("{path}/{}", ids[0]))
        .await
        .expect(204);
    wanted["scopes"][0]["repositories"] = json!(vec!["a".repeat(200); 50]);
    api(&registry, &reader, Method::POST, path, &wanted)
        .await
        .expect(400);
    wanted["scopes"][0]["repositories"] = json!(["**"]);
    wanted["scopes"][0]["verbs"] = json!(["admin"]);
    let whole = api(&registry, &reader, Method::POST, path, &wanted).await;
    let whole = User {
        name: reader.name.clone(),
        secret: whole.expect(201).json()["secret"].as_str().unwrap().into(),
    };
    // It leaves nothing out, and yet makes no other; that is said before the body is read.
    for body in [&wanted, &json!(null)] {
        api(&registry, &whole, Method::POST, path, body)
            .await
            .expect(403);
    }
    delete(&registry, &registry.admin, "/api/v1/accounts/reader")
        .await
        .expect(204);
    let everybody = get(&registry, &registry.admin, "/api/v1/tokens?all=true").await;
    let left = everybody.expect(200).json();
    assert_eq!(left["tokens"].as_array().unwrap().len(), 1);
    assert_eq!(left["tokens"][0]["id"], foreign);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_accounts_has_pages() {
    let registry = ready().await;
    for name in ["reader", "other"] {
        registry.account(name, "user").await.unwrap();
    }
    for (query, expected) in [
        ("", vec!["admin", "other", "reader"]),
        ("?n=1", vec!["admin"]),
        ("?n=2&last=admin", vec!["other", "reader"]),
        ("?last=reader", vec![]),
    ] {
        let path = format!("/api/v1/accounts{query}");
        let listed = get(&registry, &registry.admin, &path).await.expect(200);
        let listed = listed.json()["accounts"].as_array().unwrap().clone();
        let names: Vec<&str> = listed
            .iter()
            .map(|account| account["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, expected, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_account_is_out_at_once() {
    let registry = ready().await;
    let pusher = registry.account("pusher", "user").await.unwrap();
    push_image(&registry, &pusher, "m/x", Some("v1"), 10).await;
    let token = session(&registry, &pusher, &["repository:m/x:pull,push"]).await;
    let wanted = json!({"name": "t", "scopes": [{"repositories": ["m/**"], "verbs": ["pull"]}]});
    let made = api(&registry, &pusher, Method::POST, "/api/v1/tokens", &wanted)
        .await
        .expect(201)
        .json();
    let with_token = User {
        name: pusher.name.clone(),
        secret: made["secret"].as_str().unwrap().to_owned(),
    };
    let set = async |what: &str| {
        api(
            &registry,
            &registry.admin,
            Method::POST,
            &format!("/api/v1/accounts/pusher/{what}"),
            &json!({}),
        )
        .await
        .expect(200)
    };
    let path = "/v2/m/x/manifests/v1";
    set("disable").await;
    get(&registry, &pusher, path).await.expect(401);
    get(&registry, &with_token, path).await.expect(401);
    bearer(&registry, &token, Method::GET, path)
        .await
        .expect(401);
    set("enable").await;
    get(&registry, &pusher, path).await.expect(200);
    let replaced = api(
        &registry,
        &registry.admin,
        Method::POST,
        "/api/v1/accounts/pusher/secret",
        &json!({}),
    )
    .await
    .expect(200)
    .json();
    get(&registry, &pusher, path).await.expect(401);
    // Nor does what was made with the secret before; what was made to be used without it does.
    bearer(&registry, &token, Method::GET, path)
        .await
        .expect(401);
    get(&registry, &with_token, path).await.expect(200);
    let renewed = User {
        name: "pusher".into(),
        secret: replaced["secret"].as_str().unwrap().to_owned(),
    };
    get(&registry, &renewed, path).await.expect(200);
    delete(&registry, &registry.admin, "/api/v1/accounts/pusher")
        .await
        .expect(204);
    get(&registry, &renewed, path).await.expect(401);
    bearer(&registry, &token, Method::GET, path)
        .await
        .expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_expires_does() {
    let registry = ready().await;
    let wanted = json!({"name": "reader", "kind": "user", "secret": "a long enough secret", "expires_in_seconds": 8});
    api(
        &registry,
        &registry.admin,
        Method::POST,
        "/api/v1/accounts",
        &wanted,
    )
    .await
    .expect(201);
    let reader = User {
        name: "reader".into(),
        secret: "a long enough secret".into(),
    };
    get(&registry, &reader, "/v2/").await.expect(200);
    expired(&registry, &reader, "/v2/").await;
}
