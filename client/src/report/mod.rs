//! A reproduction report, shown: on a terminal, to a build server, in a pull request, as a page.
//!
//! | file | what it owns |
//! | --- | --- |
//! | `terminal` | the table at the end of a run, the first divergence, the next command |
//! | `junit` | test suites for build servers |
//! | `sarif` | findings at lines of the recipe |
//! | `markdown` | the one comment in a pull request |
//! | `html`, `graph`, `bars` | a page in one file that asks nobody for anything |
//! | `problems` | what is wrong, once, for all of them: rule, place, words |
//! | `advice` | what to type next |
//! | `escape` | text of others, safe in each of these forms |
//!
//! Everything here is made from the one document of `sealstone_spec::report`; nothing is read from a disk
//! and nothing is decided. Invariant: the same report gives the same bytes.

mod advice;
mod bars;
mod escape;
mod graph;
mod html;
mod junit;
mod markdown;
mod problems;
mod sarif;
mod terminal;

#[cfg(test)]
mod tests;

pub use advice::next_step;
pub use escape::{as_lines, as_page, clean};
pub use html::html;
pub use junit::junit;
pub use markdown::{MARKER, markdown};
pub use problems::{Level, Problem, RULES, Rule, Table, problems};
pub use sarif::sarif;
pub use terminal::terminal;

/// What renderings need to know beside the report.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// What was replayed, as it was written on the command line: for the next command.
    pub reference: String,
    /// Path of the recipe from the top of its repository, for places of findings.
    pub recipe_path: String,
    /// Where the page can be looked at, for links to it.
    pub page: Option<String>,
    /// Where people find out what to do.
    pub runbook: Option<String>,
}

impl Surroundings {
    /// Those of a replay of `reference`, with the recipe at the root of the repository.
    pub fn of(reference: impl Into<String>) -> Surroundings {
        Surroundings {
            reference: reference.into(),
            recipe_path: "recipe.toml".into(),
            page: None,
            runbook: None,
        }
    }
}
