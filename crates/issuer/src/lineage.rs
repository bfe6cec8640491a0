use std::sync::Arc;

use serde_json::{Map, Value, json};
use vestibule_containment::{Containment, Path};
use vestibule_inbound::{Caller, VST_REVISION, on_behalf};
use vestibule_model::{
    Actor, AgentId, AgentState, AppId, AttemptId, Delegation, Denial, PathNode, Represented, Timestamp,
    TokenId, WorkflowId,
};

use crate::{OAuthError, Reason, Registry};

/// Who acts for whom, and where in the tree: what every token says of it, whether it is read off a node or off a token.
#[derive(Clone, Copy)]
pub(crate) struct Lineage<'a> {
    agents: Agents<'a>,
    nodes: &'a [PathNode],
    user: Option<&'a Represented>,
    calls: &'a [AttemptId],
    workflow: &'a WorkflowId,
    max_depth: u8,
    ends_at: Timestamp,
}

#[derive(Clone, Copy)]
enum Agents<'a> {
    Ours(&'a [AgentId]),
    Named(&'a [Actor]),
}

impl<'a> Lineage<'a> {
    pub(crate) fn of_node(node: &'a Delegation) -> Self {
        Self {
            agents: Agents::Ours(&node.chain),
            nodes: &node.path,
            user: node.user.as_ref(),
            calls: &node.calls,
            workflow: &node.workflow,
            max_depth: node.max_depth,
            ends_at: node.expires_at,
        }
    }

    pub(crate) fn of_caller(caller: &'a Caller) -> Self {
        let token = caller.token();
        Self {
            agents: Agents::Named(caller.chain().actors()),
            nodes: &token.nodes,
            user: caller.represented(),
            calls: &token.calls,
            workflow: &token.workflow,
            max_depth: token.max_depth,
            ends_at: token.node_expires_at,
        }
    }

    /// The agents, the root first.
    pub(crate) fn agents(&self) -> Vec<&'a AgentId> {
        match self.agents {
            Agents::Ours(ids) => ids.iter().collect(),
            Agents::Named(actors) => actors.iter().map(|actor| &actor.agent).collect(),
        }
    }

    /// When the youngest of its nodes was made: no token under it may be older.
    pub(crate) fn since(&self) -> Option<Timestamp> {
        self.nodes.last().map(|node| node.since)
    }

    /// The claims `sub`, `sub_id`, `client_id`, `act` and `acti`.
    pub(crate) fn claims(&self, issuer: &str) -> Map<String, Value> {
        let agents: Vec<_> = self.agents().into_iter().map(|agent| (issuer, agent)).collect();
        let mut claims = on_behalf(self.user.map(|user| &user.id), &agents);
        claims.insert("acti".to_owned(), json!(self.workflow));
        claims
    }

    /// The claim `vst`: every name on the path that can be revoked, and since when it stands there.
    pub(crate) fn vst(&self) -> Value {
        let path: Vec<_> = self.nodes.iter().map(|node| &node.id).collect();
        let since: Vec<_> = self.nodes.iter().map(|node| node.since.seconds()).collect();
        let keys: Vec<_> = self.nodes.iter().map(|node| &node.keys).collect();
        let mut vst = json!({
            "rev": VST_REVISION,
            "node": path.last(),
            "path": path,
            "since": since,
            "keys": keys,
            "depth": self.nodes.len(),
            "max_depth": self.max_depth,
            "node_exp": self.ends_at.seconds(),
        });
        if let Some(members) = vst.as_object_mut() {
            if let Some(user) = self.user {
                members.insert("user".to_owned(), facts(user));
            }
            if !self.calls.is_empty() {
                members.insert("calls".to_owned(), json!(self.calls));
            }
        }
        vst
    }

    /// Asks containment whether anything may be minted here. See [`path`](Self::path) for `token`.
    pub(crate) fn check(
        &self,
        containment: &Containment,
        issuer: &Arc<str>,
        app: Option<&AppId>,
        token: Option<(&TokenId, Timestamp)>,
    ) -> Result<(), Denial> {
        // A call that has ended takes what was made within it along; on another gateway it was never under way.
        if !self.calls.iter().all(|call| containment.is_under_way(*call)) {
            return Err(Denial::CallEnded);
        }
        self.path(issuer, app, token, |path| containment.check(path))
    }

    /// Whether every agent is one that we know: registered and in use, one by a rule, or known by the key that its node
    /// names. The operator may have taken an agent out of use, or a rule away, since the node was made.
    pub(crate) fn is_known(&self, registry: &Registry) -> Result<(), OAuthError> {
        for (position, (agent, place)) in self.agents().into_iter().zip(self.nodes).enumerate() {
            let reason = match (agent.as_key(), registry.known(agent)) {
                (_, Some(known)) if known.state == AgentState::Active => continue,
                (_, Some(_)) => Reason::AgentRetired,
                // Somebody registered has spawned it.
                (Some(key), None) if position > 0 && place.keys.contains(&key) => continue,
                (Some(_) | None, None) => Reason::AgentUnknown,
            };
            return Err(OAuthError::new(reason, format!("agent `{agent}`")).about_token());
        }
        Ok(())
    }

    /// Every name here by which a request can be cut off. `token` is the token that is presented, if one is, and when it
    /// was issued; without one, nothing on the path is younger than its node.
    pub(crate) fn path<R>(
        &self,
        issuer: &Arc<str>,
        app: Option<&AppId>,
        token: Option<(&TokenId, Timestamp)>,
        then: impl FnOnce(&Path<'_>) -> R,
    ) -> R {
        let named: Vec<Actor>;
        let agents = match self.agents {
            Agents::Named(actors) => actors,
            Agents::Ours(ids) => {
                let actor = |agent: &AgentId| Actor { issuer: Arc::clone(issuer), agent: agent.clone() };
                named = ids.iter().map(actor).collect();
                &named
            }
        };
        let issued_at = token.map(|(_, at)| at).or(self.since()).unwrap_or(self.ends_at);
        let jti = token.map(|(jti, _)| jti);
        let Self { nodes, user, calls, .. } = *self;
        then(&Path { jti, issued_at, agents, nodes, user, behind: None, app, calls })
    }
}

fn facts(user: &Represented) -> Value {
    let mut facts = json!({"groups": user.groups});
    if let Some(members) = facts.as_object_mut() {
        let named = [("sid", &user.session), ("client", &user.client)];
        let known =
            named.into_iter().filter_map(|(name, text)| Some((name.to_owned(), json!(text.as_ref()?))));
        members.extend(known);
        members.extend(user.since.map(|since| ("iat".to_owned(), json!(since.seconds()))));
    }
    facts
}
