//! Agents that nobody registered: a platform vouches for a workload, and a rule of the operator says which agent that is.

use serde_json::{Value, json};
use vestibule_testkit::{AgentKey, Credential, Holder, Http, Reply, TestAgent, TestIssuer};

use super::Town;

/// The rules of the platform `ci`: `{AT}` is its address.
const RULES: &str = "
workload_issuers:
  ci:
    issuer: '{AT}'
    jwks_url: '{AT}/jwks'
    rules:
    - { subject: 'repo:acme/*:ref:refs/heads/main', claims: { repository_owner_id: '7' }, agent: build, groups: [ci],
        trust: 2, scopes: [write] }
    - { subject: 'repo:acme/app:*', agent: branch, groups: [ci], trust: 1 }
    - { subject: 'run:*', agent: run, instance: run_id, groups: [ci], trust: 2, apps: [api] }
    - { subject: 'system:serviceaccount:agents:*', claims: { /kubernetes.io/namespace: agents }, agent: pod,
        groups: [ci], trust: 3, proof: required }
";

pub(super) const MAIN: &str = "repo:acme/app:ref:refs/heads/main";

/// A town with a platform that vouches for workloads.
pub(super) struct Yard {
    pub(super) town: Town,
    pub(super) ci: TestIssuer,
}

impl Yard {
    pub(super) async fn new() -> Self {
        let ci = TestIssuer::start().await;
        let town = Town::with("preset: keycloak", &RULES.replace("{AT}", &ci.id())).await;
        Self { town, ci }
    }

    /// A token for the workload `subject`, with the claims that the rule `build` wants, and these.
    pub(super) fn token(&self, subject: &str, with: Value) -> String {
        let mut claims = json!({ "repository_owner_id": "7" });
        for (name, value) in with.as_object().unwrap() {
            claims[name] = value.clone();
        }
        self.ci.workload(subject, &self.town.gateway.url(""), self.town.now(), &claims)
    }

    pub(super) async fn agent(&self, subject: &str, with: Value) -> TestAgent {
        self.town.workload(&self.token(subject, with)).await
    }

    pub(super) async fn ask(&self, token: &str) -> Reply {
        self.town.workload(token).await.request_token(&[("resource", &self.town.api())]).await
    }

    pub(super) async fn root(&self, subject: &str) -> Holder {
        let agent = self.agent(subject, json!({})).await;
        Holder::root(&agent, AgentKey::generate("k"), &[("resource", &self.town.api())]).await
    }

    pub(super) async fn list(&self, holder: &Holder) -> Reply {
        let url = format!("{}/repos", self.town.api());
        holder.send("GET", &url, || Http::get(&url)).await
    }
}

