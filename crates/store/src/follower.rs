//! Keeps what is in memory in step with the store, and knows how far behind it may be.
//!
//! The age counts from the moment at which the last poll whose changes were *all applied* was sent, on this machine's
//! own monotonic clock. Two things that look healthy therefore still go stale: a poll that answers while a subscriber
//! cannot apply what it brought, and a database that answers but never catches up.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};
use vestibule_model::{Clock, Monotonic};

use crate::{By, Change, Changes, Kind, Record, Seq, Store, StoreError};

/// Rows asked for at a time.
const PAGE: u32 = 1000;

/// Holds in memory what the store says about some kinds. Called from one task, never twice at once; must not block.
pub trait Subscriber: Send + Sync {
    /// The kinds it wants to hear of.
    fn kinds(&self) -> &'static [Kind];

    /// These are all the records of its kinds: what else it held is gone. Called at the start, and again when the
    /// history broke off.
    ///
    /// # Errors
    /// When a record is not usable. The follower keeps trying, and its age grows.
    fn reset(&self, records: Vec<Record>) -> Result<(), StoreError>;

    /// One change. May repeat what it was told before, so it must be idempotent.
    ///
    /// # Errors
    /// As `reset`.
    fn apply(&self, change: &Change) -> Result<(), StoreError>;
}

/// Tails the change log for its subscribers until the last `Arc` of it is dropped.
#[derive(Debug)]
pub struct Follower {
    progress: Arc<Progress>,
    task: JoinHandle<()>,
}

impl Follower {
    /// Loads every subscriber, then follows: every `poll` (at least a millisecond), and earlier on a hint.
    ///
    /// # Errors
    /// When the store cannot be read or a subscriber refuses its first records.
    pub async fn start(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        poll: Duration,
        subscribers: Vec<Arc<dyn Subscriber>>,
    ) -> Result<Arc<Self>, StoreError> {
        let progress = Arc::new(Progress::new(clock));
        let mut tail =
            Tail { store, subscribers, progress: Arc::clone(&progress), epoch: String::new(), applied: 0 };
        tail.reload().await?;
        tail.catch_up().await?;
        let task = tokio::spawn(tail.follow(poll));
        Ok(Arc::new(Self { progress, task }))
    }

    /// How old the view of the subscribers may be. Grows while the store cannot be read or applied.
    #[must_use]
    pub fn state_age(&self) -> Duration {
        self.progress.age()
    }

    /// The place up to which every change has been applied.
    #[must_use]
    pub fn applied(&self) -> Seq {
        *self.progress.applied.borrow()
    }

    /// Waits until the change at `seq` has been applied. Waits for ever when that never happens: bound it.
    pub async fn caught_up(&self, seq: Seq) {
        let mut applied = self.progress.applied.subscribe();
        // The sender lives in `self`, so there is always somebody to wait for.
        let _reached = applied.wait_for(|applied| *applied >= seq).await;
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the follower's holders see.
#[derive(Debug)]
struct Progress {
    clock: Arc<dyn Clock>,
    start: Monotonic,
    /// Nanoseconds from `start` to the sending of the last poll that was fully applied. Read on every request, so it
    /// is an atomic and no lock.
    current_at: AtomicU64,
    applied: watch::Sender<Seq>,
}

impl Progress {
    fn new(clock: Arc<dyn Clock>) -> Self {
        let start = clock.monotonic();
        Self { clock, start, current_at: AtomicU64::new(0), applied: watch::Sender::new(0) }
    }

    fn age(&self) -> Duration {
        let now = self.clock.monotonic().since(self.start);
        now.saturating_sub(Duration::from_nanos(self.current_at.load(Ordering::Acquire)))
    }

    fn was_current_at(&self, sent: Monotonic) {
        let nanos = u64::try_from(sent.since(self.start).as_nanos()).unwrap_or(u64::MAX);
        self.current_at.store(nanos, Ordering::Release);
    }
}

/// The task's own side.
struct Tail {
    store: Arc<dyn Store>,
    subscribers: Vec<Arc<dyn Subscriber>>,
    progress: Arc<Progress>,
    epoch: String,
    applied: Seq,
}

impl Tail {
    async fn follow(mut self, poll: Duration) {
        let mut hint = self.store.hint();
        let mut ticks = interval(poll.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_failing = false;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                Ok(()) = hint.changed() => {}
            }
            let outcome = self.catch_up().await;
            // Once per failure, not once per poll.
            match &outcome {
                Err(error) if !is_failing => {
                    tracing::error!(error = %Causes(error), "cannot follow the store")
                }
                Ok(()) if is_failing => tracing::info!("following the store again"),
                Ok(()) | Err(_) => {}
            }
            is_failing = outcome.is_err();
        }
    }

    /// Polls until there is nothing left to apply.
    async fn catch_up(&mut self) -> Result<(), StoreError> {
        loop {
            let sent = self.progress.clock.monotonic();
            let changes = self.store.changes(self.applied, PAGE).await?;
            if changes.epoch != self.epoch || changes.trimmed {
                self.reload().await?;
                continue;
            }
            self.apply(&changes)?;
            let is_current = self.applied >= changes.head;
            if is_current {
                self.progress.was_current_at(sent);
            }
            self.progress.applied.send_replace(self.applied);
            if is_current {
                return Ok(());
            }
        }
    }

    fn apply(&mut self, changes: &Changes) -> Result<(), StoreError> {
        for change in &changes.items {
            for subscriber in &self.subscribers {
                if subscriber.kinds().contains(&change.kind) {
                    subscriber.apply(change)?;
                }
            }
            self.applied = change.seq;
        }
        Ok(())
    }

    /// Reads everything. The head comes first: what changes during the scans is then applied once more by the tail,
    /// instead of falling between the two.
    async fn reload(&mut self) -> Result<(), StoreError> {
        let Changes { epoch, head, .. } = self.store.changes(0, 0).await?;
        for subscriber in &self.subscribers {
            let mut records = Vec::new();
            for kind in subscriber.kinds() {
                self.load(*kind, &mut records).await?;
            }
            subscriber.reset(records)?;
        }
        // Only now: a reload that failed half-way is tried again as a whole.
        (self.epoch, self.applied) = (epoch, head);
        Ok(())
    }

    async fn load(&self, kind: Kind, records: &mut Vec<Record>) -> Result<(), StoreError> {
        let mut after: Option<String> = None;
        loop {
            let page = self.store.scan(kind, By::All, after.as_deref(), PAGE).await?;
            let is_last = page.len() < PAGE as usize;
            after = page.last().map(|record| record.key.clone());
            records.extend(page);
            if is_last {
                return Ok(());
            }
        }
    }
}

/// An error with all its causes, on one line.
struct Causes<'a>(&'a dyn std::error::Error);

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
