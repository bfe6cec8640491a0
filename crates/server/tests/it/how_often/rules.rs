use std::path::Path;

use serde_json::{Value, json};
use vestibule_server::config::{GatewayConfig, Settings};
use vestibule_testkit::{Era, Mcp, TestUpstream};

use super::{Caller, limited, ok, scene};
use crate::{
    binary::Folder,
    gateway::{PERMIT_TESTERS, TestGateway},
};

#[tokio::test]
async fn a_rule_counts_only_what_it_names() {
    let scene = scene(
        "{ rates: [ { name: helpers, per: [], only: { agents: [helper, gone], groups: [nobody] }, calls: 1, \
         seconds: 60 }, { name: others, per: [], only: { apps: [other], groups: [testers] }, calls: 1, seconds: 60 \
         } ] }",
    )
    .await;
    let planner = Caller::of(&scene).await;
    let helper = Caller { url: planner.url.clone(), token: scene.helper.token(&scene.api()).await };
    let other = scene.gateway.resource("other");
    let other = Caller { url: format!("{other}/repos"), token: scene.planner.token(&other).await };
    ok(helper.list()).await;
    ok(other.list()).await;
    limited(&scene, &helper.list().send().await, "rate-exceeded").await;
    limited(&scene, &other.list().send().await, "rate-exceeded").await;
    for _ in 0..5 {
        ok(planner.list()).await;
    }
}

#[test]
fn rules_that_cannot_be_meant_are_refused_with_the_key_and_the_way_out() {
    let apps = "apps: { api: { http: { url: 'http://127.0.0.1:1', operations: { routes: { a: { route: GET /a } } } } }, \
                mcp: { mcp: { url: 'http://127.0.0.1:1/mcp' } } }";
    let check = |limits: &str| {
        let config = GatewayConfig::parse(&format!("limits: {{ {limits} }}\n{apps}"));
        config.and_then(|config| {
            Settings::check(config, Path::new("/nowhere")).map(|_| ()).map_err(|error| error.to_string())
        })
    };
    let rate = |more: &str| format!("rates: [ {{ name: r, per: [agent], calls: 1, seconds: 1, {more} }} ]");
    let quota = |more: &str| format!("quotas: [ {{ name: q, per: [], calls: 1, per_period: day, {more} }} ]");
    assert_eq!(check(&rate("burst: 1000000, only: { operations: [api__a, mcp__whatever] }")), Ok(()));
    assert_eq!(check(&quota("only: { apps: [api, mcp], agents: [x], groups: [y] }")), Ok(()));
    let twice = "rates: [ { name: x, per: [], calls: 1, seconds: 1 } ], quotas: [ { name: x, per: [], calls: 1, \
                 per_period: hour } ]";
    let many: String =
        (0..101).map(|n| format!("{{ name: r{n}, per: [], calls: 1, seconds: 1 }},")).collect();
    for (limits, because) in [
        (rate("burst: 0"), "`limits.rates.r.burst`: is 0, must be from 1 to 1000000"),
        (rate("burst: 1000001"), "must be from 1 to 1000000"),
        (
            rate("only: { apps: [nope] }"),
            "`limits.rates.r.only.apps`: `nope` is no application: name one of `apps`",
        ),
        (
            rate("only: { operations: [api__b] }"),
            "`api` has no operation `b`: `vestibule app show` lists them",
        ),
        (rate("only: { operations: [nope__a] }"), "`nope` is no application"),
        (rate("only: { operations: [a] }"), "`a` must be `{app}__{operation}`"),
        (rate("only: { agents: ['a b'] }"), "`limits.rates.r.only.agents`"),
        (rate("per_period: day"), "per_period"),
        (quota("only: { tools: [] }"), "tools"),
        (rate("").replace("agent", "human"), "human"),
        (rate("").replace("name: r", "name: R"), "must match `[a-z0-9-]{1,64}`"),
        (
            rate("").replace("seconds: 1", "seconds: 3601"),
            "`limits.rates.r.seconds`: is 3601, must be from 1 to 3600",
        ),
        (
            quota("").replace("calls: 1", "calls: 0"),
            "`limits.quotas.q.calls`: is 0, must be from 1 to 1000000",
        ),
        (twice.to_owned(), "`limits.quotas.x.name`: is the name of another rate or quota"),
        (format!("rates: [ {many} ]"), "has 101 rules with the quotas, must have at most 100"),
    ] {
        let refused = check(&limits).unwrap_err();
        assert!(refused.contains(because), "`{because}` is not in `{refused}`");
    }
    let nowhere = format!("policies: {{ timezone: Mars/Olympus }}\nlimits: {{ {} }}\n{apps}", quota(""));
    let refused =
        Settings::check(GatewayConfig::parse(&nowhere).unwrap(), Path::new("/nowhere")).unwrap_err();
    assert!(refused.to_string().contains("`policies.timezone`: the time zone `Mars/Olympus`"), "{refused}");
}

