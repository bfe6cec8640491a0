//! Operations from an OpenAPI document (3.0.x and 3.1.x). Only what the document says exactly: an operation that can't
//! be read is left out and said so. It keeps its place among the routes, so that its requests are nobody's.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use vestibule_model::Method;

use super::{config::BodyConfig, operation::Definition, routes::LeftOut};

/// How many references may lead from one to the next.
const REFERENCE_MAX_DEPTH: usize = 16;
/// How many values the schemas of one operation may have once references are replaced.
const SCHEMA_MAX_NODES: usize = 20_000;

pub(super) struct Found {
    pub(super) definitions: Vec<Definition>,
    pub(super) left_out: Vec<LeftOut>,
}

/// Reads a document in JSON or YAML.
pub(super) fn read(text: &str) -> Result<Found, String> {
    let document: Value = if text.trim_start().starts_with('{') {
        serde_json::from_str(text).map_err(|error| error.to_string())?
    } else {
        serde_saphyr::from_str(text).map_err(|error| error.to_string())?
    };
    let version = document.get("openapi").and_then(Value::as_str).unwrap_or_default();
    if !version.starts_with("3.0.") && !version.starts_with("3.1.") {
        return Err("`openapi` must be 3.0.x or 3.1.x".into());
    }
    let paths = document.get("paths").and_then(Value::as_object).ok_or("it has no `paths`")?;
    let mut found = Found { definitions: Vec::new(), left_out: Vec::new() };
    for (path, item) in paths {
        let item = Reader::new(&document).resolve(item).map_err(|reason| format!("`{path}`: {reason}"))?;
        for (method, operation) in item.as_object().into_iter().flatten() {
            let Some(method) = Method::parse(&method.to_ascii_uppercase()) else { continue };
            match Reader::new(&document).operation(method, path, item, operation) {
                Ok(definition) => found.definitions.push(definition),
                Err(reason) => found.left_out.push(LeftOut { method, path: path.clone(), reason }),
            }
        }
    }
    Ok(found)
}

/// Reads one operation, bounded.
struct Reader<'d> {
    document: &'d Value,
    nodes: usize,
}

impl<'d> Reader<'d> {
    fn new(document: &'d Value) -> Self {
        Self { document, nodes: 0 }
    }

    fn operation(
        &mut self,
        method: Method,
        path: &str,
        item: &'d Value,
        operation: &'d Value,
    ) -> Result<Definition, String> {
        let text = |key| operation.get(key).and_then(Value::as_str);
        let mut definition = Definition {
            name: text("operationId").map_or_else(|| derived_name(method, path), str::to_owned),
            method,
            path: path.to_owned(),
            description: text("description").or_else(|| text("summary")).unwrap_or_default().to_owned(),
            effect: None,
            scopes: BTreeSet::new(),
            path_schemas: BTreeMap::new(),
            query_schemas: BTreeMap::new(),
            required: Vec::new(),
            body: self.body(operation)?,
        };
        self.parameters(item, operation, &mut definition)?;
        Ok(definition)
    }

    /// OpenAPI 3.1 §4.8.9: the parameters of the path, overridden by those of the operation. Headers and cookies are no
    /// arguments.
    fn parameters(
        &mut self,
        item: &'d Value,
        operation: &'d Value,
        definition: &mut Definition,
    ) -> Result<(), String> {
        for source in [item, operation] {
            for parameter in source.get("parameters").and_then(Value::as_array).into_iter().flatten() {
                let parameter = self.resolve(parameter)?;
                let text = |key| parameter.get(key).and_then(Value::as_str);
                let name = text("name").ok_or("a parameter has no name")?.to_owned();
                let schema = self.inline(parameter.get("schema").unwrap_or(&Value::Null), &mut Vec::new())?;
                let is_required = parameter.get("required") == Some(&Value::Bool(true));
                match text("in") {
                    Some("path") => {
                        definition.path_schemas.insert(name, schema);
                    }
                    Some("query") => {
                        definition.required.retain(|other| *other != name);
                        if is_required {
                            definition.required.push(name.clone());
                        }
                        definition.query_schemas.insert(name, schema);
                    }
                    Some(_) | None => {}
                }
            }
        }
        Ok(())
    }

    fn body(&mut self, operation: &'d Value) -> Result<Option<BodyConfig>, String> {
        let Some(body) = operation.get("requestBody") else { return Ok(None) };
        let content = self.resolve(body)?.get("content").and_then(Value::as_object);
        let Some(content) = content.filter(|content| !content.is_empty()) else { return Ok(None) };
        match content.iter().find(|(media_type, _)| is_json_type(media_type)) {
            Some((_, media)) => {
                let schema = media.get("schema").unwrap_or(&Value::Bool(true));
                Ok(Some(BodyConfig::Json(self.inline(schema, &mut Vec::new())?)))
            }
            None => Ok(Some(BodyConfig::Opaque)),
        }
    }

