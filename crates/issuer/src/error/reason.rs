use vestibule_model::Denial;

use super::ErrorCode;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident, $code:literal, $error:ident, $description:expr;)*) => {
        /// Why a token was not issued: finer than what the client is told, for the record. Where door one or containment
        /// would refuse for the same reason, the code is that of their denial.
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
/// As for a client: what is wrong with a token is for the record.
const TOKEN_BAD: &str = "the token is not valid here";
const USER_TOKEN_BAD: &str = "the token of the user is not valid here";
const ACTOR_BAD: &str = "the actor token is not valid here";
pub(super) const ENDED: &str = "the delegation has ended or was revoked";
const PROOF_BAD: &str = "the proof of possession is not valid";

reasons! {
    // ---- the request as such -------------------------------------------------------------------------------
    /// A parameter is repeated, or one that must be there is missing.
    RequestMalformed, "token-request-malformed", InvalidRequest, "a parameter is missing, repeated or malformed";
    /// Another grant than those served.
    GrantUnsupported, "grant-unsupported", UnsupportedGrantType, "the grant type is not supported";
    /// No subject token, or one without its type (RFC 8693 §2.1).
    SubjectTokenMissing, "subject-token-missing", InvalidRequest, "give `subject_token` and `subject_token_type`";
    /// A subject token of a type that is not served.
    SubjectTypeUnsupported, "subject-token-type-unsupported", InvalidRequest, "the type of the subject token is not supported";
    /// An actor token without its type, or a type without the token (RFC 8693 §2.1).
    ActorTokenIncomplete, "actor-token-incomplete", InvalidRequest, "`actor_token` and `actor_token_type` go together";
    /// An actor token of another type than a JWT.
    ActorTypeUnsupported, "actor-token-type-unsupported", InvalidRequest, "the type of the actor token is not supported";
    /// An actor token beside a subject token that is not a hop token: who asks is then the client.
    ActorTokenUnexpected, "actor-token-unexpected", InvalidRequest, "an actor token goes with an access token of this gateway only";
    /// A token of another kind is asked for than an access token.
    RequestedTypeUnsupported, "requested-token-type-unsupported", InvalidRequest, "only access tokens are issued";
    /// `audience`: what a token is for has one name here, and that is its resource.
    AudienceRefused, "audience-refused", InvalidTarget, "name what the token is for with `resource`";
    /// `expires_in` is not a positive whole number of seconds.
    LifetimeMalformed, "lifetime-malformed", InvalidRequest, "`expires_in` must be a positive whole number of seconds";

    // ---- the client ----------------------------------------------------------------------------------------
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
    /// The client is not the agent that the token was issued to.
    ClientNotOfToken, "client-not-of-token", UnauthorizedClient, "the token was not issued to this client";
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
    /// A platform vouches for a workload that no rule is for, or not with these claims.
    WorkloadUnknown, "workload-unknown", InvalidClient, NOT_PROVEN;
    /// The keys of the platform that vouches for the workload cannot be had.
    AssertionKeysUnavailable, "assertion-keys-unavailable", TemporarilyUnavailable, NOT_NOW;
    /// An agent of the chain is not registered, has no rule (any more), and does not stand on a delegation by its key either.
    AgentUnknown, "agent-unknown", InvalidRequest, TOKEN_BAD;
    /// The agent has been taken out of use.
    AgentRetired, "agent-retired", InvalidClient, NOT_PROVEN;

    // ---- the proof of possession (RFC 9449) ----------------------------------------------------------------
    /// No proof where the key has to prove itself: to spawn, to renew a bound token, below the first agent of a chain.
    ProofMissing, "proof-missing", InvalidDpopProof, "the request needs a DPoP proof";
    /// The proof is malformed, or for another request: its method, URL, token or time is not this one's.
    ProofInvalid, "proof-invalid", InvalidDpopProof, PROOF_BAD;
    /// The proof has no nonce of this gateway, or an old one.
    ProofNonceNeeded, "proof-nonce-needed", UseDpopNonce, "the proof needs the nonce in `DPoP-Nonce`";
    /// The proof has been used before.
    ProofReplayed, "proof-replayed", InvalidDpopProof, PROOF_BAD;
    /// The proof is by another key than the one that the token and its delegation are bound to.
    ProofWrongKey, "proof-wrong-key", InvalidDpopProof, PROOF_BAD;
    /// More proofs than can be remembered against replay.
    ProofsExceeded, "proofs-exceeded", TemporarilyUnavailable, NOT_NOW;

    // ---- the subject token ---------------------------------------------------------------------------------
    /// Not a token of ours, or one that contradicts itself.
    TokenInvalid, "token-invalid", InvalidRequest, TOKEN_BAD;
    /// Another type of token than this place takes.
    TokenWrongType, "token-wrong-type", InvalidRequest, TOKEN_BAD;
    /// Another issuer's.
    TokenWrongIssuer, "token-wrong-issuer", InvalidRequest, TOKEN_BAD;
    /// Not for one resource.
    TokenWrongAudience, "token-wrong-audience", InvalidRequest, TOKEN_BAD;
    /// `alg` is not on the list.
    TokenAlgorithmRefused, "token-algorithm-refused", InvalidRequest, TOKEN_BAD;
    /// No key with that `kid`.
    TokenKeyUnknown, "token-key-unknown", InvalidRequest, TOKEN_BAD;
    /// Past its `exp`.
    TokenExpired, "token-expired", InvalidRequest, "the token has expired";
    /// Issued in the future.
    TokenNotYetValid, "token-not-yet-valid", InvalidRequest, TOKEN_BAD;
    /// A bearer token cannot hand on: whoever found it could.
    SpawnNeedsBoundToken, "spawn-needs-bound-token", InvalidRequest, "to spawn, ask for a DPoP-bound token first";
    /// The user's token is of an issuer that is not configured.
    UserTokenIssuerUnknown, "user-token-issuer-unknown", InvalidRequest, USER_TOKEN_BAD;
    /// The user's token does not parse, or a claim is missing, of the wrong type or out of bounds.
    UserTokenMalformed, "user-token-malformed", InvalidRequest, USER_TOKEN_BAD;
    /// The user's token is of another kind than it was presented as.
    UserTokenWrongType, "user-token-wrong-type", InvalidRequest, USER_TOKEN_BAD;
    /// The user's token is signed by an algorithm that is not on the list.
    UserTokenAlgorithmRefused, "user-token-algorithm-refused", InvalidRequest, USER_TOKEN_BAD;
    /// The user's issuer publishes no key with that `kid`.
    UserTokenKeyUnknown, "user-token-key-unknown", InvalidRequest, USER_TOKEN_BAD;
    /// The signature of the user's token does not verify.
    UserTokenSignatureInvalid, "user-token-signature-invalid", InvalidRequest, USER_TOKEN_BAD;
    /// The user's token is past its `exp`.
    UserTokenExpired, "user-token-expired", InvalidRequest, "the token of the user has expired";
    /// The user's token is issued in the future.
    UserTokenNotYetValid, "user-token-not-yet-valid", InvalidRequest, USER_TOKEN_BAD;
    /// The keys of the user's issuer cannot be had.
    UserTokenKeysUnavailable, "user-token-keys-unavailable", TemporarilyUnavailable, NOT_NOW;
    /// The user's token is bound to a key, of which no proof is taken here.
    UserTokenKeyBound, "user-token-key-bound", InvalidRequest, USER_TOKEN_BAD;
    /// Another actor acts with the user's token already.
    UserTokenDelegated, "user-token-delegated", InvalidRequest, USER_TOKEN_BAD;
    /// The token was issued to a client for itself, and no human stands behind it.
    UserTokenNotAUser, "user-token-not-a-user", InvalidRequest, USER_TOKEN_BAD;
    /// The user has more groups than a token can carry.
    UserTokenTooManyGroups, "user-token-too-many-groups", InvalidRequest, USER_TOKEN_BAD;
    /// A group of the user is too long.
    UserTokenGroupTooLong, "user-token-group-too-long", InvalidRequest, USER_TOKEN_BAD;
    /// The issuer left the user's groups out of the token.
    UserTokenGroupsLeftOut, "user-token-groups-left-out", InvalidRequest, USER_TOKEN_BAD;
    /// The user's token was issued neither to nor for this agent.
    UserTokenNotForClient, "user-token-not-for-client", InvalidRequest, USER_TOKEN_BAD;
    /// The call token is for another agent.
    CallTokenNotForClient, "call-token-not-for-client", InvalidRequest, TOKEN_BAD;

    // ---- the actor token -----------------------------------------------------------------------------------
    /// Does not parse, has another type, is not signed by the key that it names, or lacks a claim.
    ActorTokenInvalid, "actor-token-invalid", InvalidRequest, ACTOR_BAD;
    /// Issuer, subject and key are not one.
    ActorTokenWrongSubject, "actor-token-wrong-subject", InvalidRequest, ACTOR_BAD;
    /// For another server.
    ActorTokenWrongAudience, "actor-token-wrong-audience", InvalidRequest, ACTOR_BAD;
    /// Made for another subject token: `sth` is not its hash.
    ActorTokenOtherSubject, "actor-token-other-subject", InvalidRequest, ACTOR_BAD;
    /// Past its expiry.
    ActorTokenExpired, "actor-token-expired", InvalidRequest, ACTOR_BAD;
    /// Valid for longer than is accepted.
    ActorTokenTooLong, "actor-token-too-long", InvalidRequest, ACTOR_BAD;
    /// Issued in the future.
    ActorTokenNotYetValid, "actor-token-not-yet-valid", InvalidRequest, ACTOR_BAD;
    /// Used before.
    ActorTokenReplayed, "actor-token-replayed", InvalidRequest, ACTOR_BAD;
    /// No such agent, or not its key, or taken out of use.
    ActorUnknown, "actor-unknown", InvalidRequest, ACTOR_BAD;
    /// The child has the key of an agent above it: it could not be cut off without them.
    ActorKeyOfAncestor, "actor-key-of-ancestor", InvalidRequest, "the child needs a key of its own";
    /// The child is the agent that spawns it.
    ActorIsParent, "actor-is-parent", InvalidRequest, "an agent cannot spawn itself";

    // ---- what is asked for ---------------------------------------------------------------------------------
    /// A scope that does not parse or that the agent may not have.
    ScopeNotAllowed, "scope-not-allowed", InvalidScope, "the scope is malformed or exceeds what the client may have";
    /// No resource, and more than one would do.
    TargetMissing, "target-missing", InvalidTarget, "name the resource that the token is for";
    /// More than one resource.
    TargetRepeated, "target-repeated", InvalidTarget, "name one resource only";
    /// Not a resource of this gateway, or not one of the agent's applications.
    TargetNotAllowed, "target-not-allowed", InvalidTarget, "the resource is unknown or not for this client";
    /// Another resource than that of the token which is exchanged.
    TargetNotOfSubject, "target-not-of-subject", InvalidTarget, "the resource must be that of the subject token";
    /// `authorization_details` that do not parse, or are of another type.
    AuthorityMalformed, "authority-malformed", InvalidAuthorizationDetails, "`authorization_details` must be an array of `vestibule_operations`";
    /// `authorization_details` that are not proven to lie within those above.
    AuthorityNotSubset, "authority-not-subset", InvalidAuthorizationDetails, "`authorization_details` exceed what can be handed on";
    /// The authority above says nothing about the resource, so nothing of it can be handed on.
    AuthorityNotForTarget, "authority-not-for-target", InvalidAuthorizationDetails, "nothing was delegated for the resource";
    /// Deeper than the tree may become.
    DepthExceeded, "depth-exceeded", InvalidRequest, "the chain may not become deeper";
    /// More living nodes below one than it may have.
    FanOutExceeded, "fan-out-exceeded", InvalidRequest, "too many delegations are alive below this one";
    /// More living nodes in one tree than it may have.
    TreeNodesExceeded, "tree-nodes-exceeded", InvalidRequest, "too many delegations are alive in this tree";
    /// More living roots than an agent may have.
    RootsExceeded, "roots-exceeded", InvalidRequest, "too many delegations of this agent are alive: use one again, or wait until one ends";
    /// Policy does not let the agent delegate in this way.
    DelegationNotPermitted, "delegation-not-permitted", InvalidRequest, "the delegation is not permitted";
    /// What the token would have to say is longer than any token may be.
    TokenTooLong, "token-too-long", InvalidRequest, "the token would be too long: ask for less, or name operations and agents more briefly";

    // ---- containment ---------------------------------------------------------------------------------------
    /// The token that is exchanged is revoked.
    TokenRevoked, "token-revoked", InvalidRequest, ENDED;
    /// A delegation node on the path is revoked.
    DelegationRevoked, "delegation-revoked", InvalidRequest, ENDED;
    /// The delegation node is over, or was never there.
    DelegationEnded, "delegation-ended", InvalidRequest, ENDED;
    /// An agent is revoked.
    AgentRevoked, "agent-revoked", InvalidClient, NOT_PROVEN;
    /// The human is revoked.
    UserRevoked, "user-revoked", InvalidRequest, ENDED;
    /// The session of the human at their issuer is revoked.
    SessionRevoked, "session-revoked", InvalidRequest, ENDED;
    /// The client that obtained the human's token is revoked.
    ClientRevoked, "client-revoked", InvalidRequest, ENDED;
    /// A key is revoked.
    CredentialRevoked, "credential-revoked", InvalidClient, NOT_PROVEN;
    /// The application is closed by an order.
    AppRevoked, "app-revoked", InvalidTarget, "the application is closed";
    /// Everything is closed by an order.
    AllRevoked, "all-revoked", TemporarilyUnavailable, "the gateway is closed";
    /// A name on the path is suspended.
    AgentSuspended, "agent-suspended", TemporarilyUnavailable, "suspended for now";
    /// The call within which the agent was invoked has ended.
    CallEnded, "call-ended", InvalidRequest, "the call that this token belongs to has ended";
    /// The view of what is revoked is too old.
    ContainmentStale, "containment-stale", TemporarilyUnavailable, NOT_NOW;

    // ---- faults --------------------------------------------------------------------------------------------
    /// Other gateways changed the same node again and again.
    DelegationContended, "delegation-contended", TemporarilyUnavailable, NOT_NOW;
    /// The store cannot be reached.
    StoreUnavailable, "store-unavailable", TemporarilyUnavailable, NOT_NOW;
    /// A bug, or a key that does not sign.
    Internal, "internal", ServerError, "the gateway failed";
}

impl Reason {
    /// The reason with the code of a denial. What has none is a bug, and refused as one.
    pub(crate) fn of(denial: Denial) -> Self {
        Self::ALL.iter().copied().find(|reason| reason.code() == denial.code()).unwrap_or(Self::Internal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_door_one_and_containment_say_has_a_reason_of_the_same_code() {
        for denial in [
            Denial::ProofMissing,
            Denial::ProofInvalid,
            Denial::ProofNonceNeeded,
            Denial::ProofReplayed,
            Denial::ProofWrongKey,
            Denial::ProofsExceeded,
            Denial::TokenInvalid,
            Denial::TokenWrongType,
            Denial::TokenWrongIssuer,
            Denial::TokenWrongAudience,
            Denial::TokenAlgorithmRefused,
            Denial::TokenKeyUnknown,
            Denial::TokenExpired,
            Denial::TokenNotYetValid,
            Denial::TokenRevoked,
            Denial::DelegationRevoked,
            Denial::AgentRevoked,
            Denial::UserRevoked,
            Denial::SessionRevoked,
            Denial::ClientRevoked,
            Denial::CredentialRevoked,
            Denial::AppRevoked,
            Denial::AllRevoked,
            Denial::AgentSuspended,
            Denial::CallEnded,
            Denial::ContainmentStale,
        ] {
            assert_eq!(Reason::of(denial).code(), denial.code());
        }
        assert_eq!(Reason::of(Denial::HostNotAllowed), Reason::Internal);
    }
}
