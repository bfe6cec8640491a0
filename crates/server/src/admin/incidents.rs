use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::Body,
    extract::{Path, Query, State},
};
use http::{HeaderValue, Response, header};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use vestibule_containment::{DenyKey, KeyKind, Order, Reason, Report, State as Standing};
use vestibule_evidence::{BUNDLE_GATHERED, BUNDLE_MANIFEST, BUNDLE_SEAL, seal_bundle};
use vestibule_model::{AgentId, AttemptId, Digest, Timestamp};

use super::{
    Act, Answer, Gw, OPERATOR, Refused, json as answer, page, recorded_as, recorded_with,
    revocations::{Given, ordered, resumed},
};
use crate::{
    gateway::Gateway,
    incident::{
        Closing, GatherError, Gathering, Incident, IncidentState, Incidents, Kept, NOTE_MAX_BYTES, Parts,
        oldest_node,
    },
};

/// How far an incident reaches back when no delegation of its agent lives.
const REACH: Duration = Duration::from_hours(24);
/// Incidents in one answer.
const PAGE: u32 = 200;

/// Whom to stop.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Suspect {
    agent: String,
    #[serde(default)]
    reason: Option<Reason>,
    /// Milliseconds since the Unix epoch: what the agent did from then on is gathered.
    #[serde(default)]
    since: Option<i64>,
}

/// What is decided.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct End {
    verdict: Verdict,
    #[serde(default)]
    note: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    Resume,
    Revoke,
}

#[derive(Debug, Deserialize)]
pub(super) struct Paging {
    after: Option<String>,
}

/// Suspends the agent first; everything else comes after the acknowledgement.
pub(super) async fn open(State(gw): Gw, body: Given<Suspect>) -> Answer {
    let Json(body) = body.map_err(|error| Refused::invalid(error.body_text()))?;
    let agent = AgentId::new(&body.agent).map_err(|error| Refused::invalid(error.to_string()))?;
    let reason = body.reason.unwrap_or(Reason::Unspecified);
    if !reason.cascades() {
        return Err(Refused::invalid("`superseded` cuts nothing: it is no reason for an incident"));
    }
    let since = body.since.map(Timestamp::from_millis);
    let at = gw.clock.now();
    if since.is_some_and(|since| since > at) {
        return Err(Refused::invalid("`since` is in the future"));
    }
    let id = AttemptId::new(at, &*gw.entropy);
    let detail = json!({ "reason": reason, "since": since });
    let act = Act { action: "incident-open", target: format!("agent/{agent}"), detail: &detail };
    let work = async {
        let report = ordered(&gw, order(&agent, Standing::Suspended, reason)).await?;
        // From here on nothing that goes wrong takes the suspension back.
        let new = Incident {
            id,
            since: match since {
                Some(since) => since,
                None => reach(&gw, &agent, at).await?,
            },
            agent: agent.clone(),
            state: IncidentState::Open,
            reason,
            opened_at: at,
            by: OPERATOR.to_owned(),
            suspension: json!(report),
            closed: None,
        };
        let opened = Incidents(&*gw.store).open(new, since).await.map_err(stands)?;
        Ok((opened, report))
    };
    let told = |((kept, is_new), report): &((Kept, bool), Report)| {
        Some(json!({
            "incident": kept.incident.id, "again": !is_new, "since": kept.incident.since, "reason": reason,
            "state": report.state, "version": report.version, "cut": report.cut, "completed": report.completed,
        }))
    };
    let ((kept, is_new), report) = recorded_as(&gw, id, act, work, told).await?;
    let mut shown = shown(&gw, &kept);
    merge(&mut shown, "again", json!(!is_new));
    merge(&mut shown, "report", json!(report));
    answer(if is_new { 201 } else { 200 }, &shown)
}

/// What an agent did since its oldest delegation was made that lives, or since yesterday.
async fn reach(gw: &Gateway, agent: &AgentId, now: Timestamp) -> Result<Timestamp, Refused> {
    Ok(oldest_node(gw, agent).await.map_err(stands)?.unwrap_or(now.minus(REACH)))
}

