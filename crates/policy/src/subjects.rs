//! Who is asking, as far as policy is concerned: the same for a verified caller and for a hypothetical one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cedar_policy::{Entity, EntityUid};
use vestibule_inbound::Caller;
use vestibule_model::{Agent, AgentId, AgentState, Denial, Directory, Refusal, Represented, UserId};

use crate::engine::{self, EngineError};

/// The group of every agent that is known by its key alone.
const SPAWNED: &str = "spawned";

/// The subjects of a decision and the facts of their token.
#[derive(Debug, Clone)]
pub(crate) struct Subjects {
    /// The agents from the root to the current one. Never empty.
    chain: Vec<Arc<Agent>>,
    user: Option<Human>,
    issuer: String,
    scopes: BTreeSet<String>,
    claims: BTreeMap<String, BTreeSet<String>>,
}

/// One subject, with the groups it is in.
pub(crate) type Subject = (EntityUid, Vec<EntityUid>);

/// The user as policies see them.
#[derive(Debug, Clone)]
pub(crate) struct Human {
    pub(crate) id: UserId,
    pub(crate) groups: BTreeSet<String>,
}

impl Human {
    fn is(&self, user: &Represented) -> bool {
        self.id == user.id && self.groups == user.groups
    }
}

/// What a token says, for a hypothetical caller.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) scopes: BTreeSet<String>,
    pub(crate) claims: BTreeMap<String, BTreeSet<String>>,
}

impl Subjects {
    /// The subjects of a verified caller.
    ///
    /// # Errors
    /// [`Denial::AgentUnknown`] when an agent of the chain is neither registered nor spawned by the one above it, is
    /// retired, or is named in another namespace than ours: it would be in no group, and so in none that a guard rail
    /// names.
    pub(crate) fn of(caller: &Caller, directory: &Directory) -> Result<Self, Refusal> {
        let token = caller.token();
        let actors = caller.chain().actors();
        if let Some(foreign) = actors.iter().find(|actor| actor.issuer != token.namespace) {
            let cause = format!("`{}` is named by another issuer", foreign.agent);
            return Err(Refusal::new(Denial::AgentUnknown, cause));
        }
        let user = caller.represented();
        Ok(Self {
            chain: chain(actors.iter().map(|actor| &actor.agent), directory)?,
            user: user.map(|user| Human { id: user.id.clone(), groups: user.groups.clone() }),
            issuer: token.issuer.to_string(),
            scopes: token.scopes.clone(),
            claims: token.claims.clone(),
        })
    }

