//! An application that is itself an agent: a token per call, for it alone.

use vestibule_model::{FaultKind, Stop};

use super::*;

/// A gateway with these applications, and what it had made for called agents.
fn gateway(apps: Vec<(&str, &Url, StrategyConfig)>) -> (Outbound, Arc<Issued>) {
    let issued = Arc::new(Issued::default());
    let apps = apps
        .into_iter()
        .map(|(app, url, strategy)| UpstreamConfig {
            app: AppId::new(app).unwrap(),
            url: url.clone(),
            strategy,
        })
        .collect();
    (made_by(apps, issued.clone()), issued)
}

fn made_by(apps: Vec<UpstreamConfig>, source: Arc<dyn CallTokenSource>) -> Outbound {
    let config = OutboundConfig { apps, servers: Vec::new() };
    Outbound::new(config, ways(Duration::from_millis(200)), backing(clock(), source)).unwrap()
}

/// A source that has this to say.
#[derive(Debug)]
struct Fixed(fn() -> Result<SecretString, Fault>);

impl CallTokenSource for Fixed {
    fn call_token(&self, _: &Caller, _: &AgentId, _: AttemptId, _: Duration) -> Result<SecretString, Fault> {
        (self.0)()
    }
}

#[tokio::test]
async fn a_called_agent_gets_a_token_of_this_call_and_nothing_of_the_callers() {
    let mut upstream = Upstream::ok().await;
    let (outbound, issued) = gateway(vec![("app", &upstream.url, called())]);

    let access = outbound.obtain(permit(), &calling(7)).await.unwrap();
    outbound.call(access, request()).await.unwrap();

    let token = format!("calltoken.0.agent.b.{}.30", calling(7).attempt);
    assert_eq!(issued.tokens(), std::slice::from_ref(&token));
    let asked = upstream.asked.recv().await.unwrap();
    assert!(asked.contains(&format!("authorization: Bearer {token}\r\n")), "{asked}");
    assert_eq!(asked.matches("authorization:").count(), 1, "{asked}");
    assert_eq!(asked.matches("calltoken").count(), 1, "{asked}");
    let rest = asked.replace("agents-own-parameter", "").replace("x-key: agents-own-header", "");
    assert!(!rest.contains("agents-own"), "{asked}");
}

#[tokio::test]
async fn every_call_gets_a_token_of_its_own() {
    let mut upstream = Upstream::ok().await;
    let (outbound, issued) = gateway(vec![("app", &upstream.url, called())]);
    // The same call obtained twice, too: nothing is kept.
    for n in [1, 1, 2] {
        let access = outbound.obtain(permit(), &calling(n)).await.unwrap();
        outbound.call(access, plain()).await.unwrap();
        let asked = upstream.asked.recv().await.unwrap();
        let last = issued.tokens().last().unwrap().clone();
        assert!(last.contains(&calling(n).attempt.to_string()), "{last}");
        assert!(asked.contains(&format!("authorization: Bearer {last}\r\n")), "{asked}");
    }
    let mut tokens = issued.tokens();
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), 3);
}

#[tokio::test]
async fn no_other_application_gets_one_and_no_token_is_made_for_a_question_of_the_gateways() {
    let (mut agent, mut keyed, mut open) = (Upstream::ok().await, Upstream::ok().await, Upstream::ok().await);
    let bearer = StrategyConfig::Static(StaticConfig::Bearer { token: secret() });
    let (outbound, issued) = gateway(vec![
        ("app", &agent.url, called()),
        ("keyed", &keyed.url, bearer),
        ("open", &open.url, StrategyConfig::None),
    ]);
    for (app, upstream) in [("keyed", &mut keyed), ("open", &mut open)] {
        let permit = permit_for(AppId::new(app).unwrap());
        let access = outbound.obtain(permit, &calling(1)).await.unwrap();
        outbound.call(access, request()).await.unwrap();
        let asked = upstream.asked.recv().await.unwrap();
        assert!(!asked.contains("calltoken"), "{asked}");
    }
    let access = outbound.obtain_own(&app()).await.unwrap();
    outbound.call(access, plain()).await.unwrap();
    let asked = agent.asked.recv().await.unwrap();
    assert!(!asked.contains("authorization"), "{asked}");
    assert!(issued.tokens().is_empty(), "{issued:?}");
}

