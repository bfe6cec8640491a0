use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use vestibule_model::{AgentId, Chain, Digest, Jti, NodeId, Timestamp, UserId, WorkflowId};

/// What door one proves: the current agent, the human it acts for, every agent in between, and the facts of the token.
/// Cheap to clone.
///
/// Only a [`crate::Scheme`] of this crate makes one, from a credential that it has verified.
#[derive(Debug, Clone)]
pub struct Caller(Arc<Verified>);

#[derive(Debug)]
struct Verified {
    user: Option<UserId>,
    chain: Chain,
    token: TokenFacts,
}

impl Caller {
    pub(crate) fn verified(user: Option<UserId>, chain: Chain, token: TokenFacts) -> Self {
        Self(Arc::new(Verified { user, chain, token }))
    }

    /// A caller without a credential.
    #[cfg(feature = "test-util")]
    #[must_use]
    pub fn for_test(user: Option<UserId>, chain: Chain, token: TokenFacts) -> Self {
        Self::verified(user, chain, token)
    }

    /// The agent that acts now.
    #[must_use]
    pub fn agent(&self) -> &AgentId {
        &self.0.chain.current().agent
    }

    /// The human it acts for.
    #[must_use]
    pub fn user(&self) -> Option<&UserId> {
        self.0.user.as_ref()
    }

    /// The agents from the root to the current one.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.0.chain
    }

    /// What the token says.
    #[must_use]
    pub fn token(&self) -> &TokenFacts {
        &self.0.token
    }
}

/// What a verified token says, besides who is calling.
#[derive(Debug, Clone)]
pub struct TokenFacts {
    /// The issuer that signed it.
    pub issuer: Arc<str>,
    /// The resource it is for.
    pub audience: String,
    /// Its identifier.
    pub jti: Jti,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// It is dead from this moment on.
    pub expires_at: Timestamp,
    /// The expiry of the node it was minted under: what is running then ends, whatever it began with.
    pub node_expires_at: Timestamp,
    /// The scopes granted. A scope bounds; it never grants.
    pub scopes: BTreeSet<String>,
    /// The custom claims (role, department, tenant, …), each a set of strings.
    pub claims: BTreeMap<String, BTreeSet<String>>,
    /// The delegation nodes from the root to the one it was minted under.
    pub nodes: Vec<NodeId>,
    /// The tree those nodes belong to.
    pub workflow: WorkflowId,
    /// SHA-256 of the token's bytes.
    pub digest: Digest,
}

impl TokenFacts {
    /// The facts of a token that nobody signed: issued now, good for two minutes, under one node, no scopes, no
    /// claims.
    #[cfg(feature = "test-util")]
    #[must_use]
    pub fn for_test(audience: &str, now: Timestamp, entropy: &dyn vestibule_model::Entropy) -> Self {
        let jti = Jti::random(entropy);
        Self {
            issuer: "https://issuer.test".into(),
            audience: audience.to_owned(),
            issued_at: now,
            expires_at: now.plus(std::time::Duration::from_secs(120)),
            node_expires_at: now.plus(std::time::Duration::from_secs(3600)),
            scopes: BTreeSet::new(),
            claims: BTreeMap::new(),
            nodes: vec![NodeId::random(entropy)],
            workflow: WorkflowId::random(entropy),
            digest: Digest::of(jti.as_str().as_bytes()),
            jti,
        }
    }
}
