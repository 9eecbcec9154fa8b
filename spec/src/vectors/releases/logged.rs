//! Statements as the log holds them: keys that no longer sign count for what it holds from before, later words
//! take back earlier ones, and proofs count under the witnesses that the policy asks for.

mod mutations;
mod namesakes;

use super::super::forgery::Item;
use super::super::{agree, text};
use super::people::{NOW, REPOSITORY, alice, bob, carol, changed_policy, evaluator, policy};
use super::release::{
    Attached, approval, approval_at, by, evidence, good, manifest, report, reproduction, said,
    subject, tests, unapproved, waived,
};
use super::row::Expected::{Admitted, Denied};
use super::row::{Expected, read};
use crate::digest::Digest;
use crate::fixtures::ed25519;
use crate::key::{SecretKey, Signer};
use crate::log::tests::{Grown, ORIGIN, SECONDS, log_key, witness_key};
use crate::log::{Checkpoint, Entry, EventEntry, KeyKind, LogProof, Operation, VerifierKey};
use crate::policy::{Case, Circumstances, Policy, lifecycle};
use crate::sigstore::{SigstoreBundle, referrer_manifest};
use crate::statement::{Statement, predicate};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What is attached, with the proofs that came along.
type Placed = Vec<(Item, Vec<LogProof>)>;

struct InLog {
    name: &'static str,
    policy: String,
    items: Placed,
    expected: Expected,
}

/// A log of twenty entries in which the items have these places.
fn log_of(places: &[(&Item, u64)]) -> Grown {
    let own = *manifest().digest();
    let filler = |number: u8| entry(&(vec![number], vec![]), &own);
    let mut entries: Vec<Vec<u8>> = (0..20u8).map(filler).collect();
    for (item, index) in places {
        entries[usize::try_from(*index).unwrap()] = entry(item, &own);
    }
    Grown::of(entries)
}

/// All of `attached`, each with a proof if it has a place in the log.
fn placed(attached: &Attached, places: &[(&str, u64)]) -> Placed {
    let place = |name: &str| places.iter().find(|(other, _)| *other == name);
    let items = attached.0.iter();
    let known: Vec<(&Item, u64)> = items
        .clone()
        .filter_map(|(name, item)| Some((item, place(name)?.1)))
        .collect();
    assert_eq!(known.len(), places.len(), "every place is of something");
    let log = log_of(&known);
    items
        .map(|(name, item)| {
            let proofs = place(name).map(|(_, index)| log.proof(*index, 20));
            (item.clone(), proofs.into_iter().collect())
        })
        .collect()
}

/// The same bundle attached by another referrer.
fn replayed(item: &Item) -> Item {
    let subject = manifest().descriptor();
    let referrer = referrer_manifest(&subject, &item.1, "x", "2026-06-01T00:00:00Z");
    assert_ne!(referrer, item.0);
    (referrer, item.1.clone())
}

fn said_in(item: &Item, signer: &dyn Signer) -> Digest {
    let bundle = SigstoreBundle::parse(&item.1).unwrap();
    let envelope = bundle.envelope().verify(signer.public_key()).unwrap();
    Digest::sha256(envelope.payload())
}

/// A policy that trusts these logs.
fn trusting(text: &str, logs: &[VerifierKey]) -> String {
    let logs = logs
        .iter()
        .map(|log| format!("[[log]]\nvkey = \"{log}\"\n\n"));
    let logs: String = logs.collect();
    text.replace("[[scope]]\n", &format!("{logs}[[scope]]\n"))
}

