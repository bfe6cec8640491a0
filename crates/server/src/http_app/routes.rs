use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
};

use vestibule_model::{Denial, Method, Operation, fold};

use super::{
    config::{OperationReview, OperationsConfig},
    input::Type,
    openapi,
    operation::{BodyRule, Declared, Definition},
    path,
};

/// The largest OpenAPI document, in bytes.
const DOCUMENT_MAX_BYTES: u64 = 32 << 20;

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

/// An operation of a document that can't be used.
pub(super) struct LeftOut {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) reason: String,
}

impl LeftOut {
    fn warning(&self) -> String {
        format!("{} {} is left out: {}", self.method.as_str(), self.path, self.reason)
    }
}

/// One segment of a route.
#[derive(Debug, Clone)]
enum Part {
    Literal(String),
    /// Begins and ends like this: a parameter within a segment, which no operation has and a left-out one may.
    Pattern(String, String),
    Parameter(String),
}

impl Part {
    fn resembles(&self, segment: &str) -> bool {
        match self {
            Self::Literal(literal) => {
                let mut rest = fold(segment);
                fold(literal).all(|c| rest.next() == Some(c)) && matches!(rest.next(), None | Some('.'))
            }
            Self::Pattern(prefix, suffix) => {
                let folded = |text: &str| fold(text).collect::<String>();
                let segment = folded(segment);
                segment.starts_with(&folded(prefix)) && segment.ends_with(&folded(suffix))
            }
            Self::Parameter(_) => true,
        }
    }
}

#[derive(Debug, Clone)]
struct Route {
    method: Method,
    parts: Vec<Part>,
    /// None for an operation that was left out: its requests must not be taken for those of a less specific one.
    declared: Option<Declared>,
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
    declared: &'r Declared,
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
                    Definition::of(name, operation)
                        .and_then(|definition| Route::new(&definition))
                        .map_err(|rule| RoutesError::Operation { operation: name.clone(), rule })
                });
                Self::of(routes.collect::<Result<_, _>>()?, Vec::new())
            }
            OperationsConfig::Openapi(document) => {
                let file = folder.join(&document.file);
                let failed = |message| RoutesError::Document { file: file.clone(), message };
                let mut found = read(&file).and_then(|text| openapi::read(&text)).map_err(failed)?;
                review(&mut found.definitions, &document.review)?;
                Self::lenient(found)
            }
        }
    }

    /// The operations of a document, less those that break a rule. A left-out one keeps its place.
    fn lenient(found: openapi::Found) -> Result<Self, RoutesError> {
        let mut left_out = found.left_out;
        let mut routes = Vec::new();
        for definition in found.definitions {
            match Route::new(&definition) {
                Ok(route) => routes.push(route),
                Err(rule) => left_out.push(LeftOut {
                    method: definition.method,
                    path: definition.path,
                    reason: format!("it {rule}"),
                }),
            }
        }
        routes.extend(left_out.iter().filter_map(Route::closed));
        Self::of(routes, left_out.iter().map(LeftOut::warning).collect())
    }

    fn of(checked: Vec<Route>, warnings: Vec<String>) -> Result<Self, RoutesError> {
        let mut names = HashSet::new();
        let mut routes: HashMap<(Method, usize), Vec<Route>> = HashMap::new();
        for route in checked {
            let name = route.name();
            if route.declared.is_some() && !names.insert(name.clone()) {
                return Err(RoutesError::Operation { operation: name, rule: "is there twice".into() });
            }
            let alike = routes.entry((route.method, route.parts.len())).or_default();
            if let Some(other) = alike.iter().find(|other| other.shape().eq(route.shape())) {
                return Err(RoutesError::Ambiguous { first: other.name(), second: name });
            }
            alike.push(route);
        }
        for alike in routes.values_mut() {
            // From left to right, a literal before a parameter: `/repos/search` before `/repos/{name}`.
            alike.sort_by(|a, b| a.shape().cmp(b.shape()));
        }
        Ok(Self { routes, warnings })
    }

    /// All operations, in order of their names.
    #[must_use]
    pub fn operations(&self) -> Vec<Operation> {
        let declared = self.routes.values().flatten().filter_map(|route| route.declared.as_ref());
        let mut operations: Vec<Operation> = declared.map(|declared| declared.operation.clone()).collect();
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
    /// [`Denial::PathInvalid`] when it is not in its normal form, or some routers would take it for another route, of
    /// whichever method; [`Denial::OperationUnknown`] when it is no declared path, or the path of another method: which
    /// methods exist is as secret as which paths.
    pub fn matching(&self, method: Method, path: &str) -> Result<Match<'_>, Denial> {
        let segments = path::segments(path)?;
        let alike = self.routes.get(&(method, segments.len())).map(Vec::as_slice).unwrap_or_default();
        let route = alike.iter().find(|route| route.matches(&segments)).ok_or(Denial::OperationUnknown)?;
        let declared = route.declared.as_ref().ok_or(Denial::OperationUnknown)?;
        let mut siblings = self.routes.iter().filter(|((_, length), _)| *length == segments.len());
        if siblings.any(|(_, routes)| routes.iter().any(|other| other.could_take(&segments, route))) {
            return Err(Denial::PathInvalid);
        }
        Ok(Match { declared, path: route.parameters(segments) })
    }
}

