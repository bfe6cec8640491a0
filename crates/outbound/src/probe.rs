use http::StatusCode;
use serde::Serialize;
use vestibule_egress::empty;
use vestibule_model::{AppId, Method};

use crate::{
    Access, AccessFacts, Forward, Outbound,
    outbound::{causes, prepare},
    upstream::Upstream,
};

/// One step of a probe, in words for an operator. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProbeStep {
    /// `application`, `addresses`, `credential`, `exchange` or `answer`; before `credential`, where a server gives it,
    /// `metadata`, `client auth`, `grant`, `scopes`, `introspection`, `token request` and `actors`.
    pub name: &'static str,
    /// Whether it went well. The steps after one that did not are missing.
    pub ok: bool,
    /// What was found.
    pub detail: String,
}

impl ProbeStep {
    pub(crate) fn good(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, ok: true, detail: detail.into() }
    }

    pub(crate) fn bad(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, ok: false, detail: detail.into() }
    }
}

impl Outbound {
    /// Goes the way of a call without calling anything: resolves the name, obtains the credential, and asks for the base
    /// with `GET`, through the same client and the same rules as every call.
    pub async fn probe(&self, app: &AppId) -> Vec<ProbeStep> {
        let mut steps = Vec::new();
        if let Err(failed) = self.steps(app, &mut steps).await {
            steps.push(failed);
        }
        steps
    }

    async fn steps(&self, app: &AppId, steps: &mut Vec<ProbeStep>) -> Result<(), ProbeStep> {
        let upstream = self.upstream(app).map_err(|fault| ProbeStep::bad("application", fault.cause))?;
        // Not the query of the base: some put an API key there.
        let base = upstream.base();
        let shown = format!("{}://{}{}", base.scheme_str().unwrap_or_default(), host(&upstream), base.path());
        steps.push(ProbeStep::good("application", shown));

        let addresses =
            self.client().resolve(base).await.map_err(|error| ProbeStep::bad("addresses", causes(&error)))?;
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        steps.push(ProbeStep::good("addresses", addresses.join(", ")));

        if let Some(token) = upstream.strategy.token() {
            steps.extend(token.source().probe().await);
            if let Some(at) = steps.iter().position(|step| !step.ok)
                && let Some(failed) = steps.get(at).cloned()
            {
                steps.truncate(at);
                return Err(failed);
            }
        }
        let strategy = upstream.strategy.describe();
        let access = self
            .obtain_own(app)
            .await
            .map_err(|fault| ProbeStep::bad("credential", format!("{strategy}: {}", fault.cause)))?;
        steps.push(ProbeStep::good("credential", credential(strategy, access.facts())));

        let is_asked_without = access.facts().server.is_none()
            && (upstream.strategy.called_agent().is_some() || upstream.strategy.token().is_some());
        let status = self.ask(access).await?;
        let tls = if base.scheme_str() == Some("https") { "over TLS" } else { "in the clear" };
        steps.push(ProbeStep::good("exchange", tls));

        let answer = format!("GET answers {status}");
        steps.push(match status {
            // What it answers to a caller's token only a call can tell.
            StatusCode::UNAUTHORIZED if is_asked_without => {
                let who = if upstream.strategy.called_agent().is_some() { "a called agent" } else { "it" };
                ProbeStep::good("answer", format!("{answer}: it demands a token, as {who} should"))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(ProbeStep::bad(
                    "answer",
                    format!("{answer}: the application refuses the credential"),
                ));
            }
            _ if status.is_redirection() => {
                return Err(ProbeStep::bad(
                    "answer",
                    format!("{answer}: redirects are not followed, name its target"),
                ));
            }
            _ if status.is_server_error() => return Err(ProbeStep::bad("answer", answer)),
            _ => ProbeStep::good("answer", answer),
        });
        Ok(())
    }

    async fn ask(&self, access: Access) -> Result<StatusCode, ProbeStep> {
        let forward = Forward {
            method: Method::Get,
            path: String::new(),
            query: None,
            headers: http::HeaderMap::new(),
            body: empty(),
        };
        let request = prepare(&access, forward).map_err(|fault| ProbeStep::bad("exchange", fault.cause))?;
        let answer = self.client().send(request).await;
        answer.map(|answer| answer.status()).map_err(|error| ProbeStep::bad("exchange", causes(&error)))
    }
}

/// What was obtained. Never the token.
fn credential(strategy: String, facts: &AccessFacts) -> String {
    if facts.server.is_none() {
        return strategy;
    }
    let scopes = if facts.scopes.is_empty() { "none said".to_owned() } else { facts.scopes.join(" ") };
    let wider = if facts.wider.is_empty() {
        String::new()
    } else {
        format!("; not asked for: {}", facts.wider.join(" "))
    };
    format!("{strategy}: token obtained, scopes: {scopes}{wider}")
}

fn host(upstream: &Upstream) -> &str {
    upstream.base().authority().map_or("", |authority| authority.as_str())
}
