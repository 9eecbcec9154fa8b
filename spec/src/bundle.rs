//! A manifest read as a model bundle: the files that it holds and where they go.
//!
//! Sources: CNCF ModelPack (docs/spec.md, docs/config.md). Readers of such bundles join the path in
//! an annotation to a directory, some without looking; so a path that could leave that directory, or
//! that two file systems would read as two or as one file, is refused when it is pushed and again
//! when it is pulled.

use crate::digest::Digest;
use crate::manifest::{Descriptor, VerifiedManifest};
use crate::media;
use crate::role::{ANNOTATION_ROLE, BundleRole, UnknownRole};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use unicode_normalization::UnicodeNormalization as _;

/// Longest path in a bundle, in bytes.
pub const MAX_PATH_BYTES: usize = 1024;
/// Longest path element, in bytes: what common file systems hold.
pub const MAX_ELEMENT_BYTES: usize = 255;

/// A relative path with `/` between its elements that is safe on every file system.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct BundlePath(String);

/// Why a bundle was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// A path that is not safe.
    #[error("path \"{path}\" is not safe in a bundle: {problem}")]
    Path {
        /// The path, with control characters escaped.
        path: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Two files that some file system would store as one.
    #[error(
        "files \"{0}\" and \"{1}\" would be one file where case or Unicode form is not kept: rename one"
    )]
    Collision(String, String),
    /// A file that is also a directory.
    #[error("\"{0}\" is a file and also the directory of \"{1}\"")]
    FileAndDirectory(String, String),
    /// The manifest is no bundle.
    #[error("manifest is no model bundle: artifact type is \"{0}\", not \"{want}\"", want = media::MODEL_ARTIFACT)]
    NotABundle(String),
    /// A layer without a path.
    #[error("layer {0} has no \"{want}\" annotation, so nobody can say which file it is", want = media::ANNOTATION_FILEPATH)]
    NoPath(Digest),
    /// A layer of a type that is not understood.
    #[error(
        "layer \"{path}\" has media type \"{media_type}\", which is not a raw or tar ModelPack layer"
    )]
    LayerType {
        /// Path of the layer.
        path: String,
        /// Its media type.
        media_type: String,
    },
    /// The file's mode in its annotation is not a plain file's.
    #[error("layer \"{0}\" has file metadata that is no plain file's: {1}")]
    Metadata(String, String),
    /// A role that nobody knows.
    #[error("layer \"{0}\": {1}")]
    Role(String, UnknownRole),
    /// A name that leads out of the directory that a layer is unpacked into.
    #[error("layer is named {0:?}, which leads out of the directory that it is unpacked into")]
    Leaves(String),
}

impl BundlePath {
    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path as others are compared with it: composed Unicode form, without case.
    fn folded(&self) -> String {
        // Upper case first: it makes one of what lower case keeps apart, such as ß and SS, σ and ς.
        self.0
            .nfkc()
            .flat_map(char::to_uppercase)
            .flat_map(char::to_lowercase)
            .nfkc()
            .collect()
    }
}

impl fmt::Display for BundlePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for BundlePath {
    type Err = BundleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match path_problem(text) {
            None => Ok(BundlePath(text.to_owned())),
            Some(problem) => {
                let path = text
                    .chars()
                    .take(200)
                    .collect::<String>()
                    .escape_debug()
                    .to_string();
                Err(BundleError::Path { path, problem })
            }
        }
    }
}

/// Names that Windows keeps for devices, whatever their extension.
const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "conin$", "conout$"];

fn is_device(element: &str) -> bool {
    let stem = element
        .split('.')
        .next()
        .unwrap_or_default()
        .trim_end()
        .to_ascii_lowercase();
    let numbered = stem
        .strip_prefix("com")
        .or_else(|| stem.strip_prefix("lpt"))
        .is_some_and(|rest| rest.chars().count() == 1 && rest.chars().all(|c| c.is_numeric()));
    numbered || DEVICES.contains(&stem.as_str())
}

