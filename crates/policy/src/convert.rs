//! Values of arguments as Cedar values, exactly or not at all.
//!
//! The attack this stops: a guard at `>= 100` let 1e17 through, because the number had been rounded or turned into
//! text on its way to the policy. Only what policies read is converted; everything else is forwarded unseen.

use cedar_policy::RestrictedExpression;
use vestibule_model::json::Json;

use crate::{
    reads::{EVERYTHING, Reads},
    schema::{Field, Fields, Shape},
};

/// An argument that policies read and whose value they cannot be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inexact {
    /// Its path: names joined by dots.
    pub(crate) argument: String,
    /// What it must be.
    pub(crate) must: &'static str,
}

/// The members that `reads` names, as a Cedar record.
///
/// A member that is not declared here is left out: policies can only have asked whether it is there, and the answer is
/// no, because undeclared arguments are refused before.
pub(crate) fn record(fields: &Fields, reads: &Reads, object: &Json) -> Result<RestrictedExpression, Inexact> {
    members(fields, reads, object, "")
}

fn members(
    fields: &Fields,
    reads: &Reads,
    object: &Json,
    path: &str,
) -> Result<RestrictedExpression, Inexact> {
    let Some(given) = object.as_object() else { return Err(inexact(path, "must be an object")) };
    let mut converted = Vec::new();
    for (name, field) in fields {
        let Some(reads) = reads.member(name) else { continue };
        let path = join(path, name);
        let value = object.get(name).filter(|value| !(field.nullable && matches!(value, Json::Null)));
        match (value, field) {
            (Some(value), Field { shape, .. }) => {
                converted.push((name.to_string(), one(shape, reads, value, &path)?))
            }
            (None, Field { required: true, .. }) => return Err(inexact(&path, "is required")),
            (None, Field { required: false, .. }) => {}
        }
    }
    if reads.is_whole()
        && let Some((name, _)) = given.iter().find(|(name, _)| !fields.contains_key(name.as_str()))
    {
        return Err(inexact(&join(path, name), "is not declared by the operation"));
    }
    RestrictedExpression::new_record(converted).map_err(|_| inexact(path, "must name each member once"))
}

fn one(shape: &Shape, reads: &Reads, value: &Json, path: &str) -> Result<RestrictedExpression, Inexact> {
    match shape {
        Shape::String => value
            .as_str()
            .map(|text| RestrictedExpression::new_string(text.to_owned()))
            .ok_or_else(|| inexact(path, "must be a string")),
        Shape::Bool => value
            .as_bool()
            .map(RestrictedExpression::new_bool)
            .ok_or_else(|| inexact(path, "must be a boolean")),
        Shape::Long => value
            .as_i64()
            .map(RestrictedExpression::new_long)
            .ok_or_else(|| inexact(path, "must be an integer of at most 64 bits")),
        Shape::Decimal => match value {
            Json::Number(number) => number.as_decimal4().map(decimal),
            Json::Null | Json::Bool(_) | Json::String(_) | Json::Array(_) | Json::Object(_) => None,
        }
        .ok_or_else(|| inexact(path, "must be a number with at most four decimal places")),
        Shape::Set(element) => {
            // A set is compared element by element, so all of an element counts.
            let items = value.as_array().ok_or_else(|| inexact(path, "must be an array"))?;
            let elements: Result<Vec<_>, _> =
                items.iter().map(|item| one(element, &EVERYTHING, item, path)).collect();
            Ok(RestrictedExpression::new_set(elements?))
        }
        Shape::Record(fields) => members(fields, reads, value, path),
        Shape::Opaque(_) => {
            Err(inexact(path, "must be left out: policies compare the value that contains it"))
        }
    }
}

