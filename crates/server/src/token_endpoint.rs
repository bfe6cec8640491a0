//! `/oauth/token` in HTTP: the form in, the issuer's answer out, one record for each request.

use std::{net::SocketAddr, sync::Arc};

use axum::body::Body;
use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use serde_json::json;
use vestibule_evidence::{Decision, Entry, Outcome, Record, RecordKind};
use vestibule_issuer::{Minted, TokenRequest};
use vestibule_model::{AttemptId, Stop, TraceId};

use crate::{
    arrival, body,
    config::LimitsConfig,
    edge::{self, Surface, oauth_error},
    gateway::Gateway,
    notes,
};

/// Largest token request, in bytes. An assertion and a handful of parameters fit many times.
const FORM_MAX_BYTES: usize = 64 << 10;
const FORM: &str = "application/x-www-form-urlencoded";

pub(crate) async fn handle(gw: Arc<Gateway>, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
    let (at, started) = (gw.clock.now(), gw.clock.monotonic());
    let id = AttemptId::new(at, &*gw.entropy);
    let (parts, body) = request.into_parts();
    // Read before the record is begun: whoever sends a head and then nothing must not hold a place in the record.
    let form = form(&gw, &parts.headers, body).await;
    let mut record = Record::new(RecordKind::TokenRequest, id, at, TraceId::of(id));
    record.remote = Some(peer.ip());
    record.method = Some("POST".to_owned());
    let mut entry = match gw.evidence.begin(record) {
        Ok(entry) => entry,
        Err(fault) => return edge::answer(&fault.into(), &Surface::default(), id),
    };
    let (response, outcome) = match form {
        Ok(form) => answer(&gw, &mut entry, &parts.headers, &form).await,
        Err(stop) => (unreadable(entry.record(), &stop), Outcome::Refused),
    };
    let took = notes::micros(gw.clock.monotonic().since(started));
    entry.record().durations.inbound_us = took;
    entry.record().durations.total_us = took;
    let mut response = match entry.close(outcome).await {
        Ok(()) => response,
        Err(fault) => edge::answer(&fault.into(), &Surface::default(), id),
    };
    edge::request_id(&mut response, id);
    response
}

fn unreadable(record: &mut Record, stop: &Stop) -> Response<Body> {
    notes::stop(record, stop);
    let description = match stop {
        Stop::Denied(refusal) => refusal.denial.sentence(),
        Stop::Failed(fault) => fault.kind.sentence(),
    };
    oauth_error::json(400, &json!({ "error": "invalid_request", "error_description": description }))
}

async fn answer(
    gw: &Gateway,
    entry: &mut Entry,
    headers: &HeaderMap,
    form: &[(String, String)],
) -> (Response<Body>, Outcome) {
    match gw.issuer.token(&TokenRequest { headers, form }).await {
        Ok(token) => {
            note(entry.record(), &token.minted, gw.names.public_url());
            (oauth_error::json(200, &token.body()), Outcome::Completed)
        }
        Err(error) => {
            let record = entry.record();
            record.decision = Decision::Deny;
            record.agent.clone_from(&error.agent);
            record.denial = Some(error.reason.code().to_owned());
            record.cause = Some(error.cause.clone());
            (oauth_error::challenging(error.status(), &error.body(), error.challenge()), Outcome::Refused)
        }
    }
}

fn note(record: &mut Record, token: &Minted, issuer: &str) {
    record.decision = Decision::Permit;
    record.agent = Some(token.agent.clone());
    record.app = Some(token.app.clone());
    record.token = Some(token.jti.clone());
    record.workflow = Some(token.workflow.clone());
    record.scopes = token.scopes.iter().cloned().collect();
    record.chain = vec![vestibule_evidence::ChainLink {
        issuer: issuer.to_owned(),
        agent: token.agent.clone(),
        node: Some(token.node.clone()),
    }];
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
