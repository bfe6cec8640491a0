use std::fs;

use serde_json::{Value, json};
use vestibule_testkit::{Call, Http, Reply};

use super::started;
use crate::binary::{Folder, Served};

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const TYPE: &str = "urn:ietf:params:oauth:token-type:";

/// An agent as a person with `curl` plays it: a key in a file, a token in another, and what the commands print.
struct Played<'a> {
    folder: &'a Folder,
    key: &'a str,
    token: &'a str,
}

impl Played<'_> {
    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    async fn print(&self, args: &[&str]) -> String {
        let ran = crate::binary::cli(&[&["sandbox"], args].concat()).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.stdout.trim_end().to_owned()
    }

    async fn proof(&self, method: &str, url: &str, nonce: &str, token: Option<&str>) -> String {
        let key = self.path(self.key);
        let mut args = vec!["proof", method, url, "--key", &key, "--nonce", nonce];
        let token = token.map(|name| self.path(name));
        if let Some(token) = &token {
            args.extend(["--token", token]);
        }
        self.print(&args).await
    }

    /// Sends twice, as the first answer gives the nonce.
    async fn send(&self, method: &str, url: &str, token: Option<&str>, call: impl Fn() -> Call) -> Reply {
        let first = call().header("dpop", &self.proof(method, url, "none-yet", token).await).send().await;
        let proof = self.proof(method, url, first.header("dpop-nonce"), token).await;
        call().header("dpop", &proof).send().await
    }

    /// Asks for a token and keeps it.
    async fn ask(&self, url: &str, subject: Option<&str>, call: impl Fn() -> Call) -> Value {
        let reply = self.send("POST", url, subject, call).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        fs::write(self.folder.join(self.token), reply.json()["access_token"].as_str().unwrap()).unwrap();
        reply.json()
    }

    async fn repos(&self, served: &Served) -> Reply {
        let url = format!("{}/repos", served.resource("sandbox-http"));
        let token = fs::read_to_string(self.folder.join(self.token)).unwrap();
        let call = || Http::get(&url).header("authorization", &format!("DPoP {token}"));
        self.send("GET", &url, Some(self.token), call).await
    }
}

#[tokio::test]
async fn a_person_with_a_shell_acts_for_a_user_spawns_an_agent_and_calls_as_both() {
    let (folder, served) = started().await;
    let resource = served.resource("sandbox-http");
    let endpoint = format!("{}/oauth/token", served.part("issuer"));
    let (parent, child) = (
        Played { folder: &folder, key: "parent.key", token: "parent.token" },
        Played { folder: &folder, key: "child.key", token: "child.token" },
    );
    let (parent_key, child_key) = (parent.path("parent.key"), parent.path("child.key"));
    let id = parent.print(&["key", &parent_key]).await;
    assert!(id.starts_with("urn:ietf:params:oauth:jwk-thumbprint:sha-256:"), "{id}");
    assert_eq!(parent.print(&["key", &parent_key]).await, id, "a key that is there is kept");
    let child_id = child.print(&["key", &child_key]).await;
    assert_ne!(child_id, id);

    let user = ["user-token", "alice", "--agent", "demo-agent", "--dir", folder.path()];
    let id_token = parent.print(&user).await;
    let agent = served.agent(0).await;
    let form = [
        ("grant_type", EXCHANGE),
        ("subject_token", &*id_token),
        ("subject_token_type", &*format!("{TYPE}id_token")),
        ("resource", resource),
        ("scope", "repo"),
    ];
    let answer = parent.ask(&endpoint, None, || agent.form(&form)).await;
    assert_eq!(answer["token_type"], "DPoP");
    assert_eq!(parent.repos(&served).await.status, 200);

    let parent_token = parent.path("parent.token");
    let issuer = served.part("issuer");
    let actor = ["actor-token", "--key", &child_key, "--issuer", issuer, "--subject-token", &parent_token];
    // Good once, and the parent's nonce is known only after the first request, which is refused before it is used up.
    let (actor, subject) = (child.print(&actor).await, fs::read_to_string(&parent_token).unwrap());
    let form = [
        ("grant_type", EXCHANGE),
        ("subject_token", &*subject),
        ("subject_token_type", &*format!("{TYPE}access_token")),
        ("actor_token", &*actor),
        ("actor_token_type", &*format!("{TYPE}jwt")),
    ];
    let asking = Played { token: "child.token", ..parent };
    asking.ask(&endpoint, Some("parent.token"), || Http::post(&endpoint).form(&form)).await;
    assert_eq!(child.repos(&served).await.status, 200);
    let seen = folder.json(&["audit", "search", "--app", "sandbox-http"]).await;
    let calls: Vec<&Value> =
        seen.iter().filter(|one| one["kind"] == "call" && one["outcome"] == "completed").collect();
    assert_eq!(calls.len(), 2, "{calls:?}");
    for (call, agent) in calls.iter().zip(["demo-agent", &child_id]) {
        assert_eq!((&call["agent"], &call["user"]["subject"]), (&json!(agent), &json!("alice")));
    }
    folder.cli(&["delegation", "tree"]).await.tells(&[
        "demo-agent for ",
        "#alice  root  active",
        &format!("└─ {child_id}  spawned  active"),
    ]);
}

#[tokio::test]
async fn what_is_not_there_is_told_and_no_token_is_an_argument() {
    let (folder, _served) = started().await;
    let run = |args: &[&str]| {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        async move {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            crate::binary::cli(&[&["sandbox"], &args[..]].concat()).await
        }
    };
    let key = folder.join("k").to_str().unwrap().to_owned();
    run(&["user-token", "mallory", "--dir", folder.path()]).await.refuses(2, "alice and bob");
    run(&["user-token", "alice", "--dir", "/nowhere"]).await.refuses(2, "is it a quickstart's folder?");
    run(&["proof", "GET", "http://x", "--key", "/nowhere"]).await.refuses(2, "`/nowhere`");
    run(&["key", &key]).await.tells(&["urn:ietf:params:oauth:jwk-thumbprint:sha-256:"]);
    run(&["proof", "GET", "http://x", "--key", &key, "--token", "eyJ.eyJ.sig"])
        .await
        .refuses(2, "cannot read");
    let shown = run(&["key", &key, "--output", "json"]).await.objects().remove(0);
    assert_eq!(shown["jwk"].get("d"), None, "the private half stays in the file");
    assert!(shown["id"].as_str().unwrap().ends_with(shown["thumbprint"].as_str().unwrap()));
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
}
