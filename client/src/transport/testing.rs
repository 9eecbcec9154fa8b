//! A registry for tests, in this process, that can be told to limp and to lie.
//!
//! Speaks as much HTTP/1.1 as this client does. Owns nothing outside of memory.

#![allow(clippy::unwrap_used)]

use super::{ConnectOptions, Patience, Registry, RegistryStore};
use crate::credentials::{Credential, Fixed};
use sealstone_spec::digest::Digest;
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::media;
use sealstone_spec::tree;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// How the registry misbehaves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quirks {
    /// So many of the next requests are answered with 503.
    pub(crate) busy: usize,
    /// So many of the next large bodies are cut after `cut_after` bytes, either way.
    pub(crate) cuts: usize,
    pub(crate) cut_after: usize,
    /// Large bodies are cut once so many bytes of them were sent in all.
    pub(crate) sends_at_most: Option<usize>,
    pub(crate) no_ranges: bool,
    pub(crate) no_tree: bool,
    /// The trees are of other content.
    pub(crate) lying_tree: bool,
    pub(crate) no_referrers: bool,
    /// The listing of referrers begins with an empty page. The next one is on this host (none: here), and is one for
    /// people, with this status.
    pub(crate) next_referrers: Option<(&'static str, u16)>,
    pub(crate) no_single_post: bool,
    /// So many of the next answers to what ends an upload are lost.
    pub(crate) lost_answers: usize,
    /// Where an upload goes on, before the path.
    pub(crate) uploads_at: &'static str,
    pub(crate) no_patch: bool,
    /// Bodies larger than this are refused with 413.
    pub(crate) largest_body: Option<usize>,
    /// Blobs are to be had at this address.
    pub(crate) redirect_blobs: Option<String>,
    /// Tokens are asked for; each one is good for so many requests.
    pub(crate) token_uses: Option<usize>,
    /// The token service that is named in place of the own one.
    pub(crate) token_service: Option<&'static str>,
    /// Tags per page.
    pub(crate) page: Option<usize>,
    /// A tag may not be made, for this detail.
    pub(crate) refuse_tags: Option<Value>,
    /// The manifest under this tag is not given out, for this detail.
    pub(crate) refuse_reads: Option<(String, Value)>,
    /// The answer to whatever is not the OCI interface.
    pub(crate) beside: Option<u16>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) quirks: Quirks,
    pub(crate) blobs: BTreeMap<(String, String), Vec<u8>>,
    pub(crate) manifests: BTreeMap<(String, String), (String, Vec<u8>)>,
    pub(crate) tags: BTreeMap<(String, String), String>,
    /// Sessions that are open.
    pub(crate) uploads: BTreeMap<String, Vec<u8>>,
    next_upload: usize,
    tokens: BTreeMap<String, usize>,
    next_token: usize,
    /// `METHOD path` of every request.
    pub(crate) log: Vec<String>,
    /// Values of Authorization, in the same order.
    pub(crate) authorizations: Vec<Option<String>>,
    /// Bytes of upload bodies received.
    pub(crate) received: usize,
    /// Bytes sent of large bodies.
    pub(crate) sent: usize,
    mounted: BTreeSet<String>,
}

/// The registry.
#[derive(Clone, Debug)]
pub(crate) struct FakeRegistry {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct Head {
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
}

struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    cut_after: Option<usize>,
}

impl Reply {
    fn new(status: u16) -> Reply {
        Reply {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            cut_after: None,
        }
    }

