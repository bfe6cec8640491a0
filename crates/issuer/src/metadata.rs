use serde_json::{Value, json};
use vestibule_inbound::{dpop, jws::Algorithm};
use vestibule_model::AUTHORITY_TYPE;

use crate::{Issuer, token::Grant};

/// How a client authenticates at every endpoint. Agents that are known by their key alone use DPoP instead, for which
/// the metadata have no word.
const AUTH_METHODS: [&str; 3] = ["client_secret_basic", "client_secret_post", "private_key_jwt"];

impl Issuer {
    /// The metadata of the authorization server (RFC 8414 §2, RFC 9396 §10, RFC 9449 §5.1).
    ///
    /// `authorization_endpoint` is named, although no response type is served yet, because clients refuse metadata
    /// without it. `scopes_supported` is not: clients that have no scope in mind ask for all that it lists, and would
    /// be refused for one that they may not have.
    #[must_use]
    pub fn metadata(&self) -> Value {
        let issuer = &self.config.issuer;
        let names = |algorithms: &[Algorithm]| {
            json!(algorithms.iter().flat_map(|one| one.names()).collect::<Vec<_>>())
        };
        let algorithms = names(Algorithm::ALL);
        json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/oauth/authorize"),
            "token_endpoint": self.endpoints.token,
            "introspection_endpoint": self.endpoints.introspection,
            "revocation_endpoint": self.endpoints.revocation,
            "jwks_uri": format!("{issuer}/oauth/jwks"),
            "response_types_supported": [],
            "grant_types_supported": Grant::ALL.map(Grant::as_str),
            "token_endpoint_auth_methods_supported": AUTH_METHODS,
            "token_endpoint_auth_signing_alg_values_supported": algorithms,
            "introspection_endpoint_auth_methods_supported": AUTH_METHODS,
            "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
            "revocation_endpoint_auth_methods_supported": AUTH_METHODS,
            "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
            "dpop_signing_alg_values_supported": names(dpop::ALGORITHMS),
            "authorization_details_types_supported": [AUTHORITY_TYPE],
        })
    }

    /// The public keys of our tokens, as a JWK set (RFC 7517 §5).
    #[must_use]
    pub fn jwks(&self) -> Value {
        self.keys.jwks()
    }
}
