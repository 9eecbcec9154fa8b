//! The source against what ARCHITECTURE.md and spec/README.md say of it.
//!
//! Owns the comparison of names in files; it compiles nothing and resolves nothing, so it can be fooled on
//! purpose (by a macro, say) and not by accident. Does not own the arrows between crates beyond their
//! manifests: cargo refuses circles itself.
//! Invariant: a check that finds nothing to check fails.

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    fn at(path: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
    }

    fn read(path: &str) -> String {
        fs::read_to_string(at(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Rust files below a directory, as (path within it, code). Files of tests are left out.
    fn sources(directory: &str) -> Vec<(String, String)> {
        let root = at(directory);
        let mut found = Vec::new();
        let mut queue = vec![root.clone()];
        while let Some(next) = queue.pop() {
            for entry in fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    queue.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
                    found.push((name.to_owned(), fs::read_to_string(&path).unwrap()));
                }
            }
        }
        assert!(found.len() > 10, "{directory} has hardly any source");
        let test_modules: BTreeSet<String> = found
            .iter()
            .flat_map(|(name, text)| test_modules(name, text))
            .collect();
        found.retain(|(name, _)| {
            !test_modules.iter().any(|module| {
                name.strip_prefix(module.as_str())
                    .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
            })
        });
        found
            .into_iter()
            .map(|(name, text)| (name, code(&text)))
            .collect()
    }

    /// Paths, without extension, of the files that a file declares as tests: `#[cfg(test)] mod suite;`.
    fn test_modules(name: &str, text: &str) -> Vec<String> {
        let base = name
            .trim_end_matches(".rs")
            .trim_end_matches("mod")
            .trim_end_matches("lib")
            .trim_end_matches('/');
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        lines
            .windows(2)
            .filter(|pair| pair[0].starts_with("#[cfg(test)]"))
            .filter_map(|pair| {
                let declared = pair[1].split("mod ").nth(1)?.strip_suffix(';')?;
                Some(match base {
                    "" => declared.to_owned(),
                    _ => format!("{base}/{declared}"),
                })
            })
            .collect()
    }

    /// A file without comments and without the test module at its end.
    fn code(text: &str) -> String {
        let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
        text[..end]
            .lines()
            .map(|line| line.split("//").next().unwrap_or_default())
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// The names that follow `crate::` anywhere, in groups as well.
    fn used(code: &str) -> BTreeSet<String> {
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let mut names = BTreeSet::new();
        for (place, _) in code.match_indices("crate::") {
            let before = code[..place].chars().next_back();
            if before.is_some_and(|c| is_name(c) || c == '$') {
                continue;
            }
            let rest = &code[place + "crate::".len()..];
            match rest.strip_prefix('{') {
                Some(group) => {
                    let mut depth = 0;
                    let mut start = true;
                    for (index, c) in group.char_indices() {
                        match c {
                            '{' => depth += 1,
                            '}' if depth == 0 => break,
                            '}' => depth -= 1,
                            ',' if depth == 0 => start = true,
                            _ if c.is_whitespace() => {}
                            _ if start && depth == 0 => {
                                start = false;
                                names.insert(
                                    group[index..].chars().take_while(|c| is_name(*c)).collect(),
                                );
                            }
                            _ => {}
                        }
                    }
                }
                None => {
                    names.insert(rest.chars().take_while(|c| is_name(*c)).collect());
                }
            }
        }
        names.remove("");
        names
    }

    /// The module line of a document, in its order.
    fn order(document: &str) -> Vec<String> {
        let line = document
            .split('`')
            .find(|text| text.contains(" < ") && text.ends_with("main"))
            .expect("the document states the modules' order");
        line.split([',', '<'])
            .map(|name| name.trim().to_owned())
            .collect()
    }

    fn module_of(file: &str) -> &str {
        file.split('/').next().unwrap().trim_end_matches(".rs")
    }

    /// Uses that go against the order, as text.
    fn backwards(order: &[String], file: &str, code: &str) -> Vec<String> {
        let rank = |name: &str| order.iter().position(|other| other == name);
        let module = module_of(file);
        let own = rank(module).unwrap_or_else(|| panic!("{module} is not in the modules' order"));
        used(code)
            .into_iter()
            .filter(|name| name != module)
            .filter(|name| rank(name).is_none_or(|other| other > own))
            .map(|name| format!("{file} uses crate::{name}"))
            .collect()
    }

    #[test]
    fn registry_modules_use_only_what_stands_before_them() {
        let order = order(&read("ARCHITECTURE.md"));
        let files = sources("registry/src");
        let wrong: Vec<String> = files
            .iter()
            .filter(|(file, _)| file != "lib.rs")
            .flat_map(|(file, code)| backwards(&order, file, code))
            .collect();
        assert!(wrong.is_empty(), "against the order {order:?}: {wrong:#?}");

        let stated: BTreeSet<&str> = order.iter().map(String::as_str).collect();
        let there: BTreeSet<&str> = files
            .iter()
            .map(|(file, _)| module_of(file))
            .filter(|module| *module != "lib")
            .collect();
        assert_eq!(stated, there, "the order names every module and no other");
    }

    /// Where answers and their bodies are made, and the files that wrap what comes in, or what goes out as a stream.
    #[test]
    fn bodies_of_answers_are_made_in_one_file() {
        let files = sources("registry/src/api");
        assert!(files.iter().any(|(file, _)| file == "answer.rs"));
        for (file, code) in files {
            let wraps = matches!(
                file.as_str(),
                "ending.rs" | "lingering.rs" | "server.rs" | "streams.rs"
            );
            for maker in [
                "Response::new",
                "Response::builder",
                "Response::from",
                "Body::from",
                "Body::new",
            ] {
                assert!(
                    !code.contains(maker) || file == "answer.rs" || (wraps && maker == "Body::new"),
                    "registry/src/api/{file} makes a body of its own: {maker}"
                );
            }
        }
    }

    /// A repository may be a stranger's, and git runs what its configuration names unless it is asked with care.
    #[test]
    fn git_is_started_in_one_file() {
        let files = sources("client/src");
        let starting = files
            .iter()
            .filter(|(_, code)| code.contains("new(\"git\")"));
        let starting: Vec<&str> = starting.map(|(file, _)| file.as_str()).collect();
        assert_eq!(starting, ["environment/git/asked.rs"]);
    }

    #[test]
    fn architecture_and_lib_state_the_same_order() {
        assert_eq!(
            order(&read("ARCHITECTURE.md")),
            order(&read("registry/src/lib.rs"))
        );
    }

    #[test]
    fn an_arrow_backwards_is_seen() {
        let order = order("`clock < auth < metadata, blobs < main`");
        assert_eq!(order.len(), 5);
        let see = |file: &str, text: &str| backwards(&order, file, &code(text));
        assert!(
            see(
                "blobs/mod.rs",
                "use crate::metadata::Row;\nuse crate::blobs::x;"
            )
            .is_empty()
        );
        assert_eq!(see("auth.rs", "use crate::blobs::Store;").len(), 1);
        assert_eq!(see("auth.rs", "fn f() -> crate::metadata::Row {}").len(), 1);
        assert_eq!(
            see(
                "auth.rs",
                "use crate::{\n    blobs::{A, B},\n    clock, metadata,\n};"
            )
            .len(),
            2
        );
        assert_eq!(see("auth.rs", "use crate::elsewhere::A;").len(), 1);
        assert!(see("auth.rs", "// use crate::blobs;\nuse crate::clock;").is_empty());
        assert!(see("auth.rs", "#[cfg(test)]\nmod tests {\nuse crate::blobs;").is_empty());
    }

    /// What would let time, randomness, files or the network into `spec`.
    const IMPURE: [&str; 14] = [
        "std::fs",
        "std::env",
        "std::process",
        "std::thread",
        "std::os",
        "std::net::Tcp",
        "std::net::Udp",
        "std::net::ToSocketAddrs",
        "SystemTime",
        "Instant::",
        "tokio",
        "async ",
        ".await",
        "rand::",
    ];

    #[test]
    fn spec_does_no_io_and_reads_no_clock() {
        for (file, code) in sources("spec/src") {
            for word in IMPURE {
                assert!(!code.contains(word), "spec/src/{file} names {word}");
            }
        }
        let manifest: toml::Table = toml::from_str(&read("spec/Cargo.toml")).unwrap();
        for name in manifest["dependencies"].as_table().unwrap().keys() {
            let is_pure = ![
                "tokio", "reqwest", "hyper", "axum", "rand", "tempfile", "libc",
            ]
            .contains(&name.as_str());
            assert!(is_pure, "spec depends on {name}");
        }
    }

    #[test]
    fn crates_use_only_what_stands_below_them() {
        let dependencies = |of: &str| -> BTreeSet<String> {
            let manifest: toml::Table = toml::from_str(&read(&format!("{of}/Cargo.toml"))).unwrap();
            let tables = ["dependencies", "dev-dependencies", "build-dependencies"];
            tables
                .iter()
                .filter_map(|table| manifest.get(*table)?.as_table())
                .flat_map(|table| table.keys().cloned())
                .filter(|name| name.starts_with("sealstone"))
                .collect()
        };
        assert!(dependencies("spec").is_empty());
        for above in ["registry", "client"] {
            let found = dependencies(above);
            assert_eq!(
                found,
                BTreeSet::from(["sealstone-spec".to_owned()]),
                "{above}"
            );
        }
    }

    fn names_in(directory: &str) -> BTreeSet<String> {
        fs::read_dir(at(directory))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn each_chapter_has_its_modules_and_vectors() {
        let readme = read("spec/README.md");
        let rows: Vec<&str> = readme
            .lines()
            .filter(|line| line.contains("](text/"))
            .collect();
        let linked = |folder: &str| -> BTreeSet<String> {
            let start = format!("]({folder}/");
            rows.iter()
                .flat_map(|row| row.split(start.as_str()).skip(1))
                .map(|rest| rest.split(')').next().unwrap().to_owned())
                .collect()
        };
        assert_eq!(linked("text"), names_in("spec/text"), "chapters");
        assert_eq!(linked("vectors"), names_in("spec/vectors"), "vectors");
        for row in &rows {
            assert!(row.contains("](vectors/"), "chapter without vectors: {row}");
        }
        let named: BTreeSet<&str> = rows
            .iter()
            .flat_map(|row| row.split('`').skip(1).step_by(2))
            .collect();
        let library = read("spec/src/lib.rs");
        let modules: BTreeSet<&str> = library
            .lines()
            .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
            .collect();
        assert_eq!(named, modules, "modules named in the table");
    }
}
