//! The configuration: one TOML file, every key also an environment variable.
//!
//! `SEALSTONE__SECTION__KEY` overrides `key` of `[section]`. A key that is not known is an error, with its
//! line. The commented reference is deploy/config/sealstone.toml; a test compares it with these defaults.

mod quotas;

use crate::auth::AccessRules;
use crate::metadata::Quota;
use crate::service::ReleaseStatements;
use sealstone_spec::log::{VerifierKey, is_key_name};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Everything that can be set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How clients reach the server.
    pub server: Server,
    /// Where everything is kept.
    pub storage: Storage,
    /// Who may log in, besides accounts in the store.
    pub auth: Auth,
    /// Path of the release policy (TOML); without one every repository is immutable and asks for no signature.
    pub policy: Option<PathBuf>,
    /// Garbage collection.
    pub collect: Collect,
    /// Reading everything to find damage early.
    pub scrub: Scrub,
    /// The transparency log.
    pub transparency: Transparency,
    /// What the registry signs itself.
    pub statements: Statements,
    /// What is logged, and how.
    pub log: Log,
    /// What namespaces may hold at most; without any, pushes are refused only where the disk is full.
    pub quota: Vec<Quota>,
    /// Who may do what.
    pub access: AccessRules,
}

/// How clients reach the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Address and port.
    pub listen: SocketAddr,
    /// URL under which clients reach the server, if it is behind a proxy.
    pub public_url: Option<String>,
    /// Certificate chain (PEM); with `tls_key`, connections are encrypted.
    pub tls_certificate: Option<PathBuf>,
    /// Private key of the certificate (PEM).
    pub tls_key: Option<PathBuf>,
    /// Lets other machines connect without encryption: for a proxy that encrypts, and nothing else.
    pub allow_plain_http: bool,
    /// Believes the last address of `X-Forwarded-For`, for the limit on wrong logins: where nobody but a proxy that sets it connects.
    pub trust_forwarded_for: bool,
    /// Connections at once, where the system lets the server open twice as many files, and 512.
    pub max_connections: usize,
    /// Longest wait for the head of a request, in seconds.
    pub head_timeout_seconds: u64,
    /// Longest wait for the next bytes of a body, either way, in seconds. There is no limit on the whole.
    pub idle_timeout_seconds: u64,
    /// How long a stopping server waits for requests to end before it cuts them, in seconds.
    pub drain_seconds: u64,
    /// Smallest chunk that clients are asked to send, in bytes; 0 for no wish.
    pub chunk_min_bytes: u64,
}

impl Default for Server {
    fn default() -> Self {
        Server {
            listen: SocketAddr::from(([127, 0, 0, 1], 5000)),
            public_url: None,
            tls_certificate: None,
            tls_key: None,
            allow_plain_http: false,
            trust_forwarded_for: false,
            max_connections: 4096,
            head_timeout_seconds: 30,
            idle_timeout_seconds: 60,
            drain_seconds: 30,
            chunk_min_bytes: 0,
        }
    }
}

/// Where everything is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Storage {
    /// The data directory; one server at a time.
    pub path: PathBuf,
    /// Bytes of the disk that uploads leave free.
    pub reserve_bytes: u64,
    /// Whether uploads are written past the page cache, where the file system can do that.
    pub direct_writes: bool,
}

impl Default for Storage {
    fn default() -> Self {
        Storage {
            path: PathBuf::from("/var/lib/sealstone"),
            reserve_bytes: 256 << 20,
            direct_writes: true,
        }
    }
}

/// Who may log in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// An htpasswd file with bcrypt hashes. Another hash is another account, without the tokens of the one before it.
    pub htpasswd: Option<PathBuf>,
    /// Name of this registry in tokens.
    pub service: String,
    /// Lifetime of a session token, in seconds.
    pub token_seconds: u64,
}

impl Default for Auth {
    fn default() -> Self {
        Auth {
            htpasswd: None,
            service: "sealstone".into(),
            token_seconds: 300,
        }
    }
}

/// Garbage collection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Collect {
    /// Between collections, in seconds; 0 for never.
    pub every_seconds: u64,
    /// How long a blob that no manifest names stays, in seconds; at least 1.
    pub keep_unused_seconds: u64,
    /// How long an upload waits for its next request, in seconds; at least 1.
    pub keep_upload_seconds: u64,
    /// How long a manifest without tag, index and subject stays, in seconds; 0 for ever.
    pub keep_untagged_seconds: u64,
    /// How long bytes stay after nothing names them, in seconds, so that downloads can end.
    pub keep_trash_seconds: u64,
}

impl Default for Collect {
    fn default() -> Self {
        Collect {
            every_seconds: 3600,
            keep_unused_seconds: 86_400,
            keep_upload_seconds: 86_400,
            keep_untagged_seconds: 0,
            keep_trash_seconds: 172_800,
        }
    }
}

