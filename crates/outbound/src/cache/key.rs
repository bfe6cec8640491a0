use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};
use vestibule_inbound::Caller;
use vestibule_model::{
    Actor, AgentId, AppId, AttemptId, Behind, Digest, NodeId, PathNode, Represented, Timestamp, TokenId,
    UserId,
};

/// Which token serves a call.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Key {
    /// The application.
    pub(crate) app: AppId,
    /// Whose it is.
    pub(crate) holder: Holder,
    /// The human it names.
    pub(crate) user: Option<UserId>,
    /// The scopes that were asked for.
    pub(crate) scopes: Arc<BTreeSet<String>>,
    /// The `audience` that was asked for.
    pub(crate) audience: Option<Arc<str>>,
    /// The `resource` that was asked for.
    pub(crate) resource: Option<Arc<str>>,
}

/// Whose a token is: nobody else is served with it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Holder {
    /// The gateway's own, for an application. It says nothing of a caller.
    App,
    /// An agent's.
    Agent(AgentId),
    /// A delegation's: the chain, or what the user granted, is in the token.
    Node(NodeId),
    /// Of a caller that no delegation stands for: that of their very token.
    Token(Digest),
}

/// For whom a token was obtained: what a revocation must name to reach it.
///
/// INVARIANT: `nodes` is empty or has one for each of `agents`, the root first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MintedFor {
    /// The application that it opens.
    pub app: AppId,
    /// When it was asked for.
    pub at: Timestamp,
    /// The chain that it stands for; empty for the gateway's own.
    pub agents: Vec<Actor>,
    /// Their delegations.
    pub nodes: Vec<PathNode>,
    /// The human that it names.
    pub user: Option<Represented>,
    /// The calls within which it was asked for: it ends with them.
    pub calls: Vec<AttemptId>,
    /// The token of an outside issuer that it rests on.
    #[serde(default)]
    pub token: Option<TokenId>,
    /// Who else stands behind that.
    #[serde(default)]
    pub behind: Option<Behind>,
}

/// A token that is wanted: which one, for whom, and how long at most.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) key: Key,
    pub(crate) minted_for: MintedFor,
    /// It is not kept beyond this moment, however long it lives.
    pub(crate) ends_at: Option<Timestamp>,
    /// On whose behalf; none for the gateway's own.
    pub(crate) caller: Option<Caller>,
    /// How many agents of the chain, from the root, stand behind it: all, but for a token on the way to another one.
    pub(crate) depth: usize,
}

/// What a strategy asks for, whoever calls.
#[derive(Debug, Clone, Default)]
pub(crate) struct Target {
    pub(crate) scopes: Arc<BTreeSet<String>>,
    pub(crate) audience: Option<Arc<str>>,
    pub(crate) resource: Option<Arc<str>>,
}

impl Ask {
    /// For the gateway itself.
    pub(crate) fn of_app(app: &AppId, now: Timestamp, target: Target) -> Self {
        let minted_for = MintedFor {
            app: app.clone(),
            at: now,
            agents: Vec::new(),
            nodes: Vec::new(),
            user: None,
            calls: Vec::new(),
            token: None,
            behind: None,
        };
        let key = target.key(app, Holder::App, None);
        Self { key, minted_for, ends_at: None, caller: None, depth: 0 }
    }

    /// For the agent that calls, whoever it acts for: each of its delegations is served with it.
    pub(crate) fn of_agent(app: &AppId, caller: &Caller, now: Timestamp, target: Target) -> Self {
        let mut ask = Self::of_app(app, now, target);
        ask.key.holder = Holder::Agent(caller.agent().clone());
        ask.minted_for.agents = vec![caller.chain().current().clone()];
        ask.caller = Some(caller.clone());
        ask
    }

    /// For the delegation under which the caller acts, and for nobody else.
    pub(crate) fn of_node(app: &AppId, caller: &Caller, now: Timestamp, target: Target) -> Self {
        let token = caller.token();
        let holder =
            token.nodes.last().map_or(Holder::Token(token.digest), |node| Holder::Node(node.id.clone()));
        let minted_for = MintedFor {
            app: app.clone(),
            at: now,
            agents: caller.chain().actors().to_vec(),
            nodes: token.nodes.clone(),
            user: caller.represented().cloned(),
            calls: token.calls.clone(),
            token: Some(token.jti.clone()).filter(TokenId::is_foreign),
            behind: token.behind.clone(),
        };
        Self {
            key: target.key(app, holder, caller.user().cloned()),
            depth: minted_for.agents.len(),
            minted_for,
            ends_at: Some(token.node_expires_at),
            caller: Some(caller.clone()),
        }
    }

    /// The same for the agent above: the token from which this one is made. None at the root.
    pub(crate) fn above(&self) -> Option<Self> {
        let depth = self.depth.checked_sub(1).filter(|depth| *depth > 0)?;
        let mut above = self.clone();
        above.depth = depth;
        above.minted_for.agents.truncate(depth);
        above.minted_for.nodes.truncate(depth);
        above.key.holder = Holder::Node(above.minted_for.nodes.last()?.id.clone());
        // A node of a chain lives as long as those below it, and longer.
        Some(above)
    }
}

impl Target {
    fn key(self, app: &AppId, holder: Holder, user: Option<UserId>) -> Key {
        let Self { scopes, audience, resource } = self;
        Key { app: app.clone(), holder, user, scopes, audience, resource }
    }
}
