//! From the verified claims of an outside token to a [`Caller`].
//!
//! # Foreign actors
//! `act` (RFC 8693 §4.1) says, in the issuer's own way, who acted before. Some issuers nest the agent itself, some leave
//! it out, and none of them proves to us what it says: so nobody in it is asked by policy, and nobody in it gives
//! anything. But a token behind which somebody stands who was cut off is refused ([`Behind`]): a denial needs no proof.

use std::{collections::BTreeSet, sync::Arc};

use secrecy::SecretString;
use vestibule_model::{
    Actor, Agent, AgentId, Behind, Chain, DEPTH_MAX, Denial, Digest, Foreign, NodeId, PathNode, Refusal,
    Represented, Thumbprint, Timestamp, TokenId, UserId, WorkflowId, json::Json,
};

use super::refusal;
use crate::{
    Caller, TokenFacts,
    users::{
        UserIssuerConfig, UserTokenError,
        claims::{NAME_MAX_BYTES, Times, malformed, text},
        groups,
        mapping::{Standing, is_agent_identity},
    },
};

/// Nothing is handed on from a place that stands in no tree.
const MAX_DEPTH: u8 = 1;

/// Whom the token is of, as far as it is known.
pub(super) struct About<'a> {
    pub(super) config: &'a UserIssuerConfig,
    pub(super) agent: &'a Agent,
    /// The name of the agent at its issuer.
    pub(super) client: &'a str,
    pub(super) own_issuer: &'a Arc<str>,
    pub(super) resource: &'a str,
}

