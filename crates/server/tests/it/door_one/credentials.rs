//! What is no single bearer token.

use serde_json::json;
use vestibule_testkit::{Era, Http, Mcp, TestUpstream};

use super::{Door, Told, config, list, upstream};
use crate::gateway::{PERMIT_TESTERS, TestGateway};

#[tokio::test]
async fn what_is_no_single_bearer_token_is_refused_and_never_anonymous() {
    let mut door = Door::new().await;
    let bearer = format!("Bearer {}", door.token);
    let basic = "Basic YTpi".to_owned();
    let malformed = (Told::Bad, "credential-malformed");
    door.refuses("no credential", "/things", &[], (Told::Missing, "credential-missing")).await;
    door.refuses("a secret", "/things", &[basic.clone()], (Told::Missing, "credential-unsupported")).await;
    door.refuses(
        "an unknown scheme",
        "/things",
        &["Magic x".to_owned()],
        (Told::Missing, "credential-unsupported"),
    )
    .await;
    door.refuses("an empty bearer", "/things", &["Bearer ".to_owned()], malformed).await;
    door.refuses("a token without a scheme", "/things", &[door.token.clone()], malformed).await;
    door.refuses("the same token twice", "/things", &[bearer.clone(), bearer.clone()], malformed).await;
    door.refuses("a token and a secret", "/things", &[bearer.clone(), basic], malformed).await;
    door.refuses("a huge token", "/things", &[format!("{bearer}{}", "A".repeat(9_000))], malformed).await;
    let in_query = (Told::Bad, "credential-in-query");
    let target = format!("/things?access_token={}", door.token);
    door.refuses("a token in the query", &target, &[], in_query).await;
    door.refuses("a token in the query too", &target, &[bearer.clone()], in_query).await;
    door.refuses("an encoded name", "/things?access%5Ftoken=x", &[bearer], in_query).await;
    assert_eq!(list(&door.gateway.resource("web"), &door.token).await.status, 200);
}

#[tokio::test]
async fn each_application_tells_where_tokens_for_it_come_from() {
    let (web, mcp) = (upstream().await, TestUpstream::mcp(Mcp::new(Era::Modern, Vec::new())).await);
    let config = format!("{}  tools: {{ mcp: {{ url: '{}/mcp' }} }}\n", config(&web), mcp.url());
    let gateway = TestGateway::start(&config, &[("all.cedar", PERMIT_TESTERS)]).await;
    for (app, path, scopes) in
        [("web", "/apps/web", json!(["read"])), ("tools", "/apps/tools/mcp", json!([]))]
    {
        let reply =
            Http::get(&gateway.url(&format!("/.well-known/oauth-protected-resource{path}"))).send().await;
        assert_eq!((reply.status.as_u16(), reply.header("content-type")), (200, "application/json"));
        assert_eq!(
            reply.json(),
            json!({
                // RFC 9728 §3.3: exactly the identifier that the URL was made from.
                "resource": gateway.url(path),
                "authorization_servers": [gateway.url("")],
                "bearer_methods_supported": ["header"],
                "scopes_supported": scopes,
                "resource_name": app,
            })
        );
        assert_eq!(gateway.resource(app), gateway.url(path));
    }
    for path in
        ["", "/", "/apps", "/apps/", "/apps/web/", "/apps/web/mcp", "/apps/tools", "/apps/nobody", "/web"]
    {
        let url = gateway.url(&format!("/.well-known/oauth-protected-resource{path}"));
        let reply = Http::get(&url).send().await;
        assert_eq!(reply.status, 404, "{url}");
        assert_eq!(reply.json()["code"], "not-found");
    }
    assert_eq!(web.requests().len(), 0);
}
