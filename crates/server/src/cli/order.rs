use std::io::Read;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use vestibule_model::{Clock, Digest, SystemClock};

use super::{
    Failure, Outcome, Target,
    admin_client::{AdminClient, encoded},
    output::{Out, moment, text},
};

/// Largest token that is read from standard input, in bytes.
const TOKEN_MAX_BYTES: u64 = 16 << 10;

/// Revoke an agent, a token, a delegation, …, now, with everything below.
///
/// Returns when every call that is running under it is cut. It is for good; repeating it is no error.
#[derive(Debug, Args)]
pub(super) struct Revoke {
    #[command(flatten)]
    order: Order,
    /// Return when every gateway has acknowledged. With one gateway that is always so.
    #[arg(long)]
    wait: bool,
}

/// Suspend an agent, a delegation, …, with everything below: cut what runs, refuse what comes, until `resume`.
///
/// Returns when every call that is running under it is cut.
#[derive(Debug, Args)]
pub(super) struct Suspend {
    #[command(flatten)]
    order: Order,
}

/// Take a suspension back. What is revoked stays revoked.
#[derive(Debug, Args)]
pub(super) struct Resume {
    #[command(flatten)]
    name: Name,
    #[command(flatten)]
    target: Target,
}

/// What an order is about.
#[derive(Debug, Args)]
struct Name {
    /// What the id names.
    #[arg(value_enum)]
    kind: Kind,
    /// Its id; `all` needs none. A token is named by its `jti`, one of an outside issuer `ISSUER#JTI`, as the record names
    /// it; or it is read from standard input with `-`. A user, session or client is named `ISSUER#ID`, a credential by its
    /// key's thumbprint (`jkt`).
    // One thumbprint in sixty-four begins with a hyphen, and is no flag.
    #[arg(allow_hyphen_values = true, required_if_eq_any = [
        ("kind", "agent"), ("kind", "token"), ("kind", "delegation"), ("kind", "user"), ("kind", "session"),
        ("kind", "client"), ("kind", "credential"), ("kind", "app"),
    ])]
    id: Option<String>,
}

