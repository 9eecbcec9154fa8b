//! The files with credentials: docker's `config.json`, and `auth.json` of podman, skopeo and buildah.
//!
//! Owns their format and the safe way of changing one: read, change, write beside, rename, mode 0600.
//! Does not run helpers. Invariant: fields that are not understood here survive a change unaltered.

use super::Credential;
use crate::error::{Error, Result};
use data_encoding::BASE64;
use serde_json::{Map, Value, json};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// A file with credentials, as it was read.
#[derive(Clone, Debug)]
pub(crate) struct ConfigFile {
    path: PathBuf,
    fields: Map<String, Value>,
}

impl ConfigFile {
    /// Reads a file; one that is not there is empty.
    pub(crate) fn read(path: &Path) -> Result<ConfigFile> {
        let empty = |path: &Path| ConfigFile {
            path: path.to_owned(),
            fields: Map::new(),
        };
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(empty(path)),
            Err(error) => return Err(Error::io(format!("reading \"{}\"", path.display()), error)),
        };
        if text.iter().all(u8::is_ascii_whitespace) {
            return Ok(empty(path));
        }
        // serde_json's error is not passed on: its text could quote a part of a secret.
        match serde_json::from_slice(&text) {
            Ok(Value::Object(fields)) => Ok(ConfigFile {
                path: path.to_owned(),
                fields,
            }),
            _ => Err(Error::other(format!(
                "credentials file \"{}\" is not a JSON object: repair or remove it",
                path.display()
            ))),
        }
    }

    /// Name of the helper for a registry: its own in `credHelpers`, else `credsStore`.
    pub(crate) fn helper(&self, registry: &str) -> Option<String> {
        let own = self
            .fields
            .get("credHelpers")
            .and_then(Value::as_object)
            .and_then(|helpers| helpers.iter().find(|(key, _)| host_of(key) == registry))
            .and_then(|(_, name)| name.as_str());
        own.or_else(|| self.fields.get("credsStore").and_then(Value::as_str))
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
    }

    /// The entry in `auths` whose key is the longest that leads to the repository: podman keeps
    /// entries for `host/namespace` beside those for `host`.
    pub(crate) fn find(&self, registry: &str, repository: Option<&str>) -> Option<Credential> {
        let auths = self.fields.get("auths")?.as_object()?;
        let mut place = match repository {
            Some(repository) => format!("{registry}/{repository}"),
            None => registry.to_owned(),
        };
        loop {
            if let Some(found) = auths.get(&place).and_then(read_entry) {
                return Some(found);
            }
            let Some((shorter, _)) = place.rsplit_once('/') else {
                break;
            };
            place = shorter.to_owned();
        }
        auths
            .iter()
            .filter(|(key, _)| host_of(key) == registry && is_whole_host(key))
            .find_map(|(_, value)| read_entry(value))
    }

    /// Sets the entry for a registry.
    pub(crate) fn set(&mut self, registry: &str, username: &str, secret: &str) {
        let auth = BASE64.encode(format!("{username}:{secret}").as_bytes());
        self.auths()
            .insert(registry.to_owned(), json!({ "auth": auth }));
    }

    /// Removes every entry for a registry; false if there was none.
    pub(crate) fn remove(&mut self, registry: &str) -> bool {
        let auths = self.auths();
        let before = auths.len();
        auths.retain(|key, _| host_of(key) != registry || !is_whole_host(key));
        auths.len() != before
    }

    fn auths(&mut self) -> &mut Map<String, Value> {
        let slot = self.fields.entry("auths").or_insert_with(|| json!({}));
        if !slot.is_object() {
            *slot = json!({});
        }
        slot.as_object_mut().expect("it was made an object above")
    }

    /// Writes the file: beside, with mode 0600 from the first byte, synced, then renamed.
    pub(crate) fn write(&self) -> Result<()> {
        let shown = self.path.display().to_string();
        let failed = |error| Error::io(format!("writing \"{shown}\""), error);
        // A link is followed, so that a configuration kept elsewhere stays there.
        let target = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let directory = target.parent().unwrap_or(Path::new("."));
        create_private_directory(directory).map_err(failed)?;
        let text = serde_json::to_vec_pretty(&self.fields)
            .map_err(|error| Error::other(format!("credentials cannot be written: {error}")))?;
        let mut file = tempfile::Builder::new()
            .prefix(".config.json.")
            .tempfile_in(directory)
            .map_err(failed)?;
        file.write_all(&text)
            .and_then(|()| file.write_all(b"\n"))
            .map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(&target).map_err(|error| failed(error.error))?;
        Ok(())
    }
}

