use std::time::Duration;

use vestibule_containment::{Cut, CutAttempt, DenyKey, Foreign, Order, Reason, Report, Stage};
use vestibule_model::{
    AgentId, AppId, Authority, Delegation, NodeId, Origin, PathNode, Represented, Thumbprint, UserId,
    WorkflowId,
};
use vestibule_store::{Kind, Op, Put, Store};

use crate::world::{Shelved, Token, World, agent, at, attempt, node, now, order, suspend};

#[tokio::test(start_paused = true)]
async fn what_is_in_flight_is_cut_counted_and_listed_by_what_it_did() {
    let world = Shelved::open().await;
    let containment = &world.containment;
    let admit = |n, agents: &[&str]| Token::of(n, agents).admit(containment).unwrap();
    let (queued, forwarded) = (admit(4, &["a"]), admit(3, &["root", "a", "child"]));
    forwarded.forwarded();
    let (stream, done) = (admit(2, &["a"]), admit(1, &["a"]));
    stream.streaming().unwrap();
    stream.forwarded();
    done.complete();
    done.streaming().unwrap();
    let (other, left) = (admit(5, &["b"]), admit(6, &["a"]));
    drop(left);

    let dry = containment.order(Order { dry_run: true, ..order(agent("a")) }).await.unwrap();
    assert_eq!((dry.version, dry.completed), (0, 1));
    assert_eq!(dry.cut, Cut { attempts: 3, streams: 1, nodes: 0 });
    let all = [&queued, &forwarded, &stream, &done];
    assert!(all.iter().all(|call| call.cut().is_none()), "a rehearsal cuts nothing");
    assert_eq!((containment.list(), containment.version()), (vec![], 0));

    let report = containment.order(order(agent("a"))).await.unwrap();
    assert_eq!((report.version, report.completed, report.cut), (1, 1, dry.cut));
    assert_eq!(report.attempts, dry.attempts);
    let cut =
        |n, agent, stage| CutAttempt { attempt: attempt(n), agent: AgentId::new(agent).unwrap(), stage };
    let listed = [
        cut(1, "a", Stage::Completed),
        cut(2, "a", Stage::Streaming),
        cut(3, "child", Stage::Forwarded),
        cut(4, "a", Stage::Queued),
    ];
    assert_eq!(report.attempts, listed);
    for call in all {
        call.cancelled().await;
        assert!(call.cut().is_some() && call.streaming().is_err());
    }
    assert_eq!(other.cut(), None);
    assert_eq!(
        containment.order(order(agent("a"))).await.unwrap().attempts,
        listed,
        "what it did stands still"
    );
}

#[tokio::test(start_paused = true)]
async fn a_report_is_told_in_these_words() {
    let world = Shelved::open().await;
    let call = Token::of(7, &["a"]).admit(&world.containment).unwrap();
    call.forwarded();
    let report = world.containment.order(Order { cutoff: Some(at(5)), ..suspend(agent("a")) }).await.unwrap();
    let expected = serde_json::json!({
        "kind": "agent", "id": "a", "version": 1, "state": "suspended", "reason": "compromise",
        "cutoff": at(5).millis(), "cut": { "attempts": 1, "streams": 0, "nodes": 0 }, "completed": 0,
        "attempts": [{ "attempt": attempt(7).to_string(), "agent": "a", "stage": "forwarded" }],
        "acknowledged_at": now().millis(),
    });
    assert_eq!(serde_json::to_value(&report).unwrap(), expected);
    let listed = serde_json::json!([{
        "kind": "agent", "id": "a", "version": 1, "state": "suspended", "reason": "compromise",
        "cutoff": at(5).millis(), "by": "operator", "at": now().millis(), "expires_at": null,
    }]);
    assert_eq!(serde_json::to_value(world.containment.list()).unwrap(), listed);
}

