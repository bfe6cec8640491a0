//! How an agent that nobody registered is cut off: by its name, its delegation, its token, or its rule.

use serde_json::json;
use vestibule_testkit::{AgentKey, Answer, Http, TestIssuer, TestUpstream};

use super::workloads::{MAIN, Yard};
use crate::gateway::TestGateway;

#[tokio::test]
async fn it_spawns_as_a_registered_one_and_takes_what_it_spawned_along() {
    for kind in ["agent", "delegation", "credential"] {
        let yard = Yard::new().await;
        let root = yard.root(MAIN).await;
        let child = root.spawn(AgentKey::generate("c"), &[]).await;
        let below = child.spawn(AgentKey::generate("d"), &[]).await;
        let record = yard.town.served(&yard.list(&below).await, below.token()).await;
        assert_eq!(record["policies"], json!(["ci"]));
        assert_eq!(record["chain"][0]["agent"], json!(format!("workload:ci/build#{MAIN}")));

        let other = yard.root("repo:acme/lib:ref:refs/heads/main").await;
        let url = format!("{}/stream", yard.town.api());
        let running = below.signed("GET", &url, Http::get(&url)).watch(&yard.town.gateway.clock);
        running.until(|text| text.contains("beat ")).await;
        let id = match kind {
            "agent" => format!("workload:ci/build#{MAIN}"),
            "delegation" => root.node(),
            _ => root.key().thumbprint().to_string(),
        };
        let report = yard.town.gateway.revoke(kind, &id).await;
        assert_eq!(report["cut"]["streams"], 1, "{kind}: {report}");
        running.ended().await;
        for dead in [&root, &child, &below] {
            let reply = yard.list(dead).await;
            assert_eq!(reply.status, 401, "{kind}");
            assert_eq!(reply.json()["code"], format!("{kind}-revoked"), "{kind}");
        }
        assert_eq!(yard.list(&other).await.status, 200, "{kind}: another workload of the same rule");
        let asked = yard.ask(&yard.token(MAIN, json!({}))).await;
        // A delegation is one tree: to stop the agent, revoke the agent.
        let expected = if kind == "agent" { 401 } else { 200 };
        assert_eq!(asked.status, expected, "{kind}: {}", asked.text());
    }
}

#[tokio::test]
async fn a_platforms_token_that_is_revoked_proves_nothing_more() {
    let yard = Yard::new().await;
    let (one, two) = (yard.token(MAIN, json!({ "jti": "1" })), yard.token(MAIN, json!({ "jti": "2" })));
    yard.town.gateway.revoke("token", &format!("{}#1", yard.ci.id())).await;
    let reply = yard.ask(&one).await;
    yard.town.no_token("revoked", &reply, "invalid_request", "token-revoked").await;
    assert_eq!(yard.ask(&two).await.status, 200);
}

#[tokio::test]
async fn a_back_dated_order_reaches_tokens_that_were_given_before() {
    let yard = Yard::new().await;
    let before = yard.token(MAIN, json!({}));
    yard.town.advance(60).await;
    let cutoff = yard.town.now().millis() - 30_000;
    let body = json!({ "kind": "agent", "id": format!("workload:ci/build#{MAIN}"), "cutoff": cutoff });
    yard.town.gateway.post("/admin/v1/revocations", &body).await;
    let reply = yard.ask(&before).await;
    yard.town.no_token("from before", &reply, "invalid_client", "agent-revoked").await;
    assert_eq!(yard.ask(&yard.token(MAIN, json!({}))).await.status, 200, "from after");
}

const POLICY: &str = r#"
@id("ci") permit (principal in AgentGroup::"ci", action in Action::"call", resource);
@id("hand-on") permit (principal, action == Action::"delegate", resource);
"#;

/// A gateway whose name stays the same when it is started again.
fn config(upstream: &TestUpstream, ci: &TestIssuer, rules: &str) -> String {
    format!(
        "data: {{ public_url: 'http://gw.example' }}
workload_issuers: {{ ci: {{ issuer: '{}', jwks_url: '{}', rules: [{rules}] }} }}
apps: {{ api: {{ http: {{ url: '{}', operations: {{ routes: {{ list: {{ route: GET /repos }} }} }} }} }} }}",
        ci.id(),
        ci.jwks_url(),
        upstream.url()
    )
}

#[tokio::test]
async fn an_agent_whose_rule_is_gone_is_nobody_at_once() {
    let upstream = TestUpstream::http(Answer::json(&json!([]))).await;
    let ci = TestIssuer::start().await;
    let rule = "{ subject: 'job:*', agent: job, groups: [ci] }";
    let clock = crate::gateway::wednesday_noon();
    let policies = [("all.cedar", POLICY)];
    let gateway = TestGateway::start_at(&clock, &config(&upstream, &ci, rule), &policies).await;
    let vouched = ci.workload("job:1", "http://gw.example", gateway.clock.now(), &json!({}));
    let ask = |gateway: &TestGateway| {
        let url = format!("http://{}/oauth/token", gateway.running().data_address());
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        let form = [
            ("grant_type", "client_credentials"),
            ("client_assertion_type", kind),
            ("client_assertion", &*vouched),
        ];
        Http::post(&url).form(&form).send()
    };
    let list = |gateway: &TestGateway, token: &str| {
        let url = format!("http://{}/apps/api/repos", gateway.running().data_address());
        Http::get(&url).bearer(token).send()
    };
    let token = ask(&gateway).await.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(list(&gateway, &token).await.status, 200);
    let gateway = gateway.restart().await;
    assert_eq!(list(&gateway, &token).await.status, 200, "with its rule it lives on");

    for (what, rules) in [
        ("no rule", ""),
        ("another name", "{ subject: 'job:*', agent: task, groups: [ci] }"),
        ("another subject", "{ subject: 'job:2', agent: job, groups: [ci] }"),
        ("instances", "{ subject: 'job:*', agent: job, instance: run, groups: [ci] }"),
    ] {
        let folder = std::sync::Arc::clone(&gateway.dir);
        let copy = crate::gateway::folder(&policies);
        copy_all(folder.path(), copy.path());
        let other = TestGateway::start_in(copy, &config(&upstream, &ci, rules), clock.clone()).await;
        let reply = list(&other, &token).await;
        assert_eq!(reply.json()["code"], "agent-unknown", "{what}: {}", reply.text());
        other.stop().await;
    }
    let copy = crate::gateway::folder(&policies);
    copy_all(gateway.dir.path(), copy.path());
    let weaker = config(&upstream, &ci, "{ subject: 'job:*', agent: job, groups: [others] }");
    let other = TestGateway::start_in(copy, &weaker, clock.clone()).await;
    let reply = list(&other, &token).await;
    assert_eq!(other.attempt_of(&reply).await["denial"], "operation-not-permitted", "in other groups");
    assert_eq!(upstream.requests().len(), 2);
}

fn copy_all(from: &std::path::Path, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, target) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if path.is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy_all(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}
