//! What an authorization server answers.

use std::{collections::BTreeSet, time::Duration};

use http::StatusCode;
use secrecy::SecretString;
use vestibule_model::{
    Fault, FaultKind,
    json::{self, Json},
};

use super::form::Form;

/// Answers are flat, but for the claims of an introspection.
pub(crate) const DEPTH_MAX: usize = 32;
/// The life of a token of which the server does not say any (RFC 6749 §5.1: `expires_in` is RECOMMENDED).
const LIFE_UNSAID: Duration = Duration::from_secs(60);
/// However long a server says, a token is asked for again after a day.
const LIFE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Longest token.
const TOKEN_MAX_BYTES: usize = 16 << 10;
/// Longest text of a server that is recorded, in characters.
const SAID_MAX_CHARS: usize = 200;
/// From this length on a word is taken for a token, and not shown.
const WORD_MAX_CHARS: usize = 24;

/// A token answer (RFC 6749 §5.1, RFC 8693 §2.2.1). Its `token_type` is `Bearer`.
#[derive(Debug)]
pub(crate) struct TokenAnswer {
    pub(crate) token: SecretString,
    pub(crate) life: Duration,
    /// None: what was asked for.
    pub(crate) scope: Option<BTreeSet<String>>,
    pub(crate) issued_token_type: Option<String>,
}

impl TokenAnswer {
    /// The error says what is wrong, and quotes nothing.
    pub(super) fn read(body: &[u8]) -> Result<Self, &'static str> {
        let answer = json::parse(body, DEPTH_MAX).map_err(|_| "is not JSON in one reading")?;
        let text = |name: &str| answer.get(name).and_then(Json::as_str);
        let token = text("access_token").filter(|token| !token.is_empty()).ok_or("has no `access_token`")?;
        if token.len() > TOKEN_MAX_BYTES {
            return Err("has a token of more than 16 KiB");
        }
        // RFC 6749 §7.1: "The client MUST NOT use an access token if it does not understand the token type". RFC 8693
        // §2.2.1: `N_A` is no access token. `DPoP` is bound to a key.
        if !text("token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")) {
            return Err("has no token of `token_type` Bearer");
        }
        let scope = match answer.get("scope") {
            None | Some(Json::Null) => None,
            Some(scope) => Some(scope.as_str().ok_or("has a `scope` that is no text")?),
        };
        Ok(Self {
            token: SecretString::from(token),
            life: life(answer.get("expires_in"))?,
            scope: scope.map(|scope| scope.split_ascii_whitespace().map(str::to_owned).collect()),
            issued_token_type: text("issued_token_type").map(str::to_owned),
        })
    }
}

/// Some servers write the number as a text.
fn life(said: Option<&Json>) -> Result<Duration, &'static str> {
    const RULE: &str = "has an `expires_in` that is no positive number of seconds";
    let Some(said) = said.filter(|said| !matches!(said, Json::Null)) else { return Ok(LIFE_UNSAID) };
    let seconds = match said.as_str() {
        Some(text) => text.parse().ok(),
        None => said.as_i64(),
    };
    let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok()).filter(|seconds| *seconds > 0);
    Ok(Duration::from_secs(seconds.ok_or(RULE)?).min(LIFE_MAX))
}

/// What a refusal means. The status decides: codes differ from server to server for one and the same mistake, and what a
/// server says about it is for the operator's eyes alone, bounded and cleaned.
pub(super) fn refused(server: &str, what: &str, status: StatusCode, body: &[u8], sent: &Form) -> Fault {
    let kind = match status.as_u16() {
        429 | 500.. => FaultKind::AuthorizationServerUnavailable,
        400..=499 => FaultKind::AccessUnavailable,
        _ => FaultKind::AuthorizationServerInvalid,
    };
    let said = json::parse(body, DEPTH_MAX).ok();
    let text = |name: &str| said.as_ref().and_then(|said| said.get(name)).and_then(Json::as_str);
    let mut cause =
        format!("authorization server `{server}`: {what} is answered with status {}", status.as_u16());
    for name in ["error", "error_description"] {
        if let Some(text) = text(name) {
            cause.push_str(": ");
            cause.push_str(&cleaned(text, sent));
        }
    }
    Fault::new(kind, cause)
}

/// A text of a server without anything that could be a secret: what was sent, and every long word.
fn cleaned(text: &str, sent: &Form) -> String {
    let mut text: String = text.chars().take(4 * SAID_MAX_CHARS).collect();
    for value in sent.values().filter(|value| value.len() >= 6) {
        text = text.replace(value, "[…]");
    }
    let words = text.split([' ', '"', '\'', ',', ';', '(', ')', '=', ':']);
    let long: Vec<String> =
        words.filter(|word| word.chars().count() > WORD_MAX_CHARS).map(str::to_owned).collect();
    for word in long {
        // But a code such as `unsupported_token_type_hint`.
        if !word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
            text = text.replace(&word, "[…]");
        }
    }
    // RFC 6749 §5.2: no other characters than these. What else comes would be somebody else's lines in our log.
    text.chars().filter(|c| matches!(c, ' '..='~' | '…')).take(SAID_MAX_CHARS).collect()
}
