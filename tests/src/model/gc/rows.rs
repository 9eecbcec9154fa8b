//! The rows and objects of the modelled registry, and their exact packing into 128 bits.
//!
//! Owns the shape of a state; the steps are in the parent module. A packed state holds every field,
//! so two states with equal keys are equal.

/// Repositories, two so that a mount is real.
pub const REPOSITORIES: usize = 2;
/// Contents that blobs can have.
pub const DIGESTS: usize = 2;
/// Manifests that can be pushed, the same ones to each repository.
pub const MANIFESTS: usize = 2;
/// Physical keys that can be reserved in one run; each is reserved at most once.
pub const KEYS: usize = 4;

/// An upload session: it owns the key of its own number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The repository it was opened in.
    pub repository: u8,
    /// The content that the client is going to send.
    pub digest: u8,
}

/// `blobs`: where the bytes of a digest are, and how many repositories link to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blob {
    /// The physical key.
    pub key: u8,
    /// Number of rows in `links`.
    pub links: u8,
    /// `pin_until` lies in the future.
    pub pinned: bool,
    /// Its bytes are known to be damaged.
    pub quarantined: bool,
}

/// `links`: a repository's right to a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Manifests of this repository that name the blob.
    pub refs: u8,
    /// `pin_until` lies in the future.
    pub pinned: bool,
}

/// `manifests`: visible exactly when the row exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Tags of this repository that point here.
    pub tags: u8,
    /// Indexes of this repository that name this manifest.
    pub parents: u8,
    /// `pin_until` lies in the future.
    pub pinned: bool,
}

/// The bytes under one physical key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Object {
    /// Nothing there.
    #[default]
    Absent,
    /// Written but not synced: a power cut takes it.
    Volatile,
    /// Synced, or acknowledged by the object store.
    Durable,
}

/// Everything that exists: rows, objects, requests under way, and what processes have learnt.
///
/// The masks at the end are sets that only grow (see the parent module on why that is enough for any
/// number of processes); bit `k` stands for key `k` unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Keys reserved so far; key `next` is reserved next and none below it ever again.
    pub next: u8,
    /// `uploads`, by key.
    pub uploads: [Option<Upload>; KEYS],
    /// `blobs`, by digest.
    pub blobs: [Option<Blob>; DIGESTS],
    /// `links`, by repository and digest.
    pub links: [[Option<Link>; DIGESTS]; REPOSITORIES],
    /// `manifests`, by repository and manifest.
    pub manifests: [[Option<Manifest>; MANIFESTS]; REPOSITORIES],
    /// The one tag of each repository.
    pub tags: [Option<u8>; REPOSITORIES],
    /// `trash`, by key.
    pub trash: u8,
    /// What the object store holds, by key.
    pub objects: [Object; KEYS],
    /// Keys whose bytes some process knows to have been made durable.
    pub written: u8,
    /// Keys for which a DELETE was sent; it may arrive at any time, and again.
    pub delete_sent: u8,
    /// Keys whose bytes the disk has changed; whoever reads one may say so at any time after.
    pub rotten: u8,
    /// Manifests that a client deleted while an index lists them; see [`place_of`].
    pub withdrawn: u8,
    /// First memory of the processes of a broken variant; unused by the real protocol.
    pub noted: u8,
    /// Second memory of the processes of a broken variant; unused by the real protocol.
    pub decided: u8,
}

/// Whether `mask` has bit `number`.
pub fn has(mask: u8, number: usize) -> bool {
    mask >> number & 1 == 1
}

/// The bit of manifest `m` of repository `r`.
pub fn place_of(r: usize, m: usize) -> u8 {
    1 << (r * MANIFESTS + m)
}

struct Packer(u128, u32);

impl Packer {
    fn put(&mut self, value: u8, bits: u32) {
        debug_assert!(
            u32::from(value) < 1 << bits,
            "{value} does not fit {bits} bits"
        );
        self.0 |= u128::from(value) << self.1;
        self.1 += bits;
    }
}

