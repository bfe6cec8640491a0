//! Every kind of token at every place that takes one: it works where it belongs, and nowhere else. The attack is to have
//! one taken for another, and so to have what it says believed in a place for which nobody checked it.

mod table;

use serde_json::{Value, json};
use vestibule_model::{Jti, OsEntropy};
use vestibule_testkit::{AgentKey, Call, Holder, Http, Reply, TestAgent, token_hash};

use super::{ACCESS_TOKEN, EXCHANGE, ID_TOKEN, JWT, PERMIT_ALL, Scene, key};

use table::{
    Kind,
    Place::{
        self, Bearer, ClientAssertion, Dpop, Introspection, Revocation, SubjectAccess, SubjectId, SubjectJwt,
    },
    TABLE,
};

const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Everybody who is needed. `helper` is the one that is called, and that presents whatever it has.
struct Bazaar {
    scene: Scene,
    registered: AgentKey,
    call_token: String,
    told: [String; 2],
    _call: tokio::task::JoinHandle<Reply>,
}

impl Bazaar {
    async fn new() -> Self {
        let scene = Scene::with("{}", PERMIT_ALL).await;
        let registered = key();
        let keyed = json!({ "id": "keyed", "groups": ["testers"], "jwks": registered.jwks() });
        scene.gateway.post("/admin/v1/agents", &keyed).await;
        let told =
            [told(&scene, "trusting", "authorization").await, told(&scene, "domain", "txn-token").await];
        let (call, call_token) = scene.calling(scene.caller().await).await;
        Self { scene, registered, call_token, told, _call: call }
    }

    /// A fresh token of that kind, for `root` where it is for somebody.
    fn token(&self, kind: Kind, root: &Holder) -> String {
        let (now, issuer) = (self.scene.gateway.clock.now(), self.scene.gateway.url(""));
        match kind {
            Kind::Hop => root.token().to_owned(),
            Kind::Call => self.call_token.clone(),
            Kind::ForApplication => self.told[0].clone(),
            Kind::Transaction => self.told[1].clone(),
            Kind::Id => self.scene.users.id_token("alice", "helper-client", now, &json!({})),
            Kind::Actor => {
                let child = key();
                root.actor_token(&child, &child.agent())
            }
            Kind::Proof => root.proof("GET", &format!("{}/repos", self.scene.api())),
            Kind::Assertion => {
                let claims = json!({
                    "iss": "keyed", "sub": "keyed", "aud": issuer, "iat": now.seconds(), "exp": now.seconds() + 60,
                    "jti": Jti::random(&OsEntropy),
                });
                let header = json!({ "alg": "ES256", "typ": "JWT", "kid": "key" });
                self.registered.sign(&header.to_string(), &claims.to_string())
            }
        }
    }

    /// A proof of the key of `root`, about that token.
    fn proof(&self, root: &Holder, token: &str, method: &str, url: &str) -> String {
        root.key().proof(&json!({
            "jti": Jti::random(&OsEntropy), "htm": method, "htu": url, "nonce": root.nonce(),
            "iat": self.scene.gateway.clock.now().seconds(), "ath": token_hash(token),
        }))
    }

    /// Presents it with everything else as it should be.
    fn presented(&self, token: &str, place: Place, root: &Holder) -> Call {
        let (list, endpoint) =
            (format!("{}/repos", self.scene.api()), self.scene.gateway.url("/oauth/token"));
        let exchange = |kind: &str| {
            let api = self.scene.api();
            let mut form =
                vec![("grant_type", EXCHANGE), ("subject_token", token), ("subject_token_type", kind)];
            // A hop token is its own proof of who asks, and says what it is for.
            if kind != ACCESS_TOKEN {
                form.push(("resource", &*api));
            }
            let helper: &TestAgent = &self.scene.helper;
            helper.form(&form).header("dpop", &self.proof(root, token, "POST", &endpoint))
        };
        let asked_at =
            |path: &str| self.scene.helper.form_at(&self.scene.gateway.url(path), &[("token", token)]);
        match place {
            Bearer => Http::get(&list).bearer(token),
            Dpop => Http::get(&list)
                .header("authorization", &format!("DPoP {token}"))
                .header("dpop", &self.proof(root, token, "GET", &list)),
            SubjectAccess => exchange(ACCESS_TOKEN),
            SubjectId => exchange(ID_TOKEN),
            SubjectJwt => exchange(JWT),
            Place::Actor => {
                let form = [
                    ("grant_type", EXCHANGE),
                    ("subject_token", root.token()),
                    ("subject_token_type", ACCESS_TOKEN),
                    ("actor_token", token),
                    ("actor_token_type", JWT),
                ];
                let proof = self.proof(root, root.token(), "POST", &endpoint);
                self.scene.form(&form).header("dpop", &proof)
            }
            ClientAssertion => self.scene.form(&[
                ("grant_type", "client_credentials"),
                ("resource", &self.scene.api()),
                ("client_assertion_type", ASSERTION),
                ("client_assertion", token),
            ]),
            Introspection => asked_at("/oauth/introspect"),
            Revocation => asked_at("/oauth/revoke"),
        }
    }

