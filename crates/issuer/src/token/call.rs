use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Value, json};
use vestibule_inbound::{CALL_TOKEN_TYPE, Caller, jws::TOKEN_MAX_BYTES};
use vestibule_model::{AgentId, AttemptId, Fault, FaultKind, Jti};

use super::claims;
use crate::{Issuer, lineage::Lineage};

impl Issuer {
    /// The token for an agent that is called: by whom, for whom and within which call. It opens nothing. The agent
    /// exchanges it, with its own client authentication, for a hop token below the caller's node.
    ///
    /// It lives for `life`, and not beyond the caller's node.
    ///
    /// # Errors
    /// [`FaultKind::AccessUnavailable`] when it cannot be signed, or would be longer than any token may be.
    pub fn call_token(
        &self,
        caller: &Caller,
        agent: &AgentId,
        call: AttemptId,
        life: Duration,
    ) -> Result<SecretString, Fault> {
        let lineage = Lineage::of_caller(caller);
        let facts = caller.token();
        let now = lineage.since().map_or(self.clock.now(), |since| self.clock.now().max(since));
        let expires_at = now.plus(life).min(facts.node_expires_at);
        let mut claims = lineage.claims(&self.config.issuer);
        let mut put = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        put("iss", json!(self.config.issuer));
        put("aud", json!(agent));
        put("call", json!(call));
        put("jti", json!(Jti::random(self.entropy.as_ref())));
        put("iat", json!(now.seconds()));
        put("exp", json!(expires_at.seconds()));
        put("vst", lineage.vst());
        claims::bounds(&mut claims, &facts.scopes, facts.authority.as_ref());
        let fault = |cause: &dyn std::fmt::Display| Fault::new(FaultKind::AccessUnavailable, cause);
        let token = self.keys.sign(CALL_TOKEN_TYPE, &Value::Object(claims)).map_err(|error| fault(&error))?;
        if token.len() > TOKEN_MAX_BYTES {
            return Err(fault(&format!("the token about the call would have {} bytes", token.len())));
        }
        Ok(token.into())
    }
}
