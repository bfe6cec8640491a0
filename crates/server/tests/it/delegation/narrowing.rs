//! Authority only becomes less on the way down: what is not proven to lie within the parent's is refused when it is asked
//! for.

use serde_json::{Value, json};

use super::{
    Scene, details, key,
    possession::{Possession, token_in},
};

const ERROR: &str = "invalid_authorization_details";

#[tokio::test]
async fn invariant_7_a_grandchild_gets_what_is_proven_to_lie_within_what_its_parent_has() {
    let scene = Scene::new().await;
    let root = scene.root().await;
    let create = |constraints: Value| json!({ "create": constraints });
    let name = |constraint: Value| create(json!({ "name": constraint }));
    let size = |constraint: Value| create(json!({ "size": constraint }));
    let (range, prefix) = (json!({ "range": { "min": 1, "max": 10 } }), json!({ "prefix": "team-" }));
    let both = create(json!({ "name": { "exact": "a" }, "size": { "exact": 1 } }));
    for (parent, inside, outside) in [
        (
            name(json!({ "one_of": ["a", "b"] })),
            vec![name(json!({ "exact": "a" })), name(json!({ "one_of": ["b"] }))],
            vec![name(json!({ "one_of": ["a", "c"] })), name(json!({ "prefix": "a" })), create(json!({}))],
        ),
        (
            size(range.clone()),
            vec![size(json!({ "range": { "min": 2, "max": 10 } })), size(json!({ "one_of": [1, 10] }))],
            vec![
                size(json!({ "range": { "min": 0, "max": 10 } })),
                size(json!({ "range": { "min": 2 } })),
                size(json!({ "range": { "min": 1, "max": 10.0001 } })),
                size(json!({ "exact": 11 })),
                create(json!({ "size": range.clone(), "name": { "exact": "a" } })),
            ],
        ),
        (
            name(prefix.clone()),
            vec![name(json!({ "prefix": "team-a" })), name(json!({ "exact": "team-" }))],
            vec![name(json!({ "prefix": "team" })), name(json!({ "exact": "x" })), json!({ "list": {} })],
        ),
        (
            name(json!({ "all_of": [prefix.clone(), { "one_of": ["team-a", "b"] }] })),
            vec![name(json!({ "exact": "team-a" }))],
            vec![name(prefix), name(json!({ "exact": "b" }))],
        ),
        (both.clone(), vec![both], vec![name(json!({ "exact": "a" })), size(json!({ "exact": 1 }))]),
        (
            create(json!({})),
            vec![name(json!({ "exact": "a" })), create(json!({}))],
            vec![json!({ "create": {}, "list": {} }), json!({ "remove": {} })],
        ),
    ] {
        let child = root.spawn(key(), &[("authorization_details", &details(&parent))]).await;
        for asked in inside {
            let below = child.try_spawn(key(), &[("authorization_details", &details(&asked))]).await;
            assert!(below.is_ok(), "{parent} holds {asked}: {}", below.unwrap_err().text());
        }
        for asked in outside {
            let fields = [("authorization_details", &*details(&asked))];
            let reply = child.try_spawn(key(), &fields).await.unwrap_err();
            let what = format!("{parent} does not hold {asked}");
            let record = scene.refused(&what, &reply, ERROR, "authority-not-subset").await;
            assert_eq!(record["agent"], json!(child.id()), "{what}");
        }
    }
}

#[tokio::test]
async fn what_is_asked_for_at_another_resource_lies_within_nothing() {
    let scene = Scene::new().await;
    let here = details(&json!({ "list": {} }));
    let root = scene.root_with(&[("authorization_details", &here)]).await;
    let at = |location: &str| {
        json!([{ "type": "vestibule_operations", "operations": { "list": {} }, "locations": [location] }])
            .to_string()
    };
    assert!(root.try_spawn(key(), &[("authorization_details", &at(&scene.api()))]).await.is_ok());
    for location in [scene.gateway.resource("other"), format!("{}/", scene.api()), scene.api().to_uppercase()]
    {
        let reply = root.try_spawn(key(), &[("authorization_details", &at(&location))]).await.unwrap_err();
        scene.refused(&location, &reply, ERROR, "authority-not-subset").await;
    }
}

