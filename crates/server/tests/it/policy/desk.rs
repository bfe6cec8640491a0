//! The questions about policies, with files that are brought along: nothing that is running is touched.

use serde_json::{Value, json};

use super::Scene;

const LOOK: &str =
    r#"@id("look") permit (principal in AgentGroup::"testers", action == Action::"api__look", resource);"#;
const SMALL: &str = r#"@id("small") permit (principal in AgentGroup::"testers", action == Action::"api__pay", resource)
when { context.input has amount && context.input.amount < 10 };"#;

fn files(files: &[(&str, &str)]) -> Value {
    let files: Vec<Value> = files.iter().map(|(name, text)| json!({ "name": name, "text": text })).collect();
    json!({ "files": files })
}

async fn refused(scene: &Scene, question: &str, body: &Value) -> String {
    let reply =
        scene.gateway.admin("POST", &format!("/admin/v1/policies/{question}")).json(body).send().await;
    assert_eq!(
        (reply.status.as_u16(), &reply.json()["code"]),
        (400, &json!("invalid-request")),
        "{}",
        reply.text()
    );
    reply.json()["title"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn check_says_whether_files_would_load_and_where_they_would_not() {
    let scene = Scene::new(&[("a.cedar", LOOK)]).await;
    let running = scene.gateway.get("/admin/v1/policies").await["running"].clone();
    let check = async |brought: Value| scene.gateway.post("/admin/v1/policies/check", &brought).await;
    let good = check(files(&[("a.cedar", LOOK), ("b.cedar", SMALL)])).await;
    assert_eq!((&good["ok"], &good["policies"], &good["problems"]), (&json!(true), &json!(2), &json!([])));
    assert_ne!(good["digest"], running);
    assert_eq!(check(json!({})).await["digest"], running, "without files it is about the folder");
    for (what, text, line) in [
        (
            "an unknown operation",
            "\n@id(\"x\") permit (principal, action == Action::\"api__lok\", resource);",
            2,
        ),
        (
            "a wrong type",
            "@id(\"x\") permit (principal, action == Action::\"api__pay\", resource)\nwhen { context.input.note > 1 };",
            2,
        ),
        ("no policy", "permit (", 1),
    ] {
        let bad = check(files(&[("bad.cedar", text)])).await;
        assert_eq!(bad["ok"], false, "{what}");
        let problem = &bad["problems"][0];
        assert_eq!(
            (&problem["file"], &problem["line"]),
            (&json!("bad.cedar"), &json!(line)),
            "{what}: {problem}"
        );
    }
    refused(&scene, "check", &json!({ "file": [] })).await;
    assert_eq!(scene.gateway.get("/admin/v1/policies").await["running"], running);
}

#[tokio::test]
async fn test_runs_the_cases_that_are_brought_and_says_which_fail() {
    let scene = Scene::new(&[]).await;
    let case = |name: &str, amount: i64, expect: &str| {
        json!({ "name": name, "agent": "a", "groups": ["testers"], "operation": "api__pay",
            "arguments": { "amount": amount }, "expect": expect })
    };
    let cases = json!([
        case("few", 9, "permit"),
        case("many", 10, "arguments-not-permitted"),
        case("wrong", 10, "permit")
    ]);
    let brought = files(&[("small.cedar", SMALL), ("small.tests.json", &cases.to_string())]);
    let results = scene.gateway.post("/admin/v1/policies/test", &brought).await;
    let results: Vec<_> =
        results["items"].as_array().unwrap().iter().map(|item| item["result"].clone()).collect();
    let passed: Vec<_> = results.iter().map(|result| (&result["name"], &result["passed"])).collect();
    assert_eq!(
        passed,
        [(&json!("few"), &json!(true)), (&json!("many"), &json!(true)), (&json!("wrong"), &json!(false))]
    );
    assert_eq!(results[2]["actual"], "arguments-not-permitted");

    let no_cases = files(&[("small.cedar", SMALL), ("small.tests.json", "{}")]);
    assert!(refused(&scene, "test", &no_cases).await.starts_with("small.tests.json: "));
    let no_policy = files(&[("small.cedar", "permit ("), ("small.tests.json", "[]")]);
    assert!(refused(&scene, "test", &no_policy).await.starts_with("small.cedar:1:"));
}

#[tokio::test]
async fn applicable_tells_what_an_agent_may_always_do_when_and_never() {
    let scene = Scene::new(&[("a.cedar", LOOK), ("b.cedar", SMALL)]).await;
    scene.gateway.agent("a", json!({})).await;
    let answer = scene.gateway.post("/admin/v1/policies/applicable", &json!({ "agent": "a" })).await;
    let may = |operation: &str| {
        let all = answer["operations"].as_array().unwrap();
        all.iter().find(|one| one["operation"] == operation).unwrap().clone()
    };
    assert_eq!(may("api__look")["may"], "always");
    assert_eq!(may("api__wipe")["may"], "never");
    let pay = may("api__pay");
    assert_eq!((&pay["may"], &pay["grants"][0]["id"]), (&json!("when"), &json!("small")));
    assert_eq!((&pay["grants"][0]["file"], &pay["grants"][0]["line"]), (&json!("b.cedar"), &json!(1)));
    refused(&scene, "applicable", &json!({ "agent": "ghost" })).await;
}

#[tokio::test]
async fn explain_says_what_would_have_to_change_under_the_files_that_are_brought() {
    let scene = Scene::new(&[("a.cedar", LOOK)]).await;
    scene.gateway.agent("a", json!({})).await;
    let mut question = json!({ "agent": "a", "operation": "api__pay", "arguments": { "amount": 10 } });
    let explain = async |question: &Value| scene.gateway.post("/admin/v1/policies/explain", question).await;
    let now = explain(&question).await;
    assert_eq!((&now["outcome"], &now["denial"]), (&json!("deny"), &json!("operation-not-permitted")));
    question["files"] = files(&[("small.cedar", SMALL)])["files"].clone();
    let then = explain(&question).await;
    assert_eq!((&then["outcome"], &then["denial"]), (&json!("deny"), &json!("arguments-not-permitted")));
    assert_eq!(then["subjects"][0]["nearest"][0]["id"], "small");
    question["arguments"] = json!({ "amount": 9 });
    assert_eq!(explain(&question).await["outcome"], "permit");
    question["agent"] = json!("ghost");
    refused(&scene, "explain", &question).await;
}
