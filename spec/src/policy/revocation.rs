//! Which evidence revokes what it is attached to, and in whose words, found without a case.
//!
//! A revocation is final, so whoever keeps evidence has to know one when it comes: it is kept for ever, and heard wherever
//! the same manifest is. Owns the name of its words. Whether they count is decided with all other evidence, each time anew.
//! Invariant: a name stands for a key and what was signed with it. Whoever attaches the same once more, in other
//! wrapping, makes no other name, so nobody but the holder of a key makes more of them.

use super::Policy;
use super::evidence::Evidence;
use super::identity::Key;
use super::lifecycle::{REVOCATION, WORDS};
use crate::digest::Digest;
use crate::envelope::{MAX_ENVELOPE_BYTES, VerifiedEnvelope};
use crate::exact::parse_exact;
use crate::sigstore::SigstoreBundle;
use crate::statement::{Statement, VerifiedStatement};

/// Most manifests of a statement that are looked at before it is attached to one of them.
const MOST_NAMED: usize = 8;

/// A revocation, by a key that may revoke.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Revocation {
    /// The manifest that is revoked.
    pub subject: Digest,
    /// The name of the words.
    pub word: Digest,
    /// Whether the key counts without a log. The words of one that is retired or revoked, or whose beginning lies ahead,
    /// count only where a log holds them at the right place.
    pub counts_unlogged: bool,
}

impl Policy {
    /// Reads a piece of evidence as a revocation of what it is attached to; `None` if it is none, or not by a key that may
    /// revoke. The size of the manifest is believed, because only who has that can compare.
    pub fn revocation(&self, item: &Evidence) -> Option<Revocation> {
        let subject = item.subject()?;
        let bundle = item.read(&subject.digest, subject.size).ok()?;
        let (key, envelope) = self.signer(&bundle)?;
        self.revocation_by(key, &envelope, &subject.digest)
    }

    /// Reads a bundle that is not attached yet: the revocations that it can become, of the first manifests that it names.
    pub fn revocations_in(&self, bundle: &[u8]) -> Vec<Revocation> {
        let Ok(bundle) = SigstoreBundle::parse(bundle) else {
            return Vec::new();
        };
        let Some((key, envelope)) = self.signer(&bundle) else {
            return Vec::new();
        };
        let Ok(statement) = parse_exact::<Statement>(envelope.payload(), MAX_ENVELOPE_BYTES) else {
            return Vec::new();
        };
        let named = statement.subject.iter().flat_map(|named| &named.digest);
        named
            .filter_map(|(algorithm, hex)| Digest::parse(&format!("{algorithm}:{hex}")).ok())
            .take(MOST_NAMED)
            .filter_map(|subject| self.revocation_by(key, &envelope, &subject))
            .collect()
    }

    /// The name of the words in which somebody of the policy, with a key in whatever state, speaks of what a piece of evidence
    /// is attached to; `None` if nobody of it does, or it is no statement in which people say what they think. `size` is that
    /// of the manifest: what names another is set aside where it is judged, so nobody has said anything by it.
    pub fn words(&self, item: &Evidence, size: u64) -> Option<Digest> {
        let subject = item.subject()?;
        let bundle = item.read(&subject.digest, size).ok()?;
        let (key, envelope) = self.signer(&bundle)?;
        VerifiedStatement::check(&envelope, &WORDS, &subject.digest).ok()?;
        Some(word(key, &envelope))
    }

    /// The first key of the policy by which a bundle is signed, in whatever state, and what it signed.
    fn signer(&self, bundle: &SigstoreBundle) -> Option<(&Key, VerifiedEnvelope)> {
        let mut keys = self
            .identities()
            .iter()
            .flat_map(|identity| &identity.keys)
            .filter(|key| bundle.may_be_by(&key.public));
        keys.find_map(|key| {
            let envelope = bundle.envelope().verify(&key.public).ok()?;
            Some((key, envelope))
        })
    }

    fn revocation_by(
        &self,
        key: &Key,
        envelope: &VerifiedEnvelope,
        subject: &Digest,
    ) -> Option<Revocation> {
        let mut roles = self.authority().revoke.iter();
        if !roles.any(|role| key.roles.contains(role)) {
            return None;
        }
        VerifiedStatement::check(envelope, &[REVOCATION], subject).ok()?;
        Some(Revocation {
            subject: *subject,
            word: word(key, envelope),
            counts_unlogged: key.counts_unlogged(),
        })
    }
}

