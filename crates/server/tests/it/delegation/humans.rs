//! An agent that acts for a human: both are in the token, in the decision and in the record.

use serde_json::{Value, json};
use vestibule_testkit::{Holder, Http};

use super::{ACCESS_TOKEN, EXCHANGE, Scene, key};

#[tokio::test]
async fn the_token_for_a_human_names_them_and_the_agent_that_acts() {
    let scene = Scene::new().await;
    let root = scene.root_for("alice", &["developers"]).await;
    let (claims, issuer) = (root.claims(), scene.gateway.url(""));
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!("alice"), &json!("planner")));
    // RFC 9493 §3.2.4: whose `alice` this is.
    assert_eq!(claims["sub_id"], json!({ "format": "iss_sub", "iss": scene.users.id(), "sub": "alice" }));
    assert_eq!(claims["act"], json!({ "iss": issuer, "sub": "planner" }));
    let (user, now) = (&claims["vst"]["user"], scene.gateway.clock.now().seconds());
    assert_eq!((&user["groups"], &user["iat"]), (&json!(["idp:developers"]), &json!(now)));
    assert_eq!((&user["sid"], &user["client"]), (&json!("session-of-alice"), &json!("planner-client")));
    assert_eq!(claims["cnf"], json!({ "jkt": root.key().thumbprint() }));
    assert_eq!(
        (&root.answer["token_type"], &root.answer["issued_token_type"]),
        (&json!("DPoP"), &json!(ACCESS_TOKEN))
    );

    let record = scene.served(&scene.list(&root).await).await;
    let user = json!({ "issuer": scene.users.id(), "subject": "alice" });
    assert_eq!((&record["agent"], &record["user"]), (&json!("planner"), &user));
    assert_eq!(record["chain"], json!([{ "issuer": issuer, "agent": "planner", "node": root.node() }]));
    assert_eq!(record["policies"], json!(["agents", "users"]), "one policy for each of the two");
    let minted = scene.gateway.attempts("kind=token-request&agent=planner").await;
    assert_eq!((minted.len(), &minted[0]["user"]), (1, &user));
    assert_eq!(minted[0]["delegation"]["origin"], "root");
    let sent = scene.upstream.requests().remove(0);
    assert!(!format!("{:?}", sent.headers).contains(root.token()), "the token went to the application");
}

/// `planner` may do everything for users who may list, `reader` may list for users who may do everything.
const HALVES: &str = r#"
@id("agents.all") permit (principal in AgentGroup::"testers", action in Action::"call", resource);
@id("agents.list") permit (principal in AgentGroup::"readers", action == Action::"api__list", resource);
@id("users.all") permit (principal in UserGroup::"idp:owners", action in Action::"call", resource);
@id("users.list") permit (principal in UserGroup::"idp:guests", action == Action::"api__list", resource);
"#;

#[tokio::test]
async fn what_the_agent_may_and_the_human_may_not_is_refused_and_the_other_way_round() {
    let scene = Scene::with("{}", HALVES).await;
    let api = scene.api();
    let owner = scene.root_for("olga", &["owners"]).await;
    let record = scene.served(&scene.create(&owner, &json!({ "name": "x" })).await).await;
    assert_eq!(record["policies"], json!(["agents.all", "users.all"]));

    let guest = scene.root_for("gus", &["guests"]).await;
    scene.served(&scene.list(&guest).await).await;
    let reply = scene.create(&guest, &json!({ "name": "x" })).await;
    let record = scene.denied("the human may not", &reply, 404, "operation-not-permitted").await;
    let cause = format!("nothing permits User::\"{}#gus\"", scene.users.id());
    assert!(record["cause"].as_str().unwrap().contains(&cause), "{record}");
    assert_eq!(record["user"]["subject"], "gus");

    let reader = scene.gateway.agent("helper-2", json!({ "groups": ["readers"] })).await;
    let now = scene.gateway.clock.now();
    let claims =
        json!({ "groups": ["owners"], "may_act": { "sub": "helper-2", "iss": scene.gateway.url("") } });
    let id_token = scene.users.id_token("olga", "a-console", now, &claims);
    let reader = Holder::for_user(&reader, key(), &id_token, &[("resource", &api)]).await;
    scene.served(&scene.list(&reader).await).await;
    let reply = scene.create(&reader, &json!({ "name": "x" })).await;
    let record = scene.denied("the agent may not", &reply, 404, "operation-not-permitted").await;
    assert!(record["cause"].as_str().unwrap().contains("nothing permits Agent::\"helper-2\""), "{record}");
    assert_eq!((&record["agent"], &record["user"]["subject"]), (&json!("helper-2"), &json!("olga")));
}

