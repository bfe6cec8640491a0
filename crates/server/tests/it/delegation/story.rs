use serde_json::{Value, json};
use tokio::task::JoinHandle;
use vestibule_testkit::{Holder, Reply};

use super::{Scene, key};

/// `planner` acts for alice and spawns an agent, which calls `helper`, which lists the repositories within that call. The
/// call waits at the helper until it is released.
pub(crate) struct Story {
    pub(crate) scene: Scene,
    pub(crate) root: Holder,
    /// The spawned agent, and its node.
    pub(crate) child: (String, String),
    pub(crate) inner: Holder,
    /// The attempts: the child calls the helper, the helper lists.
    pub(crate) outer_call: String,
    pub(crate) inner_call: String,
    call: JoinHandle<Reply>,
}

impl Story {
    pub(crate) async fn new() -> Self {
        let scene = Scene::new().await;
        let id_token = scene.id_token("alice", &["developers"]);
        let for_helper = scene.gateway.resource("helper");
        let root = Holder::for_user(&scene.planner, key(), &id_token, &[("resource", &for_helper)]).await;
        // So that identifiers of attempts, which begin with their time, are in order.
        scene.advance(1).await;
        let child = root.spawn(key(), &[]).await;
        scene.advance(1).await;
        let names = (child.id(), child.node());
        let (call, call_token) = scene.calling(child).await;
        scene.advance(1).await;
        let within = [("resource", &*scene.api())];
        let inner = Holder::invoked(&scene.helper, key(), &call_token, &within).await.unwrap();
        scene.advance(1).await;
        let record = scene.served(&scene.list(&inner).await).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (outer_call, inner_call) = (text(&record["calls"][0]), text(&record["attempt"]));
        Self { scene, root, child: names, inner, outer_call, inner_call, call }
    }

    /// The helper answers.
    pub(crate) async fn end(&mut self) {
        self.scene.called.release();
        assert_eq!((&mut self.call).await.unwrap().status, 200);
    }

    pub(crate) fn workflow(&self) -> String {
        self.inner.claims()["acti"].as_str().unwrap().to_owned()
    }

    /// Suspends or revokes.
    pub(crate) async fn order(&self, state: &str, kind: &str, id: &str) {
        let order = json!({ "kind": kind, "id": id, "state": state, "reason": "policy-violation" });
        self.scene.gateway.post("/admin/v1/revocations", &order).await;
    }
}
