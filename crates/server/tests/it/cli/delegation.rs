use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::{
    binary::{Ran, cli_with},
    delegation::story::Story,
};

/// A command about the gateway of the story.
async fn ask(story: &Story, args: &[&str]) -> Ran {
    let running = story.scene.gateway.running();
    let (url, token) = (running.admin_url(), running.admin_token().expose_secret());
    cli_with(&[("VESTIBULE_ADMIN_URL", url), ("VESTIBULE_ADMIN_TOKEN", token)], args).await
}

async fn objects(story: &Story, args: &[&str]) -> Vec<Value> {
    let ran = ask(story, &[args, &["--output", "json"]].concat()).await;
    assert_eq!(ran.code, Some(0), "{args:?}: {ran:?}");
    ran.objects()
}

#[tokio::test]
async fn a_tree_is_drawn_with_who_acts_for_whom_through_whom() {
    let story = Story::new().await;
    let (root, child, inner) = (story.root.node(), story.child.1.clone(), story.inner.node());
    let tree = ask(&story, &["delegation", "tree"]).await;
    let lines: Vec<&str> = tree.stdout.lines().collect();
    let alice = format!("{}#alice", story.scene.users.id());
    let starts = [
        format!("planner for {alice}  root  active  {root}  until 2026-01-07T13:00:00"),
        format!("└─ {}  spawned  active  {child}  until 2026-01-07T13:00:00", story.child.0),
        format!("   └─ helper  invoked  active  {inner}  until 2026-01-07T13:00:00"),
    ];
    assert_eq!(lines.len(), 3, "{}", tree.stdout);
    for (line, start) in lines.iter().zip(&starts) {
        assert!(line.starts_with(start.as_str()), "`{line}` does not start with `{start}`");
    }
    story.scene.root().await;
    assert_eq!(objects(&story, &["delegation", "tree"]).await.len(), 4);
    for (args, expected) in [
        (&["delegation", "tree", "--agent", "helper"][..], vec![&root, &child, &inner]),
        (&["delegation", "tree", &child], vec![&child, &inner]),
        (&["delegation", "tree", "--agent", "nobody"], vec![]),
    ] {
        let ids: Vec<Value> = objects(&story, args).await.iter().map(|node| node["id"].clone()).collect();
        assert_eq!(ids, expected.iter().map(|id| json!(id)).collect::<Vec<_>>(), "{args:?}");
    }
    story.order("suspended", "agent", &story.child.0).await;
    let tree = ask(&story, &["delegation", "tree", &root]).await;
    tree.tells(&[&format!("root  active  {root}"), &format!("spawned  suspended  {child}")]);
    story.order("revoked", "delegation", &root).await;
    let tree = ask(&story, &["delegation", "tree", &root]).await;
    tree.tells(&[&format!("root  revoked  {root}"), &format!("spawned  revoked  {child}")]);
    let gone = "0".repeat(32);
    ask(&story, &["delegation", "tree", &gone]).await.refuses(2, "lives");
}

#[tokio::test]
async fn a_delegation_is_shown_by_its_id() {
    let story = Story::new().await;
    let inner = story.inner.node();
    let shown = objects(&story, &["delegation", "show", &inner]).await.remove(0);
    assert_eq!(shown, story.scene.gateway.get(&format!("/admin/v1/delegations/{inner}")).await);
    ask(&story, &["delegation", "show", &inner]).await.tells(&[
        &format!("delegation    {inner}\n"),
        "state         active\n",
        "agent         helper\n",
        "#alice\n",
        "origin        invoked\n",
        &format!("within calls  {}\n", story.outer_call),
    ]);
    let gone = "0".repeat(32);
    ask(&story, &["delegation", "show", &gone]).await.refuses(2, "no such delegation");
    ask(&story, &["delegation", "show", "nonsense"]).await.refuses(2, "delegation id");
}

#[tokio::test]
async fn a_trace_is_drawn_with_each_spawn_and_each_call_below_who_asked_for_it() {
    let mut story = Story::new().await;
    story.end().await;
    story.scene.advance(1).await;
    story.order("revoked", "delegation", &story.child.1).await;
    let (workflow, child) = (story.workflow(), story.child.clone());
    let asked = ask(&story, &["audit", "trace", &story.inner_call]).await;
    assert_eq!(asked.code, Some(0), "{asked:?}");
    let lines: Vec<&str> = asked.stdout.lines().collect();
    assert!(lines[0].starts_with(&format!("workflow {workflow}  for ")), "{}", lines[0]);
    let depth = |needle: &str| {
        let found: Vec<&&str> = lines.iter().filter(|line| line.contains(needle)).collect();
        assert_eq!(found.len(), 1, "`{needle}` in\n{}", asked.stdout);
        found[0].len() - found[0].trim_start().len()
    };
    let depths = [
        depth(&format!("planner  {}  root", story.root.node())),
        depth(&format!("{}  {}  spawned", child.0, child.1)),
        depth(&format!("{}  helper ask  permit by agents, users  completed", story.outer_call)),
        depth(&format!("helper  {}  invoked", story.inner.node())),
        depth(&format!("{}  api list  permit by agents, users  completed  <-", story.inner_call)),
    ];
    assert_eq!(depths, [0, 4, 6, 8, 10], "{}", asked.stdout);
    assert_eq!(depth(&format!("! revoke delegation/{}  by ", child.1)), 6, "{}", asked.stdout);

    let whole = ask(&story, &["audit", "trace", &workflow]).await;
    let unmarked = asked.stdout.replace("  <-", "");
    assert_eq!(whole.stdout, unmarked, "the workflow is the whole of it");
    let trace = objects(&story, &["audit", "trace", &story.inner_call]).await.remove(0);
    assert_eq!(
        trace,
        story.scene.gateway.get(&format!("/admin/v1/attempts/{}/trace", story.inner_call)).await
    );
    let evidence = story.scene.gateway.dir.path().join("evidence");
    let offline = ["audit", "trace", &workflow, "--folder", evidence.to_str().unwrap()];
    assert_eq!(ask(&story, &offline).await.stdout, whole.stdout, "the same without a gateway");
    ask(&story, &["audit", "trace", &"0".repeat(32)]).await.refuses(2, "no such");
    ask(&story, &["audit", "trace", "nonsense"]).await.refuses(2, "must be");
}
