use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde_json::{Map, Value, json};
use vestibule_model::{Digest, Effect, Method, Operation, Risk, json::parse};

use super::{
    config::{BodyConfig, OperationConfig},
    input::Type,
};

/// The deepest schema that a digest is taken over in canonical form.
const SCHEMA_MAX_DEPTH: usize = 512;

/// An operation before it is checked, from whichever source.
pub(super) struct Definition {
    pub(super) name: String,
    pub(super) method: Method,
    /// With parameters in braces.
    pub(super) path: String,
    pub(super) description: String,
    pub(super) effect: Option<Effect>,
    pub(super) scopes: BTreeSet<String>,
    pub(super) path_schemas: BTreeMap<String, Value>,
    pub(super) query_schemas: BTreeMap<String, Value>,
    /// Query parameters that must be there.
    pub(super) required: Vec<String>,
    pub(super) body: Option<BodyConfig>,
}

/// An operation with what it takes to read a request for it.
#[derive(Debug, Clone)]
pub(super) struct Declared {
    pub(super) operation: Operation,
    /// Of path and query parameters.
    pub(super) types: BTreeMap<String, Type>,
    pub(super) body: BodyRule,
}

/// What the body of a request may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyRule {
    /// There must be none.
    None,
    /// A JSON object whose properties are arguments.
    Properties,
    /// A JSON value that is the argument `body`.
    Value,
    /// Anything, invisible to policy.
    Opaque,
}

impl Definition {
    /// An operation of the configuration file.
    pub(super) fn of(name: &str, config: &OperationConfig) -> Result<Self, String> {
        let shape = "needs a `route` of a method and a path, as in `DELETE /repos/{name}`";
        let (method, path) = config.route.split_once(' ').ok_or(shape)?;
        Ok(Self {
            name: name.to_owned(),
            method: Method::parse(method).ok_or(shape)?,
            path: path.to_owned(),
            description: config.description.clone(),
            effect: config.effect,
            scopes: config.scopes.clone(),
            path_schemas: config.path.clone(),
            query_schemas: config.query.clone(),
            required: Vec::new(),
            body: config.body.clone(),
        })
    }

    /// Checks it. `parameters` are those of its path, in order.
    pub(super) fn declare(&self, parameters: &[&str]) -> Result<Declared, String> {
        check_name(&self.name)?;
        if let Some(unknown) = self.path_schemas.keys().find(|name| !parameters.contains(&name.as_str())) {
            return Err(format!("has a schema for `{unknown}`, which is not in its path"));
        }
        let mut arguments = Arguments::default();
        for name in parameters {
            arguments.add_scalar(name, self.path_schemas.get(*name))?;
            arguments.required.push((*name).to_owned());
        }
        for (name, schema) in &self.query_schemas {
            arguments.add_scalar(name, Some(schema))?;
        }
        arguments.required.extend(self.required.iter().cloned());
        let body = arguments.add_body(self.body.as_ref(), self.method)?;
        let types = std::mem::take(&mut arguments.types);
        Ok(Declared { operation: operation(self, arguments.schema(), body), types, body })
    }
}

/// The merged input of an operation: path, query and body in one flat object, so no name may be there twice.
#[derive(Default)]
struct Arguments {
    properties: Map<String, Value>,
    required: Vec<String>,
    types: BTreeMap<String, Type>,
}

impl Arguments {
    fn add(&mut self, name: &str, schema: Value) -> Result<(), String> {
        match self.properties.insert(name.to_owned(), schema) {
            Some(_) => Err(format!("has two arguments with the name `{name}`")),
            None => Ok(()),
        }
    }

    /// A parameter of path or query: text on the wire, typed by its schema. Arrays and objects have no one spelling
    /// there, so policy sees them as the text that they are.
    fn add_scalar(&mut self, name: &str, schema: Option<&Value>) -> Result<(), String> {
        let kind = schema.map_or(Some(Type::String), Type::of);
        let schema = match (kind, schema) {
            (Some(_), Some(schema)) => schema.clone(),
            (_, _) => json!({ "type": "string" }),
        };
        self.types.insert(name.to_owned(), kind.unwrap_or_default());
        self.add(name, schema)
    }

