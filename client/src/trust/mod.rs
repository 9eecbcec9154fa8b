//! Signing, and judging what others have signed.
//!
//! | file | what it owns |
//! | --- | --- |
//! | `attest` | typed statements, signed and attached |
//! | `sign` | signature bundles as referrers of a manifest |
//! | `model` | OpenSSF model signatures, and the file that their tools read |
//! | `legacy` | cosign's older `.sig` tag, for the tools that read nothing else |
//! | `evidence` | fetching what has been said about a manifest |
//! | `verify` | the judgement by a policy or by keys, offline |
//! | `proofs` | proofs that statements were logged |
//! | `policies` | policies read, signed, and the highest version of each registry and set of root keys remembered |
//! | `record` | the signed policy that travels with a release, and where that says it comes from |
//! | `vouched` | what the registry itself says, and how its key is known |
//! | `denied` | a refusal in words |
//! | `name` | the three words that people say |
//! | `files` | a directory compared with a bundle |
//!
//! What a signature must look like, and what a policy asks for, is decided in `sealstone_spec`, by the
//! same functions that the registry calls. Nothing here believes a registry's word.

mod attest;
mod denied;
mod evidence;
mod files;
mod legacy;
mod model;
mod name;
mod policies;
mod proofs;
mod record;
mod sign;
mod verify;
mod vouched;

pub use attest::{Attestation, Said, attest, open, said};
pub use denied::{denial_of, denied};
pub use evidence::{Attached, Evidence, evidence_of};
pub use files::{FileProblem, compare_files, compare_pulled};
pub(crate) use legacy::{Listed, add_to_list, set_bill};
pub use legacy::{extend_legacy, sign_legacy};
pub(crate) use model::model_claims;
pub use model::{ModelSigned, model_root, model_signature, sign_model};
pub use name::expect_name;
pub use policies::{
    HandedOut, KeptPolicies, Remembered, now, read_policy, read_to_sign, registry_policy,
    signed_policy,
};
pub use proofs::evidence_for;
pub use record::{ToldRepository, policy_by_roots, told_repository};
pub use sign::{Signed, attach, attach_document, logged, sign};
pub use verify::{Judge, Judgement, TrustSource, demand_rules};
pub use vouched::{KnownBy, RegistryKey, RegistryWord};

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
