use std::collections::BTreeMap;

use super::{Told, refusal::Refused};
use crate::Seen;

/// A request body of the token endpoint.
#[derive(Debug)]
pub(super) struct Form(BTreeMap<String, String>);

impl Form {
    /// The pages show every request as `POST` with `Content-Type: application/x-www-form-urlencoded` and all parameters,
    /// credentials among them, in the body.
    pub(super) fn of(seen: &Seen) -> Told<Self> {
        let malformed = |text: &str| Refused::request(9_002_313, text);
        if seen.method != "POST" {
            return Err(Refused::request(900_561, "The endpoint only accepts POST requests."));
        }
        if seen.header("content-type") != "application/x-www-form-urlencoded" {
            return Err(malformed("Invalid request. The body must be form-encoded."));
        }
        if seen.query.is_some() || seen.headers.contains_key("authorization") {
            return Err(malformed("Invalid request. Parameters and credentials stand in the body."));
        }
        let mut fields = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(&seen.body) {
            // RFC 6749 §3.2: parameters MUST NOT be included more than once.
            if fields.insert(name.clone().into_owned(), value.into_owned()).is_some() {
                return Err(malformed(&format!("Invalid request. The parameter '{name}' is duplicated.")));
            }
        }
        Ok(Self(fields))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A parameter that has to be there.
    pub(super) fn required(&self, name: &str) -> Told<&str> {
        let missing = || {
            let text = format!("The request body must contain the following parameter: '{name}'.");
            Refused::request(900_144, text)
        };
        self.get(name).filter(|value| !value.is_empty()).ok_or_else(missing)
    }

    /// Refuses what the documentation does not show for the step.
    pub(super) fn only(&self, documented: &[&str]) -> Told<()> {
        // `identity-platform/v2-oauth2-on-behalf-of-flow`: v2 names the resource in `scope`, AADSTS901002.
        if self.0.contains_key("resource") {
            return Err(Refused::request(901_002, "The 'resource' request parameter is not supported."));
        }
        match self.0.keys().find(|name| !documented.contains(&name.as_str())) {
            Some(name) => {
                let text = format!("Invalid request. The parameter '{name}' is not part of this step.");
                Err(Refused::request(9_002_313, text))
            }
            None => Ok(()),
        }
    }

    pub(super) fn into_fields(self) -> BTreeMap<String, String> {
        self.0
    }
}
