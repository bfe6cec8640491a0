//! Agent identities of Microsoft Entra, against one that refuses whatever its documentation does not show.

use serde_json::{Value, json};
use vestibule_model::Stop;
use vestibule_outbound::{Backing, EntraOboConfig};
use vestibule_testkit::entra::{
    AGENT, BLUEPRINT, OTHER_AGENT, SECRET as BLUEPRINT_SECRET, TENANT, TestEntra,
};

use super::*;
use crate::world::{Memory, caller, permit_of};

const ALICE: &str = "aaaa0000-1111-2222-3333-444455556666";
const BOB: &str = "bbbb0000-1111-2222-3333-444455556666";

/// Entra, an application, and a gateway between them whose agents `a` and `b` are agent identities.
struct Scene {
    entra: TestEntra,
    upstream: Upstream,
    outbound: Outbound,
    clock: Arc<FixedClock>,
}

/// `with` replaces keys of the configuration.
fn config(entra: &TestEntra, mode: &str, with: &Value) -> StrategyConfig {
    let scope = if mode == "autonomous" { "api://files/.default" } else { "api://files/Files.Read" };
    let mut config = json!({
        "tenant": TENANT, "blueprint": { "client_id": BLUEPRINT, "auth": { "secret-post": { "secret": { "env": "BLUEPRINT" } } } },
        "agents": { "a": AGENT, "b": OTHER_AGENT }, "mode": mode, "scopes": { "default": [scope] },
        "authority": entra.authority(),
    });
    for (name, value) in with.as_object().into_iter().flatten() {
        config[name] = value.clone();
    }
    StrategyConfig::EntraObo(serde_saphyr::from_str::<EntraOboConfig>(&config.to_string()).unwrap())
}

fn env(name: &str) -> Option<String> {
    (name == "BLUEPRINT").then(|| BLUEPRINT_SECRET.to_owned())
}

impl Scene {
    async fn new(mode: &str, with: Value) -> Self {
        Self::with_tokens(mode, with, |_| Memory::default()).await
    }

    /// On behalf of users whose tokens are kept.
    async fn on_behalf() -> Self {
        Self::with_tokens("on-behalf-of", json!({}), |entra| {
            let token = |user| entra.user_token(user, &json!({}));
            kept(&[("alice", token(ALICE)), ("bob", token(BOB))])
        })
        .await
    }

    async fn with_tokens(mode: &str, with: Value, tokens: impl FnOnce(&TestEntra) -> Memory) -> Self {
        let clock = clock();
        let entra = TestEntra::start(Arc::<FixedClock>::clone(&clock)).await;
        let upstream = Upstream::ok().await;
        let outbound =
            self::with(&upstream.url, config(&entra, mode, &with), &clock, tokens(&entra)).unwrap();
        Self { entra, upstream, outbound, clock }
    }

    /// Calls and returns what the token said that the application saw.
    async fn call(&mut self, permit: Permit) -> Result<Value, String> {
        let access = self.outbound.obtain(permit, &calling(1)).await.map_err(told)?;
        self.outbound.call(access, request()).await.unwrap();
        let asked = self.upstream.asked.recv().await.unwrap();
        let tokens: Vec<_> =
            asked.lines().filter_map(|line| line.strip_prefix("authorization: Bearer ")).collect();
        assert_eq!(tokens.len(), 1, "{asked}");
        Ok(self.entra.claims(tokens[0]))
    }
}

fn told(stop: Stop) -> String {
    match stop {
        Stop::Denied(refusal) => refusal.denial.code().to_owned(),
        Stop::Failed(fault) => format!("{}: {}", fault.kind.code(), fault.cause),
    }
}

/// These agents for that user, or for nobody.
fn chain(agents: &[&str], user: Option<&str>) -> Permit {
    permit_of(caller(user, agents), "read")
}

/// The tokens of these users, below a root of `a`.
fn kept(tokens: &[(&str, String)]) -> Memory {
    let memory = Memory::default();
    for (user, token) in tokens {
        memory.put_now(caller(Some(user), &["a"]).token().nodes[0].id.as_str(), token);
    }
    memory
}

