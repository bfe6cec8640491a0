use vestibule_containment::{DenyKey, Foreign, KeyKind, Order, Reason, State};
use vestibule_model::{AgentId, AppId, Behind, Denial, TokenId, UserId};

use crate::world::{Shelved, Token, agent, foreign, key_of, node, order, suspend};

/// A name of each kind that is on the path of a child's token, and how it is refused when the name is revoked.
fn names(token: &Token) -> Vec<(DenyKey, Denial)> {
    let alice = UserId { issuer: "https://idp".to_owned(), subject: "alice".to_owned() };
    vec![
        (token.key(), Denial::TokenRevoked),
        (DenyKey::Delegation(node("root")), Denial::DelegationRevoked),
        (DenyKey::Delegation(node("child")), Denial::DelegationRevoked),
        (agent("root"), Denial::AgentRevoked),
        (agent("child"), Denial::AgentRevoked),
        (DenyKey::Credential(key_of("root")), Denial::CredentialRevoked),
        (DenyKey::Credential(key_of("child")), Denial::CredentialRevoked),
        (DenyKey::User(alice), Denial::UserRevoked),
        (DenyKey::Session(foreign("s-1")), Denial::SessionRevoked),
        (DenyKey::Client(foreign("c-1")), Denial::ClientRevoked),
        (DenyKey::App(AppId::new("github").unwrap()), Denial::AppRevoked),
        (DenyKey::All, Denial::AllRevoked),
    ]
}

fn child() -> Token {
    Token::of(1, &["root", "child"]).of_user("alice", "s-1", "c-1").to("github")
}

/// Shares no name with the child's but that of everything.
fn stranger() -> Token {
    Token::of(2, &["stranger"]).of_user("bob", "s-2", "c-2").to("gitlab")
}

#[tokio::test(start_paused = true)]
async fn whatever_kind_of_name_is_revoked_dies_and_nothing_else_does() {
    let (child, stranger) = (child(), stranger());
    for (key, denial) in names(&child) {
        let Shelved { containment, follower: _follower, .. } = Shelved::open().await;
        let spared = |denial| Some(denial).filter(|_| key == DenyKey::All);
        let running = [&child, &stranger].map(|token| token.admit(&containment).unwrap());
        let report = containment.order(order(key.clone())).await.unwrap();
        assert_eq!(
            (report.kind, report.id, report.state),
            (key.kind(), key.id().into_owned(), State::Revoked)
        );
        assert_eq!(report.cut.attempts, if key == DenyKey::All { 2 } else { 1 }, "{key}");
        assert_eq!(running[0].cut(), Some(denial), "{key}");
        assert_eq!(running[1].cut(), spared(denial), "{key}");
        assert_eq!(child.fate(&containment), Some(denial), "{key}");
        assert_eq!(containment.check(&child.path()), Err(denial), "{key}");
        assert_eq!(stranger.fate(&containment), spared(denial), "{key}");
    }
    let kinds: Vec<_> = names(&child).iter().map(|(key, _)| key.kind()).collect();
    assert!(KeyKind::ALL.iter().all(|kind| kinds.contains(kind)), "every kind is tried");
}

#[tokio::test(start_paused = true)]
async fn whatever_kind_of_name_is_suspended_stops_until_it_is_resumed() {
    let (child, stranger) = (child(), stranger());
    for (key, _) in names(&child) {
        let Shelved { containment, follower: _follower, .. } = Shelved::open().await;
        let running = child.admit(&containment).unwrap();
        let report = containment.order(suspend(key.clone())).await.unwrap();
        assert_eq!((report.state, report.cut.attempts), (State::Suspended, 1), "{key}");
        assert_eq!(running.cut(), Some(Denial::AgentSuspended), "{key}");
        assert_eq!(child.fate(&containment), Some(Denial::AgentSuspended), "{key}");
        assert_eq!(containment.check(&child.path()), Err(Denial::AgentSuspended), "{key}");
        assert_eq!(stranger.fate(&containment).is_some(), key == DenyKey::All, "{key}");

        let lifted = containment.resume(&key, "operator").await.unwrap();
        assert_eq!((lifted.key, lifted.state), (key.clone(), State::Suspended));
        assert_eq!(child.fate(&containment), None, "{key}");
        assert_eq!(containment.check(&child.path()), Ok(()), "{key}");
        assert_eq!(running.cut(), Some(Denial::AgentSuspended), "what was cut stays cut");
        assert_eq!(containment.list(), []);
    }
}

