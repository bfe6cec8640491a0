use serde::{Deserialize, Serialize};

/// What policy said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// The attempt never came to a decision.
    #[default]
    Undecided,
    /// Yes.
    Permit,
    /// No.
    Deny,
    /// Something broke before there was a decision.
    Fault,
}

impl Decision {
    /// The kebab-case text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Undecided => "undecided",
            Self::Permit => "permit",
            Self::Deny => "deny",
            Self::Fault => "fault",
        }
    }
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// We said no.
    Refused,
    /// The reply was delivered whole.
    Completed,
    /// The application failed.
    UpstreamFailed,
    /// The client left before the application could act.
    Abandoned,
    /// The application may have acted; nobody knows.
    Unknown,
    /// Revoked in flight.
    Cut,
    /// The gateway failed.
    Failed,
}

impl Outcome {
    /// The kebab-case text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Completed => "completed",
            Self::UpstreamFailed => "upstream-failed",
            Self::Abandoned => "abandoned",
            Self::Unknown => "unknown",
            Self::Cut => "cut",
            Self::Failed => "failed",
        }
    }
}

/// How the application was told that a call that it was working on is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cancelled {
    /// By the protocol's own word, such as `notifications/cancelled`.
    Notified,
    /// By the end of its connection or stream only.
    Closed,
}

impl Cancelled {
    /// The kebab-case text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Notified => "notified",
            Self::Closed => "closed",
        }
    }
}
