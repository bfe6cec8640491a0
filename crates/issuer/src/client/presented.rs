use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, header::AUTHORIZATION};
use secrecy::{ExposeSecret, SecretString};
use url::form_urlencoded;
use vestibule_inbound::{Credential as Authorization, authorization};

use crate::{OAuthError, Reason, form::Form};

/// RFC 7523 §2.2.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What a request presents as its client authentication.
pub(super) enum Presented<'a> {
    Secret { client_id: String, secret: SecretString },
    Assertion { client_id: Option<&'a str>, assertion: &'a str },
}

/// Whether the request holds any part of a client authentication; the name of the client alone is none.
pub(super) fn is_any(headers: &HeaderMap, form: Form<'_>) -> bool {
    const PARAMETERS: [&str; 3] = ["client_secret", "client_assertion_type", "client_assertion"];
    headers.contains_key(AUTHORIZATION) || PARAMETERS.iter().any(|name| form.get(name).is_some())
}

pub(super) fn read<'a>(headers: &HeaderMap, form: Form<'a>) -> Result<Presented<'a>, OAuthError> {
    let header = authorization(headers).map_err(|error| OAuthError::new(Reason::ClientMalformed, error))?;
    let (client_id, secret) = (form.get("client_id"), form.get("client_secret"));
    let (kind, assertion) = (form.get("client_assertion_type"), form.get("client_assertion"));
    let has_assertion = kind.is_some() || assertion.is_some();
    // RFC 6749 §2.3: "MUST NOT use more than one authentication method in each request".
    if [header.is_some(), secret.is_some(), has_assertion].into_iter().filter(|used| *used).count() > 1 {
        return Err(Reason::ClientMixed.into());
    }
    if let Some(header) = header {
        return basic(header, client_id).ok_or_else(|| Reason::ClientMalformed.into());
    }
    if let (Some(client_id), Some(secret)) = (client_id, secret) {
        return Ok(Presented::Secret { client_id: client_id.to_owned(), secret: secret.into() });
    }
    match (kind, assertion) {
        (Some(ASSERTION_TYPE), Some(assertion)) => Ok(Presented::Assertion { client_id, assertion }),
        (None, None) => Err(Reason::ClientMissing.into()),
        (Some(_) | None, _) => Err(Reason::ClientMalformed.into()),
    }
}

/// RFC 6749 §2.3.1: identifier and secret are form-encoded, then put together for RFC 7617.
fn basic(header: Authorization<'_>, beside: Option<&str>) -> Option<Presented<'static>> {
    if !header.is("Basic") {
        return None;
    }
    let decoded = SecretString::from(String::from_utf8(STANDARD.decode(header.value).ok()?).ok()?);
    let (client_id, secret) = decoded.expose_secret().split_once(':')?;
    let client_id = form_decoded(client_id)?;
    if beside.is_some_and(|id| id != client_id) {
        return None;
    }
    Some(Presented::Secret { secret: form_decoded(secret)?.into(), client_id })
}

fn form_decoded(text: &str) -> Option<String> {
    if text.contains(['&', '=']) {
        return None;
    }
    let mut parts = form_urlencoded::parse(text.as_bytes());
    parts.next().map(|(text, _)| text.into_owned())
}
