//! The sandbox: a small application to put behind the gateway, so that the quickstart, the tour and the tests
//! have a real upstream. It keeps a few repositories in memory and offers them twice: as an MCP server of
//! both eras at `/mcp` and as an HTTP API beside it.
//!
//! Beside them, at `/users`, is an issuer of users' tokens.
//!
//! It stands for somebody else's program. So it checks a credential of its own, speaks MCP by its own small
//! implementation, which shares nothing with the gateway's, and remembers which calls reached it. It guards
//! nothing of value: its bounds keep a runaway client from filling the memory, and that is all.

mod credential;
mod http;
mod journal;
mod mcp;
mod progress;
mod repositories;
mod signer;
#[cfg(test)]
mod tests;
mod users;

use std::sync::Arc;

use ::http::HeaderMap;
use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{delete, get, post},
};
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use vestibule_model::Entropy;

use self::{credential::Credential, journal::Journal, mcp::Sessions, repositories::Repositories};
pub use self::{
    http::HTTP_OPERATIONS,
    journal::{Outcome, SEEN_MAX, Seen},
    signer::{Proven, Signer, SignerError},
    users::{UserIssuer, users},
};

const BODY_MAX_BYTES: usize = 64 * 1024;

/// The application with its state. Clones share it.
#[derive(Debug, Clone)]
pub struct Sandbox {
    credential: Arc<Credential>,
    repositories: Arc<Repositories>,
    sessions: Arc<Sessions>,
    journal: Journal,
    /// Cancelled when the application stops: no stream outlives it.
    closing: CancellationToken,
}

impl Sandbox {
    /// A sandbox holding its two seeds, `hello-world` and `payroll`. Who calls it presents
    /// `Authorization: Bearer <secret>`.
    #[must_use]
    pub fn new(secret: SecretString, entropy: Arc<dyn Entropy>) -> Self {
        let closing = CancellationToken::new();
        Self {
            credential: Arc::new(Credential::new(secret)),
            repositories: Arc::new(Repositories::seeded()),
            sessions: Arc::new(Sessions::new(entropy, closing.clone())),
            journal: Journal::default(),
            closing,
        }
    }

    /// Both doors, and the journal. No path answers without the credential, unknown ones included.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/mcp", post(mcp::post).get(mcp::get).delete(mcp::delete))
            .route("/repos", get(http::list).post(http::create))
            .route("/repos/{name}", delete(http::delete))
            .route("/progress", get(http::progress))
            .route("/journal", get(journal::show))
            .fallback(http::unknown_path)
            .method_not_allowed_fallback(http::wrong_method)
            .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
            .layer(middleware::from_fn_with_state(self.clone(), credential::check))
            .with_state(self.clone())
    }

    /// The last [`SEEN_MAX`] calls of an operation and requests without the right credential, oldest first.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.journal.seen()
    }

    /// How many HTTP requests arrived, whatever became of them.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.journal.requests()
    }
}

/// Serves `sandbox`, and the issuer of users if there is one, on `listener` until `shutdown` resolves; then its streams
/// end and its connections close.
///
/// # Errors
/// Those of the listener.
pub async fn serve<F>(
    sandbox: Sandbox,
    users: Option<UserIssuer>,
    listener: TcpListener,
    shutdown: F,
) -> std::io::Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let closing = sandbox.closing.clone();
    let users = users.map_or_else(Router::new, UserIssuer::router);
    axum::serve(listener, sandbox.router().merge(users))
        .with_graceful_shutdown(async move {
            shutdown.await;
            closing.cancel();
        })
        .await
}

/// A header's value if it is there exactly once and is text.
fn single_header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())?.to_str().ok()
}