    /// What a reference leads to, or the value itself.
    fn resolve(&self, mut value: &'d Value) -> Result<&'d Value, String> {
        for _ in 0..REFERENCE_MAX_DEPTH {
            match value.get("$ref").and_then(Value::as_str) {
                Some(reference) => value = self.target(reference)?,
                None => return Ok(value),
            }
        }
        Err("its references lead too far".into())
    }

    /// Only within the document: a document must not make the gateway read files or fetch addresses.
    fn target(&self, reference: &str) -> Result<&'d Value, String> {
        let pointer = reference.strip_prefix('#').ok_or("it refers to another document")?;
        self.document.pointer(pointer).ok_or_else(|| format!("`{reference}` leads nowhere"))
    }

    /// A schema with its references replaced; `within` are those that led here. What refers to itself is unconstrained
    /// where it does: no policy can name what is inside.
    fn inline(&mut self, schema: &'d Value, within: &mut Vec<&'d str>) -> Result<Value, String> {
        self.nodes += 1;
        if self.nodes > SCHEMA_MAX_NODES {
            return Err("its schemas are too large".into());
        }
        match schema {
            Value::Object(members) => match members.get("$ref").and_then(Value::as_str) {
                Some(reference) if within.contains(&reference) || within.len() >= REFERENCE_MAX_DEPTH => {
                    Ok(Value::Object(Map::new()))
                }
                Some(reference) => {
                    let target = self.target(reference)?;
                    within.push(reference);
                    let inlined = self.inline(target, within);
                    within.pop();
                    inlined
                }
                None => {
                    let mut inlined = Map::new();
                    for (name, member) in members {
                        inlined.insert(name.clone(), self.inline(member, within)?);
                    }
                    Ok(Value::Object(inlined))
                }
            },
            Value::Array(items) => items.iter().map(|item| self.inline(item, within)).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(schema.clone()),
        }
    }
}

fn is_json_type(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    essence == "application/json" || essence.ends_with("+json")
}

