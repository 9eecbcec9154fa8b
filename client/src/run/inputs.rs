//! Inputs held against the recipe, before anything runs.

use super::baseline::Run;
use crate::error::{Error, Result};
use crate::plan::contents;
use crate::recipe::fingerprint;
use crate::runner::StageJob;
use sealstone_spec::compare::Fingerprint;
use sealstone_spec::recipe::{Input, LockedInput, PathDigest};

impl Run<'_> {
    /// Every input is what the recipe says, or nothing runs.
    pub(super) fn inputs(&mut self) -> Result<Vec<LockedInput>> {
        let mut locked = Vec::new();
        for input in self.recipe.inputs() {
            let mut job = StageJob::new("inputs", Vec::new(), &self.scratch, &self.scratch);
            let (content, files) = contents(self.recipe, &self.roots, &input.path, &mut job)?;
            let replaced = self
                .profile
                .is_some_and(|profile| profile.inputs.contains_key(&input.path));
            let print = match content.files {
                None => fingerprint(&self.roots.place(self.recipe, input.path.as_str()))?,
                Some(_) => None,
            };
            if !replaced {
                self.check_input(input, &content, print.as_ref())?;
            }
            self.files.extend(
                files
                    .into_iter()
                    .map(|file| (file.path.as_str().to_owned(), file)),
            );
            locked.push(LockedInput {
                content,
                source: input.source.clone(),
                rows: print.as_ref().map(|print| print.rows),
                ordered: print.as_ref().map(|print| print.ordered),
                multiset: print.as_ref().map(|print| print.multiset),
                embedded: input.embed,
            });
        }
        Ok(locked)
    }

    fn check_input(
        &self,
        input: &Input,
        found: &PathDigest,
        print: Option<&Fingerprint>,
    ) -> Result<()> {
        let path = &input.path;
        if found.files.is_some() != input.is_tree {
            let due = if input.is_tree {
                "a directory"
            } else {
                "a file"
            };
            return Err(Error::halted(format!(
                "input \"{path}\" is not {due}, as the recipe says"
            )));
        }
        if found.digest != input.digest {
            let mut error = Error::halted(format!(
                "input \"{path}\" is {}, the recipe says {}; nothing was run",
                found.digest, input.digest
            ))
            .hint("bring back the data that the recipe names, or take the new with: sealstone lint --fix-digests");
            let before = self
                .earlier
                .iter()
                .flat_map(|lock| &lock.inputs)
                .find(|other| other.content.path == *path);
            let multiset = input
                .multiset
                .or_else(|| before.and_then(|before| before.multiset));
            if let (Some(multiset), Some(print)) = (multiset, print) {
                error = error.hint(match multiset == print.multiset {
                    true => "it has the same rows in a different order",
                    false => "its rows are other rows",
                });
            }
            return Err(error);
        }
        let stated = [
            (
                "rows in their order",
                input.ordered,
                print.map(|print| print.ordered),
            ),
            ("rows", input.multiset, print.map(|print| print.multiset)),
        ];
        for (what, due, is) in stated {
            if due.is_some() && due != is {
                return Err(Error::halted(format!(
                    "the {what} of input \"{path}\" are not those that the recipe names"
                )));
            }
        }
        // Whether people count the header of a table is theirs to decide.
        let counts =
            |due: u64| print.is_none_or(|print| print.rows == due || print.rows == due + 1);
        if let Some(due) = input.rows.filter(|due| !counts(*due)) {
            let rows = print.map_or(0, |print| print.rows);
            return Err(Error::halted(format!(
                "input \"{path}\" has {rows} rows, the recipe says {due}"
            )));
        }
        if input.files.is_some() && input.files != found.files {
            return Err(Error::halted(format!(
                "input \"{path}\" has {:?} files, the recipe says {:?}",
                found.files, input.files
            )));
        }
        Ok(())
    }
}
