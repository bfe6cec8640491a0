//! Exactly one JSON-RPC 2.0 message, as the decision, the forwarding and the record all see it.

use bytes::Bytes;
use vestibule_model::{
    Denial, Refusal, fold,
    json::{Json, JsonError, parse, parse_object_spans},
};

/// The longest identifier that is accepted, in bytes of its JSON text. It is echoed in errors.
pub const ID_MAX_BYTES: usize = 1024;

/// The identifier of a request: a string or an integer, kept as its JSON text so that it is echoed exactly. Two
/// identifiers are equal when their texts are: to find one by another, compare their [`canonical`](Self::canonical) forms.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Id(Box<str>);

impl Id {
    /// An integer identifier of the gateway's own requests.
    #[must_use]
    pub fn from_number(number: u32) -> Self {
        Self(number.to_string().into())
    }

    /// Its JSON text. One line, for JSON has no raw line breaks in strings.
    #[must_use]
    pub fn as_json(&self) -> &str {
        &self.0
    }

    /// The same identifier in the one spelling that all its spellings share: a client may escape a string once so and
    /// once otherwise.
    #[must_use]
    pub fn canonical(&self) -> Self {
        parse(self.0.as_bytes(), 1).ok().as_ref().and_then(Self::of).unwrap_or_else(|| self.clone())
    }

    /// The identifier that a value is, in its canonical form. None for what cannot be one: see [`ID_MAX_BYTES`].
    pub(crate) fn of(value: &Json) -> Option<Self> {
        let text = match value {
            Json::String(_) => value.canonical(),
            Json::Number(number) if is_integer(number.as_str()) => match number.as_str() {
                "-0" => "0".to_owned(),
                text => text.to_owned(),
            },
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => return None,
        };
        (text.len() <= ID_MAX_BYTES).then(|| Self(text.into()))
    }
}

/// Whether a number of JSON has neither a fraction nor an exponent.
fn is_integer(number: &str) -> bool {
    number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
}

/// Which of the three messages of JSON-RPC it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Wants an answer.
    Request {
        /// Its identifier.
        id: Id,
        /// Its method.
        method: String,
    },
    /// Wants none.
    Notification {
        /// Its method.
        method: String,
    },
    /// Answers a request of the other side.
    Response {
        /// The identifier of that request; an error may have none.
        id: Option<Id>,
        /// Whether it is an error.
        is_error: bool,
    },
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    kind: Kind,
    params: Option<Json>,
}

/// Why a body is not one acceptable message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not the JSON that this gateway reads.
    #[error("{0}")]
    Json(JsonError),
    /// An array of messages.
    #[error("batches exist only in protocol version 2025-03-26 and are not accepted; send one message")]
    Batch,
    /// JSON, but not a message. The text says which rule is broken.
    #[error("{0}")]
    NotAMessage(&'static str),
}

impl From<FrameError> for Refusal {
    fn from(error: FrameError) -> Self {
        let denial = match error {
            FrameError::Json(error) => error.into(),
            FrameError::Batch | FrameError::NotAMessage(_) => Denial::FrameInvalid,
        };
        let mut refusal = Self::new(denial, error);
        refusal.hints.push(error.to_string());
        refusal
    }
}