/// The agent is stopped, and what came after failed.
fn stands(error: impl std::fmt::Display) -> Refused {
    tracing::error!(%error, "an incident cannot be kept");
    let detail = "the agent is suspended, and that stands; the incident could not be kept: see the gateway's log, and repeat \
                  the order";
    Refused::new(503, "incident-not-kept", detail)
}

fn order(agent: &AgentId, state: Standing, reason: Reason) -> Order {
    let (cutoff, expires_at, by) = (None, None, OPERATOR.to_owned());
    Order { key: DenyKey::Agent(agent.clone()), state, reason, cutoff, expires_at, by, dry_run: false }
}

pub(super) async fn list(State(gw): Gw, Query(paging): Query<Paging>) -> Answer {
    let after = paging.after.as_deref().map(AttemptId::parse).transpose();
    let after = after.map_err(|error| Refused::invalid(error.to_string()))?;
    let (kept, next) = Incidents(&*gw.store).page(after, PAGE).await.map_err(Refused::broken)?;
    page(kept.iter().map(|kept| shown(&gw, kept)).collect(), next.map(|next| next.to_string()))
}

pub(super) async fn show(State(gw): Gw, Path(id): Path<String>) -> Answer {
    answer(200, &shown(&gw, &known(&gw, &id).await?))
}

/// Resumes or revokes the agent first, then closes. Closing in the same way again is no error.
pub(super) async fn close(State(gw): Gw, Path(id): Path<String>, body: Given<End>) -> Answer {
    let Json(End { verdict, note }) = body.map_err(|error| Refused::invalid(error.body_text()))?;
    if note.as_ref().is_some_and(|note| note.len() > NOTE_MAX_BYTES) {
        return Err(Refused::invalid(format!("`note` must have at most {NOTE_MAX_BYTES} bytes")));
    }
    let kept = known(&gw, &id).await?;
    let (state, name) = match verdict {
        Verdict::Resume => (IncidentState::Resumed, "resume"),
        Verdict::Revoke => (IncidentState::Revoked, "revoke"),
    };
    if kept.incident.state == state {
        return answer(200, &shown(&gw, &kept));
    }
    if kept.incident.state != IncidentState::Open {
        let detail = format!(
            "it is closed: {}; its agent can be revoked or suspended all the same",
            kept.incident.state.as_str()
        );
        return Err(Refused::new(409, "incident-closed", detail));
    }
    let detail = json!({ "agent": kept.incident.agent, "verdict": name, "note": note });
    let act = Act { action: "incident-close", target: format!("incident/{id}"), detail: &detail };
    let work = async {
        let report = decide(&gw, &kept.incident, verdict).await?;
        let closing = Closing { at: gw.clock.now(), by: OPERATOR.to_owned(), note: note.clone() };
        let closed = Incidents(&*gw.store).close(kept, state, closing).await.map_err(|error| {
            tracing::error!(%error, "an incident cannot be closed");
            let detail =
                format!("the order to {name} the agent is in force; the incident stands open: repeat");
            Refused::new(503, "incident-not-kept", detail)
        })?;
        Ok((closed, report))
    };
    let (closed, report) = recorded_with(&gw, act, work, |_| None).await?;
    let mut shown = shown(&gw, &closed);
    if let Some(report) = report {
        merge(&mut shown, "report", json!(report));
    }
    answer(200, &shown)
}

async fn decide(gw: &Gateway, incident: &Incident, verdict: Verdict) -> Result<Option<Report>, Refused> {
    let Incident { agent, reason, .. } = incident;
    match verdict {
        Verdict::Revoke => ordered(gw, order(agent, Standing::Revoked, *reason)).await.map(Some),
        Verdict::Resume => match resumed(gw, &DenyKey::Agent(agent.clone())).await {
            // Somebody has resumed it already.
            Err(refused) if refused.code == "not-suspended" => Ok(None),
            Err(refused) => Err(refused),
            Ok(_) => Ok(None),
        },
    }
}

