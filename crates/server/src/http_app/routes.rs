use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};
use vestibule_model::{Denial, Digest, Effect, Method, Operation, Risk, json::parse};

use super::{
    config::{BodyConfig, OperationConfig, OperationReview, OperationsConfig},
    input::Type,
    openapi, path,
};

/// The largest OpenAPI document, in bytes.
const DOCUMENT_MAX_BYTES: u64 = 32 << 20;
/// The deepest schema that a digest is taken over in canonical form.
const SCHEMA_MAX_DEPTH: usize = 512;

/// Why operations cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum RoutesError {
    /// An operation breaks a rule.
    #[error("operation `{operation}` {rule}")]
    Operation {
        /// Its name.
        operation: String,
        /// The rule.
        rule: String,
    },
    /// Two routes match the same requests.
    #[error("operations `{first}` and `{second}` have routes that match the same requests")]
    Ambiguous {
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
    /// The OpenAPI document cannot be read.
    #[error("cannot use `{}`: {message}", file.display())]
    Document {
        /// The file.
        file: PathBuf,
        /// Why.
        message: String,
    },
    /// A review names an operation that the document does not have.
    #[error("`review` names `{operation}`, which is no operation of the document")]
    ReviewUnknown {
        /// The name.
        operation: String,
    },
}

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

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Parameter(String),
}

#[derive(Debug, Clone)]
struct Route {
    operation: Operation,
    method: Method,
    parts: Vec<Part>,
    types: BTreeMap<String, Type>,
    body: BodyRule,
}

/// The declared operations of one application.
#[derive(Debug, Clone)]
pub struct Routes {
    /// By method and number of segments; the more specific first.
    routes: HashMap<(Method, usize), Vec<Route>>,
    warnings: Vec<String>,
}

/// The operation that a request is.
#[derive(Debug, Clone)]
pub struct Match<'r> {
    route: &'r Route,
    /// Path parameters, decoded.
    pub(super) path: Vec<(&'r str, String)>,
}

impl Routes {
    /// Checks and loads operations. A relative file name starts at `folder`.
    ///
    /// # Errors
    /// [`RoutesError`] names the operation and the rule.
    pub fn load(config: &OperationsConfig, folder: &Path) -> Result<Self, RoutesError> {
        match config {
            OperationsConfig::Routes(operations) => {
                let routes = operations.iter().map(|(name, operation)| {
                    definition(name, operation)
                        .and_then(Route::new)
                        .map_err(|rule| RoutesError::Operation { operation: name.clone(), rule })
                });
                Self::of(routes.collect::<Result<_, _>>()?, Vec::new())
            }
            OperationsConfig::Openapi(document) => {
                let file = folder.join(&document.file);
                let failed = |message| RoutesError::Document { file: file.clone(), message };
                let mut found = read(&file).and_then(|text| openapi::read(&text)).map_err(failed)?;
                review(&mut found.definitions, &document.review)?;
                let mut routes = Vec::new();
                for definition in found.definitions {
                    let name = definition.name.clone();
                    match Route::new(definition) {
                        Ok(route) => routes.push(route),
                        Err(rule) => found.warnings.push(format!("`{name}` is left out: it {rule}")),
                    }
                }
                Self::of(routes, found.warnings)
            }
        }
    }

    fn of(checked: Vec<Route>, warnings: Vec<String>) -> Result<Self, RoutesError> {
        let mut names = HashSet::new();
        let mut routes: HashMap<(Method, usize), Vec<Route>> = HashMap::new();
        for route in checked {
            let name = route.operation.name.to_string();
            if !names.insert(name.clone()) {
                return Err(RoutesError::Operation { operation: name, rule: "is there twice".into() });
            }
            let alike = routes.entry((route.method, route.parts.len())).or_default();
            if let Some(other) = alike.iter().find(|other| other.shape().eq(route.shape())) {
                let first = other.operation.name.to_string();
                return Err(RoutesError::Ambiguous { first, second: name });
            }
            alike.push(route);
        }
        for alike in routes.values_mut() {
            // From left to right, a literal before a parameter: `/repos/search` before `/repos/{name}`.
            alike.sort_by(|a, b| a.shape().map(|part| part.is_none()).cmp(b.shape().map(|part| part.is_none())));
        }
        Ok(Self { routes, warnings })
    }

    /// All operations, in order of their names.
    #[must_use]
    pub fn operations(&self) -> Vec<Operation> {
        let mut operations: Vec<Operation> = self.iter().map(|route| route.operation.clone()).collect();
        operations.sort_by(|a, b| a.name.cmp(&b.name));
        operations
    }