/// The name of what was signed with a key.
fn word(key: &Key, envelope: &VerifiedEnvelope) -> Digest {
    let name = format!("{} {}", key.id(), Digest::sha256(envelope.payload()));
    Digest::sha256(name.as_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fixtures::{ed25519, evidence, manifest, referrer_to, statement};
    use crate::key::{SecretKey, Signer as _};
    use crate::manifest::Descriptor;
    use crate::policy::{Time, lifecycle};
    use crate::sigstore::referrer_manifest;
    use crate::statement::Subject;

    fn policy() -> Policy {
        let line = |seed: u8| ed25519(seed).public_key().to_openssh();
        let text = format!(
            "schema = \"sealstone-policy/v2\"\nversion = 1\nexpires = \"2100-01-01T00:00:00Z\"\n[roots]\nthreshold = 1\nkeys = [\"{}\"]\n\
             [[identity]]\nname = \"sam\"\nroles = [\"security\"]\nkeys = [\"{}\", {{ key = \"{}\", status = \"retired\", valid_until_index = 9 }}, {{ key = \"{}\", valid_from_index = 9 }}]\n\
             [[identity]]\nname = \"eva\"\nroles = [\"evaluator\"]\nkeys = [\"{}\"]\n",
            line(1),
            line(2),
            line(3),
            line(6),
            line(4)
        );
        Policy::parse(&text).unwrap()
    }

    fn revoke(reason: &str) -> Statement {
        let subject = vec![Subject::new("m", manifest().digest())];
        lifecycle::revocation(subject, reason, Time::from_seconds(0))
    }

    fn heard(
        statement: &Statement,
        signer: &SecretKey,
        subject: &Descriptor,
    ) -> Option<Revocation> {
        let bundle = SigstoreBundle::sign(statement, signer).unwrap().to_bytes();
        let item = evidence(referrer_to(subject, &bundle), bundle);
        policy().revocation(&item)
    }

    #[test]
    fn only_the_words_of_who_may_revoke_are_a_revocation() {
        let (words, subject) = (revoke("leaked"), manifest().descriptor());
        let found = heard(&words, &ed25519(2), &subject).unwrap();
        assert_eq!(found.subject, *manifest().digest());
        assert!(found.counts_unlogged);
        // Of a key that is retired, and of one whose beginning lies ahead.
        for seed in [3, 6] {
            let found = heard(&words, &ed25519(seed), &subject).unwrap();
            assert!(!found.counts_unlogged, "{seed}");
        }
        // Another role, nobody of the policy, a root.
        for seed in [4, 5, 1] {
            assert_eq!(heard(&words, &ed25519(seed), &subject), None, "{seed}");
        }
        // Something else by the same key, and the same about another manifest than it is attached to.
        let signature = statement(manifest().digest());
        assert_eq!(heard(&signature, &ed25519(2), &subject), None);
        let other = Descriptor::new(subject.media_type, Digest::sha256(b"other"), subject.size);
        assert_eq!(heard(&words, &ed25519(2), &other), None);
    }

    #[test]
    fn the_same_words_have_one_name_however_they_are_attached() {
        let subject = manifest().descriptor();
        let bundle = SigstoreBundle::sign(&revoke("leaked"), &ed25519(2)).unwrap();
        let bundle = bundle.to_bytes();
        let names: Vec<Digest> = ["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]
            .into_iter()
            .map(|created| {
                let referrer = referrer_manifest(&subject, &bundle, "x", created);
                let item = evidence(referrer, bundle.clone());
                policy().revocation(&item).unwrap().word
            })
            .collect();
        assert_eq!(names[0], names[1]);
        let other = heard(&revoke("broken"), &ed25519(2), &subject).unwrap();
        assert_ne!(other.word, names[0]);
        let by_another = heard(&revoke("leaked"), &ed25519(3), &subject).unwrap();
        assert_ne!(by_another.word, names[0]);
    }

    #[test]
    fn words_are_those_of_somebody_of_the_policy_about_what_they_are_attached_to() {
        let (said, subject) = (revoke("leaked"), manifest().descriptor());
        let words = |statement: &Statement, seed: u8, subject: &Descriptor| {
            let bundle = SigstoreBundle::sign(statement, &ed25519(seed)).unwrap();
            let bundle = bundle.to_bytes();
            let item = evidence(referrer_to(subject, &bundle), bundle);
            policy().words(&item, manifest().size())
        };
        // Whatever the key may say, and though it is retired.
        for seed in [2, 3, 4] {
            assert!(words(&said, seed, &subject).is_some(), "{seed}");
        }
        let named = words(&said, 2, &subject);
        assert_eq!(
            named,
            heard(&said, &ed25519(2), &subject).map(|found| found.word)
        );
        // Nobody of the policy, no word of people, and one about something else.
        assert_eq!(words(&said, 5, &subject), None);
        assert_eq!(words(&statement(manifest().digest()), 2, &subject), None);
        let other = Descriptor::new(
            subject.media_type.clone(),
            Digest::sha256(b"other"),
            subject.size,
        );
        assert_eq!(words(&said, 2, &other), None);
        // Nor what is attached to something of another size.
        let longer = Descriptor::new(subject.media_type, subject.digest, subject.size + 1);
        assert_eq!(words(&said, 2, &longer), None);
    }

    #[test]
    fn a_bundle_is_known_as_a_revocation_before_it_is_attached() {
        let sign = |statement: &Statement, seed: u8| {
            SigstoreBundle::sign(statement, &ed25519(seed))
                .unwrap()
                .to_bytes()
        };
        let words = revoke("leaked");
        let attached = heard(&words, &ed25519(2), &manifest().descriptor());
        let found = policy().revocations_in(&sign(&words, 2));
        assert_eq!(found, [attached.unwrap()]);
        assert!(!policy().revocations_in(&sign(&words, 3))[0].counts_unlogged);
        for seed in [4, 5, 1] {
            assert_eq!(policy().revocations_in(&sign(&words, seed)), [], "{seed}");
        }
        let signature = statement(manifest().digest());
        assert_eq!(policy().revocations_in(&sign(&signature, 2)), []);
        assert_eq!(policy().revocations_in(b"{}"), []);
        // Of several manifests each, and no more than are looked at.
        let many = (0..20_u8).map(|number| Subject::new("m", &Digest::sha256(&[number])));
        let many = lifecycle::revocation(many.collect(), "leaked", Time::from_seconds(0));
        let found = policy().revocations_in(&sign(&many, 2));
        assert_eq!(found.len(), MOST_NAMED);
        assert!(found.iter().all(|each| each.word == found[0].word));
    }
}
