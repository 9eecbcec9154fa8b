//! Bills that are written, read, and compared with what is there.

#![allow(clippy::unwrap_used)]
use super::contents::{Approach, Card, File, Input, Metric, Model, Risk};
use super::requirements;
use super::*;
use crate::bundle::FileKind;
use crate::digest::{Algorithm, Digest};
use crate::statement::predicate::{read, write as write_predicate};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn hash(seed: u8) -> String {
    Digest::sha256(&[seed]).hex()
}

pub(crate) fn contents() -> Contents {
    let lock = format!(
        "numpy==1.26.4 \\\n  --hash=sha256:{} \\\n  --hash=sha256:{}\nscikit-learn==1.5.0 ; python_version >= '3.9' --hash=sha256:{}\n",
        hash(1),
        hash(2),
        hash(3)
    );
    let mut packages = requirements::parse(&lock).unwrap();
    packages[1].requires.insert("numpy".into());
    let file = |path: &str, seed: u8, kind| File {
        path: path.into(),
        digest: Digest::sha256(&[seed]),
        size: 1,
        kind,
    };
    Contents {
        model: Model {
            name: "churn".into(),
            version: Some("1.4.0".into()),
            manifest: Some(Digest::sha256(b"manifest")),
            place: Some("registry.example/models/churn".into()),
            authors: vec!["team@example.com".into()],
            licenses: vec!["Apache-2.0".into()],
            source_url: Some("https://git.example/churn".into()),
            ..Model::default()
        },
        created: Some("2026-01-01T00:00:00Z".parse().unwrap()),
        files: vec![
            file("model.safetensors", 10, FileKind::Weight),
            file("config.json", 11, FileKind::WeightConfig),
            file("data/train.csv", 12, FileKind::Dataset),
        ],
        packages,
        card: Card {
            task: Some("classification".into()),
            approach: Some(Approach::Supervised),
            metrics: vec![Metric {
                kind: "auc".into(),
                value: "0.91".into(),
                slice: None,
            }],
            risks: vec![Risk {
                name: "drift".into(),
                mitigation: Some("retrain each month".into()),
            }],
            datasets: vec![Input {
                name: "train".into(),
                uri: Some("oci://registry.example/datasets/churn".into()),
                digest: Some(Digest::sha256(b"data")),
                files: vec!["data/train.csv".into()],
                classification: Some("internal".into()),
                ..Input::default()
            }],
            base_models: vec![Input {
                name: "base".into(),
                version: Some("2".into()),
                uri: Some("oci://registry.example/models/base".into()),
                digest: Some(Digest::sha256(b"base")),
                ..Input::default()
            }],
            ..Card::default()
        },
        environment: BTreeMap::from([("libc.version".into(), "2.36".into())]),
    }
}

fn reality(contents: &Contents) -> Reality {
    Reality {
        manifest: contents.model.manifest,
        files: Some(
            contents
                .files
                .iter()
                .map(|it| (it.path.clone(), it.digest))
                .collect(),
        ),
        others: BTreeMap::new(),
        packages: Some(contents.packages.clone()),
        environment: Some(contents.environment.clone()),
        damaged: Vec::new(),
    }
}

