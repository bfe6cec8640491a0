use serde_json::{Value, json};
use vestibule_model::{Clock, Entropy, OsEntropy, SystemClock};

use super::{
    super::{Failure, Outcome, admin_client::AdminClient},
    Stage,
    agent::{Agent, next},
    shown::claims,
};

/// The places of the story.
pub(super) struct Places {
    pub(super) issuer: String,
    pub(super) mcp: String,
    pub(super) http: String,
}

/// Who plays: the agent with its name and secret.
struct Player {
    agent: Agent,
    id: String,
    secret: String,
}

/// The scenes, in order.
pub(super) async fn play(stage: &mut Stage<'_>, admin: &AdminClient, places: &Places) -> Outcome {
    let mut number = [0u8; 4];
    OsEntropy.fill(&mut number);
    let id = format!("tour-{:08x}", u32::from_be_bytes(number));
    let agent = Agent::new()?;
    knock(stage, &agent, &places.mcp).await?;
    let secret = register(stage, admin, &id).await?;
    let mut player = Player { agent, id, secret };
    token(stage, &mut player, places).await?;
    let Player { agent, id, .. } = &player;
    list(stage, agent, &places.mcp).await?;
    permitted(stage, agent, &places.mcp, id).await?;
    denied(stage, agent, admin, &places.mcp, id).await?;
    arguments(stage, agent, &places.mcp).await?;
    over_http(stage, &mut player, places).await?;
    revoked(stage, &player.agent, admin, &places.mcp, &player.id).await?;
    record(stage, admin, &player.id).await
}

async fn knock(stage: &mut Stage<'_>, agent: &Agent, mcp: &str) -> Outcome {
    stage.scene(
        "An agent knocks without a credential",
        "The 401 says where to learn how to get in (RFC 9728).",
    );
    let answer = agent.rpc(mcp, "tools/list", json!({})).await?;
    stage.wire(&format!("POST {mcp}\n{} {}", answer.status, answer.header("www-authenticate")));
    stage.check(answer.status == 401, "refused, with a challenge");
    let challenge = answer.header("www-authenticate").to_owned();
    let metadata = challenge.split("resource_metadata=\"").nth(1).and_then(|rest| rest.split('"').next());
    let document = agent.get(metadata.unwrap_or_default()).await?;
    stage.wire(&format!("GET {}\n{}", metadata.unwrap_or_default(), document.body));
    stage.check(
        document.body.get("resource") == Some(&json!(mcp)),
        "the metadata names the resource and its issuer",
    );
    Ok(())
}

async fn register(stage: &mut Stage<'_>, admin: &AdminClient, id: &str) -> Result<String, Failure> {
    stage.scene(
        "The operator registers the agent",
        "Groups and trust are what policies speak about. Claims enter a token only through a scope.",
    );
    let agent = json!({
        "id": id, "groups": ["sandbox-agents"], "trust": 1, "scopes": ["profile", "repo"],
        "claims": { "role": ["developer"], "department": ["engineering"] },
    });
    stage.wire(&format!("vestibule agent add {id} --group sandbox-agents --trust 1 --scope profile --scope repo \\\n  --claim role=developer --claim department=engineering"));
    let added = admin.post("/admin/v1/agents", &agent).await?;
    let secret = added.get("client_secret").and_then(Value::as_str).unwrap_or_default().to_owned();
    stage.check(!secret.is_empty(), "registered; the secret is shown once and stored hashed");
    Ok(secret)
}

async fn token(stage: &mut Stage<'_>, player: &mut Player, places: &Places) -> Outcome {
    let Places { issuer, mcp: resource, .. } = places;
    stage.scene(
        "It asks for a token, in the back-channel",
        "client_credentials for exactly one resource. The token lives two minutes and names its delegation.",
    );
    let answer = player.request_token(issuer, resource).await?;
    let claims = player.agent.token.as_deref().map(claims).unwrap_or_default();
    stage.wire(&format!(
        "POST {issuer}/oauth/token  grant_type=client_credentials resource={resource} scope=\"profile repo\""
    ));
    stage.wire(&serde_json::to_string_pretty(&claims).unwrap_or_default());
    stage.check(
        answer == 200 && claims.get("aud") == Some(&json!(resource)),
        "a token for this resource only",
    );
    stage.check(claims.get("role").is_some(), "the scope `profile` let the claims in");
    Ok(())
}

