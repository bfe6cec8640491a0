//! What is no single bearer token.

use serde_json::json;
use vestibule_testkit::{Era, Http, Mcp, TestUpstream};

use super::{Door, Told, config, list, upstream};
use crate::gateway::{PERMIT_TESTERS, TestGateway};

#[tokio::test]
async fn what_is_no_single_bearer_token_is_refused_and_never_anonymous() {
    let mut door = Door::new().await;
    let (token, basic) = (door.token.clone(), "Basic YTpi");
    let bearer = format!("Bearer {token}");
    let huge = format!("{bearer}{}", "A".repeat(9_000));
    let missing = (Told::Missing, "credential-missing");
    let unsupported = (Told::Missing, "credential-unsupported");
    let malformed = (Told::Bad, "credential-malformed");
    let in_query = (Told::Bad, "credential-in-query");
    let (plain, with_token) = ("/things", format!("/things?access_token={token}"));
    for (what, target, authorization, expected) in [
        ("no credential", plain, &[][..], missing),
        ("a secret", plain, &[basic], unsupported),
        ("an unknown scheme", plain, &["Magic x"], unsupported),
        ("an empty bearer", plain, &["Bearer "], malformed),
        ("a token without a scheme", plain, &[&token], malformed),
        ("the same token twice", plain, &[&bearer, &bearer], malformed),
        ("a token and a secret", plain, &[&bearer, basic], malformed),
        ("a huge token", plain, &[&huge], malformed),
        ("a token in the query", &with_token, &[], in_query),
        ("a token in the query too", &with_token, &[&bearer], in_query),
        ("an encoded name", "/things?access%5Ftoken=x", &[&bearer], in_query),
    ] {
        door.refuses(what, target, authorization, expected).await;
    }
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
                "dpop_signing_alg_values_supported": ["ES256", "ES384", "EdDSA", "Ed25519", "PS256", "RS256"],
                "authorization_details_types_supported": ["vestibule_operations"],
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
