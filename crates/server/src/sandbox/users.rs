//! The sandbox's issuer of users: an OpenID Connect issuer on loopback with two users and its own key, so that acting for
//! a human can be tried without one's own identity provider. Only the quickstart's configuration trusts it.

use std::sync::Arc;

use ::http::{StatusCode, header};
use axum::{
    Json, Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use vestibule_model::{Entropy, Jti, Timestamp};

use super::signer::{Signer, SignerError};

/// How long a user's token lives, in seconds.
const USER_TOKEN_SECONDS: i64 = 900;

/// The users, with their groups.
const USERS: [(&str, &[&str]); 2] = [("alice", &["developers"]), ("bob", &["guests"])];

/// Who can log in at the sandbox.
pub fn users() -> impl Iterator<Item = &'static str> {
    USERS.iter().map(|(name, _)| *name)
}

/// The issuer: its identifier and its key.
#[derive(Debug)]
pub struct UserIssuer {
    identifier: String,
    key: Signer,
}

impl UserIssuer {
    /// Under this identifier, which ends in `/users`.
    #[must_use]
    pub fn new(identifier: &str, key: Signer) -> Self {
        Self { identifier: identifier.to_owned(), key }
    }

    /// An ID token of `user` for the client `client`, as after a login (OpenID Connect Core §2). None for an unknown user.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn id_token(
        &self,
        user: &str,
        client: &str,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<Option<String>, SignerError> {
        self.claims(user, client, now, entropy).map(|claims| self.signed(&claims)).transpose()
    }

    /// The same, of a login at `client` in which `user` let an agent act: `may_act` names it by its issuer and id (RFC
    /// 8693 §4.4).
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn id_token_for(
        &self,
        user: &str,
        client: &str,
        may_act: (&str, &str),
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<Option<String>, SignerError> {
        let Some(mut claims) = self.claims(user, client, now, entropy) else { return Ok(None) };
        if let Some(members) = claims.as_object_mut() {
            let (issuer, agent) = may_act;
            members.insert("may_act".to_owned(), json!({ "iss": issuer, "sub": agent }));
        }
        self.signed(&claims).map(Some)
    }

    fn claims(&self, user: &str, client: &str, now: Timestamp, entropy: &dyn Entropy) -> Option<Value> {
        let (name, groups) = USERS.iter().find(|(name, _)| *name == user)?;
        Some(json!({
            "iss": self.identifier, "sub": name, "aud": client, "azp": client,
            "iat": now.seconds(), "auth_time": now.seconds(), "exp": now.seconds() + USER_TOKEN_SECONDS,
            "jti": Jti::random(entropy), "sid": Jti::random(entropy), "acr": "password", "groups": groups,
        }))
    }

    fn signed(&self, claims: &Value) -> Result<String, SignerError> {
        self.key.sign(json!({ "typ": "JWT", "kid": KEY_ID }), claims)
    }

    pub(super) fn router(self) -> Router {
        Router::new()
            .route("/users/.well-known/openid-configuration", get(discovery))
            .route("/users/jwks", get(keys))
            .with_state(Arc::new(self))
    }
}

const KEY_ID: &str = "sandbox-users";

async fn discovery(State(issuer): State<Arc<UserIssuer>>) -> Response {
    let id = &issuer.identifier;
    document(json!({
        "issuer": id, "jwks_uri": format!("{id}/jwks"), "authorization_endpoint": format!("{id}/authorize"),
        "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    }))
}

async fn keys(State(issuer): State<Arc<UserIssuer>>) -> Response {
    let mut jwk = issuer.key.jwk();
    if let Some(members) = jwk.as_object_mut() {
        members.extend([
            ("kid".to_owned(), json!(KEY_ID)),
            ("use".to_owned(), json!("sig")),
            ("alg".to_owned(), json!("ES256")),
        ]);
    }
    document(json!({ "keys": [jwk] }))
}

fn document(value: Value) -> Response {
    (StatusCode::OK, [(header::CACHE_CONTROL, "no-store")], Json(value)).into_response()
}
