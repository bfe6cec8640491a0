//! What an administrator can make a permit depend on, allowing and refusing.

use std::time::Duration;

use serde_json::json;

use super::Scene;

#[tokio::test]
async fn a_permit_by_time_of_day_ends_with_the_working_day() {
    let scene = Scene::new(&[(
        "hours.cedar",
        r#"@id("hours") permit (principal, action == Action::"api__look", resource)
        when { context.env.weekday <= 5 && context.env.minuteOfDay >= 480 && context.env.minuteOfDay < 1080 };"#,
    )])
    .await;
    let agent = scene.gateway.agent("a", json!({})).await;
    let url = scene.gateway.resource("api");
    let look = async || scene.look(&agent.token(&url).await).await;
    scene.assert_permitted(&look().await, &["hours"]).await;
    let (five_to, day) = (Duration::from_secs(6 * 3600 - 1), Duration::from_secs(24 * 3600));
    scene.gateway.advance(&scene.clock, five_to).await;
    scene.assert_permitted(&look().await, &["hours"]).await;
    scene.gateway.advance(&scene.clock, Duration::from_secs(1)).await;
    scene.assert_refused(&look().await, 404, "operation-not-permitted").await;
    scene.gateway.advance(&scene.clock, day - five_to).await;
    scene.assert_permitted(&look().await, &["hours"]).await;
    // Saturday noon.
    scene.gateway.advance(&scene.clock, day * 2).await;
    scene.assert_refused(&look().await, 404, "operation-not-permitted").await;
    assert_eq!(scene.upstream.requests().len(), 3);
}

#[tokio::test]
async fn a_permit_by_source_address_is_about_the_socket_and_not_about_a_header() {
    let from = |name: &str, network: &str, operation: &str| {
        format!(
            r#"@id("{name}") permit (principal, action == Action::"api__{operation}", resource)
            when {{ context.env has ip && context.env.ip.isInRange(ip("{network}")) }};"#
        )
    };
    let policies = from("loopback", "127.0.0.0/8", "look") + &from("corporate", "10.0.0.0/8", "pay");
    let scene = Scene::new(&[("network.cedar", &policies)]).await;
    let token = scene.token("a", json!({})).await;
    scene.assert_permitted(&scene.look(&token).await, &["loopback"]).await;
    scene.assert_refused(&scene.pay(&token, "{}").await, 404, "operation-not-permitted").await;
    let forged = vestibule_testkit::Http::post(&format!("{}/pay", scene.gateway.resource("api")))
        .bearer(&token)
        .header("forwarded", "for=10.0.0.1")
        .header("x-forwarded-for", "10.0.0.1")
        .header("x-real-ip", "10.0.0.1")
        .json(&json!({}));
    scene.assert_refused(&forged.send().await, 404, "operation-not-permitted").await;
    assert_eq!(scene.upstream.requests().len(), 1);
}

#[tokio::test]
async fn a_permit_by_claim_asks_for_the_scope_that_releases_it_and_explain_names_it() {
    let scene = Scene::new(&[(
        "department.cedar",
        r#"@id("platform") permit (principal, action == Action::"api__look", resource)
        when { context.token.claims.hasTag("department") && context.token.claims.getTag("department").contains("platform") };"#,
    )])
    .await;
    let url = scene.gateway.resource("api");
    let with = |department: &str| json!({ "scopes": ["profile", "other"], "claims": { "department": [department] } });
    let agent = scene.gateway.agent("a", with("platform")).await;
    let released = agent.request_token(&[("resource", &url), ("scope", "profile")]).await.json();
    let released = scene.look(released["access_token"].as_str().unwrap()).await;
    scene.assert_permitted(&released, &["platform"]).await;

    let withheld = agent.request_token(&[("resource", &url), ("scope", "other")]).await.json();
    let withheld = scene.look(withheld["access_token"].as_str().unwrap()).await;
    scene.assert_refused(&withheld, 404, "operation-not-permitted").await;
    let sales = scene.token("b", with("sales")).await;
    scene.assert_refused(&scene.look(&sales).await, 404, "operation-not-permitted").await;

    let explain = async |scopes: &[&str]| {
        let question = json!({ "agent": "a", "operation": "api__look", "scopes": scopes });
        scene.gateway.post("/admin/v1/policies/explain", &question).await
    };
    assert_eq!(explain(&["profile"]).await["outcome"], "permit");
    let explanation = explain(&["other"]).await;
    assert_eq!(explanation["outcome"], "deny");
    let nearest = &explanation["subjects"][0]["nearest"][0];
    assert_eq!(
        (&nearest["id"], &nearest["file"], &nearest["line"]),
        (&json!("platform"), &json!("department.cedar"), &json!(1))
    );
    let changes = json!(["the token lacks the claim `department`, which comes with the scope `profile`"]);
    assert_eq!(nearest["changes"], changes, "{explanation}");
}

#[tokio::test]
async fn a_permit_by_trust_asks_for_what_the_operator_set() {
    let scene = Scene::new(&[(
        "trust.cedar",
        r#"@id("attested") permit (principal is Agent, action == Action::"api__look", resource) when { principal.trust >= 2 };"#,
    )])
    .await;
    let (two, one) =
        (scene.token("two", json!({ "trust": 2 })).await, scene.token("one", json!({ "trust": 1 })).await);
    scene.assert_permitted(&scene.look(&two).await, &["attested"]).await;
    scene.assert_refused(&scene.look(&one).await, 404, "operation-not-permitted").await;
    assert_eq!(scene.upstream.requests().len(), 1);
}

#[tokio::test]
async fn a_scope_grants_nothing() {
    let scene = Scene::new(&[(
        "other.cedar",
        r#"@id("other") permit (principal in AgentGroup::"others", action in Action::"call", resource);"#,
    )])
    .await;
    let token = scene.token("a", json!({ "scopes": ["repo:write", "repo:admin"] })).await;
    let reply = scene.send(&token, http::Method::PUT, "/it").await;
    scene.assert_refused(&reply, 404, "operation-not-permitted").await;
    assert_eq!(scene.upstream.requests().len(), 0);
}
