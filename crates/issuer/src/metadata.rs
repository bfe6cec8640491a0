use serde_json::{Value, json};
use vestibule_inbound::jws::Algorithm;

use crate::Issuer;

pub(crate) fn token_endpoint(issuer: &str) -> String {
    format!("{issuer}/oauth/token")
}

impl Issuer {
    /// The metadata of the authorization server (RFC 8414 §2).
    ///
    /// `authorization_endpoint` is named, although no response type is served yet, because clients refuse metadata
    /// without it. `scopes_supported` is not: clients that have no scope in mind ask for all that it lists, and would
    /// be refused for one that they may not have.
    #[must_use]
    pub fn metadata(&self) -> Value {
        let issuer = &self.config.issuer;
        let algorithms: Vec<_> = Algorithm::ALL.iter().map(|algorithm| algorithm.name()).collect();
        json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/oauth/authorize"),
            "token_endpoint": token_endpoint(issuer),
            "jwks_uri": format!("{issuer}/oauth/jwks"),
            "response_types_supported": [],
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported":
                ["client_secret_basic", "client_secret_post", "private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": algorithms,
        })
    }

    /// The public keys of our tokens, as a JWK set (RFC 7517 §5).
    #[must_use]
    pub fn jwks(&self) -> Value {
        self.keys.jwks()
    }
}