impl State {
    /// The exact packing. 102 bits are used; a value that outgrows its field fails in debug builds.
    pub fn key(&self) -> u128 {
        let mut p = Packer(0, 0);
        p.put(self.next, 3);
        for upload in &self.uploads {
            p.put(
                upload.map_or(0, |u| 1 | u.repository << 1 | u.digest << 2),
                3,
            );
        }
        for blob in &self.blobs {
            p.put(
                blob.map_or(0, |b| {
                    let flags = u8::from(b.pinned) << 5 | u8::from(b.quarantined) << 6;
                    1 | b.key << 1 | b.links << 3 | flags
                }),
                7,
            );
        }
        for link in self.links.iter().flatten() {
            p.put(
                link.map_or(0, |l| 1 | l.refs << 1 | u8::from(l.pinned) << 3),
                4,
            );
        }
        for manifest in self.manifests.iter().flatten() {
            let bits = |m: Manifest| 1 | m.tags << 1 | m.parents << 2 | u8::from(m.pinned) << 3;
            p.put(manifest.map_or(0, bits), 4);
        }
        for tag in &self.tags {
            p.put(tag.map_or(0, |m| m + 1), 2);
        }
        for object in &self.objects {
            p.put(*object as u8, 2);
        }
        for mask in [
            self.trash,
            self.written,
            self.delete_sent,
            self.rotten,
            self.withdrawn,
            self.noted,
            self.decided,
        ] {
            p.put(mask, 4);
        }
        p.0
    }

    /// Whether any row names `key`.
    pub fn is_known(&self, key: usize) -> bool {
        self.uploads[key].is_some()
            || has(self.trash, key)
            || self
                .blobs
                .iter()
                .flatten()
                .any(|b| usize::from(b.key) == key)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn states_are_packed_exactly() {
        // each single change of a state changes its key, and no two of them to the same one
        let link = Link {
            refs: 1,
            pinned: true,
        };
        let mut base = State {
            next: 1,
            written: 1,
            tags: [Some(0), None],
            ..State::default()
        };
        base.blobs[0] = Some(Blob {
            key: 0,
            links: 1,
            pinned: true,
            quarantined: false,
        });
        base.links[0][0] = Some(link);
        base.manifests[0][0] = Some(Manifest {
            tags: 1,
            parents: 0,
            pinned: true,
        });
        base.objects[0] = Object::Durable;
        let changes: [fn(&mut State); 25] = [
            |s| s.next = 2,
            |s| {
                s.uploads[1] = Some(Upload {
                    repository: 0,
                    digest: 0,
                })
            },
            |s| {
                s.uploads[1] = Some(Upload {
                    repository: 1,
                    digest: 0,
                })
            },
            |s| {
                s.uploads[1] = Some(Upload {
                    repository: 0,
                    digest: 1,
                })
            },
            |s| {
                s.uploads[3] = Some(Upload {
                    repository: 1,
                    digest: 1,
                })
            },
            |s| s.blobs[0] = None,
            |s| {
                s.blobs[0] = Some(Blob {
                    key: 1,
                    links: 1,
                    pinned: true,
                    quarantined: false,
                })
            },
            |s| {
                s.blobs[0] = Some(Blob {
                    key: 0,
                    links: 2,
                    pinned: true,
                    quarantined: false,
                })
            },
            |s| {
                s.blobs[1] = Some(Blob {
                    key: 3,
                    links: 2,
                    pinned: true,
                    quarantined: false,
                })
            },
            |s| s.links[0][0] = None,
            |s| {
                s.links[1][1] = Some(Link {
                    refs: 2,
                    pinned: true,
                })
            },
            |s| {
                s.links[1][1] = Some(Link {
                    refs: 0,
                    pinned: false,
                })
            },
            |s| s.manifests[0][0] = None,
            |s| {
                s.manifests[1][1] = Some(Manifest {
                    tags: 1,
                    parents: 1,
                    pinned: true,
                })
            },
            |s| s.tags[0] = None,
            |s| s.tags[1] = Some(1),
            |s| s.trash = 0b1000,
            |s| s.objects[3] = Object::Durable,
            |s| s.written = 0b1001,
            |s| s.delete_sent = 0b1000,
            |s| s.rotten = 0b1000,
            |s| s.withdrawn = 0b1000,
            |s| s.blobs[0].as_mut().unwrap().quarantined = true,
            |s| s.noted = 0b1000,
            |s| s.decided = 0b1000,
        ];
        let mut keys = std::collections::HashSet::from([base.key()]);
        for change in changes {
            let mut s = base;
            change(&mut s);
            assert!(keys.insert(s.key()), "{s:?}");
        }
    }
}
