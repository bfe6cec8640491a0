use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, header};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::{
    super::{Stage, agent::answer, holder::Entrance},
    Backstage, World,
    call::Manner,
    flights::Flights,
};
use crate::cli::{Failure, Outcome};

/// The application's secret, in the quickstart's folder.
const SECRET_FILE: &str = "sandbox.secret";
/// How long an application may take to hear that a call is over.
const TOLD_MAX: Duration = Duration::from_secs(10);
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// What the application says it saw. Asked at its own door, past the gateway, with its own credential.
pub(super) struct Journal {
    entrance: Arc<Entrance>,
    url: String,
    secret: SecretString,
    /// The number of the last entry that is not of this story.
    before: u64,
}

impl Journal {
    pub(super) async fn open(entrance: Arc<Entrance>, backstage: &Backstage<'_>) -> Result<Self, Failure> {
        let path = backstage.dir.join(SECRET_FILE);
        let secret = std::fs::read_to_string(&path)
            .map_err(|error| Failure::Usage(format!("cannot read `{}`: {error}", path.display())))?;
        // The issuer of users is served by the application, which may have had to take another port than the configured.
        let base = backstage.users.strip_suffix("/users").unwrap_or(backstage.users);
        let url = format!("{base}/journal");
        let mut journal =
            Self { entrance, url, secret: SecretString::from(secret.trim().to_owned()), before: 0 };
        let seen = journal.read().await?;
        journal.before = seen.iter().filter_map(|one| one.get("number")?.as_u64()).max().unwrap_or(0);
        Ok(journal)
    }

    /// What became of each call of this story that reached the application, by how long it was to take.
    pub(super) async fn outcomes(&self) -> Result<BTreeMap<u32, String>, Failure> {
        let seen = self.read().await?;
        let of_story = |one: &&Value| one.get("number").and_then(Value::as_u64) > Some(self.before);
        let entry = |one: &Value| {
            let seconds = u32::try_from(one.get("seconds")?.as_u64()?).ok()?;
            Some((seconds, one.get("outcome")?.as_str()?.to_owned()))
        };
        Ok(seen.iter().filter(of_story).filter_map(entry).collect())
    }

    /// Asks until it is so, for ten seconds at most. Gives what the last answer was.
    pub(super) async fn until(
        &self,
        is_so: impl Fn(&BTreeMap<u32, String>) -> bool,
    ) -> Result<BTreeMap<u32, String>, Failure> {
        let mut outcomes = self.outcomes().await?;
        let _ = tokio::time::timeout(TOLD_MAX, async {
            while !is_so(&outcomes) {
                tokio::time::sleep(ASK_AGAIN).await;
                outcomes = self.outcomes().await?;
            }
            Ok::<(), Failure>(())
        })
        .await;
        Ok(outcomes)
    }

    async fn read(&self) -> Result<Vec<Value>, Failure> {
        let request = Request::get(&self.url)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.secret.expose_secret()))
            .body(Bytes::new())
            .map_err(Failure::broken)?;
        let told = answer(self.entrance.send(request).await?).await?;
        match told.body.get("seen").and_then(Value::as_array) {
            Some(seen) => Ok(seen.clone()),
            None => Err(Failure::Broken(format!("the sandbox does not show its journal: {}", told.status))),
        }
    }
}

/// The application is asked what it saw.
pub(super) async fn play(stage: &mut Stage<'_>, world: &World<'_>, flights: &Flights) -> Outcome {
    stage.scene(
        "The application agrees",
        "Asked at its own door, past the gateway. In MCP 2025-11-25 it goes on until it is told to stop.",
    );
    let is = |outcomes: &BTreeMap<u32, String>, seconds: u32, wanted: &str| {
        outcomes.get(&seconds).is_some_and(|outcome| outcome == wanted)
    };
    let forwarded = || flights.cut().filter(|call| call.manner != Manner::Turn);
    let outcomes = world
        .journal
        .until(|outcomes| forwarded().all(|call| is(outcomes, call.seconds, "cancelled")))
        .await?;
    stage.wire(&format!("GET {}", world.journal.url));
    for call in flights.calls.iter().filter(|call| call.manner != Manner::Turn || flights.is_cut(call)) {
        let outcome = outcomes.get(&call.seconds).map_or("-", String::as_str);
        stage.wire(&format!(
            "{:<12}  {:<14}  stream_progress {}  {outcome}",
            call.who,
            call.door.as_str(),
            json!({ "seconds": call.seconds })
        ));
    }
    let count = forwarded().count();
    stage.check(
        forwarded().all(|call| is(&outcomes, call.seconds, "cancelled")),
        &format!("it has stopped work on each of the {count} calls that had reached it"),
    );
    stage.check(
        flights
            .cut()
            .filter(|call| call.manner == Manner::Turn)
            .all(|call| !outcomes.contains_key(&call.seconds)),
        "of the calls that waited for their turn it never heard",
    );
    stage.check(
        flights.spared().all(|call| is(&outcomes, call.seconds, "running")),
        "on those of the others it goes on",
    );
    Ok(())
}
