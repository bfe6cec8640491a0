//! The admin listener. Everything but the two probes needs the operators' token, on loopback too: a browser page or
//! another user of the machine can reach loopback.

mod agents;
mod apps;
mod attempts;
mod breakers;
pub(crate) mod delegations;
mod incidents;
mod keys;
mod limits;
mod policies;
mod probes;
mod revocations;
mod secrets;
mod trace;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, Request, State},
    middleware::{self, Next},
    routing::{get, post, put},
};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::{Value, json};
use subtle::ConstantTimeEq;
use tower::ServiceExt;
use vestibule_evidence::{Outcome, Record, RecordKind};
use vestibule_model::{AttemptId, Digest, Stop, TraceId};

use crate::{
    edge::{self, Surface},
    gateway::Gateway,
    listener::{Handler, Peer},
};

type Gw = State<Arc<Gateway>>;

/// Largest body of an administrative request, in bytes: a policy file and its cases fit.
const BODY_MAX_BYTES: usize = 8 << 20;

pub(crate) fn handler(gateway: Arc<Gateway>) -> Handler {
    let router = router(gateway);
    Arc::new(move |request, peer: Peer| {
        let router = router.clone();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer.address);
        Box::pin(async move {
            match router.oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        })
    })
}

fn router(gateway: Arc<Gateway>) -> Router {
    let operators = Router::new()
        .route("/metrics", get(probes::metrics))
        .route("/admin/v1/agents", get(agents::list).post(agents::add))
        .route("/admin/v1/agents/{id}", get(agents::show))
        .route("/admin/v1/agents/{id}/rotate", post(agents::rotate))
        .route("/admin/v1/apps", get(apps::list))
        .route("/admin/v1/apps/{id}", get(apps::show))
        .route("/admin/v1/apps/{id}/test", post(apps::test))
        .route("/admin/v1/revocations", get(revocations::list).post(revocations::order))
        .route("/admin/v1/revocations/resume", post(revocations::resume))
        .route("/admin/v1/breakers", get(breakers::list))
        .route("/admin/v1/breakers/trip", post(breakers::trip))
        .route("/admin/v1/breakers/reset", post(breakers::reset))
        .route("/admin/v1/delegations", get(delegations::list))
        .route("/admin/v1/delegations/{id}", get(delegations::show))
        .route("/admin/v1/limits", get(limits::list))
        .route("/admin/v1/limits/{id}", get(limits::show))
        .route("/admin/v1/incidents", get(incidents::list).post(incidents::open))
        .route("/admin/v1/incidents/{id}", get(incidents::show))
        .route("/admin/v1/incidents/{id}/close", post(incidents::close))
        .route("/admin/v1/incidents/{id}/bundle", get(incidents::bundle))
        .route("/admin/v1/keys", get(keys::status))
        .route("/admin/v1/keys/rotate", post(keys::rotate))
        .route("/admin/v1/keys/vault/rotate", post(keys::rotate_vault))
        .route("/admin/v1/secrets", get(secrets::list))
        .route("/admin/v1/secrets/{id}", put(secrets::set).delete(secrets::remove))
        .route("/admin/v1/policies", get(policies::status))
        .route("/admin/v1/policies/check", post(policies::check))
        .route("/admin/v1/policies/explain", post(policies::explain))
        .route("/admin/v1/policies/test", post(policies::test))
        .route("/admin/v1/policies/applicable", post(policies::applicable))
        .route("/admin/v1/attempts", get(attempts::search))
        .route("/admin/v1/attempts/live", get(attempts::live))
        .route("/admin/v1/attempts/{id}", get(attempts::show))
        .route("/admin/v1/attempts/{id}/trace", get(trace::attempt))
        .route("/admin/v1/workflows/{id}/trace", get(trace::workflow))
        .route("/admin/v1/evidence/verify", post(attempts::verify))
        .fallback(|| async { Refused::not_found("path") })
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .layer(middleware::from_fn_with_state(Arc::clone(&gateway), only_operators));
    Router::new()
        .route("/livez", get(probes::livez))
        .route("/readyz", get(probes::readyz))
        .merge(operators)
        .layer(middleware::from_fn_with_state(Arc::clone(&gateway), only_this_host))
        .with_state(gateway)
}

/// DNS rebinding: a page of a stranger must not reach this listener under a name of its own.
async fn only_this_host(State(gw): Gw, request: Request, next: Next) -> Response<Body> {
    if let Err(denial) = gw.admin_names.check(request.uri(), request.headers()) {
        let id = AttemptId::new(gw.clock.now(), &*gw.entropy);
        return edge::answer(&Stop::from(denial), &Surface::default(), id);
    }
    next.run(request).await
}

