//! What happens to tokens that are dead.

use std::{fmt, sync::Arc};

use vestibule_model::{AppId, Fault};

use super::{Cache, Entry, MintedFor, shelved};

/// A token that was dropped and is to be given back to its server (RFC 7009), so that it is dead there, too.
#[must_use = "the token lives until it is given back"]
pub struct GiveBack(Arc<Entry>);

impl GiveBack {
    /// The application that it opened.
    #[must_use]
    pub fn app(&self) -> &AppId {
        &self.0.key.app
    }

    /// The name of the server that gave it.
    #[must_use]
    pub fn server(&self) -> &str {
        self.0.server.name()
    }

    /// For whom it was obtained.
    #[must_use]
    pub fn minted_for(&self) -> &MintedFor {
        &self.0.minted_for
    }
}

/// Not the token.
impl fmt::Debug for GiveBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GiveBack").field(&self.0).finish()
    }
}

impl Cache {
    /// Drops what `is_dead` and what has ended. What is on its way is not awaited: it is dead when it arrives.
    pub(crate) fn sweep(&self, is_dead: impl Fn(&MintedFor) -> bool) -> Vec<GiveBack> {
        let now = self.clock.now();
        let mut state = self.state();
        for flight in state.flights.values_mut() {
            flight.is_dead |= is_dead(&flight.minted_for);
        }
        let mut dropped = std::mem::take(&mut state.strays);
        state.entries.retain(|_, entry| {
            if !entry.is_usable(now) {
                return false;
            }
            let is_dead = is_dead(&entry.minted_for);
            if is_dead {
                dropped.push(Arc::clone(entry));
            }
            !is_dead
        });
        drop(state);
        let is_given_back = |entry: &Arc<Entry>| entry.server.is_revocable() && entry.expires_at > now;
        dropped.into_iter().filter(is_given_back).map(GiveBack).collect()
    }

    /// Waits until something has to be given back that no sweep has found: it was under way, or had to make room.
    pub(crate) async fn strays(&self) {
        self.strays.notified().await;
    }

    /// Gives a token back. One that cannot be stays on the shelf, if it was there, until it has expired: after a restart it
    /// is found dead again.
    pub(crate) async fn give_back(&self, GiveBack(entry): GiveBack) -> Result<(), Fault> {
        entry.server.revoke(&entry.token).await?;
        self.shelf.remove(&shelved::name(&entry.key)).await
    }
}