    /// What the OpenAPI document has and is left out, and why; one sentence each, for the operator.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The operation that a request is. `path` is the part below the application, as it came, without the query.
    ///
    /// # Errors
    /// [`Denial::PathInvalid`] when it is not in its normal form; [`Denial::OperationUnknown`] when it is no declared
    /// path, or the path of another method: which methods exist is as secret as which paths.
    pub fn matching(&self, method: Method, path: &str) -> Result<Match<'_>, Denial> {
        let segments = path::segments(path)?;
        let alike = self.routes.get(&(method, segments.len())).map(Vec::as_slice).unwrap_or_default();
        alike.iter().find_map(|route| route.matches(&segments)).ok_or(Denial::OperationUnknown)
    }

    fn iter(&self) -> impl Iterator<Item = &Route> {
        self.routes.values().flatten()
    }
}

impl<'r> Match<'r> {
    /// The operation.
    #[must_use]
    pub fn operation(&self) -> &'r Operation {
        &self.route.operation
    }

    /// What its body may be.
    #[must_use]
    pub fn body(&self) -> BodyRule {
        self.route.body
    }

    /// The declared type of a path or query parameter.
    pub(super) fn type_of(&self, parameter: &str) -> Type {
        self.route.types.get(parameter).copied().unwrap_or_default()
    }
}

impl Route {
    fn new(definition: Definition) -> Result<Self, String> {
        check_name(&definition.name)?;
        let parts = parse_template(&definition.path)?;
        let parameters = parameters(&parts)?;
        if let Some(unknown) = definition.path_schemas.keys().find(|name| !parameters.contains(&name.as_str())) {
            return Err(format!("has a schema for `{unknown}`, which is not in its path"));
        }
        let mut arguments = Arguments::default();
        for name in &parameters {
            arguments.add_scalar(name, definition.path_schemas.get(*name))?;
            arguments.required.push((*name).to_owned());
        }
        for (name, schema) in &definition.query_schemas {
            arguments.add_scalar(name, Some(schema))?;
        }
        arguments.required.extend(definition.required.iter().cloned());
        let body = arguments.add_body(definition.body.as_ref(), definition.method)?;
        let types = std::mem::take(&mut arguments.types);
        let operation = operation(&definition, arguments.schema(), body);
        Ok(Self { operation, method: definition.method, parts, types, body })
    }

    /// The literal at each place, or none for a parameter. Two routes of the same shape match the same requests.
    fn shape(&self) -> impl Iterator<Item = Option<&str>> {
        self.parts.iter().map(|part| match part {
            Part::Literal(literal) => Some(literal.as_str()),
            Part::Parameter(_) => None,
        })
    }

