use serde_json::{Value, json};
use vestibule_model::{Jti, OsEntropy, Timestamp};

use crate::{AgentKey, Answer, TestUpstream};

/// An OpenID Connect issuer of users: its keys at a URL, and whatever tokens a test wants signed.
#[derive(Debug)]
pub struct TestIssuer {
    served: TestUpstream,
    key: AgentKey,
}

impl TestIssuer {
    /// One with a fresh key.
    pub async fn start() -> Self {
        let key = AgentKey::generate("user-key");
        let served = TestUpstream::http(Answer::json(&key.jwks())).await;
        Self { served, key }
    }

    /// Its identifier.
    #[must_use]
    pub fn id(&self) -> String {
        self.served.url()
    }

    /// A section `user_issuers` with this issuer under the name `idp`; `agents` as in the configuration.
    #[must_use]
    pub fn config(&self, agents: &Value) -> String {
        json!({ "idp": {
            "issuer": self.id(), "jwks_url": format!("{}/jwks", self.id()), "agents": agents,
            "groups": { "claim": "groups" },
        } })
        .to_string()
    }

    /// An ID token of `user` for the client `client`, with these further claims.
    #[must_use]
    pub fn id_token(&self, user: &str, client: &str, now: Timestamp, with: &Value) -> String {
        let mut claims = json!({
            "iss": self.id(), "sub": user, "aud": client, "azp": client, "iat": now.seconds(),
            "exp": now.seconds() + 300, "auth_time": now.seconds(), "sid": format!("session-of-{user}"),
            "jti": Jti::random(&OsEntropy),
        });
        for (name, value) in with.as_object().into_iter().flatten() {
            claims[name] = value.clone();
        }
        self.sign(&json!({ "alg": "ES256", "typ": "JWT", "kid": "user-key" }), &claims)
    }

    /// A token with exactly these parts.
    #[must_use]
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        self.key.sign(&header.to_string(), &claims.to_string())
    }
}
