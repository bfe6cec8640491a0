//! The bracket's last step: the call to the application, and what its answer means.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use hyper::body::Incoming;
use vestibule_containment::Passage;
use vestibule_egress::{EgressBody, full};
use vestibule_evidence::{Opened, Outcome};
use vestibule_inbound::Caller;
use vestibule_mcp::Asked;
use vestibule_model::{AppKind, Fault, FaultKind, Method, Monotonic, Stop};
use vestibule_outbound::{Access, Forward};

use crate::{
    apps::App,
    arrival::{Attempt, Demand},
    body::StreamedDigest,
    breakers::{self, Metered},
    gateway::Gateway,
    mcp_arrival::SESSION,
    mcp_reply::{self, EventFilter, Filter},
    outer_calls::{Name, OuterCall},
    slots::{Held, Slot},
    withdrawal::{self, Withdrawing},
};

/// The request that goes to the application if it is permitted. Holds the bytes that were decided about.
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    /// Below the application's base.
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: EgressBody,
    /// The same once more, where it is all here: what is streamed can be sent only once.
    pub(crate) again: Option<Bytes>,
    /// The share of the total that the body occupies.
    pub(crate) held: Held,
}

/// The application's reply, with everything that ends with it.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: ReplyBody,
    pub(crate) passage: Option<Arc<Passage>>,
    pub(crate) withdrawing: Withdrawing,
    /// Of a call to an agent: what its caller can call off.
    pub(crate) outer: Option<OuterCall>,
    pub(crate) slot: Slot,
    pub(crate) held: Held,
    pub(crate) bytes_in: u64,
    pub(crate) streamed: Option<StreamedDigest>,
    /// Of a caller whose bytes are judged.
    pub(crate) metered: Option<Metered>,
    pub(crate) forwarded: Monotonic,
    /// When the call must have ended.
    pub(crate) deadline: Duration,
}

/// The body of a reply.
pub(crate) enum ReplyBody {
    /// As it comes from the application.
    Streamed(Incoming),
    /// A stream of events, whose lists are filtered as they pass.
    Filtered(Incoming, Box<EventFilter>),
    /// Read whole and filtered.
    Whole(Bytes),
}

/// What a call needs besides its credential: the proof that its record is open, its turn, and how it is cut.
pub(crate) struct Going<'a> {
    pub(crate) opened: Opened,
    pub(crate) slot: Slot,
    pub(crate) passage: &'a Passage,
    /// How the application is told, should the call be cut.
    pub(crate) withdrawing: &'a mut Withdrawing,
    /// The JSON-RPC request, if it is one.
    pub(crate) asked: Option<&'a Asked>,
}

impl Reply {
    /// Keeps the passage with the reply, so that a revocation cuts the stream.
    pub(crate) fn under(self, passage: Arc<Passage>, withdrawing: Withdrawing) -> Self {
        Self { passage: Some(passage), withdrawing, ..self }
    }
}

/// Calls the application. Needs the credential, which needs the permit, and the proof that the record is open.
pub(crate) async fn call(
    gw: &Arc<Gateway>,
    app: &Arc<App>,
    caller: &Caller,
    attempt: Attempt,
    access: Access,
    going: Going<'_>,
) -> Result<Reply, Stop> {
    let Attempt { demand, outgoing, bytes_in, streamed, peer, calls_off, .. } = attempt;
    // The arguments have been decided about and recorded: while the application works, their tree is not kept.
    let list = match demand {
        Demand::List { kind, .. } => Some(kind),
        Demand::Operation { .. } | Demand::Always { .. } => None,
    };
    let Outgoing { method, path, query, headers, body, again, held } = outgoing;
    let trial = breakers::attempt_on(gw, app.id())?;
    let forwarded = gw.clock.monotonic();
    if let Some(request) = calls_off {
        gw.calls.call_off(&Name::of(caller, app.id(), session(&headers), &request));
    }
    let outer = outer_call(gw, app, caller, &headers, &going);
    let Going { opened, slot, passage, withdrawing, asked } = going;
    passage.forwarded();
    // INVARIANT: after that, look. A cut either finds the call forwarded, or is found here: what a report calls queued
    // never gets to the application.
    if let Some(denial) = passage.cut() {
        return Err(denial.into());
    }
    withdrawing.arm(gw, asked, &access, &headers);
    let forward = Forward { method, path, query, headers, body };
    let once_more = again.and_then(|body| Some((access.renewal()?, repeated(&forward, body))));
    let sent = async {
        let response = send(gw, access, &opened, forward).await?;
        match once_more {
            Some((renewal, forward)) if response.status() == StatusCode::UNAUTHORIZED => {
                // What the application answers with 401 it has not carried out (RFC 9110 §15.5.2: "the request has not been
                // applied"): the same call is sent once more with another token. A cut drops this wherever it waits, and
                // is looked for once more before the call goes out again.
                let Some(access) = gw.outbound.renew(renewal).await? else { return Ok(response) };
                if let Some(denial) = passage.cut() {
                    return Err(denial.into());
                }
                withdrawing.arm(gw, asked, &access, &forward.headers);
                send(gw, access, &opened, forward).await
            }
            Some(_) | None => Ok(response),
        }
    };
    let answer = sent.await;
    trial.ended(gw, &answer);
    let response = match answer {
        Ok(response) => response,
        Err(stop) => {
            if withdrawal::is_at_work(&stop) {
                withdrawing.fire(gw, None);
            }
            return Err(stop);
        }
    };
    let reply = Reply {
        status: response.status(),
        headers: HeaderMap::new(),
        body: ReplyBody::Whole(Bytes::new()),
        passage: None,
        withdrawing: Withdrawing::default(),
        outer,
        slot,
        held,
        bytes_in,
        streamed,
        metered: None,
        forwarded,
        deadline: time_left(gw, caller),
    };
    refuse_challenge(&response)?;
    let filter = || Filter::new(gw, app, caller, peer.ip());
    match (app.kind(), list) {
        (AppKind::Mcp, Some(kind)) => mcp_reply::filtered(filter(), kind, response, reply).await,
        // A legacy stream that is resumed replays what was sent before, lists too.
        (AppKind::Mcp, None) if method == Method::Get => Ok(mcp_reply::replayed(filter(), response, reply)),
        (AppKind::Mcp, None) => Ok(mcp_reply::streamed(&filter(), response, reply)),
        (AppKind::Http, _) => {
            let headers = vestibule_outbound::response_headers(response.headers());
            Ok(Reply { headers, body: ReplyBody::Streamed(response.into_body()), ..reply })
        }
    }
}

