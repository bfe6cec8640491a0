//! What of the tokens survives a restart.
//!
//! Only a token whose server takes it back: after a restart an order could not reach it otherwise. Any other one is asked
//! for again, which costs a request.

use std::{collections::HashMap, sync::Arc};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use vestibule_model::{Digest, Fault, FaultKind, Timestamp};

use super::{Ask, Cache, Entry, Key, MintedFor, Obtained, Origin};
use crate::strategy::TokenSource;

/// A token as it lies on the shelf. The whole is a secret.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shelved {
    key: Key,
    minted_for: MintedFor,
    /// Of the configuration with which it was obtained: with another one it is not used.
    configuration: Digest,
    token: String,
    expires_at: Timestamp,
    unused_at: Timestamp,
    refresh_at: Timestamp,
    scopes: Vec<String>,
    wider: Vec<String>,
}

/// Under which name the token of a key lies there. Tells nothing about it.
pub(super) fn name(key: &Key) -> String {
    // A key has nothing that cannot be written.
    Digest::of(serde_json::to_string(key).unwrap_or_default().as_bytes()).to_string()
}

impl Cache {
    /// Best effort: a token that is not kept is asked for again.
    pub(super) async fn shelve(&self, entry: &Entry) {
        if !entry.server.is_revocable() {
            return;
        }
        let shelved = Shelved {
            key: entry.key.clone(),
            minted_for: entry.minted_for.clone(),
            configuration: entry.configuration,
            token: entry.token.expose_secret().to_owned(),
            expires_at: entry.expires_at,
            unused_at: entry.unused_at,
            refresh_at: entry.refresh_at,
            scopes: entry.scopes.clone(),
            wider: entry.wider.clone(),
        };
        let put = async {
            let text = serde_json::to_string(&shelved)
                .map(SecretString::from)
                .map_err(|error| Fault::new(FaultKind::Internal, error))?;
            self.shelf.put(&name(&entry.key), text, entry.expires_at).await
        };
        if let Err(fault) = put.await {
            tracing::warn!(app = %entry.key.app, %fault, "a token is not kept over a restart");
        }
    }

    /// Puts in place what was kept, as far as the sources, by their configuration, still ask for it in the same way. The
    /// rest is forgotten: nobody knows any more how to give it back.
    pub(crate) async fn recall(&self, sources: &HashMap<Digest, Arc<dyn TokenSource>>) -> Result<(), Fault> {
        let now = self.clock.now();
        for (name, text) in self.shelf.all().await? {
            let shelved = serde_json::from_str::<Shelved>(text.expose_secret()).ok();
            let source = shelved.as_ref().and_then(|shelved| sources.get(&shelved.configuration));
            let (Some(shelved), Some(source)) = (shelved, source) else {
                self.shelf.remove(&name).await?;
                continue;
            };
            let mut state = self.state();
            state.serial += 1;
            let origin = Origin::of(source, state.serial);
            if let Ok(entry) = shelved.entry(origin, now)
                && state.entries.len() < self.entries_max
            {
                state.entries.insert(entry.key.clone(), Arc::new(entry));
            }
        }
        Ok(())
    }
}

impl Shelved {
    fn entry(self, origin: Origin, now: Timestamp) -> Result<Entry, Fault> {
        let Self { key, minted_for, token, expires_at, unused_at, refresh_at, scopes, wider, .. } = self;
        let ask = Ask { key, minted_for, ends_at: None, caller: None, depth: 0 };
        let obtained = Obtained { token: SecretString::from(token), expires_at, scopes, wider };
        Ok(Entry::new(ask, obtained, origin, now)?.at_its_moments(unused_at, refresh_at))
    }
}
