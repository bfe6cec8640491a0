use vestibule_containment::{Order, Reason};
use vestibule_model::Denial;
use vestibule_store::{Kind, Record, Store, Subscriber};

use crate::world::{Shelved, Token, World, agent, at, following, open, order};

#[tokio::test]
async fn a_revocation_survives_a_restart() {
    let world = World::open().await;
    let token = Token::of(1, &["a"]);
    world.containment.order(order(agent("a"))).await.unwrap();
    let listed = world.containment.list();
    let World { folder, clock, .. } = world;

    let (containment, _follower) = following(open(folder.path(), &clock), clock.clone()).await;
    assert_eq!(containment.list(), listed);
    assert_eq!(containment.check(&token.path()), Err(Denial::AgentRevoked));
    assert_eq!(containment.order(order(agent("a"))).await.unwrap().version, 1);
}

#[tokio::test]
async fn another_gateways_revocation_cuts_what_is_in_flight_here() {
    let world = World::open().await;
    let elsewhere = open(world.folder.path(), &world.clock);
    let (other, _follower) = following(elsewhere.clone(), world.clock.clone()).await;
    let call = Token::of(1, &["a"]).admit(&world.containment).unwrap();

    let report = other.order(order(agent("a"))).await.unwrap();
    assert_eq!(report.cut.attempts, 0, "each gateway counts its own");
    let guarded = call.guard(std::future::pending::<()>()).await;
    assert_eq!(guarded, Err(Denial::AgentRevoked));
    drop(call);
    world.follower.caught_up(elsewhere.changes(0, 0).await.unwrap().head).await;
    assert_eq!(world.containment.list(), other.list());
    let again = world.containment.order(order(agent("a"))).await.unwrap();
    assert_eq!((again.version, again.cut.attempts), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_version_changes_with_what_is_denied_and_only_then() {
    let world = Shelved::open().await;
    let none = world.containment.version();
    world.containment.order(order(agent("a"))).await.unwrap();
    let one = world.containment.version();
    assert_ne!(none, one);
    world.containment.order(Order { reason: Reason::Superseded, ..order(agent("a")) }).await.unwrap();
    world.follower.caught_up(1).await;
    assert_eq!(world.containment.version(), one);
}

#[tokio::test]
async fn an_order_that_cannot_be_written_is_not_in_force() {
    let world = Shelved::open().await;
    world.shelf.fail(true);
    let failed = world.containment.order(order(agent("a"))).await.unwrap_err();
    assert_eq!(failed.to_string(), "the order could not be recorded");
    assert_eq!(world.containment.list(), []);
}

#[tokio::test]
async fn orders_of_many_at_once_all_come_into_force() {
    let world = World::open().await;
    let orders = (0..16).map(|n| {
        let containment = world.containment.clone();
        let cutoff = Some(at(n));
        tokio::spawn(async move { containment.order(Order { cutoff, ..order(agent("a")) }).await })
    });
    for order in orders.collect::<Vec<_>>() {
        order.await.unwrap().unwrap();
    }
    let list = world.containment.list();
    assert_eq!(list.iter().map(|entry| entry.cutoff).collect::<Vec<_>>(), [Some(at(15))]);
}

#[tokio::test]
async fn of_many_entries_each_denies_its_own_name_alone() {
    let world = Shelved::open().await;
    let name = |n: u32| format!("agent-{n}");
    let body = r#"{"state":"revoked","reason":"compromise","cutoff":null,"by":"operator","at":0}"#;
    let records = (0..5000).step_by(2).map(|n| Record {
        kind: Kind::Deny,
        key: agent(&name(n)).to_string(),
        version: 1,
        parent: None,
        subject: None,
        expires_at: None,
        body: body.to_owned(),
    });
    world.containment.reset(records.collect()).unwrap();
    for n in 0..5000 {
        let denied = (n % 2 == 0).then_some(Denial::AgentRevoked);
        assert_eq!(Token::of(n, &[&name(n)]).fate(&world.containment), denied, "{n}");
    }
    assert_eq!(world.containment.list().len(), 2500);
}