/// `get_repos_owner` for `GET /repos/{owner}`.
fn derived_name(method: Method, path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    std::iter::once(method.as_str().to_ascii_lowercase().as_str()).chain(words).collect::<Vec<_>>().join("_")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;
    use vestibule_model::{Denial, Effect, Method, Operation, Risk};

    use crate::http_app::{BodyRule, OperationsConfig, Routes, RoutesError};

    const DOCUMENT: &str = r##"
openapi: 3.1.0
info: { title: repos, version: "1" }
paths:
  /repos/{owner}:
    parameters:
      - { $ref: "#/components/parameters/owner" }
    get:
      operationId: repos/list
      summary: List repositories
      parameters:
        - { name: page, in: query, schema: { type: integer } }
        - { name: org, in: query, required: true, schema: { type: string } }
        - { name: tags, in: query, schema: { type: array, items: { type: string } } }
        - { name: X-Trace, in: header, schema: { type: string } }
    post:
      requestBody:
        content:
          application/json: { schema: { $ref: "#/components/schemas/Repo" } }
  /repos/{owner}/{repo}:
    delete: { operationId: delete_repo }
    put:
      operationId: clash
      requestBody: { content: { application/json: { schema: { type: object, properties: { repo: { type: string } } } } } }
  /raw/{path}:
    put: { operationId: upload, requestBody: { content: { application/octet-stream: {} } } }
  /compare/{a}...{b}:
    get: { operationId: compare }
  /remote:
    post: { operationId: remote, requestBody: { $ref: "https://evil.example/body.json" } }
components:
  parameters:
    owner: { name: owner, in: path, required: true, schema: { type: string } }
  schemas:
    Repo:
      type: object
      required: [name]
      properties:
        name: { type: string }
        parent: { $ref: "#/components/schemas/Repo" }
"##;

    fn load(document: &str, review: &str) -> Result<Routes, RoutesError> {
        let folder = tempfile_folder(document);
        let config = format!("openapi: {{ file: api.yaml, review: {review} }}");
        let config: OperationsConfig = serde_saphyr::from_str(&config).unwrap();
        Routes::load(&config, folder.path())
    }

    fn tempfile_folder(document: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("api.yaml"), document).unwrap();
        folder
    }

    fn named(routes: &Routes, name: &str) -> Operation {
        routes.operations().into_iter().find(|operation| &*operation.name == name).unwrap()
    }

    #[test]
    fn operations_come_with_their_arguments_and_effects() {
        let routes = load(DOCUMENT, "{}").unwrap();
        let names: Vec<_> = routes.operations().iter().map(|operation| operation.name.to_string()).collect();
        assert_eq!(names, ["delete_repo", "post_repos_owner", "repos/list", "upload"]);
        let list = named(&routes, "repos/list");
        assert_eq!((list.effect, list.risk), (Effect::Read, Risk::Claimed));
        assert_eq!(list.description, "List repositories");
        assert_eq!(
            list.input_schema,
            json!({
                "type": "object",
                "properties": {
                    "owner": { "type": "string" },
                    "org": { "type": "string" },
                    "page": { "type": "integer" },
                    "tags": { "type": "string" },
                },
                "required": ["owner", "org"],
                "additionalProperties": false,
            })
        );
        assert_eq!(named(&routes, "delete_repo").effect, Effect::Destroy);
        assert_eq!(routes.matching(Method::Put, "/raw/x").unwrap().body(), BodyRule::Opaque);
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends_unconstrained() {
        let create = named(&load(DOCUMENT, "{}").unwrap(), "post_repos_owner");
        assert_eq!(create.effect, Effect::Write);
        assert_eq!(create.input_schema["properties"]["parent"], json!({}));
        assert_eq!(create.input_schema["required"], json!(["owner", "name"]));
    }

    #[test]
    fn what_cannot_be_read_exactly_is_left_out_and_said_so() {
        let routes = load(DOCUMENT, "{}").unwrap();
        let warnings = routes.warnings().join("\n");
        for left_out in ["GET /compare/{a}...{b}", "POST /remote", "PUT /repos/{owner}/{repo}"] {
            assert!(warnings.contains(left_out), "{left_out}: {warnings}");
        }
        assert_eq!(routes.warnings().len(), 3);
    }

    #[test]
    fn a_left_out_operation_is_not_taken_for_a_less_specific_one() {
        let document = "openapi: 3.1.0
paths:
  /users/{id}: { post: { operationId: update } }
  /users/purge: { post: { operationId: purge, requestBody: { $ref: 'other.yaml' } } }
  /users/{id}.csv: { post: { operationId: export } }
  /users/v{n}: { post: { operationId: version } }
";
        let routes = load(document, "{}").unwrap();
        let found = |path| {
            let found = routes.matching(Method::Post, path);
            found.map(|found| found.operation().name.to_string())
        };
        assert_eq!(found("/users/7").as_deref(), Ok("update"));
        for path in ["/users/purge", "/users/%70urge", "/users/7.csv", "/users/v7"] {
            assert_eq!(found(path), Err(Denial::OperationUnknown), "{path}");
        }
    }

    #[test]
    fn a_review_is_a_fact_and_must_name_an_operation() {
        let routes = load(DOCUMENT, "{ delete_repo: { effect: write, scopes: [repo] } }").unwrap();
        let delete = named(&routes, "delete_repo");
        assert_eq!((delete.effect, delete.risk), (Effect::Write, Risk::Reviewed));
        assert!(delete.scopes.contains("repo"));
        assert!(matches!(load(DOCUMENT, "{ typo: {} }"), Err(RoutesError::ReviewUnknown { .. })));
    }

    #[test]
    fn json_is_read_too_and_other_versions_are_not() {
        let json = r#"{"openapi":"3.0.3","paths":{"/a":{"get":{}}}}"#;
        assert_eq!(load(json, "{}").unwrap().operations().len(), 1);
        for bad in ["swagger: '2.0'", "openapi: 3.0.0", "[1", "{", "openapi: 4.0.0\npaths: {}"] {
            assert!(matches!(load(bad, "{}"), Err(RoutesError::Document { .. })), "{bad}");
        }
        let config: OperationsConfig = serde_saphyr::from_str("openapi: { file: missing.yaml }").unwrap();
        assert!(matches!(Routes::load(&config, Path::new("/nowhere")), Err(RoutesError::Document { .. })));
    }

    #[test]
    fn references_cannot_blow_up() {
        let mut document = String::from(
            "openapi: 3.1.0\npaths: { /a: { post: { requestBody: { content: { application/json: { schema: { $ref: '#/s/s0' } } } } } } }\ns:\n",
        );
        for n in 0..14 {
            let next = format!("{{ $ref: '#/s/s{}' }}", n + 1);
            let four = [next.as_str(); 4].join(", ");
            document += &format!("  s{n}: {{ anyOf: [{four}] }}\n");
        }
        document += "  s14: {}\n";
        let routes = load(&document, "{}").unwrap();
        assert!(routes.operations().is_empty());
        assert!(routes.warnings()[0].contains("too large"));
    }
}
