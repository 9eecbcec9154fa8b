//! A release under the rule `log`, and whatever becomes of its bytes: of a bundle, its payload and its signature, of
//! the referrer that carries it, of a proof. What is changed is logged anew where that is needed to be heard, as a
//! registry would log whatever is pushed to it; so a change is never refused only because it lacks a proof.

use super::super::release::{attach, text_of};
use super::*;
use crate::digest::Algorithm;
use crate::fixtures::p256;
use crate::log::{Rekord, TlogEntry, inclusion_proof};
use crate::manifest::VerifiedManifest;
use crate::policy::Evidence;
use data_encoding::BASE64;
use proptest::prelude::*;

/// Where the signature stands among what [`release`] makes. It brings its place in the log with it, within the bundle;
/// all others have a proof beside them.
const SIGNATURE: usize = 5;

fn logged_signature() -> Item {
    let signer = p256(2);
    let bundle = SigstoreBundle::sign(&Statement::signature(subject()), &signer).unwrap();
    let rekord = Rekord::of_envelope(bundle.envelope(), signer.public_key()).unwrap();
    let log = Grown::of((0..6u8).map(|number| match number {
        3 => rekord.to_bytes(),
        _ => vec![number],
    }));
    let path = inclusion_proof(3, 6, |id| log.node(id)).unwrap();
    let entry = TlogEntry::new(&rekord, 3, path, &log.checkpoint(6), &log_key()).unwrap();
    let bundle = bundle.with_tlog_entry(entry.to_value());
    attach(bundle.to_bytes(), predicate::COSIGN_SIGN)
}

/// The texts of the proofs, of a log that holds these items.
fn proofs_of(items: &[Item]) -> Vec<Option<Vec<u8>>> {
    let places: Vec<(&Item, u64)> = items.iter().zip(2u64..).collect();
    let log = log_of(&places);
    let text = |index: u64| log.proof(index, 20).to_string().into_bytes();
    (0..items.len())
        .zip(2u64..)
        .map(|(number, index)| (number != SIGNATURE).then(|| text(index)))
        .collect()
}

/// Whatever can be read, as a registry or a client collects it.
fn case_of(items: &[Item], proofs: &[Option<Vec<u8>>]) -> Case {
    let repo = REPOSITORY.parse().unwrap();
    let mut case = Case::of(&repo, &manifest());
    for ((referrer, bundle), proof) in items.iter().zip(proofs) {
        let read = VerifiedManifest::check(referrer.clone(), None, None, Algorithm::Sha256);
        let Ok(referrer) = read else {
            continue;
        };
        let digest = *referrer.digest();
        case.add(Evidence::new(referrer, bundle.clone()));
        let proof = proof.as_deref().map(LogProof::parse);
        if let Some(Ok(proof)) = proof {
            case.add_proof(&digest, proof);
        }
    }
    case
}

/// What is admitted; nothing of it can be left out.
fn release() -> (Policy, Vec<Item>) {
    let policy = policy_with_log(true);
    let shown = unapproved().replaced("signature", logged_signature());
    let mut items: Vec<Item> = shown.0.into_iter().map(|(_, item)| item).collect();
    let repo = REPOSITORY.parse().unwrap();
    let case = case_of(&items, &proofs_of(&items));
    let shown = policy.evaluate(&repo, &case, &Circumstances::at(NOW.parse().unwrap()));
    let approved = lifecycle::approval(subject(), &shown, "somebody", NOW.parse().unwrap());
    items.push(by(&bob(), &approved));
    items.push(by(&carol(), &approved));
    (policy, items)
}

/// Kind of the change, place, and a byte.
type Change = (u8, usize, u8);

fn changed(bytes: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (kind, at, byte) in changes.iter().copied() {
        let at = at % bytes.len();
        match kind {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            2 => {
                bytes.remove(at);
            }
            _ => {
                let other = (at + 1 + usize::from(byte)) % bytes.len();
                bytes.swap(at, other);
            }
        }
    }
    bytes
}

/// The bundle with a change in what its base64 holds at `pointer`.
fn changed_within(item: &Item, pointer: &str, changes: &[Change]) -> Item {
    let mut bundle = text_of(item);
    let place = bundle.pointer_mut(pointer).unwrap();
    let bytes = BASE64.decode(place.as_str().unwrap().as_bytes()).unwrap();
    *place = json!(BASE64.encode(&changed(&bytes, changes)));
    attach(bundle.to_string().into_bytes(), "x")
}

