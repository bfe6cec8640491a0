//! The gateway as a process that is stopped, killed and tampered with: what was acknowledged holds, what was forwarded
//! is in the record, and what cannot be known is said.

mod crash;
mod drain;
mod tampering;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use vestibule_testkit::{Answer, Http, TestUpstream};

use crate::binary::{Folder, Served};

const PERMIT_ALL: &str = r#"@id("all") permit (principal, action in Action::"call", resource);"#;

/// A gateway's folder with HTTP applications, whose operation `GET /{marker}` is recorded with its argument.
fn folder(apps: &[(&str, &TestUpstream)], more: &str) -> Folder {
    let apps: String = apps
        .iter()
        .map(|(id, upstream)| {
            let url = upstream.url();
            format!(
                "  {id}: {{ http: {{ url: '{url}', record: {{ arguments: true }}, \
                 operations: {{ routes: {{ mark: {{ route: 'GET /{{marker}}' }} }} }} }} }}\n"
            )
        })
        .collect();
    let listeners = "data: { listen: 127.0.0.1:0 }\nadmin: { listen: 127.0.0.1:0 }\n";
    Folder::with(&format!("{listeners}{more}\napps:\n{apps}"), PERMIT_ALL)
}

async fn application() -> TestUpstream {
    TestUpstream::http(Answer::json(&json!({}))).await
}

/// A fresh agent's token for an application.
async fn token(folder: &Folder, served: &Served, id: &str, app: &str) -> String {
    let added = folder.json(&["agent", "add", id, "--trust", "1"]).await.remove(0);
    served.connect(id, added["client_secret"].as_str().unwrap()).await.token(served.resource(app)).await
}

/// Calls that have not been answered yet; each gives its status when it is, none when it was cut.
fn calls(served: &Served, app: &str, token: &str, markers: &[&str]) -> JoinSet<Option<u16>> {
    let call = |marker: &&str| {
        let call = Http::get(&format!("{}/{marker}", served.resource(app))).bearer(token);
        async move {
            let mut reply = call.open().await.ok()?;
            while reply.chunk().await.ok()?.is_some() {}
            Some(reply.status.as_u16())
        }
    };
    markers.iter().map(call).collect()
}

fn marker(attempt: &Value) -> String {
    attempt["arguments"]["marker"].as_str().unwrap_or_default().to_owned()
}
