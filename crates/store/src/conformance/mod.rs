//! What every [`Store`] must do, as one suite: an engine is a `Store` when [`all`] passes.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "this is test code that other crates' tests can call"
)]

mod claims;
mod counters;
mod log;
mod records;

use std::{sync::Arc, time::Duration};

use vestibule_model::{Clock, FixedClock, Timestamp};

use crate::{Kind, Op, Put, Store};

/// Runs every check, each on a fresh store from `make`, which must use the clock that it is given. Wants a runtime
/// with several threads, for the races.
///
/// # Panics
/// At the first check that fails.
pub async fn all(make: impl AsyncFn(Arc<dyn Clock>) -> Arc<dyn Store>) {
    macro_rules! checks {
        ($($check:path),* $(,)?) => {$({
            let clock = Arc::new(FixedClock::at(now()));
            let store = make(Arc::clone(&clock) as Arc<dyn Clock>).await;
            $check(store, &clock).await;
        })*};
    }
    checks![
        records::a_commit_is_all_or_nothing,
        records::a_put_replaces_the_whole_record,
        records::expectations_that_fail_are_conflicts,
        records::increments_by_16_writers_are_never_lost,
        records::expired_records_are_as_if_absent_until_trimmed,
        records::scans_page_in_the_order_of_keys,
        records::scans_find_children_and_subjects,
        records::too_large_is_refused_and_not_written,
        log::a_reader_of_16_writers_misses_nothing,
        log::deletes_are_logged_once,
        log::unlogged_puts_stay_out_of_the_log,
        log::a_log_that_does_not_continue_is_reported,
        log::a_change_carries_the_record_as_it_stands,
        log::hints_wake,
        counters::of_16_racing_callers_as_many_are_counted_as_may_be,
        counters::charges_are_made_together_or_not_at_all,
        counters::an_expired_counter_starts_anew_and_is_trimmed,
        counters::a_counter_lasts_as_long_as_the_latest_charge_says,
        counters::a_recount_gives_room_and_is_refused_when_somebody_was_faster,
        counters::counters_are_listed_by_realm_and_in_pages,
        counters::too_long_a_key_is_not_counted,
        claims::of_16_racing_claims_one_is_accepted,
        claims::an_expired_claim_frees_its_key,
        claims::realms_are_apart,
        claims::claims_that_cannot_be_remembered_are_refused,
    ];
}

const MINUTE: Duration = Duration::from_secs(60);
const WRITERS: usize = 16;

/// Where the clock stands when a check begins.
fn now() -> Timestamp {
    Timestamp::from_seconds(1_800_000_000)
}

fn put(key: &str, body: &str) -> Put {
    Put::new(Kind::Meta, key, &body).unwrap()
}

async fn commit(store: &Arc<dyn Store>, puts: impl IntoIterator<Item = Put>) -> u64 {
    store.commit(puts.into_iter().map(Op::Put).collect()).await.unwrap()
}

async fn body(store: &Arc<dyn Store>, key: &str) -> Option<String> {
    store.get(Kind::Meta, key).await.unwrap().map(|record| record.decode().unwrap())
}
