//! The arguments of an operation as policies see them: JSON Schema in, Cedar types out.
//!
//! One table ([`Shape`]) serves both the schema that policies are checked against and the conversion of values
//! (`convert.rs`), so the two cannot disagree. What has no exact counterpart in Cedar is [`Shape::Opaque`]: forwarded,
//! but not readable by policies, and a policy that names it is refused when it is loaded.
//!
//! An `enum` of strings becomes a plain `String` and not an entity type: `context.input.state == "open"` is what a
//! person writes and reads. The price is that a misspelt value is not found when the policy is loaded.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value, json};

/// References and nesting are followed this deep; what lies deeper is opaque.
const DEPTH_MAX: usize = 16;
/// Sub-schemas looked at per operation. References can repeat a definition exponentially often; this ends it.
const NODES_MAX: usize = 4096;

/// What policies can know of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shape {
    String,
    Long,
    /// A `number`: four decimal places, exact or refused.
    Decimal,
    Bool,
    /// An array. Policies see neither its order nor its duplicates.
    Set(Box<Shape>),
    Record(Fields),
    /// Not readable by policies, and why.
    Opaque(&'static str),
}

/// The declared members of an object.
pub(crate) type Fields = BTreeMap<Arc<str>, Field>;

/// One declared member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) shape: Shape,
    /// Present in every valid call and never `null`. Everything else is optional in policies (`has`).
    pub(crate) required: bool,
    /// `null` is as good as absent.
    pub(crate) nullable: bool,
}

/// The arguments of one operation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Input {
    pub(crate) fields: Fields,
    /// The schema says explicitly that undeclared arguments are welcome (`additionalProperties` is `true` or a schema).
    ///
    /// A schema that does not mention `additionalProperties` counts as closed although JSON Schema leaves it open:
    /// an argument that nobody declared is one that no policy can see and no reviewer has read about.
    pub(crate) open: bool,
}

impl Input {
    /// Reads the root schema of an operation's arguments.
    ///
    /// # Errors
    /// Says why the schema does not describe an object of arguments.
    pub(crate) fn of(schema: &Value) -> Result<Self, &'static str> {
        let mut reader = Reader { root: schema, nodes_left: NODES_MAX, following: vec!["#"] };
        let mut root = schema;
        while let Some(pointer) = root.get("$ref").and_then(Value::as_str) {
            root = reader.follow(pointer)?;
        }
        let Value::Object(keywords) = root else { return Err("the input schema is not an object") };
        match keywords.get("type") {
            None => {}
            Some(Value::String(kind)) if kind == "object" => {}
            Some(_) => return Err("the input schema does not describe an object"),
        }
        let mut fields = reader.fields(keywords, 0);
        for branch in
            ["allOf", "anyOf", "oneOf"].iter().filter_map(|word| keywords.get(*word)?.as_array()).flatten()
        {
            for name in branch.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::keys) {
                fields.entry(name.as_str().into()).or_insert_with(|| Field {
                    shape: Shape::Opaque("it is declared in a branch of `allOf`, `anyOf` or `oneOf` only"),
                    required: false,
                    nullable: true,
                });
            }
        }
        let open = matches!(keywords.get("additionalProperties"), Some(Value::Bool(true) | Value::Object(_)));
        Ok(Self { fields, open })
    }

    /// The type of `context.input`, in Cedar's JSON schema format: names need not be Cedar identifiers there.
    pub(crate) fn to_cedar(&self) -> Value {
        record_type(&self.fields)
    }
}

fn record_type(fields: &Fields) -> Value {
    let mut attributes = Map::new();
    for (name, field) in fields {
        if let Some(Value::Object(mut kind)) = cedar_type(&field.shape) {
            kind.insert("required".into(), field.required.into());
            attributes.insert(name.to_string(), Value::Object(kind));
        }
    }
    json!({ "type": "Record", "attributes": attributes })
}

fn cedar_type(shape: &Shape) -> Option<Value> {
    Some(match shape {
        Shape::String => json!({ "type": "String" }),
        Shape::Long => json!({ "type": "Long" }),
        Shape::Decimal => json!({ "type": "Extension", "name": "decimal" }),
        Shape::Bool => json!({ "type": "Boolean" }),
        Shape::Set(element) => json!({ "type": "Set", "element": cedar_type(element)? }),
        Shape::Record(fields) => record_type(fields),
        Shape::Opaque(_) => return None,
    })
}

/// A shape, and whether `null` may stand in its place.
struct Read {
    shape: Shape,
    nullable: bool,
}

impl Read {
    fn opaque(why: &'static str) -> Self {
        Self { shape: Shape::Opaque(why), nullable: true }
    }
}

struct Reader<'a> {
    root: &'a Value,
    nodes_left: usize,
    /// The references being followed: meeting one again is recursion.
    following: Vec<&'a str>,
}

