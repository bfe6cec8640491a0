use std::time::Duration;

use serde_json::json;
use vestibule_issuer::{IssuerConfig, Reason};

use crate::support::{Ground, ISSUER, SANDBOX, World, app, set};

#[tokio::test]
async fn the_metadata_name_what_is_served_and_nothing_more() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let methods = ["client_secret_basic", "client_secret_post", "private_key_jwt"];
    let algorithms = ["ES256", "ES384", "RS256", "PS256", "EdDSA", "Ed25519"];
    assert_eq!(
        world.issuer.metadata(),
        json!({
            "issuer": "https://gw.test",
            "authorization_endpoint": "https://gw.test/oauth/authorize",
            "token_endpoint": "https://gw.test/oauth/token",
            "introspection_endpoint": "https://gw.test/oauth/introspect",
            "revocation_endpoint": "https://gw.test/oauth/revoke",
            "jwks_uri": "https://gw.test/oauth/jwks",
            "response_types_supported": [],
            "grant_types_supported":
                ["client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange"],
            "token_endpoint_auth_methods_supported": methods,
            "token_endpoint_auth_signing_alg_values_supported": algorithms,
            "introspection_endpoint_auth_methods_supported": methods,
            "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
            "revocation_endpoint_auth_methods_supported": methods,
            "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
            "dpop_signing_alg_values_supported": ["ES256", "ES384", "EdDSA", "Ed25519", "PS256", "RS256"],
            "authorization_details_types_supported": ["vestibule_operations"],
        })
    );
}

#[test]
fn a_configuration_out_of_bounds_is_refused() {
    let good = || IssuerConfig::new(ISSUER, vec![(app("sandbox"), SANDBOX.into())]);
    assert_eq!(good().check(), Ok(()));
    let broken = |what: &str, change: &dyn Fn(&mut IssuerConfig)| {
        let mut config = good();
        change(&mut config);
        assert_eq!(config.check().unwrap_err().what, what);
    };
    for issuer in ["https://gw.test/", "https://gw.test?x", "https://gw.test#x", "gw.test"] {
        broken("issuer", &|config| config.issuer = issuer.into());
    }
    for seconds in [59, 301] {
        broken("token_ttl", &|config| config.token_ttl = Duration::from_secs(seconds));
    }
    for seconds in [120, 24 * 3600 + 1] {
        broken("node_ttl", &|config| config.node_ttl = Duration::from_secs(seconds));
    }
    for depth in [0, 9] {
        broken("max_depth", &|config| config.max_depth = depth);
    }
    for children in [0, 10_001] {
        broken("max_children", &|config| config.max_children = children);
    }
    for many in [0, 1_000_001] {
        broken("max_tree_nodes", &|config| config.max_tree_nodes = many);
        broken("max_roots", &|config| config.max_roots = many);
    }
    broken("scope_claims", &|config| {
        config.scope_claims.insert("profile".into(), set(&["sub"]));
    });
    for resource in ["sandbox", "https://gw.test/a#b", "https://GW.test/apps/sandbox/mcp/"] {
        broken("resource", &|config| config.resources.push((app("other"), resource.into())));
    }
}

#[test]
fn reasons_have_codes_of_their_own_and_sentences_that_quote_nothing() {
    let mut seen = std::collections::HashSet::new();
    for reason in Reason::ALL {
        assert!(seen.insert(reason.code()), "{} twice", reason.code());
        assert!(reason.code().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{}", reason.code());
        // RFC 6749 §5.2: the characters that `error_description` may have.
        assert!(reason.description().bytes().all(|b| matches!(b, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e)));
    }
}
