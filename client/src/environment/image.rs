//! Container images by digest: brought into a layout, and unpacked layer by layer.
//!
//! Sources: OCI image specification, manifest.md, config.md and layer.md. An image that travels in the bundle lies in
//! [`IMAGE_DIRECTORY`] of the project; any other lies in the user's cache, under its digest.
//! Invariant: every layer is compared with its digest before a byte of it is unpacked; the digest of the manifest
//! stands in the recipe. An index of several platforms is refused: another machine would choose another image. Whoever
//! wrote the recipe chose the registry: no password goes there that was not kept for it.

use super::rootfs::{Wanted, filled};
use super::unpack::{Marks, unpack};
use crate::credentials::Keyring;
use crate::error::{Error, Outcome, Result};
use crate::layout::LayoutStore;
use crate::runner::Software;
use crate::store::Location;
use crate::transfer::{Place, TransferOptions, copy};
use crate::transport::ConnectOptions;
use sealstone_spec::digest::Digest;
use sealstone_spec::image::ImageReference;
use sealstone_spec::manifest::{Descriptor, VerifiedManifest};
use sealstone_spec::name::Reference;
use sealstone_spec::recipe::{Environment, IMAGE_DIRECTORY};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most bytes of an image's configuration.
const MAX_CONFIG_BYTES: u64 = 4 << 20;

/// What an image says about itself, as far as it matters to a stage.
#[derive(Debug, Default, Deserialize)]
struct Configuration {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    config: Option<Execution>,
}

#[derive(Debug, Default, Deserialize)]
struct Execution {
    #[serde(rename = "Env", default)]
    env: Option<Vec<String>>,
}

/// Brings the image of an environment to where [`prepare`](super::prepare) looks for it, if it is one and is not
/// there. Signatures of images are not looked at: the recipe pins the bytes. `asked` is the registry that the caller named,
/// if it named one: only there is a credential of the environment sent that is bound to no registry.
///
/// # Errors
/// If it cannot be had, or is not what its digest says.
pub async fn fetch_image(
    environment: &Environment,
    root: &Path,
    connect: &ConnectOptions,
    transfer: &TransferOptions,
    asked: Option<&str>,
) -> Result<()> {
    let Environment::Oci {
        image,
        digest,
        rootfs_in_bundle,
    } = environment
    else {
        return Ok(());
    };
    let directory = directory(root, digest, *rootfs_in_bundle)?;
    let opened = LayoutStore::open(&directory);
    if let Ok(layout) = &opened
        && is_whole(layout, digest)
    {
        return Ok(());
    }
    let reference: ImageReference = image.parse().map_err(|problem| {
        Error::usage(format!(
            "the image \"{image}\" cannot be fetched: {problem}"
        ))
        .hint(format!(
            "or bring it: skopeo copy docker://{image} oci:{}",
            directory.display()
        ))
    })?;
    let keyring = Keyring::from_environment();
    let withheld = keyring.is_unbound() && asked != Some(reference.registry.as_str());
    let connect = connect_to(&reference.registry, asked, connect, keyring);
    let refused = format!(
        "SEALSTONE_USERNAME and SEALSTONE_PASSWORD are not sent to {}, which the recipe names: set SEALSTONE_REGISTRY to it, or log in there",
        reference.registry
    );
    let source = Place::open(&Location::Registry(reference), &connect)?;
    let manifest = source
        .store()
        .manifest(&Reference::Digest(*digest))
        .await
        .map_err(|error| match error.outcome() {
            Outcome::NotFound => {
                Error::not_found(format!("the image {image} is not there")).source(error)
            }
            Outcome::Unauthorised if withheld => error.hint(refused),
            _ => error,
        })?;
    check_one_platform(&manifest)?;
    let layout = LayoutStore::open_or_create(&directory)?;
    let options = TransferOptions {
        referrers: false,
        // Beside the image, what a cut left would become a part of the project.
        kept_in_layouts: !rootfs_in_bundle,
        ..transfer.clone()
    };
    copy(&source, &Place::Layout(layout), &manifest, None, &options).await?;
    Ok(())
}

/// How the registry of an image is spoken to.
fn connect_to(
    registry: &str,
    asked: Option<&str>,
    connect: &ConnectOptions,
    keyring: Keyring,
) -> ConnectOptions {
    let mut options = connect.clone();
    if options.credentials.is_none() && asked != Some(registry) {
        options.credentials = Some(Arc::new(keyring.without_unbound()));
    }
    options
}

