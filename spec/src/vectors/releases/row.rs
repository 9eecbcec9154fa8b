//! A row of the table, and how one is read back from its file.

use super::super::text;
use super::people::{NOW, policy};
use super::release::{Attached, evidence};
use crate::digest::{Algorithm, Digest};
use crate::manifest::VerifiedManifest;
use crate::policy::{Case, Circumstances};
use serde_json::{Value, json};

pub(super) enum Expected {
    Admitted,
    /// Denied, and the denial contains this text.
    Denied(&'static str),
}

pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) policy: String,
    pub(super) now: &'static str,
    pub(super) attached: Attached,
    pub(super) uses: Value,
    pub(super) damaged: bool,
    /// Whether a release tag names it.
    pub(super) released: bool,
    pub(super) expected: Expected,
}

pub(super) fn row(name: &'static str, attached: Attached, expected: Expected) -> Row {
    Row {
        name,
        policy: policy(),
        now: NOW,
        attached,
        uses: json!({}),
        damaged: false,
        released: false,
        expected,
    }
}

pub(super) fn read(vector: &Value) -> (crate::name::RepoName, Case, Circumstances) {
    let repo = text(vector, "/repository").parse().unwrap();
    let subject = VerifiedManifest::check(
        text(vector, "/manifest").to_owned(),
        None,
        None,
        Algorithm::Sha256,
    )
    .unwrap();
    let mut case = Case::of(&repo, &subject);
    for item in vector["evidence"].as_array().unwrap() {
        let referrer = text(item, "/referrer").as_bytes().to_vec();
        case.add(evidence(&(
            referrer,
            text(item, "/bundle").as_bytes().to_vec(),
        )));
    }
    let mut circumstances = Circumstances::at(text(vector, "/now").parse().unwrap());
    for (key, used) in vector["uses"].as_object().unwrap() {
        let used = used.as_array().unwrap().iter();
        let used = used.map(|digest| digest.as_str().unwrap().parse().unwrap());
        circumstances.uses.insert(key.clone(), used.collect());
    }
    if vector["damaged"] == json!(true) {
        circumstances.damaged.insert(Digest::sha256(b"weights"));
    }
    circumstances.released = vector["released"] == json!(true);
    (repo, case, circumstances)
}
