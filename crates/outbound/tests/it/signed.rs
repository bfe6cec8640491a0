//! Tokens that the gateway signs itself: an assertion or a transaction token for each call.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use vestibule_model::FaultKind;
use vestibule_outbound::{Access, AssertionConfig, TxnTokenConfig, Withdrawal};

use super::*;
use crate::world::{caller, permit_of};

const ISSUER: &str = "https://gateway.test";

const NOW: i64 = 1_800_000_000;
/// SHA-256 of `{}`.
const EMPTY_DIGEST: &str = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

fn assertion(text: &str) -> StrategyConfig {
    StrategyConfig::Assertion(serde_saphyr::from_str::<AssertionConfig>(text).unwrap())
}

fn txn_token() -> StrategyConfig {
    let text = "{ trust_domain: bank.example, life_seconds: 15 }";
    StrategyConfig::TxnToken(serde_saphyr::from_str::<TxnTokenConfig>(text).unwrap())
}

/// Alice, through four agents. Their delegation ends after `life`.
fn chain(life: Duration) -> Caller {
    let alice = caller(Some("alice"), &["a", "b", "c", "d"]);
    let facts = TokenFacts {
        node_expires_at: clock().now().plus(life),
        scopes: ["profile".to_owned(), "repo".to_owned()].into(),
        ..alice.token().clone()
    };
    Caller::for_test(alice.represented().cloned(), alice.chain().clone(), facts)
}

/// The value of every header of that name.
fn values(asked: &str, name: &str) -> Vec<String> {
    let lines = asked.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).collect()
}

fn part(token: &str, index: usize) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(index).unwrap()).unwrap()).unwrap()
}

/// An application that trusts the gateway.
struct Scene {
    upstream: Upstream,
    outbound: Outbound,
}

impl Scene {
    async fn new(strategy: StrategyConfig) -> Self {
        let upstream = Upstream::ok().await;
        Self { outbound: outbound(&upstream.url, strategy), upstream }
    }

    /// The claims of the token that comes with a call.
    async fn claims(&mut self, access: Access) -> Value {
        self.outbound.call(access, plain()).await.unwrap();
        self.last().await
    }

    /// The claims of the next token that comes.
    async fn last(&mut self) -> Value {
        let asked = self.upstream.asked.recv().await.unwrap();
        let tokens = [values(&asked, "authorization"), values(&asked, "txn-token")].concat();
        assert_eq!(tokens.len(), 1, "{asked}");
        part(tokens[0].trim_start_matches("Bearer "), 1)
    }

    async fn obtain(&self, permit: Permit) -> Access {
        self.outbound.obtain(permit, &calling(1)).await.unwrap()
    }
}

/// A request of an agent that brings tokens of its own under every name.
fn meddling() -> Forward {
    let mut request = request();
    for name in ["txn-token", "x-caller", "authorization"] {
        request.headers.append(name, HeaderValue::from_static("agents-own"));
        request.headers.append(name, HeaderValue::from_static("agents-other"));
    }
    request
}

#[tokio::test]
async fn an_assertion_names_the_user_every_agent_and_the_one_operation() {
    let mut upstream = Upstream::ok().await;
    let outbound = outbound(&upstream.url, assertion("{ audience: ledger, life_seconds: 20 }"));
    let permit = permit_of(chain(Duration::from_secs(3600)), "transfer");
    let access = outbound.obtain(permit, &calling(1)).await.unwrap();
    assert_eq!(access.facts().strategy, "assertion");
    outbound.call(access, meddling()).await.unwrap();

    let asked = upstream.asked.recv().await.unwrap();
    let authorization = values(&asked, "authorization");
    assert_eq!((authorization.len(), values(&asked, "txn-token").len()), (1, 0), "{asked}");
    let token = authorization[0].strip_prefix("Bearer ").unwrap();
    assert_eq!(part(token, 0)["typ"], "vst-assertion+jwt");
    let mut claims = part(token, 1);
    let jti = claims["jti"].take();
    assert_eq!(jti.as_str().unwrap().len(), 32);
    let acti = claims["acti"].take();
    assert!(acti.is_string());
    let innermost = json!({ "iss": ISSUER, "sub": "a" });
    let act = |act: Value, sub: &&str| json!({ "iss": ISSUER, "sub": sub, "act": act });
    let act = ["b", "c", "d"].iter().fold(innermost, act);
    assert_eq!(
        claims,
        json!({
            "iss": ISSUER, "aud": "ledger", "sub": "alice", "client_id": "d", "jti": null, "acti": null,
            "sub_id": { "format": "iss_sub", "iss": "https://idp.test", "sub": "alice" },
            "act": act,
            "vst_op": {
                "app": "app", "operation": "transfer", "args_digest": EMPTY_DIGEST, "attempt": calling(1).attempt,
            },
            "iat": NOW, "exp": NOW + 20,
        })
    );
}