    fn with(mut self, name: &str, value: impl ToString) -> Reply {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    fn body(mut self, body: impl Into<Vec<u8>>) -> Reply {
        self.body = body.into();
        self
    }

    fn error(status: u16, code: &str, detail: Value) -> Reply {
        let body = json!({"errors": [{"code": code, "message": "no", "detail": detail}]});
        Reply::new(status)
            .with("Content-Type", "application/json")
            .body(body.to_string())
    }
}

impl FakeRegistry {
    pub(crate) async fn start(quirks: Quirks) -> FakeRegistry {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            quirks,
            ..State::default()
        }));
        let registry = FakeRegistry { address, state };
        let served = registry.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let served = served.clone();
                tokio::spawn(async move { served.serve(stream).await });
            }
        });
        registry
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Options that lose no time.
    pub(crate) fn options() -> ConnectOptions {
        ConnectOptions {
            credentials: Some(Arc::new(Fixed(None))),
            patience: Patience {
                attempts: 4,
                first_wait: Duration::from_millis(1),
                longest_wait: Duration::from_millis(4),
            },
            idle: Duration::from_secs(5),
            ..ConnectOptions::default()
        }
    }

    pub(crate) fn name(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn store(&self, repository: &str) -> RegistryStore {
        self.store_with(repository, &FakeRegistry::options())
    }

    pub(crate) fn store_as(&self, repository: &str, user: &str, secret: &str) -> RegistryStore {
        let credentials = Fixed(Some(Credential::basic(user, secret)));
        let options = ConnectOptions {
            credentials: Some(Arc::new(credentials)),
            ..FakeRegistry::options()
        };
        self.store_with(repository, &options)
    }

    fn store_with(&self, repository: &str, options: &ConnectOptions) -> RegistryStore {
        let registry = Registry::new(&self.name(), None, options).unwrap();
        RegistryStore::new(registry, repository.parse().unwrap())
    }

    pub(crate) fn put_blob(&self, repository: &str, content: &[u8]) -> Digest {
        let digest = Digest::sha256(content);
        self.state().blobs.insert(
            (repository.to_owned(), digest.to_string()),
            content.to_vec(),
        );
        digest
    }

    /// Changes what is stored under a digest.
    pub(crate) fn corrupt(
        &self,
        repository: &str,
        digest: &Digest,
        change: impl FnOnce(&mut Vec<u8>),
    ) {
        change(
            self.state()
                .blobs
                .get_mut(&(repository.to_owned(), digest.to_string()))
                .unwrap(),
        );
    }

    pub(crate) fn count(&self, prefix: &str) -> usize {
        self.state()
            .log
            .iter()
            .filter(|line| line.starts_with(prefix))
            .count()
    }

    async fn serve(&self, stream: TcpStream) -> Option<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let head = read_head(&mut stream).await?;
            let length: usize = head
                .headers
                .get("content-length")
                .and_then(|text| text.parse().ok())
                .unwrap_or(0);
            let cut = {
                let mut state = self.state();
                let is_upload = head.path.contains("/uploads/") && length > state.quirks.cut_after;
                let cuts = is_upload && state.quirks.cuts > 0;
                if cuts {
                    state.quirks.cuts -= 1;
                }
                cuts.then_some(state.quirks.cut_after)
            };
            let mut body = vec![0; cut.unwrap_or(length)];
            stream.read_exact(&mut body).await.ok()?;
            if cut.is_some() {
                // What came before the cut counts, as in a real registry.
                self.keep_part(&head, body);
                return None;
            }
            let reply = self.answer(&head, body);
            if self.is_lost(&head) {
                return None;
            }
            let mut text = format!("HTTP/1.1 {} X\r\n", reply.status);
            for (name, value) in &reply.headers {
                text.push_str(&format!("{name}: {value}\r\n"));
            }
            if !reply
                .headers
                .iter()
                .any(|(name, _)| name == "Content-Length")
            {
                text.push_str(&format!("Content-Length: {}\r\n", reply.body.len()));
            }
            text.push_str("\r\n");
            stream.write_all(text.as_bytes()).await.ok()?;
            if head.method != "HEAD" {
                let end = self.allowance(&reply);
                stream.write_all(&reply.body[..end]).await.ok()?;
                if end < reply.body.len() {
                    stream.flush().await.ok()?;
                    return None;
                }
            }
            stream.flush().await.ok()?;
        }
    }

    fn is_lost(&self, head: &Head) -> bool {
        let mut state = self.state();
        let left = &mut state.quirks.lost_answers;
        let is_lost = *left > 0 && head.method == "PUT" && head.path.contains("/uploads/");
        *left -= usize::from(is_lost);
        is_lost
    }

    /// How much of a body is sent.
    fn allowance(&self, reply: &Reply) -> usize {
        let length = reply.body.len();
        let mut end = reply.cut_after.unwrap_or(length).min(length);
        if length > 64 * 1024 {
            let mut state = self.state();
            if let Some(limit) = state.quirks.sends_at_most {
                end = end.min(limit.saturating_sub(state.sent));
            }
            state.sent += end;
        }
        end
    }

    fn keep_part(&self, head: &Head, body: Vec<u8>) {
        let mut state = self.state();
        state.log.push(format!("CUT {} {}", head.method, head.path));
        state.received += body.len();
        if let Some(upload) = state.uploads.get_mut(&head.path) {
            upload.extend(body);
        }
    }

    fn answer(&self, head: &Head, body: Vec<u8>) -> Reply {
        let mut guard = self.state();
        let state = &mut *guard;
        state.log.push(format!("{} {}", head.method, head.path));
        state
            .authorizations
            .push(head.headers.get("authorization").cloned());
        if head.path == "/token" {
            return token(state, head);
        }
        if state.quirks.busy > 0 {
            state.quirks.busy -= 1;
            return Reply::new(503).with("Retry-After", 0);
        }
        if let Some(uses) = state.quirks.token_uses {
            let sent = head
                .headers
                .get("authorization")
                .and_then(|value| value.strip_prefix("Bearer "));
            let is_good = sent.is_some_and(|token| match state.tokens.get_mut(token) {
                Some(left) if *left > 0 || uses == 0 => {
                    *left = left.saturating_sub(1);
                    true
                }
                _ => false,
            });
            if !is_good {
                let own = format!("http://{}/token", self.address);
                let realm = state.quirks.token_service.unwrap_or(&own);
                let challenge = format!("Bearer realm=\"{realm}\",service=\"fake\"");
                return Reply::error(401, "UNAUTHORIZED", Value::Null)
                    .with("WWW-Authenticate", challenge);
            }
        }
        if head.path == "/v2/" {
            return Reply::new(200);
        }
        if head.path == "/v2/_catalog" {
            let names: BTreeSet<&String> = state.manifests.keys().map(|(name, _)| name).collect();
            return Reply::new(200).body(json!({"repositories": names}).to_string());
        }
        let Some(rest) = head.path.strip_prefix("/v2/") else {
            return Reply::new(state.quirks.beside.unwrap_or(404));
        };
        for (mark, handle) in ROUTES {
            if let Some((name, rest)) = rest.split_once(mark) {
                return handle(state, head, name, rest, body);
            }
        }
        Reply::new(404)
    }
}

