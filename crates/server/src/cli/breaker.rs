use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Failure, Outcome, Target,
    admin_client::{AdminClient, encoded},
    output::{Out, moment, table, text},
};

/// Look at the circuit breakers of agents and applications, open and close them.
#[derive(Debug, Subcommand)]
pub(super) enum Breaker {
    /// List the breakers of agents that are not closed, and those of all applications.
    Ls {
        #[command(flatten)]
        target: Target,
    },
    /// Open one by hand: of an agent, which cuts it and all below it, or of an application, which is then left alone.
    Trip(Trip),
    /// Close one, whoever has opened it.
    Reset {
        #[command(flatten)]
        name: Name,
        #[command(flatten)]
        target: Target,
    },
}

/// Whose breaker.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Name {
    /// The id of an agent.
    agent: Option<String>,
    /// The id of an application, instead of an agent.
    #[arg(long, value_name = "APP")]
    upstream: Option<String>,
}

/// Which breaker to open.
#[derive(Debug, Args)]
pub(super) struct Trip {
    #[command(flatten)]
    name: Name,
    /// For so long, in seconds or as `30m`, `2h`; then it is probed. Without it: until it is reset.
    #[arg(long = "for", value_name = "SECONDS")]
    lasting: Option<String>,
    /// Why, for the record.
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    target: Target,
}

impl Breaker {
    pub(super) async fn execute(self, out: &Out) -> Outcome {
        match self {
            Self::Ls { target } => {
                let breakers = AdminClient::of(&target)?.all("/admin/v1/breakers").await?;
                out.items(&breakers, || listed(&breakers));
                Ok(())
            }
            Self::Trip(trip) => trip.execute(out).await,
            Self::Reset { name, target } => {
                let (kind, id) = name.of();
                let body = json!({ "kind": kind, "id": id });
                let closed = AdminClient::of(&target)?.post("/admin/v1/breakers/reset", &body).await?;
                out.result(&closed, || format!("the breaker of {} is closed", name.shown()));
                Ok(())
            }
        }
    }
}

impl Name {
    fn of(&self) -> (&'static str, &str) {
        match (&self.agent, &self.upstream) {
            (_, Some(app)) => ("app", app),
            (agent, None) => ("agent", agent.as_deref().unwrap_or_default()),
        }
    }

    fn shown(&self) -> String {
        let (kind, id) = self.of();
        format!("{kind} {id}")
    }
}

impl Trip {
    async fn execute(self, out: &Out) -> Outcome {
        let (kind, id) = self.name.of();
        let seconds = self.lasting.as_deref().map(seconds).transpose()?;
        let body = json!({ "kind": kind, "id": id, "seconds": seconds, "reason": self.reason });
        let client = AdminClient::of(&self.target)?;
        let opened = client.post("/admin/v1/breakers/trip", &body).await?;
        out.result(&opened, || told(&self.name, &opened));
        // In an incident a slip of the pen must not look like success. The breaker is open all the same.
        if let Some(agent) = &self.name.agent
            && !agent.starts_with("urn:")
            && client.get(&format!("/admin/v1/agents/{}", encoded(agent))).await.is_err()
        {
            out.complain(&format!("note: no agent `{agent}` is registered here"));
        }
        Ok(())
    }
}

fn told(name: &Name, opened: &Value) -> String {
    let end = match opened.get("until") {
        Some(Value::Null) | None => "until it is reset".to_owned(),
        until => format!("until {}", moment(until)),
    };
    let mut line = format!("the breaker of {} is open {end}", name.shown());
    if let Some(cut) = opened.get("cut") {
        line.push_str(&format!(
            ": {} calls cut, {} of them streams",
            text(cut, "attempts"),
            text(cut, "streams")
        ));
    }
    line
}

fn listed(breakers: &[Value]) -> String {
    let row = |item: &Value| {
        let dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        ["kind", "id", "state"]
            .map(|key| text(item, key))
            .into_iter()
            .chain([dash(moment(item.get("until"))), dash(text(item, "signal")), dash(text(item, "detail"))])
            .collect()
    };
    let rows: Vec<Vec<String>> = breakers.iter().map(row).collect();
    table(&["kind", "id", "state", "until", "signal", "detail"], &rows)
}

fn seconds(given: &str) -> Result<u64, Failure> {
    let fault =
        |why: String| Failure::Usage(format!("`--for {given}` is no duration: {why}; try `90` or `30m`"));
    if let Ok(seconds) = given.parse::<u64>() {
        return Ok(seconds);
    }
    let lasting = given.parse::<jiff::SignedDuration>().map_err(|error| fault(error.to_string()))?;
    u64::try_from(lasting.as_secs()).map_err(|_| fault("it must be positive".to_owned()))
}
