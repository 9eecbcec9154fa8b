//! The recipe's tests: data is what it should be, a model survives saving, golden inputs give golden
//! outputs.
//!
//! Invariant: a test that could not be made has not passed.

use super::plan::{Given, command, contents, settings};
use crate::compare::ArtifactComparison;
use crate::error::{Error, Result};
use crate::recipe::hash_path;
use crate::runner::{LogSink, Runner, StageJob};
use sealstone_spec::compare::{ArtifactRule, Class};
use sealstone_spec::recipe::{
    Check, Content, LockedFile, Placeholder, Recipe, RecipePath, Stage, Test, Tolerance,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Holds one file against another.
pub type Compare = fn(&Path, &Path, &ArtifactRule) -> Result<ArtifactComparison>;

/// Where commands of tests write.
const OUT: &str = "test-output";

/// What became of a test.
#[derive(Clone, Debug)]
pub struct TestResult {
    /// Whether it passed.
    pub ok: bool,
    /// What was seen, in a sentence.
    pub detail: String,
    /// What the command wrote, if there is one.
    pub output: Option<Content>,
    /// How that compares with what is expected.
    pub comparison: Option<ArtifactComparison>,
    /// The files that were read, beside stages' outputs.
    pub files: Vec<LockedFile>,
    /// Whether the golden output was written, because there was none.
    pub recorded: bool,
}

impl TestResult {
    fn new(ok: bool, detail: impl Into<String>) -> TestResult {
        TestResult {
            ok,
            detail: detail.into(),
            output: None,
            comparison: None,
            files: Vec::new(),
            recorded: false,
        }
    }
}

/// Runs a test. With `record`, a golden output that is not there is written from what the model says now.
///
/// # Errors
/// If the machine does not let it run; a failed test is a result.
pub fn run_test(
    given: Given<'_>,
    test: &Test,
    runner: &dyn Runner,
    record: bool,
    log: &mut dyn LogSink,
) -> Result<TestResult> {
    match &test.check {
        Check::Data {
            file,
            schema,
            nulls,
            rows,
        } => {
            let path = given.roots.place(given.recipe, file.as_str());
            let schema =
                match schema {
                    Some(path) => {
                        let place = given.roots.place(given.recipe, path.as_str());
                        let bytes = fs::read(&place)
                            .map_err(|source| Error::io(format!("reading \"{path}\""), source))?;
                        Some(serde_json::from_slice(&bytes).map_err(|error| {
                            Error::usage(format!("\"{path}\" is no JSON: {error}"))
                        })?)
                    }
                    None => None,
                };
            let mut result = data(&path, file.as_str(), schema.as_ref(), nulls, *rows)?;
            result.files = files(
                given,
                &test.reads().into_iter().cloned().collect::<Vec<_>>(),
            )?;
            Ok(result)
        }
        Check::Serialization {
            run,
            reads,
            model,
            compare,
        } => {
            let model = model_of(given.recipe, test, model.as_ref())?;
            let rule = ArtifactRule::of(*compare);
            let base = given.roots.place(given.recipe, model.as_str());
            let asked = Asked {
                run,
                reads,
                model: Some(&model),
                golden: None,
                name: file_name(model.as_str()),
                batch: None,
            };
            asked.hold_against(given, test, runner, &base, &rule, log)
        }
        Check::Inference {
            run,
            reads,
            model,
            inputs,
            expect,
            tolerance,
            batch_sizes,
        } => {
            let model = model.clone().or_else(|| given.recipe.model().cloned());
            let base = given.roots.place(given.recipe, expect.as_str());
            let rule = golden_rule(tolerance);
            let asked = Asked {
                run,
                reads,
                model: model.as_ref(),
                golden: Some(inputs),
                name: file_name(expect.as_str()),
                batch: None,
            };
            let recorded = record && !base.exists();
            if recorded {
                asked.record(given, test, runner, &base, log)?;
            }
            let sizes = batch_sizes.iter().map(|size| Some(*size));
            let sizes: Vec<Option<u64>> = if batch_sizes.is_empty() {
                vec![None]
            } else {
                sizes.collect()
            };
            let mut result = TestResult::new(false, "it was not run");
            for batch in sizes {
                result = Asked { batch, ..asked }
                    .hold_against(given, test, runner, &base, &rule, log)?;
                if !result.ok {
                    if let Some(size) = batch {
                        result.detail = format!("with batches of {size}: {}", result.detail);
                    }
                    break;
                }
            }
            result.recorded = recorded;
            Ok(result)
        }
        _ => Ok(TestResult::new(
            false,
            "this sealstone does not know the test",
        )),
    }
}

/// What is demanded of golden outputs: numbers within tolerance, unless something else is stated.
fn golden_rule(tolerance: &Tolerance) -> ArtifactRule {
    let mut rule = tolerance.bounds.clone();
    rule.class = tolerance.class.unwrap_or(Class::Numeric);
    rule.purpose = sealstone_spec::compare::Purpose::Output;
    rule
}

fn model_of(recipe: &Recipe, test: &Test, stated: Option<&RecipePath>) -> Result<RecipePath> {
    stated
        .or_else(|| recipe.model())
        .cloned()
        .ok_or_else(|| Error::usage(format!("test \"{}\" has no model", test.name)))
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn files(given: Given<'_>, paths: &[RecipePath]) -> Result<Vec<LockedFile>> {
    let mut found = Vec::new();
    let mut job = StageJob::new("files", Vec::new(), given.scratch, given.scratch);
    for path in paths {
        found.extend(contents(given.recipe, given.roots, path, &mut job)?.1);
    }
    Ok(found)
}

/// A command that answers.
#[derive(Clone, Copy)]
struct Asked<'a> {
    run: &'a [String],
    reads: &'a [RecipePath],
    model: Option<&'a RecipePath>,
    golden: Option<&'a RecipePath>,
    name: &'a str,
    batch: Option<u64>,
}

impl Asked<'_> {
    /// Runs the command; the path of what it wrote, or how it failed.
    fn answer(
        &self,
        given: Given<'_>,
        test: &Test,
        runner: &dyn Runner,
        destination: &Path,
        log: &mut dyn LogSink,
    ) -> Result<(std::result::Result<PathBuf, String>, Vec<LockedFile>)> {
        let recipe = given.recipe;
        let out = format!("{OUT}/{}", self.name);
        let mut job = StageJob::new(
            format!("test {}", test.name),
            Vec::new(),
            given.scratch,
            destination,
        );
        let mut reads: BTreeSet<RecipePath> =
            self.reads.iter().chain(self.golden).cloned().collect();
        // The model with whatever its stage wrote beside it.
        let writer: Option<&Stage> = self
            .model
            .and_then(|model| recipe.writer_of(model.as_str()));
        reads.extend(
            writer
                .into_iter()
                .flat_map(|stage| stage.writes.iter().cloned()),
        );
        // A script that the command names is part of the test.
        let named = self
            .run
            .iter()
            .filter_map(|item| item.parse::<RecipePath>().ok());
        let is_there = |path: &RecipePath| given.roots.place(recipe, path.as_str()).is_file();
        reads.extend(named.filter(is_there));
        let mut files = Vec::new();
        for path in &reads {
            files.extend(contents(recipe, given.roots, path, &mut job)?.1);
        }
        let words = |word: Placeholder<'_>| match word.0 {
            "in" => self.golden.map(|path| path.as_str().to_owned()),
            "out" => Some(out.clone()),
            "model" => self.model.map(|path| path.as_str().to_owned()),
            "seed" => given.seed.map(|seed| seed.to_string()),
            _ => word
                .parameter()
                .and_then(|name| given.params.get(name))
                .map(|value| match value {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                }),
        };
        job.argv = command(self.run, false, words)?;
        job.outputs = vec![out.clone()];
        let device = writer.and_then(|stage| stage.device.as_deref());
        settings(recipe, given.seed, given.machine, device, &mut job)?;
        job.env
            .insert("SEALSTONE_STAGE".into(), format!("test-{}", test.name));
        job.env.insert("SEALSTONE_OUT".into(), out.clone());
        if let Some(size) = self.batch {
            job.env
                .insert("SEALSTONE_BATCH_SIZE".into(), size.to_string());
        }
        let outcome = runner.run(&job, log)?;
        let answer = match outcome.failure() {
            None => Ok(destination.join(out)),
            Some(problem) => Err(problem),
        };
        files.retain(|file| recipe.writer_of(file.path.as_str()).is_none());
        Ok((answer, files))
    }

    fn hold_against(
        &self,
        given: Given<'_>,
        test: &Test,
        runner: &dyn Runner,
        base: &Path,
        rule: &ArtifactRule,
        log: &mut dyn LogSink,
    ) -> Result<TestResult> {
        let place = scratch(given.scratch)?;
        let (answer, files) = self.answer(given, test, runner, place.path(), log)?;
        let mut result = match answer {
            Err(problem) => TestResult::new(false, problem),
            Ok(_) if !base.exists() => TestResult::new(
                false,
                format!("\"{}\" is not there to compare with", base.display()),
            ),
            Ok(now) => {
                let found = (given.compare)(base, &now, rule)?;
                let (digest, size) = hash_path(&now)?;
                let mut result =
                    TestResult::new(found.ok, format!("{} of {}", found.class, found.required));
                result.detail = match (&found.first, found.ok) {
                    (Some(first), false) => {
                        format!("{}, first at {}", result.detail, first.locator)
                    }
                    _ => result.detail,
                };
                result.output = Some(Content { digest, size });
                result.comparison = Some(found);
                result
            }
        };
        result.files = files;
        if let Check::Inference { expect, .. } = &test.check
            && base.exists()
        {
            result
                .files
                .extend(self::files(given, std::slice::from_ref(expect))?);
        }
        Ok(result)
    }

    fn record(
        &self,
        given: Given<'_>,
        test: &Test,
        runner: &dyn Runner,
        base: &Path,
        log: &mut dyn LogSink,
    ) -> Result<()> {
        let place = scratch(given.scratch)?;
        let (answer, _) = self.answer(given, test, runner, place.path(), log)?;
        let Ok(now) = answer else { return Ok(()) };
        let parent = base.parent().unwrap_or(Path::new("."));
        let failed = |source| {
            Error::io(
                format!("writing the golden output \"{}\"", base.display()),
                source,
            )
        };
        fs::create_dir_all(parent).map_err(failed)?;
        // Copied beside its place first: a golden output is whole or not there.
        let whole = tempfile::NamedTempFile::new_in(parent).map_err(failed)?;
        fs::copy(&now, whole.path()).map_err(failed)?;
        whole.persist(base).map_err(|error| failed(error.error))?;
        Ok(())
    }
}

