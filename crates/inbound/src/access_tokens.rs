use http::HeaderMap;
use vestibule_model::{Denial, Digest, Refusal};

use crate::{Credential, HopTokens, Outcome, OutsideTokens, Presented, Scheme, authorization};

/// The scheme for access tokens, ours and those of outside issuers, where the operator has named any.
///
/// Whose token it is, its issuer says, and nothing else: ours are signed by us, and a token that names a configured
/// issuer is judged by the keys of that one alone. So none is ever tried as both. A token of ours waits for nobody.
#[derive(Debug)]
pub struct AccessTokens {
    own: HopTokens,
    outside: OutsideTokens,
}

/// The access token that a request presents, if that is what it presents.
pub(crate) fn presented_token(headers: &HeaderMap) -> Result<Option<Credential<'_>>, Refusal> {
    let credential =
        authorization(headers).map_err(|error| Refusal::new(Denial::CredentialMalformed, error))?;
    Ok(credential.filter(|credential| credential.is("Bearer") || credential.is("DPoP")))
}

impl AccessTokens {
    /// Ours, and those of outside issuers.
    #[must_use]
    pub fn new(own: HopTokens, outside: OutsideTokens) -> Self {
        Self { own, outside }
    }
}

impl Scheme for AccessTokens {
    fn name(&self) -> &'static str {
        "access-token"
    }

    fn verify<'a>(&'a self, presented: &'a Presented<'a>) -> Outcome<'a> {
        let credential = match presented_token(presented.headers) {
            Ok(Some(credential)) => credential,
            Ok(None) => return Outcome::NotPresented,
            Err(refusal) => return Outcome::Rejected(refusal),
        };
        let digest = Digest::of(credential.value.as_bytes());
        if let Some(known) = self.own.remembered(&digest) {
            return self.own.let_in(&known, &credential, presented).into();
        }
        if let Some(known) = self.outside.remembered(&digest, presented.resource) {
            return self.outside.let_in(&known, &credential, presented).into();
        }
        match self.own.verified(credential.value, digest) {
            Ok(known) => self.own.let_in(&known, &credential, presented).into(),
            Err(_) if self.outside.is_named_by(credential.value) => {
                Outcome::Waiting(Box::pin(self.outside.admit(credential, digest, presented)))
            }
            Err(refusal) => Outcome::Rejected(refusal),
        }
    }
}
