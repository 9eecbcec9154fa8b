//! One kept-alive HTTP/1.1 connection, as little of the protocol as a registry's answers need.
//!
//! Does not follow redirects and knows no TLS. Invariant: after an answer's body was read to its end the connection
//! stands at the next answer, or has been dropped.

use crate::arguments::Arguments;
use anyhow::{Context, bail};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A server that says nothing for so long has failed; a durable commit of 64 GiB stays well below.
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) struct Connection {
    target: SocketAddr,
    authorization: Option<String>,
    stream: Option<BufReader<TcpStream>>,
    line: Vec<u8>,
}

/// Status and headers of an answer whose body has not been read.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) length: u64,
    pub(crate) location: Option<String>,
    chunked: bool,
    close: bool,
    bodiless: bool,
}

impl Connection {
    pub(crate) fn new(arguments: &Arguments) -> Connection {
        Connection {
            target: arguments.target,
            authorization: arguments.authorization.clone(),
            stream: None,
            line: Vec::new(),
        }
    }

    /// Sends a request whose whole body is at hand, and reads the answer's head.
    pub(crate) fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> anyhow::Result<Answer> {
        self.send_head(method, path, headers, body.len() as u64, body)?;
        self.answer(method)
    }

    /// Sends a request, reads and forgets the body, and demands one of the expected statuses.
    pub(crate) fn expect(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
        expected: &[u16],
    ) -> anyhow::Result<Answer> {
        let answer = self.send(method, path, headers, body)?;
        self.finish(method, path, answer, expected)
    }

    /// The same with a body of `length` bytes that `write` produces.
    pub(crate) fn stream(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        length: u64,
        write: impl FnOnce(&mut TcpStream) -> std::io::Result<()>,
        expected: &[u16],
    ) -> anyhow::Result<Answer> {
        self.send_head(method, path, headers, length, &[])?;
        let stream = self.stream.as_mut().context("the connection is gone")?;
        if let Err(error) = write(stream.get_mut()) {
            // The server may have answered and closed: its answer says more than a broken pipe.
            let answer = self
                .answer(method)
                .with_context(|| format!("{method} {path}: {error} while sending"))?;
            bail!(
                "{method} {path}: {error} while sending; the answer was {}",
                answer.status
            );
        }
        let answer = self.answer(method)?;
        self.finish(method, path, answer, expected)
    }

    fn finish(
        &mut self,
        method: &str,
        path: &str,
        answer: Answer,
        expected: &[u16],
    ) -> anyhow::Result<Answer> {
        let mut text = Vec::new();
        self.read_body(&answer, |bytes| {
            if text.len() < 500 {
                text.extend_from_slice(bytes);
            }
        })?;
        if !expected.contains(&answer.status) {
            bail!(
                "{method} {path}: status {} where {expected:?} was expected: {}",
                answer.status,
                String::from_utf8_lossy(&text)
            );
        }
        Ok(answer)
    }

    fn send_head(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        length: u64,
        body: &[u8],
    ) -> anyhow::Result<()> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.target);
        if let Some(value) = &self.authorization {
            head.push_str("Authorization: ");
            head.push_str(value);
            head.push_str("\r\n");
        }
        if !matches!(method, "GET" | "HEAD") {
            head.push_str(&format!("Content-Length: {length}\r\n"));
        }
        head.push_str(headers);
        head.push_str("\r\n");
        let mut message = head.into_bytes();
        message.extend_from_slice(body);
        if self.stream.is_none() {
            self.connect()?;
        }
        let stream = self.stream.as_mut().context("the connection is gone")?;
        stream
            .get_mut()
            .write_all(&message)
            .with_context(|| format!("{method} {path}"))
    }

    fn connect(&mut self) -> anyhow::Result<()> {
        let stream = TcpStream::connect(self.target)
            .with_context(|| format!("no connection to {}", self.target))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        self.stream = Some(BufReader::with_capacity(64 << 10, stream));
        Ok(())
    }

    fn answer(&mut self, method: &str) -> anyhow::Result<Answer> {
        let status: u16 = self
            .read_line()?
            .split(' ')
            .nth(1)
            .and_then(|word| word.parse().ok())
            .context("no status line")?;
        if status == 100 {
            while !self.read_line()?.is_empty() {}
            return self.answer(method);
        }
        let mut answer = Answer {
            status,
            bodiless: method == "HEAD" || matches!(status, 204 | 304),
            ..Answer::default()
        };
        let mut length = None;
        loop {
            let line = self.read_line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line
                .split_once(':')
                .with_context(|| format!("'{line}' is not a header"))?;
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = Some(value.parse::<u64>()?),
                "transfer-encoding" => answer.chunked = value.eq_ignore_ascii_case("chunked"),
                "connection" => answer.close = value.eq_ignore_ascii_case("close"),
                "location" => answer.location = Some(value.to_owned()),
                _ => {}
            }
        }
        if length.is_none() && !answer.chunked && !answer.bodiless {
            bail!("an answer of status {status} has neither Content-Length nor chunks");
        }
        answer.length = length.unwrap_or(0);
        Ok(answer)
    }

    /// Hands the body to `sink` piece by piece; answers how long it was.
    pub(crate) fn read_body(
        &mut self,
        answer: &Answer,
        mut sink: impl FnMut(&[u8]),
    ) -> anyhow::Result<u64> {
        let mut total = 0;
        if !answer.bodiless {
            if answer.chunked {
                loop {
                    let line = self.read_line()?;
                    let size = u64::from_str_radix(line.split(';').next().unwrap_or(""), 16)
                        .with_context(|| format!("'{line}' is not a chunk size"))?;
                    total += self.read_bytes(size, &mut sink)?;
                    self.read_line()?;
                    if size == 0 {
                        break;
                    }
                }
            } else {
                total = self.read_bytes(answer.length, &mut sink)?;
            }
        }
        if answer.close {
            self.stream = None;
        }
        Ok(total)
    }

    fn read_bytes(&mut self, length: u64, sink: &mut impl FnMut(&[u8])) -> anyhow::Result<u64> {
        let stream = self.stream.as_mut().context("the connection is gone")?;
        let mut buffer = vec![0; usize::try_from(length).unwrap_or(1 << 20).min(1 << 20)];
        let mut left = length;
        while left > 0 {
            let most = usize::try_from(left)
                .unwrap_or(buffer.len())
                .min(buffer.len());
            let size = stream.read(&mut buffer[..most])?;
            if size == 0 {
                bail!("the answer ended {left} bytes before its end");
            }
            sink(&buffer[..size]);
            left -= size as u64;
        }
        Ok(length)
    }

    fn read_line(&mut self) -> anyhow::Result<String> {
        let stream = self.stream.as_mut().context("the connection is gone")?;
        self.line.clear();
        stream.read_until(b'\n', &mut self.line)?;
        if self.line.is_empty() {
            bail!("the server closed the connection");
        }
        Ok(String::from_utf8_lossy(&self.line).trim_end().to_owned())
    }
}

/// The path and query of a Location, which may be absolute.
pub(crate) fn path_of(location: &str) -> &str {
    match location.find("://") {
        Some(at) => location[at + 3..]
            .find('/')
            .map_or("/", |slash| &location[at + 3 + slash..]),
        None => location,
    }
}

/// A Location with one more query parameter.
pub(crate) fn with_query(location: &str, parameter: &str) -> String {
    let path = path_of(location);
    format!(
        "{path}{}{parameter}",
        if path.contains('?') { '&' } else { '?' }
    )
}
