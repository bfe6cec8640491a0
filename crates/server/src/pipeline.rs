//! START HERE: what happens to a request, in which order, and where it can be refused.
//!
//! Each step needs the proof value of the step before (`Caller`, `Permit`, `Access`, `Opened`): private fields, made in
//! one place only, so skipping a step does not compile. From admission on, everything runs inside the in-flight guard:
//! a revocation cancels whatever stage the request is in, and the reply's stream after it.

use std::{net::SocketAddr, sync::Arc};

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use vestibule_containment::Passage;
use vestibule_evidence::Entry;
use vestibule_inbound::{Caller, Presented};
use vestibule_model::Stop;
use vestibule_outbound::Access;
use vestibule_policy::{Environment, Permit};

use crate::{
    arrival::{Arrival, Attempt, Demand},
    edge::{self, Surface},
    forward::{self, Reply},
    gateway::Gateway,
    notes, reply,
};

/// One request of an agent to an application.
pub(crate) async fn handle(gw: Arc<Gateway>, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
    let mut arrival = Arrival::new(&gw, request, peer);
    let mut entry = match gw.evidence.begin(arrival.record()) {
        Ok(entry) => entry,
        // What cannot be recorded is refused.
        Err(fault) => return edge::answer(&Stop::Failed(fault), &Surface::default(), arrival.id()),
    };
    let (id, mut surface) = (entry.id(), Surface::default());
    match pass(&gw, &mut entry, &mut surface, &mut arrival).await {
        // The record is closed with the last byte of the reply.
        Ok(reply) => reply::stream(&gw, reply, entry, arrival.started()).await,
        Err(stop) => {
            notes::stop(entry.record(), &stop);
            entry.record().durations.total_us = notes::micros(gw.clock.monotonic().since(arrival.started()));
            let outcome = forward::outcome_of(&stop, entry.is_opened());
            gw.metrics.stopped(&stop);
            let stop = entry.close(outcome).await.map_or_else(Stop::Failed, |()| stop);
            let mut response = edge::answer(&stop, &surface, id);
            if !arrival.is_drained().await {
                edge::closing(&mut response);
            }
            response
        }
    }
}

async fn pass(
    gw: &Arc<Gateway>,
    entry: &mut Entry,
    surface: &mut Surface,
    arrival: &mut Arrival,
) -> Result<Reply, Stop> {
    let app = arrival.app(gw, surface)?;
    entry.record().app = Some(app.id().clone());
    let caller = authenticate(gw, entry, arrival, app.resource())?; // door one
    let passage = gw.containment.admit(&notes::path(&caller))?; // registered first, then checked
    let reply = passage
        .guard(async {
            let slot = gw.slots.take(caller.agent()).await?;
            let attempt = arrival.attempt(gw, &app, &caller, surface).await?; // the one parse
            let permit = decide(gw, entry, &caller, &attempt)?; // the lock
            let access = obtain(gw, entry, permit).await?; // door two
            let opened = entry.opened().await?;
            forward::call(gw, &app, &caller, attempt, access, forward::Going { opened, slot }).await
        })
        .await??;
    Ok(reply.under(passage))
}

fn authenticate(gw: &Gateway, entry: &mut Entry, arrival: &Arrival, resource: &str) -> Result<Caller, Stop> {
    let started = gw.clock.monotonic();
    let presented = Presented { headers: arrival.headers(), query: arrival.query(), resource };
    let caller = gw.authenticator.authenticate(&presented);
    let record = entry.record();
    record.durations.inbound_us = notes::micros(gw.clock.monotonic().since(started));
    let caller = caller?;
    notes::caller(record, &caller);
    Ok(caller)
}

fn decide(gw: &Gateway, entry: &mut Entry, caller: &Caller, attempt: &Attempt) -> Result<Permit, Stop> {
    let started = gw.clock.monotonic();
    let env = Environment { now: gw.clock.now(), ip: Some(attempt.peer.ip()) };
    notes::attempt(entry.record(), attempt);
    let verdict = match &attempt.demand {
        Demand::Operation { operation, arguments } => {
            let attempt = vestibule_policy::Attempt { operation: operation.clone(), arguments };
            gw.lock.decide(caller, &attempt, &env)
        }
        Demand::Always { method } | Demand::List { method, .. } => {
            gw.lock.always(caller, &attempt.app, method)
        }
    };
    let record = entry.record();
    record.durations.policy_us = notes::micros(gw.clock.monotonic().since(started));
    notes::verdict(record, verdict)
}

async fn obtain(gw: &Gateway, entry: &mut Entry, permit: Permit) -> Result<Access, Stop> {
    let started = gw.clock.monotonic();
    let access = gw.outbound.obtain(permit).await;
    entry.record().durations.outbound_us = notes::micros(gw.clock.monotonic().since(started));
    Ok(access?)
}

/// Keeps the passage with the reply, so that a revocation cuts the stream.
impl Reply {
    fn under(mut self, passage: Passage) -> Self {
        self.passage = Some(passage);
        self
    }
}
