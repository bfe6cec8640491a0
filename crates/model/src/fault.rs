use std::{fmt, sync::Arc, time::Duration};

use crate::Denial;

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultOf {
    /// Ours: alert.
    Gateway,
    /// The application's.
    Upstream,
}

/// What broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The record cannot be written; what cannot be recorded is refused.
    EvidenceUnavailable,
    /// The database cannot be reached.
    StoreUnavailable,
    /// The application's operations are not known yet.
    AppNotReady,
    /// The credential for the application cannot be obtained: there is none, or whoever gives it says no.
    AccessUnavailable,
    /// The authorization server that gives the credential cannot be reached, or says that it is broken.
    AuthorizationServerUnavailable,
    /// It did not answer in time.
    AuthorizationServerTimeout,
    /// Its answer is not usable: no token, or another one than was asked for.
    AuthorizationServerInvalid,
    /// No connection to the application.
    UpstreamUnreachable,
    /// The application did not answer in time.
    UpstreamTimeout,
    /// The application failed too often, or an operator said so: its circuit breaker is open, and it is not called.
    UpstreamSuspended,
    /// The application's answer is not usable: too large, not what it claims to be.
    UpstreamInvalid,
    /// A bug.
    Internal,
}

impl FaultKind {
    /// All of them, for tests and documentation to walk.
    pub const ALL: &'static [Self] = &[
        Self::EvidenceUnavailable,
        Self::StoreUnavailable,
        Self::AppNotReady,
        Self::AccessUnavailable,
        Self::AuthorizationServerUnavailable,
        Self::AuthorizationServerTimeout,
        Self::AuthorizationServerInvalid,
        Self::UpstreamUnreachable,
        Self::UpstreamTimeout,
        Self::UpstreamSuspended,
        Self::UpstreamInvalid,
        Self::Internal,
    ];

    /// The kebab-case code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::EvidenceUnavailable => "evidence-unavailable",
            Self::StoreUnavailable => "store-unavailable",
            Self::AppNotReady => "app-not-ready",
            Self::AccessUnavailable => "access-unavailable",
            Self::AuthorizationServerUnavailable => "authorization-server-unavailable",
            Self::AuthorizationServerTimeout => "authorization-server-timeout",
            Self::AuthorizationServerInvalid => "authorization-server-invalid",
            Self::UpstreamUnreachable => "upstream-unreachable",
            Self::UpstreamTimeout => "upstream-timeout",
            Self::UpstreamSuspended => "upstream-suspended",
            Self::UpstreamInvalid => "upstream-invalid",
            Self::Internal => "internal",
        }
    }

    /// The HTTP status of the answer.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::EvidenceUnavailable
            | Self::StoreUnavailable
            | Self::AppNotReady
            | Self::UpstreamSuspended => 503,
            Self::AccessUnavailable
            | Self::AuthorizationServerUnavailable
            | Self::AuthorizationServerInvalid
            | Self::UpstreamUnreachable
            | Self::UpstreamInvalid => 502,
            Self::AuthorizationServerTimeout | Self::UpstreamTimeout => 504,
            Self::Internal => 500,
        }
    }

    /// One neutral sentence for the caller.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::EvidenceUnavailable => "the gateway cannot record, so it does not forward",
            Self::StoreUnavailable => "the gateway cannot reach its state",
            Self::AppNotReady => "the application has not answered the gateway yet",
            Self::AccessUnavailable => "the gateway has no credential for the application",
            Self::AuthorizationServerUnavailable => {
                "the server that gives the credential for the application cannot be reached"
            }
            Self::AuthorizationServerTimeout => {
                "the server that gives the credential for the application did not answer in time"
            }
            Self::AuthorizationServerInvalid => {
                "the server that gives the credential for the application gave none that can be used"
            }
            Self::UpstreamUnreachable => "the application cannot be reached",
            Self::UpstreamTimeout => "the application did not answer in time",
            Self::UpstreamSuspended => "the application is left alone for now; try again later",
            Self::UpstreamInvalid => "the application's answer cannot be used",
            Self::Internal => "the gateway failed",
        }
    }

    /// Whose fault it is.
    #[must_use]
    pub fn of(self) -> FaultOf {
        match self {
            Self::EvidenceUnavailable | Self::StoreUnavailable | Self::Internal => FaultOf::Gateway,
            Self::AppNotReady
            | Self::AccessUnavailable
            | Self::AuthorizationServerUnavailable
            | Self::AuthorizationServerTimeout
            | Self::AuthorizationServerInvalid
            | Self::UpstreamUnreachable
            | Self::UpstreamTimeout
            | Self::UpstreamSuspended
            | Self::UpstreamInvalid => FaultOf::Upstream,
        }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        !matches!(self, Self::Internal | Self::UpstreamInvalid | Self::AuthorizationServerInvalid)
    }
}

/// Something broke. The cause is for the log, never for the caller.
#[derive(Debug)]
pub struct Fault {
    /// What broke.
    pub kind: FaultKind,
    /// Why, for the log.
    pub cause: String,
    /// When to try again, where that is known.
    pub retry_after: Option<Duration>,
}

impl Fault {
    /// A fault with its cause.
    pub fn new(kind: FaultKind, cause: impl fmt::Display) -> Self {
        Self { kind, cause: cause.to_string(), retry_after: None }
    }

    /// Says when to try again.
    #[must_use]
    pub fn after(self, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..self }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.code(), self.cause)
    }
}

impl std::error::Error for Fault {}

/// A limit that is used up, as the `RateLimit` fields of the answer tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpentLimit {
    /// The name of its rule: lower-case letters, digits and hyphens.
    pub rule: Arc<str>,
    /// How many calls it allows.
    pub calls: u64,
    /// Within how many seconds.
    pub seconds: u64,
    /// Seconds until there is room again.
    pub wait_seconds: u64,
}

/// A denial with what the surfaces and the record need to know about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Which no.
    pub denial: Denial,
    /// Why, for the log and the record. Never for the caller.
    pub cause: String,
    /// What the caller can do about it: for agents' authors to read. Holds nothing that the caller may not know.
    pub hints: Vec<String>,
    /// The scopes that would do, for a step-up challenge.
    pub scopes: Vec<String>,
    /// When to try again.
    pub retry_after: Option<Duration>,
    /// The limits that are used up.
    pub limits: Vec<SpentLimit>,
}

impl Refusal {
    /// A refusal with nothing but its cause.
    pub fn new(denial: Denial, cause: impl fmt::Display) -> Self {
        let (hints, scopes, limits) = (Vec::new(), Vec::new(), Vec::new());
        Self { denial, cause: cause.to_string(), hints, scopes, retry_after: None, limits }
    }
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        Self::new(denial, "")
    }
}

/// Why a request went no further: our decision, or something that broke.
#[derive(Debug)]
pub enum Stop {
    /// We said no.
    Denied(Box<Refusal>),
    /// Something broke.
    Failed(Fault),
}

impl Stop {
    /// The code that records, metrics and answers carry.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Denied(refusal) => refusal.denial.code(),
            Self::Failed(fault) => fault.kind.code(),
        }
    }
}

impl From<Denial> for Stop {
    fn from(denial: Denial) -> Self {
        Self::Denied(Box::new(denial.into()))
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Denied(Box::new(refusal))
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
}
