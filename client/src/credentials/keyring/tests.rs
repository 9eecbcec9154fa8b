#![allow(clippy::unwrap_used)]
use super::*;
use std::collections::BTreeMap;

struct Home {
    directory: tempfile::TempDir,
    variables: BTreeMap<String, String>,
}

impl Home {
    fn new() -> Home {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().display().to_string();
        Home {
            directory,
            variables: BTreeMap::from([("HOME".to_owned(), home)]),
        }
    }

    fn set(mut self, name: &str, value: &str) -> Home {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    fn write(self, path: &str, text: &str) -> Home {
        let path = self.directory.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    fn keyring(&self) -> Keyring {
        Keyring::new(|name| self.variables.get(name).cloned())
    }
}

#[tokio::test]
async fn login_keeps_and_logout_forgets() {
    let home = Home::new();
    let keyring = home.keyring();
    assert_eq!(keyring.find("h.example:5000", None).await.unwrap(), None);
    let kept = keyring
        .keep("h.example:5000", "user", &Secret::new("s3cret"))
        .await
        .unwrap();
    assert_eq!(
        kept,
        Kept::File(home.directory.path().join(".docker/config.json"))
    );
    let found = keyring.find("h.example:5000", None).await.unwrap();
    assert_eq!(found, Some(Credential::basic("user", "s3cret")));
    assert_eq!(keyring.find("h.example", None).await.unwrap(), None);
    assert!(keyring.forget("h.example:5000").await.unwrap());
    assert!(!keyring.forget("h.example:5000").await.unwrap());
    assert_eq!(keyring.find("h.example:5000", None).await.unwrap(), None);
}

#[tokio::test]
async fn the_environment_wins_and_can_be_bound_to_one_registry() {
    let home = Home::new()
        .write(
            ".docker/config.json",
            r#"{"auths": {"other.example": {"auth": "YTpi"}}}"#,
        )
        .set("SEALSTONE_USERNAME", "ci")
        .set("SEALSTONE_PASSWORD", "p");
    assert!(home.keyring().is_unbound());
    assert_eq!(
        home.keyring().find("other.example", None).await.unwrap(),
        Some(Credential::basic("ci", "p"))
    );
    let stranger = home.keyring().without_unbound();
    assert_eq!(stranger.find("stranger.example", None).await.unwrap(), None);
    assert_eq!(
        stranger.find("other.example", None).await.unwrap(),
        Some(Credential::basic("a", "b")),
        "what was kept for a registry is that registry's"
    );
    let home = home.set("SEALSTONE_REGISTRY", "h.example");
    assert!(!home.keyring().is_unbound());
    assert_eq!(
        home.keyring()
            .without_unbound()
            .find("h.example", None)
            .await
            .unwrap(),
        Some(Credential::basic("ci", "p"))
    );
    assert_eq!(
        home.keyring().find("h.example", None).await.unwrap(),
        Some(Credential::basic("ci", "p"))
    );
    assert_eq!(
        home.keyring().find("other.example", None).await.unwrap(),
        Some(Credential::basic("a", "b"))
    );
}

#[tokio::test]
async fn a_registry_is_bound_to_as_it_is_written_elsewhere() {
    let ci = Some(Credential::basic("ci", "p"));
    for (written, registry) in [
        ("https://h.example", "h.example"),
        ("http://localhost:5000/", "localhost:5000"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("docker.io", "index.docker.io"),
    ] {
        let home = Home::new()
            .set("SEALSTONE_USERNAME", "ci")
            .set("SEALSTONE_PASSWORD", "p")
            .set("SEALSTONE_REGISTRY", written);
        let keyring = home.keyring();
        assert!(!keyring.is_unbound(), "{written}");
        let found = keyring.find(registry, None).await.unwrap();
        assert_eq!(found, ci, "{written}");
        assert_eq!(keyring.find("other.example", None).await.unwrap(), None);
    }
}

#[tokio::test]
async fn half_a_credential_in_the_environment_is_an_error() {
    let home = Home::new().set("SEALSTONE_USERNAME", "ci");
    assert!(home.keyring().find("h.example", None).await.is_err());
}

#[tokio::test]
async fn containers_auth_file_is_read() {
    let home = Home::new().write(
        ".config/containers/auth.json",
        r#"{"auths": {"h.example/team": {"auth": "YTpi"}}}"#,
    );
    let repository: RepoName = "team/model".parse().unwrap();
    let found = home
        .keyring()
        .find("h.example", Some(&repository))
        .await
        .unwrap();
    assert_eq!(found, Some(Credential::basic("a", "b")));
    assert_eq!(home.keyring().find("h.example", None).await.unwrap(), None);
}

#[tokio::test]
async fn a_helper_that_is_missing_is_an_error_and_names_itself() {
    let home = Home::new().write(
        ".docker/config.json",
        r#"{"credHelpers": {"h.example": "sealstone-test-absent"}}"#,
    );
    let error = home.keyring().find("h.example", None).await.unwrap_err();
    assert!(
        error
            .message()
            .contains("docker-credential-sealstone-test-absent"),
        "{error:?}"
    );
}

#[test]
fn secrets_do_not_show() {
    let home = Home::new()
        .set("SEALSTONE_USERNAME", "ci")
        .set("SEALSTONE_PASSWORD", "hunter2");
    assert!(!format!("{:?}", home.keyring()).contains("hunter2"));
}
