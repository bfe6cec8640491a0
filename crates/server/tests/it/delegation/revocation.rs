//! Revocation of a token by those who act by it (RFC 7009): the token is dead, with what runs under it, and nothing else.

use serde_json::{Value, json};
use vestibule_testkit::{Answer, Call, Holder, Http, Reply, TestAgent};

use super::{
    Scene, key,
    possession::{Possession, token_in},
};

fn asked(scene: &Scene, agent: &TestAgent, token: &str) -> Call {
    agent.form_at(&scene.gateway.url("/oauth/revoke"), &[("token", token)])
}

fn asked_by_key(scene: &Scene, agent: &Holder) -> Call {
    let url = scene.gateway.url("/oauth/revoke");
    Http::post(&url).form(&[("token", agent.token())]).header("dpop", &agent.proof("POST", &url))
}

/// 200 without a body, and the record says what is dead now.
async fn revoked(scene: &Scene, what: &str, reply: &Reply, by: &str, jti: &Value) -> Value {
    assert_eq!((reply.status.as_u16(), &*reply.text()), (200, ""), "{what}");
    assert_eq!(reply.header("cache-control"), "no-store", "{what}");
    let record = scene.gateway.attempt_of(reply).await;
    assert_eq!((&record["kind"], &record["agent"]), (&json!("token-revocation"), &json!(by)), "{what}");
    assert_eq!(record["target"], format!("token/{}", jti.as_str().unwrap()), "{what}");
    assert_eq!(record["denial"], Value::Null, "{what}");
    record
}

#[tokio::test]
async fn an_agent_ends_its_token_and_keeps_its_delegation() {
    let scene = Scene::new().await;
    let root = scene.root().await;
    let child = root.spawn(key(), &[]).await;
    let second = token_in(&child.exchange_form(&[]).await);
    let reply = asked_by_key(&scene, &child).send().await;
    revoked(&scene, "its own", &reply, &child.id(), &child.claims()["jti"]).await;
    assert!(!reply.header("dpop-nonce").is_empty());
    let reply = scene.list(&child).await;
    scene.denied("the token", &reply, 401, "token-revoked").await;
    for (what, reply) in [
        ("minted again from it", child.exchange_form(&[]).await),
        ("a child of it", child.try_spawn(key(), &[]).await.unwrap_err().as_ref().clone()),
    ] {
        scene.refused(what, &reply, "invalid_request", "token-revoked").await;
    }
    let nonce = child.nonce().unwrap();
    scene.served(&Possession::new(&scene, child.key(), &second, &nonce).list().await).await;
    scene.served(&scene.list(&root).await).await;
    let again = asked_by_key(&scene, &child).send().await;
    assert_eq!(again.status, 200, "repeating it is no error");
}

#[tokio::test]
async fn those_above_may_end_a_token_and_those_beside_and_below_may_not() {
    let scene = Scene::new().await;
    let root = scene.root().await;
    let child = root.spawn(key(), &[]).await;
    let reply = asked(&scene, &scene.helper, child.token()).send().await;
    let record = scene.refused("a stranger", &reply, "unauthorized_client", "client-not-of-token").await;
    assert_eq!(record["agent"], "helper");
    let url = scene.gateway.url("/oauth/revoke");
    let by_child =
        Http::post(&url).form(&[("token", root.token())]).header("dpop", &child.proof("POST", &url));
    scene
        .refused("a child its parent's", &by_child.send().await, "invalid_dpop_proof", "proof-invalid")
        .await;
    let nobody = Http::post(&url).form(&[("token", root.token())]).send().await;
    scene.refused("nobody", &nobody, "invalid_client", "client-missing").await;
    scene.served(&scene.list(&child).await).await;
    scene.served(&scene.list(&root).await).await;
    let reply = asked(&scene, &scene.planner, child.token()).send().await;
    revoked(&scene, "its root", &reply, "planner", &child.claims()["jti"]).await;
    let reply = scene.list(&child).await;
    scene.denied("the token of the child", &reply, 401, "token-revoked").await;
    scene.served(&scene.list(&root).await).await;
}

#[tokio::test]
async fn what_is_no_token_of_ours_is_nothing_to_revoke_and_no_error() {
    let scene = Scene::new().await;
    let foreign = scene.id_token("alice", &[]);
    for (what, token, code) in
        [("garbage", "garbage", "token-invalid"), ("a human's token", &*foreign, "token-wrong-type")]
    {
        let reply = asked(&scene, &scene.planner, token).send().await;
        assert_eq!((reply.status.as_u16(), &*reply.text()), (200, ""), "{what}");
        let record = scene.gateway.attempt_of(&reply).await;
        assert_eq!((&record["denial"], &record["target"]), (&json!(code), &Value::Null), "{what}");
    }
    let url = scene.gateway.url("/oauth/revoke");
    let reply = scene.planner.form_at(&url, &[]).send().await;
    scene.refused("no token", &reply, "invalid_request", "token-request-malformed").await;
    assert_eq!(scene.gateway.get("/admin/v1/revocations").await["items"], json!([]));
}

#[tokio::test]
async fn what_runs_under_the_token_is_cut_before_the_answer_and_what_runs_beside_it_goes_on() {
    let scene = Scene::new().await;
    let chunks: Vec<String> = (0..1000).map(|number| format!("data: {number}\n\n")).collect();
    scene.upstream.answer(Answer::stream("text/event-stream", chunks));
    let (root, url) = (scene.root().await, format!("{}/repos", scene.api()));
    let (doomed, beside) = (root.spawn(key(), &[]).await, root.spawn(key(), &[]).await);
    scene.upstream.hold();
    let open = |agent: &Holder| tokio::spawn(agent.signed("GET", &url, Http::get(&url)).open());
    let opening = open(&doomed);
    scene.upstream.step();
    let mut cut = opening.await.unwrap().unwrap();
    assert!(cut.chunk().await.unwrap().is_some());
    let mut opening = open(&beside);
    scene.upstream.wait_for(2).await;
    // Whichever of the two takes the ticket.
    let mut lives = loop {
        scene.upstream.step();
        tokio::select! {
            opened = &mut opening => break opened.unwrap().unwrap(),
            chunk = cut.chunk() => assert!(chunk.unwrap().is_some()),
        }
    };
    let reply = asked_by_key(&scene, &doomed).send().await;
    let record = revoked(&scene, "its own", &reply, &doomed.id(), &doomed.claims()["jti"]).await;
    let detail: Value = serde_json::from_str(record["detail"].as_str().unwrap()).unwrap();
    assert_eq!((&detail["cut"]["streams"], &detail["cut"]["attempts"]), (&json!(1), &json!(1)));
    scene.upstream.wait_for_aborted(1).await;
    let end = loop {
        match cut.chunk().await {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    assert!(end.is_err(), "the stream was completed instead of cut");
    scene.upstream.step();
    assert!(lives.chunk().await.unwrap().is_some(), "the other one goes on");
    let cut = scene.gateway.attempts("outcome=cut").await;
    assert_eq!(
        (cut.len(), &cut[0]["agent"], &cut[0]["denial"]),
        (1, &json!(doomed.id()), &json!("token-revoked"))
    );
}