impl<'r> Match<'r> {
    /// The operation.
    #[must_use]
    pub fn operation(&self) -> &'r Operation {
        &self.declared.operation
    }

    /// What its body may be.
    #[must_use]
    pub fn body(&self) -> BodyRule {
        self.declared.body
    }

    /// The declared type of a path or query parameter.
    pub(super) fn type_of(&self, parameter: &str) -> Type {
        self.declared.types.get(parameter).copied().unwrap_or_default()
    }
}

impl Route {
    fn new(definition: &Definition) -> Result<Self, String> {
        let parts = parse_template(&definition.path)?;
        let declared = definition.declare(&parameter_names(&parts)?)?;
        Ok(Self { method: definition.method, parts, declared: Some(declared) })
    }

    /// Takes the place of an operation that was left out. None when no request in its normal form could be one.
    fn closed(left_out: &LeftOut) -> Option<Self> {
        let rest = left_out.path.strip_prefix('/')?;
        let parts = rest.split('/').map(|segment| match (segment.find('{'), segment.rfind('}')) {
            (Some(open), Some(close)) if open < close => {
                let (prefix, suffix) =
                    (segment.get(..open)?.to_owned(), segment.get(close + 1..)?.to_owned());
                let is_whole = prefix.is_empty() && suffix.is_empty();
                Some(if is_whole {
                    Part::Parameter(segment.to_owned())
                } else {
                    Part::Pattern(prefix, suffix)
                })
            }
            (_, _) => path::decode(segment).map(Part::Literal),
        });
        Some(Self { method: left_out.method, parts: parts.collect::<Option<_>>()?, declared: None })
    }

    fn name(&self) -> String {
        self.declared
            .as_ref()
            .map_or_else(|| "(left out)".into(), |declared| declared.operation.name.to_string())
    }

    /// Two routes of the same shape match the same requests, whatever their parameters are called.
    fn shape(&self) -> impl Iterator<Item = (u8, &str, &str)> {
        self.parts.iter().map(|part| match part {
            Part::Literal(literal) => (0, literal.as_str(), ""),
            Part::Pattern(prefix, suffix) => (1, prefix.as_str(), suffix.as_str()),
            Part::Parameter(_) => (2, "", ""),
        })
    }

    fn matches(&self, segments: &[String]) -> bool {
        self.parts.iter().zip(segments).all(|(part, segment)| match part {
            Part::Literal(literal) => literal == segment,
            Part::Pattern(prefix, suffix) => segment.starts_with(prefix) && segment.ends_with(suffix),
            Part::Parameter(_) => true,
        })
    }

    /// Whether some routers would take a request of `route` for this one: it has a name where `route` has a parameter,
    /// and fits as a router reads it that ignores case or cuts a format off (`/users/export.json`).
    fn could_take(&self, segments: &[String], route: &Self) -> bool {
        let is_name = |part: &Part| match part {
            Part::Literal(_) => true,
            Part::Pattern(prefix, suffix) => !(prefix.is_empty() && suffix.is_empty()),
            Part::Parameter(_) => false,
        };
        let mut pairs = self.parts.iter().zip(&route.parts);
        pairs.any(|(own, other)| is_name(own) && matches!(other, Part::Parameter(_)))
            && self.parts.iter().zip(segments).all(|(part, segment)| part.resembles(segment))
    }

