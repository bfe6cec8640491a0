//! An order kills what bears the name, wherever on its path, and nothing else.

use super::wood::Wood;

/// What each agent takes along, itself first.
const LEVELS: [(&str, &[&str]); 5] = [
    ("a", &["a", "b", "c", "d", "b2"]),
    ("b", &["b", "c", "d"]),
    ("c", &["c", "d"]),
    ("d", &["d"]),
    ("b2", &["b2"]),
];
const APPS: &[&str] = &["modern", "web"];
const ALICES: &[&str] = LEVELS[0].1;

/// `agent@app` for each of both.
fn at(agents: &[&str], apps: &[&str]) -> Vec<String> {
    agents.iter().flat_map(|agent| apps.iter().map(move |app| format!("{agent}@{app}"))).collect()
}

async fn assert_kills(wood: &Wood, kind: &str, id: &str, (agents, apps): (&[&str], &[&str]), nodes: usize) {
    let dead = at(agents, apps);
    let dead: Vec<_> = dead.iter().map(String::as_str).collect();
    wood.assert_kills(kind, id, &dead, nodes as u64).await;
}

#[tokio::test]
async fn an_agent_takes_all_below_it_along_at_every_application() {
    for (name, subtree) in LEVELS {
        let wood = Wood::new().await;
        let id = wood.alice.get(name).id.clone();
        assert_kills(&wood, "agent", &id, (subtree, APPS), 2 * subtree.len()).await;
    }
}

#[tokio::test]
async fn a_delegation_takes_all_below_it_along_and_what_its_agent_has_elsewhere_lives() {
    for (name, subtree) in LEVELS {
        let wood = Wood::new().await;
        let node = wood.node(name, "web");
        assert_kills(&wood, "delegation", &node, (subtree, &["web"]), subtree.len()).await;
    }
}

#[tokio::test]
async fn a_key_takes_all_below_the_agents_that_have_it_along() {
    for (name, subtree) in LEVELS {
        let wood = Wood::new().await;
        let key = wood.alice.get(name).key();
        assert_kills(&wood, "credential", &key, (subtree, APPS), 2 * subtree.len()).await;
    }
}

#[tokio::test]
async fn a_human_or_their_session_or_the_client_that_they_used_takes_their_agents_along_and_nobody_elses() {
    for (kind, name) in [("user", "alice"), ("session", "session-of-alice"), ("client", "client-of-a")] {
        let wood = Wood::new().await;
        assert_kills(&wood, kind, &wood.foreign(name), (ALICES, APPS), 2 * ALICES.len()).await;
    }
}

#[tokio::test]
async fn a_token_dies_alone() {
    let wood = Wood::new().await;
    let jti = wood.alice.get("b").at("web").claims()["jti"].as_str().unwrap().to_owned();
    assert_kills(&wood, "token", &jti, (&["b"], &["web"]), 0).await;
}

#[tokio::test]
async fn an_application_and_everything_are_closed_to_all() {
    let wood = Wood::new().await;
    let all = ["a", "b", "c", "d", "b2", "o", "p"];
    assert_kills(&wood, "app", "web", (&all, &["web"]), all.len()).await;
    let wood = Wood::new().await;
    assert_kills(&wood, "all", "*", (&all, APPS), 2 * all.len()).await;
}
