use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use vestibule_model::{AppId, Clock, Monotonic, Timestamp};
use vestibule_store::{Change as Logged, Kind, Record, Store, StoreError, Subscriber};

use super::{
    Breaker, Cause, Phase, Signal, UpstreamThresholds, ledger,
    stored::{Name, from_record},
    window::Window,
};

/// The circuit breakers of applications. What they measure and what they do by themselves is this gateway's own; what an
/// operator orders is all gateways', and survives a restart. See the module's page.
#[derive(Debug)]
pub struct Upstreams {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    started: Monotonic,
    apps: BTreeMap<AppId, Upstream>,
}

#[derive(Debug)]
struct Upstream {
    by: UpstreamThresholds,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Calls, and those that failed.
    window: Window<2>,
    breaker: Breaker,
    cause: Cause,
    tickets: u32,
    /// What an operator has ordered.
    held: Option<(Breaker, Cause)>,
}

/// The breaker of an application that has changed.
#[derive(Debug, Clone)]
pub struct UpstreamChange {
    /// Whose.
    pub app: AppId,
    /// Where it stands now.
    pub breaker: Breaker,
    /// Why.
    pub cause: Cause,
}

/// An application that is given a rest.
#[derive(Debug, Clone)]
pub struct Resting {
    /// Why.
    pub cause: Cause,
    /// When to come again.
    pub retry_after: Duration,
}

/// A call to an application that is under way. Dropped without a word it has told nothing.
#[derive(Debug)]
#[must_use = "how the call went is what the breaker measures"]
pub struct Trying {
    upstreams: Arc<Upstreams>,
    app: AppId,
    /// The turn of the breaker for which it is a probe.
    probe: Option<u64>,
}

impl Upstreams {
    /// Of these applications. Make it a subscriber of a follower.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        apps: impl IntoIterator<Item = (AppId, UpstreamThresholds)>,
    ) -> Arc<Self> {
        let upstream = |by: UpstreamThresholds| Upstream {
            by,
            state: Mutex::new(State {
                window: Window::new(by.window),
                breaker: Breaker::new(by.rest),
                cause: Cause::own(Signal::Failures, ""),
                tickets: 0,
                held: None,
            }),
        };
        let apps = apps.into_iter().map(|(app, by)| (app, upstream(by))).collect();
        let started = clock.monotonic();
        Arc::new(Self { store, clock, started, apps })
    }

    /// Lets a call through to the application, as a probe where one is due; with the change to probing, if it is the first.
    /// None for an application that has no breaker here.
    ///
    /// # Errors
    /// [`Resting`] while the breaker is open: nothing may reach the application.
    pub fn enter(self: &Arc<Self>, app: &AppId) -> Result<Option<(Trying, Option<UpstreamChange>)>, Resting> {
        let Some((app, upstream)) = self.apps.get_key_value(app) else { return Ok(None) };
        let now = self.clock.now();
        let mut state = upstream.state();
        if let Some((held, cause)) = state.held.as_ref().filter(|(held, _)| held.is_shut(now)) {
            return Err(Resting { cause: cause.clone(), retry_after: held.retry_after(now) });
        }
        let mut change = None;
        if state.tickets == 0
            && let Some(probing) = state.breaker.probe(now)
        {
            state.breaker = probing;
            state.cause = Cause::own(Signal::Probe, format!("{} may pass", probing.rest.probes));
            state.tickets = probing.rest.probes;
            change = Some(state.change(app));
        }
        let probe = match state.breaker.phase {
            Phase::Closed => None,
            Phase::Probing { .. } if state.tickets > 0 => {
                state.tickets -= 1;
                Some(state.breaker.turn)
            }
            Phase::Probing { .. } | Phase::Open { .. } => {
                return Err(Resting {
                    cause: state.cause.clone(),
                    retry_after: state.breaker.retry_after(now),
                });
            }
        };
        Ok(Some((Trying { upstreams: Arc::clone(self), app: app.clone(), probe }, change)))
    }

    /// Opens the breaker of an application by hand, until then or until it is reset. Calls that are under way go on.
    ///
    /// # Errors
    /// When the store fails: repeat it.
    pub async fn open(
        &self,
        app: &AppId,
        until: Option<Timestamp>,
        cause: Cause,
    ) -> Result<Option<UpstreamChange>, StoreError> {
        let Some(upstream) = self.apps.get(app) else { return Ok(None) };
        let held = Breaker::new(upstream.by.rest).hold(self.clock.now(), until, upstream.by.rest);
        self.write(app, &held, cause).await.map(Some)
    }

    /// Closes the breaker of an application by hand, on all gateways; none when it is closed here.
    ///
    /// # Errors
    /// When the store fails: repeat it.
    pub async fn close(&self, app: &AppId, cause: Cause) -> Result<Option<UpstreamChange>, StoreError> {
        let Some(upstream) = self.apps.get(app) else { return Ok(None) };
        let now = self.clock.now();
        let (breaker, _) = upstream.state().standing(now);
        if breaker.phase == Phase::Closed {
            return Ok(None);
        }
        self.write(app, &breaker.close(now), cause).await.map(Some)
    }

    async fn write(
        &self,
        app: &AppId,
        breaker: &Breaker,
        cause: Cause,
    ) -> Result<UpstreamChange, StoreError> {
        let name = Name::App(app.clone());
        let breaker = ledger::order(self.store.as_ref(), &name, breaker, &cause).await?;
        self.install(app, breaker, &cause);
        Ok(UpstreamChange { app: app.clone(), breaker, cause })
    }

    /// Every application's breaker, in the order of their ids.
    #[must_use]
    pub fn list(&self) -> Vec<UpstreamChange> {
        let now = self.clock.now();
        let standing = self.apps.iter().map(|(app, upstream)| {
            let (breaker, cause) = upstream.state().standing(now);
            UpstreamChange { app: app.clone(), breaker, cause }
        });
        standing.collect()
    }

    fn install(&self, app: &AppId, breaker: Breaker, cause: &Cause) {
        // A record may be about an application of another gateway, or of an earlier configuration.
        let Some(upstream) = self.apps.get(app) else { return };
        let mut state = upstream.state();
        if state.held.as_ref().is_some_and(|(held, _)| !breaker.supersedes(held)) {
            return;
        }
        // What an operator closes is closed, whoever has opened it.
        if breaker.phase == Phase::Closed {
            let closed = state.breaker.close(self.clock.now());
            state.begin(closed, cause.clone(), &upstream.by);
        }
        state.held = Some((breaker, cause.clone()));
    }

    fn follow(&self, record: &Record) -> Result<(), StoreError> {
        let (name, breaker, cause) = from_record(record)?;
        if let Name::App(app) = name {
            self.install(&app, breaker, &cause);
        }
        Ok(())
    }
}

