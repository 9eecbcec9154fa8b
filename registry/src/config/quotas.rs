//! `[[quota]]`: whether what is set there can be meant.

use super::ConfigError;
use crate::metadata::Quota;
use sealstone_spec::name::RepoName;
use std::collections::BTreeSet;

/// Says what is wrong with which of them, counted from 1 in the order of the file.
pub(super) fn check(quotas: &[Quota]) -> Result<(), ConfigError> {
    let mut seen = BTreeSet::new();
    for (index, quota) in quotas.iter().enumerate() {
        let namespace = quota.namespace.as_str();
        let invalid = |problem: &str| {
            Err(ConfigError::Invalid(format!(
                "[[quota]] number {}, namespace = {namespace:?}: {problem}",
                index + 1
            )))
        };
        if !namespace.is_empty() && namespace.parse::<RepoName>().is_err() {
            return invalid(
                "no repository can lie there: write a path as in their names, such as \"team-a\" or \"team-a/models\", without patterns and without a slash at its end; it covers everything below it, and \"\" covers all",
            );
        }
        if quota.bytes.is_none() && quota.objects.is_none() {
            return invalid("it limits nothing: set bytes, objects or both, or remove it");
        }
        if !seen.insert(namespace) {
            return invalid("another one is of the same namespace: put both limits into one");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::Config;

    fn read(text: &str) -> Result<Vec<Quota>, String> {
        let config: Config = toml::from_str(text).map_err(|error| error.to_string())?;
        check(&config.quota).map_err(|error| error.to_string())?;
        Ok(config.quota)
    }

    #[test]
    fn quotas_are_of_paths_and_limit_something() {
        let quotas = read(
            "[[quota]]\nnamespace = \"team-a\"\nbytes = 536870912000\nobjects = 100000\n\
             [[quota]]\nnamespace = \"team-a/models\"\nobjects = 0\n\
             [[quota]]\nnamespace = \"\"\nbytes = 1\n",
        )
        .unwrap();
        let limits = quotas
            .iter()
            .map(|quota| (quota.namespace.as_str(), quota.bytes, quota.objects));
        assert_eq!(
            limits.collect::<Vec<_>>(),
            [
                ("team-a", Some(536_870_912_000), Some(100_000)),
                ("team-a/models", None, Some(0)),
                ("", Some(1), None),
            ]
        );
        assert_eq!(read("").unwrap(), []);
    }

    #[test]
    fn what_cannot_be_meant_is_told_with_its_place() {
        let good = "[[quota]]\nnamespace = \"a\"\nbytes = 1\n";
        for (text, says) in [
            ("namespace = \"a\"\nobjects = 1\n", "the same namespace"),
            ("namespace = \"b\"\n", "limits nothing"),
            (
                "namespace = \"B\"\nbytes = 1\n",
                "no repository can lie there",
            ),
            (
                "namespace = \"b/\"\nbytes = 1\n",
                "no repository can lie there",
            ),
            (
                "namespace = \"b/**\"\nbytes = 1\n",
                "no repository can lie there",
            ),
            (
                "namespace = \"/\"\nbytes = 1\n",
                "no repository can lie there",
            ),
        ] {
            let problem = read(&format!("{good}[[quota]]\n{text}")).unwrap_err();
            assert!(
                problem.contains("number 2") && problem.contains(says),
                "{text}: {problem}"
            );
        }
        for text in [
            "bytes = 1\n",
            "namespace = \"b\"\nbytes = -1\n",
            "namespace = \"b\"\nbytes = \"1 GiB\"\n",
            "namespace = \"b\"\nbytes = 1\nfiles = 1\n",
        ] {
            let problem = read(&format!("{good}[[quota]]\n{text}")).unwrap_err();
            assert!(problem.contains("line"), "{text}: {problem}");
        }
    }
}