    fn add_body(&mut self, body: Option<&BodyConfig>, method: Method) -> Result<BodyRule, String> {
        let schema = match body {
            None => return Ok(BodyRule::None),
            Some(BodyConfig::Opaque) => return Ok(BodyRule::Opaque),
            Some(BodyConfig::Json(schema)) => schema,
        };
        // RFC 9110 §9.3.1: content in a GET has no meaning, and servers differ in what they do with it.
        if matches!(method, Method::Get | Method::Head) {
            return Err("is a GET or HEAD and cannot have a JSON body".into());
        }
        let is_object = schema.get("type").is_some_and(|kind| kind == "object");
        let Some(properties) = schema.get("properties").and_then(Value::as_object).filter(|_| is_object)
        else {
            self.add("body", schema.clone())?;
            return Ok(BodyRule::Value);
        };
        for (name, property) in properties {
            self.add(name, property.clone())?;
        }
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        self.required.extend(required.filter_map(Value::as_str).map(str::to_owned));
        Ok(BodyRule::Properties)
    }

    /// Closed whatever the body's schema says: an open one would let undeclared query parameters in too.
    fn schema(self) -> Value {
        json!({
            "type": "object",
            "properties": self.properties,
            "required": self.required,
            "additionalProperties": false,
        })
    }
}

fn operation(definition: &Definition, input_schema: Value, body: BodyRule) -> Operation {
    let by_method = match definition.method {
        Method::Get | Method::Head | Method::Options => Effect::Read,
        Method::Delete => Effect::Destroy,
        Method::Post | Method::Put | Method::Patch => Effect::Write,
    };
    let reviewed = json!({
        "name": definition.name,
        "route": format!("{} {}", definition.method.as_str(), definition.path),
        "description": definition.description,
        "inputSchema": input_schema,
        "body": body.to_string(),
    });
    let text = reviewed.to_string();
    let canonical = parse(text.as_bytes(), SCHEMA_MAX_DEPTH).map(|value| value.canonical()).unwrap_or(text);
    Operation {
        name: definition.name.as_str().into(),
        description: definition.description.clone(),
        input_schema,
        effect: definition.effect.unwrap_or(by_method),
        risk: if definition.effect.is_some() { Risk::Reviewed } else { Risk::Claimed },
        scopes: definition.scopes.clone(),
        definition_digest: Digest::of(canonical.as_bytes()).to_string(),
        pinned: true,
    }
}

/// What policies can name: visible ASCII without quote and backslash.
fn check_name(name: &str) -> Result<(), String> {
    let is_good = (1..=128).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'));
    if is_good {
        Ok(())
    } else {
        Err("must have a name of 1 to 128 visible ASCII characters without quote and backslash".into())
    }
}

impl fmt::Display for BodyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Properties => "properties",
            Self::Value => "value",
            Self::Opaque => "opaque",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(config: &str) -> Operation {
        let definition = Definition::of("op", &serde_saphyr::from_str(config).unwrap()).unwrap();
        let parameters: &[&str] = if definition.path.contains("{a}") { &["a"] } else { &[] };
        definition.declare(parameters).unwrap().operation
    }

    #[test]
    fn an_operation_has_its_merged_schema_and_a_digest_that_notices_changes() {
        let operation = one(
            "{ route: 'PUT /{a}', query: { b: { type: [integer, 'null'] } }, scopes: [repo], effect: read, \
             body: { json: { type: object, properties: { c: { type: array } }, required: [c], additionalProperties: true } } }",
        );
        assert_eq!(
            operation.input_schema,
            json!({
                "type": "object",
                "properties": { "a": { "type": "string" }, "b": { "type": ["integer", "null"] }, "c": { "type": "array" } },
                "required": ["a", "c"],
                "additionalProperties": false,
            })
        );
        assert_eq!(
            (operation.effect, operation.risk, operation.pinned),
            (Effect::Read, Risk::Reviewed, true)
        );
        assert!(operation.scopes.contains("repo"));
        let base = one("{ route: POST /a }");
        assert_eq!((base.effect, base.risk), (Effect::Write, Risk::Claimed));
        assert_eq!(base.definition_digest, one("{ route: POST /a, scopes: [x] }").definition_digest);
        for changed in [
            "{ route: POST /b }",
            "{ route: PUT /a }",
            "{ route: POST /a, body: opaque }",
            "{ route: POST /a, query: { q: {} } }",
        ] {
            assert_ne!(base.definition_digest, one(changed).definition_digest, "{changed}");
        }
    }
}
