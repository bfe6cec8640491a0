use serde_json::{Value, json};
use vestibule_model::{Jti, OsEntropy, Timestamp};

use crate::{AgentKey, Answer, TestUpstream};

/// An issuer that is not the gateway: of users (OpenID Connect) or of workloads. Its keys are at a URL, and it signs
/// whatever tokens a test wants.
#[derive(Debug)]
pub struct TestIssuer {
    served: TestUpstream,
    path: String,
    kid: String,
    key: AgentKey,
}

impl TestIssuer {
    /// One with a fresh key.
    pub async fn start() -> Self {
        Self::below("").await
    }

    /// One whose identifier has this path.
    pub async fn below(path: &str) -> Self {
        let kid = "user-key".to_owned();
        let key = AgentKey::generate(&kid);
        let served = TestUpstream::http(Answer::json(&key.jwks())).await;
        Self { served, path: path.to_owned(), kid, key }
    }

    /// Its identifier.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}{}", self.served.url(), self.path)
    }

    /// Where its keys are.
    #[must_use]
    pub fn jwks_url(&self) -> String {
        format!("{}/jwks", self.id())
    }

    /// How often its keys were asked for.
    #[must_use]
    pub fn fetches(&self) -> usize {
        self.served.requests().len()
    }

    /// From now on it signs with another key, and publishes that one alone.
    pub fn rotate(&mut self, kid: &str) {
        self.key = AgentKey::generate(kid);
        kid.clone_into(&mut self.kid);
        self.serve();
    }

    /// Publishes its key.
    pub fn serve(&self) {
        self.served.answer(Answer::json(&self.key.jwks()));
    }

    /// Answers 503 to whoever asks for its keys, until it serves again.
    pub fn fail(&self) {
        self.served.answer(Answer::new(503, "down"));
    }

    /// A section `user_issuers` with this issuer under the name `idp`; `agents` as in the configuration.
    #[must_use]
    pub fn config(&self, agents: &Value) -> String {
        json!({ "idp": {
            "issuer": self.id(), "jwks_url": self.jwks_url(), "agents": agents,
            "groups": { "claim": "groups" },
        } })
        .to_string()
    }

    /// An ID token of `user` for the client `client`, with these further claims.
    #[must_use]
    pub fn id_token(&self, user: &str, client: &str, now: Timestamp, with: &Value) -> String {
        let claims = json!({
            "iss": self.id(), "sub": user, "aud": client, "azp": client, "iat": now.seconds(),
            "exp": now.seconds() + 300, "auth_time": now.seconds(), "sid": format!("session-of-{user}"),
            "jti": Jti::random(&OsEntropy),
        });
        self.token("JWT", &with_all(claims, with))
    }

    /// An access token of Keycloak for `user`, which `client` got, with these further claims.
    #[must_use]
    pub fn keycloak(&self, user: &str, client: &str, now: Timestamp, with: &Value) -> String {
        let claims = json!({
            "exp": now.seconds() + 300, "iat": now.seconds(), "auth_time": now.seconds(), "acr": "1",
            "jti": format!("onrtac:{}", Jti::random(&OsEntropy)), "iss": self.id(), "typ": "Bearer",
            "aud": "account", "sub": user, "azp": client, "sid": format!("session-of-{user}"),
            "allowed-origins": ["*"], "realm_access": { "roles": ["offline_access"] },
            "scope": "openid profile email", "email_verified": true, "preferred_username": user,
        });
        self.token("JWT", &with_all(claims, with))
    }

    /// An access token of Keycloak for the service account of `client`.
    #[must_use]
    pub fn keycloak_service(&self, client: &str, now: Timestamp, with: &Value) -> String {
        let claims = json!({
            "exp": now.seconds() + 300, "iat": now.seconds(), "jti": format!("trrtcc:{}", Jti::random(&OsEntropy)),
            "iss": self.id(), "typ": "Bearer", "aud": "account", "sub": "5b1e0d0e-7c1c-4a55-9d8f-4f1d1cbe7f0a",
            "azp": client, "acr": "1", "scope": "profile email", "clientHost": "127.0.0.1",
            "preferred_username": format!("service-account-{client}"), "client_id": client,
        });
        self.token("JWT", &with_all(claims, with))
    }

    /// An access token of Entra, version 2, on behalf of the user with that object id, for an agent identity.
    #[must_use]
    pub fn entra(&self, oid: &str, client: &str, now: Timestamp, with: &Value) -> String {
        let claims = json!({
            "aud": "api://vestibule", "iss": self.id(), "iat": now.seconds(), "nbf": now.seconds(),
            "exp": now.seconds() + 3600, "azp": client, "azpacr": "2", "idtyp": "user", "oid": oid,
            "scp": "Tools.Call", "sub": format!("pairwise-{oid}"), "tid": self.tenant(), "ver": "2.0",
            "uti": Jti::random(&OsEntropy), "xms_act_fct": "3 11", "xms_idrel": "1 32",
            "xms_par_app_azp": "b1ee5e7f-0000-4000-8000-000000000001",
        });
        self.token("JWT", &with_all(claims, with))
    }

    fn tenant(&self) -> &str {
        self.path.split('/').nth(1).unwrap_or_default()
    }

    /// A token with these claims and a header of that `typ`.
    #[must_use]
    pub fn token(&self, typ: &str, claims: &Value) -> String {
        self.sign(&json!({ "alg": "ES256", "typ": typ, "kid": self.kid }), claims)
    }

    /// A token by which a platform vouches for a workload, with these further claims. Its header has no type, as in
    /// Kubernetes.
    #[must_use]
    pub fn workload(&self, subject: &str, audience: &str, now: Timestamp, with: &Value) -> String {
        let claims = json!({
            "iss": self.id(), "sub": subject, "aud": [audience], "iat": now.seconds(), "nbf": now.seconds(),
            "exp": now.seconds() + 600, "jti": Jti::random(&OsEntropy),
        });
        self.sign(&json!({ "alg": "ES256", "kid": self.kid }), &with_all(claims, with))
    }

    /// A token with exactly these parts.
    #[must_use]
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        self.key.sign(&header.to_string(), &claims.to_string())
    }
}

/// `null` takes a claim away.
fn with_all(mut claims: Value, with: &Value) -> Value {
    for (name, value) in with.as_object().into_iter().flatten() {
        if let (Value::Null, Some(members)) = (value, claims.as_object_mut()) {
            members.remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}