/// The image of an environment as programs, unpacked if it is not there; where it is kept, with what holds it.
///
/// # Errors
/// [`Outcome::NotFound`] if the image is not at hand; [`Outcome::Halted`] if it is not what its digest says.
pub(super) fn unpacked(
    root: &Path,
    digest: &Digest,
    in_bundle: bool,
    wanted: Wanted<'_>,
) -> Result<(Software, Option<Arc<File>>)> {
    let directory = directory(root, digest, in_bundle)?;
    let absent = |error: Error| match error.outcome() {
        Outcome::NotFound | Outcome::Other => Error::not_found(format!(
            "the image {digest} is not in \"{}\"",
            directory.display()
        ))
        .source(error),
        _ => error,
    };
    let layout = LayoutStore::open(&directory).map_err(absent)?;
    let manifest = layout
        .read_manifest(&Reference::Digest(*digest))
        .map_err(absent)?;
    check_one_platform(&manifest)?;
    let configuration = configuration(&layout, &manifest)?;
    for layer in manifest.layers() {
        layout.check_blob(layer)?;
    }
    let fill = |into: &Path| {
        manifest
            .layers()
            .iter()
            .try_for_each(|layer| unpack_layer(&layout, layer, into))
    };
    let (rootfs, in_use) = filled(*digest, wanted, fill)
        .map_err(|source| Error::io(format!("unpacking the image {digest}"), source))?;
    let mut software = Software {
        rootfs: Some(rootfs),
        ..Software::default()
    };
    let env = configuration.config.and_then(|config| config.env);
    for variable in env.into_iter().flatten() {
        let Some((name, value)) = variable.split_once('=') else {
            continue;
        };
        if name == "PATH" {
            let absolute = value.split(':').filter(|part| part.starts_with('/'));
            software.path.extend(absolute.map(PathBuf::from));
        } else if !name.is_empty() && !value.contains('\0') {
            software.variables.insert(name.to_owned(), value.to_owned());
        }
    }
    Ok((software, in_use))
}

fn unpack_layer(layout: &LayoutStore, layer: &Descriptor, into: &Path) -> std::io::Result<()> {
    unpack(&layout.blob_path(&layer.digest), into, Marks::Whiteouts)
}

/// Where the layout of an image lies.
fn directory(root: &Path, digest: &Digest, in_bundle: bool) -> Result<PathBuf> {
    if in_bundle {
        return Ok(root.join(IMAGE_DIRECTORY));
    }
    let cache = crate::cache::of_user().ok_or_else(|| {
        Error::usage("XDG_CACHE_HOME and HOME are not set, so there is no place for images")
    })?;
    Ok(cache.join("images").join(digest.hex()))
}

/// Whether manifest and blobs are there, in their sizes; their bytes are compared when they are unpacked.
fn is_whole(layout: &LayoutStore, digest: &Digest) -> bool {
    let manifest = layout.read_manifest(&Reference::Digest(*digest));
    manifest.is_ok_and(|manifest| manifest.blobs().all(|blob| layout.holds(blob)))
}

fn check_one_platform(manifest: &VerifiedManifest) -> Result<()> {
    if !manifest.is_index() {
        return Ok(());
    }
    let mut error = Error::usage(format!(
        "{} is an index of images for several platforms, so another machine would take another one",
        manifest.digest()
    ));
    for child in manifest.children().iter().take(10) {
        error = error.hint(format!("one of them is {}", child.digest));
    }
    Err(error.hint("write the digest of the one that is meant: skopeo inspect --raw docker://NAME@DIGEST shows their platforms"))
}

/// What the image says of itself; one for another kind of machine is refused.
fn configuration(layout: &LayoutStore, manifest: &VerifiedManifest) -> Result<Configuration> {
    let unsound = || Error::halted(format!("{} is no image of a system", manifest.digest()));
    let config = manifest.config().ok_or_else(unsound)?;
    let bytes = layout.read_blob(config, MAX_CONFIG_BYTES)?;
    let found: Configuration =
        serde_json::from_slice(&bytes).map_err(|error| unsound().source(error))?;
    let here = architecture();
    if (found.os.as_str(), found.architecture.as_str()) != ("linux", here) {
        return Err(Error::refused(format!(
            "the image {} is for {}/{}, this machine is linux/{here}",
            manifest.digest(),
            found.os,
            found.architecture
        )));
    }
    Ok(found)
}