#[tokio::test]
async fn without_a_token_there_is_no_call() {
    let mut upstream = Upstream::ok().await;
    let failing = Fixed(|| Err(Fault::new(FaultKind::StoreUnavailable, "no key")));
    let unusable = Fixed(|| Ok(SecretString::from("calltoken\r\nx-injected: 1")));
    for (source, kind) in [(failing, FaultKind::StoreUnavailable), (unusable, FaultKind::Internal)] {
        let apps = vec![UpstreamConfig { app: app(), url: upstream.url.clone(), strategy: called() }];
        let stop = made_by(apps, Arc::new(source)).obtain(permit(), &calling(1)).await.unwrap_err();
        let Stop::Failed(fault) = stop else { panic!("{stop:?}") };
        assert_eq!(fault.kind, kind);
        assert!(!fault.cause.contains("calltoken"), "{fault}");
    }
    assert!(upstream.asked.try_recv().is_err());
}

#[tokio::test]
async fn no_debug_text_and_no_fault_shows_the_token() {
    let unreachable = Url::parse("http://127.0.0.1:1/base").unwrap();
    let source = Arc::new(Fixed(|| Ok(SecretString::from("calltoken"))));
    let apps = vec![UpstreamConfig { app: app(), url: unreachable, strategy: called() }];
    let outbound = made_by(apps, source);
    let access = outbound.obtain(permit(), &calling(1)).await.unwrap();
    let withdrawal = outbound.withdrawal(&access, HeaderMap::new()).unwrap();
    let mut shown = format!("{outbound:?} {access:?} {withdrawal:?}");
    let fault = outbound.call(access, request()).await.unwrap_err();
    shown.push_str(&format!("{fault} {fault:?}"));
    let fault = outbound.withdraw(withdrawal, "{}".into()).await.unwrap_err();
    shown.push_str(&format!("{fault} {fault:?}"));
    assert!(shown.contains("[redacted]") && !shown.contains("calltoken"), "{shown}");
}

#[tokio::test]
async fn which_agent_an_application_is_can_be_asked() {
    let url = Url::parse("http://127.0.0.1:1/").unwrap();
    let (outbound, _) = gateway(vec![("app", &url, called()), ("open", &url, StrategyConfig::None)]);
    assert_eq!(outbound.called_agent(&app()), Some(&AgentId::new("b").unwrap()));
    for other in ["open", "missing"] {
        assert_eq!(outbound.called_agent(&AppId::new(other).unwrap()), None, "{other}");
    }
}

#[tokio::test]
async fn a_probe_of_a_called_agent_says_that_it_comes_without_a_token() {
    let refusing = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n";
    let forbidding = "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n";
    for (answer, ok, detail) in [
        (refusing, true, "GET answers 401 Unauthorized: it demands a token, as a called agent should"),
        (forbidding, false, "GET answers 403 Forbidden: the application refuses the credential"),
    ] {
        let mut upstream = Upstream::answering(answer).await;
        let (outbound, issued) = gateway(vec![("app", &upstream.url, called())]);
        let steps = outbound.probe(&app()).await;
        let credential = steps.iter().find(|step| step.name == "credential").unwrap();
        assert_eq!(
            credential.detail,
            "agent: a token per call for `b`; there is no caller now, so none is sent"
        );
        let last = steps.last().unwrap();
        assert_eq!((last.name, last.ok, last.detail.as_str()), ("answer", ok, detail));
        assert!(!upstream.asked.recv().await.unwrap().contains("authorization"));
        assert!(issued.tokens().is_empty());
    }
}
