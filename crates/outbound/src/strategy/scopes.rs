use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vestibule_model::OperationId;

/// Which scopes are asked for: those of the operation, else the default ones, else none. The least that the operation
/// needs is the least that a token can be abused for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScopesConfig {
    /// For operations that have none of their own, and for the gateway's own questions.
    pub default: BTreeSet<String>,
    /// By operation: a tool's name, an HTTP operation's id, or the MCP method.
    pub operations: BTreeMap<String, BTreeSet<String>>,
}

/// The scopes, shared with every token that has them.
#[derive(Debug)]
pub(crate) struct Scopes {
    default: Arc<BTreeSet<String>>,
    operations: BTreeMap<String, Arc<BTreeSet<String>>>,
}

impl Scopes {
    pub(crate) fn new(config: ScopesConfig) -> Self {
        let operations = config.operations.into_iter().map(|(name, scopes)| (name, Arc::new(scopes)));
        Self { default: Arc::new(config.default), operations: operations.collect() }
    }

    /// Those of an operation; none: of a question of the gateway's own.
    pub(crate) fn of(&self, operation: Option<&OperationId>) -> Arc<BTreeSet<String>> {
        let own = operation.and_then(|operation| self.operations.get(&*operation.name));
        Arc::clone(own.unwrap_or(&self.default))
    }

    /// All that may ever be asked for.
    pub(crate) fn all(&self) -> Vec<&String> {
        let all: BTreeSet<&String> =
            self.default.iter().chain(self.operations.values().flat_map(|scopes| scopes.iter())).collect();
        all.into_iter().collect()
    }
}
