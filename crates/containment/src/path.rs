use std::{hash::BuildHasher, sync::LazyLock};

use foldhash::fast::RandomState;
use vestibule_model::{Actor, AppId, AttemptId, Behind, Foreign, PathNode, Represented, Timestamp, TokenId};

use crate::DenyKey;

/// Everything about a request that can be revoked, and when each of it came to be.
#[derive(Debug, Clone, Copy)]
pub struct Path<'a> {
    /// The token; none before one is minted.
    pub jti: Option<&'a TokenId>,
    /// When the token was issued, for cutoffs. A token says its times in whole seconds, rounded down: a cutoff within
    /// that second kills it.
    pub issued_at: Timestamp,
    /// The chain, root first. Never empty.
    pub agents: &'a [Actor],
    /// The delegation nodes, root first, one for each agent; or none at all, when an agent asks for its first token.
    pub nodes: &'a [PathNode],
    /// The human it is for.
    pub user: Option<&'a Represented>,
    /// Who else stands behind the token of an outside issuer; none for a token of ours.
    pub behind: Option<&'a Behind>,
    /// The application it goes to.
    pub app: Option<&'a AppId>,
    /// The calls within which its agent was invoked: it ends with each of them.
    pub calls: &'a [AttemptId],
}

/// One name on a path.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) key: DenyKey,
    pub(crate) hash: u64,
    /// A cutoff at or after this moment kills it. Each name has its own: a back-dated order against a parent must not
    /// miss a child whose token is newer, nor one against a child kill what its parent did before.
    pub(crate) since: Timestamp,
    /// Whether it is the name of an ancestor, and not of whoever presents the token.
    pub(crate) is_ancestor: bool,
}

impl Path<'_> {
    /// Its names in the order in which they are checked: token, nodes, agents, keys, user, session, client, who
    /// stands behind, application, everything.
    pub(crate) fn names(&self) -> Vec<Known> {
        let mut names = Vec::with_capacity(8 + 4 * self.agents.len());
        // Whatever has no node of its own is as old as the root, or older: what was there before the cutoff is dead,
        // however new its token is.
        let root = self.nodes.first().map_or(self.issued_at, |node| node.since);
        if let Some(jti) = self.jti {
            names.push(Known::new(DenyKey::Token(jti.clone()), self.issued_at, false));
        }
        let last = self.nodes.len().saturating_sub(1);
        for (place, node) in self.nodes.iter().enumerate() {
            names.push(Known::new(DenyKey::Delegation(node.id.clone()), node.since, place < last));
        }
        let last_agent = self.agents.len().saturating_sub(1);
        for (place, actor) in self.agents.iter().enumerate() {
            let since = self.nodes.get(place).map_or(self.issued_at, |node| node.since);
            names.push(Known::new(DenyKey::Agent(actor.agent.clone()), since, place < last_agent));
        }
        for (place, node) in self.nodes.iter().enumerate() {
            let keys = node.keys.iter().map(|key| DenyKey::Credential(*key));
            names.extend(keys.map(|key| Known::new(key, node.since, place < last)));
        }
        if let Some(user) = self.user {
            // A root that was made after a back-dated cutoff, from a token of the user that was issued before it, is what
            // the order is meant for. An issuer whose clock is ahead of ours makes nothing younger.
            let login = user.since.map_or(root, |since| since.min(root));
            names.push(Known::new(DenyKey::User(user.id.clone()), login, false));
            let foreign = |name: &String| Foreign { issuer: user.id.issuer.clone(), name: name.clone() };
            let session = user.session.iter().map(|name| DenyKey::Session(foreign(name)));
            let client = user.client.iter().map(|name| DenyKey::Client(foreign(name)));
            names.extend(session.chain(client).map(|key| Known::new(key, login, false)));
        }
        if let Some(behind) = self.behind {
            let clients = behind.clients.iter().map(|client| DenyKey::Client(client.clone()));
            let agents = behind.agents.iter().map(|agent| DenyKey::Agent(agent.clone()));
            names.extend(clients.chain(agents).map(|key| Known::new(key, self.issued_at, true)));
        }
        if let Some(app) = self.app {
            names.push(Known::new(DenyKey::App(app.clone()), root, false));
        }
        names.push(Known::new(DenyKey::All, root, false));
        names
    }
}

impl Known {
    fn new(key: DenyKey, since: Timestamp, is_ancestor: bool) -> Self {
        let hash = hash(&key);
        Self { key, hash, since, is_ancestor }
    }
}

/// One for the whole process, so that the hash of a name is worth keeping; keyed, so that nobody outside can choose
/// names that fall together.
pub(crate) fn hash(key: &DenyKey) -> u64 {
    static STATE: LazyLock<RandomState> = LazyLock::new(RandomState::default);
    STATE.hash_one(key)
}

/// One of 64 bits for each name: what has none of the bits in common has no name in common.
pub(crate) fn trace(hash: u64) -> u64 {
    1 << (hash >> 58)
}
