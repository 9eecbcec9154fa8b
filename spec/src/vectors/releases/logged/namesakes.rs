//! Two logs of one name, as a document has them that was signed while it could: each has numbers of its own, so a place
//! in one is neither before nor after a place in the other.

use super::*;

const LATER: &str = "2027-01-15T01:00:00Z";

/// A log that was set up anew, under the name of the first.
fn anew() -> VerifierKey {
    VerifierKey::new(ORIGIN, KeyKind::Log, ed25519(56).public_key().clone()).unwrap()
}

/// The canonical form of a policy that trusts both. The text of one cannot be read any more.
fn trusting_both(text: &str) -> String {
    let key = ed25519(56).public_key().clone();
    let other = VerifierKey::new("other.example.com", KeyKind::Log, key).unwrap();
    let policy = Policy::parse(&trusting(text, &[log_key(), other.clone()])).unwrap();
    let json = String::from_utf8(policy.to_canonical_json()).unwrap();
    json.replace(&other.to_string(), &anew().to_string())
}

/// The proof that the new log holds an item at `index` of twenty.
fn proof_anew(item: &Item, index: u64) -> LogProof {
    let log = log_of(&[(item, index)]);
    let mut proof = log.proof(index, 20);
    let checkpoint = Checkpoint::new(ORIGIN, 20, log.root_at(20));
    proof.checkpoint = checkpoint.sign(&anew(), &ed25519(56)).unwrap();
    proof
}

pub(super) fn rows() -> Vec<InLog> {
    // Dave's key is revoked from index 5 on.
    let by_dave = by(&ed25519(12), &Statement::signature(subject()));
    let replaced = good().replaced("signature", by_dave.clone());
    let mut early_anew = placed(&replaced, &[]);
    let found = early_anew.iter_mut().find(|(item, _)| *item == by_dave);
    found.unwrap().1.push(proof_anew(&by_dave, 2));
    let again = replayed(&by_dave);
    let mut early_copy = placed(&replaced.with("again", again.clone()), &[("signature", 7)]);
    let copy = early_copy.last_mut().unwrap();
    copy.1.push(proof_anew(&again, 2));

    let reject = lifecycle::rejection(
        subject(),
        "fails on group B",
        &BTreeSet::new(),
        NOW.parse().unwrap(),
    );
    let yes = by(&bob(), &approval_at(&unapproved(), &policy(), LATER));
    let taken_back = good()
        .with("no", by(&bob(), &reject))
        .with("yes", yes.clone());
    let mut later_anew = placed(&taken_back, &[("bob", 3), ("no", 5)]);
    let last = later_anew.last_mut().unwrap();
    last.1.push(proof_anew(&yes, 9));

    let row = |name, items, expected| InLog {
        name,
        policy: trusting_both(&policy()),
        items,
        expected,
    };
    vec![
        row(
            "a revoked key in a second log of the first one's name only, before its end by number",
            early_anew,
            Denied("nothing proves that this was logged before"),
        ),
        row(
            "a revoked key after its end, and a copy before it by number in a second log of the first one's name",
            early_copy,
            Denied("from log index 5 on, and this was logged at 7"),
        ),
        row(
            "a rejection, and a later number in a second log of the first one's name",
            later_anew,
            Denied("rejected by bob: fails on group B"),
        ),
    ]
}
