//! The lock as it is written: everything that was read, run, written and measured.

use super::baseline::Run;
use crate::check::TestResult;
use crate::error::{Error, Result};
use crate::layout::is_unfinished;
use crate::plan::strictest;
use crate::recipe::hash_path;
use sealstone_spec::recipe::{
    Environment, FileRole, IMAGE_DIRECTORY, LOCK_SCHEMA, LockDocument, LockedEnvironment,
    LockedFile, LockedInput, LockedMetric, LockedRecipe, LockedTest, RecipePath,
};
use std::collections::BTreeMap;

impl Run<'_> {
    pub(super) fn empty(&self) -> LockDocument {
        let recipe = self.recipe;
        LockDocument {
            schema: LOCK_SCHEMA.into(),
            recipe: LockedRecipe {
                digest: *recipe.digest(),
                name: recipe.name().into(),
                model_version: recipe.model_version().map(str::to_owned),
                owner: recipe.owner().map(str::to_owned),
                risk: recipe.risk(),
            },
            profile: self.profile.map(|profile| profile.name.clone()),
            params: self.params.texts(),
            inputs: Vec::new(),
            files: self.files.values().cloned().collect(),
            environment: LockedEnvironment::new(
                recipe.environment().kind(),
                strictest(recipe),
                &self.machine.facts,
            ),
            stages: Vec::new(),
            metrics: BTreeMap::new(),
            tests: BTreeMap::new(),
            writer: concat!("sealstone/", env!("CARGO_PKG_VERSION")).into(),
        }
    }

    pub(super) fn document(
        &mut self,
        inputs: Vec<LockedInput>,
        metrics: BTreeMap<String, LockedMetric>,
        tests: &BTreeMap<String, TestResult>,
    ) -> Result<LockDocument> {
        self.environment_files()?;
        let tests = tests.iter().map(|(name, result)| {
            let test = self.recipe.tests().iter().find(|test| test.name == *name);
            let kind = test.map_or("", |test| test.check.kind()).to_owned();
            let locked = LockedTest {
                kind,
                ok: result.ok,
                detail: result.detail.clone(),
                output: result.output.clone(),
            };
            (name.clone(), locked)
        });
        let tests = tests.collect();
        let stages = self.done.iter().map(|ran| ran.record.clone()).collect();
        Ok(LockDocument {
            inputs,
            metrics,
            tests,
            stages,
            ..self.empty()
        })
    }

    /// What the environment is made of and travels in the bundle, and the parameters' file.
    fn environment_files(&mut self) -> Result<()> {
        let (mut needed, mut optional): (Vec<RecipePath>, Vec<RecipePath>) =
            (Vec::new(), Vec::new());
        match self.recipe.environment() {
            Environment::Venv { lock, wheels, .. } => {
                needed.push(lock.clone());
                optional.extend(wheels.clone());
            }
            Environment::Rootfs { path, .. } => needed.push(path.clone()),
            Environment::Oci {
                rootfs_in_bundle: true,
                ..
            } => needed.push(
                IMAGE_DIRECTORY
                    .parse()
                    .map_err(|error| Error::usage(format!("{error}")))?,
            ),
            _ => {}
        }
        let params = self.recipe.params().file.clone();
        let parts = needed
            .iter()
            .chain(&optional)
            .map(|path| (path, FileRole::Environment));
        for (path, role) in parts.chain(params.iter().map(|path| (path, FileRole::Params))) {
            for (name, file) in self.project.files_at(path)? {
                // What a fetch that was killed left beside an image is no part of it, and goes some day.
                if path.as_str() == IMAGE_DIRECTORY && is_unfinished(&name) {
                    continue;
                }
                let (digest, size) = hash_path(&file.source)?;
                let parsed = name
                    .parse()
                    .map_err(|error| Error::usage(format!("{error}")))?;
                let locked = LockedFile {
                    path: parsed,
                    digest,
                    size,
                    executable: file.executable,
                    role,
                };
                self.files.entry(name).or_insert(locked);
            }
        }
        Ok(())
    }
}
