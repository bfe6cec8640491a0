use std::{error::Error, fmt};

use serde_json::{Value, json};
use vestibule_model::{AgentId, Denial};
use vestibule_store::StoreError;

/// The `error` of an OAuth answer (RFC 6749 §5.2, RFC 8707 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// A parameter is missing, repeated or malformed.
    InvalidRequest,
    /// The client did not prove who it is.
    InvalidClient,
    /// A scope is malformed or more than the client may have.
    InvalidScope,
    /// The resource is unknown, or not for this client.
    InvalidTarget,
    /// Not a grant that is served here.
    UnsupportedGrantType,
    /// Try again later.
    TemporarilyUnavailable,
    /// Broken.
    ServerError,
}

impl ErrorCode {
    /// Its text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::ServerError => "server_error",
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidClient => 401,
            Self::InvalidRequest | Self::InvalidScope | Self::InvalidTarget | Self::UnsupportedGrantType => {
                400
            }
            Self::TemporarilyUnavailable => 503,
            Self::ServerError => 500,
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident, $code:literal, $error:ident, $description:expr;)*) => {
        /// Why a token was not issued: finer than what the client is told, for the record.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// All of them, for tests and documentation to walk.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The kebab-case code that records and metrics carry.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// What OAuth calls it.
            #[must_use]
            pub fn error(self) -> ErrorCode {
                match self { $(Self::$name => ErrorCode::$error,)* }
            }

            /// One neutral sentence for the client.
            #[must_use]
            pub fn description(self) -> &'static str {
                match self { $(Self::$name => $description,)* }
            }
        }
    };
}

/// One sentence for every way in which a client fails to prove who it is: which part was wrong is nobody's business
/// who does not hold the credential.
const NOT_PROVEN: &str = "client authentication failed";
const NOT_NOW: &str = "no token can be issued at the moment";

reasons! {
    /// A parameter is repeated, or one that must be there is missing.
    RequestMalformed, "token-request-malformed", InvalidRequest, "a parameter is missing, repeated or malformed";
    /// Another grant than those served.
    GrantUnsupported, "grant-unsupported", UnsupportedGrantType, "the grant type is not supported";
    /// No client authentication at all.
    ClientMissing, "client-missing", InvalidClient, "client authentication is needed";
    /// Two methods of client authentication in one request (RFC 6749 §2.3).
    ClientMixed, "client-mixed", InvalidRequest, "use exactly one method of client authentication";
    /// The `Authorization` header or the parameters of the client authentication do not parse.
    ClientMalformed, "client-malformed", InvalidClient, NOT_PROVEN;
    /// No such agent.
    ClientUnknown, "client-unknown", InvalidClient, NOT_PROVEN;
    /// Not its secret.
    ClientSecretWrong, "client-secret-wrong", InvalidClient, NOT_PROVEN;
    /// A secret from an agent that has keys, or an assertion from one that has a secret.
    ClientMethodWrong, "client-method-wrong", InvalidClient, NOT_PROVEN;
    /// The assertion does not parse, has another type, or no key of the agent signed it.
    AssertionInvalid, "assertion-invalid", InvalidClient, NOT_PROVEN;
    /// Issuer, subject and client are not one.
    AssertionWrongSubject, "assertion-wrong-subject", InvalidClient, NOT_PROVEN;
    /// For another server.
    AssertionWrongAudience, "assertion-wrong-audience", InvalidClient, NOT_PROVEN;
    /// Past its expiry.
    AssertionExpired, "assertion-expired", InvalidClient, NOT_PROVEN;
    /// Valid for longer than is accepted.
    AssertionTooLong, "assertion-too-long", InvalidClient, NOT_PROVEN;
    /// Issued in the future.
    AssertionNotYetValid, "assertion-not-yet-valid", InvalidClient, NOT_PROVEN;
    /// Used before.
    AssertionReplayed, "assertion-replayed", InvalidClient, NOT_PROVEN;
    /// The agent has been taken out of use.
    AgentRetired, "agent-retired", InvalidClient, NOT_PROVEN;
    /// The agent is revoked.
    AgentRevoked, "agent-revoked", InvalidClient, NOT_PROVEN;
    /// A scope that does not parse or that the agent may not have.
    ScopeNotAllowed, "scope-not-allowed", InvalidScope, "the scope is malformed or exceeds what the client may have";
    /// No resource, and more than one would do.
    TargetMissing, "target-missing", InvalidTarget, "name the resource that the token is for";
    /// More than one resource.
    TargetRepeated, "target-repeated", InvalidTarget, "name one resource only";
    /// Not a resource of this gateway, or not one of the agent's applications.
    TargetNotAllowed, "target-not-allowed", InvalidTarget, "the resource is unknown or not for this client";
    /// The view of what is revoked is too old.
    ContainmentStale, "containment-stale", TemporarilyUnavailable, NOT_NOW;
    /// The store cannot be reached.
    StoreUnavailable, "store-unavailable", TemporarilyUnavailable, NOT_NOW;
    /// A bug, or a key that does not sign.
    Internal, "internal", ServerError, "the gateway failed";
}

/// Why no token was issued: what to answer and what to record.
#[derive(Debug, PartialEq, Eq)]
pub struct OAuthError {
    /// Which reason.
    pub reason: Reason,
    /// Why in detail, for the log and the record. Never for the client.
    pub cause: String,
    /// The agent, once it has proved itself.
    pub agent: Option<AgentId>,
}

impl OAuthError {
    pub(crate) fn new(reason: Reason, cause: impl fmt::Display) -> Self {
        Self { reason, cause: cause.to_string(), agent: None }
    }

    /// With the whole chain of causes, which nobody else will see.
    pub(crate) fn broken(reason: Reason, error: &dyn Error) -> Self {
        let mut cause = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            cause.push_str(": ");
            cause.push_str(&error.to_string());
            source = error.source();
        }
        Self { reason, cause, agent: None }
    }

    pub(crate) fn of(self, agent: &AgentId) -> Self {
        Self { agent: Some(agent.clone()), ..self }
    }

    /// The HTTP status of the answer.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.reason.error().status()
    }

    /// The body of the answer (RFC 6749 §5.2).
    #[must_use]
    pub fn body(&self) -> Value {
        json!({"error": self.reason.error().as_str(), "error_description": self.reason.description()})
    }

    /// The `WWW-Authenticate` of the answer. RFC 9110 §15.5.2: every 401 has one; RFC 6749 §5.2: it names the scheme
    /// that a client would use in the header.
    #[must_use]
    pub fn challenge(&self) -> Option<&'static str> {
        (self.status() == 401).then_some(r#"Basic realm="vestibule""#)
    }
}

impl fmt::Display for OAuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.code(), self.cause)
    }
}

impl Error for OAuthError {}

impl From<Reason> for OAuthError {
    fn from(reason: Reason) -> Self {
        Self::new(reason, "")
    }
}

impl From<StoreError> for OAuthError {
    fn from(error: StoreError) -> Self {
        Self::broken(Reason::StoreUnavailable, &error)
    }
}

/// What containment says about an agent, in the words of this endpoint.
impl From<Denial> for OAuthError {
    fn from(denial: Denial) -> Self {
        let stale = denial == Denial::ContainmentStale;
        Self::new(if stale { Reason::ContainmentStale } else { Reason::AgentRevoked }, denial)
    }
}
