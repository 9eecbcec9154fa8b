//! What is measured and tested: metrics with two kinds of tolerance, tests, profiles.

use super::Recipe;
use super::conditions::digest_of;
use super::finding::{Code, Place};
use super::path::RecipePath;
use super::reader::{Fields, shorten};
use super::stage::{Tolerance, command, name_is_plain};
use super::substitution::Placeholder;
use super::words::*;
use crate::compare::{
    Class, Decimal, Direction, MetricRule, RegressionMethod, RegressionRule, ReplayMethod,
    ReplayRule,
};
use crate::digest::Digest;
use std::collections::BTreeMap;
use toml::de::DeValue;

/// A value inside a JSON file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricSource {
    /// The file.
    pub path: RecipePath,
    /// RFC 6901 pointer into it; empty for the whole document.
    pub pointer: String,
}

impl MetricSource {
    fn parse(text: &str) -> Result<MetricSource, String> {
        let (path, pointer) = text
            .split_once('#')
            .ok_or("has no #: write FILE#/pointer/in/json")?;
        let path = path.parse().map_err(|error| format!("{error}"))?;
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return Err("has a pointer that does not begin with /".to_owned());
        }
        let mut escapes = pointer.split('~').skip(1);
        if !escapes.all(|rest| rest.starts_with(['0', '1'])) {
            return Err("has a ~ in its pointer that is neither ~0 nor ~1".to_owned());
        }
        Ok(MetricSource {
            path,
            pointer: pointer.to_owned(),
        })
    }
}

impl std::fmt::Display for MetricSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}#{}", self.path, self.pointer)
    }
}

/// A number that says how good the model is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: String,
    /// Where it stands after the run.
    pub from: MetricSource,
    /// What is demanded of it.
    pub rule: MetricRule,
    /// Whether the recipe says which way is better.
    pub has_direction: bool,
    /// Whether the recipe states a tolerance for replays.
    pub has_replay_rule: bool,
    /// Why the tolerances are what they are.
    pub why: Option<String>,
    /// Where it stands in the recipe.
    pub place: Place,
}

impl Metric {
    pub(super) fn read(name: &str, fields: Fields<'_, '_>) -> Option<Metric> {
        let fields = fields.only(&[
            "from",
            "direction",
            "replay",
            "regression",
            "min",
            "max",
            "n",
            "why",
        ]);
        let source = fields.source;
        name_is_plain(source, fields.place(), name);
        let node = fields.require("from");
        let from = node.and_then(|node| {
            let text = source.text(node, "\"from\"")?;
            MetricSource::parse(text)
                .map_err(|problem| {
                    let problem = format!("\"{}\" {problem}", shorten(text));
                    source.report(&node.span(), Code::WrongValue, problem, None);
                })
                .ok()
        });
        let replay = fields.table("replay").map(|fields| {
            let known = ["method", "abs", "rel", "ulp", "margin", "confidence"];
            let fields = fields.only(&known);
            let method = fields
                .word("method", &REPLAY_METHODS)
                .unwrap_or(ReplayMethod::Scalar);
            if method == ReplayMethod::Tost {
                margin_is_there(&fields);
            }
            ReplayRule {
                method,
                abs: fields.bound("abs"),
                rel: fields.bound("rel"),
                ulp: fields.integer("ulp", 0),
                margin: fields.bound("margin"),
                confidence: confidence(&fields),
            }
        });
        let regression = fields.table("regression").map(|fields| {
            let fields = fields.only(&["method", "max_loss", "margin", "confidence"]);
            let words = &REGRESSION_METHODS;
            let method = fields
                .word("method", words)
                .unwrap_or(RegressionMethod::Scalar);
            if method == RegressionMethod::Tost {
                margin_is_there(&fields);
            }
            RegressionRule {
                method,
                max_loss: fields.bound("max_loss"),
                margin: fields.bound("margin"),
                confidence: confidence(&fields),
            }
        });
        let (min, max) = (fields.decimal("min"), fields.decimal("max"));
        if let (Some(min), Some(max)) = (&min, &max)
            && min.value() > max.value()
        {
            let problem = format!("min {min} is more than max {max}");
            source.report(fields.place(), Code::WrongValue, problem, None);
        }
        let direction = fields.word("direction", &DIRECTIONS);
        Some(Metric {
            name: name.to_owned(),
            has_direction: direction.is_some(),
            has_replay_rule: replay.is_some(),
            rule: MetricRule {
                direction: direction.unwrap_or(Direction::None),
                replay: replay.unwrap_or_default(),
                regression: regression.unwrap_or_default(),
                min,
                max,
                n: fields.integer("n", 1),
            },
            why: fields.words("why"),
            place: source.place(fields.place().start),
            from: from?,
        })
    }
}

