use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use vestibule_model::{Agent, Authority, Timestamp};

use super::Minted;
use crate::{IssuerConfig, lineage::Lineage};

/// The claims of a hop token (RFC 9068 §2.2). Their size depends on the chain, the scopes and what was delegated, and
/// not on what the application offers: operations are policy's matter.
pub(super) fn of(minted: &Minted, agent: Option<&Agent>, config: &IssuerConfig, now: Timestamp) -> Value {
    let node = &minted.delegation;
    let mut claims = agent.map(|agent| custom(agent, &minted.scopes, config)).unwrap_or_default();
    let lineage = Lineage::of_node(node);
    claims.extend(lineage.claims(&config.issuer));
    let mut put = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    put("iss", json!(config.issuer));
    put("aud", json!(node.resource));
    put("jti", json!(minted.jti));
    put("iat", json!(now.seconds()));
    put("exp", json!(minted.expires_at.seconds()));
    if let Some(key) = &minted.bound_to {
        // RFC 9449 §6.1.
        put("cnf", json!({"jkt": key}));
    }
    put("vst", lineage.vst());
    bounds(&mut claims, &minted.scopes, minted.authority.as_ref());
    Value::Object(claims)
}

/// `scope` and `authorization_details`, where there are any.
pub(crate) fn bounds(
    claims: &mut Map<String, Value>,
    scopes: &BTreeSet<String>,
    authority: Option<&Authority>,
) {
    if let Some(scope) = joined(scopes) {
        claims.insert("scope".to_owned(), json!(scope));
    }
    if let Some(authority) = authority {
        claims.insert("authorization_details".to_owned(), authority.to_value());
    }
}

/// RFC 6749 §3.3: separated by spaces, and at least one.
pub(crate) fn joined(scopes: &BTreeSet<String>) -> Option<String> {
    let scopes: Vec<_> = scopes.iter().map(String::as_str).collect();
    (!scopes.is_empty()).then(|| scopes.join(" "))
}

/// What the granted scopes show of the agent.
fn custom(agent: &Agent, scopes: &BTreeSet<String>, config: &IssuerConfig) -> Map<String, Value> {
    let shown: BTreeSet<&String> =
        scopes.iter().filter_map(|scope| config.scope_claims.get(scope)).flatten().collect();
    let claims = agent.claims.iter().filter(|(name, _)| shown.contains(name));
    claims.map(|(name, values)| (name.clone(), json!(values))).collect()
}