#[tokio::test]
async fn an_agent_alone_and_the_same_agent_for_a_human_are_told_apart() {
    let scene = Scene::with(
        "{}",
        r#"
        @id("alone") permit (principal is Agent, action == Action::"api__list", resource)
            unless { context.caller has user };
        @id("for") permit (principal is Agent, action == Action::"api__create", resource)
            when { context.caller has user };
        @id("human") permit (principal is User, action in Action::"call", resource)
            when { context.caller has user && principal == context.caller.user };
        "#,
    )
    .await;
    let (alone, acting) = (scene.root().await, scene.root_for("alice", &[]).await);
    let name = json!({ "name": "x" });
    let record = scene.served(&scene.list(&alone).await).await;
    assert_eq!((&record["policies"], &record["user"]), (&json!(["alone"]), &Value::Null));
    let reply = scene.create(&alone, &name).await;
    assert_eq!(scene.denied("alone", &reply, 404, "operation-not-permitted").await["user"], Value::Null);
    let record = scene.served(&scene.create(&acting, &name).await).await;
    assert_eq!(
        (&record["policies"], &record["user"]["subject"]),
        (&json!(["for", "human"]), &json!("alice"))
    );
    let reply = scene.list(&acting).await;
    scene.denied("for a human", &reply, 404, "operation-not-permitted").await;
    let claims = alone.claims();
    assert_eq!((&claims["sub"], claims.get("sub_id"), claims.get("act")), (&json!("planner"), None, None));
    assert_ne!(alone.node(), acting.node(), "two trees, which can be revoked one without the other");
}

#[tokio::test]
async fn a_human_alone_is_nobody_here() {
    let scene = Scene::new().await;
    let id_token = scene.id_token("alice", &["developers"]);
    let reply = Http::get(&format!("{}/repos", scene.api())).bearer(&id_token).send().await;
    let record = scene.denied("an ID token", &reply, 401, "token-wrong-type").await;
    assert_eq!((&record["user"], &record["agent"]), (&Value::Null, &Value::Null));
    let reply = scene
        .form(&[
            ("grant_type", EXCHANGE),
            ("subject_token", &id_token),
            ("subject_token_type", super::ID_TOKEN),
            ("client_id", "planner"),
        ])
        .send()
        .await;
    scene.refused("no agent that proves itself", &reply, "invalid_client", "client-missing").await;
    assert_eq!(scene.nodes().await, 0);
}

#[tokio::test]
async fn the_groups_of_a_human_reach_policy_under_the_name_of_their_issuer() {
    let policies = format!(
        "{}\n@id(\"no-guests\") forbid (principal in UserGroup::\"idp:guests\", action, resource);",
        super::PERMIT_ALL
    );
    let scene = Scene::with("{}", &policies).await;
    let both = scene.root_for("gus", &["developers", "guests"]).await;
    let reply = scene.list(&both).await;
    let record = scene.denied("a guest", &reply, 404, "operation-not-permitted").await;
    assert_eq!(record["policies"], json!(["no-guests"]));
    let forged = scene.root_for("mallory", &["idp:developers", "developers:idp"]).await;
    let reply = scene.list(&forged).await;
    scene.denied("a group that has the prefix in its name", &reply, 404, "operation-not-permitted").await;
    let developer = scene.root_for("alice", &["developers"]).await;
    scene.served(&scene.list(&developer).await).await;
}

