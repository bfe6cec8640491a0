use std::{fmt, sync::Arc};

use vestibule_containment::Containment;
use vestibule_model::{Clock, Entropy, Malformed};
use vestibule_store::Store;

use crate::{IssuerConfig, Keys, Registry, client::Clients, metadata, resources::Resources, roots::Roots};

/// What the issuer stands on.
#[derive(Debug, Clone)]
pub struct Backing {
    /// Where delegations and used assertions are kept.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness, for identifiers.
    pub entropy: Arc<dyn Entropy>,
}

/// The embedded authorization server.
pub struct Issuer {
    pub(crate) config: IssuerConfig,
    pub(crate) resources: Resources,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) clients: Clients,
    pub(crate) roots: Roots,
}

impl Issuer {
    /// # Errors
    /// When the configuration breaks a rule.
    pub fn new(
        config: IssuerConfig,
        backing: Backing,
        registry: Arc<Registry>,
        keys: Arc<Keys>,
        containment: Arc<Containment>,
    ) -> Result<Self, Malformed> {
        config.check()?;
        let resources = Resources::new(config.resources.clone())?;
        let token_endpoint = metadata::token_endpoint(&config.issuer);
        let clients = Clients::new(
            Arc::clone(&backing.store),
            Arc::clone(&backing.clock),
            registry,
            &config.issuer,
            &token_endpoint,
        );
        let roots = Roots::new(&backing, containment, &config.issuer, config.token_ttl, config.node_ttl);
        Ok(Self { config, resources, clock: backing.clock, entropy: backing.entropy, keys, clients, roots })
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("issuer", &self.config.issuer).finish_non_exhaustive()
    }
}
