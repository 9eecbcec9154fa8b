//! The seven verbs, and sets of them.
//!
//! Owns: their names and what implies what. Does not own: who has them (`rules`).
//! Invariant: a [`VerbSet`] made by [`VerbSet::closed`] holds everything that its members imply.

use serde::{Deserialize, Serialize};
use std::fmt;

/// One thing that can be done to a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Read what is released.
    Pull,
    /// Add blobs and manifests; read what is staged.
    Push,
    /// Give a manifest that is there a tag; for a release tag this asks the release gate. Read what is staged.
    Tag,
    /// Remove tags, manifests and blobs.
    Delete,
    /// Attach signatures and attestations: manifests that have a subject. Read what is staged.
    Sign,
    /// Attach statements in which people say what they think of a release: that they approve, reject, deprecate or
    /// revoke it, except it from a rule, open or close an incident. Read what is staged.
    Approve,
    /// All of these. Policy, accounts and jobs are the whole registry's, and for its administrators.
    Admin,
}

impl Verb {
    /// Every verb, in the order of the documentation.
    pub const ALL: [Verb; 7] = [
        Verb::Pull,
        Verb::Push,
        Verb::Tag,
        Verb::Delete,
        Verb::Sign,
        Verb::Approve,
        Verb::Admin,
    ];

    /// The name, as it stands in the configuration and in token scopes.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Pull => "pull",
            Verb::Push => "push",
            Verb::Tag => "tag",
            Verb::Delete => "delete",
            Verb::Sign => "sign",
            Verb::Approve => "approve",
            Verb::Admin => "admin",
        }
    }

    /// The verb of that name. Names are exact: lowercase, no blanks.
    pub fn named(name: &str) -> Option<Verb> {
        Verb::ALL.into_iter().find(|verb| verb.as_str() == name)
    }

    fn bit(self) -> u8 {
        1 << (self as u8)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of verbs.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct VerbSet(u8);

impl VerbSet {
    /// No verb.
    pub const NONE: VerbSet = VerbSet(0);
    /// Every verb.
    pub const ALL: VerbSet = VerbSet(0b111_1111);

    /// Whether `verb` is in the set.
    pub fn contains(self, verb: Verb) -> bool {
        self.0 & verb.bit() != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What is in either.
    #[must_use]
    pub fn union(self, other: VerbSet) -> VerbSet {
        VerbSet(self.0 | other.0)
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(self, other: VerbSet) -> VerbSet {
        VerbSet(self.0 & other.0)
    }

    /// The set with what it implies: push brings pull, admin brings everything.
    #[must_use]
    pub fn closed(self) -> VerbSet {
        if self.contains(Verb::Admin) {
            VerbSet::ALL
        } else if self.contains(Verb::Push) {
            self.union(VerbSet(Verb::Pull.bit()))
        } else {
            self
        }
    }

    /// The members, in the order of [`Verb::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Verb> {
        Verb::ALL
            .into_iter()
            .filter(move |verb| self.contains(*verb))
    }
}

impl FromIterator<Verb> for VerbSet {
    fn from_iter<I: IntoIterator<Item = Verb>>(verbs: I) -> VerbSet {
        VerbSet(verbs.into_iter().fold(0, |bits, verb| bits | verb.bit()))
    }
}

impl From<Verb> for VerbSet {
    fn from(verb: Verb) -> VerbSet {
        VerbSet(verb.bit())
    }
}

impl fmt::Debug for VerbSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_and_serde_agree() {
        for verb in Verb::ALL {
            assert_eq!(Verb::named(verb.as_str()), Some(verb));
            assert_eq!(
                serde_json::to_string(&verb).unwrap(),
                format!("\"{}\"", verb.as_str())
            );
        }
        assert_eq!(Verb::named("Pull"), None);
        assert_eq!(Verb::named(""), None);
    }

    #[test]
    fn push_brings_pull_and_admin_brings_everything_and_nothing_else_brings_anything() {
        assert_eq!(
            VerbSet::from(Verb::Push).closed(),
            [Verb::Pull, Verb::Push].into_iter().collect()
        );
        assert_eq!(VerbSet::from(Verb::Admin).closed(), VerbSet::ALL);
        for verb in [
            Verb::Pull,
            Verb::Tag,
            Verb::Delete,
            Verb::Sign,
            Verb::Approve,
        ] {
            assert_eq!(VerbSet::from(verb).closed(), VerbSet::from(verb));
        }
        assert_eq!(Verb::ALL.into_iter().collect::<VerbSet>(), VerbSet::ALL);
    }
}
