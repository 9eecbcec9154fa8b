//! Where training went another way: the first step and column in which two traces differ.
//!
//! Invariant: of JSON lines one step of each side is in memory, however long they are; of a trainer's state no more than
//! is read of one.

use super::project::Project;
use super::room::Produced;
use crate::lines::{Line, Lines};
use sealstone_spec::recipe::Stage;
use sealstone_spec::report::{Trace, TraceDifference, first_difference, first_difference_of_lines};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// The first difference between the baseline's trace of a stage and this one's, as far as both can be read.
pub(super) fn first_difference_of(
    project: &Project,
    stage: &Stage,
    produced: &Produced,
) -> Option<TraceDifference> {
    let path = stage.trace.as_ref()?.as_str();
    let base = project.baseline_file(path).ok()??;
    let (now, _) = produced.get(path)?;
    match path.ends_with(".json") {
        true => first_difference(&trainer_state(&base)?, &trainer_state(now)?),
        false => of_lines(&base, now),
    }
}

fn of_lines(base: &Path, now: &Path) -> Option<TraceDifference> {
    let (mut base, mut now) = (Texts::open(base)?, Texts::open(now)?);
    let first = first_difference_of_lines(&mut base, &mut now);
    // What could not be read is no end.
    first.filter(|_| !base.has_failed && !now.has_failed)
}

fn trainer_state(place: &Path) -> Option<Trace> {
    let mut bytes = Vec::new();
    let file = File::open(place).ok()?;
    file.take(Trace::MAX_STATE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .ok()?;
    Trace::parse_trainer_state(&bytes).ok()
}

/// The lines of a trace as texts.
struct Texts {
    lines: Lines,
    has_failed: bool,
}

impl Texts {
    fn open(place: &Path) -> Option<Texts> {
        Some(Texts {
            lines: Lines::open(place, Trace::MAX_LINE_BYTES).ok()?,
            has_failed: false,
        })
    }
}

impl Iterator for Texts {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        if self.has_failed {
            return None;
        }
        match self.lines.next_line() {
            Ok(line) => line.map(|line| {
                let (Line::Whole(line) | Line::Cut(line)) = line;
                String::from_utf8_lossy(line).into_owned()
            }),
            Err(_) => {
                self.has_failed = true;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    #[test]
    fn traces_of_holes_are_compared_up_to_the_first() {
        let root = tempfile::tempdir().unwrap();
        let place = |name: &str| root.path().join(name);
        let write = |name: &str, content: &str, holes: u64| {
            fs::write(place(name), content).unwrap();
            let file = File::options().write(true).open(place(name)).unwrap();
            file.set_len(content.len() as u64 + holes).unwrap();
        };
        let steps = "{\"step\":0,\"loss\":1}\n{\"step\":1,\"loss\":2}\n";
        write("base", steps, 0);
        write("holes", steps, 1 << 40);
        write("other", &steps.replace("2", "3"), 1 << 40);
        let found = |base: &str, now: &str| {
            let first = of_lines(&place(base), &place(now))?;
            Some((first.step, first.column))
        };
        assert_eq!(found("base", "holes"), Some((2, "line".to_owned())));
        assert_eq!(found("holes", "other"), Some((1, "loss".to_owned())));
        assert_eq!(found("holes", "holes"), None);
        // A trainer's state is one document, and too long is none.
        write("state", "{\"log_history\":[]}", 0);
        assert_eq!(trainer_state(&place("state")), Some(Trace::default()));
        write("state", "{\"log_history\":[]}", 1 << 40);
        assert_eq!(trainer_state(&place("state")), None);
        // A directory can be opened, and not read.
        assert_eq!(of_lines(root.path(), &place("base")), None);
    }
}
