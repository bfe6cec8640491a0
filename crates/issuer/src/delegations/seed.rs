use std::{collections::BTreeSet, time::Duration};

use vestibule_model::{
    AgentId, AttemptId, Authority, Delegation, Entropy, NodeId, Origin, PathNode, Represented, Thumbprint,
    Timestamp, UserGrant, WorkflowId,
};

use crate::resources::Resource;

/// What a node is made of, wherever in the tree it comes to stand.
#[derive(Debug, Clone)]
pub(crate) struct Seed {
    pub(crate) agent: AgentId,
    /// The key that its tokens are bound to, then that of its client authentication.
    pub(crate) keys: Vec<Thumbprint>,
    pub(crate) resource: Resource,
    pub(crate) scopes: BTreeSet<String>,
    pub(crate) authority: Option<Authority>,
    pub(crate) life: Duration,
    pub(crate) made_by: AttemptId,
}

impl Seed {
    /// A root, the first node of a tree of its own.
    pub(crate) fn root(
        self,
        on_behalf_of: Option<(Represented, UserGrant)>,
        max_depth: u8,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Delegation {
        let (user, grant) = on_behalf_of.unzip();
        let created_at = whole_second(now);
        let expires_at = now.plus(self.life);
        let bare = Delegation {
            id: NodeId::random(entropy),
            parent: None,
            origin: Origin::Root,
            workflow: WorkflowId::random(entropy),
            path: Vec::new(),
            chain: Vec::new(),
            max_depth,
            user,
            grant,
            app: self.resource.app.clone(),
            resource: self.resource.identifier.clone(),
            scopes: BTreeSet::new(),
            authority: None,
            calls: Vec::new(),
            made_by: None,
            children: 0,
            created_at,
            expires_at,
        };
        self.fill(bare)
    }

    /// A node below `parent`: of its tree, for its human, and not beyond its end. `call` is the call within which the
    /// agent was invoked; without one it was spawned.
    pub(crate) fn below(
        self,
        parent: &Delegation,
        call: Option<AttemptId>,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Delegation {
        // The clock of the gateway that made the parent may be ahead of ours: a child is never older than its parent.
        let now = parent.path.last().map_or(now, |above| now.max(above.since));
        let bare = Delegation {
            id: NodeId::random(entropy),
            parent: Some(parent.id.clone()),
            origin: if call.is_some() { Origin::Invoked } else { Origin::Spawned },
            workflow: parent.workflow.clone(),
            path: parent.path.clone(),
            chain: parent.chain.clone(),
            max_depth: parent.max_depth,
            user: parent.user.clone(),
            grant: None,
            app: self.resource.app.clone(),
            resource: self.resource.identifier.clone(),
            scopes: BTreeSet::new(),
            authority: None,
            calls: parent.calls.iter().copied().chain(call).collect(),
            made_by: None,
            children: 0,
            created_at: whole_second(now),
            expires_at: now.plus(self.life).min(parent.expires_at),
        };
        self.fill(bare)
    }

    /// What is the same wherever a node stands.
    fn fill(self, mut bare: Delegation) -> Delegation {
        bare.path.push(PathNode { id: bare.id.clone(), since: bare.created_at, keys: self.keys });
        bare.chain.push(self.agent);
        bare.scopes = self.scopes;
        bare.authority = self.authority;
        bare.made_by = Some(self.made_by);
        bare
    }
}

/// As a token will say it. Else a cutoff within the second in which a node is made would not reach the node where tokens
/// are minted, and reach every token of it at the door.
fn whole_second(now: Timestamp) -> Timestamp {
    Timestamp::from_seconds(now.seconds())
}