async fn only_operators(State(gw): Gw, request: Request, next: Next) -> Response<Body> {
    if is_operator(&gw, request.headers()) {
        return next.run(request).await;
    }
    let mut refused =
        Refused::new(401, "credential-missing", "the admin token is needed as `Authorization: Bearer`")
            .into_response();
    refused
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"vestibule-admin\""));
    refused
}

/// Digests are compared, in constant time: neither content nor length of the token shows in the time that it takes.
fn is_operator(gw: &Gateway, headers: &HeaderMap) -> bool {
    let mut presented = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (presented.next(), presented.next()) else { return false };
    let Some(token) = value.to_str().ok().and_then(|value| value.strip_prefix("Bearer ")) else {
        return false;
    };
    let presented = Digest::of(token.as_bytes());
    let expected = Digest::of(gw.admin_token.expose_secret().as_bytes());
    presented.bytes().ct_eq(expected.bytes()).into()
}

/// An administrative request that is refused: problem+json with a code.
#[derive(Debug)]
struct Refused {
    status: u16,
    code: &'static str,
    detail: String,
}

impl Refused {
    fn new(status: u16, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into() }
    }

    fn not_found(what: &str) -> Self {
        Self::new(404, "not-found", format!("no such {what}"))
    }

    fn invalid(detail: impl Into<String>) -> Self {
        Self::new(400, "invalid-request", detail)
    }

    fn broken(error: impl std::fmt::Display) -> Self {
        tracing::error!(%error, "an administrative request failed");
        Self::new(503, "unavailable", "the gateway's state or record cannot be reached; see its log")
    }
}

impl axum::response::IntoResponse for Refused {
    fn into_response(self) -> Response<Body> {
        let problem = json!({
            "type": format!("urn:vestibule:problem:{}", self.code),
            "title": self.detail,
            "status": self.status,
            "code": self.code,
        });
        reply(self.status, "application/problem+json", problem.to_string())
    }
}

use axum::response::IntoResponse;

type Answer = Result<Response<Body>, Refused>;

fn reply(status: u16, content_type: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn json(status: u16, body: &impl Serialize) -> Answer {
    let body = serde_json::to_string(body).map_err(Refused::broken)?;
    Ok(reply(status, "application/json", body))
}

/// A page of a list.
fn page(items: Vec<Value>, next: Option<String>) -> Answer {
    json(200, &json!({ "items": items, "next": next }))
}

/// An administrative act, for the record.
struct Act<'a> {
    action: &'static str,
    /// `kind/id`
    target: String,
    detail: &'a Value,
}

/// Does an administrative act inside its record: an act that cannot be recorded is not done, and what became of it is
/// what the record says.
async fn recorded<T>(
    gw: &Gateway,
    act: Act<'_>,
    work: impl Future<Output = Result<T, Refused>>,
) -> Result<T, Refused> {
    recorded_with(gw, act, work, |_| None).await
}

/// The same, with what came of it beside what was asked for.
async fn recorded_with<T>(
    gw: &Gateway,
    act: Act<'_>,
    work: impl Future<Output = Result<T, Refused>>,
    told: impl FnOnce(&T) -> Option<Value>,
) -> Result<T, Refused> {
    recorded_as(gw, AttemptId::new(gw.clock.now(), &*gw.entropy), act, work, told).await
}

/// The same, under an id that is known before.
async fn recorded_as<T>(
    gw: &Gateway,
    id: AttemptId,
    act: Act<'_>,
    work: impl Future<Output = Result<T, Refused>>,
    told: impl FnOnce(&T) -> Option<Value>,
) -> Result<T, Refused> {
    let at = gw.clock.now();
    let mut record = Record::new(RecordKind::Administration, id, at, TraceId::of(id));
    record.action = Some(act.action.to_owned());
    record.target = Some(act.target);
    record.detail = Some(act.detail.to_string());
    record.author = Some(OPERATOR.to_owned());
    let mut entry = gw.evidence.begin_act(record).map_err(Refused::broken)?;
    entry.opened().await.map_err(Refused::broken)?;
    let done = work.await;
    let outcome = match &done {
        Ok(done) => {
            if let Some(detail) = told(done) {
                entry.record().detail = Some(detail.to_string());
            }
            Outcome::Completed
        }
        Err(refused) => {
            entry.record().denial = Some(refused.code.to_owned());
            entry.record().cause = Some(refused.detail.clone());
            if refused.status < 500 { Outcome::Refused } else { Outcome::Failed }
        }
    };
    entry.close(outcome).await.map_err(Refused::broken)?;
    done
}

/// Whoever holds the admin token.
const OPERATOR: &str = "operator";
