//! Why no token was issued.

mod reason;

use std::{error::Error, fmt, iter};

use serde_json::{Value, json};
use vestibule_inbound::Caller;
use vestibule_model::{Actor, AgentId, AttemptId, Denial, NodeId, Refusal, UserId, WorkflowId};
use vestibule_policy::Decision;
use vestibule_store::StoreError;

pub use reason::Reason;

/// The `error` of an OAuth answer (RFC 6749 §5.2, RFC 8707 §2, RFC 9396 §5, RFC 9449 §5 and §8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// A parameter is missing, repeated or malformed; or a token that is exchanged is not acceptable (RFC 8693 §2.2.2).
    InvalidRequest,
    /// The client did not prove who it is.
    InvalidClient,
    /// The client may not do this.
    UnauthorizedClient,
    /// A scope is malformed or more than the client may have.
    InvalidScope,
    /// The resource is unknown, or not for this client.
    InvalidTarget,
    /// The authorization details are malformed or more than the client may have.
    InvalidAuthorizationDetails,
    /// The proof of possession is missing or not valid.
    InvalidDpopProof,
    /// The proof of possession needs the nonce that comes with the answer.
    UseDpopNonce,
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
            Self::UnauthorizedClient => "unauthorized_client",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidAuthorizationDetails => "invalid_authorization_details",
            Self::InvalidDpopProof => "invalid_dpop_proof",
            Self::UseDpopNonce => "use_dpop_nonce",
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
            Self::InvalidRequest
            | Self::UnauthorizedClient
            | Self::InvalidScope
            | Self::InvalidTarget
            | Self::InvalidAuthorizationDetails
            | Self::InvalidDpopProof
            | Self::UseDpopNonce
            | Self::UnsupportedGrantType => 400,
            Self::TemporarilyUnavailable => 503,
            Self::ServerError => 500,
        }
    }
}

/// Where in the tree of delegations somebody stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The human.
    pub user: Option<UserId>,
    /// The agents from the root on, each with its node.
    pub chain: Vec<(Actor, Option<NodeId>)>,
    /// The tree.
    pub workflow: WorkflowId,
    /// The calls within which the agent was invoked.
    pub calls: Vec<AttemptId>,
}

impl Standing {
    fn of(caller: &Caller) -> Self {
        let token = caller.token();
        let nodes = token.nodes.iter().map(|node| Some(node.id.clone())).chain(iter::repeat(None));
        Self {
            user: caller.user().cloned(),
            chain: caller.chain().actors().iter().cloned().zip(nodes).collect(),
            workflow: token.workflow.clone(),
            calls: token.calls.clone(),
        }
    }
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
    /// Under whose token it was asked, once that is verified, and its presenter known or the token found to be revoked:
    /// so that a refusal stands in the tree to which it belongs.
    pub subject: Option<Box<Standing>>,
    /// What policy decided, if it was asked whether the agent may delegate.
    pub decision: Option<Box<Decision>>,
    /// For the `DPoP-Nonce` header of the answer (RFC 9449 §8).
    pub nonce: Option<String>,
    error: ErrorCode,
}

impl OAuthError {
    pub(crate) fn new(reason: Reason, cause: impl fmt::Display) -> Self {
        let (cause, error) = (cause.to_string(), reason.error());
        Self { reason, cause, agent: None, subject: None, decision: None, nonce: None, error }
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
        Self::new(reason, cause)
    }

    pub(crate) fn of(self, agent: &AgentId) -> Self {
        Self { agent: Some(agent.clone()), ..self }
    }

    pub(crate) fn under(self, caller: &Caller) -> Self {
        Self { subject: Some(Box::new(Standing::of(caller))), ..self }
    }

    pub(crate) fn decided(self, decision: Decision) -> Self {
        Self { decision: Some(Box::new(decision)), ..self }
    }

    /// About a token that is exchanged, not about a client that proves itself. RFC 8693 §2.2.2: if a token is
    /// "unacceptable based on policy", the error is `invalid_request`.
    pub(crate) fn about_token(self) -> Self {
        match self.error {
            ErrorCode::InvalidClient | ErrorCode::UnauthorizedClient => {
                Self { error: ErrorCode::InvalidRequest, ..self }
            }
            ErrorCode::InvalidRequest
            | ErrorCode::InvalidScope
            | ErrorCode::InvalidTarget
            | ErrorCode::InvalidAuthorizationDetails
            | ErrorCode::InvalidDpopProof
            | ErrorCode::UseDpopNonce
            | ErrorCode::UnsupportedGrantType
            | ErrorCode::TemporarilyUnavailable
            | ErrorCode::ServerError => self,
        }
    }

    /// What OAuth calls it here.
    #[must_use]
    pub fn error(&self) -> ErrorCode {
        self.error
    }

    /// The HTTP status of the answer.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.error.status()
    }

    /// The body of the answer (RFC 6749 §5.2).
    #[must_use]
    pub fn body(&self) -> Value {
        // No client has failed to prove itself where a token is the matter.
        let is_about_token =
            self.reason.error() == ErrorCode::InvalidClient && self.error != ErrorCode::InvalidClient;
        let description = if is_about_token { reason::ENDED } else { self.reason.description() };
        json!({"error": self.error.as_str(), "error_description": description})
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

/// What containment says, in the words of this endpoint.
impl From<Denial> for OAuthError {
    fn from(denial: Denial) -> Self {
        Self::new(Reason::of(denial), denial)
    }
}

/// What door one says about a token of ours.
impl From<Refusal> for OAuthError {
    fn from(refusal: Refusal) -> Self {
        Self::new(Reason::of(refusal.denial), format!("{}: {}", refusal.denial, refusal.cause))
    }
}
