//! What is sent and what must come back. Both sides of the bench agree here.

use serde_json::{Value, json};

use crate::wire::Target;

/// Tools of the application. One is called; the others give the other policies something to be about.
pub(crate) const TOOLS: usize = 100;
/// The one that is called.
pub(crate) const CALLED_TOOL: usize = 0;
/// Size of the arguments of a call and of an HTTP body, in bytes.
pub(crate) const ARGUMENTS_BYTES: usize = 1024;
/// The version of MCP that is spoken.
pub(crate) const PROTOCOL_VERSION: &str = "2025-11-25";
/// The result of every tool call.
pub(crate) const TOOL_RESULT: &str = r#"{"content":[{"type":"text","text":"done"}]}"#;
/// The body of every answer to plain HTTP.
pub(crate) const HTTP_ANSWER: &str = r#"{"done":true}"#;

/// Path at the application of what it never answers.
pub(crate) const HOLD_PATH: &str = "/hold";
/// Path at the application of how many requests it is holding.
pub(crate) const HELD_PATH: &str = "/held";

/// The name of a tool.
pub(crate) fn tool(index: usize) -> String {
    format!("tool_{index}")
}

/// The JSON Schema of [`arguments`].
pub(crate) fn arguments_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "path": { "type": "string" },
            "count": { "type": "integer" },
            "mode": { "type": "string", "enum": ["read", "write"] },
            "text": { "type": "string" },
        },
        "required": ["path", "count", "mode", "text"],
        "additionalProperties": false,
    })
}

/// [`ARGUMENTS_BYTES`] of JSON, another one for each `number`.
fn arguments(number: u64) -> String {
    let start = format!(
        r#"{{"path":"/work/reports/{number}.txt","count":{},"mode":"read","text":"part {number} "#,
        number % 100
    );
    let end = r#""}"#;
    let padding = ARGUMENTS_BYTES.saturating_sub(start.len() + end.len());
    format!("{start}{}{end}", "x".repeat(padding))
}

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Workload {
    /// MCP `tools/call` with 1 KiB of arguments.
    ToolsCall,
    /// Plain HTTP `POST` with a JSON body of 1 KiB.
    Http,
}

impl Workload {
    pub(crate) const ALL: [Self; 2] = [Self::ToolsCall, Self::Http];

    /// What it is, for a table.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::ToolsCall => "MCP tools/call, 1 KiB of arguments",
            Self::Http => "HTTP POST, 1 KiB of JSON",
        }
    }

    /// Its path at the application.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::ToolsCall => "/mcp",
            Self::Http => "/reports",
        }
    }

    /// The head of a request without its last lines: `Content-Length` and what a connection adds.
    pub(crate) fn head(self, target: &Target) -> String {
        let more = match self {
            Self::ToolsCall => format!(
                "accept: application/json, text/event-stream\r\nmcp-protocol-version: {PROTOCOL_VERSION}\r\n"
            ),
            Self::Http => "accept: application/json\r\n".to_owned(),
        };
        format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n{more}",
            target.path, target.authority
        )
    }

    /// The body of request `number`.
    pub(crate) fn body(self, number: u64) -> String {
        let arguments = arguments(number);
        match self {
            Self::Http => arguments,
            Self::ToolsCall => {
                let name = tool(CALLED_TOOL);
                format!(
                    r#"{{"jsonrpc":"2.0","id":{number},"method":"tools/call","params":{{"name":"{name}","arguments":{arguments}}}}}"#
                )
            }
        }
    }

    /// Whether this is the application's own answer to it. Measuring refusals would flatter the gateway.
    pub(crate) fn is_answer(self, status: u16, body: &[u8]) -> bool {
        let wanted = match self {
            Self::ToolsCall => TOOL_RESULT,
            Self::Http => HTTP_ANSWER,
        };
        status == 200 && body.windows(wanted.len()).any(|window| window == wanted.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_body_is_distinct_valid_and_of_the_promised_size() {
        for number in [0, 9, 12_345_678] {
            let text = Workload::Http.body(number);
            assert_eq!(text.len(), ARGUMENTS_BYTES);
            let call: Value = serde_json::from_str(&Workload::ToolsCall.body(number)).unwrap();
            assert_eq!(call["id"], number);
            assert_eq!(call["params"]["arguments"], serde_json::from_str::<Value>(&text).unwrap());
        }
        assert_ne!(Workload::Http.body(1), Workload::Http.body(101));
    }

    #[test]
    fn a_refusal_is_no_answer() {
        let result = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{TOOL_RESULT}}}"#);
        assert!(Workload::ToolsCall.is_answer(200, result.as_bytes()));
        assert!(!Workload::ToolsCall.is_answer(403, result.as_bytes()));
        let refusal = br#"{"jsonrpc":"2.0","id":1,"error":{"code":4030,"message":"no"}}"#;
        assert!(!Workload::ToolsCall.is_answer(200, refusal));
    }
}