/// A later word of the same identity takes back an earlier one; the same word once more does not.
fn later_words() -> Vec<InLog> {
    const LATER: &str = "2027-01-15T01:00:00Z";
    let logged = |text: String| trusting(&text, &[log_key()]);
    let in_log = |name, attached: &Attached, places: &[(&str, u64)], expected| InLog {
        name,
        policy: logged(policy()),
        items: placed(attached, places),
        expected,
    };
    let reject = |approvals: &BTreeSet<Digest>| {
        let statement = lifecycle::rejection(
            subject(),
            "fails on group B",
            approvals,
            NOW.parse().unwrap(),
        );
        by(&bob(), &statement)
    };
    let approved = || {
        let item = good().0.into_iter().find(|(name, _)| *name == "bob");
        item.unwrap().1
    };
    let refused = "rejected by bob: fails on group B";
    let rejected = good().with("no", reject(&BTreeSet::new()));
    let again = rejected.clone().with("again", replayed(&approved()));
    let taken_back = rejected.clone().with(
        "yes",
        by(&bob(), &approval_at(&unapproved(), &policy(), LATER)),
    );
    let named = BTreeSet::from([said_in(&approved(), &bob())]);
    // The approval that came first is not there any more, only its copy.
    let only_the_copy = good()
        .replaced("bob", replayed(&approved()))
        .with("no", reject(&named));
    let other_evidence = rejected.clone().with(
        "yes",
        by(
            &bob(),
            &approval_at(&unapproved().without("bom"), &policy(), LATER),
        ),
    );
    let key = ed25519(15);
    let two_keys = changed_policy(
        &format!("\"{}\"]", bob().public_key().to_openssh()),
        &format!(
            "\"{}\", {{ key = \"{}\", roles = [\"data-science\"] }}]",
            bob().public_key().to_openssh(),
            key.public_key().to_openssh()
        ),
    );
    let other_role = rejected.clone().with(
        "yes",
        by(&key, &approval_at(&unapproved(), &policy(), LATER)),
    );

    // The suites and the replays are approved together with what was said in between.
    let suite = |result: &str, url: &str| {
        let mut result = tests("data", result);
        result["url"] = json!(url);
        by(&evaluator(), &said(predicate::TEST_RESULT, result))
    };
    let failed = unapproved().with("failed", suite("FAILED", "https://ci.example/2"));
    let passed_before = failed
        .0
        .iter()
        .find(|(name, _)| *name == "data")
        .unwrap()
        .1
        .clone();
    let mended = failed
        .clone()
        .with("mended", suite("PASSED", "https://ci.example/3"));
    let diverged = unapproved().with(
        "diverged",
        reproduction(report(
            "DIVERGED",
            "bit_exact",
            "I4",
            "2027-01-11T00:00:00Z",
        )),
    );
    let reproduced_before = diverged
        .0
        .iter()
        .find(|(name, _)| *name == "reproduction")
        .unwrap()
        .1
        .clone();
    let found = diverged.clone().with(
        "found",
        reproduction(report(
            "REPRODUCED",
            "bit_exact",
            "I4",
            "2027-01-12T00:00:00Z",
        )),
    );
    // It was of everything, and chained.
    let of_less = |field: &str, value: Value| {
        let mut less = report("REPRODUCED", "bit_exact", "I4", "2027-01-12T00:00:00Z");
        *less.pointer_mut(field).unwrap() = value;
        diverged.clone().with("less", reproduction(less))
    };
    let part = of_less("/scope", json!("eval"));
    let unchained = of_less("/mode/chained", json!(false));
    let wider = diverged.clone().with(
        "wider",
        reproduction(waived("tolerance", "2027-01-12T00:00:00Z")),
    );
    let approve = |shown: Attached| {
        let bob = approval(&shown, &policy(), &bob());
        let carol = approval(&shown, &policy(), &carol());
        shown.with("bob", bob).with("carol", carol)
    };
    let not_passed = "suite data did not pass, says eve";
    let not_reproduced = "rita reports that it does not reproduce";
    vec![
        in_log(
            "an approval, then a rejection",
            &rejected,
            &[("bob", 3), ("no", 5)],
            Denied(refused),
        ),
        in_log(
            "a rejection that is taken back",
            &taken_back,
            &[("bob", 3), ("no", 5), ("yes", 9)],
            Admitted,
        ),
        in_log(
            "a rejection that no log puts before the approval",
            &taken_back,
            &[("bob", 3), ("yes", 9)],
            Denied(refused),
        ),
        in_log(
            "an approval from before the rejection, attached once more",
            &again,
            &[("bob", 3), ("no", 5), ("again", 9)],
            Denied(refused),
        ),
        in_log(
            "an approval that the rejection names, attached once more in place of the first",
            &only_the_copy,
            &[("no", 5), ("bob", 9)],
            Denied(refused),
        ),
        in_log(
            "a rejection that was taken back, attached once more",
            &taken_back
                .clone()
                .with("again", replayed(&reject(&BTreeSet::new()))),
            &[("no", 5), ("yes", 9), ("again", 12)],
            Admitted,
        ),
        InLog {
            policy: logged(two_keys),
            ..in_log(
                "a rejection and a later approval by a key of another role",
                &other_role,
                &[("no", 5), ("yes", 9)],
                Denied(refused),
            )
        },
        in_log(
            "a rejection and a later approval of other evidence",
            &other_evidence,
            &[("no", 5), ("yes", 9)],
            Denied(refused),
        ),
        in_log(
            "a suite that failed and passed after that",
            &approve(mended.clone()),
            &[("data", 2), ("failed", 5), ("mended", 9)],
            Admitted,
        ),
        in_log(
            "a suite that failed, and its result from before attached once more",
            &approve(failed.clone()).with("again", replayed(&passed_before)),
            &[("data", 2), ("failed", 5), ("again", 9)],
            Denied(not_passed),
        ),
        in_log(
            "a replay that diverged and reproduced after that",
            &approve(found),
            &[("reproduction", 2), ("diverged", 5), ("found", 9)],
            Admitted,
        ),
        in_log(
            "a replay that diverged and reproduced within wider bounds after that",
            &approve(wider),
            &[("reproduction", 2), ("diverged", 5), ("wider", 9)],
            Denied(not_reproduced),
        ),
        in_log(
            "a replay of everything that diverged, and one of evaluation alone that reproduced after that",
            &approve(part),
            &[("reproduction", 2), ("diverged", 5), ("less", 9)],
            Denied(not_reproduced),
        ),
        in_log(
            "a chained replay that diverged, and one on recorded inputs that reproduced after that",
            &approve(unchained),
            &[("reproduction", 2), ("diverged", 5), ("less", 9)],
            Denied(not_reproduced),
        ),
        in_log(
            "a replay that diverged, and the report from before attached once more",
            &approve(diverged).with("again", replayed(&reproduced_before)),
            &[("reproduction", 2), ("diverged", 5), ("again", 9)],
            Denied(not_reproduced),
        ),
    ]
}

