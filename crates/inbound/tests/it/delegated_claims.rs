//! What a hop token says about the tree it was minted in. All of it was signed by us; what does not fit is refused.

use serde_json::{Value, json};
use vestibule_model::{Denial, Timestamp};

use crate::support::{Door, NODE, NOW, changed, claims, spawned};

/// Each change alone makes a token that is good without it one that is refused.
fn refused(door: &Door, good: &Value, changes: &[(&str, Value)]) {
    assert!(door.bound(good).is_ok());
    for (path, value) in changes {
        let denial = door.bound(&changed(good.clone(), path, value)).unwrap_err();
        assert_eq!(denial, Denial::TokenInvalid, "{path} {value}");
    }
}

#[test]
fn the_path_says_of_each_node_since_when_it_is_and_by_which_keys() {
    let door = Door::new();
    let (own, other) = (door.holder.jkt(), door.signer.jkt());
    let good = spawned(&["a", "b"], None, &own);
    let good = changed(good, "/vst/keys", &json!([[other], [other, own]]));
    let nodes = door.bound(&good).unwrap().token().nodes.clone();
    assert_eq!(nodes.iter().map(|node| node.since.seconds()).collect::<Vec<_>>(), [NOW - 10, NOW - 9]);
    let keys: Vec<Vec<_>> =
        nodes.iter().map(|node| node.keys.iter().map(ToString::to_string).collect()).collect();
    assert_eq!(keys, [vec![other.clone()], vec![other, own]]);
}

#[test]
fn a_path_that_lacks_a_name_that_could_be_revoked_is_refused() {
    let door = Door::new();
    let (own, other) = (door.holder.jkt(), door.signer.jkt());
    let nodes = [format!("{:032x}", 0), format!("{:032x}", 1)];
    refused(
        &door,
        &spawned(&["a", "b"], None, &own),
        &[
            ("/vst/path", json!([])),
            ("/vst/path", json!([nodes[1]])),
            ("/vst/path", json!([nodes[1], nodes[1]])),
            ("/vst/path", json!([nodes[0], nodes[1], nodes[1]])),
            ("/vst/path", json!([nodes[1], nodes[0]])),
            ("/vst/path", json!(["x", nodes[1]])),
            ("/vst/path", json!(nodes[1])),
            ("/vst/path", Value::Null),
            ("/vst/since", json!([NOW - 9])),
            ("/vst/since", json!([NOW - 10, NOW - 9, NOW - 9])),
            // A child that is older than its parent; a node that is younger than its token; no time at all.
            ("/vst/since", json!([NOW - 9, NOW - 10])),
            ("/vst/since", json!([NOW - 10, NOW + 1])),
            ("/vst/since", json!([NOW - 10, "0"])),
            ("/vst/since", json!([NOW - 10, 0.5])),
            ("/vst/since", Value::Null),
            ("/vst/keys", json!([[own]])),
            ("/vst/keys", json!([[], [own], []])),
            ("/vst/keys", json!([[], [own, other, own]])),
            ("/vst/keys", json!([["x"], [own]])),
            ("/vst/keys", json!([other, [own]])),
            ("/vst/keys", Value::Null),
            ("/vst/node", json!(nodes[0])),
            ("/vst/node", Value::Null),
        ],
    );
}

#[test]
fn what_contradicts_the_chain_or_is_of_another_revision_is_refused() {
    let door = Door::new();
    refused(
        &door,
        &spawned(&["a", "b"], None, &door.holder.jkt()),
        &[
            ("/vst/rev", json!(1)),
            ("/vst/rev", json!(3)),
            ("/vst/rev", json!("2")),
            ("/vst/rev", Value::Null),
            ("/vst/depth", json!(1)),
            ("/vst/depth", json!(3)),
            ("/vst/depth", Value::Null),
            ("/vst/max_depth", json!(1)),
            ("/vst/max_depth", json!(9)),
            ("/vst/max_depth", json!(258)),
            ("/vst/max_depth", json!(-1)),
            ("/vst/max_depth", Value::Null),
            // The token would outlive its node.
            ("/vst/node_exp", json!(NOW + 119)),
            ("/vst/node_exp", Value::Null),
            // A bound that only a later version would know.
            ("/vst/budget", json!(1)),
            ("/vst", json!([])),
        ],
    );
}

#[test]
fn the_human_comes_with_their_groups_session_and_client() {
    let door = Door::new();
    let good = spawned(&["a"], Some("alice"), &door.holder.jkt());
    let bare = door.bound(&good).unwrap().represented().cloned().unwrap();
    assert!(bare.groups.is_empty() && bare.session.is_none() && bare.client.is_none());
    assert_eq!(bare.since, None);

    let facts = json!({"groups": ["admins", "staff"], "sid": "s1", "client": "app", "iat": NOW - 100});
    let good = changed(good, "/vst/user", &facts);
    let user = door.bound(&good).unwrap().represented().cloned().unwrap();
    assert_eq!(user.id.to_string(), "https://idp.test#alice");
    assert_eq!(user.groups.iter().collect::<Vec<_>>(), ["admins", "staff"]);
    assert_eq!((user.session.as_deref(), user.client.as_deref()), (Some("s1"), Some("app")));
    // Older than every node: a cutoff between the two must see it.
    assert_eq!(user.since, Some(Timestamp::from_seconds(NOW - 100)));
    refused(
        &door,
        &good,
        &[
            ("/vst/user", json!([])),
            ("/vst/user", json!({})),
            ("/vst/user/groups", json!("admins")),
            ("/vst/user/groups", json!([1])),
            ("/vst/user/sid", json!(1)),
            ("/vst/user/client", json!(["app"])),
            ("/vst/user/iat", json!("0")),
            ("/vst/user/iat", json!(0.5)),
            ("/vst/user/iat", json!([])),
            ("/vst/user/role", json!("admin")),
        ],
    );
    // Of nobody, nothing is known.
    let nobody = spawned(&["a", "b"], None, &door.holder.jkt());
    refused(&door, &nobody, &[("/vst/user", json!({"groups": []}))]);
}

