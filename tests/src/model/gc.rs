//! The garbage collector's protocol, as the metadata store and the object store see it.
//!
//! Owns the steps: what pushers, deleters, collectors, crashes and slow networks can do, each step one
//! transaction or one request. Does not model time (pins end and trash falls due at any moment, which
//! covers every clock), authorisation, or the bytes themselves.
//!
//! | row | counts | removed when |
//! | --- | --- | --- |
//! | `uploads` | - | committed, or expired: its key goes to `trash` |
//! | `manifests` | tags and parent indexes that hold it | both counts are 0 and its pin ended; or by a client |
//! | `links` | manifests of the repository that name the blob | the count is 0, and its pin ended or a client asked |
//! | `blobs` | links to it | the count is 0 and its pin ended: its key goes to `trash` |
//! | `trash` | - | the object was deleted |
//!
//! **Processes are not bounded.** No process holds anything that another one could not hold too, so what
//! matters is which points of the protocol *some* process has reached. That set only grows: where one
//! process stands, another that took the same steps may stand. So a server that learnt that bytes are
//! durable, or sent a DELETE, is a bit that is never cleared, and its next step may come at any time,
//! or again. A crash is a process that takes no further step, a restart is a new one at its beginning:
//! neither needs an action of its own, except the power cut, which takes unsynced bytes. Only the
//! number of keys is bounded, and with it the states. (Where one process does end, because one server at a time
//! has the directory, [`Action::Resume`] says so.)
//!
//! Invariant of the protocol: every decision is a predicate on one row that both sides update, and a
//! key's life runs one way: reserved, live, trash, gone.

pub mod action;
pub mod invariants;
pub mod rows;

use super::Model;
pub use action::Action;
use rows::{Blob, Link, Manifest, Object, State, Upload, has};

/// What one manifest names.
#[derive(Clone, Copy, Debug)]
pub struct Contents {
    /// Bit `d`: the blob with digest `d`.
    pub blobs: u8,
    /// Bit `m`: the manifest `m`, as child of an index.
    pub children: u8,
}

/// The size of the modelled world.
#[derive(Clone, Debug)]
pub struct World {
    /// 1 or 2.
    pub repositories: usize,
    /// 1 or 2.
    pub digests: usize,
    /// Reservations that can be made in one run, 1 to 4.
    pub keys: usize,
    /// What each manifest names, 1 or 2 manifests.
    pub manifests: Vec<Contents>,
    /// Whether the disk changes bytes.
    pub rots: bool,
}

/// The real protocol in a world of a given size.
pub struct Protocol {
    world: World,
    actions: Vec<Action>,
}

impl Protocol {
    /// The protocol in `world`.
    pub fn new(world: World) -> Protocol {
        assert!((1..=rows::REPOSITORIES).contains(&world.repositories));
        assert!((1..=rows::DIGESTS).contains(&world.digests));
        assert!((1..=rows::KEYS).contains(&world.keys));
        assert!((1..=rows::MANIFESTS).contains(&world.manifests.len()));
        let mut actions = vec![Action::PowerCut];
        for r in 0..world.repositories {
            actions.push(Action::Untag(r));
            for d in 0..world.digests {
                actions.extend([Action::Head(r, d), Action::Mount(r, d), Action::Begin(r, d)]);
                actions.extend([Action::UnpinLink(r, d), Action::ReviewLink(r, d)]);
                actions.push(Action::Unlink(r, d));
            }
            for m in 0..world.manifests.len() {
                actions.extend([Action::Put(r, m), Action::Tag(r, m), Action::Delete(r, m)]);
                actions.push(Action::HeadManifest(r, m));
                actions.extend([Action::UnpinManifest(r, m), Action::ReviewManifest(r, m)]);
            }
        }
        for d in 0..world.digests {
            actions.extend([Action::UnpinBlob(d), Action::ReviewBlob(d)]);
        }
        for k in 0..world.keys {
            actions.extend([
                Action::Write(k),
                Action::Sync(k),
                Action::Commit(k),
                Action::Expire(k),
                Action::Resume(k),
            ]);
            if world.rots {
                actions.extend([Action::Rot(k), Action::Quarantine(k)]);
            }
            actions.extend([
                Action::Sweep(k),
                Action::Inventory(k),
                Action::Arrive(k),
                Action::Done(k),
            ]);
        }
        Protocol { world, actions }
    }

    /// The world this protocol runs in.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Digests that manifest `m` names.
    pub fn blobs_of(&self, m: usize) -> impl Iterator<Item = usize> + use<> {
        let mask = self.world.manifests[m].blobs;
        (0..rows::DIGESTS).filter(move |d| has(mask, *d))
    }

    fn children_of(&self, m: usize) -> impl Iterator<Item = usize> + use<> {
        let mask = self.world.manifests[m].children;
        (0..rows::MANIFESTS).filter(move |child| has(mask, *child))
    }

