use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use vestibule_inbound::is_registered_claim;
use vestibule_model::{AppId, DEPTH_MAX, Malformed};

use crate::resources::Resources;

/// How the issuer issues.
#[derive(Debug, Clone)]
pub struct IssuerConfig {
    /// The issuer identifier (RFC 8414 §2): an `https` URL, or `http` on loopback, without query and fragment and
    /// without a slash at its end.
    pub issuer: String,
    /// How long a token lives. 60 to 300 seconds; default 120.
    pub token_ttl: Duration,
    /// How long a delegation lives at most, and so how long one revocation of it matters; never beyond the one above it.
    /// More than `token_ttl`, at most 24 hours; default 1 hour.
    pub node_ttl: Duration,
    /// The deepest chain, its root included. 1 to 8; default 4.
    pub max_depth: u8,
    /// The most living delegations directly below one. 1 to 10,000; default 1,000.
    pub max_children: u32,
    /// The most living delegations of one tree, its root included. 1 to 1,000,000; default 10,000.
    pub max_tree_nodes: u32,
    /// The most living roots of one agent. 1 to 1,000,000; default 10,000.
    pub max_roots: u32,
    /// Which custom claims of an agent a granted scope puts into its token.
    pub scope_claims: BTreeMap<String, BTreeSet<String>>,
    /// The resources that tokens are issued for, with the applications behind them: absolute URIs without a fragment,
    /// each once. `aud` is exactly this text.
    pub resources: Vec<(AppId, String)>,
}

impl IssuerConfig {
    /// The defaults, for this issuer and these resources.
    #[must_use]
    pub fn new(issuer: &str, resources: Vec<(AppId, String)>) -> Self {
        Self {
            issuer: issuer.to_owned(),
            token_ttl: Duration::from_secs(120),
            node_ttl: Duration::from_secs(3600),
            max_depth: 4,
            max_children: 1000,
            max_tree_nodes: 10_000,
            max_roots: 10_000,
            scope_claims: BTreeMap::new(),
            resources,
        }
    }

    /// Checks the bounds.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), Malformed> {
        let rule = |what, rule, holds: bool| if holds { Ok(()) } else { Err(Malformed { what, rule }) };
        let is_url = self.issuer.starts_with("https://") || self.issuer.starts_with("http://");
        rule(
            "issuer",
            "must be an http or https URL without query, fragment and final slash",
            is_url && !self.issuer.contains(['?', '#']) && !self.issuer.ends_with('/'),
        )?;
        let token_ttl = Duration::from_secs(60)..=Duration::from_secs(300);
        rule("token_ttl", "must be 60 to 300 seconds", token_ttl.contains(&self.token_ttl))?;
        rule(
            "node_ttl",
            "must be more than `token_ttl` and at most 24 hours",
            self.node_ttl > self.token_ttl && self.node_ttl <= Duration::from_secs(24 * 3600),
        )?;
        rule("max_depth", "must be 1 to 8", (1..=DEPTH_MAX).contains(&usize::from(self.max_depth)))?;
        rule("max_children", "must be 1 to 10,000", (1..=10_000).contains(&self.max_children))?;
        let many = 1..=1_000_000;
        rule("max_tree_nodes", "must be 1 to 1,000,000", many.contains(&self.max_tree_nodes))?;
        rule("max_roots", "must be 1 to 1,000,000", many.contains(&self.max_roots))?;
        rule(
            "scope_claims",
            "must not name a registered claim",
            !self.scope_claims.values().flatten().any(|name| is_registered_claim(name)),
        )?;
        Resources::new(self.resources.clone()).map(|_| ())
    }
}
