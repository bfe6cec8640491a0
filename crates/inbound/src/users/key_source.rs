//! The keys of one issuer: when they are fetched, how long they are kept, and who waits.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, OwnedMutexGuard};
use vestibule_model::{Clock, Monotonic, Timestamp};

use super::{
    IssuerClients, IssuerError, KeySet, Wanted,
    address::{Address, Flaw},
    document::{Fetched, Location},
};
use crate::jws::Algorithm;

/// From the end of one fetch of an issuer's keys to the next at the earliest, whatever tokens ask for.
pub const REFETCH_INTERVAL: Duration = Duration::from_secs(10);
/// Keys older than this are fetched again before they are used: how long a key that the issuer has withdrawn is still
/// believed.
pub const REFRESH_INTERVAL: Duration = Duration::from_secs(3600);
/// How long keys are used while the issuer cannot be asked.
pub const KEPT_AT_MOST: Duration = Duration::from_secs(24 * 3600);
/// How long a `kid` that the issuer did not have makes no fetch. A token signed by a withdrawn key would otherwise make
/// one every ten seconds.
const UNKNOWN_FOR: Duration = Duration::from_secs(60);

/// What is known about an issuer and its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerStatus {
    /// Its name.
    pub name: String,
    /// Its identifier.
    pub issuer: String,
    /// Where the keys came from.
    pub jwks_url: Option<String>,
    /// How many keys signatures can be verified with.
    pub keys: usize,
    /// The algorithms that they fit.
    pub algorithms: Vec<Algorithm>,
    /// The keys that are not used, each in a sentence. Keys for encryption are among them, which is as it should be.
    pub skipped: Vec<String>,
    /// When the keys were fetched; none: never.
    pub fetched_at: Option<Timestamp>,
    /// Why the last fetch failed, if it did.
    pub failure: Option<String>,
}

/// Why there is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The issuer does not have it.
    Unknown,
    /// The issuer could not be asked.
    Unavailable,
}

/// The keys of one issuer.
pub(crate) struct KeySource {
    name: String,
    issuer: String,
    location: Location,
    clients: IssuerClients,
    clock: Arc<dyn Clock>,
    state: ArcSwap<State>,
    /// Whose turn it is to fetch. INVARIANT: only its holder replaces `state`.
    turn: Arc<Mutex<()>>,
}

#[derive(Default)]
struct State {
    known: Option<Known>,
    attempted: Option<Monotonic>,
    failure: Option<Arc<IssuerError>>,
    /// The `kid`s for which a fetch was made in vain. Bounded by time: a fetch adds at most one.
    unknown: Vec<(Option<Box<str>>, Monotonic)>,
}

#[derive(Clone)]
struct Known {
    keys: Arc<KeySet>,
    jwks_url: Arc<str>,
    fetched: Monotonic,
    fetched_at: Timestamp,
}

impl State {
    fn usable(&self, now: Monotonic) -> Option<&Known> {
        self.known.as_ref().filter(|known| now.since(known.fetched) < KEPT_AT_MOST)
    }

    fn lookup(&self, wanted: Wanted<'_>, now: Monotonic) -> Result<Arc<KeySet>, Missing> {
        let known = self.usable(now).ok_or(Missing::Unavailable)?;
        if known.keys.knows(wanted) {
            Ok(Arc::clone(&known.keys))
        } else if self.failure.is_some() && !self.is_unknown(wanted, now) {
            Err(Missing::Unavailable)
        } else {
            Err(Missing::Unknown)
        }
    }

    fn may_fetch(&self, now: Monotonic) -> bool {
        self.attempted.is_none_or(|attempted| now.since(attempted) >= REFETCH_INTERVAL)
    }

    fn is_older_than(&self, age: Duration, now: Monotonic) -> bool {
        self.known.as_ref().is_none_or(|known| now.since(known.fetched) >= age)
    }

    /// Whether the issuer is to be asked before this key is looked up.
    fn is_due(&self, wanted: Wanted<'_>, now: Monotonic) -> bool {
        let is_missing = || {
            let is_known = self.known.as_ref().is_some_and(|known| known.keys.knows(wanted));
            !is_known && !self.is_unknown(wanted, now)
        };
        self.may_fetch(now) && (self.is_older_than(REFRESH_INTERVAL, now) || is_missing())
    }

    fn is_unknown(&self, wanted: Wanted<'_>, now: Monotonic) -> bool {
        self.unknown
            .iter()
            .any(|(kid, since)| kid.as_deref() == wanted.kid && now.since(*since) < UNKNOWN_FOR)
    }
}

