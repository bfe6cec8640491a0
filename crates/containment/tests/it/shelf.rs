use std::{collections::BTreeMap, sync::Mutex};

use async_trait::async_trait;
use tokio::sync::watch;
use vestibule_model::Timestamp;
use vestibule_store::{By, Change, Changes, Counter, Expect, Kind, Op, Record, Seq, Store, StoreError};

/// A store without a disk, which can be told to fail and to forget.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    content: Mutex<Content>,
    polls: watch::Sender<u64>,
    hint: watch::Sender<Seq>,
}

#[derive(Debug, Default, Clone)]
pub(crate) struct Content {
    epoch: u64,
    log: Vec<String>,
    records: BTreeMap<String, Record>,
    is_failing: bool,
}

impl Shelf {
    pub(crate) fn fail(&self, is_failing: bool) {
        self.content.lock().unwrap().is_failing = is_failing;
    }

    /// As after a restore from an empty backup.
    pub(crate) fn forget(&self) {
        self.restore(Content::default());
    }

    /// What the record of that key says.
    pub(crate) fn body(&self, key: &str) -> serde_json::Value {
        serde_json::from_str(&self.content.lock().unwrap().records[key].body).unwrap()
    }

    /// A backup.
    pub(crate) fn backup(&self) -> Content {
        self.content.lock().unwrap().clone()
    }

    /// As after a restore: another history, which begins with what the backup has.
    pub(crate) fn restore(&self, backup: Content) {
        let mut content = self.content.lock().unwrap();
        *content = Content { epoch: content.epoch + 1, ..backup };
        self.hint.send_replace(content.log.len() as Seq);
    }

    /// Waits for that many more polls to begin, so all but the last have ended.
    pub(crate) async fn polled(&self, times: u64) {
        let mut polls = self.polls.subscribe();
        let goal = *polls.borrow() + times;
        polls.wait_for(|polls| *polls >= goal).await.unwrap();
    }

    /// Waits for a commit.
    pub(crate) async fn written(&self, seq: Seq) {
        self.hint.subscribe().wait_for(|head| *head >= seq).await.unwrap();
    }
}

#[async_trait]
impl Store for Shelf {
    async fn commit(&self, ops: Vec<Op>) -> Result<Seq, StoreError> {
        let mut content = self.content.lock().unwrap();
        if content.is_failing {
            return Err(StoreError::Stopped);
        }
        for op in ops {
            let Op::Put(put) = op else { unreachable!("containment deletes nothing") };
            let version = content.records.get(&put.key).map(|record| record.version);
            let is_as_expected = match put.expect {
                Expect::Any => true,
                Expect::Absent => version.is_none(),
                Expect::Version(expected) => version == Some(expected),
            };
            if !is_as_expected {
                return Err(StoreError::Conflict { kind: put.kind, key: put.key });
            }
            content.log.push(put.key.clone());
            let record = Record {
                kind: put.kind,
                key: put.key.clone(),
                version: version.unwrap_or(0) + 1,
                parent: put.parent,
                subject: put.subject,
                expires_at: put.expires_at,
                body: put.body,
            };
            content.records.insert(put.key, record);
        }
        let head = content.log.len() as Seq;
        self.hint.send_replace(head);
        Ok(head)
    }

    async fn get(&self, _: Kind, key: &str) -> Result<Option<Record>, StoreError> {
        let content = self.content.lock().unwrap();
        if content.is_failing { Err(StoreError::Stopped) } else { Ok(content.records.get(key).cloned()) }
    }

    async fn scan(&self, kind: Kind, _: By<'_>, _: Option<&str>, _: u32) -> Result<Vec<Record>, StoreError> {
        let content = self.content.lock().unwrap();
        Ok(content.records.values().filter(|record| record.kind == kind).cloned().collect())
    }

    async fn counters(&self, _: &str, _: Option<&str>, _: u32) -> Result<Vec<Counter>, StoreError> {
        unreachable!("containment counts nothing")
    }

    async fn claim(&self, _: &str, _: Vec<(String, Timestamp)>) -> Result<Vec<bool>, StoreError> {
        unreachable!("containment claims nothing")
    }

    async fn changes(&self, after: Seq, _: u32) -> Result<Changes, StoreError> {
        self.polls.send_modify(|polls| *polls += 1);
        let content = self.content.lock().unwrap();
        if content.is_failing {
            return Err(StoreError::Stopped);
        }
        let items = content.log.iter().zip(1..).skip(after as usize).map(|(key, seq)| Change {
            seq,
            kind: content.records.get(key).map_or(Kind::Deny, |record| record.kind),
            key: key.clone(),
            record: content.records.get(key).cloned(),
        });
        Ok(Changes {
            epoch: content.epoch.to_string(),
            head: content.log.len() as Seq,
            items: items.collect(),
            trimmed: after > content.log.len() as Seq,
        })
    }

    fn hint(&self) -> watch::Receiver<Seq> {
        self.hint.subscribe()
    }

    async fn trim(&self, _: Timestamp, _: Seq) -> Result<u64, StoreError> {
        unreachable!("containment trims nothing")
    }

    async fn scrub(&self) -> Result<(), StoreError> {
        unreachable!("containment scrubs nothing")
    }
}
