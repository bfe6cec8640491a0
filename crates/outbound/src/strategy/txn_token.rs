use std::fmt::Write;

use http::HeaderName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use vestibule_inbound::Caller;
use vestibule_model::{AppId, Fault};

use super::{
    BrokenRule, Granted, Means,
    notary::{About, LifeSeconds, Notary, check_audience},
};
use crate::access::Placement;

/// draft-ietf-oauth-transaction-tokens, "JWT Header": "The typ JWT Header Parameter MUST be present and MUST have the
/// value txntoken+jwt".
pub const TXN_TOKEN_TYPE: &str = "txntoken+jwt";

/// draft-ietf-oauth-transaction-tokens, "Txn-Token HTTP Header": a workload MUST use this header, exactly once, and MUST
/// NOT use `Authorization`.
pub(super) const HEADER: &str = "txn-token";

/// The `scope` of a question of the gateway itself.
const OWN_SCOPE: &str = "vestibule:own";

/// A transaction token (draft-ietf-oauth-transaction-tokens) for each call, in the header `Txn-Token`: the gateway is the
/// transaction token service of the trust domain. Who the services of a domain are to each other it does not say: that is
/// for mutual TLS or workload identities between them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TxnTokenConfig {
    /// The trust domain: the `aud` of the token.
    pub trust_domain: String,
    /// How long a token is good, in seconds: 10 to 60.
    #[serde(default)]
    pub life_seconds: LifeSeconds,
}

impl TxnTokenConfig {
    pub(super) fn check(&self, issuer: &str) -> Result<(), BrokenRule> {
        check_audience(&self.trust_domain, issuer).map_err(|rule| ("txn-token.trust_domain", rule))
    }
}

/// Transaction tokens at work.
#[derive(Debug)]
pub(crate) struct TxnToken {
    trust_domain: String,
    notary: Notary,
}

impl TxnToken {
    pub(super) fn new(app: &AppId, config: TxnTokenConfig, means: &Means) -> Self {
        Self { trust_domain: config.trust_domain, notary: Notary::new(app, config.life_seconds, means) }
    }

    /// Never cached: one transaction, one token.
    ///
    /// draft-ietf-oauth-transaction-tokens, "Txn-Token Claims": `iat`, `aud` (the trust domain), `exp`, `txn`, `sub`, `scope`
    /// and `req_wl` MUST be there. "Security Considerations": an access token MUST NOT be embedded, so nothing of the
    /// caller's credential is in it but what was read from it.
    pub(super) fn obtain(&self, about: About<'_>) -> Result<Granted, Fault> {
        // `iss`, `iat`, `aud`, `exp`, `sub`, and the chain.
        let mut claims = self.notary.claims(about, &self.trust_domain)?;
        let (txn, scope, workload) = match about {
            About::Call(permit, calling) | About::Withdrawal(permit, calling) => {
                let (operation, agent) = (permit.operation(), permit.caller().agent());
                (json!(calling.attempt), scope_token(&operation.name), json!(agent))
            }
            About::Own => (
                claims.get("jti").cloned().unwrap_or_default(),
                OWN_SCOPE.to_owned(),
                json!(self.notary.issuer()),
            ),
        };
        claims.insert("txn".to_owned(), txn);
        // One operation: the whole of what this transaction is for.
        claims.insert("scope".to_owned(), json!(scope));
        claims.insert("req_wl".to_owned(), workload);
        claims.insert("tctx".to_owned(), Value::Object(self.notary.request(about)));
        let context = context(about);
        if !context.is_empty() {
            claims.insert("rctx".to_owned(), Value::Object(context));
        }
        let value = self.notary.sign(TXN_TOKEN_TYPE, claims, "")?;
        Ok(Granted::of("txn-token", Placement::Header(HeaderName::from_static(HEADER), value)))
    }

    pub(super) fn describe(&self) -> String {
        format!("txn-token: a token per call for the trust domain `{}`", self.trust_domain)
    }
}

/// `rctx`: how the caller came, which is not what the transaction is.
fn context(about: About<'_>) -> Map<String, Value> {
    let mut context = about.caller().map(came).unwrap_or_default();
    if about.is_withdrawal() {
        context.insert("withdraws".to_owned(), Value::Bool(true));
    }
    context
}

fn came(caller: &Caller) -> Map<String, Value> {
    let token = caller.token();
    let mut context = Map::new();
    context.extend(token.bound_to.map(|key| ("jkt".to_owned(), json!(key))));
    if !token.scopes.is_empty() {
        let scopes: Vec<_> = token.scopes.iter().map(String::as_str).collect();
        context.insert("scope".to_owned(), json!(scopes.join(" ")));
    }
    context
}

/// The operation's name as one scope-token (RFC 6749 §3.3: visible ASCII without quote and backslash): everything else,
/// and the percent sign, is percent-encoded, so that no name is two scopes.
fn scope_token(name: &str) -> String {
    let mut token = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'%') {
            token.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(token, "%{byte:02X}");
        }
    }
    token
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_one_scope_whatever_it_is_called() {
        for (name, scope) in [
            ("list_repos", "list_repos"),
            ("resources/read", "resources/read"),
            ("read all", "read%20all"),
            ("50%", "50%25"),
            ("a\"b\\c", "a%22b%5Cc"),
            ("ü", "%C3%BC"),
        ] {
            assert_eq!(scope_token(name), scope);
        }
    }
}
