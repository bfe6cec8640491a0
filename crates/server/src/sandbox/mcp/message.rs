//! JSON-RPC 2.0: one message in, one answer out.

use ::http::StatusCode;
use axum::{Json, response::Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(super) const INVALID_REQUEST: i32 = -32600;
pub(super) const METHOD_NOT_FOUND: i32 = -32601;
pub(super) const INVALID_PARAMS: i32 = -32602;
const PARSE_ERROR: i32 = -32700;

/// The id of a request; a progress token has the same form.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Id {
    Number(i64),
    Text(String),
}

#[derive(Debug)]
pub(super) enum Message {
    Request { id: Id, method: String, params: Value },
    Notification { method: String, params: Value },
    Response,
}

#[derive(Deserialize)]
struct Envelope {
    jsonrpc: String,
    id: Option<Id>,
    method: Option<String>,
    #[serde(default)]
    params: Value,
}

impl Message {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Failure> {
        let json: Value =
            serde_json::from_slice(body).map_err(|_| Failure::new(PARSE_ERROR, "the body is not JSON"))?;
        let not_a_message = || Failure::new(INVALID_REQUEST, "the body is not one JSON-RPC 2.0 message");
        let Envelope { jsonrpc, id, method, params } =
            serde_json::from_value(json).map_err(|_| not_a_message())?;
        if jsonrpc != "2.0" || !(params.is_null() || params.is_object()) {
            return Err(not_a_message());
        }
        match (id, method) {
            (Some(id), Some(method)) => Ok(Self::Request { id, method, params }),
            (None, Some(method)) => Ok(Self::Notification { method, params }),
            (Some(_), None) => Ok(Self::Response),
            (None, None) => Err(not_a_message()),
        }
    }

    pub(super) fn params(&self) -> &Value {
        match self {
            Self::Request { params, .. } | Self::Notification { params, .. } => params,
            Self::Response => &Value::Null,
        }
    }
}

/// The answer to a request that went well.
pub(super) fn success(id: &Id, result: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "result": result })
}

/// A JSON-RPC error.
#[derive(Debug)]
pub(super) struct Failure {
    code: i32,
    message: String,
    data: Option<Value>,
}

impl Failure {
    pub(super) fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    pub(super) fn with_data(mut self, data: Value) -> Self {
        self.data = Some(data);
        self
    }

    /// The HTTP status that goes with it in 2026-07-28.
    pub(super) fn status(&self) -> StatusCode {
        if self.code == METHOD_NOT_FOUND { StatusCode::NOT_FOUND } else { StatusCode::BAD_REQUEST }
    }

    pub(super) fn answer(self, id: Option<&Id>) -> Json<Value> {
        let mut error = json!({ "code": self.code, "message": self.message });
        if let (Some(data), Some(error)) = (self.data, error.as_object_mut()) {
            error.insert("data".to_owned(), data);
        }
        Json(json!({ "jsonrpc": "2.0", "id": id, "error": error }))
    }
}

/// What a request gets: a response, or a failure for the era to put into one.
pub(super) type Handled = Result<Response, Failure>;
