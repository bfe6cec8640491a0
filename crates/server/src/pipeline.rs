//! START HERE: what happens to a request, in which order, and where it can be refused.
//!
//! Each step needs the proof value of the step before (`Caller`, `Permit`, `Access`, `Opened`): private fields, made in
//! one place only, so skipping a step does not compile. From admission on, everything runs inside the in-flight guard:
//! a revocation cancels whatever stage the request is in, and the reply's stream after it.

use std::{mem, sync::Arc, time::Duration};

use axum::body::Body;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio_util::sync::WaitForCancellationFutureOwned;
use vestibule_containment::{self as containment, Passage};
use vestibule_evidence::{Entry, Outcome};
use vestibule_inbound::{Caller, Presented};
use vestibule_model::{OperationId, Stop};
use vestibule_outbound::{Access, Calling};
use vestibule_policy::{Environment, Permit};

use crate::{
    apps::App,
    arrival::{Arrival, Attempt, Demand},
    breakers::{self, Measured},
    edge::{self, Surface},
    forward::{self, Going, Reply},
    gateway::Gateway,
    limits::Asking,
    listener::{Peer, Ticket, Wire},
    notes, reply,
    withdrawal::Withdrawing,
};

/// One request of an agent to an application.
pub(crate) async fn handle(gw: Arc<Gateway>, request: Request<Incoming>, peer: Peer) -> Response<Body> {
    let mut arrival = Arrival::new(&gw, request, peer.address);
    let mut entry = match gw.evidence.begin(arrival.record()) {
        Ok(entry) => entry,
        // What cannot be recorded is refused.
        Err(fault) => return edge::answer(&Stop::Failed(fault), &Surface::default(), arrival.id()),
    };
    let mut surface = Surface { is_dpop: arrival.is_dpop(), ..Surface::default() };
    let mut withdrawing = Withdrawing::default();
    let passed = pass(&gw, peer, &mut entry, &mut surface, &mut arrival, &mut withdrawing).await;
    let mut response = match passed {
        // The record is closed with the last byte of the reply.
        Ok(reply) => reply::stream(&gw, reply, entry, &surface, arrival.started()).await,
        Err(stop) => {
            let outcome = forward::outcome_of(&stop, withdrawing.is_forwarded());
            refuse(&gw, &stop, (entry, outcome), &surface, &mut arrival).await
        }
    };
    if surface.is_dpop || response.status() == StatusCode::UNAUTHORIZED {
        edge::nonce(&mut response, &gw.proofs.nonce());
    }
    response
}

async fn refuse(
    gw: &Gateway,
    stop: &Stop,
    (mut entry, outcome): (Entry, Outcome),
    surface: &Surface,
    arrival: &mut Arrival,
) -> Response<Body> {
    notes::stop(entry.record(), stop);
    entry.record().durations.total_us = notes::micros(gw.clock.monotonic().since(arrival.started()));
    let id = entry.id();
    gw.metrics.stopped(stop);
    let mut response = match entry.close(outcome).await {
        Ok(()) => edge::answer(stop, surface, id),
        Err(fault) => edge::answer(&fault.into(), surface, id),
    };
    if !arrival.is_drained().await {
        edge::closing(&mut response);
    }
    response
}

async fn pass(
    gw: &Arc<Gateway>,
    peer: Peer,
    entry: &mut Entry,
    surface: &mut Surface,
    arrival: &mut Arrival,
    withdrawing: &mut Withdrawing,
) -> Result<Reply, Stop> {
    let app = arrival.app(gw, surface)?;
    entry.record().app = Some(app.id().clone());
    let caller = authenticate(gw, entry, arrival, &app).await?; // door one
    let passage = breakers::admit(gw, &caller, app.id(), arrival.id()).await?; // registered first, then checked
    let passage = carried(passage, peer); // until the reply has left, whatever it will be
    let mut measured = Measured::default();
    let mut passed = passage
        .guard(async {
            let slot = gw.slots.take(caller.chain().actors()).await?;
            let attempt = arrival.attempt(gw, &app, &caller, surface).await?; // the one parse
            measured.asked(&attempt);
            let decided = decide(gw, entry, &caller, &attempt); // the lock
            let permit = limit(gw, &app, &caller, &attempt.demand, decided).await?; // how often
            let access = obtain(gw, entry, permit).await?; // door two
            let opened = entry.opened().await?;
            let asked = surface.asked.as_ref();
            let going = Going { opened, slot, passage: &passage, withdrawing: &mut *withdrawing, asked };
            forward::call(gw, &app, &caller, attempt, access, going).await
        })
        .await;
    if let Ok(passed) = &mut passed {
        measured.ended(gw, &caller, &passage, passed.as_mut().map_err(|stop| &*stop));
    }
    match passed {
        Ok(reply) => reply.map(|reply| reply.under(Arc::clone(&passage), mem::take(withdrawing))),
        Err(denial) => {
            entry.record().cancelled = withdrawing.fire(gw, Some(denial));
            Err(breakers::cut(gw, &passage, denial))
        }
    }
}

/// Keeps the passage until the reply is with the kernel, and tells containment on which connection that goes out.
fn carried(passage: Passage, peer: Peer) -> Arc<Passage> {
    let (passage, wire) = (Arc::new(passage), peer.wire());
    let is_shared = wire.is_shared();
    passage.carried_by(wire, is_shared);
    peer.keep(Arc::clone(&passage));
    passage
}

async fn authenticate(gw: &Gateway, entry: &mut Entry, arrival: &Arrival, app: &App) -> Result<Caller, Stop> {
    let started = gw.clock.monotonic();
    let url = format!("{}{}", gw.names.public_url(), arrival.path());
    let presented = Presented {
        headers: arrival.headers(),
        query: arrival.query(),
        resource: app.resource(),
        app: app.id(),
        method: arrival.method(),
        url: &url,
    };
    let caller = gw.authenticator.authenticate(&presented).await;
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

/// Counts what was decided about: every attempt by rates, what is permitted by quotas.
async fn limit(
    gw: &Gateway,
    app: &App,
    caller: &Caller,
    demand: &Demand,
    decided: Result<Permit, Stop>,
) -> Result<Permit, Stop> {
    if demand.is_sequel() {
        return decided;
    }
    // Names that an agent has made up are nothing to count by.
    let exists = |operation: &OperationId| {
        decided.is_ok() || app.operations().is_some_and(|all| all.get(&operation.name).is_some())
    };
    let operation = match demand {
        Demand::Operation { operation, .. } => Some(operation).filter(|operation| exists(operation)),
        Demand::Always { .. } | Demand::List { .. } => None,
    };
    let (chain, user) = (caller.chain().actors(), caller.user());
    let asking = Asking { chain, user, app: app.id(), operation };
    gw.limits.charge(&asking, &gw.registry.directory(), decided).await
}

async fn obtain(gw: &Gateway, entry: &mut Entry, permit: Permit) -> Result<Access, Stop> {
    let started = gw.clock.monotonic();
    let life = Duration::from_secs(gw.settings.limits.call_max_seconds);
    let (attempt, args_digest) = (entry.id(), entry.record().args_digest);
    let access = gw.outbound.obtain(permit, &Calling { attempt, life, args_digest }).await;
    let record = entry.record();
    record.durations.outbound_us = notes::micros(gw.clock.monotonic().since(started));
    let access = access?;
    notes::access(record, access.facts());
    Ok(access)
}

impl Ticket for Passage {
    fn cancelled(&self) -> WaitForCancellationFutureOwned {
        Passage::cancelled(self)
    }
}

impl containment::Wire for Wire {
    fn sever(&self) {
        Wire::sever(self);
    }
}
