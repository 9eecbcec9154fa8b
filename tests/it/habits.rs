//! Habits of HTTP and of clients that the OCI suite does not ask for: conditions, headers, wishes that are
//! passed over. One table of requests; each row is a rule.

use crate::content::*;
use reqwest::Method;
use sealstone_tests::registry::{Setup, TestRegistry};

const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// What an answer must have in a header.
#[derive(Clone, Copy)]
enum Has<'a> {
    Exactly(&'a str),
    Something,
    Nothing,
}

struct Case<'a> {
    rule: &'a str,
    method: Method,
    path: &'a str,
    headers: Vec<(&'a str, &'a str)>,
    status: u16,
    has: Vec<(&'a str, Has<'a>)>,
    body: Option<&'a [u8]>,
}

fn reading<'a>(
    rule: &'a str,
    path: &'a str,
    headers: &[(&'a str, &'a str)],
    status: u16,
    has: &[(&'a str, Has<'a>)],
    body: &'a [u8],
) -> Case<'a> {
    Case {
        rule,
        method: Method::GET,
        path,
        headers: headers.to_vec(),
        status,
        has: has.to_vec(),
        body: Some(body),
    }
}

impl<'a> Case<'a> {
    fn by(self, method: Method) -> Case<'a> {
        Case { method, ..self }
    }

    fn whatever_the_body(self) -> Case<'a> {
        Case { body: None, ..self }
    }

    async fn check(&self, registry: &TestRegistry) {
        let mut request = registry.request(&registry.admin, self.method.clone(), self.path);
        for (name, value) in &self.headers {
            request = request.header(*name, *value);
        }
        let answer = send(request).await;
        let rule = self.rule;
        assert_eq!(answer.status, self.status, "{rule}");
        for (name, has) in &self.has {
            let found = answer.header(name);
            match has {
                Has::Exactly(value) => assert_eq!(found, *value, "{rule}: {name}"),
                Has::Something => assert!(!found.is_empty(), "{rule}: no {name}"),
                Has::Nothing => assert_eq!(found, "", "{rule}: {name}"),
            }
        }
        if let Some(body) = self.body {
            assert!(answer.body == body, "{rule}: another body");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_as_clients_expect() {
    use Has::{Exactly, Nothing, Something};
    let registry = Setup {
        server: "chunk_min_bytes = 1048576\n".into(),
        ..Setup::default()
    }
    .start()
    .await
    .unwrap();
    let image = push_image(&registry, &registry.admin, "a", Some("v1"), MIB).await;
    let (digest, layer) = (image.digest.to_string(), image.layer.to_string());
    let quoted = format!("\"{digest}\"");
    let weak = format!("\"sha256:0\", W/{quoted}");
    let (by_tag, by_digest) = ("/v2/a/manifests/v1", format!("/v2/a/manifests/{digest}"));
    let blob = format!("/v2/a/blobs/{layer}");
    let tree = format!("/v2/a/_sealstone/tree/{layer}");
    let (whole, etag) = (MIB.to_string(), format!("\"{layer}\""));
    let part = format!("bytes 100-199/{MIB}");
    let mirrored = |path: &str| format!("{path}?ns=docker.io");
    let (mirrored_manifest, mirrored_blob) = (mirrored(by_tag), mirrored(&blob));
    let length = image.manifest.len().to_string();
    let manifest: &[(&str, Has<'_>)] = &[
        ("content-type", Exactly(MANIFEST)),
        ("content-length", Exactly(&length)),
        ("docker-content-digest", Exactly(&digest)),
        ("etag", Exactly(&quoted)),
        ("docker-distribution-api-version", Exactly("registry/2.0")),
    ];
    let unchanged: &[(&str, Has<'_>)] = &[
        ("docker-content-digest", Exactly(&digest)),
        ("etag", Exactly(&quoted)),
    ];
    let all: &[(&str, Has<'_>)] = &[
        ("content-length", Exactly(&whole)),
        ("content-range", Nothing),
        ("content-encoding", Nothing),
        ("accept-ranges", Exactly("bytes")),
        ("etag", Exactly(&etag)),
    ];
    let session: &[(&str, Has<'_>)] = &[
        ("oci-chunk-min-length", Exactly("1048576")),
        ("docker-upload-uuid", Something),
        ("location", Something),
        ("range", Exactly("0-0")),
    ];
    let bytes: &[u8] = &image.manifest;
    let layer: &[u8] = &image.blob;
    let same = [("if-none-match", quoted.as_str())];
    let same_blob = [("if-none-match", etag.as_str())];
    let lines = [("if-none-match", "\"a\""), same[0]];
    let kept: &[(&str, Has<'_>)] = &[
        ("etag", Exactly(&etag)),
        ("cache-control", Something),
        ("content-range", Nothing),
    ];
    let same_part = [same_blob[0], ("range", "bytes=100-199")];
    let (begun, other) = (
        [("range", "bytes=100-199"), ("if-range", etag.as_str())],
        [("range", "bytes=100-199"), ("if-range", quoted.as_str())],
    );
    let accepts = [
        ("accept", DOCKER),
        ("accept", MANIFEST),
        ("accept", "*/*;q=0.1"),
    ];
    let encodings = [("accept-encoding", "zstd, gzip, identity")];
    let ranged = [
        ("content-range", Exactly(part.as_str())),
        ("content-length", Exactly("100")),
    ];
    let version = [("docker-distribution-api-version", Exactly("registry/2.0"))];
    let read_only = [("allow", Exactly("GET, HEAD"))];
    let json = [("content-type", Exactly("application/json"))];
    let cases = [
        reading(
            "a manifest that the client has is not sent again",
            by_tag,
            &same,
            304,
            unchanged,
            b"",
        ),
        reading("nor for HEAD", by_tag, &same, 304, unchanged, b"").by(Method::HEAD),
        reading("nor by digest", &by_digest, &same, 304, unchanged, b""),
        reading(
            "a list with a weak tag counts too",
            by_tag,
            &[("if-none-match", &weak)],
            304,
            unchanged,
            b"",
        ),
        reading(
            "and the star",
            by_tag,
            &[("if-none-match", "*")],
            304,
            unchanged,
            b"",
        ),
        reading(
            "nor one in the second of two lines",
            by_tag,
            &lines,
            304,
            unchanged,
            b"",
        ),
        reading(
            "a blob that the client has is not sent again",
            &blob,
            &same_blob,
            304,
            kept,
            b"",
        ),
        reading("nor for HEAD of it", &blob, &same_blob, 304, kept, b"").by(Method::HEAD),
        reading("nor a part of it", &blob, &same_part, 304, kept, b""),
        reading(
            "another tag does not",
            by_tag,
            &[("if-none-match", &etag)],
            200,
            manifest,
            bytes,
        ),
        reading("HEAD tells what GET would", by_tag, &[], 200, manifest, b"").by(Method::HEAD),
        reading(
            "what is stored is sent, whatever is accepted",
            by_tag,
            &accepts[..1],
            200,
            manifest,
            bytes,
        ),
        reading(
            "also by digest",
            &by_digest,
            &[("accept", INDEX)],
            200,
            manifest,
            bytes,
        ),
        reading(
            "lines of Accept are folded",
            by_tag,
            &accepts,
            200,
            manifest,
            bytes,
        ),
        reading(
            "the host that a mirror stands for is passed over",
            &mirrored_manifest,
            &[],
            200,
            manifest,
            bytes,
        ),
        reading("for blobs as well", &mirrored_blob, &[], 200, all, layer),
        reading(
            "a part of what the client has begun with",
            &blob,
            &begun,
            206,
            &ranged,
            &layer[100..200],
        ),
        reading(
            "all of it, if that was something else",
            &blob,
            &other,
            200,
            all,
            layer,
        ),
        reading(
            "a blob is never encoded",
            &blob,
            &encodings,
            200,
            all,
            layer,
        ),
        reading(
            "HEAD of a blob tells its size",
            &blob,
            &encodings,
            200,
            all,
            b"",
        )
        .by(Method::HEAD),
        reading(
            "an upload tells its session and the smallest chunk",
            "/v2/a/blobs/uploads/",
            &[("content-type", "application/json")],
            202,
            session,
            b"",
        )
        .by(Method::POST),
        reading(
            "a ping tells the version",
            "/v2/",
            &[],
            200,
            &version,
            b"{}",
        ),
        reading(
            "clients of OAuth2 are told to use the other form",
            "/token",
            &[],
            404,
            &version,
            b"",
        )
        .by(Method::POST)
        .whatever_the_body(),
        reading(
            "a method that is not possible is told which are",
            "/v2/a/tags/list",
            &[],
            405,
            &read_only,
            b"",
        )
        .by(Method::POST)
        .whatever_the_body(),
        reading(
            "also where nobody logs in",
            "/metrics",
            &[],
            405,
            &read_only,
            b"",
        )
        .by(Method::PUT)
        .whatever_the_body(),
        reading(
            "what is read can be asked for without its body",
            "/api/v1/whoami",
            &[],
            200,
            &json,
            b"",
        )
        .by(Method::HEAD),
        reading("a tree too", &tree, &[], 200, &version, b"").by(Method::HEAD),
        reading(
            "a path has one form",
            "/api/v1//api/v1/whoami",
            &[],
            404,
            &version,
            b"",
        )
        .whatever_the_body(),
        reading(
            "also of the log",
            "/api/v1/log//api/v1/log/key",
            &[],
            404,
            &version,
            b"",
        )
        .whatever_the_body(),
    ];
    for case in &cases {
        case.check(&registry).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_has_one_name_everywhere() {
    let registry = Setup::default().start().await.unwrap();
    let admin = &registry.admin;
    let path = "/v2/a/blobs/uploads/";
    let begun = send(registry.request(admin, Method::POST, path))
        .await
        .expect(202);
    let (upload, id) = (
        begun.header("location").to_owned(),
        begun.header("docker-upload-uuid").to_owned(),
    );
    assert_eq!(upload, format!("{path}{id}"));
    assert_eq!(
        begun.header("oci-chunk-min-length"),
        "",
        "nobody wishes for one"
    );
    // As skopeo and crane do: with a length and without a range.
    let sent = patch(&registry, admin, &upload, None, b"hello")
        .await
        .expect(202);
    let status = get(&registry, admin, &upload).await.expect(204);
    for answer in [&sent, &status] {
        assert_eq!(answer.header("docker-upload-uuid"), id);
        assert_eq!(answer.header("location"), upload);
        assert_eq!(answer.header("range"), "0-4");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_says_how_long_it_lasts() {
    let registry = Setup {
        access: "[auth]\ntoken_seconds = 77\n".into(),
        ..Setup::default()
    }
    .start()
    .await
    .unwrap();
    // What it is for, and none at all: a login.
    for query in ["?service=sealstone&scope=repository:a:pull", ""] {
        let answer = get(&registry, &registry.admin, &format!("/token{query}"))
            .await
            .expect(200);
        assert_eq!(answer.header("cache-control"), "no-store");
        let token = answer.json();
        assert_eq!(token["token"], token["access_token"]);
        assert_eq!(token["expires_in"], 77);
        let issued = token["issued_at"].as_str().unwrap();
        assert!(
            issued.len() >= 20 && issued.contains('T') && issued.ends_with('Z'),
            "{issued}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_guesses_is_told_to_wait() {
    let registry = Setup::default().start().await.unwrap();
    let mut statuses = Vec::new();
    for _ in 0..12 {
        let request = registry.http.get(registry.url("/v2/"));
        let answer = send(request.basic_auth("admin", Some("a wrong secret"))).await;
        if answer.status == 429 {
            let wait: u64 = answer.header("retry-after").parse().unwrap();
            assert!((1..=60).contains(&wait), "{wait}");
            assert_eq!(answer.code(), "TOOMANYREQUESTS");
        }
        statuses.push(answer.status);
    }
    assert_eq!(statuses[..10], [401; 10]);
    assert!(statuses[10..].contains(&429), "{statuses:?}");
}

/// How a login as the administrator is answered that a proxy passes on.
async fn login(registry: &TestRegistry, secret: &str, from: &str) -> u16 {
    let request = registry.http.get(registry.url("/v2/"));
    let request = request.header("x-forwarded-for", from);
    send(request.basic_auth("admin", Some(secret))).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_guesses_elsewhere_locks_nobody_out() {
    for (trusts, at_home) in [(true, 200), (false, 429)] {
        let registry = Setup {
            server: format!("trust_forwarded_for = {trusts}"),
            ..Setup::default()
        }
        .start()
        .await
        .unwrap();
        let right = registry.admin.secret.clone();
        // What a client says before the proxy counts for nothing.
        let (home, stranger) = ("192.0.2.2, 192.0.2.1", "192.0.2.1, 192.0.2.2");
        assert_eq!(login(&registry, &right, home).await, 200);
        let mut tried = 0;
        while login(&registry, "a wrong secret", stranger).await == 401 {
            tried += 1;
            assert!(tried < 40, "nobody is told to wait");
        }
        // It is remembered from a moment ago, which helps nobody who searches for it.
        assert_eq!(login(&registry, &right, stranger).await, 429);
        assert_eq!(login(&registry, &right, home).await, at_home);
    }
}
