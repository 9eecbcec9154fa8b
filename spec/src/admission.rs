//! The proof that a judgement passed.
//!
//! A store takes an [`Admission`] to make a release, and nothing but [`Policy::judge`] makes one, so
//! code that forgets to judge does not compile. It cannot say under *whose* policy it was judged: the
//! store compares [`Admission::policy`] with the policy in force, inside the transaction that uses it.

use crate::digest::Digest;
use crate::name::RepoName;
use crate::policy::{Evaluation, ExceptionUse, Policy, Time};
use serde::Serialize;

/// A manifest that may be released in one repository, under one policy, on some evidence.
///
/// ```
/// use sealstone_spec::{admission::Admission, digest::Digest, policy::{Case, Circumstances, Policy, Time}};
/// let repo = "models/x".parse()?;
/// let case = Case::new(&repo, Digest::sha256(b"manifest"), 8);
/// let now = Circumstances::at(Time::from_seconds(0));
/// let admission: Admission = Policy::default_policy().judge(&repo, &case, &now)?;
/// assert_eq!(*admission.manifest(), Digest::sha256(b"manifest"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Judging is the only way to have one. It cannot be written down,
/// ```compile_fail,E0451
/// use sealstone_spec::{admission::Admission, digest::Digest};
/// let digest = Digest::sha256(b"manifest");
/// let repo = "models/x".parse().unwrap();
/// let made_up = Admission { repo, manifest: digest, policy: digest, scope: digest, evidence: vec![], exceptions: vec![], until: None };
/// ```
/// nor be read from a document,
/// ```compile_fail,E0277
/// use sealstone_spec::admission::Admission;
/// let made_up: Admission = serde_json::from_str("{}").unwrap();
/// ```
/// nor come out of nothing,
/// ```compile_fail,E0277
/// use sealstone_spec::admission::Admission;
/// fn make<T: Default>() -> T { T::default() }
/// let made_up: Admission = make();
/// ```
/// nor be changed.
/// ```compile_fail,E0616
/// use sealstone_spec::{admission::Admission, digest::Digest};
/// fn change(admission: &mut Admission) {
///     admission.manifest = Digest::sha256(b"other");
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Admission {
    repo: RepoName,
    manifest: Digest,
    policy: Digest,
    scope: Digest,
    evidence: Vec<Digest>,
    exceptions: Vec<ExceptionUse>,
    until: Option<Time>,
}

impl Admission {
    /// Called by [`Policy::judge`] with an evaluation whose every rule is met.
    pub(crate) fn grant(policy: &Policy, evaluation: &Evaluation) -> Admission {
        assert!(
            evaluation.satisfied(),
            "only a passing evaluation is granted"
        );
        let results = evaluation.results.iter();
        let mut evidence: Vec<Digest> = results
            .flat_map(|result| result.evidence.iter().copied())
            .collect();
        evidence.sort_unstable();
        evidence.dedup();
        Admission {
            repo: evaluation.repository.clone(),
            manifest: evaluation.manifest,
            policy: *policy.digest(),
            scope: evaluation.scope,
            evidence,
            exceptions: evaluation.exceptions.clone(),
            until: evaluation.until,
        }
    }

    /// The repository.
    pub fn repo(&self) -> &RepoName {
        &self.repo
    }

    /// The manifest.
    pub fn manifest(&self) -> &Digest {
        &self.manifest
    }

    /// Digest of the whole policy that it was judged under.
    pub fn policy(&self) -> &Digest {
        &self.policy
    }

    /// Digest of that part of the policy that decided; see [`Policy::scope_digest`].
    pub fn scope(&self) -> &Digest {
        &self.scope
    }

    /// Digests of the referrer manifests that it rests on, sorted; they must stay.
    pub fn evidence(&self) -> &[Digest] {
        &self.evidence
    }

    /// Exceptions that it makes use of; each use must be counted where the release is made.
    pub fn exceptions(&self) -> &[ExceptionUse] {
        &self.exceptions
    }

    /// It does not hold from this moment on; `None` if time changes nothing about it.
    pub fn until(&self) -> Option<Time> {
        self.until
    }
}