fn with(
    url: &Url,
    strategy: StrategyConfig,
    clock: &Arc<FixedClock>,
    users: Memory,
) -> Result<Outbound, OutboundError> {
    let apps = vec![UpstreamConfig { app: app(), url: url.clone(), strategy }];
    let config = OutboundConfig { apps, servers: Vec::new() };
    let backing = Backing {
        secrets: Secrets::new(env),
        user_tokens: Arc::new(users),
        ..backing(Arc::<FixedClock>::clone(clock), Arc::new(Issued::default()))
    };
    Outbound::new(config, ways(Duration::from_secs(5)), backing)
}

#[tokio::test]
async fn an_agent_acts_for_its_user_as_its_agent_identity() {
    let mut scene = Scene::on_behalf().await;
    let claims = scene.call(chain(&["a"], Some("alice"))).await.unwrap();
    for (name, expected) in [
        ("oid", ALICE),
        ("azp", AGENT),
        ("idtyp", "user"),
        ("scp", "Files.Read"),
        ("xms_par_app_azp", BLUEPRINT),
    ] {
        assert_eq!(claims[name], expected, "{name}");
    }
    let forms = scene.entra.forms();
    assert_eq!(forms.len(), 2, "step 1, and step 2a");
    assert_eq!((forms[0]["client_id"].as_str(), forms[0]["fmi_path"].as_str()), (BLUEPRINT, AGENT));
    assert_eq!(
        (forms[1]["client_id"].as_str(), forms[1]["requested_token_use"].as_str()),
        (AGENT, "on_behalf_of")
    );
}

#[tokio::test]
async fn only_the_agent_that_acts_now_is_named() {
    let mut scene = Scene::on_behalf().await;
    let claims = scene.call(chain(&["a", "b"], Some("alice"))).await.unwrap();
    assert_eq!((&claims["azp"], &claims["oid"]), (&json!(OTHER_AGENT), &json!(ALICE)));
    assert!(claims.get("act").is_none(), "one hop only");
}

#[tokio::test]
async fn each_user_and_each_agent_gets_tokens_of_its_own_and_step_1_is_kept_per_agent() {
    let mut scene = Scene::on_behalf().await;
    for _ in 0..3 {
        for (agents, user, oid, azp) in [
            (&["a"][..], "alice", ALICE, AGENT),
            (&["a"], "bob", BOB, AGENT),
            (&["a", "b"], "alice", ALICE, OTHER_AGENT),
            (&["a", "b"], "bob", BOB, OTHER_AGENT),
        ] {
            let claims = scene.call(chain(agents, Some(user))).await.unwrap();
            assert_eq!((claims["oid"].as_str(), claims["azp"].as_str()), (Some(oid), Some(azp)));
        }
    }
    let steps = scene.entra.forms();
    let step_1 = steps.iter().filter(|form| form.contains_key("fmi_path")).count();
    assert_eq!((step_1, steps.len() - step_1), (2, 4));
}

#[tokio::test]
async fn an_exchange_token_is_replaced_before_it_ends() {
    let mut scene = Scene::on_behalf().await;
    scene.call(chain(&["a"], Some("alice"))).await.unwrap();
    // A minute before the end of an hour it is not used any more.
    scene.clock.advance(Duration::from_secs(3545));
    scene.call(chain(&["a"], Some("bob"))).await.unwrap();
    let step_1 = scene.entra.forms().iter().filter(|form| form.contains_key("fmi_path")).count();
    assert_eq!(step_1, 2);
}

#[tokio::test]
async fn an_agent_acts_for_itself_as_its_agent_identity() {
    let mut scene = Scene::new("autonomous", json!({})).await;
    for _ in 0..2 {
        let claims = scene.call(chain(&["a"], None)).await.unwrap();
        for (name, expected) in [("oid", AGENT), ("azp", AGENT), ("idtyp", "app"), ("xms_sub_fct", "3 11")] {
            assert_eq!(claims[name], expected, "{name}");
        }
    }
    assert_eq!(scene.entra.forms().len(), 2);
}

#[tokio::test]
async fn who_is_no_agent_identity_or_acts_for_nobody_gets_no_token_and_entra_is_not_asked() {
    let mut scene = Scene::on_behalf().await;
    let told = scene.call(chain(&["a", "stranger"], Some("alice"))).await.unwrap_err();
    assert!(
        told.starts_with("access-unavailable: ") && told.contains("`stranger` has no agent identity"),
        "{told}"
    );
    let told = scene.call(chain(&["a"], None)).await.unwrap_err();
    assert_eq!(told, "user-required");
    let told = scene.call(chain(&["a"], Some("carol"))).await.unwrap_err();
    assert!(told.contains("the token of the user is not kept"), "{told}");
    assert!(scene.entra.forms().is_empty());
}