/// Reading everything to find damage early.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scrub {
    /// Between scrubs, in seconds; 0 for never.
    pub every_seconds: u64,
}

impl Default for Scrub {
    fn default() -> Self {
        Scrub {
            every_seconds: 604_800,
        }
    }
}

/// The transparency log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Transparency {
    /// Name of the log, for ever: the bare host name under which the registry is reached.
    pub origin: Option<String>,
    /// Its key (PKCS#8, Ed25519); made at the first start. Without one, `log/key.pem` in the data directory.
    pub key: Option<PathBuf>,
    /// Least time between two checkpoints, in milliseconds.
    pub batch_milliseconds: u64,
    /// How long a push waits for the checkpoint that contains it, in seconds.
    pub wait_seconds: u64,
    /// Who is asked to cosign checkpoints.
    pub witnesses: Vec<Witness>,
    /// How many of them must have cosigned before a push that sets a tag is answered; 0 for none.
    pub quorum: usize,
    /// How long such a push waits for them, in seconds; then it fails, and the tag is set. As long waits a release
    /// under a policy that wants its evidence witnessed.
    pub witness_seconds: u64,
}

/// What the registry signs itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Statements {
    /// About which releases: `policy`, `always` or `never`.
    pub releases: ReleaseStatements,
    /// The key (PKCS#8, Ed25519); made at the first start. Without one, `statements/key.pem` in the data directory.
    pub key: Option<PathBuf>,
}

impl Default for Statements {
    fn default() -> Self {
        Statements {
            releases: ReleaseStatements::Policy,
            key: None,
        }
    }
}

/// A witness.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Witness {
    /// Its key, as it shows it.
    pub key: VerifierKey,
    /// Where it is reached.
    pub url: String,
}

impl Default for Transparency {
    fn default() -> Self {
        Transparency {
            origin: None,
            key: None,
            batch_milliseconds: 0,
            wait_seconds: 10,
            witnesses: Vec::new(),
            quorum: 0,
            witness_seconds: 10,
        }
    }
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Levels, as `info` or `sealstone_registry=debug,info`.
    pub filter: String,
    /// `text` or `json`.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Log {
            filter: "info".into(),
            format: LogFormat::Text,
        }
    }
}

/// The forms of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not valid.
    #[error("{path}: {problem}")]
    Parse {
        /// Its path.
        path: PathBuf,
        /// What is wrong, with its line.
        problem: String,
    },
    /// An environment variable is not valid.
    #[error("environment variable {name}: {problem}")]
    Variable {
        /// Its name.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// The parts do not go together.
    #[error("{0}")]
    Invalid(String),
}

/// Prefix of environment variables.
const PREFIX: &str = "SEALSTONE__";