#[tokio::test]
async fn an_assertion_in_a_header_of_its_own_replaces_what_the_agent_sent_there() {
    let mut upstream = Upstream::ok().await;
    let outbound = outbound(&upstream.url, assertion("{ audience: ledger, header: X-Caller }"));
    let access = outbound.obtain(permit(), &calling(1)).await.unwrap();
    outbound.call(access, meddling()).await.unwrap();
    let asked = upstream.asked.recv().await.unwrap();
    assert_eq!(values(&asked, "authorization"), [""; 0]);
    assert_eq!(values(&asked, "txn-token"), [""; 0]);
    let caller = values(&asked, "x-caller");
    assert_eq!(caller.len(), 1, "{asked}");
    assert_eq!(part(&caller[0], 0)["typ"], "vst-assertion+jwt");
}

/// draft-ietf-oauth-transaction-tokens, "Txn-Token HTTP Header" and "Txn-Token Claims".
#[tokio::test]
async fn a_transaction_token_has_every_claim_it_must_have_and_stands_once_in_its_header() {
    let mut upstream = Upstream::ok().await;
    let outbound = outbound(&upstream.url, txn_token());
    let permit = permit_of(chain(Duration::from_secs(3600)), "transfer all");
    let access = outbound.obtain(permit, &calling(1)).await.unwrap();
    assert_eq!(access.facts().strategy, "txn-token");
    outbound.call(access, meddling()).await.unwrap();

    let asked = upstream.asked.recv().await.unwrap();
    // MUST be exactly one, and MUST NOT be `Authorization`.
    assert_eq!(values(&asked, "authorization"), [""; 0]);
    let tokens = values(&asked, "txn-token");
    assert_eq!(tokens.len(), 1, "{asked}");
    // MUST be `txntoken+jwt`.
    assert_eq!(part(&tokens[0], 0)["typ"], "txntoken+jwt");
    let claims = part(&tokens[0], 1);
    for (name, expected) in [
        // MUST: `iat`, `aud` the trust domain, `exp`, `txn`, `sub`, `scope`, `req_wl`.
        ("iat", json!(NOW)),
        ("aud", json!("bank.example")),
        ("exp", json!(NOW + 15)),
        ("txn", json!(calling(1).attempt)),
        ("sub", json!("alice")),
        ("scope", json!("transfer%20all")),
        ("req_wl", json!("d")),
        ("iss", json!(ISSUER)),
        (
            "tctx",
            json!({
                "app": "app", "operation": "transfer all", "args_digest": EMPTY_DIGEST,
                "attempt": calling(1).attempt,
            }),
        ),
        ("rctx", json!({ "scope": "profile repo" })),
    ] {
        assert_eq!(claims[name], expected, "{name}");
    }
    assert_eq!((&claims["act"]["sub"], &claims["act"]["act"]["sub"]), (&json!("d"), &json!("c")));
    assert!(claims.get("vst").is_none() && claims.get("cnf").is_none(), "nothing that opens our doors");
}

#[tokio::test]
async fn every_call_gets_a_token_of_its_own() {
    for strategy in [assertion("{ audience: ledger }"), txn_token()] {
        let mut scene = Scene::new(strategy).await;
        let mut names = Vec::new();
        // The same call obtained twice, too: nothing is kept.
        for n in [1, 1, 2] {
            let access = scene.outbound.obtain(permit(), &calling(n)).await.unwrap();
            names.push(scene.claims(access).await["jti"].to_string());
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 3);
    }
}

#[tokio::test]
async fn a_token_does_not_outlive_the_authority_of_its_caller() {
    for strategy in [assertion("{ audience: ledger, life_seconds: 60 }"), txn_token()] {
        let mut scene = Scene::new(strategy).await;
        for (life, exp) in [(12, NOW + 12), (1, NOW + 1)] {
            let permit = permit_of(chain(Duration::from_secs(life)), "x");
            let access = scene.obtain(permit).await;
            assert_eq!(scene.claims(access).await["exp"], exp);
        }
        let permit = permit_of(chain(Duration::ZERO), "x");
        let stop = scene.outbound.obtain(permit, &calling(1)).await.unwrap_err();
        assert_eq!(stop.code(), FaultKind::AccessUnavailable.code());
    }
}

#[tokio::test]
async fn an_agent_for_itself_is_the_subject() {
    let mut scene = Scene::new(assertion("{ audience: ledger }")).await;
    let access = scene.obtain(permit()).await;
    let claims = scene.claims(access).await;
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!("agent"), &json!("agent")));
    assert!(claims.get("act").is_none() && claims.get("sub_id").is_none(), "{claims}");
}