impl About<'_> {
    pub(super) fn caller(
        &self,
        claims: &Json,
        times: Times,
        (token, digest): (&str, Digest),
    ) -> Result<Caller, Refusal> {
        let user = self.user(claims, times.issued_at).map_err(refusal)?;
        self.note(claims);
        let actor = Actor { issuer: Arc::clone(self.own_issuer), agent: self.agent.id.clone() };
        let chain = Chain::new(vec![actor]).map_err(|error| Refusal::new(Denial::TokenInvalid, error))?;
        let bound_to = binding(claims).map_err(refusal)?;
        let facts = TokenFacts {
            issuer: self.config.issuer.as_str().into(),
            namespace: Arc::clone(self.own_issuer),
            audience: self.resource.to_owned(),
            jti: self.token_id(claims, &digest).map_err(refusal)?,
            issued_at: times.issued_at,
            expires_at: times.expires_at,
            node_expires_at: times.expires_at,
            scopes: self.scopes(claims).map_err(refusal)?,
            claims: Default::default(),
            nodes: vec![PathNode {
                id: NodeId::of_token(&digest),
                since: times.issued_at,
                keys: bound_to.into_iter().collect(),
            }],
            max_depth: MAX_DEPTH,
            workflow: WorkflowId::of_token(&digest),
            digest,
            bound_to,
            authority: None,
            calls: Vec::new(),
            behind: Some(self.behind(claims, user.is_some()).map_err(refusal)?),
            user_token: user.is_some().then(|| Arc::new(SecretString::from(token.to_owned()))),
        };
        Ok(Caller::verified(user, chain, facts))
    }

    fn user(&self, claims: &Json, since: Timestamp) -> Result<Option<Represented>, UserTokenError> {
        let mapping = self.config.mapping();
        match mapping.standing(claims, Some(self.client))? {
            Standing::Alone => Ok(None),
            Standing::Human => Ok(Some(Represented {
                id: UserId {
                    issuer: self.config.issuer.clone(),
                    subject: mapping.subject(claims, self.config)?.into_owned(),
                },
                groups: groups::read(claims, self.config)?,
                session: text(claims, "sid", NAME_MAX_BYTES)?.map(str::to_owned),
                client: Some(self.client.to_owned()),
                since: Some(since),
            })),
        }
    }

    /// What names the token in an order. One without an identifier is named by its hash.
    fn token_id(&self, claims: &Json, digest: &Digest) -> Result<TokenId, UserTokenError> {
        let named = self.config.mapping().token_id(claims)?;
        let id = match named {
            Some(jti) => TokenId::foreign(&self.config.issuer, jti),
            None => TokenId::foreign(&self.config.issuer, &format!("sha-256:{digest}")),
        };
        id.map_err(UserTokenError::Malformed)
    }

    /// RFC 8693 §4.2, or `scp`, which is a list at some issuers. No more than the agent was registered for: a scope that
    /// an issuer gives for its own reasons widens nothing here.
    fn scopes(&self, claims: &Json) -> Result<BTreeSet<String>, UserTokenError> {
        let fault = || malformed("scope", "must be a text or an array of texts");
        let mut found = BTreeSet::new();
        for name in ["scope", "scp"] {
            match claims.get(name) {
                None => {}
                Some(Json::String(text)) => found.extend(text.split(' ').map(str::to_owned)),
                Some(Json::Array(items)) => {
                    for item in items {
                        found.insert(item.as_str().ok_or_else(fault)?.to_owned());
                    }
                }
                Some(Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_)) => return Err(fault()),
            }
        }
        found.retain(|scope| self.agent.scopes.contains(scope));
        Ok(found)
    }

    /// Who got the token, unless a human is named with it, and who acted before.
    fn behind(&self, claims: &Json, has_user: bool) -> Result<Behind, UserTokenError> {
        let fault = || malformed("act", "must be nested objects with `sub`, and `iss` if any, at most eight");
        let mut behind = Behind::default();
        if !has_user {
            behind.clients.push(self.foreign(&self.config.issuer, self.client)?);
        }
        let (mut next, mut depth) = (claims.get("act"), 0);
        while let Some(act) = next {
            depth += 1;
            if depth > DEPTH_MAX || act.as_object().is_none() {
                return Err(fault());
            }
            let issuer = text(act, "iss", NAME_MAX_BYTES)?.unwrap_or(&self.config.issuer);
            let name = text(act, "sub", NAME_MAX_BYTES)?.ok_or_else(fault)?;
            behind.clients.push(self.foreign(issuer, name)?);
            behind.agents.extend(self.agent_of(issuer, name));
            next = act.get("act");
        }
        Ok(behind)
    }

    fn foreign(&self, issuer: &str, name: &str) -> Result<Foreign, UserTokenError> {
        Foreign::parse(&format!("{issuer}#{name}")).map_err(UserTokenError::Malformed)
    }

    /// The agent of ours that an issuer calls so: we by its id, this issuer by what the configuration says.
    fn agent_of(&self, issuer: &str, name: &str) -> Option<AgentId> {
        if *issuer == **self.own_issuer {
            AgentId::new(name).ok()
        } else if *issuer == self.config.issuer {
            self.config.agent_named(name).cloned()
        } else {
            None
        }
    }

    /// What Entra says of an agent identity, for the log: nothing is decided by it.
    fn note(&self, claims: &Json) {
        if let Some(parent) = claims.get("xms_par_app_azp").and_then(Json::as_str) {
            let (agent, is_agent) = (&self.agent.id, is_agent_identity(claims));
            tracing::debug!(%agent, blueprint = ?parent, is_agent, "an identity that stands below a blueprint");
        }
    }
}

/// The key in `cnf` (RFC 7800 §3.1, RFC 9449 §6.1).
pub(crate) fn binding(claims: &Json) -> Result<Option<Thumbprint>, UserTokenError> {
    let Some(cnf) = claims.get("cnf") else { return Ok(None) };
    // RFC 7800 §3.1: of a means of confirmation that is not understood, nothing is confirmed.
    let fault = || malformed("cnf", "must bind by one `jkt` and by nothing else");
    match cnf.as_object() {
        Some([(name, key)]) if name == "jkt" => {
            Thumbprint::parse(key.as_str().unwrap_or_default()).map(Some).map_err(|_| fault())
        }
        Some(_) | None => Err(fault()),
    }
}