#[tokio::test(start_paused = true)]
async fn every_reason_but_one_cascades() {
    for reason in [Reason::Compromise, Reason::KeyCompromise, Reason::PolicyViolation, Reason::Unspecified] {
        let Shelved { containment, follower: _follower, .. } = Shelved::open().await;
        let running = child().admit(&containment).unwrap();
        let order = Order { reason, ..order(agent("root")) };
        assert_eq!(containment.order(order).await.unwrap().reason, reason);
        assert_eq!(running.cut(), Some(Denial::AgentRevoked), "{reason:?}");
        assert_eq!(child().fate(&containment), Some(Denial::AgentRevoked), "{reason:?}");
    }
}

#[tokio::test]
async fn a_name_counts_with_its_issuer() {
    let Shelved { containment, follower: _follower, .. } = Shelved::open().await;
    let elsewhere = |kind, name: &str| DenyKey::new(kind, &format!("https://other#{name}")).unwrap();
    for (kind, name) in [(KeyKind::User, "alice"), (KeyKind::Session, "s-1"), (KeyKind::Client, "c-1")] {
        containment.order(order(elsewhere(kind, name))).await.unwrap();
    }
    assert_eq!(child().fate(&containment), None);
}

#[tokio::test]
async fn a_revocation_is_told_before_a_suspension_and_else_the_first_name() {
    let Shelved { containment, follower: _follower, .. } = Shelved::open().await;
    let (child, all) = (child(), names(&child()));
    for (key, _) in &all {
        containment.order(suspend(key.clone())).await.unwrap();
    }
    assert_eq!(child.fate(&containment), Some(Denial::AgentSuspended));
    // From the last to the first: each that comes is told before those that were there.
    for (key, denial) in all.iter().rev() {
        containment.order(order(key.clone())).await.unwrap();
        assert_eq!(child.fate(&containment), Some(*denial), "{key}");
    }
}

#[tokio::test]
async fn nobody_is_not_admitted() {
    let Shelved { containment, follower: _follower, .. } = Shelved::open().await;
    let token = Token { agents: Vec::new(), ..child() };
    assert_eq!(token.fate(&containment), Some(Denial::AgentUnknown));
}

#[tokio::test(start_paused = true)]
async fn a_token_of_an_outside_issuer_dies_with_it_and_with_whoever_stands_behind_it() {
    let id = |jti| TokenId::foreign("https://idp", jti).unwrap();
    let outside = Token {
        jti: id("t-1"),
        behind: Some(Behind {
            clients: vec![foreign("ci"), foreign("former")],
            agents: vec![AgentId::new("b").unwrap()],
        }),
        ..Token::of(1, &["a"])
    };
    let ours = Token::of(2, &["a"]);
    for (key, denial) in [
        (outside.key(), Denial::TokenRevoked),
        (DenyKey::Client(foreign("ci")), Denial::ClientRevoked),
        (DenyKey::Client(foreign("former")), Denial::ClientRevoked),
        (agent("b"), Denial::AgentRevoked),
    ] {
        let Shelved { containment, follower: _follower, .. } = Shelved::open().await;
        let running = [&outside, &ours].map(|token| token.admit(&containment).unwrap());
        containment.order(order(key.clone())).await.unwrap();
        assert_eq!([running[0].cut(), running[1].cut()], [Some(denial), None], "{key}");
        assert_eq!(outside.fate(&containment), Some(denial), "{key}");
    }
    let Shelved { containment, follower: _follower, .. } = Shelved::open().await;
    let elsewhere = Foreign { issuer: "https://other".to_owned(), name: "ci".to_owned() };
    for key in [
        DenyKey::Client(elsewhere),
        DenyKey::Token(id("t-2")),
        DenyKey::Token(TokenId::foreign("https://other", "t-1").unwrap()),
    ] {
        containment.order(order(key)).await.unwrap();
    }
    assert_eq!(outside.fate(&containment), None, "the same name at another issuer is another name");
}

#[tokio::test(start_paused = true)]
async fn the_revocation_of_a_token_that_another_issuer_made_is_kept_however_long_that_one_lives() {
    let Shelved { containment, clock, follower: _follower, shelf } = Shelved::open().await;
    let outside = Token { jti: TokenId::foreign("https://idp", "t").unwrap(), ..Token::of(1, &["a"]) };
    containment.order(order(outside.key())).await.unwrap();
    containment.order(order(Token::of(2, &["a"]).key())).await.unwrap();
    clock.advance(std::time::Duration::from_secs(26 * 3600));
    shelf.polled(2).await;
    assert_eq!(outside.fate(&containment), Some(Denial::TokenRevoked));
    assert_eq!(Token::of(2, &["a"]).fate(&containment), None, "none of ours lives longer than a day");
}
