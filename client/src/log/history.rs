//! The whole log, read from outside: every entry is hashed into the tree, every chain and number followed.

use super::watch::Seen;
use crate::error::{Error, Outcome, Result};
use sealstone_spec::log::{Entry, EventEntry, Frontier, Hash, TILE_WIDTH};
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
    tags: BTreeMap<(RepoName, Tag), (Hash, Option<EventEntry>)>,
    problems: Vec<Problem>,
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
        let before = self
            .tags
            .insert((repo.clone(), tag.clone()), (leaf, Some(event.clone())));
        let (prev, last) = before.map_or((None, None), |(leaf, last)| (Some(leaf), last));
        if event.prev != prev {
            self.note(
                index,
                format!("the event of {repo}:{tag} does not name the one before it"),
            );
        }
        let Some(last) = last else { return };
        use sealstone_spec::log::Operation::{Release, Tag, Untag};
        match (last.op, event.op) {
            (Release, Release | Tag) => {
                self.note(
                    index,
                    format!(
                        "{repo}:{tag} was a release of {} and was set to {}",
                        last.digest, event.digest
                    ),
                );
            }
            (Untag, Untag) => self.note(index, format!("{repo}:{tag} was deleted twice")),
            _ => {}
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
