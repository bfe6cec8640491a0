use serde::{Deserialize, Serialize};
use vestibule_model::Timestamp;
use vestibule_store::StoreError;

use crate::DenyKey;

/// Why something is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// It is in somebody else's hands.
    Compromise,
    /// Its key is.
    KeyCompromise,
    /// It did what it must not.
    PolicyViolation,
    /// Something newer takes its place, as when a key is rotated. Cuts nothing and refuses no request: what was handed
    /// out under the name runs on until it ends by itself. Only no more is minted for whoever presents the name.
    Superseded,
    /// Not said.
    Unspecified,
}

impl Reason {
    /// Whether it reaches all whose path has the name, and what is under way.
    #[must_use]
    pub fn cascades(self) -> bool {
        match self {
            Self::Compromise | Self::KeyCompromise | Self::PolicyViolation | Self::Unspecified => true,
            Self::Superseded => false,
        }
    }
}

/// What an order makes of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// For good.
    Revoked,
    /// Until it is resumed.
    Suspended,
}

/// An order to revoke or to suspend.
#[derive(Debug, Clone)]
pub struct Order {
    /// What.
    pub key: DenyKey,
    /// Whether for good.
    pub state: State,
    /// Why.
    pub reason: Reason,
    /// Only what came to be at or before this moment is dead: the token by its time, a node with its agent and keys by
    /// when the node was made, everything else by when the root was. None: everything is.
    pub cutoff: Option<Timestamp>,
    /// When the order ends by itself. None: never; for a token of ours or a delegation, 25 hours from now, for none lives
    /// longer than 24.
    pub expires_at: Option<Timestamp>,
    /// Who gave the order.
    pub by: String,
    /// Only tell what it would do.
    pub dry_run: bool,
}

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// The store failed. The order may be in force all the same: repeat it.
    #[error("the order could not be recorded")]
    Store(#[from] StoreError),
    /// It would have ended before it began.
    #[error("its end has passed")]
    Expired,
    /// There is nothing to resume.
    #[error("it is not suspended")]
    NotSuspended,
    /// What is revoked does not come back.
    #[error("it is revoked, and a revocation cannot be taken back")]
    Revoked,
}
