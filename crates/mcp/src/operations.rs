//! Tools as operations. What a server says of itself is a claim: it is digested, so that a change is noticed, and the
//! worst is assumed where it says nothing.

use std::collections::HashSet;

use serde_json::{Value, json};
use vestibule_model::{
    Digest, Effect, Operation, Risk,
    json::{Json, parse},
};

use crate::methods::{PROMPTS_GET, RESOURCES_READ, is_reserved};

/// The longest name of a tool, in characters. A longer one is left out, not cut.
pub const NAME_MAX_CHARS: usize = 128;

/// The operations of an application, and what was left out of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Operations {
    /// The tools in the server's order, then [`RESOURCES_READ`] and [`PROMPTS_GET`].
    pub operations: Vec<Operation>,
    /// What was left out and why, one sentence each, for the operator.
    pub warnings: Vec<String>,
}

/// Makes the operations of a server's tools. Tools whose name is unusable or there twice are left out: nobody could
/// tell which of them a policy means.
#[must_use]
pub fn from_tools(tools: &[Json]) -> Operations {
    let mut found = Operations::default();
    let mut seen = HashSet::new();
    for tool in tools {
        match usable_name(tool) {
            Ok(name) if !seen.insert(name.to_owned()) => {
                found.warnings.push(format!("tool `{name}` is left out: the name is there twice"));
                found.operations.retain(|operation| *operation.name != *name);
            }
            Ok(name) => found.operations.push(operation(name, tool)),
            Err(reason) => found.warnings.push(reason),
        }
    }
    found.operations.push(fixed(RESOURCES_READ, "Read a resource", "uri"));
    found.operations.push(fixed(PROMPTS_GET, "Get a prompt", "name"));
    found
}

fn usable_name(tool: &Json) -> Result<&str, String> {
    let Some(name) = tool.get("name").and_then(Json::as_str) else {
        return Err("a tool without a name is left out".into());
    };
    let shown: String = name.chars().take(NAME_MAX_CHARS).collect();
    let left_out = |reason| Err(format!("tool {shown:?} is left out: {reason}"));
    if name.is_empty() || name.chars().count() > NAME_MAX_CHARS {
        return left_out("the name must have 1 to 128 characters");
    }
    if name.chars().any(char::is_control) {
        return left_out("the name has control characters");
    }
    if is_reserved(name) {
        return left_out("the name belongs to another kind of operation");
    }
    Ok(name)
}

fn operation(name: &str, tool: &Json) -> Operation {
    let hint =
        |hint| tool.get("annotations").and_then(|annotations| annotations.get(hint)).and_then(Json::as_bool);
    let effect = match (hint("readOnlyHint"), hint("destructiveHint")) {
        (Some(true), _) => Effect::Read,
        (_, Some(false)) => Effect::Write,
        (_, Some(true) | None) => Effect::Destroy,
    };
    Operation {
        name: name.into(),
        description: tool.get("description").and_then(Json::as_str).unwrap_or_default().to_owned(),
        input_schema: tool.get("inputSchema").map_or_else(|| json!({ "type": "object" }), value),
        effect,
        risk: Risk::Claimed,
        scopes: Default::default(),
        definition_digest: definition_digest(tool),
        pinned: true,
    }
}

/// An operation that every server has, whatever its resources and prompts are.
fn fixed(name: &str, description: &str, argument: &str) -> Operation {
    let schema =
        json!({ "type": "object", "properties": { argument: { "type": "string" } }, "required": [argument] });
    let definition = json!({ "name": name, "description": description, "inputSchema": schema });
    let digest = parse(definition.to_string().as_bytes(), 8).map(|definition| definition_digest(&definition));
    Operation {
        name: name.into(),
        description: description.to_owned(),
        input_schema: schema,
        effect: Effect::Read,
        risk: Risk::Claimed,
        scopes: Default::default(),
        definition_digest: digest.unwrap_or_default(),
        pinned: true,
    }
}

/// SHA-256 over the canonical form of what a reviewer reads. `_meta` and icons are not part of it.
fn definition_digest(tool: &Json) -> String {
    let reviewed = ["name", "title", "description", "inputSchema", "outputSchema", "annotations"];
    let members = reviewed
        .iter()
        .filter_map(|member| tool.get(member).map(|value| ((*member).to_owned(), value.clone())))
        .collect();
    Digest::of(Json::Object(members).canonical().as_bytes()).to_string()
}

/// For readers of JSON Schema. A number beyond a double becomes `null`.
fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => serde_json::from_str(number.as_str()).unwrap_or_default(),
        Json::String(text) => Value::String(text.clone()),
        Json::Array(items) => Value::Array(items.iter().map(value).collect()),
        Json::Object(members) => {
            Value::Object(members.iter().map(|(name, member)| (name.clone(), value(member))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools(tools: &Value) -> Operations {
        from_tools(parse(tools.to_string().as_bytes(), 16).unwrap().as_array().unwrap())
    }

    #[test]
    fn the_effect_is_claimed_and_the_worst_is_assumed() {
        let found = tools(&json!([
            { "name": "a", "annotations": { "readOnlyHint": true } },
            { "name": "b", "annotations": { "destructiveHint": false } },
            { "name": "c", "annotations": { "readOnlyHint": false } },
            { "name": "d" },
        ]));
        let effects: Vec<_> =
            found.operations.iter().map(|operation| (&*operation.name, operation.effect)).collect();
        assert_eq!(
            effects,
            [
                ("a", Effect::Read),
                ("b", Effect::Write),
                ("c", Effect::Destroy),
                ("d", Effect::Destroy),
                (RESOURCES_READ, Effect::Read),
                (PROMPTS_GET, Effect::Read),
            ]
        );
        assert!(found.operations.iter().all(|operation| operation.risk == Risk::Claimed && operation.pinned));
    }

    #[test]
    fn the_digest_covers_what_a_reviewer_reads_in_any_order() {
        let digest = |tool: Value| tools(&json!([tool])).operations[0].definition_digest.clone();
        let base = digest(json!({ "name": "t", "description": "d", "inputSchema": { "a": 1, "b": 2 } }));
        assert_eq!(
            base,
            digest(
                json!({ "inputSchema": { "b": 2, "a": 1 }, "description": "d", "name": "t", "_meta": {} })
            )
        );
        assert_ne!(
            base,
            digest(json!({ "name": "t", "description": "D", "inputSchema": { "a": 1, "b": 2 } }))
        );
        assert_eq!(base.len(), 64);
    }

    #[test]
    fn tools_that_a_policy_could_not_name_are_left_out_and_said_so() {
        let found = tools(&json!([
            { "name": "ok" }, { "name": "twice" }, { "name": "twice" }, { "name": "" }, { "name": "x".repeat(129) },
            { "name": "a\nb" }, { "name": RESOURCES_READ }, { "title": "nameless" },
        ]));
        let names: Vec<_> = found.operations.iter().map(|operation| &*operation.name).collect();
        assert_eq!(names, ["ok", RESOURCES_READ, PROMPTS_GET]);
        assert_eq!(found.warnings.len(), 6);
        assert!(found.warnings.iter().all(|warning| !warning.contains('\n')));
    }

    #[test]
    fn the_schema_is_kept_with_every_keyword() {
        let schema = json!({ "type": "object", "$defs": { "a": { "$anchor": "x" } }, "properties": { "n": { "maximum": 1.5 } } });
        assert_eq!(
            tools(&json!([{ "name": "t", "inputSchema": schema }])).operations[0].input_schema,
            schema
        );
    }
}