    async fn root(&self) -> Holder {
        Holder::root(&self.scene.helper, key(), &[("resource", &*self.scene.api())]).await
    }
}

/// What an application is told of a call of `helper`. The audience is `helper`, as that of a token about a call is.
async fn told(scene: &Scene, app: &str, header: &str) -> String {
    let resource = scene.gateway.resource(app);
    let root = Holder::root(&scene.helper, key(), &[("resource", &*resource)]).await;
    let url = format!("{resource}/repos");
    assert_eq!(root.send("GET", &url, || Http::get(&url)).await.status, 200);
    scene.served.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    scene.upstream.requests().last().unwrap().header(header).trim_start_matches("Bearer ").to_owned()
}

/// Whether it did what such a token does at such a place.
fn has_worked(place: Place, reply: &Reply, record: &Value) -> bool {
    match place {
        Bearer | Dpop => reply.status == 200,
        SubjectAccess | SubjectId | SubjectJwt | Place::Actor | ClientAssertion => {
            reply.status == 200 && reply.json()["access_token"].is_string()
        }
        Introspection => reply.json()["active"] == true,
        Revocation => record["target"].is_string(),
    }
}

#[tokio::test]
async fn invariant_2_every_kind_of_token_works_where_it_belongs_and_nowhere_else() {
    let bazaar = Bazaar::new().await;
    let mut wrong = Vec::new();
    for (kind, places) in TABLE {
        assert_eq!(places.len(), 9, "{kind:?}");
        for (place, code) in *places {
            let root = bazaar.root().await;
            let token = bazaar.token(*kind, &root);
            let reached = bazaar.scene.upstream.requests().len();
            let reply = bazaar.presented(&token, *place, &root).send().await;
            let record = bazaar.scene.gateway.attempt_of(&reply).await;
            let worked = has_worked(*place, &reply, &record);
            let found = record["denial"].as_str().unwrap_or_default();
            if found != *code || worked != code.is_empty() {
                wrong.push(format!("{kind:?} at {place:?}: `{found}`, worked: {worked}, {}", reply.text()));
            }
            let is_call = matches!(place, Bearer | Dpop) && worked;
            assert_eq!(
                bazaar.scene.upstream.requests().len() - reached,
                usize::from(is_call),
                "{kind:?} {place:?}"
            );
            assert!(!record.to_string().contains(&token), "{kind:?} at {place:?}: the record has the token");
            if !worked && *place == Introspection {
                assert_eq!(reply.json(), json!({ "active": false }), "{kind:?}: nothing else is told");
            }
            // RFC 7009 §2.2: what is no token of ours is no error.
            let says_nothing = matches!(place, Introspection | Revocation) && *code != "client-not-of-token";
            assert_eq!(
                reply.status == 200,
                worked || says_nothing,
                "{kind:?} at {place:?}: {}",
                reply.status
            );
        }
    }
    assert_eq!(wrong, [""; 0]);
}

#[tokio::test]
async fn a_call_token_is_for_the_called_agent_and_within_its_call_only() {
    let bazaar = Bazaar::new().await;
    let scene = &bazaar.scene;
    let api = scene.api();
    let invoked = async |agent: &TestAgent| {
        Holder::invoked(agent, key(), &bazaar.call_token, &[("resource", &api)]).await
    };
    let reply = invoked(&scene.planner).await.unwrap_err();
    let record =
        scene.refused("the caller itself", &reply, "invalid_request", "call-token-not-for-client").await;
    assert_eq!(record["agent"], "planner");
    let form = [
        ("grant_type", EXCHANGE),
        ("subject_token", &*bazaar.call_token),
        ("subject_token_type", JWT),
        ("resource", &api),
    ];
    let reply = scene.form(&form).send().await;
    scene.refused("whoever found it", &reply, "invalid_client", "client-missing").await;
    let reply = scene.helper.form(&form).send().await;
    scene.refused("the called agent without a key", &reply, "invalid_dpop_proof", "proof-missing").await;
    let inner = invoked(&scene.helper).await.unwrap();
    let record = scene.served(&scene.list(&inner).await).await;
    assert_eq!((&record["agent"], &record["chain"][0]["agent"]), (&json!("helper"), &json!("planner")));
    assert_eq!(record["calls"].as_array().unwrap().len(), 1, "the record names the outer call");

    scene.called.release();
    let Bazaar { _call: call, scene, call_token, .. } = bazaar;
    assert_eq!(call.await.unwrap().status, 200);
    let reply = scene.list(&inner).await;
    scene.denied("when the call is over", &reply, 401, "call-ended").await;
    let late = Holder::invoked(&scene.helper, key(), &call_token, &[("resource", &api)]).await.unwrap_err();
    scene.refused("when the call is over", &late, "invalid_request", "call-ended").await;
}