impl Config {
    /// Reads the file, if one is given, and then the variables that begin with `SEALSTONE__`.
    ///
    /// # Errors
    /// Says what is wrong, and where.
    pub fn load(
        path: Option<&Path>,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Config, ConfigError> {
        let shown = path.unwrap_or(Path::new("(defaults)"));
        let text = match path {
            Some(path) => std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
                path: path.to_owned(),
                source,
            })?,
            None => String::new(),
        };
        let parse_error = |problem: String| ConfigError::Parse {
            path: shown.to_owned(),
            problem,
        };
        // Once for the positions in messages, which a merged document no longer has.
        toml::from_str::<Config>(&text).map_err(|error| parse_error(error.to_string()))?;
        let mut document: toml::Table =
            toml::from_str(&text).map_err(|error| parse_error(error.to_string()))?;
        let mut variables: Vec<(String, String)> = variables
            .filter(|(name, _)| name.starts_with(PREFIX))
            .collect();
        variables.sort();
        for (name, value) in variables {
            set(&mut document, &name, &value)?;
        }
        let mut config: Config = document
            .try_into()
            .map_err(|error: toml::de::Error| parse_error(error.message().to_owned()))?;
        if let Some(directory) = path.and_then(Path::parent) {
            config.resolve(directory);
        }
        config.check()?;
        Ok(config)
    }

    /// Paths in a file are relative to the file.
    fn resolve(&mut self, directory: &Path) {
        let paths = [
            &mut self.policy,
            &mut self.auth.htpasswd,
            &mut self.server.tls_certificate,
            &mut self.server.tls_key,
            &mut self.transparency.key,
            &mut self.statements.key,
        ];
        for path in paths.into_iter().flatten() {
            *path = directory.join(&path);
        }
        self.storage.path = directory.join(&self.storage.path);
    }

    /// The name of the transparency log: what is set, or the host of the public URL, or `localhost`.
    pub fn log_origin(&self) -> String {
        let host = || {
            let url = url::Url::parse(self.server.public_url.as_deref()?).ok()?;
            url.host_str().map(ToOwned::to_owned)
        };
        let origin = self.transparency.origin.clone();
        origin.or_else(host).unwrap_or_else(|| "localhost".into())
    }

    /// Where the log's key is.
    pub fn log_key(&self) -> PathBuf {
        let inside = || self.storage.path.join("log").join("key.pem");
        self.transparency.key.clone().unwrap_or_else(inside)
    }

    /// Where the key of the registry's own statements is.
    pub fn statement_key(&self) -> PathBuf {
        let inside = || self.storage.path.join("statements").join("key.pem");
        self.statements.key.clone().unwrap_or_else(inside)
    }

    /// Whether connections are encrypted.
    pub fn has_tls(&self) -> bool {
        self.server.tls_certificate.is_some()
    }

    fn check(&self) -> Result<(), ConfigError> {
        let invalid = |text: &str| Err(ConfigError::Invalid(text.to_owned()));
        let server = &self.server;
        if server.tls_certificate.is_some() != server.tls_key.is_some() {
            return invalid(
                "server.tls_certificate and server.tls_key belong together: set both or none",
            );
        }
        if !self.has_tls() && !server.listen.ip().is_loopback() && !server.allow_plain_http {
            return Err(ConfigError::Invalid(format!(
                "server.listen = \"{}\" can be reached from other machines, and passwords would cross the network in the clear: set server.tls_certificate and server.tls_key, or server.allow_plain_http = true behind a proxy that encrypts",
                server.listen
            )));
        }
        if server.max_connections == 0
            || server.idle_timeout_seconds == 0
            || server.head_timeout_seconds == 0
        {
            return invalid(
                "server.max_connections, idle_timeout_seconds and head_timeout_seconds must be at least 1",
            );
        }
        if self.collect.keep_upload_seconds == 0 || self.collect.keep_unused_seconds == 0 {
            return invalid(
                "collect.keep_upload_seconds and keep_unused_seconds must be at least 1: with 0 a collection takes what is being pushed",
            );
        }
        let origin = self.log_origin();
        if !is_key_name(&origin) || origin.contains([':', '/']) {
            return Err(ConfigError::Invalid(format!(
                "transparency.origin = \"{origin}\" must be a bare host name, without scheme, port and path: sigstore's tools take the log's name from the host"
            )));
        }
        if !(1..=60).contains(&self.transparency.wait_seconds)
            || self.transparency.batch_milliseconds > 1000
        {
            return invalid(
                "transparency.wait_seconds is 1 to 60, and batch_milliseconds at most 1000: pushes wait for it",
            );
        }
        if self.transparency.quorum > self.transparency.witnesses.len() {
            return Err(ConfigError::Invalid(format!(
                "transparency.quorum = {} asks for more than the {} witnesses that are named: no push could ever be answered",
                self.transparency.quorum,
                self.transparency.witnesses.len()
            )));
        }
        if !(1..=60).contains(&self.transparency.witness_seconds) {
            return invalid("transparency.witness_seconds is 1 to 60: pushes wait for it");
        }
        if self.auth.token_seconds < 60 {
            return invalid(
                "auth.token_seconds must be at least 60: clients take shorter ones for 60",
            );
        }
        quotas::check(&self.quota)
    }

    /// Longest wait for the next bytes of a body.
    pub fn body_idle(&self) -> Duration {
        Duration::from_secs(self.server.idle_timeout_seconds)
    }
}

/// Sets `SEALSTONE__SECTION__KEY` in the document. Values are TOML where they can be, else text.
fn set(document: &mut toml::Table, name: &str, value: &str) -> Result<(), ConfigError> {
    let variable = |problem: String| ConfigError::Variable {
        name: name.to_owned(),
        problem,
    };
    let path: Vec<String> = name[PREFIX.len()..]
        .split("__")
        .map(str::to_ascii_lowercase)
        .collect();
    let (key, sections) = path
        .split_last()
        .expect("splitting yields at least one part");
    let mut table = document;
    for section in sections {
        let entry = table
            .entry(section.clone())
            .or_insert_with(|| toml::Value::Table(toml::Table::new()));
        table = entry
            .as_table_mut()
            .ok_or_else(|| variable(format!("{section} is no section")))?;
    }
    // "5" is text for a path and a number for a limit: whatever the key takes is right.
    let typed = toml::from_str::<toml::Table>(&format!("value = {value}"))
        .ok()
        .and_then(|mut table| table.remove("value"));
    let text = toml::Value::String(value.to_owned());
    let mut problem = String::from("is not valid");
    for candidate in typed.into_iter().chain([text]) {
        let mut alone = toml::Table::new();
        nest(&mut alone, &path, candidate.clone());
        match alone.try_into::<Config>() {
            Ok(_) => {
                table.insert(key.clone(), candidate);
                return Ok(());
            }
            Err(error) => error.message().clone_into(&mut problem),
        }
    }
    Err(variable(problem))
}

