//! Every route, asked by every kind of person: a table of status codes.

use crate::content::*;
use reqwest::Method;
use sealstone_spec::digest::Digest;
use sealstone_tests::registry::{Setup, User};
use serde_json::json;

const ACCESS: &str = r#"
[[access]]
repositories = ["m/x"]
who = ["user:reader"]
verbs = ["pull"]
[[access]]
repositories = ["other"]
who = ["user:other"]
verbs = ["push", "tag", "delete", "sign", "approve"]
[[access]]
repositories = ["m/x"]
who = ["user:pusher"]
verbs = ["push"]
[[access]]
repositories = ["m/x"]
who = ["user:approver"]
verbs = ["pull", "approve"]
[[access]]
repositories = ["m/x"]
who = ["user:tagger"]
verbs = ["pull", "tag"]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn every_route_asks_who_it_is() {
    let registry = Setup {
        access: ACCESS.into(),
        ..Setup::default()
    }
    .start()
    .await
    .unwrap();
    let admin = &registry.admin;
    let mut people = vec![User::nobody()];
    for name in ["reader", "other", "pusher", "approver", "tagger"] {
        people.push(registry.account(name, "user").await.unwrap());
    }
    let image = push_image(&registry, admin, "m/x", Some("v1"), MIB).await;
    let (digest, layer) = (image.digest, image.layer);
    let upload = begin(&registry, admin, "m/x").await;
    let upload = upload.as_str();
    let put = format!("{upload}?digest={}", Digest::sha256(b"x"));
    let at = |rest: String| format!("/v2/m/x/{rest}");
    // Route, then what nobody, a reader, another repository's pusher, and a pusher, an approver and a tagger without further
    // rights get.
    let table: Vec<(&str, String, [u16; 6])> = vec![
        ("GET", "/v2/".into(), [401, 200, 200, 200, 200, 200]),
        ("GET", "/v2/_catalog".into(), [401, 200, 200, 200, 200, 200]),
        (
            "GET",
            at("tags/list".into()),
            [401, 200, 403, 200, 200, 200],
        ),
        (
            "GET",
            at("manifests/v1".into()),
            [401, 200, 403, 200, 200, 200],
        ),
        (
            "HEAD",
            at("manifests/v1".into()),
            [401, 200, 403, 200, 200, 200],
        ),
        (
            "GET",
            at(format!("manifests/{digest}")),
            [401, 200, 403, 200, 200, 200],
        ),
        (
            "GET",
            at("manifests/none".into()),
            [401, 404, 403, 404, 404, 404],
        ),
        (
            "PUT",
            at("manifests/v2".into()),
            [401, 403, 403, 403, 403, 201],
        ),
        (
            "PUT",
            at(format!("manifests/{digest}?tag=v3")),
            [401, 403, 403, 403, 403, 201],
        ),
        (
            "DELETE",
            at("manifests/v1".into()),
            [401, 403, 403, 403, 403, 403],
        ),
        (
            "DELETE",
            at(format!("manifests/{digest}")),
            [401, 403, 403, 403, 403, 403],
        ),
        (
            "GET",
            at(format!("blobs/{layer}")),
            [401, 200, 403, 200, 200, 200],
        ),
        (
            "HEAD",
            at(format!("blobs/{layer}")),
            [401, 200, 403, 200, 200, 200],
        ),
        (
            "GET",
            at(format!("blobs/{}", Digest::sha256(b"none"))),
            [401, 404, 403, 404, 404, 404],
        ),
        (
            "DELETE",
            at(format!("blobs/{layer}")),
            [401, 403, 403, 403, 403, 403],
        ),
        (
            "GET",
            at(format!("_sealstone/tree/{layer}")),
            [401, 200, 403, 200, 200, 200],
        ),
        (
            "GET",
            at(format!("referrers/{digest}")),
            [401, 200, 403, 200, 200, 200],
        ),
        (
            "POST",
            at("blobs/uploads/".into()),
            [401, 403, 403, 202, 202, 403],
        ),
        (
            "POST",
            at(format!("blobs/uploads/?digest={}", Digest::sha256(b""))),
            [401, 403, 403, 400, 400, 403],
        ),
        (
            "POST",
            at(format!("blobs/uploads/?mount={layer}&from=m/x")),
            [401, 403, 403, 201, 201, 403],
        ),
        ("GET", upload.into(), [401, 403, 403, 204, 204, 403]),
        ("PATCH", upload.into(), [401, 403, 403, 202, 202, 403]),
        ("PUT", put, [401, 403, 403, 400, 404, 403]),
        ("DELETE", upload.into(), [401, 403, 403, 404, 404, 403]),
        (
            "GET",
            "/api/v1/accounts".into(),
            [401, 403, 403, 403, 403, 403],
        ),
        (
            "POST",
            "/api/v1/accounts".into(),
            [401, 403, 403, 403, 403, 403],
        ),
        (
            "DELETE",
            "/api/v1/accounts/reader".into(),
            [401, 403, 403, 403, 403, 403],
        ),
        (
            "POST",
            "/api/v1/accounts/reader/secret".into(),
            [401, 403, 403, 403, 403, 403],
        ),
        (
            "POST",
            "/api/v1/accounts/admin/disable".into(),
            [401, 403, 403, 403, 403, 403],
        ),
        (
            "GET",
            "/api/v1/tokens".into(),
            [401, 200, 200, 200, 200, 200],
        ),
        (
            "GET",
            "/api/v1/events".into(),
            [401, 403, 403, 403, 403, 403],
        ),
        ("GET", "/api/v1/policy".into(), [200; 6]),
        (
            "PUT",
            "/api/v1/policy".into(),
            [401, 403, 403, 403, 403, 403],
        ),
        ("GET", "/api/v1/statements/key".into(), [200; 6]),
        (
            "GET",
            "/api/v1/pulls".into(),
            [401, 403, 403, 403, 403, 403],
        ),
        (
            "GET",
            "/api/v1/usage".into(),
            [401, 403, 403, 403, 403, 403],
        ),
        (
            "GET",
            "/api/v1/usage?namespace=m/x".into(),
            [401, 403, 403, 200, 403, 403],
        ),
        (
            "GET",
            "/api/v1/usage?namespace=m".into(),
            [401, 403, 403, 403, 403, 403],
        ),
        ("POST", "/api/v1/gc".into(), [401, 403, 403, 403, 403, 403]),
        (
            "POST",
            "/api/v1/gc?dry_run=true".into(),
            [401, 403, 403, 403, 403, 403],
        ),
        (
            "POST",
            "/api/v1/scrub".into(),
            [401, 403, 403, 403, 403, 403],
        ),
        (
            "GET",
            "/token?service=sealstone".into(),
            [401, 200, 200, 200, 200, 200],
        ),
        ("GET", "/livez".into(), [200; 6]),
        ("GET", "/readyz".into(), [200; 6]),
    ];
    let mut wrong = Vec::new();
    for (method, path, expected) in &table {
        for (who, expected) in people.iter().zip(expected) {
            let request =
                registry.request(who, Method::from_bytes(method.as_bytes()).unwrap(), path);
            let request = match *method {
                "PUT" if path.contains("manifests") => request
                    .header("content-type", MANIFEST)
                    .body(image.manifest.clone()),
                // Not what the digests above say, and no JSON of the API's: the answer must not depend on it.
                "POST" | "PUT" | "PATCH" => request.body("y"),
                _ => request,
            };
            let status = send(request).await.status;
            if status != *expected {
                let name = if who.name.is_empty() {
                    "nobody"
                } else {
                    &who.name
                };
                wrong.push(format!(
                    "{method} {path} by {name}: {status}, not {expected}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Nothing of all this has changed anything, but that the tagger has tagged.
    assert_eq!(
        get(&registry, admin, "/v2/m/x/tags/list").await.json()["tags"],
        json!(["v1", "v2", "v3"])
    );
    assert_eq!(
        get(&registry, &people[1], &at(format!("blobs/{layer}")))
            .await
            .expect(200)
            .body,
        image.blob
    );
}
