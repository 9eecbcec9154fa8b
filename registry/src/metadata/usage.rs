//! What a namespace holds, and what it may hold at most.
//!
//! A namespace is a repository with everything below its name, or the whole registry. Owns the numbers and the one
//! comparison of them. Does not know where limits come from: whoever adds something brings those that apply, and the
//! store compares them in the same step.

use sealstone_spec::name::RepoName;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Bytes by which statements and small blobs may go beyond a quota: 64 MiB. A signature and an approval have to be possible
/// in a namespace that is full. A revocation as well, and that also once this is used up: then it is brought without a quota.
pub const HEADROOM_BYTES: u64 = 64 << 20;
/// Blobs and manifests by which they may: some thousand statements, of two or three objects each.
pub const HEADROOM_OBJECTS: u64 = 4096;

/// What a namespace holds. A blob counts in each repository that has it, once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Blobs.
    pub blobs: u64,
    /// Manifests.
    pub manifests: u64,
    /// Bytes of both.
    pub bytes: u64,
    /// Bytes for which uploads under way have taken hold of room.
    pub reserved: u64,
}

impl Usage {
    /// Blobs and manifests.
    pub fn objects(&self) -> u64 {
        self.blobs.saturating_add(self.manifests)
    }

    /// Bytes that are not to be had any more.
    pub fn taken(&self) -> u64 {
        self.bytes.saturating_add(self.reserved)
    }
}

/// What a namespace may hold at most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// The repository of this name and everything below it; empty for the whole registry.
    pub namespace: String,
    /// Bytes of blobs and manifests, uploads under way among them.
    pub bytes: Option<u64>,
    /// Blobs and manifests.
    pub objects: Option<u64>,
}

impl Quota {
    /// Whether a repository belongs to its namespace.
    pub fn covers(&self, repo: &RepoName) -> bool {
        let Some(rest) = repo.as_str().strip_prefix(self.namespace.as_str()) else {
            return false;
        };
        self.namespace.is_empty() || rest.is_empty() || rest.starts_with('/')
    }

    /// Why there is no room, if there is none.
    pub(crate) fn exceeded(&self, usage: &Usage, wanted: Wanted) -> Option<QuotaExceeded> {
        let limits = [
            (
                Counted::Bytes,
                self.bytes,
                usage.taken(),
                wanted.bytes,
                HEADROOM_BYTES,
            ),
            (
                Counted::Objects,
                self.objects,
                usage.objects(),
                wanted.objects,
                HEADROOM_OBJECTS,
            ),
        ];
        for (counted, limit, used, wanted_of_it, headroom) in limits {
            // What adds nothing is never refused, however full it is.
            let Some(limit) = limit.filter(|_| wanted_of_it > 0) else {
                continue;
            };
            let most = match wanted.headroom {
                true => limit.saturating_add(headroom),
                false => limit,
            };
            if used.saturating_add(wanted_of_it) > most {
                return Some(QuotaExceeded {
                    namespace: self.namespace.clone(),
                    counted,
                    limit,
                    used,
                    wanted: wanted_of_it,
                });
            }
        }
        None
    }
}

/// What somebody is about to add.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// Bytes.
    pub(crate) bytes: u64,
    /// Blobs or manifests.
    pub(crate) objects: u64,
    /// Whether it may go beyond a quota by [`HEADROOM_BYTES`] and [`HEADROOM_OBJECTS`].
    pub(crate) headroom: bool,
}

/// What a quota counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Counted {
    /// Bytes.
    Bytes,
    /// Blobs and manifests.
    Objects,
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Counted::Bytes => "bytes",
            Counted::Objects => "blobs and manifests",
        })
    }
}

/// A quota that leaves no room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaExceeded {
    /// Of which namespace.
    pub namespace: String,
    /// Of what there is too much.
    pub counted: Counted,
    /// How much of it there may be.
    pub limit: u64,
    /// How much of it is taken.
    pub used: u64,
    /// How much more was wanted.
    pub wanted: u64,
}