fn differences(bom: &Bom, reality: &Reality) -> Vec<String> {
    let compared = check(bom, reality).unwrap();
    compared
        .differences
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn what_is_written_is_read_and_has_no_difference() {
    let contents = contents();
    let bytes = write(&contents).unwrap();
    assert_eq!(bytes, write(&contents).unwrap());
    let bom = Bom::parse(&bytes).unwrap();
    let compared = check(&bom, &reality(&contents)).unwrap();
    assert_eq!(compared.differences, []);
    assert_eq!(
        (compared.files, compared.packages, compared.versions_only),
        (Some(3), Some(2), 0)
    );
    // As the predicate of a statement it is the same document.
    let again: Bom = read(&write_predicate(&bom).unwrap()).unwrap();
    assert_eq!(crate::canonical::to_canonical_json(&again).unwrap(), bytes);
}

#[test]
fn the_order_of_what_is_given_changes_nothing() {
    let mut other = contents();
    other.files.reverse();
    other.packages.reverse();
    assert_eq!(write(&other).unwrap(), write(&contents()).unwrap());
}

#[test]
fn the_serial_number_follows_from_the_manifest() {
    let serial = |contents: &Contents| {
        Bom::parse(&write(contents).unwrap())
            .unwrap()
            .serial_number
            .unwrap()
    };
    let mut other = contents();
    other.card = Card::default();
    assert_eq!(serial(&other), serial(&contents()));
    other.model.manifest = Some(Digest::sha256(b"another"));
    assert_ne!(serial(&other), serial(&contents()));
    other.model.manifest = None;
    let of_files = serial(&other);
    other.files.pop();
    assert_ne!(serial(&other), of_files);
}

#[test]
fn each_file_and_package_that_is_taken_away_added_or_changed_is_named() {
    let contents = contents();
    let bom = Bom::parse(&write(&contents).unwrap()).unwrap();
    for file in &contents.files {
        let mut less = reality(&contents);
        less.files.as_mut().unwrap().remove(&file.path);
        assert_eq!(
            differences(&bom, &less),
            [format!("file \"{}\" is listed and not there", file.path)]
        );
        let mut changed = reality(&contents);
        changed
            .files
            .as_mut()
            .unwrap()
            .insert(file.path.clone(), Digest::sha256(b"x"));
        assert!(differences(&bom, &changed)[0].contains("is not what is listed"));
    }
    for (index, package) in contents.packages.iter().enumerate() {
        let mut less = reality(&contents);
        less.packages.as_mut().unwrap().remove(index);
        let told = differences(&bom, &less);
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with(&format!("package \"{package}\" is listed and not there")));
        let mut other = reality(&contents);
        other.packages.as_mut().unwrap()[index].version = "9".into();
        let told = differences(&bom, &other);
        assert_eq!(
            told,
            [format!(
                "package \"{}\" is listed as {} and there as 9",
                package.name, package.version
            )]
        );
        let mut rehashed = reality(&contents);
        rehashed.packages.as_mut().unwrap()[index]
            .archives
            .pop_first();
        rehashed.packages.as_mut().unwrap()[index]
            .archives
            .insert(Archive {
                hash: document::Hash::of(&Digest::sha256(b"evil")),
                url: None,
            });
        assert_eq!(
            differences(&bom, &rehashed),
            [format!("package \"{package}\" is listed with other hashes")]
        );
    }
    let mut more = reality(&contents);
    more.files
        .as_mut()
        .unwrap()
        .insert("extra.bin".into(), Digest::sha256(b"x"));
    more.packages
        .as_mut()
        .unwrap()
        .push(Package::new("Left_Pad", "1"));
    more.environment
        .as_mut()
        .unwrap()
        .insert("libc.version".into(), "2.40".into());
    more.manifest = Some(Digest::sha256(b"another"));
    assert_eq!(differences(&bom, &more).len(), 4);
    assert_eq!(
        check(&bom, &Reality::default()),
        Err(BomError::NothingToCompare)
    );
}

/// Wherever a link leads, no bill lists one; in the place of a listed file it is told once.
#[test]
fn what_is_no_file_is_a_difference() {
    let contents = contents();
    let bom = Bom::parse(&write(&contents).unwrap()).unwrap();
    let listed = contents.files[0].path.clone();
    let mut other = reality(&contents);
    other.others.insert(".venv/python".into(), "a link");
    let compared = check(&bom, &other).unwrap();
    assert_eq!(compared.differences.len(), 1);
    assert_eq!(compared.differences[0].kind(), "no-file");
    assert_eq!(compared.differences[0].name(), ".venv/python");
    let due = "\".venv/python\" is there and not listed: a link";
    assert_eq!(differences(&bom, &other), [due]);
    other.files.as_mut().unwrap().remove(&listed);
    other.others = BTreeMap::from([(listed.clone(), "a link")]);
    let due = format!("file \"{listed}\" is listed, and there as a link");
    assert_eq!(differences(&bom, &other), [due]);
}

