//! No byte of what was admitted can be changed so that something else is admitted: whatever a mutation
//! leaves admitted rests on statements that were all signed before.

use super::super::forgery::Item;
use super::people::{NOW, REPOSITORY, policy};
use super::release::{evidence, good, manifest};
use crate::digest::Algorithm;
use crate::fixtures::CREATED;
use crate::manifest::VerifiedManifest;
use crate::policy::{Case, Circumstances, Evidence, Policy};
use crate::sigstore::referrer_manifest;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn no_mutation_of_an_accepted_release_is_accepted(
        which in 0usize..8, at in any::<usize>(), byte in any::<u8>(), in_bundle in any::<bool>(),
    ) {
        let attached = good();
        let policy = Policy::parse(&policy()).unwrap();
        let repo = REPOSITORY.parse().unwrap();
        let now = Circumstances::at(NOW.parse().unwrap());
        let mut items: Vec<Item> = attached.0.into_iter().map(|(_, item)| item).collect();
        let (referrer, bundle) = &mut items[which];
        if in_bundle {
            let at = at % bundle.len();
            prop_assume!(bundle[at] != byte);
            bundle[at] = byte;
            // Attached anew, so that the referrer does not give it away.
            let again = referrer_manifest(&manifest().descriptor(), bundle, "x", CREATED);
            *referrer = again;
        } else {
            let at = at % referrer.len();
            prop_assume!(referrer[at] != byte);
            referrer[at] = byte;
        }
        let mut case = Case::of(&repo, &manifest());
        for (referrer, bundle) in items {
            if let Ok(referrer) = VerifiedManifest::check(referrer, None, None, Algorithm::Sha256) {
                case.add(Evidence::new(referrer, bundle));
            }
        }
        let (evaluation, verdict) = policy.hear(&repo, &case, &now);
        if verdict.is_ok() {
            // Space in JSON, an annotation, an unread label: the signed words are the same, all of them.
            let mut intact = Case::of(&repo, &manifest());
            for (_, item) in good().0 {
                intact.add(evidence(&item));
            }
            let intact = policy.evaluate(&repo, &intact, &now);
            prop_assert_eq!(evaluation.binding, intact.binding);
            prop_assert!(evaluation.results.iter().all(|result| result.satisfied));
        }
    }
}

#[test]
fn a_changed_bundle_needs_everything_anew() {
    let policy = Policy::parse(&policy()).unwrap();
    let repo = REPOSITORY.parse().unwrap();
    let now = Circumstances::at(NOW.parse().unwrap());
    let bytes = manifest().bytes().to_vec();
    let mut tried = 0;
    for at in 0..bytes.len() {
        let mut other = bytes.clone();
        other[at] ^= 1;
        let Ok(other) = VerifiedManifest::check(other, None, None, Algorithm::Sha256) else {
            continue;
        };
        tried += 1;
        let mut case = Case::of(&repo, &other);
        for (_, item) in good().0 {
            case.add(evidence(&item));
        }
        assert!(policy.judge(&repo, &case, &now).is_err(), "byte {at}");
    }
    assert!(tried > 100, "hardly any mutation was a manifest");
}
