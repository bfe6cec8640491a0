use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use tokio::sync::watch;
use vestibule_containment::{Containment, DenyKey, Order, Reason, State};
use vestibule_model::Timestamp;
use vestibule_store::{By, Changes, Counter, Kind, Op, Record, Seq, Store, StoreError};

/// A store beside which something else happens at the very moment of a commit.
#[derive(Debug)]
pub(crate) struct Meddler {
    pub(crate) inner: Arc<dyn Store>,
    /// Commits that another gateway gets ahead of.
    pub(crate) conflicts: AtomicUsize,
    /// What is revoked right after the next commit, before it is acknowledged.
    pub(crate) revokes: Mutex<Option<(Arc<Containment>, DenyKey)>>,
}

impl Meddler {
    pub(crate) fn on(inner: &Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { inner: Arc::clone(inner), conflicts: AtomicUsize::new(0), revokes: Mutex::default() })
    }
}

#[async_trait]
impl Store for Meddler {
    async fn commit(&self, ops: Vec<Op>) -> Result<Seq, StoreError> {
        let left = self.conflicts.load(Ordering::SeqCst);
        if left > 0 {
            self.conflicts.store(left - 1, Ordering::SeqCst);
            return Err(StoreError::Conflict { kind: Kind::Delegation, key: "meddled with".into() });
        }
        let seq = self.inner.commit(ops).await?;
        let order = self.revokes.lock().unwrap().take();
        if let Some((containment, key)) = order {
            let (state, reason) = (State::Revoked, Reason::Compromise);
            let (cutoff, expires_at, by, dry_run) = (None, None, "meddler".to_owned(), false);
            let order = Order { key, state, reason, cutoff, expires_at, by, dry_run };
            containment.order(order).await.unwrap();
        }
        Ok(seq)
    }

    async fn get(&self, kind: Kind, key: &str) -> Result<Option<Record>, StoreError> {
        self.inner.get(kind, key).await
    }

    async fn scan(
        &self,
        kind: Kind,
        by: By<'_>,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Record>, StoreError> {
        self.inner.scan(kind, by, after, limit).await
    }

    async fn counters(
        &self,
        realm: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Counter>, StoreError> {
        self.inner.counters(realm, after, limit).await
    }

    async fn claim(&self, realm: &str, keys: Vec<(String, Timestamp)>) -> Result<Vec<bool>, StoreError> {
        self.inner.claim(realm, keys).await
    }

    async fn changes(&self, after: Seq, limit: u32) -> Result<Changes, StoreError> {
        self.inner.changes(after, limit).await
    }

    fn hint(&self) -> watch::Receiver<Seq> {
        self.inner.hint()
    }

    async fn trim(&self, now: Timestamp, keep: Seq) -> Result<u64, StoreError> {
        self.inner.trim(now, keep).await
    }

    async fn scrub(&self) -> Result<(), StoreError> {
        self.inner.scrub().await
    }
}
