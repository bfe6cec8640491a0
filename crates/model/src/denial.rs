use std::fmt;

/// How a denial is answered, before the surface (problem+json, OAuth error, JSON-RPC error) puts it into its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// An HTTP status of its own.
    Status(u16),
    /// 401 with a challenge; the text is the RFC 6750 §3.1 error code, or none when nothing was presented.
    Challenge(Option<&'static str>),
    /// 401 with a challenge for a proof of possession (RFC 9449 §7.1); the text is the error code.
    Proof(&'static str),
    /// 403 with `insufficient_scope` and the scope that would do (RFC 6750 §3.1).
    StepUp,
    /// As if it did not exist: JSON-RPC -32602 on MCP, 404 on HTTP. Existence is itself a secret.
    Unknown,
    /// Known and visible, but not in this way: JSON-RPC 4030 on MCP, 403 on HTTP.
    Forbidden,
    /// A header contradicts the body: 400 and, on MCP, JSON-RPC -32020.
    HeaderMismatch,
}

macro_rules! denials {
    ($($(#[doc = $meaning:literal])+ $name:ident, $code:literal, $answer:expr, $sentence:literal;)*) => {
        /// A "no" of ours. Each has a code that is the same in records, metrics, problem types and documentation.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Denial {
            $($(#[doc = $meaning])+ $name,)*
        }

        impl Denial {
            /// All of them, for tests and documentation to walk.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The kebab-case code.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// How it is answered.
            #[must_use]
            pub fn answer(self) -> Answer {
                match self { $(Self::$name => $answer,)* }
            }

            /// One neutral sentence for the caller: what to do, never why in detail.
            #[must_use]
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)* }
            }

            /// What happened, in the documentation's words. For operators, never for the caller.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($meaning),+).trim_ascii(),)* }
            }

            /// The denial of that code.
            #[must_use]
            pub fn from_code(code: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|denial| denial.code() == code)
            }
        }
    };
}