/// Which logs and witnesses count, and for what.
fn logs_and_witnesses() -> Vec<InLog> {
    let other_key = VerifierKey::new(
        "other.example.com",
        KeyKind::Log,
        ed25519(55).public_key().clone(),
    )
    .unwrap();
    let policy = |logs: &str| {
        let key = |key: SecretKey| format!("\"{}\"", key.public_key().to_openssh());
        format!(
            "schema = \"sealstone-policy/v2\"\nversion = 1\nexpires = \"2027-06-01T00:00:00Z\"\n\n[roots]\nthreshold = 1\nkeys = [{}]\n\n[[identity]]\nname = \"alice\"\nroles = [\"release\"]\nkeys = [{}, {{ key = {}, status = \"retired\", valid_until_index = 10 }}, {{ key = {}, valid_from_index = 5 }}]\n\n{logs}[[scope]]\nrepositories = [\"models/**\"]\n\n[[scope.require]]\nrule = \"signatures\"\n\n[[scope.require]]\nrule = \"log\"\n",
            key(ed25519(20)),
            key(alice()),
            key(ed25519(13)),
            key(ed25519(15))
        )
    };
    let witnessed = |quorum: u32| {
        policy(&format!(
            "[[log]]\nvkey = \"{}\"\nwitnesses = [\"{}\", \"{}\"]\nquorum = {quorum}\n\n",
            log_key(),
            witness_key(6),
            witness_key(7)
        ))
    };
    let two_logs = policy(&format!(
        "[[log]]\nvkey = \"{}\"\n\n[[log]]\nvkey = \"{other_key}\"\n\n",
        log_key()
    ));
    let signature = |signer: SecretKey| by(&signer, &Statement::signature(subject()));
    let proof = |item: &Item, index: u64, witnesses: &[u8]| {
        let mut proof = log_of(&[(item, index)]).proof(index, 20);
        for seed in witnesses {
            let line = proof
                .checkpoint
                .claim()
                .cosign(&witness_key(*seed), &ed25519(*seed), SECONDS)
                .unwrap();
            proof.checkpoint.add_cosignature(line);
        }
        proof
    };
    let elsewhere = |item: &Item, index: u64| {
        let log = log_of(&[(item, index)]);
        let mut proof = log.proof(index, 20);
        let checkpoint = Checkpoint::new(other_key.name(), 20, log.root_at(20));
        proof.checkpoint = checkpoint.sign(&other_key, &ed25519(55)).unwrap();
        proof
    };
    // Ten that are well formed and prove nothing, and the one that holds behind them.
    let crowded = |item: &Item, index: u64| {
        let good = proof(item, index, &[]);
        let bogus = |number: u8| {
            let mut bogus = good.clone();
            bogus.hashes[0] = crate::log::Hash::of_entry(&[number]);
            bogus
        };
        let mut proofs: Vec<LogProof> = (0..10u8).map(bogus).collect();
        proofs.push(good);
        proofs
    };
    let revoked = by(
        &ed25519(13),
        &lifecycle::revocation(subject(), "poisoned data", NOW.parse().unwrap()),
    );
    let by_alice = signature(alice());
    let by_retired = signature(ed25519(13));
    let by_later = signature(ed25519(15));
    let later_again = replayed(&by_later);
    // The first key of alice is for something else.
    let key = alice().public_key().to_openssh();
    let one_approves = two_logs.replace(
        &format!("keys = [\"{key}\", "),
        &format!("keys = [{{ key = \"{key}\", roles = [\"approver\"] }}, "),
    );
    assert_ne!(one_approves, two_logs);
    let seen_by = |name, quorum, witnesses: &[u8], expected| InLog {
        name,
        policy: witnessed(quorum),
        items: vec![(by_alice.clone(), vec![proof(&by_alice, 4, witnesses)])],
        expected,
    };
    let in_two = |name, item: &Item, proofs: Vec<LogProof>, expected| InLog {
        name,
        policy: two_logs.clone(),
        items: vec![(item.clone(), proofs)],
        expected,
    };
    let too_few = "a proof does not hold: checkpoint is cosigned by 1 known witnesses";
    vec![
        seen_by("a quorum of two, and both", 2, &[6, 7], Admitted),
        seen_by("a quorum of two, and one of them", 2, &[6], Denied(too_few)),
        seen_by(
            "a quorum of two, one of them and a stranger",
            2,
            &[6, 8],
            Denied(too_few),
        ),
        seen_by("a quorum of one, and one of two", 1, &[7], Admitted),
        seen_by("witnesses that nobody has to wait for", 0, &[], Admitted),
        in_two(
            "a proof in the second log",
            &by_alice,
            vec![elsewhere(&by_alice, 4)],
            Admitted,
        ),
        in_two(
            "a proof that holds behind ten that do not",
            &by_alice,
            crowded(&by_alice, 4),
            Admitted,
        ),
        InLog {
            name: "a revocation by a key retired since, its proof behind ten that do not hold",
            policy: two_logs.clone(),
            items: vec![
                (by_alice.clone(), vec![proof(&by_alice, 4, &[])]),
                (revoked.clone(), crowded(&revoked, 9)),
            ],
            expected: Denied("revoked by alice: poisoned data"),
        },
        in_two(
            "a retired key in the first log, before its end",
            &by_retired,
            vec![proof(&by_retired, 9, &[])],
            Admitted,
        ),
        in_two(
            "a retired key in the first log, at its end",
            &by_retired,
            vec![proof(&by_retired, 10, &[])],
            Denied("retired from log index 10 on, and this was logged at 10"),
        ),
        in_two(
            "a retired key in the second log only",
            &by_retired,
            vec![elsewhere(&by_retired, 4)],
            Denied("nothing proves that this was logged before"),
        ),
        in_two(
            "a retired key late in the first log and early in the second",
            &by_retired,
            vec![elsewhere(&by_retired, 4), proof(&by_retired, 12, &[])],
            Denied("this was logged at 12"),
        ),
        in_two(
            "a key before its first index",
            &by_later,
            vec![proof(&by_later, 4, &[])],
            Denied("the key counts from log index 5 on, and this was logged at 4"),
        ),
        in_two(
            "a key at its first index",
            &by_later,
            vec![proof(&by_later, 5, &[])],
            Admitted,
        ),
        InLog {
            name: "a key before its first index, and the same attached once more behind it",
            policy: two_logs.clone(),
            items: vec![
                (by_later.clone(), vec![proof(&by_later, 4, &[])]),
                (later_again.clone(), vec![proof(&later_again, 9, &[])]),
            ],
            expected: Denied("the key counts from log index 5 on, and this was logged at 4"),
        },
        InLog {
            name: "a retired key after its end, with what another key of the same person had said before",
            policy: one_approves,
            items: vec![
                (by_alice.clone(), vec![proof(&by_alice, 4, &[])]),
                (by_retired.clone(), vec![proof(&by_retired, 12, &[])]),
            ],
            expected: Denied("retired from log index 10 on, and this was logged at 12"),
        },
        in_two(
            "a key with a first index, in the second log only",
            &by_later,
            vec![elsewhere(&by_later, 9)],
            Denied("from log index 5 on, and nothing proves that this was logged"),
        ),
    ]
}

