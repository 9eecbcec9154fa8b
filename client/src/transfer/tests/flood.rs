//! How many manifests, and how large, may belong to a bundle or be attached to it.

use super::stock::{bundle_of, layer, referrer, tag};
use crate::Outcome;
use crate::error::Result;
use crate::layout::LayoutStore;
use crate::transfer::graph::{Limits, Seen, gather, gather_evidence};
use sealstone_spec::digest::Algorithm;
use sealstone_spec::manifest::VerifiedManifest;
use sealstone_spec::media;
use serde_json::json;

const MANY: Limits = Limits {
    manifests: 100,
    bytes: 1 << 20,
};

/// What is gathered of `root` within these limits.
async fn gathered(source: &LayoutStore, root: &VerifiedManifest, limits: Limits) -> Result<usize> {
    let mut seen = Seen::within(limits);
    let content = gather(source, root, &mut seen).await?;
    let evidence = gather_evidence(source, &content, &mut seen).await?;
    let lists = evidence.lists.iter().map(|(_, graph)| graph);
    let graphs = evidence.referrers.iter().chain(lists);
    Ok(content.manifests.len() + graphs.map(|graph| graph.manifests.len()).sum::<usize>())
}

/// Asserts that these limits hold all that belongs to `root`, and smaller ones do not.
async fn must_end(source: &LayoutStore, root: &VerifiedManifest, manifests: usize, bytes: u64) {
    let exact = Limits { manifests, bytes };
    assert_eq!(gathered(source, root, exact).await.unwrap(), manifests);
    for less in [
        Limits {
            manifests: manifests - 1,
            ..MANY
        },
        Limits {
            bytes: bytes - 1,
            ..MANY
        },
    ] {
        let error = gathered(source, root, less).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::Halted, "{less:?}");
        assert!(error.message().contains("more than"), "{error:?}");
    }
}

#[tokio::test]
async fn a_flood_of_referrers_is_an_error_and_fills_no_memory() {
    let root = tempfile::tempdir().unwrap();
    let layout = LayoutStore::open_or_create(root.path().join("layout")).unwrap();
    let bundle = bundle_of(&[layer("x", b"x")]);
    layout.write_manifest(&bundle, None).unwrap();
    let mut bytes = bundle.size();
    for note in ["1", "2", "3", "4", "5"] {
        let attached = referrer(&bundle, note);
        layout.write_manifest(&attached, None).unwrap();
        bytes += attached.size();
    }
    must_end(&layout, &bundle, 6, bytes).await;
    // Lists that are the bundle itself once more are held as well.
    for suffix in ["sig", "att"] {
        let list = tag(&format!("sha256-{}.{suffix}", bundle.digest().hex()));
        layout.write_manifest(&bundle, Some(&list)).unwrap();
    }
    must_end(&layout, &bundle, 8, bytes + 2 * bundle.size()).await;
}

#[tokio::test]
async fn an_index_of_too_many_manifests_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let layout = LayoutStore::open_or_create(root.path().join("layout")).unwrap();
    let children = ["a", "b", "c"].map(|name| bundle_of(&[layer(name, b"x")]));
    let mut bytes = 0;
    for child in &children {
        layout.write_manifest(child, None).unwrap();
        bytes += child.size();
    }
    let listed = children.each_ref().map(VerifiedManifest::descriptor);
    let index = json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": listed});
    let index = VerifiedManifest::check(index.to_string(), None, None, Algorithm::Sha256).unwrap();
    layout.write_manifest(&index, None).unwrap();
    must_end(&layout, &index, 4, bytes + index.size()).await;
}