/// Each entry twice, once as it is and once as it is not: whichever counted, the bill would be believed for the other.
#[test]
fn what_is_listed_twice_is_refused() {
    let contents = contents();
    let whole = Bom::parse(&write(&contents).unwrap()).unwrap();
    let compared = |bom: &Bom| check(bom, &reality(&contents));
    for (index, own) in whole.components.iter().enumerate() {
        let mut other = own.clone();
        other.reference = None;
        other.hashes = vec![document::Hash::of(&Digest::sha256(b"evil"))];
        other.components.clear();
        // At the top, or as a part of another one; before it or after.
        for place in 0..3 {
            let mut bom = whole.clone();
            match place {
                0 => bom.components.insert(0, other.clone()),
                1 => bom.components.push(other.clone()),
                _ => bom.components[index].components.push(other.clone()),
            }
            let is_compared = own.kind == "file" || own.package().is_some();
            let has_facts = own.kind == "platform";
            match compared(&bom) {
                Err(BomError::ListedTwice(name)) => {
                    assert!(is_compared || has_facts, "{name}");
                    assert!(has_facts || name.contains(&own.name), "{name}");
                }
                other => assert!(!is_compared && !has_facts && other.is_ok(), "{}", own.name),
            }
        }
    }
}

#[test]
fn software_that_is_not_compared_is_told() {
    let contents = contents();
    let mut bom = Bom::parse(&write(&contents).unwrap()).unwrap();
    assert!(
        check(&bom, &reality(&contents))
            .unwrap()
            .uncomparable
            .is_empty()
    );
    let listed = [
        ("library", "left-pad", None, Some("pkg:npm/left-pad@1.0.0")),
        ("library", "numpy", Some("1.26.4"), None),
        ("framework", "torch", None, None),
        (
            "application",
            "openssl",
            None,
            Some("pkg:deb/debian/openssl@3"),
        ),
        ("library", "unversioned", None, Some("pkg:pypi/unversioned")),
    ];
    for (kind, name, version, purl) in listed {
        bom.components.push(document::Component {
            kind: kind.into(),
            name: name.into(),
            version: version.map(str::to_owned),
            purl: purl.map(str::to_owned),
            ..document::Component::default()
        });
    }
    let compared = check(&bom, &reality(&contents)).unwrap();
    assert_eq!(compared.differences, []);
    assert_eq!(
        compared.uncomparable,
        [
            "pkg:npm/left-pad@1.0.0",
            "numpy 1.26.4",
            "torch",
            "pkg:deb/debian/openssl@3",
            "pkg:pypi/unversioned"
        ]
    );
}

#[test]
fn everything_can_be_reached_in_the_graph() {
    let mut contents = contents();
    // Two that need each other, and nothing else needs.
    for (name, other) in [("a", "b"), ("b", "a")] {
        let mut package = contents.packages[0].clone();
        package.name = name.into();
        package.requires = [other.to_owned()].into();
        contents.packages.push(package);
    }
    let bom = Bom::parse(&write(&contents).unwrap()).unwrap();
    let mut reached = std::collections::BTreeSet::new();
    let mut queue = vec!["model".to_owned()];
    while let Some(next) = queue.pop() {
        let arrows = bom
            .dependencies
            .iter()
            .find(|it| it.reference == next)
            .unwrap();
        if reached.insert(next) {
            queue.extend(arrows.depends_on.iter().cloned());
        }
    }
    assert_eq!(reached.len(), bom.all_components().len() + 1);
    let graph: BTreeMap<_, _> = bom
        .dependencies
        .iter()
        .map(|it| (it.reference.as_str(), &it.depends_on))
        .collect();
    assert_eq!(
        graph["pkg:pypi/scikit-learn@1.5.0"],
        &["pkg:pypi/numpy@1.26.4"]
    );
    assert_eq!(graph["dataset:train"], &["file:data/train.csv"]);
}

#[test]
fn a_document_that_contradicts_itself_is_refused() {
    let text = String::from_utf8(write(&contents()).unwrap()).unwrap();
    let changed = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        Bom::parse(text.replacen(from, to, 1).as_bytes()).map_err(|error| error.to_string())
    };
    for (from, to, reason) in [
        ("\"CycloneDX\"", "\"SPDX\"", "bomFormat"),
        ("\"1.7\"", "\"2.0\"", "specVersion"),
        ("urn:uuid:", "urn:uuid:x", "serialNumber"),
        (
            "\"bom-ref\":\"file:config.json\"",
            "\"bom-ref\":\"environment\"",
            "stands twice",
        ),
        (
            "\"dependsOn\":[\"file:data/train.csv\"]",
            "\"dependsOn\":[\"file:lost\"]",
            "is no component",
        ),
        (
            "\"alg\":\"SHA-256\",\"content\":\"",
            "\"alg\":\"SHA-256\",\"content\":\"00",
            "is no SHA-256",
        ),
        (
            "\"alg\":\"SHA-256\"",
            "\"alg\":\"SHA-512\"",
            "is no SHA-512",
        ),
        ("{", "{\"specVersion\":\"1.7\",", "twice"),
    ] {
        let error = changed(from, to).unwrap_err();
        assert!(error.contains(reason), "{from}: {error}");
    }
}

