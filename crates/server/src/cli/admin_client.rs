use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vestibule_egress::{Addresses, Client, EgressLimits, Trust, full};

use super::{Failure, Target, environment};
use crate::config::FILE_NAME;

/// Largest answer of the admin API, in bytes.
const ANSWER_MAX_BYTES: usize = 64 << 20;
/// The file in which a running gateway says where it is.
pub(super) const RUNNING_FILE: &str = "gateway.json";

/// Where a running gateway of a folder is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RunningAt {
    /// The origin that agents use.
    pub(super) gateway_url: String,
    /// The origin that operators use.
    pub(super) admin_url: String,
    /// The file with the operators' token, if it is the gateway's own.
    pub(super) admin_token_file: Option<PathBuf>,
}

/// The admin API of one gateway.
#[derive(Debug)]
pub(super) struct AdminClient {
    client: Client,
    base: String,
    token: SecretString,
}

/// An HTTP client for the command line.
pub(super) fn http_client() -> Result<Client, Failure> {
    let limits = EgressLimits {
        connect_timeout: Duration::from_secs(5),
        head_timeout: Duration::from_secs(120),
        idle_timeout: Duration::from_secs(30),
        idle_per_host: 4,
    };
    Client::new(Addresses::Operator, limits, Trust::default()).map_err(Failure::broken)
}

impl AdminClient {
    /// The gateway that a command is about.
    pub(super) fn of(target: &Target) -> Result<Self, Failure> {
        let (base, token) = match &target.admin_url {
            Some(url) => {
                let token = environment("VESTIBULE_ADMIN_TOKEN").ok_or_else(|| {
                    Failure::usage("`VESTIBULE_ADMIN_URL` is set, `VESTIBULE_ADMIN_TOKEN` is not")
                })?;
                (url.clone(), SecretString::from(token))
            }
            None => of_folder(&target.dir)?,
        };
        Ok(Self { client: http_client()?, base: base.trim_end_matches('/').to_owned(), token })
    }

    pub(super) fn new(base: &str, token: SecretString) -> Result<Self, Failure> {
        Ok(Self { client: http_client()?, base: base.to_owned(), token })
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.ask(Method::GET, path, None).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.ask(Method::POST, path, Some(body)).await
    }

    pub(super) async fn put(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.ask(Method::PUT, path, Some(body)).await
    }

    pub(super) async fn delete(&self, path: &str) -> Result<Value, Failure> {
        self.ask(Method::DELETE, path, None).await
    }

    /// The items of a list, over all its pages.
    pub(super) async fn all(&self, path: &str) -> Result<Vec<Value>, Failure> {
        let mut items = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = match &after {
                None => self.get(path).await?,
                Some(after) => self.get(&format!("{path}?after={}", encoded(after))).await?,
            };
            items.extend(page.get("items").and_then(Value::as_array).cloned().unwrap_or_default());
            after = page.get("next").and_then(Value::as_str).map(ToOwned::to_owned);
            if after.is_none() {
                return Ok(items);
            }
        }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let response = self.send(method, path, body).await?;
        let status = response.status();
        let bytes =
            Client::read_body(response.into_body(), ANSWER_MAX_BYTES).await.map_err(Failure::broken)?;
        let answer: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        if status.is_success() { Ok(answer) } else { Err(refused(status, &answer)) }
    }

    /// The answer as it streams.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response<Incoming>, Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token.expose_secret()));
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request = request.body(full(body)).map_err(Failure::usage)?;
        self.client.send(request).await.map_err(|error| {
            Failure::Broken(format!("cannot reach the gateway at {}: {error}; is it running?", self.base))
        })
    }
}

fn refused(status: StatusCode, answer: &Value) -> Failure {
    let title = answer.get("title").and_then(Value::as_str).unwrap_or("the gateway refused");
    match status {
        StatusCode::UNAUTHORIZED => {
            Failure::Usage(format!("{title}; check `VESTIBULE_ADMIN_TOKEN` or `--dir`"))
        }
        status if status.is_client_error() => Failure::Usage(title.to_owned()),
        _ => Failure::Broken(title.to_owned()),
    }
}

/// Where the gateway of a folder is, and its token.
fn of_folder(dir: &Path) -> Result<(String, SecretString), Failure> {
    let path = dir.join(RUNNING_FILE);
    let text = std::fs::read_to_string(&path).map_err(|error| {
        let shown = dir.display();
        if dir.join(FILE_NAME).exists() {
            return Failure::Broken(format!("no gateway runs in `{shown}`: start it, or give `VESTIBULE_ADMIN_URL`"));
        }
        Failure::Usage(format!(
            "no gateway in `{shown}` ({error}); give `--dir`, or `VESTIBULE_ADMIN_URL` and `VESTIBULE_ADMIN_TOKEN`"
        ))
    })?;
    let running: RunningAt = serde_json::from_str(&text).map_err(Failure::broken)?;
    let token = match &running.admin_token_file {
        Some(file) => std::fs::read_to_string(file)
            .map_err(|error| Failure::Broken(format!("cannot read `{}`: {error}", file.display())))?,
        None => environment("VESTIBULE_ADMIN_TOKEN").ok_or_else(|| {
            Failure::usage("this gateway's admin token is not in its folder: set `VESTIBULE_ADMIN_TOKEN`")
        })?,
    };
    Ok((running.admin_url, SecretString::from(token.trim().to_owned())))
}

/// A value for a query or a path segment.
pub(super) fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
