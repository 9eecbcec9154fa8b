//! A system of a few programs, made of this machine's: as a directory, as an archive, as an image.

use sealstone::layout::LayoutStore;
use sealstone_spec::digest::{Algorithm, Digest};
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::media;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A root file system with a shell and a few programs of this machine, libraries included.
pub(crate) fn tiny_root(at: &Path) -> Option<()> {
    fs::create_dir_all(at.join("bin")).ok()?;
    let mut files = std::collections::BTreeSet::new();
    for program in ["sh", "cat", "ls", "mkdir"] {
        let program = fs::canonicalize(Path::new("/bin").join(program)).ok()?;
        let listed = Command::new("ldd").arg(&program).output().ok()?;
        for word in String::from_utf8_lossy(&listed.stdout)
            .split_whitespace()
            .filter(|word| word.starts_with('/'))
        {
            files.insert(PathBuf::from(word));
        }
        let name = program.file_name()?.to_owned();
        fs::copy(&program, at.join("bin").join(&name)).ok()?;
        if name == "dash" || name == "bash" {
            symlink(&name, at.join("bin/sh")).ok()?;
        }
    }
    for file in files {
        let target = at.join(file.strip_prefix("/").ok()?);
        fs::create_dir_all(target.parent()?).ok()?;
        fs::copy(&file, target).ok()?;
    }
    fs::write(at.join("pinned"), "by digest\n").ok()
}

/// An archive of everything below `root`; its digest.
pub(crate) fn archive(root: &Path, to: &Path) -> Digest {
    let mut tar = Command::new("tar");
    tar.args([
        "--numeric-owner",
        "--owner=0",
        "--group=0",
        "--mtime=@0",
        "--sort=name",
    ]);
    tar.args(["--format=gnu", "-cf"])
        .arg(to)
        .arg("-C")
        .arg(root)
        .arg(".");
    assert!(tar.status().unwrap().success());
    Digest::sha256(&fs::read(to).unwrap())
}

/// An image of two layers in a layout at `layout`: a tiny system with a file too many, and a tool in a place of its
/// own, which its variables name. `None` if this machine has no such system to give.
pub(crate) fn image(work: &Path, layout: &Path) -> Option<Digest> {
    let (base, more) = (work.join("base"), work.join("more"));
    tiny_root(&base)?;
    fs::write(base.join("gone"), "one too many").unwrap();
    fs::create_dir_all(more.join("opt/tool")).unwrap();
    let tool = more.join("opt/tool/count");
    fs::write(
        &tool,
        "#!/bin/sh\ncat /pinned \"$1\" && echo \"$LIBRARY\" && ls /gone /usr/bin/perl 2>&1 | cat\n",
    )
    .unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(more.join(".wh.gone"), "").unwrap();
    let store = LayoutStore::open_or_create(layout).unwrap();
    let keep = |media_type: &str, content: &[u8]| -> Value {
        let digest = Digest::sha256(content);
        store.write_blob(&digest, content).unwrap();
        json!({"mediaType": media_type, "digest": digest, "size": content.len()})
    };
    let layers: Vec<Value> = [base, more]
        .iter()
        .map(|root| {
            let tar = work.join("layer.tar");
            archive(root, &tar);
            keep(
                "application/vnd.oci.image.layer.v1.tar",
                &fs::read(tar).unwrap(),
            )
        })
        .collect();
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = json!({"os": "linux", "architecture": architecture, "rootfs": {"type": "layers", "diff_ids": []},
        "config": {"Env": ["PATH=/opt/tool:/bin", "LIBRARY=of the image", "LC_ALL=de_DE"]}});
    let manifest = json!({"schemaVersion": 2, "mediaType": media::OCI_MANIFEST,
        "config": keep(media::OCI_IMAGE_CONFIG, config.to_string().as_bytes()), "layers": layers});
    let manifest =
        VerifiedManifest::check(manifest.to_string(), None, None, Algorithm::Sha256).unwrap();
    store.write_manifest(&manifest, None).unwrap();
    Some(*manifest.digest())
}
