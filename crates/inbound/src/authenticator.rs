use std::{fmt, pin::Pin};

use http::HeaderMap;
use url::form_urlencoded;
use vestibule_model::{AppId, Denial, Refusal};

use crate::{Caller, authorization};

/// What a request presents to door one.
#[derive(Clone, Copy)]
pub struct Presented<'a> {
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its query, as sent, without the question mark.
    pub query: Option<&'a str>,
    /// The identifier of the resource it asks for, from configuration and never from `Host`.
    pub resource: &'a str,
    /// The application that this is the resource of.
    pub app: &'a AppId,
    /// Its method.
    pub method: &'a str,
    /// Its URL without the query: the origin from configuration and the path as sent. What a proof of possession must
    /// name as `htu`.
    pub url: &'a str,
}

impl fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presented").field("resource", &self.resource).finish_non_exhaustive()
    }
}

/// What a scheme says to what is presented.
pub enum Outcome<'a> {
    /// Nothing of this scheme is there: the next one may look.
    NotPresented,
    /// It is good.
    Verified(Caller),
    /// It is of this scheme and it is not good. No other scheme is asked.
    Rejected(Refusal),
    /// It is of this scheme, and somebody has to be asked before more can be said. No other scheme is asked.
    Waiting(Waiting<'a>),
}

/// What is known once somebody else has answered.
pub type Waiting<'a> = Pin<Box<dyn Future<Output = Result<Caller, Refusal>> + Send + 'a>>;

impl From<Result<Caller, Refusal>> for Outcome<'_> {
    fn from(judged: Result<Caller, Refusal>) -> Self {
        match judged {
            Ok(caller) => Self::Verified(caller),
            Err(refusal) => Self::Rejected(refusal),
        }
    }
}

impl fmt::Debug for Outcome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPresented => f.write_str("NotPresented"),
            Self::Verified(caller) => f.debug_tuple("Verified").field(caller).finish(),
            Self::Rejected(refusal) => f.debug_tuple("Rejected").field(refusal).finish(),
            Self::Waiting(_) => f.write_str("Waiting"),
        }
    }
}

/// One kind of credential.
pub trait Scheme: Send + Sync {
    /// The word for it in records.
    fn name(&self) -> &'static str;
    /// Judges what is presented, at once where it can: only what has to be waited for takes a future of its own.
    fn verify<'a>(&'a self, presented: &'a Presented<'a>) -> Outcome<'a>;
}

/// Door one: the schemes in their order.
///
/// A rejected credential never falls through to another scheme, and nothing presented is ever anonymous: an attacker
/// must not be able to choose a weaker reading of the same bytes.
pub struct Authenticator(Vec<Box<dyn Scheme>>);

impl Authenticator {
    /// With these schemes, asked in this order.
    #[must_use]
    pub fn new(schemes: Vec<Box<dyn Scheme>>) -> Self {
        Self(schemes)
    }

    /// Who is calling. Waits only for what a scheme has to ask somebody else for, as the keys of an outside issuer.
    ///
    /// # Errors
    /// The refusal of the scheme that the credential belongs to; [`Denial::CredentialMissing`] when nothing is
    /// presented, [`Denial::CredentialUnsupported`] when no scheme takes what is presented.
    pub async fn authenticate(&self, presented: &Presented<'_>) -> Result<Caller, Refusal> {
        // RFC 9700 §4.3.2: URLs end up in logs and histories.
        if form_urlencoded::parse(presented.query.unwrap_or_default().as_bytes())
            .any(|(key, _)| key == "access_token")
        {
            return Err(Denial::CredentialInQuery.into());
        }
        let credential = authorization(presented.headers)
            .map_err(|error| Refusal::new(Denial::CredentialMalformed, error))?;
        for scheme in &self.0 {
            match scheme.verify(presented) {
                Outcome::NotPresented => {}
                Outcome::Verified(caller) => return Ok(caller),
                Outcome::Rejected(refusal) => return Err(refusal),
                Outcome::Waiting(waiting) => return waiting.await,
            }
        }
        Err(match credential {
            Some(_) => Refusal::new(Denial::CredentialUnsupported, "no scheme takes what is presented"),
            None => Denial::CredentialMissing.into(),
        })
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|scheme| scheme.name())).finish()
    }
}
