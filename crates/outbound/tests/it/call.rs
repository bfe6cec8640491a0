//! Each strategy, and what never leaves.

use std::path::Path;

use vestibule_model::FaultKind;
use vestibule_outbound::ProbeStep;

use super::*;

#[tokio::test]
async fn each_strategy_puts_the_secret_in_its_place_and_nothing_of_the_agents_leaves() {
    let header = StaticConfig::Header { name: "X-Key".into(), value: secret() };
    let basic = StaticConfig::Basic { username: "user".into(), password: secret() };
    let query = StaticConfig::Query { name: "key".into(), value: secret() };
    let cases = [
        (StrategyConfig::Static(header), "/base/x?a=b&key=agents-own-parameter", Some("x-key: hunter2\r\n")),
        (
            StrategyConfig::Static(StaticConfig::Bearer { token: secret() }),
            "/base/x?a=b&key=agents-own-parameter",
            Some("authorization: Bearer hunter2\r\n"),
        ),
        (
            StrategyConfig::Static(basic),
            "/base/x?a=b&key=agents-own-parameter",
            Some("authorization: Basic dXNlcjpodW50ZXIy\r\n"),
        ),
        (StrategyConfig::Static(query), "/base/x?a=b&key=hunter2", None),
        (StrategyConfig::None, "/base/x?a=b&key=agents-own-parameter", None),
    ];
    for (strategy, target, credential) in cases {
        let mut upstream = Upstream::ok().await;
        let outbound = outbound(&upstream.url, strategy.clone());

        let access = outbound.obtain(permit(), &calling(1)).await.unwrap();
        assert_eq!(access.permit().unwrap().operation().app, app());
        assert_eq!(outbound.call(access, request()).await.unwrap().status(), 200);

        let asked = upstream.asked.recv().await.unwrap();
        assert!(asked.starts_with(&format!("POST {target} HTTP/1.1\r\n")), "{strategy:?}: {asked}");
        if let Some(credential) = credential {
            assert!(asked.contains(credential), "{strategy:?}: {asked}");
        }
        assert_eq!(asked.matches("authorization:").count(), usize::from(asked.contains("authorization: B")));
        assert_eq!(
            asked.matches(SECRET).count() + asked.matches("dXNlc").count(),
            usize::from(strategy != StrategyConfig::None)
        );
        assert!(asked.contains(&format!("host: {}\r\n", upstream.url.authority())), "{asked}");
        assert!(asked.contains("accept: application/json\r\n") && asked.ends_with("body"), "{asked}");
        let rest = asked.replace("agents-own-parameter", "").replace("x-key: agents-own-header", "");
        assert!(!rest.contains("agents-own"), "{strategy:?}: {asked}");
    }
}

#[tokio::test]
async fn the_agents_user_agent_is_kept_and_ours_stands_in_for_none() {
    let mut upstream = Upstream::ok().await;
    let outbound = outbound(&upstream.url, StrategyConfig::None);
    let mut named = plain();
    named.headers.insert("user-agent", HeaderValue::from_static("agent/1"));

    for (request, expected) in [(plain(), "user-agent: vestibule/"), (named, "user-agent: agent/1\r\n")] {
        let access = outbound.obtain_own(&app()).await.unwrap();
        assert!(access.permit().is_none());
        outbound.call(access, request).await.unwrap();
        let asked = upstream.asked.recv().await.unwrap();
        assert!(asked.contains(expected), "{asked}");
    }
}

