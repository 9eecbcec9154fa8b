//! A real server process on its own directory, for tests that break it.
//!
//! Owns: starting, killing and restarting the binary on the same data, and requests in somebody's name.
//! Does not own: what is right; every answer goes to the test as it came.
//! Invariant: only processes that this module started are ever signalled, and each ends with its value.

use crate::ports::free_address;
use crate::signals;
use anyhow::{Context as _, bail, ensure};
use reqwest::{Method, RequestBuilder};
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// How long a start or an end may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// How a server is set up. Every text is TOML of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Lines of `[server]`.
    pub server: String,
    /// Lines of `[collect]`.
    pub collect: String,
    /// Bytes of the disk that stay free.
    pub reserve_bytes: u64,
    /// `[[access]]` tables.
    pub access: String,
    /// `[[quota]]` tables.
    pub quota: String,
    /// The whole policy; none if empty.
    pub policy: String,
    /// Program and arguments that run the server, for limits.
    pub wrapper: Vec<String>,
    /// Where the data lie; below the temporary directory if `None`.
    pub data: Option<PathBuf>,
}

/// Somebody with a name and a secret. An empty name is nobody: no credentials are sent.
#[derive(Clone, Debug)]
pub struct User {
    /// The account's name.
    pub name: String,
    /// Its secret.
    pub secret: String,
}

impl User {
    /// Sends no credentials.
    pub fn nobody() -> User {
        User {
            name: String::new(),
            secret: String::new(),
        }
    }

    /// The value of an Authorization header.
    pub fn basic(&self) -> String {
        let pair = format!("{}:{}", self.name, self.secret);
        format!("Basic {}", data_encoding::BASE64.encode(pair.as_bytes()))
    }
}

/// A server that runs, or that was stopped and can run again.
#[derive(Debug)]
pub struct TestRegistry {
    directory: tempfile::TempDir,
    setup: Setup,
    address: SocketAddr,
    process: Option<Child>,
    /// The first administrator.
    pub admin: User,
    /// Sends requests; certificates are not checked.
    pub http: reqwest::Client,
}

/// The folder of the binaries: beside the test's own, or `SEALSTONE_BIN_DIR`.
///
/// # Errors
/// If neither is there.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let directory = match std::env::var_os("SEALSTONE_BIN_DIR") {
        Some(directory) => PathBuf::from(directory),
        None => {
            let own = std::env::current_exe()?;
            let deps = own.parent().context("test has no directory")?;
            deps.parent().context("test has no directory")?.to_owned()
        }
    };
    let path = directory.join(name);
    ensure!(
        path.is_file(),
        "{} is missing: run cargo build --workspace --bins first",
        path.display()
    );
    Ok(path)
}

impl Setup {
    /// Starts a server on an empty directory.
    ///
    /// # Errors
    /// If it does not come up.
    pub async fn start(self) -> anyhow::Result<TestRegistry> {
        let directory = tempfile::tempdir()?;
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_danger_accept_invalid_certs(true)
            .pool_max_idle_per_host(0)
            .build()?;
        let mut registry = TestRegistry {
            directory,
            setup: self,
            address: free_address()?,
            process: None,
            admin: User {
                name: "admin".into(),
                secret: String::new(),
            },
            http,
        };
        let mut attempts = 0;
        while let Err(error) = registry.start().await {
            // Between finding a free port and listening on it somebody else may take it.
            attempts += 1;
            if attempts == 3 || !error.to_string().contains("in use") {
                return Err(error);
            }
            registry.address = free_address()?;
        }
        let out = std::fs::read_to_string(registry.directory.path().join("stdout"))?;
        let secret = out
            .lines()
            .find_map(|line| line.trim().strip_prefix("secret: "))
            .with_context(|| format!("no secret on standard output: {out:?}"))?;
        registry.admin.secret = secret.trim().to_owned();
        Ok(registry)
    }
}