impl Player {
    /// Asks for a token and keeps it. Gives the status of the answer.
    async fn request_token(&mut self, issuer: &str, resource: &str) -> Result<u16, Failure> {
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", self.id.as_str()),
            ("client_secret", self.secret.as_str()),
            ("resource", resource),
            ("scope", "profile repo"),
        ];
        self.agent.token = None;
        let answer = self.agent.form(&format!("{issuer}/oauth/token"), &fields).await?;
        self.agent.token = answer.body.get("access_token").and_then(Value::as_str).map(ToOwned::to_owned);
        Ok(answer.status.as_u16())
    }
}

async fn list(stage: &mut Stage<'_>, agent: &Agent, mcp: &str) -> Outcome {
    stage.scene(
        "It lists the tools",
        "The application has four. What this agent could never call, it does not see.",
    );
    let answer = agent.rpc(mcp, "tools/list", json!({})).await?;
    let tools = answer.body.pointer("/result/tools").and_then(Value::as_array).cloned().unwrap_or_default();
    let names: Vec<&str> = tools.iter().filter_map(|tool| tool.get("name")?.as_str()).collect();
    stage.wire(&format!("tools/list -> {}", names.join(", ")));
    stage.check(
        names.contains(&"create_repo") && !names.contains(&"delete_repo"),
        "`delete_repo` is not there",
    );
    Ok(())
}

async fn call(
    agent: &Agent,
    mcp: &str,
    tool: &str,
    arguments: Value,
) -> Result<super::agent::Answer, Failure> {
    agent.rpc(mcp, "tools/call", json!({ "name": tool, "arguments": arguments })).await
}

async fn permitted(stage: &mut Stage<'_>, agent: &Agent, mcp: &str, id: &str) -> Outcome {
    stage.scene(
        "A permitted call",
        "Through both doors: the application sees a credential that the agent never sees, and never the agent's token.",
    );
    let name = format!("demo-{id}");
    let answer = call(agent, mcp, "create_repo", json!({ "name": name })).await?;
    let text = answer.body.pointer("/result/content/0/text").and_then(Value::as_str).unwrap_or_default();
    stage.wire(&format!("tools/call create_repo {{\"name\": \"{name}\"}} -> {text}"));
    let is_error = answer.body.pointer("/result/isError") == Some(&json!(true));
    stage.check(
        answer.status == 200 && answer.body.get("result").is_some() && !is_error,
        "the repository is there",
    );
    Ok(())
}

async fn denied(stage: &mut Stage<'_>, agent: &Agent, admin: &AdminClient, mcp: &str, id: &str) -> Outcome {
    stage.scene(
        "A denied call",
        "The coarse scope `repo` covers deletion too; policy does not. The agent learns only that there is no such tool.",
    );
    let answer = call(agent, mcp, "delete_repo", json!({ "name": "payroll" })).await?;
    stage.wire(&format!(
        "tools/call delete_repo {{\"name\": \"payroll\"}} -> {}",
        answer.body.get("error").cloned().unwrap_or_default()
    ));
    stage.check(answer.body.pointer("/error/code") == Some(&json!(-32602)), "answered like an unknown tool");
    let question = json!({
        "agent": id, "operation": "sandbox__delete_repo", "arguments": { "name": "payroll" },
        "scopes": ["profile", "repo"],
    });
    let why = admin.post("/admin/v1/policies/explain", &question).await?;
    stage.wire(&format!("vestibule policy explain --agent {id} --operation sandbox__delete_repo …"));
    stage.wire(&super::super::policy::explained(&why));
    stage.check(why.get("outcome") == Some(&json!("deny")), "the operator learns which policy is missing");
    Ok(())
}

async fn arguments(stage: &mut Stage<'_>, agent: &Agent, mcp: &str) -> Outcome {
    stage.scene(
        "A call denied for its arguments",
        "The tool is visible, this name is not permitted. The error is one that a model can act on.",
    );
    let answer = call(agent, mcp, "create_repo", json!({ "name": "production" })).await?;
    let error = answer.body.get("error").cloned().unwrap_or_default();
    stage.wire("tools/call create_repo {\"name\": \"production\"} ->");
    stage.wire(&serde_json::to_string_pretty(&error).unwrap_or_default());
    stage.check(error.get("code") == Some(&json!(4030)), "denied with code 4030 and a hint");
    Ok(())
}

