//! A bundle's own words about itself: manifest, model configuration, lock file.

use crate::error::{Error, Result};
use crate::store::Store;
use sealstone_spec::bom::contents::Model;
use sealstone_spec::bom::{BomError, Package, lockfile, requirements};
use sealstone_spec::bundle::Bundle;
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::media;
use serde_json::Value;

const MAX_CONFIG_BYTES: u64 = 4 * 1024 * 1024;
const MAX_LOCK_BYTES: u64 = 64 * 1024 * 1024;

/// Reads a list of packages; its name says of which kind it is.
///
/// # Errors
/// If it does not fix each package.
pub fn packages_in(name: &str, text: &str) -> Result<Vec<Package>> {
    let file = name.rsplit('/').next().unwrap_or(name);
    let read: Result<Vec<Package>, BomError> = if file == "uv.lock" {
        lockfile::parse_uv(text)
    } else if file.starts_with("pylock.") && file.ends_with(".toml") {
        lockfile::parse_pylock(text)
    } else {
        requirements::parse(text)
    };
    read.map_err(|error| {
        Error::usage(format!("\"{name}\" does not fix every package"))
            .source(error)
            .hint("lock with hashes, for example: pip-compile --generate-hashes")
    })
}

/// The list of packages that lies in a bundle, with its path: the one that is stated, else a lock file at the top
/// of it.
///
/// # Errors
/// If there is one that cannot be fetched, or does not fix each package; or if the one that is stated is not there: another
/// list would be that of another environment.
pub async fn locked_packages(
    store: &dyn Store,
    manifest: &VerifiedManifest,
    bundle: &Bundle,
    stated: Option<&str>,
) -> Result<Option<(String, Vec<Package>)>> {
    let usual = [
        "uv.lock",
        "pylock.toml",
        "requirements.lock",
        "requirements.txt",
    ];
    let names: Vec<&str> = match stated {
        Some(name) => vec![name],
        None => usual.to_vec(),
    };
    for name in names {
        let Some(index) = bundle
            .files()
            .iter()
            .position(|file| file.path.as_str() == name)
        else {
            continue;
        };
        let layer = &manifest.layers()[index];
        let bytes = store.blob_bytes(layer, MAX_LOCK_BYTES).await?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::halted(format!("\"{name}\" in the bundle is no text")))?;
        // Requirements without any hash are a wish and no lock.
        if stated != Some(name) && name == "requirements.txt" && !requirements::is_locked(&text) {
            continue;
        }
        return Ok(Some((name.to_owned(), packages_in(name, &text)?)));
    }
    match stated {
        None => Ok(None),
        Some(name) => Err(Error::not_found(format!(
            "the bundle does not hold \"{name}\", the list of packages that its recipe names"
        ))
        .hint("give the list with: --requirements FILE")),
    }
}

/// The model as its configuration describes it.
///
/// # Errors
/// If the configuration cannot be fetched.
pub async fn model_of(
    store: &dyn Store,
    manifest: &VerifiedManifest,
    place: Option<String>,
    name: &str,
) -> Result<Model> {
    let config = match manifest.config() {
        Some(config) if config.media_type == media::MODEL_CONFIG => {
            let bytes = store.blob_bytes(config, MAX_CONFIG_BYTES).await?;
            serde_json::from_slice(&bytes).unwrap_or(Value::Null)
        }
        _ => Value::Null,
    };
    let about = &config["descriptor"];
    let text = |key: &str| {
        about[key]
            .as_str()
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    let texts = |key: &str| -> Vec<String> {
        let items = about[key].as_array().into_iter().flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let last = name.rsplit('/').next().unwrap_or(name);
    Ok(Model {
        name: text("name").unwrap_or_else(|| last.to_owned()),
        version: text("version"),
        manifest: Some(*manifest.digest()),
        place,
        description: text("description"),
        authors: texts("authors"),
        vendor: text("vendor"),
        licenses: texts("licenses"),
        source_url: text("sourceURL"),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Outcome;
    use crate::layout::LayoutStore;
    use crate::pack::{PackOptions, pack};

    #[tokio::test]
    async fn a_list_that_the_recipe_names_is_not_another_one() {
        let root = tempfile::tempdir().unwrap();
        let (model, layout) = (root.path().join("model"), root.path().join("layout"));
        std::fs::create_dir_all(model.join("env")).unwrap();
        let line = |name: &str| format!("{name}==1.0 --hash=sha256:{}\n", "ab".repeat(32));
        std::fs::write(model.join("requirements.txt"), line("serving")).unwrap();
        std::fs::write(model.join("env/train.txt"), line("training")).unwrap();
        let packed = pack(&model, &layout, &PackOptions::default(), None, &()).unwrap();
        let bundle = Bundle::read(&packed.manifest).unwrap();
        let store = LayoutStore::open(&layout).unwrap();
        let found = async |stated: Option<&str>| {
            let found = locked_packages(&store, &packed.manifest, &bundle, stated).await;
            found.map(|found| found.unwrap().0)
        };
        assert_eq!(found(None).await.unwrap(), "requirements.txt");
        assert_eq!(found(Some("env/train.txt")).await.unwrap(), "env/train.txt");
        let error = found(Some("env/other.txt")).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::NotFound);
        assert!(error.message().contains("env/other.txt"), "{error}");
    }
}
