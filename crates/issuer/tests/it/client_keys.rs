//! An agent that authenticates with one of its registered keys, and what has become of that key.

use http::HeaderMap;
use serde_json::json;
use vestibule_containment::{DenyKey, Reason as OrderReason, State};
use vestibule_issuer::{NewAgent, OAuthError, Reason, TokenResponse};
use vestibule_model::{Jti, OsEntropy};

use crate::{
    holder::{ACCESS_TOKEN, EXCHANGE, Holder, JWT},
    support::{Ground, ISSUER, SANDBOX, Signer, World, access_token, owned, worker},
};

/// `worker` with two keys, as during a rotation.
struct Keyed {
    world: World,
    one: Signer,
    two: Signer,
    _ground: Ground,
}

impl Keyed {
    async fn new() -> Self {
        let ground = Ground::new();
        let world = World::on(&ground).await;
        let (one, two) = (Signer::new("one"), Signer::new("two"));
        let jwks = Some(json!({"keys": [one.jwk, two.jwk]}));
        world.registry.add(NewAgent { jwks, ..worker() }).await.unwrap();
        Self { world, one, two, _ground: ground }
    }

    /// A client authentication with that key.
    fn client(&self, key: &Signer) -> Vec<(String, String)> {
        let claims = json!({
            "iss": "worker", "sub": "worker", "aud": ISSUER, "exp": self.world.now() + 60,
            "jti": Jti::random(&OsEntropy),
        });
        let assertion = key.sign(&json!({"alg": "ES256"}), &claims);
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        owned(&[("client_assertion_type", kind), ("client_assertion", &assertion)])
    }

    async fn send(
        &self,
        client: &Signer,
        headers: &HeaderMap,
        form: &[(&str, &str)],
    ) -> Result<TokenResponse, OAuthError> {
        let form = [owned(form), self.client(client)].concat();
        self.world.issuer.token(&self.world.request(headers, &form)).await
    }

    /// A token under a root that names that key, and `proof` beside it.
    async fn root(&self, client: &Signer, proof: &HeaderMap) -> Result<TokenResponse, OAuthError> {
        self.send(client, proof, &[("grant_type", "client_credentials"), ("resource", SANDBOX)]).await
    }

    async fn bearer(&self, client: &Signer) -> TokenResponse {
        self.root(client, &HeaderMap::new()).await.unwrap()
    }

    async fn bound(&self, client: &Signer) -> Holder {
        let key = Signer::new("dpop");
        let response = self.root(client, &self.world.proof(&key, None)).await.unwrap();
        Holder::of(key, &response)
    }

    async fn again(
        &self,
        client: &Signer,
        headers: &HeaderMap,
        token: &str,
    ) -> Result<TokenResponse, OAuthError> {
        let form = [("grant_type", EXCHANGE), ("subject_token", token), ("subject_token_type", ACCESS_TOKEN)];
        self.send(client, headers, &form).await
    }

    async fn again_bound(&self, client: &Signer, holder: &Holder) -> Result<TokenResponse, OAuthError> {
        self.again(client, &self.world.proof(&holder.key, Some(&holder.token)), &holder.token).await
    }

    async fn order(&self, key: &Signer, reason: OrderReason) {
        self.world.order(DenyKey::Credential(key.thumbprint()), State::Revoked, reason, None).await;
    }
}