fn claims(token: &str) -> Value {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

#[tokio::test]
async fn a_workload_is_the_agent_that_the_rule_says() {
    let yard = Yard::new().await;
    let vouched = yard.token(MAIN, json!({ "jti": "w-1" }));
    let reply = yard.ask(&vouched).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let id = format!("workload:ci/build#{MAIN}");
    let record = yard.town.gateway.attempt_of(&reply).await;
    assert_eq!((&record["agent"], &record["kind"]), (&json!(id), &json!("token-request")));
    assert_eq!(record["rests_on"], json!(format!("{}#w-1", yard.ci.id())));
    assert_eq!(record["delegation"]["origin"], "root");
    let token = reply.json()["access_token"].as_str().unwrap().to_owned();
    let said = claims(&token);
    assert_eq!((&said["sub"], &said["client_id"], &said["scope"]), (&json!(id), &json!(id), &json!("write")));

    let record = yard.town.served(&yard.town.list(&token).await, &token).await;
    assert_eq!((&record["agent"], &record["policies"]), (&json!(id), &json!(["ci"])));
    assert_eq!(record["user"], Value::Null);
    let agents = yard.town.gateway.get("/admin/v1/agents").await;
    assert!(!agents.to_string().contains("workload:"), "it was registered: {agents}");
    // The platform gives the same token again, and it leads to the same root.
    let again = yard.ask(&vouched).await;
    assert_eq!(claims(again.json()["access_token"].as_str().unwrap())["vst"]["node"], said["vst"]["node"]);
}

#[tokio::test]
async fn the_first_rule_that_fits_counts() {
    let yard = Yard::new().await;
    let branch = yard.ask(&yard.token("repo:acme/app:ref:refs/heads/x", json!({}))).await.json();
    let token = branch["access_token"].as_str().unwrap();
    assert_eq!(claims(token)["sub"], "workload:ci/branch#repo:acme/app:ref:refs/heads/x");
    let reply = yard.town.list(token).await;
    yard.town.denied("trusted too little", &reply, 404, "operation-not-permitted").await;
    // `main` of another owner is not the one that is built.
    let other = yard.ask(&yard.token(MAIN, json!({ "repository_owner_id": "8" }))).await.json();
    let sub = claims(other["access_token"].as_str().unwrap())["sub"].clone();
    assert_eq!(sub, json!(format!("workload:ci/branch#{MAIN}")));
}

#[tokio::test]
async fn instances_of_a_workload_are_agents_of_their_own() {
    let yard = Yard::new().await;
    for run in ["1", "2"] {
        let reply = yard.ask(&yard.token("run:nightly", json!({ "run_id": run }))).await.json();
        let sub = claims(reply["access_token"].as_str().unwrap())["sub"].clone();
        assert_eq!(sub, json!(format!("workload:ci/run#run:nightly#{run}")));
    }
    for (what, with) in [
        ("no instance", json!({})),
        ("one that could be a part of another", json!({ "run_id": "1#2" })),
        ("one that no id can hold", json!({ "run_id": "1 2" })),
    ] {
        let reply = yard.ask(&yard.token("run:nightly", with)).await;
        yard.town.no_token(what, &reply, "invalid_client", "workload-unknown").await;
    }
    let token = yard.token("run:nightly", json!({ "run_id": "3" }));
    let other = yard.town.gateway.resource("other");
    let reply = yard.town.workload(&token).await.request_token(&[("resource", &other)]).await;
    yard.town.no_token("an application of others", &reply, "invalid_target", "target-not-allowed").await;
}

#[tokio::test]
async fn what_is_no_token_for_us_of_a_workload_with_a_rule_is_refused() {
    let yard = Yard::new().await;
    let now = yard.town.now().seconds();
    let (url, token) = (yard.town.gateway.url(""), |with| yard.token(MAIN, with));
    let stranger = TestIssuer::start().await;
    let forged = |header: Value, issuer: &TestIssuer| {
        let claims = json!({ "iss": yard.ci.id(), "sub": MAIN, "aud": url, "iat": now, "exp": now + 60 });
        issuer.sign(&header, &claims)
    };
    let kid = "user-key";
    for (what, token, code) in [
        (
            "a workload without a rule",
            yard.token("repo:evil/app:ref:refs/heads/main", json!({})),
            "workload-unknown",
        ),
        (
            "a longer organisation",
            yard.token("repo:acme/x:y:ref:refs/heads/main", json!({})),
            "workload-unknown",
        ),
        (
            "the claims of another",
            yard.token("system:serviceaccount:agents:a", json!({})),
            "workload-unknown",
        ),
        ("no subject", token(json!({ "sub": null })), "assertion-wrong-subject"),
        (
            "for somebody else",
            token(json!({ "aud": "https://kubernetes.default.svc" })),
            "assertion-wrong-audience",
        ),
        ("for us and somebody else", token(json!({ "aud": [url, "x"] })), "assertion-wrong-audience"),
        ("for nobody", token(json!({ "aud": null })), "assertion-wrong-audience"),
        ("expired", token(json!({ "exp": now - 31 })), "assertion-expired"),
        ("without an end", token(json!({ "exp": null })), "assertion-invalid"),
        ("valid for longer than a day", token(json!({ "exp": now + 86_401 })), "assertion-too-long"),
        ("issued in the future", token(json!({ "iat": now + 31 })), "assertion-not-yet-valid"),
        ("bound to a certificate", token(json!({ "cnf": { "x5t#S256": "x" } })), "assertion-invalid"),
        (
            "a stranger's signature",
            forged(json!({ "alg": "ES256", "kid": kid }), &stranger),
            "assertion-invalid",
        ),
        ("no signature", forged(json!({ "alg": "none" }), &yard.ci), "assertion-invalid"),
        ("an unknown key", forged(json!({ "alg": "ES256", "kid": "x" }), &yard.ci), "assertion-invalid"),
        (
            "a logout token",
            forged(json!({ "alg": "ES256", "kid": kid, "typ": "logout+jwt" }), &yard.ci),
            "assertion-invalid",
        ),
        (
            "an access token",
            forged(json!({ "alg": "ES256", "kid": kid, "typ": "at+jwt" }), &yard.ci),
            "assertion-invalid",
        ),
        ("an issuer that is not named", token(json!({ "iss": "https://evil.example" })), "client-unknown"),
    ] {
        let reply = yard.ask(&token).await;
        assert_eq!(reply.status, 401, "{what}: {}", reply.text());
        let record = yard.town.no_token(what, &reply, "invalid_client", code).await;
        assert_eq!(record["agent"], Value::Null, "{what}");
        assert!(!record.to_string().contains(&token), "{what}: the token is in the record");
    }
    let nodes = yard.town.gateway.get("/admin/v1/delegations").await;
    assert_eq!(nodes["items"], json!([]), "a node was made");
    let reply = yard.ask(&yard.token("repo:evil/app:ref:refs/heads/main", json!({}))).await;
    let record = yard.town.gateway.attempt_of(&reply).await;
    assert!(record["cause"].as_str().unwrap().contains("`repo:evil/app:ref:refs/heads/main`"), "{record}");
}

#[tokio::test]
async fn neither_kind_of_issuer_vouches_for_the_other() {
    let yard = Yard::new().await;
    // A user's token as a client assertion, a workload's as a caller and as a user's.
    let alice = yard.town.alice(json!({ "aud": yard.town.gateway.url("") }));
    let reply = yard.ask(&alice).await;
    yard.town.no_token("a user's", &reply, "invalid_client", "client-unknown").await;
    let vouched = yard.token(MAIN, json!({ "aud": yard.town.api(), "azp": "planner-client", "scope": "x" }));
    yard.town.denied("as a caller", &yard.town.list(&vouched).await, 401, "token-wrong-type").await;
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", &*vouched),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:id_token"),
        ("resource", &yard.town.api()),
    ];
    let reply = yard.town.planner.form(&form).send().await;
    yard.town.no_token("as a user's", &reply, "invalid_request", "user-token-issuer-unknown").await;
}