fn nest(table: &mut toml::Table, path: &[String], value: toml::Value) {
    match path {
        [key] => {
            table.insert(key.clone(), value);
        }
        [section, rest @ ..] => {
            let mut inner = toml::Table::new();
            nest(&mut inner, rest, value);
            table.insert(section.clone(), toml::Value::Table(inner));
        }
        [] => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sealstone.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(
            Some(&path),
            variables
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned())),
        )
    }

    #[test]
    fn unknown_keys_are_errors_with_their_line() {
        let error = load("[server]\nlissen = \"127.0.0.1:1\"\n", &[])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("lissen") && error.contains("line 2"),
            "{error}"
        );
        assert!(load("[sever]\n", &[]).is_err());
        let error = load("", &[("SEALSTONE__SERVER__LISSEN", "x")])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("SEALSTONE__SERVER__LISSEN") && error.contains("lissen"),
            "{error}"
        );
    }

    #[test]
    fn variables_override_the_file_and_keep_their_type() {
        let config = load(
            "[server]\nlisten = \"127.0.0.1:1\"\n",
            &[
                ("SEALSTONE__SERVER__LISTEN", "127.0.0.1:7000"),
                ("SEALSTONE__STORAGE__RESERVE_BYTES", "7"),
                ("SEALSTONE__POLICY", "/etc/policy.toml"),
                ("SEALSTONE__SERVER__ALLOW_PLAIN_HTTP", "true"),
                ("SEALSTONE__AUTH__SERVICE", "5"),
                ("OTHER", "x"),
            ],
        )
        .unwrap();
        assert_eq!(config.server.listen.port(), 7000);
        assert_eq!(config.storage.reserve_bytes, 7);
        assert_eq!(config.policy, Some("/etc/policy.toml".into()));
        assert!(config.server.allow_plain_http);
        assert_eq!(config.auth.service, "5");
        assert!(load("", &[("SEALSTONE__STORAGE__RESERVE_BYTES", "much")]).is_err());
    }

    #[test]
    fn what_is_being_pushed_is_kept_for_a_while() {
        for key in ["keep_upload_seconds", "keep_unused_seconds"] {
            let error = load(&format!("[collect]\n{key} = 0\n"), &[]).unwrap_err();
            assert!(error.to_string().contains(key), "{error}");
            assert!(load(&format!("[collect]\n{key} = 1\n"), &[]).is_ok());
        }
    }

    #[test]
    fn quotas_come_from_the_file_or_from_a_variable() {
        let config = load("[[quota]]\nnamespace = \"a\"\nbytes = 7\n", &[]).unwrap();
        assert_eq!(config.quota[0].bytes, Some(7));
        let variable = "[{ namespace = \"b\", objects = 9 }]";
        let config = load("", &[("SEALSTONE__QUOTA", variable)]).unwrap();
        assert_eq!(config.quota[0].namespace, "b");
        assert_eq!(config.quota[0].objects, Some(9));
        let error = load("[[quota]]\nnamespace = \"a\"\n", &[]).unwrap_err();
        assert!(error.to_string().contains("limits nothing"), "{error}");
    }

    #[test]
    fn plain_http_is_for_loopback_unless_allowed() {
        assert!(
            load("[server]\nlisten = \"0.0.0.0:5000\"\n", &[])
                .unwrap_err()
                .to_string()
                .contains("allow_plain_http")
        );
        assert!(
            load(
                "[server]\nlisten = \"0.0.0.0:5000\"\nallow_plain_http = true\n",
                &[]
            )
            .is_ok()
        );
        assert!(load("[server]\ntls_key = \"a\"\n", &[]).is_err());
    }

    #[test]
    fn the_reference_file_states_the_defaults() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/config/sealstone.toml");
        let mut config = Config::load(Some(&path), std::iter::empty()).unwrap();
        let default = Config::default();
        config.storage.path = default.storage.path.clone();
        assert_eq!(config, default);
        // And it names every key, commented out where there is no default.
        let text = std::fs::read_to_string(&path).unwrap();
        let keys = toml::Table::try_from(&default).unwrap();
        for (section, value) in keys {
            let Some(table) = value.as_table() else {
                continue;
            };
            for key in table.keys() {
                assert!(
                    text.lines().any(|line| line
                        .trim_start_matches("# ")
                        .starts_with(&format!("{key} ="))),
                    "{section}.{key}"
                );
            }
        }
        for key in [
            "policy",
            "htpasswd",
            "public_url",
            "tls_certificate",
            "tls_key",
            "origin",
            "key",
            "namespace",
            "bytes",
            "objects",
        ] {
            assert!(text.contains(&format!("# {key} =")), "{key}");
        }
    }
}
