//! Many agents for many users at many applications, with time that passes, revocations and restarts: what each application
//! was shown is judged by what it says, and the token requests are counted by a model that knows no cache.
//!
//! `VESTIBULE_JUDGE` says how many calls; `VESTIBULE_JUDGE_SEED` makes another run of them.

mod foretold;
mod run;
mod town;

use run::Run;

/// A number of the environment, or the usual one.
#[expect(clippy::disallowed_methods, reason = "how much is for whoever runs the tests to say")]
fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

#[tokio::test]
async fn no_call_carries_anothers_credential_and_each_issuer_is_asked_as_often_as_single_flight_foretells() {
    let mut run = Run::new(number("VESTIBULE_JUDGE_SEED", 1)).await;
    run.calls(number("VESTIBULE_JUDGE", 1_000)).await;
    run.judge().await;
}