fn scratch(below: &Path) -> Result<tempfile::TempDir> {
    tempfile::tempdir_in(below).map_err(|source| {
        Error::io(
            format!("making a directory in \"{}\"", below.display()),
            source,
        )
    })
}

/// Looks at a table or a document.
fn data(
    path: &Path,
    name: &str,
    schema: Option<&Value>,
    nulls: &BTreeMap<String, u64>,
    rows: Option<u64>,
) -> Result<TestResult> {
    let rows_found = match records(path, name)? {
        Ok(records) => records,
        Err(problem) => return Ok(TestResult::new(false, problem)),
    };
    if let Some(due) = rows
        && due != rows_found.len() as u64
    {
        return Ok(TestResult::new(
            false,
            format!("{} rows where {due} are due", rows_found.len()),
        ));
    }
    for (column, allowed) in nulls {
        let missing = |row: &&Value| {
            matches!(row.get(column), None | Some(Value::Null))
                || row.get(column) == Some(&Value::String(String::new()))
        };
        let count = rows_found.iter().filter(missing).count() as u64;
        if count > *allowed {
            return Ok(TestResult::new(
                false,
                format!("column \"{column}\" lacks {count} values, {allowed} are allowed"),
            ));
        }
    }
    if let Some(schema) = schema {
        for (index, row) in rows_found.iter().enumerate() {
            if let Err(problem) = fits(row, schema, "") {
                return Ok(TestResult::new(
                    false,
                    format!("row {} does not fit the schema: {problem}", index + 1),
                ));
            }
        }
    }
    Ok(TestResult::new(true, format!("{} rows", rows_found.len())))
}

