use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use url::form_urlencoded;

/// The parameters of a request to an authorization server. Each may be a secret.
pub(crate) struct Form(Vec<(&'static str, SecretString)>);

impl Form {
    /// A token request of that grant type.
    pub(crate) fn grant(grant_type: &str) -> Self {
        Self(Vec::new()).with("grant_type", grant_type)
    }

    /// A request about a token (RFC 7009 §2.1, RFC 7662 §2.1).
    pub(crate) fn about(token: &SecretString) -> Self {
        Self(Vec::new()).with_secret("token", token).with("token_type_hint", "access_token")
    }

    /// Adds a parameter.
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.0.push((name, SecretString::from(value)));
        self
    }

    /// Adds a parameter, if there is a value for it. RFC 6749 §3.2: one without a value is as if it were left out.
    pub(crate) fn with_some(self, name: &'static str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Adds a parameter that is a secret.
    pub(crate) fn with_secret(mut self, name: &'static str, value: &SecretString) -> Self {
        self.0.push((name, value.clone()));
        self
    }

    /// Adds `scope`, if any is asked for.
    pub(crate) fn with_scopes<'a>(self, scopes: impl IntoIterator<Item = &'a String>) -> Self {
        let scopes: Vec<&str> = scopes.into_iter().map(String::as_str).collect();
        if scopes.is_empty() { self } else { self.with("scope", &scopes.join(" ")) }
    }

    pub(super) fn body(&self) -> String {
        let pairs = self.0.iter().map(|(name, value)| (name, value.expose_secret()));
        form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
    }

    /// What must not come back in an error text.
    pub(super) fn values(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(_, value)| value.expose_secret())
    }
}

/// Names only.
impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}
