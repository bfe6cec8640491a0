//! The issuer's endpoints in HTTP: the form in, the issuer's answer out, one record for each request.

use std::sync::Arc;

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use serde_json::json;
use vestibule_evidence::{ChainLink, Decision, DelegationFact, Entry, Outcome, Record, RecordKind};
use vestibule_issuer::{Inquiry, Introspection, Minted, OAuthError, Revocation, TokenRequest};
use vestibule_model::{Actor, AttemptId, Fault, FaultKind, NodeId, Stop, TraceId};

use crate::{
    arrival, body,
    config::LimitsConfig,
    edge::{self, Surface, oauth_error},
    gateway::Gateway,
    listener::Peer,
    notes,
};

/// Largest request, in bytes. Two tokens and a handful of parameters fit many times.
const FORM_MAX_BYTES: usize = 64 << 10;
const FORM: &str = "application/x-www-form-urlencoded";

/// Which endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// RFC 6749 §3.2.
    Token,
    /// RFC 7662.
    Introspection,
    /// RFC 7009.
    Revocation,
}

/// What the issuer said.
struct Said {
    response: Response<Body>,
    outcome: Outcome,
    nonce: Option<String>,
}

pub(crate) async fn handle(
    gw: Arc<Gateway>,
    request: Request<Incoming>,
    peer: &Peer,
    door: Door,
) -> Response<Body> {
    let (at, started) = (gw.clock.now(), gw.clock.monotonic());
    let id = AttemptId::new(at, &*gw.entropy);
    let (parts, body) = request.into_parts();
    // Read before the record is begun: whoever sends a head and then nothing must not hold a place in the record.
    let form = form(&gw, &parts.headers, body).await;
    let mut record = Record::new(door.kind(), id, at, TraceId::of(id));
    record.remote = Some(peer.address.ip());
    record.method = Some("POST".to_owned());
    let mut entry = match gw.evidence.begin(record) {
        Ok(entry) => entry,
        Err(fault) => return edge::answer(&fault.into(), &Surface::default(), id),
    };
    let said = match &form {
        Ok(form) => {
            let ip = Some(peer.address.ip());
            let asked = TokenRequest { headers: &parts.headers, form, attempt: id, ip };
            door.ask(&gw, &mut entry, &asked).await
        }
        Err(stop) => {
            Said { response: unreadable(entry.record(), stop), outcome: Outcome::Refused, nonce: None }
        }
    };
    let took = notes::micros(gw.clock.monotonic().since(started));
    entry.record().durations.inbound_us = took;
    entry.record().durations.total_us = took;
    let mut response = match entry.close(said.outcome).await {
        Ok(()) => said.response,
        Err(fault) => edge::answer(&fault.into(), &Surface::default(), id),
    };
    if let Some(nonce) = said.nonce {
        edge::nonce(&mut response, &nonce);
    }
    edge::request_id(&mut response, id);
    response
}

impl Door {
    fn kind(self) -> RecordKind {
        match self {
            Self::Token => RecordKind::TokenRequest,
            Self::Introspection => RecordKind::TokenIntrospection,
            Self::Revocation => RecordKind::TokenRevocation,
        }
    }

    async fn ask(self, gw: &Gateway, entry: &mut Entry, request: &TokenRequest<'_>) -> Said {
        match self {
            Self::Token => match gw.issuer.token(request).await {
                Ok(token) => {
                    minted(entry.record(), &token.minted, gw.names.public_url());
                    let response = oauth_error::json(200, &token.body());
                    Said { response, outcome: Outcome::Completed, nonce: token.nonce }
                }
                Err(error) => refused(entry.record(), error),
            },
            Self::Introspection => match gw.issuer.introspect(request).await {
                Ok(Introspection { body, inquiry, inactive, nonce }) => {
                    inquired(entry.record(), inquiry, inactive.map(|(reason, cause)| (reason.code(), cause)));
                    Said { response: oauth_error::json(200, &body), outcome: Outcome::Completed, nonce }
                }
                Err(error) => refused(entry.record(), error),
            },
            // What cannot be recorded is not done.
            Self::Revocation if entry.opened().await.is_err() => {
                let stop = Stop::from(Fault::new(
                    FaultKind::EvidenceUnavailable,
                    "the revocation cannot be recorded",
                ));
                Said { response: unreadable(entry.record(), &stop), outcome: Outcome::Failed, nonce: None }
            }
            Self::Revocation => match gw.issuer.revoke(request).await {
                Ok(Revocation { inquiry, report, nothing, nonce }) => {
                    let record = entry.record();
                    inquired(record, inquiry, nothing.map(|(reason, cause)| (reason.code(), cause)));
                    if let Some(report) = report {
                        record.target = Some(format!("{}/{}", report.kind, report.id));
                        record.detail = Some(json!({ "cut": report.cut }).to_string());
                    }
                    // RFC 7009 §2.2: "the content of the response body is ignored by the client".
                    Said { response: oauth_error::empty(200), outcome: Outcome::Completed, nonce }
                }
                Err(error) => refused(entry.record(), error),
            },
        }
    }
}

