use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::{Value, json};
use vestibule_model::{Clock, Monotonic};

use super::{
    super::Stage,
    World,
    call::{Call, Manner, all_until},
    cast::{CUT, Cast},
    flights::{Flights, step},
    tree,
};
use crate::cli::{Failure, output::text};

/// How long after the acknowledgement an agent may still find what its own machine had received before.
const KERNEL: Duration = Duration::from_millis(500);
/// How long the agents' ends are watched: two further steps of each stream that goes on.
const WATCH_MAX: Duration = Duration::from_secs(10);
const WATCHED_STEPS: u32 = 2;

/// What the order did, as the gateway reported it.
pub(super) struct Ordered {
    /// What each attempt was doing when it was cut.
    pub(super) stages: BTreeMap<String, String>,
}

/// What the order would do. Changes nothing.
pub(super) async fn dry_run(world: &World<'_>, cast: &Cast) -> Result<Value, Failure> {
    revoke(world, &cast.researcher.holder.id, true).await
}

async fn revoke(world: &World<'_>, agent: &str, dry_run: bool) -> Result<Value, Failure> {
    let order = json!({ "kind": "agent", "id": agent, "reason": "compromise", "dry_run": dry_run });
    world.admin.post("/admin/v1/revocations", &order).await
}

/// One order, and what everybody saw of it.
pub(super) async fn play(
    stage: &mut Stage<'_>,
    world: &World<'_>,
    cast: &Cast,
    flights: &mut Flights,
) -> Result<Ordered, Failure> {
    stage.scene(
        "The researcher is compromised: one order",
        "It names one agent. Nobody looks for those below it: each token down there names the researcher.",
    );
    let agent = &cast.researcher.holder.id;
    let rehearsed = dry_run(world, cast).await?;
    stage.wire(&format!("vestibule revoke agent {agent} --reason compromise --dry-run"));
    stage.wire(&told(&rehearsed, "would be"));
    stage.wire(&counted(&rehearsed, cast));
    let expected = flights.cut().count();
    stage.check(
        attempts(&rehearsed).len() == expected && flights.cut().all(|call| call.heard().end.is_none()),
        "rehearsed: it tells what it would cut, and cuts nothing",
    );

    let started = world.entrance.clock.monotonic();
    let report = revoke(world, agent, false).await?;
    let acknowledged = world.entrance.clock.monotonic();
    let took = acknowledged.since(started).as_secs_f64() * 1e3;
    stage.wire(&format!("vestibule revoke agent {agent} --reason compromise"));
    stage.wire(&told(&report, "is"));
    stage.check(text(&report, "state") == "revoked", &format!("acknowledged after {took:.0} ms"));

    let ordered = Ordered { stages: attempts(&report) };
    watch(flights).await;
    show(stage, flights, &ordered);
    judge(stage, flights, acknowledged, world.entrance.clock.monotonic());
    let cut: BTreeSet<String> = flights.cut().filter_map(|call| call.heard().attempt).collect();
    stage.check(
        cut.len() == expected && cut.iter().eq(ordered.stages.keys()),
        &format!("the report lists exactly these {expected} attempts"),
    );
    stage.wire("vestibule delegation tree");
    let trees = tree::show(stage, world, cast).await?;
    let members = [&*cast.researcher, &*cast.writer, &*cast.helper];
    stage.check(
        tree::are(&trees, &members, "revoked"),
        "in both trees the branch is dead, and nothing else is",
    );
    Ok(ordered)
}

/// Until all that was cut has ended, and all that was not has gone on for a while.
async fn watch(flights: &mut Flights) {
    let (cut, spared): (Vec<&mut Call>, Vec<&mut Call>) =
        flights.calls.iter_mut().partition(|call| CUT.contains(&call.who));
    all_until(cut, WATCH_MAX, |heard| heard.end.is_some()).await;
    let before = spared.iter().map(|call| call.heard().pieces).max().unwrap_or(0);
    all_until(spared, WATCH_MAX, |heard| heard.pieces >= before + WATCHED_STEPS).await;
}