#[test]
fn what_makes_no_bill_is_not_written() {
    let mut twice = contents();
    twice.files.push(twice.files[0].clone());
    assert!(write(&twice).unwrap_err().to_string().contains("twice"));
    let mut lost = contents();
    lost.card.datasets[0].files = vec!["lost.csv".into()];
    assert!(write(&lost).unwrap_err().to_string().contains("lost.csv"));
    let mut nameless = contents();
    nameless.model.name.clear();
    assert!(write(&nameless).unwrap_err().to_string().contains("empty"));
}

#[test]
fn a_requirements_file_must_fix_everything() {
    let good = hash(1);
    for (line, reason) in [
        ("numpy".to_owned(), "is not pinned"),
        (format!("numpy>=1 --hash=sha256:{good}"), "is not pinned"),
        (
            format!("numpy==1.* --hash=sha256:{good}"),
            "no single version",
        ),
        (
            format!("numpy==1,<2 --hash=sha256:{good}"),
            "no single version",
        ),
        ("numpy==1.0".into(), "no --hash"),
        ("numpy==1.0 --hash=md5:00".into(), "is no hash"),
        ("numpy==1.0 --hash=sha256:00".into(), "is no hash"),
        (
            format!("numpy==1.0 --hash=sha256:{good} --config-settings=x"),
            "not known",
        ),
        ("-r other.txt".into(), "not followed"),
        ("-e .".into(), "not followed"),
        ("x @ https://h.example/x.whl".into(), "states no version"),
        ("==1".into(), "names no package"),
        ("x[a==1".into(), "not closed"),
        ("# nothing".into(), "names no package"),
    ] {
        let error = requirements::parse(&format!("--require-hashes\n{line}\n"))
            .unwrap_err()
            .to_string();
        assert!(error.contains(reason), "{line}: {error}");
        assert!(
            reason == "names no package" && line.starts_with('#') || error.contains("line 2"),
            "{error}"
        );
    }
    let text = format!(
        "--index-url https://index.example/simple\n# c\nTorch[cuda]==2.4.0+cu121 ; python_version<'3.13' \\\n    --hash=sha256:{good} \\\n    --hash sha512:{}\n    # via a\nb-c.d==1 --hash=sha256:{good} # tail\n",
        "0".repeat(128)
    );
    let found = requirements::parse(&text).unwrap();
    assert_eq!(
        found.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["b-c-d 1", "torch 2.4.0+cu121"]
    );
    assert_eq!(found[1].archives.len(), 2);
    assert_eq!(found[1].marker.as_deref(), Some("python_version<'3.13'"));
}

