use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use vestibule_model::{AgentId, AttemptId, Clock, Digest, Refusal};

use crate::{
    Caller, Expired, VerificationKeys,
    hop_claims::{Kind, invalid, text},
    jws::{Algorithm, Profile},
    own_tokens::OwnTokens,
};

/// The `typ` of a per-call token.
pub const CALL_TOKEN_TYPE: &str = "vst-call+jwt";

const PROFILE: Profile =
    Profile { types: &[CALL_TOKEN_TYPE], is_type_optional: false, algorithms: &[Algorithm::Es256] };

/// Reads per-call tokens: what the gateway hands to an agent that is called, about the call.
///
/// It opens nothing: no resource takes it (its type is not that of an access token), and whoever presents it at the
/// token endpoint has to authenticate as the agent that it names, so it is no use to whoever finds it.
pub struct CallTokens(OwnTokens);

/// What a per-call token says.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CallToken {
    /// Who calls: its chain, its node, its authority, the human it acts for.
    pub caller: Caller,
    /// The agent that is called: nobody else may use the token.
    pub agent: AgentId,
    /// The call: what is done with the token ends with it.
    pub call: AttemptId,
}

impl CallTokens {
    /// For the tokens of `issuer`.
    #[must_use]
    pub fn new(issuer: &str, keys: Arc<ArcSwap<VerificationKeys>>, clock: Arc<dyn Clock>) -> Self {
        Self(OwnTokens { issuer: issuer.into(), keys, clock })
    }

    /// What the token says, if it is one of ours and good at this moment. Whether the call is still under way is
    /// containment's to say.
    ///
    /// # Errors
    /// As for a hop token.
    pub fn read(&self, token: &str) -> Result<CallToken, Refusal> {
        let digest = Digest::of(token.as_bytes());
        let signed = self.0.verify(token, &PROFILE, |claims| {
            let call = AttemptId::parse(text(claims, "call")?).map_err(invalid)?;
            Ok((self.0.read(claims, digest, Kind::Call)?, call))
        })?;
        let (claims, call) = signed.content;
        self.0.check_time(&claims, Expired::Refused)?;
        let agent = AgentId::new(&claims.caller.token().audience).map_err(invalid)?;
        Ok(CallToken { caller: claims.caller, agent, call })
    }
}

impl fmt::Debug for CallTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallTokens").field("issuer", &self.0.issuer).finish_non_exhaustive()
    }
}