#[tokio::test]
async fn what_nobody_could_hold_at_the_lock_is_not_handed_on() {
    let scene = Scene::new().await;
    let root = scene.root().await;
    let ours = |more: Value| {
        let mut grant = json!({ "type": "vestibule_operations", "operations": { "list": {} } });
        grant.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!([grant]).to_string()
    };
    let constraint = |one: Value| details(&json!({ "create": { "name": one } }));
    let many: Value = (0..65).map(|number| (format!("op{number}"), json!({}))).collect();
    for (what, asked) in [
        ("a kind of constraint that is not known", constraint(json!({ "regex": ".*" }))),
        ("two constraints on one argument", constraint(json!({ "exact": "a", "prefix": "a" }))),
        ("a value where a constraint belongs", constraint(json!("a"))),
        ("a value that is no scalar", constraint(json!({ "exact": ["a"] }))),
        ("a fraction that is compared", constraint(json!({ "exact": 1.5 }))),
        ("no value", constraint(json!({ "one_of": [] }))),
        ("a range of nothing", constraint(json!({ "range": {} }))),
        ("a range upside down", constraint(json!({ "range": { "min": 2, "max": 1 } }))),
        ("an unknown bound", constraint(json!({ "range": { "over": 2 } }))),
        ("another type", ours(json!({ "type": "payment_initiation" }))),
        ("no type", ours(json!({ "type": null }))),
        ("a member that is not known", ours(json!({ "actions": ["list"] }))),
        ("no operation", ours(json!({ "operations": {} }))),
        ("no location", ours(json!({ "locations": [] }))),
        ("more operations than fit", ours(json!({ "operations": many }))),
        ("nothing", "[]".to_owned()),
        ("an object", "{}".to_owned()),
        ("no JSON", "vestibule_operations".to_owned()),
        ("a key twice", r#"[{"type":"vestibule_operations","operations":{"list":{},"list":{}}}]"#.to_owned()),
    ] {
        let reply = root.try_spawn(key(), &[("authorization_details", &asked)]).await.unwrap_err();
        scene.refused(what, &reply, ERROR, "authority-malformed").await;
        let api = scene.api();
        let form =
            [("grant_type", "client_credentials"), ("resource", &*api), ("authorization_details", &*asked)];
        let reply = scene.planner.form(&form).send().await;
        scene.refused(what, &reply, ERROR, "authority-malformed").await;
    }
    assert_eq!(scene.nodes().await, 1);
}

#[tokio::test]
async fn a_token_that_has_less_than_its_node_hands_on_only_what_it_has() {
    let scene = Scene::new().await;
    let wide = details(&json!({ "list": {}, "create": { "name": { "prefix": "a" } } }));
    let child = scene.root().await.spawn(key(), &[("authorization_details", &wide)]).await;
    let narrow = details(&json!({ "create": { "name": { "exact": "a" } } }));
    let reply = child.exchange_form(&[("authorization_details", &narrow), ("scope", "read")]).await;
    let (token, nonce) = (token_in(&reply), child.nonce().unwrap());
    let less = Possession::new(&scene, child.key(), &token, &nonce);
    scene.served(&less.create(&json!({ "name": "a" })).await).await;
    let reply = less.create(&json!({ "name": "ab" })).await;
    scene.denied("what the token has no more", &reply, 403, "authority-exceeded").await;
    scene.served(&scene.create(&child, &json!({ "name": "ab" })).await).await;
    for (what, field, error, code) in [
        ("the authority of the node", ("authorization_details", &*wide), ERROR, "authority-not-subset"),
        ("the scope of the node", ("scope", "read write"), "invalid_scope", "scope-not-allowed"),
    ] {
        scene.refused(what, &less.exchange(&[field]).await, error, code).await;
        scene.refused(what, &less.spawn(&[field]).await, error, code).await;
    }
    let below = less.spawn(&[]).await;
    assert_eq!((below.status.as_u16(), &below.json()["scope"]), (200, &json!("read")), "{}", below.text());
    let held = &below.json()["authorization_details"][0]["operations"];
    assert_eq!(*held, json!({ "create": { "name": { "exact": "a" } } }));
}