impl KeySource {
    pub(crate) fn new(
        address: &Address,
        clients: IssuerClients,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Flaw> {
        Ok(Self {
            name: address.name.clone(),
            issuer: address.issuer.clone(),
            location: Location::of(address)?,
            clients,
            clock,
            state: ArcSwap::default(),
            turn: Arc::default(),
        })
    }

    /// The keys, if the wanted one is among them.
    pub(crate) async fn keys(self: &Arc<Self>, wanted: Wanted<'_>) -> Result<Arc<KeySet>, Missing> {
        let now = self.clock.monotonic();
        let state = self.state.load_full();
        if !state.is_due(wanted, now) {
            return state.lookup(wanted, now);
        }
        let turn = match state.lookup(wanted, now) {
            // One request finds out whether the issuer still has the key; the others need not wait for it.
            Ok(keys) => match Arc::clone(&self.turn).try_lock_owned() {
                Ok(turn) => turn,
                Err(_) => return Ok(keys),
            },
            Err(_) => Arc::clone(&self.turn).lock_owned().await,
        };
        // Somebody else may have fetched while we waited.
        if self.state.load().is_due(wanted, self.clock.monotonic()) {
            self.fetch(turn, Some(wanted)).await;
        }
        self.state.load().lookup(wanted, self.clock.monotonic())
    }

    pub(crate) async fn warm(self: &Arc<Self>) {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let now = self.clock.monotonic();
        let state = self.state.load_full();
        if state.may_fetch(now) && state.is_older_than(REFRESH_INTERVAL / 2, now) {
            self.fetch(turn, None).await;
        }
    }

    pub(crate) async fn test(self: &Arc<Self>) -> Result<IssuerStatus, Arc<IssuerError>> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        self.fetch(turn, None).await;
        let failure = self.state.load().failure.clone();
        failure.map_or_else(|| Ok(self.status()), Err)
    }

    /// The keys, if they may be used without asking the issuer again.
    pub(crate) fn current(&self) -> Option<Arc<KeySet>> {
        let (now, state) = (self.clock.monotonic(), self.state.load());
        let known = state.known.as_ref().filter(|known| now.since(known.fetched) < REFRESH_INTERVAL);
        known.map(|known| Arc::clone(&known.keys))
    }

    pub(crate) fn status(&self) -> IssuerStatus {
        let state = self.state.load();
        let known = state.known.as_ref();
        let keys = known.map(|known| known.keys.as_ref());
        IssuerStatus {
            name: self.name.clone(),
            issuer: self.issuer.clone(),
            jwks_url: known.map(|known| known.jwks_url.to_string()),
            keys: keys.map_or(0, KeySet::len),
            algorithms: keys.map(KeySet::algorithms).unwrap_or_default(),
            skipped: keys.map(|keys| keys.skipped().to_vec()).unwrap_or_default(),
            fetched_at: known.map(|known| known.fetched_at),
            failure: state.failure.as_ref().map(|error| with_causes(error)),
        }
    }

    /// Fetches and keeps what came. It goes on when the requester leaves: otherwise an agent that hangs up again and
    /// again would keep everybody else from a new key, since an attempt is made only so often.
    async fn fetch(self: &Arc<Self>, turn: OwnedMutexGuard<()>, wanted: Option<Wanted<'_>>) {
        let source = Arc::clone(self);
        let wanted = wanted.map(|wanted| (wanted.kid.map(Box::from), wanted.algorithm));
        let fetching = tokio::spawn(async move {
            let outcome = source.location.fetch(&source.clients).await;
            source.keep(outcome, wanted);
            drop(turn);
        });
        if fetching.await.is_err() {
            tracing::error!(issuer = self.name, "a fetch of keys ended without a result");
        }
    }

    fn keep(&self, outcome: Result<Fetched, IssuerError>, wanted: Option<(Option<Box<str>>, Algorithm)>) {
        let (now, fetched_at) = (self.clock.monotonic(), self.clock.now());
        let before = self.state.load();
        let mut unknown = before.unknown.clone();
        unknown.retain(|(_, since)| now.since(*since) < UNKNOWN_FOR);
        let (known, failure) = match outcome {
            Ok(Fetched { keys, jwks_url }) => {
                let is_missing = |(kid, algorithm): &(Option<Box<str>>, Algorithm)| {
                    !keys.knows(Wanted { kid: kid.as_deref(), algorithm: *algorithm })
                };
                unknown.extend(wanted.filter(is_missing).map(|(kid, _)| (kid, now)));
                (Some(Known { keys: Arc::new(keys), jwks_url, fetched: now, fetched_at }), None)
            }
            Err(error) => {
                let cause = with_causes(&error);
                tracing::warn!(issuer = self.name, cause, "the keys of an issuer cannot be fetched");
                (before.known.clone(), Some(Arc::new(error)))
            }
        };
        self.state.store(Arc::new(State { known, attempted: Some(now), failure, unknown }));
    }
}

impl std::fmt::Debug for KeySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeySource").field("name", &self.name).finish_non_exhaustive()
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
