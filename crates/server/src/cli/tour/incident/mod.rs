//! The story of an incident: an agent acts for a human and spawns others, one of them turns out to be compromised while
//! calls of every kind are under way, and one order cuts it with everything below. What the order did is then asked of
//! everybody who can know: the agents, the application, the record.

mod aftermath;
mod call;
mod cast;
mod chain;
mod flights;
mod journal;
mod login;
mod order;
mod record;
mod suspension;
mod trace;
mod tree;

use std::{path::Path, sync::Arc};

use vestibule_model::{Entropy, OsEntropy};

use super::{Stage, holder::Entrance, story::Places};
use crate::{
    cli::{Failure, Outcome, admin_client::AdminClient},
    config::{FILE_NAME, Settings},
};
use journal::Journal;

/// How wide JSON may be: what stands before it on a line makes up the rest of a hundred columns.
const WIDTH: usize = 92;
/// The calls of every kind that the deepest agent has under way.
const OF_EVERY_KIND: usize = 6;
/// More calls than these are not worth filling a queue for.
const RUNNING_MAX: usize = 64;

/// What is behind the stage: the quickstart's folder, in which the key of the users' issuer and the secret of the
/// application lie, and that issuer's identifier.
pub(super) struct Backstage<'a> {
    pub(super) dir: &'a Path,
    pub(super) users: &'a str,
}

/// Where the story takes place.
struct World<'a> {
    admin: &'a AdminClient,
    places: &'a Places,
    entrance: Arc<Entrance>,
    journal: Journal,
    /// How many calls of one agent run at once.
    running_max: usize,
    /// Makes the names of this time different from those of the last.
    suffix: String,
}

/// The scenes, in order.
pub(super) async fn play(
    stage: &mut Stage<'_>,
    admin: &AdminClient,
    places: &Places,
    backstage: &Backstage<'_>,
) -> Outcome {
    let world = World::new(admin, places, backstage).await?;
    let orchestrator = login::play(stage, &world, backstage).await?;
    let cast = chain::play(stage, &world, orchestrator).await?;
    chain::widening(stage, &world, &cast).await?;
    let mut flights = flights::play(stage, &world, &cast).await?;
    let ordered = order::play(stage, &world, &cast, &mut flights).await?;
    aftermath::play(stage, &world, &cast).await?;
    journal::play(stage, &world, &flights).await?;
    record::play(stage, &world, &cast, &flights, &ordered).await?;
    trace::play(stage, &world, &cast).await?;
    suspension::play(stage, &world, &cast, &mut flights).await
}

impl<'a> World<'a> {
    async fn new(
        admin: &'a AdminClient,
        places: &'a Places,
        backstage: &Backstage<'_>,
    ) -> Result<Self, Failure> {
        let settings = Settings::read(&backstage.dir.join(FILE_NAME)).map_err(Failure::usage)?;
        let running_max = settings.limits.agent_requests_max;
        if !(OF_EVERY_KIND..=RUNNING_MAX).contains(&running_max) {
            return Err(Failure::Usage(format!(
                "`limits.agent_requests_max` in `{}` is {running_max}: to fill the queue of an agent, the story needs \
                 {OF_EVERY_KIND} to {RUNNING_MAX}",
                backstage.dir.join(FILE_NAME).display()
            )));
        }
        let mut number = [0u8; 4];
        OsEntropy.fill(&mut number);
        let entrance = Entrance::new(&places.issuer)?;
        let journal = Journal::open(Arc::clone(&entrance), backstage).await?;
        let suffix = format!("{:08x}", u32::from_be_bytes(number));
        Ok(Self { admin, places, entrance, journal, running_max, suffix })
    }
}