impl Frame {
    /// Reads exactly one message, at most `max_depth` arrays and objects deep.
    ///
    /// Members that JSON-RPC does not know are ignored here and forwarded as they came.
    ///
    /// # Errors
    /// [`FrameError`] says which rule is broken.
    pub fn parse(body: &Bytes, max_depth: usize) -> Result<Self, FrameError> {
        // MCP 2025-11-25 transports: "the body of the POST request MUST be a single JSON-RPC" message.
        if body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
            return Err(FrameError::Batch);
        }
        let members = parse_object_spans(body, max_depth).map_err(FrameError::Json)?;
        let names = members.iter().map(|(name, _, _)| name.as_str());
        if has_lookalike(names, &["jsonrpc", "id", "method", "params", "result", "error"]) {
            return Err(FrameError::NotAMessage("a member differs from one of JSON-RPC only in case"));
        }
        let mut parts = Parts::default();
        for (name, value, span) in members {
            match name.as_str() {
                "jsonrpc" => parts.version = value.as_str() == Some("2.0"),
                "id" => parts.id = Some(read_id(&value, body.get(span).unwrap_or_default())?),
                "method" => parts.method = Some(value),
                "params" => parts.params = Some(value),
                "result" => parts.has_result = true,
                "error" => parts.has_error = true,
                _ => {}
            }
        }
        parts.assemble()
    }

    /// Which message it is.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The method, of a request or a notification.
    #[must_use]
    pub fn method(&self) -> Option<&str> {
        match &self.kind {
            Kind::Request { method, .. } | Kind::Notification { method } => Some(method),
            Kind::Response { .. } => None,
        }
    }

    /// The identifier of a request: what an answer carries. None for a message that gets no answer.
    #[must_use]
    pub fn request_id(&self) -> Option<&Id> {
        match &self.kind {
            Kind::Request { id, .. } => Some(id),
            Kind::Notification { .. } | Kind::Response { .. } => None,
        }
    }

    /// The parameters: an object, if there are any.
    #[must_use]
    pub fn params(&self) -> Option<&Json> {
        self.params.as_ref()
    }

    /// One parameter.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&Json> {
        self.params()?.get(name)
    }

    /// One parameter, taken out: arguments can be large.
    #[must_use]
    pub fn into_param(self, name: &str) -> Option<Json> {
        let Some(Json::Object(members)) = self.params else { return None };
        members.into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The name of the tool that it calls, if it does.
    #[must_use]
    pub fn tool(&self) -> Option<&str> {
        self.param("name").filter(|_| self.method() == Some("tools/call"))?.as_str()
    }

    /// One member of `params._meta`.
    #[must_use]
    pub fn meta(&self, key: &str) -> Option<&Json> {
        self.param("_meta")?.get(key)
    }
}

#[derive(Default)]
struct Parts {
    version: bool,
    id: Option<Option<Id>>,
    method: Option<Json>,
    params: Option<Json>,
    has_result: bool,
    has_error: bool,
}

impl Parts {
    fn assemble(self) -> Result<Frame, FrameError> {
        if !self.version {
            return Err(FrameError::NotAMessage("`jsonrpc` must be \"2.0\""));
        }
        if let Some(params) = &self.params {
            let members = params.as_object().ok_or(FrameError::NotAMessage("`params` must be an object"))?;
            // The parameters that decide which operation is called, with which arguments, or which request is called off.
            let reserved = ["name", "arguments", "uri", "ref", "_meta", "notifications", "task", "requestId"];
            if has_lookalike(members.iter().map(|(name, _)| name.as_str()), &reserved) {
                return Err(FrameError::NotAMessage("a parameter differs from a known one only in case"));
            }
        }
        let kind = match (self.method, self.has_result, self.has_error) {
            (Some(Json::String(method)), false, false) => match self.id {
                Some(Some(id)) => Kind::Request { id, method },
                Some(None) => return Err(FrameError::NotAMessage("the `id` of a request must not be null")),
                None => Kind::Notification { method },
            },
            (Some(_), false, false) => return Err(FrameError::NotAMessage("`method` must be a string")),
            (None, true, false) => match self.id {
                Some(Some(id)) => Kind::Response { id: Some(id), is_error: false },
                Some(None) | None => return Err(FrameError::NotAMessage("a result must have an `id`")),
            },
            (None, false, true) => Kind::Response { id: self.id.flatten(), is_error: true },
            (_, _, _) => {
                return Err(FrameError::NotAMessage(
                    "a message has exactly one of `method`, `result` and `error`",
                ));
            }
        };
        Ok(Frame { kind, params: self.params })
    }
}

/// None for `null`, which only an error response may have.
fn read_id(value: &Json, text: &[u8]) -> Result<Option<Id>, FrameError> {
    let fault = FrameError::NotAMessage("`id` must be a string or an integer of at most 1024 bytes");
    let is_good = match value {
        Json::Null => return Ok(None),
        Json::String(_) => true,
        Json::Number(number) => is_integer(number.as_str()),
        Json::Bool(_) | Json::Array(_) | Json::Object(_) => false,
    };
    match std::str::from_utf8(text) {
        Ok(text) if is_good && text.len() <= ID_MAX_BYTES => Ok(Some(Id(text.into()))),
        Ok(_) | Err(_) => Err(fault),
    }
}

