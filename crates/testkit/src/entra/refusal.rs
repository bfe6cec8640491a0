use serde_json::json;

use crate::Answer;

/// An error as `reference-error-codes` shows it.
#[derive(Debug)]
pub(super) struct Refused {
    status: u16,
    error: &'static str,
    code: u32,
    text: String,
    suberror: Option<&'static str>,
}

impl Refused {
    /// 400 `invalid_request`.
    pub(super) fn request(code: u32, text: impl Into<String>) -> Self {
        Self::new(400, "invalid_request", code, text)
    }

    /// 401 `invalid_client`.
    pub(super) fn client(code: u32, text: impl Into<String>) -> Self {
        Self::new(401, "invalid_client", code, text)
    }

    /// 400 `invalid_grant`.
    pub(super) fn grant(code: u32, text: impl Into<String>) -> Self {
        Self::new(400, "invalid_grant", code, text)
    }

    /// 400 `invalid_scope`.
    pub(super) fn scope(code: u32, text: impl Into<String>) -> Self {
        Self::new(400, "invalid_scope", code, text)
    }

    pub(super) fn new(status: u16, error: &'static str, code: u32, text: impl Into<String>) -> Self {
        Self { status, error, code, text: text.into(), suberror: None }
    }

    pub(super) fn because(self, suberror: &'static str) -> Self {
        Self { suberror: Some(suberror), ..self }
    }

    /// `reference-error-codes`, "Handling error codes in your application": these members, and `suberror` where there is
    /// one.
    pub(super) fn answer(self) -> Answer {
        let (code, text) = (self.code, self.text);
        // The sample's own: nothing may depend on them.
        let (trace, at) = ("0000aaaa-11bb-cccc-dd22-eeeeee333333", "2016-01-09 02:02:12Z");
        let mut body = json!({
            "error": self.error,
            "error_description": format!("AADSTS{code}: {text} Trace ID: {trace} Correlation ID: {trace} Timestamp: {at}"),
            "error_codes": [code],
            "timestamp": at,
            "trace_id": trace,
            "correlation_id": trace,
            "error_uri": format!("https://login.microsoftonline.com/error?code={code}"),
        });
        if let Some(suberror) = self.suberror {
            body["suberror"] = json!(suberror);
        }
        Answer::new(self.status, body.to_string()).header("content-type", "application/json; charset=utf-8")
    }
}