fn margin_is_there(fields: &Fields<'_, '_>) {
    if !fields.has("margin") {
        let hint = "the largest difference that does not matter".to_owned();
        let problem = "method \"tost\" needs a \"margin\"";
        fields
            .source
            .report(fields.place(), Code::MissingKey, problem, Some(hint));
    }
}

/// A confidence, between 0 and 1.
pub(super) fn confidence(fields: &Fields<'_, '_>) -> Option<Decimal> {
    let confidence = fields.decimal("confidence")?;
    if confidence.value() <= 0.0 || confidence.value() >= 1.0 {
        let place = fields.get("confidence")?.span();
        fields.source.report(
            &place,
            Code::WrongValue,
            "confidence lies between 0 and 1",
            None,
        );
    }
    Some(confidence)
}

/// What a test does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Check {
    /// A data file is what is expected of it.
    Data {
        /// The file.
        file: RecipePath,
        /// JSON schema of a row, or of the document.
        schema: Option<RecipePath>,
        /// How many values of a column may be missing.
        nulls: BTreeMap<String, u64>,
        /// How many rows there are.
        rows: Option<u64>,
        /// Digests of columns.
        columns: BTreeMap<String, Digest>,
    },
    /// Loading and saving the model gives the same model.
    Serialization {
        /// The command; `{model}` is loaded, `{out}` is written.
        run: Vec<String>,
        /// What it reads beside the model.
        reads: Vec<RecipePath>,
        /// The model file.
        model: Option<RecipePath>,
        /// The class that `{out}` has to reach against `{model}`.
        compare: Class,
    },
    /// The model answers golden inputs with golden outputs.
    Inference {
        /// The command; `{in}` is read, `{out}` is written.
        run: Vec<String>,
        /// What it reads beside the model and the golden inputs.
        reads: Vec<RecipePath>,
        /// The model file.
        model: Option<RecipePath>,
        /// Golden inputs.
        inputs: RecipePath,
        /// Golden outputs.
        expect: RecipePath,
        /// How far answers may differ.
        tolerance: Box<Tolerance>,
        /// Sizes of batches that all have to give the same answers.
        batch_sizes: Vec<u64>,
    },
}

impl Check {
    /// The kind, as it is written.
    pub fn kind(&self) -> &'static str {
        match self {
            Check::Data { .. } => "data",
            Check::Serialization { .. } => "serialization",
            Check::Inference { .. } => "inference",
        }
    }
}

/// A test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// Its name.
    pub name: String,
    /// What it does.
    pub check: Check,
    /// Why it is there.
    pub why: Option<String>,
    /// Where it stands in the recipe.
    pub place: Place,
}

impl Test {
    pub(super) fn read(name: &str, fields: Fields<'_, '_>) -> Option<Test> {
        let source = fields.source;
        name_is_plain(source, fields.place(), name);
        fields.require("kind")?;
        let kinds = [("data", 0), ("serialization", 1), ("inference", 2)];
        let check = match fields.word("kind", &kinds)? {
            0 => {
                let fields = fields
                    .clone()
                    .only(&["kind", "file", "schema", "nulls", "rows", "columns", "why"]);
                let mut nulls = BTreeMap::new();
                if let Some(table) = fields.table("nulls") {
                    for (column, _, node) in table.entries() {
                        let what = format!("column \"{}\"", shorten(column));
                        if let Some(count) = source.integer(node, &what, 0) {
                            nulls.insert(column.to_owned(), count);
                        }
                    }
                }
                let mut columns = BTreeMap::new();
                if let Some(table) = fields.table("columns") {
                    for (column, _, _) in table.entries() {
                        let what = format!("column \"{}\"", shorten(column));
                        if let Some(digest) = digest_of(&table, column, &what) {
                            columns.insert(column.to_owned(), digest);
                        }
                    }
                }
                Check::Data {
                    columns,
                    schema: fields.path("schema"),
                    nulls,
                    rows: fields.integer("rows", 0),
                    file: fields.require_path("file")?,
                }
            }
            1 => {
                let fields = fields
                    .clone()
                    .only(&["kind", "run", "in", "model", "compare", "why"]);
                let run = command(&fields, false, &Placeholder::IN_TESTS);
                Check::Serialization {
                    reads: fields.paths("in"),
                    model: fields.path("model"),
                    compare: fields
                        .word("compare", &CLASSES)
                        .unwrap_or(Class::ContentExact),
                    run: run?,
                }
            }
            _ => {
                let known = [
                    "kind",
                    "run",
                    "in",
                    "model",
                    "inputs",
                    "expect",
                    "batch_sizes",
                ];
                let known: Vec<&str> = known.into_iter().chain(Tolerance::KEYS).collect();
                let fields = fields.clone().only(&known);
                let run = command(&fields, false, &Placeholder::IN_TESTS);
                let (inputs, expect) =
                    (fields.require_path("inputs"), fields.require_path("expect"));
                let sizes = fields.list("batch_sizes").iter();
                Check::Inference {
                    reads: fields.paths("in"),
                    model: fields.path("model"),
                    tolerance: Box::new(Tolerance::read(&fields)),
                    batch_sizes: sizes
                        .filter_map(|node| source.integer(node, "a batch size", 1))
                        .collect(),
                    run: run?,
                    inputs: inputs?,
                    expect: expect?,
                }
            }
        };
        Some(Test {
            name: name.to_owned(),
            check,
            why: fields.words("why"),
            place: source.place(fields.place().start),
        })
    }

