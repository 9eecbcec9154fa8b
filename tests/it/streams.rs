//! HTTP/2: frame by frame, with readers that keep their window shut and peers that ask for nothing, and as clients speak it.

use crate::content::*;
use sealstone_spec::digest::Digest;
use sealstone_tests::registry::{Setup, TestRegistry, User};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Types of frames, RFC 9113, section 6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
/// Flags: of DATA and HEADERS, that it is the last frame of its stream and that the head is whole; of SETTINGS and PING, ACK.
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
/// Why the server resets a stream that it gives up.
const CANCEL: [u8; 4] = [0, 0, 0, 8];

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

/// A connection that speaks HTTP/2 as little as it must.
struct Frames {
    stream: TcpStream,
    received: Vec<u8>,
    closed: bool,
}

impl Frames {
    /// Every stream begins with a window of so many bytes, the connection with all that there can be.
    fn connect(registry: &TestRegistry, window: u32) -> Frames {
        let stream = TcpStream::connect(registry.address()).unwrap();
        let wait = Some(Duration::from_millis(50));
        stream.set_read_timeout(wait).unwrap();
        let mut frames = Frames {
            stream,
            received: Vec::new(),
            closed: false,
        };
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        frames.stream.write_all(preface).unwrap();
        // SETTINGS_INITIAL_WINDOW_SIZE.
        let settings = [&[0_u8, 4][..], &window.to_be_bytes()].concat();
        frames.send(SETTINGS, 0, 0, &settings);
        frames.open_window(0, (1 << 31) - 1 - 65_535);
        frames
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = len[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.stream.write_all(&frame).unwrap();
    }

    fn open_window(&mut self, stream: u32, bytes: u32) {
        self.send(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes());
    }

    /// A request's head; `flags` say whether a body follows.
    fn head(&mut self, stream: u32, flags: u8, method: &str, path: &str, who: &User) {
        let basic = who.basic();
        let mut block = Vec::new();
        for (name, value) in [
            (":method", method),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("authorization", basic.as_str()),
        ] {
            // Literal, not indexed, with a new name: RFC 7541, section 6.2.2. Lengths below 127 are one byte.
            block.push(0);
            for text in [name, value] {
                assert!(text.len() < 127);
                block.push(text.len() as u8);
                block.extend(text.as_bytes());
            }
        }
        self.send(HEADERS, flags | END_HEADERS, stream, &block);
    }

    /// The next frame, if one comes in time. Pings and settings are acknowledged as they come.
    fn next(&mut self, deadline: Instant) -> Option<Frame> {
        loop {
            if let Some(frame) = self.take() {
                let is_due = frame.flags & ACK == 0;
                match frame.kind {
                    PING if is_due => self.acknowledge(PING, &frame.payload),
                    SETTINGS if is_due => self.acknowledge(SETTINGS, &[]),
                    _ => {}
                }
                return Some(frame);
            }
            if self.closed || Instant::now() >= deadline {
                return None;
            }
            let mut buffer = [0; 65_536];
            match self.stream.read(&mut buffer) {
                Ok(0) => self.closed = true,
                Ok(len) => self.received.extend(&buffer[..len]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => self.closed = true,
            }
        }
    }

    /// The server may have closed meanwhile.
    fn acknowledge(&mut self, kind: u8, payload: &[u8]) {
        let len = payload.len() as u8;
        let head = [0, 0, len, kind, ACK, 0, 0, 0, 0];
        let _ = self.stream.write_all(&[&head[..], payload].concat());
    }

    fn take(&mut self) -> Option<Frame> {
        let head = self.received.get(..9)?;
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let payload = self.received.get(9..9 + len)?.to_vec();
        self.received.drain(..9 + len);
        Some(Frame {
            kind,
            flags,
            stream,
            payload,
        })
    }

    /// Waits for the first frame that `wanted` takes, and returns those before it and it.
    fn until(&mut self, patience: Duration, wanted: impl Fn(&Frame) -> bool) -> Vec<Frame> {
        let deadline = Instant::now() + patience;
        let mut found = Vec::new();
        while let Some(frame) = self.next(deadline) {
            let is_last = wanted(&frame);
            found.push(frame);
            if is_last {
                return found;
            }
        }
        let kinds: Vec<(u8, u32)> = found
            .iter()
            .map(|frame| (frame.kind, frame.stream))
            .collect();
        panic!("it did not come, but {kinds:?}, closed: {}", self.closed);
    }
}

fn bytes_in(frames: &[Frame], stream: u32) -> usize {
    let data = frames
        .iter()
        .filter(|frame| frame.kind == DATA && frame.stream == stream);
    data.map(|frame| frame.payload.len()).sum()
}

async fn patient(server: &str) -> TestRegistry {
    Setup {
        server: server.into(),
        ..Setup::default()
    }
    .start()
    .await
    .unwrap()
}

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_takes_is_given_up_and_the_others_go_on() {
    let registry = patient("idle_timeout_seconds = 4\n").await;
    let admin = registry.admin.clone();
    let large = bytes(4 * MIB);
    let middle = bytes(100 * KIB);
    let large = push_blob(&registry, &admin, "a", &large).await;
    let len = middle.len();
    let middle = push_blob(&registry, &admin, "a", &middle).await;
    let path = |digest: &Digest| format!("/v2/a/blobs/{digest}");
    let (large, middle) = (path(&large), path(&middle));
    tokio::task::spawn_blocking(move || {
        // None of it, or all but the end.
        for (path, taken) in [(large, 0), (middle, len - 10)] {
            let mut frames = Frames::connect(&registry, taken as u32);
            for stream in [1, 3, 5, 7] {
                frames.head(stream, END_STREAM, "GET", &path, &admin);
            }
            let mut seen = Vec::new();
            for _ in 0..4 {
                seen.extend(frames.until(PATIENCE, |frame| frame.kind == RST_STREAM));
            }
            for frame in seen.iter().filter(|frame| frame.kind == RST_STREAM) {
                assert_eq!(frame.payload, CANCEL);
                assert_eq!(bytes_in(&seen, frame.stream), taken);
            }
            // Only they are gone: the connection is there for others.
            frames.head(9, END_STREAM, "HEAD", "/livez", &User::nobody());
            let answered = frames.until(PATIENCE, |frame| frame.kind == HEADERS);
            let last = answered.last().unwrap();
            assert_eq!((last.stream, last.flags & END_STREAM), (9, END_STREAM));
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_taken_slowly_is_sent_to_its_end() {
    let registry = patient("idle_timeout_seconds = 6\n").await;
    let admin = registry.admin.clone();
    let blob = bytes(2 * MIB);
    let digest = push_blob(&registry, &admin, "a", &blob).await;
    let path = format!("/v2/a/blobs/{digest}");
    tokio::task::spawn_blocking(move || {
        let mut frames = Frames::connect(&registry, 65_535);
        frames.head(1, END_STREAM, "GET", &path, &admin);
        let (mut seen, started) = (Vec::new(), Instant::now());
        // Each of the waits is shorter than the limit, and all of them longer.
        while bytes_in(&seen, 1) < blob.len() {
            let deadline = Instant::now() + Duration::from_millis(600);
            while let Some(frame) = frames.next(deadline) {
                assert_ne!(frame.kind, RST_STREAM);
                seen.push(frame);
            }
            assert!(!frames.closed && started.elapsed() < PATIENCE);
            frames.open_window(1, 128 * 1024);
        }
        let is_last = |frame: &Frame| frame.kind == DATA && frame.flags & END_STREAM != 0;
        if !seen.iter().any(is_last) {
            frames.until(PATIENCE, is_last);
        }
        let data = seen.iter().filter(|frame| frame.kind == DATA);
        let body: Vec<u8> = data.flat_map(|frame| frame.payload.clone()).collect();
        assert!(body == blob);
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_on_which_nothing_is_asked_is_closed() {
    let registry = patient("head_timeout_seconds = 3\n").await;
    let admin = registry.admin.clone();
    tokio::task::spawn_blocking(move || {
        // Pings are answered only while somebody reads, so one after the other.
        let closes = |mut frames: Frames| {
            frames.until(PATIENCE, |frame| frame.kind == GOAWAY);
            let deadline = Instant::now() + PATIENCE;
            while frames.next(deadline).is_some() {}
            assert!(frames.closed, "it stays open");
        };
        closes(Frames::connect(&registry, 65_535));
        let mut asked = Frames::connect(&registry, 65_535);
        asked.head(1, END_STREAM, "GET", "/livez", &User::nobody());
        asked.until(PATIENCE, |frame| frame.kind == HEADERS);
        closes(asked);
        // A request that goes on for longer than that.
        let mut busy = Frames::connect(&registry, 65_535);
        let digest = Digest::sha256(b"slowly");
        let path = format!("/v2/a/blobs/uploads/?digest={digest}");
        busy.head(1, 0, "POST", &path, &admin);
        for byte in b"slowly" {
            busy.send(DATA, 0, 1, &[*byte]);
            let deadline = Instant::now() + Duration::from_millis(600);
            while let Some(frame) = busy.next(deadline) {
                assert!(![GOAWAY, RST_STREAM].contains(&frame.kind));
            }
        }
        busy.send(DATA, END_STREAM, 1, &[]);
        busy.until(PATIENCE, |frame| frame.kind == HEADERS);
        closes(busy);
    })
    .await
    .unwrap();
}

/// A client that speaks nothing else.
fn client() -> reqwest::Client {
    let client = reqwest::Client::builder()
        .no_proxy()
        .http2_prior_knowledge();
    client.build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_and_manifests_come_whole() {
    let registry = Setup::default().start().await.unwrap();
    let admin = registry.admin.clone();
    let client = client();
    let mut pulls = tokio::task::JoinSet::new();
    for len in [0, 1, 64 * KIB, 64 * KIB + 1, 512 * KIB, 5 * MIB + 3] {
        let blob = bytes(len);
        let digest = push_blob(&registry, &admin, "a", &blob).await;
        let url = registry.url(&format!("/v2/a/blobs/{digest}"));
        let pull = client.get(url).basic_auth(&admin.name, Some(&admin.secret));
        pulls.spawn(async move {
            let answer = send(pull).await.expect(200);
            assert_eq!(answer.header("content-length"), blob.len().to_string());
            assert!(answer.body == blob, "{len} bytes");
        });
    }
    pulls.join_all().await;
    let image = push_image(&registry, &admin, "a", Some("v1"), 10).await;
    let url = registry.url("/v2/a/manifests/v1");
    let pull = client.get(url).basic_auth(&admin.name, Some(&admin.secret));
    assert_eq!(send(pull).await.expect(200).body, image.manifest);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_token_that_is_issued_is_taken() {
    let registry = Setup::default().start().await.unwrap();
    let scopes: String = (0..60)
        .map(|number| format!("&scope=repository:m/{}{number:02}:pull", "a".repeat(200)))
        .collect();
    let path = format!("/token?service=sealstone{scopes}");
    let token = get(&registry, &registry.admin, &path).await.expect(200);
    let token = token.json()["token"].as_str().unwrap().to_owned();
    assert!(token.len() > 16 * KIB, "{}", token.len());
    let ping = client().get(registry.url("/v2/")).bearer_auth(token);
    send(ping).await.expect(200);
}