/// The bundle, a line of JSON for each piece of a file.
pub(super) async fn bundle(State(gw): Gw, Path(id): Path<String>) -> Result<Response<Body>, Refused> {
    let kept = known(&gw, &id).await?;
    let id = kept.incident.id;
    let standing = standing(&gw, &kept.incident.agent).to_owned();
    let gathering = Gathering::of(&gw, kept.incident, standing).await.map_err(|error| {
        tracing::error!(%error, "a bundle cannot be gathered");
        Refused::new(503, "incident-not-gathered", error.to_string())
    })?;
    let (parts, receiver) = Parts::new();
    tokio::spawn(send(gw, gathering, parts, id));
    let lines = ReceiverStream::new(receiver).map(Ok::<_, std::convert::Infallible>);
    let mut response = Response::new(Body::from_stream(lines));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The last line says whether it is whole.
async fn send(gw: Arc<Gateway>, gathering: Gathering, mut parts: Parts, incident: AttemptId) {
    let write = move || {
        let manifest = gathering.write(&mut parts).and_then(|()| parts.finish(incident));
        (parts, manifest)
    };
    let Ok((parts, manifest)) = tokio::task::spawn_blocking(write).await else {
        tracing::error!("the gathering of a bundle broke");
        return;
    };
    let sent = match manifest {
        Ok(manifest) => seal(&gw, &parts, incident, &manifest).await,
        Err(error) => Err(error),
    };
    if let Err(error) = sent {
        tracing::error!(%error, "a bundle is not whole");
        // Nobody may be there any more.
        let _ = parts.send_now(&json!({ "failed": error.to_string() })).await;
    }
}

/// Records the digest of the manifest, and proves that it is recorded.
async fn seal(gw: &Gateway, parts: &Parts, incident: AttemptId, manifest: &str) -> Result<(), GatherError> {
    parts.send_now(&json!({ "file": BUNDLE_MANIFEST, "text": manifest })).await?;
    let detail = json!({ "manifest": Digest::of(manifest.as_bytes()) });
    let act = Act { action: BUNDLE_GATHERED, target: format!("incident/{incident}"), detail: &detail };
    let id = AttemptId::new(gw.clock.now(), &*gw.entropy);
    let work = async { Ok(()) };
    recorded_as(gw, id, act, work, |()| None).await.map_err(|_| GatherError::Broken)?;
    gw.evidence.sign().await?;
    let (folder, key) = (gw.settings.evidence_folder.clone(), gw.evidence.public_key().clone());
    let sealed = tokio::task::spawn_blocking(move || seal_bundle(&folder, &key, id)).await;
    let seal = sealed.map_err(|_| GatherError::Broken)??.ok_or(GatherError::Broken)?;
    parts.send_now(&json!({ "file": BUNDLE_SEAL, "text": seal })).await?;
    parts.send_now(&json!({ "end": true, "key": gw.evidence.public_key().to_string() })).await
}

async fn known(gw: &Gateway, id: &str) -> Result<Kept, Refused> {
    let id =
        AttemptId::parse(id).map_err(|_| Refused::invalid("an incident's id has 32 hexadecimal digits"))?;
    let kept = Incidents(&*gw.store).get(id).await.map_err(Refused::broken)?;
    kept.ok_or_else(|| Refused::not_found("incident"))
}

/// What containment says about the agent itself now, whoever ordered it.
fn standing(gw: &Gateway, agent: &AgentId) -> &'static str {
    let entries = gw.containment.list();
    let own =
        entries.iter().filter(|entry| entry.key.kind() == KeyKind::Agent && entry.key.id() == agent.as_str());
    let outright = own.filter(|entry| entry.cutoff.is_none() && entry.reason.cascades());
    let states: Vec<Standing> = outright.map(|entry| entry.state).collect();
    match (states.contains(&Standing::Revoked), states.contains(&Standing::Suspended)) {
        (true, _) => "revoked",
        (false, true) => "suspended",
        (false, false) => "active",
    }
}

fn shown(gw: &Gateway, kept: &Kept) -> Value {
    let Incident { id, agent, state, reason, opened_at, by, since, suspension, closed } = &kept.incident;
    json!({
        "id": id, "kind": "incident", "version": kept.version, "agent": agent, "state": state, "reason": reason,
        "opened_at": opened_at, "by": by, "since": since, "standing": standing(gw, agent), "suspension": suspension,
        "closed": closed,
    })
}

fn merge(into: &mut Value, key: &str, value: Value) {
    if let Some(members) = into.as_object_mut() {
        members.insert(key.to_owned(), value);
    }
}
