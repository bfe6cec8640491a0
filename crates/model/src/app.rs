use std::{collections::BTreeSet, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::Malformed;

/// The identifier of an application: `[a-z][a-z0-9-]{0,31}`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct AppId(Arc<str>);

impl AppId {
    /// # Errors
    /// When the text does not follow the grammar above.
    pub fn new(text: &str) -> Result<Self, Malformed> {
        let bytes = text.as_bytes();
        let good = matches!(bytes.first(), Some(b'a'..=b'z'))
            && bytes.len() <= 32
            && bytes.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if good {
            Ok(Self(text.into()))
        } else {
            Err(Malformed { what: "application id", rule: "must match `[a-z][a-z0-9-]{0,31}`" })
        }
    }

    /// The identifier as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for AppId {
    type Error = Malformed;
    fn try_from(text: String) -> Result<Self, Malformed> {
        Self::new(&text)
    }
}

impl Serialize for AppId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// How an application is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AppKind {
    /// A Model Context Protocol server over streamable HTTP.
    Mcp,
    /// A plain HTTP API.
    Http,
}

impl fmt::Display for AppKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mcp => "mcp",
            Self::Http => "http",
        })
    }
}

/// One operation of one application. In policies and federated names it is `{app}__{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperationId {
    /// The application.
    pub app: AppId,
    /// The name the application gives it, as it stands on the wire.
    pub name: Arc<str>,
}

impl OperationId {
    /// Pairs an application with one of its operations.
    #[must_use]
    pub fn new(app: AppId, name: &str) -> Self {
        Self { app, name: name.into() }
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}__{}", self.app, self.name)
    }
}

/// What an operation does to the application's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Changes nothing.
    Read,
    /// Adds or changes, without destroying.
    Write,
    /// May destroy; assumed where nothing is known.
    #[default]
    Destroy,
}

/// Who said what the [`Effect`] is: an annotation of the server is a claim, a review is a fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Risk {
    /// Taken over from the server's own annotations when first seen.
    Claimed,
    /// Set by the operator.
    Reviewed,
}

/// What can be done to an application: a tool, a resource read, a prompt or an HTTP operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// The name on the wire: a tool's name, an HTTP operation's id, or the MCP method (`resources/read`,
    /// `prompts/get`).
    pub name: Arc<str>,
    /// What the server or the operator says it does. Untrusted text.
    #[serde(default)]
    pub description: String,
    /// JSON Schema (2020-12) of its arguments, as given by the server or the configuration.
    pub input_schema: serde_json::Value,
    /// What it does to state.
    pub effect: Effect,
    /// Who says so.
    pub risk: Risk,
    /// A token must hold one of these for the operation; empty asks for none.
    #[serde(default)]
    pub scopes: BTreeSet<String>,
    /// SHA-256 (hex) over the definition as reviewed: name, title, description, schemas, annotations.
    pub definition_digest: String,
    /// False while the definition seen now differs from the one accepted.
    pub pinned: bool,
}