#[tokio::test(start_paused = true)]
async fn repeating_an_order_changes_nothing_and_tells_the_same() {
    let world = Shelved::open().await;
    let _call = Token::of(1, &["a"]).admit(&world.containment).unwrap();
    for order in [suspend, order] {
        let first = world.containment.order(order(agent("a"))).await.unwrap();
        let (version, listed) = (world.containment.version(), world.containment.list());
        world.clock.advance(Duration::from_millis(1));
        let later = Order { reason: Reason::Superseded, ..order(agent("a")) };
        let second = world.containment.order(later).await.unwrap();
        assert!(first.acknowledged_at < second.acknowledged_at);
        let acknowledged_at = first.acknowledged_at;
        assert_eq!(Report { acknowledged_at, ..second }, first);
        assert_eq!((world.containment.version(), world.containment.list()), (version, listed));
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_attempts_are_listed_and_all_are_counted() {
    let world = Shelved::open().await;
    let admit = |n| Token::of(n, &["a"]).admit(&world.containment).unwrap();
    let calls: Vec<_> = (0..1200).rev().map(admit).collect();
    let report = world.containment.order(order(agent("a"))).await.unwrap();
    assert_eq!(report.cut.attempts, 1200);
    let listed: Vec<_> = report.attempts.iter().map(|cut| cut.attempt).collect();
    assert_eq!(listed, (0..1000).map(attempt).collect::<Vec<_>>());
    assert!(calls.iter().all(|call| call.cut().is_some()));
}

#[tokio::test]
async fn nodes_that_die_with_it_are_counted() {
    let world = World::open().await;
    let tree = [
        made("root", &[], "a", 10),
        made("b-1", &["root"], "b", 20),
        made("b-2", &["root"], "b", 30),
        made("c", &["root", "b-1"], "c", 40),
        made("b-3", &["root", "b-1", "c"], "b", 50),
        made("elsewhere", &[], "b", 60),
        made("below", &["elsewhere"], "d", 70),
    ];
    world.store.commit(tree.into()).await.unwrap();
    let nodes = async |order: Order| {
        let order = Order { dry_run: true, ..order };
        world.containment.order(order).await.unwrap().cut.nodes
    };
    let delegation = |name| DenyKey::Delegation(node(name));
    assert_eq!(nodes(order(delegation("root"))).await, 5);
    assert_eq!(nodes(suspend(delegation("b-1"))).await, 3);
    assert_eq!(nodes(order(delegation("unknown"))).await, 0);
    assert_eq!(nodes(order(agent("b"))).await, 6, "its own, and all below, each once");
    assert_eq!(nodes(order(agent("c"))).await, 2);
    assert_eq!(nodes(Order { reason: Reason::Superseded, ..order(agent("b")) }).await, 0);
    let until = |seconds, key| Order { cutoff: Some(at(seconds)), ..order(key) };
    assert_eq!(nodes(until(20, agent("b"))).await, 3, "b-1 and what is below it, however young");
    assert_eq!(nodes(until(9, delegation("root"))).await, 0);
    assert_eq!(nodes(order(Token::of(1, &["a"]).key())).await, 0, "no node bears the name of a token");
}

#[tokio::test]
async fn nodes_are_counted_whose_path_bears_the_name_of_a_human_a_key_or_an_application() {
    let world = World::open().await;
    let tree = [
        made("root", &[], "a", 10),
        made("b-1", &["root"], "b", 20),
        made("c", &["root", "b-1"], "c", 40),
        made("elsewhere", &[], "b", 60),
    ];
    let with = |op: Op, change: &dyn Fn(&mut Delegation)| match op {
        Op::Put(mut put) => {
            let mut delegation = serde_json::from_str(&put.body).unwrap();
            change(&mut delegation);
            put.body = serde_json::to_string(&delegation).unwrap();
            Op::Put(put)
        }
        other @ (Op::Delete { .. } | Op::Rewrap(_) | Op::Charge(_) | Op::Recount(_)) => other,
    };
    let key = Thumbprint::parse("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs").unwrap();
    let id = UserId { issuer: "https://idp".to_owned(), subject: "alice".to_owned() };
    let alice = Represented {
        id: id.clone(),
        groups: Default::default(),
        session: Some("s-1".to_owned()),
        client: Some("portal".to_owned()),
        since: Some(at(5)),
    };
    let change = |delegation: &mut Delegation| {
        if delegation.path[0].id != node("elsewhere") {
            delegation.user = Some(alice.clone());
            delegation.path[0].since = at(10);
        }
        for made in delegation.path.iter_mut().filter(|made| made.id == node("b-1")) {
            (made.keys, made.since) = (vec![key], at(20));
        }
    };
    world.store.commit(tree.into_iter().map(|op| with(op, &change)).collect()).await.unwrap();
    let nodes = async |order: Order| {
        let order = Order { dry_run: true, ..order };
        world.containment.order(order).await.unwrap().cut.nodes
    };
    let until = |seconds, key| Order { cutoff: Some(at(seconds)), ..order(key) };
    let foreign = |name: &str| Foreign { issuer: "https://idp".to_owned(), name: name.to_owned() };
    assert_eq!(nodes(order(DenyKey::User(id.clone()))).await, 3);
    assert_eq!(nodes(until(4, DenyKey::User(id))).await, 0, "the login came later");
    assert_eq!(nodes(suspend(DenyKey::Session(foreign("s-1")))).await, 3);
    assert_eq!(nodes(order(DenyKey::Client(foreign("portal")))).await, 3);
    assert_eq!(nodes(order(DenyKey::Client(foreign("another")))).await, 0);
    assert_eq!(nodes(order(DenyKey::Credential(key))).await, 2, "b-1 and what is below it");
    assert_eq!(nodes(until(19, DenyKey::Credential(key))).await, 0);
    assert_eq!(nodes(order(DenyKey::App(AppId::new("github").unwrap()))).await, 4);
    assert_eq!(nodes(order(DenyKey::App(AppId::new("other").unwrap()))).await, 0);
    assert_eq!(nodes(order(DenyKey::All)).await, 4);
    assert_eq!(nodes(Order { reason: Reason::Superseded, ..order(DenyKey::All) }).await, 0);
}

fn made(name: &str, above: &[&str], agent: &str, seconds: u64) -> Op {
    let on_path = |name: &&str, since| PathNode { id: node(name), since, keys: vec![] };
    let mut path: Vec<PathNode> = above.iter().map(|name| on_path(name, at(0))).collect();
    path.push(on_path(&name, at(seconds)));
    let parent = above.last().map(|name| node(name));
    let delegation = Delegation {
        id: node(name),
        parent: parent.clone(),
        origin: if parent.is_some() { Origin::Spawned } else { Origin::Root },
        workflow: WorkflowId::parse(node("w").as_str()).unwrap(),
        chain: path.iter().map(|_| AgentId::new(agent).unwrap()).collect(),
        path,
        max_depth: 8,
        user: None,
        grant: None,
        app: AppId::new("github").unwrap(),
        resource: "https://gw/apps/github/mcp".to_owned(),
        scopes: Default::default(),
        authority: None::<Authority>,
        calls: vec![],
        made_by: None,
        children: 0,
        created_at: at(seconds),
        expires_at: at(3600),
    };
    let put = Put::new(Kind::Delegation, node(name).as_str(), &delegation).unwrap();
    let put = put.subject(agent).logged(false);
    Op::Put(match parent.as_ref().map(NodeId::as_str) {
        Some(parent) => put.parent(parent),
        None => put,
    })
}

#[tokio::test]
async fn an_order_against_a_name_that_nobody_bears_is_an_order() {
    let world = Shelved::open().await;
    let report = world.containment.order(order(agent("nobody"))).await.unwrap();
    assert_eq!((report.version, report.cut.attempts, report.attempts), (1, 0, vec![]));
    assert_eq!(world.containment.list()[0].key, agent("nobody"));
}
