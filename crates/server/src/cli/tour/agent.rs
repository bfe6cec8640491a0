use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use vestibule_egress::{Client, full};

use super::super::{Failure, admin_client::http_client};

/// The version of MCP that the tour speaks: one request, one answer, no session.
pub(super) const VERSION: &str = "2026-07-28";
/// Largest answer that is read, in bytes.
const ANSWER_MAX_BYTES: usize = 4 << 20;

/// An agent as its developer would write one.
#[derive(Debug)]
pub(super) struct Agent {
    client: Client,
    /// The hop token of the application that is being called.
    pub(super) token: Option<String>,
}

/// An answer, read whole.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Agent {
    pub(super) fn new() -> Result<Self, Failure> {
        Ok(Self { client: http_client()?, token: None })
    }

    pub(super) async fn get(&self, url: &str) -> Result<Answer, Failure> {
        self.read(self.request("GET", url).body(full(Bytes::new())).map_err(Failure::broken)?).await
    }

    pub(super) async fn delete(&self, url: &str) -> Result<Answer, Failure> {
        self.read(self.request("DELETE", url).body(full(Bytes::new())).map_err(Failure::broken)?).await
    }

    pub(super) async fn form(&self, url: &str, fields: &[(&str, &str)]) -> Result<Answer, Failure> {
        let form: String = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = self
            .request("POST", url)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(full(form))
            .map_err(Failure::broken)?;
        self.read(request).await
    }

    /// One JSON-RPC request, its answer read whole.
    pub(super) async fn rpc(&self, url: &str, method: &str, params: Value) -> Result<Answer, Failure> {
        let response = self.send(self.rpc_request(url, method, params)?).await?;
        answer(response).await
    }

    /// One JSON-RPC request, its answer as it streams.
    pub(super) async fn stream(&self, url: &str, method: &str, params: Value) -> Result<Incoming, Failure> {
        Ok(self.send(self.rpc_request(url, method, params)?).await?.into_body())
    }

    fn rpc_request(
        &self,
        url: &str,
        method: &str,
        mut params: Value,
    ) -> Result<Request<vestibule_egress::EgressBody>, Failure> {
        let name = params.get("name").and_then(Value::as_str).map(ToOwned::to_owned);
        if let Some(members) = params.as_object_mut() {
            let meta = json!({
                "io.modelcontextprotocol/protocolVersion": VERSION,
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": { "name": "vestibule-tour", "version": "1" },
                "progressToken": 1,
            });
            members.insert("_meta".to_owned(), meta);
        }
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let mut request = self
            .request("POST", url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream")
            .header("mcp-protocol-version", VERSION)
            .header("mcp-method", method);
        if let Some(name) = name {
            request = request.header("mcp-name", name);
        }
        request.body(full(body.to_string())).map_err(Failure::broken)
    }

    fn request(&self, method: &str, url: &str) -> http::request::Builder {
        let request = Request::builder().method(method).uri(url);
        match &self.token {
            Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        }
    }

    async fn send(
        &self,
        request: Request<vestibule_egress::EgressBody>,
    ) -> Result<http::Response<Incoming>, Failure> {
        self.client.send(request).await.map_err(Failure::broken)
    }

    async fn read(&self, request: Request<vestibule_egress::EgressBody>) -> Result<Answer, Failure> {
        answer(self.send(request).await?).await
    }
}

/// Reads an answer whole.
pub(super) async fn answer(response: http::Response<Incoming>) -> Result<Answer, Failure> {
    let (parts, body) = response.into_parts();
    let bytes = Client::read_body(body, ANSWER_MAX_BYTES).await.map_err(Failure::broken)?;
    let text = String::from_utf8_lossy(&bytes);
    // An answer may come as one server-sent event.
    let json = text.lines().filter_map(|line| line.strip_prefix("data:")).next_back().unwrap_or(&text);
    let body = serde_json::from_str(json.trim()).unwrap_or(Value::Null);
    Ok(Answer { status: parts.status, headers: parts.headers, body })
}

/// The next piece of a stream: its text, or how it ended.
pub(super) async fn next(body: &mut Incoming) -> Result<String, &'static str> {
    match body.frame().await {
        Some(Ok(frame)) => {
            let bytes = frame.into_data().unwrap_or_default();
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
        Some(Err(_)) => Err("cut off"),
        None => Err("complete"),
    }
}
