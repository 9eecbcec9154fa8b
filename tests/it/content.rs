//! Blobs and manifests for the tests, and the requests that carry them.

use reqwest::{Method, Response};
use sealstone_spec::digest::Digest;
use sealstone_tests::registry::{TestRegistry, User};
use serde_json::{Value, json};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const EMPTY: &str = "application/vnd.oci.empty.v1+json";
pub(crate) const KIB: usize = 1024;
pub(crate) const MIB: usize = 1024 * KIB;

/// Bytes that nobody has seen before, and that no two groups share.
pub(crate) fn bytes(len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new()
        .update(&rand::random::<[u8; 32]>())
        .finalize_xof()
        .fill(&mut out);
    out
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) async fn of(response: Response) -> Answer {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer {
            status,
            headers,
            body: response
                .bytes()
                .await
                .map(|bytes| bytes.to_vec())
                .unwrap_or_default(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The code of the first error.
    pub(crate) fn code(&self) -> String {
        self.json()["errors"][0]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    pub(crate) fn detail(&self) -> Value {
        self.json()["errors"][0]["detail"].clone()
    }

    /// Fails the test, with the answer's text, unless it has this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Answer {
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(600)]).into_owned();
        assert_eq!(self.status, status, "{text}");
        self
    }
}

pub(crate) async fn send(request: reqwest::RequestBuilder) -> Answer {
    Answer::of(request.send().await.unwrap()).await
}

pub(crate) async fn get(registry: &TestRegistry, who: &User, path: &str) -> Answer {
    send(registry.request(who, Method::GET, path)).await
}

pub(crate) async fn head(registry: &TestRegistry, who: &User, path: &str) -> Answer {
    send(registry.request(who, Method::HEAD, path)).await
}

pub(crate) async fn delete(registry: &TestRegistry, who: &User, path: &str) -> Answer {
    send(registry.request(who, Method::DELETE, path)).await
}

/// Pushes a blob in one request.
pub(crate) async fn push_blob(
    registry: &TestRegistry,
    who: &User,
    repo: &str,
    blob: &[u8],
) -> Digest {
    let digest = Digest::sha256(blob);
    let path = format!("/v2/{repo}/blobs/uploads/?digest={digest}");
    send(
        registry
            .request(who, Method::POST, &path)
            .body(blob.to_vec()),
    )
    .await
    .expect(201);
    digest
}

/// Begins an upload: its path.
pub(crate) async fn begin(registry: &TestRegistry, who: &User, repo: &str) -> String {
    let begun = send(registry.request(who, Method::POST, &format!("/v2/{repo}/blobs/uploads/")))
        .await
        .expect(202);
    begun.header("location").to_owned()
}

pub(crate) async fn patch(
    registry: &TestRegistry,
    who: &User,
    upload: &str,
    range: Option<(usize, usize)>,
    part: &[u8],
) -> Answer {
    let mut request = registry
        .request(who, Method::PATCH, upload)
        .header("content-type", "application/octet-stream");
    if let Some((first, last)) = range {
        request = request.header("content-range", format!("{first}-{last}"));
    }
    send(request.body(part.to_vec())).await
}

pub(crate) async fn finish(
    registry: &TestRegistry,
    who: &User,
    upload: &str,
    digest: &Digest,
    rest: &[u8],
) -> Answer {
    let path = format!("{upload}?digest={digest}");
    send(
        registry
            .request(who, Method::PUT, &path)
            .body(rest.to_vec()),
    )
    .await
}

/// Bytes that an upload has, as its status says.
pub(crate) async fn received(registry: &TestRegistry, who: &User, upload: &str) -> u64 {
    let status = get(registry, who, upload).await.expect(204);
    let (_, last) = status.header("range").split_once('-').unwrap();
    // "0-0" says both none and one: https://github.com/opencontainers/distribution-spec, "Pushing a blob in chunks".
    match last.parse::<u64>().unwrap() {
        0 => 0,
        last => last + 1,
    }
}

pub(crate) fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::sha256(content), "size": content.len()})
}

/// A manifest over `{}` and the given layers.
pub(crate) fn manifest(layers: &[&[u8]]) -> Value {
    let layers: Vec<Value> = layers
        .iter()
        .map(|layer| descriptor("application/octet-stream", layer))
        .collect();
    json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/vnd.example.test",
        "config": descriptor(EMPTY, b"{}"), "layers": layers,
    })
}

pub(crate) async fn put_manifest(
    registry: &TestRegistry,
    who: &User,
    repo: &str,
    reference: &str,
    manifest: &[u8],
) -> Answer {
    let path = format!("/v2/{repo}/manifests/{reference}");
    let kind: Value = serde_json::from_slice(manifest).unwrap_or(Value::Null);
    let kind = kind["mediaType"].as_str().unwrap_or(MANIFEST).to_owned();
    send(
        registry
            .request(who, Method::PUT, &path)
            .header("content-type", kind)
            .body(manifest.to_vec()),
    )
    .await
}

/// Pushes `{}`, a new blob of `len` bytes and a manifest over both, under a tag or its digest.
pub(crate) async fn push_image(
    registry: &TestRegistry,
    who: &User,
    repo: &str,
    tag: Option<&str>,
    len: usize,
) -> Image {
    push_blob(registry, who, repo, b"{}").await;
    let blob = bytes(len);
    push_blob(registry, who, repo, &blob).await;
    let manifest = manifest(&[&blob]).to_string().into_bytes();
    let digest = Digest::sha256(&manifest);
    let reference = tag.map_or_else(|| digest.to_string(), ToOwned::to_owned);
    put_manifest(registry, who, repo, &reference, &manifest)
        .await
        .expect(201);
    Image {
        layer: Digest::sha256(&blob),
        blob,
        manifest,
        digest,
    }
}

/// What [`push_image`] pushed.
pub(crate) struct Image {
    pub(crate) blob: Vec<u8>,
    pub(crate) layer: Digest,
    pub(crate) manifest: Vec<u8>,
    pub(crate) digest: Digest,
}