type Handler = fn(&mut State, &Head, &str, &str, Vec<u8>) -> Reply;

const ROUTES: [(&str, Handler); 6] = [
    ("/_sealstone/tree/", get_tree),
    ("/blobs/uploads/", upload),
    ("/blobs/", blob),
    ("/manifests/", manifest),
    ("/tags/list", tags),
    ("/referrers/", referrers),
];

async fn read_head(stream: &mut BufReader<TcpStream>) -> Option<Head> {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        text.push(stream.read_u8().await.ok()?);
    }
    let text = String::from_utf8(text).unwrap();
    let mut lines = text.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query = url::form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect();
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Some(Head {
        method,
        path: path.to_owned(),
        query,
        headers,
    })
}

fn token(state: &mut State, head: &Head) -> Reply {
    let wanted = format!("Basic {}", data_encoding::BASE64.encode(b"user:right"));
    match head.headers.get("authorization") {
        Some(sent) if *sent != wanted => Reply::error(401, "UNAUTHORIZED", Value::Null),
        _ => {
            state.next_token += 1;
            let token = format!("token{}", state.next_token);
            state
                .tokens
                .insert(token.clone(), state.quirks.token_uses.unwrap_or(0));
            Reply::new(200).body(json!({"token": token, "expires_in": 300}).to_string())
        }
    }
}

fn get_tree(state: &mut State, _: &Head, name: &str, digest: &str, _: Vec<u8>) -> Reply {
    let blob = state.blobs.get(&(name.to_owned(), digest.to_owned()));
    let Some(blob) = blob.filter(|_| !state.quirks.no_tree) else {
        return Reply::new(404);
    };
    let is_only = blob.len() <= tree::GROUP_BYTES;
    let mut values: Vec<[u8; 32]> = (0..)
        .zip(blob.chunks(tree::GROUP_BYTES))
        .map(|(index, group)| tree::group_value(index, group, is_only))
        .collect();
    if state.quirks.lying_tree {
        values[1][0] ^= 1;
    }
    Reply::new(200)
        .with("Sealstone-Group-Bytes", tree::GROUP_BYTES)
        .with(
            "Sealstone-Tree-Root",
            data_encoding::HEXLOWER.encode(&tree::root(&values)),
        )
        .body(values.concat())
}

