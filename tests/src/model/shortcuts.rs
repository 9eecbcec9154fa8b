//! The collector's protocol with one known mistake each: the proof that the explorer can find a loss.
//!
//! Owns what each mistake changes; every other step is the real protocol's own. Each variant is judged
//! by what users are promised alone, [`invariants::no_loss`] and [`invariants::none_condemned`], so what is
//! found is a visible manifest without its bytes or a sound copy that is withheld, not just an internal rule
//! that was broken.
//!
//! A mistake of two steps needs a process that remembers the first: [`State::noted`] and
//! [`State::decided`] are that memory.

mod steps;

use super::Model;
use super::gc::rows::State;
use super::gc::{Action, Contents, Protocol, World, invariants};
use std::fmt;

/// A mistake that registries have made, or that suggests itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortcut {
    /// Blobs live at the path of their digest; the collector deletes what was unreferenced and older
    /// than a grace period when it looked.
    DigestPathWithGrace,
    /// Trash, but the key is the digest's: a DELETE under way meets the next upload of the same blob.
    DigestNamedTrash,
    /// An expired upload whose client comes back is taken out of the trash again.
    RevivedUpload,
    /// The object is deleted inside the transaction that deletes its row, before it commits.
    ObjectDeletedBeforeRow,
    /// The object is written before any row names its key.
    ObjectWrittenBeforeRow,
    /// The row is written before the bytes are synced.
    RowBeforeSync,
    /// A commit does not ask whether its upload session still exists.
    NoSessionCheck,
    /// `manifest_put` checks its blobs in one transaction and inserts in another.
    CheckThenInsert,
    /// `manifest_put` relies on the pin that the client's HEAD has set.
    TrustThePin,
    /// The collector decides on a snapshot and deletes the link later, without the predicate.
    StaleReview,
    /// A mount publishes the link first and counts it at the blob in a second transaction.
    LinkBeforeCount,
    /// Links are counted at the blob in separate transactions, keyed by (digest, repository).
    CountKeyedByRepository,
    /// A repeated delete, whose first reply was lost, takes the counts back twice.
    DeleteCountsTwice,
    /// A resumed upload moves its bytes back while a request that published them has still to commit.
    ResumeBesideCommit,
    /// Who has read a damaged copy puts the digest into quarantine, whichever copy it has by then.
    QuarantineByDigest,
}

impl Shortcut {
    /// All of them.
    pub const ALL: [Shortcut; 15] = [
        Shortcut::DigestPathWithGrace,
        Shortcut::DigestNamedTrash,
        Shortcut::RevivedUpload,
        Shortcut::ObjectDeletedBeforeRow,
        Shortcut::ObjectWrittenBeforeRow,
        Shortcut::RowBeforeSync,
        Shortcut::NoSessionCheck,
        Shortcut::CheckThenInsert,
        Shortcut::TrustThePin,
        Shortcut::StaleReview,
        Shortcut::LinkBeforeCount,
        Shortcut::CountKeyedByRepository,
        Shortcut::DeleteCountsTwice,
        Shortcut::ResumeBesideCommit,
        Shortcut::QuarantineByDigest,
    ];

    /// The smallest world in which the mistake matters.
    pub fn world(self) -> World {
        let image = Contents {
            blobs: 0b1,
            children: 0,
        };
        let world = |repositories, keys, manifests: usize| World {
            repositories,
            digests: 1,
            keys,
            manifests: vec![image; manifests],
            rots: self == Shortcut::QuarantineByDigest,
        };
        match self {
            Shortcut::LinkBeforeCount | Shortcut::CountKeyedByRepository => world(2, 2, 1),
            Shortcut::DeleteCountsTwice => world(1, 2, 2),
            _ => world(1, 2, 1),
        }
    }
}

/// A step of a broken variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// As in the real protocol, unless the shortcut says otherwise.
    Real(Action),
    /// The first half of a mistake.
    First(Half),
    /// The second half, taken by the process that remembers the first.
    Second(Half),
}