/// The rows of a file as objects: cells of CSV are texts.
fn records(path: &Path, name: &str) -> Result<std::result::Result<Vec<Value>, String>> {
    let extension = name
        .rsplit('.')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let failed = |source| Error::io(format!("reading \"{name}\""), source);
    match extension.as_str() {
        "csv" | "tsv" => {
            let delimiter = if extension == "tsv" { b'\t' } else { b',' };
            let file = fs::File::open(path).map_err(failed)?;
            let mut reader = csv::ReaderBuilder::new()
                .delimiter(delimiter)
                .from_reader(file);
            let read = || -> std::result::Result<Vec<Value>, csv::Error> {
                let header = reader.headers()?.clone();
                let row = |record: csv::StringRecord| {
                    let cells = header.iter().zip(record.iter());
                    Value::Object(
                        cells
                            .map(|(column, cell)| (column.to_owned(), cell.into()))
                            .collect(),
                    )
                };
                reader.records().map(|record| record.map(row)).collect()
            };
            let mut read = read;
            Ok(read().map_err(|error| format!("it is no table: {error}")))
        }
        "jsonl" | "ndjson" => {
            let text = fs::read_to_string(path).map_err(failed)?;
            let lines = text
                .lines()
                .enumerate()
                .filter(|(_, line)| !line.trim().is_empty());
            let rows = lines.map(|(index, line)| {
                serde_json::from_str(line)
                    .map_err(|error| format!("line {} is no JSON: {error}", index + 1))
            });
            Ok(rows.collect())
        }
        "json" => {
            let bytes = fs::read(path).map_err(failed)?;
            Ok(match serde_json::from_slice(&bytes) {
                Ok(Value::Array(rows)) => Ok(rows),
                Ok(one) => Ok(vec![one]),
                Err(error) => Err(format!("it is no JSON: {error}")),
            })
        }
        _ => Ok(Err(format!(
            "files named .{extension} have no rows that are read here: use csv, tsv, jsonl or json"
        ))),
    }
}

