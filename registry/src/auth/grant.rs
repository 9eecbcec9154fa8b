//! Proof of a permission: a [`Grant<Push>`](Grant) says that this principal may push to this repository.
//!
//! Owns: the proof and its actions as types. Does not own: the decision (`authorize`).
//! Invariant: a grant is made by [`Authorizer::grant`](super::Authorizer::grant), or, for the jobs,
//! by [`Maintenance`]; its fields are private and it is neither `Default` nor `Deserialize`.
//! Functions that act on a repository take the repository's name *from the grant*, so that there is
//! no second name to confuse it with.
//!
//! A grant to pull is no grant to push:
//! ```
//! use sealstone_registry::auth::{Grant, Pull, Push};
//! fn upload(_: &Grant<Push>) {}
//! fn may(grant: &Grant<Push>) { upload(grant) }
//! ```
//! ```compile_fail,E0308
//! use sealstone_registry::auth::{Grant, Pull, Push};
//! fn upload(_: &Grant<Push>) {}
//! fn may(grant: &Grant<Pull>) { upload(grant) }
//! ```
//! and nobody writes one down:
//! ```compile_fail,E0451
//! use sealstone_registry::auth::{Grant, Identity, Pull, VerbSet};
//! use sealstone_spec::name::RepoName;
//! fn forge(repository: RepoName) -> Grant<Pull> {
//!     Grant { identity: Identity::Anonymous, repository, held: VerbSet::ALL, action: Default::default() }
//! }
//! ```
//! A request never obtains the grant of the jobs:
//! ```compile_fail,E0277
//! use sealstone_registry::auth::{Authorizer, Maintain, Principal};
//! use sealstone_spec::name::RepoName;
//! fn sneak(authorizer: &Authorizer, repository: &RepoName) {
//!     let _ = authorizer.grant::<Maintain>(&Principal::anonymous(), repository);
//! }
//! ```

use super::principal::Identity;
use super::verb::{Verb, VerbSet};
use sealstone_spec::name::RepoName;
use std::fmt;
use std::marker::PhantomData;

mod sealed {
    pub trait Sealed {}
}

/// A verb as a type. Closed: only the actions of this module implement it.
pub trait Action: sealed::Sealed + Send + Sync + 'static {
    /// The verb that the rules must give.
    const VERB: Verb;
}

macro_rules! actions {
    ($($name:ident),*) => {$(
        #[doc = concat!("The action of [`Verb::", stringify!($name), "`].")]
        #[derive(Clone, Copy, Debug)]
        pub enum $name {}
        impl sealed::Sealed for $name {}
        impl Action for $name {
            const VERB: Verb = Verb::$name;
        }
    )*};
}

actions!(Pull, Push, Tag, Delete, Sign, Approve, Admin);

/// The action of the server's own jobs (collection, scrub, repair). Not an [`Action`]: no rule and
/// no request gives it, only [`Maintenance`].
#[derive(Clone, Copy, Debug)]
pub enum Maintain {}

/// Proof that `identity` may do `A` in `repository`.
pub struct Grant<A> {
    identity: Identity,
    repository: RepoName,
    /// What the principal holds there, before a session's scope narrowed it.
    held: VerbSet,
    action: PhantomData<fn() -> A>,
}

impl<A> Grant<A> {
    /// For the two makers in this folder.
    pub(super) fn new(identity: Identity, repository: RepoName, held: VerbSet) -> Grant<A> {
        Grant {
            identity,
            repository,
            held,
            action: PhantomData,
        }
    }

    /// Who acts, for audit lines and for `created_by`.
    pub fn principal(&self) -> &Identity {
        &self.identity
    }

    /// Where.
    pub fn repository(&self) -> &RepoName {
        &self.repository
    }
}

impl Grant<Pull> {
    /// Whether the principal reads what is staged, not only what is released: true for those who
    /// also hold push, sign, tag, approve or admin there. The scope of a session does not matter
    /// here: clients ask for `pull` alone when they read, and a signer has to read what they sign.
    pub fn sees_staging(&self) -> bool {
        [
            Verb::Push,
            Verb::Sign,
            Verb::Tag,
            Verb::Approve,
            Verb::Admin,
        ]
        .into_iter()
        .any(|verb| self.held.contains(verb))
    }
}

impl Grant<Push> {
    /// Who may push may pull.
    pub fn to_pull(&self) -> Grant<Pull> {
        Grant::new(self.identity.clone(), self.repository.clone(), self.held)
    }
}

impl<A> Clone for Grant<A> {
    fn clone(&self) -> Self {
        Grant::new(self.identity.clone(), self.repository.clone(), self.held)
    }
}

impl<A> fmt::Debug for Grant<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = std::any::type_name::<A>();
        let action = action.rsplit("::").next().unwrap_or(action);
        write!(
            f,
            "Grant<{action}>({} in {})",
            self.identity, self.repository
        )
    }
}

/// The right of the server's own jobs over every repository. `boot` makes one and hands it to them.
#[derive(Debug)]
pub struct Maintenance(());

impl Maintenance {
    /// For `boot` only; a test reads the sources and fails when another module calls it.
    pub fn at_boot() -> Maintenance {
        Maintenance(())
    }

    /// The grant for one repository.
    pub fn grant(&self, repository: &RepoName) -> Grant<Maintain> {
        Grant::new(Identity::System, repository.clone(), VerbSet::ALL)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::path::Path;

    /// Lines before the file's test module that call the constructor.
    fn callers(folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // Folders of tests hold nothing that a server runs.
                if !path.ends_with("tests") {
                    callers(&path, found);
                }
            } else if path.extension().is_some_and(|ext| ext == "rs")
                && !path.ends_with("auth/grant.rs")
            {
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]").next().unwrap();
                if code.contains("Maintenance::at_boot") {
                    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
                    let path = path.strip_prefix(source).unwrap();
                    found.push(path.to_string_lossy().into_owned());
                }
            }
        }
    }

    #[test]
    fn only_boot_makes_the_right_of_the_jobs() {
        let mut found = Vec::new();
        callers(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
            &mut found,
        );
        found.retain(|file| {
            let name = file.rsplit('/').next().unwrap();
            file != "boot.rs"
                && !file.starts_with("boot/")
                && !matches!(name, "tests.rs" | "testing.rs" | "suite.rs")
        });
        assert!(
            found.is_empty(),
            "Maintenance::at_boot is for boot, called in {found:?}"
        );
    }

    #[test]
    fn the_jobs_act_as_the_system() {
        let grant = Maintenance::at_boot().grant(&"a/b".parse().unwrap());
        assert_eq!(format!("{grant:?}"), "Grant<Maintain>(system in a/b)");
        assert_eq!(grant.repository().as_str(), "a/b");
    }
}