#[tokio::test]
async fn nobody_registers_or_signs_as_a_workload() {
    let yard = Yard::new().await;
    let id = format!("workload:ci/build#{MAIN}");
    let reply = yard.town.gateway.admin("POST", "/admin/v1/agents").json(&json!({ "id": id })).send().await;
    assert_eq!(reply.status, 400, "{}", reply.text());
    // An assertion by its own key, or a secret, under the name of a workload.
    let key = AgentKey::generate("k");
    for credential in [Credential::PrivateKey(key), Credential::Basic("secret".to_owned())] {
        let clock = std::sync::Arc::clone(&yard.town.gateway.clock);
        let agent = TestAgent::connect(&yard.town.gateway.url(""), &id, credential, clock).await;
        let reply = agent.request_token(&[("resource", &yard.town.api())]).await;
        yard.town.no_token("another proof", &reply, "invalid_client", "client-unknown").await;
    }
    let call = yard.agent(MAIN, json!({})).await.form(&[
        ("grant_type", "client_credentials"),
        ("client_id", "planner"),
        ("resource", &yard.town.api()),
    ]);
    yard.town.no_token("another name", &call.send().await, "invalid_client", "assertion-wrong-subject").await;
    let root = yard.root(MAIN).await;
    let child = AgentKey::generate("c");
    let agent = vestibule_model::AgentId::new(&format!("workload:ci/branch#{MAIN}")).unwrap();
    let reply = root.exchange(&root.actor_token(&child, &agent), &[]).await;
    yard.town.no_token("a child with its name", &reply, "invalid_request", "actor-unknown").await;
}

#[tokio::test]
async fn where_the_rule_demands_a_proof_the_token_alone_is_worth_nothing() {
    let yard = Yard::new().await;
    let subject = "system:serviceaccount:agents:a";
    let with = json!({ "kubernetes.io": { "namespace": "agents", "pod": { "uid": "u" } } });
    let reply = yard.ask(&yard.token(subject, with.clone())).await;
    yard.town.no_token("no proof", &reply, "invalid_dpop_proof", "proof-missing").await;
    let agent = yard.agent(subject, with).await;
    let key = AgentKey::generate("k");
    let jkt = key.thumbprint();
    let holder = Holder::root(&agent, key, &[("resource", &yard.town.api())]).await;
    assert_eq!(
        (&holder.answer["token_type"], &holder.claims()["cnf"]),
        (&json!("DPoP"), &json!({ "jkt": jkt }))
    );
    yard.town.served(&yard.list(&holder).await, holder.token()).await;
    // It asks about its token with the assertion alone.
    let url = yard.town.gateway.url("/oauth/introspect");
    let reply = agent.form_at(&url, &[("token", holder.token())]).send().await;
    yard.town.no_token("introspection", &reply, "invalid_dpop_proof", "proof-missing").await;

    // A token that its platform binds to a key counts with that key alone.
    let bound = AgentKey::generate("b");
    let token = yard.token(MAIN, json!({ "cnf": { "jkt": bound.thumbprint() } }));
    let reply = yard.ask(&token).await;
    yard.town.no_token("no proof", &reply, "invalid_dpop_proof", "proof-missing").await;
    let agent = yard.town.workload(&token).await;
    let form = [("grant_type", "client_credentials"), ("resource", &*yard.town.api())];
    let reply = Holder::ask(&agent, AgentKey::generate("t"), &form).await.unwrap_err();
    yard.town.no_token("another key", &reply, "invalid_dpop_proof", "proof-wrong-key").await;
    Holder::ask(&agent, bound, &form).await.unwrap();
}

#[tokio::test]
async fn a_platform_that_cannot_be_asked_says_so_for_now() {
    let yard = Yard::new().await;
    yard.ci.fail();
    yard.town.forget_keys().await;
    let token = yard.token(MAIN, json!({}));
    let reply = yard.ask(&token).await;
    assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (503, "60"));
    yard.town.no_token("down", &reply, "temporarily_unavailable", "assertion-keys-unavailable").await;
    yard.ci.serve();
    yard.town.advance(11).await;
    assert_eq!(yard.ask(&token).await.status, 200);
}
