//! Parameters: a document into dotted names, a stage's share of them, what changed.
//!
//! Values keep their kind: `1` and `1.0` are two values, because Python tells them apart too.

use super::pattern::Pattern;
use super::reader::suggest;
use crate::canonical::{JsonError, parse_value};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Longest file of parameters that is read, in bytes.
pub const MAX_PARAMS_BYTES: usize = 1 << 20;

/// Parameters by their dotted names; values are texts, numbers, truth values, null or lists.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Params(BTreeMap<String, Value>);

/// Why parameters cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParamsError {
    /// The document is no table.
    #[error("parameters are a table of names and values, not {0}")]
    NoTable(&'static str),
    /// Two keys that are one dotted name.
    #[error("parameter \"{0}\" stands there twice: once by its dotted name, once in a table")]
    Twice(String),
    /// A name that cannot be written in a recipe.
    #[error(
        "a parameter has the name \"{0}\", which a recipe cannot write: use letters, digits, _ and -"
    )]
    Name(String),
    /// A parameter in a profile that the file does not have.
    #[error("parameter \"{name}\" is not in the parameters{}", hint.as_deref().map(|hint| format!(": {hint}")).unwrap_or_default())]
    Unknown {
        /// The name.
        name: String,
        /// What it may have meant.
        hint: Option<String>,
    },
    /// The text is no TOML.
    #[error("{0}")]
    Toml(String),
    /// The text is no JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
}

/// A parameter that differs between two runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamChange {
    /// Its name.
    pub name: String,
    /// Its value then, as JSON.
    pub base: Option<String>,
    /// Its value now, as JSON.
    pub now: Option<String>,
}

impl std::fmt::Display for ParamChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "(none)".to_owned());
        write!(f, "{} {}→{}", self.name, text(&self.base), text(&self.now))
    }
}

impl Params {
    /// Parameters of a TOML file.
    ///
    /// # Errors
    /// If it is none, or a name stands there twice.
    pub fn from_toml(text: &str) -> Result<Params, ParamsError> {
        let table: toml::Table =
            toml::from_str(text).map_err(|error| ParamsError::Toml(error.to_string()))?;
        Params::from_value(&toml_value(&toml::Value::Table(table)))
    }

    /// Parameters of a JSON file.
    ///
    /// # Errors
    /// If it is none, or a name stands there twice.
    pub fn from_json(bytes: &[u8]) -> Result<Params, ParamsError> {
        Params::from_value(&parse_value(bytes, MAX_PARAMS_BYTES)?)
    }

    /// Parameters of a document that the caller has read, such as YAML.
    ///
    /// # Errors
    /// If it is no table, or a name stands there twice.
    pub fn from_value(value: &Value) -> Result<Params, ParamsError> {
        let Value::Object(table) = value else {
            return Err(ParamsError::NoTable(kind(value)));
        };
        let mut params = Params::default();
        params.flatten("", table)?;
        Ok(params)
    }

