#![allow(clippy::unwrap_used)]
use super::*;

/// A tar of these entries: name, kind, content or target.
pub(in super::super) fn tar_of(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, kind, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o755);
        header.set_mtime(1_000_000_000);
        // Names that the builder itself refuses.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        let body = match kind {
            EntryType::Symlink | EntryType::Link => {
                header.as_old_mut().linkname[..content.len()].copy_from_slice(content.as_bytes());
                ""
            }
            _ => content,
        };
        header.set_size(body.len() as u64);
        header.set_cksum();
        builder.append(&header, body.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

struct World {
    directory: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("root")).unwrap();
        World { directory }
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    fn apply(&self, entries: &[(&str, EntryType, &str)]) -> io::Result<()> {
        self.apply_bytes(&tar_of(entries))
    }

    fn apply_bytes(&self, archive: &[u8]) -> io::Result<()> {
        let path = self.directory.path().join("layer.tar");
        fs::write(&path, archive).unwrap();
        unpack(&path, &self.root(), Marks::Whiteouts)
    }

    fn listing(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut waiting = vec![self.root()];
        while let Some(at) = waiting.pop() {
            for entry in fs::read_dir(at).unwrap() {
                let path = entry.unwrap().path();
                match is_directory(&path) {
                    true => waiting.push(path),
                    false => found.push(path),
                }
            }
        }
        let relative = |path: &PathBuf| {
            let path = path.strip_prefix(self.root()).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let mut found: Vec<String> = found.iter().map(relative).collect();
        found.sort();
        found
    }
}

const FILE: EntryType = EntryType::Regular;
const DIR: EntryType = EntryType::Directory;

#[test]
fn a_layer_adds_replaces_and_removes() {
    let world = World::new();
    world
        .apply(&[
            ("usr/bin/tool", FILE, "old"),
            ("usr/lib/", DIR, ""),
            ("usr/lib/a", FILE, "a"),
            ("usr/lib/b", FILE, "b"),
            ("etc/config", FILE, "c"),
            ("opt/deep/x", FILE, "x"),
            ("opt/link", EntryType::Symlink, "deep"),
        ])
        .unwrap();
    world
        .apply(&[
            ("usr/bin/tool", FILE, "new"),
            ("usr/bin/other", EntryType::Link, "usr/bin/tool"),
            ("usr/lib/.wh.a", FILE, ""),
            // Made before the mark in the same layer, so it stays.
            ("etc/kept", FILE, "k"),
            ("etc/.wh..wh..opq", FILE, ""),
            ("opt/.wh.deep", FILE, ""),
            // A link becomes a directory.
            ("opt/link/", DIR, ""),
            ("opt/link/y", FILE, "y"),
        ])
        .unwrap();
    assert_eq!(
        world.listing(),
        [
            "etc/kept",
            "opt/link/y",
            "usr/bin/other",
            "usr/bin/tool",
            "usr/lib/b"
        ]
    );
    let read = |name| fs::read_to_string(world.root().join(name)).unwrap();
    assert_eq!(
        (read("usr/bin/tool"), read("usr/bin/other")),
        ("new".into(), "new".into())
    );
    let time = fs::metadata(world.root().join("usr/bin/tool")).unwrap();
    let since = time
        .modified()
        .unwrap()
        .duration_since(SystemTime::UNIX_EPOCH);
    assert_eq!(since.unwrap().as_secs(), 1_000_000_000);
}

#[test]
fn links_are_followed_inside_of_the_root() {
    let world = World::new();
    let outside = world.directory.path().join("out");
    world
        .apply(&[
            ("run/", DIR, ""),
            ("var/run", EntryType::Symlink, "/run"),
            ("var/run/pid", FILE, "1"),
            ("up", EntryType::Symlink, "../../.."),
            ("up/out", FILE, "x"),
            ("abs", EntryType::Symlink, outside.to_str().unwrap()),
            ("abs/in", FILE, "y"),
        ])
        .unwrap();
    assert!(!outside.exists());
    assert!(world.root().join("run/pid").is_file());
    assert!(world.root().join("out").is_file());
    // Whiteouts do not lead outside either.
    fs::write(world.directory.path().join("victim"), "v").unwrap();
    for bad in ["up/.wh...", "up/.wh.", "../victim", "a/../../victim"] {
        let _ = world.apply(&[(bad, FILE, "")]);
    }
    assert!(world.directory.path().join("victim").exists());
    assert!(world.root().exists());
}

#[test]
fn what_leads_outside_or_round_and_round_is_refused() {
    let world = World::new();
    for bad in [
        &[("../out", FILE, "x")][..],
        &[("a/../../out", FILE, "x")],
        &[("hard", EntryType::Link, "../../etc/passwd")],
        &[
            ("a", EntryType::Symlink, "b"),
            ("b", EntryType::Symlink, "a"),
            ("a/x", FILE, "x"),
        ],
        &[("file", FILE, "x"), ("file/x", FILE, "x")],
    ] {
        assert!(world.apply(bad).is_err(), "{bad:?}");
    }
    assert!(!world.directory.path().join("out").exists());
    // A hard link to a file of the machine through a link inside.
    let secret = world.directory.path().join("secret");
    fs::write(&secret, "s").unwrap();
    let entries = [
        (
            "to",
            EntryType::Symlink,
            world.directory.path().to_str().unwrap(),
        ),
        ("stolen", EntryType::Link, "to/secret"),
    ];
    assert!(world.apply(&entries).is_err());
    assert!(!world.root().join("stolen").exists());
}

#[test]
fn what_stands_between_files_is_bounded() {
    let world = World::new();
    let file = ("f", FILE, "x");
    let kinds = [EntryType::XHeader, EntryType::GNULongName];
    for kind in kinds {
        let text = "a".repeat(2 << 20);
        let error = world
            .apply(&[file, ("x", kind, &text[..]), file])
            .unwrap_err();
        assert!(error.to_string().contains("names and headers"), "{error}");
    }
    let text = "a".repeat(900 << 10);
    let header = ("x", EntryType::XHeader, &text[..]);
    let large = "x".repeat(2 << 20);
    let entries = [header, ("l", FILE, &large[..]), header, file];
    world.apply(&entries).unwrap();
    assert_eq!(world.listing(), ["f", "l"]);
}

/// Its own size says how much may pass, and an extended header says to `tar` that it is another: a name of any length would
/// be read whole after it.
#[test]
fn a_file_whose_holes_were_left_out_is_refused_before_anything_after_it_is_read() {
    let world = World::new();
    let sparse = |size| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(EntryType::GNUSparse);
        header.set_size(size);
        header.as_old_mut().name[..1].copy_from_slice(b"s");
        header.as_gnu_mut().unwrap().set_real_size(0);
        header.set_cksum();
        header.as_bytes().to_vec()
    };
    // Without the zeros of its end.
    let begun = |entries: &[(&str, EntryType, &str)]| {
        let mut archive = tar_of(entries);
        archive.truncate(archive.len() - 1024);
        archive
    };
    let long = "a".repeat(2 << 20);
    let rest = tar_of(&[("x", EntryType::GNULongName, &long[..]), ("f", FILE, "x")]);
    let size = begun(&[("x", EntryType::XHeader, "9 size=0\n")]);
    for archive in [
        [size, sparse(1 << 40), rest].concat(),
        [sparse(0), tar_of(&[("f", FILE, "x")])].concat(),
        // As tar writes it into archives of the newer form: a plain file by its kind.
        tar_of(&[
            ("x", EntryType::XHeader, "22 GNU.sparse.major=1\n"),
            ("GNUSparseFile.1/s", FILE, "0\n"),
        ]),
    ] {
        let error = world.apply_bytes(&archive).unwrap_err();
        assert!(error.to_string().contains("a sparse file"), "{error}");
        assert!(world.listing().is_empty(), "{:?}", world.listing());
    }
}

#[test]
fn what_unpacks_to_too_much_is_refused() {
    let world = World::new();
    let path = world.directory.path().join("bomb.tar.gz");
    let mut encoder =
        flate2::write::GzEncoder::new(File::create(&path).unwrap(), flate2::Compression::best());
    let mut header = tar::Header::new_gnu();
    header.set_size(4 << 30);
    header.set_mode(0o644);
    header.as_old_mut().name[..4].copy_from_slice(b"zero");
    header.set_cksum();
    io::Write::write_all(&mut encoder, header.as_bytes()).unwrap();
    let zeros = vec![0_u8; 1 << 20];
    for _ in 0..1100 {
        io::Write::write_all(&mut encoder, &zeros).unwrap();
    }
    encoder.finish().unwrap();
    assert!(unpack(&path, &world.root(), Marks::Files).is_err());
    let written = fs::metadata(world.root().join("zero")).map_or(0, |found| found.len());
    assert!(written <= MIN_BYTES, "{written}");
}