/// Whether two items are the same signature by the same key over the same words, about the same manifest, with the
/// same place in the log where they bring one.
fn says_the_same(one: &Item, other: &Item) -> bool {
    let bundle = |item: &Item| SigstoreBundle::parse(&item.1).unwrap();
    let places = |bundle: &SigstoreBundle| -> Vec<TlogEntry> {
        let entries = bundle.tlog_entries().iter();
        entries
            .filter_map(|value| TlogEntry::read(value).ok())
            .collect()
    };
    let about = |item: &Item| {
        let referrer = VerifiedManifest::check(item.0.clone(), None, None, Algorithm::Sha256);
        let referrer = referrer.unwrap();
        let subject = referrer.subject().unwrap();
        (subject.digest, subject.size)
    };
    let (first, second) = (bundle(one), bundle(other));
    first.envelope() == second.envelope()
        && places(&first) == places(&second)
        && about(one) == about(other)
}

fn heard(policy: &Policy, items: &[Item], proofs: &[Option<Vec<u8>>]) -> Result<Digest, String> {
    let repo = REPOSITORY.parse().unwrap();
    let now = Circumstances::at(NOW.parse().unwrap());
    let (evaluation, verdict) = policy.hear(&repo, &case_of(items, proofs), &now);
    let evidence = evaluation.binding.evidence_digest();
    verdict
        .map(|_| evidence)
        .map_err(|denial| denial.to_string())
}

#[test]
fn a_logged_release_needs_all_that_it_rests_on_and_no_space_matters() {
    let (policy, items) = release();
    let proofs = proofs_of(&items);
    let intact = heard(&policy, &items, &proofs).unwrap();
    for which in 0..items.len() {
        let mut fewer = items.clone();
        fewer[which] = (Vec::new(), Vec::new());
        assert!(heard(&policy, &fewer, &proofs).is_err(), "without {which}");
        let mut unproven = proofs.clone();
        if unproven[which].take().is_some() {
            let denied = heard(&policy, &items, &unproven).unwrap_err();
            assert!(denied.contains("nothing proves"), "{which}: {denied}");
        }
        // What the changes below may leave admitted.
        let mut spaced = items.clone();
        spaced[which] = attach(changed(&items[which].1, &[(1, 1, b' ')]), "x");
        let again = heard(&policy, &spaced, &proofs_of(&spaced));
        assert_eq!(again.as_ref(), Ok(&intact), "{which}");
        assert!(says_the_same(&spaced[which], &items[which]));
    }
}

fn byte() -> impl Strategy<Value = u8> {
    let of_json_and_base64 = b" \n\t\\\"/=+0129,:[]{}Aa".to_vec();
    prop_oneof![any::<u8>(), proptest::sample::select(of_json_and_base64)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    /// Bytes that are replaced, put in, taken out and swapped, up to three of them.
    #[test]
    fn no_mutation_of_a_logged_release_is_accepted_unless_it_says_the_same(
        which in 0usize..8, part in 0u8..5,
        changes in proptest::collection::vec((0u8..4, any::<usize>(), byte()), 1..4),
    ) {
        let (policy, intact) = release();
        let intact_proofs = proofs_of(&intact);
        let mut items = intact.clone();
        let mut proofs = intact_proofs.clone();
        match (part, &intact_proofs[which]) {
            (2, Some(text)) => proofs[which] = Some(changed(text, &changes)),
            (part, _) => {
                let item = &intact[which];
                items[which] = match part {
                    1 => (changed(&item.0, &changes), item.1.clone()),
                    3 => changed_within(item, "/dsseEnvelope/payload", &changes),
                    4 => changed_within(item, "/dsseEnvelope/signatures/0/sig", &changes),
                    _ => attach(changed(&item.1, &changes), "x"),
                };
                proofs = proofs_of(&items);
            }
        }
        if let Ok(rests_on) = heard(&policy, &items, &proofs) {
            prop_assert_eq!(Ok(rests_on), heard(&policy, &intact, &intact_proofs));
            prop_assert!(says_the_same(&items[which], &intact[which]));
            if part == 2 {
                let read = |texts: &[Option<Vec<u8>>]| {
                    let text = texts[which].as_deref();
                    text.map(|text| LogProof::parse(text).unwrap())
                };
                prop_assert_eq!(read(&proofs), read(&intact_proofs));
            }
        }
    }
}