fn blob(state: &mut State, head: &Head, name: &str, digest: &str, _: Vec<u8>) -> Reply {
    let Some(content) = state
        .blobs
        .get(&(name.to_owned(), digest.to_owned()))
        .cloned()
    else {
        return Reply::error(404, "BLOB_UNKNOWN", Value::Null);
    };
    if let (Some(host), "GET") = (&state.quirks.redirect_blobs, head.method.as_str()) {
        return Reply::new(307).with("Location", format!("{host}{}", head.path));
    }
    if head.method == "HEAD" {
        return Reply::new(200)
            .with("Content-Length", content.len())
            .with("Docker-Content-Digest", digest);
    }
    let range = head
        .headers
        .get("range")
        .and_then(|range| range.strip_prefix("bytes="));
    let mut reply = match range.filter(|_| !state.quirks.no_ranges) {
        None => Reply::new(200).body(content),
        Some(range) => {
            let (start, end) = range.split_once('-').unwrap();
            let start: usize = start.parse().unwrap();
            let end: usize = end
                .parse()
                .map_or(content.len(), |last: usize| (last + 1).min(content.len()));
            let total = content.len();
            Reply::new(206)
                .with(
                    "Content-Range",
                    format!("bytes {start}-{}/{total}", end - 1),
                )
                .body(&content[start..end])
        }
    };
    if state.quirks.cuts > 0 && reply.body.len() > state.quirks.cut_after {
        state.quirks.cuts -= 1;
        reply.cut_after = Some(state.quirks.cut_after);
    }
    reply
}

fn upload(state: &mut State, head: &Head, name: &str, id: &str, body: Vec<u8>) -> Reply {
    state.received += body.len();
    if state
        .quirks
        .largest_body
        .is_some_and(|limit| body.len() > limit)
    {
        return Reply::new(413);
    }
    let store = |state: &mut State, digest: &str, content: Vec<u8>| {
        if Digest::sha256(&content).to_string() != digest {
            return Reply::error(400, "DIGEST_INVALID", Value::Null);
        }
        state
            .blobs
            .insert((name.to_owned(), digest.to_owned()), content);
        Reply::new(201).with("Location", format!("/v2/{name}/blobs/{digest}"))
    };
    if id.is_empty() {
        if let (Some(digest), Some(from)) = (head.query.get("mount"), head.query.get("from"))
            && let Some(content) = state.blobs.get(&(from.clone(), digest.clone())).cloned()
        {
            state.mounted.insert(digest.clone());
            return store(state, digest, content);
        }
        if let Some(digest) = head.query.get("digest")
            && !state.quirks.no_single_post
        {
            return store(state, digest, body);
        }
        state.next_upload += 1;
        let path = format!("/v2/{name}/blobs/uploads/{}", state.next_upload);
        state.uploads.insert(path.clone(), Vec::new());
        let at = state.quirks.uploads_at;
        return Reply::new(202)
            .with("Location", format!("{at}{path}?_state=a%2Fb"))
            .with("Range", "0-0");
    }
    if head.query.get("_state").map(String::as_str) != Some("a/b") {
        return Reply::error(
            400,
            "BLOB_UPLOAD_INVALID",
            json!("the query of the Location was changed"),
        );
    }
    let Some(have) = state.uploads.get(&head.path).map(Vec::len) else {
        return Reply::error(404, "BLOB_UPLOAD_UNKNOWN", Value::Null);
    };
    let stands = |reply: Reply, have: usize| {
        reply
            .with("Location", format!("{}?_state=a%2Fb", head.path))
            .with("Range", format!("0-{}", have.saturating_sub(1)))
    };
    match head.method.as_str() {
        "GET" => stands(Reply::new(204), have),
        "DELETE" => {
            state.uploads.remove(&head.path);
            Reply::new(204)
        }
        "PATCH" if state.quirks.no_patch => Reply::new(405),
        "PATCH" => {
            let start = head
                .headers
                .get("content-range")
                .map(|range| range.split('-').next().unwrap().parse::<usize>().unwrap());
            if start.unwrap_or(0) != have {
                return stands(Reply::new(416), have);
            }
            let upload = state.uploads.get_mut(&head.path).unwrap();
            upload.extend(body);
            let have = upload.len();
            stands(Reply::new(202), have)
        }
        "PUT" => {
            let mut content = state.uploads.remove(&head.path).unwrap();
            content.extend(body);
            store(state, &head.query["digest"].clone(), content)
        }
        _ => Reply::new(405),
    }
}

