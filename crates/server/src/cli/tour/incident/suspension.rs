use std::time::Duration;

use serde_json::json;

use super::{
    super::Stage,
    World,
    aftermath::call,
    call::{Door, Heard, all_until},
    cast::Cast,
    flights::Flights,
    tree,
};
use crate::cli::{Outcome, output::text};

/// How long a stream may take to end.
const END_MAX: Duration = Duration::from_secs(10);

/// The reversible sister of revocation, on the branch beside.
pub(super) async fn play(
    stage: &mut Stage<'_>,
    world: &World<'_>,
    cast: &Cast,
    flights: &mut Flights,
) -> Outcome {
    stage.scene(
        "Suspend and resume: the reversible sister",
        "The reviewer looks odd too. Until somebody knows more, its branch is stopped, not killed.",
    );
    let agent = &cast.reviewer.holder.id;
    let order = json!({ "kind": "agent", "id": agent, "state": "suspended", "reason": "unspecified" });
    let report = world.admin.post("/admin/v1/revocations", &order).await?;
    stage.wire(&format!("vestibule suspend agent {agent}"));
    stage.wire(&format!(
        "agent {agent} is {}: {} calls cut",
        text(&report, "state"),
        report.pointer("/cut/attempts").cloned().unwrap_or_default()
    ));
    let branch = [cast.reviewer.holder.name, cast.checker.holder.name];
    let streams = flights.calls.iter_mut().filter(|call| branch.contains(&call.who));
    let cut = all_until(streams, END_MAX, Heard::is_cut_off).await;
    let mut above = flights.spared().filter(|call| call.who == cast.orchestrator.holder.name);
    stage.check(
        cut && above.all(|call| call.heard().end.is_none()),
        "their streams are cut, the orchestrator's go on",
    );
    let answer = call(world, &cast.checker, Door::Http).await?;
    stage.wire(&format!("checker calls -> {}  Retry-After: {}", answer.status, answer.header("retry-after")));
    stage.check(
        answer.status == 403 && !answer.header("retry-after").is_empty(),
        "the checker is asked to come again later: its token is not dead",
    );
    let trees = tree::show(stage, world, cast).await?;
    stage.check(tree::are(&trees, &[&cast.reviewer, &cast.checker], "suspended"), "the branch is suspended");

    let name = json!({ "kind": "agent", "id": agent });
    world.admin.post("/admin/v1/revocations/resume", &name).await?;
    stage.wire(&format!("vestibule resume agent {agent}"));
    let answer = call(world, &cast.checker, Door::Http).await?;
    stage.wire(&format!("checker calls -> {} {}", answer.status, answer.body));
    stage.check(answer.status == 200, "with the token it had before it works on");
    let answer = call(world, &cast.helper, Door::Http).await?;
    stage.wire(&format!("helper calls -> {}", answer.status));
    stage.check(answer.status == 401, "what is revoked stays revoked");
    Ok(())
}
