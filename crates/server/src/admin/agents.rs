use std::collections::{BTreeMap, BTreeSet};

use axum::{
    Json,
    extract::{Path, Query, State},
};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Value, json};
use vestibule_containment::{DenyEntry, KeyKind, State as Standing};
use vestibule_issuer::{NewAgent, Registered, RegistryError};
use vestibule_model::{AgentId, AppId, Digest, Timestamp};

use super::{Act, Answer, Gw, Refused, json as answer, page, recorded};
use crate::gateway::Gateway;

/// An agent to add.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    id: String,
    #[serde(default)]
    groups: BTreeSet<String>,
    #[serde(default)]
    trust: u8,
    #[serde(default)]
    scopes: BTreeSet<String>,
    #[serde(default)]
    claims: BTreeMap<String, BTreeSet<String>>,
    #[serde(default)]
    apps: BTreeSet<AppId>,
    #[serde(default)]
    jwks: Option<Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Paging {
    after: Option<String>,
    limit: Option<usize>,
}

pub(super) async fn add(
    State(gw): Gw,
    body: Result<Json<Body>, axum::extract::rejection::JsonRejection>,
) -> Answer {
    let Json(body) = body.map_err(|error| Refused::invalid(error.body_text()))?;
    let new = NewAgent {
        id: body.id.clone(),
        groups: body.groups,
        trust: body.trust,
        scopes: body.scopes,
        claims: body.claims,
        apps: body.apps,
        jwks: body.jwks,
    };
    let detail = described(&new);
    let act = Act { action: "agent-add", target: format!("agent/{}", body.id), detail: &detail };
    let added = recorded(&gw, act, async { gw.registry.add(new).await.map_err(refused) }).await?;
    let mut shown = shown(&Registered { agent: added.agent, version: 1 }, &standing(&gw));
    merge(&mut shown, "client_id", json!(added.client_id));
    if let Some(secret) = &added.client_secret {
        merge(&mut shown, "client_secret", json!(secret.expose_secret()));
    }
    answer(201, &shown)
}

pub(super) async fn rotate(State(gw): Gw, Path(id): Path<String>) -> Answer {
    let agent = known(&gw, &id)?.agent;
    let act = Act { action: "agent-rotate", target: format!("agent/{id}"), detail: &json!({}) };
    let secret = recorded(&gw, act, async { gw.registry.rotate(&agent.id).await.map_err(refused) }).await?;
    answer(
        200,
        &json!({ "id": id, "kind": "agent", "client_id": id, "client_secret": secret.expose_secret() }),
    )
}

pub(super) async fn show(State(gw): Gw, Path(id): Path<String>) -> Answer {
    answer(200, &shown(&known(&gw, &id)?, &standing(&gw)))
}

pub(super) async fn list(State(gw): Gw, Query(paging): Query<Paging>) -> Answer {
    let limit = paging.limit.unwrap_or(100).clamp(1, 1_000);
    let after = paging.after.as_deref().map(AgentId::new).transpose();
    let after = after.map_err(|error| Refused::invalid(error.to_string()))?;
    let agents = gw.registry.list(after.as_ref(), limit);
    let next = if agents.len() == limit { agents.last().map(|one| one.agent.id.to_string()) } else { None };
    let standing = standing(&gw);
    page(agents.iter().map(|agent| shown(agent, &standing)).collect(), next)
}

/// What the record says of a new agent. Whoever adds one may give it somebody else's claims or a key of their own, so
/// these are there too; the digest stands for what is cut off.
fn described(new: &NewAgent) -> Value {
    let all = json!({
        "trust": new.trust, "groups": new.groups, "scopes": new.scopes, "apps": new.apps, "claims": new.claims,
        "jwks": new.jwks,
    });
    let digest = Digest::of(all.to_string().as_bytes());
    let keys = new.jwks.as_ref().map(|jwks| Digest::of(jwks.to_string().as_bytes()));
    json!({
        "digest": digest, "trust": new.trust, "jwks_digest": keys, "claims": new.claims, "groups": new.groups,
        "scopes": new.scopes, "apps": new.apps,
    })
}

fn known(gw: &Gateway, id: &str) -> Result<Registered, Refused> {
    let found = AgentId::new(id).ok().and_then(|id| gw.registry.get(&id));
    found.ok_or_else(|| Refused::not_found("agent"))
}

fn refused(error: RegistryError) -> Refused {
    match error {
        RegistryError::Exists => Refused::new(409, "exists", "an agent with this id exists"),
        RegistryError::Unknown => Refused::not_found("agent"),
        RegistryError::HasKeys | RegistryError::Malformed(_) => Refused::invalid(error.to_string()),
        RegistryError::Store(error) => Refused::broken(error),
    }
}

/// What stands against each agent. One that is `superseded` runs on.
fn standing(gw: &Gateway) -> BTreeMap<String, Stands> {
    let mut standing: BTreeMap<String, Stands> = BTreeMap::new();
    let entries = gw.containment.list();
    let cascading = |entry: &&DenyEntry| entry.key.kind() == KeyKind::Agent && entry.reason.cascades();
    for entry in entries.iter().filter(cascading) {
        let stands = Stands { state: entry.state, cutoff: entry.cutoff };
        let severest = standing.entry(entry.key.id().into_owned()).or_insert(stands);
        if stands.severity() > severest.severity() {
            *severest = stands;
        }
    }
    standing
}

/// An order about an agent.
#[derive(Debug, Clone, Copy)]
struct Stands {
    state: Standing,
    cutoff: Option<Timestamp>,
}

impl Stands {
    /// What stops all of it is severer than what stops only what began before a moment.
    fn severity(self) -> (bool, bool) {
        (self.cutoff.is_none(), self.state == Standing::Revoked)
    }

    fn name(self) -> &'static str {
        match (self.state, self.cutoff) {
            (Standing::Revoked, None) => "revoked",
            (Standing::Suspended, None) => "suspended",
            (Standing::Revoked, Some(_)) => "revoked-before",
            (Standing::Suspended, Some(_)) => "suspended-before",
        }
    }
}

fn shown(registered: &Registered, standing: &BTreeMap<String, Stands>) -> Value {
    let mut shown = json!(registered.agent);
    if let Some(stands) = standing.get(registered.agent.id.as_str()) {
        merge(&mut shown, "state", json!(stands.name()));
        // What began at or before this moment is dead; the agent may begin anew.
        if let Some(cutoff) = stands.cutoff {
            merge(&mut shown, "cutoff", json!(cutoff));
        }
    }
    merge(&mut shown, "kind", json!("agent"));
    merge(&mut shown, "version", json!(registered.version));
    merge(&mut shown, "client_id", json!(registered.agent.id));
    shown
}

fn merge(into: &mut Value, key: &str, value: Value) {
    if let Some(members) = into.as_object_mut() {
        members.insert(key.to_owned(), value);
    }
}