impl Upstream {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn begin(&mut self, breaker: Breaker, cause: Cause, by: &UpstreamThresholds) {
        self.window = Window::new(by.window);
        self.tickets = 0;
        self.breaker = breaker;
        self.cause = cause;
    }

    fn change(&self, app: &AppId) -> UpstreamChange {
        UpstreamChange { app: app.clone(), breaker: self.breaker, cause: self.cause.clone() }
    }

    /// What is in force: an order first.
    fn standing(&self, now: Timestamp) -> (Breaker, Cause) {
        let held = self.held.clone().filter(|(held, _)| held.is_shut(now));
        held.unwrap_or_else(|| (self.breaker, self.cause.clone()))
    }
}

impl Trying {
    /// Says how the call went: whether the application answered, and not with an error of its own. Gives the change, if it
    /// made one.
    pub fn ended(mut self, is_good: bool) -> Option<UpstreamChange> {
        let (upstreams, app, probe) = (Arc::clone(&self.upstreams), self.app.clone(), self.probe.take());
        let (now, Upstream { by, .. }) = (upstreams.clock.now(), upstreams.apps.get(&app)?);
        let mut state = upstreams.apps.get(&app)?.state();
        match (state.breaker.phase, probe) {
            (Phase::Probing { .. }, Some(turn)) if turn == state.breaker.turn => {
                let (next, what) = if is_good {
                    (state.breaker.close(now), "a probe went well")
                } else {
                    (state.breaker.trip(now, by.rest), "a probe failed")
                };
                state.begin(next, Cause::own(Signal::Probe, what), by);
            }
            (Phase::Closed, None) => {
                let at = upstreams.clock.monotonic().since(upstreams.started);
                let [all, failed] = state.window.add(at, [1, u64::from(!is_good)]);
                if is_good || !by.failures.is_reached(failed, all) {
                    return None;
                }
                let detail = format!("{failed} of {all} calls failed within {} s", by.window.as_secs());
                let next = state.breaker.trip(now, by.rest);
                state.begin(next, Cause::own(Signal::Failures, detail), by);
            }
            // It began before the breaker changed.
            (Phase::Closed | Phase::Open { .. } | Phase::Probing { .. }, _) => return None,
        }
        Some(state.change(&app))
    }
}

impl Drop for Trying {
    fn drop(&mut self) {
        if let Some(turn) = self.probe
            && let Some(upstream) = self.upstreams.apps.get(&self.app)
        {
            let mut state = upstream.state();
            if state.breaker.turn == turn {
                state.tickets += 1;
            }
        }
    }
}

impl Subscriber for Upstreams {
    fn kinds(&self) -> &'static [Kind] {
        &[Kind::Breaker]
    }

    fn reset(&self, records: Vec<Record>) -> Result<(), StoreError> {
        records.iter().try_for_each(|record| self.follow(record))
    }

    fn apply(&self, change: &Logged) -> Result<(), StoreError> {
        change.record.iter().try_for_each(|record| self.follow(record))
    }
}
