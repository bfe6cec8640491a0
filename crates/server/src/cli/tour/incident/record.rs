use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    super::Stage,
    World,
    call::{Call, Door, Manner},
    cast::Cast,
    flights::Flights,
    order::Ordered,
};
use crate::cli::{Failure, Outcome, admin_client::encoded, output::text};

/// The record is asked what became of each call.
pub(super) async fn play(
    stage: &mut Stage<'_>,
    world: &World<'_>,
    cast: &Cast,
    flights: &Flights,
    ordered: &Ordered,
) -> Outcome {
    stage.scene(
        "The record",
        "Whoever asks tomorrow what was done in the researcher's name finds every attempt, and its end.",
    );
    let found = found(world, cast).await?;
    stage.wire(&format!(
        "vestibule audit search --ancestor {} --denial agent-revoked",
        cast.researcher.holder.id
    ));
    for call in flights.cut() {
        let record = record_of(&found, call);
        let was = ordered.stages.get(&text(&record, "attempt")).map_or("-", String::as_str);
        let told = text(&record, "cancelled");
        let line = format!(
            "{:<10}  {:<14}  {was:<9}  {:<7}  {:<7}  {:<13}  {}",
            call.who,
            call.door.as_str(),
            text(&record, "decision"),
            text(&record, "outcome"),
            text(&record, "denial"),
            if told.is_empty() { String::new() } else { format!("application {told}") },
        );
        stage.wire(line.trim_end());
    }
    let is = |manner: Manner, outcome: &str| {
        let mut meant = flights.cut().filter(|call| call.manner == manner);
        meant.all(|call| {
            let record = record_of(&found, call);
            text(&record, "outcome") == outcome && text(&record, "denial") == "agent-revoked"
        })
    };
    stage.check(is(Manner::Stream, "cut"), "each stream: `cut`");
    stage.check(
        is(Manner::Plain, "unknown"),
        "each call at work: `unknown`, for it may have been carried out",
    );
    stage.check(is(Manner::Turn, "refused"), "each call that waited: `refused`");
    stage.check(
        flights.cut().all(|call| text(&record_of(&found, call), "cancelled") == told(call)),
        "and how the application was told: in words where sessions are, else by closing",
    );
    verified(stage, world).await
}

/// The calls of the researcher and of all below it, by attempt.
async fn found(world: &World<'_>, cast: &Cast) -> Result<BTreeMap<String, Value>, Failure> {
    let ancestor = encoded(&cast.researcher.holder.id);
    let query = format!("/admin/v1/attempts?ancestor={ancestor}&kind=call&limit=1000");
    let found = world.admin.get(&query).await?;
    let items = found.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    Ok(items.into_iter().map(|item| (text(&item, "attempt"), item)).collect())
}

fn record_of(found: &BTreeMap<String, Value>, call: &Call) -> Value {
    call.heard().attempt.and_then(|attempt| found.get(&attempt).cloned()).unwrap_or_default()
}

/// How the application has to be told that such a call is over: MCP with sessions has words for it, and to close the
/// connection says nothing there.
fn told(call: &Call) -> &'static str {
    match (call.manner, call.door) {
        (Manner::Turn, _) => "",
        (Manner::Stream | Manner::Plain, Door::Legacy) => "notified",
        (Manner::Stream | Manner::Plain, Door::Modern | Door::Http) => "closed",
    }
}

async fn verified(stage: &mut Stage<'_>, world: &World<'_>) -> Outcome {
    let verified = world.admin.post("/admin/v1/evidence/verify", &json!({})).await?;
    let report = verified.get("report").cloned().unwrap_or_default();
    stage.wire(&format!(
        "vestibule audit verify -> {} entries, {} checkpoints, {} gaps",
        text(&report, "entries"),
        text(&report, "checkpoints"),
        report.get("gaps").and_then(Value::as_array).map_or(0, Vec::len),
    ));
    stage.check(verified.get("ok") == Some(&json!(true)), "the log verifies against its signed checkpoints");
    Ok(())
}
