use std::{sync::Arc, time::Duration};

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use vestibule_model::{Clock, Denial, Directory, Fault, FaultKind, Refusal, SpentLimit, Stop, Timestamp};
use vestibule_store::{Charge, Op, Store, StoreError};

use super::{
    Standing,
    asking::{Asking, Key},
    refused,
};
use crate::config::{Period, Quota};

/// A counter is kept for so long after its period: a gateway whose clock is behind still finds it.
const KEPT: Duration = Duration::from_secs(3_600);
/// Counters of one quota that are shown, at most.
const SHOWN_MAX: usize = 10_000;
const PAGE: u32 = 1_000;

/// All quotas, counted in the store.
#[derive(Debug)]
pub(super) struct Quotas {
    /// The longest periods first: of two that are used up, that is told which lasts longer.
    all: Vec<Quota>,
    zone: TimeZone,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

/// The hour or day that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Now {
    start: Timestamp,
    end: Timestamp,
}

/// The key of a counter in the store. `start` comes first, so that the counters of a period stand together.
#[derive(Debug, Serialize, Deserialize)]
struct Counted {
    /// Seconds since the Unix epoch, in as many digits as it takes.
    start: i64,
    period: Period,
    key: Key,
}

impl Quotas {
    pub(super) fn new(quotas: &[Quota], zone: &str, store: &Arc<dyn Store>, clock: &Arc<dyn Clock>) -> Self {
        let mut all = quotas.to_vec();
        all.sort_by_key(|quota| quota.period == Period::Hour);
        // INVARIANT: where a quota counts days, the zone has been found when the configuration was checked.
        let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
        Self { all, zone, store: Arc::clone(store), clock: Arc::clone(clock) }
    }

    /// Counts a permitted call against every quota that matches it, or against none when one of them is used up. Where the
    /// store cannot be reached, nothing is permitted that a quota counts.
    pub(super) async fn charge(&self, asking: &Asking<'_>, directory: &Directory) -> Result<(), Stop> {
        let now = self.clock.now();
        let mut charges = Vec::new();
        for quota in &self.all {
            let Some(key) = asking.key(&quota.rule, directory) else { continue };
            let Now { start, end } = self.period(quota.period, now)?;
            let counted = Counted { start: start.seconds(), period: quota.period, key };
            charges.push(Op::Charge(Charge {
                realm: realm(&quota.rule.name),
                key: serde_json::to_string(&counted).map_err(internal)?,
                most: quota.calls,
                expires_at: end.plus(KEPT),
            }));
        }
        if charges.is_empty() {
            return Ok(());
        }
        match self.store.commit(charges).await {
            Ok(_) => Ok(()),
            Err(StoreError::Spent { realm, .. }) => Err(self.refused(&realm, now)?.into()),
            Err(error) => Err(Fault::new(FaultKind::StoreUnavailable, error).into()),
        }
    }

    pub(super) fn configured(&self) -> impl Iterator<Item = &Quota> {
        self.all.iter()
    }

    /// What is used of the quota with that name in the present period.
    pub(super) async fn standing(&self, name: &str) -> Result<Option<Vec<Standing>>, Fault> {
        let Some(quota) = self.all.iter().find(|quota| &*quota.rule.name == name) else { return Ok(None) };
        let now = self.clock.now();
        let Now { start, end } = self.period(quota.period, now)?;
        let resets_in_seconds = refused::whole_seconds(end.since(now));
        let mut after = format!("{{\"start\":{},", start.seconds());
        let mut standing = Vec::new();
        while standing.len() < SHOWN_MAX {
            let unavailable = |error| Fault::new(FaultKind::StoreUnavailable, error);
            let page = self.store.counters(&realm(name), Some(&after), PAGE).await.map_err(unavailable)?;
            let is_last = page.len() < PAGE as usize;
            if let Some(last) = page.last() {
                after.clone_from(&last.key);
            }
            for counter in page {
                // What an earlier configuration counted in another way says nothing about this one.
                let Ok(counted) = serde_json::from_str::<Counted>(&counter.key) else { continue };
                if (counted.start, counted.period) == (start.seconds(), quota.period) {
                    let (key, used, of) = (counted.key, counter.used, quota.calls);
                    standing.push(Standing { key, used, of, resets_in_seconds });
                }
            }
            if is_last {
                break;
            }
        }
        Ok(Some(standing))
    }

    fn refused(&self, spent: &str, now: Timestamp) -> Result<Refusal, Fault> {
        let mut refusal = None;
        if let Some(quota) = self.all.iter().find(|quota| realm(&quota.rule.name) == spent) {
            let Now { start, end } = self.period(quota.period, now)?;
            let limit = SpentLimit {
                rule: Arc::clone(&quota.rule.name),
                calls: quota.calls,
                seconds: end.since(start).as_secs(),
                wait_seconds: refused::whole_seconds(end.since(now)),
            };
            refused::add(&mut refusal, Denial::QuotaExceeded, &quota.rule, limit, refused::USED_UP);
        }
        Ok(refusal.unwrap_or_else(|| Denial::QuotaExceeded.into()))
    }

    /// An hour of UTC, or a day of the zone, which may have 23 or 25 hours.
    fn period(&self, period: Period, now: Timestamp) -> Result<Now, Fault> {
        const HOUR: i64 = 3_600;
        match period {
            Period::Hour => {
                let start = Timestamp::from_seconds(now.seconds().div_euclid(HOUR) * HOUR);
                Ok(Now { start, end: start.plus(Duration::from_secs(3_600)) })
            }
            Period::Day => {
                let moment = jiff::Timestamp::from_millisecond(now.millis()).map_err(internal)?;
                let today = moment.to_zoned(self.zone.clone()).start_of_day().map_err(internal)?;
                let tomorrow = today.tomorrow().and_then(|day| day.start_of_day()).map_err(internal)?;
                let seconds = |day: &jiff::Zoned| Timestamp::from_seconds(day.timestamp().as_second());
                Ok(Now { start: seconds(&today), end: seconds(&tomorrow) })
            }
        }
    }
}

fn realm(name: &str) -> String {
    format!("quota/{name}")
}

fn internal(error: impl std::fmt::Display) -> Fault {
    Fault::new(FaultKind::Internal, error)
}
