//! Every shortcut loses or withholds data, and the world in which it does is safe under the real protocol.
#![allow(clippy::unwrap_used)]
use super::*;
use crate::model::{Outcome, explore};

/// Each mistake, the length of its shortest loss, and what must happen on the way.
const LOSSES: [(Shortcut, usize, &str); 15] = [
    (
        Shortcut::DigestPathWithGrace,
        10,
        "older than the grace period",
    ),
    (
        Shortcut::DigestNamedTrash,
        8,
        "takes key 0 out of the trash",
    ),
    (Shortcut::RevivedUpload, 9, "goes on with its upload"),
    (
        Shortcut::ObjectDeletedBeforeRow,
        13,
        "dies before its transaction commits",
    ),
    (
        Shortcut::ObjectWrittenBeforeRow,
        7,
        "no row names key 0, sends DELETE",
    ),
    (Shortcut::RowBeforeSync, 5, "power cut"),
    (Shortcut::NoSessionCheck, 8, "no look at its session"),
    (Shortcut::CheckThenInsert, 10, "second transaction"),
    (Shortcut::TrustThePin, 10, "relying on the pins"),
    (
        Shortcut::StaleReview,
        10,
        "removes the link that it found unreferenced",
    ),
    (Shortcut::LinkBeforeCount, 10, "not yet counted"),
    (
        Shortcut::CountKeyedByRepository,
        14,
        "counts the removed link down",
    ),
    (Shortcut::DeleteCountsTwice, 12, "repeats the delete"),
    (
        Shortcut::ResumeBesideCommit,
        6,
        "moves the bytes of key 0 back",
    ),
    (
        Shortcut::QuarantineByDigest,
        11,
        "has read key 0, says that blob x is damaged",
    ),
];

#[test]
fn every_shortcut_loses_data_on_a_shortest_trace() {
    assert_eq!(LOSSES.map(|(shortcut, ..)| shortcut), Shortcut::ALL);
    for (shortcut, steps, by) in LOSSES {
        let outcome = explore(&Broken::new(shortcut), 1_000_000);
        println!("{shortcut:?}: {outcome}\n");
        let Outcome::Broken { trace, .. } = outcome else {
            panic!("{shortcut:?} must lose data: {outcome}");
        };
        assert!(
            trace.iter().any(|line| line.contains(by)),
            "{shortcut:?} without {by:?}: {trace:#?}"
        );
        assert_eq!(trace.len(), steps, "{shortcut:?}: {trace:#?}");
    }
}

#[test]
fn the_same_worlds_are_safe_under_the_real_protocol() {
    for shortcut in Shortcut::ALL {
        let outcome = explore(&Protocol::new(shortcut.world()), 1_000_000);
        assert!(
            matches!(outcome, Outcome::Safe(_)),
            "{shortcut:?}: {outcome}"
        );
    }
}