#[tokio::test]
async fn a_rotated_secret_is_used_after_five_seconds_and_a_removed_one_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "first").unwrap();
    let mut upstream = Upstream::ok().await;
    let clock = clock();
    let token = SecretRef::File("token".into());
    let strategy = StrategyConfig::Static(StaticConfig::Bearer { token }).resolved(folder.path());
    let outbound = open(&upstream.url, strategy, clock.clone()).unwrap();
    let mut sent = async |outbound: &Outbound| {
        let access = outbound.obtain(permit(), &calling(1)).await?;
        outbound.call(access, plain()).await?;
        let asked = upstream.asked.recv().await.unwrap();
        Ok::<_, vestibule_model::Stop>(
            asked.split("Bearer ").nth(1).unwrap().lines().next().unwrap().to_owned(),
        )
    };

    std::fs::write(&path, "second").unwrap();
    assert_eq!(sent(&outbound).await.unwrap(), "first");
    clock.advance(Duration::from_secs(5));
    assert_eq!(sent(&outbound).await.unwrap(), "second");
    std::fs::remove_file(&path).unwrap();
    clock.advance(Duration::from_secs(5));
    assert_eq!(sent(&outbound).await.unwrap_err().code(), FaultKind::AccessUnavailable.code());
    std::fs::write(&path, "third").unwrap();
    assert_eq!(sent(&outbound).await.unwrap(), "third");
}

#[tokio::test]
async fn no_debug_text_and_no_fault_shows_the_secret() {
    let unreachable = Url::parse("http://127.0.0.1:1/base").unwrap();
    for config in [
        StaticConfig::Header { name: "x-key".into(), value: secret() },
        StaticConfig::Bearer { token: secret() },
        StaticConfig::Basic { username: "user".into(), password: secret() },
        StaticConfig::Query { name: "key".into(), value: secret() },
    ] {
        let outbound = outbound(&unreachable, StrategyConfig::Static(config));
        let access = outbound.obtain(permit(), &calling(1)).await.unwrap();
        let mut shown = format!("{outbound:?} {access:?}");
        let fault = outbound.call(access, request()).await.unwrap_err();
        shown.push_str(&format!("{fault} {fault:?} {:?}", outbound.probe(&app()).await));
        assert!(!shown.contains(SECRET) && !shown.contains("dXNlcjpodW50ZXIy"), "{shown}");
        assert!(shown.contains("[redacted]"), "{shown}");
    }
}

#[tokio::test]
async fn faults_tell_unreachable_silent_and_unusable_applications_apart() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_url = Url::parse(&format!("http://{}/", silent.local_addr().unwrap())).unwrap();
    let noise = Upstream::answering("SSH-2.0-OpenSSH_9.6\r\n\r\n").await;
    for (url, kind) in [
        (Url::parse("http://127.0.0.1:1/").unwrap(), FaultKind::UpstreamUnreachable),
        (Url::parse("http://169.254.169.254/").unwrap(), FaultKind::UpstreamUnreachable),
        (silent_url, FaultKind::UpstreamTimeout),
        (noise.url, FaultKind::UpstreamInvalid),
    ] {
        let outbound = outbound(&url, StrategyConfig::None);
        let access = outbound.obtain_own(&app()).await.unwrap();
        let fault = outbound.call(access, request()).await.unwrap_err();
        assert_eq!(fault.kind, kind, "{fault}");
        assert!(fault.cause.starts_with("application `app`: "), "{fault}");
        assert!(!fault.cause.contains("agents-own"), "{fault}");
    }
}

#[tokio::test]
async fn a_path_outside_the_base_and_an_unknown_application_are_our_own_bugs() {
    let mut upstream = Upstream::ok().await;
    let outbound = outbound(&upstream.url, StrategyConfig::None);
    let other = AppId::new("other").unwrap();
    assert_eq!(outbound.obtain_own(&other).await.unwrap_err().kind, FaultKind::Internal);
    let access = outbound.obtain(permit(), &calling(1)).await.unwrap();
    let escaping = Forward { path: "/../admin".into(), ..plain() };
    assert_eq!(outbound.call(access, escaping).await.unwrap_err().kind, FaultKind::Internal);
    assert!(upstream.asked.try_recv().is_err());
}

