//! What tokens of our own say to an application: for whom, by whom, and which one request.

use std::{sync::Arc, time::Duration};

use http::HeaderValue;
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use vestibule_inbound::{Caller, jws::TOKEN_MAX_BYTES, on_behalf};
use vestibule_model::{AppId, Clock, Entropy, Fault, FaultKind, Jti, Timestamp};
use vestibule_policy::Permit;

use super::Means;
use crate::{Calling, Signer};

/// How long a token of our own lives, in seconds: 10 to 60.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "u64", into = "u64")]
#[schemars(with = "u64")]
pub struct LifeSeconds(u64);

impl Default for LifeSeconds {
    fn default() -> Self {
        Self(30)
    }
}

impl TryFrom<u64> for LifeSeconds {
    type Error = &'static str;
    fn try_from(seconds: u64) -> Result<Self, Self::Error> {
        match seconds {
            10..=60 => Ok(Self(seconds)),
            _ => Err(
                "`life_seconds` must be 10 to 60: the token is for one call, and is made when the call leaves",
            ),
        }
    }
}

impl From<LifeSeconds> for u64 {
    fn from(life: LifeSeconds) -> Self {
        life.0
    }
}

/// The longest `aud`.
const AUDIENCE_MAX_BYTES: usize = 1024;

/// Whether tokens of `issuer` may be for `audience`. What is for one of the gateway's own places is not for an application.
pub(super) fn check_audience(audience: &str, issuer: &str) -> Result<(), &'static str> {
    if audience.is_empty() || audience.len() > AUDIENCE_MAX_BYTES {
        return Err("must have 1 to 1,024 bytes");
    }
    let own = audience.strip_prefix(issuer);
    if own.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
        return Err("is the gateway's own: name what the application knows itself by");
    }
    Ok(())
}

/// What a token is about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum About<'a> {
    /// A call of somebody.
    Call(&'a Permit, &'a Calling),
    /// The message to the application that such a call is over.
    Withdrawal(&'a Permit, &'a Calling),
    /// A question of the gateway itself, on nobody's behalf.
    Own,
}

impl<'a> About<'a> {
    pub(super) fn caller(self) -> Option<&'a Caller> {
        match self {
            Self::Call(permit, _) | Self::Withdrawal(permit, _) => Some(permit.caller()),
            Self::Own => None,
        }
    }

    pub(super) fn is_withdrawal(self) -> bool {
        matches!(self, Self::Withdrawal(..))
    }
}

/// Makes and signs what is the same in all of them.
#[derive(Debug)]
pub(super) struct Notary {
    app: AppId,
    life: Duration,
    signer: Arc<dyn Signer>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Notary {
    pub(super) fn new(app: &AppId, life: LifeSeconds, means: &Means) -> Self {
        let backing = &means.backing;
        Self {
            app: app.clone(),
            life: Duration::from_secs(life.0),
            signer: Arc::clone(&backing.signer),
            clock: Arc::clone(&backing.clock),
            entropy: Arc::clone(&backing.entropy),
        }
    }

    pub(super) fn issuer(&self) -> &str {
        self.signer.issuer()
    }

    /// The claims `iss`, `aud`, `iat`, `exp`, `jti`; `sub`, `sub_id`, `client_id`, `act` and `acti` of the caller. Of a
    /// question of the gateway's own `sub` is the gateway, and there is no `client_id`: nothing is asked for anybody.
    ///
    /// It lives for `life_seconds`, and not beyond the authority of its caller. The message that a call is over is no use
    /// of that authority: it is sent when the authority has ended, too.
    pub(super) fn claims(&self, about: About<'_>, audience: &str) -> Result<Map<String, Value>, Fault> {
        let now = self.clock.now();
        let mut claims = match about.caller() {
            Some(caller) => who(caller),
            None => Map::from_iter([("sub".to_owned(), json!(self.issuer()))]),
        };
        let expires_at = match about {
            About::Call(permit, _) => now.plus(self.life).min(permit.caller().token().node_expires_at),
            About::Withdrawal(..) | About::Own => now.plus(self.life),
        };
        if expires_at <= now {
            return Err(unavailable("the caller's delegation ends within this second"));
        }
        let mut put = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        put("iss", json!(self.issuer()));
        put("aud", json!(audience));
        put("iat", seconds(now));
        put("exp", seconds(expires_at));
        put("jti", json!(Jti::random(self.entropy.as_ref())));
        Ok(claims)
    }

    /// The one request: application, operation, digest of the arguments, and the attempt that stands in the record.
    pub(super) fn request(&self, about: About<'_>) -> Map<String, Value> {
        let mut request = Map::from_iter([("app".to_owned(), json!(self.app))]);
        if let About::Call(permit, calling) | About::Withdrawal(permit, calling) = about {
            request.insert("operation".to_owned(), json!(permit.operation().name));
            request.insert("attempt".to_owned(), json!(calling.attempt));
            // Of a message that a call is over there are no arguments.
            let digest = calling.args_digest.filter(|_| !about.is_withdrawal());
            request.extend(digest.map(|digest| ("args_digest".to_owned(), json!(digest))));
        }
        request
    }

    /// Signs them, `prefix` before the token, ready to stand in a header.
    pub(super) fn sign(
        &self,
        typ: &str,
        claims: Map<String, Value>,
        prefix: &str,
    ) -> Result<HeaderValue, Fault> {
        let token: SecretString = self.signer.sign(typ, &Value::Object(claims))?;
        let token = token.expose_secret();
        if token.len() > TOKEN_MAX_BYTES {
            return Err(unavailable(&format!("the token about the call would have {} bytes", token.len())));
        }
        let mut value = HeaderValue::from_str(&format!("{prefix}{token}"))
            .map_err(|_| Fault::new(FaultKind::Internal, "a signed token cannot stand in a header"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// Who acts for whom, the whole chain, each agent in the namespace that names it.
fn who(caller: &Caller) -> Map<String, Value> {
    let actors = caller.chain().actors();
    let agents: Vec<_> = actors.iter().map(|actor| (&*actor.issuer, &actor.agent)).collect();
    let mut claims = on_behalf(caller.user(), &agents);
    claims.insert("acti".to_owned(), json!(caller.token().workflow));
    claims
}

fn seconds(at: Timestamp) -> Value {
    json!(at.seconds())
}

fn unavailable(cause: &str) -> Fault {
    Fault::new(FaultKind::AccessUnavailable, cause)
}
