//! The bracket's last step: the call to the application, and what its answer means.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use hyper::body::Incoming;
use vestibule_containment::Passage;
use vestibule_egress::EgressBody;
use vestibule_evidence::{Opened, Outcome};
use vestibule_inbound::Caller;
use vestibule_mcp::ListKind;
use vestibule_model::{AppKind, Denial, Fault, FaultKind, Method, Stop};
use vestibule_outbound::{Access, Forward};

use crate::{
    apps::App,
    arrival::{Attempt, Demand},
    body::StreamedDigest,
    gateway::Gateway,
    mcp_reply,
    slots::{Held, Slot},
};

/// The request that goes to the application if it is permitted. Holds the bytes that were decided about.
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    /// Below the application's base.
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: EgressBody,
    /// The share of the total that the body occupies.
    pub(crate) held: Held,
}

/// The application's reply, with everything that ends with it.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: ReplyBody,
    pub(crate) passage: Option<Passage>,
    pub(crate) slot: Slot,
    pub(crate) held: Held,
    pub(crate) bytes_in: u64,
    pub(crate) streamed: Option<StreamedDigest>,
    pub(crate) upstream: Duration,
    /// When the call must have ended.
    pub(crate) deadline: Duration,
}

/// The body of a reply.
pub(crate) enum ReplyBody {
    /// As it comes from the application.
    Streamed(Incoming),
    /// Read whole and filtered.
    Whole(Bytes),
}

/// Calls the application. Needs the credential, which needs the permit, and the proof that the record is open.
pub(crate) async fn call(
    gw: &Arc<Gateway>,
    app: &App,
    caller: &Caller,
    attempt: Attempt,
    access: Access,
    opened: Opened,
    slot: Slot,
) -> Result<Reply, Stop> {
    let Attempt { demand, outgoing, bytes_in, streamed, .. } = attempt;
    let Outgoing { method, path, query, headers, body, held } = outgoing;
    let started = gw.clock.monotonic();
    let forward = Forward { method, path, query, headers, body };
    let Opened { .. } = opened;
    let response = gw.outbound.call(access, forward).await?;
    let upstream = gw.clock.monotonic().since(started);
    let reply = Reply {
        status: response.status(),
        headers: HeaderMap::new(),
        body: ReplyBody::Whole(Bytes::new()),
        passage: None,
        slot,
        held,
        bytes_in,
        streamed,
        upstream,
        deadline: Duration::from_secs(gw.settings.limits.call_max_seconds),
    };
    refuse_challenge(&response)?;
    match (app.kind(), demand) {
        (AppKind::Mcp, Demand::List { kind, .. }) => filtered(gw, app, caller, kind, response, reply).await,
        (AppKind::Mcp, Demand::Operation { .. } | Demand::Always { .. }) => {
            Ok(mcp_reply::streamed(gw, app, caller, response, reply))
        }
        (AppKind::Http, _) => {
            let headers = vestibule_outbound::response_headers(response.headers());
            Ok(Reply { headers, body: ReplyBody::Streamed(response.into_body()), ..reply })
        }
    }
}

async fn filtered(
    gw: &Arc<Gateway>,
    app: &App,
    caller: &Caller,
    kind: ListKind,
    response: Response<Incoming>,
    reply: Reply,
) -> Result<Reply, Stop> {
    mcp_reply::filtered(gw, app, caller, kind, response, reply).await
}

/// The application's 401 is about the gateway's credential, not the caller's: passed on, it would send the caller to log
/// in again, for nothing.
fn refuse_challenge(response: &Response<Incoming>) -> Result<(), Stop> {
    if response.status() == StatusCode::UNAUTHORIZED {
        return Err(Fault::new(FaultKind::AccessUnavailable, "the application refused the gateway's credential").into());
    }
    Ok(())
}

/// What a stop means for the record: whether the application may have acted.
pub(crate) fn outcome_of(stop: &Stop) -> Outcome {
    match stop {
        Stop::Denied(refusal) => match refusal.denial {
            Denial::TokenRevoked | Denial::DelegationRevoked | Denial::AgentRevoked => Outcome::Cut,
            _ => Outcome::Refused,
        },
        Stop::Failed(fault) => match fault.kind {
            FaultKind::UpstreamUnreachable | FaultKind::UpstreamTimeout | FaultKind::UpstreamInvalid => {
                Outcome::UpstreamFailed
            }
            FaultKind::EvidenceUnavailable
            | FaultKind::StoreUnavailable
            | FaultKind::AppNotReady
            | FaultKind::AccessUnavailable
            | FaultKind::Internal => Outcome::Failed,
        },
    }
}
