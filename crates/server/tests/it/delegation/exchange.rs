//! The request for an exchange itself (RFC 8693 §2.1), and what no token can say.

use serde_json::{Value, json};
use vestibule_testkit::Holder;

use super::{ACCESS_TOKEN, EXCHANGE, ID_TOKEN, JWT, Scene, details, key};

#[tokio::test]
async fn what_is_exchanged_is_named_with_its_type() {
    let scene = Scene::new().await;
    let id_token = scene.id_token("alice", &[]);
    let saml = "urn:ietf:params:oauth:token-type:saml2";
    let (missing, unsupported) = ("subject-token-missing", "subject-token-type-unsupported");
    for (what, fields, code) in [
        ("nothing", &[][..], missing),
        ("no type", &[("subject_token", &*id_token)], missing),
        ("no token", &[("subject_token_type", ID_TOKEN)], missing),
        ("an empty token", &[("subject_token", ""), ("subject_token_type", ID_TOKEN)], missing),
        ("of an unknown type", &[("subject_token", &*id_token), ("subject_token_type", saml)], unsupported),
        (
            "a type in short",
            &[("subject_token", &*id_token), ("subject_token_type", "id_token")],
            unsupported,
        ),
        (
            "an actor without its type",
            &[("subject_token", &*id_token), ("subject_token_type", ID_TOKEN), ("actor_token", "x")],
            "actor-token-incomplete",
        ),
        (
            "the type of an actor that is not there",
            &[("subject_token", &*id_token), ("subject_token_type", ID_TOKEN), ("actor_token_type", JWT)],
            "actor-token-incomplete",
        ),
        (
            "for a refresh token",
            &[
                ("subject_token", &*id_token),
                ("subject_token_type", ID_TOKEN),
                ("requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token"),
            ],
            "requested-token-type-unsupported",
        ),
        (
            "twice",
            &[("subject_token", &*id_token), ("subject_token", &*id_token), ("subject_token_type", ID_TOKEN)],
            "token-request-malformed",
        ),
    ] {
        let form = [&[("grant_type", EXCHANGE)], fields].concat();
        let reply = scene.planner.form(&form).send().await;
        scene.refused(what, &reply, "invalid_request", code).await;
    }
    let api = scene.api();
    let form = [
        ("grant_type", EXCHANGE),
        ("subject_token", &*id_token),
        ("subject_token_type", ID_TOKEN),
        ("requested_token_type", JWT),
        ("resource", &*api),
    ];
    let root = Holder::ask(&scene.planner, key(), &form).await.unwrap();
    assert_eq!(root.answer["issued_token_type"], JWT, "RFC 8693 §2.2.1: of the type that was asked for");
    let again = root.exchange_form(&[]).await;
    assert_eq!(again.json()["issued_token_type"], ACCESS_TOKEN);
}

#[tokio::test]
async fn a_called_agent_gets_nothing_for_a_resource_that_its_caller_was_given_nothing_for() {
    let scene = Scene::new().await;
    let (api, helper) = (scene.api(), scene.gateway.resource("helper"));
    let to = |locations: &[&str]| {
        json!([{ "type": "vestibule_operations", "operations": { "ask": {}, "list": {} }, "locations": locations }])
            .to_string()
    };
    for (locations, is_given) in [(&[&*helper][..], false), (&[&*helper, &*api], true)] {
        let asked = to(locations);
        let fields = [("resource", &*helper), ("authorization_details", &*asked)];
        let caller = Holder::root(&scene.planner, key(), &fields).await;
        let (call, call_token) = scene.calling(caller).await;
        let inner = Holder::invoked(&scene.helper, key(), &call_token, &[("resource", &api)]).await;
        match inner {
            Ok(inner) => {
                assert!(is_given, "{locations:?}");
                scene.served(&scene.list(&inner).await).await;
                let reply = scene.create(&inner, &json!({})).await;
                scene.denied("more than its caller has", &reply, 404, "operation-not-permitted").await;
            }
            Err(reply) => {
                assert!(!is_given, "{}", reply.text());
                let code = "authority-not-for-target";
                let record = scene.refused("elsewhere", &reply, "invalid_authorization_details", code).await;
                assert_eq!(record["agent"], "helper");
            }
        }
        scene.called.release();
        assert_eq!(call.await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn a_token_that_would_be_longer_than_any_may_be_is_not_minted() {
    let scene = Scene::new().await;
    let groups: Vec<String> = (0..32).map(|number| format!("{number:060}")).collect();
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    let root = scene.root_for("alice", &groups).await;
    let operations: Value = (0..60).map(|number| (format!("operation-{number:040}"), json!({}))).collect();
    let long = details(&operations);
    let reply = root.try_spawn(key(), &[("authorization_details", &long)]).await.unwrap_err();
    let record = scene.gateway.attempt_of(&reply).await;
    assert_eq!(
        (reply.status.as_u16(), &record["denial"]),
        (400, &json!("token-too-long")),
        "{}",
        reply.text()
    );
    assert!(reply.json()["error_description"].as_str().unwrap().contains("ask for less"));
    assert_eq!(scene.nodes().await, 1, "no node stays behind under which there is no token");
    root.spawn(key(), &[("authorization_details", &details(&json!({ "list": {} })))]).await;
}
