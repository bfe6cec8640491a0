//! What a token that Entra gave must say before it is used.
//!
//! Its signature is not looked at: the token comes from the token endpoint itself, over TLS, and those for Microsoft Graph
//! are made so that nobody but Graph can verify them. What is looked at is whether Entra gave what was asked for: a token
//! of somebody else, or of another agent, would be used under a wrong name otherwise.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use vestibule_model::json::{self, Json};

/// The facet of an agent identity, in `xms_act_fct` and `xms_sub_fct`.
const AGENT_IDENTITY: &str = "11";
/// Deeper than any claim of a token.
const DEPTH_MAX: usize = 8;

/// The claims of a token, whoever signed it.
pub(super) struct Claims(Json);

impl Claims {
    /// None when it is no JWT in the clear.
    pub(super) fn of(token: &SecretString) -> Option<Self> {
        let mut parts = token.expose_secret().split('.');
        let (_, payload, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else {
            return None;
        };
        let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
        json::parse(&payload, DEPTH_MAX).ok().map(Self)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// Multi-valued numbers stand beside each other in no order, and unknown ones are ignored (claims page).
    fn has_facet(&self, name: &str) -> bool {
        self.text(name)
            .is_some_and(|facets| facets.split_ascii_whitespace().any(|facet| facet == AGENT_IDENTITY))
    }

    /// `azp` in tokens of version 2, `appid` in those of version 1.
    fn actor(&self) -> Option<&str> {
        self.text("azp").or_else(|| self.text("appid"))
    }
}

/// Of whom the token must be.
pub(super) struct Expected<'a> {
    pub(super) tenant: &'a str,
    /// The agent identity.
    pub(super) identity: &'a str,
    /// The object id of the user; none: the agent identity itself.
    pub(super) user: Option<&'a str>,
}

impl Expected<'_> {
    /// The claims page, line by line. The error says which one is wrong, and quotes nothing.
    ///
    /// `xms_par_app_azp`, the blueprint, is for logs only: "never authorize on it".
    pub(super) fn check(&self, token: &SecretString) -> Result<(), &'static str> {
        let claims = Claims::of(token).ok_or("is a token that cannot be read: it is no JWT in the clear")?;
        if claims.text("tid") != Some(self.tenant) {
            return Err("is a token of another tenant (`tid`)");
        }
        if claims.actor() != Some(self.identity) {
            return Err("is a token of another client than the agent identity (`azp`)");
        }
        if !claims.has_facet("xms_act_fct") {
            return Err("is a token of a client that is no agent identity (`xms_act_fct`)");
        }
        match self.user {
            Some(_) if claims.text("idtyp") != Some("user") => Err("is no token for a user (`idtyp`)"),
            Some(user) if claims.text("oid") != Some(user) => Err("is a token for another user (`oid`)"),
            None if claims.text("idtyp") != Some("app") => Err("is no token of the agent's own (`idtyp`)"),
            None if !claims.has_facet("xms_sub_fct") => {
                Err("is no token for an agent identity (`xms_sub_fct`)")
            }
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn token(claims: &Value) -> SecretString {
        SecretString::from(format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string())))
    }

    fn with(mut claims: Value, name: &str, value: Value) -> Value {
        claims[name] = value;
        claims
    }

    #[test]
    fn a_token_is_used_only_if_it_is_of_the_agent_and_of_the_user_it_was_asked_for() {
        let expected = Expected { tenant: "t", identity: "agent", user: Some("alice") };
        let good =
            json!({"tid": "t", "azp": "agent", "idtyp": "user", "oid": "alice", "xms_act_fct": "9 11 3"});
        assert_eq!(expected.check(&token(&good)), Ok(()));
        let version_1 = with(with(good.clone(), "azp", Value::Null), "appid", json!("agent"));
        assert_eq!(expected.check(&token(&version_1)), Ok(()));
        for (name, value) in [
            ("tid", json!("other")),
            ("azp", json!("other")),
            ("azp", Value::Null),
            ("idtyp", json!("app")),
            ("idtyp", Value::Null),
            ("oid", json!("bob")),
            ("oid", Value::Null),
            ("xms_act_fct", json!("1 111")),
            ("xms_act_fct", Value::Null),
        ] {
            assert!(
                expected.check(&token(&with(good.clone(), name, value.clone()))).is_err(),
                "{name} {value}"
            );
        }
    }

    #[test]
    fn a_token_of_the_agents_own_is_for_an_agent_identity() {
        let expected = Expected { tenant: "t", identity: "agent", user: None };
        let good =
            json!({"tid": "t", "azp": "agent", "idtyp": "app", "xms_act_fct": "11", "xms_sub_fct": "3 11"});
        assert_eq!(expected.check(&token(&good)), Ok(()));
        for (name, value) in
            [("idtyp", json!("user")), ("xms_sub_fct", json!("13")), ("xms_sub_fct", Value::Null)]
        {
            assert!(
                expected.check(&token(&with(good.clone(), name, value.clone()))).is_err(),
                "{name} {value}"
            );
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_used() {
        let expected = Expected { tenant: "t", identity: "agent", user: None };
        for text in ["", "opaque", "a.b", "a.b.c.d.e", "e30.e30.c2ln.x", "e30.!.c2ln", "e30.W10.c2ln"] {
            assert!(expected.check(&SecretString::from(text)).is_err(), "{text}");
        }
    }
}