#[tokio::test]
async fn a_revoked_key_authenticates_nobody_whatever_is_asked() {
    let keyed = Keyed::new().await;
    let world = &keyed.world;
    // The nodes name another key.
    let (bearer, bound) = (keyed.bearer(&keyed.two).await, keyed.bound(&keyed.two).await);
    keyed.order(&keyed.one, OrderReason::KeyCompromise).await;
    let token = access_token(&bearer);
    let child = Signer::new("child");
    let actor = child.actor_token(&child.actor_claims(&bound.token, world.now()));
    let spawn = [
        ("grant_type", EXCHANGE),
        ("subject_token", bound.token.as_str()),
        ("subject_token_type", ACCESS_TOKEN),
        ("actor_token", actor.as_str()),
        ("actor_token_type", JWT),
    ];
    let proof = world.proof(&bound.key, Some(&bound.token));
    let none = HeaderMap::new();
    let form = [owned(&[("token", &token)]), keyed.client(&keyed.one)].concat();
    let introspected = world.issuer.introspect(&world.request(&none, &form)).await.unwrap_err();
    let form = [owned(&[("token", &token)]), keyed.client(&keyed.one)].concat();
    let revoked = world.issuer.revoke(&world.request(&none, &form)).await.unwrap_err();
    for (what, error) in [
        ("a root", keyed.root(&keyed.one, &none).await.unwrap_err()),
        ("another grant", keyed.send(&keyed.one, &none, &[("grant_type", "password")]).await.unwrap_err()),
        ("a bearer token again", keyed.again(&keyed.one, &none, &token).await.unwrap_err()),
        ("a bound token again", keyed.again_bound(&keyed.one, &bound).await.unwrap_err()),
        ("a child", keyed.send(&keyed.one, &proof, &spawn).await.unwrap_err()),
        ("what a token is good for", introspected),
        ("the end of a token", revoked),
    ] {
        assert_eq!((error.reason, error.status()), (Reason::CredentialRevoked, 401), "{what}");
        assert_eq!(error.agent.unwrap().as_str(), "worker", "{what}");
    }
    // The other key is not concerned, and nothing was revoked in its name.
    assert!(world.present(&bearer, SANDBOX).is_ok());
    assert!(keyed.again(&keyed.two, &none, &token).await.is_ok());
    assert_eq!(world.judges.containment.list().len(), 1);
}

#[tokio::test]
async fn a_token_is_minted_again_only_for_the_key_that_its_node_names() {
    let keyed = Keyed::new().await;
    let none = HeaderMap::new();
    let (bearer, bound) = (access_token(&keyed.bearer(&keyed.one).await), keyed.bound(&keyed.one).await);
    for error in [
        keyed.again(&keyed.two, &none, &bearer).await.unwrap_err(),
        keyed.again_bound(&keyed.two, &bound).await.unwrap_err(),
    ] {
        assert_eq!(
            (error.reason, error.body()["error"].as_str()),
            (Reason::ClientNotOfToken, Some("invalid_request"))
        );
    }
    assert!(keyed.again(&keyed.one, &none, &bearer).await.is_ok());
    assert!(keyed.again_bound(&keyed.one, &bound).await.is_ok());
    // Where the key of the token proves who asks, no client needs to.
    assert!(keyed.world.exchange(&bound, &[]).await.is_ok());
}

#[tokio::test]
async fn a_node_that_names_no_key_of_a_client_mints_no_bearer_token_for_one() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let bearer = access_token(&world.ask(&secret, &[("resource", SANDBOX)]).await.unwrap());
    // The operator gives the agent keys in the place of its secret.
    let one = Signer::new("one");
    let credential = json!({"keys": {"jwks": {"keys": [one.jwk]}}});
    let put = vestibule_store::Put::new(vestibule_store::Kind::Credential, "worker", &credential).unwrap();
    world.store.commit(vec![vestibule_store::Op::Put(put.subject("worker"))]).await.unwrap();
    world.caught_up().await;
    let keyed = Keyed { world, one, two: Signer::new("two"), _ground: ground };
    let error = keyed.again(&keyed.one, &HeaderMap::new(), &bearer).await.unwrap_err();
    assert_eq!(error.reason, Reason::ClientNotOfToken);
    assert!(keyed.root(&keyed.one, &HeaderMap::new()).await.is_ok());
}

#[tokio::test]
async fn a_superseded_key_gets_no_new_token_and_what_it_got_runs_on() {
    let keyed = Keyed::new().await;
    let none = HeaderMap::new();
    let bearer = keyed.bearer(&keyed.one).await;
    keyed.order(&keyed.one, OrderReason::Superseded).await;
    for error in [
        keyed.root(&keyed.one, &none).await.unwrap_err(),
        keyed.again(&keyed.one, &none, &access_token(&bearer)).await.unwrap_err(),
        // Nor by the key that took its place: that one has a root of its own.
        keyed.again(&keyed.two, &none, &access_token(&bearer)).await.unwrap_err(),
    ] {
        assert_eq!(error.reason, Reason::CredentialRevoked);
    }
    assert!(keyed.world.present(&bearer, SANDBOX).is_ok());
    assert!(keyed.root(&keyed.two, &none).await.is_ok());
}
