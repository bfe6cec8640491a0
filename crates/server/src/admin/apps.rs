use std::sync::Arc;

use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::{Act, Answer, Gw, Refused, json as answer, page, recorded};
use crate::{
    apps::{App, Apps},
    gateway::Gateway,
    keepers,
};

pub(super) async fn list(State(gw): Gw) -> Answer {
    page(gw.apps.iter().map(|app| summary(app)).collect(), None)
}

pub(super) async fn show(State(gw): Gw, Path(id): Path<String>) -> Answer {
    let app = known(&gw, &id)?;
    let mut shown = summary(&app);
    if let Some(members) = shown.as_object_mut() {
        members.insert(
            "operations".to_owned(),
            json!(app.operations().map(|operations| operations.all().to_vec())),
        );
        members.insert("access".to_owned(), json!(app.settings().access));
        members.insert("metadata".to_owned(), json!(app.metadata_url()));
    }
    answer(200, &shown)
}

/// Goes through door two for real and tells each step, secrets redacted. For an MCP application the last step reads its
/// tools.
pub(super) async fn test(State(gw): Gw, Path(id): Path<String>) -> Answer {
    let app = known(&gw, &id)?;
    let act = Act { action: "app-test", target: format!("app/{id}"), detail: &json!({}) };
    let steps = recorded(&gw, act, async { Ok(steps(&gw, &app).await) }).await?;
    let ok = steps.iter().all(|step| step.get("ok").and_then(Value::as_bool).unwrap_or(false));
    answer(200, &json!({ "id": id, "kind": "app-test", "ok": ok, "steps": steps }))
}

async fn steps(gw: &Arc<Gateway>, app: &App) -> Vec<Value> {
    let mut steps: Vec<Value> = gw.outbound.probe(app.id()).await.iter().map(|step| json!(step)).collect();
    if app.settings().routes.is_none() {
        let step = match Apps::refresh(app, &gw.outbound, &*gw.store).await {
            Ok(is_new) => {
                if is_new {
                    keepers::accepted(gw, app).await;
                    keepers::refresh_policies(gw).await;
                }
                let count = app.operations().map_or(0, |operations| operations.all().len());
                json!({ "name": "operations", "ok": true, "detail": format!("{count} operations read") })
            }
            Err(cause) => json!({ "name": "operations", "ok": false, "detail": cause }),
        };
        steps.push(step);
    }
    steps
}

fn known(gw: &Gateway, id: &str) -> Result<Arc<App>, Refused> {
    gw.apps.get(id).ok_or_else(|| Refused::not_found("application"))
}

/// Where the application is, without the query: some put an API key there.
fn upstream(app: &App) -> String {
    let mut url = app.settings().url.clone();
    url.set_query(None);
    url.into()
}

fn summary(app: &App) -> Value {
    json!({
        "id": app.id().as_str(),
        "kind": app.kind(),
        "url": app.resource(),
        "upstream": upstream(app),
        "ready": app.operations().is_some(),
        "operation_count": app.operations().map_or(0, |operations| operations.all().len()),
    })
}