    /// Whether everything that manifest `m` names is in repository `r`, and not known to be damaged.
    pub fn is_complete(&self, s: &State, r: usize, m: usize) -> bool {
        let sound = |d: usize| s.blobs[d].is_none_or(|blob| !blob.quarantined);
        self.blobs_of(m)
            .all(|d| s.links[r][d].is_some() && sound(d))
            && self
                .children_of(m)
                .all(|child| s.manifests[r][child].is_some())
    }

    /// `manifest_put`: the guard is evaluated on the very rows whose counts the same transaction raises.
    fn insert_complete(&self, s: &mut State, r: usize, m: usize) -> Option<()> {
        self.is_complete(s, r, m).then(|| self.insert(s, r, m))
    }

    /// Inserts the manifest row and counts what it names, where the rows are there to be counted.
    pub fn insert(&self, s: &mut State, r: usize, m: usize) {
        // Indexes may have been here first: a client deleted this one, and it comes back.
        let lists =
            |p: &usize| s.manifests[r][*p].is_some() && self.children_of(*p).any(|c| c == m);
        let parents = (0..self.world.manifests.len()).filter(lists).count() as u8;
        s.withdrawn &= !rows::place_of(r, m);
        s.manifests[r][m] = Some(Manifest {
            tags: 0,
            parents,
            pinned: true,
        });
        for d in self.blobs_of(m) {
            if let Some(link) = &mut s.links[r][d] {
                link.refs += 1;
            }
        }
        for child in self.children_of(m) {
            if let Some(row) = &mut s.manifests[r][child] {
                row.parents += 1;
            }
        }
    }

    /// Takes back the counts that [`Protocol::insert`] raised.
    pub fn uncount(&self, s: &mut State, r: usize, m: usize) {
        for d in self.blobs_of(m) {
            if let Some(link) = &mut s.links[r][d] {
                link.refs = link.refs.saturating_sub(1);
            }
        }
        for child in self.children_of(m) {
            // Nobody lists it any more that lists it twice: two manifests are all there are.
            s.withdrawn &= !rows::place_of(r, child);
            if let Some(row) = &mut s.manifests[r][child] {
                row.parents = row.parents.saturating_sub(1);
            }
        }
    }

    /// Points the tag of `r` at `m`, whose row exists.
    pub fn point(&self, s: &mut State, r: usize, m: usize) {
        self.unpoint(s, r);
        s.tags[r] = Some(m as u8);
        if let Some(row) = &mut s.manifests[r][m] {
            row.tags += 1;
        }
    }

    fn unpoint(&self, s: &mut State, r: usize) {
        if let Some(held) = s.tags[r].take()
            && let Some(row) = &mut s.manifests[r][usize::from(held)]
        {
            row.tags -= 1;
        }
    }

