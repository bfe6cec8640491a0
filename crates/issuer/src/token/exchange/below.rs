//! What a node below another one takes, whether its agent was spawned or invoked.

use std::collections::BTreeSet;

use vestibule_inbound::Caller;
use vestibule_model::{Agent, Authority, Delegation, NodeId};
use vestibule_policy::{Decision, Delegating, Environment};

use super::super::Asked;
use crate::{Issuer, OAuthError, Reason, resources::Resource};

impl Issuer {
    /// The node that a token of ours was minted under, as it stands.
    pub(super) async fn node_of(&self, caller: &Caller) -> Result<Delegation, OAuthError> {
        let path = &caller.token().nodes;
        let last = path.last().ok_or(Reason::TokenInvalid)?;
        let node = self.tree.node(&last.id).await?;
        // Both are ours. Where they differ, the store is not the one that the token was minted on.
        let ids = |nodes: &[vestibule_model::PathNode]| -> Vec<NodeId> {
            nodes.iter().map(|node| node.id.clone()).collect()
        };
        if ids(&node.path) != ids(path) {
            return Err(OAuthError::new(Reason::TokenInvalid, "its path is not that of its node"));
        }
        Ok(node)
    }

    /// The resource of a node, unless its application is gone.
    pub(super) fn resource_of(&self, node: &Delegation) -> Result<&Resource, OAuthError> {
        let gone = || OAuthError::new(Reason::TargetNotAllowed, "the application is not served any more");
        self.resources.of(&node.resource).filter(|resource| resource.app == node.app).ok_or_else(gone)
    }

    /// Whether every agent of the chain that is not known by its key alone may have tokens for the resource.
    ///
    /// The attack: an agent that may not reach an application calls one that may, and is carried there.
    pub(super) fn is_app_of_all(&self, node: &Delegation, resource: &Resource) -> Result<(), OAuthError> {
        let mut known = node.chain.iter().filter_map(|agent| self.registry.known(agent));
        known.try_for_each(|agent| is_app_of(&agent, resource))
    }

    /// Whether policy lets the agents of `caller` have `child` made below them. `asked` is what was asked for of the
    /// authority; none: all of it.
    pub(super) fn may_delegate(
        &self,
        asked: Asked<'_>,
        caller: &Caller,
        child: &Delegation,
        authority: Option<&Authority>,
    ) -> Result<Decision, OAuthError> {
        let operations = authority.into_iter().flat_map(Authority::operations).map(str::to_owned);
        let now = self.clock.now();
        let delegating = Delegating {
            child: child.agent(),
            depth: child.depth(),
            lifetime: child.expires_at.since(now),
            operations: operations.collect::<BTreeSet<_>>(),
        };
        let env = Environment { now, ip: asked.request.ip };
        self.lock.delegate(caller, &delegating, &env).map_err(|(refusal, decision)| {
            let cause = format!("{}: {}", refusal.denial, refusal.cause);
            OAuthError::new(Reason::DelegationNotPermitted, cause).decided(decision)
        })
    }
}

/// Whether one more node may stand below `parent`.
pub(super) fn is_deep_enough(parent: &Delegation) -> Result<(), OAuthError> {
    if parent.depth() < usize::from(parent.max_depth) { Ok(()) } else { Err(Reason::DepthExceeded.into()) }
}

/// Whether the agent may have tokens for the resource at all.
pub(super) fn is_app_of(agent: &Agent, resource: &Resource) -> Result<(), OAuthError> {
    if agent.apps.is_empty() || agent.apps.contains(&resource.app) {
        Ok(())
    } else {
        Err(OAuthError::new(Reason::TargetNotAllowed, format!("not an application of `{}`", agent.id)))
    }
}
