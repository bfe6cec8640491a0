//! Whether a token is the one that was asked for.
//!
//! Servers answer 200 to what they do not understand: Keycloak ignores `actor_token`, others narrow nothing. A token in
//! somebody else's name, or for more than was asked, is worse than none.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use vestibule_model::{
    DEPTH_MAX as CHAIN_MAX, Fault, Timestamp,
    json::{self, Json},
};

use crate::{
    authorization_server::{AuthorizationServer, DEPTH_MAX, TokenAnswer},
    cache::{Key, Obtained},
};

const TOKEN_REQUEST: &str = "the token request";

/// What becomes of a token that has scopes or audiences that nobody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Wider {
    /// It is not used.
    #[default]
    Refuse,
    /// It is used, and the record names them. For servers that add scopes of their own to every token.
    Record,
}

/// By what a token is found to be the one that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// By its claims: it must be a JWT.
    #[default]
    Claims,
    /// By what the server says about it (RFC 7662).
    Introspection,
    /// By nothing but the scopes of the answer. Nobody finds out then when the server ignores the user or the agents.
    None,
}

/// In whose name a token must be.
#[derive(Debug)]
pub(super) struct Named<'a> {
    pub(super) subject: &'a str,
    pub(super) actors: Actors<'a>,
}

/// The agents that a token must name, the current one first.
#[derive(Debug)]
pub(super) enum Actors<'a> {
    /// These and no others.
    All(Vec<&'a str>),
    /// These, and behind them whoever acted for the user before.
    First(Vec<&'a str>),
    /// These or none: not every server tells.
    IfAny(Vec<&'a str>),
}

/// What was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    scopes: &'a BTreeSet<String>,
    audience: Option<&'a str>,
    resource: Option<&'a str>,
    wider: Wider,
}

impl<'a> Asked<'a> {
    pub(super) fn of(key: &'a Key, wider: Wider) -> Self {
        let (audience, resource) = (key.audience.as_deref(), key.resource.as_deref());
        Self { scopes: &key.scopes, audience, resource, wider }
    }

    /// Takes a token whose scopes alone are looked at.
    pub(super) fn accept(
        self,
        server: &AuthorizationServer,
        answer: TokenAnswer,
        requested_at: Timestamp,
    ) -> Result<Obtained, Fault> {
        let mut findings = Findings::of(answer, requested_at);
        self.compare_scopes(&mut findings);
        self.conclude(server, findings)
    }

    /// Takes a token that is in the right names, too.
    pub(super) async fn verify(
        self,
        server: &AuthorizationServer,
        answer: TokenAnswer,
        requested_at: Timestamp,
        (check, named): (Check, &Named<'_>),
    ) -> Result<Obtained, Fault> {
        let claims = match check {
            Check::None => return self.accept(server, answer, requested_at),
            Check::Claims => claims(&answer.token),
            Check::Introspection => {
                let claims = server.introspect(&answer.token).await?;
                let is_active = claims.get("active").and_then(Json::as_bool) == Some(true);
                is_active.then_some(claims).ok_or("has a token that the server itself says is not active")
            }
        };
        let mut findings = Findings::of(answer, requested_at);
        let verified = claims.and_then(|claims| self.compare(&claims, named, &mut findings));
        verified.map_err(|rule| server.wrong(TOKEN_REQUEST, rule))?;
        self.conclude(server, findings)
    }

    fn compare(self, claims: &Json, named: &Named<'_>, findings: &mut Findings) -> Result<(), &'static str> {
        if claims.get("sub").and_then(Json::as_str) != Some(named.subject) {
            return Err(
                "has a token in the name of somebody else: its `sub` is not the one that was asked for",
            );
        }
        named.actors.compare(&actors(claims)?)?;
        // RFC 7800 §3.1: of no use without that key.
        if claims.get("cnf").is_some() {
            return Err("has a token that is bound to a key, which the application would ask for");
        }
        if let Some(expires_at) = claims.get("exp").and_then(Json::as_i64) {
            findings.expires_at = findings.expires_at.min(Timestamp::from_seconds(expires_at));
        }
        if findings.scopes.is_none() {
            let scope = claims.get("scope").and_then(Json::as_str);
            findings.scopes = scope.map(|scope| scope.split_ascii_whitespace().map(str::to_owned).collect());
        }
        self.compare_scopes(findings);
        self.compare_audiences(claims, findings)
    }

    /// RFC 6749 §3.3: a server may give fewer. Where none were asked for, it gives what it likes.
    fn compare_scopes(self, findings: &mut Findings) {
        let given = findings.scopes.iter().flatten();
        if !self.scopes.is_empty() {
            findings.wider.extend(given.filter(|scope| !self.scopes.contains(*scope)).cloned());
        }
    }

    fn compare_audiences(self, claims: &Json, findings: &mut Findings) -> Result<(), &'static str> {
        let wanted: Vec<&str> = self.audience.into_iter().chain(self.resource).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let audiences: Vec<&str> = match claims.get("aud") {
            Some(Json::String(one)) => vec![one],
            Some(Json::Array(many)) => many.iter().filter_map(Json::as_str).collect(),
            Some(Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_)) | None => Vec::new(),
        };
        if !audiences.iter().any(|audience| wanted.contains(audience)) {
            return Err("has a token for another audience than was asked for");
        }
        let others = audiences.into_iter().filter(|audience| !wanted.contains(audience));
        findings.wider.extend(others.map(|audience| format!("aud:{audience}")));
        Ok(())
    }

    fn conclude(self, server: &AuthorizationServer, findings: Findings) -> Result<Obtained, Fault> {
        let Findings { token, expires_at, scopes, wider } = findings;
        if self.wider == Wider::Refuse && !wider.is_empty() {
            let rule = format!(
                "has a token with {} scopes or audiences that were not asked for; `wider: record` lets them be",
                wider.len()
            );
            return Err(server.wrong(TOKEN_REQUEST, rule));
        }
        let scopes = scopes.unwrap_or_else(|| self.scopes.clone());
        Ok(Obtained { token, expires_at, scopes: scopes.into_iter().collect(), wider })
    }
}

/// What was found out about a token.
struct Findings {
    token: SecretString,
    expires_at: Timestamp,
    /// None: those that were asked for.
    scopes: Option<BTreeSet<String>>,
    wider: Vec<String>,
}

impl Findings {
    fn of(answer: TokenAnswer, requested_at: Timestamp) -> Self {
        let TokenAnswer { token, life, scope, .. } = answer;
        Self { token, expires_at: requested_at.plus(life), scopes: scope, wider: Vec::new() }
    }
}

impl Actors<'_> {
    fn compare(&self, found: &[&str]) -> Result<(), &'static str> {
        let (is_right, expected) = match self {
            Self::All(expected) => (found == expected.as_slice(), expected),
            Self::First(expected) => (found.starts_with(expected), expected),
            Self::IfAny(expected) => (found.is_empty() || found == expected.as_slice(), expected),
        };
        if is_right {
            Ok(())
        } else if found.is_empty() && !expected.is_empty() {
            Err("has a token without `act`: the server ignores who acts")
        } else {
            Err("has a token with other agents in `act` than those that act, or in another order")
        }
    }
}

