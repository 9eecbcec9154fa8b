//! What each shortcut changes in the protocol, one function each.
//!
//! A function handles the steps that its mistake touches and passes all others to the real protocol.

use super::super::Model;
use super::super::gc::Action;
use super::super::gc::rows::{Blob, Link, Object, State, Upload, has};
use super::{Broken, Half, Shortcut, Step};

/// The bit of (row, column) in a memory of two by two.
fn bit(row: usize, column: usize) -> u8 {
    1 << (row * 2 + column)
}

impl Broken {
    /// A client's upload whose session row is not asked for: the world has one repository and one digest.
    const SESSIONLESS: Upload = Upload {
        repository: 0,
        digest: 0,
    };

    /// Steps that the shortcut leaves alone.
    fn unchanged(&self, state: &State, step: Step) -> Option<State> {
        match step {
            Step::Real(action) => self.real.apply(state, action),
            Step::First(_) | Step::Second(_) => None,
        }
    }

    // No sessions, no trash: key d is digest d. `noted`: objects younger than the grace period.
    pub(super) fn digest_path_with_grace(&self, state: &State, step: Step) -> Option<State> {
        let mut s = *state;
        match step {
            Step::Real(
                Action::Begin(..)
                | Action::ReviewBlob(_)
                | Action::Inventory(_)
                | Action::Write(1..),
            ) => return None,
            Step::Real(Action::Write(d)) => {
                s.objects[d] = Object::Durable;
                s.noted |= 1 << d;
            }
            Step::Real(Action::Commit(d)) => {
                // what is already there is not written again
                if s.objects[d] == Object::Absent || s.links[0][d].is_some() {
                    return None;
                }
                let blob = s.blobs[d].get_or_insert(Blob {
                    key: d as u8,
                    links: 0,
                    pinned: true,
                    quarantined: false,
                });
                blob.links += 1;
                blob.pinned = true;
                s.links[0][d] = Some(Link {
                    refs: 0,
                    pinned: true,
                });
            }
            Step::First(Half::Blob(d)) => s.noted &= !(1 << d),
            Step::Second(Half::Blob(d)) => {
                let blob = s.blobs[d]?;
                if blob.links > 0 || blob.pinned || has(s.noted, d) {
                    return None;
                }
                s.decided |= 1 << d;
            }
            Step::Second(Half::Key(d)) => {
                if !has(s.decided, d) {
                    return None;
                }
                s.decided &= !(1 << d);
                s.objects[d] = Object::Absent;
                s.blobs[d] = None;
            }
            step => return self.unchanged(state, step),
        }
        Some(s)
    }

    // Key d is digest d, for ever. Each DELETE arrives once here: even that is too often.
    pub(super) fn digest_named_trash(&self, state: &State, step: Step) -> Option<State> {
        let mut s = *state;
        match step {
            Step::Real(Action::Begin(r, d)) => {
                if s.uploads[d].is_some() || s.blobs[d].is_some() {
                    return None;
                }
                s.next = 1;
                s.uploads[d] = Some(Upload {
                    repository: r as u8,
                    digest: d as u8,
                });
                s.written &= !(1 << d);
            }
            Step::Real(Action::Write(k)) => {
                // beside, synced, then renamed over what a former life of this key has left
                s.uploads[k]?;
                s.objects[k] = Object::Durable;
                s.written |= 1 << k;
            }
            Step::Real(Action::Commit(k)) => {
                s = self.real.apply(state, Action::Commit(k))?;
                s.trash &= !(1 << k);
            }
            Step::Real(Action::Arrive(k)) => {
                s = self.real.apply(state, Action::Arrive(k))?;
                s.delete_sent &= !(1 << k);
            }
            step => return self.unchanged(state, step),
        }
        Some(s)
    }

