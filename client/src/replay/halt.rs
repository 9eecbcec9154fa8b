//! What stops a replay: before anything runs, or where bytes that were checked are others when a stage is to read them.

use crate::error::{Error, Outcome};
use sealstone_spec::digest::Digest;
use sealstone_spec::report::TrailEntry;
use std::fmt;

/// Bytes, a signature or a document that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Halt {
    /// What was looked at: `signature`, `policy`, `bundle-digest`, `input-digest`, `lock`, `recipe`.
    pub code: String,
    /// Which: a path, a manifest.
    pub subject: String,
    /// What was found.
    pub text: String,
    /// Whether all signatures hold and only other rules of the policy do not: then it is a denial.
    pub denied: bool,
    /// Whether what the bundle itself holds is at fault: bytes that are not those of its digests, or files that contradict
    /// each other. Only then is it said to everybody, and a release put into quarantine: other data, keys, images or
    /// files of the one who replays say nothing about it.
    pub about_bundle: bool,
    /// Name and version of what was to be replayed, where its recipe says them and nothing else does.
    pub id: Option<String>,
    /// Who answers for the model, if the recipe could be read.
    pub owner: Option<String>,
    /// What was done until then, if the replay had begun.
    pub trail: Vec<TrailEntry>,
}

impl Halt {
    /// A halt.
    pub fn new(code: &str, subject: impl Into<String>, text: impl Into<String>) -> Halt {
        Halt {
            code: code.into(),
            subject: subject.into(),
            text: text.into(),
            denied: false,
            about_bundle: false,
            id: None,
            owner: None,
            trail: Vec::new(),
        }
    }

    /// The same, found in the bundle itself if `is` says so.
    #[must_use]
    pub fn about_bundle_if(mut self, is: bool) -> Halt {
        self.about_bundle = is;
        self
    }

    /// Other bytes than were expected.
    pub fn digest(code: &str, path: &str, expected: &Digest, actual: &Digest) -> Halt {
        Halt::new(code, path, format!("expected {expected}, found {actual}"))
    }

    /// The halt that an error stands for by which something turned out to be another than when it was checked; `None`
    /// for every other error. The error's detail says which: `path`, and `code` where it is no input of a stage. It had
    /// been right when it was checked, so it says nothing about the bundle: this machine is at fault.
    pub(super) fn of_change(error: &Error) -> Option<Halt> {
        if error.outcome() != Outcome::Halted {
            return None;
        }
        let mut halt = Halt::of_error(error, "environment")?;
        let details = error.details();
        let detail = |name: &str| details.and_then(|details| details.get(name)?.as_str());
        let is_input = detail("path").is_some();
        let usual = if is_input {
            "input-digest"
        } else {
            "file-digest"
        };
        halt.code = detail("code").unwrap_or(usual).to_owned();
        if let Some(path) = detail("path") {
            halt.subject = path.to_owned();
        }
        Some(halt)
    }

    /// The halt that an error of a pull stands for, as [`Halt::of_error`]. A layer whose bytes are not those of its digest
    /// is the bundle's own fault; a form that this version cannot unpack is not.
    pub fn of_pull(error: &Error, subject: &str) -> Option<Halt> {
        let is_layer = error
            .details()
            .is_some_and(|details| details.get("layer").is_some());
        let halt = Halt::of_error(error, subject)?;
        Some(halt.about_bundle_if(is_layer && error.outcome() == Outcome::Halted))
    }

    /// The halt that an error of verification stands for; `None` for errors that say nothing about the
    /// bundle, such as a network that does not answer.
    pub fn of_error(error: &Error, subject: &str) -> Option<Halt> {
        let mut text = error.message().to_owned();
        for cause in error
            .causes()
            .into_iter()
            .chain(error.hints().iter().cloned())
        {
            text.push_str("; ");
            text.push_str(&cause);
        }
        let details = error.details();
        match error.outcome() {
            Outcome::Halted => {
                // Which part of it is another one, where that is known.
                let layer = details.and_then(|details| details.get("layer")?.as_str());
                Some(Halt::new("bundle-digest", layer.unwrap_or(subject), text))
            }
            Outcome::Refused => {
                let unmet = details.and_then(|details| details.get("unmet"));
                let rules: Vec<&str> = unmet
                    .and_then(serde_json::Value::as_array)
                    .into_iter()
                    .flatten()
                    .filter_map(|rule| rule.get("rule")?.as_str())
                    .collect();
                // Who cannot say which rule was not met cannot say that the signatures hold.
                let denied = !rules.is_empty() && !rules.contains(&"signatures");
                let code = if denied { "policy" } else { "signature" };
                Some(Halt {
                    denied,
                    ..Halt::new(code, subject, text)
                })
            }
            _ => None,
        }
    }
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}: {}", self.code, self.subject, self.text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn only_a_layer_of_other_bytes_is_the_bundle_s_own_fault() {
        let layer = || Error::halted("another one").detail(json!({"layer": "model/weights.bin"}));
        let halt = Halt::of_pull(&layer(), "oci:m").unwrap();
        assert!(halt.about_bundle, "{halt}");
        assert_eq!(halt.subject, "model/weights.bin");
        // The same of an image that is another place's, and what was changed here after it had been checked.
        assert!(
            !Halt::of_error(&layer(), "environment")
                .unwrap()
                .about_bundle
        );
        let changed = Error::halted("changed").detail(json!({"path": "data/raw.csv"}));
        assert!(!Halt::of_change(&changed).unwrap().about_bundle);
        assert!(!Halt::of_change(&layer()).unwrap().about_bundle);
        // What cannot be unpacked may be of a later version, and whom the policy does not know says nothing of bytes.
        for error in [
            Error::halted("cannot be unpacked"),
            Error::refused("unsigned"),
        ] {
            assert!(!Halt::of_pull(&error, "oci:m").unwrap().about_bundle);
        }
        assert_eq!(Halt::of_pull(&Error::network("down"), "oci:m"), None);
    }
}