fn unreadable(record: &mut Record, stop: &Stop) -> Response<Body> {
    notes::stop(record, stop);
    let (status, error, description) = match stop {
        Stop::Denied(refusal) => (400, "invalid_request", refusal.denial.sentence()),
        Stop::Failed(fault) => (503, "temporarily_unavailable", fault.kind.sentence()),
    };
    oauth_error::json(status, &json!({ "error": error, "error_description": description }))
}

fn refused(record: &mut Record, error: OAuthError) -> Said {
    let mut response = oauth_error::challenging(error.status(), &error.body(), error.challenge());
    if error.status() == 503 {
        // A suspension, or something that passes: agents must not ask all the time.
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
    }
    record.decision = Decision::Deny;
    record.agent = error.agent;
    record.denial = Some(error.reason.code().to_owned());
    record.cause = Some(error.cause).filter(|cause| !cause.is_empty());
    if let Some(subject) = error.subject {
        record.user = subject.user;
        record.workflow = Some(subject.workflow);
        record.calls = subject.calls;
        let link = |(actor, node): (Actor, Option<NodeId>)| ChainLink {
            issuer: actor.issuer.to_string(),
            agent: actor.agent,
            node,
        };
        record.chain = subject.chain.into_iter().map(link).collect();
    }
    if let Some(decision) = error.decision {
        notes::decision(record, *decision);
    }
    Said { response, outcome: Outcome::Refused, nonce: error.nonce }
}

/// What was asked about a token. The answer tells the asker less.
fn inquired(record: &mut Record, inquiry: Inquiry, nothing: Option<(&'static str, String)>) {
    record.decision = Decision::Permit;
    record.agent = Some(inquiry.agent);
    record.token = inquiry.jti;
    if let Some((code, cause)) = nothing {
        record.denial = Some(code.to_owned());
        record.cause = Some(cause).filter(|cause| !cause.is_empty());
    }
}

fn minted(record: &mut Record, token: &Minted, issuer: &str) {
    let node = &token.delegation;
    record.decision = Decision::Permit;
    record.agent = Some(node.agent().clone());
    record.user = node.user.as_ref().map(|user| user.id.clone());
    record.app = Some(node.app.clone());
    record.token = Some(token.jti.clone());
    record.rests_on.clone_from(&token.rests_on);
    record.key = token.bound_to;
    record.workflow = Some(node.workflow.clone());
    record.calls.clone_from(&node.calls);
    record.scopes = token.scopes.iter().cloned().collect();
    record.delegation = Some(DelegationFact {
        node: node.id.clone(),
        parent: node.parent.clone(),
        origin: node.origin,
        made_by: node.made_by,
        expires_at: node.expires_at,
    });
    let links = node.chain.iter().zip(&node.path);
    record.chain = links
        .map(|(agent, node)| ChainLink {
            issuer: issuer.to_owned(),
            agent: agent.clone(),
            node: Some(node.id.clone()),
        })
        .collect();
    if let Some(decision) = token.decision.clone() {
        notes::decision(record, decision);
    }
}

/// RFC 6749 §4.4.2 and Appendix B: the parameters come as a form, in UTF-8.
async fn form(gw: &Gateway, headers: &HeaderMap, body: Incoming) -> Result<Vec<(String, String)>, Stop> {
    let found = arrival::media_type(headers);
    if found.as_deref() != Some(FORM) {
        body::discard(body).await;
        return Err(arrival::unsupported(found.as_deref(), FORM));
    }
    let mut held = gw.bytes.hold();
    let limits = LimitsConfig { body_max_bytes: FORM_MAX_BYTES, ..gw.settings.limits.clone() };
    let bytes = body::read(body, &limits, &mut held).await?;
    Ok(url::form_urlencoded::parse(&bytes).into_owned().collect())
}