#[derive(Debug, Args)]
struct Order {
    #[command(flatten)]
    name: Name,
    /// Why. `superseded` cuts nothing: it only ends the right to get new tokens.
    #[arg(long, value_enum, default_value_t = Reason::Unspecified)]
    reason: Reason,
    /// Only what was issued at or before this moment is dead: RFC 3339, or milliseconds since the Unix epoch.
    #[arg(long, value_name = "TIME")]
    cutoff: Option<String>,
    /// For so long only: `90s`, `30m`, `2h`.
    #[arg(long = "for", value_name = "DURATION")]
    lasting: Option<String>,
    /// Tell what would be cut, and change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Agent,
    Token,
    Delegation,
    User,
    Session,
    Client,
    Credential,
    App,
    All,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Reason {
    Compromise,
    KeyCompromise,
    PolicyViolation,
    Superseded,
    Unspecified,
}

/// The name that a value has on the command line and in the admin API.
pub(super) fn name(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

impl Revoke {
    pub(super) async fn execute(self, out: &Out) -> Outcome {
        self.order.give("revoked", out).await
    }
}

impl Suspend {
    pub(super) async fn execute(self, out: &Out) -> Outcome {
        self.order.give("suspended", out).await
    }
}

impl Resume {
    pub(super) async fn execute(self, out: &Out) -> Outcome {
        let id = self.name.id()?;
        let body = json!({ "kind": name(&self.name.kind), "id": id });
        let entry = AdminClient::of(&self.target)?.post("/admin/v1/revocations/resume", &body).await?;
        out.result(&entry, || format!("{} {} is resumed", text(&entry, "kind"), text(&entry, "id")));
        Ok(())
    }
}

impl Name {
    fn id(&self) -> Result<String, Failure> {
        match (self.kind, self.id.as_deref().unwrap_or_default()) {
            (Kind::All, _) => Ok("*".to_owned()),
            (_, "") => Err(Failure::usage("an id is needed")),
            (Kind::Token, "-") => id_from_stdin(),
            (Kind::Token, id) if id.contains('.') && !id.contains('#') => Err(Failure::usage(
                "a token is never an argument: give its `jti`, or `-` and the token on stdin",
            )),
            (_, id) => Ok(id.to_owned()),
        }
    }
}

impl Order {
    async fn give(self, state: &str, out: &Out) -> Outcome {
        let id = self.name.id()?;
        let cutoff = self.cutoff.as_deref().map(|text| instant("--cutoff", text)).transpose()?;
        let expires_at = self.lasting.as_deref().map(from_now).transpose()?;
        let body = json!({
            "kind": name(&self.name.kind), "id": id, "state": state, "reason": name(&self.reason), "cutoff": cutoff,
            "expires_at": expires_at, "dry_run": self.dry_run,
        });
        let client = AdminClient::of(&self.target)?;
        let report = client.post("/admin/v1/revocations", &body).await?;
        out.result(&report, || told(&report, self.dry_run));
        if matches!(self.reason, Reason::Superseded) {
            out.complain("note: `superseded` cuts nothing: what was handed out under the name runs on; no more is minted");
        }
        if self.name.kind == Kind::Agent {
            warn_if_unknown(&client, &id, out).await;
        }
        Ok(())
    }
}

/// In an incident a slip of the pen must not look like success. The order stands all the same.
pub(super) async fn warn_if_unknown(client: &AdminClient, agent: &str, out: &Out) {
    let path = format!("/admin/v1/agents/{}", encoded(agent));
    let is_unregistered = ["urn:", "workload:"].iter().any(|known| agent.starts_with(known));
    if !is_unregistered && client.get(&path).await.is_err() {
        out.complain(&format!("note: no agent `{agent}` is registered here"));
    }
}

/// A report as people read it.
pub(super) fn told(report: &Value, dry_run: bool) -> String {
    let cut = |key: &str| report.get("cut").and_then(|cut| cut.get(key)).and_then(Value::as_u64).unwrap_or(0);
    let is = if dry_run { "would be" } else { "is" };
    let mut lines = vec![format!(
        "{} {} {is} {}: {} calls cut, {} of them streams, {} delegations dead; {} had completed",
        text(report, "kind"),
        text(report, "id"),
        text(report, "state"),
        cut("attempts"),
        cut("streams"),
        cut("nodes"),
        report.get("completed").and_then(Value::as_u64).unwrap_or(0),
    )];
    let attempts = report.get("attempts").and_then(Value::as_array).cloned().unwrap_or_default();
    lines.extend(attempts.iter().map(|attempt| {
        format!("  {}  {:<9}  {}", text(attempt, "attempt"), text(attempt, "stage"), text(attempt, "agent"))
    }));
    if !dry_run {
        lines.push(format!("acknowledged {}", moment(report.get("acknowledged_at"))));
    }
    lines.join("\n")
}

/// What names a token: the `jti` inside one of ours, which says where in the tree it stands; of any other its issuer and
/// what that calls it (Entra `uti`), or its hash. Whether the gateway takes it at all, the gateway says.
fn id_from_stdin() -> Result<String, Failure> {
    let mut token = String::new();
    std::io::stdin().take(TOKEN_MAX_BYTES).read_to_string(&mut token).map_err(Failure::broken)?;
    let token = token.trim();
    let claims = token
        .split('.')
        .nth(1)
        .and_then(|payload| URL_SAFE_NO_PAD.decode(payload).ok())
        .and_then(|payload| serde_json::from_slice::<Value>(&payload).ok());
    let claim = |name: &str| claims.as_ref()?.get(name)?.as_str().map(ToOwned::to_owned);
    let is_ours = claims.as_ref().is_some_and(|claims| claims.get("vst").is_some());
    let id = match (is_ours, claim("jti"), claim("iss")) {
        (true, Some(jti), _) => Some(jti),
        (false, jti, Some(issuer)) => {
            let hash = || format!("sha-256:{}", Digest::of(token.as_bytes()));
            Some(format!("{issuer}#{}", claim("uti").or(jti).unwrap_or_else(hash)))
        }
        (true, None, _) | (false, _, None) => None,
    };
    id.ok_or_else(|| Failure::usage("standard input holds no token"))
}

/// A moment as an option gives it, in milliseconds since the Unix epoch.
pub(super) fn instant(option: &str, text: &str) -> Result<i64, Failure> {
    text.parse::<i64>().or_else(|_| {
        text.parse::<jiff::Timestamp>()
            .map(jiff::Timestamp::as_millisecond)
            .map_err(|error| Failure::Usage(format!("`{option} {text}` is no moment: {error}")))
    })
}

fn from_now(text: &str) -> Result<i64, Failure> {
    let fault = |why: String| Failure::Usage(format!("`--for {text}` is no duration: {why}; try `30m`"));
    let lasting = text.parse::<jiff::SignedDuration>().map_err(|error| fault(error.to_string()))?;
    let millis = i64::try_from(lasting.as_millis()).ok().filter(|millis| *millis > 0);
    let millis = millis.ok_or_else(|| fault("it must be positive".to_owned()))?;
    Ok(SystemClock::default().now().millis().saturating_add(millis))
}