fn path_problem(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return Some("it is empty");
    }
    if text.len() > MAX_PATH_BYTES {
        return Some("it is longer than 1,024 bytes");
    }
    if text.starts_with('/') {
        return Some("it is absolute: give it relative to the bundle");
    }
    if text.contains('\\') {
        return Some("it has a backslash: part its elements with /");
    }
    if text.chars().any(char::is_control) {
        return Some("it has a control character");
    }
    // Bidirectional marks and zero-width characters show one name and store another.
    if text.chars().any(|c| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')) {
        return Some("it has an invisible character");
    }
    for element in text.split('/') {
        let problem = match element {
            "" => Some("it has an empty element"),
            "." | ".." => Some("it has a . or .. element"),
            _ if element.len() > MAX_ELEMENT_BYTES => Some("an element is longer than 255 bytes"),
            _ if element.contains([':', '<', '>', '"', '|', '?', '*']) => {
                Some("it has one of : < > \" | ? *, which not every file system stores")
            }
            _ if element.ends_with('.') || element.ends_with(' ') => {
                Some("an element ends in a dot or a space, which not every file system stores")
            }
            _ if is_device(element) => Some("an element is a device's name"),
            _ => None,
        };
        if problem.is_some() {
            return problem;
        }
    }
    None
}

/// What a file of a bundle is for, in ModelPack's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    /// Weights.
    Weight,
    /// What is needed to load the weights: configuration, tokenizer.
    WeightConfig,
    /// Documentation.
    Doc,
    /// Code.
    Code,
    /// Data, or pointers to data.
    Dataset,
}

impl FileKind {
    /// Every kind, in the order in which their layers stand in a manifest.
    pub const ALL: [FileKind; 5] = [
        FileKind::Weight,
        FileKind::WeightConfig,
        FileKind::Doc,
        FileKind::Code,
        FileKind::Dataset,
    ];

    /// The kind's part of a layer's media type.
    pub fn as_str(self) -> &'static str {
        match self {
            FileKind::Weight => "weight",
            FileKind::WeightConfig => "weight.config",
            FileKind::Doc => "doc",
            FileKind::Code => "code",
            FileKind::Dataset => "dataset",
        }
    }

    /// Media type of a layer that is one file, as it is.
    pub fn raw_media_type(self) -> String {
        format!("{}{}.v1.raw", media::MODEL_LAYER_PREFIX, self.as_str())
    }

    /// Kind and form, from a layer's media type.
    fn from_media_type(media_type: &str) -> Option<(FileKind, LayerForm)> {
        let rest = media_type.strip_prefix(media::MODEL_LAYER_PREFIX)?;
        FileKind::ALL.into_iter().find_map(|kind| {
            let form = match rest.strip_prefix(kind.as_str())? {
                ".v1.raw" => LayerForm::Raw,
                ".v1.tar" => LayerForm::Tar,
                ".v1.tar+gzip" => LayerForm::TarGzip,
                _ => return None,
            };
            Some((kind, form))
        })
    }
}

/// How a layer holds its content. Sealstone writes [`LayerForm::Raw`] only; other tools of the format
/// also write archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayerForm {
    /// The layer is the file.
    Raw,
    /// A tar archive of files at or below the layer's path.
    Tar,
    /// The same, compressed.
    TarGzip,
}

impl LayerForm {
    /// Whether the layer holds files in an archive, so that their digests are not the layer's.
    pub fn is_archive(self) -> bool {
        self != LayerForm::Raw
    }
}

/// One file of a bundle, from its layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BundleFile {
    /// Where it goes, relative to the directory that the bundle is unpacked into.
    pub path: BundlePath,
    /// What it is for, in ModelPack's words.
    pub kind: FileKind,
    /// What it is for, in ours: stated by the packer, or what follows from the kind.
    pub role: BundleRole,
    /// Digest of the file.
    pub digest: Digest,
    /// Size of the file, in bytes.
    pub size: u64,
    /// Whether it may be run.
    pub executable: bool,
    /// How the layer holds it. Digest and size are the layer's.
    pub form: LayerForm,
}

/// The content of `org.cncf.model.file.metadata+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMetadata {
    /// File name.
    pub name: String,
    /// Permission bits, as a decimal number.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size, in bytes.
    pub size: i64,
    /// Time of change, RFC 3339.
    pub mtime: String,
    /// Type as in tar: 0 is a plain file (48 is the same as a character).
    pub typeflag: u8,
}

/// A model bundle: a manifest of the ModelPack artifact type whose files are all safe to unpack.
#[derive(Clone, Debug)]
pub struct Bundle {
    files: Vec<BundleFile>,
}

impl Bundle {
    /// Whether a manifest claims to be a bundle, by its own type, its configuration's or that of a layer, and so has
    /// to pass [`Bundle::read`].
    pub fn is_claimed_by(manifest: &VerifiedManifest) -> bool {
        let mut layers = manifest.layers().iter();
        manifest.artifact_type() == Some(media::MODEL_ARTIFACT)
            || manifest
                .config()
                .is_some_and(|config| config.media_type == media::MODEL_CONFIG)
            || layers.any(|layer| layer.media_type.starts_with(media::MODEL_LAYER_PREFIX))
    }

