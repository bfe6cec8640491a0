//! A gateway that signs by itself, and has tokens of users.

use std::collections::HashMap;

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use vestibule_model::NodeId;
use vestibule_outbound::{Backing, OutboundConfig, Shelf, Signer, UserTokens};

use super::*;

pub(crate) const ISSUER: &str = "https://gateway.test";

/// Signs nothing: what it was to sign can be read.
#[derive(Debug)]
pub(crate) struct Plain;

impl Signer for Plain {
    fn issuer(&self) -> &str {
        ISSUER
    }

    fn sign(&self, typ: &str, claims: &Value) -> Result<SecretString, Fault> {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        Ok(format!("{}.{}.c2ln", part(&json!({ "typ": typ, "alg": "ES256" })), part(claims)).into())
    }
}

/// The tokens of users, by the root of their delegation.
#[derive(Debug, Default)]
pub(crate) struct Tokens(pub(crate) HashMap<NodeId, String>);

#[async_trait]
impl UserTokens for Tokens {
    async fn of_root(&self, root: &NodeId) -> Result<Option<SecretString>, Fault> {
        Ok(self.0.get(root).map(|token| token.as_str().into()))
    }
}

#[derive(Debug)]
struct NoShelf;

#[async_trait]
impl Shelf for NoShelf {
    async fn put(&self, _: &str, _: SecretString, _: Timestamp) -> Result<(), Fault> {
        Ok(())
    }

    async fn all(&self) -> Result<Vec<(String, SecretString)>, Fault> {
        Ok(Vec::new())
    }

    async fn remove(&self, _: &str) -> Result<(), Fault> {
        Ok(())
    }
}

pub(crate) fn with(
    url: &Url,
    strategy: StrategyConfig,
    (secrets, clock, tokens): (Secrets, Arc<dyn Clock>, Tokens),
) -> Result<Outbound, OutboundError> {
    let apps = vec![UpstreamConfig { app: app(), url: url.clone(), strategy }];
    let config = OutboundConfig { apps, servers: Vec::new() };
    let backing = Backing {
        secrets,
        signer: Arc::new(Plain),
        user_tokens: Arc::new(tokens),
        ..backing(clock, Arc::new(Issued::default()))
    };
    Outbound::new(config, ways(Duration::from_secs(5)), backing)
}

pub(crate) fn backing(clock: Arc<dyn Clock>, call_tokens: Arc<dyn CallTokenSource>) -> Backing {
    Backing {
        secrets: secrets(),
        clock,
        entropy: Arc::new(SeededEntropy::new(7)),
        call_tokens,
        signer: Arc::new(Plain),
        shelf: Arc::new(NoShelf),
        user_tokens: Arc::new(Tokens::default()),
    }
}

pub(crate) fn open(url: &Url, strategy: StrategyConfig) -> Result<Outbound, OutboundError> {
    with(url, strategy, (secrets(), clock(), Tokens::default()))
}

pub(crate) fn gateway(url: &Url, strategy: StrategyConfig) -> Outbound {
    open(url, strategy).unwrap()
}
