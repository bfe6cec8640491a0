//! What door two needs of the rest of the gateway.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use secrecy::SecretString;
use serde_json::Value;
use vestibule_model::{Clock, Entropy, Fault, NodeId, Timestamp};

use crate::{CallTokenSource, Secrets};

/// What door two needs of the rest of the gateway.
#[derive(Debug, Clone)]
pub struct Backing {
    /// Reads what the configuration refers to.
    pub secrets: Secrets,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Makes what called agents get.
    pub call_tokens: Arc<dyn CallTokenSource>,
    /// Signs what authorization servers and applications are told about callers.
    pub signer: Arc<dyn Signer>,
    /// Keeps tokens over a restart.
    pub shelf: Arc<dyn Shelf>,
    /// Has the tokens of the users.
    pub user_tokens: Arc<dyn UserTokens>,
}

/// Signs with the key of our issuer, for others to verify with the keys that it publishes.
pub trait Signer: fmt::Debug + Send + Sync {
    /// Who signs: the value of `iss`.
    fn issuer(&self) -> &str;

    /// A JWT with that `typ` and these claims. Never of a type that opens our own doors.
    ///
    /// # Errors
    /// [`Fault`] when there is no key that can sign, or the type is one of ours.
    fn sign(&self, typ: &str, claims: &Value) -> Result<SecretString, Fault>;
}

/// Where tokens are kept over a restart, encrypted.
///
/// INVARIANT: what is given to it is a secret as a whole, the names in it too.
#[async_trait]
pub trait Shelf: fmt::Debug + Send + Sync {
    /// Keeps `secret` under `key`, instead of what is there, until `expires_at`.
    ///
    /// # Errors
    /// [`Fault`] when it cannot be kept.
    async fn put(&self, key: &str, secret: SecretString, expires_at: Timestamp) -> Result<(), Fault>;

    /// Everything that has not expired, with its key.
    ///
    /// # Errors
    /// [`Fault`] when it cannot be read.
    async fn all(&self) -> Result<Vec<(String, SecretString)>, Fault>;

    /// Forgets what is under `key`. That there is nothing is no error.
    ///
    /// # Errors
    /// [`Fault`] when it cannot be forgotten.
    async fn remove(&self, key: &str) -> Result<(), Fault>;
}

/// Has the tokens with which users were proven to us.
#[async_trait]
pub trait UserTokens: fmt::Debug + Send + Sync {
    /// The token on which the delegation `root` rests; none when it is not kept, or has expired.
    ///
    /// # Errors
    /// [`Fault`] when it cannot be read.
    async fn of_root(&self, root: &NodeId) -> Result<Option<SecretString>, Fault>;
}