#[tokio::test]
async fn a_users_token_goes_to_entra_only_if_it_is_from_there_and_for_the_blueprint() {
    for (claims, rule) in [
        (json!({ "tid": "99990000-0000-cccc-1111-dddd2222eeee" }), "is not one of this tenant of Entra"),
        (json!({ "tid": null }), "is not one of this tenant of Entra"),
        (json!({ "aud": "api://files" }), "is not for the blueprint"),
        (json!({ "aud": format!("api://{BLUEPRINT}/x") }), "is not for the blueprint"),
        (json!({ "oid": null }), "has no `oid`"),
    ] {
        let mut scene = Scene::with_tokens("on-behalf-of", json!({}), |entra| {
            kept(&[("alice", entra.user_token(ALICE, &claims))])
        })
        .await;
        let told = scene.call(chain(&["a"], Some("alice"))).await.unwrap_err();
        assert!(told.starts_with("access-unavailable: ") && told.contains(rule), "{claims}: {told}");
        assert!(scene.entra.forms().is_empty(), "{claims}");
    }
}

#[tokio::test]
async fn a_token_of_somebody_else_is_never_used() {
    for (mode, wrong) in [
        ("on-behalf-of", json!({ "oid": BOB })),
        ("on-behalf-of", json!({ "azp": OTHER_AGENT })),
        ("on-behalf-of", json!({ "azp": BLUEPRINT })),
        ("on-behalf-of", json!({ "tid": "99990000-0000-cccc-1111-dddd2222eeee" })),
        ("on-behalf-of", json!({ "idtyp": "app" })),
        ("on-behalf-of", json!({ "xms_act_fct": "1 2 111" })),
        ("on-behalf-of", json!({ "xms_act_fct": null })),
        ("autonomous", json!({ "azp": OTHER_AGENT })),
        ("autonomous", json!({ "idtyp": "user" })),
        ("autonomous", json!({ "xms_sub_fct": "13" })),
    ] {
        let mut scene = match mode {
            "autonomous" => Scene::new(mode, json!({})).await,
            _ => Scene::on_behalf().await,
        };
        scene.entra.meddle(wrong.clone());
        let told = scene.call(chain(&["a"], Some("alice"))).await.unwrap_err();
        assert!(told.starts_with("authorization-server-invalid: "), "{mode} {wrong}: {told}");
        assert!(scene.upstream.asked.try_recv().is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn what_entra_refuses_is_in_the_cause_and_no_token_is() {
    let mut scene = Scene::on_behalf().await;
    scene.entra.withdraw_consent(AGENT);
    scene.entra.block(OTHER_AGENT);
    for (agents, code) in [(&["a"][..], "AADSTS65001"), (&["a", "b"], "AADSTS53003")] {
        let told = scene.call(chain(agents, Some("alice"))).await.unwrap_err();
        assert!(told.starts_with("access-unavailable: ") && told.contains(code), "{told}");
        assert!(!told.contains("eyJ") && !told.contains(BLUEPRINT_SECRET), "{told}");
    }
}

#[tokio::test]
async fn scopes_that_nobody_asked_for_are_refused_unless_they_may_be_recorded() {
    let default = json!({ "scopes": { "default": ["api://files/.default"] } });
    let tokens = |entra: &TestEntra| kept(&[("alice", entra.user_token(ALICE, &json!({})))]);
    let scene = Scene::with_tokens("on-behalf-of", default, tokens).await;
    let access = scene.outbound.obtain(chain(&["a"], Some("alice")), &calling(1)).await.unwrap();
    assert_eq!(access.facts().scopes, ["api://files/Files.Read", "api://files/Files.Write"]);
    assert!(access.facts().wider.is_empty(), "everything is what was asked for");
    assert_eq!(access.facts().server.as_deref(), Some("Entra for app"));

    let by_operation = json!({ "scopes": {
        "default": ["api://files/Files.Write"], "operations": { "read": ["api://files/Files.Read"] },
    } });
    let mut scene = Scene::with_tokens("on-behalf-of", by_operation, tokens).await;
    let claims = scene.call(chain(&["a"], Some("alice"))).await.unwrap();
    assert_eq!(claims["scp"], "Files.Read", "the least that the operation needs");
}

#[tokio::test]
async fn the_blueprint_proves_itself_by_a_certificate_or_by_a_workloads_token() {
    let folder = tempfile::tempdir().unwrap();
    let clock = clock();
    let entra = TestEntra::start(Arc::<FixedClock>::clone(&clock)).await;
    let (key, certificate) = entra.certificate();
    for (name, text) in
        [("key", key), ("certificate", certificate), ("token", entra.federated_token(&json!({})))]
    {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let file = |name: &str| json!({ "file": folder.path().join(name) });
    let certified = json!({ "private-key-jwt": {
        "key": file("key"), "certificate": file("certificate"), "algorithm": "PS256",
    } });
    for auth in [certified, json!({ "federated": { "token": file("token") } })] {
        let upstream = Upstream::ok().await;
        let blueprint = json!({ "blueprint": { "client_id": BLUEPRINT, "auth": auth } });
        let outbound =
            with(&upstream.url, config(&entra, "autonomous", &blueprint), &clock, Memory::default()).unwrap();
        // Two agents, so two assertions: each is of use once.
        for agent in ["a", "b"] {
            let access = outbound.obtain(chain(&[agent], None), &calling(1)).await;
            assert!(access.is_ok(), "{auth}: {access:?}");
        }
        let steps = outbound.probe(&app()).await;
        let identities: Vec<_> =
            steps.iter().filter(|step| step.name == "identity").map(|step| step.ok).collect();
        assert_eq!(identities, [true, true], "{steps:?}");
    }
    let gone = json!({ "blueprint": { "client_id": BLUEPRINT, "auth": { "federated": { "token": file("gone") } } } });
    let url = Url::parse("http://127.0.0.1:1/").unwrap();
    let error = with(&url, config(&entra, "autonomous", &gone), &clock, Memory::default()).unwrap_err();
    assert!(error.to_string().contains("gone"), "{error}");
}

#[tokio::test]
async fn a_configuration_that_mixes_up_agents_or_asks_for_nothing_is_refused_at_the_start() {
    let entra = TestEntra::start(clock()).await;
    let url = Url::parse("http://127.0.0.1:1/").unwrap();
    let auth = |auth: Value| json!({ "blueprint": { "client_id": BLUEPRINT, "auth": auth } });
    let secret = json!({ "env": "BLUEPRINT" });
    for (mode, changed, key) in [
        ("autonomous", json!({ "tenant": "common" }), "tenant"),
        ("autonomous", json!({ "tenant": "contoso.example" }), "tenant"),
        ("autonomous", json!({ "agents": {} }), "agents"),
        ("autonomous", json!({ "agents": { "a": "A" } }), "agents"),
        ("autonomous", json!({ "agents": { "a": AGENT, "b": AGENT } }), "agents"),
        ("autonomous", json!({ "agents": { "a": BLUEPRINT } }), "agents"),
        ("autonomous", json!({ "scopes": {} }), "scopes"),
        ("autonomous", json!({ "scopes": { "default": ["api://files/Files.Read"] } }), "scopes"),
        ("on-behalf-of", json!({ "scopes": { "default": ["Files.Read"] } }), "scopes"),
        ("on-behalf-of", json!({ "scopes": { "default": ["offline_access"] } }), "scopes"),
        ("on-behalf-of", json!({ "scopes": { "default": ["api://a/X", "api://b/Y"] } }), "scopes"),
        ("on-behalf-of", json!({ "scopes": { "default": ["api://a/X", "api://a/.default"] } }), "scopes"),
        ("autonomous", json!({ "authority": "http://login.example" }), "authority"),
        ("autonomous", json!({ "authority": "https://login.example?x" }), "authority"),
        ("autonomous", json!({ "authority": "https://user@login.example" }), "authority"),
        ("autonomous", json!({ "timeout_seconds": 0 }), "timeout_seconds"),
        ("autonomous", auth(json!({ "secret-basic": { "secret": secret } })), "blueprint.auth"),
        (
            "autonomous",
            auth(json!({ "private-key-jwt": { "key": secret, "algorithm": "PS256" } })),
            "blueprint.auth",
        ),
        (
            "autonomous",
            auth(
                json!({ "private-key-jwt": { "key": secret, "certificate": secret, "algorithm": "RS256" } }),
            ),
            "blueprint.auth",
        ),
    ] {
        let error =
            with(&url, config(&entra, mode, &changed), &clock(), Memory::default()).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("`access.entra-obo.{key}` of application `app` ")),
            "{changed}: {error}"
        );
    }
}