    /// `upload_commit` after its session check: the blob row is made, or exists and the own key is trash, or
    /// is in quarantine and gets the own key, and the damaged copy is trash.
    pub fn publish(&self, s: &mut State, k: usize, upload: Upload) {
        let (r, d) = (usize::from(upload.repository), usize::from(upload.digest));
        let fresh = s.links[r][d].is_none();
        match &mut s.blobs[d] {
            Some(blob) => {
                let own = k as u8;
                let useless = if blob.quarantined {
                    std::mem::replace(&mut blob.key, own)
                } else {
                    own
                };
                s.trash |= 1 << useless;
                blob.quarantined = false;
                blob.pinned = true;
                blob.links += u8::from(fresh);
            }
            none => {
                *none = Some(Blob {
                    key: k as u8,
                    links: 1,
                    pinned: true,
                    quarantined: false,
                })
            }
        }
        let refs = s.links[r][d].map_or(0, |link| link.refs);
        s.links[r][d] = Some(Link { refs, pinned: true });
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn initial(&self) -> State {
        State::default()
    }

    fn actions(&self) -> &[Action] {
        &self.actions
    }

    fn key(&self, state: &State) -> u128 {
        state.key()
    }

    fn check(&self, state: &State) -> Result<(), String> {
        invariants::all(self, state)
    }

    fn check_step(&self, before: &State, after: &State) -> Result<(), String> {
        invariants::one_way(self, before, after)
    }

    fn apply(&self, state: &State, action: Action) -> Option<State> {
        let mut s = *state;
        match action {
            Action::Head(r, d) => s.links[r][d].as_mut()?.pinned = true,
            Action::HeadManifest(r, m) => s.manifests[r][m].as_mut()?.pinned = true,
            Action::Mount(r, d) => {
                if s.links[r][d].is_some() || s.links[1 - r][d].is_none() {
                    return None;
                }
                let blob = s.blobs[d].as_mut().filter(|blob| !blob.quarantined)?;
                blob.links += 1;
                blob.pinned = true;
                s.links[r][d] = Some(Link {
                    refs: 0,
                    pinned: true,
                });
            }
            Action::Begin(r, d) => {
                if usize::from(s.next) == self.world.keys {
                    return None;
                }
                s.uploads[usize::from(s.next)] = Some(Upload {
                    repository: r as u8,
                    digest: d as u8,
                });
                s.next += 1;
            }
            Action::Write(k) => {
                if k >= usize::from(s.next) || s.objects[k] != Object::Absent {
                    return None;
                }
                s.objects[k] = Object::Volatile;
            }
            Action::Sync(k) => {
                if s.objects[k] != Object::Volatile {
                    return None;
                }
                s.objects[k] = Object::Durable;
                s.written |= 1 << k;
            }
            Action::Commit(k) => {
                if !has(s.written, k) {
                    return None;
                }
                let upload = s.uploads[k].take()?;
                self.publish(&mut s, k, upload);
            }
            Action::Expire(k) => {
                s.uploads[k].take()?;
                s.trash |= 1 << k;
            }
            Action::Resume(k) => {
                s.uploads[k]?;
                if s.objects[k] == Object::Absent {
                    return None;
                }
                // Whoever knew that they lie there has ended: one process has the directory, and one request
                // the session.
                s.objects[k] = Object::Absent;
                s.written &= !(1 << k);
            }
            Action::Rot(k) => {
                // Only a blob's copy is ever read.
                let is_that_copy = |blob: &&Blob| usize::from(blob.key) == k;
                s.blobs.iter().flatten().find(is_that_copy)?;
                s.rotten |= 1 << k;
            }
            Action::Quarantine(k) => {
                if !has(s.rotten, k) {
                    return None;
                }
                let is_that_copy = |blob: &&mut Blob| usize::from(blob.key) == k;
                let mut blobs = s.blobs.iter_mut().flatten();
                blobs.find(is_that_copy)?.quarantined = true;
            }
            Action::Put(r, m) => match &mut s.manifests[r][m] {
                Some(row) => row.pinned = true,
                None => self.insert_complete(&mut s, r, m)?,
            },
            Action::Tag(r, m) => {
                if s.tags[r] == Some(m as u8) {
                    return None;
                }
                if s.manifests[r][m].is_none() {
                    self.insert_complete(&mut s, r, m)?;
                }
                self.point(&mut s, r, m);
            }
            Action::Untag(r) => self.unpoint(&mut s, r),
            Action::Unlink(r, d) => {
                if s.links[r][d]?.refs > 0 {
                    return None;
                }
                s.links[r][d] = None;
                s.blobs[d].as_mut()?.links -= 1;
            }
            Action::Delete(r, m) => {
                if s.manifests[r][m]?.parents > 0 {
                    s.withdrawn |= rows::place_of(r, m);
                }
                if s.tags[r] == Some(m as u8) {
                    self.unpoint(&mut s, r);
                }
                s.manifests[r][m] = None;
                self.uncount(&mut s, r, m);
            }
            Action::UnpinManifest(r, m) => s.manifests[r][m].as_mut()?.pinned = false,
            Action::UnpinLink(r, d) => s.links[r][d].as_mut()?.pinned = false,
            Action::UnpinBlob(d) => s.blobs[d].as_mut()?.pinned = false,
            Action::ReviewManifest(r, m) => {
                let row = s.manifests[r][m]?;
                if row.pinned || row.tags > 0 || row.parents > 0 {
                    return None;
                }
                s.manifests[r][m] = None;
                self.uncount(&mut s, r, m);
            }
            Action::ReviewLink(r, d) => {
                let link = s.links[r][d]?;
                if link.pinned || link.refs > 0 {
                    return None;
                }
                s.links[r][d] = None;
                s.blobs[d].as_mut()?.links -= 1;
            }
            Action::ReviewBlob(d) => {
                let blob = s.blobs[d]?;
                if blob.pinned || blob.links > 0 {
                    return None;
                }
                s.blobs[d] = None;
                s.trash |= 1 << blob.key;
            }
            Action::Sweep(k) => {
                if !has(s.trash, k) {
                    return None;
                }
                s.delete_sent |= 1 << k;
            }
            Action::Inventory(k) => {
                if s.objects[k] == Object::Absent || s.is_known(k) {
                    return None;
                }
                s.delete_sent |= 1 << k;
            }
            Action::Arrive(k) => {
                if !has(s.delete_sent, k) {
                    return None;
                }
                s.objects[k] = Object::Absent;
            }
            Action::Done(k) => {
                if !has(s.delete_sent, k) {
                    return None;
                }
                s.trash &= !(1 << k);
            }
            Action::PowerCut => {
                for object in &mut s.objects {
                    if *object == Object::Volatile {
                        *object = Object::Absent;
                    }
                }
            }
        }
        Some(s)
    }
}

#[cfg(test)]
mod tests;
