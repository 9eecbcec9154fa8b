//! Packing: the same tree is the same digest, and what does not belong in a bundle is refused.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::Outcome;
use proptest::prelude::*;
use sealstone_spec::media;
use sealstone_spec::name::Reference;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::{Duration, SystemTime};

const TREE: [(&str, &[u8], bool); 6] = [
    ("model.safetensors", b"weights", false),
    ("config.json", b"{}", false),
    ("README.md", b"# model", false),
    ("src/train.py", b"print()", true),
    ("data/a.dataset.json", b"{}", false),
    ("src/deep/x.bin", b"more weights", false),
];

fn write(root: &Path, path: &str, content: &[u8], mode: u32) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

fn tree(root: &Path) {
    for (path, content, executable) in TREE {
        write(root, path, content, if executable { 0o755 } else { 0o644 });
    }
}

fn packed_with(root: &Path, options: &PackOptions) -> Result<(tempfile::TempDir, Packed)> {
    let out = tempfile::tempdir().unwrap();
    let layout = LayoutStore::open_or_create(out.path().join("layout"))?;
    let packed = pack(root, &layout, options, Some(&"1.0".parse().unwrap()), &())?;
    Ok((out, packed))
}

fn digest_of(root: &Path) -> Digest {
    *packed_with(root, &PackOptions::default())
        .unwrap()
        .1
        .manifest
        .digest()
}

#[test]
fn the_same_tree_is_the_same_digest() {
    let one = tempfile::tempdir().unwrap();
    tree(one.path());
    let two = tempfile::tempdir().unwrap();
    let second = two.path().join("another-name");
    for (number, (path, content, executable)) in TREE.into_iter().rev().enumerate() {
        // Other modes, but for the owner's right to run it; other times; other order of creation.
        write(
            &second,
            path,
            content,
            if executable { 0o700 } else { 0o664 },
        );
        let file = File::options()
            .append(true)
            .open(second.join(path))
            .unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1000 * number as u64))
            .unwrap();
    }
    fs::create_dir(second.join("empty")).unwrap();
    let mut digests = vec![digest_of(one.path()), digest_of(&second)];
    for (threads, link) in [(1, false), (7, false), (2, true)] {
        let options = PackOptions {
            threads,
            link,
            ..PackOptions::default()
        };
        digests.push(
            *packed_with(one.path(), &options)
                .unwrap()
                .1
                .manifest
                .digest(),
        );
    }
    digests.dedup();
    assert_eq!(digests.len(), 1, "{digests:?}");
    // Frozen: whoever changes the rule changes the identity of every bundle ever packed.
    assert_eq!(digests[0].to_string(), FROZEN);
}

const FROZEN: &str = "sha256:9adf2e280d653c0a017688887bf9fabeb74340d546b03c694b3d2c0e700e1b11";

#[test]
fn whatever_matters_changes_the_digest() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    tree(root);
    let original = digest_of(root);
    fs::set_permissions(root.join("config.json"), fs::Permissions::from_mode(0o744)).unwrap();
    let runnable = digest_of(root);
    fs::rename(root.join("README.md"), root.join("README2.md")).unwrap();
    let renamed = digest_of(root);
    fs::write(root.join("model.safetensors"), b"weightz").unwrap();
    let edited = digest_of(root);
    let all = std::collections::BTreeSet::from([original, runnable, renamed, edited]);
    assert_eq!(all.len(), 4);
}

#[test]
fn a_bundle_has_raw_layers_in_order_with_every_annotation() {
    let directory = tempfile::tempdir().unwrap();
    tree(directory.path());
    let options = PackOptions {
        description: Description {
            created: Some("2026-01-01T00:00:00Z".into()),
            name: Some("demo".into()),
            version: Some("1.2.0".into()),
            licenses: vec!["Apache-2.0".into()],
            ..Description::default()
        },
        ..PackOptions::default()
    };
    let (out, packed) = packed_with(directory.path(), &options).unwrap();
    let bundle = Bundle::read(&packed.manifest).unwrap();
    let order: Vec<&str> = bundle
        .files()
        .iter()
        .map(|file| file.path.as_str())
        .collect();
    assert_eq!(
        order,
        [
            "model.safetensors",
            "src/deep/x.bin",
            "config.json",
            "README.md",
            "src/train.py",
            "data/a.dataset.json"
        ]
    );
    assert!(bundle.files()[4].executable);
    let layer = &packed.manifest.layers()[4];
    assert_eq!(layer.media_type, "application/vnd.cncf.model.code.v1.raw");
    assert_eq!(layer.annotations[media::ANNOTATION_TITLE], "src/train.py");
    assert_eq!(
        layer.annotations[media::ANNOTATION_FILE_METADATA],
        r#"{"name":"train.py","mode":493,"uid":0,"gid":0,"size":7,"mtime":"1970-01-01T00:00:00Z","typeflag":0}"#
    );
    assert_eq!(
        packed.manifest.annotations()[media::ANNOTATION_CREATED],
        "2026-01-01T00:00:00Z"
    );

    let layout = LayoutStore::open(out.path().join("layout")).unwrap();
    let again = layout
        .read_manifest(&Reference::parse("1.0").unwrap())
        .unwrap();
    for blob in again.blobs() {
        layout.check_blob(blob).unwrap();
    }
    let config = layout.read_blob(again.config().unwrap(), 10_000).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(config["descriptor"]["name"], "demo");
    assert_eq!(
        config["modelfs"]["diffIds"][0],
        again.layers()[0].digest.to_string()
    );
    // The weights are of two formats: none is stated.
    assert!(config["config"].get("format").is_none());
}