impl<'a> Reader<'a> {
    /// Enters a local reference. The caller leaves it by popping `following`, or never.
    fn follow(&mut self, pointer: &'a str) -> Result<&'a Value, &'static str> {
        if self.following.contains(&pointer) {
            return Err("it refers to itself");
        }
        if self.following.len() > DEPTH_MAX {
            return Err("it is nested too deeply");
        }
        // Only this very document: a reference elsewhere would be a request on behalf of a stranger.
        let target = pointer.strip_prefix('#').and_then(|path| self.root.pointer(path));
        let target = target.ok_or("it refers to something outside of its schema")?;
        self.following.push(pointer);
        Ok(target)
    }

    fn fields(&mut self, keywords: &'a Map<String, Value>, depth: usize) -> Fields {
        let required: Vec<&str> = keywords
            .get("required")
            .and_then(Value::as_array)
            .map(|names| names.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let mut fields = Fields::new();
        for (name, schema) in keywords.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let Read { shape, nullable } = self.read(schema, depth + 1);
            let required = !nullable && required.contains(&name.as_str());
            fields.insert(name.as_str().into(), Field { shape, required, nullable });
        }
        fields
    }

    fn read(&mut self, schema: &'a Value, depth: usize) -> Read {
        self.nodes_left = self.nodes_left.saturating_sub(1);
        if self.nodes_left == 0 || depth > DEPTH_MAX {
            return Read::opaque("it is nested too deeply");
        }
        let Value::Object(keywords) = schema else {
            return Read::opaque("its schema does not say what it is");
        };
        if let Some(pointer) = keywords.get("$ref").and_then(Value::as_str) {
            return match self.follow(pointer) {
                Ok(target) => {
                    let read = self.read(target, depth + 1);
                    self.following.pop();
                    read
                }
                Err(why) => Read::opaque(why),
            };
        }
        for word in ["anyOf", "oneOf", "allOf"] {
            if let Some(branches) = keywords.get(word).and_then(Value::as_array) {
                return self.branches(branches, word == "allOf", depth);
            }
        }
        match kinds(keywords).as_slice() {
            [] => Read::opaque("its schema does not say what it is"),
            ["null"] => Read::opaque("it can only be null"),
            [kind] | [kind, "null"] | ["null", kind] => {
                let nullable = kinds(keywords).contains(&"null");
                let shape = self.kind(kind, keywords, depth);
                Read { nullable: nullable || matches!(shape, Shape::Opaque(_)), shape }
            }
            _ => Read::opaque("it can be of several types"),
        }
    }

    /// One branch beside `null` is that branch, nullable; branches of one and the same shape are that shape.
    fn branches(&mut self, branches: &'a [Value], all: bool, depth: usize) -> Read {
        let is_null = |branch: &&Value| branch.get("type").and_then(Value::as_str) == Some("null");
        if all && branches.len() > 1 {
            return Read::opaque("it combines several schemas");
        }
        let null = branches.iter().any(|branch| is_null(&branch));
        let mut reads =
            branches.iter().filter(|branch| !is_null(branch)).map(|branch| self.read(branch, depth + 1));
        let Some(mut first) = reads.next() else { return Read::opaque("it can only be null") };
        for read in reads {
            if read.shape != first.shape {
                return Read::opaque("it can be of several types");
            }
            first.nullable |= read.nullable;
        }
        first.nullable |= null;
        first
    }

    fn kind(&mut self, kind: &str, keywords: &'a Map<String, Value>, depth: usize) -> Shape {
        match kind {
            "string" => Shape::String,
            "integer" => Shape::Long,
            "number" => Shape::Decimal,
            "boolean" => Shape::Bool,
            "array" => match keywords.get("items").map(|items| self.read(items, depth + 1)) {
                Some(Read { shape: Shape::Opaque(_), .. }) | None => {
                    Shape::Opaque("its elements have no single type")
                }
                Some(Read { nullable: true, .. }) => Shape::Opaque("its elements can be null"),
                Some(Read { shape, .. }) if !keywords.contains_key("prefixItems") => {
                    Shape::Set(Box::new(shape))
                }
                Some(_) => Shape::Opaque("its elements have no single type"),
            },
            "object" => {
                let fields = self.fields(keywords, depth);
                if fields.is_empty() {
                    Shape::Opaque("its members are not declared")
                } else {
                    Shape::Record(fields)
                }
            }
            _ => Shape::Opaque("its schema does not say what it is"),
        }
    }
}