    /// The paths that it reads, the model of `recipe` among them where it states none.
    pub fn reads_of<'a>(&'a self, recipe: &'a Recipe) -> Vec<&'a RecipePath> {
        let model = match &self.check {
            Check::Data { .. } => None,
            Check::Serialization { model, .. } | Check::Inference { model, .. } => {
                model.as_ref().or_else(|| recipe.model())
            }
        };
        self.reads().into_iter().chain(model).collect()
    }

    /// The paths that it reads, beside the model.
    pub fn reads(&self) -> Vec<&RecipePath> {
        match &self.check {
            Check::Data { file, schema, .. } => std::iter::once(file).chain(schema).collect(),
            Check::Serialization { reads, .. } => reads.iter().collect(),
            Check::Inference {
                reads,
                inputs,
                expect,
                ..
            } => reads.iter().chain([inputs, expect]).collect(),
        }
    }
}

/// A smaller way through the same stages, with a baseline of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// Parameters in place of the recipe's, as JSON texts.
    pub params: BTreeMap<String, serde_json::Value>,
    /// Files in place of inputs.
    pub inputs: BTreeMap<RecipePath, RecipePath>,
    /// The lock of this profile.
    pub baseline: Option<RecipePath>,
    /// What it is for.
    pub why: Option<String>,
    /// Where it stands in the recipe.
    pub place: Place,
}

impl Profile {
    pub(super) fn read(name: &str, fields: Fields<'_, '_>) -> Option<Profile> {
        let fields = fields.only(&["params", "inputs", "baseline", "why"]);
        let source = fields.source;
        name_is_plain(source, fields.place(), name);
        let mut params = BTreeMap::new();
        if let Some(table) = fields.table("params") {
            for (key, place, node) in table.entries() {
                match plain_value(node.get_ref()) {
                    Some(value) => {
                        params.insert(key.to_owned(), value);
                    }
                    None => {
                        let hint =
                            "write the dotted key in quotes: \"model.max_iter\" = 20".to_owned();
                        let problem = format!("parameter \"{}\" is no plain value", shorten(key));
                        source.report(&place, Code::WrongValue, problem, Some(hint));
                    }
                }
            }
        }
        let mut inputs = BTreeMap::new();
        if let Some(table) = fields.table("inputs") {
            for (key, place, node) in table.entries() {
                let to = source.path(node, "the file in its place");
                match key.parse::<RecipePath>() {
                    Ok(from) => {
                        inputs.extend(to.map(|to| (from, to)));
                    }
                    Err(error) => source.report(&place, Code::UnsafePath, error.to_string(), None),
                }
            }
        }
        Some(Profile {
            name: name.to_owned(),
            params,
            inputs,
            baseline: fields.path("baseline"),
            why: fields.words("why"),
            place: source.place(fields.place().start),
        })
    }
}

/// A text, number, truth value, or list of these.
fn plain_value(value: &DeValue<'_>) -> Option<serde_json::Value> {
    match value {
        DeValue::String(text) => Some(text.as_ref().into()),
        DeValue::Boolean(flag) => Some((*flag).into()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .ok()
            .map(Into::into),
        DeValue::Float(number) => {
            let value: f64 = number.as_str().replace('_', "").parse().ok()?;
            serde_json::Number::from_f64(value).map(Into::into)
        }
        DeValue::Array(list) => {
            let items = list.iter().map(|node| plain_value(node.get_ref()));
            items.collect::<Option<Vec<_>>>().map(Into::into)
        }
        DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}
