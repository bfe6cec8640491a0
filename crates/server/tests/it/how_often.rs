//! How often: rates and quotas hold exactly, for whom they are meant and for nobody else; what is refused for them says so,
//! and the application sees nothing of it.

mod answers;
mod quotas;
mod rates;
mod rules;

use std::sync::Arc;

use serde_json::{Value, json};
use vestibule_testkit::{Call, Http, Reply};

use crate::delegation::{PERMIT_ALL, Scene};

/// The scene of delegation, with these rates and quotas.
async fn scene(limits: &str) -> Scene {
    Scene::with(&format!("{{}}\nlimits: {limits}"), PERMIT_ALL).await
}

/// A listing of repositories, with a bearer token of `planner`.
struct Caller {
    url: String,
    token: String,
}

impl Caller {
    async fn of(scene: &Scene) -> Self {
        Self { url: format!("{}/repos", scene.api()), token: scene.planner.token(&scene.api()).await }
    }

    fn list(&self) -> Call {
        Http::get(&self.url).bearer(&self.token)
    }

    fn create(&self) -> Call {
        Http::post(&self.url).bearer(&self.token).json(&json!({ "name": "x" }))
    }
}

/// How many of so many calls, 16 at a time, pass; the others are refused with this code.
async fn passed(caller: &Arc<Caller>, each: usize, code: &'static str) -> usize {
    let callers = (0..16).map(|_| {
        let caller = Arc::clone(caller);
        tokio::spawn(async move {
            let mut passed = 0;
            for _ in 0..each {
                let reply = caller.list().send().await;
                match reply.status.as_u16() {
                    200 => passed += 1,
                    status => assert_eq!((status, &reply.json()["code"]), (429, &json!(code))),
                }
            }
            passed
        })
    });
    let mut sum = 0;
    for one in callers.collect::<Vec<_>>() {
        sum += one.await.unwrap();
    }
    sum
}

/// The call was permitted and yet refused for a limit; its record.
async fn limited(scene: &Scene, reply: &Reply, code: &str) -> Value {
    assert_eq!(reply.status, 429, "{}", reply.text());
    let record = scene.gateway.attempt_of(reply).await;
    assert_eq!((&record["denial"], &record["decision"]), (&json!(code), &json!("permit")), "{record}");
    assert_eq!((&record["outcome"], &record["upstream_status"]), (&json!("refused"), &Value::Null));
    record
}

async fn ok(call: Call) {
    let reply = call.send().await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}
