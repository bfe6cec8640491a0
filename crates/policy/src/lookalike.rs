//! Members that a decoder takes for declared ones although they are not.
//!
//! The attack: Go's `encoding/json` matches names without regard to case, and the last match wins. Of
//! `{"repo":"safe","Repo":"prod"}` policies see `safe`, and the application acts on `prod`.
//!
//! Looked at is every object whose members policies can read. In what is opaque to policies there is nothing to be told
//! otherwise.

use std::collections::{BTreeMap, HashMap};

use vestibule_model::{fold, json::Json};

use crate::schema::{Field, Fields, Shape};

/// A member that is not declared, and the declared one that it could be taken for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lookalike<'a> {
    pub(crate) name: &'a str,
    pub(crate) declared: &'a str,
}

/// The first one in the arguments, on whatever level.
pub(crate) fn find<'a>(fields: &'a Fields, arguments: &'a Json) -> Option<Lookalike<'a>> {
    among(fields, vec![arguments])
}

/// All objects of one schema at once: folding the declared names again for each would cost their product.
fn among<'a>(fields: &'a Fields, objects: Vec<&'a Json>) -> Option<Lookalike<'a>> {
    let mut undeclared = Vec::new();
    let mut nested: BTreeMap<&str, (&Shape, Vec<&Json>)> = BTreeMap::new();
    for (name, value) in objects.into_iter().filter_map(Json::as_object).flatten() {
        match fields.get_key_value(name.as_str()) {
            None => undeclared.push(name.as_str()),
            Some((name, Field { shape, .. })) if has_members(shape) => {
                nested.entry(name).or_insert_with(|| (shape, Vec::new())).1.push(value);
            }
            Some(_) => {}
        }
    }
    taken_for(fields, &undeclared)
        .or_else(|| nested.into_values().find_map(|(shape, values)| within(shape, values)))
}

fn taken_for<'a>(fields: &'a Fields, undeclared: &[&'a str]) -> Option<Lookalike<'a>> {
    if undeclared.is_empty() {
        return None;
    }
    let folded: HashMap<String, &str> = fields.keys().map(|name| (fold(name).collect(), &**name)).collect();
    undeclared.iter().find_map(|name| {
        let declared = folded.get(&fold(name).collect::<String>())?;
        Some(Lookalike { name, declared })
    })
}

fn within<'a>(shape: &'a Shape, values: Vec<&'a Json>) -> Option<Lookalike<'a>> {
    match shape {
        Shape::Record(fields) => among(fields, values),
        Shape::Set(element) => {
            within(element, values.into_iter().filter_map(Json::as_array).flatten().collect())
        }
        Shape::String | Shape::Long | Shape::Decimal | Shape::Bool | Shape::Opaque(_) => None,
    }
}

fn has_members(shape: &Shape) -> bool {
    match shape {
        Shape::Record(_) => true,
        Shape::Set(element) => has_members(element),
        Shape::String | Shape::Long | Shape::Decimal | Shape::Bool | Shape::Opaque(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use vestibule_model::json::parse;

    use super::*;
    use crate::schema::Input;

    #[test]
    fn a_member_that_only_folds_to_a_declared_one_is_found_on_every_level() {
        let repo = json!({ "type": "object", "additionalProperties": true, "properties": {
            "Repo": { "type": "string" }, "task": { "type": "string" } } });
        let schema = json!({ "type": "object", "additionalProperties": true, "properties": {
            "filter": repo, "repos": { "type": "array", "items": repo }, "name": { "type": "string" },
            "labels": { "type": "object" } } });
        let input = Input::of(&schema).unwrap();
        let found = |text: &str| {
            let arguments = parse(text.as_bytes(), 8).unwrap();
            find(&input.fields, &arguments).map(|found| (found.name.to_owned(), found.declared.to_owned()))
        };
        for (text, name, declared) in [
            (r#"{"name":"a","NAME":"b"}"#, "NAME", "name"),
            (r#"{"Name":"b"}"#, "Name", "name"),
            (r#"{"filter":{"Repo":"safe","repo":"prod"}}"#, "repo", "Repo"),
            (r#"{"filter":{"ta\u017f\u212a":"x"}}"#, "ta\u{17f}\u{212a}", "task"),
            (r#"{"repos":[{"Repo":"a"},{"REPO":"b"}]}"#, "REPO", "Repo"),
        ] {
            assert_eq!(found(text), Some((name.to_owned(), declared.to_owned())), "{text}");
        }
        for text in [
            r#"{"name":"a","other":{"name":1,"Name":2}}"#,
            r#"{"filter":{"Repo":"a","repository":"b"},"labels":{"a":1,"A":2}}"#,
            r#"{"filter":"repo","repos":[["repo"],7]}"#,
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }
}