async fn over_http(stage: &mut Stage<'_>, player: &mut Player, places: &Places) -> Outcome {
    stage.scene(
        "The same over plain HTTP",
        "Routes are operations like tools. The token for the MCP application is not accepted here.",
    );
    let Places { issuer, mcp, http } = places;
    let confused = player.agent.get(&format!("{http}/repos")).await?;
    stage.check(confused.status == 401, "another resource's token is refused");
    player.request_token(issuer, http).await?;
    let listed = player.agent.get(&format!("{http}/repos")).await?;
    stage.wire(&format!("GET {http}/repos -> {} {}", listed.status, listed.body));
    stage.check(listed.status == 200, "list_repos is permitted");
    let deleted = player.agent.delete(&format!("{http}/repos/payroll")).await?;
    stage.wire(&format!("DELETE {http}/repos/payroll -> {}", deleted.status));
    stage.check(deleted.status == 404, "delete_repo does not exist for this agent");
    player.request_token(issuer, mcp).await?;
    Ok(())
}

async fn revoked(stage: &mut Stage<'_>, agent: &Agent, admin: &AdminClient, mcp: &str, id: &str) -> Outcome {
    stage.scene(
        "The agent is compromised: one command",
        "A call is streaming. Revocation does not wait for the token to expire; it cuts the call.",
    );
    let params = json!({ "name": "stream_progress", "arguments": { "seconds": 60 } });
    let mut body = agent.stream(mcp, "tools/call", params).await?;
    let first = next(&mut body).await;
    stage.wire(&format!(
        "tools/call stream_progress {{\"seconds\": 60}} -> {}",
        first.as_deref().unwrap_or_default().trim()
    ));
    stage.check(first.is_ok(), "progress streams");
    let clock = SystemClock::default();
    let started = clock.monotonic();
    let order = json!({ "kind": "agent", "id": id, "reason": "compromise" });
    let report = admin.post("/admin/v1/revocations", &order).await?;
    let took = clock.monotonic().since(started);
    stage.wire(&format!("vestibule revoke agent {id} --reason compromise\n{report}"));
    let end = loop {
        if let Err(end) = next(&mut body).await {
            break end;
        }
    };
    stage.check(
        end == "cut off",
        &format!("the stream is cut; the command took {:.1} ms", took.as_secs_f64() * 1e3),
    );
    let after = agent.rpc(mcp, "tools/list", json!({})).await?;
    stage.wire(&format!("tools/list -> {} {}", after.status, after.header("www-authenticate")));
    stage.check(after.status == 401, "its token, not yet expired, opens nothing any more");
    Ok(())
}

async fn record(stage: &mut Stage<'_>, admin: &AdminClient, id: &str) -> Outcome {
    stage.scene(
        "The record",
        "Every attempt is there, permitted or denied, in a log that cannot be changed unnoticed.",
    );
    let found = admin.get(&format!("/admin/v1/attempts?agent={id}&limit=100")).await?;
    let items = found.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    for item in &items {
        let text = |key: &str| item.get(key).and_then(Value::as_str).unwrap_or("-").to_owned();
        let what = if text("operation") == "-" { text("method") } else { text("operation") };
        stage.wire(&format!(
            "{:<16} {:<8} {:<26} {:<10} {}",
            what,
            text("decision"),
            text("denial"),
            text("outcome"),
            policies(item)
        ));
    }
    let has = |denial: &str| items.iter().any(|item| item.get("denial") == Some(&json!(denial)));
    stage.check(
        items.len() >= 6 && has("operation-not-permitted"),
        "what was denied is there, with its reason",
    );
    let verified = admin.post("/admin/v1/evidence/verify", &json!({})).await?;
    stage.wire(&format!("vestibule audit verify -> {}", verified.get("report").cloned().unwrap_or_default()));
    stage.check(verified.get("ok") == Some(&json!(true)), "the log verifies against its signed checkpoints");
    Ok(())
}

fn policies(item: &Value) -> String {
    let policies = item.get("policies").and_then(Value::as_array).cloned().unwrap_or_default();
    policies.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
}