#[test]
fn the_outer_calls_are_read_and_are_fewer_than_the_agents() {
    let door = Door::new();
    let call = "0190f3c4a5b67c8d9e0f1a2b3c4d5e6f";
    let good = spawned(&["a", "b"], None, &door.holder.jkt());
    let good = changed(good, "/vst/calls", &json!([call]));
    let caller = door.bound(&good).unwrap();
    assert_eq!(caller.token().calls.iter().map(ToString::to_string).collect::<Vec<_>>(), [call]);
    refused(
        &door,
        &good,
        &[
            ("/vst/calls", json!([call, call])),
            ("/vst/calls", json!(["x"])),
            ("/vst/calls", json!(call)),
            ("/vst/calls", json!([1])),
        ],
    );
    let root = spawned(&["a"], None, &door.holder.jkt());
    refused(&door, &root, &[("/vst/calls", json!([call]))]);
}

#[test]
fn below_the_root_a_token_without_a_key_is_refused() {
    let door = Door::new();
    let unbound = changed(spawned(&["a", "b"], None, &door.holder.jkt()), "/cnf", &Value::Null);
    assert_eq!(door.claims(&unbound).unwrap_err(), Denial::ProofMissing);
    assert_eq!(door.bound(&unbound).unwrap_err(), Denial::ProofMissing);
    // Of a root agent it is a bearer token.
    assert!(door.claims(&claims()).is_ok());
}

#[test]
fn a_binding_that_is_not_understood_or_not_in_the_path_is_refused() {
    let door = Door::new();
    let (own, other) = (door.holder.jkt(), door.signer.jkt());
    refused(
        &door,
        &spawned(&["a", "b"], None, &own),
        &[
            // The last node is made with keys that its token is not bound to, then with none.
            ("/vst/keys", json!([[own], [other]])),
            ("/vst/keys", json!([[own], []])),
            ("/cnf", json!({})),
            ("/cnf", json!(own)),
            ("/cnf", json!({"jkt": "x"})),
            ("/cnf", json!({"jkt": 1})),
            ("/cnf", json!({"x5t#S256": own})),
            ("/cnf", json!({"jkt": own, "x5t#S256": own})),
        ],
    );
    refused(
        &door,
        &spawned(&["a"], None, &own),
        &[("/vst/keys", json!([[other]])), ("/vst/keys", json!([[]]))],
    );
}

#[test]
fn an_agent_that_is_known_by_its_key_has_that_key_on_the_path() {
    let door = Door::new();
    let (own, other) = (door.holder.jkt(), door.signer.jkt());
    let name = format!("urn:ietf:params:oauth:jwk-thumbprint:sha-256:{own}");
    let good = spawned(&["a", &name], None, &own);
    assert_eq!(door.bound(&good).unwrap().agent().as_str(), name);
    let stolen = spawned(&["a", &name.replace(&own, &other)], None, &own);
    assert_eq!(door.bound(&stolen).unwrap_err(), Denial::TokenInvalid);
}

#[test]
fn an_authority_that_cannot_be_read_or_is_not_located_is_refused() {
    let door = Door::new();
    let details = json!([{
        "type": "vestibule_operations",
        "locations": ["https://gw.test/apps/sandbox/mcp"],
        "operations": {"create_repo": {"owner": {"exact": "acme"}}},
    }]);
    let good = changed(claims(), "/authorization_details", &details);
    let caller = door.claims(&good).unwrap();
    let authority = caller.token().authority.as_ref().unwrap();
    assert!(authority.mentions("https://gw.test/apps/sandbox/mcp", "create_repo"));
    assert!(!authority.mentions("https://gw.test/apps/sandbox/mcp", "delete_repo"));
    for (path, value) in [
        ("/authorization_details", json!([])),
        ("/authorization_details", json!({})),
        ("/authorization_details", json!("all")),
        ("/authorization_details/0/type", json!("payment")),
        ("/authorization_details/0/locations", Value::Null),
        ("/authorization_details/0/operations", Value::Null),
        ("/authorization_details/0/operations/create_repo/owner", json!({"matches": ".*"})),
        ("/authorization_details/0/actions", json!(["read"])),
    ] {
        let other = changed(good.clone(), path, &value);
        assert_eq!(door.claims(&other).unwrap_err(), Denial::TokenInvalid, "{path} {value}");
    }
}

#[test]
fn a_claim_of_ours_cannot_be_a_custom_one() {
    for name in ["vst", "call", "cnf", "authorization_details", "act"] {
        assert!(vestibule_inbound::is_registered_claim(name), "{name}");
    }
    let door = Door::new();
    let caller = door.claims(&changed(claims(), "/call", &json!("x"))).unwrap();
    assert!(!caller.token().claims.contains_key("call"));
    assert_eq!(caller.token().nodes[0].id.as_str(), NODE);
}