fn manifest(state: &mut State, head: &Head, name: &str, reference: &str, body: Vec<u8>) -> Reply {
    let name = name.to_owned();
    if head.method == "PUT" {
        let digest = Digest::sha256(&body).to_string();
        let is_tag = !reference.contains(':');
        if is_tag && let Some(detail) = &state.quirks.refuse_tags {
            return Reply::error(403, "DENIED", detail.clone());
        }
        let media_type = head.headers["content-type"].clone();
        let document: Value = serde_json::from_slice(&body).unwrap();
        let subject = document["subject"]["digest"].as_str().map(str::to_owned);
        for layer in document["layers"].as_array().into_iter().flatten() {
            let blob = layer["digest"].as_str().unwrap().to_owned();
            if !state.blobs.contains_key(&(name.clone(), blob.clone())) {
                return Reply::error(404, "MANIFEST_BLOB_UNKNOWN", json!(blob));
            }
        }
        state
            .manifests
            .insert((name.clone(), digest.clone()), (media_type, body));
        if is_tag {
            state
                .tags
                .insert((name, reference.to_owned()), digest.clone());
        }
        let reply = Reply::new(201)
            .with("Docker-Content-Digest", &digest)
            .with("Location", "/x");
        return match subject {
            Some(subject) if !state.quirks.no_referrers => reply.with("OCI-Subject", subject),
            _ => reply,
        };
    }
    if let Some((tag, detail)) = &state.quirks.refuse_reads
        && tag == reference
    {
        return Reply::error(403, "DENIED", detail.clone());
    }
    let digest = match state.tags.get(&(name.clone(), reference.to_owned())) {
        Some(digest) => digest.clone(),
        None => reference.to_owned(),
    };
    match state.manifests.get(&(name, digest.clone())) {
        Some((media_type, body)) => Reply::new(200)
            .with("Content-Type", media_type)
            .with("Docker-Content-Digest", digest)
            .body(body.clone()),
        None => Reply::error(404, "MANIFEST_UNKNOWN", Value::Null),
    }
}

fn tags(state: &mut State, head: &Head, name: &str, _: &str, _: Vec<u8>) -> Reply {
    let last = head.query.get("last").cloned().unwrap_or_default();
    let all: Vec<&String> = state
        .tags
        .keys()
        .filter(|(place, tag)| place == name && *tag > last)
        .map(|(_, tag)| tag)
        .collect();
    let page = state.quirks.page.unwrap_or(all.len()).min(all.len());
    let reply = Reply::new(200).body(json!({"name": name, "tags": all[..page]}).to_string());
    if page < all.len() {
        return reply.with(
            "Link",
            format!(
                "</v2/{name}/tags/list?n=2&last={}>; rel=\"next\"",
                all[page - 1]
            ),
        );
    }
    reply
}

fn referrers(state: &mut State, head: &Head, name: &str, subject: &str, _: Vec<u8>) -> Reply {
    if state.quirks.no_referrers {
        return Reply::new(404);
    }
    if let Some((host, status)) = state.quirks.next_referrers {
        if head.query.contains_key("page") {
            return Reply::new(status)
                .with("Content-Type", "text/html")
                .body("<html>");
        }
        let next = format!("<{host}/v2/{name}/referrers/{subject}?page=2>; rel=\"next\"");
        let empty = json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": []});
        return Reply::new(200)
            .with("Content-Type", media::OCI_INDEX)
            .with("Link", next)
            .body(empty.to_string());
    }
    let mut found = Vec::new();
    for ((place, _), (media_type, body)) in &state.manifests {
        let manifest = VerifiedManifest::check(
            body.clone(),
            Some(media_type),
            None,
            sealstone_spec::digest::Algorithm::Sha256,
        );
        let Ok(manifest) = manifest else { continue };
        if place == name
            && manifest
                .subject()
                .is_some_and(|found| found.digest.to_string() == subject)
        {
            found.push(manifest.descriptor());
        }
    }
    let index = json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": found});
    Reply::new(200)
        .with("Content-Type", media::OCI_INDEX)
        .body(index.to_string())
}
