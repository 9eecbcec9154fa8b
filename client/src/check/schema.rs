//! The part of JSON Schema that data tests know.

use serde_json::Value;

/// Whether a value fits a schema of this part of JSON Schema: `type`, `properties`, `required`,
/// `additionalProperties`, `items`, `enum`, `const`, `minimum`, `maximum`, `minLength`, `maxLength`. A cell
/// of CSV fits `number`, `integer` and `boolean` by its text. Any other keyword but those that only
/// describe is a failure: a rule that is passed over would pass.
pub(super) fn fits(value: &Value, schema: &Value, at: &str) -> std::result::Result<(), String> {
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