/// The claims of a JWT. Its signature is not looked at: it comes from the server itself, over the connection to it
/// (OpenID Connect Core §3.1.3.7, 6), and the application will.
fn claims(token: &SecretString) -> Result<Json, &'static str> {
    const RULE: &str =
        "has a token whose claims cannot be read: `check: introspection` asks the server about it";
    let mut parts = token.expose_secret().split('.');
    let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(RULE);
    };
    let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| RULE)?;
    json::parse(&payload, DEPTH_MAX).map_err(|_| RULE)
}

/// RFC 8693 §4.1: the outermost `act` is who acts now.
fn actors(claims: &Json) -> Result<Vec<&str>, &'static str> {
    let mut found = Vec::new();
    let mut next = claims.get("act");
    while let Some(act) = next {
        // Somebody acted before the root agent did, perhaps.
        if found.len() > CHAIN_MAX {
            return Err("has a token with more agents in `act` than a chain may have");
        }
        found.push(
            act.get("sub").and_then(Json::as_str).ok_or("has a token with an `act` that has no `sub`")?,
        );
        next = act.get("act");
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_are_compared_in_their_order() {
        let all = || Actors::All(vec!["b", "a"]);
        assert_eq!(all().compare(&["b", "a"]), Ok(()));
        for wrong in [&["a", "b"][..], &["b"], &["b", "a", "x"], &["x", "b", "a"], &[]] {
            assert!(all().compare(wrong).is_err(), "{wrong:?}");
        }
        let first = || Actors::First(vec!["b", "a"]);
        assert_eq!(first().compare(&["b", "a", "users-own-client"]), Ok(()));
        for wrong in [&["users-own-client", "b", "a"][..], &["a", "b"], &["b"], &[]] {
            assert!(first().compare(wrong).is_err(), "{wrong:?}");
        }
        let if_any = || Actors::IfAny(vec!["gateway"]);
        assert_eq!((if_any().compare(&[]), if_any().compare(&["gateway"])), (Ok(()), Ok(())));
        assert!(if_any().compare(&["x"]).is_err() && if_any().compare(&["gateway", "x"]).is_err());
    }

    #[test]
    fn only_a_signed_jwt_has_claims_that_can_be_read() {
        let payload = URL_SAFE_NO_PAD.encode(r#"{"sub":"u"}"#);
        let read = |token: String| claims(&SecretString::from(token));
        assert!(read(format!("h.{payload}.s")).is_ok());
        // What looks like one and is encrypted, opaque, or of two readings.
        let twice = URL_SAFE_NO_PAD.encode(r#"{"sub":"u","sub":"v"}"#);
        for token in [
            format!("h.{payload}"),
            format!("h.{payload}.a.b.c"),
            "opaque".to_owned(),
            format!("h.{twice}.s"),
        ] {
            assert!(read(token.clone()).is_err(), "{token}");
        }
    }
}