#[test]
fn lock_files_of_both_kinds_are_read() {
    let commit = "0123456789012345678901234567890123456789";
    let uv = format!(
        "version = 1\n[[package]]\nname = \"project\"\nversion = \"0.1\"\nsource = {{ virtual = \".\" }}\ndependencies = [{{ name = \"numpy\" }}]\n[[package]]\nname = \"numpy\"\nversion = \"1.26.4\"\nsource = {{ registry = \"https://index.example/simple\" }}\nsdist = {{ url = \"https://files.example/n.tar.gz\", hash = \"sha256:{}\", size = 1 }}\nwheels = [{{ url = \"https://files.example/n.whl\", hash = \"sha256:{}\" }}]\n[[package]]\nname = \"tool\"\nversion = \"1\"\nsource = {{ git = \"https://git.example/tool?rev=v1#{commit}\" }}\ndependencies = [{{ name = \"NumPy\" }}]\n",
        hash(1),
        hash(2)
    );
    let found = lockfile::parse_uv(&uv).unwrap();
    assert_eq!(
        found.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["numpy 1.26.4", "tool 1"]
    );
    assert_eq!((found[0].archives.len(), found[1].archives.len()), (2, 1));
    assert_eq!(
        found[1].archives.first().unwrap().url.as_deref(),
        Some("git+https://git.example/tool")
    );
    assert!(found[1].requires.contains("numpy"));
    assert!(lockfile::parse_uv(&uv.replace("version = 1\n[[", "version = 2\n[[")).is_err());
    let loose = uv.replace(&format!("#{commit}"), "");
    assert!(
        lockfile::parse_uv(&loose)
            .unwrap_err()
            .to_string()
            .contains("\"tool 1\"")
    );

    let pylock = format!(
        "lock-version = \"1.0\"\ncreated-by = \"x\"\n[[packages]]\nname = \"numpy\"\nversion = \"1.26.4\"\nmarker = \"os_name == 'posix'\"\n[[packages.wheels]]\nurl = \"https://files.example/n.whl\"\nhashes = {{ sha256 = \"{}\" }}\n[[packages]]\nname = \"tool\"\nvcs = {{ type = \"git\", url = \"https://git.example/tool\", commit-id = \"{commit}\" }}\n[[packages]]\nname = \"self\"\ndirectory = {{ path = \".\" }}\n",
        hash(1)
    );
    let found = lockfile::parse_pylock(&pylock).unwrap();
    assert_eq!(
        found.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(),
        ["numpy", "tool"]
    );
    assert_eq!(found[1].version, commit);
    assert!(lockfile::parse_pylock(&pylock.replace("sha256 =", "md5 =")).is_err());
}

#[test]
fn installed_packages_are_read_from_their_records() {
    let metadata = "Metadata-Version: 2.1\nName: Scikit_Learn\nVersion: 1.5.0\nRequires-Dist: numpy (>=1.19)\nRequires-Dist: pytest ; extra == 'tests'\n\nName: not this\n";
    let sum = data_encoding::BASE64URL_NOPAD.encode(Digest::sha256(b"x").bytes());
    let record = format!(
        "sklearn/__init__.py,sha256={sum},1\n\"sklearn/a,\"\"b\"\".py\",sha256={sum},1\n../../../bin/tool,sha256={sum},1\nsklearn/__pycache__/x.pyc,,\nscikit_learn-1.5.0.dist-info/RECORD,,\nscikit_learn-1.5.0.dist-info/INSTALLER,sha256={sum},4\n"
    );
    let found = installed::read("scikit_learn-1.5.0.dist-info", metadata, &record).unwrap();
    assert_eq!(found.package.to_string(), "scikit-learn 1.5.0");
    assert_eq!(found.package.requires, ["numpy".to_owned()].into());
    assert!(found.files.iter().any(|it| it.path == "sklearn/a,\"b\".py"));
    let same = record
        .replace("../../../bin/tool,", "../../../bin/other,")
        .replace(",4\n", ",5\n");
    assert_eq!(
        installed::read("d", metadata, &same)
            .unwrap()
            .package
            .installed,
        found.package.installed
    );
    let other = record.replacen("sklearn/__init__.py", "sklearn/_init_.py", 1);
    assert_ne!(
        installed::read("d", metadata, &other)
            .unwrap()
            .package
            .installed,
        found.package.installed
    );
    for bad in ["", "a,b", "a,sha256=!!,1", "\"a,sha256=,1", ",sha256=x,1"] {
        assert!(installed::read("d", metadata, bad).is_err(), "{bad}");
    }
    assert!(installed::read("d", "Name: x\n", &record).is_err());
}

#[test]
fn a_recorded_file_counts_under_each_hash_that_can_be_compared_and_no_other_is_taken() {
    let metadata = "Name: x\nVersion: 1\n";
    let of = |record: &str| installed::read("d", metadata, record);
    let long = |bytes: &[u8]| Digest::of(Algorithm::Sha512, bytes);
    let sum = |bytes: &[u8]| data_encoding::BASE64URL_NOPAD.encode(long(bytes).bytes());
    let one = of(&format!("x.py,sha512={},1\n", sum(b"x"))).unwrap();
    assert_eq!(one.files[0].digest, Some(long(b"x")));
    let other = of(&format!("x.py,sha512={},1\n", sum(b"y"))).unwrap();
    assert_ne!(one.package.installed, other.package.installed);
    let short = data_encoding::BASE64URL_NOPAD.encode(&[0; 16]);
    let known = data_encoding::BASE64URL_NOPAD.encode(Digest::sha256(b"y").bytes());
    // Beside a row that is understood, too.
    assert!(of(&format!("x.py,md5={short},1\ny.py,sha256={known},1\n")).is_err());
}