    // `noted`: keys that came into the trash by expiry.
    pub(super) fn revived_upload(&self, state: &State, step: Step) -> Option<State> {
        let mut s = *state;
        match step {
            Step::Real(Action::Expire(k)) => {
                s = self.real.apply(state, Action::Expire(k))?;
                s.noted |= 1 << k;
            }
            Step::First(Half::Key(k)) => {
                // it even looks whether the bytes are still there
                if !has(s.trash & s.noted, k) || s.objects[k] != Object::Durable {
                    return None;
                }
                s.trash &= !(1 << k);
                s.noted &= !(1 << k);
                s.uploads[k] = Some(Self::SESSIONLESS);
            }
            step => return self.unchanged(state, step),
        }
        Some(s)
    }

    pub(super) fn object_deleted_before_row(&self, state: &State, step: Step) -> Option<State> {
        let Step::First(Half::Blob(d)) = step else {
            return self.unchanged(state, step);
        };
        let mut s = *state;
        let blob = s.blobs[d]?;
        self.real.apply(state, Action::ReviewBlob(d))?;
        s.objects[usize::from(blob.key)] = Object::Absent;
        Some(s)
    }

    // A process commits what it has written; `written` is then forgotten, so that it commits once.
    pub(super) fn object_written_before_row(&self, state: &State, step: Step) -> Option<State> {
        let mut s = *state;
        match step {
            Step::Real(Action::Begin(r, d)) => {
                s = self.real.apply(state, Action::Begin(r, d))?;
                s.uploads[usize::from(state.next)] = None;
            }
            Step::Real(Action::Commit(k)) => {
                if !has(s.written, k) {
                    return None;
                }
                s.written &= !(1 << k);
                self.real.publish(&mut s, k, Self::SESSIONLESS);
            }
            step => return self.unchanged(state, step),
        }
        Some(s)
    }

    pub(super) fn row_before_sync(&self, state: &State, step: Step) -> Option<State> {
        let Step::Real(Action::Commit(k)) = step else {
            return self.unchanged(state, step);
        };
        let mut s = *state;
        if s.objects[k] == Object::Absent {
            return None;
        }
        let upload = s.uploads[k].take()?;
        self.real.publish(&mut s, k, upload);
        Some(s)
    }

    pub(super) fn no_session_check(&self, state: &State, step: Step) -> Option<State> {
        let Step::Real(Action::Commit(k)) = step else {
            return self.unchanged(state, step);
        };
        let mut s = *state;
        if !has(s.written, k) {
            return None;
        }
        s.written &= !(1 << k);
        s.uploads[k] = None;
        self.real.publish(&mut s, k, Self::SESSIONLESS);
        Some(s)
    }

    // `noted`: manifests whose blobs some process has seen to exist.
    pub(super) fn check_then_insert(&self, state: &State, step: Step) -> Option<State> {
        let mut s = *state;
        match step {
            Step::Real(Action::Put(r, m) | Action::Tag(r, m)) if s.manifests[r][m].is_none() => {
                return None;
            }
            Step::First(Half::Manifest(r, m)) => {
                if !self.real.is_complete(&s, r, m) {
                    return None;
                }
                s.noted |= bit(r, m);
                if self.shortcut == Shortcut::TrustThePin {
                    s.links[r]
                        .iter_mut()
                        .flatten()
                        .for_each(|link| link.pinned = true);
                }
            }
            Step::Second(Half::Manifest(r, m)) => {
                if s.noted & bit(r, m) == 0 || s.manifests[r][m].is_some() {
                    return None;
                }
                self.real.insert(&mut s, r, m);
            }
            step => return self.unchanged(state, step),
        }
        Some(s)
    }

    // `decided`: links that a snapshot has shown to be unreferenced.
    pub(super) fn stale_review(&self, state: &State, step: Step) -> Option<State> {
        let mut s = *state;
        match step {
            Step::First(Half::Link(r, d)) => {
                self.real.apply(state, Action::ReviewLink(r, d))?;
                s.decided |= bit(r, d);
            }
            Step::Second(Half::Link(r, d)) => {
                if s.decided & bit(r, d) == 0 {
                    return None;
                }
                s.decided &= !bit(r, d);
                s.links[r][d].take()?;
                s.blobs[d].as_mut()?.links -= 1;
            }
            step => return self.unchanged(state, step),
        }
        Some(s)
    }

