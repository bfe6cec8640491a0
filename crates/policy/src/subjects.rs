//! Who is asking, as far as policy is concerned: the same for a verified caller and for a hypothetical one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cedar_policy::{Entity, EntityUid};
use vestibule_inbound::Caller;
use vestibule_model::{Agent, AgentId, AgentState, Denial, Directory, Refusal, UserId};

use crate::engine::{self, EngineError};

/// The subjects of a decision and the facts of their token.
#[derive(Debug, Clone)]
pub(crate) struct Subjects {
    /// The agents from the root to the current one. Never empty.
    chain: Vec<Arc<Agent>>,
    user: Option<UserId>,
    issuer: String,
    scopes: BTreeSet<String>,
    claims: BTreeMap<String, BTreeSet<String>>,
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
    /// [`Denial::AgentUnknown`] when an agent of the chain is not registered, is retired, or is named by an issuer
    /// other than the token's: it would be in no group, and so in none that a guard rail names.
    pub(crate) fn of(caller: &Caller, directory: &Directory) -> Result<Self, Refusal> {
        let token = caller.token();
        let mut chain = Vec::with_capacity(caller.chain().depth());
        for actor in caller.chain().actors() {
            if actor.issuer != token.issuer {
                return Err(Refusal::new(
                    Denial::AgentUnknown,
                    format!("`{}` is named by another issuer", actor.agent),
                ));
            }
            chain.push(registered(&actor.agent, directory)?);
        }
        Ok(Self {
            chain,
            user: caller.user().cloned(),
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
        user: Option<UserId>,
        facts: Facts<'_>,
        directory: &Directory,
    ) -> Result<Self, Refusal> {
        let chain: Result<Vec<_>, Refusal> = agents.map(|agent| registered(agent, directory)).collect();
        Ok(Self {
            chain: chain?,
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
        self.chain.len() == actors.len()
            && self
                .chain
                .iter()
                .zip(actors)
                .all(|(agent, actor)| agent.id == actor.agent && actor.issuer == token.issuer)
            && self.user.as_ref() == caller.user()
            && *self.issuer == *token.issuer
            && self.scopes == token.scopes
            && self.claims == token.claims
    }

    /// Each subject with the groups it is in: the agents from the root on, then the user.
    ///
    /// Users have no groups yet: nothing in the gateway fills them, and a claim named `groups` is what some issuer
    /// says, not what the operator set. Policies read such claims as `context.token.claims`.
    pub(crate) fn each(&self) -> Vec<(EntityUid, Vec<EntityUid>)> {
        let groups = |agent: &Agent| agent.groups.iter().map(|group| engine::group_uid(group)).collect();
        let mut each: Vec<_> =
            self.chain.iter().map(|agent| (engine::agent_uid(&agent.id), groups(agent))).collect();
        each.extend(self.user.iter().map(|user| (engine::user_uid(user), Vec::new())));
        each
    }

    /// Everything policies can reach from the subjects.
    pub(crate) fn entities(&self) -> Result<Vec<Entity>, EngineError> {
        let mut entities = Vec::new();
        for agent in &self.chain {
            entities.extend(engine::agent_entities(&agent.id, agent.trust, &agent.groups)?);
        }
        entities.extend(self.user.iter().map(engine::user_entity));
        entities.push(engine::chain_entity(self.chain.iter().map(|agent| &agent.id)));
        entities.push(engine::token_entity(&self.claims)?);
        Ok(entities)
    }

    /// The parts of the context that are the same for every attempt of the caller.
    pub(crate) fn parts(&self) -> Result<engine::Parts, EngineError> {
        Ok(vec![
            ("caller".to_owned(), engine::caller_part(self.user.as_ref(), self.chain.len())?),
            ("token".to_owned(), engine::token_part(&self.issuer, &self.scopes)?),
        ])
    }

    /// The values of a claim, if the token has it.
    pub(crate) fn claim(&self, name: &str) -> Option<&BTreeSet<String>> {
        self.claims.get(name)
    }
}

fn registered(id: &AgentId, directory: &Directory) -> Result<Arc<Agent>, Refusal> {
    let agent = directory.get(id).filter(|agent| agent.state == AgentState::Active);
    agent.cloned().ok_or_else(|| Refusal::new(Denial::AgentUnknown, format!("`{id}` is not registered")))
}