#[test]
fn a_strategy_that_cannot_work_stops_the_start_with_a_reason() {
    let url = Url::parse("http://127.0.0.1:1/").unwrap();
    let split = Secrets::new(|_| Some("hunter2\nx-injected: 1".to_owned()));
    let missing = SecretRef::Env("MISSING".into());
    let header = |name: &str| StaticConfig::Header { name: name.into(), value: secret() };
    for (config, expected) in [
        (StaticConfig::Bearer { token: missing }, "environment variable `MISSING` is not set"),
        (header("Transfer-Encoding"), "belongs to the connection"),
        (header("Host"), "belongs to the connection"),
        (header("a b"), "name is not valid"),
        (StaticConfig::Basic { username: "a:b".into(), password: secret() }, "has a colon"),
        (StaticConfig::Query { name: String::new(), value: secret() }, "name is empty"),
    ] {
        let error = open(&url, StrategyConfig::Static(config), clock()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let strategy = StrategyConfig::Static(StaticConfig::Bearer { token: secret() });
    let apps = vec![UpstreamConfig { app: app(), url, strategy }];
    let config = OutboundConfig { apps, servers: Vec::new() };
    let backing = Backing { secrets: split, ..backing(clock(), Arc::new(Issued::default())) };
    let error = Outbound::new(config, ways(Duration::from_secs(1)), backing).unwrap_err();
    assert!(error.to_string().ends_with("the secret cannot stand in a header"), "{error}");
    assert!(!format!("{error:?}").contains(SECRET), "{error:?}");
}

#[tokio::test]
async fn a_probe_goes_the_whole_way_and_stops_where_it_fails() {
    let names = |steps: &[ProbeStep]| steps.iter().map(|step| (step.name, step.ok)).collect::<Vec<_>>();
    let mut upstream = Upstream::ok().await;
    let strategy = StrategyConfig::Static(StaticConfig::Bearer { token: secret() });

    let steps = outbound(&upstream.url, strategy.clone()).probe(&app()).await;
    assert_eq!(
        names(&steps),
        [
            ("application", true),
            ("addresses", true),
            ("credential", true),
            ("exchange", true),
            ("answer", true)
        ]
    );
    let credential = steps.iter().find(|step| step.name == "credential").unwrap();
    assert_eq!(credential.detail, "static: bearer token from environment variable `SECRET`");
    let asked = upstream.asked.recv().await.unwrap();
    assert!(asked.starts_with("GET /base HTTP/1.1\r\n") && asked.contains("Bearer hunter2"), "{asked}");

    let refusing = Upstream::answering("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").await;
    let steps = outbound(&refusing.url, strategy.clone()).probe(&app()).await;
    assert_eq!(names(&steps).last(), Some(&("answer", false)));

    let closed = Url::parse("http://127.0.0.1:1/").unwrap();
    let steps = outbound(&closed, strategy.clone()).probe(&app()).await;
    assert_eq!(names(&steps).last(), Some(&("exchange", false)));

    let metadata = Url::parse("http://169.254.169.254/").unwrap();
    let steps = outbound(&metadata, strategy).probe(&app()).await;
    assert_eq!(names(&steps).last(), Some(&("addresses", false)));
}

#[test]
fn the_configuration_is_read_from_yaml_and_unknown_keys_are_refused() {
    let parse = |yaml: &str| serde_saphyr::from_str::<StrategyConfig>(yaml);
    assert_eq!(parse("none").unwrap(), StrategyConfig::None);
    let bearer = parse("static: { bearer: { token: { file: token.txt } } }").unwrap();
    let token = SecretRef::File("/folder/token.txt".into());
    assert_eq!(bearer.resolved(Path::new("/folder")), StrategyConfig::Static(StaticConfig::Bearer { token }));
    assert_eq!(parse("agent: { id: b }").unwrap(), called());
    for yaml in [
        "pass-through",
        "static: { bearer: { token: hunter2 } }",
        "static: { bearer: { token: { file: a }, extra: b } }",
        "static: { header: { name: x-key } }",
        "static: { bearer: { token: { file: a } }, basic: { username: a, password: { file: b } } }",
        "agent: b",
        "agent: {}",
        "agent: { id: '' }",
        "agent: { id: b, token: c }",
    ] {
        assert!(parse(yaml).is_err(), "{yaml}");
    }
}