impl fmt::Display for QuotaExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let QuotaExceeded {
            namespace,
            counted,
            limit,
            used,
            wanted,
        } = self;
        match namespace.as_str() {
            "" => f.write_str("the registry")?,
            name => write!(f, "namespace \"{name}\"")?,
        }
        write!(
            f,
            " may hold {limit} {counted}, {used} are taken, and there is no room for {wanted} more: delete what is not needed and let the collector run, or ask the operator to raise its [[quota]]"
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn quota(namespace: &str, bytes: Option<u64>, objects: Option<u64>) -> Quota {
        Quota {
            namespace: namespace.into(),
            bytes,
            objects,
        }
    }

    fn wanted(bytes: u64, objects: u64, headroom: bool) -> Wanted {
        Wanted {
            bytes,
            objects,
            headroom,
        }
    }

    #[test]
    fn a_namespace_is_a_repository_and_what_lies_below_it() {
        for (namespace, repo, covered) in [
            ("", "a", true),
            ("", "a/b", true),
            ("a", "a", true),
            ("a", "a/b/c", true),
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", true),
            ("a/b", "a", false),
            ("a", "ab", false),
            ("a", "a-b/c", false),
            ("a", "b/a", false),
        ] {
            let found = quota(namespace, None, None).covers(&repo.parse().unwrap());
            assert_eq!(found, covered, "\"{namespace}\" and {repo}");
        }
    }

    #[test]
    fn used_reserved_and_wanted_together_fit_or_not() {
        let usage = Usage {
            blobs: 3,
            manifests: 1,
            bytes: 60,
            reserved: 30,
        };
        let full = quota("a", Some(100), Some(5));
        assert_eq!(full.exceeded(&usage, wanted(10, 1, false)), None);
        let exceeded = full.exceeded(&usage, wanted(11, 1, false)).unwrap();
        assert_eq!(
            (
                exceeded.counted,
                exceeded.limit,
                exceeded.used,
                exceeded.wanted
            ),
            (Counted::Bytes, 100, 90, 11)
        );
        let exceeded = full.exceeded(&usage, wanted(1, 2, false)).unwrap();
        assert_eq!(
            (
                exceeded.counted,
                exceeded.limit,
                exceeded.used,
                exceeded.wanted
            ),
            (Counted::Objects, 5, 4, 2)
        );
        // Each limit alone, and numbers that no sum may turn into small ones.
        let of_bytes = quota("a", Some(100), None);
        assert_eq!(of_bytes.exceeded(&usage, wanted(1, u64::MAX, false)), None);
        assert!(
            of_bytes
                .exceeded(&usage, wanted(u64::MAX, 1, true))
                .is_some()
        );
        let of_objects = quota("a", None, Some(5));
        assert_eq!(
            of_objects.exceeded(&usage, wanted(u64::MAX, 1, false)),
            None
        );
    }

    #[test]
    fn what_adds_nothing_fits_where_there_is_too_much_already() {
        let usage = Usage {
            blobs: 9,
            bytes: 900,
            ..Usage::default()
        };
        let overfull = quota("a", Some(1), Some(1));
        assert_eq!(overfull.exceeded(&usage, wanted(0, 0, false)), None);
        assert!(overfull.exceeded(&usage, wanted(0, 1, false)).is_some());
        assert!(overfull.exceeded(&usage, wanted(1, 0, false)).is_some());
    }

    #[test]
    fn statements_have_room_beyond_a_quota_and_no_more_than_that() {
        let nothing = quota("", Some(0), Some(0));
        let beside = |bytes, blobs| Usage {
            blobs,
            bytes,
            ..Usage::default()
        };
        let last = wanted(1, 1, true);
        let almost = beside(HEADROOM_BYTES - 1, HEADROOM_OBJECTS - 1);
        assert_eq!(nothing.exceeded(&almost, last), None);
        assert!(nothing.exceeded(&almost, wanted(1, 1, false)).is_some());
        for (used, counted) in [
            (beside(HEADROOM_BYTES, 0), Counted::Bytes),
            (beside(0, HEADROOM_OBJECTS), Counted::Objects),
        ] {
            let exceeded = nothing.exceeded(&used, last).unwrap();
            // The limit that is told is the one that was set.
            assert_eq!((exceeded.counted, exceeded.limit), (counted, 0));
        }
    }

    #[test]
    fn a_refusal_names_the_namespace_and_says_what_to_do() {
        let exceeded = |namespace: &str| {
            let full = quota(namespace, Some(100), None);
            let full = full.exceeded(&Usage::default(), wanted(101, 1, false));
            full.unwrap().to_string()
        };
        let told = exceeded("team-a");
        for part in [
            "namespace \"team-a\"",
            "100 bytes",
            "101 more",
            "delete",
            "[[quota]]",
        ] {
            assert!(told.contains(part), "{told}");
        }
        assert!(exceeded("").starts_with("the registry may hold"));
    }
}