/// Whether a name is not one of `reserved` but would be taken for it by a decoder that ignores case.
///
/// The attack: Go's `encoding/json` matches struct fields under simple case folding, and the last match wins.
/// `{"method":"tools/list","Method":"tools/call"}` would be decided as a list and executed as a call.
pub(crate) fn has_lookalike<'a>(mut names: impl Iterator<Item = &'a str>, reserved: &[&str]) -> bool {
    names.any(|name| !reserved.contains(&name) && reserved.iter().any(|word| fold(name).eq(fold(word))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Frame, FrameError> {
        Frame::parse(&Bytes::copy_from_slice(text.as_bytes()), 16)
    }

    #[test]
    fn a_request_keeps_its_id_as_written() {
        for id in ["1", "-7", "\"a\"", r#""\u0061\n""#, "12345678901234567890123"] {
            let frame = parse(&format!(r#"{{"jsonrpc":"2.0","id": {id} ,"method":"ping"}}"#)).unwrap();
            assert_eq!(frame.request_id().map(Id::as_json), Some(id));
            assert_eq!(frame.method(), Some("ping"));
        }
    }

    #[test]
    fn the_three_kinds_are_told_apart() {
        let notification = parse(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).unwrap();
        assert_eq!(notification.kind(), &Kind::Notification { method: "notifications/initialized".into() });
        let result = parse(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#).unwrap();
        assert_eq!(result.kind(), &Kind::Response { id: Some(Id::from_number(1)), is_error: false });
        let error = parse(r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}"#).unwrap();
        assert_eq!(error.kind(), &Kind::Response { id: None, is_error: true });
        assert_eq!(error.request_id(), None);
    }

    #[test]
    fn what_is_not_exactly_one_message_is_refused() {
        for text in [
            r#"{"id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1e2,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":[1],"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","error":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#,
            r#"{"jsonrpc":"2.0","result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1}"#,
        ] {
            let refusal = Refusal::from(parse(text).unwrap_err());
            assert_eq!(refusal.denial, Denial::FrameInvalid, "{text}");
        }
        assert!(parse(&format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"m"}}"#, "x".repeat(1025))).is_err());
    }

    #[test]
    fn a_batch_is_refused_with_the_way_out() {
        let refusal = Refusal::from(parse(r#" [{"jsonrpc":"2.0","method":"a"}]"#).unwrap_err());
        assert_eq!(refusal.denial, Denial::FrameInvalid);
        assert!(refusal.hints.iter().any(|hint| hint.contains("2025-03-26")));
    }

    #[test]
    fn a_second_message_hidden_behind_case_folding_is_refused() {
        for text in [
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","Method":"tools/call"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"},"param\u017f":{"name":"b"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","NAME":"b"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","ta\u017f\u212a":{}}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"requestID":2}}"#,
        ] {
            assert!(matches!(parse(text), Err(FrameError::NotAMessage(_))), "{text}");
        }
    }

    #[test]
    fn json_that_parsers_disagree_about_has_its_own_denial() {
        let denial = |text: &str| Refusal::from(parse(text).unwrap_err()).denial;
        assert_eq!(denial(r#"{"jsonrpc":"2.0","method":"a","method":"b"}"#), Denial::JsonDuplicateKey);
        assert_eq!(denial(r#"{"jsonrpc":"2.0""#), Denial::JsonInvalid);
        assert_eq!(denial(&format!("{{\"a\":{}1{}}}", "[".repeat(20), "]".repeat(20))), Denial::JsonTooDeep);
        assert_eq!(denial(&format!("{{\"a\":[{}1]}}", "1,".repeat(100_000))), Denial::JsonTooLarge);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Frame::parse(&bytes.into(), 16);
        }

        #[test]
        fn a_written_request_reads_back(id in any::<i64>(), method in "[a-z/]{1,20}", name in "\\PC{0,20}") {
            let text = serde_json::json!({
                "jsonrpc": "2.0", "id": id, "method": method, "params": { "name": name },
            });
            let frame = parse(&text.to_string()).unwrap();
            prop_assert_eq!(frame.request_id().unwrap().as_json(), id.to_string());
            prop_assert_eq!(frame.method(), Some(method.as_str()));
            prop_assert_eq!(frame.param("name").and_then(Json::as_str), Some(name.as_str()));
        }
    }
}