#[tokio::test]
async fn the_same_login_leads_to_the_same_tree_and_another_login_to_another() {
    let scene = Scene::new().await;
    let (api, first) = (scene.api(), scene.id_token("alice", &["developers"]));
    let [one, two, three] = super::keys();
    let for_user = async |key, id_token: &str| {
        Holder::for_user(&scene.planner, key, id_token, &[("resource", &api)]).await
    };
    let (a, b) = (for_user(one, &first).await, for_user(two, &first).await);
    assert_eq!(a.node(), b.node());
    // Widening needs a new grant of the human, and that is a tree of its own.
    let second = scene.id_token("alice", &["developers", "owners"]);
    let c = for_user(three, &second).await;
    assert_ne!(a.node(), c.node());
    assert_ne!(a.claims()["acti"], c.claims()["acti"]);
    let grants = scene.gateway.get("/admin/v1/delegations").await;
    let digests: Vec<&str> = grants["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["grant"]["digest"].as_str().unwrap())
        .collect();
    assert_eq!(digests.len(), 2);
    assert!(!grants.to_string().contains(&first), "the token of the human is kept");
}

#[tokio::test]
async fn what_rests_on_a_login_is_as_old_as_the_login() {
    let scene = Scene::new().await;
    let api = scene.api();
    let old = scene.id_token("alice", &["developers"]);
    scene.advance(60).await;
    let cutoff = scene.gateway.clock.now().millis() - 30_000;
    let for_user = async |id_token: &str| {
        Holder::for_user(&scene.planner, key(), id_token, &[("resource", &*api)]).await
    };
    let (stale, fresh) = (for_user(&old).await, for_user(&scene.id_token("alice", &["developers"])).await);
    scene.served(&scene.list(&stale).await).await;
    let alice = format!("{}#alice", scene.users.id());
    let order = json!({ "kind": "user", "id": alice, "reason": "compromise", "cutoff": cutoff });
    scene.gateway.post("/admin/v1/revocations", &order).await;
    let reply = scene.list(&stale).await;
    scene.denied("a login before the cutoff", &reply, 401, "user-revoked").await;
    let reply = stale.exchange_form(&[]).await;
    scene.refused("minted again", &reply, "invalid_request", "user-revoked").await;
    let form = [
        ("grant_type", EXCHANGE),
        ("subject_token", &*old),
        ("subject_token_type", super::ID_TOKEN),
        ("resource", &*api),
    ];
    let reply = Holder::ask(&scene.planner, key(), &form).await.unwrap_err();
    scene.refused("that login again", &reply, "invalid_request", "user-revoked").await;
    scene.served(&scene.list(&fresh).await).await;
}

#[tokio::test]
async fn an_access_token_of_a_human_is_accepted_only_where_the_operator_says_how_they_look() {
    let users = vestibule_testkit::TestIssuer::start().await;
    let mut section: Value =
        serde_json::from_str(&users.config(&json!({ "planner": ["planner-client"] }))).unwrap();
    section["idp"]["access_token_types"] = json!(["at-jwt"]);
    let scene = Scene::trusting(users, &section.to_string(), "{}", super::PERMIT_ALL).await;
    let now = scene.gateway.clock.now().seconds();
    let claims = json!({
        "iss": scene.users.id(), "sub": "alice", "aud": "https://api.example", "client_id": "planner-client",
        "iat": now, "exp": now + 300, "jti": "x", "scope": "api", "groups": ["developers"],
    });
    let of_type =
        |typ: &str| scene.users.sign(&json!({ "alg": "ES256", "typ": typ, "kid": "user-key" }), &claims);
    let ask = async |token: &str, kind: &str| {
        let api = scene.api();
        let form = [
            ("grant_type", EXCHANGE),
            ("subject_token", token),
            ("subject_token_type", kind),
            ("resource", &*api),
        ];
        Holder::ask(&scene.planner, key(), &form).await
    };
    let root = ask(&of_type("at+jwt"), ACCESS_TOKEN).await.unwrap();
    let record = scene.served(&scene.list(&root).await).await;
    assert_eq!(record["user"]["subject"], "alice");
    for (what, token, kind) in [
        ("an access token as an ID token", of_type("at+jwt"), super::ID_TOKEN),
        ("an access token of another look", of_type("JWT"), ACCESS_TOKEN),
        ("an ID token as an access token", scene.id_token("alice", &[]), ACCESS_TOKEN),
    ] {
        let reply = ask(&token, kind).await.unwrap_err();
        let record = scene.refused(what, &reply, "invalid_request", "user-token-wrong-type").await;
        assert_eq!(record["agent"], "planner", "{what}");
    }
}