    fn parameters(&self, segments: Vec<String>) -> Vec<(&str, String)> {
        let named = self.parts.iter().zip(segments).filter_map(|(part, segment)| match part {
            Part::Parameter(name) => Some((name.as_str(), segment)),
            Part::Literal(_) | Part::Pattern(_, _) => None,
        });
        named.collect()
    }
}

fn review(
    definitions: &mut [Definition],
    review: &BTreeMap<String, OperationReview>,
) -> Result<(), RoutesError> {
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

fn parse_template(template: &str) -> Result<Vec<Part>, String> {
    let rest = template.strip_prefix('/').ok_or("needs a path that begins with a slash")?;
    if rest.is_empty() {
        return Ok(Vec::new());
    }
    rest.split('/')
        .map(|segment| match segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some(name) if !name.is_empty() && !name.contains(['{', '}']) => {
                Ok(Part::Parameter(name.to_owned()))
            }
            Some(_) => Err(format!("has a malformed parameter in the segment `{segment}`")),
            None => path::decode(segment).map(Part::Literal).ok_or_else(|| {
                format!("has the segment `{segment}`, which is neither a parameter nor in its normal form")
            }),
        })
        .collect()
}

fn parameter_names(parts: &[Part]) -> Result<Vec<&str>, String> {
    let mut names = Vec::new();
    for part in parts {
        match part {
            Part::Parameter(name) if names.contains(&name.as_str()) => {
                return Err(format!("has the parameter `{name}` twice in its path"));
            }
            Part::Parameter(name) => names.push(name.as_str()),
            Part::Literal(_) | Part::Pattern(_, _) => {}
        }
    }
    Ok(names)
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
            ("/z/b/z", "a"),
            ("/a/z/c", "b"),
            ("/z/b/c", "c"),
        ] {
            assert_eq!(found(&routes, Method::Get, path).as_deref(), Ok(name), "{path}");
        }
    }

    #[test]
    fn a_segment_that_some_routers_take_for_a_name_is_no_parameter() {
        let routes = load(
            "{ one: { route: 'GET /users/{id}' }, export: { route: GET /users/export }, log: { route: POST /users/Login }, \
             keys: { route: 'GET /users/{id}/keys' }, own: { route: GET /users/me/keys }, all: { route: 'GET /{x}/b/keys' } }",
        )
        .unwrap();
        for path in [
            "/users/Export",
            "/users/e%58port",
            "/users/export.json",
            "/users/EXPORT.",
            "/users/login",
            "/users/Login",
            "/users/me.xml/keys",
            "/users/b/keys",
        ] {
            assert_eq!(found(&routes, Method::Get, path), Err(Denial::PathInvalid), "{path}");
        }
        for (path, name) in [
            ("/users/export", "export"),
            ("/users/exports", "one"),
            ("/users/a.export", "one"),
            ("/users/me", "one"),
            ("/users/me/keys", "own"),
            ("/users/export/keys", "keys"),
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
        let good =
            load("{ a: { route: 'GET /x/{a}' }, b: { route: 'PUT /x/{b}' }, c: { route: 'GET /y/{b}' } }");
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
            (
                "{ route: 'PUT /{a}', body: { json: { type: object, properties: { a: {} } } } }",
                "two arguments",
            ),
            ("{ route: 'PUT /{body}', body: { json: { type: array } } }", "two arguments"),
            ("{ route: GET /a, path: { b: {} } }", "not in its path"),
            ("{ route: GET /a, body: { json: {} } }", "cannot have a JSON body"),
        ] {
            match load(&format!("{{ op: {bad} }}")) {
                Err(error) => {
                    assert!(error.to_string().contains("`op`") && error.to_string().contains(rule), "{error}")
                }
                Ok(_) => panic!("{bad} was accepted"),
            }
        }
        assert!(load("{ 'a b': { route: GET /a } }").is_err());
        assert!(
            serde_saphyr::from_str::<OperationsConfig>("routes: { a: { route: GET /a, efect: read } }")
                .is_err()
        );
    }
}
