use std::sync::Arc;

use axum::{Json, extract::State};
use serde_json::json;

use super::{Answer, Gw, Refused, json as answer};
use crate::policy_desk::{self, Desk};

pub(super) async fn status(State(gw): Gw) -> Answer {
    answer(200, &json!(gw.policies.status()))
}

/// The four questions of `vestibule policy …`, against the running gateway's applications and agents.
async fn ask(gw: Arc<crate::gateway::Gateway>, question: policy_desk::Question) -> Answer {
    let asked = tokio::task::spawn_blocking(move || {
        let desk = Desk {
            lock: Some(Arc::clone(&gw.lock)),
            catalog: gw.apps.catalog(),
            directory: gw.registry.directory(),
            options: gw.policies.options().clone(),
            folder: gw.settings.policies_folder.clone(),
            scope_claims: gw.settings.scope_claims.clone(),
            issuer: gw.names.public_url().to_owned(),
            now: gw.clock.now(),
        };
        desk.answer(question)
    });
    match asked.await.map_err(Refused::broken)? {
        Ok(reply) => answer(200, &reply),
        Err(error) => Err(Refused::invalid(error)),
    }
}

macro_rules! questions {
    ($($name:ident => $variant:ident($body:ty);)*) => {$(
        pub(super) async fn $name(
            State(gw): Gw,
            body: Result<Json<$body>, axum::extract::rejection::JsonRejection>,
        ) -> Answer {
            let Json(body) = body.map_err(|error| Refused::invalid(error.body_text()))?;
            ask(gw, policy_desk::Question::$variant(body)).await
        }
    )*};
}

questions! {
    check => Check(policy_desk::Check);
    explain => Explain(Box<policy_desk::Explain>);
    test => Test(policy_desk::Test);
    applicable => Applicable(policy_desk::Applicable);
}
