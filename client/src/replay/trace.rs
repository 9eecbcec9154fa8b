//! Where training went another way: the first step and column in which two traces differ.

use super::project::Project;
use super::room::Produced;
use sealstone_spec::recipe::Stage;
use sealstone_spec::report::{Trace, TraceDifference, first_difference};
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
    let read = |place: &Path| -> Option<Trace> {
        let bytes = std::fs::read(place).ok()?;
        match path.ends_with(".json") {
            true => Trace::parse_trainer_state(&bytes).ok(),
            false => Some(Trace::read_lines(&String::from_utf8_lossy(&bytes))),
        }
    };
    first_difference(&read(&base)?, &read(now)?)
}