#[test]
fn links_and_devices_are_refused_by_name_unless_followed_inside() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("model");
    write(&root, "real.bin", b"x", 0o644);
    symlink("real.bin", root.join("alias.bin")).unwrap();
    let error = packed_with(&root, &PackOptions::default()).unwrap_err();
    assert!(error.to_string().contains("alias.bin"), "{error}");

    let follow = PackOptions {
        follow: true,
        ..PackOptions::default()
    };
    let (_out, packed) = packed_with(&root, &follow).unwrap();
    assert_eq!(packed.files.len(), 2);
    assert_eq!(packed.files[0].digest, packed.files[1].digest);

    write(directory.path(), "outside.bin", b"secret", 0o644);
    symlink("../outside.bin", root.join("leak.bin")).unwrap();
    let error = packed_with(&root, &follow).unwrap_err();
    assert!(error.to_string().contains("leak.bin"), "{error}");
    fs::remove_file(root.join("leak.bin")).unwrap();
    symlink(".", root.join("loop")).unwrap();
    assert!(
        packed_with(&root, &follow)
            .unwrap_err()
            .to_string()
            .contains("loop")
    );
    fs::remove_file(root.join("loop")).unwrap();

    let socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    let error = packed_with(&root, &follow).unwrap_err();
    assert!(error.to_string().contains("socket"), "{error}");
    drop(socket);
}

#[test]
fn names_that_some_machine_could_not_store_are_refused() {
    for names in [
        &["nul"][..],
        &["a:b"],
        &["A.bin", "a.bin"],
        &["x "],
        &["e\u{301}", "\u{e9}"],
    ] {
        let directory = tempfile::tempdir().unwrap();
        for name in names {
            write(directory.path(), name, b"x", 0o644);
        }
        let error = packed_with(directory.path(), &PackOptions::default()).unwrap_err();
        assert_eq!(error.outcome(), Outcome::Usage, "{names:?}");
    }
}

#[test]
fn decomposed_and_composed_names_are_the_same_bundle() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(one.path(), "mod\u{e8}le.bin", b"x", 0o644);
    write(two.path(), "mode\u{300}le.bin", b"x", 0o644);
    assert_eq!(digest_of(one.path()), digest_of(two.path()));
}

#[test]
fn version_control_signatures_and_ignored_files_stay_out() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    tree(root);
    let plain = digest_of(root);
    write(root, ".git/config", b"x", 0o644);
    write(root, "model.sig", b"x", 0o644);
    write(root, "a.sigstore.json", b"x", 0o644);
    write(root, "cache/x.tmp", b"x", 0o644);
    write(root, "log.tmp", b"x", 0o644);
    write(
        root,
        ".sealstoneignore",
        b"# ours\n*.tmp\n!keep.tmp\n",
        0o644,
    );
    assert_eq!(digest_of(root), plain);
    write(root, "keep.tmp", b"x", 0o644);
    assert_ne!(digest_of(root), plain);
    let options = PackOptions {
        ignore: vec!["/keep.tmp".into()],
        ..PackOptions::default()
    };
    let (_out, packed) = packed_with(root, &options).unwrap();
    assert_eq!(*packed.manifest.digest(), plain);
    assert!(packed.ignored.contains(&".git".to_owned()));
}

