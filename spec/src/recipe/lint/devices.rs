//! Devices that nobody here could run a stage on.
//!
//! A recipe may be for more than one program, so its reader knows more devices than a program runs stages on. Whether it
//! does has to be told before the first stage: those before the one with the device may take days.

use super::super::Recipe;
use super::super::finding::{Code, Place};

/// `known` are the kinds of devices that stages can be run on.
pub(super) fn check_devices(
    recipe: &Recipe,
    known: &[&str],
    say: &mut impl FnMut(Code, Place, String, &str),
) {
    let hint = format!("stages can be run here on {}", known.join(" and "));
    for stage in &recipe.stages {
        let Some(device) = &stage.device else {
            continue;
        };
        let kind = device.split(':').next().unwrap_or_default();
        if !known.contains(&kind) {
            let problem = format!(
                "stage \"{}\" is for the device \"{device}\", on which nothing here runs stages",
                stage.name
            );
            say(Code::WrongValue, stage.place, problem, &hint);
        }
    }
}