/// `ten_thousandths` is the value times 10,000.
fn decimal(ten_thousandths: i64) -> RestrictedExpression {
    let sign = if ten_thousandths < 0 { "-" } else { "" };
    let digits = ten_thousandths.unsigned_abs();
    RestrictedExpression::new_decimal(format!("{sign}{}.{:04}", digits / 10_000, digits % 10_000))
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn inexact(path: &str, must: &'static str) -> Inexact {
    Inexact { argument: path.to_owned(), must }
}

#[cfg(test)]
mod tests {
    use cedar_policy::{Context, EvalResult};
    use serde_json::json;
    use vestibule_model::json::parse;

    use super::*;
    use crate::schema::Input;

    fn convert(property: serde_json::Value, arguments: &str) -> Result<Option<EvalResult>, Inexact> {
        let schema = json!({ "properties": { "x": property } });
        let input = Input::of(&schema).unwrap();
        let arguments = parse(arguments.as_bytes(), 32).unwrap();
        let record = record(&input.fields, &EVERYTHING, &arguments)?;
        let context = Context::from_pairs([("input".to_owned(), record)]).unwrap();
        let Some(EvalResult::Record(record)) = context.get("input") else { panic!("a record") };
        Ok(record.get("x").cloned())
    }

    fn must(property: serde_json::Value, arguments: &str) -> &'static str {
        convert(property, arguments).unwrap_err().must
    }

    #[test]
    fn integers_are_exact_or_refused() {
        let integer = || json!({ "type": "integer" });
        assert_eq!(convert(integer(), r#"{"x":1e2}"#), Ok(Some(EvalResult::Long(100))));
        assert_eq!(convert(integer(), r#"{"x":-9223372036854775808}"#), Ok(Some(EvalResult::Long(i64::MIN))));
        assert_eq!(must(integer(), r#"{"x":9223372036854775808}"#), "must be an integer of at most 64 bits");
        assert_eq!(must(integer(), r#"{"x":1.5}"#), "must be an integer of at most 64 bits");
        assert_eq!(must(integer(), r#"{"x":"100"}"#), "must be an integer of at most 64 bits");
        assert_eq!(must(integer(), r#"{"x":null}"#), "must be an integer of at most 64 bits");
    }

    #[test]
    fn numbers_have_four_decimal_places_or_are_refused() {
        let number = || json!({ "type": "number" });
        for (text, value) in
            [("-0.0001", "-0.0001"), ("999.9999", "999.9999"), ("12", "12.0000"), ("-1.5", "-1.5000")]
        {
            let converted = convert(number(), &format!("{{\"x\":{text}}}")).unwrap().unwrap();
            assert_eq!(converted.to_string(), format!("decimal(\"{value}\")"), "{text}");
        }
        assert!(convert(number(), r#"{"x":999.99999}"#).is_err());
        assert!(convert(number(), r#"{"x":1e300}"#).is_err());
    }

    #[test]
    fn null_is_absence_where_the_schema_allows_it_and_a_wrong_type_elsewhere() {
        assert_eq!(convert(json!({ "type": ["string", "null"] }), r#"{"x":null}"#), Ok(None));
        assert_eq!(convert(json!({ "type": "string" }), "{}"), Ok(None));
        assert_eq!(must(json!({ "type": "string" }), r#"{"x":null}"#), "must be a string");
    }

    #[test]
    fn a_record_compared_as_a_whole_has_no_undeclared_member() {
        let object = || json!({ "type": "object", "properties": { "a": { "type": "boolean" }, "b": {} } });
        assert!(convert(object(), r#"{"x":{"a":true}}"#).is_ok());
        let error = convert(object(), r#"{"x":{"a":true,"c":1}}"#).unwrap_err();
        assert_eq!((error.argument.as_str(), error.must), ("x.c", "is not declared by the operation"));
        assert_eq!(convert(object(), r#"{"x":{"b":1}}"#).unwrap_err().argument, "x.b");
    }

    #[test]
    fn arrays_are_sets() {
        let strings = || json!({ "type": "array", "items": { "type": "string" } });
        let EvalResult::Set(set) = convert(strings(), r#"{"x":["a","b","a"]}"#).unwrap().unwrap() else {
            panic!("a set")
        };
        assert_eq!(set.len(), 2);
        assert_eq!(must(strings(), r#"{"x":["a",1]}"#), "must be a string");
    }
}