/// A bill of materials is made and checked of it, of directories that are larger than the room for temporary files.
#[test]
fn files_are_hashed_where_they_lie_as_they_are_packed() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    tree(root);
    write(root, "payload.bin", b"x", 0o644);
    let whole = packed_with(root, &PackOptions::default()).unwrap().1;
    assert_eq!(hash_packed(root).unwrap(), whole.files);
    write(root, ".sealstoneignore", b"payload.bin\n", 0o644);
    let packed = packed_with(root, &PackOptions::default()).unwrap().1;
    assert_eq!(packed.files.len() + 1, whole.files.len());
    assert_eq!(hash_packed(root).unwrap(), packed.files);
    // Whoever filled the directory cannot leave anything out.
    assert_eq!(hash_all(root).unwrap(), (whole.files.clone(), Vec::new()));
    // Nor does what nobody could pack, in a part that is left out, end it; it is told.
    write(root, ".sealstoneignore", b"payload.bin\n.venv\n", 0o644);
    fs::create_dir_all(root.join(".venv/bin")).unwrap();
    symlink("/usr/bin/python3", root.join(".venv/bin/python")).unwrap();
    symlink("..", root.join(".venv/up")).unwrap();
    let socket = root.join(".venv/socket");
    let _listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
    assert_eq!(hash_packed(root).unwrap(), packed.files);
    let (files, mut others) = hash_all(root).unwrap();
    assert_eq!(files, whole.files);
    others.sort_unstable();
    assert_eq!(
        others,
        [
            (".venv/bin/python".to_owned(), "a symbolic link"),
            (".venv/socket".to_owned(), "neither a file nor a directory"),
            (".venv/up".to_owned(), "a symbolic link"),
        ]
    );
    fs::remove_dir_all(root.join(".venv")).unwrap();
    // Nor do names that no bundle can hold, alone or together.
    let odd = "a file whose name no bundle can hold";
    let double = "a file whose name is another's where case or Unicode form is not kept";
    let mut due = Vec::new();
    for (name, told, what) in [
        ("12:00:00.log", "12:00:00.log", odd),
        ("aux.txt", "aux.txt", odd),
        ("a\u{1b}b", "a\\u{1b}b", odd),
        ("One", "One", double),
        ("one", "one", double),
        ("two", "two", double),
        ("Two/of/it", "Two/of/it", double),
    ] {
        write(root, &format!(".venv/{name}"), b"x", 0o644);
        due.push((format!(".venv/{told}"), what));
    }
    let name = std::ffi::OsStr::from_bytes(b"x\xff");
    fs::write(root.join(".venv").join(name), b"x").unwrap();
    due.push((".venv/x\\xff".to_owned(), odd));
    let deep = format!(".venv{}", "/d".repeat(63));
    write(root, &format!("{deep}/d/file"), b"x", 0o644);
    due.push((deep, "a directory that lies too deep for a bundle"));
    assert_eq!(hash_packed(root).unwrap(), packed.files);
    let (files, mut others) = hash_all(root).unwrap();
    assert_eq!(files, whole.files);
    others.sort_unstable();
    due.sort_unstable();
    assert_eq!(others, due);
    fs::remove_dir_all(root).unwrap();
    fs::create_dir(root).unwrap();
    assert!(hash_all(root).is_err());
    symlink("elsewhere", root.join("model.bin")).unwrap();
    let told = vec![("model.bin".to_owned(), "a symbolic link")];
    assert_eq!(hash_all(root).unwrap(), (Vec::new(), told));
}

#[test]
fn an_empty_directory_and_a_layout_inside_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("model");
    fs::create_dir(&root).unwrap();
    assert!(packed_with(&root, &PackOptions::default()).is_err());
    tree(&root);
    let layout = LayoutStore::open_or_create(root.join("out")).unwrap();
    let error = pack(&root, &layout, &PackOptions::default(), None, &()).unwrap_err();
    assert!(error.to_string().contains("inside"), "{error}");
}

#[test]
fn what_is_refused_makes_no_layout() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("empty")).unwrap();
    tree(&at("model"));
    symlink(at("model"), at("link")).unwrap();
    for (packed, layout) in [
        ("model", "model/lay"),
        ("model", "model/deep/lay"),
        ("model", "link/lay"),
        ("model", "none/../model/lay"),
        ("model", "link/../model/lay"),
        ("link", "model/lay"),
        ("missing", "out"),
        ("empty", "out"),
    ] {
        let result = pack(&at(packed), at(layout), &PackOptions::default(), None, &());
        let error = result.unwrap_err();
        if packed == "missing" {
            assert_eq!(error.outcome(), Outcome::NotFound);
        }
        for made in ["model/lay", "model/deep", "none", "out"] {
            assert!(!at(made).exists(), "{packed} into {layout} made {made}");
        }
    }
    let beside = at("link/../new/out");
    pack(&at("model"), beside, &PackOptions::default(), None, &()).unwrap();
    assert!(at("new/out/index.json").exists());
}

