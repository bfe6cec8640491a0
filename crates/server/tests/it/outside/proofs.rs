//! An outside token that is bound to a key (RFC 9449), as a token of ours would be.

use std::sync::Arc;

use serde_json::json;
use vestibule_testkit::{AgentKey, Holder, Http};

use super::Town;

#[tokio::test]
async fn a_bound_token_comes_with_a_proof_of_its_key_or_not_at_all() {
    let town = Town::new().await;
    let key = AgentKey::generate("k");
    let jkt = key.thumbprint();
    let token = town.alice(json!({ "typ": "DPoP", "cnf": { "jkt": jkt } }));
    let url = format!("{}/repos", town.api());
    let holder = Holder::holding(key, &token, Arc::clone(&town.gateway.clock));
    let reply = holder.send("GET", &url, || Http::get(&url)).await;
    let record = town.served(&reply, &token).await;
    assert_eq!((&record["key"], &record["user"]["subject"]), (&json!(jkt), &json!("alice")));

    let reply = town.list(&token).await;
    town.denied("as a bearer token", &reply, 401, "proof-missing").await;
    assert!(reply.header("www-authenticate").starts_with("DPoP "));
    let thief = Holder::holding(AgentKey::generate("t"), &token, Arc::clone(&town.gateway.clock));
    let reply = thief.send("GET", &url, || Http::get(&url)).await;
    town.denied("by another key", &reply, 401, "proof-wrong-key").await;
    let elsewhere = holder.proof("GET", &format!("{}/stream", town.api()));
    let reply = Http::get(&url).header("authorization", &format!("DPoP {token}")).header("dpop", &elsewhere);
    town.denied("of another request", &reply.send().await, 401, "proof-invalid").await;

    town.gateway.revoke("credential", &jkt.to_string()).await;
    let reply = holder.send("GET", &url, || Http::get(&url)).await;
    town.denied("a revoked key", &reply, 401, "credential-revoked").await;
}
