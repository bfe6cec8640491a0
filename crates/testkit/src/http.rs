use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, task::JoinSet};
use vestibule_model::Clock;

use crate::watched::Watched;

/// A raw HTTP/1.1 client without pool, redirects, retries or cookies. What a test writes is what is sent: no path is
/// normalised, no header merged.
#[derive(Debug)]
pub struct Http;

impl Http {
    /// A GET of `url` (`http://host:port/…`).
    pub fn get(url: &str) -> Call {
        Self::request(Method::GET, url)
    }

    /// A POST to `url` (`http://host:port/…`).
    pub fn post(url: &str) -> Call {
        Self::request(Method::POST, url)
    }

    /// A request of any method.
    pub fn request(method: Method, url: &str) -> Call {
        let rest = url.strip_prefix("http://").unwrap_or_else(|| panic!("`{url}` is not a plain http URL"));
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        Call {
            method,
            authority: authority.to_owned(),
            target,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }
}

/// A request that is being put together.
#[derive(Debug, Clone)]
#[must_use]
pub struct Call {
    method: Method,
    authority: String,
    target: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Call {
    /// Adds a header; the same name twice sends it twice.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().expect("the test's header name is valid");
        self.headers.append(name, HeaderValue::from_str(value).expect("the test's header value is valid"));
        self
    }

    /// Adds `Authorization: Bearer`.
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// Sets the body and adds its content type.
    pub fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.header("content-type", content_type)
    }

    /// Sets a JSON body.
    pub fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// Sets a form body.
    pub fn form(self, fields: &[(&str, &str)]) -> Self {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.body("application/x-www-form-urlencoded", body)
    }

    /// Sends it and reads the whole reply.
    ///
    /// # Panics
    /// When there is no reply, or it is cut.
    pub async fn send(self) -> Reply {
        let mut open = self.open().await.expect("a reply");
        let mut body = BytesMut::new();
        while let Some(chunk) = open.chunk().await.expect("the whole reply") {
            body.extend_from_slice(&chunk);
        }
        Reply { status: open.status, headers: open.headers, body: body.freeze() }
    }

    /// Sends it and returns when the head of the reply is there. Dropping the result, or the future, closes the
    /// connection, as an agent that leaves.
    ///
    /// # Errors
    /// [`Cut`] when the connection ends before there is a head.
    pub async fn open(self) -> Result<OpenReply, Cut> {
        let stream = TcpStream::connect(&self.authority).await.map_err(Cut::new)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(Cut::new)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // How the connection ended reaches the test through the reply.
            let _ = connection.await;
        });
        let reply = sender.send_request(self.into_request()).await.map_err(Cut::new)?;
        let (head, body) = reply.into_parts();
        Ok(OpenReply { status: head.status, headers: head.headers, body, _connection: tasks })
    }

    /// Sends it from a thread that does nothing else than read what comes back, and note when. Asks for the connection to
    /// be closed behind the reply.
    ///
    /// # Panics
    /// When nobody listens.
    #[must_use]
    pub fn watch(self, clock: &Arc<dyn Clock>) -> Watched {
        let Self { method, authority, target, headers, body } = self.header("connection", "close");
        let mut request = format!("{method} {target} HTTP/1.1\r\nhost: {authority}\r\n").into_bytes();
        for (name, value) in &headers {
            request.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        request.extend(format!("content-length: {}\r\n\r\n", body.len()).into_bytes());
        request.extend_from_slice(&body);
        Watched::start(&authority, &request, clock)
    }

    fn into_request(self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body));
        *request.method_mut() = self.method;
        *request.uri_mut() = self.target.parse().expect("the test's target is valid");
        *request.headers_mut() = self.headers;
        let authority = HeaderValue::from_str(&self.authority).expect("an authority is a header value");
        request.headers_mut().entry(header::HOST).or_insert(authority);
        request
    }
}

/// A whole reply.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Reply {
    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: `{}`", self.text()))
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The header `name` as text; empty when it is absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// The connection ended before the reply did.
#[derive(Debug)]
pub struct Cut(String);

impl Cut {
    fn new(cause: impl std::fmt::Display) -> Self {
        Self(cause.to_string())
    }
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the connection ended before the reply did: {}", self.0)
    }
}

impl std::error::Error for Cut {}

/// A reply whose body is still on its way.
#[derive(Debug)]
pub struct OpenReply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    body: Incoming,
    /// Aborted on drop, which closes the socket.
    _connection: JoinSet<()>,
}

impl OpenReply {
    /// The next bytes as they arrive; none at the proper end.
    ///
    /// # Errors
    /// [`Cut`] when the connection ends in the middle.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Cut> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(data) = frame.map_err(Cut::new)?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// Reads until `needle` has arrived and returns all that was read.
    ///
    /// # Panics
    /// When the reply ends before.
    pub async fn read_until(&mut self, needle: &str) -> String {
        let mut read = String::new();
        while !read.contains(needle) {
            let chunk = self.chunk().await.expect("more of the reply");
            let chunk = chunk.unwrap_or_else(|| panic!("`{needle}` is not in the reply: `{read}`"));
            read.push_str(&String::from_utf8_lossy(&chunk));
        }
        read
    }
}
