use std::sync::Arc;

use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};
use vestibule_containment::Path as Names;
use vestibule_issuer::{Delegations, Node};
use vestibule_model::{Actor, AttemptId, Delegation, Denial, NodeId};

use super::{Answer, Gw, Refused, json as answer, page};
use crate::gateway::Gateway;

/// Nodes in one answer.
const PAGE: u32 = 500;

#[derive(Debug, Deserialize)]
pub(super) struct Paging {
    after: Option<String>,
}

/// Those that live, in the order of their ids.
pub(super) async fn list(State(gw): Gw, Query(paging): Query<Paging>) -> Answer {
    let after = paging.after.as_deref().map(NodeId::parse).transpose();
    let after = after.map_err(|error| Refused::invalid(error.to_string()))?;
    let nodes = Delegations::new(Arc::clone(&gw.store)).all(after.as_ref(), PAGE).await;
    let nodes = nodes.map_err(Refused::broken)?;
    page(nodes.items.iter().map(|node| shown(&gw, node)).collect(), nodes.next.map(|next| next.to_string()))
}

pub(super) async fn show(State(gw): Gw, Path(id): Path<String>) -> Answer {
    let id = NodeId::parse(&id).map_err(|error| Refused::invalid(error.to_string()))?;
    let node = Delegations::new(Arc::clone(&gw.store)).get(&id).await.map_err(Refused::broken)?;
    answer(200, &shown(&gw, &node.ok_or_else(|| Refused::not_found("delegation"))?))
}

/// A node as operators see it.
pub(crate) fn shown(gw: &Gateway, node: &Node) -> Value {
    let Node { delegation: node, version } = node;
    let path: Vec<_> = node.path.iter().map(|node| &node.id).collect();
    json!({
        "id": node.id, "kind": "delegation", "version": version, "state": state(gw, node), "parent": node.parent, "origin": node.origin,
        "workflow": node.workflow, "agent": node.agent(), "chain": node.chain, "path": path, "keys": node.keys(),
        "user": node.user.as_ref().map(|user| json!({
            "id": user.id.to_string(), "issuer": user.id.issuer, "subject": user.id.subject, "groups": user.groups,
            "session": user.session, "client": user.client,
        })),
        "grant": node.grant, "app": node.app, "resource": node.resource, "scopes": node.scopes,
        "authority": node.authority, "max_depth": node.max_depth, "calls": node.calls, "made_by": node.made_by,
        "children": node.children, "created_at": node.created_at, "expires_at": node.expires_at,
    })
}

/// What containment says about the whole path, which the node itself does not know.
fn state(gw: &Gateway, node: &Delegation) -> String {
    let issuer = gw.names.public_url();
    let actor = |agent: &vestibule_model::AgentId| Actor { issuer: issuer.into(), agent: agent.clone() };
    let agents: Vec<_> = node.chain.iter().map(actor).collect();
    let names = Names {
        jti: None,
        issued_at: node.created_at,
        agents: &agents,
        nodes: &node.path,
        user: node.user.as_ref(),
        behind: None,
        app: Some(&node.app),
        calls: &node.calls,
    };
    // As a request would be: what was superseded still runs. It leaves again at once.
    let asked = AttemptId::new(gw.clock.now(), &*gw.entropy);
    match gw.containment.admit(&names, asked).map(drop) {
        Ok(()) => "active".to_owned(),
        Err(Denial::AgentSuspended) => "suspended".to_owned(),
        Err(Denial::CallEnded) => "ended".to_owned(),
        Err(Denial::ContainmentStale) => "unknown".to_owned(),
        Err(_) => "revoked".to_owned(),
    }
}