/// Whether a value fits a schema of this part of JSON Schema: `type`, `properties`, `required`,
/// `additionalProperties`, `items`, `enum`, `const`, `minimum`, `maximum`, `minLength`, `maxLength`. A cell
/// of CSV fits `number`, `integer` and `boolean` by its text. Any other keyword but those that only
/// describe is a failure: a rule that is passed over would pass.
fn fits(value: &Value, schema: &Value, at: &str) -> std::result::Result<(), String> {
    let Value::Object(rules) = schema else {
        return match schema {
            Value::Bool(true) => Ok(()),
            _ => Err(format!("{at}: the schema allows nothing")),
        };
    };
    let place = if at.is_empty() { "it" } else { at };
    let number = || match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    for (keyword, rule) in rules {
        let holds = match keyword.as_str() {
            "$schema" | "$id" | "title" | "description" | "examples" | "default" | "$comment" => {
                true
            }
            "type" => {
                let types: Vec<&str> = match rule {
                    Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
                    one => one.as_str().into_iter().collect(),
                };
                types.iter().any(|kind| match *kind {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "null" => value.is_null() || value == "",
                    "boolean" => value.is_boolean() || value == "true" || value == "false",
                    "number" => number().is_some(),
                    "integer" => number().is_some_and(|number| number.fract() == 0.0),
                    _ => false,
                })
            }
            "enum" => rule.as_array().is_some_and(|list| list.contains(value)),
            "const" => rule == value,
            "minimum" => {
                matches!((number(), rule.as_f64()), (Some(number), Some(least)) if number >= least)
            }
            "maximum" => {
                matches!((number(), rule.as_f64()), (Some(number), Some(most)) if number <= most)
            }
            "minLength" | "maxLength" => {
                let length = value.as_str().map(|text| text.chars().count() as u64);
                match (length, rule.as_u64()) {
                    (Some(length), Some(bound)) if keyword == "minLength" => length >= bound,
                    (Some(length), Some(bound)) => length <= bound,
                    _ => false,
                }
            }
            "required" => rule.as_array().is_some_and(|list| {
                list.iter()
                    .all(|name| name.as_str().is_some_and(|name| value.get(name).is_some()))
            }),
            "properties" => {
                let Some(properties) = rule.as_object() else {
                    return Err("\"properties\" is no table".into());
                };
                for (name, inner) in properties {
                    if let Some(found) = value.get(name) {
                        fits(found, inner, &format!("{at}/{name}"))?;
                    }
                }
                true
            }
            "additionalProperties" => match rule {
                Value::Bool(false) => {
                    let known = rules.get("properties").and_then(Value::as_object);
                    let is_known =
                        |name: &String| known.is_some_and(|known| known.contains_key(name));
                    value
                        .as_object()
                        .is_none_or(|table| table.keys().all(is_known))
                }
                Value::Bool(true) => true,
                _ => return Err("\"additionalProperties\" is read as true or false here".into()),
            },
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    fits(item, rule, &format!("{at}/{index}"))?;
                }
                true
            }
            other => return Err(format!("the schema's keyword \"{other}\" is not read here")),
        };
        if !holds {
            let shown: String = value.to_string().chars().take(60).collect();
            return Err(format!(
                "{place} is {shown}, which is not as {keyword} demands ({rule})"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn look(
        name: &str,
        content: &str,
        schema: Option<Value>,
        nulls: &[(&str, u64)],
        rows: Option<u64>,
    ) -> TestResult {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(name);
        fs::write(&path, content).unwrap();
        let nulls = nulls
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect();
        data(&path, name, schema.as_ref(), &nulls, rows).unwrap()
    }

    #[test]
    fn tables_are_counted_and_their_gaps_too() {
        let table = "age,name\n1,a\n,b\n3,\n";
        assert!(look("a.csv", table, None, &[("age", 1), ("name", 1)], Some(3)).ok);
        assert!(
            look("a.csv", table, None, &[("age", 0)], None)
                .detail
                .contains("lacks 1 values")
        );
        assert!(
            look("a.csv", table, None, &[("gone", 0)], None)
                .detail
                .contains("lacks 3")
        );
        assert!(
            look("a.csv", table, None, &[], Some(4))
                .detail
                .contains("3 rows where 4")
        );
        assert!(!look("a.csv", "a,b\n1\n", None, &[], None).ok);
        assert!(!look("a.parquet", "", None, &[], None).ok);
    }

    #[test]
    fn rows_have_to_fit_the_schema() {
        let schema = json!({"type": "object", "required": ["age"], "additionalProperties": false,
            "properties": {"age": {"type": "integer", "minimum": 0, "maximum": 120}, "name": {"enum": ["a", "b"]}}});
        let ok = |name: &str, content: &str| look(name, content, Some(schema.clone()), &[], None);
        assert!(ok("a.csv", "age,name\n1,a\n120,b\n").ok);
        assert!(ok("a.jsonl", "{\"age\": 5}\n\n{\"age\": 6, \"name\": \"a\"}\n").ok);
        for bad in [
            "age\n-1\n",
            "age\nx\n",
            "age,name\n1,c\n",
            "name\na\n",
            "age,more\n1,1\n",
            "age\n1.5\n",
        ] {
            assert!(!ok("a.csv", bad).ok, "{bad}");
        }
        let unknown = look("a.json", "{}", Some(json!({"pattern": "x"})), &[], None);
        assert!(!unknown.ok && unknown.detail.contains("not read here"));
    }
}
