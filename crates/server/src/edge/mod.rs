//! How a stop is told. Three surfaces, one file each, chosen by where the request stopped: `problem+json` before a
//! JSON-RPC id is known and for HTTP applications, OAuth errors at the issuer's endpoints, JSON-RPC errors afterwards.
//! The caller gets a code, one neutral sentence and the request id; the cause stays in the record and the log.

mod challenge;
mod jsonrpc_error;
pub(crate) mod oauth_error;
mod problem;
mod rate_limit;

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Response, header};
use vestibule_mcp::Asked;
use vestibule_model::{Answer, AppKind, AttemptId, Denial, FaultKind, Stop};

use crate::apps::App;

/// What is known about a request at the moment it stops. Filled as it becomes known.
#[derive(Debug, Default)]
pub(crate) struct Surface {
    /// The application, once it is found: a challenge names its metadata (RFC 9728) and its scopes.
    pub(crate) app: Option<Arc<App>>,
    /// The JSON-RPC request, once parsed; none for a message that gets no answer.
    pub(crate) asked: Option<Asked>,
    /// Whether the credential was presented with a proof of possession.
    pub(crate) is_dpop: bool,
}

/// The answer to a request that stopped.
pub(crate) fn answer(stop: &Stop, surface: &Surface, attempt: AttemptId) -> Response<Body> {
    log(stop, attempt);
    let mut response = match &surface.asked {
        Some(asked) if is_rpc(stop) => jsonrpc_error::answer(stop, asked, attempt),
        Some(_) | None => problem::answer(stop, attempt),
    };
    let headers = response.headers_mut();
    challenge::put(stop, surface, headers);
    allow(stop, surface, headers);
    if let Some(after) = retry_after(stop) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
    }
    rate_limit::put(stop, headers);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    request_id(&mut response, attempt);
    response
}

/// Puts the attempt's id where callers and operators look for it.
pub(crate) fn request_id(response: &mut Response<Body>, attempt: AttemptId) {
    if let Ok(value) = HeaderValue::from_str(&attempt.to_string()) {
        response.headers_mut().insert("x-request-id", value);
    }
}

/// Gives the nonce for the next proof (RFC 9449 §8.2).
pub(crate) fn nonce(response: &mut Response<Body>, nonce: &str) {
    if let Ok(value) = HeaderValue::from_str(nonce) {
        response.headers_mut().insert("dpop-nonce", value);
    }
}

/// Says that the connection ends with this answer (RFC 9112 §9.6). Without it a client would send its next request into
/// a connection that is being closed.
pub(crate) fn closing(response: &mut Response<Body>) {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
}

/// When to come again. Nobody knows when a suspension is taken back; a minute keeps agents from asking all the time.
fn retry_after(stop: &Stop) -> Option<Duration> {
    match stop {
        Stop::Denied(refusal) if refusal.denial == Denial::AgentSuspended => {
            Some(refusal.retry_after.unwrap_or(Duration::from_secs(60)))
        }
        Stop::Denied(refusal) => refusal.retry_after,
        Stop::Failed(fault) => fault.retry_after,
    }
}

/// What the caller can do about it.
fn hints(stop: &Stop) -> Vec<String> {
    match stop {
        Stop::Denied(refusal) => refusal.hints.clone(),
        Stop::Failed(fault) => fault
            .retry_after
            .iter()
            .map(|after| format!("try again in {} seconds", after.as_secs()))
            .collect(),
    }
}

/// RFC 9110 §15.5.6: a 405 MUST say what is allowed. For an HTTP application that is what passes at all, not what this
/// path has: which operations exist is itself a secret.
fn allow(stop: &Stop, surface: &Surface, headers: &mut HeaderMap) {
    let (Stop::Denied(refusal), Some(app)) = (stop, &surface.app) else { return };
    if refusal.denial == Denial::MethodNotAllowed {
        let methods = match app.kind() {
            AppKind::Mcp => "GET, POST, DELETE",
            AppKind::Http => "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
        };
        headers.insert(header::ALLOW, HeaderValue::from_static(methods));
    }
}

/// A credential that is missing, bad or too small is told in HTTP, where clients look for the challenge.
fn is_rpc(stop: &Stop) -> bool {
    match stop {
        Stop::Failed(_) => true,
        Stop::Denied(refusal) => match refusal.denial.answer() {
            Answer::Challenge(_) | Answer::Proof(_) | Answer::StepUp => false,
            Answer::Status(_) | Answer::Unknown | Answer::Forbidden | Answer::HeaderMismatch => true,
        },
    }
}

/// The HTTP status of a stop.
fn status(stop: &Stop) -> u16 {
    match stop {
        Stop::Failed(fault) => fault.kind.status(),
        Stop::Denied(refusal) => match refusal.denial.answer() {
            Answer::Status(status) => status,
            Answer::Challenge(_) | Answer::Proof(_) => 401,
            Answer::StepUp | Answer::Forbidden => 403,
            Answer::Unknown => 404,
            Answer::HeaderMismatch => 400,
        },
    }
}

/// A denial is our decision: one line at info. A fault needs somebody: error, with its cause.
fn log(stop: &Stop, attempt: AttemptId) {
    match stop {
        Stop::Denied(refusal) => {
            tracing::info!(%attempt, code = refusal.denial.code(), cause = %refusal.cause, "denied");
        }
        // That the breaker has opened was said once; here it does its work.
        Stop::Failed(fault) if fault.kind == FaultKind::UpstreamSuspended => {
            tracing::info!(%attempt, code = fault.kind.code(), cause = %fault.cause, "not forwarded");
        }
        Stop::Failed(fault) => {
            tracing::error!(%attempt, code = fault.kind.code(), cause = %fault.cause, "failed");
        }
    }
}

/// The code and the sentence that a caller may see.
fn told(stop: &Stop) -> (&'static str, &'static str, bool) {
    match stop {
        Stop::Denied(refusal) => {
            (refusal.denial.code(), refusal.denial.sentence(), retry_after(stop).is_some())
        }
        Stop::Failed(fault) => (fault.kind.code(), fault.kind.sentence(), fault.kind.is_retryable()),
    }
}
