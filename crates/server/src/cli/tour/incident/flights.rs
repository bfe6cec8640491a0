use std::{sync::Arc, time::Duration};

use serde_json::Value;

use super::{
    super::Stage,
    OF_EVERY_KIND, World,
    call::{Call, Door, Manner, all_until, session},
    cast::{CUT, Cast, Member},
    order::dry_run,
};
use crate::cli::{Failure, output::text};

/// How long a reply may take to begin, and a call to find its place.
const BEGIN_MAX: Duration = Duration::from_secs(10);
const ASK_AGAIN: Duration = Duration::from_millis(20);
/// The shortest call of the story, in seconds: longer than the story.
const SECONDS: u32 = 121;

/// The calls that are under way.
pub(super) struct Flights {
    pub(super) calls: Vec<Call>,
    /// Of the agents that speak the legacy era, by their part.
    sessions: Vec<(&'static str, String)>,
}

impl Flights {
    /// Those of the agent that the order names, and of all below it.
    pub(super) fn cut(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|call| self.is_cut(call))
    }

    /// Those above it and beside it.
    pub(super) fn spared(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|call| !self.is_cut(call))
    }

    pub(super) fn is_cut(&self, call: &Call) -> bool {
        CUT.contains(&call.who)
    }

    fn start(
        &mut self,
        world: &World<'_>,
        member: &Arc<Member>,
        door: Door,
        manner: Manner,
    ) -> Result<(), Failure> {
        let seconds = SECONDS + u32::try_from(self.calls.len()).unwrap_or(0);
        let session = self.sessions.iter().find(|(who, _)| *who == member.holder.name);
        let session = session.map(|(_, session)| session.as_str());
        let request = door.request(world.places, manner, seconds, session)?;
        self.calls.push(Call::start(member, door, manner, seconds, request));
        Ok(())
    }
}

/// Every kind of call is started, and found where it should be.
pub(super) async fn play(stage: &mut Stage<'_>, world: &World<'_>, cast: &Cast) -> Result<Flights, Failure> {
    stage.scene(
        "Calls are under way: streaming, at work, waiting for their turn",
        "In both eras of MCP and over HTTP, by agents above, below and beside the one that will be cut.",
    );
    let mut flights = Flights { calls: Vec::new(), sessions: Vec::new() };
    for member in [&cast.helper, &cast.reviewer] {
        flights.sessions.push((member.holder.name, session(member, world.places).await?));
    }
    for (member, door) in [
        (&cast.orchestrator, Door::Modern),
        (&cast.orchestrator, Door::Http),
        (&cast.reviewer, Door::Legacy),
        (&cast.checker, Door::Http),
        (&cast.researcher, Door::Modern),
        (&cast.writer, Door::Http),
    ] {
        flights.start(world, member, door, Manner::Stream)?;
    }
    for (door, manner) in
        [Manner::Stream, Manner::Plain].iter().flat_map(|how| Door::ALL.map(|door| (door, *how)))
    {
        flights.start(world, &cast.helper, door, manner)?;
    }
    for _ in OF_EVERY_KIND..world.running_max {
        flights.start(world, &cast.helper, Door::Modern, Manner::Plain)?;
    }
    let streams = flights.calls.iter_mut().filter(|call| call.manner == Manner::Stream);
    let stream = all_until(streams, BEGIN_MAX, |heard| heard.pieces > 0).await;
    let running: Vec<u32> = flights.calls.iter().map(|call| call.seconds).collect();
    let is_running = |outcome: Option<&String>| outcome.is_some_and(|outcome| outcome == "running");
    let outcomes =
        world.journal.until(|outcomes| running.iter().all(|call| is_running(outcomes.get(call)))).await?;
    let run = running.iter().all(|call| is_running(outcomes.get(call)));

    for door in Door::ALL {
        flights.start(world, &cast.helper, door, Manner::Turn)?;
    }
    let waiting = waiting(world, cast).await?;
    show(stage, &flights);
    let streams = flights.calls.iter().filter(|call| call.manner == Manner::Stream).count();
    stage.check(stream, &format!("{streams} replies stream, a step a second"));
    stage.check(run, &format!("the application is at work on {} calls", running.len()));
    let outcomes = world.journal.outcomes().await?;
    let unheard = flights.calls.iter().filter(|call| call.manner == Manner::Turn);
    stage.check(
        waiting == Door::ALL.len() && unheard.clone().all(|call| !outcomes.contains_key(&call.seconds)),
        &format!("{waiting} wait at the gateway: of an agent, {} calls run at once", world.running_max),
    );
    Ok(flights)
}

/// How many calls wait for their turn: what the order would cut says so.
async fn waiting(world: &World<'_>, cast: &Cast) -> Result<usize, Failure> {
    let mut waiting = 0;
    let all_wait = async {
        while waiting < Door::ALL.len() {
            tokio::time::sleep(ASK_AGAIN).await;
            let report = dry_run(world, cast).await?;
            let attempts = report.get("attempts").and_then(Value::as_array).cloned().unwrap_or_default();
            waiting = attempts.iter().filter(|attempt| text(attempt, "stage") == "queued").count();
        }
        Ok(())
    };
    match tokio::time::timeout(BEGIN_MAX, all_wait).await {
        Ok(Err(failure)) => Err(failure),
        Ok(Ok(())) | Err(_) => Ok(waiting),
    }
}

fn show(stage: &Stage<'_>, flights: &Flights) {
    for call in &flights.calls {
        let heard = call.heard();
        let (how, now) = match call.manner {
            Manner::Stream => ("a stream", heard.last_line().to_owned()),
            Manner::Plain => ("one answer", "the application is at work".to_owned()),
            Manner::Turn => ("one answer", "waits for its turn".to_owned()),
        };
        let now = step(&now);
        stage.wire(&format!("{:<12}  {:<14}  {how:<10}  {now}", call.who, call.door.as_str()));
    }
}

/// A step of a stream in few words.
pub(super) fn step(line: &str) -> String {
    let told: Value = serde_json::from_str(line).unwrap_or_default();
    let message = told.pointer("/params/message").and_then(Value::as_str);
    let second = told
        .get("second")
        .map(|second| format!("second {second} of {}", told.get("of").cloned().unwrap_or_default()));
    message.map(ToOwned::to_owned).or(second).unwrap_or_else(|| line.to_owned())
}