#[test]
fn what_the_log_says_of_statements() {
    assert_eq!(ORIGIN, log_key().name());
    let rows: Vec<InLog> = later_words()
        .into_iter()
        .chain(logs_and_witnesses())
        .chain(namesakes::rows())
        .collect();
    let names: BTreeSet<&str> = rows.iter().map(|row| row.name).collect();
    assert_eq!(names.len(), rows.len(), "a name stands twice");
    let built: Vec<Value> = rows
        .iter()
        .map(|row| {
            let items: Vec<Value> = row
                .items
                .iter()
                .map(|((referrer, bundle), proofs)| {
                    let proofs: Vec<String> = proofs.iter().map(LogProof::to_string).collect();
                    json!({"referrer": String::from_utf8_lossy(referrer),
                        "bundle": String::from_utf8_lossy(bundle), "proofs": proofs})
                })
                .collect();
            json!({
                "name": row.name, "policy": row.policy, "repository": REPOSITORY, "now": NOW,
                "manifest": String::from_utf8_lossy(manifest().bytes()),
                "evidence": items, "uses": {}, "damaged": false,
                "verdict": match row.expected {
                    Admitted => json!({"admitted": true}),
                    Denied(because) => json!({"admitted": false, "because": because}),
                },
            })
        })
        .collect();
    let mut wrong = Vec::new();
    let vectors = agree("policy/logged.json", &json!(built));
    for vector in vectors.as_array().unwrap() {
        let name = text(vector, "/name");
        let document = text(vector, "/policy");
        // What can be written no more is read as it was signed.
        let policy = match document.starts_with('{') {
            true => Policy::parse_canonical(document.as_bytes()),
            false => Policy::parse(document),
        };
        let policy = policy.unwrap();
        let (repo, mut case, now) = read(vector);
        for item in vector["evidence"].as_array().unwrap() {
            let referrer = Digest::sha256(text(item, "/referrer").as_bytes());
            for proof in item["proofs"].as_array().unwrap() {
                let proof = LogProof::parse(proof.as_str().unwrap().as_bytes()).unwrap();
                case.add_proof(&referrer, proof);
            }
        }
        let admitted = vector["verdict"]["admitted"] == json!(true);
        match policy.judge(&repo, &case, &now) {
            Ok(_) if admitted => {}
            Ok(_) => wrong.push(format!("{name} was admitted")),
            Err(denial) if admitted => wrong.push(format!("{name} was denied: {denial}")),
            Err(denial) => {
                let because = text(vector, "/verdict/because");
                if !denial.to_string().contains(because) {
                    wrong.push(format!("{name}: not because {because}: {denial}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn policy_with_log(rule: bool) -> Policy {
    let mut text = policy().replace(
        "[[scope]]\n",
        &format!("[[log]]\nvkey = \"{}\"\n\n[[scope]]\n", log_key()),
    );
    if rule {
        text = text.replace(
            "[scope.exceptions]",
            "[[scope.require]]\nrule = \"log\"\n\n[scope.exceptions]",
        );
    }
    Policy::parse(&text).unwrap()
}

fn entry(item: &Item, manifest: &Digest) -> Vec<u8> {
    let mut event = EventEntry::new(Operation::Attach, *manifest, "user:x", 1);
    event.repository = Some(REPOSITORY.parse().unwrap());
    event.statement = Some(Digest::sha256(&item.0));
    Entry::Event(event).to_bytes().unwrap()
}

/// The verdict where the log holds the statement at `index` of ten.
fn verdict(
    policy: &Policy,
    attached: &Attached,
    index: usize,
    about: &Digest,
) -> Result<(), String> {
    let repo = REPOSITORY.parse().unwrap();
    let mut case = Case::of(&repo, &manifest());
    for (_, item) in &attached.0 {
        case.add(evidence(item));
        let mut entries: Vec<Vec<u8>> = (0..10u8)
            .map(|number| entry(&(vec![number], vec![]), about))
            .collect();
        entries[index] = entry(item, about);
        let log = Grown::of(entries.clone());
        let mut proof = log.proof(index as u64, 10);
        proof.extra = Some(entries[index].clone());
        case.add_proof(&Digest::sha256(&item.0), proof);
    }
    let now = Circumstances::at(NOW.parse().unwrap());
    let outcome = policy.judge(&repo, &case, &now);
    outcome.map(drop).map_err(|denial| denial.to_string())
}

#[test]
fn a_revoked_key_counts_for_what_was_logged_before() {
    let by_dave = good().replaced(
        "signature",
        by(&ed25519(12), &Statement::signature(subject())),
    );
    let policy = policy_with_log(false);
    let own = *manifest().digest();
    // Rules are bound by digest, and this policy has the same ones.
    assert_eq!(verdict(&policy, &by_dave, 4, &own), Ok(()));
    let late = verdict(&policy, &by_dave, 5, &own).unwrap_err();
    assert!(
        late.contains("revoked (stolen laptop) from log index 5 on, and this was logged at 5"),
        "{late}"
    );
    let other = verdict(&policy, &by_dave, 4, &Digest::sha256(b"other")).unwrap_err();
    assert!(
        other.contains("nothing proves that this was logged before"),
        "{other}"
    );
    let unknown_log = Policy::parse(&super::people::policy()).unwrap();
    assert!(verdict(&unknown_log, &by_dave, 4, &own).is_err());
}

/// Proofs as forgers make them: each proves nothing, and the denial says what is wrong with it.
#[test]
fn forged_proofs_prove_nothing() {
    let policy = policy_with_log(true);
    let own = *manifest().digest();
    let repo = REPOSITORY.parse().unwrap();
    let now = Circumstances::at(NOW.parse().unwrap());
    let item = unapproved().0[0].1.clone();
    let referrer = Digest::sha256(&item.0);
    let entries = |seed: u8| -> Vec<Vec<u8>> {
        let mut entries: Vec<Vec<u8>> = (0..10u8)
            .map(|number| entry(&(vec![number, seed], vec![]), &own))
            .collect();
        entries[4] = entry(&item, &own);
        entries
    };
    let (log, fork) = (Grown::of(entries(0)), Grown::of(entries(1)));
    let proof = |log: &Grown, size: u64| {
        let mut proof = log.proof(4, size);
        proof.extra = Some(entries(0)[4].clone());
        proof
    };
    let good = proof(&log, 10);
    let mut flipped = good.clone();
    flipped.hashes[0] = crate::log::Hash::of_entry(b"flipped");
    let mut moved = good.clone();
    moved.index = 5;
    let mut shortened = good.clone();
    shortened.hashes.pop();
    let mut silent = good.clone();
    silent.extra = None;
    let mut foreign = log.proof(3, 10);
    foreign.extra = Some(entries(0)[3].clone());
    // The path of one history under the checkpoint of another of the same size.
    let mut forked = good.clone();
    forked.checkpoint = proof(&fork, 10).checkpoint;
    // A checkpoint from before the entry was there.
    let mut stale = good.clone();
    stale.checkpoint = log.proof(0, 3).checkpoint;
    let mut forged = good.clone();
    forged.checkpoint = crate::log::tests::signed_by_stranger(&good.checkpoint);
    let denied = |proof: crate::log::LogProof| {
        let mut case = Case::of(&repo, &manifest());
        case.add(evidence(&item));
        case.add_proof(&referrer, proof);
        policy.judge(&repo, &case, &now).unwrap_err().to_string()
    };
    assert!(!denied(good.clone()).contains("nothing proves"));
    let rows = [
        ("a flipped hash", flipped),
        ("another index", moved),
        ("a shortened path", shortened),
        ("no entry", silent),
        ("an entry about something else", foreign),
        ("a forked log", forked),
        ("a stale checkpoint", stale),
        ("a checkpoint by a stranger", forged),
    ];
    for (name, proof) in rows {
        let denial = denied(proof);
        assert!(
            denial.contains(
                "nothing proves that it is in a log that the policy trusts; a proof does not hold: "
            ),
            "{name}: {denial}"
        );
    }
}

#[test]
fn where_the_log_rule_holds_only_what_is_logged_counts() {
    let policy = policy_with_log(true);
    let own = *manifest().digest();
    let shown = unapproved();
    let repo = REPOSITORY.parse().unwrap();
    let mut case = Case::of(&repo, &manifest());
    shown
        .0
        .iter()
        .for_each(|(_, item)| case.add(evidence(item)));
    let now = Circumstances::at(NOW.parse().unwrap());
    let denial = policy.judge(&repo, &case, &now).unwrap_err().to_string();
    assert!(denial.contains("log: needs a proof"), "{denial}");
    assert!(
        denial.contains("signed by ci, but nothing proves that it is in a log"),
        "{denial}"
    );
    // With proofs everything but the approvals is there; they were given for other rules.
    let denial = verdict(&policy, &good(), 3, &own).unwrap_err();
    assert!(
        !denial.contains("\n  log:") && denial.contains("is void: it was given for rules"),
        "{denial}"
    );
}
