//! A token of ours that somebody asks about, and who asks.

use vestibule_inbound::{CallToken, Caller, Expired};
use vestibule_model::{AgentId, Denial, NodeId, Refusal, Timestamp, TokenId};

use crate::{Issuer, OAuthError, Reason, client::Clients, form::Form, token::TokenRequest};

/// A token of ours, of whichever type.
pub(crate) enum OwnToken {
    Hop(Caller),
    Call(CallToken),
}

/// Who asked about which token: for the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inquiry {
    /// The agent that asks.
    pub agent: AgentId,
    /// The identifier of the token, if it is one of ours.
    pub jti: Option<TokenId>,
    /// The node it was minted under.
    pub node: Option<NodeId>,
    /// The agent that it was minted for; of a call token, the one that calls.
    pub minted_for: Option<AgentId>,
}

impl OwnToken {
    pub(crate) fn caller(&self) -> &Caller {
        match self {
            Self::Hop(caller) => caller,
            Self::Call(token) => &token.caller,
        }
    }

    /// Its identifier and when it was issued.
    pub(crate) fn issued(&self) -> (&TokenId, Timestamp) {
        let facts = self.caller().token();
        (&facts.jti, facts.issued_at)
    }

    /// From then on it is good for nothing: a bound one is, for an exchange, as long as its node.
    pub(crate) fn ends_at(&self) -> Timestamp {
        let facts = self.caller().token();
        if facts.bound_to.is_some() { facts.node_expires_at } else { facts.expires_at }
    }

    /// Whether the agent is one of those who act by it.
    pub(crate) fn is_of(&self, agent: &AgentId) -> bool {
        self.caller().chain().actors().iter().any(|actor| actor.agent == *agent)
    }
}

impl Inquiry {
    pub(crate) fn new(agent: AgentId, token: Option<&OwnToken>) -> Self {
        let caller = token.map(OwnToken::caller);
        Self {
            agent,
            jti: caller.map(|caller| caller.token().jti.clone()),
            node: caller.and_then(|caller| caller.token().nodes.last()).map(|node| node.id.clone()),
            minted_for: caller.map(|caller| caller.agent().clone()),
        }
    }
}

impl Issuer {
    /// The token, if it is one of ours. A bound one may have expired: its key can have it minted again.
    pub(crate) fn own_token(&self, token: &str) -> Result<OwnToken, Refusal> {
        match self.hop_tokens.read(token, Expired::Accepted) {
            Ok(caller) => Ok(OwnToken::Hop(caller)),
            Err(refusal) if refusal.denial == Denial::TokenWrongType => {
                self.call_tokens.read(token).map(OwnToken::Call)
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// Who asks at `url` about `token`: a client that authenticates (RFC 7662 §2.1, RFC 7009 §2.1) or, for agents that
    /// are known by their key alone, whoever proves the key of that very token. What is revoked asks for nothing.
    pub(crate) async fn inquirer(
        &self,
        request: &TokenRequest<'_>,
        form: Form<'_>,
        url: &str,
        asked: (&str, Option<&OwnToken>),
    ) -> Result<AgentId, OAuthError> {
        if Clients::is_presented(request.headers, form) {
            let recognised = self.clients.recognise(request.headers, form).await?;
            let client = self.clients.admit(recognised, None).await?;
            self.admit(&client).map_err(|error| error.of(&client.agent.id))?;
            return Ok(client.agent.id.clone());
        }
        let (text, token) = asked;
        match token {
            Some(OwnToken::Hop(caller)) if Self::has_proof(request) => {
                let key = caller.token().bound_to.ok_or(Reason::ClientMissing)?;
                self.proof_by(&key, request, url, text)?;
                // Its key stands on the path of the token that it asks about, and proves nothing about any other.
                self.may_ask(caller.agent()).map_err(|error| error.of(caller.agent()))?;
                Ok(caller.agent().clone())
            }
            Some(OwnToken::Hop(_) | OwnToken::Call(_)) | None => Err(Reason::ClientMissing.into()),
        }
    }
}