#[tokio::test]
async fn an_operation_that_an_mcp_server_does_not_have_is_told_by_the_running_gateway() {
    let tools = vec![json!({ "name": "work", "inputSchema": { "type": "object" } })];
    let upstream = TestUpstream::mcp(Mcp::new(Era::Legacy, tools)).await;
    let config = format!(
        "limits: {{ quotas: [ {{ name: q, per: [agent], only: {{ operations: [app__work, app__wrok] }}, calls: 1, \
         per_period: day }} ] }}\napps: {{ app: {{ mcp: {{ url: '{}/mcp' }} }} }}",
        upstream.url()
    );
    let gateway = TestGateway::start(&config, &[("all.cedar", PERMIT_TESTERS)]).await;
    let limits = gateway.get("/admin/v1/limits").await;
    assert_eq!(limits["items"][0]["unknown_operations"], json!(["app__wrok"]));
    assert_eq!(gateway.admin("GET", "/admin/v1/limits/nope").send().await.status, 404);
    let misspelt = gateway.admin("GET", "/admin/v1/limits/q?agnt=a").send().await;
    assert_eq!(misspelt.status, 400);
}

#[tokio::test]
async fn the_command_line_lists_limits_and_shows_what_is_used() {
    let folder = Folder::with(
        "data: { listen: 127.0.0.1:0 }\nadmin: { listen: 127.0.0.1:0 }\nlimits:\n  rates:\n    - { name: calm, per: \
         [agent], calls: 60, seconds: 60, burst: 5 }\n  quotas:\n    - { name: daily, per: [agent, app], only: { apps: \
         [gone] }, calls: 10, per_period: day }\napps: { gone: { http: { url: 'http://127.0.0.1:1', operations: { \
         routes: { a: { route: GET /a } } } } } }",
        PERMIT_TESTERS,
    );
    let served = folder.run().await;
    let added = folder.json(&["agent", "add", "demo", "--group", "testers"]).await.remove(0);
    let agent = served.connect("demo", added["client_secret"].as_str().unwrap()).await;
    let token = agent.token(served.resource("gone")).await;
    let url = format!("{}/a", served.resource("gone"));
    let reply = vestibule_testkit::Http::get(&url).bearer(&token).send().await;
    assert_eq!(reply.status, 502, "what was counted stays counted, whatever becomes of the call");
    folder.cli(&["limit", "ls"]).await.tells(&[
        "ID     KIND   LIMIT                  PER",
        "calm   rate   60 in 60 s, 5 at once  agent",
        "daily  quota  10 in each day         agent,app",
    ]);
    folder.cli(&["limit", "show", "daily"]).await.tells(&[
        "limit      daily\n",
        "only apps  gone\n",
        "AGENT  USER  APP   OPERATION  USED  OF  RESETS_IN_SECONDS",
        "demo   -     gone  -          1     10  ",
    ]);
    let shown = folder.json(&["limit", "show", "daily", "--agent", "demo", "--app", "gone"]).await.remove(0);
    let used: Vec<&Value> = shown["used"].as_array().unwrap().iter().collect();
    assert_eq!((used.len(), &used[0]["used"], &used[0]["of"]), (1, &json!(1), &json!(10)));
    folder.cli(&["limit", "show", "daily", "--agent", "other"]).await.tells(&["Nothing of it is used."]);
    folder.cli(&["limit", "show", "nope"]).await.refuses(2, "no such limit");
}