    fn matches(&self, segments: &[String]) -> Option<Match<'_>> {
        let mut path = Vec::new();
        for (part, segment) in self.parts.iter().zip(segments) {
            match part {
                Part::Literal(literal) if literal == segment => {}
                Part::Literal(_) => return None,
                Part::Parameter(name) => path.push((name.as_str(), segment.clone())),
            }
        }
        Some(Match { route: self, path })
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
        let Some(properties) = schema.get("properties").and_then(Value::as_object).filter(|_| is_object) else {
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

fn definition(name: &str, config: &OperationConfig) -> Result<Definition, String> {
    let shape = "needs a `route` of a method and a path, as in `DELETE /repos/{name}`";
    let (method, path) = config.route.split_once(' ').ok_or(shape)?;
    Ok(Definition {
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

fn review(definitions: &mut [Definition], review: &BTreeMap<String, OperationReview>) -> Result<(), RoutesError> {
    for (name, review) in review {
        let found = definitions.iter_mut().find(|definition| definition.name == *name);
        let definition = found.ok_or_else(|| RoutesError::ReviewUnknown { operation: name.clone() })?;
        definition.effect = review.effect;
        definition.scopes.extend(review.scopes.iter().cloned());
    }
    Ok(())
}

fn read(file: &Path) -> Result<String, String> {
    let size = std::fs::metadata(file).map_err(|error| error.to_string())?.len();
    if size > DOCUMENT_MAX_BYTES {
        return Err("it is larger than 32 MiB".into());
    }
    std::fs::read_to_string(file).map_err(|error| error.to_string())
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

fn parse_template(template: &str) -> Result<Vec<Part>, String> {
    let rest = template.strip_prefix('/').ok_or("needs a path that begins with a slash")?;
    if rest.is_empty() {
        return Ok(Vec::new());
    }
    rest.split('/')
        .map(|segment| match segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some(name) if !name.is_empty() && !name.contains(['{', '}']) => Ok(Part::Parameter(name.to_owned())),
            Some(_) => Err(format!("has a malformed parameter in the segment `{segment}`")),
            None => path::decode(segment).map(Part::Literal).ok_or_else(|| {
                format!("has the segment `{segment}`, which is neither a parameter nor in its normal form")
            }),
        })
        .collect()
}

fn parameters(parts: &[Part]) -> Result<Vec<&str>, String> {
    let mut names = Vec::new();
    for part in parts {
        match part {
            Part::Parameter(name) if names.contains(&name.as_str()) => {
                return Err(format!("has the parameter `{name}` twice in its path"));
            }
            Part::Parameter(name) => names.push(name.as_str()),
            Part::Literal(_) => {}
        }
    }
    Ok(names)
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

    fn load(routes: &str) -> Result<Routes, RoutesError> {
        let config: OperationsConfig = serde_saphyr::from_str(&format!("routes: {routes}")).unwrap();
        Routes::load(&config, Path::new(""))
    }

    fn found(routes: &Routes, method: Method, path: &str) -> Result<String, Denial> {
        routes.matching(method, path).map(|found| found.operation().name.to_string())
    }

    #[test]
    fn a_literal_wins_over_a_parameter_from_left_to_right() {
        let routes = load(
            "{ root: { route: GET / }, one: { route: 'GET /repos/{name}' }, search: { route: GET /repos/search }, \
             a: { route: 'GET /{x}/b/{y}' }, b: { route: 'GET /a/{x}/c' }, c: { route: 'GET /{x}/b/c' } }",
        )
        .unwrap();
        for (path, name) in [
            ("/", "root"),
            ("/repos/x", "one"),
            ("/repos/search", "search"),
            ("/repos/se%61rch", "search"),
            ("/repos/Search", "one"),
            ("/z/b/z", "a"),
            ("/a/b/c", "b"),
            ("/z/b/c", "c"),
        ] {
            assert_eq!(found(&routes, Method::Get, path).as_deref(), Ok(name), "{path}");
        }
    }

    #[test]
    fn an_undeclared_path_and_an_undeclared_method_look_the_same() {
        let routes = load("{ list: { route: GET /repos } }").unwrap();
        for (method, path) in [
            (Method::Get, "/admin"),
            (Method::Get, "/repos/x"),
            (Method::Get, "/"),
            (Method::Delete, "/repos"),
            (Method::Head, "/repos"),
            (Method::Options, "/repos"),
        ] {
            assert_eq!(found(&routes, method, path), Err(Denial::OperationUnknown), "{path}");
        }
        assert_eq!(found(&routes, Method::Get, "/repos/../admin"), Err(Denial::PathInvalid));
    }

    #[test]
    fn routes_that_match_the_same_requests_are_refused() {
        let bad = load("{ a: { route: 'GET /x/{a}' }, b: { route: 'GET /x/{b}' } }");
        assert!(matches!(bad, Err(RoutesError::Ambiguous { .. })));
        let good = load("{ a: { route: 'GET /x/{a}' }, b: { route: 'PUT /x/{b}' }, c: { route: 'GET /y/{b}' } }");
        assert_eq!(good.unwrap().operations().len(), 3);
    }

    #[test]
    fn a_malformed_operation_is_refused_and_named() {
        for (bad, rule) in [
            ("{ route: /repos }", "method and a path"),
            ("{ route: 'TRACE /repos' }", "method and a path"),
            ("{ route: 'get /repos' }", "method and a path"),
            ("{ route: GET repos }", "begins with a slash"),
            ("{ route: GET /repos/ }", "normal form"),
            ("{ route: GET /a/../b }", "normal form"),
            ("{ route: 'GET /a/{b}.json' }", "normal form"),
            ("{ route: 'GET /a/{}' }", "malformed parameter"),
            ("{ route: 'GET /{a}/{a}' }", "twice in its path"),
            ("{ route: 'GET /{a}', query: { a: { type: string } } }", "two arguments"),
            ("{ route: 'PUT /{a}', body: { json: { type: object, properties: { a: {} } } } }", "two arguments"),
            ("{ route: 'PUT /{body}', body: { json: { type: array } } }", "two arguments"),
            ("{ route: GET /a, path: { b: {} } }", "not in its path"),
            ("{ route: GET /a, body: { json: {} } }", "cannot have a JSON body"),
        ] {
            match load(&format!("{{ op: {bad} }}")) {
                Err(error) => assert!(error.to_string().contains("`op`") && error.to_string().contains(rule), "{error}"),
                Ok(_) => panic!("{bad} was accepted"),
            }
        }
        assert!(load("{ 'a b': { route: GET /a } }").is_err());
        assert!(serde_saphyr::from_str::<OperationsConfig>("routes: { a: { route: GET /a, efect: read } }").is_err());
    }

    #[test]
    fn an_operation_has_its_merged_schema_and_a_digest_that_notices_changes() {
        let one = |text: &str| load(&format!("{{ op: {text} }}")).unwrap().operations().remove(0);
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
        assert_eq!((operation.effect, operation.risk, operation.pinned), (Effect::Read, Risk::Reviewed, true));
        assert!(operation.scopes.contains("repo"));
        let base = one("{ route: POST /a }");
        assert_eq!((base.effect, base.risk), (Effect::Write, Risk::Claimed));
        assert_eq!(base.definition_digest, one("{ route: POST /a, scopes: [x] }").definition_digest);
        for changed in ["{ route: POST /b }", "{ route: PUT /a }", "{ route: POST /a, body: opaque }", "{ route: POST /a, query: { q: {} } }"] {
            assert_ne!(base.definition_digest, one(changed).definition_digest, "{changed}");
        }
    }
}
