use std::collections::BTreeSet;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use vestibule_inbound::{ACCESS_TOKEN_TYPE, jws::TOKEN_MAX_BYTES};
use vestibule_model::{Agent, Authority, Delegation, Jti, Thumbprint, Timestamp, TokenId};
use vestibule_policy::Decision;

use super::claims;
use crate::{Issuer, OAuthError, Reason};

/// What the header and the signature of a token take at most, in bytes.
const ENVELOPE_BYTES: usize = 256;

/// What a grant comes to.
#[derive(Clone)]
pub(super) struct Granted {
    pub(super) delegation: Delegation,
    pub(super) scopes: BTreeSet<String>,
    pub(super) authority: Option<Authority>,
    pub(super) bound_to: Option<Thumbprint>,
    pub(super) made: bool,
    pub(super) decision: Option<Decision>,
}

/// A token, and what is recorded about it.
#[derive(Debug)]
pub struct TokenResponse {
    access_token: SecretString,
    expires_in: i64,
    issued_token_type: Option<&'static str>,
    /// What was minted, for the record.
    pub minted: Minted,
    /// For the `DPoP-Nonce` header of the answer (RFC 9449 §8.2).
    pub nonce: Option<String>,
}

/// What was minted, without the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Minted {
    /// The node it was minted under: agent, chain, user, application, resource, tree and the node's own end, at which
    /// what outlives the token, a stream, ends.
    pub delegation: Delegation,
    /// Its identifier.
    pub jti: TokenId,
    /// The scopes granted: those of the node, or fewer.
    pub scopes: BTreeSet<String>,
    /// Its `authorization_details`: those of the node, or less.
    pub authority: Option<Authority>,
    /// Its expiry.
    pub expires_at: Timestamp,
    /// The key it is bound to; none: a bearer token.
    pub bound_to: Option<Thumbprint>,
    /// Whether this request made the node.
    pub made: bool,
    /// What policy decided, if it was asked whether the agent may delegate.
    pub decision: Option<Decision>,
    /// The token of an outside issuer that was shown for it: the human's, or else that of the workload which asks.
    pub rests_on: Option<TokenId>,
}

impl TokenResponse {
    /// The body of the answer (RFC 6749 §5.1, RFC 8693 §2.2.1, RFC 9396 §7, RFC 9449 §5), which holds the token.
    #[must_use]
    pub fn body(&self) -> Value {
        let mut body = json!({
            "access_token": self.access_token.expose_secret(),
            "token_type": token_type(self.minted.bound_to.as_ref()),
            "expires_in": self.expires_in,
        });
        let optional = [
            ("issued_token_type", self.issued_token_type.map(Value::from)),
            ("scope", claims::joined(&self.minted.scopes).map(Value::from)),
            ("authorization_details", self.minted.authority.as_ref().map(Authority::to_value)),
        ];
        if let Some(members) = body.as_object_mut() {
            let given = optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
            members.extend(given);
        }
        body
    }

    /// With the outside token that was shown for it.
    pub(super) fn resting_on(mut self, token: Option<TokenId>) -> Self {
        self.minted.rests_on = token;
        self
    }

    /// As the answer to a token exchange. RFC 8693 §2.2.1: `issued_token_type` is REQUIRED.
    pub(super) fn issued_as(self, issued: &'static str) -> Self {
        Self { issued_token_type: Some(issued), ..self }
    }
}

/// RFC 9449 §5: `DPoP` where the token is bound to a key.
pub(crate) fn token_type(bound_to: Option<&Thumbprint>) -> &'static str {
    if bound_to.is_some() { "DPoP" } else { "Bearer" }
}

impl Issuer {
    /// Whether a token can be made for what would be granted. Asked before anything is written, so that no node stays
    /// behind under which there is no token.
    pub(super) fn is_mintable(&self, granted: &Granted) -> Result<(), OAuthError> {
        self.prepared(granted.clone()).map(drop)
    }

    /// The token for what was granted.
    pub(super) fn mint(&self, granted: Granted) -> Result<TokenResponse, OAuthError> {
        let (minted, claims, expires_in) = self.prepared(granted)?;
        let token = self
            .keys
            .sign(ACCESS_TOKEN_TYPE, &claims)
            .map_err(|error| OAuthError::broken(Reason::Internal, &error))?;
        Ok(TokenResponse {
            access_token: token.into(),
            expires_in,
            issued_token_type: None,
            minted,
            nonce: None,
        })
    }

    fn prepared(&self, granted: Granted) -> Result<(Minted, Value, i64), OAuthError> {
        let Granted { delegation, scopes, authority, bound_to, made, decision } = granted;
        // INVARIANT: whoever found a bearer token of a child could act in the name of everybody above it.
        if delegation.depth() > 1 && bound_to.is_none() {
            return Err(Reason::ProofMissing.into());
        }
        // The gateway that made the node may have a clock ahead of ours, and no token is older than its node.
        let now = delegation.path.last().map_or(self.clock.now(), |node| self.clock.now().max(node.since));
        let expires_at = now.plus(self.config.token_ttl).min(delegation.expires_at);
        let expires_in = expires_at.seconds() - now.seconds();
        if expires_in <= 0 {
            return Err(OAuthError::new(Reason::DelegationEnded, "the delegation ends within this second"));
        }
        let jti = TokenId::from(Jti::random(self.entropy.as_ref()));
        let rests_on = None;
        let minted =
            Minted { delegation, jti, scopes, authority, expires_at, bound_to, made, decision, rests_on };
        let agent = self.described(&minted.delegation);
        let claims = claims::of(&minted, agent.as_deref(), &self.config, now);
        let length = claims.to_string().len().div_ceil(3) * 4 + ENVELOPE_BYTES;
        if length > TOKEN_MAX_BYTES {
            return Err(OAuthError::new(Reason::TokenTooLong, format!("about {length} bytes")));
        }
        Ok((minted, claims, expires_in))
    }

    /// The agent whose custom claims the token shows: the one that acts or, of an agent that is known by its key alone,
    /// the nearest other one above it, whose groups it has too.
    fn described(&self, delegation: &Delegation) -> Option<std::sync::Arc<Agent>> {
        let mut agents = delegation.chain.iter().rev();
        let registered = agents.find(|agent| agent.as_key().is_none())?;
        self.registry.known(registered)
    }
}