    /// Reads a manifest as a bundle.
    ///
    /// # Errors
    /// If it is none, or one of its paths is unsafe or collides with another.
    pub fn read(manifest: &VerifiedManifest) -> Result<Bundle, BundleError> {
        if !Bundle::is_claimed_by(manifest) {
            let found = manifest.artifact_type().unwrap_or_default();
            return Err(BundleError::NotABundle(found.to_owned()));
        }
        let files: Vec<BundleFile> = manifest
            .layers()
            .iter()
            .map(read_layer)
            .collect::<Result<_, _>>()?;
        check_paths(files.iter().map(|file| &file.path))?;
        Ok(Bundle { files })
    }

    /// The files, in the manifest's order.
    pub fn files(&self) -> &[BundleFile] {
        &self.files
    }
}

fn read_layer(layer: &Descriptor) -> Result<BundleFile, BundleError> {
    let text = layer
        .annotations
        .get(media::ANNOTATION_FILEPATH)
        .or_else(|| layer.annotations.get(media::ANNOTATION_TITLE))
        .ok_or(BundleError::NoPath(layer.digest))?;
    let path: BundlePath = text.parse()?;
    // oras and podman name files by title; one that differs from the path must be just as safe.
    if let Some(title) = layer.annotations.get(media::ANNOTATION_TITLE) {
        title.parse::<BundlePath>()?;
    }
    let Some((kind, form)) = FileKind::from_media_type(&layer.media_type) else {
        return Err(BundleError::LayerType {
            path: path.0,
            media_type: layer.media_type.clone(),
        });
    };
    let role = match layer.annotations.get(ANNOTATION_ROLE) {
        Some(text) => text
            .parse()
            .map_err(|error| BundleError::Role(path.0.clone(), error))?,
        None => BundleRole::of_kind(kind),
    };
    let mut executable = false;
    if let Some(text) = layer.annotations.get(media::ANNOTATION_FILE_METADATA) {
        let metadata: FileMetadata = serde_json::from_str(text)
            .map_err(|error| BundleError::Metadata(path.0.clone(), error.to_string()))?;
        if !form.is_archive() && !matches!(metadata.typeflag, 0 | b'0') {
            let problem = format!("type flag {} is not a plain file", metadata.typeflag);
            return Err(BundleError::Metadata(path.0, problem));
        }
        executable = metadata.mode & 0o100 != 0;
    }
    Ok(BundleFile {
        path,
        kind,
        role,
        digest: layer.digest,
        size: layer.size,
        executable,
        form,
    })
}

/// Checks that no name which a manifest gives a layer leads out of the directory that it is unpacked into, whatever
/// the manifest is: oras, podman and others make files of these names.
///
/// # Errors
/// Names the first that does: absolute, with a `..`, a backslash or a zero byte.
pub fn check_names(manifest: &VerifiedManifest) -> Result<(), BundleError> {
    for layer in manifest.layers() {
        for key in [media::ANNOTATION_FILEPATH, media::ANNOTATION_TITLE] {
            if let Some(name) = layer.annotations.get(key)
                && leaves(name)
            {
                return Err(BundleError::Leaves(name.chars().take(100).collect()));
            }
        }
    }
    Ok(())
}

fn leaves(name: &str) -> bool {
    let bytes = name.as_bytes();
    let has_drive = bytes.len() > 1 && bytes[0].is_ascii_alphabetic() && bytes[1] == b':';
    name.starts_with('/')
        || has_drive
        || name.contains(['\\', '\0'])
        || name.split('/').any(|part| part == "..")
}

/// Checks that no two paths are one file anywhere, and none is another's directory.
///
/// # Errors
/// Names both paths.
pub fn check_paths<'a>(paths: impl Iterator<Item = &'a BundlePath>) -> Result<(), BundleError> {
    let mut seen: BTreeMap<String, &BundlePath> = BTreeMap::new();
    for path in paths {
        if let Some(other) = seen.insert(path.folded(), path) {
            return Err(BundleError::Collision(other.0.clone(), path.0.clone()));
        }
    }
    for (folded, path) in &seen {
        let mut end = folded.len();
        while let Some(slash) = folded[..end].rfind('/') {
            if let Some(file) = seen.get(&folded[..slash]) {
                return Err(BundleError::FileAndDirectory(
                    file.0.clone(),
                    path.0.clone(),
                ));
            }
            end = slash;
        }
    }
    Ok(())
}