    /// The subjects of a hypothetical caller; `agents` root first.
    ///
    /// # Errors
    /// As for [`Subjects::of`].
    pub(crate) fn suppose<'a>(
        agents: impl Iterator<Item = &'a AgentId>,
        user: Option<Human>,
        facts: Facts<'_>,
        directory: &Directory,
    ) -> Result<Self, Refusal> {
        Ok(Self {
            chain: chain(agents, directory)?,
            user,
            issuer: facts.issuer.to_owned(),
            scopes: facts.scopes,
            claims: facts.claims,
        })
    }

    /// Whether these are the subjects of that very caller. A digest of a token is only a shortcut to what was derived
    /// from it: nothing is taken from a cache for a caller that says anything else.
    pub(crate) fn are_of(&self, caller: &Caller) -> bool {
        let (actors, token) = (caller.chain().actors(), caller.token());
        let is_user = match (&self.user, caller.represented()) {
            (None, None) => true,
            (Some(human), Some(user)) => human.is(user),
            (None, Some(_)) | (Some(_), None) => false,
        };
        self.chain.len() == actors.len()
            && self
                .chain
                .iter()
                .zip(actors)
                .all(|(agent, actor)| agent.id == actor.agent && actor.issuer == token.namespace)
            && is_user
            && *self.issuer == *token.issuer
            && self.scopes == token.scopes
            && self.claims == token.claims
    }

    /// The agent that these subjects hand something on to, as it will be below them.
    ///
    /// # Errors
    /// [`Denial::AgentUnknown`] when it could be no link of a chain.
    pub(crate) fn child(&self, id: &AgentId, directory: &Directory) -> Result<Arc<Agent>, Refusal> {
        link(id, &self.chain, directory)
    }

    /// Each subject: the agents from the root on, then the user.
    pub(crate) fn each(&self) -> Vec<Subject> {
        let mut each: Vec<_> =
            self.chain.iter().map(|agent| (engine::agent_uid(&agent.id), groups_of(agent))).collect();
        each.extend(self.user.iter().map(|user| {
            let groups = user.groups.iter().map(|group| engine::user_group_uid(group)).collect();
            (engine::user_uid(&user.id), groups)
        }));
        each
    }

    /// Everything policies can reach from the subjects.
    pub(crate) fn entities(&self) -> Result<Vec<Entity>, EngineError> {
        let mut entities = Vec::new();
        for agent in &self.chain {
            entities.extend(engine::agent_entities(&agent.id, agent.trust, &agent.groups)?);
        }
        entities.extend(self.user.iter().flat_map(|user| engine::user_entities(&user.id, &user.groups)));
        entities.push(engine::chain_entity(self.chain.iter().map(|agent| &agent.id)));
        entities.push(engine::token_entity(&self.claims)?);
        Ok(entities)
    }

    /// The parts of the context that are the same for every attempt of the caller.
    pub(crate) fn parts(&self) -> Result<engine::Parts, EngineError> {
        let user = self.user.as_ref().map(|user| &user.id);
        Ok(vec![
            ("caller".to_owned(), engine::caller_part(user, self.chain.len())?),
            ("token".to_owned(), engine::token_part(&self.issuer, &self.scopes)?),
        ])
    }

    /// The values of a claim, if the token has it.
    pub(crate) fn claim(&self, name: &str) -> Option<&BTreeSet<String>> {
        self.claims.get(name)
    }
}

/// The groups of an agent, as policies name them.
pub(crate) fn groups_of(agent: &Agent) -> Vec<EntityUid> {
    agent.groups.iter().map(|group| engine::group_uid(group)).collect()
}

fn chain<'a>(
    agents: impl Iterator<Item = &'a AgentId>,
    directory: &Directory,
) -> Result<Vec<Arc<Agent>>, Refusal> {
    let mut chain = Vec::new();
    for id in agents {
        let agent = link(id, &chain, directory)?;
        chain.push(agent);
    }
    Ok(chain)
}

/// An agent below those of `above`.
///
/// The registered one of that id, even where the id is the thumbprint of a key: what the operator says of it counts. So
/// it does of an agent that is one by a rule, as long as there is that rule. An agent that is known by its key alone exists by what its parent handed on to it, so it is nobody without a parent.
fn link(id: &AgentId, above: &[Arc<Agent>], directory: &Directory) -> Result<Arc<Agent>, Refusal> {
    let unknown = |why: &str| Refusal::new(Denial::AgentUnknown, format!("`{id}` {why}"));
    if let Some(agent) = directory.find(id) {
        return match agent.state {
            AgentState::Active => Ok(agent),
            AgentState::Retired => Err(unknown("is retired")),
        };
    }
    let parent = above.last().filter(|_| id.as_key().is_some());
    let parent = parent.ok_or_else(|| unknown("is not registered"))?;
    // The attack: A spawns K, K hands on to B, and B to K again. One id would stand for two agents, and the lower one would
    // have the groups and the trust of the upper.
    if above.iter().any(|agent| agent.id == *id) {
        return Err(unknown("is in the chain already"));
    }
    Ok(Arc::new(spawned(id, parent)))
}

/// An agent that is known by its key alone: in the groups of its parent, which are those of the nearest registered agent
/// above it, and trusted no more than its parent.
fn spawned(id: &AgentId, parent: &Agent) -> Agent {
    let mut groups = parent.groups.clone();
    groups.insert(SPAWNED.to_owned());
    Agent {
        id: id.clone(),
        groups,
        trust: parent.trust,
        scopes: BTreeSet::new(),
        claims: BTreeMap::new(),
        apps: BTreeSet::new(),
        state: AgentState::Active,
        created_at: parent.created_at,
    }
}
