//! Requests written byte by byte, for clients that stop in the middle.

use sealstone_tests::registry::{TestRegistry, User};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// A connection on which the test writes what it likes.
pub(crate) struct Raw(pub(crate) TcpStream);

impl Raw {
    pub(crate) fn connect(registry: &TestRegistry) -> Raw {
        let stream = TcpStream::connect(registry.address()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        Raw(stream)
    }

    /// Sends a request's head that announces `len` bytes of body.
    pub(crate) fn head(
        registry: &TestRegistry,
        who: &User,
        method: &str,
        path: &str,
        len: usize,
    ) -> Raw {
        let mut raw = Raw::connect(registry);
        raw.send(Raw::head_of(registry, who, method, path, len));
        raw
    }

    /// A request's head that announces `len` bytes of body.
    pub(crate) fn head_of(
        registry: &TestRegistry,
        who: &User,
        method: &str,
        path: &str,
        len: usize,
    ) -> String {
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\nContent-Type: application/octet-stream\r\nContent-Length: {len}\r\n\r\n",
            registry.address(),
            who.basic(),
        )
    }

    /// Reads one answer to its end: its status, and whether the server ends the connection after it.
    pub(crate) fn answer(&mut self) -> (u16, bool) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let header = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(':'));
            lines
                .find(|(known, _)| *known == name)
                .map(|(_, value)| value.trim())
        };
        let len = header("content-length").map_or(0, |len| len.parse().unwrap());
        self.0.read_exact(&mut vec![0; len]).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, header("connection") == Some("close"))
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).unwrap();
    }

    /// Everything until the server closes.
    pub(crate) fn rest(mut self) -> String {
        let mut all = Vec::new();
        // A reset after the last byte is an end as well.
        let _ = self.0.read_to_end(&mut all);
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Whether the server closes, possibly after an answer, within `patience`.
    pub(crate) fn closes_within(mut self, patience: Duration) -> bool {
        self.0.set_read_timeout(Some(patience)).unwrap();
        let mut all = Vec::new();
        match self.0.read_to_end(&mut all) {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}
