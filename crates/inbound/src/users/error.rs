use vestibule_model::Malformed;

use super::{GROUP_MAX_BYTES, GROUPS_MAX, UserTokenKind};
use crate::jws::JwsError;

/// Why a user's token is not accepted. No text quotes anything of the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserTokenError {
    /// `iss` is missing, or no configured issuer is named so.
    #[error("the issuer of the user's token is not one of the configured ones")]
    IssuerUnknown,
    /// Not a compact JWS in its canonical form, or a claim is missing, of the wrong type or out of bounds.
    #[error("the user's token is malformed: {0}")]
    Malformed(Malformed),
    /// Of another kind than it was presented as.
    #[error("the user's token is not acceptable as {wanted}: {why}")]
    WrongType {
        /// What it was presented as.
        wanted: UserTokenKind,
        /// What speaks against it.
        why: &'static str,
    },
    /// `alg` is none of [`crate::jws::Algorithm::ALL`].
    #[error("the user's token is signed by an algorithm that is not on the list")]
    AlgorithmRefused,
    /// The issuer publishes no key of that `kid`; or there is no `kid` and not exactly one key that fits.
    #[error("the issuer publishes no key of the `kid` of the user's token")]
    KeyUnknown,
    /// Not signed by the key that it names.
    #[error("the signature of the user's token does not verify")]
    SignatureInvalid,
    /// Past its `exp`.
    #[error("the user's token has expired")]
    Expired,
    /// Before its `nbf`, or issued in the future.
    #[error("the user's token is not yet valid")]
    NotYetValid,
    /// The issuer's keys cannot be fetched, and none are left that may still be used. Trying again may help.
    #[error("the keys of the issuer `{issuer}` are not available")]
    KeysUnavailable {
        /// The name of the issuer.
        issuer: String,
    },
    /// Bound to a key (`cnf`). Its proof goes to whom the token is presented to in the first place, and we are not.
    #[error("the user's token is bound to a key (`cnf`), whose proof is not taken here")]
    KeyBound,
    /// Another actor acts with it already (`act`, RFC 8693 §4.1), who would drop out of sight.
    #[error("the user's token was already delegated to another actor (`act`)")]
    Delegated,
    /// Issued to a client for itself: no human stands behind it.
    #[error("the token was issued to a client for itself, not for a user")]
    NotAUser,
    /// More than [`GROUPS_MAX`] groups.
    #[error("the user has {found} groups, more than {GROUPS_MAX}: list those that policies need in `groups`")]
    TooManyGroups {
        /// How many are left after the filter.
        found: usize,
    },
    /// A group longer than [`GROUP_MAX_BYTES`].
    #[error(
        "a group of the user is longer than {GROUP_MAX_BYTES} bytes: list those that policies need in `groups`"
    )]
    GroupTooLong,
    /// The issuer left the groups out and says where to ask for them (OpenID Connect Core §5.6.2). A user without their
    /// groups would slip past every policy that forbids something to one.
    #[error(
        "the issuer left the groups out of the token: let it put in only those assigned to the application"
    )]
    GroupsLeftOut,
}

impl UserTokenError {
    /// The kebab-case code, for logs and metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::IssuerUnknown => "user-token-issuer-unknown",
            Self::Malformed(_) => "user-token-malformed",
            Self::WrongType { .. } => "user-token-wrong-type",
            Self::AlgorithmRefused => "user-token-algorithm-refused",
            Self::KeyUnknown => "user-token-key-unknown",
            Self::SignatureInvalid => "user-token-signature-invalid",
            Self::Expired => "user-token-expired",
            Self::NotYetValid => "user-token-not-yet-valid",
            Self::KeysUnavailable { .. } => "user-token-keys-unavailable",
            Self::KeyBound => "user-token-key-bound",
            Self::Delegated => "user-token-delegated",
            Self::NotAUser => "user-token-not-a-user",
            Self::TooManyGroups { .. } => "user-token-too-many-groups",
            Self::GroupTooLong => "user-token-group-too-long",
            Self::GroupsLeftOut => "user-token-groups-left-out",
        }
    }

    /// Whether the same token may be accepted a little later: something is broken, and nothing was decided about it.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::KeysUnavailable { .. })
    }

    pub(crate) fn of(error: JwsError, wanted: UserTokenKind) -> Self {
        let malformed = |rule| Self::Malformed(Malformed { what: "it", rule });
        match error {
            JwsError::TooLong => malformed("must not be longer than 8 KiB"),
            JwsError::Malformed => malformed("must be a compact JWS in its canonical form"),
            JwsError::Critical => malformed("must not have `crit`"),
            JwsError::WrongType => Self::WrongType { wanted, why: "`typ` says that it is something else" },
            JwsError::AlgorithmRefused => Self::AlgorithmRefused,
            JwsError::SignatureInvalid => Self::SignatureInvalid,
        }
    }
}