#[tokio::test]
async fn a_call_without_arguments_has_no_digest() {
    let mut scene = Scene::new(assertion("{ audience: ledger }")).await;
    let calling = Calling { args_digest: None, ..calling(1) };
    let permit = permit_of(chain(Duration::from_secs(60)), "tools/list");
    let access = scene.outbound.obtain(permit, &calling).await.unwrap();
    let claims = scene.claims(access).await;
    assert_eq!(claims["vst_op"]["operation"], "tools/list");
    assert!(claims["vst_op"].get("args_digest").is_none(), "{claims}");
}

#[tokio::test]
async fn a_question_of_the_gateways_own_is_on_nobodys_behalf() {
    for (strategy, request) in [(assertion("{ audience: ledger }"), "vst_op"), (txn_token(), "tctx")] {
        let mut scene = Scene::new(strategy).await;
        let access = scene.outbound.obtain_own(&app()).await.unwrap();
        let claims = scene.claims(access).await;
        assert_eq!((&claims["sub"], &claims[request]), (&json!(ISSUER), &json!({ "app": "app" })));
        for name in ["client_id", "act", "sub_id", "acti"] {
            assert!(claims.get(name).is_none(), "{name}: {claims}");
        }
        if request == "tctx" {
            assert_eq!((&claims["scope"], &claims["req_wl"]), (&json!("vestibule:own"), &json!(ISSUER)));
            assert_eq!(claims["txn"], claims["jti"]);
        }
    }
}

#[tokio::test]
async fn the_message_that_a_call_is_over_has_a_token_of_its_own() {
    for (strategy, request, marked) in
        [(assertion("{ audience: ledger }"), "vst_op", "vst_op"), (txn_token(), "tctx", "rctx")]
    {
        let mut scene = Scene::new(strategy).await;
        let access = scene.obtain(permit_of(chain(Duration::from_secs(5)), "x")).await;
        let withdrawal: Withdrawal = scene.outbound.withdrawal(&access, HeaderMap::new()).unwrap();
        let call = scene.claims(access).await;
        // Not beyond the delegation, which may be what ended the call; the message about that is sent all the same.
        assert_eq!(call["exp"], NOW + 5);
        scene.outbound.withdraw(withdrawal, "{}".into()).await.unwrap();
        let message = scene.last().await;
        assert!(message["exp"].as_i64() > Some(NOW + 5), "{message}");
        assert_ne!(call["jti"], message["jti"]);
        assert_eq!((&call["sub"], &call["act"]), (&message["sub"], &message["act"]));
        assert_eq!(call[request]["attempt"], message[request]["attempt"]);
        assert_eq!((call[marked].get("withdraws"), &message[marked]["withdraws"]), (None, &json!(true)));
        assert!(message[request].get("args_digest").is_none(), "{message}");
    }
}

#[tokio::test]
async fn what_cannot_work_is_refused_at_the_start() {
    let url = Url::parse("http://127.0.0.1:1/").unwrap();
    for (text, key) in [
        ("{ audience: '' }", "assertion.audience"),
        ("{ audience: https://gateway.test }", "assertion.audience"),
        ("{ audience: https://gateway.test/oauth/token }", "assertion.audience"),
        ("{ audience: ledger, header: 'x y' }", "assertion.header"),
        ("{ audience: ledger, header: Authorization }", "assertion.header"),
        ("{ audience: ledger, header: Txn-Token }", "assertion.header"),
        ("{ audience: ledger, header: X-Forwarded-User }", "assertion.header"),
        ("{ audience: ledger, header: x_caller }", "assertion.header"),
    ] {
        let error = open(&url, assertion(text), clock()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("`access.{key}` of application `app` ")), "{text}: {error}");
    }
    let neighbour = open(&url, assertion("{ audience: https://gateway.test.other }"), clock());
    assert!(neighbour.is_ok());
    let error = open(
        &url,
        StrategyConfig::TxnToken(TxnTokenConfig {
            trust_domain: String::new(),
            life_seconds: Default::default(),
        }),
        clock(),
    );
    assert!(error.unwrap_err().to_string().contains("txn-token.trust_domain"));
    for seconds in [0, 9, 61, 3600] {
        let error =
            serde_saphyr::from_str::<AssertionConfig>(&format!("{{ audience: a, life_seconds: {seconds} }}"));
        assert!(error.unwrap_err().to_string().contains("must be 10 to 60"), "{seconds}");
    }
}

#[tokio::test]
async fn no_debug_text_and_no_description_shows_a_token() {
    let upstream = Upstream::ok().await;
    let outbound = outbound(&upstream.url, txn_token());
    let access = outbound.obtain(permit(), &calling(1)).await.unwrap();
    let withdrawal = outbound.withdrawal(&access, HeaderMap::new()).unwrap();
    let shown = format!("{outbound:?} {access:?} {withdrawal:?} {:?}", outbound.probe(&app()).await);
    assert!(shown.contains("header `txn-token` [redacted]") && !shown.contains("eyJ"), "{shown}");
}