/// What the halves of a two-step mistake are about; the meaning depends on the shortcut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// Manifest `m` in repository `r`.
    Manifest(usize, usize),
    /// The link from repository `r` to digest `d`.
    Link(usize, usize),
    /// Digest `d`.
    Blob(usize),
    /// Key `k`.
    Key(usize),
}

/// The protocol with one shortcut taken.
pub struct Broken {
    shortcut: Shortcut,
    real: Protocol,
    actions: Vec<Named>,
}

/// A step with the shortcut that gives it its meaning, so that traces can be read.
#[derive(Clone, Copy)]
pub struct Named(Shortcut, Step);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Half::{Blob, Key, Link, Manifest};
        use Shortcut as S;
        match (self.0, self.1) {
            (S::DigestPathWithGrace, Step::Real(Action::Write(_))) => {
                f.write_str("server: writes the bytes at the digest's path")
            }
            (S::DigestPathWithGrace, Step::Real(Action::Commit(_))) => {
                f.write_str("server: commits the upload, the object is at its digest's path")
            }
            (S::DigestNamedTrash, Step::Real(Action::Begin(..))) => {
                f.write_str("client: starts an upload, its key is the blob's digest")
            }
            (S::DigestNamedTrash, Step::Real(Action::Write(k))) => {
                write!(f, "server: writes and syncs the bytes of key {k}")
            }
            (S::DigestNamedTrash, Step::Real(Action::Commit(k))) => write!(
                f,
                "server: commits the upload, takes key {k} out of the trash"
            ),
            (S::ObjectWrittenBeforeRow, Step::Real(Action::Begin(..))) => {
                f.write_str("client: starts an upload, no row names its key")
            }
            (S::RowBeforeSync, Step::Real(Action::Commit(k))) => {
                write!(f, "server: commits the upload of key {k}, not synced")
            }
            (S::NoSessionCheck, Step::Real(Action::Commit(k))) => write!(
                f,
                "server: commits the upload of key {k}, no look at its session"
            ),
            (S::CheckThenInsert, Step::First(Manifest(_, m))) => write!(
                f,
                "server: first transaction: all blobs of manifest {m} exist"
            ),
            (S::CheckThenInsert, Step::Second(Manifest(_, m))) => {
                write!(f, "server: second transaction: inserts manifest {m}")
            }
            (S::TrustThePin, Step::First(Manifest(_, m))) => write!(
                f,
                "client: HEAD of all blobs of manifest {m}: they exist, pinned"
            ),
            (S::TrustThePin, Step::Second(Manifest(_, m))) => {
                write!(f, "client: puts manifest {m}, relying on the pins")
            }
            (S::StaleReview, Step::First(Link(..))) => {
                f.write_str("collector: its snapshot shows an unreferenced link")
            }
            (S::StaleReview, Step::Second(Link(..))) => {
                f.write_str("collector: removes the link that it found unreferenced")
            }
            (S::LinkBeforeCount, Step::Real(Action::Mount(..))) => {
                f.write_str("client: mounts blob x into b: the link is published, not yet counted")
            }
            (S::LinkBeforeCount, Step::Second(Link(..))) => {
                f.write_str("server: counts the mounted link at the blob")
            }
            (S::CountKeyedByRepository, Step::Second(Link(..))) => {
                f.write_str("collector: counts the removed link down at the blob")
            }
            (S::DigestPathWithGrace, Step::First(Blob(_))) => {
                f.write_str("time: the object is older than the grace period")
            }
            (S::DigestPathWithGrace, Step::Second(Blob(_))) => {
                f.write_str("collector: finds the blob unreferenced and old")
            }
            (S::DigestPathWithGrace, Step::Second(Key(_))) => {
                f.write_str("collector: deletes the object and the row of what it found")
            }
            (S::ObjectDeletedBeforeRow, Step::First(Blob(_))) => {
                f.write_str("collector: deletes the object, dies before its transaction commits")
            }
            (S::RevivedUpload, Step::First(Key(k))) => write!(
                f,
                "client: goes on with its upload, key {k} is taken out of the trash"
            ),
            (S::DeleteCountsTwice, Step::Second(Manifest(_, m))) => write!(
                f,
                "client: repeats the delete of manifest {m}, whose reply was lost"
            ),
            (S::QuarantineByDigest, Step::Second(Key(k))) => {
                write!(f, "reader: has read key {k}, says that blob x is damaged")
            }
            (_, Step::Real(action)) => action.fmt(f),
            (_, Step::First(half)) => write!(f, "first half: {half:?}"),
            (_, Step::Second(half)) => write!(f, "second half: {half:?}"),
        }
    }
}

