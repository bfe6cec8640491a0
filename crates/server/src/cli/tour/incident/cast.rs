use std::sync::Arc;

use serde_json::{Value, json};
use vestibule_model::{AUTHORITY_TYPE, AppKind};

use super::{
    super::{agent::Answer, holder::Holder, shown::brief},
    World,
};
use crate::cli::{Failure, Outcome};

pub(super) const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// Who is cut: the agent that the order names, and who is below it.
pub(super) const CUT: [&str; 3] = ["researcher", "writer", "helper"];

/// Who plays. Below the orchestrator stand the researcher, with the writer and the helper below it, and the reviewer, with
/// the checker below it.
pub(super) struct Cast {
    pub(super) orchestrator: Arc<Member>,
    pub(super) researcher: Arc<Member>,
    pub(super) writer: Arc<Member>,
    pub(super) helper: Arc<Member>,
    pub(super) reviewer: Arc<Member>,
    pub(super) checker: Arc<Member>,
}

/// An agent with its tokens: one for each application, each of a delegation of its own.
pub(super) struct Member {
    pub(super) holder: Holder,
    pub(super) mcp: String,
    pub(super) http: String,
}

impl Cast {
    pub(super) fn all(&self) -> [&Arc<Member>; 6] {
        [&self.orchestrator, &self.researcher, &self.writer, &self.helper, &self.reviewer, &self.checker]
    }

    /// An agent's id as the story tells it.
    pub(super) fn called(&self, id: &str) -> String {
        let known = self.all().into_iter().find(|member| member.holder.id == id);
        known.map_or_else(|| brief(id), |member| member.called())
    }
}

impl Member {
    pub(super) fn token(&self, app: AppKind) -> &str {
        match app {
            AppKind::Mcp => &self.mcp,
            AppKind::Http => &self.http,
        }
    }

    /// Its id; one that is a key's thumbprint with its part in the story.
    pub(super) fn called(&self) -> String {
        let Holder { name, id, .. } = &self.holder;
        if id.starts_with("urn:") { format!("{name} ({})", brief(id)) } else { id.clone() }
    }

    /// Asks to have `child` made below it, with these operations.
    pub(super) async fn spawn(
        &self,
        child: &Holder,
        app: AppKind,
        operations: &Value,
    ) -> Result<Answer, Failure> {
        let token = self.token(app);
        let (actor, details) = (child.actor_token(token)?, details(operations));
        let fields = [
            ("grant_type", EXCHANGE),
            ("subject_token", token),
            ("subject_token_type", ACCESS_TOKEN),
            ("actor_token", &actor),
            ("actor_token_type", JWT),
            ("authorization_details", &details),
        ];
        self.holder.ask(&fields, Some(token)).await
    }

    /// Asks for a new token of the same delegation; with these operations, if any are given.
    pub(super) async fn renew(&self, app: AppKind, operations: Option<&Value>) -> Result<Answer, Failure> {
        let token = self.token(app);
        let details = operations.map(details);
        let mut fields =
            vec![("grant_type", EXCHANGE), ("subject_token", token), ("subject_token_type", ACCESS_TOKEN)];
        fields.extend(details.as_deref().map(|details| ("authorization_details", details)));
        self.holder.ask(&fields, Some(token)).await
    }
}

/// `authorization_details` (RFC 9396) of these operations.
fn details(operations: &Value) -> String {
    json!([{ "type": AUTHORITY_TYPE, "operations": operations }]).to_string()
}

/// The token of an answer; empty where it was refused.
pub(super) fn token_of(answer: &Answer) -> String {
    answer.body.get("access_token").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// What an answer of the token endpoint says, on a line.
pub(super) fn said(answer: &Answer) -> String {
    let text = |key: &str| answer.body.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let status = answer.status.as_u16();
    if answer.status.is_success() {
        let seconds = answer.body.get("expires_in").cloned().unwrap_or_default();
        format!("{status}  token_type={}  expires_in={seconds}", text("token_type"))
    } else {
        format!("{status}  {}: {}", text("error"), text("error_description"))
    }
}

/// Registers an agent as an operator does: with a secret, or with its public key.
pub(super) async fn register(world: &World<'_>, id: &str, jwks: Option<Value>) -> Result<Value, Failure> {
    let agent =
        json!({ "id": id, "groups": ["sandbox-agents"], "trust": 1, "scopes": ["repo"], "jwks": jwks });
    world.admin.post("/admin/v1/agents", &agent).await
}

/// Whether the story can go on: without its tokens it makes no sense.
pub(super) fn must_have(token: &str, whose: &str) -> Outcome {
    if token.is_empty() { Err(Failure::Broken(format!("no token for the {whose}"))) } else { Ok(()) }
}
