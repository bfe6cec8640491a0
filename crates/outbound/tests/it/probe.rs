//! What an operator is told about a server.

use vestibule_testkit::Answer;

use super::{world::World, *};

async fn probed(world: &World) -> Vec<(String, bool, String)> {
    let steps = world.outbound.probe(&app()).await;
    steps.into_iter().map(|step| (step.name.to_owned(), step.ok, step.detail)).collect()
}

fn discovered(config: &mut vestibule_outbound::AuthorizationServerConfig) {
    use vestibule_outbound::EndpointsConfig::{Discovered, Given};
    if let Given { issuer: Some(issuer), .. } = &config.endpoints {
        config.endpoints = Discovered { issuer: issuer.clone() };
    }
}

#[tokio::test]
async fn each_step_to_a_token_is_told_and_the_token_is_not_shown() {
    let strategy = "client-credentials: { server: corp, scopes: { default: [read, write] } }";
    let world = World::with(strategy, discovered).await;
    world.server.twist(|issue| issue.answer["access_token"] = serde_json::json!("hunter3"));
    let steps = probed(&world).await;
    let told: Vec<_> = steps.iter().map(|(name, ok, detail)| (name.as_str(), *ok, detail.as_str())).collect();
    assert_eq!(
        told[2..],
        [
            ("metadata", true, "`corp`: authorization server metadata (RFC 8414) found"),
            ("client auth", true, "client_secret_basic, which the server lists"),
            ("grant", true, "client_credentials, which the server lists"),
            ("scopes", true, "not listed by the server: write"),
            (
                "credential",
                true,
                "client-credentials: token of `corp`, one for all agents: token obtained, scopes: read write"
            ),
            ("exchange", true, "in the clear"),
            ("answer", true, "GET answers 200 OK"),
        ]
    );
    assert!(!format!("{steps:?}").contains("hunter3"));
}

#[tokio::test]
async fn whether_a_server_knows_the_client_and_reads_what_it_is_sent_is_found_out_without_a_user() {
    let strategy =
        "token-exchange: { server: corp, subject: user-token, actor: chain, check: introspection }";
    let good = World::with(strategy, discovered).await;
    let steps = probed(&good).await;
    let (_, ok, detail) = steps.iter().find(|(name, ..)| name == "token request").unwrap();
    assert!(ok, "{detail}");
    assert!(steps.iter().any(|(name, ok, _)| name == "actors" && *ok));
    assert!(steps.iter().all(|(_, ok, _)| *ok), "{steps:?}");

    for (answer, told) in [
        (Answer::new(401, r#"{"error":"invalid_client"}"#), "invalid_client"),
        (Answer::new(400, r#"{"error":"unsupported_grant_type"}"#), "unsupported_grant_type"),
        (
            Answer::json(&serde_json::json!({ "access_token": "a", "token_type": "Bearer" })),
            "must not be trusted",
        ),
        (Answer::new(500, ""), "status 500"),
    ] {
        let world = World::with(strategy, discovered).await;
        world.server.refuse(answer);
        let (name, ok, detail) = probed(&world).await.pop().unwrap();
        assert_eq!((name.as_str(), ok), ("token request", false), "{detail}");
        assert!(detail.contains(told), "{detail}");
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_asked_about_tokens_fails_where_that_is_needed() {
    let strategy = "jwt-bearer: { server: corp, check: introspection }";
    let world = World::with(strategy, discovered).await;
    let issuer = world.server.issuer();
    let said = serde_json::json!({ "issuer": issuer, "token_endpoint": format!("{issuer}/token") });
    world.server.say(Answer::json(&said));
    let (name, ok, _) = probed(&world).await.pop().unwrap();
    assert_eq!((name.as_str(), ok), ("introspection", false));
}