/// INVARIANT: the only place where a caller's request leaves. Without an open record it does not compile.
async fn send(
    gw: &Gateway,
    access: Access,
    _: &Opened,
    forward: Forward,
) -> Result<Response<Incoming>, Stop> {
    Ok(gw.outbound.call(access, forward).await?)
}

/// The same request with the same body.
fn repeated(forward: &Forward, body: Bytes) -> Forward {
    let Forward { method, path, query, headers, .. } = forward;
    let (path, query, headers) = (path.clone(), query.clone(), headers.clone());
    Forward { method: *method, path, query, headers, body: full(body) }
}

/// A call to an application that is an agent can be called off by its caller, and what that agent does for it with it.
fn outer_call(
    gw: &Gateway,
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
    going: &Going<'_>,
) -> Option<OuterCall> {
    gw.outbound.called_agent(app.id())?;
    let asked = going.asked.filter(|asked| asked.is_cancelled_by_notice())?;
    let name = Name::of(caller, app.id(), session(headers), asked.id());
    Some(gw.calls.begin(name, going.passage.off_switch()))
}

/// The session at the application, of the legacy era.
fn session(headers: &HeaderMap) -> Option<&str> {
    headers.get(SESSION)?.to_str().ok()
}

/// A call may go on after its token has expired, not after the delegation that the token was minted under.
fn time_left(gw: &Gateway, caller: &Caller) -> Duration {
    let longest = Duration::from_secs(gw.settings.limits.call_max_seconds);
    longest.min(caller.token().node_expires_at.since(gw.clock.now()))
}

/// The application's 401 is about the gateway's credential, not the caller's: passed on, it would send the caller to log
/// in again, for nothing.
fn refuse_challenge(response: &Response<Incoming>) -> Result<(), Stop> {
    if response.status() == StatusCode::UNAUTHORIZED {
        return Err(Fault::new(
            FaultKind::AccessUnavailable,
            "the application refused the gateway's credential",
        )
        .into());
    }
    Ok(())
}

/// What a stop means for the record. A call that was cut after it was forwarded may have been carried out.
pub(crate) fn outcome_of(stop: &Stop, is_forwarded: bool) -> Outcome {
    match stop {
        Stop::Denied(_) if is_forwarded => Outcome::Unknown,
        Stop::Denied(_) => Outcome::Refused,
        Stop::Failed(fault) => match fault.kind {
            FaultKind::UpstreamUnreachable
            | FaultKind::UpstreamTimeout
            | FaultKind::UpstreamSuspended
            | FaultKind::UpstreamInvalid => Outcome::UpstreamFailed,
            FaultKind::EvidenceUnavailable
            | FaultKind::StoreUnavailable
            | FaultKind::AppNotReady
            | FaultKind::AccessUnavailable
            | FaultKind::AuthorizationServerUnavailable
            | FaultKind::AuthorizationServerTimeout
            | FaultKind::AuthorizationServerInvalid
            | FaultKind::Internal => Outcome::Failed,
        },
    }
}
