use serde_json::{Value, json};
use vestibule_model::{Jti, OsEntropy};
use vestibule_testkit::{AgentKey, Call, Http, Reply, token_hash};

use super::{ACCESS_TOKEN, EXCHANGE, JWT, Scene, actors::actor, key};

/// A token with a key and a nonce that may or may not be its own: for what no honest holder does.
#[derive(Clone, Copy)]
pub(super) struct Possession<'a> {
    scene: &'a Scene,
    key: &'a AgentKey,
    token: &'a str,
    nonce: &'a str,
}

impl<'a> Possession<'a> {
    pub(super) fn new(scene: &'a Scene, key: &'a AgentKey, token: &'a str, nonce: &'a str) -> Self {
        Self { scene, key, token, nonce }
    }

    /// The proof for a request.
    pub(super) fn proof(self, method: &str, url: &str) -> String {
        self.key.proof(&json!({
            "jti": Jti::random(&OsEntropy), "htm": method, "htu": url,
            "iat": self.scene.gateway.clock.now().seconds(), "nonce": self.nonce, "ath": token_hash(self.token),
        }))
    }

    fn presented(self, method: &str, url: &str, call: Call) -> Call {
        let proof = self.proof(method, url);
        call.header("authorization", &format!("DPoP {}", self.token)).header("dpop", &proof)
    }

    pub(super) async fn list(self) -> Reply {
        let url = format!("{}/repos", self.scene.api());
        self.presented("GET", &url, Http::get(&url)).send().await
    }

    pub(super) async fn create(self, arguments: &Value) -> Reply {
        let url = format!("{}/repos", self.scene.api());
        self.presented("POST", &url, Http::post(&url).json(arguments)).send().await
    }

    /// An exchange of the token, with these fields.
    pub(super) async fn exchange(self, fields: &[(&str, &str)]) -> Reply {
        let form = [
            &[("grant_type", EXCHANGE), ("subject_token", self.token), ("subject_token_type", ACCESS_TOKEN)],
            fields,
        ]
        .concat();
        let url = self.scene.gateway.url("/oauth/token");
        Http::post(&url).form(&form).header("dpop", &self.proof("POST", &url)).send().await
    }

    /// An exchange that spawns an agent with a fresh key.
    pub(super) async fn spawn(self, fields: &[(&str, &str)]) -> Reply {
        let actor = actor(self.scene, self.token, &key(), &json!({}), &json!({}));
        self.exchange(&[&[("actor_token", &*actor), ("actor_token_type", JWT)], fields].concat()).await
    }
}

/// The token in an answer that must have one.
pub(super) fn token_in(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["access_token"].as_str().unwrap().to_owned()
}
