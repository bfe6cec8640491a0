use vestibule_model::Malformed;

use crate::{jws::JwsError, users::UserTokenError};

/// Why a workload is not taken for an agent. What a text quotes was signed by the issuer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkloadError {
    /// No configured issuer of workloads is named so.
    #[error("the issuer of the workload's token is not one of the configured ones")]
    IssuerUnknown,
    /// Not a compact JWS of an acceptable type and algorithm.
    #[error("the workload's token: {0}")]
    Form(#[from] JwsError),
    /// A claim is missing, of the wrong type or out of bounds.
    #[error("the workload's token is malformed: {0}")]
    Malformed(#[from] Malformed),
    /// The issuer publishes no key of that `kid`; or there is no `kid` and not exactly one key that fits.
    #[error("the issuer publishes no key of the `kid` of the workload's token")]
    KeyUnknown,
    /// Not signed by the key that it names.
    #[error("the signature of the workload's token does not verify")]
    SignatureInvalid,
    /// `aud` is not what is configured, and that alone.
    #[error("the workload's token is not for us alone")]
    WrongAudience,
    /// Past its `exp`.
    #[error("the workload's token has expired")]
    Expired,
    /// Valid for more than 24 hours.
    #[error("the workload's token is valid for more than 24 hours")]
    TooLong,
    /// Before its `nbf`, or issued in the future.
    #[error("the workload's token is not yet valid")]
    NotYetValid,
    /// No `sub`.
    #[error("the workload's token has no `sub`")]
    SubjectMissing,
    /// No rule is for it.
    #[error("no rule of `{issuer}` is for the workload `{subject}` with these claims")]
    NoRule {
        /// The name of the issuer.
        issuer: String,
        /// The subject.
        subject: String,
    },
    /// The issuer's keys cannot be fetched, and none are left that may still be used. Trying again may help.
    #[error("the keys of the issuer `{issuer}` are not available")]
    KeysUnavailable {
        /// The name of the issuer.
        issuer: String,
    },
}

/// What reading the claims of any outside token can find.
impl From<UserTokenError> for WorkloadError {
    fn from(error: UserTokenError) -> Self {
        match error {
            UserTokenError::Malformed(malformed) => Self::Malformed(malformed),
            UserTokenError::Expired => Self::Expired,
            UserTokenError::NotYetValid => Self::NotYetValid,
            UserTokenError::IssuerUnknown => Self::IssuerUnknown,
            UserTokenError::KeyUnknown => Self::KeyUnknown,
            UserTokenError::SignatureInvalid => Self::SignatureInvalid,
            UserTokenError::KeysUnavailable { issuer } => Self::KeysUnavailable { issuer },
            UserTokenError::AlgorithmRefused => Self::Form(JwsError::AlgorithmRefused),
            UserTokenError::WrongType { .. }
            | UserTokenError::KeyBound
            | UserTokenError::Delegated
            | UserTokenError::NotAUser
            | UserTokenError::TooManyGroups { .. }
            | UserTokenError::GroupTooLong
            | UserTokenError::GroupsLeftOut => Self::Form(JwsError::WrongType),
        }
    }
}