impl TestRegistry {
    /// Starts the server, again if it ran before.
    ///
    /// # Errors
    /// If it ends, or does not answer in time; the error holds its log.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        ensure!(self.process.is_none(), "the server runs already");
        self.write_configuration()?;
        // What earlier starts have said is not this one's word.
        let said = std::fs::metadata(self.log_path()).map_or(0, |found| found.len());
        let mut command = self.command(&["serve"])?;
        let log = File::options()
            .append(true)
            .create(true)
            .open(self.log_path())?;
        let out = File::options()
            .append(true)
            .create(true)
            .open(self.directory.path().join("stdout"))?;
        self.process = Some(
            command
                .stdin(Stdio::null())
                .stdout(out)
                .stderr(log)
                .spawn()?,
        );
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(process) = &mut self.process
                && let Some(status) = process.try_wait()?
            {
                self.process = None;
                bail!("the server ended with {status}:\n{}", self.log());
            }
            // Whoever has the port instead would answer as well.
            if self.serves(said)
                && let Ok(answer) = self.http.get(self.url("/livez")).send().await
                && answer.status().is_success()
            {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "the server does not answer:\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// Ends the server as a power cut would: SIGKILL.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// Kills and starts again.
    ///
    /// # Errors
    /// If it does not come up again.
    pub async fn crash(&mut self) -> anyhow::Result<()> {
        self.kill()?;
        self.start().await
    }

    /// Asks the server to read its certificate again: SIGHUP.
    ///
    /// # Errors
    /// If it does not run.
    pub fn hang_up(&self) -> anyhow::Result<()> {
        let process = self.process.as_ref().context("the server does not run")?;
        Ok(signals::send(process, libc::SIGHUP)?)
    }

    /// Asks the server to end: SIGTERM.
    ///
    /// # Errors
    /// If it does not run.
    pub fn terminate(&self) -> anyhow::Result<()> {
        let process = self.process.as_ref().context("the server does not run")?;
        Ok(signals::send(process, libc::SIGTERM)?)
    }

    /// Waits until the server has ended by itself.
    ///
    /// # Errors
    /// If it does not.
    pub async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + PATIENCE;
        let process = self.process.as_mut().context("the server does not run")?;
        loop {
            if let Some(status) = process.try_wait()? {
                self.process = None;
                return Ok(status);
            }
            ensure!(Instant::now() < deadline, "the server does not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Runs another command of the server's program on the same data, to its end.
    ///
    /// # Errors
    /// If it cannot be run.
    pub fn run(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        Ok(self.command(arguments)?.stdin(Stdio::null()).output()?)
    }

    fn command(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        let program = binary("sealstone-registry")?;
        let mut command = match self.setup.wrapper.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
            None => Command::new(program),
        };
        command
            .args(arguments)
            .arg("--config")
            .arg(self.directory.path().join("sealstone.toml"))
            // The witnesses that it asks are on this machine.
            .env("NO_PROXY", "127.0.0.1");
        Ok(command)
    }

    fn write_configuration(&self) -> anyhow::Result<()> {
        let Setup {
            server,
            collect,
            reserve_bytes,
            access,
            quota,
            policy,
            ..
        } = &self.setup;
        let directory = self.directory.path();
        let mut text = String::new();
        if !policy.is_empty() {
            std::fs::write(directory.join("policy.toml"), policy)?;
            text.push_str("policy = \"policy.toml\"\n");
        }
        let data = self.data().display().to_string();
        text.push_str(&format!(
            "[server]\nlisten = \"{}\"\n{server}\n[storage]\npath = {data:?}\nreserve_bytes = {reserve_bytes}\n[collect]\n{collect}\n{access}\n{quota}\n",
            self.address
        ));
        std::fs::write(directory.join("sealstone.toml"), text)?;
        Ok(())
    }

    /// The set-up, to be changed before the next start.
    pub fn setup(&mut self) -> &mut Setup {
        &mut self.setup
    }

    /// A directory for the test's own files, beside the configuration.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.setup
            .data
            .clone()
            .unwrap_or_else(|| self.directory.path().join("data"))
    }

    /// Files below a folder of the data directory, sorted.
    pub fn files(&self, below: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.data().join(below)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                    Ok(_) => found.push(entry.path()),
                    Err(_) => {}
                }
            }
        }
        found.sort();
        found
    }

    /// Files of large blobs, sorted: without that which says whose they are.
    pub fn objects(&self) -> Vec<PathBuf> {
        let mut found = self.files("blobs");
        found.retain(|path| !path.ends_with(".store"));
        found
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("stderr")
    }

    /// The log of all starts.
    pub fn log(&self) -> String {
        std::fs::read(self.log_path())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Whether the server has said, after so many bytes of its log, that it listens.
    fn serves(&self, after: u64) -> bool {
        let log = std::fs::read(self.log_path()).unwrap_or_default();
        let new = usize::try_from(after)
            .ok()
            .and_then(|after| log.get(after..));
        new.is_some_and(|new| String::from_utf8_lossy(new).contains("serving on "))
    }

    /// The server's process, while it runs.
    pub fn process(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.setup.server.contains("tls_key") {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}{path}", self.address)
    }

    /// A request in somebody's name.
    pub fn request(&self, who: &User, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, self.url(path));
        if who.name.is_empty() {
            request
        } else {
            request.basic_auth(&who.name, Some(&who.secret))
        }
    }

    /// Makes an account: `kind` is `user` or `robot`.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn account(&self, name: &str, kind: &str) -> anyhow::Result<User> {
        let wanted = serde_json::json!({"name": name, "kind": kind});
        let answer = self
            .request(&self.admin, Method::POST, "/api/v1/accounts")
            .json(&wanted)
            .send()
            .await?;
        ensure!(
            answer.status() == 201,
            "account {name}: {}",
            answer.text().await?
        );
        let made: serde_json::Value = answer.json().await?;
        let secret = made["secret"].as_str().context("no secret in the answer")?;
        Ok(User {
            name: name.to_owned(),
            secret: secret.to_owned(),
        })
    }

    /// The value of a metric, summed over its labels that contain `label`.
    ///
    /// # Errors
    /// If metrics cannot be read.
    pub async fn metric(&self, name: &str, label: &str) -> anyhow::Result<f64> {
        let text = self
            .http
            .get(self.url("/metrics"))
            .send()
            .await?
            .text()
            .await?;
        let samples = text
            .lines()
            .filter(|line| line.starts_with(name) && line.contains(label));
        Ok(samples
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum())
    }
}

impl Drop for TestRegistry {
    fn drop(&mut self) {
        let _ = self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(30).collect();
            eprintln!(
                "last lines of the server's log, newest first:\n{}",
                tail.join("\n")
            );
        }
    }
}