/// The paths for which [`check_paths`] refuses all of them: each that is one file with another somewhere, or is another's
/// directory there, or lies in one that is a file.
pub fn colliding_paths<'a>(
    paths: impl Iterator<Item = &'a BundlePath>,
) -> BTreeSet<&'a BundlePath> {
    let mut groups: BTreeMap<String, Vec<&BundlePath>> = BTreeMap::new();
    for path in paths {
        groups.entry(path.folded()).or_default().push(path);
    }
    let mut colliding: BTreeSet<&BundlePath> = BTreeSet::new();
    for (folded, group) in &groups {
        if group.len() > 1 {
            colliding.extend(group.iter().copied());
        }
        let mut end = folded.len();
        while let Some(slash) = folded[..end].rfind('/') {
            if let Some(files) = groups.get(&folded[..slash]) {
                colliding.extend(group.iter().chain(files).copied());
            }
            end = slash;
        }
    }
    colliding
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::digest::Algorithm;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn layer(path: &str) -> Value {
        json!({"mediaType": FileKind::Weight.raw_media_type(), "digest": Digest::sha256(path.as_bytes()),
            "size": 3, "annotations": {media::ANNOTATION_FILEPATH: path}})
    }

    fn bundle(layers: &[Value]) -> Result<Bundle, BundleError> {
        let text = json!({"schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "artifactType": media::MODEL_ARTIFACT,
            "config": {"mediaType": media::MODEL_CONFIG, "digest": media::EMPTY_JSON_DIGEST, "size": 2},
            "layers": layers})
        .to_string();
        Bundle::read(&VerifiedManifest::check(text, None, None, Algorithm::Sha256).unwrap())
    }

    #[test]
    fn paths_that_could_leave_the_directory_are_refused() {
        for bad in [
            "",
            "/etc/passwd",
            "..",
            "../x",
            "a/../b",
            "a/./b",
            "a//b",
            "a/",
            "C:/x",
            "C:x",
            "a\\b",
            "a\0b",
            "a\nb",
            "nul",
            "a/CON.txt",
            "com1",
            "lpt9.x",
            "a.",
            "a ",
            "x\u{202e}gpj.exe",
            "a\u{200b}",
            &"a/".repeat(600),
            &"a".repeat(256),
            "a?b",
            "a:stream",
        ] {
            assert!(bad.parse::<BundlePath>().is_err(), "{bad:?}");
            assert!(bundle(&[layer(bad)]).is_err(), "{bad:?}");
        }
        for good in [
            "a",
            "model-00001-of-00002.safetensors",
            "a/b/c.txt",
            ".hidden",
            "ünï.txt",
            "a b",
            "console",
            "...",
        ] {
            assert_eq!(good.parse::<BundlePath>().is_ok(), good != "...", "{good}");
        }
    }

    #[test]
    fn paths_that_are_one_file_somewhere_are_refused() {
        for (one, two) in [
            ("a", "a"),
            ("Model.bin", "model.bin"),
            ("e\u{301}", "\u{e9}"),
            ("a", "a/b"),
            ("A/b", "a"),
            ("\u{fb01}le", "file"),
            ("K", "\u{212a}"),
            ("\u{df}", "SS"),
            ("\u{3c3}", "\u{3c2}"),
        ] {
            assert!(bundle(&[layer(one), layer(two)]).is_err(), "{one} {two}");
            assert!(bundle(&[layer(two), layer(one)]).is_err(), "{two} {one}");
        }
        assert!(bundle(&[layer("a/b"), layer("a/c"), layer("ab")]).is_ok());
    }

    #[test]
    fn a_title_may_not_point_elsewhere_than_the_path() {
        let mut evil = layer("a");
        evil["annotations"][media::ANNOTATION_TITLE] = json!("../../a");
        assert!(bundle(&[evil]).is_err());
    }

    #[test]
    fn model_layers_make_a_bundle_whatever_the_manifest_calls_itself() {
        let other = |layers: &[Value]| {
            let text = json!({"schemaVersion": 2, "mediaType": media::OCI_MANIFEST,
                "config": {"mediaType": media::OCI_EMPTY, "digest": media::EMPTY_JSON_DIGEST, "size": 2},
                "layers": layers})
            .to_string();
            VerifiedManifest::check(text, None, None, Algorithm::Sha256).unwrap()
        };
        let evil = other(&[layer("../../x")]);
        assert!(Bundle::is_claimed_by(&evil) && Bundle::read(&evil).is_err());
        let named = |key: &str, name: &str| {
            other(&[
                json!({"mediaType": "application/octet-stream", "digest": Digest::sha256(b"x"),
                "size": 1, "annotations": {key: name}}),
            ])
        };
        for key in [media::ANNOTATION_FILEPATH, media::ANNOTATION_TITLE] {
            for bad in [
                "/etc/x",
                "../x",
                "a/..",
                "a/../../x",
                "a\\b",
                "a\0b",
                "C:/x",
            ] {
                assert!(check_names(&named(key, bad)).is_err(), "{bad:?}");
            }
            for good in ["a", "./a/b", "a..b/c", "Anything: really?", "", "a//b"] {
                let manifest = named(key, good);
                assert!(!Bundle::is_claimed_by(&manifest));
                assert!(check_names(&manifest).is_ok(), "{good:?}");
            }
        }
    }

    #[test]
    fn every_file_has_one_role_and_words_that_nobody_knows_are_refused() {
        let with = |role: Option<&str>| {
            let mut layer = layer("a");
            if let Some(role) = role {
                layer["annotations"][ANNOTATION_ROLE] = json!(role);
            }
            bundle(&[layer]).map(|bundle| bundle.files()[0].role)
        };
        assert_eq!(with(None).unwrap(), BundleRole::Weights);
        assert_eq!(with(Some("metrics")).unwrap(), BundleRole::Metrics);
        for bad in ["", "Metrics", "weights ", "anything"] {
            assert!(
                matches!(with(Some(bad)), Err(BundleError::Role(..))),
                "{bad}"
            );
        }
    }

    #[test]
    fn layers_must_be_plain_and_known() {
        let mut archive = layer("a");
        for (form, known) in [
            ("tar", Some(LayerForm::Tar)),
            ("tar+gzip", Some(LayerForm::TarGzip)),
            ("tar+zstd", None),
            ("raw+gzip", None),
            ("tar+gzip+gzip", None),
        ] {
            archive["mediaType"] = json!(format!("application/vnd.cncf.model.weight.v1.{form}"));
            match (bundle(std::slice::from_ref(&archive)), known) {
                (Ok(bundle), Some(known)) => assert_eq!(bundle.files()[0].form, known),
                (Err(BundleError::LayerType { .. }), None) => {}
                (other, _) => panic!("{form}: {other:?}"),
            }
        }
        let mut device = layer("a");
        device["annotations"][media::ANNOTATION_FILE_METADATA] = json!(
            r#"{"name":"a","mode":420,"uid":0,"gid":0,"size":3,"mtime":"1970-01-01T00:00:00Z","typeflag":50}"#
        );
        assert!(matches!(bundle(&[device]), Err(BundleError::Metadata(..))));
        let mut unnamed = layer("a");
        unnamed["annotations"] = json!({});
        assert!(matches!(bundle(&[unnamed]), Err(BundleError::NoPath(_))));
    }

    proptest! {
        #[test]
        fn what_collides_is_what_is_refused(texts in proptest::collection::vec("[abAB\u{e9}](/[abAB]){0,2}", 0..6)) {
            let paths: Vec<BundlePath> = texts.iter().map(|text| text.parse().unwrap()).collect();
            let colliding = colliding_paths(paths.iter());
            prop_assert_eq!(colliding.is_empty(), check_paths(paths.iter()).is_ok());
            let rest = paths.iter().filter(|path| !colliding.contains(path));
            prop_assert!(check_paths(rest).is_ok());
            // Each is in the way of one of the others.
            for path in &colliding {
                let mut others = paths.iter().filter(|other| !std::ptr::eq(*path, *other));
                prop_assert!(others.any(|other| check_paths([*path, other].into_iter()).is_err()));
            }
        }

        #[test]
        fn an_accepted_path_stays_inside(text in "[a-zA-Z0-9./\\\\: \u{e9}\u{301}-]{0,40}") {
            if let Ok(path) = text.parse::<BundlePath>() {
                let joined = std::path::Path::new("/root").join(path.as_str());
                prop_assert!(joined.starts_with("/root"));
                prop_assert!(joined.components().all(|c| !matches!(c, std::path::Component::ParentDir)));
                prop_assert_eq!(joined.components().count(), 2 + path.as_str().split('/').count());
            }
        }
    }
}
