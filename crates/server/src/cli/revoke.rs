use std::io::Read;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{
    Failure, Outcome, Target,
    admin_client::{AdminClient, encoded},
    output::Out,
};

/// Largest token that is read from standard input, in bytes.
const TOKEN_MAX_BYTES: u64 = 16 << 10;

/// Revoke an agent, a token or a delegation, now.
///
/// Returns when every call that is running under it is cut. It is for good; repeating it is no error.
#[derive(Debug, Args)]
pub(super) struct Revoke {
    /// What the id names.
    #[arg(value_enum)]
    kind: Kind,
    /// Its id. A token is named by its `jti`, or is read from standard input with `-`.
    id: String,
    /// Why, for the record. All reasons act alike.
    #[arg(long, value_enum, default_value_t = Reason::Unspecified)]
    reason: Reason,
    /// Only what was issued at or before this moment is dead: RFC 3339, or milliseconds since the Unix epoch.
    #[arg(long, value_name = "TIME")]
    cutoff: Option<String>,
    /// Tell what would be cut, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Return when every gateway has acknowledged. With one gateway that is always so.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Agent,
    Token,
    Delegation,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Reason {
    Compromise,
    KeyCompromise,
    PolicyViolation,
    Superseded,
    Unspecified,
}

fn name(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

impl Revoke {
    pub(super) async fn execute(self, out: &Out) -> Outcome {
        let id = match (self.kind, self.id.as_str()) {
            (Kind::Token, "-") => jti_from_stdin()?,
            (Kind::Token, id) if id.contains('.') => {
                return Err(Failure::usage(
                    "a token is never an argument: give its `jti`, or `-` and the token on stdin",
                ));
            }
            (Kind::Agent | Kind::Token | Kind::Delegation, id) => id.to_owned(),
        };
        let cutoff = self.cutoff.as_deref().map(moment).transpose()?;
        let body = json!({
            "kind": name(&self.kind), "id": id, "reason": name(&self.reason), "cutoff": cutoff, "dry_run": self.dry_run,
        });
        let client = AdminClient::of(&self.target)?;
        let report = client.post("/admin/v1/revocations", &body).await?;
        out.result(&report, || told(&report, self.dry_run));
        // In an incident a slip of the pen must not look like success. The revocation stands all the same.
        if matches!(self.kind, Kind::Agent)
            && client.get(&format!("/admin/v1/agents/{}", encoded(&id))).await.is_err()
        {
            out.complain(&format!("note: no agent `{id}` is registered here"));
        }
        Ok(())
    }
}

fn told(report: &Value, dry_run: bool) -> String {
    let cut = |key: &str| report.get("cut").and_then(|cut| cut.get(key)).and_then(Value::as_u64).unwrap_or(0);
    let text = |key: &str| report.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let verb = if dry_run { "would be revoked" } else { "is revoked" };
    format!(
        "{} {} {verb}: {} calls cut, {} of them streams, {} delegations dead",
        text("kind"),
        text("id"),
        cut("attempts"),
        cut("streams"),
        cut("nodes")
    )
}

/// The `jti` inside a token. Whether the token is ours, the gateway says.
fn jti_from_stdin() -> Result<String, Failure> {
    let mut token = String::new();
    std::io::stdin().take(TOKEN_MAX_BYTES).read_to_string(&mut token).map_err(Failure::broken)?;
    let jti = token
        .trim()
        .split('.')
        .nth(1)
        .and_then(|payload| URL_SAFE_NO_PAD.decode(payload).ok())
        .and_then(|payload| serde_json::from_slice::<Value>(&payload).ok())
        .and_then(|claims| claims.get("jti").and_then(Value::as_str).map(ToOwned::to_owned));
    jti.ok_or_else(|| Failure::usage("standard input holds no token of this gateway"))
}

fn moment(text: &str) -> Result<i64, Failure> {
    text.parse::<i64>().or_else(|_| {
        text.parse::<jiff::Timestamp>()
            .map(jiff::Timestamp::as_millisecond)
            .map_err(|error| Failure::Usage(format!("`--cutoff {text}` is no moment: {error}")))
    })
}
