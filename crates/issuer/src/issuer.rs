use std::{fmt, sync::Arc};

use vestibule_containment::Containment;
use vestibule_inbound::{
    CallTokens, HopTokens, dpop::Proofs, users::UserIssuers, workloads::WorkloadIssuers,
};
use vestibule_model::{Clock, Entropy, Malformed};
use vestibule_policy::Lock;
use vestibule_store::Store;

use crate::{
    IssuerConfig, Keys, Registry, UserTokens, client::Clients, delegations::Tree, resources::Resources,
};

/// Subject tokens that are remembered as verified.
const TOKEN_CACHE: usize = 4096;

/// What the issuer stands on.
#[derive(Debug, Clone)]
pub struct Backing {
    /// Where delegations and used assertions are kept.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness, for identifiers.
    pub entropy: Arc<dyn Entropy>,
    /// Where the tokens of users are kept; none: they are not.
    pub user_tokens: Option<UserTokens>,
}

/// Whose word counts before a token is issued.
#[derive(Debug, Clone)]
pub struct Judges {
    /// What is revoked and what is under way.
    pub containment: Arc<Containment>,
    /// Whether an agent may delegate.
    pub lock: Arc<Lock>,
    /// Whether a key was proven; the same as at door one, so that a proof is used once in all.
    pub proofs: Arc<Proofs>,
    /// Whose human a token names.
    pub users: Arc<UserIssuers>,
    /// For which workloads a platform vouches.
    pub workloads: Arc<WorkloadIssuers>,
}

/// The embedded authorization server.
pub struct Issuer {
    pub(crate) config: IssuerConfig,
    pub(crate) name: Arc<str>,
    pub(crate) endpoints: Endpoints,
    pub(crate) resources: Resources,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) clients: Clients,
    pub(crate) tree: Tree,
    pub(crate) containment: Arc<Containment>,
    pub(crate) lock: Arc<Lock>,
    pub(crate) proofs: Arc<Proofs>,
    pub(crate) users: Arc<UserIssuers>,
    pub(crate) user_tokens: Option<UserTokens>,
    pub(crate) hop_tokens: HopTokens,
    pub(crate) call_tokens: CallTokens,
}

/// Where the issuer is asked: what a proof of possession names as `htu`.
pub(crate) struct Endpoints {
    pub(crate) token: String,
    pub(crate) introspection: String,
    pub(crate) revocation: String,
}

impl Endpoints {
    fn of(issuer: &str) -> Self {
        Self {
            token: format!("{issuer}/oauth/token"),
            introspection: format!("{issuer}/oauth/introspect"),
            revocation: format!("{issuer}/oauth/revoke"),
        }
    }
}

impl Issuer {
    /// # Errors
    /// When the configuration breaks a rule.
    pub fn new(
        config: IssuerConfig,
        backing: Backing,
        registry: Arc<Registry>,
        keys: Arc<Keys>,
        judges: Judges,
    ) -> Result<Self, Malformed> {
        config.check()?;
        let resources = Resources::new(config.resources.clone())?;
        let endpoints = Endpoints::of(&config.issuer);
        let Judges { containment, lock, proofs, users, workloads } = judges;
        let tree = Tree::new(&backing, Arc::clone(&containment), &config);
        let clients =
            Clients::new(&backing, Arc::clone(&registry), workloads, &config.issuer, &endpoints.token);
        let Backing { clock, entropy, user_tokens, .. } = backing;
        let verification = || (keys.verification(), Arc::clone(&clock));
        let (ours, at) = verification();
        let hop_tokens = HopTokens::new(&config.issuer, ours, at, TOKEN_CACHE, Arc::clone(&proofs));
        let (ours, at) = verification();
        let call_tokens = CallTokens::new(&config.issuer, ours, at);
        Ok(Self {
            name: config.issuer.as_str().into(),
            config,
            endpoints,
            resources,
            clock,
            entropy,
            registry,
            keys,
            clients,
            tree,
            containment,
            lock,
            proofs,
            users,
            user_tokens,
            hop_tokens,
            call_tokens,
        })
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("issuer", &self.config.issuer).finish_non_exhaustive()
    }
}
