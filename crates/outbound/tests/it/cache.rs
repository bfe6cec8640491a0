//! Which calls share a token, for how long, and how often a server is asked.

use std::{future::poll_fn, pin::pin, task::Poll};

use futures_util::future::join_all;
use vestibule_model::{FaultKind, Stop};
use vestibule_testkit::Answer;

use super::{
    world::{World, caller},
    *,
};

const PER_APP: &str = "client-credentials: { server: corp, scopes: { default: [read] } }";
const PER_AGENT: &str = "client-credentials: { server: corp, per: agent }";
const EXCHANGE: &str = "token-exchange: { server: corp, subject: assertion, actor: chain }";

fn alone(agent: &str) -> Caller {
    caller(None, &[agent])
}

#[tokio::test]
async fn a_hundred_calls_at_once_make_one_token_request() {
    let world = World::new(PER_APP).await;
    world.server.served().hold();
    let calls = join_all((0..100).map(|_| world.obtain(alone("a"))));
    let release = async {
        world.server.served().wait_for(1).await;
        world.server.served().release();
    };
    let (calls, ()) = tokio::join!(calls, release);
    assert!(calls.iter().all(Result::is_ok));
    assert_eq!(world.asked(), 1);
}

#[tokio::test]
async fn a_call_that_leaves_takes_nobodys_token_with_it() {
    let world = World::new(PER_APP).await;
    world.server.served().hold();
    {
        let mut first = pin!(world.obtain(alone("a")));
        poll_fn(|context| Poll::Ready(first.as_mut().poll(context).is_pending())).await;
        world.server.served().wait_for(1).await;
        // Here the first call is cut.
    }
    let second = async {
        let release = async { world.server.served().release() };
        tokio::join!(world.obtain(alone("b")), release).0
    };
    assert!(second.await.is_ok());
    assert_eq!(world.asked(), 1);
}

#[tokio::test]
async fn each_key_has_a_token_of_its_own() {
    let world = World::new(PER_APP).await;
    assert_eq!(world.token(alone("a")).await, world.token(alone("b")).await, "the application's");

    let world = World::new(PER_AGENT).await;
    assert_ne!(world.token(alone("a")).await, world.token(alone("b")).await, "each agent's");
    assert_eq!(
        world.token(alone("a")).await,
        world.token(caller(Some("u"), &["x", "a"])).await,
        "one agent's"
    );

    let world = World::new(EXCHANGE).await;
    let mut tokens = Vec::new();
    for (user, agents) in [("u", &["a"][..]), ("v", &["a"]), ("u", &["a", "b"]), ("u", &["c", "b"])] {
        tokens.push(world.token(caller(Some(user), agents)).await);
        tokens.push(world.token(caller(Some(user), agents)).await);
    }
    assert!(tokens.chunks(2).all(|pair| pair[0] == pair[1]));
    tokens.dedup();
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), 4, "no two users, agents or chains share a token");
}

#[tokio::test]
async fn an_operation_with_scopes_of_its_own_has_a_token_of_its_own() {
    let strategy = "client-credentials: { server: corp, scopes: { default: [read], operations: { delete: [read, write] } } }";
    let world = World::new(strategy).await;
    for (operation, scopes) in [("read", &["read"][..]), ("delete", &["read", "write"]), ("other", &["read"])]
    {
        let access = world.obtain_for(alone("a"), operation).await.unwrap();
        assert_eq!(access.facts().scopes, scopes, "{operation}");
    }
    let asked: Vec<_> = world.server.asked().into_iter().map(|form| form["scope"].clone()).collect();
    assert_eq!(asked, ["read", "read write"]);
}

#[tokio::test]
async fn a_token_is_used_until_shortly_before_its_end_and_renewed_ahead_in_the_background() {
    let world = World::new(PER_APP).await;
    let first = world.token(alone("a")).await;
    // It lives for 300 seconds: 60 before its end another one is asked for, and nobody waits for it.
    world.clock.advance(Duration::from_secs(239));
    assert_eq!(world.token(alone("a")).await, first);
    assert_eq!(world.asked(), 1);

    world.clock.advance(Duration::from_secs(1));
    world.server.served().hold();
    assert_eq!(world.token(alone("a")).await, first);
    assert_eq!(world.token(alone("a")).await, first);
    world.server.served().wait_for(2).await;
    world.server.served().release();
    // Nobody says when it is there: until then the first one is served.
    while world.token(alone("a")).await == first {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.asked(), 2);
}

#[tokio::test]
async fn a_token_that_could_not_be_renewed_ends_five_seconds_before_its_time() {
    let world = World::new(PER_APP).await;
    let first = world.token(alone("a")).await;
    world.server.refuse(Answer::new(503, ""));
    world.clock.advance(Duration::from_secs(294));
    assert_eq!(world.token(alone("a")).await, first);
    world.server.served().wait_for(2).await;

    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.fault(alone("a")).await.kind, FaultKind::AuthorizationServerUnavailable);
}

#[tokio::test]
async fn a_token_is_not_used_beyond_the_delegation_that_it_rests_on() {
    let world = World::new(EXCHANGE).await;
    world.server.twist(|issue| issue.answer["expires_in"] = serde_json::json!(86_400));
    let first = world.token(caller(Some("u"), &["a"])).await;
    // The node of the caller ends after an hour.
    world.clock.advance(Duration::from_secs(3599));
    assert_eq!(world.token(caller(Some("u"), &["a"])).await, first);
    assert_eq!(world.asked(), 1, "what would not live longer is not asked for ahead");
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.outbound.sweep(|_| false).len(), 1, "at its server it would live on");
    assert_eq!(world.fault(caller(Some("u"), &["a"])).await.kind, FaultKind::AccessUnavailable);
}

#[tokio::test]
async fn a_failure_answers_for_the_server_for_two_seconds() {
    let world = World::new(PER_APP).await;
    world.server.refuse(Answer::new(400, r#"{"error":"invalid_scope"}"#));
    for _ in 0..3 {
        assert_eq!(world.fault(alone("a")).await.kind, FaultKind::AccessUnavailable);
    }
    assert_eq!(world.asked(), 1);
    world.server.be_honest();
    world.clock.advance(Duration::from_millis(1_999));
    world.fault(alone("a")).await;
    world.clock.advance(Duration::from_millis(1));
    assert!(world.obtain(alone("a")).await.is_ok());
    assert_eq!(world.asked(), 2);
}

#[tokio::test]
async fn a_failure_of_one_user_is_not_that_of_another() {
    let world = World::new(EXCHANGE).await;
    world.server.twist(|issue| {
        if issue.claims["sub"] == "v" {
            issue.claims["sub"] = serde_json::json!("somebody");
        }
    });
    world.fault(caller(Some("v"), &["a"])).await;
    assert!(world.obtain(caller(Some("u"), &["a"])).await.is_ok());
}

#[tokio::test]
async fn without_a_user_there_is_no_token_and_the_caller_is_told_what_to_do() {
    let world = World::new(EXCHANGE).await;
    let Err(Stop::Denied(refusal)) = world.obtain(alone("a")).await else { panic!("refused") };
    assert_eq!(refusal.denial, vestibule_model::Denial::UserRequired);
    assert!(refusal.hints[0].contains("exchange a token of the user"), "{:?}", refusal.hints);
    assert_eq!(world.asked(), 0, "no token of the gateway's own stands in for it");
}