impl Broken {
    /// The protocol with `shortcut` taken, in the smallest world in which that matters.
    pub fn new(shortcut: Shortcut) -> Broken {
        let real = Protocol::new(shortcut.world());
        let world = real.world();
        let mut halves: Vec<Half> = (0..world.digests).map(Half::Blob).collect();
        halves.extend((0..world.keys).map(Half::Key));
        for r in 0..world.repositories {
            halves.extend((0..world.digests).map(|d| Half::Link(r, d)));
            halves.extend((0..world.manifests.len()).map(|m| Half::Manifest(r, m)));
        }
        // What a client may do besides makes traces shorter, and hides what they are about.
        let relevant = |action: &&Action| match action {
            Action::Unlink(..) | Action::HeadManifest(..) => false,
            Action::Resume(_) => shortcut == Shortcut::ResumeBesideCommit,
            _ => true,
        };
        let steps = real.actions().iter().filter(relevant);
        let steps = steps.map(|action| Step::Real(*action));
        let steps = steps.chain(
            halves
                .iter()
                .flat_map(|h| [Step::First(*h), Step::Second(*h)]),
        );
        let actions = steps.map(|step| Named(shortcut, step)).collect();
        Broken {
            shortcut,
            real,
            actions,
        }
    }
}

impl Model for Broken {
    type State = State;
    type Action = Named;

    fn initial(&self) -> State {
        State::default()
    }

    fn actions(&self) -> &[Named] {
        &self.actions
    }

    fn key(&self, state: &State) -> u128 {
        state.key()
    }

    fn check(&self, state: &State) -> Result<(), String> {
        invariants::no_loss(&self.real, state)?;
        invariants::none_condemned(state)
    }

    fn apply(&self, state: &State, Named(_, step): Named) -> Option<State> {
        match self.shortcut {
            Shortcut::DigestPathWithGrace => self.digest_path_with_grace(state, step),
            Shortcut::DigestNamedTrash => self.digest_named_trash(state, step),
            Shortcut::RevivedUpload => self.revived_upload(state, step),
            Shortcut::ObjectDeletedBeforeRow => self.object_deleted_before_row(state, step),
            Shortcut::ObjectWrittenBeforeRow => self.object_written_before_row(state, step),
            Shortcut::RowBeforeSync => self.row_before_sync(state, step),
            Shortcut::NoSessionCheck => self.no_session_check(state, step),
            Shortcut::CheckThenInsert | Shortcut::TrustThePin => {
                self.check_then_insert(state, step)
            }
            Shortcut::StaleReview => self.stale_review(state, step),
            Shortcut::LinkBeforeCount => self.link_before_count(state, step),
            Shortcut::CountKeyedByRepository => self.count_keyed_by_repository(state, step),
            Shortcut::DeleteCountsTwice => self.delete_counts_twice(state, step),
            Shortcut::ResumeBesideCommit => self.resume_beside_commit(state, step),
            Shortcut::QuarantineByDigest => self.quarantine_by_digest(state, step),
        }
    }
}

#[cfg(test)]
mod tests;