fn create_private_directory(path: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(path)
}

/// The host in a key, which may have a scheme and a path: `https://h.example/v1/` is `h.example`.
pub(crate) fn host_of(key: &str) -> &str {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default();
    if host == "index.docker.io" || host == "registry-1.docker.io" {
        "docker.io"
    } else {
        host
    }
}

/// Whether a key stands for a host, not for a namespace in it. Docker's own have `/v1/` or `/v2/`.
fn is_whole_host(key: &str) -> bool {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    let path = rest
        .split_once('/')
        .map_or("", |(_, path)| path)
        .trim_end_matches('/');
    matches!(path, "" | "v1" | "v2")
}

fn read_entry(entry: &Value) -> Option<Credential> {
    let text = |name: &str| {
        entry
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    if let Some(token) = text("identitytoken") {
        return Some(Credential::Identity(super::Secret::new(token)));
    }
    if let Some(token) = text("registrytoken") {
        return Some(Credential::Registry(super::Secret::new(token)));
    }
    if let (Some(username), Some(secret)) = (text("username"), text("password")) {
        return Some(Credential::basic(username, secret));
    }
    let decoded = BASE64.decode(text("auth")?.as_bytes()).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    let (username, secret) = decoded.split_once(':')?;
    (!username.is_empty()).then(|| Credential::basic(username, secret.trim_end_matches('\0')))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn file(text: &str) -> ConfigFile {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        std::fs::write(&path, text).unwrap();
        ConfigFile::read(&path).unwrap()
    }

    #[test]
    fn reads_every_kind_of_entry() {
        let config = file(
            r#"{"auths": {
            "a.example": {"auth": "dXNlcjpwYTpzcw=="},
            "https://b.example/v1/": {"username": "u", "password": "p"},
            "c.example": {"identitytoken": "t"}, "empty.example": {},
            "https://index.docker.io/v1/": {"auth": "ZDpw"}}}"#,
        );
        assert_eq!(
            config.find("a.example", None),
            Some(Credential::basic("user", "pa:ss"))
        );
        assert_eq!(
            config.find("b.example", Some("x/y")),
            Some(Credential::basic("u", "p"))
        );
        assert!(matches!(
            config.find("c.example", None),
            Some(Credential::Identity(_))
        ));
        assert_eq!(config.find("empty.example", None), None);
        assert_eq!(
            config.find("docker.io", None),
            Some(Credential::basic("d", "p"))
        );
    }

    #[test]
    fn the_longest_namespace_wins_and_never_leaks_to_a_neighbour() {
        let config = file(
            r#"{"auths": {"h.example/team": {"username": "team", "password": "1"},
            "h.example": {"username": "host", "password": "2"}, "only.example/a": {"username": "a", "password": "3"}}}"#,
        );
        assert_eq!(
            config.find("h.example", Some("team/x")),
            Some(Credential::basic("team", "1"))
        );
        assert_eq!(
            config.find("h.example", Some("teams/x")),
            Some(Credential::basic("host", "2"))
        );
        assert_eq!(config.find("only.example", Some("b/x")), None);
        assert_eq!(config.find("only.example", None), None);
    }

    #[test]
    fn helpers_per_registry_win() {
        let config = file(r#"{"credsStore": "all", "credHelpers": {"h.example": "one"}}"#);
        assert_eq!(config.helper("h.example").as_deref(), Some("one"));
        assert_eq!(config.helper("other.example").as_deref(), Some("all"));
    }

    #[test]
    fn a_change_keeps_other_fields_and_is_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sub/config.json");
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        std::fs::write(
            &path,
            r#"{"HttpHeaders": {"x": [1]}, "auths": {"old.example": {"auth": "YTpi"}}}"#,
        )
        .unwrap();
        let mut config = ConfigFile::read(&path).unwrap();
        config.set("new.example:5000", "user", "secret");
        config.write().unwrap();

        let mut config = ConfigFile::read(&path).unwrap();
        assert_eq!(config.fields["HttpHeaders"], json!({"x": [1]}));
        assert_eq!(
            config.find("new.example:5000", None),
            Some(Credential::basic("user", "secret"))
        );
        assert!(config.find("old.example", None).is_some());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(
                std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
                0o600
            );
        }
        assert!(config.remove("old.example"));
        assert!(!config.remove("old.example"));
    }

    #[test]
    fn a_broken_file_is_an_error_without_its_content() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        std::fs::write(&path, "{\"auths\": hunter2").unwrap();
        let error = ConfigFile::read(&path).unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}
