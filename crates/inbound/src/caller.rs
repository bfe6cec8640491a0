use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use secrecy::SecretString;
use vestibule_model::{
    AgentId, AttemptId, Authority, Behind, Chain, Digest, PathNode, Represented, Thumbprint, Timestamp,
    TokenId, UserId, WorkflowId,
};

use crate::dpop::Proof;

/// What door one proves: the current agent, the human it acts for, every agent in between, and the facts of the token.
/// Cheap to clone.
///
/// Only a [`crate::Scheme`] of this crate makes one, from a credential that it has verified.
#[derive(Debug, Clone)]
pub struct Caller {
    verified: Arc<Verified>,
    proof: Option<Proof>,
}

#[derive(Debug)]
struct Verified {
    user: Option<Represented>,
    chain: Chain,
    token: TokenFacts,
}

impl Caller {
    pub(crate) fn verified(user: Option<Represented>, chain: Chain, token: TokenFacts) -> Self {
        Self { verified: Arc::new(Verified { user, chain, token }), proof: None }
    }

    /// The same caller, who has proven for this request that they hold the key of their token.
    pub(crate) fn proven(mut self, proof: Proof) -> Self {
        self.proof = Some(proof);
        self
    }

    /// A caller without a credential.
    #[cfg(feature = "test-util")]
    #[must_use]
    pub fn for_test(user: Option<Represented>, chain: Chain, token: TokenFacts) -> Self {
        Self::verified(user, chain, token)
    }

    /// The agent that acts now.
    #[must_use]
    pub fn agent(&self) -> &AgentId {
        &self.verified.chain.current().agent
    }

    /// The human it acts for.
    #[must_use]
    pub fn user(&self) -> Option<&UserId> {
        self.represented().map(|user| &user.id)
    }

    /// The human it acts for, with their groups, and the session and client by which they can be cut off.
    #[must_use]
    pub fn represented(&self) -> Option<&Represented> {
        self.verified.user.as_ref()
    }

    /// The agents from the root to the current one.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.verified.chain
    }

    /// What the token says.
    #[must_use]
    pub fn token(&self) -> &TokenFacts {
        &self.verified.token
    }

    /// The proof of possession that came with this very request; none where the token is bound to no key, and none
    /// where the token was only read.
    #[must_use]
    pub fn proof(&self) -> Option<&Proof> {
        self.proof.as_ref()
    }
}

/// What a verified token says, besides who is calling.
#[derive(Debug, Clone)]
pub struct TokenFacts {
    /// The issuer that signed it.
    pub issuer: Arc<str>,
    /// In whose namespace the agents of the chain are named: ours, whoever signed the token.
    pub namespace: Arc<str>,
    /// What it is for: a resource; of a per-call token, the id of the agent that is called.
    pub audience: String,
    /// Its identifier.
    pub jti: TokenId,
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
    /// The delegation nodes from the root to the one it was minted under. A token of an outside issuer has one place of
    /// its own, which stands in no tree and is named after the token.
    pub nodes: Vec<PathNode>,
    /// How deep the tree may become below its root.
    pub max_depth: u8,
    /// The tree those nodes belong to.
    pub workflow: WorkflowId,
    /// SHA-256 of the token's bytes.
    pub digest: Digest,
    /// The key it is bound to: worth nothing to whoever cannot prove to hold it.
    pub bound_to: Option<Thumbprint>,
    /// What may be done with it at most, beside scopes and policy; none: no such bound. Every grant names its resources.
    pub authority: Option<Authority>,
    /// The calls, outermost first, within which its agents were invoked: it ends with them.
    pub calls: Vec<AttemptId>,
    /// Who else stands behind a token of an outside issuer; none for one of ours.
    pub behind: Option<Behind>,
    /// The token itself, where it is a human's of an outside issuer: door two may exchange it, and nothing else is done
    /// with it.
    pub user_token: Option<Arc<SecretString>>,
}

impl TokenFacts {
    /// The facts of a token that nobody signed: issued now, good for two minutes, under one node, bound to no
    /// key, no scopes, no claims.
    #[cfg(feature = "test-util")]
    #[must_use]
    pub fn for_test(audience: &str, now: Timestamp, entropy: &dyn vestibule_model::Entropy) -> Self {
        let jti = TokenId::from(vestibule_model::Jti::random(entropy));
        let issuer: Arc<str> = "https://issuer.test".into();
        Self {
            namespace: Arc::clone(&issuer),
            issuer,
            audience: audience.to_owned(),
            issued_at: now,
            expires_at: now.plus(std::time::Duration::from_secs(120)),
            node_expires_at: now.plus(std::time::Duration::from_secs(3600)),
            scopes: BTreeSet::new(),
            claims: BTreeMap::new(),
            nodes: vec![PathNode {
                id: vestibule_model::NodeId::random(entropy),
                since: now,
                keys: Vec::new(),
            }],
            max_depth: 4,
            workflow: WorkflowId::random(entropy),
            digest: Digest::of(jti.as_str().as_bytes()),
            bound_to: None,
            authority: None,
            calls: Vec::new(),
            behind: None,
            user_token: None,
            jti,
        }
    }
}