/// The types that a schema allows: what `type` says, else what `const`, `enum`, `properties` or `items` imply.
fn kinds(keywords: &Map<String, Value>) -> Vec<&str> {
    match keywords.get("type") {
        Some(Value::String(kind)) => return vec![kind],
        Some(Value::Array(kinds)) => return kinds.iter().filter_map(Value::as_str).collect(),
        Some(_) => return Vec::new(),
        None => {}
    }
    let values = keywords.get("const").map(std::slice::from_ref);
    if let Some(values) = values.or_else(|| keywords.get("enum")?.as_array().map(Vec::as_slice)) {
        let mut kinds: Vec<&str> = values.iter().map(kind_of).collect();
        kinds.sort_unstable();
        kinds.dedup();
        return kinds;
    }
    ["properties", "items"]
        .into_iter()
        .filter(|word| keywords.contains_key(*word))
        .map(|word| if word == "items" { "array" } else { "object" })
        .collect()
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(property: Value) -> Field {
        let schema = json!({ "type": "object", "properties": { "x": property }, "required": ["x"],
            "$defs": { "name": { "type": "string" }, "tree": { "type": "object", "properties": { "left": { "$ref": "#/$defs/tree" } } } },
            "definitions": { "count": { "type": "integer" } } });
        Input::of(&schema).unwrap().fields["x"].clone()
    }

    fn opaque(property: Value) -> bool {
        let field = shape(property);
        assert!(!field.required, "an opaque argument is never required");
        matches!(field.shape, Shape::Opaque(_))
    }

    #[test]
    fn scalars_have_one_type_each() {
        assert_eq!(shape(json!({ "type": "string" })).shape, Shape::String);
        assert_eq!(shape(json!({ "type": "integer" })).shape, Shape::Long);
        assert_eq!(shape(json!({ "type": "number" })).shape, Shape::Decimal);
        assert_eq!(shape(json!({ "type": "boolean" })).shape, Shape::Bool);
        assert_eq!(shape(json!({ "const": "a" })).shape, Shape::String);
        assert_eq!(shape(json!({ "enum": ["a", "b"] })).shape, Shape::String);
        assert_eq!(shape(json!({ "oneOf": [{ "const": "a" }, { "const": "b" }] })).shape, Shape::String);
        assert_eq!(shape(json!({ "$ref": "#/$defs/name" })).shape, Shape::String);
        assert_eq!(shape(json!({ "allOf": [{ "$ref": "#/definitions/count" }] })).shape, Shape::Long);
    }

    #[test]
    fn a_nullable_argument_is_an_optional_one() {
        for schema in [
            json!({ "type": ["string", "null"] }),
            json!({ "anyOf": [{ "type": "string" }, { "type": "null" }] }),
            json!({ "enum": ["a", null] }),
        ] {
            let field = shape(schema);
            assert_eq!((field.shape, field.required, field.nullable), (Shape::String, false, true));
        }
        assert!(shape(json!({ "type": "string" })).required);
    }

    #[test]
    fn what_cedar_cannot_hold_exactly_is_opaque() {
        assert!(opaque(json!({})));
        assert!(opaque(json!(true)));
        assert!(opaque(json!({ "type": "object" })));
        assert!(opaque(json!({ "type": ["string", "integer"] })));
        assert!(opaque(json!({ "anyOf": [{ "type": "string" }, { "type": "integer" }] })));
        assert!(opaque(json!({ "allOf": [{ "type": "string" }, { "minLength": 1 }] })));
        assert!(opaque(json!({ "type": "array" })));
        assert!(opaque(json!({ "type": "array", "items": { "type": ["string", "null"] } })));
        assert!(opaque(json!({ "$ref": "https://evil.example/schema" })));
        assert!(opaque(json!({ "$ref": "#/$defs/missing" })));
    }

    #[test]
    fn recursion_ends_where_it_returns_to_itself() {
        let Shape::Record(fields) = shape(json!({ "$ref": "#/$defs/tree" })).shape else {
            panic!("a record")
        };
        assert_eq!(fields["left"].shape, Shape::Opaque("it refers to itself"));
    }

    #[test]
    fn a_schema_that_doubles_at_every_level_is_bounded() {
        let mut defs = Map::new();
        for level in 0..40 {
            let next = json!({ "$ref": format!("#/$defs/l{}", level + 1) });
            defs.insert(
                format!("l{level}"),
                json!({ "type": "object", "properties": { "a": next, "b": next } }),
            );
        }
        let schema =
            json!({ "type": "object", "properties": { "x": { "$ref": "#/$defs/l0" } }, "$defs": defs });
        assert!(Input::of(&schema).unwrap().to_cedar().to_string().len() < 4_000_000);
    }

    #[test]
    fn arguments_of_branches_are_declared_but_not_readable() {
        let schema = json!({ "oneOf": [{ "properties": { "a": { "type": "string" } } }, { "properties": { "b": {} } }] });
        let input = Input::of(&schema).unwrap();
        assert!(matches!(input.fields["a"].shape, Shape::Opaque(_)) && input.fields.contains_key("b"));
        assert_eq!(input.to_cedar()["attributes"], json!({}));
    }

    #[test]
    fn only_an_explicit_word_opens_the_arguments() {
        assert!(!Input::of(&json!({})).unwrap().open);
        assert!(!Input::of(&json!({ "additionalProperties": false })).unwrap().open);
        assert!(Input::of(&json!({ "additionalProperties": true })).unwrap().open);
        assert!(Input::of(&json!({ "additionalProperties": { "type": "string" } })).unwrap().open);
        assert!(Input::of(&json!({ "type": "array" })).is_err());
        assert!(Input::of(&json!("nonsense")).is_err());
        assert!(Input::of(&json!({ "$ref": "#" })).is_err());
    }
}
