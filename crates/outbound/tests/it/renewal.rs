//! Applications that refuse a token before its time.

use futures_util::future::join_all;

use super::{
    world::{World, caller},
    *,
};

const STRATEGY: &str = "client-credentials: { server: corp }";

fn agent() -> Caller {
    caller(None, &["a"])
}

#[tokio::test]
async fn a_refused_token_is_replaced_by_one_request_however_many_calls_it_was_refused_to() {
    let world = World::new(STRATEGY).await;
    let old = world.token(agent()).await;
    let mut renewals = Vec::new();
    for _ in 0..50 {
        renewals.push(world.obtain(agent()).await.unwrap().renewal().unwrap());
    }
    let renewed = join_all(renewals.into_iter().map(|renewal| world.outbound.renew(renewal))).await;
    assert!(renewed.iter().all(|access| matches!(access, Ok(Some(_)))));
    assert_eq!(world.asked(), 2);
    assert_ne!(world.token(agent()).await, old);
    let permit = renewed.into_iter().next().unwrap().unwrap().unwrap();
    assert_eq!(&*permit.permit().unwrap().operation().name, "read", "it is for the same call");
}

#[tokio::test]
async fn a_fresh_token_that_is_refused_too_is_not_replaced_at_once() {
    let world = World::new(STRATEGY).await;
    let renewal = |access: vestibule_outbound::Access| access.renewal().unwrap();
    let first = renewal(world.obtain(agent()).await.unwrap());
    let second = renewal(world.outbound.renew(first).await.unwrap().unwrap());
    assert!(world.outbound.renew(second).await.unwrap().is_none());
    assert_eq!(world.asked(), 2);

    world.clock.advance(Duration::from_secs(10));
    let third = renewal(world.obtain(agent()).await.unwrap());
    assert!(world.outbound.renew(third).await.unwrap().is_some());
    assert_eq!(world.asked(), 3);
}

#[tokio::test]
async fn a_question_of_the_gateways_own_that_is_refused_is_asked_with_another_token_the_next_time() {
    let world = World::new(STRATEGY).await;
    world.upstream.answer(vestibule_testkit::Answer::new(401, ""));
    for asked in 1..=2 {
        let access = world.outbound.obtain_own(&app()).await.unwrap();
        world.outbound.call(access, plain()).await.unwrap();
        assert_eq!(world.asked(), asked);
    }
    // The fresh one was refused just now, too.
    world.outbound.obtain_own(&app()).await.unwrap();
    assert_eq!(world.asked(), 2);
}

#[tokio::test]
async fn only_a_token_that_was_obtained_for_a_call_is_replaced() {
    let world = World::new(STRATEGY).await;
    assert!(world.outbound.obtain_own(&app()).await.unwrap().renewal().is_none());
    let bearer = StrategyConfig::Static(StaticConfig::Bearer { token: secret() });
    let url = Url::parse("http://127.0.0.1:1/").unwrap();
    for strategy in [StrategyConfig::None, bearer, called()] {
        let access = outbound(&url, strategy).obtain(permit(), &calling(1)).await.unwrap();
        assert!(access.renewal().is_none());
    }
}