denials! {
    // ---- the request as such -------------------------------------------------------------------------------
    /// `Host` is not an authority of this listener.
    HostNotAllowed, "host-not-allowed", Answer::Status(421), "the host is not served here";
    /// `Origin` is present and not allowed.
    OriginNotAllowed, "origin-not-allowed", Answer::Status(403), "the origin is not allowed";
    /// The path has encoded slashes, dot segments, empty segments or bad percent-encoding, or differs from a declared
    /// one only in case or by a suffix such as `.json`.
    PathInvalid, "path-invalid", Answer::Status(400), "the path is not in its normal form";
    /// The query is malformed or names a key twice.
    QueryInvalid, "query-invalid", Answer::Status(400), "the query is malformed or names a key twice";
    /// No such application or page.
    AppUnknown, "app-unknown", Answer::Status(404), "nothing is served at this path";
    /// The method is never served: CONNECT, TRACE, an upgrade, or not one of this resource.
    MethodNotAllowed, "method-not-allowed", Answer::Status(405), "the method is not allowed here";
    /// The body is larger than `body_max_bytes`.
    BodyTooLarge, "body-too-large", Answer::Status(413), "the body is larger than this gateway accepts";
    /// The body did not arrive in time.
    BodyTooSlow, "body-too-slow", Answer::Status(408), "the body did not arrive in time";
    /// Not what the operation declares; or JSON of which another charset, a content coding or two types are said.
    MediaTypeUnsupported, "media-type-unsupported", Answer::Status(415), "the content type is not accepted here";
    /// Not JSON, not UTF-8, a lone surrogate, or more than one value.
    JsonInvalid, "json-invalid", Answer::Status(400), "the body is not valid JSON";
    /// A key appears twice in one object.
    JsonDuplicateKey, "json-duplicate-key", Answer::Status(400), "the body names a key twice in one object";
    /// Nested deeper than `json_max_depth`.
    JsonTooDeep, "json-too-deep", Answer::Status(400), "the body is nested too deeply";
    /// More than 100,000 elements and members.
    JsonTooLarge, "json-too-large", Answer::Status(413), "the body has too many values";
    /// Not one JSON-RPC 2.0 message.
    FrameInvalid, "frame-invalid", Answer::Status(400), "the body is not one JSON-RPC message";
    /// `Mcp-Method`, `Mcp-Name` or `MCP-Protocol-Version` contradicts the body.
    HeaderMismatch, "header-mismatch", Answer::HeaderMismatch, "a header contradicts the body";
    /// `MCP-Protocol-Version` or the version in `_meta` is not one that passes here.
    ProtocolVersionUnsupported, "protocol-version-unsupported", Answer::Status(400), "the protocol version is not supported";
    /// The MCP session does not exist or belongs to somebody else.
    SessionUnknown, "session-unknown", Answer::Status(404), "the session does not exist";
    /// The agent has as many requests running and queued as it may have.
    TooManyRequests, "too-many-requests", Answer::Status(429), "too many requests of this agent are running";
    /// The bytes in flight in total are at their limit.
    BytesInFlightExceeded, "bytes-in-flight-exceeded", Answer::Status(503), "the gateway is at its memory limit";

    // ---- door one ------------------------------------------------------------------------------------------
    /// No credential at all.
    CredentialMissing, "credential-missing", Answer::Challenge(None), "a credential is needed";
    /// A credential of a scheme that is not served here. RFC 6750 §3.1: a client that used another method gets the
    /// challenge without an error code.
    CredentialUnsupported, "credential-unsupported", Answer::Challenge(None), "this kind of credential is not accepted";
    /// More than one credential, or one that does not parse as any kind.
    CredentialMalformed, "credential-malformed", Answer::Status(400), "present exactly one well-formed credential";
    /// A token in the query string (RFC 9700 §2.1: not accepted).
    CredentialInQuery, "credential-in-query", Answer::Status(400), "a token in the query string is never accepted";
    /// Malformed, or its signature does not verify.
    TokenInvalid, "token-invalid", Answer::Challenge(Some("invalid_token")), "the token is not valid";
    /// `typ` is not the one of an access token.
    TokenWrongType, "token-wrong-type", Answer::Challenge(Some("invalid_token")), "the token is not valid";
    /// Another issuer's.
    TokenWrongIssuer, "token-wrong-issuer", Answer::Challenge(Some("invalid_token")), "the token is not valid";
    /// For another resource.
    TokenWrongAudience, "token-wrong-audience", Answer::Challenge(Some("invalid_token")), "the token is not valid";
    /// `alg` is not on the list.
    TokenAlgorithmRefused, "token-algorithm-refused", Answer::Challenge(Some("invalid_token")), "the token is not valid";
    /// No key with that `kid`.
    TokenKeyUnknown, "token-key-unknown", Answer::Challenge(Some("invalid_token")), "the token is not valid";
    /// The keys of the outside issuer that signed it cannot be had.
    TokenKeysUnavailable, "token-keys-unavailable", Answer::Status(503), "the token cannot be checked at the moment";
    /// Past its `exp`.
    TokenExpired, "token-expired", Answer::Challenge(Some("invalid_token")), "the token has expired";
    /// Before its `nbf`, or issued in the future.
    TokenNotYetValid, "token-not-yet-valid", Answer::Challenge(Some("invalid_token")), "the token is not yet valid";
    /// The agent is neither registered nor on an active delegation.
    AgentUnknown, "agent-unknown", Answer::Challenge(Some("invalid_token")), "the token is not valid";
    /// A token that is bound to a key came without a proof of that key, as a bearer token; or one that has to be bound
    /// is not: below the first agent of a chain there are no bearer tokens.
    ProofMissing, "proof-missing", Answer::Proof("invalid_token"), "the token must come with a proof of its key";
    /// The proof is malformed, or for another request: its method, URL, token or time is not this one's.
    ProofInvalid, "proof-invalid", Answer::Proof("invalid_dpop_proof"), "the proof of possession is not valid";
    /// The proof has no nonce of this gateway, or an old one.
    ProofNonceNeeded, "proof-nonce-needed", Answer::Proof("use_dpop_nonce"), "the proof needs the nonce in `DPoP-Nonce`";
    /// The proof has been used before.
    ProofReplayed, "proof-replayed", Answer::Proof("invalid_dpop_proof"), "the proof of possession is not valid";
    /// The proof is by another key than the one that the token is bound to.
    ProofWrongKey, "proof-wrong-key", Answer::Proof("invalid_token"), "the token is not valid";
    /// More proofs than can be remembered against replay.
    ProofsExceeded, "proofs-exceeded", Answer::Status(503), "the gateway is at its limit for proofs of possession";

    // ---- containment ---------------------------------------------------------------------------------------
    /// This very token is revoked.
    TokenRevoked, "token-revoked", Answer::Challenge(Some("invalid_token")), "the token has been revoked";
    /// A delegation node on its path is revoked.
    DelegationRevoked, "delegation-revoked", Answer::Challenge(Some("invalid_token")), "the token has been revoked";
    /// An agent of the chain is revoked.
    AgentRevoked, "agent-revoked", Answer::Challenge(Some("invalid_token")), "the token has been revoked";
    /// The human for whom the agent acts is revoked.
    UserRevoked, "user-revoked", Answer::Challenge(Some("invalid_token")), "the token has been revoked";
    /// The session of the human at their issuer is revoked.
    SessionRevoked, "session-revoked", Answer::Challenge(Some("invalid_token")), "the token has been revoked";
    /// The client that obtained the human's token is revoked.
    ClientRevoked, "client-revoked", Answer::Challenge(Some("invalid_token")), "the token has been revoked";
    /// A key of an agent of the chain is revoked.
    CredentialRevoked, "credential-revoked", Answer::Challenge(Some("invalid_token")), "the token has been revoked";
    /// The application is closed by an order.
    AppRevoked, "app-revoked", Answer::Status(403), "the application is closed";
    /// Everything is closed by an order.
    AllRevoked, "all-revoked", Answer::Status(403), "the gateway is closed";
    /// A name on the path is suspended: an order that can be taken back.
    AgentSuspended, "agent-suspended", Answer::Status(403), "suspended for now";
    /// The call within which the agent was invoked has ended.
    CallEnded, "call-ended", Answer::Challenge(Some("invalid_token")), "the call that this token belongs to has ended";
    /// The caller has called its own call off.
    CallCalledOff, "call-called-off", Answer::Status(409), "the call has been called off";
    /// The view of what is revoked is older than the lease allows.
    ContainmentStale, "containment-stale", Answer::Status(503), "the gateway cannot tell what is revoked";

    // ---- the lock ------------------------------------------------------------------------------------------
    /// An MCP method that is not let through.
    MethodRefused, "method-refused", Answer::Unknown, "the method is not available";
    /// No such operation.
    OperationUnknown, "operation-unknown", Answer::Unknown, "the operation does not exist";
    /// Exists, but nothing could permit it to this caller.
    OperationNotPermitted, "operation-not-permitted", Answer::Unknown, "the operation does not exist";
    /// Visible to this caller, but not in this way: these arguments, this time, from here.
    ArgumentsNotPermitted, "arguments-not-permitted", Answer::Forbidden, "the operation is not permitted in this way";
    /// The token lacks a scope that the operation needs.
    ScopeInsufficient, "scope-insufficient", Answer::StepUp, "the token lacks a scope for this operation";
    /// Outside of what was handed on to this agent: the `authorization_details` of its token.
    AuthorityExceeded, "authority-exceeded", Answer::Forbidden, "the call exceeds what was delegated to this agent";
    /// An argument that the operation does not declare, or a member whose name differs from a declared one only in case.
    ArgumentUndeclared, "argument-undeclared", Answer::Forbidden, "an argument is not declared by the operation";
    /// A policy reads an argument whose value it cannot represent exactly.
    ArgumentInexact, "argument-inexact", Answer::Forbidden, "an argument cannot be represented exactly";
    /// A policy failed to evaluate.
    PolicyError, "policy-error", Answer::Forbidden, "the policies could not be evaluated";
    /// No policies are loaded.
    PolicySetEmpty, "policy-set-empty", Answer::Forbidden, "no policies are loaded";

    // ---- limits --------------------------------------------------------------------------------------------
    /// A rate of `limits.rates` is used up for this caller. The record names the rule.
    RateExceeded, "rate-exceeded", Answer::Status(429), "too many calls in too short a time: wait, then call again";
    /// A quota of `limits.quotas` is used up for this caller until its hour or day is over. The record names the rule.
    QuotaExceeded, "quota-exceeded", Answer::Status(429), "no calls are left in this hour or day";

    // ---- door two ------------------------------------------------------------------------------------------
    /// The application is called in a user's name, and the caller acts for no user, or no token of theirs that it needs is
    /// at hand any more.
    UserRequired, "user-required", Answer::Forbidden, "the application is called in a user's name: act for one, with a token of theirs";
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_kebab_case() {
        let mut seen = std::collections::HashSet::new();
        for denial in Denial::ALL {
            assert!(seen.insert(denial.code()), "{denial} twice");
            assert!(denial.code().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{denial}");
            assert_eq!(Denial::from_code(denial.code()), Some(*denial));
        }
    }
}
