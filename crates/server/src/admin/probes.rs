use std::sync::atomic::Ordering;

use axum::{body::Body, extract::State};
use http::{Response, StatusCode};
use vestibule_containment::breaker::Phase;

use super::{Gw, reply};

/// The process answers.
pub(super) async fn livez() -> StatusCode {
    StatusCode::OK
}

/// It can serve: not draining, its view of revocations is fresh, policies are loaded. The body is empty: this is the one
/// thing that strangers may learn.
pub(super) async fn readyz(State(gw): Gw) -> StatusCode {
    let is_fresh = gw.follower.state_age() <= gw.settings.lease;
    let is_ready = is_fresh && !gw.draining.load(Ordering::SeqCst) && gw.policies.status().running.is_some();
    if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

pub(super) async fn metrics(State(gw): Gw) -> Response<Body> {
    let status = gw.policies.status();
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a double in this format")]
    let gauges = [
        (
            "vestibule_state_age_seconds",
            "Age of the view of revocations.",
            gw.follower.state_age().as_secs_f64(),
        ),
        ("vestibule_bytes_in_flight", "Bytes buffered for requests and lists.", gw.bytes.held() as f64),
        ("vestibule_agents", "Registered agents.", gw.registry.directory().len() as f64),
        (
            "vestibule_agent_breakers_open",
            "Breakers of agents that are open or probing.",
            gw.containment.breakers().list().len() as f64,
        ),
        (
            "vestibule_upstream_breakers_open",
            "Breakers of applications that are open or probing.",
            gw.upstreams.list().iter().filter(|one| one.breaker.phase != Phase::Closed).count() as f64,
        ),
        (
            "vestibule_policies_last_reload_successful",
            "1 if the policies in the folder are the ones that decide.",
            f64::from(u8::from(status.problems.is_empty() && status.running.is_some())),
        ),
    ];
    reply(200, "text/plain; version=0.0.4", gw.metrics.render(&gauges))
}
