//! The parameters of a token exchange (RFC 8693 §2.1), whatever is exchanged.

use serde_json::json;
use vestibule_issuer::Reason;

use crate::{
    holder::{ACCESS_TOKEN, EXCHANGE, ID_TOKEN, JWT},
    support::{Ground, SANDBOX, World, worker},
};

#[tokio::test]
async fn what_is_missing_doubled_or_not_served_is_refused_with_a_reason_of_its_own() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    let token = ("subject_token", root.token.as_str());
    let kind = ("subject_token_type", ACCESS_TOKEN);
    let actor = ("actor_token", "a.b.c");
    for (form, reason, error) in [
        (vec![], Reason::SubjectTokenMissing, "invalid_request"),
        (vec![token], Reason::SubjectTokenMissing, "invalid_request"),
        (vec![kind], Reason::SubjectTokenMissing, "invalid_request"),
        (vec![token, kind, actor], Reason::ActorTokenIncomplete, "invalid_request"),
        (vec![token, kind, ("actor_token_type", JWT)], Reason::ActorTokenIncomplete, "invalid_request"),
        (
            vec![token, kind, actor, ("actor_token_type", ACCESS_TOKEN)],
            Reason::ActorTypeUnsupported,
            "invalid_request",
        ),
        (
            vec![token, ("subject_token_type", ID_TOKEN), actor, ("actor_token_type", JWT)],
            Reason::ActorTokenUnexpected,
            "invalid_request",
        ),
        (
            vec![token, ("subject_token_type", JWT), actor, ("actor_token_type", JWT)],
            Reason::ActorTokenUnexpected,
            "invalid_request",
        ),
        (
            vec![("subject_token", "not ours"), kind, actor, ("actor_token_type", JWT)],
            Reason::ActorTokenUnexpected,
            "invalid_request",
        ),
        (
            vec![token, ("subject_token_type", "urn:ietf:params:oauth:token-type:refresh_token")],
            Reason::SubjectTypeUnsupported,
            "invalid_request",
        ),
        (
            vec![token, ("subject_token_type", "urn:ietf:params:oauth:token-type:saml2")],
            Reason::SubjectTypeUnsupported,
            "invalid_request",
        ),
        (
            vec![token, kind, ("requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token")],
            Reason::RequestedTypeUnsupported,
            "invalid_request",
        ),
        (vec![token, kind, ("audience", SANDBOX)], Reason::AudienceRefused, "invalid_target"),
        (vec![token, token, kind], Reason::RequestMalformed, "invalid_request"),
    ] {
        let headers = world.proof(&root.key, Some(&root.token));
        let form = [vec![("grant_type", EXCHANGE)], form].concat();
        let refused = world.token(&headers, &form).await.unwrap_err();
        assert_eq!((refused.reason, refused.body()["error"].as_str()), (reason, Some(error)), "{form:?}");
    }
}

#[tokio::test]
async fn the_answer_says_what_was_issued() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    for (asked, issued) in [
        (vec![], ACCESS_TOKEN),
        (vec![("requested_token_type", ACCESS_TOKEN)], ACCESS_TOKEN),
        (vec![("requested_token_type", JWT)], JWT),
    ] {
        let body = world.exchange(&root, &asked).await.unwrap().body();
        assert_eq!(body["issued_token_type"], issued);
        assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("DPoP"), &json!(120)));
    }
}
