use vestibule_containment::{Cut, DenyKey, Order, Reason};
use vestibule_model::Denial;

use crate::world::{Shelved, Token, agent, key_of, node, order};

fn superseded(key: DenyKey) -> Order {
    Order { reason: Reason::Superseded, ..order(key) }
}

#[tokio::test]
async fn what_is_superseded_runs_on_and_only_its_presenter_gets_nothing_more() {
    let middle = Token::of(1, &["root", "middle"]);
    let leaf = Token::of(2, &["root", "middle", "leaf"]);
    for (key, denial) in [
        (agent("middle"), Denial::AgentRevoked),
        (DenyKey::Delegation(node("middle")), Denial::DelegationRevoked),
        (DenyKey::Credential(key_of("middle")), Denial::CredentialRevoked),
        (middle.key(), Denial::TokenRevoked),
    ] {
        let Shelved { containment, follower: _follower, .. } = Shelved::open().await;
        let running = [&middle, &leaf].map(|token| token.admit(&containment).unwrap());
        let report = containment.order(superseded(key.clone())).await.unwrap();
        assert_eq!(report.cut, Cut { attempts: 0, streams: 0, nodes: 0 }, "{key}");
        assert!(running.iter().all(|running| running.cut().is_none()), "{key}");
        assert_eq!([&middle, &leaf].map(|token| token.fate(&containment)), [None, None], "{key}");
        assert_eq!(containment.check(&middle.path()), Err(denial), "{key}: no more is minted for it");
        assert_eq!(containment.check(&leaf.path()), Ok(()), "{key}: its descendants go on");
    }
}

#[tokio::test]
async fn a_name_that_is_everybodys_ends_all_minting_when_it_is_superseded() {
    let Shelved { containment, follower: _follower, .. } = Shelved::open().await;
    let leaf = Token::of(2, &["root", "leaf"]);
    containment.order(superseded(DenyKey::All)).await.unwrap();
    assert_eq!(leaf.fate(&containment), None);
    assert_eq!(containment.check(&leaf.path()), Err(Denial::AllRevoked));
}

#[tokio::test(start_paused = true)]
async fn a_reason_that_cascades_takes_the_place_of_one_that_does_not_and_stays() {
    let Shelved { containment, follower: _follower, .. } = Shelved::open().await;
    let token = Token::of(1, &["a"]);
    let running = token.admit(&containment).unwrap();
    containment.order(superseded(agent("a"))).await.unwrap();
    let report = containment.order(order(agent("a"))).await.unwrap();
    assert_eq!((report.version, report.reason, report.cut.attempts), (2, Reason::Compromise, 1));
    assert_eq!(running.cut(), Some(Denial::AgentRevoked));
    let again = containment.order(superseded(agent("a"))).await.unwrap();
    assert_eq!((again.version, again.reason), (2, Reason::Compromise));
}
