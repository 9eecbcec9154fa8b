//! Manifests that lie, and the exactness of those that do not.

use crate::content::*;
use reqwest::Method;
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_tests::registry::{Setup, TestRegistry};
use serde_json::{Value, json};

/// A registry whose repository `a` has `{}` and a blob of 100 bytes.
async fn ready() -> (TestRegistry, Vec<u8>) {
    let registry = Setup::default().start().await.unwrap();
    let blob = bytes(100);
    push_blob(&registry, &registry.admin, "a", b"{}").await;
    push_blob(&registry, &registry.admin, "a", &blob).await;
    (registry, blob)
}

#[track_caller]
fn refused(answer: &Answer, what: &str) {
    let text = String::from_utf8_lossy(&answer.body);
    assert!(
        (400..500).contains(&answer.status),
        "{what}: {} {text}",
        answer.status
    );
    assert!(!answer.code().is_empty(), "{what}: {text}");
}

async fn put(registry: &TestRegistry, manifest: &Value) -> Answer {
    put_manifest(
        registry,
        &registry.admin,
        "a",
        "t",
        manifest.to_string().as_bytes(),
    )
    .await
}

/// A ModelPack manifest whose files have these paths.
fn bundle(blob: &[u8], paths: &[&str]) -> Value {
    let layers: Vec<Value> = paths
        .iter()
        .map(|path| {
            let mut layer = descriptor("application/vnd.cncf.model.weight.v1.raw", blob);
            layer["annotations"] = json!({"org.cncf.model.filepath": path});
            layer
        })
        .collect();
    json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/vnd.cncf.model.manifest.v1+json",
        "config": descriptor("application/vnd.cncf.model.config.v1+json", b"{}"), "layers": layers,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_that_leave_the_bundle_are_refused() {
    let (registry, blob) = ready().await;
    for path in [
        "../x",
        "a/../../x",
        "/etc/passwd",
        "a//b",
        "./a",
        "a/.",
        "",
        "a\\..\\b",
        "C:\\x",
        "a\u{0}b",
        "a\nb",
        "..",
        "a/",
        "con",
        "a.",
    ] {
        refused(&put(&registry, &bundle(&blob, &[path])).await, path);
    }
    for paths in [
        &["a", "a"][..],
        &["Model.bin", "model.bin"],
        &["a", "a/b"],
        &["é", "e\u{301}"],
    ] {
        refused(
            &put(&registry, &bundle(&blob, paths)).await,
            &format!("{paths:?}"),
        );
    }
    assert_eq!(
        get(&registry, &registry.admin, "/v2/a/tags/list")
            .await
            .json()["tags"]
            .as_array()
            .map_or(0, Vec::len),
        0
    );
    put(&registry, &bundle(&blob, &["model.bin", "sub/other.bin"]))
        .await
        .expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_leave_the_directory_are_refused_whatever_the_manifest_is() {
    let (registry, blob) = ready().await;
    let image = |media_type: &str, annotation: &str, name: &str| {
        let mut image = manifest(&[&blob]);
        let mut layer = descriptor(media_type, &blob);
        layer["annotations"] = json!({annotation: name});
        image["config"] = descriptor("application/vnd.oci.empty.v1+json", b"{}");
        image["layers"] = json!([layer]);
        image
    };
    const PATH: &str = "org.cncf.model.filepath";
    const TITLE: &str = "org.opencontainers.image.title";
    const WEIGHT: &str = "application/vnd.cncf.model.weight.v1.raw";
    for media_type in [WEIGHT, "application/octet-stream"] {
        for annotation in [PATH, TITLE] {
            for name in ["../../x", "/etc/passwd", "a\\b", "a\u{0}b", "C:/x", ".."] {
                let answer = put(&registry, &image(media_type, annotation, name)).await;
                refused(&answer, &format!("{media_type} {annotation} {name:?}"));
                assert_eq!(answer.code(), "MANIFEST_INVALID");
            }
        }
    }
    // A layer of a model makes a bundle of it, so its path must be safe on every system.
    refused(&put(&registry, &image(WEIGHT, PATH, "con")).await, "con");
    let tags = get(&registry, &registry.admin, "/v2/a/tags/list").await;
    assert_eq!(tags.json()["tags"].as_array().map_or(0, Vec::len), 0);
    // Names as other tools give them.
    for (number, name) in ["hello.txt", "charts/x-1.0.0.tgz", "./notes: 1 (a..b).txt"]
        .into_iter()
        .enumerate()
    {
        let text = image("application/octet-stream", TITLE, name).to_string();
        let tag = format!("t{number}");
        put_manifest(&registry, &registry.admin, "a", &tag, text.as_bytes())
            .await
            .expect(201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_that_a_full_case_fold_makes_one_are_refused() {
    let (registry, blob) = ready().await;
    for paths in [["σ", "ς"], ["ß", "SS"]] {
        refused(
            &put(&registry, &bundle(&blob, &paths)).await,
            &format!("{paths:?}"),
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_fields_and_odd_spaces_are_kept_to_the_byte() {
    let (registry, blob) = ready().await;
    let mut value = manifest(&[&blob]);
    value["x-future"] = json!({"kept": [1, 2.50, null, "ü"]});
    let text = format!("\n {}\t\n", value.to_string().replace("2.5", "2.50"));
    put_manifest(&registry, &registry.admin, "a", "odd", text.as_bytes())
        .await
        .expect(201);
    let got = get(&registry, &registry.admin, "/v2/a/manifests/odd")
        .await
        .expect(200);
    assert_eq!(got.body, text.as_bytes());
    assert_eq!(
        got.header("docker-content-digest"),
        Digest::sha256(text.as_bytes()).to_string()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn json_that_two_readers_read_differently_is_refused() {
    let (registry, blob) = ready().await;
    let sound = manifest(&[&blob]).to_string();
    let other = descriptor("application/octet-stream", b"{}");
    let twice = [
        sound.replacen("{", &format!("{{\"layers\":[{other}],"), 1),
        sound.replacen(
            "\"digest\":",
            &format!("\"digest\":\"{}\",\"digest\":", Digest::sha256(b"{}")),
            1,
        ),
        sound.replacen("\"size\":", "\"si\\u007ae\":1,\"size\":", 1),
        format!("{sound}{sound}"),
        format!("\u{feff}{sound}"),
        sound.replacen("\"schemaVersion\":2", "\"schemaVersion\":NaN", 1),
        sound.replacen("\"schemaVersion\":2", "\"schemaVersion\":1", 1),
        sound[..sound.len() - 1].to_owned(),
        "null".into(),
        "[]".into(),
        "{}".into(),
        String::new(),
    ];
    for text in twice {
        let path = "/v2/a/manifests/t";
        let request = registry
            .request(&registry.admin, Method::PUT, path)
            .header("content-type", MANIFEST);
        refused(&send(request.body(text.clone())).await, &text);
    }
    let mut invalid = sound.into_bytes();
    invalid[20] = 0xff;
    refused(
        &put_manifest(&registry, &registry.admin, "a", "t", &invalid).await,
        "invalid UTF-8",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_deep_or_too_large_is_refused_quickly() {
    let (registry, blob) = ready().await;
    for depth in [200, 100_000] {
        let mut text = manifest(&[&blob]).to_string();
        text.pop();
        text.push_str(&format!(
            ",\"deep\":{}{}}}",
            "[".repeat(depth),
            "]".repeat(depth)
        ));
        refused(
            &put_manifest(&registry, &registry.admin, "a", "t", text.as_bytes()).await,
            "deep",
        );
    }
    let sized = |len: usize| {
        let mut value = manifest(&[&blob]);
        value["annotations"] = json!({"fill": ""});
        let rest = len - value.to_string().len();
        value["annotations"]["fill"] = "x".repeat(rest).into();
        value.to_string()
    };
    let most = 4 * MIB;
    put_manifest(
        &registry,
        &registry.admin,
        "a",
        "most",
        sized(most).as_bytes(),
    )
    .await
    .expect(201);
    let answer = put_manifest(
        &registry,
        &registry.admin,
        "a",
        "more",
        sized(most + 1).as_bytes(),
    )
    .await;
    refused(&answer.expect(413), "4 MiB and one byte");
    // Without an announced length too.
    let mut raw = crate::raw::Raw::connect(&registry);
    raw.send(format!(
        "PUT /v2/a/manifests/t HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\nContent-Type: {MANIFEST}\r\nTransfer-Encoding: chunked\r\n\r\n",
        registry.admin.basic()
    ));
    let answer = tokio::task::spawn_blocking(move || {
        let piece = format!("10000\r\n{}\r\n", " ".repeat(64 * KIB));
        // The server may close while the client still sends.
        while std::io::Write::write_all(&mut raw.0, piece.as_bytes()).is_ok() {}
        raw.rest()
    });
    let answer = answer.await.unwrap();
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 413"),
        "{answer}"
    );
    get(&registry, &registry.admin, "/v2/a/manifests/t")
        .await
        .expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn digests_of_one_algorithm_do_not_pass_for_another() {
    let (registry, blob) = ready().await;
    let admin = &registry.admin;
    let hex = Digest::sha256(&blob).hex();
    // As a BLAKE3 digest the hex of the SHA-256 is well formed, and names something else.
    get(&registry, admin, &format!("/v2/a/blobs/blake3:{hex}"))
        .await
        .expect(404);
    get(&registry, admin, &format!("/v2/a/blobs/sha512:{hex}"))
        .await
        .expect(400);
    get(
        &registry,
        admin,
        &format!("/v2/a/blobs/sha256:{}", hex.to_uppercase()),
    )
    .await
    .expect(400);
    get(&registry, admin, &format!("/v2/a/blobs/md5:{}", &hex[..32]))
        .await
        .expect(400);
    for claimed in [
        format!("blake3:{hex}"),
        format!("sha512:{hex}{hex}"),
        format!("sha512:{hex}"),
    ] {
        let push = registry.request(
            admin,
            Method::POST,
            &format!("/v2/a/blobs/uploads/?digest={claimed}"),
        );
        refused(&send(push.body(blob.clone())).await.expect(400), &claimed);
        let mut manifest = manifest(&[&blob]);
        manifest["layers"][0]["digest"] = claimed.clone().into();
        refused(&put(&registry, &manifest).await, &claimed);
    }
    // Of an algorithm that is not registered not even where nothing is stored (chapter 1.1).
    let unknown = format!("sha384:{}", "a".repeat(96));
    let foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
    for (place, media_type) in [("layer", foreign), ("subject", MANIFEST)] {
        let mut manifest = manifest(&[&blob]);
        let named = json!({"mediaType": media_type, "digest": unknown, "size": 5});
        match place {
            "layer" => manifest["layers"][0] = named,
            _ => manifest["subject"] = named,
        }
        let answer = put(&registry, &manifest).await.expect(400);
        assert_eq!(answer.code(), "MANIFEST_INVALID", "{place}");
    }
    let answer = get(&registry, admin, &format!("/v2/a/referrers/{unknown}")).await;
    assert_eq!(answer.expect(400).code(), "DIGEST_INVALID");
    let manifest = manifest(&[&blob]).to_string();
    let blake3 = Digest::of(Algorithm::Blake3, manifest.as_bytes());
    let confused = format!("blake3:{}", Digest::sha256(manifest.as_bytes()).hex());
    put_manifest(&registry, admin, "a", &confused, manifest.as_bytes())
        .await
        .expect(400);
    put_manifest(
        &registry,
        admin,
        "a",
        &blake3.to_string(),
        manifest.as_bytes(),
    )
    .await
    .expect(201);
    assert_eq!(
        get(&registry, admin, &format!("/v2/a/manifests/{blake3}"))
            .await
            .expect(200)
            .body,
        manifest.as_bytes()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_must_be_true() {
    let (registry, blob) = ready().await;
    for size in [
        json!(99),
        json!(101),
        json!(0),
        json!(-1),
        json!(1.5),
        json!("100"),
        json!(u64::MAX),
        Value::Null,
    ] {
        let mut manifest = manifest(&[&blob]);
        manifest["layers"][0]["size"] = size.clone();
        refused(&put(&registry, &manifest).await, &size.to_string());
    }
    let mut manifest = manifest(&[&blob]);
    manifest["config"]["size"] = 3.into();
    refused(&put(&registry, &manifest).await, "config");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_manifest_names_must_be_in_its_own_repository() {
    let (registry, blob) = ready().await;
    let admin = &registry.admin;
    let elsewhere = push_image(&registry, admin, "b", Some("v1"), 200).await;
    let answer = put(&registry, &manifest(&[&blob, &elsewhere.blob]))
        .await
        .expect(400);
    assert_eq!(answer.code(), "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(answer.detail()["blobs"], json!([elsewhere.layer]));
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(MANIFEST, &elsewhere.manifest)]});
    let answer = put(&registry, &index).await;
    refused(&answer, "child of another repository");
    assert_eq!(answer.detail()["manifests"], json!([elsewhere.digest]));
    // A manifest is no blob, and a blob is no manifest.
    let mut confused = manifest(&[&blob]);
    confused["layers"][0] = descriptor("application/octet-stream", &elsewhere.manifest);
    refused(
        &put_manifest(&registry, admin, "b", "t", confused.to_string().as_bytes()).await,
        "manifest as layer",
    );
    let index =
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(MANIFEST, &blob)]});
    refused(&put(&registry, &index).await, "blob as child");
    // Build caches are indexes over layers, which are blobs and say so; their sizes must be true too.
    let cache = |size: usize| {
        let mut layer = descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &blob);
        layer["size"] = size.into();
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [layer]})
    };
    refused(
        &put(&registry, &cache(101)).await,
        "wrong size of a layer in an index",
    );
    put(&registry, &cache(100)).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_speaks_of_its_own_repository_only() {
    let (registry, blob) = ready().await;
    let admin = &registry.admin;
    let other = push_image(&registry, admin, "b", Some("v1"), 50).await;
    let mut referrer = manifest(&[&blob]);
    referrer["subject"] = descriptor(MANIFEST, &other.manifest);
    let text = referrer.to_string();
    let digest = Digest::sha256(text.as_bytes());
    // A subject that is not here (yet) is allowed by the specification; it reaches no other repository.
    let answer = put_manifest(&registry, admin, "a", &digest.to_string(), text.as_bytes())
        .await
        .expect(201);
    assert_eq!(answer.header("oci-subject"), other.digest.to_string());
    let listed = get(
        &registry,
        admin,
        &format!("/v2/b/referrers/{}", other.digest),
    )
    .await
    .expect(200);
    assert_eq!(listed.json()["manifests"], json!([]));
    let listed = get(
        &registry,
        admin,
        &format!("/v2/a/referrers/{}", other.digest),
    )
    .await
    .expect(200);
    assert_eq!(listed.json()["manifests"][0]["digest"], digest.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_thing_is_not_read_as_another() {
    let (registry, blob) = ready().await;
    let sound = manifest(&[&blob]);
    let mut both = sound.clone();
    both["manifests"] = json!([]);
    refused(&put(&registry, &both).await, "layers and manifests");
    let typed = |content_type: &str, body: &Value| {
        let request = registry
            .request(&registry.admin, Method::PUT, "/v2/a/manifests/t")
            .header("content-type", content_type);
        request.body(body.to_string())
    };
    refused(&send(typed(INDEX, &sound)).await, "manifest sent as index");
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []});
    refused(
        &send(typed(MANIFEST, &index)).await,
        "index sent as manifest",
    );
    let mut lying = sound.clone();
    lying["mediaType"] = INDEX.into();
    refused(
        &send(typed(INDEX, &lying)).await,
        "layers under the type of an index",
    );
    send(typed(MANIFEST, &sound)).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_of_requests_name_one_thing_or_nothing() {
    let (registry, _) = ready().await;
    for path in [
        "/v2/a%2F..%2Fb/tags/list",
        "/v2/A/tags/list",
        "/v2/a/blobs/uploads/../../x",
        "/v2/a/manifests/..",
        "/v2/a/manifests/%00",
        "/v2/a/blobs/sha256:",
        "/v2/_catalog/x",
        "/v2/a/_sealstone/tree/x",
        "/v2/a//tags/list",
    ] {
        let mut raw = crate::raw::Raw::connect(&registry);
        raw.send(format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\nConnection: close\r\n\r\n",
            registry.admin.basic()
        ));
        let answer = tokio::task::spawn_blocking(move || raw.rest())
            .await
            .unwrap();
        assert!(answer.starts_with("HTTP/1.1 4"), "{path}: {answer}");
    }
}
