use http::{HeaderMap, header::AUTHORIZATION};
use vestibule_issuer::{NewAgent, Reason};

use crate::support::{Ground, SANDBOX, Signer, World, basic, worker};

const GRANT: (&str, &str) = ("grant_type", "client_credentials");
const RESOURCE: (&str, &str) = ("resource", SANDBOX);

#[tokio::test]
async fn the_secret_is_taken_in_the_header_and_in_the_form() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let encoded = secret.replace('_', "%5F");
    for headers in [basic("worker", &secret), basic("%77orker", &encoded)] {
        assert!(world.token(&headers, &[GRANT, RESOURCE]).await.is_ok());
        assert!(world.token(&headers, &[GRANT, RESOURCE, ("client_id", "worker")]).await.is_ok());
    }
    let post = [GRANT, RESOURCE, ("client_id", "worker"), ("client_secret", secret.as_str())];
    assert!(world.token(&HeaderMap::new(), &post).await.is_ok());
}

#[tokio::test]
async fn who_fails_to_prove_itself_learns_nothing_but_that() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let jwks = serde_json::json!({"keys": [Signer::new("k").jwk]});
    world.registry.add(NewAgent { id: "keyed".into(), jwks: Some(jwks), ..worker() }).await.unwrap();
    let mut answers = Vec::new();
    for (id, presented, reason) in [
        ("worker", "vst_wrong", Reason::ClientSecretWrong),
        ("worker", &secret[..secret.len() - 1], Reason::ClientSecretWrong),
        ("nobody", &secret, Reason::ClientUnknown),
        ("Worker", &secret, Reason::ClientUnknown),
        ("keyed", &secret, Reason::ClientMethodWrong),
    ] {
        let error = world.token(&basic(id, presented), &[GRANT, RESOURCE]).await.unwrap_err();
        assert_eq!((error.reason, error.status()), (reason, 401), "{id}");
        assert_eq!((error.challenge(), error.agent.as_ref()), (Some(r#"Basic realm="vestibule""#), None));
        assert!(!error.to_string().contains(&secret[4..]), "{error}");
        answers.push(error.body());
    }
    answers.dedup();
    let neutral =
        serde_json::json!({"error": "invalid_client", "error_description": "client authentication failed"});
    assert_eq!(answers, [neutral]);
}

#[tokio::test]
async fn exactly_one_method_of_client_authentication_is_used() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let header = basic("worker", &secret);
    let post = [("client_id", "worker"), ("client_secret", secret.as_str())];
    let assertion = [
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", "a.b.c"),
    ];
    let none = HeaderMap::new();
    for (headers, more, reason) in [
        (&header, post.to_vec(), Reason::ClientMixed),
        (&header, assertion.to_vec(), Reason::ClientMixed),
        (&none, [post, assertion].concat(), Reason::ClientMixed),
        (&none, vec![], Reason::ClientMissing),
        (&none, vec![("client_id", "worker")], Reason::ClientMissing),
        (&none, vec![("client_secret", secret.as_str())], Reason::ClientMissing),
        (&none, vec![("client_assertion", "a.b.c")], Reason::ClientMalformed),
    ] {
        let form = [vec![GRANT, RESOURCE], more].concat();
        assert_eq!(world.token(headers, &form).await.unwrap_err().reason, reason, "{form:?}");
    }
}

#[tokio::test]
async fn a_header_that_is_not_one_well_formed_basic_credential_is_refused() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    for value in
        ["Basic", "Basic !!!", "Basic d29ya2Vy", "Bearer abc", "Basic d29ya2VyOng", "Basic d29ya2VyOg=="]
    {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        let error = world.token(&headers, &[GRANT, RESOURCE]).await.unwrap_err();
        assert_eq!(error.reason, Reason::ClientMalformed, "{value}");
    }
    let mut twice = basic("worker", &secret);
    twice.append(AUTHORIZATION, twice[AUTHORIZATION].clone());
    assert_eq!(world.token(&twice, &[GRANT, RESOURCE]).await.unwrap_err().reason, Reason::ClientMalformed);
    let other = [GRANT, RESOURCE, ("client_id", "somebody")];
    let error = world.token(&basic("worker", &secret), &other).await.unwrap_err();
    assert_eq!(error.reason, Reason::ClientMalformed);
}

#[tokio::test]
async fn a_rotated_secret_replaces_the_old_one_at_once() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let old = world.add(worker()).await;
    let id = vestibule_model::AgentId::new("worker").unwrap();
    let new = world.registry.rotate(&id).await.unwrap();
    assert_eq!(world.refused(&old, &[RESOURCE]).await, Reason::ClientSecretWrong);
    assert!(world.ask(secrecy::ExposeSecret::expose_secret(&new), &[RESOURCE]).await.is_ok());
}

#[tokio::test]
async fn no_debug_output_and_no_record_holds_a_secret() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let added = world.registry.add(worker()).await.unwrap();
    let secret = secrecy::ExposeSecret::expose_secret(added.client_secret.as_ref().unwrap()).to_owned();
    assert_eq!((secret.len(), &secret[..4]), (47, "vst_"));
    let headers = basic("worker", &secret);
    let form = [("client_secret".to_owned(), secret.clone())];
    let request = world.request(&headers, &form);
    let response = world.ask(&secret, &[RESOURCE]).await.unwrap();
    let token = crate::support::access_token(&response);
    let shown =
        format!("{added:?}{request:?}{response:?}{:?}{:?}{:?}", world.registry, world.issuer, world.keys);
    assert!(!shown.contains(&secret[4..]) && !shown.contains(&token[..20]), "{shown}");
    let stored = world.store.get(vestibule_store::Kind::Credential, "worker").await.unwrap().unwrap();
    assert!(!stored.body.contains(&secret[4..]));
}
