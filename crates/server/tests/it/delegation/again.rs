//! A delegation outlives its tokens: whoever holds its key has another one minted under the same node, and nobody else
//! does.

use serde_json::json;
use vestibule_testkit::{Holder, Reply};

use super::{
    ACCESS_TOKEN, EXCHANGE, PERMIT_ALL, Scene, key,
    possession::{Possession, token_in},
};

const BRIEF: &str = "{ ttl_seconds: 60, delegation_ttl_seconds: 300 }";

#[tokio::test]
async fn a_token_is_minted_again_under_the_same_node_also_after_it_has_expired() {
    let scene = Scene::with(BRIEF, PERMIT_ALL).await;
    let (root, mut child) = {
        let root = scene.root().await;
        let child = root.spawn(key(), &[]).await;
        (root, child)
    };
    let node = child.node();
    for age in [0, 59, 60, 119] {
        scene.advance(age).await;
        let before = child.claims();
        child = child.again().await;
        let claims = child.claims();
        assert_eq!(child.node(), node, "after {age} s");
        assert_ne!(claims["jti"], before["jti"]);
        assert_eq!(
            (&claims["vst"], &claims["cnf"], &claims["act"]),
            (&before["vst"], &before["cnf"], &before["act"])
        );
        assert_eq!(claims["scope"], before["scope"]);
        scene.served(&scene.list(&child).await).await;
    }
    assert_eq!(scene.nodes().await, 2);
    let minted = scene.gateway.attempts(&format!("kind=token-request&agent={}", child.id())).await;
    let made_by: Vec<_> = minted.iter().map(|record| record["delegation"]["made_by"].clone()).collect();
    assert_eq!(made_by.len(), 5);
    assert!(made_by.iter().all(|by| *by == made_by[0]), "each says which request made the node: {made_by:?}");

    scene.advance(62).await;
    for (what, agent) in [("the child", child), ("the root", root)] {
        let reply = agent.exchange_form(&[]).await;
        scene.refused(what, &reply, "invalid_request", "token-expired").await;
    }
}

#[tokio::test]
async fn a_node_ends_for_good_and_its_agent_asks_for_another() {
    let scene = Scene::with(BRIEF, PERMIT_ALL).await;
    let [one, two] = super::keys();
    let resource = [("resource", &*scene.api())];
    let first = Holder::root(&scene.planner, one, &resource).await;
    scene.advance(300).await;
    let second = Holder::root(&scene.planner, two, &resource).await;
    assert_ne!(second.node(), first.node());
    let reply = first.exchange_form(&[]).await;
    scene.refused("the first", &reply, "invalid_request", "token-expired").await;
}

#[tokio::test]
async fn nobody_has_a_token_minted_again_without_its_key() {
    let scene = Scene::new().await;
    let (root, stranger) = (scene.root().await, key());
    let form =
        [("grant_type", EXCHANGE), ("subject_token", root.token()), ("subject_token_type", ACCESS_TOKEN)];
    for (what, call) in
        [("nobody", scene.form(&form)), ("its client, without its key", scene.planner.form(&form))]
    {
        scene.refused(what, &call.send().await, "invalid_dpop_proof", "proof-missing").await;
    }
    let nonce = root.nonce().unwrap();
    let reply = Possession::new(&scene, &stranger, root.token(), &nonce).exchange(&[]).await;
    scene.refused("by another key", &reply, "invalid_dpop_proof", "proof-wrong-key").await;
    let proof = Possession::new(&scene, root.key(), root.token(), &nonce)
        .proof("POST", &scene.gateway.url("/oauth/token"));
    let reply = scene.helper.form(&form).header("dpop", &proof).send().await;
    scene.refused("in another agent's name", &reply, "invalid_request", "client-not-of-token").await;
    let reply = root.exchange_form(&[("client_id", "helper")]).await;
    scene.refused("called by another name", &reply, "invalid_request", "client-not-of-token").await;
    let reply = root.exchange_form(&[("client_id", "planner")]).await;
    assert_eq!(reply.status, 200, "called by its own");
    let other = scene.gateway.resource("other");
    let reply = root.exchange_form(&[("resource", &other)]).await;
    scene.refused("for another resource", &reply, "invalid_target", "target-not-of-subject").await;
}

#[tokio::test]
async fn a_bearer_token_is_minted_again_for_its_client_only_and_only_as_long_as_it_is_good() {
    let scene = Scene::new().await;
    let token = scene.planner.token(&scene.api()).await;
    let form = [("grant_type", EXCHANGE), ("subject_token", &*token), ("subject_token_type", ACCESS_TOKEN)];
    let reply = scene.form(&form).send().await;
    scene.refused("nobody", &reply, "invalid_client", "client-missing").await;
    let reply = scene.helper.form(&form).send().await;
    let record = scene.refused("another client", &reply, "invalid_request", "client-not-of-token").await;
    assert_eq!(record["agent"], "helper");
    let key = key();
    let nonce = scene.root().await.nonce().unwrap();
    let proof =
        Possession::new(&scene, &key, &token, &nonce).proof("POST", &scene.gateway.url("/oauth/token"));
    let reply = scene.planner.form(&form).header("dpop", &proof).send().await;
    scene.refused("bound to a key on the way", &reply, "invalid_dpop_proof", "proof-wrong-key").await;
    let reply: Reply = scene.planner.form(&form).send().await;
    assert_eq!(reply.json()["token_type"], "Bearer");
    assert_ne!(token_in(&reply), token);
    scene.advance(120).await;
    let reply = scene.planner.form(&form).send().await;
    scene.refused("expired", &reply, "invalid_request", "token-expired").await;
}

#[tokio::test]
async fn an_agent_that_is_taken_out_of_use_has_nothing_minted_for_it_nor_for_those_below_it() {
    let scene = Scene::new().await;
    let root = scene.root().await;
    let child = root.spawn(key(), &[]).await;
    scene.gateway.revoke("agent", "planner").await;
    for (what, agent) in [("itself", &root), ("its child", &child)] {
        let reply = agent.exchange_form(&[]).await;
        let record = scene.refused(what, &reply, "invalid_request", "agent-revoked").await;
        let last = record["chain"].as_array().unwrap().last().unwrap();
        assert_eq!(last["node"], json!(agent.node()), "{what}: it stands in the tree that it belongs to");
        let reply = agent.try_spawn(key(), &[]).await.unwrap_err();
        scene.refused(what, &reply, "invalid_request", "agent-revoked").await;
    }
    assert_eq!(scene.nodes().await, 2);
    assert_eq!(json!(root.node()), child.claims()["vst"]["path"][0]);
}
