//! The real protocol, exhausted, and each invariant shown to be able to fail.
#![allow(clippy::unwrap_used)]
use super::rows::{Blob, Link, Manifest, Object, State, Upload};
use super::*;
use crate::model::{Extent, Outcome, explore};

/// One blob that two repositories share, one manifest.
fn shared_blob(keys: usize) -> World {
    World {
        repositories: 2,
        digests: 1,
        keys,
        manifests: vec![Contents {
            blobs: 0b1,
            children: 0,
        }],
        rots: false,
    }
}

/// Two manifests that share a blob; the second also names another.
fn overlapping(keys: usize, repositories: usize) -> World {
    let manifests = vec![
        Contents {
            blobs: 0b01,
            children: 0,
        },
        Contents {
            blobs: 0b11,
            children: 0,
        },
    ];
    World {
        repositories,
        digests: 2,
        keys,
        manifests,
        rots: false,
    }
}

/// An index over an image.
fn index(keys: usize, repositories: usize) -> World {
    let manifests = vec![
        Contents {
            blobs: 0b1,
            children: 0,
        },
        Contents {
            blobs: 0,
            children: 0b01,
        },
    ];
    World {
        repositories,
        digests: 1,
        keys,
        manifests,
        rots: false,
    }
}

/// One blob on a disk that changes bytes.
fn rotting(keys: usize, repositories: usize) -> World {
    World {
        repositories,
        rots: true,
        ..shared_blob(keys)
    }
}

fn exhausted(world: World, limit: usize) -> Extent {
    let name = format!("{world:?}");
    let outcome = explore(&Protocol::new(world), limit);
    println!("{name}\n{outcome}");
    match outcome {
        Outcome::Safe(extent) => extent,
        other => panic!("{name}\n{other}"),
    }
}

#[test]
fn the_protocol_is_safe_and_its_states_are_exhausted() {
    // (world, states): a model that lost a behaviour would have fewer states and pass for the wrong reason
    let worlds = [
        (shared_blob(3), 278_764),
        (overlapping(2, 2), 89_183),
        (overlapping(3, 1), 83_664),
        (index(2, 2), 178_059),
        (rotting(3, 1), 120_564),
        (rotting(2, 2), 39_181),
    ];
    let found = worlds
        .clone()
        .map(|(world, _)| exhausted(world, 1_000_000).states);
    assert_eq!(found, worlds.map(|(_, states)| states));
}

#[test]
#[ignore = "20 million states, minutes: make model"]
fn the_protocol_is_safe_in_larger_worlds() {
    let worlds = [
        (shared_blob(4), 7_048_597),
        (overlapping(3, 2), 6_237_708),
        (index(3, 2), 5_092_756),
        (rotting(3, 2), 1_529_085),
    ];
    let found = worlds
        .clone()
        .map(|(world, _)| exhausted(world, 10_000_000).states);
    assert_eq!(found, worlds.map(|(_, states)| states));
}

#[test]
fn every_action_takes_part() {
    for world in [
        shared_blob(2),
        overlapping(2, 2),
        index(2, 2),
        rotting(2, 2),
    ] {
        let keys = world.keys;
        let protocol = Protocol::new(world.clone());
        // a key that no row names any more was swept: inventory only ever repeats that DELETE
        assert_eq!(
            exhausted(world, 1_000_000).fired,
            protocol.actions().len() - keys
        );
    }
}

/// The protocol, with a state declared bad in order to learn whether it can be reached.
struct Reach<F>(Protocol, State, F);

impl<F: Fn(&State) -> bool> Model for Reach<F> {
    type State = State;
    type Action = Action;
    fn initial(&self) -> State {
        self.1
    }
    fn actions(&self) -> &[Action] {
        self.0.actions()
    }
    fn apply(&self, state: &State, action: Action) -> Option<State> {
        self.0.apply(state, action)
    }
    fn key(&self, state: &State) -> u128 {
        state.key()
    }
    fn check(&self, state: &State) -> Result<(), String> {
        if (self.2)(state) {
            Err("reached".to_owned())
        } else {
            Ok(())
        }
    }
}

/// Steps of a shortest run from `from` to the goal, which must be reachable.
fn shortest(world: World, from: State, goal: impl Fn(&State) -> bool) -> usize {
    match explore(&Reach(Protocol::new(world), from, goal), 1_000_000) {
        Outcome::Broken { trace, .. } => trace.len(),
        other => panic!("cannot be reached: {other}"),
    }
}

#[test]
fn one_upload_serves_both_repositories_and_is_collected_in_the_end() {
    let tagged = |m: &[Option<Manifest>; 2]| m[0].is_some_and(|row| row.tags == 1);
    let both = |s: &State| s.manifests.iter().all(tagged);
    // begin, write, sync, commit, tag, mount, tag
    assert_eq!(shortest(shared_blob(1), State::default(), both), 7);

    let (protocol, mut s) = pushed();
    for action in [Action::Mount(1, 0), Action::Tag(1, 0)] {
        s = protocol.apply(&s, action).unwrap();
    }
    assert!(both(&s));
    // 2 manifests and 2 blobs deleted by clients, a pin ended, the blob removed, sweep, arrival, done
    let empty = |s: &State| !s.is_known(0) && s.objects[0] == Object::Absent;
    assert_eq!(shortest(shared_blob(1), s, empty), 9);
}

