//! Media types, annotation keys and artifact types that Sealstone reads or writes, by their own names.

/// OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// OCI artifact manifest: deprecated, still sent by older oras clients.
pub const OCI_ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";
/// Docker image manifest, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// The empty JSON object as a config or layer.
pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// OCI image configuration.
pub const OCI_IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// Sigstore bundle, version 0.3.
pub const SIGSTORE_BUNDLE_V03: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// cosign's legacy signature layer.
pub const COSIGN_SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// in-toto statement in an envelope.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";

/// ModelPack manifest, as `artifactType`.
pub const MODEL_ARTIFACT: &str = "application/vnd.cncf.model.manifest.v1+json";
/// ModelPack configuration.
pub const MODEL_CONFIG: &str = "application/vnd.cncf.model.config.v1+json";
/// Prefix of every ModelPack layer type.
pub const MODEL_LAYER_PREFIX: &str = "application/vnd.cncf.model.";

/// The chaining values of a blob's groups; see [`crate::tree`].
pub const BLAKE3_TREE: &str = "application/vnd.sealstone.blake3-tree.v1";

/// Relative path of the file that a ModelPack layer holds.
pub const ANNOTATION_FILEPATH: &str = "org.cncf.model.filepath";
/// JSON text with name, mode, owner, size and time of that file.
pub const ANNOTATION_FILE_METADATA: &str = "org.cncf.model.file.metadata+json";
/// Whether the layer's media type was not verified by the packer: `"true"` or `"false"`.
pub const ANNOTATION_UNTESTED: &str = "org.cncf.model.file.mediatype.untested";

pub use oci_spec::image::{
    ANNOTATION_CREATED, ANNOTATION_REF_NAME, ANNOTATION_TITLE, ANNOTATION_VERSION,
};

/// Digest of the two bytes `{}`, the well-known empty config (OCI image specification, manifest.md).
pub const EMPTY_JSON_DIGEST: &str =
    "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

/// The type without parameters, and lowercase: `text/plain; charset=x` is `text/plain`.
pub fn essence(content_type: &str) -> String {
    content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase()
}

/// Whether layers of this type may be absent from a registry: they are fetched from elsewhere.
pub fn is_non_distributable(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.oci.image.layer.nondistributable.v1.")
        || media_type == "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
}

/// Whether manifests of this type list other manifests.
pub fn is_index(media_type: &str) -> bool {
    media_type == OCI_INDEX || media_type == DOCKER_LIST
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::image::MediaType;

    #[test]
    fn names_are_those_of_the_specification() {
        assert_eq!(MediaType::ImageManifest.to_string(), OCI_MANIFEST);
        assert_eq!(MediaType::ImageIndex.to_string(), OCI_INDEX);
        assert_eq!(MediaType::ImageConfig.to_string(), OCI_IMAGE_CONFIG);
        assert_eq!(MediaType::EmptyJSON.to_string(), OCI_EMPTY);
    }

    #[test]
    fn parameters_and_case_do_not_matter() {
        assert_eq!(essence("Text/Plain; charset=x"), "text/plain");
    }
}