#[test]
fn a_failure_names_no_manifest() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("model");
    tree(&root);
    let out = LayoutStore::open_or_create(directory.path().join("out")).unwrap();
    fs::remove_dir_all(out.root().join("blobs")).unwrap();
    fs::write(out.root().join("blobs"), "in the way").unwrap();
    assert!(
        pack(
            &root,
            &out,
            &PackOptions::default(),
            Some(&"x".parse().unwrap()),
            &()
        )
        .is_err()
    );
    assert!(out.read_tags().unwrap().is_empty());
}

/// Names of the blobs in a layout, and of what is on its way to be one.
fn names_in(layout: &Path) -> Vec<String> {
    let entries = fs::read_dir(layout.join("blobs/sha256")).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_was_linked_before_is_linked_again_and_leaves_no_other_name() {
    let directory = tempfile::tempdir().unwrap();
    let (root, out) = (directory.path().join("model"), directory.path().join("out"));
    tree(&root);
    // Two names of one file: the second one meets the blob of the first.
    fs::hard_link(
        root.join("model.safetensors"),
        root.join("same.safetensors"),
    )
    .unwrap();
    let options = PackOptions {
        link: true,
        ..PackOptions::default()
    };
    let first = pack(&root, &out, &options, None, &()).unwrap();
    let blobs = names_in(&out);
    assert!(!blobs.iter().any(|name| name.starts_with('.')), "{blobs:?}");
    let linked = LayoutStore::open(&out).unwrap();
    let blob = linked.blob_path(&Digest::sha256(b"weights"));
    assert_eq!(
        fs::metadata(blob).unwrap().ino(),
        fs::metadata(root.join("model.safetensors")).unwrap().ino()
    );
    let again = pack(&root, &out, &options, None, &()).unwrap();
    assert_eq!(again.manifest.digest(), first.manifest.digest());
    assert_eq!(names_in(&out), blobs);
}

#[test]
fn a_name_that_leads_elsewhere_by_now_is_not_linked() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("model");
    write(&root, "a.bin", b"mine", 0o644);
    write(directory.path(), "secret", b"else", 0o600);
    let layout = LayoutStore::open_or_create(directory.path().join("out")).unwrap();
    let name = root.join("a.bin");
    let opened = File::open(&name).unwrap();
    let link = || {
        let linked = layout.link_blob(&name, &opened, &mut &opened, Algorithm::Sha256);
        linked.unwrap()
    };
    fs::rename(&name, root.join("b.bin")).unwrap();
    symlink("../secret", &name).unwrap();
    assert_eq!(link(), None);
    fs::remove_file(&name).unwrap();
    fs::copy(directory.path().join("secret"), &name).unwrap();
    assert_eq!(link(), None);
    assert!(names_in(layout.root()).is_empty());
    fs::rename(root.join("b.bin"), &name).unwrap();
    assert_eq!(link(), Some((Digest::sha256(b"mine"), 4)));
}

#[test]
fn packing_for_nobody_ends_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("model");
    tree(&root);
    for link in [false, true] {
        let options = PackOptions {
            link,
            ..PackOptions::default()
        };
        drop(options.stop.on_drop());
        let out = directory.path().join(format!("out-{link}"));
        let tag = "1.0".parse().unwrap();
        let error = pack(&root, &out, &options, Some(&tag), &()).unwrap_err();
        assert_eq!(error.outcome(), Outcome::Other, "{error:?}");
        assert!(names_in(&out).is_empty());
        let layout = LayoutStore::open(&out).unwrap();
        assert!(layout.read_tags().unwrap().is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn order_and_modes_never_matter(
        files in proptest::collection::btree_map("[a-d]{1,3}(\\.(bin|json|md|py|csv))?", (proptest::collection::vec(any::<u8>(), 0..30), any::<bool>()), 1..8),
        modes in proptest::collection::vec(0u32..0o100, 8),
    ) {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (name, (content, executable)) in &files {
            write(one.path(), name, content, if *executable { 0o755 } else { 0o644 });
        }
        for ((name, (content, executable)), mode) in files.iter().rev().zip(&modes) {
            write(two.path(), name, content, if *executable { 0o700 } else { 0o600 } | mode);
        }
        prop_assert_eq!(digest_of(one.path()), digest_of(two.path()));
    }
}
