use serde::{Deserialize, Serialize};
use vestibule_model::{Actor, AgentId, AppId, Directory, OperationId, UserId};

use crate::config::{Only, Per, Rule};

/// What limits look at of a call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asking<'a> {
    /// The agents from the root to the current one.
    pub(crate) chain: &'a [Actor],
    /// The human for whom it calls.
    pub(crate) user: Option<&'a UserId>,
    pub(crate) app: &'a AppId,
    /// None for what names no operation, or one that does not exist.
    pub(crate) operation: Option<&'a OperationId>,
}

/// For whom a rule counts: what its calls have in common. As a counter of the store names it, too.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Key {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) agent: Option<AgentId>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) user: Option<UserId>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) app: Option<AppId>,
    /// `{app}__{operation}`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) operation: Option<Operation>,
}

/// An operation within a [`Key`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Operation(pub(crate) OperationId);

impl Serialize for Operation {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl TryFrom<String> for Operation {
    type Error = vestibule_model::Malformed;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fault = Self::Error { what: "operation", rule: "must be `{app}__{operation}`" };
        let (app, name) = text.split_once("__").ok_or(fault)?;
        Ok(Self(OperationId::new(AppId::new(app)?, name)))
    }
}

impl<'a> Asking<'a> {
    /// The agent that a call is counted for. One that is known by its key alone is whatever another agent has made a key
    /// for, as many as that likes: it counts as the registered agent nearest above it, so spawning evades nothing.
    pub(super) fn agent(&self) -> Option<&'a AgentId> {
        let (current, above) = self.chain.split_last()?;
        if current.agent.as_key().is_none() {
            return Some(&current.agent);
        }
        let registered = above.iter().rev().find(|actor| actor.agent.as_key().is_none());
        Some(&registered.unwrap_or(current).agent)
    }

    /// What `rule` counts the call for; none: it does not count it.
    pub(super) fn key(&self, rule: &Rule, directory: &Directory) -> Option<Key> {
        let agent = self.agent()?;
        if !self.fits(&rule.only, agent, directory) {
            return None;
        }
        let mut key = Key { agent: None, user: None, app: None, operation: None };
        for per in &rule.per {
            match per {
                Per::Agent => key.agent = Some(agent.clone()),
                Per::User => key.user = Some(self.user?.clone()),
                Per::App => key.app = Some(self.app.clone()),
                Per::Operation => key.operation = Some(Operation(self.operation?.clone())),
            }
        }
        Some(key)
    }

    fn fits(&self, only: &Only, agent: &AgentId, directory: &Directory) -> bool {
        let in_group = || {
            directory.find(agent).is_some_and(|agent| agent.groups.iter().any(|it| only.groups.contains(it)))
        };
        (only.apps.is_empty() || only.apps.contains(self.app))
            && (only.operations.is_empty()
                || self.operation.is_some_and(|operation| only.operations.contains(operation)))
            && (only.agents.is_empty() && only.groups.is_empty() || only.agents.contains(agent) || in_group())
    }
}
