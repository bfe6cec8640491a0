use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use vestibule_inbound::VST_REVISION;
use vestibule_model::{Agent, Timestamp};

use super::{Minted, joined};
use crate::IssuerConfig;

/// The claims of a hop token under a root (RFC 9068 §2.2). Their size depends on the agent and its scopes, and not on
/// what the application offers: operations are policy's matter.
pub(super) fn of(minted: &Minted, agent: &Agent, config: &IssuerConfig, now: Timestamp) -> Value {
    let mut claims = custom(agent, &minted.scopes, config);
    let mut put = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    put("iss", json!(config.issuer));
    put("sub", json!(minted.agent));
    put("aud", json!(minted.resource));
    put("client_id", json!(minted.agent));
    put("jti", json!(minted.jti));
    put("iat", json!(now.seconds()));
    put("exp", json!(minted.expires_at.seconds()));
    put("acti", json!(minted.workflow));
    if let Some(scope) = joined(&minted.scopes) {
        put("scope", json!(scope));
    }
    put(
        "vst",
        json!({
            "node": minted.node,
            "path": [minted.node],
            "depth": 1,
            "max_depth": config.max_depth,
            "node_exp": minted.node_expires_at.seconds(),
            "rev": VST_REVISION,
        }),
    );
    Value::Object(claims)
}

/// What the granted scopes show of the agent.
fn custom(agent: &Agent, scopes: &BTreeSet<String>, config: &IssuerConfig) -> Map<String, Value> {
    let shown: BTreeSet<&String> =
        scopes.iter().filter_map(|scope| config.scope_claims.get(scope)).flatten().collect();
    let claims = agent.claims.iter().filter(|(name, _)| shown.contains(name));
    claims.map(|(name, values)| (name.clone(), json!(values))).collect()
}
