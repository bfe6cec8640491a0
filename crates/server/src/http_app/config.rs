use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vestibule_model::Effect;

/// The operations of an HTTP application: `routes: {…}` or `openapi: {…}`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum OperationsConfig {
    /// Written here, by name.
    Routes(BTreeMap<String, OperationConfig>),
    /// Taken from an OpenAPI document.
    Openapi(OpenApiConfig),
}

/// One operation. Its name is its key: what policies call it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OperationConfig {
    /// Method and path, as in `DELETE /repos/{name}`. A parameter is one whole segment.
    pub route: String,
    /// What it does, for people.
    #[serde(default)]
    pub description: String,
    /// `read`, `write` or `destroy`. By default told from the method: GET, HEAD and OPTIONS read, DELETE destroys, the
    /// others write.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub effect: Option<Effect>,
    /// A token must hold one of these scopes; none by default.
    #[serde(default)]
    pub scopes: BTreeSet<String>,
    /// JSON Schemas of path parameters; strings by default.
    #[serde(default)]
    pub path: BTreeMap<String, Value>,
    /// JSON Schemas of query parameters. One that is not here is refused.
    #[serde(default)]
    pub query: BTreeMap<String, Value>,
    /// The body. Without it the request must have none.
    #[serde(default)]
    pub body: Option<BodyConfig>,
}

/// The body of a request: `json: {…}` or `opaque`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum BodyConfig {
    /// JSON of this JSON Schema. The properties of an object become arguments; any other value becomes the argument
    /// `body`.
    Json(Value),
    /// Anything: streamed, and invisible to policy.
    Opaque,
}

/// Operations from an OpenAPI 3.0 or 3.1 document.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenApiConfig {
    /// The document, JSON or YAML, relative to this file. At most 32 MiB.
    pub file: PathBuf,
    /// What the operator knows better than the document, by operation.
    #[serde(default)]
    pub review: BTreeMap<String, OperationReview>,
}

/// The operator's review of one operation.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OperationReview {
    /// `read`, `write` or `destroy`.
    #[schemars(with = "Option<String>")]
    pub effect: Option<Effect>,
    /// A token must hold one of these scopes.
    pub scopes: BTreeSet<String>,
}
