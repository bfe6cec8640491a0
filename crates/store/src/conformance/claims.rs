use std::sync::Arc;

use tokio::{sync::Barrier, task::JoinSet};
use vestibule_model::{FixedClock, Timestamp};

use super::{MINUTE, WRITERS, now};
use crate::Store;

pub(super) async fn of_16_racing_claims_one_is_accepted(store: Arc<dyn Store>, _: &FixedClock) {
    const ROUNDS: usize = 20;
    let start = Arc::new(Barrier::new(WRITERS));
    let mut racers = JoinSet::new();
    for _ in 0..WRITERS {
        let (store, start) = (Arc::clone(&store), Arc::clone(&start));
        racers.spawn(async move {
            let mut accepted = Vec::new();
            for round in 0..ROUNDS {
                start.wait().await;
                accepted.push(claim(&store, "realm", &round.to_string(), now().plus(MINUTE)).await);
            }
            accepted
        });
    }
    let outcomes = racers.join_all().await;
    for round in 0..ROUNDS {
        let accepted = outcomes.iter().filter(|accepted| accepted[round]).count();
        assert_eq!(accepted, 1, "round {round}");
    }
}

pub(super) async fn an_expired_claim_frees_its_key(store: Arc<dyn Store>, clock: &FixedClock) {
    let until = now().plus(MINUTE);
    assert!(claim(&store, "realm", "key", until).await);
    assert_eq!(store.trim(now(), 0).await.unwrap(), 0, "a live claim is not trimmed");
    assert!(!claim(&store, "realm", "key", until).await);
    clock.advance(MINUTE);
    assert!(claim(&store, "realm", "key", until.plus(MINUTE)).await);
    assert!(!claim(&store, "realm", "key", until.plus(MINUTE)).await);
    clock.advance(MINUTE);
    assert_eq!(store.trim(until.plus(MINUTE), 0).await.unwrap(), 1);
}

pub(super) async fn realms_are_apart(store: Arc<dyn Store>, _: &FixedClock) {
    let until = now().plus(MINUTE);
    assert!(claim(&store, "assertion", "key", until).await);
    assert!(claim(&store, "code", "key", until).await);
    assert!(!claim(&store, "code", "key", until).await);
}

pub(super) async fn claims_that_cannot_be_remembered_are_refused(store: Arc<dyn Store>, _: &FixedClock) {
    let until = now().plus(MINUTE);
    let keys = [("a", until), ("dead", now()), ("a", until), ("b", until)];
    let keys = keys.map(|(key, until)| (key.to_owned(), until)).to_vec();
    assert_eq!(store.claim("realm", keys).await.unwrap(), [true, false, false, true]);
}

async fn claim(store: &Arc<dyn Store>, realm: &str, key: &str, until: Timestamp) -> bool {
    store.claim(realm, vec![(key.to_owned(), until)]).await.unwrap()[0]
}