    fn flatten(&mut self, prefix: &str, table: &Map<String, Value>) -> Result<(), ParamsError> {
        for (key, value) in table {
            let bad = key.is_empty()
                || key
                    .chars()
                    .any(|c| c.is_control() || c.is_whitespace() || c == '*')
                || key.split('.').any(str::is_empty);
            if bad {
                return Err(ParamsError::Name(key.chars().take(60).collect()));
            }
            let name = match prefix {
                "" => key.clone(),
                _ => format!("{prefix}.{key}"),
            };
            match value {
                Value::Object(inner) if !inner.is_empty() => self.flatten(&name, inner)?,
                value => {
                    if self.0.insert(name.clone(), value.clone()).is_some() {
                        return Err(ParamsError::Twice(name));
                    }
                }
            }
        }
        Ok(())
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// These parameters with others in their place.
    ///
    /// # Errors
    /// If there is no such parameter: a typing error would otherwise change nothing and say nothing.
    pub fn with(&self, changes: &BTreeMap<String, Value>) -> Result<Params, ParamsError> {
        let mut params = self.clone();
        for (name, value) in changes {
            match params.0.get_mut(name) {
                Some(place) => *place = value.clone(),
                None => {
                    let known: Vec<&str> = self.0.keys().map(String::as_str).collect();
                    let hint = suggest(name, &known);
                    return Err(ParamsError::Unknown {
                        name: name.clone(),
                        hint,
                    });
                }
            }
        }
        Ok(params)
    }

    /// Those that one of the patterns means.
    pub fn select(&self, patterns: &[Pattern]) -> Params {
        let chosen = self
            .0
            .iter()
            .filter(|(name, _)| patterns.iter().any(|pattern| pattern.matches(name)));
        Params(
            chosen
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        )
    }

    /// The values as JSON texts, as they stand in a lock and in a stage's key.
    pub fn texts(&self) -> BTreeMap<String, String> {
        self.0
            .iter()
            .map(|(name, value)| (name.clone(), value.to_string()))
            .collect()
    }

    /// As a document of tables in tables: what a stage finds at `SEALSTONE_PARAMS`.
    pub fn to_value(&self) -> Value {
        let mut root = Map::new();
        for (name, value) in &self.0 {
            insert(&mut root, name, value);
        }
        Value::Object(root)
    }
}

/// Puts a value at a dotted name. `a = 1` beside `a.b = 2` leaves the longer name its dot.
fn insert(table: &mut Map<String, Value>, name: &str, value: &Value) {
    if let Some((first, rest)) = name.split_once('.') {
        let next = table
            .entry(first)
            .or_insert_with(|| Value::Object(Map::new()));
        // An empty table is a value too, and would vanish under others.
        if let Value::Object(inner) = next {
            return insert(inner, rest, value);
        }
    }
    table.insert(name.to_owned(), value.clone());
}

/// What differs between the parameters of two locks, by name.
pub fn param_changes(
    base: &BTreeMap<String, String>,
    now: &BTreeMap<String, String>,
) -> Vec<ParamChange> {
    let names: std::collections::BTreeSet<&String> = base.keys().chain(now.keys()).collect();
    let changed = names
        .into_iter()
        .filter(|name| base.get(*name) != now.get(*name));
    changed
        .map(|name| ParamChange {
            name: name.clone(),
            base: base.get(name).cloned(),
            now: now.get(name).cloned(),
        })
        .collect()
}

/// TOML as JSON: dates become texts, what JSON cannot hold (infinities) as well.
fn toml_value(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.as_str().into(),
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Float(number) => match serde_json::Number::from_f64(*number) {
            Some(number) => Value::Number(number),
            None => number.to_string().into(),
        },
        toml::Value::Boolean(flag) => (*flag).into(),
        toml::Value::Datetime(moment) => moment.to_string().into(),
        toml::Value::Array(list) => list.iter().map(toml_value).collect(),
        toml::Value::Table(table) => {
            let entries = table
                .iter()
                .map(|(key, value)| (key.clone(), toml_value(value)));
            Value::Object(entries.collect())
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const TEXT: &str =
        "top = true\n[model]\nC = 1.0\nmax_iter = 200\n[optim]\nbetas = [0.9, 0.999]\nlr = 1e-9\n";

    #[test]
    fn tables_become_dotted_names_and_back() {
        let params = Params::from_toml(TEXT).unwrap();
        let texts = params.texts();
        assert_eq!(texts["model.C"], "1.0");
        assert_eq!(texts["model.max_iter"], "200");
        assert_eq!(texts["optim.betas"], "[0.9,0.999]");
        assert_eq!(texts["optim.lr"], "1e-9");
        assert_eq!(Params::from_value(&params.to_value()).unwrap(), params);
    }

    #[test]
    fn profiles_change_only_what_is_there() {
        let params = Params::from_toml(TEXT).unwrap();
        let changed = params
            .with(&[("model.max_iter".to_owned(), json!(20))].into())
            .unwrap();
        let changes = param_changes(&params.texts(), &changed.texts());
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].to_string(), "model.max_iter 200→20");
        let error = params
            .with(&[("model.max_itr".to_owned(), json!(20))].into())
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("did you mean \"model.max_iter\""),
            "{error}"
        );
    }

    #[test]
    fn one_name_has_one_value() {
        for bad in [
            json!({"a.b": 1, "a": {"b": 2}}),
            json!([1]),
            json!({"": 1}),
            json!({"a b": 1}),
            json!({"a": {"*": 1}}),
        ] {
            assert!(Params::from_value(&bad).is_err(), "{bad}");
        }
        assert!(Params::from_json(b"{\"a\":1,\"a\":2}").is_err());
    }

    #[test]
    fn a_stage_sees_only_its_share() {
        let params = Params::from_toml(TEXT).unwrap();
        let share = params.select(&["model.*".parse().unwrap()]);
        assert_eq!(
            share.to_value(),
            json!({"model": {"C": 1.0, "max_iter": 200}})
        );
    }

    fn documents() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i32>().prop_map(Value::from),
            "[a-z]{0,3}".prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop::collection::btree_map("[a-c]{1,2}(\\.[ab])?", inner, 1..4)
                .prop_map(|map| Value::Object(map.into_iter().collect()))
        })
    }

    proptest! {
        #[test]
        fn what_a_stage_is_given_reads_back(document in documents()) {
            if let Ok(params) = Params::from_value(&document) {
                prop_assert_eq!(Params::from_value(&params.to_value()).unwrap(), params);
            }
        }
    }
}
