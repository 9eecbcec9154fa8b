//! The steps of the protocol by name, and how they read in a trace.
//!
//! Owns the names only; what a step does is in the parent module.

use std::fmt;

/// One step. `r` is a repository, `d` a digest, `m` a manifest, `k` a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// An existence check by a writer: pins.
    Head(usize, usize),
    /// The same of a manifest, by whoever is going to list it in an index.
    HeadManifest(usize, usize),
    /// A mount from the other repository.
    Mount(usize, usize),
    /// `upload_begin`: reserves the next key.
    Begin(usize, usize),
    /// The bytes arrive under the key, at any time after the reservation.
    Write(usize),
    /// The bytes are synced and some server knows it.
    Sync(usize),
    /// `upload_commit`.
    Commit(usize),
    /// The session ends without a commit.
    Expire(usize),
    /// A server that started finds bytes under the key of a session: it moves them back, and the client goes on.
    Resume(usize),
    /// `manifest_put` by digest.
    Put(usize, usize),
    /// `manifest_put` with a tag, or `tag_put` on what exists.
    Tag(usize, usize),
    /// `tag_delete`.
    Untag(usize),
    /// `manifest_delete`, with its tags, also of what an index lists.
    Delete(usize, usize),
    /// `blob_unlink` by a client: it asks for no pin.
    Unlink(usize, usize),
    /// The disk changes the bytes of a blob.
    Rot(usize),
    /// Whoever has read the copy under a key says that it is damaged.
    Quarantine(usize),
    /// A manifest's pin ends.
    UnpinManifest(usize, usize),
    /// A link's pin ends.
    UnpinLink(usize, usize),
    /// A blob's pin ends.
    UnpinBlob(usize),
    /// `gc_review` of a manifest.
    ReviewManifest(usize, usize),
    /// `gc_review` of a link.
    ReviewLink(usize, usize),
    /// `gc_review` of a blob.
    ReviewBlob(usize),
    /// A sweeper reads a trash row and sends DELETE.
    Sweep(usize),
    /// Startup repair or inventory finds an object that no row names, and sends DELETE.
    Inventory(usize),
    /// A DELETE arrives.
    Arrive(usize),
    /// `trash_done`.
    Done(usize),
    /// The power fails: what was not synced is gone.
    PowerCut,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const R: [&str; 2] = ["a", "b"];
        const D: [&str; 2] = ["x", "y"];
        match *self {
            Action::Head(r, d) => {
                write!(f, "client: HEAD blob {} in {}: exists, pinned", D[d], R[r])
            }
            Action::HeadManifest(r, m) => {
                write!(f, "client: HEAD manifest {m} in {}: exists, pinned", R[r])
            }
            Action::Resume(k) => write!(f, "server: starts, moves the bytes of key {k} back"),
            Action::Unlink(r, d) => write!(f, "client: deletes blob {} of {}", D[d], R[r]),
            Action::Rot(k) => write!(f, "disk: changes the bytes of key {k}"),
            Action::Quarantine(k) => {
                write!(f, "reader: says that the copy under key {k} is damaged")
            }
            Action::Mount(r, d) => write!(f, "client: mounts blob {} into {}", D[d], R[r]),
            Action::Begin(r, d) => write!(
                f,
                "client: starts an upload of blob {} in {}, next key reserved",
                D[d], R[r]
            ),
            Action::Write(k) => write!(f, "server: writes the bytes of key {k}"),
            Action::Sync(k) => write!(f, "server: syncs the bytes of key {k}"),
            Action::Commit(k) => write!(f, "server: commits the upload of key {k}"),
            Action::Expire(k) => {
                write!(f, "collector: expires the upload of key {k}, key to trash")
            }
            Action::Put(r, m) => write!(f, "client: puts manifest {m} into {}", R[r]),
            Action::Tag(r, m) => write!(f, "client: tags manifest {m} in {}", R[r]),
            Action::Untag(r) => write!(f, "client: deletes the tag of {}", R[r]),
            Action::Delete(r, m) => write!(f, "client: deletes manifest {m} of {}", R[r]),
            Action::UnpinManifest(r, m) => {
                write!(f, "time: the pin of manifest {m} in {} ends", R[r])
            }
            Action::UnpinLink(r, d) => write!(
                f,
                "time: the pin of the link from {} to blob {} ends",
                R[r], D[d]
            ),
            Action::UnpinBlob(d) => write!(f, "time: the pin of blob {} ends", D[d]),
            Action::ReviewManifest(r, m) => {
                write!(f, "collector: removes manifest {m} of {}", R[r])
            }
            Action::ReviewLink(r, d) => write!(
                f,
                "collector: removes the link from {} to blob {}",
                R[r], D[d]
            ),
            Action::ReviewBlob(d) => write!(f, "collector: removes blob {}, key to trash", D[d]),
            Action::Sweep(k) => write!(f, "collector: sends DELETE for key {k}"),
            Action::Inventory(k) => write!(f, "inventory: no row names key {k}, sends DELETE"),
            Action::Arrive(k) => write!(f, "object store: a DELETE of key {k} arrives"),
            Action::Done(k) => write!(f, "collector: removes key {k} from trash"),
            Action::PowerCut => write!(f, "power cut"),
        }
    }
}
