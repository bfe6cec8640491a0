use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderValue, header};
use secrecy::{ExposeSecret, SecretString};
use vestibule_model::{Digest, Fault, FaultKind, Timestamp};

use super::{Ask, Key, MintedFor};
use crate::{access::Placement, authorization_server::AuthorizationServer, strategy::TokenSource};

/// A token is asked for again when a fifth of its life is left, but no more than this before its end.
const AHEAD_MAX: Duration = Duration::from_secs(60);
/// A token is not used when a tenth of its life is left, but no more than this before its end: it must still be good when
/// the application looks at it.
pub(super) const MARGIN_MAX: Duration = Duration::from_secs(5);

/// A token that a server has given, checked by the strategy that asked for it.
pub(crate) struct Obtained {
    pub(crate) token: SecretString,
    /// By what the server says, and by what the token says.
    pub(crate) expires_at: Timestamp,
    /// The scopes that it has, as far as anybody says.
    pub(crate) scopes: Vec<String>,
    /// Scopes and audiences that nobody asked for, where the configuration lets them be.
    pub(crate) wider: Vec<String>,
}

/// A token that is kept.
pub(crate) struct Entry {
    pub(crate) key: Key,
    pub(crate) minted_for: MintedFor,
    pub(crate) server: Arc<AuthorizationServer>,
    pub(crate) strategy: &'static str,
    /// Of the strategy's and the server's configuration.
    pub(crate) configuration: Digest,
    pub(crate) token: SecretString,
    pub(crate) placement: Placement,
    pub(crate) scopes: Vec<String>,
    pub(crate) wider: Vec<String>,
    /// Which of the tokens that this process has got.
    pub(crate) serial: u64,
    /// It is asked for again, in the background, from this moment on.
    pub(crate) refresh_at: Timestamp,
    /// It is not used from this moment on.
    pub(crate) unused_at: Timestamp,
    /// When it is dead for its server.
    pub(crate) expires_at: Timestamp,
}

/// Where a token came from.
pub(crate) struct Origin {
    pub(crate) server: Arc<AuthorizationServer>,
    pub(crate) strategy: &'static str,
    pub(crate) configuration: Digest,
    pub(crate) serial: u64,
}

impl Origin {
    pub(crate) fn of(source: &Arc<dyn TokenSource>, serial: u64) -> Self {
        Self {
            server: Arc::clone(source.server()),
            strategy: source.name(),
            configuration: source.configuration(),
            serial,
        }
    }
}

impl Entry {
    pub(crate) fn new(ask: Ask, obtained: Obtained, origin: Origin, now: Timestamp) -> Result<Self, Fault> {
        let Origin { server, strategy, configuration, serial } = origin;
        let Obtained { token, expires_at, scopes, wider } = obtained;
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))
            .map_err(|_| server.wrong("the token request", "has a token that cannot stand in a header"))?;
        value.set_sensitive(true);
        if expires_at <= now {
            return Err(server.wrong("the token request", "has a token that has ended"));
        }
        if ask.ends_at.is_some_and(|ends_at| ends_at <= now) {
            let cause = "the authority on which the token rests has ended";
            return Err(Fault::new(FaultKind::AccessUnavailable, cause));
        }
        let life = expires_at.since(now);
        let dies_at = expires_at.minus(MARGIN_MAX.min(life / 10));
        let refresh_at = expires_at.minus(AHEAD_MAX.min(life / 5));
        let (unused_at, refresh_at) = match ask.ends_at {
            // The authority ends first: a fresh token would not live longer, so none is asked for.
            Some(ends_at) if ends_at <= dies_at => (ends_at, ends_at),
            Some(_) | None => (dies_at, refresh_at),
        };
        Ok(Self {
            placement: Placement::Header(header::AUTHORIZATION, value),
            key: ask.key,
            minted_for: ask.minted_for,
            server,
            strategy,
            configuration,
            token,
            scopes,
            wider,
            serial,
            refresh_at,
            unused_at,
            expires_at,
        })
    }

    /// The same token after a restart, with its moments: a life that is counted anew would be renewed too late, or never.
    pub(crate) fn at_its_moments(self, unused_at: Timestamp, refresh_at: Timestamp) -> Self {
        Self { unused_at, refresh_at, ..self }
    }

    pub(crate) fn is_usable(&self, now: Timestamp) -> bool {
        now < self.unused_at
    }

    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        now >= self.refresh_at
    }
}

/// Not the token.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("key", &self.key).field("serial", &self.serial).finish_non_exhaustive()
    }
}
