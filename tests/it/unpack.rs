//! Bundles of other tools whose layers are tar archives: unpacked by the real client, or refused whole.

use crate::content::push_blob;
use crate::model_desk::{Desk, at};
use sealstone_spec::digest::Digest;
use sealstone_spec::media;
use sealstone_tests::registry::{Setup, TestRegistry};
use serde_json::json;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

/// Archives `names`, which lie in the desk's directory, with the system's tar.
fn tar(desk: &Desk, names: &[&str], flags: &[&str]) -> Vec<u8> {
    let output = Command::new("tar")
        .args(flags)
        .args(["-cf", "-"])
        .args(names)
        .current_dir(desk.path(""))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// Pushes a bundle of one archive, as other tools would.
async fn push(registry: &TestRegistry, form: &str, path: &str, archive: &[u8]) {
    let admin = registry.admin.clone();
    push_blob(registry, &admin, "m/a", archive).await;
    push_blob(registry, &admin, "m/a", b"{}").await;
    let manifest = json!({"schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "artifactType": media::MODEL_ARTIFACT,
        "config": {"mediaType": media::MODEL_CONFIG, "digest": media::EMPTY_JSON_DIGEST, "size": 2},
        "layers": [{"mediaType": format!("application/vnd.cncf.model.code.v1.{form}"), "digest": Digest::sha256(archive),
            "size": archive.len(), "annotations": {media::ANNOTATION_FILEPATH: path}}]});
    let answer = registry
        .request(&admin, reqwest::Method::PUT, "/v2/m/a/manifests/1.0.0")
        .header("content-type", media::OCI_MANIFEST)
        .body(manifest.to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
}

async fn pull(
    form: &str,
    path: &str,
    archive: impl FnOnce(&Desk) -> Vec<u8>,
) -> (Desk, crate::client::Ended) {
    let registry = Setup::default().start().await.unwrap();
    let desk = Desk::new();
    std::fs::create_dir_all(desk.path("src/deep")).unwrap();
    std::fs::write(desk.path("src/deep/a.py"), "print(1)").unwrap();
    std::fs::write(desk.path("src/run"), "#!/bin/sh").unwrap();
    std::fs::set_permissions(desk.path("src/run"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let archive = archive(&desk);
    push(&registry, form, path, &archive).await;
    let from = at(&registry, "m/a:1.0.0");
    let ended = desk.run_at(
        &registry,
        &["pull", &from, "--insecure-skip-signatures", "-o", "got"],
    );
    (desk, ended)
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_are_unpacked_below_the_path_that_their_layer_names() {
    for (form, flags) in [("tar", &[][..]), ("tar+gzip", &["-z"][..])] {
        let (desk, ended) = pull(form, "src", |desk| tar(desk, &["src"], flags)).await;
        let ended = ended.expect(0);
        assert_eq!(ended.json["files"], 2, "{}", ended.everything);
        assert_eq!(
            std::fs::read_to_string(desk.path("got/src/deep/a.py")).unwrap(),
            "print(1)"
        );
        let mode = |name: &str| {
            std::fs::metadata(desk.path(name))
                .unwrap()
                .permissions()
                .mode()
                & 0o100
        };
        assert_ne!(mode("got/src/run"), 0);
        assert_eq!(mode("got/src/deep/a.py"), 0);
        let top: Vec<_> = std::fs::read_dir(desk.path("got")).unwrap().collect();
        assert_eq!(top.len(), 1, "nothing but the layer's path");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_with_a_link_or_another_path_is_refused_whole() {
    let link = |desk: &Desk| {
        std::os::unix::fs::symlink("/etc/passwd", desk.path("src/link")).unwrap();
        tar(desk, &["src"], &[])
    };
    let (desk, ended) = pull("tar", "src", link).await;
    let ended = ended.expect(4);
    assert!(
        ended.everything.contains("symbolic link"),
        "{}",
        ended.everything
    );
    assert!(!desk.path("got").exists());

    let (desk, ended) = pull("tar", "elsewhere", |desk| tar(desk, &["src"], &[])).await;
    ended.expect(4);
    assert!(!desk.path("got").exists());
    let left = std::fs::read_dir(desk.path("")).unwrap().flatten();
    let left: Vec<_> = left
        .filter(|entry| entry.file_name().to_string_lossy().contains("partial"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