#[test]
fn late_requests_are_explored() {
    // bytes that arrive after their key was swept leak; inventory is there to find them
    let leak = |s: &State| s.next == 1 && !s.is_known(0) && s.objects[0] == Object::Durable;
    shortest(shared_blob(1), State::default(), leak);
    // a DELETE is under way while the same content is live again under another key
    let live_again = |s: &State| {
        has(s.delete_sent, 0)
            && s.objects[0] == Object::Durable
            && s.blobs[0].is_some_and(|b| b.key == 1)
    };
    shortest(shared_blob(2), State::default(), live_again);
}

#[test]
fn a_damaged_copy_is_replaced_and_a_deleted_child_comes_back() {
    let world = World {
        rots: true,
        ..shared_blob(2)
    };
    let repaired = |s: &State| {
        has(s.trash, 0)
            && s.blobs[0].is_some_and(|b| b.key == 1 && !b.quarantined)
            && s.manifests[0][0].is_some_and(|row| row.tags == 1)
    };
    // disk, reader, then begin, write, sync, commit
    let (_, s) = pushed();
    assert_eq!(shortest(world, s, repaired), 6);

    let protocol = Protocol::new(index(1, 1));
    let mut s = protocol.initial();
    for action in [
        Action::Begin(0, 0),
        Action::Write(0),
        Action::Sync(0),
        Action::Commit(0),
        Action::Put(0, 0),
        Action::Tag(0, 1),
        Action::Delete(0, 0),
    ] {
        s = protocol.apply(&s, action).unwrap();
        assert_eq!(invariants::all(&protocol, &s), Ok(()), "{action}");
    }
    assert_eq!((s.manifests[0][0], s.withdrawn), (None, 1));
    let s = protocol.apply(&s, Action::Put(0, 0)).unwrap();
    assert_eq!(s.manifests[0][0].unwrap().parents, 1);
    assert_eq!(invariants::all(&protocol, &s), Ok(()));
}

/// A good state: blob x live under key 0, in repository a, named by manifest 0, which is tagged.
fn pushed() -> (Protocol, State) {
    let protocol = Protocol::new(shared_blob(2));
    let mut s = protocol.initial();
    for action in [
        Action::Begin(0, 0),
        Action::Write(0),
        Action::Sync(0),
        Action::Commit(0),
        Action::Tag(0, 0),
    ] {
        s = protocol.apply(&s, action).unwrap();
    }
    assert_eq!(invariants::all(&protocol, &s), Ok(()));
    (protocol, s)
}

#[test]
fn each_invariant_can_fail() {
    let broken = |damage: fn(&mut State)| {
        let (protocol, mut s) = pushed();
        damage(&mut s);
        (protocol, s)
    };
    let says = |(protocol, s): (Protocol, State), text: &str| {
        let why = invariants::all(&protocol, &s).unwrap_err();
        assert!(why.contains(text), "{why:?} does not say {text:?}");
    };
    says(broken(|s| s.objects[0] = Object::Absent), "has no bytes");
    says(broken(|s| s.blobs[0] = None), "has no row");
    says(broken(|s| s.trash = 1), "I1: key 0 is in 2 places");
    says(broken(|s| s.trash = 2), "I1: key 1 was never reserved");
    says(
        broken(|s| {
            s.uploads[0] = Some(Upload {
                repository: 0,
                digest: 0,
            })
        }),
        "I1: key 0 is in 2 places",
    );
    says(broken(|s| s.links[0][0] = None), "I2: repository 0: blob 0");
    says(
        broken(|s| {
            s.links[0][0] = Some(Link {
                refs: 2,
                pinned: true,
            })
        }),
        "I2: repository 0: blob 0",
    );
    says(broken(|s| s.tags[0] = None), "I2: repository 0: manifest 0");
    says(
        broken(|s| {
            s.manifests[0][0] = Some(Manifest {
                tags: 1,
                parents: 1,
                pinned: true,
            })
        }),
        "I2: repository 0: manifest 0",
    );
    says(
        broken(|s| {
            s.blobs[0] = Some(Blob {
                key: 0,
                links: 0,
                pinned: true,
                quarantined: false,
            })
        }),
        "I3: blob 0",
    );
    says(
        broken(|s| {
            s.links[1][0] = Some(Link {
                refs: 0,
                pinned: true,
            })
        }),
        "I3: blob 0",
    );
    says(
        broken(|s| s.delete_sent = 1),
        "I4: DELETE was sent for key 0",
    );
    says(broken(|s| s.objects[0] = Object::Volatile), "not durable");
    says(
        broken(|s| s.blobs[0].as_mut().unwrap().quarantined = true),
        "key 0 is sound and in quarantine",
    );
    says(broken(|s| s.withdrawn = 0b10), "manifest 1 is gone");

    let (protocol, live) = pushed();
    let mut reserved_again = live;
    reserved_again.blobs[0] = None;
    reserved_again.uploads[0] = Some(Upload {
        repository: 0,
        digest: 0,
    });
    let mut forgotten = live;
    forgotten.blobs[0] = None;
    for after in [reserved_again, forgotten] {
        assert!(
            invariants::one_way(&protocol, &live, &after)
                .unwrap_err()
                .starts_with("I1")
        );
    }
    assert!(invariants::one_way(&protocol, &forgotten, &live).is_err());
}
