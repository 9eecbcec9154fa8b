//! The stages of a replay: planned, run, held against the lock, and run again where they differ.

use super::artifacts::{self, Compared};
use super::cause::Known;
use super::changes::{self, Changes};
use super::execute::{Ran, failed, run};
use super::project::Project;
use super::replicates::RunAs;
use super::resources::{self, usage_of};
use super::room::{Produced, Room};
use super::session::Session;
use super::trace;
use crate::error::{Error, Outcome, Result};
use crate::plan::{Given, Planned, Roots, plan};
use crate::run::data_wait_ms;
use crate::runner::StageOutcome;
use sealstone_spec::compare::Class;
use sealstone_spec::recipe::{LockedStage, Origin, Stage, StageKind, must_digest};
use sealstone_spec::report::{
    ArtifactRow, Clue, DigestRef, Keys, ReplayScope, Runs, StageFacts, StageRow, StageStatus,
    Verdict,
};
use std::time::Instant;

impl Session<'_> {
    /// Runs every stage that is due; of the others, the baseline's files are taken as they are.
    ///
    /// # Errors
    /// [`Outcome::Halted`] alone: something that was checked is another now.
    pub(super) fn stages(&mut self) -> Result<()> {
        let project = self.project;
        for stage in project.recipe.stages() {
            if self.is_due(stage) {
                self.stage(stage)?;
            } else {
                self.not_due(stage)?;
            }
        }
        Ok(())
    }

    fn row(&self, stage: &Stage) -> StageRow {
        let locked = self.project.lock.stage(&stage.name);
        let needs = self.project.recipe.dependencies(stage);
        StageRow {
            name: stage.name.clone(),
            kind: Some(stage.kind.as_str().to_owned()),
            needs: needs.iter().map(|need| need.name.clone()).collect(),
            status: StageStatus::Skipped,
            key: Keys {
                base: locked.map(|locked| locked.key),
                now: None,
            },
            changed: Vec::new(),
            changes: Vec::new(),
            argv: stage.run.clone(),
            exit: None,
            signal: None,
            attempts: 0,
            usage: serde_json::Map::new(),
            usage_deviation: Vec::new(),
            log: None,
            line: Some(stage.place.line as u64),
            note: None,
            artifacts: Vec::new(),
        }
    }

    /// A stage that the scope does not ask for: its outputs are the baseline's, and whatever changed in it is told, or
    /// nobody would hear that they are not what it makes now.
    fn not_due(&mut self, stage: &Stage) -> Result<()> {
        let machine = &self.tools.machine;
        let mut row = self.row(stage);
        let now = changes::unrun(self.project, stage, machine, &self.settings.workspace);
        let looked = now.and_then(|now| Ok((now, baseline_of(self.project, stage)?)));
        let (now, files) = match looked {
            Ok(looked) => looked,
            Err(error) => {
                let text = self.kept_from(stage, &mut row, error)?;
                self.skipped(row, &text);
                return Ok(());
            }
        };
        self.made.extend(files);
        row.changed = now.words.iter().map(|word| (*word).to_owned()).collect();
        row.changes = now.which.iter().map(|(_, text)| text.clone()).collect();
        if now.is_more_than_environment() {
            let text = format!("{} changed, and it was not run", row.changes.join(", "));
            self.reason(Verdict::ReproducedWithWarnings, "drift", &stage.name, text);
        }
        self.skipped(row, "not part of this scope");
        Ok(())
    }

    /// What this machine could not do with a stage, in words: the stage is in error, and what others did stays told.
    ///
    /// # Errors
    /// Gives back what halts.
    fn kept_from(&mut self, stage: &Stage, row: &mut StageRow, error: Error) -> Result<String> {
        if error.outcome() == Outcome::Halted {
            return Err(error);
        }
        let text = error.in_words();
        row.status = StageStatus::Error;
        self.reason(Verdict::Error, "stage", &stage.name, &text);
        self.broken.insert(stage.name.clone());
        Ok(text)
    }

    fn skip(&mut self, stage: &Stage, why: &str) {
        let row = self.row(stage);
        self.skipped(row, why);
    }

    fn skipped(&mut self, mut row: StageRow, why: &str) {
        row.note = Some(why.to_owned());
        self.known.push(Known {
            facts: StageFacts {
                name: row.name.clone(),
                needs: row.needs.clone(),
                ..StageFacts::default()
            },
            ..Known::default()
        });
        self.report.stages.push(row);
    }

    fn stage(&mut self, stage: &Stage) -> Result<()> {
        let mut row = self.row(stage);
        if !self.settings.isolated
            && let Some(need) = row
                .needs
                .iter()
                .find(|need| self.broken.contains(*need))
                .cloned()
        {
            self.broken.insert(stage.name.clone());
            self.skip(stage, &format!("{need}, which it needs, did not end well"));
            return Ok(());
        }
        let mut known = Known {
            facts: StageFacts {
                name: row.name.clone(),
                needs: row.needs.clone(),
                ..StageFacts::default()
            },
            ..Known::default()
        };
        if let Err(error) = self.run_and_compare(stage, &mut row, &mut known) {
            row.note = Some(self.kept_from(stage, &mut row, error)?);
            known.ended_well = false;
        }
        self.known.push(known);
        self.report.stages.push(row);
        Ok(())
    }

    /// Runs a stage and holds it against the lock. What is known of it stands in `row` and `known` also where it ends
    /// with an error.
    fn run_and_compare(
        &mut self,
        stage: &Stage,
        row: &mut StageRow,
        known: &mut Known,
    ) -> Result<()> {
        let project = self.project;
        // A replay of the evaluation alone is about the weights that were shipped, and the answers that it got from them.
        let needs = project.recipe.dependencies(stage);
        let is_first = !needs.iter().any(|need| self.is_due(need));
        let is_evaluation = self.settings.scope == ReplayScope::Eval;
        let alone = self.settings.isolated || (is_evaluation && is_first);
        let produced = match alone {
            true => baseline_of_needs(project, stage)?,
            false => self.made.clone(),
        };
        let roots = project.roots_with(&produced, &self.settings.workspace);
        let room = Room::make(&self.settings.workspace, &stage.name)?;
        let seed = project.recipe.determinism().seed;
        let planned = match self.plan(stage, &roots, &room, seed) {
            Ok(planned) => planned,
            Err(error) if matches!(error.outcome(), Outcome::Other | Outcome::Halted) => {
                return Err(error);
            }
            Err(error) => {
                row.note = Some(self.unplanned(stage, &roots, alone, error.message()));
                return Ok(());
            }
        };
        let facts = must_digest(&self.tools.machine.facts, project.lock.environment.class);
        let now = changes::of_stage(project, stage, &planned, &facts);
        row.key.now = Some(planned.parts.key());
        row.changed = now.words.iter().map(|word| (*word).to_owned()).collect();
        row.changes = now.which.iter().map(|(_, text)| text.clone()).collect();
        row.argv = planned.job.argv.clone();
        known.facts.changed = now.words.iter().any(|word| *word != "env");
        known.facts.environment_changed = now.words.contains(&"env");
        known.changes.clone_from(&now.which);
        let ran = self.run(stage, &planned, &room, RunAs::Replay)?;
        row.exit = ran.outcome.exit;
        row.signal = ran.outcome.signal;
        row.attempts = ran.attempts;
        row.usage = usage_of(&ran.outcome.usage);
        row.log = Some(DigestRef::from(ran.log));
        self.ran.insert(stage.name.clone());
        let reached = ran.outcome.isolation;
        let lowest = self.report.isolation.achieved;
        self.report.isolation.achieved = Some(lowest.map_or(reached, |lowest| lowest.min(reached)));
        known.ended_well = !failed(&ran.outcome);
        if known.ended_well {
            self.hold_against(stage, &roots, &now, &ran, row, known, alone)?;
            self.made.extend(ran.produced);
        } else {
            row.status = StageStatus::Error;
            let problem = ran
                .outcome
                .failure()
                .unwrap_or_else(|| "it did not end well".into());
            row.note = Some(match ran.last_words.is_empty() {
                true => problem.clone(),
                false => format!("{problem}: {}", ran.last_words),
            });
            self.reason(Verdict::Error, "stage", &stage.name, problem);
            self.broken.insert(stage.name.clone());
        }
        Ok(())
    }

    pub(super) fn plan(
        &self,
        stage: &Stage,
        roots: &Roots,
        room: &Room,
        seed: Option<u64>,
    ) -> Result<Planned> {
        let project = self.project;
        let given = Given {
            recipe: &project.recipe,
            roots,
            params: &project.params,
            seed,
            machine: &self.tools.machine,
            scratch: &room.scratch,
        };
        let mut planned = plan(given, stage, project.lock.environment.class)?;
        project.are_as_checked(&planned.files)?;
        planned.job.destination.clone_from(&room.outputs);
        Ok(planned)
    }

    /// Why a stage could not be planned: something that it reads is not there, or is not what can be read.
    fn unplanned(&mut self, stage: &Stage, roots: &Roots, alone: bool, problem: &str) -> String {
        let recipe = &self.project.recipe;
        let absent = stage
            .reads
            .iter()
            .find(|path| roots.files(recipe, path).is_err());
        // What a stage of this replay should have written is an error; what nobody brought is not.
        let (verdict, code) = match absent.map(|path| recipe.origin_of(path)) {
            Some(Origin::Output(writer)) if !alone && self.is_due(writer) => {
                (Verdict::Error, "stage")
            }
            Some(Origin::Output(_) | Origin::Input) => (Verdict::Inconclusive, "input-missing"),
            _ => (Verdict::Error, "stage"),
        };
        let text = match absent {
            Some(path) => format!("it reads \"{path}\", and nothing is there"),
            None => problem.to_owned(),
        };
        self.broken.insert(stage.name.clone());
        self.reason(verdict, code, &stage.name, &text);
        text
    }

    #[allow(clippy::too_many_arguments)] // one stage, from all that is known of it
    fn hold_against(
        &mut self,
        stage: &Stage,
        roots: &Roots,
        now: &Changes,
        ran: &Ran,
        row: &mut StageRow,
        known: &mut Known,
        alone: bool,
    ) -> Result<()> {
        let project = self.project;
        let undeclared = &ran.outcome.undeclared;
        if !undeclared.is_empty() {
            self.reason(
                Verdict::ReproducedWithWarnings,
                "undeclared-output",
                &stage.name,
                format!(
                    "it wrote {} without having declared it",
                    undeclared.join(", ")
                ),
            );
        }
        let began = Instant::now();
        let compared: Compared =
            artifacts::of_stage(project, stage, &ran.produced, self.tools.compare)?;
        self.spend("compare", began);
        self.note_compared(stage, &compared.rows);
        for (path, text) in &compared.failed {
            let text = format!("it could not be compared: {text}");
            self.reason(Verdict::Error, "artifact", path, text);
        }
        known.facts.differs = compared.first.is_some();
        known.facts.differs_alone = alone.then_some(known.facts.differs);
        known.first = compared.first;
        known.clues = compared.clues;
        known.clues.extend(self.clues(stage, known.facts.differs));
        row.artifacts = compared.rows;
        row.status = StageStatus::Ok;
        for used in compared.stabilizers {
            if !self.report.stabilizers.contains(&used) {
                self.report.stabilizers.push(used);
            }
        }
        if known.facts.differs {
            known.trace = trace::first_difference_of(project, stage, &ran.produced);
            if self.settings.twice {
                match self.again(stage, roots, &ran.produced, &mut row.artifacts) {
                    Ok(runs) => known.runs = runs,
                    Err(error) if error.outcome() == Outcome::Halted => return Err(error),
                    // What the first run has shown stands.
                    Err(error) => {
                        let text = format!("it could not be run again: {}", error.in_words());
                        self.reason(Verdict::Error, "stage", &stage.name, text);
                    }
                }
            }
        }
        if now.is_more_than_environment() {
            let outputs = match known.facts.differs {
                true => "its outputs with it",
                false => "its outputs did not",
            };
            let text = format!("{} changed, and {outputs}", row.changes.join(", "));
            self.reason(Verdict::ReproducedWithWarnings, "drift", &stage.name, text);
        }
        if let Some(locked) = project.lock.stage(&stage.name) {
            let trace = stage.trace.as_ref();
            let waited = trace
                .and_then(|path| ran.produced.get(path.as_str()))
                .and_then(|(place, _)| data_wait_ms(place));
            self.usage(locked, &ran.outcome, waited, row);
        }
        Ok(())
    }

    /// What the comparison of a stage has shown, at once: those of its files that are not what they should be, and how
    /// many are.
    fn note_compared(&mut self, stage: &Stage, rows: &[ArtifactRow]) {
        let (fine, other): (Vec<&ArtifactRow>, Vec<&ArtifactRow>) =
            rows.iter().partition(|row| row.ok);
        let project = self.project;
        let settling = project.recipe.settling();
        for row in &other {
            let class = row.class.map_or("nothing", Class::as_str);
            let detail = row.detail.as_ref();
            let at = detail.and_then(|detail| detail.first.as_deref());
            let compared = row.class.is_some() && row.now.is_some() && row.base.is_some();
            let waits = compared && settling.decides(stage, &row.path, row.required);
            let note = match (at, waits) {
                (_, true) => format!("{class} so far: what is measured of it decides"),
                (Some(at), _) => format!("{class}, first at {at}"),
                (None, _) => class.to_owned(),
            };
            self.note("stage.compare", &row.path, waits, Some(note));
        }
        let lowest = fine.iter().filter_map(|row| row.class).min();
        if let Some(lowest) = lowest {
            let note = format!("{} files, {lowest} or better", fine.len());
            self.note("stage.compare", &stage.name, true, Some(note));
        }
    }

    /// What the recipe itself says about why a stage may differ.
    fn clues(&self, stage: &Stage, differs: bool) -> Vec<Clue> {
        let mut clues = Vec::new();
        let seedless = self.project.recipe.determinism().seed.is_none();
        if seedless && differs && matches!(stage.kind, StageKind::Train | StageKind::Prepare) {
            clues.push(Clue::NoSeed);
        }
        let device = stage.device.as_deref().unwrap_or_default();
        if device.starts_with("cuda") {
            clues.push(Clue::Gpu);
        }
        clues
    }

    pub(super) fn run(
        &mut self,
        stage: &Stage,
        planned: &Planned,
        room: &Room,
        purpose: RunAs,
    ) -> Result<Ran> {
        let mut told = Vec::new();
        let hashed = format!("{} files hashed", planned.job.inputs.len());
        self.note("verify.inputs", &stage.name, true, Some(hashed));
        let began = Instant::now();
        let ran = run(self.tools.runner, &planned.job, room, |attempt, outcome| {
            told.push((attempt, !failed(outcome), outcome.failure()));
        });
        let phase = match purpose {
            RunAs::Replay => "run",
            RunAs::Again => "twice",
            RunAs::Replicate(_) => "replicates",
        };
        self.spend(phase, began);
        let named = |attempt: u32| match (purpose, attempt) {
            (RunAs::Again, _) => ("stage.twice", stage.name.clone()),
            (RunAs::Replicate(seed), _) => {
                ("stage.replicate", format!("{} (seed {seed})", stage.name))
            }
            (RunAs::Replay, 1) => ("stage.run", stage.name.clone()),
            (RunAs::Replay, _) => ("stage.retry", stage.name.clone()),
        };
        let mut next = 1;
        for (attempt, ok, problem) in told {
            let (event, subject) = named(attempt);
            self.note(event, &subject, ok, problem);
            next = attempt + 1;
        }
        let ran = match ran {
            Ok(ran) => ran,
            Err(error) => {
                let (event, subject) = match error.outcome() {
                    Outcome::Halted => ("verify.inputs", stage.name.clone()),
                    _ => named(next),
                };
                self.note(event, &subject, false, Some(error.in_words()));
                return Err(error);
            }
        };
        self.note_looked_at(stage, &ran.outcome);
        Ok(ran)
    }

    /// What was looked at once a stage had ended: its inputs, which neither it nor anybody else may have written to
    /// meanwhile, and what it wrote, where that counts.
    fn note_looked_at(&mut self, stage: &Stage, outcome: &StageOutcome) {
        let is_change = |problem: &&String| {
            problem.starts_with("changed its input") || problem.ends_with("while it ran")
        };
        let changed = outcome.violations.iter().find(is_change);
        let note = match changed {
            Some(problem) => problem.clone(),
            None => "again, once it had ended".to_owned(),
        };
        self.note("verify.inputs", &stage.name, changed.is_none(), Some(note));
        if !failed(outcome) {
            let count = outcome.outputs.len();
            let note = match outcome.missing.as_slice() {
                [] => format!("{count} files hashed"),
                missing => format!("{count} files hashed, {} missing", missing.join(", ")),
            };
            let whole = outcome.missing.is_empty();
            self.note("verify.outputs", &stage.name, whole, Some(note));
        }
    }

    /// Runs a stage a second time on the same inputs and says whether it does the same twice.
    fn again(
        &mut self,
        stage: &Stage,
        roots: &Roots,
        first: &Produced,
        rows: &mut [ArtifactRow],
    ) -> Result<Runs> {
        let name = format!("{}.twice", stage.name);
        let room = Room::make(&self.settings.workspace, &name)?;
        let seed = self.project.recipe.determinism().seed;
        let planned = self.plan(stage, roots, &room, seed)?;
        let second = self.run(stage, &planned, &room, RunAs::Again)?;
        let mut runs = Runs::Same;
        for row in rows {
            let digest = second.produced.get(&row.path).map(|(_, digest)| *digest);
            if digest != first.get(&row.path).map(|(_, digest)| *digest) {
                runs = Runs::Different;
            }
            if let Some(detail) = &mut row.detail {
                detail.again = digest;
            }
        }
        if failed(&second.outcome) {
            runs = Runs::Different;
        }
        Ok(runs)
    }

    fn usage(
        &mut self,
        locked: &LockedStage,
        outcome: &StageOutcome,
        waited: Option<u64>,
        row: &mut StageRow,
    ) {
        for resource in resources::of_stage(self.project, locked, outcome, waited) {
            if !resource.ok {
                row.usage_deviation.push(resource.quantity.clone());
                let text = format!(
                    "{} times the baseline's {}",
                    resource.ratio.as_deref().unwrap_or("?"),
                    resource.quantity
                );
                self.reason(Verdict::ReproducedWithWarnings, "usage", &locked.name, text);
            }
            self.report.resources.push(resource);
        }
    }
}

/// The baseline's files of a stage that lie at hand and are what the lock says.
fn baseline_of(project: &Project, stage: &Stage) -> Result<Produced> {
    let mut files = Produced::new();
    let Some(locked) = project.lock.stage(&stage.name) else {
        return Ok(files);
    };
    for file in project.lock.outputs_of(locked) {
        let path = file.path.as_str();
        if let Some(place) = project.baseline_file(path)? {
            files.insert(path.to_owned(), (place, file.digest));
        }
    }
    Ok(files)
}

fn baseline_of_needs(project: &Project, stage: &Stage) -> Result<Produced> {
    let mut files = Produced::new();
    for need in project.recipe.dependencies(stage) {
        files.extend(baseline_of(project, need)?);
    }
    Ok(files)
}