fn judge(stage: &mut Stage<'_>, flights: &Flights, acknowledged: Monotonic, now: Monotonic) {
    let of = |manner: Manner| flights.cut().filter(move |call| call.manner == manner);
    stage.check(
        of(Manner::Stream).all(|call| call.heard().is_cut_off()),
        &format!("{} streams of the branch ended, cut off in the middle", of(Manner::Stream).count()),
    );
    for (manner, whose) in
        [(Manner::Plain, "that the application was at work on"), (Manner::Turn, "that waited")]
    {
        stage.check(
            of(manner).all(is_refused),
            &format!("{} calls {whose} were refused: 401, no result", of(manner).count()),
        );
    }
    let late = |call: &Call| call.heard().latest.map(|at| at.since(acknowledged)).unwrap_or_default();
    let latest = flights.cut().map(late).max().unwrap_or_default();
    stage.check(
        latest < KERNEL && flights.cut().all(|call| call.heard().end.is_some()),
        &format!(
            "after the acknowledgement nothing arrived on any of them, watched for {:.1} s",
            now.since(acknowledged).as_secs_f64()
        ),
    );
    let goes_on = |call: &Call| {
        let heard = call.heard();
        heard.end.is_none() && heard.latest.is_some_and(|at| at.since(acknowledged) > KERNEL)
    };
    stage.check(
        flights.spared().all(goes_on),
        &format!("{} streams above and beside it go on", flights.spared().count()),
    );
}

fn is_refused(call: &Call) -> bool {
    let heard = call.heard();
    heard.status == Some(401) && !heard.text.contains("\"seconds\"")
}

/// What each attempt of a report was doing.
fn attempts(report: &Value) -> BTreeMap<String, String> {
    let attempts = report.get("attempts").and_then(Value::as_array).cloned().unwrap_or_default();
    attempts.iter().map(|attempt| (text(attempt, "attempt"), text(attempt, "stage"))).collect()
}

/// A report in few words.
fn told(report: &Value, is: &str) -> String {
    let count = |key: &str| report.pointer(&format!("/cut/{key}")).and_then(Value::as_u64).unwrap_or(0);
    format!(
        "agent {} {is} revoked: {} calls cut, {} of them streams, {} delegations dead",
        text(report, "id"),
        count("attempts"),
        count("streams"),
        count("nodes"),
    )
}

/// The attempts of a report, counted by agent and stage.
fn counted(report: &Value, cast: &Cast) -> String {
    let attempts = report.get("attempts").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut counted = BTreeMap::<(String, String), usize>::new();
    for attempt in &attempts {
        *counted.entry((cast.called(&text(attempt, "agent")), text(attempt, "stage"))).or_default() += 1;
    }
    let line =
        |((agent, stage), count): (&(String, String), &usize)| format!("  {agent:<26}  {stage:<9}  {count}");
    counted.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn show(stage: &Stage<'_>, flights: &Flights, ordered: &Ordered) {
    for call in &flights.calls {
        let heard = call.heard();
        let was = heard.attempt.as_ref().and_then(|attempt| ordered.stages.get(attempt));
        let last = step(heard.last_line());
        let now = match (heard.end, heard.status) {
            (None, _) => format!("goes on: {last}"),
            (Some(end), Some(200)) => format!("{end} after {last}"),
            (Some(_), Some(status)) => {
                let title = serde_json::from_str::<Value>(&heard.text).unwrap_or_default();
                format!("{status} {}", text(&title, "code"))
            }
            (Some(end), None) => format!("{end} before its reply began"),
        };
        let was = was.map_or("-", String::as_str);
        stage.wire(&format!("{:<12}  {:<14}  {was:<9}  {now}", call.who, call.door.as_str()));
    }
}