    // `noted`: links that were published and not yet counted.
    pub(super) fn link_before_count(&self, state: &State, step: Step) -> Option<State> {
        let mut s = *state;
        match step {
            Step::Real(Action::Mount(r, d)) => {
                self.real.apply(state, Action::Mount(r, d))?;
                s.links[r][d] = Some(Link {
                    refs: 0,
                    pinned: true,
                });
                s.noted |= bit(r, d);
            }
            Step::Real(Action::ReviewLink(r, d)) if s.noted & bit(r, d) != 0 => return None,
            Step::Second(Half::Link(r, d)) => {
                if s.noted & bit(r, d) == 0 {
                    return None;
                }
                s.noted &= !bit(r, d);
                s.blobs[d].as_mut()?.links += 1;
            }
            step => return self.unchanged(state, step),
        }
        Some(s)
    }

    // `noted`: (repository, digest) counted at the blob; `decided`: removed links still to be counted
    // down. Counting up comes before publishing, counting down after: that is not the mistake.
    pub(super) fn count_keyed_by_repository(&self, state: &State, step: Step) -> Option<State> {
        let mut s = *state;
        let counted = |s: &State, d: usize| s.noted & (bit(0, d) | bit(1, d)) != 0;
        match step {
            Step::Real(action @ (Action::Commit(_) | Action::Mount(..))) => {
                s = self.real.apply(state, action)?;
                for (r, of_repository) in s.links.iter().enumerate() {
                    for d in (0..of_repository.len()).filter(|d| of_repository[*d].is_some()) {
                        s.noted |= bit(r, d);
                    }
                }
            }
            Step::Real(Action::ReviewLink(r, d)) => {
                s = self.real.apply(state, Action::ReviewLink(r, d))?;
                s.decided |= bit(r, d);
            }
            Step::Second(Half::Link(r, d)) => {
                if s.decided & bit(r, d) == 0 {
                    return None;
                }
                s.decided &= !bit(r, d);
                s.noted &= !bit(r, d);
            }
            Step::Real(Action::ReviewBlob(d)) => {
                let blob = s.blobs[d]?;
                if blob.pinned || counted(&s, d) {
                    return None;
                }
                s.blobs[d] = None;
                s.trash |= 1 << blob.key;
            }
            step => return self.unchanged(state, step),
        }
        Some(s)
    }

    // `noted`: manifests whose delete was done, and its reply lost.
    pub(super) fn delete_counts_twice(&self, state: &State, step: Step) -> Option<State> {
        let mut s = *state;
        match step {
            Step::Real(Action::Delete(r, m)) => {
                s = self.real.apply(state, Action::Delete(r, m))?;
                s.noted |= bit(r, m);
            }
            Step::Second(Half::Manifest(r, m)) => {
                if s.noted & bit(r, m) == 0 {
                    return None;
                }
                s.noted &= !bit(r, m);
                self.real.uncount(&mut s, r, m);
            }
            step => return self.unchanged(state, step),
        }
        Some(s)
    }

    pub(super) fn resume_beside_commit(&self, state: &State, step: Step) -> Option<State> {
        let mut s = self.unchanged(state, step)?;
        if let Step::Real(Action::Resume(k)) = step {
            s.written |= state.written & 1 << k;
        }
        Some(s)
    }

    pub(super) fn quarantine_by_digest(&self, state: &State, step: Step) -> Option<State> {
        let Step::Second(Half::Key(k)) = step else {
            return self.unchanged(state, step);
        };
        let mut s = *state;
        if !has(s.rotten, k) {
            return None;
        }
        s.blobs[0].as_mut()?.quarantined = true;
        Some(s)
    }
}
