//! What happens to tokens that are dead.

use std::{fmt, sync::Arc};

use vestibule_model::{AppId, Fault};

use super::{Cache, Entry, MintedFor, entry::MARGIN_MAX, shelved};

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
    ///
    /// `is_dead` is asked without the lock, for calls must not wait for thousands of answers. So what arrives meanwhile is
    /// found by the next sweep; nobody who is revoked can use it until then.
    pub(crate) fn sweep(&self, is_dead: impl Fn(&MintedFor) -> bool) -> Vec<GiveBack> {
        let now = self.clock.now();
        let (entries, flights) = {
            let state = self.state();
            let flights: Vec<_> =
                state.flights.iter().map(|(key, flight)| (key.clone(), flight.of())).collect();
            (state.entries.values().map(Arc::clone).collect::<Vec<_>>(), flights)
        };
        let is_gone = |entry: &&Arc<Entry>| !entry.is_usable(now) || is_dead(&entry.minted_for);
        let gone: Vec<_> = entries.iter().filter(is_gone).collect();
        let dead: Vec<_> = flights.into_iter().filter(|(_, (_, minted_for))| is_dead(minted_for)).collect();

        let mut state = self.state();
        let mut dropped = std::mem::take(&mut state.strays);
        for entry in gone {
            dropped.extend(state.take(&entry.key, entry.serial));
        }
        for (key, (serial, _)) in dead {
            match state.flights.get_mut(&key).filter(|flight| flight.serial == serial) {
                Some(flight) => flight.is_dead = true,
                // It has landed meanwhile.
                None => dropped.extend(state.take(&key, serial)),
            }
        }
        drop(state);
        // Also one whose authority has ended, while it would live on at its server. Not for its last seconds.
        let is_given_back =
            |entry: &Arc<Entry>| entry.server.is_revocable() && entry.expires_at > now.plus(MARGIN_MAX);
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
