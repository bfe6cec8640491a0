//! Door two: with which credential an application is called.
//!
//! Guarantees, against an agent that may call an application, and against an application that may be curious:
//!
//! - no request leaves without an [`Access`], and an `Access` is made here only, from a `Permit` (or for the gateway's
//!   own questions);
//! - nothing with which the agent proved itself leaves: credentials, cookies, hop-by-hop and forwarding headers are
//!   stripped here, whatever the caller of this crate has let through before;
//! - the credential goes to the application it was obtained for, at or below its base URL, and to no redirect;
//! - the agent never sees it: it is in no error, no `Debug` text and no reply header;
//! - what an application that is itself an agent gets is for one call of one caller, and for nothing else.
//!
//! Whether the call is allowed is the lock's business, and which addresses may be connected to is `vestibule-egress`'s.

mod access;
mod authorization_server;
mod backing;
mod cache;
mod headers;
mod outbound;
mod probe;
mod renewal;
mod rotating;
mod secret_ref;
mod strategy;
mod upstream;
mod withdrawal;

pub use access::{Access, AccessFacts};
pub use authorization_server::{
    AuthorizationServerConfig, ClientAuthConfig, EndpointsConfig, SigningAlgorithm,
};
pub use backing::{Backing, Shelf, Signer, UserTokens};
pub use cache::{GiveBack, MintedFor};
pub use headers::response_headers;
pub use outbound::{Calling, Forward, Outbound, OutboundConfig, OutboundError, UpstreamConfig, Ways};
pub use probe::ProbeStep;
pub use renewal::Renewal;
pub use secret_ref::{LITERAL_SECRET, SECRET_MAX_BYTES, SecretError, SecretRef, Secrets, VaultSecrets};
pub use strategy::{
    ASSERTION_TYPE, ActorKind, AssertionConfig, BearerSubject, BlueprintConfig, CallTokenSource,
    CalledAgentConfig, Check, ClientCredentialsConfig, EntraMode, EntraOboConfig, JwtBearerConfig,
    LifeSeconds, OwnQuestions, Per, ScopesConfig, StaticConfig, StrategyConfig, Subject, SubjectTokenType,
    TXN_TOKEN_TYPE, TokenExchangeConfig, TxnTokenConfig, Wider,
};
pub use withdrawal::Withdrawal;