/// This machine as images call it: the names of Go.
fn architecture() -> &'static str {
    let names = BTreeMap::from([
        ("x86_64", "amd64"),
        ("aarch64", "arm64"),
        ("x86", "386"),
        ("powerpc64", "ppc64le"),
        ("loongarch64", "loong64"),
    ]);
    let here = std::env::consts::ARCH;
    names.get(here).copied().unwrap_or(here)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::unpack::tests::tar_of;
    use super::*;
    use sealstone_spec::digest::Algorithm;
    use sealstone_spec::media;
    use serde_json::{Value, json};
    use std::fs;
    use std::io::Write as _;
    use tar::EntryType;

    /// An image of two layers in a layout, the second one compressed; its digest.
    fn image(at: &Path, architecture: &str) -> Digest {
        let layout = LayoutStore::open_or_create(at).unwrap();
        let first = tar_of(&[
            ("usr/bin/", EntryType::Directory, ""),
            ("usr/bin/tool", EntryType::Regular, "one"),
            ("usr/bin/gone", EntryType::Regular, "x"),
            ("bin", EntryType::Symlink, "usr/bin"),
        ]);
        let second = tar_of(&[
            ("bin/tool", EntryType::Regular, "two"),
            ("usr/bin/.wh.gone", EntryType::Regular, ""),
        ]);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&second).unwrap();
        let config = json!({"architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": []},
            "config": {"Env": ["PATH=/opt/tool/bin:relative:/usr/bin", "LIBRARY=/opt/lib", "broken"]}});
        let store = |media_type: &str, content: Vec<u8>| -> Value {
            let digest = Digest::sha256(&content);
            layout.write_blob(&digest, &content).unwrap();
            json!({"mediaType": media_type, "digest": digest, "size": content.len()})
        };
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media::OCI_MANIFEST,
            "config": store(media::OCI_IMAGE_CONFIG, config.to_string().into_bytes()),
            "layers": [
                store("application/vnd.oci.image.layer.v1.tar", first),
                store("application/vnd.oci.image.layer.v1.tar+gzip", gzip.finish().unwrap()),
            ],
        });
        let bytes = manifest.to_string();
        let manifest = VerifiedManifest::check(bytes, None, None, Algorithm::Sha256).unwrap();
        layout.write_manifest(&manifest, None).unwrap();
        *manifest.digest()
    }

    #[tokio::test]
    async fn a_recipe_does_not_choose_who_gets_the_password() {
        let keyring = || {
            Keyring::new(|name| match name {
                "SEALSTONE_USERNAME" => Some("ci".to_owned()),
                "SEALSTONE_PASSWORD" => Some("secret".to_owned()),
                _ => None,
            })
        };
        let plain = ConnectOptions::default();
        for asked in [None, Some("registry.example"), Some("other.example:5000")] {
            let connect = connect_to("other.example", asked, &plain, keyring());
            let source = connect.source();
            let found = source.find("other.example", None).await.unwrap();
            assert_eq!(found, None, "{asked:?}");
        }
        // The registry that the bundle itself was asked of: as it was reached before.
        let connect = connect_to("other.example", Some("other.example"), &plain, keyring());
        assert!(connect.credentials.is_none());
    }

    #[test]
    fn an_image_becomes_programs() {
        let root = tempfile::tempdir().unwrap();
        let layout = root.path().join(IMAGE_DIRECTORY);
        fs::create_dir_all(&layout).unwrap();
        let digest = image(&layout, architecture());
        let place = root.path().join("place");
        let (software, in_use) =
            unpacked(root.path(), &digest, true, Wanted::Kept(&place)).unwrap();
        assert!(in_use.is_some(), "it is kept");
        let rootfs = software.rootfs.unwrap();
        assert_eq!(rootfs.digest, digest);
        let read = |name: &str| fs::read_to_string(rootfs.directory.join(name));
        assert_eq!(read("usr/bin/tool").unwrap(), "two");
        assert!(read("usr/bin/gone").is_err());
        assert_eq!(
            software.path,
            [PathBuf::from("/opt/tool/bin"), PathBuf::from("/usr/bin")]
        );
        assert_eq!(
            software.variables,
            BTreeMap::from([("LIBRARY".to_owned(), "/opt/lib".to_owned())])
        );
    }

    #[test]
    fn an_image_that_is_another_one_is_not_unpacked() {
        let root = tempfile::tempdir().unwrap();
        let layout = root.path().join(IMAGE_DIRECTORY);
        fs::create_dir_all(&layout).unwrap();
        let digest = image(&layout, architecture());
        let outcome = |digest: &Digest| {
            let place = tempfile::tempdir().unwrap();
            let into = place.path().join("rootfs");
            let made = unpacked(root.path(), digest, true, Wanted::Anew(&into));
            assert!(made.is_ok() || fs::read_dir(place.path()).unwrap().next().is_none());
            made.map(drop).map_err(|error| error.outcome())
        };
        let other = Digest::sha256(b"other");
        assert_eq!(outcome(&other), Err(Outcome::NotFound));
        let foreign = image(&layout, "vax");
        assert_eq!(outcome(&foreign), Err(Outcome::Refused));
        assert_eq!(outcome(&digest), Ok(()));
        // One bit of a layer.
        let store = LayoutStore::open(&layout).unwrap();
        let manifest = store.read_manifest(&Reference::Digest(digest)).unwrap();
        let blob = store.blob_path(&manifest.layers()[0].digest);
        let mut bytes = fs::read(&blob).unwrap();
        bytes[600] ^= 1;
        fs::write(&blob, bytes).unwrap();
        assert_eq!(outcome(&digest), Err(Outcome::Halted));
    }
}
