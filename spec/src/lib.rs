//! Formats and decisions of Sealstone: bytes in, validated types and verdicts out.
//!
//! Invariants of this crate: no I/O, no async, no clock, no randomness, no `unsafe`.
//! Whatever has been checked is a different type from what has not; the types that stand for a
//! completed check have private fields and can only be made by that check.
//!
//! | module | chapter | what it owns |
//! | --- | --- | --- |
//! | [`digest`], [`tree`] | 01 | named digests, running hashes, the BLAKE3 group tree |
//! | [`range`], [`evidence_list`] | 01 | ranges of bytes in headers; what may stand under a tag that lists evidence |
//! | [`name`], [`image`], [`words`] | 01 | repositories, tags, references, names that people can say |
//! | [`media`], [`manifest`], [`bundle`], [`role`] | 02 | media types, manifests as received, bundles, their paths, what files are for |
//! | [`canonical`] | 03 | strict JSON in, RFC 8785 JSON out |
//! | [`key`], [`envelope`], [`sigstore`], [`statement`] | 03 | keys, DSSE, sigstore bundles, in-toto statements |
//! | [`environment`] | 08 | facts of an environment, their levels and differences; levels of isolation |
//! | [`recipe`] | 04 | how a model is made: `recipe.toml`, lint, `recipe.lock`, stage keys |
//! | [`attachment`] | 03 | one document attached to a manifest |
//! | [`model_signature`] | 03 | OpenSSF Model Signing, made of a manifest alone |
//! | [`record`] | 03 | what a registry says about a release, as a referrer that travels with it |
//! | [`policy`], [`admission`] | 05 | who must have said what before a release; the proof that they did |
//! | [`compare`] | 07 | when two results are the same: classes, tolerances, gates, statistics |
//! | [`report`] | 09 | what a replay found: verdict, first divergence, attribution |
//! | [`log`] | 06 | the transparency log: tree, checkpoints, proofs, entries, witnesses |
//! | [`statement`], [`notary`], [`purl`], [`bom`] | 10 | what statements say: provenance, tests, approvals; what a registry says of a release; package URLs; bills of materials |

#![forbid(unsafe_code)]

pub mod admission;
pub mod attachment;
pub mod bom;
pub mod bundle;
pub mod canonical;
pub mod compare;
pub mod digest;
pub mod envelope;
pub mod environment;
pub mod evidence_list;
mod exact;
#[cfg(test)]
mod fixtures;
pub mod image;
pub mod key;
pub mod log;
pub mod manifest;
pub mod media;
pub mod model_signature;
pub mod name;
pub mod notary;
pub mod policy;
pub mod purl;
pub mod range;
pub mod recipe;
pub mod record;
pub mod report;
pub mod role;
pub mod sigstore;
pub mod statement;
pub mod tree;
#[cfg(test)]
mod vectors;
pub mod words;