#[test]
fn a_package_of_an_egg_info_has_a_name_and_a_version_and_no_digest() {
    let text = "Metadata-Version: 1.2\r\nName: PyYAML\r\nVersion: 6.0\r\n\r\nName: not this\r\n";
    let found = installed::read_egg_info("PyYAML-6.0.egg-info", text).unwrap();
    assert_eq!(found.to_string(), "pyyaml 6.0");
    assert!(found.installed.is_none() && found.archives.is_empty());
    let refused = installed::read_egg_info("x.egg-info", "Name: x\n").unwrap_err();
    assert!(refused.to_string().contains("x.egg-info"), "{refused}");
}

proptest! {
    #[test]
    fn no_parser_panics(text in "\\PC{0,200}") {
        let _ = requirements::parse(&text);
        let _ = lockfile::parse_uv(&text);
        let _ = lockfile::parse_pylock(&text);
        let _ = installed::read("d", &text, &text);
        let _ = installed::read_egg_info("d", &text);
        let _ = Bom::parse(text.as_bytes());
    }

    #[test]
    fn any_loss_is_told(removed in 0usize..3, package in 0usize..2) {
        let contents = contents();
        let bom = Bom::parse(&write(&contents).unwrap()).unwrap();
        let mut less = reality(&contents);
        less.files.as_mut().unwrap().remove(&contents.files[removed].path);
        less.packages.as_mut().unwrap().remove(package);
        let told = differences(&bom, &less);
        prop_assert_eq!(told.len(), 2);
        prop_assert!(told[0].contains(&contents.files[removed].path));
        prop_assert!(told[1].contains(&contents.packages[package].name));
    }
}

#[test]
fn spdx_names_everything_that_cyclonedx_names() {
    let contents = contents();
    let created = "2026-01-01T00:00:00.25Z".parse().unwrap();
    let bytes = write_spdx(&contents, &created).unwrap();
    assert_eq!(bytes, write_spdx(&contents, &created).unwrap());
    let document: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(document["creationInfo"]["created"], "2026-01-01T00:00:00Z");
    let packages = document["packages"].as_array().unwrap();
    let bom = Bom::parse(&write(&contents).unwrap()).unwrap();
    let named = |name: &str| packages.iter().find(|it| it["name"] == name);
    for component in bom.all_components() {
        // Facts of the environment are an annotation.
        if component.reference.as_deref() == Some("environment") {
            continue;
        }
        let found = named(&component.name).unwrap_or_else(|| panic!("{}", component.name));
        for hash in &component.hashes {
            assert!(
                found["checksums"].to_string().contains(&hash.content),
                "{}",
                component.name
            );
        }
    }
    let annotation = document["annotations"][0]["comment"].as_str();
    for (fact, value) in &contents.environment {
        let annotation = annotation.unwrap();
        assert!(
            annotation.contains(fact) && annotation.contains(value.as_str()),
            "{fact}"
        );
    }
    let id = |name: &str| named(name).unwrap()["SPDXID"].clone();
    let relations = document["relationships"].as_array().unwrap();
    let related = |from: &str, relation: &str, to: &str| {
        relations.iter().any(|it| {
            it["spdxElementId"] == id(from)
                && it["relationshipType"] == relation
                && it["relatedSpdxElement"] == id(to)
        })
    };
    assert!(related("churn", "CONTAINS", "model.safetensors"));
    assert!(related("churn", "DEPENDS_ON", "scikit-learn"));
    assert!(related("scikit-learn", "DEPENDS_ON", "numpy"));
    let mut ids: Vec<&str> = packages
        .iter()
        .map(|it| it["SPDXID"].as_str().unwrap())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), packages.len());
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    assert!(ids.iter().all(|id| id.chars().all(plain)));
}

#[test]
fn spdx_refuses_one_name_for_two() {
    let mut contents = contents();
    contents.packages.push(contents.packages[0].clone());
    let created = "2026-01-01T00:00:00Z".parse().unwrap();
    assert!(write_spdx(&contents, &created).is_err());
}
