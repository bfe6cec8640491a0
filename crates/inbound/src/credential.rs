use std::fmt;

use http::{HeaderMap, header::AUTHORIZATION};

use crate::jws::TOKEN_MAX_BYTES;

/// Room for the name of the scheme beside the longest token.
const HEADER_MAX_BYTES: usize = TOKEN_MAX_BYTES + 16;

/// What the one `Authorization` header presents (RFC 9110 §11.4).
#[derive(Clone, Copy)]
pub struct Credential<'a> {
    /// The name of the scheme, as sent: compare it without case.
    pub scheme: &'a str,
    /// The rest, without surrounding spaces. Secret.
    pub value: &'a str,
}

impl Credential<'_> {
    /// Whether it is of that scheme.
    #[must_use]
    pub fn is(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

/// Why the `Authorization` header cannot be read in one way only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthorizationError {
    /// Two parties may each choose another one.
    #[error("more than one `Authorization` header")]
    Repeated,
    /// More than any credential needs.
    #[error("the `Authorization` header is too long")]
    TooLong,
    /// Not a scheme, a space and a value in visible ASCII.
    #[error("the `Authorization` header is not a scheme and a value")]
    Malformed,
}

/// The credential in the one `Authorization` header; none when there is no such header.
///
/// # Errors
/// [`AuthorizationError`], when the header is repeated, too long or not a scheme and a value.
pub fn authorization(headers: &HeaderMap) -> Result<Option<Credential<'_>>, AuthorizationError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(AuthorizationError::Repeated);
    }
    if value.len() > HEADER_MAX_BYTES {
        return Err(AuthorizationError::TooLong);
    }
    let text = value.to_str().map_err(|_| AuthorizationError::Malformed)?;
    let (scheme, value) = text.trim_matches(' ').split_once(' ').ok_or(AuthorizationError::Malformed)?;
    Ok(Some(Credential { scheme, value: value.trim_start_matches(' ') }))
}
