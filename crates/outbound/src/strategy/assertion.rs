use http::{HeaderName, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vestibule_model::{AppId, Fault};

use super::{
    BrokenRule, Granted, Means, broken,
    notary::{About, LifeSeconds, Notary, check_audience},
};
use crate::{OutboundError, access::Placement, headers};

/// The `typ` of an assertion: nothing of ours and nothing of OAuth has it, so it can be taken for nothing else
/// (RFC 8725 §3.11).
pub const ASSERTION_TYPE: &str = "vst-assertion+jwt";

/// The key of the header.
const HEADER: &str = "assertion.header";

/// A token that the gateway signs for each call, for an application that trusts the gateway: it says for whom the call
/// is, through which agents, and which one operation with which arguments. The application verifies it with the keys at
/// `/oauth/jwks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AssertionConfig {
    /// The `aud` of the token: what the application knows itself by.
    pub audience: String,
    /// How long a token is good, in seconds: 10 to 60. For one call, so as long as the call takes to arrive.
    #[serde(default)]
    pub life_seconds: LifeSeconds,
    /// A header of its own for the token, without a scheme before it; `Authorization: Bearer` without one.
    #[serde(default)]
    pub header: Option<String>,
}

impl AssertionConfig {
    pub(super) fn check(&self, issuer: &str) -> Result<(), BrokenRule> {
        check_audience(&self.audience, issuer).map_err(|rule| ("assertion.audience", rule))?;
        self.place().map(drop).map_err(|rule| (HEADER, rule))
    }

    /// Where the token is put, and what stands before it.
    fn place(&self) -> Result<(HeaderName, &'static str), &'static str> {
        match &self.header {
            None => Ok((header::AUTHORIZATION, "Bearer ")),
            Some(name) => Ok((own_header(name)?, "")),
        }
    }
}

/// Assertions at work.
#[derive(Debug)]
pub(crate) struct Assertion {
    audience: String,
    header: HeaderName,
    prefix: &'static str,
    notary: Notary,
}

impl Assertion {
    pub(super) fn new(app: &AppId, config: AssertionConfig, means: &Means) -> Result<Self, OutboundError> {
        let (header, prefix) = config.place().map_err(|rule| broken(app, (HEADER, rule)))?;
        Ok(Self {
            notary: Notary::new(app, config.life_seconds, means),
            audience: config.audience,
            header,
            prefix,
        })
    }

    /// Never cached: it names this very call.
    pub(super) fn obtain(&self, about: About<'_>) -> Result<Granted, Fault> {
        let mut claims = self.notary.claims(about, &self.audience)?;
        let mut request = self.notary.request(about);
        if about.is_withdrawal() {
            request.insert("withdraws".to_owned(), Value::Bool(true));
        }
        claims.insert("vst_op".to_owned(), Value::Object(request));
        let value = self.notary.sign(ASSERTION_TYPE, claims, self.prefix)?;
        Ok(Granted::of("assertion", Placement::Header(self.header.clone(), value)))
    }

    pub(super) fn describe(&self) -> String {
        format!("assertion: a token per call for `{}`, signed by `{}`", self.audience, self.notary.issuer())
    }
}

/// A header that is nobody else's.
fn own_header(name: &str) -> Result<HeaderName, &'static str> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "is not the name of a header")?;
    if headers::is_reserved(&name) {
        return Err("belongs to the connection or to the forwarding, not to a credential: take another name");
    }
    if name == header::AUTHORIZATION {
        return Err("there a token has a scheme: leave `header` out for `Authorization: Bearer`");
    }
    if name.as_str() == super::txn_token::HEADER {
        return Err("is for transaction tokens: take another name, or `txn-token`");
    }
    Ok(name)
}
