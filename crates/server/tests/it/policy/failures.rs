//! Fail closed: no policies, a policy that fails, an argument that cannot be given to a policy exactly.

use serde_json::json;

use super::Scene;
use crate::gateway::PERMIT_TESTERS;

#[tokio::test]
async fn invariant_4_without_policies_everything_is_refused() {
    let scene = Scene::new(&[]).await;
    let token = scene.token("a", json!({})).await;
    scene.assert_refused(&scene.look(&token).await, 403, "policy-set-empty").await;
    // A file with nothing but a comment permits nothing either.
    std::fs::write(scene.gateway.dir.path().join("policies/empty.cedar"), "// nothing").unwrap();
    scene.gateway.running().reload().await;
    scene.assert_refused(&scene.look(&token).await, 403, "policy-set-empty").await;
    assert_eq!(scene.upstream.requests().len(), 0);
}

#[tokio::test]
async fn invariant_4_a_policy_that_fails_refuses_although_another_permits() {
    let overflow = r#"@id("guard.overflow") forbid (principal, action == Action::"api__pay", resource)
        when { context.input has amount && context.input.amount * 9223372036854775807 < 0 };"#;
    let scene = Scene::new(&[("all.cedar", PERMIT_TESTERS), ("guard.cedar", overflow)]).await;
    let token = scene.token("a", json!({})).await;
    scene.assert_permitted(&scene.pay(&token, r#"{"amount":1}"#).await, &["testers"]).await;
    scene.assert_refused(&scene.pay(&token, r#"{"amount":-1}"#).await, 403, "arguments-not-permitted").await;
    let failed = scene.pay(&token, r#"{"amount":2}"#).await;
    scene.assert_refused(&failed, 403, "policy-error").await;
    assert!(!failed.text().contains("guard.overflow"), "{}", failed.text());
    assert!(scene.gateway.attempt_of(&failed).await["cause"].as_str().unwrap().contains("guard.overflow"));
    assert_eq!(scene.upstream.requests().len(), 1);
}

#[tokio::test]
async fn invariant_4_a_number_that_a_policy_cannot_be_given_exactly_is_refused() {
    let cheap = r#"@id("cheap") permit (principal, action == Action::"api__pay", resource)
        when { context.input has price && context.input.price.lessThan(decimal("100.0")) };
        @id("many") permit (principal, action == Action::"api__pay", resource)
        when { context.input has amount && context.input.amount < 100 };"#;
    let scene = Scene::new(&[("cheap.cedar", cheap)]).await;
    let token = scene.token("a", json!({})).await;
    scene.assert_permitted(&scene.pay(&token, r#"{"price":99.9999}"#).await, &["cheap"]).await;
    scene.assert_permitted(&scene.pay(&token, r#"{"amount":9.9e1}"#).await, &["many"]).await;
    let inexact = [
        r#"{"price":1e300}"#,
        r#"{"price":-1e300}"#,
        r#"{"price":99.99999}"#,
        r#"{"price":"99"}"#,
        r#"{"price":null}"#,
        r#"{"amount":9223372036854775808}"#,
        r#"{"amount":-9223372036854775809}"#,
        r#"{"amount":99.5}"#,
        r#"{"amount":"1"}"#,
        r#"{"amount":[1]}"#,
    ];
    for arguments in inexact {
        scene.assert_refused(&scene.pay(&token, arguments).await, 403, "argument-inexact").await;
    }
    assert_eq!(scene.upstream.requests().len(), 2);
    // What no policy reads is forwarded as it came.
    let unread = r#"{"amount":1,"note":"1e300"}"#;
    scene.assert_permitted(&scene.pay(&token, unread).await, &["many"]).await;
    assert_eq!(scene.upstream.requests().pop().unwrap().body, unread);
}
