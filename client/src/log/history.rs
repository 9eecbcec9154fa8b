//! The whole log, read from outside: every entry is hashed into the tree, every chain and number followed.

use super::watch::Seen;
use crate::error::{Error, Outcome, Result};
use sealstone_spec::digest::Digest;
use sealstone_spec::log::{Entry, EventEntry, Frontier, Hash, Operation, TILE_WIDTH};
use sealstone_spec::name::{RepoName, Tag};
use serde::Serialize;
use std::collections::BTreeMap;

/// Something in the log that an honest registry does not write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Number of the entry.
    pub index: u64,
    /// What is wrong.
    pub problem: String,
}

/// What a log tells, up to some entry.
#[derive(Clone, Debug, Default)]
pub struct History {
    tree: Frontier,
    last_event: u64,
    tags: BTreeMap<(RepoName, Tag), Told>,
    problems: Vec<Problem>,
}

/// What was told of a tag.
#[derive(Clone, Copy, Debug)]
struct Told {
    /// Its last event.
    leaf: Hash,
    op: Operation,
    /// What it was a release of: a name that was one never names anything again, deleted or not.
    released: Option<Digest>,
}

impl History {
    /// Number of entries.
    pub fn size(&self) -> u64 {
        self.tree.size()
    }

    /// What an honest registry does not write.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Number of tags that the log speaks of.
    pub fn tags(&self) -> usize {
        self.tags.len()
    }

    /// Takes the next entry in; what it says, if it can be read.
    pub fn push(&mut self, bytes: &[u8]) -> Option<Entry> {
        let index = self.tree.size();
        let leaf = Hash::of_entry(bytes);
        self.tree.push(leaf, |_, _| {});
        match Entry::parse(bytes) {
            Ok(entry) => {
                if let Entry::Event(event) = &entry {
                    self.follow(index, leaf, event);
                }
                Some(entry)
            }
            Err(error) => {
                self.note(index, error.to_string());
                None
            }
        }
    }

    fn note(&mut self, index: u64, problem: String) {
        self.problems.push(Problem { index, problem });
    }

    fn follow(&mut self, index: u64, leaf: Hash, event: &EventEntry) {
        if let Some(number) = event.event {
            if number != self.last_event + 1 {
                let text = format!(
                    "event {number} follows event {}: one is missing, or stands twice",
                    self.last_event
                );
                self.note(index, text);
            }
            self.last_event = number;
        }
        let (Some(repo), Some(tag)) = (&event.repository, &event.tag) else {
            return;
        };
        let name = (repo.clone(), tag.clone());
        let last = self.tags.get(&name).copied();
        let was_released = last.and_then(|last| last.released);
        let is_release = event.op == Operation::Release;
        let told = Told {
            leaf,
            op: event.op,
            released: was_released.or(is_release.then_some(event.digest)),
        };
        self.tags.insert(name, told);
        if event.prev != last.map(|last| last.leaf) {
            self.note(
                index,
                format!("the event of {repo}:{tag} does not name the one before it"),
            );
        }
        let Some(last) = last else { return };
        let is_deletion = event.op == Operation::Untag;
        if let Some(released) = was_released
            && !is_deletion
        {
            let text = format!(
                "{repo}:{tag} was a release of {released} and was set to {}",
                event.digest
            );
            self.note(index, text);
        }
        if is_deletion && last.op == Operation::Untag {
            self.note(index, format!("{repo}:{tag} was deleted twice"));
        }
    }
}

/// Reads entries after those in `history` up to the checkpoint, hands each to `tell`, and compares the root.
///
/// # Errors
/// [`Outcome::Contradicted`] if the entries are not those of the checkpoint.
pub async fn read_history(
    seen: &Seen,
    history: &mut History,
    mut tell: impl FnMut(u64, Option<&Entry>),
) -> Result<()> {
    let size = seen.checkpoint.size();
    while history.size() < size {
        let at = history.size();
        let entries = seen.source.entries(at / TILE_WIDTH, size).await?;
        let skip = usize::try_from(at % TILE_WIDTH).expect("below 256");
        for bytes in entries.iter().skip(skip) {
            let index = history.size();
            let entry = history.push(bytes);
            tell(index, entry.as_ref());
        }
        if history.size() == at {
            return Err(Error::halted(format!(
                "the log of registry {} gives no entries after {at}",
                seen.source.registry()
            )));
        }
    }
    if history.tree.root() != *seen.checkpoint.root() {
        return Err(Error::new(
            Outcome::Contradicted,
            format!(
                "the entries that registry {} shows are not those of its checkpoint of {size}",
                seen.source.registry()
            ),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// What is noted of the events of one tag, each of which names the one before it.
    fn noted(events: &[(Operation, &str)]) -> Vec<(u64, String)> {
        let mut history = History::default();
        let mut prev = None;
        for (op, content) in events {
            let mut event = EventEntry::new(*op, Digest::sha256(content.as_bytes()), "a", 1);
            event.repository = Some("a/b".parse().unwrap());
            event.tag = Some("v1".parse().unwrap());
            event.prev = prev;
            let entry = Entry::Event(event);
            prev = Some(entry.leaf().unwrap());
            assert_eq!(history.push(&entry.to_bytes().unwrap()), Some(entry));
        }
        let problems = history.problems().iter();
        problems
            .map(|found| (found.index, found.problem.clone()))
            .collect()
    }

    #[test]
    fn a_release_is_not_made_anew_after_its_tag_was_deleted() {
        use Operation::{Release, Tag, Untag};
        let set = |index, released: &str, set: &str| {
            let (released, set) = (
                Digest::sha256(released.as_bytes()),
                Digest::sha256(set.as_bytes()),
            );
            (
                index,
                format!("a/b:v1 was a release of {released} and was set to {set}"),
            )
        };
        assert_eq!(
            noted(&[(Release, "a"), (Release, "b")]),
            [set(1, "a", "b")],
            "moved"
        );
        for again in [Release, Tag] {
            assert_eq!(
                noted(&[(Release, "a"), (Untag, "a"), (again, "b")]),
                [set(2, "a", "b")]
            );
            assert_eq!(
                noted(&[
                    (Release, "a"),
                    (Untag, "a"),
                    (again, "a"),
                    (Untag, "a"),
                    (again, "b")
                ]),
                [set(2, "a", "a"), set(4, "a", "b")],
                "each of them, against what it was first"
            );
        }
    }

    #[test]
    fn tags_that_were_no_release_come_and_go() {
        use Operation::{Release, Tag, Untag};
        let usual = [
            (Tag, "a"),
            (Tag, "b"),
            (Untag, "b"),
            (Tag, "a"),
            (Release, "a"),
            (Untag, "a"),
        ];
        assert!(noted(&usual).is_empty());
        assert_eq!(
            noted(&[(Tag, "a"), (Untag, "a"), (Untag, "a")]),
            [(2, "a/b:v1 was deleted twice".to_owned())]
        );
    }
}
