use vestibule_evidence::EvidenceError;
use vestibule_model::Fault;
use vestibule_store::StoreError;

/// Why a bundle cannot be gathered, or not to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GatherError {
    /// The record cannot be read, or is not what was signed.
    #[error("the record cannot be read: {0}; see `vestibule audit verify`")]
    Evidence(#[from] EvidenceError),
    /// The record cannot be written.
    #[error("the record cannot be written")]
    Fault(#[from] Fault),
    /// The state cannot be read.
    #[error("the state cannot be read")]
    Store(#[from] StoreError),
    /// Something cannot become JSON.
    #[error("something cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    /// Whoever asked for it has left.
    #[error("whoever asked for the bundle has left")]
    Gone,
    /// The gathering itself broke.
    #[error("the gathering broke")]
    Broken,
}
