//! The circuit breakers of agents and applications at work: what is measured on the path of a request, who is refused with
//! which words, and how each change is kept, recorded and counted. What a breaker is, the page of
//! [`vestibule_containment::breaker`] says.

mod measured;
mod told;
mod upstream;

pub(crate) use measured::{Measured, Metered};
pub(crate) use upstream::attempt_on;

use std::{sync::Arc, time::Duration};

use vestibule_containment::{Passage, Path, breaker::Tripped};
use vestibule_inbound::Caller;
use vestibule_model::{AppId, AttemptId, Denial, Refusal, Stop};

use crate::{gateway::Gateway, notes};

/// Lets an attempt in: registered first, then checked. Where the breaker of an agent of the chain is due, the attempt asks to
/// be one of its probes.
pub(crate) async fn admit(
    gw: &Arc<Gateway>,
    caller: &Caller,
    app: &AppId,
    attempt: AttemptId,
) -> Result<Passage, Stop> {
    let path = notes::path(caller, app);
    let mut admitted = gw.containment.admit(&path, attempt);
    if matches!(admitted, Err(Denial::AgentSuspended)) && is_due(gw, &path) {
        match gw.containment.breakers().probe(path.agents).await {
            Ok(changes) => told::agents(gw, changes),
            Err(error) => tracing::error!(%error, "a breaker stays open, for the state cannot be reached"),
        }
        admitted = gw.containment.admit(&path, attempt);
    }
    admitted.map_err(|denial| refusal(gw, denial, || gw.containment.tripped(&path)))
}

fn is_due(gw: &Gateway, path: &Path<'_>) -> bool {
    let now = gw.clock.now();
    gw.containment.tripped(path).is_some_and(|tripped| tripped.breaker.is_due(now))
}

/// A denial of containment, in its own words where a breaker is the reason.
fn refusal(gw: &Gateway, denial: Denial, tripped: impl FnOnce() -> Option<Tripped>) -> Stop {
    let mut refusal = Refusal::from(denial);
    if denial == Denial::AgentSuspended
        && let Some(tripped) = tripped()
    {
        refusal.cause = cause(&tripped);
        refusal.retry_after = Some(tripped.breaker.retry_after(gw.clock.now()));
        refusal.hints.push("a circuit breaker is open".to_owned());
        refusal.hints.extend(refusal.retry_after.map(again));
    }
    refusal.into()
}

/// As `refusal`, for an attempt that was cut.
pub(crate) fn cut(gw: &Gateway, passage: &Passage, denial: Denial) -> Stop {
    refusal(gw, denial, || gw.containment.tripped_in(passage))
}

/// Why it was cut, for the record: none where an order has done it.
pub(crate) fn cause_of(gw: &Gateway, passage: &Passage, denial: Denial) -> Option<String> {
    let tripped = (denial == Denial::AgentSuspended).then(|| gw.containment.tripped_in(passage));
    tripped.flatten().as_ref().map(cause)
}

/// By these words the record tells a breaker from an order.
fn cause(tripped: &Tripped) -> String {
    let Tripped { agent, cause, .. } = tripped;
    format!("the breaker of agent `{agent}` is open: {} ({}, by {})", cause.detail, cause.signal, cause.by)
}

fn again(after: Duration) -> String {
    format!("try again in {} seconds", after.as_secs())
}
