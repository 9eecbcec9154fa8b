//! Chapters 11 and 12 of the specification against their vectors, and against the source of the registry.
//!
//! Owns the comparison of tables and names; what a route does is for the end-to-end tests.
//! Invariant: a comparison that finds nothing to compare fails.

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::Value;
    use std::collections::{BTreeMap, BTreeSet};
    use std::fs;
    use std::path::Path;

    fn read(path: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn vectors(path: &str) -> Value {
        serde_json::from_str(&read(&format!("spec/vectors/{path}"))).unwrap()
    }

    /// The cells of the rows of every table with this number of columns, without heads.
    fn rows(text: &str, columns: usize) -> Vec<Vec<String>> {
        let cells = |line: &str| -> Vec<String> {
            let inner = line.trim().trim_start_matches('|').trim_end_matches('|');
            inner
                .split('|')
                .map(|cell| cell.trim().to_owned())
                .collect()
        };
        let lines: Vec<&str> = text.lines().collect();
        let mut found = Vec::new();
        for (index, line) in lines.iter().enumerate() {
            let is_row = line.starts_with("| ") && !line.starts_with("| ---");
            let is_head = lines
                .get(index + 1)
                .is_some_and(|next| next.starts_with("| ---"));
            if is_row && !is_head && cells(line).len() == columns {
                found.push(cells(line));
            }
        }
        found
    }

    fn code(cell: &str) -> String {
        cell.replace('`', "")
    }

    type Routes = BTreeMap<String, BTreeSet<String>>;

    fn methods(text: &str) -> BTreeSet<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn stated() -> Routes {
        let routes = rows(&read("spec/text/11-api.md"), 4);
        let routes: Vec<_> = routes
            .iter()
            .filter(|row| row[1].starts_with("`/"))
            .map(|row| (code(&row[1]), methods(&row[0])))
            .collect();
        let mut all = Routes::new();
        for (path, methods) in routes {
            all.entry(path).or_default().extend(methods);
        }
        assert!(all.len() > 30);
        all
    }

    #[test]
    fn the_routes_of_the_chapter_are_those_of_its_vectors() {
        let mut listed = Routes::new();
        for route in vectors("api/routes.json")["routes"].as_array().unwrap() {
            let path = route["path"].as_str().unwrap().to_owned();
            let methods = route["methods"].as_array().unwrap().iter();
            let methods = methods.map(|method| method.as_str().unwrap().to_owned());
            listed.entry(path).or_default().extend(methods);
        }
        assert_eq!(stated(), listed);
    }

    /// Arms such as `(Method::GET, ["accounts", name])` of the JSON API.
    fn administration() -> Routes {
        let source = read("registry/src/api/admin.rs");
        let body = source.split("fn administrator").next().unwrap();
        let mut found = Routes::new();
        for arm in body.split("(Method::").skip(1) {
            let (method, rest) = arm.split_once(", [").unwrap();
            let parts = rest.split_once(']').unwrap().0;
            let parts: Vec<String> = parts
                .split(", ")
                .map(|part| match part.strip_prefix('"') {
                    Some(text) => text.trim_end_matches('"').to_owned(),
                    None => format!("{{{part}}}"),
                })
                .collect();
            let path = format!("/api/v1/{}", parts.join("/"));
            let methods = found.entry(path).or_default();
            methods.insert(method.to_owned());
            if method == "GET" {
                methods.insert("HEAD".to_owned());
            }
        }
        assert!(body.contains("Method::HEAD => Method::GET"));
        assert!(found.len() > 10);
        found
    }

    /// Arms such as `"key" if is_read` of the log's part.
    fn log() -> Routes {
        let source = read("registry/src/api/log.rs");
        let mut found = Routes::new();
        for line in source.lines().map(str::trim) {
            let Some((name, rest)) = line.strip_prefix('"').and_then(|l| l.split_once("\" if "))
            else {
                continue;
            };
            let methods = match rest {
                rest if rest.starts_with("is_read") => methods("GET HEAD"),
                rest if rest.contains("Method::POST") => methods("POST"),
                other => panic!("{other}"),
            };
            found.insert(format!("/api/v1/log/{name}"), methods);
        }
        assert_eq!(found.len(), 5);
        found
    }

    #[test]
    fn the_source_has_the_routes_of_the_chapter_and_no_others() {
        let stated = stated();
        let below = |prefix: &str| -> Routes {
            let own = stated.iter().filter(|(path, _)| path.starts_with(prefix));
            own.map(|(path, methods)| (path.clone(), methods.clone()))
                .collect()
        };
        assert_eq!(below("/api/v1/log/"), log());
        let mut api = below("/api/v1/");
        api.retain(|path, _| !path.starts_with("/api/v1/log/"));
        assert_eq!(api, administration());
        // Paths that are matched as they stand, and kinds of paths below /v2/.
        let dispatch = read("registry/src/api/mod.rs");
        for path in ["/livez", "/readyz", "/metrics", "/token", "/"] {
            assert!(
                stated.contains_key(path) && dispatch.contains(&format!("\"{path}\" =>")),
                "{path}"
            );
        }
        let kinds = read("registry/src/api/route.rs");
        let kinds = kinds.split("pub(super) enum OciRoute {").nth(1).unwrap();
        let kinds = kinds.split("\n}").next().unwrap();
        let documented: BTreeSet<String> = kinds
            .lines()
            .filter_map(|line| line.trim().strip_prefix("/// `"))
            .map(|path| {
                path.trim_end_matches('`')
                    .replace('<', "{")
                    .replace('>', "}")
            })
            .collect();
        let below: BTreeSet<String> = below("/v2").into_keys().collect();
        assert_eq!(documented, below);
    }

    #[test]
    fn the_headers_of_the_source_stand_in_the_chapter() {
        let text = read("spec/text/11-api.md");
        let stated: BTreeSet<String> = rows(&text, 3)
            .iter()
            .flat_map(|row| row[0].split('`').skip(1).step_by(2))
            .map(str::to_lowercase)
            .collect();
        let mut sent = BTreeSet::new();
        for file in [
            "admin",
            "log",
            "oci/blobs",
            "oci/manifests",
            "oci/referrers",
            "oci/uploads",
        ] {
            let source = read(&format!("registry/src/api/{file}.rs"));
            for name in source.split("name(\"").skip(1) {
                sent.insert(name.split('"').next().unwrap().to_owned());
            }
        }
        assert!(sent.len() > 15);
        assert_eq!(stated, sent);
    }

    #[test]
    fn each_forgery_of_the_chapter_has_its_row_and_a_reason_of_its_own() {
        let table = |chapter: &str, section: &str| {
            let text = read(&format!("spec/text/{chapter}"));
            let found = rows(text.split(section).nth(1).unwrap(), 3);
            assert!(found.len() >= 20, "{chapter}: {}", found.len());
            found
        };
        // Ways to hold a key's signature against what it is not of, and a root against what does not lead
        // there; nothing tells them apart.
        let shared = [
            ["flipped payload", "wrong key id"],
            ["wrong root", "inconsistent consistency proof"],
        ];
        let mut reasons: BTreeMap<String, String> = BTreeMap::new();
        let mut forgeries = table("05-policy.md", "## 5.10");
        forgeries.extend(table("06-log.md", "## 6.8"));
        for row in &forgeries {
            let (file, name) = (code(&row[1]), &row[2]);
            let vectors = match file.contains('/') {
                true => vectors(&file),
                false => vectors(&format!("policy/{file}")),
            };
            let vector = vectors.as_array().unwrap().iter();
            let mut vector = vector.filter(|vector| vector["name"].as_str() == Some(name));
            let vector = vector
                .next()
                .unwrap_or_else(|| panic!("{file} has no {name}"));
            let because = [
                &vector["verdict"]["because"],
                &vector["because"],
                &vector["problem"],
            ];
            let because = because.into_iter().find_map(Value::as_str).unwrap();
            assert_ne!(vector["verdict"]["admitted"], true, "{name}");
            if let Some(other) = reasons.insert(because.to_owned(), name.clone()) {
                let pair = [other.as_str(), name.as_str()];
                assert!(shared.contains(&pair), "one reason for {pair:?}: {because}");
            }
        }
    }

    #[test]
    fn the_errors_of_the_chapter_are_those_of_its_vectors() {
        let text = read("spec/text/12-errors.md");
        let stated: BTreeSet<(String, String, String, String)> = rows(&text, 5)
            .iter()
            .map(|row| (code(&row[0]), row[1].clone(), code(&row[2]), code(&row[3])))
            .collect();
        let listed: BTreeSet<(String, String, String, String)> =
            vectors("errors/outcomes.json")["outcomes"]
                .as_array()
                .unwrap()
                .iter()
                .map(|outcome| {
                    let text = |key: &str| outcome[key].as_str().unwrap_or_default().to_owned();
                    let status: Vec<String> = outcome["status"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .map(Value::to_string)
                        .collect();
                    (
                        text("outcome"),
                        status.join(", "),
                        text("code"),
                        text("reason"),
                    )
                })
                .collect();
        assert!(stated.len() > 30);
        assert_eq!(stated, listed);

        let exits: BTreeSet<(String, String)> = rows(&text, 3)
            .iter()
            .filter(|row| row[0] != "0")
            .map(|row| (row[0].clone(), code(&row[1])))
            .collect();
        let listed: BTreeSet<(String, String)> = vectors("errors/exits.json")["exits"]
            .as_array()
            .unwrap()
            .iter()
            .map(|exit| {
                (
                    exit["code"].to_string(),
                    exit["name"].as_str().unwrap().to_owned(),
                )
            })
            .collect();
        assert_eq!(exits, listed);
    }
}
