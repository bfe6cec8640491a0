use std::sync::Arc;

use vestibule_model::{AgentId, Represented, Timestamp, UserGrant};

use super::{UserIssuerConfig, UserTokenKind};

/// A user's token that was verified. Only [`super::UserIssuers::verify`] makes one.
#[derive(Debug, Clone)]
pub struct UserToken {
    /// Who the user is. The session and the client are those of their issuer.
    pub user: Represented,
    /// What a delegation that rests on it keeps of the token.
    pub grant: UserGrant,
    /// When it was issued: a cutoff at or after this moment, of the user, the session or the client, kills it.
    pub issued_at: Timestamp,
    /// From when on it is dead. It is accepted up to 30 s longer, so this may have just passed.
    pub expires_at: Timestamp,
    pub(super) party: Party,
}

/// To and for whom the token was issued.
#[derive(Debug, Clone)]
pub(super) struct Party {
    pub(super) kind: UserTokenKind,
    pub(super) audiences: Vec<String>,
    pub(super) may_act: Option<MayAct>,
    pub(super) config: Arc<UserIssuerConfig>,
    pub(super) own_issuer: Arc<str>,
}

/// Whom the user's issuer lets act for the user.
#[derive(Debug, Clone)]
pub(super) struct MayAct {
    pub(super) subject: String,
    pub(super) issuer: Option<String>,
}

impl UserToken {
    /// Whether `agent` may present it: it was issued to or for this agent, or names it as who may act. A token of
    /// another client is a stolen one, or one that was handed on without the issuer's knowledge; both are refused.
    ///
    /// Issued to or for it means that its client (see [`Represented::client`]) or an audience is one of the names that
    /// the configuration gives the agent at this issuer. In an ID token with several audiences `azp` alone counts
    /// (OpenID Connect Core §3.1.3.7, 3 to 5): the user has logged in there, and being named beside it is no login.
    #[must_use]
    pub fn is_for(&self, agent: &AgentId) -> bool {
        let names = self.party.config.agents.get(agent);
        let is_agents = |name: &str| names.is_some_and(|names| names.contains(name));
        self.is_issued_to(is_agents)
            || self.party.may_act.as_ref().is_some_and(|may_act| self.lets(may_act, agent, is_agents))
    }

    fn is_issued_to(&self, is_agents: impl Fn(&str) -> bool) -> bool {
        let audiences = match (self.party.kind, self.party.audiences.as_slice()) {
            (UserTokenKind::IdToken, [_, _, ..]) => &[],
            (UserTokenKind::IdToken | UserTokenKind::AccessToken, audiences) => audiences,
        };
        let client = self.user.client.as_deref();
        audiences.iter().map(String::as_str).chain(client).any(is_agents)
    }

    /// RFC 8693 §4.4: `sub` and `iss` together say who it is. At our issuer that is the agent of that id. Without `iss`,
    /// or with that of the user's issuer, it is a name in that issuer's world, where our agent `a` and a stranger `a`
    /// are two: it counts only as one that the configuration gives the agent there. Any other issuer's word about its
    /// own clients is nothing to us.
    fn lets(&self, may_act: &MayAct, agent: &AgentId, is_agents: impl Fn(&str) -> bool) -> bool {
        match may_act.issuer.as_deref() {
            Some(issuer) if *issuer == *self.party.own_issuer => may_act.subject == agent.as_str(),
            Some(issuer) if *issuer == self.party.config.issuer => is_agents(&may_act.subject),
            None => is_agents(&may_act.subject),
            Some(_) => false,
        }
    }
}
